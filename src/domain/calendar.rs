//! Alipay's clock: a fixed GMT+8, which is also Hong Kong time (`protocol/operations.md`,
//! conventions).
//!
//! The offset is a constant, never the host's time zone or a tz database
//! (`design/correctness.md` T1).

use chrono::{DateTime, Days, FixedOffset, NaiveDate, NaiveTime, TimeDelta, Utc};

use crate::failpoint::planted;

/// GMT+8, which has no daylight saving time.
pub fn beijing() -> FixedOffset {
    let hours = if planted!(WrongZone) { -5 } else { 8 };
    FixedOffset::east_opt(hours * 3600).expect("eight hours is within a day")
}

/// The calendar day in GMT+8 that an instant falls on.
pub fn business_date(at: DateTime<Utc>) -> NaiveDate {
    at.with_timezone(&beijing()).date_naive()
}

/// Midnight GMT+8 at the end of the day that an instant falls on.
pub fn end_of_business_day(at: DateTime<Utc>) -> DateTime<Utc> {
    let tomorrow = business_date(at)
        .checked_add_days(Days::new(1))
        .expect("dates of payments are far from the end of chrono's calendar");
    tomorrow
        .and_time(NaiveTime::MIN)
        .and_local_timezone(beijing())
        .single()
        .expect("a fixed offset has exactly one midnight a day")
        .with_timezone(&Utc)
}

/// Until when Alipay may still take a cancel of an **unpaid** trade created at `created_at`: the
/// end of its GMT+8 day, or 15 minutes after creation if that is later (`protocol/operations.md`
/// 1.5).
pub fn cancel_window_unpaid(created_at: DateTime<Utc>) -> DateTime<Utc> {
    end_of_business_day(created_at).max(created_at + TimeDelta::minutes(15))
}

/// Until when Alipay takes a cancel of a **paid** trade: the end of the GMT+8 day it was paid on
/// (`protocol/operations.md` 1.5).
pub fn cancel_window_paid(paid_at: DateTime<Utc>) -> DateTime<Utc> {
    end_of_business_day(paid_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().expect("an RFC 3339 instant")
    }

    #[test]
    fn t1_the_business_day_turns_at_16_00_utc() {
        assert_eq!(
            business_date(utc("2026-11-22T15:59:59.999Z")).to_string(),
            "2026-11-22"
        );
        assert_eq!(
            business_date(utc("2026-11-22T16:00:00Z")).to_string(),
            "2026-11-23"
        );
        assert_eq!(
            business_date(utc("2028-02-28T16:00:00Z")).to_string(),
            "2028-02-29"
        );
        assert_eq!(
            business_date(utc("2026-12-31T16:00:00Z")).to_string(),
            "2027-01-01"
        );
    }

    #[test]
    fn hk_8_the_cancel_window_follows_the_help_centres_example() {
        let at_15_00 = utc("2026-01-01T07:00:00Z");
        let midnight = utc("2026-01-01T16:00:00Z");
        assert_eq!(cancel_window_unpaid(at_15_00), midnight);
        assert_eq!(cancel_window_paid(at_15_00), midnight);
        let at_23_50 = utc("2026-01-01T15:50:00Z");
        assert_eq!(cancel_window_unpaid(at_23_50), utc("2026-01-01T16:05:00Z"));
        assert_eq!(cancel_window_paid(at_23_50), midnight);
    }
}
