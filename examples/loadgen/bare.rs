//! The bare server: what tonic costs by itself. It answers every call with bytes that were read at its start, and looks
//! into no request. Run as a process of its own (`loadgen bare FOLDER`), like the server that it is compared with.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Request, Response};
use prost::bytes::Bytes;
use tokio::net::TcpListener;
use tonic::Status;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::server::{Server, TcpIncoming};
use tower::Service;

use crate::Failure;
use crate::wire::{AsBytes, Rpc};

/// The answer to each call.
pub(crate) type Answers = BTreeMap<Rpc, Bytes>;

/// Writes the answers where [`serve`] finds them.
pub(crate) fn write(answers: &Answers, folder: &Path) -> Result<(), Failure> {
    for (rpc, answer) in answers {
        std::fs::write(folder.join(rpc.name()), answer).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Serves the answers in this folder on a free port, which it prints, until it is killed.
pub(crate) fn serve(folder: &Path) -> Result<(), Failure> {
    let read = |rpc: Rpc| Some((rpc.path(), std::fs::read(folder.join(rpc.name())).ok()?.into()));
    let answers: BTreeMap<_, _> = Rpc::OF_A_LOOP.into_iter().filter_map(read).collect();
    let canned = Canned(Arc::new(answers));
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .map_err(|error| error.to_string())?;
        println!("{}", listener.local_addr().map_err(|error| error.to_string())?);
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let serving = Server::builder().add_service(canned).serve_with_incoming(incoming);
        serving.await.map_err(|error| error.to_string())
    })
}

/// The service with its answers, by path.
#[derive(Clone)]
struct Canned(Arc<BTreeMap<&'static str, Bytes>>);

impl NamedService for Canned {
    const NAME: &'static str = "clusterautoscaler.cloudprovider.v1.externalgrpc.CloudProvider";
}

impl Service<Request<Body>> for Canned {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = Answer(self.0.get(request.uri().path()).cloned());
        Box::pin(async move { Ok(Grpc::new(AsBytes).unary(answer, request).await) })
    }
}

/// The answer to one call.
struct Answer(Option<Bytes>);

impl UnaryService<Bytes> for Answer {
    type Response = Bytes;
    type Future = Ready<Result<tonic::Response<Bytes>, Status>>;

    fn call(&mut self, _: tonic::Request<Bytes>) -> Self::Future {
        let answer = self
            .0
            .take()
            .ok_or_else(|| Status::unimplemented("no answer to this call"));
        ready(answer.map(tonic::Response::new))
    }
}
