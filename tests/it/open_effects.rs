//! An answer that says nothing about the effect leaves the effect open: nothing reads final and no refund
//! is let out while a cancel may still act, and what is asked after that decides.

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{World, http::Caller};

/// How long a cancel may act after it was decided to send it.
const MAY_ACT: i64 = 60;

async fn cancel(world: &World, id: &str) {
    let request = world
        .till
        .request(Method::POST, &format!("/v1/payments/{id}/cancel"))
        .header("prefer", "wait=0");
    Caller::send(request).await;
}

/// Follows a payment second by second until it reads settled, for at most two minutes; returns when it
/// did, in seconds, and how it read then. Before that a refund is refused.
async fn until_settled(world: &mut World, id: &str) -> (i64, Value) {
    let part = json!({"amount": {"value": 100, "currency": "HKD"}});
    for second in 0..120 {
        let payment = world.till.payment(id).await;
        if payment["outcome_certainty"] == "final" {
            return (second, payment);
        }
        assert_ne!(payment["next_action"]["type"], "done", "{payment}");
        if second % 10 == 0 {
            let refused = world.till.refund(id, &part, 0).await;
            assert_eq!(refused.status, 409, "{refused:?}");
        }
        world.advance(TimeDelta::seconds(1)).await;
        world.run_due().await;
        world.settle_calls().await;
    }
    panic!("{} is open after two minutes", world.till.payment(id).await);
}

/// The buyer confirms in the last moment, our cancel is answered inconclusively, the query finds the trade
/// paid, and four seconds later Alipay performs the cancel.
#[sqlx::test]
async fn a_cancel_of_ours_that_acts_after_its_answer_is_never_read_as_a_sale(pool: PgPool) {
    let mut world = World::start(pool).await;
    for (answer, code) in [
        ("unknown", "0102"),
        ("system_error", "0102"),
        ("retry_success", "0102"),
        ("nothing", "0102"),
    ] {
        let open = world.pay_until_open(code).await;
        let id = open["id"].as_str().expect("an id").to_owned();
        world
            .simulator
            .script_late("cancel", 1, answer, Some(4))
            .await;
        for _ in 0..59 {
            world.advance(TimeDelta::seconds(1)).await;
            world.run_due().await;
            world.settle_calls().await;
        }
        let waiting = world.till.payment(&id).await;
        assert_eq!(waiting["status"], "processing", "{waiting}");
        let trans_id = waiting["partner_trans_id"].as_str().expect("an id");
        while world.simulator.late_effects().await.is_empty() {
            world.advance(TimeDelta::milliseconds(500)).await;
            world.run_due().await;
            world.settle_calls().await;
        }
        world.simulator.confirm(trans_id).await;
        let (_, end) = until_settled(&mut world, &id).await;
        assert_eq!(
            (&end["status"], &end["money_returned"]),
            (&json!("canceled"), &json!(true)),
            "{answer}: {end}"
        );
    }
    world.finish().await;
}

/// The same cancel, but Alipay never performs it: the sale stands, once the cancel cannot act any more,
/// and no further cancel was sent after the query that found it paid.
#[sqlx::test]
async fn a_cancel_of_ours_that_never_acts_leaves_the_sale_once_it_cannot(pool: PgPool) {
    let mut world = World::start(pool).await;
    let open = world.pay_until_open("0102").await;
    let id = open["id"].as_str().expect("an id").to_owned();
    world
        .simulator
        .script_late("cancel", 1, "unknown", None)
        .await;
    let trans_id = open["partner_trans_id"].as_str().expect("an id").to_owned();
    while world.simulator.count("cancel").await == 0 {
        world.advance(TimeDelta::milliseconds(500)).await;
        world.run_due().await;
        world.settle_calls().await;
    }
    world.simulator.confirm(&trans_id).await;
    let (seconds, end) = until_settled(&mut world, &id).await;
    assert_eq!(end["status"], "succeeded", "{end}");
    assert!(seconds >= MAY_ACT - 1, "{seconds}");
    assert_eq!(world.simulator.count("cancel").await, 1);
    world.finish().await;
}

/// A till's cancel of a paid payment, answered inconclusively and then refused: Alipay performs the first
/// one all the same.
#[sqlx::test]
async fn a_tills_cancel_that_acts_after_a_refusal_of_its_repeat_is_found(pool: PgPool) {
    let mut world = World::start(pool).await;
    for answer in ["unknown", "system_error", "retry_success", "nothing"] {
        let paid = world.pay("0001").await;
        world
            .simulator
            .script_late("cancel", 1, answer, Some(4))
            .await;
        cancel(&world, paid.id()).await;
        world.settle_calls().await;
        world
            .simulator
            .script_refusal("cancel", 3, "REASON_TRADE_BEEN_FREEZEN")
            .await;
        let (_, end) = until_settled(&mut world, paid.id()).await;
        assert_eq!(end["status"], "canceled", "{answer}: {end}");
        assert_eq!(end["money_returned"], true);
        world.simulator.clear_faults().await;
    }
    world.finish().await;
}

/// A code that nobody knows says nothing, whatever its flag: the payment stays open for as long as the
/// cancel may act, and is a sale after it.
#[sqlx::test]
async fn a_cancel_refused_with_an_unknown_code_is_settled_by_a_later_query(pool: PgPool) {
    let mut world = World::start(pool).await;
    let paid = world.pay("0001").await;
    world
        .simulator
        .script_refusal("cancel", 1000, "NEVER_HEARD_OF")
        .await;
    cancel(&world, paid.id()).await;
    world.settle_calls().await;
    for _ in 0..MAY_ACT - 5 {
        let open = world.till.payment(paid.id()).await;
        assert_ne!(open["outcome_certainty"], "final", "{open}");
        world.advance(TimeDelta::seconds(1)).await;
        world.run_due().await;
        world.settle_calls().await;
    }
    world.finish().await;
}
