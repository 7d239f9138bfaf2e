//! `/v1/admin/merchants`: who sells, what it takes and how much may go back.

use axum::{Json as JsonAnswer, extract::State, http::StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    body::{CreateMerchantRequest, UpdateMerchantRequest},
    view::{MerchantView, represent},
};
use crate::{
    app::{
        App,
        merchants::{Changed, Made},
    },
    domain::{
        id::{MerchantId, MerchantReference},
        merchants::merchant::MerchantFilter,
    },
    http::{
        answer::Resource,
        extract::{
            AdminCaller, Administer, Faults, Id, IfMatch, JsonBody, query::RawPairs, read_request,
        },
        paging::{Paging, cursor_after},
        problem::Problem,
        refusals::{self, refusals},
    },
};

/// A page of merchants.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct MerchantList {
    /// The merchants, newest first.
    pub items: Vec<MerchantView>,
    /// Send it as `cursor` to get the next page; `null` on the last.
    #[schema(required = true, example = "AQGZs8HS439Ki2x9jp8KGyw")]
    pub next_cursor: Option<String>,
}

refusals! {
    CreateRefusals:
        [
            Problem::operator_required(),
            Problem::merchant_exists(refusals::merchant_id()),
            refusals::missing_member("/external_id"),
        ],
}

/// Make a merchant
///
/// With its default store, so that it can take payments at once; it has no API key yet. A repeat of the
/// same request answers `200` with the merchant that the first one made. For the operator.
#[utoipa::path(
    post,
    path = "/v1/admin/merchants",
    tag = "administration",
    operation_id = "create_merchant",
    security(("api_key" = ["admin"])),
    request_body(content = CreateMerchantRequest, description = "The merchant.", content_type = "application/json"),
    responses(
        CreateRefusals,
        (status = 201, description = "The merchant.", body = MerchantView,
            headers(("Location" = String, description = "Where it can be read."), ("ETag" = String, description = "Its version."))),
        (status = 200, description = "The merchant that the same request made earlier.", body = MerchantView,
            headers(("Location" = String, description = "Where it can be read."), ("ETag" = String, description = "Its version."))),
    ),
)]
pub async fn create(
    State(app): State<App>,
    overseer: AdminCaller<Administer>,
    query: RawPairs,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Resource<MerchantView>), Problem> {
    query.reader().finish()?;
    overseer.operator_only()?;
    let new = read_request(&body, |request: CreateMerchantRequest, faults| {
        request.complete(|partner| app.has_account(partner), faults)
    })?;
    let (status, merchant) = match app.create_merchant(&new, &overseer.by()).await? {
        Made::New(merchant) => (StatusCode::CREATED, merchant),
        Made::Found(merchant) => (StatusCode::OK, merchant),
        Made::Taken(merchant) => return Err(Problem::merchant_exists(merchant.id)),
    };
    let location = format!("/v1/admin/merchants/{}", merchant.id);
    Ok((status, represent(&merchant).located(&location)))
}

/// List merchants
///
/// Newest first. Filters combine. A merchant's key sees its own merchant.
#[utoipa::path(
    get,
    path = "/v1/admin/merchants",
    tag = "administration",
    operation_id = "list_merchants",
    security(("api_key" = ["admin"])),
    params(
        ("external_id" = Option<String>, Query, pattern = "^[A-Za-z0-9._-]{1,64}$", description = "Your own name for it."),
        ("partner" = Option<String>, Query, pattern = "^[0-9]{16}$", description = "The Alipay account."),
        ("active" = Option<bool>, Query, description = "Only those that take payments (`true`), or only the others (`false`)."),
        ("limit" = Option<i32>, Query, minimum = 1, maximum = 200, description = "Most items on the page; 50 where it is left out."),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page.", body = MerchantList)),
)]
pub async fn list(
    State(app): State<App>,
    AdminCaller { identity, .. }: AdminCaller<Administer>,
    query: RawPairs,
) -> Result<JsonAnswer<MerchantList>, Problem> {
    let mut reader = query.reader();
    let filter = MerchantFilter {
        external_id: reader.parse(
            "external_id",
            "must be 1 to 64 of A-Z a-z 0-9 . _ -",
            |text| Some(text.parse::<MerchantReference>().ok()?.to_string()),
        ),
        partner: reader.parse("partner", "must be 16 digits", |text| {
            let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.to_owned())
        }),
        active: reader.parse("active", "must be true or false", |text| text.parse().ok()),
    };
    let Paging { after, limit } = Paging::read(reader)?;
    let page = app
        .list_merchants(identity.tenant_scope, &filter, after, limit)
        .await?;
    Ok(JsonAnswer(MerchantList {
        items: page.items.iter().map(MerchantView::from).collect(),
        next_cursor: page.next.map(|last| cursor_after(last.uuid())),
    }))
}

refusals! {
    ReadRefusals:
        [Problem::merchant_not_found()],
}

/// Read a merchant
///
/// A merchant's key reads its own.
#[utoipa::path(
    get,
    path = "/v1/admin/merchants/{id}",
    tag = "administration",
    operation_id = "get_merchant",
    security(("api_key" = ["admin"])),
    params(("id" = String, Path, description = "The merchant's id.", example = "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2d")),
    responses(ReadRefusals, (status = 200, description = "The merchant.", body = MerchantView,
        headers(("ETag" = String, description = "Its version.")))),
)]
pub async fn read(
    State(app): State<App>,
    AdminCaller { identity, .. }: AdminCaller<Administer>,
    Id(id): Id<MerchantId>,
    query: RawPairs,
) -> Result<Resource<MerchantView>, Problem> {
    query.reader().finish()?;
    let merchant = app.merchant(identity.tenant_scope, id).await?;
    let merchant = merchant.ok_or_else(Problem::merchant_not_found)?;
    Ok(represent(&merchant))
}

refusals! {
    UpdateRefusals:
        [
            Problem::merchant_not_found(),
            Problem::operator_required(),
            refusals::invalid_member(
                "/limits/max_refund_minor",
                "out_of_range",
                "must be an integer from 0 to 10000000000",
            ),
        ],
}

/// Update a merchant
///
/// A JSON merge patch: what is left out stays as it is. With `If-Match` only where the version is the
/// one you read. Rules of payments work at once on the replica that answers and within ten seconds on
/// the others; limits of refunds work everywhere at once. For the operator.
#[utoipa::path(
    patch,
    path = "/v1/admin/merchants/{id}",
    tag = "administration",
    operation_id = "update_merchant",
    security(("api_key" = ["admin"])),
    params(
        ("id" = String, Path, description = "The merchant's id.", example = "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2d"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the version that you read.", example = "\"1\""),
    ),
    request_body(content = UpdateMerchantRequest, description = "What to change.", content_type = "application/json"),
    responses(UpdateRefusals, (status = 200, description = "The merchant as it is now.", body = MerchantView,
        headers(("ETag" = String, description = "Its version.")))),
)]
pub async fn update(
    State(app): State<App>,
    overseer: AdminCaller<Administer>,
    Id(id): Id<MerchantId>,
    known: IfMatch,
    query: RawPairs,
    JsonBody(body): JsonBody,
) -> Result<Resource<MerchantView>, Problem> {
    query.reader().finish()?;
    overseer.operator_only()?;
    let patch = read_request(&body, |request: UpdateMerchantRequest, _| {
        Some(request.patch())
    })?;
    let changed = app
        .change_merchant(id, known.versions(), &patch, &overseer.by())
        .await?;
    let merchant = done(changed, Problem::merchant_not_found)?;
    Ok(represent(&merchant))
}

/// What a change came to, or why there is none.
pub(super) fn done<T>(changed: Changed<T>, missing: fn() -> Problem) -> Result<T, Problem> {
    let mut faults = Faults::default();
    match changed {
        Changed::Done(now) => return Ok(now),
        Changed::Missing => return Err(missing()),
        Changed::Stale => return Err(Problem::version_mismatch()),
        Changed::NoSuchStore => {
            let detail = "the merchant has no such store";
            faults.add("/default_store_id".to_owned(), "unknown_store", detail);
        }
        Changed::Configured(fields) => {
            for field in fields {
                let detail = "comes from the configuration of the gateway; change it there";
                faults.add(format!("/{field}"), "configured", detail);
            }
        }
    }
    faults.into_result()?;
    Err(Problem::validation(Vec::new()))
}
