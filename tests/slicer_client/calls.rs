//! What is sent, and what is made of a successful answer.

use super::*;

#[tokio::test]
async fn a_create_posts_an_ephemeral_vm_and_reads_its_name() {
    for status in [200, 201] {
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .and(path("/hostgroup/agents/nodes"))
            .and(header("authorization", format!("Bearer {TOKEN}").as_str()))
            .and(body_json(json!({
                "persistent": false,
                "cpus": 2,
                "userdata": "#!/bin/sh\n",
                "tags": ["slicer-cloud-provider/launch=abcd1234"],
                "secrets": ["k3s-token-0123456789ab"],
            })))
            .respond_with(ResponseTemplate::new(status).set_body_json(json!({"hostname": "agents-1"})))
            .expect(1)
            .mount(&server)
            .await;
        let name = client(&server.uri()).create_vm("agents", &request()).await.unwrap();
        assert_eq!(name, vm());
    }
}

#[tokio::test]
async fn a_list_is_asked_for_by_tag_below_the_path_of_the_url() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/behind/proxy/hostgroup/a%20b/nodes"))
        .and(query_param("tag", "x=y&z"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!([{"hostname": "agents-1", "tags": ["x=y&z"]}])))
        .mount(&server)
        .await;
    let client = client(&format!("{}/behind/proxy/", server.uri()));
    let vms = client.list_vms("a b", Some("x=y&z")).await.unwrap();
    assert_eq!(vms.len(), 1);
    assert_eq!(vms[0].tags, ["x=y&z"]);
}

#[tokio::test]
async fn host_groups_are_listed_and_null_is_an_empty_list() {
    let server = host(ResponseTemplate::new(200).set_body_json(json!([{"name": "agents", "cpus": 2}]))).await;
    let groups = client(&server.uri()).host_groups().await.unwrap();
    assert_eq!(groups[0].cpus, Some(2));
    let server = host(ResponseTemplate::new(200).set_body_string("null")).await;
    assert_eq!(client(&server.uri()).host_groups().await.unwrap(), []);
    assert_eq!(client(&server.uri()).list_vms("agents", None).await.unwrap(), []);
}

#[tokio::test]
async fn a_list_that_makes_no_sense_is_no_empty_list() {
    for body in ["", "{}", "[", "<html></html>", r#"[{"hostname":"a"},{}]"#] {
        let server = host(ResponseTemplate::new(200).set_body_string(body)).await;
        let error = client(&server.uri()).list_vms("agents", None).await.unwrap_err();
        assert_eq!(error.kind, Kind::Nonsense, "{body}: {error}");
        assert_eq!(requests(&server).await, 1, "nonsense is not asked for again: {body}");
    }
}

#[tokio::test]
async fn a_delete_is_done_with_200_202_and_204_whatever_the_body_says() {
    for answer in [
        ResponseTemplate::new(200).set_body_json(json!({"message": "Node deleted", "disk_removed": "false"})),
        ResponseTemplate::new(200).set_body_string("VM deleted successfully"),
        ResponseTemplate::new(202),
        ResponseTemplate::new(204),
    ] {
        let server = MockServer::start().await;
        Mock::given(method("DELETE"))
            .and(path("/hostgroup/agents/nodes/agents-1"))
            .respond_with(answer)
            .expect(1)
            .mount(&server)
            .await;
        client(&server.uri()).delete_vm("agents", &vm()).await.unwrap();
    }
}

#[tokio::test]
async fn a_delete_that_reports_an_error_with_200_failed() {
    let server = host(ResponseTemplate::new(200).set_body_json(json!({"error": "disk busy"}))).await;
    let error = client(&server.uri()).delete_vm("agents", &vm()).await.unwrap_err();
    assert_is(&error, Kind::Broken, Fate::Unclear);
    assert!(
        error.message.ends_with("/hostgroup/agents/nodes/agents-1: disk busy"),
        "{error}"
    );

    let server = host(ResponseTemplate::new(200).set_body_json(json!({"error": "VM not found"}))).await;
    let error = client(&server.uri()).delete_vm("agents", &vm()).await.unwrap_err();
    assert_is(&error, Kind::NotFound, Fate::NotDone);
}

#[tokio::test]
async fn deleting_a_protected_or_missing_vm_is_an_error_of_its_own_and_sent_once() {
    for (status, text, kind) in [
        (403, "VM is protected", Kind::Refused),
        (404, "not found", Kind::NotFound),
    ] {
        let server = host(ResponseTemplate::new(status).set_body_json(json!({"error": text}))).await;
        let error = client(&server.uri()).delete_vm("agents", &vm()).await.unwrap_err();
        assert_is(&error, kind, Fate::NotDone);
    }
    let server = host(ResponseTemplate::new(503)).await;
    let error = client(&server.uri()).delete_vm("agents", &vm()).await.unwrap_err();
    assert_is(&error, Kind::Broken, Fate::Unclear);
    assert_eq!(requests(&server).await, 1);
}

#[tokio::test]
async fn a_name_that_would_ask_for_something_else_is_never_sent() {
    let server = host(ResponseTemplate::new(200)).await;
    let client = client(&server.uri());
    for name in ["..", ".", "", "a\nb"] {
        let error = client.delete_vm("agents", &Hostname::from(name)).await.unwrap_err();
        assert_is(&error, Kind::Refused, Fate::NotDone);
    }
    assert_eq!(requests(&server).await, 0);
    client.delete_vm("agents", &Hostname::from("../b?c#d")).await.unwrap();
    let sent = server.received_requests().await.unwrap();
    assert_eq!(sent[0].url.path(), "/hostgroup/agents/nodes/..%2Fb%3Fc%23d");
}

#[tokio::test]
async fn userdata_is_pending_while_no_agent_answers() {
    for (answer, expected) in [
        (
            ResponseTemplate::new(200).set_body_json(json!({"userdata_ran": true, "userdata_exit_code": 3})),
            UserdataState::Exited(3),
        ),
        (
            ResponseTemplate::new(200).set_body_json(json!({"userdata_ran": true})),
            UserdataState::Finished,
        ),
        (
            ResponseTemplate::new(200).set_body_json(json!({"userdata_ran": false})),
            UserdataState::Pending,
        ),
        (ResponseTemplate::new(400), UserdataState::Pending),
        (ResponseTemplate::new(404), UserdataState::Pending),
    ] {
        let server = MockServer::start().await;
        Mock::given(method("GET"))
            .and(path("/vm/agents-1/health"))
            .respond_with(answer)
            .expect(1)
            .mount(&server)
            .await;
        assert_eq!(client(&server.uri()).userdata_state(&vm()).await.unwrap(), expected);
    }
    let server = host(ResponseTemplate::new(500)).await;
    let error = client(&server.uri()).userdata_state(&vm()).await.unwrap_err();
    assert_eq!(error.kind, Kind::Broken);
}

#[tokio::test]
async fn a_serial_log_is_cut_to_its_end() {
    let server = MockServer::start().await;
    let content = format!("{}end", "ü".repeat(10_000));
    Mock::given(method("GET"))
        .and(path("/vm/agents-1/logs"))
        .and(query_param("lines", "40"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"content": content})))
        .mount(&server)
        .await;
    let tail = client(&server.uri()).serial_log_tail(&vm(), 40).await.unwrap();
    assert!(
        tail.ends_with("üend") && tail.len() <= 4096 && tail.len() > 4000,
        "{}",
        tail.len()
    );
}

#[tokio::test]
async fn zero_lines_of_a_log_do_not_ask_for_the_whole_file() {
    let server = host(ResponseTemplate::new(200).set_body_json(json!({"content": "a"}))).await;
    client(&server.uri()).serial_log_tail(&vm(), 0).await.unwrap();
    let sent = server.received_requests().await.unwrap();
    assert_eq!(sent[0].url.query(), Some("lines=1"));
}

#[tokio::test]
async fn info_is_optional() {
    let server = host(ResponseTemplate::new(200).set_body_json(json!({"version": "0.1.71", "arch": "x86_64"}))).await;
    let info = client(&server.uri()).info().await.unwrap();
    assert_eq!(info.version.as_deref(), Some("0.1.71"));
    assert_eq!(info.git_commit, None);
    let server = host(ResponseTemplate::new(404).set_body_string("404 page not found")).await;
    assert_eq!(client(&server.uri()).info().await.unwrap().version, None);
    let server = host(ResponseTemplate::new(401)).await;
    assert_eq!(client(&server.uri()).info().await.unwrap_err().kind, Kind::Unauthorized);
}
