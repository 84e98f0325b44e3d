//! The calls that the provider makes: which resource, which limits, and which answers count as success.

use async_trait::async_trait;
use reqwest::{Method, StatusCode};
use secrecy::SecretString;

use super::call::Call;
use super::types::{self, HostInfo};
use super::{Client, wording};
use crate::domain::failure::{HostError, HostErrorKind, RequestFate};
use crate::domain::ids::Hostname;
use crate::domain::vm::{HostGroup, UserdataState, Vm};
use crate::provider::ports::{SlicerHost, VmRequest};

/// Most bytes of a list: room for some ten thousand VMs.
const MAX_LISTING: usize = 32 * 1024 * 1024;

/// Most bytes of a serial log's tail.
const MAX_LOG_TAIL: usize = 4 * 1024;

impl Client {
    /// What the daemon says of itself. A daemon without `/info` says nothing, which is no error.
    ///
    /// # Errors
    /// The host cannot be reached, does not accept the token, fails, or answers nonsense.
    pub async fn info(&self) -> Result<HostInfo, HostError> {
        match self.transport.read(&Call::new(Method::GET, &["info"])).await {
            Ok(answer) => answer.read(types::read_info),
            Err(failed) if failed.status == Some(StatusCode::NOT_FOUND) => Ok(HostInfo::default()),
            Err(failed) => Err(failed.into()),
        }
    }

    async fn has_secret(&self, name: &str) -> Result<bool, HostError> {
        let call = Call::new(Method::GET, &["secrets"]).at_most(MAX_LISTING);
        let answer = self.transport.read(&call).await?;
        answer.read(|body| types::read_has_secret(body, name))
    }
}

#[async_trait]
impl SlicerHost for Client {
    async fn host_groups(&self) -> Result<Vec<HostGroup>, HostError> {
        let call = Call::new(Method::GET, &["hostgroup"]).at_most(MAX_LISTING);
        self.transport.read(&call).await?.read(types::read_host_groups)
    }

    async fn list_vms(&self, host_group: &str, tag: Option<&str>) -> Result<Vec<Vm>, HostError> {
        let path = ["hostgroup", host_group, "nodes"];
        let call = Call::new(Method::GET, &path).at_most(MAX_LISTING);
        let call = match tag {
            // A host that knows tags answers with one VM or none, and another request follows.
            Some(tag) => call.query("tag", tag).look_up(),
            None => call.then_close(),
        };
        self.transport.read(&call).await?.read(types::read_vms)
    }

    async fn create_vm(&self, host_group: &str, request: &VmRequest) -> Result<Hostname, HostError> {
        let path = ["hostgroup", host_group, "nodes"];
        let call = Call::new(Method::POST, &path)
            .body(types::create_body(request))
            .within(self.transport.timeouts().create);
        self.transport.send(&call).await?.read(types::read_created)
    }

    async fn delete_vm(&self, host_group: &str, hostname: &Hostname) -> Result<(), HostError> {
        let path = ["hostgroup", host_group, "nodes", hostname.as_str()];
        let call = Call::new(Method::DELETE, &path).within(self.transport.timeouts().delete);
        let answer = self.transport.send(&call).await?;
        match types::read_delete_error(answer.body()) {
            None => Ok(()),
            Some(text) if wording::says_not_found(&text) => {
                Err(answer.error(HostErrorKind::NotFound, RequestFate::NotDone, &text))
            }
            Some(text) => Err(answer.error(HostErrorKind::Broken, RequestFate::Unclear, &text)),
        }
    }

    async fn ensure_secret(&self, name: &str, value: &SecretString) -> Result<(), HostError> {
        if self.has_secret(name).await? {
            return Ok(());
        }
        let call = Call::new(Method::POST, &["secrets"])
            .body(types::secret_body(name, value))
            .with_secret(value);
        let Err(failed) = self.transport.send(&call).await else {
            return Ok(());
        };
        // Somebody else was faster. The name says what the content is, so theirs is ours.
        if failed.status == Some(StatusCode::CONFLICT) {
            return Ok(());
        }
        let unclear = failed.error.fate != RequestFate::NotDone;
        if unclear && self.has_secret(name).await.unwrap_or(false) {
            return Ok(());
        }
        Err(failed.into())
    }

    async fn userdata_state(&self, hostname: &Hostname) -> Result<UserdataState, HostError> {
        let path = ["vm", hostname.as_str(), "health"];
        match self.transport.read(&Call::new(Method::GET, &path)).await {
            Ok(answer) => answer.read(types::read_userdata_state),
            // 400: the agent does not listen yet. 404: the VM is gone, which its host group's list will tell.
            Err(failed) if matches!(failed.status, Some(StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND)) => {
                Ok(UserdataState::Pending)
            }
            Err(failed) => Err(failed.into()),
        }
    }

    async fn serial_log_tail(&self, hostname: &Hostname, lines: u32) -> Result<String, HostError> {
        let path = ["vm", hostname.as_str(), "logs"];
        // 0 would mean the whole file.
        let lines = lines.max(1).to_string();
        let call = Call::new(Method::GET, &path).query("lines", &lines);
        let answer = self.transport.read(&call).await?;
        let content = answer.read(types::read_log)?;
        Ok(tail(&answer.redact(&content)).to_owned())
    }
}

/// The last [`MAX_LOG_TAIL`] bytes, or a little less so that no character is cut.
fn tail(text: &str) -> &str {
    let earliest = text.len().saturating_sub(MAX_LOG_TAIL);
    let start = (earliest..=text.len()).find(|index| text.is_char_boundary(*index));
    start.and_then(|start| text.get(start..)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_starts_at_a_character() {
        assert_eq!(tail("short"), "short");
        let text = format!("{}x", "ü".repeat(MAX_LOG_TAIL));
        let tail = tail(&text);
        assert_eq!(tail.len(), MAX_LOG_TAIL - 1);
        assert!(text.ends_with(tail));
    }
}
