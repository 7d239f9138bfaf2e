//! The checked-in OpenAPI documents are those the program serves, and what generators of clients need of them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use alipayhk_gateway::http::openapi::{self, filters};
use serde_json::{Value, json};

/// Each document as it is checked in.
fn documents() -> [(&'static str, &'static str); 2] {
    [
        ("openapi/openapi.json", openapi::document::text()),
        ("openapi/openapi-3.0.json", openapi::document::text_3_0()),
    ]
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "UPDATE=1 is said to the test, not to the program"
)]
fn the_checked_in_documents_are_current() {
    for (name, current) in documents() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        if std::env::var("UPDATE").is_ok_and(|value| value == "1") {
            fs::write(&path, current).expect("the document is writable");
        }
        let checked_in = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            checked_in == current,
            "{name} is out of date: run the tests with UPDATE=1 and commit the change"
        );
    }
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
                let response = followed(&document, response);
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

/// Answers grow: whoever reads them must know which names may. A member that is one of our own names says all of
/// them, from the list of its enum.
#[test]
fn every_name_in_an_answer_is_one_of_a_list() {
    /// Words for people, and an id.
    const NO_NAMES: [&str; 4] = [
        "Problem.title",
        "PartnerRefusal.check",
        "Money.currency",
        "FieldFault.code",
    ];
    let document = openapi::document::document();
    let mut names = 0;
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http")) {
        let source = fs::read_to_string(&path).expect("a source file is readable");
        let (mut schema, mut shown_as, mut renamed) = (String::new(), None, None);
        for line in source.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix("#[schema(as = ") {
                shown_as = name.split(')').next().map(str::to_owned);
            }
            if let Some(name) = line.strip_prefix("#[serde(rename = \"") {
                renamed = name.split('"').next().map(str::to_owned);
            }
            if let Some(name) = line.strip_prefix("pub struct ") {
                let name = name.split([' ', '(', '<', ';']).next().unwrap_or_default();
                schema = shown_as.take().unwrap_or_else(|| name.to_owned());
            }
            let Some((member, kind)) = line
                .strip_prefix("pub ")
                .and_then(|line| line.split_once(": "))
            else {
                continue;
            };
            let member = renamed.take().unwrap_or_else(|| member.to_owned());
            if ![
                "&'static str,",
                "Option<&'static str>,",
                "Vec<&'static str>,",
            ]
            .contains(&kind)
            {
                continue;
            }
            let shown = schema.as_str();
            if NO_NAMES.contains(&format!("{shown}.{member}").as_str()) {
                continue;
            }
            let found = &document["components"]["schemas"][shown]["properties"][&member];
            let found = found.get("items").unwrap_or(found);
            let says = ["enum", "x-extensible-enum"].map(|list| found[list].as_array());
            assert!(
                says.iter().flatten().any(|list| !list.is_empty()),
                "{shown}.{member} ({})",
                path.display()
            );
            names += 1;
        }
    }
    assert!(names > 50, "only {names} were found");
}

#[test]
fn filters_and_requests_take_the_names_of_their_enums() {
    let document = openapi::document::document();
    for (operation, filter, names) in filters::FILTERS {
        let mut operations = paths(&document).flat_map(|(_, item)| item.values());
        let found = operations.find(|found| found["operationId"] == operation);
        let parameters = found.and_then(|found| found["parameters"].as_array());
        let parameter = parameters
            .into_iter()
            .flatten()
            .find(|found| found["name"] == filter);
        let parameter = parameter.unwrap_or_else(|| panic!("{operation} has no {filter}"));
        assert_eq!(
            parameter["schema"]["enum"],
            json!(names),
            "{operation} {filter}"
        );
    }
    for (name, schema) in schemas(&document) {
        assert!(
            !has_default(schema),
            "{name}: generators take a default for a member that is always there"
        );
    }
}

/// Recorded by a real run: `openapi/record_examples.py`. Whether each is valid is checked by `./dev clients`.
#[test]
fn every_request_and_success_shows_a_whole_example() {
    /// What takes a night, a second run or a large file to get.
    const NOT_SHOWN: [&str; 5] = [
        "create_reconciliation 202",
        "get_openapi 200",
        "get_openapi_3_0 200",
        "register_store 200",
        "resolve_refund 200",
    ];
    let document = openapi::document::document();
    let mut missing = vec![];
    for operation in paths(&document).flat_map(|(_, item)| item.values()) {
        let id = operation["operationId"].as_str().expect("a name");
        let responses = operation["responses"]
            .as_object()
            .expect("an object")
            .iter();
        let successes = responses.filter(|(status, _)| status.starts_with('2'));
        let places = successes.map(|(status, response)| (status.as_str(), response));
        for (name, place) in places.chain([("request", &operation["requestBody"])]) {
            let media = place["content"].get("application/json");
            if media.is_some_and(|media| media.get("example").is_none()) {
                missing.push(format!("{id} {name}"));
            }
        }
    }
    missing.retain(|name| name != "resolve_refund request");
    missing.sort();
    assert_eq!(missing, NOT_SHOWN);
}

/// A branch is read by the one member that names it; without names, and that member, generators drop it.
#[test]
fn branches_are_named_and_told_apart_by_one_member() {
    let document = openapi::document::document();
    let mut told_apart = vec![];
    for (name, schema) in schemas(&document) {
        let Some(branches) = schema["oneOf"].as_array() else {
            continue;
        };
        let tag = &schema["discriminator"]["propertyName"];
        let mapping = schema["discriminator"]["mapping"].as_object();
        let mapping =
            mapping.unwrap_or_else(|| panic!("{name} does not say what tells its branches apart"));
        assert_eq!(mapping.len(), branches.len(), "{name}");
        for (value, target) in mapping {
            assert!(
                branches.contains(&json!({"$ref": target})),
                "{name}: {value}"
            );
            let reference = json!({"$ref": target});
            let schema = followed(&document, &reference);
            let tag = tag.as_str().expect("a name");
            assert_eq!(
                schema["properties"][tag]["enum"],
                json!([value]),
                "{name}: {value}"
            );
        }
        told_apart.push(name.as_str());
    }
    assert_eq!(told_apart, ["CancelOutcome", "TimelineItem"]);
}

#[test]
fn no_schema_is_called_after_a_part_of_the_program() {
    for (name, _) in schemas(&openapi::document::document()) {
        for part in ["View", "Document", "Dto", "Body", "Made"] {
            assert!(!name.contains(part), "{name}");
        }
    }
}

#[test]
fn the_older_document_has_the_same_operations_and_nothing_of_the_newer_version() {
    let (document, older): (Value, Value) = (
        openapi::document::document(),
        serde_json::from_str(openapi::document::text_3_0()).expect("JSON"),
    );
    assert_eq!(older["openapi"], "3.0.3");
    let operations = |document: &Value| -> Vec<String> {
        paths(document)
            .flat_map(|(path, item)| item.keys().map(move |method| format!("{method} {path}")))
            .collect()
    };
    assert_eq!(operations(&document), operations(&older));
    let text = openapi::document::text_3_0();
    for newer in [
        "\"null\"",
        "\"propertyNames\"",
        "\"identifier\"",
        "\"const\"",
    ] {
        assert!(!text.contains(newer), "{newer}");
    }
}

fn has_default(schema: &Value) -> bool {
    schema.get("default").is_some()
        || schema["properties"]
            .as_object()
            .is_some_and(|members| members.values().any(has_default))
}

fn schemas(document: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let schemas = document["components"]["schemas"].as_object();
    schemas.expect("the document has schemas").iter()
}

/// What a reference refers to, or the value itself.
fn followed<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    match value["$ref"]
        .as_str()
        .and_then(|target| target.strip_prefix('#'))
    {
        Some(pointer) => document
            .pointer(pointer)
            .expect("the reference leads somewhere"),
        None => value,
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
