//! Moves a world by hand: calls that survive a dying replica, workers, and the way to quiescence.
//! Every answer is noted for the oracle.

use alipayhk_gateway::failpoint::Failpoints;
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::{
    World,
    alipay::JsonBody as _,
    http::{Answer, Caller},
    oracle::{Asked, Evidence, Heard, judge},
    refund_oracle::{AGAIN, RefundEvidence, judge_refunds},
    violation::Violation,
};

/// Longer than a lease (45 s).
pub(super) const PAST_THE_LEASE: TimeDelta = TimeDelta::seconds(46);

/// How much time a world may take to settle once nothing goes wrong any more: the week after which
/// a person must look, and the slow query after it.
const TIME_TO_SETTLE: TimeDelta = TimeDelta::days(9);
/// How far the clock goes at least from one round of visits to the next while a world settles, and
/// until when; from then on, in growing steps.
const STEP: TimeDelta = TimeDelta::seconds(20);
const SMALL_STEPS: TimeDelta = TimeDelta::minutes(12);

/// What the callers of a world were told.
#[derive(Default)]
pub(super) struct Ear(pub(super) Vec<Heard>);

impl Ear {
    /// Notes the answer to a create.
    pub(super) fn create(&mut self, caller: usize, key: &str, same_body: bool, answer: &Answer) {
        let asked = Asked::Create {
            key: key.to_owned(),
            reference: None,
            same_body,
        };
        self.note(caller, &asked, answer);
    }

    /// The same where the merchant's number matters too, because a cancel may name it.
    pub(super) fn create_of(&mut self, caller: usize, key: &str, reference: &str, answer: &Answer) {
        let asked = Asked::Create {
            key: key.to_owned(),
            reference: Some(reference.to_owned()),
            same_body: true,
        };
        self.note(caller, &asked, answer);
    }

    /// Notes the answer to anything else.
    pub(super) fn read(&mut self, caller: usize, answer: &Answer) {
        self.note(caller, &Asked::Other, answer);
    }

    /// Notes an answer; each item of a list is one.
    pub(super) fn note(&mut self, caller: usize, asked: &Asked, answer: &Answer) {
        let items = answer.body["items"].as_array();
        let bodies = items.cloned().unwrap_or_else(|| vec![answer.body.clone()]);
        self.0.extend(bodies.into_iter().map(|body| {
            Heard {
                caller,
                asked: asked.clone(),
                status: answer.status,
                replayed: answer.header("idempotent-replayed") == "true",
                // The header is about one payment.
                retry_after: items
                    .is_none()
                    .then(|| answer.header("retry-after").to_owned()),
                given: answer.given,
                body,
            }
        }));
    }
}

/// The points of a replica.
pub(super) fn points(world: &World, replica: usize) -> &Failpoints {
    world.replicas[replica].app.failpoints()
}

/// Waits for something a replica does; `None` if the replica stops at a point first.
pub(super) async fn unless_stopped<T>(
    world: &World,
    replica: usize,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        _ = points(world, replica).stopped() => None,
    }
}

/// `POST /v1/payments` at a replica; `None` if the replica stops first.
pub(super) async fn create(
    world: &World,
    replica: usize,
    key: &str,
    body: &Value,
    wait: u32,
) -> Option<Answer> {
    let till = world.till_at(replica);
    unless_stopped(world, replica, till.create(key, body, wait)).await
}

/// Something that a caller or an operator asks of a replica about an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// `POST /v1/payments`, held for at most this many seconds.
    Create(u32),
    /// `POST /v1/payments/{id}/cancel`, held for at most this many seconds.
    Cancel(u32),
    /// `POST /v1/payments/cancel` by the merchant's reference.
    CancelReference,
    /// `POST /v1/payments/cancel` by the idempotency key.
    CancelKey,
    /// `POST /v1/payments/{id}/refresh`.
    Refresh,
    /// `POST /v1/payments/{id}/resolve` with what Alipay's portal shows.
    Resolve,
    /// `POST /v1/follow-ups/{id}/run`.
    Run,
    /// `POST /v1/follow-ups/{id}/snooze` for ten seconds.
    Snooze,
    /// `POST /v1/follow-ups/{id}/abandon`.
    Abandon,
    /// `GET /v1/payments/{id}`.
    Read,
    /// `POST /v1/payments/{id}/refunds` in a mode, held for at most this many seconds: always the same
    /// request of an order and a mode.
    Refund(&'static str, u32),
    /// The same under another key, as by a person who lost the answer.
    RefundAgain(&'static str, usize),
    /// `POST /v1/refunds/{id}/refresh`.
    RefreshRefund,
    /// Alipay delivers the notifications that it has held back, to replica 0.
    Notify,
    /// `POST /v1/refunds/{id}/resolve` with what Alipay's portal shows.
    ResolveRefund,
    /// `POST /v1/payments/{id}/reverse`, held for at most this many seconds.
    Reverse(u32),
}

/// An order of a caller's.
#[derive(Clone, Debug)]
pub(super) struct Order {
    /// The idempotency key.
    pub(super) key: String,
    /// The body of the create.
    pub(super) request: Value,
}

impl Order {
    /// The merchant's own number.
    pub(super) fn reference(&self) -> &str {
        self.request["merchant_reference"]
            .as_str()
            .expect("an order has a number")
    }
}

/// A payment as an operator looks it up, around the gateway.
pub(super) struct Found {
    /// `pay_...`.
    pub(super) id: String,
    /// The id towards Alipay.
    pub(super) partner_trans_id: String,
    /// `fup_...`, while there is one.
    pub(super) follow_up: Option<String>,
}

/// The payment of an order, if there is one.
pub(super) async fn find(world: &World, order: &Order) -> Option<Found> {
    let row: Option<(uuid::Uuid, String, Option<uuid::Uuid>)> = sqlx::query_as(
        "select payment_id, partner_trans_id, follow_up_id from payment
        left join follow_up on subject_id = payment_id where merchant_reference = $1",
    )
    .bind(order.reference())
    .fetch_optional(&world.pool)
    .await
    .expect("the database answers");
    row.map(|(id, partner_trans_id, follow_up)| Found {
        id: format!("pay_{}", id.simple()),
        partner_trans_id,
        follow_up: follow_up.map(|id| format!("fup_{}", id.simple())),
    })
}

/// A refund as an operator looks it up, around the gateway.
pub(super) struct FoundRefund {
    /// `ref_...`.
    pub(super) id: String,
    /// The id towards Alipay.
    pub(super) partner_refund_id: String,
}

/// The last refund of an order, if there is one.
pub(super) async fn find_refund(world: &World, order: &Order) -> Option<FoundRefund> {
    let row: Option<(uuid::Uuid, String)> = sqlx::query_as(
        "select refund_id, partner_refund_id from refund
        join payment on payment.payment_id = refund.payment_id
        where payment.merchant_reference = $1 order by refund_id desc limit 1",
    )
    .bind(order.reference())
    .fetch_optional(&world.pool)
    .await
    .expect("the database answers");
    row.map(|(id, partner_refund_id)| FoundRefund {
        id: format!("ref_{}", id.simple()),
        partner_refund_id,
    })
}

fn refund(
    till: &Caller,
    of: &Found,
    key: String,
    mode: &str,
    allow_duplicate: bool,
) -> RequestBuilder {
    let mut body = json!({"amount": {"value": 1, "currency": "HKD"}, "mode": mode});
    if allow_duplicate {
        body["allow_duplicate"] = json!(true);
    }
    till.request(Method::POST, &format!("/v1/payments/{}/refunds", of.id))
        .header("idempotency-key", key)
        .json_body(&body)
}

/// Does it at a replica. The oracle of refunds needs no answers: it reads the rows.
async fn act_on_refund(world: &World, replica: usize, order: &Order, act: Act) -> Option<Answer> {
    let (till, operator) = (world.till_at(replica), world.operator_at(replica));
    let prefer = |wait: u32| format!("wait={wait}");
    let request = match act {
        Act::Refund(mode, wait) => {
            let found = find(world, order).await?;
            // A caller's own test of both modes; a person's second try is `RefundAgain`.
            refund(&till, &found, format!("{}-{mode}", order.key), mode, true)
                .header("prefer", prefer(wait))
        }
        Act::RefundAgain(mode, times) => {
            let found = find(world, order).await?;
            let key = format!("{}-{mode}{AGAIN}{times}", order.key);
            refund(&till, &found, key, mode, false).header("prefer", prefer(0))
        }
        Act::Reverse(wait) => {
            let found = find(world, order).await?;
            let path = format!("/v1/payments/{}/reverse", found.id);
            till.request(Method::POST, &path)
                .header("prefer", prefer(wait))
        }
        Act::RefreshRefund => {
            let refund = find_refund(world, order).await?;
            till.request(Method::POST, &format!("/v1/refunds/{}/refresh", refund.id))
        }
        Act::Notify => {
            unless_stopped(world, 0, world.simulator.set_notifications("on")).await;
            world.simulator.set_notifications("hold").await;
            return None;
        }
        Act::ResolveRefund => {
            let refund = find_refund(world, order).await?;
            let decision = refund_decision(world, &refund.partner_refund_id).await;
            operator
                .request(Method::POST, &format!("/v1/refunds/{}/resolve", refund.id))
                .json_body(&decision)
        }
        _ => return None,
    };
    unless_stopped(world, replica, Caller::send(request)).await
}

/// Does it at a replica, and notes the answer. Nothing is asked about what does not exist, and
/// nothing noted where the replica stops first.
pub(super) async fn act(
    world: &World,
    ear: &mut Ear,
    replica: usize,
    caller: usize,
    order: &Order,
    act: Act,
) -> Option<Answer> {
    let (till, operator) = (world.till_at(replica), world.operator_at(replica));
    let post = |caller: &Caller, path: String| caller.request(Method::POST, &path);
    let held =
        |request: RequestBuilder, wait: u32| request.header("prefer", format!("wait={wait}"));
    let known = || post(&till, "/v1/payments/cancel".to_owned());
    let other = Asked::Other;
    let (request, asked) = match act {
        Act::Refund(..)
        | Act::RefundAgain(..)
        | Act::RefreshRefund
        | Act::Notify
        | Act::ResolveRefund
        | Act::Reverse(_) => {
            return act_on_refund(world, replica, order, act).await;
        }
        Act::Create(wait) => {
            let asked = Asked::Create {
                key: order.key.clone(),
                reference: Some(order.reference().to_owned()),
                same_body: true,
            };
            let answer = create(world, replica, &order.key, &order.request, wait).await?;
            ear.note(caller, &asked, &answer);
            return Some(answer);
        }
        Act::CancelReference => (
            held(known(), 0).json_body(&json!({"merchant_reference": order.reference()})),
            Asked::CancelReference(order.reference().to_owned()),
        ),
        Act::CancelKey => (
            held(known(), 0).json_body(&json!({"idempotency_key": order.key})),
            Asked::CancelKey(order.key.clone()),
        ),
        Act::Cancel(wait) => {
            let found = find(world, order).await?;
            let request = post(&till, format!("/v1/payments/{}/cancel", found.id));
            (held(request, wait), Asked::Cancel(found.id))
        }
        Act::Refresh => {
            let found = find(world, order).await?;
            (
                post(&till, format!("/v1/payments/{}/refresh", found.id)),
                other,
            )
        }
        Act::Read => {
            let found = find(world, order).await?;
            let request = till.request(Method::GET, &format!("/v1/payments/{}", found.id));
            (request, other)
        }
        Act::Resolve => {
            let found = find(world, order).await?;
            let request = post(&operator, format!("/v1/payments/{}/resolve", found.id));
            let decision = decision(world, &found.partner_trans_id).await;
            (request.json_body(&decision), other)
        }
        Act::Run | Act::Snooze | Act::Abandon => {
            let follow_up = find(world, order).await?.follow_up?;
            let path = |verb: &str| format!("/v1/follow-ups/{follow_up}/{verb}");
            let until = world.now() + TimeDelta::seconds(10);
            let request = match act {
                Act::Snooze => post(&operator, path("snooze")).json_body(&json!({"until": until})),
                Act::Abandon => {
                    post(&operator, path("abandon")).json_body(&json!({"reason": "by hand"}))
                }
                _ => post(&operator, path("run")),
            };
            // A row of the schedule is not a payment.
            return unless_stopped(world, replica, Caller::send(request)).await;
        }
    };
    let answer = unless_stopped(world, replica, Caller::send(request)).await?;
    ear.note(caller, &asked, &answer);
    Some(answer)
}

/// What an operator decides after a look at Alipay's portal.
async fn decision(world: &World, partner_trans_id: &str) -> Value {
    let trades = world.simulator.trades().await;
    let trade = trades
        .iter()
        .find(|trade| trade["partner_trans_id"] == partner_trans_id);
    let mut decision = match trade {
        None => json!({"status": "failed"}),
        Some(trade) if trade["status"] == "TRADE_SUCCESS" => json!({"status": "succeeded"}),
        Some(trade) => json!({"status": "canceled", "money_returned": trade["charged"]}),
    };
    decision["reason"] = json!("as the portal shows it");
    decision["ticket"] = json!("OPS-1");
    decision
}

/// One round of a replica's worker: what is due now, and what that makes due.
pub(super) async fn work(world: &World, replica: usize) {
    let worker = &world.replicas[replica].worker;
    while unless_stopped(world, replica, worker.run_once())
        .await
        .is_some_and(|visits| visits > 0)
    {}
}

/// A round of visits that is cut by a hard stop while Alipay is being asked: the claims are handed
/// back.
pub(super) async fn work_and_be_cut(world: &mut World, replica: usize) {
    let held_before = world.simulator.held().await;
    world
        .simulator
        .script("any", 1, json!({"type": "hold"}))
        .await;
    let worker = &world.replicas[replica].worker;
    let mut round = Box::pin(unless_stopped(world, replica, worker.run_once()));
    loop {
        tokio::select! {
            // Nothing to visit, or nothing to ask: then there is nothing to cut either.
            _ = &mut round => break,
            held = world.simulator.held() => {
                if held > held_before {
                    world.replicas[replica].cut_visits();
                    round.as_mut().await;
                    break;
                }
            }
        }
    }
    drop(round);
    world.simulator.clear_faults().await;
    world.simulator.release().await;
    world.replicas[replica].renew_worker();
}

/// When the next visit is due, if any payment or refund is open.
pub(super) async fn next_visit(world: &World) -> Option<DateTime<Utc>> {
    sqlx::query_scalar(
        "select min(greatest(due_at, coalesce(leased_until, due_at))) from follow_up
        where parked_at is null",
    )
    .fetch_one(&world.pool)
    .await
    .expect("the database answers")
}

/// What the schedule can still do: settle what is open, ask about what is unresolved once since `rest`,
/// and remove rows of what is settled (a question that was begun as its payment was settled leaves one).
async fn unsettled(world: &World, rest: DateTime<Utc>) -> i64 {
    sqlx::query_scalar(
        "select (select count(*) from payment left join follow_up on subject_id = payment_id
            where case
                when status = 'unresolved' then last_query_at is null or last_query_at <= $1
                else status = 'processing' or cancel_reason is not null or follow_up_id is not null
            end)
        + (select count(*) from refund left join follow_up on subject_id = refund_id
            where case
                when status = 'unresolved' then last_check_at is null or last_check_at <= $1
                else status = 'pending' or follow_up_id is not null
            end)",
    )
    .bind(rest)
    .fetch_one(&world.pool)
    .await
    .expect("the database answers")
}

/// An operator puts back what was taken off the schedule.
async fn put_back(world: &World) {
    let parked: Vec<uuid::Uuid> =
        sqlx::query_scalar("select follow_up_id from follow_up where parked_at is not null")
            .fetch_all(&world.pool)
            .await
            .expect("the database answers");
    for id in parked {
        let path = format!("/v1/follow-ups/fup_{}/run", id.simple());
        Caller::send(world.operator_at(0).request(Method::POST, &path)).await;
    }
}

/// An operator decides, after a look at Alipay's portal, what only a person can: refunds that Alipay called
/// done and does not know.
async fn decide_refunds(world: &World) {
    let disputed: Vec<(uuid::Uuid, String)> = sqlx::query_as(
        "select refund_id, partner_refund_id from refund
        where status = 'succeeded' and contradicted_at is not null",
    )
    .fetch_all(&world.pool)
    .await
    .expect("the database answers");
    for (id, theirs) in disputed {
        let path = format!("/v1/refunds/ref_{}/resolve", id.simple());
        let decision = refund_decision(world, &theirs).await;
        let request = world.operator_at(0).request(Method::POST, &path);
        Caller::send(request.json_body(&decision)).await;
    }
}

/// What an operator decides of a refund after a look at Alipay's portal.
async fn refund_decision(world: &World, partner_refund_id: &str) -> Value {
    let theirs = world.simulator.refund(partner_refund_id).await;
    let status = if theirs["status"] == "SUCCESS" {
        "succeeded"
    } else {
        "failed"
    };
    json!({"status": status, "reason": "as the portal shows it", "ticket": "OPS-1"})
}

/// Stops every fault, puts fresh replicas in the place of stopped ones, and lets time pass until
/// nothing is open any more that the schedule can settle.
pub(super) async fn settle(world: &mut World) {
    world.proxy().restore();
    world.simulator.clear_faults().await;
    world.simulator.refuse_access(None).await;
    world.simulator.release().await;
    let kind = json!({
        "funds_sufficient": true, "short_nights": 0, "fails_with": null, "batch_delay_seconds": 0
    });
    world.simulator.set_refund_policy(&kind).await;
    for replica in 0..world.replicas.len() {
        points(world, replica).disarm();
        if points(world, replica).is_stopped() {
            world.replace(replica).await;
        }
    }
    put_back(world).await;
    decide_refunds(world).await;
    let (rest, mut step, mut turn) = (world.now(), STEP, 0);
    loop {
        world.quiet_down().await;
        turn = (turn + 1) % world.replicas.len();
        work(world, turn).await;
        if unsettled(world, rest).await == 0 || world.now() > rest + TIME_TO_SETTLE {
            break;
        }
        let Some(next) = next_visit(world).await else {
            break;
        };
        // Workers may be late, and coarse steps make few visits.
        if next > world.now() {
            world.set_clock(next.max(world.now() + step)).await;
        }
        if world.now() > rest + SMALL_STEPS {
            step = step * 2;
        }
    }
}

/// What the oracle says of a world at rest.
pub(super) async fn verdict(world: &World, ear: &Ear) -> Vec<Violation> {
    let mut violations = judge(&Evidence::of(world, &ear.0, true).await);
    violations.extend(judge_refunds(&RefundEvidence::of(world, true).await));
    violations
}

/// Ends a world in which everything must hold.
pub(super) async fn finish_clean(world: World, ear: &Ear) {
    let violations = verdict(&world, ear).await;
    assert!(violations.is_empty(), "{violations:#?}");
    world.finish().await;
}

/// Where the figures of a run are left for its report, beside the build.
pub(super) fn figures() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("proof")
}

/// Leaves figures for the report of a run: `<name>.json`.
pub(super) fn publish(name: &str, figures: &Value) {
    let dir = self::figures();
    std::fs::create_dir_all(&dir).expect("the figures' directory can be made");
    std::fs::write(dir.join(format!("{name}.json")), format!("{figures:#}"))
        .expect("the figures can be written");
}
