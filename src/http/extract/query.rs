//! The query string, read parameter by parameter so that every fault is named at once.

use axum::{extract::FromRequestParts, http::request::Parts};
use chrono::{DateTime, Utc};

use crate::{
    domain::text::is_deceptive,
    http::problem::{FieldFault, Kind, Problem},
};

/// The query string as pairs.
#[derive(Clone, Debug)]
pub struct RawPairs(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for RawPairs {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        Ok(Self::parse(query))
    }
}

impl RawPairs {
    fn parse(query: &str) -> Self {
        Self(
            form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    /// Starts reading.
    pub fn reader(&self) -> QueryReader<'_> {
        QueryReader {
            pairs: &self.0,
            asked: Vec::new(),
            faults: Vec::new(),
        }
    }
}

/// Reads parameters by name and remembers every fault.
#[derive(Debug)]
pub struct QueryReader<'q> {
    pairs: &'q [(String, String)],
    asked: Vec<&'static str>,
    faults: Vec<FieldFault>,
}

impl<'q> QueryReader<'q> {
    /// The value of a parameter that may be left out.
    pub fn text(&mut self, name: &'static str) -> Option<&'q str> {
        self.asked.push(name);
        let mut values = self
            .pairs
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, v)| v.as_str());
        let value = values.next()?;
        if values.next().is_some() {
            self.fault(name, "repeated", "may be given once");
        }
        // Nothing of ours holds any, and Postgres takes no text with a zero byte.
        if value.chars().any(is_deceptive) {
            self.fault(name, "invalid_value", "must not contain control characters");
            return None;
        }
        Some(value)
    }

    /// A parameter with a form of its own; `detail` says which.
    pub fn parse<T>(
        &mut self,
        name: &'static str,
        detail: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.text(name)?;
        let parsed = read(value);
        if parsed.is_none() {
            self.fault(name, "invalid_value", detail);
        }
        parsed
    }

    /// A fault where a parameter is left out, after it was read.
    pub fn require(&mut self, name: &'static str) {
        if !self.pairs.iter().any(|(given, _)| given == name) {
            self.fault(name, "required", "must be given");
        }
    }

    /// An RFC 3339 instant.
    pub fn instant(&mut self, name: &'static str) -> Option<DateTime<Utc>> {
        let detail =
            "must be an RFC 3339 instant such as 2026-11-22T04:00:00Z, with `+` sent as %2B";
        self.parse(name, detail, instant)
    }

    fn fault(&mut self, name: &str, code: &'static str, detail: &str) {
        self.faults.push(FieldFault {
            pointer: None,
            parameter: Some(
                name.chars()
                    .filter(|c| !is_deceptive(*c))
                    .take(64)
                    .collect(),
            ),
            code,
            detail: detail.to_owned(),
        });
    }

    /// Reports every parameter that was not asked for, and all faults as one problem.
    pub fn finish(mut self) -> Result<(), Problem> {
        for (name, _) in self.pairs {
            if !self.asked.contains(&name.as_str()) {
                self.fault(
                    name,
                    "unknown_parameter",
                    "is not a parameter of this operation",
                );
            }
        }
        if self.faults.is_empty() {
            return Ok(());
        }
        let detail = match self.faults.as_slice() {
            [one] => {
                let name = one.parameter.as_deref().unwrap_or_default();
                format!("the parameter `{name}` {}", one.detail)
            }
            many => format!("{} faults, listed in `errors`", many.len()),
        };
        Err(Problem::new(Kind::InvalidQuery, detail).with_errors(self.faults))
    }
}

/// An RFC 3339 instant.
pub fn instant(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text)
        .ok()
        .map(|at| at.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_repeated_and_wrong_parameters_are_named_together() {
        let pairs = RawPairs::parse("limit=x&status=a&status=b&stauts=c");
        let mut reader = pairs.reader();
        assert_eq!(
            reader.parse("limit", "must be a number", |v| v.parse::<u8>().ok()),
            None
        );
        assert_eq!(reader.text("status"), Some("a"));
        assert_eq!(reader.text("cursor"), None);
        let problem = reader.finish().expect_err("three faults");
        let document = problem.document("r", "/");
        let found: Vec<_> = document
            .errors
            .iter()
            .map(|fault| (fault.parameter.as_deref().unwrap_or_default(), fault.code))
            .collect();
        assert_eq!(
            found,
            [
                ("limit", "invalid_value"),
                ("status", "repeated"),
                ("stauts", "unknown_parameter")
            ]
        );
    }
}
