//! Certificates that are replaced while clients call all the time, as cert-manager renews them and the kubelet swaps the
//! volume: no call of a client whose certificate is right at that moment fails.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use slicer_cloud_provider::grpc::pb::NodeGroupsRequest;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Uri};

use crate::authority::{Authority, Leaf};
use crate::program::{Folder, Serving};
use crate::support::*;
use crate::volume::Volume;

const RELOADED: &str = "certificates reloaded";
const REFUSED: &str = "the new certificates are refused; the old ones stay";

/// Clients that keep their connection.
const LASTING: usize = 3;
/// Clients that connect anew for every few calls.
const CONNECTING: usize = 3;
/// Calls on one connection of those.
const FEW: usize = 3;
/// Between two calls of a client: there are tests beside this one.
const PAUSE: Duration = Duration::from_millis(5);
/// On a busy machine a call that takes long is no failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server whose certificates are in a volume.
struct Scene {
    volume: Volume,
    serving: Serving,
}

impl Scene {
    async fn new(pair: &Leaf, client_ca: &str) -> Self {
        let volume = Volume::new(&files(&pair.cert, &pair.key, client_ca));
        let folder = Folder::with_config(&(global("") + &nodegroup("agents", "http://127.0.0.1:1", "")));
        let path = |name| volume.path(name).to_str().unwrap().to_owned();
        let [cert, key, ca] = ["tls.crt", "tls.key", "ca.crt"].map(path);
        let flags = ["--tls-cert", &cert, "--tls-key", &key, "--tls-client-ca", &ca];
        let serving = Serving::start_in(folder, "127.0.0.1:0", &flags).await;
        Self { volume, serving }
    }

    /// Does not wait until the server looks.
    async fn swap_and_signal(&mut self, files: &[(&str, &str)]) {
        self.volume.swap(files);
        self.serving.program.signal("HUP").await;
    }

    /// Waits until new connections see this certificate.
    async fn wait_until_shown(&self, pair: &Leaf, visitor: &Visitor) {
        eventually_within(PATIENCE, "the new certificate shown", async || {
            (visitor.shown(&self.serving.grpc).await == pair.cert_der()).then_some(())
        })
        .await;
    }
}

/// The volume's files, as cert-manager names them.
fn files<'a>(cert: &'a str, key: &'a str, client_ca: &'a str) -> [(&'static str, &'a str); 3] {
    [("tls.crt", cert), ("tls.key", key), ("ca.crt", client_ca)]
}

/// What a client shows, and whom it trusts.
struct Visitor {
    leaf: Leaf,
    trusted: String,
}

impl Visitor {
    fn endpoint(&self, address: &str) -> Endpoint {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.trusted))
            .domain_name("localhost")
            .identity(self.leaf.identity());
        let endpoint = Channel::from_shared(format!("https://{address}")).unwrap();
        endpoint.tls_config(tls).unwrap().timeout(PATIENCE)
    }

    /// The certificate that a new connection is shown.
    async fn shown(&self, address: &str) -> CertificateDer<'static> {
        let mut roots = RootCertStore::empty();
        let trusted = CertificateDer::pem_slice_iter(self.trusted.as_bytes()).map(Result::unwrap);
        roots.add_parsable_certificates(trusted);
        let config = self.leaf.client_config(roots, rustls::ALL_VERSIONS);
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        let (_, session) = stream.unwrap().into_inner();
        session.peer_certificates().unwrap()[0].clone().into_owned()
    }
}

async fn call(channel: &Channel) {
    Client::new(channel.clone())
        .node_groups(NodeGroupsRequest {})
        .await
        .unwrap();
    tokio::time::sleep(PAUSE).await;
}

/// Clients that call until they are dropped.
struct Load {
    /// What the next connection is made with.
    visitor: Arc<Mutex<Arc<Visitor>>>,
    /// The calls of each client.
    calls: Arc<[AtomicUsize; LASTING + CONNECTING]>,
    /// None of them ends but with a call that failed.
    clients: JoinSet<()>,
}

impl Load {
    async fn start(address: &str, visitor: &Arc<Visitor>) -> Self {
        let mut load = Self {
            visitor: Arc::new(Mutex::new(Arc::clone(visitor))),
            calls: Arc::default(),
            clients: JoinSet::new(),
        };
        for number in 0..LASTING {
            load.keep_connection(number, address).await;
        }
        for number in LASTING..LASTING + CONNECTING {
            load.connect_anew(number, address);
        }
        load.goes_on().await;
        load
    }

    /// A client that could not connect again if its connection was lost.
    async fn keep_connection(&mut self, number: usize, address: &str) {
        let mut stream = Some(TokioIo::new(TcpStream::connect(address).await.unwrap()));
        let connector = tower::service_fn(move |_: Uri| std::future::ready(stream.take().ok_or("it connects again")));
        let endpoint = self.visitor.lock().unwrap().endpoint(address);
        let channel = endpoint.connect_with_connector(connector).await.unwrap();
        let calls = Arc::clone(&self.calls);
        self.clients.spawn(async move {
            loop {
                call(&channel).await;
                calls[number].fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    fn connect_anew(&mut self, number: usize, address: &str) {
        let (visitor, calls, address) = (Arc::clone(&self.visitor), Arc::clone(&self.calls), address.to_owned());
        self.clients.spawn(async move {
            loop {
                let endpoint = visitor.lock().unwrap().endpoint(&address);
                let channel = endpoint.connect().await.unwrap();
                for _ in 0..FEW {
                    call(&channel).await;
                    calls[number].fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }

    /// Waits until every client has made so many more calls that those which connect anew have done so.
    async fn goes_on(&mut self) {
        let now = || self.calls.each_ref().map(|calls| calls.load(Ordering::Relaxed));
        let before = now();
        let clients = &mut self.clients;
        eventually_within(PATIENCE, "more calls of every client", async || {
            if let Some(ended) = clients.try_join_next() {
                panic!("a call failed: {ended:?}");
            }
            let mut both = now().into_iter().zip(before);
            both.all(|(now, before)| now >= before + 2 * FEW).then_some(())
        })
        .await;
    }

    /// From when this returns, all connections that are made are made with this.
    async fn change(&mut self, visitor: &Arc<Visitor>) {
        *self.visitor.lock().unwrap() = Arc::clone(visitor);
        self.goes_on().await;
    }
}

#[tokio::test]
async fn certificates_that_are_replaced_under_load_fail_no_call_and_wrong_ones_are_refused_with_one_line() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let both = old.pem.clone() + &new.pem;
    let [first, second, third] = [(); 3].map(|()| old.server("localhost"));
    let last = new.server("localhost");
    let visitor = |authority: &Authority, trusted: &String| {
        let (leaf, trusted) = (authority.client(), trusted.clone());
        Arc::new(Visitor { leaf, trusted })
    };
    let (of_old, of_new) = (visitor(&old, &old.pem), visitor(&new, &both));
    let mut scene = Scene::new(&first, &old.pem).await;
    let address = scene.serving.grpc.clone();
    let mut load = Load::start(&address, &of_old).await;

    // The key does not fit. Nobody sends a signal.
    scene.volume.swap(&files(&second.cert, &first.key, &old.pem));
    scene.serving.program.logged(REFUSED, 1).await;
    load.goes_on().await;
    assert_eq!(of_old.shown(&address).await, first.cert_der());

    scene.volume.swap(&files(&second.cert, &second.key, &old.pem));
    scene.serving.program.logged(RELOADED, 1).await;
    assert_eq!(of_old.shown(&address).await, second.cert_der());
    load.goes_on().await;
    assert_eq!(scene.serving.program.count_logged(REFUSED), 1);

    // Both authorities: clients of either are served, and may change from one to the other.
    scene.swap_and_signal(&files(&third.cert, &third.key, &both)).await;
    scene.wait_until_shown(&third, &of_old).await;
    load.goes_on().await;
    load.change(&of_new).await;

    let half = &last.cert[..last.cert.len() / 2];
    scene.swap_and_signal(&files(half, &last.key, &new.pem)).await;
    scene.serving.program.logged(REFUSED, 2).await;
    load.goes_on().await;
    assert_eq!(of_new.shown(&address).await, third.cert_der());
    call(&of_old.endpoint(&address).connect_lazy()).await;

    scene.swap_and_signal(&files(&last.cert, &last.key, &new.pem)).await;
    scene.wait_until_shown(&last, &of_new).await;
    load.goes_on().await;
    // Those that connected with it go on, but it is worth nothing any more.
    let gone = visitor(&old, &both).endpoint(&address).connect_lazy();
    assert!(Client::new(gone).node_groups(NodeGroupsRequest {}).await.is_err());
    load.goes_on().await;
}
