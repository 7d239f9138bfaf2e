//! The durable schedule: claim by lease and token on the database's clock
//! (`docs/invariants.md` R10–R12).

mod schedule;
mod unresolved;

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{
    Db,
    error::Error,
    run::{Command as _, Statement as _},
};
use crate::domain::{
    follow_ups::{lease::LeaseToken, schedule::Subject},
    id::{FollowUpId, MerchantId},
};
use crate::failpoint::failpoint;

/// A claimed follow-up and what it is about, read in the same statement.
#[derive(Debug)]
pub struct Claimed<T> {
    /// The proof of the claim.
    pub lease_token: LeaseToken,
    /// The payment, the refund or the registration as it was when claimed.
    pub subject: T,
    /// The database's time of the claim.
    pub now: DateTime<Utc>,
    /// How often our own errors interrupted it since its last success.
    pub error_count: i32,
}

/// A visit that ended with an error of ours.
#[derive(Clone, Copy, Debug)]
pub struct FailedVisit<'a> {
    /// What went wrong.
    pub error: &'a str,
    /// When to come again, from now.
    pub delay: Duration,
    /// Whether a person must look.
    pub park: bool,
    /// Up to how many errors this one counts, where it is not the row's own fault.
    pub counts_up_to: Option<i32>,
}

/// A row that could not be read: what it is about stays owed, and a person must look.
#[derive(Debug)]
pub struct Unreadable {
    /// The claim, to park the row with.
    pub lease_token: LeaseToken,
    pub merchant_id: MerchantId,
    /// What is wrong.
    pub error: Error,
}

/// What a claim brought: each row, or what is wrong with it.
pub type Claims<T> = Vec<Result<Claimed<T>, Unreadable>>;

/// The statement that claims due rows of a kind and reads what they are about. Committed at once;
/// rows that another replica is claiming are skipped.
macro_rules! claim {
    ($select:ident, $subject:literal, $limit:expr, $worker:expr, $lease:expr, $kind:literal, $only:literal $(; $next:literal)?) => {
        $select!(
            "with due as (
                select merchant_id, follow_up_id from follow_up
                where kind = $4 and abandoned_reason is null and due_at <= db_now()
                    and (leased_until is null or leased_until <= db_now())"
                + $only
                + "
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
            $subject,
            i64::try_from($limit).unwrap_or(i64::MAX),
            $worker,
            crate::db::follow_ups::milliseconds($lease),
            $kind,
            $(; $next)?
        )
    };
}

pub(in crate::db) use claim;

impl Db {
    /// Gives a claim back with the time of the next visit, or for one at once if something has told us to look
    /// since the claim was made. `false` when the claim was lost.
    #[tracing::instrument(name = "db.follow_up.reschedule", level = "debug", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn reschedule(
        &self,
        merchant_id: MerchantId,
        lease_token: LeaseToken,
        due_at: DateTime<Utc>,
    ) -> Result<bool, Error> {
        failpoint!(self.failpoints, "db.reschedule.before");
        let done = sqlx::query!(
            "update follow_up
            set due_at = case
                    when question_due_at is distinct from $5 then least($4, question_due_at)
                    else $4
                end,
                leased_until = null, worker = null, parked_at = null
            where merchant_id = $1 and follow_up_id = $2 and fence = $3",
            merchant_id.uuid(),
            lease_token.follow_up_id.uuid(),
            lease_token.fence,
            due_at,
            lease_token.question_due_at,
        )
        .run(&self.writes)
        .await?;
        failpoint!(self.failpoints, "db.reschedule.after");
        Ok(done.rows_affected() == 1)
    }

    /// Hands a claim back untouched, for another replica to take at once: on shutdown.
    pub async fn release(
        &self,
        merchant_id: MerchantId,
        lease_token: LeaseToken,
    ) -> Result<bool, Error> {
        failpoint!(self.failpoints, "db.release.before");
        let done = sqlx::query!(
            "update follow_up set leased_until = null, worker = null
            where merchant_id = $1 and follow_up_id = $2 and fence = $3",
            merchant_id.uuid(),
            lease_token.follow_up_id.uuid(),
            lease_token.fence,
        )
        .run(&self.writes)
        .await?;
        failpoint!(self.failpoints, "db.release.after");
        Ok(done.rows_affected() == 1)
    }

    /// Gives back, untouched, what a worker has claimed and does not hold: a claim took it whose answer was lost.
    pub async fn release_others(&self, worker: &str, held: &[FollowUpId]) -> Result<u64, Error> {
        let held: Vec<Uuid> = held.iter().map(|id| id.uuid()).collect();
        let done = sqlx::query!(
            "update follow_up set leased_until = null, worker = null
            where worker = $1 and follow_up_id <> all($2)",
            worker,
            &held,
        )
        .run(&self.writes)
        .await?;
        Ok(done.rows_affected())
    }

    /// Removes the follow-up of what turned out to be settled. `false` when the claim was lost, or
    /// something has told us to look since it was made: then the lease is over at once.
    pub async fn complete(
        &self,
        merchant_id: MerchantId,
        lease_token: LeaseToken,
    ) -> Result<bool, Error> {
        failpoint!(self.failpoints, "db.complete.before");
        let done = sqlx::query_scalar!(
            r#"with looked_for as (
                update follow_up set due_at = question_due_at, leased_until = null, worker = null
                where merchant_id = $1 and follow_up_id = $2 and fence = $3
                    and question_due_at is distinct from $4
            ), completed as (
            delete from follow_up
            where merchant_id = $1 and follow_up_id = $2 and fence = $3
                and question_due_at is not distinct from $4
                and exists (
                    select from follow_up_subject as subject
                    where subject.merchant_id = follow_up.merchant_id
                        and subject.kind = follow_up.kind
                        and subject.subject_id = follow_up.subject_id and not subject.is_open)
            returning 1
            )
            select exists (select from completed) as "done!""#,
            merchant_id.uuid(),
            lease_token.follow_up_id.uuid(),
            lease_token.fence,
            lease_token.question_due_at,
        )
        .one(&self.writes)
        .await?;
        failpoint!(self.failpoints, "db.complete.after");
        Ok(done)
    }

    /// Gives a claim back after an error of ours, to be tried again. What it is about stays owed, also
    /// where a person must look.
    #[tracing::instrument(name = "db.follow_up.fail", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn fail_follow_up(
        &self,
        merchant_id: MerchantId,
        lease_token: LeaseToken,
        failed: &FailedVisit<'_>,
    ) -> Result<bool, Error> {
        failpoint!(self.failpoints, "db.fail_follow_up.before");
        let done = sqlx::query!(
            "update follow_up
            set due_at = db_now() + $4::bigint * interval '1 millisecond', leased_until = null,
                worker = null, last_error = $5,
                error_count = case
                    when $7::integer is null then error_count + 1
                    else greatest(error_count, least(error_count + 1, $7))
                end,
                parked_at = case when $6 then coalesce(parked_at, db_now()) end
            where merchant_id = $1 and follow_up_id = $2 and fence = $3",
            merchant_id.uuid(),
            lease_token.follow_up_id.uuid(),
            lease_token.fence,
            milliseconds(failed.delay),
            failed.error,
            failed.park,
            failed.counts_up_to,
        )
        .run(&self.writes)
        .await?;
        failpoint!(self.failpoints, "db.fail_follow_up.after");
        Ok(done.rows_affected() == 1)
    }

    /// Makes due at once what errors of ours have delayed or parked, and what Alipay refused at its door:
    /// what they came of may be gone. Returns how many rows. What an operator took off the schedule stays off it.
    #[tracing::instrument(name = "db.follow_up.retry", level = "debug", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn retry_failed_follow_ups(&self) -> Result<u64, Error> {
        let done = sqlx::query!(
            "update follow_up set due_at = db_now()
            where (error_count > 0 or access_refusals > 0) and abandoned_reason is null
                and due_at > db_now()"
        )
        .run(&self.writes)
        .await?;
        Ok(done.rows_affected())
    }

    /// Re-creates the follow-up of everything open that lost its own, up to a thousand of each kind (R12).
    /// Returns how many.
    #[tracing::instrument(name = "db.follow_up.reconcile", level = "debug", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn recreate_missing_follow_ups(&self) -> Result<u64, Error> {
        let mut created = 0;
        for kind in Subject::KINDS {
            for (merchant_id, subject_id) in self.missing_follow_ups(kind).await? {
                created += self
                    .recreate_follow_up(merchant_id, kind, subject_id)
                    .await?;
                tracing::error!(
                    kind,
                    subject.id = %subject_id,
                    "what is open had no follow-up; re-created it"
                );
            }
        }
        Ok(created)
    }

    async fn missing_follow_ups(&self, kind: &str) -> Result<Vec<(Uuid, Uuid)>, Error> {
        failpoint!(self.failpoints, "db.reconcile.before");
        let missing = sqlx::query!(
            r#"select merchant_id as "merchant_id!", subject_id as "subject_id!"
            from follow_up_subject as subject
            where is_open and kind = $1
                and not exists (
                    select from follow_up
                    where follow_up.merchant_id = subject.merchant_id
                        and follow_up.kind = subject.kind
                        and follow_up.subject_id = subject.subject_id)
            limit 1000"#,
            kind,
        )
        .all(&self.bulk)
        .await?;
        failpoint!(self.failpoints, "db.reconcile.after");
        let ids = missing.into_iter();
        Ok(ids.map(|row| (row.merchant_id, row.subject_id)).collect())
    }

    /// It may be settled by now: the guard is in the statement.
    async fn recreate_follow_up(
        &self,
        merchant_id: Uuid,
        kind: &str,
        subject_id: Uuid,
    ) -> Result<u64, Error> {
        failpoint!(self.failpoints, "db.reconcile.insert");
        let done = sqlx::query!(
            "insert into follow_up (merchant_id, follow_up_id, kind, subject_id, due_at)
            select merchant_id, $4, kind, subject_id, db_now()
            from follow_up_subject
            where merchant_id = $1 and kind = $2 and subject_id = $3 and is_open
            on conflict (merchant_id, kind, subject_id) do nothing",
            merchant_id,
            kind,
            subject_id,
            FollowUpId::mint().uuid(),
        )
        .run(&self.bulk)
        .await?;
        Ok(done.rows_affected())
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
        .run(&self.bulk)
        .await?;
        failpoint!(self.failpoints, "db.prune.after");
        Ok(done.rows_affected())
    }

    /// How many follow-ups are due and unclaimed, and how many are parked: for the metrics.
    pub async fn follow_up_backlog(&self) -> Result<(i64, i64), Error> {
        let row = sqlx::query!(
            r#"select
                (select count(*) from follow_up
                    where abandoned_reason is null and due_at <= db_now()
                        and (leased_until is null or leased_until <= db_now())) as "due!",
                (select count(*) from follow_up where parked_at is not null) as "parked!""#
        )
        .one(&self.reads)
        .await?;
        Ok((row.due, row.parked))
    }
}

/// What a claimed row has besides the columns of its subject.
pub(in crate::db) trait ClaimedRow: Sized {
    /// What it is about.
    type Subject: TryFrom<Self, Error = Error>;

    /// The proof of the claim and the errors; absent for a row without a follow-up.
    fn claim(&self) -> Option<(LeaseToken, i32)>;

    /// Whose it is, and the database's time.
    fn read_at(&self) -> (Uuid, DateTime<Utc>);
}

/// A row of a subject that may be claimed.
macro_rules! claimed_row {
    ($row:ty => $subject:ty) => {
        impl crate::db::follow_ups::ClaimedRow for $row {
            type Subject = $subject;

            fn claim(&self) -> Option<(LeaseToken, i32)> {
                let lease_token = LeaseToken {
                    follow_up_id: self.follow_up_id?.into(),
                    fence: self.fence?,
                    question_due_at: self.question_due_at,
                };
                Some((lease_token, self.error_count?))
            }

            fn read_at(&self) -> (uuid::Uuid, chrono::DateTime<chrono::Utc>) {
                (self.merchant_id, self.now)
            }
        }
    };
}

pub(in crate::db) use claimed_row;

/// A claimed row, or what is wrong with it. A claim always has its follow-up's columns.
pub(in crate::db) fn claimed<R: ClaimedRow>(
    row: R,
) -> Option<Result<Claimed<R::Subject>, Unreadable>> {
    let (lease_token, error_count) = row.claim()?;
    let (merchant_id, now) = row.read_at();
    Some(
        R::Subject::try_from(row)
            .map(|subject| Claimed {
                lease_token,
                subject,
                now,
                error_count,
            })
            .map_err(|error| Unreadable {
                lease_token,
                merchant_id: merchant_id.into(),
                error,
            }),
    )
}

pub(in crate::db) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
