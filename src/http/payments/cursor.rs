//! Where a page of a list starts. Opaque to callers: a format version and the id of the last item
//! of the page before, in URL-safe base64.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use uuid::Uuid;

/// The format of what follows; other formats are refused.
const FORMAT: u8 = 1;

/// The cursor that continues after an item.
pub fn encode(last: Uuid) -> String {
    let mut bytes = vec![FORMAT];
    bytes.extend_from_slice(last.as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// The item that a cursor continues after; `None` for what [`encode`] did not make.
pub fn decode<T: From<Uuid>>(cursor: &str) -> Option<T> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let uuid = bytes.strip_prefix(&[FORMAT])?;
    Uuid::from_slice(uuid).ok().map(T::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::PaymentId;

    #[test]
    fn only_our_own_cursors_are_read() {
        let id = PaymentId::mint();
        assert_eq!(decode(&encode(id.uuid())), Some(id));
        for bad in [
            "",
            "AA",
            "!!",
            &id.to_string(),
            &format!("{}=", encode(id.uuid())),
            "AgAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert_eq!(decode::<PaymentId>(bad), None, "{bad}");
        }
    }
}
