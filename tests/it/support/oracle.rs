//! The oracle: one function that compares what Alipay really did (the simulator's ledger and its
//! log of requests) with what the gateway stored (SQL), shows (API) and told its callers (their
//! history), and names every invariant of `docs/invariants.md` that does not hold.
//!
//! It shares no code with the gateway: the legal moves, the classes of answers and the calendar are
//! written down here a second time.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, FixedOffset, NaiveDate, TimeDelta, Utc};
use serde_json::Value;
use sqlx::{FromRow, PgPool};
use uuid::Uuid;

use super::{
    World,
    http::{Caller, Given},
    violation::{Findings, Violation},
};

/// What a caller asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A create.
    Create {
        /// The idempotency key.
        key: String,
        /// The merchant's own number, where it was noted.
        reference: Option<String>,
        /// Whether the body was the one the key was first used with.
        same_body: bool,
    },
    /// A cancel by the payment's id.
    Cancel(String),
    /// A cancel by the merchant's number.
    CancelReference(String),
    /// A cancel by the idempotency key.
    CancelKey(String),
    /// Anything else that answers with a payment.
    Other,
}

/// What one caller was told, in the order in which that caller heard it.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    /// Who: one caller asks one thing after the other.
    pub(crate) caller: usize,
    /// What was asked.
    pub(crate) asked: Asked,
    /// The HTTP status.
    pub(crate) status: u16,
    /// Whether the answer said that it was a replay.
    pub(crate) replayed: bool,
    /// The header `Retry-After`, empty without it; none for an item of a list.
    pub(crate) retry_after: Option<String>,
    /// Who answered, and when.
    pub(crate) given: Given,
    /// The body.
    pub(crate) body: Value,
}

#[derive(Debug, FromRow)]
struct PaymentRow {
    payment_id: Uuid,
    version: i64,
    merchant_reference: String,
    partner_trans_id: String,
    amount_minor: i64,
    currency: String,
    status: String,
    status_reason: Option<String>,
    money_returned: Option<bool>,
    alipay_trans_id: Option<String>,
    charged: bool,
    paid_at: Option<DateTime<Utc>>,
    cancel_reason: Option<String>,
    refunded_minor: i64,
    contradicted: bool,
    has_refunds: bool,
    /// When a refund of it last failed because its trade is closed.
    denied_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

#[derive(Debug, FromRow)]
struct TransitionRow {
    payment_id: Uuid,
    version: i64,
    event: String,
    from_status: Option<String>,
    from_status_reason: Option<String>,
    to_status: String,
    to_status_reason: Option<String>,
    api_key_id: Option<Uuid>,
    follow_up_id: Option<Uuid>,
    attempt_id: Option<Uuid>,
    statement_file_id: Option<Uuid>,
    reason: Option<String>,
    ticket: Option<String>,
    at: DateTime<Utc>,
}

#[derive(Debug, FromRow)]
struct AttemptRow {
    payment_id: Uuid,
    attempt_id: Uuid,
    kind: String,
    sent_at: DateTime<Utc>,
    answer_class: Option<String>,
}

/// Everything there is to compare.
pub(crate) struct Evidence {
    payments: Vec<PaymentRow>,
    transitions: BTreeMap<Uuid, Vec<TransitionRow>>,
    attempts: BTreeMap<Uuid, Vec<AttemptRow>>,
    /// Live rows of the schedule per payment.
    follow_ups: BTreeMap<Uuid, i64>,
    /// The payment of each key; none for a tombstone.
    keys: BTreeMap<String, Option<Uuid>>,
    /// The payment of each merchant's number; none for a tombstone.
    references: BTreeMap<String, Option<Uuid>>,
    trades: Vec<Value>,
    /// What answered requests will still do at Alipay.
    late_effects: Vec<Value>,
    /// What stands on the work-list, by its id.
    work_list: BTreeSet<String>,
    /// The days of which a transaction file was imported.
    files: BTreeSet<NaiveDate>,
    /// What Alipay received, by our id in it.
    requests: BTreeMap<String, Vec<Value>>,
    /// `GET /v1/payments/{id}` of each payment.
    views: BTreeMap<Uuid, Value>,
    heard: Vec<Heard>,
    /// Whether all faults have stopped and the time to settle has passed.
    settled: bool,
    /// Whether every replica has lived to this day.
    undisturbed: bool,
    /// How long "the trade does not exist" stays "not yet".
    grace: TimeDelta,
}

impl Evidence {
    /// Gathers it. `settled` says that every payment should have reached its end.
    pub(crate) async fn of(world: &World, heard: &[Heard], settled: bool) -> Self {
        let till = world.till_at(world.replicas.len() - 1);
        let mut readers = vec![till];
        readers.extend(world.readers.iter().cloned());
        let evidence = Self::gather(&world.pool, &world.simulator, &readers, heard, settled).await;
        let undisturbed = world.dead.is_empty();
        let operator = world.operator_at(world.replicas.len() - 1);
        Self {
            undisturbed,
            work_list: operator.work_list().await,
            ..evidence
        }
    }

    /// The same from the parts of another set-up. Each payment is read by the one of `readers` whose
    /// it is.
    pub(crate) async fn gather(
        pool: &PgPool,
        simulator: &super::alipay::Simulator,
        readers: &[Caller],
        heard: &[Heard],
        settled: bool,
    ) -> Self {
        let trades = simulator.trades().await;
        let mut requests: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for request in simulator.requests().await {
            // The other oracle's.
            if matches!(request["service"].as_str(), Some("refund" | "refund_query")) {
                continue;
            }
            let about = subject(&request).unwrap_or("nothing").to_owned();
            // A question about nothing, by which it is found out whether Alipay answers again.
            if request["service"] == "query" && about.starts_with('N') {
                continue;
            }
            requests.entry(about).or_default().push(request);
        }
        let payments: Vec<PaymentRow> = rows(
            pool,
            "select payment_id, version, merchant_reference, partner_trans_id, amount_minor,
                currency, status, status_reason, money_returned, alipay_trans_id, charged,
                paid_at, cancel_reason, refunded_minor, contradicted_at is not null as contradicted,
                exists (select from refund where refund.payment_id = payment.payment_id) as has_refunds,
                (select max(finalized_at) from refund where refund.payment_id = payment.payment_id
                    and refund.failure_code = 'TRADE_HAS_CLOSE') as denied_at,
                created_at
            from payment order by payment_id",
        )
        .await;
        let transitions = rows::<TransitionRow>(
            pool,
            "select payment_id, version, event, from_status, from_status_reason, to_status,
                to_status_reason, api_key_id, follow_up_id, attempt_id, statement_file_id, reason, ticket,
                at
            from payment_transition order by payment_id, version",
        )
        .await;
        let attempts = rows::<AttemptRow>(
            pool,
            "select payment_id, attempt_id, kind, sent_at, answer_class
            from attempt where refund_id is null order by payment_id, attempt_id",
        )
        .await;
        let mut views = BTreeMap::new();
        for payment in &payments {
            let id = format!("pay_{}", payment.payment_id.simple());
            views.insert(payment.payment_id, shown(readers, &id).await);
        }
        Self {
            payments,
            transitions: by_payment(transitions, |row| row.payment_id),
            attempts: by_payment(attempts, |row| row.payment_id),
            follow_ups: rows::<(Uuid, i64)>(
                pool,
                "select subject_id, count(*) from follow_up
                left join payment on payment.payment_id = subject_id
                where parked_at is null
                    -- A question that is owed besides the plan is about a settled payment as well.
                    and (question_due_at is null or payment.cancel_reason is not null
                        or payment.status in ('processing', 'unresolved'))
                group by subject_id",
            )
            .await
            .into_iter()
            .collect(),
            keys: rows::<(String, Option<Uuid>)>(
                pool,
                "select idempotency_key, payment_id from idempotency_key where refund_id is null",
            )
            .await
            .into_iter()
            .collect(),
            references: rows::<(String, Option<Uuid>)>(
                pool,
                "select merchant_reference, payment_id from merchant_reference",
            )
            .await
            .into_iter()
            .collect(),
            trades,
            late_effects: simulator.late_effects().await,
            work_list: BTreeSet::new(),
            files: rows::<(NaiveDate,)>(
                pool,
                "select day from statement_file
                where kind = 'transaction' and imported_at is not null",
            )
            .await
            .into_iter()
            .map(|(day,)| day)
            .collect(),
            requests,
            views,
            heard: heard.to_vec(),
            settled,
            undisturbed: false,
            grace: grace(TimeDelta::seconds(10)),
        }
    }

    /// Of gateways that wait for so long for the answer to a pay.
    pub(crate) fn with_pay_timeout(self, pay_timeout: TimeDelta) -> Self {
        Self {
            grace: grace(pay_timeout),
            ..self
        }
    }
}

impl Evidence {
    /// What was met, for the report of a run.
    pub(crate) fn meters(&self) -> Value {
        let mut meters: BTreeMap<String, u64> = BTreeMap::new();
        let mut count = |name: String, times: usize| {
            *meters.entry(name).or_default() += u64::try_from(times).unwrap_or(u64::MAX);
        };
        count("payments".to_owned(), self.payments.len());
        let tombs = |owners: &BTreeMap<String, Option<Uuid>>| {
            owners.values().filter(|owner| owner.is_none()).count()
        };
        count(
            "tombstones".to_owned(),
            tombs(&self.keys) + tombs(&self.references),
        );
        for chain in self.transitions.values() {
            let canceling = chain
                .iter()
                .position(|step| step.event == "cancel_started")
                .unwrap_or(usize::MAX);
            for (position, step) in chain.iter().enumerate() {
                let from = step.from_status.as_deref().unwrap_or("nothing");
                count(format!("move {from} -> {}", step.to_status), 1);
                if step.event == "paid" && position > canceling {
                    count("late successes under a cancel".to_owned(), 1);
                }
                if step.event == "resolved" {
                    count("decisions of operators".to_owned(), 1);
                }
            }
        }
        for request in self.requests.values().flatten() {
            if let Some(fault) = request["fault"]["type"].as_str() {
                count(format!("fault {fault}"), 1);
            }
        }
        serde_json::json!(meters)
    }
}

/// `GET /v1/payments/{id}` as its merchant sees it, which is one of these.
async fn shown(readers: &[Caller], id: &str) -> Value {
    let (last, others) = readers.split_last().expect("somebody reads");
    for reader in others {
        let answer = reader.get_payment(id).await;
        if answer.status != 404 {
            assert_eq!(answer.status, 200, "{answer:?}");
            return answer.body;
        }
    }
    last.payment(id).await
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

fn by_payment<T>(rows: Vec<T>, id: impl Fn(&T) -> Uuid) -> BTreeMap<Uuid, Vec<T>> {
    let mut map: BTreeMap<Uuid, Vec<T>> = BTreeMap::new();
    for row in rows {
        map.entry(id(&row)).or_default().push(row);
    }
    map
}

/// Every violation in the evidence, each named once.
pub(crate) fn judge(evidence: &Evidence) -> Vec<Violation> {
    let mut found = Findings::default();
    identities(evidence, &mut found);
    for payment in &evidence.payments {
        let case = Case::of(evidence, payment);
        money(&case, &mut found);
        reversal(&case, &mut found);
        not_done_yet(&case, &mut found);
        chain(&case, &mut found);
        causes(&case, &mut found);
        requests(&case, &mut found);
        schedule(&case, &mut found);
        view(&case, &mut found);
    }
    callers(evidence, &mut found);
    standing(evidence, &mut found);
    ends(evidence, &mut found);
    versions_of_a_process(evidence, &mut found);
    tombstones(evidence, &mut found);
    refused_cancels(evidence, &mut found);
    found.into_vec()
}

/// What besides the rows decides whether a payment is as it should be.
struct Circumstances {
    /// Whether a cancel that Alipay has answered may still act there.
    cancel_may_act: bool,
    on_work_list: bool,
    /// Whether a file was imported of the day on which Alipay closed the trade.
    in_a_file: bool,
    /// How long "the trade does not exist" stays "not yet".
    grace: TimeDelta,
}

/// One payment with everything about it.
struct Case<'a> {
    row: &'a PaymentRow,
    transitions: &'a [TransitionRow],
    attempts: &'a [AttemptRow],
    follow_ups: i64,
    trade: Option<&'a Value>,
    circumstances: Circumstances,
    requests: &'a [Value],
    view: Option<&'a Value>,
    settled: bool,
    undisturbed: bool,
}

impl<'a> Case<'a> {
    fn of(evidence: &'a Evidence, row: &'a PaymentRow) -> Self {
        let id = &row.payment_id;
        let trade = evidence
            .trades
            .iter()
            .find(|trade| trade["partner_trans_id"] == row.partner_trans_id.as_str());
        let closed_at = time(trade.and_then(|trade| trade.get("closed_at")));
        Self {
            row,
            transitions: evidence.transitions.get(id).map_or(&[], Vec::as_slice),
            attempts: evidence.attempts.get(id).map_or(&[], Vec::as_slice),
            follow_ups: evidence.follow_ups.get(id).copied().unwrap_or(0),
            trade,
            circumstances: Circumstances {
                cancel_may_act: evidence.late_effects.iter().any(|effect| {
                    effect["service"] == "cancel"
                        && effect["partner_trans_id"] == row.partner_trans_id.as_str()
                }),
                on_work_list: evidence
                    .work_list
                    .contains(&format!("pay_{}", row.payment_id.simple())),
                in_a_file: closed_at.is_some_and(|at| evidence.files.contains(&day_of(at))),
                grace: evidence.grace,
            },
            requests: evidence
                .requests
                .get(&row.partner_trans_id)
                .map_or(&[], Vec::as_slice),
            view: evidence.views.get(id),
            settled: evidence.settled,
            undisturbed: evidence.undisturbed,
        }
    }

    fn name(&self) -> String {
        format!(
            "{} ({} {}, {})",
            self.row.merchant_reference,
            self.row.status,
            self.row.status_reason.as_deref().unwrap_or("-"),
            self.row.partner_trans_id,
        )
    }

    fn attempt(&self, id: Option<Uuid>) -> Option<&AttemptRow> {
        let id = id?;
        self.attempts
            .iter()
            .find(|attempt| attempt.attempt_id == id)
    }
}

/// Which payment a request is about.
fn subject(request: &Value) -> Option<&str> {
    request["partner_trans_id"]
        .as_str()
        .or_else(|| request["out_trade_no"].as_str())
}

/// M1, M7, M9, D1, D3: identities on both sides.
fn identities(evidence: &Evidence, found: &mut Findings) {
    let ours: BTreeSet<&str> = evidence
        .payments
        .iter()
        .map(|row| row.partner_trans_id.as_str())
        .collect();
    found.check("M9", ours.len() == evidence.payments.len(), || {
        "two payments share one id towards Alipay".to_owned()
    });
    for id in evidence.requests.keys() {
        found.check("M1", ours.contains(id.as_str()), || {
            format!("Alipay was asked about {id}, which no payment has")
        });
    }
    for trade in &evidence.trades {
        let id = trade["partner_trans_id"].as_str().unwrap_or_default();
        found.check("M7", ours.contains(id), || {
            format!("Alipay holds the trade {id}, the gateway has no row for it")
        });
    }
    let mut references = BTreeSet::new();
    for row in &evidence.payments {
        let reference = row.merchant_reference.as_str();
        found.check("D3", references.insert(reference), || {
            format!("two payments for the order {reference}")
        });
    }
    let of_keys: BTreeSet<&Uuid> = evidence.keys.values().flatten().collect();
    for row in &evidence.payments {
        found.check("D1", of_keys.contains(&row.payment_id), || {
            format!("{} has no key", row.merchant_reference)
        });
        let owner = evidence.references.get(&row.merchant_reference);
        found.check("D3", owner == Some(&Some(row.payment_id)), || {
            format!("{} belongs to {owner:?}", row.merchant_reference)
        });
    }
}

/// S5: a caller who was told that nothing existed, and that nothing ever will, is right.
fn tombstones(evidence: &Evidence, found: &mut Findings) {
    let is_tomb = |owners: &BTreeMap<String, Option<Uuid>>, name: &str| {
        owners.get(name).is_some_and(Option::is_none)
    };
    for heard in &evidence.heard {
        let (status, body) = (heard.status, &heard.body);
        let stands = match &heard.asked {
            Asked::CancelReference(name) if body["object"] == "canceled_before_creation" => {
                is_tomb(&evidence.references, name)
            }
            Asked::CancelKey(key) if body["object"] == "canceled_before_creation" => {
                is_tomb(&evidence.keys, key)
            }
            Asked::Create { key, reference, .. } => {
                let reference = reference.as_deref().unwrap_or_default();
                let blocked =
                    is_tomb(&evidence.keys, key) || is_tomb(&evidence.references, reference);
                match (status, body["code"].as_str()) {
                    (409, Some("canceled_before_creation")) => blocked,
                    (200..300, _) => !blocked,
                    _ => true,
                }
            }
            _ => true,
        };
        found.check("S5", stands, || {
            format!(
                "{:?} was answered {status} {body}, against the tombstones",
                heard.asked
            )
        });
    }
}

/// S6: a cancel that was refused did not take place after all.
fn refused_cancels(evidence: &Evidence, found: &mut Findings) {
    let cancels = evidence.heard.iter().filter(|heard| {
        let is_cancel = matches!(
            heard.asked,
            Asked::Cancel(_) | Asked::CancelReference(_) | Asked::CancelKey(_)
        );
        is_cancel && heard.status == 409
    });
    for heard in cancels {
        let body = &heard.body;
        let row = body["payment_id"]
            .as_str()
            .and_then(|id| evidence.payments.iter().find(|row| is_named(row, id)));
        let Some(row) = row else {
            found.check("S6", false, || format!("refused without a payment: {body}"));
            continue;
        };
        let stands = match (body["code"].as_str(), body["alternative"].as_str()) {
            // A refund of it is in the way, or was and failed since.
            (Some("invalid_state"), _) => row.status == "failed" || row.has_refunds,
            // None was sent, so it is Alipay that closed it, if it is closed.
            (Some("cancel_window_closed"), Some("refund"))
                if body["attempted"] == "false"
                    && row.status_reason.as_deref() == Some("closed_after_payment") =>
            {
                true
            }
            (Some("cancel_window_closed"), Some("refund")) | (Some("cancel_refused"), None) => {
                !evidence.settled || row.status == "succeeded"
            }
            // Nothing was said of the outcome.
            (Some("cancel_window_closed"), Some("wait")) => true,
            _ => false,
        };
        found.check("S6", stands, || {
            format!(
                "{} is {} {:?}, but its cancel was refused: {body}",
                row.merchant_reference, row.status, row.status_reason
            )
        });
    }
}

fn is_named(row: &PaymentRow, id: &str) -> bool {
    format!("pay_{}", row.payment_id.simple()) == id
}

/// M2, M6, S5: the gateway's word against the ledger's.
fn money(case: &Case<'_>, found: &mut Findings) {
    let row = case.row;
    let open = matches!(row.status.as_str(), "processing" | "unresolved");
    if let Some(trade) = case.trade {
        let same = trade["amount_minor"] == row.amount_minor && trade["currency"] == row.currency;
        found.check("M2", same, || {
            format!("{}: another amount at Alipay: {trade}", case.name())
        });
        let theirs = trade["alipay_trans_id"].as_str();
        let agrees = row.alipay_trans_id.is_none() || row.alipay_trans_id.as_deref() == theirs;
        found.check("S9", agrees, || {
            format!(
                "{}: another trade's number was stored: {trade}",
                case.name()
            )
        });
        let paid_at = trade["paid_at"]
            .as_str()
            .and_then(|text| text.parse::<DateTime<Utc>>().ok());
        let same_time = match (row.paid_at, paid_at) {
            (Some(ours), Some(theirs)) => ours.timestamp() == theirs.timestamp(),
            _ => true,
        };
        found.check("T1", same_time, || {
            format!(
                "{}: paid at {:?}, not {paid_at:?}",
                case.name(),
                row.paid_at
            )
        });
    }
    if open || row.cancel_reason.is_some() {
        found.check("M6", !case.settled || is_for_a_person(case), || {
            format!(
                "{}: still open after the time to settle: {:?}",
                case.name(),
                case.trade
            )
        });
        return;
    }
    // What Alipay contradicts stands on the work-list, and is no end for anybody.
    if row.contradicted {
        return;
    }
    let (status, charged, refunded) = ledger(case.trade);
    if case.trade.is_some_and(is_closed_by_alipay) {
        return contradiction(case, refunded, found);
    }
    let (agrees, invariant) = match row.status.as_str() {
        "succeeded" => {
            // What refunds returned in full is closed.
            let closed = status == "TRADE_CLOSED" && refunded == row.amount_minor;
            let stands = status == "TRADE_SUCCESS" || closed;
            // Of a refund that Alipay has made the gateway may not know yet.
            let known =
                refunded == row.refunded_minor || (!case.settled && refunded > row.refunded_minor);
            (stands && charged && known, "M6")
        }
        "failed" => (!charged && status != "WAIT_BUYER_PAY", "S3"),
        "canceled" if row.money_returned == Some(true) => {
            (charged && refunded == row.amount_minor, "S6")
        }
        "canceled" if row.status_reason.as_deref() == Some("never_created") => {
            (status == "none", "S6")
        }
        "canceled" => (!charged && matches!(status, "TRADE_CLOSED" | "none"), "S6"),
        _ => (false, "S1"),
    };
    // A charge that stayed with the merchant while the caller was told otherwise is the worst.
    let kept = charged && refunded == 0 && row.status != "succeeded";
    found.check("S5", !kept, || {
        format!("{}: but the money was taken: {:?}", case.name(), case.trade)
    });
    // What contradicts the books stands there until somebody has settled it.
    let agrees = agrees || case.circumstances.on_work_list;
    found.check(invariant, agrees, || {
        format!("{}: but Alipay's ledger has {:?}", case.name(), case.trade)
    });
    let was_late = case
        .requests
        .iter()
        .any(|request| request["fault"]["type"] == "late_effect");
    found.check("M11", agrees || !was_late, || {
        format!(
            "{}: an effect after its answer was missed: {:?}",
            case.name(),
            case.trade
        )
    });
    let knows = row.status != "succeeded" || row.charged;
    found.check("M6", knows, || {
        format!("{}: a success without its charge", case.name())
    });
}

/// Whether Alipay closed the trade by itself after it was paid.
fn is_closed_by_alipay(trade: &Value) -> bool {
    matches!(
        trade["close_reason"].as_str(),
        Some("closed_returned" | "closed_kept")
    )
}

/// S10, M12: what Alipay did by itself to a paid trade, and the gateway was told of, is in its books or
/// stands on the work-list.
fn contradiction(case: &Case<'_>, refunded: i64, found: &mut Findings) {
    if !case.settled || case.circumstances.on_work_list {
        return;
    }
    let row = case.row;
    let closed_at = time(case.trade.and_then(|trade| trade.get("closed_at")));
    let asked = case.requests.iter().any(|request| {
        request["service"] == "query"
            && request["answer"] == "sent"
            && request["fault"].is_null()
            && time(request.get("received_at")) > closed_at
    });
    let told = asked || case.circumstances.in_a_file || row.denied_at > closed_at;
    let returned = match row.status.as_str() {
        "canceled" if row.money_returned == Some(true) => row.amount_minor,
        "succeeded" => row.refunded_minor,
        _ => 0,
    };
    found.check("S10", !told || returned == refunded, || {
        format!(
            "{}: Alipay closed it, and neither the books nor the work-list say so: {:?}",
            case.name(),
            case.trade
        )
    });
}

/// The day in Hong Kong.
fn day_of(at: DateTime<Utc>) -> NaiveDate {
    let hong_kong = FixedOffset::east_opt(28_800).expect("eight hours");
    at.with_timezone(&hong_kong).date_naive()
}

fn time(value: Option<&Value>) -> Option<DateTime<Utc>> {
    value?.as_str()?.parse().ok()
}

/// How old the answer to the last question may be when a cancel leaves.
const FRESH: TimeDelta = TimeDelta::seconds(30);
/// Within what time a cancel leaves once it was decided.
const SENT_AT_ONCE: TimeDelta = TimeDelta::seconds(3);
/// How many questions in a row must have gone without an answer before a cancel may leave without one.
const UNANSWERED: usize = 2;

/// M10: a payment that Alipay had taken before our cancel left, and that no caller asked to cancel, is never
/// reversed by us; unless Alipay itself had just said that it was open, or kept silent when asked.
fn reversal(case: &Case<'_>, found: &mut Findings) {
    let Some(trade) = case
        .trade
        .filter(|trade| trade["close_reason"] == "canceled_paid")
    else {
        return;
    };
    let wished = case
        .transitions
        .iter()
        .any(|step| step.event == "cancel_started" && step.api_key_id.is_some());
    let left = case
        .requests
        .iter()
        .filter(|request| request["service"] == "cancel")
        .filter(|request| matches!(request["effect"].as_str(), Some("refunded" | "later")))
        .filter_map(|request| time(request.get("received_at")))
        .min();
    let (Some(left), Some(paid_at)) = (left, time(trade.get("paid_at"))) else {
        return;
    };
    // What another replica learns between the decision and the bytes cannot be known to it.
    let decided = case
        .attempts
        .iter()
        .filter(|attempt| attempt.kind == "cancel" && attempt.sent_at <= left)
        .map(|attempt| attempt.sent_at)
        .max()
        .filter(|decided| left - *decided <= SENT_AT_ONCE)
        .unwrap_or(left);
    // Attempts' ids sort by the time they were made.
    let asked: Vec<&AttemptRow> = case
        .attempts
        .iter()
        .filter(|attempt| attempt.kind == "query" && attempt.sent_at <= decided)
        .collect();
    let told_open = asked.last().is_some_and(|last| {
        left - last.sent_at <= FRESH
            && matches!(last.answer_class.as_deref(), Some("pending" | "not_found"))
    });
    let unanswered = asked
        .iter()
        .rev()
        .take_while(|attempt| {
            let class = attempt.answer_class.as_deref();
            !is_believed(class) && class != Some("not_found")
        })
        .count();
    let excused = wished || left <= paid_at || told_open || unanswered >= UNANSWERED;
    found.check("M10", excused, || {
        format!(
            "{}: paid at {paid_at}, reversed by a cancel of ours that left at {left}, asked {asked:?}",
            case.name()
        )
    });
}

/// M11: nothing is done while a cancel of ours, answered without a clear word, may still act.
fn not_done_yet(case: &Case<'_>, found: &mut Findings) {
    let row = case.row;
    let done = row.cancel_reason.is_none() && matches!(row.status.as_str(), "succeeded" | "failed");
    found.check("M11", !(done && case.circumstances.cancel_may_act), || {
        format!("{}: done, and its cancel may still act", case.name())
    });
}

/// Whether nothing but a person can settle it: Alipay does not know the trade, and no cancel of ours
/// was answered that it never existed. Past the window no cancel is sent, a query
/// that finds nothing proves nothing (R13), and a week of that ends `unresolved` for ever (S4).
fn is_for_a_person(case: &Case<'_>) -> bool {
    let told = case.attempts.iter().any(|attempt| {
        attempt.kind == "cancel" && attempt.answer_class.as_deref() == Some("not_found")
    });
    case.row.status == "unresolved" && case.trade.is_none() && !told
}

/// How long "the trade does not exist" stays "not yet" where the answer to the pay was lost: it leaves
/// within 12 s, its call ends after its time-out, and Alipay acts within 30 s.
fn grace(pay_timeout: TimeDelta) -> TimeDelta {
    TimeDelta::seconds(12 + 30) + pay_timeout
}

/// The trade's status, whether it was ever charged, and how much went back.
fn ledger(trade: Option<&Value>) -> (&str, bool, i64) {
    match trade {
        Some(trade) => (
            trade["status"].as_str().unwrap_or_default(),
            trade["charged"] == true,
            trade["refunded_minor"].as_i64().unwrap_or(0),
        ),
        None => ("none", false, 0),
    }
}

/// The legal moves (`docs/invariants.md` S1).
const LEGAL: [(&str, &str); 16] = [
    ("processing", "processing"),
    ("processing", "succeeded"),
    ("processing", "failed"),
    ("processing", "canceled"),
    ("processing", "unresolved"),
    ("unresolved", "succeeded"),
    ("unresolved", "failed"),
    ("unresolved", "canceled"),
    // A caller asks for a cancel of what nobody knows any more.
    ("unresolved", "unresolved"),
    ("succeeded", "canceled"),
    // A cancel begins, or is refused.
    ("succeeded", "succeeded"),
    // What Alipay contradicts: kept, settled, or accepted.
    ("failed", "failed"),
    ("failed", "succeeded"),
    ("failed", "canceled"),
    ("canceled", "canceled"),
    ("canceled", "succeeded"),
];

/// S7: that it waits for its buyer is learnt once, then its number, then its wallet.
fn waits_for_its_buyer(case: &Case<'_>, found: &mut Findings) {
    let waits = |step: &&TransitionRow| step.event == "buyer_must_confirm";
    let learnt = case.transitions.iter().filter(waits).count();
    found.check("S7", learnt <= 3, || {
        format!("{}: waits for its buyer {learnt} times", case.name())
    });
}

/// Whether a step names the wallet of what a person or a file knew to be paid: an answer does so once.
fn names_the_wallet(chain: &[TransitionRow], after: &TransitionRow) -> bool {
    let names = |step: &TransitionRow| step.event == "wallet_named";
    let by_answer = |step: &TransitionRow| names(step) && step.statement_file_id.is_none();
    names(after)
        && !chain
            .iter()
            .any(|step| by_answer(step) && step.version < after.version)
}

/// S1, S7, C7: a gapless chain of legal moves, one per change.
fn chain(case: &Case<'_>, found: &mut Findings) {
    let chain = case.transitions;
    let versions: Vec<i64> = chain.iter().map(|step| step.version).collect();
    found.check(
        "S1",
        versions == (1..=case.row.version).collect::<Vec<_>>(),
        || {
            format!(
                "{}: transitions {versions:?} at version {}",
                case.name(),
                case.row.version
            )
        },
    );
    let (Some(first), Some(last)) = (chain.first(), chain.last()) else {
        return;
    };
    found.check(
        "S1",
        first.from_status.is_none() && first.event == "created",
        || format!("{}: begins with {first:?}", case.name()),
    );
    let ends_as_row =
        last.to_status == case.row.status && last.to_status_reason == case.row.status_reason;
    found.check("S1", ends_as_row, || {
        format!("{}: ends with {last:?}", case.name())
    });
    for pair in chain.windows(2) {
        let [before, after] = pair else { continue };
        let joined = after.from_status.as_deref() == Some(&before.to_status)
            && after.from_status_reason == before.to_status_reason;
        found.check("S1", joined, || {
            format!("{}: {after:?} does not follow {before:?}", case.name())
        });
        let legal = LEGAL.contains(&(before.to_status.as_str(), after.to_status.as_str()));
        found.check("S1", legal, || {
            format!("{}: illegal {after:?}", case.name())
        });
        // A refusal or a closure is the end, unless Alipay itself says otherwise before.
        let ended = matches!(before.to_status.as_str(), "failed" | "canceled");
        let moved = (&before.to_status, &before.to_status_reason)
            != (&after.to_status, &after.to_status_reason);
        let was_contradicted = chain
            .iter()
            .any(|step| step.version < after.version && step.event == "contradicted");
        found.check("S1", !ended || !moved || was_contradicted, || {
            format!("{}: {after:?} undoes an end", case.name())
        });
        // What leaves the status alone: learning Alipay's number or the wallet, a cancel's beginning and end, that it
        // turned out paid while a cancel may still act, and what refunds do to the books.
        let changes = moved
            || matches!(
                after.event.as_str(),
                "buyer_must_confirm"
                    | "cancel_started"
                    | "cancel_refused"
                    | "access_refused"
                    | "cancel_turned_into_refund"
                    | "contradicted"
                    | "contradiction_settled"
            )
            // A person ends a cancel that does not end.
            || (after.event == "resolved"
                && chain.iter().any(|step| {
                    step.version < after.version && step.event == "cancel_started"
                }))
            // An answer names the wallet of what a person or a file knew to be paid: once.
            || names_the_wallet(chain, after)
            // It had been paid after all, and the money is back.
            || (after.event == "closed" && was_contradicted)
            || (after.event == "paid" && after.to_status_reason.as_deref() == Some("canceling"))
            || after.event.starts_with("refund_");
        found.check("S7", changes, || {
            format!("{}: {after:?} changes nothing", case.name())
        });
        found.check("S8", before.at <= after.at, || {
            format!("{}: {after:?} is older than its cause", case.name())
        });
    }
    waits_for_its_buyer(case, found);
    let caused: Vec<Uuid> = chain
        .iter()
        .filter(|step| {
            // An answer is kept as a contradiction, and may then move the books.
            !matches!(
                step.event.as_str(),
                "created" | "cancel_started" | "contradicted" | "contradiction_settled"
            )
        })
        .filter(|step| !step.event.starts_with("refund_"))
        .filter_map(|step| step.attempt_id)
        .collect();
    let distinct: BTreeSet<Uuid> = caused.iter().copied().collect();
    found.check("S7", caused.len() == distinct.len(), || {
        format!("{}: one answer made two changes: {chain:?}", case.name())
    });
    // Attempts' ids sort by the time they were made. One visit asks one question, so whoever writes
    // the answer to an older question than the last one written has lost its claim meanwhile.
    let by_the_schedule = chain
        .iter()
        .filter(|step| step.follow_up_id.is_some() && !step.event.starts_with("refund_"));
    let asked: Vec<Uuid> = by_the_schedule.filter_map(|step| step.attempt_id).collect();
    found.check("C7", asked.is_sorted(), || {
        format!(
            "{}: a worker wrote without its claim: {chain:?}",
            case.name()
        )
    });
}

/// Whether a decision was about what nobody could wait for: what is unresolved, has been open for ten
/// minutes, or was refused twice at Alipay's door.
fn needs_a_person(case: &Case<'_>, step: &TransitionRow) -> bool {
    let refused = |attempt: &&AttemptRow| attempt.answer_class.as_deref() == Some("access_refused");
    let refusals = case.attempts.iter().filter(refused);
    step.from_status.as_deref() == Some("unresolved")
        || step.at - case.row.created_at >= TimeDelta::minutes(10)
        || refusals.count() >= 2
}

/// S3, S4, S6, S8: what an end was believed on.
fn causes(case: &Case<'_>, found: &mut Findings) {
    for step in case.transitions {
        if step.event == "plan_exhausted" {
            let after = step.at - case.row.created_at;
            found.check("S4", after >= TimeDelta::days(7), || {
                format!("{}: given up after {after}", case.name())
            });
        }
        let has_grounds =
            step.api_key_id.is_some() && step.reason.is_some() && step.ticket.is_some();
        let grounded = match step.event.as_str() {
            "resolved" => {
                let was_contradicted = case
                    .transitions
                    .iter()
                    .any(|before| before.version < step.version && before.event == "contradicted");
                let may = needs_a_person(case, step) || was_contradicted;
                has_grounds && may
            }
            "refund_resolved" => has_grounds,
            "contradiction_settled" | "refund_contradiction_settled" => {
                has_grounds || step.ticket.is_none()
            }
            _ => step.ticket.is_none(),
        };
        found.check("S8", grounded, || {
            format!("{}: decided without grounds: {step:?}", case.name())
        });
        let ends = matches!(step.to_status.as_str(), "succeeded" | "failed" | "canceled")
            && step.from_status.as_ref() != Some(&step.to_status);
        // A person's word is its own cause, and so is Alipay's own book of a day.
        if !ends || step.event == "resolved" || step.statement_file_id.is_some() {
            continue;
        }
        let attempt = case.attempt(step.attempt_id);
        let answer = attempt.map(|attempt| {
            let class = attempt.answer_class.as_deref().unwrap_or("no answer");
            (attempt.kind.as_str(), class)
        });
        let (believed, invariant) = match step.to_status.as_str() {
            "succeeded" => (matches!(answer, Some(("pay" | "query", "success"))), "M6"),
            "failed" => (
                matches!(
                    answer,
                    Some(("pay", "declined" | "access_refused" | "connect_failed"))
                ),
                "S3",
            ),
            _ => (
                matches!(
                    answer,
                    Some(
                        ("cancel", "success" | "not_found")
                            | ("query", "closed" | "not_found")
                            | ("pay", "connect_failed")
                    )
                ),
                "S6",
            ),
        };
        found.check(invariant, believed, || {
            format!(
                "{}: {} was believed on {answer:?}",
                case.name(),
                step.to_status
            )
        });
        if step.to_status_reason.as_deref() == Some("never_created")
            && step.event != "never_sent"
            && let Some(attempt) = attempt
        {
            let waited = attempt.sent_at - case.row.created_at;
            // Or Alipay had refused the pay, and a cancel and then a query found nothing.
            let was_refused = case.attempts.iter().any(|attempt| {
                attempt.kind == "pay" && attempt.answer_class.as_deref() == Some("unknown_code")
            });
            let denied = case.attempts.iter().any(|earlier| {
                earlier.kind == "cancel"
                    && earlier.answer_class.as_deref() == Some("not_found")
                    && earlier.sent_at <= attempt.sent_at
            });
            let may_be_believed = denied && (waited >= case.circumstances.grace || was_refused);
            found.check("S6", may_be_believed, || {
                format!(
                    "{}: \"never created\" was believed after {waited}",
                    case.name()
                )
            });
        }
    }
}

/// Faults in which an answer lies or cannot be read: nothing of it may be believed.
const LIES: [&str; 19] = [
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
    "wrong_charset",
    "http_status",
    "html",
    "redirect",
    "truncated_xml",
];

/// M8, S9, V1, C2: what was sent, and which answers were believed.
fn requests(case: &Case<'_>, found: &mut Findings) {
    let of = |service: &str| {
        case.requests
            .iter()
            .filter(move |request| request["service"] == service)
            .collect::<Vec<&Value>>()
    };
    let (pays, cancels) = (of("pay"), of("cancel"));
    found.check("M8", pays.len() <= 1, || {
        format!("{}: sent {} times", case.name(), pays.len())
    });
    let first_cancel = cancels
        .iter()
        .filter_map(|request| request["sequence"].as_u64())
        .min();
    // A caller's own cancel may overtake a pay that is on its way. The schedule's comes no sooner than
    // this, and no pay may leave as late.
    let earliest_of_the_schedule = case.row.created_at + TimeDelta::seconds(15);
    for pay in &pays {
        let sequence = pay["sequence"].as_u64().unwrap_or(0);
        let in_time = pay["received_at"]
            .as_str()
            .and_then(|text| text.parse::<DateTime<Utc>>().ok())
            .is_some_and(|at| at < earliest_of_the_schedule);
        let in_order = first_cancel.is_none_or(|cancel| sequence < cancel);
        found.check("M8", in_order || in_time, || {
            format!("{}: sent after its cancel", case.name())
        });
        let fault = pay["fault"]["type"].as_str().unwrap_or_default();
        let class = case
            .attempts
            .iter()
            .find(|attempt| attempt.kind == "pay")
            .and_then(|attempt| attempt.answer_class.as_deref());
        let believed = is_believed(class);
        // An answer that the buyer must still confirm names no money to lie about.
        let harmless =
            class == Some("pending") && matches!(fault, "wrong_amount" | "wrong_currency");
        found.check(
            "S9",
            harmless || !(LIES.contains(&fault) && believed),
            || {
                format!(
                    "{}: an answer with {fault} was read as {class:?}",
                    case.name()
                )
            },
        );
    }
    // Which request an attempt became cannot be told of the others, but how many told the truth can.
    for service in ["query", "cancel"] {
        let true_answers = of(service)
            .iter()
            .filter(|request| {
                let fault = request["fault"]["type"].as_str().unwrap_or_default();
                // The answer to a cancel names no money either.
                let harmless =
                    service == "cancel" && matches!(fault, "wrong_amount" | "wrong_currency");
                harmless || !LIES.contains(&fault)
            })
            .count();
        let believed = case
            .attempts
            .iter()
            .filter(|attempt| attempt.kind == service)
            .filter(|attempt| is_believed(attempt.answer_class.as_deref()))
            .count();
        found.check("S9", believed <= true_answers, || {
            format!(
                "{}: of {true_answers} true answers to a {service}, {believed} were believed",
                case.name()
            )
        });
    }
    let sent = case.requests.len();
    found.check("S8", case.attempts.len() >= sent, || {
        format!(
            "{}: {sent} calls, {} attempts",
            case.name(),
            case.attempts.len()
        )
    });
    // Silence is an answer too: only a replica that died may leave a call without one.
    let unanswered = case.attempts.iter().find(|it| it.answer_class.is_none());
    let excused = !case.undisturbed || !case.settled;
    found.check("C2", excused || unanswered.is_none(), || {
        format!("{}: cut off: {unanswered:?}", case.name())
    });
}

/// Whether an answer of this class says something that may be believed.
fn is_believed(class: Option<&str>) -> bool {
    matches!(class, Some("success" | "pending" | "declined" | "closed"))
}

/// C8, C9: exactly one live row per open payment, none for a final one.
fn schedule(case: &Case<'_>, found: &mut Findings) {
    let open = matches!(case.row.status.as_str(), "processing" | "unresolved")
        || case.row.cancel_reason.is_some()
        || case.row.contradicted;
    let invariant = if case.follow_ups == 0 { "C8" } else { "C9" };
    found.check(invariant, case.follow_ups == i64::from(open), || {
        format!("{}: {} live follow-ups", case.name(), case.follow_ups)
    });
}

/// M6, T1: what the API shows.
fn view(case: &Case<'_>, found: &mut Findings) {
    let Some(view) = case.view else { return };
    let row = case.row;
    let agrees = view["status"] == row.status.as_str()
        && view["status_reason"].as_str() == row.status_reason.as_deref()
        && view["version"] == row.version
        && view["amount"]["value"] == row.amount_minor
        && view["money_returned"].as_bool() == row.money_returned
        && view["cancel_pending"] == row.cancel_reason.is_some();
    found.check("M6", agrees, || {
        format!("{}: the API shows {view}", case.name())
    });
    let day = case
        .trade
        .filter(|_| row.paid_at.is_some())
        .and_then(|trade| trade["paid_at"].as_str())
        .and_then(|text| text.parse::<DateTime<Utc>>().ok())
        .unwrap_or(row.created_at);
    let day = day_of(day).to_string();
    found.check("T1", view["business_date"] == day.as_str(), || {
        format!("{}: of {day}, not {}", case.name(), view["business_date"])
    });
}

/// S2, D1, D2, D5: what the callers were told.
fn callers(evidence: &Evidence, found: &mut Findings) {
    let mut newest: BTreeMap<(usize, &str), i64> = BTreeMap::new();
    let mut ids: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut made: BTreeMap<&str, usize> = BTreeMap::new();
    for heard in &evidence.heard {
        let (status, body) = (heard.status, &heard.body);
        let key = match &heard.asked {
            Asked::Create { key, .. } => Some(key.as_str()),
            _ => None,
        };
        if let Asked::Create { key, same_body, .. } = &heard.asked {
            if *same_body {
                // 409 is the right answer to some first uses of a key; a mismatch never is.
                found.check("D2", status != 422, || {
                    format!("the key {key} was refused its own body: {body}")
                });
            } else {
                found.check("D2", status == 422 || status >= 500, || {
                    format!("the key {key} took another body: {status} {body}")
                });
            }
        }
        let Some(id) = body["id"].as_str().filter(|_| (200..300).contains(&status)) else {
            continue;
        };
        if let Some(key) = key {
            ids.entry(key).or_default().insert(id);
            *made.entry(key).or_default() += usize::from(!heard.replayed);
        }
        let version = body["version"].as_i64().unwrap_or(0);
        let before = newest.insert((heard.caller, id), version).unwrap_or(0);
        found.check("S2", before <= version, || {
            format!(
                "{id}: caller {} saw version {before}, then {version}",
                heard.caller
            )
        });
        let Some(row) = evidence.payments.iter().find(|row| is_named(row, id)) else {
            found.check("D1", false, || {
                format!("{id} was answered but is not stored")
            });
            continue;
        };
        let step = evidence
            .transitions
            .get(&row.payment_id)
            .and_then(|chain| chain.iter().find(|step| step.version == version));
        let on_the_path = step.is_some_and(|step| {
            body["status"] == step.to_status.as_str()
                && body["status_reason"].as_str() == step.to_status_reason.as_deref()
        });
        found.check("S2", on_the_path, || {
            format!(
                "{} {id}: version {version} was shown as {body}, but is {step:?}",
                row.merchant_reference
            )
        });
    }
    for (key, ids) in ids {
        found.check("D1", ids.len() == 1, || {
            format!("the key {key} was answered with {ids:?}")
        });
    }
    for (key, times) in made {
        found.check("D1", times <= 1, || {
            format!("{times} callers of the key {key} were told that they made the payment")
        });
    }
}

fn is_payment(heard: &Heard) -> bool {
    (200..300).contains(&heard.status)
        && heard.body["id"]
            .as_str()
            .is_some_and(|id| id.starts_with("pay_"))
}

/// D8: what an answer says of the payment's standing agrees with itself.
fn standing(evidence: &Evidence, found: &mut Findings) {
    for heard in evidence.heard.iter().filter(|heard| is_payment(heard)) {
        let body = &heard.body;
        let fault = contradicts_itself(body, heard.retry_after.as_deref());
        found.check("D8", fault.is_none(), || {
            format!(
                "{}: {}, with Retry-After {:?}: {body}",
                body["merchant_reference"].as_str().unwrap_or_default(),
                fault.unwrap_or_default(),
                heard.retry_after
            )
        });
    }
}

/// What is wrong with an answer about a payment, by itself.
fn contradicts_itself(body: &Value, retry_after: Option<&str>) -> Option<&'static str> {
    let has_ended = matches!(
        body["status"].as_str(),
        Some("succeeded" | "failed" | "canceled")
    );
    let is_final = body["outcome_certainty"] == "final";
    let action = body["next_action"]["type"].as_str().unwrap_or_default();
    let poll = body["next_action"]["poll_after_ms"].as_u64();
    let under_way = body["cancel_pending"] == true;
    let minor = |name: &str| body["refunds"][name].as_i64().unwrap_or_default();
    let all_is_going_back = minor("pending") > 0
        && minor("pending") + minor("refunded")
            == body["amount"]["value"].as_i64().unwrap_or_default();
    // What Alipay contradicts has no certain end.
    let is_for_a_person = action == "call_operator" && body["outcome_certainty"] == "unknown";
    // What a person decided while a cancel might act is asked about once more.
    let is_checked = action == "wait"
        && body["outcome_certainty"] == "pending"
        && body["next_check_at"].is_string();
    let may_change = under_way || all_is_going_back || is_for_a_person || is_checked;
    let seconds = poll.map_or_else(String::new, |ms| ms.div_ceil(1000).to_string());
    if is_final && under_way {
        Some("final while a cancel is under way")
    } else if is_final != (has_ended && !may_change) {
        Some("its certainty is not its status's")
    } else if is_final != poll.is_none() {
        Some("its certainty and the time to read it again disagree")
    } else if is_final && matches!(action, "wait" | "ask_buyer_to_confirm") {
        Some("final, and something is waited for")
    } else if under_way && !matches!(action, "wait" | "call_operator") {
        Some("a cancel is under way, and nothing is waited for")
    } else if !is_final && action == "done" {
        Some("done, but not final")
    } else if retry_after.is_some_and(|header| !header.is_empty() && header != seconds) {
        Some("its Retry-After is not its poll_after_ms")
    } else {
        None
    }
}

/// What may follow on an end without a new wish of a caller's: verified news, and what a person decides.
fn is_news(event: &str) -> bool {
    matches!(event, "resolved" | "closed_after_payment" | "reopened")
        || event.starts_with("refund_")
}

/// D8: what was called final did not change by what had been under way.
fn ends(evidence: &Evidence, found: &mut Findings) {
    for heard in evidence.heard.iter().filter(|heard| is_payment(heard)) {
        let body = &heard.body;
        if body["outcome_certainty"] != "final" {
            continue;
        }
        let id = body["id"].as_str().unwrap_or_default();
        let version = body["version"].as_i64().unwrap_or(0);
        let Some(row) = evidence.payments.iter().find(|row| is_named(row, id)) else {
            continue;
        };
        let by_alipay = evidence.trades.iter().any(|trade| {
            trade["partner_trans_id"] == row.partner_trans_id.as_str() && is_closed_by_alipay(trade)
        });
        let chain = evidence.transitions.get(&row.payment_id);
        let later = chain
            .into_iter()
            .flatten()
            .filter(|step| step.version > version);
        let first = later
            .filter(|step| {
                step.event == "cancel_started" || body["status"] != step.to_status.as_str()
            })
            .min_by_key(|step| step.version);
        let stands = first.is_none_or(|step| {
            let wished = step.event == "cancel_started" && step.api_key_id.is_some();
            let contradicted = chain
                .into_iter()
                .flatten()
                .any(|before| before.version <= step.version && before.event == "contradicted");
            let told = step.statement_file_id.is_some() || is_news(&step.event) || contradicted;
            wished || told || by_alipay
        });
        found.check("D8", stands, || {
            format!(
                "{}: version {version} was called final, then came {first:?}",
                row.merchant_reference
            )
        });
    }
}

/// How much earlier an answer must have been heard than another for the order of the two to be that in which
/// they were given.
pub(crate) const TOLD_APART: std::time::Duration = std::time::Duration::from_millis(100);

/// D8: no answer shows an older version than one that the same process has shown.
fn versions_of_a_process(evidence: &Evidence, found: &mut Findings) {
    let mut shown: BTreeMap<(u16, &str), Vec<(&Heard, i64)>> = BTreeMap::new();
    for heard in evidence.heard.iter().filter(|heard| is_payment(heard)) {
        let id = heard.body["id"].as_str().unwrap_or_default();
        let (Some(process), Some(version)) = (heard.given.process, heard.body["version"].as_i64())
        else {
            continue;
        };
        shown
            .entry((process, id))
            .or_default()
            .push((heard, version));
    }
    for ((process, id), answers) in shown {
        for (older, before) in &answers {
            for (newer, after) in &answers {
                let (first, second) = (older.given, newer.given);
                let in_order = first.heard_at <= second.asked_at
                    || first.heard_at + TOLD_APART < second.heard_at;
                found.check("D8", !in_order || before <= after, || {
                    format!(
                        "{} {id}: the process at {process} showed version {before}, then {after}",
                        newer.body["merchant_reference"]
                            .as_str()
                            .unwrap_or_default()
                    )
                });
            }
        }
    }
}
