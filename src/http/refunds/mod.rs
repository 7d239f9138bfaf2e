//! `/v1/refunds` and `/v1/payments/{id}/refunds`: give money back, read a refund, list refunds, ask
//! Alipay, decide one that stayed open.

pub mod create;
pub mod list;
pub mod read;
pub mod refresh;
pub mod resolve;
pub mod view;

use super::answer::Resource;
use crate::{
    app::App,
    domain::{
        id::RefundId,
        refund::{PendingReason, Refund, RefundState},
    },
};
use view::RefundView;

/// A refund's body and the headers every answer with one carries.
fn represent(app: &App, refund: &Refund) -> Resource<RefundView> {
    let view = RefundView::new(refund, app.refund_outlook(refund));
    Resource::new(refund.version, view)
}

/// Where a refund can be read.
pub(in crate::http) fn location(id: RefundId) -> String {
    format!("/v1/refunds/{id}")
}

/// After how many seconds a reader should look again; `None` once the refund is final. A batch is hours
/// away and a hint may come at any time, so looking once a minute is enough and costs one read of the
/// database.
pub(in crate::http) const fn retry_after_seconds(state: &RefundState) -> Option<u32> {
    match state {
        RefundState::Pending(PendingReason::Submitting) => Some(1),
        // The first query comes 10 s after the request.
        RefundState::Pending(PendingReason::OutcomeUnknown | PendingReason::Processing) => Some(10),
        RefundState::Pending(PendingReason::AwaitingBatch | PendingReason::InsufficientFunds)
        | RefundState::Unresolved => Some(60),
        RefundState::Succeeded | RefundState::Failed(_) => None,
    }
}
