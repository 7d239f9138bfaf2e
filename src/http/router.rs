//! Routes, and what every request passes through.

use std::any::Any;

use axum::{
    Router,
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
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::{
    HttpState, access, audit, barcodes, drain,
    extract::{accept, body::MAX_BODY_BYTES},
    follow_ups, health, merchants, metrics, notifications, openapi, payments,
    problem::{Kind, Problem},
    reconciliation, refunds, registrations, trace,
};

const CONTENT_TYPE_OPTIONS: HeaderName = HeaderName::from_static("x-content-type-options");

/// Every documented route. A route exists because it is documented: `routes!` reads both from the
/// handler's one annotation.
pub fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::with_openapi(openapi::base())
        .merge(api())
        .merge(service())
        // Alipay's own: it takes no JSON and has no API key.
        .routes(routes!(notifications::receive))
        .routes(routes!(openapi::serve))
}

/// For those who run the gateway.
fn service() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new()
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(metrics::metrics))
}

/// Version 1 of the REST surface.
fn api() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new()
        .routes(routes!(payments::create::create, payments::list::list))
        .routes(routes!(payments::read::read))
        .routes(routes!(payments::timeline::timeline))
        .routes(routes!(payments::cancel::cancel))
        .routes(routes!(payments::cancel::cancel_known))
        .routes(routes!(payments::reverse::reverse))
        .routes(routes!(payments::refresh::refresh))
        .routes(routes!(payments::resolve::resolve))
        .routes(routes!(
            refunds::create::create,
            refunds::list::list_of_payment
        ))
        .routes(routes!(refunds::list::list))
        .routes(routes!(refunds::read::read))
        .routes(routes!(refunds::refresh::refresh))
        .routes(routes!(refunds::resolve::resolve))
        .routes(routes!(follow_ups::schedule::list))
        .routes(routes!(follow_ups::schedule::run))
        .routes(routes!(follow_ups::schedule::snooze))
        .routes(routes!(follow_ups::schedule::abandon))
        .routes(routes!(follow_ups::unresolved::list))
        .routes(routes!(barcodes::inspect))
        .routes(routes!(registrations::read::list))
        .routes(routes!(
            registrations::register::register,
            registrations::read::read
        ))
        .routes(routes!(registrations::refresh::refresh))
        .routes(routes!(access::api_keys::create, access::api_keys::list))
        .routes(routes!(access::api_keys::read))
        .routes(routes!(access::api_keys::revoke))
        .routes(routes!(access::api_keys::rotate))
        .routes(routes!(
            merchants::merchant::create,
            merchants::merchant::list
        ))
        .routes(routes!(
            merchants::merchant::read,
            merchants::merchant::update
        ))
        .routes(routes!(merchants::merchant::disable))
        .routes(routes!(merchants::merchant::enable))
        .routes(routes!(merchants::stores::create, merchants::stores::list))
        .routes(routes!(merchants::stores::read, merchants::stores::update))
        .routes(routes!(audit::list))
        // Read piece by piece onto disk, so its limit is its own.
        .merge(
            OpenApiRouter::new()
                .routes(routes!(
                    reconciliation::import::create,
                    reconciliation::read::list
                ))
                .layer(DefaultBodyLimit::max(
                    reconciliation::import::MAX_IMPORT_BYTES,
                ))
                .layer(middleware::from_fn(drain::refused_body)),
        )
        .routes(routes!(reconciliation::read::read))
        .routes(routes!(reconciliation::differences::list))
        .routes(routes!(reconciliation::differences::acknowledge))
        .routes(routes!(reconciliation::csv::download))
        .routes(routes!(reconciliation::statement::print))
        .routes(routes!(merchants::partners::list))
        // Answers hold what only the caller may see, and are out of date at once.
        .layer(SetResponseHeaderLayer::if_not_present(
            header::CACHE_CONTROL,
            HeaderValue::from_static("no-store"),
        ))
        // Before the handler: a caller that will not take the answer must not start a payment.
        .layer(middleware::from_fn(accept::require))
}

/// The whole service.
pub fn router(state: HttpState) -> Router {
    let (documented, _) = routes().split_for_parts();
    // The reader's page for the document, from the binary itself.
    let docs = SwaggerUi::new("/docs").config(Config::from("/openapi.json"));
    wrap(documented.merge(docs), state)
}

/// Health and metrics alone, for a process that only works.
pub fn service_only(state: HttpState) -> Router {
    let (documented, _) = service().split_for_parts();
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
