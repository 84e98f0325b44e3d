//! The JSON of Slicer's REST API: the bodies that are sent, and what is read out of the answers. Liberal in what it
//! reads, with one exception: a VM list is believed whole or not at all, because a VM that is skipped looks deleted.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::list::List;
use super::object::Object;
use super::scalar::Scalar;
use crate::domain::ids::Hostname;
use crate::domain::moment::UnixSeconds;
use crate::domain::vm::{HostGroup, UserdataState, Vm, VmStatus};
use crate::provider::ports::VmRequest;

/// Longest name that a VM may have: that of a DNS name.
const MAX_HOSTNAME: usize = 253;

/// An answer that makes no sense; says why. May hold text of the host.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unreadable(String);

impl From<serde_json::Error> for Unreadable {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

/// What a daemon says of itself. Everything is optional: which fields there are depends on its version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostInfo {
    /// Its version.
    pub version: Option<String>,
    /// The commit that it was built from.
    pub git_commit: Option<String>,
    /// Its operating system.
    pub platform: Option<String>,
    /// Its architecture, as it spells it.
    pub arch: Option<String>,
}

/// The body of a create: explicitly ephemeral, because defaults differ between Slicer's interfaces, and always with
/// the list of secrets, because without it the VM would get to see all of them.
pub(super) fn create_body(request: &VmRequest) -> Value {
    let mut body = Map::from_iter([
        ("persistent".to_owned(), Value::from(false)),
        ("userdata".to_owned(), request.userdata.as_str().into()),
        ("tags".to_owned(), request.tags.clone().into()),
        ("secrets".to_owned(), request.secrets.clone().into()),
    ]);
    let sizes = [
        ("cpus", request.cpus.map(Value::from)),
        ("ram_bytes", request.ram_bytes.map(Value::from)),
        ("gpu_count", request.gpu_count.map(Value::from)),
    ];
    body.extend(
        sizes
            .into_iter()
            .filter_map(|(name, size)| Some((name.to_owned(), size?))),
    );
    Value::Object(body)
}

/// The body that stores a secret, readable for root only.
pub(super) fn secret_body(name: &str, value: &SecretString) -> Value {
    json!({
        "name": name,
        "data": STANDARD.encode(value.expose_secret()),
        "permissions": "0600",
        "uid": 0,
        "gid": 0,
    })
}

pub(super) fn read_info(body: &[u8]) -> Result<HostInfo, Unreadable> {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Shape {
        version: Scalar,
        git_commit: Scalar,
        platform: Scalar,
        arch: Scalar,
    }
    let shape: Shape = object(body)?;
    let text = |scalar: &Scalar| scalar.text().map(str::to_owned);
    Ok(HostInfo {
        version: text(&shape.version),
        git_commit: text(&shape.git_commit),
        platform: text(&shape.platform),
        arch: text(&shape.arch),
    })
}

/// Reads the list of host groups. One without a name is of no use to anybody and left out.
pub(super) fn read_host_groups(body: &[u8]) -> Result<Vec<HostGroup>, Unreadable> {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Shape {
        name: Scalar,
        cpus: Scalar,
        ram_bytes: Scalar,
        gpu_count: Scalar,
        arch: Scalar,
    }
    let shapes: List<Object<Shape>> = serde_json::from_slice(body)?;
    let listed = shapes.0.len();
    let groups: Vec<HostGroup> = shapes
        .0
        .into_iter()
        .filter_map(|shape| shape.0)
        .filter_map(|shape| {
            Some(HostGroup {
                name: shape.name.text()?.to_owned(),
                cpus: positive(&shape.cpus),
                ram_bytes: positive(&shape.ram_bytes),
                gpu_count: shape.gpu_count.amount(),
                arch: shape.arch.text().and_then(|text| text.trim().parse().ok()),
            })
        })
        .collect();
    if groups.len() < listed {
        let skipped = listed - groups.len();
        tracing::warn!(
            skipped,
            "the Slicer host lists host groups without a name; they are ignored"
        );
    }
    Ok(groups)
}

/// Reads a list of VMs, whole or not at all: each must have a usable name and readable tags.
pub(super) fn read_vms(body: &[u8]) -> Result<Vec<Vm>, Unreadable> {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Shape {
        hostname: Scalar,
        tags: List<Scalar>,
        cpus: Scalar,
        ram_bytes: Scalar,
        created_at: Scalar,
        status: Scalar,
    }
    let vm = |(index, shape): (usize, Object<Shape>)| {
        let shape = shape.0.unwrap_or_default();
        let unreadable = |what| Unreadable(format!("VM {} of the list has no usable {what}", index + 1));
        Ok(Vm {
            hostname: hostname(&shape.hostname).ok_or_else(|| unreadable("hostname"))?,
            tags: tags(shape.tags).ok_or_else(|| unreadable("tags"))?,
            cpus: positive(&shape.cpus),
            ram_bytes: positive(&shape.ram_bytes),
            created_at: time(&shape.created_at),
            status: status(&shape.status),
        })
    };
    let shapes: List<Object<Shape>> = serde_json::from_slice(body)?;
    shapes.0.into_iter().enumerate().map(vm).collect()
}

/// Reads the name of a VM out of the answer to its creation.
pub(super) fn read_created(body: &[u8]) -> Result<Hostname, Unreadable> {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Shape {
        hostname: Scalar,
        error: Scalar,
    }
    let shape: Shape = object(body)?;
    hostname(&shape.hostname).ok_or_else(|| {
        let said = shape.error.text().map(|text| format!(": {text}")).unwrap_or_default();
        Unreadable(format!("the answer has no usable hostname{said}"))
    })
}

/// The error that the body of a successful delete may hold. Its other fields are free text, and some hosts send no
/// JSON at all: that is no error.
pub(super) fn read_delete_error(body: &[u8]) -> Option<String> {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Shape {
        error: Option<Value>,
    }
    match object::<Shape>(body).ok()?.error? {
        Value::String(text) if text.trim().is_empty() => None,
        Value::String(text) => Some(text),
        Value::Null | Value::Bool(false) => None,
        other => Some(other.to_string()),
    }
}

/// Whether a list of secrets has one of this name.
pub(super) fn read_has_secret(body: &[u8], name: &str) -> Result<bool, Unreadable> {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Shape {
        name: Scalar,
    }
    let secrets: List<Object<Shape>> = serde_json::from_slice(body)?;
    Ok(secrets
        .0
        .iter()
        .filter_map(|secret| secret.0.as_ref())
        .any(|secret| secret.name.text() == Some(name)))
}

/// Reads what an agent reports. A code that cannot be read is as good as none.
pub(super) fn read_userdata_state(body: &[u8]) -> Result<UserdataState, Unreadable> {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Shape {
        userdata_ran: Scalar,
        userdata_exit_code: Scalar,
    }
    let shape: Shape = object(body)?;
    if !shape.userdata_ran.is_true() {
        return Ok(UserdataState::Pending);
    }
    let code = shape.userdata_exit_code.amount();
    Ok(code.map_or(UserdataState::Finished, UserdataState::Exited))
}

/// Reads the text of a log. Serial consoles emit any bytes, so what is no UTF-8 is replaced.
pub(super) fn read_log(body: &[u8]) -> Result<String, Unreadable> {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Shape {
        content: Scalar,
    }
    let body = String::from_utf8_lossy(body);
    let shape: Shape = object(body.as_bytes())?;
    match shape.content {
        Scalar::Text(text) => Ok(text),
        _ => Ok(String::new()),
    }
}

/// An object; `null` is one without fields.
fn object<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Unreadable> {
    Ok(serde_json::from_slice::<Object<T>>(body)?.0.unwrap_or_default())
}

/// A count of 0 is Go's way to say that there is none.
fn positive<T: TryFrom<i128>>(scalar: &Scalar) -> Option<T> {
    scalar.integer().filter(|number| *number > 0)?.try_into().ok()
}

/// A name that can be shown, and that names one VM when it is part of a URL.
fn hostname(scalar: &Scalar) -> Option<Hostname> {
    let name = scalar.text()?;
    let usable = name.len() <= MAX_HOSTNAME && name != "." && name != ".." && !name.chars().any(char::is_control);
    usable.then(|| Hostname::from(name))
}

fn tags(list: List<Scalar>) -> Option<Vec<String>> {
    list.0
        .into_iter()
        .map(|tag| match tag {
            Scalar::Text(text) => Some(text),
            Scalar::Integer(number) => Some(number.to_string()),
            Scalar::Bool(value) => Some(value.to_string()),
            Scalar::Float(_) | Scalar::Nothing => None,
        })
        .collect()
}

/// An RFC 3339 time with any offset. Go's zero time, and whatever else lies before 1970, means "not known".
fn time(scalar: &Scalar) -> Option<UnixSeconds> {
    let time: Timestamp = scalar.text()?.trim().parse().ok()?;
    Some(UnixSeconds(time.as_second())).filter(|seconds| seconds.0 > 0)
}

fn status(scalar: &Scalar) -> VmStatus {
    let status = scalar.text().unwrap_or_default().trim().to_ascii_lowercase();
    match status.as_str() {
        "paused" | "stopped" | "suspended" => VmStatus::Halted,
        _ => VmStatus::Running,
    }
}

#[cfg(test)]
mod tests;
