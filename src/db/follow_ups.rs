//! The durable schedule: claim by lease and fence on the database's clock
//! (`design/correctness.md` R10–R12).

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::types::Json;

use super::{
    Db,
    error::Error,
    payments::{PaymentRow, select_payment},
    record::Fence,
};
use crate::domain::{
    id::{FollowUpId, MerchantId, PaymentId},
    payment::Payment,
};
use crate::failpoint::failpoint;

/// A claimed follow-up and the payment it is about, read in the same statement.
#[derive(Debug)]
pub struct Claimed {
    /// The proof of the claim.
    pub fence: Fence,
    /// The payment as it was when claimed.
    pub payment: Payment,
    /// The database's time of the claim.
    pub now: DateTime<Utc>,
    /// How often our own errors interrupted it since its last success.
    pub error_count: i32,
}

/// A row that could not be read: its payment stays owed, and a person must look.
#[derive(Debug)]
pub struct Unreadable {
    /// The claim, to park the row with.
    pub fence: Fence,
    /// Whose it is.
    pub merchant_id: MerchantId,
    /// What is wrong.
    pub error: Error,
}

impl Db {
    /// Claims up to `limit` due follow-ups for `lease`. One statement, committed at once; rows that
    /// another replica is claiming are skipped.
    #[tracing::instrument(name = "db.follow_up.claim", level = "debug", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn claim_due(
        &self,
        worker: &str,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<Result<Claimed, Unreadable>>, Error> {
        failpoint!(self.failpoints, "db.claim.before");
        let rows = select_payment!(
            "with due as (
                select merchant_id, follow_up_id from follow_up
                where parked_at is null and due_at <= db_now()
                    and (leased_until is null or leased_until <= db_now())
                order by due_at
                limit $1
                for update skip locked
            ), claimed as (
                update follow_up
                set fence = fence + 1, worker = $2,
                    leased_until = db_now() + $3::bigint * interval '1 millisecond'
                from due
                where follow_up.merchant_id = due.merchant_id
                    and follow_up.follow_up_id = due.follow_up_id
                returning follow_up.*
            )",
            "join claimed as follow_up on follow_up.merchant_id = payment.merchant_id
                and follow_up.subject_id = payment.payment_id",
            i64::try_from(limit).unwrap_or(i64::MAX),
            worker,
            milliseconds(lease),
        )
        .fetch_all(&self.pool)
        .await?;
        failpoint!(self.failpoints, "db.claim.after");
        Ok(rows.into_iter().filter_map(claimed).collect())
    }

    /// Gives a claim back with the time of the next visit. `false` when the claim was lost.
    #[tracing::instrument(name = "db.follow_up.reschedule", level = "debug", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn reschedule(
        &self,
        merchant_id: MerchantId,
        fence: Fence,
        due_at: DateTime<Utc>,
    ) -> Result<bool, Error> {
        failpoint!(self.failpoints, "db.reschedule.before");
        let done = sqlx::query!(
            "update follow_up set due_at = $4, leased_until = null, worker = null
            where merchant_id = $1 and follow_up_id = $2 and fence = $3",
            merchant_id.uuid(),
            fence.follow_up_id.uuid(),
            fence.fence,
            due_at,
        )
        .execute(&self.pool)
        .await?;
        failpoint!(self.failpoints, "db.reschedule.after");
        Ok(done.rows_affected() == 1)
    }

    /// Hands a claim back untouched, for another replica to take at once: on shutdown.
    pub async fn release(&self, merchant_id: MerchantId, fence: Fence) -> Result<bool, Error> {
        failpoint!(self.failpoints, "db.release.before");
        let done = sqlx::query!(
            "update follow_up set leased_until = null, worker = null
            where merchant_id = $1 and follow_up_id = $2 and fence = $3",
            merchant_id.uuid(),
            fence.follow_up_id.uuid(),
            fence.fence,
        )
        .execute(&self.pool)
        .await?;
        failpoint!(self.failpoints, "db.release.after");
        Ok(done.rows_affected() == 1)
    }

    /// Removes the follow-up of a payment that turned out to be settled. `false` when the claim was
    /// lost.
    pub async fn complete(&self, merchant_id: MerchantId, fence: Fence) -> Result<bool, Error> {
        failpoint!(self.failpoints, "db.complete.before");
        let done = sqlx::query!(
            "delete from follow_up
            where merchant_id = $1 and follow_up_id = $2 and fence = $3
                and exists (
                    select from payment
                    where payment.merchant_id = follow_up.merchant_id
                        and payment.payment_id = follow_up.subject_id
                        and payment.status in ('succeeded', 'failed', 'canceled')
                        and payment.cancel_reason is null)",
            merchant_id.uuid(),
            fence.follow_up_id.uuid(),
            fence.fence,
        )
        .execute(&self.pool)
        .await?;
        failpoint!(self.failpoints, "db.complete.after");
        Ok(done.rows_affected() == 1)
    }

    /// Gives a claim back after an error of ours: tried again after `delay`, or parked for a person
    /// when `park` says so. The payment stays owed either way.
    #[tracing::instrument(name = "db.follow_up.fail", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn fail_follow_up(
        &self,
        merchant_id: MerchantId,
        fence: Fence,
        error: &str,
        delay: Duration,
        park: bool,
    ) -> Result<bool, Error> {
        failpoint!(self.failpoints, "db.fail_follow_up.before");
        let done = sqlx::query!(
            "update follow_up
            set due_at = db_now() + $4::bigint * interval '1 millisecond', leased_until = null,
                worker = null, error_count = error_count + 1, last_error = $5,
                parked_at = case when $6 then db_now() end
            where merchant_id = $1 and follow_up_id = $2 and fence = $3",
            merchant_id.uuid(),
            fence.follow_up_id.uuid(),
            fence.fence,
            milliseconds(delay),
            error,
            park,
        )
        .execute(&self.pool)
        .await?;
        failpoint!(self.failpoints, "db.fail_follow_up.after");
        Ok(done.rows_affected() == 1)
    }

    /// Re-creates the follow-up of every open payment that lost its own (R12). Returns how many.
    #[tracing::instrument(name = "db.follow_up.reconcile", level = "debug", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn recreate_missing_follow_ups(&self) -> Result<u64, Error> {
        failpoint!(self.failpoints, "db.reconcile.before");
        let missing = sqlx::query!(
            "select payment.merchant_id, payment.payment_id
            from payment
            where (payment.status in ('processing', 'unresolved')
                    or payment.cancel_reason is not null)
                and not exists (
                    select from follow_up
                    where follow_up.merchant_id = payment.merchant_id
                        and follow_up.kind = 'payment'
                        and follow_up.subject_id = payment.payment_id)
            limit 1000"
        )
        .fetch_all(&self.pool)
        .await?;
        failpoint!(self.failpoints, "db.reconcile.after");
        let mut created = 0;
        for row in missing {
            failpoint!(self.failpoints, "db.reconcile.insert");
            // The payment may be settled by now: the guard is in the statement.
            created += sqlx::query!(
                "insert into follow_up (merchant_id, follow_up_id, kind, subject_id, due_at)
                select merchant_id, $3, 'payment', payment_id, db_now()
                from payment
                where merchant_id = $1 and payment_id = $2
                    and (status in ('processing', 'unresolved') or cancel_reason is not null)
                on conflict (merchant_id, kind, subject_id) do nothing",
                row.merchant_id,
                row.payment_id,
                FollowUpId::mint().uuid(),
            )
            .execute(&self.pool)
            .await?
            .rows_affected();
            tracing::error!(
                payment.id = %PaymentId::from(row.payment_id),
                "an open payment had no follow-up; re-created it"
            );
        }
        Ok(created)
    }

    /// Forgets scans that can no longer be duplicates. Returns how many.
    pub async fn prune_scans(&self) -> Result<u64, Error> {
        failpoint!(self.failpoints, "db.prune.before");
        let done = sqlx::query!(
            "delete from recent_scan where (merchant_id, scan_hash) in (
                select merchant_id, scan_hash from recent_scan
                where seen_at < db_now() - interval '10 minutes'
                limit 10000)"
        )
        .execute(&self.pool)
        .await?;
        failpoint!(self.failpoints, "db.prune.after");
        Ok(done.rows_affected())
    }

    /// How many follow-ups are due and unclaimed, and how many are parked: for the metrics.
    pub async fn follow_up_backlog(&self) -> Result<(i64, i64), Error> {
        let row = sqlx::query!(
            r#"select
                (select count(*) from follow_up
                    where parked_at is null and due_at <= db_now()
                        and (leased_until is null or leased_until <= db_now())) as "due!",
                (select count(*) from follow_up where parked_at is not null) as "parked!""#
        )
        .fetch_one(&self.pool)
        .await?;
        Ok((row.due, row.parked))
    }
}

/// A claimed row, or what is wrong with it. A claim always has its follow-up's columns.
fn claimed(row: PaymentRow) -> Option<Result<Claimed, Unreadable>> {
    let follow_up_id = FollowUpId::from(row.follow_up_id?);
    let fence = Fence {
        follow_up_id,
        fence: row.fence?,
    };
    let error_count = row.error_count?;
    let (now, merchant_id) = (row.now, MerchantId::from(row.merchant_id));
    Some(
        Payment::try_from(row)
            .map(|payment| Claimed {
                fence,
                payment,
                now,
                error_count,
            })
            .map_err(|error| Unreadable {
                fence,
                merchant_id,
                error,
            }),
    )
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
