//! What answers about a store's registration mean (`protocol/operations.md` 6).

use super::{Fields, Readable, Reading, fields::ResultCode, pay_query_cancel::system_error};
use crate::{
    alipay::{
        error::Fault,
        outcome::{MaintainStoreOutcome, StoreStatusOutcome},
        request::{MaintainStoreRequest, Service, StoreStatusRequest},
        result_code::{self, Meaning},
    },
    domain::attempt::AnswerClass,
};

impl Readable for MaintainStoreRequest {
    type Outcome = MaintainStoreOutcome;
    const UNKNOWN: MaintainStoreOutcome = MaintainStoreOutcome::Unknown;
    const SERVICE: Service = Service::MaintainStore;

    fn read(&self, fields: &Fields) -> Result<Reading<MaintainStoreOutcome>, Fault> {
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
        let meaning = code.and_then(|code| result_code::meaning(Service::MaintainStore, code));
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

    fn read_refusal(&self, code: &str) -> MaintainStoreOutcome {
        MaintainStoreOutcome::Refused {
            code: code.to_owned(),
        }
    }
}

impl Readable for StoreStatusRequest {
    type Outcome = StoreStatusOutcome;
    const UNKNOWN: StoreStatusOutcome = StoreStatusOutcome::Unknown;
    const SERVICE: Service = Service::StoreStatus;

    fn read(&self, fields: &Fields) -> Result<Reading<StoreStatusOutcome>, Fault> {
        fields.agree("secondary_merchant_id", &self.secondary_merchant_id)?;
        fields.agree("store_id", &self.store_id)?;
        if fields.says_system_error() {
            return Ok(system_error(StoreStatusOutcome::Unknown, fields));
        }
        let Some(status) = fields
            .get("status")
            .filter(|_| fields.error_code().is_none())
        else {
            return Ok(read_status_failure(fields));
        };
        if status != "DATA_NOT_EXIST" {
            fields.require(&["secondary_merchant_id", "store_id"])?;
        }
        let (outcome, class) = match status {
            "SUCCESS" => (
                StoreStatusOutcome::Approved {
                    store_status: fields.owned("store_status"),
                },
                AnswerClass::Success,
            ),
            "UNDER_REVIEW" => (StoreStatusOutcome::UnderReview, AnswerClass::Pending),
            "MODIFICATION_REVIEW" => (
                StoreStatusOutcome::ModificationUnderReview,
                AnswerClass::Pending,
            ),
            "FAILED" => (
                StoreStatusOutcome::Rejected {
                    reason: fields.owned("reject_reason"),
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

    fn read_refusal(&self, code: &str) -> StoreStatusOutcome {
        StoreStatusOutcome::Refused {
            code: code.to_owned(),
        }
    }
}

fn read_status_failure(fields: &Fields) -> Reading<StoreStatusOutcome> {
    let code = fields.error_code().or_else(|| fields.get("result_code"));
    let meaning = code.and_then(|code| result_code::meaning(Service::StoreStatus, code));
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
