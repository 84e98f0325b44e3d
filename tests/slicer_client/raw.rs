//! Hosts that wiremock cannot play: they break off, stay silent, flood, or count their connections. They speak bytes,
//! over TCP, TLS or a unix socket.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What a host does with each connection.
#[derive(Clone)]
pub(crate) enum Manner {
    /// Answers each request with these bytes and keeps the connection.
    Keep(String),
    /// Answers one request with these bytes and closes.
    Once(Vec<u8>),
    /// Reads requests and never answers.
    Silent,
    /// Answers with this head, then with `x` without end.
    Flood(String),
}

/// What a host saw.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) closed_by_client: Arc<AtomicUsize>,
    pub(crate) bytes_sent: Arc<AtomicUsize>,
    pub(crate) requests: Arc<Mutex<Vec<String>>>,
}

impl Seen {
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// A running host; stops when it is dropped.
pub(crate) struct RawHost {
    pub(crate) address: Option<SocketAddr>,
    pub(crate) seen: Seen,
    task: JoinHandle<()>,
}

impl Drop for RawHost {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RawHost {
    pub(crate) async fn tcp(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().ok();
        let seen = Seen::default();
        let seen_by_task = seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                seen_by_task.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, manner.clone(), seen_by_task.clone()));
            }
        });
        Self { address, seen, task }
    }

    pub(crate) async fn tls(acceptor: TlsAcceptor, manner: Manner) -> Self {
        Self::tls_with(Arc::new(Mutex::new(acceptor)), manner).await
    }

    /// The same, with a certificate that may be replaced: new connections are shown the new one.
    pub(crate) async fn tls_with(acceptor: Arc<Mutex<TlsAcceptor>>, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().ok();
        let seen = Seen::default();
        let seen_by_task = seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                seen_by_task.connections.fetch_add(1, Ordering::SeqCst);
                let acceptor = acceptor.lock().unwrap().clone();
                let (manner, seen) = (manner.clone(), seen_by_task.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, manner, seen).await;
                    }
                });
            }
        });
        Self { address, seen, task }
    }

    pub(crate) fn unix(path: &Path, manner: Manner) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let seen = Seen::default();
        let seen_by_task = seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                seen_by_task.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, manner.clone(), seen_by_task.clone()));
            }
        });
        Self {
            address: None,
            seen,
            task,
        }
    }

    pub(crate) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://localhost:{}", self.address.unwrap().port())
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, manner: Manner, seen: Seen) {
    while let Some(request) = read_request(&mut stream).await {
        seen.requests.lock().unwrap().push(request);
        match &manner {
            Manner::Keep(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
            Manner::Once(answer) => {
                let _ = stream.write_all(answer).await;
                let _ = stream.shutdown().await;
                return;
            }
            Manner::Silent => {}
            Manner::Flood(head) => {
                let _ = stream.write_all(head.as_bytes()).await;
                let block = vec![b'x'; 64 * 1024];
                while let Ok(sent) = stream.write(&block).await {
                    seen.bytes_sent.fetch_add(sent, Ordering::SeqCst);
                }
                break;
            }
        }
    }
    seen.closed_by_client.fetch_add(1, Ordering::SeqCst);
}

/// Reads one request, head and body; `None` when the client is gone.
async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok())
                .unwrap_or(0);
            if body.len() >= length {
                return Some(text);
            }
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(count) if count > 0 => bytes.extend_from_slice(&chunk[..count]),
            _ => return None,
        }
    }
}

/// An answer of 200 with this body.
pub(crate) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Waits until a condition holds; fails the test after ten seconds.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait)
        .await
        .unwrap_or_else(|_| panic!("never happened: {what}"));
}
