//! A collector of traces: takes whatever the OTLP exporter sends and keeps it.

use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value as AnyValue,
    trace::v1::Span,
};
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::TaskTracker;

/// A running collector; it listens as long as the test runs.
pub(crate) struct Collector {
    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` must be.
    pub(crate) endpoint: String,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Collector {
    /// Listens on a free port.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        let bodies = Arc::new(Mutex::new(vec![]));
        let kept = Arc::clone(&bodies);
        TaskTracker::new().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                TaskTracker::new().spawn(collect(stream, Arc::clone(&kept)));
            }
        });
        Self { endpoint, bodies }
    }

    /// Every byte that was sent.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        bodies.concat()
    }

    /// Every span that was sent.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        let requests = bodies.iter().map(|body| {
            ExportTraceServiceRequest::decode(body.as_slice()).expect("the body is OTLP")
        });
        requests
            .flat_map(|request| request.resource_spans)
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans)
            .collect()
    }
}

/// An attribute's value as text, empty where there is none.
pub(crate) fn attribute(span: &Span, name: &str) -> String {
    let attribute = span
        .attributes
        .iter()
        .find(|attribute| attribute.key == name);
    match attribute
        .and_then(|a| a.value.as_ref())
        .and_then(|value| value.value.as_ref())
    {
        Some(AnyValue::StringValue(text)) => text.clone(),
        Some(AnyValue::IntValue(number)) => number.to_string(),
        Some(other) => format!("{other:?}"),
        None => String::new(),
    }
}

/// Answers every request of a connection with 200 once its body is there.
async fn collect(mut stream: TcpStream, bodies: Arc<Mutex<Vec<Vec<u8>>>>) {
    let mut received = vec![];
    let mut chunk = [0; 16 * 1024];
    while let Ok(read @ 1..) = stream.read(&mut chunk).await {
        received.extend_from_slice(&chunk[..read]);
        while let Some((body, length)) = whole_request(&received) {
            bodies
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(body);
            received.drain(..length);
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
    }
}

/// The body of the first request, and how long the request is.
fn whole_request(received: &[u8]) -> Option<(Vec<u8>, usize)> {
    let head = received
        .windows(4)
        .position(|window| window == b"\r\n\r\n")?
        + 4;
    let text = String::from_utf8_lossy(&received[..head]).to_lowercase();
    assert!(text.starts_with("post /v1/traces "), "{text}");
    let length: usize = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .and_then(|length| length.trim().parse().ok())
        .expect("a length");
    let body = received.get(head..head + length)?;
    Some((body.to_vec(), head + length))
}
