//! From what Alipay meant to what happened to the refund. Silence, doubt and lies map to nothing that
//! could settle it.

use crate::{
    alipay::outcome::{RefundOutcome, RefundQueryOutcome},
    domain::{
        payments::payment::Failure,
        refunds::refund::{Refund, RefundEvent, RefundFailure, RefundMode, RefundState},
    },
};

/// What a short balance means for a refund that had to be done at once.
const USE_ASYNC: &str = "The merchant's balance at Alipay is too low. Nothing was refunded; ask again with \"mode\": \
     \"async\", which Alipay keeps trying, or later.";
/// What a short balance means for a refund that may wait.
const TRIED_AGAIN: &str = "The merchant's balance at Alipay is too low; it is tried again.";
/// What a refusal that speaks of the payment's state means once it is confirmed.
const CHECK_PAYMENT: &str = "Alipay does not take a refund of this payment as it stands: it may be closed or refunded in full \
     already. Refresh the payment, and ask your support team.";
/// What a refusal with a code that nobody knows means once it was repeated and confirmed.
const REFUSED_TWICE: &str = "Alipay refused the refund twice with a code that is not documented, and has no such refund. \
     Nothing was refunded; ask your support team.";
const GIVEN_UP: &str = "Alipay gave the refund up; nothing went back under it.";
const TAKEN_BACK: &str =
    "The refund failed at Alipay after it had succeeded; what went back was taken back.";
const CANCELED: &str = "The refund was canceled at Alipay; nothing went back under it.";

/// What the answer to the request itself says; `None` where it says nothing that may be believed and
/// nothing that was not known.
pub(super) fn refund_event(outcome: RefundOutcome, refund: &Refund) -> RefundEvent {
    match outcome {
        RefundOutcome::Succeeded { .. } => RefundEvent::Succeeded { accepted_at: None },
        RefundOutcome::Accepted { .. } => RefundEvent::Accepted,
        RefundOutcome::Refused(Failure { code, message, .. }) => {
            RefundEvent::Refused(RefundFailure { code, message })
        }
        RefundOutcome::BalanceTooLow { code } => {
            let message = match refund.mode {
                RefundMode::Sync => USE_ASYNC,
                RefundMode::Async => TRIED_AGAIN,
            };
            RefundEvent::FundsShort(failure(&code, message))
        }
        RefundOutcome::CheckPayment { code } => RefundEvent::Doubted(failure(&code, CHECK_PAYMENT)),
        RefundOutcome::UnknownCode { code } => {
            RefundEvent::UnknownCode(failure(&code, REFUSED_TWICE))
        }
        RefundOutcome::Unknown => RefundEvent::OutcomeBecameUnknown,
    }
}

/// What the answer to a query says, and whether it says that there is no such refund; `None` where
/// it tells nothing.
pub(super) fn query_event(
    outcome: RefundQueryOutcome,
    refund: &Refund,
) -> (Option<RefundEvent>, Option<bool>) {
    let event = match outcome {
        RefundQueryOutcome::Succeeded { accepted_at, .. } => RefundEvent::Succeeded { accepted_at },
        RefundQueryOutcome::Processing { code, accepted_at } => {
            RefundEvent::Waiting { code, accepted_at }
        }
        RefundQueryOutcome::Failed { code } => {
            ended(refund, code.as_deref().unwrap_or("FAILED"), GIVEN_UP)
        }
        RefundQueryOutcome::Canceled => ended(refund, "CANCELED", CANCELED),
        // The answer to the request itself says what "no such payment" means.
        RefundQueryOutcome::NotFound | RefundQueryOutcome::PaymentNotFound => {
            return (Some(RefundEvent::NotFound), Some(true));
        }
        // Whether it is the only one is for whoever can count them.
        RefundQueryOutcome::OfTheOnlyRefund(_) | RefundQueryOutcome::Unknown => {
            return (None, None);
        }
    };
    (Some(event), Some(false))
}

/// A refund that will not be done, or that had been done and was taken back.
fn ended(refund: &Refund, code: &str, message: &str) -> RefundEvent {
    if refund.state == RefundState::Succeeded {
        RefundEvent::ReversedByAlipay(failure(code, TAKEN_BACK))
    } else {
        RefundEvent::FailedAtAlipay(failure(code, message))
    }
}

fn failure(code: &str, message: &str) -> RefundFailure {
    RefundFailure {
        code: code.to_owned(),
        message: message.to_owned(),
    }
}

#[cfg(test)]
#[path = "outcome_tests.rs"]
mod tests;
