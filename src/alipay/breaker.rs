//! The circuit breaker of one account, as the calls of a process feed it: [`crate::domain::breaker`]
//! behind a lock, with what operators see of it. It is this process's own and begins closed.

use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

use crate::domain::breaker::Breaker;

pub(super) struct Switch {
    partner: String,
    breaker: Mutex<Breaker>,
}

impl Switch {
    pub(super) fn new(partner: &str, opens_after: u32) -> Self {
        // So that it is shown from the start.
        held_back().increment(0.0);
        Self {
            partner: partner.to_owned(),
            breaker: Mutex::new(Breaker::new(opens_after)),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.lock().is_open()
    }

    pub(super) fn admit(&self, now: DateTime<Utc>) -> Result<(), u32> {
        self.lock().admit(now)
    }

    pub(super) fn heard(&self, at: DateTime<Utc>) {
        if self.lock().heard(at) {
            held_back().decrement(1.0);
            tracing::info!(
                alipay.partner = self.partner,
                "Alipay answers again: new payments and refunds are taken"
            );
        }
    }

    pub(super) fn silent(&self, begun: DateTime<Utc>, at: DateTime<Utc>) {
        if self.lock().silent(begun, at) {
            held_back().increment(1.0);
            metrics::counter!("alipay_breaker_openings_total").increment(1);
            tracing::error!(
                alipay.partner = self.partner,
                "Alipay does not answer: new payments and refunds are refused until it does"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An account that is read again begins anew: what was held back no longer is.
impl Drop for Switch {
    fn drop(&mut self) {
        if self.is_open() {
            held_back().decrement(1.0);
        }
    }
}

/// Without the account: no label carries an id (`design/correctness.md` Q23). The log and
/// `GET /v1/admin/partners` name it.
fn held_back() -> metrics::Gauge {
    metrics::gauge!("alipay_accounts_held_back")
}

pub(super) fn describe_metrics() {
    metrics::describe_gauge!(
        "alipay_accounts_held_back",
        "Accounts whose new payments and refunds are refused because Alipay does not answer"
    );
    metrics::describe_counter!(
        "alipay_breaker_openings_total",
        "How often Alipay stopped answering for an account"
    );
}
