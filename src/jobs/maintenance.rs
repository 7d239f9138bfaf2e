//! What keeps the schedule whole, now and then: a task of its own beside the workers.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{app::App, failpoint::crashpoint};

/// How often missing rows are re-created and old scans forgotten.
const INTERVAL: Duration = Duration::from_secs(30);

/// Describes the metrics of this module; call once, after the recorder is installed.
pub fn describe_metrics() {
    metrics::describe_gauge!(
        "follow_ups_due",
        metrics::Unit::Count,
        "Follow-ups whose time has come, over all replicas."
    );
    metrics::describe_gauge!(
        "follow_ups_parked",
        metrics::Unit::Count,
        "Follow-ups that wait for a person, over all replicas."
    );
}

/// Keeps the schedule whole.
#[derive(Debug)]
pub struct Maintenance {
    app: App,
}

impl Maintenance {
    /// Of the database that the use cases work with.
    pub const fn new(app: App) -> Self {
        Self { app }
    }

    /// The loop, until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            self.run_once().await;
            if stop.run_until_cancelled(sleep(INTERVAL)).await.is_none() {
                return;
            }
        }
    }

    /// The loop's step on its own: whatever is open has a row (`docs/invariants.md` R12), scans that can no
    /// longer be duplicates are forgotten, and the backlog is counted.
    pub async fn run_once(&self) {
        let db = &self.app.db;
        crashpoint!(db.failpoints, "worker.keeping_house");
        if let Err(error) = db.recreate_missing_follow_ups().await {
            tracing::warn!(error = %error, "missing follow-ups could not be looked for");
        }
        if let Err(error) = db.prune_scans().await {
            tracing::warn!(error = %error, "old scans could not be pruned");
        }
        if let Ok((due, parked)) = db.follow_up_backlog().await {
            set_gauge("follow_ups_due", due);
            set_gauge("follow_ups_parked", parked);
        }
    }
}

/// Gauges are floating point by the library's design; a count of rows fits exactly.
#[expect(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
fn set_gauge(name: &'static str, value: i64) {
    metrics::gauge!(name).set(value as f64);
}
