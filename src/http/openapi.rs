//! The OpenAPI document.
//!
//! Operations and schemas come from the handlers' annotations. What is the same everywhere is added
//! here from the code that enforces it: refusals from the status table, with real documents as
//! examples, and the names that may grow.

use std::{collections::BTreeMap, sync::LazyLock};

use axum::{http::header, response::IntoResponse};
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use super::{
    problem::{FieldFault, Kind, MEDIA_TYPE, Problem, ProblemDocument},
    router,
};
use crate::{
    app::error::{Alternative, Error},
    domain::{
        access::{principal::Scope, token::TokenFault},
        follow_ups::schedule::Subject,
        id::{MerchantId, PaymentId, RefundId, RegistrationId},
        merchants::limits::{LimitExceeded, RefundLimit},
        money::{Currency, Money},
        registrations::RegistrationStatus,
        standing::NextActionKind,
    },
};

/// The document's head.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "AlipayHK gateway",
        description = "In-store AlipayHK barcode payments and refunds for internal services.\n\n\
            * **Money** is integer minor units with an ISO 4217 currency: 12850 HKD is HKD 128.50.\n\
            * **Times** are RFC 3339 in UTC with milliseconds; `business_date` is the day in GMT+8.\n\
            * **Repeating** a create with the same `Idempotency-Key` is always safe: one charge or one refund, and every answer shows the current state.\n\
            * **Refusals** are problem documents (RFC 9457), also for unknown paths (`route_not_found`), wrong methods (`method_not_allowed`, with `Allow`) and anything unforeseen. After Alipay was asked, the answer to a create is never a 5xx.\n\
            * **Growth**: fields may be added to answers, and names marked `x-extensible-enum` may grow; readers must tolerate both. Unknown fields in requests are refused.",
    ),
    servers((url = "/", description = "Where this document was read.")),
    tags(
        (name = "payments", description = "Take payments and follow them."),
        (name = "refunds", description = "Give money back, at once or in Alipay's nightly batch, and follow it; undo a payment by the clock."),
        (name = "operations", description = "Read and steer what stays open: the durable schedule, the work-list, decisions."),
        (name = "reconciliation", description = "Alipay's daily files against the books. The operator imports; a merchant's key sees what is its own."),
        (name = "administration", description = "Who may call, and who did what. A merchant's key with the scope `admin` administers its own merchant, the operator's all of them."),
        (name = "secondary merchants", description = "Shops registered with Alipay, and where their reviews stand."),
        (name = "barcodes", description = "Look at scanned codes."),
        (name = "alipay", description = "What Alipay itself calls. Needs no API key; the signature is the key."),
        (name = "service", description = "For those who run the gateway. Needs no API key."),
    ),
    components(schemas(ProblemDocument, FieldFault)),
)]
struct Head;

/// What the router starts from.
pub fn base() -> utoipa::openapi::OpenApi {
    Head::openapi()
}

/// The whole document.
pub fn document() -> Value {
    let (_, openapi) = router::routes().split_for_parts();
    let mut document =
        serde_json::to_value(openapi).expect("the document is made of strings, numbers and maps");
    let scopes = Scope::ALL.map(|scope| format!("`{}`", scope.as_str()));
    document["components"]["securitySchemes"] = json!({
        "api_key": {
            "type": "http",
            "scheme": "bearer",
            "description": format!(
                "An API key, made by `alipayhk-gateway api-key create`. Scopes: {}.",
                scopes.join(", "),
            ),
        },
        "access_token": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "Where an issuer is configured (`OIDC_ISSUER`): a signed JWT of it for this \
                service, with the same scopes in a claim and the merchant's id in another.",
        },
    });
    for (path, method, operation) in operations(&mut document) {
        complete(&path, &method, operation);
    }
    mark_growing_names(&mut document);
    document
}

/// The document as it is served, printed and checked in.
pub fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", document()));
    &TEXT
}

/// The OpenAPI document
///
/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "service",
    operation_id = "get_openapi",
    responses((status = 200, description = "This document (OpenAPI 3.1).", body = Object)),
)]
pub async fn serve() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], text())
}

fn operations(document: &mut Value) -> Vec<(String, String, &mut Map<String, Value>)> {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    paths
        .flat_map(|(path, item)| {
            let methods = item.as_object_mut().into_iter().flatten();
            methods.filter_map(|(method, operation)| {
                Some((path.clone(), method.clone(), operation.as_object_mut()?))
            })
        })
        .collect()
}

/// Adds what every operation has: an explicit `security`, the headers of every answer, and the
/// refusals that apply.
fn complete(path: &str, method: &str, operation: &mut Map<String, Value>) {
    let security = operation.entry("security").or_insert_with(|| json!([]));
    // Whatever takes an API key takes an access token with the same scopes.
    if let Some(scopes) = security[0].get("api_key").cloned() {
        let alternatives = security.as_array_mut().into_iter();
        alternatives.for_each(|list| list.push(json!({"access_token": scopes})));
    }
    let parameters = operation
        .get_mut("parameters")
        .and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        leave_out_null(&mut parameter["schema"]["type"]);
    }
    let mut by_status: BTreeMap<String, Vec<Problem>> = BTreeMap::new();
    for problem in refusals(path, method, operation) {
        let status = problem.kind.status().as_u16().to_string();
        by_status.entry(status).or_default().push(problem);
    }
    let Some(responses) = operation["responses"].as_object_mut() else {
        return;
    };
    for (_, response) in responses.iter_mut() {
        add_common_headers(response);
    }
    for (status, problems) in by_status {
        responses.insert(status, refusal(path, &problems));
    }
}

/// A parameter is left out, never null.
fn leave_out_null(kind: &mut Value) {
    let named = kind
        .as_array()
        .and_then(|kinds| kinds.iter().find(|kind| *kind != "null"));
    if let Some(named) = named.cloned() {
        *kind = named;
    }
}

fn add_common_headers(response: &mut Value) {
    let request_id = json!({
        "description": "Names the request in logs.",
        "schema": {"type": "string"},
    });
    let traceparent = json!({
        "description": "The trace of the request (W3C Trace Context).",
        "schema": {"type": "string"},
    });
    response["headers"]["X-Request-Id"] = request_id;
    response["headers"]["traceparent"] = traceparent;
}

/// Which refusals an operation can answer with, by what it takes.
fn refusals(path: &str, method: &str, operation: &Map<String, Value>) -> Vec<Problem> {
    let secured = operation["security"]
        .as_array()
        .is_some_and(|list| !list.is_empty());
    let mut problems = vec![Problem::panicked()];
    if secured {
        problems.extend(refusals_of_callers(operation));
    }
    // What only reads is never in doubt.
    if secured && method != "get" {
        problems.push(Problem::in_doubt());
    }
    // Alipay posts no JSON and gets its own answers.
    if secured && operation.contains_key("requestBody") {
        problems.extend(refusals_of_bodies(path));
    }
    if path.starts_with("/v1/reconciliations/{id}") {
        problems.push(Problem::reconciliation_not_found());
    }
    problems.extend(refusals_about_registrations(method, path));
    if path.starts_with("/v1/follow-ups/{id}") {
        problems.push(Problem::follow_up_not_found());
    } else if path.starts_with("/v1/refunds/{id}") {
        problems.push(Problem::refund_not_found());
    } else if path.starts_with("/v1/admin/api-keys/{id}") {
        problems.push(Problem::api_key_not_found());
    } else if path.starts_with("/v1/admin/merchants/{id}") {
        problems.extend(refusals_of_merchants(method, path));
    } else if path.contains("{id}") {
        problems.push(Problem::payment_not_found());
    }
    if secured {
        problems.push(Problem::new(
            Kind::InvalidQuery,
            "the parameter `wiat` is not a parameter of this operation",
        ));
    }
    if begins_work(method, path) {
        problems.extend([Error::MerchantBusy.into(), Error::Overloaded.into()]);
    }
    problems.extend(circuit_open(method, path));
    match (method, path) {
        ("post", "/v1/payments") => problems.extend(refusals_of_create()),
        ("post", "/v1/payments/{id}/cancel" | "/v1/payments/cancel") => {
            problems.extend(refusals_of_cancel());
        }
        ("post", "/v1/payments/{id}/refunds") => problems.extend(refusals_of_refund()),
        ("post", "/v1/payments/{id}/reverse") => problems.extend(refusals_of_reverse()),
        ("post", "/v1/payments/{id}/refresh") => {
            problems.push(silence(Subject::Payment(example_id())));
        }
        ("post", "/v1/refunds/{id}/refresh") => {
            problems.push(silence(Subject::Refund(example_refund_id())));
        }
        ("post", "/v1/payments/{id}/resolve") => {
            let detail = "only an unresolved payment can be resolved";
            problems.push(invalid_state(Subject::Payment(example_id()), detail));
        }
        ("post", "/v1/refunds/{id}/resolve") => {
            let detail = "only an unresolved refund can be resolved";
            problems.push(invalid_state(Subject::Refund(example_refund_id()), detail));
        }
        (
            "get",
            "/v1/payments"
            | "/v1/refunds"
            | "/v1/payments/{id}/refunds"
            | "/v1/follow-ups"
            | "/v1/unresolved"
            | "/v1/secondary-merchants"
            | "/v1/admin/api-keys"
            | "/v1/admin/merchants"
            | "/v1/admin/merchants/{id}/stores"
            | "/v1/admin/audit-log"
            | "/v1/reconciliations"
            | "/v1/reconciliations/{id}/differences",
        ) => {
            problems.push(Problem::new(
                Kind::InvalidCursor,
                "send `next_cursor` exactly as it was answered",
            ));
        }
        ("post", "/v1/admin/merchants") => problems.extend([
            Problem::operator_required(),
            Problem::merchant_exists(example_merchant_id()),
        ]),
        ("post", "/v1/admin/api-keys") | ("get", "/v1/admin/partners") => {
            problems.push(Problem::operator_required());
        }
        ("post", "/v1/admin/api-keys/{id}/rotate") => {
            problems.push(Problem::api_key_not_active());
        }
        ("post", "/v1/reconciliations") => {
            problems.extend([prefer_invalid(), Problem::operator_required()]);
        }
        ("get", "/health/ready") => {
            problems.push(Problem::new(Kind::NotReady, "not ready: database"));
        }
        _ => {}
    }
    problems
}

/// What a caller meets wherever an API key is needed.
fn refusals_of_callers(operation: &Map<String, Value>) -> Vec<Problem> {
    vec![
        Problem::authentication_required(),
        Problem::invalid_api_key(),
        Problem::invalid_token(TokenFault::Expired),
        Problem::insufficient_scope(&scopes_of(operation)),
        Problem::new(
            Kind::NotAcceptable,
            "the Accept header must allow application/json",
        ),
        Problem::new(
            Kind::ServiceUnavailable,
            "this request began nothing, whatever an earlier one began; ask again, with the same idempotency key if it has one",
        ),
        Error::RateLimited {
            retry_after_seconds: 1,
        }
        .into(),
    ]
}

/// Whether an operation asks Alipay something, and so needs a place among the work under way.
fn begins_work(method: &str, path: &str) -> bool {
    method == "put" && path.starts_with("/v1/secondary-merchants/")
        || method == "post"
            && (path == "/v1/payments"
                || ["/cancel", "/refunds", "/reverse", "/refresh"]
                    .iter()
                    .any(|end| path.ends_with(end)))
}

/// What every operation with a body refuses.
fn refusals_of_bodies(path: &str) -> Vec<Problem> {
    vec![
        Problem::new(Kind::MalformedJson, "expected `:` at line 1 column 9"),
        Problem::new(Kind::UnreadableBody, "the body ended early or was garbled"),
        Problem::new(
            Kind::RequestTimeout,
            "the body must arrive within 10 seconds",
        ),
        Problem::body_too_large(),
        Problem::new(
            Kind::UnsupportedMediaType,
            "send the header `Content-Type: application/json`",
        ),
        Problem::validation(vec![example_fault(path)]),
    ]
}

/// What the routes of one merchant and of its stores refuse.
fn refusals_of_merchants(method: &str, path: &str) -> Vec<Problem> {
    let of_stores = path.contains("/stores");
    let mut problems = vec![Problem::merchant_not_found()];
    if path.ends_with("{store_id}") {
        problems.push(Problem::store_not_found());
    }
    if method == "patch" {
        problems.push(Problem::version_mismatch());
    }
    if method == "post" && of_stores {
        problems.push(Problem::store_exists());
    }
    if method != "get" && !of_stores {
        problems.push(Problem::operator_required());
    }
    problems
}

fn example_id() -> PaymentId {
    "pay_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c"
        .parse()
        .expect("a payment id")
}

fn example_merchant_id() -> MerchantId {
    "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2d"
        .parse()
        .expect("a merchant id")
}

fn example_refund_id() -> RefundId {
    "ref_0199b3c1d2e37f4a8b6c7d8e9f0a1b2d"
        .parse()
        .expect("a refund id")
}

/// What is refused before it begins while Alipay does not answer, or refuses the account.
fn circuit_open(method: &str, path: &str) -> Vec<Problem> {
    let is_new_work = [
        "/v1/payments",
        "/v1/payments/{id}/refunds",
        "/v1/payments/{id}/reverse",
    ]
    .contains(&path);
    let is_question = ["/v1/payments/{id}/refresh", "/v1/refunds/{id}/refresh"].contains(&path);
    let retry_after_seconds = 10;
    let mut problems = vec![];
    if method == "post" && (is_new_work || is_question) {
        problems.push(
            Error::UpstreamUnavailable {
                retry_after_seconds,
            }
            .into(),
        );
    }
    if method == "post" && is_new_work {
        problems.push(
            Error::AccountRefused {
                code: "ILLEGAL_SIGN".to_owned(),
                retry_after_seconds,
            }
            .into(),
        );
    }
    problems
}

fn example_registration() -> Subject {
    let id: RegistrationId = "reg_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c"
        .parse()
        .expect("a registration id");
    Subject::Registration(id)
}

fn not_configured() -> Problem {
    Error::AccountNotConfigured {
        partner: String::new(),
    }
    .into()
}

fn refusals_about_registrations(method: &str, path: &str) -> Vec<Problem> {
    if !path.starts_with("/v1/secondary-merchants/{") {
        return vec![];
    }
    let subject = example_registration();
    let mut problems = vec![Problem::registration_not_found()];
    match method {
        "put" => problems.extend([
            Error::ReviewUnderWay { subject }.into(),
            Error::RegisteredForAnother.into(),
            not_configured(),
        ]),
        "post" => problems.extend([silence(subject), not_configured()]),
        _ => {}
    }
    problems
}

fn silence(subject: Subject) -> Problem {
    let class = "timed_out";
    Error::UpstreamSilent { subject, class }.into()
}

fn invalid_state(subject: Subject, detail: &'static str) -> Problem {
    Error::InvalidState { subject, detail }.into()
}

fn cancel_refused(payment_id: PaymentId) -> Problem {
    Error::CancelRefused {
        payment_id,
        code: Some("REASON_TRADE_BEEN_FREEZEN".to_owned()),
        reason: "Alipay has frozen the payment.".to_owned(),
    }
    .into()
}

fn cancel_may_act(payment_id: PaymentId) -> Problem {
    Error::CancelMayAct {
        payment_id,
        retry_after_seconds: 42,
    }
    .into()
}

fn refusals_of_cancel() -> [Problem; 5] {
    let payment_id = example_id();
    let detail = "a payment with a refund cannot be canceled; refund the rest";
    [
        prefer_invalid(),
        Error::CancelWindowClosed {
            payment_id,
            alternative: Alternative::Refund,
            was_sent: true,
        }
        .into(),
        cancel_refused(payment_id),
        Error::CancelWithdrawn { payment_id }.into(),
        invalid_state(Subject::Payment(payment_id), detail),
    ]
}

fn refusals_of_reverse() -> [Problem; 7] {
    let payment_id = example_id();
    let detail = "the payment failed, so there is nothing to undo";
    [
        prefer_invalid(),
        Error::CancelWindowClosed {
            payment_id,
            alternative: Alternative::Wait,
            was_sent: false,
        }
        .into(),
        cancel_refused(payment_id),
        Error::CancelWithdrawn { payment_id }.into(),
        cancel_may_act(payment_id),
        Error::RefundRefused {
            refund_id: example_refund_id(),
            code: "REASON_TRADE_BEEN_FREEZEN".to_owned(),
            message: "Alipay has frozen the payment.".to_owned(),
        }
        .into(),
        invalid_state(Subject::Payment(payment_id), detail),
    ]
}

fn refusals_of_refund() -> [Problem; 10] {
    let id = example_refund_id();
    let detail = "the payment is not paid yet; cancel it, or wait for its outcome";
    let [required, invalid] = idempotency_key_faults();
    [
        required,
        invalid,
        prefer_invalid(),
        cancel_may_act(example_id()),
        Error::MerchantReferenceConflict {
            subject: Subject::Refund(id),
        }
        .into(),
        invalid_state(Subject::Payment(example_id()), detail),
        Error::SuspectedDuplicate {
            subject: Subject::Refund(id),
        }
        .into(),
        Error::AmountExceedsRefundable {
            payment_id: example_id(),
            refundable: Money::new(7850, Currency::HKD),
        }
        .into(),
        Error::IdempotencyKeyReused {
            subject: Subject::Refund(id),
            fields: vec!["amount".to_owned()],
        }
        .into(),
        Error::RefundLimitExceeded {
            payment_id: example_id(),
            exceeded: LimitExceeded {
                limit: RefundLimit::PerDay,
                most_minor: 200_000,
                left_minor: 7850,
            },
        }
        .into(),
    ]
}

fn prefer_invalid() -> Problem {
    Problem::new(
        Kind::PreferInvalid,
        "`wait` must be a whole number of seconds from 0 to 60",
    )
}

fn idempotency_key_faults() -> [Problem; 2] {
    [
        Problem::new(
            Kind::IdempotencyKeyRequired,
            "send an Idempotency-Key header that is new for each payment or refund and the same for each repeat",
        ),
        Problem::new(
            Kind::IdempotencyKeyInvalid,
            "the header must have one value of 1 to 255 visible ASCII characters",
        ),
    ]
}

fn refusals_of_create() -> [Problem; 9] {
    let id = example_id();
    let [required, invalid] = idempotency_key_faults();
    [
        required,
        invalid,
        prefer_invalid(),
        not_configured(),
        Error::CanceledBeforeCreation.into(),
        Error::MerchantReferenceConflict {
            subject: Subject::Payment(id),
        }
        .into(),
        Error::SuspectedDuplicate {
            subject: Subject::Payment(id),
        }
        .into(),
        Error::IdempotencyKeyReused {
            subject: Subject::Payment(id),
            fields: vec!["amount".to_owned()],
        }
        .into(),
        Problem::merchant_disabled(),
    ]
}

fn scopes_of(operation: &Map<String, Value>) -> Vec<Scope> {
    let names = operation["security"][0]["api_key"].as_array();
    names
        .into_iter()
        .flatten()
        .filter_map(|name| Scope::from_name(name.as_str()?))
        .collect()
}

/// A field fault that fits the operation.
fn example_fault(path: &str) -> FieldFault {
    let required = |pointer| fault(pointer, "required", "must be given");
    match path {
        "/v1/payments" | "/v1/barcodes/inspect" => required("/barcode"),
        "/v1/payments/cancel" => fault(
            "/merchant_reference",
            "required",
            "give exactly one of merchant_reference and idempotency_key",
        ),
        "/v1/payments/{id}/refunds" => fault(
            "/amount/value",
            "out_of_range",
            "must be an integer from 1 to 10000000000",
        ),
        "/v1/follow-ups/{id}/snooze" => required("/until"),
        "/v1/secondary-merchants/{secondary_merchant_id}/stores/{store_id}" => {
            required("/shareholder_id")
        }
        "/v1/admin/api-keys" => required("/scopes"),
        "/v1/admin/merchants" => required("/external_id"),
        "/v1/admin/merchants/{id}" => fault(
            "/limits/max_refund_minor",
            "out_of_range",
            "must be an integer from 0 to 10000000000",
        ),
        "/v1/admin/merchants/{id}/stores" => required("/store_id"),
        "/v1/admin/merchants/{id}/stores/{store_id}" => {
            fault("/name", "required", "must not be null")
        }
        "/v1/admin/api-keys/{id}/rotate" => fault(
            "/overlap_seconds",
            "out_of_range",
            "must be an integer from 0 to 2592000",
        ),
        _ => required("/reason"),
    }
}

fn fault(pointer: &str, code: &'static str, detail: &str) -> FieldFault {
    FieldFault {
        pointer: Some(pointer.to_owned()),
        parameter: None,
        code,
        detail: detail.to_owned(),
    }
}

/// One response for all refusals of a status, with a whole document of each as an example.
fn refusal(path: &str, problems: &[Problem]) -> Value {
    let mut titles: Vec<&str> = problems
        .iter()
        .map(|problem| problem.kind.title())
        .collect();
    titles.dedup();
    let mut examples = Map::new();
    for problem in problems {
        let document = problem.document("0199b3c1d2e3f4a5b6c7d8e9f0a1b2c3", path);
        let example = json!({"summary": problem.kind.title(), "value": document});
        let code = problem.kind.code();
        let name = if examples.contains_key(code) {
            format!("{code}_in_doubt")
        } else {
            code.to_owned()
        };
        examples.insert(name, example);
    }
    let mut response = json!({
        "description": format!("{}.", titles.join("; ")),
        "content": {MEDIA_TYPE: {
            "schema": {"$ref": "#/components/schemas/Problem"},
            "examples": examples,
        }},
    });
    add_common_headers(&mut response);
    match problems
        .first()
        .map(|problem| problem.kind.status().as_u16())
    {
        Some(401 | 403) => {
            response["headers"]["WWW-Authenticate"] = json!({
                "description": "What to present (RFC 6750).",
                "schema": {"type": "string"},
            });
        }
        Some(429 | 503) => {
            response["headers"]["Retry-After"] = json!({
                "description": "After how many seconds to try again.",
                "schema": {"type": "integer"},
            });
        }
        _ => {}
    }
    response
}

fn names<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str) -> Vec<&'static str> {
    all.iter().copied().map(name).collect()
}

/// Names the known values of strings that may grow. They are not `enum`s, which would make
/// generated clients refuse a new value.
fn mark_growing_names(document: &mut Value) {
    let kinds = Kind::ALL.map(Kind::code);
    let next_actions = names(NextActionKind::ALL, NextActionKind::as_str);
    let registration_statuses = names(RegistrationStatus::ALL, RegistrationStatus::as_str);
    let growing: &[(&str, &str, &[&str])] = &[
        (
            "Payment",
            "status",
            &[
                "processing",
                "succeeded",
                "failed",
                "canceled",
                "unresolved",
            ],
        ),
        (
            "Payment",
            "status_reason",
            &[
                "submitting",
                "awaiting_buyer",
                "outcome_unknown",
                "canceling",
                "requested",
                "buyer_did_not_confirm",
                "never_created",
            ],
        ),
        (
            "Payment",
            "outcome_certainty",
            &["final", "pending", "unknown"],
        ),
        ("Payment", "wallet", &["ALIPAYHK", "ALIPAYCN"]),
        ("NextAction", "type", &next_actions),
        (
            "Failure",
            "retry",
            &["same_barcode", "new_barcode", "other_method", "no"],
        ),
        (
            "Refund",
            "status",
            &["pending", "succeeded", "failed", "unresolved"],
        ),
        (
            "Refund",
            "pending_reason",
            &[
                "submitting",
                "awaiting_batch",
                "insufficient_funds",
                "outcome_unknown",
                "processing",
            ],
        ),
        ("Refund", "mode", &["sync", "async"]),
        ("Refund", "origin", &["gateway", "portal"]),
        ("Reversal", "action", &["cancel", "refund", "none"]),
        ("Reversal", "fee", &["returned", "by_contract"]),
        ("FollowUp", "kind", &Subject::KINDS),
        ("StoreRegistration", "status", &registration_statuses),
        (
            "StoreRegistration",
            "store_status",
            &["ACTIVATED", "INACTIVATE", "ARCHIVED"],
        ),
        (
            "Attempt",
            "kind",
            &["pay", "query", "cancel", "refund", "refund_query"],
        ),
        (
            "Actor",
            "type",
            &["api_key", "follow_up", "notification", "file"],
        ),
        ("PartnerKey", "role", &["own", "alipay", "shared"]),
        (
            "PartnerKey",
            "state",
            &["active", "valid", "next", "expired"],
        ),
        ("Merchant", "status", &["active", "disabled"]),
        ("Store", "status", &["active", "disabled"]),
        ("ApiKey", "status", &["active", "expired", "revoked"]),
        ("Inspection", "family", &["alipay", "other", "unknown"]),
        ("Problem", "code", &kinds),
        ("Problem", "attempted", &["false", "true", "unknown"]),
        ("Problem", "retryable", &["same_key", "new_key", "no"]),
    ];
    for (schema, property, names) in growing {
        document["components"]["schemas"][schema]["properties"][property]["x-extensible-enum"] =
            json!(names);
    }
}
