//! `POST /v1/refunds/{id}/resolve`: an operator decides what Alipay never told.

use axum::extract::State;

use super::{represent, view::RefundView};
use crate::{
    app::{App, error::Error},
    domain::{
        follow_ups::schedule::Subject, id::RefundId, refunds::refund::RefundResolution,
        transition::Justification,
    },
    http::{
        answer::Resource,
        extract::{
            AdminCaller, Id, JsonBody, Operate,
            json::Json,
            members::{MAX_REASON, MAX_TICKET},
            query::RawPairs,
            read_request, request,
            rules::{Choice, Note},
        },
        problem::Problem,
        refusals::{self, refusals},
        trace::RequestContext,
    },
};

request! {
    /// An operator's decision about a refund.
    struct ResolveRefundRequest {
        /// `succeeded` or `failed`; `failed` makes the amount refundable again.
        required status: RefundResolution = STATUS, example "succeeded";
        /// On what evidence. Kept for ever.
        required reason: String = Note { max: MAX_REASON }, example "the settlement file shows the refund";
        /// Where the case is documented. Kept for ever.
        required ticket: String = Note { max: MAX_TICKET }, example "OPS-4712";
    }
}

const STATUS: Choice<RefundResolution> = Choice {
    code: "invalid_format",
    values: &[RefundResolution::Succeeded, RefundResolution::Failed],
    name: |resolution| match resolution {
        RefundResolution::Succeeded => "succeeded",
        RefundResolution::Failed => "failed",
    },
};

refusals! {
    ResolveRefusals:
        [Error::InvalidState {
            subject: Subject::Refund(refusals::refund_id()),
            detail: "only an unresolved refund can be resolved",
        }],
        [
            Problem::refund_not_found(),
            refusals::missing_member("/reason"),
        ],
}

/// Resolve a refund
///
/// Decides an `unresolved` refund on evidence from outside, for example Alipay's support, portal or
/// settlement file, or says that somebody has seen to one that failed late (`failed`). Decides as well a refund that Alipay contradicts (see `GET /v1/unresolved`):
/// the status it has says that the books are right, the other accepts what Alipay said, such as `failed` of
/// a refund that was called done and that Alipay does not know. Recorded with who, when, why and the ticket. Any other refund is refused `invalid_state`: only Alipay's answers change
/// it.
#[utoipa::path(
    post,
    path = "/v1/refunds/{id}/resolve",
    tag = "operations",
    operation_id = "resolve_refund",
    security(("api_key" = ["operations"])),
    params(
        ("id" = String, Path, description = "The refund's id.", example = "ref_0199b3c1d2e37f4a8b6c7d8e9f0a1b2d"),
    ),
    request_body(content = ResolveRefundRequest, description = "The decision.", content_type = "application/json"),
    responses(
        ResolveRefusals,
        (status = 200, description = "The refund as decided.", body = RefundView,
            headers(("ETag" = String, description = "The refund's version."))),
    ),
)]
pub async fn resolve(
    State(app): State<App>,
    AdminCaller { identity, .. }: AdminCaller<Operate>,
    facts: RequestContext,
    Id(id): Id<RefundId>,
    query: RawPairs,
    JsonBody(body): JsonBody,
) -> Result<Resource<RefundView>, Problem> {
    query.reader().finish()?;
    let (resolution, justification) = read(&body)?;
    facts.learn_refund(id);
    let refund = app
        .resolve_refund(&identity, id, resolution, &justification)
        .await?
        .ok_or_else(Problem::refund_not_found)?;
    facts.learn_payment(refund.payment_id);
    Ok(represent(&app, &refund))
}

fn read(body: &Json) -> Result<(RefundResolution, Justification), Problem> {
    read_request(body, |request: ResolveRefundRequest, _| {
        let (reason, ticket) = (request.reason?, request.ticket?);
        Some((request.status?, Justification { reason, ticket }))
    })
}
