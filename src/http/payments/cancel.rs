//! `POST /v1/payments/{id}/cancel` and `POST /v1/payments/cancel`.

use axum::{
    Json as JsonAnswer,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{location, represent, view::PaymentView};
use crate::{
    app::{App, Canceled, Known},
    domain::{id::PaymentId, payments::payment::Payment},
    http::{
        extract::{
            Caller, Id, JsonBody, PreferWait, WritePayments, json::Json, query::RawPairs,
            read_fields,
        },
        problem::Problem,
        trace::RequestContext,
    },
};

/// What a till knows of a payment whose answer it never got: exactly one of the two.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelKnownRequest {
    /// The caller's own number.
    #[schema(
        nullable = false,
        example = "ORDER-1001-1",
        pattern = "^[A-Za-z0-9._-]{1,64}$",
        min_length = 1,
        max_length = 64
    )]
    pub merchant_reference: Option<String>,
    /// The `Idempotency-Key` that was sent.
    #[schema(
        nullable = false,
        example = "till-1-2026-11-22-0042",
        min_length = 1,
        max_length = 255
    )]
    pub idempotency_key: Option<String>,
}

/// Nothing existed, and nothing ever will: a create that arrives later is refused
/// `canceled_before_creation`.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = CanceledBeforeCreation)]
pub struct TombstoneView {
    /// Always `canceled_before_creation`.
    #[schema(example = "canceled_before_creation")]
    pub object: &'static str,
    /// Always `canceled`.
    #[schema(example = "canceled")]
    pub status: &'static str,
    /// Always `never_created`.
    #[schema(example = "never_created")]
    pub status_reason: &'static str,
    /// Always `false`: no money was taken.
    #[schema(example = false)]
    pub money_returned: bool,
}

/// The outcome of a cancel by reference or key.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = CancelOutcome)]
pub enum CanceledView {
    /// The payment that existed.
    Payment(Box<PaymentView>),
    /// Nothing existed.
    BeforeCreation(TombstoneView),
}

/// Cancel a payment
///
/// Closes a payment that is not paid yet, or returns the money of one that is, in full and with
/// Alipay's fee. Allowed while Alipay allows it (`cancelable_until`), and not once a refund exists.
/// The gateway repeats the cancel by itself until the outcome is known; sending it again is safe.
#[utoipa::path(
    post,
    path = "/v1/payments/{id}/cancel",
    tag = "payments",
    operation_id = "cancel_payment",
    security(("api_key" = ["payments:write"])),
    params(
        ("id" = String, Path, description = "The payment's id.", example = "pay_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c"),
        ("Prefer" = Option<String>, Header, example = "wait=5",
            description = "`wait=N`: for how many seconds (0–60, default 5) the answer may be held while the cancel is under way."),
    ),
    responses(
        (status = 200, description = "The payment is canceled; `status_reason` and `money_returned` say what that meant.", body = PaymentView,
            headers(("ETag" = String, description = "The payment's version."))),
        (status = 202, description = "The cancel is under way; read the payment until it ends.", body = PaymentView,
            headers(
                ("ETag" = String, description = "The payment's version."),
                ("Location" = String, description = "Where to read the payment."),
                ("Retry-After" = i32, description = "After how many seconds to read it again."),
            )),
    ),
)]
pub async fn cancel(
    State(app): State<App>,
    Caller { principal, .. }: Caller<WritePayments>,
    facts: RequestContext,
    Id(id): Id<PaymentId>,
    prefer: PreferWait,
    query: RawPairs,
) -> Result<Response, Problem> {
    query.reader().finish()?;
    facts.learn_payment(id);
    let payment = app
        .cancel_payment(&principal, id, prefer.duration())
        .await?
        .ok_or_else(Problem::payment_not_found)?;
    Ok(answer(&payment))
}

/// Cancel by reference or key
///
/// For a till that never got its answer. Where such a payment exists, this cancels it. Where none
/// does, none ever will: a create that arrives later is refused `canceled_before_creation`.
#[utoipa::path(
    post,
    path = "/v1/payments/cancel",
    tag = "payments",
    operation_id = "cancel_payment_by_reference",
    security(("api_key" = ["payments:write"])),
    params(
        ("Prefer" = Option<String>, Header, example = "wait=5",
            description = "`wait=N`: for how many seconds (0–60, default 5) the answer may be held while the cancel is under way."),
    ),
    request_body(content = CancelKnownRequest, description = "What is known.", content_type = "application/json"),
    responses(
        (status = 200, description = "Canceled, or never created and now never to be.", body = CanceledView),
        (status = 202, description = "The cancel is under way; read the payment until it ends.", body = PaymentView,
            headers(
                ("ETag" = String, description = "The payment's version."),
                ("Location" = String, description = "Where to read the payment."),
                ("Retry-After" = i32, description = "After how many seconds to read it again."),
            )),
    ),
)]
pub async fn cancel_known(
    State(app): State<App>,
    Caller { principal, .. }: Caller<WritePayments>,
    facts: RequestContext,
    prefer: PreferWait,
    query: RawPairs,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    query.reader().finish()?;
    let known = read_known(&body)?;
    Ok(
        match app
            .cancel_known(&principal, &known, prefer.duration())
            .await?
        {
            Canceled::Payment(payment) => {
                facts.learn_payment(payment.id);
                answer(&payment)
            }
            Canceled::BeforeCreation => JsonAnswer(TombstoneView {
                object: "canceled_before_creation",
                status: "canceled",
                status_reason: "never_created",
                money_returned: false,
            })
            .into_response(),
        },
    )
}

fn read_known(body: &Json) -> Result<Known, Problem> {
    read_fields(body, |reader| {
        let (reference_text, key_text) = (
            reader.text("merchant_reference"),
            reader.text("idempotency_key"),
        );
        let reference = reference_text.and_then(|text| text.parse().ok());
        if reference_text.is_some() && reference.is_none() {
            reader.fault(
                "merchant_reference",
                "invalid_format",
                "must be 1 to 64 of A-Z a-z 0-9 . _ -",
            );
        }
        let key = key_text.and_then(|text| text.parse().ok());
        if key_text.is_some() && key.is_none() {
            reader.fault(
                "idempotency_key",
                "invalid_format",
                "must be 1 to 255 visible ASCII characters",
            );
        }
        let one_of = "give exactly one of merchant_reference and idempotency_key";
        match (reference_text, key_text) {
            (None, None) if faultless(body) => {
                reader.fault("merchant_reference", "required", one_of);
            }
            (Some(_), Some(_)) => reader.fault("idempotency_key", "not_together", one_of),
            (None | Some(_), None) | (None, Some(_)) => {}
        }
        reference
            .map(Known::Reference)
            .or_else(|| key.map(Known::Key))
    })
}

/// Whether neither member is there with a wrong type, which is a fault of its own.
fn faultless(body: &Json) -> bool {
    let members = body.members().unwrap_or_default().iter();
    members
        .filter(|(name, _)| matches!(name.as_str(), "merchant_reference" | "idempotency_key"))
        .all(|(_, value)| matches!(value, Json::Null))
}

/// 200 for what is canceled, 202 for what is under way.
fn answer(payment: &Payment) -> Response {
    let standing = payment.standing();
    let resource = represent(payment);
    let resource = if standing.is_settled() {
        resource
    } else {
        resource.located(&location(payment.id))
    };
    resource.standing(standing, StatusCode::OK).into_response()
}
