//! The REST surface, version 1.
//!
//! What holds for every operation:
//!
//! - Every refusal is a problem document ([`problem`]), also for unknown paths, methods and media
//!   types, oversized bodies and panics.
//! - A request is read field by field, so that one answer names *all* its faults; nothing is stored
//!   and no idempotency key is used up before that.
//! - No layer may cut a handler short: there is no timeout layer. Handlers only wait; the work they
//!   wait for is detached by [`crate::app`] (`docs/invariants.md` R6).
//! - `GET` never calls Alipay.
//! - This module sees neither SQL nor Alipay's words.
//!
//! | module | what it is for |
//! |---|---|
//! | [`routes`] | every route |
//! | [`router`] | the middleware stack |
//! | [`payments`], [`refunds`], [`barcodes`], [`follow_ups`], [`registrations`], [`merchants`], [`access`], [`audit`], [`health`] | handlers and what they answer |
//! | [`notifications`] | what Alipay posts to us |
//! | [`extract`] | requests into types; rejections become problems |
//! | [`answer`], [`paging`] | what answers have in common: versions, money, time; pages of a list |
//! | [`problem`] | the status table |
//! | [`refusals`] | what each operation refuses, for the document |
//! | [`trace`], [`metrics`] | one span and one wide event per request; what is counted |
//! | [`openapi`] | the document, from the code |
//! | [`drain`] | the rest of an upload that is refused |
//! | [`serve`] | connections: deadlines for headers, draining |

// These become the descriptions in the OpenAPI document.
#![warn(missing_docs)]

pub mod access;
pub mod answer;
pub mod audit;
pub mod barcodes;
pub mod drain;
pub mod extract;
pub mod follow_ups;
pub mod health;
pub mod merchants;
pub mod metrics;
pub mod notifications;
pub mod openapi;
pub mod paging;
pub mod payments;
pub mod problem;
pub mod reconciliation;
pub mod refunds;
pub mod refusals;
pub mod registrations;
pub mod router;
pub mod routes;
pub mod serve;
pub mod trace;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::extract::FromRef;

use crate::app::App;

/// What handlers share; cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpState {
    /// The use cases.
    pub app: App,
    /// What `/metrics` shows.
    pub metrics: metrics::Handle,
    /// Turned on first when the program stops.
    pub draining: Draining,
}

impl FromRef<HttpState> for App {
    fn from_ref(state: &HttpState) -> Self {
        state.app.clone()
    }
}

/// Whether the program is stopping: readiness is false from then on, before anything else stops
/// (`docs/invariants.md` R21).
#[derive(Clone, Debug, Default)]
pub struct Draining(Arc<AtomicBool>);

impl Draining {
    /// Announces the stop.
    pub fn start(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether the stop was announced.
    pub fn is_on(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
