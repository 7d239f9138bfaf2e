//! Every named point × {crash, error, delay past the lease, delay past the grace period} ×
//! operation: whatever happens at the point, the invariants hold and the payment reaches its true
//! end (C1, C3, C4, C5, C6).
//!
//! One world per operation and action; in it, one payment per point that the operation passes. The
//! point is armed on replica 0, which carries the operation; replica 1 takes over what it leaves.

use std::collections::{BTreeMap, BTreeSet};

use alipayhk_gateway::failpoint::Action;
use chrono::TimeDelta;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::driver::{
    Ear, PAST_THE_LEASE, create, finish_clean, next_visit, points, publish, settle, unless_stopped,
    verdict, work,
};
use crate::support::{Options, World, http::body};

/// An operation: the code that is scanned, what goes wrong at Alipay, and what follows.
struct Operation {
    name: &'static str,
    code: &'static str,
    /// Faults of Alipay's, for queries and cancels: service, times, fault.
    faults: &'static [(&'static str, u32, &'static str)],
    /// How far the clock goes before each round of replica 0's worker, in seconds.
    rounds: &'static [i64],
    /// What happens to the database before each round, for what callers cannot bring about.
    tampering: &'static str,
}

const OPERATIONS: &[Operation] = &[
    Operation {
        name: "paid",
        code: "0001",
        faults: &[],
        rounds: &[0],
        tampering: "",
    },
    Operation {
        name: "pending_then_paid",
        code: "0101",
        faults: &[],
        rounds: &[5, 3],
        tampering: "",
    },
    Operation {
        name: "declined",
        code: "1001",
        faults: &[],
        rounds: &[0],
        tampering: "",
    },
    Operation {
        name: "unknown_but_paid",
        code: "2003",
        faults: &[("query", 1, "system_error_before_effect")],
        rounds: &[5, 3],
        tampering: "",
    },
    Operation {
        name: "cancel_of_unpaid",
        code: "0102",
        faults: &[],
        rounds: &[5, 10],
        tampering: "",
    },
    Operation {
        name: "cancel_of_paid",
        code: "2003",
        faults: &[("query", 5, "not_exist")],
        rounds: &[15, 1],
        tampering: "",
    },
    Operation {
        name: "never_created",
        code: "2004",
        faults: &[],
        rounds: &[15, 185],
        tampering: "",
    },
    Operation {
        name: "exhausted",
        code: "2002",
        faults: &[("any", 40, "system_error_before_effect")],
        rounds: &[604_800],
        tampering: "",
    },
    Operation {
        name: "visited_too_early",
        code: "0102",
        faults: &[],
        rounds: &[1],
        tampering: "update follow_up set due_at = db_now()",
    },
    Operation {
        name: "schedule_lost",
        code: "0102",
        faults: &[],
        rounds: &[0],
        tampering: "delete from follow_up",
    },
    Operation {
        name: "schedule_left_over",
        code: "0001",
        faults: &[],
        rounds: &[0],
        tampering: "insert into follow_up (merchant_id, follow_up_id, kind, subject_id, due_at)
            select merchant_id, gen_random_uuid(), 'payment', payment_id, db_now()
            from payment where status = 'succeeded' order by payment_id desc limit 1",
    },
];

/// What is done at the point.
const ACTIONS: &[(&str, Action, TimeDelta)] = &[
    ("crash", Action::Crash, TimeDelta::zero()),
    ("error", Action::Error, TimeDelta::zero()),
    ("past_the_lease", Action::Pause, PAST_THE_LEASE),
    ("past_the_grace", Action::Pause, TimeDelta::seconds(200)),
];

/// Points that a payment passes only when something else has gone wrong before, and what must.
const AFTER_AN_ERROR: &[(&str, &str)] = &[
    ("worker.giving_back", "db.question.before"),
    ("db.fail_follow_up.before", "db.question.before"),
    ("db.fail_follow_up.after", "db.question.before"),
    ("db.existing.before", "db.intent.after"),
    ("db.existing.after", "db.intent.after"),
    ("db.payment.before", "db.record.after"),
    ("db.payment.after", "db.record.after"),
];

/// Takes one payment through the operation on replica 0, with `arm` armed there.
async fn operate(
    world: &mut World,
    ear: &mut Ear,
    operation: &Operation,
    case: &str,
    arm: Option<(&str, Action, TimeDelta)>,
) {
    world.simulator.clear_faults().await;
    if let Some((point, action, _)) = arm {
        if let Some((_, cause)) = AFTER_AN_ERROR.iter().find(|(after, _)| *after == point) {
            points(world, 0).arm(cause, 0, Action::Error);
        }
        points(world, 0).arm(point, 0, action);
    }
    let (key, mut request) = (format!("key-{case}"), body(operation.code));
    request["merchant_reference"] = json!(case);
    request["cancel_after_seconds"] = json!(15);
    request["terminal_id"] = Value::Null;
    let wait = u32::from(operation.name == "paid");
    if let Some(answer) = create(world, 0, &key, &request, wait).await {
        ear.create(0, &key, true, &answer);
    }
    take_over(world, arm).await;
    for (service, times, fault) in operation.faults {
        world
            .simulator
            .script(service, *times, json!({"type": fault}))
            .await;
    }
    for round in operation.rounds {
        world.quiet_down().await;
        world.advance(TimeDelta::seconds(*round)).await;
        sqlx::raw_sql(operation.tampering)
            .execute(&world.pool)
            .await
            .expect("the tampering is sound SQL");
        work(world, 0).await;
        take_over(world, arm).await;
    }
    let keep_house = unless_stopped(world, 0, world.replicas[0].worker.keep_house()).await;
    if keep_house.is_none() {
        take_over(world, arm).await;
    }
    // The caller, who may not have been answered, asks again: at the other replica, then here.
    for replica in [1, 0] {
        if let Some(answer) = create(world, replica, &key, &request, 0).await {
            ear.create(0, &key, true, &answer);
        }
        take_over(world, arm).await;
    }
    points(world, 0).disarm();
}

/// Where replica 0 has stopped: leaves it dead, or lets time pass and the other replica work before
/// it goes on.
async fn take_over(world: &mut World, arm: Option<(&str, Action, TimeDelta)>) {
    world.quiet_down().await;
    if !points(world, 0).is_stopped() {
        return;
    }
    let Some((_, action, pause)) = arm else {
        return;
    };
    if action == Action::Crash {
        world.replace(0).await;
        return;
    }
    let until = world.now() + pause;
    // The other replica lives through the pause as it would: visit by visit.
    while let Some(next) = next_visit(world).await {
        if next > until {
            break;
        }
        if next > world.now() {
            world.set_clock(next).await;
        }
        work(world, 1).await;
    }
    if world.now() < until {
        world.set_clock(until).await;
    }
    work(world, 1).await;
    points(world, 0).resume();
    world.quiet_down().await;
}

/// Runs one operation with every action at every point it passes, and says how often each happened.
async fn sweep(pool: PgPool, name: &str) {
    let operation = OPERATIONS
        .iter()
        .find(|operation| operation.name == name)
        .expect("a known operation");
    let mut world = two_replicas(pool).await;
    let mut ear = Ear::default();
    let passed = dry_run(&mut world, &mut ear, operation).await;
    let mut report = BTreeMap::new();
    for (action, kind, pause) in ACTIONS {
        for point in &passed {
            if *action == "past_the_grace" && !early(point) {
                continue;
            }
            if *kind == Action::Error && !can_fail(point) {
                continue;
            }
            let case = format!("{name}-{action}-{point}");
            let armed = points(&world, 0).clone();
            let arm = Some((point.as_str(), *kind, *pause));
            operate(&mut world, &mut ear, operation, &case, arm).await;
            settle(&mut world).await;
            report.insert(case, armed.fired(point));
        }
    }
    let never: Vec<&String> = report
        .iter()
        .filter(|(_, fired)| **fired == 0)
        .map(|(case, _)| case)
        .collect();
    assert!(never.is_empty(), "armed and never reached: {never:?}");
    publish(&format!("crash-points-{name}"), &json!(report));
    let mut violations = verdict(&world, &ear).await;
    // Held back between its last check and the wire, a pay can only be met afterwards: a packet that
    // left cannot be recalled. Its money must be right all the same.
    violations.retain(|v| !(v.invariant == "M8" && v.text.contains("-pay.before_call ")));
    assert!(violations.is_empty(), "{violations:#?}");
    world.finish().await;
}

async fn two_replicas(pool: PgPool) -> World {
    let options = Options {
        replicas: 2,
        ..Options::default()
    };
    World::start_with(pool, options).await
}

/// The operation undisturbed: which points it passes, and which it would pass after an error.
async fn dry_run(world: &mut World, ear: &mut Ear, operation: &Operation) -> BTreeSet<String> {
    let before = points(world, 0).hits();
    let case = format!("{}-undisturbed", operation.name);
    operate(world, ear, operation, &case, None).await;
    let after = points(world, 0).hits();
    settle(world).await;
    let mut passed: BTreeSet<String> = after
        .into_iter()
        .filter(|(point, hits)| before.get(point) != Some(hits))
        .map(|(point, _)| point)
        .collect();
    let more = AFTER_AN_ERROR
        .iter()
        .filter(|(_, cause)| passed.contains(*cause))
        .map(|(point, _)| (*point).to_owned());
    passed.extend(more.collect::<Vec<_>>());
    passed
}

/// The points of a payment before it is sent. At `pay.before_call` the request is on its way as far
/// as the program can tell; a code is dead at Alipay long before the grace period ends.
fn early(point: &str) -> bool {
    const STARTS: [&str; 6] = [
        "create.",
        "pay.accepted",
        "pay.intent_known",
        "pay.replied",
        "db.intent",
        "db.existing",
    ];
    STARTS.iter().any(|start| point.starts_with(start))
}

/// Whether an error can be met at a point: databases and Alipay fail, the steps between do not.
fn can_fail(point: &str) -> bool {
    point.starts_with("db.") || point.ends_with("_call")
}

/// Every point of the program, as its sources name them.
fn all_points() -> BTreeSet<String> {
    const SOURCES: [&str; 10] = [
        include_str!("../../../src/app/ask.rs"),
        include_str!("../../../src/app/create.rs"),
        include_str!("../../../src/app/follow_up.rs"),
        include_str!("../../../src/app/record.rs"),
        include_str!("../../../src/app/waiters.rs"),
        include_str!("../../../src/jobs/worker.rs"),
        include_str!("../../../src/db/intent.rs"),
        include_str!("../../../src/db/record.rs"),
        include_str!("../../../src/db/payments.rs"),
        include_str!("../../../src/db/follow_ups.rs"),
    ];
    let mut points: BTreeSet<String> = SOURCES
        .iter()
        .flat_map(|source| source.split("failpoints, \"").skip(1))
        .filter_map(|rest| rest.split('"').next())
        .map(str::to_owned)
        .collect();
    // The client names its points after the service.
    for service in ["pay", "query", "cancel"] {
        points.insert(format!("{service}.before_call"));
        points.insert(format!("{service}.after_call"));
    }
    points
}

#[sqlx::test]
async fn every_named_point_is_passed_by_some_operation(pool: PgPool) {
    let mut world = two_replicas(pool).await;
    let mut ear = Ear::default();
    let mut passed = BTreeSet::new();
    for operation in OPERATIONS {
        passed.extend(dry_run(&mut world, &mut ear, operation).await);
    }
    let all = all_points();
    let missed: Vec<&String> = all.difference(&passed).collect();
    assert!(missed.is_empty(), "no operation passes {missed:?}");
    assert!(all.len() >= 30, "{} points", all.len());
    finish_clean(world, &ear).await;
}

macro_rules! sweeps {
    ($($test:ident = $operation:literal),+ $(,)?) => {
        $(
            #[sqlx::test]
            async fn $test(pool: PgPool) {
                sweep(pool, $operation).await;
            }
        )+
    };
}

sweeps! {
    c1_a_paid_payment_survives_every_point = "paid",
    c1_a_payment_that_waits_survives_every_point = "pending_then_paid",
    c1_a_declined_payment_survives_every_point = "declined",
    c1_a_payment_with_a_lost_answer_survives_every_point = "unknown_but_paid",
    c1_the_cancel_of_an_unpaid_payment_survives_every_point = "cancel_of_unpaid",
    c1_the_cancel_of_a_paid_payment_survives_every_point = "cancel_of_paid",
    c1_a_payment_that_never_arrived_survives_every_point = "never_created",
    c1_a_plan_that_ends_survives_every_point = "exhausted",
    c1_a_visit_that_comes_too_early_survives_every_point = "visited_too_early",
    c8_a_lost_schedule_is_made_again_at_every_point = "schedule_lost",
    c9_a_schedule_left_over_is_removed_at_every_point = "schedule_left_over",
}
