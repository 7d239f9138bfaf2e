//! Merchants and stores: for which shop.

use uuid::Uuid;

use crate::db::{Db, error::Error, merchants::terminal_rules, run::Statement as _};
use crate::domain::{
    follow_ups::schedule::Subject,
    id::MerchantId,
    merchants::{
        merchant::Store,
        rules::{Rules, Shop},
    },
};
use crate::failpoint::failpoint;

/// The merchant and the shop that `migrate` makes, from configuration.
#[derive(Clone, Debug)]
pub struct DefaultMerchant {
    /// The merchant's name.
    pub name: String,
    /// The shop, with what Alipay must be told of the merchant.
    pub store: Store,
}

impl Db {
    /// Finds a shop; without `store_id`, the merchant's default one. What Alipay has approved of it goes
    /// before what we call it: payments must name the shop as it is registered (`docs/protocol.md` 4.2).
    #[tracing::instrument(name = "db.store.find", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn find_store(
        &self,
        merchant_id: MerchantId,
        store_id: Option<&str>,
    ) -> Result<Option<Shop>, Error> {
        failpoint!(self.failpoints, "db.store.before");
        let row = sqlx::query!(
            r#"select store.store_id, merchant.partner, merchant.secondary_merchant_id,
                coalesce(registered.in_force_store_name, store.store_name) as "store_name!",
                coalesce(registered.in_force_merchant_name, merchant.secondary_merchant_name)
                    as "secondary_merchant_name!",
                coalesce(registered.in_force_industry, store.industry,
                    merchant.secondary_merchant_industry) as "industry!",
                store.disabled_at is not null as "store_disabled!",
                merchant.disabled_at is not null as "merchant_disabled!",
                merchant.terminal_required, merchant.allowed_terminals,
                merchant.max_payment_minor, merchant.allowed_wallets
            from merchant
            join store on store.merchant_id = merchant.merchant_id
                and store.store_id = coalesce($2, merchant.default_store_id)
            left join store_registration as registered
                on registered.merchant_id = merchant.merchant_id
                and registered.secondary_merchant_id = merchant.secondary_merchant_id
                and registered.store_id = store.store_id
            where merchant.merchant_id = $1"#,
            merchant_id.uuid(),
            store_id,
        )
        .optional(&self.reads)
        .await?;
        failpoint!(self.failpoints, "db.store.after");
        Ok(row.map(|row| Shop {
            store: Store {
                store_id: row.store_id,
                store_name: row.store_name,
                partner: row.partner,
                secondary_merchant_id: row.secondary_merchant_id,
                secondary_merchant_name: row.secondary_merchant_name,
                secondary_merchant_industry: row.industry,
            },
            rules: Rules {
                terminals: terminal_rules(row.terminal_required, row.allowed_terminals),
                max_payment_minor: row.max_payment_minor,
                allowed_wallets: row.allowed_wallets,
            },
            merchant_disabled: row.merchant_disabled,
            store_disabled: row.store_disabled,
        }))
    }

    /// Whose payment or refund it is. `None`: there is none with this id.
    pub async fn merchant_of(&self, subject: Subject) -> Result<Option<MerchantId>, Error> {
        // The primary keys lead with the merchant: one look per merchant, and no index of its own.
        let found = sqlx::query_scalar!(
            "select merchant_id from merchant
            where case $1
                when 'payment' then exists (
                    select from payment
                    where payment.merchant_id = merchant.merchant_id and payment_id = $2)
                else exists (
                    select from refund
                    where refund.merchant_id = merchant.merchant_id and refund_id = $2)
            end",
            subject.kind(),
            subject.uuid(),
        )
        .optional(&self.reads)
        .await?;
        Ok(found.map(MerchantId::from))
    }

    /// The merchant that API keys belong to when none is named.
    pub async fn default_merchant(&self) -> Result<Option<MerchantId>, Error> {
        let id = sqlx::query_scalar!("select merchant_id from merchant where is_default")
            .optional(&self.reads)
            .await?;
        Ok(id.map(MerchantId::from))
    }

    /// Makes the default merchant and its default shop, or brings them to what the configuration
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
