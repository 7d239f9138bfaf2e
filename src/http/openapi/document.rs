//! The whole document, put together.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::complete;
use crate::{domain::access::principal::Scope, http::routes};

/// The whole document.
pub fn document() -> Value {
    let (_, openapi) = routes::routes().split_for_parts();
    let mut document =
        serde_json::to_value(openapi).expect("the document is made of strings, numbers and maps");
    let scopes = Scope::ALL.map(|scope| format!("`{}`", scope.as_str()));
    document["components"]["securitySchemes"] = json!({
        "api_key": {
            "type": "http",
            "scheme": "bearer",
            "description": format!(
                "An API key, made by `alipayhk-gateway api-key create`. Scopes: {}.",
                scopes.join(", "),
            ),
        },
        "access_token": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "Where an issuer is configured (`OIDC_ISSUER`): a signed JWT of it for this \
                service, with the same scopes in a claim and the merchant's id in another.",
        },
    });
    for (path, method, operation) in operations(&mut document) {
        complete::complete(&path, &method, operation);
    }
    document
}

/// The document as it is served, printed and checked in.
pub fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", document()));
    &TEXT
}

fn operations(document: &mut Value) -> Vec<(String, String, &mut Map<String, Value>)> {
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
