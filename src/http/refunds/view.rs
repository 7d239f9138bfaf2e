//! The refund as callers see it: one schema for every answer.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::refunds::RefundOutlook,
    domain::{
        calendar::BatchWindow,
        refunds::refund::{
            PendingReason, Refund, RefundFailure, RefundMode, RefundOrigin, RefundState,
        },
    },
    http::{
        answer::{MoneyView, timestamp},
        payments::view::NextActionView,
    },
};

/// Why a refund failed for good.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = RefundFailure)]
pub struct RefundFailureView {
    /// Alipay's code, verbatim; `RESOLVED_BY_OPERATOR` where an operator
    /// decided. More codes may be added.
    #[schema(example = "MERCHANT_BALANCE_NOT_ENOUGH")]
    pub code: String,
    /// What to do about it.
    #[schema(
        example = "The merchant's balance at Alipay is too low. Nothing was refunded; ask again with \"mode\": \"async\", which Alipay keeps trying, or later."
    )]
    pub message: String,
}

impl From<&RefundFailure> for RefundFailureView {
    fn from(failure: &RefundFailure) -> Self {
        Self {
            code: failure.code.clone(),
            message: failure.message.clone(),
        }
    }
}

/// One night's batch at Alipay, 23:00 to 05:00 GMT+8 unless the operator set other hours.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = BatchWindow)]
pub struct BatchWindowView {
    /// The batch begins.
    #[schema(format = DateTime, example = "2026-11-22T15:00:00.000Z")]
    pub opens_at: String,
    /// The batch is over.
    #[schema(format = DateTime, example = "2026-11-22T21:00:00.000Z")]
    pub closes_at: String,
}

impl From<BatchWindow> for BatchWindowView {
    fn from(window: BatchWindow) -> Self {
        Self {
            opens_at: timestamp(window.opens_at),
            closes_at: timestamp(window.closes_at),
        }
    }
}

/// One return of money. Fields may be added.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Refund)]
pub struct RefundView {
    /// The refund's id; ids of later refunds sort later.
    #[schema(
        example = "ref_0199b3c1d2e37f4a8b6c7d8e9f0a1b2d",
        pattern = "^ref_[0-9a-f]{32}$"
    )]
    pub id: String,
    /// Always `refund`.
    #[schema(example = "refund")]
    pub object: &'static str,
    /// Counts changes, from 1; also the `ETag`.
    #[schema(example = 2, minimum = 1)]
    pub version: i64,
    /// Which payment.
    #[schema(
        example = "pay_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c",
        pattern = "^pay_[0-9a-f]{32}$"
    )]
    pub payment_id: String,
    /// `pending`: asked for, not done yet as far as is known; `succeeded`: Alipay said that the money
    /// went back, verified; `failed`: it did not and will not under this refund; `unresolved`: the truth
    /// is still unknown and an operator must look. All but `failed` keep the amount reserved. Alipay
    /// may take a `succeeded` refund back, which then is `failed` with its `succeeded_at` kept.
    #[schema(
        example = "pending",
        extensions(("x-extensible-enum" = json!(RefundState::STATUSES)))
    )]
    pub status: &'static str,
    /// What a `pending` refund waits for: `submitting`, `awaiting_batch` (Alipay accepted it and does
    /// it in a nightly batch), `insufficient_funds` (the merchant's balance at Alipay is too low; it is
    /// tried again), `outcome_unknown` (no usable answer came; the gateway asks), `processing`.
    #[schema(
        required = true, example = "awaiting_batch",
        extensions(("x-extensible-enum" = json!(PendingReason::NAMES)))
    )]
    pub status_reason: Option<&'static str>,
    /// `gateway`: asked for here; `portal`: made in Alipay's merchant portal and known from a daily
    /// file.
    #[schema(
        example = "gateway",
        extensions(("x-extensible-enum" = json!(RefundOrigin::NAMES)))
    )]
    pub origin: &'static str,
    /// `sync`: done in the call; `async`: accepted in the call, done in Alipay's batch.
    #[schema(
        example = "async",
        extensions(("x-extensible-enum" = json!(RefundMode::NAMES)))
    )]
    pub mode: &'static str,
    /// How much; never changes.
    pub amount: MoneyView,
    /// The caller's own number.
    #[schema(required = true, example = "RETURN-1001-1")]
    pub merchant_reference: Option<String>,
    /// Our id towards Alipay.
    #[schema(example = "R0199b3c1d2e37f4a8b6c7d8e9f0a1b2d")]
    pub partner_refund_id: String,
    /// Why, as the caller said.
    #[schema(required = true, example = "one tea was cold")]
    pub reason: Option<String>,
    /// Why it failed; only where `status` is `failed`.
    #[schema(required = true)]
    pub failure: Option<RefundFailureView>,
    /// What to do now: `wait`; `call_operator` where a person must look, also where the refund failed after
    /// it had been under way, or done; or `done`.
    pub next_action: NextActionView,
    /// The batch that an accepted asynchronous refund waits for.
    #[schema(required = true)]
    pub window: Option<BatchWindowView>,
    /// How many times Alipay was asked where it stands. Asking is no change: `version` stays.
    #[schema(example = 0, minimum = 0)]
    pub checks_done: i32,
    /// When the gateway asks Alipay next; moves with each check, and `version` stays.
    #[schema(required = true, format = DateTime, example = "2026-11-22T04:01:00.000Z")]
    pub next_check_at: Option<String>,
    /// When a `pending` refund becomes `unresolved`, if nothing is learnt before.
    #[schema(required = true, format = DateTime, example = "2027-05-21T22:00:00.000Z")]
    pub gives_up_at: Option<String>,
    /// When the refund was accepted by the gateway.
    #[schema(format = DateTime, example = "2026-11-22T04:00:00.000Z")]
    pub created_at: String,
    /// When Alipay accepted it, by Alipay's clock where it says so.
    #[schema(required = true, format = DateTime, example = "2026-11-22T04:00:00.000Z")]
    pub accepted_at: Option<String>,
    /// When the gateway learnt that the money went back.
    #[schema(required = true, format = DateTime, example = json!(null))]
    pub succeeded_at: Option<String>,
    /// When the refund last changed.
    #[schema(format = DateTime, example = "2026-11-22T04:00:00.231Z")]
    pub updated_at: String,
    /// When the refund became final.
    #[schema(required = true, format = DateTime, example = json!(null))]
    pub finalized_at: Option<String>,
}

impl RefundView {
    /// The refund with what the plan says of it.
    pub fn new(refund: &Refund, outlook: RefundOutlook) -> Self {
        let poll = &refund.poll;
        Self {
            id: refund.id.to_string(),
            object: "refund",
            version: refund.version,
            payment_id: refund.payment_id.to_string(),
            status: refund.state.status(),
            status_reason: refund.state.status_reason().map(PendingReason::as_str),
            origin: refund.origin.as_str(),
            mode: refund.mode.as_str(),
            amount: refund.amount.into(),
            merchant_reference: refund.merchant_reference.as_ref().map(ToString::to_string),
            partner_refund_id: refund.partner_refund_id.to_string(),
            reason: refund.reason.clone(),
            failure: failure(&refund.state),
            next_action: refund.standing().into(),
            window: outlook.window.map(BatchWindowView::from),
            checks_done: poll.checks_done,
            next_check_at: poll.next_check_at.map(timestamp),
            gives_up_at: outlook.gives_up_at.map(timestamp),
            created_at: timestamp(refund.created_at),
            accepted_at: refund.accepted_at.map(timestamp),
            succeeded_at: refund.succeeded_at.map(timestamp),
            updated_at: timestamp(refund.updated_at),
            finalized_at: refund.finalized_at.map(timestamp),
        }
    }
}

fn failure(state: &RefundState) -> Option<RefundFailureView> {
    match state {
        RefundState::Failed(failure) => Some(failure.into()),
        RefundState::Pending(_) | RefundState::Succeeded | RefundState::Unresolved => None,
    }
}
