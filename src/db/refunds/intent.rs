//! Writing the intent to refund: one statement that reserves the amount on the payment and commits
//! the refund, the caller's key, the first attempt, the follow-up and the histories, before a byte goes
//! to Alipay (`docs/invariants.md` R1, R4).

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use sqlx::types::Json;

use crate::{
    db::{
        Db,
        error::Error,
        payments::{
            CANCEL_MAY_ACT,
            record::{ActorColumns, LeaseToken, Recorded},
        },
        run::Statement as _,
    },
    domain::{
        attempt::Answer,
        id::{
            ApiKeyId, AttemptId, FollowUpId, MerchantId, MerchantReference, PartnerRefundId,
            PartnerTransId, PaymentId, RefundId,
        },
        idempotency::{IdempotencyKey, RequestFingerprint},
        merchants::limits::{Limits, RefundAllowance},
        money::{Currency, Money},
        payments::payment::Payment,
        refunds::refund::{NewRefund, RefundMode},
        transition::Actor,
    },
    failpoint::failpoint,
};

/// What is about to be asked, under ids that never change from here on.
#[derive(Debug)]
pub struct RefundIntent<'a> {
    /// Whose payment it is.
    pub merchant_id: MerchantId,
    /// Who asks.
    pub api_key_id: ApiKeyId,
    /// Which payment.
    pub payment_id: PaymentId,
    /// The new refund's id.
    pub refund_id: RefundId,
    /// Our id towards Alipay.
    pub partner_refund_id: &'a PartnerRefundId,
    /// The id of the refund call.
    pub attempt_id: AttemptId,
    /// The route the key is scoped to.
    pub route: &'static str,
    /// The caller's key; a reversal has none, since it takes all that is left.
    pub key: Option<&'a IdempotencyKey>,
    /// What makes another request the same.
    pub fingerprint: &'a RequestFingerprint,
    /// The request.
    pub new: &'a NewRefund,
    /// By Alipay account, the limits of merchants that have none of their own.
    pub account_limits: BTreeMap<String, Limits>,
    /// When the follow-up first asks, after creation.
    pub first_query_after: Duration,
    /// The replica's clock, for the transition rows.
    pub gateway_at: DateTime<Utc>,
}

/// A committed intent, with what the database decided.
#[derive(Clone, Debug)]
pub struct CommittedRefund {
    /// The amount: what was asked for, or all that was left.
    pub amount: Money,
    /// The Alipay account that pays.
    pub partner: String,
    /// The payment's id towards Alipay.
    pub partner_trans_id: PartnerTransId,
    /// Alipay's id of the payment.
    pub alipay_trans_id: Option<String>,
    /// How many refunds the merchant made within ten minutes, this one included.
    pub refunds_in_ten_minutes: i32,
    /// When the refund was created.
    pub created_at: DateTime<Utc>,
    /// When the follow-up is due.
    pub due_at: DateTime<Utc>,
}

/// What owns a key or a reference.
#[derive(Debug)]
pub struct ConflictingRefund {
    /// What the caller's key made, with its fingerprint.
    pub by_key: Option<(RefundId, RequestFingerprint)>,
    /// The refund that has the merchant reference.
    pub by_reference: Option<RefundId>,
    /// A refund of the payment, of the same amount, that is open or was made within the last 60
    /// seconds; none where the request allows it.
    pub by_amount: Option<RefundId>,
    /// For how many seconds a cancel of the payment may act still, although nothing holds the payment back.
    pub cancel_acts_for_seconds: Option<u32>,
    /// The merchant's limits, and what counts against them.
    pub allowance: RefundAllowance,
}

/// Why an intent was not written.
#[derive(Debug)]
pub enum RefundConflict {
    /// There is no such payment.
    NoPayment,
    /// An earlier request, or the payment's state or books.
    Conflict(Box<ConflictingRefund>, Box<Payment>),
}

/// A cancel that was refused and whose reversal goes on as a refund.
#[derive(Debug)]
pub struct TurnedCancel<'a> {
    /// The payment whose cancel is over, as it was read; its version guards the statement.
    pub payment: &'a Payment,
    /// The refund's id, as it was minted with the wish.
    pub refund_id: RefundId,
    /// Our id towards Alipay.
    pub partner_refund_id: &'a PartnerRefundId,
    /// Why, for Alipay and the books.
    pub reason: &'a str,
    /// Who found out.
    pub actor: Actor,
    /// The call that told, and its answer.
    pub answered: Option<(AttemptId, &'a Answer)>,
    /// The claim under which a worker writes; `None` for the caller's own request.
    pub lease_token: Option<LeaseToken>,
    /// The replica's clock.
    pub gateway_at: DateTime<Utc>,
}

impl Db {
    /// Commits an intent. `Ok(None)`, or a constraint error, means that something stood in its way:
    /// ask [`Db::refund_conflict`]. An error in doubt means it may have been committed.
    #[tracing::instrument(name = "db.refund_intent.insert", skip_all, fields(refund.id = %intent.refund_id, otel.kind = "client", db.system = "postgresql"))]
    #[expect(clippy::too_many_lines, reason = "one statement and its parameters")]
    pub async fn insert_refund_intent(
        &self,
        intent: &RefundIntent<'_>,
    ) -> Result<Option<CommittedRefund>, Error> {
        let new = intent.new;
        let first_query_ms =
            i64::try_from(intent.first_query_after.as_millis()).unwrap_or(i64::MAX);
        failpoint!(self.failpoints, "db.refund_intent.before");
        // `target` waits for whoever holds the payment and then reads it as it is, so that "all that is
        // left" is what is left now. `within` asks for the merchant's limits, and `counted` moves the
        // row of the day, guarded by the limit per day: refunds of a merchant meet there and see each
        // other's amounts (Q9). The look for a refund that this one repeats comes after `target`, so it
        // sees whatever was made of the payment before. `reserved` is the guard of the payment, and hangs every other part on
        // it; the payment is held since `target`, so whatever was counted is reserved. A key or a
        // reference taken in the same moment is a unique violation, which undoes the whole.
        let row = sqlx::query!(
            r#"with target as materialized (
                -- What is proven to be back is as good as reserved.
                select amount_minor, refund_reserved_minor + proven_returned_minor as taken_minor,
                    $17::jsonb -> partner as account,
                    coalesce($4, amount_minor - refund_reserved_minor - proven_returned_minor)
                        as wanted_minor
                from payment
                where merchant_id = $1 and payment_id = $2 and status = 'succeeded'
                    and cancel_reason is null
                    and cancel_may_act_until($1, $2, $19) is null
                    and not exists (
                        select from idempotency_key
                        where merchant_id = $1 and route = $9 and idempotency_key = $10)
                    and not exists (
                        select from refund
                        where merchant_id = $1 and merchant_reference = $7)
                for update
            ), within as materialized (
                select target.wanted_minor, coalesce(merchant.max_refunded_per_day_minor,
                    (account ->> 'max_refunded_per_day_minor')::bigint) as day_max_minor
                from target
                join merchant on merchant.merchant_id = $1
                where target.wanted_minor > 0
                    and target.taken_minor + target.wanted_minor <= target.amount_minor
                    and target.wanted_minor <= coalesce(merchant.max_refund_minor,
                        (account ->> 'max_refund_minor')::bigint, target.wanted_minor)
                    and target.wanted_minor <= coalesce(
                        (account ->> 'largest_refund_minor')::bigint, target.wanted_minor)
                    and target.wanted_minor <= coalesce(merchant.max_refunded_per_day_minor,
                        (account ->> 'max_refunded_per_day_minor')::bigint, target.wanted_minor)
                    and ($18 or suspected_refund_duplicate($1, $2, target.wanted_minor) is null)
            ), counted as (
                insert into refund_day as day (merchant_id, business_day, refunded_minor,
                    burst_since, burst_refunds)
                select $1, (db_now() at time zone interval '8 hours')::date, wanted_minor,
                    db_now(), 1
                from within
                on conflict (merchant_id, business_day) do update
                    set refunded_minor = day.refunded_minor + excluded.refunded_minor,
                        burst_since = case
                            when day.burst_since > db_now() - interval '10 minutes'
                            then day.burst_since
                            else excluded.burst_since
                        end,
                        burst_refunds = case
                            when day.burst_since > db_now() - interval '10 minutes'
                            then day.burst_refunds + 1
                            else 1
                        end
                    where day.refunded_minor + excluded.refunded_minor <= coalesce(
                        (select day_max_minor from within),
                        day.refunded_minor + excluded.refunded_minor)
                returning business_day, burst_refunds
            ), reserved as (
                update payment
                set refund_reserved_minor = payment.refund_reserved_minor + target.wanted_minor,
                    version = payment.version + 1, updated_at = db_now()
                from target, counted
                where payment.merchant_id = $1 and payment.payment_id = $2
                    and payment.status = 'succeeded' and payment.cancel_reason is null
                    and target.wanted_minor > 0
                    and payment.refund_reserved_minor + payment.proven_returned_minor
                        + target.wanted_minor <= payment.amount_minor
                returning payment.version, payment.partner, payment.partner_trans_id,
                    payment.alipay_trans_id, payment.currency, target.wanted_minor,
                    counted.business_day, counted.burst_refunds
            ), created as (
                insert into refund (merchant_id, refund_id, payment_id, mode, amount_minor,
                    currency, merchant_reference, reason, partner, partner_trans_id,
                    partner_refund_id, limit_day, status, status_reason, submits, last_submit_at)
                select $1, $3, $2, $6, wanted_minor, currency, $7, $8, partner, partner_trans_id,
                    $5, business_day, 'pending', 'submitting', 1, db_now()
                from reserved
                returning refund_id, created_at
            ), claimed as (
                insert into idempotency_key (merchant_id, route, idempotency_key, payment_id,
                    refund_id, fingerprint)
                select $1, $9, $10, $2, refund_id, $11 from created
                where $10::text is not null
            ), attempted as (
                insert into attempt (merchant_id, attempt_id, payment_id, refund_id, kind)
                select $1, $12, $2, refund_id, 'refund' from created
            ), scheduled as (
                insert into follow_up (merchant_id, follow_up_id, kind, subject_id, due_at)
                select $1, $13, 'refund', refund_id,
                    created_at + $14::bigint * interval '1 millisecond'
                from created
                returning due_at
            ), recorded as (
                insert into refund_transition (merchant_id, refund_id, version, payment_id, event,
                    to_status, to_status_reason, api_key_id, attempt_id, gateway_at)
                select $1, refund_id, 1, $2, 'refund_created', 'pending', 'submitting', $15, $12, $16
                from created
            ), booked as (
                insert into payment_transition (merchant_id, payment_id, version, event,
                    from_status, to_status, api_key_id, attempt_id, gateway_at)
                select $1, $2, version, 'refund_reserved', 'succeeded', 'succeeded', $15, $12, $16
                from reserved
            )
            select reserved.wanted_minor as "amount_minor!", reserved.currency, reserved.partner,
                reserved.partner_trans_id, reserved.alipay_trans_id, reserved.burst_refunds,
                created.created_at, scheduled.due_at
            from reserved, created, scheduled"#,
            intent.merchant_id.uuid(),
            intent.payment_id.uuid(),
            intent.refund_id.uuid(),
            new.amount.map(Money::minor),
            intent.partner_refund_id.as_str(),
            new.mode().as_str(),
            new.merchant_reference.as_ref().map(MerchantReference::as_str),
            new.reason,
            intent.route,
            intent.key.map(IdempotencyKey::as_str),
            Json(&intent.fingerprint.0) as _,
            intent.attempt_id.uuid(),
            FollowUpId::mint().uuid(),
            first_query_ms,
            intent.api_key_id.uuid(),
            intent.gateway_at,
            Json(&intent.account_limits) as _,
            new.allows_duplicate(),
            CANCEL_MAY_ACT.as_slice(),
        )
        .optional(&self.writes)
        .await?;
        failpoint!(self.failpoints, "db.refund_intent.after");
        let Some(row) = row else { return Ok(None) };
        let currency = Currency::from_code(&row.currency).ok_or_else(|| Error::Inconsistent {
            table: "payment",
            column: "currency",
            id: intent.payment_id.to_string(),
        })?;
        Ok(Some(CommittedRefund {
            amount: Money::new(row.amount_minor, currency),
            partner: row.partner,
            partner_trans_id: PartnerTransId::from_stored(row.partner_trans_id),
            alipay_trans_id: row.alipay_trans_id,
            refunds_in_ten_minutes: row.burst_refunds,
            created_at: row.created_at,
            due_at: row.due_at,
        }))
    }

    /// What stands in the way of an intent, read afresh.
    #[tracing::instrument(name = "db.refund_intent.obstacle", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn refund_conflict(
        &self,
        intent: &RefundIntent<'_>,
    ) -> Result<RefundConflict, Error> {
        failpoint!(self.failpoints, "db.refund_obstacle.before");
        let row = sqlx::query!(
            r#"select key_owner.refund_id as "key_refund_id?",
                key_owner.fingerprint as "fingerprint?: Json<BTreeMap<String, String>>",
                reference_owner.refund_id as "reference_refund_id?",
                case when not $7 then suspected_refund_duplicate($1, $5,
                    coalesce($6, payment.amount_minor - payment.refund_reserved_minor
                        - payment.proven_returned_minor))
                end as "duplicate_refund_id?",
                extract(epoch from cancel_may_act_until($1, $5, $8) - db_now())::bigint
                    as "cancel_acts_for_seconds?",
                merchant.max_refund_minor, merchant.max_refunded_per_day_minor,
                coalesce(day.refunded_minor, 0) as "refunded_today_minor!"
            from merchant
            left join payment on payment.merchant_id = $1 and payment.payment_id = $5
            left join refund_day as day on day.merchant_id = $1
                and day.business_day = (db_now() at time zone interval '8 hours')::date
            left join idempotency_key as key_owner on key_owner.merchant_id = $1
                and key_owner.route = $2 and key_owner.idempotency_key = $3
            left join refund as reference_owner on reference_owner.merchant_id = $1
                and reference_owner.merchant_reference = $4
            where merchant.merchant_id = $1"#,
            intent.merchant_id.uuid(),
            intent.route,
            intent.key.map(IdempotencyKey::as_str),
            intent
                .new
                .merchant_reference
                .as_ref()
                .map(MerchantReference::as_str),
            intent.payment_id.uuid(),
            intent.new.amount.map(Money::minor),
            intent.new.allows_duplicate(),
            CANCEL_MAY_ACT.as_slice(),
        )
        .one(&self.reads)
        .await?;
        let payment = self.payment(intent.merchant_id, intent.payment_id).await?;
        failpoint!(self.failpoints, "db.refund_obstacle.after");
        let Some(payment) = payment else {
            return Ok(RefundConflict::NoPayment);
        };
        let by_key = row
            .key_refund_id
            .zip(row.fingerprint)
            .map(|(id, fingerprint)| (id.into(), RequestFingerprint(fingerprint.0)));
        let existing = ConflictingRefund {
            by_key,
            by_reference: row.reference_refund_id.map(RefundId::from),
            by_amount: row.duplicate_refund_id.map(RefundId::from),
            cancel_acts_for_seconds: row
                .cancel_acts_for_seconds
                .map(|seconds| u32::try_from(seconds).unwrap_or(0) + 1),
            allowance: allowance(
                row.max_refund_minor,
                row.max_refunded_per_day_minor,
                row.refunded_today_minor,
            ),
        };
        Ok(RefundConflict::Conflict(
            Box::new(existing),
            Box::new(payment),
        ))
    }

    /// What a merchant's own limits leave of this GMT+8 day; what its account's limits are is
    /// configuration.
    #[tracing::instrument(name = "db.refund_allowance", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn refund_allowance(
        &self,
        merchant_id: MerchantId,
    ) -> Result<RefundAllowance, Error> {
        let row = sqlx::query!(
            r#"select merchant.max_refund_minor, merchant.max_refunded_per_day_minor,
                coalesce(day.refunded_minor, 0) as "refunded_today_minor!"
            from merchant
            left join refund_day as day on day.merchant_id = merchant.merchant_id
                and day.business_day = (db_now() at time zone interval '8 hours')::date
            where merchant.merchant_id = $1"#,
            merchant_id.uuid(),
        )
        .one(&self.reads)
        .await?;
        Ok(allowance(
            row.max_refund_minor,
            row.max_refunded_per_day_minor,
            row.refunded_today_minor,
        ))
    }

    /// Ends a cancel that Alipay refused and makes the refund of the reversal in its place, in one
    /// statement, so that no crash leaves neither (`docs/invariants.md` T4). It is asynchronous:
    /// Alipay keeps it until the merchant's balance suffices, where a synchronous one fails at once.
    #[expect(clippy::too_many_lines, reason = "one statement and its parameters")]
    #[tracing::instrument(name = "db.refund_intent.turn", skip_all, fields(refund.id = %turned.refund_id, otel.kind = "client", db.system = "postgresql"))]
    pub async fn turn_cancel_into_refund(
        &self,
        turned: &TurnedCancel<'_>,
    ) -> Result<Recorded, Error> {
        let payment = turned.payment;
        let (attempt_id, answer) = turned.answered.unzip();
        let actor = ActorColumns::of(turned.actor);
        failpoint!(self.failpoints, "db.turn_cancel.before");
        let row = sqlx::query!(
            r#"with held as materialized (
                select follow_up_id, last_cancel_at from follow_up
                where merchant_id = $1 and kind = 'payment' and subject_id = $2
                    and ($3::uuid is null or (follow_up_id = $3 and fence = $4))
                for update
            ), freed as (
                update payment
                set version = version + 1, updated_at = db_now(), cancel_reason = null,
                    reversal_refund_id = null, refund_reserved_minor = amount_minor
                where merchant_id = $1 and payment_id = $2 and version = $5
                    and status = 'succeeded' and cancel_reason is not null
                    and reversal_refund_id = $6 and refund_reserved_minor = 0
                    and (select count(*) from held) >= case when $3::uuid is null then 0 else 1 end
                    -- What ends a cancel was decided in knowledge of every cancel that was sent.
                    and not exists (
                        select from held where last_cancel_at is distinct from $20)
                returning version, amount_minor, currency, partner, partner_trans_id
            ), counted as (
                -- The wish to undo the payment is older than the refund, so no limit stops it; it
                -- counts all the same.
                insert into refund_day as day (merchant_id, business_day, refunded_minor,
                    burst_since, burst_refunds)
                select $1, (db_now() at time zone interval '8 hours')::date, amount_minor,
                    db_now(), 1
                from freed
                on conflict (merchant_id, business_day) do update
                    set refunded_minor = day.refunded_minor + excluded.refunded_minor
                returning business_day
            ), booked as (
                insert into payment_transition (merchant_id, payment_id, version, event,
                    from_status, to_status, api_key_id, follow_up_id, notification_id, attempt_id,
                    gateway_at)
                select $1, $2, version, 'cancel_turned_into_refund', 'succeeded', 'succeeded', $9,
                    $10, $11, $12, $13
                from freed
            ), created as (
                insert into refund (merchant_id, refund_id, payment_id, mode, amount_minor,
                    currency, reason, partner, partner_trans_id, partner_refund_id, limit_day,
                    status, status_reason)
                select $1, $6, $2, $18, amount_minor, currency, $8, partner, partner_trans_id, $7,
                    business_day, 'pending', 'submitting'
                from freed, counted
                returning refund_id, created_at
            ), recorded as (
                insert into refund_transition (merchant_id, refund_id, version, payment_id, event,
                    to_status, to_status_reason, api_key_id, follow_up_id, notification_id,
                    attempt_id, gateway_at)
                select $1, refund_id, 1, $2, 'refund_created', 'pending', 'submitting', $9, $10,
                    $11, $12, $13
                from created
            ), scheduled as (
                insert into follow_up (merchant_id, follow_up_id, kind, subject_id, due_at)
                select $1, $14, 'refund', refund_id, created_at from created
            ), answered as (
                update attempt
                set answered_at = db_now(), answer_class = $15, answer_code = $16,
                    answer_detail = $19, duration_ms = $17
                where merchant_id = $1 and attempt_id = $12 and answered_at is null
            ), settled as (
                delete from follow_up
                where merchant_id = $1 and follow_up_id in (select follow_up_id from held)
                    and question_due_at is null and exists (select from freed)
            ), kept as (
                -- Something told us to look, and nobody has yet.
                update follow_up
                set due_at = question_due_at, leased_until = null, worker = null
                where merchant_id = $1 and follow_up_id in (select follow_up_id from held)
                    and question_due_at is not null and exists (select from freed)
            )
            select (select count(*) from held) as "held!",
                (select created_at from created) as created_at"#,
            payment.merchant_id.uuid(),
            payment.id.uuid(),
            turned
                .lease_token
                .map(|lease_token| lease_token.follow_up_id.uuid()),
            turned.lease_token.map(|lease_token| lease_token.fence),
            payment.version,
            turned.refund_id.uuid(),
            turned.partner_refund_id.as_str(),
            turned.reason,
            actor.api_key_id,
            actor.follow_up_id,
            actor.notification_id,
            attempt_id.map(AttemptId::uuid),
            turned.gateway_at,
            FollowUpId::mint().uuid(),
            answer.map(|answer| answer.class.as_str()),
            answer.and_then(|answer| answer.code.as_deref()),
            answer.map(|answer| answer.duration_ms),
            RefundMode::Async.as_str(),
            answer.and_then(|answer| answer.detail.as_deref()),
            payment.poll.last_cancel_at,
        )
        .one(&self.writes)
        .await?;
        failpoint!(self.failpoints, "db.turn_cancel.after");
        Ok(match row.created_at {
            Some(at) => Recorded::Written(at),
            None if turned.lease_token.is_some() && row.held == 0 => Recorded::LeaseLost,
            None => Recorded::Stale,
        })
    }
}

/// What the columns say of the limits of refunds.
const fn allowance(
    max_refund_minor: Option<i64>,
    max_refunded_per_day_minor: Option<i64>,
    refunded_today_minor: i64,
) -> RefundAllowance {
    RefundAllowance {
        limits: Limits {
            max_payment_minor: None,
            max_refund_minor,
            max_refunded_per_day_minor,
            largest_refund_minor: None,
        },
        refunded_today_minor,
    }
}
