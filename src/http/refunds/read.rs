//! `GET /v1/refunds/{id}`: read a refund, or wait for it to change.

use axum::{extract::State, response::Response};

use super::view::RefundView;
use crate::{
    app::App,
    domain::{audit::Look, follow_ups::schedule::Subject, id::RefundId},
    http::{
        extract::{AdminCaller, Conditional, Id, LookAtPayments},
        problem::Problem,
        refusals::refusals,
        trace::RequestContext,
    },
};

refusals! {
    ReadRefusals:
        [Problem::refund_not_found()],
}

/// Read a refund
///
/// Answers from the database; Alipay is never asked. With `wait`, the answer is held until the
/// version differs from the one in `If-None-Match`, or, without that header, from the one found
/// first; whichever it is when the time is over is the answer. What nothing will change by itself is
/// answered at once.
#[utoipa::path(
    get,
    path = "/v1/refunds/{id}",
    tag = "refunds",
    operation_id = "get_refund",
    security(("api_key" = ["payments:read"]), ("api_key" = ["support:read"])),
    params(
        ("id" = String, Path, description = "The refund's id.", example = "ref_0199b3c1d2e37f4a8b6c7d8e9f0a1b2d"),
        ("wait" = Option<i32>, Query, minimum = 0, maximum = 60, description = "For how many seconds the answer may be held."),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of the version already known.", example = "\"2\""),
    ),
    responses(
        ReadRefusals,
        (status = 200, description = "The refund.", body = RefundView,
            headers(("ETag" = String, description = "The refund's version."))),
        (status = 304, description = "The refund still has the version of `If-None-Match`.",
            headers(("ETag" = String, description = "The refund's version."))),
    ),
)]
pub async fn read(
    State(app): State<App>,
    caller: AdminCaller<LookAtPayments>,
    facts: RequestContext,
    Id(id): Id<RefundId>,
    conditional: Conditional,
) -> Result<Response, Problem> {
    facts.learn_refund(id);
    let merchant_id = caller
        .look_at(&app, Look::Refund, Subject::Refund(id))
        .await?
        .ok_or_else(Problem::refund_not_found)?;
    let refund = app
        .get_refund(merchant_id, id, conditional.wait())
        .await?
        .ok_or_else(Problem::refund_not_found)?;
    facts.learn_payment(refund.payment_id);
    let view = RefundView::new(&refund, app.refund_outlook(&refund));
    Ok(conditional.answer(refund.version, view))
}
