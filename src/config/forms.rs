//! Forms that settings of the environment and of files share.

use chrono::NaiveTime;

/// Whether a text can be an Alipay account.
pub(super) fn is_partner(text: &str) -> bool {
    let account = text.starts_with("2088") || text.starts_with("2160");
    account && text.len() == 16 && digits(text)
}

pub(super) fn digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

/// Exactly `HH:MM`.
pub(super) fn time_of_day(text: &str) -> Option<NaiveTime> {
    let (hour, minute) = text.split_once(':')?;
    let two_digits = |text: &str| text.len() == 2 && digits(text);
    if !two_digits(hour) || !two_digits(minute) {
        return None;
    }
    NaiveTime::from_hms_opt(hour.parse().ok()?, minute.parse().ok()?, 0)
}
