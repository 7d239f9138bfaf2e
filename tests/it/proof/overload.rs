//! Ten times the load that two replicas take, nearly all of it one merchant's (`docs/invariants.md`
//! Q8): what is refused was not begun, what was begun ends in its true state, whatever its answer was
//! worth, the other merchant is served, and when it is over every place is free again.

use alipayhk_gateway::domain::admission::LoadLimits;
use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::task::JoinSet;

use super::driver::{Ear, finish_clean, settle, work};
use crate::support::{
    Options, World,
    http::{Answer, Caller, body},
    oracle::Asked,
};

const REPLICAS: usize = 2;
/// How much may be under way at each replica, and how much of it one merchant's.
const PLACES: usize = 8;
const PER_MERCHANT: usize = 6;
/// How much of the loud merchant's Alipay keeps back: as much as may be under way.
const HELD: u32 = 12;
/// How many payments the loud merchant wants to make at once.
const LOUD: usize = 10 * REPLICAS * PLACES;
/// What becomes of them: paid, waiting for the buyer, declined, and with answers that are lost or say
/// nothing, paid or not.
const CODES: [&str; 8] = [
    "0001", "0101", "1001", "2001", "2002", "2003", "2004", "0104",
];
/// Callers of the other merchant are numbered from here on.
const QUIET: usize = 10_000;

/// A payment that the loud merchant wants to make.
#[derive(Clone)]
struct Wish {
    number: usize,
    key: String,
    request: Value,
}

impl Wish {
    fn new(number: usize) -> Self {
        let mut request = body(CODES[number % CODES.len()]);
        request["terminal_id"] = Value::Null;
        request["cancel_after_seconds"] = json!(15);
        Self {
            number,
            key: format!("loud-{number}"),
            request,
        }
    }
}

/// All of them at once, spread over the replicas.
async fn flood(world: &World, wishes: Vec<Wish>) -> Vec<(Wish, Answer)> {
    let mut flood = JoinSet::new();
    for wish in wishes {
        let till = world.till_at(wish.number % REPLICAS);
        flood.spawn(async move {
            let answer = till.create(&wish.key, &wish.request, 0).await;
            (wish, answer)
        });
    }
    flood.join_all().await
}

/// Notes the answers, and says which were begun and which were refused before that.
fn sorted(ear: &mut Ear, answers: Vec<(Wish, Answer)>) -> (Vec<(Wish, Answer)>, Vec<Wish>) {
    let (mut begun, mut refused) = (vec![], vec![]);
    for (wish, answer) in answers {
        ear.create(wish.number, &wish.key, true, &answer);
        if answer.status < 300 {
            begun.push((wish, answer));
        } else {
            assert_not_begun(&answer);
            refused.push(wish);
        }
    }
    (begun, refused)
}

fn assert_not_begun(answer: &Answer) {
    let known = [
        (429, "merchant_busy"),
        (503, "overloaded"),
        // So many at once may find every connection to the database taken.
        (503, "service_unavailable"),
    ];
    assert!(known.contains(&answer.summary("code")), "{answer:?}");
    assert_eq!(answer.body["attempted"], "false", "{answer:?}");
    assert_eq!(answer.body["retryable"], "same_key", "{answer:?}");
    let seconds: u32 = answer.header("retry-after").parse().expect("seconds");
    assert!(seconds >= 1, "{answer:?}");
}

/// The other merchant takes payments one after the other; none of them is refused for the load.
async fn serve_quietly(
    world: &World,
    ear: &mut Ear,
    quiet: &Caller,
    numbers: std::ops::Range<usize>,
) {
    for number in numbers {
        let caller = quiet.at(&world.replicas[number % REPLICAS].url);
        let (key, request) = (format!("quiet-{number}"), body("0001"));
        let mut answer = caller.create(&key, &request, 10).await;
        for _ in 0..20 {
            if answer.summary("code") != (503, "service_unavailable") {
                break;
            }
            answer = caller.create(&key, &request, 10).await;
        }
        ear.create(QUIET + number, &key, true, &answer);
        assert_eq!(answer.summary("status"), (201, "succeeded"), "{answer:?}");
    }
}

/// `POST /v1/payments/{id}/cancel`, without waiting for its end.
async fn cancel(world: &World, replica: usize, id: &str) -> Answer {
    let till = world.till_at(replica);
    let request = till.request(Method::POST, &format!("/v1/payments/{id}/cancel"));
    Caller::send(request.header("prefer", "wait=0")).await
}

#[sqlx::test]
async fn q8_m6_m7_an_overload_begins_nothing_halfway_and_ends_in_the_truth(pool: PgPool) {
    let options = Options {
        replicas: REPLICAS,
        connections: 6,
        bounds: LoadLimits {
            work: PLACES,
            work_per_merchant: PER_MERCHANT,
            waiting: PLACES,
            ..Options::default().bounds
        },
        ..Options::default()
    };
    let mut world = World::start_with(pool, options).await;
    let quiet = world.stranger().await;
    world.readers.push(quiet.clone());
    let mut ear = Ear::default();
    // Who asks, and for which store, is known at both replicas from then on.
    for replica in 0..REPLICAS {
        let till = world.till_at(replica);
        let (key, request) = (format!("first-{replica}"), body("0001"));
        let answer = till.create(&key, &request, 10).await;
        ear.create(LOUD + replica, &key, true, &answer);
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    serve_quietly(&world, &mut ear, &quiet, 0..REPLICAS).await;

    // Alipay keeps every answer back: the loud merchant's places are taken, and stay so.
    let places = REPLICAS * PER_MERCHANT;
    let hold = json!({"type": "hold"});
    world.simulator.script("pay", HELD, hold.clone()).await;
    let wishes = (0..LOUD).map(Wish::new).collect();
    let (begun, mut refused) = sorted(&mut ear, flood(&world, wishes).await);
    assert_eq!(begun.len(), places, "what began took every place");
    world.until_received("pay", places + 2 * REPLICAS).await;
    let kept = world.rows().await;
    let (again, still) = sorted(&mut ear, flood(&world, refused).await);
    assert!(again.is_empty(), "no place was free");
    refused = still;
    for (wish, answer) in &begun {
        let denied = cancel(&world, wish.number % REPLICAS, answer.id()).await;
        ear.note(wish.number, &Asked::Cancel(answer.id().to_owned()), &denied);
        assert_not_begun(&denied);
    }
    assert_eq!(world.rows().await, kept, "nothing of it was stored");
    serve_quietly(&world, &mut ear, &quiet, 2..12).await;
    // The schedule is no part of the load: it finds out what the callers still wait for.
    world.advance(TimeDelta::seconds(6)).await;
    for replica in 0..REPLICAS {
        while world.replicas[replica].worker.run_once().await > 0 {}
    }
    let asked = world.simulator.count("query").await;
    assert!(asked >= places, "the schedule went on: {asked}");
    for (wish, answer) in &begun {
        let shown = world.till.get_payment(answer.id()).await;
        ear.read(wish.number, &shown);
    }
    world.simulator.release().await;
    world.simulator.clear_faults().await;
    world.settle_calls().await;

    // Who was refused comes again with the same keys, all at once, until nobody is left.
    let mut number = 12;
    while !refused.is_empty() {
        let before = refused.len();
        let (begun, still) = sorted(&mut ear, flood(&world, refused).await);
        refused = still;
        for (wish, answer) in begun.iter().filter(|(wish, _)| wish.number % 3 == 0) {
            // Taken or refused, whatever the load allows at this moment.
            let canceled = cancel(&world, wish.number % REPLICAS, answer.id()).await;
            let asked = Asked::Cancel(answer.id().to_owned());
            ear.note(wish.number, &asked, &canceled);
        }
        serve_quietly(&world, &mut ear, &quiet, number..number + 2).await;
        number += 2;
        world.settle_calls().await;
        assert!(refused.len() < before, "nobody was served");
        work(&world, number % REPLICAS).await;
    }

    // Every place is free again: as many begin as at first, and no more.
    world.simulator.script("pay", HELD, hold).await;
    let wishes: Vec<Wish> = (2 * LOUD..2 * LOUD + places).map(Wish::new).collect();
    let (begun, refused) = sorted(&mut ear, flood(&world, wishes).await);
    assert_eq!(
        (begun.len(), refused.len()),
        (places, 0),
        "no place was lost"
    );
    let wishes: Vec<Wish> = (3 * LOUD..3 * LOUD + REPLICAS).map(Wish::new).collect();
    let (begun, refused) = sorted(&mut ear, flood(&world, wishes).await);
    assert_eq!(
        (begun.len(), refused.len()),
        (0, REPLICAS),
        "none was added"
    );

    settle(&mut world).await;
    let payments = i64::try_from(LOUD + REPLICAS + number + places).expect("a few");
    assert_eq!(
        world.count_rows("select count(*) from payment").await,
        payments,
        "each wish once, and nothing of what was refused for good"
    );
    finish_clean(world, &ear).await;
}
