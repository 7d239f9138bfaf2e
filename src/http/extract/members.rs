//! Members that several requests have, read the same way in each.

use serde::Serialize;
use utoipa::ToSchema;

use super::ObjectReader;
use crate::{
    app::Justification,
    domain::{
        id::MerchantReference,
        money::{Currency, Money},
        text::{fits_alipay, is_deceptive},
    },
};

/// Longest `reason` of an operator, in characters.
pub const MAX_REASON: usize = 500;
/// Longest `ticket`, in characters.
pub const MAX_TICKET: usize = 100;
/// Longest `store_id` and `terminal_id`, in characters.
const MAX_NAME: usize = 64;

// This type is the documentation; `amount` does the reading.
/// An amount to charge or to refund.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AmountRequest {
    /// Integer minor units: 12850 is HKD 128.50. `12850.0` is refused.
    #[schema(example = 12850, minimum = 1, maximum = 10_000_000_000_i64)]
    pub value: i64,
    /// ISO 4217; only HKD is accepted today.
    #[schema(example = "HKD", pattern = "^[A-Z]{3}$")]
    pub currency: String,
}

/// The `amount`; `None` where it is left out or faulty.
pub fn amount(reader: &mut ObjectReader) -> Option<Money> {
    let (members, pointer) = reader.object("amount")?;
    let mut inner = ObjectReader::new(members, pointer, reader.faults());
    inner.require("value");
    let value = inner.integer("value", Money::MIN_PAYMENT_MINOR, Money::MAX_PAYMENT_MINOR);
    inner.require("currency");
    let currency = inner.text("currency").and_then(|code| {
        let hkd = Currency::from_code(code).filter(|currency| *currency == Currency::HKD);
        if hkd.is_none() {
            inner.fault("currency", "unsupported_currency", "must be HKD");
        }
        hkd
    });
    inner.finish();
    Money::payment(value?, currency?).ok()
}

/// The `merchant_reference`; `None` where it is left out or faulty.
pub fn merchant_reference(reader: &mut ObjectReader) -> Option<MerchantReference> {
    const NAME: &str = "merchant_reference";
    let reference = reader.text(NAME)?.parse().ok();
    if reference.is_none() {
        reader.fault(
            NAME,
            "invalid_format",
            "must be 1 to 64 of A-Z a-z 0-9 . _ -",
        );
    }
    reference
}

/// A text that Alipay keeps: at most `most` bytes in UTF-8, not blank, without `"` and control characters.
pub fn text_for_alipay(
    reader: &mut ObjectReader,
    name: &'static str,
    most: usize,
) -> Option<String> {
    let text = text_for_people(reader, name, usize::MAX)?;
    if let Err(too_long) = fits_alipay(&text, most) {
        reader.fault(name, "invalid_length", too_long.to_string());
        return None;
    }
    Some(text)
}

/// A text of which Alipay is told as much as it takes: at most `max` characters, not blank, without `"`
/// and control characters.
pub fn text_for_people(
    reader: &mut ObjectReader,
    name: &'static str,
    max: usize,
) -> Option<String> {
    let text = reader.text(name)?;
    if text.trim().is_empty() {
        reader.fault(name, "invalid_length", "must not be blank");
        return None;
    }
    if text.chars().count() > max {
        let detail = format!("must have at most {max} characters");
        reader.fault(name, "invalid_length", detail);
        return None;
    }
    if text.contains('"') || text.chars().any(is_deceptive) {
        reader.fault(
            name,
            "invalid_format",
            "must not contain \" or control characters",
        );
        return None;
    }
    Some(text.to_owned())
}

/// A store or terminal: printable ASCII without `"`, since it travels in a JSON text to Alipay.
pub fn ascii_name(reader: &mut ObjectReader, field: &'static str) -> Option<String> {
    let text = reader.text(field)?;
    let printable = text.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"');
    if !printable || !(1..=MAX_NAME).contains(&text.len()) {
        reader.fault(
            field,
            "invalid_format",
            "must be 1 to 64 printable ASCII characters without \"",
        );
        return None;
    }
    Some(text.to_owned())
}

/// On what an operator decides: `reason` and `ticket`, both required.
pub fn justification(reader: &mut ObjectReader) -> Option<Justification> {
    let reason = reader.bounded_text("reason", MAX_REASON);
    reader.require("reason");
    let ticket = reader.bounded_text("ticket", MAX_TICKET);
    reader.require("ticket");
    Some(Justification {
        reason: reason?.to_owned(),
        ticket: ticket?.to_owned(),
    })
}
