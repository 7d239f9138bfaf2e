//! Making, replacing and revoking API keys. The secret is handed out once and stored nowhere.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::RngCore;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::app::{App, error::Error, hashing::SecretKey};
use crate::{
    db::{self, Db, access::api_keys::StoredSecret},
    domain::{
        access::{
            api_key::{ApiKey, ApiKeyFilter, NewApiKey, Rotated, Rotation},
            principal::TenantScope,
        },
        audit::AuditActor,
        id::ApiKeyId,
        listing::Page,
    },
};

/// How every key begins.
const MARK: &str = "ahk_";
/// How many random characters of a key are shown; each is 6 of its 256 bits.
const SHOWN: usize = 6;
/// How many characters are random: 32 bytes in base64.
const RANDOM: usize = 43;
/// What is left of the seal's hash.
const SEAL_BYTES: usize = 6;

/// An API key that was just made.
#[derive(Debug)]
pub struct MadeApiKey {
    /// The key as everybody sees it from now on.
    pub api_key: ApiKey,
    /// The key itself: shown once, stored nowhere.
    pub secret: SecretString,
}

impl App {
    /// Makes an API key.
    pub async fn create_api_key(
        &self,
        new: &NewApiKey,
        by: &AuditActor,
    ) -> Result<MadeApiKey, Error> {
        create(&self.db, &self.secret, new, by)
            .await
            .map_err(|error| match error {
                db::error::Error::Constraint(name) if name == "api_key_merchant_id_fkey" => {
                    Error::NoSuchMerchant
                }
                other => other.into(),
            })
    }

    /// Lists API keys, newest first.
    pub async fn list_api_keys(
        &self,
        tenant_scope: TenantScope,
        filter: ApiKeyFilter,
        after: Option<ApiKeyId>,
        limit: u16,
    ) -> Result<Page<ApiKey, ApiKeyId>, Error> {
        let items = self
            .db
            .list_api_keys(tenant_scope, filter, after, limit)
            .await?;
        Ok(Page::cut(items, limit, |item| item.id))
    }

    /// Reads an API key. `None`: no such key.
    pub async fn api_key(
        &self,
        tenant_scope: TenantScope,
        id: ApiKeyId,
    ) -> Result<Option<ApiKey>, Error> {
        Ok(self.db.api_key(tenant_scope, id).await?)
    }

    /// Revokes an API key: refused at once by this replica, within ten seconds by the others.
    /// `None`: no such key.
    pub async fn revoke_api_key(
        &self,
        tenant_scope: TenantScope,
        id: ApiKeyId,
        by: &AuditActor,
    ) -> Result<Option<ApiKey>, Error> {
        let revoked = self.db.revoke_api_key(tenant_scope, id, by).await?;
        self.forget_api_key(id);
        Ok(revoked)
    }

    /// Puts a new key in the place of another, which is accepted for a while longer.
    pub async fn rotate_api_key(
        &self,
        tenant_scope: TenantScope,
        id: ApiKeyId,
        rotation: Rotation,
        by: &AuditActor,
    ) -> Result<Rotated<MadeApiKey>, Error> {
        let replaced = rotate(&self.db, &self.secret, (tenant_scope, id), rotation, by).await?;
        self.forget_api_key(id);
        Ok(replaced)
    }
}

/// Makes an API key: for the command line, which has no [`App`].
pub async fn create(
    db: &Db,
    secret: &SecretKey,
    new: &NewApiKey,
    by: &AuditActor,
) -> Result<MadeApiKey, db::error::Error> {
    let key = random_key(secret);
    let hash = secret.api_key_hash(&key);
    let api_key = db
        .insert_api_key(ApiKeyId::mint(), new, stored(&key, &hash), by)
        .await?;
    Ok(MadeApiKey {
        api_key,
        secret: key.as_str().into(),
    })
}

/// Puts a new key in the place of another: for the command line, which has no [`App`].
pub async fn rotate(
    db: &Db,
    secret: &SecretKey,
    (tenant_scope, old): (TenantScope, ApiKeyId),
    rotation: Rotation,
    by: &AuditActor,
) -> Result<Rotated<MadeApiKey>, db::error::Error> {
    let key = random_key(secret);
    let hash = secret.api_key_hash(&key);
    let new = ApiKeyId::mint();
    let rotated = db
        .rotate_api_key(tenant_scope, old, new, stored(&key, &hash), rotation, by)
        .await?;
    Ok(match rotated {
        Rotated::Made(api_key) => Rotated::Made(MadeApiKey {
            api_key,
            secret: key.as_str().into(),
        }),
        Rotated::NotActive => Rotated::NotActive,
        Rotated::Missing => Rotated::Missing,
    })
}

/// `ahk_`, 256 random bits and a seal of 48 bits, in URL-safe base64. The seal is keyed, so that what
/// was invented elsewhere is told without a look into the database ([`is_sealed`]).
fn random_key(secret: &SecretKey) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    rand::rngs::OsRng.fill_bytes(bytes.as_mut());
    let random = Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_ref()));
    Zeroizing::new([MARK, random.as_str(), &seal(secret, &random)].concat())
}

fn seal(secret: &SecretKey, random: &str) -> String {
    let hash = secret.keyed("api-key-seal", random);
    URL_SAFE_NO_PAD.encode(&hash[..SEAL_BYTES])
}

/// Whether a key was made under this secret: most likely it is, or was, a key of somebody's. Keys of
/// versions before the seal are not, and work all the same.
pub(in crate::app) fn is_sealed(secret: &SecretKey, presented: &str) -> bool {
    let sealed = presented
        .strip_prefix(MARK)
        .and_then(|text| text.split_at_checked(RANDOM));
    sealed.is_some_and(|(random, mark)| {
        bool::from(seal(secret, random).as_bytes().ct_eq(mark.as_bytes()))
    })
}

fn stored<'a>(key: &'a str, hash: &'a [u8]) -> StoredSecret<'a> {
    // All of it is ASCII.
    let prefix = key.get(..MARK.len() + SHOWN).unwrap_or(MARK);
    StoredSecret { hash, prefix }
}

impl MadeApiKey {
    /// The text to hand out.
    pub fn key(&self) -> &str {
        self.secret.expose_secret()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8) -> SecretKey {
        SecretKey::new(vec![byte; 32]).expect("32 bytes suffice")
    }

    #[test]
    fn q8_a_key_made_here_is_told_from_an_invented_one() {
        let key = random_key(&secret(1));
        assert_eq!(key.len(), MARK.len() + RANDOM + 8);
        assert!(is_sealed(&secret(1), &key));
        assert!(!is_sealed(&secret(2), &key), "made elsewhere");
        let mut changed = key.to_string();
        let swapped = if changed.ends_with('A') { "B" } else { "A" };
        changed.replace_range(changed.len() - 1.., swapped);
        for invented in [
            changed.as_str(),
            &key[..MARK.len() + RANDOM],
            "ahk_nobody",
            "ahk_",
            "",
            "ahk_\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}AAAAAAAA",
        ] {
            assert!(!is_sealed(&secret(1), invented), "{invented}");
        }
    }
}
