//! How registrations of stores are reviewed, what is registered, and decisions by hand.

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

use super::{Sim, refuse};
use crate::{
    clock::rfc3339,
    merchants::{Place, Registration, ReviewPolicy},
    state::{Simulator, State},
};

/// The routes of registrations.
pub(super) fn routes() -> Router<Arc<Simulator>> {
    let one = "/_control/registrations/{secondary_merchant_id}/{store_id}";
    Router::new()
        .route("/_control/review_policy", get(policy).put(set_policy))
        .route("/_control/registrations", get(registrations))
        .route(&format!("{one}/approve"), post(approve))
        .route(&format!("{one}/reject"), post(reject))
}

/// Every registration, as it is now.
pub(super) fn registrations_json(state: &mut State) -> Vec<Value> {
    let now = state.clock.now();
    let all = state.merchants.all(now).iter();
    all.filter_map(|(place, registration)| registration_json(place, registration))
        .collect()
}

fn registration_json(place: &Place, registration: &Registration) -> Option<Value> {
    let status = registration.status()?;
    let history = registration.history.iter();
    let history =
        history.map(|(standing, at)| json!({"status": standing.label(), "at": rfc3339(*at)}));
    Some(json!({
        "secondary_merchant_id": place.0,
        "store_id": place.1,
        "status": status.standing.label(),
        "reject_reason": status.reason,
        "data": status.data.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "history": history.collect::<Vec<_>>(),
    }))
}

async fn registrations(Shared(simulator): Sim) -> Json<Value> {
    let registrations = registrations_json(&mut simulator.state());
    Json(json!({"registrations": registrations}))
}

async fn policy(Shared(simulator): Sim) -> Json<Value> {
    Json(json!(simulator.state().merchants.policy))
}

/// Changes what is given and keeps the rest.
async fn set_policy(Shared(simulator): Sim, Json(set): Json<Map<String, Value>>) -> Response {
    let mut state = simulator.state();
    let now = state.clock.now();
    let mut policy = json!(state.merchants.policy);
    if let Some(fields) = policy.as_object_mut() {
        fields.extend(set);
    }
    match serde_json::from_value::<ReviewPolicy>(policy) {
        Ok(policy) => {
            let answer = json!(policy);
            state.merchants.set_policy(now, policy);
            Json(answer).into_response()
        }
        Err(error) => refuse(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()),
    }
}

async fn approve(Shared(simulator): Sim, Path(place): Path<Place>) -> Response {
    decide(&simulator, &place, None)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reject {
    reason: String,
}

async fn reject(
    Shared(simulator): Sim,
    Path(place): Path<Place>,
    Json(reject): Json<Reject>,
) -> Response {
    decide(&simulator, &place, Some(&reject.reason))
}

fn decide(simulator: &Simulator, place: &Place, refusal: Option<&str>) -> Response {
    let mut state = simulator.state();
    let now = state.clock.now();
    if !state.merchants.decide(now, place, refusal) {
        return refuse(StatusCode::NOT_FOUND, "no such registration");
    }
    let registration = state.merchants.all(now).get(place);
    Json(json!(
        registration.and_then(|found| registration_json(place, found))
    ))
    .into_response()
}
