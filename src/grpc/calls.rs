//! What goes around every call: its seat, its record, and the net under a panic.
//!
//! The calls of all connections are bounded in number. A call is heard once its request is whole: while there are too
//! many, those that still wait for theirs are ended first. If they waited in line instead, a few clients whose requests
//! never end would hold all places, each until its time is up.
//!
//! One layer for all three, and a future without allocations of its own: this is in the way of every call.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::FutureExt as _;
use futures::future::CatchUnwind;
use http::{Request, Response};
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::record::Record;
use crate::metrics::Metrics;
use crate::seats::{Ear, Lost, Seat, Seats};

/// Gives every call a seat and a record, and turns a panic in its future, where tonic's handlers run, into INTERNAL; the
/// server and all other calls go on.
#[derive(Clone, Debug)]
pub struct CallsLayer {
    seats: Arc<Seats>,
    metrics: Arc<Metrics>,
}

impl CallsLayer {
    /// At most `most` calls at once, counted into `metrics`.
    #[must_use]
    pub fn new(most: usize, metrics: Arc<Metrics>) -> Self {
        Self {
            seats: Seats::new(most),
            metrics,
        }
    }
}

impl<S> Layer<S> for CallsLayer {
    type Service = Calls<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Calls {
            inner,
            around: self.clone(),
        }
    }
}

/// See [`CallsLayer`].
#[derive(Clone, Debug)]
pub struct Calls<S> {
    inner: S,
    around: CallsLayer,
}

impl<S> Service<Request<Body>> for Calls<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Call<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let CallsLayer { seats, metrics } = &self.around;
        let record = Record::begin(Arc::clone(metrics), request.uri().path());
        let (seat, lost) = seats.take();
        if request.body().is_end_stream() {
            seat.heard(); // nobody reads an empty one
        }
        let ear = seat.ear();
        let answer = self.inner.call(request.map(|body| Body::new(Heard { body, ear })));
        Call {
            answer: AssertUnwindSafe(answer).catch_unwind(),
            lost,
            _seat: seat,
            record,
        }
    }
}

pin_project! {
    /// A call under way, until its answer, a panic or the loss of its seat.
    pub struct Call<F> {
        // What a panic leaves behind in here is not looked at again.
        #[pin]
        answer: CatchUnwind<AssertUnwindSafe<F>>,
        lost: Lost,
        _seat: Seat,
        record: Record,
    }
}

impl<F, E> Future for Call<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // One that is done is answered, even if its seat is lost at the same time.
        let answer = match this.answer.poll(context) {
            Poll::Ready(answer) => answer.unwrap_or_else(|panic| Ok(answer_panic(&*panic))),
            Poll::Pending => {
                ready!(Pin::new(this.lost).poll(context));
                Ok(Status::resource_exhausted("too many calls at once").into_http())
            }
        };
        if let Ok(response) = &answer {
            this.record.answered(response);
        }
        Poll::Ready(answer)
    }
}

fn answer_panic(panic: &(dyn Any + Send)) -> Response<Body> {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = text.unwrap_or_default(), "a call panicked; please report this");
    Status::internal("internal error; the server's log says more").into_http()
}

/// The body of a request, which tells when it was read to its end. It may outlive the call's seat: the requests of a
/// call that is answered step by step go on.
struct Heard {
    body: Body,
    ear: Ear,
}

impl HttpBody for Heard {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) {
            self.ear.heard();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::FutureExt as _;
    use http::Method;
    use tonic::Code;

    use super::*;

    const METHOD: &str = "/clusterautoscaler.cloudprovider.v1.externalgrpc.CloudProvider/Refresh";

    fn assert_counted(metrics: &Metrics, code: &str, times: u32) {
        let text = metrics.render(&[]).unwrap();
        let counted = text.lines().any(|line| {
            line.contains("_rpcs_total{")
                && line.contains(&format!("code=\"{code}\""))
                && line.ends_with(&format!(" {times}"))
        });
        assert!(counted, "{times} {code} in {text}");
    }

    /// Reads its request, and never answers.
    async fn read_and_wait(request: Request<Body>) -> Result<Response<Body>, Infallible> {
        let _ = axum::body::to_bytes(axum::body::Body::new(request.into_body()), 1024).await;
        std::future::pending().await
    }

    #[tokio::test]
    async fn a_call_whose_request_is_incomplete_gives_way_and_one_whose_request_is_whole_stays() {
        let metrics = Arc::<Metrics>::default();
        let mut calls = CallsLayer::new(2, Arc::clone(&metrics)).layer(tower::service_fn(read_and_wait));
        let endless = || {
            let nothing = futures::stream::pending::<Result<Bytes, Infallible>>();
            let body = Body::new(axum::body::Body::from_stream(nothing));
            Request::post(METHOD).body(body).unwrap()
        };
        let mut waiting = Box::pin(calls.call(endless()));
        assert!((&mut waiting).now_or_never().is_none());
        let mut whole = Box::pin(calls.call(Request::new(Body::empty())));
        assert!((&mut whole).now_or_never().is_none());
        for _ in 0..3 {
            let mut next = Box::pin(calls.call(endless()));
            assert!((&mut next).now_or_never().is_none());
            let Ok(ended) = std::mem::replace(&mut waiting, next).await;
            let status = Status::from_header_map(ended.headers()).unwrap();
            assert_eq!(status.code(), Code::ResourceExhausted);
        }
        assert!(whole.now_or_never().is_none());
        assert_counted(&metrics, "RESOURCE_EXHAUSTED", 3);
        drop(waiting);
        assert_counted(&metrics, "CANCELLED", 1);
    }

    #[tokio::test]
    async fn a_call_that_panics_is_answered_and_the_next_one_is_served() {
        let panics = |request: Request<Body>| async move {
            assert!(request.method() != Method::PUT, "of its own");
            Ok::<_, Infallible>(Response::new(Body::empty()))
        };
        let metrics = Arc::<Metrics>::default();
        let mut calls = CallsLayer::new(1, Arc::clone(&metrics)).layer(tower::service_fn(panics));
        for (method, code) in [(Method::PUT, Some(Code::Internal)), (Method::POST, None)] {
            let request = Request::builder().method(&method).uri(METHOD);
            let Ok(answer) = calls.call(request.body(Body::empty()).unwrap()).await;
            let status = Status::from_header_map(answer.headers());
            assert_eq!(status.map(|status| status.code()), code, "{method}");
        }
        assert_counted(&metrics, "INTERNAL", 1);
        assert_counted(&metrics, "OK", 1);
    }
}
