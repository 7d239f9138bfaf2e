//! The workers: one loop for each kind of job, which claims what is due and runs it. Each has places of its
//! own, so that no kind ever waits for another. Which kinds there are is for [`crate::app::job`] to say.

use std::{
    collections::HashSet,
    fmt::Debug,
    marker::PhantomData,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rand::Rng;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

use super::backoff::{MOST_COUNTED_OF_THE_ENVIRONMENT, PARK_AFTER, PARKED_PAUSE, pause_after};
use crate::{
    app::{
        App, Interrupted,
        job::{Job, Registry, register},
    },
    db::follow_ups::{Claimed, Claims, FailedVisit, Unreadable},
    domain::{
        follow_ups::lease::LeaseToken,
        id::{FollowUpId, MerchantId},
    },
    failpoint::crashpoint,
};

/// How a replica works the schedule.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// The replica's name in claims, before that of the lane.
    pub name: String,
    /// How often each worker looks for due rows.
    pub poll_interval: Duration,
    /// How long a claim lasts: at least three times the longest call.
    pub lease: Duration,
    /// From this each kind of job has its number of places.
    pub concurrency: usize,
}

/// Describes the metrics of this module; call once, after the recorder is installed.
pub fn describe_metrics() {
    metrics::describe_counter!(
        "follow_ups_parked_total",
        metrics::Unit::Count,
        "Follow-ups that this replica parked."
    );
}

/// A replica's workers, one for each kind of job. Jobs under way when they stop are on the tracker. Those that
/// the hard stop cuts hand their claims back, for another replica to take at once; where even that
/// fails, it takes them when the lease is over.
#[derive(Debug)]
pub struct Workers {
    app: App,
    settings: WorkerSettings,
    tasks: TaskTracker,
    hard_stop: CancellationToken,
    lanes: Vec<Arc<dyn Lane>>,
}

impl Registry for Workers {
    fn with<J: Job>(mut self) -> Self {
        let places = J::places(self.settings.concurrency);
        let worker = Worker::<J> {
            app: self.app.clone(),
            // What a worker gives back of a lost claim must be its own.
            settings: WorkerSettings {
                name: format!("{}/{}", self.settings.name, J::LANE),
                ..self.settings.clone()
            },
            tasks: self.tasks.clone(),
            hard_stop: self.hard_stop.clone(),
            permits: Arc::new(Semaphore::new(places)),
            places,
            hands: Arc::default(),
            job: PhantomData,
        };
        self.lanes.push(Arc::new(worker));
        self
    }
}

impl Workers {
    /// Workers that run jobs on `tasks`, until `hard_stop` cuts those under way.
    pub fn new(
        app: App,
        settings: WorkerSettings,
        tasks: TaskTracker,
        hard_stop: CancellationToken,
    ) -> Self {
        register(Self {
            app,
            settings,
            tasks,
            hard_stop,
            lanes: vec![],
        })
    }

    /// Works the schedule until `stop` is cancelled, each kind of job in a loop of its own.
    pub async fn run(self, stop: CancellationToken) {
        self.app.set_workers_running(true);
        let loops: Vec<_> = self
            .lanes
            .into_iter()
            .map(|lane| self.tasks.spawn(lane.run(stop.clone())))
            .collect();
        for ended in loops {
            if let Err(error) = ended.await {
                tracing::error!(error = %error, "a worker ended before its time");
            }
        }
        self.app.set_workers_running(false);
    }

    /// Claims what is due now, waits for its end, and returns how many jobs there were: the loops' step on
    /// its own, for tests that move the clock by hand.
    pub async fn run_once(&self) -> usize {
        let stop = CancellationToken::new();
        let mut jobs = 0;
        for lane in &self.lanes {
            jobs += lane.look(&stop).await.jobs;
        }
        for lane in &self.lanes {
            lane.drained().await;
        }
        jobs
    }
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What [`Workers`] asks of a worker, whatever its kind of job.
trait Lane: Debug + Send + Sync {
    /// The loop, until `stop` is cancelled.
    fn run(self: Arc<Self>, stop: CancellationToken) -> Boxed<'static, ()>;

    /// Claims what is due and starts it, as far as there are places. Claims nothing once `stop` is cancelled.
    fn look<'a>(&'a self, stop: &'a CancellationToken) -> Boxed<'a, Look>;

    /// Waits until every job has ended.
    fn drained(&self) -> Boxed<'_, ()>;
}

/// What a look at the schedule brought.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    jobs: usize,
    /// Every free place was taken, so more may be due.
    filled: bool,
}

/// The worker of one kind of job.
struct Worker<J> {
    app: App,
    settings: WorkerSettings,
    tasks: TaskTracker,
    hard_stop: CancellationToken,
    permits: Arc<Semaphore>,
    places: usize,
    hands: Arc<Hands>,
    job: PhantomData<fn() -> J>,
}

impl<J> Debug for Worker<J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("name", &self.settings.name)
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}

/// What a worker has in hand, and whether a claim of its own may stand that it does not know of.
#[derive(Debug, Default)]
struct Hands {
    held: Mutex<HashSet<FollowUpId>>,
    lost_a_claim: AtomicBool,
}

impl Hands {
    fn held(&self) -> MutexGuard<'_, HashSet<FollowUpId>> {
        // Nothing panics while it is locked, and a set is whole after every step.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One job in a worker's hands, until it is dropped.
#[derive(Debug)]
struct InHand {
    hands: Arc<Hands>,
    id: FollowUpId,
}

impl InHand {
    fn take(hands: &Arc<Hands>, id: FollowUpId) -> Self {
        hands.held().insert(id);
        Self {
            hands: Arc::clone(hands),
            id,
        }
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.hands.held().remove(&self.id);
    }
}

impl<J: Job> Lane for Worker<J> {
    fn run(self: Arc<Self>, stop: CancellationToken) -> Boxed<'static, ()> {
        Box::pin(async move {
            while !stop.is_cancelled() {
                let look = self.look_once(&stop).await;
                let next_look = Instant::now() + jittered(self.settings.poll_interval);
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = sleep_until(next_look) => {}
                    // More may be due: look again as soon as a job ends.
                    _ = self.permits.acquire(), if look.filled => {}
                }
            }
        })
    }

    fn look<'a>(&'a self, stop: &'a CancellationToken) -> Boxed<'a, Look> {
        Box::pin(self.look_once(stop))
    }

    fn drained(&self) -> Boxed<'_, ()> {
        Box::pin(async {
            let every_place = u32::try_from(self.places).unwrap_or(u32::MAX);
            drop(self.permits.acquire_many(every_place).await);
        })
    }
}

impl<J: Job> Worker<J> {
    /// Claims only as many rows as jobs can start at once, so that no lease runs while its job waits in line.
    async fn look_once(&self, stop: &CancellationToken) -> Look {
        self.give_back_lost_claims().await;
        let places: Vec<OwnedSemaphorePermit> =
            std::iter::from_fn(|| Arc::clone(&self.permits).try_acquire_owned().ok()).collect();
        if stop.is_cancelled() || places.is_empty() {
            return Look {
                jobs: 0,
                filled: places.is_empty(),
            };
        }
        let claims = self.claim(places.len()).await;
        let look = Look {
            jobs: claims.len(),
            filled: claims.len() == places.len(),
        };
        for (claim, place) in claims.into_iter().zip(places) {
            match claim {
                Ok(claimed) => self.start(claimed, place),
                Err(unreadable) => self.park_unreadable(unreadable).await,
            }
        }
        look
    }

    /// A failed claim is as good as none: the next look will see. One whose answer was lost may stand.
    async fn claim(&self, places: usize) -> Claims<J::Subject> {
        let WorkerSettings { name, lease, .. } = &self.settings;
        let claims = J::claim(&self.app, name, places, *lease).await;
        claims.unwrap_or_else(|error| {
            tracing::warn!(error = %error, lane = J::LANE, "due follow-ups could not be claimed");
            if error.is_in_doubt() {
                self.hands.lost_a_claim.store(true, Ordering::Relaxed);
            }
            vec![]
        })
    }

    /// Gives back what a claim took whose answer was lost, so that nobody waits for the end of its lease.
    async fn give_back_lost_claims(&self) {
        if !self.hands.lost_a_claim.load(Ordering::Relaxed) {
            return;
        }
        let held: Vec<FollowUpId> = self.hands.held().iter().copied().collect();
        match self.app.db.release_others(&self.settings.name, &held).await {
            Ok(released) => {
                self.hands.lost_a_claim.store(false, Ordering::Relaxed);
                tracing::info!(released, "claims whose answer was lost are given back");
            }
            Err(error) => {
                tracing::warn!(error = %error, "claims whose answer was lost could not be given back");
            }
        }
    }

    /// Runs one job on the tracker, for no longer than its lease.
    fn start(&self, claimed: Claimed<J::Subject>, place: OwnedSemaphorePermit) {
        let (app, lease) = (self.app.clone(), self.settings.lease);
        let hard_stop = self.hard_stop.clone();
        let span = J::span(&claimed);
        let in_hand = InHand::take(&self.hands, claimed.lease_token.follow_up_id);
        self.tasks.spawn(
            async move {
                crashpoint!(app.db.failpoints, "worker.visiting");
                run_claimed::<J>(&app, claimed, lease, &hard_stop).await;
                crashpoint!(app.db.failpoints, "worker.visited");
                drop(in_hand);
                drop(place);
            }
            .instrument(span),
        );
    }

    async fn park_unreadable(&self, unreadable: Unreadable) {
        let Unreadable {
            lease_token,
            merchant_id,
            error,
        } = unreadable;
        tracing::error!(follow_up.id = %lease_token.follow_up_id, error = %error, "a follow-up cannot be read; parked for a person");
        let problem = Problem::OfTheRow(error.to_string());
        give_back_failed(&self.app, merchant_id, lease_token, &problem, PARK_AFTER).await;
    }
}

/// Why a run failed.
#[derive(Debug)]
enum Problem {
    /// The row cannot be worked on: many of these park it.
    OfTheRow(String),
    /// Whatever is run meets the same, until it has passed.
    OfTheEnvironment(String),
}

impl Problem {
    fn of(interrupted: &Interrupted) -> Self {
        use std::error::Error as _;
        let source = interrupted.source();
        let text = source.map_or_else(
            || interrupted.to_string(),
            |source| format!("{interrupted}: {source}"),
        );
        if interrupted.is_of_the_row() {
            Self::OfTheRow(text)
        } else {
            Self::OfTheEnvironment(text)
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::OfTheRow(text) | Self::OfTheEnvironment(text) => text,
        }
    }
}

/// One run with its errors handled: an error or a panic parks or delays this row alone (C10).
async fn run_claimed<J: Job>(
    app: &App,
    claimed: Claimed<J::Subject>,
    lease: Duration,
    hard_stop: &CancellationToken,
) {
    let (lease_token, merchant_id, errors) = (
        claimed.lease_token,
        J::merchant_id(&claimed.subject),
        claimed.error_count,
    );
    // A panic unwinds only the inner task; this one lives to give the claim back.
    let work = app.run_detached(J::run(app.clone(), claimed));
    let ended = tokio::select! {
        ended = timeout(lease, work) => ended,
        () = hard_stop.cancelled() => return hand_back(app, merchant_id, lease_token).await,
    };
    let problem = match ended {
        Ok(Ok(Ok(()))) => return,
        Ok(Ok(Err(interrupted))) => Problem::of(&interrupted),
        Ok(Err(_)) => Problem::OfTheRow("the visit panicked".to_owned()),
        Err(_) => Problem::OfTheEnvironment("the job outlasted its lease".to_owned()),
    };
    tracing::warn!(error = %problem.text(), errors = errors + 1, "a follow-up failed");
    give_back_failed(app, merchant_id, lease_token, &problem, errors).await;
}

/// The run is cut with the program. Whatever it still writes is guarded by its lease token.
async fn hand_back(app: &App, merchant_id: MerchantId, lease_token: LeaseToken) {
    crashpoint!(app.db.failpoints, "worker.handing_back");
    match app.db.release(merchant_id, lease_token).await {
        Ok(_) => {
            tracing::info!(follow_up.id = %lease_token.follow_up_id, "a job was cut; its claim is handed back");
        }
        // The lease runs out by itself.
        Err(error) => tracing::warn!(error = %error, "a claim could not be handed back"),
    }
}

async fn give_back_failed(
    app: &App,
    merchant_id: MerchantId,
    lease_token: LeaseToken,
    problem: &Problem,
    errors: i32,
) {
    crashpoint!(app.db.failpoints, "worker.giving_back");
    let failed = match problem {
        Problem::OfTheRow(error) => {
            let park = errors + 1 >= PARK_AFTER;
            if park {
                metrics::counter!("follow_ups_parked_total").increment(1);
                tracing::error!(follow_up.id = %lease_token.follow_up_id, error = %error, "a follow-up failed again and again; parked for a person, and tried again within the hour");
            }
            FailedVisit {
                error,
                delay: if park {
                    PARKED_PAUSE
                } else {
                    pause_after(errors)
                },
                park,
                counts_up_to: None,
            }
        }
        Problem::OfTheEnvironment(error) => FailedVisit {
            error,
            delay: pause_after(errors),
            park: false,
            counts_up_to: Some(MOST_COUNTED_OF_THE_ENVIRONMENT),
        },
    };
    if let Err(error) = app
        .db
        .fail_follow_up(merchant_id, lease_token, &failed)
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
