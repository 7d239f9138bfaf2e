//! Writing what happened: one guarded statement for every path by which the gateway learns
//! something of a payment (`docs/invariants.md` R3, C7).

use chrono::{DateTime, Utc};

use crate::db::{Db, error::Error, run::Statement as _};
use crate::domain::{
    attempt::{Answer, AttemptKind},
    id::{
        ApiKeyId, AttemptId, FileId, FollowUpId, MerchantId, NotificationId, PaymentId, RefundId,
    },
    payments::{
        buyer::{BuyerLoginId, BuyerUserId},
        payment::{CancelReason, Payment, PaymentState},
    },
    transition::{Actor, FileLine},
};
use crate::failpoint::failpoint;

/// A state change that [`Payment::apply`] computed.
#[derive(Debug)]
pub struct Change<'a> {
    /// The payment before; its version guards the write, and what settles it also the last cancel
    /// that was known.
    pub before: &'a Payment,
    /// The payment after.
    pub after: &'a Payment,
    /// The event's name.
    pub event: &'static str,
    /// The replica's clock.
    pub gateway_at: DateTime<Utc>,
    /// What an operator gave as grounds.
    pub justification: Option<&'a Justification>,
    /// When Alipay is asked again whatever was decided; it keeps the follow-up of what is settled.
    pub question_at: Option<DateTime<Utc>>,
}

impl Change<'_> {
    /// Whether the books move to what was said against them, or past it.
    const fn settles_contradictions(&self) -> bool {
        self.before.contradicted_at.is_some() && self.after.contradicted_at.is_none()
    }
}

/// An operator's grounds for a decision; kept in the transition for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Justification {
    /// Why.
    pub reason: String,
    /// Where the case is documented.
    pub ticket: String,
}

/// A claim on a follow-up: only its holder may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseToken {
    /// The row.
    pub follow_up_id: FollowUpId,
    /// The value the claim was given.
    pub fence: i64,
    /// The question besides the plan that was owed when the claim was made.
    pub question_due_at: Option<DateTime<Utc>>,
}

/// What an update does to the question that is owed besides the plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Owed {
    /// Nothing.
    #[default]
    AsBefore,
    /// Answers it, if nothing has told us to look since it came to be owed at this time.
    Answered(DateTime<Utc>),
    /// One is owed from now on.
    Now,
}

impl Owed {
    /// When the question that is answered came to be owed.
    pub(in crate::db) const fn answered(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Answered(since) => Some(since),
            Self::AsBefore | Self::Now => None,
        }
    }

    /// What it leaves of the question that was owed since then; one that comes to be owed now is not yet among them.
    pub(crate) fn left_of(self, owed_since: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
        owed_since.filter(|_| self.answered() != owed_since)
    }
}

/// One thing to write about a payment.
#[derive(Debug)]
pub struct Record<'a> {
    /// Whose it is.
    pub merchant_id: MerchantId,
    /// Which payment.
    pub payment_id: PaymentId,
    /// Who caused it.
    pub actor: Actor,
    /// The upstream call that was answered.
    pub answered: Option<(AttemptId, &'a Answer)>,
    /// The change of state, if the update changes anything.
    pub change: Option<Change<'a>>,
    /// The claim under which a worker writes; `None` for the caller's own request.
    pub lease_token: Option<LeaseToken>,
    /// When the follow-up asks next; `None` leaves the schedule as it is. A settled payment loses
    /// its follow-up whatever this says.
    pub next_check_at: Option<DateTime<Utc>>,
    /// What becomes of the question besides the plan. One that stays owed keeps the follow-up of a settled payment.
    pub owed: Owed,
    /// The question besides the plan as it was read: `next_check_at` was planned in knowledge of it.
    pub question_due_at: Option<DateTime<Utc>>,
    /// Whether the answer was to a cancel, and refused it for good.
    pub cancel_refused: Option<bool>,
    /// Whether the answer lets the account in at Alipay's door; `None` leaves the count of refusals.
    pub lets_in: Option<bool>,
}

/// What became of a [`Record`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// Written. The time is that of the change by the database's clock.
    Written(DateTime<Utc>),
    /// The payment has changed since it was read: read it again and decide again.
    Stale,
    /// The claim has passed to another worker: stop.
    LeaseLost,
}

/// A question about to be asked, by a worker or by a caller.
#[derive(Debug)]
pub struct NewAttempt<'a> {
    /// Whose it is.
    pub merchant_id: MerchantId,
    /// Which payment.
    pub payment_id: PaymentId,
    /// Who asks.
    pub actor: Actor,
    /// The claim under which a worker asks; `None` for a caller's own request.
    pub lease_token: Option<LeaseToken>,
    /// Whether the payment must have a follow-up from here on, in case the asker dies.
    pub ensure_follow_up: bool,
    /// The call's id.
    pub attempt_id: AttemptId,
    /// What is asked.
    pub kind: AttemptKind,
    /// The version that must still stand where asking changes nothing, and must not be based on an old one.
    pub unchanged: Option<i64>,
    /// Whether a parked follow-up is put back on the schedule: the caller's wish is owed.
    pub wakes: bool,
    /// The change that asking makes: `cancel_started`.
    pub change: Option<Change<'a>>,
    /// How long the call may take, in milliseconds; the lease must outlast it.
    pub deadline_ms: i64,
}

impl Db {
    /// Records an answer and the change it makes.
    ///
    /// The follow-up row is locked first and the payment second, by every writer, so that writers
    /// never wait for each other in a circle.
    #[expect(
        clippy::too_many_lines,
        reason = "one statement, and its parameters one by one"
    )]
    #[tracing::instrument(name = "db.payment.record", skip_all, fields(payment.id = %record.payment_id, otel.kind = "client", db.system = "postgresql"))]
    pub async fn record(&self, record: &Record<'_>) -> Result<Recorded, Error> {
        let (attempt_id, answer) = record.answered.unzip();
        let columns = record
            .change
            .as_ref()
            .map(|change| Columns::of(change.after));
        let columns = columns.as_ref();
        let change = record.change.as_ref();
        let justification = change.and_then(|change| change.justification);
        let actor = ActorColumns::of(record.actor);
        failpoint!(self.failpoints, "db.record.before");
        let row = sqlx::query!(
            r#"with held as materialized (
                select follow_up_id, last_cancel_at, access_refusals,
                    coalesce(question_due_at <> $43, question_due_at is not null) as is_owed,
                    question_due_at is distinct from $45 as is_new
                from follow_up
                where merchant_id = $1 and kind = 'payment' and subject_id = $2
                    and ($3::uuid is null or (follow_up_id = $3 and fence = $4))
                for update
            ), said as materialized (
                select coalesce(bool_or(claim = 'refund_made_in_portal'), false) as some_wait,
                    coalesce(sum(returned_minor)
                        filter (where claim <> 'refund_made_in_portal'), 0)::bigint
                        as returned_minor
                from contradiction
                where $41 and merchant_id = $1 and payment_id = $2 and refund_id is null
                    and settled_at is null
            ), changed as (
                update payment
                set version = version + 1, updated_at = db_now(), status = $7, status_reason = $8,
                    failure_code = $9, failure_message = $10, failure_retry = $11,
                    money_returned = $12, alipay_trans_id = $13, charged = $14, paid_at = $15,
                    wallet = $16, wallet_file_id = $46, buyer_user_id = $17, buyer_login_id = $18,
                    finalized_at = case
                        when not $31 then null
                        when status = $7 then coalesce(finalized_at, db_now())
                        else db_now()
                    end,
                    cancel_reason = $32, reversal_refund_id = $37, decided_by_operator = $40,
                    -- What moves the books settles what was said against them, except of refunds
                    -- that wait to be booked.
                    contradicted_at = case
                        when not $41 or (select some_wait from said) then contradicted_at
                    end,
                    proven_returned_minor = proven_returned_minor
                        - (select returned_minor from said)
                where merchant_id = $1 and payment_id = $2
                    and version = $5 and status = $6
                    -- What a person decides is what needs one.
                    and ($33::text is null or contradicted_at is not null
                        or (status = 'canceled' and charged)
                        or payment_needs_a_person(payment.*,
                            coalesce((select access_refusals from held), 0)))
                    and (select count(*) from held) >= case when $3::uuid is null then 0 else 1 end
                    -- What settles a payment was decided in knowledge of every cancel that was sent.
                    and not ($19 and exists (
                        select from held where last_cancel_at is distinct from $36))
                returning version, updated_at, contradicted_at
            ), explained as (
                update contradiction
                set settled_at = db_now(),
                    settled_by = case when $33::text is null then 'answer' else 'person' end
                where $41 and merchant_id = $1 and payment_id = $2 and refund_id is null
                    and settled_at is null and claim <> 'refund_made_in_portal'
                    and exists (select from changed)
            ), recorded as (
                insert into payment_transition (merchant_id, payment_id, version, event,
                    from_status, from_status_reason, to_status, to_status_reason, api_key_id,
                    follow_up_id, attempt_id, gateway_at, reason, ticket, statement_file_id,
                    statement_line)
                select $1, $2, changed.version, $20, $6, $21, $7, $8, $22, $23, $24, $25, $33, $34,
                    $38, $39
                from changed
            ), audited as (
                insert into audit_log (merchant_id, action, subject_kind, subject_id, by, before,
                    after)
                select $1, 'payment.resolved', 'payment', public_id('pay_', $2),
                    audit_by_api_key($22)
                        || jsonb_build_object('reason', $33::text, 'ticket', $34::text),
                    jsonb_build_object('status', $6::text, 'status_reason', $21::text),
                    jsonb_build_object('status', $7::text, 'status_reason', $8::text)
                from changed
                where $33 is not null
            ), answered as (
                update attempt
                set answered_at = db_now(), answer_class = $26, answer_code = $27,
                    answer_detail = $28, duration_ms = $29
                where merchant_id = $1 and attempt_id = $24 and answered_at is null
            ), at_rest as materialized (
                -- What was settled before, and had nothing but its question owed.
                select from payment
                where $5::bigint is null and $43::timestamptz is not null
                    and merchant_id = $1 and payment_id = $2
                    and status in ('succeeded', 'failed', 'canceled') and cancel_reason is null
                    and contradicted_at is null
                    and exists (select from held where not is_owed)
                for no key update
            ), settled as (
                delete from follow_up
                where merchant_id = $1
                    and follow_up_id in (select follow_up_id from held where not is_owed)
                    and $47::timestamptz is null
                    and (exists (select from at_rest)
                        or ($19 and exists (select from changed where contradicted_at is null)))
            ), asked_again as (
                insert into follow_up (merchant_id, follow_up_id, kind, subject_id, due_at,
                    question_due_at)
                select $1, $48, 'payment', $2, $47, $47 from changed
                where $47::timestamptz is not null and not exists (select from held)
            ), rescheduled as (
                update follow_up
                set due_at = case
                        when $47::timestamptz is not null then $47
                        when $44 then db_now()
                        when held.is_new then least($30, due_at, question_due_at)
                        else coalesce($30, due_at)
                    end,
                    question_due_at = case
                        when $47::timestamptz is not null then $47
                        when $44 then db_now()
                        when held.is_owed then question_due_at
                    end,
                    error_count = case when $30 is null then error_count else 0 end,
                    last_error = case when $30 is null then last_error end,
                    parked_at = case
                        when $3::uuid is null and $47::timestamptz is null then parked_at
                    end,
                    abandoned_reason = case
                        when $47::timestamptz is null then abandoned_reason
                    end,
                    abandoned_by = case when $47::timestamptz is null then abandoned_by end,
                    access_refusals = case
                        when $42::boolean then 0
                        when not $42::boolean then follow_up.access_refusals + 1
                        else follow_up.access_refusals
                    end,
                    cancel_refused = coalesce($35, cancel_refused),
                    -- A caller's own request leaves a worker's lease alone, and so does a visit that
                    -- goes on.
                    leased_until = case when $3::uuid is null or $30 is null then leased_until end,
                    worker = case when $3::uuid is null or $30 is null then worker end
                from held
                where follow_up.merchant_id = $1 and follow_up.follow_up_id = held.follow_up_id
                    and ($30::timestamptz is not null or $42::boolean is not null
                        or $43::timestamptz is not null or $44 or $47::timestamptz is not null)
                    and not exists (select from at_rest)
                    and not ($19 and not held.is_owed and $47::timestamptz is null
                        and exists (select from changed where contradicted_at is null))
                    and ($5::bigint is null or exists (select from changed))
            )
            select (select count(*) from held) as "held!",
                (select updated_at from changed) as changed_at,
                db_now() as "now!""#,
            record.merchant_id.uuid(),
            record.payment_id.uuid(),
            record.lease_token.map(|lease_token| lease_token.follow_up_id.uuid()),
            record.lease_token.map(|lease_token| lease_token.fence),
            change.map(|change| change.before.version),
            change.map(|change| change.before.state.status()),
            columns.map(|columns| columns.status),
            columns.and_then(|columns| columns.status_reason),
            columns.and_then(|columns| columns.failure_code),
            columns.and_then(|columns| columns.failure_message),
            columns.and_then(|columns| columns.failure_retry),
            columns.and_then(|columns| columns.money_returned),
            change.and_then(|change| change.after.alipay_trans_id.as_deref()),
            change.is_some_and(|change| change.after.charge.is_some()),
            columns.and_then(|columns| columns.paid_at),
            columns.and_then(|columns| columns.wallet),
            columns.and_then(|columns| columns.buyer_user_id),
            columns.and_then(|columns| columns.buyer_login_id),
            change.is_some_and(|change| change.after.is_settled()),
            change.map(|change| change.event),
            change.and_then(|change| change.before.state.status_reason()),
            actor.api_key_id,
            actor.follow_up_id,
            attempt_id.map(AttemptId::uuid),
            change.map(|change| change.gateway_at),
            answer.map(|answer| answer.class.as_str()),
            answer.and_then(|answer| answer.code.as_deref()),
            answer.and_then(|answer| answer.detail.as_deref()),
            answer.map(|answer| answer.duration_ms),
            record.next_check_at,
            change.is_some_and(|change| change.after.state.is_final()),
            change
                .and_then(|change| change.after.canceling)
                .map(CancelReason::as_str),
            justification.map(|justification| justification.reason.as_str()),
            justification.map(|justification| justification.ticket.as_str()),
            record.cancel_refused,
            change.and_then(|change| change.before.poll.last_cancel_at),
            change
                .and_then(|change| change.after.reversal)
                .map(RefundId::uuid),
            actor.statement_file_id,
            actor.statement_line,
            change.is_some_and(|change| change.after.decided_by_operator),
            change.is_some_and(Change::settles_contradictions),
            record.lets_in,
            record.owed.answered(),
            record.owed == Owed::Now,
            record.question_due_at,
            columns.and_then(|columns| columns.wallet_file_id),
            change.and_then(|change| change.question_at),
            FollowUpId::mint().uuid(),
        )
        .one(&self.writes)
        .await?;
        failpoint!(self.failpoints, "db.record.after");
        Ok(match (record.lease_token, change, row.changed_at) {
            (Some(_), _, _) if row.held == 0 => Recorded::LeaseLost,
            (_, Some(_), None) => Recorded::Stale,
            (_, _, Some(at)) => Recorded::Written(at),
            (_, None, None) => Recorded::Written(row.now),
        })
    }

    /// Writes the intent to ask, before the call: the attempt, the plan's counters, and the change
    /// that asking makes. A worker is refused when its claim is lost or its lease would not outlast
    /// the call (`docs/invariants.md` R10); a caller's cancel leaves the follow-up behind that
    /// goes on if this replica dies, and puts one that was parked back on the schedule. A payment with
    /// refunds cannot begin a cancel.
    #[expect(
        clippy::too_many_lines,
        reason = "one statement, and its parameters one by one"
    )]
    #[tracing::instrument(name = "db.attempt.insert", skip_all, fields(payment.id = %question.payment_id, otel.kind = "client", db.system = "postgresql"))]
    pub async fn insert_attempt(&self, question: &NewAttempt<'_>) -> Result<Recorded, Error> {
        let change = question.change.as_ref();
        let actor = ActorColumns::of(question.actor);
        failpoint!(self.failpoints, "db.question.before");
        let row = sqlx::query!(
            r#"with held as materialized (
                select follow_up_id from follow_up
                where merchant_id = $1 and kind = 'payment' and subject_id = $2
                    and ($3::uuid is null
                        or (follow_up_id = $3 and fence = $4
                            and leased_until > db_now() + $5::bigint * interval '1 millisecond'))
                for update
            ), changed as (
                update payment
                set version = version + 1, updated_at = db_now(), status_reason = $8,
                    cancel_reason = $9, reversal_refund_id = $19
                where merchant_id = $1 and payment_id = $2
                    and version = $6 and status = $7 and refund_reserved_minor = 0
                    and (select count(*) from held) >= case when $3::uuid is null then 0 else 1 end
                returning version, updated_at
            ), stands as materialized (
                select payment_id from payment
                where merchant_id = $1 and payment_id = $2 and version = $20
                    and (select count(*) from held) >= 0
                for update
            ), recorded as (
                insert into payment_transition (merchant_id, payment_id, version, event,
                    from_status, from_status_reason, to_status, to_status_reason, api_key_id,
                    follow_up_id, attempt_id, gateway_at)
                select $1, $2, changed.version, $10, $7, $11, $7, $8, $12, $13, $14, $15
                from changed
            ), attempted as (
                insert into attempt (merchant_id, attempt_id, payment_id, kind)
                select $1, $14, $2, $16
                where ($6::bigint is null or exists (select from changed))
                    and ($20::bigint is null or exists (select from stands))
                    and ($3::uuid is null or exists (select from held))
                returning sent_at
            ), counted as (
                insert into follow_up as planned (merchant_id, follow_up_id, kind, subject_id,
                    due_at, queries, last_query_at, cancels, last_cancel_at)
                select $1, $17, 'payment', $2, db_now() + $5::bigint * interval '1 millisecond',
                    case when $16 = 'query' then 1 else 0 end,
                    case when $16 = 'query' then db_now() end,
                    case when $16 = 'cancel' then 1 else 0 end,
                    case when $16 = 'cancel' then db_now() end
                from attempted
                where $18
                on conflict (merchant_id, kind, subject_id) do update
                    set queries = planned.queries + excluded.queries,
                        last_query_at = coalesce(excluded.last_query_at, planned.last_query_at),
                        cancels = planned.cancels + excluded.cancels,
                        last_cancel_at = coalesce(excluded.last_cancel_at, planned.last_cancel_at),
                        cancel_refused = planned.cancel_refused and $16 <> 'cancel',
                        confirming_until = case
                            when $16 <> 'cancel' then planned.confirming_until
                        end,
                        -- While a caller's cancel is under way, the schedule waits for it.
                        due_at = case
                            when $3::uuid is null and $16 = 'cancel' then excluded.due_at
                            when $21 and planned.parked_at is not null then excluded.due_at
                            else planned.due_at
                        end,
                        parked_at = case when not $21 then planned.parked_at end,
                        abandoned_reason = case when not $21 then planned.abandoned_reason end,
                        abandoned_by = case when not $21 then planned.abandoned_by end,
                        error_count = case when $21 then 0 else planned.error_count end
            )
            select (select count(*) from held) as "held!",
                (select sent_at from attempted) as sent_at"#,
            question.merchant_id.uuid(),
            question.payment_id.uuid(),
            question
                .lease_token
                .map(|lease_token| lease_token.follow_up_id.uuid()),
            question.lease_token.map(|lease_token| lease_token.fence),
            question.deadline_ms,
            change.map(|change| change.before.version),
            change.map(|change| change.before.state.status()),
            change.and_then(|change| change.after.state.status_reason()),
            change
                .and_then(|change| change.after.canceling)
                .map(CancelReason::as_str),
            change.map(|change| change.event),
            change.and_then(|change| change.before.state.status_reason()),
            actor.api_key_id,
            actor.follow_up_id,
            question.attempt_id.uuid(),
            change.map(|change| change.gateway_at),
            question.kind.as_str(),
            FollowUpId::mint().uuid(),
            question.ensure_follow_up,
            change
                .and_then(|change| change.after.reversal)
                .map(RefundId::uuid),
            question.unchanged,
            question.wakes,
        )
        .one(&self.writes)
        .await?;
        failpoint!(self.failpoints, "db.question.after");
        Ok(match row.sent_at {
            Some(at) => Recorded::Written(at),
            None if question.lease_token.is_some() && row.held == 0 => Recorded::LeaseLost,
            None => Recorded::Stale,
        })
    }

    /// When an attempt was committed; `None`: it was not.
    #[tracing::instrument(name = "db.attempt.sent_at", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn attempt_sent_at(
        &self,
        merchant_id: MerchantId,
        attempt_id: AttemptId,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let sent_at = sqlx::query_scalar!(
            "select sent_at from attempt where merchant_id = $1 and attempt_id = $2",
            merchant_id.uuid(),
            attempt_id.uuid(),
        )
        .optional(&self.reads)
        .await?;
        Ok(sent_at)
    }
}

/// A state spread over the payment's nullable columns.
struct Columns<'a> {
    status: &'static str,
    status_reason: Option<&'static str>,
    failure_code: Option<&'a str>,
    failure_message: Option<&'a str>,
    failure_retry: Option<&'static str>,
    money_returned: Option<bool>,
    paid_at: Option<DateTime<Utc>>,
    wallet: Option<&'a str>,
    wallet_file_id: Option<uuid::Uuid>,
    buyer_user_id: Option<&'a str>,
    buyer_login_id: Option<&'a str>,
}

impl<'a> Columns<'a> {
    fn of(payment: &'a Payment) -> Self {
        let failure = match &payment.state {
            PaymentState::Failed(failure) => Some(failure),
            _ => None,
        };
        let money_returned = match payment.state {
            PaymentState::Canceled { money_returned, .. } => Some(money_returned),
            _ => None,
        };
        let charge = payment.charge.as_ref();
        Self {
            status: payment.state.status(),
            status_reason: payment.state.status_reason(),
            failure_code: failure.map(|failure| failure.code.as_str()),
            failure_message: failure.map(|failure| failure.message.as_str()),
            failure_retry: failure.map(|failure| failure.retry.as_str()),
            money_returned,
            paid_at: charge.and_then(|charge| charge.paid_at),
            wallet: payment.wallet(),
            wallet_file_id: charge
                .and_then(|charge| charge.wallet_file)
                .map(FileId::uuid),
            buyer_user_id: charge
                .and_then(|charge| charge.buyer_user_id.as_ref().map(BuyerUserId::as_str)),
            buyer_login_id: charge
                .and_then(|charge| charge.buyer_login_id.as_ref().map(BuyerLoginId::as_str)),
        }
    }
}

/// The actor as a transition row's columns; one of them is set.
#[derive(Clone, Copy, Default)]
pub(in crate::db) struct ActorColumns {
    pub(in crate::db) api_key_id: Option<uuid::Uuid>,
    pub(in crate::db) follow_up_id: Option<uuid::Uuid>,
    pub(in crate::db) notification_id: Option<uuid::Uuid>,
    pub(in crate::db) statement_file_id: Option<uuid::Uuid>,
    pub(in crate::db) statement_line: Option<i64>,
}

impl ActorColumns {
    pub(in crate::db) fn of(actor: Actor) -> Self {
        match actor {
            Actor::ApiKey(id) => Self {
                api_key_id: Some(ApiKeyId::uuid(id)),
                ..Self::default()
            },
            Actor::FollowUp(id) => Self {
                follow_up_id: Some(FollowUpId::uuid(id)),
                ..Self::default()
            },
            Actor::Notification(id) => Self {
                notification_id: Some(NotificationId::uuid(id)),
                ..Self::default()
            },
            Actor::File(FileLine { file_id, line }) => Self {
                statement_file_id: Some(file_id.uuid()),
                statement_line: Some(line),
                ..Self::default()
            },
        }
    }
}
