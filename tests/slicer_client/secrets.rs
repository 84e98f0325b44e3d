//! Storing a secret: once, never over an existing one.

use super::*;

async fn ensure(server: &MockServer) -> Result<(), HostError> {
    client(&server.uri())
        .ensure_secret("k3s", &SecretString::from(JOIN_TOKEN))
        .await
}

async fn secrets_listed(server: &MockServer, names: serde_json::Value, times: u64) {
    Mock::given(method("GET"))
        .and(path("/secrets"))
        .respond_with(ResponseTemplate::new(200).set_body_json(names))
        .up_to_n_times(times)
        .expect(times)
        .mount(server)
        .await;
}

async fn secret_posted(server: &MockServer, status: u16) {
    Mock::given(method("POST"))
        .and(path("/secrets"))
        .and(body_json(json!({
            "name": "k3s", "data": "SzEwZGVhZGJlZWY6OnNlcnZlcjpqMGlu", "permissions": "0600", "uid": 0, "gid": 0,
        })))
        .respond_with(ResponseTemplate::new(status).set_body_json(json!({"error": format!("status {status}")})))
        .expect(1)
        .mount(server)
        .await;
}

#[tokio::test]
async fn a_secret_that_is_there_is_left_alone() {
    let server = MockServer::start().await;
    secrets_listed(&server, json!([{"name": "other"}, {"name": "k3s"}]), 1).await;
    ensure(&server).await.unwrap();
    assert_eq!(requests(&server).await, 1);
}

#[tokio::test]
async fn a_missing_secret_is_stored_and_a_faster_somebody_is_no_error() {
    for status in [200, 201, 409] {
        let server = MockServer::start().await;
        secrets_listed(&server, serde_json::Value::Null, 1).await;
        secret_posted(&server, status).await;
        ensure(&server).await.unwrap();
    }
}

#[tokio::test]
async fn after_an_unclear_answer_the_list_tells_whether_the_secret_is_there() {
    let server = MockServer::start().await;
    secrets_listed(&server, json!([]), 1).await;
    secret_posted(&server, 500).await;
    secrets_listed(&server, json!([{"name": "k3s"}]), 1).await;
    ensure(&server).await.unwrap();

    let server = MockServer::start().await;
    secrets_listed(&server, json!([]), 2).await;
    secret_posted(&server, 500).await;
    let error = ensure(&server).await.unwrap_err();
    assert_is(&error, Kind::Broken, Fate::Unclear);
    assert!(error.message.starts_with("POST "), "{error}");
}

#[tokio::test]
async fn a_refused_secret_is_not_looked_for_again() {
    let server = MockServer::start().await;
    secrets_listed(&server, json!([]), 1).await;
    secret_posted(&server, 400).await;
    let error = ensure(&server).await.unwrap_err();
    assert_is(&error, Kind::Refused, Fate::NotDone);
    assert_eq!(requests(&server).await, 2);
}
