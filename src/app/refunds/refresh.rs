//! A caller who asks Alipay now where a refund stands.

use crate::app::{App, error::Error};
use crate::domain::{
    id::{ApiKeyId, MerchantId, RefundId},
    refunds::refund::Refund,
};

impl App {
    /// Asks Alipay now where the refund stands, and records what it says. Nothing changes where no
    /// usable answer comes. `Ok(None)`: no such refund.
    pub async fn refresh_refund(
        &self,
        caller: ApiKeyId,
        merchant_id: MerchantId,
        id: RefundId,
    ) -> Result<Option<Refund>, Error> {
        // Listen before reading, so that the answer is no older than what others were told meanwhile.
        let waiter = self.refund_notifier.listen(id);
        let refreshed = self.refresh(caller, || async move {
            let refund = self.db.refund(merchant_id, id).await?;
            if let Some(refund) = &refund {
                self.admit_question(&refund.partner)?;
            }
            Ok(refund)
        });
        Ok(refreshed.await?.map(|refund| waiter.newest(refund)))
    }
}
