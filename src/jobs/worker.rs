//! The loop that claims due follow-ups and visits what they are about, in four lanes: payments whose
//! buyer may still confirm, so that somebody waits at a till; payments that are to be closed, whose
//! cancels may hang; refunds, of which a night's batch may bring thousands; and registrations of shops.
//! Each has places of its own, so that none ever waits for another.

use std::{
    collections::HashSet,
    fmt::Debug,
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
use tracing::{Instrument, Span};

use super::backoff::{MOST_COUNTED_OF_THE_ENVIRONMENT, PARK_AFTER, PARKED_PAUSE, pause_after};
use crate::{
    app::{App, Interrupted},
    db::{
        error::Error as DbError,
        follow_ups::{Claimed, Claims, FailedVisit, Unreadable},
    },
    domain::{
        id::{FollowUpId, MerchantId},
        payments::payment::Payment,
        refunds::refund::Refund,
        registrations::Registration,
    },
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
    /// How many visits run at once to payments whose buyer may still confirm, and as many to those that
    /// are to be closed.
    pub concurrency: usize,
}

impl WorkerSettings {
    /// How many visits to refunds run at once: fewer, since nobody waits for them and their number
    /// bounds how fast a night's refunds ask Alipay (`docs/invariants.md` T6).
    fn refund_concurrency(&self) -> usize {
        self.concurrency.div_ceil(4)
    }

    /// How many visits to registrations run at once: a few, since a review takes minutes to days.
    fn registration_concurrency(&self) -> usize {
        self.concurrency.div_ceil(8)
    }
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
    confirming: Lane,
    closing: Lane,
    refunds: Lane,
    registrations: Lane,
    hands: Arc<Hands>,
    hard_stop: CancellationToken,
}

/// The places for visits of one kind.
#[derive(Debug)]
struct Lane {
    permits: Arc<Semaphore>,
    places: usize,
}

impl Lane {
    fn new(places: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(places)),
            places,
        }
    }

    /// Every free place.
    fn free(&self) -> Vec<OwnedSemaphorePermit> {
        std::iter::from_fn(|| Arc::clone(&self.permits).try_acquire_owned().ok()).collect()
    }

    /// Waits until every visit has ended.
    async fn drained(&self) {
        let every_place = u32::try_from(self.places).unwrap_or(u32::MAX);
        drop(self.permits.acquire_many(every_place).await);
    }
}

/// What a look at the schedule brought to one lane.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    visits: usize,
    /// Every free place was taken, so more may be due.
    filled: bool,
}

/// What a look brought to each lane.
#[derive(Clone, Copy, Debug, Default)]
struct Looks {
    confirming: Look,
    closing: Look,
    refunds: Look,
    registrations: Look,
}

/// What a worker visits.
trait Job: Debug + Send + 'static {
    /// Whose it is.
    fn merchant_id(&self) -> MerchantId;

    /// Names it in the visit's span.
    fn name_in(&self, span: &Span);

    /// The visit.
    fn follow_up(
        app: App,
        claimed: Claimed<Self>,
    ) -> impl Future<Output = Result<(), Interrupted>> + Send
    where
        Self: Sized;
}

impl Job for Payment {
    fn merchant_id(&self) -> MerchantId {
        self.merchant_id
    }

    fn name_in(&self, span: &Span) {
        span.record("payment.id", tracing::field::display(self.id));
    }

    async fn follow_up(app: App, claimed: Claimed<Self>) -> Result<(), Interrupted> {
        app.follow_up(claimed).await
    }
}

impl Job for Refund {
    fn merchant_id(&self) -> MerchantId {
        self.merchant_id
    }

    fn name_in(&self, span: &Span) {
        span.record("payment.id", tracing::field::display(self.payment_id));
        span.record("refund.id", tracing::field::display(self.id));
    }

    async fn follow_up(app: App, claimed: Claimed<Self>) -> Result<(), Interrupted> {
        app.follow_up_refund(claimed).await
    }
}

impl Job for Registration {
    fn merchant_id(&self) -> MerchantId {
        self.merchant_id
    }

    fn name_in(&self, span: &Span) {
        span.record("registration.id", tracing::field::display(self.id));
    }

    async fn follow_up(app: App, claimed: Claimed<Self>) -> Result<(), Interrupted> {
        app.follow_up_registration(claimed).await
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

    /// A failed claim is as good as none: the next look will see. One whose answer was lost may stand.
    fn or_none<T>(&self, claims: Result<Claims<T>, DbError>) -> Claims<T> {
        claims.unwrap_or_else(|error| {
            tracing::warn!(error = %error, "due follow-ups could not be claimed");
            if error.is_in_doubt() {
                self.lost_a_claim.store(true, Ordering::Relaxed);
            }
            vec![]
        })
    }
}

/// One visit in a worker's hands, until it is dropped.
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

impl Worker {
    /// A worker that runs its visits on `tasks`.
    pub fn new(app: App, settings: WorkerSettings, tasks: TaskTracker) -> Self {
        let confirming = Lane::new(settings.concurrency);
        let closing = Lane::new(settings.concurrency);
        let refunds = Lane::new(settings.refund_concurrency());
        let registrations = Lane::new(settings.registration_concurrency());
        Self {
            app,
            settings,
            tasks,
            confirming,
            closing,
            refunds,
            registrations,
            hands: Arc::default(),
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
                self.run_maintenance().await;
                housekeeping_at = Instant::now() + HOUSEKEEPING_INTERVAL;
            }
            let looks = self.visit_due(&stop).await;
            // A lane that was filled may have more due: look again as soon as one of its visits ends.
            let next_look = Instant::now() + jittered(self.settings.poll_interval);
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep_until(next_look) => {}
                () = self.place_in_a_filled_lane(looks) => {}
            }
        }
        self.app.set_workers_running(false);
    }

    /// Claims what is due now, waits for its visits, and returns how many there were: the loop's
    /// step on its own, for tests that move the clock by hand.
    pub async fn run_once(&self) -> usize {
        let looks = self.visit_due(&CancellationToken::new()).await;
        tokio::join!(
            self.confirming.drained(),
            self.closing.drained(),
            self.refunds.drained(),
            self.registrations.drained()
        );
        [
            looks.confirming,
            looks.closing,
            looks.refunds,
            looks.registrations,
        ]
        .iter()
        .map(|look| look.visits)
        .sum()
    }

    /// Claims what is due and starts the visits, as far as there are places: first where somebody waits
    /// at a till. Claims nothing once `stop` is cancelled.
    async fn visit_due(&self, stop: &CancellationToken) -> Looks {
        let db = &self.app.db;
        let (name, lease) = (self.settings.name.as_str(), self.settings.lease);
        self.give_back_lost_claims().await;
        let confirming = self.look(&self.confirming, stop, async |places| {
            crashpoint!(db.failpoints, "worker.claiming_confirming");
            self.hands
                .or_none(db.claim_confirming_payments(name, places, lease).await)
        });
        let confirming = confirming.await;
        let closing = self.look(&self.closing, stop, async |places| {
            crashpoint!(db.failpoints, "worker.claiming");
            self.hands
                .or_none(db.claim_due_payments(name, places, lease).await)
        });
        let closing = closing.await;
        let refunds = self.look(&self.refunds, stop, async |places| {
            crashpoint!(db.failpoints, "worker.claiming_refunds");
            self.hands
                .or_none(db.claim_due_refunds(name, places, lease).await)
        });
        let refunds = refunds.await;
        let registrations = self.look(&self.registrations, stop, async |places| {
            self.hands
                .or_none(db.claim_due_registrations(name, places, lease).await)
        });
        Looks {
            confirming,
            closing,
            refunds,
            registrations: registrations.await,
        }
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

    /// Claims what is due for a lane and starts the visits.
    async fn look<T: Job>(
        &self,
        lane: &Lane,
        stop: &CancellationToken,
        claim: impl AsyncFnOnce(usize) -> Claims<T>,
    ) -> Look {
        let places = lane.free();
        if stop.is_cancelled() || places.is_empty() {
            return Look {
                visits: 0,
                filled: places.is_empty(),
            };
        }
        let claims = claim(places.len()).await;
        let look = Look {
            visits: claims.len(),
            filled: claims.len() == places.len(),
        };
        self.start_all(claims, places).await;
        look
    }

    /// Waits for a place in a lane that the last look had filled; for ever where it filled none.
    async fn place_in_a_filled_lane(&self, looks: Looks) {
        let place_in = async |lane: &Lane, look: Look| {
            if !look.filled {
                std::future::pending::<()>().await;
            }
            drop(lane.permits.acquire().await);
        };
        tokio::select! {
            () = place_in(&self.confirming, looks.confirming) => {}
            () = place_in(&self.closing, looks.closing) => {}
            () = place_in(&self.refunds, looks.refunds) => {}
            () = place_in(&self.registrations, looks.registrations) => {}
        }
    }

    async fn start_all<T: Job>(&self, claims: Claims<T>, places: Vec<OwnedSemaphorePermit>) {
        for (claim, place) in claims.into_iter().zip(places) {
            match claim {
                Ok(claimed) => self.start(claimed, place),
                Err(unreadable) => self.park_unreadable(unreadable).await,
            }
        }
    }

    /// Runs one visit on the tracker, for no longer than its lease.
    fn start<T: Job>(&self, claimed: Claimed<T>, place: OwnedSemaphorePermit) {
        let (app, lease) = (self.app.clone(), self.settings.lease);
        let hard_stop = self.hard_stop.clone();
        let span = tracing::info_span!(
            parent: None,
            "follow_up.visit",
            follow_up.id = %claimed.fence.follow_up_id,
            payment.id = tracing::field::Empty,
            refund.id = tracing::field::Empty,
            registration.id = tracing::field::Empty,
        );
        claimed.subject.name_in(&span);
        let in_hand = InHand::take(&self.hands, claimed.fence.follow_up_id);
        self.tasks.spawn(
            async move {
                crashpoint!(app.db.failpoints, "worker.visiting");
                visit(&app, claimed, lease, &hard_stop).await;
                crashpoint!(app.db.failpoints, "worker.visited");
                drop(in_hand);
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
        let problem = Problem::OfTheRow(error.to_string());
        give_back_failed(&self.app, merchant_id, fence, &problem, PARK_AFTER).await;
    }

    /// What keeps the schedule whole: whatever is open has a row (R12).
    pub async fn run_maintenance(&self) {
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

/// Why a visit failed.
#[derive(Debug)]
enum Problem {
    /// The row cannot be worked on: many of these park it.
    OfTheRow(String),
    /// Whatever is visited meets the same, until it has passed.
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

/// One visit with its errors handled: an error or a panic parks or delays this row alone (C10).
async fn visit<T: Job>(
    app: &App,
    claimed: Claimed<T>,
    lease: Duration,
    hard_stop: &CancellationToken,
) {
    let (fence, merchant_id, errors) = (
        claimed.fence,
        claimed.subject.merchant_id(),
        claimed.error_count,
    );
    // A panic unwinds only the inner task; this one lives to give the claim back.
    let work = app.run_detached(T::follow_up(app.clone(), claimed));
    let ended = tokio::select! {
        ended = timeout(lease, work) => ended,
        () = hard_stop.cancelled() => return hand_back(app, merchant_id, fence).await,
    };
    let problem = match ended {
        Ok(Ok(Ok(()))) => return,
        Ok(Ok(Err(interrupted))) => Problem::of(&interrupted),
        Ok(Err(_)) => Problem::OfTheRow("the visit panicked".to_owned()),
        Err(_) => Problem::OfTheEnvironment("the visit outlasted its lease".to_owned()),
    };
    tracing::warn!(error = %problem.text(), errors = errors + 1, "a follow-up visit failed");
    give_back_failed(app, merchant_id, fence, &problem, errors).await;
}

/// The visit is cut with the program. Whatever it still writes is guarded by its fence.
async fn hand_back(
    app: &App,
    merchant_id: MerchantId,
    fence: crate::db::payments::record::LeaseToken,
) {
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
    fence: crate::db::payments::record::LeaseToken,
    problem: &Problem,
    errors: i32,
) {
    crashpoint!(app.db.failpoints, "worker.giving_back");
    let failed = match problem {
        Problem::OfTheRow(error) => {
            let park = errors + 1 >= PARK_AFTER;
            if park {
                metrics::counter!("follow_ups_parked_total").increment(1);
                tracing::error!(follow_up.id = %fence.follow_up_id, error = %error, "a follow-up failed again and again; parked for a person, and tried again within the hour");
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
    if let Err(error) = app.db.fail_follow_up(merchant_id, fence, &failed).await {
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
