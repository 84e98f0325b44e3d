//! Hosts that send too much.

use futures::StreamExt as _;

use super::*;

const GIB: usize = 1 << 30;

/// What may be on its way in socket buffers when the client hangs up.
const IN_FLIGHT: usize = 16 << 20;

#[tokio::test]
async fn a_body_that_announces_too_much_is_not_read() {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {GIB}\r\n\r\n");
    let host = RawHost::tcp(Manner::Flood(head)).await;
    let error = client(&host.url("http")).list_vms("agents", None).await.unwrap_err();
    assert_is(&error, Kind::Nonsense, Fate::Unclear);
    until("the host is hung up on", || {
        host.seen.closed_by_client.load(Ordering::SeqCst) == 1
    })
    .await;
    assert!(host.seen.bytes_sent.load(Ordering::SeqCst) < IN_FLIGHT);
}

#[tokio::test]
async fn a_body_without_end_is_read_up_to_the_limit_only() {
    let endless = |status: &str| Manner::Flood(format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n"));
    let mib = 1 << 20;

    let host = RawHost::tcp(endless("200 OK")).await;
    let error = client(&host.url("http")).list_vms("agents", None).await.unwrap_err();
    assert_is(&error, Kind::Nonsense, Fate::Unclear);
    assert!(error.message.contains("longer than 33554432 bytes"), "{error}");
    until("the host is hung up on", || {
        host.seen.closed_by_client.load(Ordering::SeqCst) == 1
    })
    .await;
    assert!(host.seen.bytes_sent.load(Ordering::SeqCst) < 32 * mib + IN_FLIGHT);

    let host = RawHost::tcp(endless("201 Created")).await;
    let error = client(&host.url("http"))
        .create_vm("agents", &request())
        .await
        .unwrap_err();
    assert_is(&error, Kind::Nonsense, Fate::Unclear);
    until("the host is hung up on", || {
        host.seen.closed_by_client.load(Ordering::SeqCst) == 1
    })
    .await;
    assert!(host.seen.bytes_sent.load(Ordering::SeqCst) < mib + IN_FLIGHT);

    for (status, fate) in [
        ("500 Internal Server Error", Fate::Unclear),
        ("400 Bad Request", Fate::NotDone),
    ] {
        let host = RawHost::tcp(endless(status)).await;
        let error = client(&host.url("http"))
            .create_vm("agents", &request())
            .await
            .unwrap_err();
        assert_is(&error, Kind::Nonsense, fate);
        until("the host is hung up on", || {
            host.seen.closed_by_client.load(Ordering::SeqCst) == 1
        })
        .await;
        assert!(host.seen.bytes_sent.load(Ordering::SeqCst) < IN_FLIGHT);
    }
}

#[tokio::test]
async fn many_large_answers_at_once_are_read_one_after_another() {
    let host = RawHost::tcp(Manner::Flood("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_owned())).await;
    let client = client(&host.url("http"));
    let mut listings: futures::stream::FuturesUnordered<_> = (0..30).map(|_| client.list_vms("agents", None)).collect();
    let error = listings.next().await.unwrap().unwrap_err();
    assert!(error.message.contains("longer than"), "{error}");
    // The one is read up to its limit; of the others, what is read first and what fits into the socket buffers.
    let sent = host.seen.bytes_sent.load(Ordering::SeqCst);
    assert!(sent < 2 * (32 << 20) + 30 * (8 << 20), "{} MiB", sent >> 20);
}

#[tokio::test]
async fn an_error_may_be_64_kib_long() {
    let error = |length| create_error(ResponseTemplate::new(500).set_body_string("x".repeat(length)));
    assert_is(&error(64 * 1024).await, Kind::Broken, Fate::Unclear);
    assert_is(&error(64 * 1024 + 1).await, Kind::Nonsense, Fate::Unclear);
}

#[tokio::test]
async fn a_large_list_within_the_limit_is_read() {
    let vms: Vec<_> = (0..5000)
        .map(|n| json!({"hostname": format!("agents-{n}"), "tags": ["x".repeat(200)]}))
        .collect();
    let server = host(ResponseTemplate::new(200).set_body_json(vms)).await;
    assert_eq!(
        client(&server.uri()).list_vms("agents", None).await.unwrap().len(),
        5000
    );
}
