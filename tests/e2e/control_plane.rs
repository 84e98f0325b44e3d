//! etcd, kube-apiserver, kube-scheduler and kube-controller-manager on loopback, and the accounts that use them.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Secret, ServiceAccount};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use rcgen::KeyPair;
use serde_json::{Value, json};

use crate::authority::Authority;
use crate::program::{Order, Program, free_port, write};
use crate::sight::Sight;
use crate::{Failure, Places};

/// The programs that hold the objects.
pub(crate) const ETCD: &str = "etcd";
pub(crate) const API_SERVER: &str = "kube-apiserver";
/// A cold start on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// Finalizers and controllers may take their time.
const CLEAN_WITHIN: Duration = Duration::from_secs(90);
/// Everybody but the provider may do everything.
const ADMIN_TOKEN: &str = "admin";
const PROVIDER_TOKEN: &str = "provider";

/// Whether an object is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Apply {
    /// Only what the API server says of it is of interest.
    DryRun,
    ForGood,
}

/// A control plane that runs.
pub(crate) struct ControlPlane {
    pub(crate) client: kube::Client,
    /// May do everything.
    pub(crate) admin_kubeconfig: PathBuf,
    /// May do what the README says that the provider needs.
    pub(crate) provider_kubeconfig: PathBuf,
    programs: Mutex<Vec<Program>>,
}

/// Files and ports while it is being started.
struct Plan<'a> {
    places: &'a Places,
    folder: PathBuf,
    etcd_port: u16,
    port: u16,
    authority: Authority,
}

impl ControlPlane {
    /// All of it.
    pub(crate) async fn start(places: &Places) -> Result<Self, Failure> {
        let plan = Plan::new(places);
        let control_plane = plan.start_api_server().await?;
        for (name, arguments) in [
            ("kube-scheduler", scheduler(&control_plane.admin_kubeconfig)),
            (
                "kube-controller-manager",
                plan.controller_manager(&control_plane.admin_kubeconfig),
            ),
        ] {
            let program = plan.start(name, arguments)?;
            control_plane.programs.lock().unwrap().push(program);
        }
        control_plane.grant_provider_rights().await?;
        Ok(control_plane)
    }

    /// etcd and kube-apiserver only: objects and rights, but nobody who acts on them.
    pub(crate) async fn start_api_server(places: &Places) -> Result<Self, Failure> {
        Plan::new(places).start_api_server().await
    }

    async fn wait_until_ready(&self) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            let ready = http::Request::get("/readyz").body(Vec::new()).unwrap();
            let answer = tokio::time::timeout(Duration::from_secs(2), self.client.request_text(ready)).await;
            if matches!(answer, Ok(Ok(_))) {
                return Ok(());
            }
            self.still_runs()
                .map_err(|ended| format!("{ended}\n{}", self.tails()))?;
            if begun.elapsed() > READY_WITHIN {
                return Err(format!("waited in vain for the API server\n{}", self.tails()));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// What the README names under "Rights in Kubernetes", and `check` asks for: too little shows in the scenarios.
    async fn grant_provider_rights(&self) -> Result<(), Failure> {
        let subject = json!([{ "kind": "User", "name": "provider", "apiGroup": "rbac.authorization.k8s.io" }]);
        let rule = |group: &str, resource: &str, verbs: &[&str]| json!({ "apiGroups": [group], "resources": [resource], "verbs": verbs });
        self.grant(None, &rule("", "nodes", &["list", "watch", "delete"]), &subject)
            .await?;
        self.grant(Some("kube-system"), &rule("", "secrets", &["delete"]), &subject)
            .await?;
        let leases = rule("coordination.k8s.io", "leases", &["get"]);
        self.grant(Some("kube-node-lease"), &leases, &subject).await?;
        let events = rule("events.k8s.io", "events", &["create"]);
        self.grant(Some("default"), &events, &subject).await
    }

    async fn grant(&self, namespace: Option<&str>, rule: &Value, subject: &Value) -> Result<(), Failure> {
        let prefix = if namespace.is_some() { "" } else { "Cluster" };
        if let Some(namespace) = namespace {
            self.ensure_namespace(namespace).await?;
        }
        let (role, binding) = (format!("{prefix}Role"), format!("{prefix}RoleBinding"));
        let reference = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": "provider" });
        self.create(&role, namespace, json!({ "rules": [rule] })).await?;
        self.create(
            &binding,
            namespace,
            json!({ "roleRef": reference, "subjects": subject }),
        )
        .await
    }

    /// Creates an object of RBAC with the name `provider`.
    async fn create(&self, kind: &str, namespace: Option<&str>, content: Value) -> Result<(), Failure> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("rbac.authorization.k8s.io", "v1", kind));
        let object = DynamicObject::new("provider", &resource).data(content);
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let created = api.create(&PostParams::default(), &object).await;
        created
            .map(drop)
            .map_err(|error| format!("cannot create the {kind}: {error}"))
    }

    /// Applies an object on the server's side, strictly: unknown fields are refused.
    pub(crate) async fn apply(&self, object: &Value, how: Apply) -> Result<(), Failure> {
        let object: DynamicObject = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
        let types = object.types.clone().unwrap();
        let kind = GroupVersionKind::try_from(&types).map_err(|error| error.to_string())?;
        let resource = ApiResource::from_gvk(&kind);
        let name = object.metadata.name.clone().unwrap();
        let api: Api<DynamicObject> = match &object.metadata.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let mut parameters = PatchParams::apply("e2e").force().validation_strict();
        parameters.dry_run = how == Apply::DryRun;
        let applied = api.patch(&name, &parameters, &Patch::Apply(&object)).await;
        applied
            .map(drop)
            .map_err(|error| format!("the API server refuses {} {name}: {error}", types.kind))
    }

    /// Makes sure that a namespace exists.
    pub(crate) async fn ensure_namespace(&self, name: &str) -> Result<(), Failure> {
        let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
        match Api::all(self.client.clone())
            .create(&PostParams::default(), &namespace)
            .await
        {
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            other => other
                .map(drop)
                .map_err(|error| format!("cannot create namespace {name}: {error}")),
        }
    }

    /// A kubeconfig of a service account, with a token as a pod of it has one.
    pub(crate) async fn kubeconfig_of(&self, namespace: &str, account: &str) -> Result<PathBuf, Failure> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let answer = accounts
            .create_token_request(account, &PostParams::default(), &TokenRequest::default())
            .await
            .map_err(|error| format!("no token for {account}: {error}"))?;
        let admin = std::fs::read(&self.admin_kubeconfig).map_err(|error| error.to_string())?;
        let mut kubeconfig: Value = serde_json::from_slice(&admin).map_err(|error| error.to_string())?;
        kubeconfig["users"][0]["user"]["token"] = json!(answer.status.map(|status| status.token));
        let path = self.admin_kubeconfig.with_file_name(format!("{account}.kubeconfig"));
        write(&path, &kubeconfig.to_string())?;
        Ok(path)
    }

    /// Removes what a scenario left, so that the next one begins with nothing.
    pub(crate) async fn clean_up(&self, namespace: &str) -> Result<(), Failure> {
        let begun = Instant::now();
        let (now, everything) = (DeleteParams::default().grace_period(0), ListParams::default());
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let nodes: Api<Node> = Api::all(self.client.clone());
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), "kube-system");
        loop {
            // What fails is repeated.
            let _ = deployments
                .delete_collection(&DeleteParams::foreground(), &everything)
                .await;
            let _ = pods.delete_collection(&now, &everything).await;
            let _ = nodes.delete_collection(&now, &everything).await;
            let _ = secrets.delete_collection(&now, &everything).await;
            let sight = Sight::now(&[], &self.client, namespace).await;
            match sight {
                Ok(sight) if sight.nothing_left() && sight.pods.is_empty() => return Ok(()),
                _ if begun.elapsed() > CLEAN_WITHIN => return Err(format!("{namespace} cannot be cleaned up")),
                _ => tokio::time::sleep(Duration::from_millis(500)).await,
            }
        }
    }

    /// Fails if one of its programs has ended.
    pub(crate) fn still_runs(&self) -> Result<(), Failure> {
        let mut programs = self.programs.lock().unwrap();
        programs.iter_mut().try_for_each(Program::still_runs)
    }

    /// The ends of the logs.
    pub(crate) fn tails(&self) -> String {
        self.programs.lock().unwrap().iter().map(Program::tail).collect()
    }
}

impl<'a> Plan<'a> {
    fn new(places: &'a Places) -> Self {
        Self {
            places,
            folder: places.logs.join("control-plane"),
            etcd_port: free_port(),
            port: free_port(),
            authority: Authority::new("control plane"),
        }
    }

    async fn start_api_server(&self) -> Result<ControlPlane, Failure> {
        let admin_kubeconfig = self.kubeconfig("admin", ADMIN_TOKEN)?;
        let provider_kubeconfig = self.kubeconfig("provider", PROVIDER_TOKEN)?;
        let programs = vec![
            self.start(ETCD, self.etcd())?,
            self.start(API_SERVER, self.api_server()?)?,
        ];
        let control_plane = ControlPlane {
            client: client(&admin_kubeconfig).await?,
            admin_kubeconfig,
            provider_kubeconfig,
            programs: Mutex::new(programs),
        };
        control_plane.wait_until_ready().await?;
        Ok(control_plane)
    }

    fn start(&self, name: &'static str, arguments: Vec<String>) -> Result<Program, Failure> {
        Program::start(&Order {
            name,
            program: self.places.programs.join(name),
            arguments,
            environment: Vec::new(),
            logs: self.folder.clone(),
        })
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn etcd(&self) -> Vec<String> {
        let url = format!("http://127.0.0.1:{}", self.etcd_port);
        let peer = format!("http://127.0.0.1:{}", free_port());
        vec![
            format!("--data-dir={}", self.file("etcd")),
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            "--unsafe-no-fsync".to_owned(),
            "--log-level=error".to_owned(),
        ]
    }

    fn api_server(&self) -> Result<Vec<String>, Failure> {
        let leaf = self.authority.server("127.0.0.1");
        let file = |name: &str, text: &str| write(&self.folder.join(name), text);
        let cert = file("api.crt", &leaf.cert)?;
        let key = file("api.key", &leaf.key)?;
        let key_pair = KeyPair::generate().unwrap();
        let signing = file("accounts.key", &key_pair.serialize_pem())?;
        let verifying = file("accounts.pub", &key_pair.public_key_pem())?;
        let tokens = file(
            "tokens.csv",
            &format!("{ADMIN_TOKEN},admin,1,system:masters\n{PROVIDER_TOKEN},provider,2\n"),
        )?;
        Ok(vec![
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port),
            format!("--secure-port={}", self.port),
            format!("--tls-cert-file={cert}"),
            format!("--tls-private-key-file={key}"),
            format!("--service-account-key-file={verifying}"),
            format!("--service-account-signing-key-file={signing}"),
            format!("--token-auth-file={tokens}"),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            "--anonymous-auth=false".to_owned(),
            // Pods need no account here.
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            // Pods of a dead Node move on after ten seconds instead of five minutes.
            "--default-not-ready-toleration-seconds=10".to_owned(),
            "--default-unreachable-toleration-seconds=10".to_owned(),
        ])
    }

    fn controller_manager(&self, kubeconfig: &Path) -> Vec<String> {
        let mut arguments = scheduler(kubeconfig);
        arguments.extend([
            format!("--service-account-private-key-file={}", self.file("accounts.key")),
            "--node-monitor-period=2s".to_owned(),
            "--node-monitor-grace-period=15s".to_owned(),
            "--kube-api-qps=100".to_owned(),
            "--kube-api-burst=200".to_owned(),
        ]);
        arguments
    }

    fn kubeconfig(&self, name: &str, token: &str) -> Result<PathBuf, Failure> {
        let path = self.folder.join(format!("{name}.kubeconfig"));
        let ca = STANDARD.encode(&self.authority.pem);
        let server = format!("https://127.0.0.1:{}", self.port);
        // JSON is YAML.
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "e2e",
            "clusters": [{ "name": "e2e", "cluster": { "server": server, "certificate-authority-data": ca } }],
            "users": [{ "name": name, "user": { "token": token } }],
            "contexts": [{ "name": "e2e", "context": { "cluster": "e2e", "user": name } }],
        });
        write(&path, &text.to_string())?;
        Ok(path)
    }
}

/// The scheduler needs no more than the way to the API server.
fn scheduler(kubeconfig: &Path) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        "--leader-elect=false".to_owned(),
        "--secure-port=0".to_owned(),
    ]
}

/// Whoever the kubeconfig is of.
pub(crate) async fn client(kubeconfig: &Path) -> Result<kube::Client, Failure> {
    let unusable = |error: &dyn std::fmt::Display| format!("{}: {error}", kubeconfig.display());
    let read = Kubeconfig::read_from(kubeconfig).map_err(|error| unusable(&error))?;
    let mut config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .map_err(|error| unusable(&error))?;
    config.proxy_url = None;
    kube::Client::try_from(config).map_err(|error| unusable(&error))
}
