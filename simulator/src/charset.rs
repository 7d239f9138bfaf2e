//! The three character sets of the protocol. A character outside GBK becomes `?`, as it does in
//! Alipay's own (Java) encoder, so that text and signature agree.

use encoding_rs::{EncoderResult, Encoding, GBK, UTF_8};

/// A character set that `_input_charset` may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Charset {
    Utf8,
    /// GBK, the default (`docs/protocol.md` 2.2).
    Gbk,
    /// GB2312: read and written as its superset GBK.
    Gb2312,
}

impl Charset {
    /// Reads the value of `_input_charset`; case does not matter.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name.to_ascii_uppercase().as_str() {
            "UTF-8" => Some(Self::Utf8),
            "GBK" => Some(Self::Gbk),
            "GB2312" => Some(Self::Gb2312),
            _ => None,
        }
    }

    /// The name as an XML declaration spells it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Utf8 => "UTF-8",
            Self::Gbk => "GBK",
            Self::Gb2312 => "GB2312",
        }
    }

    fn encoding(self) -> &'static Encoding {
        match self {
            Self::Utf8 => UTF_8,
            Self::Gbk | Self::Gb2312 => GBK,
        }
    }

    /// Decodes `bytes`; `None` when they are not text of this character set.
    pub(crate) fn decode(self, bytes: &[u8]) -> Option<String> {
        self.encoding()
            .decode_without_bom_handling_and_without_replacement(bytes)
            .map(std::borrow::Cow::into_owned)
    }

    /// Encodes `text`, with `?` for a character that this character set lacks.
    pub(crate) fn encode(self, text: &str) -> Vec<u8> {
        if self == Self::Utf8 {
            return text.as_bytes().to_vec();
        }
        let mut encoder = self.encoding().new_encoder();
        let mut bytes = Vec::new();
        let mut rest = text;
        loop {
            // GBK needs at most two bytes for a character; the slack is for the encoder's state.
            bytes.reserve(rest.len() * 2 + 16);
            let (result, read) =
                encoder.encode_from_utf8_to_vec_without_replacement(rest, &mut bytes, true);
            rest = &rest[read..];
            match result {
                EncoderResult::InputEmpty => return bytes,
                EncoderResult::Unmappable(_) => bytes.push(b'?'),
                EncoderResult::OutputFull => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gbk_text_survives_both_ways_and_a_foreign_character_becomes_a_question_mark() {
        let bytes = Charset::Gbk.encode("交易不存在");
        assert_eq!(bytes.len(), 10);
        assert_eq!(Charset::Gb2312.decode(&bytes).unwrap(), "交易不存在");
        assert_eq!(Charset::Gbk.encode("a😀b"), b"a?b");
        assert_eq!(Charset::Utf8.decode(&bytes), None);
    }
}
