//! RSA keys as people have them: PKCS#1, PKCS#8 or SubjectPublicKeyInfo, in PEM or as the bare
//! base64 that Alipay's tools print (`docs/protocol.md` 3.3).
//!
//! Everything here runs once, at start. What is wrong with a key is said in words that lead to the
//! repair, and without any byte of the key.

use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use rsa::{
    RsaPrivateKey, RsaPublicKey,
    pkcs1::{DecodeRsaPrivateKey as _, DecodeRsaPublicKey as _},
    pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePublicKey as _},
    traits::PublicKeyParts as _,
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::error::KeyFault;

/// Shorter keys protect nothing. Alipay's shared key for `RSA` has just this length
/// (`docs/protocol.md` 3.3), so it is the limit of verification too.
const MINIMUM_BITS: usize = 1024;

/// Tools differ on the padding of bare base64.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads our own private key.
pub(super) fn private_key(text: &[u8]) -> Result<RsaPrivateKey, KeyFault> {
    let der = der(text)?;
    let key = decode_private(&der).ok_or_else(|| {
        if decode_public(&der).is_some() {
            KeyFault::PublicInsteadOfPrivate
        } else {
            no_key(text)
        }
    })?;
    long_enough(key.n().bits())?;
    Ok(key)
}

/// Reads Alipay's public key.
pub(super) fn public_key(text: &[u8]) -> Result<RsaPublicKey, KeyFault> {
    let der = der(text)?;
    let key = decode_public(&der).ok_or_else(|| {
        if decode_private(&der).is_some() {
            KeyFault::PrivateInsteadOfPublic
        } else {
            no_key(text)
        }
    })?;
    long_enough(key.n().bits())?;
    Ok(key)
}

/// The public key as SubjectPublicKeyInfo, DER.
pub(super) fn public_key_info(key: &RsaPublicKey) -> Result<Vec<u8>, KeyFault> {
    key.to_public_key_der()
        .map(|document| document.as_bytes().to_vec())
        .map_err(|_| KeyFault::NotAnRsaKey)
}

/// SHA-256 over the SubjectPublicKeyInfo, in hexadecimal: what two people compare to know that they
/// hold the same key.
pub(super) fn fingerprint(public_key_info: &[u8]) -> String {
    hex::encode(Sha256::digest(public_key_info))
}

fn long_enough(bits: usize) -> Result<(), KeyFault> {
    if bits < MINIMUM_BITS {
        return Err(KeyFault::TooShort {
            bits,
            minimum: MINIMUM_BITS,
        });
    }
    Ok(())
}

fn decode_private(der: &[u8]) -> Option<RsaPrivateKey> {
    RsaPrivateKey::from_pkcs8_der(der)
        .ok()
        .or_else(|| RsaPrivateKey::from_pkcs1_der(der).ok())
}

fn decode_public(der: &[u8]) -> Option<RsaPublicKey> {
    RsaPublicKey::from_public_key_der(der)
        .ok()
        .or_else(|| RsaPublicKey::from_pkcs1_der(der).ok())
}

/// Takes off the armour and decodes the base64.
fn der(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
    let body = base64_of(text)?;
    let base64: Zeroizing<String> =
        Zeroizing::new(body.chars().filter(|c| !c.is_whitespace()).collect());
    BASE64
        .decode(base64.as_bytes())
        .map(Zeroizing::new)
        .map_err(|_| {
            let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"+/=".contains(&b);
            if has_spaces(body) && base64.bytes().all(is_plain) {
                KeyFault::SpacesInside
            } else {
                KeyFault::NotText
            }
        })
}

/// What stands between the armour lines, or all of it where there are none.
fn base64_of(text: &[u8]) -> Result<&str, KeyFault> {
    let text = std::str::from_utf8(text).map_err(|_| KeyFault::NotText)?;
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err(KeyFault::Empty);
    }
    if is_quoted(text) {
        return Err(KeyFault::Quoted);
    }
    if text.contains("\\n") || text.contains("\\r") {
        return Err(KeyFault::EscapedLineEnds);
    }
    match text.split_once("-----BEGIN ") {
        Some((before, armoured)) if !before.ends_with('-') => armour(armoured),
        None if !text.contains("BEGIN ") && !text.contains("END ") => Ok(text),
        _ => Err(KeyFault::Armour),
    }
}

/// Whether a text begins or ends with a quotation mark, of whatever kind.
pub(super) fn is_quoted(text: &str) -> bool {
    let is_mark = |c: char| matches!(c, '"' | '\'' | '`' | '\u{2018}'..='\u{201f}');
    text.starts_with(is_mark) || text.ends_with(is_mark)
}

/// Whether there are spaces within the lines of a base64, not only around them.
fn has_spaces(base64: &str) -> bool {
    base64.lines().any(|line| line.trim().contains([' ', '\t']))
}

/// Whether a key has spaces inside its base64. It can be read without them, so this is worth a word only.
pub(super) fn has_spaces_inside(text: &[u8]) -> bool {
    base64_of(text).is_ok_and(has_spaces)
}

/// Why what could be decoded is no key.
fn no_key(text: &[u8]) -> KeyFault {
    if has_spaces_inside(text) {
        KeyFault::SpacesInside
    } else {
        KeyFault::NotAnRsaKey
    }
}

/// The base64 between the armour lines, after a look at the label.
fn armour(text: &str) -> Result<&str, KeyFault> {
    let (label, rest) = text.split_once("-----").ok_or(KeyFault::Armour)?;
    let (body, end) = rest.split_once("-----END ").ok_or(KeyFault::Armour)?;
    if rest.starts_with('-') || body.ends_with('-') || !end.trim_end().ends_with("-----") {
        return Err(KeyFault::Armour);
    }
    if label.starts_with("ENCRYPTED") || body.contains("ENCRYPTED") {
        return Err(KeyFault::Encrypted);
    }
    if label.contains("CERTIFICATE") {
        return Err(KeyFault::Certificate);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alipay::vectors;
    use rsa::{
        pkcs1::{EncodeRsaPrivateKey as _, EncodeRsaPublicKey as _, LineEnding},
        pkcs8::EncodePrivateKey as _,
    };

    #[test]
    fn every_form_of_a_private_key_is_read() {
        let key = private_key(vectors::V5_PRIVATE_KEY.as_bytes()).expect("bare base64 of PKCS#8");
        let pkcs1 = key.to_pkcs1_der().expect("the key encodes");
        let bare_pkcs1 = BASE64.encode(pkcs1.as_bytes());
        let pem_pkcs1 = key.to_pkcs1_pem(LineEnding::CRLF).expect("the key encodes");
        let pem_pkcs8 = key.to_pkcs8_pem(LineEnding::LF).expect("the key encodes");
        for text in [
            bare_pkcs1.as_str(),
            &pem_pkcs1,
            &pem_pkcs8,
            &format!("\u{feff}{}\n", *pem_pkcs8),
        ] {
            assert_eq!(private_key(text.as_bytes()).as_ref(), Ok(&key));
        }
    }

    #[test]
    fn every_form_of_a_public_key_is_read() {
        let key = public_key(vectors::V5_PUBLIC_KEY.as_bytes()).expect("bare base64 of SPKI");
        let bare_pkcs1 = BASE64.encode(key.to_pkcs1_der().expect("the key encodes").as_bytes());
        let pem_spki = key
            .to_public_key_pem(LineEnding::LF)
            .expect("the key encodes");
        let pem_pkcs1 = key.to_pkcs1_pem(LineEnding::LF).expect("the key encodes");
        for text in [bare_pkcs1.as_str(), &pem_spki, &pem_pkcs1] {
            assert_eq!(public_key(text.as_bytes()).as_ref(), Ok(&key));
        }
        let wrapped: String = vectors::V5_PUBLIC_KEY
            .as_bytes()
            .chunks(64)
            .flat_map(|line| [std::str::from_utf8(line).expect("ASCII"), "\r\n"])
            .collect();
        assert_eq!(public_key(wrapped.as_bytes()).as_ref(), Ok(&key));
        let info = public_key_info(&key).expect("the key encodes");
        assert_eq!(fingerprint(&info).len(), 64);
    }

    #[test]
    fn what_is_odd_about_the_text_of_a_key_is_named() {
        let key = private_key(vectors::V5_PRIVATE_KEY.as_bytes()).expect("bare base64 of PKCS#8");
        let pem = key.to_pkcs8_pem(LineEnding::LF).expect("the key encodes");
        let bare = vectors::V5_PRIVATE_KEY;
        let plus = bare.find('+').expect("a plus");
        let spaced = |at: usize| format!("{} {}", &bare[..at], &bare[at..]);
        let public = public_key(vectors::V5_PUBLIC_KEY.as_bytes()).expect("bare base64 of SPKI");
        let public_pem = public.to_public_key_pem(LineEnding::LF).expect("encodes");
        let certificate =
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n".to_owned();
        for (what, text, fault) in [
            (
                "escaped",
                pem.replace('\n', "\\n"),
                KeyFault::EscapedLineEnds,
            ),
            (
                "escaped CRLF",
                pem.replace('\n', "\\r\\n"),
                KeyFault::EscapedLineEnds,
            ),
            ("quoted", format!("\"{}\"", pem.trim()), KeyFault::Quoted),
            (
                "escaped in quotes",
                format!("'{}'", pem.replace('\n', "\\n")),
                KeyFault::Quoted,
            ),
            ("bare in quotes", format!("\"{bare}\"\n"), KeyFault::Quoted),
            (
                "typographic quotes",
                format!("\u{201c}{bare}\u{201d}"),
                KeyFault::Quoted,
            ),
            ("a quote at the end", format!("{bare}\""), KeyFault::Quoted),
            (
                "four dashes",
                pem.replace("-----", "----"),
                KeyFault::Armour,
            ),
            (
                "six dashes",
                pem.replace("-----", "------"),
                KeyFault::Armour,
            ),
            (
                "four dashes in front",
                pem.replacen("-----", "----", 1),
                KeyFault::Armour,
            ),
            (
                "four dashes at the end",
                pem.trim().trim_end_matches('-').to_owned() + "----",
                KeyFault::Armour,
            ),
            (
                "no end",
                pem.lines().take(3).collect::<Vec<_>>().join("\n"),
                KeyFault::Armour,
            ),
            (
                "no begin",
                pem.lines().skip(1).collect::<Vec<_>>().join("\n"),
                KeyFault::Armour,
            ),
            (
                "long dashes",
                pem.replace("-----", "\u{2014}\u{2014}"),
                KeyFault::Armour,
            ),
            (
                "a plus that became a space",
                bare.replace('+', " "),
                KeyFault::SpacesInside,
            ),
            ("a certificate", certificate, KeyFault::Certificate),
            ("a public key", public_pem, KeyFault::PublicInsteadOfPrivate),
            (
                "a bare public key",
                vectors::V5_PUBLIC_KEY.to_owned(),
                KeyFault::PublicInsteadOfPrivate,
            ),
        ] {
            let found = private_key(text.as_bytes()).err();
            assert_eq!(found, Some(fault), "{what}");
        }
        // Spaces that took no character's place do no harm, and are worth a word.
        for (text, has_spaces) in [
            (spaced(plus), true),
            (bare.to_owned(), false),
            (format!("  {bare}\r\n "), false),
            (pem.replace('\n', " \n "), false),
        ] {
            assert_eq!(private_key(text.as_bytes()).as_ref(), Ok(&key), "{text}");
            assert_eq!(has_spaces_inside(text.as_bytes()), has_spaces, "{text}");
        }
    }

    #[test]
    fn a_key_in_the_wrong_place_is_named_as_such() {
        let armoured = |label: &str, body: &str| {
            format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
        };
        let short = "MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBALqbHeRLCyOdykC5SDLqI49ArYGYG1mqaH9/GnWjGavZM02fos4lc2w6tCchcUBNtJvGqKwhC5JEnx3RYoSX2ucCAwEAAQ==";
        for (text, fault) in [
            ("", KeyFault::Empty),
            (" \r\n", KeyFault::Empty),
            ("not a key!", KeyFault::NotText),
            ("AAAA", KeyFault::NotAnRsaKey),
            ("-----BEGIN PRIVATE KEY-----", KeyFault::Armour),
            (vectors::V5_PUBLIC_KEY, KeyFault::PublicInsteadOfPrivate),
            (&armoured("CERTIFICATE", "AAAA"), KeyFault::Certificate),
            (
                &armoured("ENCRYPTED PRIVATE KEY", "AAAA"),
                KeyFault::Encrypted,
            ),
            (
                &armoured("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\n\nAAAA"),
                KeyFault::Encrypted,
            ),
        ] {
            assert_eq!(private_key(text.as_bytes()), Err(fault), "{text}");
        }
        assert_eq!(
            public_key(vectors::V5_PRIVATE_KEY.as_bytes()),
            Err(KeyFault::PrivateInsteadOfPublic)
        );
        assert_eq!(
            public_key(short.as_bytes()),
            Err(KeyFault::TooShort {
                bits: 512,
                minimum: 1024
            })
        );
    }
}
