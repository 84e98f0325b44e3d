//! The calls of all connections, bounded in number. A call is heard once its request is whole: while there are too many,
//! those that still wait for theirs are ended first. If they waited in line instead, a few clients whose requests never
//! end would hold all places, each until its time is up.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use http::{Request, Response};
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use crate::seats::{Seat, Seats};

/// Gives every call a seat.
#[derive(Clone, Debug)]
pub struct CallsLayer {
    seats: Arc<Seats>,
}

impl CallsLayer {
    /// At most so many calls at once.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            seats: Seats::new(most),
        }
    }
}

impl<S> Layer<S> for CallsLayer {
    type Service = Calls<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Calls {
            inner,
            seats: Arc::clone(&self.seats),
        }
    }
}

/// See [`CallsLayer`].
#[derive(Clone, Debug)]
pub struct Calls<S> {
    inner: S,
    seats: Arc<Seats>,
}

impl<S> Service<Request<Body>> for Calls<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let seat = Arc::new(self.seats.take());
        if request.body().is_end_stream() {
            seat.heard(); // nobody reads an empty one
        }
        let request = request.map(|body| {
            Body::new(Heard {
                body,
                seat: Arc::downgrade(&seat),
            })
        });
        let answer = self.inner.call(request);
        Box::pin(async move {
            tokio::select! {
                // One that is done is answered.
                biased;
                answer = answer => answer,
                () = seat.lost() => Ok(Status::resource_exhausted("too many calls at once").into_http()),
            }
        })
    }
}

/// The body of a request, which tells when it was read to its end. It may outlive the call's seat: the requests of a
/// call that is answered step by step go on.
struct Heard {
    body: Body,
    seat: Weak<Seat>,
}

impl HttpBody for Heard {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None))
            && let Some(seat) = self.seat.upgrade()
        {
            seat.heard();
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
    use tonic::Code;

    use super::*;

    /// Reads its request, and never answers.
    async fn read_and_wait(request: Request<Body>) -> Result<Response<Body>, Infallible> {
        let _ = axum::body::to_bytes(axum::body::Body::new(request.into_body()), 1024).await;
        std::future::pending().await
    }

    #[tokio::test]
    async fn a_call_whose_request_is_incomplete_gives_way_and_one_whose_request_is_whole_stays() {
        let mut calls = CallsLayer::new(2).layer(tower::service_fn(read_and_wait));
        let endless = || {
            let nothing = futures::stream::pending::<Result<Bytes, Infallible>>();
            Request::new(Body::new(axum::body::Body::from_stream(nothing)))
        };
        let mut waiting = calls.call(endless());
        assert!((&mut waiting).now_or_never().is_none());
        let mut whole = calls.call(Request::new(Body::empty()));
        assert!((&mut whole).now_or_never().is_none());
        for _ in 0..3 {
            let mut next = calls.call(endless());
            assert!((&mut next).now_or_never().is_none());
            let Ok(ended) = std::mem::replace(&mut waiting, next).await;
            let status = Status::from_header_map(ended.headers()).unwrap();
            assert_eq!(status.code(), Code::ResourceExhausted);
        }
        assert!(whole.now_or_never().is_none());
    }
}
