//! Every named point × {crash, error, delay past the lease, delay past the grace period, rival} ×
//! operation: whatever happens at the point, the invariants hold and the payment reaches its true
//! end (C1, C3, C4, C5, C6).
//!
//! One world per operation; in it, one order per action and point that the operation passes. The
//! point is armed on replica 0, which carries the operation; replica 1 takes over what it leaves.
//!
//! A crash stops every task of a replica where it stands and drops its connections, as the end of
//! its process would; `kill_loop` ends processes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use alipayhk_gateway::{
    domain::accounts::signing::SignType,
    failpoint::{Action, Failpoints},
};
use chrono::{FixedOffset, NaiveDate, NaiveTime, TimeDelta};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::driver::{
    Act, Ear, Order, PAST_THE_LEASE, act, find, finish_clean, next_visit, points, publish, settle,
    unless_stopped, work, work_and_be_cut,
};
use crate::support::{Options, World, http::body};

/// A step of an operation, on replica 0.
#[derive(Clone, Copy)]
enum Step {
    /// Somebody asks for something.
    Do(Act),
    /// Alipay's next answers of a service go wrong: service, times, fault.
    Fault(&'static str, u32, &'static str),
    /// Time passes, in seconds.
    Pass(i64),
    /// The worker visits what is due.
    Work,
    /// The same, cut by a hard stop while Alipay is being asked.
    WorkAndBeCut,
    /// The worker keeps house.
    KeepHouse,
    /// Something befalls the database that no caller can bring about.
    Tamper(&'static str),
    /// Alipay treats refunds like this from now on (JSON).
    Policy(&'static str),
    /// The clock goes to this time of a day in Hong Kong: hour, minute, second.
    PassTo(u32, u32, u32),
    /// Alipay's next notification goes wrong.
    Garble(&'static str),
    /// Alipay posts what it has held back, to replica 0.
    Deliver,
    /// Alipay closes the paid trade by itself, and returns the money.
    CloseAtAlipay,
}
use Act::{
    Abandon, Cancel, CancelKey, CancelReference, Create, Notify, Refresh, RefreshRefund, Refund,
    Resolve, ResolveRefund, Reverse, Run, Snooze,
};
use Step::{
    CloseAtAlipay, Deliver, Do, Fault, Garble, KeepHouse, Pass, PassTo, Policy, Tamper, Work,
    WorkAndBeCut,
};

/// An operation: the code that is scanned, how it begins, and what is then swept.
#[derive(Clone, Copy)]
pub(super) struct Operation {
    pub(super) name: &'static str,
    code: &'static str,
    /// What goes before, undisturbed: it is another operation's to sweep.
    set_up: &'static [Step],
    steps: &'static [Step],
    /// What somebody asks of replica 1 while replica 0 is held at a point. Such an operation is swept
    /// with delays alone: its other half has its own.
    rival: Option<Act>,
    /// Whether replica 0 has just started, and remembers nobody.
    fresh: bool,
}

const fn operation(
    name: &'static str,
    code: &'static str,
    set_up: &'static [Step],
    steps: &'static [Step],
) -> Operation {
    Operation {
        name,
        code,
        set_up,
        steps,
        rival: None,
        fresh: false,
    }
}

const fn against(rival: Act, operation: Operation) -> Operation {
    Operation {
        rival: Some(rival),
        ..operation
    }
}

/// Alipay says "not now", and nothing happens there.
const SORRY: &str = "system_error_before_effect";
const WEEK: i64 = 604_800;
/// A payment that is open, or whose answer is lost, as the code says.
const OPEN: &[Step] = &[Do(Create(0))];
/// A payment that is paid.
const PAID: &[Step] = &[Do(Create(1))];

pub(super) const OPERATIONS: &[Operation] = &[
    operation("paid", "0001", &[], &[Do(Create(1))]),
    Operation {
        fresh: true,
        ..operation("paid_after_a_start", "0001", &[], &[Do(Create(0))])
    },
    operation(
        "pending_then_paid",
        "0101",
        &[],
        &[Do(Create(0)), Pass(5), Work, Pass(3), Work],
    ),
    operation("declined", "1001", &[], &[Do(Create(0))]),
    // It is held failed, and Alipay shows it open and then paid, until a person accepts that.
    operation(
        "contradicted",
        "2003",
        &[Do(Create(0)), Pass(WEEK), Tamper(FAILED_AND_CONTRADICTED)],
        &[Work, Do(Resolve)],
    ),
    // Alipay said something else, and then what the books say.
    operation(
        "agreed",
        "0001",
        &[Do(Create(1)), Tamper(CONTRADICTED), Pass(1)],
        &[Work, Pass(1), Work],
    ),
    operation(
        "unknown_but_paid",
        "2003",
        &[],
        &[
            Do(Create(0)),
            Fault("query", 1, SORRY),
            Pass(5),
            Work,
            Pass(3),
            Work,
        ],
    ),
    operation(
        "cancel_of_unpaid",
        "0102",
        OPEN,
        &[Pass(5), Work, Pass(10), Work],
    ),
    operation(
        "cancel_of_paid",
        "2003",
        &[Do(Create(0)), Fault("query", 5, "not_exist"), Pass(15)],
        &[Work, Pass(1), Work],
    ),
    operation(
        "never_created",
        "2004",
        OPEN,
        &[Pass(15), Work, Pass(185), Work],
    ),
    operation(
        "refused_never_created",
        "1099",
        OPEN,
        &[Pass(5), Work, Pass(1), Work],
    ),
    operation(
        "exhausted",
        "2002",
        &[Do(Create(0)), Fault("any", 40, SORRY), Pass(WEEK)],
        &[Work],
    ),
    operation(
        "visited_too_early",
        "0102",
        &[
            Do(Create(0)),
            Pass(1),
            Tamper("update follow_up set due_at = db_now()"),
        ],
        &[Work],
    ),
    operation(
        "schedule_lost",
        "0102",
        &[Do(Create(0)), Tamper("delete from follow_up")],
        &[KeepHouse, Work],
    ),
    operation(
        "schedule_left_over",
        "0001",
        &[
            Do(Create(1)),
            Tamper(
                "insert into follow_up (merchant_id, follow_up_id, kind, subject_id, due_at)
                select merchant_id, gen_random_uuid(), 'payment', payment_id, db_now()
                from payment where status = 'succeeded' order by payment_id desc limit 1",
            ),
        ],
        &[Work],
    ),
    operation("requested_cancel_of_unpaid", "0102", OPEN, &[Do(Cancel(1))]),
    operation("requested_cancel_of_paid", "0001", PAID, &[Do(Cancel(1))]),
    operation(
        "requested_cancel_twice",
        "0001",
        &[Do(Create(1)), Fault("cancel", 1, SORRY)],
        &[Do(Cancel(0)), Pass(1), Work],
    ),
    operation("cancel_by_reference", "0102", OPEN, &[Do(CancelReference)]),
    operation("cancel_by_key", "0001", PAID, &[Do(CancelKey)]),
    operation(
        "tomb_of_reference",
        "0001",
        &[],
        &[Do(CancelReference), Do(Create(0))],
    ),
    operation("tomb_of_key", "0001", &[], &[Do(CancelKey), Do(Create(0))]),
    operation("refreshed_while_unpaid", "0102", OPEN, &[Do(Refresh)]),
    operation("refreshed_after_silence", "2003", OPEN, &[Do(Refresh)]),
    operation(
        "resolved",
        "2004",
        &[Do(Create(0)), Fault("any", 2, SORRY), Pass(WEEK), Work],
        &[Do(Resolve)],
    ),
    operation(
        "steered",
        "0102",
        OPEN,
        &[
            Do(Snooze),
            Pass(5),
            Work,
            Do(Abandon),
            Pass(10),
            Work,
            Do(Run),
            Work,
        ],
    ),
    operation(
        "handed_back",
        "2003",
        &[Do(Create(0)), Pass(5)],
        &[WorkAndBeCut, Work],
    ),
    against(
        CancelReference,
        operation("create_against_cancel", "0001", &[], &[Do(Create(0))]),
    ),
    against(
        Create(0),
        operation("cancel_against_create", "0001", &[], &[Do(CancelReference)]),
    ),
    against(
        Refresh,
        operation(
            "visit_against_refresh",
            "2003",
            // The visit cancels; the refresh finds the trade paid.
            &[Do(Create(0)), Pass(15)],
            &[Work],
        ),
    ),
    against(
        Cancel(0),
        operation(
            "visit_against_cancel",
            "2003",
            &[Do(Create(0)), Pass(5)],
            &[Work],
        ),
    ),
    against(
        Refresh,
        operation("cancel_against_refresh", "0001", PAID, &[Do(Cancel(0))]),
    ),
];

/// Every asynchronous refund waits for the batch that opens after its acceptance, and funds suffice.
const STRICT: Step =
    Policy(r#"{"same_day_immediate": false, "in_window": "next_night", "funds_sufficient": true}"#);
const POOR: Step = Policy(r#"{"funds_sufficient": false}"#);
const RICH: Step = Policy(r#"{"funds_sufficient": true}"#);
/// A refund that Alipay has accepted for tonight.
const ACCEPTED: &[Step] = &[
    STRICT,
    PassTo(12, 0, 0),
    Do(Create(1)),
    Do(Refund("async", 1)),
];
/// A refund that was lost on its way, and of which every query stays silent for a week.
const UNHEARD: &[Step] = &[
    Do(Create(1)),
    Fault("refund", 1, "drop_after_effect"),
    Do(Refund("sync", 0)),
    Fault("refund_query", 3, SORRY),
];

/// The same for refunds, reversals and notifications.
const REFUNDS: &[Operation] = &[
    operation("refunded", "0001", PAID, &[Do(Refund("sync", 1))]),
    operation(
        "refund_unheard",
        "0001",
        &[Do(Create(1)), Fault("refund", 1, "drop_after_effect")],
        &[Do(Refund("sync", 0)), Pass(11), Work],
    ),
    operation(
        "refund_lost",
        "0001",
        &[Do(Create(1)), Fault("refund", 1, "drop_before_effect")],
        &[Do(Refund("sync", 0)), Pass(11), Work, Pass(1), Work],
    ),
    operation(
        "refund_refused",
        "0001",
        &[Do(Create(1)), POOR],
        &[Do(Refund("sync", 0)), RICH],
    ),
    operation(
        "refund_refused_again",
        "0001",
        &[
            Do(Create(1)),
            Fault("refund", 1, "drop_before_effect"),
            Do(Refund("sync", 0)),
            POOR,
            Pass(11),
        ],
        &[Work, Pass(45), Work, Pass(150), Work, Pass(700), Work, RICH],
    ),
    operation(
        "refund_accepted",
        "0001",
        PAID,
        &[STRICT, Do(Refund("async", 0))],
    ),
    operation(
        "refund_of_the_batch",
        "0001",
        ACCEPTED,
        &[PassTo(23, 45, 0), Work],
    ),
    operation(
        "refund_announced",
        "0001",
        ACCEPTED,
        &[PassTo(23, 0, 1), Deliver],
    ),
    operation(
        "refund_hinted",
        "0001",
        ACCEPTED,
        &[PassTo(23, 0, 1), Garble("other_status"), Deliver],
    ),
    operation("refund_refreshed", "0001", ACCEPTED, &[Do(RefreshRefund)]),
    // It is held failed, and Alipay says that it will be done, and then that it is.
    operation(
        "refund_contradicted",
        "0001",
        &[
            Do(Create(1)),
            Fault("refund", 1, "drop_after_effect"),
            Do(Refund("sync", 0)),
            Tamper(REFUND_FAILED_AND_CONTRADICTED),
        ],
        &[Work, Pass(600), Work],
    ),
    // Refused, since Alipay has closed the trade: the payment is asked about.
    operation(
        "refund_denied",
        "0001",
        &[Do(Create(1)), CloseAtAlipay],
        &[Do(Refund("sync", 0)), Pass(61), Work, Pass(61), Work],
    ),
    // It is done, and Alipay does not know it for a moment.
    operation(
        "refund_not_known",
        "0001",
        &[
            Do(Create(1)),
            Do(Refund("sync", 1)),
            Pass(1),
            Fault("refund_query", 1, "not_exist"),
        ],
        &[Do(RefreshRefund), Pass(600), Work, Pass(1), Work],
    ),
    operation(
        "refund_exhausted",
        "0001",
        UNHEARD,
        &[Pass(WEEK), Work, Pass(1), Work],
    ),
    operation(
        "refund_resolved",
        "0001",
        &[
            Do(Create(1)),
            Fault("refund", 1, "drop_after_effect"),
            Do(Refund("sync", 0)),
            Fault("refund_query", 3, SORRY),
            Pass(WEEK),
            Work,
            Pass(1),
            Work,
        ],
        &[Do(ResolveRefund)],
    ),
    operation(
        "refund_schedule_lost",
        "0001",
        &[
            STRICT,
            PassTo(12, 0, 0),
            Do(Create(1)),
            Do(Refund("async", 1)),
            Tamper("delete from follow_up where kind = 'refund'"),
        ],
        &[KeepHouse, Work],
    ),
    operation(
        "refund_visited_too_late",
        "0001",
        &[
            Do(Create(1)),
            Do(Refund("sync", 1)),
            Tamper(
                "insert into follow_up (merchant_id, follow_up_id, kind, subject_id, due_at)
                select merchant_id, gen_random_uuid(), 'refund', refund_id, db_now()
                from refund where status = 'succeeded' order by refund_id desc limit 1",
            ),
        ],
        &[Work],
    ),
    operation(
        "reversed_in_time",
        "0001",
        &[PassTo(12, 0, 0), Do(Create(1))],
        &[Do(Reverse(1))],
    ),
    operation(
        "reversed_too_late",
        "0001",
        &[
            PassTo(23, 59, 50),
            Do(Create(1)),
            Fault("cancel", 1, "drop_before_effect"),
            Do(Reverse(0)),
            // "Paid" is believed once the cancel that was not answered can no longer act.
            Pass(40),
            Work,
            Pass(60),
        ],
        &[Work, Pass(5), Work],
    ),
    against(
        Cancel(0),
        operation(
            "refund_against_cancel",
            "0001",
            &[PassTo(12, 0, 0), Do(Create(1))],
            &[Do(Refund("sync", 0))],
        ),
    ),
    against(
        Refund("sync", 0),
        operation(
            "cancel_against_refund",
            "0001",
            &[PassTo(12, 0, 0), Do(Create(1))],
            &[Do(Cancel(0))],
        ),
    ),
    against(
        RefreshRefund,
        operation(
            "announced_against_refresh",
            "0001",
            ACCEPTED,
            &[PassTo(23, 0, 1), Deliver],
        ),
    ),
    against(
        Notify,
        operation(
            "visit_against_announced",
            "0001",
            ACCEPTED,
            &[PassTo(23, 45, 0), Work],
        ),
    ),
    against(
        RefreshRefund,
        operation(
            "refund_visited_rival",
            "0001",
            ACCEPTED,
            &[PassTo(23, 45, 0), Work],
        ),
    ),
    against(
        Refund("sync", 0),
        operation(
            "reversal_against_refund",
            "0001",
            &[PassTo(12, 0, 0), Do(Create(1)), PassTo(1, 0, 0)],
            &[Do(Reverse(0))],
        ),
    ),
];

/// A refund that was decided as failed, and a word of Alipay against that.
const REFUND_FAILED_AND_CONTRADICTED: &str = "
    with newest as (select refund_id from refund order by refund_id desc limit 1),
    unresolved as (
        insert into refund_transition (merchant_id, refund_id, version, payment_id, event, from_status,
            from_status_reason, to_status, api_key_id, gateway_at, reason, ticket)
        select merchant_id, refund_id, version + 1, payment_id, 'refund_resolved', status, status_reason,
            'failed', (select api_key_id from api_key limit 1), db_now(), 'the portal does not show it',
            'OPS-1'
        from refund where refund_id in (select refund_id from newest)
    ), freed as (
        update payment
        set refund_reserved_minor = refund_reserved_minor - refund.amount_minor,
            version = payment.version + 1
        from refund
        where refund.payment_id = payment.payment_id
            and refund.refund_id in (select refund_id from newest)
        returning payment.merchant_id, payment.payment_id, payment.version, payment.status
    ), recorded as (
        insert into payment_transition (merchant_id, payment_id, version, event, from_status, to_status,
            api_key_id, gateway_at, reason, ticket)
        select merchant_id, payment_id, version, 'refund_resolved', status, status,
            (select api_key_id from api_key limit 1), db_now(), 'the portal does not show it', 'OPS-1'
        from freed
    ), forgotten as (
        delete from follow_up where subject_id in (select refund_id from newest)
    )
    update refund
    set status = 'failed', status_reason = null, failure_code = 'RESOLVED_BY_OPERATOR',
        failure_message = 'the portal does not show it', finalized_at = db_now(),
        version = version + 1
    where refund_id in (select refund_id from newest);

    with said as (
        insert into contradiction (merchant_id, contradiction_id, payment_id, refund_id, claim,
            returned_minor, books_status, attempt_id)
        select refund.merchant_id, gen_random_uuid(), refund.payment_id, refund_id, 'refund_accepted',
            refund.amount_minor, refund.status, attempt.attempt_id
        from refund join attempt using (merchant_id, refund_id)
        where attempt.kind = 'refund' order by refund_id desc limit 1
        returning merchant_id, payment_id, refund_id, returned_minor, attempt_id
    ), recorded as (
        insert into refund_transition (merchant_id, refund_id, version, payment_id, event, from_status,
            to_status, api_key_id, attempt_id, gateway_at)
        select merchant_id, refund_id, version + 1, refund.payment_id, 'refund_contradicted', status, status,
            (select api_key_id from api_key limit 1), said.attempt_id, db_now()
        from refund join said using (merchant_id, refund_id)
    ), planned as (
        insert into follow_up (merchant_id, follow_up_id, kind, subject_id, due_at)
        select merchant_id, gen_random_uuid(), 'refund', refund_id, db_now() from said
    ), reserved as (
        update payment
        set proven_returned_minor = said.returned_minor, version = version + 1
        from said
        where payment.payment_id = said.payment_id
        returning payment.merchant_id, payment.payment_id, payment.version, payment.status
    ), booked as (
        insert into payment_transition (merchant_id, payment_id, version, event, from_status, to_status,
            api_key_id, gateway_at)
        select merchant_id, payment_id, version, 'refund_contradicted', status, status,
            (select api_key_id from api_key limit 1), db_now()
        from reserved
    )
    update refund set contradicted_at = db_now(), version = version + 1
    where refund_id in (select refund_id from said)";

/// A payment that was decided as failed, and a word of Alipay against that.
const FAILED_AND_CONTRADICTED: &str = "
    with given_up as (
        update payment
        set status = 'unresolved', status_reason = null, cancel_reason = null, version = version + 1
        where payment_id in (select payment_id from payment order by payment_id desc limit 1)
        returning merchant_id, payment_id, version
    )
    insert into payment_transition (merchant_id, payment_id, version, event, from_status,
        from_status_reason, to_status, api_key_id, gateway_at)
    select merchant_id, payment_id, version, 'plan_exhausted', 'processing',
        (select to_status_reason from payment_transition as last
        where last.payment_id = given_up.payment_id order by version desc limit 1),
        'unresolved', (select api_key_id from api_key limit 1), db_now()
    from given_up;
    with newest as (select payment_id from payment order by payment_id desc limit 1),
    unresolved as (
        insert into payment_transition (merchant_id, payment_id, version, event, from_status, to_status,
            api_key_id, gateway_at, reason, ticket)
        select merchant_id, payment_id, version + 1, 'resolved', status, 'failed',
            (select api_key_id from api_key limit 1), db_now(), 'the portal does not show it', 'OPS-1'
        from payment where payment_id in (select payment_id from newest)
    ), forgotten as (
        delete from follow_up where subject_id in (select payment_id from newest)
    )
    update payment
    set status = 'failed', failure_code = 'RESOLVED_BY_OPERATOR',
        failure_message = 'the portal does not show it', failure_retry = 'no',
        finalized_at = db_now(), version = version + 1
    where payment_id in (select payment_id from newest);

    with said as (
        insert into contradiction (merchant_id, contradiction_id, payment_id, claim, books_status, attempt_id)
        select payment.merchant_id, gen_random_uuid(), payment_id, 'buyer_must_confirm', status,
            attempt.attempt_id
        from payment join attempt using (merchant_id, payment_id)
        where attempt.kind = 'pay' order by payment_id desc limit 1
        returning merchant_id, payment_id, attempt_id
    ), recorded as (
        insert into payment_transition (merchant_id, payment_id, version, event, from_status, to_status,
            api_key_id, attempt_id, gateway_at)
        select merchant_id, payment_id, version + 1, 'contradicted', status, status,
            (select api_key_id from api_key limit 1), attempt_id, db_now()
        from payment join said using (merchant_id, payment_id)
    ), planned as (
        insert into follow_up (merchant_id, follow_up_id, kind, subject_id, due_at)
        select merchant_id, gen_random_uuid(), 'payment', payment_id, db_now() from said
    )
    update payment set contradicted_at = db_now(), version = version + 1
    where payment_id in (select payment_id from said)";

/// As a file leaves a paid payment that it shows as canceled.
const CONTRADICTED: &str = "
    with said as (
        insert into contradiction (merchant_id, contradiction_id, payment_id, claim, books_status, attempt_id)
        select payment.merchant_id, gen_random_uuid(), payment_id, 'declined', status, attempt.attempt_id
        from payment join attempt using (merchant_id, payment_id)
        where attempt.kind = 'pay' order by payment_id desc limit 1
        returning merchant_id, payment_id, attempt_id
    ), recorded as (
        insert into payment_transition (merchant_id, payment_id, version, event, from_status, to_status,
            api_key_id, attempt_id, gateway_at)
        select merchant_id, payment_id, version + 1, 'contradicted', status, status,
            (select api_key_id from api_key limit 1), attempt_id, db_now()
        from payment join said using (merchant_id, payment_id)
    ), planned as (
        insert into follow_up (merchant_id, follow_up_id, kind, subject_id, due_at)
        select merchant_id, gen_random_uuid(), 'payment', payment_id, db_now() from said
    )
    update payment set contradicted_at = db_now(), version = version + 1
    where payment_id in (select payment_id from said)";

/// How late replica 1 may be with a visit while replica 0 is held.
const A_LITTLE_LATE: TimeDelta = TimeDelta::seconds(5);

/// What happens at a point.
struct Measure {
    name: &'static str,
    action: Action,
    /// How long the task is held, where it is.
    pause: TimeDelta,
    /// Whether it makes sense at a point of an operation.
    suits: fn(&Operation, &str) -> bool,
}

const MEASURES: &[Measure] = &[
    Measure {
        name: "crash",
        action: Action::Crash,
        pause: TimeDelta::zero(),
        suits: |operation, _| operation.rival.is_none(),
    },
    Measure {
        name: "error",
        action: Action::Error,
        pause: TimeDelta::zero(),
        suits: |operation, point| operation.rival.is_none() && can_fail(point),
    },
    Measure {
        name: "past_the_lease",
        action: Action::Pause,
        pause: PAST_THE_LEASE,
        suits: |_, _| true,
    },
    Measure {
        name: "past_the_grace",
        action: Action::Pause,
        pause: TimeDelta::seconds(200),
        suits: |operation, point| operation.rival.is_none() && is_before_the_pay(point),
    },
    Measure {
        name: "meanwhile",
        action: Action::Pause,
        pause: TimeDelta::seconds(1),
        suits: |operation, _| operation.rival.is_some(),
    },
];

/// Points that a payment passes only when something else has gone wrong before, and what must.
const AFTER_AN_ERROR: &[(&str, &str)] = &[
    ("worker.giving_back", "db.question.before"),
    ("db.fail_follow_up.before", "db.question.before"),
    ("db.fail_follow_up.after", "db.question.before"),
    ("db.existing.before", "db.intent.after"),
    ("db.existing.after", "db.intent.after"),
    ("db.payment.before", "db.record.after"),
    ("db.payment.after", "db.record.after"),
    ("db.refund_obstacle.before", "db.refund_intent.before"),
    ("db.refund_obstacle.after", "db.refund_intent.before"),
    ("db.refund.before", "db.record_refund.after"),
    ("db.refund.after", "db.record_refund.after"),
];

/// Points before anything exists: passed only by a replica that remembers nobody.
const LOOK_UPS: [&str; 2] = ["db.api_key.", "db.store."];

/// The points up to the moment at which a pay leaves.
fn is_before_the_pay(point: &str) -> bool {
    const STARTS: [&str; 6] = [
        "create.",
        "pay.accepted",
        "pay.intent_known",
        "pay.replied",
        "pay.before_call",
        "db.intent",
    ];
    STARTS.iter().any(|start| point.starts_with(start))
}

/// Whether an error can be met at a point: databases and Alipay fail, the steps between do not.
fn can_fail(point: &str) -> bool {
    point.starts_with("db.") || point.ends_with("_call")
}

/// One point of one operation, and what happens there.
struct Case<'a> {
    measure: &'a Measure,
    point: &'a str,
    /// What must go wrong first.
    cause: Option<&'a str>,
}

/// An operation being swept.
struct Sweep<'a> {
    operation: &'a Operation,
    world: World,
    ear: Ear,
    /// The points of replica 0 before the steps that are swept.
    passed_before: BTreeMap<String, u64>,
    /// Where the caller asks again next.
    turn: usize,
}

impl Sweep<'_> {
    /// Takes one order through the operation on replica 0, with the case armed there.
    async fn operate(&mut self, name: &str, case: Option<&Case<'_>>) -> Failpoints {
        self.world.simulator.clear_faults().await;
        if self.operation.fresh {
            self.world.replace(0).await;
        }
        let mut request = body(self.operation.code);
        // A reference has 64 characters at most; what tells the cases apart is at the end.
        request["merchant_reference"] = json!(&name[name.len().saturating_sub(64)..]);
        request["cancel_after_seconds"] = json!(15);
        request["terminal_id"] = Value::Null;
        let order = Order {
            key: format!("key-{name}"),
            request,
        };
        for step in self.operation.set_up {
            self.step(&order, *step).await;
            self.world.quiet_down().await;
        }
        let armed = points(&self.world, 0).clone();
        self.passed_before = armed.hits();
        if let Some(case) = case {
            if let Some(cause) = case.cause {
                armed.arm(cause, 0, Action::Error);
            }
            armed.arm(case.point, 0, case.measure.action);
        }
        for step in self.operation.steps {
            self.step(&order, *step).await;
            self.take_over(&order, case).await;
        }
        // The caller, who may not have been answered, asks again: at the other replica, or here.
        self.turn = 1 - self.turn;
        for step in self.operation.steps {
            let again = match step {
                Do(Create(_)) => Create(0),
                Do(Cancel(_)) => Cancel(0),
                Do(Refund(mode, _)) => Refund(mode, 0),
                Do(Reverse(_)) => Reverse(0),
                Do(act @ (CancelReference | CancelKey | Resolve | ResolveRefund)) => *act,
                _ => continue,
            };
            act(&self.world, &mut self.ear, self.turn, 0, &order, again).await;
            self.take_over(&order, case).await;
        }
        points(&self.world, 0).disarm();
        armed
    }

    async fn step(&mut self, order: &Order, step: Step) {
        let world = &mut self.world;
        match step {
            Do(asked) => {
                act(world, &mut self.ear, 0, 0, order, asked).await;
            }
            Fault(service, times, fault) => {
                let fault = json!({"type": fault});
                world.simulator.script(service, times, fault).await;
            }
            Pass(seconds) => {
                world.quiet_down().await;
                world.advance(TimeDelta::seconds(seconds)).await;
            }
            Work => work(world, 0).await,
            WorkAndBeCut => work_and_be_cut(world, 0).await,
            KeepHouse => {
                unless_stopped(world, 0, world.replicas[0].maintenance.run_once()).await;
            }
            Tamper(sql) => {
                world.quiet_down().await;
                world.sql(sql).await;
            }
            Policy(policy) => {
                let policy = serde_json::from_str(policy).expect("JSON");
                world.simulator.set_refund_policy(&policy).await;
            }
            PassTo(hour, minute, second) => {
                world.quiet_down().await;
                let time = NaiveTime::from_hms_opt(hour, minute, second).expect("a time of day");
                let here = FixedOffset::east_opt(8 * 3600).expect("eight hours");
                let today = world.now().with_timezone(&here).date_naive();
                let at = |day: NaiveDate| {
                    let local = day.and_time(time).and_local_timezone(here);
                    local.single().expect("a fixed offset").to_utc()
                };
                let tomorrow = today.succ_opt().expect("a next day");
                let then = Some(at(today)).filter(|then| *then > world.now());
                world.set_clock(then.unwrap_or_else(|| at(tomorrow))).await;
            }
            Garble(fault) => world.simulator.script_notification(1, fault).await,
            CloseAtAlipay => {
                let found = find(world, order).await.expect("a payment");
                let id = &found.partner_trans_id;
                world.simulator.close_paid(id, true).await;
            }
            Deliver => {
                act(world, &mut self.ear, 0, 0, order, Notify).await;
            }
        }
    }

    /// Where replica 0 has stopped: leaves it dead, or lets time pass and the other replica work
    /// before it goes on.
    async fn take_over(&mut self, order: &Order, case: Option<&Case<'_>>) {
        self.world.quiet_down().await;
        if !points(&self.world, 0).is_stopped() {
            return;
        }
        let Some(Case { measure, .. }) = case else {
            return;
        };
        if measure.action == Action::Crash {
            self.world.replace(0).await;
            return;
        }
        let until = self.world.now() + measure.pause;
        if let Some(rival) = self.operation.rival {
            act(&self.world, &mut self.ear, 1, 1, order, rival).await;
        }
        // The other replica lives through the pause, visit by visit, though it may be late.
        while let Some(next) = next_visit(&self.world).await {
            let next = next.max(self.world.now() + A_LITTLE_LATE);
            if next > until {
                break;
            }
            self.world.set_clock(next).await;
            work(&self.world, 1).await;
        }
        if self.world.now() < until {
            self.world.set_clock(until).await;
        }
        work(&self.world, 1).await;
        points(&self.world, 0).resume();
        self.world.quiet_down().await;
    }

    /// The operation undisturbed: which points it passes, and which it would pass after what error.
    async fn rehearse(&mut self) -> BTreeMap<String, Option<&'static str>> {
        let name = format!("{}-undisturbed", self.operation.name);
        let after = self.operate(&name, None).await.hits();
        settle(&mut self.world).await;
        let before = &self.passed_before;
        let mut passed: BTreeMap<String, Option<&'static str>> = after
            .into_iter()
            .filter(|(point, hits)| before.get(point) != Some(hits))
            .filter(|(point, _)| {
                self.operation.fresh || !LOOK_UPS.iter().any(|start| point.starts_with(start))
            })
            .map(|(point, _)| (point, None))
            .collect();
        for (point, cause) in AFTER_AN_ERROR {
            // Only a worker gives a claim back, and the first question must be the worker's.
            let meets = |point: &str| passed.contains_key(point);
            let asked_by_a_worker =
                meets("visit.claimed") && !meets("cancel.accepted") && !meets("refresh.accepted");
            let can_follow = meets(cause) && (*cause != "db.question.before" || asked_by_a_worker);
            if self.operation.rival.is_none() && can_follow {
                passed.entry((*point).to_owned()).or_insert(Some(*cause));
            }
        }
        passed
    }
}

/// Runs one operation with every measure at every point it passes, and says how often each
/// happened.
async fn sweep(pool: PgPool, name: &str) {
    let operation = OPERATIONS
        .iter()
        .chain(REFUNDS)
        .find(|operation| operation.name == name)
        .expect("a known operation");
    let options = Options {
        replicas: 2,
        connections: 3,
        // Signatures have tests of their own, and RSA costs a fifth of the sweep.
        sign_type: SignType::Md5,
        ..Options::default()
    };
    let mut sweep = Sweep {
        operation,
        world: World::start_with(pool, options).await,
        ear: Ear::default(),
        passed_before: BTreeMap::new(),
        turn: 0,
    };
    // Posted only where an operation says so, and not while a replica is held.
    sweep.world.simulator.set_notifications("hold").await;
    sweep.world.simulator.refund_on_the_same_day().await;
    let passed = sweep.rehearse().await;
    let (mut hits, mut never) = (BTreeMap::<&str, u64>::new(), vec![]);
    let mut cases = 0;
    for measure in MEASURES {
        for (point, cause) in &passed {
            if !(measure.suits)(operation, point) {
                continue;
            }
            let case = Case {
                measure,
                point,
                cause: *cause,
            };
            let reference = format!("{name}-{}-{point}", measure.name);
            let armed = sweep.operate(&reference, Some(&case)).await;
            settle(&mut sweep.world).await;
            let fired = armed.fired(point);
            if fired == 0 {
                never.push(reference);
            }
            *hits.entry(point).or_default() += fired;
            cases += 1;
        }
    }
    assert!(never.is_empty(), "armed and never reached: {never:?}");
    finish_clean(sweep.world, &sweep.ear).await;
    publish(
        &format!("crash-points-{name}"),
        &json!({"cases": cases, "hits": hits, "violations": 0}),
    );
}

/// Every point of the program, as its sources name them. The client names its own after the
/// service.
pub(super) fn all_points() -> BTreeSet<String> {
    let mut points = BTreeSet::new();
    collect(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut points,
    );
    points
}

fn collect(directory: &Path, points: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).expect("the sources are readable") {
        let path = entry.expect("an entry is readable").path();
        if path.is_dir() {
            collect(&path, points);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("failpoint.rs")
        {
            let source = fs::read_to_string(&path).expect("a source is readable");
            points.extend(named_in(&source));
        }
    }
}

/// The points that a source names.
fn named_in(source: &str) -> Vec<String> {
    let mut names = vec![];
    for call in ["crashpoint!(", "failpoint!("] {
        for rest in source.split(call).skip(1) {
            let arguments = rest.split(");").next().unwrap_or_default();
            let literals = arguments.split('"').skip(1).step_by(2);
            let literal = literals.collect::<Vec<_>>().join(".");
            if arguments.contains("service()") {
                names.extend(SERVICES.map(|service| format!("{service}.{literal}")));
            } else {
                names.push(literal);
            }
        }
    }
    names
}

/// The services that the gateway asks of its own accord.
const SERVICES: [&str; 5] = ["pay", "query", "cancel", "refund", "refund_query"];

#[test]
fn points_are_found_in_the_sources_however_they_are_written() {
    let source = "crashpoint!(app.db.failpoints, \"a.b\");\nfailpoint!(\n    settings.failpoints,\n    \
        parameters.service().as_str(),\n    \"c\"\n);";
    assert_eq!(
        named_in(source),
        [
            "a.b",
            "pay.c",
            "query.c",
            "cancel.c",
            "refund.c",
            "refund_query.c"
        ]
    );
    let all = all_points();
    assert!(all.len() >= 40, "only {} points were found", all.len());
}

macro_rules! sweeps {
    ($($test:ident = $operation:literal),+ $(,)?) => {
        $(
            #[sqlx::test]
            async fn $test(pool: PgPool) {
                sweep(pool, $operation).await;
            }
        )+

        #[test]
        fn every_operation_is_swept() {
            let swept = [$($operation),+];
            let operations = OPERATIONS.iter().chain(REFUNDS);
            assert!(operations.map(|operation| operation.name).eq(swept));
        }
    };
}

sweeps! {
    c1_a_paid_payment_survives_every_point = "paid",
    c1_a_payment_after_a_start_survives_every_point = "paid_after_a_start",
    c1_a_payment_that_waits_survives_every_point = "pending_then_paid",
    c1_a_declined_payment_survives_every_point = "declined",
    c1_what_contradicts_a_failed_payment_survives_every_point = "contradicted",
    c1_an_answer_that_settles_a_contradiction_survives_every_point = "agreed",
    c1_a_payment_with_a_lost_answer_survives_every_point = "unknown_but_paid",
    c1_the_cancel_of_an_unpaid_payment_survives_every_point = "cancel_of_unpaid",
    c1_the_cancel_of_a_paid_payment_survives_every_point = "cancel_of_paid",
    c1_a_payment_that_never_arrived_survives_every_point = "never_created",
    c1_a_refused_payment_that_never_existed_survives_every_point = "refused_never_created",
    c1_a_plan_that_ends_survives_every_point = "exhausted",
    c1_a_visit_that_comes_too_early_survives_every_point = "visited_too_early",
    c8_a_lost_schedule_is_made_again_at_every_point = "schedule_lost",
    c9_a_schedule_left_over_is_removed_at_every_point = "schedule_left_over",
    c1_a_requested_cancel_of_an_unpaid_payment_survives_every_point = "requested_cancel_of_unpaid",
    c1_a_requested_cancel_of_a_paid_payment_survives_every_point = "requested_cancel_of_paid",
    c1_a_requested_cancel_that_must_be_repeated_survives_every_point = "requested_cancel_twice",
    c1_a_cancel_by_reference_survives_every_point = "cancel_by_reference",
    c1_a_cancel_by_key_survives_every_point = "cancel_by_key",
    c1_a_tombstone_of_a_reference_survives_every_point = "tomb_of_reference",
    c1_a_tombstone_of_a_key_survives_every_point = "tomb_of_key",
    c1_a_refresh_survives_every_point = "refreshed_while_unpaid",
    c1_a_refresh_that_settles_survives_every_point = "refreshed_after_silence",
    c1_an_operators_decision_survives_every_point = "resolved",
    c1_a_steered_follow_up_survives_every_point = "steered",
    c11_a_visit_that_is_cut_survives_every_point = "handed_back",
    s5_a_cancel_at_every_point_of_a_create_ends_in_the_truth = "create_against_cancel",
    s5_a_create_at_every_point_of_a_cancel_ends_in_the_truth = "cancel_against_create",
    m6_a_refresh_at_every_point_of_a_visit_ends_in_the_truth = "visit_against_refresh",
    m6_a_cancel_at_every_point_of_a_visit_ends_in_the_truth = "visit_against_cancel",
    m6_a_refresh_at_every_point_of_a_cancel_ends_in_the_truth = "cancel_against_refresh",
    c1_a_refund_survives_every_point = "refunded",
    c1_a_refund_with_a_lost_answer_survives_every_point = "refund_unheard",
    c1_m4_a_refund_that_never_arrived_survives_every_point = "refund_lost",
    c1_a_refused_refund_survives_every_point = "refund_refused",
    c1_s3_a_refusal_of_a_repeat_survives_every_point = "refund_refused_again",
    c1_an_accepted_refund_survives_every_point = "refund_accepted",
    c1_a_refund_of_the_batch_survives_every_point = "refund_of_the_batch",
    c1_v4_a_notification_survives_every_point = "refund_announced",
    c1_v4_a_hint_survives_every_point = "refund_hinted",
    c1_a_refresh_of_a_refund_survives_every_point = "refund_refreshed",
    c1_what_contradicts_a_failed_refund_survives_every_point = "refund_contradicted",
    c1_what_a_refused_refund_says_of_its_payment_survives_every_point = "refund_denied",
    c1_a_refund_that_is_not_known_for_a_moment_survives_every_point = "refund_not_known",
    c1_the_end_of_a_refunds_plan_survives_every_point = "refund_exhausted",
    c1_a_decision_about_a_refund_survives_every_point = "refund_resolved",
    c8_a_lost_schedule_of_a_refund_is_made_again_at_every_point = "refund_schedule_lost",
    c9_a_schedule_left_over_of_a_refund_is_removed_at_every_point = "refund_visited_too_late",
    c1_a_reversal_in_time_survives_every_point = "reversed_in_time",
    c1_t4_a_reversal_too_late_survives_every_point = "reversed_too_late",
    t4_a_cancel_at_every_point_of_a_refund_returns_the_money_once = "refund_against_cancel",
    t4_a_refund_at_every_point_of_a_cancel_returns_the_money_once = "cancel_against_refund",
    s7_a_query_at_every_point_of_a_notification_ends_in_the_truth = "announced_against_refresh",
    s7_a_notification_at_every_point_of_a_query_ends_in_the_truth = "visit_against_announced",
    s7_a_refresh_at_every_point_of_a_visit_ends_in_the_truth = "refund_visited_rival",
    m3_a_refund_at_every_point_of_a_reversal_stays_within_the_charge = "reversal_against_refund",
}
