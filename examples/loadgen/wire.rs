//! The wire, as thin as it gets: requests and answers are bytes, so that the client and the bare server cost as little
//! as they can, and what is left of a call is the server's. What the bytes mean is not known here.

use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use prost::bytes::{Buf as _, BufMut as _, Bytes};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::Failure;

/// What the cluster-autoscaler gives a call by default.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// A call of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rpc {
    Refresh,
    NodeGroups,
    NodeGroupForNode,
    NodeGroupGetOptions,
    NodeGroupTargetSize,
    NodeGroupNodes,
    NodeGroupTemplateNodeInfo,
    NodeGroupIncreaseSize,
}

impl Rpc {
    /// Those of a loop in which nothing happens.
    pub(crate) const OF_A_LOOP: [Self; 7] = [
        Self::Refresh,
        Self::NodeGroups,
        Self::NodeGroupForNode,
        Self::NodeGroupGetOptions,
        Self::NodeGroupTargetSize,
        Self::NodeGroupNodes,
        Self::NodeGroupTemplateNodeInfo,
    ];

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Refresh => "/clusterautoscaler.cloudprovider.v1.externalgrpc.CloudProvider/Refresh",
            Self::NodeGroups => "/clusterautoscaler.cloudprovider.v1.externalgrpc.CloudProvider/NodeGroups",
            Self::NodeGroupForNode => "/clusterautoscaler.cloudprovider.v1.externalgrpc.CloudProvider/NodeGroupForNode",
            Self::NodeGroupGetOptions => {
                "/clusterautoscaler.cloudprovider.v1.externalgrpc.CloudProvider/NodeGroupGetOptions"
            }
            Self::NodeGroupTargetSize => {
                "/clusterautoscaler.cloudprovider.v1.externalgrpc.CloudProvider/NodeGroupTargetSize"
            }
            Self::NodeGroupNodes => "/clusterautoscaler.cloudprovider.v1.externalgrpc.CloudProvider/NodeGroupNodes",
            Self::NodeGroupTemplateNodeInfo => {
                "/clusterautoscaler.cloudprovider.v1.externalgrpc.CloudProvider/NodeGroupTemplateNodeInfo"
            }
            Self::NodeGroupIncreaseSize => {
                "/clusterautoscaler.cloudprovider.v1.externalgrpc.CloudProvider/NodeGroupIncreaseSize"
            }
        }
    }

    /// The last part of the path.
    pub(crate) fn name(self) -> &'static str {
        self.path().rsplit('/').next().unwrap_or_default()
    }
}

/// Bytes as they are, on both sides.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AsBytes;

impl Codec for AsBytes {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for AsBytes {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buf.put(item);
        Ok(())
    }
}

impl Decoder for AsBytes {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buf.copy_to_bytes(buf.remaining())))
    }
}

/// One connection, on which calls are made one after another, as a cluster-autoscaler makes nearly all of them.
pub(crate) struct Line(Grpc<Channel>);

impl Line {
    /// Connects to `host:port`.
    pub(crate) async fn to(address: &str) -> Result<Self, Failure> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| format!("{address}: {error}"))?
            .connect_timeout(CONNECT);
        let channel = endpoint.connect().await;
        let channel = channel.map_err(|error| format!("cannot connect to {address}: {error}"))?;
        Ok(Self(Grpc::new(channel)))
    }

    /// Makes a call; gives the answer and how long it took.
    pub(crate) async fn call(&mut self, rpc: Rpc, request: Bytes) -> Result<(Bytes, Duration), Failure> {
        let mut request = Request::new(request);
        request.set_timeout(DEADLINE);
        let path = PathAndQuery::from_static(rpc.path());
        let begun = Instant::now();
        let lost = |error| format!("{}: the connection is lost: {error}", rpc.name());
        self.0.ready().await.map_err(lost)?;
        let answer = self.0.unary(request, path, AsBytes).await;
        let took = begun.elapsed();
        let failed = |status: Status| format!("{} answered {:?}: {}", rpc.name(), status.code(), status.message());
        Ok((answer.map_err(failed)?.into_inner(), took))
    }
}
