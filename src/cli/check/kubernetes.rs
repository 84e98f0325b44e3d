//! The Kubernetes API: whether it can be asked, what this account may do there, and the version of the server.

use std::time::Duration;

use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::finding::Finding;
use super::version;
use crate::cli::args::KubernetesArgs;
use crate::domain::spec::JoinSettings;
use crate::kubernetes::{ConnectError, KubeconfigSource, KubernetesCluster, Right};
use crate::provider::ports::Cluster as _;
use crate::redact::Redactor;

const SUBJECT: &str = "kubernetes";

/// How long the version of the API server is waited for once it has answered another question.
const VERSION_WITHIN: Duration = Duration::from_secs(5);

pub(super) async fn check(join: &JoinSettings, args: KubernetesArgs, secrets: &[SecretString]) -> Vec<Finding> {
    if args.without_kubernetes {
        let without = Finding::warn(
            SUBJECT,
            "without it Nodes of removed VMs stay, and VMs that never join are noticed late",
            "leave --without-kubernetes out",
        );
        return vec![without, version::unknown(join)];
    }
    let shutdown = CancellationToken::new();
    let source = args
        .kubeconfig
        .map_or(KubeconfigSource::Inferred, KubeconfigSource::File);
    let findings = match KubernetesCluster::connect(source, &TaskTracker::new(), shutdown.clone()).await {
        Ok(cluster) => {
            let hiding = Redactor::new(secrets.iter().chain(cluster.credentials()));
            ask(join, &cluster, &hiding).await
        }
        Err(error) => vec![
            Finding::fail(SUBJECT, error.to_string(), remedy(&error)),
            version::unknown(join),
        ],
    };
    shutdown.cancel();
    findings
}

fn remedy(error: &ConnectError) -> &'static str {
    match error {
        ConnectError::NothingFound => "or run check in the pod of the server",
        ConnectError::Kubeconfig { .. } | ConnectError::Client { .. } => {
            "take the kubeconfig of the K3s cluster; on its server it is /etc/rancher/k3s/k3s.yaml"
        }
        ConnectError::Hangs { .. } => {
            "see that the kubeconfig is a file, and that the command of its `exec`, run by hand, ends within seconds and asks \
             nobody for anything; or take a kubeconfig with a certificate"
        }
        ConnectError::ServiceAccount { .. } => "mount the service account's token into the pod, or give --kubeconfig",
    }
}

/// What the API server says goes through `hiding`.
async fn ask(join: &JoinSettings, cluster: &KubernetesCluster, hiding: &Redactor) -> Vec<Finding> {
    let url = cluster.api_url();
    let missing = match cluster.missing_rights().await {
        Ok(missing) => missing,
        // Its version would be waited for in vain.
        Err(error) => {
            let error = hiding.show(&error.to_string());
            return vec![unanswered(url, &error), version::unknown(join)];
        }
    };
    let mut findings: Vec<Finding> = missing.iter().map(lacks).collect();
    if findings.is_empty() {
        findings.push(Finding::ok(SUBJECT, format!("{url} answers and grants what is needed")));
    }
    findings.push(match tokio::time::timeout(VERSION_WITHIN, version_of(cluster)).await {
        Ok(server) => version::check(join, &hiding.show(&server)),
        Err(_elapsed) => version::unknown(join),
    });
    findings
}

fn unanswered(url: &str, error: &str) -> Finding {
    Finding::fail(
        SUBJECT,
        format!("{url}: {error}"),
        "see that the kubeconfig leads to the API server of the K3s cluster, and that its CA and credentials are right \
         and not expired",
    )
}

fn lacks(right: &Right) -> Finding {
    Finding::fail(
        SUBJECT,
        format!("this account may not {right}: {}", right.purpose()),
        format!("grant {}", right.rule()),
    )
}

async fn version_of(cluster: &KubernetesCluster) -> String {
    loop {
        if let Some(version) = cluster.server_version() {
            return version;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
