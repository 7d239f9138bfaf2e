//! `GET /v1/payments/{id}`: read a payment, or wait for it to change.

use axum::{extract::State, response::Response};

use super::view::PaymentView;
use crate::{
    app::App,
    domain::{audit::Look, follow_ups::schedule::Subject, id::PaymentId},
    http::{
        extract::{AdminCaller, Conditional, Id, LookAtPayments},
        problem::Problem,
        refusals::refusals,
        trace::RequestContext,
    },
};

refusals! {
    ReadRefusals:
        [Problem::payment_not_found()],
}

/// Read a payment
///
/// Answers from the database; Alipay is never asked. With `wait`, the answer is held until the
/// version differs from the one in `If-None-Match`, or, without that header, from the one found
/// first; whichever it is when the time is over is the answer. What nothing will change by itself is
/// answered at once; a paid payment under cancel is held.
#[utoipa::path(
    get,
    path = "/v1/payments/{id}",
    tag = "payments",
    operation_id = "get_payment",
    security(("api_key" = ["payments:read"]), ("api_key" = ["support:read"])),
    params(
        ("id" = String, Path, description = "The payment's id.", example = "pay_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c"),
        ("wait" = Option<i32>, Query, minimum = 0, maximum = 60, description = "For how many seconds the answer may be held."),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of the version already known.", example = "\"2\""),
    ),
    responses(
        ReadRefusals,
        (status = 200, description = "The payment.", body = PaymentView,
            headers(("ETag" = String, description = "The payment's version."))),
        (status = 304, description = "The payment still has the version of `If-None-Match`.",
            headers(("ETag" = String, description = "The payment's version."))),
    ),
)]
pub async fn read(
    State(app): State<App>,
    caller: AdminCaller<LookAtPayments>,
    facts: RequestContext,
    Id(id): Id<PaymentId>,
    conditional: Conditional,
) -> Result<Response, Problem> {
    facts.learn_payment(id);
    let merchant_id = caller
        .look_at(&app, Look::Payment, Subject::Payment(id))
        .await?
        .ok_or_else(Problem::payment_not_found)?;
    let payment = app
        .get_payment(merchant_id, id, conditional.wait())
        .await?
        .ok_or_else(Problem::payment_not_found)?;
    Ok(conditional.answer(&payment, PaymentView::from(&payment)))
}
