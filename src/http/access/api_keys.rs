//! `/v1/admin/api-keys`: who may call.

use axum::{
    Json as JsonAnswer,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    app::{App, access::api_keys::MadeApiKey},
    domain::{
        access::{
            api_key::{
                ApiKey, ApiKeyFilter, ApiKeyStatus, MAX_NAME, MAX_OVERLAP_SECONDS, NewApiKey,
                Rotated, Rotation,
            },
            principal::{Credential, Identity, Scope, TenantScope},
        },
        id::{ApiKeyId, MerchantId},
    },
    http::{
        answer::timestamp,
        extract::{
            AdminCaller, Administer, Faults, Id, JsonBody,
            json::Json,
            query::RawPairs,
            read_request, request,
            rules::{Boolean, Form, Instant, Integer, Note, Texts},
        },
        paging::{Paging, cursor_after},
        problem::Problem,
        refusals::{self, refusals},
    },
};

/// For how long a replaced key is accepted where the caller does not say: a day.
const DEFAULT_OVERLAP_SECONDS: i64 = 24 * 60 * 60;

request! {
    /// An API key to be made.
    struct CreateApiKeyRequest {
        /// Whose it is. A merchant's own where a merchant makes it; the operator says it, or `operator`.
        optional merchant_id: MerchantId = MERCHANT_ID, example "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c";
        /// Whether it is the operator's, who sees all merchants.
        optional operator: bool = Boolean, example false;
        /// What people call it.
        required name: String = Note { max: MAX_NAME }, example "till-1";
        /// What it may do: `payments:write`, `payments:read`, `refunds:write`, `operations`,
        /// `reconciliation`, `admin`, `support:read`. The operator's key may carry the last four, a merchant's
        /// key any but the last that its maker has.
        required scopes: Vec<Scope> = SCOPES, example json!(["payments:write", "payments:read"]);
        /// From when on it is refused (RFC 3339); never where it is left out.
        optional expires_at: DateTime<Utc> = Instant, example "2027-11-22T04:00:00Z";
    }
}

request! {
    /// How a key is replaced. `{}` is a whole request.
    struct RotateApiKeyRequest {
        /// For how many seconds the old key is still accepted; a day where it is left out.
        optional overlap_seconds: i64 = Integer { min: 0, max: MAX_OVERLAP_SECONDS }, example 86400;
        /// From when on the new key is refused (RFC 3339); never where it is left out.
        optional expires_at: DateTime<Utc> = Instant, example "2027-11-22T04:00:00Z";
    }
}

const SCOPES: Texts<Scope> = Texts {
    max: Scope::ALL.len(),
    detail: "is not a scope",
    parse: Scope::from_name,
    item: || json!({"enum": Scope::ALL.map(Scope::as_str)}),
};

const MERCHANT_ID: Form<MerchantId> = Form {
    code: "invalid_format",
    detail: "must be a merchant's id",
    parse: |text| text.parse().ok(),
    schema: || json!({}),
};

/// An API key: everything but the key itself.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub struct ApiKeyView {
    /// Its id.
    #[schema(
        example = "key_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c",
        pattern = "^key_[0-9a-f]{32}$"
    )]
    pub id: String,
    /// Always `api_key`.
    #[schema(example = "api_key")]
    pub object: &'static str,
    /// Whose it is; `null`: the operator's.
    #[schema(required = true, example = "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c")]
    pub merchant_id: Option<String>,
    /// What people call it.
    #[schema(example = "till-1")]
    pub name: String,
    /// Its first characters; `null` of the oldest keys.
    #[schema(required = true, example = "ahk_5RDtg8")]
    pub prefix: Option<String>,
    /// `api_key`; or `jwt`, which is no key but a subject of access tokens: `revoke` blocks it.
    #[schema(example = "api_key", extensions(("x-extensible-enum" = json!(Credential::NAMES))))]
    pub kind: &'static str,
    /// Who issues its access tokens; `null` of a key.
    #[schema(required = true, example = json!(null))]
    pub issuer: Option<String>,
    /// For whom they are issued; `null` of a key.
    #[schema(required = true, example = json!(null))]
    pub subject: Option<String>,
    /// What it may do. Of `jwt` nothing by itself: each token says what it may do.
    #[schema(example = json!(["payments:write", "payments:read"]), extensions(("x-extensible-enum" = json!(Scope::ALL.map(Scope::as_str)))))]
    pub scopes: Vec<&'static str>,
    /// `active`, `expired` or `revoked`.
    #[schema(
        example = "active",
        extensions(("x-extensible-enum" = json!(ApiKeyStatus::NAMES)))
    )]
    pub status: &'static str,
    /// When it was made.
    #[schema(format = DateTime, example = "2026-11-22T04:00:00.000Z")]
    pub created_at: String,
    /// From when on it is refused; `null`: never.
    #[schema(required = true, format = DateTime, example = json!(null))]
    pub expires_at: Option<String>,
    /// Since when it is refused because somebody said so.
    #[schema(required = true, format = DateTime, example = json!(null))]
    pub revoked_at: Option<String>,
    /// When it was last presented, to the minute; about a minute late.
    #[schema(required = true, format = DateTime, example = "2026-11-22T04:00:00.000Z")]
    pub last_used_at: Option<String>,
    /// The key it took the place of.
    #[schema(required = true, example = json!(null))]
    pub replaces: Option<String>,
}

impl From<&ApiKey> for ApiKeyView {
    fn from(key: &ApiKey) -> Self {
        Self {
            id: key.id.to_string(),
            object: "api_key",
            merchant_id: key.tenant_scope.merchant_id().map(|id| id.to_string()),
            name: key.name.clone(),
            prefix: key.prefix.clone(),
            kind: key.credential().as_str(),
            issuer: key.subject.as_ref().map(|of| of.issuer.clone()),
            subject: key.subject.as_ref().map(|of| of.subject.clone()),
            scopes: key.scopes.iter().map(|scope| scope.as_str()).collect(),
            status: key.status.as_str(),
            created_at: timestamp(key.created_at),
            expires_at: key.expires_at.map(timestamp),
            revoked_at: key.revoked_at.map(timestamp),
            last_used_at: key.last_used_at.map(timestamp),
            replaces: key.replaces.map(|id| id.to_string()),
        }
    }
}

/// An API key that was just made, with the key itself.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKeyWithSecret)]
#[expect(missing_debug_implementations, reason = "it holds the key itself")]
pub struct ApiKeyWithSecretView {
    #[serde(flatten)]
    api_key: ApiKeyView,
    /// The key itself: shown here, once, and stored nowhere.
    #[schema(example = "ahk_5RDtg8w6CRiwImLJg580OtWlU6aNJk1LbapGxNlFuTcq1Zt0b_x")]
    key: String,
}

/// A page of API keys.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ApiKeyList {
    /// The keys, newest first.
    pub items: Vec<ApiKeyView>,
    /// Send it as `cursor` to get the next page; `null` on the last.
    #[schema(required = true, example = "AQGZs8HS439Ki2x9jp8KGyw")]
    pub next_cursor: Option<String>,
}

refusals! {
    CreateRefusals:
        [
            Problem::operator_required(),
            refusals::missing_member("/scopes"),
        ],
}

/// Make an API key
///
/// The answer shows the key itself, once. It works at once, everywhere. A repeat makes another key:
/// where an answer was lost, revoke what the list shows.
#[utoipa::path(
    post,
    path = "/v1/admin/api-keys",
    tag = "administration",
    operation_id = "create_api_key",
    security(("api_key" = ["admin"])),
    request_body(content = CreateApiKeyRequest, description = "The key.", content_type = "application/json"),
    responses(
        CreateRefusals,
        (status = 201, description = "The key, with the key itself.", body = ApiKeyWithSecretView,
            headers(("Location" = String, description = "Where it can be read."))),
    ),
)]
pub async fn create(
    State(app): State<App>,
    overseer: AdminCaller<Administer>,
    query: RawPairs,
    JsonBody(body): JsonBody,
) -> Result<impl IntoResponse, Problem> {
    query.reader().finish()?;
    let new = read_new(&overseer, &body)?;
    let made = app.create_api_key(&new, &overseer.by()).await?;
    Ok(handed_out(&made))
}

/// List API keys
///
/// Newest first, expired and revoked ones too. Filters combine.
#[utoipa::path(
    get,
    path = "/v1/admin/api-keys",
    tag = "administration",
    operation_id = "list_api_keys",
    security(("api_key" = ["admin"])),
    params(
        ("merchant_id" = Option<String>, Query, description = "Whose keys.", example = "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c"),
        ("active" = Option<bool>, Query, description = "Only those that are accepted (`true`), or only the others (`false`)."),
        ("limit" = Option<i32>, Query, minimum = 1, maximum = 200, description = "Most items on the page; 50 where it is left out."),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page.", body = ApiKeyList)),
)]
pub async fn list(
    State(app): State<App>,
    AdminCaller { identity, .. }: AdminCaller<Administer>,
    query: RawPairs,
) -> Result<JsonAnswer<ApiKeyList>, Problem> {
    let mut reader = query.reader();
    let filter = ApiKeyFilter {
        merchant_id: reader.parse("merchant_id", "must be a merchant's id", |text| {
            text.parse().ok()
        }),
        active: reader.parse("active", "must be true or false", |text| text.parse().ok()),
    };
    let Paging { after, limit } = Paging::read(reader)?;
    let page = app
        .list_api_keys(identity.tenant_scope, filter, after, limit)
        .await?;
    Ok(JsonAnswer(ApiKeyList {
        items: page.items.iter().map(ApiKeyView::from).collect(),
        next_cursor: page.next.map(|last| cursor_after(last.uuid())),
    }))
}

refusals! {
    ReadRefusals:
        [Problem::api_key_not_found()],
}

/// Read an API key
///
/// Everything but the key itself.
#[utoipa::path(
    get,
    path = "/v1/admin/api-keys/{id}",
    tag = "administration",
    operation_id = "get_api_key",
    security(("api_key" = ["admin"])),
    params(("id" = String, Path, description = "The key's id.", example = "key_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c")),
    responses(ReadRefusals, (status = 200, description = "The key.", body = ApiKeyView)),
)]
pub async fn read(
    State(app): State<App>,
    AdminCaller { identity, .. }: AdminCaller<Administer>,
    Id(id): Id<ApiKeyId>,
    query: RawPairs,
) -> Result<JsonAnswer<ApiKeyView>, Problem> {
    query.reader().finish()?;
    let key = app
        .api_key(identity.tenant_scope, id)
        .await?
        .ok_or_else(Problem::api_key_not_found)?;
    Ok(JsonAnswer(ApiKeyView::from(&key)))
}

refusals! {
    RevokeRefusals:
        [Problem::api_key_not_found()],
}

/// Revoke an API key
///
/// Refused at once by the replica that answers, within ten seconds by the others. For good: a
/// revoked key stays revoked. Revoking it again changes nothing.
#[utoipa::path(
    post,
    path = "/v1/admin/api-keys/{id}/revoke",
    tag = "administration",
    operation_id = "revoke_api_key",
    security(("api_key" = ["admin"])),
    params(("id" = String, Path, description = "The key's id.", example = "key_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c")),
    responses(RevokeRefusals, (status = 200, description = "The key, revoked.", body = ApiKeyView)),
)]
pub async fn revoke(
    State(app): State<App>,
    overseer: AdminCaller<Administer>,
    Id(id): Id<ApiKeyId>,
    query: RawPairs,
) -> Result<JsonAnswer<ApiKeyView>, Problem> {
    query.reader().finish()?;
    let key = app
        .revoke_api_key(overseer.identity.tenant_scope, id, &overseer.by())
        .await?
        .ok_or_else(Problem::api_key_not_found)?;
    Ok(JsonAnswer(ApiKeyView::from(&key)))
}

refusals! {
    RotateRefusals:
        [
            Problem::api_key_not_found(),
            Problem::api_key_not_active(),
            refusals::invalid_member(
                "/overlap_seconds",
                "out_of_range",
                "must be an integer from 0 to 2592000",
            ),
        ],
}

/// Rotate an API key
///
/// Makes a new key with the same name, scopes and owner; the old one is accepted for
/// `overlap_seconds` more, so that callers can change over without a failed call.
#[utoipa::path(
    post,
    path = "/v1/admin/api-keys/{id}/rotate",
    tag = "administration",
    operation_id = "rotate_api_key",
    security(("api_key" = ["admin"])),
    params(("id" = String, Path, description = "The old key's id.", example = "key_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c")),
    request_body(content = RotateApiKeyRequest, description = "How long both are accepted.", content_type = "application/json"),
    responses(
        RotateRefusals,
        (status = 201, description = "The new key, with the key itself.", body = ApiKeyWithSecretView,
            headers(("Location" = String, description = "Where it can be read."))),
    ),
)]
pub async fn rotate(
    State(app): State<App>,
    overseer: AdminCaller<Administer>,
    Id(id): Id<ApiKeyId>,
    query: RawPairs,
    JsonBody(body): JsonBody,
) -> Result<impl IntoResponse, Problem> {
    query.reader().finish()?;
    let rotation = read_request(&body, |request: RotateApiKeyRequest, _| {
        Some(Rotation {
            overlap_seconds: request.overlap_seconds.unwrap_or(DEFAULT_OVERLAP_SECONDS),
            expires_at: request.expires_at,
        })
    })?;
    let old = app
        .api_key(overseer.identity.tenant_scope, id)
        .await?
        .ok_or_else(Problem::api_key_not_found)?;
    // Who replaces a key gets all that it may do.
    if !old
        .scopes
        .iter()
        .all(|scope| may_give(&overseer.identity, *scope))
    {
        return Err(Problem::insufficient_scope(&old.scopes));
    }
    let replaced = app
        .rotate_api_key(overseer.identity.tenant_scope, id, rotation, &overseer.by())
        .await?;
    match replaced {
        Rotated::Made(made) => Ok(handed_out(&made)),
        Rotated::NotActive => Err(Problem::api_key_not_active()),
        Rotated::Missing => Err(Problem::api_key_not_found()),
    }
}

/// A merchant's administrator gives what it has; the operator's, all.
fn may_give(giver: &Identity, scope: Scope) -> bool {
    giver.tenant_scope == TenantScope::Operator || giver.may(scope)
}

fn read_new(overseer: &AdminCaller<Administer>, body: &Json) -> Result<NewApiKey, Problem> {
    let giver = &overseer.identity;
    let (tenant_scope, new) = read_request(body, |request: CreateApiKeyRequest, faults| {
        let tenant_scope = read_reach(giver, &request, faults);
        if let (Some(scopes), Some(tenant_scope)) = (&request.scopes, tenant_scope) {
            refuse_scopes(giver, tenant_scope, scopes, faults);
        }
        let (mut scopes, tenant_scope) = (request.scopes?, tenant_scope?);
        scopes.sort();
        scopes.dedup();
        Some((
            tenant_scope,
            NewApiKey {
                tenant_scope,
                name: request.name?,
                scopes,
                expires_at: request.expires_at,
            },
        ))
    })?;
    if tenant_scope != giver.tenant_scope {
        overseer.operator_only()?;
    }
    Ok(new)
}

/// Whose the new key is to be. Whether the giver may say so is decided afterwards.
fn read_reach(
    giver: &Identity,
    request: &CreateApiKeyRequest,
    faults: &mut Faults,
) -> Option<TenantScope> {
    let operator = request.operator.unwrap_or(false);
    match (request.merchant_id, operator, giver.tenant_scope) {
        (Some(id), false, _) => Some(TenantScope::Merchant(id)),
        (Some(_), true, _) => {
            let detail = "is either a merchant's or the operator's: leave one of both out";
            faults.member("operator", "not_together", detail);
            None
        }
        // What was given was faulty.
        (None, _, _) if faults.has("merchant_id") => None,
        (None, true, _) => Some(TenantScope::Operator),
        (None, false, own @ TenantScope::Merchant(_)) => Some(own),
        (None, false, TenantScope::Operator) => {
            let detail = "say whose key it is, or `\"operator\": true`";
            faults.member("merchant_id", "required", detail);
            None
        }
    }
}

fn refuse_scopes(
    giver: &Identity,
    tenant_scope: TenantScope,
    scopes: &[Scope],
    faults: &mut Faults,
) {
    let out_of_reach = Scope::out_of_reach(tenant_scope, scopes);
    for scope in scopes {
        let name = scope.as_str();
        if out_of_reach.contains(scope) {
            let (whose, others) = match tenant_scope {
                TenantScope::Operator => ("a merchant's", "the operator's"),
                TenantScope::Merchant(_) => ("the operator's", "a merchant's"),
            };
            let detail = format!("`{name}` is {whose}; {others} key cannot carry it");
            faults.member("scopes", "out_of_reach", detail);
        } else if !may_give(giver, *scope) {
            let detail = format!("`{name}` can be given only by a key that has it");
            faults.member("scopes", "scope_not_held", detail);
        }
    }
}

fn handed_out(made: &MadeApiKey) -> impl IntoResponse + use<> {
    let api_key = ApiKeyView::from(&made.api_key);
    let location = format!("/v1/admin/api-keys/{}", api_key.id);
    let view = ApiKeyWithSecretView {
        api_key,
        key: made.key().to_owned(),
    };
    (
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        JsonAnswer(view),
    )
}
