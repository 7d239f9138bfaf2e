//! Reading registrations; Alipay is never asked here.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{represent, store::StorePath, view::StoreRegistrationView};
use crate::{
    app::App,
    domain::{
        id::MerchantId,
        registrations::{RegistrationFilter, RegistrationStatus, is_alipay_id},
    },
    http::{
        answer::Resource,
        extract::{AdminCaller, Administer, query::RawPairs},
        paging::{Paging, cursor_after},
        problem::Problem,
        refusals::refusals,
    },
};

/// A page of registrations.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StoreRegistrationList {
    /// The registrations, newest first, without their histories.
    pub items: Vec<StoreRegistrationView>,
    /// Send it as `cursor` to get the next page; `null` on the last.
    #[schema(required = true, example = "AQGZs8HS439Ki2x9jp8KGyw")]
    pub next_cursor: Option<String>,
}

refusals! {
    ReadRefusals:
        [Problem::registration_not_found()],
}

/// Read a registration
///
/// Where the review stands, what was sent, what is in force, and when Alipay is asked next.
#[utoipa::path(
    get,
    path = "/v1/secondary-merchants/{secondary_merchant_id}/stores/{store_id}",
    tag = "secondary merchants",
    operation_id = "get_store_registration",
    security(("api_key" = ["admin"])),
    params(
        ("secondary_merchant_id" = String, Path, description = "The merchant's id at Alipay.", example = "SM001"),
        ("store_id" = String, Path, description = "The store's id.", example = "ST01"),
        ("merchant_id" = Option<String>, Query, description = "Whose store it is, where more than one merchant has this id at Alipay.", example = "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c"),
    ),
    responses(
        ReadRefusals,
        (status = 200, description = "The registration.", body = StoreRegistrationView,
            headers(("ETag" = String, description = "Its version."))),
    ),
)]
pub async fn read(
    State(app): State<App>,
    AdminCaller { identity, .. }: AdminCaller<Administer>,
    path: StorePath,
    query: RawPairs,
) -> Result<Resource<StoreRegistrationView>, Problem> {
    let store = path.store(&query)?;
    let registration = app
        .find_registration(identity.tenant_scope, store)
        .await?
        .ok_or_else(Problem::registration_not_found)?;
    let (_, resource) = represent(&app, &registration).await?;
    Ok(resource)
}

/// List registrations
///
/// Newest first. Filters combine.
#[utoipa::path(
    get,
    path = "/v1/secondary-merchants",
    tag = "secondary merchants",
    operation_id = "list_store_registrations",
    security(("api_key" = ["admin"])),
    params(
        ("status" = Option<String>, Query, description = "Standing there, for example `under_review` or `unresolved`.", example = "under_review"),
        ("merchant_id" = Option<String>, Query, description = "Of this merchant.", example = "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c"),
        ("secondary_merchant_id" = Option<String>, Query, description = "Under this id at Alipay.", example = "SM001"),
        ("store_id" = Option<String>, Query, description = "Of this store.", example = "ST01"),
        ("limit" = Option<i32>, Query, minimum = 1, maximum = 200, description = "Most items on the page; 50 where it is left out."),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page.", body = StoreRegistrationList)),
)]
pub async fn list(
    State(app): State<App>,
    AdminCaller { identity, .. }: AdminCaller<Administer>,
    query: RawPairs,
) -> Result<Json<StoreRegistrationList>, Problem> {
    let mut reader = query.reader();
    let id = |text: &str| is_alipay_id(text).then(|| text.to_owned());
    let detail = "must be 1 to 64 letters, digits and underscores";
    let filter = RegistrationFilter {
        status: reader.parse("status", "is no status of a registration", |text| {
            RegistrationStatus::from_name(text)
        }),
        merchant_id: reader.parse("merchant_id", "must be a merchant's id", |text| {
            text.parse::<MerchantId>().ok()
        }),
        secondary_merchant_id: reader.parse("secondary_merchant_id", detail, id),
        store_id: reader.parse("store_id", detail, id),
    };
    let Paging { after, limit } = Paging::read(reader)?;
    let page = app
        .list_registrations(identity.tenant_scope, &filter, after, limit)
        .await?;
    Ok(Json(StoreRegistrationList {
        items: page
            .items
            .iter()
            .map(|registration| StoreRegistrationView::new(&app, registration, None))
            .collect(),
        next_cursor: page.next.map(|last| cursor_after(last.uuid())),
    }))
}
