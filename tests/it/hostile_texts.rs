//! Texts that are written to deceive whoever reads them, in every field of every operation: refused, and
//! never repeated as they are, neither in an answer nor in a log, a row, or what Alipay is sent
//! (`docs/invariants.md` Q15).
//!
//! The fields come from the generated document. That no line of the log holds a control character is
//! looked at in every test (`support::leaks`).

use std::collections::BTreeSet;

use alipayhk_gateway::{
    domain::{access::principal::Scope, text::is_deceptive},
    http::openapi,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, header::HeaderValue};
use serde_json::{Map, Value, json};
use sqlx::PgPool;

use crate::{
    isolation::{Operation, Stage, guarded},
    support::{
        alipay::JsonBody as _,
        http::{Answer, Caller},
        leaks,
    },
};

/// A line of its own in a log or a head, colours of a terminal, the end of a C string, the older form of
/// the same, a text that reads backwards, and a line that only some see.
const HOSTILE: [&str; 6] = [
    "tea\r\nX-Paid: true",
    "tea\u{1b}[2J\u{1b}[31m",
    "tea\0milk",
    "tea\u{9b}31m",
    "tea\u{202e}kcab 000,1",
    "tea\u{2028}paid",
];

/// Whatever a schema refers to.
fn resolved<'d>(document: &'d Value, schema: &'d Value) -> &'d Value {
    let mut schema = schema;
    while let Some(name) = schema["$ref"].as_str() {
        let pointer = name.trim_start_matches('#');
        schema = document.pointer(pointer).expect("what is referred to");
    }
    schema
}

/// The places of texts in what a schema describes, as JSON pointers.
fn texts(document: &Value, schema: &Value, at: &str, found: &mut BTreeSet<String>) {
    let schema = resolved(document, schema);
    for word in ["oneOf", "anyOf", "allOf"] {
        for part in schema[word].as_array().into_iter().flatten() {
            texts(document, part, at, found);
        }
    }
    if schema["type"] == "string"
        || schema["type"]
            .as_array()
            .is_some_and(|types| types.contains(&json!("string")))
    {
        found.insert(at.to_owned());
    }
    for (name, part) in schema["properties"].as_object().into_iter().flatten() {
        texts(document, part, &format!("{at}/{name}"), found);
    }
    if schema["items"].is_object() {
        texts(document, &schema["items"], &format!("{at}/0"), found);
    }
    if schema["additionalProperties"].is_object() {
        texts(
            document,
            &schema["additionalProperties"],
            &format!("{at}/note"),
            found,
        );
    }
}

fn texts_of(document: &Value, operation: &Operation) -> BTreeSet<String> {
    let method = operation.method.as_str().to_lowercase();
    let body = &document["paths"][&operation.path][method]["requestBody"];
    let mut found = BTreeSet::new();
    texts(
        document,
        &body["content"]["application/json"]["schema"],
        "",
        &mut found,
    );
    found
}

fn takes_json(document: &Value, operation: &Operation) -> bool {
    let method = operation.method.as_str().to_lowercase();
    let body = &document["paths"][&operation.path][method]["requestBody"];
    body["content"]["application/json"].is_object()
}

/// The body with a text at a place, whether or not there was anything.
fn with(mut body: Value, pointer: &str, text: &str) -> Value {
    let mut here = &mut body;
    for part in pointer.split('/').skip(1) {
        if part == "0" {
            if !here.is_array() {
                *here = json!([null]);
            }
            here = &mut here[0];
        } else {
            if !here.is_object() {
                *here = Value::Object(Map::new());
            }
            here = &mut here[part];
        }
    }
    *here = json!(text);
    body
}

/// Fails where an answer is no refusal, or repeats a character that deceives. `serde_json` reads escapes
/// back, so this is about what a reader of the document sees, however it was written.
fn assert_refused(answer: &Answer, what: &str) {
    assert_shows_none(answer, what);
    // What is wrong with a code is the answer to this question.
    if what.starts_with("POST /v1/barcodes/inspect /barcode") {
        assert_eq!(answer.body["acceptable"], false, "{answer:?}");
        return;
    }
    assert!((400..500).contains(&answer.status), "{what}: {answer:?}");
    assert_eq!(
        answer.header("content-type"),
        "application/problem+json",
        "{what}"
    );
}

fn assert_shows_none(answer: &Answer, what: &str) {
    fn shows(value: &Value) -> bool {
        match value {
            Value::String(text) => text.chars().any(is_deceptive),
            Value::Array(items) => items.iter().any(shows),
            Value::Object(members) => members
                .iter()
                .any(|(name, value)| name.chars().any(is_deceptive) || shows(value)),
            _ => false,
        }
    }
    assert!(!shows(&answer.body), "{what}: {answer:?}");
    for (name, value) in &answer.headers {
        let text = String::from_utf8_lossy(value.as_bytes());
        assert!(!text.chars().any(is_deceptive), "{what}: {name}");
    }
}

/// The callers who may ask everything: some operations are the operator's alone, some a merchant's.
struct Callers {
    owner: Caller,
    operator: Caller,
}

impl Callers {
    fn of(&self, operation: &Operation) -> &Caller {
        if operation.is_merchants() {
            &self.owner
        } else {
            &self.operator
        }
    }
}

async fn ask(operation: &Operation, caller: &Caller, path: &str, body: &Value) -> Answer {
    let request = caller
        .request(operation.method.clone(), path)
        .header("idempotency-key", "hostile-1");
    Caller::send(if body.is_null() {
        request
    } else {
        request.json_body(body)
    })
    .await
}

/// Q15: no field takes a text with a control character, and no answer repeats it.
#[sqlx::test]
async fn q15_no_field_of_any_operation_takes_a_control_character(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let callers = Callers {
        owner: stage.owner.clone(),
        operator: stage.world.overseer(&Scope::OF_OPERATOR).await,
    };
    let document = openapi::document::document();
    let rows = stage.world.rows().await;
    let sent = stage.world.simulator.requests().await.len();
    let mut tried = 0;
    for operation in guarded() {
        let path = operation.path_of(&stage.subject);
        let caller = callers.of(&operation);
        for pointer in texts_of(&document, &operation) {
            for hostile in HOSTILE {
                let body = with(operation.body(), &pointer, hostile);
                let answer = ask(&operation, caller, &path, &body).await;
                let what = format!("{} {pointer} {hostile:?}", operation.name());
                assert_refused(&answer, &what);
                tried += 1;
            }
        }
        if takes_json(&document, &operation) {
            // As the name of a field, of which the problem speaks.
            for hostile in HOSTILE {
                let mut body = operation.body();
                body[hostile] = json!("tea");
                let answer = ask(&operation, caller, &path, &body).await;
                assert_refused(&answer, &format!("{} {hostile:?}", operation.name()));
            }
        }
    }
    assert!(tried > 200, "{tried}");
    assert_eq!(stage.world.rows().await, rows, "nothing was stored");
    assert_eq!(
        stage.world.simulator.requests().await.len(),
        sent,
        "nothing was sent"
    );
    finish(stage).await;
}

/// Q15: nor does a query, a path or a header.
#[sqlx::test]
async fn q15_no_query_path_or_header_brings_a_control_character_in(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let callers = Callers {
        owner: stage.owner.clone(),
        operator: stage.world.overseer(&Scope::OF_OPERATOR).await,
    };
    let document = openapi::document::document();
    let mut tried = 0;
    for operation in guarded() {
        let path = operation.path_of(&stage.subject);
        let caller = callers.of(&operation);
        let method = operation.method.as_str().to_lowercase();
        let parameters = &document["paths"][&operation.path][method]["parameters"];
        let names: Vec<&str> = parameters
            .as_array()
            .into_iter()
            .flatten()
            .filter(|parameter| parameter["in"] == "query")
            .filter_map(|parameter| parameter["name"].as_str())
            .chain(["oops"])
            .collect();
        for hostile in HOSTILE {
            let encoded = utf8_percent_encode(hostile, NON_ALPHANUMERIC).to_string();
            for name in &names {
                let path = format!("{path}?{name}={encoded}");
                let answer = ask(&operation, caller, &path, &operation.body()).await;
                assert_refused(&answer, &format!("{} {path}", operation.name()));
                tried += 1;
            }
            let strange = format!("{path}?{encoded}=1");
            let answer = ask(&operation, caller, &strange, &operation.body()).await;
            assert_refused(&answer, &format!("{} {strange}", operation.name()));
            if let Some((start, _)) = operation.path.split_once('{') {
                for rest in ["", "/stores/ST01", "/stores/%00", "/differences"] {
                    let path = format!("{start}{encoded}{rest}");
                    let answer = ask(&operation, caller, &path, &operation.body()).await;
                    assert_refused(&answer, &format!("{} {path}", operation.name()));
                }
            }
        }
    }
    assert!(tried > 200, "{tried}");
    let merchant = stage.world.merchant_id;
    let store = format!("/v1/admin/merchants/{merchant}/stores/ST%0001");
    assert_refused(&callers.operator.get(&store).await, "a store of a path");
    // Bytes that a header may hold: the older control characters.
    for name in [
        "idempotency-key",
        "x-request-id",
        "prefer",
        "traceparent",
        "if-none-match",
        "accept",
    ] {
        let value = HeaderValue::from_bytes(b"tea\xc2\x9b31m").expect("a header takes it");
        let request = stage.owner.request(Method::GET, "/v1/payments");
        let answer = Caller::send(request.header(name, value)).await;
        assert_shows_none(&answer, name);
        assert!(answer.status < 500, "{name}: {answer:?}");
    }
    finish(stage).await;
}

/// Q15, Q8: a text without end is refused wherever it stands, and the gateway goes on.
#[sqlx::test]
async fn q15_no_field_of_any_operation_takes_a_text_without_end(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let callers = Callers {
        owner: stage.owner.clone(),
        operator: stage.world.overseer(&Scope::OF_OPERATOR).await,
    };
    let document = openapi::document::document();
    let rows = stage.world.rows().await;
    let (long, endless) = ("x".repeat(60 * 1024), "x".repeat(10 * 1024 * 1024));
    for operation in guarded() {
        let path = operation.path_of(&stage.subject);
        let caller = callers.of(&operation);
        for pointer in texts_of(&document, &operation) {
            let what = format!("{} {pointer}", operation.name());
            let body = with(operation.body(), &pointer, &long);
            let answer = ask(&operation, caller, &path, &body).await;
            assert_refused(&answer, &what);
            let repeated = answer.body.to_string();
            assert!(repeated.len() < 4096, "{what}: {} bytes", repeated.len());
        }
        if takes_json(&document, &operation) {
            let body = json!({"name": endless});
            let request = caller
                .request(operation.method.clone(), &path)
                .header("idempotency-key", "hostile-1")
                .json_body(&body);
            // The connection may be closed before the client has read why.
            if let Ok(answer) = request.send().await {
                assert_eq!(answer.status().as_u16(), 413, "{}", operation.name());
            }
        }
    }
    assert_eq!(stage.world.rows().await, rows, "nothing was stored");
    finish(stage).await;
}

/// Ends the test: no row holds such a character either.
async fn finish(stage: Stage) {
    let dump = leaks::dump(&stage.world.pool).await;
    let strange = dump
        .chars()
        .filter(|c| *c != '\n')
        .find(|c| is_deceptive(*c));
    assert_eq!(strange, None, "in the database");
    stage.world.finish().await;
}
