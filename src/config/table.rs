//! Reads a TOML table and remembers every fault.

use chrono::{DateTime, Utc};
use toml::{Table, Value};

/// Reads a table member by member.
pub(super) struct Members<'t> {
    pub(super) table: &'t Table,
    /// Where it is, for the faults: ends with `: ` unless it is the whole file.
    pub(super) at: String,
    asked: Vec<&'static str>,
}

impl<'t> Members<'t> {
    pub(super) fn new(table: &'t Table, at: String) -> Self {
        Self {
            table,
            at,
            asked: Vec::new(),
        }
    }

    pub(super) fn get(&mut self, name: &'static str) -> Option<&'t Value> {
        self.asked.push(name);
        self.table.get(name)
    }

    pub(super) fn fault(&self, name: &str, what: &str, faults: &mut Vec<String>) {
        faults.push(format!("{}{name}: {what}", self.at));
    }

    pub(super) fn require(&mut self, name: &'static str, faults: &mut Vec<String>) {
        if self.get(name).is_none() {
            self.fault(name, "must be given", faults);
        }
    }

    pub(super) fn text<T>(
        &mut self,
        name: &'static str,
        faults: &mut Vec<String>,
        detail: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(name)?;
        let read = value
            .as_str()
            .filter(|text| !text.is_empty())
            .and_then(read);
        if read.is_none() {
            self.fault(name, detail, faults);
        }
        read
    }

    pub(super) fn integer(
        &mut self,
        name: &'static str,
        min: i64,
        max: i64,
        faults: &mut Vec<String>,
    ) -> Option<i64> {
        let value = self.get(name)?.as_integer();
        let value = value.filter(|value| (min..=max).contains(value));
        if value.is_none() {
            let what = format!("must be a whole number from {min} to {max}");
            self.fault(name, &what, faults);
        }
        value
    }

    /// An array of texts; `None` where there is none, and empty where it is something else.
    pub(super) fn texts(&mut self, name: &'static str) -> Option<Vec<&'t str>> {
        let items = self.get(name)?.as_array();
        let texts = items.and_then(|items| items.iter().map(Value::as_str).collect());
        Some(texts.unwrap_or_default())
    }

    /// An RFC 3339 instant, as TOML's own type or as text.
    pub(super) fn instant(
        &mut self,
        name: &'static str,
        faults: &mut Vec<String>,
    ) -> Option<DateTime<Utc>> {
        let text = match self.get(name)? {
            Value::Datetime(at) => at.to_string(),
            Value::String(text) => text.clone(),
            _ => String::new(),
        };
        let at = DateTime::parse_from_rfc3339(&text).ok();
        if at.is_none() {
            let what = "must be an instant with its offset, such as 2027-01-01T00:00:00+08:00";
            self.fault(name, what, faults);
        }
        at.map(|at| at.to_utc())
    }

    pub(super) fn table(
        &mut self,
        name: &'static str,
        faults: &mut Vec<String>,
    ) -> Option<(String, &'t Table)> {
        let value = self.get(name)?;
        let table = value.as_table();
        if table.is_none() {
            self.fault(name, "must be a table", faults);
        }
        Some((format!("{}{name}: ", self.at), table?))
    }

    /// An array of tables, each with where it is.
    pub(super) fn tables(
        &mut self,
        name: &'static str,
        faults: &mut Vec<String>,
    ) -> Vec<(String, &'t Table)> {
        let Some(value) = self.get(name) else {
            return Vec::new();
        };
        let Some(items) = value.as_array() else {
            self.fault(name, &format!("must be written as [[{name}]]"), faults);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let at = format!("{}{name} {}: ", self.at, index + 1);
            match item.as_table() {
                Some(table) => tables.push((at, table)),
                None => faults.push(format!("{at}must be a table")),
            }
        }
        tables
    }

    /// Names every member that was not asked for: a misspelt one must not be ignored.
    pub(super) fn finish(self, faults: &mut Vec<String>) {
        for name in self.table.keys() {
            if !self.asked.contains(&name.as_str()) {
                // The name is the administrator's own; it is cut, and shown without control characters.
                let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
                faults.push(format!("{}{name}: is not a known setting", self.at));
            }
        }
    }
}
