//! Undoing a payment by the clock and its state: a cancel while Alipay takes one, a refund of all that
//! is left after that (`docs/protocol.md` 6.6).
//!
//! The two never both run. The id of the refund is minted with the wish and kept with the cancel, so
//! that whoever learns that the cancel came too late, or that the merchant's balance is too low for
//! it, turns it into that refund, in one statement. It is asynchronous, so that Alipay keeps it until
//! the balance suffices. The wish stands until it is done or refused for good: neither midnight, nor
//! a week of silence, nor a parked follow-up ends it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::create::check_refundable;
use crate::{
    app::{
        App,
        error::Error,
        payments::{
            ask::UpstreamCall,
            cancel::{check_cancelable, repeated},
            record::Update,
        },
        policy::TRIES,
    },
    db::{error::Error as DbError, recorded::Recorded, refunds::TurnedCancel},
    domain::{
        access::principal::Principal,
        follow_ups::schedule::Subject,
        id::{PartnerRefundId, PaymentId, RefundId},
        listing::RefundFilter,
        payments::payment::{Payment, PaymentState},
        refunds::refund::{NewRefund, Refund, RefundMode, RefundState},
        standing::Standing,
    },
};

/// What Alipay and the books are told about the refund of a reversal.
const REASON: &str = "reversal";

/// How a payment is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReversalAction {
    /// Alipay closes the trade, or returns the money of a paid one in full.
    Cancel,
    /// All that is left is refunded.
    Refund,
    /// It is undone already.
    None,
}

impl ReversalAction {
    /// Every action.
    pub const ALL: [Self; 3] = [Self::Cancel, Self::Refund, Self::None];

    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Refund => "refund",
            Self::None => "none",
        }
    }
}

/// Whether Alipay's fee comes back (`docs/protocol.md` 5.5, 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fee {
    /// In full: so it is with a cancel.
    Returned,
    /// As the contract with Alipay says: so it is with a refund.
    ByContract,
}

impl Fee {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Returned, Self::ByContract];

    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Returned => "returned",
            Self::ByContract => "by_contract",
        }
    }

    const fn of(action: ReversalAction) -> Self {
        match action {
            ReversalAction::Cancel => Self::Returned,
            ReversalAction::Refund | ReversalAction::None => Self::ByContract,
        }
    }
}

/// A reversal: what was done, or what would be.
#[derive(Clone, Debug)]
pub struct Reversal {
    /// How.
    pub action: ReversalAction,
    /// Whether Alipay's fee comes back.
    pub fee: Fee,
    /// The payment as it stands.
    pub payment: Payment,
    /// The refund that undoes it, where one does.
    pub refund: Option<Refund>,
    /// How the refund is made, where one is, would be, or follows a cancel that Alipay refuses.
    pub refund_mode: Option<RefundMode>,
}

impl Reversal {
    /// Where the reversal stands: as what undoes the payment does.
    pub fn standing(&self) -> Standing {
        match (self.action, &self.refund) {
            (ReversalAction::Refund, Some(refund)) => refund.standing(),
            // It may have been undone by several refunds; the books know of them all.
            (ReversalAction::None, Some(refund)) => {
                let is_done = self.payment.refunded_minor == self.payment.refund_reserved_minor;
                Standing::of_refunds(refund.standing(), is_done)
            }
            (ReversalAction::Cancel, _) | (_, None) => self.payment.standing(),
        }
    }
}

impl App {
    /// Says how a payment would be undone now, or what would refuse it, and changes nothing.
    /// `Ok(None)`: no such payment.
    pub async fn preview_reversal(
        &self,
        principal: &Principal,
        id: PaymentId,
    ) -> Result<Option<Reversal>, Error> {
        let found = self.get_payment(principal.merchant_id, id, None).await?;
        let Some(payment) = found else {
            return Ok(None);
        };
        let now = self.db.now().await?;
        let action = match choose(&payment, now)? {
            // The cancel is over, and what is left of the wish is its refund.
            ReversalAction::Cancel if only_refund_is_left(&payment, now) => {
                return Ok(Some(Reversal {
                    action: ReversalAction::Refund,
                    fee: Fee::ByContract,
                    payment,
                    refund: None,
                    refund_mode: Some(RefundMode::Async),
                }));
            }
            action => action,
        };
        Ok(Some(match action {
            ReversalAction::None => {
                let refund = self.latest_refund(&payment).await?;
                reversal(action, payment, refund)
            }
            ReversalAction::Refund => {
                self.check_limits(&payment).await?;
                let mode = self.mode_of_a_refund(&payment).await?;
                Reversal {
                    refund_mode: Some(mode),
                    ..reversal(action, payment, None)
                }
            }
            ReversalAction::Cancel => {
                self.admit_reversal(principal, &payment, now).await?;
                reversal(action, payment, None)
            }
        }))
    }

    /// Undoes a payment. Holds the answer for at most `wait` while that is under way. Asking again
    /// is safe: a cancel is repeated, and a refund takes all that is left, so a second one finds
    /// nothing and the first is shown. `Ok(None)`: no such payment.
    pub async fn reverse_payment(
        &self,
        principal: &Principal,
        id: PaymentId,
        wait: Duration,
    ) -> Result<Option<Reversal>, Error> {
        let deadline = Instant::now() + wait;
        for _ in 0..TRIES {
            let waiter = self.notifier.listen(id);
            let Some(payment) = self.db.payment(principal.merchant_id, id).await? else {
                return Ok(None);
            };
            let now = self.db.now().await?;
            match choose(&payment, now)? {
                ReversalAction::None => {
                    let refund = self.latest_refund(&payment).await?;
                    let payment = waiter.newest(payment);
                    return Ok(Some(reversal(ReversalAction::None, payment, refund)));
                }
                ReversalAction::Refund => {
                    match self.refund_the_rest(principal, &payment, deadline).await? {
                        Some(refund) => return self.undone_by(refund).await.map(Some),
                        // Somebody else took it meanwhile: look again.
                        None => continue,
                    }
                }
                ReversalAction::Cancel => self.admit_reversal(principal, &payment, now).await?,
            }
            let reversal_id = payment.reversal.unwrap_or_else(RefundId::mint);
            let begun = if payment.reversal.is_some() && payment.cancel_is_repeated(now) {
                Some(payment)
            } else {
                let ask = UpstreamCall::Reverse(reversal_id);
                let ask = match payment.reversal {
                    Some(_) => repeated(&payment, now, ask),
                    None => ask,
                };
                self.send_cancel(principal, payment, ask).await?
            };
            let Some(payment) = begun else { continue };
            let over = Payment::cancel_has_ended;
            let payment = self.wait_until(waiter, payment, deadline, over).await;
            let end = self.end_of_cancel(payment, reversal_id, deadline).await;
            return end.map(Some).map_err(Error::after_begin);
        }
        Err(Error::Unavailable("the payment kept changing".into()))
    }

    /// What a cancel has come to: done, under way, or turned into the refund.
    async fn end_of_cancel(
        &self,
        payment: Payment,
        reversal_id: RefundId,
        deadline: Instant,
    ) -> Result<Reversal, Error> {
        if !payment.cancel_has_ended() || matches!(payment.state, PaymentState::Canceled { .. }) {
            return Ok(reversal(ReversalAction::Cancel, payment, None));
        }
        if matches!(payment.state, PaymentState::Failed(_)) {
            return choose(&payment, payment.updated_at)
                .map(|action| reversal(action, payment, None));
        }
        let waiter = self.refund_notifier.listen(reversal_id);
        let refund = self.db.refund(payment.merchant_id, reversal_id).await?;
        let Some(refund) = refund else {
            // The cancel was wished for by somebody else first, without a reversal.
            return Err(self.why_not_canceled(&payment).await);
        };
        let over = |refund: &Refund| refund.standing().is_settled();
        let refund = self.wait_until(waiter, refund, deadline, over).await;
        self.undone_by(refund).await
    }

    /// The reversal that a refund makes; a refund that failed undoes nothing.
    async fn undone_by(&self, refund: Refund) -> Result<Reversal, Error> {
        if let RefundState::Failed(failure) = refund.state {
            return Err(Error::RefundRefused {
                refund_id: refund.id,
                code: failure.code,
                message: failure.message,
            });
        }
        let payment = self
            .get_payment(refund.merchant_id, refund.payment_id, None)
            .await
            .map_err(Error::after_begin)?
            .ok_or_else(|| Error::Internal("a refund without its payment".into()))?;
        Ok(reversal(ReversalAction::Refund, payment, Some(refund)))
    }

    /// Refunds all that is left: at once, or, where the merchant's balance has turned out too low for
    /// that, asynchronously. `None`: nothing is left any more.
    async fn refund_the_rest(
        &self,
        principal: &Principal,
        payment: &Payment,
        deadline: Instant,
    ) -> Result<Option<Refund>, Error> {
        let left = || deadline.saturating_duration_since(Instant::now());
        if self.mode_of_a_refund(payment).await? == RefundMode::Sync {
            let refund = self
                .refund_by(principal, payment, RefundMode::Sync, left())
                .await?;
            if !refund
                .as_ref()
                .is_some_and(Refund::failed_for_want_of_funds)
            {
                return Ok(refund);
            }
        }
        self.refund_by(principal, payment, RefundMode::Async, left())
            .await
    }

    /// How the rest of a payment is refunded: asynchronously where the last refund failed since the
    /// merchant's balance was too low.
    async fn mode_of_a_refund(&self, payment: &Payment) -> Result<RefundMode, Error> {
        let last = self.last_refund(payment).await?;
        Ok(
            if last.is_some_and(|last| last.failed_for_want_of_funds()) {
                RefundMode::Async
            } else {
                RefundMode::Sync
            },
        )
    }

    async fn refund_by(
        &self,
        principal: &Principal,
        payment: &Payment,
        mode: RefundMode,
        wait: Duration,
    ) -> Result<Option<Refund>, Error> {
        let new = NewRefund {
            amount: None,
            mode: Some(mode),
            merchant_reference: None,
            reason: Some(REASON.to_owned()),
            // It takes all that is left: a second one finds nothing, and is no repeat of another refund.
            allow_duplicate: Some(true),
        };
        match self
            .create_refund(principal, payment.id, None, new, wait)
            .await
        {
            Ok(created) => Ok(created.map(|created| created.refund)),
            Err(Error::AmountExceedsRefundable { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a reversal may begin a cancel; one that is under way is asked for again by anybody.
    async fn admit_reversal(
        &self,
        principal: &Principal,
        payment: &Payment,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        if payment.canceling.is_some() {
            return Ok(());
        }
        self.admit_return(principal, payment, now).await
    }

    /// Whether the merchant's limits let all that is left go back now.
    pub(in crate::app) async fn check_limits(&self, payment: &Payment) -> Result<(), Error> {
        let mut allowance = self.db.refund_allowance(payment.merchant_id).await?;
        let default = self.accounts.limits_of(&payment.partner);
        allowance.limits = allowance.limits.or(default);
        let exceeded = allowance.exceeded_by(payment.refundable_minor());
        exceeded.map_or(Ok(()), |exceeded| {
            Err(Error::RefundLimitExceeded {
                payment_id: payment.id,
                exceeded,
            })
        })
    }

    async fn latest_refund(&self, payment: &Payment) -> Result<Option<Refund>, Error> {
        if payment.refund_reserved_minor == 0 {
            return Ok(None);
        }
        self.last_refund(payment).await
    }

    /// The refund that was made last, also one that failed.
    async fn last_refund(&self, payment: &Payment) -> Result<Option<Refund>, Error> {
        let filter = RefundFilter {
            payment_id: Some(payment.id),
            ..RefundFilter::default()
        };
        let page = self
            .list_refunds(payment.merchant_id, &filter, None, 1)
            .await?;
        Ok(page.items.into_iter().next())
    }

    /// Ends a cancel that Alipay refused for good and makes the refund of its reversal.
    pub(in crate::app) async fn turn_into_refund(
        &self,
        payment: &Payment,
        refund_id: RefundId,
        update: &Update,
    ) -> Result<Recorded, DbError> {
        self.db
            .turn_cancel_into_refund(&TurnedCancel {
                payment,
                refund_id,
                partner_refund_id: &PartnerRefundId::for_refund(refund_id),
                reason: REASON,
                actor: update.actor,
                answered: update.answered(),
                lease_token: update.lease_token,
                gateway_at: self.clock.now(),
            })
            .await
    }
}

/// How a payment is undone at `now`.
fn choose(payment: &Payment, now: DateTime<Utc>) -> Result<ReversalAction, Error> {
    match &payment.state {
        PaymentState::Canceled { .. } => Ok(ReversalAction::None),
        PaymentState::Failed(_) => Err(Error::InvalidState {
            subject: Subject::Payment(payment.id),
            detail: "the payment failed, so there is nothing to undo",
        }),
        PaymentState::Succeeded if payment.canceling.is_some() => Ok(ReversalAction::Cancel),
        PaymentState::Succeeded
            if payment.refundable_minor() == 0 && payment.proven_returned_minor > 0 =>
        {
            Err(Error::InvalidState {
                subject: Subject::Payment(payment.id),
                detail: "Alipay says that the money is back, which is being asked about",
            })
        }
        PaymentState::Succeeded if payment.refundable_minor() == 0 => Ok(ReversalAction::None),
        // What has a refund cannot be canceled, whether it is booked yet or proven.
        PaymentState::Succeeded
            if payment.proven_returned_minor == 0 && check_cancelable(payment, now).is_ok() =>
        {
            Ok(ReversalAction::Cancel)
        }
        PaymentState::Succeeded => {
            check_refundable(payment, None)?;
            Ok(ReversalAction::Refund)
        }
        // The wish stands, whatever the clock says.
        PaymentState::Processing(_) | PaymentState::Unresolved if payment.reversal.is_some() => {
            Ok(ReversalAction::Cancel)
        }
        PaymentState::Processing(_) | PaymentState::Unresolved => {
            check_cancelable(payment, now)?;
            Ok(ReversalAction::Cancel)
        }
    }
}

/// Whether Alipay takes no cancel of a paid payment any more whose reversal stands.
fn only_refund_is_left(payment: &Payment, now: DateTime<Utc>) -> bool {
    payment.state == PaymentState::Succeeded
        && payment.reversal.is_some()
        && (payment.poll.cancel_refused || !payment.cancel_window_is_open(now))
}

fn reversal(action: ReversalAction, payment: Payment, refund: Option<Refund>) -> Reversal {
    let fee = match (action, &payment.state) {
        (ReversalAction::None, PaymentState::Canceled { .. }) => Fee::Returned,
        _ => Fee::of(action),
    };
    let refund_mode = match (action, &refund) {
        (_, Some(refund)) => Some(refund.mode),
        (ReversalAction::Cancel, None) => Some(RefundMode::Async),
        (ReversalAction::Refund, None) => Some(RefundMode::Sync),
        (ReversalAction::None, None) => None,
    };
    Reversal {
        action,
        fee,
        payment,
        refund,
        refund_mode,
    }
}
