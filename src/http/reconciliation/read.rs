//! `GET /v1/reconciliations` and `GET /v1/reconciliations/{id}`.

use axum::{Json, extract::State};
use chrono::NaiveDate;
use serde::Serialize;
use utoipa::ToSchema;

use super::view::{ReconciliationView, SummaryView};
use crate::{
    app::App,
    domain::{
        id::ReconciliationId,
        reconciliation::{ReconciliationFilter, ReconciliationStatus, daily_file::FileKind},
    },
    http::{
        extract::{AdminCaller, Id, Reconcile, query::RawPairs},
        paging::{Paging, cursor_after},
        problem::Problem,
        refusals::refusals,
    },
};

/// A page of reconciliations.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ReconciliationList {
    /// The reconciliations, newest first.
    pub items: Vec<SummaryView>,
    /// Send it as `cursor` to get the next page; `null` on the last.
    #[schema(required = true, example = "AQGZs8HS439Ki2x9jp8KGyw")]
    pub next_cursor: Option<String>,
}

/// List reconciliations
///
/// Newest first. Filters combine. A merchant's key sees those with rows of its own, and counts its own.
#[utoipa::path(
    get,
    path = "/v1/reconciliations",
    tag = "reconciliation",
    operation_id = "list_reconciliations",
    security(("api_key" = ["reconciliation"])),
    params(
        ("partner" = Option<String>, Query, description = "Of this Alipay account.", example = "2088000000000017"),
        ("day" = Option<String>, Query, format = Date, description = "With a file of this GMT+8 day.", example = "2026-03-09"),
        ("kind" = Option<String>, Query, description = "With such a file: `transaction` or `settlement`.", example = "transaction"),
        ("status" = Option<String>, Query, description = "`running`, `interrupted`, `superseded`, `failed` or `complete`.", example = "complete"),
        ("limit" = Option<i32>, Query, minimum = 1, maximum = 200, description = "Most items on the page; 50 where it is left out."),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page.", body = ReconciliationList)),
)]
pub async fn list(
    State(app): State<App>,
    AdminCaller { identity, .. }: AdminCaller<Reconcile>,
    query: RawPairs,
) -> Result<Json<ReconciliationList>, Problem> {
    let mut reader = query.reader();
    let filter = ReconciliationFilter {
        partner: reader.text("partner"),
        day: reader.parse("day", "must be a day such as 2026-03-09", |text| {
            text.parse::<NaiveDate>().ok()
        }),
        kind: reader.parse(
            "kind",
            "must be transaction or settlement",
            FileKind::from_name,
        ),
        status: reader.parse(
            "status",
            "must be running, interrupted, superseded, failed or complete",
            ReconciliationStatus::from_name,
        ),
        id: None,
    };
    let Paging { after, limit } = Paging::<ReconciliationId>::read(reader)?;
    let page = app
        .list_reconciliations(identity.tenant_scope, filter, after, limit)
        .await?;
    Ok(Json(ReconciliationList {
        items: page.items.iter().map(SummaryView::from).collect(),
        next_cursor: page.next.map(|last| cursor_after(last.uuid())),
    }))
}

refusals! {
    ReadRefusals:
        [Problem::reconciliation_not_found()],
}

/// Get a reconciliation
///
/// Its files, sums, counts of differences, and the rows that could not be read. A merchant's key sees
/// what is its own.
#[utoipa::path(
    get,
    path = "/v1/reconciliations/{id}",
    tag = "reconciliation",
    operation_id = "get_reconciliation",
    security(("api_key" = ["reconciliation"])),
    params(("id" = String, Path, description = "The reconciliation's id.", example = "rec_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c")),
    responses(ReadRefusals, (status = 200, description = "The reconciliation.", body = ReconciliationView)),
)]
pub async fn read(
    State(app): State<App>,
    AdminCaller { identity, .. }: AdminCaller<Reconcile>,
    Id(id): Id<ReconciliationId>,
    query: RawPairs,
) -> Result<Json<ReconciliationView>, Problem> {
    query.reader().finish()?;
    let report = app
        .reconciliation(identity.tenant_scope, id)
        .await?
        .ok_or_else(Problem::reconciliation_not_found)?;
    Ok(Json(ReconciliationView::new(&report, &[])))
}
