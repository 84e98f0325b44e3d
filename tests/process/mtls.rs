//! mTLS: who may connect, and certificates that are replaced while the server runs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::SupportedProtocolVersion;
use rustls::pki_types::{CertificateDer, ServerName};
use slicer_cloud_provider::config::{self, Config, ConfigError};
use slicer_cloud_provider::grpc::pb::NodeGroupsRequest;
use slicer_cloud_provider::kubernetes::NoCluster;
use slicer_cloud_provider::server::{Options, Server, TlsFiles};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::{Channel, ClientTlsConfig};

use crate::authority::{Authority, Leaf};
use crate::support::*;

/// A server with the certificate of one authority, for the clients of another.
struct Scene {
    servers: Authority,
    clients: Authority,
    dir: TempDir,
    server: Server,
}

impl Scene {
    async fn new() -> Self {
        Self::with_names(&[]).await
    }

    /// Only clients of these names may connect.
    async fn with_names(names: &[&'static str]) -> Self {
        let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        let files = TlsFiles {
            cert: file("cert.pem"),
            key: file("key.pem"),
            client_ca: file("ca.pem"),
            client_names: names.iter().map(|name| ServerName::try_from(*name).unwrap()).collect(),
        };
        let certificate = servers.server("localhost");
        install(dir.path(), &certificate.cert, &certificate.key);
        std::fs::write(&files.client_ca, &clients.pem).unwrap();
        let server = start_with(&text(), Arc::new(NoCluster), Some(files)).await;
        Self {
            servers,
            clients,
            dir,
            server,
        }
    }

    /// What a right client is set up with.
    fn trust(&self) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .ca_certificate(self.servers.trusted())
            .domain_name("localhost")
    }

    /// A channel that connects when it is used.
    fn channel(&self, tls: ClientTlsConfig) -> Channel {
        let uri = format!("https://{}", self.server.grpc_address());
        let endpoint = Channel::from_shared(uri).unwrap().timeout(Duration::from_secs(5));
        endpoint.tls_config(tls).unwrap().connect_lazy()
    }

    async fn call(&self, tls: ClientTlsConfig) -> Result<(), tonic::Status> {
        call(&mut Client::new(self.channel(tls))).await
    }

    fn reload(&self) {
        self.server.reload_certificates();
    }
}

fn text() -> String {
    global("") + &nodegroup("agents", "http://127.0.0.1:1", "")
}

fn config() -> Result<Config, ConfigError> {
    config::parse(&text(), Path::new("cloud-config"))
}

fn install(folder: &Path, cert: &str, key: &str) {
    std::fs::write(folder.join("cert.pem"), cert).unwrap();
    std::fs::write(folder.join("key.pem"), key).unwrap();
}

async fn call(client: &mut Client) -> Result<(), tonic::Status> {
    client.node_groups(NodeGroupsRequest {}).await.map(drop)
}

#[tokio::test]
async fn certificates_that_change_on_disk_are_taken_over_after_two_looks_and_wrong_ones_never() {
    let scene = Scene::new().await;
    let strangers = Authority::new("strangers");
    let client = |authority: &Authority| scene.trust().identity(authority.client().identity());
    scene.server.look_at_certificates();
    assert!(scene.call(client(&strangers)).await.is_err());

    std::fs::write(scene.dir.path().join("ca.pem"), &strangers.pem).unwrap();
    scene.server.look_at_certificates();
    assert!(scene.call(client(&strangers)).await.is_err(), "it may be half written");
    scene.server.look_at_certificates();
    scene.call(client(&strangers)).await.unwrap();

    std::fs::write(scene.dir.path().join("ca.pem"), "no certificate").unwrap();
    for _ in 0..3 {
        scene.server.look_at_certificates();
    }
    scene.call(client(&strangers)).await.unwrap();
}

#[tokio::test]
async fn where_names_are_given_only_clients_of_these_names_may_connect() {
    // What the tests' clients are called.
    let scene = Scene::with_names(&["somebody-else", "cluster-autoscaler"]).await;
    let client = scene.trust().identity(scene.clients.client().identity());
    scene.call(client).await.unwrap();

    let scene = Scene::with_names(&["somebody-else"]).await;
    let client = scene.trust().identity(scene.clients.client().identity());
    assert!(scene.call(client).await.is_err());
}

/// A TLS connection below gRPC. With TLS 1.3 a client learns that it is refused only when it reads.
async fn connect(scene: &Scene, alpn: &str, version: &'static SupportedProtocolVersion) -> TlsStream<TcpStream> {
    let leaf = scene.clients.client();
    try_connect(scene, &scene.servers, alpn, version, &leaf).await.unwrap()
}

async fn try_connect(
    scene: &Scene,
    trusted: &Authority,
    alpn: &str,
    version: &'static SupportedProtocolVersion,
    leaf: &Leaf,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut config = leaf.client_config(trusted.roots(), &[version]);
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let stream = TcpStream::connect(scene.server.grpc_address()).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// The certificate that a new connection is shown.
async fn shown(scene: &Scene, trusted: &Authority) -> Option<CertificateDer<'static>> {
    let leaf = scene.clients.client();
    let stream = try_connect(scene, trusted, "h2", &rustls::version::TLS13, &leaf).await;
    let (_, session) = stream.ok()?.into_inner();
    session
        .peer_certificates()
        .map(|certificates| certificates[0].clone().into_owned())
}

#[tokio::test]
async fn a_client_of_the_right_authority_is_served() {
    let scene = Scene::new().await;
    let identity = scene.clients.client().identity();
    scene.call(scene.trust().identity(identity)).await.unwrap();
}

#[tokio::test]
async fn clients_without_a_valid_certificate_of_the_authority_are_refused() {
    let scene = Scene::new().await;
    let stranger = Authority::new("clients"); // the same name, another key
    for (who, tls) in [
        ("without certificate", scene.trust()),
        (
            "of another authority",
            scene.trust().identity(stranger.client().identity()),
        ),
        (
            "of the servers' authority",
            scene.trust().identity(scene.servers.client().identity()),
        ),
        (
            "expired",
            scene.trust().identity(scene.clients.expired_client().identity()),
        ),
        (
            "with a server's certificate",
            scene.trust().identity(scene.clients.server("localhost").identity()),
        ),
    ] {
        assert!(scene.call(tls).await.is_err(), "{who}");
    }
    let uri = format!("http://{}", scene.server.grpc_address());
    let plaintext = Channel::from_shared(uri).unwrap().connect_lazy();
    assert!(call(&mut Client::new(plaintext)).await.is_err(), "plaintext");

    let right = scene.trust().identity(scene.clients.client().identity());
    scene.call(right).await.unwrap();
}

#[tokio::test]
async fn a_client_refuses_a_server_of_another_name_or_authority() {
    let scene = Scene::new().await;
    let identity = || scene.clients.client().identity();
    let other_name = scene.trust().domain_name("somebody.else").identity(identity());
    assert!(scene.call(other_name).await.is_err());
    let other_authority = ClientTlsConfig::new()
        .ca_certificate(Authority::new("servers").trusted())
        .domain_name("localhost")
        .identity(identity());
    assert!(scene.call(other_authority).await.is_err());
}

#[tokio::test]
async fn http2_is_agreed_upon_in_both_versions_of_tls_and_nothing_else_is() {
    let scene = Scene::new().await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut stream = connect(&scene, "h2", version).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        // The server speaks first: a SETTINGS frame, of type 4 and on stream 0.
        let mut header = [0; 9];
        stream.read_exact(&mut header).await.unwrap();
        assert_eq!((header[3], &header[5..]), (4, &[0; 4][..]));

        let leaf = scene.clients.client();
        let http1 = try_connect(&scene, &scene.servers, "http/1.1", version, &leaf).await;
        assert!(http1.is_err(), "no protocol in common");
    }
}

#[tokio::test]
async fn replaced_certificates_are_shown_to_new_connections_while_open_ones_go_on() {
    let scene = Scene::new().await;
    let identity = scene.clients.client().identity();
    let mut open = Client::new(scene.channel(scene.trust().identity(identity)));
    call(&mut open).await.unwrap();

    let (others, other_clients) = (Authority::new("others"), Authority::new("other clients"));
    let replacement = others.server("localhost");
    install(scene.dir.path(), &replacement.cert, &replacement.key);
    std::fs::write(scene.dir.path().join("ca.pem"), &other_clients.pem).unwrap();
    assert!(
        shown(&scene, &scene.servers).await.is_some(),
        "nothing changes before the reload"
    );
    scene.reload();

    assert_eq!(shown(&scene, &others).await, Some(replacement.cert_der()));
    // It trusts the old authority only and has an old certificate: it could not connect anew.
    call(&mut open).await.unwrap();
    let identity = scene.clients.client().identity();
    assert!(scene.call(scene.trust().identity(identity)).await.is_err());
    let tls = ClientTlsConfig::new()
        .ca_certificate(others.trusted())
        .domain_name("localhost")
        .identity(other_clients.client().identity());
    scene.call(tls).await.unwrap();
}

#[tokio::test]
async fn a_replacement_that_cannot_be_used_leaves_the_old_certificate_in_place() {
    let scene = Scene::new().await;
    let old = shown(&scene, &scene.servers).await.unwrap();
    let (new, other) = (scene.servers.server("localhost"), scene.servers.server("localhost"));
    for (what, cert, key) in [
        ("no PEM", "rubbish", new.key.as_str()),
        ("an empty file", "", &new.key),
        ("half of a file", &new.cert[..new.cert.len() / 2], &new.key),
        ("the key of another certificate", &new.cert, &other.key),
        ("no key", &new.cert, ""),
    ] {
        install(scene.dir.path(), cert, key);
        scene.reload();
        assert_eq!(shown(&scene, &scene.servers).await.as_ref(), Some(&old), "{what}");
    }
    install(scene.dir.path(), &new.cert, &new.key);
    scene.reload();
    assert_eq!(shown(&scene, &scene.servers).await, Some(new.cert_der()));
}

#[tokio::test]
async fn clients_that_say_nothing_within_or_after_the_handshake_do_not_hold_the_server() {
    let scene = Scene::new().await;
    let silent = TcpStream::connect(scene.server.grpc_address()).await.unwrap();
    let silent_within_tls = connect(&scene, "h2", &rustls::version::TLS13).await;
    // Connections are accepted in their order: once this one is served, the silent one is in its handshake.
    let identity = scene.clients.client().identity();
    scene.call(scene.trust().identity(identity)).await.unwrap();
    let stopped = tokio::time::timeout(Duration::from_secs(5), scene.server.stop()).await;
    assert!(stopped.is_ok());
    drop((silent, silent_within_tls));
}

#[tokio::test]
async fn a_unix_socket_asks_for_certificates_too() {
    let scene = Scene::new().await;
    let socket = scene.dir.path().join("grpc.sock");
    let file = |name: &str| scene.dir.path().join(name);
    let options = Options {
        listen: format!("unix://{}", socket.display()).parse().unwrap(),
        admin_listen: "127.0.0.1:0".parse().unwrap(),
        tls: Some(TlsFiles {
            cert: file("cert.pem"),
            key: file("key.pem"),
            client_ca: file("ca.pem"),
            client_names: Vec::new(),
        }),
        timings: quick(),
    };
    let (tracker, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let _server = Server::start(&config().unwrap(), &options, Arc::new(NoCluster), tracker, shutdown)
        .await
        .unwrap();
    let mut stream = UnixStream::connect(&socket).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    // 21 is a TLS alert; HTTP/2 would begin with the length of its settings.
    assert!(
        answer.first().is_none_or(|first| *first == 21),
        "plaintext was answered: {answer:?}"
    );
}

#[tokio::test]
async fn strangers_who_connect_and_say_nothing_keep_no_client_out() {
    let scene = Scene::new().await;
    let tls = scene.trust().identity(scene.clients.client().identity());
    let mut strangers = Vec::new();
    for _ in 0..200 {
        strangers.push(TcpStream::connect(scene.server.grpc_address()).await.unwrap());
    }
    // Handshakes are given up after ten.
    let served = tokio::time::timeout(Duration::from_secs(5), scene.call(tls)).await;
    served.expect("served at once").unwrap();
}
