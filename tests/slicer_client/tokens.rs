//! The API token: read anew for each request, never shown.

use super::*;

#[tokio::test]
async fn a_rotated_token_is_used_from_the_next_request_on() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "first\n").unwrap();
    let host = RawHost::tcp(Manner::Keep(ok("null"))).await;
    let endpoint = Endpoint::Url(host.url("http"));
    let token = SecretSource::file(file.clone()).unwrap();
    let client = Client::new(&endpoint, Some(token), None, PATIENT).unwrap();
    client.host_groups().await.unwrap();
    std::fs::write(&file, "second\n").unwrap();
    client.host_groups().await.unwrap();
    let sent = host.seen.requests();
    assert!(sent[0].contains("Bearer first\r\n"), "{}", sent[0]);
    assert!(sent[1].contains("Bearer second\r\n"), "{}", sent[1]);
}

#[tokio::test]
async fn a_token_that_http_cannot_carry_is_not_sent_and_not_shown() {
    let server = host(ResponseTemplate::new(200)).await;
    let token = SecretSource::value(SecretString::from("s3cr3t\nX-Evil: 1"));
    let client = Client::new(&Endpoint::Url(server.uri()), Some(token), None, PATIENT).unwrap();
    let error = client.create_vm("agents", &request()).await.unwrap_err();
    assert_eq!(error.fate, Fate::NotDone);
    assert!(!format!("{error} {error:?}").contains("s3cr3t"), "{error}");
    assert_eq!(requests(&server).await, 0);
}

#[tokio::test]
async fn nothing_that_can_be_printed_holds_a_secret_even_if_the_host_echoes_it() {
    let echo = format!("token={TOKEN} value={JOIN_TOKEN} data=SzEwZGVhZGJlZWY6OnNlcnZlcjpqMGlu");
    for answer in [
        ResponseTemplate::new(401).set_body_json(json!({"error": echo})),
        ResponseTemplate::new(500).set_body_string(&echo),
        ResponseTemplate::new(502).set_body_string(format!("<html><p>{echo}</p></html>")),
        ResponseTemplate::new(400).set_body_json(json!({"unknown": {"shape": echo}})),
        ResponseTemplate::new(400).set_body_string(format!("{}{echo}", "x".repeat(490))),
        ResponseTemplate::new(200).set_body_json(json!({"error": echo})),
        ResponseTemplate::new(200).set_body_json(json!(echo)),
        ResponseTemplate::new(302).insert_header("location", format!("http://x/?{TOKEN}").as_str()),
    ] {
        let server = MockServer::start().await;
        Mock::given(method("GET"))
            .and(path("/secrets"))
            .respond_with(ResponseTemplate::new(200).set_body_string("null"))
            .mount(&server)
            .await;
        Mock::given(wiremock::matchers::any())
            .respond_with(answer)
            .mount(&server)
            .await;
        let client = client(&server.uri());
        let mut said = vec![format!("{client:?}")];
        let errors = [
            client.create_vm("agents", &request()).await.err(),
            client.list_vms("agents", Some("a=b")).await.err(),
            client.delete_vm("agents", &vm()).await.err(),
            client.userdata_state(&vm()).await.err(),
            client.info().await.err(),
        ];
        said.extend(errors.into_iter().flatten().map(|error| format!("{error} {error:?}")));
        for text in &said {
            assert!(!text.contains(TOKEN), "{text}");
        }
        if let Err(error) = client.ensure_secret("k3s", &SecretString::from(JOIN_TOKEN)).await {
            for secret in [TOKEN, JOIN_TOKEN, "SzEwZGVhZGJl"] {
                assert!(!format!("{error} {error:?}").contains(secret), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn a_client_shows_its_endpoint_and_nothing_else() {
    assert_eq!(
        format!("{:?}", client("https://slicer.example:8443/api/")),
        "Client(https://slicer.example:8443/api)"
    );
    let endpoint = Endpoint::Unix("/run/slicer.sock".into());
    let unix = Client::new(&endpoint, token(), None, PATIENT).unwrap();
    assert_eq!(format!("{unix:?}"), "Client(unix:/run/slicer.sock)");
}
