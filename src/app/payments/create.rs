//! Taking a payment: intent, call, record. The work is detached from the caller, so that one who
//! hangs up at any byte changes nothing (`docs/invariants.md` R6).

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};

use super::{
    outcome::{Told, pay_event},
    record::Update,
};
use crate::app::{
    App,
    accounts::Account,
    deadline::Deadline,
    error::Error,
    insistence::Insistence,
    pipeline::Reply,
    policy::{INTENT, LOOK_FOR_INTENT, RECORD_EFFECT, SEND_WITHIN, TRIES},
};
use crate::{
    alipay::{
        outcome::PayOutcome,
        request::{PayRequest, SecondaryMerchant},
    },
    db::{
        Db,
        error::Error as DbError,
        payments::intent::{Committed, Conflict, Intent, Owner},
    },
    domain::{
        access::principal::Principal,
        attempt::{Answer, AnswerClass},
        follow_ups::{question::Owed, schedule::Subject},
        id::{AttemptId, PartnerTransId, PaymentId},
        idempotency::IdempotencyKey,
        payments::{
            payment::{NewPayment, Payment, PaymentEvent, PaymentState, ProcessingReason},
            poll::PollState,
        },
        transition::Actor,
    },
    failpoint::crashpoint,
};

/// The route that idempotency keys of payments are scoped to.
pub(in crate::app) const ROUTE: &str = "POST /v1/payments";

/// A payment that was created or found again by its idempotency key.
#[derive(Clone, Debug)]
pub struct Created {
    /// Its current state.
    pub payment: Payment,
    /// Whether an earlier request with the same key made it.
    pub replayed: bool,
}

/// What the first database round trip led to.
enum IntentOutcome {
    /// The payment exists from here on, and this request sends it.
    New(Box<Payment>),
    /// An earlier request made it.
    Replay(PaymentId),
}

/// A request under the identity it was given when it came in: one identity, however often the
/// intent has to be written.
struct Incoming {
    principal: Principal,
    intent: Arc<Intent>,
    /// Runs since the request came in.
    accepted: Deadline,
    /// Whom to pay; absent where no such account is configured.
    account: Option<Arc<Account>>,
}

impl App {
    /// Whether an earlier request of the merchant used this key for a payment: then this one is a
    /// repeat, and is answered with that payment whatever the merchant's rules say by now.
    pub async fn is_repeat(
        &self,
        principal: &Principal,
        key: &IdempotencyKey,
    ) -> Result<bool, Error> {
        Ok(self
            .db
            .has_idempotency_key(principal.merchant_id, ROUTE, key)
            .await?)
    }

    /// Takes a payment. Holds the answer for at most `wait` while the outcome is open; the work
    /// itself goes on whatever happens to the caller. Dropping the future only stops the waiting.
    pub async fn create_payment(
        &self,
        principal: &Principal,
        key: IdempotencyKey,
        new: NewPayment,
        wait: Duration,
    ) -> Result<Created, Error> {
        let deadline = Instant::now() + wait;
        let payment_id = PaymentId::mint();
        let incoming = Incoming {
            principal: principal.clone(),
            accepted: Deadline::start(&self.clock),
            account: self
                .account(&new.store.partner)
                .ok()
                .filter(|account| account.alipay.can_sign()),
            intent: Arc::new(Intent {
                merchant_id: principal.merchant_id,
                api_key_id: principal.api_key_id,
                payment_id,
                partner_trans_id: PartnerTransId::for_payment(payment_id),
                attempt_id: AttemptId::mint(),
                route: ROUTE,
                key,
                fingerprint: self.secret.fingerprint(&new),
                scan_hash: self.secret.scan_hash(&new),
                new,
                first_query_after: self.plan.first_query_after,
                gateway_at: self.clock.now(),
            }),
        };
        // Listen before the work starts, so that no change is missed.
        let waiter = self.notifier.listen(payment_id);
        crashpoint!(self.db.failpoints, "create.received");
        let app = self.clone();
        let outcome = self.answered_early_for(principal.merchant_id, |reply| async move {
            app.take(incoming, reply).await;
        });
        match outcome.await? {
            IntentOutcome::New(payment) => {
                let payment = self
                    .wait_until(waiter, *payment, deadline, is_settled)
                    .await;
                Ok(Created {
                    payment,
                    replayed: false,
                })
            }
            IntentOutcome::Replay(id) => {
                let waiter = self.notifier.listen(id);
                let payment = self
                    .db
                    .payment(principal.merchant_id, id)
                    .await
                    .map_err(|error| Error::from(error).after_begin())?
                    .ok_or_else(|| Error::Internal("a key without its payment".into()))?;
                let payment = self.wait_until(waiter, payment, deadline, is_settled).await;
                Ok(Created {
                    payment,
                    replayed: true,
                })
            }
        }
    }

    /// The detached work: writes the intent, answers the caller, calls Alipay, records.
    async fn take(&self, incoming: Incoming, reply: Reply<IntentOutcome>) {
        crashpoint!(self.db.failpoints, "pay.accepted");
        // A database that hangs must not let the request be sent long after the caller was told
        // something: the same deadline bounds both.
        let outcome = timeout(INTENT, self.write_intent(&incoming))
            .await
            .unwrap_or_else(|_| Err(Error::InDoubt("the intent took too long".into())));
        crashpoint!(self.db.failpoints, "pay.intent_known");
        let payment = match outcome {
            Ok(IntentOutcome::New(payment)) => {
                reply.send(Ok(IntentOutcome::New(payment.clone())));
                *payment
            }
            other => {
                let is_in_doubt = matches!(other, Err(Error::InDoubt(_)));
                reply.send(other);
                if is_in_doubt {
                    self.close_unsent(&incoming).await;
                }
                return;
            }
        };
        self.submit(payment, &incoming).await;
    }

    /// The caller was told that the intent is in doubt, so the payment is not sent any more. Where it
    /// turns out to be committed it fails, so that a repeat finds an end and not a payment that
    /// nobody is going to send.
    async fn close_unsent(&self, incoming: &Incoming) {
        let (merchant_id, id) = (incoming.principal.merchant_id, incoming.intent.payment_id);
        let mut insistence = Insistence::lasting(LOOK_FOR_INTENT);
        let payment = loop {
            if let Ok(Some(payment)) = self.db.payment(merchant_id, id).await {
                break payment;
            }
            if self.stopping.is_cancelled() || !insistence.pause().await {
                tracing::warn!(payment.id = %id, "an intent in doubt was not found; if it is committed later, its follow-up closes it");
                return;
            }
        };
        let answer = Answer {
            class: AnswerClass::ConnectFailed,
            code: None,
            detail: Some("the intent was in doubt for too long".to_owned()),
            duration_ms: 0,
        };
        let update = Update {
            answered: Some((incoming.intent.attempt_id, answer)),
            told: Some(Told::Event(PaymentEvent::NeverSent)),
            ..Update::none(
                Actor::ApiKey(incoming.principal.api_key_id),
                payment.created_at,
            )
        };
        if let Err(error) = self.record(payment, &update, RECORD_EFFECT).await {
            tracing::error!(payment.id = %id, error = %error, "an unsent payment was not closed; the follow-up closes it");
        }
    }

    /// Commits the intent or finds what stands in its way. A commit in doubt is resolved by reading
    /// (`docs/invariants.md` R8): the ids were minted by us, so finding them means it is ours.
    async fn write_intent(&self, incoming: &Incoming) -> Result<IntentOutcome, Error> {
        if let Err(refusal) = self.may_be_sent(incoming) {
            // A repeat is answered whatever stands in the way of a new payment.
            let existing = self.existing(&self.db, incoming).await?;
            return match self.resolve_conflict(incoming, existing).await? {
                Some(outcome) => Ok(outcome),
                None => Err(refusal),
            };
        }
        let db = self.db.by(Instant::now() + INTENT);
        let mut insistence = Insistence::lasting(INTENT);
        let mut collisions = 0;
        while collisions < TRIES {
            match db.insert_intent(&incoming.intent).await {
                Ok(Some(committed)) => {
                    return Ok(IntentOutcome::New(Box::new(new_payment(
                        incoming, committed,
                    ))));
                }
                Ok(None) | Err(DbError::Constraint(_)) => collisions += 1,
                Err(error) => {
                    tracing::warn!(payment.id = %incoming.intent.payment_id, error = %error, "the intent is not known to be committed; reading");
                    insistence.outlast(error).await?;
                }
            }
            let existing = match self.existing(&db, incoming).await {
                Ok(existing) => existing,
                Err(error) => {
                    insistence.outlast(error).await?;
                    continue;
                }
            };
            if let Some(outcome) = self.resolve_conflict(incoming, existing).await? {
                return Ok(outcome);
            }
            // Nothing stands in the way any more: what did was undone. Try again.
        }
        Err(insistence.exhausted("requests collided again and again"))
    }

    /// Whether Alipay can be asked for a new payment at all.
    fn may_be_sent(&self, incoming: &Incoming) -> Result<(), Error> {
        let Some(account) = &incoming.account else {
            let partner = incoming.intent.new.store.partner.clone();
            return Err(Error::AccountNotConfigured { partner });
        };
        self.admit_to(account)
    }

    async fn existing(&self, db: &Db, incoming: &Incoming) -> Result<Conflict, DbError> {
        db.existing(
            incoming.principal.merchant_id,
            ROUTE,
            &incoming.intent.key,
            incoming.intent.new.merchant_reference.as_str(),
            &incoming.intent.scan_hash,
        )
        .await
    }

    /// Decides what an existing payment means for this request; `None` when nothing is there.
    async fn resolve_conflict(
        &self,
        incoming: &Incoming,
        existing: Conflict,
    ) -> Result<Option<IntentOutcome>, Error> {
        if let Some((owner, fingerprint)) = existing.by_key {
            let Owner::Payment(payment_id) = owner else {
                return Err(Error::CanceledBeforeCreation);
            };
            if payment_id == incoming.intent.payment_id {
                // The commit in doubt had taken effect.
                let payment = self
                    .db
                    .payment(incoming.principal.merchant_id, payment_id)
                    .await
                    .map_err(|error| Error::from(error).after_begin())?;
                return Ok(payment.map(|payment| IntentOutcome::New(Box::new(payment))));
            }
            let fields = incoming.intent.fingerprint.differing_fields(&fingerprint);
            return if fields.is_empty() {
                Ok(Some(IntentOutcome::Replay(payment_id)))
            } else {
                Err(Error::IdempotencyKeyReused {
                    subject: Subject::Payment(payment_id),
                    fields,
                })
            };
        }
        match existing.by_reference {
            Some(Owner::Payment(payment_id)) => {
                return Err(Error::MerchantReferenceConflict {
                    subject: Subject::Payment(payment_id),
                });
            }
            Some(Owner::Tombstone) => return Err(Error::CanceledBeforeCreation),
            None => {}
        }
        match existing.by_scan {
            Some(payment_id) if !incoming.intent.new.allows_duplicate() => {
                Err(Error::SuspectedDuplicate {
                    subject: Subject::Payment(payment_id),
                })
            }
            _ => Ok(None),
        }
    }

    /// Sends the payment once and records what came back. No database connection is held during
    /// the call.
    async fn submit(&self, payment: Payment, incoming: &Incoming) {
        let new = &incoming.intent.new;
        let store = &new.store;
        let request = PayRequest {
            partner_trans_id: payment.partner_trans_id.clone(),
            amount: payment.amount,
            barcode: new.barcode.clone(),
            description: payment.description.clone(),
            created_at: payment.created_at,
            secondary_merchant: SecondaryMerchant {
                id: store.secondary_merchant_id.clone(),
                name: store.secondary_merchant_name.clone(),
                industry: store.secondary_merchant_industry.clone(),
                store_id: store.store_id.clone(),
                store_name: store.store_name.clone(),
                terminal_id: payment.terminal_id.clone(),
                service_provider_id: None,
            },
        };
        crashpoint!(self.db.failpoints, "pay.replied");
        let started = Instant::now();
        // Not sent, it fails at once: whatever another replica has asked meanwhile, there is no
        // trade, and there will be none.
        let too_late = || incoming.accepted.expired(SEND_WITHIN);
        let Some(account) = &incoming.account else {
            return;
        };
        let call = account.alipay.pay(&request, too_late).await;
        crashpoint!(self.db.failpoints, "pay.answered");
        let owed = match call.outcome {
            PayOutcome::Unconfirmed => Owed::Now,
            PayOutcome::Paid { .. }
            | PayOutcome::BuyerMustConfirm { .. }
            | PayOutcome::Declined(_)
            | PayOutcome::NotSent
            | PayOutcome::Unknown => Owed::AsBefore,
        };
        let update = Update {
            answered: Some((incoming.intent.attempt_id, call.answer)),
            told: Some(Told::Event(pay_event(call.outcome))),
            owed,
            // Nothing is rescheduled: the first query is planned already.
            ..Update::none(
                Actor::ApiKey(incoming.principal.api_key_id),
                payment.created_at + started.elapsed(),
            )
        };
        let id = payment.id;
        if let Err(error) = self.record(payment, &update, RECORD_EFFECT).await {
            // Nothing is lost: the follow-up asks Alipay again.
            tracing::error!(payment.id = %id, error = %error, "the answer was not recorded; the follow-up will ask again");
        }
        crashpoint!(self.db.failpoints, "pay.recorded");
    }
}

/// Whether a caller has nothing left to wait for.
fn is_settled(payment: &Payment) -> bool {
    payment.standing().is_settled()
}

/// The payment as the intent has just written it, without reading it back.
fn new_payment(incoming: &Incoming, committed: Committed) -> Payment {
    let new = &incoming.intent.new;
    Payment {
        id: incoming.intent.payment_id,
        version: 1,
        merchant_id: incoming.principal.merchant_id,
        store_id: new.store.store_id.clone(),
        terminal_id: new.terminal_id.clone(),
        merchant_reference: new.merchant_reference.clone(),
        description: new.description().to_owned(),
        amount: new.amount,
        barcode_hint: new.barcode.hint(),
        partner: new.store.partner.clone(),
        partner_trans_id: incoming.intent.partner_trans_id.clone(),
        cancel_after_seconds: new.cancel_after_seconds(),
        metadata: new.metadata().clone(),
        allowed_wallets: new.allowed_wallets.clone(),
        state: PaymentState::Processing(ProcessingReason::Submitting),
        alipay_trans_id: None,
        charge: None,
        unpaid_wallet: None,
        canceling: None,
        reversal: None,
        refund_reserved_minor: 0,
        refunded_minor: 0,
        contradicted_at: None,
        proven_returned_minor: 0,
        decided_by_operator: false,
        poll: PollState {
            next_check_at: Some(committed.due_at),
            ..PollState::default()
        },
        created_at: committed.created_at,
        updated_at: committed.created_at,
        finalized_at: None,
    }
}
