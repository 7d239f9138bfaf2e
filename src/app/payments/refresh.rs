//! A caller who asks Alipay now where a payment stands.

use crate::app::{App, error::Error};
use crate::domain::{access::principal::Principal, id::PaymentId, payments::payment::Payment};

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
        let refreshed = self.refresh(principal.api_key_id, || async move {
            let payment = self.db.payment(principal.merchant_id, id).await?;
            if let Some(payment) = &payment {
                self.admit_question(&payment.partner)?;
            }
            Ok(payment)
        });
        Ok(refreshed.await?.map(|payment| waiter.newest(payment)))
    }
}
