//! `GET /v1/payments/{id}`: read a payment, or wait for it to change.

use std::time::Duration;

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{etag, insert, represent, view::PaymentView};
use crate::{
    app::{App, Wait},
    http::{
        extract::{Caller, PaymentPath, ReadPayments, headers::wait_seconds, query::RawPairs},
        problem::Problem,
        trace::Facts,
    },
};

/// Read a payment
///
/// Answers from the database; Alipay is never asked. With `wait`, the answer is held until the
/// version differs from the one in `If-None-Match`, or, without that header, from the one found
/// first; whichever it is when the time is over is the answer.
#[utoipa::path(
    get,
    path = "/v1/payments/{id}",
    tag = "payments",
    operation_id = "get_payment",
    security(("api_key" = ["payments:read"])),
    params(
        ("id" = String, Path, description = "The payment's id.", example = "pay_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c"),
        ("wait" = Option<i32>, Query, minimum = 0, maximum = 60, description = "For how many seconds the answer may be held."),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of the version already known.", example = "\"2\""),
    ),
    responses(
        (status = 200, description = "The payment.", body = PaymentView,
            headers(("ETag" = String, description = "The payment's version."))),
        (status = 304, description = "The payment still has the version of `If-None-Match`.",
            headers(("ETag" = String, description = "The payment's version."))),
    ),
)]
pub async fn read(
    State(app): State<App>,
    Caller { principal, .. }: Caller<ReadPayments>,
    facts: Facts,
    PaymentPath(id): PaymentPath,
    query: RawPairs,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let wait = wait_parameter(&query)?;
    let known = KnownVersions::read(&headers);
    facts.learn_payment(id);
    let wait = wait.map(|at_most| Wait {
        at_most,
        known_version: known.first_version(),
    });
    let payment = app
        .get_payment(principal.merchant_id, id, wait)
        .await?
        .ok_or_else(Problem::payment_not_found)?;
    if known.include(payment.version) {
        let mut headers = HeaderMap::new();
        insert(&mut headers, header::ETAG, &etag(&payment));
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    Ok(represent(&payment).into_response())
}

fn wait_parameter(query: &RawPairs) -> Result<Option<Duration>, Problem> {
    let mut reader = query.reader();
    let detail = "must be a whole number of seconds from 0 to 60";
    let seconds = reader.parse("wait", detail, wait_seconds);
    reader.finish()?;
    Ok(seconds.filter(|s| *s > 0).map(Duration::from_secs))
}

/// The versions the caller knows already (`If-None-Match`, RFC 9110, 13.1.2).
#[derive(Debug, PartialEq, Eq)]
enum KnownVersions {
    /// `*`: any.
    Any,
    /// These; none where the header is missing. Tags that are not ours match nothing.
    These(Vec<i64>),
}

impl KnownVersions {
    fn read(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::IF_NONE_MATCH);
        let tags: Vec<&str> = values
            .iter()
            .filter_map(|value: &HeaderValue| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .collect();
        if tags.contains(&"*") {
            return Self::Any;
        }
        Self::These(tags.into_iter().filter_map(version_of).collect())
    }

    /// Which version to wait away from.
    fn first_version(&self) -> Option<i64> {
        match self {
            Self::Any => None,
            Self::These(versions) => versions.first().copied(),
        }
    }

    fn include(&self, version: i64) -> bool {
        match self {
            Self::Any => true,
            Self::These(versions) => versions.contains(&version),
        }
    }
}

/// The comparison is weak, as the RFC asks for this header: `W/"3"` is `"3"`.
fn version_of(tag: &str) -> Option<i64> {
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_tags_are_read_weakly_and_foreign_ones_match_nothing() {
        let read = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(value));
            KnownVersions::read(&headers)
        };
        assert_eq!(read("\"3\""), KnownVersions::These(vec![3]));
        assert_eq!(read("W/\"3\", \"abc\", 4"), KnownVersions::These(vec![3]));
        assert_eq!(read("*"), KnownVersions::Any);
        assert!(!KnownVersions::read(&HeaderMap::new()).include(1));
    }
}
