//! `POST /v1/payments/{id}/refunds`.

use axum::{extract::State, http::StatusCode};
use serde_json::json;

use super::{location, represent, view::RefundView};
use crate::{
    app::{App, error::Error},
    domain::{
        follow_ups::schedule::Subject,
        id::{MerchantReference, PaymentId},
        money::{Currency, Money},
        refunds::refund::{NewRefund, RefundMode},
        text::longest,
    },
    http::{
        answer::{Made, Resource},
        extract::{
            Caller, Id, JsonBody, Key, PreferWait, WriteRefunds,
            json::Json,
            members::{AmountRequest, MERCHANT_REFERENCE},
            query::RawPairs,
            read_request, request,
            request::object,
            rules::{AlipayText, Boolean, Choice, Rule as _},
        },
        problem::Problem,
        refusals::{self, refusals},
        trace::RequestContext,
    },
};

request! {
    /// What to give back. An empty object gives back all that is left, at once.
    struct CreateRefundRequest {
        /// How much; all that is left where it is left out.
        optional amount: AmountRequest = object::<AmountRequest>();
        /// `sync`: done in the call; fails where the merchant's balance at Alipay is too low. `async`:
        /// accepted in the call, done in Alipay's nightly batch, and tried again while the balance is too
        /// low.
        optional mode: RefundMode = MODE.with_default(|| json!("sync")), example "sync";
        /// The caller's own number, unique among the merchant's refunds for ever.
        optional merchant_reference: MerchantReference = MERCHANT_REFERENCE, example "RETURN-1001-1";
        /// Why, for Alipay and the books: at most 128 bytes in UTF-8, no `"` and no control characters.
        optional reason: String = AlipayText { max: longest::REFUND_REASON }, example "one tea was cold";
        /// Refund even though a refund of the same amount is open, or was made within the last 60 seconds.
        optional allow_duplicate: bool = Boolean.with_default(|| json!(false)), example false;
    }
}

const MODE: Choice<RefundMode> = Choice {
    code: "invalid_format",
    values: RefundMode::ALL,
    name: RefundMode::as_str,
};

refusals! {
    CreateRefusals:
        refusals::begins_work(),
        refusals::needs_account(),
        [
            Error::CancelMayAct {
                payment_id: refusals::payment_id(),
                retry_after_seconds: 42,
            },
            Error::MerchantReferenceConflict {
                subject: Subject::Refund(refusals::refund_id()),
            },
            Error::InvalidState {
                subject: Subject::Payment(refusals::payment_id()),
                detail: "the payment is not paid yet; cancel it, or wait for its outcome",
            },
            Error::SuspectedDuplicate {
                subject: Subject::Refund(refusals::refund_id()),
            },
            Error::AmountExceedsRefundable {
                payment_id: refusals::payment_id(),
                refundable: Money::new(7850, Currency::HKD),
            },
            Error::IdempotencyKeyReused {
                subject: Subject::Refund(refusals::refund_id()),
                fields: vec!["amount".to_owned()],
            },
            refusals::above_the_limit_of_a_day(),
        ],
        [
            Problem::payment_not_found(),
            refusals::invalid_member(
                "/amount/value",
                "out_of_range",
                "must be an integer from 1 to 10000000000",
            ),
        ],
}

/// Refund a payment
///
/// Returns money of a paid payment, in whole or in part, and more than once while something is left.
/// The amount is reserved before Alipay is asked, so refunds that run together never return more than
/// was paid; only a definite refusal by Alipay releases it. The same `Idempotency-Key` may be sent
/// again at any time: the answer is the current state of the one refund. Another key with the amount of
/// a refund of this payment that is open, or was made within the last 60 seconds, is refused
/// `suspected_duplicate` with its id, unless the request allows it.
///
/// A refusal by Alipay is a refund with `status: "failed"`, not an error. An asynchronous refund that
/// Alipay accepted is `pending` with `awaiting_batch` until a query or a verified notification says that
/// the money went back; `window`, `next_check_at` and `gives_up_at` say what it waits for. The gateway
/// asks by itself.
#[utoipa::path(
    post,
    path = "/v1/payments/{id}/refunds",
    tag = "refunds",
    operation_id = "create_refund",
    security(("api_key" = ["refunds:write"])),
    params(
        ("id" = String, Path, description = "The payment's id.", example = "pay_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c"),
        ("Idempotency-Key" = String, Header, min_length = 1, max_length = 255, example = "return-2026-11-22-0007",
            description = "New for each refund, the same for each repeat: 1–255 visible ASCII characters, with or without quotes. Belongs to the merchant."),
        ("Prefer" = Option<String>, Header, example = "wait=5",
            description = "`wait=N`: for how many seconds (0–60, default 5) the answer may be held while Alipay has not answered. A refund that waits for a batch is answered at once. Other preferences are ignored."),
        ("X-Request-Id" = Option<String>, Header, min_length = 1, max_length = 128,
            description = "Names the request in logs and answers; made up where it is missing or not visible ASCII."),
        ("traceparent" = Option<String>, Header, description = "The caller's trace (W3C Trace Context)."),
    ),
    request_body(content = CreateRefundRequest, description = "What to give back.", content_type = "application/json"),
    responses(
        CreateRefusals,
        (status = 201, description = "A new refund that is final: the money went back, or Alipay refused.", body = RefundView,
            headers(
                ("Location" = String, description = "Where to read the refund."),
                ("ETag" = String, description = "The refund's version."),
                ("Preference-Applied" = String, description = "The `wait` that was asked for."),
            )),
        (status = 202, description = "A refund, new or found again by its key, that is not final.", body = RefundView,
            headers(
                ("Location" = String, description = "Where to read the refund."),
                ("Retry-After" = i32, description = "After how many seconds to read it again: 1 while it is being sent, 10 while Alipay is asked for the outcome, 60 while it waits for a batch or an operator."),
                ("ETag" = String, description = "The refund's version."),
                ("Idempotent-Replayed" = String, description = "`true` where an earlier request with the same key made the refund."),
                ("Preference-Applied" = String, description = "The `wait` that was asked for."),
            )),
        (status = 200, description = "A refund that an earlier request with the same key made, now final.", body = RefundView,
            headers(
                ("Location" = String, description = "Where to read the refund."),
                ("ETag" = String, description = "The refund's version."),
                ("Idempotent-Replayed" = String, description = "Always `true`."),
                ("Preference-Applied" = String, description = "The `wait` that was asked for."),
            )),
    ),
)]
#[expect(clippy::too_many_arguments, reason = "each is a part of the request")]
pub async fn create(
    State(app): State<App>,
    Caller { principal, .. }: Caller<WriteRefunds>,
    facts: RequestContext,
    Id(payment_id): Id<PaymentId>,
    Key(key): Key,
    prefer: PreferWait,
    query: RawPairs,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Resource<RefundView>), Problem> {
    query.reader().finish()?;
    let new = read(&body)?;
    facts.learn_payment(payment_id);
    let created = app
        .create_refund(&principal, payment_id, Some(key), new, prefer.duration())
        .await?
        .ok_or_else(Problem::payment_not_found)?;
    let refund = &created.refund;
    facts.learn_refund(refund.id);
    Ok(represent(&app, refund)
        .located(&location(refund.id))
        .made(Made {
            standing: refund.standing(),
            is_replay: created.replayed,
            prefer,
        }))
}

fn read(body: &Json) -> Result<NewRefund, Problem> {
    read_request(body, |request: CreateRefundRequest, _| {
        Some(NewRefund {
            amount: request.amount.and_then(|amount| amount.money()),
            mode: request.mode,
            merchant_reference: request.merchant_reference,
            reason: request.reason,
            allow_duplicate: request.allow_duplicate,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::{Currency, Money};
    use utoipa::PartialSchema;

    const GOOD: &str = r#"{"amount":{"value":5000,"currency":"HKD"},"mode":"async",
        "merchant_reference":"RETURN-1001-1","reason":"茶 was cold","allow_duplicate":true}"#;

    fn parse(text: &str) -> Result<NewRefund, Vec<(String, &'static str)>> {
        let body = Json::parse(text.as_bytes()).expect("an object");
        read(&body).map_err(|problem| {
            let faults = problem.document("r", "/").errors.into_iter();
            faults
                .map(|fault| (fault.pointer.unwrap_or_default(), fault.code))
                .collect()
        })
    }

    fn faults_of(text: &str) -> Vec<(String, &'static str)> {
        parse(text).err().unwrap_or_default()
    }

    #[test]
    fn a_good_request_is_read_and_everything_may_be_left_out() {
        let new = parse(GOOD).expect("a good request");
        assert_eq!(new.amount, Some(Money::new(5000, Currency::HKD)));
        assert_eq!(new.mode(), RefundMode::Async);
        assert!(new.allows_duplicate());
        assert_eq!(new.reason.as_deref(), Some("茶 was cold"));
        let rest = NewRefund {
            amount: None,
            mode: None,
            merchant_reference: None,
            reason: None,
            allow_duplicate: None,
        };
        assert_eq!(rest.mode(), RefundMode::Sync);
        let nulls = r#"{"amount":null,"mode":null,"merchant_reference":null,"reason":null,"allow_duplicate":null}"#;
        assert_eq!(parse("{}"), Ok(rest.clone()));
        assert_eq!(parse(nulls), Ok(rest));
    }

    #[test]
    fn m5_every_fault_is_named_at_once() {
        let found = faults_of(
            r#"{"amuont":1,"amount":{"value":50.0,"currency":"USD","x":1},"mode":"later",
               "merchant_reference":"a b","reason":"a\"b"}"#,
        );
        let found: Vec<_> = found.iter().map(|(p, c)| (p.as_str(), *c)).collect();
        assert_eq!(
            found,
            [
                ("/amount/value", "wrong_type"),
                ("/amount/currency", "unsupported_currency"),
                ("/amount/x", "unknown_field"),
                ("/mode", "invalid_format"),
                ("/merchant_reference", "invalid_format"),
                ("/reason", "invalid_format"),
                ("/amuont", "unknown_field"),
            ]
        );
    }

    #[test]
    fn each_limit_is_exact() {
        let reason = |length: usize| format!("{{\"reason\":\"{}\"}}", "茶".repeat(length));
        let value = |value: &str| {
            let text = format!("{{\"amount\":{{\"value\":{value},\"currency\":\"HKD\"}}}}");
            faults_of(&text).len()
        };
        // In bytes, of which this character has three.
        assert_eq!(faults_of(&reason(42)).len(), 0);
        assert_eq!(faults_of(&reason(43)).len(), 1);
        assert_eq!(faults_of(r#"{"reason":" "}"#).len(), 1);
        for good in ["1", "10000000000"] {
            assert_eq!(value(good), 0, "{good}");
        }
        for bad in ["0", "-1", "10000000001", "1e3", "1.0", "\"1\"", "null"] {
            assert_eq!(value(bad), 1, "{bad}");
        }
    }

    #[test]
    fn the_documented_fields_are_the_ones_that_are_read() {
        let schema = serde_json::to_value(CreateRefundRequest::schema()).expect("JSON");
        let properties = schema["properties"].as_object().expect("an object schema");
        let good: serde_json::Value = serde_json::from_str(GOOD).expect("JSON");
        let read: std::collections::BTreeSet<_> =
            good.as_object().expect("an object").keys().collect();
        assert_eq!(
            properties.keys().collect::<std::collections::BTreeSet<_>>(),
            read
        );
    }
}
