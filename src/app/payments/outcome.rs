//! From what Alipay meant to what happened to the payment. Silence, doubt and lies map to nothing
//! that could settle it.

use chrono::{DateTime, Utc};

use crate::{
    alipay::outcome::{CancelAction, CancelOutcome, PayOutcome, QueryOutcome},
    domain::{
        attempt::Answer,
        contradiction::Claim,
        id::FileId,
        payments::{
            payment::{CancelReason, Payment, PaymentEvent, PaymentState},
            plan::{Plan, never_existed, pay_acts_until},
        },
        reconciliation::{SiblingRows, Verdict, daily_file::FileRow, judge_payment},
    },
};

/// What the answer to a pay call says.
pub(in crate::app) fn pay_event(outcome: PayOutcome) -> PaymentEvent {
    match outcome {
        PayOutcome::Paid {
            charge,
            alipay_trans_id,
        } => PaymentEvent::Paid {
            charge,
            alipay_trans_id,
        },
        PayOutcome::BuyerMustConfirm {
            alipay_trans_id,
            wallet,
        } => PaymentEvent::BuyerMustConfirm {
            alipay_trans_id,
            wallet,
        },
        PayOutcome::Declined(failure) => PaymentEvent::Declined(failure),
        PayOutcome::NotSent => PaymentEvent::NeverSent,
        PayOutcome::Unknown | PayOutcome::Unconfirmed => PaymentEvent::OutcomeBecameUnknown,
    }
}

/// What something that was told means for a payment as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::app) enum Meaning {
    /// Nothing that may be believed, or nothing that is not known.
    Nothing,
    /// This happened.
    Event(PaymentEvent),
    /// This is said against an end that the books hold: it is kept, and changes nothing by itself.
    Claim(Claim),
}

/// What was learnt of a payment, before it is held against the payment as it stands. What an answer
/// means depends on what else is known, so it is decided anew on the row that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::app) enum Told {
    /// The event itself, whatever else is known.
    Event(PaymentEvent),
    /// The answer to a query that was sent at this time (database clock).
    Query(QueryOutcome, DateTime<Utc>),
    /// The answer to a cancel.
    Cancel {
        /// What it means.
        outcome: CancelOutcome,
        /// When it was sent (database clock).
        asked_at: DateTime<Utc>,
        /// Whether one that was sent before may take effect still.
        earlier_may_act: bool,
    },
    /// A row of a daily file, and what else files say.
    File(Box<FileRow>, FileId, SiblingRows),
}

impl Told {
    /// What it means for a payment as it stands.
    pub(in crate::app) fn meaning(&self, plan: &Plan, payment: &Payment) -> Meaning {
        let event = match self {
            Self::Event(event) => Some(event.clone()),
            // A person's word that it was paid is contradicted where Alipay knows of no payment, once none can be on its
            // way.
            Self::Query(QueryOutcome::NotFound, asked_at)
                if payment.is_paid_by_decision() && *asked_at >= pay_acts_until(plan, payment) =>
            {
                return Meaning::Claim(Claim::NotFound);
            }
            Self::Query(QueryOutcome::BuyerMustConfirm { .. }, _)
                if payment.is_paid_by_decision() =>
            {
                return Meaning::Claim(Claim::BuyerMustConfirm);
            }
            Self::Query(outcome, asked_at) => {
                query_event(outcome.clone(), plan, payment, *asked_at)
            }
            Self::Cancel {
                outcome,
                asked_at,
                earlier_may_act,
            } => cancel_event(outcome.clone(), plan, payment, *earlier_may_act, *asked_at),
            Self::File(row, file, sibling_rows) => {
                return match judge_payment(row, *file, payment, *sibling_rows) {
                    Verdict::Settles(event) => Meaning::Event(event),
                    Verdict::Claims(event) => claim(&event),
                    Verdict::Agrees | Verdict::Contradicts => Meaning::Nothing,
                };
            }
        };
        let Some(event) = event else {
            return Meaning::Nothing;
        };
        match self {
            Self::Query(_, asked_at) if payment.is_contradicted_by(&event, *asked_at) => {
                claim(&event)
            }
            _ => Meaning::Event(event),
        }
    }

    /// When the question was sent that this answers; `None` where it answers none.
    pub(in crate::app) const fn asked_at(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Query(_, asked_at) => Some(*asked_at),
            Self::Event(_) | Self::Cancel { .. } | Self::File(..) => None,
        }
    }

    /// Whether it is the answer to a cancel, and ends it.
    pub(in crate::app) const fn cancel_refused(&self, payment: &Payment) -> Option<bool> {
        match self {
            Self::Cancel { outcome, .. } => Some(ends_the_cancel(outcome, payment)),
            Self::Event(_) | Self::Query(..) | Self::File(..) => None,
        }
    }
}

fn claim(event: &PaymentEvent) -> Meaning {
    Claim::of_payment(event).map_or(Meaning::Nothing, Meaning::Claim)
}

/// What the answer to a query says; `None` where it says nothing that may be believed.
fn query_event(
    outcome: QueryOutcome,
    plan: &Plan,
    payment: &Payment,
    asked_at: DateTime<Utc>,
) -> Option<PaymentEvent> {
    match outcome {
        // Still paid although a cancel was asked for: once Alipay refused it, or its window is
        // over, and none is on its way any more, that is the end of the cancel.
        QueryOutcome::Paid { .. } if cancel_is_over(payment, asked_at) => {
            Some(PaymentEvent::CancelRefused)
        }
        QueryOutcome::Paid {
            charge,
            alipay_trans_id,
        } => Some(PaymentEvent::Paid {
            charge,
            alipay_trans_id,
        }),
        QueryOutcome::BuyerMustConfirm {
            alipay_trans_id,
            wallet,
        } => Some(PaymentEvent::BuyerMustConfirm {
            alipay_trans_id,
            wallet,
        }),
        // A closed trade that was paid, by its pay time or by what we were told before, has been
        // reversed (`docs/protocol.md` 4.5, 5.1).
        QueryOutcome::Closed {
            alipay_trans_id,
            charge,
        } => {
            // An operator's word that it was paid is none of Alipay's, also once it was taken back.
            let is_closed_unpaid = matches!(
                payment.state,
                PaymentState::Canceled {
                    money_returned: false,
                    ..
                }
            );
            let was_word_alone = is_closed_unpaid && !payment.charge_was_told();
            let was_paid =
                payment.charge.is_some() && !payment.decided_by_operator && !was_word_alone;
            let money_returned = charge.is_some() || was_paid;
            Some(PaymentEvent::Closed {
                reason: if money_returned {
                    CancelReason::ClosedAfterPayment
                } else {
                    CancelReason::BuyerDidNotConfirm
                },
                money_returned,
                alipay_trans_id,
                charge,
            })
        }
        QueryOutcome::NotFound if never_existed(plan, payment, asked_at) => {
            Some(PaymentEvent::Closed {
                reason: CancelReason::NeverCreated,
                money_returned: false,
                alipay_trans_id: None,
                charge: None,
            })
        }
        // "Not found" is "not yet" until a cancel has closed the matter.
        QueryOutcome::NotFound | QueryOutcome::Unknown => None,
    }
}

/// What an answer says that told nothing of the trade.
pub(in crate::app) fn event_of_the_door(answer: &Answer) -> Option<PaymentEvent> {
    (answer.class.lets_the_account_in() == Some(false)).then_some(PaymentEvent::AccessRefused)
}

/// Whether the answer ends the cancel, so that a query decides what is left to be done.
const fn ends_the_cancel(outcome: &CancelOutcome, payment: &Payment) -> bool {
    match outcome {
        CancelOutcome::Refused { .. } => true,
        CancelOutcome::BalanceTooLow { may_retry } => payment.reversal.is_some() || !*may_retry,
        CancelOutcome::Closed { .. } | CancelOutcome::Retry { .. } | CancelOutcome::Unknown => {
            false
        }
    }
}

/// Whether no cancel left after what was asked then: an answer says nothing of one that did.
fn speaks_of_every_cancel(payment: &Payment, asked_at: DateTime<Utc>) -> bool {
    let last = payment.poll.last_cancel_at;
    last.is_none_or(|sent| sent <= asked_at)
}

fn cancel_is_over(payment: &Payment, asked_at: DateTime<Utc>) -> bool {
    payment.state == PaymentState::Succeeded
        && payment.canceling.is_some()
        && speaks_of_every_cancel(payment, asked_at)
        && (payment.poll.cancel_refused || !payment.cancel_window_is_open(asked_at))
        && !payment.poll.cancel_may_act(asked_at)
}

/// What the answer to a cancel says; `None` where the matter stays open. `earlier_may_act`: one that
/// was sent before may take effect still.
fn cancel_event(
    outcome: CancelOutcome,
    plan: &Plan,
    payment: &Payment,
    earlier_may_act: bool,
    asked_at: DateTime<Utc>,
) -> Option<PaymentEvent> {
    let (action, alipay_trans_id) = match outcome {
        // The refund of the reversal waits for the balance; the cancel would wait for midnight.
        CancelOutcome::BalanceTooLow { .. }
            if payment.reversal.is_some()
                && !earlier_may_act
                && speaks_of_every_cancel(payment, asked_at) =>
        {
            return (payment.state == PaymentState::Succeeded)
                .then_some(PaymentEvent::CancelRefused);
        }
        CancelOutcome::Closed {
            action,
            alipay_trans_id,
        } => (action, alipay_trans_id),
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
        // A pay request may still be on its way: only when it cannot be is "never created" the end
        // of it (`docs/invariants.md` R13). Before that the queries after the cancel tell.
        CancelAction::NothingExisted if asked_at < pay_acts_until(plan, payment) => None,
        CancelAction::NothingExisted => closed(CancelReason::NeverCreated, false),
        CancelAction::Closed => closed(CancelReason::BuyerDidNotConfirm, false),
        CancelAction::Refunded => closed(CancelReason::BuyerDidNotConfirm, true),
        // Closed, but whether money had been taken is not said: the query after it tells.
        CancelAction::Unstated => None,
    }
}
