//! The rows of the schedule as operators see and steer them.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::db::{Db, error::Error, run::Statement as _};
use crate::domain::{
    access::principal::TenantScope,
    follow_ups::schedule::{FollowUp, FollowUpAction, FollowUpFilter, Subject},
    id::{ApiKeyId, FollowUpId, MerchantId},
};
use crate::failpoint::failpoint;

/// The columns of a [`FollowUp`].
pub(super) struct FollowUpRow {
    pub(super) merchant_id: Uuid,
    pub(super) follow_up_id: Uuid,
    pub(super) kind: String,
    pub(super) subject_id: Uuid,
    pub(super) due_at: DateTime<Utc>,
    pub(super) leased_until: Option<DateTime<Utc>>,
    pub(super) worker: Option<String>,
    pub(super) error_count: i32,
    pub(super) last_error: Option<String>,
    pub(super) parked_at: Option<DateTime<Utc>>,
    pub(super) abandoned_reason: Option<String>,
    pub(super) queries: i32,
    pub(super) cancels: i32,
    pub(super) access_refusals: i32,
    pub(super) created_at: DateTime<Utc>,
}

impl TryFrom<FollowUpRow> for FollowUp {
    type Error = Error;

    fn try_from(row: FollowUpRow) -> Result<Self, Error> {
        let id = FollowUpId::from(row.follow_up_id);
        let subject =
            Subject::from_stored(&row.kind, row.subject_id).ok_or_else(|| Error::Inconsistent {
                table: "follow_up",
                column: "kind",
                id: id.to_string(),
            })?;
        Ok(Self {
            id,
            merchant_id: row.merchant_id.into(),
            subject,
            due_at: row.due_at,
            leased_until: row.leased_until,
            worker: row.worker,
            error_count: row.error_count,
            last_error: row.last_error,
            parked_at: row.parked_at,
            abandoned_reason: row.abandoned_reason,
            queries: row.queries,
            cancels: row.cancels,
            access_refusals: row.access_refusals,
            created_at: row.created_at,
        })
    }
}

impl Db {
    /// Lists rows of the schedule, newest first, after `after`; one more than `limit` where there
    /// are more.
    #[tracing::instrument(name = "db.follow_up.list", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn list_follow_ups(
        &self,
        tenant_scope: TenantScope,
        filter: &FollowUpFilter,
        after: Option<FollowUpId>,
        limit: u16,
    ) -> Result<Vec<FollowUp>, Error> {
        let rows = sqlx::query_as!(
            FollowUpRow,
            // The primary key leads with the merchant: a page of each, and the newest of them.
            "select row.*
            from merchant
            cross join lateral (
                select merchant_id, follow_up_id, kind, subject_id, due_at, leased_until, worker,
                    error_count, last_error, parked_at, abandoned_reason, queries, cancels,
                    access_refusals, created_at
                from follow_up
                where merchant_id = merchant.merchant_id
                    and ($2::uuid is null or follow_up_id < $2)
                    and ($3::timestamptz is null or due_at < $3)
                    and ($4::text is null or kind = $4)
                    and ($5::uuid is null or subject_id = $5)
                    and ($6::boolean is null or (parked_at is not null) = $6)
                order by follow_up_id desc
                limit $7) as row
            where ($1::uuid is null or merchant.merchant_id = $1)
            order by row.follow_up_id desc
            limit $7",
            tenant_scope.merchant_id().map(MerchantId::uuid),
            after.map(FollowUpId::uuid),
            filter.due_before,
            filter.kind.as_deref(),
            filter.subject.map(Subject::uuid),
            filter.parked,
            i64::from(limit) + 1,
        )
        .all(&self.reads)
        .await?;
        rows.into_iter().map(FollowUp::try_from).collect()
    }

    /// Steers a row. Abandoning takes the claim from a worker that holds it.
    #[tracing::instrument(name = "db.follow_up.steer", skip_all, fields(follow_up.id = %id, otel.kind = "client", db.system = "postgresql"))]
    pub async fn steer_follow_up(
        &self,
        tenant_scope: TenantScope,
        api_key_id: ApiKeyId,
        id: FollowUpId,
        steering: &FollowUpAction,
    ) -> Result<Option<FollowUp>, Error> {
        let (due_at, abandoned_reason) = match steering {
            FollowUpAction::Run => (None, None),
            FollowUpAction::Snooze(until) => (Some(*until), None),
            FollowUpAction::Abandon { reason } => (None, Some(reason.as_str())),
        };
        failpoint!(self.failpoints, "db.steer.before");
        let row = sqlx::query_as!(
            FollowUpRow,
            r#"with old as materialized (
                select * from follow_up
                where merchant_id in (
                        select merchant_id from merchant
                        where $1::uuid is null or merchant_id = $1)
                    and follow_up_id = $2
                for update
            ), steered as (
                update follow_up
                set due_at = case
                        when $4::text is null then coalesce($3, db_now()) else old.due_at
                    end,
                    parked_at = case when $4::text is not null then db_now() end,
                    abandoned_reason = $4,
                    abandoned_by = case when $4::text is not null then $5::uuid end,
                    error_count = 0,
                    fence = old.fence + case when $4::text is not null then 1 else 0 end,
                    leased_until = case when $4::text is null then old.leased_until end,
                    worker = case when $4::text is null then old.worker end
                from old
                where follow_up.merchant_id = old.merchant_id
                    and follow_up.follow_up_id = old.follow_up_id
                returning follow_up.*
            ), audited as (
                insert into audit_log (merchant_id, action, subject_kind, subject_id, by, before,
                    after)
                select old.merchant_id, $6, 'follow_up', public_id('fup_', old.follow_up_id),
                    audit_by_api_key($5) || jsonb_strip_nulls(jsonb_build_object('reason', $4::text)),
                    jsonb_build_object('due_at', old.due_at, 'parked_at', old.parked_at,
                        'abandoned_reason', old.abandoned_reason),
                    jsonb_build_object('due_at', steered.due_at, 'parked_at', steered.parked_at,
                        'abandoned_reason', steered.abandoned_reason)
                from old, steered
            )
            select merchant_id, follow_up_id, kind, subject_id, due_at, leased_until, worker,
                error_count, last_error, parked_at, abandoned_reason, queries, cancels,
                access_refusals, created_at
            from steered"#,
            tenant_scope.merchant_id().map(MerchantId::uuid),
            id.uuid(),
            due_at,
            abandoned_reason,
            api_key_id.uuid(),
            format!("follow_up.{}", steering.name()),
        )
        .optional(&self.writes)
        .await?;
        failpoint!(self.failpoints, "db.steer.after");
        row.map(FollowUp::try_from).transpose()
    }
}
