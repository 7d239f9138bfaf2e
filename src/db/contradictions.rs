//! What Alipay said against the books: opened, settled, read.
//!
//! Each writer locks as every other: the follow-up first, then the refund, then the payment.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{
    Db,
    actor::ActorColumns,
    error::Error,
    reconciliation::{Candidate, CandidateRow},
    run::Statement as _,
};
use crate::{
    domain::{
        contradiction::{Claim, Contradiction, SettledBy, Source},
        id::{AttemptId, ContradictionId, FollowUpId},
        payments::payment::Payment,
        refunds::refund::Refund,
        transition::{Actor, FileLine, Justification},
    },
    failpoint::failpoint,
};

/// A contradiction about to be kept.
#[derive(Debug)]
pub struct NewContradiction<'a> {
    pub claim: Claim,
    /// What tells claims of one kind apart; empty where there is one only.
    pub reference: &'a str,
    /// How much is proven to be back, in minor units, and in no refund of the books.
    pub returned_minor: i64,
    pub actor: Actor,
    /// The call whose answer said it.
    pub attempt_id: Option<AttemptId>,
    pub gateway_at: DateTime<Utc>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// It is kept, and a question is due now.
    New,
    /// The same stands already.
    Known,
    /// Its subject has changed since it was read: read it again and decide again.
    Stale,
}

/// What settles the contradictions of a payment or a refund whose state stays as it is.
#[derive(Debug)]
pub struct Settlement<'a> {
    pub actor: Actor,
    /// The call whose answer agrees with the books.
    pub attempt_id: Option<AttemptId>,
    /// What a person gave as grounds; `None` where an answer of Alipay settles it. A person settles all
    /// there is, an answer only what it speaks of.
    pub justification: Option<&'a Justification>,
    /// When Alipay is asked again about what a person settles; `None` where an answer does.
    pub question_at: Option<DateTime<Utc>>,
    pub gateway_at: DateTime<Utc>,
}

impl Settlement<'_> {
    const fn settled_by(&self) -> &'static str {
        match self.justification {
            Some(_) => SettledBy::Person.as_str(),
            None => SettledBy::Answer.as_str(),
        }
    }
}

impl Db {
    /// Keeps what contradicts a payment, guarded by the version that was read, and plans a question.
    #[tracing::instrument(name = "db.contradiction.open", skip_all, fields(payment.id = %payment.id, otel.kind = "client", db.system = "postgresql"))]
    pub async fn contradict_payment(
        &self,
        payment: &Payment,
        new: &NewContradiction<'_>,
    ) -> Result<Opened, Error> {
        let actor = ActorColumns::of(new.actor);
        failpoint!(self.failpoints, "db.contradict.before");
        let row = sqlx::query!(
            r#"with input as not materialized (
                select $1::uuid as merchant_id, $2::uuid as payment_id,
                    $3::bigint as known_version,
                    -- What was said, where, and to whom.
                    $4::uuid as contradiction_id, $5::text as claim, $6::text as reference,
                    $7::bigint as returned_minor, $8::uuid as api_key_id,
                    $9::uuid as follow_up_id, $10::uuid as attempt_id,
                    $11::uuid as notification_id, $12::uuid as statement_file_id,
                    $13::bigint as statement_line, $14::timestamptz as gateway_at,
                    $15::uuid as new_follow_up_id
            ), held as materialized (
                select follow_up.follow_up_id
                from input
                join follow_up on follow_up.merchant_id = input.merchant_id
                    and follow_up.kind = 'payment' and follow_up.subject_id = input.payment_id
                for update of follow_up
            ), subject as materialized (
                select payment.status, payment.status_reason
                from input
                join payment on payment.merchant_id = input.merchant_id
                    and payment.payment_id = input.payment_id and payment.version = input.known_version
                where (select count(*) from held) >= 0
                for update of payment
            ), opened as (
                insert into contradiction (merchant_id, contradiction_id, payment_id, claim,
                    reference, returned_minor, books_status, books_status_reason, attempt_id,
                    notification_id, statement_file_id, statement_line)
                select merchant_id, contradiction_id, payment_id, claim, reference,
                    returned_minor, status, status_reason,
                    case when notification_id is null and statement_file_id is null
                        then attempt_id end,
                    notification_id, statement_file_id, statement_line
                from input, subject
                on conflict do nothing
                returning contradiction_id
            ), changed as (
                update payment
                set version = version + 1, updated_at = db_now(), contradicted_at = db_now(),
                    proven_returned_minor = proven_returned_minor + input.returned_minor
                from input
                where payment.merchant_id = input.merchant_id
                    and payment.payment_id = input.payment_id and exists (select from opened)
                returning version, status, status_reason
            ), recorded as (
                insert into payment_transition (merchant_id, payment_id, version, event,
                    from_status, from_status_reason, to_status, to_status_reason, api_key_id,
                    follow_up_id, attempt_id, notification_id, gateway_at, statement_file_id,
                    statement_line)
                select merchant_id, payment_id, version, 'contradicted', status, status_reason,
                    status, status_reason, api_key_id, follow_up_id, attempt_id, notification_id,
                    gateway_at, statement_file_id, statement_line
                from input, changed
            ), planned as (
                insert into follow_up (merchant_id, follow_up_id, kind, subject_id, due_at)
                select merchant_id, new_follow_up_id, 'payment', payment_id, db_now() from input, changed
                on conflict (merchant_id, kind, subject_id) do update
                    set due_at = least(follow_up.due_at, excluded.due_at), parked_at = null,
                        abandoned_reason = null, abandoned_by = null, error_count = 0
            )
            select (select count(*) from subject) as "found!",
                (select count(*) from opened) as "opened!""#,
            payment.merchant_id.uuid(),
            payment.id.uuid(),
            payment.version,
            ContradictionId::mint().uuid(),
            new.claim.as_str(),
            new.reference,
            new.returned_minor,
            actor.api_key_id,
            actor.follow_up_id,
            new.attempt_id.map(AttemptId::uuid),
            actor.notification_id,
            actor.statement_file_id,
            actor.statement_line,
            new.gateway_at,
            FollowUpId::mint().uuid(),
        )
        .one(&self.writes)
        .await?;
        failpoint!(self.failpoints, "db.contradict.after");
        Ok(opened(row.found, row.opened))
    }

    /// The same for a refund: what is proven to be back is booked on its payment.
    #[expect(clippy::too_many_lines, reason = "one statement and its parameters")]
    #[tracing::instrument(name = "db.contradiction.open_refund", skip_all, fields(refund.id = %refund.id, otel.kind = "client", db.system = "postgresql"))]
    pub async fn contradict_refund(
        &self,
        refund: &Refund,
        new: &NewContradiction<'_>,
    ) -> Result<Opened, Error> {
        let actor = ActorColumns::of(new.actor);
        failpoint!(self.failpoints, "db.contradict.before");
        let row = sqlx::query!(
            r#"with input as not materialized (
                select $1::uuid as merchant_id, $2::uuid as payment_id, $3::uuid as refund_id,
                    $4::bigint as known_version,
                    -- What was said, where, and to whom.
                    $5::uuid as contradiction_id, $6::text as claim, $7::text as reference,
                    $8::bigint as returned_minor, $9::uuid as api_key_id,
                    $10::uuid as follow_up_id, $11::uuid as attempt_id,
                    $12::uuid as notification_id, $13::uuid as statement_file_id,
                    $14::bigint as statement_line, $15::timestamptz as gateway_at,
                    $16::uuid as new_follow_up_id
            ), held as materialized (
                select follow_up.follow_up_id
                from input
                join follow_up on follow_up.merchant_id = input.merchant_id
                    and follow_up.kind = 'refund' and follow_up.subject_id = input.refund_id
                for update of follow_up
            ), subject as materialized (
                select refund.status, refund.status_reason
                from input
                join refund on refund.merchant_id = input.merchant_id
                    and refund.refund_id = input.refund_id and refund.version = input.known_version
                where (select count(*) from held) >= 0
                for update of refund
            ), opened as (
                insert into contradiction (merchant_id, contradiction_id, payment_id, refund_id, claim,
                    reference, returned_minor, books_status, books_status_reason, attempt_id,
                    notification_id, statement_file_id, statement_line)
                select merchant_id, contradiction_id, payment_id, refund_id, claim, reference,
                    returned_minor, status, status_reason,
                    case when notification_id is null and statement_file_id is null
                        then attempt_id end,
                    notification_id, statement_file_id, statement_line
                from input, subject
                on conflict do nothing
                returning contradiction_id
            ), changed as (
                update refund
                set version = version + 1, updated_at = db_now(), contradicted_at = db_now()
                from input
                where refund.merchant_id = input.merchant_id
                    and refund.refund_id = input.refund_id and exists (select from opened)
                returning version, status, status_reason
            ), recorded as (
                insert into refund_transition (merchant_id, refund_id, version, payment_id, event,
                    from_status, from_status_reason, to_status, to_status_reason, api_key_id,
                    follow_up_id, attempt_id, notification_id, gateway_at, statement_file_id,
                    statement_line)
                select merchant_id, refund_id, version, payment_id, 'refund_contradicted', status,
                    status_reason, status, status_reason, api_key_id, follow_up_id, attempt_id,
                    notification_id, gateway_at, statement_file_id, statement_line
                from input, changed
            ), booked as (
                update payment
                set version = payment.version + 1, updated_at = db_now(),
                    proven_returned_minor = proven_returned_minor + input.returned_minor
                from input, changed
                where payment.merchant_id = input.merchant_id
                    and payment.payment_id = input.payment_id
                returning payment.version, payment.status, payment.status_reason
            ), book_recorded as (
                insert into payment_transition (merchant_id, payment_id, version, event,
                    from_status, from_status_reason, to_status, to_status_reason, api_key_id,
                    follow_up_id, attempt_id, notification_id, gateway_at, statement_file_id,
                    statement_line)
                select merchant_id, payment_id, version, 'refund_contradicted', status,
                    status_reason, status, status_reason, api_key_id, follow_up_id, attempt_id,
                    notification_id, gateway_at, statement_file_id, statement_line
                from input, booked
            ), planned as (
                insert into follow_up (merchant_id, follow_up_id, kind, subject_id, due_at)
                select merchant_id, new_follow_up_id, 'refund', refund_id, db_now() from input, changed
                on conflict (merchant_id, kind, subject_id) do update
                    set due_at = least(follow_up.due_at, excluded.due_at), parked_at = null,
                        abandoned_reason = null, abandoned_by = null, error_count = 0
            )
            select (select count(*) from subject) as "found!",
                (select count(*) from opened) as "opened!""#,
            refund.merchant_id.uuid(),
            refund.payment_id.uuid(),
            refund.id.uuid(),
            refund.version,
            ContradictionId::mint().uuid(),
            new.claim.as_str(),
            new.reference,
            new.returned_minor,
            actor.api_key_id,
            actor.follow_up_id,
            new.attempt_id.map(AttemptId::uuid),
            actor.notification_id,
            actor.statement_file_id,
            actor.statement_line,
            new.gateway_at,
            FollowUpId::mint().uuid(),
        )
        .one(&self.writes)
        .await?;
        failpoint!(self.failpoints, "db.contradict.after");
        Ok(opened(row.found, row.opened))
    }

    /// Settles the contradictions of a payment whose books stand. `false` where none was open, or the
    /// payment has changed since it was read.
    #[tracing::instrument(name = "db.contradiction.settle", skip_all, fields(payment.id = %payment.id, otel.kind = "client", db.system = "postgresql"))]
    pub async fn settle_payment_contradictions(
        &self,
        payment: &Payment,
        settlement: &Settlement<'_>,
    ) -> Result<bool, Error> {
        let actor = ActorColumns::of(settlement.actor);
        failpoint!(self.failpoints, "db.settle_contradiction.before");
        let row = sqlx::query!(
            r#"with held as materialized (
                select follow_up_id from follow_up
                where merchant_id = $1 and kind = 'payment' and subject_id = $2
                for update
            ), subject as materialized (
                select amount_minor - refunded_minor as left_minor from payment
                where merchant_id = $1 and payment_id = $2 and version = $3
                    and (select count(*) from held) >= 0
                for update
            ), told as materialized (
                select contradiction_id, returned_minor,
                    -- What an answer about the payment does not speak of. That nothing can be refunded is no
                    -- contradiction any more where nothing is left.
                    $4 = 'answer' and (claim = 'refund_made_in_portal'
                        or claim = 'not_refundable' and exists (
                            select from subject where left_minor > 0)) as stays
                from contradiction
                where merchant_id = $1 and payment_id = $2 and refund_id is null
                    and settled_at is null
            ), settled as (
                update contradiction
                set settled_at = db_now(), settled_by = $4
                where merchant_id = $1
                    and contradiction_id in (select contradiction_id from told where not stays)
                    and exists (select from subject)
                returning contradiction.returned_minor
            ), changed as (
                update payment
                set version = version + 1, updated_at = db_now(),
                    contradicted_at = case
                        when exists (select from told where stays) then contradicted_at
                    end,
                    proven_returned_minor = proven_returned_minor
                        - (select sum(returned_minor)::bigint from settled)
                where merchant_id = $1 and payment_id = $2 and exists (select from settled)
                returning version, status, status_reason
            ), recorded as (
                insert into payment_transition (merchant_id, payment_id, version, event,
                    from_status, from_status_reason, to_status, to_status_reason, api_key_id,
                    follow_up_id, attempt_id, gateway_at, reason, ticket)
                select $1, $2, version, 'contradiction_settled', status, status_reason, status,
                    status_reason, $5, $6, $7, $8, $9, $10
                from changed
            ), audited as (
                insert into audit_log (merchant_id, action, subject_kind, subject_id, by, before,
                    after)
                select $1, 'payment.resolved', 'payment', public_id('pay_', $2),
                    audit_by_api_key($5)
                        || jsonb_build_object('reason', $9::text, 'ticket', $10::text),
                    jsonb_build_object('status', status, 'status_reason', status_reason),
                    jsonb_build_object('status', status, 'status_reason', status_reason)
                from changed
                where $9 is not null
            ), due as (
                update follow_up
                set due_at = coalesce($11, db_now()),
                    question_due_at = coalesce($11, question_due_at),
                    parked_at = case when $11::timestamptz is null then parked_at end,
                    abandoned_reason = case when $11::timestamptz is null then abandoned_reason end,
                    abandoned_by = case when $11::timestamptz is null then abandoned_by end
                where merchant_id = $1 and follow_up_id in (select follow_up_id from held)
                    and exists (select from changed)
            ), asked_again as (
                insert into follow_up (merchant_id, follow_up_id, kind, subject_id, due_at,
                    question_due_at)
                select $1, $12, 'payment', $2, $11, $11 from changed
                where $11::timestamptz is not null and not exists (select from held)
            )
            select (select count(*) from changed) as "changed!""#,
            payment.merchant_id.uuid(),
            payment.id.uuid(),
            payment.version,
            settlement.settled_by(),
            actor.api_key_id,
            actor.follow_up_id,
            settlement.attempt_id.map(AttemptId::uuid),
            settlement.gateway_at,
            settlement.justification.map(|justification| justification.reason.as_str()),
            settlement.justification.map(|justification| justification.ticket.as_str()),
            settlement.question_at,
            FollowUpId::mint().uuid(),
        )
        .one(&self.writes)
        .await?;
        failpoint!(self.failpoints, "db.settle_contradiction.after");
        Ok(row.changed > 0)
    }

    /// The same for a refund: what was kept back for it on its payment is free again.
    #[expect(clippy::too_many_lines, reason = "one statement and its parameters")]
    #[tracing::instrument(name = "db.contradiction.settle_refund", skip_all, fields(refund.id = %refund.id, otel.kind = "client", db.system = "postgresql"))]
    pub async fn settle_refund_contradictions(
        &self,
        refund: &Refund,
        settlement: &Settlement<'_>,
    ) -> Result<bool, Error> {
        let actor = ActorColumns::of(settlement.actor);
        failpoint!(self.failpoints, "db.settle_contradiction.before");
        let row = sqlx::query!(
            r#"with input as not materialized (
                select $1::uuid as merchant_id, $2::uuid as payment_id, $3::uuid as refund_id,
                    $4::bigint as known_version,
                    -- By what, and who says so.
                    $5::text as settled_by, $6::uuid as api_key_id, $7::uuid as follow_up_id,
                    $8::uuid as attempt_id, $9::uuid as statement_file_id,
                    $10::bigint as statement_line, $11::text as reason, $12::text as ticket,
                    $13::timestamptz as gateway_at,
                    -- When Alipay is asked again about what a person settles.
                    $14::timestamptz as question_at, $15::uuid as new_follow_up_id
            ), held as materialized (
                select follow_up.follow_up_id
                from input
                join follow_up on follow_up.merchant_id = input.merchant_id
                    and follow_up.kind = 'refund' and follow_up.subject_id = input.refund_id
                for update of follow_up
            ), subject as materialized (
                select refund.refund_id
                from input
                join refund on refund.merchant_id = input.merchant_id
                    and refund.refund_id = input.refund_id
                    and refund.version = input.known_version
                where (select count(*) from held) >= 0
                for update of refund
            ), settled as (
                update contradiction
                set settled_at = db_now(), settled_by = input.settled_by
                from input
                where contradiction.merchant_id = input.merchant_id
                    and contradiction.payment_id = input.payment_id
                    and contradiction.refund_id = input.refund_id
                    and settled_at is null and exists (select from subject)
                returning returned_minor
            ), changed as (
                update refund
                set version = version + 1, updated_at = db_now(), contradicted_at = null,
                    failed_late = failed_late and input.settled_by <> 'person'
                from input
                where refund.merchant_id = input.merchant_id
                    and refund.refund_id = input.refund_id and exists (select from settled)
                returning version, status, status_reason
            ), recorded as (
                insert into refund_transition (merchant_id, refund_id, version, payment_id, event,
                    from_status, from_status_reason, to_status, to_status_reason, api_key_id,
                    follow_up_id, attempt_id, gateway_at, reason, ticket, statement_file_id,
                    statement_line)
                select merchant_id, refund_id, version, payment_id,
                    'refund_contradiction_settled', status, status_reason, status, status_reason,
                    api_key_id, follow_up_id, attempt_id, gateway_at, reason, ticket,
                    statement_file_id, statement_line
                from input, changed
            ), booked as (
                update payment
                set version = payment.version + 1, updated_at = db_now(),
                    proven_returned_minor = proven_returned_minor
                        - (select sum(returned_minor)::bigint from settled)
                from input, changed
                where payment.merchant_id = input.merchant_id
                    and payment.payment_id = input.payment_id
                returning payment.version, payment.status, payment.status_reason
            ), book_recorded as (
                insert into payment_transition (merchant_id, payment_id, version, event,
                    from_status, from_status_reason, to_status, to_status_reason, api_key_id,
                    follow_up_id, attempt_id, gateway_at, reason, ticket, statement_file_id,
                    statement_line)
                select merchant_id, payment_id, version, 'refund_contradiction_settled', status,
                    status_reason, status, status_reason, api_key_id, follow_up_id, attempt_id,
                    gateway_at, reason, ticket, statement_file_id, statement_line
                from input, booked
            ), audited as (
                insert into audit_log (merchant_id, action, subject_kind, subject_id, by, before,
                    after)
                select merchant_id, 'refund.resolved', 'refund', public_id('ref_', refund_id),
                    audit_by_api_key(api_key_id)
                        || jsonb_build_object('reason', reason, 'ticket', ticket),
                    jsonb_build_object('status', status, 'status_reason', status_reason),
                    jsonb_build_object('status', status, 'status_reason', status_reason)
                from input, changed
                where reason is not null
            ), due as (
                update follow_up
                set due_at = coalesce(input.question_at, db_now()),
                    question_due_at = coalesce(input.question_at, question_due_at),
                    parked_at = case when input.question_at is null then parked_at end,
                    abandoned_reason = case
                        when input.question_at is null then abandoned_reason
                    end,
                    abandoned_by = case when input.question_at is null then abandoned_by end
                from input
                where follow_up.merchant_id = input.merchant_id
                    and follow_up.follow_up_id in (select follow_up_id from held)
                    and exists (select from changed)
            ), asked_again as (
                insert into follow_up (merchant_id, follow_up_id, kind, subject_id, due_at,
                    question_due_at)
                select merchant_id, new_follow_up_id, 'refund', refund_id, question_at, question_at
                from input, changed
                where question_at is not null and not exists (select from held)
            )
            select (select count(*) from changed) as "changed!""#,
            refund.merchant_id.uuid(),
            refund.payment_id.uuid(),
            refund.id.uuid(),
            refund.version,
            settlement.settled_by(),
            actor.api_key_id,
            actor.follow_up_id,
            settlement.attempt_id.map(AttemptId::uuid),
            actor.statement_file_id,
            actor.statement_line,
            settlement
                .justification
                .map(|justification| justification.reason.as_str()),
            settlement
                .justification
                .map(|justification| justification.ticket.as_str()),
            settlement.gateway_at,
            settlement.question_at,
            FollowUpId::mint().uuid(),
        )
        .one(&self.writes)
        .await?;
        failpoint!(self.failpoints, "db.settle_contradiction.after");
        Ok(row.changed > 0)
    }

    /// The open contradictions of payments and refunds, oldest first.
    pub(super) async fn contradictions_of(
        &self,
        merchant_ids: &[Uuid],
        subject_ids: &[Uuid],
    ) -> Result<Vec<Contradiction>, Error> {
        let rows = sqlx::query!(
            r#"select contradiction.merchant_id, contradiction_id, payment_id, refund_id, claim,
                reference, returned_minor, books_status, books_status_reason, attempt_id,
                notification_id, statement_file_id, statement_line, opened_at
            from unnest($1::uuid[], $2::uuid[]) as wanted (merchant_id, subject_id)
            join contradiction on contradiction.merchant_id = wanted.merchant_id
                and coalesce(refund_id, payment_id) = wanted.subject_id
            where settled_at is null
            order by contradiction_id"#,
            merchant_ids,
            subject_ids,
        )
        .all(&self.reads)
        .await?;
        rows.into_iter()
            .map(|row| {
                let id = ContradictionId::from(row.contradiction_id);
                let inconsistent = |column| Error::Inconsistent {
                    table: "contradiction",
                    column,
                    id: id.to_string(),
                };
                let file = row.statement_file_id.zip(row.statement_line);
                let source = file
                    .map(|(file_id, line)| {
                        Source::File(FileLine {
                            file_id: file_id.into(),
                            line,
                        })
                    })
                    .or_else(|| {
                        let id = row.notification_id?;
                        Some(Source::Notification(id.into()))
                    })
                    .or_else(|| Some(Source::Attempt(row.attempt_id?.into())))
                    .ok_or_else(|| inconsistent("attempt_id"))?;
                Ok(Contradiction {
                    id,
                    merchant_id: row.merchant_id.into(),
                    payment_id: row.payment_id.into(),
                    refund_id: row.refund_id.map(Into::into),
                    claim: Claim::from_name(&row.claim).ok_or_else(|| inconsistent("claim"))?,
                    reference: row.reference,
                    returned_minor: row.returned_minor,
                    books_status: row.books_status,
                    books_status_reason: row.books_status_reason,
                    source,
                    opened_at: row.opened_at,
                })
            })
            .collect()
    }

    /// The rows of refunds of the portal that wait for a place in the books of a payment.
    #[tracing::instrument(name = "db.contradiction.portal_refunds", skip_all, fields(payment.id = %payment.id, otel.kind = "client", db.system = "postgresql"))]
    pub async fn waiting_portal_refunds(
        &self,
        payment: &Payment,
    ) -> Result<Vec<(Candidate, FileLine)>, Error> {
        let rows = sqlx::query_as!(
            CandidateRow,
            r#"select r.file_id, r.line, r.row_type, r.partner_trans_id, r.alipay_trans_id,
                r.amount_minor, r.fee_minor, r.currency, r.completed_at, r.net_minor, r.settled_at,
                r.remark, r.wallet, contradiction.merchant_id, contradiction.payment_id,
                null::uuid as refund_id, false as "canceled!",
                false as "other_merchant!", false as "corrects_wallet!"
            from contradiction
            join statement_row as r on r.partner = $3
                and r.file_id = contradiction.statement_file_id
                and r.line = contradiction.statement_line
            where contradiction.merchant_id = $1 and contradiction.payment_id = $2
                and contradiction.refund_id is null and contradiction.settled_at is null
                and contradiction.claim = 'refund_made_in_portal'
            order by contradiction.contradiction_id"#,
            payment.merchant_id.uuid(),
            payment.id.uuid(),
            payment.partner,
        )
        .all(&self.reads)
        .await?;
        rows.into_iter()
            .map(|row| {
                let line = FileLine {
                    file_id: row.file_id.into(),
                    line: row.line,
                };
                Ok((Candidate::try_from(row)?, line))
            })
            .collect()
    }
}

const fn opened(found: i64, opened: i64) -> Opened {
    match (found, opened) {
        (0, _) => Opened::Stale,
        (_, 0) => Opened::Known,
        _ => Opened::New,
    }
}
