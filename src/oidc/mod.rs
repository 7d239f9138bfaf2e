//! Access tokens (OIDC): the only place that knows JWTs, JWKs and the issuer's addresses.
//!
//! [`Issuer::refresh`] reads the issuer's keys: at the start, every few minutes, and where a token names a
//! key that is not among them, at most once in [`UNKNOWN_KEY_INTERVAL`]. What cannot be read changes
//! nothing, so an issuer that is down takes no caller away; keys that it no longer shows are forgotten.
//! [`KeySet::verify`] then says whether the issuer signed a token for us, and
//! [`crate::domain::access::token::TokenRules::judge`] as whom.

pub mod keys;
pub mod source;

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    clock::Clock,
    domain::access::{
        issuer::KeySource,
        token::{Bearer, TokenFault, TokenRules},
    },
};
use keys::{KeySet, Presented};
use source::{SetupFault, Source, SourceFault};

/// How often, at most, tokens with unknown keys make the issuer be asked: a flood of invented keys gets
/// no more of it than this.
pub const UNKNOWN_KEY_INTERVAL: TimeDelta = TimeDelta::seconds(10);

/// Whose tokens are believed.
#[derive(Clone, Debug)]
pub struct IssuerSettings {
    /// The issuer, letter by letter as its tokens name it.
    pub issuer: String,
    /// What its tokens for this service name as their audience.
    pub audience: String,
    /// How the claims are read.
    pub rules: TokenRules,
    /// Where its keys are.
    pub keys: KeySource,
    /// Further root certificates to trust, PEM; usually none.
    pub extra_root_certificates: Vec<Vec<u8>>,
}

/// An issuer with the keys that are known of it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Issuer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    issuer: String,
    audience: String,
    rules: TokenRules,
    source: Source,
    clock: Arc<dyn Clock>,
    keys: RwLock<Arc<KeySet>>,
    /// Held while the issuer is asked: a waiter finds the new keys.
    asking: tokio::sync::Mutex<()>,
    /// When a token with an unknown key last made the issuer be asked.
    asked_for_unknown: Mutex<Option<DateTime<Utc>>>,
}

impl Issuer {
    /// Makes the client; asks nobody yet.
    pub fn new(settings: IssuerSettings, clock: Arc<dyn Clock>) -> Result<Self, SetupFault> {
        let IssuerSettings {
            issuer,
            audience,
            rules,
            keys,
            extra_root_certificates,
        } = settings;
        Ok(Self(Arc::new(Inner {
            source: Source::new(issuer.clone(), keys, &extra_root_certificates)?,
            issuer,
            audience,
            rules,
            clock,
            keys: RwLock::default(),
            asking: tokio::sync::Mutex::default(),
            asked_for_unknown: Mutex::default(),
        })))
    }

    /// The keys as they were last read.
    pub fn keys(&self) -> Arc<KeySet> {
        let keys = self.0.keys.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&keys)
    }

    /// Reads the keys anew, and says how many there are. What cannot be read leaves them as they are.
    pub async fn refresh(&self) -> Result<usize, SourceFault> {
        let _alone = self.0.asking.lock().await;
        self.read_keys().await
    }

    /// The same because of a token whose key is not among `known`, unless they were changed meanwhile or
    /// that happened a moment ago. `None`: nobody was asked.
    pub async fn refresh_beyond(&self, known: &KeySet) -> Option<Result<usize, SourceFault>> {
        let _alone = self.0.asking.lock().await;
        if self.keys().generation != known.generation || !self.may_ask() {
            return None;
        }
        Some(self.read_keys().await)
    }

    /// Whether the issuer may be asked because of an unknown key; if so, that is noted.
    fn may_ask(&self) -> bool {
        let now = self.0.clock.now();
        let mut asked = self
            .0
            .asked_for_unknown
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back does not shut anybody out.
        let lately = TimeDelta::zero()..UNKNOWN_KEY_INTERVAL;
        if asked.is_some_and(|asked| lately.contains(&(now - asked))) {
            return false;
        }
        *asked = Some(now);
        true
    }

    async fn read_keys(&self) -> Result<usize, SourceFault> {
        let mut fresh = self.0.source.read().await?;
        let count = fresh.len();
        let mut keys = self.0.keys.write().unwrap_or_else(PoisonError::into_inner);
        fresh.generation = keys.generation + 1;
        *keys = Arc::new(fresh);
        Ok(count)
    }

    /// For whom a token is, if the issuer signed it with one of these keys.
    pub fn judge(&self, keys: &KeySet, token: &Presented<'_>) -> Result<Bearer, TokenFault> {
        let inner = &self.0;
        let claims = keys.verify(token, &inner.issuer, &inner.audience)?;
        inner.rules.judge(&claims, inner.clock.now())
    }
}
