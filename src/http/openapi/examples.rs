//! Whole requests and answers of a real run (`openapi/record_examples.py`), one for each operation and success.

use std::sync::LazyLock;

use serde_json::{Map, Value};

/// By operation: `request`, and `answers` by status.
static RECORDED: LazyLock<Value> = LazyLock::new(|| {
    let text = include_str!("../../../openapi/examples.json");
    serde_json::from_str(text).expect("the recorded examples are JSON")
});

/// Shows what an operation takes and answers.
pub(super) fn show(operation: &mut Map<String, Value>) {
    let recorded = operation["operationId"].as_str().map(|id| &RECORDED[id]);
    let Some(recorded) = recorded else {
        return;
    };
    if let Some(body) = operation.get_mut("requestBody") {
        put(body, &recorded["request"]);
    }
    let responses = operation.get_mut("responses");
    let responses = responses.and_then(Value::as_object_mut);
    for (status, response) in responses.into_iter().flatten() {
        put(response, &recorded["answers"][status]);
    }
}

fn put(place: &mut Value, example: &Value) {
    let content = place.get_mut("content");
    let media = content.and_then(|content| content.get_mut("application/json"));
    if let (Some(media), false) = (media, example.is_null()) {
        media["example"] = example.clone();
    }
}
