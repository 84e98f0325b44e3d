//! What is repeated, what is never, and how connections are used again.

use super::*;

#[tokio::test]
async fn a_read_is_repeated_twice_when_the_host_fails_or_is_busy() {
    for status in [429, 500, 502, 503] {
        let server = host(ResponseTemplate::new(status)).await;
        client(&server.uri()).list_vms("agents", None).await.unwrap_err();
        assert_eq!(requests(&server).await, 3, "{status}");
    }
    for status in [400, 401, 403, 404, 409] {
        let server = host(ResponseTemplate::new(status).set_body_string("trial")).await;
        client(&server.uri()).list_vms("agents", None).await.unwrap_err();
        assert_eq!(requests(&server).await, 1, "{status}");
    }
}

#[tokio::test]
async fn a_read_succeeds_when_the_host_recovers() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .respond_with(ResponseTemplate::new(503))
        .up_to_n_times(2)
        .mount(&server)
        .await;
    Mock::given(method("GET"))
        .respond_with(ResponseTemplate::new(200).set_body_string("null"))
        .mount(&server)
        .await;
    client(&server.uri()).list_vms("agents", None).await.unwrap();
}

#[tokio::test]
async fn a_read_is_repeated_when_its_connection_is_lost() {
    let host = RawHost::tcp(Manner::Once(Vec::new())).await;
    client(&host.url("http")).host_groups().await.unwrap_err();
    assert_eq!(host.seen.requests().len(), 3);
}

#[tokio::test]
async fn a_read_without_time_for_a_repeat_ends_with_the_answer_it_has() {
    let server = host(ResponseTemplate::new(503)).await;
    let timeouts = Timeouts {
        // Less than the first pause.
        read: Duration::from_millis(95),
        ..PATIENT
    };
    let client = client_with(&server.uri(), None, timeouts);
    let mut kinds = Vec::new();
    // On a loaded machine some answers come too late for such a short time, but not all.
    while kinds.len() < 50 && kinds.last() != Some(&Kind::Broken) {
        kinds.push(client.host_groups().await.unwrap_err().kind);
    }
    assert_eq!(kinds.last(), Some(&Kind::Broken));
    assert!(requests(&server).await <= kinds.len());
}

#[tokio::test]
async fn a_create_is_never_repeated() {
    for status in [408, 429, 500, 503] {
        let server = host(ResponseTemplate::new(status)).await;
        client(&server.uri()).create_vm("agents", &request()).await.unwrap_err();
        assert_eq!(requests(&server).await, 1, "{status}");
    }
}

#[tokio::test]
async fn requests_share_one_connection() {
    let host = RawHost::tcp(Manner::Keep(ok("null"))).await;
    let client = client(&host.url("http"));
    for client in [&client, &client.clone()] {
        client.list_vms("agents", Some("launch=1")).await.unwrap();
        client.delete_vm("agents", &vm()).await.unwrap();
    }
    assert_eq!(host.seen.requests().len(), 4);
    assert_eq!(host.seen.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_connection_of_a_listing_is_closed_because_idle_it_would_keep_a_large_buffer() {
    let host = RawHost::tcp(Manner::Keep(ok("null"))).await;
    let client = client(&host.url("http"));
    for listings in 1..=3 {
        client.list_vms("agents", None).await.unwrap();
        until("it is closed", || {
            host.seen.closed_by_client.load(Ordering::SeqCst) == listings
        })
        .await;
    }
    assert_eq!(host.seen.connections.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn an_error_does_not_cost_the_connection() {
    let not_found = "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nnot found".to_owned();
    let host = RawHost::tcp(Manner::Keep(not_found)).await;
    let client = client(&host.url("http"));
    for _ in 0..3 {
        client.delete_vm("agents", &vm()).await.unwrap_err();
    }
    assert_eq!(host.seen.connections.load(Ordering::SeqCst), 1);
}
