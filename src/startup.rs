//! Puts the program together and runs it until it is told to stop.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, bail};
use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;

use crate::{
    app::App,
    config::{ApiKeyConfig, Config, MigrateConfig},
    domain::{id::MerchantId, merchant::Scope},
    http::{Draining, HttpState, metrics, router, serve},
    shutdown::Shutdown,
};

/// How often old samples are folded into the histograms.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

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
            app,
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
        })
    }

    /// Answers requests until the soft stop, then drains (`design/correctness.md` R21). Workers
    /// watch the same soft stop and are tracked by the same tasks; the caller closes the pool.
    pub async fn run_until(self, shutdown: &Shutdown) {
        let Self {
            local_addr,
            listener,
            router,
            metrics,
            draining,
            grace,
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
        let announce = async {
            soft.cancelled().await;
            draining.start();
        };
        tokio::join!(announce, serve::serve(listener, router, shutdown));
        let drained = shutdown.drain(grace).await;
        tracing::info!(drained, "stopped");
    }
}

/// THE place that makes the use cases: pool, Alipay client with its keys, clock, tasks, policy;
/// where `roles` has workers, it also starts them on `shutdown.tasks`.
#[expect(
    clippy::unused_async,
    reason = "connecting to the database will be awaited here"
)]
async fn build_app(config: &Config, roles: Roles, shutdown: &Shutdown) -> anyhow::Result<App> {
    let _ = (config, roles, shutdown);
    bail!("the use cases are not wired yet")
}

/// Brings the schema up to date, and makes the first merchant with its default store where there
/// is none.
#[expect(clippy::unused_async, reason = "the database will be awaited here")]
pub async fn migrate(config: &MigrateConfig) -> anyhow::Result<()> {
    let _ = config;
    bail!("the database is not wired yet")
}

/// An API key to be made.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    /// What people call it, for example `till-1`.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Whose objects it may touch; the default merchant's where it is left out.
    pub merchant: Option<MerchantId>,
}

/// Makes an API key and returns its text, which is stored only as a hash.
#[expect(clippy::unused_async, reason = "the database will be awaited here")]
pub async fn create_api_key(config: &ApiKeyConfig, new: NewApiKey) -> anyhow::Result<String> {
    let _ = (config, new);
    bail!("the database is not wired yet")
}
