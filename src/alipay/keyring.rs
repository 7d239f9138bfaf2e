//! The keys of an account over time.
//!
//! An account may have several keys of ours and of Alipay's, each valid for a while, so that keys
//! change over without a failed call and without a restart. Which are valid is decided when they are
//! used, by the process clock, and costs a look-up: the moments at which anything changes are known,
//! and what is valid between two of them is put together when the files are read.
//!
//! - We sign with the valid key that became valid last; of two at once, the one named last.
//! - Alipay's keys are all accepted while they are valid, and for a minute before and after: a request
//!   and its answer may lie on two sides of a change.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use chrono::{DateTime, TimeDelta, Utc};
use zeroize::Zeroizing;

use super::{
    error::KeyError,
    sign::{AlipaysKey, Credentials, KeyFacts, OwnKey},
};
use crate::domain::accounts::signing::{KeyFile, KeyRole, SignType, Validity};

/// Longer than any call takes.
const SLACK: TimeDelta = TimeDelta::minutes(1);

/// A key as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    pub role: KeyRole,
    pub validity: Validity,
    /// Its fingerprint and length.
    pub facts: KeyFacts,
}

/// The keys of an account. Cheap to clone; shows no secret.
#[derive(Clone)]
pub struct Keyring(Arc<Inner>);

struct Inner {
    sign_type: SignType,
    /// What is valid before the first change.
    first: Credentials,
    /// What becomes valid when, in order of time.
    changes: Vec<(DateTime<Utc>, Credentials)>,
    entries: Vec<KeyEntry>,
}

impl Keyring {
    /// Reads key files: ours and Alipay's, or for `MD5` the shared ones as `own`. All that is wrong
    /// with them is reported at once.
    pub fn load(
        sign_type: SignType,
        own: &[KeyFile],
        alipays: &[KeyFile],
    ) -> Result<Self, Vec<KeyError>> {
        let mut faults = Vec::new();
        let (own_role, alipays, alipays_role) = if sign_type == SignType::Md5 {
            (KeyRole::Shared, own, KeyRole::Shared)
        } else {
            (KeyRole::Own, alipays, KeyRole::Alipays)
        };
        for (files, role) in [(own, own_role), (alipays, alipays_role)] {
            if files.is_empty() && faults.is_empty() {
                faults.push(KeyError::NotNamed {
                    sign_type: sign_type.as_str(),
                    purpose: role.purpose(),
                });
            }
        }
        let own = read_all(own, own_role, &mut faults, |text| {
            OwnKey::read(sign_type, text)
        });
        // A shared key that cannot be read is reported once.
        let mut again = Vec::new();
        let alipays_faults = if alipays_role == KeyRole::Shared {
            &mut again
        } else {
            &mut faults
        };
        let alipays = read_all(alipays, alipays_role, alipays_faults, |text| {
            AlipaysKey::read(sign_type, text)
        });
        if alipays_role == KeyRole::Alipays {
            faults.extend(own_keys_among(&own, &alipays));
        }
        if faults.is_empty() {
            Ok(Self::new(sign_type, own_role, &own, &alipays))
        } else {
            Err(faults)
        }
    }

    fn new(
        sign_type: SignType,
        own_role: KeyRole,
        own: &[Dated<OwnKey>],
        alipays: &[Dated<AlipaysKey>],
    ) -> Self {
        let accepted: Vec<Dated<AlipaysKey>> = alipays
            .iter()
            .map(|key| Dated {
                validity: key.validity.wider(SLACK),
                ..key.clone()
            })
            .collect();
        let moments = own.iter().map(|key| key.validity);
        let moments = moments.chain(accepted.iter().map(|key| key.validity));
        let mut moments: Vec<DateTime<Utc>> = moments
            .flat_map(|validity| [validity.not_before, validity.not_after])
            .flatten()
            .collect();
        moments.sort_unstable();
        moments.dedup();
        let valid_at = |at: DateTime<Utc>| {
            let signs = newest(own.iter().map(|key| key.validity), at);
            let accepted = accepted.iter().filter(|key| key.validity.contains(at));
            Credentials::of(
                sign_type,
                signs
                    .and_then(|at| own.get(at))
                    .map(|key| Arc::clone(&key.key)),
                accepted.map(|key| Arc::clone(&key.key)).collect(),
            )
        };
        let shown = own.iter().map(|key| KeyEntry {
            role: own_role,
            validity: key.validity,
            facts: key.key.facts().clone(),
        });
        let shown_of_alipay = alipays.iter().map(|key| KeyEntry {
            role: KeyRole::Alipays,
            validity: key.validity,
            facts: key.key.facts().clone(),
        });
        let entries = if own_role == KeyRole::Shared {
            shown.collect()
        } else {
            shown.chain(shown_of_alipay).collect()
        };
        Self(Arc::new(Inner {
            sign_type,
            first: valid_at(DateTime::<Utc>::MIN_UTC),
            changes: moments.into_iter().map(|at| (at, valid_at(at))).collect(),
            entries,
        }))
    }

    /// How the account signs.
    pub fn sign_type(&self) -> SignType {
        self.0.sign_type
    }

    /// What is valid at an instant.
    pub fn at(&self, now: DateTime<Utc>) -> &Credentials {
        let passed = self.0.changes.partition_point(|(at, _)| *at <= now);
        match passed
            .checked_sub(1)
            .and_then(|last| self.0.changes.get(last))
        {
            Some((_, credentials)) => credentials,
            None => &self.0.first,
        }
    }

    /// Which of [`Self::entries`] signs at an instant.
    pub fn signing(&self, now: DateTime<Utc>) -> Option<usize> {
        // Ours stand first.
        let own = self.0.entries.iter();
        let own = own.take_while(|key| key.role != KeyRole::Alipays);
        newest(own.map(|key| key.validity), now)
    }

    /// Every key, as it may be shown.
    pub fn entries(&self) -> &[KeyEntry] {
        &self.0.entries
    }
}

/// Which of these is valid and became so last; of two at once, the last.
fn newest(validities: impl Iterator<Item = Validity>, at: DateTime<Utc>) -> Option<usize> {
    validities
        .enumerate()
        .filter(|(_, validity)| validity.contains(at))
        .max_by_key(|(_, validity)| validity.not_before)
        .map(|(index, _)| index)
}

/// Reads one key file and tells what may be told of it.
pub fn look_at(sign_type: SignType, role: KeyRole, path: &Path) -> Result<KeyFacts, KeyError> {
    match role {
        KeyRole::Own | KeyRole::Shared => {
            read(path, role, |text| OwnKey::read(sign_type, text)).map(|key| key.facts().clone())
        }
        KeyRole::Alipays => read(path, role, |text| AlipaysKey::read(sign_type, text))
            .map(|key| key.facts().clone()),
    }
}

/// Keys that are valid for ever.
impl From<Credentials> for Keyring {
    fn from(credentials: Credentials) -> Self {
        let entry = |role, facts: &KeyFacts| KeyEntry {
            role,
            validity: Validity::default(),
            facts: facts.clone(),
        };
        let shared = credentials.sign_type() == SignType::Md5;
        let role = if shared {
            KeyRole::Shared
        } else {
            KeyRole::Own
        };
        let own = credentials.own_key().map(|facts| entry(role, facts));
        let alipays = credentials
            .alipays_keys()
            .filter(|_| !shared)
            .map(|facts| entry(KeyRole::Alipays, facts));
        let entries = own.into_iter().chain(alipays).collect();
        Self(Arc::new(Inner {
            sign_type: credentials.sign_type(),
            first: credentials,
            changes: Vec::new(),
            entries,
        }))
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("sign_type", &self.0.sign_type)
            .field("entries", &self.0.entries)
            .finish_non_exhaustive()
    }
}

/// A key and when it is valid.
struct Dated<K> {
    key: Arc<K>,
    validity: Validity,
    path: PathBuf,
}

impl<K> Clone for Dated<K> {
    fn clone(&self) -> Self {
        Self {
            key: Arc::clone(&self.key),
            validity: self.validity,
            path: self.path.clone(),
        }
    }
}

fn read_all<K>(
    files: &[KeyFile],
    role: KeyRole,
    faults: &mut Vec<KeyError>,
    parse: impl Fn(&[u8]) -> Result<K, super::error::KeyFault>,
) -> Vec<Dated<K>> {
    let mut keys = Vec::new();
    for file in files {
        match read(&file.path, role, &parse) {
            Ok(key) => keys.push(Dated {
                key: Arc::new(key),
                validity: file.validity,
                path: file.path.clone(),
            }),
            Err(fault) => faults.push(fault),
        }
    }
    keys
}

fn read<K>(
    path: &Path,
    role: KeyRole,
    parse: impl Fn(&[u8]) -> Result<K, super::error::KeyFault>,
) -> Result<K, KeyError> {
    let purpose = role.purpose();
    let text = std::fs::read(path)
        .map(Zeroizing::new)
        .map_err(|source| KeyError::Unreadable {
            purpose,
            path: path.to_owned(),
            source,
        })?;
    parse(&text).map_err(|source| KeyError::File {
        purpose,
        path: path.to_owned(),
        source,
    })
}

/// Our own public key where Alipay's belongs: the mistake that is made most.
fn own_keys_among(own: &[Dated<OwnKey>], alipays: &[Dated<AlipaysKey>]) -> Vec<KeyError> {
    alipays
        .iter()
        .filter(|theirs| {
            own.iter()
                .any(|ours| ours.key.facts() == theirs.key.facts())
        })
        .map(|theirs| KeyError::OwnKeyAsAlipays {
            path: theirs.path.clone(),
        })
        .collect()
}

#[cfg(test)]
#[path = "keyring_tests.rs"]
mod tests;
