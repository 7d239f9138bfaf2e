//! Looking after merchants and their stores. A change works at once on the replica that made it, and
//! within the ten seconds of the directory on the others; limits of refunds are read by the statement
//! that makes the refund, so they work everywhere at once.

use super::{App, error::Error, policy::TRIES};
use crate::{
    db,
    domain::{
        access::principal::TenantScope,
        audit::AuditActor,
        follow_ups::schedule::Subject,
        id::MerchantId,
        listing::Page,
        merchants::merchant::{
            Merchant, MerchantFilter, MerchantStore, NewMerchant, Profile, ProfilePatch,
            StorePatch, StoreProfile,
        },
    },
};

pub use crate::db::merchants::MerchantAct;

/// What became of the wish to make something that has a name of the caller's.
#[derive(Clone, Debug)]
pub enum Made<T> {
    /// It was made.
    New(T),
    /// An earlier request made the same.
    Found(T),
    /// Something else has the name.
    Taken(T),
}

/// What became of a change.
#[derive(Clone, Debug)]
pub enum Changed<T> {
    /// As it stands now.
    Done(T),
    /// There is no such thing.
    Missing,
    /// It has not the version that the caller knows.
    Stale,
    /// The merchant has no store of the new default store's id.
    NoSuchStore,
    /// These fields come from the configuration.
    Configured(Vec<&'static str>),
}

impl App {
    /// Whether the configuration holds this Alipay account.
    pub fn has_account(&self, partner: &str) -> bool {
        self.accounts.of(partner).is_some()
    }

    /// Makes a merchant with its default store.
    pub async fn create_merchant(
        &self,
        new: &NewMerchant,
        by: &AuditActor,
    ) -> Result<Made<Merchant>, Error> {
        let id = MerchantId::mint();
        if let Some(made) = self.db.insert_merchant(id, new, by).await? {
            return Ok(Made::New(made));
        }
        let filter = MerchantFilter {
            external_id: Some(new.external_id.to_string()),
            ..MerchantFilter::default()
        };
        let found = self
            .db
            .list_merchants(TenantScope::Operator, &filter, None, 1)
            .await?;
        // Merchants are never deleted.
        let found = found
            .into_iter()
            .next()
            .ok_or_else(|| Error::Internal("a merchant's external id without a merchant".into()))?;
        let store_id = &found.profile.default_store_id;
        let store = self.db.merchant_store(found.id, store_id).await?;
        let same_store = store.is_some_and(|store| store.profile.name == new.default_store_name);
        Ok(if found.is_as(new) && same_store {
            Made::Found(found)
        } else {
            Made::Taken(found)
        })
    }

    /// Lists merchants, newest first.
    pub async fn list_merchants(
        &self,
        tenant_scope: TenantScope,
        filter: &MerchantFilter,
        after: Option<MerchantId>,
        limit: u16,
    ) -> Result<Page<Merchant, MerchantId>, Error> {
        let items = self
            .db
            .list_merchants(tenant_scope, filter, after, limit)
            .await?;
        Ok(Page::cut(items, limit, |merchant| merchant.id))
    }

    /// Reads a merchant. `None`: no such merchant.
    pub async fn merchant(
        &self,
        tenant_scope: TenantScope,
        id: MerchantId,
    ) -> Result<Option<Merchant>, Error> {
        Ok(self.db.merchant(tenant_scope, id).await?)
    }

    /// Changes a merchant where it has one of the `known` versions, if any are given.
    pub async fn change_merchant(
        &self,
        id: MerchantId,
        known: Option<&[i64]>,
        patch: &ProfilePatch,
        by: &AuditActor,
    ) -> Result<Changed<Merchant>, Error> {
        for _ in 0..TRIES {
            let Some(before) = self.db.merchant(TenantScope::Operator, id).await? else {
                return Ok(Changed::Missing);
            };
            if known.is_some_and(|known| !known.contains(&before.version)) {
                return Ok(Changed::Stale);
            }
            let profile = patch.over(&before.profile);
            if profile == before.profile {
                return Ok(Changed::Done(before));
            }
            let configured = before.profile.configured_changes(&profile);
            if before.is_configured && !configured.is_empty() {
                return Ok(Changed::Configured(configured));
            }
            if !self.has_store(&before, &profile).await? {
                return Ok(Changed::NoSuchStore);
            }
            let after = Merchant { profile, ..before };
            let act = MerchantAct::Updated;
            if let Some(changed) = self.db.update_merchant(&after, act, by).await? {
                self.forget_stores(id);
                return Ok(Changed::Done(changed));
            }
        }
        Err(kept_changing())
    }

    /// Whose object it is that somebody with this reach names; `None` where the operator names nothing.
    /// A merchant can only mean its own: whether it has it shows when it is read.
    pub(in crate::app) async fn merchant_of(
        &self,
        tenant_scope: TenantScope,
        subject: Subject,
    ) -> Result<Option<MerchantId>, Error> {
        match tenant_scope {
            TenantScope::Merchant(id) => Ok(Some(id)),
            TenantScope::Operator => Ok(self.db.merchant_of(subject).await?),
        }
    }

    async fn has_store(&self, merchant: &Merchant, profile: &Profile) -> Result<bool, Error> {
        let store_id = &profile.default_store_id;
        Ok(*store_id == merchant.profile.default_store_id
            || self
                .db
                .merchant_store(merchant.id, store_id)
                .await?
                .is_some())
    }

    /// Lets a merchant take no payments, or take them again. What returns money, and what reads, goes
    /// on. `None`: no such merchant.
    pub async fn switch_merchant(
        &self,
        id: MerchantId,
        act: MerchantAct,
        by: &AuditActor,
    ) -> Result<Option<Merchant>, Error> {
        for _ in 0..TRIES {
            let Some(before) = self.db.merchant(TenantScope::Operator, id).await? else {
                return Ok(None);
            };
            if before.disabled_at.is_some() == (act == MerchantAct::Disabled) {
                return Ok(Some(before));
            }
            if let Some(changed) = self.db.update_merchant(&before, act, by).await? {
                self.forget_stores(id);
                return Ok(Some(changed));
            }
        }
        Err(kept_changing())
    }

    /// Makes a store of a merchant. `None`: no such merchant.
    pub async fn create_store(
        &self,
        merchant_id: MerchantId,
        store_id: &str,
        profile: &StoreProfile,
        by: &AuditActor,
    ) -> Result<Option<Made<MerchantStore>>, Error> {
        match self
            .db
            .insert_store(merchant_id, store_id, profile, by)
            .await
        {
            Ok(Some(made)) => return Ok(Some(Made::New(made))),
            Ok(None) => {}
            Err(db::error::Error::Constraint(name)) if name == "store_merchant_id_fkey" => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
        let found = self.db.merchant_store(merchant_id, store_id).await?;
        let found = found.ok_or_else(|| Error::Internal("a store's id without a store".into()))?;
        Ok(Some(if found.profile == *profile {
            Made::Found(found)
        } else {
            Made::Taken(found)
        }))
    }

    /// Lists the stores of a merchant by their ids. `None`: no such merchant.
    pub async fn list_stores(
        &self,
        tenant_scope: TenantScope,
        merchant_id: MerchantId,
        after: Option<&str>,
        limit: u16,
    ) -> Result<Option<Page<MerchantStore, String>>, Error> {
        if self.db.merchant(tenant_scope, merchant_id).await?.is_none() {
            return Ok(None);
        }
        let items = self.db.list_stores(merchant_id, after, limit).await?;
        Ok(Some(Page::cut(items, limit, |store| {
            store.store_id.clone()
        })))
    }

    /// Reads a store. `None`: no such store.
    pub async fn merchant_store(
        &self,
        merchant_id: MerchantId,
        store_id: &str,
    ) -> Result<Option<MerchantStore>, Error> {
        Ok(self.db.merchant_store(merchant_id, store_id).await?)
    }

    /// Changes a store where it has one of the `known` versions, if any are given.
    pub async fn change_store(
        &self,
        merchant_id: MerchantId,
        store_id: &str,
        known: Option<&[i64]>,
        patch: &StorePatch,
        by: &AuditActor,
    ) -> Result<Changed<MerchantStore>, Error> {
        for _ in 0..TRIES {
            let Some(before) = self.db.merchant_store(merchant_id, store_id).await? else {
                return Ok(Changed::Missing);
            };
            if known.is_some_and(|known| !known.contains(&before.version)) {
                return Ok(Changed::Stale);
            }
            let profile = patch.over(&before.profile);
            if profile == before.profile {
                return Ok(Changed::Done(before));
            }
            let renamed = profile.name != before.profile.name;
            if renamed && self.is_configured(merchant_id, store_id).await? {
                return Ok(Changed::Configured(vec!["name"]));
            }
            let after = MerchantStore { profile, ..before };
            if let Some(changed) = self.db.update_store(&after, by).await? {
                self.forget_stores(merchant_id);
                return Ok(Changed::Done(changed));
            }
        }
        Err(kept_changing())
    }

    /// Whether a store is the one of the configuration.
    async fn is_configured(&self, id: MerchantId, store_id: &str) -> Result<bool, Error> {
        let merchant = self.db.merchant(TenantScope::Operator, id).await?;
        Ok(merchant.is_some_and(|merchant| {
            merchant.is_configured && merchant.profile.default_store_id == store_id
        }))
    }
}

fn kept_changing() -> Error {
    Error::Unavailable("it kept changing".into())
}
