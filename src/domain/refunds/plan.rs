//! The plan by which an open refund reaches its true end, as one pure function of what is known and
//! the time (`docs/invariants.md` T2, T3, T6; `docs/protocol.md` 6.3).
//!
//! 1. Alipay has not said that it has the refund: query after 10 s, 30 s, 2, 10, 30 minutes, then
//!    hourly; where the answer is "no such refund", send the request again, under the same id and
//!    with the same amount.
//! 2. Alipay has it: query 1, 5 and 30 minutes after it was accepted (some documents say that a
//!    refund of the same day is done at once), just after the batch opens, through that night, after
//!    it closes, and then once each night after the batch. Each refund has its own place in a spread of
//!    time, so that ten thousand of them do not query in one second.
//! 3. After [`RefundPlan::horizon`] Alipay itself has given up, and says so; a refund that is still open
//!    when that night is over and was asked for becomes `unresolved`, and is queried once a night.
//!
//! A question that is owed besides (`domain::question`) is asked when it is due, whatever the plan says, and
//! also about a settled refund.
//!
//! Exhaustion never means failed. At most [`MOST_QUERIES_A_DAY`] queries a day follow from it, which a
//! test counts over years.

use chrono::{DateTime, TimeDelta, Utc};

use super::refund::{ASKED_AFTER, CONFIRM_AFTER, PendingReason, Refund, RefundMode, RefundState};
use crate::domain::{
    calendar::{BatchHours, BatchWindow},
    contradiction,
    follow_ups::question,
};

/// The plan never asks more often about one refund in a day; callers may add to it by `refresh`.
pub const MOST_QUERIES_A_DAY: u32 = 40;

/// After how long a refund that Alipay never acknowledged becomes `unresolved`: a week, as a payment.
pub const GIVE_UP_UNHEARD_AFTER: TimeDelta = TimeDelta::days(7);

/// How near to the opening of a batch an acceptance may be before both nights are watched: the clocks
/// of Alipay and of the gateway may differ by as much.
const EDGE: TimeDelta = TimeDelta::seconds(60);

/// How far apart two queries about an accepted refund are at least; checks that fall together are one.
const APART: TimeDelta = TimeDelta::seconds(10);

/// Checks after acceptance, before any batch.
const EARLY: [TimeDelta; 3] = [
    TimeDelta::minutes(1),
    TimeDelta::minutes(5),
    TimeDelta::minutes(30),
];

/// How long after the last batch's end the plan waits for its result.
const AFTER_THE_LAST_BATCH: TimeDelta = TimeDelta::hours(1);

/// The parts of the plan that an operator may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefundPlan {
    /// Alipay's nightly batch.
    pub hours: BatchHours,
    /// For how long Alipay tries again while funds are short: 180 days
    /// (`docs/protocol.md` 6.2).
    pub horizon: TimeDelta,
}

impl Default for RefundPlan {
    fn default() -> Self {
        Self {
            hours: BatchHours::default(),
            horizon: TimeDelta::days(180),
        }
    }
}

/// What to do now about an open refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundStep {
    /// Send the request, under the id and with the amount it has.
    Submit,
    /// Ask Alipay where the refund stands.
    Query,
    /// Nothing before this instant.
    WaitUntil(DateTime<Utc>),
    /// Every planned question was asked: the refund becomes `unresolved`.
    GiveUp,
    /// The refund is final, and nothing contradicts it: nothing is owed any more.
    Settled,
}

/// What the plan, and what is owed besides, asks for at `now` (the database's time).
pub fn next_step(plan: &RefundPlan, refund: &Refund, now: DateTime<Utc>) -> RefundStep {
    match owed(plan, refund) {
        None => RefundStep::Settled,
        Some((step, due)) if due <= now => step,
        Some((_, due)) => RefundStep::WaitUntil(due),
    }
}

/// When the next thing the plan has to do is due; not after `now` where that is at once.
pub fn next_check_at(plan: &RefundPlan, refund: &Refund, now: DateTime<Utc>) -> DateTime<Utc> {
    owed(plan, refund).map_or(now, |(_, due)| due)
}

/// What is owed next, by the plan or besides it, and when.
fn owed(plan: &RefundPlan, refund: &Refund) -> Option<(RefundStep, DateTime<Utc>)> {
    let poll = &refund.poll;
    let question = question::due_at(poll.question_due_at, poll.last_check_at)
        .map(|due| (RefundStep::Query, due));
    match (planned(plan, refund), question) {
        (Some(planned), Some(question)) if planned.1 < question.1 => Some(planned),
        (planned, question) => question.or(planned),
    }
}

/// What the plan has to do next, and when; `None` where that is nothing any more.
fn planned(plan: &RefundPlan, refund: &Refund) -> Option<(RefundStep, DateTime<Utc>)> {
    match &refund.state {
        RefundState::Succeeded | RefundState::Failed(_) => {
            let last_asked_at = refund.poll.last_check_at;
            let due = contradiction::next_question(refund.contradicted_at?, last_asked_at);
            Some((RefundStep::Query, due))
        }
        RefundState::Unresolved => Some((
            RefundStep::Query,
            nightly_check(plan, refund, last_question(refund)),
        )),
        RefundState::Pending(_) => {
            let (question, due) = next_question(plan, refund);
            let gives_up_at = gives_up_at(plan, refund);
            // Whatever was due before the end is asked first, however late its visit is.
            Some(if due < gives_up_at {
                (question, due)
            } else {
                (RefundStep::GiveUp, gives_up_at)
            })
        }
    }
}

/// When a pending refund becomes `unresolved`: after the batch in which Alipay gives up, or, where
/// Alipay never acknowledged it, after a week. Where it did not for want of funds, the gateway tries
/// for as long as Alipay would.
pub fn gives_up_at(plan: &RefundPlan, refund: &Refund) -> DateTime<Utc> {
    let is_short = refund.state == RefundState::Pending(PendingReason::InsufficientFunds);
    match refund.accepted_at {
        Some(accepted_at) => {
            // By either clock.
            let end = accepted_at + plan.horizon + EDGE;
            plan.hours.first_after(end).closes_at + AFTER_THE_LAST_BATCH
        }
        None if is_short => refund.created_at + plan.horizon,
        None => refund.created_at + GIVE_UP_UNHEARD_AFTER,
    }
}

/// The batch that a pending asynchronous refund waits for: the first one after its acceptance that
/// is not over at its next check. `None` where it waits for none.
pub fn window(plan: &RefundPlan, refund: &Refund) -> Option<BatchWindow> {
    let is_pending = matches!(refund.state, RefundState::Pending(_));
    let is_waiting = refund.mode == RefundMode::Async && is_pending;
    let accepted_at = refund.accepted_at.filter(|_| is_waiting)?;
    let mut window = plan.hours.first_after(accepted_at);
    if let Some(next) = refund.poll.next_check_at {
        let tonight = plan.hours.first_after(next - TimeDelta::days(1));
        // The check after the end of a batch is still about that batch.
        let latest = if next > tonight.closes_at + settling(&tonight) + spread(&tonight) {
            plan.hours.following(tonight)
        } else {
            tonight
        };
        if latest.opens_at > window.opens_at {
            window = latest;
        }
    }
    Some(window)
}

/// The next question about a pending refund, and when it is due.
fn next_question(plan: &RefundPlan, refund: &Refund) -> (RefundStep, DateTime<Utc>) {
    let poll = &refund.poll;
    let Some(last_submit_at) = poll.last_submit_at else {
        return (RefundStep::Submit, refund.created_at);
    };
    if poll.not_found && refund.refusal.is_none() {
        let asked_at = poll.last_check_at.unwrap_or(last_submit_at);
        let due = asked_at + before_submit(poll.submits);
        // The same refusal counts only where the request before it cannot act any more.
        let counts_at = match refund.unknown_code {
            Some(_) => last_submit_at + CONFIRM_AFTER,
            None => due,
        };
        return (RefundStep::Submit, due.max(counts_at));
    }
    if let Some(accepted_at) = refund.accepted_at {
        let asked_at = poll.last_check_at.map(|at| at + APART);
        let after = last_question(refund).max(asked_at.unwrap_or(last_submit_at));
        return (
            RefundStep::Query,
            batch_check(plan, refund, accepted_at, after),
        );
    }
    let due = last_question(refund) + before_check(poll.checks_done);
    // A refusal is settled by an answer that comes late enough; asking earlier would not settle it.
    let settles_at = match refund.refusal {
        Some(_) if poll.not_found => last_submit_at + CONFIRM_AFTER,
        _ => due,
    };
    (RefundStep::Query, due.max(settles_at))
}

/// The pause before the query after so many: 10 s, since Alipay wants that much before a refund is
/// asked for (`docs/protocol.md` 6.3), then ever more.
fn before_check(checks_done: i32) -> TimeDelta {
    match checks_done {
        ..=0 => ASKED_AFTER,
        1 => TimeDelta::seconds(30),
        2 => TimeDelta::minutes(2),
        3 => TimeDelta::minutes(10),
        4 => TimeDelta::minutes(30),
        5.. => TimeDelta::hours(1),
    }
}

/// The pause before the request is sent again after so many times. The first repeat comes at once:
/// the query before it has waited.
fn before_submit(submits: i32) -> TimeDelta {
    match submits {
        ..=1 => TimeDelta::zero(),
        2 => TimeDelta::seconds(30),
        3 => TimeDelta::minutes(2),
        4 => TimeDelta::minutes(10),
        5 => TimeDelta::minutes(30),
        6.. => TimeDelta::hours(1),
    }
}

fn last_question(refund: &Refund) -> DateTime<Utc> {
    let poll = &refund.poll;
    poll.last_check_at
        .max(poll.last_submit_at)
        .unwrap_or(refund.created_at)
}

/// The checks of a night, in twelfths of the batch from its opening.
const OPENING: i32 = 0;
const FIRST_THIRD: i32 = 4;
const SECOND_THIRD: i32 = 8;
const CLOSING: i32 = 12;

/// How long after the opening and the end of a batch its first result is looked for, and over how much
/// time the checks of all refunds are spread then. Both end before [`AFTER_THE_LAST_BATCH`].
const SETTLING: TimeDelta = TimeDelta::minutes(1);
const SPREAD: TimeDelta = TimeDelta::minutes(30);

/// Where in the night a refund's check is.
fn check_at(window: &BatchWindow, check: i32, refund: &Refund) -> DateTime<Utc> {
    let length = window.closes_at - window.opens_at;
    let spread_ms = spread(window).num_milliseconds();
    // In whole milliseconds: what is due must be the same once it was stored.
    let place = TimeDelta::milliseconds(spread_ms * place_of(refund) / 65_536);
    window.opens_at + length * check / 12 + settling(window) + place
}

/// A batch's [`SETTLING`]: less where the next one opens before.
fn settling(window: &BatchWindow) -> TimeDelta {
    SETTLING.min(pause_after(window) / 2)
}

/// A batch's [`SPREAD`]: less where the batch, or the pause until the next one, is short.
fn spread(window: &BatchWindow) -> TimeDelta {
    let length = window.closes_at - window.opens_at;
    SPREAD.min(length.min(pause_after(window)) / 12)
}

/// From the end of a batch to the opening of the next.
fn pause_after(window: &BatchWindow) -> TimeDelta {
    TimeDelta::days(1) - (window.closes_at - window.opens_at)
}

/// The refund's own place in the spread, from 0 to 65,535: the last bytes of its id, which are random.
fn place_of(refund: &Refund) -> i64 {
    let bytes = refund.id.uuid().into_bytes();
    i64::from(u16::from_be_bytes([bytes[14], bytes[15]]))
}

/// The first check after `after` of a refund that Alipay has accepted.
fn batch_check(
    plan: &RefundPlan,
    refund: &Refund,
    accepted_at: DateTime<Utc>,
    after: DateTime<Utc>,
) -> DateTime<Utc> {
    let early = EARLY
        .into_iter()
        .map(|pause| accepted_at + pause)
        .find(|at| *at > after);
    let first = plan.hours.first_after(accepted_at);
    let mut windows = vec![
        plan.hours.preceding(first),
        first,
        plan.hours.following(first),
    ];
    windows
        .retain(|window| window.closes_at > accepted_at && is_watched(window, accepted_at, &first));
    let watched = windows
        .iter()
        .flat_map(|window| {
            let checks: &[i32] = if window.opens_at > accepted_at || near(window, accepted_at) {
                &[OPENING, FIRST_THIRD, SECOND_THIRD, CLOSING]
            } else {
                // Accepted while the batch was running: at most its end says something.
                &[CLOSING]
            };
            checks.iter().map(|check| check_at(window, *check, refund))
        })
        .find(|at| *at > after);
    early
        .into_iter()
        .chain(watched)
        .min()
        .unwrap_or_else(|| nightly_check(plan, refund, after))
}

/// Whether a night is watched from its opening to its end: the first after the acceptance, and one
/// whose opening is so near that it may have been, or be, the first by Alipay's clock.
fn is_watched(window: &BatchWindow, accepted_at: DateTime<Utc>, first: &BatchWindow) -> bool {
    window == first || window.opens_at < first.opens_at || (first.opens_at - accepted_at) <= EDGE
}

/// Whether the acceptance is within a minute of the opening.
fn near(window: &BatchWindow, accepted_at: DateTime<Utc>) -> bool {
    (window.opens_at - accepted_at).abs() <= EDGE
}

/// The first check after a batch's end that is after `after`.
fn nightly_check(plan: &RefundPlan, refund: &Refund, after: DateTime<Utc>) -> DateTime<Utc> {
    let mut window = plan.hours.first_after(after - TimeDelta::days(2));
    loop {
        let at = check_at(&window, CLOSING, refund);
        if at > after {
            return at;
        }
        window = plan.hours.following(window);
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
