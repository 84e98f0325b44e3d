//! The program as a process of its own, killed at the latest when its handle is dropped.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

use crate::pages::{self, Page};
use crate::support::{Client, eventually};

/// Longer than any command here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The lines that came out of a pipe so far.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn read(&self, pipe: impl AsyncRead + Unpin + Send + 'static) -> JoinHandle<()> {
        let lines = self.clone();
        tokio::spawn(async move {
            let mut pipe = BufReader::new(pipe).lines();
            while let Some(line) = pipe.next_line().await.unwrap() {
                lines.0.lock().unwrap().push(line);
            }
        })
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }

    /// The JSON log lines with this message, in their order.
    fn logged(&self, message: &str) -> Vec<Value> {
        let lines = self.0.lock().unwrap();
        // At level trace there are far too many lines to parse them all.
        let likely = lines.iter().filter(|line| line.contains(message));
        let parsed = likely.filter_map(|line| serde_json::from_str(line).ok());
        parsed.filter(|line: &Value| line["message"] == message).collect()
    }
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None`: a signal killed it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// From when it was waited for.
    pub(crate) took: Duration,
}

/// A process that runs.
pub(crate) struct Program {
    child: Child,
    stdout: Lines,
    stderr: Lines,
    readers: [JoinHandle<()>; 2],
}

impl Program {
    /// Starts the program with these arguments and no environment but `environment`.
    pub(crate) fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_slicer-cloud-provider"))
            .args(arguments)
            .env_clear()
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (stdout, stderr) = (Lines::default(), Lines::default());
        let readers = [
            stdout.read(child.stdout.take().unwrap()),
            stderr.read(child.stderr.take().unwrap()),
        ];
        Self {
            child,
            stdout,
            stderr,
            readers,
        }
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) async fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        let sent = Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", name, &id])
            .status();
        assert!(sent.await.unwrap().success());
    }

    /// Waits for its end and the last of its output.
    pub(crate) async fn end(mut self) -> Ended {
        let begun = Instant::now();
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = status.unwrap_or_else(|_| panic!("it runs on:\n{}", self.stderr.text()));
        let took = begun.elapsed();
        for reader in self.readers {
            reader.await.unwrap();
        }
        Ended {
            code: status.unwrap().code(),
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
            took,
        }
    }

    /// Waits until standard output holds this text.
    pub(crate) async fn printed(&mut self, text: &str) {
        let stdout = self.stdout.clone();
        self.wait_for(&stdout, text).await;
    }

    /// Waits until standard error holds this text.
    pub(crate) async fn complained(&mut self, text: &str) {
        let stderr = self.stderr.clone();
        self.wait_for(&stderr, text).await;
    }

    async fn wait_for(&mut self, lines: &Lines, text: &str) {
        eventually(&format!("{text:?} printed"), async || {
            let found = lines.text().contains(text);
            let ended = self.child.try_wait().unwrap();
            assert!(found || ended.is_none(), "it ended:\n{}", lines.text());
            found.then_some(())
        })
        .await;
    }

    /// Waits for the JSON log line number `count`, from 1, with this message.
    pub(crate) async fn logged(&mut self, message: &str, count: usize) -> Value {
        let what = format!("{message:?} logged {count} times");
        let (stderr, child) = (&self.stderr, &mut self.child);
        eventually(&what, async || {
            let line = stderr.logged(message).into_iter().nth(count - 1);
            let ended = child.try_wait().unwrap();
            assert!(line.is_some() || ended.is_none(), "it ended:\n{}", stderr.text());
            line
        })
        .await
    }
}

impl Program {
    /// How many JSON log lines have this message so far.
    pub(crate) fn count_logged(&self, message: &str) -> usize {
        self.stderr.logged(message).len()
    }
}

/// Runs the program to its end.
pub(crate) async fn run(arguments: &[&str]) -> Ended {
    Program::start(arguments, &[]).end().await
}

/// `serve`, with its configuration file in a folder of its own.
pub(crate) struct Serving {
    pub(crate) program: Program,
    /// `host:port` or `unix://path`.
    pub(crate) grpc: String,
    /// `host:port`.
    pub(crate) admin: String,
    pub(crate) folder: Folder,
}

impl Serving {
    /// Serves on free ports.
    pub(crate) async fn start(config: &str) -> Self {
        Self::start_on("127.0.0.1:0", config).await
    }

    /// Serves gRPC on this address.
    pub(crate) async fn start_on(listen: &str, config: &str) -> Self {
        Self::start_in(Folder::with_config(config), listen, &[]).await
    }

    /// Serves with the configuration in this folder and further arguments.
    pub(crate) async fn start_in(folder: Folder, listen: &str, further: &[&str]) -> Self {
        let mut arguments = vec!["serve", "--without-kubernetes", "--log-format", "json"];
        arguments.extend(["--listen", listen, "--admin-listen", "127.0.0.1:0"]);
        arguments.extend(["--cloud-config", folder.config()]);
        arguments.extend(further);
        let program = Program::start(&arguments, &[]);
        Self::wait(program, folder).await
    }

    /// Waits until the program serves.
    pub(crate) async fn wait(mut program: Program, folder: Folder) -> Self {
        let line = program.logged("serving", 1).await;
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        Self {
            program,
            grpc: text("address"),
            admin: text("admin"),
            folder,
        }
    }

    pub(crate) async fn channel(&self) -> Channel {
        let uri = match self.grpc.starts_with("unix:") {
            true => self.grpc.clone(),
            false => format!("http://{}", self.grpc),
        };
        Endpoint::from_shared(uri).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn client(&self) -> Client {
        Client::new(self.channel().await)
    }

    /// A page of the admin address.
    pub(crate) async fn page(&self, path: &str) -> Page {
        pages::get(&self.admin, path).await
    }

    /// Replaces the configuration file and asks the program to read it.
    pub(crate) async fn reload(&self, config: &str) {
        self.folder.write_config(config);
        self.program.signal("HUP").await;
    }

    /// Sends a signal and waits for the end.
    pub(crate) async fn stop(self, signal: &str) -> Ended {
        self.program.signal(signal).await;
        self.program.end().await
    }
}

/// A folder of one test, with a configuration file.
pub(crate) struct Folder {
    dir: TempDir,
    config: String,
}

impl Folder {
    pub(crate) fn with_config(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("cloud-config").to_str().unwrap().to_owned();
        let folder = Self { dir, config };
        folder.write_config(text);
        folder
    }

    pub(crate) fn write_config(&self, text: &str) {
        std::fs::write(&self.config, text).unwrap();
    }

    /// The configuration file.
    pub(crate) fn config(&self) -> &str {
        &self.config
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts a pipe that nobody writes to into the folder, also in place of a file.
    pub(crate) fn make_pipe(&self, name: &str) {
        let path = self.path(name);
        let _ = std::fs::remove_file(&path);
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
    }

    /// The address of a unix socket in the folder.
    pub(crate) fn socket(&self, name: &str) -> String {
        unix(&self.path(name))
    }
}

fn unix(path: &Path) -> String {
    format!("unix://{}", path.display())
}
