//! Requests into types. Every rejection is a [`super::problem::Problem`].

pub mod accept;
pub mod body;
pub mod caller;
pub mod fields;
pub mod headers;
pub mod json;
pub mod query;

pub use body::JsonBody;
pub use caller::{Caller, Operate, ReadPayments, WritePayments};
pub use fields::{Faults, ObjectReader};
pub use headers::{Key, PreferWait};

use axum::{extract::FromRequestParts, http::request::Parts};

use super::problem::Problem;
use crate::domain::id::{FollowUpId, PaymentId};

/// The `{id}` of a path. What is no payment id is no payment: the answer is the same 404.
#[derive(Clone, Copy, Debug)]
pub struct PaymentPath(pub PaymentId);

impl<S: Send + Sync> FromRequestParts<S> for PaymentPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::<String>::from_request_parts(parts, state).await;
        path.ok()
            .and_then(|path| path.0.parse().ok())
            .map(Self)
            .ok_or_else(Problem::payment_not_found)
    }
}

/// The `{id}` of a follow-up's path.
#[derive(Clone, Copy, Debug)]
pub struct FollowUpPath(pub FollowUpId);

impl<S: Send + Sync> FromRequestParts<S> for FollowUpPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::<String>::from_request_parts(parts, state).await;
        path.ok()
            .and_then(|path| path.0.parse().ok())
            .map(Self)
            .ok_or_else(Problem::follow_up_not_found)
    }
}
