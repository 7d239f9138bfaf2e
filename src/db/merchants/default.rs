//! The merchant and the store that the configuration names.

use uuid::Uuid;

use crate::db::{Db, error::Error, run::Statement as _};
use crate::domain::{id::MerchantId, merchants::store::Store};

/// The merchant and the store that `migrate` makes, from configuration.
#[derive(Clone, Debug)]
pub struct DefaultMerchant {
    pub name: String,
    /// The store, with what Alipay must be told of the merchant.
    pub store: Store,
}

impl Db {
    /// The merchant that API keys belong to when none is named.
    pub async fn default_merchant(&self) -> Result<Option<MerchantId>, Error> {
        let id = sqlx::query_scalar!("select merchant_id from merchant where is_default")
            .optional(&self.reads)
            .await?;
        Ok(id.map(MerchantId::from))
    }

    /// Makes the default merchant and its default store, or brings them to what the configuration
    /// says now.
    pub async fn upsert_default_merchant(
        &self,
        merchant: &DefaultMerchant,
    ) -> Result<MerchantId, Error> {
        let store = &merchant.store;
        let id: Uuid = sqlx::query_scalar!(
            r#"with made as (
                insert into merchant as existing (merchant_id, name, partner,
                    secondary_merchant_id, secondary_merchant_name, secondary_merchant_industry,
                    default_store_id, is_default)
                values ($1, $2, $3, $4, $5, $6, $7, true)
                on conflict (is_default) where is_default do update
                    set version = existing.version + case when (existing.name, existing.partner,
                                existing.secondary_merchant_id, existing.secondary_merchant_name,
                                existing.secondary_merchant_industry, existing.default_store_id)
                            is distinct from (excluded.name, excluded.partner,
                                excluded.secondary_merchant_id, excluded.secondary_merchant_name,
                                excluded.secondary_merchant_industry, excluded.default_store_id)
                        then 1 else 0 end,
                        name = excluded.name, partner = excluded.partner,
                        secondary_merchant_id = excluded.secondary_merchant_id,
                        secondary_merchant_name = excluded.secondary_merchant_name,
                        secondary_merchant_industry = excluded.secondary_merchant_industry,
                        default_store_id = excluded.default_store_id
                returning merchant_id
            ), opened as (
                insert into store (merchant_id, store_id, store_name)
                select merchant_id, $7, $8 from made
                on conflict (merchant_id, store_id) do update
                    set store_name = excluded.store_name
            )
            select merchant_id as "merchant_id!" from made"#,
            MerchantId::mint().uuid(),
            merchant.name,
            store.partner,
            store.secondary_merchant_id,
            store.secondary_merchant_name,
            store.secondary_merchant_industry,
            store.store_id,
            store.store_name,
        )
        .one(&self.writes)
        .await?;
        Ok(id.into())
    }
}
