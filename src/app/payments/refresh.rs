//! A caller who asks Alipay now where a payment stands.

use super::ask::{Beginning, Initiator, UpstreamCall};
use crate::app::{App, error::Error, notifier::Awaited as _};
use crate::{
    domain::{
        access::principal::Principal, follow_ups::schedule::Subject, id::PaymentId,
        payments::payment::Payment, transition::Actor,
    },
    failpoint::crashpoint,
};

impl App {
    /// Asks Alipay now where the trade stands, and records what it says. Nothing changes where no
    /// usable answer comes. `Ok(None)`: no such payment.
    pub async fn refresh_payment(
        &self,
        principal: &Principal,
        id: PaymentId,
    ) -> Result<Option<Payment>, Error> {
        // Listen before reading, so that the answer is no older than what others were told meanwhile.
        let waiter = self.notifier.listen(id);
        let Some(payment) = self.db.payment(principal.merchant_id, id).await? else {
            return Ok(None);
        };
        self.admit_question(&payment.partner)?;
        let caller = Initiator {
            actor: Actor::ApiKey(principal.api_key_id),
            fence: None,
        };
        let place = self.admission.enter(principal.merchant_id)?;
        let app = self.clone();
        // Detached: a caller that hangs up must not leave an answer unrecorded.
        let work = async move {
            let _place = place;
            crashpoint!(app.db.failpoints, "refresh.accepted");
            match app.begin(payment, caller, UpstreamCall::Query).await? {
                Beginning::Begun(begun) => app
                    .ask(*begun, caller, UpstreamCall::Query)
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
        let Some((payment, answer)) = outcome? else {
            return Err(Error::Unavailable("the payment kept changing".into()));
        };
        if answer.class.tells_something() {
            // What was learnt may be nothing new, and what was asked about another by now.
            let current = payment.look(&self.db).await;
            Ok(Some(waiter.newest(current.unwrap_or(payment))))
        } else {
            Err(Error::UpstreamSilent {
                subject: Subject::Payment(id),
                class: answer.class.as_str(),
            })
        }
    }
}
