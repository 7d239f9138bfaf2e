//! `POST /v1/payments/{id}/refresh`: ask Alipay now.

use axum::extract::State;

use super::{represent, view::PaymentView};
use crate::{
    app::App,
    domain::{audit::Look, follow_ups::schedule::Subject, id::PaymentId},
    http::{
        answer::Resource,
        extract::{AdminCaller, AskAboutPayments, Id, query::RawPairs},
        problem::Problem,
        refusals::{self, refusals},
        trace::RequestContext,
    },
};

refusals! {
    RefreshRefusals:
        [Problem::payment_not_found()],
        refusals::begins_work(),
        refusals::needs_alipay(),
        [refusals::silence(Subject::Payment(refusals::payment_id()))],
}

/// Ask Alipay now
///
/// Queries the trade and records what Alipay says. `504` where it gives no usable answer; then
/// nothing is changed. The gateway asks by itself in any case, so no client has to call this. The operator's key
/// needs `operations`.
#[utoipa::path(
    post,
    path = "/v1/payments/{id}/refresh",
    tag = "payments",
    operation_id = "refresh_payment",
    security(("api_key" = ["payments:write"]), ("api_key" = ["operations"])),
    params(
        ("id" = String, Path, description = "The payment's id.", example = "pay_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c"),
    ),
    responses(
        RefreshRefusals,
        (status = 200, description = "The payment, with what Alipay said just now.", body = PaymentView,
            headers(("ETag" = String, description = "The payment's version."))),
    ),
)]
pub async fn refresh(
    State(app): State<App>,
    caller: AdminCaller<AskAboutPayments>,
    facts: RequestContext,
    Id(id): Id<PaymentId>,
    query: RawPairs,
) -> Result<Resource<PaymentView>, Problem> {
    query.reader().finish()?;
    facts.learn_payment(id);
    let merchant_id = caller
        .look_at(&app, Look::RefreshOfPayment, Subject::Payment(id))
        .await?
        .ok_or_else(Problem::payment_not_found)?;
    let payment = app
        .refresh_payment(caller.identity.api_key_id, merchant_id, id)
        .await?
        .ok_or_else(Problem::payment_not_found)?;
    Ok(represent(&payment))
}
