//! How to reach the API server: which kubeconfig, or the service account of the pod. Finds and reads it; connects not.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use secrecy::SecretString;

use super::failure::explain_kubeconfig;

/// Where the way to the API server is described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KubeconfigSource {
    /// In this file.
    File(PathBuf),
    /// In the files that `KUBECONFIG` names, else in the service account that Kubernetes mounts into a pod.
    ///
    /// `~/.kube/config` is not tried: the cluster that somebody's kubectl happens to point to is not to be acted on
    /// by accident.
    Inferred,
}

/// `the kubeconfig /path`, for messages.
impl fmt::Display for KubeconfigSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the kubeconfig {}", path.display()),
            Self::Inferred => f.write_str("the kubeconfig of KUBECONFIG"),
        }
    }
}

/// Why the way to the API server is not known. Never holds a credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Nothing says where it is.
    #[error(
        "nothing says where the Kubernetes API is: no --kubeconfig, KUBECONFIG is not set, and this is no pod of a \
         cluster (KUBERNETES_SERVICE_HOST is not set). Give --kubeconfig PATH (on a K3s server: \
         /etc/rancher/k3s/k3s.yaml), or --without-kubernetes"
    )]
    NothingFound,
    /// A kubeconfig was named, but cannot be used.
    #[error("cannot use the kubeconfig {}: {reason}", path.display())]
    Kubeconfig {
        /// The file, or all files of `KUBECONFIG`.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// This is a pod, but its service account cannot be used.
    #[error("cannot use the service account of this pod: {reason} (is automountServiceAccountToken off?)")]
    ServiceAccount {
        /// What is wrong with it.
        reason: String,
    },
    /// All was found, but no client can be made of it.
    #[error("cannot prepare connections to {api_url}: {reason}")]
    Client {
        /// The API server.
        api_url: String,
        /// What is wrong: certificates, keys, credentials.
        reason: String,
    },
    /// Something on the way does not end.
    #[error("{what} does not end within {} s", within.as_secs())]
    Hangs {
        /// What: a plugin for credentials, or the reading of a file.
        what: String,
        /// How long it was waited for.
        within: Duration,
    },
}

/// The way to the API server: its URL, whom to trust, credentials.
#[derive(Clone)]
pub struct ClientConfig(kube::Config);

impl ClientConfig {
    /// Finds and reads it. Talks to nobody.
    ///
    /// # Errors
    ///
    /// If nothing is found, or what is found cannot be used. A `KUBECONFIG` that is set and wrong is an error even in
    /// a pod: somebody meant it.
    pub async fn load(source: &KubeconfigSource) -> Result<Self, ConnectError> {
        match source {
            KubeconfigSource::File(path) => from_files(path, std::slice::from_ref(path)).await,
            KubeconfigSource::Inferred => infer(Environment::of_process()).await,
        }
    }

    /// The URL of the API server. Holds no credentials.
    #[must_use]
    pub fn api_url(&self) -> String {
        let url = &self.0.cluster_url;
        format!(
            "{}://{}",
            url.scheme_str().unwrap_or("http"),
            url.authority().map_or("", host_and_port)
        )
    }

    /// The token and the password that the kubeconfig holds.
    pub(super) fn credentials(&self) -> Vec<SecretString> {
        let held = [&self.0.auth_info.token, &self.0.auth_info.password];
        held.into_iter().flatten().cloned().collect()
    }

    /// The command that the kubeconfig names to get credentials from.
    pub(super) fn plugin(&self) -> Option<&str> {
        self.0.auth_info.exec.as_ref()?.command.as_deref()
    }

    pub(super) fn to_kube(&self) -> kube::Config {
        self.0.clone()
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientConfig").field(&self.api_url()).finish()
    }
}

/// An authority without the `user:password@` that a URL may carry.
fn host_and_port(authority: &http::uri::Authority) -> &str {
    let text = authority.as_str();
    text.rsplit_once('@').map_or(text, |(_, host)| host)
}

/// What the environment says about the way to the API server.
struct Environment {
    kubeconfig: Option<OsString>,
    in_pod: bool,
}

impl Environment {
    fn of_process() -> Self {
        let named = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            kubeconfig: named("KUBECONFIG"),
            in_pod: named("KUBERNETES_SERVICE_HOST").is_some(),
        }
    }
}

async fn infer(environment: Environment) -> Result<ClientConfig, ConnectError> {
    if let Some(list) = environment.kubeconfig {
        let files: Vec<_> = std::env::split_paths(&list)
            .filter(|path| !path.as_os_str().is_empty())
            .collect();
        return from_files(Path::new(&list), &files).await;
    }
    if !environment.in_pod {
        return Err(ConnectError::NothingFound);
    }
    let config = kube::Config::incluster().map_err(|error| ConnectError::ServiceAccount {
        reason: error.to_string(),
    })?;
    Ok(ClientConfig(config))
}

/// The files merged as kubectl does it. `shown` is what errors call them.
async fn from_files(shown: &Path, files: &[PathBuf]) -> Result<ClientConfig, ConnectError> {
    let unusable = |reason| ConnectError::Kubeconfig {
        path: shown.to_owned(),
        reason,
    };
    let merged = files
        .iter()
        .try_fold(Kubeconfig::default(), |merged, file| {
            merged.merge(Kubeconfig::read_from(file)?)
        })
        .map_err(|error| unusable(explain_kubeconfig(&error)))?;
    if names_a_proxy(&merged) {
        return Err(unusable(
            "its cluster has a proxy-url: proxies are not supported".to_owned(),
        ));
    }
    let mut config = kube::Config::from_custom_kubeconfig(merged, &KubeConfigOptions::default())
        .await
        .map_err(|error| unusable(explain_kubeconfig(&error)))?;
    // kube falls back to HTTPS_PROXY, ignores NO_PROXY and then refuses to make a client: the API server is reached
    // directly, whatever the proxy for other traffic is.
    config.proxy_url = None;
    Ok(ClientConfig(config))
}

/// Whether the cluster of the current context is to be reached through a proxy.
fn names_a_proxy(kubeconfig: &Kubeconfig) -> bool {
    let current = kubeconfig.current_context.as_deref();
    let mut contexts = kubeconfig.contexts.iter();
    let context = contexts.find(|named| Some(named.name.as_str()) == current);
    let cluster_name = context.and_then(|named| Some(named.context.as_ref()?.cluster.as_str()));
    let mut clusters = kubeconfig.clusters.iter();
    let cluster = clusters.find(|named| Some(named.name.as_str()) == cluster_name);
    cluster
        .and_then(|named| named.cluster.as_ref()?.proxy_url.as_ref())
        .is_some_and(|proxy| !proxy.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "s3cr3t-token";

    fn kubeconfig(server: &str, more: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts:\n- name: c\n  context: {{cluster: k, user: u}}\n\
             clusters:\n- name: k\n  cluster: {{server: \"{server}\"{more}}}\nusers:\n- name: u\n  user: {{token: {TOKEN}}}\n"
        )
    }

    fn file(dir: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[tokio::test]
    async fn a_kubeconfig_file_tells_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(&dir, "k3s.yaml", &kubeconfig("https://10.0.0.1:6443", ""));
        let config = ClientConfig::load(&KubeconfigSource::File(path)).await.unwrap();
        assert_eq!(config.api_url(), "https://10.0.0.1:6443");
        assert!(!format!("{config:?}").contains(TOKEN));
    }

    #[tokio::test]
    async fn a_password_in_the_url_is_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(&dir, "k", &kubeconfig(&format!("https://me:{TOKEN}@api:6443/base"), ""));
        let config = ClientConfig::load(&KubeconfigSource::File(path)).await.unwrap();
        assert_eq!(config.api_url(), "https://api:6443");
        assert!(!format!("{config:?}").contains(TOKEN));
    }

    #[tokio::test]
    async fn a_missing_or_broken_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let broken = file(&dir, "broken", &format!("users:\n- name: u\n  user: {TOKEN}\n"));
        for path in [dir.path().join("missing"), broken] {
            let error = ClientConfig::load(&KubeconfigSource::File(path.clone()))
                .await
                .unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains(path.to_str().unwrap()), "{text}");
            assert!(!text.contains(TOKEN), "{text}");
        }
    }

    #[tokio::test]
    async fn an_environment_that_says_nothing_is_an_error_that_tells_what_was_tried() {
        let nothing = Environment {
            kubeconfig: None,
            in_pod: false,
        };
        let error = infer(nothing).await.unwrap_err();
        assert_eq!(error, ConnectError::NothingFound);
        for tried in ["--kubeconfig", "KUBECONFIG", "KUBERNETES_SERVICE_HOST"] {
            assert!(error.to_string().contains(tried), "{error}");
        }
    }

    #[tokio::test]
    async fn kubeconfig_of_the_environment_may_name_several_files_and_beats_the_pod() {
        let dir = tempfile::tempdir().unwrap();
        let first = file(&dir, "first", &kubeconfig("https://first:6443", ""));
        let second = file(&dir, "second", &kubeconfig("https://second:6443", ""));
        let environment = Environment {
            kubeconfig: Some(std::env::join_paths([first, second]).unwrap()),
            in_pod: true,
        };
        assert_eq!(infer(environment).await.unwrap().api_url(), "https://first:6443");
    }

    #[tokio::test]
    async fn a_wrong_kubeconfig_variable_is_an_error_even_in_a_pod() {
        let environment = Environment {
            kubeconfig: Some("/nonexistent/kubeconfig".into()),
            in_pod: true,
        };
        let error = infer(environment).await.unwrap_err();
        assert!(error.to_string().contains("/nonexistent/kubeconfig"), "{error}");
    }

    #[tokio::test]
    async fn a_pod_without_its_service_account_is_told_so() {
        let pod = Environment {
            kubeconfig: None,
            in_pod: true,
        };
        let error = infer(pod).await.unwrap_err();
        assert!(matches!(error, ConnectError::ServiceAccount { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_proxy_url_is_refused_rather_than_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(
            &dir,
            "k",
            &kubeconfig("https://a:6443", ", proxy-url: \"http://proxy:3128\""),
        );
        let error = ClientConfig::load(&KubeconfigSource::File(path)).await.unwrap_err();
        assert!(error.to_string().contains("proxy-url"), "{error}");
    }
}
