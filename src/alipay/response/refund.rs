//! What answers about a refund mean (`protocol/operations.md` 2.2, 2.5; `protocol/wire.md` 3.5).

use super::{Fields, Readable, Reading, fields::ResultCode, pay_query_cancel::system_error};
use crate::{
    alipay::{
        error::Fault,
        outcome::{RefundOutcome, RefundQueryOutcome},
        request::{RefundMode, RefundQueryRequest, RefundRequest, Service},
        result_code::{self, Meaning},
    },
    domain::{
        attempt::AnswerClass,
        payment::{Failure, RetryAdvice},
    },
};

/// What a fault of the request or the set-up means for a refund; the table's sentences are for a till
/// that takes a payment.
const NOT_SET_UP: &str = "Alipay did not take the refund as it was sent, and nothing was refunded; tell your support team.";

impl Readable for RefundRequest {
    type Outcome = RefundOutcome;
    const UNKNOWN: RefundOutcome = RefundOutcome::Unknown;
    const SERVICE: Service = Service::Refund;

    fn read(&self, fields: &Fields) -> Result<Reading<RefundOutcome>, Fault> {
        fields.agree_on_trade(&self.partner_trans_id, self.alipay_trans_id.as_deref())?;
        fields.agree("partner_refund_id", self.partner_refund_id.as_str())?;
        fields.agree("out_return_no", self.partner_refund_id.as_str())?;
        fields.agree_on_money("refund_amount", self.amount)?;
        if fields.says_system_error() {
            return Ok(system_error(RefundOutcome::Unknown, fields));
        }
        let code = fields.error_code();
        match fields.result_code()? {
            ResultCode::Success if code.is_none() => self.read_success(fields),
            ResultCode::Fail => Ok(read_refund_failure(code)),
            ResultCode::Unknown => Ok(Reading::new(
                RefundOutcome::Unknown,
                AnswerClass::Pending,
                code,
            )),
            ResultCode::Success | ResultCode::Other => Ok(Reading::new(
                RefundOutcome::Unknown,
                AnswerClass::UnknownCode,
                code.or_else(|| fields.get("result_code")),
            )),
        }
    }

    fn read_refusal(&self, code: &str) -> RefundOutcome {
        RefundOutcome::Refused(failure(code, NOT_SET_UP))
    }
}

impl RefundRequest {
    /// The same answer means "done" of a synchronous refund and "recorded" of an asynchronous one.
    fn read_success(&self, fields: &Fields) -> Result<Reading<RefundOutcome>, Fault> {
        fields.require(&["partner_refund_id", "refund_amount", "currency"])?;
        let alipay_trans_id = fields.alipay_trans_id();
        let (outcome, class) = match self.mode {
            RefundMode::Synchronous => (
                RefundOutcome::Succeeded { alipay_trans_id },
                AnswerClass::Success,
            ),
            RefundMode::Asynchronous { .. } => (
                RefundOutcome::Accepted { alipay_trans_id },
                AnswerClass::Pending,
            ),
        };
        Ok(Reading::new(outcome, class, None))
    }
}

fn read_refund_failure(code: Option<&str>) -> Reading<RefundOutcome> {
    let unknown = || Reading::new(RefundOutcome::Unknown, AnswerClass::UnknownCode, code);
    let Some(text) = code else { return unknown() };
    let code_of = || text.to_owned();
    let (outcome, class) = match result_code::meaning(Service::Refund, text) {
        Some(Meaning::Definite { message, .. }) => (
            RefundOutcome::Refused(failure(text, message)),
            AnswerClass::Declined,
        ),
        Some(Meaning::NotExecuted { .. }) => (
            RefundOutcome::Refused(failure(text, NOT_SET_UP)),
            AnswerClass::Declined,
        ),
        Some(Meaning::Later) => (
            RefundOutcome::BalanceTooLow { code: code_of() },
            AnswerClass::Declined,
        ),
        // The payment's state may be what an earlier request of ours made it.
        Some(Meaning::InProgress) => (
            RefundOutcome::CheckPayment { code: code_of() },
            AnswerClass::Pending,
        ),
        Some(Meaning::NotFound | Meaning::Unknown) | None => return unknown(),
    };
    Reading::new(outcome, class, code)
}

/// Nothing may be scanned again for a refund, so its advice is always "no".
fn failure(code: &str, message: &str) -> Failure {
    Failure {
        code: code.to_owned(),
        message: message.to_owned(),
        retry: RetryAdvice::No,
    }
}

impl Readable for RefundQueryRequest {
    type Outcome = RefundQueryOutcome;
    const UNKNOWN: RefundQueryOutcome = RefundQueryOutcome::Unknown;
    const SERVICE: Service = Service::RefundQuery;

    /// This service says `response_code`, not `result_code`.
    fn read(&self, fields: &Fields) -> Result<Reading<RefundQueryOutcome>, Fault> {
        fields.agree_on_trade(&self.partner_trans_id, None)?;
        fields.agree("out_return_no", self.partner_refund_id.as_str())?;
        fields.agree("partner_refund_id", self.partner_refund_id.as_str())?;
        let response_code = fields
            .get("response_code")
            .ok_or_else(|| Fault::malformed("there is no response_code"))?;
        let (outcome, class) = match response_code {
            "SUCCESS" => return read_result(fields),
            _ if fields.says_system_error() => {
                return Ok(system_error(RefundQueryOutcome::Unknown, fields));
            }
            code => match result_code::meaning(Service::RefundQuery, code) {
                Some(Meaning::NotFound) if code == "TRADE_NOT_EXIST" => {
                    (RefundQueryOutcome::PaymentNotFound, AnswerClass::NotFound)
                }
                Some(Meaning::NotFound) => (RefundQueryOutcome::NotFound, AnswerClass::NotFound),
                Some(_) => (RefundQueryOutcome::Unknown, AnswerClass::Declined),
                None => (RefundQueryOutcome::Unknown, AnswerClass::UnknownCode),
            },
        };
        Ok(Reading::new(outcome, class, Some(response_code)))
    }

    fn read_refusal(&self, _code: &str) -> RefundQueryOutcome {
        RefundQueryOutcome::Unknown
    }
}

fn read_result(fields: &Fields) -> Result<Reading<RefundQueryOutcome>, Fault> {
    fields.require(&["out_return_no", "out_trade_no"])?;
    let code = fields.get("refund_error_code");
    let accepted_at = fields.time("gmt_create");
    let (outcome, class) = match fields.get("refund_result_code") {
        Some("SUCCESS") => (
            RefundQueryOutcome::Succeeded {
                alipay_trans_id: fields.alipay_trans_id(),
                accepted_at,
            },
            AnswerClass::Success,
        ),
        Some("PROCESSING") => (
            RefundQueryOutcome::Processing {
                code: code.map(str::to_owned),
                accepted_at,
            },
            AnswerClass::Pending,
        ),
        _ if fields.says_system_error() => {
            return Ok(system_error(RefundQueryOutcome::Unknown, fields));
        }
        Some("FAILED" | "FAIL") => (
            RefundQueryOutcome::Failed {
                code: code.map(str::to_owned),
            },
            AnswerClass::Declined,
        ),
        Some("CANCELED") => (RefundQueryOutcome::Canceled, AnswerClass::Closed),
        status => {
            return Ok(Reading::new(
                RefundQueryOutcome::Unknown,
                AnswerClass::UnknownCode,
                status,
            ));
        }
    };
    Ok(Reading::new(outcome, class, code))
}
