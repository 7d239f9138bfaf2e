//! `GET /openapi.json`.

use axum::{
    Extension,
    http::header,
    response::{IntoResponse, Response},
};

/// The text of the document, which the router lays beside the requests: it names this handler too.
#[derive(Clone, Copy, Debug)]
pub struct Document(pub &'static str);

/// The OpenAPI document
///
/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "service",
    operation_id = "get_openapi",
    responses((status = 200, description = "This document (OpenAPI 3.1).", body = Object)),
)]
pub async fn serve(Extension(Document(text)): Extension<Document>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}
