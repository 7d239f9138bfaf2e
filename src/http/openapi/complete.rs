//! What an operation of the document has because of its shape: `security`, the headers of every answer,
//! and the refusals of what it takes.

use serde_json::{Map, Value, json};

use crate::{
    app::error::Error,
    domain::access::{principal::Scope, token::TokenFault},
    http::{
        problem::{Kind, MEDIA_TYPE, Problem},
        refusals,
    },
};

/// The path of examples, the same in all of them so that they can be shared.
const INSTANCE: &str = "/v1/payments";

/// Completes one operation.
pub(super) fn complete(method: &str, operation: &mut Map<String, Value>) {
    let security = operation.entry("security").or_insert_with(|| json!([]));
    // Whatever takes an API key takes an access token with the same scopes.
    if let Some(alternatives) = security.as_array_mut() {
        let keys = alternatives.iter();
        let scopes: Vec<Value> = keys
            .filter_map(|needed| needed.get("api_key").cloned())
            .collect();
        let tokens = scopes.into_iter();
        alternatives.extend(tokens.map(|scopes| json!({"access_token": scopes})));
    }
    let parameters = operation
        .get_mut("parameters")
        .and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        leave_out_null(&mut parameter["schema"]["type"]);
    }
    let common = refusals::by_status(refusals_of_shape(method, operation));
    let Some(responses) = operation["responses"].as_object_mut() else {
        return;
    };
    for (status, problems) in common {
        let common = refusals::response(&problems);
        match responses.get_mut(&status) {
            Some(own) if own["content"].get(MEDIA_TYPE).is_some() => join(own, common),
            _ => {
                responses.insert(status, common);
            }
        }
    }
    for (status, response) in responses.iter_mut() {
        add_headers(status, response);
        for example in problem_examples(response) {
            example["value"]["instance"] = INSTANCE.into();
        }
    }
}

/// The problem documents of a response.
fn problem_examples(response: &mut Value) -> impl Iterator<Item = &mut Value> {
    let content = response.get_mut("content");
    let media = content.and_then(|content| content.get_mut(MEDIA_TYPE));
    let examples = media.and_then(|media| media.get_mut("examples"));
    let examples = examples.and_then(Value::as_object_mut);
    examples.into_iter().flat_map(Map::values_mut)
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

/// Adds the refusals that are common to a shape to those of the operation itself.
fn join(own: &mut Value, mut common: Value) {
    let both = [&common, &*own].map(|response| {
        let text = response["description"].as_str().unwrap_or_default();
        text.trim_end_matches('.').to_owned()
    });
    own["description"] = format!("{}.", both.join("; ")).into();
    let examples = common["content"][MEDIA_TYPE]["examples"].take();
    let (Value::Object(examples), Some(own)) = (
        examples,
        own["content"][MEDIA_TYPE]["examples"].as_object_mut(),
    ) else {
        return;
    };
    for (name, example) in examples {
        own.entry(name).or_insert(example);
    }
}

fn add_headers(status: &str, response: &mut Value) {
    response["headers"]["X-Request-Id"] = json!({
        "description": "Names the request in logs.",
        "schema": {"type": "string"},
    });
    response["headers"]["traceparent"] = json!({
        "description": "The trace of the request (W3C Trace Context).",
        "schema": {"type": "string"},
    });
    if response["content"].get(MEDIA_TYPE).is_none() {
        return;
    }
    match status {
        "401" | "403" => {
            response["headers"]["WWW-Authenticate"] = json!({
                "description": "What to present (RFC 6750).",
                "schema": {"type": "string"},
            });
        }
        "429" | "503" => {
            response["headers"]["Retry-After"] = json!({
                "description": "After how many seconds to try again.",
                "schema": {"type": "integer"},
            });
        }
        _ => {}
    }
}

/// The refusals of what an operation takes: a key, a body, headers, a cursor.
fn refusals_of_shape(method: &str, operation: &Map<String, Value>) -> Vec<Problem> {
    let mut problems = vec![Problem::panicked()];
    let is_secured = operation["security"]
        .as_array()
        .is_some_and(|list| !list.is_empty());
    // Alipay posts no JSON and gets its own answers.
    if !is_secured {
        return problems;
    }
    problems.extend(refusals_of_callers(operation));
    // What only reads is never in doubt.
    if method != "get" {
        problems.push(Problem::in_doubt());
    }
    if operation.contains_key("requestBody") {
        problems.extend(refusals_of_bodies());
    }
    problems.push(Problem::new(
        Kind::InvalidQuery,
        "the parameter `wiat` is not a parameter of this operation",
    ));
    if takes(operation, "Idempotency-Key") {
        problems.extend([
            Problem::new(
                Kind::IdempotencyKeyRequired,
                "send an Idempotency-Key header that is new for each payment or refund and the same for each repeat",
            ),
            Problem::new(
                Kind::IdempotencyKeyInvalid,
                "the header must have one value of 1 to 255 visible ASCII characters",
            ),
        ]);
    }
    if takes(operation, "Prefer") {
        problems.push(Problem::new(
            Kind::PreferInvalid,
            "`wait` must be a whole number of seconds from 0 to 60",
        ));
    }
    if takes(operation, "If-Match") {
        problems.push(Problem::version_mismatch());
    }
    if takes(operation, "cursor") {
        problems.push(Problem::new(
            Kind::InvalidCursor,
            "send `next_cursor` exactly as it was answered",
        ));
    }
    problems
}

/// Whether an operation has a parameter of this name.
fn takes(operation: &Map<String, Value>, name: &str) -> bool {
    let parameters = operation.get("parameters").and_then(Value::as_array);
    let mut parameters = parameters.into_iter().flatten();
    parameters.any(|parameter| parameter["name"] == name)
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

fn scopes_of(operation: &Map<String, Value>) -> Vec<Scope> {
    let names = operation["security"][0]["api_key"].as_array();
    names
        .into_iter()
        .flatten()
        .filter_map(|name| Scope::from_name(name.as_str()?))
        .collect()
}

/// What every operation with a body refuses.
fn refusals_of_bodies() -> Vec<Problem> {
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
    ]
}
