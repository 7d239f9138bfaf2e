//! `GET /v1/reconciliations/{id}/differences` and `.../differences/{difference_id}/acknowledge`.

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::view::DifferenceView;
use crate::{
    app::App,
    domain::{
        id::{DifferenceId, MerchantId, ReconciliationId},
        reconciliation::{DifferenceClass, DifferenceFilter},
    },
    http::{
        extract::{
            AdminCaller, Id, JsonBody, Reconcile,
            members::MAX_REASON,
            query::{QueryReader, RawPairs},
            read_request, request,
            rules::Note,
        },
        paging::{Paging, cursor_after},
        problem::Problem,
        refusals::{self, refusals},
    },
};

/// A page of differences.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DifferenceList {
    /// The differences, by file and line.
    pub items: Vec<DifferenceView>,
    /// Send it as `cursor` to get the next page; `null` on the last.
    #[schema(required = true, example = "AQGZs8HS439Ki2x9jp8KGyw")]
    pub next_cursor: Option<String>,
}

request! {
    /// Why a difference is no reason for alarm.
    struct AcknowledgeDifferenceRequest {
        /// Why. Kept for ever.
        required reason: String = Note { max: MAX_REASON },
            example "refunded in the portal by the store manager";
    }
}

/// Reads the filters of a list of differences.
pub(super) fn filter<'q>(reader: &mut QueryReader<'q>) -> DifferenceFilter<'q> {
    DifferenceFilter {
        class: reader.parse(
            "class",
            "must be a class of differences, such as missing_in_file",
            DifferenceClass::from_name,
        ),
        merchant_id: reader.parse("merchant_id", "must be a merchant's id", |text| {
            text.parse::<MerchantId>().ok()
        }),
        store: reader.text("store"),
        acknowledged: reader.parse("acknowledged", "must be true or false", |text| {
            text.parse().ok()
        }),
    }
}

refusals! {
    ListRefusals:
        [Problem::reconciliation_not_found()],
}

/// List a reconciliation's differences
///
/// By file and line. Filters combine. A merchant's key sees its own.
#[utoipa::path(
    get,
    path = "/v1/reconciliations/{id}/differences",
    tag = "reconciliation",
    operation_id = "list_differences",
    security(("api_key" = ["reconciliation"])),
    params(
        ("id" = String, Path, description = "The reconciliation's id.", example = "rec_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c"),
        ("class" = Option<String>, Query, description = "In this way.", example = "missing_in_file"),
        ("merchant_id" = Option<String>, Query, description = "Whose.", example = "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c"),
        ("store" = Option<String>, Query, description = "Of which store.", example = "ST01"),
        ("acknowledged" = Option<bool>, Query, description = "Whether somebody took note of it."),
        ("limit" = Option<i32>, Query, minimum = 1, maximum = 200, description = "Most items on the page; 50 where it is left out."),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
    ),
    responses(ListRefusals, (status = 200, description = "A page.", body = DifferenceList)),
)]
pub async fn list(
    State(app): State<App>,
    AdminCaller { identity, .. }: AdminCaller<Reconcile>,
    Id(id): Id<ReconciliationId>,
    query: RawPairs,
) -> Result<Json<DifferenceList>, Problem> {
    let mut reader = query.reader();
    let filter = filter(&mut reader);
    let Paging { after, limit } = Paging::<DifferenceId>::read(reader)?;
    let page = app
        .list_differences(identity.tenant_scope, id, filter, after, limit)
        .await?
        .ok_or_else(Problem::reconciliation_not_found)?;
    Ok(Json(DifferenceList {
        items: page.items.iter().map(DifferenceView::from).collect(),
        next_cursor: page.next.map(|last| cursor_after(last.uuid())),
    }))
}

refusals! {
    AcknowledgeRefusals:
        [
            Problem::reconciliation_not_found(),
            refusals::missing_member("/reason"),
        ],
}

/// Acknowledge a difference
///
/// Notes who took note of it and why, in the audit log too. Changes nothing of the books. The first note
/// stays: a repeat answers it.
#[utoipa::path(
    post,
    path = "/v1/reconciliations/{id}/differences/{difference_id}/acknowledge",
    tag = "reconciliation",
    operation_id = "acknowledge_difference",
    security(("api_key" = ["reconciliation"])),
    params(
        ("id" = String, Path, description = "The reconciliation's id.", example = "rec_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c"),
        ("difference_id" = String, Path, description = "The difference's id.", example = "dif_00000001000000018b6c7d8e9f0a1b2c"),
    ),
    request_body(content = AcknowledgeDifferenceRequest, description = "Why.", content_type = "application/json"),
    responses(AcknowledgeRefusals, (status = 200, description = "The difference as it stands.", body = DifferenceView)),
)]
pub async fn acknowledge(
    State(app): State<App>,
    caller: AdminCaller<Reconcile>,
    path: Result<Path<(String, String)>, axum::extract::rejection::PathRejection>,
    query: RawPairs,
    JsonBody(body): JsonBody,
) -> Result<Json<DifferenceView>, Problem> {
    query.reader().finish()?;
    let reason = read_request(&body, |request: AcknowledgeDifferenceRequest, _| {
        request.reason
    })?;
    let ids = path.ok().and_then(|Path((id, difference))| {
        Some((
            id.parse::<ReconciliationId>().ok()?,
            difference.parse::<DifferenceId>().ok()?,
        ))
    });
    let (id, difference) = ids.ok_or_else(Problem::reconciliation_not_found)?;
    let by = caller.by().because(reason.clone());
    let difference = app
        .acknowledge_difference(caller.identity.tenant_scope, id, difference, &reason, &by)
        .await?
        .ok_or_else(Problem::reconciliation_not_found)?;
    Ok(Json((&difference).into()))
}
