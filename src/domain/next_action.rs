//! What a till should do now: the same advice for the same state, so that every till shows the same
//! thing (`design/api.md` 2).

use super::payment::{CancelReason, Payment, PaymentState, ProcessingReason, RetryAdvice};

/// What the person at the till should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextActionKind {
    /// Nothing: the gateway finds out by itself.
    Wait,
    /// Ask the buyer to confirm in the wallet.
    AskBuyerToConfirm,
    /// Ask the buyer to show the code again, and start a new payment.
    ShowCodeAgain,
    /// Ask for another means of payment.
    OtherMethod,
    /// Call whoever operates the gateway; the till cannot solve it.
    CallOperator,
    /// Nothing more to do.
    Done,
}

impl NextActionKind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Self; 6] = [
        Self::Wait,
        Self::AskBuyerToConfirm,
        Self::ShowCodeAgain,
        Self::OtherMethod,
        Self::CallOperator,
        Self::Done,
    ];

    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::AskBuyerToConfirm => "ask_buyer_to_confirm",
            Self::ShowCodeAgain => "show_code_again",
            Self::OtherMethod => "other_method",
            Self::CallOperator => "call_operator",
            Self::Done => "done",
        }
    }
}

/// The advice, and when to ask the gateway again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextAction {
    /// What to do.
    pub kind: NextActionKind,
    /// After how many milliseconds to read the payment again; `None` once it is final.
    pub poll_after_ms: Option<u32>,
}

impl NextAction {
    /// The advice for a state.
    pub const fn of(state: &PaymentState) -> Self {
        use NextActionKind as K;
        let (kind, poll_after_ms) = match state {
            PaymentState::Processing(ProcessingReason::Submitting) => (K::Wait, Some(1_000)),
            PaymentState::Processing(ProcessingReason::AwaitingBuyer) => {
                (K::AskBuyerToConfirm, Some(2_000))
            }
            PaymentState::Processing(
                ProcessingReason::OutcomeUnknown | ProcessingReason::Canceling,
            ) => (K::Wait, Some(2_000)),
            // The truth may still arrive, but no sooner than an operator does.
            PaymentState::Unresolved => (K::CallOperator, Some(30_000)),
            PaymentState::Succeeded => (K::Done, None),
            PaymentState::Failed(failure) => (after_refusal(failure.retry), None),
            PaymentState::Canceled { reason, .. } => match reason {
                CancelReason::Requested => (K::Done, None),
                CancelReason::BuyerDidNotConfirm | CancelReason::NeverCreated => {
                    (K::ShowCodeAgain, None)
                }
            },
        };
        Self {
            kind,
            poll_after_ms,
        }
    }

    /// `poll_after_ms` as the whole seconds of a `Retry-After` header, rounded up.
    pub const fn retry_after_seconds(self) -> Option<u32> {
        match self.poll_after_ms {
            Some(ms) => Some(ms.div_ceil(1_000)),
            None => None,
        }
    }
}

const fn after_refusal(retry: RetryAdvice) -> NextActionKind {
    match retry {
        RetryAdvice::SameBarcode | RetryAdvice::NewBarcode => NextActionKind::ShowCodeAgain,
        RetryAdvice::OtherMethod => NextActionKind::OtherMethod,
        // The fault is in the request or in the configuration: the till can change neither.
        RetryAdvice::No => NextActionKind::CallOperator,
    }
}

impl Payment {
    /// What the till should do now.
    pub const fn next_action(&self) -> NextAction {
        NextAction::of(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::payment::Failure;

    fn failed(retry: RetryAdvice) -> PaymentState {
        PaymentState::Failed(Failure {
            code: "BUYER_BALANCE_NOT_ENOUGH".to_owned(),
            message: "ask for another card".to_owned(),
            retry,
        })
    }

    fn canceled(reason: CancelReason) -> PaymentState {
        PaymentState::Canceled {
            reason,
            money_returned: false,
        }
    }

    #[test]
    fn every_state_has_its_advice() {
        use PaymentState::Processing;
        for (state, kind, poll_after_ms) in [
            (
                Processing(ProcessingReason::Submitting),
                "wait",
                Some(1_000),
            ),
            (
                Processing(ProcessingReason::AwaitingBuyer),
                "ask_buyer_to_confirm",
                Some(2_000),
            ),
            (
                Processing(ProcessingReason::OutcomeUnknown),
                "wait",
                Some(2_000),
            ),
            (Processing(ProcessingReason::Canceling), "wait", Some(2_000)),
            (PaymentState::Unresolved, "call_operator", Some(30_000)),
            (PaymentState::Succeeded, "done", None),
            (failed(RetryAdvice::SameBarcode), "show_code_again", None),
            (failed(RetryAdvice::NewBarcode), "show_code_again", None),
            (failed(RetryAdvice::OtherMethod), "other_method", None),
            (failed(RetryAdvice::No), "call_operator", None),
            (canceled(CancelReason::Requested), "done", None),
            (
                canceled(CancelReason::BuyerDidNotConfirm),
                "show_code_again",
                None,
            ),
            (
                canceled(CancelReason::NeverCreated),
                "show_code_again",
                None,
            ),
        ] {
            let action = NextAction::of(&state);
            assert_eq!(action.kind.as_str(), kind, "{state:?}");
            assert_eq!(action.poll_after_ms, poll_after_ms, "{state:?}");
            assert_eq!(
                action.poll_after_ms.is_none(),
                state.is_final(),
                "{state:?}"
            );
        }
    }

    #[test]
    fn retry_after_is_rounded_up_to_whole_seconds() {
        let action = |ms| NextAction {
            kind: NextActionKind::Wait,
            poll_after_ms: ms,
        };
        assert_eq!(action(Some(1)).retry_after_seconds(), Some(1));
        assert_eq!(action(Some(2_000)).retry_after_seconds(), Some(2));
        assert_eq!(action(None).retry_after_seconds(), None);
    }
}
