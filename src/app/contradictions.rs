//! Keeping what contradicts the books, and settling it.

use super::{App, payments::record::Update, refunds::RefundUpdate};
use crate::{
    db::{
        contradictions::{NewContradiction, Opened, Settlement},
        error::Error as DbError,
    },
    domain::{
        contradiction::Claim,
        id::AttemptId,
        payments::payment::Payment,
        refunds::refund::Refund,
        transition::{Actor, FileLine},
    },
    failpoint::crashpoint,
};

impl App {
    /// Keeps what an answer, or a row of a file, says against a payment. From there on a question is due, and a person
    /// sees it. `code` is Alipay's, where a refusal says it.
    pub(super) async fn contradict(
        &self,
        payment: &Payment,
        claim: Claim,
        code: &str,
        actor: Actor,
        attempt_id: Option<AttemptId>,
    ) -> Result<Opened, DbError> {
        let new = NewContradiction {
            claim,
            reference: code,
            returned_minor: claim.returned_of(payment),
            actor,
            attempt_id,
            gateway_at: self.clock.now(),
        };
        self.keep_against(payment, &new).await
    }

    async fn keep_against(
        &self,
        payment: &Payment,
        new: &NewContradiction<'_>,
    ) -> Result<Opened, DbError> {
        let opened = self.db.contradict_payment(payment, new).await?;
        if opened == Opened::New {
            crashpoint!(self.db.failpoints, "contradiction.opened");
            note_payment(payment, new.claim);
        }
        Ok(opened)
    }

    /// Keeps what the update says against a refund.
    pub(super) async fn contradict_refund(
        &self,
        refund: &Refund,
        claim: Claim,
        update: &RefundUpdate,
    ) -> Result<Opened, DbError> {
        let opened = self
            .db
            .contradict_refund(
                refund,
                &NewContradiction {
                    claim,
                    reference: "",
                    returned_minor: claim.returned_by(refund),
                    actor: update.actor,
                    attempt_id: update.attempt_id(),
                    gateway_at: self.clock.now(),
                },
            )
            .await?;
        if opened == Opened::New {
            crashpoint!(self.db.failpoints, "contradiction.refund_opened");
            metrics::counter!("refund_contradictions_total", "event" => claim.as_str())
                .increment(1);
            tracing::error!(
                refund.id = %refund.id,
                status = refund.state.status(),
                claim = claim.as_str(),
                "Alipay contradicts what is known of a refund; it is asked, and a person must look"
            );
        }
        Ok(opened)
    }

    /// Keeps a refund of the portal for which its payment has no room.
    pub(super) async fn contradict_by_portal_refund(
        &self,
        payment: &Payment,
        partner_refund_id: &str,
        amount_minor: i64,
        line: FileLine,
    ) -> Result<Opened, DbError> {
        let new = NewContradiction {
            claim: Claim::RefundMadeInPortal,
            reference: partner_refund_id,
            returned_minor: amount_minor,
            actor: Actor::File(line),
            attempt_id: None,
            gateway_at: self.clock.now(),
        };
        self.keep_against(payment, &new).await
    }

    /// Settles what stands against a payment by an answer that agrees with the books. `false`: there is
    /// nothing of which the answer speaks.
    pub(super) async fn settle_by_answer(
        &self,
        payment: &Payment,
        update: &Update,
    ) -> Result<bool, DbError> {
        let settlement = Settlement {
            actor: update.actor,
            attempt_id: update.attempt_id(),
            justification: None,
            question_at: None,
            gateway_at: self.clock.now(),
        };
        self.db
            .settle_payment_contradictions(payment, &settlement)
            .await
    }

    /// The same for a refund.
    pub(super) async fn settle_refund_by_answer(
        &self,
        refund: &Refund,
        update: &RefundUpdate,
    ) -> Result<bool, DbError> {
        let settlement = Settlement {
            actor: update.actor,
            attempt_id: update.attempt_id(),
            justification: None,
            question_at: None,
            gateway_at: self.clock.now(),
        };
        self.db
            .settle_refund_contradictions(refund, &settlement)
            .await
    }
}

fn note_payment(payment: &Payment, claim: Claim) {
    metrics::counter!("payment_contradictions_total", "event" => claim.as_str()).increment(1);
    tracing::error!(
        payment.id = %payment.id,
        status = payment.state.status(),
        claim = claim.as_str(),
        "Alipay contradicts what is known of a payment; it is asked, and a person must look"
    );
}
