//! How long to wait after *our* errors. The pace of questions is the plan's
//! (`crate::domain::follow_up`).

use std::time::Duration;

/// After how many errors in a row a follow-up is parked for a person.
pub const PARK_AFTER: i32 = 20;

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
