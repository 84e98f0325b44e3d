//! One life of the server after another: it starts, is checked, gets orders, and is killed. Here it is decided what
//! happens next; whether it was right is decided elsewhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::task::JoinSet;

use crate::autoscaler::{Autoscaler, NoAnswer, Order, Page, Sites};
use crate::page::{Group, Phase};
use crate::server::{Place, Server};
use crate::site::{MAX, Site};
use crate::support::global;
use crate::tally::{Moment, Tally};

/// From a start to the first answer, also while a host hangs: a cluster-autoscaler's own limit for a call.
const SERVES_WITHIN: Duration = Duration::from_secs(5);
/// From the first answer to the first listing of every host, through faults.
const LISTED_WITHIN: Duration = Duration::from_secs(15);
/// Until everything is as it should be, once nothing goes wrong any more.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// The calls under way.
type Calls = JoinSet<Result<(), NoAnswer>>;

/// A run of the test.
pub(crate) struct Story {
    rng: Rng,
    sites: Sites,
    place: Place,
    life: u32,
    killed_at: Instant,
    tally: Tally,
}

impl Story {
    pub(crate) async fn begin(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let garage = Site::start("garage", rng.u64(..)).await;
        let attic = Site::start("attic", rng.u64(..)).await;
        Self {
            rng,
            sites: Arc::new([garage, attic]),
            place: Place::new(),
            life: 0,
            killed_at: Instant::now(),
            tally: Tally::begin(),
        }
    }

    /// A server starts, lives for a moment or two, and is killed.
    pub(crate) async fn live_until_killed(&mut self) {
        let is_down = self.hosts_may_go_down();
        let mut server = self.start().await;
        if self.one_in(6) {
            tokio::time::sleep(self.up_to(Duration::from_millis(100))).await;
            return self.kill(server, Moment::Start).await;
        }
        let autoscaler = self.serves(&mut server).await;
        let mut calls = Calls::new();
        let page = match is_down && self.one_in(2) {
            true => self.act_before_listings(&autoscaler, &mut calls).await,
            false => self.act(&autoscaler, &mut calls).await,
        };
        let moment = self.give_orders(&autoscaler, &page, &mut calls);
        tokio::time::sleep(self.up_to(Duration::from_millis(120))).await;
        while let Some(call) = calls.try_join_next() {
            call.unwrap().unwrap();
        }
        self.kill(server, moment).await;
        // Whether these were answered is anybody's guess, but whatever was answered is right.
        while let Some(call) = calls.join_next().await {
            let _ = call.unwrap();
        }
    }

    /// Waits until the hosts were listed, and often for what comes of the first orders.
    async fn act(&mut self, autoscaler: &Autoscaler, calls: &mut Calls) -> Page {
        let page = self.is_listed(autoscaler).await;
        if self.one_in(4) {
            return page;
        }
        if self.one_in(2) {
            self.give_orders(autoscaler, &page, calls);
        }
        let most = if self.one_in(4) { 1500 } else { 300 };
        let time = self.up_to(Duration::from_millis(most));
        self.live(autoscaler, calls, time).await
    }

    /// Asks for more while it is not known what there is already.
    async fn act_before_listings(&mut self, autoscaler: &Autoscaler, calls: &mut Calls) -> Page {
        let page = autoscaler.look().await.unwrap();
        for (site, group) in self.groups(&page) {
            self.sites[site].witness.expect_changes();
            if !group.host_is_up && group.target == 0 {
                let delta = self.rng.usize(3..=MAX);
                calls.spawn(autoscaler.clone().give(Order::Increase { site, delta }));
            }
        }
        self.live(autoscaler, calls, Duration::from_millis(2500)).await
    }

    /// Nothing goes wrong any more: everything settles, grows once more, and goes.
    pub(crate) async fn end_well(mut self) -> Tally {
        for site in self.sites.iter() {
            self.tally.faults_hit += site.faults_hit();
            site.simulator.clear_faults();
            site.simulator.up();
        }
        let mut server = self.start().await;
        let autoscaler = self.serves(&mut server).await;
        self.is_listed(&autoscaler).await;
        let page = self.settles(&autoscaler, |_| true).await;
        for (site, group) in self.groups(&page) {
            let delta = MAX.saturating_sub(group.target);
            if delta > 0 {
                autoscaler.clone().give(Order::Increase { site, delta }).await.unwrap();
            }
        }
        let page = self.settles(&autoscaler, |group| group.target >= MAX).await;
        // The second time they are gone already, which is no error.
        for _ in 0..2 {
            for (site, group) in self.groups(&page) {
                let ids = group.wanted();
                autoscaler.clone().give(Order::Delete { site, ids }).await.unwrap();
            }
            self.settles(&autoscaler, |group| group.target == 0).await;
        }
        autoscaler.read_all().await;
        self.count();
        server.kill().await;
        self.tally
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.rng.u32(0..count) == 0
    }

    fn up_to(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.rng.f64())
    }

    /// Whether any does.
    fn hosts_may_go_down(&mut self) -> bool {
        let before = self.tally.hosts_down;
        for site in Arc::clone(&self.sites).iter() {
            if self.one_in(15) {
                let length = self.up_to(Duration::from_millis(900));
                println!("  {} is down for {length:.0?}", site.name);
                site.simulator.down(Some(length));
                self.tally.hosts_down += 1;
            }
        }
        self.tally.hosts_down > before
    }

    async fn start(&mut self) -> Server {
        self.life += 1;
        let mut config = global("");
        for site in self.sites.iter() {
            site.witness.life_begins(self.life).await;
            config += &site.section(self.life);
        }
        Server::start(&self.place, &config)
    }

    async fn kill(&mut self, server: Server, moment: Moment) {
        self.killed_at = server.kill().await;
        self.tally.kill(moment);
        println!("life {} ended during {moment:?}", self.life);
    }

    /// Waits until the server serves, and looks at its first answers.
    async fn serves(&mut self, server: &mut Server) -> Autoscaler {
        let begun = Instant::now();
        let admin = server.listens().await;
        let autoscaler = Autoscaler::connect(&self.place.grpc(), &admin, &self.sites).await;
        autoscaler.first_answer().await;
        let took = begun.elapsed();
        assert!(took < SERVES_WITHIN, "it serves after {took:?}");
        if self.life > 1 {
            self.tally.to_serve.push(self.killed_at.elapsed());
        }
        autoscaler.read_all().await;
        autoscaler
    }

    /// Waits until every host was listed, and holds the first page that says so against what the host had.
    async fn is_listed(&self, autoscaler: &Autoscaler) -> Page {
        let mut unlisted: Vec<&Site> = self.sites.iter().collect();
        let begun = Instant::now();
        loop {
            let page = autoscaler.look().await.unwrap();
            unlisted.retain(|site| {
                let group = &page[site.name];
                if group.host_is_up {
                    site.witness.check_start(group);
                }
                !group.host_is_up
            });
            if unlisted.is_empty() {
                return page;
            }
            assert!(begun.elapsed() < LISTED_WITHIN, "not listed in vain: {page:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Does for a while what a cluster-autoscaler does in its loops: looks, and deletes what failed or was to go
    /// already. Ends early if nothing goes on any more.
    async fn live(&mut self, autoscaler: &Autoscaler, calls: &mut Calls, time: Duration) -> Page {
        let until = Instant::now() + time;
        loop {
            autoscaler.refresh().await.unwrap();
            let page = autoscaler.look().await.unwrap();
            let orders = self.overdue(&page);
            let is_settled = orders.is_empty() && page.values().all(is_settled);
            for order in orders {
                calls.spawn(autoscaler.clone().give(order));
            }
            if is_settled || Instant::now() >= until {
                return page;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The deletions of what failed, and of what was asked to go before the server was killed.
    fn overdue(&mut self, page: &Page) -> Vec<Order> {
        let mut orders = Vec::new();
        for (site, group) in self.groups(page) {
            let wanted = group.wanted().into_iter();
            let ids: Vec<String> = wanted.filter(|id| self.is_overdue(site, group, id)).collect();
            if !ids.is_empty() {
                orders.push(Order::Delete { site, ids });
            }
        }
        orders
    }

    fn is_overdue(&mut self, site: usize, group: &Group, id: &str) -> bool {
        if self.sites[site].witness.was_asked(id) {
            self.tally.asked_again.insert((self.life, id.to_owned()));
            return true;
        }
        let failed = group.instances[id].phase == Phase::Failed;
        if failed {
            self.tally.failed.insert(id.to_owned());
        }
        failed
    }

    /// Gives orders without waiting for their answers, or leaves everything as it is.
    fn give_orders(&mut self, autoscaler: &Autoscaler, page: &Page, calls: &mut Calls) -> Moment {
        let (orders, moment) = self.choose_orders(page);
        let is_quiet = orders.is_empty() && calls.is_empty() && page.values().all(is_settled);
        for (site, group) in self.groups(page) {
            let witness = &self.sites[site].witness;
            match is_quiet && group.host_is_up {
                true => witness.expect_the_same(group),
                false => witness.expect_changes(),
            }
        }
        for order in orders {
            calls.spawn(autoscaler.clone().give(order));
        }
        moment
    }

    fn choose_orders(&mut self, page: &Page) -> (Vec<Order>, Moment) {
        let choice = self.rng.u32(0..20);
        let up = |story: &mut Self| story.increase(page);
        let orders: (Option<Order>, Option<Order>) = match choice {
            0..7 => (up(self), None),
            7..13 => (None, self.delete(page)),
            13..18 => (up(self), self.delete(page)),
            _ => (None, None),
        };
        let moment = match &orders {
            (None, None) => Moment::Quiet,
            (Some(Order::IncreaseAndDecrease { .. }), None) => Moment::Decrease,
            (Some(_), None) => Moment::Increase,
            (None, Some(_)) => Moment::Delete,
            (Some(_), Some(_)) => Moment::IncreaseAndDelete,
        };
        (orders.0.into_iter().chain(orders.1).collect(), moment)
    }

    fn increase(&mut self, page: &Page) -> Option<Order> {
        let (site, group) = self.any_group(page);
        let room = MAX.saturating_sub(group.target);
        if room == 0 {
            return None;
        }
        let delta = self.rng.usize(1..=room.min(4));
        Some(match self.one_in(5) {
            true => Order::IncreaseAndDecrease {
                site,
                delta,
                // More than was asked for is never taken from VMs.
                back: self.rng.usize(1..=delta + 2),
            },
            false => Order::Increase { site, delta },
        })
    }

    fn delete(&mut self, page: &Page) -> Option<Order> {
        let (site, group) = self.any_group(page);
        let mut ids = group.wanted();
        if ids.is_empty() {
            return None;
        }
        self.rng.shuffle(&mut ids);
        ids.truncate(self.rng.usize(1..=3));
        if self.one_in(4) {
            // Gone already: it must change nothing.
            let gone: Vec<String> = self.sites[site].witness.gone().into_iter().collect();
            ids.extend(self.rng.choice(gone));
        }
        Some(Order::Delete { site, ids })
    }

    fn any_group<'a>(&mut self, page: &'a Page) -> (usize, &'a Group) {
        let site = self.rng.usize(0..self.sites.len());
        (site, &page[self.sites[site].name])
    }

    /// The groups with the numbers of their sites.
    fn groups<'a>(&self, page: &'a Page) -> Vec<(usize, &'a Group)> {
        let groups = self.sites.iter().map(|site| &page[site.name]);
        groups.enumerate().collect()
    }

    /// Waits until every group has exactly the VMs that it wants, all of them running, and is as `wanted` says.
    async fn settles(&mut self, autoscaler: &Autoscaler, wanted: fn(&Group) -> bool) -> Page {
        let begun = Instant::now();
        loop {
            autoscaler.refresh().await.unwrap();
            let page = autoscaler.look().await.unwrap();
            let orders = self.overdue(&page);
            let is_true = |(site, group): &(usize, &Group)| {
                let listed = group.instances.keys().cloned().collect();
                let is_running = group.all_are(&[Phase::Running]);
                is_running && wanted(group) && self.sites[*site].witness.present() == listed
            };
            if orders.is_empty() && self.groups(&page).iter().all(is_true) {
                return page;
            }
            for order in orders {
                autoscaler.clone().give(order).await.unwrap();
            }
            assert!(begun.elapsed() < SETTLED_WITHIN, "it does not settle: {page:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn count(&mut self) {
        for site in self.sites.iter() {
            let totals = site.witness.totals();
            assert_eq!(
                site.simulator.vms().len(),
                1,
                "but for somebody else's VM, {} is empty",
                site.name
            );
            self.tally.vms_made += totals.made;
            self.tally.vms_removed += totals.removed;
            self.tally.vms_late += totals.late;
            self.tally.launches_dropped += totals.dropped;
        }
    }
}

/// Whether all is known, and nothing is going on: no launch, no removal, no failure.
fn is_settled(group: &Group) -> bool {
    group.host_is_up && group.all_are(&[Phase::Booting, Phase::Running])
}
