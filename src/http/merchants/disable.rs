//! `POST /v1/admin/merchants/{id}/disable` and `.../enable`.

use axum::extract::State;

use super::{
    body::{DisableMerchantRequest, EnableMerchantRequest},
    view::{MerchantView, represent},
};
use crate::{
    app::{App, merchants::MerchantAct},
    domain::{audit::AuditActor, id::MerchantId},
    http::{
        answer::Resource,
        extract::{AdminCaller, Administer, Id, JsonBody, query::RawPairs, read_request},
        problem::Problem,
        refusals::{self, refusals},
    },
};

refusals! {
    SwitchRefusals:
        [
            Problem::merchant_not_found(),
            Problem::operator_required(),
            refusals::missing_member("/reason"),
        ],
}

/// Disable a merchant
///
/// It takes no payments from now on; whatever returns money, and all reads, go on. Works at once on the
/// replica that answers and within ten seconds on the others. For the operator.
#[utoipa::path(
    post,
    path = "/v1/admin/merchants/{id}/disable",
    tag = "administration",
    operation_id = "disable_merchant",
    security(("api_key" = ["admin"])),
    params(("id" = String, Path, description = "The merchant's id.", example = "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2d")),
    request_body(content = DisableMerchantRequest, description = "Why.", content_type = "application/json"),
    responses(SwitchRefusals, (status = 200, description = "The merchant, disabled.", body = MerchantView,
        headers(("ETag" = String, description = "Its version.")))),
)]
pub async fn disable(
    State(app): State<App>,
    overseer: AdminCaller<Administer>,
    Id(id): Id<MerchantId>,
    query: RawPairs,
    JsonBody(body): JsonBody,
) -> Result<Resource<MerchantView>, Problem> {
    query.reader().finish()?;
    overseer.operator_only()?;
    let by = read_request(&body, |request: DisableMerchantRequest, _| {
        because(overseer.by(), request.reason, request.ticket)
    })?;
    switch(&app, id, MerchantAct::Disabled, &by).await
}

/// Enable a merchant
///
/// It takes payments again. For the operator.
#[utoipa::path(
    post,
    path = "/v1/admin/merchants/{id}/enable",
    tag = "administration",
    operation_id = "enable_merchant",
    security(("api_key" = ["admin"])),
    params(("id" = String, Path, description = "The merchant's id.", example = "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2d")),
    request_body(content = EnableMerchantRequest, description = "Why.", content_type = "application/json"),
    responses(SwitchRefusals, (status = 200, description = "The merchant, active.", body = MerchantView,
        headers(("ETag" = String, description = "Its version.")))),
)]
pub async fn enable(
    State(app): State<App>,
    overseer: AdminCaller<Administer>,
    Id(id): Id<MerchantId>,
    query: RawPairs,
    JsonBody(body): JsonBody,
) -> Result<Resource<MerchantView>, Problem> {
    query.reader().finish()?;
    overseer.operator_only()?;
    let by = read_request(&body, |request: EnableMerchantRequest, _| {
        because(overseer.by(), request.reason, request.ticket)
    })?;
    switch(&app, id, MerchantAct::Enabled, &by).await
}

async fn switch(
    app: &App,
    id: MerchantId,
    act: MerchantAct,
    by: &AuditActor,
) -> Result<Resource<MerchantView>, Problem> {
    let merchant = app.switch_merchant(id, act, by).await?;
    let merchant = merchant.ok_or_else(Problem::merchant_not_found)?;
    Ok(represent(&merchant))
}

fn because(by: AuditActor, reason: Option<String>, ticket: Option<String>) -> Option<AuditActor> {
    let by = by.because(reason?);
    Some(match ticket {
        Some(ticket) => by.documented_in(ticket),
        None => by,
    })
}
