//! What a killed process has told systemd-resolved is gone on with.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use netbearer_engine::NameServers;
use netbearer_lab::{AccessPointPlan, BUS_RELAY, Daemon, Lab, Mark};
use netbearer_names::{NamePlaces, NamesSettings, SystemNames};
use netbearer_types::LinkNames;
use tokio::time::timeout;

/// Longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn what_systemd_resolved_was_told_is_never_taken_back_for_links_that_stay() {
    let names = ["ap0", "ap1"];
    let lab = names
        .map(AccessPointPlan::new)
        .into_iter()
        .fold(Lab::builder().own_files(), |lab, plan| lab.access_point(plan));
    let lab = lab.build().unwrap();
    let machine = lab.machine();
    machine.enter().unwrap();
    machine.write_file("/etc/resolv.conf", "nameserver 192.0.2.53\n").unwrap();
    let _bus = Daemon::system_bus(machine).unwrap();
    let _relay = Daemon::bus_relay(machine).unwrap();
    let resolved = Daemon::resolved(machine).unwrap();
    let [first, second] = names.map(|name| LinkNames {
        interface_name: name.to_owned(),
        index: lab.access_point(name).unwrap().index(),
        name_servers: vec![lab.access_point(name).unwrap().subnet().gateway().into()],
        search_domains: Vec::new(),
        default_route: true,
    });
    let known = |link: &LinkNames| format!("/run/systemd/resolve/netif/{}", link.index);
    let wait_for = |link: &LinkNames, is_known: bool| {
        let server = format!("SERVERS={}", link.name_servers[0]);
        let wanted = |text: Option<&str>| text.is_some_and(|text| text.contains(&server)) == is_known;
        machine.wait_for_file(&known(link), DEADLINE, wanted).unwrap();
    };
    let directory = tempfile::tempdir().unwrap();
    let settings = |resumed| NamesSettings {
        places: NamePlaces {
            bus_address: format!("unix:path={}", machine.path(BUS_RELAY).display()),
            ..NamePlaces::below(machine.path("/"))
        },
        runtime_directory: directory.path().join("runtime"),
        state_directory: directory.path().join("state"),
        resumed,
    };
    let mut killed = SystemNames::start(Some(settings(false)));
    killed.follow(vec![first.clone(), second.clone()]);
    let report = timeout(DEADLINE, killed.report()).await.unwrap();
    assert_eq!(report.through.as_deref(), Some("systemd-resolved"), "{report:?}");
    wait_for(&first, true);
    wait_for(&second, true);
    drop(killed);

    let mark: Mark = resolved.log().mark();
    let mut successor = SystemNames::start(Some(settings(true)));
    successor.follow(vec![second.clone()]);
    wait_for(&first, false);
    // The killed one may have had its lock for a moment longer.
    while timeout(DEADLINE, successor.report()).await.unwrap().through.is_none() {}
    wait_for(&second, true);
    let reverted = resolved.log().entries_since(mark).iter().filter(|line| line.contains("RevertLink")).count();
    assert_eq!(reverted, 1, "only the link that is not wanted any more");
    successor.follow(Vec::new());
    wait_for(&second, false);
}
