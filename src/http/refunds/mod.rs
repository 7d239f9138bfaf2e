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
    domain::{id::RefundId, refunds::refund::Refund},
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
