//! The scenario table: what a payment does is chosen by the last four digits of the scanned code. The
//! one table both drives the behaviour and is printed by `alipay-simulator scenarios`.
//!
//! Only the answer to the payment lies; a query or a cancel afterwards tells the signed truth.

use std::{
    borrow::Cow,
    fmt::{self, Write},
};

use crate::{
    book::{Buyer, Script},
    fault::Fault,
    refund_scenario,
};

/// What the last four digits of a code choose: the payment's scenario, or that of its refunds; and those
/// digits, where they choose one.
pub(crate) fn chosen_by(ending: &str) -> (Script, Option<&'static str>) {
    if let Some(scenario) = find(ending) {
        return (scenario.script.clone(), Some(scenario.ending));
    }
    let refunds = refund_scenario::find(ending);
    let script = Script {
        refunds: refunds.map(|scenario| &scenario.script),
        ..Script::PLAIN
    };
    (script, refunds.map(|scenario| scenario.ending))
}

/// One line of the table.
pub(crate) struct Scenario {
    /// The last four digits of the code.
    pub(crate) ending: &'static str,
    what: &'static str,
    shows: Shows,
    /// What the simulator does.
    pub(crate) script: Script,
}

/// What the gateway's caller sees. The gateway's own tests hold it to every line.
#[derive(Clone, Copy)]
enum Shows {
    /// The first answer: paid.
    Paid,
    /// The first answer, a definite failure: Alipay's code and `failure.retry`.
    Failed(&'static str, &'static str),
    /// The first answer is open, for this `status_reason`, and the truth arrives later.
    Open(&'static str, End),
}

/// How an open payment ends.
#[derive(Clone, Copy)]
enum End {
    /// A query finds it paid.
    Succeeded,
    /// Closed or never created: the `status_reason`.
    Canceled(&'static str),
    /// Not by itself: the `next_action` of the till.
    CallOperator,
}

const PAID_BY_QUERY: Shows = Shows::Open("outcome_unknown", End::Succeeded);
const NEVER_CREATED: Shows = Shows::Open("outcome_unknown", End::Canceled("never_created"));
const NEEDS_A_PERSON: Shows = Shows::Open("outcome_unknown", End::CallOperator);
const CONFIRMED: Shows = Shows::Open("awaiting_buyer", End::Succeeded);
const NOT_CONFIRMED: Shows = Shows::Open("awaiting_buyer", End::Canceled("buyer_did_not_confirm"));

const fn paid(ending: &'static str, what: &'static str, wallet: &'static str) -> Scenario {
    let script = Script {
        wallet,
        ..Script::PLAIN
    };
    Scenario {
        ending,
        what,
        shows: Shows::Paid,
        script,
    }
}

const fn waits(
    ending: &'static str,
    what: &'static str,
    shows: Shows,
    buyer: Buyer,
    waiting: &'static str,
) -> Scenario {
    let script = Script {
        buyer,
        waiting,
        ..Script::PLAIN
    };
    Scenario {
        ending,
        what,
        shows,
        script,
    }
}

const fn spoilt(ending: &'static str, what: &'static str, shows: Shows, fault: Fault) -> Scenario {
    let script = Script {
        fault: Some(fault),
        ..Script::PLAIN
    };
    Scenario {
        ending,
        what,
        shows,
        script,
    }
}

const fn failing(code: &'static str) -> Fault {
    Fault::Result {
        code: Cow::Borrowed("FAILED"),
        error: Some(Cow::Borrowed(code)),
    }
}

const fn declined(
    ending: &'static str,
    code: &'static str,
    what: &'static str,
    advice: &'static str,
) -> Scenario {
    spoilt(ending, what, Shows::Failed(code, advice), failing(code))
}

/// The refusal is not signed, as Alipay's are not, so it proves nothing about the payment.
const fn refused(ending: &'static str, code: &'static str) -> Scenario {
    let fault = Fault::AccessError {
        code: Cow::Borrowed(code),
    };
    spoilt(ending, "unsigned refusal", NEVER_CREATED, fault)
}

/// The same, for a fault of the account, which no question about the payment gets past.
const fn shut_out(ending: &'static str, code: &'static str) -> Scenario {
    let fault = Fault::AccessError {
        code: Cow::Borrowed(code),
    };
    let script = Script {
        fault: Some(fault),
        shuts_out: true,
        ..Script::PLAIN
    };
    Scenario {
        ending,
        what: "unsigned refusal",
        shows: NEEDS_A_PERSON,
        script,
    }
}

/// Every scenario. A code with any other ending is paid at once.
pub(crate) static SCENARIOS: &[Scenario] = &[
    paid("0001", "paid at once (ALIPAYHK)", "ALIPAYHK"),
    paid(
        "0002",
        "paid at once from a mainland wallet (ALIPAYCN)",
        "ALIPAYCN",
    ),
    paid(
        "0003",
        "paid at once from a wallet that no document names (KAKAOPAY)",
        "KAKAOPAY",
    ),
    waits(
        "0101",
        "the buyer must confirm, and does after 5 s",
        CONFIRMED,
        Buyer::ConfirmsAfter(5),
        "UNKNOW",
    ),
    waits(
        "0102",
        "the buyer must confirm and never does; Alipay closes the trade after 3 min",
        NOT_CONFIRMED,
        Buyer::NeverActs,
        "UNKNOW",
    ),
    waits(
        "0103",
        "as 0101, but spelled UNKNOWN, and after 40 s",
        CONFIRMED,
        Buyer::ConfirmsAfter(40),
        "UNKNOWN",
    ),
    waits(
        "0104",
        "the buyer must confirm and declines after 5 s",
        NOT_CONFIRMED,
        Buyer::DismissesAfter(5),
        "UNKNOW",
    ),
    declined(
        "1001",
        "INVALID_PARAMETER",
        "declined: a parameter is wrong",
        "no",
    ),
    declined(
        "1002",
        "ILLEGAL_ARGUMENT",
        "declined: a parameter is wrong",
        "no",
    ),
    declined(
        "1003",
        "TRADE_BUYER_NOT_MATCH",
        "declined: another buyer scanned first",
        "new_barcode",
    ),
    declined(
        "1004",
        "TRADE_HAS_CLOSE",
        "declined: the trade is closed",
        "new_barcode",
    ),
    declined(
        "1005",
        "NOT_SUPPORT_PAYMENT_INST",
        "declined: wallet not supported",
        "other_method",
    ),
    declined(
        "1006",
        "REASON_TRADE_BEEN_FREEZEN",
        "declined: the trade is frozen",
        "other_method",
    ),
    declined(
        "1007",
        "EXIST_FORBIDDEN_WORD",
        "declined: forbidden word in the text",
        "same_barcode",
    ),
    declined(
        "1008",
        "SELLER_NOT_EXIST",
        "declined: no such seller",
        "other_method",
    ),
    declined(
        "1009",
        "SELLER_BEEN_BLOCKED",
        "declined: the seller is blocked",
        "other_method",
    ),
    declined(
        "1010",
        "BUYER_NOT_EXIST",
        "declined: no such buyer",
        "other_method",
    ),
    declined(
        "1011",
        "BUYER_ENABLE_STATUS_FORBID",
        "declined: the buyer is blocked",
        "other_method",
    ),
    declined(
        "1012",
        "BUYER_SELLER_EQUAL",
        "declined: buyer and seller are one",
        "other_method",
    ),
    declined(
        "1013",
        "CLIENT_VERSION_NOT_MATCH",
        "declined: the wallet is too old",
        "new_barcode",
    ),
    declined(
        "1014",
        "SOUNDWAVE_PARSER_FAIL",
        "declined: the code is expired",
        "new_barcode",
    ),
    declined(
        "1015",
        "PULL_MOBILE_CASHIER_FAIL",
        "declined: the cashier page fails",
        "new_barcode",
    ),
    declined(
        "1016",
        "BUYER_BALANCE_NOT_ENOUGH",
        "declined: no funds",
        "new_barcode",
    ),
    declined(
        "1017",
        "BUYER_BANKCARD_BALANCE_NOT_ENOUGH",
        "declined: no funds",
        "new_barcode",
    ),
    declined(
        "1018",
        "ERROR_BALANCE_PAYMENT_DISABLE",
        "declined: switched off",
        "new_barcode",
    ),
    declined(
        "1019",
        "MOBILE_PAYMENT_SWITCH_OFF",
        "declined: switched off",
        "new_barcode",
    ),
    declined(
        "1020",
        "USER_FACE_PAYMENT_SWITCH_OFF",
        "declined: switched off",
        "new_barcode",
    ),
    declined(
        "1021",
        "BUYER_PAYMENT_AMOUNT_DAY_LIMIT_ERROR",
        "declined: limit",
        "other_method",
    ),
    declined(
        "1022",
        "BUYER_PAYMENT_AMOUNT_MONTH_LIMIT_ERROR",
        "declined: limit",
        "other_method",
    ),
    declined(
        "1023",
        "REQUEST_AMOUNT_EXCEED",
        "declined: limit",
        "other_method",
    ),
    declined(
        "1024",
        "TOTAL_FEE_EXCEED",
        "declined: limit",
        "other_method",
    ),
    declined(
        "1025",
        "BEYOND_PAY_RESTRICTION",
        "declined: the merchant's limit",
        "other_method",
    ),
    declined(
        "1026",
        "BEYOND_PER_RECEIPT_RESTRICTION",
        "declined: the merchant's limit",
        "other_method",
    ),
    declined(
        "1027",
        "ERROR_BUYER_CERTIFY_LEVEL_LIMIT",
        "declined: buyer's level",
        "other_method",
    ),
    declined(
        "1028",
        "ERROR_SELLER_CERTIFY_LEVEL_LIMIT",
        "declined: seller's level",
        "other_method",
    ),
    declined(
        "1029",
        "PAYMENT_REQUEST_HAS_RISK",
        "declined: risk",
        "other_method",
    ),
    declined(
        "1030",
        "NO_PAYMENT_INSTRUMENTS_AVAILABLE",
        "declined: nothing to pay with",
        "other_method",
    ),
    declined(
        "1031",
        "PAYMENT_FAIL",
        "declined: no reason given",
        "other_method",
    ),
    declined(
        "1032",
        "CONTEXT_INCONSISTENT",
        "declined: same id, other data",
        "new_barcode",
    ),
    declined(
        "1033",
        "ACCESS_FORBIDDEN",
        "declined: product not signed",
        "no",
    ),
    declined(
        "1034",
        "PARTNER_ERROR",
        "declined: partner not set up",
        "no",
    ),
    declined("1035", "UN_SUPPORT_BIZ_TYPE", "declined: set-up", "no"),
    declined("1036", "INVALID_RECEIVE_ACCOUNT", "declined: set-up", "no"),
    declined("1037", "INVALID_STORE_ID", "declined: set-up", "no"),
    spoilt(
        "1091",
        "FAILED with `TRADE_NOT_EXIST`, which settles nothing; nothing created",
        NEVER_CREATED,
        failing("TRADE_NOT_EXIST"),
    ),
    spoilt(
        "1092",
        "FAILED with `TRADE_STATUS_ERROR`, which settles nothing; nothing created",
        NEVER_CREATED,
        failing("TRADE_STATUS_ERROR"),
    ),
    spoilt(
        "1093",
        "FAILED with `TRADE_HAS_SUCCESS`, which settles nothing; nothing created",
        NEVER_CREATED,
        failing("TRADE_HAS_SUCCESS"),
    ),
    spoilt(
        "1099",
        "FAILED with `WALLET_ON_HOLIDAY`, which no document lists; nothing created",
        NEVER_CREATED,
        failing("WALLET_ON_HOLIDAY"),
    ),
    shut_out("1101", "ILLEGAL_SIGN"),
    shut_out("1102", "ILLEGAL_PARTNER"),
    shut_out("1103", "ILLEGAL_PARTNER_EXTERFACE"),
    shut_out("1104", "HAS_NO_PRIVILEGE"),
    refused("1105", "ILLEGAL_ARGUMENT"),
    shut_out("1106", "ILLEGAL_SIGN_TYPE"),
    shut_out("1107", "ILLEGAL_SERVICE"),
    shut_out("1108", "ILLEGAL_EXTERFACE"),
    shut_out("1109", "ILLEGAL_SECURITY_PROFILE"),
    shut_out("1110", "ILLEGAL_USER"),
    shut_out("1111", "ILLEGAL_AGENT"),
    shut_out("1112", "ILLEGAL_CHARSET"),
    shut_out("1113", "ILLEGAL_DYN_MD5_KEY"),
    shut_out("1114", "ILLEGAL_ENCRYPT"),
    shut_out("1115", "INVALID_CHARACTER_SET"),
    shut_out("1116", "HAS_NO_PUBLICKEY"),
    shut_out("1117", "ILLEGAL_CLIENT_IP"),
    shut_out("1118", "EXTERFACE_IS_CLOSED"),
    refused("1119", "SESSION_TIMEOUT"),
    shut_out("1120", "ILLEGAL_TARGET_SERVICE"),
    shut_out("1121", "ILLEGAL_ACCESS_SWITCH_SYSTEM"),
    refused("1199", "SYSTEM_ERROR"),
    spoilt(
        "2001",
        "SYSTEM_ERROR, nothing created",
        NEVER_CREATED,
        Fault::SystemErrorBeforeEffect,
    ),
    spoilt(
        "2002",
        "SYSTEM_ERROR though paid",
        PAID_BY_QUERY,
        Fault::SystemErrorAfterEffect,
    ),
    spoilt(
        "2003",
        "connection dropped though paid",
        PAID_BY_QUERY,
        Fault::DropAfterEffect,
    ),
    spoilt(
        "2004",
        "connection dropped, nothing created",
        NEVER_CREATED,
        Fault::DropBeforeEffect,
    ),
    spoilt(
        "2005",
        "paid, the answer is slow",
        Shows::Open("submitting", End::Succeeded),
        Fault::SlowAnswer,
    ),
    spoilt(
        "2006",
        "HTTP 500 though paid",
        PAID_BY_QUERY,
        Fault::HttpStatus { status: 500 },
    ),
    spoilt(
        "2007",
        "an HTML page with 200 though paid",
        PAID_BY_QUERY,
        Fault::Html,
    ),
    spoilt(
        "2008",
        "HTTP 302 though paid",
        PAID_BY_QUERY,
        Fault::Redirect {
            location: Cow::Borrowed("https://alipay.invalid/error"),
        },
    ),
    Scenario {
        ending: "2009",
        what: "SYSTEM_ERROR though waiting for the buyer, who never acts",
        shows: Shows::Open("outcome_unknown", End::Canceled("buyer_did_not_confirm")),
        script: Script {
            buyer: Buyer::NeverActs,
            fault: Some(Fault::SystemErrorAfterEffect),
            ..Script::PLAIN
        },
    },
    spoilt(
        "3001",
        "paid, signed with a wrong key",
        PAID_BY_QUERY,
        Fault::WrongSignatureKey,
    ),
    spoilt(
        "3002",
        "paid, answer names another payment",
        PAID_BY_QUERY,
        Fault::WrongId,
    ),
    spoilt(
        "3003",
        "paid, answer shows another amount",
        PAID_BY_QUERY,
        Fault::WrongAmount,
    ),
    spoilt(
        "3004",
        "paid, truncated XML",
        PAID_BY_QUERY,
        Fault::TruncatedXml,
    ),
    spoilt(
        "3005",
        "paid, answer in GBK with Chinese text",
        Shows::Paid,
        Fault::Gbk,
    ),
    spoilt(
        "3006",
        "paid, unknown fields and longer values",
        Shows::Paid,
        Fault::UnknownFields,
    ),
    spoilt(
        "3007",
        "paid, signature missing",
        PAID_BY_QUERY,
        Fault::MissingSignature,
    ),
    spoilt(
        "3008",
        "paid, signed with MD5 instead",
        PAID_BY_QUERY,
        Fault::DowngradeSignType,
    ),
    spoilt(
        "3009",
        "paid, `result_code` stands twice",
        PAID_BY_QUERY,
        Fault::DuplicateElement,
    ),
    spoilt(
        "3010",
        "not paid, but an unsigned answer says SUCCESS",
        NEVER_CREATED,
        Fault::ForgedSuccess,
    ),
    spoilt(
        "3011",
        "paid, answer shows another currency",
        PAID_BY_QUERY,
        Fault::WrongCurrency,
    ),
    spoilt(
        "3012",
        "paid, DOCTYPE in the answer",
        PAID_BY_QUERY,
        Fault::Doctype,
    ),
    spoilt(
        "3013",
        "not paid, success stands in a comment only",
        NEVER_CREATED,
        Fault::CommentSuccess,
    ),
    spoilt(
        "3014",
        "paid, answer declared as GB2312",
        Shows::Paid,
        Fault::Gb2312,
    ),
    spoilt(
        "3015",
        "paid, answer larger than 256 KiB",
        PAID_BY_QUERY,
        Fault::Oversized,
    ),
    spoilt(
        "3016",
        "not paid, success stands in a CDATA section only",
        NEVER_CREATED,
        Fault::CdataSuccess,
    ),
    spoilt(
        "3017",
        "paid, a forged `<response>` precedes the signed one",
        PAID_BY_QUERY,
        Fault::SecondResponse,
    ),
    spoilt(
        "3018",
        "paid, bytes are not of the declared charset",
        PAID_BY_QUERY,
        Fault::WrongCharset,
    ),
    spoilt(
        "3019",
        "paid, answer echoes another partner",
        PAID_BY_QUERY,
        Fault::WrongPartner,
    ),
];

/// The scenario of a code's last four digits.
fn find(ending: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.ending == ending)
}

/// Writes both tables, of payments and of refunds, in Markdown.
pub(crate) fn print(out: &mut impl Write) -> fmt::Result {
    writeln!(
        out,
        "| code ends in | what happens | what the gateway shows |"
    )?;
    writeln!(out, "|---|---|---|")?;
    for scenario in SCENARIOS {
        let (ending, what) = (scenario.ending, scenario.happens());
        let shown = scenario.shows.text(scenario.script.wallet);
        writeln!(out, "| {ending} | {what} | {shown} |")?;
    }
    let shown = Shows::Paid.text(Script::PLAIN.wallet);
    writeln!(out, "| any other | paid at once (ALIPAYHK) | {shown} |")?;
    writeln!(out)?;
    refund_scenario::print(out)
}

impl Scenario {
    fn happens(&self) -> String {
        match &self.script.fault {
            Some(Fault::AccessError { code }) => {
                let also = if self.script.shuts_out {
                    " of this and of whatever is asked about the payment"
                } else {
                    ""
                };
                let what = self.what;
                format!("{what}{also}, `is_success=F`, `{code}`; nothing created")
            }
            _ => self.what.to_owned(),
        }
    }
}

impl Shows {
    fn text(self, wallet: &str) -> String {
        match self {
            Self::Paid => format!("`201 succeeded`, wallet `{wallet}`"),
            Self::Failed(code, advice) => format!("`201 failed`, `{code}`, retry `{advice}`"),
            Self::Open(reason, End::Succeeded) => {
                format!("`202 processing` / `{reason}`, then `succeeded`")
            }
            Self::Open(reason, End::Canceled(why)) => {
                format!("`202 processing` / `{reason}`, then `canceled` / `{why}`")
            }
            Self::Open(reason, End::CallOperator) => {
                format!("`202 processing` / `{reason}`, then `next_action` `call_operator`")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::refund_scenario::REFUND_SCENARIOS;

    #[test]
    fn endings_are_unique_and_have_four_digits() {
        let payments = SCENARIOS.iter().map(|scenario| scenario.ending);
        let refunds = REFUND_SCENARIOS.iter().map(|scenario| scenario.ending);
        let endings: HashSet<_> = payments.chain(refunds).collect();
        assert_eq!(endings.len(), SCENARIOS.len() + REFUND_SCENARIOS.len());
        assert!(
            endings
                .iter()
                .all(|e| e.len() == 4 && e.bytes().all(|b| b.is_ascii_digit()))
        );
    }

    #[test]
    fn the_tables_print_one_line_per_scenario() {
        let text = crate::scenarios();
        let (payments, refunds) = text.split_once("\n\n").unwrap();
        assert_eq!(payments.lines().count(), SCENARIOS.len() + 3);
        assert!(refunds.lines().count() > REFUND_SCENARIOS.len() + 3);
        assert!(refunds.contains("| 4004 | sync | refused: the merchant's balance is too low | `failed`, `MERCHANT_BALANCE_NOT_ENOUGH` |"));
        assert!(text.contains("| 1014 | declined: the code is expired | `201 failed`, `SOUNDWAVE_PARSER_FAIL`, retry `new_barcode` |"));
    }
}
