//! Whether clients are to come: found out here once, and told by gRPC health as by the admin address.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::server::NamedService as _;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::server::HealthReporter;

use crate::admin::Readiness;
use crate::grpc;
use crate::grpc::pb::cloud_provider_server::CloudProviderServer;
use crate::provider::Provider;

/// How often the hosts are looked at until each was tried.
const POLL: Duration = Duration::from_millis(20);
/// What gRPC health answers for: everything, and the service.
const SERVICES: [&str; 2] = ["", CloudProviderServer::<grpc::Service>::NAME];

/// What the server is ready for, from now to its end.
pub(super) fn follow(
    provider: &Arc<Provider>,
    tracker: &TaskTracker,
    shutdown: &CancellationToken,
) -> watch::Receiver<Readiness> {
    let (told, readiness) = watch::channel(Readiness::Starting);
    let (provider, shutdown) = (Arc::clone(provider), shutdown.clone());
    tracker.spawn(async move {
        let tried = shutdown.run_until_cancelled(every_host_was_tried(&provider)).await;
        if tried.is_some() {
            told.send_replace(Readiness::Ready);
        }
        shutdown.cancelled().await;
        told.send_replace(Readiness::Stopping);
    });
    readiness
}

async fn every_host_was_tried(provider: &Provider) {
    while !provider.untried_groups().is_empty() {
        tokio::time::sleep(POLL).await;
    }
}

/// The gRPC health service.
pub(super) fn service(readiness: watch::Receiver<Readiness>, tracker: &TaskTracker) -> HealthServer<impl Health> {
    let (reporter, service) = tonic_health::server::health_reporter();
    tracker.spawn(report(reporter, readiness));
    service
}

async fn report(mut reporter: HealthReporter, mut readiness: watch::Receiver<Readiness>) {
    loop {
        let now = *readiness.borrow_and_update();
        let status = match now {
            Readiness::Ready => ServingStatus::Serving,
            Readiness::Starting | Readiness::Stopping => ServingStatus::NotServing,
        };
        for service in SERVICES {
            reporter.set_service_status(service, status).await;
        }
        if now == Readiness::Stopping || readiness.changed().await.is_err() {
            break;
        }
    }
    // Ends the calls of those who watch, once they have heard it: they would hold the server until its time is up.
    for service in SERVICES {
        reporter.clear_service_status(service).await;
    }
}
