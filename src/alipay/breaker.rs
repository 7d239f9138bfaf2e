//! Whether one account's new work is let through, as the calls of a process tell:
//! [`crate::domain::breaker`] and [`crate::domain::door`] behind a lock, with what operators see of them.
//! It is this process's own and begins open for work.

use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

use super::result_code;
use crate::domain::{
    breaker::Breaker,
    door::{Closed, Door, Refusal},
};

pub(super) struct CircuitBreaker {
    partner: String,
    state: Mutex<State>,
}

struct State {
    breaker: Breaker,
    door: Door,
}

/// Why new work is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenCircuit {
    /// Alipay does not answer.
    Silent,
    /// Alipay refuses whatever the account asks.
    Refused,
}

impl OpenCircuit {
    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Refused => "refused",
        }
    }
}

/// Why new work is not let through now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAdmitted {
    /// Alipay does not answer.
    Silent {
        /// When to come again.
        retry_after_seconds: u32,
    },
    /// Alipay refuses whatever the account asks.
    Refused(Closed),
}

impl State {
    const fn circuit_open(&self) -> Option<OpenCircuit> {
        if self.door.is_closed() {
            Some(OpenCircuit::Refused)
        } else if self.breaker.is_open() {
            Some(OpenCircuit::Silent)
        } else {
            None
        }
    }
}

impl CircuitBreaker {
    pub(super) fn new(partner: &str, silent_calls: u32, access_refusals: u32) -> Self {
        // So that it is shown from the start.
        circuit_open().increment(0.0);
        Self {
            partner: partner.to_owned(),
            state: Mutex::new(State {
                breaker: Breaker::new(silent_calls),
                door: Door::new(access_refusals),
            }),
        }
    }

    pub(super) fn circuit_open(&self) -> Option<OpenCircuit> {
        self.lock().circuit_open()
    }

    pub(super) fn last_refusal(&self) -> Option<Refusal> {
        self.lock().door.last_refusal().cloned()
    }

    pub(super) fn admit(&self, now: DateTime<Utc>) -> Result<(), NotAdmitted> {
        let mut state = self.lock();
        state.door.admit(now).map_err(NotAdmitted::Refused)?;
        state
            .breaker
            .admit(now)
            .map_err(|retry_after_seconds| NotAdmitted::Silent {
                retry_after_seconds,
            })
    }

    /// For a question about what exists: a closed door holds none back, since its answer may open it.
    pub(super) fn admit_question(&self, now: DateTime<Utc>) -> Result<(), u32> {
        self.lock().breaker.admit(now)
    }

    pub(super) fn record_success(&self, at: DateTime<Utc>) {
        if self.change(|state| state.breaker.record_success(at)) {
            tracing::info!(
                alipay.partner = self.partner,
                "Alipay answers again: new payments and refunds are taken"
            );
        }
    }

    pub(super) fn record_failure(&self, begun: DateTime<Utc>, at: DateTime<Utc>) {
        if self.change(|state| state.breaker.record_failure(begun, at)) {
            metrics::counter!("alipay_breaker_openings_total").increment(1);
            tracing::error!(
                alipay.partner = self.partner,
                "Alipay does not answer: new payments and refunds are refused until it does"
            );
        }
    }

    pub(super) fn believed(&self, at: DateTime<Utc>) {
        if self.change(|state| state.door.believed(at)) {
            tracing::info!(
                alipay.partner = self.partner,
                "Alipay takes the account's requests again: new payments and refunds are taken"
            );
        }
    }

    pub(super) fn refused(&self, code: &str, begun: DateTime<Utc>, at: DateTime<Utc>) {
        if self.change(|state| state.door.refused(code, begun, at)) {
            tracing::error!(
                alipay.partner = self.partner,
                alipay.code = code,
                check = result_code::what_to_check(code),
                "Alipay refuses whatever the account asks: new payments and refunds are refused until it does not"
            );
        }
    }

    /// Changes the state and counts the account where it is held back from then on, or no longer.
    fn change(&self, change: impl FnOnce(&mut State) -> bool) -> bool {
        let mut state = self.lock();
        let was = state.circuit_open().is_some();
        let changed = change(&mut state);
        match (was, state.circuit_open().is_some()) {
            (false, true) => circuit_open().increment(1.0),
            (true, false) => circuit_open().decrement(1.0),
            (true, true) | (false, false) => {}
        }
        changed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An account that is read again begins anew: what was held back no longer is.
impl Drop for CircuitBreaker {
    fn drop(&mut self) {
        if self.circuit_open().is_some() {
            circuit_open().decrement(1.0);
        }
    }
}

/// Without the account: no label carries an id (`docs/invariants.md` Q23). The log and
/// `GET /v1/admin/partners` name it.
fn circuit_open() -> metrics::Gauge {
    metrics::gauge!("alipay_circuit_breakers_open")
}

pub(super) fn describe_metrics() {
    metrics::describe_gauge!(
        "alipay_circuit_breakers_open",
        "Accounts whose new payments and refunds are refused because Alipay does not answer, or refuses the account"
    );
    metrics::describe_counter!(
        "alipay_breaker_openings_total",
        "How often Alipay stopped answering for an account"
    );
}
