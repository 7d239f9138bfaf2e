//! Money as integer minor units plus an ISO 4217 currency.
//!
//! Decimal text exists only at the Alipay edge ([`Money::to_decimal`], [`Money::from_decimal`]);
//! there is no floating point anywhere (`docs/invariants.md` M5).

use std::fmt;

use iso_currency::Currency as IsoCurrency;

/// An ISO 4217 currency, for example `HKD`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency(IsoCurrency);

impl Currency {
    /// The Hong Kong dollar: the only currency this product takes (`docs/protocol.md` 1).
    pub const HKD: Self = Self(IsoCurrency::HKD);

    /// Reads an upper-case ISO 4217 code; `None` when no such currency exists.
    pub fn from_code(code: &str) -> Option<Self> {
        IsoCurrency::from_code(code).map(Self)
    }

    /// The upper-case ISO 4217 code.
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// How many decimals one major unit has: 2 for HKD, 0 for JPY.
    pub fn exponent(self) -> u32 {
        u32::from(self.0.exponent().unwrap_or(0))
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// An amount in minor units (cents for HKD) of one currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Money {
    minor: i64,
    currency: Currency,
}

/// Why an amount cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The amount is zero or negative, or above Alipay's maximum.
    #[error("the amount must be between {min} and {max} minor units", min = Money::MIN_PAYMENT_MINOR, max = Money::MAX_PAYMENT_MINOR)]
    OutOfRange,
    /// The currency is not one this product settles.
    #[error("the currency must be HKD")]
    UnsupportedCurrency,
    /// Text from Alipay that is not a plain decimal of the currency's precision.
    #[error("not a plain decimal amount")]
    Malformed,
}

impl Money {
    /// The smallest payment: HKD 0.01 (`docs/protocol.md` 4.2).
    pub const MIN_PAYMENT_MINOR: i64 = 1;
    /// The largest payment: HKD 100,000,000.00 (`docs/protocol.md` 4.2).
    pub const MAX_PAYMENT_MINOR: i64 = 10_000_000_000;

    /// The largest `refund_amount`, where an account knows no other: HKD 9,999,999.99, since Alipay's page
    /// gives it as Number(9,2) (`docs/protocol.md` 4.4).
    pub const MAX_REFUND_MINOR: i64 = 999_999_999;

    /// An amount of `minor` units, unchecked: for values that were checked when they were stored.
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// A payment's amount: in range and in HKD (`docs/protocol.md` 1).
    pub fn payment(minor: i64, currency: Currency) -> Result<Self, MoneyError> {
        if currency != Currency::HKD {
            return Err(MoneyError::UnsupportedCurrency);
        }
        if !(Self::MIN_PAYMENT_MINOR..=Self::MAX_PAYMENT_MINOR).contains(&minor) {
            return Err(MoneyError::OutOfRange);
        }
        Ok(Self { minor, currency })
    }

    /// The amount in minor units.
    pub const fn minor(self) -> i64 {
        self.minor
    }

    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// The decimal text Alipay wants: `39.25`, always with the currency's decimals.
    pub fn to_decimal(self) -> String {
        let exponent = self.currency.exponent();
        let scale = 10_i64.pow(exponent);
        let (major, rest) = (self.minor / scale, (self.minor % scale).abs());
        if exponent == 0 {
            major.to_string()
        } else {
            format!("{major}.{rest:0width$}", width = exponent as usize)
        }
    }

    /// Reads Alipay's decimal text. Fewer decimals than the currency has are taken as zeros
    /// (`39.5`), more are refused: no answer of Alipay's may be rounded into agreement.
    pub fn from_decimal(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        let (major, decimals) = text.split_once('.').unwrap_or((text, ""));
        let exponent = currency.exponent() as usize;
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        let well_formed = !major.is_empty()
            && digits(major)
            && digits(decimals)
            && decimals.len() <= exponent
            && !text.ends_with('.');
        if !well_formed {
            return Err(MoneyError::Malformed);
        }
        format!("{major}{decimals:0<exponent$}")
            .parse()
            .map(|minor| Self { minor, currency })
            .map_err(|_| MoneyError::Malformed)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.currency, self.to_decimal())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_text_has_the_currencys_decimals() {
        for (minor, text) in [
            (1, "0.01"),
            (10, "0.10"),
            (3925, "39.25"),
            (12850, "128.50"),
        ] {
            let money = Money::new(minor, Currency::HKD);
            assert_eq!(money.to_decimal(), text);
            assert_eq!(Money::from_decimal(text, Currency::HKD), Ok(money));
        }
        let yen = Currency::from_code("JPY").expect("JPY is a currency");
        assert_eq!(Money::new(500, yen).to_decimal(), "500");
    }

    #[test]
    fn m5_only_plain_decimals_are_read() {
        for text in [
            "", ".", "1.", ".5", "-1.00", "+1", "1e3", "1.234", "NaN", "1,00", " 1", "١",
        ] {
            assert_eq!(
                Money::from_decimal(text, Currency::HKD),
                Err(MoneyError::Malformed),
                "{text}"
            );
        }
        assert_eq!(
            Money::from_decimal("92233720368547758.08", Currency::HKD),
            Err(MoneyError::Malformed),
            "beyond 64 bits"
        );
        assert_eq!(
            Money::from_decimal("5.5", Currency::HKD),
            Ok(Money::new(550, Currency::HKD))
        );
    }

    #[test]
    fn m5_zero_negative_huge_and_foreign_payments_are_refused() {
        for minor in [0, -1, i64::MIN, Money::MAX_PAYMENT_MINOR + 1, i64::MAX] {
            assert_eq!(
                Money::payment(minor, Currency::HKD),
                Err(MoneyError::OutOfRange),
                "{minor}"
            );
        }
        let usd = Currency::from_code("USD").expect("USD is a currency");
        assert_eq!(
            Money::payment(100, usd),
            Err(MoneyError::UnsupportedCurrency)
        );
        assert!(Money::payment(Money::MAX_PAYMENT_MINOR, Currency::HKD).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn decimal_text_round_trips(minor in 0_i64..=Money::MAX_PAYMENT_MINOR) {
            let money = Money::new(minor, Currency::HKD);
            proptest::prop_assert_eq!(Money::from_decimal(&money.to_decimal(), Currency::HKD), Ok(money));
        }
    }
}
