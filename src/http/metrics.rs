//! What is counted, and `/metrics`.
//!
//! Labels are route templates, methods from a closed list, and statuses: never an id, a merchant or
//! anything else a caller chooses (`docs/invariants.md` Q23).

use std::time::Instant;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{Response, header},
    middleware::Next,
    response::IntoResponse,
};
use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::PrometheusHandle;

use super::trace::{method_label, route_of};

/// Requests answered.
const REQUESTS: &str = "http_requests_total";
/// How long answers took.
const DURATION: &str = "http_request_duration_seconds";
/// Requests being worked on.
const IN_FLIGHT: &str = "http_requests_in_flight";
/// Requests whose client hung up before the answer.
const ABANDONED: &str = "http_requests_abandoned_total";

/// Where `/metrics` reads from.
#[derive(Clone)]
pub struct Handle(PrometheusHandle);

impl Handle {
    /// Wraps the recorder's handle.
    pub fn new(handle: PrometheusHandle) -> Self {
        Self(handle)
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("metrics::Handle")
    }
}

/// Describes every metric of this module; Prometheus tools refuse undescribed ones.
pub fn describe() {
    describe_counter!(
        REQUESTS,
        Unit::Count,
        "HTTP requests answered, by route and status."
    );
    describe_histogram!(
        DURATION,
        Unit::Seconds,
        "Time from request to answer, held answers included."
    );
    describe_gauge!(
        IN_FLIGHT,
        Unit::Count,
        "HTTP requests that wait for their answer."
    );
    describe_counter!(
        ABANDONED,
        Unit::Count,
        "HTTP requests whose client hung up before the answer."
    );
}

/// The middleware that counts.
pub async fn track(request: Request, next: Next) -> Response<Body> {
    let pending = Pending::start(&request);
    let response = next.run(request).await;
    pending.finish(response.status().as_u16());
    response
}

/// A request under way; its `Drop` keeps the gauge honest when the client hangs up.
struct Pending {
    method: &'static str,
    route: String,
    started: Instant,
    answered: bool,
}

impl Pending {
    fn start(request: &Request) -> Self {
        gauge!(IN_FLIGHT).increment(1);
        Self {
            method: method_label(request.method()),
            route: route_of(request),
            started: Instant::now(),
            answered: false,
        }
    }

    fn finish(mut self, status: u16) {
        self.answered = true;
        let labels = [
            ("method", self.method.to_owned()),
            ("route", self.route.clone()),
            ("status", status.to_string()),
        ];
        counter!(REQUESTS, &labels).increment(1);
        histogram!(DURATION, "method" => self.method, "route" => self.route.clone())
            .record(self.started.elapsed());
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        gauge!(IN_FLIGHT).decrement(1);
        if !self.answered {
            counter!(ABANDONED, "method" => self.method, "route" => self.route.clone())
                .increment(1);
        }
    }
}

/// Metrics
///
/// Counters, gauges and histograms in the Prometheus text format. Labels never carry an id.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "service",
    operation_id = "get_metrics",
    responses((
        status = 200,
        description = "The metrics of this replica.",
        body = String,
        content_type = "text/plain",
    )),
)]
pub async fn metrics(State(state): State<super::HttpState>) -> impl IntoResponse {
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        state.metrics.0.render(),
    )
}
