//! What the cluster-autoscaler orders. Each order is decided and recorded in memory before anything is awaited; the slow
//! part is left to the jobs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::managed::ManagedGroup;
use super::{NodeQuery, Provider, ProviderError, known_shape, launch, removal};
use crate::domain::ids::{InstanceId, NodeName};
use crate::domain::template::TEMPLATE_NAME_PREFIX;

/// How many instances of a batch a line of log names.
const SHOWN: usize = 20;

impl Provider {
    /// Adds `delta` instances. They are in the target and listed when this returns; the VMs come later.
    ///
    /// # Errors
    /// There is no such group, or it may not grow by so much; then nothing changed.
    pub fn increase_size(&self, group: &str, delta: i32) -> Result<(), ProviderError> {
        let managed = self.managed(group)?;
        known_shape(&managed)?;
        let (_, max) = managed.limits();
        let launches = managed
            .state()
            .group
            .request_launches(delta, max, self.shared.clock.now(), || self.shared.entropy.draw())
            .map_err(|refusal| ProviderError::Refused {
                group: managed.id.clone(),
                refusal,
            })?;
        tracing::info!(group = %managed.id, delta, "scaling up");
        self.shared.journal.note(&managed.id, format!("scaling up by {delta}"));
        launch::start(&self.shared, &managed, launches);
        Ok(())
    }

    /// Gives up to `-delta` launches up that have no VM yet.
    ///
    /// # Errors
    /// There is no such group, or the delta is not negative.
    pub fn decrease_target_size(&self, group: &str, delta: i32) -> Result<(), ProviderError> {
        let managed = self.managed(group)?;
        if delta >= 0 {
            return Err(ProviderError::NotADecrease(delta));
        }
        let wanted = delta.unsigned_abs();
        let given_up = managed.state().group.decrease(wanted, self.shared.clock.now());
        tracing::info!(group = %managed.id, delta, given_up, "decreasing the target size");
        self.shared
            .journal
            .note(&managed.id, format!("gave {given_up} of {wanted} launches up"));
        if given_up < wanted {
            // Usual after a scale-up time-out of cluster-autoscaler >= 1.36; otherwise a sign that something is off.
            tracing::warn!(group = %managed.id, wanted, given_up, "fewer launches to give up than asked for; VMs are not touched");
            self.shared.journal.metrics().decrease_clamped(&managed.id);
        }
        managed.wake.notify_one();
        Ok(())
    }

    /// Removes nodes. When this returns they are out of the target and listed as being deleted; their VMs may be gone
    /// already or go in the background, which this waits for at most `wait`.
    ///
    /// # Errors
    /// There is no such group, or a node is not of it; then nothing changed.
    pub async fn delete_nodes(&self, group: &str, nodes: &[NodeQuery], wait: Duration) -> Result<(), ProviderError> {
        let managed = self.managed(group)?;
        let ids = nodes
            .iter()
            .map(|node| self.instance_of(&managed, node))
            .collect::<Result<BTreeSet<InstanceId>, ProviderError>>()?;
        let begun = managed.state().group.delete(&ids, self.shared.clock.now());
        if !begun.is_empty() {
            let shown: Vec<&str> = begun.iter().map(InstanceId::as_str).take(SHOWN).collect();
            tracing::info!(group = %managed.id, count = begun.len(), instances = ?shown, "scaling down");
            self.shared
                .journal
                .note(&managed.id, format!("scaling down by {}", begun.len()));
        }
        removal::start_due(&self.shared, &managed);
        managed.wake.notify_one();
        let wait = wait.min(self.shared.timings.delete_wait);
        // Whether it is done in time or later makes no difference to the answer.
        let _ = tokio::time::timeout(wait, all_gone(&managed, &ids)).await;
        Ok(())
    }

    fn instance_of(&self, managed: &Arc<ManagedGroup>, node: &NodeQuery) -> Result<InstanceId, ProviderError> {
        let foreign = || ProviderError::ForeignNode {
            node: if node.name.is_empty() {
                node.provider_id.clone()
            } else {
                node.name.clone()
            },
            group: managed.id.clone(),
        };
        let of = self
            .managed_for_node(node)
            .filter(|of| of.id == managed.id && !node.is_upcoming);
        if of.is_none() || node.name.starts_with(TEMPLATE_NAME_PREFIX) {
            return Err(foreign());
        }
        if !node.provider_id.is_empty() {
            return Ok(InstanceId::adopted(&node.provider_id));
        }
        // A Node that nobody gave a provider ID: its name ends in its launch. Its hostname proves nothing, because
        // Slicer gives hostnames again: another VM may have it now.
        let launch = NodeName::from(node.name.as_str()).launch().ok_or_else(foreign)?;
        Ok(InstanceId::of_launch(&managed.id, &launch))
    }
}

/// Returns once none of the instances is left.
async fn all_gone(managed: &ManagedGroup, ids: &BTreeSet<InstanceId>) {
    loop {
        let changed = managed.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        let any_left = {
            let state = managed.state();
            ids.iter().any(|id| state.group.slot(id).is_some())
        };
        if !any_left {
            return;
        }
        changed.await;
    }
}
