//! How far the questions about a payment are, what was asked in the last minutes, and what came of it: the memory by which the
//! plan tells an answer of now from an old one, and silence from not having asked.

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::{
    attempt::{AnswerClass, AttemptKind},
    follow_ups::question,
    id::AttemptId,
};

/// How long the answer to a query is taken for how the trade stands now. A cancel that it allows
/// leaves within this time, or the query is repeated first.
pub const FRESH: TimeDelta = TimeDelta::seconds(2);

/// How many queries in a row must have told nothing before a cancel is sent without an answer.
pub const SILENT_QUERIES: usize = 3;

/// Within what time those queries were sent.
pub const SILENCE: TimeDelta = TimeDelta::minutes(2);

/// A query or a cancel that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub id: AttemptId,
    pub kind: AttemptKind,
    /// When the intent to ask was committed (database clock).
    pub sent_at: DateTime<Utc>,
    /// What came back and when it came; absent while open, or after a crash.
    pub answer: Option<(AnswerClass, DateTime<Utc>)>,
}

impl Asked {
    fn class(&self) -> Option<AnswerClass> {
        self.answer.map(|(class, _)| class)
    }

    /// Whether it is a query whose answer says where the trade stands.
    fn tells(&self) -> bool {
        self.kind == AttemptKind::Query
            && self.class().is_some_and(AnswerClass::says_where_it_stands)
    }

    fn is_silent_query(&self) -> bool {
        self.kind == AttemptKind::Query
            && self
                .class()
                .is_some_and(|class| !class.says_where_it_stands())
    }
}

/// What was asked of Alipay so far, and when it is asked next. Kept with the follow-up row; a lost
/// row only makes the gateway ask again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PollState {
    /// When the next question is due; absent when nothing is planned.
    pub next_check_at: Option<DateTime<Utc>>,
    /// Since when a question is owed besides the plan, because something told us to look.
    pub question_due_at: Option<DateTime<Utc>>,
    pub queries: i32,
    pub last_query_at: Option<DateTime<Utc>>,
    /// Until when the buyer may confirm, so that somebody waits at the till: such a payment's visits
    /// have places of their own. Absent once it is being closed.
    pub confirming_until: Option<DateTime<Utc>>,
    /// What came of the request to pay; absent while it is open, or after a crash.
    pub pay_answer: Option<AnswerClass>,
    /// The queries and cancels of the last minutes, oldest first.
    pub recent: Vec<Asked>,
    pub cancels: i32,
    pub last_cancel_at: Option<DateTime<Utc>>,
    /// Whether Alipay refused the last cancel for good, so that a query decides.
    pub cancel_refused: bool,
    /// When the last cancel was sent that may still act: nothing says that it is not done
    /// ([`AnswerClass::that_may_act`](crate::domain::attempt::AnswerClass::that_may_act)).
    pub open_cancel_at: Option<DateTime<Utc>>,
    /// How often in a row Alipay refused at its door what was asked.
    pub access_refusals: i32,
}

/// How long after its intent a cancel whose effect is open may still act at Alipay: the time within
/// which it leaves, its deadline, and a wide margin.
pub const CANCEL_ACTS_WITHIN: TimeDelta = TimeDelta::minutes(1);

/// For how long what a person decided reads "wait" where Alipay does not answer the question about it; it is asked all
/// the same.
const CHECKED_WITHIN: TimeDelta = TimeDelta::minutes(5);

impl PollState {
    /// Whether a cancel of ours may be on its way still.
    pub fn cancel_may_act(&self, now: DateTime<Utc>) -> bool {
        self.open_cancel_at
            .is_some_and(|sent| now < sent + CANCEL_ACTS_WITHIN)
    }

    pub fn note(&mut self, asked: Asked) {
        self.recent.retain(|known| known.id != asked.id);
        self.recent.push(asked);
        self.recent.sort_by_key(|asked| asked.sent_at);
    }

    /// Notes the answer to a question that was noted before.
    pub fn note_answer(&mut self, id: AttemptId, class: AnswerClass, at: DateTime<Utc>) {
        for asked in self.recent.iter_mut().filter(|asked| asked.id == id) {
            asked.answer = Some((class, at));
        }
    }

    /// Whether the answer to a question that was due then is still waited for: not for ever where Alipay is silent, nor
    /// where an operator has put the question off, or taken it off the schedule.
    pub fn is_waiting_for_answer_since(&self, due: DateTime<Utc>) -> bool {
        let until = due + CHECKED_WITHIN;
        let planned = question::due_at(Some(due), self.last_query_at);
        let is_on_time = |next| next <= until || Some(next) <= planned;
        self.next_check_at.is_some_and(is_on_time) && self.last_query_at < Some(until)
    }

    /// When the last answer came.
    pub fn last_answered_at(&self) -> Option<DateTime<Utc>> {
        let answers = self.recent.iter().filter_map(|asked| asked.answer);
        answers.map(|(_, at)| at).max()
    }

    /// Whether a cancel that no caller asked for may leave now: a query that was sent at `since` or
    /// later has just told that the trade waits or does not exist, or several fresh ones told nothing.
    pub fn allows_cancel(&self, since: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        let is_fresh = |asked: &Asked| {
            let answered = asked.answer.map(|(_, at)| at);
            asked.sent_at >= since && answered.is_some_and(|at| now - at <= FRESH)
        };
        let told = self.recent.iter().rfind(|asked| asked.tells());
        match told.and_then(Asked::class) {
            Some(AnswerClass::Pending | AnswerClass::NotFound) if told.is_some_and(is_fresh) => {
                return true;
            }
            // Paid or closed: a cancel would undo what stands, or nothing.
            Some(AnswerClass::Success | AnswerClass::Closed) => return false,
            _ => {}
        }
        let after = told.map(|told| told.sent_at);
        let silent = self.recent.iter().filter(|asked| {
            asked.is_silent_query() && Some(asked.sent_at) > after && now - asked.sent_at <= SILENCE
        });
        let newest = silent.clone().next_back();
        silent.count() >= SILENT_QUERIES && newest.is_some_and(is_fresh)
    }

    /// The last cancel that was answered "there is no such trade", while no later question has seen
    /// the trade.
    pub fn nothing_existed(&self) -> Option<&Asked> {
        let denies = |asked: &&Asked| asked.class() == Some(AnswerClass::NotFound);
        let cancels = |asked: &&Asked| asked.kind == AttemptKind::Cancel;
        let cancel = self.recent.iter().filter(cancels).rfind(denies)?;
        let seen_later = self
            .recent
            .iter()
            .any(|asked| asked.sent_at > cancel.sent_at && asked.tells() && !denies(&asked));
        (!seen_later).then_some(cancel)
    }

    /// Whether the last query that told anything found no trade.
    pub fn last_query_found_nothing(&self) -> bool {
        let told = self.recent.iter().rfind(|asked| asked.tells());
        told.and_then(Asked::class) == Some(AnswerClass::NotFound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_767_323_045 + seconds, 0).expect("a date of our time")
    }

    fn asked(kind: AttemptKind, sent: i64, answer: Option<(AnswerClass, i64)>) -> Asked {
        Asked {
            id: AttemptId::mint(),
            kind,
            sent_at: at(sent),
            answer: answer.map(|(class, answered)| (class, at(answered))),
        }
    }

    fn poll(queries: &[(i64, Option<(AnswerClass, i64)>)]) -> PollState {
        let mut poll = PollState::default();
        for (sent, answer) in queries {
            poll.note(asked(AttemptKind::Query, *sent, *answer));
        }
        poll
    }

    /// M10: at second 60 the buyer's time is over, and it is second 70.
    #[test]
    fn m10_only_an_answer_of_now_or_several_silent_questions_allow_a_cancel() {
        use AnswerClass as A;
        for (queries, allowed) in [
            (vec![], false),
            (vec![(70, Some((A::Pending, 70)))], true),
            (vec![(66, Some((A::NotFound, 68)))], true),
            (vec![(66, Some((A::Pending, 67)))], false),
            (vec![(59, Some((A::Pending, 69)))], false),
            (vec![(70, Some((A::Success, 70)))], false),
            (vec![(70, Some((A::Closed, 70)))], false),
            (vec![(70, None)], false),
            (vec![(70, Some((A::TimedOut, 70)))], false),
            (
                vec![(64, Some((A::TimedOut, 69))), (69, Some((A::TimedOut, 70)))],
                false,
            ),
            (
                vec![
                    (54, Some((A::TimedOut, 59))),
                    (59, Some((A::AccessRefused, 60))),
                    (65, Some((A::TimedOut, 70))),
                ],
                true,
            ),
            // The last of them is from before the time to cancel, or some are old.
            (
                vec![
                    (50, Some((A::TimedOut, 55))),
                    (55, Some((A::TimedOut, 60))),
                    (59, Some((A::TimedOut, 69))),
                ],
                false,
            ),
            (
                vec![
                    (-52, Some((A::TimedOut, -47))),
                    (-51, Some((A::TimedOut, -46))),
                    (65, Some((A::TimedOut, 70))),
                ],
                false,
            ),
            // What was paid before the silence is paid.
            (
                vec![
                    (60, Some((A::Success, 60))),
                    (61, Some((A::SystemError, 61))),
                    (65, Some((A::SystemError, 65))),
                    (69, Some((A::SystemError, 70))),
                ],
                false,
            ),
            // A trade that waited before the silence may be paid by now: the count begins anew.
            (
                vec![
                    (50, Some((A::SystemError, 51))),
                    (53, Some((A::SystemError, 54))),
                    (56, Some((A::Pending, 57))),
                    (69, Some((A::SystemError, 70))),
                ],
                false,
            ),
        ] {
            let found = poll(&queries).allows_cancel(at(60), at(70));
            assert_eq!(found, allowed, "{queries:?}");
        }
    }

    /// D8: a question that was due at second 0, asked last and planned next at these seconds.
    #[test]
    fn d8_a_question_is_waited_for_while_the_schedule_asks_it() {
        for (asked, next, waits) in [
            (None, Some(0), true),
            (Some(-5), Some(0), true),
            (None, None, false),
            (Some(10), Some(20), true),
            (Some(160), Some(320), true),
            (Some(320), Some(640), false),
            // Put off by an operator: for a moment, for an hour.
            (None, Some(90), true),
            (None, Some(3600), false),
            (Some(10), Some(3600), false),
        ] {
            let poll = PollState {
                next_check_at: next.map(at),
                last_query_at: asked.map(at),
                ..PollState::default()
            };
            let found = poll.is_waiting_for_answer_since(at(0));
            assert_eq!(found, waits, "{asked:?} {next:?}");
        }
    }

    #[test]
    fn a_trade_that_is_seen_later_did_exist() {
        use AnswerClass as A;
        for (seen, holds) in [
            (None, true),
            (Some(A::NotFound), true),
            (Some(A::TimedOut), true),
            (Some(A::Pending), false),
            (Some(A::Success), false),
        ] {
            let mut poll = PollState::default();
            poll.note(asked(AttemptKind::Cancel, 3, Some((A::NotFound, 4))));
            if let Some(class) = seen {
                poll.note(asked(AttemptKind::Query, 5, Some((class, 6))));
            }
            assert_eq!(poll.nothing_existed().is_some(), holds, "{seen:?}");
        }
    }
}
