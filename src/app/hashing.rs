//! Keyed hashes: what the gateway may remember of a code, a request or an API key.
//!
//! One secret, one label per purpose, so that a hash made for one purpose is worthless for another.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::domain::{
    id::{MerchantReference, PaymentId},
    idempotency::RequestFingerprint,
    payment::NewPayment,
    refund::NewRefund,
};

/// The secret behind every keyed hash: at least 32 bytes (`SECRET_KEY_FILE`).
#[derive(Clone)]
pub struct SecretKey(Zeroizing<Vec<u8>>);

/// A secret that is too short to protect anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secret key has fewer than 32 bytes")]
pub struct SecretTooShort;

impl SecretKey {
    /// Takes the raw bytes of the secret.
    pub fn new(bytes: Vec<u8>) -> Result<Self, SecretTooShort> {
        if bytes.len() < 32 {
            return Err(SecretTooShort);
        }
        Ok(Self(Zeroizing::new(bytes)))
    }

    fn hash(&self, label: &str, parts: &[&str]) -> [u8; 32] {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(label.as_bytes());
        for part in parts {
            // Length first, so that no two lists of parts read the same.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }

    /// What is stored of an API key.
    pub fn api_key_hash(&self, key: &str) -> [u8; 32] {
        self.hash("api-key", &[key])
    }

    /// What two payments with the same code, amount and till have in common.
    pub fn scan_hash(&self, new: &NewPayment) -> [u8; 32] {
        self.hash(
            "scan",
            &[
                new.barcode.expose(),
                &new.amount.to_string(),
                new.terminal_id.as_deref().unwrap_or_default(),
            ],
        )
    }

    /// A hash per field of a request, to tell a repeated request from a changed one. The names are
    /// those of the JSON body.
    pub fn fingerprint(&self, new: &NewPayment) -> RequestFingerprint {
        let metadata = serde_json::to_string(&new.metadata).unwrap_or_default();
        let fields: [(&str, &str); 9] = [
            (
                "allow_duplicate",
                if new.allow_duplicate { "true" } else { "false" },
            ),
            ("amount", &new.amount.to_string()),
            ("barcode", new.barcode.expose()),
            (
                "cancel_after_seconds",
                &new.cancel_after_seconds.to_string(),
            ),
            ("description", &new.description),
            ("merchant_reference", new.merchant_reference.as_str()),
            ("metadata", &metadata),
            ("store_id", &new.store.store_id),
            (
                "terminal_id",
                new.terminal_id.as_deref().unwrap_or_default(),
            ),
        ];
        self.fingerprint_of(&fields)
    }

    /// The same for a refund. The payment is a part of it, since the key is not scoped to one.
    pub fn refund_fingerprint(&self, payment_id: PaymentId, new: &NewRefund) -> RequestFingerprint {
        let amount = new.amount.map(|amount| amount.to_string());
        let reference = new.merchant_reference.as_ref();
        self.fingerprint_of(&[
            ("amount", amount.as_deref().unwrap_or_default()),
            (
                "merchant_reference",
                reference.map(MerchantReference::as_str).unwrap_or_default(),
            ),
            ("mode", new.mode.as_str()),
            ("payment_id", &payment_id.to_string()),
            ("reason", new.reason.as_deref().unwrap_or_default()),
        ])
    }

    fn fingerprint_of(&self, fields: &[(&str, &str)]) -> RequestFingerprint {
        RequestFingerprint(
            fields
                .iter()
                .map(|(name, value)| {
                    // 96 bits tell two values apart; the rest would only fill the row.
                    let hash = self.hash("fingerprint", &[name, value]);
                    ((*name).to_owned(), URL_SAFE_NO_PAD.encode(&hash[..12]))
                })
                .collect(),
        )
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey")
    }
}
