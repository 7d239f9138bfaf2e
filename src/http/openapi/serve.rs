//! `GET /openapi.json` and `GET /openapi-3.0.json`.

use std::sync::LazyLock;

use axum::{
    Extension,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest as _, Sha256};

use crate::http::extract::is_known;

/// A document as it is served.
#[derive(Debug)]
pub struct Document {
    text: &'static str,
    tag: String,
}

impl Document {
    /// A document with the tag of its content.
    pub fn new(text: &'static str) -> Self {
        let tag = format!("\"{}\"", hex::encode(&Sha256::digest(text)[..16]));
        Self { text, tag }
    }

    fn answer(&self, headers: &HeaderMap) -> Response {
        let tag = [(header::ETAG, self.tag.clone())];
        if is_known(headers, &self.tag) {
            return (StatusCode::NOT_MODIFIED, tag).into_response();
        }
        let kind = [(header::CONTENT_TYPE, "application/json")];
        (tag, kind, self.text).into_response()
    }
}

/// Both documents, made when first asked for. The router lays them beside the requests, since they name these
/// handlers too.
#[derive(Clone, Copy, Debug)]
pub struct Documents {
    /// OpenAPI 3.1.
    pub current: &'static LazyLock<Document>,
    /// The same as OpenAPI 3.0.3.
    pub older: &'static LazyLock<Document>,
}

/// The OpenAPI document
///
/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "service",
    operation_id = "get_openapi",
    params(("If-None-Match" = Option<String>, Header, description = "The `ETag` of the document that is known.")),
    responses(
        (status = 200, description = "This document (OpenAPI 3.1).", body = Object,
            headers(("ETag" = String, description = "Changes with the document."))),
        (status = 304, description = "The document is the known one.",
            headers(("ETag" = String, description = "Changes with the document."))),
    ),
)]
pub async fn serve(Extension(documents): Extension<Documents>, headers: HeaderMap) -> Response {
    documents.current.answer(&headers)
}

/// The OpenAPI 3.0 document
///
/// The same document for generators that do not read OpenAPI 3.1.
#[utoipa::path(
    get,
    path = "/openapi-3.0.json",
    tag = "service",
    operation_id = "get_openapi_3_0",
    params(("If-None-Match" = Option<String>, Header, description = "The `ETag` of the document that is known.")),
    responses(
        (status = 200, description = "The document (OpenAPI 3.0.3).", body = Object,
            headers(("ETag" = String, description = "Changes with the document."))),
        (status = 304, description = "The document is the known one.",
            headers(("ETag" = String, description = "Changes with the document."))),
    ),
)]
pub async fn serve_3_0(Extension(documents): Extension<Documents>, headers: HeaderMap) -> Response {
    documents.older.answer(&headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_document_gets_it_not_again() {
        let document = Document::new("{}");
        let ask = |tags: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(tags) = tags {
                let tags = tags.parse().expect("a header's value");
                headers.insert(header::IF_NONE_MATCH, tags);
            }
            document.answer(&headers)
        };
        let answer = ask(None);
        assert_eq!(answer.status(), StatusCode::OK);
        let tag = answer.headers()[header::ETAG].to_str().expect("text");
        assert_eq!(ask(Some(tag)).status(), StatusCode::NOT_MODIFIED);
        let among = format!("\"other\", {tag}");
        assert_eq!(ask(Some(&among)).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(ask(Some("*")).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(ask(Some("\"other\"")).status(), StatusCode::OK);
        assert_eq!(
            Document::new("[]").tag,
            "\"4f53cda18c2baa0c0354bb5f9a3ecbe5\""
        );
    }
}
