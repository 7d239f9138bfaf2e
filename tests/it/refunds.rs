//! Money that goes back: at once, in part, in Alipay's batch, by the clock; and what Alipay posts
//! about it.

use std::collections::BTreeSet;

use alipayhk_gateway::{
    alipay::sign::canonical,
    domain::{access::principal::Scope, accounts::signing::SignType},
};
use chrono::{DateTime, TimeDelta, Utc};
use md5::{Digest as _, Md5};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_util::task::TaskTracker;

use crate::support::{
    Options, PARTNER, World,
    alipay::{MD5_KEY, client},
    all, eventually,
    http::{Answer, Caller, body},
};

const REFUND: &str = "refund";

/// Half of what the usual payment is about, and a little.
fn part() -> Value {
    json!({"amount": {"value": 2000, "currency": "HKD"}})
}

fn later() -> Value {
    json!({"mode": "async"})
}

/// A paid payment's id.
async fn paid(world: &World) -> String {
    let answer = world.pay("0001").await;
    assert_eq!(answer.summary("status"), (201, "succeeded"), "{answer:?}");
    answer.id().to_owned()
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

fn instant(value: &Value, name: &str) -> DateTime<Utc> {
    let parsed = text(value, name).parse();
    parsed.unwrap_or_else(|_| panic!("{name} is no instant: {value}"))
}

/// What the payment says of its refunds.
async fn books(world: &World, payment_id: &str) -> Value {
    world.till.payment(payment_id).await["refunds"].clone()
}

// ------------------------------------------------------------------------------------ synchronous

#[sqlx::test]
async fn hk_9_pt_5_a_full_refund_answers_201_with_everything(pool: PgPool) {
    let world = World::start(pool).await;
    let payment_id = paid(&world).await;
    let answer = world.till.refund(&payment_id, &json!({}), 5).await;
    assert_eq!(answer.summary("status"), (201, "succeeded"), "{answer:?}");
    let refund = &answer.body;
    assert_eq!(refund["object"], "refund");
    assert_eq!(refund["payment_id"], payment_id);
    assert_eq!(refund["mode"], "sync");
    assert_eq!(refund["amount"], json!({"value": 3925, "currency": "HKD"}));
    assert_eq!(refund["version"], 2);
    assert_eq!(refund["checks_done"], 0);
    assert_eq!(refund["finalized_at"], refund["succeeded_at"]);
    assert!(text(refund, "partner_refund_id").starts_with('R'));
    for absent in [
        "status_reason",
        "merchant_reference",
        "reason",
        "failure",
        "window",
        "next_check_at",
        "gives_up_at",
    ] {
        assert_eq!(refund.get(absent), Some(&Value::Null), "{absent}");
    }
    assert_eq!(
        answer.header("location"),
        format!("/v1/refunds/{}", answer.id())
    );
    assert_eq!(answer.header("etag"), "\"2\"");
    assert_eq!(answer.header("preference-applied"), "wait=5");
    assert_eq!(answer.header("retry-after"), "");
    assert_eq!(world.till.get_refund(answer.id()).await, *refund);
    assert_eq!(
        books(&world, &payment_id).await,
        json!({"refunded": 3925, "pending": 0, "refundable": 0})
    );
    let ledger = world.simulator.refunds().await;
    assert_eq!(ledger.len(), 1);
    assert_eq!(ledger[0]["partner_refund_id"], refund["partner_refund_id"]);
    assert_eq!(ledger[0]["amount_minor"], 3925);
    assert_eq!(ledger[0]["sync"], true);
    world.finish().await;
}

#[sqlx::test]
async fn hk_9_pt_6_m3_partial_refunds_add_up_and_never_exceed_the_payment(pool: PgPool) {
    let world = World::start(pool).await;
    let payment_id = paid(&world).await;
    let first = world
        .till
        .refund_under(&payment_id, "back-1", &part(), 5)
        .await;
    assert_eq!(first.summary("status"), (201, "succeeded"), "{first:?}");
    assert_eq!(first.body["amount"]["value"], 2000);
    let more = world
        .till
        .refund_under(&payment_id, "back-2", &part(), 5)
        .await;
    assert_eq!(
        more.summary("code"),
        (422, "amount_exceeds_refundable"),
        "{more:?}"
    );
    assert_eq!(more.body["detail"], "at most HKD 19.25 is left to refund");
    let rest = world
        .till
        .refund_under(&payment_id, "back-2", &json!({}), 5)
        .await;
    assert_eq!(
        rest.summary("status"),
        (201, "succeeded"),
        "a refused request used up no key"
    );
    assert_eq!(rest.body["amount"]["value"], 1925);
    let nothing = world
        .till
        .refund_under(&payment_id, "back-3", &json!({}), 5)
        .await;
    assert_eq!(nothing.summary("code"), (422, "amount_exceeds_refundable"));
    assert_eq!(nothing.body["detail"], "nothing is left to refund");
    assert_eq!(
        world.simulator.count(REFUND).await,
        2,
        "Alipay was not asked for more"
    );
    assert_eq!(books(&world, &payment_id).await["refunded"], 3925);
    world.finish().await;
}

#[sqlx::test]
async fn a_reason_and_a_reference_are_kept_and_the_reason_is_sent(pool: PgPool) {
    let world = World::start(pool).await;
    let payment_id = paid(&world).await;
    let request =
        json!({"merchant_reference": "RETURN-1", "reason": "one tea was cold", "mode": "sync"});
    let answer = world.till.refund(&payment_id, &request, 5).await;
    assert_eq!(answer.body["merchant_reference"], "RETURN-1");
    assert_eq!(answer.body["reason"], "one tea was cold");
    let requests = world.simulator.requests().await;
    let sent = requests.iter().find(|request| request["service"] == REFUND);
    let sent = sent.expect("it was sent").to_string();
    assert!(sent.contains("one tea was cold"), "{sent}");
    world.finish().await;
}

#[sqlx::test]
async fn a_refund_the_balance_does_not_cover_fails_with_advice_and_frees_the_amount(pool: PgPool) {
    let world = World::start(pool).await;
    let payment_id = paid(&world).await;
    world
        .simulator
        .set_refund_policy(&json!({"funds_sufficient": false}))
        .await;
    let answer = world.till.refund(&payment_id, &part(), 5).await;
    assert_eq!(answer.summary("status"), (201, "failed"), "{answer:?}");
    let failure = &answer.body["failure"];
    assert_eq!(failure["code"], "MERCHANT_BALANCE_NOT_ENOUGH");
    assert!(
        text(failure, "message").contains("\"mode\": \"async\""),
        "{failure}"
    );
    assert_eq!(answer.body["succeeded_at"], Value::Null);
    assert_eq!(
        books(&world, &payment_id).await,
        json!({"refunded": 0, "pending": 0, "refundable": 3925})
    );
    world.finish().await;
}

#[sqlx::test]
async fn s5_a_refund_whose_answer_is_lost_stays_pending_until_a_query_tells(pool: PgPool) {
    let mut world = World::start(pool).await;
    let payment_id = paid(&world).await;
    let lost = json!({"type": "drop_after_effect"});
    world.simulator.script(REFUND, 1, lost).await;
    let answer = world
        .till
        .refund_under(&payment_id, "back-1", &part(), 0)
        .await;
    assert_eq!(answer.summary("status"), (202, "pending"), "{answer:?}");
    world.settle_calls().await;
    let again = world
        .till
        .refund_under(&payment_id, "back-1", &part(), 0)
        .await;
    assert_eq!(
        again.summary("status_reason"),
        (202, "outcome_unknown"),
        "{again:?}"
    );
    assert_eq!(again.header("retry-after"), "10");
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(
        books(&world, &payment_id).await,
        json!({"refunded": 0, "pending": 2000, "refundable": 1925}),
        "what is not known stays reserved"
    );
    world.advance(TimeDelta::seconds(11)).await;
    world.run_due().await;
    let told = world.till.get_refund(answer.id()).await;
    assert_eq!(told["status"], "succeeded", "{told}");
    assert_eq!(told["checks_done"], 1);
    assert_eq!(
        world.simulator.count(REFUND).await,
        1,
        "it was not sent again"
    );
    world.finish().await;
}

#[sqlx::test]
async fn refresh_asks_alipay_now_and_silence_changes_nothing(pool: PgPool) {
    let world = World::start(pool).await;
    let payment_id = paid(&world).await;
    let lost = json!({"type": "drop_after_effect"});
    world.simulator.script(REFUND, 1, lost).await;
    let open = world.till.refund(&payment_id, &part(), 0).await;
    world.settle_calls().await;
    let before = world.till.get_refund(open.id()).await;
    let silence = json!({"type": "drop_before_effect"});
    world.simulator.script("refund_query", 1, silence).await;
    let silent = world.till.refresh_refund(open.id()).await;
    assert_eq!(
        silent.summary("code"),
        (504, "upstream_silent"),
        "{silent:?}"
    );
    assert_eq!(silent.body["refund_id"], *open.id());
    let after = world.till.get_refund(open.id()).await;
    assert_eq!(after["version"], before["version"]);
    let told = world.till.refresh_refund(open.id()).await;
    assert_eq!(told.summary("status"), (200, "succeeded"), "{told:?}");
    assert_eq!(told.body["checks_done"], 2);
    assert_eq!(told.header("etag"), format!("\"{}\"", told.body["version"]));
    world.finish().await;
}

// ----------------------------------------------------------------------------------- asynchronous

#[sqlx::test]
async fn hk_10_t2_an_accepted_refund_is_not_a_done_one_and_says_what_it_waits_for(pool: PgPool) {
    let mut world = World::start(pool).await;
    world.simulator.set_notifications("off").await;
    let payment_id = paid(&world).await;
    world
        .simulator
        .set_refund_policy(&json!({"same_day_immediate": false}))
        .await;
    let answer = world.till.refund(&payment_id, &later(), 30).await;
    assert_eq!(answer.summary("status"), (202, "pending"), "{answer:?}");
    assert_eq!(answer.header("retry-after"), "60");
    let refund = &answer.body;
    assert_eq!(refund["status_reason"], "awaiting_batch");
    assert_eq!(refund["mode"], "async");
    assert_eq!(refund["succeeded_at"], Value::Null);
    assert_eq!(
        refund["window"],
        json!({"opens_at": "2026-01-02T15:00:00.000Z", "closes_at": "2026-01-02T21:00:00.000Z"}),
        "tonight, 23:00 to 05:00 GMT+8"
    );
    assert_eq!(refund["gives_up_at"], "2026-07-01T22:00:00.000Z");
    let until_check = instant(refund, "next_check_at") - instant(refund, "accepted_at");
    assert_eq!(until_check.num_seconds(), 60);
    assert_eq!(
        books(&world, &payment_id).await,
        json!({"refunded": 0, "pending": 3925, "refundable": 0})
    );
    // Until the batch, every check learns that it still waits.
    world.advance(TimeDelta::minutes(2)).await;
    world.run_due().await;
    let waiting = world.till.get_refund(answer.id()).await;
    assert_eq!(waiting["status"], "pending");
    assert_eq!(waiting["checks_done"], 1);
    while world.till.get_refund(answer.id()).await["status"] == "pending" {
        assert!(world.run_next().await, "the plan goes on");
    }
    let done = world.till.get_refund(answer.id()).await;
    assert_eq!(done["status"], "succeeded", "{done}");
    assert!(
        instant(&done, "succeeded_at") > instant(&refund["window"], "opens_at"),
        "not before the batch: {done}"
    );
    assert_eq!(
        (&done["window"], &done["gives_up_at"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(books(&world, &payment_id).await["refunded"], 3925);
    world.finish().await;
}

#[sqlx::test]
async fn a_caller_who_waits_is_told_as_soon_as_the_refund_changes(pool: PgPool) {
    let mut world = World::start(pool).await;
    world.simulator.refund_on_the_same_day().await;
    world.simulator.set_notifications("off").await;
    let payment_id = paid(&world).await;
    let open = world.till.refund(&payment_id, &later(), 5).await;
    assert_eq!(open.summary("status_reason"), (202, "awaiting_batch"));
    let path = format!("/v1/refunds/{}", open.id());
    let known = world.till.request(Method::GET, &path);
    let known = Caller::send(known.header("if-none-match", open.header("etag"))).await;
    assert_eq!(known.status, 304, "{known:?}");
    let till = world.till.clone();
    let waiting =
        TaskTracker::new().spawn(async move { till.get(&format!("{path}?wait=30")).await });
    world.advance(TimeDelta::minutes(1)).await;
    world.run_due().await;
    world.advance(TimeDelta::seconds(1)).await;
    world.run_due().await;
    let answer = waiting.await.expect("the wait ends");
    assert_eq!(answer.summary("status"), (200, "succeeded"), "{answer:?}");
    world.finish().await;
}

#[sqlx::test]
async fn short_funds_leave_an_asynchronous_refund_pending_and_say_so(pool: PgPool) {
    let mut world = World::start(pool).await;
    world.simulator.set_notifications("off").await;
    let payment_id = paid(&world).await;
    world
        .simulator
        .set_refund_policy(&json!({"funds_sufficient": false, "same_day_immediate": true}))
        .await;
    let open = world.till.refund(&payment_id, &later(), 5).await;
    assert_eq!(open.summary("status"), (202, "pending"), "{open:?}");
    world.advance(TimeDelta::minutes(2)).await;
    world.run_due().await;
    let short = world.till.get_refund(open.id()).await;
    assert_eq!(short["status_reason"], "insufficient_funds", "{short}");
    assert_eq!(short["failure"], Value::Null, "it has not failed");
    assert_eq!(books(&world, &payment_id).await["pending"], 3925);
    world.finish().await;
}

// ------------------------------------------------------------------------------------- idempotency

#[sqlx::test]
async fn d5_a_repeat_is_the_same_refund(pool: PgPool) {
    let world = World::start(pool).await;
    let payment_id = paid(&world).await;
    let first = world
        .till
        .refund_under(&payment_id, "back-1", &part(), 5)
        .await;
    let again = world
        .till
        .refund_under(&payment_id, "back-1", &part(), 5)
        .await;
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(first.body, again.body);
    assert_eq!(world.simulator.count(REFUND).await, 1);
    assert_eq!(books(&world, &payment_id).await["refunded"], 2000);
    // The routes of payments and of refunds have keys of their own.
    let sale = world.till.create("back-1", &body("0001"), 5).await;
    assert_eq!(sale.summary("status"), (201, "succeeded"), "{sale:?}");
    world.finish().await;
}

#[sqlx::test]
async fn d2_a_key_with_another_request_is_refused_and_names_what_differs(pool: PgPool) {
    let world = World::start(pool).await;
    let (one, other) = (paid(&world).await, paid(&world).await);
    let first = world.till.refund_under(&one, "back-1", &part(), 5).await;
    let request = json!({"mode": "async", "reason": "cold", "merchant_reference": "RETURN-1"});
    for (payment_id, request, fields) in [
        (&one, &request, "amount, merchant_reference, mode, reason"),
        (&other, &part(), "payment_id"),
    ] {
        let refused = world
            .till
            .refund_under(payment_id, "back-1", request, 5)
            .await;
        assert_eq!(
            refused.summary("code"),
            (422, "idempotency_key_reused"),
            "{refused:?}"
        );
        assert_eq!(refused.body["refund_id"], *first.id());
        let detail = format!("the key was used for a refund that differs in: {fields}");
        assert_eq!(refused.body["detail"], detail);
    }
    assert_eq!(world.simulator.count(REFUND).await, 1);
    world.finish().await;
}

#[sqlx::test]
async fn d3_another_refund_with_the_reference_is_named(pool: PgPool) {
    let world = World::start(pool).await;
    let (one, other) = (paid(&world).await, paid(&world).await);
    let request = json!({"merchant_reference": "RETURN-1"});
    let first = world.till.refund_under(&one, "back-1", &request, 5).await;
    let refused = world.till.refund_under(&other, "back-2", &request, 5).await;
    assert_eq!(
        refused.summary("code"),
        (409, "merchant_reference_conflict"),
        "{refused:?}"
    );
    assert_eq!(refused.body["refund_id"], *first.id());
    assert_eq!(books(&world, &other).await["pending"], 0);
    world.finish().await;
}

/// M3, R4: twenty callers at once on three replicas, each with a key of its own.
#[sqlx::test]
async fn m3_a_race_for_the_rest_has_one_winner(pool: PgPool) {
    let options = Options {
        replicas: 3,
        // Logging in takes long in a debug build.
        connections: 2,
        ..Options::default()
    };
    let world = World::start_with(pool, options).await;
    let payment_id = paid(&world).await;
    let mut callers = vec![];
    for replica in 0..3 {
        callers.push(world.caller(replica, &[Scope::RefundsWrite]).await);
    }
    let rivals = (0..20).map(|rival| {
        let (caller, payment_id) = (&callers[rival % 3], &payment_id);
        async move {
            let key = format!("rival-{rival}");
            caller.refund_under(payment_id, &key, &json!({}), 10).await
        }
    });
    let answers = crate::support::all(rivals).await;
    let count = |status| {
        answers
            .iter()
            .filter(|answer| answer.status == status)
            .count()
    };
    assert_eq!((count(201), count(422)), (1, 19), "{answers:?}");
    assert_eq!(world.simulator.refunds().await.len(), 1);
    world.finish().await;
}

// ---------------------------------------------------------------------------------------- refusals

/// M5: one document names every fault, and nothing is stored or sent.
#[sqlx::test]
async fn m5_a_faulty_request_leaves_no_trace_and_uses_up_no_key(pool: PgPool) {
    let world = World::start(pool).await;
    let payment_id = paid(&world).await;
    let rows = world.rows().await;
    let amount = |value: &str| format!("{{\"amount\":{{\"value\":{value},\"currency\":\"HKD\"}}}}");
    let long = format!("{{\"reason\":\"{}\"}}", "x".repeat(129));
    for (request, pointer, code) in [
        (amount("0"), "/amount/value", "out_of_range"),
        (amount("-2000"), "/amount/value", "out_of_range"),
        (amount("10000000001"), "/amount/value", "out_of_range"),
        (amount("20.00"), "/amount/value", "wrong_type"),
        (amount("2000.0"), "/amount/value", "wrong_type"),
        (amount("2e3"), "/amount/value", "wrong_type"),
        (amount("\"2000\""), "/amount/value", "wrong_type"),
        (amount("null"), "/amount/value", "required"),
        (
            r#"{"amount":{"value":2000}}"#.to_owned(),
            "/amount/currency",
            "required",
        ),
        (
            r#"{"amount":{"value":2000,"currency":"CNY"}}"#.to_owned(),
            "/amount/currency",
            "unsupported_currency",
        ),
        (r#"{"amount":2000}"#.to_owned(), "/amount", "wrong_type"),
        (r#"{"amuont":2000}"#.to_owned(), "/amuont", "unknown_field"),
        (r#"{"mode":"SYNC"}"#.to_owned(), "/mode", "invalid_format"),
        (r#"{"mode":true}"#.to_owned(), "/mode", "wrong_type"),
        (
            r#"{"merchant_reference":"a b"}"#.to_owned(),
            "/merchant_reference",
            "invalid_format",
        ),
        (
            r#"{"reason":"\u0007"}"#.to_owned(),
            "/reason",
            "invalid_format",
        ),
        (r#"{"reason":""}"#.to_owned(), "/reason", "invalid_length"),
        (long, "/reason", "invalid_length"),
    ] {
        let path = format!("/v1/payments/{payment_id}/refunds");
        let call = world
            .till
            .request(Method::POST, &path)
            .header("idempotency-key", "back-1")
            .header("content-type", "application/json")
            .body(request.clone());
        let refused = Caller::send(call).await;
        assert_eq!(
            refused.summary("code"),
            (422, "validation_failed"),
            "{request}: {refused:?}"
        );
        let faults = refused.body["errors"].as_array().expect("a list");
        assert_eq!(faults.len(), 1, "{request}: {faults:?}");
        assert_eq!(
            (text(&faults[0], "pointer"), text(&faults[0], "code")),
            (pointer, code)
        );
    }
    assert_eq!(world.rows().await, rows, "nothing is stored");
    assert_eq!(world.simulator.count(REFUND).await, 0, "nothing is sent");
    let good = world
        .till
        .refund_under(&payment_id, "back-1", &part(), 5)
        .await;
    assert_eq!(
        good.summary("status"),
        (201, "succeeded"),
        "the key was not used up: {good:?}"
    );
    world.finish().await;
}

#[sqlx::test]
async fn only_what_is_paid_can_be_refunded(pool: PgPool) {
    let mut world = World::start(pool).await;
    let waiting = world.pay_until_open("0102").await;
    let failed = world.pay("1016").await;
    let canceled = paid(&world).await;
    let path = format!("/v1/payments/{canceled}/cancel");
    assert_eq!(world.till.post(&path, &Value::Null).await.status, 200);
    let canceling = paid(&world).await;
    let held = json!({"type": "drop_before_effect"});
    world.simulator.script("cancel", 1, held).await;
    let path = format!("/v1/payments/{canceling}/cancel");
    let cancel = world
        .till
        .request(Method::POST, &path)
        .header("prefer", "wait=0");
    assert_eq!(Caller::send(cancel).await.status, 202);
    world.settle_calls().await;
    for (payment_id, detail) in [
        (
            text(&waiting, "id"),
            "the payment is not paid yet; cancel it, or wait for its outcome",
        ),
        (
            failed.id(),
            "the payment failed, so there is nothing to refund",
        ),
        (
            &canceled,
            "the payment is canceled, so there is nothing to refund",
        ),
        (
            &canceling,
            "a cancel of the payment is under way; it returns the money in full",
        ),
    ] {
        let refused = world.till.refund(payment_id, &json!({}), 5).await;
        assert_eq!(
            refused.summary("code"),
            (409, "invalid_state"),
            "{refused:?}"
        );
        assert_eq!(refused.body["detail"], detail);
        assert_eq!(refused.body["payment_id"], payment_id);
    }
    assert_eq!(world.simulator.count(REFUND).await, 0);
    world.advance(TimeDelta::minutes(5)).await;
    world.run_due().await;
    world.finish().await;
}

/// Q7: another merchant's payments and refunds are no payments and no refunds.
#[sqlx::test]
async fn q7_another_merchants_refunds_are_not_found(pool: PgPool) {
    let world = World::start(pool).await;
    let payment_id = paid(&world).await;
    let refund = world
        .till
        .refund_under(&payment_id, "back-1", &part(), 5)
        .await;
    let stranger = world.stranger().await;
    let refunds = format!("/v1/payments/{payment_id}/refunds");
    let path = format!("/v1/refunds/{}", refund.id());
    let not_found = |answer: &Answer, code: &str| {
        assert_eq!(answer.summary("code"), (404, code), "{answer:?}");
        assert_eq!(answer.body.get("refund_id"), None);
    };
    let made = stranger
        .refund_under(&payment_id, "back-1", &part(), 5)
        .await;
    not_found(&made, "payment_not_found");
    not_found(&stranger.reverse(&payment_id).await, "payment_not_found");
    not_found(&stranger.get(&refunds).await, "payment_not_found");
    not_found(&stranger.get(&path).await, "refund_not_found");
    not_found(
        &stranger.get(&format!("{path}?wait=5")).await,
        "refund_not_found",
    );
    let refresh = stranger.refresh_refund(refund.id()).await;
    not_found(&refresh, "refund_not_found");
    let filter = format!("/v1/refunds?payment_id={payment_id}");
    assert_eq!(stranger.get(&filter).await.body["items"], json!([]));
    assert_eq!(stranger.get("/v1/refunds").await.body["items"], json!([]));
    for nonsense in ["/v1/refunds/nonsense", &path.replace("ref_", "pay_")] {
        not_found(&world.till.get(nonsense).await, "refund_not_found");
    }
    assert_eq!(world.simulator.count(REFUND).await, 1);
    world.finish().await;
}

#[sqlx::test]
async fn q6_each_operation_needs_its_scopes(pool: PgPool) {
    let world = World::start(pool).await;
    let payment_id = paid(&world).await;
    let refund = world
        .till
        .refund_under(&payment_id, "back-1", &part(), 5)
        .await;
    let (refunds, reverse) = (
        format!("/v1/payments/{payment_id}/refunds"),
        format!("/v1/payments/{payment_id}/reverse"),
    );
    let refund = format!("/v1/refunds/{}", refund.id());
    let lacks = |answer: &Answer, scope: &str| {
        assert_eq!(
            answer.summary("code"),
            (403, "insufficient_scope"),
            "{answer:?}"
        );
        assert!(text(&answer.body, "detail").contains(scope), "{answer:?}");
    };
    let sells = world
        .caller(0, &[Scope::PaymentsWrite, Scope::PaymentsRead])
        .await;
    lacks(
        &sells.refund_under(&payment_id, "back-2", &part(), 5).await,
        "`refunds:write`",
    );
    let both = "the scopes `payments:write` and `refunds:write`";
    lacks(&sells.reverse(&payment_id).await, both);
    lacks(
        &sells.post(&format!("{refund}/refresh"), &Value::Null).await,
        "`refunds:write`",
    );
    for path in [&refunds, &refund, &"/v1/refunds".to_owned()] {
        assert_eq!(sells.get(path).await.status, 200, "{path}");
    }
    let refunds_only = world.caller(0, &[Scope::RefundsWrite]).await;
    let answer = refunds_only.reverse(&payment_id).await;
    lacks(&answer, both);
    assert_eq!(
        answer.header("www-authenticate"),
        "Bearer realm=\"alipayhk-gateway\", error=\"insufficient_scope\", scope=\"payments:write refunds:write\""
    );
    lacks(
        &refunds_only
            .post(&format!("{reverse}?preview=true"), &Value::Null)
            .await,
        both,
    );
    lacks(&refunds_only.get(&refund).await, "`payments:read`");
    lacks(
        &world
            .till
            .post(&format!("{refund}/resolve"), &json!({}))
            .await,
        "`operations`",
    );
    world.finish().await;
}

// ------------------------------------------------------------------------------------------- lists

#[sqlx::test]
async fn refunds_are_listed_newest_first_filtered_and_paged(pool: PgPool) {
    let mut world = World::start(pool).await;
    world.simulator.refund_on_the_same_day().await;
    world.simulator.set_notifications("off").await;
    let (one, other) = (paid(&world).await, paid(&world).await);
    let small = json!({"amount": {"value": 100, "currency": "HKD"}, "allow_duplicate": true});
    let mut small_later = small.clone();
    small_later["mode"] = json!("async");
    let mut ids = vec![];
    for (number, (payment_id, request)) in [
        (&one, &small),
        (&other, &small_later),
        (&one, &small_later),
        (&one, &small),
        (&other, &small),
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("back-{number}");
        ids.push(
            world
                .till
                .refund_under(payment_id, &key, request, 5)
                .await
                .id()
                .to_owned(),
        );
        world.advance(TimeDelta::seconds(1)).await;
    }
    let newest_first = |numbers: &[usize]| -> Vec<String> {
        numbers.iter().map(|number| ids[*number].clone()).collect()
    };
    let found = async |path: &str| -> Vec<String> {
        let page = world.till.get(path).await;
        assert_eq!(page.status, 200, "{page:?}");
        let items = page.body["items"].as_array().expect("a list");
        items
            .iter()
            .map(|item| text(item, "id").to_owned())
            .collect()
    };
    for (path, expected) in [
        ("/v1/refunds".to_owned(), &[4, 3, 2, 1, 0][..]),
        ("/v1/refunds?status=succeeded".to_owned(), &[4, 3, 0]),
        ("/v1/refunds?status=failed".to_owned(), &[]),
        ("/v1/refunds?mode=async".to_owned(), &[2, 1]),
        (format!("/v1/refunds?payment_id={one}"), &[3, 2, 0]),
        (
            format!("/v1/refunds?payment_id={one}&mode=async&status=pending"),
            &[2],
        ),
        (
            "/v1/refunds?created_from=2026-01-02T03:04:07Z".to_owned(),
            &[4, 3, 2],
        ),
        (
            "/v1/refunds?created_to=2026-01-02T03:04:07Z".to_owned(),
            &[1, 0],
        ),
        (format!("/v1/payments/{other}/refunds"), &[4, 1]),
        (format!("/v1/payments/{other}/refunds?mode=sync"), &[4]),
    ] {
        assert_eq!(found(&path).await, newest_first(expected), "{path}");
    }
    let (mut paged, mut path) = (vec![], "/v1/refunds?limit=2".to_owned());
    loop {
        paged.extend(found(&path).await);
        let page = world.till.get(&path).await;
        match page.body["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/refunds?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(paged, newest_first(&[4, 3, 2, 1, 0]));
    let without = paid(&world).await;
    assert_eq!(
        found(&format!("/v1/payments/{without}/refunds")).await,
        newest_first(&[])
    );
    for (path, faults) in [
        (
            "/v1/refunds?status=paid&mode=later&payment_id=x&limit=0&stauts=1".to_owned(),
            5,
        ),
        (format!("/v1/payments/{one}/refunds?payment_id={one}"), 1),
    ] {
        let bad = world.till.get(&path).await;
        assert_eq!(bad.summary("code"), (400, "invalid_query"), "{bad:?}");
        assert_eq!(
            bad.body["errors"].as_array().map(Vec::len),
            Some(faults),
            "{bad:?}"
        );
    }
    world.finish().await;
}

#[sqlx::test]
async fn the_timeline_of_the_payment_tells_what_happened_to_its_refunds(pool: PgPool) {
    let mut world = World::start(pool).await;
    let payment_id = paid(&world).await;
    world
        .simulator
        .script(REFUND, 1, json!({"type": "hold"}))
        .await;
    let refund = world.till.refund(&payment_id, &part(), 0).await;
    world.until_received(REFUND, 1).await;
    world.advance(TimeDelta::seconds(1)).await;
    world.simulator.release().await;
    world.settle_calls().await;
    let timeline = world.till.timeline(&payment_id).await;
    let of_refund = timeline
        .iter()
        .filter(|item| item["refund_id"] == *refund.id());
    let told: Vec<&str> = of_refund
        .map(|item| match text(item, "type") {
            "attempt" => text(item, "kind"),
            _ => text(item, "event"),
        })
        .collect();
    assert_eq!(
        told,
        ["refund_created", "refund", "refund_succeeded"],
        "{timeline:?}"
    );
    world.finish().await;
}

// --------------------------------------------------------------------------------------- duplicates

/// Seen: a refund whose answer was lost, asked for again under another key, went back twice.
#[sqlx::test]
async fn a_refund_of_the_same_amount_is_suspected_while_the_first_is_open(pool: PgPool) {
    let mut world = World::start(pool).await;
    let payment_id = paid(&world).await;
    let lost = json!({"type": "drop_after_effect"});
    world.simulator.script(REFUND, 1, lost).await;
    let first = world.till.refund(&payment_id, &part_of(1000), 0).await;
    assert_eq!(first.summary("status"), (202, "pending"), "{first:?}");
    world.settle_calls().await;
    let suspected = |answer: &Answer| {
        assert_eq!(
            answer.summary("code"),
            (409, "suspected_duplicate"),
            "{answer:?}"
        );
        assert_eq!(answer.body["refund_id"], *first.id(), "{answer:?}");
        assert_eq!(answer.body["attempted"], "false");
        assert_eq!(answer.body["retryable"], "same_key");
    };
    let rows = world.rows().await;
    // However old it is by then.
    world.advance(TimeDelta::seconds(5)).await;
    suspected(&world.till.refund(&payment_id, &part_of(1000), 0).await);
    assert_eq!(world.rows().await, rows, "nothing is stored");
    let other = world.till.refund(&payment_id, &part_of(1001), 5).await;
    assert_eq!(
        other.status, 201,
        "another amount is another return: {other:?}"
    );

    world.advance(TimeDelta::seconds(61)).await;
    world.run_due().await;
    let done = world.till.get_refund(first.id()).await;
    assert_eq!(done["status"], "succeeded", "{done}");
    suspected(&world.till.refund(&payment_id, &part_of(1000), 0).await);
    let mut insisted = part_of(1000);
    insisted["allow_duplicate"] = json!(true);
    let second = world.till.refund_under(&payment_id, "insist", &insisted, 5);
    assert_eq!(second.await.status, 201);
    world.advance(TimeDelta::seconds(61)).await;
    let later = world.till.refund(&payment_id, &part_of(500), 5).await;
    assert_eq!(later.status, 201, "{later:?}");
    world.advance(TimeDelta::seconds(61)).await;
    let third = world.till.refund(&payment_id, &part_of(424), 5).await;
    assert_eq!(third.status, 201, "{third:?}");
    let payment = world.till.payment(&payment_id).await;
    assert_eq!(payment["refunds"]["refunded"], 3925, "{payment}");
    world.finish().await;
}

/// What is long done or failed may be asked for again; and the rest of a payment may be as much as what
/// went back just before.
#[sqlx::test]
async fn a_refund_that_is_over_or_failed_is_no_reason_for_suspicion(pool: PgPool) {
    let mut world = World::start(pool).await;
    let payment_id = paid(&world).await;
    let refuse = json!({"type": "refund_refuse", "code": "RETURN_AMOUNT_EXCEED"});
    world.simulator.script(REFUND, 1, refuse).await;
    let failed = world.till.refund(&payment_id, &part_of(1000), 5).await;
    assert_eq!(failed.summary("status"), (201, "failed"), "{failed:?}");
    let first = world.till.refund(&payment_id, &part_of(1000), 5).await;
    assert_eq!(first.summary("status"), (201, "succeeded"), "{first:?}");
    world.advance(TimeDelta::seconds(61)).await;
    let second = world.till.refund(&payment_id, &part_of(1000), 5).await;
    assert_eq!(second.summary("status"), (201, "succeeded"), "{second:?}");
    let rest = world.till.refund(&payment_id, &part_of(925), 5).await;
    assert_eq!(rest.summary("status"), (201, "succeeded"), "{rest:?}");
    let half = world.till.create("half", &half_twice(), 5).await;
    world.till.refund(half.id(), &part_of(1000), 5).await;
    let undone = world.till.reverse(half.id()).await;
    assert_eq!(
        undone.status, 201,
        "a reversal takes what is left: {undone:?}"
    );
    world.finish().await;
}

fn part_of(minor: i64) -> Value {
    json!({"amount": {"value": minor, "currency": "HKD"}})
}

fn half_twice() -> Value {
    let mut request = body("0001");
    request["amount"]["value"] = json!(2000);
    request
}

/// Twins under their own keys, on three replicas at the same moment: one goes through.
#[sqlx::test]
async fn a_race_of_equal_refunds_under_different_keys_has_one_winner(pool: PgPool) {
    let options = Options {
        replicas: 3,
        ..Options::default()
    };
    let world = World::start_with(pool, options).await;
    let payment_id = paid(&world).await;
    let rivals = (0..12).map(|rival| {
        let till = world.till_at(rival % 3);
        let payment_id = payment_id.clone();
        async move { till.refund(&payment_id, &part_of(100), 5).await }
    });
    let answers = all(rivals).await;
    let won = answers.iter().filter(|answer| answer.status == 201).count();
    let lost = answers
        .iter()
        .filter(|answer| answer.summary("code") == (409, "suspected_duplicate"))
        .count();
    assert_eq!((won, lost), (1, 11), "{answers:?}");
    assert_eq!(world.simulator.count(REFUND).await, 1);
    world.finish().await;
}

/// The second statement begins before the first is committed, and waits for it: it must see it.
#[sqlx::test]
async fn a_twin_that_waited_for_the_first_sees_it(pool: PgPool) {
    let world = World::start(pool).await;
    let payment_id = paid(&world).await;
    let mut lock = world.pool.begin().await.expect("a transaction");
    sqlx::query_scalar::<_, i64>("select version from payment for update")
        .fetch_one(&mut *lock)
        .await
        .expect("the row is held");
    let twin = || {
        let (till, payment_id) = (world.till.clone(), payment_id.clone());
        async move { till.refund(&payment_id, &part_of(100), 5).await }
    };
    let twins = TaskTracker::new().spawn(all([twin(), twin()].into_iter()));
    let waiting = "select count(*) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'";
    eventually("both wait", async || world.count_rows(waiting).await == 2).await;
    lock.rollback().await.expect("the row is let go");
    let answers = twins.await.expect("both are answered");
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409], "{answers:?}");
    world.finish().await;
}

// ------------------------------------------------------------------------------------------ by hand

/// S4: a week of silence ends unresolved, on the work-list with its evidence; an operator decides.
#[sqlx::test]
async fn s4_an_unresolved_refund_is_decided_by_an_operator(pool: PgPool) {
    let mut world = World::start(pool).await;
    let operator = world.caller(0, &[Scope::Operations]).await;
    let payment_id = paid(&world).await;
    let silence = json!({"type": "drop_before_effect"});
    world.simulator.script("any", 1000, silence).await;
    let lost = world
        .till
        .refund_under(&payment_id, "back-1", &part(), 0)
        .await;
    world.settle_calls().await;
    let resolve = format!("/v1/refunds/{}/resolve", lost.id());
    let decision = json!({"status": "failed", "reason": "nothing at Alipay", "ticket": "OPS-1"});
    let early = operator.post(&resolve, &decision).await;
    assert_eq!(early.summary("code"), (409, "invalid_state"), "{early:?}");
    assert_eq!(early.body["refund_id"], *lost.id());
    world.advance(TimeDelta::days(8)).await;
    world.run_due().await;
    // The last planned question comes first, however late; the end of the plan is a visit of its own.
    world.advance(TimeDelta::seconds(1)).await;
    world.run_due().await;
    let unresolved = world.till.get_refund(lost.id()).await;
    assert_eq!(unresolved["status"], "unresolved", "{unresolved}");
    assert_eq!(
        books(&world, &payment_id).await["pending"],
        2000,
        "it stays reserved"
    );
    let work_list = operator.get("/v1/unresolved").await;
    let case = &work_list.body["items"][0];
    assert_eq!(case["refund"]["id"], *lost.id(), "{work_list:?}");
    assert_eq!(case["payment"], Value::Null);
    assert_eq!(case["follow_up"]["kind"], "refund");
    assert!(case["evidence"]["answers"]["connection_lost"].is_number());
    let row = operator
        .get(&format!("/v1/follow-ups?subject={}", lost.id()))
        .await;
    assert_eq!(row.body["items"][0]["subject_id"], *lost.id(), "{row:?}");
    let faulty = operator
        .post(&resolve, &json!({"status": "canceled", "reasn": "x"}))
        .await;
    let faults = faulty.body["errors"].as_array().expect("a list");
    let pointers: BTreeSet<&str> = faults.iter().map(|fault| text(fault, "pointer")).collect();
    assert_eq!(
        pointers,
        BTreeSet::from(["/reason", "/reasn", "/status", "/ticket"])
    );
    let decided = operator.post(&resolve, &decision).await;
    assert_eq!(decided.summary("status"), (200, "failed"), "{decided:?}");
    assert_eq!(decided.body["failure"]["code"], "RESOLVED_BY_OPERATOR");
    assert_eq!(
        decided.body["failure"]["message"], "Nothing went back, as an operator has found out.",
        "the grounds stand on the timeline"
    );
    let again = operator.post(&resolve, &decision).await;
    assert_eq!(again.summary("code"), (409, "invalid_state"), "{again:?}");
    assert_eq!(
        books(&world, &payment_id).await["refundable"],
        3925,
        "the amount is free again"
    );
    world.finish().await;
}

// ---------------------------------------------------------------------------------------- reversal

async fn preview(world: &World, payment_id: &str) -> Answer {
    let path = format!("/v1/payments/{payment_id}/reverse?preview=true");
    world.till.post(&path, &Value::Null).await
}

fn reversal(answer: &Answer) -> (u16, &str, &str) {
    assert_eq!(answer.body["object"], "reversal", "{answer:?}");
    (
        answer.status,
        text(&answer.body, "action"),
        text(&answer.body, "fee"),
    )
}

#[sqlx::test]
async fn t4_todays_payment_is_undone_by_a_cancel(pool: PgPool) {
    let world = World::start(pool).await;
    let payment_id = paid(&world).await;
    let rows = world.rows().await;
    let said = preview(&world, &payment_id).await;
    assert_eq!(reversal(&said), (200, "cancel", "returned"), "{said:?}");
    assert_eq!(said.body["preview"], true);
    assert_eq!(said.body["payment"]["status"], "succeeded");
    assert_eq!(world.rows().await, rows, "a preview changes nothing");
    let done = world.till.reverse(&payment_id).await;
    assert_eq!(reversal(&done), (201, "cancel", "returned"), "{done:?}");
    assert_eq!(done.body["preview"], false);
    assert_eq!(done.body["payment"]["status"], "canceled");
    assert_eq!(done.body["payment"]["money_returned"], true);
    assert_eq!(done.body["refund"], Value::Null);
    assert_eq!(
        done.header("location"),
        format!("/v1/payments/{payment_id}")
    );
    let again = world.till.reverse(&payment_id).await;
    assert_eq!(reversal(&again), (200, "none", "returned"), "{again:?}");
    assert_eq!(world.simulator.count("cancel").await, 1);
    assert_eq!(world.simulator.count(REFUND).await, 0);
    world.finish().await;
}

#[sqlx::test]
async fn t4_yesterdays_payment_is_undone_by_a_refund(pool: PgPool) {
    let mut world = World::start(pool).await;
    let payment_id = paid(&world).await;
    world.till.refund(&payment_id, &part(), 5).await;
    world.advance(TimeDelta::days(1)).await;
    let said = preview(&world, &payment_id).await;
    assert_eq!(reversal(&said), (200, "refund", "by_contract"), "{said:?}");
    assert_eq!(said.body["refund"], Value::Null, "there is none yet");
    let done = world.till.reverse(&payment_id).await;
    assert_eq!(reversal(&done), (201, "refund", "by_contract"), "{done:?}");
    let refund = &done.body["refund"];
    assert_eq!(refund["status"], "succeeded");
    assert_eq!(refund["amount"]["value"], 1925, "all that was left");
    assert_eq!(refund["reason"], "reversal");
    assert_eq!(
        done.header("location"),
        format!("/v1/refunds/{}", text(refund, "id"))
    );
    assert_eq!(done.body["payment"]["refunds"]["refunded"], 3925);
    let again = world.till.reverse(&payment_id).await;
    assert_eq!(reversal(&again), (200, "none", "by_contract"), "{again:?}");
    assert_eq!(again.body["refund"]["id"], refund["id"]);
    assert_eq!(world.simulator.count("cancel").await, 0);
    world.finish().await;
}

#[sqlx::test]
async fn a_reversal_under_way_is_a_202_that_says_where_to_look(pool: PgPool) {
    let mut world = World::start(pool).await;
    let payment_id = paid(&world).await;
    world.advance(TimeDelta::days(1)).await;
    let held = json!({"type": "hold"});
    world.simulator.script(REFUND, 1, held).await;
    let path = format!("/v1/payments/{payment_id}/reverse");
    let call = world.till.request(Method::POST, &path);
    let open = Caller::send(call.header("prefer", "wait=0")).await;
    assert_eq!(reversal(&open), (202, "refund", "by_contract"), "{open:?}");
    assert_eq!(open.header("preference-applied"), "wait=0");
    let id = text(&open.body["refund"], "id").to_owned();
    assert_eq!(open.header("location"), format!("/v1/refunds/{id}"));
    assert_eq!(open.header("retry-after"), "1");
    // Nothing is left to refund, and what was asked for is shown: there is no second refund.
    let again = world.till.reverse(&payment_id).await;
    assert_eq!(reversal(&again), (202, "none", "by_contract"), "{again:?}");
    assert_eq!(again.body["refund"]["id"], *id);
    assert_eq!(again.header("retry-after"), "1");
    world.until_received(REFUND, 1).await;
    world.simulator.release().await;
    world.settle_calls().await;
    let done = world.till.reverse(&payment_id).await;
    assert_eq!(reversal(&done), (200, "none", "by_contract"), "{done:?}");
    assert_eq!(world.simulator.refunds().await.len(), 1);
    world.finish().await;
}

/// A payment that two refunds have undone is undone when both are.
#[sqlx::test]
async fn what_several_refunds_undo_is_undone_when_the_last_is(pool: PgPool) {
    let mut world = World::start(pool).await;
    world.simulator.refund_on_the_same_day().await;
    world.simulator.set_notifications("off").await;
    let payment_id = paid(&world).await;
    let part_later = json!({"amount": {"value": 2000, "currency": "HKD"}, "mode": "async"});
    let slow = world
        .till
        .refund_under(&payment_id, "back-1", &part_later, 5)
        .await;
    assert_eq!(slow.summary("status"), (202, "pending"));
    let quick = world
        .till
        .refund_under(&payment_id, "back-2", &json!({}), 5)
        .await;
    assert_eq!(quick.summary("status"), (201, "succeeded"));
    let open = world.till.reverse(&payment_id).await;
    assert_eq!(reversal(&open), (202, "none", "by_contract"), "{open:?}");
    world.advance(TimeDelta::minutes(2)).await;
    world.run_due().await;
    let done = world.till.reverse(&payment_id).await;
    assert_eq!(reversal(&done), (200, "none", "by_contract"), "{done:?}");
    world.finish().await;
}

#[sqlx::test]
async fn a_reversal_of_an_open_payment_closes_it_and_of_a_failed_one_is_refused(pool: PgPool) {
    let world = World::start(pool).await;
    let waiting = world.pay_until_open("0102").await;
    let closed = world.till.reverse(text(&waiting, "id")).await;
    assert_eq!(reversal(&closed), (201, "cancel", "returned"), "{closed:?}");
    assert_eq!(closed.body["payment"]["money_returned"], false);
    let failed = world.pay("1016").await;
    for answer in [
        world.till.reverse(failed.id()).await,
        preview(&world, failed.id()).await,
    ] {
        assert_eq!(answer.summary("code"), (409, "invalid_state"), "{answer:?}");
        assert_eq!(
            answer.body["detail"],
            "the payment failed, so there is nothing to undo"
        );
    }
    let path = format!("/v1/payments/{}/reverse?preview=yes", failed.id());
    let bad = world.till.post(&path, &Value::Null).await;
    assert_eq!(bad.summary("code"), (400, "invalid_query"), "{bad:?}");
    world.finish().await;
}

// ------------------------------------------------------------------------------------ notifications

/// A form as Alipay signs it under the MD5 agreement.
fn signed(fields: &[(&str, &str)]) -> String {
    let text = canonical(fields.iter().copied());
    let sign = hex::encode(Md5::digest(format!("{text}{MD5_KEY}")));
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .append_pair("sign", &sign)
        .append_pair("sign_type", "MD5")
        .finish()
}

async fn notify(world: &World, partner: &str, form: String) -> Answer {
    let url = &world.replicas[0].url;
    let call = client()
        .post(format!("{url}/alipay/notify/{partner}"))
        .header("accept", "text/html")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form);
    Caller::send(call).await
}

/// The status and the body, which is one plain word.
fn word(answer: &Answer) -> (u16, &str) {
    assert_eq!(answer.header("content-type"), "text/plain");
    (answer.status, answer.body.as_str().unwrap_or("no text"))
}

/// V1, V4: a believed notification is answered once it is noted, and settles nothing; what is not believed is told
/// so in the one word that Alipay understands, and changes nothing.
#[sqlx::test]
async fn nt_1_v4_a_notification_is_noted_and_answered_in_one_word(pool: PgPool) {
    let options = Options {
        sign_type: SignType::Md5,
        ..Options::default()
    };
    let world = World::start_with(pool, options).await;
    world.simulator.refund_on_the_same_day().await;
    world.simulator.set_notifications("off").await;
    let payment_id = paid(&world).await;
    let payment = world.till.payment(&payment_id).await;
    let open = world.till.refund(&payment_id, &later(), 5).await;
    assert_eq!(open.summary("status_reason"), (202, "awaiting_batch"));
    let fields = [
        ("notify_id", "n-1"),
        ("notify_type", "refund_status_sync"),
        ("partner_trans_id", text(&payment, "partner_trans_id")),
        ("partner_refund_id", text(&open.body, "partner_refund_id")),
        ("alipay_trans_id", text(&payment, "alipay_trans_id")),
        ("refund_amount", "39.25"),
        ("currency", "HKD"),
        ("refund_status", "SUCCESS"),
    ];
    let form = signed(&fields);
    let forged = form.replace("39.25", "39.26");
    assert_eq!(word(&notify(&world, PARTNER, forged).await), (200, "fail"));
    let nobody = "2088000000000002";
    assert_eq!(
        word(&notify(&world, nobody, form.clone()).await),
        (404, "fail")
    );
    assert_eq!(
        word(&notify(&world, "%ff", form.clone()).await),
        (404, "fail")
    );
    assert_eq!(
        word(&notify(&world, PARTNER, String::new()).await),
        (200, "fail")
    );
    let noted = async || world.count_rows("select count(*) from notification").await;
    assert_eq!(noted().await, 0, "nothing of these is kept");
    let mut other = fields;
    other[0] = ("notify_id", "n-0");
    other[5] = ("refund_amount", "39.24");
    assert_eq!(
        word(&notify(&world, PARTNER, signed(&other)).await),
        (200, "success"),
        "another amount is no reason to refuse what Alipay signed"
    );
    assert_eq!(
        word(&notify(&world, PARTNER, form.clone()).await),
        (200, "success")
    );
    assert_eq!(world.till.get_refund(open.id()).await["status"], "pending");
    assert_eq!(
        word(&notify(&world, PARTNER, form).await),
        (200, "success"),
        "repeated"
    );
    assert_eq!(noted().await, 2, "each once");
    world.run_due().await;
    let done = world.till.get_refund(open.id()).await;
    assert_eq!(done["status"], "succeeded", "by the query: {done}");
    assert_eq!(done["checks_done"], 1);
    world.finish().await;
}

#[sqlx::test]
async fn q8_a_notification_that_cannot_be_read_is_answered_in_one_word_too(pool: PgPool) {
    let world = World::start(pool).await;
    let large = format!("memo={}", "x".repeat(64 * 1024));
    assert_eq!(word(&notify(&world, PARTNER, large).await), (413, "fail"));
    let bare = client().post(format!("{}/alipay/notify/{PARTNER}", world.replicas[0].url));
    assert_eq!(word(&Caller::send(bare).await), (200, "fail"));
    world.replicas[0].app.close().await;
    assert_eq!(world.rows().await, 0);
    world.finish().await;
}

/// V4: where the effect cannot be committed, Alipay is asked to come again.
#[sqlx::test]
async fn v4_a_notification_that_cannot_be_recorded_is_not_acknowledged(pool: PgPool) {
    let options = Options {
        sign_type: SignType::Md5,
        ..Options::default()
    };
    let world = World::start_with(pool, options).await;
    world.replicas[0].app.close().await;
    let form = signed(&[("notify_id", "n-1"), ("partner_refund_id", "R1")]);
    assert_eq!(word(&notify(&world, PARTNER, form).await), (503, "fail"));
    world.finish().await;
}

#[sqlx::test]
async fn a_notification_is_posted_and_never_read(pool: PgPool) {
    let world = World::start(pool).await;
    let path = format!("/alipay/notify/{PARTNER}");
    let answer = world.till.get(&path).await;
    assert_eq!(
        answer.summary("code"),
        (405, "method_not_allowed"),
        "{answer:?}"
    );
    world.finish().await;
}
