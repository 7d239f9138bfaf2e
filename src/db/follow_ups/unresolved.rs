//! What operators read and steer: the schedule, and the payments and refunds that need a person.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use uuid::Uuid;

use crate::db::{
    Db,
    error::Error,
    payments::{PaymentRow, select_payment},
    refunds::{RefundRow, select_refund},
    run::Statement as _,
};
use crate::domain::{
    access::principal::TenantScope,
    contradiction::Contradiction,
    follow_ups::schedule::{
        FollowUp, FollowUpAction, FollowUpFilter, Subject, Unsettled, UnsettledCase,
    },
    id::{ApiKeyId, FollowUpId, MerchantId},
    payments::payment::Payment,
    refunds::refund::Refund,
};
use crate::failpoint::failpoint;

/// The columns of a [`FollowUp`].
struct FollowUpRow {
    merchant_id: Uuid,
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
    access_refusals: i32,
    created_at: DateTime<Utc>,
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

    /// The payments and refunds that need a person ([`Payment::needs_a_person`]), that Alipay contradicts, or
    /// whose follow-up is parked, newest first, after `after`; one more than `limit` where there are more.
    #[tracing::instrument(name = "db.unsettled.list", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn list_unsettled(
        &self,
        tenant_scope: TenantScope,
        after: Option<Uuid>,
        limit: u16,
    ) -> Result<Vec<Unsettled>, Error> {
        let at_most = i64::from(limit) + 1;
        let merchant_id = tenant_scope.merchant_id().map(MerchantId::uuid);
        let payments = select_payment!(
            "",
            "left join follow_up on follow_up.merchant_id = payment.merchant_id
                and follow_up.kind = 'payment'
                and follow_up.subject_id = payment.payment_id
            where ($1::uuid is null or payment.merchant_id = $1)
                and (payment.status in ('processing', 'unresolved')
                    or payment.cancel_reason is not null
                    or payment.contradicted_at is not null)
                and (follow_up.parked_at is not null
                    or payment.contradicted_at is not null
                    or payment_needs_a_person(payment.*, coalesce(follow_up.access_refusals, 0)))
                and ($2::uuid is null or payment.payment_id < $2)
            order by payment.payment_id desc
            limit $3",
            merchant_id,
            after,
            at_most,
            ; "$4"
        )
        .all(&self.reads)
        .await?;
        let refunds = select_refund!(
            "",
            "left join follow_up on follow_up.merchant_id = refund.merchant_id
                and follow_up.kind = 'refund'
                and follow_up.subject_id = refund.refund_id
            where ($1::uuid is null or refund.merchant_id = $1)
                and (refund.status in ('pending', 'unresolved')
                    or refund.contradicted_at is not null or refund.failed_late)
                and (refund.status = 'unresolved' or follow_up.parked_at is not null
                    or refund.contradicted_at is not null or refund.failed_late
                    or follow_up.access_refusals >= 2)
                and ($2::uuid is null or refund.refund_id < $2)
            order by refund.refund_id desc
            limit $3",
            merchant_id,
            after,
            at_most,
        )
        .all(&self.reads)
        .await?;
        let payments = payments
            .into_iter()
            .map(|row| Ok(UnsettledCase::Payment(Box::new(Payment::try_from(row)?))));
        let refunds = refunds
            .into_iter()
            .map(|row| Ok(UnsettledCase::Refund(Box::new(Refund::try_from(row)?))));
        let mut cases = payments
            .chain(refunds)
            .collect::<Result<Vec<UnsettledCase>, Error>>()?;
        // Ids of both sort by creation, so one cursor serves both.
        cases.sort_by_key(|case| std::cmp::Reverse(case.id()));
        cases.truncate(usize::from(limit) + 1);
        self.with_evidence(cases).await
    }

    async fn with_evidence(&self, cases: Vec<UnsettledCase>) -> Result<Vec<Unsettled>, Error> {
        let merchant_ids: Vec<Uuid> = cases.iter().map(|case| case.merchant_id().uuid()).collect();
        let ids: Vec<Uuid> = cases.iter().map(UnsettledCase::id).collect();
        let mut follow_ups = self.follow_ups_of(&merchant_ids, &ids).await?;
        let mut evidence = self.evidence_of(&merchant_ids, &ids).await?;
        let mut contradictions: HashMap<Uuid, Vec<Contradiction>> = HashMap::new();
        for contradiction in self.contradictions_of(&merchant_ids, &ids).await? {
            contradictions
                .entry(contradiction.subject())
                .or_default()
                .push(contradiction);
        }
        Ok(cases
            .into_iter()
            .map(|case| {
                let id = case.id();
                let evidence = evidence.remove(&id).unwrap_or_default();
                Unsettled {
                    case,
                    follow_up: follow_ups.remove(&id),
                    contradictions: contradictions.remove(&id).unwrap_or_default(),
                    attempts: evidence.answers.iter().map(|(_, count)| count).sum(),
                    answers: evidence.answers,
                    first_asked_at: evidence.first_asked_at,
                    last_asked_at: evidence.last_asked_at,
                }
            })
            .collect())
    }

    async fn follow_ups_of(
        &self,
        merchant_ids: &[Uuid],
        subject_ids: &[Uuid],
    ) -> Result<HashMap<Uuid, FollowUp>, Error> {
        let rows = sqlx::query_as!(
            FollowUpRow,
            r#"select merchant_id as "merchant_id!", follow_up_id, kind,
                subject_id as "subject_id!", due_at, leased_until, worker, error_count, last_error,
                parked_at, abandoned_reason, queries, cancels, access_refusals, created_at
            from unnest($1::uuid[], $2::uuid[]) as wanted (merchant_id, subject_id)
            join follow_up using (merchant_id, subject_id)
            where kind in ('payment', 'refund')"#,
            merchant_ids,
            subject_ids,
        )
        .all(&self.reads)
        .await?;
        rows.into_iter()
            .map(|row| Ok((row.subject_id, FollowUp::try_from(row)?)))
            .collect()
    }

    /// What was asked and answered about payments, their refunds apart, and about refunds.
    async fn evidence_of(
        &self,
        merchant_ids: &[Uuid],
        subject_ids: &[Uuid],
    ) -> Result<HashMap<Uuid, Evidence>, Error> {
        let rows = sqlx::query!(
            r#"select coalesce(refund_id, payment_id) as "subject_id!",
                coalesce(answer_class, 'none') as "class!",
                count(*) as "count!", min(sent_at) as "first!", max(sent_at) as "last!"
            from unnest($1::uuid[], $2::uuid[]) as wanted (merchant_id, subject_id)
            join attempt on attempt.merchant_id = wanted.merchant_id
                and (payment_id = wanted.subject_id and refund_id is null
                    or refund_id = wanted.subject_id)
            group by coalesce(refund_id, payment_id), answer_class
            order by coalesce(refund_id, payment_id), answer_class"#,
            merchant_ids,
            subject_ids,
        )
        .all(&self.reads)
        .await?;
        let mut found: HashMap<Uuid, Evidence> = HashMap::new();
        for row in rows {
            let evidence = found.entry(row.subject_id).or_default();
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

/// What was asked and answered about one payment or refund.
#[derive(Default)]
struct Evidence {
    answers: Vec<(String, i64)>,
    first_asked_at: Option<DateTime<Utc>>,
    last_asked_at: Option<DateTime<Utc>>,
}
