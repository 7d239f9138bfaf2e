//! The jobs about payments: those whose buyer may still confirm, so that somebody waits at a till, and those
//! that are to be closed, whose cancels may hang. Each has places of its own.

use std::time::Duration;

use tracing::Span;

use crate::{
    app::{App, error::Interrupted, job::Job},
    db::{
        error::Error as DbError,
        follow_ups::{Claimed, Claims},
    },
    domain::{id::MerchantId, payments::payment::Payment},
    failpoint::crashpoint,
};

/// Asks about a payment whose buyer may still confirm.
#[derive(Debug)]
pub struct ConfirmPayment;

/// Closes a payment, or asks about one whose cancel window is over.
#[derive(Debug)]
pub struct ClosePayment;

impl Job for ConfirmPayment {
    type Subject = Payment;
    const LANE: &'static str = "confirming";

    fn places(concurrency: usize) -> usize {
        concurrency
    }

    async fn claim(
        app: &App,
        worker: &str,
        limit: usize,
        lease: Duration,
    ) -> Result<Claims<Payment>, DbError> {
        crashpoint!(app.db.failpoints, "worker.claiming_confirming");
        app.db.claim_confirming_payments(worker, limit, lease).await
    }

    fn merchant_id(payment: &Payment) -> MerchantId {
        payment.merchant_id
    }

    fn span(claimed: &Claimed<Payment>) -> Span {
        span(claimed)
    }

    async fn run(app: App, claimed: Claimed<Payment>) -> Result<(), Interrupted> {
        app.follow_up(claimed).await
    }
}

impl Job for ClosePayment {
    type Subject = Payment;
    const LANE: &'static str = "closing";

    fn places(concurrency: usize) -> usize {
        concurrency
    }

    async fn claim(
        app: &App,
        worker: &str,
        limit: usize,
        lease: Duration,
    ) -> Result<Claims<Payment>, DbError> {
        crashpoint!(app.db.failpoints, "worker.claiming");
        app.db.claim_due_payments(worker, limit, lease).await
    }

    fn merchant_id(payment: &Payment) -> MerchantId {
        payment.merchant_id
    }

    fn span(claimed: &Claimed<Payment>) -> Span {
        span(claimed)
    }

    async fn run(app: App, claimed: Claimed<Payment>) -> Result<(), Interrupted> {
        app.follow_up(claimed).await
    }
}

fn span(claimed: &Claimed<Payment>) -> Span {
    tracing::info_span!(
        parent: None,
        "follow_up.visit",
        follow_up.id = %claimed.lease_token.follow_up_id,
        payment.id = %claimed.subject.id,
    )
}
