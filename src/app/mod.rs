//! What the service does: use cases, free of HTTP and of SQL text.

pub mod error;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};

use crate::domain::{
    attempt::Attempt,
    id::{MerchantId, PaymentId},
    idempotency::IdempotencyKey,
    merchant::{Principal, Store},
    payment::{NewPayment, Payment},
    transition::Transition,
};
use error::Error;

/// The use cases; cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    #[expect(dead_code, reason = "the parts follow")]
    inner: Arc<()>,
}

/// A payment that was created or found again by its idempotency key.
#[derive(Clone, Debug)]
pub struct Created {
    /// Its current state.
    pub payment: Payment,
    /// Whether an earlier request with the same key made it.
    pub replayed: bool,
}

/// Which payments to list. Absent fields do not restrict.
#[derive(Clone, Debug, Default)]
pub struct PaymentFilter {
    /// A public status name.
    pub status: Option<String>,
    /// The caller's own number.
    pub merchant_reference: Option<String>,
    /// Alipay's id.
    pub alipay_trans_id: Option<String>,
    /// The shop.
    pub store_id: Option<String>,
    /// The till.
    pub terminal_id: Option<String>,
    /// Created at or after.
    pub created_from: Option<DateTime<Utc>>,
    /// Created before.
    pub created_to: Option<DateTime<Utc>>,
}

/// One page of a list, newest first.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page starts: the id of the last item here; absent on the last page.
    pub next: Option<PaymentId>,
}

/// Everything that happened to a payment, oldest first within each list.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// The upstream calls.
    pub attempts: Vec<Attempt>,
    /// The state changes.
    pub transitions: Vec<Transition>,
}

/// Whether this replica can serve. Alipay is deliberately not part of it.
#[derive(Clone, Copy, Debug)]
pub struct Readiness {
    /// The database answers.
    pub database: bool,
    /// The schema is at the version this program was built with.
    pub migrations: bool,
    /// The follow-up workers run (or are switched off on purpose).
    pub follow_up_workers: bool,
}

impl App {
    /// Finds who presented an API key; `None` when no live key matches.
    pub async fn authenticate(&self, presented: &str) -> Result<Option<Principal>, Error> {
        let _ = presented;
        Ok(None)
    }

    /// Finds a shop of a merchant; without `store_id`, its default shop.
    pub async fn find_store(
        &self,
        merchant_id: MerchantId,
        store_id: Option<&str>,
    ) -> Result<Option<Store>, Error> {
        let _ = (merchant_id, store_id);
        Ok(None)
    }

    /// Takes a payment. Holds the answer for at most `wait` while the outcome is open; the work
    /// itself goes on whatever happens to the caller.
    pub async fn create_payment(
        &self,
        principal: &Principal,
        key: IdempotencyKey,
        new: NewPayment,
        wait: Duration,
    ) -> Result<Created, Error> {
        let _ = (principal, key, new, wait);
        Err(Error::Unavailable("not there yet".into()))
    }

    /// Reads a payment. With `wait`, holds the answer for at most that long while the version is
    /// still the one given.
    pub async fn get_payment(
        &self,
        merchant_id: MerchantId,
        id: PaymentId,
        wait: Option<Wait>,
    ) -> Result<Option<Payment>, Error> {
        let _ = (merchant_id, id, wait);
        Ok(None)
    }

    /// Lists payments, newest first, from after `after`.
    pub async fn list_payments(
        &self,
        merchant_id: MerchantId,
        filter: &PaymentFilter,
        after: Option<PaymentId>,
        limit: u16,
    ) -> Result<Page<Payment>, Error> {
        let _ = (merchant_id, filter, after, limit);
        Ok(Page {
            items: vec![],
            next: None,
        })
    }

    /// Everything that happened to a payment.
    pub async fn timeline(
        &self,
        merchant_id: MerchantId,
        id: PaymentId,
    ) -> Result<Option<Timeline>, Error> {
        let _ = (merchant_id, id);
        Ok(None)
    }

    /// Whether this replica can serve.
    pub async fn readiness(&self) -> Readiness {
        Readiness {
            database: false,
            migrations: false,
            follow_up_workers: false,
        }
    }
}

/// How long to hold an answer, and what ends the wait.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// At most this long.
    pub at_most: Duration,
    /// Until the version differs from this one; `None` means from the version found first.
    pub known_version: Option<i64>,
}
