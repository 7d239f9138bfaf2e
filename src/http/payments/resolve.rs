//! `POST /v1/payments/{id}/resolve`: an operator decides what Alipay never told.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::{represent, view::PaymentView};
use crate::{
    app::{App, Justification},
    domain::{id::PaymentId, payments::payment::Resolution},
    http::{
        answer::Resource,
        extract::{
            AdminCaller, Id, JsonBody, Operate, json::Json, members::justification,
            query::RawPairs, read_fields,
        },
        problem::Problem,
        trace::RequestContext,
    },
};

/// An operator's decision.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResolveRequest {
    /// `succeeded`, `failed` or `canceled`.
    #[schema(example = "succeeded", pattern = "^(succeeded|failed|canceled)$")]
    pub status: String,
    /// Whether money had been taken and went back: with `canceled`, and only with it.
    #[schema(nullable = false, example = false)]
    pub money_returned: Option<bool>,
    /// On what evidence. Kept for ever.
    #[schema(
        example = "Alipay support confirmed the charge",
        min_length = 1,
        max_length = 500
    )]
    pub reason: String,
    /// Where the case is documented. Kept for ever.
    #[schema(example = "OPS-4711", min_length = 1, max_length = 100)]
    pub ticket: String,
}

/// Resolve a payment
///
/// Decides a payment that `GET /v1/unresolved` lists on evidence from outside, for example Alipay's support
/// or portal: one that is `unresolved`, has been open for more than ten minutes or past its cancel window, or
/// whose account Alipay refuses. Of a paid one whose cancel does not end, `succeeded` says that the money
/// stays, `canceled` that it went back. Of one that Alipay
/// contradicts, another status accepts what Alipay said, after which `succeeded` can be refunded, and the
/// status it has says that the books are right and ends a cancel that is under way. Of one that was closed
/// after payment, `canceled` with `money_returned` says whether the money really went back. Recorded with who, when, why and the ticket. Any other payment is
/// refused `invalid_state`: only Alipay's answers change it.
#[utoipa::path(
    post,
    path = "/v1/payments/{id}/resolve",
    tag = "operations",
    operation_id = "resolve_payment",
    security(("api_key" = ["operations"])),
    params(
        ("id" = String, Path, description = "The payment's id.", example = "pay_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c"),
    ),
    request_body(content = ResolveRequest, description = "The decision.", content_type = "application/json"),
    responses(
        (status = 200, description = "The payment as decided.", body = PaymentView,
            headers(("ETag" = String, description = "The payment's version."))),
    ),
)]
pub async fn resolve(
    State(app): State<App>,
    AdminCaller { identity, .. }: AdminCaller<Operate>,
    facts: RequestContext,
    Id(id): Id<PaymentId>,
    query: RawPairs,
    JsonBody(body): JsonBody,
) -> Result<Resource<PaymentView>, Problem> {
    query.reader().finish()?;
    let (resolution, justification) = read(&body)?;
    facts.learn_payment(id);
    let payment = app
        .resolve_payment(&identity, id, resolution, &justification)
        .await?
        .ok_or_else(Problem::payment_not_found)?;
    Ok(represent(&payment))
}

fn read(body: &Json) -> Result<(Resolution, Justification), Problem> {
    read_fields(body, |reader| {
        let status = reader.text("status");
        reader.require("status");
        let money_returned = reader.boolean("money_returned");
        let justification = justification(reader);
        let resolution = match (status?, money_returned) {
            ("succeeded", None) => Resolution::Succeeded,
            ("failed", None) => Resolution::Failed,
            ("canceled", Some(money_returned)) => Resolution::Canceled { money_returned },
            ("canceled", None) => {
                reader.require("money_returned");
                return None;
            }
            ("succeeded" | "failed", Some(_)) => {
                reader.fault(
                    "money_returned",
                    "not_together",
                    "belongs to the status `canceled` only",
                );
                return None;
            }
            _ => {
                reader.fault(
                    "status",
                    "invalid_format",
                    "must be succeeded, failed or canceled",
                );
                return None;
            }
        };
        Some((resolution, justification?))
    })
}
