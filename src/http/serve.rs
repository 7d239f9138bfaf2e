//! Connections: accepted, bounded in time, drained.
//!
//! `axum::serve` neither bounds the time a client may take for its request head nor ever gives up on
//! a connection that hangs, so this does both (`docs/invariants.md` Q8, R21).

use std::{io, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use crate::shutdown::Shutdown;

/// Largest head of a request, in bytes, and most headers in it; more is answered `431`.
const MAX_HEAD_BYTES: usize = 32 * 1024;
const MAX_HEADERS: usize = 64;

/// How far the doors are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// How long a client may take from one answer (or from connecting) to the end of its next request
    /// head. A connection that idles for longer is closed.
    pub header_timeout: Duration,
    /// Most connections at once; more wait to be accepted.
    pub max_connections: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(30),
            max_connections: 4096,
        }
    }
}

/// How long to wait before accepting again when the system has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until the soft stop; those then open finish their request. Each is a task of
/// `shutdown.tasks`, and each ends at the hard stop whatever it does.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    doors: ConnectionLimits,
    shutdown: &Shutdown,
) {
    let places = Arc::new(Semaphore::new(doors.max_connections));
    let accept = async || {
        let place = Arc::clone(&places).acquire_owned().await;
        (listener.accept().await, place)
    };
    loop {
        let (accepted, place) = tokio::select! {
            biased;
            () = shutdown.soft.cancelled() => return,
            accepted = accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = connection(stream, router.clone(), doors, shutdown.clone());
                shutdown.tasks.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => pause_after(&error).await,
        }
    }
}

/// A client that hung up while it waited in the queue is no reason to pause.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    ) {
        tracing::error!(%error, "cannot accept connections");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

async fn connection(
    stream: TcpStream,
    router: Router,
    doors: ConnectionLimits,
    shutdown: Shutdown,
) {
    // Answers are small: waiting to fill a packet only delays the till.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot switch off Nagle's algorithm");
    }
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(doors.header_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        // A client that sent its whole request and hung up must not stop the handler before the
        // work is detached (`docs/invariants.md` C2).
        .half_close(true)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut serving = pin!(serving);
    let mut draining = false;
    loop {
        tokio::select! {
            result = serving.as_mut() => {
                if let Err(error) = result {
                    // Clients hang up and time out; their handlers' work is detached.
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            () = shutdown.soft.cancelled(), if !draining => {
                draining = true;
                serving.as_mut().graceful_shutdown();
            }
            () = shutdown.hard.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// The other side of R21: what was asked before the stop is answered, what comes after is not
    /// taken.
    #[tokio::test]
    async fn r21_requests_under_way_are_answered_while_draining() {
        let shutdown = Shutdown::new();
        let soft = shutdown.soft.clone();
        let stopping = get(async move || {
            soft.cancel();
            tokio::task::yield_now().await;
            "answered"
        });
        let router = Router::new().route("/stop", stopping);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut idle = TcpStream::connect(address).await.expect("accepted");
        let mut client = TcpStream::connect(address).await.expect("accepted");
        let request = b"GET /stop HTTP/1.1\r\nHost: gateway\r\n\r\n";
        client.write_all(request).await.expect("sent");

        serve(listener, router, ConnectionLimits::default(), &shutdown).await;
        assert!(
            shutdown.drain(Duration::from_secs(5)).await,
            "idle connections are closed"
        );
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.ends_with("answered"), "{answer}");
        let mut nothing = String::new();
        idle.read_to_string(&mut nothing).await.expect("closed");
        assert_eq!(nothing, "");
        assert!(
            TcpStream::connect(address).await.is_err(),
            "nothing listens"
        );
    }
}
