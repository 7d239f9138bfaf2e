//! Whoever goes away, the payment does not: clients that hang up, a database that refuses, hangs or
//! breaks off in the middle of a commit, an Alipay that is not there, and a process that is killed.

use std::time::Duration;

use alipayhk_gateway::db::run::Limits;
use chrono::TimeDelta;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::TaskTracker;

use crate::support::{
    Options, World, eventually,
    http::{Answer, Caller, body},
    program::{Stage, gateway_command},
    proxy::{Cut, Proxy},
};

const PAY: &str = "pay";
const QUERY: &str = "query";

/// One gateway behind the proxy.
async fn proxied(pool: PgPool) -> World {
    let options = Options {
        proxied: 1,
        ..Options::default()
    };
    World::start_with(pool, options).await
}

/// Sends a payment in the background.
fn start(
    till: &Caller,
    key: &str,
    request: &Value,
    wait: u32,
) -> impl Future<Output = Answer> + use<> {
    let (till, key, request) = (till.clone(), key.to_owned(), request.clone());
    let call = TaskTracker::new().spawn(async move { till.create(&key, &request, wait).await });
    async move { call.await.expect("the call ends") }
}

// ------------------------------------------------------------------------------------------------
// Clients that hang up.

/// The bytes of a payment request; the length of the head comes with them.
fn raw(world: &World, key: &str, request: &Value) -> (Vec<u8>, usize) {
    let head_of = world
        .till
        .request(reqwest::Method::POST, "/v1/payments")
        .build()
        .expect("a request");
    let authorization = head_of.headers()["authorization"].to_str().expect("text");
    let body = request.to_string();
    let head = format!(
        "POST /v1/payments HTTP/1.1\r\nhost: gateway\r\nauthorization: {authorization}\r\n\
         idempotency-key: {key}\r\nprefer: wait=5\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    ((head.clone() + &body).into_bytes(), head.len())
}

async fn connect(world: &World) -> TcpStream {
    let address = world.replicas[0].url.trim_start_matches("http://");
    TcpStream::connect(address).await.expect("accepted")
}

/// C2: of a request that was cut anywhere before its end nothing is kept and nothing is sent.
#[sqlx::test]
async fn c2_a_request_cut_before_its_end_leaves_nothing_behind(pool: PgPool) {
    let world = World::start(pool).await;
    let (bytes, head) = raw(&world, "cut-short", &body("0001"));
    let mut cuts: Vec<usize> = (0..bytes.len()).step_by(23).collect();
    cuts.extend([head - 2, head - 1, head, head + 1, bytes.len() - 1]);
    for cut in cuts {
        let mut client = connect(&world).await;
        client.write_all(&bytes[..cut]).await.expect("sent");
        client.shutdown().await.expect("half closed");
        // The gateway's end of the line tells that it is done with it, whatever it answered.
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("closed");
        assert!(!answer.starts_with("HTTP/1.1 2"), "{cut}: {answer}");
    }
    world.settle_calls().await;
    for table in [
        "select count(*) from payment",
        "select count(*) from idempotency_key",
        "select count(*) from recent_scan",
    ] {
        assert_eq!(world.count_rows(table).await, 0, "{table}");
    }
    assert_eq!(world.simulator.requests().await.len(), 0);
    let whole = world.till.create("cut-short", &body("0001"), 5).await;
    assert_eq!(whole.status, 201, "the key was not used up: {whole:?}");
    world.finish().await;
}

/// C2, R6: once the whole request was sent, nothing the client does matters: the payment is sent
/// once, recorded, and found under its key.
#[sqlx::test]
async fn c2_a_client_that_hangs_up_after_its_request_changes_nothing(pool: PgPool) {
    let world = World::start(pool).await;
    for round in 0..30 {
        let (key, request) = (format!("gone-{round}"), body("0001"));
        let (bytes, _) = raw(&world, &key, &request);
        let mut client = connect(&world).await;
        client.write_all(&bytes).await.expect("sent");
        match round % 3 {
            0 => drop(client),
            1 => client.shutdown().await.expect("half closed"),
            _ => {
                let mut some = vec![0; round * 7];
                client.read_exact(&mut some).await.expect("an answer");
                drop(client);
            }
        }
        let found = "select count(*) from payment where status = 'succeeded'";
        eventually(&format!("round {round} is recorded"), async || {
            world.count_rows(found).await == i64::try_from(round).expect("small") + 1
        })
        .await;
        let again = world.till.create(&key, &request, 5).await;
        assert_eq!(again.summary("status"), (200, "succeeded"), "{again:?}");
        assert_eq!(again.header("idempotent-replayed"), "true");
    }
    assert_eq!(world.simulator.count(PAY).await, 30);
    world.finish().await;
}

/// C2: the client goes while Alipay is being asked.
#[sqlx::test]
async fn c2_a_client_that_goes_during_the_call_to_alipay_changes_nothing(pool: PgPool) {
    let world = World::start(pool).await;
    let request = body("0001");
    world
        .simulator
        .script(PAY, 1, json!({"type": "hold"}))
        .await;
    let (bytes, _) = raw(&world, "gone", &request);
    let mut client = connect(&world).await;
    client.write_all(&bytes).await.expect("sent");
    world.until_received(PAY, 1).await;
    drop(client);
    let meanwhile = world.till.create("gone", &request, 0).await;
    assert_eq!(meanwhile.summary("status"), (202, "processing"));
    world.simulator.release().await;
    let paid = world.till.create("gone", &request, 10).await;
    assert_eq!(paid.summary("status"), (200, "succeeded"), "{paid:?}");
    assert_eq!(world.simulator.count(PAY).await, 1);
    world.finish().await;
}

// ------------------------------------------------------------------------------------------------
// A database that goes away.

/// What a caller is told while nothing can be stored.
fn assert_nothing_attempted(answer: &Answer) {
    assert_eq!(
        answer.summary("code"),
        (503, "service_unavailable"),
        "{answer:?}"
    );
    assert_eq!(answer.body["attempted"], "false");
    assert_eq!(answer.body["retryable"], "same_key");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert!(!answer.header("retry-after").is_empty());
}

/// C5: without the intent's commit no byte goes to Alipay, and the same key works afterwards.
#[sqlx::test]
async fn c5_without_a_database_nothing_is_sent_and_the_key_works_later(pool: PgPool) {
    // A statement on a connection that is taken for good and breaks would be in doubt.
    let options = Options {
        proxied: 1,
        database_limits: Limits {
            trust: Duration::ZERO,
            ..Limits::USUAL
        },
        ..Options::default()
    };
    let world = World::start_with(pool, options).await;
    assert_eq!(world.pay("0001").await.status, 201);
    let stranger = {
        use alipayhk_gateway::domain::access::principal::Scope;
        world.caller(0, &[Scope::PaymentsWrite]).await
    };
    world.proxy().refuse();
    let request = body("0001");
    let known = world.till.create("while-away", &request, 0).await;
    assert_nothing_attempted(&known);
    let unknown = stranger.create("while-away", &request, 0).await;
    assert_nothing_attempted(&unknown);
    let read = world.till.get("/v1/payments").await;
    assert_eq!(read.status, 503, "{read:?}");
    world.settle_calls().await;
    assert_eq!(world.simulator.count(PAY).await, 1, "nothing was sent");
    assert_eq!(world.count_rows("select count(*) from payment").await, 1);
    world.proxy().restore();
    let paid = world.till.create("while-away", &request, 5).await;
    assert_eq!(paid.summary("status"), (201, "succeeded"), "{paid:?}");
    assert_eq!(world.simulator.trades().await.len(), 2);
    world.finish().await;
}

/// C5: a database that swallows the intent and says nothing. The caller is told in time, and "not
/// attempted" only where the intent found no connection; what the server does with the statement
/// later sends nothing, and ends as not sent.
#[sqlx::test]
async fn c5_a_database_that_hangs_is_given_up_and_nothing_is_sent(pool: PgPool) {
    let world = proxied(pool).await;
    assert_eq!(world.pay("0001").await.status, 201);
    world.proxy().hang();
    let request = body("0001");
    let told = world.till.create("hanging", &request, 0).await;
    assert_eq!(
        told.summary("code"),
        (503, "service_unavailable"),
        "{told:?}"
    );
    assert_eq!(told.body["retryable"], "same_key");
    world.proxy().restore();
    // The statement may take effect now, after all: then the key shows a payment that was not sent.
    let again = world.till.create("hanging", &request, 20).await;
    match again.status {
        201 => assert_eq!(again.body["status"], "succeeded"),
        200 => {
            assert_eq!(told.body["attempted"], "unknown", "{told:?}");
            assert_eq!(again.body["failure"]["code"], "NOT_SENT", "{again:?}");
        }
        _ => panic!("{again:?}"),
    }
    let paid = if again.status == 201 { 2 } else { 1 };
    assert_eq!(world.simulator.count(PAY).await, paid);
    assert_eq!(world.simulator.trades().await.len(), paid);
    world.finish().await;
}

/// Starts a payment whose answer Alipay holds back until the database is away.
async fn pay_and_lose_the_database(world: &World, wait: u32) -> Answer {
    world
        .simulator
        .script(PAY, 1, json!({"type": "hold"}))
        .await;
    let before = world.simulator.count(PAY).await;
    let call = start(&world.till, "in-flight", &body("0001"), wait);
    world.until_received(PAY, before + 1).await;
    world.proxy().refuse();
    world.simulator.release().await;
    let answer = call.await;
    assert_eq!(answer.summary("status"), (202, "processing"), "{answer:?}");
    answer
}

/// C4: the answer is kept in hand until the database is back.
#[sqlx::test]
async fn c4_an_answer_without_a_database_is_recorded_when_it_is_back(pool: PgPool) {
    let world = proxied(pool).await;
    assert_eq!(world.pay("0002").await.status, 201);
    let open = pay_and_lose_the_database(&world, 1).await;
    world.proxy().restore();
    world.settle_calls().await;
    let paid = world.till.payment(open.id()).await;
    assert_eq!(paid["status"], "succeeded");
    assert_eq!(world.events(open.id()).await, ["created", "paid"]);
    assert_eq!(world.simulator.count(QUERY).await, 0, "nobody had to ask");
    world.finish().await;
}

/// C4: the gateway that has the answer never gets through; another one asks Alipay.
#[sqlx::test]
async fn c4_an_answer_that_cannot_be_recorded_is_asked_for_again(pool: PgPool) {
    let options = Options {
        replicas: 2,
        proxied: 1,
        ..Options::default()
    };
    let mut world = World::start_with(pool, options).await;
    assert_eq!(world.pay("0002").await.status, 201);
    let open = pay_and_lose_the_database(&world, 0).await;
    world.advance(TimeDelta::seconds(5)).await;
    assert_eq!(world.replicas[1].worker.run_once().await, 1);
    let status = "select count(*) from payment where status = 'succeeded'";
    assert_eq!(world.count_rows(status).await, 2);
    // The first one gets through at last, and has nothing to add.
    world.proxy().restore();
    world.settle_calls().await;
    assert_eq!(world.events(open.id()).await, ["created", "paid"]);
    world.finish().await;
}

/// C3, R8: the connection breaks around the intent's commit. Taken effect or not, the caller gets
/// the one payment, sent once.
#[sqlx::test]
async fn c3_an_intent_whose_commit_is_in_doubt_is_sent_once(pool: PgPool) {
    let world = proxied(pool).await;
    for (round, cut) in [Cut::BeforeEffect, Cut::AfterEffect]
        .into_iter()
        .enumerate()
    {
        let request = body("0001");
        let reference = request["merchant_reference"].as_str().expect("text");
        world.proxy().cut_at(cut, reference);
        let key = format!("in-doubt-{round}");
        let paid = world.till.create(&key, &request, 5).await;
        assert_eq!(
            paid.summary("status"),
            (201, "succeeded"),
            "{cut:?}: {paid:?}"
        );
        assert_eq!(world.proxy().cuts(), round + 1, "{cut:?} took place");
        assert_eq!(world.simulator.count(PAY).await, round + 1, "{cut:?}");
        assert_eq!(
            world.events(paid.id()).await,
            ["created", "paid"],
            "{cut:?}"
        );
        let again = world.till.create(&key, &request, 5).await;
        assert_eq!(again.body["id"], paid.body["id"]);
    }
    world.finish().await;
}

/// C3, R8: the same around the commit of the answer: one change of state, and the caller waits for
/// nothing longer than the repair takes.
#[sqlx::test]
async fn c3_an_answer_whose_commit_is_in_doubt_is_recorded_once(pool: PgPool) {
    let world = proxied(pool).await;
    for (round, cut) in [Cut::BeforeEffect, Cut::AfterEffect]
        .into_iter()
        .enumerate()
    {
        world.proxy().cut_at(cut, "succeeded");
        let paid = world.pay("0001").await;
        assert_eq!(
            paid.summary("status"),
            (201, "succeeded"),
            "{cut:?}: {paid:?}"
        );
        assert_eq!(world.proxy().cuts(), round + 1, "{cut:?} took place");
        assert_eq!(
            world.events(paid.id()).await,
            ["created", "paid"],
            "{cut:?}"
        );
        assert_eq!(paid.body["version"], 2);
    }
    world.finish().await;
}

/// C3: connections that broke while nobody used them are found out before they are used.
#[sqlx::test]
async fn c3_idle_connections_that_broke_cost_no_request(pool: PgPool) {
    let world = proxied(pool).await;
    for _ in 0..3 {
        assert_eq!(world.pay("0001").await.status, 201);
        world.settle_calls().await;
        world.proxy().cut();
    }
    let paid = world.pay("0001").await;
    assert_eq!(paid.status, 201, "{paid:?}");
    world.finish().await;
}

// ------------------------------------------------------------------------------------------------
// An Alipay that is not there.

/// No connection to Alipay can be made: nothing was charged, and the timeline says why.
#[sqlx::test]
async fn a_pay_that_could_not_leave_fails_at_once_and_the_code_may_be_scanned_again(pool: PgPool) {
    let nobody = "http://127.0.0.1:1/gateway.do";
    let options = Options {
        endpoint: Some(nobody.parse().expect("an address")),
        ..Options::default()
    };
    let mut world = World::start_with(pool, options).await;
    let failed = world.pay("0001").await;
    assert_eq!(failed.summary("status"), (201, "failed"), "{failed:?}");
    assert_eq!(failed.body["outcome_certainty"], "final");
    assert_eq!(failed.body["failure"]["code"], "NOT_SENT");
    assert_eq!(failed.body["failure"]["retry"], "same_barcode");
    assert_eq!(failed.body["next_action"]["type"], "show_code_again");
    world.advance(TimeDelta::minutes(10)).await;
    world.run_due().await;
    let timeline = world.till.timeline(failed.id()).await;
    let answers: Vec<&str> = timeline
        .iter()
        .filter(|item| item["type"] == "attempt")
        .map(|item| item["answer"].as_str().unwrap_or("none"))
        .collect();
    assert_eq!(answers, ["connect_failed"], "nothing is left to ask");
    assert_eq!(world.events(failed.id()).await, ["created", "never_sent"]);
    world.finish().await;
}

// ------------------------------------------------------------------------------------------------
// A process that is killed.

/// C1: killed after the intent was committed and the request was on its way.
#[sqlx::test]
async fn c1_a_gateway_killed_during_the_call_is_replaced_and_the_payment_found(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let first = stage.gateway(&[]).await;
    stage
        .simulator
        .script(PAY, 1, json!({"type": "hold"}))
        .await;
    let request = body("0001");
    let open = stage.till(&first).create("killed", &request, 0).await;
    assert_eq!(open.status, 202, "{open:?}");
    stage.until_received(PAY, 1).await;
    first.kill().await;
    assert_eq!(stage.status().await, "processing");
    let second = stage.gateway(&[]).await;
    let till = stage.till(&second);
    let again = till.create("killed", &request, 0).await;
    assert_eq!(again.body["id"], open.body["id"], "{again:?}");
    assert_eq!(again.header("idempotent-replayed"), "true");
    stage.until_status("succeeded").await;
    let paid = till.create("killed", &request, 0).await;
    assert_eq!(paid.summary("status"), (200, "succeeded"));
    assert_eq!(stage.simulator.count(PAY).await, 1, "sent once, ever");
    assert_eq!(stage.simulator.trades().await.len(), 1);
    second.stop().await;
    stage.finish().await;
}

/// C1: killed with the answer in hand, which the database did not take.
#[sqlx::test]
async fn c1_a_gateway_killed_with_the_answer_in_hand_loses_nothing(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let proxy = Proxy::start(&stage.pool.connect_options()).await;
    let through = stage.database_url(&proxy);
    let first = stage.gateway(&[("DATABASE_URL", &through)]).await;
    stage
        .simulator
        .script(PAY, 1, json!({"type": "hold"}))
        .await;
    let request = body("0001");
    let open = stage.till(&first).create("killed", &request, 0).await;
    assert_eq!(open.status, 202, "{open:?}");
    stage.until_received(PAY, 1).await;
    proxy.refuse();
    stage.simulator.release().await;
    first.logged("recording an answer failed").await;
    first.kill().await;
    let second = stage.gateway(&[]).await;
    stage.until_status("succeeded").await;
    let paid = stage.till(&second).create("killed", &request, 0).await;
    assert_eq!(paid.summary("status"), (200, "succeeded"));
    assert_eq!(paid.body["id"], open.body["id"]);
    assert_eq!(stage.simulator.trades().await.len(), 1);
    second.stop().await;
    stage.finish().await;
}

/// C1: killed before Alipay heard of the payment. Only after the grace period, and a cancel, is it
/// taken for never created.
#[sqlx::test]
async fn c1_a_payment_that_never_left_the_killed_gateway_ends_unpaid(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let endpoint = format!(
        "http://{}/gateway.do",
        silent.local_addr().expect("a bound address")
    );
    let first = stage.gateway(&[("ALIPAY_ENDPOINT", &endpoint)]).await;
    let request = body("0001");
    let open = stage.till(&first).create("killed", &request, 0).await;
    assert_eq!(open.status, 202, "{open:?}");
    first.kill().await;
    drop(silent);
    let second = stage.gateway(&[]).await;
    stage.until_received(QUERY, 1).await;
    assert_eq!(stage.status().await, "processing", "not found is not yet");
    stage.skip_minutes(4).await;
    stage.until_status("canceled").await;
    let end = stage.till(&second).create("killed", &request, 0).await;
    assert_eq!(
        end.summary("status_reason"),
        (200, "never_created"),
        "{end:?}"
    );
    assert_eq!(end.body["id"], open.body["id"]);
    assert_eq!(stage.simulator.trades().await.len(), 0);
    second.stop().await;
    stage.finish().await;
}

/// C1: killed while it held the claim and asked. Another one takes over when the lease is over.
#[sqlx::test]
async fn c1_a_gateway_killed_during_a_follow_up_is_replaced_after_its_lease(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let first = stage.gateway(&[]).await;
    let hold = json!({"type": "hold"});
    stage.simulator.script(QUERY, 1, hold).await;
    let open = stage.till(&first).pay_without_waiting("2003").await;
    assert_eq!(open.status, 202, "{open:?}");
    stage.until_received(QUERY, 1).await;
    let second = stage.gateway(&[]).await;
    first.kill().await;
    stage.until_status("succeeded").await;
    assert!(stage.simulator.count(QUERY).await >= 2);
    let paid = stage.till(&second).payment(open.id()).await;
    assert_eq!(paid["status"], "succeeded");
    second.stop().await;
    stage.finish().await;
}

/// C1: killed again and again under load; what was answered is true, what was not is settled.
#[sqlx::test]
async fn c1_no_payment_is_lost_or_doubled_by_killing_again_and_again(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let mut keys = vec![];
    for round in 0..4 {
        let gateway = stage.gateway(&[]).await;
        let till = stage.till(&gateway);
        let calls = TaskTracker::new();
        for call in 0..12 {
            let code = ["0001", "2003", "0101", "1016"][call % 4];
            let (till, key, request) = (till.clone(), format!("r{round}-{call}"), body(code));
            keys.push((key.clone(), request.clone()));
            // Whether it is answered does not matter here.
            calls.spawn(async move { till.try_create(&key, &request).await });
        }
        let pays = stage.simulator.count(PAY).await;
        stage.until_received(PAY, pays + 5).await;
        gateway.kill().await;
        calls.close();
        calls.wait().await;
    }
    let last = stage.gateway(&[]).await;
    let till = stage.till(&last);
    // What never left a killed gateway is given up only after the grace period.
    stage.skip_minutes(4).await;
    eventually("every payment is final", async || {
        let open = "select count(*) from payment where finalized_at is null";
        let open: Result<i64, _> = sqlx::query_scalar(open).fetch_one(&stage.pool).await;
        open.expect("the database answers") == 0
    })
    .await;
    let before = stage.simulator.trades().await.len();
    let mut made = 0;
    for (key, request) in keys {
        let again = till.create(&key, &request, 30).await;
        assert!(
            matches!(again.status, 200..=202),
            "the same key tells the truth: {again:?}"
        );
        made += usize::from(again.status == 201);
    }
    let trades = stage.simulator.trades().await.len();
    assert!(trades <= before + made, "replays charge nobody");
    tokio::time::timeout(Duration::from_secs(20), last.stop())
        .await
        .expect("stops");
    stage.finish().await;
}

/// No constraint looks up the payment of an attempt: this does.
#[sqlx::test]
async fn rows_that_lead_nowhere_are_found_at_the_terminal(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let verify = async || {
        let output = gateway_command(&["database", "verify"], &stage.settings())
            .output()
            .await
            .expect("the program runs");
        let told = String::from_utf8(output.stdout).expect("text");
        (output.status.code(), told)
    };
    let (status, told) = verify().await;
    assert_eq!(
        (status, told.as_str()),
        (Some(0), "every row leads to the rows it refers to\n")
    );
    sqlx::raw_sql(
        "insert into attempt (merchant_id, attempt_id, payment_id, kind)
        select gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'query'",
    )
    .execute(&stage.pool)
    .await
    .expect("no constraint is in the way");
    let (status, told) = verify().await;
    assert_eq!(
        (status, told.as_str()),
        (
            Some(1),
            "1 rows of attempt refer to a payment that is not there\n"
        )
    );
    stage.close().await;
}
