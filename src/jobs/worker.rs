//! The loop that claims due follow-ups and visits their payments.

use std::{sync::Arc, time::Duration};

use rand::Rng;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

use super::backoff::{PARK_AFTER, pause_after};
use crate::{
    app::App,
    db::follow_ups::{Claimed, Unreadable},
    domain::id::MerchantId,
    failpoint::crashpoint,
};

/// How often missing rows are re-created and old scans forgotten.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(30);

/// How a replica works the schedule.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// The replica's name in claims.
    pub name: String,
    /// How often it looks for due rows.
    pub poll_interval: Duration,
    /// How long a claim lasts: at least three times the longest call.
    pub lease: Duration,
    /// How many visits run at once.
    pub concurrency: usize,
}

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
    metrics::describe_counter!(
        "follow_ups_parked_total",
        metrics::Unit::Count,
        "Follow-ups that this replica parked."
    );
}

/// Works the schedule until `stop` is cancelled; the visits under way then are on `tasks`. Those that
/// a hard stop cuts hand their claims back, for another replica to take at once; where even that
/// fails, it takes them when the lease is over.
#[derive(Debug)]
pub struct Worker {
    app: App,
    settings: WorkerSettings,
    tasks: TaskTracker,
    permits: Arc<Semaphore>,
    hard_stop: CancellationToken,
}

impl Worker {
    /// A worker that runs its visits on `tasks`.
    pub fn new(app: App, settings: WorkerSettings, tasks: TaskTracker) -> Self {
        let permits = Arc::new(Semaphore::new(settings.concurrency));
        Self {
            app,
            settings,
            tasks,
            permits,
            hard_stop: CancellationToken::new(),
        }
    }

    /// The stop that cuts visits under way; without one, none ever is.
    #[must_use]
    pub fn cut_by(mut self, hard_stop: CancellationToken) -> Self {
        self.hard_stop = hard_stop;
        self
    }

    /// The loop. Claims only as many rows as visits can start at once, so that no lease runs while
    /// its visit waits in line.
    pub async fn run(self, stop: CancellationToken) {
        self.app.set_workers_running(true);
        let mut housekeeping_at = Instant::now();
        while !stop.is_cancelled() {
            if Instant::now() >= housekeeping_at {
                self.keep_house().await;
                housekeeping_at = Instant::now() + HOUSEKEEPING_INTERVAL;
            }
            let claimed = self.visit_due(&stop).await;
            // A full batch means there may be more: look again at once.
            if claimed == self.settings.concurrency {
                continue;
            }
            let next_look = Instant::now() + jittered(self.settings.poll_interval);
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep_until(next_look) => {}
            }
        }
        self.app.set_workers_running(false);
    }

    /// Claims what is due now, waits for its visits, and returns how many there were: the loop's
    /// step on its own, for tests that move the clock by hand.
    pub async fn run_once(&self) -> usize {
        let claimed = self.visit_due(&CancellationToken::new()).await;
        let every_place = u32::try_from(self.settings.concurrency).unwrap_or(u32::MAX);
        drop(self.permits.acquire_many(every_place).await);
        claimed
    }

    /// Claims what is due and starts the visits. Returns how many were claimed: none once `stop` is
    /// cancelled, also while all places were taken.
    async fn visit_due(&self, stop: &CancellationToken) -> usize {
        // Wait for one free place, then take as many as there are.
        let Ok(first) = Arc::clone(&self.permits).acquire_owned().await else {
            return 0;
        };
        if stop.is_cancelled() {
            return 0;
        }
        let mut places = vec![first];
        while let Ok(place) = Arc::clone(&self.permits).try_acquire_owned() {
            places.push(place);
        }
        crashpoint!(self.app.db.failpoints, "worker.claiming");
        let claims = self
            .app
            .db
            .claim_due(&self.settings.name, places.len(), self.settings.lease)
            .await;
        let claims = claims.unwrap_or_else(|error| {
            tracing::warn!(error = %error, "due follow-ups could not be claimed");
            vec![]
        });
        let count = claims.len();
        for (claim, place) in claims.into_iter().zip(places) {
            match claim {
                Ok(claimed) => self.start(claimed, place),
                Err(unreadable) => self.park_unreadable(unreadable).await,
            }
        }
        count
    }

    /// Runs one visit on the tracker, for no longer than its lease.
    fn start(&self, claimed: Claimed, place: OwnedSemaphorePermit) {
        let (app, lease) = (self.app.clone(), self.settings.lease);
        let hard_stop = self.hard_stop.clone();
        let span = tracing::info_span!(
            parent: None,
            "follow_up.visit",
            follow_up.id = %claimed.fence.follow_up_id,
            payment.id = %claimed.payment.id,
        );
        self.tasks.spawn(
            async move {
                crashpoint!(app.db.failpoints, "worker.visiting");
                visit(&app, claimed, lease, &hard_stop).await;
                crashpoint!(app.db.failpoints, "worker.visited");
                drop(place);
            }
            .instrument(span),
        );
    }

    async fn park_unreadable(&self, unreadable: Unreadable) {
        let Unreadable {
            fence,
            merchant_id,
            error,
        } = unreadable;
        tracing::error!(follow_up.id = %fence.follow_up_id, error = %error, "a follow-up cannot be read; parked for a person");
        give_back_failed(
            &self.app,
            merchant_id,
            fence,
            &error.to_string(),
            PARK_AFTER,
        )
        .await;
    }

    /// What keeps the schedule whole: every open payment has a row (R12).
    pub async fn keep_house(&self) {
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

/// One visit with its errors handled: an error or a panic parks or delays this row alone (C10).
async fn visit(app: &App, claimed: Claimed, lease: Duration, hard_stop: &CancellationToken) {
    let (fence, merchant_id, errors) = (
        claimed.fence,
        claimed.payment.merchant_id,
        claimed.error_count,
    );
    // A panic unwinds only the inner task; this one lives to give the claim back.
    let work = {
        let app = app.clone();
        app.clone()
            .run_detached(async move { app.follow_up(claimed).await })
    };
    let ended = tokio::select! {
        ended = timeout(lease, work) => ended,
        () = hard_stop.cancelled() => return hand_back(app, merchant_id, fence).await,
    };
    let problem = match ended {
        Ok(Ok(Ok(()))) => return,
        Ok(Ok(Err(interrupted))) => {
            use std::error::Error as _;
            let source = interrupted
                .source()
                .map(ToString::to_string)
                .unwrap_or_default();
            format!("{interrupted}: {source}")
        }
        Ok(Err(_)) => "the visit panicked".to_owned(),
        Err(_) => "the visit outlasted its lease".to_owned(),
    };
    tracing::warn!(error = %problem, errors = errors + 1, "a follow-up visit failed");
    give_back_failed(app, merchant_id, fence, &problem, errors).await;
}

/// The visit is cut with the program. Whatever it still writes is guarded by its fence.
async fn hand_back(app: &App, merchant_id: MerchantId, fence: crate::db::record::Fence) {
    crashpoint!(app.db.failpoints, "worker.handing_back");
    match app.db.release(merchant_id, fence).await {
        Ok(_) => {
            tracing::info!(follow_up.id = %fence.follow_up_id, "a visit was cut; its claim is handed back");
        }
        // The lease runs out by itself.
        Err(error) => tracing::warn!(error = %error, "a claim could not be handed back"),
    }
}

async fn give_back_failed(
    app: &App,
    merchant_id: MerchantId,
    fence: crate::db::record::Fence,
    problem: &str,
    errors: i32,
) {
    crashpoint!(app.db.failpoints, "worker.giving_back");
    let park = errors + 1 >= PARK_AFTER;
    if park {
        metrics::counter!("follow_ups_parked_total").increment(1);
        tracing::error!(follow_up.id = %fence.follow_up_id, error = %problem, "a follow-up failed again and again; parked for a person");
    }
    let pause = pause_after(errors);
    if let Err(error) = app
        .db
        .fail_follow_up(merchant_id, fence, problem, pause, park)
        .await
    {
        // The lease runs out by itself.
        tracing::warn!(error = %error, "a claim could not be given back");
    }
}

/// Spreads replicas that started together: 80–120 % of the interval.
fn jittered(interval: Duration) -> Duration {
    interval * rand::thread_rng().gen_range(80..=120) / 100
}

/// Gauges are floating point by the library's design; a count of rows fits exactly.
#[expect(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
fn set_gauge(name: &'static str, value: i64) {
    metrics::gauge!(name).set(value as f64);
}
