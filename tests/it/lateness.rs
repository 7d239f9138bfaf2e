//! However late we are, we ask before we cancel (M10); what is known not to have happened ends in seconds;
//! and slow cancels do not delay the questions about young payments (T8).

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::json;
use sqlx::PgPool;

use crate::support::{
    Options, World, all, eventually,
    http::{Caller, body},
};

const PAY: &str = "pay";
const QUERY: &str = "query";
const CANCEL: &str = "cancel";

/// Five sales are paid while our side is away; Alipay has heard nothing from us since.
async fn paid_while_we_were_away(pool: PgPool, cancel_after_seconds: i64, away: TimeDelta) {
    let mut world = World::start(pool).await;
    let mut sales = vec![];
    for n in 0..5 {
        let mut order = body("2003");
        order["cancel_after_seconds"] = json!(cancel_after_seconds);
        let key = format!("away-{n}");
        sales.push(world.till.create(&key, &order, 0).await);
    }
    world.settle_calls().await;
    world.advance(away).await;
    world.run_due().await;
    for sale in &sales {
        let paid = world.till.payment(sale.id()).await;
        assert_eq!(paid["status"], "succeeded", "{paid}");
        assert_eq!(
            world.events(sale.id()).await,
            ["created", "outcome_became_unknown", "paid"]
        );
    }
    assert_eq!(
        world.simulator.count(CANCEL).await,
        0,
        "nothing is reversed"
    );
    assert_eq!(world.simulator.count(QUERY).await, 5, "one question each");
    world.finish().await;
}

#[sqlx::test]
async fn m10_sales_paid_in_an_outage_of_75_s_are_not_reversed(pool: PgPool) {
    paid_while_we_were_away(pool, 60, TimeDelta::seconds(75)).await;
}

#[sqlx::test]
async fn m10_sales_with_15_s_to_confirm_survive_an_outage_of_20_s(pool: PgPool) {
    paid_while_we_were_away(pool, 15, TimeDelta::seconds(20)).await;
}

#[sqlx::test]
async fn m10_a_gateway_that_was_stopped_for_an_hour_asks_first(pool: PgPool) {
    paid_while_we_were_away(pool, 60, TimeDelta::hours(1)).await;
}

/// Sales are paid while the database is away from replica 0, which holds Alipay's answers. Another
/// replica, where there is one, sees the payments all the time.
async fn paid_while_the_database_is_away(
    pool: PgPool,
    replicas: usize,
    (sales, cancel_after_seconds): (u32, i64),
    away: TimeDelta,
) {
    let options = Options {
        replicas,
        proxied: 1,
        ..Options::default()
    };
    let mut world = World::start_with(pool, options).await;
    world
        .simulator
        .script(PAY, sales, json!({"type": "hold"}))
        .await;
    let held = (0..sales).map(async |n| {
        let mut order = body("0001");
        order["cancel_after_seconds"] = json!(cancel_after_seconds);
        world.till.create(&format!("held-{n}"), &order, 0).await
    });
    let held = all(held).await;
    world.until_received(PAY, held.len()).await;
    world.proxy().refuse();
    world.simulator.release().await;
    // In steps, as the time goes: whoever still has a database looks at what is due.
    for _ in 0..away.num_seconds() / 5 {
        world.advance(TimeDelta::seconds(5)).await;
        if replicas > 1 {
            world.replicas[1].worker.run_once().await;
        }
    }
    world.proxy().restore();
    world.settle_calls().await;
    world.run_due().await;
    for sale in &held {
        let paid = world.till.payment(sale.id()).await;
        assert_eq!(paid["status"], "succeeded", "{paid}");
    }
    assert_eq!(
        world.simulator.count(CANCEL).await,
        0,
        "nothing is reversed"
    );
    world.finish().await;
}

#[sqlx::test]
async fn m10_answers_held_while_postgres_is_away_for_75_s_are_written(pool: PgPool) {
    paid_while_the_database_is_away(pool, 1, (5, 60), TimeDelta::seconds(75)).await;
}

#[sqlx::test]
async fn m10_no_failover_of_20_s_reverses_a_sale_with_15_s_to_confirm(pool: PgPool) {
    paid_while_the_database_is_away(pool, 1, (20, 15), TimeDelta::seconds(20)).await;
}

/// The answers are in the hands of a replica that cannot write them, and the other one asks.
#[sqlx::test]
async fn m10_a_replica_asks_about_what_another_one_cannot_write(pool: PgPool) {
    paid_while_the_database_is_away(pool, 2, (5, 60), TimeDelta::seconds(75)).await;
}

/// On time, too: the buyer confirms in the last second, after the last of the quick questions.
#[sqlx::test]
async fn m10_a_buyer_who_confirms_in_the_last_second_has_bought(pool: PgPool) {
    let mut world = World::start(pool).await;
    let mut order = body("0102");
    order["cancel_after_seconds"] = json!(15);
    let open = world.till.create("last-second", &order, 0).await;
    world.settle_calls().await;
    for _ in 0..14 {
        world.run_due().await;
        world.advance(TimeDelta::seconds(1)).await;
    }
    world.run_due().await;
    let id = open.body["partner_trans_id"].as_str().expect("an id");
    world.simulator.confirm(id).await;
    world.advance(TimeDelta::seconds(1)).await;
    world.run_due().await;
    let paid = world.till.payment(open.id()).await;
    assert_eq!(paid["status"], "succeeded", "{paid}");
    assert_eq!(world.simulator.count(CANCEL).await, 0);
    world.finish().await;
}

/// T8: cancels that hang hold their own places. A fresh sale is asked about when it is due, and so is the
/// buyer who has confirmed meanwhile.
#[sqlx::test]
async fn t8_hanging_cancels_do_not_delay_the_first_question_about_a_fresh_sale(pool: PgPool) {
    /// Many times the places that there are for them.
    const CANCELS: u32 = 200;
    let mut world = World::start(pool).await;
    for n in 0..CANCELS {
        let mut order = body("0102");
        order["cancel_after_seconds"] = json!(60);
        world.till.create(&format!("slow-{n}"), &order, 0).await;
    }
    world.settle_calls().await;
    world
        .simulator
        .script(CANCEL, CANCELS, json!({"type": "hold"}))
        .await;
    world.advance(TimeDelta::seconds(56)).await;
    let fresh = world.pay_unheard().await;
    world.advance(TimeDelta::seconds(5)).await;
    let worker = &world.replicas[0].worker;
    tokio::join!(worker.run_once(), async {
        eventually("the fresh sale is asked about", async || {
            world.till.payment(fresh.id()).await["status"] == "succeeded"
        })
        .await;
        world.until_received(CANCEL, 8).await;
        assert_eq!(
            world.simulator.held().await,
            8,
            "every place for cancels is taken"
        );
        world.simulator.release().await;
    });
    world.simulator.clear_faults().await;
    world.run_due().await;
    world.finish().await;
}

/// A pay that Alipay refused with a code that no document lists: a cancel and a query that find nothing
/// end it, in seconds.
#[sqlx::test]
async fn a_refusal_with_an_unlisted_code_is_closed_in_seconds(pool: PgPool) {
    let mut world = World::start(pool).await;
    let open = world.pay("1099").await;
    assert_eq!(open.summary("status"), (202, "processing"), "{open:?}");
    let end = world
        .run_until_final(open.id(), TimeDelta::seconds(10))
        .await;
    assert_eq!(end["status"], "canceled");
    assert_eq!(end["status_reason"], "never_created");
    assert_eq!(world.simulator.count(CANCEL).await, 1);
    world.finish().await;
}

/// A pay that was lost before it arrived, canceled by the till: one cancel, and the end as soon as the
/// pay cannot arrive any more.
#[sqlx::test]
async fn a_lost_pay_that_the_till_cancels_ends_within_a_minute_and_with_one_cancel(pool: PgPool) {
    let mut world = World::start(pool).await;
    let open = world.pay("2004").await;
    assert_eq!(open.summary("status"), (202, "processing"), "{open:?}");
    let path = format!("/v1/payments/{}/cancel", open.id());
    let cancel = world.till.request(Method::POST, &path);
    Caller::send(cancel.header("prefer", "wait=0")).await;
    world.settle_calls().await;
    let end = world
        .run_until_final(open.id(), TimeDelta::seconds(55))
        .await;
    assert_eq!(end["status"], "canceled");
    assert_eq!(world.simulator.count(CANCEL).await, 1);
    world.finish().await;
}
