//! The document as OpenAPI 3.0.3, for generators that do not read 3.1.

use serde_json::{Map, Value, json};

use super::operations::operations;

/// The same document in the older version.
pub(super) fn of(document: &Value) -> Value {
    let mut twin = document.clone();
    twin["openapi"] = "3.0.3".into();
    let schemas = twin["components"]["schemas"].as_object_mut();
    for schema in schemas.into_iter().flat_map(Map::values_mut) {
        older(schema);
    }
    // There, a license has an address or nothing beside its name.
    if let Some(license) = twin["info"]["license"].as_object_mut() {
        license.remove("identifier");
        license.insert(
            "url".to_owned(),
            "https://www.apache.org/licenses/LICENSE-2.0".into(),
        );
    }
    for (_, _, operation) in operations(&mut twin) {
        without_scopes(operation);
        let parameters = operation.get_mut("parameters");
        let parameters = parameters.and_then(Value::as_array_mut);
        for parameter in parameters.into_iter().flatten() {
            older(&mut parameter["schema"]);
        }
        for place in ["requestBody", "responses"] {
            if let Some(place) = operation.get_mut(place) {
                older_contents(place);
            }
        }
    }
    let components = twin["components"].as_object_mut();
    for (kind, component) in components.into_iter().flatten() {
        if kind == "responses" {
            older_contents(component);
        }
    }
    twin
}

/// Bearer tokens have no scopes there: they are named beside.
fn without_scopes(operation: &mut Map<String, Value>) {
    let ways = operation.get_mut("security").and_then(Value::as_array_mut);
    let mut scopes = None;
    for way in ways.into_iter().flatten() {
        for wanted in way.as_object_mut().into_iter().flat_map(Map::values_mut) {
            scopes = Some(wanted.take());
            *wanted = json!([]);
        }
    }
    if let Some(scopes) = scopes {
        operation.insert("x-required-scopes".to_owned(), scopes);
    }
}

/// The schemas of bodies, wherever in `place` they are.
fn older_contents(place: &mut Value) {
    let Some(members) = place.as_object_mut() else {
        return;
    };
    for (name, member) in members {
        if name == "content" {
            for media in member.as_object_mut().into_iter().flat_map(Map::values_mut) {
                older(&mut media["schema"]);
            }
        } else if name != "headers" && name != "examples" {
            older_contents(member);
        }
    }
}

/// A schema and all that are in it.
fn older(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else {
        return;
    };
    schema.remove("propertyNames");
    let kinds = schema.get("type").and_then(Value::as_array).cloned();
    if let Some(kinds) = kinds {
        let named = kinds.into_iter().find(|kind| kind != "null");
        schema.insert("type".to_owned(), named.unwrap_or_default());
        schema.insert("nullable".to_owned(), true.into());
    }
    or_null(schema);
    // Nothing may stand beside a reference.
    if schema.len() > 1
        && let Some(reference) = schema.remove("$ref")
    {
        schema.insert("allOf".to_owned(), json!([{"$ref": reference}]));
    }
    let members = schema.get_mut("properties").and_then(Value::as_object_mut);
    members
        .into_iter()
        .flat_map(Map::values_mut)
        .for_each(older);
    for composed in ["allOf", "oneOf"] {
        let parts = schema.get_mut(composed).and_then(Value::as_array_mut);
        parts.into_iter().flatten().for_each(older);
    }
    for one in ["items", "additionalProperties"] {
        if let Some(one) = schema.get_mut(one) {
            older(one);
        }
    }
}

/// "This or null" is said by `nullable`.
fn or_null(schema: &mut Map<String, Value>) {
    let null = json!({"type": "null"});
    let branches = schema.get("oneOf").and_then(Value::as_array);
    let other = match branches.map(Vec::as_slice) {
        Some([a, b]) if *a == null => b.clone(),
        Some([a, b]) if *b == null => a.clone(),
        _ => return,
    };
    schema.remove("oneOf");
    schema.insert("allOf".to_owned(), json!([{"$ref": other["$ref"]}]));
    if let Some(text) = other.get("description") {
        schema.insert("description".to_owned(), text.clone());
    }
    schema.insert("type".to_owned(), "object".into());
    schema.insert("nullable".to_owned(), true.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_null_is_said_the_older_way() {
        for (newer, expected) in [
            (
                json!({"type": ["string", "null"], "format": "date"}),
                json!({"type": "string", "format": "date", "nullable": true}),
            ),
            (
                json!({"oneOf": [{"$ref": "#/x", "description": "An x."}, {"type": "null"}]}),
                json!({"type": "object", "nullable": true, "allOf": [{"$ref": "#/x"}], "description": "An x."}),
            ),
            (
                json!({"$ref": "#/x", "description": "An x."}),
                json!({"allOf": [{"$ref": "#/x"}], "description": "An x."}),
            ),
            (json!({"$ref": "#/x"}), json!({"$ref": "#/x"})),
            (
                json!({"type": "object", "properties": {"type": {"type": ["integer", "null"]}}}),
                json!({"type": "object", "properties": {"type": {"type": "integer", "nullable": true}}}),
            ),
        ] {
            let mut schema = newer;
            older(&mut schema);
            assert_eq!(schema, expected);
        }
    }
}
