//! What a cluster-autoscaler asks the server, one client for each life of it. Whatever is answered is checked at once;
//! an answer that does not come is no error by itself, because the server may have been killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use slicer_cloud_provider::grpc::pb::{self, instance_status::InstanceState};
use tonic::transport::Endpoint;
use tonic::{Code, Status};

use crate::page::{self, Group};
use crate::pages;
use crate::site::Site;
use crate::support::{self, Client, decrease, delete, ids, increase, state};

/// Within which a read is answered, also on a busy machine. It waits for no host, so it takes a millisecond.
const AT_ONCE: Duration = Duration::from_secs(2);

/// The two hosts.
pub(crate) type Sites = Arc<[Site; 2]>;

/// All groups in one look.
pub(crate) type Page = BTreeMap<String, Group>;

/// No answer came.
#[derive(Debug)]
#[allow(dead_code)] // it is shown when no answer should be missing
pub(crate) struct NoAnswer(String);

/// Something to ask the server.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    Increase {
        site: usize,
        delta: usize,
    },
    /// An increase of which a part is taken back at once.
    IncreaseAndDecrease {
        site: usize,
        delta: usize,
        back: usize,
    },
    Delete {
        site: usize,
        ids: Vec<String>,
    },
}

/// A client of one life of the server.
#[derive(Clone)]
pub(crate) struct Autoscaler {
    client: Client,
    admin: String,
    sites: Sites,
}

impl Autoscaler {
    /// Connects to a server that listens.
    pub(crate) async fn connect(grpc: &str, admin: &str, sites: &Sites) -> Self {
        let channel = Endpoint::from_shared(grpc.to_owned()).unwrap().connect().await;
        Self {
            client: Client::new(channel.unwrap()),
            admin: admin.to_owned(),
            sites: Arc::clone(sites),
        }
    }

    /// The first answer: the groups.
    pub(crate) async fn first_answer(&self) {
        let groups = self.client.clone().node_groups(pb::NodeGroupsRequest {}).await;
        let groups = groups.unwrap().into_inner().node_groups;
        assert_eq!(groups.len(), self.sites.len(), "{groups:?}");
    }

    /// Reads the target and the instances of all groups, and holds them against one another.
    pub(crate) async fn read_all(&self) {
        for site in self.sites.iter() {
            let mut client = self.client.clone();
            let before = at_once(support::instances(&mut client, site.name)).await;
            let target = at_once(support::target(&mut client, site.name)).await;
            let after = at_once(support::instances(&mut client, site.name)).await;
            let wanted = |all: &[pb::Instance]| {
                let wanted = all.iter().filter(|one| state(one) != InstanceState::InstanceDeleting);
                i32::try_from(wanted.count()).unwrap()
            };
            // Three calls are not one instant: what changes between them is left to the page.
            if ids(&before) == ids(&after) && wanted(&before) == wanted(&after) {
                assert_eq!(target, wanted(&after), "{}", site.name);
            }
        }
    }

    /// Begins a loop.
    pub(crate) async fn refresh(&self) -> Result<(), NoAnswer> {
        answered(self.client.clone().refresh(pb::RefreshRequest {}).await.map(drop))
    }

    /// Looks at all that the server knows, and holds it against the hosts.
    pub(crate) async fn look(&self) -> Result<Page, NoAnswer> {
        let before: Vec<_> = self.sites.iter().map(|site| site.witness.before()).collect();
        let page = pages::try_get(&self.admin, "/api/v1/state").await;
        let page = page.map_err(|error| NoAnswer(format!("{error:?}")))?;
        let page = page::read(&page.text);
        for (site, before) in self.sites.iter().zip(&before) {
            site.witness.check(&page[site.name], before).await;
        }
        Ok(page)
    }

    /// Gives an order and looks at what is at once to be seen of it.
    pub(crate) async fn give(self, order: Order) -> Result<(), NoAnswer> {
        match order {
            Order::Increase { site, delta } => self.increase(site, delta).await,
            Order::IncreaseAndDecrease { site, delta, back } => {
                self.increase(site, delta).await?;
                self.decrease(site, back).await
            }
            Order::Delete { site, ids } => self.delete(site, &ids).await,
        }
    }

    async fn increase(&self, site: usize, delta: usize) -> Result<(), NoAnswer> {
        let name = self.sites[site].name;
        let known: BTreeSet<String> = self.look().await?[name].instances.keys().cloned().collect();
        let count = i32::try_from(delta).unwrap();
        match increase(&mut self.client.clone(), name, count).await {
            // A VM that was found late has filled the group.
            Err(status) if status.code() == Code::OutOfRange => return Ok(()),
            result => answered(result)?,
        }
        let page = self.look().await?;
        let new = page[name].instances.keys().filter(|id| !known.contains(*id)).count();
        assert!(new >= delta, "{name} was to grow by {delta}: {:?}", page[name]);
        Ok(())
    }

    async fn decrease(&self, site: usize, back: usize) -> Result<(), NoAnswer> {
        let Site { name, witness, .. } = &self.sites[site];
        let page = self.look().await?;
        let may_go = page[*name]
            .instances
            .iter()
            .filter(|(_, instance)| instance.may_be_given_up());
        let candidates: BTreeSet<String> = may_go.map(|(id, _)| id.clone()).collect();
        let permit = witness.permit(candidates, back);
        let count = i32::try_from(back).unwrap();
        answered(decrease(&mut self.client.clone(), name, -count).await)?;
        let page = self.look().await?;
        witness.narrow(permit, &page[*name].wanted());
        Ok(())
    }

    async fn delete(&self, site: usize, ids: &[String]) -> Result<(), NoAnswer> {
        let Site { name, witness, .. } = &self.sites[site];
        witness.ask(ids);
        answered(delete(&mut self.client.clone(), name, ids).await)?;
        witness.deleted(ids);
        self.look().await.map(drop)
    }
}

/// Whether an answer came; one that refuses what was asked is a failure of the test.
fn answered(result: Result<(), Status>) -> Result<(), NoAnswer> {
    let Err(status) = result else { return Ok(()) };
    let lost = [Code::Unavailable, Code::Unknown, Code::Cancelled, Code::Internal];
    assert!(lost.contains(&status.code()), "{status:?}");
    Err(NoAnswer(format!("{status:?}")))
}

async fn at_once<T>(read: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let answer = read.await;
    assert!(begun.elapsed() < AT_ONCE, "a read took {:?}", begun.elapsed());
    answer
}
