//! Keyed hashes: what the gateway may remember of a code, a request or an API key; and sealed texts,
//! which it must be able to open again.
//!
//! One secret, one label per purpose, so that a hash made for one purpose is worthless for another.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use rand::RngCore as _;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::domain::{
    access::{principal::TenantScope, token::Bearer},
    id::{MerchantReference, PaymentId},
    idempotency::RequestFingerprint,
    payments::payment::NewPayment,
    refunds::refund::{NewRefund, RefundMode},
};

/// The secret behind every keyed hash: at least 32 bytes (`SECRET_KEY_FILE`).
pub struct SecretKey(Zeroizing<Vec<u8>>);

/// A secret that is too short to protect anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secret key has fewer than 32 bytes")]
pub struct SecretTooShort;

/// What was sealed under another secret, for another thing, or was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what was sealed cannot be opened")]
pub struct UnsealError;

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

    /// A keyed hash for one purpose.
    pub(super) fn keyed(&self, purpose: &str, text: &str) -> Vec<u8> {
        self.hash(purpose, &[text]).to_vec()
    }

    /// Encrypts for one purpose what belongs to one thing, so that it can be opened as that thing's
    /// alone: AES-256-GCM under a key that is derived from the secret, with a random nonce in front.
    pub(super) fn seal(&self, purpose: &str, belongs_to: &[u8], text: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        rand::thread_rng().fill_bytes(&mut nonce);
        let mut sealed = text.to_vec();
        self.sealing_key(purpose)
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(belongs_to),
                &mut sealed,
            )
            .expect("a short text can be sealed");
        [nonce.as_slice(), &sealed].concat()
    }

    /// Opens what [`SecretKey::seal`] has sealed.
    pub(super) fn unseal(
        &self,
        purpose: &str,
        belongs_to: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, UnsealError> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(UnsealError)?;
        let mut text = Zeroizing::new(sealed.to_vec());
        let length = self
            .sealing_key(purpose)
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(belongs_to),
                &mut text,
            )
            .map_err(|_| UnsealError)?
            .len();
        text.truncate(length);
        Ok(text)
    }

    fn sealing_key(&self, purpose: &str) -> LessSafeKey {
        let key = Zeroizing::new(self.hash("sealing", &[purpose]));
        let key = UnboundKey::new(&AES_256_GCM, key.as_slice());
        LessSafeKey::new(key.expect("the hash has the length of the key"))
    }

    /// What is stored of an API key.
    pub fn api_key_hash(&self, key: &str) -> [u8; 32] {
        self.hash("api-key", &[key])
    }

    /// What a token's subject is remembered by.
    pub fn subject_hash(&self, bearer: &Bearer) -> [u8; 32] {
        let whose = match bearer.tenant_scope {
            TenantScope::Merchant(id) => id.to_string(),
            TenantScope::Operator => "operator".to_owned(),
        };
        self.hash("subject", &[&whose, &bearer.issuer, &bearer.subject])
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

    /// A hash per field that was sent, to tell a repeated request from a changed one. The names are those
    /// of the JSON body. What was left out has no hash, and neither has a default: both may be another
    /// by the time of the repeat, and a field that is new makes no old request another one.
    pub fn fingerprint(&self, new: &NewPayment) -> RequestFingerprint {
        let amount = new.amount.to_string();
        let cancel_after_seconds = new.cancel_after_seconds.map(|seconds| seconds.to_string());
        let metadata = new.metadata.as_ref().map(|pairs| {
            // A map of texts is JSON.
            serde_json::to_string(pairs).unwrap_or_default()
        });
        self.fingerprint_of(&[
            ("allow_duplicate", new.allow_duplicate.map(yes_or_no)),
            ("amount", Some(amount.as_str())),
            ("barcode", Some(new.barcode.expose())),
            ("cancel_after_seconds", cancel_after_seconds.as_deref()),
            ("description", new.description.as_deref()),
            ("merchant_reference", Some(new.merchant_reference.as_str())),
            ("metadata", metadata.as_deref()),
            ("store_id", new.store_id.as_deref()),
            ("terminal_id", new.terminal_id.as_deref()),
        ])
    }

    /// The same for a refund. The payment is a part of it, since the key is not scoped to one.
    pub fn refund_fingerprint(&self, payment_id: PaymentId, new: &NewRefund) -> RequestFingerprint {
        let payment_id = payment_id.to_string();
        let amount = new.amount.map(|amount| amount.to_string());
        let reference = new.merchant_reference.as_ref();
        self.fingerprint_of(&[
            ("allow_duplicate", new.allow_duplicate.map(yes_or_no)),
            ("amount", amount.as_deref()),
            (
                "merchant_reference",
                reference.map(MerchantReference::as_str),
            ),
            ("mode", new.mode.map(RefundMode::as_str)),
            ("payment_id", Some(payment_id.as_str())),
            ("reason", new.reason.as_deref()),
        ])
    }

    fn fingerprint_of(&self, fields: &[(&str, Option<&str>)]) -> RequestFingerprint {
        let sent = fields
            .iter()
            .filter_map(|(name, value)| Some((*name, (*value)?)));
        let hashed = sent.map(|(name, value)| {
            // 96 bits tell two values apart; the rest would only fill the row.
            let hash = self.hash("fingerprint", &[name, value]);
            (name.to_owned(), URL_SAFE_NO_PAD.encode(&hash[..12]))
        });
        RequestFingerprint(hashed.collect())
    }
}

const fn yes_or_no(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey")
    }
}
