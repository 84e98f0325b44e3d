//! Why the simulated daemon does not do what a request asks for. Which status code that becomes is decided in
//! `routes::answer`.

use jiff::SignedDuration;

/// A request that is refused or fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("unauthorized")]
    Unauthorized,
    #[error("{0}")]
    BadRequest(String),
    #[error("{what} {asked} exceeds host group limit {limit}")]
    OverLimit { what: &'static str, asked: u64, limit: u64 },
    #[error("host group {0} not found")]
    NoSuchGroup(String),
    #[error("node {0} not found")]
    NoSuchVm(String),
    #[error("secret {0} not found")]
    NoSuchSecret(String),
    #[error("no such route")]
    NoSuchRoute,
    #[error("method not allowed")]
    NoSuchMethod,
    #[error("trial mode allows {0} VMs")]
    TrialLimit(usize),
    #[error("node {0} is protected and cannot be deleted")]
    Protected(String),
    #[error("secret {0} already exists")]
    SecretExists(String),
    #[error("VM {0} is already running")]
    AlreadyRunning(String),
    #[error("no agent vsock path for {0}")]
    AgentNotUp(String),
    #[error("VM {hostname} is {is}, not {wanted}")]
    WrongPower {
        hostname: String,
        is: &'static str,
        wanted: &'static str,
    },
    #[error("insufficient memory on host: {needed} bytes needed, {free} free")]
    NoMemory { needed: u64, free: u64 },
    #[error("no free IP address on host: all {0} are in use")]
    NoAddress(usize),
    #[error("no space left in the secrets directory: it holds {0} secrets")]
    NoRoomForSecrets(usize),
    #[error("timed out after {after} waiting for {what} of {hostname}; the VM was removed")]
    WaitTimedOut {
        hostname: String,
        what: &'static str,
        after: SignedDuration,
    },
    #[error("VM {0} went away while it was waited for")]
    WentAway(String),
}
