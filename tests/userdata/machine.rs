//! A directory that stands for the root of a VM, with fakes in place of the programs that reach out of it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use slicer_cloud_provider::bootstrap::{Join, render};
use slicer_cloud_provider::domain::node::Taint;
use slicer_cloud_provider::domain::spec::{JoinSettings, K3sVersion};
use tempfile::TempDir;

pub(crate) const SECRET: &str = "k3s-token-0123456789ab";
pub(crate) const TOKEN: &str = "K10abcdef::node:Very-Secret";

/// What one VM's userdata is made of, owned, so that tests can change it.
pub(crate) struct Userdata {
    pub(crate) settings: JoinSettings,
    pub(crate) version: Option<&'static str>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) taints: Vec<Taint>,
    pub(crate) kubelet_args: Vec<String>,
}

impl Default for Userdata {
    fn default() -> Self {
        Self {
            settings: JoinSettings {
                k3s_url: "https://k3s.example:6443".to_owned(),
                version: K3sVersion::Server,
                channel: "stable".to_owned(),
                install_url: "https://get.k3s.io".to_owned(),
                artifact_url: None,
            },
            version: Some("v1.33.6+k3s1"),
            labels: BTreeMap::from([
                ("k3sup.dev/node-type".to_owned(), "agent".to_owned()),
                ("slicer/hostgroup".to_owned(), "agents-1".to_owned()),
            ]),
            taints: vec!["dedicated=batch:NoSchedule".parse().unwrap()],
            kubelet_args: vec!["max-pods=60".to_owned()],
        }
    }
}

impl Userdata {
    pub(crate) fn render(&self) -> String {
        render(&Join {
            settings: &self.settings,
            version: self.version,
            token_secret: SECRET,
            group: &"agents-1".parse().unwrap(),
            launch: &"abcd1234".parse().unwrap(),
            labels: &self.labels,
            taints: &self.taints,
            kubelet_args: &self.kubelet_args,
        })
        .unwrap()
    }
}

/// The VM. Unless told otherwise its hostname is `agents-1-3`, the secret is there, and everything works.
pub(crate) struct Machine {
    root: TempDir,
    variables: BTreeMap<&'static str, String>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let machine = Self {
            root: tempfile::tempdir().unwrap(),
            variables: BTreeMap::from([
                ("SLICER_JOIN_NETWORK_WAIT", "0".to_owned()),
                ("SLICER_JOIN_SECRET_WAIT", "0".to_owned()),
                ("SLICER_JOIN_AGENT_WAIT", "0".to_owned()),
            ]),
        };
        for directory in ["environments", "failures", "unsynced"] {
            fs::create_dir_all(machine.path("fake").join(directory)).unwrap();
        }
        fs::create_dir_all(machine.path("usr/local/bin")).unwrap();
        for name in ["curl", "hostname", "journalctl", "sleep", "systemctl"] {
            machine.install(name);
        }
        for (name, place) in [("record", "record"), ("k3s", "k3s"), ("install.sh", "served")] {
            symlink(fake(name), machine.path("fake").join(place)).unwrap();
        }
        machine.write("dev/console", "");
        machine.write("fake/hostname", "agents-1-3\n");
        machine.write("fake/state", "inactive\n");
        machine.write("fake/started", "active\n");
        machine.write(&format!("run/slicer/secrets/{SECRET}"), &format!("{TOKEN}\n"));
        machine
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// Puts a file into the VM, in place of one that is there.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // A link to a fake must not be written through.
        self.remove_path(&path);
        fs::write(path, text).unwrap();
    }

    pub(crate) fn remove(&self, path: &str) {
        self.remove_path(&self.path(path));
    }

    fn remove_path(&self, path: &Path) {
        assert!(path.starts_with(self.root.path()));
        if path.symlink_metadata().is_ok() {
            fs::remove_file(path).unwrap();
        }
    }

    /// A file of the VM; empty if it does not exist.
    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_default()
    }

    pub(crate) fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.path(path)).unwrap().permissions().mode() & 0o777
    }

    /// Puts a fake into the VM's PATH. Linked, not copied: a copy that another thread's child still holds open for
    /// writing could not be executed.
    pub(crate) fn install(&self, name: &str) {
        symlink(fake(name), self.path("usr/local/bin").join(name)).unwrap();
    }

    /// From now on PATH leads to the fakes and these programs only, and calls of all of them are recorded.
    pub(crate) fn only_these_programs(&mut self, names: &[&str]) {
        fs::create_dir_all(self.path("tools")).unwrap();
        for name in names {
            symlink(fake("recorder"), self.path("tools").join(name)).unwrap();
        }
        let tools = self.path("tools").display().to_string();
        self.variables.insert("SLICER_JOIN_PATH", tools);
    }

    pub(crate) fn variable(&mut self, name: &'static str, value: &str) {
        self.variables.insert(name, value.to_owned());
    }

    /// Lets the next `count` calls of something fail: `ping`, `download`, `installer`; or kills the `script` itself.
    pub(crate) fn fail(&self, what: &str, count: u32) {
        self.write(&format!("fake/failures/{what}"), &count.to_string());
    }

    /// Runs the userdata as Slicer most likely does, but without any environment.
    pub(crate) fn run(&self, userdata: &Userdata) -> Option<i32> {
        self.run_by(&["bash"], userdata)
    }

    /// Runs the userdata by another interpreter. `None`: it was killed.
    pub(crate) fn run_by(&self, interpreter: &[&str], userdata: &Userdata) -> Option<i32> {
        self.write("userdata", &userdata.render());
        let mut command = self.command(interpreter);
        command.arg(self.path("userdata")).status().unwrap().code()
    }

    /// The interpreter in the VM's environment, with a limit in case that something never ends.
    pub(crate) fn command(&self, interpreter: &[&str]) -> Command {
        let mut command = Command::new("/usr/bin/timeout");
        command.args(["--foreground", "60"]).args(interpreter).env_clear();
        command.env("SLICER_JOIN_ROOT", self.root.path()).envs(&self.variables);
        command
    }

    pub(crate) fn log(&self) -> String {
        self.read("var/log/slicer-cloud-provider-join.log")
    }

    pub(crate) fn config(&self) -> String {
        self.read("etc/rancher/k3s/config.yaml")
    }

    /// The calls of one program so far, each with its arguments.
    pub(crate) fn calls(&self, program: &str) -> Vec<String> {
        let calls = self.read("fake/calls");
        let of_program = |call: &&str| call.split(' ').next() == Some(program);
        calls.lines().filter(of_program).map(str::to_owned).collect()
    }

    /// What systemctl was told to do so far, questions left out.
    pub(crate) fn orders(&self) -> Vec<String> {
        let mut calls = self.calls("systemctl");
        calls.retain(|call| !call.contains("is-active"));
        calls
    }

    /// The `INSTALL_K3S_` variables of the installer's last run.
    pub(crate) fn installer_variables(&self) -> Vec<String> {
        self.read("fake/installer-variables")
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// The environments of all calls so far.
    pub(crate) fn environments(&self) -> String {
        let files = fs::read_dir(self.path("fake/environments")).unwrap();
        files
            .map(|file| String::from_utf8_lossy(&fs::read(file.unwrap().path()).unwrap()).into_owned())
            .collect()
    }
}

/// A fake's own file, made executable in case that the checkout lost that.
fn fake(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/userdata/fakes")
        .join(name);
    let permissions = fs::metadata(&path).unwrap().permissions();
    if permissions.mode() & 0o100 == 0 {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    path
}
