//! Cancels that callers ask for: unpaid, paid, never created, too late, and under a lost answer.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{
    Options, World,
    alipay::JsonBody as _,
    http::{Answer, Caller, body},
};

async fn cancel(world: &World, id: &str, wait: u32) -> Answer {
    let path = format!("/v1/payments/{id}/cancel");
    let request = world
        .till
        .request(Method::POST, &path)
        .header("prefer", format!("wait={wait}"));
    Caller::send(request).await
}

async fn cancel_known(world: &World, known: &Value) -> Answer {
    let request = world.till.request(Method::POST, "/v1/payments/cancel");
    Caller::send(request.json_body(known)).await
}

#[sqlx::test]
async fn hk_6_an_unpaid_payment_is_closed_and_nothing_is_charged(pool: PgPool) {
    let world = World::start(pool).await;
    let pending = world.till.pay_without_waiting("0102").await;
    world.settle_calls().await;
    let canceled = cancel(&world, pending.id(), 5).await;
    assert_eq!(
        canceled.summary("status"),
        (200, "canceled"),
        "{canceled:?}"
    );
    assert_eq!(canceled.body["status_reason"], "requested");
    assert_eq!(canceled.body["money_returned"], false);
    let trades = world.simulator.trades().await;
    assert_eq!(trades[0]["status"], "TRADE_CLOSED");
    let again = cancel(&world, pending.id(), 5).await;
    assert_eq!(again.body, canceled.body, "a cancel may be sent again");
    world.finish().await;
}

#[sqlx::test]
async fn hk_6_a_paid_payment_is_returned_in_full(pool: PgPool) {
    let world = World::start(pool).await;
    let paid = world.pay("0001").await;
    let canceled = cancel(&world, paid.id(), 5).await;
    assert_eq!(
        canceled.summary("status"),
        (200, "canceled"),
        "{canceled:?}"
    );
    assert_eq!(canceled.body["status_reason"], "requested");
    assert_eq!(canceled.body["money_returned"], true);
    assert_eq!(
        canceled.body["wallet"], "ALIPAYHK",
        "the charge that was stays visible"
    );
    let events = world.events(paid.id()).await;
    assert_eq!(events, ["created", "paid", "cancel_started", "closed"]);
    world.finish().await;
}

/// S6: while the cancel of a paid payment is not confirmed, nobody reads "canceled".
#[sqlx::test]
async fn s6_a_cancel_that_meets_silence_stays_under_way_until_it_is_confirmed(pool: PgPool) {
    let mut world = World::start(pool).await;
    let paid = world.pay("0001").await;
    world
        .simulator
        .script("cancel", 2, json!({"type": "drop_before_effect"}))
        .await;
    let pending = cancel(&world, paid.id(), 0).await;
    assert_eq!(pending.summary("status"), (202, "succeeded"), "{pending:?}");
    assert_eq!(pending.body["cancel_pending"], true);
    world.settle_calls().await;
    let mut seen = vec![];
    for _ in 0..30 {
        world.run_due().await;
        let now = world.till.payment(paid.id()).await;
        seen.push(now["status"].as_str().unwrap_or_default().to_owned());
        if now["status"] == "canceled" {
            break;
        }
        world.advance(TimeDelta::seconds(1)).await;
    }
    assert_eq!(
        seen.last().map(String::as_str),
        Some("canceled"),
        "{seen:?}"
    );
    let trade = &world.simulator.trades().await[0];
    assert_eq!(trade["status"], "TRADE_CLOSED");
    world.finish().await;
}

/// S5: the answer to the cancel is lost although it returned the money; the truth is found.
#[sqlx::test]
async fn s5_a_cancel_whose_answer_is_lost_ends_as_the_truth(pool: PgPool) {
    let mut world = World::start(pool).await;
    let paid = world.pay("0001").await;
    world
        .simulator
        .script("cancel", 1, json!({"type": "drop_after_effect"}))
        .await;
    cancel(&world, paid.id(), 0).await;
    world.settle_calls().await;
    for _ in 0..10 {
        world.advance(TimeDelta::seconds(1)).await;
        world.run_due().await;
    }
    let end = world.till.payment(paid.id()).await;
    assert_eq!(end["status"], "canceled", "{end}");
    assert_eq!(end["money_returned"], true);
    world.finish().await;
}

#[sqlx::test]
async fn t4_a_paid_payment_of_yesterday_is_refused_with_the_alternative(pool: PgPool) {
    let mut world = World::start(pool).await;
    let paid = world.pay("0001").await;
    world.advance(TimeDelta::days(1)).await;
    let refused = cancel(&world, paid.id(), 5).await;
    assert_eq!(
        refused.summary("code"),
        (409, "cancel_window_closed"),
        "{refused:?}"
    );
    assert_eq!(refused.body["alternative"], "refund");
    assert_eq!(refused.body["attempted"], "false");
    assert_eq!(refused.body["payment_id"], *paid.id());
    assert_eq!(
        world.simulator.count("cancel").await,
        0,
        "Alipay was not asked"
    );
    world.finish().await;
}

/// T4: Alipay alone decides; a cancel it refuses for good leaves the payment paid, by a query.
#[sqlx::test]
async fn t4_a_cancel_that_alipay_refuses_leaves_the_payment_paid(pool: PgPool) {
    let mut world = World::start(pool).await;
    let paid = world.pay("0001").await;
    let fault = json!({"type": "cancel_fail", "code": "TRADE_HAS_FINISHED", "retry_flag": "N"});
    world.simulator.script("cancel", 1, fault).await;
    cancel(&world, paid.id(), 0).await;
    world.settle_calls().await;
    world.advance(TimeDelta::seconds(1)).await;
    world.run_due().await;
    let end = world.till.payment(paid.id()).await;
    assert_eq!(
        (&end["status"], &end["cancel_pending"]),
        (&json!("succeeded"), &json!(false))
    );
    let events = world.events(paid.id()).await;
    assert_eq!(
        events,
        ["created", "paid", "cancel_started", "cancel_refused"]
    );
    world.finish().await;
}

/// Each refusal names its own reason: the time, or what Alipay says.
#[sqlx::test]
async fn a_cancel_refused_for_another_reason_than_time_says_so(pool: PgPool) {
    let mut world = World::start(pool).await;
    for (code, problem, alternative) in [
        ("REASON_TRADE_BEEN_FREEZEN", "cancel_refused", Value::Null),
        ("TRADE_ROLE_ERROR", "cancel_refused", Value::Null),
        (
            "TRADE_HAS_FINISHED",
            "cancel_window_closed",
            json!("refund"),
        ),
    ] {
        let paid = world.pay("0001").await;
        world.simulator.script_refusal("cancel", 1, code).await;
        let before = world.simulator.count("cancel").await;
        let path = format!("/v1/payments/{}/cancel", paid.id());
        let request = world.till.request(Method::POST, &path);
        let asking = Caller::send(request.header("prefer", "wait=20"));
        let following = async {
            world.until_received("cancel", before + 1).await;
            world.settle_calls().await;
            world.advance(TimeDelta::seconds(2)).await;
            world.run_due().await;
        };
        let (refused, ()) = tokio::join!(asking, following);
        assert_eq!(refused.summary("code"), (409, problem), "{refused:?}");
        assert_eq!(refused.body["alternative"], alternative);
        assert_eq!(refused.body["attempted"], "true", "it was sent");
        let detail = refused.body["detail"].as_str().unwrap_or_default();
        assert_eq!(
            detail.contains(code),
            problem == "cancel_refused",
            "{detail}"
        );
    }
    world.finish().await;
}

#[sqlx::test]
async fn a_declined_payment_has_nothing_to_cancel(pool: PgPool) {
    let world = World::start(pool).await;
    let declined = world.pay("1001").await;
    let refused = cancel(&world, declined.id(), 5).await;
    assert_eq!(
        refused.summary("code"),
        (409, "invalid_state"),
        "{refused:?}"
    );
    let unknown = cancel(&world, "pay_01a20695cf2071ae8940f78c28efd8a3", 5).await;
    assert_eq!(unknown.summary("code"), (404, "payment_not_found"));
    world.finish().await;
}

#[sqlx::test]
async fn a_payment_with_a_refund_cannot_be_canceled(pool: PgPool) {
    let world = World::start(pool).await;
    let paid = world.pay("0001").await;
    let part = json!({"amount": {"value": 100, "currency": "HKD"}});
    world.till.refund(paid.id(), &part, 5).await;
    let refused = cancel(&world, paid.id(), 5).await;
    assert_eq!(
        refused.summary("code"),
        (409, "invalid_state"),
        "{refused:?}"
    );
    assert_eq!(world.simulator.count("cancel").await, 0);
    world.finish().await;
}

#[sqlx::test]
async fn a_till_without_an_answer_cancels_by_reference_or_by_key(pool: PgPool) {
    let world = World::start(pool).await;
    let request = body("0001");
    world.till.create("key-1", &request, 5).await;
    let by_key = cancel_known(&world, &json!({"idempotency_key": "key-1"})).await;
    assert_eq!(by_key.summary("status"), (200, "canceled"), "{by_key:?}");
    let reference = &request["merchant_reference"];
    let by_reference = cancel_known(&world, &json!({"merchant_reference": reference})).await;
    assert_eq!(by_reference.body, by_key.body);
    world.finish().await;
}

#[sqlx::test]
async fn a_create_that_arrives_after_its_cancel_is_refused(pool: PgPool) {
    let world = World::start(pool).await;
    let request = body("0001");
    let reference = &request["merchant_reference"];
    let canceled = cancel_known(&world, &json!({"merchant_reference": reference})).await;
    assert_eq!(
        canceled.summary("object"),
        (200, "canceled_before_creation"),
        "{canceled:?}"
    );
    let late = world.till.create("key-1", &request, 5).await;
    assert_eq!(
        late.summary("code"),
        (409, "canceled_before_creation"),
        "{late:?}"
    );
    let by_key = cancel_known(&world, &json!({"idempotency_key": "key-2"})).await;
    assert_eq!(by_key.summary("object"), (200, "canceled_before_creation"));
    let late = world.till.create("key-2", &body("0001"), 5).await;
    assert_eq!(
        late.summary("code"),
        (409, "canceled_before_creation"),
        "{late:?}"
    );
    assert!(
        world.simulator.requests().await.is_empty(),
        "nothing was sent"
    );
    world.finish().await;
}

#[sqlx::test]
async fn a_cancel_by_reference_names_all_its_faults(pool: PgPool) {
    let world = World::start(pool).await;
    for (known, codes) in [
        (json!({}), vec!["required"]),
        (
            json!({"merchant_reference": "A", "idempotency_key": "B"}),
            vec!["not_together"],
        ),
        (
            json!({"merchant_reference": "a b", "extra": 1}),
            vec!["invalid_format", "unknown_field"],
        ),
        (json!({"idempotency_key": 7}), vec!["wrong_type"]),
    ] {
        let refused = cancel_known(&world, &known).await;
        assert_eq!(
            refused.summary("code"),
            (422, "validation_failed"),
            "{known}: {refused:?}"
        );
        let found: Vec<&str> = refused.body["errors"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|fault| fault["code"].as_str().unwrap_or_default())
            .collect();
        assert_eq!(found, codes, "{known}");
    }
    world.finish().await;
}

/// The create and the cancel of one order race on three replicas: either the payment exists and is
/// canceled, or it never will.
#[sqlx::test]
async fn a_race_of_create_and_cancel_has_one_outcome(pool: PgPool) {
    let world = World::start_with(
        pool,
        Options {
            replicas: 2,
            ..Options::default()
        },
    )
    .await;
    let other = world
        .caller(
            1,
            &alipayhk_gateway::domain::access::principal::Scope::OF_MERCHANT,
        )
        .await;
    for round in 0..20 {
        let request = body("0001");
        let known = json!({"merchant_reference": request["merchant_reference"]});
        let key = format!("round-{round}");
        let create = world.till.create(&key, &request, 5);
        let cancel = Caller::send(
            other
                .request(Method::POST, "/v1/payments/cancel")
                .json_body(&known),
        );
        let (created, canceled) = tokio::join!(create, cancel);
        match canceled.body["object"].as_str() {
            Some("canceled_before_creation") => {
                assert_eq!(created.summary("code"), (409, "canceled_before_creation"));
            }
            Some("payment") => assert_eq!(created.body["id"], canceled.body["id"]),
            _ => panic!("{canceled:?}"),
        }
    }
    world.settle_calls().await;
    let charged = world.simulator.trades().await;
    assert!(
        charged
            .iter()
            .all(|trade| trade["status"] != "WAIT_BUYER_PAY")
    );
    world.finish().await;
}

#[sqlx::test]
async fn hk_8_around_midnight_alipay_decides(pool: PgPool) {
    let now: DateTime<Utc> = "2026-01-02T15:59:30Z".parse().expect("an RFC 3339 instant");
    let mut world = World::start_with(
        pool,
        Options {
            now,
            ..Options::default()
        },
    )
    .await;
    let unpaid = world.till.pay_without_waiting("0102").await;
    let paid = world.pay("0001").await;
    world.settle_calls().await;
    world.advance(TimeDelta::seconds(40)).await;
    let closed = cancel(&world, unpaid.id(), 5).await;
    assert_eq!(
        closed.summary("status"),
        (200, "canceled"),
        "unpaid, within its 15 minutes"
    );
    let refused = cancel(&world, paid.id(), 5).await;
    assert_eq!(
        refused.summary("code"),
        (409, "cancel_window_closed"),
        "paid, after its day"
    );
    world.finish().await;
}

/// A cancel that meets silence and whose follow-up then is off the schedule, by `off`.
async fn wished_and_off_the_schedule(pool: PgPool, off: &'static str) -> (World, String) {
    let world = World::start(pool).await;
    let paid = world.pay("0001").await;
    let lost = json!({"type": "drop_before_effect"});
    world.simulator.script("cancel", 1, lost).await;
    let pending = cancel(&world, paid.id(), 0).await;
    assert_eq!(pending.body["cancel_pending"], true, "{pending:?}");
    world.settle_calls().await;
    world.sql(off).await;
    (world, paid.id().to_owned())
}

/// What a caller asks for again is done again, also where nobody would have come back to it; and it is
/// back on the schedule.
async fn a_second_cancel_is_sent(pool: PgPool, off: &'static str) {
    let (world, id) = wished_and_off_the_schedule(pool, off).await;
    let canceled = cancel(&world, &id, 5).await;
    assert_eq!(
        canceled.summary("status"),
        (200, "canceled"),
        "{canceled:?}"
    );
    assert_eq!(world.simulator.count("cancel").await, 2);
    world.finish().await;
}

#[sqlx::test]
async fn a_cancel_asked_for_again_is_sent_although_its_follow_up_is_parked(pool: PgPool) {
    let off = "update follow_up set parked_at = db_now(), due_at = db_now() + interval '1 hour'";
    a_second_cancel_is_sent(pool, off).await;
}

#[sqlx::test]
async fn a_cancel_asked_for_again_is_sent_although_its_follow_up_was_abandoned(pool: PgPool) {
    let off = "update follow_up set parked_at = db_now(), abandoned_reason = 'case 7',
        abandoned_by = gen_random_uuid()";
    a_second_cancel_is_sent(pool, off).await;
}

#[sqlx::test]
async fn a_cancel_asked_for_again_is_sent_although_its_follow_up_is_far_off(pool: PgPool) {
    let off = "update follow_up set due_at = db_now() + interval '1 hour'";
    a_second_cancel_is_sent(pool, off).await;
}

/// Where the second one meets silence as well, the schedule goes on.
#[sqlx::test]
async fn a_cancel_asked_for_again_puts_its_follow_up_back_on_the_schedule(pool: PgPool) {
    let off = "update follow_up set parked_at = db_now(), abandoned_reason = 'case 7'";
    let (mut world, id) = wished_and_off_the_schedule(pool, off).await;
    let lost = json!({"type": "drop_before_effect"});
    world.simulator.script("cancel", 1, lost).await;
    let pending = cancel(&world, &id, 0).await;
    assert_eq!(pending.status, 202, "{pending:?}");
    world.settle_calls().await;
    for _ in 0..30 {
        world.advance(TimeDelta::seconds(1)).await;
        world.run_due().await;
    }
    assert_eq!(world.till.payment(&id).await["status"], "canceled");
    world.finish().await;
}

/// After the cancel window the wish that stands is decided by a question, not refused to who repeats it.
#[sqlx::test]
async fn a_cancel_asked_for_again_after_its_window_is_decided(pool: PgPool) {
    let off = "update follow_up set parked_at = db_now(), due_at = db_now() + interval '2 days'";
    let (mut world, id) = wished_and_off_the_schedule(pool, off).await;
    world.advance(TimeDelta::days(1)).await;
    let refused = cancel(&world, &id, 5).await;
    assert_eq!(
        refused.summary("code"),
        (409, "cancel_window_closed"),
        "{refused:?}"
    );
    assert_eq!(refused.body["alternative"], "refund", "{refused:?}");
    assert_eq!(world.simulator.count("cancel").await, 1);
    let payment = world.till.payment(&id).await;
    assert_eq!(payment["cancel_pending"], false, "{payment}");
    world.finish().await;
}
