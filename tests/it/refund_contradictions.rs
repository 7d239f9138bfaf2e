//! Refunds against the books: a refusal that contradicts what the books say of the payment, a refund that
//! was refused and is done all the same, and one that is done and that Alipay knows nothing of.

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{
    Options, World,
    http::{Answer, Caller},
    refund_oracle::finish,
};

/// The afternoon of the day after which no cancel is taken any more is far.
async fn start(pool: PgPool) -> World {
    let options = Options {
        now: "2026-03-09T07:00:00Z".parse().expect("a time"),
        ..Options::default()
    };
    World::start_with(pool, options).await
}

/// Refunds an amount at once, or in the batch.
async fn refund(world: &World, payment: &Answer, minor: i64, mode: &str) -> Answer {
    let body = json!({
        "amount": {"value": minor, "currency": "HKD"}, "mode": mode, "allow_duplicate": true
    });
    world.till.refund(payment.id(), &body, 5).await
}

/// A refund of 10.00 that Alipay refuses by a definite code, and makes.
async fn refused_and_done(world: &World, payment: &Answer) -> Answer {
    let lie = json!({
        "type": "result_after_effect", "code": "FAIL", "error": "REASON_TRADE_BEEN_FREEZEN"
    });
    world.simulator.script("refund", 1, lie).await;
    let refused = refund(world, payment, 1000, "sync").await;
    assert_eq!(refused.summary("status"), (201, "failed"), "{refused:?}");
    refused
}

/// A refund of 10.00 that Alipay calls done and does not make.
async fn done_and_not_known(world: &World, payment: &Answer) -> Answer {
    let simulator = &world.simulator;
    simulator.script_late("refund", 1, "success", None).await;
    refund(world, payment, 1000, "sync").await
}

/// What the only item of the work-list is about, what was said and what tells it apart.
async fn only_claim(world: &World, of: &str) -> (Value, Value, Value) {
    let listed = world.unresolved().await;
    assert_eq!(listed.len(), 1, "{listed:?}");
    let said = listed[0]["contradictions"].as_array().expect("a list");
    assert_eq!(said.len(), 1, "{listed:?}");
    (
        listed[0][of]["id"].clone(),
        said[0]["claim"].clone(),
        said[0]["reference"].clone(),
    )
}

fn theirs(object: &Value, field: &str) -> String {
    object[field].as_str().expect("an id").to_owned()
}

/// The refusal that a query has to confirm is confirmed.
async fn confirm(world: &mut World) {
    for _ in 0..4 {
        world.advance(TimeDelta::seconds(30)).await;
        world.run_due().await;
    }
}

/// Alipay closed the trade and returned the money; nobody asked. A refund is refused with
/// `TRADE_HAS_CLOSE`: the payment is asked about at once, and the books say what became of it.
#[sqlx::test]
async fn m6_a_refund_of_a_closed_trade_asks_about_the_payment(pool: PgPool) {
    let mut world = start(pool).await;
    let paid = world.pay("0001").await;
    world
        .simulator
        .close_paid(&theirs(&paid.body, "partner_trans_id"), true)
        .await;
    let open = refund(&world, &paid, 1000, "sync").await;
    assert_eq!(open.summary("status"), (202, "pending"), "{open:?}");
    confirm(&mut world).await;
    let failed = world.till.get_refund(open.id()).await;
    assert_eq!(failed["failure"]["code"], "TRADE_HAS_CLOSE", "{failed}");
    let payment = world.till.payment(paid.id()).await;
    assert_eq!(payment["status"], "canceled", "{payment}");
    assert_eq!(payment["status_reason"], "closed_after_payment");
    let events = world.events(paid.id()).await;
    assert!(events.contains(&"contradicted".to_owned()), "{events:?}");
    let settled =
        "select count(*) from contradiction where claim = 'closed' and settled_by = 'answer'";
    assert_eq!(world.count_rows(settled).await, 1);
    // The caller was told that it is under way.
    let listed = world.unresolved().await;
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0]["refund"]["id"], open.id());
    assert_eq!(listed[0]["needs"], json!(["failed_late"]));
    finish(world).await;
}

/// The same where the refund is what is left of a reversal whose cancel came too late.
#[sqlx::test]
async fn m6_a_reversal_that_ends_in_a_refused_refund_asks_about_the_payment(pool: PgPool) {
    let mut world = start(pool).await;
    let paid = world.pay("0001").await;
    world
        .simulator
        .script_refusal("cancel", 1, "TRADE_CANCEL_TIME_OUT")
        .await;
    world
        .simulator
        .script_refusal("refund", 1, "TRADE_NOT_EXIST")
        .await;
    let path = format!("/v1/payments/{}/reverse", paid.id());
    let request = world.till.request(Method::POST, &path);
    Caller::send(request.header("prefer", "wait=0")).await;
    world.settle_calls().await;
    for seconds in [30, 30, 30, 30, 600] {
        world.advance(TimeDelta::seconds(seconds)).await;
        world.run_due().await;
    }
    let refunds = world.till.get("/v1/refunds").await.body;
    let failure = &refunds["items"][0]["failure"];
    assert_eq!(failure["code"], "TRADE_NOT_EXIST", "{refunds}");
    let said = "select count(*) from contradiction
        where claim = 'not_found' and reference = 'TRADE_NOT_EXIST'";
    assert_eq!(world.count_rows(said).await, 1);
    let settled = "select count(*) from contradiction where settled_by = 'answer'";
    assert_eq!(
        world.count_rows(settled).await,
        1,
        "asked now: Alipay knows the trade"
    );
    finish(world).await;
}

/// More was returned than the books know: no query tells how much, so it stands on the work-list until a
/// person has looked, or a daily file explains it.
#[sqlx::test]
async fn m6_a_refund_that_exceeds_what_alipay_has_left_waits_for_a_person(pool: PgPool) {
    let world = start(pool).await;
    let paid = world.pay("0001").await;
    world
        .simulator
        .portal_refund(&theirs(&paid.body, "partner_trans_id"), 2000)
        .await;
    let refused = refund(&world, &paid, 3000, "sync").await;
    assert_eq!(refused.summary("status"), (201, "failed"), "{refused:?}");
    assert_eq!(refused.body["failure"]["code"], "RETURN_AMOUNT_EXCEED");
    let asked = world.simulator.count("query").await;
    world.run_due().await;
    assert_eq!(world.simulator.count("query").await, asked + 1, "asked now");
    let (id, claim, code) = only_claim(&world, "payment").await;
    assert_eq!(id, paid.id());
    assert_eq!(
        (claim, code),
        (json!("not_refundable"), json!("RETURN_AMOUNT_EXCEED")),
        "that it is paid says nothing of what is left"
    );
    // Refused again it is no second one.
    refund(&world, &paid, 3000, "sync").await;
    only_claim(&world, "payment").await;
    let path = format!("/v1/payments/{}/resolve", paid.id());
    let decision =
        json!({"status": "succeeded", "reason": "20.00 in the portal", "ticket": "OPS-1"});
    let resolved = world.operate(&path, decision).await;
    assert_eq!(
        resolved.summary("status"),
        (200, "succeeded"),
        "{resolved:?}"
    );
    assert!(world.unresolved().await.is_empty());
    world.end_without_checks().await;
}

/// What the books do not call refundable is no contradiction, and neither is a refusal that says nothing
/// of the payment.
#[sqlx::test]
async fn a_refusal_that_says_nothing_of_the_payment_contradicts_nothing(pool: PgPool) {
    let world = start(pool).await;
    let paid = world.pay("0001").await;
    for code in [
        "REASON_TRADE_BEEN_FREEZEN",
        "REFUNDMENT_VALID_DATE_EXCEED",
        "MERCHANT_BALANCE_NOT_ENOUGH",
    ] {
        world.simulator.script_refusal("refund", 1, code).await;
        let refused = refund(&world, &paid, 1000, "sync").await;
        assert_eq!(refused.summary("status"), (201, "failed"), "{refused:?}");
    }
    assert_eq!(
        world.count_rows("select count(*) from contradiction").await,
        0
    );
    finish(world).await;
}

/// `FAIL` with a definite code, and done all the same: one question finds it, and it goes into the books.
#[sqlx::test]
async fn m6_a_refund_that_was_refused_and_is_done_is_found_by_one_question(pool: PgPool) {
    let mut world = start(pool).await;
    let paid = world.pay("0001").await;
    let refused = refused_and_done(&world, &paid).await;
    world.run_due().await;
    assert_eq!(
        world.simulator.count("refund_query").await,
        0,
        "not before 10 s"
    );
    world.advance(TimeDelta::seconds(10)).await;
    world.run_due().await;
    // The question that was raised by it is told apart by its time.
    world.advance(TimeDelta::minutes(10)).await;
    world.run_due().await;
    let done = world.till.get_refund(refused.id()).await;
    assert_eq!(done["status"], "succeeded", "{done}");
    let payment = world.till.payment(paid.id()).await;
    assert_eq!(payment["refunds"]["refunded"], 1000, "{payment}");
    let events = world.events(paid.id()).await;
    assert!(
        events.contains(&"refund_contradicted".to_owned()),
        "{events:?}"
    );
    finish(world).await;
}

/// M12: refunds return all of it, of which one is proven and not in the books yet. That the trade is closed by them
/// is no closure after payment: the payment stays what it was called.
#[sqlx::test]
async fn m12_a_trade_closed_by_refunds_of_which_one_is_not_booked_yet_stays_paid(pool: PgPool) {
    let mut world = start(pool).await;
    let paid = world.pay("0001").await;
    refused_and_done(&world, &paid).await;
    world.advance(TimeDelta::seconds(10)).await;
    world.run_due().await;
    let rest = refund(&world, &paid, 2925, "sync").await;
    assert_eq!(rest.summary("status"), (201, "succeeded"), "{rest:?}");
    world.advance(TimeDelta::seconds(1)).await;
    let path = format!("/v1/payments/{}/refresh", paid.id());
    let told = world.till.post(&path, &Value::Null).await;
    assert_eq!(told.body["status"], "succeeded", "{told:?}");
    world.advance(TimeDelta::minutes(10)).await;
    world.run_due().await;
    let payment = world.till.payment(paid.id()).await;
    assert_eq!(
        (&payment["status"], &payment["refunds"]["refunded"]),
        (&json!("succeeded"), &json!(3925)),
        "{payment}"
    );
    assert!(world.unresolved().await.is_empty());
    finish(world).await;
}

/// What was refused, and is not done, costs one question and no more.
#[sqlx::test]
async fn a_refused_refund_is_asked_about_once(pool: PgPool) {
    let mut world = start(pool).await;
    let paid = world.pay("0001").await;
    for code in ["REASON_TRADE_BEEN_FREEZEN", "MERCHANT_BALANCE_NOT_ENOUGH"] {
        world.simulator.script_refusal("refund", 1, code).await;
        let refused = refund(&world, &paid, 1000, "sync").await;
        assert_eq!(refused.summary("status"), (201, "failed"), "{refused:?}");
    }
    for _ in 0..6 {
        world.advance(TimeDelta::hours(6)).await;
        world.run_due().await;
    }
    assert_eq!(world.simulator.count("refund_query").await, 2, "one each");
    assert_eq!(world.count_rows("select count(*) from follow_up").await, 0);
    assert_eq!(
        world.count_rows("select count(*) from contradiction").await,
        0
    );
    finish(world).await;
}

/// A refund that Alipay called done and does not know: nothing moves by itself, it is asked about again,
/// and a person decides that nothing went back.
#[sqlx::test]
async fn m6_a_refund_that_is_done_and_not_known_waits_for_a_person(pool: PgPool) {
    let mut world = start(pool).await;
    let paid = world.pay("0001").await;
    let done = done_and_not_known(&world, &paid).await;
    assert_eq!(done.summary("status"), (201, "succeeded"), "{done:?}");
    world.advance(TimeDelta::seconds(1)).await;
    let told = world.till.refresh_refund(done.id()).await;
    assert_eq!(told.summary("status"), (200, "succeeded"), "{told:?}");
    let (id, claim, _) = only_claim(&world, "refund").await;
    assert_eq!((id, claim), (json!(done.id()), json!("refund_not_found")));
    let events = world.events(paid.id()).await;
    assert!(
        events.contains(&"refund_contradicted".to_owned()),
        "{events:?}"
    );
    let asked = world.simulator.count("refund_query").await;
    for _ in 0..20 {
        world.advance(TimeDelta::hours(2)).await;
        world.run_due().await;
    }
    assert!(
        world.simulator.count("refund_query").await > asked + 1,
        "asked the next day too"
    );
    let still = world.till.get_refund(done.id()).await;
    assert_eq!(
        still["status"], "succeeded",
        "only a person decides: {still}"
    );
    assert_eq!(
        world.count_rows("select count(*) from contradiction").await,
        1
    );
    let path = format!("/v1/refunds/{}/resolve", done.id());
    let decision = json!({"status": "failed", "reason": "not in the portal", "ticket": "OPS-2"});
    let resolved = world.operate(&path, decision).await;
    assert_eq!(resolved.summary("status"), (200, "failed"), "{resolved:?}");
    assert!(world.unresolved().await.is_empty());
    let payment = world.till.payment(paid.id()).await;
    assert_eq!(
        payment["refunds"],
        json!({"refunded": 0, "pending": 0, "refundable": 3925}),
        "it can be refunded again"
    );
    let audited = "select count(*) from audit_log where action = 'refund.resolved'";
    assert_eq!(world.count_rows(audited).await, 1);
    // What a person has decided is asked about once more.
    world.advance(TimeDelta::seconds(10)).await;
    let asked = world.simulator.count("refund_query").await;
    world.run_due().await;
    assert_eq!(world.simulator.count("refund_query").await, asked + 1);
    finish(world).await;
}

/// A copy that lagged behind: the next question says what the books say, and settles it.
#[sqlx::test]
async fn a_refund_that_was_not_known_for_a_moment_is_settled_by_the_next_question(pool: PgPool) {
    let mut world = start(pool).await;
    let paid = world.pay("0001").await;
    let done = refund(&world, &paid, 1000, "sync").await;
    world.advance(TimeDelta::seconds(1)).await;
    world
        .simulator
        .script("refund_query", 2, json!({"type": "not_exist"}))
        .await;
    world.till.refresh_refund(done.id()).await;
    only_claim(&world, "refund").await;
    world.advance(TimeDelta::minutes(11)).await;
    world.run_due().await;
    assert!(world.unresolved().await.is_empty());
    let still = world.till.get_refund(done.id()).await;
    assert_eq!(still["status"], "succeeded", "{still}");
    world.advance(TimeDelta::seconds(1)).await;
    world.run_due().await;
    assert_eq!(world.count_rows("select count(*) from follow_up").await, 0);
    finish(world).await;
}

/// A person may also keep it.
#[sqlx::test]
async fn a_person_may_keep_a_refund_that_alipay_does_not_know(pool: PgPool) {
    let mut world = start(pool).await;
    let paid = world.pay("0001").await;
    world
        .simulator
        .script("refund_query", 9, json!({"type": "not_exist"}))
        .await;
    let done = refund(&world, &paid, 1000, "sync").await;
    world.advance(TimeDelta::seconds(1)).await;
    world.till.refresh_refund(done.id()).await;
    let path = format!("/v1/refunds/{}/resolve", done.id());
    let decision = json!({"status": "succeeded", "reason": "the buyer has it", "ticket": "OPS-3"});
    let resolved = world.operate(&path, decision).await;
    assert_eq!(
        resolved.summary("status"),
        (200, "succeeded"),
        "{resolved:?}"
    );
    assert!(world.unresolved().await.is_empty());
    world.run_due().await;
    finish(world).await;
}

/// A refresh that learns that a refused refund is done shows it done.
#[sqlx::test]
async fn a_refresh_that_learns_that_a_refund_is_done_shows_it_done(pool: PgPool) {
    let world = start(pool).await;
    let paid = world.pay("0001").await;
    let refused = refused_and_done(&world, &paid).await;
    // The database's clock goes on, so that one question is after another.
    world
        .sql(
            "alter table clock_of_test add column began timestamptz not null default now();
            create or replace function db_now() returns timestamptz language plpgsql stable as
                $$begin return (select now + (now() - began) from clock_of_test); end$$",
        )
        .await;
    let told = world.till.refresh_refund(refused.id()).await;
    assert_eq!(told.summary("status"), (200, "succeeded"), "{told:?}");
    finish(world).await;
}

/// What was accepted, and fails in the night, is seen: by whoever reads it, and on the work-list until a
/// person has seen to it.
#[sqlx::test]
async fn a_refund_that_fails_after_it_was_accepted_waits_for_a_person(pool: PgPool) {
    let mut world = start(pool).await;
    fail_in_the_batch(&world).await;
    let paid = world.pay("0001").await;
    let accepted = refund(&world, &paid, 1000, "async").await;
    assert_eq!(accepted.summary("status"), (202, "pending"), "{accepted:?}");
    assert_eq!(
        accepted.body["next_action"],
        json!({"type": "wait", "poll_after_ms": 60_000})
    );
    for _ in 0..24 {
        world.advance(TimeDelta::hours(1)).await;
        world.run_due().await;
    }
    let failed = world.till.get_refund(accepted.id()).await;
    assert_eq!(failed["status"], "failed", "{failed}");
    assert_eq!(
        failed["next_action"],
        json!({"type": "call_operator", "poll_after_ms": null})
    );
    let events = world.events(paid.id()).await;
    assert!(
        events.contains(&"refund_failed_at_alipay".to_owned()),
        "{events:?}"
    );
    let listed = world.unresolved().await;
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0]["refund"]["id"], accepted.id());
    assert_eq!(listed[0]["needs"], json!(["failed_late"]));
    let path = format!("/v1/refunds/{}/resolve", accepted.id());
    let decision = json!({"status": "failed", "reason": "paid in cash", "ticket": "OPS-4"});
    let resolved = world.operate(&path, decision.clone()).await;
    assert_eq!(resolved.summary("status"), (200, "failed"), "{resolved:?}");
    assert_eq!(resolved.body["failure"]["code"], "BUYER_NOT_EXIST");
    assert_eq!(resolved.body["next_action"]["type"], "done");
    assert!(world.unresolved().await.is_empty());
    let audited = "select count(*) from audit_log where action = 'refund.resolved'";
    assert_eq!(world.count_rows(audited).await, 1);
    let again = world.operate(&path, decision).await;
    assert_eq!(again.summary("code"), (409, "invalid_state"), "{again:?}");
    finish(world).await;
}

/// So is what was done and is taken back; one that failed in the answer to its request is not.
#[sqlx::test]
async fn a_refund_that_alipay_takes_back_waits_for_a_person(pool: PgPool) {
    let world = start(pool).await;
    let paid = world.pay("0001").await;
    world
        .simulator
        .script_refusal("refund", 1, "REASON_TRADE_BEEN_FREEZEN")
        .await;
    let refused = refund(&world, &paid, 1000, "sync").await;
    assert_eq!(refused.body["next_action"]["type"], "done", "{refused:?}");
    let done = refund(&world, &paid, 1000, "sync").await;
    assert_eq!(done.summary("status"), (201, "succeeded"), "{done:?}");
    assert!(world.unresolved().await.is_empty());
    let id = theirs(&done.body, "partner_refund_id");
    world.simulator.fail_refund(&id, "BUYER_NOT_EXIST").await;
    world.till.refresh_refund(done.id()).await;
    let listed = world.unresolved().await;
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0]["refund"]["id"], done.id());
    finish(world).await;
}

/// A refund query that knows no such payment denies a payment that is held paid: that is asked about too.
#[sqlx::test]
async fn m6_a_refund_query_that_knows_no_payment_asks_about_the_payment(pool: PgPool) {
    let mut world = start(pool).await;
    let paid = world.pay("0001").await;
    let done = refund(&world, &paid, 1000, "sync").await;
    assert_eq!(done.summary("status"), (201, "succeeded"), "{done:?}");
    world.advance(TimeDelta::seconds(1)).await;
    let denied = json!({"type": "result", "code": "TRADE_NOT_EXIST"});
    world.simulator.script("refund_query", 2, denied).await;
    world.till.refresh_refund(done.id()).await;
    let said = "select count(*) from contradiction
        where claim in ('not_found', 'refund_not_found') and settled_at is null";
    assert_eq!(
        world.count_rows(said).await,
        2,
        "the payment and the refund"
    );
    for _ in 0..2 {
        world.advance(TimeDelta::minutes(11)).await;
        world.run_due().await;
    }
    assert_eq!(world.count_rows(said).await, 0, "Alipay knows both");
    assert!(world.unresolved().await.is_empty());
    finish(world).await;
}

/// While a refund of all of it was on its way, "closed" told nothing new. It does once the refund fails: the
/// payment is asked about again, and the money that went back another way is in the books.
#[sqlx::test]
async fn m6_a_closed_trade_is_asked_about_again_when_the_refund_of_all_of_it_fails(pool: PgPool) {
    let mut world = start(pool).await;
    fail_in_the_batch(&world).await;
    let paid = world.pay("0001").await;
    let accepted = refund(&world, &paid, 3925, "async").await;
    assert_eq!(accepted.summary("status"), (202, "pending"), "{accepted:?}");
    world
        .simulator
        .close_paid(&theirs(&paid.body, "partner_trans_id"), true)
        .await;
    let told = refresh(&world, paid.id()).await;
    assert_eq!(told["status"], "succeeded", "{told}");
    pass_the_night(&mut world).await;
    let failed = world.till.get_refund(accepted.id()).await;
    assert_eq!(failed["status"], "failed", "{failed}");
    let payment = world.till.payment(paid.id()).await;
    assert_eq!(
        (&payment["status_reason"], &payment["refunds"]["refundable"]),
        (&json!("closed_after_payment"), &json!(0)),
        "{payment}"
    );
    world.end_without_checks().await;
}

/// The same where a part was on its way: what Alipay says of the payment after the failure is what counts.
#[sqlx::test]
async fn m6_a_closed_payment_is_asked_about_again_when_a_refund_of_it_fails(pool: PgPool) {
    let mut world = start(pool).await;
    fail_in_the_batch(&world).await;
    let paid = world.pay("0001").await;
    let accepted = refund(&world, &paid, 1000, "async").await;
    assert_eq!(accepted.summary("status"), (202, "pending"), "{accepted:?}");
    world
        .simulator
        .close_paid(&theirs(&paid.body, "partner_trans_id"), true)
        .await;
    let told = refresh(&world, paid.id()).await;
    assert_eq!(told["status_reason"], "closed_after_payment", "{told}");
    let asked = world.simulator.count("query").await;
    pass_the_night(&mut world).await;
    let failed = world.till.get_refund(accepted.id()).await;
    assert_eq!(failed["status"], "failed", "{failed}");
    assert_eq!(world.simulator.count("query").await, asked + 1);
    let listed = world.unresolved().await;
    assert_eq!(listed[0]["needs"], json!(["failed_late"]), "{listed:?}");
    world.end_without_checks().await;
}

/// That nothing can be refunded contradicts nothing any more once all of it is refunded.
#[sqlx::test]
async fn a_refund_of_all_that_is_left_settles_that_nothing_can_be_refunded(pool: PgPool) {
    let mut world = start(pool).await;
    let paid = world.pay("0001").await;
    world
        .simulator
        .script_refusal("refund", 1, "RETURN_AMOUNT_EXCEED")
        .await;
    refund(&world, &paid, 1000, "sync").await;
    let (id, claim, _) = only_claim(&world, "payment").await;
    assert_eq!((id, claim), (json!(paid.id()), json!("not_refundable")));
    let part = refund(&world, &paid, 1000, "sync").await;
    assert_eq!(part.summary("status"), (201, "succeeded"), "{part:?}");
    world.advance(TimeDelta::seconds(1)).await;
    world.run_due().await;
    only_claim(&world, "payment").await;
    // Later than the last question, so that what is owed from here on is told apart.
    world.advance(TimeDelta::seconds(1)).await;
    let rest = refund(&world, &paid, 2925, "sync").await;
    assert_eq!(rest.summary("status"), (201, "succeeded"), "{rest:?}");
    world.advance(TimeDelta::seconds(1)).await;
    world.run_due().await;
    let listed = world.unresolved().await;
    assert!(listed.is_empty(), "{listed:?}");
    let payment = world.till.payment(paid.id()).await;
    assert_eq!(payment["next_action"]["type"], "done", "{payment}");
    finish(world).await;
}

/// An asynchronous refund is done in the night, or not.
async fn fail_in_the_batch(world: &World) {
    let policy = json!({
        "same_day_immediate": false, "in_window": "next_night", "fails_with": "BUYER_NOT_EXIST"
    });
    world.simulator.set_refund_policy(&policy).await;
}

async fn pass_the_night(world: &mut World) {
    for _ in 0..24 {
        world.advance(TimeDelta::hours(1)).await;
        world.run_due().await;
    }
    world.run_due().await;
}

/// `POST /v1/payments/{id}/refresh`.
async fn refresh(world: &World, id: &str) -> Value {
    let path = format!("/v1/payments/{id}/refresh");
    let answer = Caller::send(world.till.request(Method::POST, &path)).await;
    answer.body
}

/// A refund of which Alipay was silent for as long as it is followed, and which nobody asks about any more: what a person
/// decides about it is asked about all the same, so that what is done is not returned twice.
#[sqlx::test]
async fn m6_what_a_person_decides_about_an_abandoned_refund_is_asked_about(pool: PgPool) {
    let mut world = start(pool).await;
    let paid = world.pay("0001").await;
    let done = done_and_not_known(&world, &paid).await;
    world.advance(TimeDelta::seconds(1)).await;
    world.till.refresh_refund(done.id()).await;
    world
        .sql(
            "update follow_up set abandoned_reason = 'no use', abandoned_by = (select api_key_id from api_key limit 1),
                parked_at = db_now()
            where kind = 'refund'",
        )
        .await;
    let path = format!("/v1/refunds/{}/resolve", done.id());
    let decision = json!({"status": "failed", "reason": "not in the portal", "ticket": "OPS-2"});
    let resolved = world.operate(&path, decision).await;
    assert_eq!(resolved.summary("status"), (200, "failed"), "{resolved:?}");
    let asked = world.simulator.count("refund_query").await;
    world.advance(TimeDelta::seconds(10)).await;
    world.run_due().await;
    assert_eq!(world.simulator.count("refund_query").await, asked + 1);
    world.end_without_checks().await;
}

/// That the books of a refund stand is a decision too: it is asked about once more.
#[sqlx::test]
async fn m6_that_the_books_of_a_refund_stand_is_asked_about(pool: PgPool) {
    let mut world = start(pool).await;
    let paid = world.pay("0001").await;
    let done = done_and_not_known(&world, &paid).await;
    world.advance(TimeDelta::seconds(1)).await;
    world.till.refresh_refund(done.id()).await;
    let path = format!("/v1/refunds/{}/resolve", done.id());
    let stands = json!({"status": "succeeded", "reason": "the portal shows it", "ticket": "OPS-2"});
    let resolved = world.operate(&path, stands).await;
    assert_eq!(
        resolved.summary("status"),
        (200, "succeeded"),
        "{resolved:?}"
    );
    assert!(world.unresolved().await.is_empty());
    world.advance(TimeDelta::seconds(10)).await;
    world.run_due().await;
    assert_eq!(world.unresolved().await.len(), 1, "Alipay says it again");
    world.end_without_checks().await;
}
