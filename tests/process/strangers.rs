//! Servers that are not what somebody looks for: a web page, and one that never says a word.

use axum::Router;
use http::StatusCode;
use tokio::net::TcpListener;

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// `host:port` of a web server that answers everything with this status and a page.
pub(crate) async fn web_server(status: u16) -> String {
    let (listener, address) = listen().await;
    let status = StatusCode::from_u16(status).unwrap();
    let router = Router::new().fallback(move || async move { (status, "<html>Welcome to a web server</html>") });
    tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
    address
}

/// `host:port` of a server that takes connections and answers nothing.
pub(crate) async fn silence() -> String {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let mut connections = Vec::new();
        loop {
            connections.push(listener.accept().await.unwrap());
        }
    });
    address
}
