//! The durable schedule: claimed by lease and fence on the database's clock, never lost, never
//! doubled, never blocked by one bad row; and what it does around midnight and late payments.

use std::{collections::BTreeSet, time::Duration};

use alipayhk_gateway::{
    db::{
        Db,
        follow_ups::{Claimed, FailedVisit},
    },
    domain::payments::payment::Payment,
};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_util::task::TaskTracker;

use crate::support::{
    Options, World,
    http::{Answer, body},
};

const QUERY: &str = "query";
const CANCEL: &str = "cancel";
const LEASE: Duration = Duration::from_secs(45);

/// Two gateways over one database.
async fn two(pool: PgPool) -> World {
    let options = Options {
        replicas: 2,
        ..Options::default()
    };
    World::start_with(pool, options).await
}

/// A payment whose answer was lost although it was paid, with its follow-up due.
async fn paid_unheard(world: &mut World) -> Answer {
    let open = world.pay_unheard().await;
    world.advance(TimeDelta::seconds(5)).await;
    open
}

/// Claims whatever one replica may claim now.
async fn claim(db: &Db, worker: &str, lease: Duration) -> Vec<Claimed<Payment>> {
    let confirming = db.claim_confirming_payments(worker, 16, lease).await;
    let closing = db.claim_due_payments(worker, 16, lease).await;
    let claims = confirming.expect("a claim").into_iter();
    claims
        .chain(closing.expect("a claim"))
        .map(|claim| claim.expect("a readable row"))
        .collect()
}

async fn claim_one(db: &Db, worker: &str) -> Claimed<Payment> {
    let mut claims = claim(db, worker, LEASE).await;
    assert_eq!(claims.len(), 1, "{claims:?}");
    claims.remove(0)
}

/// An answer to the pay that says SUCCESS and names our ids, but no amount, proves nothing and is a hint: Alipay is
/// asked at once, while the plan would wait for 5 s.
#[sqlx::test]
async fn a_success_without_an_amount_is_asked_about_at_once(pool: PgPool) {
    let world = World::start(pool).await;
    let without_amount = json!({"type": "omit", "fields": "trans_amount"});
    world.simulator.script("pay", 1, without_amount).await;
    let open = world.pay_until_open("0001").await;
    assert_eq!(open["status_reason"], "outcome_unknown", "{open}");
    assert_eq!(open["next_check_at"], open["updated_at"], "{open}");
    world.run_due().await;
    let id = open["id"].as_str().expect("an id");
    let paid = world.till.payment(id).await;
    assert_eq!(paid["status"], "succeeded", "{paid}");
    assert_eq!(world.simulator.count(QUERY).await, 1);
    world.finish().await;
}

/// C6, C7: a lease runs out under a worker that still waits for Alipay. Another one takes over, and
/// what the first one brings back is refused, even though it is the truth.
#[sqlx::test]
async fn c6_c7_the_result_of_a_worker_that_lost_its_lease_is_refused(pool: PgPool) {
    let mut world = two(pool).await;
    let open = paid_unheard(&mut world).await;
    let hold = json!({"type": "hold"});
    world.simulator.script(QUERY, 1, hold).await;
    let silence = json!({"type": "system_error_before_effect"});
    world.simulator.script(QUERY, 1, silence).await;
    let first = claim_one(&world.db, "first").await;
    let lease_token = first.lease_token;
    let app = world.replicas[0].app.clone();
    let slow = TaskTracker::new().spawn(async move { app.follow_up(first).await });
    world.until_received(QUERY, 1).await;

    assert!(claim(&world.db, "second", LEASE).await.is_empty(), "leased");
    world.advance(TimeDelta::seconds(46)).await;
    let second = claim_one(&world.db, "second").await;
    assert_eq!(second.lease_token.follow_up_id, lease_token.follow_up_id);
    assert_eq!(second.lease_token.fence, lease_token.fence + 1);
    let app = world.replicas[1].app.clone();
    app.follow_up(second).await.expect("a visit");
    let planned = world.till.payment(open.id()).await["next_check_at"].clone();
    assert!(planned.is_string(), "the second one has planned the next");

    world.simulator.release().await;
    slow.await
        .expect("no panic")
        .expect("a lost claim is no error");
    let still = world.till.payment(open.id()).await;
    assert_eq!(still["status"], "processing", "the first one may not write");
    assert_eq!(still["next_check_at"], planned, "nor plan");
    for stale in [lease_token] {
        let merchant = world.merchant_id;
        let due = world.now();
        let failed = FailedVisit {
            error: "late",
            delay: LEASE,
            park: true,
            counts_up_to: None,
        };
        let written = [
            world.db.reschedule(merchant, stale, due).await,
            world.db.release(merchant, stale).await,
            world.db.complete(merchant, stale).await,
            world.db.fail_follow_up(merchant, stale, &failed).await,
        ];
        for done in written {
            assert!(!done.expect("the database answers"), "a stale fence");
        }
    }
    let paid = world
        .run_until_final(open.id(), TimeDelta::seconds(30))
        .await;
    assert_eq!(paid["status"], "succeeded");
    assert_eq!(
        world.events(open.id()).await,
        ["created", "outcome_became_unknown", "paid"]
    );
    world.finish().await;
}

/// R10: a question is not asked under a lease that would not outlast it.
#[sqlx::test]
async fn r10_nothing_is_asked_under_a_lease_that_is_nearly_over(pool: PgPool) {
    let mut world = two(pool).await;
    let open = paid_unheard(&mut world).await;
    let short = Duration::from_secs(4);
    let claimed = claim(&world.db, "hasty", short).await.remove(0);
    let done = world.replicas[0].app.follow_up(claimed).await;
    done.expect("a lost claim is no error");
    assert_eq!(world.simulator.count(QUERY).await, 0);
    world
        .run_until_final(open.id(), TimeDelta::seconds(30))
        .await;
    world.finish().await;
}

/// C8, C9, R12: rows that vanished are made again, one each, however many reconcilers run.
#[sqlx::test]
async fn c8_c9_a_lost_row_is_recreated_once_by_many_reconcilers(pool: PgPool) {
    let mut world = two(pool).await;
    let mut open = vec![];
    for _ in 0..5 {
        open.push(world.pay_unheard().await);
    }
    let paid = world.pay("0001").await;
    assert_eq!(paid.status, 201);
    world.sql("delete from follow_up").await;
    let reconcilers = TaskTracker::new();
    let mut results = vec![];
    for _ in 0..6 {
        let db = Db::with_options(world.connect.clone(), 2);
        results.push(reconcilers.spawn(async move {
            let created = db.recreate_missing_follow_ups().await;
            db.close().await;
            created.expect("the database answers")
        }));
    }
    let mut created = 0;
    for result in results {
        created += result.await.expect("no panic");
    }
    assert_eq!(created, 5, "one row each, and none for what is final");
    assert_eq!(world.count_rows("select count(*) from follow_up").await, 5);
    for payment in open {
        let end = world
            .run_until_final(payment.id(), TimeDelta::seconds(30))
            .await;
        assert_eq!(end["status"], "succeeded");
    }
    world.finish().await;
}

/// C9: the database takes no second row.
#[sqlx::test]
async fn c9_a_second_live_row_is_refused(pool: PgPool) {
    let world = World::start(pool).await;
    world.pay_unheard().await;
    let second = "insert into follow_up (merchant_id, follow_up_id, kind, subject_id, due_at)
        select merchant_id, gen_random_uuid(), kind, subject_id, due_at from follow_up";
    let refused = sqlx::raw_sql(second).execute(&world.pool).await;
    let error = refused.expect_err("refused").to_string();
    assert!(error.contains("follow_up_subject_key"), "{error}");
    world.finish().await;
}

/// Rows that no code of ours writes: the park is theirs alone.
async fn poisoned(pool: PgPool, poison: &'static str) {
    let mut world = World::start(pool).await;
    let bad = world.pay_unheard().await;
    let mut good = vec![];
    for _ in 0..3 {
        good.push(world.pay_unheard().await);
    }
    world.sql(poison).await;
    world.advance(TimeDelta::seconds(5)).await;
    world.run_due().await;
    for payment in &good {
        let end = world.till.payment(payment.id()).await;
        assert_eq!(end["status"], "succeeded", "one visit, like any day");
    }
    let parked = "select count(*) from follow_up where parked_at is not null
        and last_error like '%inconsistent row%'";
    assert_eq!(world.count_rows(parked).await, 1);
    let kept = "select count(*) from payment where finalized_at is null";
    assert_eq!(world.count_rows(kept).await, 1, "still owed");
    let visits = "select max(fence) from follow_up where parked_at is not null";
    let taken = world.count_rows(visits).await;
    world.advance(TimeDelta::minutes(59)).await;
    world.run_due().await;
    assert_eq!(world.count_rows(visits).await, taken, "not taken again");
    world.advance(TimeDelta::minutes(1)).await;
    world.run_due().await;
    assert_eq!(world.count_rows(visits).await, taken + 1, "once an hour");
    assert_eq!(world.count_rows(parked).await, 1, "and parked as before");
    let read = world.till.get(&format!("/v1/payments/{}", bad.id())).await;
    assert_eq!(read.summary("code"), (500, "internal_error"), "{read:?}");
    world.parked = 1;
    world.finish().await;
}

/// C10: a column that cannot be read parks its row and stops no other.
#[sqlx::test]
async fn c10_a_row_with_unreadable_metadata_is_parked_and_stops_no_other(pool: PgPool) {
    poisoned(
        pool,
        "update payment set metadata = '[1, 2]', version = version + 1
        where payment_id = (select min(payment_id::text)::uuid from payment)",
    )
    .await;
}

/// C10: so does a state that no code writes.
#[sqlx::test]
async fn c10_a_row_in_an_unknown_state_is_parked_and_stops_no_other(pool: PgPool) {
    poisoned(
        pool,
        "alter table payment drop constraint payment_status_check;
        alter table payment disable trigger payment_guard;
        update payment set status_reason = 'lost'
        where payment_id = (select min(payment_id::text)::uuid from payment);
        alter table payment enable trigger payment_guard",
    )
    .await;
}

/// C12: replicas whose clocks are wrong by ten minutes either way claim nothing early, steal no
/// lease and plan by the database's clock.
#[sqlx::test]
async fn c12_wrong_clocks_of_replicas_change_nothing(pool: PgPool) {
    let mut world = two(pool).await;
    world.set_clock_wrong_by(0, TimeDelta::minutes(-10));
    world.set_clock_wrong_by(1, TimeDelta::minutes(10));
    let open = world.pay_unheard().await;
    let created = instant(&open.body["created_at"]);
    assert_eq!(created, world.now());
    let due = instant(&open.body["next_check_at"]);
    assert_eq!(due, created + TimeDelta::seconds(5));
    world.advance(TimeDelta::milliseconds(4_999)).await;
    for replica in &world.replicas {
        assert_eq!(replica.worker.run_once().await, 0, "not due yet");
    }
    world.advance(TimeDelta::milliseconds(1)).await;
    let hold = json!({"type": "hold"});
    world.simulator.script(QUERY, 1, hold).await;
    let silence = json!({"type": "system_error_before_effect"});
    world.simulator.script(QUERY, 1, silence).await;
    let claimed = claim_one(&world.db, "slow").await;
    let app = world.replicas[0].app.clone();
    let slow = TaskTracker::new().spawn(async move { app.follow_up(claimed).await });
    world.until_received(QUERY, 1).await;
    assert_eq!(world.replicas[1].worker.run_once().await, 0, "no theft");
    world.simulator.release().await;
    slow.await.expect("no panic").expect("a visit");
    let paid = world.till.payment(open.id()).await;
    assert_eq!(paid["status"], "succeeded");
    assert_eq!(instant(&paid["finalized_at"]), world.now());
    world.simulator.clear_faults().await;

    // The whole plan, by the clock that is ten minutes ahead: the cancel comes at its time.
    let waiting = world.till.pay_without_waiting("0102").await;
    let ahead = world.replicas[1].url.clone();
    assert!(!ahead.is_empty());
    world.settle_calls().await;
    for _ in 0..59 {
        world.advance(TimeDelta::seconds(1)).await;
        while world.replicas[1].worker.run_once().await > 0 {}
    }
    assert_eq!(world.simulator.count(CANCEL).await, 0);
    world.advance(TimeDelta::seconds(1)).await;
    while world.replicas[1].worker.run_once().await > 0 {}
    assert_eq!(world.simulator.count(CANCEL).await, 1);
    let closed = world.till.payment(waiting.id()).await;
    assert_eq!(closed["status_reason"], "buyer_did_not_confirm");
    world.finish().await;
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect("an RFC 3339 instant")
}

fn instant(value: &Value) -> DateTime<Utc> {
    at(value.as_str().expect("text"))
}

/// R10: replicas that claim at the same moment share the rows out and wait for nobody.
#[sqlx::test]
async fn concurrent_claims_never_share_a_row(pool: PgPool) {
    let mut world = World::start(pool).await;
    for _ in 0..24 {
        world.till.pay_without_waiting("2003").await;
    }
    world.settle_calls().await;
    world.advance(TimeDelta::seconds(5)).await;
    let workers = TaskTracker::new();
    let mut results = vec![];
    for worker in 0..6 {
        let db = Db::with_options(world.connect.clone(), 1);
        results.push(workers.spawn(async move {
            let mut taken = vec![];
            loop {
                let name = format!("w{worker}");
                let claims = db.claim_confirming_payments(&name, 3, LEASE).await;
                let claims = claims.expect("the database answers");
                if claims.is_empty() {
                    db.close().await;
                    return taken;
                }
                taken.extend(claims.into_iter().map(|claim| {
                    let lease_token = claim.expect("readable").lease_token;
                    assert_eq!(lease_token.fence, 1, "claimed once");
                    lease_token.follow_up_id.uuid()
                }));
            }
        }));
    }
    let mut all = vec![];
    for result in results {
        all.extend(result.await.expect("no panic"));
    }
    let different: BTreeSet<_> = all.iter().collect();
    assert_eq!((all.len(), different.len()), (24, 24));
    world.finish().await;
}

// ------------------------------------------------------------------------------------------------
// Midnight.

/// 23:59:30 in Hong Kong.
fn half_a_minute_to_midnight() -> Options {
    Options {
        now: at("2026-01-02T15:59:30Z"),
        ..Options::default()
    }
}

/// T4: the buyer's time ends after midnight, and the 15 minutes of an unpaid trade still run.
#[sqlx::test]
async fn t4_an_unpaid_trade_of_the_last_minute_is_canceled_after_midnight(pool: PgPool) {
    let mut world = World::start_with(pool, half_a_minute_to_midnight()).await;
    let open = world.till.pay_without_waiting("0102").await;
    assert_eq!(open.body["cancelable_until"], "2026-01-02T16:14:30.000Z");
    let closed = world
        .run_until_final(open.id(), TimeDelta::seconds(70))
        .await;
    assert_eq!(closed["status_reason"], "buyer_did_not_confirm", "{closed}");
    assert_eq!(closed["money_returned"], false);
    assert_eq!(closed["business_date"], "2026-01-02");
    assert_eq!(world.simulator.count(CANCEL).await, 1);
    world.finish().await;
}

/// T4, S5: paid before midnight and unheard of until after it. Alipay refuses the cancel; a query
/// tells the truth, and the money stays taken, on the day it was paid.
#[sqlx::test]
async fn t4_a_payment_unheard_of_over_midnight_is_not_canceled_but_found_paid(pool: PgPool) {
    let mut world = World::start_with(pool, half_a_minute_to_midnight()).await;
    let silence = json!({"type": "system_error_before_effect"});
    world.simulator.script(QUERY, 1_000, silence).await;
    let open = world.pay_unheard().await;
    while world.simulator.count(CANCEL).await == 0 {
        world.advance(TimeDelta::seconds(1)).await;
        world.run_due().await;
        assert!(world.now() < at("2026-01-02T16:01:00Z"), "no cancel came");
    }
    let refused = world.till.payment(open.id()).await;
    assert_eq!(refused["status_reason"], "canceling", "{refused}");
    world.simulator.clear_faults().await;
    let paid = world
        .run_until_final(open.id(), TimeDelta::seconds(30))
        .await;
    assert_eq!(paid["status"], "succeeded");
    assert_eq!(paid["business_date"], "2026-01-02");
    let trades = world.simulator.trades().await;
    assert_eq!(trades[0]["refunded_minor"], 0);
    world.finish().await;
}

/// T4: after the window no cancel is sent any more; the trade is closed by Alipay itself, and found
/// so by a query.
#[sqlx::test]
async fn t4_after_the_window_only_queries_are_sent(pool: PgPool) {
    let mut world = World::start_with(pool, half_a_minute_to_midnight()).await;
    let open = world.till.pay_without_waiting("0102").await;
    world.settle_calls().await;
    let silence = json!({"type": "system_error_before_effect"});
    world.simulator.script("any", 10_000, silence).await;
    for _ in 0..35 {
        world.advance(TimeDelta::seconds(30)).await;
        world.run_due().await;
    }
    let cancels = world.simulator.count(CANCEL).await;
    assert!(cancels > 3, "the window was used: {cancels}");
    let requests = world.simulator.requests().await;
    let late = requests.iter().filter(|request| {
        request["service"] == CANCEL
            && instant(&request["received_at"]) >= at("2026-01-02T16:14:30Z")
    });
    assert_eq!(late.count(), 0, "Alipay would refuse them");
    world.simulator.clear_faults().await;
    world.advance(TimeDelta::minutes(1)).await;
    world.run_due().await;
    let closed = world.till.payment(open.id()).await;
    assert_eq!(closed["status"], "canceled", "{closed}");
    assert_eq!(closed["money_returned"], false);
    assert!(world.simulator.count(CANCEL).await == cancels);
    world.finish().await;
}

// ------------------------------------------------------------------------------------------------
// The buyer pays after all.

/// A waiting payment whose first cancel failed with "try again".
async fn canceling(world: &mut World) -> Answer {
    let again = json!({"type": "cancel_fail", "code": "SYSTEM_ERROR", "retry_flag": "Y"});
    world.simulator.script(CANCEL, 1, again).await;
    let open = world.till.pay_without_waiting("0102").await;
    world.settle_calls().await;
    while world.simulator.count(CANCEL).await == 0 {
        world.advance(TimeDelta::seconds(1)).await;
        // One visit at a time: the query that follows a cancel is the test's to choose.
        world.replicas[0].worker.run_once().await;
    }
    let under_cancel = world.till.payment(open.id()).await;
    assert_eq!(under_cancel["status_reason"], "canceling");
    open
}

fn partner_trans_id(payment: &Answer) -> &str {
    payment.body["partner_trans_id"].as_str().expect("an id")
}

/// S5, S7: the buyer confirms between two attempts to cancel, and a query sees it first: paid, and
/// one chain of events.
#[sqlx::test]
async fn s5_s7_paid_between_two_cancels_is_paid(pool: PgPool) {
    let mut world = World::start(pool).await;
    let open = canceling(&mut world).await;
    world.simulator.confirm(partner_trans_id(&open)).await;
    // The cancel that was answered "try again" may act for a minute: until then nothing reads final.
    let paid = world
        .run_until_final(open.id(), TimeDelta::minutes(2))
        .await;
    assert_eq!(paid["status"], "succeeded");
    assert_eq!(
        world.events(open.id()).await,
        [
            "created",
            "buyer_must_confirm",
            // A query names the wallet.
            "buyer_must_confirm",
            "cancel_started",
            // Known at once, and believed when the cancel can no longer act.
            "paid",
            "paid"
        ]
    );
    world.finish().await;
}

/// S5, S7: the same where the cancel comes first: the money goes back, and the payment says so.
#[sqlx::test]
async fn s5_s7_paid_and_then_canceled_returns_the_money(pool: PgPool) {
    let mut world = World::start(pool).await;
    let open = canceling(&mut world).await;
    let silence = json!({"type": "system_error_before_effect"});
    world.simulator.script(QUERY, 1, silence).await;
    world.simulator.confirm(partner_trans_id(&open)).await;
    let returned = world
        .run_until_final(open.id(), TimeDelta::seconds(10))
        .await;
    assert_eq!(returned["status"], "canceled");
    assert_eq!(returned["money_returned"], true, "{returned}");
    assert_eq!(
        world.events(open.id()).await,
        [
            "created",
            "buyer_must_confirm",
            // A query names the wallet.
            "buyer_must_confirm",
            "cancel_started",
            "closed"
        ]
    );
    let trades = world.simulator.trades().await;
    assert_eq!(trades[0]["refunded_minor"], 3925);
    world.finish().await;
}

/// S5, S7: the answer to the cancel that returned the money is lost; a query and another cancel tell
/// the same, once.
#[sqlx::test]
async fn s5_s7_a_lost_answer_of_the_cancel_is_found_out(pool: PgPool) {
    let mut world = World::start(pool).await;
    let open = canceling(&mut world).await;
    let silence = json!({"type": "system_error_before_effect"});
    world.simulator.script(QUERY, 1, silence).await;
    let lost = json!({"type": "drop_after_effect"});
    world.simulator.script(CANCEL, 1, lost).await;
    world.simulator.confirm(partner_trans_id(&open)).await;
    let returned = world
        .run_until_final(open.id(), TimeDelta::seconds(20))
        .await;
    assert_eq!(returned["status"], "canceled", "{returned}");
    assert_eq!(returned["money_returned"], true, "{returned}");
    assert_eq!(
        world.events(open.id()).await,
        [
            "created",
            "buyer_must_confirm",
            // A query names the wallet.
            "buyer_must_confirm",
            "cancel_started",
            "closed"
        ]
    );
    world.finish().await;
}

/// S7: the pay call's own answer comes after a follow-up has found the payment paid: nothing new.
#[sqlx::test]
async fn s7_the_late_answer_of_the_pay_call_adds_nothing(pool: PgPool) {
    let mut world = World::start(pool).await;
    let hold = json!({"type": "hold"});
    world.simulator.script("pay", 1, hold).await;
    let open = world.till.create("late", &body("0001"), 0).await;
    world.until_received("pay", 1).await;
    world.advance(TimeDelta::seconds(5)).await;
    assert_eq!(world.replicas[0].worker.run_once().await, 1);
    let paid = world.till.payment(open.id()).await;
    assert_eq!(paid["status"], "succeeded");
    world.simulator.release().await;
    world.settle_calls().await;
    assert_eq!(world.events(open.id()).await, ["created", "paid"]);
    assert_eq!(world.till.payment(open.id()).await, paid);
    world.finish().await;
}
