//! How refunds behave, and what Alipay does to them by itself.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State as Shared},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Sim, ledger::one_refund, refuse};
use crate::{
    book::{RefundOutcome, RefundPolicy, RefundStatus},
    state::Simulator,
};

/// The routes of refunds.
pub(super) fn routes() -> Router<Arc<Simulator>> {
    Router::new()
        .route("/_control/refund_policy", get(policy).put(set_policy))
        .route("/_control/refunds/{partner_refund_id}", get(refund))
        .route("/_control/refunds/{partner_refund_id}/fail", post(fail))
        .route("/_control/refunds/{partner_refund_id}/cancel", post(cancel))
        .route(
            "/_control/refunds/{partner_refund_id}/succeed",
            post(succeed),
        )
        .route(
            "/_control/trades/{partner_trans_id}/portal_refund",
            post(portal_refund),
        )
}

async fn policy(Shared(simulator): Sim) -> Json<Value> {
    Json(json!(simulator.state().book.policy()))
}

/// Changes what is given and keeps the rest. `null` takes back what is optional.
async fn set_policy(Shared(simulator): Sim, Json(set): Json<Map<String, Value>>) -> Response {
    let mut state = simulator.state();
    let now = state.settle();
    let mut policy = json!(state.book.policy());
    if let Some(fields) = policy.as_object_mut() {
        fields.extend(set);
    }
    match serde_json::from_value::<RefundPolicy>(policy) {
        Ok(policy) => {
            let answer = json!(policy);
            state.book.set_policy(now, policy);
            Json(answer).into_response()
        }
        Err(error) => refuse(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()),
    }
}

async fn refund(Shared(simulator): Sim, Path(id): Path<String>) -> Response {
    match one_refund(&mut simulator.state(), &id) {
        Some(refund) => Json(refund).into_response(),
        None => refuse(StatusCode::NOT_FOUND, NO_REFUND),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fail {
    code: String,
}

async fn fail(Shared(simulator): Sim, Path(id): Path<String>, Json(fail): Json<Fail>) -> Response {
    undo(&simulator, &id, RefundStatus::Failed, Some(fail.code))
}

async fn cancel(Shared(simulator): Sim, Path(id): Path<String>) -> Response {
    undo(&simulator, &id, RefundStatus::Canceled, None)
}

async fn succeed(Shared(simulator): Sim, Path(id): Path<String>) -> Response {
    undo(&simulator, &id, RefundStatus::Success, None)
}

const NO_REFUND: &str = "no such refund";

fn undo(simulator: &Simulator, id: &str, status: RefundStatus, code: Option<String>) -> Response {
    let mut state = simulator.state();
    let now = state.settle();
    match state.book.undo_refund(now, id, status, code) {
        None => refuse(StatusCode::NOT_FOUND, NO_REFUND),
        Some(false) => refuse(
            StatusCode::CONFLICT,
            "the refund has ended so, or can end so no more",
        ),
        Some(true) => Json(json!(one_refund(&mut state, id))).into_response(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PortalRefund {
    amount_minor: i64,
    partner_refund_id: Option<String>,
}

async fn portal_refund(
    Shared(simulator): Sim,
    Path(partner_trans_id): Path<String>,
    Json(asked): Json<PortalRefund>,
) -> Response {
    if asked.amount_minor <= 0 {
        return refuse(
            StatusCode::UNPROCESSABLE_ENTITY,
            "amount_minor must be above 0",
        );
    }
    let mut state = simulator.state();
    let now = state.settle();
    let id = asked.partner_refund_id;
    let outcome = state
        .book
        .portal_refund(now, &partner_trans_id, asked.amount_minor, id);
    match outcome {
        None => refuse(StatusCode::NOT_FOUND, "no such trade"),
        Some(RefundOutcome::Refused(code)) => refuse(StatusCode::CONFLICT, code),
        Some(RefundOutcome::Accepted { created: false, .. }) => {
            refuse(StatusCode::CONFLICT, "there is such a refund already")
        }
        Some(RefundOutcome::Accepted { refund, .. }) => {
            let refund = one_refund(&mut state, &refund.partner_refund_id);
            (StatusCode::CREATED, Json(json!(refund))).into_response()
        }
    }
}
