//! What many operations have, once: headers, examples of refusals, and whole refusals become components.

use serde_json::{Map, Value, json};

use crate::http::problem::MEDIA_TYPE;

/// The headers that mean the same wherever they are.
const HEADERS: [&str; 3] = ["X-Request-Id", "traceparent", "WWW-Authenticate"];

/// Collects components while operations are read.
#[derive(Debug, Default)]
pub(super) struct Shared {
    headers: Map<String, Value>,
    examples: Map<String, Value>,
    responses: Map<String, Value>,
}

impl Shared {
    /// Puts references in the place of what an operation shares with others. Where the same name stands for
    /// something else, it stays as it is.
    pub(super) fn share(&mut self, operation: &mut Map<String, Value>) {
        let responses = operation.get_mut("responses");
        let responses = responses.and_then(Value::as_object_mut);
        for response in responses.into_iter().flat_map(Map::values_mut) {
            self.share_headers(response);
            let Some(name) = self.share_examples(response) else {
                continue;
            };
            refer(&mut self.responses, "responses", &name, response);
        }
    }

    /// Adds the components to the document.
    pub(super) fn add_to(self, components: &mut Value) {
        components["headers"] = self.headers.into();
        components["examples"] = self.examples.into();
        components["responses"] = self.responses.into();
    }

    fn share_headers(&mut self, response: &mut Value) {
        let is_refusal = response["content"].get(MEDIA_TYPE).is_some();
        let headers = response.get_mut("headers").and_then(Value::as_object_mut);
        for (name, header) in headers.into_iter().flatten() {
            // After a success it says when to read again, differently for each operation.
            if HEADERS.contains(&name.as_str()) || (name == "Retry-After" && is_refusal) {
                refer(&mut self.headers, "headers", name, header);
            }
        }
    }

    /// The name of a refusal all of whose examples are shared: those of its examples.
    fn share_examples(&mut self, response: &mut Value) -> Option<String> {
        let content = response.get_mut("content")?;
        let examples = content.get_mut(MEDIA_TYPE)?.get_mut("examples")?;
        let mut names = vec![];
        for (name, example) in examples.as_object_mut()? {
            names.push(refer(&mut self.examples, "examples", name, example).then(|| name.clone()));
        }
        let names: Option<Vec<String>> = names.into_iter().collect();
        Some(names?.join("."))
    }
}

/// Makes `value` a reference to the component of this name, unless that is another. Says whether it did.
fn refer(components: &mut Map<String, Value>, kind: &str, name: &str, value: &mut Value) -> bool {
    let component = components.entry(name).or_insert_with(|| value.clone());
    let is_same = component == value;
    if is_same {
        *value = json!({"$ref": format!("#/components/{kind}/{name}")});
    }
    is_same
}
