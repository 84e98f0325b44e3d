//! Unix sockets, TLS, proxies: how a host is reached.

use super::*;

#[tokio::test]
async fn a_unix_socket_is_spoken_to_with_and_without_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("slicer.sock");
    let host = RawHost::unix(&socket, Manner::Keep(ok(r#"{"hostname":"agents-1"}"#)));
    let endpoint = Endpoint::Unix(socket);
    for token in [token(), None] {
        let has_token = token.is_some();
        let client = Client::new(&endpoint, token, None, PATIENT).unwrap();
        assert_eq!(client.create_vm("agents", &request()).await.unwrap(), vm());
        let sent = host.seen.requests().pop().unwrap().to_lowercase();
        assert!(sent.starts_with("post /hostgroup/agents/nodes http/1.1\r\n"), "{sent}");
        assert_eq!(sent.contains("authorization: bearer"), has_token, "{sent}");
    }
}

#[tokio::test]
async fn a_missing_socket_is_named_in_the_error() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("slicer.sock");
    let client = Client::new(&Endpoint::Unix(socket.clone()), None, None, PATIENT).unwrap();
    let error = client.create_vm("agents", &request()).await.unwrap_err();
    assert_is(&error, Kind::Unreachable, Fate::NotDone);
    let expected = format!("POST unix:{}:/hostgroup/agents/nodes: cannot connect", socket.display());
    assert!(error.message.starts_with(&expected), "{error}");
    assert!(error.message.contains("No such file"), "{error}");
}

#[tokio::test]
async fn https_works_with_the_right_bundle_among_others() {
    let (authority, other) = (tls::Authority::new("ours"), tls::Authority::new("theirs"));
    let host = RawHost::tls(authority.acceptor("localhost"), Manner::Keep(ok("null"))).await;
    let bundle = format!("# ours\n{}\n{}", other.pem(), authority.pem());
    let client = client_with(&host.url("https"), Some(&bundle), PATIENT);
    client.host_groups().await.unwrap();
    client.host_groups().await.unwrap();
    assert_eq!(host.seen.connections.load(Ordering::SeqCst), 1);
}

async fn tls_error(acceptor: tokio_rustls::TlsAcceptor, bundle: &str) -> HostError {
    let host = RawHost::tls(acceptor, Manner::Keep(ok("null"))).await;
    let client = client_with(&host.url("https"), Some(bundle), PATIENT);
    let error = client.create_vm("agents", &request()).await.unwrap_err();
    assert_is(&error, Kind::Unreachable, Fate::NotDone);
    assert!(error.message.contains("TLS failed"), "{error}");
    assert_eq!(host.seen.requests().len(), 0, "the token must not be sent");
    error
}

#[tokio::test]
async fn a_host_with_a_bad_certificate_gets_no_request() {
    let (authority, other) = (tls::Authority::new("ours"), tls::Authority::new("theirs"));
    let error = tls_error(authority.acceptor("localhost"), &other.pem()).await;
    assert!(error.message.contains("ca-bundle"), "{error}");

    let error = tls_error(authority.expired_acceptor("localhost"), &authority.pem()).await;
    assert!(error.message.contains("expired"), "{error}");

    let error = tls_error(authority.acceptor("other.example"), &authority.pem()).await;
    assert!(error.message.contains("localhost"), "{error}");

    let (pem, acceptor) = tls::self_signed("localhost");
    let error = tls_error(acceptor, &pem).await;
    assert!(error.message.contains("one of its own"), "{error}");
}

#[tokio::test]
async fn a_certificate_that_is_renewed_needs_no_new_client_whether_in_time_or_too_late() {
    let authority = tls::Authority::new("ours");
    let shown = Arc::new(Mutex::new(authority.acceptor("localhost")));
    // Each request is a connection of its own.
    let host = RawHost::tls_with(Arc::clone(&shown), Manner::Once(ok("null").into())).await;
    let client = client_with(&host.url("https"), Some(&authority.pem()), PATIENT);
    client.list_vms("agents", None).await.unwrap();
    *shown.lock().unwrap() = authority.acceptor("localhost");
    client.list_vms("agents", None).await.unwrap();

    *shown.lock().unwrap() = authority.expired_acceptor("localhost");
    let error = client.list_vms("agents", None).await.unwrap_err();
    assert_is(&error, Kind::Unreachable, Fate::NotDone);
    assert!(error.message.contains("expired"), "{error}");
    *shown.lock().unwrap() = authority.acceptor("localhost");
    client.list_vms("agents", None).await.unwrap();
}

#[tokio::test]
async fn a_read_is_not_repeated_for_a_bad_certificate() {
    let authority = tls::Authority::new("ours");
    let host = RawHost::tls(authority.acceptor("localhost"), Manner::Keep(ok("null"))).await;
    client(&host.url("https")).host_groups().await.unwrap_err();
    assert_eq!(host.seen.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_host_that_does_not_speak_tls_is_unreachable() {
    let silent = RawHost::tcp(Manner::Silent).await;
    let client = client_with(&silent.url("https"), None, hasty());
    let error = client.create_vm("agents", &request()).await.unwrap_err();
    assert_is(&error, Kind::Unreachable, Fate::NotDone);
    assert!(error.message.ends_with("no connection within 0.2 s"), "{error}");

    let server = host(ResponseTemplate::new(200)).await;
    let client = client_with(&server.uri().replace("http:", "https:"), None, PATIENT);
    let error = client.create_vm("agents", &request()).await.unwrap_err();
    assert_is(&error, Kind::Unreachable, Fate::NotDone);
    assert!(error.message.contains("does the host speak TLS"), "{error}");
}

// The environment decides: these run once more, in a process of their own.
/// Runs one ignored test of this file in a process with these variables, and expects it to pass.
fn pass_with(test: &str, variables: &[(&str, &str)]) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", &format!("reach::{test}")])
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn a_system_without_roots_is_no_error() {
    let nowhere = [
        ("SSL_CERT_FILE", "/nonexistent/roots.pem"),
        ("SSL_CERT_DIR", "/nonexistent"),
    ];
    pass_with("child_everything_works_without_system_roots", &nowhere);
}

#[tokio::test]
#[ignore = "run by a_system_without_roots_is_no_error"]
async fn child_everything_works_without_system_roots() {
    let host = RawHost::tcp(Manner::Keep(ok("null"))).await;
    client(&host.url("http")).host_groups().await.unwrap();

    let authority = tls::Authority::new("ours");
    let host = RawHost::tls(authority.acceptor("localhost"), Manner::Keep(ok("null"))).await;
    client_with(&host.url("https"), Some(&authority.pem()), PATIENT)
        .host_groups()
        .await
        .unwrap();
    let error = client(&host.url("https")).host_groups().await.unwrap_err();
    assert!(error.message.contains("TLS failed"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bundle_is_used_in_addition_to_the_systems_roots() {
    let (system, bundle) = (tls::Authority::new("system"), tls::Authority::new("bundle"));
    let by_system = RawHost::tls(system.acceptor("localhost"), Manner::Keep(ok("null"))).await;
    let by_bundle = RawHost::tls(bundle.acceptor("localhost"), Manner::Keep(ok("null"))).await;
    let dir = tempfile::tempdir().unwrap();
    let roots = dir.path().join("roots.pem");
    std::fs::write(&roots, system.pem()).unwrap();
    let urls = format!("{} {}", by_system.url("https"), by_bundle.url("https"));
    let child = tokio::task::spawn_blocking(move || {
        let roots = roots.to_str().unwrap();
        let variables = [
            ("SSL_CERT_FILE", roots),
            ("TEST_URLS", &urls),
            ("TEST_BUNDLE", &bundle.pem()),
        ];
        pass_with("child_reaches_hosts_of_both", &variables);
    });
    child.await.unwrap();
}

#[tokio::test]
#[ignore = "run by the_bundle_is_used_in_addition_to_the_systems_roots"]
async fn child_reaches_hosts_of_both() {
    let bundle = std::env::var("TEST_BUNDLE").unwrap();
    for url in std::env::var("TEST_URLS").unwrap().split(' ') {
        client_with(url, Some(&bundle), PATIENT).host_groups().await.unwrap();
    }
}

#[test]
fn proxies_are_used_for_far_hosts_only() {
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    drop(proxy);
    let variables = [
        ("http_proxy", url.as_str()),
        ("HTTP_PROXY", &url),
        ("no_proxy", ""),
        ("NO_PROXY", ""),
    ];
    pass_with("child_near_hosts_bypass_a_dead_proxy", &variables);
}

#[tokio::test]
#[ignore = "run by proxies_are_used_for_far_hosts_only"]
async fn child_near_hosts_bypass_a_dead_proxy() {
    let host = RawHost::tcp(Manner::Keep(ok("null"))).await;
    client(&host.url("http")).host_groups().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("slicer.sock");
    let _host = RawHost::unix(&socket, Manner::Keep(ok("null")));
    let unix = Client::new(&Endpoint::Unix(socket), None, None, PATIENT).unwrap();
    unix.host_groups().await.unwrap();
    // The name is never looked up: the proxy is asked, and it is not there.
    let far = client("http://slicer.invalid:8080");
    let error = far.create_vm("agents", &request()).await.unwrap_err();
    assert!(error.message.contains("refused"), "{error}");
}
