//! What answers about a refund mean (`docs/protocol.md` 6.2, 6.5, 4.6).

use super::{Fields, Readable, Reading, fields::ResultCode, pay_query_cancel::system_error};
use crate::{
    alipay::{
        error::Fault,
        outcome::{RefundOutcome, RefundQueryOutcome},
        request::{RefundMode, RefundQueryRequest, RefundRequest},
        result_code::{self, Codes},
    },
    domain::{
        accounts::codes::Meaning,
        attempt::{AnswerClass, AttemptKind},
        payments::payment::{Failure, RetryAdvice},
    },
};

/// What is added to a fault of the request or the set-up, whose sentence is about payments too.
const NOTHING_REFUNDED: &str = "Nothing was refunded; tell your support team.";

impl Readable for RefundRequest {
    type Outcome = RefundOutcome;
    const UNKNOWN: RefundOutcome = RefundOutcome::Unknown;
    const SERVICE: AttemptKind = AttemptKind::Refund;

    fn read(&self, fields: &Fields, codes: &Codes) -> Result<Reading<RefundOutcome>, Fault> {
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
            ResultCode::Fail => Ok(read_refund_failure(code, codes)),
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

    fn read_refusal(&self, code: &str, codes: &Codes) -> RefundOutcome {
        match codes.meaning(AttemptKind::Refund, code) {
            Some(Meaning::NotExecuted { reason }) => not_executed(code, &reason),
            _ => RefundOutcome::Unknown,
        }
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

fn read_refund_failure(code: Option<&str>, codes: &Codes) -> Reading<RefundOutcome> {
    let unknown = |outcome| Reading::new(outcome, AnswerClass::UnknownCode, code);
    let Some(text) = code else {
        return unknown(RefundOutcome::Unknown);
    };
    let code_of = || text.to_owned();
    let (outcome, class) = match codes.meaning(AttemptKind::Refund, text) {
        Some(Meaning::Definite { reason, .. }) => (
            RefundOutcome::Refused(failure(text, &reason)),
            AnswerClass::Declined,
        ),
        Some(Meaning::NotExecuted { reason }) => {
            (not_executed(text, &reason), AnswerClass::Declined)
        }
        Some(Meaning::Later) => (
            RefundOutcome::BalanceTooLow { code: code_of() },
            AnswerClass::Declined,
        ),
        // The payment's state may be what an earlier request of ours made it.
        Some(Meaning::InProgress) => (
            RefundOutcome::CheckPayment { code: code_of() },
            AnswerClass::Pending,
        ),
        Some(Meaning::NotFound | Meaning::Unknown) => return unknown(RefundOutcome::Unknown),
        None => {
            return unknown(match result_code::presentable(text) {
                Some(code) => RefundOutcome::UnknownCode { code },
                None => RefundOutcome::Unknown,
            });
        }
    };
    Reading::new(outcome, class, code)
}

fn not_executed(code: &str, reason: &str) -> RefundOutcome {
    RefundOutcome::Refused(failure(code, &format!("{reason} {NOTHING_REFUNDED}")))
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
    const SERVICE: AttemptKind = AttemptKind::RefundQuery;

    /// This service says `response_code`, not `result_code`.
    fn read(&self, fields: &Fields, codes: &Codes) -> Result<Reading<RefundQueryOutcome>, Fault> {
        fields.agree_on_trade(&self.partner_trans_id, self.alipay_trans_id.as_deref())?;
        fields.agree("out_return_no", self.partner_refund_id.as_str())?;
        fields.agree("partner_refund_id", self.partner_refund_id.as_str())?;
        let response_code = fields
            .get("response_code")
            .ok_or_else(|| Fault::malformed("there is no response_code"))?;
        let (outcome, class) = match response_code {
            "SUCCESS" => return self.read_result(fields),
            _ if fields.says_system_error() => {
                return Ok(system_error(RefundQueryOutcome::Unknown, fields));
            }
            code => match codes.meaning(AttemptKind::RefundQuery, code) {
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

    fn read_refusal(&self, _code: &str, _codes: &Codes) -> RefundQueryOutcome {
        RefundQueryOutcome::Unknown
    }
}

impl RefundQueryRequest {
    fn read_result(&self, fields: &Fields) -> Result<Reading<RefundQueryOutcome>, Fault> {
        let names_refund = self.names_refund(fields)?;
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
        let outcome = if names_refund {
            outcome
        } else {
            RefundQueryOutcome::OfTheOnlyRefund(Box::new(outcome))
        };
        Ok(Reading::new(outcome, class, code))
    }

    /// Whether the answer names the refund itself. Both its ids are optional (`docs/protocol.md` 4.6); one that
    /// names neither the refund nor, by an id that is known, the payment is about nothing.
    fn names_refund(&self, fields: &Fields) -> Result<bool, Fault> {
        let has = |name| fields.get(name).is_some();
        let by_refund = has("out_return_no") || has("partner_refund_id");
        let by_ours = has("out_trade_no") || has("partner_trans_id");
        let by_alipays =
            self.alipay_trans_id.is_some() && (has("trade_no") || has("alipay_trans_id"));
        if by_refund && by_ours {
            return Ok(true);
        }
        if !(by_refund || by_ours || by_alipays) {
            return Err(Fault::mismatch("the answer names no out_return_no"));
        }
        let names = if by_refund { "refund" } else { "payment" };
        metrics::counter!("alipay_refund_answers_incomplete_total", "names" => names).increment(1);
        tracing::info!(names, "the answer to a refund query leaves ids out");
        Ok(by_refund)
    }
}
