//! In which charset an answer is written. The signature is made over the bytes of that charset, so
//! it is known from the answer alone, never guessed (`protocol/wire.md` 2.5).

use std::borrow::Cow;

use encoding_rs::{EncoderResult, GBK};

/// How far into an answer its declaration may reach, in bytes.
const DECLARATION_LIMIT: usize = 256;

/// A charset that Alipay answers in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::alipay) enum Charset {
    Utf8,
    /// GBK, and GB2312, which is a part of it.
    Gbk,
}

/// An answer whose charset is not one of ours, or whose bytes are not of its charset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CharsetError {
    #[error("the XML declaration is not complete")]
    Declaration,
    #[error("the charset is not UTF-8, GBK or GB2312")]
    Unsupported,
    #[error("the bytes are not text of the declared charset")]
    Malformed,
}

impl Charset {
    pub(super) fn from_label(label: &str) -> Result<Self, CharsetError> {
        let is = |name| label.eq_ignore_ascii_case(name);
        if is("UTF-8") {
            Ok(Self::Utf8)
        } else if is("GBK") || is("GB2312") {
            Ok(Self::Gbk)
        } else {
            Err(CharsetError::Unsupported)
        }
    }

    /// The bytes that were signed for `text`; `None` if the charset cannot write it.
    pub(super) fn encode(self, text: &str) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::Utf8 => Some(Cow::Borrowed(text.as_bytes())),
            Self::Gbk if text.is_ascii() => Some(Cow::Borrowed(text.as_bytes())),
            Self::Gbk => {
                let mut encoder = GBK.new_encoder();
                let length = encoder.max_buffer_length_from_utf8_without_replacement(text.len())?;
                let mut bytes = Vec::with_capacity(length);
                let (result, _) =
                    encoder.encode_from_utf8_to_vec_without_replacement(text, &mut bytes, true);
                (result == EncoderResult::InputEmpty).then_some(Cow::Owned(bytes))
            }
        }
    }

    pub(super) fn decode(self, body: &[u8]) -> Option<Cow<'_, str>> {
        match self {
            Self::Utf8 => std::str::from_utf8(body).ok().map(Cow::Borrowed),
            Self::Gbk => GBK.decode_without_bom_handling_and_without_replacement(body),
        }
    }
}

/// Decodes a body by the charset its XML declaration names; by the one HTTP names if the
/// declaration names none; as UTF-8 if neither does. Malformed bytes are refused, not replaced.
pub(super) fn decode<'a>(
    body: &'a [u8],
    http_charset: Option<&str>,
) -> Result<(Charset, Cow<'a, str>), CharsetError> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let charset = match declared(body)?.or(http_charset) {
        Some(label) => Charset::from_label(label)?,
        None => Charset::Utf8,
    };
    let text = charset.decode(body).ok_or(CharsetError::Malformed)?;
    Ok((charset, text))
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
    fn v2_other_charsets_and_malformed_bytes_are_refused() {
        for (body, error) in [
            (
                &br#"<?xml version="1.0" encoding="UTF-16"?>"#[..],
                CharsetError::Unsupported,
            ),
            (
                br#"<?xml version="1.0" encoding=""?>"#,
                CharsetError::Unsupported,
            ),
            (
                br#"<?xml version="1.0" encoding="ISO-8859-1"?>"#,
                CharsetError::Unsupported,
            ),
            (
                br#"<?xml version="1.0" encoding="GBK""#,
                CharsetError::Declaration,
            ),
            (
                br#"<?xml version="1.0" encoding=GBK?>"#,
                CharsetError::Declaration,
            ),
            (b"\xff\xfe<\0a\0/\0>\0", CharsetError::Malformed),
            (b"<a>\xc0\xaf</a>", CharsetError::Malformed),
            (
                b"<?xml version=\"1.0\" encoding=\"GBK\"?><a>\xff</a>",
                CharsetError::Malformed,
            ),
        ] {
            assert_eq!(decode(body, None).map(|_| ()), Err(error), "{body:?}");
        }
        assert_eq!(
            decode(b"<a/>", Some("latin1")).map(|_| ()),
            Err(CharsetError::Unsupported)
        );
    }

    #[test]
    fn what_gbk_cannot_write_is_not_replaced() {
        assert_eq!(
            Charset::Gbk.encode("失败").as_deref(),
            Some(&b"\xca\xa7\xb0\xdc"[..])
        );
        assert_eq!(Charset::Gbk.encode("😀"), None);
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
