//! What callers are told while the database does not say whether it did as asked: "nothing was
//! attempted" only where it is certain, and something in time whatever the database does.

use std::time::Duration;

use alipayhk_gateway::{db::run::Limits, domain::access::principal::Scope};
use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::support::{
    Options, PARTNER, World, all, eventually,
    http::{Answer, Caller, body},
    postgres::{Server, migrated},
    proxy::{Cut, Proxy},
};

const PAY: &str = "pay";
const CANCEL: &str = "cancel";
const REFUND: &str = "refund";

/// By then everybody was told something: the longest of `docs/deadlines.md` and room for a slow
/// machine.
const TOLD_BY: Duration = Duration::from_secs(25);

/// One gateway behind the proxy.
async fn proxied(pool: PgPool) -> World {
    let options = Options {
        proxied: 1,
        ..Options::default()
    };
    World::start_with(pool, options).await
}

/// Waits for an answer no longer than anybody is kept waiting.
async fn told(call: impl Future<Output = Answer>) -> Answer {
    timeout(TOLD_BY, call).await.expect("told in time")
}

fn assert_attempted(answer: &Answer, attempted: &str) {
    assert_eq!(
        answer.summary("code"),
        (503, "service_unavailable"),
        "{answer:?}"
    );
    assert_eq!(answer.body["attempted"], attempted, "{answer:?}");
    assert_eq!(answer.body["retryable"], "same_key", "{answer:?}");
}

/// The refund waits for its payment's row longer than its caller is kept waiting: the server takes
/// it back before the caller is told, so it never happens, and the same key works afterwards.
#[sqlx::test]
async fn a_refund_that_waits_for_a_lock_is_not_attempted_and_never_happens(pool: PgPool) {
    let world = World::start(pool).await;
    let paid = world.pay("0001").await;
    let mut holder = world.pool.begin().await.expect("a transaction");
    sqlx::raw_sql("select from payment for update")
        .execute(&mut *holder)
        .await
        .expect("the row is locked");
    let refund = json!({"amount": {"value": 1000, "currency": "HKD"}});
    let answer = told(world.till.refund_under(paid.id(), "locked", &refund, 0)).await;
    assert_attempted(&answer, "false");
    holder.rollback().await.expect("the row is free");
    world.settle_calls().await;
    assert_eq!(world.count_rows("select count(*) from refund").await, 0);
    assert_eq!(world.simulator.count(REFUND).await, 0);
    let again = world
        .till
        .refund_under(paid.id(), "locked", &refund, 5)
        .await;
    assert_eq!(again.summary("status"), (201, "succeeded"), "{again:?}");
    assert_eq!(world.simulator.count(REFUND).await, 1);
    world.finish().await;
}

/// The answer to the intent of a cancel is lost on the way, before or after it took effect: the
/// intent is looked for, and the cancel is sent once, at once.
#[sqlx::test]
async fn a_cancel_whose_commit_is_in_doubt_is_found_and_sent_once(pool: PgPool) {
    let world = proxied(pool).await;
    for (round, cut) in [Cut::BeforeEffect, Cut::AfterEffect]
        .into_iter()
        .enumerate()
    {
        let paid = world.pay("0001").await;
        world.proxy().cut_at(cut, "cancel_started");
        let path = format!("/v1/payments/{}/cancel", paid.id());
        let canceled = told(world.till.post(&path, &Value::Null)).await;
        assert_eq!(world.proxy().cuts(), round + 1, "{cut:?} took place");
        assert_eq!(
            canceled.summary("status"),
            (200, "canceled"),
            "{cut:?}: {canceled:?}"
        );
        assert_eq!(world.simulator.count(CANCEL).await, round + 1, "{cut:?}");
    }
    world.finish().await;
}

/// The same for the tombstone of a payment that never arrived.
#[sqlx::test]
async fn a_tombstone_whose_commit_is_in_doubt_is_found(pool: PgPool) {
    let world = proxied(pool).await;
    assert_eq!(world.pay("0001").await.status, 201);
    for cut in [Cut::BeforeEffect, Cut::AfterEffect] {
        let request = body("0001");
        let reference = request["merchant_reference"].as_str().expect("text");
        world.proxy().cut_at(cut, reference);
        let known = json!({"merchant_reference": reference});
        let answer = told(world.till.post("/v1/payments/cancel", &known)).await;
        assert_eq!(answer.status, 200, "{cut:?}: {answer:?}");
        let refused = world.till.create("too-late", &request, 0).await;
        assert_eq!(
            refused.summary("code"),
            (409, "canceled_before_creation"),
            "{cut:?}: {refused:?}"
        );
    }
    world.finish().await;
}

/// The answers to intents do not arrive, and nothing breaks: they are given up, looked for on other
/// connections, found, and sent once.
#[sqlx::test]
async fn an_intent_whose_answer_never_comes_is_found_and_sent_once(pool: PgPool) {
    let world = proxied(pool).await;
    let (paid, kept) = (world.pay("0001").await, world.pay("0001").await);
    let request = body("0001");
    let refund = json!({"reason": "never answered"});
    let cancel = format!("/v1/payments/{}/cancel", paid.id());
    let description = request["description"].as_str().expect("text");
    world
        .proxy()
        .hold_answers_to(&[description, "never answered", "cancel_started"]);
    let (created, refunded, canceled) = tokio::join!(
        told(world.till.create("held", &request, 20)),
        told(world.till.refund_under(kept.id(), "held", &refund, 20)),
        told(cancel_waiting(&world, &cancel)),
    );
    assert_eq!(created.summary("status"), (201, "succeeded"), "{created:?}");
    assert_eq!(
        refunded.summary("status"),
        (201, "succeeded"),
        "{refunded:?}"
    );
    assert_eq!(
        canceled.summary("status"),
        (200, "canceled"),
        "{canceled:?}"
    );
    for (service, count) in [(PAY, 3), (REFUND, 1), (CANCEL, 1)] {
        assert_eq!(world.simulator.count(service).await, count, "{service}");
    }
    world.finish().await;
}

/// A cancel whose caller waits for its end.
async fn cancel_waiting(world: &World, path: &str) -> Answer {
    let request = world.till.request(Method::POST, path);
    Caller::send(request.header("prefer", "wait=20")).await
}

/// The database does as asked and not one answer arrives: whoever asked is told that it is not known,
/// and finds out by asking again. What was given up is never sent.
#[sqlx::test]
async fn what_a_silent_database_was_asked_for_is_in_doubt(pool: PgPool) {
    let options = Options {
        proxied: 1,
        // One to write on, which has learnt the statement of a payment before the silence.
        connections: 2,
        database_limits: Limits {
            trust: Duration::from_hours(1),
            ..Limits::USUAL
        },
        ..Options::default()
    };
    let mut world = World::start_with(pool, options).await;
    let kept = world.pay("0001").await;
    let request = body("0001");
    let (all_of_it, unheard) = (json!({}), json!({"merchant_reference": "UNHEARD-1"}));
    for operation in ["create", "refund", "tombstone"] {
        world
            .till
            .post(
                "/v1/payments/cancel",
                &json!({"merchant_reference": operation}),
            )
            .await;
        world.connections_are_idle().await;
        world.proxy().hold_answers();
        let answer = told(async {
            match operation {
                "create" => world.till.create("silent", &request, 0).await,
                "refund" => {
                    let refund = world.till.refund_under(kept.id(), "silent", &all_of_it, 0);
                    refund.await
                }
                _ => world.till.post("/v1/payments/cancel", &unheard).await,
            }
        })
        .await;
        assert_attempted(&answer, "unknown");
        world.proxy().restore();
    }
    // It was committed: it fails by itself, and the repeat waits for that.
    let again = world.till.create("silent", &request, 20).await;
    assert_eq!(again.summary("status"), (200, "failed"), "{again:?}");
    assert_eq!(again.body["failure"]["code"], "NOT_SENT", "{again:?}");
    assert_eq!(world.simulator.count(PAY).await, 1, "it is not sent later");
    let refunding = world
        .till
        .refund_under(kept.id(), "silent", &all_of_it, 0)
        .await;
    assert_eq!(
        refunding.summary("status"),
        (202, "pending"),
        "{refunding:?}"
    );
    for _ in 0..60 {
        world.advance(TimeDelta::seconds(1)).await;
        world.run_due().await;
    }
    let refunded = world.till.get_refund(refunding.id()).await;
    assert_eq!(refunded["status"], "succeeded", "{refunded}");
    assert_eq!(world.simulator.count(REFUND).await, 1);
    let blocked = world.till.post("/v1/payments/cancel", &unheard).await;
    assert_eq!(blocked.status, 200, "{blocked:?}");
    world.finish().await;
}

/// What an operator asks for is done and nobody hears so: a decision is looked for and found, and what
/// has no identity of its own to look for is in doubt.
#[sqlx::test]
async fn what_an_operator_asked_for_and_was_not_answered_is_found_or_in_doubt(pool: PgPool) {
    let mut world = proxied(pool).await;
    let open = world.pay("0102").await;
    world.advance(TimeDelta::minutes(11)).await;
    let resolve = format!("/v1/payments/{}/resolve", open.id());
    let justification = json!({"status": "failed", "reason": "doubted decision", "ticket": "T-1"});
    let key = json!({"name": "doubted key", "operator": true, "scopes": ["operations"]});
    let merchant = json!({
        "external_id": "DOUBT-7", "name": "Doubted Tea", "partner": PARTNER,
        "secondary_merchant_id": "SM007", "secondary_merchant_name": "Doubted Tea Ltd",
        "secondary_merchant_industry": "5812",
        "default_store": {"store_id": "ST07", "name": "Doubted Tea Central"},
    });
    let operator = world.operator_at(0);
    let overseer = world.overseer(&[Scope::Admin]).await;
    for (path, body, text) in [
        (resolve.as_str(), &justification, "doubted decision"),
        ("/v1/admin/api-keys", &key, "doubted key"),
        ("/v1/admin/merchants", &merchant, "DOUBT-7"),
    ] {
        world.proxy().hold_answers_to(&[text]);
        let caller = if path == resolve {
            &operator
        } else {
            &overseer
        };
        let answer = told(caller.post(path, body)).await;
        world.proxy().restore();
        if path == resolve {
            assert_eq!(answer.summary("status"), (200, "failed"), "{answer:?}");
        } else {
            assert_attempted(&answer, "unknown");
        }
    }
    world.finish().await;
}

/// The answer to a claim is lost after it took effect: the worker gives back what it does not know to hold, and asks
/// at once, not when the lease is over.
#[sqlx::test]
async fn a_claim_whose_answer_is_lost_costs_no_lease(pool: PgPool) {
    let mut world = proxied(pool).await;
    let open = world.pay_until_open("0101").await;
    world.advance(TimeDelta::seconds(5)).await;
    world.proxy().cut_at(Cut::AfterEffect, "worker-");
    world.run_due().await;
    assert_eq!(world.proxy().cuts(), 1, "it took place");
    assert_eq!(world.simulator.count("query").await, 0);
    world.run_due().await;
    assert_eq!(world.simulator.count("query").await, 1);
    let id = open["id"].as_str().expect("an id");
    assert_eq!(world.till.payment(id).await["status"], "succeeded");
    world.finish().await;
}

/// A till that goes on selling through a stall, each sale under a key of its own.
async fn sell(till: Caller, name: usize, sales: usize) -> Vec<(String, Value, Answer)> {
    let mut answers = vec![];
    for sale in 0..sales {
        let (key, request) = (format!("till-{name}-{sale}"), body("0001"));
        let answer = told(till.create(&key, &request, 0)).await;
        answers.push((key, request, answer));
    }
    answers
}

/// The standby that every COMMIT waits for falls silent while twenty tills sell. Everybody is told
/// something in time; reads and health go on; of what was called not attempted nothing ever happens;
/// and what was in doubt is there once at most.
#[tokio::test]
async fn a_silent_standby_holds_nobody_up_and_makes_nobody_a_liar() {
    let server = Server::start().await;
    let options = Options {
        connections: 16,
        ..Options::default()
    };
    let mut world = World::start_with(migrated(server.options()).await, options).await;
    let [first, kept, reversed] = [
        world.pay("0001").await,
        world.pay("0001").await,
        world.pay("0001").await,
    ];
    let path = |paid: &Answer, verb: &str| format!("/v1/payments/{}/{verb}", paid.id());
    server.wait_for_standby("nobody").await;
    let waiting = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'";
    let calls = TaskTracker::new();
    let (till, cancel) = (world.till.clone(), path(&first, "cancel"));
    let canceling = calls.spawn(async move { told(till.post(&cancel, &Value::Null)).await });
    eventually("the cancel waits for the standby", async || {
        world.count_rows(waiting).await > 0
    })
    .await;
    let selling: Vec<_> = (0..20)
        .map(|name| calls.spawn(sell(world.till.clone(), name, 3)))
        .collect();
    eventually("readiness tells", async || {
        let ready = told(world.till.get("/health/ready")).await;
        assert_eq!(ready.status, 200, "{ready:?}");
        let read = told(world.till.get(&format!("/v1/payments/{}", kept.id()))).await;
        assert_eq!(read.status, 200, "{read:?}");
        ready.body["degraded"] == json!(["database_writes"])
    })
    .await;
    assert_attempted(&canceling.await.expect("the call ends"), "unknown");
    let mut answers = vec![];
    for till in selling {
        answers.extend(till.await.expect("the till ends"));
    }
    let left = world.count_rows(waiting).await;
    assert!(
        left <= 24,
        "{left} sessions wait, each of a statement that was given up"
    );
    let late = body("0001");
    for refused in [
        told(world.till.create("while-stalled", &late, 0)).await,
        told(world.till.post(&path(&kept, "cancel"), &Value::Null)).await,
        told(world.till.post(&path(&kept, "refresh"), &Value::Null)).await,
        told(world.till.post(&path(&reversed, "reverse"), &Value::Null)).await,
        told(world.till.refund(reversed.id(), &json!({}), 0)).await,
    ] {
        assert_attempted(&refused, "false");
    }
    server.wait_for_standby("").await;
    eventually("writes pass again", async || {
        world.pay("0001").await.status == 201
    })
    .await;
    eventually("readiness tells", async || {
        let ready = world.till.get("/health/ready").await;
        ready.body["degraded"].is_null()
    })
    .await;
    let mut in_doubt = 0;
    for (key, request, answer) in answers {
        let reference = request["merchant_reference"].as_str().expect("text");
        match answer.status {
            503 if answer.body["attempted"] == "false" => {
                let found = format!("/v1/payments?merchant_reference={reference}");
                let found = world.till.get(&found).await;
                assert_eq!(found.body["items"], json!([]), "{answer:?}");
            }
            503 => {
                assert_attempted(&answer, "unknown");
                in_doubt += 1;
                let again = world.till.create(&key, &request, 20).await;
                match again.status {
                    201 => assert_eq!(again.body["status"], "succeeded", "{again:?}"),
                    200 => assert_eq!(again.body["failure"]["code"], "NOT_SENT", "{again:?}"),
                    _ => panic!("{again:?}"),
                }
            }
            201 | 202 => {}
            _ => panic!("{answer:?}"),
        }
    }
    assert!(in_doubt > 0, "some were in doubt");
    // The caller asks again, as it was told to.
    let canceled = cancel_waiting(&world, &path(&first, "cancel")).await;
    assert!(matches!(canceled.status, 200 | 202), "{canceled:?}");
    for _ in 0..30 {
        world.advance(TimeDelta::seconds(1)).await;
        world.run_due().await;
    }
    assert_eq!(world.till.payment(first.id()).await["status"], "canceled");
    for untouched in [kept, reversed] {
        assert_eq!(world.events(untouched.id()).await, ["created", "paid"]);
    }
    assert_eq!(world.simulator.count(REFUND).await, 0);
    world.finish().await;
}

/// A primary freezes without closing a connection, and its standby takes over: a quiet replica is
/// back with its first request to the new one, however many connections it had.
#[tokio::test]
async fn a_frozen_primary_keeps_no_replica_out_once_the_new_one_is_there() {
    let primary = Server::start().await;
    let door = Proxy::start(&primary.options()).await;
    let options = Options {
        proxied: 1,
        connections: 16,
        // It is quiet: no connection was used a moment ago.
        database_limits: Limits {
            trust: Duration::ZERO,
            ..Limits::USUAL
        },
        ..Options::default()
    };
    let world = World::start_with(migrated(door.through(primary.options())).await, options).await;
    world.proxy().lead_to(&primary.options());
    let standby = primary.standby().await;
    primary.wait_for_standby("standby").await;
    // Every connection of the replica is used once.
    let paid = all((0..16).map(|_| world.pay("0001"))).await;
    assert!(paid.iter().all(|paid| paid.status == 201), "{paid:?}");
    world.settle_calls().await;
    primary.freeze();
    standby.promote().await;
    door.lead_to(&standby.options());
    door.cut();
    world.proxy().lead_to(&standby.options());
    let path = format!("/v1/payments/{}", paid[0].id());
    let read = told(world.till.get(&path)).await;
    assert_eq!(read.status, 200, "{read:?}");
    let sold = told(world.pay("0001")).await;
    assert_eq!(sold.summary("status"), (201, "succeeded"), "{sold:?}");
    let rest = all((0..16).map(|_| told(world.pay("0001")))).await;
    assert!(rest.iter().all(|paid| paid.status == 201), "{rest:?}");
    world.finish().await;
    drop(primary);
}
