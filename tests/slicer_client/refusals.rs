//! Error answers: their kind, whether the request may have been carried out, and what a person is told.

use super::*;

#[tokio::test]
async fn every_status_of_a_create_has_its_kind_and_fate() {
    for (status, text, kind, fate) in [
        (302, "moved", Kind::Nonsense, Fate::NotDone),
        (400, "ram over the group's limit", Kind::Refused, Fate::NotDone),
        (400, "no free IP addresses", Kind::OutOfResources, Fate::NotDone),
        (401, "nope", Kind::Unauthorized, Fate::NotDone),
        (403, "authentication failed", Kind::Unauthorized, Fate::NotDone),
        (403, "trial mode", Kind::OutOfResources, Fate::NotDone),
        (403, "protected", Kind::Refused, Fate::NotDone),
        (404, "no such host group", Kind::NotFound, Fate::NotDone),
        (408, "timed out waiting for agent", Kind::Broken, Fate::Unclear),
        (409, "IP pool is full", Kind::OutOfResources, Fate::NotDone),
        (409, "busy", Kind::Refused, Fate::NotDone),
        (429, "slow down", Kind::Busy, Fate::NotDone),
        (500, "boom", Kind::Broken, Fate::Unclear),
        (500, "Out Of Memory", Kind::OutOfResources, Fate::Unclear),
        (503, "host at capacity", Kind::OutOfResources, Fate::Unclear),
        (504, "", Kind::Broken, Fate::Unclear),
        (507, "", Kind::OutOfResources, Fate::NotDone),
    ] {
        let error = create_error(ResponseTemplate::new(status).set_body_json(json!({"error": text}))).await;
        assert_is(&error, kind, fate);
    }
}

#[tokio::test]
async fn an_error_says_what_was_tried_and_what_came_back() {
    let server = host(ResponseTemplate::new(500).set_body_string("no free IP in 192.168.137.0/24\n")).await;
    let error = client(&server.uri())
        .create_vm("k3s-agents", &request())
        .await
        .unwrap_err();
    assert_eq!(
        error.message,
        format!(
            "POST {}/hostgroup/k3s-agents/nodes: 500 Internal Server Error: no free IP in 192.168.137.0/24",
            server.uri()
        )
    );
    let error = client(&server.uri())
        .list_vms("k3s-agents", Some("a=b"))
        .await
        .unwrap_err();
    let expected = format!("GET {}/hostgroup/k3s-agents/nodes: 500 ", server.uri());
    assert!(error.message.starts_with(&expected), "{error}");
}

#[tokio::test]
async fn long_and_ugly_error_texts_are_tamed() {
    let text = format!("a\u{1b}[31m\r\nb{}", "x".repeat(10_000));
    let error = create_error(ResponseTemplate::new(500).set_body_string(text)).await;
    assert!(!error.message.chars().any(char::is_control));
    assert!(error.message.chars().count() < 700, "{}", error.message.len());
}

#[tokio::test]
async fn an_html_error_page_is_reduced_to_its_text() {
    let page = "<html><body>\n<h1>502 Bad Gateway</h1>\n</body></html>";
    let error = create_error(ResponseTemplate::new(502).set_body_raw(page, "text/html")).await;
    assert!(error.message.ends_with(": 502 Bad Gateway: 502 Bad Gateway"), "{error}");
}

#[tokio::test]
async fn a_created_vm_without_a_name_may_exist_all_the_same() {
    for body in ["", "null", "{}", "created", "[]", r#"{"hostname":""}"#] {
        let error = create_error(ResponseTemplate::new(201).set_body_string(body)).await;
        assert_is(&error, Kind::Nonsense, Fate::Unclear);
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = host(ResponseTemplate::new(200).set_body_string("null")).await;
    for status in [301, 302, 303, 307, 308] {
        let answer = ResponseTemplate::new(status).insert_header("location", elsewhere.uri().as_str());
        let server = host(answer).await;
        let error = client(&server.uri()).list_vms("agents", None).await.unwrap_err();
        assert_is(&error, Kind::Nonsense, Fate::NotDone);
        assert!(error.message.contains("redirects are not followed"), "{error}");
        assert_eq!(requests(&server).await, 1);
    }
    assert_eq!(requests(&elsewhere).await, 0);
}
