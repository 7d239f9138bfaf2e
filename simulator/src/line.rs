//! Connections that can be cut. A web framework always answers; a network does not. [`Line`] is the
//! handle by which a request's handler decides how much of the answer the wire will carry: everything,
//! nothing at all, or the head and the first bytes of the body.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

/// No limit.
const INTACT: usize = usize::MAX;
/// Not a single byte.
const SEVERED: usize = usize::MAX - 1;

/// How much of the answer gets through: [`INTACT`], [`SEVERED`], or so many bytes of the body.
#[derive(Clone, Debug)]
pub(crate) struct Line(Arc<AtomicUsize>);

impl Line {
    fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(INTACT)))
    }

    /// The answer is lost: the peer sees the connection close without a byte.
    pub(crate) fn sever(&self) {
        self.0.store(SEVERED, Ordering::SeqCst);
    }

    /// The connection closes after the head and `bytes` bytes of the body.
    pub(crate) fn cut_after(&self, bytes: usize) {
        self.0.store(bytes.min(SEVERED - 1), Ordering::SeqCst);
    }
}

impl Connected<IncomingStream<'_, LineListener>> for Line {
    fn connect_info(stream: IncomingStream<'_, LineListener>) -> Self {
        stream.remote_addr().clone()
    }
}

/// Accepts connections that can be cut.
pub(crate) struct LineListener(pub(crate) TcpListener);

impl Listener for LineListener {
    type Io = Connection;
    type Addr = Line;

    async fn accept(&mut self) -> (Connection, Line) {
        let (stream, _) = Listener::accept(&mut self.0).await;
        // Without this a small answer may wait for an acknowledgement; failing to set it only slows.
        let _ = stream.set_nodelay(true);
        let line = Line::new();
        (
            Connection {
                stream,
                line: line.clone(),
                body_left: None,
            },
            line,
        )
    }

    fn local_addr(&self) -> io::Result<Line> {
        Ok(Line::new())
    }
}

/// A connection that obeys its [`Line`].
pub(crate) struct Connection {
    stream: TcpStream,
    line: Line,
    /// After the head of an answer that is cut: how much of its body may still pass.
    body_left: Option<usize>,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let limit = self.line.0.load(Ordering::SeqCst);
        if limit == INTACT {
            return Pin::new(&mut self.stream).poll_write(context, bytes);
        }
        if limit == SEVERED {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        // The HTTP layer writes head and body as one buffer, since vectored writes are off.
        let head = match self.body_left {
            Some(_) => 0,
            None => bytes
                .windows(4)
                .position(|end| end == b"\r\n\r\n")
                .map_or(0, |at| at + 4),
        };
        let allowed = head.saturating_add(self.body_left.unwrap_or(limit));
        if allowed == 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let allowed = allowed.min(bytes.len());
        let written = Pin::new(&mut self.stream).poll_write(context, &bytes[..allowed]);
        if let Poll::Ready(Ok(written)) = written
            && written >= head
        {
            self.body_left = Some(self.body_left.unwrap_or(limit) - (written - head));
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        false
    }
}
