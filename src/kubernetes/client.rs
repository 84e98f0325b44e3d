//! kube's clients with the time-outs and limits of this module: one for single requests, one for the watch.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use http::uri::Scheme;
use kube::Client;
use kube::client::{ClientBuilder, DynBody};
use tokio::sync::Notify;
use tower::limit::RateLimitLayer;
use tower::util::MapResponseLayer;

use super::connect::{ClientConfig, ConnectError};
use super::failure::explain;
use super::timings::Timings;

/// How long TCP and TLS may take. Well below `request_within`, so that the error says which of the two it was.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// What the watch's silence may exceed its planned end by before the connection is given up.
const READ_MARGIN: Duration = Duration::from_secs(10);

/// Requests of the watch in one second. A list of 5,000 Nodes takes forty. kube renews a watch that ended at once and
/// without a pause, so a proxy that cuts every watch off would otherwise be asked in a tight loop.
const WATCH_REQUESTS_A_SECOND: u64 = 30;

/// A client for lists and watches, and the bell that rings with each answer that is a success.
///
/// kube's watcher says nothing when the API server accepts a watch; in a quiet cluster the bell is the only sign that
/// a broken connection works again.
pub(super) struct WatchClient {
    pub(super) client: Client,
    pub(super) accepted: Arc<Notify>,
}

/// A client for requests that are short.
pub(super) fn for_requests(config: &ClientConfig, timings: &Timings) -> Result<Client, ConnectError> {
    let builder = ClientBuilder::try_from(kube_config(config, timings.request_within));
    Ok(builder.map_err(|error| unusable(config, &error))?.build())
}

/// A client for the watch.
pub(super) fn for_watch(config: &ClientConfig, timings: &Timings) -> Result<WatchClient, ConnectError> {
    let accepted = Arc::new(Notify::new());
    let bell = Arc::clone(&accepted);
    let ring = MapResponseLayer::new(move |response: Response<Box<DynBody>>| {
        if response.status().is_success() {
            bell.notify_one();
        }
        response
    });
    let builder = ClientBuilder::try_from(kube_config(config, timings.watch_for + READ_MARGIN));
    let client = builder
        .map_err(|error| unusable(config, &error))?
        .with_layer(&ring)
        .with_layer(&RateLimitLayer::new(WATCH_REQUESTS_A_SECOND, Duration::from_secs(1)))
        .build();
    Ok(WatchClient { client, accepted })
}

fn kube_config(config: &ClientConfig, read_within: Duration) -> kube::Config {
    let mut config = config.to_kube();
    config.connect_timeout = Some(CONNECT_WITHIN);
    config.read_timeout = Some(read_within);
    config.write_timeout = Some(read_within);
    // Otherwise the time that a pooled connection was idle counts against the next answer.
    config.reset_reader_on_write = true;
    // kube's own retries go on for minutes and hide the failure; the callers here have better ones.
    config.default_retry = false;
    if config.cluster_url.scheme() == Some(&Scheme::HTTP) && config.proxy_url.is_none() {
        // No certificate will be judged. kube would read those that the system trusts, for each client, and fail if
        // there are none.
        config.root_cert.get_or_insert_default();
    }
    config
}

fn unusable(config: &ClientConfig, error: &kube::Error) -> ConnectError {
    ConnectError::Client {
        api_url: config.api_url(),
        reason: explain(error),
    }
}
