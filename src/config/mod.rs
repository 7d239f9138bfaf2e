//! The program's settings: read once, from the environment, all faults reported together.
//!
//! | section | variables |
//! |---|---|
//! | HTTP | `HTTP_LISTEN` `PUBLIC_BASE_URL` `SHUTDOWN_GRACE_MS` `HTTP_HEADER_TIMEOUT_MS` `HTTP_MAX_CONNECTIONS` |
//! | bounds | `RATE_LIMIT_PER_SECOND` `RATE_LIMIT_BURST` `MAX_WORK` `MAX_WORK_PER_MERCHANT` `MAX_WAITING` |
//! | rights | `TILL_UNDO_SECONDS` |
//! | database | `DATABASE_URL` `MIGRATE_DATABASE_URL` `DATABASE_MAX_CONNECTIONS` |
//! | Alipay | `ALIPAY_ACCOUNTS_FILE` ([`accounts`]) `ALIPAY_CODES_FILE` ([`codes`]) `ALIPAY_ENDPOINT` `ALIPAY_PARTNER` `ALIPAY_SIGN_TYPE` `ALIPAY_PRIVATE_KEY_FILE` `ALIPAY_PUBLIC_KEY_FILE` `ALIPAY_MD5_KEY_FILE` `ALIPAY_CONNECT_TIMEOUT_MS` `ALIPAY_PAY_TIMEOUT_MS` `ALIPAY_QUERY_TIMEOUT_MS` `ALIPAY_CANCEL_TIMEOUT_MS` `ALIPAY_REFUND_TIMEOUT_MS` `ALIPAY_BREAKER_CALLS` `ALIPAY_EXTRA_CA_FILE` |
//! | daily files | `SFTP_HOST` `SFTP_PORT` `SFTP_USER` `SFTP_PASSWORD_FILE` `SFTP_PRIVATE_KEY_FILE` `SFTP_PASSPHRASE_FILE` `SFTP_HOST_KEYS` `SFTP_DIRECTORIES` `SFTP_FIRST` `SFTP_LAST` `SFTP_INTERVAL_MINUTES` `SFTP_LOOK_BACK_DAYS` `SFTP_MAX_FILE_MIB` `SFTP_CONNECT_TIMEOUT_MS` `SFTP_READ_TIMEOUT_MS` `SFTP_FETCH_TIMEOUT_MS` |
//! | secrets | `SECRET_KEY_FILE` `TRIAL_MODE` |
//! | access tokens | `OIDC_ISSUER` `OIDC_AUDIENCE` `OIDC_JWKS_URL` `OIDC_JWKS_FILE` `OIDC_EXTRA_CA_FILE` `OIDC_SCOPE_CLAIM` `OIDC_MERCHANT_CLAIM` `OIDC_OPERATOR_VALUE` `OIDC_LEEWAY_SECONDS` `OIDC_MAX_LIFETIME_SECONDS` |
//! | follow-up | `FOLLOW_UP_FIRST_QUERY_MS` `FOLLOW_UP_QUERY_INTERVAL_MS` `FOLLOW_UP_POLL_INTERVAL_MS` `FOLLOW_UP_LEASE_MS` `FOLLOW_UP_WORKERS` |
//! | refunds | `REFUND_BATCH_OPENS` `REFUND_BATCH_CLOSES` `REFUND_GIVE_UP_DAYS` |
//! | daily files | `RECONCILIATION_FEE_BASIS_POINTS` `RECONCILIATION_FEE_TOLERANCE_MINOR` `RECONCILIATION_FEE_OF_REFUNDS` `RECONCILIATION_SETTLED_WITHIN_DAYS` |
//! | first merchant | `MERCHANT_NAME` `SECONDARY_MERCHANT_ID` `SECONDARY_MERCHANT_NAME` `SECONDARY_MERCHANT_INDUSTRY` `STORE_ID` `STORE_NAME` |
//! | telemetry | `LOG_FORMAT` `LOG_FILTER` `OTEL_EXPORTER_OTLP_ENDPOINT` `OTEL_SERVICE_NAME` |
//!
//! Defaults and meanings are in [`variables::VARIABLES`], which `--help` prints; `.env.example`
//! lists the same names, and a test keeps it so. An empty value is the same as none.
//!
//! Secrets come from files (or, for the database, from a URL that is never printed). Each command
//! reads only what it needs: [`Config`] for `serve` and `work`, [`MigrateConfig`], [`ApiKeyConfig`],
//! [`DatabaseConfig`].

pub mod accounts;
mod alipay;
pub mod codes;
mod forms;
mod oidc;
mod read;
mod sections;
mod sftp;
mod table;
pub mod variables;

pub use accounts::Account;
pub use alipay::Alipay;
pub use oidc::Oidc;
pub use read::{ConfigError, Fault, is_https_or_loopback, is_loopback};
pub use sections::{
    Database, FirstMerchant, FollowUp, Http, LogFormat, Owner, SecretKey, Strictness, Telemetry,
};
pub use sftp::{Sftp, SftpHabits, SftpLogin};

use chrono::TimeDelta;

use crate::domain::{admission::LoadLimits, refunds::plan::RefundPlan};
use read::Reader;

/// What `serve` and `work` need.
#[derive(Debug)]
pub struct Config {
    /// Where to listen, and how to stop.
    pub http: Http,
    /// Limits of load.
    pub bounds: LoadLimits,
    /// For how long after a sale whoever takes payments may cancel it although it is paid.
    pub till_undo: TimeDelta,
    /// The database.
    pub database: Database,
    /// How to reach Alipay.
    pub alipay: Alipay,
    /// The key of keyed hashes.
    pub secret_key: SecretKey,
    /// How follow-ups ask about what is still open.
    pub follow_up: FollowUp,
    /// When Alipay does asynchronous refunds.
    pub refund_plan: RefundPlan,
    /// Whether unsafe settings are accepted.
    pub strictness: Strictness,
    /// The issuer of access tokens, if there is one.
    pub oidc: Option<Oidc>,
}

/// What `migrate` needs: the database, and the merchant and store it makes on an empty one.
#[derive(Debug)]
pub struct MigrateConfig {
    /// The database, with the role that migrates it and the role of the service.
    pub owner: Owner,
    pub merchant: FirstMerchant,
}

/// What the commands need that only read or steer what is stored.
#[derive(Debug)]
pub struct DatabaseConfig {
    pub database: Database,
}

/// What `api-key` needs.
#[derive(Debug)]
pub struct ApiKeyConfig {
    pub database: Database,
    /// The key of keyed hashes.
    pub secret_key: SecretKey,
}

/// What is read again while the program runs, and what `keys check` looks at.
#[derive(Debug)]
pub struct AccountsConfig {
    /// How to reach Alipay.
    pub alipay: Alipay,
    /// Whether unsafe settings are accepted.
    pub strictness: Strictness,
}

impl AccountsConfig {
    /// Reads the accounts alone.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(&lookup);
        let refund_plan = alipay::refund_plan(&mut reader);
        let alipay = Alipay::read(&mut reader, refund_plan);
        let strictness = Strictness::read(&mut reader);
        reader.finish(|| {
            Some(Self {
                alipay: alipay?,
                strictness: strictness?,
            })
        })
    }
}

/// Reads the process's environment: the one place that does.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the environment"
)]
pub fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Config {
    /// Reads the settings of `serve` and `work`.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(&lookup);
        let http = Http::read(&mut reader);
        let bounds = sections::load_limits(&mut reader);
        let till_undo = sections::till_undo(&mut reader);
        let database = Database::read(&mut reader);
        let refund_plan = alipay::refund_plan(&mut reader);
        let alipay = Alipay::read(&mut reader, refund_plan);
        let secret_key = SecretKey::read(&mut reader);
        let strictness = Strictness::read(&mut reader);
        let oidc = Oidc::read(&mut reader);
        let follow_up = FollowUp::read(&mut reader, alipay.as_ref().map(|alipay| &alipay.timeouts));
        reader.finish(|| {
            Some(Self {
                http: http?,
                bounds: bounds?,
                till_undo: till_undo?,
                database: database?,
                alipay: alipay?,
                secret_key: secret_key?,
                follow_up: follow_up?,
                refund_plan: refund_plan?,
                strictness: strictness?,
                oidc: oidc?,
            })
        })
    }
}

impl MigrateConfig {
    /// Reads the settings of `migrate`.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(&lookup);
        let owner = Owner::read(&mut reader);
        let merchant = FirstMerchant::read(&mut reader);
        reader.finish(|| {
            Some(Self {
                owner: owner?,
                merchant: merchant?,
            })
        })
    }
}

impl DatabaseConfig {
    /// Reads the settings of `audit` and of what `api-key` does to keys that exist.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(&lookup);
        let database = Database::read(&mut reader);
        reader.finish(|| {
            Some(Self {
                database: database?,
            })
        })
    }
}

impl ApiKeyConfig {
    /// Reads the settings of `api-key`.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(&lookup);
        let database = Database::read(&mut reader);
        let secret_key = SecretKey::read(&mut reader);
        reader.finish(|| {
            Some(Self {
                database: database?,
                secret_key: secret_key?,
            })
        })
    }
}

impl Telemetry {
    /// Reads the settings of logs and traces, which every command has.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(&lookup);
        let telemetry = Self::read(&mut reader);
        reader.finish(|| telemetry)
    }
}

#[cfg(test)]
mod tests;
