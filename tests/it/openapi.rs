//! The checked-in OpenAPI document is the one the program serves.

use std::{
    fs,
    path::{Path, PathBuf},
};

use alipayhk_gateway::http::openapi;
use serde_json::Value;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/openapi.json");

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "UPDATE=1 is said to the test, not to the program"
)]
fn the_checked_in_document_is_current() {
    let current = openapi::document::text();
    if std::env::var("UPDATE").is_ok_and(|value| value == "1") {
        fs::write(PATH, current).expect("openapi/openapi.json is writable");
    }
    let checked_in = fs::read_to_string(PATH).expect("openapi/openapi.json is readable");
    assert!(
        checked_in == current,
        "openapi/openapi.json is out of date: run the tests with UPDATE=1 and commit the change"
    );
}

/// Routes are made by `routes!` alone, which reads path and method from the handler's annotation.
/// So the document and the router agree when nothing is routed in another way, and when each
/// annotated handler is among the operations (`docs/invariants.md` Q12).
#[test]
fn every_route_is_documented_and_every_documented_handler_is_routed() {
    let mut annotated = 0;
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http")) {
        let source = fs::read_to_string(&path).expect("a source file is readable");
        let source = source.split("#[cfg(test)]").next().unwrap_or_default();
        annotated += source.matches("#[utoipa::path(").count();
        for other_way in [".route(", ".route_service(", ".nest(", ".nest_service("] {
            let by_hand = source.contains(other_way);
            assert!(!by_hand, "{}: `{other_way}` hides a route", path.display());
        }
    }
    let document = openapi::document::document();
    let operations: usize = paths(&document).map(|(_, item)| item.len()).sum();
    assert_eq!(operations, annotated);
}

#[test]
fn every_operation_is_described_and_refuses_with_problems() {
    let document = openapi::document::document();
    for (path, item) in paths(&document) {
        for (method, operation) in item {
            let name = format!("{method} {path}");
            for needed in ["summary", "description", "operationId", "tags", "security"] {
                assert!(operation.get(needed).is_some(), "{name} has no {needed}");
            }
            let responses = operation["responses"].as_object().expect("an object");
            for (status, response) in responses {
                let described = response["description"]
                    .as_str()
                    .is_some_and(|d| !d.is_empty());
                assert!(described, "{name} {status}");
                let content = &response["content"];
                let problem = content.get("application/problem+json").is_some();
                // Alipay is answered in plain words, but for a panic.
                let plain = path.starts_with("/alipay/") && content.get("text/plain").is_some();
                assert_eq!(
                    problem,
                    status.as_str() >= "400" && !plain,
                    "{name} {status}"
                );
            }
        }
    }
}

/// Every source file below a directory, tests aside.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a source directory is readable");
    entries
        .map(|entry| entry.expect("an entry is readable").path())
        .filter(|path| !path.ends_with("tests.rs"))
        .flat_map(|path| {
            if path.is_dir() {
                sources(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

fn paths(document: &Value) -> impl Iterator<Item = (&String, &serde_json::Map<String, Value>)> {
    let paths = document["paths"].as_object().expect("an object");
    paths
        .iter()
        .map(|(path, item)| (path, item.as_object().expect("an object")))
}
