//! Seeded histories: random operations by several callers and an operator over three replicas, while
//! Alipay misbehaves, replicas die, stop and return, leases expire under their holders and clocks move
//! or are wrong; the oracle looks at the end (`docs/invariants.md` L4).
//!
//! `./dev histories --count N --seed S` runs others. A seed gives the same operations again, in a
//! world of its own or in one that other histories went before; what runs at once may still interleave
//! in another way.

use std::{collections::BTreeSet, io::Write as _, time::Duration};

use alipayhk_gateway::{domain::access::principal::Scope, failpoint::Action};
use chrono::{DateTime, Days, FixedOffset, NaiveTime, TimeDelta, Utc};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::driver::{
    Act, Ear, Order, PAST_THE_LEASE, act, create, find, points, publish, settle, unless_stopped,
    work, work_and_be_cut,
};
use crate::reconciliation::upload;
use crate::support::{
    Options, PARTNER, World,
    http::body,
    oracle::{Evidence, judge},
    refund_oracle::{RefundEvidence, judge_refunds},
    violation::Violation,
};

/// How many histories share a world.
const PER_WORLD: u64 = 25;
/// How many the test run has, over all tests of this module.
const IN_THE_TEST_RUN: u64 = 150;
/// Where the seeds of the test run begin.
const FIRST_SEED: u64 = 20_260_101;

/// Codes to scan: paid, waiting, declined, and every way for the first answer to lie.
const CODES: &[&str] = &[
    "0001", "0001", "0002", "0101", "0101", "0102", "0103", "0104", "1001", "1002", "1003", "1119",
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
    "create.received",
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
    "db.claim_confirming.after",
    "db.claim.after",
    "worker.visiting",
    "visit.claimed",
    "db.question.before",
    "db.question.after",
    "ask.begun",
    "query.before_call",
    "query.after_call",
    "cancel.before_call",
    "cancel.after_call",
    "ask.answered",
    "worker.visited",
    "db.payment.after",
    "cancel.accepted",
    "refresh.accepted",
    "db.entomb_reference.done",
    "db.entomb_key.before",
    "refund.accepted",
    "db.refund_intent.before",
    "db.refund_intent.after",
    "refund.replied",
    "refund.before_call",
    "refund.after_call",
    "refund.answered",
    "db.record_refund.before",
    "db.record_refund.after",
    "db.claim_refunds.after",
    "refund_visit.claimed",
    "db.refund_question.before",
    "db.refund_question.after",
    "refund_ask.begun",
    "refund_query.before_call",
    "refund_query.after_call",
    "refund_ask.answered",
    "notify.verified",
    "notify.recorded",
    "db.turn_cancel.before",
    "db.turn_cancel.after",
];

/// One step of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    /// A new order.
    Begin,
    /// The same request again.
    Replay,
    /// Two callers with one request at two replicas at once.
    Twins,
    /// A key with another body, or a number with another key.
    Mismatch,
    /// A caller reads.
    Look,
    /// Alipay is about to go wrong.
    Misbehave,
    /// The buyer confirms or dismisses.
    BuyerActs,
    /// The clock moves.
    PassTime,
    /// A worker visits what is due.
    Work,
    /// A caller hangs up, and asks again.
    HangUp,
    /// A replica dies at one of its next steps, or at once.
    Restart,
    /// A lease runs out under its holder.
    ExpireALease,
    /// A caller cancels: by id, by number or by key.
    Cancel,
    /// A caller cancels what does not exist; the create comes later, or never.
    CancelFirst,
    /// A caller wants to know now.
    Refresh,
    /// Two things about one order at two replicas at once.
    Race,
    /// An operator runs, snoozes or abandons a follow-up.
    Steer,
    /// A week without an answer; an operator decides some of what is unresolved then.
    AWeek,
    /// A replica's clock goes wrong, or right again (C12).
    WrongClock,
    /// A hard stop cuts a worker's visits (C11).
    Cut,
    /// A worker keeps house.
    KeepHouse,
    /// A caller returns money, or undoes a payment.
    GiveBack,
    /// A caller wants to know now what became of a refund.
    RefreshRefund,
    /// How Alipay treats refunds changes.
    Treasury,
    /// Half a day passes, and with it perhaps a batch and its notifications.
    HalfADay,
    /// Postgres is away from every replica for 5 to 120 s, perhaps with an answer in hand.
    Outage,
    /// Every replica ends without a word, and none returns for up to a day.
    AllStop,
    /// Cancels hang and take every place, while buyers confirm.
    StarvedLane,
    /// A cancel or a refund takes effect later than its answer, which says nothing of it, or never does.
    LateEffect,
    /// Alipay refuses the account at the door for a while.
    ClosedDoor,
    /// Alipay does by itself what contradicts our books, and we hear of it.
    Contradiction,
    /// A person returns money again under another key.
    RefundAgain,
}

/// How likely each is, of all together.
const OPERATIONS: &[(Operation, u32)] = &[
    (Operation::Begin, 16),
    (Operation::Replay, 6),
    (Operation::Twins, 3),
    (Operation::Mismatch, 3),
    (Operation::Look, 6),
    (Operation::Misbehave, 10),
    (Operation::BuyerActs, 6),
    (Operation::PassTime, 14),
    (Operation::Work, 10),
    (Operation::HangUp, 3),
    (Operation::Restart, 4),
    (Operation::ExpireALease, 5),
    (Operation::Cancel, 7),
    (Operation::CancelFirst, 3),
    (Operation::Refresh, 4),
    (Operation::Race, 5),
    (Operation::Steer, 4),
    (Operation::AWeek, 1),
    (Operation::WrongClock, 2),
    (Operation::Cut, 2),
    (Operation::KeepHouse, 1),
    (Operation::GiveBack, 10),
    (Operation::RefreshRefund, 3),
    (Operation::Treasury, 2),
    (Operation::HalfADay, 2),
    (Operation::Outage, 4),
    (Operation::AllStop, 2),
    (Operation::StarvedLane, 2),
    (Operation::LateEffect, 6),
    (Operation::ClosedDoor, 2),
    (Operation::Contradiction, 3),
    (Operation::RefundAgain, 4),
];

/// Points at which a replica may hold an answer when Postgres goes away.
const WITH_AN_ANSWER: &[&str] = &[
    "pay.after_call",
    "query.after_call",
    "cancel.after_call",
    "refund.after_call",
    "refund_query.after_call",
    "notify.verified",
];

/// Codes with which Alipay refuses an account.
const REFUSALS: &[&str] = &[
    "ILLEGAL_SIGN",
    "ILLEGAL_PARTNER",
    "HAS_NO_PRIVILEGE",
    "ILLEGAL_CLIENT_IP",
    "SYSTEM_ERROR",
];

/// What happened, for the report.
#[derive(Default)]
pub(super) struct Tally {
    histories: u64,
    operations: u64,
    restarts: u64,
    expired_leases: u64,
    outages: u64,
    answers_held_in_outages: u64,
    stops_of_all: u64,
    starved_lanes: u64,
    late_effects: u64,
    closed_doors: u64,
    contradictions: u64,
    refunds_again: u64,
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
        self.perform(Operation::Begin).await;
        for _ in 0..operations {
            let chosen = OPERATIONS.choose_weighted(&mut self.rng, |(_, weight)| *weight);
            let (operation, _) = *chosen.expect("the weights are sound");
            self.perform(operation).await;
        }
        self.tally.histories += 1;
    }

    /// One operation, and what follows from it at once.
    async fn perform(&mut self, operation: Operation) {
        self.say(&format!("{} {operation:?}", self.world.now()));
        self.tally.operations += 1;
        match operation {
            Operation::Begin => self.begin().await,
            Operation::Replay => self.of_an_order(Act::Create(0)).await,
            Operation::Twins => self.twins().await,
            Operation::Mismatch => self.mismatch().await,
            Operation::Look => self.look().await,
            Operation::Misbehave => self.misbehave().await,
            Operation::BuyerActs => self.buyer_acts().await,
            Operation::PassTime => self.pass_time().await,
            Operation::Work => {
                let replica = self.replica();
                work(self.world, replica).await;
            }
            Operation::HangUp => self.hang_up().await,
            Operation::Restart => self.restart().await,
            Operation::ExpireALease => self.expire_a_lease().await,
            Operation::Cancel => {
                let cancel = self.some_cancel();
                self.of_an_order(cancel).await;
            }
            Operation::CancelFirst => self.cancel_first().await,
            Operation::Refresh => self.of_an_order(Act::Refresh).await,
            Operation::Race => self.race().await,
            Operation::Steer => {
                let steering = [Act::Run, Act::Snooze, Act::Abandon];
                let act = *steering.choose(&mut self.rng).expect("there are three");
                self.of_an_order(act).await;
            }
            Operation::AWeek => self.a_week().await,
            Operation::WrongClock => self.wrong_clock(),
            Operation::Cut => {
                let replica = self.replica();
                work_and_be_cut(self.world, replica).await;
            }
            Operation::KeepHouse => {
                let replica = self.replica();
                let house = self.world.replicas[replica].maintenance.run_once();
                unless_stopped(self.world, replica, house).await;
            }
            Operation::GiveBack => {
                let give_back = self.some_refund();
                self.of_an_order(give_back).await;
            }
            Operation::RefreshRefund => self.of_an_order(Act::RefreshRefund).await,
            Operation::Treasury => self.treasury().await,
            Operation::HalfADay => {
                self.world.advance(TimeDelta::hours(12)).await;
                let replica = self.replica();
                work(self.world, replica).await;
            }
            Operation::Outage => self.outage().await,
            Operation::AllStop => self.all_stop().await,
            Operation::StarvedLane => self.starved_lane().await,
            Operation::LateEffect => self.late_effect().await,
            Operation::ClosedDoor => self.closed_door().await,
            Operation::Contradiction => self.contradiction().await,
            Operation::RefundAgain => self.refund_again().await,
        }
        self.world.quiet_down().await;
        self.revive().await;
        self.look_at_the_schedule().await;
        self.look_at_late_effects().await;
    }

    /// What a failed test shows of its last history.
    fn say(&self, text: &str) {
        // A test whose output nobody reads goes on.
        let _ = writeln!(std::io::stderr(), "H{}: {text}", self.seed);
    }

    fn replica(&mut self) -> usize {
        self.rng.gen_range(0..self.world.replicas.len())
    }

    fn order(&mut self) -> Order {
        let order = self.orders.choose(&mut self.rng);
        order.expect("a history begins with an order").clone()
    }

    fn new_order(&mut self) -> Order {
        let code = CODES.choose(&mut self.rng).expect("there are codes");
        let mut request = body(code);
        let number = self.orders.len();
        request["merchant_reference"] = json!(format!("H{}-{number}", self.seed));
        request["amount"]["value"] = json!(self.rng.gen_range(1..=1_000_000));
        request["cancel_after_seconds"] = json!(self.rng.gen_range(15..=120));
        let order = Order {
            key: format!("key-H{}-{number}", self.seed),
            request,
        };
        self.orders.push(order.clone());
        order
    }

    fn some_cancel(&mut self) -> Act {
        let cancels = [Act::Cancel(0), Act::CancelReference, Act::CancelKey];
        *cancels.choose(&mut self.rng).expect("there are three")
    }

    fn some_refund(&mut self) -> Act {
        let refunds = [
            Act::Refund("sync", 0),
            Act::Refund("async", 0),
            Act::Reverse(0),
        ];
        *refunds.choose(&mut self.rng).expect("there are three")
    }

    async fn treasury(&mut self) {
        let policy = json!({
            "funds_sufficient": self.rng.gen_bool(0.7),
            "same_day_immediate": self.rng.gen_bool(0.5),
            "in_window": if self.rng.gen_bool(0.5) { "runs_now" } else { "next_night" },
            "short_nights": self.rng.gen_range(0..2),
            "fails_with": if self.rng.gen_bool(0.2) { json!("BUYER_NOT_EXIST") } else { Value::Null },
            "batch_delay_seconds": self.rng.gen_range(0..600),
        });
        self.world.simulator.set_refund_policy(&policy).await;
    }

    /// Something about an order, at a replica.
    async fn ask(&mut self, order: &Order, replica: usize, asked: Act) {
        self.told(order, replica, asked).await;
    }

    /// The same, and the status of the answer; 0 where there was none.
    async fn told(&mut self, order: &Order, replica: usize, asked: Act) -> u16 {
        let answer = act(self.world, self.ear, replica, 0, order, asked).await;
        let status = answer.map_or(0, |answer| answer.status);
        self.say(&format!(
            "  {asked:?} of {} at {replica}: {status}",
            order.reference()
        ));
        status
    }

    async fn of_an_order(&mut self, asked: Act) {
        let (order, replica) = (self.order(), self.replica());
        self.ask(&order, replica, asked).await;
    }

    async fn begin(&mut self) {
        let (order, replica) = (self.new_order(), self.replica());
        self.ask(&order, replica, Act::Create(0)).await;
    }

    async fn twins(&mut self) {
        let order = self.new_order();
        self.at_once(&order, Act::Create(0), Some(Act::Create(0)))
            .await;
    }

    /// Two callers at two replicas at once, or one and a worker.
    async fn at_once(&mut self, order: &Order, one: Act, other: Option<Act>) {
        let first = self.replica();
        let second = (first + 1) % self.world.replicas.len();
        self.say(&format!(
            "  {one:?} of {} at {first}, {other:?} at {second}",
            order.reference()
        ));
        let (mut ear, mut rival) = (Ear::default(), Ear::default());
        let world = &*self.world;
        let there = async {
            match other {
                Some(other) => {
                    act(world, &mut rival, second, 2, order, other).await;
                }
                None => work(world, second).await,
            }
        };
        tokio::join!(act(world, &mut ear, first, 1, order, one), there);
        self.ear.0.extend(ear.0);
        self.ear.0.extend(rival.0);
    }

    async fn race(&mut self) {
        let order = if self.rng.gen_bool(0.5) {
            self.new_order()
        } else {
            self.order()
        };
        let acts = [
            Act::Create(0),
            Act::Cancel(0),
            Act::CancelReference,
            Act::CancelKey,
            Act::Refresh,
            Act::Run,
            Act::Read,
        ];
        let one = *acts.choose(&mut self.rng).expect("there are acts");
        let other = self
            .rng
            .gen_bool(0.7)
            .then(|| acts.choose(&mut self.rng).copied())
            .flatten();
        self.at_once(&order, one, other).await;
    }

    async fn mismatch(&mut self) {
        let (mut order, replica) = (self.order(), self.replica());
        if self.rng.gen_bool(0.4) {
            // The same number under another key is another order, if it is free.
            order.key = format!("{}-again{}", order.key, self.orders.len());
            self.orders.push(order.clone());
            self.ask(&order, replica, Act::Create(0)).await;
            return;
        }
        // Only a key that has made a payment must refuse another body.
        let made: Option<String> = sqlx::query_scalar(
            "select merchant_reference from payment
            join idempotency_key using (merchant_id, payment_id) where idempotency_key = $1",
        )
        .bind(&order.key)
        .fetch_optional(&self.world.pool)
        .await
        .expect("the database answers");
        if made.is_none() {
            return;
        }
        order.request["amount"]["value"] = json!(1_000_001);
        let answer = create(self.world, replica, &order.key, &order.request, 0).await;
        if let Some(answer) = answer {
            self.ear.create(0, &order.key, false, &answer);
        }
    }

    async fn look(&mut self) {
        if self.rng.gen_bool(0.8) {
            self.of_an_order(Act::Read).await;
            return;
        }
        let replica = self.replica();
        let till = self.world.till_at(replica);
        let list = till.get("/v1/payments?limit=5");
        if let Some(answer) = unless_stopped(self.world, replica, list).await {
            self.ear.read(0, &answer);
        }
    }

    async fn misbehave(&mut self) {
        let service = ["pay", "query", "cancel", "refund", "refund_query", "any"]
            .choose(&mut self.rng)
            .expect("there are services");
        let times = self.rng.gen_range(1..=3);
        let fault = match self.rng.gen_range(0..12) {
            0 => json!({"type": "truncate", "bytes": self.rng.gen_range(0..1_500)}),
            1 => json!({"type": "http_status", "status": 502}),
            2 => json!({"type": "redirect", "location": "http://127.0.0.1:9/"}),
            3 => json!({"type": "delay", "ms": self.rng.gen_range(1..400)}),
            4 if *service == "query" => json!({"type": "not_exist"}),
            5 if *service == "cancel" => {
                let retry = ["Y", "N"].choose(&mut self.rng).expect("there are flags");
                json!({"type": "cancel_fail", "code": "SYSTEM_ERROR", "retry_flag": retry})
            }
            _ => {
                let fault = *FAULTS.choose(&mut self.rng).expect("there are faults");
                // The answer to a refund query names no money to lie about.
                let suits = *service != "refund_query"
                    || !matches!(fault, "wrong_amount" | "wrong_currency");
                json!({"type": if suits { fault } else { "wrong_id" }})
            }
        };
        self.say(&format!("  {times} x {service}: {fault}"));
        self.world.simulator.script(service, times, fault).await;
    }

    async fn buyer_acts(&mut self) {
        let order = self.order();
        let what = if self.rng.gen_bool(0.7) {
            "confirm"
        } else {
            "dismiss"
        };
        if let Some(found) = find(self.world, &order).await {
            self.world
                .simulator
                .act(&found.partner_trans_id, what)
                .await;
        }
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

    /// A caller who hangs up after a moment, and asks again.
    async fn hang_up(&mut self) {
        let (order, replica) = (self.new_order(), self.replica());
        let patience = Duration::from_micros(self.rng.gen_range(0..30_000));
        let call = create(self.world, replica, &order.key, &order.request, 5);
        if let Ok(Some(answer)) = tokio::time::timeout(patience, call).await {
            self.ear.create(0, &order.key, true, &answer);
        }
        let replica = self.replica();
        self.ask(&order, replica, Act::Create(0)).await;
    }

    /// Something that leads a replica past many points.
    async fn provoke(&mut self, replica: usize) {
        match self.rng.gen_range(0..8) {
            0..=2 => {
                let order = self.new_order();
                self.ask(&order, replica, Act::Create(0)).await;
            }
            3 => {
                let (order, cancel) = (self.order(), self.some_cancel());
                self.ask(&order, replica, cancel).await;
            }
            4 => {
                let (order, cancel) = (self.new_order(), self.some_cancel());
                self.ask(&order, replica, cancel).await;
            }
            5 => {
                let order = self.order();
                self.ask(&order, replica, Act::Refresh).await;
            }
            6 => {
                let (order, give_back) = (self.order(), self.some_refund());
                self.ask(&order, replica, give_back).await;
            }
            _ => {}
        }
        work(self.world, replica).await;
        self.world.quiet_down().await;
    }

    async fn restart(&mut self) {
        let replica = self.replica();
        if self.rng.gen_bool(0.3) {
            self.world.replace(replica).await;
            self.tally.restarts += 1;
            return;
        }
        let point = POINTS.choose(&mut self.rng).expect("there are points");
        let passes = self.rng.gen_range(0..2);
        self.say(&format!("  {replica} may die at {point}"));
        points(self.world, replica).arm(point, passes, Action::Crash);
        self.provoke(replica).await;
    }

    /// A worker, or a caller's request, is held until its lease has long passed to another.
    async fn expire_a_lease(&mut self) {
        let holder = self.replica();
        let other = (holder + 1) % self.world.replicas.len();
        let point = POINTS.choose(&mut self.rng).expect("there are points");
        self.say(&format!("  {holder} may be held at {point}"));
        points(self.world, holder).arm(point, 0, Action::Pause);
        self.provoke(holder).await;
        if points(self.world, holder).is_stopped() {
            self.world.advance(PAST_THE_LEASE).await;
            work(self.world, other).await;
            self.tally.expired_leases += 1;
        }
        points(self.world, holder).disarm();
        points(self.world, holder).resume();
    }

    async fn cancel_first(&mut self) {
        let (order, replica) = (self.new_order(), self.replica());
        let known = [Act::CancelReference, Act::CancelKey];
        let cancel = *known.choose(&mut self.rng).expect("there are two");
        self.ask(&order, replica, cancel).await;
        if self.rng.gen_bool(0.7) {
            let replica = self.replica();
            self.ask(&order, replica, Act::Create(0)).await;
        }
    }

    async fn a_week(&mut self) {
        let silence = json!({"type": "drop_before_effect"});
        self.world.simulator.script("any", 20, silence).await;
        let some_more = TimeDelta::minutes(self.rng.gen_range(0..1_440));
        self.world.advance(TimeDelta::days(7) + some_more).await;
        let replica = self.replica();
        work(self.world, replica).await;
        self.world.simulator.clear_faults().await;
        for order in self.orders.clone() {
            if self.rng.gen_bool(0.4) {
                let replica = self.replica();
                self.ask(&order, replica, Act::Resolve).await;
            }
        }
    }

    fn wrong_clock(&mut self) {
        let replica = self.replica();
        let minutes = [-10, 0, 10].choose(&mut self.rng).copied().unwrap_or(0);
        self.world
            .set_clock_wrong_by(replica, TimeDelta::minutes(minutes));
    }

    async fn outage(&mut self) {
        let holder = self.replica();
        if self.rng.gen_bool(0.7) {
            let point = *WITH_AN_ANSWER
                .choose(&mut self.rng)
                .expect("there are points");
            self.say(&format!("  {holder} may hold an answer at {point}"));
            points(self.world, holder).arm(point, 0, Action::Pause);
            self.provoke(holder).await;
        }
        self.world.proxy().refuse();
        points(self.world, holder).disarm();
        if points(self.world, holder).is_stopped() {
            self.tally.answers_held_in_outages += 1;
            points(self.world, holder).resume();
        }
        if self.rng.gen_bool(0.3) {
            let asked = [Act::Read, Act::Refresh, Act::Cancel(0), Act::Create(0)];
            let asked = *asked.choose(&mut self.rng).expect("there are acts");
            self.of_an_order(asked).await;
        }
        let seconds = self.rng.gen_range(5..=120);
        self.say(&format!("  away for {seconds} s"));
        self.world.advance(TimeDelta::seconds(seconds)).await;
        self.world.proxy().restore();
        // Whoever comes first: this visit, or the process with the answer.
        let replica = self.replica();
        work(self.world, replica).await;
        self.tally.outages += 1;
    }

    async fn all_stop(&mut self) {
        let replica = self.replica();
        if self.rng.gen_bool(0.5) {
            let point = POINTS.choose(&mut self.rng).expect("there are points");
            self.say(&format!("  {replica} may die first, at {point}"));
            points(self.world, replica).arm(point, 0, Action::Crash);
            self.provoke(replica).await;
        }
        let seconds = match self.rng.gen_range(0..4) {
            0 => self.rng.gen_range(1..60),
            1 => self.rng.gen_range(60..240),
            2 => self.rng.gen_range(240..7_200),
            _ => self.rng.gen_range(7_200..86_400),
        };
        self.say(&format!("  all are gone for {seconds} s"));
        self.world.stop_all(TimeDelta::seconds(seconds)).await;
        self.tally.stops_of_all += 1;
        self.tally.restarts += self.world.replicas.len() as u64;
        let replica = self.replica();
        work(self.world, replica).await;
    }

    async fn starved_lane(&mut self) {
        for _ in 0..self.rng.gen_range(2..5) {
            self.begin().await;
        }
        self.world.quiet_down().await;
        let order = self.order();
        if let Some(found) = find(self.world, &order).await {
            let id = &found.partner_trans_id;
            self.world.simulator.act(id, "confirm").await;
        }
        let times = self.rng.gen_range(1..6);
        self.world.simulator.script_hanging("cancel", times).await;
        let seconds = self.rng.gen_range(20..130);
        self.world.advance(TimeDelta::seconds(seconds)).await;
        let replica = self.replica();
        work(self.world, replica).await;
        self.world.simulator.release().await;
        self.tally.starved_lanes += 1;
    }

    async fn late_effect(&mut self) {
        let service = *["cancel", "refund"]
            .choose(&mut self.rng)
            .expect("there are two");
        let answers = ["unknown", "system_error", "nothing", "retry_success"];
        let suitable = if service == "cancel" { 4 } else { 3 };
        let answer = answers[self.rng.gen_range(0..suitable)];
        let after = self.rng.gen_bool(0.8).then(|| self.rng.gen_range(0..25));
        let times = self.rng.gen_range(1..=2);
        self.say(&format!(
            "  {times} x {service}: {answer}, done after {after:?}"
        ));
        self.world
            .simulator
            .script_late(service, times, answer, after)
            .await;
        let asked = if service == "cancel" {
            self.some_cancel()
        } else {
            self.some_refund()
        };
        self.of_an_order(asked).await;
        self.tally.late_effects += 1;
    }

    async fn closed_door(&mut self) {
        let code = *REFUSALS.choose(&mut self.rng).expect("there are codes");
        self.say(&format!("  the account is refused with {code}"));
        self.world.simulator.refuse_access(Some(code)).await;
        for _ in 0..self.rng.gen_range(1..5) {
            match self.rng.gen_range(0..4) {
                0 => self.begin().await,
                1 => {
                    let asked = self.some_refund();
                    self.of_an_order(asked).await;
                }
                2 => {
                    let asked = self.some_cancel();
                    self.of_an_order(asked).await;
                }
                _ => {
                    self.pass_time().await;
                    let replica = self.replica();
                    work(self.world, replica).await;
                }
            }
            self.world.quiet_down().await;
        }
        self.world.simulator.refuse_access(None).await;
        self.tally.closed_doors += 1;
    }

    async fn contradiction(&mut self) {
        let (order, replica) = (self.order(), self.replica());
        match self.rng.gen_range(0..10) {
            0..4 => {
                // Refused, and done all the same; of an asynchronous one a notification tells as well.
                let lie = json!({
                    "type": "result_after_effect", "code": "FAIL",
                    "error": "REASON_TRADE_BEEN_FREEZEN"
                });
                let mode = *["sync", "async"].choose(&mut self.rng).expect("two");
                self.world.simulator.script("refund", 1, lie).await;
                // In the night nobody might be left to hear of it: who takes a replica's place has another address.
                self.world.simulator.refund_on_the_same_day().await;
                self.ask(&order, replica, Act::Refund(mode, 0)).await;
                self.world.quiet_down().await;
                self.world.simulator.clear_faults().await;
                self.world.advance(TimeDelta::seconds(1)).await;
                self.tally.contradictions += 1;
                return;
            }
            4..6 => return self.refund_that_is_not_known(&order, replica).await,
            _ => {}
        }
        let Some(found) = find(self.world, &order).await else {
            return;
        };
        let trades = self.world.simulator.trades().await;
        let is_paid = trades.iter().any(|trade| {
            trade["partner_trans_id"] == found.partner_trans_id.as_str()
                && trade["status"] == "TRADE_SUCCESS"
        });
        if !is_paid {
            return;
        }
        self.say(&format!("  Alipay closes {}", order.reference()));
        let id = &found.partner_trans_id;
        self.world.simulator.close_paid(id, true).await;
        match self.rng.gen_range(0..3) {
            0 => self.ask(&order, replica, Act::Refresh).await,
            1 => self.import_the_file_of_today().await,
            // A refund that is refused tells as well.
            _ => {
                let asked = self.some_refund();
                self.ask(&order, replica, asked).await;
            }
        }
        self.tally.contradictions += 1;
    }

    /// Called done, never done, and asked about; a person decides, now or later.
    async fn refund_that_is_not_known(&mut self, order: &Order, replica: usize) {
        self.world
            .simulator
            .script_late("refund", 1, "success", None)
            .await;
        self.ask(order, replica, Act::Refund("sync", 0)).await;
        self.world.quiet_down().await;
        self.world.simulator.clear_faults().await;
        self.world.advance(TimeDelta::seconds(1)).await;
        let first = self.replica();
        for next in 0..=self.world.replicas.len() {
            // Who gets no answer, because the replica died with it, asks again: nobody else would.
            let replica = (first + next) % self.world.replicas.len();
            let told = self.told(order, replica, Act::RefreshRefund).await;
            self.world.quiet_down().await;
            self.revive().await;
            if told == 200 {
                break;
            }
        }
        let replica = first;
        if self.rng.gen_bool(0.5) {
            self.ask(order, replica, Act::ResolveRefund).await;
        }
        self.tally.contradictions += 1;
    }

    /// A day later, when it is whole.
    async fn import_the_file_of_today(&mut self) {
        let hong_kong = FixedOffset::east_opt(28_800).expect("eight hours");
        let day = self.world.now().with_timezone(&hong_kong);
        let day = day.format("%Y%m%d").to_string();
        self.world.advance(TimeDelta::days(1)).await;
        let Some(bytes) = self.world.simulator.daily_file("transaction", &day).await else {
            return;
        };
        let operator = self.world.overseer(&[Scope::Reconciliation]).await;
        let name = format!("{PARTNER}_transaction_{day}.txt");
        let imported = upload(&operator, &name, &bytes, false).await;
        self.say(&format!("  the file of {day}: {}", imported.status));
    }

    async fn refund_again(&mut self) {
        let (order, replica) = (self.order(), self.replica());
        let mode = *["sync", "async"].choose(&mut self.rng).expect("two");
        if self.rng.gen_bool(0.5) {
            // The answer to the first is lost.
            let lost = json!({"type": "drop_after_effect"});
            self.world.simulator.script("refund", 1, lost).await;
        }
        self.ask(&order, replica, Act::Refund(mode, 0)).await;
        self.world.quiet_down().await;
        let replica = self.replica();
        let number = self.rng.gen_range(0..3);
        self.ask(&order, replica, Act::RefundAgain(mode, number))
            .await;
        self.tally.refunds_again += 1;
    }

    /// A fresh replica for one that has died meanwhile.
    async fn revive(&mut self) {
        for replica in 0..self.world.replicas.len() {
            if points(self.world, replica).is_stopped() {
                self.say(&format!("  {replica} died"));
                self.world.replace(replica).await;
                self.tally.restarts += 1;
            }
        }
    }

    /// C8, at this instant: whatever is owed an answer is on the schedule.
    async fn look_at_the_schedule(&self) {
        let lost = self
            .world
            .count_rows(
                "select count(*) from payment
                where (status in ('processing', 'unresolved') or cancel_reason is not null)
                    and not exists (select from follow_up where subject_id = payment_id)",
            )
            .await;
        assert_eq!(lost, 0, "C8 in H{}: {}", self.seed, replay(self.seed));
    }
}

impl History<'_> {
    /// M11, at this instant: nothing is done while an answered cancel or refund may still act.
    async fn look_at_late_effects(&self) {
        for effect in self.world.simulator.late_effects().await {
            let cancel = effect["service"] == "cancel";
            let id = effect[if cancel {
                "partner_trans_id"
            } else {
                "partner_refund_id"
            }]
            .as_str()
            .expect("an id");
            let done: i64 = sqlx::query_scalar(
                "select (select count(*) from payment where $2 and partner_trans_id = $1
                    and status in ('succeeded', 'failed') and cancel_reason is null)
                + (select count(*) from refund where not $2 and partner_refund_id = $1
                    and status = 'failed')",
            )
            .bind(id)
            .bind(cancel)
            .fetch_one(&self.world.pool)
            .await
            .expect("the database answers");
            assert_eq!(
                done,
                0,
                "M11 in H{}: {effect} may act still: {}",
                self.seed,
                replay(self.seed)
            );
        }
    }
}

/// When a history begins on a day: by day, or just before midnight in Hong Kong.
fn beginning(seed: u64, after: DateTime<Utc>) -> DateTime<Utc> {
    let hong_kong = FixedOffset::east_opt(28_800).expect("eight hours");
    let hour = if seed.is_multiple_of(2) {
        NaiveTime::from_hms_opt(11, 4, 5)
    } else {
        NaiveTime::from_hms_opt(23, 57, 0)
    };
    let tomorrow = after.with_timezone(&hong_kong).date_naive() + Days::new(1);
    tomorrow
        .and_time(hour.expect("an hour of the day"))
        .and_local_timezone(hong_kong)
        .single()
        .expect("a fixed offset has every hour once")
        .to_utc()
}

/// Runs histories in one world, settles each, and returns what the oracle says of all, with what was
/// met on the way.
async fn run_world(
    pool: PgPool,
    seeds: impl IntoIterator<Item = u64>,
    tally: &mut Tally,
) -> (Vec<Violation>, Value) {
    let options = Options {
        replicas: 3,
        connections: 4,
        proxied: 3,
        pay_timeout: Duration::from_millis(250),
        ask_timeout: Duration::from_millis(250),
        ..Options::default()
    };
    let mut world = World::start_with(pool, options).await;
    let mut ear = Ear::default();
    for seed in seeds {
        // Not far from the last one, so that what that left open is met again.
        world.set_clock(beginning(seed, world.now())).await;
        for replica in 0..world.replicas.len() {
            world.set_clock_wrong_by(replica, TimeDelta::zero());
        }
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
    }
    let evidence = Evidence::of(&world, &ear.0, true).await;
    let mut violations = judge(&evidence);
    violations.extend(judge_refunds(&RefundEvidence::of(&world, true).await));
    world.end_without_checks().await;
    (violations, evidence.meters())
}

/// Runs one share of the histories and demands that nothing was violated.
async fn share(pool: PgPool, name: &str, seeds: &[u64]) {
    let mut tally = Tally::default();
    let (violations, meters) = run_world(pool, seeds.iter().copied(), &mut tally).await;
    let figures = json!({
        "histories": tally.histories,
        "operations": tally.operations,
        "restarts": tally.restarts,
        "expired_leases": tally.expired_leases,
        "outages": tally.outages,
        "answers_held_in_outages": tally.answers_held_in_outages,
        "stops_of_all": tally.stops_of_all,
        "starved_lanes": tally.starved_lanes,
        "late_effects": tally.late_effects,
        "closed_doors": tally.closed_doors,
        "contradictions": tally.contradictions,
        "refunds_again": tally.refunds_again,
        "violations": violations.len(),
        "met": meters,
    });
    publish(&format!("histories-{name}"), &figures);
    let named: BTreeSet<u64> = violations
        .iter()
        .flat_map(|violation| violation.text.split('H').skip(1))
        .filter_map(|rest| rest.split('-').next()?.parse().ok())
        .filter(|seed| seeds.contains(seed))
        .collect();
    let again: Vec<String> = named.into_iter().map(replay).collect();
    assert!(
        violations.is_empty(),
        "in seeds {seeds:?}: {violations:#?}\n{}",
        again.join("\n")
    );
}

/// How to see a history again.
fn replay(seed: u64) -> String {
    format!("H{seed} again: ./dev histories --count 1 --seed {seed}")
}

macro_rules! shares {
    ($($test:ident = $index:literal),+ $(,)?) => {
        $(
            #[sqlx::test]
            async fn $test(pool: PgPool) {
                let first = FIRST_SEED + $index * PER_WORLD;
                let seeds: Vec<u64> = (first..first + PER_WORLD).collect();
                share(pool, stringify!($index), &seeds).await;
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
}

/// Not part of a run: `./dev histories --count N --seed S`, dealt out to as many tests as may run at
/// once.
const DEALT_TO: u64 = 4;

async fn more(pool: PgPool, hand: u64) {
    let count = number("HISTORIES_COUNT", PER_WORLD);
    let first = number("HISTORIES_SEED", FIRST_SEED);
    let seeds: Vec<u64> = (0..count)
        .filter(|n| n / PER_WORLD % DEALT_TO == hand)
        .map(|n| first + n)
        .collect();
    if !seeds.is_empty() {
        share(pool, &format!("more-{hand}"), &seeds).await;
    }
}

macro_rules! hands {
    ($($test:ident = $hand:literal),+ $(,)?) => {
        $(
            #[sqlx::test]
            #[ignore = "run by `./dev histories`"]
            async fn $test(pool: PgPool) {
                more(pool, $hand).await;
            }
        )+

        #[test]
        fn every_hand_is_dealt() {
            let hands: &[u64] = &[$($hand),+];
            assert!(hands.iter().copied().eq(0..DEALT_TO));
        }
    };
}

hands! {
    more_histories_0 = 0,
    more_histories_1 = 1,
    more_histories_2 = 2,
    more_histories_3 = 3,
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
