//! `/v1/payments`: take a payment, read it, list payments, show what happened to one.

pub mod cancel;
pub mod create;
pub mod cursor;
pub mod draft;
pub mod list;
pub mod read;
pub mod refresh;
pub mod resolve;
pub mod timeline;
pub mod view;

use axum::{
    Json,
    http::{HeaderMap, HeaderValue, header},
};

use crate::domain::payment::Payment;
use view::PaymentView;

/// The entity tag of a payment: its version in quotes.
pub fn etag(payment: &Payment) -> String {
    format!("\"{}\"", payment.version)
}

/// A payment's body and the headers every answer with one carries.
fn represent(payment: &Payment) -> (HeaderMap, Json<PaymentView>) {
    let mut headers = HeaderMap::new();
    insert(&mut headers, header::ETAG, &etag(payment));
    (headers, Json(PaymentView::from(payment)))
}

fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    // Everything put here is made of digits, ids and fixed words.
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}
