//! What can go wrong at set-up, and the faults of one call.

use std::path::PathBuf;

use crate::domain::attempt::AnswerClass;

/// The client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The endpoint is not an `http` or `https` address with a host.
    #[error("the Alipay endpoint must be an http or https address: {0}")]
    Endpoint(url::Url),
    /// `partner` is empty or not digits.
    #[error("the Alipay partner must consist of digits: {0}")]
    Partner(String),
    /// An extra root certificate is not PEM.
    #[error("an extra root certificate is not a PEM certificate")]
    RootCertificate(#[source] reqwest::Error),
    /// The HTTP client could not be built; most often the machine has no CA certificates.
    #[error("the HTTP client for Alipay could not be built")]
    Http(#[source] reqwest::Error),
}

/// A key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The signature type needs a file that was not named.
    #[error("sign type {sign_type} needs {purpose}, but no file is named for it")]
    NotNamed {
        /// `RSA2`, `RSA` or `MD5`.
        sign_type: &'static str,
        /// Whose key it would be.
        purpose: &'static str,
    },
    /// The file could not be read.
    #[error("cannot read {purpose} from {path}")]
    Unreadable {
        /// Whose key it would be.
        purpose: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file's content is not the key it should be.
    #[error("{purpose} in {path} cannot be used")]
    File {
        /// Whose key it would be.
        purpose: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: KeyFault,
    },
    /// Alipay's public key is the public half of our own private key.
    #[error("{path} holds our own public key; Alipay's public key is needed")]
    OwnKeyAsAlipays {
        /// The file.
        path: PathBuf,
    },
}

/// What is wrong with the bytes of a key; never shows any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Nothing but white space.
    #[error("the file is empty")]
    Empty,
    /// Neither PEM nor base64.
    #[error("it is neither PEM nor base64")]
    NotText,
    /// The ends of its lines were written out, as in a variable of the environment or in JSON.
    #[error(
        "it has \\n written out as two characters; put each line on a line of its own (printf '%b' does)"
    )]
    EscapedLineEnds,
    /// It was copied together with the quotes around it.
    #[error("it stands in quotes; take them off")]
    Quoted,
    /// The lines around the base64 are not as they should be.
    #[error(
        "its first and last lines must be -----BEGIN ...----- and -----END ...-----, each with five dashes on both sides"
    )]
    Armour,
    /// There are spaces among the base64, and without them it is no key: each may have been a `+`.
    #[error(
        "it has spaces inside its base64, and without them it is no key: where each space is, there may have been a +; copy it again"
    )]
    SpacesInside,
    /// Base64 of something else than an RSA key.
    #[error("it is not an RSA key in PKCS#1, PKCS#8 or SubjectPublicKeyInfo form")]
    NotAnRsaKey,
    /// A private key was expected.
    #[error("it is a public key, but a private key is needed")]
    PublicInsteadOfPrivate,
    /// A public key was expected.
    #[error("it is a private key, but a public key is needed")]
    PrivateInsteadOfPublic,
    /// A certificate instead of a bare key.
    #[error("it is a certificate; extract its public key with openssl x509 -pubkey -noout")]
    Certificate,
    /// A private key under a passphrase.
    #[error("it is encrypted; remove the passphrase with openssl pkcs8 -topk8 -nocrypt")]
    Encrypted,
    /// Too short to protect anything.
    #[error("it has {bits} bits, but at least {minimum} are needed")]
    TooShort {
        /// The key's length.
        bits: usize,
        /// The least.
        minimum: usize,
    },
    /// The MD5 key has other characters or another length than keys of the portal.
    #[error("an MD5 key is 16 to 128 printable characters without spaces")]
    NotAnMd5Key,
}

/// Why one call has no usable answer: whatever it asked for may have happened, or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The kind, for the attempt's row.
    pub(super) class: AnswerClass,
    /// Alipay's code, where one came.
    pub(super) code: Option<String>,
    /// What was wrong; never a barcode, a key or text of the answer.
    pub(super) detail: String,
    /// Whether Alipay was out of reach: no HTTP answer, or a 5xx.
    pub(super) is_outage: bool,
}

#[cfg(feature = "failpoints")]
impl From<crate::failpoint::Injected> for Fault {
    fn from(injected: crate::failpoint::Injected) -> Self {
        Self::new(AnswerClass::ConnectionLost, injected.to_string())
    }
}

impl Fault {
    pub(super) fn new(class: AnswerClass, detail: impl Into<String>) -> Self {
        Self {
            class,
            code: None,
            detail: detail.into(),
            is_outage: false,
        }
    }

    pub(super) fn outage(class: AnswerClass, detail: impl Into<String>) -> Self {
        Self {
            is_outage: true,
            ..Self::new(class, detail)
        }
    }

    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(AnswerClass::Malformed, detail)
    }

    pub(super) fn mismatch(detail: impl Into<String>) -> Self {
        Self::new(AnswerClass::Mismatch, detail)
    }

    pub(super) fn bad_signature(detail: impl Into<String>) -> Self {
        Self::new(AnswerClass::BadSignature, detail)
    }
}
