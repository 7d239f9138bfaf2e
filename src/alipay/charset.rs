//! In which charset something of Alipay's is written. What is signed are its bytes; the charset is needed to
//! read them as text (`docs/protocol.md` 3.4, 8), and its label may be wrong or unknown: a good signature
//! over the bytes counts more.

use std::borrow::Cow;

use encoding_rs::{EncoderResult, Encoding, GB18030, GBK, UTF_8};

/// How far into an answer its declaration may reach, in bytes.
const DECLARATION_LIMIT: usize = 256;

/// A charset that Alipay writes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::alipay) enum Charset {
    Utf8,
    /// GB18030, with GBK and GB2312, which are parts of it.
    Gbk,
}

/// Bytes that are no text of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CharsetError {
    #[error("the XML declaration is not complete")]
    Declaration,
    #[error("the bytes are text of no charset that Alipay uses")]
    Malformed,
}

impl Charset {
    /// In any case, with or without a hyphen; `None` for the label of another charset.
    pub(super) fn from_label(label: &str) -> Option<Self> {
        let plain = label.trim().replace(['-', '_'], "").to_ascii_lowercase();
        match plain.as_str() {
            "utf8" => Some(Self::Utf8),
            "gbk" | "gb2312" | "gb18030" => Some(Self::Gbk),
            _ => None,
        }
    }

    /// The bytes that may have been signed for `text`, where the charset can write it: GBK and GB18030
    /// write a few characters differently, and either name may stand for the other.
    pub(super) fn encodings(self, text: &str) -> impl Iterator<Item = Cow<'_, [u8]>> {
        let encodings = match self {
            Self::Gbk if !text.is_ascii() => [Some(GBK), Some(GB18030)],
            Self::Gbk | Self::Utf8 => [Some(UTF_8), None],
        };
        let encodings = encodings.into_iter().flatten();
        encodings.filter_map(move |encoding| encode(encoding, text))
    }

    pub(super) fn decode(self, body: &[u8]) -> Option<Cow<'_, str>> {
        match self {
            Self::Utf8 => std::str::from_utf8(body).ok().map(Cow::Borrowed),
            Self::Gbk => GB18030.decode_without_bom_handling_and_without_replacement(body),
        }
    }
}

fn encode<'a>(encoding: &'static Encoding, text: &'a str) -> Option<Cow<'a, [u8]>> {
    if encoding == UTF_8 {
        return Some(Cow::Borrowed(text.as_bytes()));
    }
    let mut encoder = encoding.new_encoder();
    let length = encoder.max_buffer_length_from_utf8_without_replacement(text.len())?;
    let mut bytes = Vec::with_capacity(length);
    let (result, _) = encoder.encode_from_utf8_to_vec_without_replacement(text, &mut bytes, true);
    (result == EncoderResult::InputEmpty).then_some(Cow::Owned(bytes))
}

/// The charsets to try, the likeliest first: what the labels name, in their order, then UTF-8, in which hardly
/// anything can be read that is not, then GBK.
pub(super) fn candidates<'a>(
    labels: impl IntoIterator<Item = &'a str>,
) -> impl Iterator<Item = Charset> {
    let named = labels.into_iter().filter_map(Charset::from_label);
    named.chain([Charset::Utf8, Charset::Gbk])
}

/// Decodes a body by the charset its XML declaration names; where that is none of ours or the bytes are none of
/// its, by the one HTTP names; else by whichever can read it. Malformed bytes are refused, not replaced.
pub(super) fn decode<'a>(
    body: &'a [u8],
    http_charset: Option<&str>,
) -> Result<(Charset, Cow<'a, str>), CharsetError> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let labels = declared(body)?.into_iter().chain(http_charset);
    candidates(labels)
        .find_map(|charset| Some((charset, charset.decode(body)?)))
        .ok_or(CharsetError::Malformed)
}

/// The `encoding` of the XML declaration, if there is one.
fn declared(body: &[u8]) -> Result<Option<&str>, CharsetError> {
    let Some(rest) = body.strip_prefix(b"<?xml") else {
        return Ok(None);
    };
    let head = &rest[..rest.len().min(DECLARATION_LIMIT)];
    let end = head
        .windows(2)
        .position(|pair| pair == b"?>")
        .ok_or(CharsetError::Declaration)?;
    let declaration = std::str::from_utf8(&head[..end]).map_err(|_| CharsetError::Declaration)?;
    let Some((_, after)) = declaration.split_once("encoding") else {
        return Ok(None);
    };
    let value = after
        .trim_start()
        .strip_prefix('=')
        .ok_or(CharsetError::Declaration)?
        .trim_start();
    let quoted = |quote: char| value.strip_prefix(quote)?.split_once(quote);
    let (label, _) = quoted('"')
        .or_else(|| quoted('\''))
        .ok_or(CharsetError::Declaration)?;
    Ok(Some(label))
}

/// The `charset` of a `Content-Type`, if it names one.
pub(super) fn of_content_type(content_type: &str) -> Option<&str> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("charset")
            .then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declaration_decides_then_http_then_utf_8() {
        let of = |body: &[u8], http| decode(body, http).map(|(charset, _)| charset);
        for (declaration, charset) in [
            (r#"<?xml version="1.0" encoding="GBK"?>"#, Charset::Gbk),
            ("<?xml version='1.0' encoding = 'gb2312' ?>", Charset::Gbk),
            (r#"<?xml version="1.0" encoding="utf-8"?>"#, Charset::Utf8),
            ("\u{feff}<?xml version=\"1.0\"?>", Charset::Utf8),
            ("<a/>", Charset::Utf8),
        ] {
            assert_eq!(
                of(declaration.as_bytes(), None),
                Ok(charset),
                "{declaration}"
            );
        }
        assert_eq!(of(b"<a/>", Some("gbk")), Ok(Charset::Gbk));
        assert_eq!(
            of(br#"<?xml version="1.0" encoding="UTF-8"?>"#, Some("GBK")),
            Ok(Charset::Utf8)
        );
    }

    #[test]
    fn a_label_is_read_in_any_spelling() {
        for label in ["UTF-8", "utf-8", "utf8", "UTF8", "Utf_8", " utf-8 "] {
            assert_eq!(Charset::from_label(label), Some(Charset::Utf8), "{label}");
        }
        for label in ["GBK", "gbk", "GB2312", "gb-2312", "GB18030", "gb18030"] {
            assert_eq!(Charset::from_label(label), Some(Charset::Gbk), "{label}");
        }
        for label in ["", "latin1", "ISO-8859-1", "UTF-16", "UTF-88", "GBK2"] {
            assert_eq!(Charset::from_label(label), None, "{label}");
        }
    }

    #[test]
    fn a_wrong_or_unknown_label_gives_way_to_what_decodes() {
        let of = |label: &str, text: &[u8], http| {
            let declared = format!("<?xml version=\"1.0\" encoding=\"{label}\"?><a>");
            let body = [declared.as_bytes(), text, b"</a>"].concat();
            decode(&body, http)
                .map(|(charset, text)| (charset, text.contains("失败")))
                .expect("text")
        };
        let (utf_8, gbk) = ("失败".as_bytes(), b"\xca\xa7\xb0\xdc");
        for label in ["UTF-16", "", "ISO-8859-1", "UTF-8", "utf8"] {
            assert_eq!(of(label, utf_8, None), (Charset::Utf8, true), "{label}");
            assert_eq!(of(label, gbk, None), (Charset::Gbk, true), "{label}");
            assert_eq!(of(label, gbk, Some("latin1")), (Charset::Gbk, true));
        }
        for label in ["GBK", "GB18030", "gb2312"] {
            assert_eq!(of(label, gbk, Some("UTF-8")), (Charset::Gbk, true));
        }
    }

    #[test]
    fn v2_malformed_bytes_are_refused() {
        for (body, error) in [
            (
                &br#"<?xml version="1.0" encoding="GBK""#[..],
                CharsetError::Declaration,
            ),
            (
                br#"<?xml version="1.0" encoding=GBK?>"#,
                CharsetError::Declaration,
            ),
            (b"\xff\xfe<\0a\0/\0>\0", CharsetError::Malformed),
            (
                b"<?xml version=\"1.0\" encoding=\"GBK\"?><a>\xff</a>",
                CharsetError::Malformed,
            ),
        ] {
            assert_eq!(decode(body, None).map(|_| ()), Err(error), "{body:?}");
        }
    }

    #[test]
    fn what_gbk_cannot_write_is_not_replaced() {
        let of = |charset: Charset, text: &str| -> Vec<Vec<u8>> {
            charset.encodings(text).map(Cow::into_owned).collect()
        };
        let failed = b"\xca\xa7\xb0\xdc".to_vec();
        assert_eq!(of(Charset::Gbk, "失败"), [failed.clone(), failed]);
        let grin = b"\x94\x39\xfc\x36".to_vec();
        assert_eq!(of(Charset::Gbk, "😀"), [grin], "GB18030 alone can");
        assert_eq!(of(Charset::Utf8, "失败"), ["失败".as_bytes()]);
        assert_eq!(of(Charset::Gbk, "ok"), [b"ok"]);
    }

    #[test]
    fn the_http_charset_is_found_among_parameters() {
        assert_eq!(of_content_type("text/xml;charset=GBK"), Some("GBK"));
        assert_eq!(
            of_content_type("text/xml; x=1; Charset=\"utf-8\""),
            Some("utf-8")
        );
        assert_eq!(of_content_type("text/xml"), None);
    }
}
