//! The control API under `/_control`: moves the clock, scripts faults, lets the buyer and Alipay itself
//! act, steers notifications, and shows what really happened. For tests and demonstrations; Alipay has
//! nothing like it.

mod files;
mod ledger;
mod notifications;
mod refunds;
mod registrations;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State as Shared},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use self::ledger::trade_json;
use crate::{
    clock::rfc3339,
    fault::FaultRule,
    files::publish,
    notification::courier,
    state::{ParameterFaults, Simulator, State},
};

type Sim = Shared<Arc<Simulator>>;

/// The control API's routes.
pub(crate) fn routes() -> Router<Arc<Simulator>> {
    Router::new()
        .route(
            "/_control/health",
            get(async || Json(json!({"status": "ok"}))),
        )
        .route("/_control/clock", get(clock).put(set_clock))
        .route(
            "/_control/faults",
            get(faults).post(add_fault).delete(clear_faults),
        )
        .route("/_control/access", get(access).put(set_access))
        .route("/_control/release", post(release))
        .route("/_control/trades/{partner_trans_id}/confirm", post(confirm))
        .route("/_control/trades/{partner_trans_id}/dismiss", post(dismiss))
        .route("/_control/trades/{partner_trans_id}/close", post(close))
        .merge(files::routes())
        .merge(ledger::routes())
        .merge(notifications::routes())
        .merge(refunds::routes())
        .merge(registrations::routes())
}

fn refuse(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({"error": error}))).into_response()
}

fn clock_json(state: &State) -> Value {
    json!({"now": rfc3339(state.clock.now()), "manual": state.clock.is_manual()})
}

async fn clock(Shared(simulator): Sim) -> Json<Value> {
    Json(clock_json(&simulator.state()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetClock {
    now: Option<DateTime<Utc>>,
    advance_ms: Option<i64>,
}

/// Moves the clock, and answers once the notifications that this made due were sent and answered, and
/// the daily files laid out.
async fn set_clock(Shared(simulator): Sim, Json(set): Json<SetClock>) -> Response {
    {
        let mut state = simulator.state();
        match (set.now, set.advance_ms.map(TimeDelta::try_milliseconds)) {
            (Some(now), None) => state.clock.set(now),
            (None, Some(Some(by))) => state.clock.advance(by),
            _ => {
                let error = "give either now or advance_ms";
                return refuse(StatusCode::UNPROCESSABLE_ENTITY, error);
            }
        }
    }
    let delivered = courier::deliver(&simulator).await;
    let files = publish::publish_due(&simulator);
    let mut answer = clock_json(&simulator.state());
    answer["notifications_sent"] = json!(delivered);
    answer["files_laid_out"] = json!(files);
    Json(answer).into_response()
}

async fn faults(Shared(simulator): Sim) -> Json<Value> {
    Json(json!({"faults": simulator.state().faults}))
}

async fn add_fault(Shared(simulator): Sim, Json(rule): Json<FaultRule>) -> Response {
    if rule.times == 0 || !rule.fault.suits(rule.service.service()) {
        let error = "the fault does not suit the service, or times is 0";
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, error);
    }
    let mut state = simulator.state();
    state.faults.push(rule);
    (StatusCode::CREATED, Json(json!({"faults": state.faults}))).into_response()
}

async fn clear_faults(Shared(simulator): Sim) -> StatusCode {
    simulator.state().faults.clear();
    StatusCode::NO_CONTENT
}

fn access_json(state: &State) -> Value {
    json!({"refusal": state.access_refusal, "parameter_faults": state.parameter_faults})
}

async fn access(Shared(simulator): Sim) -> Json<Value> {
    Json(access_json(&simulator.state()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetAccess {
    refusal: Option<String>,
    parameter_faults: Option<ParameterFaults>,
}

/// Every service refuses the account from now on, or none does, also where the code of a payment chose a refusal.
async fn set_access(Shared(simulator): Sim, Json(set): Json<SetAccess>) -> Json<Value> {
    let mut state = simulator.state();
    if set.refusal.is_none() {
        state.shut_out.clear();
    }
    state.access_refusal = set.refusal;
    if let Some(faults) = set.parameter_faults {
        state.parameter_faults = faults;
    }
    Json(access_json(&state))
}

async fn release(Shared(simulator): Sim) -> Json<Value> {
    let held = simulator
        .state()
        .requests
        .iter()
        .filter(|record| record.answer == "held")
        .count();
    simulator.releases.send_modify(|releases| *releases += 1);
    Json(json!({"released": held}))
}

async fn confirm(Shared(simulator): Sim, Path(id): Path<String>) -> Response {
    act(&simulator, &id, true)
}

async fn dismiss(Shared(simulator): Sim, Path(id): Path<String>) -> Response {
    act(&simulator, &id, false)
}

fn act(simulator: &Simulator, id: &str, confirm: bool) -> Response {
    let mut state = simulator.state();
    let now = state.clock.now();
    let done = state.book.act(now, id, confirm);
    changed(
        &mut state,
        id,
        done,
        "the trade does not wait for its buyer",
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Close {
    money_returned: bool,
}

/// Alipay closes a paid trade by itself.
async fn close(Shared(simulator): Sim, Path(id): Path<String>, Json(how): Json<Close>) -> Response {
    let mut state = simulator.state();
    let now = state.clock.now();
    let done = state.book.close_paid(now, &id, how.money_returned);
    changed(&mut state, &id, done, "the trade is not paid, or closed")
}

/// The trade after a change; `done` is what the book said of that.
fn changed(state: &mut State, id: &str, done: Option<bool>, conflict: &str) -> Response {
    match done {
        None => refuse(StatusCode::NOT_FOUND, "no such trade"),
        Some(false) => refuse(StatusCode::CONFLICT, conflict),
        Some(true) => {
            let now = state.clock.now();
            let trade = state
                .book
                .trade(now, id, None)
                .map(|trade| trade_json(trade));
            Json(json!(trade)).into_response()
        }
    }
}
