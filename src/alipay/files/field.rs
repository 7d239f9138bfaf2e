//! One field of a record to what it means.

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};

use crate::domain::{
    calendar::in_beijing,
    money::{Currency, Money},
    reconciliation::daily_file::{Reason, RowType},
};

/// How much of a value a fault quotes, in characters.
const QUOTED: usize = 40;

/// The decimals of a `Number(9,2)`.
const DECIMALS: usize = 2;

/// How many digits may stand before the point: the largest payment has nine.
const DIGITS: usize = 9;

/// An amount without its sign, and whether it had a minus.
pub(super) fn amount(text: &str, currency: Currency) -> Result<(Money, bool), Reason> {
    let (digits, minus) = match text.strip_prefix('-') {
        Some(digits) => (digits, true),
        None => (text, false),
    };
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || !all_digits(decimals) {
        return Err(Reason::NotAnAmount(quote(text)));
    }
    if whole.trim_start_matches('0').len() > DIGITS {
        return Err(Reason::TooLarge(quote(text)));
    }
    let exponent = currency.exponent() as usize;
    let excess = decimals.get(exponent..).unwrap_or("");
    if decimals.len() > exponent.max(DECIMALS) || excess.bytes().any(|digit| digit != b'0') {
        return Err(Reason::Decimals(quote(text), currency.code()));
    }
    // `100.00` of a currency without decimals is `100`.
    let exact = match digits.strip_suffix(excess) {
        Some(exact) if exponent == 0 && !excess.is_empty() => exact.trim_end_matches('.'),
        Some(exact) => exact,
        None => digits,
    };
    let money =
        Money::from_decimal(exact, currency).map_err(|_| Reason::NotAnAmount(quote(text)))?;
    Ok((money, minus && money.minor() != 0))
}

/// An instant written `yyyy-MM-dd HH:mm:ss` in GMT+8.
pub(super) fn time(text: &str) -> Result<DateTime<Utc>, Reason> {
    read_time(text).ok_or_else(|| Reason::NotATime(quote(text)))
}

fn read_time(text: &str) -> Option<DateTime<Utc>> {
    let shape = text.bytes().zip(b"0000-00-00 00:00:00");
    let is_shaped = |(found, shape): (u8, &u8)| match shape {
        b'0' => found.is_ascii_digit(),
        _ => found == *shape,
    };
    if text.len() != 19 || !shape.into_iter().all(is_shaped) {
        return None;
    }
    let number = |from, to| text.get(from..to)?.parse::<u32>().ok();
    let year = text.get(..4)?.parse().ok().filter(|year| *year >= 1970)?;
    let date = NaiveDate::from_ymd_opt(year, number(5, 7)?, number(8, 10)?)?;
    let time = NaiveTime::from_hms_opt(number(11, 13)?, number(14, 16)?, number(17, 19)?)?;
    Some(in_beijing(date, time))
}

/// An ISO 4217 code.
pub(super) fn currency(text: &str) -> Result<Currency, Reason> {
    Currency::from_code(&text.to_ascii_uppercase()).ok_or_else(|| Reason::NotACurrency(quote(text)))
}

/// The type of a record of a transaction file.
pub(super) fn transaction_type(text: &str) -> Result<RowType, Reason> {
    row_type(
        text,
        &[
            ("PAYMENT", RowType::Payment),
            ("CANCEL", RowType::Cancel),
            ("REVERSAL", RowType::Reversal),
            ("REVERSE", RowType::Reversal),
            ("REFUND", RowType::Refund),
        ],
    )
}

/// The type of a record of a settlement file.
pub(super) fn settlement_type(text: &str) -> Result<RowType, Reason> {
    row_type(text, &[("P", RowType::Payment), ("R", RowType::Refund)])
}

fn row_type(text: &str, words: &[(&str, RowType)]) -> Result<RowType, Reason> {
    words
        .iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(text))
        .map(|(_, row_type)| *row_type)
        .ok_or_else(|| Reason::UnknownType(quote(text)))
}

/// The start of a value, for a fault.
pub(super) fn quote(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m5_amounts_are_read_exactly() {
        for (text, minor, minus) in [
            ("128.50", 12850, false),
            ("128.5", 12850, false),
            ("128", 12800, false),
            ("0.01", 1, false),
            ("0", 0, false),
            ("-28.50", 2850, true),
            ("-0.00", 0, false),
            ("000000000128.50", 12850, false),
            ("100000000.00", 10_000_000_000, false),
            ("999999999.99", 99_999_999_999, false),
        ] {
            let money = Money::new(minor, Currency::HKD);
            assert_eq!(amount(text, Currency::HKD), Ok((money, minus)), "{text}");
        }
    }

    #[test]
    fn m5_what_is_not_an_exact_amount_is_a_fault() {
        let not = |text: &str| Reason::NotAnAmount(text.to_owned());
        let large = |text: &str| Reason::TooLarge(text.to_owned());
        let decimals = |text: &str| Reason::Decimals(text.to_owned(), "HKD");
        for (text, reason) in [
            ("1,50", not("1,50")),
            ("1,234.50", not("1,234.50")),
            ("1 234.50", not("1 234.50")),
            ("1.2.3", not("1.2.3")),
            ("1.", not("1.")),
            (".50", not(".50")),
            ("-", not("-")),
            ("--1.00", not("--1.00")),
            ("+1.00", not("+1.00")),
            ("1.00-", not("1.00-")),
            ("1e3", not("1e3")),
            ("HKD1.00", not("HKD1.00")),
            ("NaN", not("NaN")),
            ("１２", not("１２")),
            ("1.234", decimals("1.234")),
            ("1.000", decimals("1.000")),
            ("1000000000.00", large("1000000000.00")),
            ("99999999999999999999999", large("99999999999999999999999")),
        ] {
            assert_eq!(amount(text, Currency::HKD), Err(reason), "{text}");
        }
    }

    #[test]
    fn m5_the_decimals_are_those_of_the_currency() {
        let yen = currency("JPY").unwrap();
        assert_eq!(amount("500", yen), Ok((Money::new(500, yen), false)));
        assert_eq!(amount("-500.00", yen), Ok((Money::new(500, yen), true)));
        assert!(amount("500.50", yen).is_err());
        assert!(amount("500.", yen).is_err());
        let dinar = currency("KWD").unwrap();
        assert_eq!(amount("1.50", dinar), Ok((Money::new(1500, dinar), false)));
        assert_eq!(amount("1.505", dinar), Ok((Money::new(1505, dinar), false)));
    }

    #[test]
    fn t1_times_are_those_of_gmt_plus_8() {
        let at = |text| time(text).map(|at| at.to_rfc3339());
        assert_eq!(
            at("2026-03-09 10:14:07").as_deref(),
            Ok("2026-03-09T02:14:07+00:00")
        );
        assert_eq!(
            at("2028-02-29 00:00:00").as_deref(),
            Ok("2028-02-28T16:00:00+00:00")
        );
        for text in [
            "2026-03-09",
            "2026-03-09T10:14:07",
            "2026-03-09 10:14",
            "2026-03-09 10:14:07.5",
            "2026-02-29 10:14:07",
            "2026-13-09 10:14:07",
            "2026-03-09 24:00:00",
            "2026-03-09 10:60:00",
            "2026-03-09 10:14:60",
            "2026/03/09 10:14:07",
            "0000-03-09 10:14:07",
            "2026-03-09 10:14:0+",
            "2026-03-09 10:14:０",
            "",
        ] {
            assert_eq!(time(text), Err(Reason::NotATime(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn types_are_known_under_old_names_and_in_any_case() {
        for (text, row_type) in [
            ("PAYMENT", RowType::Payment),
            ("Cancel", RowType::Cancel),
            ("REVERSAL", RowType::Reversal),
            ("REVERSE", RowType::Reversal),
            ("refund", RowType::Refund),
        ] {
            assert_eq!(transaction_type(text), Ok(row_type), "{text}");
        }
        assert_eq!(settlement_type("P"), Ok(RowType::Payment));
        assert_eq!(settlement_type("r"), Ok(RowType::Refund));
        assert!(transaction_type("P").is_err());
        assert!(settlement_type("CHARGEBACK").is_err());
    }

    #[test]
    fn a_quoted_value_is_short_and_cut_between_characters() {
        assert_eq!(quote(&"湯".repeat(40)), "湯".repeat(40));
        assert_eq!(quote(&"湯".repeat(41)), format!("{}...", "湯".repeat(40)));
    }
}
