//! The string to sign, and the three signature types (`docs/protocol.md` 3.1–3.3).
//!
//! `RSA2` signatures and every verification are made by aws-lc-rs, in constant time. What it
//! refuses, the SHA-1 signature of `RSA` and own keys under 2048 bits, is made by `rsa`, blinded
//! and off the reactor, with a warning at start (`docs/invariants.md` Q2).

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ParsedPublicKey, RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
        RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use md5::Md5;
use rsa::{
    Pkcs1v15Sign, RsaPrivateKey, RsaPublicKey, pkcs8::EncodePrivateKey as _,
    traits::PublicKeyParts as _,
};
use secrecy::{ExposeSecret as _, SecretString};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{error::KeyFault, keys};
use crate::domain::accounts::signing::SignType;

/// Own keys below this are the legacy case for RSA2.
const MODERN_BITS: usize = 2048;

/// The text that is signed: every pair but `sign` and `sign_type` whose value is not empty, sorted
/// by name in byte order, `name=value` joined by `&`, values as they are.
pub fn canonical<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    parts(pairs, "&", "=").concat()
}

/// The same of pairs that are not text yet: what is signed are bytes.
pub(super) fn canonical_bytes<'a>(
    pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
) -> Vec<u8> {
    parts(pairs, b"&", b"=").concat()
}

fn parts<'a, T>(
    pairs: impl IntoIterator<Item = (&'a T, &'a T)>,
    and: &'a T,
    is: &'a T,
) -> Vec<&'a T>
where
    T: Ord + AsRef<[u8]> + ?Sized,
{
    let is_signed = |name: &T, value: &T| {
        !matches!(name.as_ref(), b"sign" | b"sign_type") && !value.as_ref().is_empty()
    };
    let mut pairs: Vec<_> = pairs
        .into_iter()
        .filter(|(name, value)| is_signed(name, value))
        .collect();
    pairs.sort_unstable();
    let mut parts = Vec::with_capacity(pairs.len() * 4);
    for (name, value) in pairs {
        if !parts.is_empty() {
            parts.push(and);
        }
        parts.extend([name, is, value]);
    }
    parts
}

/// The key we sign with and the keys of Alipay that we accept, as they are at one moment; parsed once.
/// Cheap to clone; shows no secret.
#[derive(Clone)]
pub struct Credentials(Arc<Keys>);

struct Keys {
    sign_type: SignType,
    /// Absent while no own key is valid: nothing can be sent.
    own: Option<Arc<OwnKey>>,
    alipays: Vec<Arc<AlipaysKey>>,
}

/// A key that signs what we send.
pub(super) struct OwnKey {
    signer: Signer,
    facts: KeyFacts,
}

/// A key that verifies what Alipay sends.
pub(super) struct AlipaysKey {
    verifier: Verifier,
    facts: KeyFacts,
}

/// What may be told of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// SHA-256 of the SubjectPublicKeyInfo, in hexadecimal; absent of a shared key.
    pub fingerprint: Option<String>,
    /// The length of the modulus; absent of a shared key.
    pub bits: Option<usize>,
    /// Whether everybody has its private half: it stands in the protocol's test vectors.
    pub is_published: bool,
    /// Whether there were spaces inside its base64, which was read without them.
    pub has_spaces: bool,
}

/// SHA-256 of the keys of `docs/protocol.md` 3.5 whose private halves are published: V3 and V5 as
/// SubjectPublicKeyInfo, and the MD5 key of V5. V4 is Alipay's own.
const PUBLISHED: [&str; 3] = [
    "8d65e375d2e96d4f39ee09a273b53f3c341555a981fb61d87e81b6bc31fd1847",
    "01aa3daf1f2e121c6054caf0e93b5d542692380edcd035188ed7e517a60c5bda",
    "3eb1bd439947eb762998e566ccc2e099c791118b2f40579cc4f7da2b5061b7f9",
];

enum Signer {
    Modern(RsaKeyPair),
    /// What aws-lc-rs refuses to sign with.
    Legacy(SignType, Box<RsaPrivateKey>),
    Md5(SecretString),
}

enum Verifier {
    Rsa(ParsedPublicKey),
    Md5(SecretString),
}

/// A signature could not be made: nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request could not be signed")]
pub struct SignError;

/// A signature that is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// There is no `sign`.
    #[error("the signature is missing")]
    Missing,
    /// `sign_type` is absent or not the configured one, letter for letter.
    #[error("the signature type is not the configured one")]
    OtherSignType,
    /// The signature does not belong to the text and key.
    #[error("the signature does not verify")]
    Wrong,
}

impl Credentials {
    /// RSA2 credentials from the texts of two keys, ours and Alipay's.
    pub fn rsa2(private_key: &[u8], alipays_public_key: &[u8]) -> Result<Self, KeyFault> {
        Self::with_keys(SignType::Rsa2, private_key, alipays_public_key)
    }

    /// RSA (SHA-1) credentials from the texts of two keys, ours and Alipay's.
    pub fn rsa(private_key: &[u8], alipays_public_key: &[u8]) -> Result<Self, KeyFault> {
        Self::with_keys(SignType::Rsa, private_key, alipays_public_key)
    }

    /// MD5 credentials from the text of the shared key, trimmed.
    pub fn md5(key: &[u8]) -> Result<Self, KeyFault> {
        Self::with_keys(SignType::Md5, key, key)
    }

    fn with_keys(sign_type: SignType, own: &[u8], alipays: &[u8]) -> Result<Self, KeyFault> {
        let own = OwnKey::read(sign_type, own)?;
        let alipays = AlipaysKey::read(sign_type, alipays)?;
        Ok(Self::of(
            sign_type,
            Some(Arc::new(own)),
            vec![Arc::new(alipays)],
        ))
    }

    /// Credentials of keys that are valid at one moment.
    pub(super) fn of(
        sign_type: SignType,
        own: Option<Arc<OwnKey>>,
        alipays: Vec<Arc<AlipaysKey>>,
    ) -> Self {
        Self(Arc::new(Keys {
            sign_type,
            own,
            alipays,
        }))
    }

    /// How these credentials sign.
    pub fn sign_type(&self) -> SignType {
        self.0.sign_type
    }

    /// Whether there is a key to sign with.
    pub fn can_sign(&self) -> bool {
        self.0.own.is_some()
    }

    /// What may be told of the key that signs.
    pub fn own_key(&self) -> Option<&KeyFacts> {
        self.0.own.as_ref().map(|key| &key.facts)
    }

    /// What may be told of Alipay's keys that are accepted.
    pub fn alipays_keys(&self) -> impl Iterator<Item = &KeyFacts> {
        self.0.alipays.iter().map(|key| &key.facts)
    }

    /// Signs the bytes of a canonical text. An RSA2 signature costs about 0.3 ms of computing and
    /// is made in place, cheaper than handing it to another thread and back.
    pub async fn sign(&self, text: &[u8]) -> Result<String, SignError> {
        let own = self.0.own.as_ref().ok_or(SignError)?;
        match &own.signer {
            Signer::Md5(key) => Ok(md5_hex(text, key)),
            Signer::Modern(key_pair) => {
                let mut signature = vec![0; key_pair.public_modulus_len()];
                key_pair
                    .sign(
                        &RSA_PKCS1_SHA256,
                        &SystemRandom::new(),
                        text,
                        &mut signature,
                    )
                    .map_err(|_| SignError)?;
                Ok(BASE64.encode(signature))
            }
            Signer::Legacy(..) => {
                let (own, text) = (Arc::clone(own), text.to_vec());
                tokio::task::spawn_blocking(move || own.signer.sign_blinded(&text))
                    .await
                    .map_err(|_| SignError)?
            }
        }
    }

    /// Verifies a signature over the bytes of a canonical text with any of Alipay's keys.
    /// `sign_type` must be the configured one, letter for letter: an answer may not choose a weaker
    /// one (`docs/invariants.md` Q3).
    pub fn verify(
        &self,
        text: &[u8],
        signature: Option<&str>,
        sign_type: Option<&str>,
    ) -> Result<(), VerifyError> {
        let signature = signature
            .filter(|signature| !signature.is_empty())
            .ok_or(VerifyError::Missing)?;
        if sign_type != Some(self.sign_type().as_str()) {
            return Err(VerifyError::OtherSignType);
        }
        let verified = self
            .0
            .alipays
            .iter()
            .any(|key| key.verifier.accepts(text, signature));
        verified.then_some(()).ok_or(VerifyError::Wrong)
    }
}

impl OwnKey {
    /// Reads the text of our private key, or of the shared one.
    pub(super) fn read(sign_type: SignType, text: &[u8]) -> Result<Self, KeyFault> {
        if sign_type == SignType::Md5 {
            let key = shared_key(text)?;
            return Ok(Self {
                facts: KeyFacts::of_shared_key(&key),
                signer: Signer::Md5(key),
            });
        }
        let key = keys::private_key(text)?;
        let facts = KeyFacts {
            has_spaces: keys::has_spaces_inside(text),
            ..KeyFacts::of(&key.to_public_key())?
        };
        Ok(Self {
            signer: Signer::new(sign_type, key)?,
            facts,
        })
    }

    /// What may be told of it.
    pub(super) fn facts(&self) -> &KeyFacts {
        &self.facts
    }
}

impl AlipaysKey {
    /// Reads the text of a public key of Alipay's, or of the shared one.
    pub(super) fn read(sign_type: SignType, text: &[u8]) -> Result<Self, KeyFault> {
        let algorithm = match sign_type {
            SignType::Md5 => {
                let key = shared_key(text)?;
                return Ok(Self {
                    facts: KeyFacts::of_shared_key(&key),
                    verifier: Verifier::Md5(key),
                });
            }
            SignType::Rsa2 => &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
            SignType::Rsa => &RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
        };
        let key = keys::public_key(text)?;
        let verifier = ParsedPublicKey::new(algorithm, keys::public_key_info(&key)?)
            .map_err(|_| KeyFault::NotAnRsaKey)?;
        Ok(Self {
            verifier: Verifier::Rsa(verifier),
            facts: KeyFacts {
                has_spaces: keys::has_spaces_inside(text),
                ..KeyFacts::of(&key)?
            },
        })
    }

    /// What may be told of it.
    pub(super) fn facts(&self) -> &KeyFacts {
        &self.facts
    }
}

impl KeyFacts {
    fn of(key: &RsaPublicKey) -> Result<Self, KeyFault> {
        let fingerprint = keys::fingerprint(&keys::public_key_info(key)?);
        Ok(Self {
            is_published: PUBLISHED.contains(&fingerprint.as_str()),
            fingerprint: Some(fingerprint),
            bits: Some(key.n().bits()),
            has_spaces: false,
        })
    }

    /// Nothing of a shared key is shown, a hash neither: it could be guessed from it.
    fn of_shared_key(key: &SecretString) -> Self {
        let hash = keys::fingerprint(key.expose_secret().as_bytes());
        Self {
            fingerprint: None,
            bits: None,
            is_published: PUBLISHED.contains(&hash.as_str()),
            has_spaces: false,
        }
    }
}

impl Verifier {
    fn accepts(&self, text: &[u8], signature: &str) -> bool {
        match self {
            Self::Md5(key) => {
                let expected = md5_hex(text, key);
                bool::from(expected.as_bytes().ct_eq(signature.as_bytes()))
            }
            Self::Rsa(key) => BASE64
                .decode(signature)
                .is_ok_and(|signature| key.verify_sig(text, &signature).is_ok()),
        }
    }
}

/// The text of a shared key, trimmed.
fn shared_key(text: &[u8]) -> Result<SecretString, KeyFault> {
    let key = std::str::from_utf8(text)
        .map_err(|_| KeyFault::NotAnMd5Key)?
        .trim();
    if key.is_empty() {
        return Err(KeyFault::Empty);
    }
    if keys::is_quoted(key) {
        return Err(KeyFault::Quoted);
    }
    if !(16..=128).contains(&key.len()) || !key.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(KeyFault::NotAnMd5Key);
    }
    Ok(SecretString::from(key))
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.sign_type())
    }
}

impl Signer {
    fn new(sign_type: SignType, key: RsaPrivateKey) -> Result<Self, KeyFault> {
        let bits = key.n().bits();
        if sign_type == SignType::Rsa2 && bits >= MODERN_BITS {
            let document = key.to_pkcs8_der().map_err(|_| KeyFault::NotAnRsaKey)?;
            return RsaKeyPair::from_pkcs8(document.as_bytes())
                .map(Self::Modern)
                .map_err(|_| KeyFault::NotAnRsaKey);
        }
        tracing::warn!(
            alipay.sign_type = sign_type.as_str(),
            alipay.key_bits = bits,
            "the Alipay key or signature type is a legacy one; use sign type RSA2 with 2048 bits"
        );
        Ok(Self::Legacy(sign_type, Box::new(key)))
    }

    fn sign_blinded(&self, text: &[u8]) -> Result<String, SignError> {
        let Self::Legacy(sign_type, key) = self else {
            return Err(SignError);
        };
        let rng = &mut rand::thread_rng();
        let signature = if *sign_type == SignType::Rsa2 {
            key.sign_with_rng(rng, Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(text))
        } else {
            key.sign_with_rng(rng, Pkcs1v15Sign::new::<Sha1>(), &Sha1::digest(text))
        };
        signature
            .map(|signature| BASE64.encode(signature))
            .map_err(|_| SignError)
    }
}

/// `MD5(text ++ key)` in lower-case hexadecimal.
fn md5_hex(text: &[u8], key: &SecretString) -> String {
    let mut digest = Md5::new();
    digest.update(text);
    digest.update(key.expose_secret().as_bytes());
    hex::encode(digest.finalize())
}

#[cfg(test)]
#[path = "sign_tests.rs"]
mod tests;
