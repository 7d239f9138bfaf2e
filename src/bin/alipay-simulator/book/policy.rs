//! How refunds behave, and when their batch runs.

use chrono::{DateTime, TimeDelta, Utc};

use crate::clock::{beijing_time, from_beijing};

/// How refunds behave; set by the control API.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RefundPolicy {
    /// Whether the merchant's balance covers refunds.
    pub(crate) funds_sufficient: bool,
    /// Whether an asynchronous refund on the day of the payment runs at once
    /// (`protocol/operations.md` 2.2: two documents, two answers).
    pub(crate) same_day_immediate: bool,
}

/// The next 23:00 in Beijing after `at`.
pub(super) fn next_batch(at: DateTime<Utc>) -> DateTime<Utc> {
    let local = beijing_time(at);
    let today = local
        .date()
        .and_hms_opt(23, 0, 0)
        .expect("23:00 exists on each day");
    let today = from_beijing(today);
    if at < today {
        today
    } else {
        today + TimeDelta::days(1)
    }
}
