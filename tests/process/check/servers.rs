//! Each thing broken in turn between `check` and the K3s server, and what it says of tokens that work.

use super::{assert_lines, assert_one_failure, check, global_of, global_with};
use crate::authority::Authority;
use crate::k3s::K3s;
use crate::program::{Folder, Program};
use crate::strangers::web_server;
use crate::support::*;

/// A short token, which is no secret here.
const TOKEN: &str = "short";

#[tokio::test]
async fn each_thing_wrong_with_the_k3s_server_is_one_failing_line_that_says_what_to_do() {
    let host = host("agents").await;
    let (authority, other) = (Authority::new("k3s"), Authority::new("proxy"));
    let misnamed = K3s::showing(authority.server("k3s.example"), authority.pem.clone()).await;
    let behind_proxy = K3s::showing(other.server("127.0.0.1"), authority.pem.clone()).await;
    let page = K3s::showing(authority.server("127.0.0.1"), "<html>Welcome</html>".to_owned()).await;
    let mute = format!("https://{}", web_server(200).await);
    let token = misnamed.token();
    for (url, token, said, remedy) in [
        (
            "https://127.0.0.1:1",
            TOKEN,
            "does not answer: Connection refused",
            "the K3s server runs",
        ),
        (
            "https://nowhere.invalid:6443",
            TOKEN,
            "does not answer: failed to lookup",
            "right host and port",
        ),
        (
            &mute,
            TOKEN,
            "is no K3s server: it does not speak TLS",
            "k3s-url is that of the K3s server",
        ),
        (
            &page.url,
            &token,
            "is no K3s server: /cacerts holds no",
            "k3s-url is that of the K3s server",
        ),
        (&misnamed.url, &token, "certificate not valid for name", "--tls-san"),
        (
            &behind_proxy.url,
            TOKEN,
            "UnknownIssuer",
            "no proxy with a certificate of its own",
        ),
    ] {
        let config = global_with(url, token) + &nodegroup("agents", &host.running.url, "");
        assert_one_failure(&check(&config).await, ["k3s", said, remedy]);
    }
}

#[tokio::test]
async fn a_token_that_the_k3s_server_refuses_or_that_is_of_another_cluster_is_told_apart() {
    let (k3s, other, host) = (K3s::start().await, K3s::start().await, host("agents").await);
    for (token, said, remedy) in [
        (
            k3s.wrong_token(),
            "refuses k3s-token (401)",
            "/var/lib/rancher/k3s/server/agent-token",
        ),
        (
            "wrong-password".to_owned(),
            "refuses k3s-token (401)",
            "/var/lib/rancher/k3s/server/agent-token",
        ),
        (
            other.token(),
            "is not the one that k3s-token names",
            "from the same cluster",
        ),
    ] {
        let config = global_with(&k3s.url, &token) + &nodegroup("agents", &host.running.url, "");
        assert_one_failure(&check(&config).await, ["k3s", said, remedy]);
    }
}

#[tokio::test]
async fn a_token_that_works_but_proves_too_little_allows_too_much_or_expires_is_warned_of() {
    let (k3s, host) = (K3s::start().await, host("agents").await);
    for (token, said) in [
        (k3s.server_token(), "k3s: k3s-token is a server token"),
        (
            k3s.bootstrap_token(),
            "k3s: k3s-token is a bootstrap token, which expires",
        ),
        ("right-password".to_owned(), "but the token names no CA"),
    ] {
        let config = global_with(&k3s.url, &token) + &nodegroup("agents", &host.running.url, "");
        assert_lines(&check(&config).await, 0, &[("ok", "node group agents"), ("warn", said)]);
    }
}

#[tokio::test]
async fn a_ca_below_a_root_is_named_by_the_root_alone() {
    let (root, host) = (Authority::new("root"), host("agents").await);
    let ca = root.below("k3s-server-ca");
    let bundle = format!("{}{}", ca.pem, root.pem);
    let group = nodegroup("agents", &host.running.url, "");
    let rooted = K3s::named_by(&root.der, ca.server("127.0.0.1"), bundle.clone()).await;
    let wanted = [("ok", "is the cluster of k3s-token and accepts it")];
    assert_lines(&check(&(global_of(&rooted) + &group)).await, 0, &wanted);
    let of_text = K3s::showing(ca.server("127.0.0.1"), bundle.clone()).await;
    let said = "is not the one that k3s-token names";
    let ended = check(&(global_of(&of_text) + &group)).await;
    assert_one_failure(&ended, ["k3s", said, "from the same cluster"]);
    // Whoever knows the bundle may add to it, and must not get to know the token.
    let other = Authority::new("other");
    let longer = format!("{bundle}{}", other.pem);
    let impostor = K3s::named_by(&root.der, other.server("127.0.0.1"), longer).await;
    let ended = check(&(global_of(&impostor) + &group)).await;
    assert_one_failure(&ended, ["k3s", "agents would not trust", "--tls-san"]);
}

#[tokio::test]
async fn a_server_that_the_system_trusts_needs_no_ca_of_its_own() {
    let (public, ca, host) = (Authority::new("public"), Authority::new("k3s"), host("agents").await);
    let k3s = K3s::showing(public.server("127.0.0.1"), ca.pem.clone()).await;
    let folder = Folder::with_config("");
    std::fs::write(folder.path("system.pem"), &public.pem).unwrap();
    let system = [("SSL_CERT_FILE", folder.path("system.pem").to_str().unwrap().to_owned())];
    let system = system.each_ref().map(|(name, value)| (*name, value.as_str()));
    let arguments = ["check", "--without-kubernetes", "--cloud-config", folder.config()];
    let group = nodegroup("agents", &host.running.url, "");
    // Nor do agents look at the CA that the token names.
    let other = K3s::start().await;
    for token in [k3s.token(), other.token(), "right-password".to_owned()] {
        folder.write_config(&(global_with(&k3s.url, &token) + &group));
        let ended = Program::start(&arguments, &system).end().await;
        let wanted = [("ok", "its certificate is of an authority that this system trusts")];
        assert_lines(&ended, 0, &wanted);
        let elsewhere = Program::start(&arguments, &[]).end().await;
        assert_eq!(elsewhere.code, Some(1), "{}", elsewhere.stdout);
    }
    folder.write_config(&(global_with(&k3s.url, &k3s.wrong_token()) + &group));
    let ended = Program::start(&arguments, &system).end().await;
    assert_one_failure(&ended, ["k3s", "refuses k3s-token (401)", "agent-token"]);
}
