//! How much is let in: what is refused was not begun, and what was begun is not touched
//! (`docs/invariants.md` Q8).

use alipayhk_gateway::domain::admission::LoadLimits;
use reqwest::Method;
use serde_json::Value;
use sqlx::PgPool;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::support::{
    Options, World,
    http::{Caller, body},
    program::Stage,
};

fn bounded(bounds: LoadLimits) -> Options {
    Options {
        bounds,
        ..Options::default()
    }
}

/// Q8: a key that calls too fast is told when to come again; another key of the same merchant is not.
#[sqlx::test]
async fn q8_a_key_that_calls_too_fast_is_refused_and_another_is_not(pool: PgPool) {
    let options = bounded(LoadLimits {
        requests_per_second: 1,
        burst: 2,
        ..Options::default().bounds
    });
    let world = World::start_with(pool, options).await;
    let other = world
        .caller(
            0,
            &[alipayhk_gateway::domain::access::principal::Scope::PaymentsRead],
        )
        .await;
    let rows = world.rows().await;
    let mut refused = None;
    // A second would bring one more; fifty requests do not take fifty seconds.
    for _ in 0..50 {
        let answer = world.till.get("/v1/payments").await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("it was refused");
    assert_eq!(refused.summary("code"), (429, "rate_limited"));
    assert_eq!(refused.body["attempted"], "false");
    assert_eq!(refused.body["retryable"], "same_key");
    let wait: u32 = refused.header("retry-after").parse().expect("seconds");
    assert!(wait >= 1, "{wait}");
    assert_eq!(other.get("/v1/payments").await.status, 200);
    assert_eq!(world.rows().await, rows);
    world.finish().await;
}

/// Q8: beyond its bound a replica refuses new work and stores nothing of it; what is under way ends
/// well, also where its caller hung up, and makes room when it ends.
#[sqlx::test]
async fn q8_work_beyond_the_bound_is_refused_and_work_under_way_is_not_touched(pool: PgPool) {
    let options = bounded(LoadLimits {
        work: 2,
        ..Options::default().bounds
    });
    let world = World::start_with(pool, options).await;
    world
        .simulator
        .script("pay", 2, serde_json::json!({"type": "hold"}))
        .await;
    let first = world.till.create("key-1", &body("0001"), 0).await;
    let second = world.till.create("key-2", &body("0001"), 0).await;
    assert_eq!((first.status, second.status), (202, 202));
    world.until_received("pay", 2).await;
    let rows = world.rows().await;
    let third = body("0001");
    let refused = world.till.create("key-3", &third, 0).await;
    assert_eq!(refused.summary("code"), (503, "overloaded"), "{refused:?}");
    assert_eq!(refused.body["attempted"], "false");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(world.rows().await, rows, "nothing was stored");
    let cancel = format!("/v1/payments/{}/cancel", first.id());
    let refused = world.till.post(&cancel, &Value::Null).await;
    assert_eq!(refused.summary("code"), (503, "overloaded"));
    // Reading needs no place.
    assert_eq!(world.till.payment(first.id()).await["status"], "processing");

    world.simulator.release().await;
    world.settle_calls().await;
    for payment in [&first, &second] {
        let paid = world.till.payment(payment.id()).await;
        assert_eq!(paid["status"], "succeeded", "{paid}");
    }
    // The key was not used up.
    let paid = world.till.create("key-3", &third, 10).await;
    assert_eq!(paid.summary("status"), (201, "succeeded"), "{paid:?}");
    world.finish().await;
}

/// Q8: ten times the load that a replica takes, most of it one merchant's. What is refused was not
/// begun and may be repeated under its key; what was begun ends in its true state; the other merchant is
/// served; and when it is over nothing is left of it.
#[sqlx::test]
async fn q8_at_ten_times_the_bound_what_began_ends_well_and_the_rest_was_not_begun(pool: PgPool) {
    const PLACES: usize = 8;
    let options = bounded(LoadLimits {
        work: PLACES,
        work_per_merchant: PLACES - 2,
        waiting: PLACES,
        ..Options::default().bounds
    });
    let world = World::start_with(pool, options).await;
    let quiet = world.stranger().await;
    let hold = serde_json::json!({"type": "hold"});
    world.simulator.script("pay", 80, hold).await;
    let orders: Vec<(String, Value)> = (0..10 * PLACES)
        .map(|number| (format!("flood-{number}"), body("0001")))
        .collect();
    let flood = |orders: &[(String, Value)]| {
        let mut flood = JoinSet::new();
        for (key, order) in orders.iter().cloned() {
            let till = world.till.at(&world.replicas[0].url);
            flood.spawn(async move {
                let answer = till.create(&key, &order, 0).await;
                (key, order, answer)
            });
        }
        flood.join_all()
    };
    let (begun, refused): (Vec<_>, Vec<_>) = flood(&orders)
        .await
        .into_iter()
        .partition(|(_, _, answer)| answer.status == 202);
    assert_eq!(begun.len(), PLACES - 2, "the merchant's places");
    for (_, _, answer) in &refused {
        assert_eq!(answer.summary("code"), (429, "merchant_busy"), "{answer:?}");
        assert_eq!(answer.body["attempted"], "false");
        assert_eq!(answer.header("retry-after"), "1");
    }
    // The other merchant has the places that are left, and beyond them is told so too.
    let (one, two) = (body("0001"), body("0001"));
    assert_eq!(quiet.create("quiet-1", &one, 0).await.status, 202);
    assert_eq!(quiet.create("quiet-2", &two, 0).await.status, 202);
    let full = quiet.create("quiet-3", &body("0001"), 0).await;
    assert_eq!(full.summary("code"), (503, "overloaded"), "{full:?}");
    assert_eq!(quiet.get("/v1/payments").await.status, 200, "reads go on");
    world.until_received("pay", PLACES).await;
    let kept = "select count(*) from payment";
    assert_eq!(
        world.count_rows(kept).await,
        8,
        "what was refused left no row"
    );

    world.simulator.release().await;
    world.simulator.clear_faults().await;
    world.settle_calls().await;
    for (_, _, answer) in &begun {
        let paid = world.till.payment(answer.id()).await;
        assert_eq!(paid["status"], "succeeded", "{paid}");
    }
    // Who comes again with the same keys is served, a few at a time.
    let mut waiting: Vec<(String, Value)> = refused
        .into_iter()
        .map(|(key, order, _)| (key, order))
        .collect();
    while !waiting.is_empty() {
        let answers = flood(&waiting).await;
        world.settle_calls().await;
        let before = waiting.len();
        waiting = answers
            .into_iter()
            .filter(|(_, _, answer)| answer.status == 429)
            .map(|(key, order, _)| (key, order))
            .collect();
        assert!(waiting.len() < before, "nobody was served");
    }
    let paid = "select count(*) from payment where status = 'succeeded'";
    assert_eq!(world.count_rows(paid).await, 82);
    assert_eq!(world.simulator.trades().await.len(), 82, "one charge each");
    world.finish().await;
}

/// Q8: one merchant cannot take all places.
#[sqlx::test]
async fn q8_a_busy_merchant_leaves_room_for_another(pool: PgPool) {
    let options = bounded(LoadLimits {
        work_per_merchant: 1,
        ..Options::default().bounds
    });
    let world = World::start_with(pool, options).await;
    let stranger = world.stranger().await;
    world
        .simulator
        .script("pay", 1, serde_json::json!({"type": "hold"}))
        .await;
    let held = world.till.create("key-1", &body("0001"), 0).await;
    world.until_received("pay", 1).await;
    let refused = world.till.create("key-2", &body("0001"), 0).await;
    assert_eq!(refused.summary("code"), (429, "merchant_busy"));
    let paid = stranger.create("key-1", &body("0001"), 10).await;
    assert_eq!(paid.summary("status"), (201, "succeeded"), "{paid:?}");
    world.simulator.release().await;
    world.settle_calls().await;
    assert_eq!(world.till.payment(held.id()).await["status"], "succeeded");
    world.finish().await;
}

/// Q8: where too many wait already, the answer is what is known now.
#[sqlx::test]
async fn q8_beyond_the_bound_of_held_answers_nobody_is_held(pool: PgPool) {
    let options = bounded(LoadLimits {
        waiting: 0,
        ..Options::default().bounds
    });
    let world = World::start_with(pool, options).await;
    world
        .simulator
        .script("pay", 1, serde_json::json!({"type": "hold"}))
        .await;
    // Were it held, it would be for a minute, until the payment is known.
    let open = world.till.create("key-1", &body("0001"), 60).await;
    assert_eq!(open.summary("status"), (202, "processing"), "{open:?}");
    world.simulator.release().await;
    world.settle_calls().await;
    world.finish().await;
}

/// Q8: a flood of invented keys is refused, and locks nobody out.
#[sqlx::test]
async fn q8_a_flood_of_invented_keys_locks_nobody_out(pool: PgPool) {
    let world = World::start(pool).await;
    assert_eq!(world.till.get("/v1/payments").await.status, 200);
    let mut flood = JoinSet::new();
    for number in 0..200 {
        let caller = Caller::new(&world.replicas[0].url, &format!("ahk_invented-{number}"));
        flood.spawn(async move { caller.get("/v1/payments").await.status });
    }
    assert_eq!(world.till.get("/v1/payments").await.status, 200);
    let refused = flood.join_all().await;
    assert!(refused.iter().all(|status| *status == 401), "{refused:?}");
    world.finish().await;
}

/// Q8: while invented keys hold every turn at the database, a key that this replica has never seen is
/// looked up all the same.
#[cfg(feature = "failpoints")]
#[sqlx::test]
async fn q8_a_new_key_does_not_wait_behind_invented_ones(pool: PgPool) {
    use alipayhk_gateway::{domain::access::principal::Scope, failpoint::Action};

    let world = World::start(pool).await;
    let unseen = world.caller(0, &[Scope::PaymentsRead]).await;
    let points = world.replicas[0].app.failpoints().clone();
    for _ in 0..4 {
        points.arm("db.api_key.before", 0, Action::Pause);
    }
    let mut flood = JoinSet::new();
    for number in 0..50 {
        let caller = Caller::new(&world.replicas[0].url, &format!("ahk_invented-{number}"));
        flood.spawn(async move { caller.get("/v1/payments").await.status });
    }
    crate::support::eventually("every turn is taken", async || {
        points.fired("db.api_key.before") == 4
    })
    .await;
    assert_eq!(unseen.get("/v1/payments").await.status, 200);
    assert_eq!(points.hits()["db.api_key.before"], 5, "nobody else's turn");
    points.resume();
    let refused = flood.join_all().await;
    assert!(refused.iter().all(|status| *status == 401), "{refused:?}");
    world.finish().await;
}

/// Q8: five hundred clients that never end their request's head neither stop payments nor stay.
#[sqlx::test]
async fn q8_slow_clients_neither_stop_payments_nor_stay(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let program = stage.gateway(&[("HTTP_HEADER_TIMEOUT_MS", "1500")]).await;
    let mut slow = Vec::new();
    for _ in 0..500 {
        let mut client = TcpStream::connect(program.address())
            .await
            .expect("accepted");
        let half = b"POST /v1/payments HTTP/1.1\r\nHost: gateway\r\nX-Slow: ";
        client.write_all(half).await.expect("sent");
        slow.push(client);
    }
    let till = stage.till(&program);
    let paid = till.create("key-1", &body("0001"), 10).await;
    assert_eq!(paid.summary("status"), (201, "succeeded"), "{paid:?}");
    for mut client in slow {
        let mut rest = Vec::new();
        // Closed by the gateway: this ends.
        let _ = client.read_to_end(&mut rest).await;
        let text = String::from_utf8_lossy(&rest);
        assert!(!text.starts_with("HTTP/1.1 2"), "{text}");
    }
    program.stop().await;
    stage.close().await;
}

/// Q8: a head without end is refused, and the connection closed.
#[sqlx::test]
async fn q8_a_head_that_is_too_large_is_refused(pool: PgPool) {
    let world = World::start(pool).await;
    let long = "x".repeat(64 * 1024);
    let request = world.till.request(Method::GET, "/v1/payments");
    let answer = request.header("x-long", long).send().await;
    // The connection may be closed before the client has read why.
    if let Ok(answer) = answer {
        assert_eq!(answer.status().as_u16(), 431);
    }
    assert_eq!(world.till.get("/v1/payments").await.status, 200);
    world.finish().await;
}
