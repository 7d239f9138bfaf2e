//! What Alipay posts to us: verified form fields (`protocol/wire.md` 2.7, 4).
//!
//! Only the signature is checked here. Whose partner, payment and refund it is about, and whether
//! it was seen before, is for the caller; a notification is a hint to ask, never the last word.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use percent_encoding::percent_decode;

use super::{
    charset::{self, Charset},
    sign::{Credentials, VerifyError, canonical},
};
use crate::failpoint::planted;

/// A notification whose signature verified.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifiedNotification(BTreeMap<String, String>);

/// A notification that is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotificationError {
    /// A field appears twice: which one would count?
    #[error("a field appears twice")]
    Repeated,
    /// The bytes are not text of the charset the form names, or no charset of ours.
    #[error("the form cannot be decoded")]
    Undecodable,
    /// A name holds `&` or `=`, which would read as other fields in the signed text.
    #[error("two sets of fields would have one signature")]
    Ambiguous,
    /// The signature is missing, of another type, or wrong.
    #[error(transparent)]
    Signature(#[from] VerifyError),
}

impl VerifiedNotification {
    /// Decodes a form in its charset and verifies its fields, in any order. The charset is the one
    /// that the `Content-Type` names, else the one that `_input_charset` or `charset` names; where
    /// none is named, UTF-8 if the bytes are that, else GBK. The signature is over the bytes, so a
    /// wrong name or guess garbles text and no id or amount, which are ASCII
    /// (`protocol/wire.md` 2.7).
    pub fn verify(
        credentials: &Credentials,
        content_type: Option<&str>,
        body: &[u8],
    ) -> Result<Self, NotificationError> {
        let pairs = raw_pairs(body);
        let charset = charset_of(content_type, &pairs)?;
        let decode = |bytes: &[u8]| {
            let text = charset.decode(bytes);
            text.map(Cow::into_owned)
                .ok_or(NotificationError::Undecodable)
        };
        let mut fields = BTreeMap::new();
        for (name, value) in &pairs {
            if fields.insert(decode(name)?, decode(value)?).is_some() {
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
        let signed = charset
            .encode(&text)
            .ok_or(NotificationError::Undecodable)?;
        if !planted!(NotificationUnverified) {
            credentials.verify(&signed, signature.as_deref(), sign_type.as_deref())?;
        }
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

type RawPairs = Vec<(Vec<u8>, Vec<u8>)>;

/// The form's names and values as bytes.
fn raw_pairs(body: &[u8]) -> RawPairs {
    let decode = |part: &[u8]| -> Vec<u8> {
        let spaced: Vec<u8> = part
            .iter()
            .map(|byte| if *byte == b'+' { b' ' } else { *byte })
            .collect();
        percent_decode(&spaced).collect()
    };
    body.split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let mut parts = pair.splitn(2, |byte| *byte == b'=');
            let name = parts.next().unwrap_or_default();
            (decode(name), decode(parts.next().unwrap_or_default()))
        })
        .collect()
}

fn charset_of(content_type: Option<&str>, pairs: &RawPairs) -> Result<Charset, NotificationError> {
    let in_the_form = || {
        let (_, value) = pairs
            .iter()
            .find(|(name, _)| matches!(name.as_slice(), b"_input_charset" | b"charset"))?;
        std::str::from_utf8(value).ok()
    };
    let label = content_type
        .and_then(charset::of_content_type)
        .or_else(in_the_form);
    if let Some(label) = label {
        return Charset::from_label(label).map_err(|_| NotificationError::Undecodable);
    }
    let is_utf_8 = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
    let all = pairs
        .iter()
        .all(|(name, value)| is_utf_8(name) && is_utf_8(value));
    Ok(if all { Charset::Utf8 } else { Charset::Gbk })
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
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish();
        verify_form(None, body.as_bytes())
    }

    fn verify_form(
        content_type: Option<&str>,
        body: &[u8],
    ) -> Result<VerifiedNotification, NotificationError> {
        let credentials = Credentials::md5(KEY).expect("a key of 32 characters");
        VerifiedNotification::verify(&credentials, content_type, body)
    }

    /// MD5 over `memo=退款&notify_id=1` and the key, in UTF-8 and in GBK.
    const SIGN_UTF_8: &str = "c728b09d8c828f4ae4f8ca98b4e1658b";
    const SIGN_GBK: &str = "66de4aa9b736e60ada64d3e3f8d56f6d";

    #[test]
    fn a_form_is_decoded_and_verified_in_its_own_charset() {
        let utf_8 = format!("notify_id=1&memo=%E9%80%80%E6%AC%BE&sign={SIGN_UTF_8}&sign_type=MD5");
        let gbk = format!("notify_id=1&memo=%CD%CB%BF%EE&sign={SIGN_GBK}&sign_type=MD5");
        let form = "application/x-www-form-urlencoded";
        let memo = |content_type: Option<&str>, body: &str| {
            verify_form(content_type, body.as_bytes())
                .map(|notification| notification.get("memo").map(str::to_owned))
        };
        let read = Ok(Some("退款".to_owned()));
        assert_eq!(memo(Some(form), &utf_8), read);
        assert_eq!(memo(None, &gbk), read, "what is not UTF-8 is GBK");
        assert_eq!(memo(Some(&format!("{form}; charset=GBK")), &gbk), read);
        assert_eq!(
            memo(Some(&format!("{form}; charset=UTF-8")), &gbk),
            Err(NotificationError::Undecodable)
        );
        assert_eq!(
            memo(Some(&format!("{form}; charset=latin1")), &gbk),
            Err(NotificationError::Undecodable)
        );
        let garbled = memo(Some(&format!("{form}; charset=GBK")), &utf_8);
        assert_ne!(garbled, read, "the same signed bytes, read as another text");
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
