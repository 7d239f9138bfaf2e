//! What Alipay posts about refunds: believed when it is signed and agrees, acknowledged when its
//! effect is committed, and harmless in every other form.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{
    Options, PARTNER, World,
    alipay::client,
    http::Answer,
    refund_oracle::{RefundEvidence, judge_refunds},
};

fn at(text: &str) -> DateTime<Utc> {
    format!("{text}+08:00")
        .parse()
        .expect("an instant in GMT+8")
}

async fn world(pool: PgPool) -> World {
    let options = Options {
        now: at("2026-03-09T15:00:00"),
        ..Options::default()
    };
    let world = World::start_with(pool, options).await;
    let strict = json!({"same_day_immediate": false, "in_window": "next_night"});
    world.simulator.set_refund_policy(&strict).await;
    world
}

/// A payment with an asynchronous refund of 10.00 that Alipay has accepted.
async fn accepted(world: &World) -> (Answer, Answer) {
    let paid = world.pay("0001").await;
    let body = json!({"amount": {"value": 1000, "currency": "HKD"}, "mode": "async"});
    let accepted = world.till.refund(paid.id(), &body, 5).await;
    assert_eq!(accepted.summary("status"), (202, "pending"), "{accepted:?}");
    (paid, accepted)
}

/// The attempts of the only notification.
async fn attempts(world: &World) -> Vec<Value> {
    let notifications = world.simulator.notifications().await;
    assert_eq!(notifications.len(), 1, "{notifications:?}");
    notifications[0]["attempts"]
        .as_array()
        .expect("a list")
        .clone()
}

/// What became of the last attempt.
async fn last_result(world: &World) -> String {
    let attempts = attempts(world).await;
    let last = attempts.last().expect("an attempt");
    last["result"].as_str().expect("a result").to_owned()
}

/// Where a refund stands, without visits of the schedule.
async fn status(world: &World, refund: &Answer) -> String {
    let refund = world.till.get_refund(refund.id()).await;
    refund["status"].as_str().expect("a status").to_owned()
}

async fn finish(world: World) {
    let violations = judge_refunds(&RefundEvidence::of(&world, false).await);
    assert!(violations.is_empty(), "{violations:#?}");
    world.finish().await;
}

/// NT-1, HK-10: the batch does the refund, Alipay says so, and the refund has succeeded, without one
/// query.
#[sqlx::test]
async fn nt_1_a_complete_notification_settles_the_refund(pool: PgPool) {
    let mut world = world(pool).await;
    let (paid, refund) = accepted(&world).await;
    world.set_clock(at("2026-03-09T23:00:00")).await;
    assert_eq!(last_result(&world).await, "acknowledged");
    let done = world.till.get_refund(refund.id()).await;
    assert_eq!(done["status"], "succeeded", "{done}");
    assert_eq!(done["checks_done"], 0);
    let timeline = world.till.timeline(paid.id()).await;
    let step = timeline
        .iter()
        .find(|item| item["event"] == "refund_succeeded" && item["refund_id"].is_string())
        .expect("on the timeline");
    assert_eq!(step["actor"]["type"], "notification");
    let payment = world.till.payment(paid.id()).await;
    assert_eq!(payment["refunds"]["refunded"], 1000);
    finish(world).await;
}

/// NT-1: repeated on the documented schedule until it is acknowledged: after one that got lost comes
/// the next in two minutes.
#[sqlx::test]
async fn nt_1_a_lost_notification_is_repeated_until_it_is_acknowledged(pool: PgPool) {
    let mut world = world(pool).await;
    let (_, refund) = accepted(&world).await;
    world.simulator.script_notification(2, "lost").await;
    world.set_clock(at("2026-03-09T23:00:00")).await;
    assert_eq!(status(&world, &refund).await, "pending");
    world.set_clock(at("2026-03-09T23:02:00")).await;
    assert_eq!(status(&world, &refund).await, "pending");
    world.set_clock(at("2026-03-09T23:12:00")).await;
    assert_eq!(status(&world, &refund).await, "succeeded");
    assert_eq!(attempts(&world).await.len(), 3);
    finish(world).await;
}

/// NT-1, V3, S7: duplicates, replays and floods are acknowledged and change nothing more.
#[sqlx::test]
async fn nt_1_v3_repeats_and_floods_have_one_effect(pool: PgPool) {
    let mut world = world(pool).await;
    let (paid, refund) = accepted(&world).await;
    world.set_clock(at("2026-03-09T23:00:00")).await;
    let before = world.till.get_refund(refund.id()).await;
    let events = world.events(paid.id()).await;
    let notifications = world.simulator.notifications().await;
    let id = notifications[0]["notify_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    for how in [
        json!({"times": 3}),
        json!({"times": 3, "replay": true}),
        json!({"times": 200, "concurrency": 16}),
    ] {
        world.simulator.repeat_notification(&id, &how).await;
    }
    let attempts = attempts(&world).await;
    assert_eq!(attempts.len(), 207);
    assert!(attempts.iter().all(|attempt| attempt["body"] == "success"));
    assert_eq!(world.till.get_refund(refund.id()).await, before);
    assert_eq!(
        world.events(paid.id()).await,
        events,
        "one event per change"
    );
    finish(world).await;
}

/// NT-1, V1, S9: what is forged, unsigned, downgraded, or about somebody or something else changes
/// nothing and is not acknowledged; the genuine repeat then settles the refund.
#[sqlx::test]
async fn nt_1_v1_s9_forgeries_and_contradictions_change_nothing(pool: PgPool) {
    let mut world = world(pool).await;
    for fault in [
        "forged_signature",
        "missing_sign",
        "downgraded_sign_type",
        "other_partner",
        "other_trade_id",
        "other_refund_id",
        "other_amount",
        "other_currency",
        "duplicate_field",
    ] {
        let (_, refund) = accepted(&world).await;
        let theirs = refund.body["partner_refund_id"].as_str().expect("an id");
        world.simulator.script_notification(1, fault).await;
        world.simulator.announce_refund(theirs).await;
        let notifications = world.simulator.notifications().await;
        let attempt = &notifications.last().expect("announced")["attempts"][0];
        assert_eq!(attempt["result"], "not_acknowledged", "{fault}: {attempt}");
        assert_eq!(attempt["body"], "fail", "{fault}: {attempt}");
        assert_eq!(status(&world, &refund).await, "pending", "{fault}");
    }
    world.set_clock(at("2026-03-10T08:00:00")).await;
    for refund in world.simulator.refunds().await {
        assert_eq!(refund["status"], "SUCCESS");
    }
    let open = world
        .count_rows("select count(*) from refund where status <> 'succeeded'")
        .await;
    assert_eq!(open, 0, "the genuine repeats were believed");
    finish(world).await;
}

/// What says less than everything, or something else than success, is a hint: a query follows at
/// once and tells the truth.
#[sqlx::test]
async fn nt_1_an_incomplete_notification_is_confirmed_by_a_query(pool: PgPool) {
    let mut world = world(pool).await;
    let (_, refund) = accepted(&world).await;
    world.simulator.script_notification(1, "other_status").await;
    world.set_clock(at("2026-03-09T23:00:00")).await;
    assert_eq!(last_result(&world).await, "acknowledged");
    let hinted = world.till.get_refund(refund.id()).await;
    assert_eq!(hinted["status"], "pending", "{hinted}");
    assert_eq!(hinted["next_check_at"], "2026-03-09T15:00:00.000Z", "now");
    world.run_due().await;
    assert_eq!(status(&world, &refund).await, "succeeded");
    finish(world).await;
}

/// A notification that a refund succeeded, while Alipay's own query says that it waits, is a lie with
/// a good signature; the tests show that what is announced is believed, as Alipay's word.
#[sqlx::test]
async fn nt_1_further_fields_and_another_charset_do_not_matter(pool: PgPool) {
    let mut world = world(pool).await;
    for fault in ["gbk", "extra_fields"] {
        let (_, refund) = accepted(&world).await;
        world.simulator.script_notification(1, fault).await;
        let now = world.now();
        let tonight = at("2026-03-09T23:00:00");
        world.set_clock(now.max(tonight)).await;
        if status(&world, &refund).await == "pending" {
            world.advance(TimeDelta::days(1)).await;
        }
        assert_eq!(status(&world, &refund).await, "succeeded", "{fault}");
    }
    finish(world).await;
}

/// S7: the query came first, the notification late; and a notification for a refund that has failed
/// meanwhile is no way back.
#[sqlx::test]
async fn s7_a_late_notification_changes_nothing_that_is_known(pool: PgPool) {
    let mut world = world(pool).await;
    let (_, refund) = accepted(&world).await;
    world.simulator.set_notifications("hold").await;
    world.set_clock(at("2026-03-10T06:00:00")).await;
    world.run_due().await;
    let before = world.till.get_refund(refund.id()).await;
    assert_eq!(before["status"], "succeeded");
    world.simulator.set_notifications("on").await;
    assert_eq!(last_result(&world).await, "acknowledged");
    assert_eq!(world.till.get_refund(refund.id()).await, before);
    finish(world).await;
}

/// Nobody but Alipay is believed, whatever is posted wherever; each is answered in plain text.
#[sqlx::test]
async fn v1_anything_else_that_is_posted_is_answered_fail(pool: PgPool) {
    let world = world(pool).await;
    let (_, refund) = accepted(&world).await;
    let url = |partner: &str| format!("{}/alipay/notify/{partner}", world.replicas[0].url);
    let big = "a=".to_owned() + &"x".repeat(70_000);
    for (partner, body) in [
        (PARTNER, ""),
        (PARTNER, "notify_id=1&sign=AA&sign_type=RSA2"),
        (PARTNER, "%ff%fe=%00&&&==="),
        (PARTNER, "<xml/>"),
        (PARTNER, big.as_str()),
        ("2088000000000002", "notify_id=1"),
        ("nobody", "notify_id=1"),
    ] {
        let answer = client()
            .request(Method::POST, url(partner))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.to_owned())
            .send()
            .await
            .expect("an answer");
        let content_type = answer.headers()["content-type"]
            .to_str()
            .expect("text")
            .to_owned();
        assert!(content_type.starts_with("text/plain"), "{content_type}");
        assert_eq!(answer.text().await.expect("text"), "fail");
    }
    assert_eq!(status(&world, &refund).await, "pending");
    finish(world).await;
}
