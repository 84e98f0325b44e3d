//! Identities: how node groups, launches, instances, VMs and Nodes are named, and which text is which.
//!
//! A [`LaunchId`] is drawn before Slicer is asked for anything. It goes into the VM's tags and into the Node's
//! provider ID, so an instance keeps one [`InstanceId`] from request to removal.

use std::fmt;
use std::str::FromStr;

/// The prefix of the provider IDs that this project sets.
pub const PROVIDER_ID_PREFIX: &str = "slicer://";

/// A text that is no valid identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidId {
    /// What the text should have been, for a person to read.
    pub expected: &'static str,
}

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", self.expected)
    }
}

impl std::error::Error for InvalidId {}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// The id of a node group: the NAME of its section. A non-empty label value, because Nodes carry it as a label.
    NodeGroupId
);
text_id!(
    /// Marks the VMs of one cluster on hosts that several clusters share.
    ClusterId
);
text_id!(
    /// The eight characters a-z0-9 that tell one launched VM from every other, for ever.
    LaunchId
);
text_id!(
    /// What the cluster-autoscaler knows an instance by: the provider ID that its Node has or will have.
    InstanceId
);
text_id!(
    /// The name that Slicer gave a VM. Slicer may give it again after the VM is gone.
    Hostname
);
text_id!(
    /// The name of a Kubernetes Node.
    NodeName
);

/// Whether `text` is a valid Kubernetes label value. The empty text is one.
#[must_use]
pub fn is_label_value(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    let bytes = text.as_bytes();
    let ends_well = match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric(),
        _ => true,
    };
    bytes.len() <= 63 && ends_well && bytes.iter().all(|c| inner(*c))
}

impl FromStr for NodeGroupId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if text.is_empty() || !is_label_value(text) {
            return Err(InvalidId {
                expected: "1 to 63 letters, digits, '-', '_' or '.', with a letter or digit at both ends",
            });
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for ClusterId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        NodeGroupId::from_str(text).map(|id| Self(id.0))
    }
}

impl LaunchId {
    const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    const LENGTH: usize = 8;

    /// The launch id that stands for `entropy`; random bits give a random id (36^8 of them, about 2.8e12).
    #[must_use]
    pub fn from_entropy(mut entropy: u64) -> Self {
        let mut text = String::with_capacity(Self::LENGTH);
        for _ in 0..Self::LENGTH {
            // The remainder of a division by 36 fits every integer type.
            #[allow(clippy::cast_possible_truncation)]
            let digit = (entropy % 36) as usize;
            text.push(char::from(Self::ALPHABET[digit]));
            entropy /= 36;
        }
        Self(text)
    }
}

impl FromStr for LaunchId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if text.len() == Self::LENGTH && text.bytes().all(|c| Self::ALPHABET.contains(&c)) {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidId {
            expected: "8 characters a-z0-9",
        })
    }
}

impl InstanceId {
    /// The instance that `launch` of `group` is or becomes: `slicer://<node group>/<launch id>`.
    #[must_use]
    pub fn of_launch(group: &NodeGroupId, launch: &LaunchId) -> Self {
        Self(format!("{PROVIDER_ID_PREFIX}{group}/{launch}"))
    }

    /// The instance whose Node already has `provider_id`, given by somebody else (a Node that the fork made).
    #[must_use]
    pub fn adopted(provider_id: &str) -> Self {
        Self(provider_id.to_owned())
    }

    /// The launch of `group` that this instance came from; `None` for adopted instances and other groups.
    #[must_use]
    pub fn launch_of(&self, group: &NodeGroupId) -> Option<LaunchId> {
        let (of, launch) = parse_provider_id(&self.0)?;
        (of == *group).then_some(launch)
    }
}

/// Reads a provider ID of ours; `None` for every other text.
#[must_use]
pub fn parse_provider_id(text: &str) -> Option<(NodeGroupId, LaunchId)> {
    let (group, launch) = text.strip_prefix(PROVIDER_ID_PREFIX)?.split_once('/')?;
    Some((group.parse().ok()?, launch.parse().ok()?))
}

impl From<&str> for Hostname {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<&str> for NodeName {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl NodeName {
    /// The launch that named this Node: the last part of `<VM hostname>-<launch id>`.
    #[must_use]
    pub fn launch(&self) -> Option<LaunchId> {
        self.0.rsplit_once('-')?.1.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_id_is_read_back_as_it_was_written() {
        let group: NodeGroupId = "k3s-agents-1".parse().unwrap();
        let launch = LaunchId::from_entropy(u64::MAX);
        let id = InstanceId::of_launch(&group, &launch);
        assert_eq!(parse_provider_id(id.as_str()), Some((group.clone(), launch.clone())));
        assert_eq!(id.launch_of(&group), Some(launch));
    }

    #[test]
    fn provider_ids_of_others_are_not_ours() {
        for text in [
            "",
            "k3s://n1",
            "slicer://",
            "slicer://g",
            "slicer://g/short",
            "slicer://g/ABCDEFGH",
            "slicer:///abcdefgh",
            "slicer://g/abcdefgh/x",
        ] {
            assert_eq!(parse_provider_id(text), None, "{text}");
        }
    }

    #[test]
    fn a_launch_id_is_always_eight_characters() {
        for entropy in [0, 1, 36, u64::MAX] {
            let id = LaunchId::from_entropy(entropy);
            assert_eq!(id.as_str().parse(), Ok(id));
        }
    }

    #[test]
    fn node_group_ids_are_label_values() {
        for bad in ["", "-a", "a-", "a/b", "a b", &"x".repeat(64)] {
            assert!(bad.parse::<NodeGroupId>().is_err(), "{bad}");
        }
        for good in ["a", "k3s-agents-1", "A_b.c", &"x".repeat(63)] {
            assert!(good.parse::<NodeGroupId>().is_ok(), "{good}");
        }
    }

    #[test]
    fn a_node_name_tells_its_launch() {
        assert_eq!(NodeName::from("g-1-abcd1234").launch(), "abcd1234".parse().ok());
        assert_eq!(NodeName::from("server").launch(), None);
    }
}
