//! Lists, page by page: `limit`, `cursor` and `next_cursor`, the same for each of them.
//!
//! A cursor is opaque to callers: a format version and the id of the last item of the page before, in
//! URL-safe base64.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use uuid::Uuid;

use super::{
    extract::query::QueryReader,
    problem::{Kind, Problem},
};

/// Items on a page where the caller does not say.
const DEFAULT_LIMIT: u16 = 50;
/// Most items on a page.
const MAX_LIMIT: u16 = 200;
/// The format of what follows in a cursor; other formats are refused.
const FORMAT: u8 = 1;
/// The same where a name follows.
const NAME_FORMAT: u8 = 2;

/// Where a page starts and how long it is: the last parameters of every list.
#[derive(Clone, Copy, Debug)]
pub struct Paging<T> {
    /// After which item.
    pub after: Option<T>,
    /// Most items.
    pub limit: u16,
}

impl<T: From<Uuid>> Paging<T> {
    /// Reads `limit` and `cursor`, and ends the reading: every fault of the query is named.
    pub fn read(reader: QueryReader<'_>) -> Result<Self, Problem> {
        Self::read_with(reader, decode)
    }
}

impl Paging<String> {
    /// The same for a list whose items are told apart by a name.
    pub fn by_name(reader: QueryReader<'_>) -> Result<Self, Problem> {
        Self::read_with(reader, decode_name)
    }
}

impl<T> Paging<T> {
    fn read_with(
        mut reader: QueryReader<'_>,
        decode: impl Fn(&str) -> Option<T>,
    ) -> Result<Self, Problem> {
        let limit = reader.parse("limit", "must be a number from 1 to 200", limit);
        let cursor = reader.text("cursor");
        reader.finish()?;
        let after = cursor.map(|text| {
            let detail = "send `next_cursor` exactly as it was answered";
            decode(text).ok_or_else(|| Problem::new(Kind::InvalidCursor, detail))
        });
        Ok(Self {
            after: after.transpose()?,
            limit: limit.unwrap_or(DEFAULT_LIMIT),
        })
    }
}

/// The cursor that continues after an item.
pub fn cursor_after(last: Uuid) -> String {
    let mut bytes = vec![FORMAT];
    bytes.extend_from_slice(last.as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// The item that a cursor continues after; `None` for what [`cursor_after`] did not make.
fn decode<T: From<Uuid>>(cursor: &str) -> Option<T> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let uuid = bytes.strip_prefix(&[FORMAT])?;
    Uuid::from_slice(uuid).ok().map(T::from)
}

/// The cursor that continues after an item that has a name.
pub fn cursor_after_name(last: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode([&[NAME_FORMAT], last.as_bytes()].concat())
}

/// The name that a cursor continues after; `None` for what [`cursor_after_name`] did not make.
fn decode_name(cursor: &str) -> Option<String> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let name = bytes.strip_prefix(&[NAME_FORMAT])?;
    String::from_utf8(name.to_vec()).ok()
}

fn limit(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::PaymentId;

    #[test]
    fn only_our_own_cursors_are_read() {
        let id = PaymentId::mint();
        assert_eq!(decode(&cursor_after(id.uuid())), Some(id));
        for bad in [
            "",
            "AA",
            "!!",
            &id.to_string(),
            &format!("{}=", cursor_after(id.uuid())),
            "AgAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert_eq!(decode::<PaymentId>(bad), None, "{bad}");
        }
        let name = cursor_after_name("ST/01");
        assert_eq!(decode_name(&name).as_deref(), Some("ST/01"));
        assert_eq!(decode::<PaymentId>(&name), None);
        assert_eq!(decode_name(&cursor_after(id.uuid())), None);
    }
}
