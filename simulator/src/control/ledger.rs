//! What really happened: trades, refunds, requests.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, Router, extract::State as Shared, http::StatusCode, routing::get};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{Sim, registrations::registrations_json};
use crate::{
    book::{CloseReason, LateEffect, Origin, Refund, Status, Trade},
    clock::rfc3339,
    notification::Notification,
    state::{Simulator, State},
};

/// The routes of the ledger.
pub(super) fn routes() -> Router<Arc<Simulator>> {
    Router::new()
        .route("/_control/ledger", get(ledger).delete(reset))
        .route("/_control/requests", get(requests))
        .route("/_control/summary", get(summary))
}

pub(super) fn trade_json(trade: &Trade) -> Value {
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
        "canceled_minor": trade.canceled_minor,
        "refund_pending_minor": trade.refund_pending_minor,
        "close_reason": trade.close_reason.map(CloseReason::label),
        "payment_inst": trade.payment_inst,
        "buyer_user_id": trade.buyer_user_id,
    })
}

/// A refund; `next_try_at` and `notification` are what the book and the notifications know of it.
fn refund_json(
    refund: &Refund,
    next_try_at: Option<DateTime<Utc>>,
    notification: Option<&Notification>,
) -> Value {
    let history = refund.history.iter();
    let history = history.map(|(status, at)| json!({"status": status.label(), "at": rfc3339(*at)}));
    json!({
        "partner_refund_id": refund.partner_refund_id,
        "partner_trans_id": refund.partner_trans_id,
        "status": refund.status.label(),
        "amount_minor": refund.amount_minor,
        "currency": refund.currency,
        "sync": refund.sync,
        "portal": refund.origin == Origin::Portal,
        "accepted_at": rfc3339(refund.accepted_at),
        "finished_at": refund.finished_at.map(rfc3339),
        "error_code": refund.error_code,
        "batches_tried": refund.batches_tried,
        "next_try_at": next_try_at.map(rfc3339),
        "history": history.collect::<Vec<_>>(),
        "notify": refund.notify_to.as_ref().map(|to| json!({
            "url": to.url,
            "notify_id": notification.map(|notification| &notification.about.notify_id),
            "state": notification.map_or("not_announced", Notification::state),
            "attempts": notification.map_or(0, |notification| notification.attempts.len()),
            "acknowledged_at": notification
                .and_then(|notification| notification.acknowledged_at)
                .map(rfc3339),
        })),
    })
}

/// What an answered request will still do.
fn late_json((at, effect): &(DateTime<Utc>, LateEffect)) -> Value {
    let (service, partner_trans_id, partner_refund_id) = effect.names();
    json!({
        "at": rfc3339(*at),
        "service": service,
        "partner_trans_id": partner_trans_id,
        "partner_refund_id": partner_refund_id,
    })
}

/// Every refund, as it is now.
fn refunds_json(state: &mut State) -> Vec<Value> {
    state.settle();
    let (book, notifications) = (&state.book, &state.notifications);
    let refunds = book.refunds().iter();
    let refunds = refunds.map(|refund| {
        let notification = notifications.of_refund(&refund.partner_refund_id);
        refund_json(refund, book.next_try(refund), notification)
    });
    refunds.collect()
}

/// One refund, as it is now.
pub(super) fn one_refund(state: &mut State, partner_refund_id: &str) -> Option<Value> {
    let now = state.settle();
    let refund = state.book.refund_by_id(now, partner_refund_id)?.clone();
    let notification = state.notifications.of_refund(partner_refund_id);
    Some(refund_json(
        &refund,
        state.book.next_try(&refund),
        notification,
    ))
}

async fn ledger(Shared(simulator): Sim) -> Json<Value> {
    let mut state = simulator.state();
    let refunds = refunds_json(&mut state);
    let registrations = registrations_json(&mut state);
    let now = state.clock.now();
    state.book.all(now);
    let late_effects: Vec<Value> = state.book.late_effects().iter().map(late_json).collect();
    let trades = state.book.trades();
    Json(json!({
        "trades": trades.iter().map(trade_json).collect::<Vec<_>>(),
        "refunds": refunds,
        "registrations": registrations,
        "charges": trades.iter().filter(|trade| trade.paid_at.is_some()).count(),
        "late_effects": late_effects,
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
    let now = state.settle();
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
    let mut refunds_by_status: BTreeMap<&str, usize> = BTreeMap::new();
    for refund in state.book.refunds() {
        *refunds_by_status.entry(refund.status.label()).or_default() += 1;
    }
    let (refunds, notifications) = (state.book.refunds().len(), state.notifications.list().len());
    let trades = state.book.all(now);
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
        "refunds": refunds,
        "refunds_by_status": refunds_by_status,
        "notifications": notifications,
        "refunded_minor": trades.iter().map(|trade| trade.refunded_minor).sum::<i64>(),
    }))
}
