//! Puts the program together and runs it until it is told to stop.

mod accounts;
mod app;
mod migrate;
mod production;
mod roles;

pub use accounts::codes;
pub(crate) use accounts::{client_of, keyring};
pub(crate) use app::{connect, for_command, secret_key};
pub use migrate::migrate;
pub use roles::Roles;

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    config::Config,
    http::{
        Draining, HttpState, metrics, router,
        serve::{self, ConnectionLimits},
    },
    shutdown::Shutdown,
};
use app::build_app;

/// How often the last use of API keys is written down.
const KEY_USE_UPKEEP: Duration = Duration::from_mins(1);

/// How often old samples are folded into the histograms.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// How long closing the database's connections may take at the end.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

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
    crate::jobs::maintenance::describe_metrics();
    crate::alipay::client::describe_metrics();
}
