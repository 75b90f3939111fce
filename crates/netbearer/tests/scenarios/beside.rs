//! Sessions on links that others keep up, when there is more than one way to go.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use netbearer::{CallError, FailureReason, Profile, SessionError, blocking::Session};
use netbearer_lab::{AccessPointPlan, Conversation, Snapshot, Subnet, uninterrupted};
use socket2::SockRef;

use crate::{
    ipv6::{NETWORK, announce, ipv6_server},
    stage::{AP0, DEADLINE, Manager, Stage, Watched, server, wait_until_told},
    tunnel::{EACH, Manner, Vpn, answered_by, expected, socket, ways},
};

const AP1: &str = "ap1";
const MARK: u32 = 0x0100_0000;

/// Two links that somebody else keeps up; the first one has the preferred default route.
fn two_links() -> Stage {
    let mut stage = Stage::new([AP0, AP1].map(AccessPointPlan::new));
    stage.configure_link_by_hand(AP0, 100);
    stage.configure_link_by_hand(AP1, 200);
    stage.remember();
    stage
}

fn opened(manager: &Manager, name: &str) -> Watched {
    let mut session = Watched::on(manager, name);
    session.open();
    session.expect(&["Opened"]);
    session
}

/// Sockets bound to the session, marked ones, and those that only have the address come out here.
fn assert_way(stage: &Stage, session: &Session, name: &str) {
    let subnet = stage.lab.access_point(name).unwrap().subnet();
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let [bound, marked, addressed] = [any, any, subnet.host(50).into()].map(socket);
    session.bind(&bound).unwrap();
    SockRef::from(&marked).set_mark(MARK).unwrap();
    assert_eq!([bound, marked, addressed].map(|socket| answered_by(&socket)), [name; 3]);
    let stream = session.connect_tcp(server()).unwrap();
    assert_eq!(Conversation::over(stream, DEADLINE).unwrap().access_point(), name);
}

fn of_others(stage: &Stage) -> Snapshot {
    Snapshot::of_others(stage.lab.machine()).unwrap()
}

fn assert_untouched(stage: &Stage, before: &Snapshot) {
    let now = of_others(stage);
    assert!(*before == now, "{}", before.difference(&now));
}

fn routes_of_ours(stage: &Stage) -> Vec<String> {
    stage.routes().into_iter().filter(|route| route.contains("table 21001")).collect()
}

#[test]
fn a_session_on_the_second_of_two_links_of_others_has_its_own_way_and_nothing_of_theirs_changes() {
    let stage = two_links();
    let before = of_others(&stage);
    let manager = stage.manager();
    let mut session = opened(&manager, AP1);
    assert_way(&stage, &session.session, AP1);
    assert_eq!(answered_by(&socket(IpAddr::V4(Ipv4Addr::UNSPECIFIED))), AP0, "an ordinary program's");
    assert_untouched(&stage, &before);
    assert_eq!(routes_of_ours(&stage).len(), 2, "{:?}", stage.routes());
    // Another session needs no more, and the last one takes it along.
    let mut other = opened(&manager, AP1);
    session.close();
    session.expect(&["Closed"]);
    assert_way(&stage, &other.session, AP1);
    other.close();
    other.expect(&["Closed"]);
    other.expect_silence();
    stage.assert_as_before();
}

/// Whatever the machine says, replies come in: the rule for the address has the kernel expect them there.
#[test]
fn a_strict_reverse_path_filter_of_others_lets_replies_in() {
    for (own, all) in [("1", "0"), ("0", "1"), ("1", "1"), ("0", "0"), ("1", "2")] {
        let mut stage = two_links();
        for (interface, value) in [(AP1, own), ("all", all)] {
            stage.lab.machine().set_sysctl(&format!("net/ipv4/conf/{interface}/rp_filter"), value).unwrap();
        }
        stage.remember();
        let before = of_others(&stage);
        let manager = stage.manager();
        let mut session = opened(&manager, AP1);
        assert_way(&stage, &session.session, AP1);
        assert_untouched(&stage, &before);
        session.close();
        session.expect(&["Closed"]);
        session.expect_silence();
        stage.assert_as_before();
    }
}

/// Scenario 17 on foreign links: with the same address on both there can be no such rule.
#[test]
fn a_link_of_others_whose_replies_would_be_dropped_is_refused_with_the_reason() {
    let subnet: Subnet = "10.10.0.0/24".parse().unwrap();
    let mut stage = Stage::new([AP0, AP1].map(|name| AccessPointPlan::new(name).subnet(subnet)));
    stage.configure_link_by_hand(AP0, 100);
    stage.configure_link_by_hand(AP1, 200);
    stage.lab.machine().set_sysctl("net/ipv4/conf/ap1/rp_filter", "1").unwrap();
    stage.remember();
    let manager = stage.manager();
    let mut refused = Watched::on(&manager, AP1);
    assert!(matches!(refused.session.open(), Err(CallError::NotSupported(_))));
    refused.expect(&["Error(OperationNotSupported)"]);
    refused.expect_silence();
    let failure = refused.session.error().unwrap();
    assert_eq!(
        (failure.error, &failure.reason),
        (SessionError::OperationNotSupported, &FailureReason::StrictReversePathFilter)
    );
    assert!(failure.message.contains("sysctl net.ipv4.conf.ap1.rp_filter=2"), "{failure}");
    assert!(!refused.session.is_open());
    // The other one hears its replies.
    let first = opened(&manager, AP0);
    let stream = first.session.connect_tcp(server()).unwrap();
    assert_eq!(Conversation::over(stream, DEADLINE).unwrap().access_point(), AP0);
    drop(first);

    // As the message says.
    stage.lab.machine().set_sysctl("net/ipv4/conf/ap1/rp_filter", "2").unwrap();
    let manager = restarted(&stage, manager);
    let session = opened(&manager, AP1);
    let stream = session.session.connect_tcp(server()).unwrap();
    assert_eq!(Conversation::over(stream, DEADLINE).unwrap().access_point(), AP1);
}

fn restarted(stage: &Stage, manager: Manager) -> Manager {
    manager.shutdown();
    drop(manager);
    stage.manager()
}

/// While there is only one way, there is nothing to tell apart.
#[test]
fn rules_come_with_the_second_way_and_go_with_it() {
    let mut stage = Stage::new([AP0, AP1].map(AccessPointPlan::new));
    stage.configure_link_by_hand(AP0, 100);
    stage.remember();
    let manager = stage.manager();
    let mut session = opened(&manager, AP0);
    stage.assert_as_before();
    for _ in 0..3 {
        stage.configure_link_by_hand(AP1, 50);
        stage.wait_for_rules("a rule for the address", |rules| rules.contains("5120:"));
        assert_way(&stage, &session.session, AP0);
        stage.ip("address flush dev ap1");
        stage.ip("link set ap1 down");
        stage.wait_for_rules("no rule of ours", |rules| !rules.contains("51"));
    }
    session.expect_silence();
    session.close();
    session.expect(&["Closed"]);
    stage.assert_as_before();
}

#[test]
fn the_table_follows_what_others_do_to_theirs_and_is_put_back_if_they_touch_ours() {
    let stage = two_links();
    let manager = stage.manager();
    let mut session = opened(&manager, AP1);
    let machine = stage.lab.machine();
    let ways = |wanted: &str| routes_of_ours(&stage).iter().any(|route| route.contains(wanted));
    let gateway = stage.lab.access_point(AP1).unwrap().subnet().gateway();
    let (rules, routes) = (stage.rules(), stage.routes());
    stage.ip(&format!("route add 203.0.113.0/24 via {gateway} dev ap1"));
    machine.wait_until("the route in our table", DEADLINE, || Ok(ways("203.0.113.0/24").then_some(()))).unwrap();
    stage.ip("route delete 203.0.113.0/24");
    machine.wait_until("it is gone", DEADLINE, || Ok((!ways("203.0.113.0/24")).then_some(()))).unwrap();
    for deleted in ["rule delete priority 5100", "rule delete priority 5120", "route flush table 21001"] {
        stage.ip(deleted);
        let restored = || Ok((stage.rules() == rules && stage.routes() == routes).then_some(()));
        machine.wait_until(&format!("all as before `ip {deleted}`"), DEADLINE, restored).unwrap();
    }
    // A lease of somebody's that changes.
    let subnet = stage.lab.access_point(AP1).unwrap().subnet();
    stage.ip(&format!("address add {}/24 dev ap1", subnet.host(51)));
    stage.wait_for_rules("a rule for each address", |rules| rules.matches("5120:").count() == 2);
    stage.ip(&format!("address delete {}/24 dev ap1", subnet.host(51)));
    stage.wait_for_rules("one for the first", |now| now == rules);
    assert_way(&stage, &session.session, AP1);
    session.close();
    session.expect_after_changes("Closed");
    stage.assert_as_before();
}

#[test]
fn routers_of_others_are_mirrored_as_well() {
    let stage = two_links();
    announce(&stage, stage.lab.access_point(AP1).unwrap(), NETWORK);
    let manager = stage.manager();
    let session = opened(&manager, AP1);
    crate::ipv6::wait_for_way(&stage, "21001");
    let stream = session.session.connect_tcp(ipv6_server()).unwrap();
    assert_eq!(Conversation::over(stream, DEADLINE).unwrap().access_point(), AP1);
    drop(session);
    let rules = || stage.lab.machine().ip_lines(&["-6", "rule", "show"]).unwrap();
    let no_rules = || Ok((!rules().iter().any(|rule| rule.starts_with("51"))).then_some(()));
    stage.lab.machine().wait_until("no rule of ours", DEADLINE, no_rules).unwrap();
}

/// Stopped, it is no link of theirs any more; opened again, it is ours.
#[test]
fn a_link_that_is_stopped_and_opened_again_is_steered_as_ours() {
    let stage = Stage::new([AP0, AP1].map(|name| AccessPointPlan::new(name).dhcp(netbearer_lab::Dhcp::Dnsmasq)));
    stage.configure_link_by_hand(AP0, 100);
    stage.configure_link_by_hand(AP1, 200);
    let manager = stage.manager();
    let mut session = opened(&manager, AP1);
    assert!(stage.rules().contains("5120:"), "{}", stage.rules());
    session.session.stop().unwrap();
    session.expect_last("Disconnected");
    assert_eq!(stage.rules_of_ours(), 0, "{}", stage.rules());
    session.open();
    session.expect_last("Opened");
    let stream = session.session.connect_tcp(server()).unwrap();
    assert_eq!(Conversation::over(stream, DEADLINE).unwrap().access_point(), AP1);
    session.close();
    session.expect_last("Disconnected");
    assert_eq!(stage.rules_of_ours(), 0, "{}", stage.rules());
}

/// Part of scenario 43: what the profile says of a VPN holds there, too.
#[test]
fn beside_a_vpn_sockets_of_a_link_of_others_go_where_the_profile_says() {
    for bypass in EACH {
        let stage = two_links();
        let profile = Profile { bypass_vpn: bypass, ..Profile::default() };
        let manager = stage.start(|setup| setup.profile(AP1, profile));
        let mut session = opened(&manager, AP1);
        let wait_for = |expected: [&str; 4]| {
            let are_so = || Ok((ways(&session.session) == expected).then_some(()));
            let waited = stage.lab.machine().wait_until("the ways of all sockets", DEADLINE, are_so);
            waited.unwrap_or_else(|error| panic!("{expected:?}: {error}\n{}", stage.rules()));
        };
        let without = [AP0, AP1, AP1, AP1];
        wait_for(without);
        for _ in 0..2 {
            let vpn = Vpn::start(&stage, Manner::Rules);
            wait_for(expected(bypass, AP1));
            vpn.stop();
            wait_for(without);
        }
        session.close();
        session.expect(&["Closed"]);
        stage.assert_as_before();
    }
}

/// There can be no rule for the address then, and the filter is theirs: what does not work any more is said.
#[test]
fn a_vpn_beside_a_strict_reverse_path_filter_of_others_is_warned_about() {
    let stage = two_links();
    stage.lab.machine().set_sysctl("net/ipv4/conf/ap1/rp_filter", "1").unwrap();
    let manager = stage.manager();
    let mut session = opened(&manager, AP1);
    let identifier = session.session.configuration().identifier;
    let warnings =
        || manager.wait_for(async |manager| manager.steering(&identifier).await).unwrap().unwrap().warnings.join(" ");
    assert_way(&stage, &session.session, AP1);
    let vpn = Vpn::start(&stage, Manner::Rules);
    let machine = stage.lab.machine();
    wait_until_told(&manager, "a warning", || warnings().contains("bypass_vpn"));
    let bound = socket(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    session.session.bind(&bound).unwrap();
    bound.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    bound.send_to(b"", server()).unwrap();
    assert_eq!(
        uninterrupted(|| bound.recv(&mut [0; 64])).unwrap_err().kind(),
        io::ErrorKind::WouldBlock,
        "the warning is true"
    );
    // Who follows the advice is heard, though nothing else has happened.
    machine.set_sysctl("net/ipv4/conf/ap1/rp_filter", "2").unwrap();
    wait_until_told(&manager, "no warning any more", || warnings().is_empty());
    bound.send_to(b"", server()).unwrap();
    uninterrupted(|| bound.recv(&mut [0; 64])).unwrap();
    machine.set_sysctl("net/ipv4/conf/ap1/rp_filter", "1").unwrap();
    wait_until_told(&manager, "the warning again", || warnings().contains("bypass_vpn"));
    vpn.stop();
    wait_until_told(&manager, "no warning", || warnings().is_empty());
    assert_way(&stage, &session.session, AP1);
    session.expect_silence();
}
