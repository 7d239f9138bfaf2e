//! Members that several requests have, and their rules.

use serde_json::json;

use super::{
    request::request,
    rules::{Form, Integer},
};
use crate::domain::{
    id::MerchantReference,
    money::{Currency, Money},
};

/// Longest `reason` of an operator, in characters.
pub const MAX_REASON: usize = 500;
/// Longest `ticket`, in characters.
pub const MAX_TICKET: usize = 100;
/// Longest `store_id` and `terminal_id`, in characters.
const MAX_NAME: usize = 64;

request! {
    /// An amount to charge or to refund.
    struct AmountRequest {
        /// Integer minor units: 12850 is HKD 128.50. `12850.0` is refused.
        required value: i64 = Integer {
            min: Money::MIN_PAYMENT_MINOR,
            max: Money::MAX_PAYMENT_MINOR,
        }, example 12850;
        /// ISO 4217; only HKD is accepted today.
        required currency: Currency = CURRENCY, example "HKD";
    }
}

impl AmountRequest {
    /// The amount; `None` where a member is missing or faulty.
    pub(in crate::http) fn money(&self) -> Option<Money> {
        Money::payment(self.value?, self.currency?).ok()
    }
}

const CURRENCY: Form<Currency> = Form {
    code: "unsupported_currency",
    detail: "must be HKD",
    parse: |code| Currency::from_code(code).filter(|currency| *currency == Currency::HKD),
    schema: || json!({"pattern": "^[A-Z]{3}$"}),
};

/// The caller's own number.
pub(in crate::http) const MERCHANT_REFERENCE: Form<MerchantReference> = Form {
    code: "invalid_format",
    detail: "must be 1 to 64 of A-Z a-z 0-9 . _ -",
    parse: |text| text.parse().ok(),
    schema: || json!({"pattern": "^[A-Za-z0-9._-]{1,64}$", "minLength": 1, "maxLength": 64}),
};

/// A store or terminal: printable ASCII without `"`, since it travels in a JSON text to Alipay.
pub(in crate::http) const ASCII_NAME: Form<String> = Form {
    code: "invalid_format",
    detail: "must be 1 to 64 printable ASCII characters without \"",
    parse: |text| {
        let printable = text.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"');
        (printable && (1..=MAX_NAME).contains(&text.len())).then(|| text.to_owned())
    },
    schema: || json!({"pattern": "^[ !#-~]+$", "minLength": 1, "maxLength": MAX_NAME}),
};

/// A merchant category code.
pub(in crate::http) const INDUSTRY: Form<String> = Form {
    code: "invalid_format",
    detail: "must be a merchant category code of 4 digits",
    parse: |text| {
        let is_code = text.len() == 4 && text.bytes().all(|b| b.is_ascii_digit());
        is_code.then(|| text.to_owned())
    },
    schema: || json!({"pattern": "^[0-9]{4}$"}),
};
