//! Each thing broken in turn between `check` and a Slicer host, and what it says of hosts that are well.

use slicer_cloud_provider::domain::spec::Endpoint;
use slicer_cloud_provider::provider::ports::{SlicerHost as _, VmRequest};
use slicer_cloud_provider::secret::SecretSource;
use slicer_cloud_provider::simulator::SimulatedGroup;
use slicer_cloud_provider::slicer::{Client, Timeouts};

use super::{assert_lines, assert_one_failure, check, check_in, global_of};
use crate::authority::Authority;
use crate::k3s::K3s;
use crate::program::Folder;
use crate::strangers::web_server;
use crate::support::*;

const GROUP: &str = "node group agents";
const GIB: u64 = 1 << 30;

#[tokio::test]
async fn each_way_not_to_reach_a_host_is_one_failing_line_that_says_what_to_do() {
    let (k3s, host) = (K3s::start().await, host("agents").await);
    let plain = host.running.url.clone();
    for (url, said, remedy) in [
        (
            "http://127.0.0.1:1".to_owned(),
            "Connection refused",
            "see that the daemon runs",
        ),
        (
            "http://nowhere.invalid:8080".to_owned(),
            "lookup address",
            "the right host and port",
        ),
        (
            plain.replace("http:", "https:"),
            "does the host speak TLS on this port?",
            "slicer-url has the right port",
        ),
        (
            format!("http://{}", k3s.url.trim_start_matches("https://")),
            "the answer is not HTTP",
            "the URL must begin with https",
        ),
        (k3s.url.clone(), "is its CA in ca-bundle?", "ca-bundle"),
        (
            format!("http://{}", web_server(200).await),
            "cannot read the answer",
            "something else seems to answer",
        ),
        (
            format!("http://{}", web_server(404).await),
            "404 Not Found",
            "something else seems to answer",
        ),
        (
            format!("http://{}", web_server(403).await),
            "403 Forbidden",
            "leads to the Slicer daemon itself",
        ),
        (
            format!("http://{}", web_server(500).await),
            "500 Internal",
            "log of the Slicer daemon",
        ),
        (
            "/nowhere/slicer.sock".to_owned(),
            "No such file",
            "slicer-url is its socket",
        ),
    ] {
        let ended = check(&(global_of(&k3s) + &nodegroup("agents", &url, ""))).await;
        assert_one_failure(&ended, [GROUP, said, remedy]);
    }
}

#[tokio::test]
async fn each_certificate_that_cannot_be_trusted_is_told_apart() {
    let (k3s, authority) = (K3s::start().await, Authority::new("lan"));
    let other = Authority::new("other").server("127.0.0.1");
    for (leaf, said) in [
        (other, "UnknownIssuer"),
        (authority.expired_server("127.0.0.1"), "certificate expired"),
        (
            authority.server("slicer.example"),
            "the URL must have a name or address that the certificate carries",
        ),
    ] {
        let url = K3s::showing(leaf, String::new()).await.url;
        let config = global_of(&k3s) + "ca-bundle = lan.pem\n" + &nodegroup("agents", &url, "");
        let folder = Folder::with_config("");
        std::fs::write(folder.path("lan.pem"), &authority.pem).unwrap();
        folder.write_config(&config);
        let ended = check_in(&folder, &["--without-kubernetes"]).await;
        assert_one_failure(&ended, [GROUP, said, "the CA of the certificate is in ca-bundle"]);
    }
}

#[tokio::test]
async fn each_thing_that_the_host_does_not_grant_is_one_failing_line_that_says_what_to_do() {
    let (k3s, host) = (K3s::start().await, host("agents").await);
    let url = &host.running.url;
    let wrong_token = format!("[nodegroup \"agents\"]\nslicer-url = {url}\nslicer-token = wrong-password\n");
    for (group, said, remedy) in [
        (wrong_token, "401 Unauthorized", "sudo cat /var/lib/slicer/auth/token"),
        (
            nodegroup("agents", url, "host-group = others"),
            "has no host group \"others\", only: agents",
            "set host-group",
        ),
        (
            nodegroup("agents", url, "cpus = 3"),
            "cpus = 3, but the host group allows 2",
            "lower cpus",
        ),
        (
            nodegroup("agents", url, "ram = 5Gi"),
            "ram = 5 GiB, but the host group allows 4 GiB",
            "lower ram",
        ),
        (
            nodegroup("agents", url, "gpu-count = 1"),
            "gpu-count = 1, but the host group allows 0",
            "lower gpu-count",
        ),
        (
            nodegroup("agents", url, "arch = aarch64"),
            "arch = arm64, but the host says amd64",
            "remove arch",
        ),
    ] {
        let ended = check(&(global_of(&k3s) + &group)).await;
        assert_one_failure(&ended, [GROUP, said, remedy]);
    }
}

#[tokio::test]
async fn node_groups_of_one_host_are_summed_up_beside_the_vms_of_others() {
    let (k3s, shared) = (K3s::start().await, shared_host().await);
    let url = &shared.running.url;
    launch_for_somebody_else(url).await;
    let config = global_of(&k3s)
        + &nodegroup("small", url, "max-size = 10\narch = x86_64")
        + &nodegroup("large", url, "max-size = 3\ncpus = 4");
    let wanted = [
        ("ok", "node group small: arch = amd64, and the host says so, too"),
        (
            "ok",
            "node group small: 0 of the host group's 1 VMs are ours, max-size is 10",
        ),
        ("ok", "node group large: a VM has 4 CPUs, 16 GiB of memory"),
        (
            "ok",
            "max-size of its 2 node groups together: 13 VMs with 32 CPUs, 88 GiB of memory, beside 1 VMs of others in \
             these host groups with 2 CPUs, 4 GiB of memory; Slicer does not tell what its host has",
        ),
    ];
    assert_lines(&check(&config).await, 0, &wanted);
}

#[tokio::test]
async fn node_groups_that_cannot_be_summed_up_are_counted() {
    let (k3s, shared) = (K3s::start().await, shared_host().await);
    let url = &shared.running.url;
    let config = global_of(&k3s)
        + &nodegroup("small", url, "")
        + &nodegroup("missing", url, "")
        + &nodegroup("large", url, "cpus = 100");
    let said = "max-size of 1 of its 3 node groups: 8 VMs with 16 CPUs, 32 GiB of memory;";
    assert_lines(&check(&config).await, 1, &[("ok", said)]);
}

/// A VM of the host group `small` that carries no tag of ours.
async fn launch_for_somebody_else(url: &str) {
    let token = SecretSource::value(SLICER_TOKEN.into());
    let endpoint = Endpoint::Url(url.to_owned());
    let client = Client::new(&endpoint, Some(token), None, Timeouts::default()).unwrap();
    let request = VmRequest {
        userdata: String::new(),
        tags: vec!["team=a".to_owned()],
        secrets: Vec::new(),
        cpus: None,
        ram_bytes: None,
        gpu_count: None,
    };
    client.create_vm("small", &request).await.unwrap();
}

async fn shared_host() -> Host {
    let mut groups = vec![
        SimulatedGroup::new("small", 2, 4 * GIB),
        SimulatedGroup::new("large", 8, 16 * GIB),
    ];
    groups.iter_mut().for_each(|group| group.gpu_count = 0);
    host_of(groups).await
}
