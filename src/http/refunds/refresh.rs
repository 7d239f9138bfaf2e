//! `POST /v1/refunds/{id}/refresh`: ask Alipay now.

use axum::extract::State;

use super::{represent, view::RefundView};
use crate::{
    app::App,
    domain::{audit::Look, follow_ups::schedule::Subject, id::RefundId},
    http::{
        answer::Resource,
        extract::{AdminCaller, AskAboutRefunds, Id, query::RawPairs},
        problem::Problem,
        refusals::{self, refusals},
        trace::RequestContext,
    },
};

refusals! {
    RefreshRefusals:
        [Problem::refund_not_found()],
        refusals::begins_work(),
        refusals::needs_alipay(),
        [refusals::silence(Subject::Refund(refusals::refund_id()))],
}

/// Ask Alipay about a refund now
///
/// Queries the refund and records what Alipay says; where that contradicts the books, it is asked once
/// more before the refund is shown. `504` where it gives no usable answer; then
/// nothing is changed. The gateway asks by itself in any case, so no client has to call this. The operator's key
/// needs `operations`.
#[utoipa::path(
    post,
    path = "/v1/refunds/{id}/refresh",
    tag = "refunds",
    operation_id = "refresh_refund",
    security(("api_key" = ["refunds:write"]), ("api_key" = ["operations"])),
    params(
        ("id" = String, Path, description = "The refund's id.", example = "ref_0199b3c1d2e37f4a8b6c7d8e9f0a1b2d"),
    ),
    responses(
        RefreshRefusals,
        (status = 200, description = "The refund, with what Alipay said just now.", body = RefundView,
            headers(("ETag" = String, description = "The refund's version."))),
    ),
)]
pub async fn refresh(
    State(app): State<App>,
    caller: AdminCaller<AskAboutRefunds>,
    facts: RequestContext,
    Id(id): Id<RefundId>,
    query: RawPairs,
) -> Result<Resource<RefundView>, Problem> {
    query.reader().finish()?;
    facts.learn_refund(id);
    let merchant_id = caller
        .look_at(&app, Look::RefreshOfRefund, Subject::Refund(id))
        .await?
        .ok_or_else(Problem::refund_not_found)?;
    let refund = app
        .refresh_refund(caller.identity.api_key_id, merchant_id, id)
        .await?
        .ok_or_else(Problem::refund_not_found)?;
    facts.learn_payment(refund.payment_id);
    Ok(represent(&app, &refund))
}
