//! How long to wait after *our* errors. The pace of questions is the plan's
//! (`crate::domain::payments::plan`).
//!
//! Faults of the environment (the database, an account that is not configured) pass, so what met one is
//! tried again for ever, and is never parked: it would stay behind when the fault is gone. Only a row
//! that itself cannot be worked on is parked, for a person, and even that is tried now and then.

use std::time::Duration;

/// After how many errors in a row a follow-up that cannot be worked on is parked for a person.
pub const PARK_AFTER: i32 = 20;

/// How long a parked follow-up is left alone: an hour.
pub const PARKED_PAUSE: Duration = Duration::from_hours(1);

/// Up to here faults of the environment are counted: the pause grows no longer, and no number of them
/// brings a row near [`PARK_AFTER`].
pub const MOST_COUNTED_OF_THE_ENVIRONMENT: i32 = 6;

/// The pause after the `errors`-th error in a row: 1, 2, 4 ... 32 s, then a minute.
pub fn pause_after(errors: i32) -> Duration {
    match u32::try_from(errors).unwrap_or(0) {
        exponent @ 0..=5 => Duration::from_secs(1 << exponent),
        _ => Duration::from_mins(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let seconds: Vec<u64> = (0..8).map(|errors| pause_after(errors).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
