//! JSON as it was sent, before anyone asks what it means.
//!
//! Reading a request straight into a struct stops at the first fault. This keeps the tree, so that
//! [`super::fields`] can name every fault at once, and it keeps what `serde_json::Value` loses:
//! members that occur twice are refused, and `12850.0` is not an integer.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};

/// One JSON value. No `Debug`: a text may be a scanned code.
#[expect(missing_debug_implementations, reason = "a text may be a scanned code")]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number written as an integer that fits 64 bits.
    Integer(i64),
    /// Any other number: with a fraction, an exponent, or too large.
    OtherNumber,
    /// A string.
    Text(String),
    /// An array.
    Array(Vec<Json>),
    /// An object, in the order it was sent.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Parses a body that must be one object. The error says what is wrong and where, and never
    /// repeats the text.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let json: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        match json {
            Self::Object(_) => Ok(json),
            _ => Err("the body must be a JSON object".to_owned()),
        }
    }

    /// The members of an object.
    pub fn members(&self) -> Option<&[(String, Self)]> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        Ok(i64::try_from(value).map_or(Json::OtherNumber, Json::Integer))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Json, E> {
        Ok(Json::OtherNumber)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Json, E> {
        Ok(Json::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        // Still read as values, so that a repeated member inside is refused here as elsewhere.
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members = Vec::new();
        let mut names = std::collections::HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !names.insert(name.clone()) {
                return Err(A::Error::custom("a member occurs twice in one object"));
            }
            members.push((name, map.next_value()?));
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Json::parse(text.as_bytes()).err().expect(text)
    }

    #[test]
    fn what_is_not_one_object_is_refused() {
        for text in [
            "",
            "{",
            "[]",
            "null",
            "1",
            "\"a\"",
            "{} {}",
            "{\"a\":1,}",
            "{'a':1}",
            "{\"a\":NaN}",
        ] {
            refused(text);
        }
        assert!(Json::parse(b"\xff{}").is_err());
        assert!(refused(&"{\"a\":".repeat(200)).contains("recursion"));
    }

    #[test]
    fn repeated_members_are_refused_at_any_depth() {
        assert!(refused(r#"{"a":1,"a":1}"#).contains("twice"));
        assert!(refused(r#"{"x":{"a":1,"\u0061":2}}"#).contains("twice"));
        assert!(refused(r#"{"x":[{"a":1,"a":2}]}"#).contains("twice"));
    }

    #[test]
    fn m5_only_integers_are_integers() {
        let value = |text: &str| {
            let json = Json::parse(format!("{{\"v\":{text}}}").as_bytes()).ok();
            match json {
                Some(Json::Object(mut members)) => members.pop().map(|(_, value)| value),
                _ => None,
            }
        };
        assert!(matches!(value("12850"), Some(Json::Integer(12850))));
        assert!(matches!(value("-1"), Some(Json::Integer(-1))));
        for other in [
            "12850.0",
            "1e3",
            "99999999999999999999",
            "9223372036854775808",
        ] {
            assert!(matches!(value(other), Some(Json::OtherNumber)), "{other}");
        }
    }

    #[test]
    fn q14_errors_never_repeat_the_text() {
        let message = refused(r#"{"barcode":"281234567890123456" oops}"#);
        assert!(!message.contains("2812"), "{message}");
    }
}
