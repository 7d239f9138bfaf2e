//! How refunds behave, and when their batch runs.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    clock::{beijing_time, from_beijing},
    fault::Text,
};

/// How long a night's batch runs: from 23:00 to 05:00 (`docs/protocol.md` 6.2).
const BATCH_WINDOW: TimeDelta = TimeDelta::hours(6);

/// How refunds behave; set by the control API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefundPolicy {
    /// Whether the merchant's balance covers refunds; looked at whenever one is tried.
    pub(crate) funds_sufficient: bool,
    /// Whether an asynchronous refund on the day of the payment runs at once
    /// (`docs/protocol.md` 6.2: two documents, two answers).
    pub(crate) same_day_immediate: bool,
    /// What becomes of an asynchronous refund that is accepted while the night's batch runs.
    pub(crate) in_window: InWindow,
    /// Above 0, the balance is too low for synchronous refunds, and for each asynchronous one that
    /// is accepted now: at once, and in its first so many batches.
    pub(crate) short_nights: u32,
    /// Asynchronous refunds that are accepted now fail in their batch with this code, silently.
    pub(crate) fails_with: Option<Text>,
    /// How many refunds a night's batch gets done, if not all; the others wait for the next night.
    pub(crate) batch_limit: Option<u32>,
    /// How long a batch works on each refund, one after the other. What would not be done by 05:00
    /// waits for the next night.
    pub(crate) batch_delay_seconds: u32,
    /// How a refund request is answered that repeats an earlier one.
    pub(crate) repeats: Repeats,
}

impl Default for RefundPolicy {
    /// The text for Hong Kong: every asynchronous refund is done in a batch that opens at 23:00
    /// (`docs/protocol.md` 6.2).
    fn default() -> Self {
        Self {
            funds_sufficient: true,
            same_day_immediate: false,
            in_window: InWindow::RunsNow,
            short_nights: 0,
            fails_with: None,
            batch_limit: None,
            batch_delay_seconds: 0,
            repeats: Repeats::CurrentState,
        }
    }
}

/// What becomes of a refund that is accepted between 23:00 and 05:00.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum InWindow {
    /// The batch that is running takes it.
    RunsNow,
    /// It waits for the first batch that opens after its acceptance.
    NextNight,
}

/// How the repetition of a refund request, same id and same amount, is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Repeats {
    /// With what has become of the refund.
    CurrentState,
    RepeatedRefundmentRequest,
    DiscordantRepeatRequest,
}

impl Repeats {
    /// The code of the answer, where it is not the refund's state.
    pub(super) fn code(self) -> Option<&'static str> {
        match self {
            Self::CurrentState => None,
            Self::RepeatedRefundmentRequest => Some("REPEATED_REFUNDMENT_REQUEST"),
            Self::DiscordantRepeatRequest => Some("DISCORDANT_REPEAT_REQUEST"),
        }
    }
}

/// What is in store for one asynchronous refund, from its payment's scenario and the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// In how many batches the merchant's balance is too low for it; above 0, at once too.
    pub(crate) short_nights: u32,
    /// The batch fails it with this code.
    pub(crate) fails_with: Option<Text>,
    /// It is not done at once, whatever the policy says.
    pub(crate) batch_only: bool,
}

impl Plan {
    /// Nothing in particular.
    pub(crate) const PLAIN: Self = Self {
        short_nights: 0,
        fails_with: None,
        batch_only: false,
    };

    /// What a payment's scenario plans, and for the rest what the policy says. A failure is found in
    /// the batch only: what fails at once would have been refused.
    pub(super) fn under(&self, policy: &RefundPolicy) -> Self {
        let fails_with = self.fails_with.clone().or(policy.fails_with.clone());
        Self {
            short_nights: self.short_nights.max(policy.short_nights),
            batch_only: self.batch_only || fails_with.is_some(),
            fails_with,
        }
    }
}

/// The first opening of a batch, 23:00 in Beijing, that comes after `at`.
pub(super) fn next_opening(at: DateTime<Utc>) -> DateTime<Utc> {
    let today = beijing_time(at)
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

/// When the batch opened that is open at `at`.
pub(super) fn open_since(at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let opened = next_opening(at) - TimeDelta::days(1);
    (at < closing(opened)).then_some(opened)
}

/// When the batch closes that opens at `opening`.
pub(super) fn closing(opening: DateTime<Utc>) -> DateTime<Utc> {
    opening + BATCH_WINDOW
}
