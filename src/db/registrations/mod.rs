//! Registrations of stores: reading here, the intent and what is learnt in the files beside.

mod follow_up;
mod intent;
mod record;

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use uuid::Uuid;

use super::{Db, error::Error, run::Statement as _};
use crate::domain::{
    access::principal::TenantScope,
    id::{MerchantId, RegistrationId},
    registrations::{
        Approved, Fingerprint, PersonalData, Registration, RegistrationActor, RegistrationChange,
        RegistrationFilter, RegistrationStatus, Rejection, StoreFacts, Submission,
    },
};

pub use intent::{CommittedSubmission, SubmissionIntent};
pub use record::{Asked, RegistrationQuestion, RegistrationRecord};

/// Most entries of a history that are read.
const MOST_CHANGES: i64 = 100;

/// A registration with its follow-up, as every reading statement returns it.
#[derive(Debug)]
pub(super) struct RegistrationRow {
    pub(super) merchant_id: Uuid,
    pub(super) registration_id: Uuid,
    pub(super) version: i64,
    pub(super) partner: String,
    pub(super) secondary_merchant_id: String,
    pub(super) store_id: String,
    pub(super) status: String,
    pub(super) reject_code: Option<String>,
    pub(super) reject_reason: Option<String>,
    pub(super) facts: Json<StoreFacts>,
    pub(super) masked: Json<PersonalData>,
    pub(super) is_kept: bool,
    pub(super) submission: i32,
    pub(super) fingerprint: Vec<u8>,
    pub(super) drivers_fingerprint: Option<Vec<u8>>,
    pub(super) submitted_at: DateTime<Utc>,
    pub(super) accepted_at: Option<DateTime<Utc>>,
    pub(super) after_earlier: bool,
    pub(super) to_send: bool,
    pub(super) submits: i32,
    pub(super) last_submit_at: Option<DateTime<Utc>>,
    pub(super) checks_done: i32,
    pub(super) last_check_at: Option<DateTime<Utc>>,
    pub(super) in_force_merchant_name: Option<String>,
    pub(super) in_force_store_name: Option<String>,
    pub(super) in_force_industry: Option<String>,
    pub(super) approved_at: Option<DateTime<Utc>>,
    pub(super) store_status: Option<String>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) updated_at: DateTime<Utc>,
    pub(super) next_check_at: Option<DateTime<Utc>>,
    pub(super) question_due_at: Option<DateTime<Utc>>,
    pub(super) follow_up_id: Option<Uuid>,
    pub(super) fence: Option<i64>,
    pub(super) error_count: Option<i32>,
    pub(super) now: DateTime<Utc>,
}

/// `query_as!` over a registration's columns and its follow-up: what comes before the `select`, what
/// comes after the table (a `follow_up` must be joined there), and the arguments.
macro_rules! select_registration {
    ($head:literal $(+ $more:literal)*, $tail:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            RegistrationRow,
            $head $(+ $more)* + r#"
            select store_registration.merchant_id, store_registration.registration_id,
                store_registration.version, store_registration.partner,
                store_registration.secondary_merchant_id, store_registration.store_id,
                store_registration.status, store_registration.reject_code,
                store_registration.reject_reason, store_registration.facts as "facts: _",
                store_registration.masked as "masked: _",
                store_registration.sealed is not null as "is_kept!",
                store_registration.submission, store_registration.fingerprint,
                store_registration.drivers_fingerprint, store_registration.submitted_at,
                store_registration.accepted_at, store_registration.after_earlier,
                store_registration.to_send, store_registration.submits,
                store_registration.last_submit_at, store_registration.checks_done,
                store_registration.last_check_at, store_registration.in_force_merchant_name,
                store_registration.in_force_store_name, store_registration.in_force_industry,
                store_registration.approved_at, store_registration.store_status,
                store_registration.created_at, store_registration.updated_at,
                case when follow_up.abandoned_reason is null then follow_up.due_at end as next_check_at,
                follow_up.question_due_at as "question_due_at?",
                follow_up.follow_up_id as "follow_up_id?", follow_up.fence as "fence?",
                follow_up.error_count as "error_count?", db_now() as "now!"
            from store_registration
            "# + $tail
            $(, $argument)*
        )
    };
}
pub(super) use select_registration;

impl TryFrom<RegistrationRow> for Registration {
    type Error = Error;

    fn try_from(row: RegistrationRow) -> Result<Self, Error> {
        let id = RegistrationId::from(row.registration_id);
        let inconsistent = |column| Error::Inconsistent {
            table: "store_registration",
            column,
            id: id.to_string(),
        };
        let status =
            RegistrationStatus::from_name(&row.status).ok_or_else(|| inconsistent("status"))?;
        let in_force = match (
            row.in_force_merchant_name,
            row.in_force_store_name,
            row.in_force_industry,
            row.approved_at,
        ) {
            (Some(secondary_merchant_name), Some(store_name), Some(store_industry), Some(at)) => {
                Some(Approved {
                    secondary_merchant_name,
                    store_name,
                    store_industry,
                    approved_at: at,
                })
            }
            _ => None,
        };
        Ok(Self {
            id,
            version: row.version,
            merchant_id: row.merchant_id.into(),
            partner: row.partner,
            secondary_merchant_id: row.secondary_merchant_id,
            store_id: row.store_id,
            status,
            rejection: (status == RegistrationStatus::Rejected).then_some(Rejection {
                code: row.reject_code,
                reason: row.reject_reason,
            }),
            facts: row.facts.0,
            masked: row.masked.0,
            submission: Submission {
                number: row.submission,
                fingerprint: Fingerprint(row.fingerprint),
                drivers: row.drivers_fingerprint.map(Fingerprint),
                submitted_at: row.submitted_at,
                accepted_at: row.accepted_at,
                after_earlier: row.after_earlier,
                to_send: row.to_send,
                is_kept: row.is_kept,
                submits: row.submits,
                last_submit_at: row.last_submit_at,
                checks_done: row.checks_done,
                last_check_at: row.last_check_at,
            },
            in_force,
            store_status: row.store_status,
            next_check_at: row.next_check_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// Whose a secondary merchant is, and under which Alipay account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecondaryMerchantOwner {
    pub merchant_id: MerchantId,
    pub partner: String,
}

impl Db {
    /// The merchants within `tenant_scope` that are this secondary merchant at Alipay; at most two, which is
    /// enough to see that more must be said.
    #[tracing::instrument(name = "db.secondary_merchant.find", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn secondary_merchant(
        &self,
        tenant_scope: TenantScope,
        merchant_id: Option<MerchantId>,
        secondary_merchant_id: &str,
    ) -> Result<Vec<SecondaryMerchantOwner>, Error> {
        let rows = sqlx::query!(
            "select merchant_id, partner
            from merchant
            where ($1::uuid is null or merchant_id = $1) and ($2::uuid is null or merchant_id = $2)
                and secondary_merchant_id = $3
            order by merchant_id
            limit 2",
            tenant_scope.merchant_id().map(MerchantId::uuid),
            merchant_id.map(MerchantId::uuid),
            secondary_merchant_id,
        )
        .all(&self.reads)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| SecondaryMerchantOwner {
                merchant_id: row.merchant_id.into(),
                partner: row.partner,
            })
            .collect())
    }

    /// The registrations within `tenant_scope` of this store; at most two.
    #[tracing::instrument(name = "db.registration.find", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn registrations_of_store(
        &self,
        tenant_scope: TenantScope,
        merchant_id: Option<MerchantId>,
        secondary_merchant_id: &str,
        store_id: &str,
    ) -> Result<Vec<Registration>, Error> {
        let rows = select_registration!(
            "",
            "left join follow_up on follow_up.merchant_id = store_registration.merchant_id
                and follow_up.kind = 'registration'
                and follow_up.subject_id = store_registration.registration_id
            where ($1::uuid is null or store_registration.merchant_id = $1)
                and ($2::uuid is null or store_registration.merchant_id = $2)
                and store_registration.secondary_merchant_id = $3
                and store_registration.store_id = $4
            order by store_registration.merchant_id
            limit 2",
            tenant_scope.merchant_id().map(MerchantId::uuid),
            merchant_id.map(MerchantId::uuid),
            secondary_merchant_id,
            store_id,
        )
        .all(&self.reads)
        .await?;
        rows.into_iter().map(Registration::try_from).collect()
    }

    #[tracing::instrument(name = "db.registration.get", skip_all, fields(registration.id = %id, otel.kind = "client", db.system = "postgresql"))]
    pub async fn registration(
        &self,
        merchant_id: MerchantId,
        id: RegistrationId,
    ) -> Result<Option<Registration>, Error> {
        let row = select_registration!(
            "",
            "left join follow_up on follow_up.merchant_id = store_registration.merchant_id
                and follow_up.kind = 'registration'
                and follow_up.subject_id = store_registration.registration_id
            where store_registration.merchant_id = $1
                and store_registration.registration_id = $2",
            merchant_id.uuid(),
            id.uuid(),
        )
        .optional(&self.reads)
        .await?;
        row.map(Registration::try_from).transpose()
    }

    /// Lists registrations, newest first, after `after`; one more than `limit` where there are more.
    #[tracing::instrument(name = "db.registration.list", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn list_registrations(
        &self,
        tenant_scope: TenantScope,
        filter: &RegistrationFilter,
        after: Option<RegistrationId>,
        limit: u16,
    ) -> Result<Vec<Registration>, Error> {
        let rows = select_registration!(
            "",
            "left join follow_up on follow_up.merchant_id = store_registration.merchant_id
                and follow_up.kind = 'registration'
                and follow_up.subject_id = store_registration.registration_id
            where ($1::uuid is null or store_registration.merchant_id = $1)
                and ($2::uuid is null or store_registration.merchant_id = $2)
                and ($3::text is null or store_registration.secondary_merchant_id = $3)
                and ($4::text is null or store_registration.store_id = $4)
                and ($5::text is null or store_registration.status = $5)
                and ($6::uuid is null or store_registration.registration_id < $6)
            order by store_registration.registration_id desc
            limit $7",
            tenant_scope.merchant_id().map(MerchantId::uuid),
            filter.merchant_id.map(MerchantId::uuid),
            filter.secondary_merchant_id.as_deref(),
            filter.store_id.as_deref(),
            filter.status.map(RegistrationStatus::as_str),
            after.map(RegistrationId::uuid),
            i64::from(limit) + 1,
        )
        .all(&self.reads)
        .await?;
        rows.into_iter().map(Registration::try_from).collect()
    }

    /// What happened to a registration, newest first: the last hundred changes.
    #[tracing::instrument(name = "db.registration.history", skip_all, fields(registration.id = %id, otel.kind = "client", db.system = "postgresql"))]
    pub async fn registration_history(
        &self,
        merchant_id: MerchantId,
        id: RegistrationId,
    ) -> Result<Vec<RegistrationChange>, Error> {
        let rows = sqlx::query!(
            "select version, event, from_status, to_status, submission, api_key_id, follow_up_id, at
            from store_registration_transition
            where merchant_id = $1 and registration_id = $2
            order by version desc
            limit $3",
            merchant_id.uuid(),
            id.uuid(),
            MOST_CHANGES,
        )
        .all(&self.reads)
        .await?;
        rows.into_iter()
            .map(|row| {
                let actor = match (row.api_key_id, row.follow_up_id) {
                    (Some(key), None) => RegistrationActor::ApiKey(key.into()),
                    (None, Some(follow_up)) => RegistrationActor::FollowUp(follow_up.into()),
                    _ => {
                        return Err(Error::Inconsistent {
                            table: "store_registration_transition",
                            column: "api_key_id",
                            id: id.to_string(),
                        });
                    }
                };
                Ok(RegistrationChange {
                    version: row.version,
                    event: row.event,
                    from_status: row.from_status,
                    to_status: row.to_status,
                    submission: row.submission,
                    actor,
                    at: row.at,
                })
            })
            .collect()
    }
}
