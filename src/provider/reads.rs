//! What the cluster-autoscaler asks: answered from memory, at once, with the last known good state, whatever hosts and
//! Kubernetes do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::managed::ManagedGroup;
use super::{GroupSummary, NodeQuery, Provider, ProviderError, is_listed, known_shape};
use crate::domain::group::Instance;
use crate::domain::ids::NodeGroupId;
use crate::domain::price::{self, Demand};
use crate::domain::spec::AutoscalingOverrides;
use crate::domain::template::{NodeTemplate, TEMPLATE_NAME_PREFIX, gpu_type};

impl Provider {
    /// The node groups, each with a template: one of which nothing is known yet is left out, because a listed group
    /// without template stops the scale-ups of all groups on clients <= 1.34.
    #[must_use]
    pub fn groups(&self) -> Vec<GroupSummary> {
        self.groups
            .load()
            .values()
            .filter(|managed| is_listed(managed))
            .map(|managed| summary(managed))
            .collect()
    }

    /// The group of a node: a look-up in memory that never fails. `None` for everything that is not ours.
    #[must_use]
    pub fn group_for_node(&self, node: &NodeQuery) -> Option<GroupSummary> {
        self.managed_for_node(node)
            .filter(|managed| is_listed(managed))
            .map(|managed| summary(&managed))
    }

    /// The target size of a group.
    ///
    /// # Errors
    /// There is no such group.
    pub fn target_size(&self, group: &str) -> Result<u32, ProviderError> {
        Ok(self.managed(group)?.state().group.target_size())
    }

    /// All instances of a group.
    ///
    /// # Errors
    /// There is no such group.
    pub fn instances(&self, group: &str) -> Result<Vec<Instance>, ProviderError> {
        Ok(self.managed(group)?.state().group.instances())
    }

    /// What the next node of a group will look like.
    ///
    /// # Errors
    /// There is no such group, or the shape of its VMs is not known yet.
    pub fn template(&self, group: &str) -> Result<NodeTemplate, ProviderError> {
        let managed = self.managed(group)?;
        let shape = known_shape(&managed)?;
        let learned = managed.state().group.learned().cloned();
        let connection = managed.connection.load();
        Ok(NodeTemplate::new(&connection.config.spec, &shape, learned.as_ref()))
    }

    /// The overrides of a group's autoscaling options.
    ///
    /// # Errors
    /// There is no such group.
    pub fn overrides(&self, group: &str) -> Result<AutoscalingOverrides, ProviderError> {
        Ok(self.managed(group)?.connection.load().config.spec.overrides.clone())
    }

    /// The price of a node for `period`. Nodes are known by their labels, or by the name of a template.
    ///
    /// # Errors
    /// The node is of no group whose shape is known.
    pub fn node_price(&self, node: &NodeQuery, period: Duration) -> Result<f64, ProviderError> {
        let managed = self
            .managed_for_node(node)
            .or_else(|| self.managed_of_template(&node.name));
        let managed = managed.ok_or_else(|| ProviderError::UnknownGroup(node.name.clone()))?;
        let shape = known_shape(&managed)?;
        Ok(price::node_price(
            &managed.connection.load().config.spec,
            &shape,
            period,
        ))
    }

    fn managed_of_template(&self, name: &str) -> Option<Arc<ManagedGroup>> {
        let group: NodeGroupId = name.strip_prefix(TEMPLATE_NAME_PREFIX)?.parse().ok()?;
        self.groups.load().get(&group).cloned()
    }

    /// The price of what a pod asks for, for `period`.
    #[must_use]
    pub fn pod_price(&self, demand: Demand, period: Duration) -> f64 {
        price::pod_price(demand, period)
    }

    /// The GPU types of all groups with GPUs.
    #[must_use]
    pub fn gpu_types(&self) -> BTreeSet<String> {
        let groups = self.groups.load();
        let with_gpus = groups
            .values()
            .filter(|managed| managed.shape.load().as_ref().is_some_and(|s| s.gpu_count > 0));
        with_gpus
            .map(|managed| gpu_type(&managed.connection.load().config.spec).to_owned())
            .collect()
    }
}

fn summary(managed: &ManagedGroup) -> GroupSummary {
    let (min, max) = managed.limits();
    let connection = managed.connection.load();
    let debug = format!(
        "{} on {} ({min} to {max})",
        connection.config.spec.host_group, connection.config.endpoint
    );
    GroupSummary {
        id: managed.id.clone(),
        min,
        max,
        debug,
    }
}
