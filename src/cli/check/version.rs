//! Whether the version of K3s that agents get fits the server's.

use super::finding::Finding;
use crate::domain::spec::{JoinSettings, K3sVersion};

/// How many minor versions a kubelet may be older than the API server.
const OLDEST_SKEW: u32 = 3;

const SUBJECT: &str = "k3s-version";

/// Agents may be as old as three minor versions behind the server, and never newer.
pub(super) fn check(join: &JoinSettings, server: &str) -> Finding {
    match &join.version {
        K3sVersion::Server if server.contains("+k3s") => {
            Finding::ok(SUBJECT, format!("agents get the version of the server, {server}"))
        }
        K3sVersion::Server => Finding::warn(
            SUBJECT,
            format!(
                "the API server has version {server}, which is none of K3s: agents install from k3s-channel {}",
                join.channel
            ),
            "set k3s-version, or give the kubeconfig of the K3s cluster",
        ),
        K3sVersion::Exact(agents) => compare(agents, server),
    }
}

fn compare(agents: &str, server: &str) -> Finding {
    let (Some(of_agents), Some(of_server)) = (minor(agents), minor(server)) else {
        return Finding::warn(
            SUBJECT,
            format!("{agents} cannot be compared with the server's {server}"),
            format!("see that it is not newer, and at most {OLDEST_SKEW} minor versions older"),
        );
    };
    let wrong = |how: &str| {
        Finding::fail(
            SUBJECT,
            format!("{agents} is {how} the server's {server}: Kubernetes does not support such agents"),
            "remove k3s-version, and agents get the server's",
        )
    };
    if of_agents > of_server {
        wrong("newer than")
    } else if of_agents.0 < of_server.0 || of_server.1 - of_agents.1 > OLDEST_SKEW {
        wrong(&format!("more than {OLDEST_SKEW} minor versions older than"))
    } else {
        Finding::ok(SUBJECT, format!("agents get {agents}, the server has {server}"))
    }
}

/// What agents get while the version of the server is not known.
pub(super) fn unknown(join: &JoinSettings) -> Finding {
    match &join.version {
        K3sVersion::Exact(agents) => Finding::ok(
            SUBJECT,
            format!("agents get {agents}; whether that fits the server is not known"),
        ),
        K3sVersion::Server => Finding::warn(
            SUBJECT,
            format!(
                "the version of the server is not known: agents install from k3s-channel {}, and may be newer than it",
                join.channel
            ),
            "set k3s-version, or let the Kubernetes API be asked",
        ),
    }
}

/// The major and minor version of `v1.33.6+k3s1`.
fn minor(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.strip_prefix('v')?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    fn verdict(agents: &str, server: &str) -> Verdict {
        compare(agents, server).verdict
    }

    #[test]
    fn agents_may_be_three_minor_versions_older_and_never_newer() {
        for (agents, server, expected) in [
            ("v1.33.6+k3s1", "v1.33.1+k3s1", Verdict::Ok),
            ("v1.30.0+k3s1", "v1.33.6+k3s1", Verdict::Ok),
            ("v1.29.9+k3s1", "v1.33.6+k3s1", Verdict::Fail),
            ("v1.34.0+k3s1", "v1.33.6+k3s1", Verdict::Fail),
            ("v2.0.0+k3s1", "v1.33.6+k3s1", Verdict::Fail),
            ("v1.33.0+k3s1", "v2.1.0+k3s1", Verdict::Fail),
            ("v1.33.6+k3s1", "some build", Verdict::Warn),
        ] {
            assert_eq!(verdict(agents, server), expected, "{agents} {server}");
        }
    }

    #[test]
    fn minor_versions_are_read_from_k3s_tags_and_nothing_else() {
        assert_eq!(minor("v1.33.6+k3s1"), Some((1, 33)));
        assert_eq!(minor("v1.35.4"), Some((1, 35)));
        assert_eq!(minor("1.33"), None);
        assert_eq!(minor("stable"), None);
    }
}
