//! Merchants as administrators see them: made, listed and changed, each act with its audit entry.

pub mod default;
pub mod stores;

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use uuid::Uuid;

use super::{Db, error::Error, run::Statement as _};
use crate::domain::{
    access::principal::TenantScope,
    audit::AuditActor,
    follow_ups::schedule::Subject,
    id::MerchantId,
    merchants::{
        limits::Limits,
        merchant::{Merchant, MerchantFilter, NewMerchant, Profile},
        rules::{TerminalPattern, TerminalRules},
    },
};

/// What happened to a merchant, as the audit log names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MerchantAct {
    /// Its profile was changed.
    Updated,
    /// It takes no payments from now on.
    Disabled,
    /// It takes payments again.
    Enabled,
}

impl MerchantAct {
    const fn action(self) -> &'static str {
        match self {
            Self::Updated => "merchant.updated",
            Self::Disabled => "merchant.disabled",
            Self::Enabled => "merchant.enabled",
        }
    }
}

/// The columns of a [`Merchant`].
#[derive(Debug)]
struct MerchantRow {
    merchant_id: Uuid,
    version: i64,
    external_id: Option<String>,
    name: String,
    partner: String,
    secondary_merchant_id: String,
    secondary_merchant_name: String,
    secondary_merchant_industry: String,
    default_store_id: String,
    terminal_required: bool,
    allowed_terminals: Option<Vec<String>>,
    max_payment_minor: Option<i64>,
    max_refund_minor: Option<i64>,
    max_refunded_per_day_minor: Option<i64>,
    allowed_wallets: Option<Vec<String>>,
    is_default: bool,
    disabled_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<MerchantRow> for Merchant {
    fn from(row: MerchantRow) -> Self {
        Self {
            id: row.merchant_id.into(),
            version: row.version,
            external_id: row.external_id,
            partner: row.partner,
            profile: Profile {
                name: row.name,
                secondary_merchant_id: row.secondary_merchant_id,
                secondary_merchant_name: row.secondary_merchant_name,
                secondary_merchant_industry: row.secondary_merchant_industry,
                default_store_id: row.default_store_id,
                terminals: terminal_rules(row.terminal_required, row.allowed_terminals),
                limits: Limits {
                    max_payment_minor: row.max_payment_minor,
                    max_refund_minor: row.max_refund_minor,
                    max_refunded_per_day_minor: row.max_refunded_per_day_minor,
                    largest_refund_minor: None,
                },
                allowed_wallets: row.allowed_wallets,
            },
            is_configured: row.is_default,
            disabled_at: row.disabled_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// The rules that the columns spell. A pattern that nobody understands allows nothing.
pub(super) fn terminal_rules(required: bool, allowed: Option<Vec<String>>) -> TerminalRules {
    let patterns = |texts: Vec<String>| {
        let read = |text: &String| TerminalPattern::parse(text);
        texts.iter().filter_map(read).collect()
    };
    TerminalRules {
        required,
        allowed: allowed.map(patterns),
    }
}

fn patterns(rules: &TerminalRules) -> Option<Vec<String>> {
    let allowed = rules.allowed.as_ref()?;
    Some(allowed.iter().map(|p| p.as_str().to_owned()).collect())
}

/// `query_as!` over a merchant's columns: what comes before the `select`, what comes after its
/// columns, and the arguments.
macro_rules! select_merchant {
    ($head:literal, $tail:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            MerchantRow,
            $head + "
            select merchant_id, version, external_id, name, partner, secondary_merchant_id,
                secondary_merchant_name, secondary_merchant_industry, default_store_id,
                terminal_required, allowed_terminals, max_payment_minor, max_refund_minor,
                max_refunded_per_day_minor, allowed_wallets, is_default, disabled_at, created_at,
                updated_at
            " + $tail
            $(, $argument)*
        )
    };
}

impl Db {
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

    /// Makes a merchant with its default store. `None`: its external id is taken.
    #[tracing::instrument(name = "db.merchant.insert", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn insert_merchant(
        &self,
        id: MerchantId,
        new: &NewMerchant,
        by: &AuditActor,
    ) -> Result<Option<Merchant>, Error> {
        let profile = &new.profile;
        let terminals = patterns(&profile.terminals);
        let row = select_merchant!(
            "with made as (
                insert into merchant (merchant_id, external_id, name, partner,
                    secondary_merchant_id, secondary_merchant_name, secondary_merchant_industry,
                    default_store_id, terminal_required, allowed_terminals, max_payment_minor,
                    max_refund_minor, max_refunded_per_day_minor, allowed_wallets)
                values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
                on conflict (external_id) do nothing
                returning merchant as entity, merchant.*
            ), opened as (
                insert into store (merchant_id, store_id, store_name)
                select merchant_id, default_store_id, $15 from made
            ), audited as (
                insert into audit_log (merchant_id, action, subject_kind, subject_id, by, after)
                select merchant_id, 'merchant.created', 'merchant', public_id('mer_', merchant_id),
                    $16, merchant_facts(entity)
                from made
            )",
            "from made",
            id.uuid(),
            new.external_id.as_str(),
            profile.name,
            new.partner,
            profile.secondary_merchant_id,
            profile.secondary_merchant_name,
            profile.secondary_merchant_industry,
            profile.default_store_id,
            profile.terminals.required,
            terminals.as_deref(),
            profile.limits.max_payment_minor,
            profile.limits.max_refund_minor,
            profile.limits.max_refunded_per_day_minor,
            profile.allowed_wallets.as_deref(),
            new.default_store_name,
            Json(by) as _,
        )
        .optional(&self.writes)
        .await?;
        Ok(row.map(Merchant::from))
    }

    /// Lists merchants, newest first, after `after`; one more than `limit` where there are more.
    #[tracing::instrument(name = "db.merchant.list", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn list_merchants(
        &self,
        tenant_scope: TenantScope,
        filter: &MerchantFilter,
        after: Option<MerchantId>,
        limit: u16,
    ) -> Result<Vec<Merchant>, Error> {
        let rows = select_merchant!(
            "",
            "from merchant
            where ($1::uuid is null or merchant_id = $1)
                and ($2::text is null or external_id = $2)
                and ($3::text is null or partner = $3)
                and ($4::boolean is null or $4 = (disabled_at is null))
                and ($5::uuid is null or merchant_id < $5)
            order by merchant_id desc
            limit $6",
            tenant_scope.merchant_id().map(MerchantId::uuid),
            filter.external_id.as_deref(),
            filter.partner.as_deref(),
            filter.active,
            after.map(MerchantId::uuid),
            i64::from(limit) + 1,
        )
        .all(&self.reads)
        .await?;
        Ok(rows.into_iter().map(Merchant::from).collect())
    }

    #[tracing::instrument(name = "db.merchant.read", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn merchant(
        &self,
        tenant_scope: TenantScope,
        id: MerchantId,
    ) -> Result<Option<Merchant>, Error> {
        let row = select_merchant!(
            "",
            "from merchant
            where ($1::uuid is null or merchant_id = $1) and merchant_id = $2",
            tenant_scope.merchant_id().map(MerchantId::uuid),
            id.uuid(),
        )
        .optional(&self.reads)
        .await?;
        Ok(row.map(Merchant::from))
    }

    /// Writes a merchant's profile and whether it is disabled, guarded by the version that was read.
    /// `None`: it has changed since, or has no store of the default store's id.
    #[tracing::instrument(name = "db.merchant.update", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn update_merchant(
        &self,
        merchant: &Merchant,
        act: MerchantAct,
        by: &AuditActor,
    ) -> Result<Option<Merchant>, Error> {
        let profile = &merchant.profile;
        let terminals = patterns(&profile.terminals);
        let row = select_merchant!(
            "with old as materialized (
                select merchant as entity, merchant.merchant_id
                from merchant
                where merchant_id = $1 and version = $2
                    and exists (
                        select from store
                        where store.merchant_id = $1 and store.store_id = $3)
                for update
            ), changed as (
                update merchant
                set version = merchant.version + 1, updated_at = db_now(), default_store_id = $3,
                    name = $4, secondary_merchant_id = $5, secondary_merchant_name = $6,
                    secondary_merchant_industry = $7, terminal_required = $8,
                    allowed_terminals = $9, max_payment_minor = $10, max_refund_minor = $11,
                    max_refunded_per_day_minor = $12, allowed_wallets = $13,
                    disabled_at = case $14
                        when 'merchant.disabled' then db_now()
                        when 'merchant.enabled' then null
                        else merchant.disabled_at
                    end
                from old
                where merchant.merchant_id = old.merchant_id
                returning merchant as entity, merchant.*
            ), audited as (
                insert into audit_log (merchant_id, action, subject_kind, subject_id, by, before,
                    after)
                select old.merchant_id, $14, 'merchant', public_id('mer_', old.merchant_id), $15,
                    merchant_facts(old.entity), merchant_facts(changed.entity)
                from old, changed
            )",
            "from changed",
            merchant.id.uuid(),
            merchant.version,
            profile.default_store_id,
            profile.name,
            profile.secondary_merchant_id,
            profile.secondary_merchant_name,
            profile.secondary_merchant_industry,
            profile.terminals.required,
            terminals.as_deref(),
            profile.limits.max_payment_minor,
            profile.limits.max_refund_minor,
            profile.limits.max_refunded_per_day_minor,
            profile.allowed_wallets.as_deref(),
            act.action(),
            Json(by) as _,
        )
        .optional(&self.writes)
        .await?;
        Ok(row.map(Merchant::from))
    }
}
