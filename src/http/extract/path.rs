//! The `{id}` of a path.

use std::str::FromStr;

use axum::{extract::FromRequestParts, http::request::Parts};

use crate::{
    domain::{
        id::{ApiKeyId, FollowUpId, MerchantId, PaymentId, ReconciliationId, RefundId},
        text::is_deceptive,
    },
    http::problem::Problem,
};

/// The `{id}` of a path. What is no id of that kind names nothing: the answer is the same 404.
#[derive(Clone, Copy, Debug)]
pub struct Id<T>(pub T);

/// An id that stands in paths.
pub trait PathId: FromStr {
    /// What is answered where it names nothing.
    fn not_found() -> Problem;
}

impl PathId for PaymentId {
    fn not_found() -> Problem {
        Problem::payment_not_found()
    }
}

impl PathId for RefundId {
    fn not_found() -> Problem {
        Problem::refund_not_found()
    }
}

impl PathId for ApiKeyId {
    fn not_found() -> Problem {
        Problem::api_key_not_found()
    }
}

impl PathId for ReconciliationId {
    fn not_found() -> Problem {
        Problem::reconciliation_not_found()
    }
}

impl PathId for FollowUpId {
    fn not_found() -> Problem {
        Problem::follow_up_not_found()
    }
}

impl PathId for MerchantId {
    fn not_found() -> Problem {
        Problem::merchant_not_found()
    }
}

/// The `{id}` of a merchant and the `{store_id}` of a path.
#[derive(Clone, Debug)]
pub struct StoreOf(pub MerchantId, pub String);

impl<S: Send + Sync> FromRequestParts<S> for StoreOf {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::<(String, String)>::from_request_parts(parts, state).await;
        let path = path.map_err(|_| Problem::store_not_found())?;
        let (merchant, store_id) = path.0;
        // No store is called so, and Postgres takes no text with a zero byte.
        if store_id.chars().any(is_deceptive) {
            return Err(Problem::store_not_found());
        }
        let id = merchant
            .parse()
            .map_err(|_| Problem::merchant_not_found())?;
        Ok(Self(id, store_id))
    }
}

impl<T: PathId, S: Send + Sync> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::<String>::from_request_parts(parts, state).await;
        path.ok()
            .and_then(|path| path.0.parse().ok())
            .map(Self)
            .ok_or_else(T::not_found)
    }
}
