//! What proves to an SFTP server who we are: read once, at the start.

use std::{fs, io, path::Path, sync::Arc};

use russh::keys::{Error as KeysError, PrivateKey, decode_secret_key};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

/// A password or a private key.
#[derive(Clone, Debug)]
pub enum Login {
    Password(SecretString),
    /// A private key, which prints nothing of itself.
    Key(Arc<PrivateKey>),
}

/// What is wrong with a password or a private key.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is nothing in it.
    #[error("{0} is empty")]
    Empty(String),
    /// The key is encrypted, and no passphrase is given.
    #[error("{0} is encrypted: its passphrase file must be given")]
    Encrypted(String),
    /// The key cannot be read.
    #[error(
        "{0} is no private key that can be read: Ed25519 or ECDSA as OpenSSH or PKCS#8 write it (`ssh-keygen -t ed25519`), with the right passphrase where it has one"
    )]
    NotAKey(String),
    /// An RSA key, in a program without RSA.
    #[error(
        "{0} is an RSA key: give Alipay the public half of an Ed25519 key (`ssh-keygen -t ed25519`), or build this program with --features sftp-rsa"
    )]
    Rsa(String),
}

impl Login {
    /// Reads a password; a line break at its end does not belong to it.
    pub fn password(path: &Path) -> Result<Self, LoginError> {
        Ok(Self::Password(secret(path)?))
    }

    /// Reads a private key.
    pub fn key(path: &Path, passphrase: Option<&Path>) -> Result<Self, LoginError> {
        let shown = || path.display().to_string();
        let passphrase = passphrase.map(secret).transpose()?;
        let text = read(path)?;
        let passphrase = passphrase.as_ref().map(SecretString::expose_secret);
        let key = decode_secret_key(&text, passphrase).map_err(|error| match error {
            KeysError::KeyIsEncrypted => LoginError::Encrypted(shown()),
            KeysError::UnsupportedKeyType { .. } if !super::RSA => LoginError::Rsa(shown()),
            _ => LoginError::NotAKey(shown()),
        })?;
        if key.algorithm().is_rsa() && !super::RSA {
            return Err(LoginError::Rsa(shown()));
        }
        Ok(Self::Key(Arc::new(key)))
    }

    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Password(_) => "the password".to_owned(),
            Self::Key(key) => {
                let fingerprint = key.public_key().fingerprint(russh::keys::HashAlg::Sha256);
                format!("the key {} {fingerprint}", key.algorithm())
            }
        }
    }
}

fn read(path: &Path) -> Result<Zeroizing<String>, LoginError> {
    let text = fs::read_to_string(path).map_err(|source| LoginError::Unreadable {
        path: path.display().to_string(),
        source,
    })?;
    Ok(Zeroizing::new(text))
}

fn secret(path: &Path) -> Result<SecretString, LoginError> {
    let text = read(path)?;
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        return Err(LoginError::Empty(path.display().to_string()));
    }
    Ok(SecretString::from(text))
}
