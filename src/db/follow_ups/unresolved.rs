//! What needs a person: the payments and refunds that are unresolved, contradicted or parked.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::schedule::FollowUpRow;
use crate::db::{Db, error::Error, run::Statement as _};
use crate::domain::{
    access::principal::TenantScope,
    contradiction::Contradiction,
    follow_ups::schedule::{FollowUp, Unsettled, UnsettledCase},
};

impl Db {
    /// The payments and refunds that need a person ([`Unsettled::needs`]), that Alipay contradicts, or
    /// whose follow-up is parked, newest first, after `after`; one more than `limit` where there are more.
    #[tracing::instrument(name = "db.unsettled.list", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn list_unsettled(
        &self,
        tenant_scope: TenantScope,
        after: Option<Uuid>,
        limit: u16,
    ) -> Result<Vec<Unsettled>, Error> {
        let mut cases = self.unsettled_payments(tenant_scope, after, limit).await?;
        cases.extend(self.unsettled_refunds(tenant_scope, after, limit).await?);
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
            join follow_up using (merchant_id, subject_id)"#,
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
