//! Puts the program together and runs it until it is told to stop.

mod production;

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, anyhow, ensure};
use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::ExposeSecret;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{
    alipay::{
        client::{Alipay, AlipaySettings},
        error::KeyError,
        keyring::{KeyFile, KeyRole, Keyring, Validity, look_at},
        result_code::{AddedCode, Codes, Meaning},
        sftp::{HostKey, Login, LoginError, SftpServer, SftpSettings},
        sign::{KeyFacts, SignType},
    },
    app::{
        App, Deadlines, Parts,
        accounts::{Account, Accounts, Fetching},
        admission::LoadLimits,
        hashing::SecretKey,
    },
    clock::{Clock, SystemClock},
    config::{self, AccountsConfig, Config, MigrateConfig, process_environment},
    db::{self, Db, merchants::default::DefaultMerchant},
    domain::payments::plan::Plan,
    http::{
        Draining, HttpState, metrics, router,
        serve::{self, ConnectionLimits},
    },
    jobs::{
        fetcher::Fetcher,
        worker::{Worker, WorkerSettings},
    },
    oidc::{Issuer, IssuerSettings, source::KeySource},
    shutdown::Shutdown,
};

/// How often the last use of API keys is written down.
const KEY_USE_UPKEEP: Duration = Duration::from_mins(1);

/// How often old samples are folded into the histograms.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// How long closing the database's connections may take at the end.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// What one process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roles {
    /// The REST surface and the follow-up workers.
    ApiAndWorkers,
    /// The REST surface; the workers run in other processes.
    Api,
    /// The workers, with health and metrics only.
    Workers,
}

impl Roles {
    /// Whether callers are answered here.
    pub const fn has_api(self) -> bool {
        matches!(self, Self::ApiAndWorkers | Self::Api)
    }

    /// Whether follow-up workers run here.
    pub const fn has_workers(self) -> bool {
        matches!(self, Self::ApiAndWorkers | Self::Workers)
    }
}

/// A gateway that listens and does not yet answer.
#[derive(Debug)]
pub struct Gateway {
    /// Where it listens; tells the port where the configuration says 0.
    pub local_addr: SocketAddr,
    listener: TcpListener,
    router: Router,
    metrics: Recorder,
    draining: Draining,
    grace: Duration,
    doors: ConnectionLimits,
    app: App,
}

/// The recorder's handle, which has no `Debug` of its own.
struct Recorder(PrometheusHandle);

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrometheusHandle")
    }
}

impl Gateway {
    /// Builds everything and binds the port. Fails, naming what is wrong, rather than start with
    /// keys that cannot work.
    pub async fn build(
        config: &Config,
        roles: Roles,
        recorder: PrometheusHandle,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        describe_metrics();
        let app = build_app(config, roles, shutdown).await?;
        Self::with_app(app, config, roles, recorder).await
    }

    async fn with_app(
        app: App,
        config: &Config,
        roles: Roles,
        recorder: PrometheusHandle,
    ) -> anyhow::Result<Self> {
        let state = HttpState {
            app: app.clone(),
            metrics: metrics::Handle::new(recorder.clone()),
            draining: Draining::default(),
        };
        let draining = state.draining.clone();
        let router = match roles {
            Roles::ApiAndWorkers | Roles::Api => router::router(state),
            Roles::Workers => router::service_only(state),
        };
        let listen = config.http.listen;
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("cannot listen on {listen} (HTTP_LISTEN)"))?;
        Ok(Self {
            local_addr: listener
                .local_addr()
                .context("cannot read the bound address")?,
            listener,
            router,
            metrics: Recorder(recorder),
            draining,
            grace: config.http.shutdown_grace,
            doors: ConnectionLimits {
                header_timeout: config.http.header_timeout,
                max_connections: config.http.max_connections,
            },
            app,
        })
    }

    /// Answers requests until the soft stop, then drains (`docs/invariants.md` R21). Workers
    /// watch the same soft stop and are tracked by the same tasks; the pool is closed last.
    pub async fn run_until(self, shutdown: &Shutdown) {
        let Self {
            local_addr,
            listener,
            router,
            metrics,
            draining,
            grace,
            doors,
            app,
        } = self;
        tracing::info!(%local_addr, "listening");
        let (upkept, soft) = (app.clone(), shutdown.soft.clone());
        shutdown.tasks.spawn(async move {
            while running_after(METRICS_UPKEEP, &soft).await {
                metrics.0.run_upkeep();
                upkept.upkeep();
            }
        });
        let (keys, soft) = (app.clone(), shutdown.soft.clone());
        shutdown.tasks.spawn(async move {
            while running_after(KEY_USE_UPKEEP, &soft).await {
                keys.note_use_of_api_keys().await;
            }
            keys.note_use_of_api_keys().await;
        });
        let soft = shutdown.soft.clone();
        let announce = async {
            soft.cancelled().await;
            draining.start();
        };
        tokio::join!(announce, serve::serve(listener, router, doors, shutdown));
        let drained = shutdown.drain(grace).await;
        // A statement that hangs would hold its connection, and with it the program, for ever.
        let closed = tokio::time::timeout(CLOSE_DEADLINE, app.close()).await;
        tracing::info!(drained, closed = closed.is_ok(), "stopped");
    }
}

/// Waits; says whether the program still runs then, and at once where it is told to stop.
async fn running_after(pause: Duration, soft: &CancellationToken) -> bool {
    let slept = soft.run_until_cancelled(tokio::time::sleep(pause)).await;
    slept.is_some()
}

/// Says of every metric what it is; Prometheus tools refuse undescribed ones.
fn describe_metrics() {
    ::metrics::describe_counter!(
        "alipay_account_reloads_total",
        "How often the Alipay accounts were read again, by what came of it: replaced or refused"
    );
    metrics::describe();
    crate::app::describe_metrics();
    crate::jobs::worker::describe_metrics();
    crate::alipay::client::describe_metrics();
}

/// The use cases for a command, which starts no worker and answers nobody.
pub(crate) fn for_command(config: &Config) -> anyhow::Result<App> {
    let app = assemble(config, &Shutdown::new())?;
    app.set_workers_running(true);
    Ok(app)
}

/// THE place that makes the use cases: pool, Alipay clients with their keys, clock, tasks, policy.
fn assemble(config: &Config, shutdown: &Shutdown) -> anyhow::Result<App> {
    let timeouts = config.alipay.timeouts;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let accounts = build_accounts(
        &config.alipay,
        &config.http.public_base_url,
        &clock,
        config.strictness,
        production::of_secrets(config),
    )?;
    Ok(App::new(Parts {
        db: connect(&config.database)?,
        accounts: Accounts::new(accounts, config.refund_plan),
        tasks: shutdown.tasks.clone(),
        stopping: shutdown.soft.clone(),
        secret: secret_key(&config.secret_key)?,
        plan: Plan {
            first_query_after: config.follow_up.first_query,
            query_interval: config.follow_up.query_interval,
            pay_acts_within: Plan::pay_acts_within(timeouts.pay),
        },
        bounds: LoadLimits {
            requests_per_second: config.bounds.requests_per_second,
            burst: config.bounds.burst,
            work: config.bounds.work,
            work_per_merchant: config.bounds.work_per_merchant,
            waiting: config.bounds.waiting,
            ..LoadLimits::default()
        },
        deadlines: Deadlines {
            query: timeouts.query,
            cancel: timeouts.cancel,
            refund: timeouts.refund,
        },
        issuer: config
            .oidc
            .as_ref()
            .map(|oidc| build_issuer(oidc, &clock))
            .transpose()?,
        clock,
    }))
}

/// The issuer of access tokens. Nobody is asked for its keys yet.
fn build_issuer(config: &config::Oidc, clock: &Arc<dyn Clock>) -> anyhow::Result<Issuer> {
    let extra_root_certificate = config
        .extra_ca_file
        .as_ref()
        .map(|file| {
            std::fs::read(file)
                .with_context(|| format!("cannot read {} (OIDC_EXTRA_CA_FILE)", file.display()))
        })
        .transpose()?;
    let settings = IssuerSettings {
        issuer: config.issuer.clone(),
        audience: config.audience.clone(),
        rules: config.rules.clone(),
        keys: match &config.keys {
            config::OidcKeys::Url(url) => KeySource::Url(url.clone()),
            config::OidcKeys::File(path) => KeySource::File(path.clone()),
            config::OidcKeys::Discovery => KeySource::Discovery,
        },
        extra_root_certificates: extra_root_certificate.into_iter().collect(),
    };
    Ok(Issuer::new(settings, Arc::clone(clock))?)
}

/// The use cases of a service: warmed up, and where `roles` has workers, with them on `shutdown.tasks`.
async fn build_app(config: &Config, roles: Roles, shutdown: &Shutdown) -> anyhow::Result<App> {
    let app = assemble(config, shutdown)?;
    production::advise(config);
    app.warm_up().await;
    shutdown.tasks.spawn(reload_accounts_on_hangup(
        app.clone(),
        config.http.public_base_url.clone(),
        Arc::new(SystemClock),
        shutdown.soft.clone(),
    ));
    if roles.has_api() {
        app.refresh_issuer_keys().await;
        shutdown
            .tasks
            .spawn(app.clone().keep_issuer_keys(shutdown.soft.clone()));
    }
    if roles.has_workers() {
        let name = replica_name();
        let fetcher = Fetcher::new(app.clone(), name.clone());
        shutdown.tasks.spawn(fetcher.run(shutdown.soft.clone()));
        let settings = WorkerSettings {
            name,
            poll_interval: config.follow_up.poll_interval,
            lease: config.follow_up.lease,
            concurrency: usize::try_from(config.follow_up.workers)?,
        };
        let worker = Worker::new(app.clone(), settings, shutdown.tasks.clone())
            .cut_by(shutdown.hard.clone());
        shutdown.tasks.spawn(worker.run(shutdown.soft.clone()));
    } else {
        // Other processes follow up; this one is ready without.
        app.set_workers_running(true);
    }
    Ok(app)
}

/// Where Alipay posts refunds that are done: at most 200 characters (`docs/protocol.md` 8).
fn notify_url(base: &Url, partner: &str) -> anyhow::Result<Url> {
    let base = base.as_str().trim_end_matches('/');
    let url = Url::parse(&format!("{base}/alipay/notify/{partner}"))
        .context("PUBLIC_BASE_URL cannot be extended by a path")?;
    ensure!(
        url.as_str().len() <= 200,
        "PUBLIC_BASE_URL is too long: Alipay takes at most 200 characters, with /alipay/notify/{partner}"
    );
    Ok(url)
}

/// The accounts with their keys, read and parsed once. An error names every file that is wrong, and
/// what only a trial may have: of the accounts, and what was `found` before.
fn build_accounts(
    config: &config::Alipay,
    public_base_url: &Url,
    clock: &Arc<dyn Clock>,
    strictness: config::Strictness,
    mut found: Vec<String>,
) -> anyhow::Result<Vec<Account>> {
    let mut accounts = Vec::new();
    let (codes, mut faults) = match codes(config) {
        Ok(codes) => (Arc::new(codes), Vec::new()),
        Err(found) => (Arc::default(), found),
    };
    for account in &config.accounts {
        let keys = match keyring(account) {
            Ok(keys) => keys,
            Err(found) => {
                faults.extend(found.into_iter().map(|fault| {
                    // What is wrong with the file is the source of what the error says.
                    let chain = anyhow::Error::from(fault);
                    format!("account {}: {chain:#}", account.partner)
                }));
                continue;
            }
        };
        let sftp = match account.sftp.as_ref().map(fetching).transpose() {
            Ok(sftp) => sftp,
            Err(fault) => {
                let chain = anyhow::Error::from(fault);
                faults.push(format!("account {}: sftp: {chain:#}", account.partner));
                continue;
            }
        };
        found.extend(production::of_account(account, &keys));
        accounts.push(Account {
            alipay: client_of(config, account, keys, &codes, clock)?,
            refund_plan: account.refund_plan,
            notify_url: Some(notify_url(public_base_url, &account.partner)?),
            limits: account.limits,
            rules: account.rules,
            sftp,
        });
    }
    let refused = production::judge(strictness, found);
    let hint = if refused.is_empty() {
        ""
    } else {
        "\n(a trial without real money may have them: TRIAL_MODE=true)"
    };
    faults.extend(refused);
    ensure!(
        faults.is_empty(),
        "keys, endpoints, codes and secrets have {} fault(s)\n  {}{hint}",
        faults.len(),
        faults.join("\n  ")
    );
    Ok(accounts)
}

/// What Alipay's codes mean, those that were added included. An error names every row that would change
/// what is known.
pub fn codes(config: &config::Alipay) -> Result<Codes, Vec<String>> {
    Codes::with(config.codes.iter().map(added_code).collect()).map_err(|faults| {
        let named = faults.iter();
        named
            .map(|fault| format!("ALIPAY_CODES_FILE: {fault}"))
            .collect()
    })
}

fn added_code(code: &config::Code) -> AddedCode {
    AddedCode {
        service: code.service,
        code: code.code.clone(),
        meaning: match &code.meaning {
            config::CodeMeaning::Definite { retry, message } => Meaning::Definite {
                retry: *retry,
                reason: message.clone().into(),
            },
            config::CodeMeaning::NotExecuted { message } => Meaning::NotExecuted {
                reason: message.clone().into(),
            },
            config::CodeMeaning::InProgress => Meaning::InProgress,
            config::CodeMeaning::Later => Meaning::Later,
            config::CodeMeaning::NotFound => Meaning::NotFound,
            config::CodeMeaning::Unknown => Meaning::Unknown,
        },
    }
}

/// The client of an account.
pub(crate) fn client_of(
    config: &config::Alipay,
    account: &config::Account,
    keys: Keyring,
    codes: &Arc<Codes>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Alipay> {
    let mut settings = AlipaySettings::new(account.endpoint.clone(), account.partner.clone(), keys);
    settings.connect_timeout = config.timeouts.connect;
    settings.pay_timeout = config.timeouts.pay;
    settings.query_timeout = config.timeouts.query;
    settings.cancel_timeout = config.timeouts.cancel;
    settings.refund_timeout = config.timeouts.refund;
    settings.breaker_calls = config.breaker_calls;
    settings.codes = Arc::clone(codes);
    if let Some(file) = &config.extra_ca_file {
        let certificate = std::fs::read(file)
            .with_context(|| format!("cannot read {} (ALIPAY_EXTRA_CA_FILE)", file.display()))?;
        settings.extra_root_certificates.push(certificate);
    }
    Ok(Alipay::new(settings, Arc::clone(clock))?)
}

/// Where an account's daily files are, with the password or the key that is read for it.
fn fetching(sftp: &config::Sftp) -> Result<Fetching, LoginError> {
    let login = match &sftp.login {
        config::SftpLogin::PasswordFile(path) => Login::password(path)?,
        config::SftpLogin::KeyFile { path, passphrase } => Login::key(path, passphrase.as_deref())?,
    };
    let pins = sftp.host_keys.iter().map(|pin| HostKey {
        sha256: pin.sha256,
        kind: pin.kind.clone(),
    });
    let habits = &sftp.habits;
    Ok(Fetching {
        server: SftpServer::new(SftpSettings {
            host: sftp.host.clone(),
            port: sftp.port,
            user: sftp.user.clone(),
            login,
            host_keys: pins.collect(),
            directories: habits.directories.clone(),
            connect_timeout: habits.connect_timeout,
            read_timeout: habits.read_timeout,
            fetch_timeout: habits.fetch_timeout,
            max_bytes: habits.max_bytes,
        }),
        hours: habits.hours,
    })
}

/// An account's keys.
pub(crate) fn keyring(account: &config::Account) -> Result<Keyring, Vec<KeyError>> {
    let files = |files: &[config::KeyFile]| -> Vec<KeyFile> {
        files
            .iter()
            .map(|file| KeyFile {
                path: file.path.clone(),
                validity: Validity {
                    not_before: file.not_before,
                    not_after: file.not_after,
                },
            })
            .collect()
    };
    Keyring::load(
        sign_type(account.sign_type),
        &files(&account.own_keys),
        &files(&account.alipays_keys),
    )
}

/// What may be told of the key in a file.
pub(crate) fn key_of(
    of: config::SignType,
    role: KeyRole,
    path: &Path,
) -> Result<KeyFacts, KeyError> {
    look_at(sign_type(of), role, path)
}

const fn sign_type(configured: config::SignType) -> SignType {
    match configured {
        config::SignType::Rsa2 => SignType::Rsa2,
        config::SignType::Rsa => SignType::Rsa,
        config::SignType::Md5 => SignType::Md5,
    }
}

/// Reads the accounts and their keys again whenever the program is told to by SIGHUP. What has faults
/// changes nothing: each is logged, and the accounts stay as they are.
async fn reload_accounts_on_hangup(
    app: App,
    public_base_url: Url,
    clock: Arc<dyn Clock>,
    soft: CancellationToken,
) {
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => {
            tracing::error!(%error, "cannot listen for SIGHUP: accounts are read at the start only");
            return;
        }
    };
    while soft
        .run_until_cancelled(hangups.recv())
        .await
        .flatten()
        .is_some()
    {
        let (base, clock) = (public_base_url.clone(), Arc::clone(&clock));
        let read = tokio::task::spawn_blocking(move || {
            let config = AccountsConfig::read(process_environment)?;
            build_accounts(&config.alipay, &base, &clock, config.strictness, vec![])
        });
        // What a panic says is withheld: it may repeat what it read.
        let read = read.await.map_err(|_| anyhow!("the reading ended early"));
        let outcome = match read.flatten() {
            Ok(accounts) => {
                let count = accounts.len();
                app.replace_accounts(accounts).await;
                tracing::info!(accounts = count, "the Alipay accounts were read again");
                "replaced"
            }
            Err(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "the Alipay accounts were not read again: they stay as they are"
                );
                "refused"
            }
        };
        ::metrics::counter!("alipay_account_reloads_total", "outcome" => outcome).increment(1);
    }
}

/// The name in claims, for a person who looks: which process, and a random part, since containers
/// share process ids.
fn replica_name() -> String {
    format!("{}-{:08x}", std::process::id(), rand::random::<u32>())
}

pub(crate) fn connect(config: &config::Database) -> anyhow::Result<Db> {
    Db::connect_lazily(&config.url, config.max_connections).context("DATABASE_URL cannot be read")
}

pub(crate) fn secret_key(config: &config::SecretKey) -> anyhow::Result<SecretKey> {
    Ok(SecretKey::new(config.0.expose_secret().to_vec())?)
}

/// Brings the schema up to date as its owner, gives the service's role what it needs, and brings the
/// default merchant with its default store to what the configuration says.
pub async fn migrate(config: &MigrateConfig) -> anyhow::Result<()> {
    let service = &config.owner.service;
    let db = match &config.owner.url {
        Some(url) => Db::connect_lazily(url, service.max_connections)
            .context("MIGRATE_DATABASE_URL cannot be read")?,
        None => connect(service)?,
    };
    db.migrate()
        .await
        .context("the database could not be brought up to date")?;
    restrict(&db, service).await?;
    let merchant = &config.merchant;
    let id = db
        .upsert_default_merchant(&DefaultMerchant {
            name: merchant.name.clone(),
            store: merchant.store.clone(),
        })
        .await
        .context("the default merchant could not be made")?;
    tracing::info!(merchant.id = %id, store.id = %merchant.store.store_id, "the database is up to date");
    db.close().await;
    Ok(())
}

/// Gives the service's role exactly what it needs, and says so where it can do more: the issue is
/// then in how the database was set up, which no grant of ours can mend.
async fn restrict(db: &Db, service: &config::Database) -> anyhow::Result<()> {
    let role = db::role_of(&service.url).context("DATABASE_URL cannot be read")?;
    let what = "the rights of the service's role could not be set";
    let standing = db.standing(&role).await.context(what)?;
    let standing = standing.with_context(|| {
        format!("there is no role {role:?}: make the role of DATABASE_URL first")
    })?;
    if standing.owns {
        tracing::warn!(
            role,
            "the service's role owns the tables, so that nothing keeps it from changing or emptying \
             them: give migrate a role of its own by MIGRATE_DATABASE_URL"
        );
        return Ok(());
    }
    db.grant_to_service(&role).await.context(what)?;
    let standing = db.standing(&role).await.context(what)?;
    if standing.is_some_and(|standing| standing.creates) {
        tracing::warn!(
            role,
            "the service's role may make tables, schemas or temporary tables: the owner of the database \
             must revoke create on the schema public, and create and temporary on the database"
        );
    }
    // Whoever migrates another database than the service uses finds out now.
    let as_service = connect(service)?;
    let migrated = as_service.is_migrated().await;
    as_service.close().await;
    ensure!(
        migrated.context("the role of DATABASE_URL cannot use the database")?,
        "MIGRATE_DATABASE_URL and DATABASE_URL are two databases"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTNER: &str = "2088000000000001";

    fn notify_url_of(base: &str) -> anyhow::Result<String> {
        let base = base.parse().expect("a URL");
        notify_url(&base, PARTNER).map(String::from)
    }

    #[test]
    fn alipay_posts_to_a_path_below_the_public_base_url() {
        for (base, expected) in [
            ("https://pay.example.hk", "https://pay.example.hk"),
            ("https://pay.example.hk/", "https://pay.example.hk"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("https://example.hk/gateway/", "https://example.hk/gateway"),
        ] {
            let expected = format!("{expected}/alipay/notify/{PARTNER}");
            assert_eq!(notify_url_of(base).expect("a good base"), expected);
        }
    }

    /// Alipay takes 200 characters (`docs/protocol.md` 8).
    #[test]
    fn a_notify_url_that_alipay_would_not_take_is_refused_at_the_start() {
        let path = format!("/alipay/notify/{PARTNER}");
        let room = 200 - path.len() - "https://example.hk/".len();
        let base = |length: usize| format!("https://example.hk/{}", "a".repeat(length));
        let longest = notify_url_of(&base(room)).expect("as long as it may be");
        assert_eq!(longest.len(), 200);
        let error = notify_url_of(&base(room + 1)).expect_err("too long");
        assert!(error.to_string().contains("PUBLIC_BASE_URL"), "{error}");
    }
}
