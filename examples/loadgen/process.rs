//! The measured programs as processes of their own: the server, and the bare one to compare it with. Neither outlives
//! its handle.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader, Lines};
use tokio::process::{Child, Command};

use crate::Failure;
use crate::usage::Usage;

/// Longer than a start takes on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// A process that listens.
pub(crate) struct Process {
    child: Child,
    /// `host:port`
    pub(crate) address: String,
    /// When it was started.
    pub(crate) started: Instant,
}

/// What `serve` is started with.
pub(crate) struct Setup<'a> {
    pub(crate) program: &'a Path,
    /// The configuration file.
    pub(crate) config: PathBuf,
    /// `None`: without Kubernetes.
    pub(crate) kubeconfig: Option<PathBuf>,
}

impl Process {
    /// Starts the server on a free port of the loopback interface.
    pub(crate) async fn serve(setup: &Setup<'_>) -> Result<Self, Failure> {
        let mut command = Command::new(setup.program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        command
            .args(["--log-format", "json"])
            .arg("--cloud-config")
            .arg(&setup.config);
        match &setup.kubeconfig {
            Some(file) => command.arg("--kubeconfig").arg(file),
            None => command.arg("--without-kubernetes"),
        };
        command.env_clear().stdout(Stdio::null()).stderr(Stdio::piped());
        let mut started = Self::spawn(command)?;
        let output = started.child.stderr.take().ok_or("no standard error")?;
        started.learn_address(output, address_in_log).await?;
        Ok(started)
    }

    /// Starts this very program as the bare server, with the answers in this folder.
    pub(crate) async fn bare(answers: &Path) -> Result<Self, Failure> {
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(own);
        command.arg("bare").arg(answers).stdout(Stdio::piped());
        let mut started = Self::spawn(command)?;
        let output = started.child.stdout.take().ok_or("no standard output")?;
        started.learn_address(output, |line| Some(line.to_owned())).await?;
        Ok(started)
    }

    fn spawn(mut command: Command) -> Result<Self, Failure> {
        let started = Instant::now();
        let child = command.stdin(Stdio::null()).kill_on_drop(true).spawn();
        let program = command.as_std().get_program().display();
        Ok(Self {
            child: child.map_err(|error| format!("cannot start {program}: {error}"))?,
            address: String::new(),
            started,
        })
    }

    /// Waits for the line that tells the address. What is written later is read and forgotten.
    async fn learn_address(
        &mut self,
        output: impl AsyncRead + Unpin + Send + 'static,
        find: fn(&str) -> Option<String>,
    ) -> Result<(), Failure> {
        let mut lines = BufReader::new(output).lines();
        let found = tokio::time::timeout(STARTS_WITHIN, first(&mut lines, find)).await;
        self.address = found.map_err(|_| "it does not start".to_owned())??;
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(())
    }

    /// What it uses.
    pub(crate) fn usage(&self) -> Result<Usage, Failure> {
        Usage::of(self.child.id().ok_or("the process has ended")?)
    }

    /// Ends it and waits for its end.
    pub(crate) async fn kill(mut self) -> Result<(), Failure> {
        self.child.kill().await.map_err(|error| error.to_string())
    }
}

async fn first<R: AsyncRead + Unpin>(
    lines: &mut Lines<BufReader<R>>,
    find: fn(&str) -> Option<String>,
) -> Result<String, Failure> {
    let mut said = String::new();
    while let Some(line) = lines.next_line().await.map_err(|error| error.to_string())? {
        if let Some(found) = find(&line) {
            return Ok(found);
        }
        said = line;
    }
    Err(format!("it ended: {said}"))
}

fn address_in_log(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let is_serving = line["message"] == "serving";
    is_serving.then(|| line["address"].as_str().map(str::to_owned))?
}
