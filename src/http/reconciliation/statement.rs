//! `GET /v1/reconciliations/{id}/statement`: a page to print.

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest as _, Sha256};

use crate::{
    app::App,
    domain::{id::ReconciliationId, reconciliation::statement::STYLE},
    http::{
        extract::{AdminCaller, Id, Reconcile, query::RawPairs},
        problem::Problem,
        refusals::refusals,
    },
};

refusals! {
    StatementRefusals:
        [Problem::reconciliation_not_found()],
}

/// Print a reconciliation
///
/// A statement for finance: what agrees and what does not, the sums per day, store, wallet and currency,
/// expected net, Alipay's net and the difference, and the first 2,000 differences with their
/// acknowledgements. One HTML document without scripts, with a style for paper. A merchant's key sees what
/// is its own.
#[utoipa::path(
    get,
    path = "/v1/reconciliations/{id}/statement",
    tag = "reconciliation",
    operation_id = "print_reconciliation",
    security(("api_key" = ["reconciliation"])),
    params(("id" = String, Path, description = "The reconciliation's id.", example = "rec_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c")),
    responses(StatementRefusals, (status = 200, description = "The statement.", body = String, content_type = "text/html")),
)]
pub async fn print(
    State(app): State<App>,
    AdminCaller { identity, .. }: AdminCaller<Reconcile>,
    Id(id): Id<ReconciliationId>,
    query: RawPairs,
) -> Result<Response, Problem> {
    query.reader().finish()?;
    let page = app
        .statement(identity.tenant_scope, id)
        .await?
        .ok_or_else(Problem::reconciliation_not_found)?;
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy()),
    ];
    Ok((headers, page).into_response())
}

/// The page's own style, and nothing else: no script, no image, no form, no frame.
fn policy() -> String {
    let style = BASE64_STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}
