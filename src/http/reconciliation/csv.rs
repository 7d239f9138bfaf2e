//! `GET /v1/reconciliations/{id}/differences.csv`: all differences for a spreadsheet.

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};

use super::differences::filter;
use crate::{
    app::App,
    domain::id::ReconciliationId,
    http::{
        extract::{AdminCaller, Id, Reconcile, query::RawPairs},
        problem::Problem,
        refusals::refusals,
    },
};

refusals! {
    DownloadRefusals:
        [Problem::reconciliation_not_found()],
}

/// Download a reconciliation's differences
///
/// All of them, as CSV (RFC 4180, UTF-8): for spreadsheets, which take no cell of it for a formula.
#[utoipa::path(
    get,
    path = "/v1/reconciliations/{id}/differences.csv",
    tag = "reconciliation",
    operation_id = "download_differences",
    security(("api_key" = ["reconciliation"])),
    params(
        ("id" = String, Path, description = "The reconciliation's id.", example = "rec_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c"),
        ("class" = Option<String>, Query, description = "In this way.", example = "missing_in_file"),
        ("merchant_id" = Option<String>, Query, description = "Whose.", example = "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c"),
        ("store" = Option<String>, Query, description = "Of which store.", example = "ST01"),
        ("acknowledged" = Option<bool>, Query, description = "Whether somebody took note of it."),
    ),
    responses(DownloadRefusals, (status = 200, description = "The differences.", body = String, content_type = "text/csv")),
)]
pub async fn download(
    State(app): State<App>,
    AdminCaller { identity, .. }: AdminCaller<Reconcile>,
    Id(id): Id<ReconciliationId>,
    query: RawPairs,
) -> Result<Response, Problem> {
    let mut reader = query.reader();
    let filter = filter(&mut reader);
    reader.finish()?;
    let text = app
        .differences_as_csv(identity.tenant_scope, id, filter)
        .await?
        .ok_or_else(Problem::reconciliation_not_found)?;
    let name = format!("attachment; filename=\"{id}.csv\"");
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok((headers, text).into_response())
}
