//! The witness of a host: sees every change of its VMs, knows what was asked, and says what should not have happened.
//! It asks the provider nothing; what the provider says is held against it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use slicer_cloud_provider::domain::ids::InstanceId;
use slicer_cloud_provider::domain::vm::VmTags;
use slicer_cloud_provider::simulator::{AgentPlan, Simulator, VmView};
use tokio::task::JoinHandle;

use crate::page::{Group, Phase};
use crate::site::{LIFE, MAX};

/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(24 * 3600);
/// Longer than a host is at a DELETE, also on a busy machine.
const UNDER_WAY: Duration = Duration::from_secs(3);

/// The witness of one host.
pub(crate) struct Witness {
    simulator: Simulator,
    book: Arc<Mutex<Book>>,
    watch: JoinHandle<()>,
}

/// What was known before a page was asked for, and so has to show in it.
pub(crate) struct Before {
    gone: BTreeSet<String>,
    deleted: BTreeSet<String>,
}

/// The number of a [`Permit`].
#[derive(Clone, Copy)]
pub(crate) struct PermitNumber(usize);

/// A permission to lose VMs of launches that a decrease may have given up.
struct Permit {
    candidates: BTreeSet<String>,
    count: usize,
    life: u32,
    /// When the server that knew of it was no more, if that was so. DELETEs that it sent may be under way still.
    ended: Option<Instant>,
}

impl Permit {
    fn covers(&self, id: &str) -> bool {
        let is_over = self.ended.is_some_and(|ended| ended.elapsed() > UNDER_WAY);
        self.count > 0 && !is_over && self.candidates.contains(id)
    }

    /// How many of these VMs may be to go.
    fn count_among(&self, wanted: &BTreeSet<&String>) -> usize {
        let candidates = self.candidates.iter().filter(|id| wanted.contains(id));
        candidates.count().min(self.count)
    }
}

impl Witness {
    /// Watches a host that has exactly one VM, of somebody else.
    pub(crate) fn of(group: &'static str, simulator: &Simulator) -> Self {
        let foreign = simulator.vms().remove(0);
        let book = Arc::new(Mutex::new(Book::new(group, foreign)));
        let watch = tokio::spawn({
            let (simulator, book) = (simulator.clone(), Arc::clone(&book));
            async move {
                let look = |vms: &[VmView]| {
                    lock(&book).look(vms);
                    false
                };
                simulator.wait_for_vms(FOR_EVER, look).await;
            }
        });
        Self {
            simulator: simulator.clone(),
            book,
            watch,
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }

    /// Looks at the host now, whether the watch has been scheduled or not.
    async fn look(&self) {
        let look = |vms: &[VmView]| {
            self.book().look(vms);
            true
        };
        assert!(self.simulator.wait_for_vms(FOR_EVER, look).await);
    }

    /// A server is about to start: what is there now, it has to find.
    pub(crate) async fn life_begins(&self, life: u32) {
        self.look().await;
        self.book().life_begins(life);
    }

    /// DeleteNodes is about to be called.
    pub(crate) fn ask(&self, ids: &[String]) {
        self.book().asked.extend(ids.iter().cloned());
    }

    /// DeleteNodes was answered.
    pub(crate) fn deleted(&self, ids: &[String]) {
        self.book().deleted.extend(ids.iter().cloned());
    }

    /// Whether the deletion was asked for, in whatever life.
    pub(crate) fn was_asked(&self, id: &str) -> bool {
        self.book().asked.contains(id)
    }

    /// A decrease is about to be called: so many of these may go.
    pub(crate) fn permit(&self, candidates: BTreeSet<String>, count: usize) -> PermitNumber {
        let mut book = self.book();
        let permit = Permit {
            candidates,
            count,
            life: book.life,
            ended: None,
        };
        book.permits.push(permit);
        PermitNumber(book.permits.len() - 1)
    }

    /// The decrease was answered: these are still wanted.
    pub(crate) fn narrow(&self, permit: PermitNumber, still_wanted: &[String]) {
        let permit = &mut self.book().permits[permit.0];
        permit.candidates.retain(|id| !still_wanted.contains(id));
        permit.count = permit.candidates.len().min(permit.count);
    }

    /// To be called before a page is asked for that is to be checked.
    pub(crate) fn before(&self) -> Before {
        let book = self.book();
        Before {
            gone: book.gone.clone(),
            deleted: book.deleted.clone(),
        }
    }

    /// Holds a page against what the host has, and against what is for ever.
    pub(crate) async fn check(&self, page: &Group, before: &Before) {
        self.look().await;
        self.book().check(page, before);
    }

    /// Holds the first page after the host was listed against what the host had when the server started.
    pub(crate) fn check_start(&self, page: &Group) {
        self.book().check_start(page);
    }

    /// The server is about to be killed while nothing goes on: the next one must know the same, unless there are VMs
    /// that this one did not find yet.
    pub(crate) fn expect_the_same(&self, page: &Group) {
        let mut book = self.book();
        let listed: BTreeSet<String> = page.instances.keys().cloned().collect();
        let knows_all = book.present.keys().eq(listed.iter());
        let seen = book.ever.keys().cloned().collect();
        book.expected = knows_all.then_some(Expected { listed, seen });
    }

    /// Orders are about to be given: what comes next is not what was.
    pub(crate) fn expect_changes(&self) {
        self.book().expected = None;
    }

    /// The instances whose VMs the host has.
    pub(crate) fn present(&self) -> BTreeSet<String> {
        self.book().present.keys().cloned().collect()
    }

    /// The instances whose VMs were removed.
    pub(crate) fn gone(&self) -> BTreeSet<String> {
        self.book().gone.clone()
    }

    /// How many VMs were ever made and removed, came late, and how many launches never had one.
    pub(crate) fn totals(&self) -> Totals {
        let book = self.book();
        assert_eq!(
            (self.simulator.created_total(), self.simulator.deleted_total()),
            (book.ever.len() as u64 + 1, book.gone.len() as u64),
            "every VM was witnessed, {} and somebody else's",
            book.ever.len()
        );
        Totals {
            made: book.ever.len(),
            removed: book.gone.len(),
            late: book.late.len(),
            dropped: book.dropped(),
        }
    }
}

/// A check that fails while it holds the book should be told of alone.
fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// What came of all launches.
pub(crate) struct Totals {
    pub(crate) made: usize,
    pub(crate) removed: usize,
    pub(crate) late: usize,
    pub(crate) dropped: usize,
}

struct Book {
    group: &'static str,
    foreign: VmView,
    life: u32,
    /// The VMs of ours that are there: their hostnames by instance.
    present: BTreeMap<String, String>,
    /// Those that were there when the server started.
    found: BTreeSet<String>,
    /// All VMs of ours that ever were, and those whose VM is no more.
    ever: BTreeMap<String, String>,
    gone: BTreeSet<String>,
    /// VMs that appeared when the server that asked for them had been killed and the next one started: no target
    /// could count them in time.
    late: BTreeSet<String>,
    /// Instances that must not be listed any more, unless they are being deleted once more.
    buried: BTreeSet<String>,
    /// What DeleteNodes was ever called for, and what it was answered for in this life.
    asked: BTreeSet<String>,
    deleted: BTreeSet<String>,
    permits: Vec<Permit>,
    /// All instances that were ever listed.
    listed: BTreeSet<String>,
    /// Instances that were listed last and running.
    running: BTreeSet<String>,
    expected: Option<Expected>,
    violations: BTreeSet<String>,
}

/// What must be listed after a kill while nothing went on.
struct Expected {
    listed: BTreeSet<String>,
    /// The VMs that had been seen by then. Later ones may be listed, too.
    seen: BTreeSet<String>,
}

impl Book {
    fn new(group: &'static str, foreign: VmView) -> Self {
        Self {
            group,
            foreign,
            life: 0,
            present: BTreeMap::new(),
            found: BTreeSet::new(),
            ever: BTreeMap::new(),
            gone: BTreeSet::new(),
            late: BTreeSet::new(),
            buried: BTreeSet::new(),
            asked: BTreeSet::new(),
            deleted: BTreeSet::new(),
            permits: Vec::new(),
            listed: BTreeSet::new(),
            running: BTreeSet::new(),
            expected: None,
            violations: BTreeSet::new(),
        }
    }

    fn life_begins(&mut self, life: u32) {
        self.life = life;
        self.found = self.present.keys().cloned().collect();
        self.buried.extend(self.gone.iter().cloned());
        self.deleted.clear();
        for permit in &mut self.permits {
            permit.ended.get_or_insert_with(Instant::now);
        }
    }

    fn violation(&mut self, text: &str) {
        self.violations
            .insert(format!("{} in life {}: {text}", self.group, self.life));
    }

    fn look(&mut self, vms: &[VmView]) {
        let same = |vm: &&VmView| {
            vm.hostname == self.foreign.hostname
                && vm.created_at == self.foreign.created_at
                && vm.tags == self.foreign.tags
                && vm.power == self.foreign.power
        };
        if !vms.iter().any(|vm| same(&vm)) {
            self.violation("somebody else's VM was touched");
        }
        let mut present = BTreeMap::new();
        let foreign = self.foreign.hostname.clone();
        for vm in vms.iter().filter(|vm| vm.hostname != foreign) {
            let Some(id) = self.instance_of(vm) else {
                self.violation(&format!(
                    "nobody knows whose VM {} with tags {:?} is",
                    vm.hostname, vm.tags
                ));
                continue;
            };
            if let Some(other) = present.insert(id.clone(), vm.hostname.clone()) {
                self.violation(&format!("{id} has two VMs, {other} and {}", vm.hostname));
            }
            if !self.present.contains_key(&id) {
                self.appears(&id, vm);
            }
        }
        let before = std::mem::replace(&mut self.present, present);
        for id in before
            .keys()
            .filter(|id| !self.present.contains_key(*id))
            .cloned()
            .collect::<Vec<_>>()
        {
            self.goes(&id);
        }
        self.count();
    }

    fn instance_of(&self, vm: &VmView) -> Option<String> {
        let tags = VmTags::read(&vm.tags).filter(|tags| tags.node_group.as_str() == self.group)?;
        Some(InstanceId::of_launch(&tags.node_group, &tags.launch).to_string())
    }

    fn appears(&mut self, id: &str, vm: &VmView) {
        if let Some(other) = self.ever.insert(id.to_owned(), vm.hostname.clone()) {
            self.violation(&format!("{id} had VM {other} and gets {}", vm.hostname));
        }
        let plan = AgentPlan::read(&vm.userdata, &vm.hostname).unwrap();
        if plan.provider_id != id {
            self.violation(&format!("VM {} of {id} joins as {}", vm.hostname, plan.provider_id));
        }
        if plan.labels[LIFE] != self.life.to_string() {
            self.late.insert(id.to_owned());
        }
    }

    fn goes(&mut self, id: &str) {
        self.gone.insert(id.to_owned());
        if self.asked.contains(id) {
            return;
        }
        let Some(permit) = self.permits.iter_mut().find(|permit| permit.covers(id)) else {
            return self.violation(&format!("the VM of {id} went, and nobody had asked for it"));
        };
        permit.candidates.remove(id);
        permit.count -= 1;
        println!(
            "  in life {} the VM of {id} goes, given up in life {}",
            self.life, permit.life
        );
    }

    /// Never more VMs than the maximum. Not counted are those that are to go, and those that came too late for any
    /// target to count them.
    fn count(&mut self) {
        let mine = |id: &&String| !self.asked.contains(*id) && !self.late.contains(*id);
        let wanted: BTreeSet<&String> = self.present.keys().filter(mine).collect();
        let given_up: usize = self.permits.iter().map(|permit| permit.count_among(&wanted)).sum();
        let count = wanted.len().saturating_sub(given_up);
        if count > MAX {
            self.violation(&format!("{count} VMs, {MAX} are allowed: {wanted:?}"));
        }
    }

    fn check(&mut self, page: &Group, before: &Before) {
        let wanted = page.wanted();
        assert_eq!(
            page.target,
            wanted.len(),
            "the target is the number of listed instances"
        );
        if page.host_is_up {
            let missed = before.gone.iter().filter(|id| !page.instances.contains_key(*id));
            self.buried.extend(missed.cloned());
        }
        for id in &wanted {
            let instance = &page.instances[id];
            assert!(id.starts_with(&format!("slicer://{}/", self.group)), "{id}");
            assert!(
                !self.buried.contains(id),
                "{id} was removed and came back: {instance:?}"
            );
            assert!(
                !before.deleted.contains(id),
                "{id} was deleted and is wanted: {instance:?}"
            );
            if let (Some(vm), Some(known)) = (&instance.vm, self.ever.get(id)) {
                assert_eq!(vm, known, "the VM of {id}");
            }
        }
        self.listed.extend(page.instances.keys().cloned());
        let running = page
            .instances
            .iter()
            .filter(|(_, instance)| instance.phase == Phase::Running);
        self.running.extend(running.map(|(id, _)| id.clone()));
        assert!(self.violations.is_empty(), "{:#?}", self.violations);
    }

    fn check_start(&mut self, page: &Group) {
        assert!(page.host_is_up);
        for id in self.found.iter().filter(|id| self.present.contains_key(*id)) {
            assert!(page.instances.contains_key(id), "{id} has a VM and is not listed");
        }
        for (id, instance) in &page.instances {
            let is_known = self.ever.contains_key(id) && matches!(instance.phase, Phase::Booting | Phase::Running);
            assert!(is_known, "a server that was asked nothing yet lists {instance:?}");
        }
        // A VM that is gone was to go; whether it was, the host's changes have told.
        let may_be_missed = |id: &String| self.asked.contains(id) || self.gone.contains(id);
        for id in std::mem::take(&mut self.running).iter().filter(|id| !may_be_missed(id)) {
            assert!(page.instances.contains_key(id), "{id} was running before the kill");
        }
        if let Some(Expected { listed, seen }) = self.expected.take() {
            let is_there = |id: &&String| !self.gone.contains(*id);
            let known = page.instances.keys().filter(|id| seen.contains(*id));
            let known: BTreeSet<&String> = known.filter(is_there).collect();
            let expected: BTreeSet<&String> = listed.iter().filter(is_there).collect();
            assert_eq!(known, expected, "nothing went on, and nothing may change");
        }
    }

    /// Launches that were listed, were never said to be unwanted, and never came to anything.
    fn dropped(&self) -> usize {
        let gave_up = |id: &String| self.permits.iter().any(|permit| permit.candidates.contains(id));
        let dropped = |id: &&String| !self.ever.contains_key(*id) && !self.asked.contains(*id) && !gave_up(id);
        self.listed.iter().filter(dropped).count()
    }
}
