//! A request as it arrives: parameters from the URL query and the form body, decoded by the charset
//! that `_input_charset` names in either place (`docs/protocol.md` 2.2). The bytes are kept, because
//! the signature is over bytes.

use std::{borrow::Cow, collections::BTreeMap};

use crate::charset::Charset;

/// The seven services of an AlipayHK barcode merchant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// `alipay.acquire.overseas.spot.pay`
    Pay,
    /// `alipay.acquire.overseas.query`
    Query,
    /// `alipay.acquire.cancel`
    Cancel,
    /// `alipay.acquire.overseas.spot.refund`
    Refund,
    /// `alipay.acquire.refund.query`
    RefundQuery,
    /// `alipay.overseas.secmerchant.offline.maintain`
    Maintain,
    /// `alipay.overseas.secmerchant.maintain.queryStatus`
    QueryStatus,
}

impl Service {
    /// Reads the `service` parameter.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "alipay.acquire.overseas.spot.pay" => Some(Self::Pay),
            "alipay.acquire.overseas.query" => Some(Self::Query),
            "alipay.acquire.cancel" => Some(Self::Cancel),
            "alipay.acquire.overseas.spot.refund" => Some(Self::Refund),
            "alipay.acquire.refund.query" => Some(Self::RefundQuery),
            "alipay.overseas.secmerchant.offline.maintain" => Some(Self::Maintain),
            "alipay.overseas.secmerchant.maintain.queryStatus" => Some(Self::QueryStatus),
            _ => None,
        }
    }

    /// The short name of the control API.
    pub(crate) fn short(self) -> &'static str {
        match self {
            Self::Pay => "pay",
            Self::Query => "query",
            Self::Cancel => "cancel",
            Self::Refund => "refund",
            Self::RefundQuery => "refund_query",
            Self::Maintain => "maintain",
            Self::QueryStatus => "query_status",
        }
    }
}

/// A request that is refused: by the gateway with `is_success=F`, or by the service, which signs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}")]
pub(crate) struct Refusal {
    /// The `error` element.
    pub(crate) code: Cow<'static, str>,
    /// For the log, and in a signed answer.
    pub(crate) reason: String,
}

impl Refusal {
    /// A refusal with `code`, and the reason to log.
    pub(crate) fn new(code: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            reason: reason.into(),
        }
    }
}

/// One parameter.
#[derive(Clone)]
pub(crate) struct Param {
    /// Its name, in the request's charset.
    pub(crate) name: String,
    /// Its value, form-decoded.
    pub(crate) value: String,
    name_bytes: Vec<u8>,
    value_bytes: Vec<u8>,
}

/// All parameters of a request, in order of arrival.
pub(crate) struct Message {
    params: Vec<Param>,
    /// In which the parameters are.
    pub(crate) charset: Charset,
    /// UTF-8 only if the URL query asked for it, else GBK (`docs/protocol.md` 2.3).
    pub(crate) answer_charset: Charset,
}

impl Message {
    /// A request that could not be read: it is answered in the default charset and echoes nothing.
    pub(crate) fn unreadable() -> Self {
        Self {
            params: Vec::new(),
            charset: Charset::Gbk,
            answer_charset: Charset::Gbk,
        }
    }

    /// Decodes the URL query and the form body. A parameter may stand in both, with one value.
    pub(crate) fn parse(query: &[u8], body: &[u8]) -> Result<Self, Refusal> {
        let in_query = form_decode(query);
        let mut pairs = in_query.clone();
        for pair in form_decode(body) {
            match pairs.iter().find(|(name, _)| *name == pair.0) {
                None => pairs.push(pair),
                Some(first) if *first == pair => {}
                Some(_) => {
                    let name = String::from_utf8_lossy(&pair.0).into_owned();
                    return Err(Refusal::new(
                        "ILLEGAL_ARGUMENT",
                        format!("two values: {name}"),
                    ));
                }
            }
        }
        let charset_of = |pairs: &[(Vec<u8>, Vec<u8>)]| {
            pairs
                .iter()
                .find(|(name, _)| name == b"_input_charset")
                .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
        };
        let charset = match charset_of(&pairs) {
            None => Charset::Gbk,
            Some(name) => Charset::parse(&name).ok_or_else(|| {
                Refusal::new("ILLEGAL_CHARSET", format!("unknown _input_charset: {name}"))
            })?,
        };
        let query_charset = charset_of(&in_query);
        Ok(Self {
            params: decode(pairs, charset)?,
            charset,
            answer_charset: match query_charset.as_deref().and_then(Charset::parse) {
                Some(Charset::Utf8) => Charset::Utf8,
                _ => Charset::Gbk,
            },
        })
    }

    /// The value of `name`; an empty value counts as absent (`docs/protocol.md` 2.2).
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.params
            .iter()
            .find(|param| param.name == name)
            .map(|param| param.value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// All parameters, in order of arrival.
    pub(crate) fn params(&self) -> &[Param] {
        &self.params
    }

    /// The bytes that the merchant signed.
    pub(crate) fn signed_bytes(&self) -> Vec<u8> {
        crate::signing::canonical(
            self.params
                .iter()
                .map(|param| (param.name_bytes.as_slice(), param.value_bytes.as_slice())),
        )
    }

    /// All parameters for the request log, with the code of the buyer masked.
    pub(crate) fn masked(&self) -> BTreeMap<String, String> {
        self.params
            .iter()
            .map(|param| {
                let value = if param.name == "buyer_identity_code" {
                    mask(&param.value)
                } else {
                    param.value.clone()
                };
                (param.name.clone(), value)
            })
            .collect()
    }
}

fn decode(pairs: Vec<(Vec<u8>, Vec<u8>)>, charset: Charset) -> Result<Vec<Param>, Refusal> {
    pairs
        .into_iter()
        .map(|(name_bytes, value_bytes)| {
            match (charset.decode(&name_bytes), charset.decode(&value_bytes)) {
                (Some(name), Some(value)) => Ok(Param {
                    name,
                    value,
                    name_bytes,
                    value_bytes,
                }),
                _ => Err(Refusal::new(
                    "INVALID_CHARACTER_SET",
                    format!("not {} text", charset.label()),
                )),
            }
        })
        .collect()
}

/// Keeps the first and the last two characters.
pub(crate) fn mask(code: &str) -> String {
    let characters: Vec<char> = code.chars().collect();
    if characters.len() < 8 {
        return "*".repeat(characters.len());
    }
    let shown = |at: usize| at < 2 || at + 2 >= characters.len();
    characters
        .iter()
        .enumerate()
        .map(|(at, c)| if shown(at) { *c } else { '*' })
        .collect()
}

/// Splits and percent-decodes `application/x-www-form-urlencoded` without assuming a charset.
fn form_decode(form: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    form.split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| match pair.iter().position(|byte| *byte == b'=') {
            Some(at) => (percent_decode(&pair[..at]), percent_decode(&pair[at + 1..])),
            None => (percent_decode(pair), Vec::new()),
        })
        .collect()
}

fn percent_decode(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match (first, tail) {
            (b'+', _) => decoded.push(b' '),
            (b'%', [high, low, after @ ..]) => {
                let mut byte = [0];
                if hex::decode_to_slice([*high, *low], &mut byte).is_ok() {
                    decoded.push(byte[0]);
                    rest = after;
                } else {
                    decoded.push(b'%');
                }
            }
            (byte, _) => decoded.push(byte),
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_charset_is_found_in_the_query_or_the_body() {
        let both = Message::parse(
            b"_input_charset=utf-8",
            b"_input_charset=utf-8&a=%E6%B8%AF+x%2B",
        );
        let both = both.unwrap();
        assert_eq!(both.get("a"), Some("港 x+"));
        assert_eq!(both.answer_charset, Charset::Utf8);
        let body = Message::parse(b"", b"_input_charset=UTF-8&a=%E6%B8%AF&b=").unwrap();
        assert_eq!(body.get("a"), Some("港"));
        assert_eq!(body.get("b"), None);
        assert_eq!(body.answer_charset, Charset::Gbk);
        let neither = Message::parse(b"a=%B8%DB", b"").unwrap();
        assert_eq!(neither.get("a"), Some("港"));
    }

    #[test]
    fn contradictions_and_bad_bytes_are_refused() {
        let code = |query: &[u8], body: &[u8]| Message::parse(query, body).err().unwrap().code;
        assert_eq!(code(b"a=1", b"a=2"), "ILLEGAL_ARGUMENT");
        assert_eq!(code(b"_input_charset=latin1", b""), "ILLEGAL_CHARSET");
        assert_eq!(
            code(b"_input_charset=UTF-8&a=%FF", b""),
            "INVALID_CHARACTER_SET"
        );
    }

    #[test]
    fn the_code_is_masked() {
        let message = Message::parse(b"buyer_identity_code=281234567890120101", b"").unwrap();
        assert_eq!(
            message.masked()["buyer_identity_code"],
            "28**************01"
        );
        assert_eq!(mask("2812"), "****");
    }
}
