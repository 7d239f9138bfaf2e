//! `POST /v1/payments/{id}/cancel` and `POST /v1/payments/cancel`.

use axum::{
    Json as JsonAnswer,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{location, represent, view::PaymentView};
use crate::{
    app::{
        App, Canceled, Known,
        error::{Alternative, Error},
    },
    domain::{
        follow_ups::schedule::Subject,
        id::{MerchantReference, PaymentId},
        idempotency::IdempotencyKey,
        payments::payment::Payment,
    },
    http::{
        extract::{
            Caller, Id, JsonBody, PreferWait, WritePayments, json::Json,
            members::MERCHANT_REFERENCE, query::RawPairs, read_request, request, rules::Form,
        },
        problem::Problem,
        refusals::{self, refusals},
        trace::RequestContext,
    },
};

request! {
    /// What a till knows of a payment whose answer it never got: exactly one of the two.
    struct CancelByReferenceRequest {
        /// The caller's own number.
        optional merchant_reference: MerchantReference = MERCHANT_REFERENCE, example "ORDER-1001-1";
        /// The `Idempotency-Key` that was sent.
        optional idempotency_key: IdempotencyKey = IDEMPOTENCY_KEY, example "till-1-2026-11-22-0042";
    }
}

const IDEMPOTENCY_KEY: Form<IdempotencyKey> = Form {
    code: "invalid_format",
    detail: "must be 1 to 255 visible ASCII characters",
    parse: |text| text.parse().ok(),
    schema: || json!({"minLength": 1, "maxLength": 255}),
};

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

/// What Alipay, an operator or the payment's state says against a cancel.
fn refusals_of_cancel() -> [Error; 6] {
    [
        Error::RefundRightRequired {
            payment_id: refusals::payment_id(),
        },
        refusals::above_the_limit_of_a_day(),
        Error::CancelWindowClosed {
            payment_id: refusals::payment_id(),
            alternative: Alternative::Refund,
            was_sent: true,
        },
        Error::CancelRefused {
            payment_id: refusals::payment_id(),
            code: Some("REASON_TRADE_BEEN_FREEZEN".to_owned()),
            reason: "Alipay has frozen the payment.".to_owned(),
        },
        Error::CancelWithdrawn {
            payment_id: refusals::payment_id(),
        },
        Error::InvalidState {
            subject: Subject::Payment(refusals::payment_id()),
            detail: "a payment with a refund cannot be canceled; refund the rest",
        },
    ]
}

refusals! {
    CancelRefusals:
        [Problem::payment_not_found()],
        refusals::begins_work(),
        refusals_of_cancel(),
}

/// Cancel a payment
///
/// Closes a payment that is not paid yet, or returns the money of one that is, in full and with
/// Alipay's fee. Allowed while Alipay allows it (`cancelable_until`), and not once a refund exists. A paid
/// payment may be canceled for 15 minutes after the sale (`TILL_UNDO_SECONDS`) by whoever takes payments;
/// later it needs a key with `refunds:write` too, and stays within the merchant's limits of refunds. What
/// goes back counts in the day's sum.
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
        CancelRefusals,
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

refusals! {
    CancelByReferenceRefusals:
        refusals::begins_work(),
        refusals_of_cancel(),
        [refusals::invalid_member(
            "/merchant_reference",
            "required",
            "give exactly one of merchant_reference and idempotency_key",
        )],
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
    request_body(content = CancelByReferenceRequest, description = "What is known.", content_type = "application/json"),
    responses(
        CancelByReferenceRefusals,
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
    read_request(body, |request: CancelByReferenceRequest, faults| {
        const REFERENCE: &str = "merchant_reference";
        const KEY: &str = "idempotency_key";
        let one_of = "give exactly one of merchant_reference and idempotency_key";
        let reference = request.merchant_reference.map(Known::Reference);
        let key = request.idempotency_key.map(Known::Key);
        let (has_reference, has_key) = (
            reference.is_some() || faults.has(REFERENCE),
            key.is_some() || faults.has(KEY),
        );
        match (has_reference, has_key) {
            (true, true) => faults.member(KEY, "not_together", one_of),
            (false, false) => faults.member(REFERENCE, "required", one_of),
            (true, false) | (false, true) => {}
        }
        reference.or(key)
    })
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
