//! What Alipay verifiably says against the books is never thrown away: it is kept, asked about, shown to a
//! person, and settled by an answer or by that person.

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::json;
use sqlx::PgPool;

use crate::support::{
    World,
    http::{Answer, Caller},
};

/// `POST /v1/payments/{id}/refresh`.
async fn refresh(world: &World, id: &str) -> Answer {
    let path = format!("/v1/payments/{id}/refresh");
    Caller::send(world.till.request(Method::POST, &path)).await
}

/// A payment that Alipay holds paid, and the books closed, as a cancel would leave it that was answered
/// "closed" and did nothing.
async fn closed_but_paid(world: &World) -> Answer {
    let paid = world.till.pay_without_waiting("2003").await;
    world.settle_calls().await;
    world
        .sql(
            "delete from follow_up;
            insert into payment_transition (merchant_id, payment_id, version, event, from_status,
                from_status_reason, to_status, to_status_reason, api_key_id, gateway_at)
            select merchant_id, payment_id, version + 1, 'closed', status, status_reason, 'canceled',
                'buyer_did_not_confirm', (select api_key_id from api_key limit 1), db_now()
            from payment;
            update payment
            set status = 'canceled', status_reason = 'buyer_did_not_confirm', money_returned = false,
                finalized_at = db_now(), version = version + 1",
        )
        .await;
    paid
}

/// A signed "paid" of what a signed cancel had closed: asked about now and the next day, on the work-list
/// with its evidence, until a person accepts the proof, and can then refund what was taken.
#[sqlx::test]
async fn m6_a_closed_payment_that_alipay_shows_paid_waits_for_a_person_who_accepts_it(
    pool: PgPool,
) {
    let mut world = World::start(pool).await;
    let paid = closed_but_paid(&world).await;
    world.advance(TimeDelta::seconds(1)).await;
    let told = refresh(&world, paid.id()).await;
    assert_eq!(
        told.body["status"], "canceled",
        "nothing moves by itself: {told:?}"
    );
    let events = world.events(paid.id()).await;
    assert_eq!(
        events.last().map(String::as_str),
        Some("contradicted"),
        "{events:?}"
    );
    let listed = world.unresolved().await;
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0]["payment"]["id"], paid.id());
    let said = &listed[0]["contradictions"][0];
    assert_eq!(
        (&said["claim"], &said["books_status"], &said["source"]),
        (&json!("paid"), &json!("canceled"), &json!("attempt")),
        "{listed:?}"
    );
    // Said again it is no second one; it is asked now, and the next day.
    world.advance(TimeDelta::seconds(1)).await;
    let asked = world.simulator.count("query").await;
    world.run_due().await;
    assert_eq!(world.simulator.count("query").await, asked + 1);
    for _ in 0..20 {
        world.advance(TimeDelta::hours(2)).await;
        world.run_due().await;
    }
    let asked_the_next_day = world.simulator.count("query").await;
    assert!(asked_the_next_day > asked + 1, "{asked_the_next_day}");
    assert_eq!(
        world.count_rows("select count(*) from contradiction").await,
        1
    );
    let path = format!("/v1/payments/{}/resolve", paid.id());
    let decision =
        json!({"status": "succeeded", "reason": "the portal shows it", "ticket": "OPS-1"});
    let resolved = world.operate(&path, decision.clone()).await;
    assert_eq!(
        resolved.summary("status"),
        (200, "succeeded"),
        "{resolved:?}"
    );
    assert!(world.unresolved().await.is_empty());
    let refund = world.till.refund(paid.id(), &json!({}), 5).await;
    assert_eq!(refund.body["status"], "succeeded", "{refund:?}");
    // What nothing contradicts cannot be resolved.
    let path = format!("/v1/payments/{}/resolve", world.pay("0001").await.id());
    let refused = world.operate(&path, decision).await;
    assert_eq!(
        refused.summary("code"),
        (409, "invalid_state"),
        "{refused:?}"
    );
    world.run_due().await;
    world.finish().await;
}

/// A person may also say that the books are right.
#[sqlx::test]
async fn a_person_may_let_the_books_stand(pool: PgPool) {
    let mut world = World::start(pool).await;
    let paid = closed_but_paid(&world).await;
    world.advance(TimeDelta::seconds(1)).await;
    refresh(&world, paid.id()).await;
    let path = format!("/v1/payments/{}/resolve", paid.id());
    let mut decision = json!({"status": "canceled", "reason": "a test trade", "ticket": "OPS-2"});
    // Whether money was returned is never guessed.
    let refused = world.operate(&path, decision.clone()).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    assert_eq!(
        (
            &refused.body["errors"][0]["pointer"],
            &refused.body["errors"][0]["code"]
        ),
        (&json!("/money_returned"), &json!("required"))
    );
    decision["money_returned"] = json!(false);
    let resolved = world.operate(&path, decision).await;
    assert_eq!(
        resolved.summary("status"),
        (200, "canceled"),
        "{resolved:?}"
    );
    assert!(world.unresolved().await.is_empty());
    let timeline = world.till.timeline(paid.id()).await;
    let last = timeline.iter().rfind(|item| item["type"] == "transition");
    let last = last.expect("a transition");
    assert_eq!(
        (&last["event"], &last["ticket"]),
        (&json!("contradiction_settled"), &json!("OPS-2"))
    );
    // What a person has decided is asked about once more, and Alipay says the same again.
    world.advance(TimeDelta::minutes(1)).await;
    world.run_due().await;
    assert_eq!(world.unresolved().await.len(), 1);
    world.end_without_checks().await;
}

/// An answer that is older than the end contradicts nothing; a later one that says what the books say
/// settles what was said before.
#[sqlx::test]
async fn an_answer_that_agrees_settles_what_was_said_before(pool: PgPool) {
    let mut world = World::start(pool).await;
    let paid = world.pay("0001").await;
    world
        .sql(
            "with said as (
                insert into contradiction (merchant_id, contradiction_id, payment_id, claim,
                    returned_minor, books_status, attempt_id)
                select payment.merchant_id, gen_random_uuid(), payment_id, 'closed', amount_minor, status,
                    attempt_id
                from payment join attempt using (merchant_id, payment_id)
                returning merchant_id, payment_id, attempt_id
            ), recorded as (
                insert into payment_transition (merchant_id, payment_id, version, event, from_status,
                    to_status, api_key_id, attempt_id, gateway_at)
                select merchant_id, payment_id, version + 1, 'contradicted', status, status,
                    (select api_key_id from api_key limit 1), attempt_id, db_now()
                from payment join said using (merchant_id, payment_id)
            ), planned as (
                insert into follow_up (merchant_id, follow_up_id, kind, subject_id, due_at)
                select merchant_id, gen_random_uuid(), 'payment', payment_id, db_now() from said
            )
            update payment
            set contradicted_at = db_now(), proven_returned_minor = amount_minor, version = version + 1",
        )
        .await;
    // What is proven to be back cannot go out a second time.
    let refused = world.till.refund(paid.id(), &json!({}), 5).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    world.advance(TimeDelta::seconds(1)).await;
    world.run_due().await;
    let payment = world.till.payment(paid.id()).await;
    assert_eq!(payment["refunds"]["refundable"], 3925, "{payment}");
    assert!(world.unresolved().await.is_empty());
    world.run_due().await;
    world.finish().await;
}

/// What an operator decided yields to Alipay's word, and is seen to.
#[sqlx::test]
async fn what_an_operator_decided_yields_to_alipays_word(pool: PgPool) {
    let mut world = World::start(pool).await;
    let silence = json!({"type": "drop_before_effect"});
    let paid = world.till.pay_without_waiting("2003").await;
    world.settle_calls().await;
    world.simulator.script("any", 1000, silence).await;
    world.advance(TimeDelta::days(8)).await;
    for _ in 0..10 {
        world.run_due().await;
        world.advance(TimeDelta::minutes(10)).await;
    }
    world.simulator.clear_faults().await;
    assert_eq!(world.till.payment(paid.id()).await["status"], "unresolved");
    let path = format!("/v1/payments/{}/resolve", paid.id());
    let decision = json!({"status": "failed", "reason": "not in the portal", "ticket": "OPS-3"});
    let resolved = world.operate(&path, decision).await;
    assert_eq!(resolved.summary("status"), (200, "failed"), "{resolved:?}");
    world.advance(TimeDelta::seconds(1)).await;
    let told = refresh(&world, paid.id()).await;
    assert_eq!(told.summary("status"), (200, "succeeded"), "{told:?}");
    let events = world.events(paid.id()).await;
    let last: Vec<&str> = events.iter().rev().take(3).map(String::as_str).collect();
    assert_eq!(last, ["paid", "contradicted", "resolved"]);
    let settled = "select count(*) from contradiction where settled_by = 'answer'";
    assert_eq!(world.count_rows(settled).await, 1);
    assert!(world.unresolved().await.is_empty());
    world.run_due().await;
    world.finish().await;
}

/// Alipay closed a paid trade and gave the money back, of which some was refunded before: nothing can be
/// refunded any more, the reason is its own, and nobody at the till is asked for anything.
#[sqlx::test]
async fn m12_a_trade_that_alipay_closed_after_payment_leaves_nothing_to_refund(pool: PgPool) {
    let mut world = World::start(pool).await;
    world.simulator.refund_on_the_same_day().await;
    let paid = world.pay("0001").await;
    let part = json!({"amount": {"value": 1000, "currency": "HKD"}});
    let refund = world.till.refund(paid.id(), &part, 5).await;
    assert_eq!(refund.body["status"], "succeeded", "{refund:?}");
    let ours = world.till.payment(paid.id()).await;
    let theirs = ours["partner_trans_id"].as_str().expect("an id");
    world.simulator.portal_refund(theirs, 2925).await;
    world.advance(TimeDelta::seconds(1)).await;
    let told = refresh(&world, paid.id()).await;
    assert_eq!(told.summary("status"), (200, "canceled"), "{told:?}");
    assert_eq!(told.body["status_reason"], "closed_after_payment");
    assert_eq!(told.body["money_returned"], true);
    assert_eq!(told.body["next_action"]["type"], "done");
    assert_eq!(
        told.body["refunds"],
        json!({"refunded": 1000, "pending": 0, "refundable": 0})
    );
    let refused = world.till.refund(paid.id(), &json!({}), 5).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    world.finish().await;
}

/// `POST /v1/payments/{id}/{verb}` that does not wait.
async fn undo(world: &World, id: &str, verb: &str) -> Answer {
    let path = format!("/v1/payments/{id}/{verb}");
    let request = world.till.request(Method::POST, &path);
    Caller::send(request.header("prefer", "wait=0")).await
}

/// A person decides that the payment stands, and is believed.
async fn let_stand(world: &World, id: &str) -> Answer {
    let path = format!("/v1/payments/{id}/resolve");
    let stays = json!({"status": "succeeded", "reason": "the portal shows it", "ticket": "OPS-1"});
    let resolved = world.operate(&path, stays).await;
    assert_eq!(
        resolved.summary("status"),
        (200, "succeeded"),
        "{resolved:?}"
    );
    resolved
}

/// Every cancel is answered "done" and does nothing, and every query says paid: that stands, and is not settled and
/// opened again with each round, until a person decides, which ends the cancel too.
#[sqlx::test]
async fn m6_a_cancel_that_is_answered_and_never_acts_stands_until_a_person_decides(pool: PgPool) {
    let mut world = World::start(pool).await;
    let paid = world.pay("0001").await;
    world
        .simulator
        .script_late("cancel", 1000, "success", None)
        .await;
    let asked = undo(&world, paid.id(), "cancel").await;
    assert_eq!(asked.status, 202, "{asked:?}");
    world.settle_calls().await;
    for _ in 0..60 {
        let told = world.till.payment(paid.id()).await;
        assert_eq!(
            (
                &told["status"],
                &told["next_action"]["type"],
                &told["outcome_certainty"]
            ),
            (
                &json!("succeeded"),
                &json!("call_operator"),
                &json!("unknown")
            ),
            "{told}"
        );
        assert_eq!(world.unresolved().await.len(), 1);
        world.advance(TimeDelta::seconds(1)).await;
        world.run_due().await;
    }
    let said = world.events(paid.id()).await;
    let said = said.iter().filter(|event| event.contains("contradict"));
    assert_eq!(said.count(), 1, "said once, and not settled meanwhile");
    let path = format!("/v1/payments/{}/resolve", paid.id());
    let failed = json!({"status": "failed", "reason": "not so", "ticket": "OPS-4"});
    let kept =
        json!({"status": "canceled", "money_returned": false, "reason": "no", "ticket": "OPS-4"});
    for neither in [failed, kept] {
        let refused = world.operate(&path, neither).await;
        assert_eq!(
            refused.summary("code"),
            (409, "invalid_state"),
            "{refused:?}"
        );
    }
    let resolved = let_stand(&world, paid.id()).await;
    assert_eq!(
        resolved.body["next_action"]["type"], "wait",
        "the last cancel may act for a minute still: {resolved:?}"
    );
    assert!(world.unresolved().await.is_empty());
    let cancels = world.simulator.count("cancel").await;
    for _ in 0..10 {
        world.advance(TimeDelta::minutes(10)).await;
        world.run_due().await;
    }
    assert_eq!(
        world.simulator.count("cancel").await,
        cancels,
        "the wish is withdrawn"
    );
    let told = world.till.payment(paid.id()).await;
    assert_eq!(told["next_action"]["type"], "done", "{told}");
    let refund = world.till.refund(paid.id(), &json!({}), 5).await;
    assert_eq!(refund.body["status"], "succeeded", "{refund:?}");
    world.finish().await;
}

/// What a person has confirmed is no decision against Alipay: the next cancel that is answered and does nothing is
/// contradicted like the first, and books nothing.
#[sqlx::test]
async fn m6_a_confirmed_sale_does_not_yield_to_a_cancel_that_never_acts(pool: PgPool) {
    let mut world = World::start(pool).await;
    let paid = world.pay("0001").await;
    world
        .simulator
        .script_late("cancel", 1000, "success", None)
        .await;
    for verb in ["cancel", "cancel", "reverse"] {
        let asked = undo(&world, paid.id(), verb).await;
        assert_eq!(asked.status, 202, "{verb}: {asked:?}");
        world.settle_calls().await;
        world.advance(TimeDelta::seconds(2)).await;
        world.run_due().await;
        let told = world.till.payment(paid.id()).await;
        assert_eq!(
            (&told["status"], &told["next_action"]["type"]),
            (&json!("succeeded"), &json!("call_operator")),
            "{verb}: {told}"
        );
        assert_eq!(world.unresolved().await.len(), 1, "{verb}");
        let_stand(&world, paid.id()).await;
    }
    world.run_due().await;
    world.finish().await;
}

/// A reversal whose first cancel is answered "done" and does nothing, and whose next ones are refused for the
/// balance: the wish waits for the question that proves the money still there, and becomes one refund.
#[sqlx::test]
async fn m6_a_reversal_whose_contradicted_cancel_is_refused_becomes_a_refund(pool: PgPool) {
    let mut world = World::start(pool).await;
    let paid = world.pay("0001").await;
    world
        .simulator
        .script_late("cancel", 1, "success", None)
        .await;
    world
        .simulator
        .script_refusal("cancel", 1000, "SELLER_BALANCE_NOT_ENOUGH")
        .await;
    let asked = undo(&world, paid.id(), "reverse").await;
    assert_eq!(asked.status, 202, "{asked:?}");
    world.settle_calls().await;
    for _ in 0..180 {
        world.advance(TimeDelta::seconds(1)).await;
        world.run_due().await;
        world.settle_calls().await;
    }
    let undone = world.till.payment(paid.id()).await;
    let refunds = &undone["refunds"];
    assert_eq!(
        (&refunds["refundable"], &undone["status"]),
        (&json!(0), &json!("succeeded")),
        "{undone}"
    );
    assert_eq!(world.count_rows("select count(*) from refund").await, 1);
    assert!(world.unresolved().await.is_empty());
    world.end_without_checks().await;
}

/// The same of a reversal: once the day is over and the trade is paid still, it becomes a refund.
#[sqlx::test]
async fn m6_a_reversal_whose_cancel_never_acts_becomes_a_refund_when_the_day_is_over(pool: PgPool) {
    let mut world = World::start(pool).await;
    let paid = world.pay("0001").await;
    world
        .simulator
        .script_late("cancel", 1000, "success", None)
        .await;
    let asked = undo(&world, paid.id(), "reverse").await;
    assert_eq!(asked.status, 202, "{asked:?}");
    for _ in 0..100 {
        world.advance(TimeDelta::minutes(30)).await;
        world.run_due().await;
        world.settle_calls().await;
    }
    let undone = world.till.payment(paid.id()).await;
    assert_eq!(undone["refunds"]["refunded"], 3925, "{undone}");
    assert!(world.unresolved().await.is_empty());
    world.finish().await;
}

/// Alipay closed a paid trade and kept the money with the merchant, which no answer says: a person puts it right,
/// and a later look says nothing else.
#[sqlx::test]
async fn a_person_may_say_that_the_money_of_a_closed_trade_did_not_go_back(pool: PgPool) {
    let mut world = World::start(pool).await;
    let paid = world.pay("0001").await;
    let ours = world.till.payment(paid.id()).await;
    let theirs = ours["partner_trans_id"].as_str().expect("an id");
    world.simulator.close_paid(theirs, false).await;
    world.advance(TimeDelta::seconds(1)).await;
    let told = refresh(&world, paid.id()).await;
    assert_eq!(
        (&told.body["status_reason"], &told.body["money_returned"]),
        (&json!("closed_after_payment"), &json!(true)),
        "{told:?}"
    );
    let path = format!("/v1/payments/{}/resolve", paid.id());
    let mut decision = json!({
        "status": "canceled", "money_returned": true, "reason": "the portal shows it", "ticket": "OPS-5"
    });
    let refused = world.operate(&path, decision.clone()).await;
    assert_eq!(
        refused.summary("code"),
        (409, "invalid_state"),
        "{refused:?}"
    );
    decision["money_returned"] = json!(false);
    let resolved = world.operate(&path, decision).await;
    assert_eq!(
        (
            resolved.status,
            &resolved.body["status_reason"],
            &resolved.body["money_returned"]
        ),
        (200, &json!("closed_after_payment"), &json!(false)),
        "{resolved:?}"
    );
    world.advance(TimeDelta::seconds(1)).await;
    let told = refresh(&world, paid.id()).await;
    assert_eq!(told.body["money_returned"], false, "{told:?}");
    assert_eq!(told.body["next_action"]["type"], "wait", "{told:?}");
    world.advance(TimeDelta::minutes(1)).await;
    world.run_due().await;
    let told = world.till.payment(paid.id()).await;
    assert_eq!(
        (&told["money_returned"], &told["next_action"]["type"]),
        (&json!(false), &json!("done")),
        "{told}"
    );
    assert!(world.unresolved().await.is_empty());
    world.finish().await;
}

/// The same where a cancel was asked for of what Alipay had closed already: the refusal of the cancel says nothing of
/// the money.
#[sqlx::test]
async fn a_person_may_say_so_of_a_trade_that_was_closed_before_its_cancel(pool: PgPool) {
    let mut world = World::start(pool).await;
    let paid = world.pay("0001").await;
    let ours = world.till.payment(paid.id()).await;
    let theirs = ours["partner_trans_id"].as_str().expect("an id");
    world.simulator.close_paid(theirs, false).await;
    undo(&world, paid.id(), "cancel").await;
    for _ in 0..10 {
        world.settle_calls().await;
        world.advance(TimeDelta::seconds(1)).await;
        world.run_due().await;
    }
    let told = world.till.payment(paid.id()).await;
    assert_eq!(told["money_returned"], true, "{told}");
    let path = format!("/v1/payments/{}/resolve", paid.id());
    let decision = json!({
        "status": "canceled", "money_returned": false, "reason": "the portal shows it", "ticket": "OPS-7"
    });
    let resolved = world.operate(&path, decision).await;
    assert_eq!(
        resolved.summary("status"),
        (200, "canceled"),
        "{resolved:?}"
    );
    assert_eq!(resolved.body["money_returned"], false, "{resolved:?}");
    let told = refresh(&world, paid.id()).await;
    assert_eq!(told.body["money_returned"], false, "{told:?}");
    assert!(world.unresolved().await.is_empty());
    world.finish().await;
}

/// A cancel that was answered "done" and did nothing, and then comes too late: once the first cannot act any more, the
/// question that ends the wish settles what was said too.
#[sqlx::test]
async fn m6_the_question_that_ends_a_contradicted_cancel_settles_it(pool: PgPool) {
    let mut world = World::start(pool).await;
    let paid = world.pay("0001").await;
    world
        .simulator
        .script_late("cancel", 1, "success", None)
        .await;
    world
        .simulator
        .script_refusal("cancel", 1000, "TRADE_CANCEL_TIME_OUT")
        .await;
    undo(&world, paid.id(), "cancel").await;
    for _ in 0..90 {
        world.settle_calls().await;
        world.advance(TimeDelta::seconds(1)).await;
        world.run_due().await;
    }
    let events = world.events(paid.id()).await;
    assert!(events.contains(&"contradicted".to_owned()), "{events:?}");
    let told = world.till.payment(paid.id()).await;
    assert_eq!(
        (&told["next_action"]["type"], &told["refunds"]["refundable"]),
        (&json!("done"), &json!(3925)),
        "{told}"
    );
    assert!(world.unresolved().await.is_empty());
    world.finish().await;
}

/// A till that waits for a cancel which an operator ends is told so. A cancel that was answered "done" may act for a
/// minute still, and no refund leaves before.
#[sqlx::test]
async fn m3_no_refund_leaves_while_the_cancel_that_a_person_ended_may_act(pool: PgPool) {
    let mut world = World::start(pool).await;
    let paid = world.pay("0001").await;
    world
        .simulator
        .script_late("cancel", 1000, "success", None)
        .await;
    let cancel = format!("/v1/payments/{}/cancel", paid.id());
    let request = world.till.request(Method::POST, &cancel);
    let waiting = Caller::send(request.header("prefer", "wait=60"));
    let decided = async {
        while world.simulator.count("cancel").await == 0 {
            tokio::task::yield_now().await;
        }
        world.settle_calls().await;
        world.advance(TimeDelta::seconds(2)).await;
        world.run_due().await;
        let_stand(&world, paid.id()).await
    };
    let (ended, _) = tokio::join!(waiting, decided);
    assert_eq!(
        ended.summary("code"),
        (409, "cancel_withdrawn"),
        "{ended:?}"
    );
    assert_eq!(ended.body["attempted"], "true", "{ended:?}");
    let early = world.till.refund(paid.id(), &json!({}), 5).await;
    assert_eq!(early.summary("code"), (409, "cancel_may_act"), "{early:?}");
    assert!(early.headers.contains_key("retry-after"), "{early:?}");
    assert_eq!(world.simulator.count("refund").await, 0);
    world.advance(TimeDelta::seconds(60)).await;
    let refund = world.till.refund(paid.id(), &json!({}), 5).await;
    assert_eq!(refund.body["status"], "succeeded", "{refund:?}");
    world.finish().await;
}

/// A person decides while a question is on its way: the answer, which is later than the decision, moves the books.
#[sqlx::test]
async fn m6_an_answer_that_was_on_its_way_when_a_person_decided_is_not_lost(pool: PgPool) {
    let mut world = World::start(pool).await;
    let lost = json!({"type": "drop_after_effect"});
    world.simulator.script("pay", 1, lost).await;
    let silence = json!({"type": "drop_before_effect"});
    world.simulator.script("query", 1000, silence.clone()).await;
    world.simulator.script("cancel", 1000, silence).await;
    let paid = world.till.pay_without_waiting("0001").await;
    world.settle_calls().await;
    for _ in 0..30 {
        world.advance(TimeDelta::seconds(30)).await;
        world.run_due().await;
    }
    world.simulator.clear_faults().await;
    world.simulator.script_hanging("any", 1).await;
    world.advance(TimeDelta::minutes(10)).await;
    let path = format!("/v1/payments/{}/resolve", paid.id());
    let failed = json!({"status": "failed", "reason": "not in the portal", "ticket": "OPS-9"});
    let asked = world.simulator.requests().await.len();
    let visit = world.run_due();
    let decided = async {
        while world.simulator.requests().await.len() == asked {
            tokio::task::yield_now().await;
        }
        let resolved = world.operate(&path, failed).await;
        world.simulator.release().await;
        resolved
    };
    let ((), resolved) = tokio::join!(visit, decided);
    assert_eq!(resolved.summary("status"), (200, "failed"), "{resolved:?}");
    let told = world.till.payment(paid.id()).await;
    assert_eq!(told["status"], "succeeded", "{told}");
    world.finish().await;
}

/// Whatever a person has decided is asked about once more.
#[sqlx::test]
async fn m6_what_a_person_has_decided_is_asked_about_once_more(pool: PgPool) {
    let mut world = World::start(pool).await;
    let paid = world.pay("0001").await;
    world
        .simulator
        .script_late("cancel", 1000, "success", Some(20))
        .await;
    undo(&world, paid.id(), "cancel").await;
    world.settle_calls().await;
    world.advance(TimeDelta::seconds(2)).await;
    world.run_due().await;
    let resolved = let_stand(&world, paid.id()).await;
    let told = world.till.payment(paid.id()).await;
    for told in [&resolved.body, &told] {
        assert_eq!(
            (&told["next_action"]["type"], &told["outcome_certainty"]),
            (&json!("wait"), &json!("pending")),
            "the cancel may act: {told}"
        );
    }
    world.advance(TimeDelta::seconds(60)).await;
    world.run_due().await;
    let told = world.till.payment(paid.id()).await;
    assert_eq!(
        (&told["status"], &told["money_returned"]),
        (&json!("canceled"), &json!(true)),
        "{told}"
    );
    world.finish().await;
}

/// A payment that waits for its buyer: its id, and Alipay's name for it.
async fn awaited(world: &World) -> (String, String) {
    let payment = world.pay_until_open("0102").await;
    let id = |name: &str| payment[name].as_str().expect("an id").to_owned();
    (id("id"), id("partner_trans_id"))
}

/// A payment that Alipay shows paid after a cancel which it answered "done": a person must decide. The cancel acts
/// after so many seconds, or never.
async fn contradicted_cancel(world: &mut World, acts_after: Option<u32>) -> Answer {
    let paid = world.pay("0001").await;
    world
        .simulator
        .script_late("cancel", 1000, "success", acts_after)
        .await;
    undo(world, paid.id(), "cancel").await;
    world.settle_calls().await;
    world.advance(TimeDelta::seconds(2)).await;
    world.run_due().await;
    paid
}

/// M10: a person withdraws a cancel while a question of its follow-up is on its way: the same visit sends no cancel,
/// however it had planned.
#[sqlx::test]
async fn m10_no_cancel_leaves_after_a_person_has_withdrawn_it(pool: PgPool) {
    let mut world = World::start(pool).await;
    let paid = contradicted_cancel(&mut world, None).await;
    let sent = world.simulator.count("cancel").await;
    world.advance(TimeDelta::seconds(10)).await;
    world.simulator.script_hanging("query", 1).await;
    let asked = world.simulator.count("query").await;
    let visit = world.run_due();
    let decided = async {
        while world.simulator.count("query").await == asked {
            tokio::task::yield_now().await;
        }
        let resolved = let_stand(&world, paid.id()).await;
        world.simulator.release().await;
        resolved
    };
    tokio::join!(visit, decided);
    world.settle_calls().await;
    assert_eq!(world.simulator.count("cancel").await, sent);
    for _ in 0..12 {
        world.advance(TimeDelta::seconds(10)).await;
        world.run_due().await;
    }
    let told = world.till.payment(paid.id()).await;
    assert_eq!(
        (&told["status"], &told["next_action"]["type"]),
        (&json!("succeeded"), &json!("done")),
        "{told}"
    );
    assert_eq!(world.simulator.count("cancel").await, sent);
    world.finish().await;
}

/// M10: another replica stores "paid" while a question of an unasked cancel is on its way, whose answer says "waits":
/// no cancel leaves on it.
#[sqlx::test]
async fn m10_no_cancel_leaves_on_what_was_read_before_another_learnt_that_it_was_paid(
    pool: PgPool,
) {
    let mut world = World::start(pool).await;
    let (id, theirs) = awaited(&world).await;
    // The buyer's time is over, and the first cancel does nothing.
    let nothing = json!({"type": "drop_before_effect"});
    world.simulator.script("cancel", 1, nothing).await;
    world.advance(TimeDelta::seconds(61)).await;
    world.run_due().await;
    assert_eq!(world.simulator.count("cancel").await, 1);
    world.simulator.script_hanging("query", 1).await;
    let asked = world.simulator.count("query").await;
    world.advance(TimeDelta::seconds(10)).await;
    let visit = world.run_due();
    let learnt = async {
        while world.simulator.count("query").await == asked {
            tokio::task::yield_now().await;
        }
        world.simulator.confirm(&theirs).await;
        let told = refresh(&world, &id).await;
        world.simulator.release().await;
        told
    };
    let ((), told) = tokio::join!(visit, learnt);
    assert_eq!(told.status, 200, "{told:?}");
    world.settle_calls().await;
    assert_eq!(world.simulator.count("cancel").await, 1);
    for _ in 0..12 {
        world.advance(TimeDelta::seconds(10)).await;
        world.run_due().await;
    }
    let told = world.till.payment(&id).await;
    assert_eq!(told["status"], "succeeded", "{told}");
    world.finish().await;
}

/// S5: a cancel that closed a payment by its answer may act for a minute still, also after the books have lost their
/// schedule: a person's decision waits for it.
#[sqlx::test]
async fn s5_a_decision_waits_for_the_cancel_that_closed_the_payment(pool: PgPool) {
    let mut world = World::start(pool).await;
    let (id, theirs) = awaited(&world).await;
    world
        .simulator
        .script_late("cancel", 1, "success", Some(35))
        .await;
    undo(&world, &id, "cancel").await;
    world.settle_calls().await;
    assert_eq!(world.till.payment(&id).await["status"], "canceled");
    world.advance(TimeDelta::seconds(2)).await;
    world.simulator.confirm(&theirs).await;
    let told = refresh(&world, &id).await;
    assert_eq!(
        told.body["next_action"]["type"], "call_operator",
        "{told:?}"
    );
    world.advance(TimeDelta::seconds(1)).await;
    let resolved = let_stand(&world, &id).await;
    assert_eq!(resolved.body["next_action"]["type"], "wait", "{resolved:?}");
    world.advance(TimeDelta::seconds(20)).await;
    world.run_due().await;
    let told = world.till.payment(&id).await;
    assert_eq!(told["next_action"]["type"], "wait", "{told}");
    world.advance(TimeDelta::seconds(40)).await;
    world.run_due().await;
    let told = world.till.payment(&id).await;
    assert_eq!(
        (&told["status"], &told["money_returned"]),
        (&json!("canceled"), &json!(true)),
        "{told}"
    );
    world.finish().await;
}

/// S5: a refresh before its time does not use up the question about a decision; and what reads "wait" has another tag
/// than what is done.
#[sqlx::test]
async fn s5_a_refresh_does_not_use_up_the_question_about_a_decision(pool: PgPool) {
    let mut world = World::start(pool).await;
    let paid = contradicted_cancel(&mut world, Some(20)).await;
    let_stand(&world, paid.id()).await;
    let told = refresh(&world, paid.id()).await;
    assert_eq!(
        (&told.body["status"], &told.body["next_action"]["type"]),
        (&json!("succeeded"), &json!("wait")),
        "{told:?}"
    );
    world.advance(TimeDelta::seconds(60)).await;
    world.run_due().await;
    let told = world.till.payment(paid.id()).await;
    assert_eq!(
        (&told["status"], &told["money_returned"]),
        (&json!("canceled"), &json!(true)),
        "{told}"
    );
    world.finish().await;
}

#[sqlx::test]
async fn what_reads_wait_has_another_tag_than_what_is_done(pool: PgPool) {
    let mut world = World::start(pool).await;
    let paid = contradicted_cancel(&mut world, None).await;
    let_stand(&world, paid.id()).await;
    let path = format!("/v1/payments/{}", paid.id());
    let read = |tag: Option<String>| {
        let request = world.till.request(Method::GET, &path);
        Caller::send(match tag {
            Some(tag) => request.header("if-none-match", tag),
            None => request,
        })
    };
    let tag_of = |answer: &Answer| answer.headers["etag"].to_str().expect("ASCII").to_owned();
    let waiting = read(None).await;
    assert_eq!(waiting.body["next_action"]["type"], "wait", "{waiting:?}");
    let again = read(Some(tag_of(&waiting))).await;
    assert_eq!(again.status, 200, "it may read otherwise: {again:?}");
    world.advance(TimeDelta::seconds(60)).await;
    world.run_due().await;
    let request = world.till.request(Method::GET, &path);
    let done = Caller::send(request.header("if-none-match", tag_of(&waiting))).await;
    assert_eq!(
        (done.status, &done.body["next_action"]["type"]),
        (200, &json!("done")),
        "{done:?}"
    );
    let request = world.till.request(Method::GET, &path);
    let known = Caller::send(request.header("if-none-match", tag_of(&done))).await;
    assert_eq!(known.status, 304, "{known:?}");
    world.finish().await;
}

/// M6: a request to pay may be on its way for longer than a decision waits otherwise.
#[sqlx::test]
async fn m6_a_decision_is_asked_about_once_no_request_to_pay_is_on_its_way(pool: PgPool) {
    let mut world = World::start(pool).await;
    world.simulator.script_hanging("pay", 1).await;
    let paid = world.till.pay_without_waiting("0001").await;
    world.until_received("pay", 1).await;
    world.simulator.refuse_access(Some("ILLEGAL_SIGN")).await;
    for _ in 0..3 {
        world.advance(TimeDelta::seconds(3)).await;
        world.run_due().await;
    }
    world.simulator.refuse_access(None).await;
    let path = format!("/v1/payments/{}/resolve", paid.id());
    let failed = json!({"status": "failed", "reason": "not in the portal", "ticket": "OPS-9"});
    let resolved = world.operate(&path, failed).await;
    assert_eq!(resolved.summary("status"), (200, "failed"), "{resolved:?}");
    assert_eq!(
        (
            &resolved.body["next_action"]["type"],
            &resolved.body["outcome_certainty"]
        ),
        (&json!("wait"), &json!("pending")),
        "{resolved:?}"
    );
    let asked = world.simulator.count("query").await;
    world.advance(TimeDelta::seconds(20)).await;
    world.run_due().await;
    assert_eq!(world.simulator.count("query").await, asked);
    world.simulator.release().await;
    world.advance(TimeDelta::seconds(60)).await;
    world.run_due().await;
    world.run_due().await;
    let told = world.till.payment(paid.id()).await;
    assert_eq!(told["status"], "succeeded", "{told}");
    world.end_without_checks().await;
}

/// S10: a person said that it was paid, and Alipay knows of no such trade: that is no end without a person.
#[sqlx::test]
async fn s10_a_trade_that_does_not_exist_contradicts_a_decision_that_it_was_paid(pool: PgPool) {
    let mut world = World::start(pool).await;
    let silence = json!({"type": "drop_before_effect"});
    world.simulator.script("any", 10_000, silence).await;
    let paid = world.till.pay_without_waiting("0001").await;
    world.settle_calls().await;
    for _ in 0..30 {
        world.advance(TimeDelta::seconds(30)).await;
        world.run_due().await;
    }
    let_stand(&world, paid.id()).await;
    world.simulator.clear_faults().await;
    world.advance(TimeDelta::seconds(60)).await;
    world.run_due().await;
    let listed = world.unresolved().await;
    assert_eq!(listed.len(), 1, "{listed:?}");
    let path = format!("/v1/payments/{}/resolve", paid.id());
    let never = json!({
        "status": "canceled", "money_returned": false, "reason": "not in the portal", "ticket": "OPS-8"
    });
    let resolved = world.operate(&path, never).await;
    assert_eq!(
        resolved.summary("status"),
        (200, "canceled"),
        "{resolved:?}"
    );
    world.advance(TimeDelta::seconds(60)).await;
    world.run_due().await;
    let told = world.till.payment(paid.id()).await;
    assert_eq!(
        (
            &told["status"],
            &told["next_action"]["type"],
            &told["refunds"]["refundable"]
        ),
        (&json!("canceled"), &json!("done"), &json!(0)),
        "{told}"
    );
    world.finish().await;
}

/// A payment that waits for its buyer and is refused at the door, so that a person decides that it was paid.
async fn paid_by_decision(world: &mut World) -> String {
    let (id, _) = awaited(world).await;
    world.simulator.refuse_access(Some("ILLEGAL_SIGN")).await;
    for _ in 0..3 {
        world.advance(TimeDelta::seconds(5)).await;
        world.run_due().await;
    }
    world.simulator.refuse_access(None).await;
    let_stand(world, &id).await;
    id
}

/// D8: what a person decided is not certain while the question about it is unanswered, however often it was asked; and it
/// does not read "wait" for ever.
#[sqlx::test]
async fn d8_a_decision_reads_wait_until_the_question_about_it_is_answered(pool: PgPool) {
    let mut world = World::start(pool).await;
    let paid = contradicted_cancel(&mut world, Some(55)).await;
    let_stand(&world, paid.id()).await;
    let silence = json!({"type": "drop_before_effect"});
    world.simulator.script("query", 10_000, silence).await;
    for _ in 0..25 {
        world.advance(TimeDelta::seconds(10)).await;
        world.run_due().await;
        let told = world.till.payment(paid.id()).await;
        assert_eq!(told["next_action"]["type"], "wait", "{told}");
    }
    for _ in 0..30 {
        world.advance(TimeDelta::minutes(1)).await;
        world.run_due().await;
    }
    let told = world.till.payment(paid.id()).await;
    assert_eq!(told["next_action"]["type"], "done", "{told}");
    world.simulator.clear_faults().await;
    world.advance(TimeDelta::hours(12)).await;
    world.run_due().await;
    let told = world.till.payment(paid.id()).await;
    assert_eq!(told["status"], "canceled", "{told}");
    world.finish().await;
}

/// S10: a person said that it was paid, and the trade waits for its buyer.
#[sqlx::test]
async fn s10_a_trade_that_waits_contradicts_a_decision_that_it_was_paid(pool: PgPool) {
    let mut world = World::start(pool).await;
    let id = paid_by_decision(&mut world).await;
    world.advance(TimeDelta::seconds(60)).await;
    world.run_due().await;
    let listed = world.unresolved().await;
    assert_eq!(listed.len(), 1, "{listed:?}");
    // The trade is closed by its age: the decision yields, and nothing of the person's word is left.
    for _ in 0..3 {
        world.advance(TimeDelta::minutes(4)).await;
        refresh(&world, &id).await;
    }
    let told = world.till.payment(&id).await;
    assert_eq!(
        (&told["status"], &told["money_returned"]),
        (&json!("canceled"), &json!(false)),
        "{told}"
    );
    world.finish().await;
}
