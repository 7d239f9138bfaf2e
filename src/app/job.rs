//! Jobs: what is claimed from the schedule and done under the claim, by the workers of `crate::jobs`.
//!
//! A job takes a claim and nothing else, reads what is true, asks the next question of the plan, and writes
//! what it learnt under the claim. It may be cut anywhere and run again by another replica once the lease
//! is over; two runs at once do no harm, because questions are identity-stable and results are guarded by
//! the lease's token (`docs/invariants.md` R10–R12).

use std::{fmt::Debug, time::Duration};

use tracing::Span;

use super::{App, error::Interrupted, payments, refunds, registrations};
use crate::{
    db::{
        error::Error as DbError,
        follow_ups::{Claimed, Claims},
    },
    domain::id::MerchantId,
};

/// A kind of job.
pub trait Job: Debug + Send + Sync + 'static {
    /// What it is about.
    type Subject: Debug + Send + 'static;

    /// Names its lane: the places that it has of its own, so that no kind ever waits for another.
    const LANE: &'static str;

    /// How many run at once on a replica, of what is configured.
    fn places(concurrency: usize) -> usize;

    /// Claims up to `limit` that are due, for `lease`. Committed at once; what another replica is claiming is
    /// skipped.
    fn claim(
        app: &App,
        worker: &str,
        limit: usize,
        lease: Duration,
    ) -> impl Future<Output = Result<Claims<Self::Subject>, DbError>> + Send;

    fn merchant_id(subject: &Self::Subject) -> MerchantId;

    /// The span of a run, a trace of its own.
    fn span(claimed: &Claimed<Self::Subject>) -> Span;

    /// Does what is due, and gives the claim back with the time of the next run.
    fn run(
        app: App,
        claimed: Claimed<Self::Subject>,
    ) -> impl Future<Output = Result<(), Interrupted>> + Send;
}

/// Takes every kind of job.
pub trait Registry: Sized {
    /// Takes one.
    #[must_use]
    fn with<J: Job>(self) -> Self;
}

/// Every kind of job, first those at whose end somebody waits at a till.
pub fn register<R: Registry>(registry: R) -> R {
    registry
        .with::<payments::ConfirmPayment>()
        .with::<payments::ClosePayment>()
        .with::<refunds::FollowUpRefund>()
        .with::<registrations::FollowUpRegistration>()
}
