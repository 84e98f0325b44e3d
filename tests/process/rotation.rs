//! Files that change on disk while the server runs, with nobody to send it a signal: as an editor writes them, and as
//! Kubernetes swaps the whole volume of a Secret behind a symbolic link.

use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use slicer_cloud_provider::grpc::pb::NodeGroupsRequest;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tonic::transport::Channel;

use crate::authority::Authority;
use crate::program::{Program, Serving};
use crate::support::*;
use crate::volume::Volume;

const RELOADED: &str = "configuration reloaded";
const WELL_AGAIN: &str = "the configuration is as it was before it was refused";
const REFUSED: &str = "the new configuration is refused; the old one stays";

/// The server as a pod runs it, its configuration in this volume.
async fn serve(volume: &Volume) -> (Program, Client) {
    let config = volume.path("cloud-config");
    let mut arguments = vec!["serve", "--without-kubernetes", "--log-format", "json"];
    arguments.extend(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    arguments.extend(["--cloud-config", config.to_str().unwrap()]);
    let mut program = Program::start(&arguments, &[]);
    let line = program.logged("serving", 1).await;
    let uri = format!("http://{}", line["address"].as_str().unwrap());
    let channel = Channel::from_shared(uri).unwrap().connect().await.unwrap();
    (program, Client::new(channel))
}

async fn max_size(client: &mut Client, id: &str) -> Option<i32> {
    let groups = client.node_groups(NodeGroupsRequest {}).await.unwrap().into_inner();
    let group = groups.node_groups.into_iter().find(|group| group.id == id)?;
    Some(group.max_size)
}

#[tokio::test]
async fn a_swapped_configuration_takes_effect_without_a_signal_and_a_wrong_one_is_refused_once() {
    let host = host("garage").await;
    let config = |lines: &str| global("") + &nodegroup("garage", &host.running.url, lines);
    let mut volume = Volume::new(&[("cloud-config", &config("max-size = 3"))]);
    let (mut program, mut client) = serve(&volume).await;
    wait_for_group(&mut client, "garage").await;

    volume.swap(&[("cloud-config", &config("max-size = 5"))]);
    program.logged(RELOADED, 1).await;
    assert_eq!(max_size(&mut client, "garage").await, Some(5));

    volume.swap(&[("cloud-config", &config("max-size = 7\nmax-sise = 8"))]);
    let refused = program.logged(REFUSED, 1).await;
    assert!(refused["error"].as_str().unwrap().contains("max-sise"), "{refused}");
    assert_eq!(max_size(&mut client, "garage").await, Some(5));

    // What was in force is on disk again: nothing is to be done, but to say so.
    volume.swap(&[("cloud-config", &config("max-size = 5"))]);
    program.logged(WELL_AGAIN, 1).await;
    assert_eq!(program.count_logged(RELOADED), 1);

    volume.swap(&[("cloud-config", &config("max-size = 7"))]);
    program.logged(RELOADED, 2).await;
    assert_eq!(max_size(&mut client, "garage").await, Some(7));
    assert_eq!(program.count_logged(REFUSED), 1, "not at every look");
}

#[tokio::test]
async fn a_configuration_that_is_edited_in_place_takes_effect_without_a_signal() {
    let host = host("garage").await;
    let config = |lines: &str| global("") + &nodegroup("garage", &host.running.url, lines);
    let mut serving = Serving::start(&config("max-size = 3")).await;
    let mut client = serving.client().await;
    wait_for_group(&mut client, "garage").await;
    serving.folder.write_config(&config("max-size = 4"));
    serving.program.logged(RELOADED, 1).await;
    assert_eq!(max_size(&mut client, "garage").await, Some(4));
}

#[tokio::test]
async fn a_rotated_join_token_reaches_the_next_vm_in_a_secret_of_its_own() {
    let host = host("garage").await;
    let global = "[global]\nk3s-url = https://127.0.0.1:6443\nk3s-token-file = join-token\ndefault-min-size = 0\n";
    let config = global.to_owned() + &nodegroup("garage", &host.running.url, "");
    let files = |token: &'static str| [("cloud-config", config.clone()), ("join-token", token.to_owned())];
    let as_texts = |files: &[(&'static str, String); 2]| files.clone().map(|(name, text)| (name, text));
    let swap = |volume: &mut Volume, token| {
        let files = as_texts(&files(token));
        volume.swap(&files.each_ref().map(|(name, text)| (*name, text.as_str())));
    };
    let first = as_texts(&files("the-first-token"));
    let mut volume = Volume::new(&first.each_ref().map(|(name, text)| (*name, text.as_str())));
    let (_program, mut client) = serve(&volume).await;
    wait_for_group(&mut client, "garage").await;
    let values = || {
        let names = host.simulator.secrets();
        let value = |name: &String| host.simulator.secret_value(name).unwrap();
        let mut values: Vec<String> = names
            .iter()
            .map(|name| secrecy::ExposeSecret::expose_secret(&value(name)).to_owned())
            .collect();
        values.sort();
        values
    };
    increase(&mut client, "garage", 1).await.unwrap();
    eventually("the first VM", async || (host.simulator.vms().len() == 1).then_some(())).await;
    assert_eq!(values(), ["the-first-token"]);

    swap(&mut volume, "the-second-token");
    increase(&mut client, "garage", 1).await.unwrap();
    eventually("the second VM", async || {
        (host.simulator.vms().len() == 2).then_some(())
    })
    .await;
    assert_eq!(values(), ["the-first-token", "the-second-token"]);
}

/// TLS in front of a simulated host, with a certificate that can be replaced.
struct Tls {
    url: String,
    config: Arc<Mutex<Arc<ServerConfig>>>,
}

impl Tls {
    async fn before(host: &Host, authority: &Authority) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let config = Arc::new(Mutex::new(server_config(authority)));
        let (of_new_connections, to) = (Arc::clone(&config), host.running.addr);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let acceptor = TlsAcceptor::from(Arc::clone(&of_new_connections.lock().unwrap()));
                tokio::spawn(async move {
                    let Ok(mut client) = acceptor.accept(client).await else {
                        return;
                    };
                    let mut server = TcpStream::connect(to).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { url, config }
    }

    fn renew(&self, authority: &Authority) {
        *self.config.lock().unwrap() = server_config(authority);
    }
}

fn server_config(authority: &Authority) -> Arc<ServerConfig> {
    let leaf = authority.server("127.0.0.1");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.cert_der()], leaf.key_der())
        .unwrap();
    Arc::new(config)
}

#[tokio::test]
async fn a_host_whose_certificate_comes_from_a_new_authority_is_trusted_as_soon_as_the_bundle_says_so() {
    let host = host("garage").await;
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let tls = Tls::before(&host, &old).await;
    let config = global("ca-bundle = ca.pem") + &nodegroup("garage", &tls.url, "");
    let mut volume = Volume::new(&[("cloud-config", &config), ("ca.pem", &old.pem)]);
    let (mut program, mut client) = serve(&volume).await;
    wait_for_group(&mut client, "garage").await;

    tls.renew(&new);
    volume.swap(&[("cloud-config", &config), ("ca.pem", &new.pem)]);
    program.logged(RELOADED, 1).await;
    increase(&mut client, "garage", 1).await.unwrap();
    eventually("a VM over the new certificate", async || {
        (host.simulator.vms().len() == 1).then_some(())
    })
    .await;
}
