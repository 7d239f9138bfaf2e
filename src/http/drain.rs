//! The rest of a body that is refused.
//!
//! A server that answers and closes while its client still sends makes the client's system throw the
//! answer away: the client sees a broken connection and learns nothing. So the rest of a refused upload is
//! read and dropped before the answer is given, within limits of size and time.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::header,
    middleware::Next,
    response::Response,
};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, timeout_at};

/// For how long the rest of a body is read.
const AT_MOST: Duration = Duration::from_mins(1);

/// How long it may pause.
const PAUSE: Duration = Duration::from_secs(10);

/// How much of it is read, in bytes: twice the largest body that is taken.
const BYTES: u64 = 2 * super::reconciliation::import::MAX_IMPORT_BYTES as u64;

/// Reads the rest of the body of a request that was refused, and then lets the answer go.
pub async fn refused_body(request: Request, next: Next) -> Response {
    let waits_for_leave = request.headers().contains_key(header::EXPECT);
    let (parts, body) = request.into_parts();
    let shared = Arc::new(Mutex::new(Read {
        body,
        is_begun: false,
    }));
    let lent = Body::new(Lent(Arc::clone(&shared)));
    let response = next.run(Request::from_parts(parts, lent)).await;
    let is_refused = response.status().is_client_error() || response.status().is_server_error();
    // A client that asked for leave first has sent nothing yet, unless it was given.
    if is_refused && (lock(&shared).is_begun || !waits_for_leave) {
        drain(Lent(shared)).await;
    }
    response
}

/// A body, and whether anything of it was asked for.
struct Read {
    body: Body,
    is_begun: bool,
}

/// The body as the handler has it; what it leaves is still there.
struct Lent(Arc<Mutex<Read>>);

fn lock(shared: &Mutex<Read>) -> std::sync::MutexGuard<'_, Read> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut read = lock(&self.0);
        read.is_begun = true;
        Pin::new(&mut read.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.0).body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.0).body.size_hint()
    }
}

async fn drain(mut body: Lent) {
    let end = Instant::now() + AT_MOST;
    let mut bytes = 0;
    while bytes < BYTES {
        let next = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context));
        let until = end.min(Instant::now() + PAUSE);
        let Ok(Some(Ok(frame))) = timeout_at(until, next).await else {
            return;
        };
        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
}
