//! `/v1/payments`: take a payment, read it, list payments, undo one, show what happened to one.

pub mod cancel;
pub mod create;
pub mod draft;
pub mod list;
pub mod read;
pub mod refresh;
pub mod resolve;
pub mod reverse;
pub mod timeline;
pub mod view;

use super::answer::Resource;
use crate::domain::{id::PaymentId, payments::payment::Payment};
use view::PaymentView;

/// A payment's body and the headers every answer with one carries.
fn represent(payment: &Payment) -> Resource<PaymentView> {
    Resource::new(payment, payment.into())
}

/// Where a payment can be read.
fn location(id: PaymentId) -> String {
    format!("/v1/payments/{id}")
}
