//! What answers about a store's registration mean (`docs/protocol.md` 10).
//!
//! Alipay gives the business refusals of these two services at the door (`is_success=F`), where it does
//! not sign. They are believed: no money moves by them, none of them approves anything, and the next
//! signed answer puts right what they said wrongly. Approval is believed only signed.

use super::{Fields, Readable, Reading, fields::ResultCode, pay_query_cancel::system_error};
use crate::{
    alipay::{
        error::Fault,
        outcome::{MaintainStoreOutcome, StoreStatusOutcome},
        request::{IN_STORE, MaintainStoreRequest, StoreStatusRequest},
        result_code::{self, Codes},
    },
    domain::{
        accounts::codes::Meaning,
        attempt::{AnswerClass, AttemptKind},
        registrations::RegisteredData,
        text::is_deceptive,
    },
};

/// What only the answers of other services name; their signatures would be just as good.
const OF_OTHER_SERVICES: [&str; 6] = [
    "partner_trans_id",
    "out_trade_no",
    "partner_refund_id",
    "out_return_no",
    "trade_no",
    "alipay_trans_id",
];

/// Longest reason that is kept, in characters.
const MAX_REASON: usize = 256;

impl Readable for MaintainStoreRequest {
    type Outcome = MaintainStoreOutcome;
    const UNKNOWN: MaintainStoreOutcome = MaintainStoreOutcome::Unknown;
    const SERVICE: AttemptKind = AttemptKind::MaintainStore;

    fn read(&self, fields: &Fields, codes: &Codes) -> Result<Reading<MaintainStoreOutcome>, Fault> {
        fields.forbid(&OF_OTHER_SERVICES)?;
        // Those of a status.
        fields.forbid(&["status", "store_status"])?;
        fields.agree("secondary_merchant_id", &self.secondary_merchant_id)?;
        fields.agree("store_id", &self.store_id)?;
        if fields.says_system_error() {
            return Ok(system_error(MaintainStoreOutcome::Unknown, fields));
        }
        let code = fields.error_code();
        if code.is_none() && fields.result_code()? == ResultCode::Success {
            return Ok(Reading::new(
                MaintainStoreOutcome::Accepted,
                AnswerClass::Pending,
                None,
            ));
        }
        // The code stands in `error` or in `result_code` itself; the page is cut.
        let code = code.or_else(|| fields.get("result_code"));
        let meaning = code.and_then(|code| codes.meaning(AttemptKind::MaintainStore, code));
        let (outcome, class) = match (meaning, code) {
            (Some(Meaning::InProgress), _) => {
                (MaintainStoreOutcome::ReviewUnderWay, AnswerClass::Pending)
            }
            (Some(Meaning::Definite { .. } | Meaning::NotExecuted { .. }), Some(code)) => (
                MaintainStoreOutcome::Refused {
                    code: code.to_owned(),
                },
                AnswerClass::Declined,
            ),
            _ => (MaintainStoreOutcome::Unknown, AnswerClass::UnknownCode),
        };
        Ok(Reading::new(outcome, class, code))
    }

    fn read_refusal(&self, code: &str, _codes: &Codes) -> MaintainStoreOutcome {
        MaintainStoreOutcome::Refused {
            code: code.to_owned(),
        }
    }

    fn read_business_refusal(
        &self,
        code: &str,
        codes: &Codes,
    ) -> Option<Reading<MaintainStoreOutcome>> {
        let (outcome, class) = match codes.meaning(AttemptKind::MaintainStore, code)? {
            Meaning::InProgress => (MaintainStoreOutcome::ReviewUnderWay, AnswerClass::Pending),
            Meaning::Definite { .. } => (
                MaintainStoreOutcome::Refused {
                    code: code.to_owned(),
                },
                AnswerClass::Declined,
            ),
            // A fault of the set-up, or nothing that is known of this service.
            Meaning::NotExecuted { .. } | Meaning::NotFound | Meaning::Later | Meaning::Unknown => {
                return None;
            }
        };
        Some(Reading::new(outcome, class, Some(code)))
    }
}

impl Readable for StoreStatusRequest {
    type Outcome = StoreStatusOutcome;
    const UNKNOWN: StoreStatusOutcome = StoreStatusOutcome::Unknown;
    const SERVICE: AttemptKind = AttemptKind::StoreStatus;

    fn read(&self, fields: &Fields, codes: &Codes) -> Result<Reading<StoreStatusOutcome>, Fault> {
        fields.forbid(&OF_OTHER_SERVICES)?;
        fields.agree("secondary_merchant_id", &self.secondary_merchant_id)?;
        fields.agree("store_id", &self.store_id)?;
        fields.agree("partner", &self.partner)?;
        fields.agree("payment_method", IN_STORE)?;
        if fields.says_system_error() {
            return Ok(system_error(StoreStatusOutcome::Unknown, fields));
        }
        let Some(status) = fields
            .get("status")
            .filter(|_| fields.error_code().is_none())
        else {
            return Ok(read_status_failure(fields, codes));
        };
        if status != "DATA_NOT_EXIST" {
            fields.require(&["secondary_merchant_id", "store_id"])?;
        }
        let echo = Box::new(echo(fields));
        let (outcome, class) = match status {
            "SUCCESS" => (
                StoreStatusOutcome::Approved {
                    echo,
                    store_status: fields
                        .get("store_status")
                        .and_then(result_code::presentable),
                },
                AnswerClass::Success,
            ),
            "UNDER_REVIEW" => (
                StoreStatusOutcome::UnderReview { echo },
                AnswerClass::Pending,
            ),
            "MODIFICATION_REVIEW" => (
                StoreStatusOutcome::ModificationUnderReview { echo },
                AnswerClass::Pending,
            ),
            "FAILED" => (
                StoreStatusOutcome::Rejected {
                    reason: fields.get("reject_reason").map(reason),
                    echo,
                },
                AnswerClass::Declined,
            ),
            "DATA_NOT_EXIST" => (StoreStatusOutcome::NotRegistered, AnswerClass::NotFound),
            other => {
                return Ok(Reading::new(
                    StoreStatusOutcome::Unknown,
                    AnswerClass::UnknownCode,
                    Some(other),
                ));
            }
        };
        Ok(Reading::new(outcome, class, None))
    }

    fn read_refusal(&self, code: &str, _codes: &Codes) -> StoreStatusOutcome {
        StoreStatusOutcome::Refused {
            code: code.to_owned(),
        }
    }

    fn read_business_refusal(
        &self,
        code: &str,
        codes: &Codes,
    ) -> Option<Reading<StoreStatusOutcome>> {
        let (outcome, class) = match codes.meaning(AttemptKind::StoreStatus, code)? {
            Meaning::NotFound => (StoreStatusOutcome::NotRegistered, AnswerClass::NotFound),
            Meaning::Definite { .. } => (
                StoreStatusOutcome::Refused {
                    code: code.to_owned(),
                },
                AnswerClass::Declined,
            ),
            Meaning::NotExecuted { .. }
            | Meaning::InProgress
            | Meaning::Later
            | Meaning::Unknown => return None,
        };
        Some(Reading::new(outcome, class, Some(code)))
    }
}

fn read_status_failure(fields: &Fields, codes: &Codes) -> Reading<StoreStatusOutcome> {
    let code = fields.error_code().or_else(|| fields.get("result_code"));
    let meaning = code.and_then(|code| codes.meaning(AttemptKind::StoreStatus, code));
    let (outcome, class) = match (meaning, code) {
        (Some(Meaning::NotFound), _) => (StoreStatusOutcome::NotRegistered, AnswerClass::NotFound),
        (Some(Meaning::Definite { .. } | Meaning::NotExecuted { .. }), Some(code)) => (
            StoreStatusOutcome::Refused {
                code: code.to_owned(),
            },
            AnswerClass::Declined,
        ),
        _ => (StoreStatusOutcome::Unknown, AnswerClass::UnknownCode),
    };
    Reading::new(outcome, class, code)
}

/// What the answer repeats of the registered data, people left out.
fn echo(fields: &Fields) -> RegisteredData {
    let text = |name| fields.owned(name);
    RegisteredData {
        secondary_merchant_name: text("secondary_merchant_name"),
        secondary_merchant_type: text("secondary_merchant_type"),
        store_name: text("store_name"),
        store_country: text("store_country"),
        store_address: text("store_address"),
        store_industry: text("store_industry"),
        registration_no: text("registration_no"),
        register_country: text("register_country"),
        register_address: text("register_address"),
    }
}

/// Alipay's words, fit to be kept and shown.
fn reason(text: &str) -> String {
    let visible = text.chars().map(|c| if is_deceptive(c) { ' ' } else { c });
    visible.take(MAX_REASON).collect()
}
