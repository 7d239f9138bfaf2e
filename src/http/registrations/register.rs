//! `PUT /v1/secondary-merchants/{secondary_merchant_id}/stores/{store_id}`.

use axum::{extract::State, http::StatusCode};

use super::{
    body::{self, RegisterStoreRequest},
    represent,
    store::StorePath,
    view::StoreRegistrationView,
};
use crate::{
    app::{App, error::Error},
    http::{
        answer::Resource,
        extract::{AdminCaller, Administer, JsonBody, query::RawPairs},
        problem::Problem,
        refusals::{self, refusals},
    },
};

refusals! {
    RegisterRefusals:
        refusals::begins_work(),
        [
            Error::ReviewUnderWay {
                subject: refusals::registration(),
            },
            Error::RegisteredForAnother,
            refusals::not_configured(),
        ],
        [
            Problem::registration_not_found(),
            refusals::missing_member("/shareholder_id"),
        ],
}

/// Register a store, or change what is registered
///
/// Sends the store to Alipay for review. Acceptance is not approval: the gateway asks for the result by
/// itself, after 2, 5, 10 and 30 minutes and then hourly for 72 hours. A change leaves in force what was
/// approved before. Repeating it is safe: the same data under review or approved ask nothing. Other data
/// during a review are refused `409 review_under_way`; send them when it has ended. A store that is new
/// is opened here too.
#[utoipa::path(
    put,
    path = "/v1/secondary-merchants/{secondary_merchant_id}/stores/{store_id}",
    tag = "secondary merchants",
    operation_id = "register_store",
    security(("api_key" = ["admin"])),
    params(
        ("secondary_merchant_id" = String, Path, description = "The merchant's id at Alipay.", example = "SM001"),
        ("store_id" = String, Path, description = "The store's id: 1 to 64 letters, digits and underscores.", example = "ST01"),
        ("merchant_id" = Option<String>, Query, description = "Whose store it is, where more than one merchant has this id at Alipay.", example = "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c"),
    ),
    request_body(content = RegisterStoreRequest, description = "The store.", content_type = "application/json"),
    responses(
        RegisterRefusals,
        (status = 200, description = "The registration, approved as it was, or refused at once (`rejected`).", body = StoreRegistrationView,
            headers(
                ("Location" = String, description = "Where to read it."),
                ("ETag" = String, description = "Its version."),
            )),
        (status = 202, description = "The registration, under review or not known yet.", body = StoreRegistrationView,
            headers(
                ("Location" = String, description = "Where to read it."),
                ("Retry-After" = i32, description = "After how many seconds Alipay is asked next."),
                ("ETag" = String, description = "Its version."),
            )),
    ),
)]
pub async fn register(
    State(app): State<App>,
    overseer: AdminCaller<Administer>,
    path: StorePath,
    query: RawPairs,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Resource<StoreRegistrationView>), Problem> {
    let store = path.store(&query)?;
    let wish = body::read(&body, path.store_id())?;
    let registered = app
        .register_store(&overseer.identity, &overseer.by(), store, wish)
        .await?
        .ok_or_else(Problem::registration_not_found)?;
    represent(&app, &registered.registration).await
}
