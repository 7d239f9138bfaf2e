//! Seeded histories: random operations by several callers over three replicas, while Alipay
//! misbehaves, replicas die and return, leases expire under their holders and the clock moves; the
//! oracle looks at the end (`design/correctness.md` 3.3, L4).
//!
//! `HISTORIES_SEED` and `HISTORIES_COUNT` run others: `./dev histories --count N --seed S`. A seed
//! gives the same operations again; what runs at once may still interleave in another way.

use std::time::Duration;

use alipayhk_gateway::failpoint::Action;
use chrono::{DateTime, TimeDelta, Utc};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::driver::{
    Ear, PAST_THE_LEASE, create, points, publish, settle, unless_stopped, verdict, work,
};
use crate::support::{Options, World, http::body, oracle::Violation, start_of_test};

/// How many histories share a world.
const PER_WORLD: u64 = 25;
/// How many the test run has, over all tests of this module.
const IN_THE_TEST_RUN: u64 = 500;
/// Where the seeds of the test run begin.
const FIRST_SEED: u64 = 20_260_101;

/// Codes to scan: paid, waiting, declined, and every way for the first answer to lie.
const CODES: &[&str] = &[
    "0001", "0001", "0002", "0101", "0101", "0102", "0103", "0104", "1001", "1002", "1003", "1101",
    "2001", "2002", "2003", "2004", "2006", "2007", "2008", "2009", "3001", "3002", "3003", "3004",
    "3007", "3008", "3009", "3010", "3011", "3012", "3013", "3015",
];

/// Faults for any service; some are answered too late for our deadline.
const FAULTS: &[&str] = &[
    "drop_before_effect",
    "drop_after_effect",
    "hold",
    "html",
    "system_error_before_effect",
    "system_error_after_effect",
    "wrong_signature_key",
    "missing_signature",
    "downgrade_sign_type",
    "wrong_id",
    "wrong_amount",
    "wrong_currency",
    "wrong_partner",
    "duplicate_element",
    "doctype",
    "comment_success",
    "cdata_success",
    "forged_success",
    "second_response",
    "oversized",
    "gbk",
    "wrong_charset",
    "unknown_fields",
];

/// Points at which a replica may die or be held.
const POINTS: &[&str] = &[
    "pay.accepted",
    "db.intent.before",
    "db.intent.after",
    "pay.intent_known",
    "pay.replied",
    "pay.before_call",
    "pay.after_call",
    "db.record.before",
    "db.record.after",
    "record.written",
    "db.claim.after",
    "visit.claimed",
    "db.question.before",
    "db.question.after",
    "query.before_call",
    "query.after_call",
    "cancel.before_call",
    "cancel.after_call",
    "worker.visited",
];

/// One order of a history.
struct Order {
    key: String,
    request: Value,
    id: Option<String>,
    partner_trans_id: Option<String>,
}

impl Order {
    fn ask(&self) -> (String, Value) {
        (self.key.clone(), self.request.clone())
    }
}

/// What happened, for the report.
#[derive(Default)]
pub(super) struct Tally {
    histories: u64,
    operations: u64,
    restarts: u64,
    expired_leases: u64,
}

struct History<'a> {
    seed: u64,
    rng: StdRng,
    world: &'a mut World,
    ear: &'a mut Ear,
    tally: &'a mut Tally,
    orders: Vec<Order>,
}

impl History<'_> {
    async fn run(mut self) {
        let operations = self.rng.gen_range(6..=24);
        self.begin_order().await;
        for _ in 0..operations {
            self.tally.operations += 1;
            match self.rng.gen_range(0..100) {
                0..=19 => self.begin_order().await,
                20..=29 => self.replay().await,
                30..=34 => self.twins().await,
                35..=38 => self.mismatch().await,
                39..=46 => self.look().await,
                47..=56 => self.misbehave().await,
                57..=62 => self.buyer_acts().await,
                63..=77 => self.pass_time().await,
                78..=87 => self.work().await,
                88..=91 => self.hang_up().await,
                92..=95 => self.restart().await,
                _ => self.expire_a_lease().await,
            }
            self.revive().await;
        }
        self.tally.histories += 1;
    }

    fn replica(&mut self) -> usize {
        self.rng.gen_range(0..self.world.replicas.len())
    }

    fn order(&mut self) -> usize {
        self.rng.gen_range(0..self.orders.len())
    }

    fn new_order(&mut self) -> usize {
        let code = CODES.choose(&mut self.rng).expect("there are codes");
        let mut request = body(code);
        let number = self.orders.len();
        request["merchant_reference"] = json!(format!("H{}-{number}", self.seed));
        request["amount"]["value"] = json!(self.rng.gen_range(1..=1_000_000));
        request["cancel_after_seconds"] = json!(self.rng.gen_range(15..=120));
        self.orders.push(Order {
            key: format!("key-{}-{number}", self.seed),
            request,
            id: None,
            partner_trans_id: None,
        });
        number
    }

    /// Sends an order's request to a replica and notes what was heard.
    async fn send(&mut self, order: usize, replica: usize) {
        let (key, request) = (&self.orders[order].key, &self.orders[order].request);
        if let Some(answer) = create(self.world, replica, key, request, 0).await {
            self.ear.create(0, key, true, &answer);
            let text = |name: &str| answer.body[name].as_str().map(str::to_owned);
            if (200..300).contains(&answer.status) {
                self.orders[order].id = text("id");
                self.orders[order].partner_trans_id = text("partner_trans_id");
            }
        }
    }

    async fn begin_order(&mut self) {
        let (order, replica) = (self.new_order(), self.replica());
        self.send(order, replica).await;
    }

    async fn replay(&mut self) {
        let (order, replica) = (self.order(), self.replica());
        self.send(order, replica).await;
    }

    /// Two callers with one request at two replicas at once.
    async fn twins(&mut self) {
        let order = self.new_order();
        let (key, request) = self.orders[order].ask();
        let first = self.rng.gen_range(0..self.world.replicas.len());
        let second = (first + 1) % self.world.replicas.len();
        let (one, other) = tokio::join!(
            create(self.world, first, &key, &request, 0),
            create(self.world, second, &key, &request, 0)
        );
        for (caller, answer) in [(1, one), (2, other)] {
            if let Some(answer) = answer {
                self.ear.create(caller, &key, true, &answer);
                self.orders[order].id = answer.body["id"].as_str().map(str::to_owned);
            }
        }
    }

    async fn mismatch(&mut self) {
        let (order, replica) = (self.order(), self.replica());
        // Only a key that is known to have made a payment must refuse another body.
        if self.orders[order].id.is_none() {
            return;
        }
        let key = self.orders[order].key.clone();
        let mut other = self.orders[order].request.clone();
        other["amount"]["value"] = json!(1_000_001);
        if let Some(answer) = create(self.world, replica, &key, &other, 0).await {
            self.ear.create(0, &key, false, &answer);
        }
    }

    async fn look(&mut self) {
        let (order, replica) = (self.order(), self.replica());
        let Some(id) = self.orders[order].id.clone() else {
            return;
        };
        let till = self.world.till_at(replica);
        let path = if self.rng.gen_bool(0.2) {
            "/v1/payments?limit=3".to_owned()
        } else {
            format!("/v1/payments/{id}")
        };
        if let Some(answer) = unless_stopped(self.world, replica, till.get(&path)).await {
            self.ear.read(0, &answer);
        }
    }

    async fn misbehave(&mut self) {
        let service = ["pay", "query", "cancel", "any"]
            .choose(&mut self.rng)
            .expect("there are services");
        let times = self.rng.gen_range(1..=3);
        let fault = match self.rng.gen_range(0..12) {
            0 => json!({"type": "truncate", "bytes": self.rng.gen_range(0..1_500)}),
            1 => json!({"type": "http_status", "status": 502}),
            2 => json!({"type": "redirect", "location": "http://127.0.0.1:9/"}),
            3 => json!({"type": "delay", "ms": self.rng.gen_range(1..600)}),
            4 if *service == "query" => json!({"type": "not_exist"}),
            5 if *service == "cancel" => {
                let retry = ["Y", "N"].choose(&mut self.rng).expect("there are flags");
                json!({"type": "cancel_fail", "code": "SYSTEM_ERROR", "retry_flag": retry})
            }
            _ => json!({"type": FAULTS.choose(&mut self.rng).expect("there are faults")}),
        };
        self.world.simulator.script(service, times, fault).await;
    }

    async fn buyer_acts(&mut self) {
        let order = self.order();
        let Some(id) = self.orders[order].partner_trans_id.clone() else {
            return;
        };
        let what = if self.rng.gen_bool(0.7) {
            "confirm"
        } else {
            "dismiss"
        };
        self.world.simulator.act(&id, what).await;
    }

    async fn pass_time(&mut self) {
        let by = match self.rng.gen_range(0..20) {
            0..=13 => self.rng.gen_range(500..8_000),
            14..=17 => self.rng.gen_range(8_000..60_000),
            18 => self.rng.gen_range(60_000..300_000),
            _ => self.rng.gen_range(300_000..3_600_000),
        };
        self.world.advance(TimeDelta::milliseconds(by)).await;
    }

    async fn work(&mut self) {
        let replica = self.replica();
        work(self.world, replica).await;
    }

    /// A caller who hangs up after a moment, and asks again.
    async fn hang_up(&mut self) {
        let (order, replica) = (self.new_order(), self.replica());
        let patience = Duration::from_micros(self.rng.gen_range(0..30_000));
        let Order { key, request, .. } = &self.orders[order];
        let call = create(self.world, replica, key, request, 5);
        if let Ok(Some(answer)) = tokio::time::timeout(patience, call).await {
            self.ear.create(0, key, true, &answer);
        }
        let replica = self.replica();
        self.send(order, replica).await;
    }

    /// A replica dies at one of its next steps, or at once.
    async fn restart(&mut self) {
        let replica = self.replica();
        if self.rng.gen_bool(0.3) {
            self.world.replace(replica).await;
            self.tally.restarts += 1;
            return;
        }
        let point = POINTS.choose(&mut self.rng).expect("there are points");
        let passes = self.rng.gen_range(0..2);
        points(self.world, replica).arm(point, passes, Action::Crash);
        let order = self.new_order();
        self.send(order, replica).await;
        work(self.world, replica).await;
    }

    /// A worker, or the caller's own request, is held until its lease has long passed to another.
    async fn expire_a_lease(&mut self) {
        let holder = self.replica();
        let other = (holder + 1) % self.world.replicas.len();
        let point = POINTS.choose(&mut self.rng).expect("there are points");
        // A code is dead at Alipay long before anybody gives up its payment: what is already on its
        // way is never held past the grace period.
        points(self.world, holder).arm(point, 0, Action::Pause);
        work(self.world, holder).await;
        if !points(self.world, holder).is_stopped() {
            let order = self.new_order();
            self.send(order, holder).await;
            self.world.quiet_down().await;
        }
        if points(self.world, holder).is_stopped() && *point != "pay.before_call" {
            self.world.advance(PAST_THE_LEASE).await;
            work(self.world, other).await;
            self.tally.expired_leases += 1;
        }
        points(self.world, holder).disarm();
        points(self.world, holder).resume();
        self.world.quiet_down().await;
    }

    /// A fresh replica for one that has died meanwhile.
    async fn revive(&mut self) {
        for replica in 0..self.world.replicas.len() {
            if points(self.world, replica).is_stopped() {
                self.world.replace(replica).await;
                self.tally.restarts += 1;
            }
        }
    }
}

/// Where the clock of a world begins: by day, or just before midnight in Hong Kong.
fn beginning(seed: u64) -> DateTime<Utc> {
    if seed % 2 == 0 {
        start_of_test()
    } else {
        "2026-02-28T15:57:00Z".parse().expect("an instant")
    }
}

/// Runs histories in one world, settles each, and returns what the oracle says of all.
pub(super) async fn run_world(
    pool: PgPool,
    seeds: impl IntoIterator<Item = u64>,
    tally: &mut Tally,
) -> Vec<Violation> {
    let mut seeds = seeds.into_iter().peekable();
    let options = Options {
        replicas: 3,
        now: beginning(seeds.peek().copied().unwrap_or(0) / PER_WORLD),
        pay_timeout: Duration::from_millis(250),
        ask_timeout: Duration::from_millis(250),
        ..Options::default()
    };
    let mut world = World::start_with(pool, options).await;
    let mut ear = Ear::default();
    for seed in seeds {
        let history = History {
            seed,
            rng: StdRng::seed_from_u64(seed),
            world: &mut world,
            ear: &mut ear,
            tally,
            orders: vec![],
        };
        history.run().await;
        settle(&mut world).await;
        let at = world.now();
        // The next history is not far from the hour of the first.
        world.set_clock(at + TimeDelta::days(1)).await;
    }
    let violations = verdict(&world, &ear).await;
    world.end_without_checks().await;
    violations
}

/// Runs one share of the histories and demands that nothing was violated.
async fn share(pool: PgPool, index: u64) {
    let mut tally = Tally::default();
    let first = FIRST_SEED + index * PER_WORLD;
    let violations = run_world(pool, first..first + PER_WORLD, &mut tally).await;
    let figures = json!({
        "histories": tally.histories,
        "operations": tally.operations,
        "restarts": tally.restarts,
        "expired_leases": tally.expired_leases,
    });
    publish(&format!("histories-{index}"), &figures);
    assert!(
        violations.is_empty(),
        "in seeds {first}..{}; a reference H<seed>-<n> names the history: {violations:#?}",
        first + PER_WORLD
    );
}

macro_rules! shares {
    ($($test:ident = $index:literal),+ $(,)?) => {
        $(
            #[sqlx::test]
            async fn $test(pool: PgPool) {
                share(pool, $index).await;
            }
        )+

        #[test]
        fn the_shares_are_the_whole_test_run() {
            let shares: &[u64] = &[$($index),+];
            assert_eq!(shares.len() as u64 * PER_WORLD, IN_THE_TEST_RUN);
        }
    };
}

shares! {
    histories_00_keep_every_invariant = 0,
    histories_01_keep_every_invariant = 1,
    histories_02_keep_every_invariant = 2,
    histories_03_keep_every_invariant = 3,
    histories_04_keep_every_invariant = 4,
    histories_05_keep_every_invariant = 5,
    histories_06_keep_every_invariant = 6,
    histories_07_keep_every_invariant = 7,
    histories_08_keep_every_invariant = 8,
    histories_09_keep_every_invariant = 9,
    histories_10_keep_every_invariant = 10,
    histories_11_keep_every_invariant = 11,
    histories_12_keep_every_invariant = 12,
    histories_13_keep_every_invariant = 13,
    histories_14_keep_every_invariant = 14,
    histories_15_keep_every_invariant = 15,
    histories_16_keep_every_invariant = 16,
    histories_17_keep_every_invariant = 17,
    histories_18_keep_every_invariant = 18,
    histories_19_keep_every_invariant = 19,
}

/// Not part of a run: `./dev histories --count N --seed S`.
#[sqlx::test]
#[ignore = "run by `./dev histories`"]
async fn more_histories(pool: PgPool) {
    let count = number("HISTORIES_COUNT", PER_WORLD);
    let seed = number("HISTORIES_SEED", FIRST_SEED);
    let mut tally = Tally::default();
    let violations = run_world(pool, seed..seed + count, &mut tally).await;
    assert!(violations.is_empty(), "{violations:#?}");
}

#[expect(
    clippy::disallowed_methods,
    reason = "what to run, from `./dev`; not the program's configuration"
)]
pub(super) fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(default, |text| text.parse().expect("a number"))
}
