//! The oracle for refunds: compares what Alipay really returned (the simulator's ledger and its log of
//! requests) with what the gateway stored and shows, and names every invariant of
//! `docs/invariants.md` that does not hold. Like [`super::oracle`] it shares no code with the
//! gateway.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use sqlx::{FromRow, PgPool};
use uuid::Uuid;

use super::{
    World,
    alipay::Simulator,
    http::Caller,
    violation::{Findings, Violation},
};

#[derive(Debug, FromRow)]
struct RefundRow {
    refund_id: Uuid,
    payment_id: Uuid,
    version: i64,
    amount_minor: i64,
    mode: String,
    partner_trans_id: String,
    partner_refund_id: String,
    status: String,
    status_reason: Option<String>,
    contradicted: bool,
    origin: String,
    submits: i32,
    checks_done: i32,
    created_at: DateTime<Utc>,
    /// When it came to the status that it has.
    ended_at: Option<DateTime<Utc>>,
    /// When it first failed; it may turn out done all the same.
    failed_at: Option<DateTime<Utc>>,
    /// Whether it was asked for without allowing a duplicate, after another like it.
    again: bool,
}

#[derive(Debug, FromRow)]
struct PaymentRow {
    payment_id: Uuid,
    partner_trans_id: String,
    status: String,
    status_reason: Option<String>,
    amount_minor: i64,
    refund_reserved_minor: i64,
    refunded_minor: i64,
}

#[derive(Debug, FromRow)]
struct TransitionRow {
    refund_id: Uuid,
    version: i64,
    event: String,
    from_status: Option<String>,
    to_status: String,
    api_key_id: Option<Uuid>,
    notification_id: Option<Uuid>,
    attempt_id: Option<Uuid>,
    statement_file_id: Option<Uuid>,
    reason: Option<String>,
    ticket: Option<String>,
}

#[derive(Debug, FromRow)]
struct AttemptRow {
    attempt_id: Uuid,
    refund_id: Uuid,
    kind: String,
    sent_at: DateTime<Utc>,
    answer_class: Option<String>,
}

/// Everything there is to compare.
pub(crate) struct RefundEvidence {
    refunds: Vec<RefundRow>,
    payments: Vec<PaymentRow>,
    transitions: Vec<TransitionRow>,
    attempts: Vec<AttemptRow>,
    follow_ups: BTreeMap<Uuid, i64>,
    ledger: Vec<Value>,
    trades: Vec<Value>,
    requests: Vec<Value>,
    notifications: Vec<Value>,
    /// What answered requests will still do at Alipay.
    late_effects: Vec<Value>,
    /// What stands on the work-list, by its id.
    work_list: BTreeSet<String>,
    /// The notifications that the gateway has noted.
    noted: BTreeSet<String>,
    views: BTreeMap<Uuid, Value>,
    settled: bool,
}

impl RefundEvidence {
    /// Gathers it. `settled` says that every refund should have reached its end.
    pub(crate) async fn of(world: &World, settled: bool) -> Self {
        let evidence = Self::gather(&world.pool, &world.simulator, &world.till, settled).await;
        let work_list = world.operator_at(0).work_list().await;
        Self {
            work_list,
            ..evidence
        }
    }

    /// The same from the parts of another set-up.
    pub(crate) async fn gather(
        pool: &PgPool,
        simulator: &Simulator,
        till: &Caller,
        settled: bool,
    ) -> Self {
        let refunds: Vec<RefundRow> = rows(
            pool,
            "select refund_id, payment_id, version, amount_minor, mode, partner_trans_id,
                partner_refund_id, status, status_reason, contradicted_at is not null as contradicted,
                origin, submits, checks_done, created_at,
                (select max(at) from refund_transition as step
                where step.refund_id = refund.refund_id and step.to_status = refund.status
                    and step.from_status <> step.to_status) as ended_at,
                (select min(at) from refund_transition as step
                where step.refund_id = refund.refund_id and step.to_status = 'failed') as failed_at,
                exists (select from idempotency_key as key
                    where key.refund_id = refund.refund_id
                        and key.idempotency_key like '%-again-%') as again
            from refund order by refund_id",
        )
        .await;
        let mut views = BTreeMap::new();
        for refund in &refunds {
            let path = format!("/v1/refunds/ref_{}", refund.refund_id.simple());
            let answer = till.get(&path).await;
            views.insert(refund.refund_id, answer.body);
        }
        Self {
            refunds,
            payments: rows(
                pool,
                "select payment_id, partner_trans_id, status, status_reason, amount_minor,
                    refund_reserved_minor, refunded_minor
                from payment order by payment_id",
            )
            .await,
            transitions: rows(
                pool,
                "select refund_id, version, event, from_status, to_status, api_key_id,
                    notification_id, attempt_id, statement_file_id, reason, ticket
                from refund_transition order by refund_id, version",
            )
            .await,
            attempts: rows(
                pool,
                "select attempt_id, refund_id, kind, sent_at, answer_class
                from attempt where refund_id is not null order by refund_id, attempt_id",
            )
            .await,
            follow_ups: rows::<(Uuid, i64)>(
                pool,
                // A question that is owed besides the plan is about a final refund as well.
                "select subject_id, count(*) from follow_up
                join refund on refund.refund_id = follow_up.subject_id
                where kind = 'refund'
                    and (question_due_at is null or refund.status in ('pending', 'unresolved'))
                group by subject_id",
            )
            .await
            .into_iter()
            .collect(),
            ledger: simulator.refunds().await,
            trades: simulator.trades().await,
            requests: simulator.requests().await,
            notifications: simulator.notifications().await,
            late_effects: simulator.late_effects().await,
            work_list: BTreeSet::new(),
            noted: rows::<(String,)>(pool, "select notify_id from notification")
                .await
                .into_iter()
                .map(|(notify_id,)| notify_id)
                .collect(),
            views,
            settled,
        }
    }
}

async fn rows<T>(pool: &PgPool, sql: &'static str) -> Vec<T>
where
    T: for<'r> FromRow<'r, sqlx::postgres::PgRow> + Send + Unpin,
{
    sqlx::query_as(sql)
        .fetch_all(pool)
        .await
        .expect("the database answers")
}

/// Every violation in the evidence, each named once.
pub(crate) fn judge_refunds(evidence: &RefundEvidence) -> Vec<Violation> {
    let mut found = Findings::default();
    identities(evidence, &mut found);
    books(evidence, &mut found);
    duplicates(evidence, &mut found);
    for refund in &evidence.refunds {
        let case = Case::of(evidence, refund);
        money(&case, &mut found);
        chain(&case, &mut found);
        causes(&case, &mut found);
        requests(&case, &mut found);
        schedule(&case, &mut found);
        notified(&case, &mut found);
        view(&case, &mut found);
    }
    found.into_vec()
}

/// One refund with everything about it.
struct Case<'a> {
    row: &'a RefundRow,
    transitions: Vec<&'a TransitionRow>,
    attempts: Vec<&'a AttemptRow>,
    follow_ups: i64,
    theirs: Option<&'a Value>,
    requests: Vec<&'a Value>,
    notifications: Vec<&'a Value>,
    /// Whether a request that Alipay has answered may still act there.
    may_act: bool,
    on_work_list: bool,
    noted: &'a BTreeSet<String>,
    view: Option<&'a Value>,
    settled: bool,
}

impl<'a> Case<'a> {
    fn of(evidence: &'a RefundEvidence, row: &'a RefundRow) -> Self {
        let id = row.refund_id;
        let ours = row.partner_refund_id.as_str();
        Self {
            row,
            transitions: evidence
                .transitions
                .iter()
                .filter(|step| step.refund_id == id)
                .collect(),
            attempts: evidence
                .attempts
                .iter()
                .filter(|attempt| attempt.refund_id == id)
                .collect(),
            follow_ups: evidence.follow_ups.get(&id).copied().unwrap_or(0),
            theirs: evidence
                .ledger
                .iter()
                .find(|refund| refund["partner_refund_id"] == ours),
            requests: evidence
                .requests
                .iter()
                .filter(|request| request["partner_refund_id"] == ours)
                .collect(),
            notifications: evidence
                .notifications
                .iter()
                .filter(|notification| notification["partner_refund_id"] == ours)
                .collect(),
            may_act: evidence
                .late_effects
                .iter()
                .any(|effect| effect["partner_refund_id"] == ours),
            on_work_list: evidence.work_list.contains(&format!("ref_{}", id.simple())),
            noted: &evidence.noted,
            view: evidence.views.get(&id),
            settled: evidence.settled,
        }
    }

    fn name(&self) -> String {
        format!(
            "{} of {} ({} {}, {})",
            self.row.partner_refund_id,
            self.row.partner_trans_id,
            self.row.status,
            self.row.status_reason.as_deref().unwrap_or("-"),
            self.row.mode,
        )
    }
}

/// M3, M7, M9: identities and bounds on both sides.
fn identities(evidence: &RefundEvidence, found: &mut Findings) {
    let ours: BTreeSet<&str> = evidence
        .refunds
        .iter()
        .map(|row| row.partner_refund_id.as_str())
        .collect();
    found.check("M9", ours.len() == evidence.refunds.len(), || {
        "two refunds share one id towards Alipay".to_owned()
    });
    for request in &evidence.requests {
        let Some(id) = request["partner_refund_id"].as_str() else {
            continue;
        };
        found.check("M4", ours.contains(id), || {
            format!("Alipay was asked about the refund {id}, which the gateway does not have")
        });
    }
    let mut returned: BTreeMap<&str, i64> = BTreeMap::new();
    for refund in &evidence.ledger {
        let id = refund["partner_refund_id"].as_str().unwrap_or_default();
        found.check("M7", refund["portal"] == true || ours.contains(id), || {
            format!("Alipay holds the refund {id}, the gateway has no row for it")
        });
        if matches!(refund["status"].as_str(), Some("SUCCESS" | "PROCESSING")) {
            let trade = refund["partner_trans_id"].as_str().unwrap_or_default();
            *returned.entry(trade).or_default() += refund["amount_minor"].as_i64().unwrap_or(0);
        }
    }
    for trade in &evidence.trades {
        let id = trade["partner_trans_id"].as_str().unwrap_or_default();
        let back = returned.get(id).copied().unwrap_or(0);
        let amount = trade["amount_minor"].as_i64().unwrap_or(0);
        found.check("M3", back <= amount, || {
            format!("Alipay returns {back} of {amount} of {id}")
        });
        let canceled = trade["close_reason"] == "canceled_paid";
        found.check("T4", !canceled || back == 0, || {
            format!("{id} was canceled and refunded")
        });
    }
}

/// M3: a payment's books are those of its refunds.
fn books(evidence: &RefundEvidence, found: &mut Findings) {
    for payment in &evidence.payments {
        let of_it = || {
            evidence
                .refunds
                .iter()
                .filter(|refund| refund.payment_id == payment.payment_id)
        };
        let sum = |holds: &dyn Fn(&RefundRow) -> bool| -> i64 {
            of_it()
                .filter(|refund| holds(refund))
                .map(|refund| refund.amount_minor)
                .sum()
        };
        let reserved = sum(&|refund| refund.status != "failed");
        let refunded = sum(&|refund| refund.status == "succeeded");
        let id = &payment.partner_trans_id;
        found.check("M3", payment.refund_reserved_minor == reserved, || {
            format!(
                "{id}: {} is reserved, its refunds hold {reserved}",
                payment.refund_reserved_minor
            )
        });
        found.check("M3", payment.refunded_minor == refunded, || {
            format!(
                "{id}: {} is refunded, its refunds returned {refunded}",
                payment.refunded_minor
            )
        });
        found.check("M3", reserved <= payment.amount_minor, || {
            format!(
                "{id}: its refunds hold {reserved} of {}",
                payment.amount_minor
            )
        });
        // What Alipay closed after it was paid keeps its refunds.
        let takes_refunds = payment.status == "succeeded"
            || payment.status_reason.as_deref() == Some("closed_after_payment");
        found.check("T4", takes_refunds || reserved == 0, || {
            format!("{id} is {} and has refunds", payment.status)
        });
    }
}

/// In the keys of refunds that a person asks for a second time.
#[cfg(feature = "failpoints")]
pub(crate) const AGAIN: &str = "-again-";
/// How long after a refund the same amount is suspected to be the same refund.
const SUSPECTED_FOR: TimeDelta = TimeDelta::seconds(60);

/// D9: the same amount of the same payment is not returned twice by two keys while the first refund is open
/// or just done, unless its caller allows that.
fn duplicates(evidence: &RefundEvidence, found: &mut Findings) {
    let ours = || {
        let rows = evidence.refunds.iter();
        rows.filter(|row| evidence.settled && row.origin == "gateway")
    };
    for first in ours() {
        for second in ours().filter(|second| {
            second.again
                && second.payment_id == first.payment_id
                && second.amount_minor == first.amount_minor
                && second.refund_id > first.refund_id
        }) {
            let free_at = match (first.status.as_str(), first.ended_at) {
                ("failed", Some(at)) => Some(at),
                ("succeeded", Some(at)) => Some(at + SUSPECTED_FOR),
                _ => None,
            };
            let had_failed = first.failed_at.is_some_and(|at| second.created_at >= at);
            let free = had_failed || free_at.is_some_and(|at| second.created_at >= at);
            found.check("D9", free, || {
                format!(
                    "{} and {} of {} return {} twice: {:?}",
                    first.partner_refund_id,
                    second.partner_refund_id,
                    first.partner_trans_id,
                    first.amount_minor,
                    (first.ended_at, second.created_at),
                )
            });
        }
    }
}

/// M4, M6, S3: the gateway's word against the ledger's.
fn money(case: &Case<'_>, found: &mut Findings) {
    let row = case.row;
    let (status, amount) = case.theirs.map_or(("none", None), |theirs| {
        (
            theirs["status"].as_str().unwrap_or_default(),
            theirs["amount_minor"].as_i64(),
        )
    });
    found.check(
        "M4",
        amount.is_none_or(|amount| amount == row.amount_minor),
        || {
            format!(
                "{}: another amount at Alipay: {:?}",
                case.name(),
                case.theirs
            )
        },
    );
    let lie = case.requests.iter().any(|request| {
        request["fault"]["type"] == "late_effect" && request["fault"]["answer"] == "success"
    });
    // That it is not done can only be known by an answer to a question that was asked since.
    let told_otherwise = case.attempts.iter().any(|attempt| {
        attempt.kind == "refund_query"
            && attempt.answer_class.as_deref() == Some("not_found")
            && row.ended_at.is_some_and(|end| attempt.sent_at > end)
    });
    let (agrees, invariant) = match row.status.as_str() {
        "succeeded" if lie => (status == "SUCCESS" || !told_otherwise, "S10"),
        "succeeded" => (status == "SUCCESS", "M6"),
        // What Alipay contradicts stands on the work-list.
        "failed" => (
            row.contradicted || matches!(status, "none" | "FAILED" | "CANCELED"),
            "S3",
        ),
        "pending" | "unresolved" => (!case.settled, "M6"),
        _ => (false, "S1"),
    };
    // What contradicts the books stands there until somebody has settled it.
    let stands = agrees || case.on_work_list;
    found.check(invariant, stands, || {
        format!("{}: but Alipay's ledger has {:?}", case.name(), case.theirs)
    });
    let was_late = case
        .requests
        .iter()
        .any(|request| request["fault"]["type"] == "late_effect");
    found.check("M11", stands || !was_late, || {
        format!("{}: an effect after its answer was missed", case.name())
    });
    let done = row.status == "failed";
    found.check("M11", !(done && case.may_act), || {
        format!("{}: done, and its request may still act", case.name())
    });
    let told = case.notifications.iter().any(|notification| {
        notification["attempts"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|attempt| attempt["result"] == "acknowledged" && attempt["fault"].is_null())
    });
    let stands = row.contradicted || case.on_work_list;
    let dropped = told && row.status == "failed" && status == "SUCCESS" && !stands;
    found.check("S10", !dropped, || {
        format!(
            "{}: Alipay notified that it is done, and neither the books nor the work-list say so",
            case.name()
        )
    });
}

const LEGAL: [(&str, &str); 11] = [
    ("succeeded", "succeeded"),
    ("pending", "pending"),
    ("pending", "succeeded"),
    ("pending", "failed"),
    ("pending", "unresolved"),
    ("unresolved", "unresolved"),
    ("unresolved", "succeeded"),
    ("unresolved", "failed"),
    ("succeeded", "failed"),
    // What Alipay contradicts: kept, settled, or accepted.
    ("failed", "failed"),
    ("failed", "succeeded"),
];

/// S1, S7: a gapless chain of legal moves, one per change.
fn chain(case: &Case<'_>, found: &mut Findings) {
    let versions: Vec<i64> = case.transitions.iter().map(|step| step.version).collect();
    let all: Vec<i64> = (1..=case.row.version).collect();
    found.check("S1", versions == all, || {
        format!(
            "{}: transitions {versions:?} at version {}",
            case.name(),
            case.row.version
        )
    });
    let mut status: Option<&str> = None;
    for step in &case.transitions {
        let from = step.from_status.as_deref();
        found.check("S1", from == status, || {
            format!(
                "{}: {} goes from {from:?}, it was {status:?}",
                case.name(),
                step.event
            )
        });
        let legal = from.is_none_or(|from| LEGAL.contains(&(from, step.to_status.as_str())));
        found.check("S1", legal, || {
            format!(
                "{}: {} goes from {from:?} to {}",
                case.name(),
                step.event,
                step.to_status
            )
        });
        let undoes = from == Some("failed") && step.to_status == "succeeded";
        let was_contradicted = case
            .transitions
            .iter()
            .any(|said| said.version < step.version && said.event == "refund_contradicted");
        found.check("S1", !undoes || was_contradicted, || {
            format!("{}: {} undoes an end", case.name(), step.event)
        });
        status = Some(&step.to_status);
    }
    found.check("S1", status == Some(case.row.status.as_str()), || {
        format!("{}: its history ends {status:?}", case.name())
    });
}

/// S3, S8, V1: an end is caused by a verified word, or by an operator with grounds.
fn causes(case: &Case<'_>, found: &mut Findings) {
    for step in &case.transitions {
        let ends = matches!(step.to_status.as_str(), "succeeded" | "failed")
            && step.from_status.as_deref() != Some(step.to_status.as_str());
        if !ends {
            continue;
        }
        let by_operator = step.event == "refund_resolved";
        if by_operator {
            let justification = step.reason.is_some() && step.ticket.is_some();
            found.check("S8", justification && step.api_key_id.is_some(), || {
                format!("{}: resolved without grounds", case.name())
            });
            continue;
        }
        let class = step.attempt_id.and_then(|id| {
            let attempt = case
                .attempts
                .iter()
                .find(|attempt| attempt.attempt_id == id);
            attempt.and_then(|attempt| attempt.answer_class.as_deref())
        });
        let told = match step.to_status.as_str() {
            "succeeded" => class == Some("success") || step.statement_file_id.is_some(),
            _ => matches!(
                class,
                Some("declined" | "closed" | "not_found" | "access_refused")
            ),
        };
        found.check("S3", told, || {
            format!("{}: {} was caused by {class:?}", case.name(), step.event)
        });
    }
}

/// M4: one id, one amount, and each request recorded before it was sent.
fn requests(case: &Case<'_>, found: &mut Findings) {
    let sent = case
        .requests
        .iter()
        .filter(|request| request["service"] == "refund");
    for request in sent {
        let amount = request["params"]["refund_amount"]
            .as_str()
            .unwrap_or_default();
        let minor = case.row.amount_minor;
        let ours = format!("{}.{:02}", minor / 100, minor % 100);
        found.check("M4", amount == ours, || {
            format!("{}: sent with {amount}", case.name())
        });
        let trade = request["partner_trans_id"].as_str();
        found.check(
            "M4",
            trade == Some(case.row.partner_trans_id.as_str()),
            || format!("{}: sent for {trade:?}", case.name()),
        );
    }
    let count = |service: &str| {
        case.requests
            .iter()
            .filter(|request| request["service"] == service)
            .count()
    };
    for (service, kind) in [("refund", "refund"), ("refund_query", "refund_query")] {
        let attempts = case
            .attempts
            .iter()
            .filter(|attempt| attempt.kind == kind)
            .count();
        found.check("M7", count(service) <= attempts, || {
            format!(
                "{}: {} {service} requests, {attempts} attempts",
                case.name(),
                count(service)
            )
        });
    }
    let submits = case
        .attempts
        .iter()
        .filter(|attempt| attempt.kind == "refund")
        .count();
    found.check(
        "S8",
        usize::try_from(case.row.submits) == Ok(submits),
        || {
            format!(
                "{}: {} submits, {submits} attempts",
                case.name(),
                case.row.submits
            )
        },
    );
    let checks = case.attempts.len() - submits;
    found.check(
        "S8",
        usize::try_from(case.row.checks_done) == Ok(checks),
        || {
            format!(
                "{}: {} checks, {checks} attempts",
                case.name(),
                case.row.checks_done
            )
        },
    );
    let early = case
        .attempts
        .iter()
        .any(|attempt| attempt.sent_at < case.row.created_at);
    found.check("M7", !early, || {
        format!("{}: asked before its intent", case.name())
    });
}

/// C8, C9: an open refund has one row of the schedule, a final one none.
fn schedule(case: &Case<'_>, found: &mut Findings) {
    let open =
        matches!(case.row.status.as_str(), "pending" | "unresolved") || case.row.contradicted;
    found.check("C8", case.follow_ups == i64::from(open), || {
        format!("{}: {} follow-ups", case.name(), case.follow_ups)
    });
}

/// V4: what was acknowledged is noted, and was told by Alipay (V1). S3: what a notification says settles nothing.
fn notified(case: &Case<'_>, found: &mut Findings) {
    for notification in &case.notifications {
        let acknowledged = |attempt: &&Value| attempt["result"] == "acknowledged";
        let attempts = notification["attempts"].as_array().into_iter().flatten();
        let acknowledged: Vec<&Value> = attempts.filter(acknowledged).collect();
        let notify_id = notification["notify_id"].as_str().unwrap_or_default();
        let is_noted = case.noted.contains(notify_id);
        found.check("V4", acknowledged.is_empty() || is_noted, || {
            format!("{}: acknowledged and not noted", case.name())
        });
        let forged = acknowledged.iter().any(|attempt| {
            let fault = attempt["fault"]["type"].as_str().unwrap_or_default();
            matches!(
                fault,
                "forged_signature" | "missing_sign" | "downgraded_sign_type"
            )
        });
        found.check("V1", !forged, || {
            format!("{}: a forgery was acknowledged", case.name())
        });
    }
    let settled_by_one = case
        .transitions
        .iter()
        .any(|step| step.notification_id.is_some());
    found.check("S3", !settled_by_one, || {
        format!("{}: settled by a notification", case.name())
    });
}

/// What callers see is what is stored; T2: the batch that is waited for opens after the acceptance.
fn view(case: &Case<'_>, found: &mut Findings) {
    let Some(view) = case.view else { return };
    let same = view["status"] == case.row.status.as_str()
        && view["status_reason"].as_str() == case.row.status_reason.as_deref()
        && view["amount"]["value"] == case.row.amount_minor
        && view["checks_done"] == case.row.checks_done;
    found.check("S2", same, || format!("{}: shown as {view}", case.name()));
    let time = |value: &Value| value.as_str()?.parse::<DateTime<Utc>>().ok();
    let (opens, accepted) = (
        time(&view["window"]["opens_at"]),
        time(&view["accepted_at"]),
    );
    let later = opens.zip(accepted).is_none_or(|(o, a)| o > a);
    found.check("T2", later, || {
        format!("{}: expected in a batch that was open: {view}", case.name())
    });
}

/// Ends a world in which the oracle of refunds finds nothing.
pub(crate) async fn finish(world: World) {
    world.settle_calls().await;
    let violations = judge_refunds(&RefundEvidence::of(&world, false).await);
    assert!(violations.is_empty(), "{violations:#?}");
    world.finish().await;
}
