use netbearer_lab::{AccessPointPlan, Capture, Conversation, Lab, Snapshot};

use crate::{PATIENCE, configure};

#[test]
fn a_snapshot_is_equal_to_the_next_one_and_shows_what_changed() {
    let lab = Lab::builder().access_point(AccessPointPlan::new("ap0")).build().expect("a lab");
    let machine = lab.machine();
    let before = Snapshot::take(machine).expect("a snapshot");
    assert_eq!(before, Snapshot::take(machine).expect("a snapshot"));
    for arguments in [
        &["address", "add", "10.0.0.1/24", "dev", "ap0"][..],
        &["rule", "add", "fwmark", "7", "lookup", "700", "priority", "70"],
        &["-6", "route", "add", "blackhole", "2001:db8::/32", "table", "700"],
    ] {
        machine.ip_lines(arguments).expect("ip obeys");
    }
    machine.set_sysctl("net/ipv4/conf/ap0/arp_ignore", "1").expect("a sysctl");
    let difference = before.difference(&Snapshot::take(machine).expect("a snapshot"));
    for (sign, facts) in [("- ", &["arp_ignore = 0"][..]), ("+ ", &["10.0.0.1", "0x7", "2001:db8::", "arp_ignore = 1"])]
    {
        for fact in facts {
            assert!(
                difference.lines().any(|line| line.starts_with(sign) && line.contains(fact)),
                "{fact}: {difference}"
            );
        }
    }
    for arguments in [
        &["address", "del", "10.0.0.1/24", "dev", "ap0"][..],
        &["rule", "del", "priority", "70"],
        &["-6", "route", "del", "blackhole", "2001:db8::/32", "table", "700"],
    ] {
        machine.ip_lines(arguments).expect("ip obeys");
    }
    machine.set_sysctl("net/ipv4/conf/ap0/arp_ignore", "0").expect("a sysctl");
    assert_eq!(before.difference(&Snapshot::take(machine).expect("a snapshot")), "");
}

#[test]
fn addresses_routes_and_rules_are_read_back() {
    let lab = Lab::builder().access_point(AccessPointPlan::new("ap0")).build().expect("a lab");
    let machine = lab.machine();
    assert_eq!(machine.routes("1000").expect("never used"), Vec::<String>::new());
    configure(&lab, lab.access_point("ap0").expect("planned"), 50, "1000");
    let addresses = machine.addresses("ap0").expect("it is there");
    assert!(addresses.contains(&([10, 10, 0, 50].into(), 24)), "{addresses:?}");
    assert_eq!(machine.routes("1000").expect("a table"), ["default via 10.10.0.1 dev ap0"]);
    let rules = machine.rules().expect("rules");
    assert!(rules.iter().any(|rule| rule.contains("oif ap0 lookup 1000")), "{rules:?}");
}

#[test]
fn a_capture_holds_every_packet_up_to_its_end() {
    let lab = Lab::builder().access_point(AccessPointPlan::new("ap0")).build().expect("a lab");
    let ap0 = lab.access_point("ap0").expect("planned");
    configure(&lab, ap0, 50, "main");
    for (namespace, interface) in [(lab.machine(), "ap0"), (lab.machine(), "any"), (ap0.namespace(), "port0")] {
        let capture = Capture::start(namespace, interface, "tcp dst port 7").expect("a capture");
        let mut conversation = lab.machine().run(|| Conversation::open(PATIENCE)).expect("a connection");
        conversation.echo(b"seventeen letters").expect("it works");
        let packets = capture.finish().expect("the end");
        assert!(packets.iter().any(|packet| packet.contains("Flags [S]")), "{interface}: {packets:?}");
        let content = packets.iter().filter(|packet| packet.contains("length 17")).count();
        assert_eq!(content, 1, "{interface}: {packets:?}");
    }
}

#[test]
fn a_capture_that_cannot_start_says_why() {
    let lab = Lab::builder().build().expect("a lab without access points");
    let error = Capture::start(lab.machine(), "absent", "").expect_err("there is no such interface");
    assert!(error.to_string().contains("absent: No such device"), "{error}");
}
