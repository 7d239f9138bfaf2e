//! Reads an object member by member and remembers every fault.

use chrono::{DateTime, Utc};

use super::{json::Json, query::instant};
use crate::{
    domain::text::is_deceptive,
    http::problem::{FieldFault, Problem},
};

/// The faults found so far.
#[derive(Debug, Default)]
pub struct Faults(Vec<FieldFault>);

impl Faults {
    /// Remembers a fault of the body.
    pub fn add(&mut self, pointer: String, code: &'static str, detail: impl Into<String>) {
        self.0.push(FieldFault {
            pointer: Some(pointer),
            parameter: None,
            code,
            detail: detail.into(),
        });
    }

    /// Remembers a fault of a member of the body itself.
    pub fn member(&mut self, name: &str, code: &'static str, detail: impl Into<String>) {
        self.add(pointer_to("", name), code, detail);
    }

    /// Reports a member of the body as missing, unless it is there and faulty.
    pub fn require(&mut self, name: &str) {
        if !self.has(name) {
            self.member(name, "required", "must be given");
        }
    }

    /// Whether something is wrong with a member of the body, or within it.
    pub fn has(&self, name: &str) -> bool {
        let pointer = pointer_to("", name);
        let is_within = |found: &str| {
            let rest = found.strip_prefix(pointer.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let mut pointers = self.0.iter().filter_map(|fault| fault.pointer.as_deref());
        pointers.any(is_within)
    }

    /// Whether none was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts the faults in the order of the body's members; those of others come last.
    pub fn sort_by(&mut self, members: &[&str]) {
        self.0.sort_by_key(|fault| {
            let pointer = fault.pointer.as_deref().unwrap_or_default();
            let name = pointer.split('/').nth(1).unwrap_or_default();
            let at = members.iter().position(|member| *member == name);
            at.unwrap_or(members.len())
        });
    }

    /// One problem that names all faults, if there are any.
    pub fn into_result(self) -> Result<(), Problem> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(Problem::validation(self.0))
        }
    }
}

/// Reads one object. Each member is asked for by name; what was never asked for is unknown, and
/// [`ObjectReader::finish`] says so: a misspelt `amuont` must not be ignored.
#[expect(
    missing_debug_implementations,
    reason = "the members may carry a scanned code"
)]
pub struct ObjectReader<'j, 'f> {
    members: &'j [(String, Json)],
    pointer: String,
    asked: Vec<&'static str>,
    faults: &'f mut Faults,
}

impl<'j, 'f> ObjectReader<'j, 'f> {
    /// Reads the members of an object found at `pointer` (empty for the whole body).
    pub fn new(members: &'j [(String, Json)], pointer: String, faults: &'f mut Faults) -> Self {
        Self {
            members,
            pointer,
            asked: Vec::new(),
            faults,
        }
    }

    /// Remembers a fault of a member.
    pub fn fault(&mut self, name: &str, code: &'static str, detail: impl Into<String>) {
        let pointer = pointer_to(&self.pointer, name);
        self.faults.add(pointer, code, detail);
    }

    /// A member that may be left out; `null` is the same as leaving it out.
    fn optional(&mut self, name: &'static str) -> Option<&'j Json> {
        self.asked.push(name);
        let members = self.members;
        members
            .iter()
            .find(|(member, _)| member == name)
            .map(|(_, value)| value)
            .filter(|value| !matches!(value, Json::Null))
    }

    /// A member of a merge patch (RFC 7396) that cannot be taken away: `null` is a fault.
    pub fn change<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Self, &'static str) -> Option<T>,
    ) -> Option<T> {
        let change = self.nullable(name, read)?;
        if change.is_none() {
            self.fault(name, "required", "must not be null");
        }
        change
    }

    /// A member of a merge patch (RFC 7396) that `null` takes away: then the answer is `Some(None)`.
    pub fn nullable<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Self, &'static str) -> Option<T>,
    ) -> Option<Option<T>> {
        let given = self.members.iter().find(|(member, _)| member == name);
        if matches!(given, Some((_, Json::Null))) {
            self.asked.push(name);
            return Some(None);
        }
        read(self, name).map(Some)
    }

    /// Reports a member as missing unless something was read, or was there and faulty.
    pub fn require(&mut self, name: &'static str) {
        if self.optional(name).is_none() {
            self.fault(name, "required", "must be given");
        }
    }

    /// A string.
    pub fn text(&mut self, name: &'static str) -> Option<&'j str> {
        match self.optional(name)? {
            Json::Text(text) => Some(text),
            _ => self.wrong_type(name, "must be a string"),
        }
    }

    /// A string of 1 to `max` characters without control characters.
    pub fn bounded_text(&mut self, name: &'static str, max: usize) -> Option<&'j str> {
        let text = self.text(name)?;
        let fits = (1..=max).contains(&text.trim().chars().count());
        if !fits || text.chars().any(is_deceptive) {
            let detail = format!("must have 1 to {max} characters and no control characters");
            self.fault(name, "invalid_format", detail);
            return None;
        }
        Some(text.trim())
    }

    /// An integer; `12850.0` and `"12850"` are not.
    pub fn integer(&mut self, name: &'static str, min: i64, max: i64) -> Option<i64> {
        let range = format!("must be an integer from {min} to {max}");
        match self.optional(name)? {
            Json::Integer(value) if (min..=max).contains(value) => Some(*value),
            Json::Integer(_) => {
                self.fault(name, "out_of_range", range);
                None
            }
            _ => self.wrong_type(name, &range),
        }
    }

    /// An RFC 3339 instant.
    pub fn instant(&mut self, name: &'static str) -> Option<DateTime<Utc>> {
        let at = instant(self.text(name)?);
        if at.is_none() {
            self.fault(name, "invalid_format", "must be an RFC 3339 instant");
        }
        at
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, name: &'static str) -> Option<bool> {
        match self.optional(name)? {
            Json::Bool(value) => Some(*value),
            _ => self.wrong_type(name, "must be true or false"),
        }
    }

    /// An array of 1 to `max` strings, each of which `read` understands; `detail` says which.
    pub fn list<T>(
        &mut self,
        name: &'static str,
        max: usize,
        detail: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Json::Array(items) = self.optional(name)? else {
            return self.wrong_type(name, "must be an array of strings");
        };
        if !(1..=max).contains(&items.len()) {
            self.fault(name, "out_of_range", format!("must have 1 to {max} items"));
            return None;
        }
        let mut values = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let value = match item {
                Json::Text(text) => read(text),
                _ => None,
            };
            if let Some(value) = value {
                values.push(value);
            } else {
                let pointer = format!("{}/{index}", pointer_to(&self.pointer, name));
                self.faults.add(pointer, "invalid_value", detail);
            }
        }
        (values.len() == items.len()).then_some(values)
    }

    /// The items of an array.
    pub fn array(&mut self, name: &'static str) -> Option<&'j [Json]> {
        match self.optional(name)? {
            Json::Array(items) => Some(items),
            _ => self.wrong_type(name, "must be an array"),
        }
    }

    /// The members of an object, and where it is.
    pub fn object(&mut self, name: &'static str) -> Option<(&'j [(String, Json)], String)> {
        match self.optional(name)? {
            Json::Object(members) => Some((members, pointer_to(&self.pointer, name))),
            _ => self.wrong_type(name, "must be an object"),
        }
    }

    /// Where a member is.
    pub fn pointer_to(&self, name: &str) -> String {
        pointer_to(&self.pointer, name)
    }

    /// The faults, to read a nested object with.
    pub fn faults(&mut self) -> &mut Faults {
        self.faults
    }

    /// Reports every member that was not asked for.
    pub fn finish(self) {
        for (name, _) in self.members {
            if !self.asked.contains(&name.as_str()) {
                let pointer = pointer_to(&self.pointer, name);
                self.faults
                    .add(pointer, "unknown_field", "is not a field of this request");
            }
        }
    }

    fn wrong_type<T>(&mut self, name: &str, detail: &str) -> Option<T> {
        self.fault(name, "wrong_type", detail);
        None
    }
}

/// Extends a JSON Pointer (RFC 6901) by a member. Long and unprintable names are the caller's
/// doing and are cut and masked (`docs/invariants.md` Q15).
pub fn pointer_to(parent: &str, name: &str) -> String {
    let name: String = name
        .chars()
        .take(64)
        .map(|c| if is_deceptive(c) { '\u{fffd}' } else { c })
        .collect();
    format!("{parent}/{}", name.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_an_object_is_found_at_once() {
        let json = Json::parse(br#"{"count":"7","limit":99,"flag":1,"a/b~c":0,"name":null}"#)
            .expect("an object");
        let mut faults = Faults::default();
        let mut reader = ObjectReader::new(
            json.members().expect("an object"),
            String::new(),
            &mut faults,
        );
        assert_eq!(reader.integer("count", 0, 10), None);
        assert_eq!(reader.integer("limit", 0, 10), None);
        assert_eq!(reader.boolean("flag"), None);
        assert_eq!(reader.text("name"), None);
        reader.require("name");
        reader.require("count");
        reader.finish();
        let found: Vec<_> = faults
            .0
            .iter()
            .map(|fault| (fault.pointer.as_deref().unwrap_or_default(), fault.code))
            .collect();
        assert_eq!(
            found,
            [
                ("/count", "wrong_type"),
                ("/limit", "out_of_range"),
                ("/flag", "wrong_type"),
                ("/name", "required"),
                ("/a~1b~0c", "unknown_field"),
            ]
        );
    }
}
