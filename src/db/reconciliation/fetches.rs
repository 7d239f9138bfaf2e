//! The fetching of daily files: who does it, what was fetched, and what did not come.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};

use crate::db::{
    Db,
    error::Error,
    run::{Command as _, Statement as _},
};
use crate::domain::reconciliation::daily_file::FileKind;

/// What the server said of a file whose content was imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedFile {
    /// The file's name, without its directory.
    pub name: String,
    /// With its directory.
    pub path: String,
    /// How long it was.
    pub size_bytes: i64,
    /// When it was changed last, where the server tells.
    pub modified_at: Option<DateTime<Utc>>,
}

fn milliseconds(lease: Duration) -> i64 {
    i64::try_from(lease.as_millis()).unwrap_or(i64::MAX)
}

impl Db {
    /// Claims the fetching of an account's files for `lease`, and says by which fence it is held. `None`
    /// where another replica holds it, or where the regular try `try_at` was made.
    pub async fn claim_fetch(
        &self,
        partner: &str,
        worker: &str,
        lease: Duration,
        try_at: Option<DateTime<Utc>>,
    ) -> Result<Option<i64>, Error> {
        let fence = sqlx::query_scalar!(
            "insert into daily_fetch (partner, fence, worker, leased_until)
            values ($1, 1, $2, db_now() + $3::bigint * interval '1 millisecond')
            on conflict (partner) do update
                set fence = daily_fetch.fence + 1, worker = excluded.worker,
                    leased_until = excluded.leased_until
                where (daily_fetch.leased_until is null or daily_fetch.leased_until <= db_now())
                    and ($4::timestamptz is null or daily_fetch.tried_at is null
                        or daily_fetch.tried_at < $4)
            returning fence",
            partner,
            worker,
            milliseconds(lease),
            try_at,
        )
        .optional(&self.writes)
        .await?;
        Ok(fence)
    }

    /// Holds a claim for `lease` more. `false` when it was lost.
    pub async fn hold_fetch(
        &self,
        partner: &str,
        fence: i64,
        lease: Duration,
    ) -> Result<bool, Error> {
        let done = sqlx::query!(
            "update daily_fetch set leased_until = db_now() + $3::bigint * interval '1 millisecond'
            where partner = $1 and fence = $2",
            partner,
            fence,
            milliseconds(lease),
        )
        .run(&self.writes)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Gives a claim back with what became of the try. `false` when it was lost.
    pub async fn end_fetch(
        &self,
        partner: &str,
        fence: i64,
        try_at: Option<DateTime<Utc>>,
        error: Option<&str>,
    ) -> Result<bool, Error> {
        let done = sqlx::query!(
            "update daily_fetch
            set leased_until = null, worker = null, tried_at = coalesce($3, tried_at),
                last_error = $4,
                succeeded_at = case when $4::text is null then db_now() else succeeded_at end
            where partner = $1 and fence = $2",
            partner,
            fence,
            try_at,
            error,
        )
        .run(&self.writes)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Gives a claim back with nothing done: another replica makes the try.
    pub async fn release_fetch(&self, partner: &str, fence: i64) -> Result<(), Error> {
        sqlx::query!(
            "update daily_fetch set leased_until = null, worker = null
            where partner = $1 and fence = $2",
            partner,
            fence,
        )
        .run(&self.writes)
        .await?;
        Ok(())
    }

    /// What is known of files by these names.
    pub async fn fetched_files(
        &self,
        partner: &str,
        names: &[String],
    ) -> Result<Vec<FetchedFile>, Error> {
        let files = sqlx::query_as!(
            FetchedFile,
            "select name, path, size_bytes, modified_at from daily_fetch_file
            where partner = $1 and name = any($2)",
            partner,
            names,
        )
        .all(&self.reads)
        .await?;
        Ok(files)
    }

    /// Notes what the server said of a file whose content was imported.
    pub async fn note_fetched(&self, partner: &str, file: &FetchedFile) -> Result<(), Error> {
        sqlx::query!(
            "insert into daily_fetch_file (partner, name, path, size_bytes, modified_at)
            values ($1, $2, $3, $4, $5)
            on conflict (partner, name) do update
                set path = excluded.path, size_bytes = excluded.size_bytes,
                    modified_at = excluded.modified_at, fetched_at = db_now()",
            partner,
            file.name,
            file.path,
            file.size_bytes,
            file.modified_at,
        )
        .run(&self.writes)
        .await?;
        Ok(())
    }

    /// Notes which of these days with sales have no file, of themselves or of one of the next
    /// `within_days` days, however it would have come; answers those that were not noted before.
    pub async fn note_missing_files(
        &self,
        partner: &str,
        kind: FileKind,
        days: &[NaiveDate],
        within_days: i32,
    ) -> Result<Vec<NaiveDate>, Error> {
        let days = sqlx::query_scalar!(
            "insert into daily_fetch_missing (partner, kind, day)
            select $1, $2, wanted.day
            from unnest($3::date[]) as wanted (day)
            where exists (
                    select from payment
                    where partner = $1 and charged
                        and coalesce(paid_at, created_at)
                            >= (wanted.day::timestamp - interval '8 hours') at time zone 'UTC'
                        and coalesce(paid_at, created_at)
                            < (wanted.day::timestamp + interval '16 hours') at time zone 'UTC')
                and not exists (
                    select from statement_file
                    where partner = $1 and kind = $2 and imported_at is not null
                        and not is_provisional
                        and day between wanted.day and wanted.day + $4::integer)
            on conflict do nothing
            returning day",
            partner,
            kind.as_str(),
            days,
            within_days,
        )
        .all(&self.writes)
        .await?;
        Ok(days)
    }

    /// How many files that were missed in the last 31 days have still not come.
    pub async fn count_missing_files(
        &self,
        kind: FileKind,
        within_days: i32,
    ) -> Result<i64, Error> {
        let count = sqlx::query_scalar!(
            r#"select count(*) as "count!" from daily_fetch_missing as missing
            where kind = $1 and day >= business_day(db_now()) - 31
                and not exists (
                    select from statement_file as file
                    where file.partner = missing.partner and file.kind = $1
                        and file.imported_at is not null and not file.is_provisional
                        and file.day between missing.day and missing.day + $2::integer)"#,
            kind.as_str(),
            within_days,
        )
        .one(&self.reads)
        .await?;
        Ok(count)
    }
}
