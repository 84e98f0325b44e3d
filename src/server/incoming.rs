//! Connections as they come in: accepted, with the TLS handshake done, ready for gRPC. Bounded in number and time.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::server::Connected;

use super::listen::Bound;
use super::tls::TlsAcceptors;

/// How long a client may take for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at once; a flood of connections waits in the kernel.
const HANDSHAKES: usize = 64;
/// How long accepting rests after an error such as "too many open files".
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection, whatever carries it.
pub(super) struct Connection(Box<dyn Stream>);

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
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
        handshakes: Arc::new(Semaphore::new(HANDSHAKES)),
        tracker: tracker.clone(),
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
    handshakes: Arc<Semaphore>,
    tracker: TaskTracker,
}

impl Door {
    async fn accept_all(&self, bound: &Bound) {
        loop {
            let accepted = match bound {
                Bound::Tcp(listener) => match listener.accept().await {
                    Ok((stream, _)) => self.greet(stream).await,
                    Err(error) => Err(error),
                },
                Bound::Unix(listener, _) => match listener.accept().await {
                    Ok((stream, _)) => self.admit(Connection(Box::new(stream))).await,
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = accepted {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }

    async fn greet(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return self.admit(Connection(Box::new(stream))).await;
        };
        let acceptor = tls.acceptor();
        let permit = Arc::clone(&self.handshakes).acquire_owned().await;
        let ready = self.ready.clone();
        self.tracker.spawn(async move {
            let peer = stream.peer_addr();
            match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let _ = ready.send(Ok(Connection(Box::new(stream)))).await;
                }
                Ok(Err(error)) => tracing::warn!(?peer, %error, "TLS handshake failed"),
                Err(_) => tracing::warn!(?peer, "TLS handshake took too long"),
            }
            drop(permit);
        });
        Ok(())
    }

    async fn admit(&self, connection: Connection) -> io::Result<()> {
        // The receiver is gone only when the server stops.
        let _ = self.ready.send(Ok(connection)).await;
        Ok(())
    }
}
