//! What answers have in common: the version of a resource as its `ETag`, where it is, when to read it
//! again; how money and time are written.

use axum::{
    Json,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::PreferWait;
use crate::domain::{money::Money, payments::payment::Payment, standing::Standing};

const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// RFC 3339 in UTC with milliseconds.
pub fn timestamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// An amount of money.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Money)]
pub struct MoneyView {
    /// Integer minor units: cents for HKD.
    #[schema(example = 12850)]
    pub value: i64,
    /// ISO 4217. Only HKD today.
    #[schema(example = "HKD", pattern = "^[A-Z]{3}$")]
    pub currency: &'static str,
}

impl From<Money> for MoneyView {
    fn from(money: Money) -> Self {
        Self {
            value: money.minor(),
            currency: money.currency().code(),
        }
    }
}

/// A body and the headers that go with it.
#[derive(Clone, Debug)]
pub struct Resource<V> {
    headers: HeaderMap,
    view: V,
}

/// How a create ended.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    /// Where it stands.
    pub standing: Standing,
    /// Whether an earlier request with the same key made it.
    pub is_replay: bool,
    /// What the caller said of waiting.
    pub prefer: PreferWait,
}

impl<V> Resource<V> {
    /// A resource with its version.
    pub fn new(tag: impl Into<EntityTag>, view: V) -> Self {
        Self::unversioned(view).with(header::ETAG, &tag.into().text())
    }

    /// A body that is no resource of its own.
    pub fn unversioned(view: V) -> Self {
        Self {
            headers: HeaderMap::new(),
            view,
        }
    }

    /// Where it can be read.
    #[must_use]
    pub fn located(self, path: &str) -> Self {
        self.with(header::LOCATION, path)
    }

    /// After how many seconds to read it again; `None` once it is final.
    #[must_use]
    pub fn retry_after(self, seconds: Option<u32>) -> Self {
        match seconds {
            Some(seconds) => self.with(header::RETRY_AFTER, &seconds.to_string()),
            None => self,
        }
    }

    /// What the caller said of waiting, where it said something.
    #[must_use]
    pub fn prefer(self, prefer: PreferWait) -> Self {
        match prefer.asked {
            Some(seconds) => self.with(PREFERENCE_APPLIED, &format!("wait={seconds}")),
            None => self,
        }
    }

    /// The answer to a request whose effect may take a while: `done` once nothing will change by
    /// itself, and until then 202 with the time to look again.
    pub fn standing(self, standing: Standing, done: StatusCode) -> (StatusCode, Self) {
        let status = if standing.is_settled() {
            done
        } else {
            StatusCode::ACCEPTED
        };
        (status, self.retry_after(standing.retry_after_seconds()))
    }

    /// The answer to a create.
    pub fn made(self, made: Made) -> (StatusCode, Self) {
        let done = if made.is_replay {
            StatusCode::OK
        } else {
            StatusCode::CREATED
        };
        let (status, resource) = self.prefer(made.prefer).standing(made.standing, done);
        let resource = if made.is_replay {
            resource.with(IDEMPOTENT_REPLAYED, "true")
        } else {
            resource
        };
        (status, resource)
    }

    fn with(mut self, name: HeaderName, value: &str) -> Self {
        insert(&mut self.headers, name, value);
        self
    }
}

impl<V: Serialize> IntoResponse for Resource<V> {
    fn into_response(self) -> Response {
        (self.headers, Json(self.view)).into_response()
    }
}

/// The caller has this version.
pub fn not_modified(version: i64) -> Response {
    let mut headers = HeaderMap::new();
    insert(&mut headers, header::ETAG, &EntityTag::from(version).text());
    (StatusCode::NOT_MODIFIED, headers).into_response()
}

/// What tells one state of a resource from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag {
    /// Counts the changes that are recorded.
    pub version: i64,
    /// Whether it reads otherwise soon, without a change: this tag is never told to be still good.
    is_passing: bool,
}

impl EntityTag {
    /// Whether a caller who has this version has what would be answered.
    pub const fn stands(self) -> bool {
        !self.is_passing
    }

    /// The version in quotes.
    fn text(self) -> String {
        let Self {
            version,
            is_passing,
        } = self;
        let suffix = if is_passing { "-checking" } else { "" };
        format!("\"{version}{suffix}\"")
    }
}

impl From<i64> for EntityTag {
    fn from(version: i64) -> Self {
        Self {
            version,
            is_passing: false,
        }
    }
}

impl From<&Payment> for EntityTag {
    fn from(payment: &Payment) -> Self {
        Self {
            version: payment.version,
            is_passing: payment.decision_is_being_checked(),
        }
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // Everything put here is made of digits, ids and fixed words.
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::standing::{Doubt, NextActionKind};

    #[test]
    fn final_open_and_replayed_resources_have_their_own_status() {
        let standing = |is_final| {
            if is_final {
                Standing::Settled(NextActionKind::Done)
            } else {
                Standing::Open {
                    doubt: Doubt::Pending,
                    next_action: NextActionKind::Wait,
                    poll_after_ms: 1_500,
                }
            }
        };
        let answer = |is_final, is_replay, asked| {
            let made = Made {
                standing: standing(is_final),
                is_replay,
                prefer: PreferWait { asked },
            };
            let (status, resource) = Resource::new(3, "view").made(made);
            (status.as_u16(), resource.headers)
        };
        for (is_final, is_replay, expected) in [
            (true, false, 201),
            (true, true, 200),
            (false, false, 202),
            (false, true, 202),
        ] {
            let (status, headers) = answer(is_final, is_replay, Some(3));
            assert_eq!(status, expected);
            let retry_after = headers.get("retry-after").map(HeaderValue::as_bytes);
            assert_eq!(retry_after, (!is_final).then_some(b"2".as_slice()));
            assert_eq!(headers.contains_key("idempotent-replayed"), is_replay);
            assert_eq!(headers["preference-applied"], "wait=3");
            assert_eq!(headers["etag"], "\"3\"");
        }
        let (_, headers) = answer(true, false, None);
        assert!(!headers.contains_key("preference-applied"));
    }

    #[test]
    fn a_time_has_milliseconds() {
        let at = "2026-11-22T12:00:00.1239+08:00".parse().expect("a time");
        assert_eq!(timestamp(at), "2026-11-22T04:00:00.123Z");
    }
}
