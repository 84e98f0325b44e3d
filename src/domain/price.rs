//! Prices for `--expander=price`. Only their ratios matter: they are positive, grow with size, and a node costs as
//! much as pods that fill it.

use std::time::Duration;

use super::spec::NodeGroupSpec;
use super::template::Shape;

const PER_CPU_HOUR: f64 = 0.033;
const PER_GIB_HOUR: f64 = 0.0044;
const PER_GPU_HOUR: f64 = 0.70;
const GIB: f64 = 1_073_741_824.0;

/// Resources that somebody asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Demand {
    /// Virtual CPUs.
    pub cpus: f64,
    /// Memory in bytes.
    pub memory_bytes: f64,
    /// GPUs.
    pub gpus: f64,
}

impl Demand {
    fn per_hour(self) -> f64 {
        self.cpus * PER_CPU_HOUR + self.memory_bytes / GIB * PER_GIB_HOUR + self.gpus * PER_GPU_HOUR
    }
}

/// What a node of the group costs for `period`: `price-per-hour`, or a price that follows from its size.
#[must_use]
pub fn node_price(spec: &NodeGroupSpec, shape: &Shape, period: Duration) -> f64 {
    // Exact up to 2^53 bytes.
    #[allow(clippy::cast_precision_loss)]
    let size = Demand {
        cpus: f64::from(shape.cpus),
        memory_bytes: shape.ram_bytes as f64,
        gpus: f64::from(shape.gpu_count),
    };
    spec.price_per_hour.unwrap_or_else(|| size.per_hour()) * hours(period)
}

/// What a pod costs for `period` on a node that fits it perfectly. Never zero, even if it asks for nothing: the
/// cluster-autoscaler divides by it.
#[must_use]
pub fn pod_price(demand: Demand, period: Duration) -> f64 {
    let least = Demand {
        cpus: 0.001,
        ..Demand::default()
    };
    demand.per_hour().max(least.per_hour()) * hours(period)
}

fn hours(period: Duration) -> f64 {
    period.as_secs_f64() / 3600.0
}
