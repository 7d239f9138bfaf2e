//! What Alipay posts to us: verified form fields (`protocol/wire.md` 2.7, 4).
//!
//! Only the signature is checked here. Whose partner, payment and refund it is about, and whether
//! it was seen before, is for the caller; a notification is a hint to ask, never the last word.

use std::{collections::BTreeMap, fmt};

use super::sign::{Credentials, VerifyError, canonical};

/// A notification whose signature verified.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifiedNotification(BTreeMap<String, String>);

/// A notification that is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotificationError {
    /// A field appears twice: which one would count?
    #[error("a field appears twice")]
    Repeated,
    /// A name holds `&` or `=`, which would read as other fields in the signed text.
    #[error("two sets of fields would have one signature")]
    Ambiguous,
    /// The signature is missing, of another type, or wrong.
    #[error(transparent)]
    Signature(#[from] VerifyError),
}

impl VerifiedNotification {
    /// Verifies form fields, already form-decoded, in any order.
    pub fn verify(
        credentials: &Credentials,
        pairs: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, NotificationError> {
        let mut fields = BTreeMap::new();
        for (name, value) in pairs {
            if fields.insert(name, value).is_some() {
                return Err(NotificationError::Repeated);
            }
        }
        // A plus sign that was not percent-encoded arrives as a space (`protocol/wire.md` 1.2).
        let signature = fields.remove("sign").map(|sign| sign.replace(' ', "+"));
        let sign_type = fields.remove("sign_type");
        let text = canonical(
            fields
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        credentials.verify(text.as_bytes(), signature.as_deref(), sign_type.as_deref())?;
        // Names come from a form here and may hold anything.
        let separates = |name: &String| name.contains(['&', '=']);
        if fields.keys().any(separates) {
            return Err(NotificationError::Ambiguous);
        }
        fields.retain(|_, value| !value.is_empty());
        Ok(Self(fields))
    }

    /// A field's value; empty fields count as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl fmt::Debug for VerifiedNotification {
    /// Names only: the values identify buyers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"10000000000000000000000000000000";
    const SIGN: &str = "22fc7e38e5acdfede396aa463870d111";

    fn verify(pairs: &[(&str, &str)]) -> Result<VerifiedNotification, NotificationError> {
        let credentials = Credentials::md5(KEY).expect("a key of 32 characters");
        VerifiedNotification::verify(
            &credentials,
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        )
    }

    #[test]
    fn the_published_notification_verifies_in_any_order_and_with_empty_fields() {
        let fields = [
            ("sign_type", "MD5"),
            ("memo", ""),
            ("sign", SIGN),
            ("notify_id", "1234"),
        ];
        let notification = verify(&fields).expect("a genuine notification");
        assert_eq!(notification.get("notify_id"), Some("1234"));
        assert_eq!(notification.get("memo"), None);
        assert_eq!(notification.get("sign"), None);
        assert_eq!(format!("{notification:?}"), r#"{"notify_id"}"#);
    }

    #[test]
    fn v1_forged_downgraded_and_unsigned_notifications_are_refused() {
        let wrong = Err(NotificationError::Signature(VerifyError::Wrong));
        let other = Err(NotificationError::Signature(VerifyError::OtherSignType));
        let missing = Err(NotificationError::Signature(VerifyError::Missing));
        let of = |id: &str, sign: &str, sign_type: &str| {
            verify(&[("notify_id", id), ("sign", sign), ("sign_type", sign_type)])
        };
        assert_eq!(of("1235", SIGN, "MD5"), wrong);
        assert_eq!(of("1234", &SIGN.to_uppercase(), "MD5"), wrong);
        assert_eq!(of("1234", SIGN, "md5"), other);
        assert_eq!(of("1234", SIGN, "RSA2"), other);
        assert_eq!(of("1234", "", "MD5"), missing);
        assert_eq!(verify(&[("notify_id", "1234"), ("sign", SIGN)]), other);
        assert_eq!(
            verify(&[("notify_id", "1234"), ("sign_type", "MD5")]),
            missing
        );
        assert_eq!(
            verify(&[
                ("notify_id", "1"),
                ("notify_id", "1234"),
                ("sign", SIGN),
                ("sign_type", "MD5")
            ]),
            Err(NotificationError::Repeated)
        );
    }
}
