//! Writing what happened: one guarded statement for every path by which the gateway learns
//! something of a payment (`docs/invariants.md` R3, C7).

use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::db::{
    Db,
    actor::ActorColumns,
    error::Error,
    group_commit::{Write, column, lock_timeout},
    recorded::Recorded,
    run::{Lane, Statement as _},
};
use crate::domain::{
    attempt::{Answer, AttemptKind},
    follow_ups::{lease::LeaseToken, question::Owed},
    id::{AttemptId, FileId, FollowUpId, MerchantId, PaymentId, RefundId},
    payments::{
        buyer::{BuyerLoginId, BuyerUserId},
        payment::{CancelReason, Payment, PaymentState},
    },
    transition::{Actor, Justification},
};
use crate::failpoint::failpoint;

/// A state change that [`Payment::apply`] computed.
#[derive(Debug)]
pub struct Change<'a> {
    /// The payment before; its version guards the write, and what settles it also the last cancel
    /// that was known.
    pub before: &'a Payment,
    pub after: &'a Payment,
    pub event: &'static str,
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

/// One thing to write about a payment.
#[derive(Debug)]
pub struct Record<'a> {
    pub merchant_id: MerchantId,
    pub payment_id: PaymentId,
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

/// A question about to be asked, by a worker or by a caller.
#[derive(Debug)]
pub struct NewAttempt<'a> {
    pub merchant_id: MerchantId,
    pub payment_id: PaymentId,
    pub actor: Actor,
    /// The claim under which a worker asks; `None` for a caller's own request.
    pub lease_token: Option<LeaseToken>,
    /// Whether the payment must have a follow-up from here on, in case the asker dies.
    pub ensure_follow_up: bool,
    pub attempt_id: AttemptId,
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

/// A [`Record`] as the statement takes it: each value a column of its input.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "columns, not settings")]
pub(in crate::db) struct RecordRow {
    merchant_id: Uuid,
    payment_id: Uuid,
    held_follow_up_id: Option<Uuid>,
    fence: Option<i64>,
    api_key_id: Option<Uuid>,
    follow_up_id: Option<Uuid>,
    statement_file_id: Option<Uuid>,
    statement_line: Option<i64>,
    attempt_id: Option<Uuid>,
    answer_class: Option<&'static str>,
    answer_code: Option<String>,
    answer_detail: Option<String>,
    duration_ms: Option<i32>,
    event: Option<&'static str>,
    gateway_at: Option<DateTime<Utc>>,
    reason: Option<String>,
    ticket: Option<String>,
    before_version: Option<i64>,
    before_status: Option<&'static str>,
    before_status_reason: Option<&'static str>,
    before_last_cancel_at: Option<DateTime<Utc>>,
    status: Option<&'static str>,
    status_reason: Option<&'static str>,
    failure_code: Option<String>,
    failure_message: Option<String>,
    failure_retry: Option<&'static str>,
    money_returned: Option<bool>,
    alipay_trans_id: Option<String>,
    charged: bool,
    paid_at: Option<DateTime<Utc>>,
    wallet: Option<String>,
    wallet_file_id: Option<Uuid>,
    buyer_user_id: Option<String>,
    buyer_login_id: Option<String>,
    cancel_reason: Option<&'static str>,
    reversal_refund_id: Option<Uuid>,
    decided_by_operator: bool,
    is_final: bool,
    is_settled: bool,
    settles_contradictions: bool,
    next_check_at: Option<DateTime<Utc>>,
    answered_question: Option<DateTime<Utc>>,
    owes_question_now: bool,
    known_question: Option<DateTime<Utc>>,
    question_at: Option<DateTime<Utc>>,
    new_follow_up_id: Uuid,
    cancel_refused: Option<bool>,
    lets_in: Option<bool>,
}

impl RecordRow {
    fn of(record: &Record<'_>) -> Self {
        let (attempt_id, answer) = record.answered.unzip();
        let change = record.change.as_ref();
        let after = change.map(|change| change.after);
        let taken = after.and_then(|after| after.charge.as_ref());
        let failure = after.and_then(|after| match &after.state {
            PaymentState::Failed(failure) => Some(failure),
            _ => None,
        });
        let justification = change.and_then(|change| change.justification);
        let actor = ActorColumns::of(record.actor);
        let text = |text: Option<&str>| text.map(str::to_owned);
        Self {
            merchant_id: record.merchant_id.uuid(),
            payment_id: record.payment_id.uuid(),
            held_follow_up_id: record
                .lease_token
                .map(|lease_token| lease_token.follow_up_id.uuid()),
            fence: record.lease_token.map(|lease_token| lease_token.fence),
            api_key_id: actor.api_key_id,
            follow_up_id: actor.follow_up_id,
            statement_file_id: actor.statement_file_id,
            statement_line: actor.statement_line,
            attempt_id: attempt_id.map(AttemptId::uuid),
            answer_class: answer.map(|answer| answer.class.as_str()),
            answer_code: answer.and_then(|answer| answer.code.clone()),
            answer_detail: answer.and_then(|answer| answer.detail.clone()),
            duration_ms: answer.map(|answer| answer.duration_ms),
            event: change.map(|change| change.event),
            gateway_at: change.map(|change| change.gateway_at),
            reason: justification.map(|justification| justification.reason.clone()),
            ticket: justification.map(|justification| justification.ticket.clone()),
            before_version: change.map(|change| change.before.version),
            before_status: change.map(|change| change.before.state.status()),
            before_status_reason: change.and_then(|change| change.before.state.status_reason()),
            before_last_cancel_at: change.and_then(|change| change.before.poll.last_cancel_at),
            status: after.map(|after| after.state.status()),
            status_reason: after.and_then(|after| after.state.status_reason()),
            failure_code: failure.map(|failure| failure.code.clone()),
            failure_message: failure.map(|failure| failure.message.clone()),
            failure_retry: failure.map(|failure| failure.retry.as_str()),
            money_returned: after.and_then(money_returned),
            alipay_trans_id: after.and_then(|after| after.alipay_trans_id.clone()),
            charged: taken.is_some(),
            paid_at: taken.and_then(|charge| charge.paid_at),
            wallet: after.and_then(|after| after.wallet().map(str::to_owned)),
            wallet_file_id: taken
                .and_then(|charge| charge.wallet_file)
                .map(FileId::uuid),
            buyer_user_id: taken
                .and_then(|charge| text(charge.buyer_user_id.as_ref().map(BuyerUserId::as_str))),
            buyer_login_id: taken
                .and_then(|charge| text(charge.buyer_login_id.as_ref().map(BuyerLoginId::as_str))),
            cancel_reason: after
                .and_then(|after| after.canceling)
                .map(CancelReason::as_str),
            reversal_refund_id: after.and_then(|after| after.reversal).map(RefundId::uuid),
            decided_by_operator: after.is_some_and(|after| after.decided_by_operator),
            is_final: after.is_some_and(|after| after.state.is_final()),
            is_settled: after.is_some_and(Payment::is_settled),
            settles_contradictions: change.is_some_and(Change::settles_contradictions),
            next_check_at: record.next_check_at,
            answered_question: record.owed.answered(),
            owes_question_now: record.owed == Owed::Now,
            known_question: record.question_due_at,
            question_at: change.and_then(|change| change.question_at),
            new_follow_up_id: FollowUpId::mint().uuid(),
            cancel_refused: record.cancel_refused,
            lets_in: record.lets_in,
        }
    }

    const fn changes(&self) -> bool {
        self.before_version.is_some()
    }
}

/// Set exactly where the payment is canceled.
const fn money_returned(payment: &Payment) -> Option<bool> {
    match payment.state {
        PaymentState::Canceled { money_returned, .. } => Some(money_returned),
        _ => None,
    }
}

impl Write for RecordRow {
    type Written = Recorded;

    fn key(&self) -> Uuid {
        self.payment_id
    }

    #[expect(
        clippy::too_many_lines,
        reason = "one statement, and its parameters one by one"
    )]
    async fn write(lane: &Lane, rows: &[Arc<Self>]) -> Result<Vec<Recorded>, Error> {
        let outcomes = sqlx::query!(
            r#"with input as materialized (
                select input.*
                from set_config('lock_timeout', $1, true),
                    unnest(
                        $2::uuid[], $3::uuid[],
                        -- Who writes, and on whose answer.
                        $4::uuid[], $5::bigint[], $6::uuid[], $7::uuid[], $8::uuid[],
                        $9::bigint[], $10::uuid[], $11::text[], $12::text[], $13::text[],
                        $14::integer[],
                        -- The change, if there is one: what it was decided from, and what it leads to.
                        $15::text[], $16::timestamptz[], $17::text[], $18::text[], $19::bigint[],
                        $20::text[], $21::text[], $22::timestamptz[], $23::text[], $24::text[],
                        $25::text[], $26::text[], $27::text[], $28::boolean[], $29::text[],
                        $30::boolean[], $31::timestamptz[], $32::text[], $33::uuid[],
                        $34::text[], $35::text[], $36::text[], $37::uuid[], $38::boolean[],
                        $39::boolean[], $40::boolean[], $41::boolean[],
                        -- The schedule.
                        $42::timestamptz[], $43::timestamptz[], $44::boolean[],
                        $45::timestamptz[], $46::timestamptz[], $47::uuid[], $48::boolean[],
                        $49::boolean[]
                    ) as input (
                        merchant_id, payment_id,
                        held_follow_up_id, fence, api_key_id, follow_up_id, statement_file_id,
                        statement_line, attempt_id, answer_class, answer_code, answer_detail,
                        duration_ms,
                        event, gateway_at, reason, ticket, before_version, before_status,
                        before_status_reason, before_last_cancel_at, status, status_reason,
                        failure_code, failure_message, failure_retry, money_returned,
                        alipay_trans_id, charged, paid_at, wallet, wallet_file_id, buyer_user_id,
                        buyer_login_id, cancel_reason, reversal_refund_id, decided_by_operator,
                        is_final, is_settled, settles_contradictions,
                        next_check_at, answered_question, owes_question_now, known_question,
                        question_at, new_follow_up_id, cancel_refused, lets_in)
            ), held as materialized (
                select input.payment_id, locked.*
                from input
                -- One by one, by key: a join might be planned from the other side.
                cross join lateral (
                    select merchant_id, follow_up_id, last_cancel_at, access_refusals,
                        coalesce(question_due_at <> input.answered_question,
                            question_due_at is not null) as is_owed,
                        question_due_at is distinct from input.known_question as is_new
                    from follow_up
                    where follow_up.merchant_id = input.merchant_id
                        and follow_up.kind = 'payment'
                        and follow_up.subject_id = input.payment_id
                        and (input.held_follow_up_id is null
                            or (follow_up.follow_up_id = input.held_follow_up_id
                                and follow_up.fence = input.fence))
                    for update
                ) as locked
            ), said as materialized (
                select input.payment_id, claims.some_wait, claims.returned_minor
                from input
                cross join lateral (
                    select bool_or(claim = 'refund_made_in_portal') as some_wait,
                        coalesce(sum(returned_minor)
                            filter (where claim <> 'refund_made_in_portal'), 0)::bigint
                            as returned_minor
                    from contradiction
                    where contradiction.merchant_id = input.merchant_id
                        and contradiction.payment_id = input.payment_id
                        and refund_id is null and settled_at is null
                ) as claims
                where input.settles_contradictions
            ), changed as (
                update payment
                set version = payment.version + 1, updated_at = db_now(), status = input.status,
                    status_reason = input.status_reason, failure_code = input.failure_code,
                    failure_message = input.failure_message, failure_retry = input.failure_retry,
                    money_returned = input.money_returned, alipay_trans_id = input.alipay_trans_id,
                    charged = input.charged, paid_at = input.paid_at, wallet = input.wallet,
                    wallet_file_id = input.wallet_file_id, buyer_user_id = input.buyer_user_id,
                    buyer_login_id = input.buyer_login_id,
                    finalized_at = case
                        when not input.is_final then null
                        when payment.status = input.status then coalesce(finalized_at, db_now())
                        else db_now()
                    end,
                    cancel_reason = input.cancel_reason,
                    reversal_refund_id = input.reversal_refund_id,
                    decided_by_operator = input.decided_by_operator,
                    -- What moves the books settles what was said against them, except of refunds
                    -- that wait to be booked.
                    contradicted_at = case
                        when not input.settles_contradictions
                            or (select some_wait from said where said.payment_id = input.payment_id)
                            then contradicted_at
                    end,
                    proven_returned_minor = proven_returned_minor - coalesce((
                        select returned_minor from said
                        where said.payment_id = input.payment_id), 0)
                from input
                where payment.merchant_id = input.merchant_id
                    and payment.payment_id = input.payment_id
                    and payment.version = input.before_version
                    and payment.status = input.before_status
                    -- Every follow-up is locked before the first payment.
                    and (select count(*) from held) >= 0
                    and (input.held_follow_up_id is null
                        or exists (select from held where held.payment_id = input.payment_id))
                    -- What a person decides is what needs one.
                    and (input.reason is null or contradicted_at is not null
                        or (payment.status = 'canceled' and payment.charged)
                        or payment_needs_a_person(payment.*, coalesce((
                            select access_refusals from held
                            where held.payment_id = input.payment_id), 0)))
                    -- What settles a payment was decided in knowledge of every cancel that was sent.
                    and not (input.is_settled and exists (
                        select from held
                        where held.payment_id = input.payment_id
                            and last_cancel_at is distinct from input.before_last_cancel_at))
                returning payment.payment_id, version, updated_at, contradicted_at
            ), explained as (
                update contradiction
                set settled_at = db_now(),
                    settled_by = case when input.reason is null then 'answer' else 'person' end
                from changed join input using (payment_id)
                where input.settles_contradictions
                    and contradiction.merchant_id = input.merchant_id
                    and contradiction.payment_id = input.payment_id
                    and refund_id is null
                    and settled_at is null and claim <> 'refund_made_in_portal'
            ), recorded as (
                insert into payment_transition (merchant_id, payment_id, version, event,
                    from_status, from_status_reason, to_status, to_status_reason, api_key_id,
                    follow_up_id, attempt_id, gateway_at, reason, ticket, statement_file_id,
                    statement_line)
                select merchant_id, payment_id, changed.version, event,
                    before_status, before_status_reason, status, status_reason, api_key_id,
                    follow_up_id, attempt_id, gateway_at, reason, ticket, statement_file_id,
                    statement_line
                from changed join input using (payment_id)
            ), audited as (
                insert into audit_log (merchant_id, action, subject_kind, subject_id, by, before,
                    after)
                select merchant_id, 'payment.resolved', 'payment', public_id('pay_', payment_id),
                    audit_by_api_key(api_key_id)
                        || jsonb_build_object('reason', reason, 'ticket', ticket),
                    jsonb_build_object('status', before_status,
                        'status_reason', before_status_reason),
                    jsonb_build_object('status', status, 'status_reason', status_reason)
                from changed join input using (payment_id)
                where reason is not null
            ), answered as (
                update attempt
                set answered_at = db_now(), answer_class = input.answer_class,
                    answer_code = input.answer_code, answer_detail = input.answer_detail,
                    duration_ms = input.duration_ms
                from input
                where attempt.merchant_id = input.merchant_id
                    and attempt.attempt_id = input.attempt_id and answered_at is null
            ), at_rest as materialized (
                -- What was settled before, and had nothing but its question owed.
                select input.payment_id
                from input
                cross join lateral (
                    select from payment
                    where payment.merchant_id = input.merchant_id
                        and payment.payment_id = input.payment_id
                        and payment.status in ('succeeded', 'failed', 'canceled')
                        and payment.cancel_reason is null and contradicted_at is null
                        and exists (
                            select from held
                            where held.payment_id = input.payment_id and not is_owed)
                    for no key update
                ) as rests
                where input.before_version is null and input.answered_question is not null
            ), settled as (
                delete from follow_up
                using held join input using (payment_id)
                where follow_up.merchant_id = held.merchant_id
                    and follow_up.follow_up_id = held.follow_up_id
                    and not held.is_owed and input.question_at is null
                    and (exists (
                            select from at_rest where at_rest.payment_id = input.payment_id)
                        or (input.is_settled and exists (
                            select from changed
                            where changed.payment_id = input.payment_id
                                and contradicted_at is null)))
            ), asked_again as (
                insert into follow_up (merchant_id, follow_up_id, kind, subject_id, due_at,
                    question_due_at)
                select merchant_id, new_follow_up_id, 'payment', payment_id, question_at,
                    question_at
                from changed join input using (payment_id)
                where question_at is not null
                    and not exists (
                        select from held where held.payment_id = input.payment_id)
            ), rescheduled as (
                update follow_up
                set due_at = case
                        when input.question_at is not null then input.question_at
                        when input.owes_question_now then db_now()
                        when held.is_new then least(input.next_check_at, due_at, question_due_at)
                        else coalesce(input.next_check_at, due_at)
                    end,
                    question_due_at = case
                        when input.question_at is not null then input.question_at
                        when input.owes_question_now then greatest(question_due_at, db_now())
                        when held.is_owed then question_due_at
                    end,
                    error_count = case when input.next_check_at is null then error_count else 0 end,
                    last_error = case when input.next_check_at is null then last_error end,
                    parked_at = case
                        when input.held_follow_up_id is null and input.question_at is null
                            then parked_at
                    end,
                    abandoned_reason = case
                        when input.question_at is null then abandoned_reason
                    end,
                    abandoned_by = case when input.question_at is null then abandoned_by end,
                    access_refusals = case
                        when input.lets_in then 0
                        when not input.lets_in then follow_up.access_refusals + 1
                        else follow_up.access_refusals
                    end,
                    cancel_refused = coalesce(input.cancel_refused, follow_up.cancel_refused),
                    -- A caller's own request leaves a worker's lease alone, and so does a visit that
                    -- goes on.
                    leased_until = case
                        when input.held_follow_up_id is null or input.next_check_at is null
                            then leased_until
                    end,
                    worker = case
                        when input.held_follow_up_id is null or input.next_check_at is null
                            then worker
                    end
                from held join input using (payment_id)
                where follow_up.merchant_id = held.merchant_id
                    and follow_up.follow_up_id = held.follow_up_id
                    and (input.next_check_at is not null or input.lets_in is not null
                        or input.answered_question is not null or input.owes_question_now
                        or input.question_at is not null)
                    and not exists (
                        select from at_rest where at_rest.payment_id = input.payment_id)
                    and not (input.is_settled and not held.is_owed and input.question_at is null
                        and exists (
                            select from changed
                            where changed.payment_id = input.payment_id
                                and contradicted_at is null))
                    and (input.before_version is null or exists (
                        select from changed where changed.payment_id = input.payment_id))
            )
            select input.payment_id as "payment_id!",
                exists (select from held where held.payment_id = input.payment_id) as "is_held!",
                (select updated_at from changed where changed.payment_id = input.payment_id)
                    as changed_at,
                db_now() as "now!"
            from input"#,
            lock_timeout(lane, rows.len()),
            column(rows, |row| row.merchant_id) as _,
            column(rows, |row| row.payment_id) as _,
            column(rows, |row| row.held_follow_up_id) as _,
            column(rows, |row| row.fence) as _,
            column(rows, |row| row.api_key_id) as _,
            column(rows, |row| row.follow_up_id) as _,
            column(rows, |row| row.statement_file_id) as _,
            column(rows, |row| row.statement_line) as _,
            column(rows, |row| row.attempt_id) as _,
            column(rows, |row| row.answer_class) as _,
            column(rows, |row| row.answer_code.as_deref()) as _,
            column(rows, |row| row.answer_detail.as_deref()) as _,
            column(rows, |row| row.duration_ms) as _,
            column(rows, |row| row.event) as _,
            column(rows, |row| row.gateway_at) as _,
            column(rows, |row| row.reason.as_deref()) as _,
            column(rows, |row| row.ticket.as_deref()) as _,
            column(rows, |row| row.before_version) as _,
            column(rows, |row| row.before_status) as _,
            column(rows, |row| row.before_status_reason) as _,
            column(rows, |row| row.before_last_cancel_at) as _,
            column(rows, |row| row.status) as _,
            column(rows, |row| row.status_reason) as _,
            column(rows, |row| row.failure_code.as_deref()) as _,
            column(rows, |row| row.failure_message.as_deref()) as _,
            column(rows, |row| row.failure_retry) as _,
            column(rows, |row| row.money_returned) as _,
            column(rows, |row| row.alipay_trans_id.as_deref()) as _,
            column(rows, |row| row.charged) as _,
            column(rows, |row| row.paid_at) as _,
            column(rows, |row| row.wallet.as_deref()) as _,
            column(rows, |row| row.wallet_file_id) as _,
            column(rows, |row| row.buyer_user_id.as_deref()) as _,
            column(rows, |row| row.buyer_login_id.as_deref()) as _,
            column(rows, |row| row.cancel_reason) as _,
            column(rows, |row| row.reversal_refund_id) as _,
            column(rows, |row| row.decided_by_operator) as _,
            column(rows, |row| row.is_final) as _,
            column(rows, |row| row.is_settled) as _,
            column(rows, |row| row.settles_contradictions) as _,
            column(rows, |row| row.next_check_at) as _,
            column(rows, |row| row.answered_question) as _,
            column(rows, |row| row.owes_question_now) as _,
            column(rows, |row| row.known_question) as _,
            column(rows, |row| row.question_at) as _,
            column(rows, |row| row.new_follow_up_id) as _,
            column(rows, |row| row.cancel_refused) as _,
            column(rows, |row| row.lets_in) as _,
        )
        .all(lane)
        .await?;
        let recorded = |row: &Arc<Self>| {
            let outcome = outcomes
                .iter()
                .find(|outcome| outcome.payment_id == row.payment_id)?;
            Some(match outcome.changed_at {
                _ if row.held_follow_up_id.is_some() && !outcome.is_held => Recorded::LeaseLost,
                None if row.changes() => Recorded::Stale,
                Some(at) => Recorded::Written(at),
                None => Recorded::Written(outcome.now),
            })
        };
        // Each row of the input is one of the output.
        Ok(rows.iter().filter_map(recorded).collect())
    }
}

impl Db {
    /// Records an answer and the change it makes.
    ///
    /// The follow-up row is locked first and the payment second, by every writer, so that writers
    /// never wait for each other in a circle.
    #[tracing::instrument(name = "db.payment.record", skip_all, fields(payment.id = %record.payment_id, otel.kind = "client", db.system = "postgresql"))]
    pub async fn record(&self, record: &Record<'_>) -> Result<Recorded, Error> {
        failpoint!(self.failpoints, "db.record.before");
        let row = Arc::new(RecordRow::of(record));
        let recorded = self.records.write(&self.writes, row).await?;
        failpoint!(self.failpoints, "db.record.after");
        Ok(recorded)
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
            r#"with input as not materialized (
                select $1::uuid as merchant_id, $2::uuid as payment_id,
                    -- What is asked, by whom, and for how long.
                    $3::uuid as attempt_id, $4::text as kind, $5::bigint as deadline_ms,
                    $6::uuid as held_follow_up_id, $7::bigint as fence, $8::uuid as api_key_id,
                    $9::uuid as follow_up_id,
                    -- What must still stand.
                    $10::bigint as unchanged_version, $11::bigint as before_version,
                    $12::text as before_status, $13::text as before_status_reason,
                    -- The change that asking makes, if there is one.
                    $14::text as event, $15::timestamptz as gateway_at, $16::text as status_reason,
                    $17::text as cancel_reason, $18::uuid as reversal_refund_id,
                    -- The schedule.
                    $19::boolean as ensures_follow_up, $20::uuid as new_follow_up_id,
                    $21::boolean as wakes
            ), held as materialized (
                select follow_up.follow_up_id
                from input
                join follow_up on follow_up.merchant_id = input.merchant_id
                    and follow_up.kind = 'payment' and follow_up.subject_id = input.payment_id
                where input.held_follow_up_id is null
                    or (follow_up.follow_up_id = input.held_follow_up_id
                        and follow_up.fence = input.fence
                        and leased_until
                            > db_now() + input.deadline_ms * interval '1 millisecond')
                for update of follow_up
            ), changed as (
                update payment
                set version = payment.version + 1, updated_at = db_now(),
                    status_reason = input.status_reason, cancel_reason = input.cancel_reason,
                    reversal_refund_id = input.reversal_refund_id
                from input
                where payment.merchant_id = input.merchant_id
                    and payment.payment_id = input.payment_id
                    and payment.version = input.before_version
                    and payment.status = input.before_status and refund_reserved_minor = 0
                    and (select count(*) from held)
                        >= case when input.held_follow_up_id is null then 0 else 1 end
                returning version, updated_at
            ), stands as materialized (
                select payment.payment_id
                from input
                join payment on payment.merchant_id = input.merchant_id
                    and payment.payment_id = input.payment_id
                where payment.version = input.unchanged_version
                    and (select count(*) from held) >= 0
                for update of payment
            ), recorded as (
                insert into payment_transition (merchant_id, payment_id, version, event,
                    from_status, from_status_reason, to_status, to_status_reason, api_key_id,
                    follow_up_id, attempt_id, gateway_at)
                select merchant_id, payment_id, changed.version, event,
                    before_status, before_status_reason, before_status, status_reason, api_key_id,
                    follow_up_id, attempt_id, gateway_at
                from input, changed
            ), attempted as (
                insert into attempt (merchant_id, attempt_id, payment_id, kind)
                select merchant_id, attempt_id, payment_id, kind
                from input
                where (before_version is null or exists (select from changed))
                    and (unchanged_version is null or exists (select from stands))
                    and (held_follow_up_id is null or exists (select from held))
                returning sent_at
            ), counted as (
                insert into follow_up as planned (merchant_id, follow_up_id, kind, subject_id,
                    due_at, queries, last_query_at, cancels, last_cancel_at)
                select merchant_id, new_follow_up_id, 'payment', payment_id,
                    db_now() + deadline_ms * interval '1 millisecond',
                    case when kind = 'query' then 1 else 0 end,
                    case when kind = 'query' then db_now() end,
                    case when kind = 'cancel' then 1 else 0 end,
                    case when kind = 'cancel' then db_now() end
                from input, attempted
                where ensures_follow_up
                on conflict (merchant_id, kind, subject_id) do update
                    set queries = planned.queries + excluded.queries,
                        last_query_at = coalesce(excluded.last_query_at, planned.last_query_at),
                        cancels = planned.cancels + excluded.cancels,
                        last_cancel_at = coalesce(excluded.last_cancel_at, planned.last_cancel_at),
                        cancel_refused = planned.cancel_refused and excluded.cancels = 0,
                        confirming_until = case
                            when excluded.cancels = 0 then planned.confirming_until
                        end,
                        -- While a caller's cancel is under way, the schedule waits for it.
                        due_at = case
                            when (select held_follow_up_id from input) is null and excluded.cancels = 1
                                then excluded.due_at
                            when (select wakes from input) and planned.parked_at is not null
                                then excluded.due_at
                            else planned.due_at
                        end,
                        parked_at = case when not (select wakes from input) then planned.parked_at end,
                        abandoned_reason = case
                            when not (select wakes from input) then planned.abandoned_reason
                        end,
                        abandoned_by = case
                            when not (select wakes from input) then planned.abandoned_by
                        end,
                        error_count = case
                            when (select wakes from input) then 0 else planned.error_count
                        end
            )
            select (select count(*) from held) as "held!",
                (select sent_at from attempted) as sent_at"#,
            question.merchant_id.uuid(),
            question.payment_id.uuid(),
            question.attempt_id.uuid(),
            question.kind.as_str(),
            question.deadline_ms,
            question
                .lease_token
                .map(|lease_token| lease_token.follow_up_id.uuid()),
            question.lease_token.map(|lease_token| lease_token.fence),
            actor.api_key_id,
            actor.follow_up_id,
            question.unchanged,
            change.map(|change| change.before.version),
            change.map(|change| change.before.state.status()),
            change.and_then(|change| change.before.state.status_reason()),
            change.map(|change| change.event),
            change.map(|change| change.gateway_at),
            change.and_then(|change| change.after.state.status_reason()),
            change
                .and_then(|change| change.after.canceling)
                .map(CancelReason::as_str),
            change
                .and_then(|change| change.after.reversal)
                .map(RefundId::uuid),
            question.ensure_follow_up,
            FollowUpId::mint().uuid(),
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
