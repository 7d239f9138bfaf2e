//! A question that is owed besides a plan: something told us to look, such as a notification of Alipay's. It is
//! asked about a settled payment or refund as well, and stays owed until an answer tells something.

use chrono::{DateTime, TimeDelta, Utc};

/// For how long an unanswered one is asked again; what the plan asks goes on.
const OWED_FOR: TimeDelta = TimeDelta::days(30);
/// The shortest pause before it is asked again; each is as long as all before it.
const SHORTEST_PAUSE: TimeDelta = TimeDelta::seconds(10);
/// And the longest: one that is first asked a week late is not forgotten over an answer that is lost.
const LONGEST_PAUSE: TimeDelta = TimeDelta::days(1);

/// When the question is to be asked; `None` where none is owed, or was in vain for a month. `owed_since` is when it
/// came to be owed, `last_asked_at` when anything was last asked of the same kind.
pub(in crate::domain) fn due_at(
    owed_since: Option<DateTime<Utc>>,
    last_asked_at: Option<DateTime<Utc>>,
) -> Option<DateTime<Utc>> {
    let since = owed_since?;
    let due = match last_asked_at {
        Some(asked) if asked >= since => {
            asked + (asked - since).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
        }
        Some(_) | None => since,
    };
    (due - since < OWED_FOR).then_some(due)
}

/// What an update does to the question that is owed besides the plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Owed {
    /// Nothing.
    #[default]
    AsBefore,
    /// Answers it, if nothing has told us to look since it came to be owed at this time.
    Answered(DateTime<Utc>),
    /// One is owed from now on.
    Now,
}

impl Owed {
    /// When the question that is answered came to be owed.
    pub const fn answered(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Answered(since) => Some(since),
            Self::AsBefore | Self::Now => None,
        }
    }

    /// What it leaves of the question that was owed since then; one that comes to be owed now is not yet among them.
    pub fn left_of(self, owed_since: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
        owed_since.filter(|_| self.answered() != owed_since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    #[test]
    fn a_question_is_due_at_once_and_then_ever_more_rarely_for_a_month() {
        assert_eq!(due_at(None, Some(at(5))), None);
        assert_eq!(due_at(Some(at(10)), None), Some(at(10)));
        let before = Some(at(5));
        assert_eq!(due_at(Some(at(10)), before), Some(at(10)), "asked before");
        let mut asked = vec![];
        let mut last = None;
        while let Some(due) = due_at(Some(at(0)), last) {
            asked.push(due.timestamp());
            last = Some(due);
        }
        let (growing, daily) = asked.split_at(16);
        let expected = [
            0, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10240, 20480, 40960, 81920, 163_840,
        ];
        assert_eq!(growing, expected);
        assert!(
            asked
                .windows(2)
                .skip(15)
                .all(|two| two[1] - two[0] == 86_400)
        );
        assert_eq!(daily.len(), 28, "{daily:?}");
    }

    #[test]
    fn v4_a_question_that_is_asked_late_is_asked_again() {
        for days in [1, 2, 7, 28] {
            let late = at(days * 86_400);
            assert_eq!(due_at(Some(at(0)), Some(late)), Some(late + LONGEST_PAUSE));
        }
    }
}
