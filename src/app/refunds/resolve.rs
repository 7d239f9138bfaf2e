//! An operator decides a refund that stayed open.

use super::record::RefundUpdate;
use crate::{
    app::{App, error::Error, policy::DECIDE},
    db::contradictions::Settlement,
    domain::{
        access::principal::Identity,
        follow_ups::schedule::Subject,
        id::RefundId,
        refunds::refund::{Refund, RefundEvent, RefundResolution},
        transition::{Actor, Justification},
    },
};

impl App {
    /// Records an operator's decision about a refund that is unresolved, or that Alipay contradicts: what
    /// was said is accepted, or the books stand. `Ok(None)`: no such refund.
    pub async fn resolve_refund(
        &self,
        identity: &Identity,
        id: RefundId,
        resolution: RefundResolution,
        justification: &Justification,
    ) -> Result<Option<Refund>, Error> {
        let subject = Subject::Refund(id);
        let Some(merchant_id) = self.merchant_of(identity.tenant_scope, subject).await? else {
            return Ok(None);
        };
        let waiter = self.refund_notifier.listen(id);
        let Some(refund) = self.db.refund(merchant_id, id).await? else {
            return Ok(None);
        };
        let not_unresolved = || Error::InvalidState {
            subject: Subject::Refund(id),
            detail: "only a refund that is unresolved, that Alipay contradicts, or that failed late can be resolved",
        };
        if !refund.needs_a_person() {
            return Err(not_unresolved());
        }
        if resolution.says_what_is(&refund.state) && refund.contradicted_at.is_some() {
            let settlement = Settlement {
                actor: Actor::ApiKey(identity.api_key_id),
                attempt_id: None,
                justification: Some(justification),
                question_at: Some(Refund::decision_is_checked_at(self.db.now().await?)),
                gateway_at: self.clock.now(),
            };
            return if self
                .db
                .settle_refund_contradictions(&refund, &settlement)
                .await?
            {
                tracing::warn!(refund.id = %id, api_key.id = %identity.api_key_id, ticket = %justification.ticket, "an operator settled what contradicts a refund: the books stand");
                Ok(self.db.refund(merchant_id, id).await?)
            } else {
                Err(not_unresolved())
            };
        }
        let update = RefundUpdate {
            event: Some(RefundEvent::Resolved(resolution)),
            justification: Some(justification.clone()),
            ..RefundUpdate::none(Actor::ApiKey(identity.api_key_id), self.db.now().await?)
        };
        let before = refund.version;
        let refund = self.record(refund, &update, DECIDE).await?;
        // The truth, or another's decision, may have arrived in between; it wins.
        if refund.version == before || !resolution.says_what_is(&refund.state) {
            return Err(not_unresolved());
        }
        tracing::warn!(refund.id = %id, api_key.id = %identity.api_key_id, ticket = %justification.ticket, status = refund.state.status(), "an operator resolved a refund");
        Ok(Some(waiter.newest(refund)))
    }
}
