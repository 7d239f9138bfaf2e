//! What a member of a request may be: how it is read, and how the OpenAPI document describes that.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use utoipa::openapi::{RefOr, Schema};

use super::fields::ObjectReader;
use crate::domain::text::{fits_alipay, is_deceptive};

/// What a member may be.
pub(in crate::http) trait Rule {
    /// What is read.
    type Value;

    /// Reads the member; `None` where it is left out, or faulty, which is reported.
    fn read(&self, reader: &mut ObjectReader, name: &'static str) -> Option<Self::Value>;

    /// The JSON Schema.
    fn schema(&self) -> Value;

    /// Adds the named schemas that the schema refers to.
    fn referred(&self, _schemas: &mut Vec<(String, RefOr<Schema>)>) {}

    /// The same, where the document names what a left out member means.
    fn with_default(self, default: fn() -> Value) -> WithDefault<Self>
    where
        Self: Sized,
    {
        WithDefault {
            rule: self,
            default,
        }
    }
}

/// A rule with what leaving the member out means.
pub(in crate::http) struct WithDefault<R> {
    rule: R,
    default: fn() -> Value,
}

impl<R: Rule> Rule for WithDefault<R> {
    type Value = R::Value;

    fn read(&self, reader: &mut ObjectReader, name: &'static str) -> Option<R::Value> {
        self.rule.read(reader, name)
    }

    fn schema(&self) -> Value {
        let mut schema = self.rule.schema();
        schema["default"] = (self.default)();
        schema
    }

    fn referred(&self, schemas: &mut Vec<(String, RefOr<Schema>)>) {
        self.rule.referred(schemas);
    }
}

/// `true` or `false`.
pub(in crate::http) struct Boolean;

impl Rule for Boolean {
    type Value = bool;

    fn read(&self, reader: &mut ObjectReader, name: &'static str) -> Option<bool> {
        reader.boolean(name)
    }

    fn schema(&self) -> Value {
        json!({"type": "boolean"})
    }
}

/// An integer within limits.
pub(in crate::http) struct Integer {
    /// The smallest.
    pub(in crate::http) min: i64,
    /// The largest.
    pub(in crate::http) max: i64,
}

impl Rule for Integer {
    type Value = i64;

    fn read(&self, reader: &mut ObjectReader, name: &'static str) -> Option<i64> {
        reader.integer(name, self.min, self.max)
    }

    fn schema(&self) -> Value {
        json!({
            "type": "integer",
            "format": "int64",
            "minimum": self.min,
            "maximum": self.max,
        })
    }
}

/// The same, of what fits 32 bits.
pub(in crate::http) struct ShortInteger {
    /// The smallest.
    pub(in crate::http) min: i32,
    /// The largest.
    pub(in crate::http) max: i32,
}

impl Rule for ShortInteger {
    type Value = i32;

    fn read(&self, reader: &mut ObjectReader, name: &'static str) -> Option<i32> {
        let value = reader.integer(name, self.min.into(), self.max.into())?;
        i32::try_from(value).ok()
    }

    fn schema(&self) -> Value {
        json!({
            "type": "integer",
            "format": "int32",
            "minimum": self.min,
            "maximum": self.max,
        })
    }
}

/// An RFC 3339 instant.
pub(in crate::http) struct Instant;

impl Rule for Instant {
    type Value = DateTime<Utc>;

    fn read(&self, reader: &mut ObjectReader, name: &'static str) -> Option<DateTime<Utc>> {
        reader.instant(name)
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "format": "date-time"})
    }
}

/// A text for people: 1 to `max` characters, none of them control characters; trimmed.
pub(in crate::http) struct Note {
    /// The longest, in characters.
    pub(in crate::http) max: usize,
}

impl Rule for Note {
    type Value = String;

    fn read(&self, reader: &mut ObjectReader, name: &'static str) -> Option<String> {
        reader.bounded_text(name, self.max).map(str::to_owned)
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "minLength": 1, "maxLength": self.max})
    }
}

/// Without `"` and control characters.
const PLAIN: &str = r#"^[^"\u0000-\u001f\u007f]*$"#;

/// A text that Alipay keeps: at most `max` bytes in UTF-8, not blank, without `"` and control characters.
pub(in crate::http) struct AlipayText {
    /// The longest, in bytes.
    pub(in crate::http) max: usize,
}

impl Rule for AlipayText {
    type Value = String;

    fn read(&self, reader: &mut ObjectReader, name: &'static str) -> Option<String> {
        let text = plain_text(reader, name, usize::MAX)?;
        if let Err(too_long) = fits_alipay(text, self.max) {
            reader.fault(name, "invalid_length", too_long.to_string());
            return None;
        }
        Some(text.to_owned())
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "minLength": 1, "maxLength": self.max, "pattern": PLAIN})
    }
}

/// A text of which Alipay is told as much as it takes: at most `max` characters, not blank, without `"`
/// and control characters.
pub(in crate::http) struct FreeText {
    /// The longest, in characters.
    pub(in crate::http) max: usize,
}

impl Rule for FreeText {
    type Value = String;

    fn read(&self, reader: &mut ObjectReader, name: &'static str) -> Option<String> {
        plain_text(reader, name, self.max).map(str::to_owned)
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "minLength": 1, "maxLength": self.max, "pattern": PLAIN})
    }
}

fn plain_text<'j>(
    reader: &mut ObjectReader<'j, '_>,
    name: &'static str,
    max: usize,
) -> Option<&'j str> {
    let text = reader.text(name)?;
    if text.trim().is_empty() {
        reader.fault(name, "invalid_length", "must not be blank");
        return None;
    }
    if text.chars().count() > max {
        let detail = format!("must have at most {max} characters");
        reader.fault(name, "invalid_length", detail);
        return None;
    }
    if text.contains('"') || text.chars().any(is_deceptive) {
        let detail = "must not contain \" or control characters";
        reader.fault(name, "invalid_format", detail);
        return None;
    }
    Some(text)
}

/// A string of a form of its own.
pub(in crate::http) struct Form<T> {
    /// The code of the fault where it has another form.
    pub(in crate::http) code: &'static str,
    /// What it must be, for people.
    pub(in crate::http) detail: &'static str,
    /// Reads it.
    pub(in crate::http) parse: fn(&str) -> Option<T>,
    /// What the document says of it besides that it is a string.
    pub(in crate::http) schema: fn() -> Value,
}

impl<T> Rule for Form<T> {
    type Value = T;

    fn read(&self, reader: &mut ObjectReader, name: &'static str) -> Option<T> {
        let value = (self.parse)(reader.text(name)?);
        if value.is_none() {
            reader.fault(name, self.code, self.detail);
        }
        value
    }

    fn schema(&self) -> Value {
        let mut schema = (self.schema)();
        schema["type"] = "string".into();
        schema
    }
}

/// One of some names.
pub(in crate::http) struct Choice<T: 'static> {
    /// The code of the fault where it is none of them.
    pub(in crate::http) code: &'static str,
    /// All values.
    pub(in crate::http) values: &'static [T],
    /// Their names.
    pub(in crate::http) name: fn(T) -> &'static str,
}

impl<T: Copy> Rule for Choice<T> {
    type Value = T;

    fn read(&self, reader: &mut ObjectReader, name: &'static str) -> Option<T> {
        let text = reader.text(name)?;
        let mut values = self.values.iter().copied();
        let value = values.find(|value| (self.name)(*value) == text);
        if value.is_none() {
            let detail = format!("must be {}", one_of(&self.names()));
            reader.fault(name, self.code, detail);
        }
        value
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "enum": self.names()})
    }
}

impl<T: Copy> Choice<T> {
    fn names(&self) -> Vec<&'static str> {
        let values = self.values.iter().copied();
        values.map(self.name).collect()
    }
}

/// `a, b or c`.
fn one_of(names: &[&str]) -> Cow<'static, str> {
    match names {
        [] => "".into(),
        [only] => (*only).to_owned().into(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")).into(),
    }
}

/// An array of 1 to `max` strings.
pub(in crate::http) struct Texts<T> {
    /// Most items.
    pub(in crate::http) max: usize,
    /// What each must be, for people.
    pub(in crate::http) detail: &'static str,
    /// Reads one.
    pub(in crate::http) parse: fn(&str) -> Option<T>,
    /// What the document says of each besides that it is a string.
    pub(in crate::http) item: fn() -> Value,
}

impl<T> Rule for Texts<T> {
    type Value = Vec<T>;

    fn read(&self, reader: &mut ObjectReader, name: &'static str) -> Option<Vec<T>> {
        reader.list(name, self.max, self.detail, self.parse)
    }

    fn schema(&self) -> Value {
        let mut items = (self.item)();
        items["type"] = "string".into();
        json!({"type": "array", "items": items, "minItems": 1, "maxItems": self.max})
    }
}
