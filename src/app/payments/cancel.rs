//! Cancels that callers ask for, by id, or by reference or key for a till that never got its
//! answer.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::{ask::UpstreamCall, create::ROUTE};
use crate::app::{
    App,
    error::{Alternative, Error},
    insistence::Insistence,
    pipeline::{Beginning, Initiator},
    policy::{INTENT, TRIES},
};
use crate::{
    alipay::result_code::{CancelRefusal, Codes},
    db::payments::intent::Owner,
    domain::{
        access::principal::{Principal, Scope},
        attempt::AttemptKind,
        follow_ups::schedule::Subject,
        id::{MerchantId, MerchantReference, PaymentId},
        idempotency::IdempotencyKey,
        payments::payment::{CancelReason, Payment, PaymentEvent, PaymentState},
    },
    failpoint::crashpoint,
};

/// What a till knows of a payment whose answer it never got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// Its own number.
    Reference(MerchantReference),
    /// The key it sent.
    Key(IdempotencyKey),
}

/// What a cancel by reference or key led to.
#[derive(Clone, Debug)]
pub enum Canceled {
    /// The payment exists: its state after the cancel.
    Payment(Box<Payment>),
    /// Nothing existed, and now nothing ever will under this reference or key.
    BeforeCreation,
}

impl App {
    /// Cancels a payment: closes it unpaid, or returns the money in full. Holds the answer for at
    /// most `wait` while the cancel is under way; the follow-up repeats it whatever happens to the
    /// caller. `Ok(None)`: no such payment.
    pub async fn cancel_payment(
        &self,
        principal: &Principal,
        id: PaymentId,
        wait: Duration,
    ) -> Result<Option<Payment>, Error> {
        let deadline = Instant::now() + wait;
        let waiter = self.notifier.listen(id);
        crashpoint!(self.db.failpoints, "cancel.received");
        let Some(payment) = self.start_cancel(principal, id).await? else {
            return Ok(None);
        };
        let over = Payment::cancel_has_ended;
        let payment = self.wait_until(waiter, payment, deadline, over).await;
        match &payment.state {
            PaymentState::Canceled { .. } | PaymentState::Processing(_) => Ok(Some(payment)),
            _ if payment.canceling.is_some() => Ok(Some(payment)),
            // The cancel ended without closing the trade.
            PaymentState::Succeeded | PaymentState::Unresolved => {
                Err(self.why_not_canceled(&payment).await)
            }
            PaymentState::Failed(_) => Err(nothing_to_cancel(&payment)),
        }
    }

    /// Why the cancel of a payment ended without closing the trade: what Alipay answered to the last one
    /// that was answered, or the time. Never a fault: something was sent, and the end is known.
    pub(in crate::app) async fn why_not_canceled(&self, payment: &Payment) -> Error {
        if self.was_ended_by_a_person(payment).await {
            return Error::CancelWithdrawn {
                payment_id: payment.id,
            };
        }
        // The row changed when the cancel ended.
        if !payment.cancel_window_is_open(payment.updated_at) {
            return window_closed(payment, true);
        }
        let attempts = self.db.attempts(payment.merchant_id, payment.id).await;
        let attempts = attempts.unwrap_or_default();
        let answered = attempts.into_iter().rev().find_map(|attempt| {
            let is_cancel = attempt.kind == AttemptKind::Cancel;
            attempt.answer.filter(|_| is_cancel)
        });
        let code = answered.and_then(|answer| answer.code);
        let refusal = match self.account(&payment.partner) {
            Ok(account) => account.alipay.codes().cancel_refusal(code.as_deref()),
            Err(_) => Codes::default().cancel_refusal(code.as_deref()),
        };
        match refusal {
            CancelRefusal::TooLate => window_closed(payment, true),
            CancelRefusal::Because(reason) => Error::CancelRefused {
                payment_id: payment.id,
                code,
                reason: reason.into_owned(),
            },
        }
    }

    async fn was_ended_by_a_person(&self, payment: &Payment) -> bool {
        let transitions = self.db.transitions(payment.merchant_id, payment.id).await;
        let of_payment = transitions.unwrap_or_default().into_iter().rev();
        let mut events = of_payment.filter(|transition| transition.refund_id.is_none());
        let started = PaymentEvent::CANCEL_STARTED;
        let refused = PaymentEvent::CancelRefused.name();
        events
            .find(|transition| {
                transition.reason.is_some()
                    || [started, refused].contains(&transition.event.as_str())
            })
            .is_some_and(|transition| transition.reason.is_some())
    }

    /// Cancels whatever a till knows of. Where nothing exists, a tombstone makes sure that nothing
    /// ever will.
    pub async fn cancel_known(
        &self,
        principal: &Principal,
        known: &Known,
        wait: Duration,
    ) -> Result<Canceled, Error> {
        let merchant_id = principal.merchant_id;
        match self.block_creation(merchant_id, known).await? {
            Owner::Tombstone => Ok(Canceled::BeforeCreation),
            Owner::Payment(id) => {
                let canceled = self.cancel_payment(principal, id, wait).await?;
                canceled
                    .map(|payment| Canceled::Payment(Box::new(payment)))
                    .ok_or_else(|| Error::Internal("a reference without its payment".into()))
            }
        }
    }

    /// Makes sure that nothing new is ever created under what a till knows; says what was. A
    /// tombstone whose commit is in doubt is looked for on another connection.
    async fn block_creation(&self, merchant_id: MerchantId, known: &Known) -> Result<Owner, Error> {
        let db = self.db.by(Instant::now() + INTENT);
        let mut insistence = Insistence::lasting(INTENT);
        loop {
            let blocked = match known {
                Known::Reference(reference) => {
                    db.block_reference(merchant_id, reference.as_str()).await
                }
                Known::Key(key) => db.block_key(merchant_id, ROUTE, key).await,
            };
            match blocked {
                Ok(owner) => return Ok(owner),
                Err(error) => insistence.outlast(error).await?,
            }
            let found = match known {
                Known::Reference(reference) => {
                    db.owner_of_reference(merchant_id, reference.as_str()).await
                }
                Known::Key(key) => db.owner_of_key(merchant_id, ROUTE, key).await,
            };
            match found {
                Ok(Some(owner)) => return Ok(owner),
                Ok(None) => {}
                Err(error) => insistence.outlast(error).await?,
            }
        }
    }

    /// Begins the cancel and sends it once, detached from the caller; returns the payment as it
    /// stands when the intent is committed, or when there is nothing to begin.
    async fn start_cancel(
        &self,
        principal: &Principal,
        id: PaymentId,
    ) -> Result<Option<Payment>, Error> {
        for _ in 0..TRIES {
            let Some(payment) = self.db.payment(principal.merchant_id, id).await? else {
                return Ok(None);
            };
            let now = self.db.now().await?;
            if may_skip(&payment, now) {
                return Ok(Some(payment));
            }
            let ask = UpstreamCall::Cancel(CancelReason::Requested);
            let ask = if payment.canceling == Some(CancelReason::Requested) {
                repeated(&payment, now, ask)
            } else {
                check_cancelable(&payment, now)?;
                self.admit_return(principal, &payment, now).await?;
                ask
            };
            if let Some(payment) = self.send_cancel(principal, payment, ask).await? {
                return Ok(Some(payment));
            }
        }
        Err(Error::Unavailable("the payment kept changing".into()))
    }

    /// Whether a caller may give the money of a paid payment back by a cancel: a till may undo its own
    /// sale for a while, and after that it is what a refund is, by right and by the merchant's limits
    /// (`docs/invariants.md` Q9).
    pub(in crate::app) async fn admit_return(
        &self,
        principal: &Principal,
        payment: &Payment,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        if payment.state != PaymentState::Succeeded || payment.is_fresh_sale(now, self.till_undo) {
            return Ok(());
        }
        if !principal.may(Scope::RefundsWrite) {
            return Err(Error::RefundRightRequired {
                payment_id: payment.id,
            });
        }
        self.check_limits(payment).await
    }

    /// The detached part. `None`: the payment changed in between.
    pub(in crate::app) async fn send_cancel(
        &self,
        principal: &Principal,
        payment: Payment,
        ask: UpstreamCall,
    ) -> Result<Option<Payment>, Error> {
        let initiator = Initiator::Caller(principal.api_key_id);
        let app = self.clone();
        let begun = self.answered_early_for(principal.merchant_id, |reply| async move {
            crashpoint!(app.db.failpoints, "cancel.accepted");
            match app.begin(payment, initiator, ask).await {
                Ok(Beginning::Begun(begun)) => {
                    reply.send(Ok(Some(begun.payment.clone())));
                    let id = begun.payment.id;
                    if let Err(error) = app.ask(*begun, initiator).await {
                        tracing::error!(payment.id = %id, error = %error, "the answer to a cancel was not recorded; the follow-up will ask again");
                    }
                }
                Ok(Beginning::Changed | Beginning::LeaseLost) => reply.send(Ok(None)),
                Err(error) => reply.send(Err(Error::from(error))),
            }
        });
        begun.await
    }
}

/// Whether the cancel is done, or really under way already.
fn may_skip(payment: &Payment, now: DateTime<Utc>) -> bool {
    matches!(payment.state, PaymentState::Canceled { .. }) || payment.cancel_is_repeated(now)
}

/// What is asked for a caller who repeats a wish that stands: the same again while Alipay takes a
/// cancel, and after that the question that decides what becomes of the wish.
pub(in crate::app) fn repeated(
    payment: &Payment,
    now: DateTime<Utc>,
    ask: UpstreamCall,
) -> UpstreamCall {
    if payment.cancel_window_is_open(now) {
        ask
    } else {
        UpstreamCall::Query
    }
}

pub(in crate::app) fn check_cancelable(payment: &Payment, now: DateTime<Utc>) -> Result<(), Error> {
    if matches!(payment.state, PaymentState::Failed(_)) {
        return Err(nothing_to_cancel(payment));
    }
    if payment.refund_reserved_minor > 0 {
        return Err(Error::InvalidState {
            subject: Subject::Payment(payment.id),
            detail: "a payment with a refund cannot be canceled; refund the rest",
        });
    }
    if !payment.cancel_window_is_open(now) {
        return Err(window_closed(payment, false));
    }
    Ok(())
}

fn nothing_to_cancel(payment: &Payment) -> Error {
    Error::InvalidState {
        subject: Subject::Payment(payment.id),
        detail: "the payment failed, so there is nothing to cancel",
    }
}

fn window_closed(payment: &Payment, was_sent: bool) -> Error {
    let alternative = match payment.state {
        PaymentState::Succeeded => Alternative::Refund,
        PaymentState::Processing(_)
        | PaymentState::Unresolved
        | PaymentState::Failed(_)
        | PaymentState::Canceled { .. } => Alternative::Wait,
    };
    Error::CancelWindowClosed {
        payment_id: payment.id,
        alternative,
        was_sent,
    }
}
