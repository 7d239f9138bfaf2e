//! Writing what happened to a refund: one guarded statement for every path by which the gateway
//! learns something of it, which also moves the payment's books (`docs/invariants.md` R3, R4, C7).

use chrono::{DateTime, Utc};

use crate::{
    db::{
        Db,
        error::Error,
        payments::record::{ActorColumns, Justification, LeaseToken, Owed, Recorded},
        run::Statement as _,
    },
    domain::{
        attempt::{Answer, AttemptKind},
        id::{AttemptId, FollowUpId, MerchantId, PaymentId, RefundId},
        refunds::refund::{PendingReason, Refund, RefundFailure, RefundState},
        transition::Actor,
    },
    failpoint::failpoint,
};

/// A state change that [`Refund::apply`] computed.
#[derive(Debug)]
pub struct RefundChange<'a> {
    /// The refund before; its version guards the write.
    pub before: &'a Refund,
    /// The refund after.
    pub after: &'a Refund,
    /// The event's name.
    pub event: &'static str,
    /// Whether the event says that Alipay accepted the refund, and not when.
    pub acceptance_is_estimated: bool,
    /// From when on a question about it is owed besides the plan; it keeps the follow-up of what is settled.
    pub question_at: Option<DateTime<Utc>>,
    /// The replica's clock.
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
    /// Whose it is.
    pub merchant_id: MerchantId,
    /// Which refund.
    pub refund_id: RefundId,
    /// Of which payment.
    pub payment_id: PaymentId,
    /// Who caused it.
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
    /// The call's id.
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
            r#"with of_payment as materialized (
                -- Before the refund's own, as whoever asks about both takes them.
                select from follow_up
                where merchant_id = $1 and kind = 'payment' and subject_id = $18
                    and $5::bigint is not null
                for update
            ), held as materialized (
                select follow_up_id,
                    coalesce(question_due_at <> $31, question_due_at is not null) as is_owed,
                    question_due_at is distinct from $42 as is_new
                from follow_up
                where merchant_id = $1 and kind = 'refund' and subject_id = $2
                    and ($3::uuid is null or (follow_up_id = $3 and fence = $4))
                    and (select count(*) from of_payment) >= 0
                for update
            ), changed as (
                update refund
                set version = version + 1, updated_at = db_now(), status = $7,
                    status_reason = $8, failure_code = $9, failure_message = $10,
                    refusal_code = $11, refusal_message = $12, unknown_code = $39,
                    unknown_code_submits = $40,
                    -- Without Alipay's word on it, a refund is accepted when its answer is recorded.
                    accepted_at = case
                        when $34 and accepted_at is null then db_now()
                        else $13
                    end,
                    succeeded_at = case
                        when $7 = status then succeeded_at
                        when $7 = 'succeeded' then db_now()
                        when $7 = 'failed' then succeeded_at
                    end,
                    finalized_at = case
                        when $7 not in ('succeeded', 'failed') then null
                        when $7 = status then finalized_at
                        else db_now()
                    end,
                    not_found = coalesce($14, not_found), decided_by_operator = $37,
                    failed_late = $44,
                    -- What moves the books settles what was said against them.
                    contradicted_at = case when $38 then null else contradicted_at end
                where merchant_id = $1 and refund_id = $2 and version = $5 and status = $6
                    -- What an answer means was decided in knowledge of every request that was sent.
                    and submits = $33
                    and (select count(*) from held) >= case when $3::uuid is null then 0 else 1 end
                returning version, updated_at, contradicted_at
            ), explained as (
                update contradiction
                set settled_at = db_now(),
                    settled_by = case when $23::text is null then 'answer' else 'person' end
                where $38 and merchant_id = $1 and payment_id = $18 and refund_id = $2
                    and settled_at is null and exists (select from changed)
                returning returned_minor
            ), noted as (
                update refund
                set not_found = $14
                where merchant_id = $1 and refund_id = $2 and $5::bigint is null
                    and not_found <> $14
                    and (select count(*) from held) >= case when $3::uuid is null then 0 else 1 end
            ), recorded as (
                insert into refund_transition (merchant_id, refund_id, version, payment_id, event,
                    from_status, from_status_reason, to_status, to_status_reason, api_key_id,
                    follow_up_id, notification_id, attempt_id, gateway_at, reason, ticket,
                    statement_file_id, statement_line)
                select $1, $2, changed.version, $18, $19, $6, $20, $7, $8, $15, $16, $17, $21, $22,
                    $23, $24, $35, $36
                from changed
            ), booked as (
                update payment
                set refund_reserved_minor = refund_reserved_minor + $25::bigint,
                    refunded_minor = refunded_minor + $26::bigint, version = version + 1,
                    updated_at = db_now(),
                    proven_returned_minor = proven_returned_minor
                        - (select coalesce(sum(returned_minor), 0)::bigint from explained)
                where merchant_id = $1 and payment_id = $18
                    and ($25::bigint <> 0 or $26::bigint <> 0 or $38)
                    and exists (select from changed)
                returning version, status, status_reason, contradicted_at
            ), asked as (
                -- What was said of the payment counts for something else now.
                insert into follow_up as planned (merchant_id, follow_up_id, kind, subject_id,
                    due_at, question_due_at)
                select $1, $45, 'payment', $18, db_now(), db_now()
                from booked
                where $46 or contradicted_at is not null
                on conflict (merchant_id, kind, subject_id) do update
                    set due_at = least(planned.due_at, excluded.due_at),
                        question_due_at = excluded.question_due_at, parked_at = null,
                        abandoned_reason = null, abandoned_by = null, error_count = 0
            ), book_recorded as (
                insert into payment_transition (merchant_id, payment_id, version, event,
                    from_status, from_status_reason, to_status, to_status_reason, api_key_id,
                    follow_up_id, notification_id, attempt_id, gateway_at, reason, ticket,
                    statement_file_id, statement_line)
                select $1, $18, booked.version, $19, booked.status, booked.status_reason,
                    booked.status, booked.status_reason, $15, $16, $17, $21, $22, $23, $24, $35, $36
                from booked
            ), audited as (
                insert into audit_log (merchant_id, action, subject_kind, subject_id, by, before,
                    after)
                select $1, 'refund.resolved', 'refund', public_id('ref_', $2),
                    audit_by_api_key($15)
                        || jsonb_build_object('reason', $23::text, 'ticket', $24::text),
                    jsonb_build_object('status', $6::text, 'status_reason', $20::text),
                    jsonb_build_object('status', $7::text, 'status_reason', $8::text)
                from changed
                where $23 is not null
            ), answered as (
                update attempt
                set answered_at = db_now(), answer_class = $27, answer_code = $28,
                    answer_detail = $29, duration_ms = $30
                where merchant_id = $1 and attempt_id = $21 and answered_at is null
            ), at_rest as materialized (
                -- What was settled before, and had nothing but its question owed.
                select from refund
                where $5::bigint is null and $31::timestamptz is not null
                    and merchant_id = $1 and refund_id = $2
                    and status in ('succeeded', 'failed') and contradicted_at is null
                    and exists (select from held where not is_owed)
                for no key update
            ), settled as (
                delete from follow_up
                where merchant_id = $1 and $43::timestamptz is null
                    and follow_up_id in (select follow_up_id from held where not is_owed)
                    and (exists (select from at_rest)
                        or ($7 in ('succeeded', 'failed')
                            and exists (select from changed where contradicted_at is null)))
            ), asked_again as (
                insert into follow_up (merchant_id, follow_up_id, kind, subject_id, due_at,
                    question_due_at)
                select $1, $47, 'refund', $2, $43, $43 from changed
                where $43::timestamptz is not null and not exists (select from held)
            ), rescheduled as (
                update follow_up
                set due_at = case
                        when held.is_new then least($32, due_at, question_due_at)
                        else coalesce($43, $32, due_at)
                    end,
                    question_due_at = case when held.is_owed then question_due_at else $43 end,
                    error_count = case when $32 is null then error_count else 0 end,
                    last_error = case when $32 is null then last_error end,
                    parked_at = case
                        when $3::uuid is null and $43::timestamptz is null then parked_at
                    end,
                    abandoned_reason = case
                        when $43::timestamptz is null then abandoned_reason
                    end,
                    abandoned_by = case when $43::timestamptz is null then abandoned_by end,
                    access_refusals = case
                        when $41::boolean then 0
                        when not $41::boolean then access_refusals + 1
                        else access_refusals
                    end,
                    -- Another writer leaves a worker's lease alone.
                    leased_until = case when $3::uuid is null then leased_until end,
                    worker = case when $3::uuid is null then worker end
                from held
                where follow_up.merchant_id = $1 and follow_up.follow_up_id = held.follow_up_id
                    and ($32::timestamptz is not null or $31::timestamptz is not null
                        or $43::timestamptz is not null)
                    and not exists (select from at_rest)
                    and not (coalesce($7, '') in ('succeeded', 'failed') and not held.is_owed
                        and $43::timestamptz is null
                        and exists (select from changed where contradicted_at is null))
                    and ($5::bigint is null or exists (select from changed))
            )
            select (select count(*) from held) as "held!",
                (select updated_at from changed) as changed_at,
                db_now() as "now!""#,
            record.merchant_id.uuid(),
            record.refund_id.uuid(),
            record.lease_token.map(|lease_token| lease_token.follow_up_id.uuid()),
            record.lease_token.map(|lease_token| lease_token.fence),
            change.map(|change| change.before.version),
            change.map(|change| change.before.state.status()),
            after.map(|after| after.state.status()),
            after
                .and_then(|after| after.state.status_reason())
                .map(PendingReason::as_str),
            failure.map(|failure| failure.code.as_str()),
            failure.map(|failure| failure.message.as_str()),
            refusal(after).map(|refusal| refusal.code.as_str()),
            refusal(after).map(|refusal| refusal.message.as_str()),
            after.and_then(|after| after.accepted_at),
            record.not_found,
            actor.api_key_id,
            actor.follow_up_id,
            actor.notification_id,
            record.payment_id.uuid(),
            change.map(|change| change.event),
            change
                .and_then(|change| change.before.state.status_reason())
                .map(PendingReason::as_str),
            attempt_id.map(AttemptId::uuid),
            change.map(|change| change.gateway_at),
            justification.map(|justification| justification.reason.as_str()),
            justification.map(|justification| justification.ticket.as_str()),
            books.reserved_minor,
            books.refunded_minor,
            answer.map(|answer| answer.class.as_str()),
            answer.and_then(|answer| answer.code.as_deref()),
            answer.and_then(|answer| answer.detail.as_deref()),
            answer.map(|answer| answer.duration_ms),
            record.owed.answered(),
            record.next_check_at,
            change.map(|change| change.before.poll.submits),
            change.is_some_and(|change| change.acceptance_is_estimated),
            actor.statement_file_id,
            actor.statement_line,
            after.is_some_and(|after| after.decided_by_operator),
            change.is_some_and(RefundChange::settles_contradictions),
            unknown_code.map(|unknown| unknown.code.as_str()),
            unknown_code.map(|unknown| unknown.submits),
            answer.and_then(|answer| answer.class.lets_the_account_in()),
            record.question_due_at,
            change.and_then(|change| change.question_at),
            after.is_some_and(|after| after.failed_late),
            FollowUpId::mint().uuid(),
            change.is_some_and(RefundChange::asks_about_payment),
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
