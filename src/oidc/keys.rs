//! An issuer's keys, and whether a token was signed by one of them.
//!
//! A key is used with the algorithms of its kind alone, and where it names one, with that: a token does
//! not choose how it is verified. Keys of other kinds, for other uses, or that cannot be read are left
//! out, so that one strange key does not take the others away.

use jsonwebtoken::{
    Algorithm, DecodingKey, Header, Validation, decode, decode_header,
    errors::ErrorKind,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

use crate::domain::access::token::{Claims, TokenFault};

/// Longest token that is read, in bytes; those of issuers have one or two thousand.
const MAX_TOKEN: usize = 8 * 1024;
/// Most keys of an issuer; it has a handful.
const MAX_KEYS: usize = 64;

/// The algorithms of public keys that are accepted. `none` is no algorithm here, and the HMACs would
/// take a public key for a secret.
const ALLOWED: [Algorithm; 4] = [
    Algorithm::RS256,
    Algorithm::PS256,
    Algorithm::ES256,
    Algorithm::EdDSA,
];

/// Why a set of keys is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysFault {
    /// No JSON with a list of keys.
    #[error("it is no JSON Web Key Set")]
    NoKeySet,
    /// More keys than an issuer has.
    #[error("it has more than {MAX_KEYS} keys")]
    TooMany,
    /// None of them verifies signatures by an algorithm that is accepted.
    #[error("none of its keys verifies signatures by RS256, PS256, ES256 or EdDSA")]
    NoneUsable,
}

/// The keys of an issuer as they were read at one time.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
    /// How many sets were taken before.
    pub(super) generation: u64,
}

/// A key, and what it may verify.
#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    public: DecodingKey,
}

/// A token whose header was read, and nothing else.
#[derive(Debug)]
pub struct Presented<'t> {
    token: &'t str,
    header: Header,
}

impl<'t> Presented<'t> {
    pub fn read(token: &'t str) -> Result<Self, TokenFault> {
        if token.len() > MAX_TOKEN {
            return Err(TokenFault::TooLong);
        }
        let header = decode_header(token).map_err(|_| TokenFault::Malformed)?;
        if !ALLOWED.contains(&header.alg) {
            return Err(TokenFault::Algorithm);
        }
        if header.crit.is_some() {
            return Err(TokenFault::Critical);
        }
        Ok(Self { token, header })
    }
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a JSON Web Key Set (RFC 7517).
    pub fn read(document: &[u8]) -> Result<Self, KeysFault> {
        let document: Document =
            serde_json::from_slice(document).map_err(|_| KeysFault::NoKeySet)?;
        if document.keys.len() > MAX_KEYS {
            return Err(KeysFault::TooMany);
        }
        let keys: Vec<Key> = document.keys.into_iter().filter_map(Key::read).collect();
        if keys.is_empty() {
            return Err(KeysFault::NoneUsable);
        }
        Ok(Self {
            keys,
            generation: 0,
        })
    }

    /// How many there are; none before the issuer was first reached.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether the issuer was never reached.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether the keys may have been changed since: the token names one that is not among them.
    pub fn may_be_old(&self, presented: &Presented<'_>) -> bool {
        self.is_empty() || (presented.header.kid.is_some() && self.named(presented).is_empty())
    }

    /// The keys that a token names; where it names none, the only one there is.
    fn named(&self, presented: &Presented<'_>) -> Vec<&Key> {
        match &presented.header.kid {
            Some(id) => self
                .keys
                .iter()
                .filter(|key| key.id.as_ref() == Some(id))
                .collect(),
            None if self.keys.len() == 1 => self.keys.iter().collect(),
            None => Vec::new(),
        }
    }

    /// The claims of a token that the issuer signed for this audience.
    pub fn verify(
        &self,
        presented: &Presented<'_>,
        issuer: &str,
        audience: &str,
    ) -> Result<Claims, TokenFault> {
        let named = self.named(presented);
        if named.is_empty() {
            return Err(TokenFault::UnknownKey);
        }
        let mut rules = Validation::new(presented.header.alg);
        rules.set_issuer(&[issuer]);
        rules.set_audience(&[audience]);
        rules.set_required_spec_claims(&["exp", "iss", "aud"]);
        // Times are judged by the clock of the program, which this library does not know.
        rules.validate_exp = false;
        let mut fault = TokenFault::Algorithm;
        for key in named {
            if !key.algorithms.contains(&presented.header.alg) {
                continue;
            }
            match decode::<Claims>(presented.token, &key.public, &rules) {
                Ok(token) => return Ok(token.claims),
                Err(error) => fault = fault_of(error.kind()),
            }
            if fault != TokenFault::Signature {
                break;
            }
        }
        Err(fault)
    }
}

fn fault_of(error: &ErrorKind) -> TokenFault {
    match error {
        ErrorKind::InvalidSignature => TokenFault::Signature,
        ErrorKind::InvalidIssuer => TokenFault::Issuer,
        ErrorKind::InvalidAudience => TokenFault::Audience,
        ErrorKind::MissingRequiredClaim(name) if name == "iss" => TokenFault::Issuer,
        ErrorKind::MissingRequiredClaim(name) if name == "aud" => TokenFault::Audience,
        ErrorKind::InvalidAlgorithm => TokenFault::Algorithm,
        _ => TokenFault::Malformed,
    }
}

impl Key {
    /// `None`: not one that verifies signatures by an algorithm that is accepted.
    fn read(value: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let common = &jwk.common;
        let other_use = common
            .public_key_use
            .as_ref()
            .is_some_and(|wanted| *wanted != PublicKeyUse::Signature);
        let other_operations = common
            .key_operations
            .as_ref()
            .is_some_and(|wanted| !wanted.contains(&KeyOperations::Verify));
        if other_use || other_operations {
            return None;
        }
        let mut algorithms = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => vec![Algorithm::RS256, Algorithm::PS256],
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                vec![Algorithm::ES256]
            }
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                vec![Algorithm::EdDSA]
            }
            _ => return None,
        };
        if let Some(only) = common.key_algorithm {
            let only: Algorithm = only.to_string().parse().ok()?;
            algorithms.retain(|algorithm| *algorithm == only);
        }
        if algorithms.is_empty() {
            return None;
        }
        Some(Self {
            public: DecodingKey::from_jwk(&jwk).ok()?,
            id: jwk.common.key_id,
            algorithms,
        })
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
