//! The caller's idempotency key and what makes two requests the same.

use std::{fmt, str::FromStr};

/// The value of `Idempotency-Key`: 1–255 visible ASCII characters. `abc` and `"abc"` are the same
/// key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

/// A header value that is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key has 1 to 255 visible ASCII characters")]
pub struct ParseIdempotencyKeyError;

impl IdempotencyKey {
    /// The key without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdempotencyKey {
    type Err = ParseIdempotencyKeyError;

    fn from_str(text: &str) -> Result<Self, ParseIdempotencyKeyError> {
        let text = text.trim();
        let bare = text
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap_or(text);
        let visible = bare.bytes().all(|b| b.is_ascii_graphic());
        if visible && (1..=255).contains(&bare.len()) {
            Ok(Self(bare.to_owned()))
        } else {
            Err(ParseIdempotencyKeyError)
        }
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A keyed hash per field of the parsed request, so that a reused key can be answered with the
/// names of the fields that differ and never their values.
///
/// Stored as `name → hash`; two requests are the same when the maps are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFingerprint(pub std::collections::BTreeMap<String, String>);

impl RequestFingerprint {
    /// The names of the fields in which two requests differ, in order.
    pub fn differing_fields(&self, other: &Self) -> Vec<String> {
        let names: std::collections::BTreeSet<&String> =
            self.0.keys().chain(other.0.keys()).collect();
        names
            .into_iter()
            .filter(|name| self.0.get(*name) != other.0.get(*name))
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_header_forms_name_the_same_key() {
        let bare: IdempotencyKey = "abc-1".parse().expect("a valid key");
        let quoted: IdempotencyKey = "\"abc-1\"".parse().expect("a valid key");
        assert_eq!(bare, quoted);
    }

    #[test]
    fn keys_outside_the_limits_are_refused() {
        for bad in ["", "\"\"", "a b", "é", "a\u{7f}", &"x".repeat(256)] {
            assert!(bad.parse::<IdempotencyKey>().is_err(), "{bad:?}");
        }
        assert!("x".repeat(255).parse::<IdempotencyKey>().is_ok());
    }

    #[test]
    fn differing_fields_are_named() {
        let print = |pairs: &[(&str, &str)]| {
            RequestFingerprint(
                pairs
                    .iter()
                    .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                    .collect(),
            )
        };
        let one = print(&[("amount", "1"), ("barcode", "2"), ("store_id", "3")]);
        let two = print(&[("amount", "9"), ("barcode", "2"), ("terminal_id", "3")]);
        assert_eq!(
            one.differing_fields(&two),
            ["amount", "store_id", "terminal_id"]
        );
        assert!(one.differing_fields(&one).is_empty());
    }
}
