//! Every route.

use axum::{
    extract::DefaultBodyLimit,
    http::{HeaderValue, header},
    middleware,
};
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    HttpState, access, audit, barcodes, drain, extract::accept, follow_ups, health, merchants,
    metrics, notifications, openapi, payments, reconciliation, refunds, registrations,
};

/// Every documented route. A route exists because it is documented: `routes!` reads both from the
/// handler's one annotation.
pub fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::with_openapi(openapi::head::head())
        .merge(api())
        .merge(service())
        // Alipay's own: it takes no JSON and has no API key.
        .routes(routes!(notifications::receive))
        .routes(routes!(openapi::serve::serve))
        .routes(routes!(openapi::serve::serve_3_0))
}

/// For those who run the gateway.
pub fn service() -> OpenApiRouter<HttpState> {
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
        .routes(routes!(merchants::disable::disable))
        .routes(routes!(merchants::disable::enable))
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
