//! Who asks and for which shop, remembered for a few seconds so that a payment does not pay for
//! looking it up again.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{App, error::Error};
use crate::domain::{
    id::MerchantId,
    merchant::{Identity, Reach, Scope, Store},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::RngCore;

/// How long a revoked key or a changed store may still be taken for valid.
const REMEMBER_FOR: Duration = Duration::from_secs(10);
/// Above this many entries the memory starts afresh; a merchant has a handful of keys and stores.
const REMEMBER_AT_MOST: usize = 10_000;

/// What was looked up lately. Only what exists is remembered, so a new key or store works at once.
#[derive(Debug, Default)]
pub(super) struct Directory {
    identities: Remembered<[u8; 32], Identity>,
    stores: Remembered<(MerchantId, Option<String>), Store>,
}

/// An API key that was just made.
#[derive(Debug)]
pub struct NewApiKey {
    /// Its id.
    pub id: crate::domain::id::ApiKeyId,
    /// The key itself: shown once, stored nowhere.
    pub key: secrecy::SecretString,
}

impl App {
    /// Finds who presented an API key; `None` when no live key matches. A revoked key is refused
    /// within ten seconds.
    pub async fn authenticate(&self, presented: &str) -> Result<Option<Identity>, Error> {
        let hash = self.secret.api_key_hash(presented);
        if let Some(identity) = self.directory.identities.get(&hash) {
            return Ok(Some(identity));
        }
        let found = self.db.find_api_key(&hash).await?;
        if let Some(identity) = &found {
            self.directory.identities.put(hash, identity.clone());
        }
        Ok(found)
    }

    /// Finds a shop of a merchant; without `store_id`, its default shop.
    pub async fn find_store(
        &self,
        merchant_id: MerchantId,
        store_id: Option<&str>,
    ) -> Result<Option<Store>, Error> {
        let key = (merchant_id, store_id.map(str::to_owned));
        if let Some(store) = self.directory.stores.get(&key) {
            return Ok(Some(store));
        }
        let found = self.db.find_store(merchant_id, store_id).await?;
        if let Some(store) = &found {
            self.directory.stores.put(key, store.clone());
        }
        Ok(found)
    }
}

/// Makes an API key of a merchant or of the operator: `ahk_` and 256 random bits.
pub async fn create_api_key(
    db: &crate::db::Db,
    secret: &super::hashing::SecretKey,
    reach: Reach,
    name: &str,
    scopes: &[Scope],
) -> Result<NewApiKey, Error> {
    let mut bytes = zeroize::Zeroizing::new([0_u8; 32]);
    rand::rngs::OsRng.fill_bytes(bytes.as_mut());
    let key = format!("ahk_{}", URL_SAFE_NO_PAD.encode(bytes.as_ref()));
    let id = db
        .insert_api_key(reach, name, &secret.api_key_hash(&key), scopes)
        .await?;
    Ok(NewApiKey {
        id,
        key: key.into(),
    })
}

/// A small map whose entries are believed for [`REMEMBER_FOR`].
#[derive(Debug)]
struct Remembered<K, V>(Mutex<HashMap<K, (Instant, V)>>);

impl<K, V> Default for Remembered<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Clone> Remembered<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .get(key)
            .filter(|(since, _)| since.elapsed() < REMEMBER_FOR)
            .map(|(_, value)| value.clone())
    }

    fn put(&self, key: K, value: V) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= REMEMBER_AT_MOST {
            entries.clear();
        }
        entries.insert(key, (Instant::now(), value));
    }
}
