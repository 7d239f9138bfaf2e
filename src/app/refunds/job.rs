//! The job about refunds.

use std::time::Duration;

use tracing::Span;

use crate::{
    app::{App, error::Interrupted, job::Job},
    db::{
        error::Error as DbError,
        follow_ups::{Claimed, Claims},
    },
    domain::{id::MerchantId, refunds::refund::Refund},
    failpoint::crashpoint,
};

/// Asks about an open refund, or sends it again.
#[derive(Debug)]
pub struct FollowUpRefund;

impl Job for FollowUpRefund {
    type Subject = Refund;
    const LANE: &'static str = "refunds";

    /// Fewer than of payments: nobody waits for them, and their number bounds how fast a night's refunds ask
    /// Alipay (`docs/invariants.md` T6).
    fn places(concurrency: usize) -> usize {
        concurrency.div_ceil(4)
    }

    async fn claim(
        app: &App,
        worker: &str,
        limit: usize,
        lease: Duration,
    ) -> Result<Claims<Refund>, DbError> {
        crashpoint!(app.db.failpoints, "worker.claiming_refunds");
        app.db.claim_due_refunds(worker, limit, lease).await
    }

    fn merchant_id(refund: &Refund) -> MerchantId {
        refund.merchant_id
    }

    fn span(claimed: &Claimed<Refund>) -> Span {
        tracing::info_span!(
            parent: None,
            "follow_up.visit",
            follow_up.id = %claimed.lease_token.follow_up_id,
            payment.id = %claimed.subject.payment_id,
            refund.id = %claimed.subject.id,
        )
    }

    async fn run(app: App, claimed: Claimed<Refund>) -> Result<(), Interrupted> {
        app.follow_up_refund(claimed).await
    }
}
