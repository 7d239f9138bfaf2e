//! `POST /v1/payments/{id}/resolve`: an operator decides what Alipay never told.

use axum::extract::State;

use super::{represent, view::PaymentView};
use crate::{
    app::{App, error::Error},
    domain::{
        follow_ups::schedule::Subject, id::PaymentId, payments::payment::Resolution,
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
            rules::{Boolean, Choice, Note},
        },
        problem::Problem,
        refusals::{self, refusals},
        trace::RequestContext,
    },
};

request! {
    /// An operator's decision about a payment.
    struct ResolvePaymentRequest {
        /// `succeeded`, `failed` or `canceled`.
        required status: Decided = STATUS, example "succeeded";
        /// Whether money had been taken and went back: with `canceled`, and only with it.
        optional money_returned: bool = Boolean, example false;
        /// On what evidence. Kept for ever.
        required reason: String = Note { max: MAX_REASON }, example "Alipay support confirmed the charge";
        /// Where the case is documented. Kept for ever.
        required ticket: String = Note { max: MAX_TICKET }, example "OPS-4711";
    }
}

/// What an operator can say of a payment.
#[derive(Clone, Copy)]
pub(in crate::http) enum Decided {
    Succeeded,
    Failed,
    Canceled,
}

const STATUS: Choice<Decided> = Choice {
    code: "invalid_format",
    values: &[Decided::Succeeded, Decided::Failed, Decided::Canceled],
    name: |decided| match decided {
        Decided::Succeeded => "succeeded",
        Decided::Failed => "failed",
        Decided::Canceled => "canceled",
    },
};

refusals! {
    ResolveRefusals:
        [Error::InvalidState {
            subject: Subject::Payment(refusals::payment_id()),
            detail: "only an unresolved payment can be resolved",
        }],
        [
            Problem::payment_not_found(),
            refusals::missing_member("/reason"),
        ],
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
    request_body(content = ResolvePaymentRequest, description = "The decision.", content_type = "application/json"),
    responses(
        ResolveRefusals,
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
    read_request(body, |request: ResolvePaymentRequest, faults| {
        let resolution = match (request.status?, request.money_returned) {
            (Decided::Succeeded, None) => Resolution::Succeeded,
            (Decided::Failed, None) => Resolution::Failed,
            (Decided::Canceled, Some(money_returned)) => Resolution::Canceled { money_returned },
            (Decided::Canceled, None) => {
                faults.require("money_returned");
                return None;
            }
            (Decided::Succeeded | Decided::Failed, Some(_)) => {
                let detail = "belongs to the status `canceled` only";
                faults.member("money_returned", "not_together", detail);
                return None;
            }
        };
        let (reason, ticket) = (request.reason?, request.ticket?);
        Some((resolution, Justification { reason, ticket }))
    })
}
