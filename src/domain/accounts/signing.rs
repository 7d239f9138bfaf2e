//! How requests of an account are signed, and when its keys are valid.

use std::{fmt, path::PathBuf, str::FromStr};

use chrono::{DateTime, TimeDelta, Utc};

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

/// When a key is valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Validity {
    /// From when on; always where it is absent.
    pub not_before: Option<DateTime<Utc>>,
    /// Until when, exclusive; for ever where it is absent.
    pub not_after: Option<DateTime<Utc>>,
}

impl Validity {
    /// Whether the key is valid at an instant.
    pub fn contains(&self, at: DateTime<Utc>) -> bool {
        self.not_before.is_none_or(|from| from <= at) && self.not_after.is_none_or(|to| at < to)
    }

    /// Where the instant lies; whether the key is in use is not known here.
    pub fn state(&self, at: DateTime<Utc>) -> KeyState {
        if self.not_after.is_some_and(|to| to <= at) {
            KeyState::Expired
        } else if self.not_before.is_some_and(|from| at < from) {
            KeyState::Next
        } else {
            KeyState::Valid
        }
    }

    /// The same, longer at both ends.
    #[must_use]
    pub fn wider(self, by: TimeDelta) -> Self {
        Self {
            not_before: self.not_before.map(|from| from - by),
            not_after: self.not_after.map(|to| to + by),
        }
    }
}

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Valid and in use: it signs, or what it signs is believed.
    Active,
    Valid,
    /// Valid from a later time on.
    Next,
    /// No longer valid.
    Expired,
}

stored_names!(KeyState {
    Active = "active",
    Valid = "valid",
    Next = "next",
    Expired = "expired",
});

/// Whose key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRole {
    /// Ours: signs requests.
    Own,
    /// Alipay's: verifies answers.
    Alipays,
    /// Shared by both (`MD5`).
    Shared,
}

impl KeyRole {
    /// In words, for people.
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::Own => "our private key",
            Self::Alipays => "Alipay's public key",
            Self::Shared => "the MD5 key",
        }
    }
}

stored_names!(KeyRole {
    Own = "own",
    Alipays = "alipay",
    Shared = "shared",
});

/// A key file and when its key is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile {
    pub path: PathBuf,
    pub validity: Validity,
}

impl KeyFile {
    /// One whose key is valid for ever.
    pub fn always(path: PathBuf) -> Self {
        Self {
            path,
            validity: Validity::default(),
        }
    }
}
