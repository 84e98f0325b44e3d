//! What a serialized core/v1 Pod asks for: the sum of its containers, or its largest init container.

use prost::Message as _;

use super::core_v1::{Container, Pod};
use crate::domain::node::RESOURCE_GPU;
use crate::domain::price::Demand;
use crate::domain::quantity::parse_milli;

/// Reads the demand of a pod.
///
/// # Errors
/// The bytes are no Pod.
pub(super) fn demand(bytes: &[u8]) -> Result<Demand, prost::DecodeError> {
    let spec = Pod::decode(bytes)?.spec.unwrap_or_default();
    let amount = |resource: &str| {
        let running: f64 = spec
            .containers
            .iter()
            .map(|container| request(container, resource))
            .sum();
        let starting = spec
            .init_containers
            .iter()
            .map(|container| request(container, resource));
        starting.fold(running, f64::max)
    };
    Ok(Demand {
        cpus: amount("cpu"),
        memory_bytes: amount("memory"),
        gpus: amount(RESOURCE_GPU),
    })
}

fn request(container: &Container, resource: &str) -> f64 {
    let requests = container.resources.as_ref().map(|resources| &resources.requests);
    let quantity = requests.and_then(|requests| requests.get(resource)?.string.as_deref());
    let milli = quantity.and_then(|quantity| parse_milli(quantity).ok()).unwrap_or(0);
    // A price needs no more than the 53 bits that this keeps.
    #[allow(clippy::cast_precision_loss)]
    let units = milli as f64 / 1000.0;
    units
}
