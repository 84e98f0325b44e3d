//! A program as a process with its log in a file. It is killed at the latest when its handle is dropped.

use std::fs::{self, File, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::Failure;

/// How long a program may take to stop when it is asked to.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// How many lines of a log are shown when something failed.
const TAIL: usize = 25;

/// What to run, and where its log goes.
pub(crate) struct Order {
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// Nothing else is in its environment but where it finds programs and its home.
    pub(crate) environment: Vec<(&'static str, String)>,
    pub(crate) logs: PathBuf,
}

/// A program that runs, or ran.
pub(crate) struct Program {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts it; a log of an earlier start is continued.
    pub(crate) fn start(order: &Order) -> Result<Self, Failure> {
        let log = order.logs.join(format!("{}.log", order.name));
        let (out, err) = open(&log).map_err(|error| format!("cannot write {}: {error}", log.display()))?;
        let child = Command::new(&order.program)
            .args(&order.arguments)
            // Nothing of the person's own set-up: no KUBECONFIG, no proxies.
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "HOME"))
            // The times in the logs of all programs are compared.
            .env("TZ", "UTC")
            .envs(order.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", order.program.display()))?;
        Ok(Self {
            name: order.name,
            child,
            log,
        })
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) {
        // It fails only if the process has ended.
        let _ = self.child.kill().await;
    }

    /// SIGTERM, and SIGKILL if that does not help.
    pub(crate) async fn stop(&mut self) {
        if let Some(id) = self.child.id() {
            let terminate = Command::new("kill").arg(id.to_string()).status();
            let _ = terminate.await;
        }
        if tokio::time::timeout(STOP_WITHIN, self.child.wait()).await.is_err() {
            self.kill().await;
        }
    }

    /// Fails if it has ended.
    pub(crate) fn still_runs(&mut self) -> Result<(), Failure> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("{} has ended with {status}", self.name)),
            Err(error) => Err(format!("{}: {error}", self.name)),
        }
    }

    /// The end of its log, with its name.
    pub(crate) fn tail(&self) -> String {
        let text = self.log_text();
        let lines: Vec<&str> = text.lines().collect();
        let end = &lines[lines.len().saturating_sub(TAIL)..];
        format!("---- the end of {}:\n{}\n", self.log.display(), end.join("\n"))
    }

    /// How many lines of its log `matches` recognises.
    pub(crate) fn count(&self, matches: impl Fn(&str) -> bool) -> usize {
        self.log_text().lines().filter(|line| matches(line)).count()
    }

    /// The lines of its log.
    pub(crate) fn log_text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

fn open(log: &Path) -> std::io::Result<(File, File)> {
    fs::create_dir_all(log.parent().unwrap())?;
    let out = OpenOptions::new().create(true).append(true).open(log)?;
    let err = out.try_clone()?;
    Ok((out, err))
}

/// The port that was given out last. They begin somewhere else in each process, below those that outgoing connections
/// use.
static LAST_PORT: LazyLock<AtomicU16> =
    LazyLock::new(|| AtomicU16::new(20_000 + u16::try_from(std::process::id() % 10_000).unwrap()));

/// A port that is free, and that nobody else here is given.
pub(crate) fn free_port() -> u16 {
    let mut ports = std::iter::repeat_with(|| LAST_PORT.fetch_add(1, Ordering::Relaxed) + 1);
    ports
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

/// Writes a file that the programs read.
pub(crate) fn write(path: &Path, text: &str) -> Result<String, Failure> {
    let written = fs::create_dir_all(path.parent().unwrap()).and_then(|()| fs::write(path, text));
    written.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(path.display().to_string())
}
