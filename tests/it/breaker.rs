//! What happens to new work while Alipay does not answer.

use chrono::TimeDelta;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{
    Options, World,
    http::{Answer, body},
};

async fn world(pool: PgPool) -> World {
    let options = Options {
        breaker_calls: 3,
        ..Options::default()
    };
    World::start_with(pool, options).await
}

/// Three payments that meet a dead Alipay: their outcome is unknown.
async fn silence(world: &mut World, fault: Value) {
    world.simulator.script("pay", 1000, fault).await;
    for _ in 0..3 {
        let sent = world.till.pay_without_waiting("0001").await;
        assert_eq!(sent.summary("status"), (202, "processing"), "{sent:?}");
        world.settle_calls().await;
        world.advance(TimeDelta::seconds(1)).await;
    }
}

fn assert_refused(answer: &Answer) {
    assert_eq!(
        answer.summary("code"),
        (503, "upstream_unavailable"),
        "{answer:?}"
    );
    assert_eq!(answer.body["attempted"], "false");
    let seconds: u32 = answer.header("retry-after").parse().expect("seconds");
    assert!((1..=10).contains(&seconds), "{answer:?}");
}

/// `upstream_unavailable` is answered before anything is stored, so the key is not
/// used up; what exists is read, replayed and canceled as ever.
#[sqlx::test]
async fn while_alipay_is_silent_new_work_is_refused_and_nothing_else_is(pool: PgPool) {
    let mut world = world(pool).await;
    let order = body("0001");
    let paid = world.till.create("paid", &order, 10).await;
    assert_eq!(paid.summary("status"), (201, "succeeded"));
    silence(&mut world, json!({"type": "drop_before_effect"})).await;
    let (rows, calls) = (world.rows().await, world.simulator.requests().await.len());

    let new = body("0001");
    let refused = world.till.create("new", &new, 0).await;
    assert_refused(&refused);
    let id = paid.id();
    let refund = world.till.refund(id, &json!({}), 0).await;
    assert_refused(&refund);
    let refresh = format!("/v1/payments/{id}/refresh");
    assert_refused(&world.till.post(&refresh, &Value::Null).await);
    assert_eq!(world.rows().await, rows, "nothing was stored");
    assert_eq!(world.simulator.requests().await.len(), calls, "or asked");

    let replayed = world.till.create("paid", &order, 0).await;
    assert_eq!(replayed.id(), id);
    let read = world.till.payment(id).await;
    assert_eq!(read["status"], "succeeded");
    let cancel = format!("/v1/payments/{id}/cancel");
    let canceled = world.till.post(&cancel, &Value::Null).await;
    assert_eq!(canceled.body["status"], "canceled", "{canceled:?}");
    // That was an answer.
    world.simulator.clear_faults().await;
    let taken = world.till.create("new", &new, 10).await;
    assert_eq!(taken.summary("status"), (201, "succeeded"), "{taken:?}");
    world.finish().await;
}

#[sqlx::test]
async fn an_answered_follow_up_lets_new_work_through(pool: PgPool) {
    let mut world = world(pool).await;
    silence(&mut world, json!({"type": "http_status", "status": 502})).await;
    world.simulator.clear_faults().await;
    assert_refused(&world.till.create("new", &body("0001"), 0).await);
    world.advance(TimeDelta::seconds(5)).await;
    world.run_due().await;
    let taken = world.till.create("new", &body("0001"), 10).await;
    assert_eq!(taken.summary("status"), (201, "succeeded"), "{taken:?}");
    world.finish().await;
}

/// Without any follow-up one payment per pause is the trial.
#[sqlx::test]
async fn one_trial_per_pause_finds_out_that_alipay_answers_again(pool: PgPool) {
    let mut world = world(pool).await;
    silence(&mut world, json!({"type": "drop_before_effect"})).await;
    assert_refused(&world.till.create("new", &body("0001"), 0).await);
    world.advance(TimeDelta::seconds(10)).await;
    let trial = world.till.pay_without_waiting("0001").await;
    assert_eq!(trial.summary("status"), (202, "processing"), "{trial:?}");
    world.settle_calls().await;
    assert_refused(&world.till.create("new", &body("0001"), 0).await);
    world.simulator.clear_faults().await;
    world.advance(TimeDelta::seconds(10)).await;
    for key in ["new", "another"] {
        let taken = world.till.create(key, &body("0001"), 10).await;
        assert_eq!(taken.summary("status"), (201, "succeeded"), "{taken:?}");
    }
    world.finish().await;
}

/// They concern one trade, or the keys, not whether Alipay can be reached.
#[sqlx::test]
async fn refusals_bad_signatures_and_system_errors_hold_nothing_back(pool: PgPool) {
    let mut world = world(pool).await;
    for fault in ["system_error_before_effect", "wrong_signature_key", "html"] {
        silence(&mut world, json!({ "type": fault })).await;
        world.simulator.clear_faults().await;
        let taken = world.till.pay("0001").await;
        assert_eq!(taken.summary("status"), (201, "succeeded"), "{taken:?}");
    }
    world.finish().await;
}
