//! `GET /v1/admin/audit-log`: every administrative act and every decision of a person.

use axum::{Json, extract::State};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    app::App,
    domain::{
        audit::{AuditFilter, AuditItem},
        id::MerchantId,
    },
    http::{
        answer::timestamp,
        extract::{AdminCaller, Administer, query::RawPairs},
        paging::{Paging, cursor_after},
        problem::Problem,
    },
};

/// A page of the audit log.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AuditLog {
    /// The entries, newest first.
    pub items: Vec<AuditEntryView>,
    /// Send it as `cursor` to get the next page; `null` on the last.
    #[schema(required = true, example = "AQGZs8HS439Ki2x9jp8KGyw")]
    pub next_cursor: Option<String>,
}

/// One act.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub struct AuditEntryView {
    /// Its number in the chain, from 1 and without gaps; a merchant sees its own entries only.
    #[schema(example = 17)]
    pub entry_no: i64,
    /// Always `audit_entry`.
    #[schema(example = "audit_entry")]
    pub object: &'static str,
    /// When.
    #[schema(format = DateTime, example = "2026-11-22T04:00:00.000Z")]
    pub at: String,
    /// Whose affairs it touched; `null` where they are the operator's own.
    #[schema(required = true, example = "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c")]
    pub merchant_id: Option<String>,
    /// What was done.
    #[schema(example = "api_key.created")]
    pub action: String,
    /// To what kind of thing.
    #[schema(example = "api_key")]
    pub subject_kind: String,
    /// To which.
    #[schema(example = "key_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c")]
    pub subject_id: String,
    /// Who (`kind`, `id`, `name`), in which request (`request_id`), and why (`reason`, `ticket`).
    #[schema(value_type = Object, example = json!({"kind": "api_key", "id": "key_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c", "name": "ops-1"}))]
    pub by: Value,
    /// The subject before; `null` where there was none.
    #[schema(required = true, value_type = Option<Object>)]
    pub before: Option<Value>,
    /// The subject after.
    #[schema(required = true, value_type = Option<Object>)]
    pub after: Option<Value>,
    /// SHA-256 over this entry and the hash of the one before, in hexadecimal.
    #[schema(
        example = "4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865",
        pattern = "^[0-9a-f]{64}$"
    )]
    pub hash: String,
}

impl From<&AuditItem> for AuditEntryView {
    fn from(item: &AuditItem) -> Self {
        Self {
            entry_no: item.entry_no,
            object: "audit_entry",
            at: timestamp(item.at),
            merchant_id: item.merchant_id.map(|id| id.to_string()),
            action: item.action.clone(),
            subject_kind: item.subject_kind.clone(),
            subject_id: item.subject_id.clone(),
            by: item.by.clone(),
            before: item.before.clone(),
            after: item.after.clone(),
            hash: hex::encode(&item.hash),
        }
    }
}

/// The number of an entry as a cursor.
struct EntryNo(i64);

impl From<Uuid> for EntryNo {
    fn from(uuid: Uuid) -> Self {
        Self(i64::try_from(uuid.as_u128()).unwrap_or(i64::MAX))
    }
}

/// Read the audit log
///
/// Newest first. Filters combine. Entries are never changed or removed, and each is chained to the
/// one before by its hash: `alipayhk-gateway audit verify` checks all of them.
#[utoipa::path(
    get,
    path = "/v1/admin/audit-log",
    tag = "administration",
    operation_id = "list_audit_log",
    security(("api_key" = ["admin"])),
    params(
        ("merchant_id" = Option<String>, Query, description = "Whose affairs.", example = "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c"),
        ("subject" = Option<String>, Query, description = "The id of what was acted on.", example = "key_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c"),
        ("by" = Option<String>, Query, description = "The id of who acted.", example = "key_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c"),
        ("action" = Option<String>, Query, description = "What was done.", example = "api_key.revoked"),
        ("from" = Option<DateTime<Utc>>, Query, description = "At or after this instant (RFC 3339)."),
        ("to" = Option<DateTime<Utc>>, Query, description = "Before this instant (RFC 3339)."),
        ("limit" = Option<i32>, Query, minimum = 1, maximum = 200, description = "Most items on the page; 50 where it is left out."),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page.", body = AuditLog)),
)]
pub async fn list(
    State(app): State<App>,
    AdminCaller { identity, .. }: AdminCaller<Administer>,
    query: RawPairs,
) -> Result<Json<AuditLog>, Problem> {
    let mut reader = query.reader();
    let filter = AuditFilter {
        merchant_id: reader.parse("merchant_id", "must be a merchant's id", |text| {
            text.parse::<MerchantId>().ok()
        }),
        subject: reader.text("subject").map(str::to_owned),
        by: reader.text("by").map(str::to_owned),
        action: reader.text("action").map(str::to_owned),
        from: reader.instant("from"),
        to: reader.instant("to"),
    };
    let Paging { after, limit } = Paging::<EntryNo>::read(reader)?;
    let before = after.map(|entry| entry.0);
    let page = app
        .list_audit_log(identity.tenant_scope, &filter, before, limit)
        .await?;
    Ok(Json(AuditLog {
        items: page.items.iter().map(AuditEntryView::from).collect(),
        next_cursor: page
            .next
            .map(|last| cursor_after(Uuid::from_u128(u128::from(last.unsigned_abs())))),
    }))
}
