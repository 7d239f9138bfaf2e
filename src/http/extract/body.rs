//! The body, read whole; the JSON body.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{FromRequest, Request, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
};

use super::json::Json;
use crate::http::problem::{Kind, Problem};

/// Largest body, in bytes (`docs/invariants.md` Q8).
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// How long a body may take to arrive. This bounds the reading only: nothing has been attempted
/// yet, so giving up here cuts no work.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// A body that is one JSON object without repeated members.
///
/// It has no `Debug`, since it may carry a scanned code.
#[expect(missing_debug_implementations, reason = "it may carry a scanned code")]
pub struct JsonBody(pub Json);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !declares_json(request.headers()) {
            return Err(Problem::new(
                Kind::UnsupportedMediaType,
                "send the header `Content-Type: application/json`",
            ));
        }
        let bytes = read_whole(request, state).await?;
        Json::parse(&bytes)
            .map(Self)
            .map_err(|detail| Problem::new(Kind::MalformedJson, detail))
    }
}

/// Reads a body to its end, within the limits of size and time.
pub async fn read_whole<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    let reading = Bytes::from_request(request, state);
    tokio::time::timeout(READ_TIMEOUT, reading)
        .await
        .map_err(|_| {
            Problem::new(
                Kind::RequestTimeout,
                "the body must arrive within 10 seconds",
            )
        })?
        .map_err(|rejection| unreadable(&rejection))
}

fn unreadable(rejection: &BytesRejection) -> Problem {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        Problem::body_too_large()
    } else {
        Problem::new(Kind::UnreadableBody, "the body ended early or was garbled")
    }
}

/// `application/json`, at most with `charset=utf-8`.
fn declares_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let Ok(text) = value.to_str() else {
        return false;
    };
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let charset = parts
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.eq_ignore_ascii_case("charset"));
    let utf_8 =
        charset.is_none_or(|(_, value)| value.trim_matches('"').eq_ignore_ascii_case("utf-8"));
    essence.eq_ignore_ascii_case("application/json") && utf_8
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn only_json_in_utf_8_is_read() {
        let declares = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
            declares_json(&headers)
        };
        for good in ["application/json", "Application/JSON; Charset=\"UTF-8\""] {
            assert!(declares(good), "{good}");
        }
        for bad in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/json; charset=gbk",
            "application/merge-patch+json",
            "",
        ] {
            assert!(!declares(bad), "{bad}");
        }
        assert!(!declares_json(&HeaderMap::new()));
    }
}
