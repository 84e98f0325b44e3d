//! A real helm, and the chart as it renders it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Where the chart is.
pub(crate) const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/cluster-autoscaler-slicer");
/// The release that is rendered.
pub(crate) const RELEASE: &str = "garage";

/// The program.
#[derive(Clone)]
pub(crate) struct Helm(PathBuf);

impl Helm {
    pub(crate) fn new(program: &Path) -> Self {
        Self(program.to_owned())
    }

    /// The objects that the chart makes of these values in this namespace, or what helm says against them.
    pub(crate) fn render(&self, namespace: &str, values: &Value) -> Result<Vec<Value>, String> {
        // Which Kubernetes a helm that is built without its makefile believes in is up to chance.
        let arguments = [
            "template",
            RELEASE,
            CHART,
            "--namespace",
            namespace,
            "--kube-version",
            "1.35.0",
            "-f",
            "-",
        ];
        let text = self.run(&arguments, values)?;
        let objects: Vec<Option<Value>> = serde_saphyr::from_multiple(&text).map_err(|error| error.to_string())?;
        Ok(objects.into_iter().flatten().collect())
    }

    /// What `helm lint` says against the chart with these values.
    pub(crate) fn lint(&self, values: &Value) -> Result<(), String> {
        self.run(&["lint", CHART, "--strict", "--quiet", "-f", "-"], values)
            .map(drop)
    }

    fn run(&self, arguments: &[&str], values: &Value) -> Result<String, String> {
        let mut helm = Command::new(&self.0)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", self.0.display()))?;
        // JSON is YAML. A helm that ends without having read it says why itself.
        let _ = helm.stdin.take().unwrap().write_all(values.to_string().as_bytes());
        let output = helm.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stdout) + &text(&output.stderr))
        }
    }
}
