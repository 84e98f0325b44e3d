//! The rules of the daemon that need no HTTP to be seen.

use super::super::guest::UserdataOutcome;
use super::super::vm::Power;
use super::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;
const GIB: u64 = 1 << 30;

fn daemon(capacity: Capacity, protected: u32) -> Daemon {
    let mut group = SimulatedGroup::new("g", 2, 4 * GIB);
    group.protected = protected;
    let config = SimulatorConfig {
        groups: vec![group, SimulatedGroup::new("other", 1, GIB)],
        capacity,
        ..SimulatorConfig::default()
    };
    Daemon::new(&config, NOW)
}

fn create(daemon: &mut Daemon, group: &str, persistent: bool) -> Result<String, Refusal> {
    let order = Order {
        persistent,
        ..Order::default()
    };
    let vm = daemon.create(group, WantedSize::default(), order, NOW)?;
    Ok(vm.hostname.clone())
}

fn hostnames(daemon: &Daemon) -> Vec<String> {
    daemon.vms.keys().cloned().collect()
}

#[test]
fn numbers_count_per_host_group_and_go_on_after_a_deletion() {
    let mut daemon = daemon(Capacity::default(), 0);
    assert_eq!(create(&mut daemon, "g", false).unwrap(), "g-1");
    assert_eq!(create(&mut daemon, "other", false).unwrap(), "other-1");
    daemon.delete("g", "g-1").unwrap();
    assert_eq!(create(&mut daemon, "g", false).unwrap(), "g-2");
    assert_eq!((daemon.created(), daemon.deleted()), (3, 1));
}

#[test]
fn a_restart_loses_ephemeral_vms_stops_persistent_ones_and_begins_to_count_anew() {
    let mut daemon = daemon(Capacity::default(), 1);
    create(&mut daemon, "g", true).unwrap();
    create(&mut daemon, "g", false).unwrap();
    let protected_before = daemon.vm("g-1").unwrap().boot;
    daemon.restart(NOW);
    assert_eq!(hostnames(&daemon), ["g-1", "g-2"]);
    assert_eq!(daemon.vm("g-2").unwrap().power, Power::Stopped);
    assert_ne!(daemon.vm("g-1").unwrap().boot, protected_before);
    assert_eq!(
        create(&mut daemon, "g", false).unwrap(),
        "g-3",
        "g-3 is given again, g-2 is taken"
    );
}

#[test]
fn a_vm_of_another_group_is_not_found_and_stays() {
    let mut daemon = daemon(Capacity::default(), 0);
    create(&mut daemon, "g", false).unwrap();
    assert_eq!(daemon.delete("other", "g-1"), Err(Refusal::NoSuchVm("g-1".to_owned())));
    assert_eq!(hostnames(&daemon), ["g-1"]);
}

#[test]
fn stopped_vms_keep_their_address_but_give_back_their_memory() {
    let capacity = Capacity {
        max_vms: Some(3),
        ram_bytes: Some(8 * GIB),
    };
    let mut daemon = daemon(capacity, 0);
    create(&mut daemon, "g", true).unwrap();
    create(&mut daemon, "g", false).unwrap();
    let full = create(&mut daemon, "g", false).unwrap_err();
    assert_eq!(
        full.to_string(),
        "insufficient memory on host: 4294967296 bytes needed, 0 free"
    );
    daemon.suspend("g-1").unwrap();
    assert_eq!(create(&mut daemon, "g", false).unwrap(), "g-3");
    assert_eq!(
        create(&mut daemon, "other", false),
        Err(Refusal::NoMemory { needed: GIB, free: 0 })
    );
    daemon.set_capacity(Capacity {
        ram_bytes: None,
        ..capacity
    });
    assert_eq!(create(&mut daemon, "other", false), Err(Refusal::NoAddress(3)));
    daemon.set_capacity(capacity);
    assert!(matches!(daemon.restore("g-1", NOW), Err(Refusal::NoMemory { .. })));
}

#[test]
fn a_freed_address_is_given_again_and_the_pool_goes_on_beyond_one_network() {
    let mut daemon = daemon(Capacity::default(), 0);
    for _ in 0..254 {
        create(&mut daemon, "g", false).unwrap();
    }
    assert_eq!(daemon.vm("g-1").unwrap().ip(), "192.168.137.2");
    assert_eq!(daemon.vm("g-253").unwrap().ip(), "192.168.137.254");
    assert_eq!(daemon.vm("g-254").unwrap().ip(), "192.168.138.2");
    daemon.delete("g", "g-7").unwrap();
    create(&mut daemon, "g", false).unwrap();
    assert_eq!(daemon.vm("g-255").unwrap().ip(), "192.168.137.8");
}

#[test]
fn a_late_report_of_an_earlier_vm_does_not_touch_the_one_that_has_its_name_now() {
    let mut daemon = daemon(Capacity::default(), 0);
    create(&mut daemon, "g", false).unwrap();
    let earlier = daemon.vm("g-1").unwrap().boot;
    daemon.restart(NOW);
    create(&mut daemon, "g", false).unwrap();
    daemon.agent_is_up("g-1", earlier, NOW);
    daemon.userdata_ended("g-1", earlier, UserdataOutcome::SUCCESS);
    daemon.take_back("g-1", earlier);
    let vm = daemon.vm("g-1").unwrap();
    assert_eq!((vm.agent_since, vm.userdata_outcome), (None, None));
}

#[test]
fn an_ephemeral_vm_is_gone_when_its_guest_exits_and_a_persistent_one_can_be_relaunched() {
    let mut daemon = daemon(Capacity::default(), 0);
    create(&mut daemon, "g", false).unwrap();
    create(&mut daemon, "g", true).unwrap();
    daemon.exit("g-1").unwrap();
    daemon.exit("g-2").unwrap();
    assert_eq!(hostnames(&daemon), ["g-2"]);
    daemon.relaunch("g-2", NOW).unwrap();
    assert_eq!(daemon.vm("g-2").unwrap().power, Power::Running);
    let again = daemon.relaunch("g-2", NOW).map(drop);
    assert_eq!(again, Err(Refusal::AlreadyRunning("g-2".to_owned())));
}

#[test]
fn sizes_default_to_the_group_and_do_not_exceed_it() {
    let mut daemon = daemon(Capacity::default(), 0);
    let mut size = |cpus, ram_bytes| {
        let wanted = WantedSize {
            cpus,
            ram_bytes,
            gpu_count: None,
        };
        let vm = daemon.create("g", wanted, Order::default(), NOW)?;
        Ok((vm.size.cpus, vm.size.ram_bytes))
    };
    assert_eq!(size(None, Some(0)), Ok((2, 4 * GIB)));
    assert_eq!(size(Some(1), Some(GIB)), Ok((1, GIB)));
    let over = |what, asked, limit| Err(Refusal::OverLimit { what, asked, limit });
    assert_eq!(size(Some(3), None), over("cpus", 3, 2));
    assert_eq!(size(None, Some(5 * GIB)), over("ram_bytes", 5 * GIB, 4 * GIB));
}
