//! Alipay's clock: a fixed GMT+8, which is also Hong Kong time (`docs/protocol.md` 1).
//!
//! The offset is a constant, never the host's time zone or a tz database
//! (`docs/invariants.md` T1).

use chrono::{DateTime, Days, FixedOffset, NaiveDate, NaiveTime, TimeDelta, Utc};

/// GMT+8, which has no daylight saving time.
pub fn beijing() -> FixedOffset {
    FixedOffset::east_opt(8 * 3600).expect("eight hours is within a day")
}

/// The calendar day in GMT+8 that an instant falls on.
pub fn business_date(at: DateTime<Utc>) -> NaiveDate {
    at.with_timezone(&beijing()).date_naive()
}

/// Midnight GMT+8 at the end of the day that an instant falls on.
pub fn end_of_business_day(at: DateTime<Utc>) -> DateTime<Utc> {
    in_beijing(next_day(business_date(at)), NaiveTime::MIN)
}

/// Until when Alipay may still take a cancel of an **unpaid** trade created at `created_at`: the
/// end of its GMT+8 day, or 15 minutes after creation if that is later (`docs/protocol.md`
/// 5.5).
pub fn cancel_window_unpaid(created_at: DateTime<Utc>) -> DateTime<Utc> {
    end_of_business_day(created_at).max(created_at + TimeDelta::minutes(15))
}

/// Until when Alipay takes a cancel of a **paid** trade: the end of the GMT+8 day it was paid on
/// (`docs/protocol.md` 5.5).
pub fn cancel_window_paid(paid_at: DateTime<Utc>) -> DateTime<Utc> {
    end_of_business_day(paid_at)
}

/// When Alipay's nightly batch of asynchronous refunds opens and closes, in GMT+8
/// (`docs/protocol.md` 6.2: 23:00 to 05:00).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHours {
    /// The batch begins.
    pub opens: NaiveTime,
    /// The batch is over; on the next day unless it is later than `opens`.
    pub closes: NaiveTime,
}

impl Default for BatchHours {
    fn default() -> Self {
        let hour = |hour| NaiveTime::from_hms_opt(hour, 0, 0).expect("23 and 5 are hours of a day");
        Self {
            opens: hour(23),
            closes: hour(5),
        }
    }
}

/// One night's batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchWindow {
    /// The first instant of it.
    pub opens_at: DateTime<Utc>,
    /// The first instant after it.
    pub closes_at: DateTime<Utc>,
}

impl BatchHours {
    /// The batch that opens on a GMT+8 day.
    pub fn opening_on(&self, day: NaiveDate) -> BatchWindow {
        let closing_day = if self.closes > self.opens {
            day
        } else {
            next_day(day)
        };
        BatchWindow {
            opens_at: in_beijing(day, self.opens),
            closes_at: in_beijing(closing_day, self.closes),
        }
    }

    /// The first batch that opens after `at`: what is accepted at the opening itself waits for the
    /// next one (`docs/invariants.md` T2).
    pub fn first_after(&self, at: DateTime<Utc>) -> BatchWindow {
        let today = self.opening_on(business_date(at));
        if at < today.opens_at {
            today
        } else {
            self.following(today)
        }
    }

    /// The batch of the night after.
    pub fn following(&self, window: BatchWindow) -> BatchWindow {
        self.opening_on(next_day(business_date(window.opens_at)))
    }

    /// The batch of the night before.
    pub fn preceding(&self, window: BatchWindow) -> BatchWindow {
        self.opening_on(
            business_date(window.opens_at)
                .pred_opt()
                .expect("dates of refunds are far from the start of chrono's calendar"),
        )
    }
}

fn next_day(day: NaiveDate) -> NaiveDate {
    day.checked_add_days(Days::new(1))
        .expect("dates of payments are far from the end of chrono's calendar")
}

/// The instant of a time of day in GMT+8.
pub fn in_beijing(day: NaiveDate, time: NaiveTime) -> DateTime<Utc> {
    day.and_time(time)
        .and_local_timezone(beijing())
        .single()
        .expect("a fixed offset has each time of each day exactly once")
        .with_timezone(&Utc)
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

    #[test]
    fn t2_a_batch_belongs_to_what_was_accepted_before_its_opening() {
        let hours = BatchHours::default();
        let tonight = "2026-11-22T15:00:00Z";
        let tomorrow = "2026-11-23T15:00:00Z";
        for (accepted_at, opens_at) in [
            ("2026-11-21T16:00:00Z", tonight),
            ("2026-11-22T14:59:59.999Z", tonight),
            ("2026-11-22T15:00:00.000Z", tomorrow),
            ("2026-11-22T15:00:00.001Z", tomorrow),
            ("2026-11-22T20:59:59Z", tomorrow),
        ] {
            let window = hours.first_after(utc(accepted_at));
            assert_eq!(window.opens_at, utc(opens_at), "{accepted_at}");
            assert_eq!(
                window.closes_at,
                window.opens_at + TimeDelta::hours(6),
                "{accepted_at}"
            );
        }
    }

    /// T1, T2, T7 against plain numbers: at every hour, and on both sides of it, of more than two years
    /// with a leap day, and whatever clocks do elsewhere.
    #[test]
    fn t7_every_hour_of_800_days_has_its_day_and_its_batch() {
        const DAY: i64 = 86_400_000;
        const HOUR: i64 = 3_600_000;
        let first = utc("2026-12-31T16:00:00Z").timestamp_millis();
        let hours = BatchHours::default();
        let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).expect("a date");
        for hour in 0..800 * 24 {
            for off in [-1, 0, 1] {
                let ms = first + hour * HOUR + off;
                let at = DateTime::from_timestamp_millis(ms).expect("an instant of our time");
                let day = (ms + 8 * HOUR).div_euclid(DAY);
                assert_eq!((business_date(at) - epoch).num_days(), day, "{at}");
                let midnight = day * DAY - 8 * HOUR;
                let end = end_of_business_day(at).timestamp_millis();
                assert_eq!(end, midnight + DAY, "{at}");
                let tonight = midnight + 23 * HOUR;
                let opens_at = if ms < tonight { tonight } else { tonight + DAY };
                let window = hours.first_after(at);
                assert_eq!(window.opens_at.timestamp_millis(), opens_at, "{at}");
                let length = window.closes_at - window.opens_at;
                assert_eq!(length, TimeDelta::hours(6), "{at}");
            }
        }
    }

    #[test]
    fn batches_follow_each_other_night_by_night_also_within_one_day() {
        let daytime = BatchHours {
            opens: NaiveTime::from_hms_opt(1, 30, 0).expect("a time"),
            closes: NaiveTime::from_hms_opt(4, 0, 0).expect("a time"),
        };
        let window = daytime.first_after(utc("2028-02-28T17:30:00Z"));
        assert_eq!(window.opens_at, utc("2028-02-29T17:30:00Z"));
        assert_eq!(window.closes_at, utc("2028-02-29T20:00:00Z"));
        assert_eq!(
            daytime.following(window).opens_at,
            utc("2028-03-01T17:30:00Z")
        );
        assert_eq!(daytime.preceding(daytime.following(window)), window);
        let around_the_clock = BatchHours {
            opens: daytime.opens,
            closes: daytime.opens,
        };
        let window = around_the_clock.following(window);
        assert_eq!(window.closes_at - window.opens_at, TimeDelta::days(1));
    }
}
