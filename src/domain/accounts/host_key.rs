//! Host keys of Alipay's SFTP server that are trusted.

use std::str::FromStr;

use base64::{Engine as _, prelude::*};
use sha2::{Digest as _, Sha256};

/// A host key of a server that is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKey {
    /// SHA-256 over the key as it goes over the wire.
    pub sha256: [u8; 32],
    /// Its kind, where that is known: it is asked for first.
    pub kind: Option<String>,
}

impl FromStr for HostKey {
    type Err = ();

    /// Reads `SHA256:...` or a line of OpenSSH's, with or without a comment; of a line of `known_hosts` the
    /// host in front is passed over.
    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.trim();
        if let Some(fingerprint) = text.strip_prefix("SHA256:") {
            let bytes = BASE64_STANDARD_NO_PAD.decode(fingerprint.trim_end_matches('='));
            let sha256 = bytes.map_err(drop)?.try_into().map_err(drop)?;
            return Ok(Self { sha256, kind: None });
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        let is_kind = |word: &str| word.starts_with("ssh-") || word.starts_with("ecdsa-");
        let at = words
            .iter()
            .take(2)
            .position(|word| is_kind(word))
            .ok_or(())?;
        let blob = BASE64_STANDARD
            .decode(words.get(at + 1).ok_or(())?)
            .map_err(drop)?;
        // The key says its own kind first, with its length in front.
        let kind = words[at];
        let named = blob.get(4..4 + kind.len()) == Some(kind.as_bytes());
        if !named || blob.get(..4) != Some(&u32::try_from(kind.len()).map_err(drop)?.to_be_bytes())
        {
            return Err(());
        }
        Ok(Self {
            sha256: Sha256::digest(&blob).into(),
            kind: Some(kind.to_owned()),
        })
    }
}

impl HostKey {
    /// As OpenSSH writes it.
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", BASE64_STANDARD_NO_PAD.encode(self.sha256))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g";

    #[test]
    fn a_pin_is_read_however_it_is_written_and_means_the_same() {
        let pin: HostKey = LINE.parse().expect("a line");
        assert_eq!(pin.kind.as_deref(), Some("ssh-ed25519"));
        let fingerprint = format!("SHA256:{}", BASE64_STANDARD_NO_PAD.encode(pin.sha256));
        for text in [
            format!("{LINE} root@sftp"),
            format!("[isftp.example.com]:22 {LINE}"),
            fingerprint,
        ] {
            let read: HostKey = text.parse().expect(&text);
            assert_eq!(read.sha256, pin.sha256, "{text}");
        }
    }

    #[test]
    fn what_is_no_pin_is_refused() {
        for text in [
            "",
            "SHA256:",
            "SHA256:AAAA",
            "MD5:16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48",
            "ssh-ed25519",
            "ssh-ed25519 AAAA",
            // Another kind than the key's own.
            &LINE.replace("ssh-ed25519 ", "ssh-rsa "),
            "-----BEGIN OPENSSH PRIVATE KEY-----",
        ] {
            assert_eq!(text.parse::<HostKey>(), Err(()), "{text}");
        }
    }
}
