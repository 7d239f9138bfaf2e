//! Reading: nothing here calls Alipay.

use std::time::Duration;

use tokio::time::Instant;

use crate::app::{App, error::Error};
use crate::domain::{
    attempt::Attempt,
    id::{MerchantId, PaymentId},
    listing::{Page, PaymentFilter},
    payments::payment::{Payment, PaymentEvent},
    reconciliation::ToldDifference,
    refunds::refund::RefundEvent,
    transition::Transition,
};

/// How long to hold an answer, and what ends the wait.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// At most this long.
    pub at_most: Duration,
    /// Until the version differs from this one; `None` means from the version found first.
    pub known_version: Option<i64>,
}

/// Everything that happened to a payment, oldest first within each list.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// The upstream calls.
    pub attempts: Vec<Attempt>,
    /// The state changes.
    pub transitions: Vec<Transition>,
    /// What daily files say against the books of it.
    pub differences: Vec<ToldDifference>,
}

impl Timeline {
    /// The names of all events that change a payment or a refund.
    pub fn event_names() -> Vec<&'static str> {
        [
            PaymentEvent::NAMES,
            RefundEvent::NAMES,
            Transition::BOOK_EVENTS,
        ]
        .concat()
    }
}

impl App {
    /// Reads a payment. With `wait`, holds the answer for at most that long while the version is
    /// still the one given; for a payment that nothing will change by itself, nobody is kept waiting.
    pub async fn get_payment(
        &self,
        merchant_id: MerchantId,
        id: PaymentId,
        wait: Option<Wait>,
    ) -> Result<Option<Payment>, Error> {
        let waiter = self.notifier.listen(id);
        let Some(payment) = self.db.payment(merchant_id, id).await? else {
            return Ok(None);
        };
        let Some(wait) = wait else {
            return Ok(Some(waiter.newest(payment)));
        };
        let known = wait.known_version.unwrap_or(payment.version);
        let deadline = Instant::now() + wait.at_most;
        let changed =
            move |payment: &Payment| payment.version != known || payment.standing().is_settled();
        Ok(Some(
            self.wait_until(waiter, payment, deadline, changed).await,
        ))
    }

    /// Lists payments, newest first, from after `after`.
    pub async fn list_payments(
        &self,
        merchant_id: MerchantId,
        filter: &PaymentFilter,
        after: Option<PaymentId>,
        limit: u16,
    ) -> Result<Page<Payment, PaymentId>, Error> {
        let page = self
            .db
            .list_payments(merchant_id, filter, after, limit)
            .await?;
        Ok(page.map(|payment| self.notifier.newest(payment)))
    }

    /// Everything that happened to a payment.
    pub async fn timeline(
        &self,
        merchant_id: MerchantId,
        id: PaymentId,
    ) -> Result<Option<Timeline>, Error> {
        if self.db.payment(merchant_id, id).await?.is_none() {
            return Ok(None);
        }
        let (attempts, transitions, differences) = tokio::try_join!(
            self.db.attempts(merchant_id, id),
            self.db.transitions(merchant_id, id),
            self.db.differences_of_payment(merchant_id, id)
        )?;
        Ok(Some(Timeline {
            attempts,
            transitions,
            differences,
        }))
    }
}
