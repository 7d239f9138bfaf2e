//! Who asks and for which store, remembered for a few seconds so that a payment does not pay for
//! looking it up again.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::{App, access::api_keys::is_sealed, error::Error};
use crate::domain::{
    access::{
        principal::Identity,
        token::{Bearer, Recorded},
    },
    id::{ApiKeyId, MerchantId},
    merchants::{limits::Limits, store::StoreForPayment},
};

/// How long a revoked key or a changed store may still be taken for valid.
const REMEMBER_FOR: Duration = Duration::from_secs(10);
/// Above this many entries the memory starts afresh; a merchant has a handful of keys and stores.
const REMEMBER_AT_MOST: usize = 10_000;
/// Longest API key that is looked up, in bytes; ours are far shorter.
const MAX_API_KEY: usize = 512;

/// What was looked up lately. Only what exists is remembered, so a new key or store works at once.
#[derive(Debug, Default)]
pub(super) struct LookupCache {
    identities: Remembered<[u8; 32], Identity>,
    used: Used,
    stores: Remembered<(MerchantId, Option<String>), StoreForPayment>,
}

impl App {
    /// Finds who presented an API key, or an access token where there is an issuer; `None` when no live
    /// key matches. A revoked key or subject is refused within ten seconds.
    pub async fn authenticate(&self, presented: &str) -> Result<Option<Identity>, Error> {
        // No API key has a dot in it, and every JWT has two.
        if let Some(issuer) = self.issuer.as_ref().filter(|_| presented.contains('.')) {
            return self.authenticate_token(issuer, presented).await.map(Some);
        }
        if presented.len() > MAX_API_KEY {
            return Ok(None);
        }
        let hash = self.secret.api_key_hash(presented);
        let found = match self.directory.identities.get(&hash) {
            Some(identity) => Some(identity),
            None => self.look_up(presented, hash).await?,
        };
        if let Some(identity) = &found {
            self.directory.used.note(identity.api_key_id);
        }
        Ok(found)
    }

    /// Looks a key up in the database. Those that were made here go first: a flood of invented keys
    /// waits for its few turns, and locks nobody out.
    async fn look_up(&self, presented: &str, hash: [u8; 32]) -> Result<Option<Identity>, Error> {
        let made_here =
            is_sealed(&self.secret, presented) || self.directory.identities.was_known(&hash);
        let _turn = if made_here {
            None
        } else {
            Some(self.admission.look_up().await?)
        };
        let asked = self.directory.identities.ask();
        let found = self.db.find_api_key(&hash).await?;
        match &found {
            Some(identity) => self.directory.identities.put(asked, hash, identity.clone()),
            None => self.directory.identities.remove(&hash),
        }
        Ok(found)
    }

    /// Finds the subject of a token as it is recorded here, and records it where it is new.
    pub(super) async fn find_subject(&self, bearer: &Bearer) -> Result<Recorded, Error> {
        let hash = self.secret.subject_hash(bearer);
        let found = match self.directory.identities.get(&hash) {
            Some(identity) => Recorded::Known(identity),
            None => self.look_up_subject(hash, bearer).await?,
        };
        if let Recorded::Known(identity) = &found {
            self.directory.used.note(identity.api_key_id);
        }
        Ok(found)
    }

    async fn look_up_subject(&self, hash: [u8; 32], bearer: &Bearer) -> Result<Recorded, Error> {
        let asked = self.directory.identities.ask();
        let found = self.db.record_subject(ApiKeyId::mint(), bearer).await?;
        match &found {
            Recorded::Known(identity) => {
                self.directory.identities.put(asked, hash, identity.clone());
            }
            Recorded::Revoked | Recorded::NoMerchant => self.directory.identities.remove(&hash),
        }
        Ok(found)
    }

    /// Looks a key up afresh from now on: it was revoked or replaced here.
    pub(super) fn forget_api_key(&self, id: ApiKeyId) {
        self.directory
            .identities
            .forget(|_, identity| identity.api_key_id == id);
    }

    /// Looks the stores of a merchant up afresh from now on: something of them was changed here.
    pub(super) fn forget_stores(&self, id: MerchantId) {
        self.directory.stores.forget(|(owner, _), _| *owner == id);
    }

    /// Writes down which keys were presented since the last time. What cannot be written is left
    /// out: the time of a key's last use is for people, and the next use is noted again.
    pub async fn note_use_of_api_keys(&self) {
        let ids: Vec<Uuid> = self.directory.used.take();
        if ids.is_empty() {
            return;
        }
        if let Err(error) = self.db.note_use_of_api_keys(&ids).await {
            tracing::debug!(%error, "the last use of API keys was not noted");
        }
    }

    /// Finds a store of a merchant; without `store_id`, its default store. The limit per payment is the
    /// merchant's, or else its Alipay account's, and at most what the account can refund in one piece.
    pub async fn find_store(
        &self,
        merchant_id: MerchantId,
        store_id: Option<&str>,
    ) -> Result<Option<StoreForPayment>, Error> {
        let found = self.look_up_store(merchant_id, store_id).await?;
        Ok(found.map(|mut store| {
            // Not remembered with the store: accounts may be replaced at any time.
            let own = Limits {
                max_payment_minor: store.rules.max_payment_minor,
                ..Limits::default()
            };
            let limits = own.or(self.accounts.limits_of(&store.store.partner));
            store.rules.max_payment_minor = limits.most_of_a_payment();
            store
        }))
    }

    async fn look_up_store(
        &self,
        merchant_id: MerchantId,
        store_id: Option<&str>,
    ) -> Result<Option<StoreForPayment>, Error> {
        let key = (merchant_id, store_id.map(str::to_owned));
        if let Some(store) = self.directory.stores.get(&key) {
            return Ok(Some(store));
        }
        let asked = self.directory.stores.ask();
        let found = self.db.find_store(merchant_id, store_id).await?;
        if let Some(store) = &found {
            self.directory.stores.put(asked, key, store.clone());
        }
        Ok(found)
    }
}

/// A small map whose entries are believed for [`REMEMBER_FOR`].
#[derive(Debug)]
struct Remembered<K, V>(Mutex<Memory<K, V>>);

#[derive(Debug)]
struct Memory<K, V> {
    entries: HashMap<K, (Instant, V)>,
    /// How often something was forgotten.
    forgotten: u64,
}

/// When a look-up began: what is forgotten after it may be what it finds.
#[derive(Clone, Copy, Debug)]
struct Asked(u64);

impl<K, V> Default for Remembered<K, V> {
    fn default() -> Self {
        Self(Mutex::new(Memory {
            entries: HashMap::new(),
            forgotten: 0,
        }))
    }
}

impl<K: Eq + Hash, V: Clone> Remembered<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        let memory = self.lock();
        let entry = memory.entries.get(key);
        entry
            .filter(|(since, _)| since.elapsed() < REMEMBER_FOR)
            .map(|(_, value)| value.clone())
    }

    /// Whether the entry is there, however old.
    fn was_known(&self, key: &K) -> bool {
        self.lock().entries.contains_key(key)
    }

    fn remove(&self, key: &K) {
        self.lock().entries.remove(key);
    }

    /// To be called before the database is.
    fn ask(&self) -> Asked {
        Asked(self.lock().forgotten)
    }

    /// Remembers what was found, unless something was forgotten meanwhile: it may have been this.
    fn put(&self, asked: Asked, key: K, value: V) {
        let mut memory = self.lock();
        if memory.forgotten != asked.0 {
            return;
        }
        if memory.entries.len() >= REMEMBER_AT_MOST {
            memory.entries.clear();
        }
        memory.entries.insert(key, (Instant::now(), value));
    }

    fn forget(&self, which: impl Fn(&K, &V) -> bool) {
        let mut memory = self.lock();
        memory.forgotten += 1;
        memory.entries.retain(|key, (_, value)| !which(key, value));
    }

    fn lock(&self) -> MutexGuard<'_, Memory<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The keys that were presented since somebody asked last.
#[derive(Debug, Default)]
struct Used(Mutex<HashSet<ApiKeyId>>);

impl Used {
    fn note(&self, id: ApiKeyId) {
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ids.insert(id);
    }

    fn take(&self) -> Vec<Uuid> {
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ids.drain().map(ApiKeyId::uuid).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_revoked_during_its_look_up_is_not_remembered() {
        let keys = Remembered::default();
        let asked = keys.ask();
        keys.forget(|key, _| *key == "revoked");
        keys.put(asked, "revoked", 1);
        assert_eq!(keys.get(&"revoked"), None);
        keys.put(keys.ask(), "other", 2);
        assert_eq!(keys.get(&"other"), Some(2));
    }
}
