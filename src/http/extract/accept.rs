//! Refuses, before anything is attempted, callers that would not take the answer.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, Response, header},
    middleware::Next,
    response::IntoResponse,
};

use crate::http::problem::{Kind, Problem};

/// The middleware: `406` where an `Accept` header excludes JSON.
pub async fn require_json(request: Request, next: Next) -> Response<Body> {
    if takes_json(request.headers()) {
        next.run(request).await
    } else {
        Problem::new(
            Kind::NotAcceptable,
            "the Accept header must allow application/json",
        )
        .into_response()
    }
}

/// Whether some media range of the header allows JSON with a weight above zero; a header that
/// cannot be read is taken as absent (RFC 9110, 12.5.1).
fn takes_json(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT);
    let mut ranges = values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|range| !range.is_empty())
        .peekable();
    ranges.peek().is_none() || ranges.any(allows_json)
}

fn allows_json(range: &str) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default().to_ascii_lowercase();
    let refused = parts.any(|parameter| {
        let weight = parameter
            .strip_prefix("q=")
            .or(parameter.strip_prefix("Q="));
        weight.is_some_and(|q| !q.is_empty() && q.chars().all(|c| matches!(c, '0' | '.')))
    });
    let json = ["*/*", "application/*", "application/json"].contains(&media.as_str())
        || media == crate::http::problem::MEDIA_TYPE;
    json && !refused
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn json_is_recognised_in_every_common_form() {
        let takes = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            takes_json(&headers)
        };
        assert!(takes_json(&HeaderMap::new()));
        for good in [
            "",
            "*/*",
            "application/json",
            "text/html, */*;q=0.8",
            "Application/JSON; q=0.5",
            "application/json, text/plain, */*",
            "application/problem+json",
        ] {
            assert!(takes(good), "{good}");
        }
        for bad in [
            "text/html",
            "application/xml",
            "application/json;q=0",
            "*/*;q=0.0",
        ] {
            assert!(!takes(bad), "{bad}");
        }
    }
}
