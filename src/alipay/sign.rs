//! The string to sign, and the three signature types (`protocol/wire.md` 2.1–2.3).
//!
//! `RSA2` signatures and every verification are made by aws-lc-rs, in constant time. What it
//! refuses, the SHA-1 signature of `RSA` and own keys under 2048 bits, is made by `rsa`, blinded
//! and off the reactor, with a warning at start (`design/correctness.md` Q2).

use std::{fmt, path::Path, str::FromStr, sync::Arc};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ParsedPublicKey, RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
        RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use md5::Md5;
use rsa::{Pkcs1v15Sign, RsaPrivateKey, pkcs8::EncodePrivateKey as _, traits::PublicKeyParts as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{
    error::{KeyError, KeyFault},
    keys,
};

/// Own keys below this are the legacy case for RSA2.
const MODERN_BITS: usize = 2048;

/// How requests are signed and answers must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignType {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rsa2,
    /// The same with SHA-1: legacy.
    Rsa,
    /// A shared key: legacy.
    Md5,
}

impl SignType {
    /// The value of the `sign_type` parameter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rsa2 => "RSA2",
            Self::Rsa => "RSA",
            Self::Md5 => "MD5",
        }
    }
}

impl fmt::Display for SignType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no signature type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sign type must be RSA2, RSA or MD5")]
pub struct ParseSignTypeError;

impl FromStr for SignType {
    type Err = ParseSignTypeError;

    fn from_str(text: &str) -> Result<Self, ParseSignTypeError> {
        match text {
            "RSA2" => Ok(Self::Rsa2),
            "RSA" => Ok(Self::Rsa),
            "MD5" => Ok(Self::Md5),
            _ => Err(ParseSignTypeError),
        }
    }
}

/// The text that is signed: every pair but `sign` and `sign_type` whose value is not empty, sorted
/// by name in byte order, `name=value` joined by `&`, values as they are.
pub fn canonical<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut pairs: Vec<_> = pairs
        .into_iter()
        .filter(|(name, value)| !matches!(*name, "sign" | "sign_type") && !value.is_empty())
        .collect();
    pairs.sort_unstable();
    let mut text = String::with_capacity(1024);
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        text.push_str(value);
    }
    text
}

/// Our key and Alipay's, parsed once. Cheap to clone; shows no secret.
#[derive(Clone)]
pub struct Credentials(Arc<Scheme>);

enum Scheme {
    Rsa {
        sign_type: SignType,
        signer: Signer,
        verifier: ParsedPublicKey,
        own_key_info: Vec<u8>,
        alipays_key_info: Vec<u8>,
    },
    Md5(SecretString),
}

enum Signer {
    Modern(RsaKeyPair),
    /// What aws-lc-rs refuses to sign with.
    Legacy(Box<RsaPrivateKey>),
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
        let key = std::str::from_utf8(key)
            .map_err(|_| KeyFault::NotAnMd5Key)?
            .trim();
        if key.is_empty() {
            return Err(KeyFault::Empty);
        }
        if !(16..=128).contains(&key.len()) || !key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(KeyFault::NotAnMd5Key);
        }
        Ok(Self(Arc::new(Scheme::Md5(SecretString::from(key)))))
    }

    /// Reads the files that `sign_type` needs and ignores the others.
    pub fn load(
        sign_type: SignType,
        private_key_file: Option<&Path>,
        alipays_public_key_file: Option<&Path>,
        md5_key_file: Option<&Path>,
    ) -> Result<Self, KeyError> {
        if sign_type == SignType::Md5 {
            let file = KeyFile::read(sign_type, "the MD5 key", md5_key_file)?;
            return Self::md5(&file.text).map_err(|fault| file.error(fault));
        }
        let own = KeyFile::read(sign_type, "our private key", private_key_file)?;
        let alipays = KeyFile::read(sign_type, "Alipay's public key", alipays_public_key_file)?;
        let private_key = keys::private_key(&own.text).map_err(|fault| own.error(fault))?;
        let public_key = keys::public_key(&alipays.text).map_err(|fault| alipays.error(fault))?;
        if private_key.to_public_key() == public_key {
            return Err(KeyError::OwnKeyAsAlipays {
                path: alipays.path.to_owned(),
            });
        }
        Self::with_keys(sign_type, &own.text, &alipays.text).map_err(|fault| own.error(fault))
    }

    fn with_keys(
        sign_type: SignType,
        private_key: &[u8],
        alipays_public_key: &[u8],
    ) -> Result<Self, KeyFault> {
        let private_key = keys::private_key(private_key)?;
        let alipays_key_info = keys::public_key_info(&keys::public_key(alipays_public_key)?)?;
        let own_key_info = keys::public_key_info(&private_key.to_public_key())?;
        let algorithm = if sign_type == SignType::Rsa2 {
            &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY
        } else {
            &RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY
        };
        Ok(Self(Arc::new(Scheme::Rsa {
            sign_type,
            signer: Signer::new(sign_type, private_key)?,
            verifier: ParsedPublicKey::new(algorithm, &alipays_key_info)
                .map_err(|_| KeyFault::NotAnRsaKey)?,
            own_key_info,
            alipays_key_info,
        })))
    }

    /// How these credentials sign.
    pub fn sign_type(&self) -> SignType {
        match &*self.0 {
            Scheme::Rsa { sign_type, .. } => *sign_type,
            Scheme::Md5(_) => SignType::Md5,
        }
    }

    /// SHA-256 of our public key's SubjectPublicKeyInfo, in hexadecimal; `None` with MD5.
    pub fn own_key_fingerprint(&self) -> Option<String> {
        match &*self.0 {
            Scheme::Rsa { own_key_info, .. } => Some(keys::fingerprint(own_key_info)),
            Scheme::Md5(_) => None,
        }
    }

    /// SHA-256 of Alipay's SubjectPublicKeyInfo, in hexadecimal; `None` with MD5.
    pub fn alipays_key_fingerprint(&self) -> Option<String> {
        match &*self.0 {
            Scheme::Rsa {
                alipays_key_info, ..
            } => Some(keys::fingerprint(alipays_key_info)),
            Scheme::Md5(_) => None,
        }
    }

    /// Signs the bytes of a canonical text. An RSA2 signature costs about 0.3 ms of computing and
    /// is made in place, cheaper than handing it to another thread and back.
    pub async fn sign(&self, text: &[u8]) -> Result<String, SignError> {
        match &*self.0 {
            Scheme::Md5(key) => Ok(md5_hex(text, key)),
            Scheme::Rsa {
                signer: Signer::Modern(key_pair),
                ..
            } => {
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
            Scheme::Rsa {
                signer: Signer::Legacy(_),
                ..
            } => {
                let (scheme, text) = (Arc::clone(&self.0), text.to_vec());
                tokio::task::spawn_blocking(move || scheme.sign_blinded(&text))
                    .await
                    .map_err(|_| SignError)?
            }
        }
    }

    /// Verifies a signature over the bytes of a canonical text. `sign_type` must be the configured
    /// one, letter for letter: an answer may not choose a weaker one (`design/correctness.md` Q3).
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
        match &*self.0 {
            Scheme::Md5(key) => {
                let expected = md5_hex(text, key);
                let equal = expected.as_bytes().ct_eq(signature.as_bytes());
                bool::from(equal).then_some(()).ok_or(VerifyError::Wrong)
            }
            Scheme::Rsa { verifier, .. } => BASE64
                .decode(signature)
                .ok()
                .and_then(|signature| verifier.verify_sig(text, &signature).ok())
                .ok_or(VerifyError::Wrong),
        }
    }
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
        Ok(Self::Legacy(Box::new(key)))
    }
}

impl Scheme {
    fn sign_blinded(&self, text: &[u8]) -> Result<String, SignError> {
        let Self::Rsa {
            sign_type,
            signer: Signer::Legacy(key),
            ..
        } = self
        else {
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

/// A key file's text, and the words for what is wrong with it.
struct KeyFile<'a> {
    purpose: &'static str,
    path: &'a Path,
    text: Zeroizing<Vec<u8>>,
}

impl<'a> KeyFile<'a> {
    fn read(
        sign_type: SignType,
        purpose: &'static str,
        path: Option<&'a Path>,
    ) -> Result<Self, KeyError> {
        let path = path.ok_or(KeyError::NotNamed {
            sign_type: sign_type.as_str(),
            purpose,
        })?;
        let text = std::fs::read(path).map_err(|source| KeyError::Unreadable {
            purpose,
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            purpose,
            path,
            text: Zeroizing::new(text),
        })
    }

    fn error(&self, source: KeyFault) -> KeyError {
        KeyError::File {
            purpose: self.purpose,
            path: self.path.to_owned(),
            source,
        }
    }
}

#[cfg(test)]
#[path = "sign_tests.rs"]
mod tests;
