//! The plan by which an open payment reaches its true end, as one pure function of what is known and
//! the time (`docs/invariants.md` R13).
//!
//! 1. No answer for [`Plan::first_query_after`]: query, then every [`Plan::query_interval`].
//! 2. The buyer's time is over ([`Payment::cancel_at`]): query once more, and where the answer is that
//!    the trade waits or does not exist, cancel under the same id at once ([`PollState::allows_cancel`]).
//!    However late the visit is, an old answer allows nothing: the buyer may have paid since. Where
//!    Alipay is silent, [`SILENT_QUERIES`] fresh questions without an answer allow it too. The cancel
//!    is repeated with growing pauses, each again after a query, while Alipay's cancel window is
//!    open. One that found no trade is not repeated: whether a lost request to pay still arrives is
//!    seen by a query after [`Plan::pay_acts_within`].
//! 3. After that, and after the 3 minutes in which Alipay closes an unpaid trade by itself: query,
//!    ever more slowly, for [`GIVE_UP_AFTER`].
//! 4. Then, after one more query, the payment is `unresolved`: a person must look, and the queries go on.
//!
//! What is final is asked about again only where Alipay contradicts it
//! ([`contradiction::next_question`]), or where a question is owed besides the plan
//! (`domain::question`), which is asked when it is due, whatever the plan says. Exhaustion never means failed.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

#[cfg(doc)]
use super::poll::{PollState, SILENT_QUERIES};
use super::{
    payment::{CancelReason, Payment, PaymentState, ProcessingReason},
    poll::CANCEL_ACTS_WITHIN,
};
use crate::domain::{attempt::AnswerClass, contradiction, follow_ups::question};

/// How long after the request came in its pay may still leave. Less than the earliest cancel
/// (`cancel_after_seconds`), so that a process that was stopped in between does not charge a buyer
/// whose payment another replica has closed meanwhile (`docs/invariants.md` M8, S5).
pub const SEND_WITHIN: Duration = Duration::from_secs(12);

/// How long Alipay may take to do what it was asked, after we have stopped to wait for its answer.
const ALIPAY_ACTS_WITHIN: Duration = Duration::from_secs(30);

/// How long after creation Alipay has closed an unpaid trade by itself: 3 minutes, and 15 seconds of
/// slack (`docs/protocol.md` 5.4).
const UNPAID_TRADE_IS_OVER: TimeDelta = TimeDelta::seconds(195);

/// For how long at least the query between two cancels counts as asked now.
const ASKED_NOW: TimeDelta = TimeDelta::seconds(10);

/// After how long without an answer a payment becomes `unresolved`: a week.
pub const GIVE_UP_AFTER: TimeDelta = TimeDelta::days(7);

/// The parts of the plan that settings decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// From creation to the first query: 5 s (`docs/protocol.md` 5.4).
    pub first_query_after: Duration,
    /// Between queries while the buyer may still confirm: 3 s (`docs/protocol.md` 5.4).
    pub query_interval: Duration,
    /// How long after creation a request to pay whose answer was lost may still create a trade:
    /// until then "the trade does not exist" is "not yet" (`docs/invariants.md` R13).
    pub pay_acts_within: Duration,
}

impl Plan {
    /// How long after creation a request to pay may still act, where its call ends after
    /// `pay_timeout`: the time within which it leaves, its deadline, and Alipay's own time.
    pub const fn pay_acts_within(pay_timeout: Duration) -> Duration {
        SEND_WITHIN
            .saturating_add(pay_timeout)
            .saturating_add(ALIPAY_ACTS_WITHIN)
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            first_query_after: Duration::from_secs(5),
            query_interval: Duration::from_secs(3),
            pay_acts_within: Self::pay_acts_within(Duration::from_secs(10)),
        }
    }
}

/// What to do now about an open payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Ask Alipay where the trade stands.
    Query,
    /// Ask Alipay to close or reverse the trade.
    Cancel,
    /// Nothing before this instant.
    WaitUntil(DateTime<Utc>),
    /// Every planned question was asked: where one more tells nothing, the payment becomes `unresolved`.
    GiveUp,
    /// The payment is final, and nothing contradicts it: nothing is owed any more.
    Settled,
}

/// What the plan, and what is owed besides, asks for at `now` (the database's time).
pub fn next_step(plan: &Plan, payment: &Payment, now: DateTime<Utc>) -> NextStep {
    let planned = planned_step(plan, payment, now);
    let poll = &payment.poll;
    match question::due_at(poll.question_due_at, poll.last_query_at) {
        None => planned,
        Some(due) if due <= now => NextStep::Query,
        Some(due) => match planned {
            NextStep::Settled => NextStep::WaitUntil(due),
            NextStep::WaitUntil(planned) => NextStep::WaitUntil(planned.min(due)),
            NextStep::Query | NextStep::Cancel | NextStep::GiveUp => planned,
        },
    }
}

fn planned_step(plan: &Plan, payment: &Payment, now: DateTime<Utc>) -> NextStep {
    let age = now - payment.created_at;
    let (question, due) = match &payment.state {
        PaymentState::Succeeded if payment.canceling.is_some() => {
            next_under_cancel(plan, payment, now)
        }
        PaymentState::Succeeded | PaymentState::Failed(_) | PaymentState::Canceled { .. } => {
            let Some(contradicted_at) = payment.contradicted_at else {
                return NextStep::Settled;
            };
            let last_asked_at = payment.poll.last_query_at;
            (
                NextStep::Query,
                contradiction::next_question(contradicted_at, last_asked_at),
            )
        }
        PaymentState::Unresolved => (
            NextStep::Query,
            after_last_question(payment, TimeDelta::hours(6)),
        ),
        PaymentState::Processing(_) if age >= GIVE_UP_AFTER => {
            return NextStep::GiveUp;
        }
        PaymentState::Processing(ProcessingReason::Canceling) => {
            next_under_cancel(plan, payment, now)
        }
        PaymentState::Processing(
            ProcessingReason::Submitting
            | ProcessingReason::AwaitingBuyer
            | ProcessingReason::OutcomeUnknown,
        ) => next_before_cancel(plan, payment, now),
    };
    // The end of the plan is a visit of its own.
    let due = match &payment.state {
        PaymentState::Processing(_) => due.min(payment.created_at + GIVE_UP_AFTER),
        _ => due,
    };
    if due <= now {
        question
    } else {
        NextStep::WaitUntil(due)
    }
}

/// When the plan next has something to do: now, or the instant it waits for.
pub fn next_check_at(plan: &Plan, payment: &Payment, now: DateTime<Utc>) -> DateTime<Utc> {
    match next_step(plan, payment, now) {
        NextStep::WaitUntil(due) => due,
        NextStep::Query | NextStep::Cancel | NextStep::GiveUp | NextStep::Settled => now,
    }
}

/// Whether the request to pay may still create a trade.
fn pay_may_act(plan: &Plan, payment: &Payment, now: DateTime<Utc>) -> bool {
    !was_refused(payment) && now < pay_acts_until(plan, payment)
}

/// Until when a request to pay that was not answered may still create a trade.
pub fn pay_acts_until(plan: &Plan, payment: &Payment) -> DateTime<Utc> {
    payment.created_at + delta(plan.pay_acts_within)
}

/// Whether Alipay refused the request to pay in words that are not documented, so that it has come and
/// gone, but it is not known what became of it.
fn was_refused(payment: &Payment) -> bool {
    payment.poll.pay_answer == Some(AnswerClass::UnknownCode)
}

/// Whether a query that was sent at `asked_at` and finds no trade proves that there never was one: a
/// cancel before it found none either, and the request to pay cannot arrive any more.
pub fn never_existed(plan: &Plan, payment: &Payment, asked_at: DateTime<Utc>) -> bool {
    let is_open = matches!(
        payment.state,
        PaymentState::Processing(_) | PaymentState::Unresolved
    );
    let was_seen = payment.charge.is_some() || payment.alipay_trans_id.is_some();
    let denied = payment.poll.nothing_existed();
    is_open
        && !was_seen
        && denied.is_some_and(|cancel| cancel.sent_at <= asked_at)
        && !pay_may_act(plan, payment, asked_at)
}

/// The buyer may still confirm: query until his time is over, then once more, then cancel.
fn next_before_cancel(
    plan: &Plan,
    payment: &Payment,
    now: DateTime<Utc>,
) -> (NextStep, DateTime<Utc>) {
    if payment.cancel_window_is_open(now) {
        let poll = &payment.poll;
        // What was refused and is not there has no buyer who could confirm it.
        let cancel_at = if was_refused(payment) && poll.last_query_found_nothing() {
            payment.created_at
        } else {
            payment.cancel_at()
        };
        if now >= cancel_at {
            return ask_then_cancel(plan, payment, cancel_at, now);
        }
        let query_at = match poll.last_query_at {
            None => payment.created_at + delta(plan.first_query_after),
            Some(last) => last + delta(plan.query_interval),
        };
        return (NextStep::Query, query_at.min(cancel_at));
    }
    (
        NextStep::Query,
        after_last_question(payment, slow_interval(now - payment.created_at)),
    )
}

/// The time to cancel has come at `since`: ask where the trade stands, and cancel only on the answer.
fn ask_then_cancel(
    plan: &Plan,
    payment: &Payment,
    since: DateTime<Utc>,
    now: DateTime<Utc>,
) -> (NextStep, DateTime<Utc>) {
    if payment.poll.allows_cancel(since, now) {
        return (NextStep::Cancel, since);
    }
    let asked = payment.poll.last_query_at.filter(|last| *last >= since);
    let due = asked.map_or(since, |last| last + delta(plan.query_interval));
    (NextStep::Query, due)
}

/// A cancel is under way: repeat it with growing pauses, with a query after each.
fn next_under_cancel(
    plan: &Plan,
    payment: &Payment,
    now: DateTime<Utc>,
) -> (NextStep, DateTime<Utc>) {
    let slow = slow_interval(now - payment.created_at);
    if !payment.cancel_window_is_open(now) {
        let due = unasked_since_paid(payment).unwrap_or(after_last_question(payment, slow));
        return (NextStep::Query, due);
    }
    // Paid after all, and nobody asked to undo it: whether the cancel that left does so is seen by
    // asking; another one would.
    if payment.charge.is_some() && payment.canceling == Some(CancelReason::BuyerDidNotConfirm) {
        return (NextStep::Query, after_last_question(payment, slow));
    }
    let poll = &payment.poll;
    if let Some(denied) = poll.nothing_existed()
        && payment.charge.is_none()
    {
        // The first query from here on decides, if it finds none either.
        let soon = denied.sent_at + TimeDelta::seconds(1);
        let decides_from = if was_refused(payment) {
            soon
        } else {
            soon.max(pay_acts_until(plan, payment))
        };
        let due = after_last_question(payment, slow);
        let has_asked = poll.last_query_at >= Some(decides_from);
        let due = if has_asked {
            due
        } else {
            due.min(decides_from)
        };
        return (NextStep::Query, due);
    }
    let is_asked_for = payment.canceling == Some(CancelReason::Requested);
    let Some(last_cancel) = poll.last_cancel_at else {
        // The schedule's row was lost, and its memory with it.
        return if is_asked_for {
            (NextStep::Cancel, now)
        } else {
            ask_then_cancel(plan, payment, payment.created_at, now)
        };
    };
    // 1, 2, 4, 8 ... seconds from one cancel to the next, never slower than the plan's pace.
    let doublings = u32::try_from(poll.cancels.clamp(1, 12) - 1).unwrap_or(0);
    let pause = TimeDelta::seconds(1 << doublings).min(slow);
    let due = last_cancel + pause;
    let asked = poll.last_query_at.filter(|query| *query > last_cancel);
    match asked {
        None => (NextStep::Query, last_cancel + pause / 2),
        // Whatever is told, a caller wants it undone.
        Some(query) if is_asked_for => {
            if now - query <= pause.max(ASKED_NOW) {
                (NextStep::Cancel, due)
            } else {
                (NextStep::Query, due)
            }
        }
        Some(_) if now < due => (NextStep::Query, due),
        Some(_) if poll.allows_cancel(last_cancel, now) => (NextStep::Cancel, due),
        Some(query) if query >= due => (NextStep::Query, query + delta(plan.query_interval)),
        Some(_) => (NextStep::Query, due),
    }
}

/// When the question is due that decides what becomes of the wish to undo a payment which turned out
/// paid after its cancel window: at once, or as soon as no cancel is on its way. `None` once it was
/// asked.
fn unasked_since_paid(payment: &Payment) -> Option<DateTime<Utc>> {
    let poll = &payment.poll;
    let paid = payment.finalized_at?;
    let asked = poll.last_query_at.is_some_and(|at| at > paid);
    let acts_until = poll.open_cancel_at.map(|sent| sent + CANCEL_ACTS_WITHIN);
    let apart = poll.last_query_at.map(|at| at + TimeDelta::seconds(1));
    (!asked).then(|| acts_until.max(apart).map_or(paid, |due| due.max(paid)))
}

/// The pause between questions once the quick ones brought nothing.
fn slow_interval(age: TimeDelta) -> TimeDelta {
    if age < UNPAID_TRADE_IS_OVER {
        TimeDelta::seconds(8)
    } else if age < TimeDelta::minutes(10) {
        TimeDelta::seconds(15)
    } else if age < TimeDelta::hours(1) {
        TimeDelta::minutes(1)
    } else if age < TimeDelta::days(1) {
        TimeDelta::minutes(10)
    } else {
        TimeDelta::hours(1)
    }
}

fn after_last_question(payment: &Payment, pause: TimeDelta) -> DateTime<Utc> {
    let poll = &payment.poll;
    poll.last_query_at
        .max(poll.last_cancel_at)
        .map_or(payment.created_at, |last| last + pause)
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
