//! `POST /v1/secondary-merchants/{secondary_merchant_id}/stores/{store_id}/refresh`: ask Alipay now.

use axum::extract::State;

use super::{represent, store::StorePath, view::StoreRegistrationView};
use crate::{
    app::App,
    http::{
        answer::Resource,
        extract::{AdminCaller, Administer, query::RawPairs},
        problem::Problem,
        refusals::{self, refusals},
    },
};

refusals! {
    RefreshRefusals:
        refusals::begins_work(),
        [
            refusals::silence(refusals::registration()),
            refusals::not_configured(),
        ],
        [Problem::registration_not_found()],
}

/// Ask Alipay about a registration now
///
/// Queries the review and records what Alipay says. `504` where it gives no usable answer; then
/// nothing is changed.
#[utoipa::path(
    post,
    path = "/v1/secondary-merchants/{secondary_merchant_id}/stores/{store_id}/refresh",
    tag = "secondary merchants",
    operation_id = "refresh_store_registration",
    security(("api_key" = ["admin"])),
    params(
        ("secondary_merchant_id" = String, Path, description = "The merchant's id at Alipay.", example = "SM001"),
        ("store_id" = String, Path, description = "The store's id.", example = "ST01"),
        ("merchant_id" = Option<String>, Query, description = "Whose store it is, where more than one merchant has this id at Alipay.", example = "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c"),
    ),
    responses(
        RefreshRefusals,
        (status = 200, description = "The registration as Alipay says it is.", body = StoreRegistrationView,
            headers(("ETag" = String, description = "Its version."))),
    ),
)]
pub async fn refresh(
    State(app): State<App>,
    AdminCaller { identity, .. }: AdminCaller<Administer>,
    path: StorePath,
    query: RawPairs,
) -> Result<Resource<StoreRegistrationView>, Problem> {
    let store = path.store(&query)?;
    let registration = app
        .refresh_registration(&identity, store)
        .await?
        .ok_or_else(Problem::registration_not_found)?;
    let (_, resource) = represent(&app, &registration).await?;
    Ok(resource)
}
