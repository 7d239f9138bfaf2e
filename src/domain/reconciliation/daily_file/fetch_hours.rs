//! When Alipay's daily files are fetched, and when a missing one is missed (`docs/protocol.md` 9.3).

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc};

use crate::domain::calendar::{business_date, in_beijing};

/// The tries of a day, in GMT+8, and how far back each looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchHours {
    /// The first try.
    pub first: NaiveTime,
    /// The last try; later than the first.
    pub last: NaiveTime,
    /// How long after one try the next is made; positive.
    pub interval: TimeDelta,
    /// How many past days are looked for.
    pub look_back_days: u32,
}

impl FetchHours {
    /// The last try that is due at `now`. What was slept through is made up for by one try.
    pub fn latest_try(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let today = business_date(now);
        let first = in_beijing(today, self.first);
        let last = in_beijing(today, self.last);
        if now < first {
            return in_beijing(today - Days::new(1), self.last);
        }
        if now >= last {
            return last;
        }
        let step = self.interval.num_seconds().max(1);
        let steps = (now - first).num_seconds() / step;
        first + TimeDelta::seconds(steps * step)
    }

    /// The days whose files a try looks for, oldest first: those that are over.
    pub fn days(&self, at: DateTime<Utc>) -> Vec<NaiveDate> {
        let today = business_date(at);
        (1..=u64::from(self.look_back_days))
            .rev()
            .map(|back| today - Days::new(back))
            .collect()
    }

    /// Those of them whose last regular try is over with this one: a file that is still missing is missed.
    pub fn overdue(&self, at: DateTime<Utc>) -> Vec<NaiveDate> {
        let mut days = self.days(at);
        days.retain(|day| in_beijing(*day + Days::new(1), self.last) <= at);
        days
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours() -> FetchHours {
        FetchHours {
            first: NaiveTime::from_hms_opt(10, 15, 0).expect("a time"),
            last: NaiveTime::from_hms_opt(18, 0, 0).expect("a time"),
            interval: TimeDelta::hours(1),
            look_back_days: 3,
        }
    }

    /// A time in GMT+8.
    fn at(text: &str) -> DateTime<Utc> {
        format!("{text}+08:00").parse().expect("an instant")
    }

    #[test]
    fn tries_are_made_hourly_from_10_15_and_last_at_18_00_whatever_was_slept_through() {
        for (now, expected) in [
            ("2026-03-10T00:00:00", "2026-03-09T18:00:00"),
            ("2026-03-10T10:14:59", "2026-03-09T18:00:00"),
            ("2026-03-10T10:15:00", "2026-03-10T10:15:00"),
            ("2026-03-10T11:14:59", "2026-03-10T10:15:00"),
            ("2026-03-10T11:15:00", "2026-03-10T11:15:00"),
            ("2026-03-10T17:59:59", "2026-03-10T17:15:00"),
            ("2026-03-10T18:00:00", "2026-03-10T18:00:00"),
            ("2026-03-10T23:59:59", "2026-03-10T18:00:00"),
            ("2028-03-01T09:00:00", "2028-02-29T18:00:00"),
        ] {
            assert_eq!(hours().latest_try(at(now)), at(expected), "{now}");
        }
    }

    #[test]
    fn a_day_is_missed_with_the_last_try_of_the_day_after_and_not_before() {
        let days = |days: Vec<NaiveDate>| -> Vec<String> {
            days.iter().map(ToString::to_string).collect()
        };
        let morning = at("2026-03-10T10:15:00");
        let evening = at("2026-03-10T18:00:00");
        let all = ["2026-03-07", "2026-03-08", "2026-03-09"];
        assert_eq!(days(hours().days(morning)), all);
        assert_eq!(days(hours().overdue(morning)), all[..2]);
        assert_eq!(days(hours().overdue(evening)), all);
    }

    #[test]
    fn at_every_quarter_of_an_hour_the_latest_try_is_the_newest_that_is_not_in_the_future() {
        let mut now = at("2026-02-27T00:00:00");
        while now < at("2026-03-03T00:00:00") {
            let tried = hours().latest_try(now);
            assert!(
                tried <= now && now - tried < TimeDelta::minutes(16 * 60 + 15),
                "{now}"
            );
            assert_eq!(hours().latest_try(tried), tried, "{now}");
            now += TimeDelta::minutes(15);
        }
    }
}
