//! Whose packets go where, when more than one access point is up.

use std::net::{Ipv6Addr, SocketAddr};

use netbearer::blocking::{Manager, Session};
use netbearer_lab::{AccessPointPlan, Capture, Conversation, Dhcp, Script, Subnet};

use crate::{
    ipv6::{NETWORK, announce, ipv6_server, wait_for_route, wait_for_way},
    stage::{AP0, DEADLINE, Stage, plain_connection, server},
};

const AP1: &str = "ap1";
const OTHER_NETWORK: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0);

/// Both lease from the same subnet, and the first address of it is the same for each.
fn twins() -> Stage {
    let subnet: Subnet = "10.10.0.0/24".parse().unwrap();
    let plan = |name| AccessPointPlan::new(name).subnet(subnet).dhcp(Dhcp::Scripted(Script::default()));
    Stage::new([AP0, AP1].map(plan))
}

fn opened(manager: &Manager, access_point: &str) -> Session {
    let session = manager.session(&manager.find(Some(access_point)).unwrap()).unwrap();
    session.open().unwrap();
    assert_eq!(session.wait_for_opened(Some(DEADLINE)), Ok(true), "{:?}", session.error());
    session
}

/// A connection through the session; the server says which access point it is behind.
fn reaches(session: &Session, server: SocketAddr) -> Conversation {
    let stream = session.connect_tcp(server).expect("the server is reached");
    let mut conversation = Conversation::over(stream, DEADLINE).expect("the server greets");
    conversation.echo(b"there and back").expect("the connection lives");
    conversation
}

/// Opens both, and each has its own way, several times and at the same time.
fn assert_each_has_its_own_way(stage: &Stage, servers: &[SocketAddr], prepare: impl Fn(&Stage)) {
    let manager = stage.manager();
    let sessions = [AP0, AP1].map(|name| (name, opened(&manager, name)));
    prepare(stage);
    for server in servers {
        for _ in 0..3 {
            let mut conversations = sessions.each_ref().map(|(name, session)| (*name, reaches(session, *server)));
            for (name, conversation) in &mut conversations {
                assert_eq!(conversation.access_point(), *name, "{server}");
                conversation.echo(b"still there").unwrap();
            }
        }
    }
    drop(sessions);
    manager.shutdown();
    stage.assert_as_before();
}

/// Scenario 17, as the reverse-path filter of the machine is set: an interface's own value, and `all`'s.
fn twins_work_with_reverse_path_filter(own: &str, all: &str, also_the_same_address: bool) {
    let mut stage = twins();
    for (interface, value) in [(AP0, own), (AP1, own), ("all", all)] {
        stage.lab.machine().set_sysctl(&format!("net/ipv4/conf/{interface}/rp_filter"), value).unwrap();
    }
    stage.remember();
    let subnet = stage.ap0().subnet();
    for (name, other) in [(AP0, 150), (AP1, if also_the_same_address { 150 } else { 151 })] {
        stage.lab.access_point(name).unwrap().dhcp_server().unwrap().offer(subnet.host(other));
    }
    assert_each_has_its_own_way(&stage, &[server()], |stage| {
        let address = |name| stage.address_of(name).unwrap();
        assert_eq!(address(AP0) == address(AP1), also_the_same_address, "{} {}", address(AP0), address(AP1));
    });
}

/// Scenario 17.
#[test]
fn two_access_points_with_the_same_subnet_and_gateway_work_at_once() {
    for (own, all) in [("2", "0"), ("0", "0"), ("1", "0"), ("1", "1")] {
        twins_work_with_reverse_path_filter(own, all, false);
    }
}

/// Scenario 17, and the servers lease the same address.
#[test]
fn two_access_points_that_lease_the_same_address_work_at_once() {
    for (own, all) in [("2", "0"), ("0", "0"), ("1", "0"), ("1", "1")] {
        twins_work_with_reverse_path_filter(own, all, true);
    }
}

/// Scenario 17 in IPv6: the same network, by routers with the same address.
#[test]
fn two_access_points_with_the_same_ipv6_network_work_at_once() {
    let stage = twins();
    assert_each_has_its_own_way(&stage, &[server(), ipv6_server()], |stage| {
        for (name, table) in [(AP0, "21001"), (AP1, "21002")] {
            announce(stage, stage.lab.access_point(name).unwrap(), NETWORK);
            wait_for_way(stage, table);
        }
    });
}

/// Scenario 32, in both families.
#[test]
fn a_session_socket_stays_on_its_access_point_while_the_default_route_comes_and_goes_elsewhere() {
    let stage = Stage::new([AP0, AP1].map(|name| AccessPointPlan::new(name).dhcp(Dhcp::Dnsmasq)));
    let manager = stage.manager();
    let second = opened(&manager, AP1);
    announce(&stage, stage.lab.access_point(AP1).unwrap(), OTHER_NETWORK);
    wait_for_way(&stage, "21001");
    let mut lasting = [server(), ipv6_server()].map(|server| reaches(&second, server));
    let ours = lasting.each_ref().map(|conversation| conversation.stream().local_addr().unwrap().ip().to_string());
    let seen_by_first = Capture::start(stage.ap0().namespace(), "port0", "tcp port 7").unwrap();
    for _ in 0..3 {
        // By hand, and preferred to everything of ours.
        stage.configure_by_hand();
        announce(&stage, stage.ap0(), NETWORK);
        wait_for_route(&stage, "main", "default via fe80::1 dev ap0");
        let plain = Conversation::over(plain_connection().unwrap(), DEADLINE).unwrap();
        assert_eq!(plain.access_point(), AP0, "the default route is there");
        for conversation in &mut lasting {
            conversation.echo(b"with another default route").unwrap();
        }
        for server in [server(), ipv6_server()] {
            assert_eq!(reaches(&second, server).access_point(), AP1);
        }
        drop(plain);
        stage.ip("link set ap0 down");
        stage.ip("address flush dev ap0");
        for conversation in &mut lasting {
            conversation.echo(b"without it").unwrap();
        }
        for server in [server(), ipv6_server()] {
            assert_eq!(reaches(&second, server).access_point(), AP1);
        }
    }
    // Down, the capture could not end.
    stage.ap0().set_administratively_up(true).unwrap();
    let packets = seen_by_first.finish().unwrap();
    assert!(!packets.is_empty(), "the ordinary program's");
    let stray = packets.iter().find(|packet| ours.iter().any(|ours| packet.contains(ours)));
    assert_eq!(stray, None);
}

/// `wg-quick`'s rules, on a tunnel that leads nowhere.
fn start_full_tunnel(stage: &Stage) {
    stage.ip("tuntap add mode tun wg0");
    stage.ip("address add 10.99.0.2/32 dev wg0");
    stage.ip("-6 address add 2001:db8:99::2/128 dev wg0 nodad");
    stage.ip("link set wg0 up");
    for family in ["-4", "-6"] {
        stage.ip(&format!("{family} route add default dev wg0 table 51820"));
        stage.ip(&format!("{family} rule add not fwmark 51820 table 51820"));
        stage.ip(&format!("{family} rule add table main suppress_prefixlength 0"));
    }
}

/// The interface that such packets leave by, as the kernel tells it.
fn way_of(stage: &Stage, packets: &str) -> String {
    let arguments: Vec<&str> = ["route", "get"].into_iter().chain(packets.split(' ')).collect();
    let told = stage.lab.machine().ip_lines(&arguments).unwrap().join(" ");
    let mut words = told.split(' ').skip_while(|word| *word != "dev");
    words.nth(1).unwrap_or_else(|| panic!("{packets}: {told}")).to_owned()
}

/// Part of scenario 43: who asks for nothing stays in the tunnel, and what is bound to a session leaves by the session's
/// access point. For what only has the address of that, it matters whose rules came first (docs/decisions.md).
fn assert_way_beside_a_full_tunnel(tunnel_first: bool) {
    let stage = Stage::with_dnsmasq();
    if tunnel_first {
        start_full_tunnel(&stage);
    }
    let manager = stage.manager();
    let session = opened(&manager, AP0);
    announce(&stage, stage.ap0(), NETWORK);
    wait_for_way(&stage, "21001");
    if !tunnel_first {
        start_full_tunnel(&stage);
    }
    let addresses = session.interface().unwrap().addresses;
    let usable: Vec<_> = addresses.iter().filter(|address| address.is_usable()).map(|one| one.address).collect();
    assert_eq!(usable.len(), 2, "one of each family: {addresses:?}");
    let by_address = if tunnel_first { AP0 } else { "wg0" };
    for own in usable {
        let server = if own.is_ipv4() { server() } else { ipv6_server() };
        assert_eq!(way_of(&stage, &server.ip().to_string()), "wg0");
        assert_eq!(way_of(&stage, &format!("{} oif ap0", server.ip())), AP0);
        assert_eq!(way_of(&stage, &format!("{} from {own}", server.ip())), by_address);
        assert_eq!(way_of(&stage, &format!("{} mark 0x1000000", server.ip())), by_address);
        assert_eq!(reaches(&session, server).access_point(), AP0);
    }
}

#[test]
fn a_full_tunnel_that_was_there_first_keeps_ordinary_traffic() {
    assert_way_beside_a_full_tunnel(true);
}

#[test]
fn a_full_tunnel_that_comes_later_keeps_ordinary_traffic_and_takes_what_has_only_the_address() {
    assert_way_beside_a_full_tunnel(false);
}
