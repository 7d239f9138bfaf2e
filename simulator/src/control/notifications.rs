//! Notifications: what was sent and answered, when the next ones go and what is wrong with them.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State as Shared},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Sim, refuse};
use crate::{
    clock::rfc3339,
    notification::{
        Attempt, Mode, Notification, Notifications, Shape, courier, fault::NotificationFaultRule,
    },
    state::Simulator,
};

/// The routes of notifications.
pub(super) fn routes() -> Router<Arc<Simulator>> {
    Router::new()
        .route(
            "/_control/notifications",
            get(notifications).put(set_notifications),
        )
        .route("/_control/notifications/deliver", post(deliver))
        .route(
            "/_control/notifications/faults",
            get(faults).post(add_fault).delete(clear_faults),
        )
        .route("/_control/notifications/{notify_id}/repeat", post(repeat))
        .route(
            "/_control/refunds/{partner_refund_id}/announce",
            post(announce),
        )
}

fn notification_json(notification: &Notification) -> Value {
    let (about, attempts) = (&notification.about, &notification.attempts);
    json!({
        "notify_id": about.notify_id,
        "partner_refund_id": about.refund.partner_refund_id,
        "partner_trans_id": about.refund.partner_trans_id,
        "url": about.refund.notify_to.as_ref().map(|to| &to.url),
        "announced_at": rfc3339(about.at),
        "state": notification.state(),
        "acknowledged_at": notification.acknowledged_at.map(rfc3339),
        "next_at": notification.next_at.map(rfc3339),
        "attempts": attempts.iter().map(attempt_json).collect::<Vec<_>>(),
    })
}

fn attempt_json(attempt: &Attempt) -> Value {
    json!({
        "at": rfc3339(attempt.at),
        "sent_at": attempt.sent_at.map(rfc3339),
        "result": attempt.result,
        "status": attempt.status,
        "body": attempt.body,
        "fault": attempt.fault,
    })
}

fn all_json(notifications: &Notifications) -> Value {
    let list = notifications.list().iter();
    json!({
        "mode": notifications.mode,
        "shape": notifications.shape,
        "notify_type": notifications.notify_type(),
        "notifications": list.map(notification_json).collect::<Vec<_>>(),
    })
}

async fn notifications(Shared(simulator): Sim) -> Json<Value> {
    let mut state = simulator.state();
    state.settle();
    Json(all_json(&state.notifications))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetNotifications {
    mode: Option<Mode>,
    shape: Option<Shape>,
    notify_type: Option<String>,
}

/// Answers once what was held was sent and answered.
async fn set_notifications(
    Shared(simulator): Sim,
    Json(set): Json<SetNotifications>,
) -> Json<Value> {
    {
        let mut state = simulator.state();
        // What has succeeded by now is reported as it was to be.
        state.settle();
        let notifications = &mut state.notifications;
        notifications.mode = set.mode.unwrap_or(notifications.mode);
        notifications.shape = set.shape.unwrap_or(notifications.shape);
        if set.notify_type.is_some() {
            notifications.notify_type = set.notify_type;
        }
    }
    courier::deliver(&simulator).await;
    Json(all_json(&simulator.state().notifications))
}

/// Sends what is due although the clock stands still.
async fn deliver(Shared(simulator): Sim) -> Json<Value> {
    Json(json!({"sent": courier::deliver(&simulator).await}))
}

async fn faults(Shared(simulator): Sim) -> Json<Value> {
    Json(json!({"faults": simulator.state().notifications.faults}))
}

async fn add_fault(Shared(simulator): Sim, Json(rule): Json<NotificationFaultRule>) -> Response {
    if rule.times == 0 {
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, "times is 0");
    }
    let mut state = simulator.state();
    let faults = &mut state.notifications.faults;
    faults.push(rule);
    (StatusCode::CREATED, Json(json!({"faults": faults}))).into_response()
}

async fn clear_faults(Shared(simulator): Sim) -> StatusCode {
    simulator.state().notifications.faults.clear();
    StatusCode::NO_CONTENT
}

/// Most copies of one repetition.
const MOST_COPIES: usize = 10_000;
/// Most of them at a time.
const MOST_AT_A_TIME: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Repeat {
    #[serde(default = "one")]
    times: usize,
    /// How many are under way at a time.
    #[serde(default = "one")]
    concurrency: usize,
    /// Byte for byte as the first attempt, rather than with the `notify_time` of now.
    #[serde(default)]
    replay: bool,
}

fn one() -> usize {
    1
}

/// Answers once all copies were answered.
async fn repeat(
    Shared(simulator): Sim,
    Path(notify_id): Path<String>,
    Json(repeat): Json<Repeat>,
) -> Response {
    let in_range = (1..=MOST_COPIES).contains(&repeat.times)
        && (1..=MOST_AT_A_TIME).contains(&repeat.concurrency);
    if !in_range {
        let error = "times must be 1 to 10000, concurrency 1 to 64";
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, error);
    }
    let parcels = {
        let mut state = simulator.state();
        let now = state.settle();
        let notifications = &mut state.notifications;
        notifications.repeat(now, &notify_id, repeat.times, repeat.replay)
    };
    let Some(parcels) = parcels else {
        return refuse(StatusCode::NOT_FOUND, NO_NOTIFICATION);
    };
    courier::flood(&simulator, parcels, repeat.concurrency).await;
    // A copy that was to be late has been overtaken now.
    courier::deliver(&simulator).await;
    show(&simulator, &notify_id)
}

const NO_NOTIFICATION: &str = "no such notification";

fn show(simulator: &Simulator, notify_id: &str) -> Response {
    match simulator.state().notifications.by_id(notify_id) {
        Some(notification) => Json(notification_json(notification)).into_response(),
        None => refuse(StatusCode::NOT_FOUND, NO_NOTIFICATION),
    }
}

/// Reports the success of a refund now, whatever has become of it, in a notification of its own.
async fn announce(Shared(simulator): Sim, Path(id): Path<String>) -> Response {
    let notify_id = {
        let mut state = simulator.state();
        let now = state.settle();
        let Some(refund) = state.book.refund_by_id(now, &id).cloned() else {
            return refuse(StatusCode::NOT_FOUND, "no such refund");
        };
        let trade = state.book.trade(now, &refund.partner_trans_id, None);
        let Some(trade) = trade.map(|trade| trade.clone()) else {
            return refuse(StatusCode::NOT_FOUND, "no such trade");
        };
        let announced = state.notifications.announce(now, refund, trade);
        let Some(notification) = announced else {
            let error = "the refund has no notify_url, or the mode is off";
            return refuse(StatusCode::CONFLICT, error);
        };
        notification.about.notify_id.clone()
    };
    courier::deliver(&simulator).await;
    show(&simulator, &notify_id)
}
