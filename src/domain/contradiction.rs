//! What Alipay verifiably said and the books could not take.
//!
//! Nothing of it is thrown away: a contradiction is kept with its source, a question is planned now and
//! again until it is settled, it stands on the work-list, and what it proves to be back is not refunded
//! a second time. It is settled by an answer, which agrees with the books or moves them, or by a person.
//!
//! | the books say | Alipay says | what settles it |
//! |---|---|---|
//! | decided by an operator | anything else that is verified | the word itself: the books yield at once |
//! | refund `failed` | a refund that is done | a question that was asked since and says it again |
//! | refund `succeeded` | no such refund, or one that is not done | an answer that says done again, or a person |
//! | an amount refundable | a refusal that denies it | what the books then turn out to be, or a person |
//! | anything final | anything else | an answer that agrees with the books, or a person |
//! | refunds as known | a refund of the portal that does not fit | its booking, once the payment lets it |

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{
    id::{AttemptId, ContradictionId, MerchantId, NotificationId, PaymentId, RefundId},
    payments::payment::{Payment, PaymentEvent, PaymentState},
    refunds::refund::{Refund, RefundEvent, RefundOrigin, RefundState},
    transition::FileLine,
};

/// What was said, by the name of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The money was taken.
    Paid,
    /// The trade still waits for its buyer.
    BuyerMustConfirm,
    /// It was refused.
    Declined,
    /// The trade is closed.
    Closed,
    /// There is no such trade.
    NotFound,
    /// It cannot be refunded, or not by so much, although the books say that it can: what was refused is
    /// named by Alipay's code.
    NotRefundable,
    /// A refund of the portal, for which the books have no room.
    RefundMadeInPortal,
    /// The money went back.
    RefundSucceeded,
    /// It will go back.
    RefundAccepted,
    /// It is being sent back.
    RefundWaiting,
    /// There is no such refund.
    RefundNotFound,
}

stored_names!(Claim {
    Paid = "paid",
    BuyerMustConfirm = "buyer_must_confirm",
    Declined = "declined",
    Closed = "closed",
    NotFound = "not_found",
    NotRefundable = "not_refundable",
    RefundMadeInPortal = "refund_made_in_portal",
    RefundSucceeded = "refund_succeeded",
    RefundAccepted = "refund_accepted",
    RefundWaiting = "refund_waiting",
    RefundNotFound = "refund_not_found",
});

/// What settled a contradiction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettledBy {
    /// Another word of Alipay.
    Answer,
    /// A person, with grounds.
    Person,
}

stored_names!(SettledBy {
    Answer = "answer",
    Person = "person",
});

/// Where it was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// In the answer to a call.
    Attempt(AttemptId),
    Notification(NotificationId),
    /// In a daily file.
    File(FileLine),
}

event_names!(Source {
    Self::Attempt(_) => "attempt",
    Self::Notification(_) => "notification",
    Self::File(_) => "file",
});

/// A contradiction as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    pub id: ContradictionId,
    pub merchant_id: MerchantId,
    pub payment_id: PaymentId,
    /// The refund it is about; `None` where it is about the payment itself.
    pub refund_id: Option<RefundId>,
    pub claim: Claim,
    /// What tells claims of one kind apart; empty where there is one only.
    pub reference: String,
    /// How much is proven to be back, in minor units, and in no refund of the books.
    pub returned_minor: i64,
    /// What the books said.
    pub books_status: String,
    /// Its detail.
    pub books_status_reason: Option<String>,
    /// Where it was said.
    pub source: Source,
    /// When (database clock).
    pub opened_at: DateTime<Utc>,
}

impl Contradiction {
    /// The payment or the refund it is about, as the database stores it.
    pub fn subject(&self) -> Uuid {
        self.refund_id
            .map_or(self.payment_id.uuid(), RefundId::uuid)
    }
}

impl Claim {
    /// What an event of a payment says against its state; `None` where it is no word of Alipay.
    pub const fn of_payment(event: &PaymentEvent) -> Option<Self> {
        match event {
            PaymentEvent::Paid { .. } => Some(Self::Paid),
            PaymentEvent::BuyerMustConfirm { .. } => Some(Self::BuyerMustConfirm),
            PaymentEvent::Declined(_) => Some(Self::Declined),
            PaymentEvent::Closed { .. } => Some(Self::Closed),
            PaymentEvent::NeverSent
            | PaymentEvent::AccessRefused
            | PaymentEvent::OutcomeBecameUnknown
            | PaymentEvent::CancelStarted { .. }
            | PaymentEvent::CancelRefused
            | PaymentEvent::WalletNamed { .. }
            | PaymentEvent::PlanExhausted
            | PaymentEvent::Resolved(_) => None,
        }
    }

    /// What an event of a refund says against its state; `None` where it is no word of Alipay on whether
    /// money goes back.
    pub fn of_refund(event: &RefundEvent) -> Option<Self> {
        match event {
            RefundEvent::Succeeded { .. } => Some(Self::RefundSucceeded),
            RefundEvent::Accepted => Some(Self::RefundAccepted),
            RefundEvent::Waiting { .. } => Some(Self::RefundWaiting),
            RefundEvent::NotFound => Some(Self::RefundNotFound),
            RefundEvent::Refused(_)
            | RefundEvent::Doubted(_)
            | RefundEvent::UnknownCode(_)
            | RefundEvent::FundsShort(_)
            | RefundEvent::OutcomeBecameUnknown
            | RefundEvent::FailedAtAlipay(_)
            | RefundEvent::ReversedByAlipay(_)
            | RefundEvent::PlanExhausted
            | RefundEvent::Resolved(_) => None,
        }
    }

    /// How much of a payment in this state the claim proves to be back, in minor units.
    pub const fn returned_of(self, payment: &Payment) -> i64 {
        match (self, &payment.state) {
            // A closed trade leaves nothing with the merchant.
            (Self::Closed, PaymentState::Succeeded) => payment.amount.minor(),
            _ => 0,
        }
    }

    /// The same of a refund: what is said to go back, and is not reserved.
    pub const fn returned_by(self, refund: &Refund) -> i64 {
        match (self, &refund.state) {
            (
                Self::RefundSucceeded | Self::RefundAccepted | Self::RefundWaiting,
                RefundState::Failed(_),
            ) => refund.amount.minor(),
            _ => 0,
        }
    }
}

/// When the next question about a contradiction is due: at once, after ten minutes, at growing pauses
/// through the next day, and then once a day until it is settled.
pub fn next_question(
    contradicted_at: DateTime<Utc>,
    last_asked_at: Option<DateTime<Utc>>,
) -> DateTime<Utc> {
    match last_asked_at {
        Some(asked_at) if asked_at >= contradicted_at => {
            let pause = asked_at - contradicted_at;
            asked_at + pause.clamp(TimeDelta::minutes(10), TimeDelta::days(1))
        }
        Some(_) | None => contradicted_at,
    }
}

/// Whether a question was sent after something was contradicted, so that its answer may settle that.
fn is_asked_since(contradicted_at: Option<DateTime<Utc>>, asked_at: Option<DateTime<Utc>>) -> bool {
    contradicted_at
        .zip(asked_at)
        .is_some_and(|(contradicted, asked)| asked > contradicted)
}

impl Payment {
    /// Whether a question that was sent then was sent since the contradiction.
    pub fn was_contradicted_before(&self, asked_at: Option<DateTime<Utc>>) -> bool {
        is_asked_since(self.contradicted_at, asked_at)
    }
}

impl Refund {
    /// Whether a question was asked since the contradiction.
    pub fn was_asked_since_contradicted(&self) -> bool {
        self.was_contradicted_before(self.poll.last_check_at)
    }

    /// Whether a question that was sent then was sent since the contradiction.
    pub fn was_contradicted_before(&self, asked_at: Option<DateTime<Utc>>) -> bool {
        is_asked_since(self.contradicted_at, asked_at)
    }

    /// Whether what stands against it has not been asked about since: the next answer may settle it.
    pub fn is_newly_contradicted(&self) -> bool {
        self.contradicted_at.is_some() && !self.was_asked_since_contradicted()
    }

    /// Whether the answer to a question that was sent at `asked_at` contradicts a success that was known
    /// by then. An older answer does not: it tells of what was before. Nothing that a file alone knows is
    /// contradicted by an answer: Alipay need not know it by its id.
    pub fn is_contradicted_by(&self, event: &RefundEvent, asked_at: DateTime<Utc>) -> bool {
        let says_not_done = matches!(event, RefundEvent::NotFound | RefundEvent::Waiting { .. });
        self.state == RefundState::Succeeded
            && self.origin == RefundOrigin::Gateway
            && says_not_done
            && self.finalized_at.is_some_and(|end| asked_at > end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_come_at_once_through_the_next_day_and_then_daily() {
        let at: DateTime<Utc> = "2026-03-09T04:00:00Z".parse().expect("a time");
        assert_eq!(next_question(at, None), at);
        assert_eq!(next_question(at, Some(at - TimeDelta::seconds(1))), at);
        let mut asked = at;
        let mut pauses = vec![];
        for _ in 0..12 {
            let next = next_question(at, Some(asked));
            pauses.push((next - asked).num_minutes());
            asked = next;
        }
        assert_eq!(
            pauses,
            [10, 10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440, 1440]
        );
    }
}
