//! The use cases, put together from the configuration.

use std::sync::Arc;

use anyhow::Context as _;
use secrecy::ExposeSecret;

use super::{
    accounts::{build_accounts, reload_accounts_on_hangup},
    production,
    roles::Roles,
};
use crate::{
    app::{App, Parts, accounts::Accounts, hashing::SecretKey},
    clock::{Clock, SystemClock},
    config::{self, Config},
    db::Db,
    domain::payments::plan::Plan,
    jobs::{
        fetcher::Fetcher,
        maintenance::Maintenance,
        worker::{WorkerSettings, Workers},
    },
    oidc::{Issuer, IssuerSettings},
    shutdown::Shutdown,
};

/// The use cases for a command, which starts no worker and answers nobody.
pub(crate) fn for_command(config: &Config) -> anyhow::Result<App> {
    let app = assemble(config, &Shutdown::new())?;
    app.set_workers_running(true);
    Ok(app)
}

/// Makes the use cases: pool, Alipay clients with their keys, clock, tasks, policy. Nothing else does.
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
        bounds: config.bounds,
        till_undo: config.till_undo,
        timeouts,
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
        keys: config.keys.clone(),
        extra_root_certificates: extra_root_certificate.into_iter().collect(),
    };
    Ok(Issuer::new(settings, Arc::clone(clock))?)
}

/// The use cases of a service: warmed up, and where `roles` has workers, with them on `shutdown.tasks`.
pub(super) async fn build_app(
    config: &Config,
    roles: Roles,
    shutdown: &Shutdown,
) -> anyhow::Result<App> {
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
        let (tasks, hard_stop) = (shutdown.tasks.clone(), shutdown.hard.clone());
        let workers = Workers::new(app.clone(), settings, tasks, hard_stop);
        shutdown.tasks.spawn(workers.run(shutdown.soft.clone()));
        let maintenance = Maintenance::new(app.clone());
        shutdown.tasks.spawn(maintenance.run(shutdown.soft.clone()));
    } else {
        // Other processes follow up; this one is ready without.
        app.set_workers_running(true);
    }
    Ok(app)
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
