//! Asking about a registration, and writing what was learnt: one guarded statement each
//! (`docs/invariants.md` R3, R10, C7).

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    db::{Db, error::Error, recorded::Recorded, run::Statement as _},
    domain::{
        attempt::{Answer, AttemptKind},
        follow_ups::lease::LeaseToken,
        id::{AttemptId, FollowUpId},
        registrations::{Registration, RegistrationActor},
    },
};

/// A question about to be asked about a registration, or the request to be sent again.
#[derive(Debug)]
pub struct RegistrationQuestion<'a> {
    /// The registration as it was read; its version guards the statement.
    pub registration: &'a Registration,
    /// The claim under which a worker asks; `None` for a caller's own request.
    pub lease_token: Option<LeaseToken>,
    pub attempt_id: AttemptId,
    /// What is asked: `maintain_store` or `store_status`.
    pub kind: AttemptKind,
    /// How long the call may take, in milliseconds; the lease must outlast it.
    pub deadline_ms: i64,
}

/// What became of a [`RegistrationQuestion`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Committed: ask.
    Begun {
        /// When, by the database's clock.
        at: DateTime<Utc>,
        /// People, sealed; absent where they are no longer kept.
        sealed: Option<Vec<u8>>,
    },
    /// The registration has changed since it was read.
    Stale,
    /// The claim has passed to another worker: stop.
    LeaseLost,
}

/// One thing to write about a registration.
#[derive(Debug)]
pub struct RegistrationRecord<'a> {
    /// The registration before; its version and what was sent guard the write.
    pub before: &'a Registration,
    /// The registration after, and the event's name; `None` where the update changes nothing.
    pub change: Option<(&'a Registration, &'static str)>,
    pub actor: RegistrationActor,
    /// The upstream call that was answered.
    pub answered: Option<(AttemptId, &'a Answer)>,
    /// The claim under which a worker writes; `None` for any other writer.
    pub lease_token: Option<LeaseToken>,
    /// When the follow-up asks next; `None` leaves the schedule as it is. What is settled loses its
    /// follow-up whatever this says.
    pub next_check_at: Option<DateTime<Utc>>,
    pub gateway_at: DateTime<Utc>,
}

impl Db {
    /// Writes the intent to ask, before the call: the attempt and the plan's counters. Refused when the
    /// registration has changed since it was read, when a worker's claim is lost, or when its lease
    /// would not outlast the call.
    #[tracing::instrument(name = "db.registration_attempt.insert", skip_all, fields(registration.id = %question.registration.id, otel.kind = "client", db.system = "postgresql"))]
    pub async fn insert_registration_attempt(
        &self,
        question: &RegistrationQuestion<'_>,
    ) -> Result<Asked, Error> {
        let registration = question.registration;
        let row = sqlx::query!(
            r#"with held as materialized (
                select follow_up_id from follow_up
                where merchant_id = $1 and kind = 'registration' and subject_id = $2
                    and ($3::uuid is null
                        or (follow_up_id = $3 and fence = $4
                            and leased_until > db_now() + $5::bigint * interval '1 millisecond'))
                for update
            ), asked as (
                update store_registration
                set submits = submits + case when $6 = 'maintain_store' then 1 else 0 end,
                    last_submit_at = case
                        when $6 = 'maintain_store' then db_now()
                        else last_submit_at
                    end,
                    to_send = to_send and $6 <> 'maintain_store',
                    checks_done = checks_done + case when $6 = 'store_status' then 1 else 0 end,
                    last_check_at = case
                        when $6 = 'store_status' then db_now()
                        else last_check_at
                    end
                where merchant_id = $1 and registration_id = $2 and version = $7
                    and (select count(*) from held) >= case when $3::uuid is null then 0 else 1 end
                returning sealed
            ), attempted as (
                insert into store_registration_attempt (merchant_id, attempt_id, registration_id,
                    kind)
                select $1, $8, $2, $6 from asked
                returning sent_at
            ), counted as (
                update follow_up
                set queries = queries + case when $6 = 'store_status' then 1 else 0 end
                where merchant_id = $1 and follow_up_id in (select follow_up_id from held)
                    and exists (select from asked)
            )
            select (select count(*) from held) as "held!",
                (select sent_at from attempted) as sent_at,
                (select sealed from asked) as sealed"#,
            registration.merchant_id.uuid(),
            registration.id.uuid(),
            question
                .lease_token
                .map(|lease_token| lease_token.follow_up_id.uuid()),
            question.lease_token.map(|lease_token| lease_token.fence),
            question.deadline_ms,
            question.kind.as_str(),
            registration.version,
            question.attempt_id.uuid(),
        )
        .one(&self.writes)
        .await?;
        Ok(match row.sent_at {
            Some(at) => Asked::Begun {
                at,
                sealed: row.sealed,
            },
            None if question.lease_token.is_some() && row.held == 0 => Asked::LeaseLost,
            None => Asked::Stale,
        })
    }

    /// Records an answer and the change it makes. What has become settled forgets people.
    ///
    /// Every writer locks the follow-up first and the registration second.
    #[expect(
        clippy::too_many_lines,
        reason = "one statement, and its parameters one by one"
    )]
    #[tracing::instrument(name = "db.registration.record", skip_all, fields(registration.id = %record.before.id, otel.kind = "client", db.system = "postgresql"))]
    pub async fn record_registration(
        &self,
        record: &RegistrationRecord<'_>,
    ) -> Result<Recorded, Error> {
        let before = record.before;
        let (attempt_id, answer) = record.answered.unzip();
        let (after, event) = record.change.unzip();
        let rejection = after.and_then(|after| after.rejection.as_ref());
        let in_force = after.and_then(|after| after.in_force.as_ref());
        let submission = after.map(|after| &after.submission);
        let (api_key_id, follow_up_id) = actor_columns(record.actor);
        let row = sqlx::query!(
            r#"with input as not materialized (
                select $1::uuid as merchant_id, $2::uuid as registration_id,
                    -- Who writes, and on whose answer.
                    $3::uuid as held_follow_up_id, $4::bigint as fence, $5::uuid as api_key_id,
                    $6::uuid as follow_up_id, $7::uuid as attempt_id,
                    $8::text as answer_class, $9::text as answer_code,
                    $10::text as answer_detail, $11::integer as duration_ms,
                    -- The change, if there is one: what it was decided from, and what it leads to.
                    $12::text as event, $13::timestamptz as gateway_at,
                    $14::bigint as before_version, $15::text as before_status,
                    $16::integer as before_submits, $17::text as status, $18::text as reject_code,
                    $19::text as reject_reason, $20::timestamptz as accepted_at,
                    $21::boolean as after_earlier, $22::boolean as to_send,
                    $23::boolean as keeps_sealed, $24::text as in_force_merchant_name,
                    $25::text as in_force_store_name, $26::text as in_force_industry,
                    $27::timestamptz as approved_at, $28::text as store_status,
                    -- The schedule.
                    $29::timestamptz as next_check_at, $30::uuid as new_follow_up_id
            ), held as materialized (
                select follow_up.follow_up_id
                from input
                join follow_up on follow_up.merchant_id = input.merchant_id
                    and follow_up.kind = 'registration'
                    and follow_up.subject_id = input.registration_id
                where input.held_follow_up_id is null
                    or (follow_up.follow_up_id = input.held_follow_up_id
                        and follow_up.fence = input.fence)
                for update of follow_up
            ), changed as (
                update store_registration
                set version = version + 1, updated_at = db_now(), status = input.status,
                    reject_code = input.reject_code, reject_reason = input.reject_reason,
                    accepted_at = input.accepted_at, after_earlier = input.after_earlier,
                    to_send = input.to_send, sealed = case when input.keeps_sealed then sealed end,
                    in_force_merchant_name = input.in_force_merchant_name,
                    in_force_store_name = input.in_force_store_name,
                    in_force_industry = input.in_force_industry, approved_at = input.approved_at,
                    store_status = input.store_status
                from input
                where store_registration.merchant_id = input.merchant_id
                    and store_registration.registration_id = input.registration_id
                    and version = input.before_version and input.status is not null
                    -- What an answer means was decided in knowledge of all that was sent.
                    and submits = input.before_submits
                    and (select count(*) from held)
                        >= case when input.held_follow_up_id is null then 0 else 1 end
                returning version, updated_at, submission
            ), recorded as (
                insert into store_registration_transition (merchant_id, registration_id, version,
                    event, from_status, to_status, submission, api_key_id, follow_up_id, attempt_id,
                    gateway_at)
                select merchant_id, registration_id, version, event, before_status, status,
                    submission, api_key_id, follow_up_id, attempt_id, gateway_at
                from input, changed
            ), answered as (
                update store_registration_attempt as attempt
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
                    and input.status in ('approved', 'rejected') and exists (select from changed)
            ), rescheduled as (
                update follow_up
                set due_at = input.next_check_at, error_count = 0, last_error = null,
                    parked_at = case when input.held_follow_up_id is null then parked_at end,
                    -- Another writer leaves a worker's lease alone.
                    leased_until = case when input.held_follow_up_id is null then leased_until end,
                    worker = case when input.held_follow_up_id is null then worker end
                from input
                where follow_up.merchant_id = input.merchant_id
                    and follow_up.follow_up_id in (select follow_up_id from held)
                    and input.next_check_at is not null
                    and not (coalesce(input.status, '') in ('approved', 'rejected')
                        and exists (select from changed))
                    and (input.status is null or exists (select from changed))
            ), reopened as (
                -- What was settled and is under review again has lost its follow-up.
                insert into follow_up (merchant_id, follow_up_id, kind, subject_id, due_at)
                select merchant_id, new_follow_up_id, 'registration', registration_id,
                    coalesce(next_check_at, db_now())
                from input, changed
                where status not in ('approved', 'rejected') and not exists (select from held)
                on conflict (merchant_id, kind, subject_id) do nothing
            )
            select (select count(*) from held) as "held!",
                (select updated_at from changed) as changed_at,
                db_now() as "now!""#,
            before.merchant_id.uuid(),
            before.id.uuid(),
            record
                .lease_token
                .map(|lease_token| lease_token.follow_up_id.uuid()),
            record.lease_token.map(|lease_token| lease_token.fence),
            api_key_id,
            follow_up_id,
            attempt_id.map(AttemptId::uuid),
            answer.map(|answer| answer.class.as_str()),
            answer.and_then(|answer| answer.code.as_deref()),
            answer.and_then(|answer| answer.detail.as_deref()),
            answer.map(|answer| answer.duration_ms),
            event,
            record.gateway_at,
            before.version,
            before.status.as_str(),
            before.submission.submits,
            after.map(|after| after.status.as_str()),
            rejection.and_then(|rejection| rejection.code.as_deref()),
            rejection.and_then(|rejection| rejection.reason.as_deref()),
            submission.and_then(|submission| submission.accepted_at),
            submission.is_some_and(|submission| submission.after_earlier),
            submission.is_some_and(|submission| submission.to_send),
            submission.is_some_and(|submission| submission.is_kept),
            in_force.map(|in_force| in_force.secondary_merchant_name.as_str()),
            in_force.map(|in_force| in_force.store_name.as_str()),
            in_force.map(|in_force| in_force.store_industry.as_str()),
            in_force.map(|in_force| in_force.approved_at),
            after.and_then(|after| after.store_status.as_deref()),
            record.next_check_at,
            FollowUpId::mint().uuid(),
        )
        .one(&self.writes)
        .await?;
        Ok(match (record.lease_token, after, row.changed_at) {
            (Some(_), _, _) if row.held == 0 => Recorded::LeaseLost,
            (_, Some(_), None) => Recorded::Stale,
            (_, _, Some(at)) => Recorded::Written(at),
            (_, None, None) => Recorded::Written(row.now),
        })
    }
}

fn actor_columns(actor: RegistrationActor) -> (Option<Uuid>, Option<Uuid>) {
    match actor {
        RegistrationActor::ApiKey(id) => (Some(id.uuid()), None),
        RegistrationActor::FollowUp(id) => (None, Some(id.uuid())),
    }
}
