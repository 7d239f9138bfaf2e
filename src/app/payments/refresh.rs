//! A caller who asks Alipay now where a payment stands.

use crate::app::{App, error::Error};
use crate::domain::{
    id::{ApiKeyId, MerchantId, PaymentId},
    payments::payment::Payment,
};

impl App {
    /// Asks Alipay now where the trade stands, and records what it says. Nothing changes where no
    /// usable answer comes. `Ok(None)`: no such payment.
    pub async fn refresh_payment(
        &self,
        caller: ApiKeyId,
        merchant_id: MerchantId,
        id: PaymentId,
    ) -> Result<Option<Payment>, Error> {
        // Listen before reading, so that the answer is no older than what others were told meanwhile.
        let waiter = self.notifier.listen(id);
        let refreshed = self.refresh(caller, || async move {
            let payment = self.db.payment(merchant_id, id).await?;
            if let Some(payment) = &payment {
                self.admit_question(&payment.partner)?;
            }
            Ok(payment)
        });
        Ok(refreshed.await?.map(|payment| waiter.newest(payment)))
    }
}
