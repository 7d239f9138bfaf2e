//! What a till reads is never done while money may still move, and never older than what it was told
//! before.

use std::time::Duration;

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_util::task::TaskTracker;

use crate::support::{
    World,
    http::{Answer, Caller, body},
};

/// A call that Alipay never heard.
fn lost() -> Value {
    json!({"type": "drop_before_effect"})
}

async fn post(till: &Caller, path: &str, wait: u32) -> Answer {
    let request = till
        .request(Method::POST, path)
        .header("prefer", format!("wait={wait}"));
    Caller::send(request).await
}

async fn cancel(till: &Caller, id: &str, wait: u32) -> Answer {
    post(till, &format!("/v1/payments/{id}/cancel"), wait).await
}

/// A long poll from the version that is known.
async fn wait_from(till: &Caller, kind: &str, id: &str, version: &Value, wait: u32) -> Answer {
    let request = till
        .request(Method::GET, &format!("/v1/{kind}/{id}?wait={wait}"))
        .header("if-none-match", format!("\"{version}\""));
    Caller::send(request).await
}

/// Whatever the answer says of its being final, it says everywhere.
fn assert_agrees(answer: &Answer) {
    let payment = &answer.body;
    let is_final = payment["outcome_certainty"] == "final";
    let action = payment["next_action"]["type"].as_str().unwrap_or_default();
    assert_eq!(
        payment["next_action"]["poll_after_ms"].is_null(),
        is_final,
        "{answer:?}"
    );
    assert_eq!(!payment["finalized_at"].is_null(), is_final, "{answer:?}");
    assert!(is_final || action != "done", "{answer:?}");
    assert_eq!(answer.status == 202, !is_final, "{answer:?}");
    assert_eq!(
        answer.header("retry-after").is_empty(),
        is_final,
        "{answer:?}"
    );
}

fn assert_under_way(payment: &Value) {
    assert_eq!(payment["status"], "succeeded", "{payment}");
    assert_eq!(payment["outcome_certainty"], "pending", "{payment}");
    assert_eq!(
        payment["next_action"],
        json!({"type": "wait", "poll_after_ms": 2000}),
        "{payment}"
    );
    assert!(payment["finalized_at"].is_null(), "{payment}");
    assert_eq!(payment["refunds"]["refundable"], 0, "{payment}");
}

/// Seen: a paid payment whose cancel is being repeated read `succeeded / final / done`, until its money
/// went back 28 s later.
#[sqlx::test]
async fn a_paid_payment_under_cancel_is_not_done_until_the_cancel_has_ended(pool: PgPool) {
    let mut world = World::start(pool).await;
    let key = "under-cancel";
    let request = body("0001");
    let paid = world.till.create(key, &request, 5).await;
    assert_eq!(paid.summary("status"), (201, "succeeded"), "{paid:?}");
    assert_agrees(&paid);
    world.simulator.script("cancel", 3, lost()).await;

    let answer = cancel(&world.till, paid.id(), 0).await;
    assert_agrees(&answer);
    assert_under_way(&answer.body);
    world.settle_calls().await;
    let mut seconds = 0;
    loop {
        let read = world.till.payment(paid.id()).await;
        if read["status"] == "canceled" {
            assert_eq!(read["outcome_certainty"], "final", "{read}");
            break;
        }
        assert_under_way(&read);
        let repeated = world.till.create(key, &request, 0).await;
        assert_agrees(&repeated);
        assert_eq!(
            repeated.status, 202,
            "the repeat of the create: {repeated:?}"
        );
        let list = world.till.get("/v1/payments").await;
        assert_under_way(&list.body["items"][0]);
        assert!(seconds < 60, "{read}");
        seconds += 1;
        world.advance(TimeDelta::seconds(1)).await;
        world.run_due().await;
    }
    world.finish().await;
}

/// The same while a reversal is under way; its answer does not call itself done either.
#[sqlx::test]
async fn a_reversal_under_way_is_not_done(pool: PgPool) {
    let mut world = World::start(pool).await;
    let paid = world.pay("0001").await;
    world.simulator.script("cancel", 1, lost()).await;
    let path = format!("/v1/payments/{}/reverse", paid.id());
    let answer = post(&world.till, &path, 0).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.header("retry-after"), "2");
    assert_under_way(&answer.body["payment"]);
    world
        .run_until_final(paid.id(), TimeDelta::seconds(60))
        .await;
    let again = post(&world.till, &path, 0).await;
    assert_eq!(again.status, 200, "{again:?}");
    assert_eq!(again.header("retry-after"), "");
    world.finish().await;
}

/// Seen: `GET ?wait=20` with `If-None-Match` on it answered 304 at once, 858 times in 3 s.
#[sqlx::test]
async fn a_wait_for_a_payment_under_cancel_ends_when_it_has_settled(pool: PgPool) {
    let world = World::start(pool).await;
    let paid = world.pay("0001").await;
    let hold = json!({"type": "hold"});
    world.simulator.script("cancel", 1, hold).await;
    let under_way = cancel(&world.till, paid.id(), 0).await;
    assert_under_way(&under_way.body);
    world.until_received("cancel", 1).await;

    // Each is held: at once they would end before the cancel is let go.
    let version = &under_way.body["version"];
    let waiting = wait_from(&world.till, "payments", paid.id(), version, 20);
    let canceling = cancel(&world.till, paid.id(), 20);
    let release = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.simulator.release().await;
    };
    let (waited, canceled, ()) = tokio::join!(waiting, canceling, release);
    assert_eq!(waited.summary("status"), (200, "canceled"), "{waited:?}");
    assert_eq!(waited.body["outcome_certainty"], "final");
    assert_eq!(
        canceled.summary("status"),
        (200, "canceled"),
        "{canceled:?}"
    );
    assert_agrees(&canceled);
    let version = &waited.body["version"];
    let known = wait_from(&world.till, "payments", paid.id(), version, 20).await;
    assert_eq!(known.status, 304, "what is settled keeps nobody waiting");
    world.finish().await;
}

/// Seen: a refresh that learnt nothing new answered version 2, `succeeded`, after another caller had
/// been told version 4, `canceled`.
#[sqlx::test]
async fn a_refresh_answers_the_payment_as_it_is_when_it_answers(pool: PgPool) {
    let world = World::start(pool).await;
    let paid = world.pay("0001").await;
    let hold = json!({"type": "hold"});
    world.simulator.script("query", 1, hold).await;
    let path = format!("/v1/payments/{}/refresh", paid.id());
    let refresh = post(&world.till, &path, 0);
    let meanwhile = async {
        world.until_received("query", 1).await;
        let canceled = cancel(&world.till, paid.id(), 5).await;
        assert_eq!(
            canceled.summary("status"),
            (200, "canceled"),
            "{canceled:?}"
        );
        world.simulator.release().await;
        canceled
    };
    let (refreshed, canceled) = tokio::join!(refresh, meanwhile);
    assert_eq!(refreshed.body, canceled.body);
    world.finish().await;
}

/// The same of a refund, whose truth came by a notification while it was asked about.
#[sqlx::test]
async fn a_refresh_answers_the_refund_as_it_is_when_it_answers(pool: PgPool) {
    let mut world = World::start(pool).await;
    let pending = refund_of_tonight(&world).await;
    let hold = json!({"type": "hold"});
    world.simulator.script("refund_query", 1, hold).await;
    let (till, id) = (world.till.clone(), pending.id().to_owned());
    let calls = TaskTracker::new();
    let refresh = calls.spawn(async move { till.refresh_refund(&id).await });
    world.until_received("refund_query", 1).await;
    world.advance(TimeDelta::days(1)).await;
    world.simulator.deliver_notifications().await;
    // What it hints at is asked about.
    world.replicas[0].worker.run_once().await;
    let told = world.till.get_refund(pending.id()).await;
    assert_eq!(told["status"], "succeeded", "{told}");
    world.simulator.release().await;
    let refreshed = refresh.await.expect("the refresh ends");
    assert_eq!(refreshed.body, told);
    world.finish().await;
}

/// A reader that was overtaken between its read and its answer shows what others were told meanwhile.
#[cfg(feature = "failpoints")]
#[sqlx::test]
async fn a_read_that_was_overtaken_is_no_older_than_what_was_told_meanwhile(pool: PgPool) {
    let mut world = World::start(pool).await;
    let paid = world.pay("0001").await;
    let read = overtaken(&world, "db.payment.after", "payments", paid.id()).await;
    let canceled = cancel(&world.till, paid.id(), 5).await;
    assert_eq!(canceled.summary("status"), (200, "canceled"));
    world.replicas[0].app.failpoints().resume();
    assert_eq!(read.await.expect("an answer").body, canceled.body);

    let pending = refund_of_tonight(&world).await;
    let read = overtaken(&world, "db.refund.after", "refunds", pending.id()).await;
    world.advance(TimeDelta::days(1)).await;
    world.simulator.deliver_notifications().await;
    // What it hints at is asked about.
    world.run_due().await;
    let told = world.till.get_refund(pending.id()).await;
    assert_eq!(told["status"], "succeeded", "{told}");
    world.replicas[0].app.failpoints().resume();
    assert_eq!(read.await.expect("an answer").body, told);
    world.finish().await;
}

/// A reader that has read and is held before it answers.
#[cfg(feature = "failpoints")]
async fn overtaken(
    world: &World,
    point: &str,
    kind: &str,
    id: &str,
) -> tokio::task::JoinHandle<Answer> {
    let points = world.replicas[0].app.failpoints();
    points.arm(point, 0, alipayhk_gateway::failpoint::Action::Pause);
    let (till, path) = (world.till.clone(), format!("/v1/{kind}/{id}"));
    let read = TaskTracker::new().spawn(async move { till.get(&path).await });
    points.stopped().await;
    read
}

/// A refund that Alipay does in its next batch.
async fn refund_of_tonight(world: &World) -> Answer {
    let strict = json!({"same_day_immediate": false, "in_window": "next_night"});
    world.simulator.set_refund_policy(&strict).await;
    let paid = world.pay("0001").await;
    let refund = json!({"amount": {"value": 1000, "currency": "HKD"}, "mode": "async"});
    let pending = world.till.refund(paid.id(), &refund, 5).await;
    assert_eq!(pending.summary("status"), (202, "pending"), "{pending:?}");
    pending
}
