//! The messages as clients of the two sides of the wire change define them, written down independently of our proto,
//! with Kubernetes' own message types where they embed them.

use k8s_pb::api::core::v1::{Node, Pod};

/// meta/v1 Time: the layout of a Timestamp.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MetaTime {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}

/// meta/v1 Duration: nanoseconds.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MetaDuration {
    #[prost(int64, tag = "1")]
    pub(crate) duration: i64,
}

/// Template response of clients up to 1.33.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct OldTemplate {
    #[prost(message, optional, tag = "1")]
    pub(crate) node_info: Option<Node>,
}

/// Template response of clients from 1.35.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct NewTemplate {
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) node_bytes: Vec<u8>,
}

/// Pod price request of clients up to 1.33.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct OldPodPrice {
    #[prost(message, optional, tag = "1")]
    pub(crate) pod: Option<Pod>,
    #[prost(message, optional, tag = "2")]
    pub(crate) start_time: Option<MetaTime>,
    #[prost(message, optional, tag = "3")]
    pub(crate) end_time: Option<MetaTime>,
}

/// Pod price request of clients from 1.35.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct NewPodPrice {
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) pod_bytes: Vec<u8>,
    #[prost(message, optional, tag = "5")]
    pub(crate) start_timestamp: Option<prost_types::Timestamp>,
    #[prost(message, optional, tag = "6")]
    pub(crate) end_timestamp: Option<prost_types::Timestamp>,
}

/// A node as every client sends it.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct GrpcNode {
    #[prost(string, tag = "1")]
    pub(crate) provider_id: String,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(map = "string, string", tag = "3")]
    pub(crate) labels: std::collections::HashMap<String, String>,
}

/// Node price request of clients up to 1.33.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct OldNodePrice {
    #[prost(message, optional, tag = "1")]
    pub(crate) node: Option<GrpcNode>,
    #[prost(message, optional, tag = "2")]
    pub(crate) start_time: Option<MetaTime>,
    #[prost(message, optional, tag = "3")]
    pub(crate) end_time: Option<MetaTime>,
}

/// Node price request of clients from 1.35.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct NewNodePrice {
    #[prost(message, optional, tag = "1")]
    pub(crate) node: Option<GrpcNode>,
    #[prost(message, optional, tag = "4")]
    pub(crate) start_timestamp: Option<prost_types::Timestamp>,
    #[prost(message, optional, tag = "5")]
    pub(crate) end_timestamp: Option<prost_types::Timestamp>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Price {
    #[prost(double, tag = "1")]
    pub(crate) price: f64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct GroupId {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
}

/// Options of clients up to 1.33; those up to 1.28 send no field 5.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct OldOptions {
    #[prost(double, tag = "1")]
    pub(crate) utilization: f64,
    #[prost(double, tag = "2")]
    pub(crate) gpu_utilization: f64,
    #[prost(message, optional, tag = "3")]
    pub(crate) unneeded: Option<MetaDuration>,
    #[prost(message, optional, tag = "4")]
    pub(crate) unready: Option<MetaDuration>,
    #[prost(message, optional, tag = "5")]
    pub(crate) provision: Option<MetaDuration>,
}

/// Options of clients from 1.35.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct NewOptions {
    #[prost(double, tag = "1")]
    pub(crate) utilization: f64,
    #[prost(double, tag = "2")]
    pub(crate) gpu_utilization: f64,
    #[prost(bool, tag = "6")]
    pub(crate) zero_or_max: bool,
    #[prost(bool, tag = "7")]
    pub(crate) ignore_daemonsets: bool,
    #[prost(message, optional, tag = "8")]
    pub(crate) unneeded: Option<prost_types::Duration>,
    #[prost(message, optional, tag = "9")]
    pub(crate) unready: Option<prost_types::Duration>,
    #[prost(message, optional, tag = "10")]
    pub(crate) provision: Option<prost_types::Duration>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct OldOptionsRequest {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) defaults: Option<OldOptions>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct NewOptionsRequest {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) defaults: Option<NewOptions>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct OldOptionsResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) options: Option<OldOptions>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct NewOptionsResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) options: Option<NewOptions>,
}
