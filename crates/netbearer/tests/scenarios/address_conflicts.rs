//! Another host uses the leased address (scenario 16; RFC 5227).

use std::{fs, net::Ipv4Addr, time::Duration};

use netbearer::ManagerEvent;
use netbearer_lab::{AccessPoint, Capture, MessageType, Neighbour};

use crate::{
    leases::{server, short_leases},
    profiles::fixed_ipv4,
    service::Service,
    stage::{AP0, DEADLINE, Manager, Stage, Watched, assert_aborted, assert_alive},
};

const HOUR: Duration = Duration::from_secs(3_600);

/// What the scripted server leases first.
fn leased(stage: &Stage) -> Ipv4Addr {
    stage.ap0().subnet().host(100)
}

/// All ARP on the link.
fn capture(access_point: &AccessPoint) -> Capture<'_> {
    Capture::start(access_point.namespace(), "port0", "arp").unwrap()
}

/// How `tcpdump` tells an announcement of our own hardware's (RFC 5227 §2.3).
fn announcement(address: Ipv4Addr) -> [String; 2] {
    [format!("Announcement {address}"), format!("Request who-has {address} tell {address}")]
}

/// Waits until the address was announced so often since the beginning.
pub(crate) fn wait_for_announcements(capture: &Capture<'_>, address: Ipv4Addr, mut wanted: usize) {
    let announcement = announcement(address);
    let is_last = |line: &String| {
        wanted -= usize::from(announcement.iter().any(|text| line.contains(text)));
        wanted == 0
    };
    capture.packets().wait_for(&format!("announcements of {address}"), DEADLINE, is_last).unwrap();
}

/// Somebody was there before: the address is declined at once, and the session goes on with another one.
#[test]
fn an_address_in_use_is_declined_and_another_one_taken_under_the_session() {
    let stage = short_leases(HOUR);
    let address = leased(&stage);
    let neighbour = Neighbour::new(stage.ap0(), address).unwrap();
    let manager = stage.manager();
    let mut session = Watched::new(&manager);
    session.open();
    session.expect(&["Connecting", "Connected", "Opened"]);
    let event = session.next();
    let other = stage.ap0().subnet().host(101);
    assert!(event.starts_with("InterfaceChanged") && event.contains(&other.to_string()), "{event}");
    assert!(!event.contains(&format!("{address}\"")), "{event}");
    let declined = server(&stage).wait_for(MessageType::Decline, DEADLINE).unwrap();
    assert_eq!(server(&stage).declined(), [address], "{declined}");
    assert_eq!(stage.address_of(AP0), Some(format!("{other}/24")));
    session.assert_up();
    session.expect_silence();
    session.close();
    session.expect(&["Closed", "Closing", "Disconnected"]);
    stage.assert_as_before();

    // The one that was declined is forgotten.
    drop(neighbour);
    session.open();
    session.expect(&["Connecting", "Connected", "Opened"]);
    assert_eq!(stage.address_of(AP0), Some(format!("{other}/24")));
    session.close();
    session.expect_last("Disconnected");
}

/// The administrator has said whose it is (RFC 5227 §2.4, (c)): the hosts around are told, and it is kept.
#[test]
fn a_static_address_is_announced_and_kept_whoever_else_uses_it() {
    let stage = Stage::with_dnsmasq();
    let address = stage.ap0().subnet().host(77);
    let capture = capture(stage.ap0());
    let manager = stage.manager_with(fixed_ipv4(&stage, 77));
    let mut session = Watched::opened(&manager);
    session.assert_up();
    wait_for_announcements(&capture, address, 2);
    let neighbour = Neighbour::new(stage.ap0(), address).unwrap();
    // The neighbour's own, and then ours.
    wait_for_announcements(&capture, address, 4);
    neighbour.announce().unwrap();
    session.expect_silence_for(Duration::from_millis(500));
    assert!(session.session.is_open());
    assert_eq!(stage.address_of(AP0), Some(format!("{address}/24")));
    drop(neighbour);
    session.close();
    session.expect_last("Disconnected");
    stage.assert_as_before();
}

/// Who comes later is told off once, and given way to if that does not help.
#[test]
fn an_address_is_defended_once_and_then_given_up() {
    let stage = short_leases(HOUR);
    let address = leased(&stage);
    let capture = capture(stage.ap0());
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    let mut conversation = session.assert_up();
    // Two say that it is ours, and nobody has objected.
    wait_for_announcements(&capture, address, 2);
    let neighbour = Neighbour::new(stage.ap0(), address).unwrap();
    // The neighbour's own, and then ours.
    wait_for_announcements(&capture, address, 4);
    session.expect_silence();
    assert!(server(&stage).declined().is_empty());
    neighbour.announce().unwrap();
    let event = session.next();
    let other = stage.ap0().subnet().host(101);
    assert!(event.starts_with("InterfaceChanged") && event.contains(&other.to_string()), "{event}");
    assert_eq!(server(&stage).declined(), [address]);
    session.assert_up();
    assert_aborted(&mut conversation);
    drop(neighbour);
    session.close();
    session.expect_last("Disconnected");
    stage.assert_as_before();
}

/// A card of this machine is no other host, also if it came after the address.
#[test]
fn an_address_that_a_later_card_of_this_machine_answers_for_is_kept() {
    let stage = short_leases(HOUR);
    let address = leased(&stage);
    let capture = capture(stage.ap0());
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    wait_for_announcements(&capture, address, 2);
    let mut events = manager.events();
    // It has the hardware address that the neighbour will have.
    let card = address.octets().map(|octet| format!("{octet:02x}")).join(":");
    stage.ip(&format!("link add later0 address 02:6e:{card} type veth peer name later1"));
    let is_card = |event: &ManagerEvent| format!("{event:?}").contains("later0");
    while !is_card(&events.next_within(DEADLINE).expect("the card is seen")) {}
    let neighbour = Neighbour::new(stage.ap0(), address).unwrap();
    assert!(neighbour.hardware_address().ends_with(&address.octets()));
    neighbour.announce().unwrap();
    wait_for_announcements(&capture, address, 4);
    session.expect_silence_for(Duration::from_millis(500));
    assert!(server(&stage).declined().is_empty());
    assert_eq!(stage.address_of(AP0), Some(format!("{address}/24")));
}

/// The hosts around are told, though nothing is sent that would tell them.
#[test]
fn an_address_whose_hardware_address_has_changed_is_announced() {
    const CHANGED: &str = "02:00:5e:10:00:99";
    let stage = short_leases(HOUR);
    let address = leased(&stage);
    let capture = capture(stage.ap0());
    let manager = stage.manager();
    let _session = Watched::opened(&manager);
    wait_for_announcements(&capture, address, 2);
    stage.ip(&format!("link set {AP0} address {CHANGED}"));
    wait_for_announcements(&capture, address, 3);
    let show = ["neigh", "show", &address.to_string()];
    let known = stage.ap0().namespace().command("ip").args(show).output().unwrap();
    assert!(known.contains(CHANGED), "{known}");
}

/// The server has no other address in time: as after a NAK, the link is lost.
#[test]
fn an_address_in_use_without_another_one_in_time_is_a_lost_link() {
    let stage = short_leases(HOUR);
    let address = leased(&stage);
    server(&stage).alter_answers({
        let offered = address;
        move |answer| {
            answer.set_yiaddr(offered);
        }
    });
    let _neighbour = Neighbour::new(stage.ap0(), address).unwrap();
    let manager = stage.manager();
    let mut session = Watched::new(&manager);
    session.open();
    let expected = ["Connecting", "Connected", "Opened", "Disconnected", "Error(SessionAborted)", "Closed"];
    session.expect(&expected);
    assert_eq!(server(&stage).declined(), [address]);
    manager.shutdown();
    stage.assert_as_before();
}

/// Part of scenario 39: after the first seconds nothing happens by itself, and the kernel lets nothing through but what
/// concerns our own address.
#[test]
fn an_idle_session_sleeps_while_its_neighbours_ask_for_each_other() {
    const QUESTIONS: u8 = 80;
    let stage = short_leases(HOUR);
    // Its own addresses and questions to routers would wake us for some seconds.
    stage.lab.machine().set_sysctl("net/ipv6/conf/all/disable_ipv6", "1").unwrap();
    let (address, subnet) = (leased(&stage), stage.ap0().subnet());
    let capture = capture(stage.ap0());
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    let mut conversation = session.assert_up();
    wait_for_announcements(&capture, address, 2);
    let neighbour = Neighbour::new(stage.ap0(), subnet.host(50)).unwrap();
    // On the interface alone, tcpdump would make it promiscuous: a change of the link, which is followed for a second.
    let heard = Capture::start(stage.lab.machine(), "any", "arp").unwrap();
    let asleep = wake_ups(&stage, &manager);
    neighbour.ask_for((0..QUESTIONS).map(|number| subnet.host(150 + number))).unwrap();
    let last = format!("who-has {} tell", subnet.host(149 + QUESTIONS));
    heard.packets().wait_for_text(&last, DEADLINE).expect("the questions reach the machine");
    assert_eq!(wake_ups(&stage, &manager), asleep, "nobody has woken us");
    assert_alive(&mut conversation);
    // What concerns us still does: it is defended, and then given up.
    let rival = Neighbour::new(stage.ap0(), address).unwrap();
    rival.announce().unwrap();
    let event = session.next();
    assert!(event.starts_with("InterfaceChanged"), "{event}");
    assert!(wake_ups(&stage, &manager) > asleep);
}

/// How often the threads of this service have begun to wait, or were made to (`proc_pid_status(5)`).
fn wake_ups(stage: &Stage, manager: &Manager) -> u64 {
    let namespace = format!("net:[{}]", stage.lab.machine().inode().unwrap());
    let process = match manager.service() {
        Service::Embedded(_) => "self".to_owned(),
        Service::Daemon(daemon, _) => daemon.process().to_string(),
    };
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap().map(|task| task.unwrap().path());
    // All of a daemon, and one of ours.
    let of_ours = tasks.filter(|task| {
        let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
        let is_service = process != "self" || name.trim() == "netbearer";
        is_service && fs::read_link(task.join("ns/net")).is_ok_and(|link| link.to_string_lossy() == namespace)
    });
    let count = |task: std::path::PathBuf| -> u64 {
        let status = fs::read_to_string(task.join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        line.trim().parse().unwrap()
    };
    let counts: Vec<u64> = of_ours.map(count).collect();
    assert!(!counts.is_empty(), "there is a service");
    counts.iter().sum()
}
