//! When Alipay turns an account away at its door: a key, the contract or the partner number is at fault,
//! and no trade of the account can be settled before a person mends it.
//!
//! A pure state machine beside [`super::breaker`]. It closes after a few refusals in a row, each of a call
//! that was begun after Alipay was believed last; any verified answer opens it. While it is closed, new
//! work is refused, and no sale is put at risk to find out more: once per pause, whoever is refused has
//! one harmless question asked in its place. Questions about what exists are never held back.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// How long new work is refused between two probes.
const PAUSE: Duration = Duration::from_secs(10);

/// A refusal at the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Alipay's code.
    pub code: String,
    /// When it came.
    pub at: DateTime<Utc>,
}

/// Why new work is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Alipay's last code.
    pub code: String,
    /// When to come again, in seconds.
    pub retry_after_seconds: u32,
    /// Whether it is time to ask a harmless question.
    pub probe: bool,
}

/// Whether an account's new work is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// How many refusals in a row close it; 0: it never closes.
    closes_after: u32,
    believed_at: Option<DateTime<Utc>>,
    refusals: u32,
    /// The last refusal of a run; kept once the door is open again, for a person who looks.
    last: Option<Refusal>,
    probed_at: Option<DateTime<Utc>>,
}

impl Door {
    /// An open door that closes after so many refusals in a row; 0: never.
    pub const fn new(closes_after: u32) -> Self {
        Self {
            closes_after,
            believed_at: None,
            refusals: 0,
            last: None,
            probed_at: None,
        }
    }

    /// Whether new work is refused.
    pub const fn is_closed(&self) -> bool {
        self.closes_after > 0 && self.refusals >= self.closes_after
    }

    /// The last refusal there was.
    pub const fn last_refusal(&self) -> Option<&Refusal> {
        self.last.as_ref()
    }

    /// Lets new work in, or says why not.
    pub fn admit(&mut self, now: DateTime<Utc>) -> Result<(), Closed> {
        let Some(last) = self.last.as_ref().filter(|_| self.is_closed()) else {
            return Ok(());
        };
        let since = self.probed_at.map_or(TimeDelta::MAX, |at| (now - at).abs());
        let probe = since >= TimeDelta::from_std(PAUSE).unwrap_or(TimeDelta::MAX);
        if probe {
            self.probed_at = Some(now);
        }
        Err(Closed {
            code: last.code.clone(),
            retry_after_seconds: u32::try_from(PAUSE.as_secs()).unwrap_or(u32::MAX),
            probe,
        })
    }

    /// A verified answer came. `true`: this opened the door.
    pub fn believed(&mut self, at: DateTime<Utc>) -> bool {
        let was_closed = self.is_closed();
        self.believed_at = self.believed_at.max(Some(at));
        self.refusals = 0;
        was_closed
    }

    /// A call that was begun at `begun` was refused for the account. `true`: this closed the door.
    pub fn refused(&mut self, code: &str, begun: DateTime<Utc>, at: DateTime<Utc>) -> bool {
        if self.believed_at.is_some_and(|believed| begun < believed) {
            return false;
        }
        let was_closed = self.is_closed();
        self.refusals = self.refusals.saturating_add(1);
        self.last = Some(Refusal {
            code: code.to_owned(),
            at,
        });
        !was_closed && self.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(of: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + of, 0).expect("a time")
    }

    fn closed() -> Door {
        let mut door = Door::new(3);
        for at in 0..3 {
            assert_eq!(
                door.refused("ILLEGAL_SIGN", second(at), second(at)),
                at == 2
            );
        }
        door
    }

    #[test]
    fn a_run_of_refusals_closes_it_and_nothing_less() {
        let mut door = Door::new(3);
        assert_eq!(door.admit(second(0)), Ok(()));
        for at in [1, 2] {
            assert!(!door.refused("ILLEGAL_SIGN", second(at), second(at)));
        }
        assert!(!door.believed(second(3)), "it was open");
        for at in [4, 5] {
            assert!(!door.refused("ILLEGAL_SIGN", second(at), second(at)));
        }
        // It was begun before Alipay was believed.
        assert!(!door.refused("ILLEGAL_SIGN", second(2), second(6)));
        assert!(!door.is_closed());
        assert!(door.refused("HAS_NO_PRIVILEGE", second(7), second(7)));
        assert!(
            !door.refused("HAS_NO_PRIVILEGE", second(8), second(8)),
            "once"
        );
        assert!(door.is_closed());
    }

    #[test]
    fn a_verified_answer_opens_it_and_the_last_refusal_stays_to_be_read() {
        let mut door = closed();
        assert!(door.believed(second(9)));
        assert_eq!(door.admit(second(9)), Ok(()));
        let last = door.last_refusal().expect("there was one");
        assert_eq!((last.code.as_str(), last.at), ("ILLEGAL_SIGN", second(2)));
    }

    #[test]
    fn one_question_is_asked_per_pause_in_the_place_of_new_work() {
        let mut door = closed();
        let probes: Vec<bool> = [10, 11, 19, 20, 21, 5, 4]
            .map(|at| door.admit(second(at)).expect_err("closed").probe)
            .to_vec();
        // A clock that is set back delays it by no more than a pause.
        assert_eq!(probes, [true, false, false, true, false, true, false]);
        let refused = door.admit(second(4)).expect_err("closed");
        assert_eq!(refused.code, "ILLEGAL_SIGN");
        assert_eq!(refused.retry_after_seconds, 10);
    }
}
