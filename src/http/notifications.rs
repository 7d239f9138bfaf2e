//! `POST /alipay/notify/{partner}`: what Alipay posts to us (`docs/protocol.md` 8).
//!
//! Alipay looks for the seven letters `success` in the body and at nothing else, and repeats what it does
//! not get them for. So every answer made here is one of two plain words, no problem document, no
//! redirect and no page; the statuses are for readers of a proxy's log. No field of a
//! notification is logged.

use axum::{
    extract::{Path, Request, State, rejection::PathRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{extract::body::read_whole, trace::Verbatim};
use crate::app::{App, Notified, Posted};

/// It had its effect, now or before, and need not be sent again.
const TAKEN: &str = "success";
/// Anything else: Alipay sends it again.
const NOT_TAKEN: &str = "fail";

/// Take a notification of Alipay
///
/// For Alipay alone: it posts here that a refund was done or a trade closed. The signature is verified before
/// anything, over the bytes that came. What is about this account and a payment of ours is noted, in whichever
/// shape it comes, and Alipay is asked at once: its answer counts, not the notification. The answer is `success`
/// only after the note is committed, also where it was noted before; repeats and replays change
/// nothing. Whatever the answer, it is one plain word.
#[utoipa::path(
    post,
    path = "/alipay/notify/{partner}",
    tag = "alipay",
    operation_id = "receive_notification",
    params(
        ("partner" = String, Path, description = "The Alipay account it is about: `ALIPAY_PARTNER`.", example = "2088000000000001"),
    ),
    request_body(
        content = Object,
        description = "Alipay's signed fields, at most 64 KiB, in the charset that `_input_charset` or the `Content-Type` names, or in whichever fits.",
        content_type = "application/x-www-form-urlencoded",
    ),
    responses(
        (status = 200, description = "`success`: it is noted, now or before. `fail`: it is not believed, or about no payment of ours; nothing is changed.",
            body = String, content_type = "text/plain", example = json!("success")),
        (status = 400, description = "`fail`: the body ended early or was garbled.",
            body = String, content_type = "text/plain", example = json!("fail")),
        (status = 404, description = "`fail`: it is about an account that is not served here.",
            body = String, content_type = "text/plain", example = json!("fail")),
        (status = 408, description = "`fail`: the body did not arrive within 10 seconds.",
            body = String, content_type = "text/plain", example = json!("fail")),
        (status = 413, description = "`fail`: the body is larger than 64 KiB.",
            body = String, content_type = "text/plain", example = json!("fail")),
        (status = 503, description = "`fail`: it could not be noted.",
            body = String, content_type = "text/plain", example = json!("fail")),
    ),
)]
pub async fn receive(
    State(app): State<App>,
    partner: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let Ok(Path(partner)) = partner else {
        return answer(StatusCode::NOT_FOUND, NOT_TAKEN);
    };
    let content_type = request.headers().get(header::CONTENT_TYPE).cloned();
    let body = match read_whole(request, &()).await {
        Ok(body) => body,
        Err(problem) => return answer(problem.kind.status(), NOT_TAKEN),
    };
    let posted = Posted {
        partner: &partner,
        content_type: content_type.as_ref().and_then(|value| value.to_str().ok()),
        body: &body,
    };
    match app.receive_notification(posted).await {
        Ok(notified) if notified.is_acknowledged() => answer(StatusCode::OK, TAKEN),
        Ok(Notified::OtherPartner) => answer(StatusCode::NOT_FOUND, NOT_TAKEN),
        Ok(_) => answer(StatusCode::OK, NOT_TAKEN),
        // Logged where it arose.
        Err(_) => answer(StatusCode::SERVICE_UNAVAILABLE, NOT_TAKEN),
    }
}

fn answer(status: StatusCode, word: &'static str) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/plain")];
    let mut response = (status, headers, word).into_response();
    response.extensions_mut().insert(Verbatim);
    response
}
