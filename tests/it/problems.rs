//! Every refusal is a problem document, word for word, and leaves no trace: nothing is stored, no key
//! is used up, nothing is sent.

use std::time::Duration;

use alipayhk_gateway::domain::access::principal::Scope;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{
    Options, World,
    alipay::JsonBody as _,
    http::{Answer, Caller, body},
};

/// What a test sends as `X-Request-Id`, so that bodies are the same each time.
const REQUEST_ID: &str = "till-1/42";

/// A refusal as it must be, without the parts that follow from these.
#[derive(Clone)]
struct Refusal {
    status: u16,
    code: &'static str,
    title: &'static str,
    detail: &'static str,
    instance: &'static str,
    retryable: &'static str,
    more: Value,
}

impl Refusal {
    const fn new(
        status: u16,
        code: &'static str,
        title: &'static str,
        detail: &'static str,
    ) -> Self {
        Self {
            status,
            code,
            title,
            detail,
            instance: "/v1/payments",
            retryable: "same_key",
            more: Value::Null,
        }
    }

    const fn at(mut self, instance: &'static str) -> Self {
        self.instance = instance;
        self
    }

    const fn retry(mut self, retryable: &'static str) -> Self {
        self.retryable = retryable;
        self
    }

    fn with(mut self, more: Value) -> Self {
        self.more = more;
        self
    }

    fn body(&self) -> Value {
        let mut body = json!({
            "type": format!("urn:alipayhk-gateway:problem:{}", self.code.replace('_', "-")),
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": self.instance,
            "code": self.code,
            "attempted": "false",
            "retryable": self.retryable,
            "request_id": REQUEST_ID,
        });
        for (name, value) in self.more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        body
    }

    /// The request is refused like this.
    async fn of(&self, request: RequestBuilder) -> Answer {
        let answer = Caller::send(request.header("x-request-id", REQUEST_ID)).await;
        assert_eq!(answer.body, self.body(), "{}", self.code);
        assert_eq!(answer.status, self.status, "{}", self.code);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.header("x-request-id"), REQUEST_ID);
        answer
    }
}

fn post(till: &Caller, key: &str) -> RequestBuilder {
    till.request(Method::POST, "/v1/payments")
        .header("idempotency-key", key)
}

/// A create with this text as its body.
fn create(till: &Caller, text: &str) -> RequestBuilder {
    post(till, "key-1")
        .header("content-type", "application/json")
        .body(text.to_owned())
}

fn fault(pointer: &str, code: &str, detail: &str) -> Value {
    json!({"pointer": pointer, "code": code, "detail": detail})
}

/// Nothing was stored or sent, and the key is still free.
async fn nothing_happened(world: &World) {
    assert_eq!(world.rows().await, 0, "nothing is stored");
    assert!(
        world.simulator.requests().await.is_empty(),
        "nothing is sent"
    );
    let answer = world.till.create("key-1", &body("0001"), 10).await;
    assert_eq!(
        answer.summary("status"),
        (201, "succeeded"),
        "the key was not used up: {answer:?}"
    );
}

#[sqlx::test]
async fn a_body_that_is_no_request_is_refused(pool: PgPool) {
    let world = World::start(pool).await;
    let till = &world.till;
    let malformed = |detail| {
        Refusal::new(
            400,
            "malformed_json",
            "The body is not a JSON object",
            detail,
        )
    };
    for (text, detail) in [
        ("", "EOF while parsing a value at line 1 column 0"),
        (
            "{\"amount\":",
            "EOF while parsing a value at line 1 column 10",
        ),
        ("[]", "the body must be a JSON object"),
        (
            "{\"barcode\":\"281234567890123456\" oops}",
            "expected `,` or `}` at line 1 column 33",
        ),
        (
            "{\"amount\":1,\"amount\":2}",
            "a member occurs twice in one object at line 1 column 20",
        ),
        (
            "{\"amount\":{\"value\":1,\"value\":2}}",
            "a member occurs twice in one object at line 1 column 28",
        ),
    ] {
        malformed(detail).of(create(till, text)).await;
    }
    Refusal::new(
        415,
        "unsupported_media_type",
        "The body must be JSON",
        "send the header `Content-Type: application/json`",
    )
    .of(post(till, "key-1")
        .header("content-type", "text/plain")
        .body(body("0001").to_string()))
    .await;
    let large = json!({"description": "x".repeat(64 * 1024)}).to_string();
    Refusal::new(
        413,
        "body_too_large",
        "The body is too large",
        "a body may have at most 64 KiB",
    )
    .of(create(till, &large))
    .await;
    nothing_happened(&world).await;
    world.finish().await;
}

#[sqlx::test]
async fn headers_and_query_of_a_create_are_refused_by_name(pool: PgPool) {
    let world = World::start(pool).await;
    let till = &world.till;
    let request = body("0001");
    Refusal::new(
        400,
        "idempotency_key_required",
        "The Idempotency-Key header is missing",
        "send an Idempotency-Key header that is new for each payment or refund and the same for each repeat",
    )
    .retry("new_key")
    .of(till
        .request(Method::POST, "/v1/payments")
        .json_body(&request))
    .await;
    let invalid = Refusal::new(
        400,
        "idempotency_key_invalid",
        "The Idempotency-Key header is not usable",
        "the header must have one value of 1 to 255 visible ASCII characters",
    )
    .retry("new_key");
    let long = "k".repeat(256);
    for key in ["", "\"\"", "two words", "\u{7f}", &long] {
        // A header may not even hold a control character: the client refuses to send it.
        if key.bytes().all(|b| b >= b' ' && b != 0x7f) {
            invalid.of(post(till, key).json_body(&request)).await;
        }
    }
    let twice = post(till, "key-1").header("idempotency-key", "key-2");
    invalid.of(twice.json_body(&request)).await;
    let code = request["barcode"].as_str().expect("a code");
    let with_code = Refusal {
        detail: "the key is stored, so it must not contain the scanned code",
        ..invalid
    };
    with_code
        .of(post(till, &format!("till-{code}")).json_body(&request))
        .await;
    let prefer = Refusal::new(
        400,
        "prefer_invalid",
        "The Prefer header is not usable",
        "`wait` must be a whole number of seconds from 0 to 60",
    );
    for value in ["wait=61", "wait=-1", "wait=soon", "respond-async, wait"] {
        let call = post(till, "key-1").header("prefer", value);
        prefer.of(call.json_body(&request)).await;
    }
    Refusal::new(
        406,
        "not_acceptable",
        "The Accept header excludes the answer",
        "the Accept header must allow application/json",
    )
    .of(post(till, "key-1")
        .header("accept", "text/html")
        .json_body(&request))
    .await;
    let query = till.request(Method::POST, "/v1/payments?dry_run=1");
    Refusal::new(
        400,
        "invalid_query",
        "The query string has faults",
        "the parameter `dry_run` is not a parameter of this operation",
    )
    .with(
        json!({"errors": [{"parameter": "dry_run", "code": "unknown_parameter",
        "detail": "is not a parameter of this operation"}]}),
    )
    .of(query.header("idempotency-key", "key-1").json_body(&request))
    .await;
    nothing_happened(&world).await;
    world.finish().await;
}

/// One document names every fault of every field, each with its JSON Pointer.
#[sqlx::test]
async fn all_field_faults_are_named_at_once(pool: PgPool) {
    let world = World::start(pool).await;
    let request = json!({
        "amuont": 1,
        "amount": {"value": 12850.5, "currency": "USD", "a/b~c": 1},
        "barcode": "991234567890123456",
        "merchant_reference": "a reference",
        "description": "say \"please\"",
        "store_id": "ST99",
        "terminal_id": "",
        "cancel_after_seconds": 171,
        "metadata": {"order": 1, "": "x", "note": "line\nbreak"},
        "allow_duplicate": "yes",
    });
    let errors = json!([
        fault(
            "/amount/value",
            "wrong_type",
            "must be an integer from 1 to 10000000000"
        ),
        fault("/amount/currency", "unsupported_currency", "must be HKD"),
        fault(
            "/amount/a~1b~0c",
            "unknown_field",
            "is not a field of this request"
        ),
        fault(
            "/barcode",
            "barcode_prefix",
            "the code must begin with 25, 26, 27, 28, 29 or 30"
        ),
        fault(
            "/merchant_reference",
            "invalid_format",
            "must be 1 to 64 of A-Z a-z 0-9 . _ -"
        ),
        fault(
            "/description",
            "invalid_format",
            "must not contain \" or control characters"
        ),
        fault(
            "/terminal_id",
            "invalid_format",
            "must be 1 to 64 printable ASCII characters without \""
        ),
        fault(
            "/cancel_after_seconds",
            "out_of_range",
            "must be an integer from 15 to 170"
        ),
        fault(
            "/metadata/",
            "invalid_key",
            "the key must have 1 to 40 characters, none of them control characters"
        ),
        fault(
            "/metadata/note",
            "invalid_format",
            "must not contain control characters"
        ),
        fault("/metadata/order", "wrong_type", "must be a string"),
        fault("/allow_duplicate", "wrong_type", "must be true or false"),
        fault("/amuont", "unknown_field", "is not a field of this request"),
        fault(
            "/store_id",
            "unknown_store",
            "the merchant has no such store"
        ),
    ]);
    Refusal::new(
        422,
        "validation_failed",
        "The request has faults",
        "14 faults, listed in `errors`",
    )
    .with(json!({"errors": errors}))
    .of(create(&world.till, &request.to_string()))
    .await;
    let required = |pointer| fault(pointer, "required", "must be given");
    Refusal::new(422, "validation_failed", "The request has faults", "3 faults, listed in `errors`")
        .with(json!({"errors": [required("/amount"), required("/barcode"), required("/merchant_reference")]}))
        .of(create(&world.till, "{}"))
        .await;
    nothing_happened(&world).await;
    world.finish().await;
}

/// M5: what is no amount of money is refused before anything is stored.
#[sqlx::test]
async fn m5_amounts_that_are_none_are_refused(pool: PgPool) {
    let world = World::start(pool).await;
    let good = body("0001").to_string();
    for (value, code) in [
        ("0", "out_of_range"),
        ("-3925", "out_of_range"),
        ("10000000001", "out_of_range"),
        ("9223372036854775807", "out_of_range"),
        ("9223372036854775808", "wrong_type"),
        ("39.25", "wrong_type"),
        ("3925.0", "wrong_type"),
        ("3.925e3", "wrong_type"),
        ("\"3925\"", "wrong_type"),
        ("null", "required"),
        ("true", "wrong_type"),
    ] {
        let detail = "must be an integer from 1 to 10000000000";
        let (detail, summary) = match code {
            "required" => ("must be given", "1 fault: must be given"),
            _ => (detail, "1 fault: must be an integer from 1 to 10000000000"),
        };
        let text = good.replace("\"value\":3925", &format!("\"value\":{value}"));
        Refusal::new(422, "validation_failed", "The request has faults", summary)
            .with(json!({"errors": [fault("/amount/value", code, detail)]}))
            .of(create(&world.till, &text))
            .await;
    }
    let nan = good.replace("\"value\":3925", "\"value\":NaN");
    let answer = Caller::send(create(&world.till, &nan)).await;
    assert_eq!(answer.summary("code"), (400, "malformed_json"));
    nothing_happened(&world).await;
    world.finish().await;
}

#[sqlx::test]
async fn paths_methods_and_queries_are_refused(pool: PgPool) {
    let world = World::start(pool).await;
    let till = &world.till;
    Refusal::new(
        404,
        "route_not_found",
        "No such path",
        "there is nothing at this path; see /docs",
    )
    .at("/v1/paymnets")
    .retry("no")
    .of(till.request(Method::GET, "/v1/paymnets"))
    .await;
    let wrong_method = Refusal::new(
        405,
        "method_not_allowed",
        "The path does not know the method",
        "the Allow header lists the methods of this path",
    )
    .retry("no");
    let answer = wrong_method
        .of(till.request(Method::DELETE, "/v1/payments"))
        .await;
    let mut allowed: Vec<&str> = answer.header("allow").split(',').map(str::trim).collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
    let answer = wrong_method
        .at("/v1/barcodes/inspect")
        .of(till.request(Method::GET, "/v1/barcodes/inspect"))
        .await;
    assert_eq!(answer.header("allow"), "POST");
    for path in [
        "/v1/payments/pay_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c",
        "/v1/payments/nonsense",
    ] {
        Refusal::new(
            404,
            "payment_not_found",
            "No such payment",
            "there is no payment with this id",
        )
        .at(path)
        .retry("no")
        .of(till.request(Method::GET, path))
        .await;
    }
    Refusal::new(
        400,
        "invalid_cursor",
        "The cursor was not made by this API",
        "send `next_cursor` exactly as it was answered",
    )
    .retry("no")
    .of(till.request(Method::GET, "/v1/payments?cursor=nonsense"))
    .await;
    let faults = json!([
        {"parameter": "status", "code": "invalid_value", "detail": "must be a payment status"},
        {"parameter": "created_from", "code": "invalid_value",
            "detail": "must be an RFC 3339 instant such as 2026-11-22T04:00:00Z, with `+` sent as %2B"},
        {"parameter": "limit", "code": "repeated", "detail": "may be given once"},
        {"parameter": "stauts", "code": "unknown_parameter", "detail": "is not a parameter of this operation"},
    ]);
    Refusal::new(
        400,
        "invalid_query",
        "The query string has faults",
        "4 faults, listed in `errors`",
    )
    .with(json!({"errors": faults}))
    .of(till.request(
        Method::GET,
        "/v1/payments?status=paid&created_from=today&limit=5&limit=6&stauts=failed",
    ))
    .await;
    nothing_happened(&world).await;
    world.finish().await;
}

/// Q6, Q7: who may not ask is told so before anything is looked at.
#[sqlx::test]
async fn q6_callers_without_a_key_or_scope_are_refused(pool: PgPool) {
    let world = World::start(pool).await;
    let url = &world.replicas[0].url;
    let anonymous = crate::support::alipay::client()
        .post(format!("{url}/v1/payments"))
        .header("idempotency-key", "key-1");
    let answer = Refusal::new(
        401,
        "authentication_required",
        "An API key is required",
        "send the header `Authorization: Bearer <api key>`",
    )
    .of(anonymous.json_body(&body("0001")))
    .await;
    assert_eq!(
        answer.header("www-authenticate"),
        "Bearer realm=\"alipayhk-gateway\""
    );
    let unknown = Caller::new(url, "ahk_nobody");
    let answer = Refusal::new(
        401,
        "invalid_api_key",
        "The API key is not valid",
        "the presented API key is unknown or was revoked",
    )
    .of(post(&unknown, "key-1").json_body(&body("0001")))
    .await;
    assert_eq!(
        answer.header("www-authenticate"),
        "Bearer realm=\"alipayhk-gateway\", error=\"invalid_token\""
    );
    let reader = world.caller(0, &[Scope::PaymentsRead]).await;
    let lacks = |detail| {
        Refusal::new(
            403,
            "insufficient_scope",
            "The API key lacks a scope",
            detail,
        )
    };
    let answer = lacks("this needs an API key with the scope `payments:write`")
        .of(post(&reader, "key-1").json_body(&body("0001")))
        .await;
    assert_eq!(
        answer.header("www-authenticate"),
        "Bearer realm=\"alipayhk-gateway\", error=\"insufficient_scope\", scope=\"payments:write\""
    );
    let writer = world.caller(0, &[Scope::PaymentsWrite]).await;
    lacks("this needs an API key with the scope `payments:read`")
        .of(writer.request(Method::GET, "/v1/payments"))
        .await;
    nothing_happened(&world).await;
    world.finish().await;
}

/// Q7, D6: another merchant's payment is no payment, and its keys and references are its own.
#[sqlx::test]
async fn q7_d6_another_merchants_payment_is_not_found(pool: PgPool) {
    let world = World::start(pool).await;
    let request = body("0001");
    let paid = world.till.create("key-1", &request, 10).await;
    let stranger = world.stranger().await;
    let path = format!("/v1/payments/{}", paid.id());
    for path in [
        path.clone(),
        format!("{path}?wait=5"),
        format!("{path}/timeline"),
    ] {
        let found = world.till.get(&path).await;
        assert_eq!(found.status, 200, "{path}");
        let call = stranger.request(Method::GET, &path);
        let answer = Caller::send(call.header("x-request-id", REQUEST_ID)).await;
        let instance = path.split('?').next().unwrap_or_default();
        let mut expected = Refusal::new(
            404,
            "payment_not_found",
            "No such payment",
            "there is no payment with this id",
        )
        .retry("no")
        .body();
        expected["instance"] = json!(instance);
        assert_eq!((answer.status, &answer.body), (404, &expected), "{path}");
    }
    let list = stranger.get("/v1/payments").await;
    assert_eq!(list.body["items"], json!([]));
    let filter = format!(
        "/v1/payments?merchant_reference={}",
        request["merchant_reference"].as_str().expect("text")
    );
    assert_eq!(stranger.get(&filter).await.body["items"], json!([]));
    // The same key, reference and code mean another sale to another merchant.
    let own = stranger.create("key-1", &request, 10).await;
    assert_eq!(own.summary("status"), (201, "succeeded"), "{own:?}");
    assert_ne!(own.body["id"], paid.body["id"]);
    assert_ne!(own.body["merchant_id"], paid.body["merchant_id"]);
    world.finish().await;
}

/// The refusals that point at an existing payment.
#[sqlx::test]
async fn d2_d3_conflicts_name_the_payment_that_answers_the_question(pool: PgPool) {
    let world = World::start(pool).await;
    let request = body("0001");
    let paid = world.till.create("key-1", &request, 10).await;
    let (rows, id) = (world.rows().await, paid.body["id"].clone());
    let mut other = request.clone();
    other["amount"]["value"] = json!(1);
    other["metadata"] = json!({"order": "2"});
    let differs = |pointer| {
        fault(
            pointer,
            "differs",
            "differs from the request that used the key first",
        )
    };
    Refusal::new(
        422,
        "idempotency_key_reused",
        "The idempotency key belongs to another request",
        "the key was used for a payment that differs in: amount, metadata",
    )
    .retry("new_key")
    .with(json!({"payment_id": id, "errors": [differs("/amount"), differs("/metadata")]}))
    .of(post(&world.till, "key-1").json_body(&other))
    .await;
    let mut same_order = body("0001");
    same_order["merchant_reference"] = request["merchant_reference"].clone();
    Refusal::new(
        409,
        "merchant_reference_conflict",
        "The merchant reference belongs to something else",
        "another payment has this merchant_reference; read it before charging again",
    )
    .retry("no")
    .with(json!({"payment_id": id}))
    .of(post(&world.till, "key-2").json_body(&same_order))
    .await;
    let mut same_scan = body("0001");
    same_scan["barcode"] = request["barcode"].clone();
    Refusal::new(
        409,
        "suspected_duplicate",
        "This looks like something that was just made",
        "the same code, amount and terminal were used within the last 60 seconds; \
         send \"allow_duplicate\": true to charge nevertheless",
    )
    .with(json!({"payment_id": id}))
    .of(post(&world.till, "key-3").json_body(&same_scan))
    .await;
    assert_eq!(world.rows().await, rows, "nothing more is stored");
    assert_eq!(
        world.simulator.count("pay").await,
        1,
        "nothing more is sent"
    );
    world.finish().await;
}

/// The refusals of refunds, word for word.
#[sqlx::test]
async fn m3_d2_d3_refusals_of_refunds_name_what_answers_the_question(pool: PgPool) {
    let world = World::start(pool).await;
    let till = &world.till;
    let paid = till.create("key-1", &body("0001"), 10).await;
    let failed = till.create("key-2", &body("1016"), 10).await;
    let request =
        json!({"amount": {"value": 2000, "currency": "HKD"}, "merchant_reference": "RETURN-1"});
    let refund = till.refund_under(paid.id(), "back-1", &request, 10).await;
    let (rows, asked) = (world.rows().await, world.simulator.count("refund").await);
    let refusal_of = async |refusal: Refusal, payment_id: &str, key: &str, request: &Value| {
        let path = format!("/v1/payments/{payment_id}/refunds");
        let call = till.request(Method::POST, &path);
        let call = call.header("idempotency-key", key).json_body(request);
        let answer = Caller::send(call.header("x-request-id", REQUEST_ID)).await;
        let mut expected = refusal.body();
        expected["instance"] = json!(path);
        assert_eq!(answer.body, expected);
        assert_eq!(answer.status, refusal.status);
    };
    let exceeds = |detail: &'static str| {
        Refusal::new(
            422,
            "amount_exceeds_refundable",
            "The amount is more than what is left to refund",
            detail,
        )
        .with(json!({
            "payment_id": paid.id(),
            "errors": [fault("/amount", "amount_exceeds_refundable", detail)],
        }))
    };
    let too_much = json!({"amount": {"value": 1926, "currency": "HKD"}});
    let left = exceeds("at most HKD 19.25 is left to refund");
    refusal_of(left, paid.id(), "back-2", &too_much).await;
    let mut other = request.clone();
    other["mode"] = json!("async");
    let differs = fault(
        "/mode",
        "differs",
        "differs from the request that used the key first",
    );
    let reused = Refusal::new(
        422,
        "idempotency_key_reused",
        "The idempotency key belongs to another request",
        "the key was used for a refund that differs in: mode",
    )
    .retry("new_key")
    .with(json!({"refund_id": refund.id(), "errors": [differs]}));
    refusal_of(reused, paid.id(), "back-1", &other).await;
    let conflict = Refusal::new(
        409,
        "merchant_reference_conflict",
        "The merchant reference belongs to something else",
        "another refund has this merchant_reference; read it before refunding again",
    )
    .retry("no")
    .with(json!({"refund_id": refund.id()}));
    refusal_of(conflict, paid.id(), "back-2", &request).await;
    let unpaid = Refusal::new(
        409,
        "invalid_state",
        "The state does not allow this",
        "the payment failed, so there is nothing to refund",
    )
    .retry("no")
    .with(json!({"payment_id": failed.id()}));
    refusal_of(unpaid, failed.id(), "back-2", &json!({})).await;
    let no_payment = Refusal::new(
        404,
        "payment_not_found",
        "No such payment",
        "there is no payment with this id",
    )
    .retry("no");
    refusal_of(
        no_payment,
        "pay_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c",
        "back-2",
        &json!({}),
    )
    .await;
    for path in [
        "/v1/refunds/ref_0199b3c1d2e37f4a8b6c7d8e9f0a1b2d",
        "/v1/refunds/nonsense",
    ] {
        Refusal::new(
            404,
            "refund_not_found",
            "No such refund",
            "there is no refund with this id",
        )
        .at(path)
        .retry("no")
        .of(till.request(Method::GET, path))
        .await;
    }
    assert_eq!(world.rows().await, rows, "nothing more is stored");
    assert_eq!(world.simulator.count("refund").await, asked);
    let rest = till.refund_under(paid.id(), "back-2", &json!({}), 10).await;
    assert_eq!(
        rest.summary("status"),
        (201, "succeeded"),
        "the key was not used up: {rest:?}"
    );
    let nothing = exceeds("nothing is left to refund");
    refusal_of(nothing, paid.id(), "back-3", &json!({})).await;
    world.finish().await;
}

fn unavailable() -> Refusal {
    Refusal::new(
        503,
        "service_unavailable",
        "The gateway cannot work at the moment",
        "this request began nothing, whatever an earlier one began; ask again, with the same idempotency key if it has one",
    )
}

/// C5: a replica that never reaches the database attempts nothing.
#[sqlx::test]
async fn c5_without_a_database_nothing_is_attempted(pool: PgPool) {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = nobody.local_addr().expect("bound").port();
    drop(nobody);
    let options = Options {
        database_port: Some(port),
        ..Options::default()
    };
    let world = World::start_with(pool, options).await;
    // At once, since each waits for a connection of the pool.
    let (refused, list, not_ready) = (
        unavailable(),
        unavailable(),
        Refusal::new(
            503,
            "not_ready",
            "This replica is not ready",
            "not ready: database",
        )
        .at("/health/ready"),
    );
    let (answer, ..) = tokio::join!(
        refused.of(post(&world.till, "key-1").json_body(&body("0001"))),
        list.of(world.till.request(Method::GET, "/v1/payments")),
        not_ready.of(world.till.request(Method::GET, "/health/ready")),
    );
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(world.till.get("/health/live").await.status, 200);
    assert_eq!(world.rows().await, 0);
    assert!(world.simulator.requests().await.is_empty());
    world.finish().await;
}

/// C5: the same where caller and store are still remembered, so that only the intent fails.
#[sqlx::test]
async fn c5_an_intent_that_cannot_be_stored_is_not_sent(pool: PgPool) {
    let world = World::start(pool).await;
    assert_eq!(world.pay("0001").await.status, 201);
    let rows = world.rows().await;
    world.replicas[0].app.close().await;
    unavailable()
        .of(post(&world.till, "key-1").json_body(&body("0001")))
        .await;
    assert_eq!(world.rows().await, rows);
    assert_eq!(world.simulator.count("pay").await, 1);
    world.finish().await;
}

#[sqlx::test]
async fn a_fault_of_the_gateway_says_nothing_about_its_insides(pool: PgPool) {
    let world = World::start(pool).await;
    sqlx::raw_sql("alter table recent_scan rename column seen_at to scanned_at")
        .execute(&world.pool)
        .await
        .expect("the schema can be broken");
    Refusal::new(
        500,
        "internal_error",
        "A fault of the gateway",
        "an unexpected fault; repeat with the same idempotency key",
    )
    .with(json!({"attempted": "unknown"}))
    .of(post(&world.till, "key-1").json_body(&body("0001")))
    .await;
    assert!(world.simulator.requests().await.is_empty());
    sqlx::raw_sql("alter table recent_scan rename column scanned_at to seen_at")
        .execute(&world.pool)
        .await
        .expect("the schema can be mended");
    nothing_happened(&world).await;
    world.finish().await;
}

/// Sends raw bytes, and reads until the gateway closes the connection.
async fn raw(world: &World, bytes: &str) -> String {
    let address = world.replicas[0]
        .url
        .trim_start_matches("http://")
        .to_owned();
    let mut stream = TcpStream::connect(address)
        .await
        .expect("the gateway listens");
    stream.write_all(bytes.as_bytes()).await.expect("sent");
    let mut answer = vec![];
    let reading = stream.read_to_end(&mut answer);
    tokio::time::timeout(Duration::from_secs(15), reading)
        .await
        .expect("the gateway ends the connection")
        .expect("readable");
    String::from_utf8(answer).expect("text")
}

/// A refusal on a connection that cannot be used any more.
fn assert_raw(answer: &str, refusal: &Refusal) {
    let (head, document) = answer.split_once("\r\n\r\n").expect("a whole answer");
    assert!(
        head.starts_with(&format!("HTTP/1.1 {} ", refusal.status)),
        "{head}"
    );
    let document: Value = serde_json::from_str(document).expect("JSON");
    assert_eq!(document, refusal.body());
}

fn head_of_a_create(world: &World) -> String {
    format!(
        "POST /v1/payments HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\nidempotency-key: key-1\r\nx-request-id: {REQUEST_ID}\r\n",
        world.till.key()
    )
}

#[sqlx::test]
async fn a_garbled_body_is_refused(pool: PgPool) {
    let world = World::start(pool).await;
    let head = head_of_a_create(&world);
    let garbled = raw(
        &world,
        &format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n"),
    )
    .await;
    let refusal = Refusal::new(
        400,
        "unreadable_body",
        "The body could not be read",
        "the body ended early or was garbled",
    );
    assert_raw(&garbled, &refusal);
    nothing_happened(&world).await;
    world.finish().await;
}

/// Q8: a body that trickles in is not waited for; this test lasts as long as the gateway's patience.
#[sqlx::test]
async fn q8_a_body_that_does_not_arrive_is_given_up(pool: PgPool) {
    let world = World::start(pool).await;
    let head = head_of_a_create(&world);
    let slow = raw(
        &world,
        &format!("{head}connection: close\r\ncontent-length: 100\r\n\r\n{{"),
    )
    .await;
    let refusal = Refusal::new(
        408,
        "request_timeout",
        "The body did not arrive in time",
        "the body must arrive within 10 seconds",
    );
    assert_raw(&slow, &refusal);
    nothing_happened(&world).await;
    world.finish().await;
}
