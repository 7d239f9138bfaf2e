//! Connections: accepted, bounded in time, drained.
//!
//! `axum::serve` neither bounds the time a client may take for its request head nor ever gives up on
//! a connection that hangs, so this does both (`design/correctness.md` Q8, R21).

use std::{io, pin::pin, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::net::{TcpListener, TcpStream};

use crate::shutdown::Shutdown;

/// How long a client may take from one answer (or from connecting) to the end of its next request
/// head. A connection that idles for longer is closed.
const HEADER_READ_TIMEOUT: Duration = Duration::from_mins(1);

/// How long to wait before accepting again when the system has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until the soft stop; those then open finish their request. Each is a task of
/// `shutdown.tasks`, and each ends at the hard stop whatever it does.
pub async fn serve(listener: TcpListener, router: Router, shutdown: &Shutdown) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.soft.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = connection(stream, router.clone(), shutdown.clone());
                shutdown.tasks.spawn(connection);
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

async fn connection(stream: TcpStream, router: Router, shutdown: Shutdown) {
    // Answers are small: waiting to fill a packet only delays the till.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot switch off Nagle's algorithm");
    }
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
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
