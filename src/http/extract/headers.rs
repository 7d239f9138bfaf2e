//! The headers that steer a create.

use std::time::Duration;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, request::Parts},
};

use crate::{
    domain::idempotency::IdempotencyKey,
    http::problem::{Kind, Problem},
};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// Longest time an answer is held, in seconds.
pub const MAX_WAIT_SECONDS: u64 = 60;
/// How long a create's answer is held where the caller does not say, in seconds.
pub const DEFAULT_WAIT_SECONDS: u64 = 5;

/// The `Idempotency-Key` header.
#[derive(Clone, Debug)]
pub struct Key(pub IdempotencyKey);

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        idempotency_key(&parts.headers).map(Self)
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<IdempotencyKey, Problem> {
    let invalid = || {
        Problem::new(
            Kind::IdempotencyKeyInvalid,
            "the header must have one value of 1 to 255 visible ASCII characters",
        )
    };
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let value = values.next().ok_or_else(|| {
        Problem::new(
            Kind::IdempotencyKeyRequired,
            "send an Idempotency-Key header that is new for each payment or refund and the same for each repeat",
        )
    })?;
    if values.next().is_some() {
        return Err(invalid());
    }
    let text = value.to_str().map_err(|_| invalid())?;
    text.parse().map_err(|_| invalid())
}

/// `Prefer: wait=N` (RFC 7240): how long the answer may be held while the outcome is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreferWait {
    /// What the caller asked for.
    pub asked: Option<u64>,
}

impl PreferWait {
    /// How long to hold the answer.
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.asked.unwrap_or(DEFAULT_WAIT_SECONDS))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PreferWait {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        prefer_wait(&parts.headers)
    }
}

/// Unknown preferences are ignored, as RFC 7240 wants; a `wait` that cannot be kept is refused,
/// since a till that misspells it would otherwise wait a time it did not choose.
fn prefer_wait(headers: &HeaderMap) -> Result<PreferWait, Problem> {
    let values = headers.get_all(PREFER);
    let wait = values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|preference| preference.split(';').next())
        .map(|preference| preference.split_once('=').unwrap_or((preference, "")))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("wait"));
    let Some((_, value)) = wait else {
        return Ok(PreferWait { asked: None });
    };
    match wait_seconds(value.trim().trim_matches('"')) {
        Some(seconds) => Ok(PreferWait {
            asked: Some(seconds),
        }),
        None => Err(Problem::new(
            Kind::PreferInvalid,
            "`wait` must be a whole number of seconds from 0 to 60",
        )),
    }
}

/// A whole number of seconds from 0 to 60.
pub fn wait_seconds(text: &str) -> Option<u64> {
    let digits = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .filter(|seconds| *seconds <= MAX_WAIT_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn with(name: &HeaderName, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn prefer_wait_is_read_among_other_preferences() {
        let read = |values: &[&'static str]| {
            prefer_wait(&with(&PREFER, values)).map_err(|problem| problem.kind)
        };
        let asked = |asked| Ok(PreferWait { asked });
        assert_eq!(read(&[]), asked(None));
        assert_eq!(read(&["respond-async"]), asked(None));
        assert_eq!(read(&["wait=10"]), asked(Some(10)));
        assert_eq!(read(&["respond-async, WAIT = \"0\""]), asked(Some(0)));
        assert_eq!(read(&["return=minimal", "wait=60"]), asked(Some(60)));
        for bad in [
            "wait", "wait=", "wait=61", "wait=-1", "wait=1.5", "wait=ten", "wait=999",
        ] {
            assert_eq!(read(&[bad]), Err(Kind::PreferInvalid), "{bad}");
        }
    }

    #[test]
    fn a_missing_key_and_a_bad_key_are_told_apart() {
        let read = |values: &[&'static str]| {
            idempotency_key(&with(&IDEMPOTENCY_KEY, values)).map_err(|problem| problem.kind)
        };
        assert_eq!(read(&[]), Err(Kind::IdempotencyKeyRequired));
        assert_eq!(read(&[""]), Err(Kind::IdempotencyKeyInvalid));
        assert_eq!(read(&["a", "b"]), Err(Kind::IdempotencyKeyInvalid));
        assert_eq!(read(&["\"k-1\""]), read(&["k-1"]));
        assert!(read(&["k-1"]).is_ok());
    }
}
