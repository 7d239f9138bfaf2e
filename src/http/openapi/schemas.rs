//! What generators of clients need of the schemas: values that tell objects apart, branches with names.

use serde_json::{Map, Value, json};

/// The members that say what kind of thing an object is.
const TAGS: [&str; 2] = ["object", "type"];

/// Prepares every named schema.
pub(super) fn prepare(schemas: &mut Map<String, Value>) {
    for schema in schemas.values_mut() {
        each(schema, &mut name_kinds);
        each(schema, &mut name_items);
    }
    let names: Vec<String> = schemas.keys().cloned().collect();
    for name in names {
        tell_apart(schemas, &name);
    }
}

/// Walks a schema and all that are in it.
fn each(schema: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    let Some(schema) = schema.as_object_mut() else {
        return;
    };
    change(schema);
    let members = schema.get_mut("properties").and_then(Value::as_object_mut);
    for member in members.into_iter().flat_map(Map::values_mut) {
        each(member, change);
    }
    for composed in ["allOf", "oneOf"] {
        let parts = schema.get_mut(composed).and_then(Value::as_array_mut);
        for part in parts.into_iter().flatten() {
            each(part, change);
        }
    }
    if let Some(items) = schema.get_mut("items") {
        each(items, change);
    }
}

/// A member whose description says that it is always one value has that value alone.
fn name_kinds(schema: &mut Map<String, Value>) {
    let members = schema.get_mut("properties").and_then(Value::as_object_mut);
    for member in members.into_iter().flat_map(Map::values_mut) {
        let text = member["description"].as_str().unwrap_or_default();
        let value = text.strip_prefix("Always `");
        let value = value.and_then(|rest| rest.split_once('`'));
        if let (Some((value, _)), "string") = (value, member["type"].as_str().unwrap_or_default()) {
            member["enum"] = json!([value]);
        }
    }
}

/// What names the items of an array belongs to the items.
fn name_items(schema: &mut Map<String, Value>) {
    const NAMES: &str = "x-extensible-enum";
    if schema.contains_key("items")
        && let Some(names) = schema.remove(NAMES)
    {
        schema["items"][NAMES] = names;
    }
}

/// Branches are references to named schemas, each with a member that tells it from the others.
fn tell_apart(schemas: &mut Map<String, Value>, name: &str) {
    let Some(branches) = schemas[name]["oneOf"].as_array().cloned() else {
        return;
    };
    let references: Option<Vec<Value>> = branches
        .iter()
        .map(|branch| name_branch(schemas, branch))
        .collect();
    let Some(references) = references else {
        return;
    };
    let tagged = |tag: &str| -> Option<Map<String, Value>> {
        let pairs = references.iter().map(|reference| {
            let target = reference["$ref"].as_str()?;
            let schema = schemas.get(target.rsplit('/').next()?)?;
            match schema["properties"][tag]["enum"].as_array()?.as_slice() {
                [only] => Some((only.as_str()?.to_owned(), target.into())),
                _ => None,
            }
        });
        pairs.collect()
    };
    let found = TAGS.iter().find_map(|tag| Some((*tag, tagged(tag)?)));
    let Some((tag, mapping)) = found else {
        return;
    };
    schemas[name]["oneOf"] = references.into();
    schemas[name]["discriminator"] = json!({"propertyName": tag, "mapping": mapping});
}

/// The reference alone of a branch. What stands beside it in an `allOf` becomes part of what it refers to.
fn name_branch(schemas: &mut Map<String, Value>, branch: &Value) -> Option<Value> {
    let (target, more) = match branch["allOf"].as_array().map(Vec::as_slice) {
        Some([target, more]) => (target, Some(more)),
        _ => (branch, None),
    };
    let target = target["$ref"].as_str()?;
    let schema = schemas.get_mut(target.rsplit('/').next()?)?;
    let more = more.and_then(|more| more["properties"].as_object());
    for (name, member) in more.into_iter().flatten() {
        schema["properties"][name] = member.clone();
        if let Some(required) = schema["required"].as_array_mut() {
            required.insert(0, name.as_str().into());
        }
    }
    Some(json!({"$ref": target}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_are_named_and_told_apart() {
        let mut schemas = json!({
            "Call": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}},
            "Item": {"oneOf": [{"allOf": [
                {"$ref": "#/components/schemas/Call", "description": "A call."},
                {"type": "object", "required": ["type"], "properties": {"type": {"type": "string", "enum": ["call"]}}},
            ]}]},
        });
        let schemas = schemas.as_object_mut().expect("an object");
        prepare(schemas);
        assert_eq!(
            schemas["Item"],
            json!({
                "oneOf": [{"$ref": "#/components/schemas/Call"}],
                "discriminator": {"propertyName": "type", "mapping": {"call": "#/components/schemas/Call"}},
            })
        );
        assert_eq!(schemas["Call"]["required"], json!(["type", "id"]));
        assert_eq!(
            schemas["Call"]["properties"]["type"]["enum"],
            json!(["call"])
        );
    }

    #[test]
    fn a_kind_has_one_value_and_names_of_items_are_the_items() {
        let mut schemas = json!({"Health": {"type": "object", "properties": {
            "status": {"type": "string", "description": "Always `ok`; nothing else."},
            "degraded": {"type": "array", "items": {"type": "string"}, "x-extensible-enum": ["a"]},
        }}});
        prepare(schemas.as_object_mut().expect("an object"));
        let members = &schemas["Health"]["properties"];
        assert_eq!(members["status"]["enum"], json!(["ok"]));
        assert_eq!(
            members["degraded"],
            json!({"type": "array", "items": {"type": "string", "x-extensible-enum": ["a"]}})
        );
    }
}
