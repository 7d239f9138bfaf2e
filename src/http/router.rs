//! What every request passes through.

use std::{any::Any, sync::LazyLock};

use axum::{
    Extension, Router,
    body::Body,
    extract::DefaultBodyLimit,
    http::{HeaderName, HeaderValue, Response, header},
    middleware,
    response::IntoResponse,
};
use tower_http::{
    catch_panic::CatchPanicLayer, sensitive_headers::SetSensitiveRequestHeadersLayer,
    set_header::SetResponseHeaderLayer,
};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::{
    HttpState,
    extract::body::MAX_BODY_BYTES,
    metrics,
    openapi::{
        document,
        serve::{Document, Documents},
    },
    problem::{Kind, Problem},
    routes, trace,
};

const CONTENT_TYPE_OPTIONS: HeaderName = HeaderName::from_static("x-content-type-options");

static CURRENT: LazyLock<Document> = LazyLock::new(|| Document::new(document::text()));
static OLDER: LazyLock<Document> = LazyLock::new(|| Document::new(document::text_3_0()));
const DOCUMENTS: Documents = Documents {
    current: &CURRENT,
    older: &OLDER,
};

/// The whole service.
pub fn router(state: HttpState) -> Router {
    let (documented, _) = routes::routes().split_for_parts();
    // The reader's page for the document, from the binary itself.
    let docs = SwaggerUi::new("/docs").config(Config::from("/openapi.json"));
    let documented = documented.layer(Extension(DOCUMENTS));
    wrap(documented.merge(docs), state)
}

/// Health and metrics alone, for a process that only works.
pub fn service_only(state: HttpState) -> Router {
    let (documented, _) = routes::service().split_for_parts();
    wrap(documented, state)
}

/// What every request passes through. The layers read from the handler outwards: the last one sees
/// a request first.
///
/// There is deliberately no timeout layer: it would drop a handler that waits for its payment.
fn wrap<S: Clone + Send + Sync + 'static>(routes: Router<S>, state: S) -> Router {
    routes
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        // A body is read whole into memory, so it has a limit; `extract::body` answers the 413.
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        // A panic is a 500 with a request id, so it stays inside what follows.
        .layer(CatchPanicLayer::custom(panicked))
        // Browsers must not guess at what an answer is.
        .layer(SetResponseHeaderLayer::overriding(
            CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ))
        // Counts what the client got, panics included.
        .layer(middleware::from_fn(metrics::track))
        // Names and logs the request, and writes the bodies of all problems made further in.
        .layer(middleware::from_fn(trace::observe))
        // Outermost: from here on nothing that prints headers prints this one.
        .layer(SetSensitiveRequestHeadersLayer::new([
            header::AUTHORIZATION,
        ]))
        .with_state(state)
}

async fn unknown_route() -> Problem {
    Problem::new(
        Kind::RouteNotFound,
        "there is nothing at this path; see /docs",
    )
}

/// The router itself adds the `Allow` header.
async fn wrong_method() -> Problem {
    Problem::new(
        Kind::MethodNotAllowed,
        "the Allow header lists the methods of this path",
    )
}

/// The panic itself was reported by the panic hook; its text is not for callers.
fn panicked(_: Box<dyn Any + Send + 'static>) -> Response<Body> {
    Problem::panicked().into_response()
}

#[cfg(test)]
mod tests;
