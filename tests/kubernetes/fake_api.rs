//! A small Kubernetes API server over real HTTP, with TLS if that is wanted: Nodes with list (in pages), watch and the
//! rest, other objects without watch (see [`objects`]), `/version` and access reviews. It can be stopped, started again
//! on its port, and told to misbehave.

mod encrypted;
mod objects;
#[allow(dead_code)] // the tests of Slicer's client use all of it
#[path = "../slicer_client/tls.rs"]
mod tls;

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

pub(crate) use objects::LEASES;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use encrypted::Encrypted;
use futures::Stream;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tls::Authority;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use url::Url;

/// The bearer token without which every request is refused.
pub(crate) const TOKEN: &str = "s3cr3t-bearer-token";

/// What a request gets instead of its answer.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// A Kubernetes Status with this code and reason.
    Refuse(u16, &'static str),
    /// A page that no API server would send.
    Page(u16, &'static str),
    /// Nothing, for ever.
    Silence,
}

#[derive(Default)]
struct Cluster {
    resource_version: u64,
    oldest_version: u64,
    nodes: BTreeMap<String, Value>,
    history: Vec<(u64, String)>,
    /// Secrets, leases and pods, by their paths.
    objects: BTreeMap<String, Value>,
    git_version: String,
    denied: BTreeSet<String>,
    faults: Vec<(String, Fault)>,
    requests: Vec<String>,
    /// The bodies of requests that were carried out, with the requests.
    bodies: Vec<(String, Value)>,
}

struct Shared {
    cluster: Mutex<Cluster>,
    changed: watch::Sender<()>,
}

/// The server. It lives in a runtime of its own, so that stopping it cuts every connection at once.
pub(crate) struct FakeApi {
    shared: Arc<Shared>,
    port: u16,
    /// Who signs its certificate, if it has one.
    authority: Option<Authority>,
    runtime: Option<Runtime>,
}

/// A kubeconfig that leads to this URL with the [`TOKEN`], and what goes with the URL in the flow style of YAML.
pub(crate) fn kubeconfig(server: &str, further: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
         clusters: [{{name: k, cluster: {{server: \"{server}\"{further}}}}}]\nusers: [{{name: u, user: {{token: {TOKEN}}}}}]\n"
    )
}

impl FakeApi {
    /// One that has a port, but does not listen yet.
    pub(crate) fn stopped() -> Self {
        Self::on_port(TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port())
    }

    pub(crate) fn started() -> Self {
        let mut api = Self::on_port(0);
        api.start();
        api
    }

    /// One that is reached by TLS, as a real one is.
    pub(crate) fn encrypted() -> Self {
        let mut api = Self::on_port(0);
        api.authority = Some(Authority::new("k3s-server-ca"));
        api.start();
        api
    }

    fn on_port(port: u16) -> Self {
        let cluster = Cluster {
            resource_version: 100,
            git_version: "v1.33.6+k3s1".to_owned(),
            ..Cluster::default()
        };
        let shared = Arc::new(Shared {
            cluster: Mutex::new(cluster),
            changed: watch::Sender::new(()),
        });
        Self {
            shared,
            port,
            authority: None,
            runtime: None,
        }
    }

    /// Listens, after a stop on the port it had before.
    pub(crate) fn start(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let listener = loop {
            match TcpListener::bind(("127.0.0.1", self.port)) {
                Ok(listener) => break listener,
                Err(error) => assert!(Instant::now() < deadline, "port {}: {error}", self.port),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        self.port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let runtime = Runtime::new().unwrap();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&self.shared));
        let acceptor = self.authority.as_ref().map(|ca| ca.acceptor("127.0.0.1"));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            // As a real one: else the end of each long answer would wait for the client's delayed acknowledgement.
            let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
            match acceptor {
                Some(acceptor) => axum::serve(Encrypted { listener, acceptor }, router).await.unwrap(),
                None => axum::serve(listener, router).await.unwrap(),
            }
        });
        self.runtime = Some(runtime);
    }

    pub(crate) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// The text of a file that leads here, and trusts the authority, if there is one.
    pub(crate) fn kubeconfig(&self) -> String {
        let trust = |ca: &Authority| format!(", certificate-authority-data: {}", STANDARD.encode(ca.pem()));
        kubeconfig(&self.url(), &self.authority.as_ref().map(trust).unwrap_or_default())
    }

    fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.shared.cluster.lock().unwrap()
    }

    /// Adds or replaces a Node and tells the watches.
    pub(crate) fn put_node(&self, name: &str, uid: &str, ready: bool) {
        self.put(json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "uid": uid, "creationTimestamp": "2026-01-02T03:04:05Z"},
            "spec": {"providerID": format!("slicer://g/{name}")},
            "status": {"conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}
        }));
    }

    /// What a kubelet does every five minutes: the Node is as it was, but for the time in a condition.
    pub(crate) fn heartbeat(&self, name: &str) {
        let mut node = self.cluster().nodes[name].clone();
        node["status"]["conditions"][0]["lastHeartbeatTime"] = json!("2026-01-02T03:09:05Z");
        self.put(node);
    }

    /// Gives a Node a finalizer, as old K3s servers do.
    pub(crate) fn hold_by_finalizer(&self, name: &str) {
        let mut node = self.cluster().nodes[name].clone();
        node["metadata"]["finalizers"] = json!(["wrangler.cattle.io/node"]);
        self.put(node);
    }

    /// Adds or replaces a Node as it is.
    pub(crate) fn put(&self, mut node: Value) {
        let mut cluster = self.cluster();
        let name = node["metadata"]["name"].as_str().unwrap().to_owned();
        let kind = if cluster.nodes.contains_key(&name) {
            "MODIFIED"
        } else {
            "ADDED"
        };
        cluster.record(kind, &mut node);
        cluster.nodes.insert(name, node);
        drop(cluster);
        self.shared.changed.send_replace(());
    }

    pub(crate) fn delete_node(&self, name: &str) {
        self.cluster().delete_node(name);
        self.shared.changed.send_replace(());
    }

    pub(crate) fn has_node(&self, name: &str) -> bool {
        self.cluster().nodes.contains_key(name)
    }

    /// Forgets the history: a watch from any earlier version is answered with 410.
    pub(crate) fn compact(&self) {
        let mut cluster = self.cluster();
        cluster.history.clear();
        cluster.oldest_version = cluster.resource_version;
    }

    /// As after a restore from a backup: the versions begin again below those that clients have seen.
    pub(crate) fn restore_from_backup(&self) {
        let mut cluster = self.cluster();
        cluster.history.clear();
        cluster.resource_version = 1;
    }

    pub(crate) fn renew_lease(&self, node: &str, at: &str) {
        let lease = json!({"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": {"name": node},
                           "spec": {"holderIdentity": node, "renewTime": at}});
        self.put_object(&format!("{LEASES}/{node}"), lease);
    }

    pub(crate) fn put_secret(&self, path: &str) {
        let secret = json!({"kind": "Secret", "apiVersion": "v1", "metadata": {}, "data": {"hash": "b2xk"}});
        self.put_object(path, secret);
    }

    pub(crate) fn has_secret(&self, path: &str) -> bool {
        self.object(path).is_some()
    }

    pub(crate) fn set_version(&self, git_version: &str) {
        self.cluster().git_version = git_version.to_owned();
    }

    /// Takes a right away; written as `delete nodes`.
    pub(crate) fn deny(&self, right: &str) {
        self.cluster().denied.insert(right.to_owned());
    }

    /// From now on requests that begin with this (`DELETE /api/v1/nodes`) fail, until [`Self::mend`].
    pub(crate) fn fail(&self, request: &str, fault: Fault) {
        self.cluster().faults.push((request.to_owned(), fault));
    }

    pub(crate) fn mend(&self) {
        self.cluster().faults.clear();
    }

    /// The requests so far that contain `part`, as `METHOD path?query`.
    pub(crate) fn requests(&self, part: &str) -> Vec<String> {
        let cluster = self.cluster();
        let matching = cluster.requests.iter().filter(|request| request.contains(part));
        matching.cloned().collect()
    }

    /// The bodies of the requests that began with `start` and were carried out; `null` for none.
    pub(crate) fn bodies(&self, start: &str) -> Vec<Value> {
        let cluster = self.cluster();
        let matching = cluster.bodies.iter().filter(|(request, _)| request.starts_with(start));
        matching.map(|(_, body)| body.clone()).collect()
    }
}

impl Drop for FakeApi {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Cluster {
    /// Gives `node` the next version and writes the event about it down.
    fn record(&mut self, kind: &str, node: &mut Value) {
        self.resource_version += 1;
        node["metadata"]["resourceVersion"] = json!(self.resource_version.to_string());
        let event = json!({"type": kind, "object": node});
        self.history.push((self.resource_version, format!("{event}\n")));
    }

    fn delete_node(&mut self, name: &str) {
        if let Some(mut node) = self.nodes.remove(name) {
            self.record("DELETED", &mut node);
        }
    }

    fn fault(&self, request: &str) -> Option<Fault> {
        let mut faults = self.faults.iter();
        faults
            .find(|(of, _)| request.starts_with(of))
            .map(|(_, fault)| fault.clone())
    }

    fn list(&self, query: &BTreeMap<String, String>) -> Response {
        let start = query.get("continue").map_or(0, |token| token.parse().unwrap());
        let limit = query.get("limit").map_or(usize::MAX, |limit| limit.parse().unwrap());
        let items: Vec<_> = self.nodes.values().skip(start).take(limit).collect();
        let end = start + items.len();
        let more = if end < self.nodes.len() {
            end.to_string()
        } else {
            String::new()
        };
        let metadata = json!({"resourceVersion": self.resource_version.to_string(), "continue": more});
        ok(json!({"apiVersion": "v1", "kind": "NodeList", "metadata": metadata, "items": items}))
    }

    fn remove(&mut self, name: &str, body: &Value) -> Response {
        let Some(node) = self.nodes.get_mut(name) else {
            return status(404, "NotFound");
        };
        if body["preconditions"]["uid"] != node["metadata"]["uid"] {
            return status(409, "Conflict");
        }
        if node["metadata"].get("finalizers").is_some() {
            node["metadata"]["deletionTimestamp"] = json!("2026-01-02T04:00:00Z");
            return ok(node.clone());
        }
        self.delete_node(name);
        ok(json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
    }

    fn review(&self, review: &Value) -> Response {
        let asked = &review["spec"]["resourceAttributes"];
        let mut right = format!(
            "{} {}",
            asked["verb"].as_str().unwrap(),
            asked["resource"].as_str().unwrap()
        );
        if let Some(namespace) = asked["namespace"].as_str() {
            right = format!("{right} in {namespace}");
        }
        let mut review = review.clone();
        review["status"] = json!({"allowed": !self.denied.contains(&right)});
        ok(review)
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let authorised = head
        .headers
        .get("authorization")
        .is_some_and(|value| value == &format!("Bearer {TOKEN}"));
    let called = format!("{} {}", head.method, head.uri);
    let fault = {
        let mut cluster = shared.cluster.lock().unwrap();
        cluster.requests.push(called.clone());
        cluster.fault(&called)
    };
    match fault {
        Some(Fault::Refuse(code, reason)) => return status(code, reason),
        Some(Fault::Page(code, text)) => return (StatusCode::from_u16(code).unwrap(), text).into_response(),
        Some(Fault::Silence) => std::future::pending().await,
        None if !authorised => return status(401, "Unauthorized"),
        None => {}
    }
    let url = Url::parse("http://fake").unwrap().join(&head.uri.to_string()).unwrap();
    let query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
    if url.path() == "/api/v1/nodes" && query.contains_key("watch") {
        return watch_nodes(&shared, &query);
    }
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let mut cluster = shared.cluster.lock().unwrap();
    cluster.bodies.push((called, body.clone()));
    let response = match (&head.method, url.path()) {
        (&Method::GET, "/api/v1/nodes") => cluster.list(&query),
        (&Method::GET, "/version") => ok(json!({"major": "1", "minor": "33", "gitVersion": cluster.git_version})),
        (&Method::POST, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews") => cluster.review(&body),
        (&Method::DELETE, path) => match path.strip_prefix("/api/v1/nodes/") {
            Some(name) => cluster.remove(name, &body),
            None => cluster.remove_object(path, &body),
        },
        (&Method::GET, objects::PODS) => cluster.list_pods(&query),
        (&Method::GET, path) => cluster.get(path),
        (&Method::POST, path) => cluster.create(path, body),
        (&Method::PATCH, path) => cluster.patch(path, &body),
        _ => status(404, "NotFound"),
    };
    drop(cluster);
    shared.changed.send_replace(());
    response
}

fn ok(value: Value) -> Response {
    axum::Json(value).into_response()
}

fn status(code: u16, reason: &str) -> Response {
    let body = status_object(code, reason);
    (StatusCode::from_u16(code).unwrap(), axum::Json(body)).into_response()
}

fn status_object(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
           "reason": reason, "message": format!("the fake says {reason}")})
}

/// Lines of events from the asked version on. A version that is too old is an event, one that is too new a refusal: so
/// does the real one.
fn watch_nodes(shared: &Arc<Shared>, query: &BTreeMap<String, String>) -> Response {
    let from: u64 = query["resourceVersion"].parse().unwrap();
    let seconds: u64 = query["timeoutSeconds"].parse().unwrap();
    let (oldest, newest) = {
        let cluster = shared.cluster.lock().unwrap();
        (cluster.oldest_version, cluster.resource_version)
    };
    if from > newest {
        return status(504, "Timeout");
    }
    if from < oldest {
        let event = json!({"type": "ERROR", "object": status_object(410, "Expired")});
        return format!("{event}\n").into_response();
    }
    Body::from_stream(event_lines(Arc::clone(shared), from, Duration::from_secs(seconds))).into_response()
}

fn event_lines(
    shared: Arc<Shared>,
    from: u64,
    time: Duration,
) -> impl Stream<Item = Result<String, std::convert::Infallible>> {
    let end = tokio::time::Instant::now() + time;
    let changes = shared.changed.subscribe();
    futures::stream::unfold((from, changes), move |(from, mut changes)| {
        let shared = Arc::clone(&shared);
        async move {
            loop {
                changes.mark_unchanged();
                let next = {
                    let cluster = shared.cluster.lock().unwrap();
                    cluster.history.iter().find(|(version, _)| *version > from).cloned()
                };
                if let Some((version, line)) = next {
                    return Some((Ok(line), (version, changes)));
                }
                tokio::time::timeout_at(end, changes.changed()).await.ok()?.ok()?;
            }
        }
    })
}
