//! Making a refund: intent, call, record, in the shape of a payment's.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{ask::send_refund, limits, outcome::refund_event, record::RefundUpdate};
use crate::{
    app::{
        App,
        deadline::Deadline,
        error::Error,
        insistence::Insistence,
        pipeline::Reply,
        policy::{FIRST_REFUND_QUERY_AFTER, INTENT, RECORD_EFFECT, TRIES},
    },
    db::{
        Db,
        error::Error as DbError,
        refunds::{CommittedRefund, RefundConflict, RefundIntent},
    },
    domain::{
        access::principal::Principal,
        follow_ups::schedule::Subject,
        id::{AttemptId, PartnerRefundId, PaymentId, RefundId},
        idempotency::{IdempotencyKey, RequestFingerprint},
        money::Money,
        payments::payment::{Payment, PaymentState},
        refunds::refund::{
            NewRefund, PendingReason, Refund, RefundOrigin, RefundPollState, RefundState,
        },
        transition::Actor,
    },
    failpoint::crashpoint,
};

/// The route that idempotency keys of refunds are scoped to.
const ROUTE: &str = "POST /v1/payments/{id}/refunds";

/// A refund that was made or found again by its idempotency key.
#[derive(Clone, Debug)]
pub struct CreatedRefund {
    /// Its current state.
    pub refund: Refund,
    /// Whether an earlier request with the same key made it.
    pub replayed: bool,
}

/// What the first database round trip led to.
enum IntentOutcome {
    /// The refund exists from here on, and this request sends it.
    New(Box<Refund>),
    /// An earlier request made it.
    Replay(RefundId),
    /// There is no such payment.
    NoPayment,
}

/// Why looking for an obstacle brought none.
#[derive(Debug)]
enum Lookup {
    /// The request is refused.
    Refused(Error),
    /// The database did not tell.
    Db(DbError),
}

impl From<DbError> for Lookup {
    fn from(error: DbError) -> Self {
        Self::Db(error)
    }
}

/// A request under the identity it was given when it came in: one identity, however often the intent
/// has to be written.
struct Incoming {
    principal: Principal,
    payment_id: PaymentId,
    key: Option<IdempotencyKey>,
    new: NewRefund,
    refund_id: RefundId,
    partner_refund_id: PartnerRefundId,
    attempt_id: AttemptId,
    fingerprint: RequestFingerprint,
}

impl App {
    /// Refunds a paid payment, in whole or in part. Holds the answer for at most `wait` while the
    /// outcome is open; the work itself goes on whatever happens to the caller. `Ok(None)`: no such
    /// payment. Without a key (a reversal) the amount must be all that is left, so that a repeat finds
    /// nothing to refund.
    pub async fn create_refund(
        &self,
        principal: &Principal,
        payment_id: PaymentId,
        key: Option<IdempotencyKey>,
        new: NewRefund,
        wait: Duration,
    ) -> Result<Option<CreatedRefund>, Error> {
        let deadline = Instant::now() + wait;
        let refund_id = RefundId::mint();
        let incoming = Incoming {
            principal: principal.clone(),
            payment_id,
            refund_id,
            partner_refund_id: PartnerRefundId::for_refund(refund_id),
            attempt_id: AttemptId::mint(),
            fingerprint: self.secret.refund_fingerprint(payment_id, &new),
            key,
            new,
        };
        // Listen before the work starts, so that no change is missed.
        let waiter = self.refund_notifier.listen(refund_id);
        let app = self.clone();
        let outcome = self.answered_early_for(principal.merchant_id, |reply| async move {
            app.take_refund(incoming, reply).await;
        });
        let (waiter, refund, replayed) = match outcome.await? {
            IntentOutcome::New(refund) => (waiter, *refund, false),
            IntentOutcome::Replay(id) => {
                let waiter = self.refund_notifier.listen(id);
                let refund = self
                    .db
                    .refund(principal.merchant_id, id)
                    .await
                    .map_err(|error| Error::from(error).after_begin())?
                    .ok_or_else(|| Error::Internal("a key without its refund".into()))?;
                (waiter, refund, true)
            }
            IntentOutcome::NoPayment => return Ok(None),
        };
        let answered = |refund: &Refund| refund.standing().is_settled() || is_with_alipay(refund);
        let refund = self.wait_until(waiter, refund, deadline, answered).await;
        Ok(Some(CreatedRefund { refund, replayed }))
    }

    /// The detached work: writes the intent, answers the caller, calls Alipay, records.
    async fn take_refund(&self, incoming: Incoming, reply: Reply<IntentOutcome>) {
        crashpoint!(self.db.failpoints, "refund.accepted");
        let decided = Deadline::start(&self.clock);
        let outcome = timeout(INTENT, self.write_refund_intent(&incoming))
            .await
            .unwrap_or_else(|_| Err(Error::InDoubt("the intent took too long".into())));
        crashpoint!(self.db.failpoints, "refund.intent_known");
        let refund = match outcome {
            Ok(IntentOutcome::New(refund)) => {
                reply.send(Ok(IntentOutcome::New(refund.clone())));
                *refund
            }
            other => {
                reply.send(other);
                return;
            }
        };
        self.submit_refund(refund, &incoming, &decided).await;
    }

    /// Commits the intent or finds what stands in its way. A commit in doubt is resolved by reading
    /// (`docs/invariants.md` R8): the ids were minted by us, so finding them means it is ours.
    async fn write_refund_intent(&self, incoming: &Incoming) -> Result<IntentOutcome, Error> {
        let intent = self.refund_intent(incoming);
        if let Some(outcome) = self.refuse_while_silent(incoming, &intent).await? {
            return Ok(outcome);
        }
        let db = self.db.by(Instant::now() + INTENT);
        let mut insistence = Insistence::lasting(INTENT);
        let mut collisions = 0;
        while collisions < TRIES {
            match db.insert_refund_intent(&intent).await {
                Ok(Some(committed)) => {
                    self.watch_refund(intent.merchant_id, &committed).await;
                    return Ok(IntentOutcome::New(Box::new(new_refund(
                        incoming, committed,
                    ))));
                }
                Ok(None) | Err(DbError::Constraint(_)) => collisions += 1,
                Err(error) => {
                    tracing::warn!(refund.id = %incoming.refund_id, error = %error, "the intent is not known to be committed; reading");
                    insistence.outlast(error).await?;
                }
            }
            match self
                .look_for_conflict(&db, incoming, &intent, insistence.was_in_doubt())
                .await
            {
                Ok(Some(outcome)) => return Ok(outcome),
                // Nothing stands in the way any more: what did was undone. Try again.
                Ok(None) => {}
                Err(Lookup::Refused(error)) => return Err(error),
                Err(Lookup::Db(error)) => insistence.outlast(error).await?,
            }
        }
        Err(insistence.exhausted("requests collided again and again"))
    }

    /// Refuses a new refund while Alipay does not answer. A repeat is answered nevertheless, and the
    /// payment, which tells the account, is read only where some account does not answer.
    async fn refuse_while_silent(
        &self,
        incoming: &Incoming,
        intent: &RefundIntent<'_>,
    ) -> Result<Option<IntentOutcome>, Error> {
        if !self.accounts.any_circuit_is_open() {
            return Ok(None);
        }
        let conflict = self.db.refund_conflict(intent).await?;
        let partner = match &conflict {
            RefundConflict::Conflict(_, payment) => Some(payment.partner.clone()),
            RefundConflict::NoPayment => None,
        };
        if let Some(outcome) = resolve_conflict(incoming, conflict)? {
            return Ok(Some(outcome));
        }
        partner.map_or(Ok(None), |partner| {
            self.admit_new_work(&partner).map(|()| None)
        })
    }

    /// What an intent that was not written, or may have been, means for the request. `None`: nothing
    /// stands in its way.
    async fn look_for_conflict(
        &self,
        db: &Db,
        incoming: &Incoming,
        intent: &RefundIntent<'_>,
        was_in_doubt: bool,
    ) -> Result<Option<IntentOutcome>, Lookup> {
        if was_in_doubt {
            let merchant_id = incoming.principal.merchant_id;
            if let Some(refund) = db.refund(merchant_id, incoming.refund_id).await? {
                // The commit in doubt had taken effect.
                return Ok(Some(IntentOutcome::New(Box::new(refund))));
            }
        }
        let mut conflict = db.refund_conflict(intent).await?;
        if let RefundConflict::Conflict(existing, payment) = &mut conflict {
            let default = self.accounts.limits_of(&payment.partner);
            existing.allowance.limits = existing.allowance.limits.or(default);
        }
        resolve_conflict(incoming, conflict).map_err(Lookup::Refused)
    }

    fn refund_intent<'a>(&self, incoming: &'a Incoming) -> RefundIntent<'a> {
        RefundIntent {
            merchant_id: incoming.principal.merchant_id,
            api_key_id: incoming.principal.api_key_id,
            payment_id: incoming.payment_id,
            refund_id: incoming.refund_id,
            partner_refund_id: &incoming.partner_refund_id,
            attempt_id: incoming.attempt_id,
            route: ROUTE,
            key: incoming.key.as_ref(),
            fingerprint: &incoming.fingerprint,
            new: &incoming.new,
            account_limits: self.accounts.limits(),
            first_query_after: FIRST_REFUND_QUERY_AFTER,
            gateway_at: self.clock.now(),
        }
    }

    /// Sends the request and records what came back. No database connection is held during the
    /// call.
    async fn submit_refund(&self, refund: Refund, incoming: &Incoming, decided: &Deadline) {
        crashpoint!(self.db.failpoints, "refund.replied");
        let started = Instant::now();
        let Ok(account) = self.account(&refund.partner) else {
            // The refund is stored and its amount reserved; the follow-up sends it once the account
            // is configured.
            return;
        };
        let call = send_refund(&account, &refund, decided).await;
        crashpoint!(self.db.failpoints, "refund.answered");
        let update = RefundUpdate {
            answered: Some((incoming.attempt_id, call.answer)),
            event: Some(refund_event(call.outcome, &refund)),
            reschedule: true,
            ..RefundUpdate::none(
                Actor::ApiKey(incoming.principal.api_key_id),
                refund.created_at + started.elapsed(),
            )
        };
        let id = refund.id;
        if let Err(error) = self.record(refund, &update, RECORD_EFFECT).await {
            // Nothing is lost: the follow-up asks Alipay again.
            tracing::error!(refund.id = %id, error = %error, "the answer was not recorded; the follow-up will ask again");
        }
        crashpoint!(self.db.failpoints, "refund.recorded");
    }
}

/// Decides what stands in the way of a request; `None` when nothing does.
fn resolve_conflict(
    incoming: &Incoming,
    conflict: RefundConflict,
) -> Result<Option<IntentOutcome>, Error> {
    let RefundConflict::Conflict(existing, payment) = conflict else {
        return Ok(Some(IntentOutcome::NoPayment));
    };
    if let Some((refund_id, fingerprint)) = existing.by_key {
        let fields = incoming.fingerprint.differing_fields(&fingerprint);
        return if fields.is_empty() {
            Ok(Some(IntentOutcome::Replay(refund_id)))
        } else {
            Err(Error::IdempotencyKeyReused {
                subject: Subject::Refund(refund_id),
                fields,
            })
        };
    }
    if let Some(refund_id) = existing.by_reference {
        return Err(Error::MerchantReferenceConflict {
            subject: Subject::Refund(refund_id),
        });
    }
    check_refundable(&payment, incoming.new.amount)?;
    if let Some(retry_after_seconds) = existing.cancel_acts_for_seconds {
        return Err(Error::CancelMayAct {
            payment_id: payment.id,
            retry_after_seconds,
        });
    }
    if let Some(refund_id) = existing.by_amount {
        return Err(Error::SuspectedDuplicate {
            subject: Subject::Refund(refund_id),
        });
    }
    let left = payment.refundable_minor();
    let wanted_minor = incoming.new.amount.map_or(left, Money::minor);
    match existing.allowance.exceeded_by(wanted_minor) {
        Some(exceeded) => {
            limits::note_refusal(&payment, exceeded);
            Err(Error::RefundLimitExceeded {
                payment_id: payment.id,
                exceeded,
            })
        }
        None => Ok(None),
    }
}

/// Whether a payment can be refunded by an amount; by what is left where none is given.
pub(super) fn check_refundable(payment: &Payment, amount: Option<Money>) -> Result<(), Error> {
    let refuse = |detail| {
        Err(Error::InvalidState {
            subject: Subject::Payment(payment.id),
            detail,
        })
    };
    match &payment.state {
        PaymentState::Succeeded if payment.canceling.is_some() => {
            refuse("a cancel of the payment is under way; it returns the money in full")
        }
        PaymentState::Succeeded => {
            let left = payment.refundable_minor();
            let wanted = amount.map_or(left.max(1), Money::minor);
            if wanted <= left {
                return Ok(());
            }
            Err(Error::AmountExceedsRefundable {
                payment_id: payment.id,
                refundable: Money::new(left, payment.amount.currency()),
            })
        }
        PaymentState::Processing(_) => {
            refuse("the payment is not paid yet; cancel it, or wait for its outcome")
        }
        PaymentState::Failed(_) => refuse("the payment failed, so there is nothing to refund"),
        PaymentState::Canceled { .. } => {
            refuse("the payment is canceled, so there is nothing to refund")
        }
        PaymentState::Unresolved => {
            refuse("whether the payment was paid is not known; it must be resolved first")
        }
    }
}

/// Whether Alipay has accepted the refund, so that no answer is to be expected soon.
fn is_with_alipay(refund: &Refund) -> bool {
    match refund.state {
        RefundState::Pending(
            PendingReason::AwaitingBatch
            | PendingReason::InsufficientFunds
            | PendingReason::Processing,
        ) => true,
        RefundState::Pending(PendingReason::Submitting | PendingReason::OutcomeUnknown)
        | RefundState::Succeeded
        | RefundState::Failed(_)
        | RefundState::Unresolved => false,
    }
}

/// The refund as the intent has just written it, without reading it back.
fn new_refund(incoming: &Incoming, committed: CommittedRefund) -> Refund {
    let new = &incoming.new;
    Refund {
        id: incoming.refund_id,
        version: 1,
        merchant_id: incoming.principal.merchant_id,
        payment_id: incoming.payment_id,
        origin: RefundOrigin::Gateway,
        mode: new.mode(),
        amount: committed.amount,
        merchant_reference: new.merchant_reference.clone(),
        reason: new.reason.clone(),
        partner: committed.partner,
        partner_trans_id: committed.partner_trans_id,
        partner_refund_id: incoming.partner_refund_id.clone(),
        alipay_trans_id: committed.alipay_trans_id,
        state: RefundState::Pending(PendingReason::Submitting),
        refusal: None,
        unknown_code: None,
        accepted_at: None,
        succeeded_at: None,
        contradicted_at: None,
        decided_by_operator: false,
        failed_late: false,
        poll: RefundPollState {
            next_check_at: Some(committed.due_at),
            submits: 1,
            last_submit_at: Some(committed.created_at),
            ..RefundPollState::default()
        },
        created_at: committed.created_at,
        updated_at: committed.created_at,
        finalized_at: None,
    }
}
