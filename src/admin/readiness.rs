//! Whether clients are to come: one answer for `/readyz` and gRPC health.

/// Changes from one to the next, and never back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// There are hosts that neither have answered yet nor were tried in vain: their VMs would be missing.
    Starting,
    /// It stays so when hosts fail later, and when a reload brings further ones: the others are served.
    Ready,
    /// The server ends.
    Stopping,
}
