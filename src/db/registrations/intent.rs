//! Writing the intent to register: one statement that commits the data, the call, the follow-up, the
//! history and the audit entry before a byte goes to Alipay (`docs/invariants.md` R1).

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::types::Json;

use super::SecondaryMerchantOwner;
use crate::{
    db::{Db, error::Error, run::Statement as _},
    domain::{
        audit::AuditActor,
        id::{ApiKeyId, AttemptId, FollowUpId, RegistrationId},
        registrations::{Fingerprint, PersonalData, StoreFacts},
    },
};

/// What is about to be sent.
#[derive(Debug)]
pub struct SubmissionIntent<'a> {
    pub owner: &'a SecondaryMerchantOwner,
    /// The id where there is no registration yet.
    pub new_id: RegistrationId,
    /// The version of the registration that was read; `None` where there was none.
    pub expected_version: Option<i64>,
    /// The merchant at Alipay.
    pub secondary_merchant_id: &'a str,
    pub store_id: &'a str,
    /// What everybody may know.
    pub facts: &'a StoreFacts,
    /// People, masked.
    pub masked: &'a PersonalData,
    /// People, sealed.
    pub sealed: &'a [u8],
    /// Of all data.
    pub fingerprint: &'a Fingerprint,
    /// Of a taxi's drivers.
    pub drivers: Option<&'a Fingerprint>,
    pub attempt_id: AttemptId,
    pub api_key_id: ApiKeyId,
    /// The same for the audit log.
    pub by: &'a AuditActor,
    /// When the follow-up first asks.
    pub first_check_after: Duration,
    pub gateway_at: DateTime<Utc>,
}

/// A submission that is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommittedSubmission {
    pub id: RegistrationId,
}

impl Db {
    /// Commits a submission; the store is opened where it is new. `None`: the registration has changed
    /// since it was read, or was made meanwhile. A constraint error means that it is registered for
    /// another merchant of the account.
    ///
    /// The follow-up is locked first, as by every writer.
    #[expect(clippy::too_many_lines, reason = "one statement and its parameters")]
    #[tracing::instrument(name = "db.registration.submit", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn submit_registration(
        &self,
        intent: &SubmissionIntent<'_>,
    ) -> Result<Option<CommittedSubmission>, Error> {
        let id = sqlx::query_scalar!(
            r#"with input as not materialized (
                select $1::uuid as merchant_id, $2::text as secondary_merchant_id,
                    $3::text as store_id, $4::text as partner, $5::uuid as registration_id,
                    $6::uuid as attempt_id, $7::uuid as follow_up_id,
                    -- Who asks, and from what it was decided.
                    $8::uuid as api_key_id, $9::jsonb as by, $10::timestamptz as gateway_at,
                    $11::bigint as before_version,
                    -- What is sent.
                    $12::text as store_name, $13::jsonb as facts, $14::jsonb as masked,
                    $15::bytea as sealed, $16::bytea as fingerprint,
                    $17::bytea as drivers_fingerprint, $18::bigint as first_check_ms
            ), held as materialized (
                select follow_up.follow_up_id
                from input
                join follow_up on follow_up.merchant_id = input.merchant_id
                    and follow_up.kind = 'registration'
                    and follow_up.subject_id = (
                        select store_registration.registration_id
                        from input
                        join store_registration
                            using (merchant_id, secondary_merchant_id, store_id))
                for update of follow_up
            ), before as materialized (
                select store_registration_facts(store_registration) as facts, status
                from input
                join store_registration using (merchant_id, secondary_merchant_id, store_id)
                where (select count(*) from held) >= 0
            ), opened as (
                insert into store (merchant_id, store_id, store_name)
                select merchant_id, store_id, store_name from input
                on conflict (merchant_id, store_id) do nothing
            ), written as (
                insert into store_registration as old (merchant_id, registration_id, partner,
                    secondary_merchant_id, store_id, facts, masked, sealed, fingerprint,
                    drivers_fingerprint, submits, last_submit_at)
                select merchant_id, registration_id, partner, secondary_merchant_id, store_id,
                    facts, masked, sealed, fingerprint, drivers_fingerprint, 1, db_now()
                from input
                where (select count(*) from before) >= 0
                on conflict (merchant_id, secondary_merchant_id, store_id) do update
                    set version = old.version + 1, updated_at = db_now(), status = 'submitting',
                        reject_code = null, reject_reason = null, facts = excluded.facts,
                        masked = excluded.masked, sealed = excluded.sealed,
                        submission = old.submission + 1, fingerprint = excluded.fingerprint,
                        drivers_fingerprint = excluded.drivers_fingerprint, submitted_at = db_now(),
                        accepted_at = null, after_earlier = false, to_send = false, submits = 1,
                        last_submit_at = db_now(), checks_done = 0, last_check_at = null
                    where old.version = (select before_version from input)
                returning old as registration, old.registration_id, old.version, old.submission
            ), attempted as (
                insert into store_registration_attempt (merchant_id, attempt_id, registration_id,
                    kind)
                select merchant_id, attempt_id, written.registration_id, 'maintain_store'
                from input, written
            ), scheduled as (
                insert into follow_up (merchant_id, follow_up_id, kind, subject_id, due_at)
                select merchant_id, follow_up_id, 'registration', written.registration_id,
                    db_now() + first_check_ms * interval '1 millisecond'
                from input, written
                on conflict (merchant_id, kind, subject_id) do update
                    -- Whoever was asking about the data of before has lost the claim.
                    set due_at = excluded.due_at, fence = follow_up.fence + 1, leased_until = null,
                        worker = null, error_count = 0, last_error = null, parked_at = null,
                        abandoned_reason = null, abandoned_by = null
            ), recorded as (
                insert into store_registration_transition (merchant_id, registration_id, version,
                    event, from_status, to_status, submission, api_key_id, attempt_id, gateway_at)
                select merchant_id, written.registration_id, version, 'submitted',
                    (select status from before), 'submitting', submission, api_key_id, attempt_id,
                    gateway_at
                from input, written
            ), audited as (
                insert into audit_log (merchant_id, action, subject_kind, subject_id, by, before,
                    after)
                select merchant_id, 'store_registration.submitted', 'store_registration',
                    public_id('reg_', written.registration_id), by, (select facts from before),
                    store_registration_facts(registration)
                from input, written
            )
            select registration_id from written"#,
            intent.owner.merchant_id.uuid(),
            intent.secondary_merchant_id,
            intent.store_id,
            intent.owner.partner,
            intent.new_id.uuid(),
            intent.attempt_id.uuid(),
            FollowUpId::mint().uuid(),
            intent.api_key_id.uuid(),
            Json(intent.by) as _,
            intent.gateway_at,
            intent.expected_version,
            intent.facts.store_name,
            Json(intent.facts) as _,
            Json(intent.masked) as _,
            intent.sealed,
            intent.fingerprint.0,
            intent.drivers.map(|drivers| drivers.0.as_slice()),
            i64::try_from(intent.first_check_after.as_millis()).unwrap_or(i64::MAX),
        )
        .optional(&self.writes)
        .await?;
        Ok(id.map(|id| CommittedSubmission { id: id.into() }))
    }
}
