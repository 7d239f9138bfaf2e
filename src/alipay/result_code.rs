//! Every documented result code, and what it means per service (`docs/protocol.md` 4.1–4.8,
//! 5.3, 5.5, 6.5, 10).
//!
//! A code that is not here means nothing: the outcome is unknown and the trade is asked for, never
//! failed (`docs/protocol.md` 4.2). An operator may add codes ([`Codes`]), and give others a sentence
//! of their own; what a documented code means, nobody changes.

use std::borrow::Cow;

use crate::domain::{
    accounts::codes::{AddedCode, Meaning},
    attempt::AttemptKind,
    contradiction::Claim,
    payments::payment::RetryAdvice,
};

/// The documented codes, and those that were added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Codes {
    added: Vec<AddedCode>,
}

impl Codes {
    /// The documented codes and these. A row may say better what a documented code is *about*, never
    /// what it *means*: a definite no that became a doubt would leave payments open, and a doubt that
    /// became a no would lose money. Every fault is returned at once.
    pub fn with(rows: Vec<AddedCode>) -> Result<Self, Vec<String>> {
        let mut faults = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            let AddedCode { service, code, .. } = row;
            let name = format!("{} {code}", service.as_str());
            if let Some(known) = documented(*service, code)
                && known.as_str() != row.meaning.as_str()
            {
                let known = known.as_str();
                faults.push(format!(
                    "{name}: the gateway knows this code as {known}, which cannot be changed"
                ));
            }
            let is_twin = |other: &AddedCode| other.service == *service && other.code == *code;
            if rows.iter().take(at).any(is_twin) {
                faults.push(format!("{name}: stands twice"));
            }
        }
        if faults.is_empty() {
            Ok(Self { added: rows })
        } else {
            Err(faults)
        }
    }

    /// What `code` means as an answer of `service`; `None` where nobody has said so.
    pub fn meaning(&self, service: AttemptKind, code: &str) -> Option<Meaning> {
        let is_it = |added: &&AddedCode| added.service == service && added.code == code;
        match self.added.iter().find(is_it) {
            Some(added) => Some(added.meaning.clone()),
            None => documented(service, code),
        }
    }

    /// Whether a code calls for an operator: the set-up is at fault.
    pub(super) fn is_set_up_fault(&self, service: AttemptKind, code: &str) -> bool {
        matches!(self.meaning(service, code), Some(NotExecuted { .. }))
    }
}

use Meaning::{InProgress, Later, NotExecuted, NotFound, Unknown};
use RetryAdvice::{NewBarcode, No, OtherMethod, SameBarcode};

type Table = &'static [(&'static str, Meaning)];

const fn definite(retry: RetryAdvice, reason: &'static str) -> Meaning {
    Meaning::Definite {
        retry,
        reason: Cow::Borrowed(reason),
    }
}

const ACCESS: Meaning = NotExecuted {
    reason: Cow::Borrowed("Alipay does not serve this store as it is set up."),
};
const REQUEST: Meaning = NotExecuted {
    reason: Cow::Borrowed("Alipay did not take the request as it was sent."),
};
const MERCHANT: &str = "Alipay does not let this store take the payment at the moment.";
const RESCAN: &str = "The code could not be used.";
const OTHER: &str = "The payment was declined.";

/// Refusals at the door, the same for every service (`docs/protocol.md` 4.1).
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

/// Pay (`docs/protocol.md` 4.2).
#[rustfmt::skip]
pub const PAY_CODES: Table = &[
    ("TRADE_BUYER_NOT_MATCH", definite(NewBarcode, "This payment was started with another customer's code.")),
    ("TRADE_HAS_CLOSE", definite(NewBarcode, "This payment was already closed.")),
    ("NOT_SUPPORT_PAYMENT_INST", definite(OtherMethod, "This wallet is not accepted here.")),
    ("TRADE_NOT_EXIST", InProgress),
    ("TRADE_STATUS_ERROR", InProgress),
    ("TRADE_HAS_SUCCESS", InProgress),
    ("REASON_TRADE_BEEN_FREEZEN", definite(OtherMethod, "Alipay has frozen the payment.")),
    ("EXIST_FORBIDDEN_WORD", definite(SameBarcode, "The description holds a word that Alipay does not allow; change it.")),
    ("SELLER_NOT_EXIST", definite(OtherMethod, MERCHANT)),
    ("SELLER_BEEN_BLOCKED", definite(OtherMethod, MERCHANT)),
    ("BUYER_NOT_EXIST", definite(OtherMethod, "The customer's wallet account cannot pay; the wallet's own support can help the customer.")),
    ("BUYER_ENABLE_STATUS_FORBID", definite(OtherMethod, "The customer's wallet account is blocked; the wallet's own support can help the customer.")),
    ("BUYER_SELLER_EQUAL", definite(OtherMethod, "The customer's wallet belongs to this store, which cannot pay itself.")),
    ("CLIENT_VERSION_NOT_MATCH", definite(NewBarcode, "The customer's wallet app is too old; ask the customer to update it.")),
    ("SOUNDWAVE_PARSER_FAIL", definite(NewBarcode, RESCAN)),
    ("PULL_MOBILE_CASHIER_FAIL", definite(NewBarcode, RESCAN)),
    ("BUYER_BALANCE_NOT_ENOUGH", definite(NewBarcode, "The customer's balance is too low; ask the customer to top up or choose another card.")),
    ("BUYER_BANKCARD_BALANCE_NOT_ENOUGH", definite(NewBarcode, "The customer's bank card balance is too low; ask the customer to choose another card.")),
    ("ERROR_BALANCE_PAYMENT_DISABLE", definite(NewBarcode, "Paying from the balance is switched off in the customer's wallet; ask the customer to switch it on.")),
    ("MOBILE_PAYMENT_SWITCH_OFF", definite(NewBarcode, "Mobile payment is switched off in the customer's wallet; ask the customer to switch it on.")),
    ("USER_FACE_PAYMENT_SWITCH_OFF", definite(NewBarcode, "Paying in stores is switched off in the customer's wallet; ask the customer to switch it on.")),
    ("BUYER_PAYMENT_AMOUNT_DAY_LIMIT_ERROR", definite(OtherMethod, "The customer has reached the daily limit.")),
    ("BUYER_PAYMENT_AMOUNT_MONTH_LIMIT_ERROR", definite(OtherMethod, "The customer has reached the monthly limit.")),
    ("REQUEST_AMOUNT_EXCEED", definite(OtherMethod, "The amount is above Alipay's limit.")),
    ("TOTAL_FEE_EXCEED", definite(OtherMethod, "The amount is above Alipay's limit.")),
    ("BEYOND_PAY_RESTRICTION", definite(OtherMethod, MERCHANT)),
    ("BEYOND_PER_RECEIPT_RESTRICTION", definite(OtherMethod, MERCHANT)),
    ("ERROR_BUYER_CERTIFY_LEVEL_LIMIT", definite(OtherMethod, "The customer's wallet account is not verified enough.")),
    ("ERROR_SELLER_CERTIFY_LEVEL_LIMIT", definite(OtherMethod, MERCHANT)),
    ("PAYMENT_REQUEST_HAS_RISK", definite(OtherMethod, OTHER)),
    ("NO_PAYMENT_INSTRUMENTS_AVAILABLE", definite(OtherMethod, "The customer's wallet has nothing to pay with.")),
    ("PAYMENT_FAIL", definite(OtherMethod, OTHER)),
    ("CONTEXT_INCONSISTENT", definite(NewBarcode, "This payment was sent before with other details.")),
    ("ACCESS_FORBIDDEN", ACCESS),
    ("PARTNER_ERROR", ACCESS),
    ("UN_SUPPORT_BIZ_TYPE", ACCESS),
    ("INVALID_RECEIVE_ACCOUNT", ACCESS),
    ("INVALID_STORE_ID", ACCESS),
];

/// Query (`docs/protocol.md` 4.5).
pub const QUERY_CODES: Table = &[("TRADE_NOT_EXIST", NotFound), ("TRANS_NOT_FOUND", NotFound)];

const TOO_LATE: &str = "It is too late to cancel this payment; refund it.";
const FROZEN: &str = "Alipay has frozen the payment.";
const NOT_OURS: &str = "Alipay does not let this account change the payment.";

/// Cancel (`docs/protocol.md` 4.3, 5.5).
pub const CANCEL_CODES: Table = &[
    ("TRADE_NOT_EXIST", NotFound),
    (
        "TRADE_STATUS_ERROR",
        definite(No, "Alipay takes no cancel of the payment as it stands."),
    ),
    ("TRADE_HAS_FINISHED", definite(No, TOO_LATE)),
    ("TRADE_FINISHED", definite(No, TOO_LATE)),
    ("TRADE_CANCEL_TIME_OUT", definite(No, TOO_LATE)),
    ("REASON_TRADE_BEEN_FREEZEN", definite(No, FROZEN)),
    ("TRADE_ROLE_ERROR", definite(No, NOT_OURS)),
    (
        "REASON_TRADE_REFUND_FEE_ERR",
        definite(No, "Alipay cannot give its fee back."),
    ),
    (
        "REFUND_AMT_NOT_EQUAL_TOTAL",
        definite(No, "A part of the payment has been refunded."),
    ),
    ("SELLER_BALANCE_NOT_ENOUGH", Later),
    ("DISCORDANT_REPEAT_REQUEST", Unknown),
];

const BEYOND_BALANCE: &str = "The amount is more than what is left to refund.";
const NO_PAYMENT: &str = "There is no such payment to refund.";

/// Refund (`docs/protocol.md` 4.4, 6.5).
pub const REFUND_CODES: Table = &[
    ("TRADE_NOT_EXIST", definite(No, NO_PAYMENT)),
    ("PURCHASE_TRADE_NOT_EXIST", definite(No, NO_PAYMENT)),
    ("TRADE_STATUS_ERROR", InProgress),
    ("TRADE_HAS_CLOSE", InProgress),
    ("RETURN_AMOUNT_EXCEED", definite(No, BEYOND_BALANCE)),
    ("REFUND_AMT_RESTRICTION", definite(No, BEYOND_BALANCE)),
    ("REQUEST_AMOUNT_EXCEED", definite(No, BEYOND_BALANCE)),
    ("REASON_TRADE_BEEN_FREEZEN", definite(No, FROZEN)),
    ("TRADE_ROLE_ERROR", definite(No, NOT_OURS)),
    (
        "TRADE_HAS_FINISHED",
        definite(No, "Alipay has closed its books on this payment."),
    ),
    (
        "REFUND_AMT_NOT_EQUAL_TOTAL",
        definite(
            No,
            "Alipay refunds this payment in full only, and the amount is another.",
        ),
    ),
    ("ACCESS_FORBIDDEN", ACCESS),
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

/// What a refused refund says of its payment, by the code with which it failed; `None` where it says
/// nothing that books could hold otherwise which call the payment paid and the amount refundable.
pub fn refusal_claims(code: &str) -> Option<Claim> {
    match code {
        "TRADE_HAS_CLOSE" => Some(Claim::Closed),
        "TRADE_NOT_EXIST" | "PURCHASE_TRADE_NOT_EXIST" => Some(Claim::NotFound),
        "TRADE_STATUS_ERROR"
        | "TRADE_HAS_FINISHED"
        | "RETURN_AMOUNT_EXCEED"
        | "REFUND_AMT_RESTRICTION"
        | "REQUEST_AMOUNT_EXCEED" => Some(Claim::NotRefundable),
        _ => None,
    }
}

/// Refund query (`docs/protocol.md` 4.6).
pub const REFUND_QUERY_CODES: Table = &[
    ("NOT_FOUND", NotFound),
    ("TRADE_NOT_EXIST", NotFound),
    ("ACCESS_FORBIDDEN", ACCESS),
    ("QUERY_FAILED", Unknown),
];

const STORE_DATA: Meaning = definite(No, "The store's data are not accepted; correct and resend.");

/// Registration (`docs/protocol.md` 4.7, 10).
pub const MAINTAIN_STORE_CODES: Table = &[
    ("PARAM_ILLEGAL", STORE_DATA),
    ("MCC_CAN_NOT_MODIFY", STORE_DATA),
    ("DATA_NOT_EXIST", STORE_DATA),
    ("DUPLICATE_REQUEST", InProgress),
];

/// Registration status (`docs/protocol.md` 4.8, 10).
pub const STORE_STATUS_CODES: Table =
    &[("PARAM_ILLEGAL", STORE_DATA), ("DATA_NOT_EXIST", NotFound)];

fn documented(service: AttemptKind, code: &str) -> Option<Meaning> {
    let own = match service {
        AttemptKind::Pay => PAY_CODES,
        AttemptKind::Query => QUERY_CODES,
        AttemptKind::Cancel => CANCEL_CODES,
        AttemptKind::Refund => REFUND_CODES,
        AttemptKind::RefundQuery => REFUND_QUERY_CODES,
        AttemptKind::MaintainStore => MAINTAIN_STORE_CODES,
        AttemptKind::StoreStatus => STORE_STATUS_CODES,
    };
    find(own, code).or_else(|| find(ACCESS_CODES, code))
}

/// Whether `code` is a documented refusal at the door, after which nothing was done.
pub(super) fn is_access_refusal(code: &str) -> bool {
    matches!(find(ACCESS_CODES, code), Some(NotExecuted { .. }))
}

/// Why a cancel was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CancelRefusal {
    /// It came too late: a refund is what is left.
    TooLate,
    /// For another reason, in one sentence.
    Because(Cow<'static, str>),
}

impl Codes {
    /// Why a cancel was refused with this code.
    pub fn cancel_refusal(&self, code: Option<&str>) -> CancelRefusal {
        // By what the code is known to mean, whatever sentence was put in the place of ours.
        let known = code.and_then(|code| documented(AttemptKind::Cancel, code));
        if matches!(known, Some(Meaning::Definite { reason, .. }) if reason == TOO_LATE) {
            return CancelRefusal::TooLate;
        }
        let meaning = code.and_then(|code| self.meaning(AttemptKind::Cancel, code));
        CancelRefusal::Because(match meaning {
            Some(Meaning::Definite { reason, .. } | NotExecuted { reason }) => reason,
            Some(Later) => "The store's balance at Alipay is too low.".into(),
            Some(NotFound) => "Alipay knows of no such payment.".into(),
            Some(InProgress | Unknown) | None => "Alipay gave no reason that is known.".into(),
        })
    }
}

/// Whether a refusal at the door says that Alipay does not let the account in, whatever it asks: by a
/// code of the account, or by any code where the question was harmless. Faults of one request, and
/// "temporarily unavailable", say nothing of the account.
pub(super) fn refuses_the_account(service: AttemptKind, code: &str) -> bool {
    match find(ACCESS_CODES, code) {
        Some(meaning) => meaning == ACCESS,
        None => match service {
            AttemptKind::Query | AttemptKind::RefundQuery => documented(service, code).is_none(),
            AttemptKind::Pay
            | AttemptKind::Cancel
            | AttemptKind::Refund
            | AttemptKind::MaintainStore
            | AttemptKind::StoreStatus => false,
        },
    }
}

/// What a person should look at where Alipay refuses the account with a code.
pub fn what_to_check(code: &str) -> &'static str {
    match code {
        "ILLEGAL_SIGN"
        | "ILLEGAL_DYN_MD5_KEY"
        | "ILLEGAL_SIGN_TYPE"
        | "ILLEGAL_ENCRYPT"
        | "ILLEGAL_SECURITY_PROFILE" => {
            "key: the public key that Alipay has of this account is not that of our key, or its \
             signature type is another"
        }
        "HAS_NO_PUBLICKEY" => "key: Alipay has no public key of this account; upload it",
        "ILLEGAL_PARTNER" | "ILLEGAL_USER" => {
            "partner: Alipay does not know this partner number, or has closed it; this gateway's \
             address may be that of the other environment (test, production)"
        }
        "HAS_NO_PRIVILEGE"
        | "ILLEGAL_PARTNER_EXTERFACE"
        | "EXTERFACE_IS_CLOSED"
        | "ILLEGAL_EXTERFACE"
        | "ILLEGAL_SERVICE"
        | "ILLEGAL_TARGET_SERVICE"
        | "ILLEGAL_AGENT"
        | "ILLEGAL_ACCESS_SWITCH_SYSTEM" => {
            "contract: the account may not use this interface; ask Alipay to open it"
        }
        "ILLEGAL_CLIENT_IP" => {
            "network: Alipay takes requests of this account from other addresses only"
        }
        "ILLEGAL_CHARSET" | "INVALID_CHARACTER_SET" | "SESSION_TIMEOUT" => {
            "clock or software between us and Alipay: the request arrived changed or too late"
        }
        _ => "the code is not documented: ask Alipay's support what it means for this account",
    }
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
        .map(|(_, meaning)| meaning.clone())
}

#[cfg(test)]
#[path = "result_code_tests.rs"]
pub(super) mod tests;
