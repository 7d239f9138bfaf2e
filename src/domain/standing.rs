//! Where a payment or a refund stands for whoever reads it: whether anything may still change, how sure
//! that is, what a till should do now, and when to look again. Decided here alone, so that the HTTP
//! status, `Retry-After`, `outcome_certainty`, `next_action` and the end of a wait cannot contradict
//! each other, and every till shows the same thing.

use super::{
    payments::payment::{
        CancelReason, OutcomeCertainty, Payment, PaymentState, ProcessingReason, RetryAdvice,
    },
    refunds::refund::{PendingReason, Refund, RefundState},
};

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

stored_names!(NextActionKind {
    Wait = "wait",
    AskBuyerToConfirm = "ask_buyer_to_confirm",
    ShowCodeAgain = "show_code_again",
    OtherMethod = "other_method",
    CallOperator = "call_operator",
    Done = "done",
});

/// Where something stands. What is open has a time to look again and no certainty; what is settled
/// has neither a time nor a doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing will change by itself; this is what is left to do.
    Settled(NextActionKind),
    /// It may still change.
    Open {
        /// Why it is not certain.
        doubt: Doubt,
        /// What to do meanwhile.
        next_action: NextActionKind,
        /// After how many milliseconds to read it again.
        poll_after_ms: u32,
    },
}

/// Why the outcome is not certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Alipay said wait, or a cancel of ours is under way.
    Pending,
    /// Silence or an unreadable answer.
    Unknown,
}

/// What besides its state decides where a payment stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// Whether a cancel or a reversal is under way, or a person's decision is still to be asked about.
    pub money_may_move: bool,
    /// Whether Alipay refused our requests at its door (`is_success=F`), so that waiting helps nobody
    /// until an operator has looked.
    pub refused_at_door: bool,
    /// Whether Alipay says something else than the books, and nobody has settled that.
    pub is_contradicted: bool,
}

/// How soon to look again at what the gateway asks about every few seconds, in milliseconds.
const SOON: u32 = 2_000;

impl Standing {
    const fn open(doubt: Doubt, next_action: NextActionKind, poll_after_ms: u32) -> Self {
        Self::Open {
            doubt,
            next_action,
            poll_after_ms,
        }
    }

    /// Whether nothing will change by itself: what ends every wait.
    pub const fn is_settled(self) -> bool {
        match self {
            Self::Settled(_) => true,
            Self::Open { .. } => false,
        }
    }

    /// How sure an answer to "what became of it?" is.
    pub const fn certainty(self) -> OutcomeCertainty {
        match self {
            Self::Settled(_) => OutcomeCertainty::Final,
            Self::Open {
                doubt: Doubt::Pending,
                ..
            } => OutcomeCertainty::Pending,
            Self::Open {
                doubt: Doubt::Unknown,
                ..
            } => OutcomeCertainty::Unknown,
        }
    }

    /// What the person at the till should do.
    pub const fn next_action(self) -> NextActionKind {
        match self {
            Self::Settled(next_action) | Self::Open { next_action, .. } => next_action,
        }
    }

    /// After how many milliseconds to read it again; `None` once it is settled.
    pub const fn poll_after_ms(self) -> Option<u32> {
        match self {
            Self::Settled(_) => None,
            Self::Open { poll_after_ms, .. } => Some(poll_after_ms),
        }
    }

    /// The same as the whole seconds of a `Retry-After` header, rounded up.
    pub const fn retry_after_seconds(self) -> Option<u32> {
        match self.poll_after_ms() {
            Some(ms) => Some(ms.div_ceil(1_000)),
            None => None,
        }
    }

    /// Where a payment in this state stands.
    pub const fn of_payment(state: &PaymentState, circumstances: Circumstances) -> Self {
        use NextActionKind as K;
        let Circumstances {
            money_may_move,
            refused_at_door,
            is_contradicted,
        } = circumstances;
        match state {
            // No end is certain that Alipay contradicts.
            PaymentState::Succeeded | PaymentState::Failed(_) | PaymentState::Canceled { .. }
                if is_contradicted =>
            {
                Self::open(Doubt::Unknown, K::CallOperator, 30_000)
            }
            PaymentState::Processing(_) if refused_at_door => {
                Self::open(Doubt::Unknown, K::CallOperator, 10_000)
            }
            PaymentState::Succeeded if refused_at_door && money_may_move => {
                Self::open(Doubt::Unknown, K::CallOperator, 10_000)
            }
            // The truth may still arrive, but no sooner than an operator does.
            PaymentState::Unresolved => Self::open(Doubt::Unknown, K::CallOperator, 30_000),
            PaymentState::Processing(ProcessingReason::Canceling) => {
                Self::open(Doubt::Pending, K::Wait, SOON)
            }
            // Money that was taken may still go back, whatever is known of it by now.
            PaymentState::Processing(_)
            | PaymentState::Succeeded
            | PaymentState::Failed(_)
            | PaymentState::Canceled { .. }
                if money_may_move =>
            {
                Self::open(Doubt::Pending, K::Wait, SOON)
            }
            PaymentState::Processing(ProcessingReason::Submitting) => {
                Self::open(Doubt::Unknown, K::Wait, 1_000)
            }
            PaymentState::Processing(ProcessingReason::AwaitingBuyer) => {
                Self::open(Doubt::Pending, K::AskBuyerToConfirm, SOON)
            }
            PaymentState::Processing(ProcessingReason::OutcomeUnknown) => {
                Self::open(Doubt::Unknown, K::Wait, SOON)
            }
            PaymentState::Succeeded => Self::Settled(K::Done),
            PaymentState::Failed(failure) => Self::Settled(failure.retry.follows().0),
            PaymentState::Canceled { reason, .. } => Self::Settled(match reason {
                // Nobody at the till can do anything about what was paid and came back by itself.
                CancelReason::Requested | CancelReason::ClosedAfterPayment => K::Done,
                CancelReason::BuyerDidNotConfirm | CancelReason::NeverCreated => K::ShowCodeAgain,
            }),
        }
    }

    /// Where a refund in this state stands. A batch is hours away and a hint may come at any time, so
    /// looking once a minute is enough and costs one read of the database.
    pub const fn of_refund(state: &RefundState) -> Self {
        use NextActionKind as K;
        match state {
            RefundState::Pending(PendingReason::Submitting) => {
                Self::open(Doubt::Unknown, K::Wait, 1_000)
            }
            // The first query comes 10 s after the request.
            RefundState::Pending(PendingReason::OutcomeUnknown) => {
                Self::open(Doubt::Unknown, K::Wait, 10_000)
            }
            RefundState::Pending(PendingReason::Processing) => {
                Self::open(Doubt::Pending, K::Wait, 10_000)
            }
            RefundState::Pending(
                PendingReason::AwaitingBatch | PendingReason::InsufficientFunds,
            ) => Self::open(Doubt::Pending, K::Wait, 60_000),
            RefundState::Unresolved => Self::open(Doubt::Unknown, K::CallOperator, 60_000),
            RefundState::Succeeded | RefundState::Failed(_) => Self::Settled(K::Done),
        }
    }

    /// Where all refunds of a payment stand together: as the latest, while that is open; and open for
    /// as long as not every one is `done`.
    pub const fn of_refunds(latest: Self, is_done: bool) -> Self {
        match latest {
            _ if is_done => Self::Settled(NextActionKind::Done),
            Self::Open { .. } => latest,
            Self::Settled(_) => Self::open(Doubt::Pending, NextActionKind::Wait, 10_000),
        }
    }
}

impl RetryAdvice {
    /// What follows from a refusal: the next action, and the same as a sentence for the person at the
    /// till.
    pub const fn follows(self) -> (NextActionKind, &'static str) {
        match self {
            Self::SameBarcode => (
                NextActionKind::ShowCodeAgain,
                "Start a new payment; the same code may be scanned again.",
            ),
            Self::NewBarcode => (
                NextActionKind::ShowCodeAgain,
                "Start a new payment and scan a fresh code.",
            ),
            Self::OtherMethod => (
                NextActionKind::OtherMethod,
                "Ask the customer for another wallet or payment method.",
            ),
            // The fault is in the request or in the configuration: the till can change neither.
            Self::No => (
                NextActionKind::CallOperator,
                "Nothing was taken; call your support team.",
            ),
        }
    }
}

impl Payment {
    /// Where the payment stands for whoever reads it. What was paid and is wholly on its way back, by
    /// refunds, is done when it has arrived.
    pub fn standing(&self) -> Standing {
        let standing = self.standing_while(self.may_be_moved());
        let is_going_back = self.refund_reserved_minor == self.amount.minor()
            && self.refunded_minor < self.refund_reserved_minor;
        if standing.is_settled() && is_going_back && self.state == PaymentState::Succeeded {
            return Standing::open(Doubt::Pending, NextActionKind::Wait, 10_000);
        }
        standing
    }

    /// Whether no cancel of it is under way any more, and it has an end.
    ///
    /// It may act still where an operator ended it: whoever waits for its end is told of that, and not kept.
    pub fn cancel_has_ended(&self) -> bool {
        self.standing_while(self.canceling.is_some()).is_settled()
    }

    fn standing_while(&self, money_may_move: bool) -> Standing {
        let circumstances = Circumstances {
            money_may_move,
            refused_at_door: self.is_refused_at_the_door(),
            is_contradicted: self.contradicted_at.is_some(),
        };
        Standing::of_payment(&self.state, circumstances)
    }

    /// Whether a cancel or a reversal is under way, or what a person decided is still to be asked about: what was sent
    /// before may move the money yet.
    fn may_be_moved(&self) -> bool {
        self.canceling.is_some() || self.decision_is_being_checked()
    }
}

impl Refund {
    /// Where the refund stands for whoever reads it.
    pub const fn standing(&self) -> Standing {
        if self.contradicted_at.is_some() {
            return Standing::open(Doubt::Unknown, NextActionKind::CallOperator, 60_000);
        }
        if self.failed_late {
            // Nothing changes by itself, and the buyer waits for money.
            return Standing::Settled(NextActionKind::CallOperator);
        }
        Standing::of_refund(&self.state)
    }
}

#[cfg(test)]
#[path = "standing_tests.rs"]
mod tests;
