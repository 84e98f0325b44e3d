//! `[nodegroup "NAME"]`: text becomes [`GroupConfig`].

use std::num::NonZeroUsize;

use super::error::{Fault, shown};
use super::keys;
use super::limits::{self, DefaultLimits};
use super::paths::Paths;
use super::section::{SectionReader, Setting};
use super::token::{self, TokenKeys};
use super::{GroupConfig, address, duration, node, value};
use crate::domain::ids::NodeGroupId;
use crate::domain::spec::{AutoscalingOverrides, Endpoint, NodeGroupSpec};
use crate::domain::vm::Architecture;
use crate::secret::SecretSource;

const TOKEN: TokenKeys = TokenKeys {
    value: keys::SLICER_TOKEN,
    file: keys::SLICER_TOKEN_FILE,
    check: token::check_slicer,
};

/// Less than this does not boot a K3s agent.
const LEAST_RAM: u64 = 128 << 20;
/// The disk that Slicer gives a VM unless told otherwise, 25G.
const DEFAULT_EPHEMERAL_STORAGE: u64 = 25_000_000_000;
const DEFAULT_CREATE_CONCURRENCY: NonZeroUsize = NonZeroUsize::MIN.saturating_add(7);
const MOST_CPUS: u32 = 1024;
const MOST_GPUS: u32 = 64;
const MOST_CREATED_AT_ONCE: u32 = 256;

/// Reads the section of the group `id`; `None` if that or anything else that has no default is missing or wrong.
pub(super) fn read(
    reader: &mut SectionReader<'_>,
    id: Option<NodeGroupId>,
    defaults: &DefaultLimits,
    paths: &Paths,
) -> Option<GroupConfig> {
    let endpoint = reader.required(&keys::SLICER_URL, |text| address::endpoint(text, paths));
    let slicer_token = slicer_token(reader, endpoint.as_ref(), paths);
    let create_concurrency = reader.optional(&keys::CREATE_CONCURRENCY, create_concurrency);
    let spec = spec(reader, id, defaults);
    Some(GroupConfig {
        spec: spec?,
        endpoint: endpoint?,
        slicer_token,
        create_concurrency: create_concurrency.unwrap_or(DEFAULT_CREATE_CONCURRENCY),
    })
}

/// Who may open a unix socket is decided by its file mode, so only URLs need a token.
fn slicer_token(reader: &mut SectionReader<'_>, endpoint: Option<&Endpoint>, paths: &Paths) -> Option<SecretSource> {
    let token = token::read(reader, &TOKEN, paths);
    if matches!((&token, endpoint), (Setting::Absent, Some(Endpoint::Url(_)))) {
        reader.missing(&keys::SLICER_TOKEN, "slicer-token or slicer-token-file");
    }
    token.given()
}

fn create_concurrency(text: &str) -> Result<NonZeroUsize, Fault> {
    let number = value::whole_number(text, 1..=MOST_CREATED_AT_ONCE)?;
    let number = usize::try_from(number).ok().and_then(NonZeroUsize::new);
    number.ok_or_else(|| Fault::of(text, "is out of range", "1 or more"))
}

fn spec(reader: &mut SectionReader<'_>, id: Option<NodeGroupId>, defaults: &DefaultLimits) -> Option<NodeGroupSpec> {
    let limits = limits::read(reader, defaults);
    let host_group = reader.optional(&keys::HOST_GROUP, value::label_value);
    let arch = reader.optional(&keys::ARCH, value::domain::<Architecture>);
    let cpus = reader.optional(&keys::CPUS, |text| value::whole_number(text, 1..=MOST_CPUS));
    let (ram_bytes, memory_reserve) = memory(reader);
    let zone = reader.optional(&keys::ZONE, value::label_value);
    let region = reader.optional(&keys::REGION, value::label_value);
    let labels = node::labels(reader, zone.is_some(), region.is_some());
    let taints = node::taints(reader);
    let kubelet_args = node::kubelet_args(reader);
    let ephemeral_storage = reader.optional(&keys::EPHEMERAL_STORAGE, |text| value::bytes(text, 1));
    let gpu_type = reader.optional(&keys::GPU_TYPE, value::label_value);
    let gpu_count = reader.optional(&keys::GPU_COUNT, |text| value::whole_number(text, 0..=MOST_GPUS));
    let price_per_hour = reader.optional(&keys::PRICE_PER_HOUR, value::price);
    let overrides = overrides(reader);
    // Only now, when every key was looked at, may it end.
    let (id, limits) = (id?, limits?);
    Some(NodeGroupSpec {
        host_group: host_group.unwrap_or_else(|| id.as_str().to_owned()),
        id,
        limits,
        arch,
        cpus,
        ram_bytes,
        labels,
        taints,
        kubelet_args,
        zone,
        region,
        memory_reserve,
        ephemeral_storage: ephemeral_storage.unwrap_or(DEFAULT_EPHEMERAL_STORAGE),
        gpu_type,
        gpu_count,
        price_per_hour,
        overrides,
    })
}

/// `ram` and `memory-reserve`, which have to leave something for pods.
fn memory(reader: &mut SectionReader<'_>) -> (Option<u64>, Option<u64>) {
    let ram = reader.read(&keys::RAM, |text| value::bytes(text, LEAST_RAM));
    let reserve = reader.read(&keys::MEMORY_RESERVE, |text| value::bytes(text, 0));
    if let (
        Setting::Given { value: ram, line },
        Setting::Given {
            value: reserve,
            line: at,
        },
    ) = (&ram, &reserve)
        && reserve >= ram
    {
        let fault = format!("is not less than ram in line {line}; nothing would be left for pods");
        reader.fault(&keys::MEMORY_RESERVE, *at, Fault::new(fault));
    }
    (ram.given(), reserve.given())
}

fn overrides(reader: &mut SectionReader<'_>) -> AutoscalingOverrides {
    AutoscalingOverrides {
        scale_down_utilization_threshold: reader.optional(&keys::SCALE_DOWN_UTILIZATION_THRESHOLD, value::share),
        scale_down_gpu_utilization_threshold: reader
            .optional(&keys::SCALE_DOWN_GPU_UTILIZATION_THRESHOLD, value::share),
        scale_down_unneeded_time: reader.optional(&keys::SCALE_DOWN_UNNEEDED_TIME, duration::positive),
        scale_down_unready_time: reader.optional(&keys::SCALE_DOWN_UNREADY_TIME, duration::positive),
        max_node_provision_time: reader.optional(&keys::MAX_NODE_PROVISION_TIME, duration::positive),
        ignore_daemonsets_utilization: reader.optional(&keys::IGNORE_DAEMONSETS_UTILIZATION, value::switch),
    }
}

/// The NAME of the section, which becomes a label value, a part of provider IDs and of VM tags.
pub(super) fn id(name: &str) -> Result<NodeGroupId, String> {
    name.parse().map_err(|error: crate::domain::ids::InvalidId| {
        format!(
            "{} is not a valid name of a node group; expected {}",
            shown(name),
            error.expected
        )
    })
}
