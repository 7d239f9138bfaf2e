//! When Alipay is asked about a registration, as one pure function of what is known and the time
//! (`docs/protocol.md` 10: 2, 5, 10 and 30 minutes after it was sent, then hourly to 72 hours).

use chrono::{DateTime, TimeDelta, Utc};

use super::{Registration, RegistrationStatus as Status};

/// The first questions after it was sent. A review takes five to ten minutes as a rule.
const EARLY: [TimeDelta; 4] = [
    TimeDelta::minutes(2),
    TimeDelta::minutes(5),
    TimeDelta::minutes(10),
    TimeDelta::minutes(30),
];
/// The first question where it is not known whether Alipay received the registration.
const UNHEARD: TimeDelta = TimeDelta::seconds(30);
/// Between the later questions.
const EVERY: TimeDelta = TimeDelta::hours(1);
/// After this long without a result a person has to look: a review takes at most three working days.
const GIVE_UP_AFTER: TimeDelta = TimeDelta::hours(72);
/// How often an unresolved registration is asked for.
const SLOWLY: TimeDelta = TimeDelta::days(1);

/// How long after it was sent it may be sent again, for the first times and then always.
const SEND_AGAIN_AFTER: [TimeDelta; 4] = [
    TimeDelta::minutes(1),
    TimeDelta::minutes(5),
    TimeDelta::minutes(15),
    TimeDelta::hours(1),
];
/// How often one submission is sent at most: after so many, Alipay receives it and does not keep it.
const MOST_SUBMITS: i32 = 12;

/// What to do now about a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistrationStep {
    /// Send it, under its ids and with its data.
    Submit,
    /// Ask Alipay where it stands.
    Query,
    /// Nothing before this instant.
    WaitUntil(DateTime<Utc>),
    /// Every planned question was asked: it becomes `unresolved`.
    GiveUp,
    /// It is approved or rejected: nothing is owed any more.
    Settled,
}

/// What the plan asks for at `now` (the database's time).
pub fn next_step(registration: &Registration, now: DateTime<Utc>) -> RegistrationStep {
    match planned(registration) {
        None => RegistrationStep::Settled,
        Some((step, due)) if due <= now => step,
        Some((_, due)) => RegistrationStep::WaitUntil(due),
    }
}

/// When the next thing the plan has to do is due; `now` where nothing is owed.
pub fn next_check_at(registration: &Registration, now: DateTime<Utc>) -> DateTime<Utc> {
    planned(registration).map_or(now, |(_, due)| due)
}

/// When an open registration becomes `unresolved`, if nothing is learnt before.
pub fn gives_up_at(registration: &Registration) -> DateTime<Utc> {
    sent_at(registration) + GIVE_UP_AFTER
}

fn sent_at(registration: &Registration) -> DateTime<Utc> {
    let submission = &registration.submission;
    submission.last_submit_at.unwrap_or(submission.submitted_at)
}

/// What is to be done next, and when; `None` where nothing is owed any more.
fn planned(registration: &Registration) -> Option<(RegistrationStep, DateTime<Utc>)> {
    let submission = &registration.submission;
    let sendable = submission.to_send && submission.is_kept && submission.submits < MOST_SUBMITS;
    match registration.status {
        Status::Approved | Status::Rejected => None,
        _ if sendable => Some((
            RegistrationStep::Submit,
            sent_at(registration) + pause_after(submission.submits),
        )),
        Status::Unresolved => {
            let asked_at = submission.last_check_at.max(Some(sent_at(registration)));
            Some((
                RegistrationStep::Query,
                asked_at.unwrap_or(submission.submitted_at) + SLOWLY,
            ))
        }
        Status::Submitting | Status::Unknown | Status::UnderReview | Status::ModificationReview => {
            let due = next_question(registration);
            let end = gives_up_at(registration);
            // Whatever was due before the end is asked first, however late its visit is.
            Some(if due <= end {
                (RegistrationStep::Query, due)
            } else {
                (RegistrationStep::GiveUp, end)
            })
        }
    }
}

/// The first instant of the plan after the last question.
fn next_question(registration: &Registration) -> DateTime<Utc> {
    let sent_at = sent_at(registration);
    let submission = &registration.submission;
    let asked = submission.last_check_at.map_or(TimeDelta::zero(), |at| {
        (at - sent_at).max(TimeDelta::zero())
    });
    let is_heard = submission.accepted_at.is_some() || submission.after_earlier;
    let unheard = (!is_heard).then_some(UNHEARD);
    let early = unheard.into_iter().chain(EARLY);
    let offset = early
        .into_iter()
        .find(|offset| *offset > asked)
        .unwrap_or_else(|| hours_after(asked));
    sent_at + offset
}

/// The next whole hour after so much time.
fn hours_after(asked: TimeDelta) -> TimeDelta {
    EVERY * i32::try_from(asked.num_hours() + 1).unwrap_or(i32::MAX)
}

fn pause_after(submits: i32) -> TimeDelta {
    let last = SEND_AGAIN_AFTER.len() - 1;
    let index = usize::try_from(submits - 1).unwrap_or(0).min(last);
    SEND_AGAIN_AFTER[index]
}
