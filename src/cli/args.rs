//! The flags of every command. Each has an environment variable, too.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use rustls::pki_types::ServerName;

use crate::server::{Listen, TlsFiles};

/// What the variable of a switch may say: true, yes, on, 1, or their opposites. Anything else is refused: nobody is to
/// guess what it means.
fn switch() -> BoolishValueParser {
    BoolishValueParser::new()
}

/// Lets an unmodified Kubernetes cluster-autoscaler add and remove K3s nodes on Slicer hosts.
#[derive(Debug, Parser)]
#[command(version, about, arg_required_else_help = true, subcommand_required = true)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) logging: LoggingArgs,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, ClapArgs)]
pub(super) struct LoggingArgs {
    /// How log lines look
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, env = "SLICER_LOG_FORMAT")]
    pub(super) log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or a filter such as info,slicer_cloud_provider::slicer=debug
    /// [default: RUST_LOG, else info]
    #[arg(long, global = true, env = "SLICER_LOG_LEVEL", value_name = "LEVEL")]
    pub(super) log_level: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object per line
    Json,
}

const CHECK_EXIT_CODES: &str = "Exit codes:
  0  no finding is `fail`; some may be `warn`
  1  at least one finding is `fail`, or the findings cannot be written
  2  the command line or the configuration is wrong: nothing was tried";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the gRPC server that the cluster-autoscaler talks to
    Serve(ServeArgs),
    /// Read the configuration, try every host, the K3s server and the Kubernetes API, and print what is wrong and how
    /// to mend it
    #[command(after_help = CHECK_EXIT_CODES)]
    Check(CheckArgs),
    /// Run the server with simulated Slicer hosts, scale them up and down, and go on serving: needs nothing else
    Demo(DemoArgs),
    /// Run a simulated Slicer daemon
    Simulate(SimulateArgs),
}

/// Where the configuration is.
#[derive(Debug, ClapArgs)]
pub(super) struct ConfigArgs {
    /// The configuration file (INI)
    #[arg(
        long,
        env = "SLICER_CLOUD_CONFIG",
        default_value = "/etc/slicer/cloud-config",
        value_name = "PATH"
    )]
    pub(super) cloud_config: PathBuf,
}

/// Where the server listens.
#[derive(Debug, ClapArgs)]
pub(super) struct AddressArgs {
    /// Where the cluster-autoscaler connects: host:port or unix:///path
    #[arg(long, env = "SLICER_LISTEN", default_value = "127.0.0.1:8086", value_name = "ADDR")]
    pub(super) listen: Listen,
    /// Where /healthz, /readyz, /metrics and /api/v1/state are served
    #[arg(
        long,
        env = "SLICER_ADMIN_LISTEN",
        default_value = "127.0.0.1:8087",
        value_name = "ADDR"
    )]
    pub(super) admin_listen: SocketAddr,
}

/// Which Kubernetes cluster the nodes join.
#[derive(Debug, ClapArgs)]
pub(super) struct KubernetesArgs {
    /// The kubeconfig of the cluster [default: KUBECONFIG, then in-cluster]
    #[arg(long, env = "SLICER_KUBECONFIG", value_name = "PATH")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// Do without the Kubernetes API: Nodes are neither watched nor removed
    #[arg(long, env = "SLICER_WITHOUT_KUBERNETES", value_parser = switch())]
    pub(super) without_kubernetes: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    #[command(flatten)]
    pub(super) kubernetes: KubernetesArgs,
    #[command(flatten)]
    pub(super) addresses: AddressArgs,
    #[command(flatten)]
    pub(super) tls: TlsArgs,
    /// Listen beyond loopback without mTLS: anybody who can connect can then create and delete machines
    #[arg(long, env = "SLICER_ALLOW_INSECURE", value_parser = switch())]
    pub(super) allow_insecure: bool,
}

/// mTLS: all three, or none.
#[derive(Debug, ClapArgs)]
pub(super) struct TlsArgs {
    /// The server's certificate (PEM)
    #[arg(long, env = "SLICER_TLS_CERT", value_name = "PATH")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key (PEM)
    #[arg(long, env = "SLICER_TLS_KEY", value_name = "PATH")]
    tls_key: Option<PathBuf>,
    /// The authority whose clients may connect (PEM)
    #[arg(long, env = "SLICER_TLS_CLIENT_CA", value_name = "PATH")]
    tls_client_ca: Option<PathBuf>,
    /// Only clients whose certificate carries this DNS name may connect; repeatable. Without it, every client of the
    /// authority may
    #[arg(
        long = "tls-client-name",
        env = "SLICER_TLS_CLIENT_NAMES",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    tls_client_names: Vec<String>,
}

fn client_name(text: String) -> Result<ServerName<'static>, String> {
    let refused = format!("--tls-client-name {text}: not a DNS name or an IP address, as a certificate carries it");
    ServerName::try_from(text).map_err(|_| refused)
}

impl TlsArgs {
    /// The files of mTLS, or none; or which of the flags is missing.
    pub(super) fn files(self) -> Result<Option<TlsFiles>, String> {
        let client_names = self.tls_client_names.into_iter().map(client_name);
        let client_names = client_names.collect::<Result<Vec<_>, _>>()?;
        match (self.tls_cert, self.tls_key, self.tls_client_ca) {
            (Some(cert), Some(key), Some(client_ca)) => Ok(Some(TlsFiles {
                cert,
                key,
                client_ca,
                client_names,
            })),
            (None, None, None) if client_names.is_empty() => Ok(None),
            (cert, key, client_ca) => {
                let flags = [
                    ("--tls-cert", cert.is_none()),
                    ("--tls-key", key.is_none()),
                    ("--tls-client-ca", client_ca.is_none()),
                ];
                let missing: Vec<&str> = flags
                    .iter()
                    .filter(|(_, missing)| *missing)
                    .map(|(flag, _)| *flag)
                    .collect();
                Err(format!("mTLS needs all three files; missing: {}", missing.join(", ")))
            }
        }
    }
}

/// How `check` writes its findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum CheckOutput {
    Text,
    Json,
}

#[derive(Debug, ClapArgs)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// Lines for people, or one JSON object per line: verdict (ok, warn or fail), subject, text and, where something is
    /// to be done, remedy
    #[arg(long, env = "SLICER_CHECK_OUTPUT", value_enum, default_value_t = CheckOutput::Text)]
    pub(super) output: CheckOutput,
    #[command(flatten)]
    pub(super) kubernetes: KubernetesArgs,
}

#[derive(Debug, ClapArgs)]
pub(super) struct DemoArgs {
    #[command(flatten)]
    pub(super) addresses: AddressArgs,
    /// End after the scale-down instead of going on serving
    #[arg(long, env = "SLICER_DEMO_EXIT", value_parser = switch())]
    pub(super) exit: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct SimulateArgs {
    /// Where the simulated daemon listens
    #[arg(
        long,
        env = "SLICER_SIMULATE_LISTEN",
        default_value = "127.0.0.1:8080",
        value_name = "ADDR"
    )]
    pub(super) listen: SocketAddr,
    /// A host group as NAME[:CPUS[:RAM[:ARCH[:DISK]]]], such as k3s-agents:2:4Gi:x86_64:25G; repeatable
    #[arg(
        long = "group",
        env = "SLICER_SIMULATE_GROUPS",
        value_delimiter = ',',
        default_value = "k3s-agents:2:4Gi:x86_64",
        value_name = "GROUP"
    )]
    pub(super) groups: Vec<String>,
    /// The API token that clients must send; none: no authentication
    #[arg(long, env = "SLICER_SIMULATE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub(super) token: Option<String>,
    /// How many VMs the host has room for
    #[arg(long, env = "SLICER_SIMULATE_MAX_VMS", default_value_t = 64, value_name = "N")]
    pub(super) max_vms: usize,
    /// Let the VMs register as Nodes with the cluster of this kubeconfig and run pods, without containers
    #[arg(long, env = "SLICER_SIMULATE_KUBECONFIG", value_name = "PATH")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// How long the creation of a VM takes, in milliseconds
    #[arg(long, env = "SLICER_SIMULATE_CREATE_MS", default_value_t = 500, value_name = "MS")]
    pub(super) create_ms: u64,
    /// How long a VM boots before its userdata is done, in milliseconds
    #[arg(long, env = "SLICER_SIMULATE_BOOT_MS", default_value_t = 3000, value_name = "MS")]
    pub(super) boot_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_flag_of_every_command_has_an_environment_variable() {
        for command in Args::command().get_subcommands() {
            for arg in command.get_arguments().filter(|arg| arg.get_long().is_some()) {
                let name = arg.get_long().unwrap();
                assert!(
                    name == "help" || arg.get_env().is_some(),
                    "{} --{name}",
                    command.get_name()
                );
            }
        }
    }

    #[test]
    fn client_names_are_names_and_need_mtls() {
        let files = |further: &[&str]| {
            let args = Args::parse_from([&["x", "serve"], further].concat());
            let Command::Serve(serve) = args.command else { panic!() };
            serve.tls.files()
        };
        let all = ["--tls-cert", "c", "--tls-key", "k", "--tls-client-ca", "a"];
        let named = files(&[&all[..], &["--tls-client-name", "autoscaler"]].concat()).unwrap();
        assert_eq!(named.unwrap().client_names.len(), 1);
        let refused = files(&[&all[..], &["--tls-client-name", "not a name"]].concat()).unwrap_err();
        assert!(refused.contains("not a name"), "{refused}");
        let alone = files(&["--tls-client-name", "autoscaler"]).unwrap_err();
        assert!(alone.contains("--tls-cert"), "{alone}");
    }

    #[test]
    fn mtls_needs_all_three_files() {
        let args = Args::parse_from(["x", "serve", "--tls-cert", "c", "--tls-key", "k"]);
        let Command::Serve(serve) = args.command else { panic!() };
        assert!(serve.tls.files().unwrap_err().contains("--tls-client-ca"));
    }
}
