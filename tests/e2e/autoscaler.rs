//! A real cluster-autoscaler as a process, at a pace for tests.

use std::path::{Path, PathBuf};

use crate::program::{Order, Program, free_port, write};
use crate::provider::Moment;
use crate::{Failure, Lane};

/// Each of these is minutes by default. What a scenario is about is never a pace.
const PACE: [&str; 14] = [
    "--scan-interval=2s",
    "--new-pod-scale-up-delay=0s",
    "--scale-down-delay-after-add=3s",
    "--scale-down-delay-after-delete=1s",
    "--scale-down-delay-after-failure=3s",
    "--scale-down-unneeded-time=6s",
    "--scale-down-unready-time=20s",
    "--unremovable-node-recheck-timeout=3s",
    "--node-delete-delay-after-taint=1s",
    "--max-node-provision-time=60s",
    "--initial-node-group-backoff-duration=30s",
    "--max-node-group-backoff-duration=30s",
    "--kube-client-qps=50",
    "--kube-client-burst=100",
];

/// The files with which the client side of mTLS is set up.
pub(crate) struct ClientTls {
    pub(crate) cert: String,
    pub(crate) key: String,
    pub(crate) cacert: String,
}

/// The cluster-autoscaler, running or killed.
pub(crate) struct Autoscaler {
    order: Order,
    pub(crate) program: Program,
}

impl Autoscaler {
    pub(crate) fn start(
        lane: &Lane,
        folder: &Path,
        kubeconfig: &Path,
        address: &str,
        flags: &[&str],
        tls: Option<&ClientTls>,
    ) -> Result<Self, Failure> {
        let mut config = format!("address: \"{address}\"\n");
        if let Some(ClientTls { cert, key, cacert }) = tls {
            config.push_str(&format!("cert: {cert}\nkey: {key}\ncacert: {cacert}\n"));
        }
        let config = write(&folder.join("externalgrpc.yaml"), &config)?;
        let mut arguments = vec![
            "--cloud-provider=externalgrpc".to_owned(),
            format!("--cloud-config={config}"),
            format!("--kubeconfig={}", kubeconfig.display()),
            "--leader-elect=false".to_owned(),
            "--namespace=kube-system".to_owned(),
            format!("--address=127.0.0.1:{}", free_port()),
            "--v=4".to_owned(),
        ];
        arguments.extend(PACE.iter().chain(flags).map(|flag| (*flag).to_owned()));
        let order = Order {
            name: "cluster-autoscaler",
            program: lane
                .places
                .programs
                .join(format!("cluster-autoscaler-{}", lane.version)),
            arguments,
            environment: Vec::new(),
            logs: PathBuf::from(folder),
        };
        Ok(Self {
            program: Program::start(&order)?,
            order,
        })
    }

    /// SIGKILL, and the same command again.
    pub(crate) async fn is_killed_and_restarted(&mut self) -> Result<(), Failure> {
        self.program.kill().await;
        self.program = Program::start(&self.order)?;
        Ok(())
    }

    /// How many loops it began after one moment and up to another.
    pub(crate) fn loops_between(&self, after: &Moment, until: &Moment) -> usize {
        let in_between = |line: &str| {
            let at = line.get(1..21);
            line.contains("Starting main loop") && at.is_some_and(|at| at > after.as_str() && at <= until.as_str())
        };
        self.program.count(in_between)
    }

    /// How many errors it logged: klog begins such lines with E and the date.
    pub(crate) fn errors(&self) -> usize {
        let is_error = |line: &str| {
            let mut bytes = line.bytes();
            matches!(bytes.next(), Some(b'E' | b'F')) && bytes.take(4).all(|byte| byte.is_ascii_digit())
        };
        self.program.count(is_error)
    }
}
