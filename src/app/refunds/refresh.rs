//! A caller who asks Alipay now where a refund stands.

use super::ask::{Beginning, UpstreamCall};
use crate::{
    app::{App, error::Error, notifier::Awaited as _, payments::ask::Initiator, policy::TRIES},
    domain::{
        access::principal::Principal, follow_ups::schedule::Subject, id::RefundId,
        refunds::refund::Refund, transition::Actor,
    },
};

impl App {
    /// Asks Alipay now where the refund stands, and records what it says. Nothing changes where no
    /// usable answer comes. `Ok(None)`: no such refund.
    pub async fn refresh_refund(
        &self,
        principal: &Principal,
        id: RefundId,
    ) -> Result<Option<Refund>, Error> {
        // Listen before reading, so that the answer is no older than what others were told meanwhile.
        let waiter = self.refund_notifier.listen(id);
        let mut contradicted = None;
        for _ in 0..TRIES {
            let Some(refund) = self.db.refund(principal.merchant_id, id).await? else {
                return Ok(None);
            };
            self.admit_question(&refund.partner)?;
            let caller = Initiator {
                actor: Actor::ApiKey(principal.api_key_id),
                fence: None,
            };
            let place = self.admission.enter(principal.merchant_id)?;
            let app = self.clone();
            // Detached: a caller that hangs up must not leave an answer unrecorded.
            let work = async move {
                let _place = place;
                match app
                    .begin_refund(refund, caller, UpstreamCall::Query)
                    .await?
                {
                    Beginning::Begun(begun) => app
                        .ask_refund(*begun, caller, UpstreamCall::Query)
                        .await
                        .map(Some)
                        .map_err(Error::from),
                    Beginning::Changed | Beginning::FenceLost => Ok(None),
                }
            };
            let outcome: Result<_, Error> = self
                .run_detached(work)
                .await
                .map_err(|error| Error::Internal(Box::new(error)))?;
            let Some((refund, answer)) = outcome? else {
                continue;
            };
            let has_told = answer.class.tells_something();
            if has_told && refund.is_newly_contradicted() && contradicted.is_none() {
                // What was said against the books is asked about once more before it is shown.
                contradicted = Some(refund);
                continue;
            }
            return if has_told || contradicted.is_some() {
                // What was learnt may be nothing new, and what was asked about another by now.
                let current = refund.look(&self.db).await;
                Ok(Some(waiter.newest(current.unwrap_or(refund))))
            } else {
                Err(Error::UpstreamSilent {
                    subject: Subject::Refund(id),
                    class: answer.class.as_str(),
                })
            };
        }
        match contradicted {
            Some(refund) => Ok(Some(waiter.newest(refund))),
            None => Err(Error::Unavailable("the refund kept changing".into())),
        }
    }
}
