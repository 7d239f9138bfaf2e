//! The stores of merchants: made, listed and changed, each act with its audit entry.

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use uuid::Uuid;

use crate::db::{Db, error::Error, merchants::terminal_rules, run::Statement as _};
use crate::domain::{
    audit::AuditActor,
    id::MerchantId,
    merchants::{
        merchant::{MerchantStore, StoreProfile},
        rules::Rules,
        store::{Store, StoreForPayment},
    },
};
use crate::failpoint::failpoint;

/// The columns of a [`MerchantStore`].
#[derive(Debug)]
struct StoreRow {
    merchant_id: Uuid,
    store_id: String,
    version: i64,
    store_name: String,
    industry: Option<String>,
    disabled_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<StoreRow> for MerchantStore {
    fn from(row: StoreRow) -> Self {
        Self {
            merchant_id: row.merchant_id.into(),
            store_id: row.store_id,
            version: row.version,
            profile: StoreProfile {
                name: row.store_name,
                industry: row.industry,
                is_disabled: row.disabled_at.is_some(),
            },
            disabled_at: row.disabled_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// `query_as!` over a store's columns: what comes before the `select`, what comes after its columns, and
/// the arguments.
macro_rules! select_store {
    ($head:literal, $tail:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            StoreRow,
            $head + "
            select merchant_id, store_id, version, store_name, industry, disabled_at, created_at,
                updated_at
            " + $tail
            $(, $argument)*
        )
    };
}

impl Db {
    /// Finds a store; without `store_id`, the merchant's default one. What Alipay has approved of it goes
    /// before what we call it: payments must name the store as it is registered (`docs/protocol.md` 4.2).
    #[tracing::instrument(name = "db.store.find", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn find_store(
        &self,
        merchant_id: MerchantId,
        store_id: Option<&str>,
    ) -> Result<Option<StoreForPayment>, Error> {
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
        Ok(row.map(|row| StoreForPayment {
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

    /// Makes a store. `None`: the merchant has one of this id. A constraint error means that there is
    /// no such merchant.
    #[tracing::instrument(name = "db.store.insert", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn insert_store(
        &self,
        merchant_id: MerchantId,
        store_id: &str,
        profile: &StoreProfile,
        by: &AuditActor,
    ) -> Result<Option<MerchantStore>, Error> {
        let row = select_store!(
            "with made as (
                insert into store (merchant_id, store_id, store_name, industry, disabled_at)
                values ($1, $2, $3, $4, case when $5 then db_now() end)
                on conflict (merchant_id, store_id) do nothing
                returning store as entity, store.*
            ), audited as (
                insert into audit_log (merchant_id, action, subject_kind, subject_id, by, after)
                select merchant_id, 'store.created', 'store', store_id, $6, store_facts(entity)
                from made
            )",
            "from made",
            merchant_id.uuid(),
            store_id,
            profile.name,
            profile.industry,
            profile.is_disabled,
            Json(by) as _,
        )
        .optional(&self.writes)
        .await?;
        Ok(row.map(MerchantStore::from))
    }

    /// Lists the stores of a merchant by their ids, after `after`; one more than `limit` where there
    /// are more.
    #[tracing::instrument(name = "db.store.list", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn list_stores(
        &self,
        merchant_id: MerchantId,
        after: Option<&str>,
        limit: u16,
    ) -> Result<Vec<MerchantStore>, Error> {
        let rows = select_store!(
            "",
            "from store
            where merchant_id = $1 and ($2::text is null or store_id > $2)
            order by store_id
            limit $3",
            merchant_id.uuid(),
            after,
            i64::from(limit) + 1,
        )
        .all(&self.reads)
        .await?;
        Ok(rows.into_iter().map(MerchantStore::from).collect())
    }

    #[tracing::instrument(name = "db.store.read", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn merchant_store(
        &self,
        merchant_id: MerchantId,
        store_id: &str,
    ) -> Result<Option<MerchantStore>, Error> {
        let row = select_store!(
            "",
            "from store
            where merchant_id = $1 and store_id = $2",
            merchant_id.uuid(),
            store_id,
        )
        .optional(&self.reads)
        .await?;
        Ok(row.map(MerchantStore::from))
    }

    /// Writes a store's profile, guarded by the version that was read. `None`: it has changed since.
    #[tracing::instrument(name = "db.store.update", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn update_store(
        &self,
        store: &MerchantStore,
        by: &AuditActor,
    ) -> Result<Option<MerchantStore>, Error> {
        let profile = &store.profile;
        let row = select_store!(
            "with old as materialized (
                select store as entity, store.merchant_id, store.store_id
                from store
                where merchant_id = $1 and store_id = $2 and version = $3
                for update
            ), changed as (
                update store
                set version = store.version + 1, updated_at = db_now(), store_name = $4,
                    industry = $5,
                    disabled_at = case when $6 then coalesce(store.disabled_at, db_now()) end
                from old
                where store.merchant_id = old.merchant_id and store.store_id = old.store_id
                returning store as entity, store.*
            ), audited as (
                insert into audit_log (merchant_id, action, subject_kind, subject_id, by, before,
                    after)
                select old.merchant_id, 'store.updated', 'store', old.store_id, $7,
                    store_facts(old.entity), store_facts(changed.entity)
                from old, changed
            )",
            "from changed",
            store.merchant_id.uuid(),
            store.store_id,
            store.version,
            profile.name,
            profile.industry,
            profile.is_disabled,
            Json(by) as _,
        )
        .optional(&self.writes)
        .await?;
        Ok(row.map(MerchantStore::from))
    }
}
