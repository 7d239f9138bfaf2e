//! Undoing a payment by the clock and its state: cancel while Alipay takes one, refund after that,
//! never both, and never neither.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{
    Options, World, eventually,
    http::{Answer, Caller},
    refund_oracle::finish,
};

fn at(text: &str) -> DateTime<Utc> {
    format!("{text}+08:00")
        .parse()
        .expect("an instant in GMT+8")
}

async fn world_at(pool: PgPool, now: &str) -> World {
    let options = Options {
        now: at(now),
        replicas: 3,
        ..Options::default()
    };
    World::start_with(pool, options).await
}

async fn reverse(world: &World, payment: &Answer, wait: u32) -> Answer {
    let path = format!("/v1/payments/{}/reverse", payment.id());
    let request = world
        .till
        .request(Method::POST, &path)
        .header("prefer", format!("wait={wait}"));
    Caller::send(request).await
}

async fn preview(world: &World, payment: &Answer) -> Answer {
    let path = format!("/v1/payments/{}/reverse?preview=true", payment.id());
    Caller::send(world.till.request(Method::POST, &path)).await
}

/// How, whether the fee comes back, and the payment's status.
fn gist(answer: &Answer) -> (u16, Value, Value, Value) {
    let body = &answer.body;
    (
        answer.status,
        body["action"].clone(),
        body["fee"].clone(),
        body["payment"]["status"].clone(),
    )
}

/// On the day of the payment: a cancel, and Alipay's fee comes back.
#[sqlx::test]
async fn a_payment_of_today_is_canceled(pool: PgPool) {
    let world = world_at(pool, "2026-03-09T15:00:00").await;
    let paid = world.pay("0001").await;
    let would = preview(&world, &paid).await;
    assert_eq!(
        gist(&would),
        (200, json!("cancel"), json!("returned"), json!("succeeded"))
    );
    assert_eq!(would.body["preview"], true);
    let undone = reverse(&world, &paid, 5).await;
    assert_eq!(
        gist(&undone),
        (201, json!("cancel"), json!("returned"), json!("canceled"))
    );
    assert_eq!(undone.body["payment"]["money_returned"], true);
    let again = reverse(&world, &paid, 5).await;
    assert_eq!(
        gist(&again),
        (200, json!("none"), json!("returned"), json!("canceled"))
    );
    assert_eq!(world.simulator.count("refund").await, 0);
    finish(world).await;
}

/// HK-7: after the day: a refund of all that is left; asking again shows the same one.
#[sqlx::test]
async fn hk_7_a_payment_of_yesterday_is_refunded(pool: PgPool) {
    let mut world = world_at(pool, "2026-03-09T23:50:00").await;
    let paid = world.pay("0001").await;
    world.set_clock(at("2026-03-10T09:00:00")).await;
    let would = preview(&world, &paid).await;
    assert_eq!(
        gist(&would),
        (
            200,
            json!("refund"),
            json!("by_contract"),
            json!("succeeded")
        )
    );
    assert_eq!(
        world.count_rows("select count(*) from refund").await,
        0,
        "nothing changed"
    );
    let undone = reverse(&world, &paid, 5).await;
    assert_eq!(
        gist(&undone),
        (
            201,
            json!("refund"),
            json!("by_contract"),
            json!("succeeded")
        )
    );
    assert_eq!(undone.body["refund"]["status"], "succeeded");
    assert_eq!(undone.body["refund"]["amount"]["value"], 3925);
    let again = reverse(&world, &paid, 5).await;
    assert_eq!(
        (again.status, &again.body["action"]),
        (200, &json!("none")),
        "{again:?}"
    );
    assert_eq!(again.body["refund"]["id"], undone.body["refund"]["id"]);
    assert_eq!(world.simulator.count("cancel").await, 0);
    finish(world).await;
}

/// What has a refund cannot be canceled: the rest is refunded, also on the day.
#[sqlx::test]
async fn a_payment_with_a_refund_has_its_rest_refunded(pool: PgPool) {
    let world = world_at(pool, "2026-03-09T15:00:00").await;
    let paid = world.pay("0001").await;
    let part = json!({"amount": {"value": 1000, "currency": "HKD"}});
    world.till.refund(paid.id(), &part, 5).await;
    let undone = reverse(&world, &paid, 5).await;
    assert_eq!(undone.body["action"], "refund", "{undone:?}");
    assert_eq!(undone.body["refund"]["amount"]["value"], 2925);
    assert_eq!(world.simulator.count("cancel").await, 0);
    finish(world).await;
}

/// A refund of 10.00 that Alipay refuses in words, and makes.
async fn refused_and_made(world: &World, payment: &Answer) {
    let lie = json!({
        "type": "result_after_effect", "code": "FAIL", "error": "REASON_TRADE_BEEN_FREEZEN"
    });
    world.simulator.script("refund", 1, lie).await;
    let part = json!({"amount": {"value": 1000, "currency": "HKD"}});
    let refused = world.till.refund(payment.id(), &part, 5).await;
    assert_eq!(refused.summary("status"), (201, "failed"), "{refused:?}");
}

/// S11, M12: a refund turns out to be made while the cancel of a reversal is under way. What is proven to
/// be back waits for the end of the cancel to be booked; the cancel, which Alipay refuses, becomes the refund
/// of all the rest.
#[sqlx::test]
async fn s11_a_reversal_returns_the_rest_of_what_is_proven_to_be_back_meanwhile(pool: PgPool) {
    let mut world = world_at(pool, "2026-03-09T15:00:00").await;
    world.simulator.refund_on_the_same_day().await;
    let paid = world.pay("0001").await;
    refused_and_made(&world, &paid).await;
    let lost = json!({"type": "drop_before_effect"});
    world.simulator.script("cancel", 1, lost).await;
    let open = reverse(&world, &paid, 0).await;
    assert_eq!(open.body["action"], "cancel", "{open:?}");
    world.settle_calls().await;
    for _ in 0..30 {
        world.advance(TimeDelta::seconds(30)).await;
        world.run_due().await;
    }
    let shown = reverse(&world, &paid, 5).await;
    assert_eq!(shown.body["refund"]["amount"]["value"], 2925, "{shown:?}");
    assert_eq!(
        shown.body["payment"]["refunds"],
        json!({"refunded": 3925, "pending": 0, "refundable": 0})
    );
    assert!(world.unresolved().await.is_empty());
    finish(world).await;
}

/// What Alipay has said to be back is no more canceled than what is booked.
#[sqlx::test]
async fn m12_a_payment_with_a_refund_that_is_proven_has_its_rest_refunded(pool: PgPool) {
    let mut world = world_at(pool, "2026-03-09T15:00:00").await;
    world.simulator.refund_on_the_same_day().await;
    let paid = world.pay("0001").await;
    refused_and_made(&world, &paid).await;
    world.advance(TimeDelta::seconds(10)).await;
    world.run_due().await;
    let would = preview(&world, &paid).await;
    assert_eq!(would.body["action"], "refund", "{would:?}");
    let undone = reverse(&world, &paid, 5).await;
    assert_eq!(undone.body["action"], "refund", "{undone:?}");
    assert_eq!(undone.body["refund"]["amount"]["value"], 2925);
    assert_eq!(world.simulator.count("cancel").await, 0);
    world.advance(TimeDelta::minutes(10)).await;
    world.run_due().await;
    finish(world).await;
}

/// HK-7, T4: the cancel is sent in time and meets silence; midnight passes; Alipay refuses it as too
/// late; the payment is refunded instead, under the id that was minted with the wish.
#[sqlx::test]
async fn hk_7_t4_a_cancel_that_came_too_late_becomes_a_refund(pool: PgPool) {
    let mut world = world_at(pool, "2026-03-09T23:59:50").await;
    let paid = world.pay("0001").await;
    let lost = json!({"type": "drop_before_effect"});
    world.simulator.script("cancel", 1, lost).await;
    let open = reverse(&world, &paid, 0).await;
    assert_eq!(
        (open.status, &open.body["action"]),
        (202, &json!("cancel")),
        "{open:?}"
    );
    world.settle_calls().await;
    world.set_clock(at("2026-03-10T00:00:01")).await;
    for _ in 0..20 {
        world.run_due().await;
        world.advance(TimeDelta::seconds(5)).await;
    }
    let payment = world.till.payment(paid.id()).await;
    assert_eq!(payment["status"], "succeeded", "{payment}");
    assert_eq!(payment["cancel_pending"], false);
    assert_eq!(
        payment["refunds"],
        json!({"refunded": 3925, "pending": 0, "refundable": 0})
    );
    let shown = reverse(&world, &paid, 5).await;
    assert_eq!(shown.body["refund"]["status"], "succeeded", "{shown:?}");
    let events = world.events(paid.id()).await;
    assert!(
        events.contains(&"cancel_turned_into_refund".to_owned()),
        "{events:?}"
    );
    let trade = &world.simulator.trades().await[0];
    assert_eq!(trade["close_reason"], "refunded");
    finish(world).await;
}

/// The same for a caller who asks again and holds the line: the answer is the refund.
#[sqlx::test]
async fn hk_7_t4_a_cancel_that_alipay_refuses_ends_in_the_refund_for_who_waits(pool: PgPool) {
    let world = world_at(pool, "2026-03-09T23:59:58").await;
    let paid = world.pay("0001").await;
    let late = json!({"type": "cancel_fail", "code": "TRADE_STATUS_ERROR", "retry_flag": "N"});
    world.simulator.script("cancel", 1, late).await;
    let open = reverse(&world, &paid, 0).await;
    assert_eq!(open.status, 202, "{open:?}");
    world.settle_calls().await;
    let mut world = world;
    // The first check after the cancel; it finds that the day is over.
    world.advance(TimeDelta::seconds(9)).await;
    world.run_due().await;
    world.run_due().await;
    let shown = reverse(&world, &paid, 5).await;
    assert_eq!(shown.body["refund"]["amount"]["value"], 3925, "{shown:?}");
    finish(world).await;
}

/// The merchant's balance is too low for the cancel: the reversal becomes at once the asynchronous refund
/// that Alipay keeps until the balance suffices, not a cancel that is repeated until midnight.
async fn reversed_without_balance(pool: PgPool, retry_flag: &str) {
    let mut world = world_at(pool, "2026-03-09T15:00:00").await;
    let paid = world.pay("0001").await;
    let policy = |funds| json!({ "funds_sufficient": funds });
    world.simulator.set_refund_policy(&policy(false)).await;
    let code = "SELLER_BALANCE_NOT_ENOUGH";
    let short = json!({"type": "cancel_fail", "code": code, "retry_flag": retry_flag});
    world.simulator.script("cancel", 1000, short).await;
    let told = preview(&world, &paid).await;
    assert_eq!(told.body["action"], "cancel", "{told:?}");
    assert_eq!(told.body["refund_mode"], "async", "if it is refused");
    let under_way = reverse(&world, &paid, 5).await;
    assert_eq!(
        gist(&under_way),
        (
            202,
            json!("refund"),
            json!("by_contract"),
            json!("succeeded")
        )
    );
    assert_eq!(under_way.body["refund"]["mode"], "async");
    assert_eq!(under_way.body["refund"]["amount"]["value"], 3925);
    assert_eq!(world.simulator.count("cancel").await, 1);
    world.run_due().await;
    world.simulator.set_refund_policy(&policy(true)).await;
    for _ in 0..48 {
        world.advance(TimeDelta::hours(1)).await;
        world.run_due().await;
    }
    let shown = reverse(&world, &paid, 0).await;
    assert_eq!(shown.body["refund"]["status"], "succeeded", "{shown:?}");
    assert_eq!(
        shown.body["payment"]["refunds"],
        json!({"refunded": 3925, "pending": 0, "refundable": 0})
    );
    finish(world).await;
}

#[sqlx::test]
async fn a_reversal_that_the_balance_is_too_low_for_becomes_an_asynchronous_refund(pool: PgPool) {
    reversed_without_balance(pool, "Y").await;
}

#[sqlx::test]
async fn so_it_does_where_alipay_invites_no_repeat(pool: PgPool) {
    reversed_without_balance(pool, "N").await;
}

/// After the day the refund is tried at once; where the balance is too low for that, it waits at Alipay.
#[sqlx::test]
async fn a_refund_of_a_reversal_that_the_balance_is_too_low_for_is_made_asynchronously(
    pool: PgPool,
) {
    let mut world = world_at(pool, "2026-03-09T15:00:00").await;
    let paid = world.pay("0001").await;
    world.set_clock(at("2026-03-10T09:00:00")).await;
    let policy = json!({"funds_sufficient": false});
    world.simulator.set_refund_policy(&policy).await;
    assert_eq!(preview(&world, &paid).await.body["refund_mode"], "sync");
    let under_way = reverse(&world, &paid, 5).await;
    assert_eq!(under_way.status, 202, "{under_way:?}");
    assert_eq!(under_way.body["refund"]["mode"], "async");
    assert_eq!(under_way.body["payment"]["refunds"]["pending"], 3925);
    finish(world).await;
}

/// The same for a caller who did not wait for the first, and asks again.
#[sqlx::test]
async fn a_reversal_asked_for_again_after_its_refund_met_no_balance_is_asynchronous(pool: PgPool) {
    let mut world = world_at(pool, "2026-03-09T15:00:00").await;
    let paid = world.pay("0001").await;
    world.set_clock(at("2026-03-10T09:00:00")).await;
    let policy = json!({"funds_sufficient": false});
    world.simulator.set_refund_policy(&policy).await;
    reverse(&world, &paid, 0).await;
    world.settle_calls().await;
    assert_eq!(preview(&world, &paid).await.body["refund_mode"], "async");
    let under_way = reverse(&world, &paid, 5).await;
    assert_eq!(under_way.body["refund"]["mode"], "async", "{under_way:?}");
    finish(world).await;
}

/// A refund that Alipay refuses at once undoes nothing, and the answer says so: with the refund that failed.
#[sqlx::test]
async fn a_reversal_whose_refund_is_refused_at_once_says_so(pool: PgPool) {
    let mut world = world_at(pool, "2026-03-09T15:00:00").await;
    let paid = world.pay("0001").await;
    world.set_clock(at("2026-03-10T09:00:00")).await;
    let code = "REASON_TRADE_BEEN_FREEZEN";
    world.simulator.script_refusal("refund", 1, code).await;
    let refused = reverse(&world, &paid, 5).await;
    assert_eq!(
        refused.summary("code"),
        (409, "refund_refused"),
        "{refused:?}"
    );
    assert_eq!(refused.body["attempted"], "true");
    let detail = refused.body["detail"].as_str().unwrap_or_default();
    assert!(detail.contains(code), "{detail}");
    let id = refused.body["refund_id"].as_str().expect("the refund");
    assert_eq!(world.till.get_refund(id).await["status"], "failed");
    let payment = world.till.payment(paid.id()).await;
    assert_eq!(payment["refunds"]["refundable"], 3925, "{payment}");
    // Asked again it is tried again.
    let undone = reverse(&world, &paid, 5).await;
    assert_eq!(undone.status, 201, "{undone:?}");
    assert_eq!(undone.body["refund"]["status"], "succeeded");
    finish(world).await;
}

/// An earlier cancel went unanswered and may have returned the money: no refund is made before a
/// query, late enough, says that it has not.
#[sqlx::test]
async fn m3_a_balance_that_is_too_low_waits_for_an_earlier_cancel_that_may_act(pool: PgPool) {
    let mut world = world_at(pool, "2026-03-09T15:00:00").await;
    let paid = world.pay("0001").await;
    let lost = json!({"type": "drop_before_effect"});
    world.simulator.script("cancel", 1, lost).await;
    let short =
        json!({"type": "cancel_fail", "code": "SELLER_BALANCE_NOT_ENOUGH", "retry_flag": "Y"});
    world.simulator.script("cancel", 1000, short).await;
    reverse(&world, &paid, 0).await;
    world.settle_calls().await;
    for _ in 0..50 {
        world.advance(TimeDelta::seconds(1)).await;
        world.run_due().await;
    }
    assert_eq!(world.count_rows("select count(*) from refund").await, 0);
    for _ in 0..30 {
        world.advance(TimeDelta::seconds(1)).await;
        world.run_due().await;
    }
    assert_eq!(world.count_rows("select count(*) from refund").await, 1);
    finish(world).await;
}

/// A wish is kept however long Alipay is silent: what turns out paid after a week is undone.
#[sqlx::test]
async fn a_reversal_of_an_open_payment_is_kept_through_a_week_of_silence(pool: PgPool) {
    let mut world = world_at(pool, "2026-03-09T15:00:00").await;
    let silence = json!({"type": "drop_before_effect"});
    let open = world.pay_unheard().await;
    for service in ["query", "cancel"] {
        world
            .simulator
            .script(service, 100_000, silence.clone())
            .await;
    }
    let wished = reverse(&world, &open, 0).await;
    assert_eq!(
        (wished.status, &wished.body["action"]),
        (202, &json!("cancel")),
        "{wished:?}"
    );
    world.settle_calls().await;
    world.advance(TimeDelta::days(8)).await;
    world.run_due().await;
    let lost = world.till.payment(open.id()).await;
    assert_eq!(lost["status"], "unresolved", "{lost}");
    assert_eq!(lost["cancel_pending"], true, "the wish stands: {lost}");
    let told = preview(&world, &open).await;
    assert_eq!((told.status, &told.body["action"]), (200, &json!("cancel")));

    world.simulator.clear_faults().await;
    world.advance(TimeDelta::hours(7)).await;
    world.run_due().await;
    let events = world.events(open.id()).await;
    assert!(events.contains(&"paid".to_owned()), "{events:?}");
    world.advance(TimeDelta::seconds(1)).await;
    world.run_due().await;
    let undone = world.till.payment(open.id()).await;
    assert_eq!(undone["refunds"]["refundable"], 0, "{undone}");
    let shown = reverse(&world, &open, 0).await;
    assert_eq!(shown.body["refund"]["mode"], "async", "{shown:?}");
    finish(world).await;
}

/// M3, T4: a query left before the cancel of a reversal and is answered "paid" after it, when an earlier
/// cancel had been refused for good. What it says is held against the payment as it is then: the cancel
/// took effect, and nothing is refunded.
#[sqlx::test]
async fn m3_t4_an_older_answer_ends_no_cancel_that_left_after_it(pool: PgPool) {
    let mut world = world_at(pool, "2026-03-09T15:00:00").await;
    let paid = world.pay("0001").await;
    let refused = json!({"type": "cancel_fail", "code": "TRADE_STATUS_ERROR", "retry_flag": "N"});
    world.simulator.script("cancel", 1, refused).await;
    let cancel = format!("/v1/payments/{}/cancel", paid.id());
    let request = world.till.request(Method::POST, &cancel);
    Caller::send(request.header("prefer", "wait=0")).await;
    world.settle_calls().await;
    let held = json!({"type": "hold"});
    world.simulator.script("query", 1, held).await;
    let refresh = format!("/v1/payments/{}/refresh", paid.id());
    let request = world.till.request(Method::POST, &refresh);
    let refreshing = tokio_util::task::TaskTracker::new().spawn(Caller::send(request));
    eventually("a query is held", async || {
        world.simulator.held().await == 1
    })
    .await;
    let lost = json!({"type": "drop_after_effect"});
    world.simulator.script("cancel", 1, lost).await;
    world.advance(TimeDelta::seconds(1)).await;
    let open = reverse(&world, &paid, 0).await;
    assert_eq!(open.status, 202, "{open:?}");
    eventually("the cancel is lost", async || {
        let lost = "select count(*) from attempt where kind = 'cancel' and answered_at is not null";
        world.count_rows(lost).await == 2
    })
    .await;
    world.simulator.release().await;
    refreshing.await.expect("no panic");
    let end = world
        .run_until_final(paid.id(), TimeDelta::minutes(5))
        .await;
    for _ in 0..10 {
        world.run_due().await;
        world.advance(TimeDelta::seconds(10)).await;
    }
    let payment = world.till.payment(paid.id()).await;
    assert_eq!(payment["status"], "canceled", "{end} {payment}");
    assert_eq!(payment["money_returned"], true);
    assert_eq!(world.count_rows("select count(*) from refund").await, 0);
    finish(world).await;
}

/// What is not paid yet is closed; what failed cannot be undone.
#[sqlx::test]
async fn an_open_payment_is_closed_and_a_failed_one_is_refused(pool: PgPool) {
    let world = world_at(pool, "2026-03-09T15:00:00").await;
    let open = world.pay_until_open("0102").await;
    let path = format!(
        "/v1/payments/{}/reverse",
        open["id"].as_str().expect("an id")
    );
    let closed = Caller::send(world.till.request(Method::POST, &path)).await;
    assert_eq!(closed.body["action"], "cancel", "{closed:?}");
    assert_eq!(closed.body["payment"]["status"], "canceled");
    assert_eq!(closed.body["payment"]["money_returned"], false);
    let failed = world.pay("1016").await;
    let refused = reverse(&world, &failed, 0).await;
    assert_eq!(
        refused.summary("code"),
        (409, "invalid_state"),
        "{refused:?}"
    );
    let unknown = "/v1/payments/pay_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c/reverse";
    let missing = Caller::send(world.till.request(Method::POST, unknown)).await;
    assert_eq!(missing.summary("code"), (404, "payment_not_found"));
    finish(world).await;
}

/// M3, T4: sixty-four reversals, cancels and refunds of one payment on three replicas: the money goes
/// back once.
#[sqlx::test]
async fn m3_t4_reversals_cancels_and_refunds_at_once_return_the_money_once(pool: PgPool) {
    let mut world = world_at(pool, "2026-03-09T15:00:00").await;
    let paid = world.pay("0001").await;
    let calls = (0..64_usize).map(|number| {
        let till = world.till_at(number % 3);
        let id = paid.id().to_owned();
        async move {
            let path = match number % 3 {
                0 => format!("/v1/payments/{id}/reverse"),
                1 => format!("/v1/payments/{id}/cancel"),
                _ => {
                    let body = json!({
                        "amount": {"value": 1000, "currency": "HKD"}, "allow_duplicate": true
                    });
                    return till.refund(&id, &body, 0).await;
                }
            };
            Caller::send(till.request(Method::POST, &path).header("prefer", "wait=0")).await
        }
    });
    let answers = crate::support::all(calls).await;
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer.status, 200..=202 | 409 | 422)),
        "{answers:?}"
    );
    world.settle_calls().await;
    for _ in 0..30 {
        world.run_due().await;
        world.advance(TimeDelta::seconds(5)).await;
    }
    let trade = &world.simulator.trades().await[0];
    let back = trade["refunded_minor"].as_i64().expect("an amount");
    assert!(back == 3925 || back % 1000 == 0, "{trade}");
    finish(world).await;
}

/// M3: 64 clients refund one payment on three replicas; never more than was paid, and every cent that
/// was free was taken.
#[sqlx::test]
async fn m3_64_refunds_of_one_payment_on_three_replicas_never_exceed_it(pool: PgPool) {
    let world = world_at(pool, "2026-03-09T15:00:00").await;
    let paid = world.pay("0001").await;
    let calls = (0..64_usize).map(|number| {
        let till = world.till_at(number % 3);
        let id = paid.id().to_owned();
        async move {
            let body = json!({
                "amount": {"value": 100, "currency": "HKD"}, "allow_duplicate": true
            });
            till.refund(&id, &body, 10).await
        }
    });
    let answers = crate::support::all(calls).await;
    let done = answers.iter().filter(|answer| answer.status == 201).count();
    let refused = answers.iter().filter(|answer| answer.status == 422).count();
    assert_eq!((done, refused), (39, 25), "{answers:?}");
    let payment = world.till.payment(paid.id()).await;
    assert_eq!(
        payment["refunds"],
        json!({"refunded": 3900, "pending": 0, "refundable": 25})
    );
    finish(world).await;
}
