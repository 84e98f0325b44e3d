//! The words by which an error text of Slicer is understood. Slicer has no codes for "no room" or "trial limit", only
//! text, so this is the one place that reads text. All matching ignores case.

/// The host has no room for another VM: memory, CPUs, disk, addresses, VM slots.
const NO_ROOM: &[&str] = &[
    "out of memory",
    "out of disk",
    "out of space",
    "out of addresses",
    "out of ip",
    "out of capacity",
    "out of resources",
    "insufficient",
    "not enough",
    "no space",
    "no room",
    "no free",
    "no available",
    "no more",
    "none available",
    "no memory",
    "exhausted",
    "cannot allocate",
    "can't allocate",
    "could not allocate",
    "unable to allocate",
    "failed to allocate",
    "enomem",
    "enospc",
    "disk full",
    "disk is full",
    "pool full",
    "pool is full",
    "pool is empty",
    "range is full",
    "subnet is full",
    "disk quota exceeded",
    "capacity",
    "maximum number of",
    "too many vms",
    "too many nodes",
];

/// The number of VMs is at its limit. Looked for before [`SIZE`], because such texts speak of limits, too.
const COUNT: &[&str] = &[
    "maximum number of vms",
    "maximum number of nodes",
    "maximum number of microvms",
    "maximum number of instances",
    "too many vms",
    "too many nodes",
    "too many microvms",
    "too many instances",
];

/// The request asks for a VM larger than its host group allows. That is not about room: it fails on an empty host,
/// too, and a smaller VM would work. Only asked about answers that blame the request (4xx).
const SIZE: &[&str] = &[
    "limit",
    "exceed",
    "larger than",
    "greater than",
    "higher than",
    "more than",
    "too large",
    "too big",
    "too high",
    "at most",
    "must be",
    "number of cpu",
    "number of vcpu",
    "number of gpu",
];

/// Texts that only sound like [`NO_ROOM`]: Traefik's answer (503) when the daemon behind it is down, and missing rights.
const NOT_ROOM: &[&str] = &[
    "no available server",
    "insufficient permission",
    "insufficient privilege",
];

/// The licence, the trial or a quota does not allow another VM. Slicer says so with 403.
const NOT_LICENSED: &[&str] = &["trial", "limit", "quota", "licen"];

/// The token is the problem.
const NOT_AUTHENTICATED: &[&str] = &[
    "token",
    "unauthorized",
    "unauthorised",
    "authenticat",
    "authorization header",
];

/// The thing asked for is not there.
const NOT_FOUND: &[&str] = &["not found", "no such", "does not exist", "doesn't exist"];

/// Whether a failure of the host (5xx) is for lack of room.
pub(super) fn says_no_room(text: &str) -> bool {
    has_any(text, NO_ROOM) && !has_any(text, NOT_ROOM)
}

/// Whether a refusal of the request (4xx) is for lack of room, rather than for the size of the VM that it asks for.
pub(super) fn refuses_for_lack_of_room(text: &str) -> bool {
    has_any(text, COUNT) || (says_no_room(text) && !has_any(text, SIZE))
}

/// Whether a 403 is about the licence.
pub(super) fn says_not_licensed(text: &str) -> bool {
    has_any(text, NOT_LICENSED)
}

/// Whether a 403 is about the token.
pub(super) fn says_not_authenticated(text: &str) -> bool {
    has_any(text, NOT_AUTHENTICATED)
}

/// Whether an error within a successful answer says that the VM is not there.
pub(super) fn says_not_found(text: &str) -> bool {
    has_any(text, NOT_FOUND)
}

fn has_any(text: &str, words: &[&str]) -> bool {
    let text = text.to_lowercase();
    words.iter().any(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lack_of_room_is_understood_in_many_words_and_any_case() {
        for text in [
            "no free IP in 192.168.137.0/24",
            "Out Of Memory",
            "insufficient memory: need 4096 MiB, have 812 MiB",
            "not enough RAM available on host",
            "zfs: cannot create clone: out of space",
            "write /var/lib/slicer/disk.img: no space left on device",
            "mmap: cannot allocate memory",
            "IP POOL IS FULL",
            "no available addresses in range",
            "address range exhausted",
            "host is at capacity",
            "there are no more MAC addresses",
            "maximum number of VMs reached (32)",
        ] {
            assert!(says_no_room(text), "{text}");
            assert!(says_no_room(&text.to_uppercase()), "{text}");
        }
    }

    #[test]
    fn other_failures_are_not_lack_of_room() {
        for text in [
            "",
            "firecracker exited with status 1",
            "failed to pull image",
            "no available server",
            "open /dev/kvm: insufficient permissions",
            "context deadline exceeded",
            "permission denied",
            "kernel not found",
        ] {
            assert!(!says_no_room(text), "{text}");
        }
    }

    #[test]
    fn a_request_over_the_limits_of_its_group_is_not_lack_of_room() {
        for text in [
            "ram_bytes 34359738368 exceeds host group limit of 17179869184",
            "requested vcpu is greater than the group's maximum of 4",
            "ram_gb over the group's limit",
            "not enough: 8 vCPUs requested, at most 4 allowed by the host group",
            "cpus exceeds the capacity of the host group",
            "maximum number of vCPUs is 4",
        ] {
            assert!(!refuses_for_lack_of_room(text), "{text}");
        }
    }

    #[test]
    fn a_request_is_refused_for_lack_of_room_when_the_text_says_so() {
        for text in [
            "insufficient memory on host",
            "no free IP addresses",
            "limit exceeded: maximum number of VMs is 10",
            "too many nodes in this host group (limit 5)",
        ] {
            assert!(refuses_for_lack_of_room(text), "{text}");
        }
    }

    #[test]
    fn a_refusal_tells_licence_and_token_apart() {
        for text in [
            "Trial mode: 3 VMs",
            "VM limit reached",
            "quota used up",
            "no valid license",
            "Licence expired",
        ] {
            assert!(says_not_licensed(text), "{text}");
        }
        for text in [
            "invalid token",
            "Unauthorized",
            "authentication required",
            "not authenticated",
        ] {
            assert!(says_not_authenticated(text) && !says_not_licensed(text), "{text}");
        }
        assert!(!says_not_licensed("VM is protected") && !says_not_authenticated("VM is protected"));
    }
}
