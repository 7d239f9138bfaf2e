//! The only place with SQL.
//!
//! Every use case is one statement: what belongs together commits together, there is no
//! transaction to leave open across a call to Alipay (`design/correctness.md` R2), and none for a
//! dropped future to poison (R7). Guards are in the statements, a second line is in the schema (R3),
//! and all time comparisons use `db_now()` (C12).

pub mod api_keys;
pub mod audit;
pub mod contradictions;
pub mod directory;
pub mod error;
pub mod fetches;
pub mod follow_ups;
pub mod intent;
pub mod merchants;
pub mod operations;
pub mod payments;
pub mod privileges;
pub mod reconciliation;
pub mod record;
pub mod refunds;
pub mod registrations;
pub mod roles;
pub mod stores;

use std::time::Duration;

use chrono::{DateTime, Utc};
use error::Error;
use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    Connection, PgPool,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::failpoint::{Failpoints, failpoint};

/// The schema's history, forward only.
static MIGRATOR: Migrator = sqlx::migrate!();

/// The role that a database URL names.
pub fn role_of(url: &SecretString) -> Result<String, Error> {
    let options: PgConnectOptions = url.expose_secret().parse()?;
    Ok(options.get_username().to_owned())
}

/// The database; cheap to clone.
#[derive(Clone, Debug)]
pub struct Db {
    pool: PgPool,
    /// Where tests stop, break or delay this replica; of no size in a release.
    pub failpoints: Failpoints,
}

impl Db {
    /// Prepares a pool of at most `max_connections`; connections are opened when first needed, so
    /// this does not fail while the server is away. An error means the URL cannot be read.
    pub fn connect_lazily(url: &SecretString, max_connections: u32) -> Result<Self, Error> {
        let options: PgConnectOptions = url.expose_secret().parse()?;
        Ok(Self::with_options(options, max_connections))
    }

    /// The same from ready options: for tests, which get theirs from `sqlx::test`.
    pub fn with_options(options: PgConnectOptions, max_connections: u32) -> Self {
        let options = options
            .application_name("alipayhk-gateway")
            // A session that idles inside a transaction would hold back every claim.
            .options([("idle_in_transaction_session_timeout", "10s")]);
        let pool = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(Duration::from_secs(3))
            // A ping before every use would cost a tenth of the throughput. A connection that was
            // busy a second ago is trusted; one that idled through a server restart is not.
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for > Duration::from_secs(1) {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(options);
        Self {
            pool,
            failpoints: Failpoints::default(),
        }
    }

    /// Brings the schema to the version this program was built with.
    pub async fn migrate(&self) -> Result<(), sqlx::migrate::MigrateError> {
        MIGRATOR.run(&self.pool).await
    }

    /// The time that counts: the database's.
    pub async fn now(&self) -> Result<DateTime<Utc>, Error> {
        failpoint!(self.failpoints, "db.now.before");
        let now = sqlx::query_scalar!(r#"select db_now() as "now!""#)
            .fetch_one(&self.pool)
            .await?;
        failpoint!(self.failpoints, "db.now.after");
        Ok(now)
    }

    /// Whether the server answers.
    pub async fn ping(&self) -> Result<(), Error> {
        sqlx::query_scalar!(r#"select 1 as "one!""#)
            .fetch_one(&self.pool)
            .await?;
        Ok(())
    }

    /// Whether the schema is at least at the version this program was built with.
    pub async fn is_migrated(&self) -> Result<bool, Error> {
        let newest = MIGRATOR
            .iter()
            .map(|migration| migration.version)
            .max()
            .unwrap_or(0);
        // The table is made by the migrator, so it is not known when the macros check.
        let applied: Result<Option<i64>, sqlx::Error> =
            sqlx::query_scalar("select max(version) from _sqlx_migrations where success")
                .fetch_one(&self.pool)
                .await;
        match applied {
            Ok(version) => Ok(version.is_some_and(|version| version >= newest)),
            // No such table: nothing was ever migrated.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Closes every connection, waiting for those in use.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
