//! What operators read and steer: the schedule, and the payments that need a person.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use uuid::Uuid;

use super::{
    Db,
    error::Error,
    payments::{PaymentRow, select_payment},
};
use crate::domain::{
    id::{ApiKeyId, FollowUpId, MerchantId, PaymentId},
    payment::Payment,
    schedule::{FollowUp, FollowUpFilter, Steering, Unsettled},
};
use crate::failpoint::failpoint;

/// The columns of a [`FollowUp`].
struct FollowUpRow {
    follow_up_id: Uuid,
    kind: String,
    subject_id: Uuid,
    due_at: DateTime<Utc>,
    leased_until: Option<DateTime<Utc>>,
    worker: Option<String>,
    error_count: i32,
    last_error: Option<String>,
    parked_at: Option<DateTime<Utc>>,
    abandoned_reason: Option<String>,
    queries: i32,
    cancels: i32,
    created_at: DateTime<Utc>,
}

impl From<FollowUpRow> for FollowUp {
    fn from(row: FollowUpRow) -> Self {
        Self {
            id: row.follow_up_id.into(),
            kind: row.kind,
            subject_id: row.subject_id.into(),
            due_at: row.due_at,
            leased_until: row.leased_until,
            worker: row.worker,
            error_count: row.error_count,
            last_error: row.last_error,
            parked_at: row.parked_at,
            abandoned_reason: row.abandoned_reason,
            queries: row.queries,
            cancels: row.cancels,
            created_at: row.created_at,
        }
    }
}

impl Db {
    /// Lists rows of the schedule, newest first, after `after`; one more than `limit` where there
    /// are more.
    #[tracing::instrument(name = "db.follow_up.list", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn list_follow_ups(
        &self,
        merchant_id: MerchantId,
        filter: &FollowUpFilter,
        after: Option<FollowUpId>,
        limit: u16,
    ) -> Result<Vec<FollowUp>, Error> {
        let rows = sqlx::query_as!(
            FollowUpRow,
            "select follow_up_id, kind, subject_id, due_at, leased_until, worker, error_count,
                last_error, parked_at, abandoned_reason, queries, cancels, created_at
            from follow_up
            where merchant_id = $1
                and ($2::uuid is null or follow_up_id < $2)
                and ($3::timestamptz is null or due_at < $3)
                and ($4::text is null or kind = $4)
                and ($5::uuid is null or subject_id = $5)
                and ($6::boolean is null or (parked_at is not null) = $6)
            order by follow_up_id desc
            limit $7",
            merchant_id.uuid(),
            after.map(FollowUpId::uuid),
            filter.due_before,
            filter.kind.as_deref(),
            filter.subject.map(PaymentId::uuid),
            filter.parked,
            i64::from(limit) + 1,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(FollowUp::from).collect())
    }

    /// Steers a row. Abandoning takes the claim from a worker that holds it.
    #[tracing::instrument(name = "db.follow_up.steer", skip_all, fields(follow_up.id = %id, otel.kind = "client", db.system = "postgresql"))]
    pub async fn steer_follow_up(
        &self,
        merchant_id: MerchantId,
        api_key_id: ApiKeyId,
        id: FollowUpId,
        steering: &Steering,
    ) -> Result<Option<FollowUp>, Error> {
        let (due_at, abandoned_reason) = match steering {
            Steering::Run => (None, None),
            Steering::Snooze(until) => (Some(*until), None),
            Steering::Abandon { reason } => (None, Some(reason.as_str())),
        };
        failpoint!(self.failpoints, "db.steer.before");
        let row = sqlx::query_as!(
            FollowUpRow,
            "update follow_up
            set due_at = case when $4::text is null then coalesce($3, db_now()) else due_at end,
                parked_at = case when $4::text is not null then db_now() end,
                abandoned_reason = $4,
                abandoned_by = case when $4::text is not null then $5::uuid end,
                error_count = 0,
                fence = fence + case when $4::text is not null then 1 else 0 end,
                leased_until = case when $4::text is null then leased_until end,
                worker = case when $4::text is null then worker end
            where merchant_id = $1 and follow_up_id = $2
            returning follow_up_id, kind, subject_id, due_at, leased_until, worker, error_count,
                last_error, parked_at, abandoned_reason, queries, cancels, created_at",
            merchant_id.uuid(),
            id.uuid(),
            due_at,
            abandoned_reason,
            api_key_id.uuid(),
        )
        .fetch_optional(&self.pool)
        .await?;
        failpoint!(self.failpoints, "db.steer.after");
        Ok(row.map(FollowUp::from))
    }

    /// The payments that are unresolved or whose follow-up is parked, newest first, after `after`;
    /// one more than `limit` where there are more.
    #[tracing::instrument(name = "db.payment.unsettled", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn list_unsettled(
        &self,
        merchant_id: MerchantId,
        after: Option<PaymentId>,
        limit: u16,
    ) -> Result<Vec<Unsettled>, Error> {
        let rows = select_payment!(
            "",
            "left join follow_up on follow_up.merchant_id = payment.merchant_id
                and follow_up.kind = 'payment'
                and follow_up.subject_id = payment.payment_id
            where payment.merchant_id = $1
                and (payment.status in ('processing', 'unresolved')
                    or payment.cancel_reason is not null)
                and (payment.status = 'unresolved' or follow_up.parked_at is not null)
                and ($2::uuid is null or payment.payment_id < $2)
            order by payment.payment_id desc
            limit $3",
            merchant_id.uuid(),
            after.map(PaymentId::uuid),
            i64::from(limit) + 1,
        )
        .fetch_all(&self.pool)
        .await?;
        let ids: Vec<Uuid> = rows.iter().map(|row| row.payment_id).collect();
        let mut follow_ups = self.follow_ups_of(merchant_id, &ids).await?;
        let mut evidence = self.evidence_of(merchant_id, &ids).await?;
        rows.into_iter()
            .map(|row| {
                let id = row.payment_id;
                let evidence = evidence.remove(&id).unwrap_or_default();
                Ok(Unsettled {
                    payment: Payment::try_from(row)?,
                    follow_up: follow_ups.remove(&id),
                    attempts: evidence.answers.iter().map(|(_, count)| count).sum(),
                    answers: evidence.answers,
                    first_asked_at: evidence.first_asked_at,
                    last_asked_at: evidence.last_asked_at,
                })
            })
            .collect()
    }

    async fn follow_ups_of(
        &self,
        merchant_id: MerchantId,
        payment_ids: &[Uuid],
    ) -> Result<HashMap<Uuid, FollowUp>, Error> {
        let rows = sqlx::query_as!(
            FollowUpRow,
            "select follow_up_id, kind, subject_id, due_at, leased_until, worker, error_count,
                last_error, parked_at, abandoned_reason, queries, cancels, created_at
            from follow_up
            where merchant_id = $1 and kind = 'payment' and subject_id = any($2)",
            merchant_id.uuid(),
            payment_ids,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| (row.subject_id, FollowUp::from(row)))
            .collect())
    }

    async fn evidence_of(
        &self,
        merchant_id: MerchantId,
        payment_ids: &[Uuid],
    ) -> Result<HashMap<Uuid, Evidence>, Error> {
        let rows = sqlx::query!(
            r#"select payment_id, coalesce(answer_class, 'none') as "class!",
                count(*) as "count!", min(sent_at) as "first!", max(sent_at) as "last!"
            from attempt
            where merchant_id = $1 and payment_id = any($2)
            group by payment_id, answer_class
            order by payment_id, answer_class"#,
            merchant_id.uuid(),
            payment_ids,
        )
        .fetch_all(&self.pool)
        .await?;
        let mut found: HashMap<Uuid, Evidence> = HashMap::new();
        for row in rows {
            let evidence = found.entry(row.payment_id).or_default();
            evidence.answers.push((row.class, row.count));
            let first = evidence
                .first_asked_at
                .map_or(row.first, |first| first.min(row.first));
            evidence.first_asked_at = Some(first);
            evidence.last_asked_at = evidence.last_asked_at.max(Some(row.last));
        }
        Ok(found)
    }
}

/// What was asked and answered about one payment.
#[derive(Default)]
struct Evidence {
    answers: Vec<(String, i64)>,
    first_asked_at: Option<DateTime<Utc>>,
    last_asked_at: Option<DateTime<Utc>>,
}
