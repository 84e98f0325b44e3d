//! This project's release binary as a process: started, killed, started again, and asked for its metrics.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::process::Command;

use crate::pages::{self, Page};
use crate::program::{Order, Program, free_port, write};
use crate::{Failure, Places};

/// Longer than it takes on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// The pod that it is said to be in.
pub(crate) const POD: &str = "provider-0";

/// Certificate, key and the authority of the clients, PEM files.
pub(crate) struct TlsFiles {
    pub(crate) cert: String,
    pub(crate) key: String,
    pub(crate) client_ca: String,
}

/// What it is started with.
pub(crate) struct Setup<'a> {
    /// Where its configuration and its log go.
    pub(crate) folder: &'a Path,
    pub(crate) kubeconfig: &'a Path,
    /// The namespace of its pod: events are about that.
    pub(crate) namespace: &'a str,
    pub(crate) config: String,
    pub(crate) tls: Option<&'a TlsFiles>,
}

/// A moment in a log, such as `1124 21:39:48.537088`, as klog writes it.
pub(crate) type Moment = String;

/// The server, running or killed.
pub(crate) struct Provider {
    order: Order,
    pub(crate) program: Program,
    port: u16,
    admin: String,
    /// The RPCs that earlier processes answered.
    rpcs_before: f64,
}

impl Provider {
    pub(crate) async fn start(places: &Places, setup: &Setup<'_>) -> Result<Self, Failure> {
        let (port, admin) = (free_port(), format!("127.0.0.1:{}", free_port()));
        let config = write(&setup.folder.join("cloud-config"), &setup.config)?;
        let mut arguments = vec![
            "serve".to_owned(),
            format!("--cloud-config={config}"),
            format!("--kubeconfig={}", setup.kubeconfig.display()),
            format!("--listen=127.0.0.1:{port}"),
            format!("--admin-listen={admin}"),
        ];
        if let Some(TlsFiles { cert, key, client_ca }) = setup.tls {
            arguments.push(format!("--tls-cert={cert}"));
            arguments.push(format!("--tls-key={key}"));
            arguments.push(format!("--tls-client-ca={client_ca}"));
        }
        let order = Order {
            name: "slicer-cloud-provider",
            program: places.provider.clone(),
            arguments,
            environment: vec![
                ("POD_NAME", POD.to_owned()),
                ("POD_NAMESPACE", setup.namespace.to_owned()),
            ],
            logs: PathBuf::from(setup.folder),
        };
        let mut provider = Self {
            program: Program::start(&order)?,
            order,
            port,
            admin,
            rpcs_before: 0.0,
        };
        provider.wait_until_ready().await?;
        Ok(provider)
    }

    /// What `check` says with the same configuration, account and environment.
    pub(crate) async fn check(&self) -> Result<String, Failure> {
        let needed = |argument: &&String| {
            ["--cloud-config=", "--kubeconfig="]
                .iter()
                .any(|flag| argument.starts_with(flag))
        };
        let output = Command::new(&self.order.program)
            .arg("check")
            .args(self.order.arguments.iter().filter(needed))
            .env_clear()
            .envs(self.order.environment.iter().map(|(name, value)| (name, value)))
            .kill_on_drop(true)
            .output()
            .await;
        let output = output.map_err(|error| format!("check cannot be run: {error}"))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// What a cluster-autoscaler connects to.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// SIGKILL, and the same command again.
    pub(crate) async fn is_killed_and_restarted(&mut self) -> Result<(), Failure> {
        self.rpcs_before = self.rpcs().await?;
        self.program.kill().await;
        self.program = Program::start(&self.order)?;
        self.wait_until_ready().await
    }

    /// The value of a series, without the common prefix; 0 if there is none.
    pub(crate) async fn metric(&self, series: &str) -> Result<f64, Failure> {
        Ok(self.metrics().await?.metric(series).unwrap_or(0.0))
    }

    /// How many loops the cluster-autoscaler has begun with this process.
    pub(crate) async fn loops(&self) -> Result<f64, Failure> {
        self.metric("rpcs_total{rpc=\"Refresh\",code=\"OK\"}").await
    }

    /// How many RPCs were answered, whatever the answer.
    pub(crate) async fn rpcs(&self) -> Result<f64, Failure> {
        let page = self.metrics().await?;
        let series = page
            .text
            .lines()
            .filter(|line| line.starts_with("slicer_cloud_provider_rpcs_total{"));
        let values = series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        Ok(self.rpcs_before + values.sum::<f64>())
    }

    /// The same, and what earlier processes answered where this one has ended.
    pub(crate) async fn rpcs_if_it_answers(&self) -> f64 {
        self.rpcs().await.unwrap_or(self.rpcs_before)
    }

    /// When it first logged a line with this text.
    pub(crate) fn logged(&self, text: &str) -> Option<Moment> {
        let log = self.program.log_text();
        let line = log.lines().find(|line| line.contains(text))?;
        let (date, time) = line.split_once('Z')?.0.split_once('T')?;
        let (_, day) = date.split_once('-')?;
        Some(format!("{} {time}", day.replace('-', "")))
    }

    /// How many errors it logged.
    pub(crate) fn errors(&self) -> usize {
        self.program.count(|line| line.contains(" ERROR "))
    }

    async fn metrics(&self) -> Result<Page, Failure> {
        let page = pages::try_get(&self.admin, "/metrics").await;
        page.map_err(|error| format!("the provider's metrics cannot be read: {error}"))
    }

    async fn is_ready(&self) -> bool {
        matches!(pages::try_get(&self.admin, "/readyz").await, Ok(page) if page.status == 200)
    }

    /// Waits until it is ready, as a cluster waits before it lets a client in: every host was tried.
    async fn wait_until_ready(&mut self) -> Result<(), Failure> {
        let begun = Instant::now();
        while !self.is_ready().await {
            let runs = self.program.still_runs();
            runs.map_err(|ended| format!("{ended}\n{}", self.program.tail()))?;
            if begun.elapsed() > READY_WITHIN {
                return Err(format!("the provider does not get ready\n{}", self.program.tail()));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}
