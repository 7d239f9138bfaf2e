//! The whole document, put together.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::{complete, examples, filters, operations::operations, schemas, shared::Shared, twin};
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
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas::prepare(schemas);
    }
    let mut shared = Shared::default();
    for (_, method, operation) in operations(&mut document) {
        complete::complete(&method, operation);
        filters::name(operation);
        examples::show(operation);
        shared.share(operation);
    }
    shared.add_to(&mut document["components"]);
    document
}

/// The document as it is served, printed and checked in.
pub fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", document()));
    &TEXT
}

/// The same document as OpenAPI 3.0.3, for generators that do not read 3.1.
pub fn text_3_0() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", twin::of(&document())));
    &TEXT
}
