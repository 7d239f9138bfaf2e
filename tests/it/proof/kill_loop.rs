//! kill -9 of real programs (`docs/invariants.md` L6, C1): three gateways over one Postgres,
//! in front of the real simulator, take a stream of requests while Alipay misbehaves. Again and again
//! some are killed and started anew; then everything may settle, and the oracle judges.
//!
//! `KILL_LOOP_KILLS` and `KILL_LOOP_SEED` run longer ones: `./dev kill-loop --kills N --seed S`. A seed
//! gives the same victims and the same requests; what they meet is up to the machine.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use chrono::TimeDelta;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::time::{Instant, sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    driver::{Ear, publish},
    histories::number,
};
use crate::support::{
    alipay::JsonBody as _,
    http::{Answer, Caller, Given, body},
    oracle::{Evidence, judge},
    program::{Program, Stage},
    violation::Violation,
};

const REPLICAS: usize = 3;
/// How many callers ask at once.
const CALLERS: usize = 12;
/// How many kills the test run has.
const IN_THE_TEST_RUN: u64 = 6;
/// How many a run by hand has where nothing else is said.
const BY_HAND: u64 = 50;
const FIRST_SEED: u64 = 20_260_101;
/// How long nothing may end, once nothing goes wrong any more, before what is open counts as stuck.
const PATIENCE: Duration = Duration::from_mins(1);

/// Calls shorter than usual, so that late answers meet the follow-ups; everything else is as quick as
/// [`Stage`] has it.
const SETTINGS: &[(&str, &str)] = &[("ALIPAY_PAY_TIMEOUT_MS", "1500")];
const PAY_TIMEOUT: TimeDelta = TimeDelta::milliseconds(1_500);

/// Codes to scan. Each ends within seconds, or, where nothing was created or nobody confirms, once
/// the minutes for that have passed.
const CODES: &[&str] = &[
    "0001", "0001", "0001", "0001", "0002", "0101", "0101", "0102", "0104", "1001", "1016", "2001",
    "2002", "2003", "2003", "2004", "2006", "2009", "3001", "3003", "3010",
];

/// What Alipay does wrong besides; some of it takes longer than we wait.
fn fault(rng: &mut StdRng) -> Value {
    match rng.gen_range(0..10) {
        0..=4 => json!({"type": "delay", "ms": rng.gen_range(50..2_500)}),
        5 => json!({"type": "drop_before_effect"}),
        6 => json!({"type": "drop_after_effect"}),
        7 => json!({"type": "system_error_after_effect"}),
        8 => json!({"type": "http_status", "status": 502}),
        _ => json!({"type": "truncate", "bytes": rng.gen_range(0..1_500)}),
    }
}

/// Where one gateway is reached, and what became of the requests it was sent.
#[derive(Default)]
struct Door {
    url: Mutex<String>,
    /// Which start of the program listens there.
    start: AtomicU64,
    /// Starts that ended with a request unanswered.
    cut: Mutex<BTreeSet<u64>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Door {
    fn open(&self, program: &Program) {
        locked(&self.url).clone_from(&program.url);
        self.start.fetch_add(1, Ordering::SeqCst);
    }
}

/// One order of a caller.
struct Order {
    key: String,
    request: Value,
    id: Option<String>,
    /// Whether its create was ever answered.
    answered: bool,
}

/// One caller: asks one thing after the other, at any gateway, until told to stop.
struct Person {
    number: usize,
    rng: StdRng,
    till: Caller,
    doors: Arc<Vec<Door>>,
    orders: Vec<Order>,
    ear: Ear,
    requests: u64,
    unanswered: u64,
}

impl Person {
    async fn live(mut self, stop: CancellationToken) -> Self {
        while !stop.is_cancelled() {
            match self.rng.gen_range(0..100) {
                0..=49 => self.begin().await,
                50..=64 => self.replay().await,
                65..=74 => self.cancel().await,
                75..=79 => self.mismatch().await,
                80..=94 => self.look().await,
                _ => self.list().await,
            }
            // The pace of a till.
            let pause = self.rng.gen_range(10..150);
            sleep(Duration::from_millis(pause)).await;
        }
        self
    }

    /// Sends a request to a gateway; `None` where no whole answer came.
    async fn send(&mut self, request: impl Fn(&Caller) -> RequestBuilder) -> Option<Answer> {
        let door = &self.doors[self.rng.gen_range(0..REPLICAS)];
        let (url, start) = (locked(&door.url).clone(), door.start.load(Ordering::SeqCst));
        self.requests += 1;
        let answer = request(&self.till.at(&url)).send().await;
        let answer = match answer {
            // Nothing listens there: nothing was cut.
            Err(error) if error.is_connect() => {
                self.unanswered += 1;
                return None;
            }
            Err(_) => None,
            Ok(answer) => {
                let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
                answer.text().await.ok().map(|text| Answer {
                    status,
                    headers,
                    body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
                    given: Given::unordered(),
                })
            }
        };
        if answer.is_none() {
            self.unanswered += 1;
            locked(&door.cut).insert(start);
        }
        answer
    }

    async fn begin(&mut self) {
        let code = CODES.choose(&mut self.rng).expect("there are codes");
        let number = self.orders.len();
        let mut request = body(code);
        request["merchant_reference"] = json!(format!("K{}-{number}", self.number));
        request["amount"]["value"] = json!(self.rng.gen_range(1..=1_000_000));
        request["cancel_after_seconds"] = json!(15);
        self.orders.push(Order {
            key: format!("key-{}-{number}", self.number),
            request,
            id: None,
            answered: false,
        });
        self.create(number).await;
    }

    async fn create(&mut self, order: usize) {
        let wait = self.rng.gen_range(0..3);
        let (key, request) = (
            self.orders[order].key.clone(),
            self.orders[order].request.clone(),
        );
        let answer = self.send(|till| create(till, &key, &request, wait)).await;
        if let Some(answer) = answer {
            // A cancel that names the merchant's number may have come first.
            let reference = request["merchant_reference"].as_str().unwrap_or_default();
            self.ear.create_of(self.number, &key, reference, &answer);
            let order = &mut self.orders[order];
            order.answered = true;
            if (200..300).contains(&answer.status) {
                order.id = answer.body["id"].as_str().map(str::to_owned);
            }
        }
    }

    fn any(&mut self) -> Option<usize> {
        let orders = self.orders.len();
        (orders > 0).then(|| self.rng.gen_range(0..orders))
    }

    /// Asks again, first of all for what was not answered.
    async fn replay(&mut self) {
        let unheard = self.orders.iter().position(|order| !order.answered);
        if let Some(order) = unheard.or_else(|| self.any()) {
            self.create(order).await;
        }
    }

    async fn mismatch(&mut self) {
        let Some(order) = self.any() else { return };
        // Only a key that is known to have made a payment must refuse another body.
        if self.orders[order].id.is_none() {
            return;
        }
        let (key, mut request) = (
            self.orders[order].key.clone(),
            self.orders[order].request.clone(),
        );
        request["amount"]["value"] = json!(1_000_001);
        if let Some(answer) = self.send(|till| create(till, &key, &request, 0)).await {
            self.ear.create(self.number, &key, false, &answer);
        }
    }

    /// Cancels by id, or as a till that knows nothing but what it sent.
    async fn cancel(&mut self) {
        let Some(order) = self.any() else { return };
        let order = &self.orders[order];
        let reference = json!({"merchant_reference": order.request["merchant_reference"]});
        let key = json!({"idempotency_key": order.key});
        let id = order.id.clone();
        let known = if self.rng.gen_bool(0.5) {
            reference
        } else {
            key
        };
        let by_id = id.filter(|_| self.rng.gen_bool(0.5));
        let request = |till: &Caller| match &by_id {
            Some(id) => till.request(Method::POST, &format!("/v1/payments/{id}/cancel")),
            None => till
                .request(Method::POST, "/v1/payments/cancel")
                .json_body(&known),
        };
        let answer = self
            .send(|till| request(till).header("prefer", "wait=1"))
            .await;
        if let Some(answer) = answer {
            self.ear.read(self.number, &answer);
        }
    }

    async fn look(&mut self) {
        let Some(id) = self.any().and_then(|order| self.orders[order].id.clone()) else {
            return;
        };
        let path = format!("/v1/payments/{id}");
        if let Some(answer) = self.send(|till| till.request(Method::GET, &path)).await {
            self.ear.read(self.number, &answer);
        }
    }

    async fn list(&mut self) {
        let path = "/v1/payments?status=succeeded&limit=20";
        let answer = self.send(|till| till.request(Method::GET, path)).await;
        let listed = answer.is_none_or(|answer| matches!(answer.status, 200 | 503));
        assert!(listed, "a list is a read like any other");
    }
}

fn create(till: &Caller, key: &str, request: &Value, wait: u32) -> RequestBuilder {
    till.request(Method::POST, "/v1/payments")
        .header("idempotency-key", key)
        .header("prefer", format!("wait={wait}"))
        .json_body(request)
}

/// What the kills did, for the report.
#[derive(Default)]
struct Tally {
    kills: u64,
    /// Of these, kills of a gateway that had requests or visits under way.
    under_way: u64,
    /// Visits whose worker died.
    visits_cut: i64,
    /// Kills of all gateways at once.
    blackouts: u64,
    late_effects: u64,
    closed_doors: u64,
    faults: u64,
}

async fn count(pool: &PgPool, sql: &'static str) -> i64 {
    let count = sqlx::query_scalar(sql).fetch_one(pool).await;
    count.expect("the database answers")
}

/// The gateways that are killed and started again.
struct Row<'a> {
    stage: &'a Stage,
    doors: Arc<Vec<Door>>,
    programs: Vec<Program>,
    rng: StdRng,
    tally: Tally,
}

impl<'a> Row<'a> {
    async fn set(stage: &'a Stage, seed: u64) -> Self {
        let doors: Arc<Vec<Door>> = Arc::new((0..REPLICAS).map(|_| Door::default()).collect());
        let mut programs = vec![];
        for door in doors.iter() {
            let program = stage.gateway(SETTINGS).await;
            door.open(&program);
            programs.push(program);
        }
        Self {
            stage,
            doors,
            programs,
            rng: StdRng::seed_from_u64(seed),
            tally: Tally::default(),
        }
    }

    /// Kills one gateway, or now and then several, and starts them again after a while.
    async fn kill(&mut self) {
        let victims = match self.rng.gen_range(0..12) {
            0 => REPLICAS,
            1 | 2 => 2,
            _ => 1,
        };
        self.tally.blackouts += u64::from(victims == REPLICAS);
        let mut order: Vec<usize> = (0..REPLICAS).collect();
        order.shuffle(&mut self.rng);
        order.truncate(victims);
        let mut held = vec![];
        for victim in &order {
            held.push(self.kill_one(*victim).await);
        }
        // Their clients hear the end of their connections.
        let pause = self.rng.gen_range(50..600);
        sleep(Duration::from_millis(pause)).await;
        for (victim, held) in order.into_iter().zip(held) {
            let door = &self.doors[victim];
            let start = door.start.load(Ordering::SeqCst);
            let cut = locked(&door.cut).contains(&start);
            self.tally.under_way += u64::from(cut || held > 0);
            self.programs[victim] = self.stage.gateway(SETTINGS).await;
            door.open(&self.programs[victim]);
        }
    }

    /// Kills a gateway and returns how many visits its worker was on.
    async fn kill_one(&mut self, victim: usize) -> i64 {
        let pid = self.programs[victim].pid();
        self.programs[victim].kill_now().await;
        self.tally.kills += 1;
        // Nobody has taken over yet what its worker held: its name stays on the rows.
        let held = "select count(*) from follow_up where worker like $1 || '-%'";
        let held: i64 = sqlx::query_scalar(held)
            .bind(pid.to_string())
            .fetch_one(&self.stage.pool)
            .await
            .expect("the database answers");
        self.tally.visits_cut += held;
        held
    }

    async fn misbehave(&mut self) {
        for _ in 0..self.rng.gen_range(2..10) {
            let service = ["pay", "pay", "query", "query", "cancel"];
            let service = service.choose(&mut self.rng).expect("there are services");
            let fault = fault(&mut self.rng);
            self.stage.simulator.script(service, 1, fault).await;
            self.tally.faults += 1;
        }
        let answers = ["unknown", "system_error", "nothing", "retry_success"];
        let answer = *answers.choose(&mut self.rng).expect("there are answers");
        let after = self.rng.gen_bool(0.8).then(|| self.rng.gen_range(0..8));
        let simulator = &self.stage.simulator;
        simulator.script_late("cancel", 1, answer, after).await;
        self.tally.late_effects += 1;
        if self.rng.gen_bool(0.1) {
            // For the moment until the next kill, and the start after it.
            simulator.refuse_access(Some("HAS_NO_PRIVILEGE")).await;
            self.tally.closed_doors += 1;
        } else {
            simulator.refuse_access(None).await;
        }
    }
}

/// Runs the loop, leaves its figures, and returns what the oracle says.
async fn run(pool: PgPool, kills: u64, seed: u64, name: &str) -> Vec<Violation> {
    let begun = Instant::now();
    let stage = Stage::set(pool).await;
    let mut row = Row::set(&stage, seed).await;
    let (stop, people) = (CancellationToken::new(), TaskTracker::new());
    let lives: Vec<_> = (0..CALLERS)
        .map(|number| {
            let person = Person {
                number,
                rng: StdRng::seed_from_u64(seed + 1 + number as u64),
                till: stage.till(&row.programs[0]),
                doors: Arc::clone(&row.doors),
                orders: vec![],
                ear: Ear::default(),
                requests: 0,
                unanswered: 0,
            };
            people.spawn(person.live(stop.clone()))
        })
        .collect();
    while row.tally.kills < kills {
        row.misbehave().await;
        let pause = row.rng.gen_range(100..1_200);
        sleep(Duration::from_millis(pause)).await;
        row.kill().await;
    }
    stop.cancel();
    let mut people = vec![];
    for life in lives {
        people.push(life.await.expect("a caller lives to the end"));
    }
    let (in_doubt, durable) = in_doubt(&stage.pool, &people).await;
    settle(&stage).await;
    let heard = people.iter().flat_map(|person| person.ear.0.clone());
    let heard: Vec<_> = heard.collect();
    let till = stage.till(&row.programs[0]);
    let evidence = Evidence::gather(
        &stage.pool,
        &stage.simulator,
        std::slice::from_ref(&till),
        &heard,
        true,
    )
    .await
    .with_pay_timeout(PAY_TIMEOUT);
    let violations = judge(&evidence);
    let tally = &row.tally;
    let figures = json!({
        "seed": seed,
        "kills": tally.kills,
        "kills_with_work_under_way": tally.under_way,
        "kills_of_all_at_once": tally.blackouts,
        "visits_cut": tally.visits_cut,
        "calls_cut": count(&stage.pool, "select count(*) from attempt where answered_at is null").await,
        "faults": tally.faults,
        "late_effects": tally.late_effects,
        "closed_doors": tally.closed_doors,
        "orders": people.iter().map(|person| person.orders.len()).sum::<usize>(),
        "payments": count(&stage.pool, "select count(*) from payment").await,
        "requests": people.iter().map(|person| person.requests).sum::<u64>(),
        "unanswered": people.iter().map(|person| person.unanswered).sum::<u64>(),
        "creates_in_doubt": in_doubt,
        "creates_in_doubt_that_took_effect": durable,
        "events": events(&stage.pool).await,
        "charges": stage.simulator.trades().await.iter().filter(|trade| trade["charged"] == true).count(),
        "violations": by_invariant(&violations),
        "seconds": begun.elapsed().as_secs(),
    });
    publish(name, &figures);
    for program in row.programs {
        program.stop().await;
    }
    stage.close().await;
    violations
}

/// How often each event changed a payment.
async fn events(pool: &PgPool) -> BTreeMap<String, i64> {
    let events = "select event, count(*) from payment_transition group by event";
    let events: Vec<(String, i64)> = sqlx::query_as(events)
        .fetch_all(pool)
        .await
        .expect("the database answers");
    events.into_iter().collect()
}

/// How many violations there are of each invariant.
fn by_invariant(violations: &[Violation]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for violation in violations {
        *counts.entry(violation.invariant).or_default() += 1;
    }
    counts
}

/// How many creates were never answered, and how many of these have made a payment.
async fn in_doubt(pool: &PgPool, people: &[Person]) -> (usize, i64) {
    let keys: Vec<String> = people
        .iter()
        .flat_map(|person| &person.orders)
        .filter(|order| !order.answered)
        .map(|order| order.key.clone())
        .collect();
    let made = "select count(*) from idempotency_key
        where idempotency_key = any($1) and payment_id is not null";
    let made = sqlx::query_scalar(made).bind(&keys).fetch_one(pool).await;
    (keys.len(), made.expect("the database answers"))
}

/// Stops every fault, lets the minutes pass in which a trade may still be on its way, and waits until
/// nothing is open.
async fn settle(stage: &Stage) {
    stage.simulator.clear_faults().await;
    stage.simulator.refuse_access(None).await;
    stage.simulator.release().await;
    // No pay call lives longer, so that none is sent after the minutes that pass at once.
    let on_its_way = "select count(*) from attempt
        where kind = 'pay' and answered_at is null and sent_at > db_now() - interval '4 seconds'";
    while count(&stage.pool, on_its_way).await > 0 {
        sleep(Duration::from_millis(100)).await;
    }
    stage.skip_minutes(4).await;
    let open = "select count(*) from payment
        where status in ('processing', 'unresolved') or cancel_reason is not null";
    let mut left = i64::MAX;
    let mut stuck_at = Instant::now() + PATIENCE;
    // What stays open is for the oracle to name.
    while left > 0 && Instant::now() < stuck_at {
        let now = count(&stage.pool, open).await;
        if now < left {
            (left, stuck_at) = (now, Instant::now() + PATIENCE);
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// C1: some kills, in the test run.
#[sqlx::test]
async fn c1_gateways_killed_under_load_lose_and_double_nothing(pool: PgPool) {
    let seed = FIRST_SEED;
    let violations = run(pool, IN_THE_TEST_RUN, seed, "kill-loop-short").await;
    assert!(violations.is_empty(), "{violations:#?}");
}

/// Not part of a run: `./dev kill-loop --kills N --seed S`.
#[sqlx::test]
#[ignore = "run by `./dev kill-loop`"]
async fn more_kills(pool: PgPool) {
    let kills = number("KILL_LOOP_KILLS", BY_HAND);
    let seed = number("KILL_LOOP_SEED", FIRST_SEED);
    let violations = run(pool, kills, seed, "kill-loop").await;
    assert!(violations.is_empty(), "seed {seed}: {violations:#?}");
}
