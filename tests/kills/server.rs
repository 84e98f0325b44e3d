//! The program as a process: started, learned to serve, killed. It never ends in any other way here, and never
//! outlives its handle.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::oneshot;

/// From the start of the process to its listeners, on a busy machine.
const LISTENS_WITHIN: Duration = Duration::from_secs(10);
const SIGKILL: i32 = 9;

/// Where the configuration and the socket are: the same for every server, as on a real machine. So each but the first
/// finds the socket that a killed one left behind.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// The address of the gRPC service.
    pub(crate) fn grpc(&self) -> String {
        format!("unix://{}", self.0.path().join("grpc.sock").display())
    }
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    admin: oneshot::Receiver<String>,
}

impl Server {
    /// Starts the process and waits for nothing.
    pub(crate) fn start(place: &Place, config: &str) -> Self {
        let file = place.0.path().join("cloud-config");
        std::fs::write(&file, config).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_slicer-cloud-provider"))
            .args(["serve", "--without-kubernetes", "--log-format", "json"])
            .args(["--log-level", "info,slicer_cloud_provider=debug"])
            .args(["--listen", &place.grpc(), "--admin-listen", "127.0.0.1:0"])
            .arg("--cloud-config")
            .arg(&file)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (tell_admin, admin) = oneshot::channel();
        let stderr = child.stderr.take().unwrap();
        tokio::spawn(read(stderr, Arc::clone(&log), tell_admin));
        Self { child, log, admin }
    }

    /// Waits until it listens; gives its admin address.
    pub(crate) async fn listens(&mut self) -> String {
        let listens = tokio::time::timeout(LISTENS_WITHIN, &mut self.admin).await;
        listens.expect("it listens in time").expect("it does not end")
    }

    /// Kills it and waits until it is dead; gives the moment of the kill.
    pub(crate) async fn kill(mut self) -> Instant {
        let at = Instant::now();
        self.child.start_kill().unwrap();
        let status = self.child.wait().await.unwrap();
        assert_eq!(status.signal(), Some(SIGKILL), "it ended by itself: {status}");
        at
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the server's log:\n{}", self.log.lock().unwrap().join("\n"));
        }
    }
}

/// Keeps the log, and tells the admin address once it is there.
async fn read(stderr: ChildStderr, log: Arc<Mutex<Vec<String>>>, tell_admin: oneshot::Sender<String>) {
    let mut lines = BufReader::new(stderr).lines();
    let mut tell_admin = Some(tell_admin);
    while let Ok(Some(line)) = lines.next_line().await {
        if tell_admin.is_some()
            && let Some(admin) = admin_in(&line)
            && let Some(tell_admin) = tell_admin.take()
        {
            // A server that is killed while it starts is not asked.
            let _ = tell_admin.send(admin);
        }
        log.lock().unwrap().push(line);
    }
}

fn admin_in(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let is_serving = line["message"] == "serving";
    is_serving.then(|| line["admin"].as_str().unwrap().to_owned())
}
