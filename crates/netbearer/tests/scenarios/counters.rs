//! What interfaces carry, and for how long sessions were open.

use std::ops::RangeInclusive;

use netbearer::ServiceNetworkProfile;
use netbearer_lab::{AccessPointPlan, Conversation, Dhcp, ECHO_PORT, INTERNET};

use crate::stage::{AP0, DEADLINE, Stage, Watched, server};

/// Octets received and sent.
type Octets = [u64; 2];

const MUCH: usize = 50_000;
/// More looks than there are packets on their way at the end of what was carried.
const MOST_DISTURBANCES: usize = 100;

/// What a session tells.
fn told(watched: &Watched) -> Octets {
    [watched.session.bytes_received().unwrap(), watched.session.bytes_written().unwrap()]
}

/// What the kernel has counted on the interface since it was made, as `ip` tells it.
fn counted_by_kernel(stage: &Stage) -> Octets {
    let answer = stage.lab.machine().ip_json(&["-statistics", "link", "show", "dev", AP0]).unwrap();
    ["rx", "tx"].map(|direction| answer[0]["stats64"][direction]["bytes"].as_u64().unwrap())
}

/// What is found out at a moment at which nothing is on its way. A few packets on their way may disturb it a few times.
fn between_packets<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    (0..MOST_DISTURBANCES).find_map(|_| ask())
}

/// What these sessions tell, all the same, and what stood in the kernel's counters when theirs began: at a moment at which
/// nothing is on its way.
fn agreed(stage: &Stage, sessions: &[&Watched]) -> (Octets, Octets) {
    let ask = || {
        let before = counted_by_kernel(stage);
        let told: Vec<Octets> = sessions.iter().map(|session| told(session)).collect();
        let stands_still = counted_by_kernel(stage) == before;
        let [first, others @ ..] = told.as_slice() else { return None };
        let is_agreed = stands_still && others.iter().all(|other| other == first);
        is_agreed.then(|| (*first, [0, 1].map(|direction| before[direction] - first[direction])))
    };
    between_packets(ask).expect("equal counters")
}

/// The counters began while the kernel's were between these.
fn assert_began(start: Octets, [before, after]: [Octets; 2]) {
    for direction in [0, 1] {
        let range: RangeInclusive<u64> = before[direction]..=after[direction];
        assert!(range.contains(&start[direction]), "{start:?} is not between {before:?} and {after:?}");
    }
}

fn assert_much_more(later: Octets, earlier: Octets) {
    for direction in [0, 1] {
        assert!(later[direction] >= earlier[direction] + MUCH as u64, "{earlier:?}, and later {later:?}");
    }
}

fn carry_much(session: &Watched) {
    let stream = session.session.connect_tcp(server()).unwrap();
    Conversation::over(stream, DEADLINE).unwrap().echo(&[7; MUCH]).unwrap();
}

/// Scenario 35, the counters of an interface; those of one session are another matter.
#[test]
fn counters_are_the_kernels_since_activation_and_the_same_for_every_session() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let [mut first, second, watching] = [(); 3].map(|()| Watched::new(&manager));
    // So that the interface has carried much before.
    first.open();
    first.expect_last("Opened");
    carry_much(&first);
    first.close();
    first.expect_last("Disconnected");
    assert_eq!(told(&first), [0, 0], "nothing is Active");

    let before = counted_by_kernel(&stage);
    first.open();
    first.expect_last("Opened");
    let after = counted_by_kernel(&stage);
    second.open();
    carry_much(&first);
    let sessions = [&first, &second, &watching];
    let (carried, start) = agreed(&stage, &sessions);
    assert_much_more(carried, [0, 0]);
    assert_began(start, [before, after]);

    // A program that knows nothing of sessions.
    let traffic = format!(
        "exec 3<>/dev/tcp/{INTERNET}/{ECHO_PORT}; read -r _ <&3; head -c {MUCH} /dev/zero >&3; head -c {MUCH} <&3 >/dev/null"
    );
    stage.lab.machine().command("bash").args(["-c", &traffic]).output().unwrap();
    let (more, same_start) = agreed(&stage, &sessions);
    assert_much_more(more, carried);
    assert_eq!(same_start, start, "they grow as the kernel's do");

    // Closing a session ends nothing while another one holds.
    first.close();
    let (_, same_start) = agreed(&stage, &sessions);
    assert_eq!(same_start, start);
    second.close();
    first.expect_last("Disconnected");
    assert_eq!(told(&watching), [0, 0]);
}

/// Scenario 35: a link that others keep up counts since it was first seen, and anew after it was lost.
#[test]
fn counters_of_an_adopted_link_begin_when_it_is_seen_and_begin_anew_with_each_return() {
    let stage = Stage::with_dnsmasq();
    stage.configure_by_hand();
    let traffic = || Conversation::open(DEADLINE).unwrap().echo(&[7; MUCH]).unwrap();
    traffic();
    let before = counted_by_kernel(&stage);
    let manager = stage.manager();
    let mut watching = Watched::new(&manager);
    let after = counted_by_kernel(&stage);
    traffic();
    let (carried, start) = agreed(&stage, &[&watching]);
    assert_much_more(carried, [0, 0]);
    assert_began(start, [before, after]);

    stage.ap0().cut().unwrap();
    watching.expect(&["NotAvailable"]);
    assert_eq!(told(&watching), [0, 0]);
    let before = counted_by_kernel(&stage);
    stage.ap0().restore().unwrap();
    watching.expect(&["Connected"]);
    let after = counted_by_kernel(&stage);
    let (_, start) = agreed(&stage, &[&watching]);
    assert_began(start, [before, after]);
}

/// Scenario 35: of a service network, also for who only watches it.
#[test]
fn a_service_network_counts_what_its_members_carry_that_are_active() {
    let names = [AP0, "ap1"];
    let stage = Stage::new(names.map(|name| AccessPointPlan::new(name).dhcp(Dhcp::Dnsmasq)));
    let members = names.map(str::to_owned).to_vec();
    let profile = ServiceNetworkProfile { members, ..ServiceNetworkProfile::default() };
    let manager = stage.start(|setup| setup.service_network("uplink", profile));
    let network = Watched::on(&manager, "service-uplink");
    assert_eq!(told(&network), [0, 0]);
    let mut sessions = names.map(|name| Watched::on(&manager, name));
    for session in &mut sessions {
        session.open();
        session.expect_last("Opened");
        carry_much(session);
    }
    let sum = || {
        let ask = || sessions.each_ref().map(told);
        let (before, sum, after) = (ask(), told(&network), ask());
        let is_sum = [0, 1].iter().all(|direction| before[0][*direction] + before[1][*direction] == sum[*direction]);
        (before == after && is_sum).then_some(sum)
    };
    let carried = between_packets(sum).expect("the sum of both members");
    assert_much_more(carried, [MUCH as u64; 2]);

    let [first, second] = &mut sessions;
    second.close();
    second.expect_last("Disconnected");
    let (of_first, _) = agreed(&stage, &[first, &network]);
    assert!(of_first[0] < carried[0] && of_first[1] < carried[1], "the other one's are gone: {of_first:?}");
}

/// Scenario 35: what another interface had carried in its place does not count.
#[test]
fn counters_begin_anew_on_an_interface_that_was_plugged_in_again() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    carry_much(&session);
    let (carried, _) = agreed(&stage, &[&session]);
    stage.ap0().unplug().unwrap();
    session.expect_last("Closed");
    assert_eq!(told(&session), [0, 0]);
    stage.ap0().plug_with_index(777).unwrap();
    let before = counted_by_kernel(&stage);
    session.expect_last("Disconnected");
    session.open();
    session.expect_last("Opened");
    let after = counted_by_kernel(&stage);
    let (anew, start) = agreed(&stage, &[&session]);
    assert!(anew[0] < carried[0] && anew[1] < carried[1], "{anew:?}");
    assert_began(start, [before, after]);
}
