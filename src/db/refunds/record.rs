//! Writing what happened to a refund: one guarded statement for every path by which the gateway
//! learns something of it, which also moves the payment's books (`docs/invariants.md` R3, R4, C7).

use chrono::{DateTime, Utc};

use crate::{
    db::{Db, actor::ActorColumns, error::Error, recorded::Recorded, run::Statement as _},
    domain::{
        attempt::{Answer, AttemptKind},
        follow_ups::{lease::LeaseToken, question::Owed},
        id::{AttemptId, FollowUpId, MerchantId, PaymentId, RefundId},
        refunds::refund::{PendingReason, Refund, RefundFailure, RefundState},
        transition::{Actor, Justification},
    },
    failpoint::failpoint,
};

/// A state change that [`Refund::apply`] computed.
#[derive(Debug)]
pub struct RefundChange<'a> {
    /// The refund before; its version guards the write.
    pub before: &'a Refund,
    pub after: &'a Refund,
    pub event: &'static str,
    /// Whether the event says that Alipay accepted the refund, and not when.
    pub acceptance_is_estimated: bool,
    /// From when on a question about it is owed besides the plan; it keeps the follow-up of what is settled.
    pub question_at: Option<DateTime<Utc>>,
    pub gateway_at: DateTime<Utc>,
    /// What an operator gave as grounds.
    pub justification: Option<&'a Justification>,
}

impl RefundChange<'_> {
    /// Whether the books move to what was said against them.
    const fn settles_contradictions(&self) -> bool {
        self.before.contradicted_at.is_some() && self.after.contradicted_at.is_none()
    }

    /// A failure that comes late makes another thing of what was said of the payment meanwhile: while all of it was
    /// on its way back, "closed" told nothing new.
    fn asks_about_payment(&self) -> bool {
        self.before.fails_late(&self.after.state)
    }
}

/// One thing to write about a refund.
#[derive(Debug)]
pub struct RefundRecord<'a> {
    pub merchant_id: MerchantId,
    pub refund_id: RefundId,
    pub payment_id: PaymentId,
    pub actor: Actor,
    /// The upstream call that was answered.
    pub answered: Option<(AttemptId, &'a Answer)>,
    /// The change of state, if the update changes anything.
    pub change: Option<RefundChange<'a>>,
    /// Whether a query was answered that there is no such refund; `None` where none was answered.
    pub not_found: Option<bool>,
    /// The claim under which a worker writes; `None` for any other writer.
    pub lease_token: Option<LeaseToken>,
    /// When the follow-up asks next; `None` leaves the schedule as it is. A settled refund loses its
    /// follow-up whatever this says.
    pub next_check_at: Option<DateTime<Utc>>,
    /// What becomes of the question besides the plan. One that stays owed keeps the follow-up of a settled refund.
    pub owed: Owed,
    /// The question besides the plan as it was read: `next_check_at` was planned in knowledge of it.
    pub question_due_at: Option<DateTime<Utc>>,
}

/// A question about to be asked about a refund.
#[derive(Debug)]
pub struct NewRefundAttempt<'a> {
    /// The refund as it was read; its version guards the statement.
    pub refund: &'a Refund,
    /// The claim under which a worker asks; `None` for a caller's own request.
    pub lease_token: Option<LeaseToken>,
    pub attempt_id: AttemptId,
    /// What is asked: `refund` or `refund_query`.
    pub kind: AttemptKind,
    /// How long the call may take, in milliseconds; the lease must outlast it.
    pub deadline_ms: i64,
}

impl Db {
    /// Records an answer or a notification and the change it makes.
    ///
    /// Every writer locks the follow-up first, then the refund, then the payment, so that writers
    /// never wait for each other in a circle.
    #[expect(
        clippy::too_many_lines,
        reason = "one statement, and its parameters one by one"
    )]
    #[tracing::instrument(name = "db.refund.record", skip_all, fields(refund.id = %record.refund_id, otel.kind = "client", db.system = "postgresql"))]
    pub async fn record_refund(&self, record: &RefundRecord<'_>) -> Result<Recorded, Error> {
        let (attempt_id, answer) = record.answered.unzip();
        let change = record.change.as_ref();
        let after = change.map(|change| change.after);
        let failure = after.and_then(|after| match &after.state {
            RefundState::Failed(failure) => Some(failure),
            RefundState::Pending(_) | RefundState::Succeeded | RefundState::Unresolved => None,
        });
        let books = change
            .map(|change| change.before.book_change(change.after))
            .unwrap_or_default();
        let unknown_code = after.and_then(|after| after.unknown_code.as_ref());
        let justification = change.and_then(|change| change.justification);
        let actor = ActorColumns::of(record.actor);
        failpoint!(self.failpoints, "db.record_refund.before");
        let row = sqlx::query!(
            r#"with input as not materialized (
                select $1::uuid as merchant_id, $2::uuid as refund_id, $3::uuid as payment_id,
                    -- Who writes, and on whose answer.
                    $4::uuid as held_follow_up_id, $5::bigint as fence, $6::uuid as api_key_id,
                    $7::uuid as follow_up_id, $8::uuid as notification_id,
                    $9::uuid as statement_file_id, $10::bigint as statement_line,
                    $11::uuid as attempt_id, $12::text as answer_class, $13::text as answer_code,
                    $14::text as answer_detail, $15::integer as duration_ms,
                    $16::boolean as not_found,
                    -- The change, if there is one: what it was decided from, and what it leads to.
                    $17::text as event, $18::timestamptz as gateway_at, $19::text as reason,
                    $20::text as ticket, $21::bigint as before_version, $22::text as before_status,
                    $23::text as before_status_reason, $24::integer as before_submits,
                    $25::text as status, $26::text as status_reason, $27::text as failure_code,
                    $28::text as failure_message, $29::boolean as failed_late,
                    $30::text as refusal_code, $31::text as refusal_message,
                    $32::text as unknown_code, $33::integer as unknown_code_submits,
                    $34::timestamptz as accepted_at, $35::boolean as acceptance_is_estimated,
                    $36::boolean as decided_by_operator, $37::boolean as settles_contradictions,
                    -- What it moves on the payment.
                    $38::bigint as reserved_minor, $39::bigint as refunded_minor,
                    $40::boolean as asks_about_payment, $41::uuid as payment_follow_up_id,
                    -- The schedule.
                    $42::timestamptz as next_check_at, $43::timestamptz as answered_question,
                    $44::timestamptz as known_question, $45::timestamptz as question_at,
                    $46::boolean as lets_in, $47::uuid as new_follow_up_id
            ), of_payment as materialized (
                -- Before the refund's own, as whoever asks about both takes them.
                select from input
                join follow_up on follow_up.merchant_id = input.merchant_id
                    and follow_up.kind = 'payment' and follow_up.subject_id = input.payment_id
                where input.before_version is not null
                for update of follow_up
            ), held as materialized (
                select follow_up.follow_up_id,
                    coalesce(question_due_at <> input.answered_question,
                        question_due_at is not null) as is_owed,
                    question_due_at is distinct from input.known_question as is_new
                from input
                join follow_up on follow_up.merchant_id = input.merchant_id
                    and follow_up.kind = 'refund' and follow_up.subject_id = input.refund_id
                where (input.held_follow_up_id is null
                        or (follow_up.follow_up_id = input.held_follow_up_id
                            and follow_up.fence = input.fence))
                    and (select count(*) from of_payment) >= 0
                for update of follow_up
            ), changed as (
                update refund
                set version = refund.version + 1, updated_at = db_now(), status = input.status,
                    status_reason = input.status_reason, failure_code = input.failure_code,
                    failure_message = input.failure_message, refusal_code = input.refusal_code,
                    refusal_message = input.refusal_message, unknown_code = input.unknown_code,
                    unknown_code_submits = input.unknown_code_submits,
                    -- Without Alipay's word on it, a refund is accepted when its answer is recorded.
                    accepted_at = case
                        when input.acceptance_is_estimated and refund.accepted_at is null
                            then db_now()
                        else input.accepted_at
                    end,
                    succeeded_at = case
                        when input.status = refund.status then succeeded_at
                        when input.status = 'succeeded' then db_now()
                        when input.status = 'failed' then succeeded_at
                    end,
                    finalized_at = case
                        when input.status not in ('succeeded', 'failed') then null
                        when input.status = refund.status then finalized_at
                        else db_now()
                    end,
                    not_found = coalesce(input.not_found, refund.not_found),
                    decided_by_operator = input.decided_by_operator,
                    failed_late = input.failed_late,
                    -- What moves the books settles what was said against them.
                    contradicted_at = case
                        when not input.settles_contradictions then contradicted_at
                    end
                from input
                where refund.merchant_id = input.merchant_id
                    and refund.refund_id = input.refund_id
                    and refund.version = input.before_version
                    and refund.status = input.before_status
                    -- What an answer means was decided in knowledge of every request that was sent.
                    and submits = input.before_submits
                    and (select count(*) from held)
                        >= case when input.held_follow_up_id is null then 0 else 1 end
                returning version, updated_at, contradicted_at
            ), explained as (
                update contradiction
                set settled_at = db_now(),
                    settled_by = case when input.reason is null then 'answer' else 'person' end
                from input
                where input.settles_contradictions
                    and contradiction.merchant_id = input.merchant_id
                    and contradiction.payment_id = input.payment_id
                    and contradiction.refund_id = input.refund_id
                    and settled_at is null and exists (select from changed)
                returning returned_minor
            ), noted as (
                update refund
                set not_found = input.not_found
                from input
                where refund.merchant_id = input.merchant_id
                    and refund.refund_id = input.refund_id and input.before_version is null
                    and refund.not_found <> input.not_found
                    and (select count(*) from held)
                        >= case when input.held_follow_up_id is null then 0 else 1 end
            ), recorded as (
                insert into refund_transition (merchant_id, refund_id, version, payment_id, event,
                    from_status, from_status_reason, to_status, to_status_reason, api_key_id,
                    follow_up_id, notification_id, attempt_id, gateway_at, reason, ticket,
                    statement_file_id, statement_line)
                select merchant_id, refund_id, changed.version, payment_id, event,
                    before_status, before_status_reason, status, status_reason, api_key_id,
                    follow_up_id, notification_id, attempt_id, gateway_at, reason, ticket,
                    statement_file_id, statement_line
                from input, changed
            ), booked as (
                update payment
                set refund_reserved_minor = refund_reserved_minor + input.reserved_minor,
                    refunded_minor = payment.refunded_minor + input.refunded_minor,
                    version = payment.version + 1, updated_at = db_now(),
                    proven_returned_minor = proven_returned_minor
                        - (select coalesce(sum(returned_minor), 0)::bigint from explained)
                from input
                where payment.merchant_id = input.merchant_id
                    and payment.payment_id = input.payment_id
                    and (input.reserved_minor <> 0 or input.refunded_minor <> 0
                        or input.settles_contradictions)
                    and exists (select from changed)
                returning payment.version, payment.status, payment.status_reason, contradicted_at
            ), asked as (
                -- What was said of the payment counts for something else now.
                insert into follow_up as planned (merchant_id, follow_up_id, kind, subject_id,
                    due_at, question_due_at)
                select merchant_id, payment_follow_up_id, 'payment', payment_id, db_now(), db_now()
                from input, booked
                where asks_about_payment or contradicted_at is not null
                on conflict (merchant_id, kind, subject_id) do update
                    set due_at = least(planned.due_at, excluded.due_at),
                        question_due_at = greatest(planned.question_due_at,
                            excluded.question_due_at),
                        parked_at = null, abandoned_reason = null, abandoned_by = null, error_count = 0
            ), book_recorded as (
                insert into payment_transition (merchant_id, payment_id, version, event,
                    from_status, from_status_reason, to_status, to_status_reason, api_key_id,
                    follow_up_id, notification_id, attempt_id, gateway_at, reason, ticket,
                    statement_file_id, statement_line)
                select merchant_id, payment_id, booked.version, event, booked.status,
                    booked.status_reason, booked.status, booked.status_reason, api_key_id,
                    follow_up_id, notification_id, attempt_id, gateway_at, reason, ticket,
                    statement_file_id, statement_line
                from input, booked
            ), audited as (
                insert into audit_log (merchant_id, action, subject_kind, subject_id, by, before,
                    after)
                select merchant_id, 'refund.resolved', 'refund', public_id('ref_', refund_id),
                    audit_by_api_key(api_key_id)
                        || jsonb_build_object('reason', reason, 'ticket', ticket),
                    jsonb_build_object('status', before_status,
                        'status_reason', before_status_reason),
                    jsonb_build_object('status', status, 'status_reason', status_reason)
                from input, changed
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
                select from input
                join refund on refund.merchant_id = input.merchant_id
                    and refund.refund_id = input.refund_id
                where input.before_version is null and input.answered_question is not null
                    and refund.status in ('succeeded', 'failed') and contradicted_at is null
                    and exists (select from held where not is_owed)
                for no key update of refund
            ), settled as (
                delete from follow_up
                using input
                where follow_up.merchant_id = input.merchant_id and input.question_at is null
                    and follow_up.follow_up_id in (
                        select follow_up_id from held where not is_owed)
                    and (exists (select from at_rest)
                        or (input.status in ('succeeded', 'failed')
                            and exists (select from changed where contradicted_at is null)))
            ), asked_again as (
                insert into follow_up (merchant_id, follow_up_id, kind, subject_id, due_at,
                    question_due_at)
                select merchant_id, new_follow_up_id, 'refund', refund_id, question_at, question_at
                from input, changed
                where question_at is not null and not exists (select from held)
            ), rescheduled as (
                update follow_up
                set due_at = case
                        when held.is_new then least(input.next_check_at, due_at, question_due_at)
                        else coalesce(input.question_at, input.next_check_at, due_at)
                    end,
                    question_due_at = case
                        when held.is_owed then question_due_at
                        else input.question_at
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
                        when not input.lets_in then access_refusals + 1
                        else access_refusals
                    end,
                    -- Another writer leaves a worker's lease alone.
                    leased_until = case when input.held_follow_up_id is null then leased_until end,
                    worker = case when input.held_follow_up_id is null then worker end
                from input, held
                where follow_up.merchant_id = input.merchant_id
                    and follow_up.follow_up_id = held.follow_up_id
                    and (input.next_check_at is not null or input.answered_question is not null
                        or input.question_at is not null)
                    and not exists (select from at_rest)
                    and not (coalesce(input.status, '') in ('succeeded', 'failed')
                        and not held.is_owed and input.question_at is null
                        and exists (select from changed where contradicted_at is null))
                    and (input.before_version is null or exists (select from changed))
            )
            select (select count(*) from held) as "held!",
                (select updated_at from changed) as changed_at,
                db_now() as "now!""#,
            record.merchant_id.uuid(),
            record.refund_id.uuid(),
            record.payment_id.uuid(),
            record.lease_token.map(|lease_token| lease_token.follow_up_id.uuid()),
            record.lease_token.map(|lease_token| lease_token.fence),
            actor.api_key_id,
            actor.follow_up_id,
            actor.notification_id,
            actor.statement_file_id,
            actor.statement_line,
            attempt_id.map(AttemptId::uuid),
            answer.map(|answer| answer.class.as_str()),
            answer.and_then(|answer| answer.code.as_deref()),
            answer.and_then(|answer| answer.detail.as_deref()),
            answer.map(|answer| answer.duration_ms),
            record.not_found,
            change.map(|change| change.event),
            change.map(|change| change.gateway_at),
            justification.map(|justification| justification.reason.as_str()),
            justification.map(|justification| justification.ticket.as_str()),
            change.map(|change| change.before.version),
            change.map(|change| change.before.state.status()),
            change
                .and_then(|change| change.before.state.status_reason())
                .map(PendingReason::as_str),
            change.map(|change| change.before.poll.submits),
            after.map(|after| after.state.status()),
            after
                .and_then(|after| after.state.status_reason())
                .map(PendingReason::as_str),
            failure.map(|failure| failure.code.as_str()),
            failure.map(|failure| failure.message.as_str()),
            after.is_some_and(|after| after.failed_late),
            refusal(after).map(|refusal| refusal.code.as_str()),
            refusal(after).map(|refusal| refusal.message.as_str()),
            unknown_code.map(|unknown| unknown.code.as_str()),
            unknown_code.map(|unknown| unknown.submits),
            after.and_then(|after| after.accepted_at),
            change.is_some_and(|change| change.acceptance_is_estimated),
            after.is_some_and(|after| after.decided_by_operator),
            change.is_some_and(RefundChange::settles_contradictions),
            books.reserved_minor,
            books.refunded_minor,
            change.is_some_and(RefundChange::asks_about_payment),
            FollowUpId::mint().uuid(),
            record.next_check_at,
            record.owed.answered(),
            record.question_due_at,
            change.and_then(|change| change.question_at),
            answer.and_then(|answer| answer.class.lets_the_account_in()),
            FollowUpId::mint().uuid(),
        )
        .one(&self.writes)
        .await?;
        failpoint!(self.failpoints, "db.record_refund.after");
        Ok(match (record.lease_token, change, row.changed_at) {
            (Some(_), _, _) if row.held == 0 => Recorded::LeaseLost,
            (_, Some(_), None) => Recorded::Stale,
            (_, _, Some(at)) => Recorded::Written(at),
            (_, None, None) => Recorded::Written(row.now),
        })
    }

    /// Writes the intent to ask, before the call: the attempt and the plan's counters. Refused when
    /// the refund has changed since it was read, when a worker's claim is lost, or when its lease
    /// would not outlast the call (`docs/invariants.md` R10).
    #[tracing::instrument(name = "db.refund_attempt.insert", skip_all, fields(refund.id = %question.refund.id, otel.kind = "client", db.system = "postgresql"))]
    pub async fn insert_refund_attempt(
        &self,
        question: &NewRefundAttempt<'_>,
    ) -> Result<Recorded, Error> {
        let refund = question.refund;
        failpoint!(self.failpoints, "db.refund_question.before");
        let row = sqlx::query!(
            r#"with held as materialized (
                select follow_up_id from follow_up
                where merchant_id = $1 and kind = 'refund' and subject_id = $2
                    and ($3::uuid is null
                        or (follow_up_id = $3 and fence = $4
                            and leased_until > db_now() + $5::bigint * interval '1 millisecond'))
                for update
            ), asked as (
                update refund
                set submits = submits + case when $6 = 'refund' then 1 else 0 end,
                    last_submit_at = case when $6 = 'refund' then db_now() else last_submit_at end,
                    checks_done = checks_done + case when $6 = 'refund_query' then 1 else 0 end,
                    last_check_at = case
                        when $6 = 'refund_query' then db_now()
                        else last_check_at
                    end,
                    -- What a query found before does not speak of a request sent after it.
                    not_found = not_found and $6 <> 'refund'
                where merchant_id = $1 and refund_id = $2 and version = $7
                    and (select count(*) from held) >= case when $3::uuid is null then 0 else 1 end
                returning payment_id
            ), attempted as (
                insert into attempt (merchant_id, attempt_id, payment_id, refund_id, kind)
                select $1, $8, payment_id, $2, $6 from asked
                returning sent_at
            ), counted as (
                update follow_up
                set queries = queries + case when $6 = 'refund_query' then 1 else 0 end
                where merchant_id = $1 and follow_up_id in (select follow_up_id from held)
                    and exists (select from asked)
            )
            select (select count(*) from held) as "held!",
                (select sent_at from attempted) as sent_at"#,
            refund.merchant_id.uuid(),
            refund.id.uuid(),
            question
                .lease_token
                .map(|lease_token| lease_token.follow_up_id.uuid()),
            question.lease_token.map(|lease_token| lease_token.fence),
            question.deadline_ms,
            question.kind.as_str(),
            refund.version,
            question.attempt_id.uuid(),
        )
        .one(&self.writes)
        .await?;
        failpoint!(self.failpoints, "db.refund_question.after");
        Ok(match row.sent_at {
            Some(at) => Recorded::Written(at),
            None if question.lease_token.is_some() && row.held == 0 => Recorded::LeaseLost,
            None => Recorded::Stale,
        })
    }
}

fn refusal(after: Option<&Refund>) -> Option<&RefundFailure> {
    after.and_then(|after| after.refusal.as_ref())
}
