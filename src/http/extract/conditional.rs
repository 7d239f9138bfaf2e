//! Reads that wait for a change (`?wait=`) and spare the caller what it knows (`If-None-Match`); changes
//! of what the caller has read and nothing else (`If-Match`).

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{headers::wait_seconds, query::RawPairs};
use crate::{
    app::Wait,
    http::{
        answer::{EntityTag, Resource, not_modified},
        problem::Problem,
    },
};

/// How a caller wants to read one resource.
#[derive(Debug, PartialEq, Eq)]
pub struct Conditional {
    wait: Option<Duration>,
    known: KnownVersions,
}

impl<S: Send + Sync> FromRequestParts<S> for Conditional {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = RawPairs::from_request_parts(parts, state).await?;
        let mut reader = query.reader();
        let detail = "must be a whole number of seconds from 0 to 60";
        let seconds = reader.parse("wait", detail, wait_seconds);
        reader.finish()?;
        Ok(Self {
            wait: seconds.filter(|s| *s > 0).map(Duration::from_secs),
            known: KnownVersions::read(&parts.headers, &header::IF_NONE_MATCH),
        })
    }
}

impl Conditional {
    /// How long to wait, and away from which version.
    pub fn wait(&self) -> Option<Wait> {
        self.wait.map(|at_most| Wait {
            at_most,
            known_version: self.known.first_version(),
        })
    }

    /// The resource, or `304` where the caller has this version.
    pub fn answer<V: Serialize>(&self, tag: impl Into<EntityTag>, view: V) -> Response {
        let tag = tag.into();
        if tag.stands() && self.known.include(tag.version) {
            not_modified(tag.version)
        } else {
            Resource::new(tag, view).into_response()
        }
    }
}

/// Which versions a change may be made to (`If-Match`, RFC 9110, 13.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IfMatch(Option<Vec<i64>>);

impl IfMatch {
    /// The versions; `None`: any.
    pub fn versions(&self) -> Option<&[i64]> {
        self.0.as_deref()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        if !parts.headers.contains_key(header::IF_MATCH) {
            return Ok(Self(None));
        }
        Ok(Self(
            match KnownVersions::read(&parts.headers, &header::IF_MATCH) {
                KnownVersions::Any => None,
                KnownVersions::These(versions) => Some(versions),
            },
        ))
    }
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
    fn read(headers: &HeaderMap, name: &HeaderName) -> Self {
        if tags(headers, name).any(|tag| tag == ANY) {
            return Self::Any;
        }
        Self::These(tags(headers, name).filter_map(version_of).collect())
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

/// Instead of tags: whatever there is.
const ANY: &str = "*";

/// The tags of a header. Their comparison is weak, as the RFC asks for `If-None-Match`: `W/"3"` is `"3"`.
fn tags<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(name).iter();
    values
        .filter_map(|value: &HeaderValue| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .map(|tag| tag.strip_prefix("W/").unwrap_or(tag))
}

/// Whether the caller has what bears this tag (`If-None-Match`).
pub fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    tags(headers, &header::IF_NONE_MATCH).any(|known| known == ANY || known == tag)
}

fn version_of(tag: &str) -> Option<i64> {
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
            KnownVersions::read(&headers, &header::IF_NONE_MATCH)
        };
        assert_eq!(read("\"3\""), KnownVersions::These(vec![3]));
        assert_eq!(read("W/\"3\", \"abc\", 4"), KnownVersions::These(vec![3]));
        assert_eq!(read("*"), KnownVersions::Any);
        assert!(!KnownVersions::read(&HeaderMap::new(), &header::IF_NONE_MATCH).include(1));
    }
}
