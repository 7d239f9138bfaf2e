//! Writing the intent to refund: one statement that reserves the amount on the payment and commits
//! the refund, the caller's key, the first attempt, the follow-up and the histories, before a byte goes
//! to Alipay (`docs/invariants.md` R1, R4).

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use sqlx::types::Json;

use crate::{
    db::{
        Db,
        actor::ActorColumns,
        error::Error,
        payments::CANCEL_MAY_ACT,
        recorded::Recorded,
        run::{Command as _, Statement as _},
    },
    domain::{
        attempt::Answer,
        follow_ups::lease::LeaseToken,
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
    pub merchant_id: MerchantId,
    pub api_key_id: ApiKeyId,
    pub payment_id: PaymentId,
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
    pub new: &'a NewRefund,
    /// By Alipay account, the limits of merchants that have none of their own.
    pub account_limits: BTreeMap<String, Limits>,
    /// When the follow-up first asks, after creation.
    pub first_query_after: Duration,
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
    pub created_at: DateTime<Utc>,
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
    pub actor: Actor,
    /// The call that told, and its answer.
    pub answered: Option<(AttemptId, &'a Answer)>,
    /// The claim under which a worker writes; `None` for the caller's own request.
    pub lease_token: Option<LeaseToken>,
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
            r#"with input as not materialized (
                select $1::uuid as merchant_id, $2::uuid as payment_id, $3::uuid as refund_id,
                    $4::text as partner_refund_id, $5::uuid as follow_up_id,
                    $6::uuid as attempt_id,
                    -- Who asks, and what tells another request for the same.
                    $7::uuid as api_key_id, $8::text as route, $9::text as idempotency_key,
                    $10::jsonb as fingerprint, $11::boolean as allows_duplicate,
                    -- The refund.
                    $12::bigint as amount_minor, $13::text as mode, $14::text as merchant_reference,
                    $15::text as reason, $16::jsonb as account_limits,
                    $17::text[] as cancel_may_act,
                    $18::bigint as first_query_ms, $19::timestamptz as gateway_at
            ), target as materialized (
                -- What is proven to be back is as good as reserved.
                select payment.amount_minor,
                    refund_reserved_minor + proven_returned_minor as taken_minor,
                    account_limits -> partner as account,
                    coalesce(input.amount_minor,
                        payment.amount_minor - refund_reserved_minor - proven_returned_minor)
                        as wanted_minor
                from input
                join payment on payment.merchant_id = input.merchant_id
                    and payment.payment_id = input.payment_id
                where payment.status = 'succeeded' and cancel_reason is null
                    and cancel_may_act_until(input.merchant_id, input.payment_id,
                        input.cancel_may_act) is null
                    and not exists (
                        select from input
                        join idempotency_key as owner using (merchant_id, route, idempotency_key))
                    and not exists (
                        select from input
                        join refund as owner using (merchant_id, merchant_reference))
                for update of payment
            ), within as materialized (
                select target.wanted_minor, coalesce(merchant.max_refunded_per_day_minor,
                    (account ->> 'max_refunded_per_day_minor')::bigint) as day_max_minor
                from input
                cross join target
                join merchant on merchant.merchant_id = input.merchant_id
                where target.wanted_minor > 0
                    and target.taken_minor + target.wanted_minor <= target.amount_minor
                    and target.wanted_minor <= coalesce(merchant.max_refund_minor,
                        (account ->> 'max_refund_minor')::bigint, target.wanted_minor)
                    and target.wanted_minor <= coalesce(
                        (account ->> 'largest_refund_minor')::bigint, target.wanted_minor)
                    and target.wanted_minor <= coalesce(merchant.max_refunded_per_day_minor,
                        (account ->> 'max_refunded_per_day_minor')::bigint, target.wanted_minor)
                    and (input.allows_duplicate
                        or suspected_refund_duplicate(input.merchant_id, input.payment_id,
                            target.wanted_minor) is null)
            ), counted as (
                insert into refund_day as day (merchant_id, business_day, refunded_minor,
                    burst_since, burst_refunds)
                select merchant_id, business_day(db_now()), wanted_minor, db_now(), 1
                from input, within
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
                from input, target, counted
                where payment.merchant_id = input.merchant_id
                    and payment.payment_id = input.payment_id
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
                select merchant_id, refund_id, payment_id, mode, wanted_minor,
                    currency, merchant_reference, reason, partner, partner_trans_id,
                    partner_refund_id, reserved.business_day, 'pending', 'submitting', 1, db_now()
                from input, reserved
                returning refund_id, created_at
            ), claimed as (
                insert into idempotency_key (merchant_id, route, idempotency_key, payment_id,
                    refund_id, fingerprint)
                select merchant_id, route, idempotency_key, payment_id, created.refund_id,
                    fingerprint
                from input, created
                where idempotency_key is not null
            ), attempted as (
                insert into attempt (merchant_id, attempt_id, payment_id, refund_id, kind)
                select merchant_id, attempt_id, payment_id, created.refund_id, 'refund'
                from input, created
            ), scheduled as (
                insert into follow_up (merchant_id, follow_up_id, kind, subject_id, due_at)
                select merchant_id, follow_up_id, 'refund', created.refund_id,
                    created_at + first_query_ms * interval '1 millisecond'
                from input, created
                returning due_at
            ), recorded as (
                insert into refund_transition (merchant_id, refund_id, version, payment_id, event,
                    to_status, to_status_reason, api_key_id, attempt_id, gateway_at)
                select merchant_id, created.refund_id, 1, payment_id, 'refund_created', 'pending',
                    'submitting', api_key_id, attempt_id, gateway_at
                from input, created
            ), booked as (
                insert into payment_transition (merchant_id, payment_id, version, event,
                    from_status, to_status, api_key_id, attempt_id, gateway_at)
                select merchant_id, payment_id, version, 'refund_reserved', 'succeeded',
                    'succeeded', api_key_id, attempt_id, gateway_at
                from input, reserved
            )
            select reserved.wanted_minor as "amount_minor!", reserved.currency, reserved.partner,
                reserved.partner_trans_id, reserved.alipay_trans_id, reserved.burst_refunds,
                created.created_at, scheduled.due_at
            from reserved, created, scheduled"#,
            intent.merchant_id.uuid(),
            intent.payment_id.uuid(),
            intent.refund_id.uuid(),
            intent.partner_refund_id.as_str(),
            FollowUpId::mint().uuid(),
            intent.attempt_id.uuid(),
            intent.api_key_id.uuid(),
            intent.route,
            intent.key.map(IdempotencyKey::as_str),
            Json(&intent.fingerprint.0) as _,
            new.allows_duplicate(),
            new.amount.map(Money::minor),
            new.mode().as_str(),
            new.merchant_reference
                .as_ref()
                .map(MerchantReference::as_str),
            new.reason,
            Json(&intent.account_limits) as _,
            CANCEL_MAY_ACT.as_slice(),
            first_query_ms,
            intent.gateway_at,
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
                and day.business_day = business_day(db_now())
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
                and day.business_day = business_day(db_now())
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

    /// Notes that a merchant gives back in a burst of `at_least` within ten minutes; whether that is news.
    #[tracing::instrument(name = "db.refund_burst.note", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn note_refund_burst(
        &self,
        merchant_id: MerchantId,
        at_least: i32,
    ) -> Result<bool, Error> {
        let noted = sqlx::query!(
            "update refund_day
            set burst_noted_since = burst_since
            where merchant_id = $1 and business_day = business_day(db_now())
                and burst_refunds >= $2 and burst_noted_since is distinct from burst_since",
            merchant_id.uuid(),
            at_least,
        )
        .run(&self.writes)
        .await?;
        Ok(noted.rows_affected() > 0)
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
            r#"with input as not materialized (
                select $1::uuid as merchant_id, $2::uuid as payment_id, $3::uuid as refund_id,
                    $4::text as partner_refund_id, $5::text as reason, $6::text as mode,
                    $7::uuid as refund_follow_up_id,
                    -- Who writes, and on whose answer.
                    $8::uuid as held_follow_up_id, $9::bigint as fence, $10::uuid as api_key_id,
                    $11::uuid as follow_up_id, $12::uuid as notification_id,
                    $13::uuid as attempt_id, $14::text as answer_class, $15::text as answer_code,
                    $16::text as answer_detail, $17::integer as duration_ms,
                    $18::timestamptz as gateway_at,
                    -- What it was decided from.
                    $19::bigint as before_version, $20::timestamptz as before_last_cancel_at
            ), held as materialized (
                select follow_up.follow_up_id, last_cancel_at
                from input
                join follow_up on follow_up.merchant_id = input.merchant_id
                    and follow_up.kind = 'payment' and follow_up.subject_id = input.payment_id
                where input.held_follow_up_id is null
                    or (follow_up.follow_up_id = input.held_follow_up_id
                        and follow_up.fence = input.fence)
                for update of follow_up
            ), freed as (
                update payment
                set version = payment.version + 1, updated_at = db_now(), cancel_reason = null,
                    reversal_refund_id = null,
                    -- What is proven to be back is booked by its own refund.
                    refund_reserved_minor = amount_minor - proven_returned_minor
                from input
                where payment.merchant_id = input.merchant_id
                    and payment.payment_id = input.payment_id
                    and payment.version = input.before_version
                    and payment.status = 'succeeded' and cancel_reason is not null
                    and reversal_refund_id = input.refund_id and refund_reserved_minor = 0
                    and proven_returned_minor < amount_minor
                    and (select count(*) from held)
                        >= case when input.held_follow_up_id is null then 0 else 1 end
                    -- What ends a cancel was decided in knowledge of every cancel that was sent.
                    and not exists (
                        select from input, held
                        where last_cancel_at is distinct from before_last_cancel_at)
                returning version, refund_reserved_minor as left_minor, currency, partner,
                    partner_trans_id
            ), counted as (
                -- The wish to undo the payment is older than the refund, so no limit stops it; it
                -- counts all the same.
                insert into refund_day as day (merchant_id, business_day, refunded_minor,
                    burst_since, burst_refunds)
                select merchant_id, business_day(db_now()), left_minor, db_now(), 1
                from input, freed
                on conflict (merchant_id, business_day) do update
                    set refunded_minor = day.refunded_minor + excluded.refunded_minor
                returning business_day
            ), booked as (
                insert into payment_transition (merchant_id, payment_id, version, event,
                    from_status, to_status, api_key_id, follow_up_id, notification_id, attempt_id,
                    gateway_at)
                select merchant_id, payment_id, version, 'cancel_turned_into_refund', 'succeeded',
                    'succeeded', api_key_id, follow_up_id, notification_id, attempt_id, gateway_at
                from input, freed
            ), created as (
                insert into refund (merchant_id, refund_id, payment_id, mode, amount_minor,
                    currency, reason, partner, partner_trans_id, partner_refund_id, limit_day,
                    status, status_reason)
                select merchant_id, refund_id, payment_id, mode, left_minor, currency, reason,
                    partner, partner_trans_id, partner_refund_id, counted.business_day, 'pending',
                    'submitting'
                from input, freed, counted
                returning refund_id, created_at
            ), recorded as (
                insert into refund_transition (merchant_id, refund_id, version, payment_id, event,
                    to_status, to_status_reason, api_key_id, follow_up_id, notification_id,
                    attempt_id, gateway_at)
                select merchant_id, created.refund_id, 1, payment_id, 'refund_created', 'pending',
                    'submitting', api_key_id, follow_up_id, notification_id, attempt_id, gateway_at
                from input, created
            ), scheduled as (
                insert into follow_up (merchant_id, follow_up_id, kind, subject_id, due_at)
                select merchant_id, refund_follow_up_id, 'refund', created.refund_id, created_at
                from input, created
            ), answered as (
                update attempt
                set answered_at = db_now(), answer_class = input.answer_class,
                    answer_code = input.answer_code, answer_detail = input.answer_detail,
                    duration_ms = input.duration_ms
                from input
                where attempt.merchant_id = input.merchant_id
                    and attempt.attempt_id = input.attempt_id and answered_at is null
            ), settled as (
                delete from follow_up
                using input
                where follow_up.merchant_id = input.merchant_id
                    and follow_up.follow_up_id in (select follow_up_id from held)
                    and question_due_at is null and exists (select from freed)
            ), kept as (
                -- Something told us to look, and nobody has yet.
                update follow_up
                set due_at = question_due_at, leased_until = null, worker = null
                from input
                where follow_up.merchant_id = input.merchant_id
                    and follow_up.follow_up_id in (select follow_up_id from held)
                    and question_due_at is not null and exists (select from freed)
            )
            select (select count(*) from held) as "held!",
                (select created_at from created) as created_at"#,
            payment.merchant_id.uuid(),
            payment.id.uuid(),
            turned.refund_id.uuid(),
            turned.partner_refund_id.as_str(),
            turned.reason,
            RefundMode::Async.as_str(),
            FollowUpId::mint().uuid(),
            turned
                .lease_token
                .map(|lease_token| lease_token.follow_up_id.uuid()),
            turned.lease_token.map(|lease_token| lease_token.fence),
            actor.api_key_id,
            actor.follow_up_id,
            actor.notification_id,
            attempt_id.map(AttemptId::uuid),
            answer.map(|answer| answer.class.as_str()),
            answer.and_then(|answer| answer.code.as_deref()),
            answer.and_then(|answer| answer.detail.as_deref()),
            answer.map(|answer| answer.duration_ms),
            turned.gateway_at,
            payment.version,
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
