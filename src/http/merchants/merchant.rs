//! `/v1/admin/merchants`: who sells, what it takes and how much may go back.

use axum::{Json as JsonAnswer, extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    body::{
        CreateMerchantRequest, DisableMerchantRequest, EnableMerchantRequest, UpdateMerchantRequest,
    },
    partners::LimitsView,
};
use crate::{
    app::{
        App,
        merchants::{Changed, Made, MerchantAct},
    },
    domain::{
        audit::AuditActor,
        id::{MerchantId, MerchantReference},
        merchants::{
            merchant::{Merchant, MerchantFilter},
            rules::TerminalPattern,
        },
    },
    http::{
        answer::{Resource, timestamp},
        extract::{
            AdminCaller, Administer, Faults, Id, IfMatch, JsonBody, query::RawPairs, read_request,
        },
        paging::{Paging, cursor_after},
        problem::Problem,
        refusals::{self, refusals},
    },
};

/// Which tills may take payments.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Terminals)]
pub struct TerminalsView {
    /// Whether a payment must name its till.
    #[schema(example = false)]
    pub required: bool,
    /// The names, or with `*` at the end their beginnings; `null`: any.
    #[schema(required = true, example = json!(["T1", "KIOSK-*"]), min_items = 1, max_items = 100)]
    pub allowed: Option<Vec<String>>,
}

/// A merchant. Fields may be added.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Merchant)]
pub struct MerchantView {
    /// Its id.
    #[schema(
        example = "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2d",
        pattern = "^mer_[0-9a-f]{32}$"
    )]
    pub id: String,
    /// Always `merchant`.
    #[schema(example = "merchant")]
    pub object: &'static str,
    /// Counts changes, from 1; also the `ETag`.
    #[schema(example = 1, minimum = 1)]
    pub version: i64,
    /// Your own name for it; `null` of the merchant that the configuration makes.
    #[schema(required = true, example = "TEAM-7")]
    pub external_id: Option<String>,
    /// What people call it.
    #[schema(example = "Harbour Tea")]
    pub name: String,
    /// `active`, or `disabled`: it takes no payments; refunds, cancels and reads go on.
    #[schema(
        example = "active",
        extensions(("x-extensible-enum" = json!(["active", "disabled"])))
    )]
    pub status: &'static str,
    /// The Alipay account that is paid.
    #[schema(example = "2088000000000001")]
    pub partner: String,
    /// The merchant's id at Alipay.
    #[schema(example = "SM007")]
    pub secondary_merchant_id: String,
    /// The merchant's legal name.
    #[schema(example = "Harbour Tea Ltd")]
    pub secondary_merchant_name: String,
    /// The merchant category code.
    #[schema(example = "5812")]
    pub secondary_merchant_industry: String,
    /// The store of payments that name none.
    #[schema(example = "ST01")]
    pub default_store_id: String,
    /// Which tills may take payments.
    pub terminals: TerminalsView,
    /// The merchant's own limits; where they are `null`, those of its Alipay account hold.
    pub limits: LimitsView,
    /// Which wallets it wants to be paid with; `null`: any. A payment from another one is not undone:
    /// it says `wallet_allowed: false`, and it is logged and counted.
    #[schema(required = true, example = json!(["ALIPAYHK"]))]
    pub allowed_wallets: Option<Vec<String>>,
    /// Whether the configuration makes it.
    #[schema(example = false)]
    pub configured: bool,
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

impl From<&Merchant> for MerchantView {
    fn from(merchant: &Merchant) -> Self {
        let profile = &merchant.profile;
        let texts = |allowed: &Vec<TerminalPattern>| {
            let texts = allowed.iter().map(|pattern| pattern.as_str().to_owned());
            texts.collect()
        };
        Self {
            id: merchant.id.to_string(),
            object: "merchant",
            version: merchant.version,
            external_id: merchant.external_id.clone(),
            name: profile.name.clone(),
            status: status(merchant.disabled_at),
            partner: merchant.partner.clone(),
            secondary_merchant_id: profile.secondary_merchant_id.clone(),
            secondary_merchant_name: profile.secondary_merchant_name.clone(),
            secondary_merchant_industry: profile.secondary_merchant_industry.clone(),
            default_store_id: profile.default_store_id.clone(),
            terminals: TerminalsView {
                required: profile.terminals.required,
                allowed: profile.terminals.allowed.as_ref().map(texts),
            },
            limits: LimitsView {
                max_payment_minor: profile.limits.max_payment_minor,
                max_refund_minor: profile.limits.max_refund_minor,
                max_refunded_per_day_minor: profile.limits.max_refunded_per_day_minor,
            },
            allowed_wallets: profile.allowed_wallets.clone(),
            configured: merchant.is_configured,
            disabled_at: merchant.disabled_at.map(timestamp),
            created_at: timestamp(merchant.created_at),
            updated_at: timestamp(merchant.updated_at),
        }
    }
}

/// Whether something takes payments.
pub(super) fn status(disabled_at: Option<DateTime<Utc>>) -> &'static str {
    if disabled_at.is_some() {
        "disabled"
    } else {
        "active"
    }
}

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

refusals! {
    DisableRefusals:
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
    responses(DisableRefusals, (status = 200, description = "The merchant, disabled.", body = MerchantView,
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

refusals! {
    EnableRefusals:
        [
            Problem::merchant_not_found(),
            Problem::operator_required(),
            refusals::missing_member("/reason"),
        ],
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
    responses(EnableRefusals, (status = 200, description = "The merchant, active.", body = MerchantView,
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

fn represent(merchant: &Merchant) -> Resource<MerchantView> {
    Resource::new(merchant.version, MerchantView::from(merchant))
}
