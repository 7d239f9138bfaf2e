//! What is told of every state in every circumstance, and that no two parts of it contradict.

use chrono::TimeDelta;
use proptest::prelude::*;

use super::*;
use crate::domain::payments::payment::Failure;

fn failed(retry: RetryAdvice) -> PaymentState {
    PaymentState::Failed(Failure {
        code: "BUYER_BALANCE_NOT_ENOUGH".to_owned(),
        message: "ask for another card".to_owned(),
        retry,
    })
}

fn payment_states() -> Vec<PaymentState> {
    let mut states = vec![PaymentState::Unresolved, PaymentState::Succeeded];
    let reasons = ProcessingReason::ALL.iter().copied();
    states.extend(reasons.map(PaymentState::Processing));
    states.extend(RetryAdvice::ALL.iter().copied().map(failed));
    for reason in CancelReason::ALL {
        states.extend([false, true].map(|money_returned| PaymentState::Canceled {
            reason: *reason,
            money_returned,
        }));
    }
    states
}

fn refund_states() -> Vec<RefundState> {
    let mut states = vec![
        RefundState::Unresolved,
        RefundState::Succeeded,
        RefundState::Failed(crate::domain::refunds::refund::RefundFailure {
            code: "RETURN_AMOUNT_EXCEED".to_owned(),
            message: "too much".to_owned(),
        }),
    ];
    let reasons = PendingReason::ALL.iter().copied();
    states.extend(reasons.map(RefundState::Pending));
    states
}

fn assert_consistent(standing: Standing) {
    let is_final = standing.certainty() == OutcomeCertainty::Final;
    assert_eq!(standing.is_settled(), is_final, "{standing:?}");
    assert_eq!(standing.poll_after_ms().is_none(), is_final, "{standing:?}");
    assert_eq!(
        standing.retry_after_seconds().is_none(),
        is_final,
        "{standing:?}"
    );
    assert!(
        standing.retry_after_seconds().is_none_or(|s| s > 0),
        "{standing:?}"
    );
    let waits = matches!(
        standing.next_action(),
        NextActionKind::Wait | NextActionKind::AskBuyerToConfirm
    );
    assert!(!(is_final && waits), "{standing:?}");
    assert!(
        is_final || standing.next_action() != NextActionKind::Done,
        "{standing:?}"
    );
}

#[test]
fn every_state_has_its_advice() {
    use PaymentState::Processing;
    let canceled = |reason| PaymentState::Canceled {
        reason,
        money_returned: false,
    };
    for (state, certainty, next_action, poll_after_ms) in [
        (
            Processing(ProcessingReason::Submitting),
            "unknown",
            "wait",
            Some(1_000),
        ),
        (
            Processing(ProcessingReason::AwaitingBuyer),
            "pending",
            "ask_buyer_to_confirm",
            Some(2_000),
        ),
        (
            Processing(ProcessingReason::OutcomeUnknown),
            "unknown",
            "wait",
            Some(2_000),
        ),
        (
            Processing(ProcessingReason::Canceling),
            "pending",
            "wait",
            Some(2_000),
        ),
        (
            PaymentState::Unresolved,
            "unknown",
            "call_operator",
            Some(30_000),
        ),
        (PaymentState::Succeeded, "final", "done", None),
        (
            failed(RetryAdvice::SameBarcode),
            "final",
            "show_code_again",
            None,
        ),
        (
            failed(RetryAdvice::NewBarcode),
            "final",
            "show_code_again",
            None,
        ),
        (
            failed(RetryAdvice::OtherMethod),
            "final",
            "other_method",
            None,
        ),
        (failed(RetryAdvice::No), "final", "call_operator", None),
        (canceled(CancelReason::Requested), "final", "done", None),
        (
            canceled(CancelReason::BuyerDidNotConfirm),
            "final",
            "show_code_again",
            None,
        ),
        (
            canceled(CancelReason::NeverCreated),
            "final",
            "show_code_again",
            None,
        ),
    ] {
        let standing = Standing::of_payment(&state, Circumstances::default());
        let told = (
            standing.certainty().as_str(),
            standing.next_action().as_str(),
            standing.poll_after_ms(),
        );
        assert_eq!(told, (certainty, next_action, poll_after_ms), "{state:?}");
    }
}

/// While a cancel is under way, or a person's decision is still to be asked about, nothing reads final: over every
/// state.
#[test]
fn nothing_is_final_while_money_may_still_move() {
    use crate::domain::payments::payment::tests::payment;
    let reasons = CancelReason::ALL.iter().copied().map(Some).chain([None]);
    for state in payment_states() {
        for canceling in reasons.clone() {
            for decided in [false, true] {
                let mut payment = payment(state.clone());
                payment.canceling = canceling;
                let asked_at = decided.then(|| payment.created_at + TimeDelta::seconds(60));
                payment.decided_by_operator = decided;
                payment.poll.question_due_at = asked_at;
                payment.poll.next_check_at = asked_at;
                let standing = payment.standing();
                assert_consistent(standing);
                let may_move = canceling.is_some() || (decided && payment.state.is_final());
                assert_eq!(
                    standing.is_settled(),
                    payment.state.is_final() && !may_move,
                    "{payment:?}"
                );
                // Who waits for the end of a cancel is told of it, also while it may act.
                let has_ended = payment.state.is_final() && canceling.is_none();
                assert_eq!(payment.cancel_has_ended(), has_ended, "{payment:?}");
                if may_move && payment.state != PaymentState::Unresolved {
                    assert_eq!(standing.next_action(), NextActionKind::Wait, "{payment:?}");
                    assert_eq!(standing.certainty(), OutcomeCertainty::Pending);
                }
                if payment.is_settled() != standing.is_settled() {
                    assert!(payment.is_settled() && decided, "{payment:?}");
                }
            }
        }
    }
}

#[test]
fn a_closed_door_calls_the_operator_at_once() {
    let refused = Circumstances {
        refused_at_door: true,
        ..Circumstances::default()
    };
    for state in payment_states() {
        let standing = Standing::of_payment(&state, refused);
        assert_consistent(standing);
        if matches!(state, PaymentState::Processing(_)) {
            assert_eq!(standing.next_action(), NextActionKind::CallOperator);
        } else {
            let without = Standing::of_payment(&state, Circumstances::default());
            assert_eq!(standing, without, "{state:?}");
        }
    }
    // The cancel of a paid one waits at the same door.
    let canceling = Circumstances {
        money_may_move: true,
        ..refused
    };
    let standing = Standing::of_payment(&PaymentState::Succeeded, canceling);
    assert_eq!(standing.next_action(), NextActionKind::CallOperator);
}

#[test]
fn no_end_that_alipay_contradicts_is_certain() {
    let contradicted = Circumstances {
        is_contradicted: true,
        ..Circumstances::default()
    };
    for state in payment_states() {
        let standing = Standing::of_payment(&state, contradicted);
        assert_consistent(standing);
        assert!(!standing.is_settled(), "{state:?}");
    }
}

#[test]
fn a_refund_is_final_with_its_state_alone() {
    for state in refund_states() {
        let standing = Standing::of_refund(&state);
        assert_consistent(standing);
        assert_eq!(standing.is_settled(), state.is_final(), "{state:?}");
    }
}

proptest! {
    #[test]
    fn retry_after_is_rounded_up_to_whole_seconds(poll_after_ms in 1_u32..=86_400_000) {
        let standing = Standing::open(Doubt::Pending, NextActionKind::Wait, poll_after_ms);
        let seconds = standing.retry_after_seconds().expect("it is open");
        prop_assert!(u64::from(seconds) * 1_000 >= u64::from(poll_after_ms));
        prop_assert!((u64::from(seconds) - 1) * 1_000 < u64::from(poll_after_ms));
    }
}
