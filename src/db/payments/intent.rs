//! Writing the intent: one statement that commits the payment, the caller's key, the first attempt,
//! the follow-up and the first transition before a byte goes to Alipay (`docs/invariants.md` R1).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use uuid::Uuid;

use crate::db::{
    Db,
    error::Error,
    group_commit::{Write, column, lock_timeout},
    run::{Command as _, Lane, Statement as _},
};
use crate::domain::{
    id::{ApiKeyId, AttemptId, FollowUpId, MerchantId, PartnerTransId, PaymentId},
    idempotency::{IdempotencyKey, RequestFingerprint},
    payments::payment::NewPayment,
};
use crate::failpoint::failpoint;

/// What is about to be asked, under ids that never change from here on.
#[derive(Debug)]
pub struct Intent {
    pub merchant_id: MerchantId,
    pub api_key_id: ApiKeyId,
    pub payment_id: PaymentId,
    /// Our id towards Alipay.
    pub partner_trans_id: PartnerTransId,
    /// The id of the pay call.
    pub attempt_id: AttemptId,
    /// The route the key is scoped to.
    pub route: &'static str,
    pub key: IdempotencyKey,
    /// What makes another request the same.
    pub fingerprint: RequestFingerprint,
    /// Keyed hash of code, amount and till.
    pub scan_hash: [u8; 32],
    pub new: NewPayment,
    /// When the follow-up first asks, after creation.
    pub first_query_after: Duration,
    pub gateway_at: DateTime<Utc>,
}

/// The database's times of a committed intent.
#[derive(Clone, Copy, Debug)]
pub struct Committed {
    pub created_at: DateTime<Utc>,
    pub due_at: DateTime<Utc>,
}

/// What owns a key or a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Payment(PaymentId),
    /// Nothing ever will: a cancel came before the payment.
    Tombstone,
}

impl Owner {
    fn of(payment_id: Option<Uuid>) -> Self {
        payment_id.map_or(Self::Tombstone, |id| Self::Payment(id.into()))
    }
}

/// Why an intent was not written: what was there before.
#[derive(Debug)]
pub struct Conflict {
    /// What the caller's key belongs to, with its fingerprint.
    pub by_key: Option<(Owner, RequestFingerprint)>,
    /// What has the merchant reference.
    pub by_reference: Option<Owner>,
    /// The payment of the last 60 seconds with the same code, amount and till, where it is open or
    /// charged.
    pub by_scan: Option<PaymentId>,
}

impl Write for Intent {
    type Written = Option<Committed>;

    fn key(&self) -> Uuid {
        self.payment_id.uuid()
    }

    #[expect(clippy::too_many_lines, reason = "one statement and its parameters")]
    async fn write(lane: &Lane, intents: &[Arc<Self>]) -> Result<Vec<Option<Committed>>, Error> {
        // `scan` comes first and every other part hangs on it: two requests at once with the same
        // code, amount and till meet on its row, and the second one sees nothing to insert once
        // the first has committed. A key or a reference taken in the same moment is a unique
        // violation, which undoes the statement as a whole.
        let rows = sqlx::query!(
            r#"with input as materialized (
                select input.*
                from set_config('lock_timeout', $1, true),
                    unnest(
                        $2::uuid[], $3::uuid[], $4::text[], $5::uuid[], $6::uuid[],
                        -- Who asks, and what tells another request for the same.
                        $7::uuid[], $8::text[], $9::text[], $10::jsonb[], $11::bytea[],
                        $12::boolean[],
                        -- The payment.
                        $13::text[], $14::text[], $15::text[], $16::text[], $17::bigint[],
                        $18::text[], $19::text[], $20::text[], $21::integer[], $22::jsonb[],
                        $23::text[], $24::bigint[], $25::timestamptz[]
                    ) as input (
                        merchant_id, payment_id, partner_trans_id, follow_up_id, attempt_id,
                        api_key_id, route, idempotency_key, fingerprint, scan_hash,
                        allows_duplicate,
                        store_id, terminal_id, merchant_reference, description, amount_minor,
                        currency, barcode_hint, partner, cancel_after_seconds, metadata,
                        allowed_wallets, first_query_ms, gateway_at)
            ), scan as (
                insert into recent_scan as earlier (merchant_id, scan_hash, payment_id, seen_at)
                select merchant_id, scan_hash, payment_id, db_now()
                from input
                where not exists (
                        select from idempotency_key as used
                        where used.merchant_id = input.merchant_id and used.route = input.route
                            and used.idempotency_key = input.idempotency_key)
                    and not exists (
                        select from merchant_reference as used
                        where used.merchant_id = input.merchant_id
                            and used.merchant_reference = input.merchant_reference)
                on conflict (merchant_id, scan_hash) do update
                    set payment_id = excluded.payment_id, seen_at = excluded.seen_at
                    where earlier.seen_at <= db_now() - suspect_repeats_for()
                        or exists (
                            select from input
                            where input.payment_id = excluded.payment_id and allows_duplicate)
                        -- What took nothing, or gave it back, is no reason to suspect a second charge.
                        or exists (
                            select from payment
                            where payment.merchant_id = earlier.merchant_id
                                and payment.payment_id = earlier.payment_id
                                and payment.status in ('failed', 'canceled'))
                returning payment_id
            ), created as (
                insert into payment (merchant_id, payment_id, store_id, terminal_id,
                    merchant_reference, description, amount_minor, currency, barcode_hint, partner,
                    partner_trans_id, cancel_after_seconds, metadata, allowed_wallets, status,
                    status_reason)
                select merchant_id, payment_id, store_id, terminal_id,
                    merchant_reference, description, amount_minor, currency, barcode_hint, partner,
                    partner_trans_id, cancel_after_seconds, metadata,
                    string_to_array(allowed_wallets, ','), 'processing', 'submitting'
                from scan join input using (payment_id)
                returning payment_id, created_at
            ), referenced as (
                insert into merchant_reference (merchant_id, merchant_reference, payment_id)
                select merchant_id, merchant_reference, payment_id
                from created join input using (payment_id)
            ), claimed as (
                insert into idempotency_key (merchant_id, route, idempotency_key, payment_id,
                    fingerprint)
                select merchant_id, route, idempotency_key, payment_id, fingerprint
                from created join input using (payment_id)
            ), attempted as (
                insert into attempt (merchant_id, attempt_id, payment_id, kind)
                select merchant_id, attempt_id, payment_id, 'pay'
                from created join input using (payment_id)
            ), scheduled as (
                insert into follow_up (merchant_id, follow_up_id, kind, subject_id, due_at,
                    confirming_until)
                select merchant_id, follow_up_id, 'payment', payment_id,
                    created_at + first_query_ms * interval '1 millisecond',
                    created_at + cancel_after_seconds * interval '1 second'
                from created join input using (payment_id)
            ), recorded as (
                insert into payment_transition (merchant_id, payment_id, version, event, to_status,
                    to_status_reason, api_key_id, attempt_id, gateway_at)
                select merchant_id, payment_id, 1, 'created', 'processing', 'submitting',
                    api_key_id, attempt_id, gateway_at
                from created join input using (payment_id)
            )
            select payment_id as "payment_id!", created_at as "created_at!" from created"#,
            lock_timeout(lane, intents.len()),
            column(intents, |intent| intent.merchant_id.uuid()) as _,
            column(intents, |intent| intent.payment_id.uuid()) as _,
            column(intents, |intent| intent.partner_trans_id.as_str()) as _,
            column(intents, |_| FollowUpId::mint().uuid()) as _,
            column(intents, |intent| intent.attempt_id.uuid()) as _,
            column(intents, |intent| intent.api_key_id.uuid()) as _,
            column(intents, |intent| intent.route) as _,
            column(intents, |intent| intent.key.as_str()) as _,
            column(intents, |intent| Json(&intent.fingerprint.0)) as _,
            column(intents, |intent| intent.scan_hash.as_slice()) as _,
            column(intents, |intent| intent.new.allows_duplicate()) as _,
            column(intents, |intent| intent.new.store.store_id.as_str()) as _,
            column(intents, |intent| intent.new.terminal_id.as_deref()) as _,
            column(intents, |intent| intent.new.merchant_reference.as_str()) as _,
            column(intents, |intent| intent.new.description()) as _,
            column(intents, |intent| intent.new.amount.minor()) as _,
            column(intents, |intent| intent.new.amount.currency().code()) as _,
            column(intents, |intent| intent.new.barcode.hint()) as _,
            column(intents, |intent| intent.new.store.partner.as_str()) as _,
            column(intents, |intent| intent.new.cancel_after_seconds()) as _,
            column(intents, |intent| Json(intent.new.metadata())) as _,
            // An array of arrays would have to be a matrix. No wallet's code has a comma.
            column(intents, |intent| intent
                .new
                .allowed_wallets
                .as_deref()
                .map(|wallets| wallets.join(","))) as _,
            column(intents, |intent| intent.first_query_ms()) as _,
            column(intents, |intent| intent.gateway_at) as _,
        )
        .all(lane)
        .await?;
        let committed = |intent: &Arc<Self>| {
            let row = rows
                .iter()
                .find(|row| row.payment_id == intent.payment_id.uuid())?;
            Some(Committed {
                created_at: row.created_at,
                due_at: row.created_at + intent.first_query_after,
            })
        };
        Ok(intents.iter().map(committed).collect())
    }
}

impl Intent {
    fn first_query_ms(&self) -> i64 {
        i64::try_from(self.first_query_after.as_millis()).unwrap_or(i64::MAX)
    }
}

impl Db {
    /// Commits an intent. `Ok(None)`, or a constraint error, means that something was there before:
    /// ask [`Db::existing`]. An error in doubt means it may have been committed.
    #[tracing::instrument(name = "db.intent.insert", skip_all, fields(payment.id = %intent.payment_id, otel.kind = "client", db.system = "postgresql"))]
    pub async fn insert_intent(&self, intent: &Arc<Intent>) -> Result<Option<Committed>, Error> {
        failpoint!(self.failpoints, "db.intent.before");
        let written = self.intents.write(&self.writes, Arc::clone(intent)).await?;
        failpoint!(self.failpoints, "db.intent.after");
        Ok(written)
    }

    /// Whether a key was used on a route.
    #[tracing::instrument(name = "db.idempotency_key.exists", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn has_idempotency_key(
        &self,
        merchant_id: MerchantId,
        route: &str,
        key: &IdempotencyKey,
    ) -> Result<bool, Error> {
        let exists = sqlx::query_scalar!(
            r#"select exists (
                select from idempotency_key
                where merchant_id = $1 and route = $2 and idempotency_key = $3) as "exists!""#,
            merchant_id.uuid(),
            route,
            key.as_str(),
        )
        .one(&self.reads)
        .await?;
        Ok(exists)
    }

    /// What stands in the way of an intent, read afresh.
    #[tracing::instrument(name = "db.intent.existing", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn existing(
        &self,
        merchant_id: MerchantId,
        route: &str,
        key: &IdempotencyKey,
        merchant_reference: &str,
        scan_hash: &[u8],
    ) -> Result<Conflict, Error> {
        failpoint!(self.failpoints, "db.existing.before");
        let row = sqlx::query!(
            r#"select key_owner.payment_id as "key_payment_id?",
                key_owner.fingerprint as "fingerprint?: Json<BTreeMap<String, String>>",
                reference_owner.created_at as "reference_since?",
                reference_owner.payment_id as "reference_payment_id?",
                scan.payment_id as "scan_payment_id?"
            from (select) as request
            left join idempotency_key as key_owner on key_owner.merchant_id = $1
                and key_owner.route = $2 and key_owner.idempotency_key = $3
            left join merchant_reference as reference_owner on reference_owner.merchant_id = $1
                and reference_owner.merchant_reference = $4
            left join recent_scan as scan on scan.merchant_id = $1 and scan.scan_hash = $5
                and scan.seen_at > db_now() - suspect_repeats_for()
                and not exists (
                    select from payment
                    where payment.merchant_id = $1 and payment.payment_id = scan.payment_id
                        and payment.status in ('failed', 'canceled'))"#,
            merchant_id.uuid(),
            route,
            key.as_str(),
            merchant_reference,
            scan_hash,
        )
        .one(&self.reads)
        .await?;
        failpoint!(self.failpoints, "db.existing.after");
        Ok(Conflict {
            by_key: row.fingerprint.map(|fingerprint| {
                (
                    Owner::of(row.key_payment_id),
                    RequestFingerprint(fingerprint.0),
                )
            }),
            by_reference: row
                .reference_since
                .map(|_| Owner::of(row.reference_payment_id)),
            by_scan: row.scan_payment_id.map(PaymentId::from),
        })
    }

    /// Takes a merchant reference out of use for ever, unless something owns it already; returns
    /// who owns it now.
    #[tracing::instrument(name = "db.tombstone.reference", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn block_reference(
        &self,
        merchant_id: MerchantId,
        merchant_reference: &str,
    ) -> Result<Owner, Error> {
        failpoint!(self.failpoints, "db.entomb_reference.before");
        // The insert waits for a create in flight that holds the reference, so the read after it
        // sees whichever of the two came first.
        sqlx::query!(
            "insert into merchant_reference (merchant_id, merchant_reference, payment_id)
            values ($1, $2, null)
            on conflict (merchant_id, merchant_reference) do nothing",
            merchant_id.uuid(),
            merchant_reference,
        )
        .run(&self.writes)
        .await?;
        failpoint!(self.failpoints, "db.entomb_reference.done");
        let owner = self
            .owner_of_reference(merchant_id, merchant_reference)
            .await;
        // The tombstone may stand by now, whatever becomes of the read.
        let owner = owner.map_err(|error| error.after_doubt(true))?;
        owner.ok_or_else(|| Error::Inconsistent {
            table: "merchant_reference",
            column: "merchant_reference",
            id: merchant_id.to_string(),
        })
    }

    #[tracing::instrument(name = "db.merchant_reference.owner", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn owner_of_reference(
        &self,
        merchant_id: MerchantId,
        merchant_reference: &str,
    ) -> Result<Option<Owner>, Error> {
        let payment_id = sqlx::query_scalar!(
            "select payment_id from merchant_reference
            where merchant_id = $1 and merchant_reference = $2",
            merchant_id.uuid(),
            merchant_reference,
        )
        .optional(&self.reads)
        .await?;
        failpoint!(self.failpoints, "db.entomb_reference.after");
        Ok(payment_id.map(Owner::of))
    }

    /// Takes an idempotency key out of use, unless something owns it already; returns who owns it
    /// now.
    #[tracing::instrument(name = "db.tombstone.key", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn block_key(
        &self,
        merchant_id: MerchantId,
        route: &str,
        key: &IdempotencyKey,
    ) -> Result<Owner, Error> {
        failpoint!(self.failpoints, "db.entomb_key.before");
        sqlx::query!(
            "insert into idempotency_key (merchant_id, route, idempotency_key, payment_id,
                fingerprint)
            values ($1, $2, $3, null, '{}')
            on conflict (merchant_id, route, idempotency_key) do nothing",
            merchant_id.uuid(),
            route,
            key.as_str(),
        )
        .run(&self.writes)
        .await?;
        failpoint!(self.failpoints, "db.entomb_key.done");
        let owner = self.owner_of_key(merchant_id, route, key).await;
        let owner = owner.map_err(|error| error.after_doubt(true))?;
        owner.ok_or_else(|| Error::Inconsistent {
            table: "idempotency_key",
            column: "idempotency_key",
            id: merchant_id.to_string(),
        })
    }

    #[tracing::instrument(name = "db.idempotency_key.owner", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn owner_of_key(
        &self,
        merchant_id: MerchantId,
        route: &str,
        key: &IdempotencyKey,
    ) -> Result<Option<Owner>, Error> {
        let payment_id = sqlx::query_scalar!(
            "select payment_id from idempotency_key
            where merchant_id = $1 and route = $2 and idempotency_key = $3",
            merchant_id.uuid(),
            route,
            key.as_str(),
        )
        .optional(&self.reads)
        .await?;
        failpoint!(self.failpoints, "db.entomb_key.after");
        Ok(payment_id.map(Owner::of))
    }
}
