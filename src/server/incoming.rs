//! Connections as they come in: accepted, with the TLS handshake done, ready for gRPC. Bounded in number and time.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;
use tonic::transport::server::Connected;

use super::listen::Bound;
use super::tls::TlsAcceptors;
use crate::seats::{Lost, Seat, Seats};
use crate::seldom::Seldom;

/// How long a client may take for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at once. Who comes when there are so many ends the oldest of them, so that strangers who connect and say
/// nothing keep no client out.
const HANDSHAKES: usize = 64;
/// Connections at once. A cluster-autoscaler has one; each may hold a megabyte of requests. Who comes when there are so
/// many gets the place of one that never said anything, or else of the one that was quiet the longest, which connects
/// anew if it lives.
const CONNECTIONS: usize = 256;
/// How long accepting rests after an error such as "too many open files".
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection, whatever carries it.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    seat: Seat,
    /// Ends the connection when its seat is given to another.
    lost: Lost,
    /// While nothing has come in: ends the connection when the server stops. gRPC's own graceful end waits for the
    /// client's first words, so a connection that never says any would hold the server.
    silent_until: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Connection {
    fn new(stream: impl Stream + 'static, (seat, lost): (Seat, Lost), shutdown: CancellationToken) -> Self {
        Self {
            stream: Box::new(stream),
            seat,
            lost,
            silent_until: Some(Box::pin(shutdown.cancelled_owned())),
        }
    }

    /// An error once the seat is another's. To be asked before whatever may wait: HTTP/2 reads nothing while it cannot
    /// write, so a client that takes nothing in would otherwise keep its connection.
    fn check_seat(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match Pin::new(&mut self.lost).poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check_seat(context)?;
        let filled = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buf);
        if buf.filled().len() > filled {
            self.silent_until = None;
            self.seat.heard();
        }
        match &mut self.silent_until {
            // Nothing read and no error is the end of the stream.
            Some(shutdown) if read.is_pending() => shutdown.as_mut().poll(context).map(Ok),
            _ => read,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check_seat(context)?;
        Pin::new(&mut self.stream).poll_write(context, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_seat(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_seat(context)?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_seat(context)?;
        Pin::new(&mut self.stream).poll_write_vectored(context, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// The connections that are ready for gRPC.
pub(super) type Incoming = ReceiverStream<io::Result<Connection>>;

/// Accepts connections from when `ready` is, until `shutdown`; those that come sooner wait in the kernel.
pub(super) fn accept(
    bound: Bound,
    tls: Option<Arc<TlsAcceptors>>,
    tracker: &TaskTracker,
    shutdown: CancellationToken,
    ready: impl Future<Output = ()> + Send + 'static,
) -> Incoming {
    let (handshaken, connections) = mpsc::channel(HANDSHAKES);
    let door = Door {
        tls,
        ready: handshaken,
        handshakes: Seats::new(HANDSHAKES),
        connections: Seats::new(CONNECTIONS),
        failed_handshakes: Arc::default(),
        tracker: tracker.clone(),
        shutdown: shutdown.clone(),
    };
    tracker.spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = async { ready.await; door.accept_all(&bound).await } => {}
        }
        if let Bound::Unix(_, path) = &bound {
            let _ = std::fs::remove_file(path);
        }
    });
    ReceiverStream::new(connections)
}

struct Door {
    tls: Option<Arc<TlsAcceptors>>,
    ready: mpsc::Sender<io::Result<Connection>>,
    handshakes: Arc<Seats>,
    connections: Arc<Seats>,
    /// Anybody can make them fail.
    failed_handshakes: Arc<Seldom>,
    tracker: TaskTracker,
    shutdown: CancellationToken,
}

impl Door {
    async fn accept_all(&self, bound: &Bound) {
        let failures = Seldom::default();
        loop {
            match take(bound).await {
                Ok((stream, peer)) => self.greet(stream, peer).await,
                Err(error) => {
                    if let Some(left_out) = failures.is_due() {
                        tracing::warn!(%error, left_out, "accepting a connection failed");
                    } else {
                        tracing::debug!(%error, "accepting a connection failed");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// With mTLS a unix socket asks for certificates, too.
    async fn greet(&self, stream: Box<dyn Stream>, peer: String) {
        let Some(tls) = &self.tls else {
            return self.admit(stream).await;
        };
        let acceptor = tls.acceptor();
        let (seat, lost) = self.handshakes.take();
        let (connections, failures) = (Arc::clone(&self.connections), Arc::clone(&self.failed_handshakes));
        let (ready, shutdown) = (self.ready.clone(), self.shutdown.clone());
        self.tracker.spawn(async move {
            let handshake = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream));
            let handshake = async {
                tokio::select! {
                    shaken = handshake => Some(shaken),
                    () = lost => None,
                }
            };
            match shutdown.run_until_cancelled(handshake).await.flatten() {
                Some(Ok(Ok(stream))) => {
                    drop(seat);
                    let connection = Connection::new(stream, connections.take(), shutdown);
                    let _ = ready.send(Ok(connection)).await;
                }
                Some(Ok(Err(error))) => tell_of_handshake(&failures, &peer, &error.to_string()),
                Some(Err(_)) => tell_of_handshake(&failures, &peer, "it took too long"),
                None => {} // nobody is served any more, or the place was needed
            }
        });
    }

    async fn admit(&self, stream: impl Stream + 'static) {
        let connection = Connection::new(stream, self.connections.take(), self.shutdown.clone());
        // The receiver is gone only when the server stops.
        let _ = self.ready.send(Ok(connection)).await;
    }
}

fn tell_of_handshake(failures: &Seldom, peer: &str, error: &str) {
    if let Some(left_out) = failures.is_due() {
        tracing::warn!(peer, error, left_out, "TLS handshake failed");
    } else {
        tracing::debug!(peer, error, "TLS handshake failed");
    }
}

/// The next connection, and where it comes from.
async fn take(bound: &Bound) -> io::Result<(Box<dyn Stream>, String)> {
    match bound {
        Bound::Tcp(listener) => {
            let (stream, peer) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok((Box::new(stream), peer.to_string()))
        }
        Bound::Unix(listener, _) => {
            let (stream, _) = listener.accept().await?;
            Ok((Box::new(stream), "unix socket".to_owned()))
        }
    }
}
