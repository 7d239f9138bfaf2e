//! Refunds reach their true end: through silence and refusals, through Alipay's nightly batch under
//! every reading of the documents, through short funds and half a year, and past what Alipay takes
//! back.

use alipayhk_gateway::domain::access::principal::Scope;
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{
    Options, World,
    alipay::JsonBody as _,
    http::{Answer, Caller},
    refund_oracle::finish,
};

/// The strict reading of the HK page: every asynchronous refund waits for the batch that opens after
/// its acceptance.
const STRICT: &str = r#"{"same_day_immediate": false, "in_window": "next_night"}"#;

fn strict() -> Value {
    serde_json::from_str(STRICT).expect("JSON")
}

fn at(text: &str) -> DateTime<Utc> {
    format!("{text}+08:00")
        .parse()
        .expect("an instant in GMT+8")
}

async fn world_at(pool: PgPool, now: &str) -> World {
    let options = Options {
        now: at(now),
        ..Options::default()
    };
    World::start_with(pool, options).await
}

/// Asks for a refund of 10.00 in a mode; waits for the call's own answer at most.
async fn refund(world: &World, payment: &Answer, mode: &str) -> Answer {
    let body = json!({"amount": {"value": 1000, "currency": "HKD"}, "mode": mode, "allow_duplicate": true});
    world.till.refund(payment.id(), &body, 5).await
}

/// When a refund's next visit is due for certain: what is shown has whole milliseconds, cut off.
fn planned(refund: &Value) -> DateTime<Utc> {
    let shown = refund["next_check_at"].as_str().map(str::parse);
    let shown: DateTime<Utc> = shown.expect("planned").expect("an instant");
    shown + TimeDelta::milliseconds(1)
}

/// Visits the refund whenever it is due until it is final, for at most `at_most`.
async fn run_until_final(world: &mut World, id: &str, at_most: TimeDelta) -> Value {
    let deadline = world.now() + at_most;
    loop {
        world.run_due().await;
        let refund = world.till.get_refund(id).await;
        if matches!(refund["status"].as_str(), Some("succeeded" | "failed")) {
            return refund;
        }
        let due = planned(&refund);
        assert!(due <= deadline, "not final after {at_most}: {refund}");
        world.set_clock(due.max(world.now())).await;
    }
}

/// HK-10, T2: accepted by day, an asynchronous refund waits for tonight's batch and is found done just
/// after it opened.
#[sqlx::test]
async fn hk_10_t2_an_asynchronous_refund_is_done_by_tonights_batch(pool: PgPool) {
    let mut world = world_at(pool, "2026-03-09T15:00:00").await;
    world.simulator.set_refund_policy(&strict()).await;
    world.simulator.set_notifications("off").await;
    let paid = world.pay("0001").await;
    let accepted = refund(&world, &paid, "async").await;
    assert_eq!(accepted.summary("status"), (202, "pending"), "{accepted:?}");
    assert_eq!(accepted.body["status_reason"], "awaiting_batch");
    let id = accepted.id().to_owned();
    let pending = world.till.get_refund(&id).await;
    assert_eq!(pending["window"]["opens_at"], "2026-03-09T15:00:00.000Z");
    assert_eq!(pending["window"]["closes_at"], "2026-03-09T21:00:00.000Z");
    // The call itself takes some milliseconds of real time.
    let late = planned(&pending) - at("2026-03-09T15:01:00");
    assert!(
        (TimeDelta::zero()..TimeDelta::seconds(10)).contains(&late),
        "{pending}"
    );
    assert_eq!(pending["gives_up_at"], "2026-09-05T22:00:00.000Z");
    let done = run_until_final(&mut world, &id, TimeDelta::hours(9)).await;
    assert_eq!(done["status"], "succeeded", "{done}");
    assert!(world.now() < at("2026-03-09T23:31:01"), "{}", world.now());
    assert_eq!(
        done["checks_done"], 4,
        "1, 5 and 30 minutes, and the opening"
    );
    assert!(done["window"].is_null() && done["gives_up_at"].is_null());
    let payment = world.till.payment(paid.id()).await;
    assert_eq!(payment["refunds"]["refunded"], 1000);
    assert_eq!(payment["refunds"]["pending"], 0);
    assert_eq!(payment["refunds"]["refundable"], 2925);
    finish(world).await;
}

/// HK-10: the other reading: a refund of the same day is done right after the request.
#[sqlx::test]
async fn hk_10_a_refund_that_is_done_on_the_same_day_is_found_within_a_minute(pool: PgPool) {
    let mut world = world_at(pool, "2026-03-09T15:00:00").await;
    world.simulator.refund_on_the_same_day().await;
    world.simulator.set_notifications("off").await;
    let paid = world.pay("0001").await;
    let accepted = refund(&world, &paid, "async").await;
    assert_eq!(accepted.summary("status"), (202, "pending"), "{accepted:?}");
    let done = run_until_final(&mut world, accepted.id(), TimeDelta::seconds(70)).await;
    assert_eq!(
        (&done["status"], &done["checks_done"]),
        (&json!("succeeded"), &json!(1))
    );
    finish(world).await;
}

/// T2: both sides of 23:00 at a millisecond, and both nights watched around it.
#[sqlx::test]
async fn t2_the_batch_of_a_refund_turns_at_23_00_to_the_millisecond(pool: PgPool) {
    let mut world = world_at(pool, "2026-03-09T22:00:00").await;
    world.simulator.set_refund_policy(&strict()).await;
    world.simulator.set_notifications("off").await;
    let paid = world.pay("0001").await;
    for (accepted_at, opens_at) in [
        ("2026-03-09T22:59:59.999", "2026-03-09T15:00:00.000Z"),
        ("2026-03-09T23:00:00.000", "2026-03-10T15:00:00.000Z"),
        ("2026-03-09T23:00:00.001", "2026-03-10T15:00:00.000Z"),
    ] {
        world.set_clock(at(accepted_at)).await;
        let accepted = refund(&world, &paid, "async").await;
        let pending = world.till.get_refund(accepted.id()).await;
        assert_eq!(
            pending["window"]["opens_at"], opens_at,
            "{accepted_at}: {pending}"
        );
    }
    // Whatever Alipay makes of the edge, each is found when it is done.
    for accepted in world.simulator.refunds().await {
        let theirs = accepted["partner_refund_id"].as_str().expect("an id");
        let id = format!("ref_{}", theirs.trim_start_matches('R'));
        let done = run_until_final(&mut world, &id, TimeDelta::hours(30)).await;
        assert_eq!(done["status"], "succeeded", "{done}");
    }
    finish(world).await;
}

/// HK-11: while funds are short the refund stays pending, says so, and is done when they are there.
#[sqlx::test]
async fn hk_11_a_refund_waits_for_funds_night_by_night(pool: PgPool) {
    let mut world = world_at(pool, "2026-12-30T15:00:00").await;
    world.simulator.set_notifications("off").await;
    let mut policy = strict();
    policy["short_nights"] = json!(3);
    world.simulator.set_refund_policy(&policy).await;
    let paid = world.pay("0001").await;
    let accepted = refund(&world, &paid, "async").await;
    world.advance(TimeDelta::hours(20)).await;
    world.run_due().await;
    let waiting = world.till.get_refund(accepted.id()).await;
    assert_eq!(waiting["status"], "pending", "{waiting}");
    assert_eq!(waiting["status_reason"], "insufficient_funds");
    assert_eq!(waiting["window"]["opens_at"], "2026-12-31T15:00:00.000Z");
    let payment = world.till.payment(paid.id()).await;
    assert_eq!(
        payment["refunds"]["pending"], 1000,
        "what is pending stays reserved"
    );
    let done = run_until_final(&mut world, accepted.id(), TimeDelta::days(4)).await;
    assert_eq!(done["status"], "succeeded", "{done}");
    assert!(world.now() < at("2027-01-03T06:00:00"), "{}", world.now());
    finish(world).await;
}

/// HK-11: after 180 days Alipay gives up, and so the refund has failed and its amount is free again.
#[sqlx::test]
async fn hk_11_t3_after_180_days_without_funds_the_refund_has_failed(pool: PgPool) {
    let mut world = world_at(pool, "2026-03-09T15:00:00").await;
    world.simulator.set_notifications("off").await;
    let mut policy = strict();
    policy["funds_sufficient"] = json!(false);
    world.simulator.set_refund_policy(&policy).await;
    let paid = world.pay("0001").await;
    let accepted = refund(&world, &paid, "async").await;
    let failed = run_until_final(&mut world, accepted.id(), TimeDelta::days(182)).await;
    assert_eq!(failed["status"], "failed", "{failed}");
    assert_eq!(failed["failure"]["code"], "MERCHANT_BALANCE_NOT_ENOUGH");
    assert!(world.now() >= at("2026-09-05T15:00:00"), "{}", world.now());
    let checks = failed["checks_done"].as_i64().expect("a count");
    assert!(
        (180..220).contains(&checks),
        "one a night, and the first night's: {checks}"
    );
    let payment = world.till.payment(paid.id()).await;
    assert_eq!(
        payment["refunds"],
        json!({"refunded": 0, "pending": 0, "refundable": 3925})
    );
    finish(world).await;
}

/// S4: what Alipay never tells becomes unresolved, is shown with the evidence, keeps its amount, and
/// still accepts the truth.
#[sqlx::test]
async fn s4_a_refund_that_alipay_never_tells_of_is_unresolved_and_still_accepts_the_truth(
    pool: PgPool,
) {
    let mut world = world_at(pool, "2026-03-09T15:00:00").await;
    let silence = json!({"type": "system_error_before_effect"});
    world
        .simulator
        .script("refund", 1, json!({"type": "drop_after_effect"}))
        .await;
    world.simulator.script("refund_query", 1000, silence).await;
    let paid = world.pay("0001").await;
    let unheard = refund(&world, &paid, "sync").await;
    let id = unheard.id().to_owned();
    world.settle_calls().await;
    let shown = world.till.get_refund(&id).await;
    assert_eq!(shown["status_reason"], "outcome_unknown", "{shown}");
    assert_eq!(shown["gives_up_at"], "2026-03-16T07:00:00.000Z");
    loop {
        world.run_due().await;
        let refund = world.till.get_refund(&id).await;
        if refund["status"] == "unresolved" {
            break;
        }
        assert_eq!(refund["status"], "pending");
        let due = planned(&refund);
        world.set_clock(due).await;
    }
    let late = world.now() - at("2026-03-16T15:00:00");
    assert!(
        (TimeDelta::zero()..TimeDelta::seconds(1)).contains(&late),
        "{late}"
    );
    let operator = world.caller(0, &[Scope::Operations]).await;
    let work_list = operator.get("/v1/unresolved").await.body;
    let item = &work_list["items"][0];
    assert_eq!(item["refund"]["id"], id.as_str(), "{work_list}");
    assert!(item["payment"].is_null());
    assert!(
        item["evidence"]["answers"]["system_error"].as_i64() > Some(100),
        "{item}"
    );
    let payment = world.till.payment(paid.id()).await;
    assert_eq!(payment["refunds"]["pending"], 1000);
    world.simulator.clear_faults().await;
    let done = run_until_final(&mut world, &id, TimeDelta::days(1)).await;
    assert_eq!(done["status"], "succeeded", "{done}");
    finish(world).await;
}

/// HK-12: silence after a refund that was done: the query finds it, nothing is sent twice.
#[sqlx::test]
async fn hk_12_a_lost_answer_is_found_by_query_and_nothing_is_sent_again(pool: PgPool) {
    let mut world = world_at(pool, "2026-03-09T15:00:00").await;
    let lost = json!({"type": "drop_after_effect"});
    world.simulator.script("refund", 1, lost).await;
    let paid = world.pay("0001").await;
    let unheard = refund(&world, &paid, "sync").await;
    assert_eq!(unheard.summary("status"), (202, "pending"), "{unheard:?}");
    assert_eq!(unheard.body["status_reason"], "outcome_unknown");
    let done = run_until_final(&mut world, unheard.id(), TimeDelta::seconds(11)).await;
    assert_eq!(done["status"], "succeeded", "{done}");
    assert_eq!(world.simulator.count("refund").await, 1);
    finish(world).await;
}

/// Both ids are optional in the answer to a refund query. One that names only the payment is believed while the
/// payment has no other refund, and tells nothing where it has; one that names the refund alone is believed always.
#[sqlx::test]
async fn an_answer_that_names_only_the_payment_is_believed_of_its_only_refund(pool: PgPool) {
    let mut world = world_at(pool, "2026-03-09T15:00:00").await;
    let lost = json!({"type": "drop_after_effect"});
    let without = async |world: &World, fields: &str| {
        let fault = json!({"type": "omit", "fields": fields});
        world.simulator.script("refund_query", 1, fault).await;
    };
    let paid = world.pay("0001").await;
    for (fields, status) in [
        ("out_return_no,partner_refund_id", "succeeded"),
        ("out_return_no,partner_refund_id", "pending"),
        (
            "out_trade_no,partner_trans_id,trade_no,alipay_trans_id",
            "succeeded",
        ),
    ] {
        world.simulator.script("refund", 1, lost.clone()).await;
        let unheard = refund(&world, &paid, "sync").await;
        assert_eq!(unheard.summary("status"), (202, "pending"), "{unheard:?}");
        without(&world, fields).await;
        let due = planned(&world.till.get_refund(unheard.id()).await);
        world.set_clock(due).await;
        world.run_due().await;
        let asked = world.till.get_refund(unheard.id()).await;
        assert_eq!(asked["status"], status, "{fields}: {asked}");
        assert_eq!(asked["checks_done"], 1, "{fields}: {asked}");
        let done = run_until_final(&mut world, unheard.id(), TimeDelta::minutes(5)).await;
        assert_eq!(done["status"], "succeeded", "{done}");
    }
    finish(world).await;
}

/// HK-12, M4: silence after a refund that never arrived: the same request is sent again, under the
/// same id and with the same amount, once the query says that there is none.
#[sqlx::test]
async fn hk_12_m4_a_refund_that_never_arrived_is_sent_again_under_its_id(pool: PgPool) {
    let mut world = world_at(pool, "2026-03-09T15:00:00").await;
    let lost = json!({"type": "drop_before_effect"});
    world.simulator.script("refund", 2, lost).await;
    let paid = world.pay("0001").await;
    let unheard = refund(&world, &paid, "sync").await;
    let done = run_until_final(&mut world, unheard.id(), TimeDelta::minutes(5)).await;
    assert_eq!(done["status"], "succeeded", "{done}");
    assert_eq!(world.simulator.count("refund").await, 3);
    assert_eq!(world.simulator.refunds().await.len(), 1, "one refund");
    finish(world).await;
}

/// A refusal that nobody knows is believed when it comes twice, with a "no such refund" after each: the
/// money is free again within minutes, not after a week.
#[sqlx::test]
async fn a_refund_refused_twice_with_an_unknown_code_fails_with_it(pool: PgPool) {
    let mut world = world_at(pool, "2026-03-09T15:00:00").await;
    let code = "REFUND_CHANNEL_CLOSED";
    for mode in ["sync", "async"] {
        world.simulator.script_refusal("refund", 1000, code).await;
        let paid = world.pay("0001").await;
        let refused = refund(&world, &paid, mode).await;
        assert_eq!(refused.summary("status"), (202, "pending"), "{refused:?}");
        let before = world.simulator.count("refund").await;
        let end = run_until_final(&mut world, refused.id(), TimeDelta::minutes(5)).await;
        assert_eq!(end["status"], "failed", "{end}");
        assert_eq!(end["failure"]["code"], code);
        let repeats = world.simulator.count("refund").await - before;
        assert_eq!(repeats, 1, "one repeat");
        let payment = world.till.payment(paid.id()).await;
        assert_eq!(payment["refunds"]["refundable"], 3925, "{payment}");
        world.simulator.clear_faults().await;
    }
    finish(world).await;
}

/// One refusal that nobody knows, and then it is done after all: the refund has succeeded, once.
#[sqlx::test]
async fn a_refund_refused_once_with_an_unknown_code_is_sent_again_when_it_cannot_act_any_more(
    pool: PgPool,
) {
    let mut world = world_at(pool, "2026-03-09T15:00:00").await;
    world
        .simulator
        .script_refusal("refund", 1, "REFUND_CHANNEL_CLOSED")
        .await;
    let paid = world.pay("0001").await;
    let refused = refund(&world, &paid, "sync").await;
    let before = world.now();
    let end = run_until_final(&mut world, refused.id(), TimeDelta::minutes(5)).await;
    assert_eq!(end["status"], "succeeded", "{end}");
    assert!(world.now() - before >= TimeDelta::seconds(59));
    assert_eq!(world.simulator.refunds().await.len(), 1);
    finish(world).await;
}

/// Codes of the refund family that are known fail a refund at once.
#[sqlx::test]
async fn a_refund_refused_for_good_fails_at_once_and_frees_its_money(pool: PgPool) {
    let world = world_at(pool, "2026-03-09T15:00:00").await;
    let paid = world.pay("0001").await;
    for code in [
        "TRADE_HAS_FINISHED",
        "REFUND_AMT_NOT_EQUAL_TOTAL",
        "TRADE_ROLE_ERROR",
        "ACCESS_FORBIDDEN",
    ] {
        world.simulator.script_refusal("refund", 1, code).await;
        let refused = refund(&world, &paid, "sync").await;
        assert_eq!(refused.summary("status"), (201, "failed"), "{refused:?}");
        assert_eq!(refused.body["failure"]["code"], code);
    }
    let payment = world.till.payment(paid.id()).await;
    assert_eq!(payment["refunds"]["refundable"], 3925, "{payment}");
    finish(world).await;
}

/// The codes that speak of a repeated request mean "ask", not "failed" (`docs/protocol.md` 6.5).
#[sqlx::test]
async fn hk_12_a_repeated_request_is_asked_for_and_not_failed(pool: PgPool) {
    let mut world = world_at(pool, "2026-03-09T15:00:00").await;
    for code in ["REPEATED_REFUNDMENT_REQUEST", "DISCORDANT_REPEAT_REQUEST"] {
        let repeated = json!({"type": "result_after_effect", "code": "FAIL", "error": code});
        world.simulator.script("refund", 1, repeated).await;
        let paid = world.pay("0001").await;
        let open = refund(&world, &paid, "sync").await;
        assert_eq!(open.summary("status"), (202, "pending"), "{code}: {open:?}");
        assert_eq!(open.body["status_reason"], "outcome_unknown", "{code}");
        let done = run_until_final(&mut world, open.id(), TimeDelta::minutes(1)).await;
        assert_eq!(done["status"], "succeeded", "{code}: {done}");
    }
    finish(world).await;
}

/// A refusal of a repeated request is believed only where a query confirms it late enough: an earlier
/// one may have been heard.
#[sqlx::test]
async fn s3_a_refusal_of_a_repeat_is_confirmed_before_it_fails_the_refund(pool: PgPool) {
    let mut world = world_at(pool, "2026-03-09T15:00:00").await;
    world
        .simulator
        .script("refund", 1, json!({"type": "drop_before_effect"}))
        .await;
    let refuse = json!({"type": "refund_refuse", "code": "REFUNDMENT_VALID_DATE_EXCEED"});
    world.simulator.script("refund", 1, refuse).await;
    let paid = world.pay("0001").await;
    let unheard = refund(&world, &paid, "sync").await;
    world.settle_calls().await;
    world.advance(TimeDelta::seconds(10)).await;
    world.run_due().await;
    let doubted = world.till.get_refund(unheard.id()).await;
    assert_eq!(doubted["status"], "pending", "{doubted}");
    let failed = run_until_final(&mut world, unheard.id(), TimeDelta::minutes(10)).await;
    assert_eq!(failed["status"], "failed", "{failed}");
    assert_eq!(failed["failure"]["code"], "REFUNDMENT_VALID_DATE_EXCEED");
    assert_eq!(world.simulator.count("refund").await, 2);
    finish(world).await;
}

/// A payment that was refunded in full in the portal takes no refund of ours: asked, confirmed, failed.
#[sqlx::test]
async fn s3_a_refund_of_a_trade_that_is_closed_fails_once_that_is_confirmed(pool: PgPool) {
    let mut world = world_at(pool, "2026-03-09T15:00:00").await;
    world.simulator.refund_on_the_same_day().await;
    let paid = world.pay("0001").await;
    let trade = paid.body["partner_trans_id"].as_str().expect("an id");
    world.simulator.portal_refund(trade, 3925).await;
    let open = refund(&world, &paid, "sync").await;
    assert_eq!(open.summary("status"), (202, "pending"), "{open:?}");
    let failed = run_until_final(&mut world, open.id(), TimeDelta::minutes(10)).await;
    assert_eq!(failed["status"], "failed", "{failed}");
    assert_eq!(failed["failure"]["code"], "TRADE_HAS_CLOSE");
    assert_eq!(world.simulator.count("refund").await, 1);
    finish(world).await;
}

/// Short funds fail a synchronous refund at once, with the advice to use the batch, which then works.
#[sqlx::test]
async fn hk_11_short_funds_fail_a_synchronous_refund_and_the_batch_takes_it(pool: PgPool) {
    let mut world = world_at(pool, "2026-03-09T15:00:00").await;
    world.simulator.set_notifications("off").await;
    world
        .simulator
        .set_refund_policy(&json!({"funds_sufficient": false}))
        .await;
    let paid = world.pay("0001").await;
    let failed = refund(&world, &paid, "sync").await;
    assert_eq!(failed.summary("status"), (201, "failed"), "{failed:?}");
    assert_eq!(
        failed.body["failure"]["code"],
        "MERCHANT_BALANCE_NOT_ENOUGH"
    );
    let advice = failed.body["failure"]["message"]
        .as_str()
        .unwrap_or_default();
    assert!(advice.contains("\"mode\": \"async\""), "{advice}");
    let accepted = refund(&world, &paid, "async").await;
    assert_eq!(accepted.summary("status"), (202, "pending"), "{accepted:?}");
    world
        .simulator
        .set_refund_policy(&json!({"funds_sufficient": true}))
        .await;
    let done = run_until_final(&mut world, accepted.id(), TimeDelta::hours(15)).await;
    assert_eq!(done["status"], "succeeded", "{done}");
    finish(world).await;
}

/// A refund that succeeded and later fails is possible, and visible: the amount is free again.
#[sqlx::test]
async fn s7_what_alipay_takes_back_is_learnt_and_shown(pool: PgPool) {
    let world = world_at(pool, "2026-03-09T15:00:00").await;
    let paid = world.pay("0001").await;
    let done = refund(&world, &paid, "sync").await;
    assert_eq!(done.summary("status"), (201, "succeeded"), "{done:?}");
    let theirs = done.body["partner_refund_id"].as_str().expect("an id");
    world.simulator.fail_refund(theirs, "BUYER_NOT_EXIST").await;
    let refreshed = world.till.refresh_refund(done.id()).await;
    assert_eq!(
        refreshed.summary("status"),
        (200, "failed"),
        "{refreshed:?}"
    );
    assert_eq!(refreshed.body["failure"]["code"], "BUYER_NOT_EXIST");
    assert!(
        refreshed.body["succeeded_at"].is_string(),
        "what was stays visible"
    );
    let payment = world.till.payment(paid.id()).await;
    assert_eq!(
        payment["refunds"],
        json!({"refunded": 0, "pending": 0, "refundable": 3925})
    );
    let events = world.events(paid.id()).await;
    assert!(
        events.contains(&"refund_reversed_by_alipay".to_owned()),
        "{events:?}"
    );
    finish(world).await;
}

/// What fails in the batch without a word, and what is canceled at Alipay, is found by the checks.
#[sqlx::test]
async fn t3_a_silent_failure_is_found_after_the_batch(pool: PgPool) {
    let mut world = world_at(pool, "2026-03-09T15:00:00").await;
    let mut policy = strict();
    policy["fails_with"] = json!("BUYER_NOT_EXIST");
    world.simulator.set_refund_policy(&policy).await;
    let paid = world.pay("0001").await;
    let accepted = refund(&world, &paid, "async").await;
    let failed = run_until_final(&mut world, accepted.id(), TimeDelta::hours(15)).await;
    assert_eq!(failed["failure"]["code"], "BUYER_NOT_EXIST", "{failed}");
    world
        .simulator
        .set_refund_policy(&json!({"fails_with": null}))
        .await;
    let accepted = refund(&world, &paid, "async").await;
    let theirs = accepted.body["partner_refund_id"].as_str().expect("an id");
    world.simulator.cancel_refund(theirs).await;
    let failed = run_until_final(&mut world, accepted.id(), TimeDelta::hours(30)).await;
    assert_eq!(failed["failure"]["code"], "CANCELED", "{failed}");
    finish(world).await;
}

/// T6: a batch that does only some, and some of them late in the night, leaves none behind.
#[sqlx::test]
async fn t6_a_partial_batch_leaves_no_refund_behind(pool: PgPool) {
    let mut world = world_at(pool, "2026-03-09T15:00:00").await;
    world.simulator.set_notifications("off").await;
    let mut policy = strict();
    policy["batch_limit"] = json!(3);
    policy["batch_delay_seconds"] = json!(3600);
    world.simulator.set_refund_policy(&policy).await;
    let mut ids = vec![];
    for _ in 0..8 {
        let paid = world.pay("0001").await;
        ids.push(refund(&world, &paid, "async").await.id().to_owned());
    }
    for id in &ids {
        let done = run_until_final(&mut world, id, TimeDelta::days(4)).await;
        assert_eq!(done["status"], "succeeded", "{done}");
    }
    assert!(world.now() < at("2026-03-12T06:00:00"), "{}", world.now());
    finish(world).await;
}

/// HK-9, PT-5: a full refund closes the trade at Alipay; the payment stays what it was, and asking
/// Alipay about it changes nothing (`docs/protocol.md` 5.1).
#[sqlx::test]
async fn hk_9_pt_5_a_payment_refunded_in_full_stays_succeeded_when_it_is_asked_for(pool: PgPool) {
    let world = world_at(pool, "2026-03-09T15:00:00").await;
    let paid = world.pay("0001").await;
    let done = world.till.refund(paid.id(), &json!({}), 5).await;
    assert_eq!(done.summary("status"), (201, "succeeded"), "{done:?}");
    assert_eq!(done.body["amount"]["value"], 3925, "all that was left");
    let path = format!("/v1/payments/{}/refresh", paid.id());
    let asked = Caller::send(world.till.request(Method::POST, &path)).await;
    assert_eq!(asked.summary("status"), (200, "succeeded"), "{asked:?}");
    assert_eq!(
        asked.body["refunds"],
        json!({"refunded": 3925, "pending": 0, "refundable": 0})
    );
    assert_eq!(
        world.simulator.trades().await[0]["close_reason"],
        "refunded"
    );
    finish(world).await;
}

/// HK-9, PT-6: several partial refunds, bounded by what was paid, each in the books.
#[sqlx::test]
async fn hk_9_pt_6_partial_refunds_add_up_and_are_bounded(pool: PgPool) {
    let world = world_at(pool, "2026-03-09T15:00:00").await;
    let paid = world.pay("0001").await;
    for _ in 0..3 {
        let done = refund(&world, &paid, "sync").await;
        assert_eq!(done.summary("status"), (201, "succeeded"), "{done:?}");
    }
    let refused = refund(&world, &paid, "sync").await;
    assert_eq!(
        refused.summary("code"),
        (422, "amount_exceeds_refundable"),
        "{refused:?}"
    );
    let payment = world.till.payment(paid.id()).await;
    assert_eq!(
        payment["refunds"],
        json!({"refunded": 3000, "pending": 0, "refundable": 925})
    );
    let rest = world
        .till
        .refund(paid.id(), &json!({"reason": "the rest"}), 5)
        .await;
    assert_eq!(rest.body["amount"]["value"], 925);
    finish(world).await;
}

/// The schedule of a refund is steered like a payment's, and an operator decides what stayed open.
#[sqlx::test]
async fn operators_steer_and_decide_refunds_too(pool: PgPool) {
    let mut world = world_at(pool, "2026-03-09T15:00:00").await;
    world
        .simulator
        .script("refund", 1, json!({"type": "drop_before_effect"}))
        .await;
    let silence = json!({"type": "system_error_before_effect"});
    world.simulator.script("refund_query", 1000, silence).await;
    let paid = world.pay("0001").await;
    let unheard = refund(&world, &paid, "sync").await;
    world.settle_calls().await;
    let operator = world.caller(0, &[Scope::Operations]).await;
    let listed = operator.get("/v1/follow-ups?kind=refund").await.body;
    let row = &listed["items"][0];
    assert_eq!(row["subject_id"], unheard.id(), "{listed}");
    let follow_up = row["id"].as_str().expect("an id").to_owned();
    let decide = json!({"status": "failed", "reason": "support says no", "ticket": "OPS-1"});
    let path = format!("/v1/refunds/{}/resolve", unheard.id());
    let resolve = || operator.request(Method::POST, &path).json_body(&decide);
    let early = Caller::send(resolve()).await;
    assert_eq!(early.summary("code"), (409, "invalid_state"), "{early:?}");
    let run = format!("/v1/follow-ups/{follow_up}/run");
    let ran = Caller::send(operator.request(Method::POST, &run)).await;
    assert_eq!(ran.status, 200, "{ran:?}");
    world.run_due().await;
    world.advance(TimeDelta::days(8)).await;
    // The question that is overdue is asked first.
    world.run_due().await;
    world.advance(TimeDelta::seconds(1)).await;
    world.run_due().await;
    let open = world.till.get_refund(unheard.id()).await;
    assert_eq!(open["status"], "unresolved", "{open}");
    let decided = Caller::send(resolve()).await;
    assert_eq!(decided.summary("status"), (200, "failed"), "{decided:?}");
    assert_eq!(
        decided.body["failure"]["message"],
        "Nothing went back, as an operator has found out."
    );
    let payment = world.till.payment(paid.id()).await;
    assert_eq!(payment["refunds"]["refundable"], 3925);
    // What a person has decided is asked about once more.
    world.simulator.clear_faults().await;
    world.advance(TimeDelta::seconds(10)).await;
    world.run_due().await;
    finish(world).await;
}
