//! Moves a world by hand: calls that survive a dying replica, workers, and the way to quiescence.

use alipayhk_gateway::failpoint::Failpoints;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::support::{
    World,
    http::Answer,
    oracle::{Evidence, Heard, Violation, judge},
};

/// Longer than a lease (45 s).
pub(super) const PAST_THE_LEASE: TimeDelta = TimeDelta::seconds(46);

/// How much time a world may take to settle once nothing goes wrong any more.
const TIME_TO_SETTLE: TimeDelta = TimeDelta::hours(12);
/// How far the clock goes at least from one round of visits to the next while a world settles.
const STEP: TimeDelta = TimeDelta::seconds(20);

/// What the callers of a world were told.
#[derive(Default)]
pub(super) struct Ear(pub(super) Vec<Heard>);

impl Ear {
    /// Notes the answer to a create.
    pub(super) fn create(&mut self, caller: usize, key: &str, same_body: bool, answer: &Answer) {
        self.0.push(Heard {
            caller,
            key: Some(key.to_owned()),
            same_body,
            status: answer.status,
            replayed: answer.header("idempotent-replayed") == "true",
            body: answer.body.clone(),
        });
    }

    /// Notes the answer to anything else.
    pub(super) fn read(&mut self, caller: usize, answer: &Answer) {
        self.0.push(Heard {
            caller,
            key: None,
            same_body: true,
            status: answer.status,
            replayed: false,
            body: answer.body.clone(),
        });
    }
}

/// The points of a replica.
pub(super) fn points(world: &World, replica: usize) -> &Failpoints {
    world.replicas[replica].app.failpoints()
}

/// Waits for something a replica does; `None` if the replica stops at a point first.
pub(super) async fn unless_stopped<T>(
    world: &World,
    replica: usize,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        _ = points(world, replica).stopped() => None,
    }
}

/// `POST /v1/payments` at a replica; `None` if the replica stops first.
pub(super) async fn create(
    world: &World,
    replica: usize,
    key: &str,
    body: &Value,
    wait: u32,
) -> Option<Answer> {
    let till = world.till_at(replica);
    unless_stopped(world, replica, till.create(key, body, wait)).await
}

/// One round of a replica's worker: what is due now, and what that makes due.
pub(super) async fn work(world: &World, replica: usize) {
    let worker = &world.replicas[replica].worker;
    while unless_stopped(world, replica, worker.run_once())
        .await
        .is_some_and(|visits| visits > 0)
    {}
}

/// When the next visit is due, if any payment is open.
pub(super) async fn next_visit(world: &World) -> Option<DateTime<Utc>> {
    sqlx::query_scalar(
        "select min(greatest(due_at, coalesce(leased_until, due_at))) from follow_up
        where parked_at is null",
    )
    .fetch_one(&world.pool)
    .await
    .expect("the database answers")
}

/// Stops every fault, puts fresh replicas in the place of stopped ones, and lets time pass until
/// nothing is open any more.
pub(super) async fn settle(world: &mut World) {
    world.simulator.clear_faults().await;
    world.simulator.release().await;
    for replica in 0..world.replicas.len() {
        points(world, replica).disarm();
        if points(world, replica).is_stopped() {
            world.replace(replica).await;
        }
    }
    let deadline = world.now() + TIME_TO_SETTLE;
    let mut turn = 0;
    loop {
        world.quiet_down().await;
        turn = (turn + 1) % world.replicas.len();
        work(world, turn).await;
        let Some(next) = next_visit(world).await else {
            break;
        };
        if next > deadline {
            break;
        }
        // Workers may be late, and coarse steps make few visits.
        if next > world.now() {
            world.set_clock(next.max(world.now() + STEP)).await;
        }
    }
}

/// What the oracle says of a world at rest.
pub(super) async fn verdict(world: &World, ear: &Ear) -> Vec<Violation> {
    judge(&Evidence::of(world, &ear.0, true).await)
}

/// Ends a world in which everything must hold.
pub(super) async fn finish_clean(world: World, ear: &Ear) {
    let violations = verdict(&world, ear).await;
    assert!(violations.is_empty(), "{violations:#?}");
    world.finish().await;
}

/// Leaves figures for the report of a run beside the build: `proof/<name>.json`.
pub(super) fn publish(name: &str, figures: &Value) {
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("proof");
    std::fs::create_dir_all(&dir).expect("the figures' directory can be made");
    std::fs::write(dir.join(format!("{name}.json")), format!("{figures:#}"))
        .expect("the figures can be written");
}
