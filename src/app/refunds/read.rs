//! Reading refunds: nothing here calls Alipay.

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::app::{App, Page, Wait, error::Error};
use crate::domain::{
    calendar::BatchWindow,
    id::{MerchantId, RefundId},
    listing::RefundFilter,
    refunds::{
        plan,
        refund::{Refund, RefundState},
    },
};

/// What the plan says of a refund, for whoever reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefundOutlook {
    /// The batch it waits for.
    pub window: Option<BatchWindow>,
    /// When it becomes `unresolved`, if nothing is learnt before.
    pub gives_up_at: Option<DateTime<Utc>>,
}

impl App {
    /// What the plan says of a refund.
    pub fn refund_outlook(&self, refund: &Refund) -> RefundOutlook {
        let plan = &self.accounts.refund_plan(&refund.partner);
        let is_pending = matches!(refund.state, RefundState::Pending(_));
        RefundOutlook {
            window: plan::window(plan, refund),
            gives_up_at: is_pending.then(|| plan::gives_up_at(plan, refund)),
        }
    }

    /// Reads a refund. With `wait`, holds the answer for at most that long while the version is
    /// still the one given; a final refund is never waited for.
    pub async fn get_refund(
        &self,
        merchant_id: MerchantId,
        id: RefundId,
        wait: Option<Wait>,
    ) -> Result<Option<Refund>, Error> {
        let waiter = self.refund_notifier.listen(id);
        let Some(refund) = self.db.refund(merchant_id, id).await? else {
            return Ok(None);
        };
        let Some(wait) = wait else {
            return Ok(Some(waiter.newest(refund)));
        };
        let known = wait.known_version.unwrap_or(refund.version);
        let deadline = Instant::now() + wait.at_most;
        let changed =
            move |refund: &Refund| refund.version != known || refund.standing().is_settled();
        Ok(Some(
            self.wait_until(waiter, refund, deadline, changed).await,
        ))
    }

    /// Lists refunds, newest first, from after `after`. Where the filter names a payment that the
    /// merchant does not have, the list is empty.
    pub async fn list_refunds(
        &self,
        merchant_id: MerchantId,
        filter: &RefundFilter,
        after: Option<RefundId>,
        limit: u16,
    ) -> Result<Page<Refund, RefundId>, Error> {
        let page = self
            .db
            .list_refunds(merchant_id, filter, after, limit)
            .await?;
        Ok(page.map(|refund| self.refund_notifier.newest(refund)))
    }
}
