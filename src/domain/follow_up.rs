//! The plan by which an open payment reaches its true end, as one pure function of what is known and
//! the time (`design/correctness.md` R13).
//!
//! 1. No answer for [`Plan::first_query_after`]: query, then every [`Plan::query_interval`].
//! 2. The buyer's time is over ([`Payment::cancel_at`]): cancel under the same id, repeated with
//!    growing pauses and interleaved with queries, while Alipay's cancel window is open.
//! 3. After that, and after the 3 minutes in which Alipay closes an unpaid trade by itself: query,
//!    ever more slowly, for [`GIVE_UP_AFTER`].
//! 4. Then, after one more query, the payment is `unresolved`: a person must look, and the queries go on.
//!
//! What is final is asked about again only where Alipay contradicts it
//! ([`contradiction::next_question`]). Exhaustion never means failed.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    contradiction,
    payment::{CANCEL_ACTS_WITHIN, CancelReason, Payment, PaymentState, ProcessingReason},
};

/// How long after creation "the trade does not exist" stays "not yet": the 3 minutes of an unpaid
/// trade and 15 seconds of slack (`protocol/operations.md` 1.4).
pub const GRACE: TimeDelta = TimeDelta::seconds(195);

/// After how long without an answer a payment becomes `unresolved`: a week.
pub const GIVE_UP_AFTER: TimeDelta = TimeDelta::days(7);

/// The parts of the plan that an operator may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// From creation to the first query: 5 s (`protocol/operations.md` 1.4).
    pub first_query_after: Duration,
    /// Between queries while the buyer may still confirm: 3 s (`protocol/operations.md` 1.4).
    pub query_interval: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            first_query_after: Duration::from_secs(5),
            query_interval: Duration::from_secs(3),
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

/// What the plan asks for at `now` (the database's time).
pub fn next_step(plan: &Plan, payment: &Payment, now: DateTime<Utc>) -> NextStep {
    let age = now - payment.created_at;
    let (question, due) = match &payment.state {
        PaymentState::Succeeded if payment.canceling.is_some() => next_under_cancel(payment, now),
        PaymentState::Succeeded | PaymentState::Failed(_) | PaymentState::Canceled { .. } => {
            let Some(contradicted_at) = payment.contradicted_at else {
                return NextStep::Settled;
            };
            let last_asked_at = payment.inquiry.last_query_at;
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
        PaymentState::Processing(ProcessingReason::Canceling) => next_under_cancel(payment, now),
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

/// The buyer may still confirm: query until his time is over, then cancel.
fn next_before_cancel(
    plan: &Plan,
    payment: &Payment,
    now: DateTime<Utc>,
) -> (NextStep, DateTime<Utc>) {
    if payment.cancel_window_is_open(now) {
        let cancel_at = payment.cancel_at();
        let query_at = match payment.inquiry.last_query_at {
            None => payment.created_at + delta(plan.first_query_after),
            Some(last) => last + delta(plan.query_interval),
        };
        return if now >= cancel_at || cancel_at <= query_at {
            (NextStep::Cancel, cancel_at)
        } else {
            (NextStep::Query, query_at)
        };
    }
    (
        NextStep::Query,
        after_last_question(payment, slow_interval(now - payment.created_at)),
    )
}

/// A cancel is under way: repeat it with growing pauses, with a query after each.
fn next_under_cancel(payment: &Payment, now: DateTime<Utc>) -> (NextStep, DateTime<Utc>) {
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
    let Some(last_cancel) = payment.inquiry.last_cancel_at else {
        return (NextStep::Cancel, now);
    };
    // 1, 2, 4, 8 ... seconds from one cancel to the next, never slower than the plan's pace.
    let doublings = u32::try_from(payment.inquiry.cancels.clamp(1, 12) - 1).unwrap_or(0);
    let pause = TimeDelta::seconds(1 << doublings).min(slow);
    let asked_since = payment
        .inquiry
        .last_query_at
        .is_some_and(|query| query > last_cancel);
    if asked_since {
        (NextStep::Cancel, last_cancel + pause)
    } else {
        (NextStep::Query, last_cancel + pause / 2)
    }
}

/// When the question is due that decides what becomes of the wish to undo a payment which turned out
/// paid after its cancel window: at once, or as soon as no cancel is on its way. `None` once it was
/// asked.
fn unasked_since_paid(payment: &Payment) -> Option<DateTime<Utc>> {
    let inquiry = &payment.inquiry;
    let paid = payment.finalized_at?;
    let asked = inquiry.last_query_at.is_some_and(|at| at > paid);
    let acts_until = inquiry.open_cancel_at.map(|sent| sent + CANCEL_ACTS_WITHIN);
    let apart = inquiry.last_query_at.map(|at| at + TimeDelta::seconds(1));
    (!asked).then(|| acts_until.max(apart).map_or(paid, |due| due.max(paid)))
}

/// The pause between questions once the quick ones brought nothing.
fn slow_interval(age: TimeDelta) -> TimeDelta {
    if age < GRACE {
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
    let inquiry = &payment.inquiry;
    inquiry
        .last_query_at
        .max(inquiry.last_cancel_at)
        .map_or(payment.created_at, |last| last + pause)
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

#[cfg(test)]
#[path = "follow_up_tests.rs"]
mod tests;
