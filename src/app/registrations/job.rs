//! The job about registrations.

use std::time::Duration;

use tracing::Span;

use crate::{
    app::{App, error::Interrupted, job::Job},
    db::{
        error::Error as DbError,
        follow_ups::{Claimed, Claims},
    },
    domain::{id::MerchantId, registrations::Registration},
};

/// Asks about a review that is open, or sends the data again.
#[derive(Debug)]
pub struct FollowUpRegistration;

impl Job for FollowUpRegistration {
    type Subject = Registration;
    const LANE: &'static str = "registrations";

    /// A few, since a review takes minutes to days.
    fn places(concurrency: usize) -> usize {
        concurrency.div_ceil(8)
    }

    async fn claim(
        app: &App,
        worker: &str,
        limit: usize,
        lease: Duration,
    ) -> Result<Claims<Registration>, DbError> {
        app.db.claim_due_registrations(worker, limit, lease).await
    }

    fn merchant_id(registration: &Registration) -> MerchantId {
        registration.merchant_id
    }

    fn span(claimed: &Claimed<Registration>) -> Span {
        tracing::info_span!(
            parent: None,
            "follow_up.visit",
            follow_up.id = %claimed.lease_token.follow_up_id,
            registration.id = %claimed.subject.id,
        )
    }

    async fn run(app: App, claimed: Claimed<Registration>) -> Result<(), Interrupted> {
        app.follow_up_registration(claimed).await
    }
}
