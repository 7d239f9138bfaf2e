//! `POST /v1/payments`.

use axum::{extract::State, http::StatusCode};

use super::{draft::CreatePaymentRequest, location, represent, view::PaymentView};
use crate::{
    app::{App, error::Error},
    domain::{
        follow_ups::schedule::Subject,
        id::MerchantId,
        merchants::{rules::Breach, store::StoreForPayment},
    },
    http::{
        answer::{Made, Resource},
        extract::{
            Caller, Faults, JsonBody, Key, PreferWait, WritePayments, query::RawPairs,
            request::read_members,
        },
        problem::{Kind, Problem},
        refusals::{self, refusals},
        trace::RequestContext,
    },
};

refusals! {
    CreateRefusals:
        refusals::begins_work(),
        refusals::needs_account(),
        [
            refusals::not_configured(),
            Error::CanceledBeforeCreation,
            Error::MerchantReferenceConflict {
                subject: Subject::Payment(refusals::payment_id()),
            },
            Error::SuspectedDuplicate {
                subject: Subject::Payment(refusals::payment_id()),
            },
            Error::IdempotencyKeyReused {
                subject: Subject::Payment(refusals::payment_id()),
                fields: vec!["amount".to_owned()],
            },
        ],
        [
            Problem::merchant_disabled(),
            refusals::missing_member("/barcode"),
        ],
}

/// Take a payment
///
/// Charges the wallet whose code was scanned. The intent is stored before Alipay is asked, so the
/// same `Idempotency-Key` may be sent again at any time, also after a timeout: the answer is then the
/// current state of the one payment, and the wallet is charged at most once.
///
/// A refusal by Alipay is a payment with `status: "failed"`, not an error. While the outcome is
/// open the answer is `202` and the gateway goes on asking by itself; read the payment until
/// `next_action` says otherwise.
#[utoipa::path(
    post,
    path = "/v1/payments",
    tag = "payments",
    operation_id = "create_payment",
    security(("api_key" = ["payments:write"])),
    params(
        ("Idempotency-Key" = String, Header, min_length = 1, max_length = 255, example = "till-1-2026-11-22-0042",
            description = "New for each sale, the same for each repeat: 1–255 visible ASCII characters, with or without quotes. Belongs to the merchant; must not contain the scanned code."),
        ("Prefer" = Option<String>, Header, example = "wait=5",
            description = "`wait=N`: for how many seconds (0–60, default 5) the answer may be held while the outcome is open. Other preferences are ignored."),
        ("X-Request-Id" = Option<String>, Header, min_length = 1, max_length = 128,
            description = "Names the request in logs and answers; made up where it is missing or not visible ASCII."),
        ("traceparent" = Option<String>, Header, description = "The caller's trace (W3C Trace Context)."),
    ),
    request_body(content = CreatePaymentRequest, description = "What to charge.", content_type = "application/json"),
    responses(
        CreateRefusals,
        (status = 201, description = "A new payment that is final: paid, refused or closed.", body = PaymentView,
            headers(
                ("Location" = String, description = "Where to read the payment."),
                ("ETag" = String, description = "The payment's version."),
                ("Preference-Applied" = String, description = "The `wait` that was asked for."),
            )),
        (status = 202, description = "A payment, new or found again by its key, whose outcome is still open.", body = PaymentView,
            headers(
                ("Location" = String, description = "Where to read the payment."),
                ("Retry-After" = i32, description = "After how many seconds to read it again."),
                ("ETag" = String, description = "The payment's version."),
                ("Idempotent-Replayed" = String, description = "`true` where an earlier request with the same key made the payment."),
                ("Preference-Applied" = String, description = "The `wait` that was asked for."),
            )),
        (status = 200, description = "A payment that an earlier request with the same key made, now final.", body = PaymentView,
            headers(
                ("Location" = String, description = "Where to read the payment."),
                ("ETag" = String, description = "The payment's version."),
                ("Idempotent-Replayed" = String, description = "Always `true`."),
                ("Preference-Applied" = String, description = "The `wait` that was asked for."),
            )),
    ),
)]
pub async fn create(
    State(app): State<App>,
    Caller { principal, .. }: Caller<WritePayments>,
    facts: RequestContext,
    Key(key): Key,
    prefer: PreferWait,
    query: RawPairs,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Resource<PaymentView>), Problem> {
    query.reader().finish()?;
    let mut faults = Faults::default();
    let request: CreatePaymentRequest = read_members(&body, &mut faults);
    request.refuse_copies_of_the_code(&mut faults);
    let store = find_store(&app, principal.merchant_id, &request, &mut faults).await?;
    let refusal = refuse_by_rules(&request, store.as_ref(), &mut faults);
    let new = request.complete(store, faults)?;
    if key.as_str().contains(new.barcode.expose()) {
        return Err(Problem::new(
            Kind::IdempotencyKeyInvalid,
            "the key is stored, so it must not contain the scanned code",
        ));
    }
    if let Some(refusal) = refusal
        && !app.is_repeat(&principal, &key).await?
    {
        return Err(refusal);
    }
    let created = app
        .create_payment(&principal, key, new, prefer.duration())
        .await?;
    let payment = &created.payment;
    facts.learn_payment(payment.id);
    Ok(represent(payment)
        .located(&location(payment.id))
        .made(Made {
            standing: payment.standing(),
            is_replay: created.replayed,
            prefer,
        }))
}

/// Looks up the store. Also where other fields are faulty, so that an unknown store, and what breaks the
/// merchant's rules, is reported along with them.
async fn find_store(
    app: &App,
    merchant_id: MerchantId,
    request: &CreatePaymentRequest,
    faults: &mut Faults,
) -> Result<Option<StoreForPayment>, Problem> {
    let store = app
        .find_store(merchant_id, request.store_id.as_deref())
        .await?;
    if store.is_none() {
        let (code, detail) = match request.store_id {
            Some(_) => ("unknown_store", "the merchant has no such store"),
            None => (
                "required",
                "must be given, since the merchant has no default store",
            ),
        };
        faults.add("/store_id".to_owned(), code, detail);
    }
    Ok(store)
}

/// What the merchant's rules say against the payment. Beside other faults they are among them; alone
/// they are held back, since they may be younger than the payment that a repeat asks for: "nothing was
/// attempted" would then be wrong.
fn refuse_by_rules(
    request: &CreatePaymentRequest,
    store: Option<&StoreForPayment>,
    faults: &mut Faults,
) -> Option<Problem> {
    let store = store?;
    let breaches = request.breaches(store);
    if !faults.is_empty() {
        add_breaches(&breaches, faults);
        return None;
    }
    if store.merchant_disabled {
        return Some(Problem::merchant_disabled());
    }
    let mut broken = Faults::default();
    add_breaches(&breaches, &mut broken);
    broken.into_result().err()
}

fn add_breaches(breaches: &[Breach], faults: &mut Faults) {
    for breach in breaches {
        let (pointer, code, detail) = match breach {
            Breach::StoreDisabled => (
                "/store_id",
                "store_disabled",
                "the store takes no payments".to_owned(),
            ),
            Breach::TerminalMissing => (
                "/terminal_id",
                "required",
                "must be given: the merchant wants to know the till".to_owned(),
            ),
            Breach::TerminalNotAllowed => (
                "/terminal_id",
                "terminal_not_allowed",
                "is not one of the merchant's terminals".to_owned(),
            ),
            Breach::AmountAboveLimit { most_minor } => (
                "/amount/value",
                "above_limit",
                format!(
                    "must be at most {most_minor}, the limit per payment of the merchant or its Alipay account"
                ),
            ),
        };
        faults.add(pointer.to_owned(), code, detail);
    }
}
