//! `/v1/admin/merchants/{id}/stores`: the stores of a merchant. A merchant's administrator looks after
//! its own.

use axum::{Json as JsonAnswer, extract::State, http::StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    body::{CreateStoreRequest, UpdateStoreRequest},
    merchant::done,
};
use crate::{
    app::{App, merchants::Made},
    domain::{
        id::MerchantId,
        merchants::{Activity, merchant::MerchantStore},
    },
    http::{
        answer::{Resource, timestamp},
        extract::{
            AdminCaller, Administer, Id, IfMatch, JsonBody, StoreOf, query::RawPairs, read_request,
        },
        paging::{Paging, cursor_after_name},
        problem::Problem,
        refusals::{self, refusals},
    },
};

/// A store of a merchant. Fields may be added.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Store)]
pub struct StoreView {
    /// Its id, unique within the merchant.
    #[schema(example = "ST02")]
    pub store_id: String,
    /// Always `store`.
    #[schema(example = "store")]
    pub object: &'static str,
    /// Whose it is.
    #[schema(example = "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2d")]
    pub merchant_id: String,
    /// Counts changes, from 1; also the `ETag`.
    #[schema(example = 1, minimum = 1)]
    pub version: i64,
    /// The store's name.
    #[schema(example = "Harbour Tea Mong Kok")]
    pub name: String,
    /// The merchant category code; `null`: the merchant's.
    #[schema(required = true, example = json!(null))]
    pub industry: Option<String>,
    /// `active`, or `disabled`: it takes no payments.
    #[schema(
        example = "active",
        extensions(("x-extensible-enum" = json!(Activity::NAMES)))
    )]
    pub status: &'static str,
    /// Since when it takes no payments.
    #[schema(required = true, format = DateTime, example = json!(null))]
    pub disabled_at: Option<String>,
    /// When it was made.
    #[schema(format = DateTime, example = "2026-11-22T04:00:00.000Z")]
    pub created_at: String,
    /// When it was last changed.
    #[schema(format = DateTime, example = "2026-11-22T04:00:00.000Z")]
    pub updated_at: String,
}

impl From<&MerchantStore> for StoreView {
    fn from(store: &MerchantStore) -> Self {
        Self {
            store_id: store.store_id.clone(),
            object: "store",
            merchant_id: store.merchant_id.to_string(),
            version: store.version,
            name: store.profile.name.clone(),
            industry: store.profile.industry.clone(),
            status: Activity::of(store.disabled_at).as_str(),
            disabled_at: store.disabled_at.map(timestamp),
            created_at: timestamp(store.created_at),
            updated_at: timestamp(store.updated_at),
        }
    }
}

/// A page of stores.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StoreList {
    /// The stores, by their ids.
    pub items: Vec<StoreView>,
    /// Send it as `cursor` to get the next page; `null` on the last.
    #[schema(required = true, example = "AlNUMDI")]
    pub next_cursor: Option<String>,
}

refusals! {
    CreateRefusals:
        [
            Problem::merchant_not_found(),
            Problem::store_exists(),
            refusals::missing_member("/store_id"),
        ],
}

/// Make a store
///
/// Payments may name it at once. A repeat of the same request answers `200`. A merchant's key makes
/// stores of its own merchant.
#[utoipa::path(
    post,
    path = "/v1/admin/merchants/{id}/stores",
    tag = "administration",
    operation_id = "create_store",
    security(("api_key" = ["admin"])),
    params(("id" = String, Path, description = "The merchant's id.", example = "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2d")),
    request_body(content = CreateStoreRequest, description = "The store.", content_type = "application/json"),
    responses(
        CreateRefusals,
        (status = 201, description = "The store.", body = StoreView, headers(("ETag" = String, description = "Its version."))),
        (status = 200, description = "The store that the same request made earlier.", body = StoreView,
            headers(("ETag" = String, description = "Its version."))),
    ),
)]
pub async fn create(
    State(app): State<App>,
    overseer: AdminCaller<Administer>,
    Id(id): Id<MerchantId>,
    query: RawPairs,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Resource<StoreView>), Problem> {
    query.reader().finish()?;
    within_reach(&overseer, id)?;
    let (store_id, profile) =
        read_request(&body, |request: CreateStoreRequest, _| request.complete())?;
    let made = app
        .create_store(id, &store_id, &profile, &overseer.by())
        .await?
        .ok_or_else(Problem::merchant_not_found)?;
    match made {
        Made::New(store) => Ok((StatusCode::CREATED, represent(&store))),
        Made::Found(store) => Ok((StatusCode::OK, represent(&store))),
        Made::Taken(_) => Err(Problem::store_exists()),
    }
}

refusals! {
    ListRefusals:
        [Problem::merchant_not_found()],
}

/// List stores
///
/// The merchant's stores by their ids, those that take no payments too.
#[utoipa::path(
    get,
    path = "/v1/admin/merchants/{id}/stores",
    tag = "administration",
    operation_id = "list_stores",
    security(("api_key" = ["admin"])),
    params(
        ("id" = String, Path, description = "The merchant's id.", example = "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2d"),
        ("limit" = Option<i32>, Query, minimum = 1, maximum = 200, description = "Most items on the page; 50 where it is left out."),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
    ),
    responses(ListRefusals, (status = 200, description = "A page.", body = StoreList)),
)]
pub async fn list(
    State(app): State<App>,
    AdminCaller { identity, .. }: AdminCaller<Administer>,
    Id(id): Id<MerchantId>,
    query: RawPairs,
) -> Result<JsonAnswer<StoreList>, Problem> {
    let Paging { after, limit } = Paging::by_name(query.reader())?;
    let page = app
        .list_stores(identity.tenant_scope, id, after.as_deref(), limit)
        .await?
        .ok_or_else(Problem::merchant_not_found)?;
    Ok(JsonAnswer(StoreList {
        items: page.items.iter().map(StoreView::from).collect(),
        next_cursor: page.next.map(|last| cursor_after_name(&last)),
    }))
}

refusals! {
    ReadRefusals:
        [Problem::merchant_not_found(), Problem::store_not_found()],
}

/// Read a store
///
/// A merchant's key reads its own.
#[utoipa::path(
    get,
    path = "/v1/admin/merchants/{id}/stores/{store_id}",
    tag = "administration",
    operation_id = "get_store",
    security(("api_key" = ["admin"])),
    params(
        ("id" = String, Path, description = "The merchant's id.", example = "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2d"),
        ("store_id" = String, Path, description = "The store's id.", example = "ST02"),
    ),
    responses(ReadRefusals, (status = 200, description = "The store.", body = StoreView, headers(("ETag" = String, description = "Its version.")))),
)]
pub async fn read(
    State(app): State<App>,
    overseer: AdminCaller<Administer>,
    StoreOf(id, store_id): StoreOf,
    query: RawPairs,
) -> Result<Resource<StoreView>, Problem> {
    query.reader().finish()?;
    within_reach(&overseer, id)?;
    let store = app.merchant_store(id, &store_id).await?;
    Ok(represent(&store.ok_or_else(Problem::store_not_found)?))
}

refusals! {
    UpdateRefusals:
        [
            Problem::merchant_not_found(),
            Problem::store_not_found(),
            refusals::invalid_member("/name", "required", "must not be null"),
        ],
}

/// Update a store
///
/// A JSON merge patch: what is left out stays as it is. With `If-Match` only where the version is the
/// one you read. Works at once on the replica that answers and within ten seconds on the others.
#[utoipa::path(
    patch,
    path = "/v1/admin/merchants/{id}/stores/{store_id}",
    tag = "administration",
    operation_id = "update_store",
    security(("api_key" = ["admin"])),
    params(
        ("id" = String, Path, description = "The merchant's id.", example = "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2d"),
        ("store_id" = String, Path, description = "The store's id.", example = "ST02"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the version that you read.", example = "\"1\""),
    ),
    request_body(content = UpdateStoreRequest, description = "What to change.", content_type = "application/json"),
    responses(UpdateRefusals, (status = 200, description = "The store as it is now.", body = StoreView, headers(("ETag" = String, description = "Its version.")))),
)]
pub async fn update(
    State(app): State<App>,
    overseer: AdminCaller<Administer>,
    StoreOf(id, store_id): StoreOf,
    known: IfMatch,
    query: RawPairs,
    JsonBody(body): JsonBody,
) -> Result<Resource<StoreView>, Problem> {
    query.reader().finish()?;
    within_reach(&overseer, id)?;
    let patch = read_request(&body, |request: UpdateStoreRequest, _| {
        Some(request.patch())
    })?;
    let changed = app
        .change_store(id, &store_id, known.versions(), &patch, &overseer.by())
        .await?;
    Ok(represent(&done(changed, Problem::store_not_found)?))
}

/// Another merchant is answered like a missing one (`docs/invariants.md` Q7).
fn within_reach(overseer: &AdminCaller<Administer>, id: MerchantId) -> Result<(), Problem> {
    let own = overseer.identity.tenant_scope.merchant_id();
    if own.is_none_or(|own| own == id) {
        Ok(())
    } else {
        Err(Problem::merchant_not_found())
    }
}

fn represent(store: &MerchantStore) -> Resource<StoreView> {
    Resource::new(store.version, StoreView::from(store))
}
