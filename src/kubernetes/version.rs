//! Keeps the version of the API server known.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use kube::Client;
use tokio_util::sync::CancellationToken;

use super::failure::bounded;
use super::timings::Timings;

/// Asks for the version until `shutdown`: until it is known, then now and then, because servers are upgraded. The last
/// known one stays.
///
/// A failure is logged at debug level only: whether the API server can be reached is what the watch reports.
pub(super) async fn keep_known(
    client: Client,
    timings: Timings,
    version: Arc<ArcSwapOption<String>>,
    shutdown: CancellationToken,
) {
    let ask_for_ever = async {
        let mut pauses = timings.pauses();
        loop {
            let pause = if ask(&client, timings.request_within, &version).await {
                pauses = timings.pauses();
                timings.version_every
            } else {
                pauses.next().unwrap_or(timings.retry_up_to)
            };
            tokio::time::sleep(pause).await;
        }
    };
    shutdown.run_until_cancelled(ask_for_ever).await;
}

/// Asks once; whether a version came back.
async fn ask(client: &Client, within: Duration, version: &ArcSwapOption<String>) -> bool {
    match bounded(within, client.apiserver_version()).await {
        Ok(info) if !info.git_version.is_empty() => {
            remember(version, info.git_version);
            true
        }
        Ok(_) => {
            tracing::debug!("the API server tells no gitVersion");
            false
        }
        Err(failure) => {
            tracing::debug!(error = %failure, "cannot read the version of the API server");
            false
        }
    }
}

fn remember(version: &ArcSwapOption<String>, found: String) {
    if version.load().as_deref() != Some(&found) {
        tracing::info!(version = found, "version of the Kubernetes API server");
        version.store(Some(Arc::new(found)));
    }
}
