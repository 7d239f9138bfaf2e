//! When to stop sending new work to an Alipay account that does not answer, and when to begin again.
//!
//! A pure state machine. It opens after a run of calls without an answer, each begun after Alipay was
//! heard last, so that a late time-out says nothing about now. While it is open, new work is refused,
//! except for one trial per pause; questions about what exists are never asked through it. Whatever
//! call is answered, a follow-up's too, closes it.
//!
//! Any HTTP answer below 500 is an answer: refusals, bad signatures and `SYSTEM_ERROR` do not open it.
//! Refusals of the whole account are the matter of [`super::door`].

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// For how long an unanswered call counts, and how long new work is held back before a trial.
const RUN_WITHIN: TimeDelta = TimeDelta::seconds(60);
const PAUSE: Duration = Duration::from_secs(10);

/// Whether an account's new work is let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// How many unanswered calls in a row open it; 0: it never opens.
    opens_after: u32,
    heard_at: Option<DateTime<Utc>>,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Work passes.
    Closed {
        /// Unanswered calls in a row.
        run: u32,
        /// When the last of them ended.
        last: Option<DateTime<Utc>>,
    },
    /// Work is refused until the next trial.
    Open {
        paused_at: DateTime<Utc>,
        trial_at: DateTime<Utc>,
    },
}

impl Breaker {
    /// A closed breaker that opens after so many unanswered calls in a row; 0: never.
    pub const fn new(opens_after: u32) -> Self {
        Self {
            opens_after,
            heard_at: None,
            state: State::Closed { run: 0, last: None },
        }
    }

    /// Whether new work is refused at present, trials apart.
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// Lets new work through, or says in how many seconds to come again. Where a trial is due, the
    /// one who is let through is the trial, and the next is a pause later.
    pub fn admit(&mut self, now: DateTime<Utc>) -> Result<(), u32> {
        let State::Open {
            paused_at,
            trial_at,
        } = self.state
        else {
            return Ok(());
        };
        // A clock that was set back must not hold work back for longer than a pause.
        if paused_at <= now && now < trial_at {
            let seconds = (trial_at - now).as_seconds_f64().ceil();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 0 and the pause"
            )]
            return Err((seconds as u32).max(1));
        }
        self.pause(now);
        Ok(())
    }

    /// A call was answered. `true`: this closed the breaker.
    pub fn record_success(&mut self, at: DateTime<Utc>) -> bool {
        let was_open = self.is_open();
        self.heard_at = self.heard_at.max(Some(at));
        self.state = State::Closed { run: 0, last: None };
        was_open
    }

    /// A call that was begun at `begun` ended without an answer. `true`: this opened the breaker.
    pub fn record_failure(&mut self, begun: DateTime<Utc>, at: DateTime<Utc>) -> bool {
        let is_stale = self
            .heard_at
            .is_some_and(|record_success| begun < record_success);
        if self.opens_after == 0 || is_stale {
            return false;
        }
        let State::Closed { run, last } = &mut self.state else {
            return false;
        };
        if last.is_some_and(|last| (at - last).abs() > RUN_WITHIN) {
            *run = 0;
        }
        *run += 1;
        *last = Some(at);
        let opens = *run >= self.opens_after;
        if opens {
            self.pause(at);
        }
        opens
    }

    fn pause(&mut self, now: DateTime<Utc>) {
        self.state = State::Open {
            paused_at: now,
            trial_at: now + PAUSE,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Heard,
        /// Begun at the given second.
        Silent(i64),
        /// What is answered.
        Admit(Result<(), u32>),
    }
    use Step::{Admit, Heard, Silent};

    fn second(of: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + of, 0).expect("a time")
    }

    fn run(opens_after: u32, steps: &[(i64, Step)]) -> Breaker {
        let mut breaker = Breaker::new(opens_after);
        for (at, step) in steps {
            let now = second(*at);
            match step {
                Heard => {
                    breaker.record_success(now);
                }
                Silent(begun) => {
                    breaker.record_failure(second(*begun), now);
                }
                Admit(expected) => assert_eq!(breaker.admit(now), *expected, "{at}: {steps:?}"),
            }
        }
        breaker
    }

    #[test]
    fn a_run_of_unanswered_calls_opens_it_and_nothing_less() {
        for (steps, open) in [
            (&[(1, Silent(0)), (2, Silent(0)), (3, Silent(0))][..], true),
            (&[(1, Silent(0)), (2, Silent(0))], false),
            // An answer in between ends the run.
            (
                &[(1, Silent(0)), (2, Silent(0)), (3, Heard), (5, Silent(4))],
                false,
            ),
            // What was begun before Alipay was heard says nothing about now.
            (
                &[(5, Heard), (6, Silent(1)), (7, Silent(2)), (8, Silent(4))],
                false,
            ),
            (
                &[(5, Heard), (6, Silent(5)), (7, Silent(5)), (8, Silent(6))],
                true,
            ),
            // Hours lie between them: that is no outage.
            (
                &[(1, Silent(0)), (100, Silent(99)), (200, Silent(199))],
                false,
            ),
            (
                &[(1, Silent(0)), (61, Silent(60)), (121, Silent(120))],
                true,
            ),
        ] {
            assert_eq!(run(3, steps).is_open(), open, "{steps:?}");
        }
    }

    #[test]
    fn it_can_be_switched_off() {
        let steps: Vec<_> = (1..100).map(|at| (at, Silent(at))).collect();
        assert!(!run(0, &steps).is_open());
    }

    #[test]
    fn an_open_one_lets_one_trial_through_per_pause_and_says_when() {
        run(
            1,
            &[
                (0, Admit(Ok(()))),
                (0, Silent(0)),
                (0, Admit(Err(10))),
                (7, Admit(Err(3))),
                (10, Admit(Ok(()))),
                (10, Admit(Err(10))),
                (15, Silent(10)),
                (19, Admit(Err(1))),
                (20, Admit(Ok(()))),
            ],
        );
    }

    #[test]
    fn any_answer_closes_it() {
        run(
            1,
            &[
                (0, Silent(0)),
                (1, Admit(Err(9))),
                (2, Heard),
                (2, Admit(Ok(()))),
                (2, Admit(Ok(()))),
                // It came late, from before the answer.
                (3, Silent(1)),
                (3, Admit(Ok(()))),
                (4, Silent(3)),
                (4, Admit(Err(10))),
            ],
        );
    }

    #[test]
    fn a_clock_that_is_set_back_holds_nothing_back_for_longer() {
        run(
            1,
            &[(1000, Silent(1000)), (0, Admit(Ok(()))), (1, Admit(Err(9)))],
        );
    }
}
