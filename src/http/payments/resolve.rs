//! `POST /v1/payments/{id}/resolve`: an operator decides what Alipay never told.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{represent, view::PaymentView};
use crate::{
    app::{App, Grounds},
    domain::payment::Resolution,
    http::{
        extract::{
            Caller, Faults, JsonBody, ObjectReader, Operate, PaymentPath, json::Json,
            query::RawPairs,
        },
        problem::Problem,
        trace::Facts,
    },
};

/// Longest `reason`, in characters.
const MAX_REASON: usize = 500;
/// Longest `ticket`, in characters.
const MAX_TICKET: usize = 100;

/// An operator's decision.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResolveRequest {
    /// `succeeded`, `failed` or `canceled`.
    #[schema(example = "succeeded", pattern = "^(succeeded|failed|canceled)$")]
    pub status: String,
    /// Whether money had been taken and went back; with `canceled` only, `false` where left out.
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
/// Decides an `unresolved` payment on evidence from outside, for example Alipay's support or
/// portal. Recorded with who, when, why and the ticket. Any other payment is refused
/// `invalid_state`: only Alipay's answers change it.
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
    Caller { principal, .. }: Caller<Operate>,
    facts: Facts,
    PaymentPath(id): PaymentPath,
    query: RawPairs,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    query.reader().finish()?;
    let (resolution, grounds) = read(&body)?;
    facts.learn_payment(id);
    let payment = app
        .resolve_payment(&principal, id, resolution, &grounds)
        .await?
        .ok_or_else(Problem::payment_not_found)?;
    Ok(represent(&payment).into_response())
}

fn read(body: &Json) -> Result<(Resolution, Grounds), Problem> {
    let mut faults = Faults::default();
    let mut reader = ObjectReader::new(
        body.members().unwrap_or_default(),
        String::new(),
        &mut faults,
    );
    let status = reader.text("status");
    reader.require("status");
    let money_returned = reader.boolean("money_returned");
    let reason = reader.bounded_text("reason", MAX_REASON);
    reader.require("reason");
    let ticket = reader.bounded_text("ticket", MAX_TICKET);
    reader.require("ticket");
    let resolution = match (status, money_returned) {
        (Some("succeeded"), None) => Some(Resolution::Succeeded),
        (Some("failed"), None) => Some(Resolution::Failed {
            reason: reason.unwrap_or_default().to_owned(),
        }),
        (Some("canceled"), returned) => Some(Resolution::Canceled {
            money_returned: returned.unwrap_or(false),
        }),
        (Some("succeeded" | "failed"), Some(_)) => {
            reader.fault(
                "money_returned",
                "not_together",
                "belongs to the status `canceled` only",
            );
            None
        }
        (Some(_), _) => {
            reader.fault(
                "status",
                "wrong_format",
                "must be succeeded, failed or canceled",
            );
            None
        }
        (None, _) => None,
    };
    reader.finish();
    faults.into_result()?;
    let (Some(resolution), Some(reason), Some(ticket)) = (resolution, reason, ticket) else {
        // Whatever is missing was reported as a fault.
        return Err(Problem::validation(Vec::new()));
    };
    Ok((
        resolution,
        Grounds {
            reason: reason.to_owned(),
            ticket: ticket.to_owned(),
        },
    ))
}
