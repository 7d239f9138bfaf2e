//! Logs, traces and metrics: set up first, flushed last.
//!
//! Logs are JSON lines (or text for people). Traces go to an OTLP/HTTP collector where one is
//! configured; otherwise spans still have ids, so that logs and the `traceparent` of answers agree,
//! but nothing is recorded. Metrics are kept in the process until `/metrics` is read.

use std::{
    any::Any,
    io::{IsTerminal, stderr, stdout},
};

use anyhow::{Context, anyhow};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::{global, trace::TracerProvider};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracerProvider},
};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::Targets,
    fmt::{self, writer::BoxMakeWriter},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};
use url::Url;

use crate::config::{self, LogFormat};

/// Upper bounds of duration histograms, in seconds: an answer from memory, a database call, a call
/// to Alipay, a held answer.
const DURATION_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// Upper bounds of the time to a payment's end, in seconds: from an answer at once over the buyer's
/// minute and the three minutes of an unpaid trade to a week of asking.
const OPEN_BUCKETS: &[f64] = &[
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 90.0, 200.0, 600.0, 3_600.0, 86_400.0,
    604_800.0,
];

/// Where log lines go: commands whose output is read by programs log to stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogTo {
    /// Standard output, for services.
    Stdout,
    /// Standard error, for commands.
    Stderr,
}

/// What must be flushed at the end.
#[derive(Debug)]
pub struct Telemetry {
    traces: SdkTracerProvider,
}

impl Telemetry {
    /// Sets up logs and traces for the whole process, once, before the runtime starts: the
    /// exporter's blocking client cannot be made inside one.
    pub fn init(settings: &config::Telemetry, to: LogTo) -> anyhow::Result<Self> {
        let traces = tracer_provider(settings.otlp_endpoint.as_ref(), &settings.service_name)?;
        global::set_text_map_propagator(TraceContextPropagator::new());
        global::set_tracer_provider(traces.clone());
        tracing_subscriber::registry()
            .with(log_layer(settings, to)?)
            .with(trace_layer(&traces))
            .try_init()
            .context("logging is already set up")?;
        report_panics();
        Ok(Self { traces })
    }

    /// Sends what was not sent yet. Call it last, after the runtime has ended.
    pub fn shutdown(self) {
        if let Err(error) = self.traces.shutdown() {
            tracing::warn!(%error, "cannot flush traces to the collector");
        }
    }
}

fn log_layer(
    settings: &config::Telemetry,
    to: LogTo,
) -> anyhow::Result<Box<dyn Layer<Registry> + Send + Sync>> {
    let filter = EnvFilter::try_new(&settings.log_filter).context("LOG_FILTER")?;
    let (writer, terminal) = match to {
        LogTo::Stdout => (BoxMakeWriter::new(stdout), stdout().is_terminal()),
        LogTo::Stderr => (BoxMakeWriter::new(stderr), stderr().is_terminal()),
    };
    let layer = fmt::layer().with_writer(writer);
    Ok(match settings.log_format {
        LogFormat::Json => layer
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .with_filter(filter)
            .boxed(),
        LogFormat::Text => layer.with_ansi(terminal).with_filter(filter).boxed(),
    })
}

/// Our own spans only: the exporter's HTTP client must not trace itself.
fn trace_layer<S>(traces: &SdkTracerProvider) -> impl Layer<S>
where
    S: tracing::Subscriber + for<'span> tracing_subscriber::registry::LookupSpan<'span>,
{
    tracing_opentelemetry::layer()
        .with_tracer(traces.tracer("alipayhk-gateway"))
        .with_filter(Targets::new().with_target("alipayhk_gateway", LevelFilter::INFO))
}

/// The provider of traces: batches to a collector, or ids only.
fn tracer_provider(
    endpoint: Option<&Url>,
    service_name: &str,
) -> anyhow::Result<SdkTracerProvider> {
    let resource = Resource::builder()
        .with_service_name(service_name.to_owned())
        .build();
    let provider = SdkTracerProvider::builder().with_resource(resource);
    let Some(endpoint) = endpoint else {
        return Ok(provider.with_sampler(Sampler::AlwaysOff).build());
    };
    install_crypto_provider();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(traces_url(endpoint))
        .build()
        .map_err(|error| anyhow!("OTEL_EXPORTER_OTLP_ENDPOINT: {error}"))?;
    Ok(provider.with_batch_exporter(exporter).build())
}

/// The variable holds the collector's base; the signal's own path is added (OTLP specification,
/// "Endpoint URLs for OTLP/HTTP").
fn traces_url(base: &Url) -> String {
    format!("{}/v1/traces", base.as_str().trim_end_matches('/'))
}

/// The one TLS implementation of the program. Safe to call again.
pub fn install_crypto_provider() {
    // Fails only where one is installed already, which is what we want.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Keeps what is counted, for the whole process, once.
pub fn install_metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(
            Matcher::Suffix("duration_seconds".to_owned()),
            DURATION_BUCKETS,
        )
        .and_then(|builder| {
            let name = Matcher::Full("payment_open_seconds".to_owned());
            builder.set_buckets_for_metric(name, OPEN_BUCKETS)
        })
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| anyhow!("cannot set up metrics: {error}"))?;
    Ok(handle)
}

/// Panics are logged like everything else, instead of as loose text.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(tracing::field::display);
        let panic = words_of(panic.payload());
        tracing::error!(location, panic, "a task panicked");
    }));
}

/// What may be told of a panic: the words that stand in the source. What was put together at the time may
/// hold anything, a scanned code too: the standard library repeats the text that it could not cut
/// (`docs/invariants.md` Q14). The place says enough.
fn words_of(payload: &(dyn Any + Send)) -> &'static str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .unwrap_or("its words are withheld")
}

#[cfg(test)]
mod tests;
