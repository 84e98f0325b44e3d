//! Host groups, and the VMs in them: list, create, delete.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answer::{LaunchedBody, NodeBody, host_arch};
use super::extract::{JsonBody, Params};
use crate::simulator::config::SimulatedGroup;
use crate::simulator::daemon::WantedSize;
use crate::simulator::handle::Simulator;
use crate::simulator::refusal::Refusal;
use crate::simulator::vm::{BootId, Order, TagFilter, Vm};

/// How long `wait` waits unless the request says otherwise.
const DEFAULT_WAIT: SignedDuration = SignedDuration::from_mins(5);

#[derive(Debug, Serialize)]
pub(super) struct GroupBody {
    name: String,
    count: usize,
    ram_bytes: u64,
    cpus: u32,
    gpu_count: u32,
    arch: &'static str,
}

/// `GET /hostgroup`
pub(super) async fn list_groups(State(simulator): State<Simulator>) -> Json<Vec<GroupBody>> {
    let groups = simulator.shared.with(|state| {
        let body = |(shape, count): (&SimulatedGroup, usize)| GroupBody {
            name: shape.name.clone(),
            count,
            ram_bytes: shape.ram_bytes,
            cpus: shape.cpus,
            gpu_count: shape.gpu_count,
            arch: host_arch(shape.arch),
        };
        state.daemon.groups().map(body).collect()
    });
    Json(groups)
}

#[derive(Debug, Deserialize)]
pub(super) struct ListParams {
    tag: Option<String>,
    tag_prefix: Option<String>,
}

impl ListParams {
    /// An empty parameter is as good as none.
    fn filter(self) -> Result<TagFilter, Refusal> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        match (given(self.tag), given(self.tag_prefix)) {
            (None, None) => Ok(TagFilter::All),
            (Some(tag), None) => Ok(TagFilter::Exactly(tag)),
            (None, Some(prefix)) => Ok(TagFilter::Prefix(prefix)),
            (Some(_), Some(_)) => Err(Refusal::BadRequest(
                "only one of tag and tag_prefix may be set".to_owned(),
            )),
        }
    }
}

/// `GET /hostgroup/{name}/nodes`
pub(super) async fn list_of_group(
    State(simulator): State<Simulator>,
    Path(group): Path<String>,
    Params(params): Params<ListParams>,
) -> Result<Json<Vec<NodeBody>>, Refusal> {
    list(&simulator, Some(&group), params)
}

/// `GET /nodes`
pub(super) async fn list_all(
    State(simulator): State<Simulator>,
    Params(params): Params<ListParams>,
) -> Result<Json<Vec<NodeBody>>, Refusal> {
    list(&simulator, None, params)
}

fn list(simulator: &Simulator, group: Option<&str>, params: ListParams) -> Result<Json<Vec<NodeBody>>, Refusal> {
    let filter = params.filter()?;
    simulator.shared.with(|state| {
        let vms = state.daemon.list(group, &filter)?;
        Ok(Json(vms.into_iter().map(NodeBody::from).collect()))
    })
}

/// What a VM is created from. Fields that change nothing here (`disk_image`, `ssh_keys`, `import_user`, ...) are
/// ignored, and so is `hostname`: the daemon chooses it.
#[derive(Deserialize)]
pub(super) struct CreateBody {
    cpus: Option<u32>,
    ram_bytes: Option<u64>,
    gpu_count: Option<u32>,
    #[serde(default)]
    persistent: bool,
    #[serde(default)]
    protected: bool,
    userdata: Option<String>,
    tags: Option<Vec<String>>,
    secrets: Option<Vec<String>>,
}

impl CreateBody {
    fn split(self) -> (WantedSize, Order) {
        let size = WantedSize {
            cpus: self.cpus,
            ram_bytes: self.ram_bytes,
            gpu_count: self.gpu_count,
        };
        let order = Order {
            persistent: self.persistent,
            protected: self.protected,
            tags: self.tags.unwrap_or_default(),
            userdata: self.userdata.unwrap_or_default(),
            // Go clients leave an empty list out: it means all, too.
            secrets: self.secrets.filter(|names| !names.is_empty()),
        };
        (size, order)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct CreateParams {
    wait: Option<String>,
    timeout: Option<String>,
}

/// What a creation waits for before it is answered.
#[derive(Clone, Copy)]
struct Wait {
    what: &'static str,
    is_over: fn(&Vm) -> bool,
    timeout: SignedDuration,
}

impl CreateParams {
    fn wait(self) -> Result<Option<Wait>, Refusal> {
        let bad = |text: &str| Refusal::BadRequest(text.to_owned());
        let timeout = match self.timeout.as_deref() {
            None | Some("") => DEFAULT_WAIT,
            Some(text) => text.parse().map_err(|_| bad("invalid timeout: Go duration expected"))?,
        };
        if !timeout.is_positive() {
            return Err(bad("timeout must be positive"));
        }
        let (what, is_over): (_, fn(&Vm) -> bool) = match self.wait.as_deref() {
            None | Some("") => return Ok(None),
            Some("agent") => ("agent", |vm| vm.agent_since.is_some()),
            Some("userdata") => ("userdata", |vm| vm.userdata_outcome.is_some()),
            Some(_) => return Err(bad("wait must be agent or userdata")),
        };
        Ok(Some(Wait { what, is_over, timeout }))
    }
}

/// `POST /hostgroup/{name}/nodes`
pub(super) async fn create(
    State(simulator): State<Simulator>,
    Path(group): Path<String>,
    Params(params): Params<CreateParams>,
    JsonBody(body): JsonBody<CreateBody>,
) -> Result<(StatusCode, Json<LaunchedBody>), Refusal> {
    let wait = params.wait()?;
    let (size, order) = body.split();
    tokio::time::sleep(simulator.shared.timing.create).await;
    let (boot, launched) = simulator.shared.change(|state| {
        let vm = state.daemon.create(&group, size, order, Timestamp::now())?;
        Ok::<_, Refusal>((vm.boot, LaunchedBody::from(vm)))
    })?;
    if let Some(wait) = wait {
        wait_until_ready(&simulator, &launched.hostname, boot, wait).await?;
    }
    Ok((StatusCode::CREATED, Json(launched)))
}

/// Waits for a VM; one that is not ready in time is removed.
async fn wait_until_ready(simulator: &Simulator, hostname: &str, boot: BootId, wait: Wait) -> Result<(), Refusal> {
    let shared = &simulator.shared;
    let ready = shared.wait_for(|state| match state.daemon.booted(hostname, boot) {
        None => Some(Err(Refusal::WentAway(hostname.to_owned()))),
        Some(vm) => (wait.is_over)(vm).then_some(Ok(())),
    });
    let timeout = Duration::try_from(wait.timeout).unwrap_or_default();
    match tokio::time::timeout(timeout, ready).await {
        Ok(ready) => ready,
        Err(_) => {
            shared.change(|state| state.daemon.take_back(hostname, boot));
            Err(Refusal::WaitTimedOut {
                hostname: hostname.to_owned(),
                what: wait.what,
                after: wait.timeout,
            })
        }
    }
}

/// `DELETE /hostgroup/{name}/nodes/{node}`
pub(super) async fn delete(
    State(simulator): State<Simulator>,
    Path((group, hostname)): Path<(String, String)>,
) -> Result<Json<Value>, Refusal> {
    tokio::time::sleep(simulator.shared.timing.delete).await;
    simulator
        .shared
        .change(|state| state.daemon.delete(&group, &hostname))?;
    Ok(Json(json!({ "message": "Node deleted", "disk_removed": "true" })))
}
