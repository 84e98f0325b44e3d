//! The record of one call: its count by status code, its time, a trace line. Not what is done around it.

use std::sync::Arc;
use std::time::Instant;

use http::{Response, StatusCode};
use tonic::{Code, Status};

use crate::metrics::Metrics;

/// The calls that are counted by name. Label values must stay few, whatever clients call.
const RPCS: [&str; 15] = [
    "NodeGroups",
    "NodeGroupForNode",
    "PricingNodePrice",
    "PricingPodPrice",
    "GPULabel",
    "GetAvailableGPUTypes",
    "Cleanup",
    "Refresh",
    "NodeGroupTargetSize",
    "NodeGroupIncreaseSize",
    "NodeGroupDeleteNodes",
    "NodeGroupDecreaseTargetSize",
    "NodeGroupNodes",
    "NodeGroupTemplateNodeInfo",
    "NodeGroupGetOptions",
];

/// The code of an answer: errors travel in the headers; without one, the call succeeded.
fn code_of<A>(response: &Response<A>) -> Code {
    if response.status() != StatusCode::OK {
        return Code::Unknown;
    }
    Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code())
}

/// A call under way. Counted when it is dropped, so that a call whose caller went away counts, too: as cancelled.
pub(super) struct Record {
    metrics: Arc<Metrics>,
    rpc: Option<&'static str>,
    begun: Instant,
    code: Code,
}

impl Record {
    /// Of the call with this path, which begins now.
    pub(super) fn begin(metrics: Arc<Metrics>, path: &str) -> Self {
        let own = path.strip_prefix("/clusterautoscaler.cloudprovider.v1.externalgrpc.CloudProvider/");
        Self {
            metrics,
            rpc: own.and_then(|own| RPCS.into_iter().find(|rpc| *rpc == own)),
            begun: Instant::now(),
            code: Code::Cancelled,
        }
    }

    /// The call has this answer.
    pub(super) fn answered<A>(&mut self, response: &Response<A>) {
        self.code = code_of(response);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let Some(rpc) = self.rpc else { return };
        tracing::trace!(rpc, code = ?self.code, micros = self.begun.elapsed().as_micros(), "call");
        self.metrics
            .rpc_answered(rpc, code_name(self.code), self.begun.elapsed());
    }
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        _ => "OTHER",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;

    use super::*;

    #[test]
    fn every_call_of_the_service_is_counted_by_its_name_and_nothing_else() {
        let descriptors = prost_types::FileDescriptorSet::decode(crate::grpc::pb::DESCRIPTOR_SET).unwrap();
        let services = descriptors.file.iter().flat_map(|file| &file.service);
        let methods = services.flat_map(|service| &service.method).map(|method| method.name());
        assert_eq!(methods.collect::<BTreeSet<_>>(), BTreeSet::from(RPCS));

        let metrics = Arc::new(Metrics::new());
        let service = "/clusterautoscaler.cloudprovider.v1.externalgrpc.CloudProvider";
        for path in ["/NodeGroups", "/Nonsense1", "/", ""] {
            drop(Record::begin(Arc::clone(&metrics), &format!("{service}{path}"))); // before it is answered
        }
        let shown = metrics.render(&[]).unwrap();
        let series: Vec<&str> = shown.lines().filter(|line| line.contains("rpcs_total{rpc=")).collect();
        assert!(series.len() == 1 && series[0].contains("NodeGroups"), "{series:?}");
    }
}
