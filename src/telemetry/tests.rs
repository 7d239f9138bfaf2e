//! What the exporter really sends, decoded.

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
};

use opentelemetry::trace::TraceContextExt;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::*;

/// A collector for one request: its request line, its body.
fn collect_one(listener: &TcpListener) -> (String, Vec<u8>) {
    let (mut stream, _) = listener.accept().expect("a connection");
    let mut received = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = stream.read(&mut chunk).expect("readable");
        received.extend_from_slice(&chunk[..read]);
        let head_end = received.windows(4).position(|window| window == b"\r\n\r\n");
        let Some(end) = head_end else { continue };
        let head = String::from_utf8_lossy(&received[..end]).to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .and_then(|length| length.trim().parse::<usize>().ok())
            .expect("a length");
        if received.len() >= end + 4 + length {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .expect("writable");
            let line = head.lines().next().unwrap_or_default().to_owned();
            return (line, received[end + 4..].to_vec());
        }
    }
}

#[test]
fn spans_reach_the_collector_with_their_remote_parent() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
    let collector = thread::spawn(move || collect_one(&listener));
    let endpoint = Url::parse(&endpoint).expect("a URL");
    let provider = tracer_provider(Some(&endpoint), "gateway-under-test").expect("an exporter");
    let subscriber = tracing_subscriber::registry().with(trace_layer(&provider));
    let parent = TraceContextPropagator::new();
    let headers = std::collections::HashMap::from([(
        "traceparent".to_owned(),
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
    )]);
    let parent = opentelemetry::propagation::TextMapPropagator::extract(&parent, &headers);
    assert!(parent.span().span_context().is_remote());
    tracing::subscriber::with_default(subscriber, || {
        let span = tracing::info_span!("http.request", otel.name = "GET /v1/payments/{id}");
        span.set_parent(parent).expect("the layer is there");
        span.in_scope(|| ());
    });
    provider.shutdown().expect("flushed");

    let (line, body) = collector.join().expect("the collector ends");
    assert_eq!(line, "post /v1/traces http/1.1");
    let request = ExportTraceServiceRequest::decode(body.as_slice()).expect("OTLP");
    let resource = format!("{:?}", request.resource_spans[0].resource);
    assert!(resource.contains("gateway-under-test"), "{resource}");
    let span = &request.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!(span.name, "GET /v1/payments/{id}");
    assert_eq!(
        span.trace_id,
        0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes()
    );
    assert_eq!(span.parent_span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
}

#[test]
fn the_path_of_the_signal_is_added_once() {
    for (base, url) in [
        ("http://c:4318", "http://c:4318/v1/traces"),
        ("http://c:4318/", "http://c:4318/v1/traces"),
        ("https://c/otlp", "https://c/otlp/v1/traces"),
    ] {
        assert_eq!(traces_url(&Url::parse(base).expect("a URL")), url);
    }
}

/// Q14: the standard library puts the text that it could not cut into the panic.
#[test]
fn q14_a_panic_tells_no_more_than_what_stands_in_the_source() {
    let told = |panic: fn()| {
        let payload = std::panic::catch_unwind(panic).expect_err("it panics");
        words_of(payload.as_ref())
    };
    assert_eq!(told(|| panic!("a plain word")), "a plain word");
    let withheld = "its words are withheld";
    assert_eq!(
        told(|| {
            let code = String::from("茶281234567890120001");
            let (_, _) = code.split_at(1);
        }),
        withheld
    );
    assert_eq!(
        told(|| {
            let code: Result<u8, _> = "281234567890120001"
                .parse::<u8>()
                .map_err(|_| "281234567890120001");
            code.expect("a code");
        }),
        withheld
    );
    assert_eq!(told(|| std::panic::panic_any(1)), withheld);
}
