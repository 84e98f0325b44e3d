//! Hosts from which no whole answer comes.

use super::*;

#[tokio::test]
async fn nobody_listening_means_it_was_not_done() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let client = client(&format!("http://{closed}"));
    let error = client.create_vm("agents", &request()).await.unwrap_err();
    assert_is(&error, Kind::Unreachable, Fate::NotDone);
    assert!(
        error.message.contains("cannot connect") && error.message.contains("refused"),
        "{error}"
    );
}

#[tokio::test]
async fn an_unknown_host_name_means_it_was_not_done() {
    let client = client("http://nowhere.invalid:8080");
    let error = client.create_vm("agents", &request()).await.unwrap_err();
    assert_is(&error, Kind::Unreachable, Fate::NotDone);
}

#[tokio::test]
async fn a_host_that_never_answers_may_still_be_at_it() {
    let error = raw_create_error(Manner::Silent, hasty()).await;
    assert_is(&error, Kind::Unreachable, Fate::MayStillHappen);
    assert!(error.message.ends_with("no complete answer within 0.3 s"), "{error}");
}

#[tokio::test]
async fn an_answer_that_does_not_end_in_time_may_still_be_at_it() {
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"hostname\":".to_owned();
    let error = raw_create_error(Manner::Keep(half), hasty()).await;
    assert_is(&error, Kind::Unreachable, Fate::MayStillHappen);
}

#[tokio::test]
async fn each_kind_of_request_has_its_own_time_limit() {
    let host = RawHost::tcp(Manner::Silent).await;
    let short = Duration::from_millis(200);
    let limits = |create, delete, read| Timeouts {
        create,
        delete,
        read,
        ..PATIENT
    };
    let long = PATIENT.read;
    let start = Instant::now();
    let client = |timeouts| client_with(&host.url("http"), None, timeouts);
    client(limits(short, long, long))
        .create_vm("a", &request())
        .await
        .unwrap_err();
    client(limits(long, short, long))
        .delete_vm("a", &vm())
        .await
        .unwrap_err();
    client(limits(long, long, short)).list_vms("a", None).await.unwrap_err();
    assert!(start.elapsed() < long, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_connection_that_is_closed_before_any_byte_leaves_it_unclear() {
    let error = raw_create_error(Manner::Once(Vec::new()), PATIENT).await;
    assert_is(&error, Kind::Unreachable, Fate::Unclear);
    assert!(error.message.contains("connection lost"), "{error}");
}

#[tokio::test]
async fn half_an_answer_leaves_it_unclear() {
    for half in [
        "HTTP/1.1 20",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"hostname\":\"agents-1\"}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n17\r\n{\"hostname\":\"agents-1\"}",
    ] {
        let error = raw_create_error(Manner::Once(half.into()), PATIENT).await;
        assert_is(&error, Kind::Unreachable, Fate::Unclear);
    }
}

#[tokio::test]
async fn a_listing_that_only_the_end_of_its_connection_cuts_off_is_no_shorter_listing() {
    for cut in ["", "[", r#"[{"hostname":"agents-1","tags":[]},"#] {
        // Without a length: nothing but the text itself shows that something is missing.
        let answer = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{cut}");
        let host = RawHost::tcp(Manner::Once(answer.into())).await;
        let error = client(&host.url("http")).list_vms("agents", None).await.unwrap_err();
        assert_is(&error, Kind::Nonsense, Fate::Unclear);
    }
}

#[tokio::test]
async fn an_error_that_is_cut_off_still_counts() {
    let cut = "HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\ntrial";
    let error = raw_create_error(Manner::Once(cut.into()), PATIENT).await;
    assert_is(&error, Kind::OutOfResources, Fate::NotDone);
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_nonsense() {
    for garbage in [
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "220 smtp ready\r\n\r\n",
        "\u{0}\u{1}\u{2}\r\n\r\n",
    ] {
        let error = raw_create_error(Manner::Once(garbage.into()), PATIENT).await;
        assert_is(&error, Kind::Nonsense, Fate::Unclear);
        assert!(error.message.contains("not HTTP"), "{error}");
    }
}

#[tokio::test]
async fn a_request_that_is_dropped_leaves_nothing_running() {
    let host = RawHost::tcp(Manner::Silent).await;
    let client = client(&host.url("http"));
    {
        let request = request();
        let mut create = client.create_vm("agents", &request);
        tokio::select! {
            _ = &mut create => panic!("a silent host answered"),
            () = until("the request arrives", || host.seen.requests().len() == 1) => {}
        }
    }
    until("the connection is closed", || {
        host.seen.closed_by_client.load(Ordering::SeqCst) == 1
    })
    .await;
}
