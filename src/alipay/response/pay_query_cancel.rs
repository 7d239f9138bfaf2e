//! What answers about a trade mean (`docs/protocol.md` 5.3, 5.5, 7.1).

use super::{Fields, Readable, Reading, fields::ResultCode};
use crate::{
    alipay::{
        error::Fault,
        outcome::{CancelAction, CancelOutcome, PayOutcome, QueryOutcome},
        request::{CancelRequest, PayRequest, QueryRequest},
        result_code::Codes,
    },
    domain::{
        accounts::codes::Meaning,
        attempt::{AnswerClass, AttemptKind},
        payments::payment::Failure,
    },
};

impl Readable for PayRequest {
    type Outcome = PayOutcome;
    const UNKNOWN: PayOutcome = PayOutcome::Unknown;
    const NOT_SENT: PayOutcome = PayOutcome::NotSent;
    const SERVICE: AttemptKind = AttemptKind::Pay;

    fn read(&self, fields: &Fields, codes: &Codes) -> Result<Reading<PayOutcome>, Fault> {
        fields.agree_on_trade(&self.partner_trans_id, None)?;
        fields.agree_on_money("trans_amount", self.amount)?;
        if fields.says_system_error() {
            return Ok(system_error(PayOutcome::Unknown, fields));
        }
        let code = fields.error_code();
        match fields.result_code()? {
            // A success that names an error contradicts itself.
            ResultCode::Success if code.is_none() => read_paid(fields),
            ResultCode::Unknown => Ok(Reading::new(
                PayOutcome::BuyerMustConfirm {
                    alipay_trans_id: fields.alipay_trans_id(),
                    wallet: fields.wallet(),
                },
                AnswerClass::Pending,
                code,
            )),
            ResultCode::Fail => Ok(read_declined(code, codes)),
            ResultCode::Success | ResultCode::Other => Ok(Reading::new(
                PayOutcome::Unknown,
                AnswerClass::UnknownCode,
                code.or_else(|| fields.get("result_code")),
            )),
        }
    }

    fn read_refusal(&self, code: &str, codes: &Codes) -> PayOutcome {
        let meaning = codes.meaning(AttemptKind::Pay, code);
        match meaning.as_ref().and_then(Meaning::refusal) {
            Some((retry, reason)) => PayOutcome::Declined(Failure::new(code, reason, retry)),
            None => PayOutcome::Unknown,
        }
    }
}

fn read_paid(fields: &Fields) -> Result<Reading<PayOutcome>, Fault> {
    fields.forbid(&["partner_refund_id", "refund_amount"])?;
    // A query's answer has all of these too, and there success is that of the question.
    let status = fields.get("alipay_trans_status");
    if !matches!(status, None | Some("TRADE_SUCCESS" | "TRADE_FINISHED")) {
        return Err(Fault::mismatch(
            "the answer is a query's about a trade that is not paid",
        ));
    }
    // An old sample of Alipay's names ids and success alone (`docs/protocol.md` 4).
    if fields
        .require(&["partner_trans_id", "trans_amount", "currency"])
        .is_err()
    {
        return Ok(Reading::new(
            PayOutcome::Unconfirmed,
            AnswerClass::Mismatch,
            None,
        ));
    }
    Ok(Reading::new(
        PayOutcome::Paid {
            charge: fields.charge(),
            alipay_trans_id: fields.alipay_trans_id(),
        },
        AnswerClass::Success,
        None,
    ))
}

/// A verified FAIL is a failure only if its code is known as one (`docs/protocol.md` 4.2).
fn read_declined(code: Option<&str>, codes: &Codes) -> Reading<PayOutcome> {
    let meaning = code.and_then(|code| codes.meaning(AttemptKind::Pay, code));
    match (code, meaning.as_ref().and_then(Meaning::refusal)) {
        (Some(text), Some((retry, reason))) => Reading::new(
            PayOutcome::Declined(Failure::new(text, reason, retry)),
            AnswerClass::Declined,
            code,
        ),
        // Unknown, absent, or known as "ask where the trade stands".
        (code, _) => Reading::new(PayOutcome::Unknown, AnswerClass::UnknownCode, code),
    }
}

impl Readable for QueryRequest {
    type Outcome = QueryOutcome;
    const UNKNOWN: QueryOutcome = QueryOutcome::Unknown;
    const SERVICE: AttemptKind = AttemptKind::Query;

    fn read(&self, fields: &Fields, codes: &Codes) -> Result<Reading<QueryOutcome>, Fault> {
        fields.agree_on_trade(&self.partner_trans_id, self.alipay_trans_id.as_deref())?;
        fields.agree_on_money("trans_amount", self.amount)?;
        if fields.says_system_error() {
            return Ok(system_error(QueryOutcome::Unknown, fields));
        }
        let code = fields.error_code();
        match fields.result_code()? {
            ResultCode::Success if code.is_none() => read_status(fields),
            ResultCode::Fail => Ok(read_query_failure(code, codes)),
            ResultCode::Success | ResultCode::Unknown | ResultCode::Other => Ok(Reading::new(
                QueryOutcome::Unknown,
                AnswerClass::UnknownCode,
                code.or_else(|| fields.get("result_code")),
            )),
        }
    }

    fn read_refusal(&self, _code: &str, _codes: &Codes) -> QueryOutcome {
        QueryOutcome::Unknown
    }
}

/// `result_code=SUCCESS` is that of the question; the trade is in `alipay_trans_status`.
fn read_status(fields: &Fields) -> Result<Reading<QueryOutcome>, Fault> {
    if fields.get("out_trade_no").is_none() {
        fields.require(&["partner_trans_id"])?;
    }
    let alipay_trans_id = fields.alipay_trans_id();
    let (outcome, class) = match fields.get("alipay_trans_status") {
        Some("TRADE_SUCCESS" | "TRADE_FINISHED") => {
            fields.require(&["trans_amount", "currency"])?;
            let charge = fields.charge();
            (
                QueryOutcome::Paid {
                    charge,
                    alipay_trans_id,
                },
                AnswerClass::Success,
            )
        }
        Some("WAIT_BUYER_PAY") => (
            QueryOutcome::BuyerMustConfirm {
                alipay_trans_id,
                wallet: fields.wallet(),
            },
            AnswerClass::Pending,
        ),
        Some("TRADE_CLOSED") => {
            // A closed trade keeps its pay time if it had been paid (`docs/protocol.md` 4.5).
            let had_been_paid = fields.get("alipay_pay_time").is_some();
            let charge = had_been_paid.then(|| fields.charge());
            (
                QueryOutcome::Closed {
                    alipay_trans_id,
                    charge,
                },
                AnswerClass::Closed,
            )
        }
        status => {
            return Ok(Reading::new(
                QueryOutcome::Unknown,
                AnswerClass::UnknownCode,
                status,
            ));
        }
    };
    Ok(Reading::new(outcome, class, None))
}

fn read_query_failure(code: Option<&str>, codes: &Codes) -> Reading<QueryOutcome> {
    match code.and_then(|code| codes.meaning(AttemptKind::Query, code)) {
        Some(Meaning::NotFound) => {
            Reading::new(QueryOutcome::NotFound, AnswerClass::NotFound, code)
        }
        Some(Meaning::Definite { .. } | Meaning::NotExecuted { .. }) => {
            Reading::new(QueryOutcome::Unknown, AnswerClass::Declined, code)
        }
        None | Some(Meaning::InProgress | Meaning::Later | Meaning::Unknown) => {
            Reading::new(QueryOutcome::Unknown, AnswerClass::UnknownCode, code)
        }
    }
}

impl Readable for CancelRequest {
    type Outcome = CancelOutcome;
    const UNKNOWN: CancelOutcome = CancelOutcome::Unknown;
    const SERVICE: AttemptKind = AttemptKind::Cancel;

    fn read(&self, fields: &Fields, codes: &Codes) -> Result<Reading<CancelOutcome>, Fault> {
        fields.agree_on_trade(&self.partner_trans_id, self.alipay_trans_id.as_deref())?;
        fields.forbid(&[
            "alipay_trans_status",
            "trans_amount",
            "partner_refund_id",
            "refund_amount",
            "refund_result_code",
        ])?;
        let code = fields.error_code();
        let may_retry = fields
            .get("retry_flag")
            .map(|flag| flag.eq_ignore_ascii_case("Y"));
        if fields.says_system_error() {
            let code = code.map(str::to_owned);
            return Ok(system_error(CancelOutcome::Retry { code }, fields));
        }
        match fields.result_code()? {
            ResultCode::Success if code.is_none() && may_retry != Some(true) => {
                fields.require(&["out_trade_no"])?;
                Ok(read_canceled(fields))
            }
            result @ (ResultCode::Fail | ResultCode::Unknown) => {
                Ok(read_not_canceled(result, code, may_retry, codes))
            }
            // A success that may be retried, or that names an error, contradicts itself.
            ResultCode::Success | ResultCode::Other => Ok(Reading::new(
                CancelOutcome::Unknown,
                AnswerClass::UnknownCode,
                code.or_else(|| fields.get("result_code")),
            )),
        }
    }

    fn read_refusal(&self, code: &str, _codes: &Codes) -> CancelOutcome {
        CancelOutcome::Refused {
            code: Some(code.to_owned()),
        }
    }
}

fn read_canceled(fields: &Fields) -> Reading<CancelOutcome> {
    let alipay_trans_id = fields.alipay_trans_id();
    let (action, class) = match fields.get("action") {
        None if alipay_trans_id.is_none() => (CancelAction::NothingExisted, AnswerClass::NotFound),
        Some(action) if action.eq_ignore_ascii_case("close") => {
            (CancelAction::Closed, AnswerClass::Success)
        }
        Some(action) if action.eq_ignore_ascii_case("refund") => {
            (CancelAction::Refunded, AnswerClass::Success)
        }
        None | Some(_) => (CancelAction::Unstated, AnswerClass::Success),
    };
    let outcome = CancelOutcome::Closed {
        action,
        alipay_trans_id,
    };
    Reading::new(outcome, class, None)
}

/// `retry_flag` decides what is asked next (`docs/protocol.md` 4.3), and whether the answer is a no that
/// can be relied on: Alipay may still do what it wants to be asked again.
fn read_not_canceled(
    result: ResultCode,
    code: Option<&str>,
    may_retry: Option<bool>,
    codes: &Codes,
) -> Reading<CancelOutcome> {
    let meaning = code.and_then(|code| codes.meaning(AttemptKind::Cancel, code));
    let meaning = meaning.as_ref();
    let owned = code.map(str::to_owned);
    let outcome = match may_retry.or_else(|| retries_without_a_flag(result, meaning)) {
        Some(may_retry) if (result, meaning) == (ResultCode::Fail, Some(&Meaning::Later)) => {
            CancelOutcome::BalanceTooLow { may_retry }
        }
        Some(true) => CancelOutcome::Retry { code: owned },
        Some(false) => CancelOutcome::Refused { code: owned },
        None => CancelOutcome::Unknown,
    };
    Reading::new(outcome, class_of_no(result, meaning, may_retry), code)
}

/// Only a FAIL whose code says why nothing was done is a no.
fn class_of_no(
    result: ResultCode,
    meaning: Option<&Meaning>,
    may_retry: Option<bool>,
) -> AnswerClass {
    match (result, meaning) {
        (ResultCode::Fail, None) => AnswerClass::UnknownCode,
        (
            ResultCode::Fail,
            Some(Meaning::Definite { .. } | Meaning::NotExecuted { .. } | Meaning::NotFound),
        ) if may_retry != Some(true) => AnswerClass::Declined,
        // Nothing was done because it could not be; a repeat may find that it can.
        (ResultCode::Fail, Some(Meaning::Later)) => AnswerClass::Declined,
        _ => AnswerClass::Pending,
    }
}

/// Where the flag is missing the code decides, and an undocumented one decides nothing.
fn retries_without_a_flag(result: ResultCode, meaning: Option<&Meaning>) -> Option<bool> {
    if result == ResultCode::Unknown {
        return Some(true);
    }
    match meaning? {
        Meaning::Definite { .. } | Meaning::NotExecuted { .. } | Meaning::NotFound => Some(false),
        Meaning::Later | Meaning::InProgress | Meaning::Unknown => Some(true),
    }
}

pub(super) fn system_error<T>(outcome: T, fields: &Fields) -> Reading<T> {
    let code = fields.error_code().unwrap_or("SYSTEM_ERROR");
    Reading::new(outcome, AnswerClass::SystemError, Some(code))
}
