//! The test of the tests: each planted defect is caught by the oracle within its budget
//! (`design/correctness.md` 3.2).
//!
//! A planted fault reigns over a whole process, so each test here starts this test program again
//! with `PLANTED_FAULT` set, to run `under_a_planted_fault` alone.

use std::{process::Stdio, time::Duration};

use alipayhk_gateway::failpoint::Action;
use chrono::TimeDelta;
use reqwest::Method;
use serde_json::json;
use sqlx::PgPool;
use tokio::process::Command;

use super::{
    crash_points::{OPERATIONS, operate, two_replicas},
    driver::{Ear, PAST_THE_LEASE, points, settle, verdict, work},
    histories::{Tally, run_world},
};
use crate::support::{World, alipay::JsonBody as _, http::body, oracle::Violation};

/// How many histories a planted fault may survive.
const BUDGET: u64 = 30;

/// Starts the fault's process and demands that it ends with a violation of one of `expected`.
async fn is_caught(fault: &str, expected: &[&str]) {
    let program = std::env::current_exe().expect("the test program has a path");
    let output = Command::new(program)
        .args([
            "--exact",
            "proof::planted::under_a_planted_fault",
            "--ignored",
            "--nocapture",
        ])
        .env("PLANTED_FAULT", fault)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("the test program starts");
    let text = String::from_utf8_lossy(&output.stderr);
    let caught = text.split("CAUGHT").nth(1).unwrap_or_default();
    assert!(
        expected
            .iter()
            .any(|id| caught.contains(&format!("{id}: "))),
        "{fault} was not caught as {expected:?}: {text}"
    );
}

/// Not a test of its own: what the others run in a process with a planted fault.
#[sqlx::test]
#[ignore = "started by the tests of this module, with PLANTED_FAULT"]
async fn under_a_planted_fault(pool: PgPool) {
    let fault = std::env::vars()
        .find(|(name, _)| name == "PLANTED_FAULT")
        .map(|(_, fault)| fault)
        .expect("a fault is named");
    let violations = match fault.as_str() {
        "exhaustion_is_failure" => one_operation(pool, "exhausted", None).await,
        "late_pay" => {
            let arm = ("pay.replied", Action::Pause, TimeDelta::seconds(200));
            one_operation(pool, "paid", Some(arm)).await
        }
        "not_detached" => a_caller_hangs_up(pool).await,
        "no_fence" => two_workers(pool).await,
        "no_unique_order" => rivals_without_a_constraint(pool).await,
        _ => run_world(pool, 1..=BUDGET, &mut Tally::default(), true).await,
    };
    assert!(violations.is_empty(), "CAUGHT {violations:#?}");
}

async fn one_operation(
    pool: PgPool,
    name: &str,
    arm: Option<(&str, Action, TimeDelta)>,
) -> Vec<Violation> {
    let mut world = two_replicas(pool).await;
    let mut ear = Ear::default();
    let operation = OPERATIONS
        .iter()
        .find(|operation| operation.name == name)
        .expect("a known operation");
    operate(&mut world, &mut ear, operation, "planted", arm).await;
    settle(&mut world).await;
    let violations = verdict(&world, &ear).await;
    world.end_without_checks().await;
    violations
}

/// C2: a caller who hangs up in the middle of the call; the outcome must be recorded all the same,
/// with no help of the schedule.
async fn a_caller_hangs_up(pool: PgPool) -> Vec<Violation> {
    let world = two_replicas(pool).await;
    let slow = json!({"type": "delay", "ms": 400});
    world.simulator.script("pay", 1, slow).await;
    let (till, request) = (world.till.clone(), body("0001"));
    let call = till.create("hang-up", &request, 5);
    let answered = tokio::time::timeout(Duration::from_millis(200), call).await;
    assert!(
        answered.is_err(),
        "the caller has hung up before the answer"
    );
    tokio::time::timeout(Duration::from_secs(5), async {
        while world.simulator.requests().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the payment is sent");
    world.quiet_down().await;
    let status: String = sqlx::query_scalar("select status from payment")
        .fetch_one(&world.pool)
        .await
        .expect("the database answers");
    world.end_without_checks().await;
    let holds = status == "succeeded";
    violation_unless(holds, "C2", "hanging up changed the outcome")
}

/// C7: a worker whose claim has passed to another must not write under it.
async fn two_workers(pool: PgPool) -> Vec<Violation> {
    let mut world = two_replicas(pool).await;
    let pending = world.till.pay_without_waiting("0102").await;
    assert_eq!(pending.status, 202, "{pending:?}");
    world.quiet_down().await;
    world.advance(TimeDelta::seconds(5)).await;
    points(&world, 0).arm("query.after_call", 0, Action::Pause);
    work(&world, 0).await;
    world.advance(PAST_THE_LEASE).await;
    points(&world, 1).arm("query.before_call", 0, Action::Pause);
    work(&world, 1).await;
    assert!(
        points(&world, 1).is_stopped(),
        "the second worker holds the claim"
    );
    let before = claim(&world).await;
    points(&world, 0).resume();
    world.quiet_down().await;
    let after = claim(&world).await;
    points(&world, 1).resume();
    world.quiet_down().await;
    world.end_without_checks().await;
    violation_unless(before == after, "C7", "a lost claim was written under")
}

/// The fence and whether a lease is held.
async fn claim(world: &World) -> (i64, bool) {
    sqlx::query_as("select fence, leased_until is not null from follow_up")
        .fetch_one(&world.pool)
        .await
        .expect("one follow-up")
}

/// D3: the planted fault is in the schema: nothing keeps two payments of one order apart.
async fn rivals_without_a_constraint(pool: PgPool) -> Vec<Violation> {
    let mut world = two_replicas(pool).await;
    sqlx::raw_sql("alter table payment drop constraint payment_merchant_reference_key")
        .execute(&world.pool)
        .await
        .expect("the constraint can be dropped");
    let mut ear = Ear::default();
    for round in 0..20 {
        let send = |replica: usize| {
            let mut request = body("0001");
            request["merchant_reference"] = json!(format!("ORDER-{round}"));
            let key = format!("rival-{round}-{replica}");
            let call = world
                .till_at(replica)
                .request(Method::POST, "/v1/payments")
                .header("idempotency-key", key)
                .json_body(&request);
            crate::support::http::Caller::send(call)
        };
        tokio::join!(send(0), send(1), send(0), send(1));
    }
    settle(&mut world).await;
    ear.0.clear();
    let violations = verdict(&world, &ear).await;
    world.end_without_checks().await;
    violations
}

fn violation_unless(holds: bool, invariant: &'static str, text: &str) -> Vec<Violation> {
    if holds {
        return vec![];
    }
    vec![Violation {
        invariant,
        text: text.to_owned(),
    }]
}

/// The directed scenarios find nothing where nothing is planted.
#[sqlx::test]
async fn c2_a_caller_who_hangs_up_changes_nothing(pool: PgPool) {
    assert_eq!(a_caller_hangs_up(pool).await, []);
}

#[sqlx::test]
async fn c7_a_worker_that_lost_its_claim_writes_nothing(pool: PgPool) {
    assert_eq!(two_workers(pool).await, []);
}

#[sqlx::test]
async fn m8_a_payment_that_comes_too_late_is_not_sent(pool: PgPool) {
    let arm = ("pay.replied", Action::Pause, TimeDelta::seconds(200));
    assert_eq!(one_operation(pool, "paid", Some(arm)).await, []);
}

macro_rules! planted {
    ($($test:ident = $fault:literal as $expected:expr),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $test() {
                is_caught($fault, &$expected).await;
            }
        )+
    };
}

planted! {
    silence_taken_for_failure_is_caught = "timeout_is_failure" as ["S3", "S5"],
    not_found_taken_for_failure_is_caught = "not_found_is_failure" as ["S3", "S5"],
    a_silent_cancel_taken_for_success_is_caught = "cancel_silence_is_success" as ["S6", "S5"],
    never_created_believed_at_once_is_caught = "no_grace" as ["S6"],
    exhaustion_taken_for_failure_is_caught = "exhaustion_is_failure" as ["S3", "S5"],
    a_payment_sent_too_late_is_caught = "late_pay" as ["M8", "S5", "S6"],
    an_id_per_attempt_is_caught = "id_per_attempt" as ["M1", "M7"],
    work_that_hangs_on_its_caller_is_caught = "not_detached" as ["C2"],
    a_call_before_its_intent_is_caught = "call_before_intent" as ["M8", "M7"],
    a_write_without_its_claim_is_caught = "no_fence" as ["C7"],
    a_doubled_transition_is_caught = "doubled_transition" as ["S7"],
    a_signature_not_checked_is_caught = "signature_ignored" as ["S9", "M6"],
    a_trade_not_compared_is_caught = "id_ignored" as ["S9"],
    an_amount_not_compared_is_caught = "amount_ignored" as ["S9"],
    a_day_of_another_zone_is_caught = "wrong_zone" as ["T1"],
    a_schema_without_unique_orders_is_caught = "no_unique_order" as ["D3"],
}
