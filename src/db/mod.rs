//! The only place with SQL.
//!
//! Every change is one statement: what belongs together commits together, there is no
//! transaction to leave open across a call to Alipay (`docs/invariants.md` R2), and none for a
//! dropped future to poison (R7). [`reconciliation`] says how a file of many statements keeps to that. Guards are in the statements, a second line is in the schema (R3),
//! and all time comparisons use `db_now()` (C12). All of them are run by [`run`], where their
//! deadlines are.

pub mod access;
mod actor;
pub mod audit;
pub mod contradictions;
pub mod error;
pub mod follow_ups;
pub mod group_commit;
pub mod merchants;
pub mod notifications;
pub mod payments;
pub mod privileges;
pub mod reconciliation;
pub mod recorded;
pub mod references;
pub mod refunds;
pub mod registrations;
pub mod roles;
pub mod run;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use error::Error;
use group_commit::GroupCommit;
use payments::{intent::Intent, record::RecordRow};
use run::{Lane, Lanes, Limits, Statement as _};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, migrate::Migrator,
    postgres::PgConnectOptions,
};
use tokio::time::Instant;

use crate::failpoint::{Failpoints, failpoint};

/// The schema's history, forward only.
static MIGRATOR: Migrator = sqlx::migrate!();

/// Whether a migration of this version and content was applied. Its table is made by the migrator, so it is
/// not known when the macros check.
const IS_APPLIED: &str = "select exists (
    select from _sqlx_migrations where success and version = $1 and checksum = $2)";

/// Why the schema is not at the version of this program.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The schema is of the time before the first release, whose migrations were numbered otherwise.
    /// Nothing was changed.
    #[error(
        "it was made by a development version from before the first release and cannot be migrated: \
         drop it, create it empty and run migrate again"
    )]
    PredatesTheBaseline,
    /// A migration was not applied.
    #[error(transparent)]
    Failed(#[from] sqlx::migrate::MigrateError),
    /// The server could not be asked.
    #[error(transparent)]
    Unreached(#[from] Error),
}

fn is_unknown_table(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some("42P01"))
}

/// For how long the failure of a write, with none that passed since, makes a replica say that it
/// cannot write.
pub const WRITES_FAIL_FOR: Duration = Duration::from_secs(5);

/// The role that a database URL names.
pub fn role_of(url: &SecretString) -> Result<String, Error> {
    let options: PgConnectOptions = url.expose_secret().parse()?;
    Ok(options.get_username().to_owned())
}

/// The database; cheap to clone.
#[derive(Clone, Debug)]
pub struct Db {
    /// For statements that write.
    writes: Lane,
    /// For statements that only read; the server sees to that.
    reads: Lane,
    /// For long statements that nobody waits for.
    bulk: Lane,
    /// Where intents to pay gather, and what becomes known of payments.
    intents: GroupCommit<Intent>,
    records: GroupCommit<RecordRow>,
    /// How to connect without any deadline: for the schema.
    options: Arc<PgConnectOptions>,
    /// Where tests stop, break or delay this replica; of no size in a release.
    pub failpoints: Failpoints,
}

/// What the server says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It cannot be reached.
    Away,
    /// It answers, and takes no writes: earlier ones hang, or it is a standby.
    ReadOnly,
    Working,
}

impl Db {
    /// Prepares pools of at most `max_connections` together; connections are opened when first
    /// needed, so this does not fail while the server is away. An error means the URL cannot be read.
    pub fn connect_lazily(url: &SecretString, max_connections: u32) -> Result<Self, Error> {
        let options: PgConnectOptions = url.expose_secret().parse()?;
        Ok(Self::with_options(options, max_connections))
    }

    /// The same from ready options: for tests, which get theirs from `sqlx::test`.
    pub fn with_options(options: PgConnectOptions, max_connections: u32) -> Self {
        Self::with_limits(options, max_connections, Limits::USUAL)
    }

    /// The same with deadlines of one's own.
    pub fn with_limits(options: PgConnectOptions, max_connections: u32, limits: Limits) -> Self {
        let Lanes {
            writes,
            reads,
            bulk,
        } = Lanes::new(&options, max_connections, limits);
        Self {
            writes,
            reads,
            bulk,
            intents: GroupCommit::default(),
            records: GroupCommit::default(),
            options: Arc::new(options),
            failpoints: Failpoints::default(),
        }
    }

    /// The same for somebody who is told something at `deadline`: no statement is sent that might
    /// not be answered or given up by then.
    #[must_use]
    pub fn by(&self, deadline: Instant) -> Self {
        Self {
            writes: self.writes.by(deadline),
            reads: self.reads.by(deadline),
            ..self.clone()
        }
    }

    /// A connection without deadlines, which is no pool's: for the schema and the rights to it.
    async fn connection_for_the_schema(&self) -> Result<PgConnection, sqlx::Error> {
        self.options.connect().await
    }

    /// Brings the schema to the version this program was built with.
    pub async fn migrate(&self) -> Result<(), MigrateError> {
        if self.predates_the_baseline().await? {
            return Err(MigrateError::PredatesTheBaseline);
        }
        Ok(self.apply_migrations().await?)
    }

    async fn apply_migrations(&self) -> Result<(), sqlx::migrate::MigrateError> {
        let mut connection = self.connection_for_the_schema().await?;
        MIGRATOR.run(&mut connection).await?;
        Ok(connection.close().await?)
    }

    /// Whether something was applied as the first migration that is not our first one.
    async fn predates_the_baseline(&self) -> Result<bool, Error> {
        let Some(first) = MIGRATOR.iter().min_by_key(|migration| migration.version) else {
            return Ok(false);
        };
        let other = "select exists (
            select from _sqlx_migrations where version = $1 and checksum <> $2)";
        let found = sqlx::query_scalar::<_, bool>(other)
            .bind(first.version)
            .bind(first.checksum.to_vec())
            .one(&self.reads)
            .await;
        match found {
            // No such table: an empty database.
            Err(Error::Driver(error)) if is_unknown_table(&error) => Ok(false),
            found => found,
        }
    }

    /// The time that counts: the database's.
    pub async fn now(&self) -> Result<DateTime<Utc>, Error> {
        failpoint!(self.failpoints, "db.now.before");
        let now = sqlx::query_scalar!(r#"select db_now() as "now!""#)
            .one(&self.reads)
            .await?;
        failpoint!(self.failpoints, "db.now.after");
        Ok(now)
    }

    /// Opens a connection of each kind that somebody will wait for.
    pub async fn warm_up(&self) -> Result<(), Error> {
        let ping = async |lane| sqlx::query_scalar!(r#"select 1 as "one!""#).one(lane).await;
        tokio::try_join!(ping(&self.reads), ping(&self.writes))?;
        Ok(())
    }

    /// How the server stands, for the readiness answer: asked where no hanging write is in the way,
    /// and told by what became of the writes of late. Writes nothing.
    pub async fn availability(&self) -> Availability {
        let is_standby = sqlx::query_scalar!(r#"select pg_is_in_recovery() as "is_standby!""#)
            .one(&self.reads)
            .await;
        let Ok(is_standby) = is_standby else {
            return Availability::Away;
        };
        let hang = async || self.reads.has_overdue_writes().await.unwrap_or(true);
        if is_standby || self.writes.writes_failed_within(WRITES_FAIL_FOR) || hang().await {
            Availability::ReadOnly
        } else {
            Availability::Working
        }
    }

    /// Whether the schema is at least at the version this program was built with: they are applied in order,
    /// so where the newest is, all are. A newer program may have added to them (`docs/invariants.md` R22).
    pub async fn is_migrated(&self) -> Result<bool, Error> {
        let Some(newest) = MIGRATOR.iter().max_by_key(|migration| migration.version) else {
            return Ok(true);
        };
        let applied = sqlx::query_scalar::<_, bool>(IS_APPLIED)
            .bind(newest.version)
            .bind(newest.checksum.to_vec())
            .one(&self.reads)
            .await;
        match applied {
            // No such table: nothing was ever migrated.
            Err(Error::Driver(error)) if is_unknown_table(&error) => Ok(false),
            applied => applied,
        }
    }

    /// Closes every connection, waiting for those in use.
    pub async fn close(&self) {
        tokio::join!(self.writes.close(), self.reads.close(), self.bulk.close());
    }
}
