//! An operator decides a payment that stayed open, or that Alipay contradicts, on evidence from outside.

use chrono::{DateTime, Utc};

use super::{outcome::Told, record::Update};
use crate::app::{App, error::Error, policy::DECIDE};
use crate::{
    db::contradictions::Settlement,
    domain::{
        access::principal::Identity,
        follow_ups::schedule::Subject,
        id::PaymentId,
        payments::payment::{Payment, PaymentEvent, PaymentState, Resolution},
        transition::{Actor, Justification},
    },
};

impl App {
    /// Records an operator's decision about a payment that needs one, or that Alipay contradicts: what
    /// was said is accepted, or the books stand. `Ok(None)`: no such payment.
    pub async fn resolve_payment(
        &self,
        identity: &Identity,
        id: PaymentId,
        resolution: Resolution,
        justification: &Justification,
    ) -> Result<Option<Payment>, Error> {
        let subject = Subject::Payment(id);
        let Some(merchant_id) = self.merchant_of(identity.tenant_scope, subject).await? else {
            return Ok(None);
        };
        let waiter = self.notifier.listen(id);
        let Some(payment) = self.db.payment(merchant_id, id).await? else {
            return Ok(None);
        };
        let now = self.db.now().await?;
        if !payment.may_be_decided(now) {
            return Err(needs_nobody(id));
        }
        let stands = resolution.says_what_is(&payment.state) && payment.canceling.is_none();
        if payment.contradicted_at.is_some() && stands {
            return self
                .let_books_stand(identity, &payment, justification, now)
                .await;
        }
        let update = Update {
            told: Some(Told::Event(PaymentEvent::Resolved(resolution.clone()))),
            justification: Some(justification.clone()),
            ..Update::none(Actor::ApiKey(identity.api_key_id), now)
        };
        let before = payment.version;
        let payment = self.record(payment, &update, DECIDE).await?;
        // The truth, or another's decision, may have arrived in between; it wins.
        let is_decided = payment.is_settled() && resolution.says_what_is(&payment.state);
        if payment.version == before || !is_decided {
            return Err(not_decided(&payment, now));
        }
        tracing::warn!(payment.id = %id, api_key.id = %identity.api_key_id, ticket = %justification.ticket, status = payment.state.status(), "an operator resolved a payment");
        Ok(Some(waiter.newest(payment)))
    }

    /// Settles what Alipay said against a payment by a person's word that the books are right.
    async fn let_books_stand(
        &self,
        identity: &Identity,
        payment: &Payment,
        justification: &Justification,
        now: DateTime<Utc>,
    ) -> Result<Option<Payment>, Error> {
        let settlement = Settlement {
            question_at: Some(self.decision_is_checked_at(payment, now)),
            actor: Actor::ApiKey(identity.api_key_id),
            attempt_id: None,
            justification: Some(justification),
            gateway_at: self.clock.now(),
        };
        let settled = self
            .db
            .settle_payment_contradictions(payment, &settlement)
            .await?;
        if !settled {
            return Err(needs_nobody(payment.id));
        }
        tracing::warn!(payment.id = %payment.id, api_key.id = %identity.api_key_id, ticket = %justification.ticket, "an operator settled what contradicts a payment: the books stand");
        let read = self.db.payment(payment.merchant_id, payment.id).await;
        read.map_err(|error| Error::from(error).after_begin())
    }
}

fn needs_nobody(payment_id: PaymentId) -> Error {
    Error::InvalidState {
        subject: Subject::Payment(payment_id),
        detail: "the payment needs nobody's decision; what does is on GET /v1/unresolved",
    }
}

/// Why a decision about a payment that needed one was not taken.
fn not_decided(payment: &Payment, now: DateTime<Utc>) -> Error {
    if !payment.may_be_decided(now) {
        return needs_nobody(payment.id);
    }
    Error::InvalidState {
        subject: Subject::Payment(payment.id),
        detail: match payment.state {
            PaymentState::Canceled { .. } => {
                "the payment is closed; a decision can only change its money_returned"
            }
            _ => "the payment was paid, which this decision does not fit",
        },
    }
}
