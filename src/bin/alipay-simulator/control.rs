//! The control API under `/_control`: moves the clock, scripts faults, lets the buyer act, and shows
//! what really happened. For tests and demonstrations; Alipay has nothing like it.

use std::{collections::BTreeMap, sync::Arc};

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

use crate::{
    book::{Refund, RefundPolicy, Status, Trade},
    clock::rfc3339,
    fault::FaultRule,
    state::{Simulator, State},
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
        .route("/_control/release", post(release))
        .route(
            "/_control/refund_policy",
            get(refund_policy).put(set_refund_policy),
        )
        .route("/_control/trades/{partner_trans_id}/confirm", post(confirm))
        .route("/_control/trades/{partner_trans_id}/dismiss", post(dismiss))
        .route("/_control/ledger", get(ledger).delete(reset))
        .route("/_control/requests", get(requests))
        .route("/_control/summary", get(summary))
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

async fn set_clock(Shared(simulator): Sim, Json(set): Json<SetClock>) -> Response {
    let mut state = simulator.state();
    match (set.now, set.advance_ms.map(TimeDelta::try_milliseconds)) {
        (Some(now), None) => state.clock.set(now),
        (None, Some(Some(by))) => state.clock.advance(by),
        _ => {
            let error = "give either now or advance_ms";
            return refuse(StatusCode::UNPROCESSABLE_ENTITY, error);
        }
    }
    Json(clock_json(&state)).into_response()
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

fn policy_json(policy: RefundPolicy) -> Json<Value> {
    Json(json!({
        "funds_sufficient": policy.funds_sufficient,
        "same_day_immediate": policy.same_day_immediate,
    }))
}

async fn refund_policy(Shared(simulator): Sim) -> Json<Value> {
    policy_json(simulator.state().book.policy())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetRefundPolicy {
    funds_sufficient: Option<bool>,
    same_day_immediate: Option<bool>,
}

async fn set_refund_policy(
    Shared(simulator): Sim,
    Json(set): Json<SetRefundPolicy>,
) -> Json<Value> {
    let mut state = simulator.state();
    let now = state.clock.now();
    let old = state.book.policy();
    let policy = RefundPolicy {
        funds_sufficient: set.funds_sufficient.unwrap_or(old.funds_sufficient),
        same_day_immediate: set.same_day_immediate.unwrap_or(old.same_day_immediate),
    };
    state.book.set_policy(now, policy);
    policy_json(policy)
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
    match state.book.act(now, id, confirm) {
        None => refuse(StatusCode::NOT_FOUND, "no such trade"),
        Some(false) => refuse(
            StatusCode::CONFLICT,
            "the trade does not wait for its buyer",
        ),
        Some(true) => {
            let trade = state
                .book
                .trade(now, id, None)
                .map(|trade| trade_json(trade));
            Json(json!(trade)).into_response()
        }
    }
}

fn trade_json(trade: &Trade) -> Value {
    json!({
        "partner_trans_id": trade.partner_trans_id,
        "alipay_trans_id": trade.alipay_trans_id,
        "status": trade.status.label(),
        "amount_minor": trade.amount_minor,
        "currency": trade.currency,
        "created_at": rfc3339(trade.created_at),
        "paid_at": trade.paid_at.map(rfc3339),
        "closed_at": trade.closed_at.map(rfc3339),
        "charged": trade.paid_at.is_some(),
        "refunded_minor": trade.refunded_minor,
        "close_reason": trade.close_reason.map(crate::book::CloseReason::label),
        "payment_inst": trade.payment_inst,
        "buyer_user_id": trade.buyer_user_id,
    })
}

fn refund_json(refund: &Refund) -> Value {
    json!({
        "partner_refund_id": refund.partner_refund_id,
        "partner_trans_id": refund.partner_trans_id,
        "status": refund.status.label(),
        "amount_minor": refund.amount_minor,
        "currency": refund.currency,
        "sync": refund.sync,
        "accepted_at": rfc3339(refund.accepted_at),
        "finished_at": refund.finished_at.map(rfc3339),
        "short_of_funds": refund.short_of_funds,
    })
}

async fn ledger(Shared(simulator): Sim) -> Json<Value> {
    let mut state = simulator.state();
    let now = state.clock.now();
    let (trades, refunds) = state.book.all(now);
    Json(json!({
        "trades": trades.iter().map(trade_json).collect::<Vec<_>>(),
        "refunds": refunds.iter().map(refund_json).collect::<Vec<_>>(),
        "charges": trades.iter().filter(|trade| trade.paid_at.is_some()).count(),
    }))
}

async fn reset(Shared(simulator): Sim) -> StatusCode {
    simulator.state().reset();
    // Nobody will release answers whose records are gone.
    simulator.releases.send_modify(|releases| *releases += 1);
    StatusCode::NO_CONTENT
}

async fn requests(Shared(simulator): Sim) -> Json<Value> {
    let state = simulator.state();
    Json(json!({"requests": state.requests}))
}

async fn summary(Shared(simulator): Sim) -> Json<Value> {
    let mut state = simulator.state();
    let now = state.clock.now();
    let mut by_service: BTreeMap<String, usize> = BTreeMap::new();
    for record in &state.requests {
        *by_service.entry(record.service.clone()).or_default() += 1;
    }
    let requests = state.requests.len();
    let held = state
        .requests
        .iter()
        .filter(|record| record.answer == "held")
        .count();
    let (faults, registrations) = (state.faults.len(), state.merchants.len());
    let (trades, refunds) = state.book.all(now);
    let count = |status: Status| trades.iter().filter(|trade| trade.status == status).count();
    Json(json!({
        "requests": requests,
        "requests_by_service": by_service,
        "held": held,
        "faults": faults,
        "registrations": registrations,
        "trades": {
            "total": trades.len(),
            "waiting": count(Status::WaitBuyerPay),
            "paid": count(Status::TradeSuccess),
            "closed": count(Status::TradeClosed),
        },
        "charges": trades.iter().filter(|trade| trade.paid_at.is_some()).count(),
        "charged_minor": trades
            .iter()
            .filter(|trade| trade.paid_at.is_some())
            .map(|trade| trade.amount_minor)
            .sum::<i64>(),
        "refunds": refunds.len(),
        "refunded_minor": trades.iter().map(|trade| trade.refunded_minor).sum::<i64>(),
    }))
}
