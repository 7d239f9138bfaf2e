//! Every documented result code, and what it means per service (`protocol/wire.md` 3.0–3.7,
//! `protocol/operations.md` 1.3, 1.5, 2.5, 6).
//!
//! A code that is not here means nothing: the outcome is unknown and the trade is asked for, never
//! failed (`protocol/wire.md` 3.1).

use super::request::Service;
use crate::domain::payment::RetryAdvice;

/// What a documented code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Refused for good: nothing was done and nothing will be.
    Definite {
        /// What may be tried next.
        retry: RetryAdvice,
        /// One sentence for the person at the till.
        message: &'static str,
    },
    /// Refused for a fault of the request, the contract or the set-up: nothing was done, and an
    /// operator must look.
    NotExecuted {
        /// One sentence for the person at the till.
        message: &'static str,
    },
    /// The state does not allow it as it stands: it must be asked for.
    InProgress,
    /// What was asked about does not exist.
    NotFound,
    /// Not now; the same request may succeed later.
    Later,
    /// Says nothing about what was done.
    Unknown,
}

use Meaning::{InProgress, Later, NotExecuted, NotFound, Unknown};
use RetryAdvice::{NewBarcode, No, OtherMethod, SameBarcode};

type Table = &'static [(&'static str, Meaning)];

const fn definite(retry: RetryAdvice, message: &'static str) -> Meaning {
    Meaning::Definite { retry, message }
}

const ACCESS: Meaning = NotExecuted {
    message: "Payments are not set up correctly here; take another payment method and tell your \
              support team.",
};
const REQUEST: Meaning = NotExecuted {
    message: "The payment could not be sent as it was; take another payment method and tell your \
              support team.",
};
const MERCHANT: &str = "This shop cannot take the payment at the moment; take another payment method and tell your \
     support team.";
const RESCAN: &str =
    "The code could not be used; ask the customer to refresh it and scan the new one.";
const OTHER: &str = "The payment was declined; ask the customer for another payment method.";

/// Refusals at the door, the same for every service (`protocol/wire.md` 3.0).
pub const ACCESS_CODES: Table = &[
    ("ILLEGAL_SIGN", ACCESS),
    ("ILLEGAL_DYN_MD5_KEY", ACCESS),
    ("ILLEGAL_ENCRYPT", ACCESS),
    ("ILLEGAL_ARGUMENT", REQUEST),
    ("ILLEGAL_SERVICE", ACCESS),
    ("ILLEGAL_USER", ACCESS),
    ("ILLEGAL_PARTNER", ACCESS),
    ("ILLEGAL_EXTERFACE", ACCESS),
    ("ILLEGAL_PARTNER_EXTERFACE", ACCESS),
    ("ILLEGAL_SECURITY_PROFILE", ACCESS),
    ("ILLEGAL_AGENT", ACCESS),
    ("ILLEGAL_SIGN_TYPE", ACCESS),
    ("ILLEGAL_CHARSET", ACCESS),
    ("INVALID_CHARACTER_SET", ACCESS),
    ("HAS_NO_PRIVILEGE", ACCESS),
    ("HAS_NO_PUBLICKEY", ACCESS),
    ("ILLEGAL_CLIENT_IP", ACCESS),
    ("EXTERFACE_IS_CLOSED", ACCESS),
    ("SESSION_TIMEOUT", ACCESS),
    ("ILLEGAL_TARGET_SERVICE", ACCESS),
    ("ILLEGAL_ACCESS_SWITCH_SYSTEM", ACCESS),
    ("INVALID_PARAMETER", REQUEST),
    ("SYSTEM_ERROR", Unknown),
    ("SYSTEM_EXCEPTION", Unknown),
];

/// Pay (`protocol/wire.md` 3.1).
pub const PAY_CODES: Table = &[
    (
        "TRADE_BUYER_NOT_MATCH",
        definite(
            NewBarcode,
            "This payment was started with another customer's code; start a new payment and scan \
             again.",
        ),
    ),
    (
        "TRADE_HAS_CLOSE",
        definite(
            NewBarcode,
            "This payment was already closed; start a new payment and scan a fresh code.",
        ),
    ),
    (
        "NOT_SUPPORT_PAYMENT_INST",
        definite(
            OtherMethod,
            "This wallet is not accepted here; ask the customer for another wallet or payment \
             method.",
        ),
    ),
    ("TRADE_NOT_EXIST", InProgress),
    ("TRADE_STATUS_ERROR", InProgress),
    ("TRADE_HAS_SUCCESS", InProgress),
    (
        "REASON_TRADE_BEEN_FREEZEN",
        definite(
            OtherMethod,
            "The payment is frozen; take another payment method and tell your support team.",
        ),
    ),
    (
        "EXIST_FORBIDDEN_WORD",
        definite(
            SameBarcode,
            "The description holds a word that is not allowed; change it and start a new payment.",
        ),
    ),
    ("SELLER_NOT_EXIST", definite(OtherMethod, MERCHANT)),
    ("SELLER_BEEN_BLOCKED", definite(OtherMethod, MERCHANT)),
    (
        "BUYER_NOT_EXIST",
        definite(
            OtherMethod,
            "The customer's wallet account cannot pay; the customer should contact the wallet's \
             support.",
        ),
    ),
    (
        "BUYER_ENABLE_STATUS_FORBID",
        definite(
            OtherMethod,
            "The customer's wallet account is blocked; the customer should contact the wallet's \
             support.",
        ),
    ),
    (
        "BUYER_SELLER_EQUAL",
        definite(
            OtherMethod,
            "The customer's wallet belongs to this shop; another person must pay.",
        ),
    ),
    (
        "CLIENT_VERSION_NOT_MATCH",
        definite(
            NewBarcode,
            "The customer's wallet app is too old; ask the customer to update it and scan a fresh \
             code.",
        ),
    ),
    ("SOUNDWAVE_PARSER_FAIL", definite(NewBarcode, RESCAN)),
    ("PULL_MOBILE_CASHIER_FAIL", definite(NewBarcode, RESCAN)),
    (
        "BUYER_BALANCE_NOT_ENOUGH",
        definite(
            NewBarcode,
            "The customer's balance is too low; ask the customer to top up or choose another card, \
             then scan a fresh code.",
        ),
    ),
    (
        "BUYER_BANKCARD_BALANCE_NOT_ENOUGH",
        definite(
            NewBarcode,
            "The customer's bank card balance is too low; ask the customer to choose another card, \
             then scan a fresh code.",
        ),
    ),
    (
        "ERROR_BALANCE_PAYMENT_DISABLE",
        definite(
            NewBarcode,
            "Paying from the balance is switched off in the customer's wallet; ask the customer to \
             switch it on, then scan a fresh code.",
        ),
    ),
    (
        "MOBILE_PAYMENT_SWITCH_OFF",
        definite(
            NewBarcode,
            "Mobile payment is switched off in the customer's wallet; ask the customer to switch it \
             on, then scan a fresh code.",
        ),
    ),
    (
        "USER_FACE_PAYMENT_SWITCH_OFF",
        definite(
            NewBarcode,
            "Paying in shops is switched off in the customer's wallet; ask the customer to switch \
             it on, then scan a fresh code.",
        ),
    ),
    (
        "BUYER_PAYMENT_AMOUNT_DAY_LIMIT_ERROR",
        definite(
            OtherMethod,
            "The customer has reached the daily limit; ask for another payment method.",
        ),
    ),
    (
        "BUYER_PAYMENT_AMOUNT_MONTH_LIMIT_ERROR",
        definite(
            OtherMethod,
            "The customer has reached the monthly limit; ask for another payment method.",
        ),
    ),
    (
        "REQUEST_AMOUNT_EXCEED",
        definite(
            OtherMethod,
            "The amount is above the limit; ask for another payment method or a smaller amount.",
        ),
    ),
    (
        "TOTAL_FEE_EXCEED",
        definite(
            OtherMethod,
            "The amount is above the limit; ask for another payment method or a smaller amount.",
        ),
    ),
    ("BEYOND_PAY_RESTRICTION", definite(OtherMethod, MERCHANT)),
    (
        "BEYOND_PER_RECEIPT_RESTRICTION",
        definite(OtherMethod, MERCHANT),
    ),
    (
        "ERROR_BUYER_CERTIFY_LEVEL_LIMIT",
        definite(
            OtherMethod,
            "The customer's wallet account is not verified enough; ask for another payment method.",
        ),
    ),
    (
        "ERROR_SELLER_CERTIFY_LEVEL_LIMIT",
        definite(OtherMethod, MERCHANT),
    ),
    ("PAYMENT_REQUEST_HAS_RISK", definite(OtherMethod, OTHER)),
    (
        "NO_PAYMENT_INSTRUMENTS_AVAILABLE",
        definite(
            OtherMethod,
            "The customer's wallet has nothing to pay with; ask for another payment method.",
        ),
    ),
    ("PAYMENT_FAIL", definite(OtherMethod, OTHER)),
    (
        "CONTEXT_INCONSISTENT",
        definite(
            NewBarcode,
            "This payment was sent before with other details; start a new payment and scan a fresh \
             code.",
        ),
    ),
    ("ACCESS_FORBIDDEN", ACCESS),
    ("PARTNER_ERROR", ACCESS),
    ("UN_SUPPORT_BIZ_TYPE", ACCESS),
    ("INVALID_RECEIVE_ACCOUNT", ACCESS),
    ("INVALID_STORE_ID", ACCESS),
];

/// Query (`protocol/wire.md` 3.4).
pub const QUERY_CODES: Table = &[("TRADE_NOT_EXIST", NotFound), ("TRANS_NOT_FOUND", NotFound)];

const TOO_LATE: &str = "It is too late to cancel this payment; refund it instead.";
const CANCEL_REFUSED: &str = "The payment cannot be canceled; ask your support team.";

/// Cancel (`protocol/wire.md` 3.2, `protocol/operations.md` 1.5).
pub const CANCEL_CODES: Table = &[
    ("TRADE_NOT_EXIST", NotFound),
    ("TRADE_STATUS_ERROR", definite(No, CANCEL_REFUSED)),
    ("TRADE_HAS_FINISHED", definite(No, TOO_LATE)),
    ("TRADE_FINISHED", definite(No, TOO_LATE)),
    ("TRADE_CANCEL_TIME_OUT", definite(No, TOO_LATE)),
    ("REASON_TRADE_BEEN_FREEZEN", definite(No, CANCEL_REFUSED)),
    ("TRADE_ROLE_ERROR", definite(No, CANCEL_REFUSED)),
    ("REASON_TRADE_REFUND_FEE_ERR", definite(No, CANCEL_REFUSED)),
    ("REFUND_AMT_NOT_EQUAL_TOTAL", definite(No, CANCEL_REFUSED)),
    ("SELLER_BALANCE_NOT_ENOUGH", Later),
    ("DISCORDANT_REPEAT_REQUEST", Unknown),
];

const BEYOND_BALANCE: &str = "The amount is more than what is left to refund.";
const NO_PAYMENT: &str = "There is no such payment to refund.";

/// Refund (`protocol/wire.md` 3.3, `protocol/operations.md` 2.5).
pub const REFUND_CODES: Table = &[
    ("TRADE_NOT_EXIST", definite(No, NO_PAYMENT)),
    ("PURCHASE_TRADE_NOT_EXIST", definite(No, NO_PAYMENT)),
    ("TRADE_STATUS_ERROR", InProgress),
    ("TRADE_HAS_CLOSE", InProgress),
    ("RETURN_AMOUNT_EXCEED", definite(No, BEYOND_BALANCE)),
    ("REFUND_AMT_RESTRICTION", definite(No, BEYOND_BALANCE)),
    ("REQUEST_AMOUNT_EXCEED", definite(No, BEYOND_BALANCE)),
    (
        "REASON_TRADE_BEEN_FREEZEN",
        definite(No, "The payment is frozen; ask your support team."),
    ),
    ("REPEATED_REFUNDMENT_REQUEST", Unknown),
    ("DISCORDANT_REPEAT_REQUEST", Unknown),
    (
        "CURRENCY_NOT_SAME",
        definite(No, "The refund must be in the currency of the payment."),
    ),
    (
        "REFUNDMENT_VALID_DATE_EXCEED",
        definite(
            No,
            "The time in which this payment can be refunded is over.",
        ),
    ),
    (
        "BUYER_NOT_EXIST",
        definite(
            No,
            "The customer's wallet account no longer exists; ask your support team.",
        ),
    ),
    ("SELLER_BALANCE_NOT_ENOUGH", Later),
    ("MERCHANT_BALANCE_NOT_ENOUGH", Later),
];

/// Refund query (`protocol/wire.md` 3.5).
pub const REFUND_QUERY_CODES: Table = &[
    ("NOT_FOUND", NotFound),
    ("TRADE_NOT_EXIST", NotFound),
    ("ACCESS_FORBIDDEN", ACCESS),
    ("QUERY_FAILED", Unknown),
];

const STORE_DATA: Meaning = definite(No, "The store's data are not accepted; correct and resend.");

/// Registration (`protocol/wire.md` 3.6, `protocol/operations.md` 6).
pub const MAINTAIN_STORE_CODES: Table = &[
    ("PARAM_ILLEGAL", STORE_DATA),
    ("MCC_CAN_NOT_MODIFY", STORE_DATA),
    ("DATA_NOT_EXIST", STORE_DATA),
    ("DUPLICATE_REQUEST", InProgress),
];

/// Registration status (`protocol/wire.md` 3.7, `protocol/operations.md` 6).
pub const STORE_STATUS_CODES: Table =
    &[("PARAM_ILLEGAL", STORE_DATA), ("DATA_NOT_EXIST", NotFound)];

/// What `code` means as an answer of `service`; `None` for an undocumented code.
pub fn meaning(service: Service, code: &str) -> Option<Meaning> {
    let own = match service {
        Service::Pay => PAY_CODES,
        Service::Query => QUERY_CODES,
        Service::Cancel => CANCEL_CODES,
        Service::Refund => REFUND_CODES,
        Service::RefundQuery => REFUND_QUERY_CODES,
        Service::MaintainStore => MAINTAIN_STORE_CODES,
        Service::StoreStatus => STORE_STATUS_CODES,
    };
    find(own, code).or_else(|| find(ACCESS_CODES, code))
}

/// The sentence for a refusal, a general one where the code has none.
pub(super) fn message(service: Service, code: &str) -> &'static str {
    match meaning(service, code) {
        Some(Meaning::Definite { message, .. } | NotExecuted { message }) => message,
        Some(InProgress | NotFound | Later | Unknown) | None => OTHER,
    }
}

/// Whether `code` is a documented refusal at the door, after which nothing was done.
pub(super) fn is_access_refusal(code: &str) -> bool {
    matches!(find(ACCESS_CODES, code), Some(NotExecuted { .. }))
}

/// Whether a code calls for an operator: the set-up is at fault.
pub(super) fn is_set_up_fault(service: Service, code: &str) -> bool {
    matches!(meaning(service, code), Some(NotExecuted { .. }))
}

/// Whether `code` is Alipay's "temporarily unavailable", of which nothing follows.
pub(super) fn is_system_error(code: &str) -> bool {
    matches!(code, "SYSTEM_ERROR" | "SYSTEM_EXCEPTION")
}

/// A code fit for logs and rows: one short word that starts with a letter. Anything else, a number
/// that might be a customer's code among it, is left out.
pub(super) fn presentable(code: &str) -> Option<String> {
    let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let fit = code.len() <= 64
        && code.starts_with(|c: char| c.is_ascii_alphabetic())
        && code.bytes().all(word);
    fit.then(|| code.to_owned())
}

fn find(table: Table, code: &str) -> Option<Meaning> {
    table
        .iter()
        .find(|(documented, _)| *documented == code)
        .map(|(_, meaning)| *meaning)
}

#[cfg(test)]
#[path = "result_code_tests.rs"]
pub(super) mod tests;
