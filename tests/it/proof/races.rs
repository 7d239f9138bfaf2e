//! Races on three replicas (`docs/invariants.md` L12): twins, rivals, cancels against the pay
//! answer in flight, tombstones against creates, workers whose lease ran out, the schedule's answer
//! against the handler's own, and clients that hang up. Both orders of each pair are forced by points
//! at which one side is held, and then both sides run truly at once.
//!
//! `RACE_ROUNDS` runs more of those that are left to chance.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use alipayhk_gateway::failpoint::Action;
use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_util::task::TaskTracker;

use super::{
    driver::{Ear, PAST_THE_LEASE, finish_clean, points, publish, settle, work},
    histories::number,
};
use crate::support::{
    Options, World,
    alipay::JsonBody as _,
    all, eventually,
    http::{Answer, Caller, body},
};

/// How many callers race.
const CALLERS: usize = 64;
/// How often a race that is left to chance is run in the test run.
const ROUNDS: u64 = 6;

fn rounds() -> u64 {
    number("RACE_ROUNDS", ROUNDS)
}

/// How many connections to Postgres each replica has.
const CONNECTIONS: u32 = 6;

async fn three(pool: PgPool) -> World {
    let options = Options {
        replicas: 3,
        connections: CONNECTIONS,
        ..Options::default()
    };
    let world = World::start_with(pool, options).await;
    // To open a connection takes a debug build longer than anything else: no race begins with that.
    for replica in 0..3 {
        let till = world.till_at(replica);
        all((0..CONNECTIONS).map(|_| till.get("/v1/payments?limit=1"))).await;
    }
    world
}

/// Lets a world settle and ends it.
async fn finish(mut world: World, ear: &Ear) {
    settle(&mut world).await;
    finish_clean(world, ear).await;
}

/// `POST /v1/payments/{id}/cancel` at a replica, without waiting for the end.
async fn cancel(world: &World, replica: usize, id: &str) -> Answer {
    let path = format!("/v1/payments/{id}/cancel");
    let till = world.till_at(replica);
    let request = till.request(Method::POST, &path);
    Caller::send(request.header("prefer", "wait=0")).await
}

/// `POST /v1/payments/cancel` at a replica, without waiting for the end.
async fn cancel_known(world: &World, replica: usize, known: &Value) -> Answer {
    let till = world.till_at(replica);
    let request = till.request(Method::POST, "/v1/payments/cancel");
    Caller::send(request.header("prefer", "wait=0").json_body(known)).await
}

/// A request with this reference; the buyer has 15 seconds, so that nothing takes long.
fn order(code: &str, reference: &str) -> Value {
    let mut request = body(code);
    request["merchant_reference"] = json!(reference);
    request["cancel_after_seconds"] = json!(15);
    request["terminal_id"] = Value::Null;
    request
}

/// `POST /v1/payments` by a caller who does as a 503 says: on a machine with other things to do,
/// 64 callers at once may find every connection to the database taken.
async fn insist(till: &Caller, key: &str, request: &Value, wait: u32) -> Answer {
    for _ in 0..20 {
        let answer = till.create(key, request, wait).await;
        if answer.status != 503 {
            return answer;
        }
        assert_eq!(answer.body["attempted"], "false", "{answer:?}");
        assert_eq!(answer.body["retryable"], "same_key", "{answer:?}");
    }
    panic!("{key} was never served");
}

/// Starts a create that goes on by itself.
fn start_create(world: &World, replica: usize, key: &str, request: &Value) -> JoinHandle<Answer> {
    let (till, key, request) = (world.till_at(replica), key.to_owned(), request.clone());
    TaskTracker::new().spawn(async move { till.create(&key, &request, 0).await })
}

/// Starts any request that goes on by itself.
fn start(request: reqwest::RequestBuilder) -> JoinHandle<Answer> {
    TaskTracker::new().spawn(async move { Caller::send(request).await })
}

async fn ended(call: JoinHandle<Answer>) -> Answer {
    let answer = tokio::time::timeout(Duration::from_secs(20), call).await;
    answer.expect("answered in time").expect("no panic")
}

/// Waits until a replica is held, and demands that it is at this point.
async fn until_held(world: &World, replica: usize, point: &str) {
    let stopped = points(world, replica).stopped();
    let at = tokio::time::timeout(Duration::from_secs(20), stopped).await;
    assert_eq!(at.expect("held in time"), point);
}

/// Lets a held replica go on to the end of what it does.
async fn go_on(world: &World, replica: usize) {
    points(world, replica).disarm();
    points(world, replica).resume();
    world.quiet_down().await;
}

/// The payment as it stands.
async fn status(world: &World, id: &str) -> (String, Option<String>, Option<bool>) {
    let payment = world.till.payment(id).await;
    let text = |name: &str| payment[name].as_str().map(str::to_owned);
    (
        text("status").expect("a status"),
        text("status_reason"),
        payment["money_returned"].as_bool(),
    )
}

// ------------------------------------------------------------------------------------------------
// Twins and rivals.

/// D1, M1: 64 callers with one request over three replicas make one payment, whatever becomes of it;
/// their answers agree.
#[sqlx::test]
async fn d1_m1_sixty_four_callers_with_one_request_make_one_payment(pool: PgPool) {
    let world = three(pool).await;
    let mut ear = Ear::default();
    for round in 0..rounds() {
        for (code, wait) in [("0001", 10), ("1001", 10), ("0101", 0), ("2003", 0)] {
            let (key, request) = (
                format!("{round}-{code}"),
                order(code, &format!("{round}-{code}")),
            );
            let pays = world.simulator.count("pay").await;
            let answers = all((0..CALLERS).map(|caller| {
                let till = world.till_at(caller % 3);
                let (key, request) = (&key, &request);
                async move { insist(&till, key, request, wait).await }
            }))
            .await;
            let mut ids = BTreeSet::new();
            for (caller, answer) in answers.iter().enumerate() {
                ear.create(caller, &key, true, answer);
                assert!(matches!(answer.status, 200..=202), "{answer:?}");
                ids.insert(answer.id());
            }
            assert_eq!(ids.len(), 1, "{code}: {ids:?}");
            let made = answers
                .iter()
                .filter(|answer| answer.header("idempotent-replayed") != "true");
            assert_eq!(made.count(), 1, "{code}: one caller made it");
            world.quiet_down().await;
            assert_eq!(world.simulator.count("pay").await, pays + 1, "{code}");
        }
    }
    finish(world, &ear).await;
}

/// D3: 64 callers with keys of their own and one order over three replicas: one wins, and the others
/// are told which payment has it.
#[sqlx::test]
async fn d3_of_sixty_four_keys_for_one_order_one_wins(pool: PgPool) {
    let world = three(pool).await;
    let mut ear = Ear::default();
    for round in 0..rounds() {
        let reference = format!("order-{round}");
        let calls: Vec<(String, Value)> = (0..CALLERS)
            .map(|caller| (format!("{round}-{caller}"), order("0001", &reference)))
            .collect();
        let answers = all(calls.iter().enumerate().map(|(caller, (key, request))| {
            let till = world.till_at(caller % 3);
            async move { insist(&till, key, request, 10).await }
        }))
        .await;
        for (caller, answer) in answers.iter().enumerate() {
            ear.create(caller, &calls[caller].0, true, answer);
        }
        let (won, lost): (Vec<&Answer>, Vec<&Answer>) =
            answers.iter().partition(|answer| answer.status == 201);
        assert_eq!((won.len(), lost.len()), (1, CALLERS - 1), "{answers:?}");
        for answer in lost {
            assert_eq!(
                answer.summary("code"),
                (409, "merchant_reference_conflict"),
                "{answer:?}"
            );
            assert_eq!(answer.body["payment_id"], *won[0].id());
        }
    }
    assert_eq!(world.simulator.trades().await.len() as u64, rounds());
    finish(world, &ear).await;
}

/// D2: 64 callers with one key and four different bodies: the body that came first is the payment's,
/// its sixteen callers agree, and the others are refused and change nothing.
#[sqlx::test]
async fn d2_of_four_bodies_under_one_key_one_is_taken(pool: PgPool) {
    let world = three(pool).await;
    let mut ear = Ear::default();
    for round in 0..rounds() {
        let key = format!("key-{round}");
        let bodies: Vec<Value> = (0..4)
            .map(|number| {
                let mut request = order("0001", &format!("order-{round}-{}", number / 2));
                request["amount"]["value"] = json!(1_000 + number);
                request
            })
            .collect();
        let answers = all((0..CALLERS).map(|caller| {
            let till = world.till_at(caller % 3);
            let (key, request) = (&key, &bodies[caller % 4]);
            async move { insist(&till, key, request, 10).await }
        }))
        .await;
        let taken = answers.iter().position(|answer| answer.status == 201);
        let taken = taken.expect("one is taken");
        let id = answers[taken].id();
        for (caller, answer) in answers.iter().enumerate() {
            let same_body = caller % 4 == taken % 4;
            ear.create(caller, &key, same_body, answer);
            if same_body {
                assert_eq!(answer.id(), id);
                assert_eq!(
                    answer.body["amount"]["value"],
                    bodies[taken % 4]["amount"]["value"]
                );
            } else {
                assert_eq!(
                    answer.summary("code"),
                    (422, "idempotency_key_reused"),
                    "{answer:?}"
                );
                assert_eq!(answer.body["payment_id"], *id);
            }
        }
    }
    assert_eq!(world.simulator.trades().await.len() as u64, rounds());
    finish(world, &ear).await;
}

// ------------------------------------------------------------------------------------------------
// A cancel against the pay answer in flight.

/// Codes whose payment a caller cancels, and how the payment must end: whether money that was taken
/// went back, or `None` where there is nothing to cancel.
const CANCELED: &[(&str, Option<bool>)] = &[
    ("0001", Some(true)),
    ("0101", Some(false)),
    ("0102", Some(false)),
    ("1001", None),
    ("2003", Some(true)),
    ("2004", Some(false)),
    ("2009", Some(false)),
    ("3001", Some(true)),
];

/// Where the pay is held: before it leaves, before its answer is looked at, and around the record.
const PAY_POINTS: &[&str] = &[
    "pay.replied",
    "pay.before_call",
    "pay.after_call",
    "pay.answered",
    "db.record.before",
    "db.record.after",
    "record.written",
];

/// Whether the pay of this code comes to this point, and has one end there.
fn is_passed(code: &str, point: &str) -> bool {
    match point {
        // The buyer confirms before the cancel is repeated, or after.
        "pay.replied" | "pay.before_call" => code != "0101",
        // No answer came.
        "pay.after_call" => !matches!(code, "2003" | "2004"),
        _ => true,
    }
}

/// Demands that the payment has ended as a cancel that a caller asked for must end.
async fn check_canceled(world: &World, case: &str, id: &str, money_returned: Option<bool>) {
    let (status, reason, returned) = status(world, id).await;
    match money_returned {
        Some(expected) => {
            assert_eq!(status, "canceled", "{case}");
            assert_eq!(returned, Some(expected), "{case}");
            let reason = reason.expect("a reason");
            assert!(
                matches!(reason.as_str(), "requested" | "never_created"),
                "{case}: {reason}"
            );
        }
        // Alipay said no, before or after the cancel.
        None => assert!(
            status == "failed" || reason.as_deref() == Some("never_created"),
            "{case}: {status}"
        ),
    }
}

/// S5, S6, M2: a caller's cancel arrives while the pay is held at each of its points: before it left,
/// before its answer was read, before and after that was recorded. The wish of the caller wins.
#[sqlx::test]
async fn s5_a_cancel_at_each_point_of_the_pay_ends_as_the_caller_wished(pool: PgPool) {
    let mut world = three(pool).await;
    let mut ear = Ear::default();
    let mut cases = vec![];
    for (code, end) in CANCELED {
        for point in PAY_POINTS {
            if !is_passed(code, point) {
                continue;
            }
            let case = format!("{code}-{point}");
            points(&world, 0).arm(point, 0, Action::Pause);
            let created = world.till_at(0).create(&case, &order(code, &case), 0).await;
            ear.create(0, &case, true, &created);
            until_held(&world, 0, point).await;
            let canceled = cancel(&world, 1, created.id()).await;
            ear.read(0, &canceled);
            world.quiet_down().await;
            go_on(&world, 0).await;
            cases.push((case, created.id().to_owned(), *end));
        }
    }
    settle(&mut world).await;
    for (case, id, end) in &cases {
        check_canceled(&world, case, id, *end).await;
    }
    publish("races-cancel-at-each-point", &json!({"cases": cases.len()}));
    finish(world, &ear).await;
}

/// S5, S6, S7: the pay answer is recorded while the cancel is held at each of its points.
#[sqlx::test]
async fn s5_a_pay_answer_at_each_point_of_the_cancel_ends_as_the_caller_wished(pool: PgPool) {
    const CANCEL_POINTS: &[&str] = &[
        "db.question.before",
        "db.question.after",
        "ask.begun",
        "cancel.before_call",
        "cancel.after_call",
        "ask.answered",
        "db.record.before",
        "db.record.after",
    ];
    let mut world = three(pool).await;
    let mut ear = Ear::default();
    let mut cases = vec![];
    for (code, end) in CANCELED {
        for point in CANCEL_POINTS {
            let case = format!("{code}-{point}");
            points(&world, 0).arm("pay.answered", 0, Action::Pause);
            let created = world.till_at(0).create(&case, &order(code, &case), 0).await;
            ear.create(0, &case, true, &created);
            until_held(&world, 0, "pay.answered").await;
            points(&world, 1).arm(point, 0, Action::Pause);
            let path = format!("/v1/payments/{}/cancel", created.id());
            let request = world.till_at(1).request(Method::POST, &path);
            let canceling = start(request.header("prefer", "wait=0"));
            until_held(&world, 1, point).await;
            points(&world, 0).resume();
            world.quiet_down().await;
            ear.read(
                1,
                &world
                    .till_at(2)
                    .get(&format!("/v1/payments/{}", created.id()))
                    .await,
            );
            go_on(&world, 1).await;
            ear.read(0, &ended(canceling).await);
            cases.push((case, created.id().to_owned(), *end));
        }
    }
    settle(&mut world).await;
    for (case, id, end) in &cases {
        check_canceled(&world, case, id, *end).await;
    }
    publish("races-answer-at-each-point", &json!({"cases": cases.len()}));
    finish(world, &ear).await;
}

/// M6, S5: a cancel, the schedule's or a caller's, is held at each of its points, before it leaves and
/// after it has acted, while the buyer confirms after all and another replica asks: a caller at once,
/// or another worker when the lease is over. Nobody is left with a success whose money goes back.
#[sqlx::test]
async fn m6_a_cancel_on_its_way_and_a_buyer_who_confirms_end_as_one_truth(pool: PgPool) {
    const CANCEL_POINTS: &[&str] = &[
        "db.question.before",
        "db.question.after",
        "ask.begun",
        "cancel.before_call",
        "cancel.after_call",
        "ask.answered",
        "db.record.before",
    ];
    let mut world = three(pool).await;
    let mut ear = Ear::default();
    let mut ends = BTreeMap::new();
    for (by, code) in [("schedule", "0102"), ("caller", "0102"), ("caller", "0001")] {
        for (point, seconds) in CANCEL_POINTS
            .iter()
            .flat_map(|point| [1, 11, 13, 46].map(|seconds| (point, seconds)))
        {
            let case = format!("{by}-{code}-{point}-{seconds}");
            let created = world.till_at(0).create(&case, &order(code, &case), 0).await;
            world.quiet_down().await;
            ear.create(0, &case, true, &created);
            let path = format!("/v1/payments/{}", created.id());
            points(&world, 0).arm(point, 0, Action::Pause);
            let canceling = if by == "caller" {
                let till = world.till_at(0);
                let cancel = till.request(Method::POST, &format!("{path}/cancel"));
                Some(start(cancel.header("prefer", "wait=0")))
            } else {
                world.advance(TimeDelta::seconds(15)).await;
                work(&world, 0).await;
                None
            };
            until_held(&world, 0, point).await;
            let id = created.body["partner_trans_id"].as_str().expect("an id");
            // Too late where the cancel has acted.
            world.simulator.act(id, "confirm").await;
            world.advance(TimeDelta::seconds(seconds)).await;
            let till = world.till_at(1);
            let refresh = till.request(Method::POST, &format!("{path}/refresh"));
            ear.read(0, &Caller::send(refresh).await);
            work(&world, 1).await;
            ear.read(0, &till.get(&path).await);
            go_on(&world, 0).await;
            if let Some(canceling) = canceling {
                ear.read(1, &ended(canceling).await);
            }
            ear.read(0, &till.get(&path).await);
            settle(&mut world).await;
            ear.read(0, &till.get(&path).await);
            let (status, _, returned) = status(&world, created.id()).await;
            assert!(by != "caller" || status == "canceled", "{case}: {status}");
            *ends
                .entry(format!("{by}: {status} {returned:?}"))
                .or_insert(0) += 1;
        }
    }
    publish("races-cancel-and-buyer", &json!({"ends": ends}));
    finish(world, &ear).await;
}

/// S5, S7: the answer to the pay and three cancels at three replicas, all at once.
#[sqlx::test]
async fn s5_cancels_and_the_pay_answer_at_once_leave_one_truth(pool: PgPool) {
    let mut world = three(pool).await;
    let mut ear = Ear::default();
    let mut cases = vec![];
    for round in 0..rounds() {
        for (code, end) in CANCELED {
            // What makes the answer lie stands in the place of the fault that holds it.
            if !matches!(*code, "0001" | "0101" | "0102") {
                continue;
            }
            let case = format!("{round}-{code}");
            let hold = json!({"type": "hold"});
            world.simulator.script("pay", 1, hold).await;
            let pays = world.simulator.count("pay").await;
            let created = world.till.create(&case, &order(code, &case), 0).await;
            ear.create(0, &case, true, &created);
            world.until_received("pay", pays + 1).await;
            let id = created.id();
            let cancels = all((0..3).map(|replica| cancel(&world, replica, id)));
            let (answers, ()) = tokio::join!(cancels, world.simulator.release());
            for (replica, answer) in answers.iter().enumerate() {
                ear.read(1 + replica, answer);
            }
            world.quiet_down().await;
            cases.push((case, id.to_owned(), *end));
        }
    }
    settle(&mut world).await;
    for (case, id, end) in &cases {
        check_canceled(&world, case, id, *end).await;
    }
    finish(world, &ear).await;
}

// ------------------------------------------------------------------------------------------------
// A tombstone against the create.

/// The cancel of an order that is being created, by its reference or by its key.
fn known_by(way: &str, key: &str, reference: &str) -> Value {
    if way == "key" {
        json!({"idempotency_key": key})
    } else {
        json!({"merchant_reference": reference})
    }
}

/// M7, D1: a cancel by reference or key comes while the create is held before its intent: nothing
/// exists, and nothing ever will. After the intent: the payment exists, and is canceled.
#[sqlx::test]
async fn m7_a_cancel_before_the_intent_forbids_it_and_after_it_cancels(pool: PgPool) {
    const BEFORE: &[&str] = &["create.received", "pay.accepted", "db.intent.before"];
    const AFTER: &[&str] = &["db.intent.after", "pay.intent_known"];
    let mut world = three(pool).await;
    let mut ear = Ear::default();
    let mut canceled = vec![];
    for way in ["reference", "key"] {
        for point in BEFORE.iter().chain(AFTER) {
            let (key, reference) = (format!("{way}-{point}"), format!("{way}-{point}"));
            let known = known_by(way, &key, &reference);
            points(&world, 0).arm(point, 0, Action::Pause);
            let pays = world.simulator.count("pay").await;
            let creating = start_create(&world, 0, &key, &order("0001", &reference));
            until_held(&world, 0, point).await;
            let cancel = cancel_known(&world, 1, &known).await;
            go_on(&world, 0).await;
            let created = ended(creating).await;
            ear.create_of(0, &key, &reference, &created);
            if BEFORE.contains(point) {
                assert_eq!(
                    cancel.summary("object"),
                    (200, "canceled_before_creation"),
                    "{cancel:?}"
                );
                assert_eq!(
                    created.summary("code"),
                    (409, "canceled_before_creation"),
                    "{created:?}"
                );
                assert_eq!(world.simulator.count("pay").await, pays, "nothing was sent");
            } else {
                assert_eq!(cancel.summary("object"), (202, "payment"), "{cancel:?}");
                assert_eq!(created.body["id"], cancel.body["id"], "{created:?}");
                ear.read(1, &cancel);
                canceled.push((reference, created.id().to_owned()));
            }
        }
    }
    settle(&mut world).await;
    for (case, id) in &canceled {
        check_canceled(&world, case, id, Some(true)).await;
    }
    finish(world, &ear).await;
}

/// D7, R8: the database goes away when a tombstone stands and nobody has been told: what is told then is
/// not "nothing was attempted".
#[sqlx::test]
async fn d7_a_tombstone_that_stands_is_never_called_not_attempted(pool: PgPool) {
    let options = Options {
        proxied: 1,
        ..Options::default()
    };
    let mut world = World::start_with(pool, options).await;
    for (way, point) in [
        ("merchant_reference", "db.entomb_reference.done"),
        ("idempotency_key", "db.entomb_key.done"),
    ] {
        let known = json!({way: format!("LOST-{way}")});
        points(&world, 0).arm(point, 0, Action::Pause);
        let till = world.till.clone();
        let canceling =
            TaskTracker::new().spawn(async move { till.post("/v1/payments/cancel", &known).await });
        until_held(&world, 0, point).await;
        world.proxy().refuse();
        points(&world, 0).resume();
        let told = ended(canceling).await;
        assert_eq!(told.status, 503, "{told:?}");
        assert_eq!(told.body["attempted"], "unknown", "{told:?}");
        world.proxy().restore();
        points(&world, 0).disarm();
    }
    settle(&mut world).await;
    world.end_without_checks().await;
}

/// M7, D1, D3: creates and cancels of one order at once on three replicas, by reference and by key:
/// either everybody meets the payment, which ends canceled, or nobody ever does.
#[sqlx::test]
async fn m7_creates_and_cancels_at_once_have_one_outcome(pool: PgPool) {
    let mut world = three(pool).await;
    let mut ear = Ear::default();
    let (mut existed, mut blocked) = (vec![], 0);
    for round in 0..rounds() * 10 {
        let (key, reference) = (format!("key-{round}"), format!("order-{round}"));
        let request = order("0001", &reference);
        let create = |replica: usize| {
            let till = world.till_at(replica);
            let (key, request) = (&key, &request);
            async move { insist(&till, key, request, 0).await }
        };
        // Who comes first differs from round to round.
        let head_start = round % 12;
        let cancel = |replica: usize, way: &str| {
            let known = known_by(way, &key, &reference);
            let world = &world;
            async move {
                for _ in 0..head_start {
                    tokio::task::yield_now().await;
                }
                cancel_known(world, replica, &known).await
            }
        };
        let first = usize::try_from(round).expect("small") % 3;
        let second = (first + 1) % 3;
        let creates = all([create(first), create(second)].into_iter());
        let cancels = all([cancel(second, "reference"), cancel(first, "key")].into_iter());
        let (created, canceled) = if round % 2 == 0 {
            tokio::join!(creates, cancels)
        } else {
            let (canceled, created) = tokio::join!(cancels, creates);
            (created, canceled)
        };
        for (caller, answer) in created.iter().enumerate() {
            ear.create(caller, &key, true, answer);
        }
        let ids: BTreeSet<&str> = created
            .iter()
            .chain(&canceled)
            .filter_map(|answer| answer.body["id"].as_str())
            .collect();
        let refused = created
            .iter()
            .filter(|answer| answer.summary("code") == (409, "canceled_before_creation"));
        let tombstones = canceled
            .iter()
            .filter(|answer| answer.body["object"] == "canceled_before_creation");
        match (ids.len(), refused.count(), tombstones.count()) {
            (1, 0, 0) => existed.push((
                reference.clone(),
                ids.first().copied().unwrap_or_default().to_owned(),
            )),
            (0, 2, 2) => blocked += 1,
            _ => panic!("no one outcome: {created:?} {canceled:?}"),
        }
        world.quiet_down().await;
    }
    publish(
        "races-tombstones",
        &json!({"rounds": rounds() * 10, "payments": existed.len(), "tombstones": blocked}),
    );
    settle(&mut world).await;
    for (case, id) in &existed {
        check_canceled(&world, case, id, Some(true)).await;
    }
    finish(world, &ear).await;
}

// ------------------------------------------------------------------------------------------------
// Two workers on one follow-up.

/// C6, C7, S7: the leases of many visits run out under two workers one after the other, each with
/// Alipay's answer on the way; a third settles everything, and what the first two bring back is
/// refused.
#[sqlx::test]
async fn c6_c7_two_workers_that_lost_their_leases_change_nothing(pool: PgPool) {
    const PAYMENTS: u32 = 8;
    let options = Options {
        replicas: 3,
        ask_timeout: Duration::from_secs(30),
        ..Options::default()
    };
    let mut world = World::start_with(pool, options).await;
    let mut ear = Ear::default();
    for number in 0..PAYMENTS {
        let case = format!("order-{number}");
        let mut request = order("2003", &case);
        request["cancel_after_seconds"] = json!(170);
        let open = world.till.create(&case, &request, 0).await;
        ear.create(0, &case, true, &open);
    }
    world.quiet_down().await;
    world.advance(TimeDelta::seconds(5)).await;
    // Both wait at Alipay's door, with true answers that come too late.
    let hold = json!({"type": "hold"});
    world.simulator.script("query", 2 * PAYMENTS, hold).await;
    for replica in [0, 1] {
        let visits = world.replicas[replica].worker.run_once();
        let asked = usize::try_from(PAYMENTS).expect("small") * (replica + 1);
        tokio::select! {
            _ = visits => panic!("the answers are held"),
            () = world.until_received("query", asked) => {}
        }
        world.advance(PAST_THE_LEASE).await;
    }
    work(&world, 2).await;
    let paid = "select count(*) from payment where status = 'succeeded'";
    assert_eq!(world.count_rows(paid).await, i64::from(PAYMENTS));
    let transitions = "select count(*) from payment_transition";
    let before = world.count_rows(transitions).await;
    world.simulator.release().await;
    world.settle_calls().await;
    assert_eq!(world.count_rows(transitions).await, before, "refused");
    assert_eq!(before, i64::from(PAYMENTS) * 3, "created, unknown, paid");
    let answered = "select count(*) from attempt where kind = 'query' and answered_at is not null";
    assert_eq!(
        world.count_rows(answered).await,
        i64::from(PAYMENTS) * 3,
        "what came too late is on the timeline all the same"
    );
    publish(
        "races-leases",
        &json!({"expired_under_a_live_worker": 2 * PAYMENTS}),
    );
    finish(world, &ear).await;
}

/// C6, C7, S6: a lease runs out at each point of a visit that queries, and of one that cancels, while
/// another worker goes on with the same payment: each change of state is made once, by the holder.
#[sqlx::test]
async fn c6_c7_a_lease_lost_at_each_point_of_a_visit_is_taken_over(pool: PgPool) {
    const VISIT: &[&str] = &[
        "visit.claimed",
        "db.question.before",
        "db.question.after",
        "ask.begun",
        "SERVICE.before_call",
        "SERVICE.after_call",
        "ask.answered",
        "db.record.before",
        "db.record.after",
    ];
    const ASKED_BY_BOTH: &[&str] = &[
        "db.question.before",
        "db.question.after",
        "ask.begun",
        "ask.answered",
        "db.record.before",
        "db.record.after",
    ];
    let mut world = three(pool).await;
    let mut ear = Ear::default();
    let mut cases = 0;
    for (service, code, after) in [
        ("query", "2003", 5),
        ("query", "0102", 5),
        ("cancel", "0102", 15),
    ] {
        for point in VISIT {
            let point = point.replace("SERVICE", service);
            let case = format!("{service}-{code}-{point}");
            let mut request = order(code, &case);
            if code == "2003" {
                // Paid, and so not to be canceled by whoever takes over.
                request["cancel_after_seconds"] = json!(170);
            }
            let created = world.till.create(&case, &request, 0).await;
            ear.create(0, &case, true, &created);
            world.quiet_down().await;
            world.advance(TimeDelta::seconds(after)).await;
            // A visit that cancels has asked first, by way of the same points.
            let asks_first = service == "cancel" && ASKED_BY_BOTH.contains(&point.as_str());
            points(&world, 0).arm(&point, u64::from(asks_first), Action::Pause);
            work(&world, 0).await;
            until_held(&world, 0, &point).await;
            // The round that was left may have been claiming for its next lane.
            world.connections_are_idle().await;
            world.advance(PAST_THE_LEASE).await;
            // Two take over at once; one gets it.
            let workers = [1, 2].map(|replica| world.replicas[replica].worker.run_once());
            let visits: usize = all(workers.into_iter()).await.into_iter().sum();
            let settled = point == "db.record.after" && (code == "2003" || service == "cancel");
            assert_eq!(visits, usize::from(!settled), "{case}");
            go_on(&world, 0).await;
            settle(&mut world).await;
            let (status, ..) = status(&world, created.id()).await;
            let end = if code == "2003" {
                "succeeded"
            } else {
                "canceled"
            };
            assert_eq!(status, end, "{case}");
            cases += 1;
        }
    }
    publish("races-leases-at-each-point", &json!({"cases": cases}));
    finish(world, &ear).await;
}

// ------------------------------------------------------------------------------------------------
// The schedule's answer against the handler's own.

/// S7, S5: the handler holds the late answer of its pay, the schedule the answer of its query, each
/// at every point of its way; they are recorded in both orders, and make one chain of events.
#[sqlx::test]
async fn s7_the_query_and_the_late_pay_answer_agree_in_both_orders(pool: PgPool) {
    const PAY: &[&str] = &[
        "pay.after_call",
        "pay.answered",
        "db.record.before",
        "db.record.after",
    ];
    const QUERY: &[&str] = &[
        "query.after_call",
        "ask.answered",
        "db.record.before",
        "db.record.after",
    ];
    const ENDS: &[(&str, &str)] = &[
        ("0001", "succeeded"),
        ("0101", "succeeded"),
        ("0102", "canceled"),
        ("1001", "failed"),
        ("2009", "canceled"),
        ("3001", "succeeded"),
    ];
    let mut world = three(pool).await;
    let mut ear = Ear::default();
    let mut cases = 0;
    for (code, end) in ENDS {
        for (pay, query) in PAY
            .iter()
            .flat_map(|pay| QUERY.iter().map(move |query| (pay, query)))
        {
            // What is final is not asked about.
            if *pay == "db.record.after" && matches!(*code, "0001" | "1001") {
                continue;
            }
            for first in [0, 1] {
                let case = format!("{code}-{pay}-{query}-{first}");
                points(&world, 0).arm(pay, 0, Action::Pause);
                let created = world.till_at(0).create(&case, &order(code, &case), 0).await;
                ear.create(0, &case, true, &created);
                until_held(&world, 0, pay).await;
                world.advance(TimeDelta::seconds(5)).await;
                points(&world, 1).arm(query, 0, Action::Pause);
                work(&world, 1).await;
                until_held(&world, 1, query).await;
                for replica in [first, 1 - first] {
                    go_on(&world, replica).await;
                    let path = format!("/v1/payments/{}", created.id());
                    ear.read(0, &world.till_at(2).get(&path).await);
                }
                // Nothing of one case is due in the middle of the next.
                settle(&mut world).await;
                assert_eq!(status(&world, created.id()).await.0, *end, "{case}");
                cases += 1;
            }
        }
    }
    publish("races-query-and-pay", &json!({"cases": cases}));
    finish(world, &ear).await;
}

/// S7: many late pay answers and the visits of three workers, all at once.
#[sqlx::test]
async fn s7_late_pay_answers_and_three_workers_at_once_make_one_chain(pool: PgPool) {
    const PAYMENTS: u32 = 24;
    let mut world = three(pool).await;
    let mut ear = Ear::default();
    let mut chains = BTreeMap::new();
    for round in 0..rounds() {
        let hold = json!({"type": "hold"});
        world.simulator.script("pay", PAYMENTS, hold).await;
        let pays = world.simulator.count("pay").await;
        let mut ids = vec![];
        for number in 0..PAYMENTS {
            let case = format!("{round}-{number}");
            let code = ["0001", "0102"][number as usize % 2];
            let replica = number as usize % 3;
            let till = world.till_at(replica);
            let created = till.create(&case, &order(code, &case), 0).await;
            ear.create(0, &case, true, &created);
            ids.push(created.id().to_owned());
        }
        world.until_received("pay", pays + PAYMENTS as usize).await;
        world.advance(TimeDelta::seconds(5)).await;
        let workers = all((0..3).map(|replica| work(&world, replica)));
        tokio::join!(workers, world.simulator.release());
        world.quiet_down().await;
        settle(&mut world).await;
        for id in ids {
            *chains.entry(world.events(&id).await.join(" ")).or_insert(0) += 1;
        }
    }
    publish("races-workers-and-pays", &json!({"chains": chains}));
    let possible = [
        "created paid",
        "created buyer_must_confirm cancel_started closed",
        // The pay says that the buyer must confirm, and only a query names the wallet.
        "created buyer_must_confirm buyer_must_confirm cancel_started closed",
    ];
    for chain in chains.keys() {
        assert!(possible.contains(&chain.as_str()), "{chains:?}");
    }
    finish(world, &ear).await;
}

// ------------------------------------------------------------------------------------------------
// Clients that hang up.

/// A client that has sent its whole request and does not wait.
pub(super) struct Client(TcpStream);

impl Client {
    /// Hangs up without a word.
    pub(super) fn reset(self) {
        self.0.set_zero_linger().expect("a socket's option");
    }

    /// Hangs up in order.
    fn close(self) {
        drop(self);
    }

    /// Says that it will send no more, and reads to the end.
    async fn listen(mut self) -> String {
        self.0.shutdown().await.expect("half closed");
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).await.expect("an answer");
        answer
    }
}

/// Sends a whole request over a connection of its own.
async fn send(world: &World, replica: usize, request: reqwest::RequestBuilder) -> Client {
    let request = request.build().expect("a request");
    let body = request
        .body()
        .and_then(|body| body.as_bytes())
        .unwrap_or_default();
    let mut bytes = format!(
        "{} {} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\ncontent-length: {}\r\n",
        request.method(),
        request.url().path(),
        body.len()
    )
    .into_bytes();
    for (name, value) in request.headers() {
        bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    bytes.extend(b"\r\n");
    bytes.extend(body);
    let address = world.replicas[replica].url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.expect("accepted");
    stream.write_all(&bytes).await.expect("sent");
    Client(stream)
}

/// A create by a client that is about to hang up.
pub(super) async fn hang_up(world: &World, replica: usize, key: &str, request: &Value) -> Client {
    let till = world.till_at(replica);
    let request = till
        .request(Method::POST, "/v1/payments")
        .header("idempotency-key", key)
        .header("prefer", "wait=5")
        .json_body(request);
    send(world, replica, request).await
}

/// C2: the client of a create goes, in three ways, while its payment is held at each point; of a
/// cancel likewise. What was asked for is done as if it had stayed.
#[sqlx::test]
async fn c2_a_client_that_goes_at_any_point_changes_nothing(pool: PgPool) {
    const CREATE: &[&str] = &[
        "create.received",
        "pay.accepted",
        "db.intent.before",
        "db.intent.after",
        "pay.intent_known",
        "pay.replied",
        "pay.before_call",
        "pay.after_call",
        "pay.answered",
        "db.record.before",
        "db.record.after",
        "record.written",
    ];
    const CANCEL: &[&str] = &[
        "db.question.before",
        "db.question.after",
        "ask.begun",
        "cancel.before_call",
        "cancel.after_call",
        "ask.answered",
        "db.record.before",
        "db.record.after",
    ];
    let world = three(pool).await;
    let mut ear = Ear::default();
    let mut cases = 0;
    for point in CREATE {
        for way in ["reset", "close", "listen"] {
            let case = format!("create-{point}-{way}");
            let request = order("0001", &case);
            points(&world, 0).arm(point, 0, Action::Pause);
            let client = hang_up(&world, 0, &case, &request).await;
            until_held(&world, 0, point).await;
            go(&world, client, way).await;
            eventually(&case, async || is_paid(&world, &case).await).await;
            let again = world.till_at(1).create(&case, &request, 5).await;
            ear.create(0, &case, true, &again);
            assert_eq!(
                again.summary("status"),
                (200, "succeeded"),
                "{case}: {again:?}"
            );
            assert_eq!(again.header("idempotent-replayed"), "true", "{case}");
            assert_eq!(
                world.events(again.id()).await,
                ["created", "paid"],
                "{case}"
            );
            cases += 1;
        }
    }
    for point in CANCEL {
        for way in ["reset", "close", "listen"] {
            let case = format!("cancel-{point}-{way}");
            let paid = world
                .till_at(1)
                .create(&case, &order("0001", &case), 5)
                .await;
            ear.create(0, &case, true, &paid);
            points(&world, 0).arm(point, 0, Action::Pause);
            let path = format!("/v1/payments/{}/cancel", paid.id());
            let request = world.till_at(0).request(Method::POST, &path);
            let client = send(&world, 0, request).await;
            until_held(&world, 0, point).await;
            go(&world, client, way).await;
            eventually(&case, async || {
                world.till.payment(paid.id()).await["status"] == "canceled"
            })
            .await;
            let events = world.events(paid.id()).await;
            assert_eq!(
                events,
                ["created", "paid", "cancel_started", "closed"],
                "{case}"
            );
            cases += 1;
        }
    }
    publish("races-hang-ups", &json!({"cases": cases}));
    finish(world, &ear).await;
}

/// Whether the order with this reference is paid.
async fn is_paid(world: &World, reference: &str) -> bool {
    let paid = "select exists (
        select from payment where merchant_reference = $1 and status = 'succeeded')";
    let paid = sqlx::query_scalar(paid)
        .bind(reference)
        .fetch_one(&world.pool)
        .await;
    paid.expect("the database answers")
}

/// Lets the client go, and then the replica that is held go on.
async fn go(world: &World, client: Client, way: &str) {
    match way {
        "listen" => {
            let answer = client.listen();
            let (answer, ()) = tokio::join!(answer, go_on(world, 0));
            assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
            return;
        }
        "reset" => client.reset(),
        _ => client.close(),
    }
    // By the time it has answered another, the replica has noticed.
    for _ in 0..3 {
        let answer = world.till_at(0).get("/v1/payments?limit=1").await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    go_on(world, 0).await;
}
