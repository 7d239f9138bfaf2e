//! When a day's transactions are paid out: on the first working day after it. So what happens from
//! Friday to Sunday is paid out on Monday, and what happens on a holiday and the day before it on the
//! first working day after (`docs/protocol.md` 9.3). Simplified: weekends, and the holidays that
//! the settings name; the contract may say otherwise.

use chrono::{Datelike as _, NaiveDate, Weekday};

/// The day on which the transactions of `day` are paid out.
pub(super) fn settlement_day(day: NaiveDate, holidays: &[NaiveDate]) -> NaiveDate {
    let is_working = |day: &NaiveDate| {
        !matches!(day.weekday(), Weekday::Sat | Weekday::Sun) && !holidays.contains(day)
    };
    std::iter::successors(day.succ_opt(), NaiveDate::succ_opt)
        .find(is_working)
        .expect("holidays end long before chrono's calendar does")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_paid_out_on_the_first_working_day_after_it() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        // 2026-03-09 is a Monday; the 17th and the 18th are made holidays.
        let holidays = [day("2026-03-17"), day("2026-03-18")];
        for (happened, settled) in [
            ("2026-03-09", "2026-03-10"),
            ("2026-03-12", "2026-03-13"),
            ("2026-03-13", "2026-03-16"),
            ("2026-03-14", "2026-03-16"),
            ("2026-03-15", "2026-03-16"),
            ("2026-03-16", "2026-03-19"),
            ("2026-03-17", "2026-03-19"),
            ("2026-03-18", "2026-03-19"),
        ] {
            let found = settlement_day(day(happened), &holidays);
            assert_eq!(found, day(settled), "{happened}");
        }
    }
}
