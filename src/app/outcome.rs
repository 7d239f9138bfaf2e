//! From what Alipay meant to what happened to the payment. Silence, doubt and lies map to nothing
//! that could settle it.

use chrono::{DateTime, Utc};

use crate::{
    alipay::outcome::{CancelAction, CancelOutcome, PayOutcome, QueryOutcome},
    domain::{
        follow_up::GRACE,
        payment::{CancelReason, Failure, Payment, PaymentEvent, PaymentState, RetryAdvice},
    },
    failpoint::planted,
};

/// What the answer to a pay call says.
pub(super) fn pay_event(outcome: PayOutcome) -> PaymentEvent {
    match outcome {
        PayOutcome::Unknown if planted!(TimeoutIsFailure) => PaymentEvent::Declined(guess()),
        PayOutcome::Paid {
            charge,
            alipay_trans_id,
        } => PaymentEvent::Paid {
            charge,
            alipay_trans_id,
        },
        PayOutcome::BuyerMustConfirm { alipay_trans_id } => {
            PaymentEvent::BuyerMustConfirm { alipay_trans_id }
        }
        PayOutcome::Declined(failure) => PaymentEvent::Declined(failure),
        PayOutcome::NotSent => PaymentEvent::NeverSent,
        PayOutcome::Unknown => PaymentEvent::OutcomeBecameUnknown,
    }
}

/// What the answer to a query says; `None` where it says nothing that may be believed.
pub(super) fn query_event(
    outcome: QueryOutcome,
    payment: &Payment,
    now: DateTime<Utc>,
) -> Option<PaymentEvent> {
    match outcome {
        // Still paid although a cancel was asked for: once Alipay refused it, or its window is
        // over, and none is on its way any more, that is the end of the cancel.
        QueryOutcome::Paid { .. } if cancel_is_over(payment, now) => {
            Some(PaymentEvent::CancelRefused)
        }
        QueryOutcome::Paid {
            charge,
            alipay_trans_id,
        } => Some(PaymentEvent::Paid {
            charge,
            alipay_trans_id,
        }),
        QueryOutcome::BuyerMustConfirm { alipay_trans_id } => {
            Some(PaymentEvent::BuyerMustConfirm { alipay_trans_id })
        }
        // A closed trade that was paid, by its pay time or by what we were told before, has been
        // reversed (`protocol/wire.md` 3.4; `protocol/operations.md` 10.12).
        QueryOutcome::Closed {
            alipay_trans_id,
            charge,
        } => Some(PaymentEvent::Closed {
            reason: CancelReason::BuyerDidNotConfirm,
            money_returned: charge.is_some() || payment.charge.is_some(),
            alipay_trans_id,
            charge,
        }),
        QueryOutcome::NotFound if planted!(NotFoundIsFailure) => {
            Some(PaymentEvent::Declined(guess()))
        }
        // "Not found" is "not yet" until a cancel has closed the matter.
        QueryOutcome::NotFound | QueryOutcome::Unknown => None,
    }
}

/// Whether the answer ends the cancel, so that a query decides what is left to be done.
pub(super) const fn ends_the_cancel(outcome: &CancelOutcome, payment: &Payment) -> bool {
    match outcome {
        CancelOutcome::Refused { .. } => true,
        CancelOutcome::BalanceTooLow { may_retry } => payment.reversal.is_some() || !*may_retry,
        CancelOutcome::Closed { .. } | CancelOutcome::Retry { .. } | CancelOutcome::Unknown => {
            false
        }
    }
}

fn cancel_is_over(payment: &Payment, now: DateTime<Utc>) -> bool {
    payment.state == PaymentState::Succeeded
        && payment.canceling.is_some()
        && (payment.inquiry.cancel_refused || !payment.cancel_window_is_open(now))
        && !payment.inquiry.cancel_may_act(now)
}

/// What the answer to a cancel says; `None` where the matter stays open. `earlier_may_act`: one that
/// was sent before may take effect still.
pub(super) fn cancel_event(
    outcome: CancelOutcome,
    payment: &Payment,
    earlier_may_act: bool,
    now: DateTime<Utc>,
) -> Option<PaymentEvent> {
    let (action, alipay_trans_id) = match outcome {
        // The refund of the reversal waits for the balance; the cancel would wait for midnight.
        CancelOutcome::BalanceTooLow { .. } if payment.reversal.is_some() && !earlier_may_act => {
            return (payment.state == PaymentState::Succeeded)
                .then_some(PaymentEvent::CancelRefused);
        }
        CancelOutcome::Closed {
            action,
            alipay_trans_id,
        } => (action, alipay_trans_id),
        CancelOutcome::Unknown if planted!(CancelSilenceIsSuccess) => (CancelAction::Closed, None),
        _ => return None,
    };
    let closed = |reason, money_returned| {
        Some(PaymentEvent::Closed {
            reason,
            money_returned,
            alipay_trans_id,
            charge: None,
        })
    };
    match action {
        // A pay request may still be on its way: only after the grace period is "never created"
        // the end of it (`design/correctness.md` R13).
        CancelAction::NothingExisted if now - payment.created_at < GRACE && !planted!(NoGrace) => {
            None
        }
        CancelAction::NothingExisted => closed(CancelReason::NeverCreated, false),
        CancelAction::Closed => closed(CancelReason::BuyerDidNotConfirm, false),
        CancelAction::Refunded => closed(CancelReason::BuyerDidNotConfirm, true),
        // Closed, but whether money had been taken is not said: the query after it tells.
        CancelAction::Unstated => None,
    }
}

/// What the planted faults take silence for.
pub(super) fn guess() -> Failure {
    Failure {
        code: "PLANTED".to_owned(),
        message: "a planted fault guessed".to_owned(),
        retry: RetryAdvice::No,
    }
}
