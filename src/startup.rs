//! Puts the program together and runs it until it is told to stop.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use axum::Router;
use chrono::TimeDelta;
use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use url::Url;

use crate::{
    alipay::{
        client::{Alipay, AlipaySettings},
        sign::{Credentials, SignType},
    },
    app::{App, Deadlines, Parts, hashing::SecretKey},
    clock::{Clock, SystemClock},
    config::{self, Config, MigrateConfig},
    db::{Db, directory::DefaultMerchant},
    domain::{
        calendar::BatchHours, follow_up::Plan, merchant::Store, refund_follow_up::RefundPlan,
    },
    http::{Draining, HttpState, metrics, router, serve},
    jobs::worker::{Worker, WorkerSettings},
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
            app,
        })
    }

    /// Answers requests until the soft stop, then drains (`design/correctness.md` R21). Workers
    /// watch the same soft stop and are tracked by the same tasks; the pool is closed last.
    pub async fn run_until(self, shutdown: &Shutdown) {
        let Self {
            local_addr,
            listener,
            router,
            metrics,
            draining,
            grace,
            app,
        } = self;
        tracing::info!(%local_addr, "listening");
        let soft = shutdown.soft.clone();
        shutdown.tasks.spawn(async move {
            while soft
                .run_until_cancelled(tokio::time::sleep(METRICS_UPKEEP))
                .await
                .is_some()
            {
                metrics.0.run_upkeep();
            }
        });
        let soft = shutdown.soft.clone();
        let keys = app.clone();
        shutdown.tasks.spawn(async move {
            while soft
                .run_until_cancelled(tokio::time::sleep(KEY_USE_UPKEEP))
                .await
                .is_some()
            {
                keys.note_use_of_api_keys().await;
            }
            keys.note_use_of_api_keys().await;
        });
        let soft = shutdown.soft.clone();
        let announce = async {
            soft.cancelled().await;
            draining.start();
        };
        tokio::join!(announce, serve::serve(listener, router, shutdown));
        let drained = shutdown.drain(grace).await;
        // A statement that hangs would hold its connection, and with it the program, for ever.
        let closed = tokio::time::timeout(CLOSE_DEADLINE, app.close()).await;
        tracing::info!(drained, closed = closed.is_ok(), "stopped");
    }
}

/// Says of every metric what it is; Prometheus tools refuse undescribed ones.
fn describe_metrics() {
    metrics::describe();
    crate::app::describe_metrics();
    crate::jobs::worker::describe_metrics();
    crate::alipay::client::describe_metrics();
}

/// THE place that makes the use cases: pool, Alipay client with its keys, clock, tasks, policy;
/// where `roles` has workers, it also starts them on `shutdown.tasks`.
async fn build_app(config: &Config, roles: Roles, shutdown: &Shutdown) -> anyhow::Result<App> {
    let timeouts = config.alipay.timeouts;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let app = App::new(Parts {
        db: connect(&config.database)?,
        alipay: Alipay::new(alipay_settings(&config.alipay)?, Arc::clone(&clock))?,
        clock,
        tasks: shutdown.tasks.clone(),
        stopping: shutdown.soft.clone(),
        secret: secret_key(&config.secret_key)?,
        plan: Plan {
            first_query_after: config.follow_up.first_query,
            query_interval: config.follow_up.query_interval,
        },
        refund_plan: RefundPlan {
            hours: BatchHours {
                opens: config.refund_batch.opens,
                closes: config.refund_batch.closes,
            },
            horizon: TimeDelta::days(i64::from(config.refund_batch.give_up_days)),
        },
        notify_url: Some(notify_url(
            &config.http.public_base_url,
            &config.alipay.partner,
        )?),
        deadlines: Deadlines {
            query: timeouts.query,
            cancel: timeouts.cancel,
            refund: timeouts.refund,
        },
    });
    app.warm_up().await;
    if roles.has_workers() {
        let settings = WorkerSettings {
            name: replica_name(),
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

/// Where Alipay posts refunds that are done: at most 200 characters (`protocol/operations.md` 4).
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

/// The client's settings with its keys, read and parsed once. An error names the file.
fn alipay_settings(config: &config::Alipay) -> anyhow::Result<AlipaySettings> {
    let sign_type = match config.sign_type {
        config::SignType::Rsa2 => SignType::Rsa2,
        config::SignType::Rsa => SignType::Rsa,
        config::SignType::Md5 => SignType::Md5,
    };
    let credentials = Credentials::load(
        sign_type,
        config.private_key_file.as_deref(),
        config.public_key_file.as_deref(),
        config.md5_key_file.as_deref(),
    )?;
    let mut settings =
        AlipaySettings::new(config.endpoint.clone(), config.partner.clone(), credentials);
    settings.connect_timeout = config.timeouts.connect;
    settings.pay_timeout = config.timeouts.pay;
    settings.query_timeout = config.timeouts.query;
    settings.cancel_timeout = config.timeouts.cancel;
    settings.refund_timeout = config.timeouts.refund;
    if let Some(file) = &config.extra_ca_file {
        let pem = std::fs::read(file)
            .with_context(|| format!("cannot read {} (ALIPAY_EXTRA_CA_FILE)", file.display()))?;
        settings.extra_root_certificates.push(pem);
    }
    Ok(settings)
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

/// Brings the schema up to date, and the default merchant with its default store to what the
/// configuration says.
pub async fn migrate(config: &MigrateConfig) -> anyhow::Result<()> {
    let db = connect(&config.database)?;
    db.migrate()
        .await
        .context("the database could not be brought up to date")?;
    let merchant = &config.merchant;
    let id = db
        .upsert_default_merchant(&DefaultMerchant {
            name: merchant.name.clone(),
            store: Store {
                store_id: merchant.store_id.clone(),
                store_name: merchant.store_name.clone(),
                partner: merchant.partner.clone(),
                secondary_merchant_id: merchant.secondary_merchant_id.clone(),
                secondary_merchant_name: merchant.secondary_merchant_name.clone(),
                secondary_merchant_industry: merchant.secondary_merchant_industry.clone(),
            },
        })
        .await
        .context("the default merchant could not be made")?;
    tracing::info!(merchant.id = %id, store.id = %merchant.store_id, "the database is up to date");
    db.close().await;
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

    /// Alipay takes 200 characters (`protocol/operations.md` 4).
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
