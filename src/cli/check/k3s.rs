//! The K3s server that agents join: whether it is there, is the one that the token names, and takes the token.

use secrecy::SecretString;

use super::finding::Finding;
use crate::config::GlobalConfig;
use crate::k3s::{self, Accepted, K3sError, TokenKind, Trust};
use crate::redact::Redactor;

const SUBJECT: &str = "k3s";

/// Where a K3s server keeps the token that agents should have.
const AGENT_TOKEN: &str = "/var/lib/rancher/k3s/server/agent-token";

pub(super) async fn check(global: &GlobalConfig, secrets: &[SecretString]) -> Vec<Finding> {
    let url = &global.join.k3s_url;
    let hiding = Redactor::new(secrets);
    match k3s::try_to_join(url, &global.k3s_token.current()).await {
        Ok(accepted) => judge(url, accepted),
        Err(error) => {
            let error = error.map_reason(|reason| hiding.show(reason));
            vec![Finding::fail(SUBJECT, error.to_string(), remedy(&error))]
        }
    }
}

fn judge(url: &str, accepted: Accepted) -> Vec<Finding> {
    let mut findings = vec![match accepted.trust {
        Trust::Token => Finding::ok(SUBJECT, format!("{url} is the cluster of k3s-token and accepts it")),
        Trust::System => Finding::ok(
            SUBJECT,
            format!(
                "{url} accepts k3s-token; its certificate is of an authority that this system trusts, as that of the \
                 VMs must, too"
            ),
        ),
        Trust::Anybody => Finding::warn(
            SUBJECT,
            format!("{url} accepts k3s-token, but the token names no CA: agents would trust any server"),
            format!("use the long form, K10..., from {AGENT_TOKEN}"),
        ),
    }];
    match accepted.kind {
        TokenKind::Agent | TokenKind::Password => {}
        TokenKind::Server => findings.push(Finding::warn(
            SUBJECT,
            "k3s-token is a server token: whoever reads it in a VM can administer the cluster",
            format!("give the K3s server an --agent-token, and use what is then in {AGENT_TOKEN}"),
        )),
        TokenKind::Bootstrap => findings.push(Finding::warn(
            SUBJECT,
            "k3s-token is a bootstrap token, which expires (after 24 hours unless told otherwise): then no VM can join",
            format!("use the one in {AGENT_TOKEN}, or renew it in time"),
        )),
    }
    findings
}

fn remedy(error: &K3sError) -> &'static str {
    match error {
        K3sError::Unreachable { .. } => {
            "see that k3s-url has the right host and port (6443 unless changed), that the K3s server runs, and that it \
             can be reached from here and from the VMs"
        }
        K3sError::Tls { .. } => {
            "see that k3s-url has a name or address that the server's certificate carries (its --tls-san), and that no \
             proxy with a certificate of its own is in between"
        }
        K3sError::NotK3s { .. } => "see that k3s-url is that of the K3s server",
        K3sError::WrongCa { .. } => {
            "take k3s-url and k3s-token from the same cluster; if that is so, somebody stands in between"
        }
        K3sError::TokenRefused { .. } => {
            "set k3s-token, or the content of k3s-token-file, to what this prints on the K3s server: \
             sudo cat /var/lib/rancher/k3s/server/agent-token"
        }
        K3sError::Broken { .. } => "look into the log of the K3s server",
    }
}
