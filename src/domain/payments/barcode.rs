//! The code on the customer's phone.
//!
//! It is money in the hand of whoever holds it, so it lives in memory only: [`Barcode`] has no
//! `Display`, its `Debug` is a mask, and what may be stored is the two-and-two [`Barcode::hint`]
//! and a keyed hash (`docs/invariants.md` Q14).

use std::{fmt, str::FromStr};

use zeroize::Zeroizing;

/// A scanned wallet code of 16–24 digits that begins 25–30 (`docs/protocol.md` 4.2).
#[derive(Clone)]
pub struct Barcode(Zeroizing<String>);

/// Why a text is not a wallet code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BarcodeError {
    /// Nothing but white space was sent.
    #[error("the code is empty")]
    Empty,
    /// Something other than a digit, after white space was stripped.
    #[error("the code must consist of digits")]
    NotDigits,
    /// Not 16–24 digits.
    #[error("the code must have 16 to 24 digits")]
    Length,
    /// The first two digits belong to no Alipay wallet.
    #[error("the code must begin with 25, 26, 27, 28, 29 or 30")]
    Prefix,
}

impl Barcode {
    /// The digits, for the one place that sends them.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What may be shown and stored: first two and last two digits, `28**************56`.
    pub fn hint(&self) -> String {
        let digits = self.expose();
        format!(
            "{}{}{}",
            &digits[..2],
            "*".repeat(digits.len() - 4),
            &digits[digits.len() - 2..]
        )
    }
}

impl FromStr for Barcode {
    type Err = BarcodeError;

    /// Reads a scanned text; white space that scanners add anywhere is stripped.
    fn from_str(text: &str) -> Result<Self, BarcodeError> {
        let digits: Zeroizing<String> =
            Zeroizing::new(text.chars().filter(|c| !c.is_whitespace()).collect());
        if digits.is_empty() {
            return Err(BarcodeError::Empty);
        }
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(BarcodeError::NotDigits);
        }
        if !(16..=24).contains(&digits.len()) {
            return Err(BarcodeError::Length);
        }
        if !matches!(&digits[..2], "25" | "26" | "27" | "28" | "29" | "30") {
            return Err(BarcodeError::Prefix);
        }
        Ok(Self(digits))
    }
}

impl fmt::Debug for Barcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Barcode({})", self.hint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_prefix_and_length_is_accepted() {
        for prefix in ["25", "26", "27", "28", "29", "30"] {
            for length in 16..=24 {
                let code = format!("{prefix}{}", "1".repeat(length - 2));
                assert!(code.parse::<Barcode>().is_ok(), "{code}");
            }
        }
    }

    #[test]
    fn white_space_of_scanners_is_stripped() {
        let code: Barcode = " 2812 3456\t7890123456\r\n"
            .parse()
            .expect("18 digits remain");
        assert_eq!(code.expose(), "281234567890123456");
        assert_eq!(code.hint(), "28**************56");
    }

    #[test]
    fn other_codes_are_refused_with_their_reason() {
        for (text, error) in [
            ("", BarcodeError::Empty),
            (" \n", BarcodeError::Empty),
            ("28123456789012345a", BarcodeError::NotDigits),
            ("２８12345678901234", BarcodeError::NotDigits),
            ("281234567890123", BarcodeError::Length),
            ("2812345678901234567890123", BarcodeError::Length),
            ("241234567890123456", BarcodeError::Prefix),
            ("311234567890123456", BarcodeError::Prefix),
        ] {
            assert_eq!(text.parse::<Barcode>().err(), Some(error), "{text:?}");
        }
    }

    #[test]
    fn q14_debug_output_is_masked() {
        let code: Barcode = "281234567890123456".parse().expect("a valid code");
        assert_eq!(format!("{code:?}"), "Barcode(28**************56)");
    }
}
