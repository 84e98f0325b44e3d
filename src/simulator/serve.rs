//! Listeners and connections. hyper serves them directly, because only there a connection can be closed instead of
//! answered.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::handle::Simulator;
use super::routes::gate::NoAnswer;

/// The most connections at the same time; further ones wait in the listener's queue.
const MOST_CONNECTIONS: usize = 1024;

/// How long requests under way may take after the shutdown began. Faults can make them take for ever.
const DRAIN: Duration = Duration::from_secs(1);

/// How long a connection may be idle. Far above what clients keep them for, so that no request meets a connection
/// that is just being closed, except on purpose.
const IDLE: Duration = Duration::from_secs(600);

/// Tells hyper to close the connection.
#[derive(Debug, thiserror::Error)]
#[error("closed without an answer, as a fault demands")]
struct Closed;

impl Simulator {
    /// Serves on a TCP listener until `shutdown`. VMs live on; see [`shut_down`](Self::shut_down).
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) {
        serve_on(&self, listener, shutdown).await;
    }

    /// Serves on a unix socket until `shutdown`. Real daemons ask for no token there: leave it out of the
    /// configuration.
    pub async fn serve_unix(self, listener: UnixListener, shutdown: CancellationToken) {
        serve_on(&self, listener, shutdown).await;
    }

    /// Serves in the background on a free port of the loopback interface.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn spawn_on_loopback(&self) -> io::Result<RunningSimulator> {
        self.spawn_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
    }

    /// Serves in the background on an address, such as that of a server of this simulator that was stopped.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn spawn_on(&self, addr: SocketAddr) -> io::Result<RunningSimulator> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(self.clone().serve(listener, shutdown.clone()));
        Ok(RunningSimulator {
            url: format!("http://{addr}"),
            addr,
            shutdown: shutdown.drop_guard(),
            task,
        })
    }
}

/// A simulator that is served in the background until this is stopped or dropped.
#[derive(Debug)]
pub struct RunningSimulator {
    /// `http://127.0.0.1:port`
    pub url: String,
    /// Where it listens.
    pub addr: SocketAddr,
    shutdown: DropGuard,
    task: tokio::task::JoinHandle<()>,
}

impl RunningSimulator {
    /// Stops serving and waits until the port is free. The simulator keeps its VMs and can be served again.
    pub async fn stop(self) {
        drop(self.shutdown);
        // It fails only if the task panicked, and then it has ended, too.
        let _ = self.task.await;
    }
}

async fn serve_on<L: Listener>(simulator: &Simulator, mut listener: L, shutdown: CancellationToken) {
    let router = simulator.router();
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let connections = TaskTracker::new();
    let accept = async {
        while let Ok(seat) = Arc::clone(&room).acquire_owned().await {
            let (io, _) = listener.accept().await;
            let served = serve_connection(io, router.clone(), shutdown.clone());
            connections.spawn(async move {
                served.await;
                drop(seat);
            });
        }
    };
    shutdown.run_until_cancelled(accept).await;
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn serve_connection<I>(io: I, router: Router, shutdown: CancellationToken)
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request| answer(router.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = std::pin::pin!(connection);
    // Errors are those of the client, or wanted.
    if shutdown.run_until_cancelled(connection.as_mut()).await.is_none() {
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(DRAIN, connection).await;
    }
}

async fn answer(router: Router, request: hyper::Request<Incoming>) -> Result<Response, Closed> {
    let Ok(response) = router.oneshot(request.map(Body::new)).await;
    if response.extensions().get::<NoAnswer>().is_some() {
        return Err(Closed);
    }
    Ok(response)
}
