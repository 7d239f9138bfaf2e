//! The operations of a document.

use serde_json::{Map, Value};

/// Each operation with its path and method.
pub(super) fn operations(document: &mut Value) -> Vec<(String, String, &mut Map<String, Value>)> {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    paths
        .flat_map(|(path, item)| {
            let methods = item.as_object_mut().into_iter().flatten();
            methods.filter_map(|(method, operation)| {
                Some((path.clone(), method.clone(), operation.as_object_mut()?))
            })
        })
        .collect()
}
