//! Whoever wrote a client by the last released document goes on with this one: nothing it relies on is gone, and nothing new is demanded.
//!
//! `openapi/released/openapi.json` is the document of the last release. A release puts its own there; nothing else does. A change that breaks
//! on purpose is a new major version, with its entry in `CHANGELOG.md`.

use std::{collections::BTreeSet, fs};

use alipayhk_gateway::http::openapi;
use serde_json::{Map, Value, json};

const RELEASED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/released/openapi.json");

#[test]
fn nothing_that_a_client_of_the_last_release_relies_on_has_changed() {
    let text = fs::read_to_string(RELEASED).expect("the released document is readable");
    let released = serde_json::from_str(&text).expect("the released document is JSON");
    let broken = breaks(&released, &openapi::document::document());
    assert!(
        broken.is_empty(),
        "clients of the last release would break:\n{}",
        broken.join("\n")
    );
}

#[test]
fn each_kind_of_break_is_found_and_growth_is_none() {
    let base = small_document();
    let operation = "/paths/~1a/post";
    let (request, answer) = ("/components/schemas/R", "/components/schemas/A");
    for (pointer, name, value) in [
        ("/paths", "/a", Value::Null),
        ("/paths/~1a", "post", Value::Null),
        (operation, "operationId", json!("do_b")),
        (
            operation,
            "security",
            json!([{"api_key": ["payments:write", "admin"]}]),
        ),
        (operation, "parameters", json!([])),
        (
            &format!("{operation}/parameters/0"),
            "required",
            json!(true),
        ),
        (
            &format!("{operation}/parameters/0/schema"),
            "enum",
            json!(["x"]),
        ),
        (&format!("{operation}/responses"), "200", Value::Null),
        (request, "required", json!(["n", "s"])),
        (&format!("{request}/properties"), "s", Value::Null),
        (&format!("{request}/properties/s"), "type", json!("string")),
        (&format!("{request}/properties/s"), "maxLength", json!(4)),
        (&format!("{request}/properties/s"), "pattern", json!("^b")),
        (&format!("{request}/properties/n"), "maximum", json!(9)),
        (&format!("{request}/properties/n"), "minimum", json!(2)),
        (answer, "required", json!(["id"])),
        (&format!("{answer}/properties"), "id", Value::Null),
        (
            &format!("{answer}/properties/id"),
            "type",
            json!(["string", "null"]),
        ),
        (
            &format!("{answer}/properties/list/items"),
            "type",
            json!("integer"),
        ),
        (
            &format!("{answer}/properties/one/discriminator"),
            "mapping",
            json!({}),
        ),
    ] {
        assert_ne!(
            breaks(&base, &with(&base, pointer, name, value)),
            [""; 0],
            "{pointer} {name}"
        );
    }
    for (pointer, name, value) in [
        ("/paths", "/b", json!({})),
        (
            &format!("{operation}/parameters/0/schema"),
            "enum",
            json!(["x", "y", "z"]),
        ),
        (&format!("{operation}/responses"), "202", json!({})),
        (
            &format!("{request}/properties"),
            "more",
            json!({"type": "string"}),
        ),
        (&format!("{request}/properties/n"), "maximum", json!(11)),
        (
            &format!("{answer}/properties"),
            "more",
            json!({"type": "string"}),
        ),
        (
            &format!("{answer}/properties/list/items"),
            "type",
            json!("string"),
        ),
    ] {
        assert_eq!(
            breaks(&base, &with(&base, pointer, name, value)),
            [""; 0],
            "{pointer} {name}"
        );
    }
}

/// A document with one of everything that is compared.
fn small_document() -> Value {
    json!({
        "paths": {"/a": {"post": {
            "operationId": "do_a",
            "security": [{"api_key": ["payments:write"]}],
            "parameters": [{"name": "q", "in": "query", "schema": {"type": "string", "enum": ["x", "y"]}}],
            "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/R"}}}},
            "responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/A"}}}}},
        }}},
        "components": {"schemas": {
            "R": {"type": "object", "required": ["n"], "properties": {
                "n": {"type": "integer", "minimum": 1, "maximum": 10},
                "s": {"type": ["string", "null"], "maxLength": 5, "pattern": "^a"},
            }},
            "A": {"type": "object", "required": ["id", "list"], "properties": {
                "id": {"type": "string"},
                "list": {"type": "array", "items": {"type": ["string", "null"]}},
                "one": {"oneOf": [{"$ref": "#/components/schemas/R"}], "discriminator": {"mapping": {"r": "#/components/schemas/R"}}},
            }},
        }},
    })
}

/// The document with one member set, or taken away.
fn with(document: &Value, pointer: &str, name: &str, value: Value) -> Value {
    let mut document = document.clone();
    let place = document.pointer_mut(pointer).expect("a place");
    let place = place.as_object_mut().expect("an object");
    if value.is_null() {
        place.remove(name);
    } else {
        place.insert(name.to_owned(), value);
    }
    document
}

/// What a client sends, or reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Sent,
    Read,
}

/// Everything by which a client of the older document breaks.
fn breaks(older: &Value, newer: &Value) -> Vec<String> {
    let mut comparison = Comparison {
        older,
        newer,
        found: vec![],
        seen: BTreeSet::new(),
    };
    for (path, item) in members(&older["paths"]) {
        for (method, operation) in members(item) {
            let name = format!("{} {path}", method.to_uppercase());
            match newer["paths"].get(path).and_then(|item| item.get(method)) {
                Some(other) => comparison.operations(&name, operation, other),
                None => comparison.found.push(format!("{name} is gone")),
            }
        }
    }
    comparison.found
}

struct Comparison<'d> {
    older: &'d Value,
    newer: &'d Value,
    found: Vec<String>,
    /// Named schemas that were compared, which may refer to themselves.
    seen: BTreeSet<(String, Way)>,
}

impl<'d> Comparison<'d> {
    fn note(&mut self, at: &str, what: &str) {
        self.found.push(format!("{at}: {what}"));
    }

    fn operations(&mut self, name: &str, older: &'d Value, newer: &'d Value) {
        if older["operationId"] != newer["operationId"] {
            self.note(
                name,
                "the operationId, by which generators name it, is another",
            );
        }
        let scopes = |operation: &Value| strings(&operation["security"][0]["api_key"]);
        if !scopes(newer).is_subset(&scopes(older)) {
            self.note(name, "it needs more scopes");
        }
        let find = |list: &'d Value, like: &Value| -> Option<&'d Value> {
            let mut list = list.as_array().into_iter().flatten();
            list.find(|one| one["name"] == like["name"] && one["in"] == like["in"])
        };
        for parameter in older["parameters"].as_array().into_iter().flatten() {
            let at = format!("{name} {}", parameter["name"]);
            match find(&newer["parameters"], parameter) {
                Some(other) => self.schemas(&at, Way::Sent, &parameter["schema"], &other["schema"]),
                None => self.note(&at, "it is gone"),
            }
        }
        for parameter in newer["parameters"].as_array().into_iter().flatten() {
            let was_demanded =
                find(&older["parameters"], parameter).is_some_and(|one| one["required"] == true);
            if parameter["required"] == true && !was_demanded {
                self.note(&format!("{name} {}", parameter["name"]), "it is demanded");
            }
        }
        for (media, body) in members(&older["requestBody"]["content"]) {
            let other = &newer["requestBody"]["content"][media]["schema"];
            self.schemas(
                &format!("{name} request"),
                Way::Sent,
                &body["schema"],
                other,
            );
        }
        for (status, response) in members(&older["responses"]) {
            let Some(other) = newer["responses"].get(status) else {
                if status.starts_with('2') {
                    self.note(&format!("{name} {status}"), "it is answered no more");
                }
                continue;
            };
            let (response, other) = (followed(self.older, response), followed(self.newer, other));
            for (media, body) in members(&response["content"]) {
                let other = &other["content"][media]["schema"];
                self.schemas(
                    &format!("{name} {status}"),
                    Way::Read,
                    &body["schema"],
                    other,
                );
            }
        }
    }

    fn schemas(&mut self, at: &str, way: Way, older: &'d Value, newer: &'d Value) {
        if let Some(name) = older["$ref"].as_str()
            && !self.seen.insert((name.to_owned(), way))
        {
            return;
        }
        let (older, newer) = (followed(self.older, older), followed(self.newer, newer));
        let (kinds, other_kinds) = (strings(&older["type"]), strings(&newer["type"]));
        let fits = match way {
            Way::Sent => kinds.is_subset(&other_kinds),
            Way::Read => other_kinds.is_subset(&kinds),
        };
        if !fits {
            self.note(at, &format!("it was {kinds:?} and is {other_kinds:?}"));
        }
        let (names, other_names) = (strings(&older["enum"]), strings(&newer["enum"]));
        let is_narrower = match way {
            Way::Sent => !other_names.is_empty() && !names.is_subset(&other_names),
            Way::Read => !names.is_empty() && !other_names.is_subset(&names),
        };
        if is_narrower {
            self.note(at, "its values are others");
        }
        if way == Way::Sent {
            self.bounds(at, older, newer);
        }
        let (demanded, promised) = (strings(&older["required"]), strings(&newer["required"]));
        let (more, what) = match way {
            Way::Sent => (
                promised.difference(&demanded).collect::<Vec<_>>(),
                "is demanded",
            ),
            Way::Read => (demanded.difference(&promised).collect(), "may be left out"),
        };
        for name in more {
            self.note(at, &format!("`{name}` {what}"));
        }
        for (name, member) in members(&older["properties"]) {
            let at = format!("{at}/{name}");
            match newer["properties"].get(name) {
                Some(other) => self.schemas(&at, way, member, other),
                None => self.note(&at, "it is gone"),
            }
        }
        if let Some(items) = older.get("items") {
            self.schemas(&format!("{at}[]"), way, items, &newer["items"]);
        }
        for (name, branch) in members(&older["discriminator"]["mapping"]) {
            if newer["discriminator"]["mapping"].get(name) != Some(branch) {
                self.note(at, &format!("the branch `{name}` is gone, or another"));
            }
        }
        for list in ["oneOf", "allOf"] {
            for part in older[list].as_array().into_iter().flatten() {
                let mut others = newer[list].as_array().into_iter().flatten();
                let other = others
                    .find(|other| other["$ref"] == part["$ref"] && other["type"] == part["type"]);
                match other {
                    Some(other) => self.schemas(at, way, part, other),
                    None => self.note(at, &format!("a part of it is gone: {part}")),
                }
            }
        }
    }

    /// What was taken is taken still.
    fn bounds(&mut self, at: &str, older: &Value, newer: &Value) {
        let number = |schema: &Value, name: &str| schema[name].as_i64();
        for (name, is_upper) in [
            ("maximum", true),
            ("maxLength", true),
            ("maxItems", true),
            ("minimum", false),
            ("minLength", false),
            ("minItems", false),
        ] {
            let narrower = match (number(older, name), number(newer, name)) {
                (Some(was), Some(is)) => {
                    if is_upper {
                        is < was
                    } else {
                        is > was
                    }
                }
                (None, Some(_)) => true,
                (_, None) => false,
            };
            if narrower {
                self.note(at, &format!("`{name}` is narrower"));
            }
        }
        if newer.get("pattern").is_some() && older["pattern"] != newer["pattern"] {
            self.note(at, "its form is another");
        }
    }
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

/// One string, or several.
fn strings(value: &Value) -> BTreeSet<String> {
    let one = value.as_str().into_iter();
    let several = value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    one.chain(several).map(str::to_owned).collect()
}

/// What a reference refers to, or the value itself.
fn followed<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    match value["$ref"]
        .as_str()
        .and_then(|target| target.strip_prefix('#'))
    {
        Some(pointer) => document.pointer(pointer).unwrap_or(value),
        None => value,
    }
}
