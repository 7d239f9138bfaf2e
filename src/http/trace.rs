//! One request id, one span and one wide log event per request; also the place where problems get
//! their bodies.
//!
//! The event goes to the target `http.access` and names the route template, never the path or the
//! query, which a caller may have filled with a scanned code. Bodies and the `Authorization` header
//! are never logged (`docs/invariants.md` Q14, Q15).

use std::{
    borrow::Cow,
    convert::Infallible,
    sync::{Arc, OnceLock},
    time::Instant,
};

use axum::{
    Json,
    body::{Body, HttpBody},
    extract::{FromRequestParts, MatchedPath, Request},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request::Parts,
    },
    middleware::Next,
    response::IntoResponse,
};
use opentelemetry::{
    global,
    propagation::{Extractor, Injector},
    trace::TraceContextExt,
};
use tracing::{Instrument, Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use uuid::Uuid;

use super::problem::{MEDIA_TYPE, Problem, without_codes};
use crate::domain::id::{ApiKeyId, PaymentId, RefundId};

/// The header that names a request in logs and problem documents.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Marks an answer that leaves as it is, whatever its status: its reader is not one of ours and looks
/// for fixed words, so it becomes no problem document.
#[derive(Clone, Copy, Debug)]
pub struct Verbatim;

/// The label of requests that no route matched.
pub const UNMATCHED: &str = "unmatched";

/// What handlers learn and the wide event shows.
#[derive(Clone, Debug, Default)]
pub struct RequestContext(Arc<FactsInner>);

#[derive(Debug, Default)]
struct FactsInner {
    request_id: String,
    api_key: OnceLock<ApiKeyId>,
    payment: OnceLock<PaymentId>,
    refund: OnceLock<RefundId>,
}

impl RequestContext {
    fn of_request(request_id: &str) -> Self {
        Self(Arc::new(FactsInner {
            request_id: request_id.to_owned(),
            ..FactsInner::default()
        }))
    }

    /// What names the request in logs, problems and the audit log; empty without the middleware.
    pub fn request_id(&self) -> &str {
        &self.0.request_id
    }

    /// The caller is known. The first call counts.
    pub fn learn_api_key(&self, id: ApiKeyId) {
        self.0.api_key.get_or_init(|| id);
    }

    /// The payment is known. The first call counts.
    pub fn learn_payment(&self, id: PaymentId) {
        self.0.payment.get_or_init(|| id);
    }

    /// The refund is known. The first call counts.
    pub fn learn_refund(&self, id: RefundId) {
        self.0.refund.get_or_init(|| id);
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Infallible;

    /// The facts of this request; without the middleware, facts that nobody reads.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

/// The route template of a request, for labels and logs.
pub fn route_of(request: &Request) -> String {
    request
        .extensions()
        .get::<MatchedPath>()
        .map_or(UNMATCHED, MatchedPath::as_str)
        .to_owned()
}

/// The method as a label: methods are the caller's to invent, labels are not.
pub fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// The middleware: names the request, follows it in a span, completes its problem, logs it.
pub async fn observe(mut request: Request, next: Next) -> Response<Body> {
    let observed = Observed::start(&mut request);
    let instance = request.uri().path().to_owned();
    let response = next.run(request).instrument(observed.span.clone()).await;
    observed.finish(response, &instance)
}

/// A request under way. Dropped before [`Observed::finish`] when the client hangs up, since the
/// server then drops the handler's future; that is logged too.
struct Observed {
    span: Span,
    request_id: String,
    method: &'static str,
    route: String,
    facts: RequestContext,
    started: Instant,
    finished: bool,
}

impl Observed {
    fn start(request: &mut Request) -> Self {
        let request_id = request_id(request.headers());
        let method = method_label(request.method());
        let route = route_of(request);
        let facts = RequestContext::of_request(&request_id);
        request.extensions_mut().insert(facts.clone());
        let span = tracing::info_span!(
            "http.request",
            otel.name = format!("{method} {route}"),
            otel.kind = "server",
            otel.status_code = Empty,
            http.request.method = method,
            http.route = route,
            http.response.status_code = Empty,
            request_id,
        );
        let parent = global::get_text_map_propagator(|propagator| {
            propagator.extract(&Carrier(request.headers()))
        });
        // Without the OpenTelemetry layer (in unit tests) there is nothing to continue.
        let _ = span.set_parent(parent);
        Self {
            span,
            request_id,
            method,
            route,
            facts,
            started: Instant::now(),
            finished: false,
        }
    }

    fn finish(mut self, response: Response<Body>, instance: &str) -> Response<Body> {
        self.finished = true;
        let problem = problem_of(&response);
        let code = problem.as_ref().map(|problem| problem.kind.code());
        let mut response = match problem {
            Some(problem) => self.write_problem(response, &problem, instance),
            None => response,
        };
        self.add_headers(response.headers_mut());
        self.record(response.status(), code, response.body().size_hint().exact());
        response
    }

    fn write_problem(
        &self,
        response: Response<Body>,
        problem: &Problem,
        instance: &str,
    ) -> Response<Body> {
        let (mut parts, _) = response.into_parts();
        let document = problem.document(&self.request_id, instance);
        let (_, body) = Json(document).into_response().into_parts();
        parts.status = problem.kind.status();
        parts.headers.remove(header::CONTENT_LENGTH);
        parts
            .headers
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        Response::from_parts(parts, body)
    }

    fn add_headers(&self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::try_from(&self.request_id) {
            headers.insert(REQUEST_ID, value);
        }
        let context = self.span.context();
        global::get_text_map_propagator(|propagator| {
            propagator.inject_context(&context, &mut Traceparent(headers));
        });
    }

    /// The trace in which the request can be looked up, in hexadecimal.
    fn trace_id(&self) -> Option<String> {
        let context = self.span.context();
        let span = context.span();
        let span = span.span_context();
        span.is_valid().then(|| span.trace_id().to_string())
    }

    fn record(&self, status: StatusCode, code: Option<&'static str>, bytes: Option<u64>) {
        self.span
            .record("http.response.status_code", status.as_u16());
        if status.is_server_error() {
            self.span.record("otel.status_code", "ERROR");
        }
        let _entered = self.span.enter();
        let duration_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let api_key_id = self.facts.0.api_key.get().map(tracing::field::display);
        let payment_id = self.facts.0.payment.get().map(tracing::field::display);
        let refund_id = self.facts.0.refund.get().map(tracing::field::display);
        let trace_id = self.trace_id();
        // The level of an event must be a constant, hence the two of them.
        macro_rules! wide_event {
            ($level:ident) => {
                tracing::$level!(
                    target: "http.access",
                    method = self.method,
                    route = self.route,
                    status = status.as_u16(),
                    duration_ms,
                    request_id = self.request_id,
                    trace_id,
                    api_key_id,
                    payment.id = payment_id,
                    refund.id = refund_id,
                    problem = code,
                    bytes,
                    "{} {} answered {}",
                    self.method,
                    self.route,
                    status.as_u16(),
                )
            };
        }
        if status.is_server_error() {
            wide_event!(warn);
        } else {
            wide_event!(info);
        }
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let duration_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            target: "http.access",
            parent: &self.span,
            method = self.method,
            route = self.route,
            duration_ms,
            request_id = self.request_id,
            trace_id = self.trace_id(),
            api_key_id = self.facts.0.api_key.get().map(tracing::field::display),
            payment.id = self.facts.0.payment.get().map(tracing::field::display),
            refund.id = self.facts.0.refund.get().map(tracing::field::display),
            problem = "client_gone",
            "{} {} lost its client before the answer",
            self.method,
            self.route,
        );
    }
}

/// The problem a response stands for. Libraries answer some refusals as plain text; those become
/// documents too.
fn problem_of(response: &Response<Body>) -> Option<Problem> {
    let status = response.status();
    let extensions = response.extensions();
    if extensions.get::<Verbatim>().is_some() {
        return None;
    }
    if let Some(problem) = extensions.get::<Problem>() {
        return Some(problem.clone());
    }
    (status.is_client_error() || status.is_server_error()).then(|| Problem::of_status(status))
}

/// The caller's id where it is well formed (1–128 visible ASCII characters), else a new one. It is
/// logged, so one that looks like a scanned code is not taken either (`docs/invariants.md` Q14).
fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()))
        .filter(|id| matches!(without_codes(id), Cow::Borrowed(_)))
        .map_or_else(|| Uuid::now_v7().simple().to_string(), str::to_owned)
}

/// Incoming trace headers.
struct Carrier<'h>(&'h HeaderMap);

impl Extractor for Carrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

/// Outgoing trace headers: `traceparent` alone, since the vendor's state is not the caller's.
struct Traceparent<'h>(&'h mut HeaderMap);

impl Injector for Traceparent<'_> {
    fn set(&mut self, key: &str, value: String) {
        if key != "traceparent" {
            return;
        }
        if let Ok(value) = HeaderValue::try_from(value) {
            self.0.insert(HeaderName::from_static("traceparent"), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q15_a_request_id_is_taken_only_when_well_formed() {
        let with = |text: &str| {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
                headers.insert(REQUEST_ID, value);
            }
            request_id(&headers)
        };
        assert_eq!(with("till-1/42"), "till-1/42");
        assert_eq!(with(&"x".repeat(128)).len(), 128);
        for bad in ["", "a b", "\u{e9}", "\u{1b}[31m", &"x".repeat(129)] {
            assert_eq!(with(bad).len(), 32, "{bad:?} is replaced");
        }
    }
}
