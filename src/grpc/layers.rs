//! What goes around every call: its count by status code, a trace line, and the net under a panic.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{Request, Response, StatusCode};
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tower_http::catch_panic::CatchPanicLayer;

use crate::metrics::Metrics;

/// The time that the caller gives a call; `None` if it did not say.
pub(super) fn deadline(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (amount, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let amount: u64 = amount.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount.saturating_mul(3600)),
        "M" => Duration::from_secs(amount.saturating_mul(60)),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

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

type PanicHandler = fn(Box<dyn std::any::Any + Send>) -> Response<Body>;

/// Turns a panic in a handler into INTERNAL; the server and all other calls go on.
#[must_use]
pub fn catch_panic() -> CatchPanicLayer<PanicHandler> {
    CatchPanicLayer::custom(answer_panic as PanicHandler)
}

// A panic comes by value.
#[allow(clippy::needless_pass_by_value)]
fn answer_panic(panic: Box<dyn std::any::Any + Send>) -> Response<Body> {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(panic = text, "a call panicked; please report this");
    Status::internal("internal error; the server's log says more").into_http()
}

/// Counts and traces every call.
#[derive(Clone, Debug)]
pub struct ObserveLayer {
    metrics: Arc<Metrics>,
}

impl ObserveLayer {
    /// Counts into `metrics`.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics }
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Observe {
            inner,
            metrics: Arc::clone(&self.metrics),
        }
    }
}

/// See [`ObserveLayer`].
#[derive(Clone, Debug)]
pub struct Observe<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S, Q, A> Service<Request<Q>> for Observe<S>
where
    S: Service<Request<Q>, Response = Response<A>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let mut call = Call::begin(Arc::clone(&self.metrics), request.uri().path());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            if let Ok(response) = &answer {
                call.answered(code_of(response));
            }
            answer
        })
    }
}

/// The code of an answer: errors travel in the headers; without one, the call succeeded.
fn code_of<A>(response: &Response<A>) -> Code {
    if response.status() != StatusCode::OK {
        return Code::Unknown;
    }
    Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code())
}

/// A call under way. Counted when it is dropped, so that a call whose caller went away counts, too: as cancelled.
struct Call {
    metrics: Arc<Metrics>,
    rpc: Option<&'static str>,
    begun: Instant,
    code: Code,
}

impl Call {
    fn begin(metrics: Arc<Metrics>, path: &str) -> Self {
        let own = path.strip_prefix("/clusterautoscaler.cloudprovider.v1.externalgrpc.CloudProvider/");
        Self {
            metrics,
            rpc: own.and_then(|own| RPCS.into_iter().find(|rpc| *rpc == own)),
            begun: Instant::now(),
            code: Code::Cancelled,
        }
    }

    fn answered(&mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for Call {
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
            drop(Call::begin(Arc::clone(&metrics), &format!("{service}{path}"))); // before it is answered
        }
        let shown = metrics.render(&[]).unwrap();
        let series: Vec<&str> = shown.lines().filter(|line| line.contains("rpcs_total{rpc=")).collect();
        assert!(series.len() == 1 && series[0].contains("NodeGroups"), "{series:?}");
    }

    #[test]
    fn deadlines_are_read_in_every_unit() {
        for (text, duration) in [
            ("5S", Duration::from_secs(5)),
            ("4999m", Duration::from_millis(4999)),
            ("1H", Duration::from_secs(3600)),
            ("2M", Duration::from_secs(120)),
            ("4999800u", Duration::from_micros(4_999_800)),
            ("7n", Duration::from_nanos(7)),
        ] {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().unwrap());
            assert_eq!(deadline(&metadata), Some(duration), "{text}");
        }
        for text in ["", "S", "5", "x5S", "5d"] {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().unwrap());
            assert_eq!(deadline(&metadata), None, "{text}");
        }
    }
}
