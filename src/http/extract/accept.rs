//! Refuses, before anything is attempted, callers that would not take the answer.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, Response, header},
    middleware::Next,
    response::IntoResponse,
};

use crate::http::problem::{Kind, Problem};

/// The middleware: `406` where an `Accept` header excludes what the path answers. Refusals are JSON
/// everywhere.
pub async fn require(request: Request, next: Next) -> Response<Body> {
    let answer = answer_of(request.uri().path());
    if takes(request.headers(), answer) {
        next.run(request).await
    } else {
        Problem::new(
            Kind::NotAcceptable,
            format!("the Accept header must allow {answer}"),
        )
        .into_response()
    }
}

/// The media type of a path's answers.
fn answer_of(path: &str) -> &'static str {
    if path.ends_with("/differences.csv") {
        "text/csv"
    } else if path.ends_with("/statement") {
        "text/html"
    } else {
        "application/json"
    }
}

/// Whether some media range of the header allows the answer with a weight above zero; a header that
/// cannot be read is taken as absent (RFC 9110, 12.5.1).
fn takes(headers: &HeaderMap, answer: &str) -> bool {
    let values = headers.get_all(header::ACCEPT);
    let mut ranges = values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|range| !range.is_empty())
        .peekable();
    ranges.peek().is_none() || ranges.any(|range| allows(range, answer))
}

fn allows(range: &str, answer: &str) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default().to_ascii_lowercase();
    let refused = parts.any(|parameter| {
        let weight = parameter
            .strip_prefix("q=")
            .or(parameter.strip_prefix("Q="));
        weight.is_some_and(|q| !q.is_empty() && q.chars().all(|c| matches!(c, '0' | '.')))
    });
    let all_of_its_kind = media
        .strip_suffix("/*")
        .is_some_and(|kind| kind == "*" || answer.split('/').next() == Some(kind));
    // Who asks for JSON takes any answer of ours: so it was before there were others.
    let json = [
        "application/*",
        "application/json",
        crate::http::problem::MEDIA_TYPE,
    ];
    (all_of_its_kind || media == answer || json.contains(&media.as_str())) && !refused
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
            super::takes(&headers, "application/json")
        };
        assert!(super::takes(&HeaderMap::new(), "application/json"));
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

    #[test]
    fn what_is_no_json_is_asked_for_by_its_own_type() {
        let takes = |path: &str, accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            super::takes(&headers, answer_of(path))
        };
        let (sheet, page) = (
            "/v1/reconciliations/x/differences.csv",
            "/v1/reconciliations/x/statement",
        );
        for (path, accept, is_taken) in [
            (sheet, "text/csv", true),
            (sheet, "text/*", true),
            (sheet, "application/json", true),
            (sheet, "text/html", false),
            (sheet, "text/csv;q=0", false),
            (page, "text/html", true),
            (page, "text/html,application/xhtml+xml,*/*;q=0.8", true),
            (page, "image/*", false),
            ("/v1/payments", "text/*", false),
        ] {
            assert_eq!(takes(path, accept), is_taken, "{path} {accept}");
        }
    }
}
