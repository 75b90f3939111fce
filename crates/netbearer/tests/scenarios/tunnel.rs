//! Part of scenario 43: a full-tunnel VPN beside a session, and what may leave outside of it.

use std::{
    io,
    net::{IpAddr, UdpSocket},
};

use netbearer::{BypassVpn, ManagerEvent, Profile, SocketError, Steering, blocking::Session};
use netbearer_lab::{Conversation, Namespace, Tunnel, uninterrupted};
use socket2::SockRef;

use crate::{
    ipv6::{NETWORK, announce, ipv6_server, wait_for_way},
    stage::{AP0, DEADLINE, Manager, Stage, Watched, server, wait_until_told},
};

const TUNNEL: &str = "wg0";
const UNREACHABLE: &str = "unreachable";
/// Of the first access point.
const MARK: u32 = 0x0100_0000;
pub(crate) const EACH: [BypassVpn; 3] = [BypassVpn::Never, BypassVpn::Group, BypassVpn::All];

/// How a VPN takes everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As `wg-quick(8)`: a table of its own, and rules that send there what it has not marked itself.
    Rules,
    /// As OpenVPN's `redirect-gateway def1`: both halves of the Internet in the main table.
    Halves,
}

/// A tunnel that is up, and answers for whoever is at its far end.
pub(crate) struct Vpn<'a> {
    stage: &'a Stage,
    manner: Manner,
    tunnel: Option<Tunnel<'a>>,
}

impl<'a> Vpn<'a> {
    pub(crate) fn start(stage: &'a Stage, manner: Manner) -> Self {
        let tunnel = Tunnel::open(stage.lab.machine(), TUNNEL).unwrap();
        stage.ip("address add 10.99.0.2/32 dev wg0");
        stage.ip("-6 address add 2001:db8:99::2/128 dev wg0 nodad");
        match manner {
            Manner::Rules => {
                for family in ["-4", "-6"] {
                    stage.ip(&format!("{family} route add default dev wg0 table 51820"));
                    stage.ip(&format!("{family} rule add not fwmark 51820 table 51820"));
                    stage.ip(&format!("{family} rule add table main suppress_prefixlength 0"));
                }
            }
            Manner::Halves => {
                for half in ["0.0.0.0/1", "128.0.0.0/1"] {
                    stage.ip(&format!("route add {half} dev wg0"));
                }
                stage.ip("-6 route add 2000::/3 dev wg0");
            }
        }
        Self { stage, manner, tunnel: Some(tunnel) }
    }

    /// Its routes go with it.
    pub(crate) fn stop(mut self) {
        if self.manner == Manner::Rules {
            for family in ["-4", "-6"] {
                self.stage.ip(&format!("{family} rule delete not fwmark 51820 table 51820"));
                self.stage.ip(&format!("{family} rule delete table main suppress_prefixlength 0"));
            }
        }
        drop(self.tunnel.take());
    }
}

/// Who answers a datagram to the server, sent from a socket made ready by this: the access point it came out of, or the tunnel.
pub(crate) fn answered_by(socket: &UdpSocket) -> String {
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    match socket.send_to(b"", server()) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return UNREACHABLE.to_owned(),
        Err(error) => panic!("{error}"),
    }
    let mut answer = [0; 64];
    let length = uninterrupted(|| socket.recv(&mut answer)).expect("somebody answers");
    String::from_utf8_lossy(&answer[..length]).trim().to_owned()
}

pub(crate) fn socket(address: IpAddr) -> UdpSocket {
    UdpSocket::bind((address, 0)).unwrap()
}

/// Where each of these comes out: an ordinary socket, one bound to the session, a marked one, and one that only has the access
/// point's address.
pub(crate) fn ways(session: &Session) -> [String; 4] {
    let any = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
    let own = own_address(session, IpAddr::is_ipv4);
    let [ordinary, bound, marked, addressed] = [any, any, any, own].map(socket);
    session.bind(&bound).unwrap();
    SockRef::from(&marked).set_mark(MARK).unwrap();
    [ordinary, bound, marked, addressed].map(|socket| answered_by(&socket))
}

fn own_address(session: &Session, is_wanted: impl Fn(&IpAddr) -> bool) -> IpAddr {
    let addresses = session.interface().unwrap().addresses;
    let mut usable = addresses.iter().filter(|address| address.is_usable()).map(|address| address.address);
    usable.find(|address| is_wanted(address)).expect("an address")
}

/// The same in IPv6, as the kernel tells it.
fn ipv6_ways(stage: &Stage, session: &Session) -> [String; 4] {
    let own = own_address(session, IpAddr::is_ipv6);
    let server = ipv6_server().ip();
    ["".to_owned(), format!("oif {AP0}"), format!("mark {MARK}"), format!("from {own}")]
        .map(|selector| way_of(stage.lab.machine(), &format!("{server} {selector}")))
}

/// The interface that such packets leave by.
fn way_of(machine: &Namespace, packets: &str) -> String {
    let words = packets.split(' ').filter(|word| !word.is_empty());
    let arguments: Vec<&str> = ["route", "get"].into_iter().chain(words).collect();
    let Ok(told) = machine.ip_lines(&arguments) else { return UNREACHABLE.to_owned() };
    let told = told.join(" ");
    let mut words = told.split(' ').skip_while(|word| *word != "dev");
    words.nth(1).unwrap_or_else(|| panic!("{packets}: {told}")).to_owned()
}

/// Beside a tunnel.
pub(crate) const fn expected(bypass: BypassVpn, access_point: &str) -> [&str; 4] {
    match bypass {
        BypassVpn::Never => [TUNNEL, UNREACHABLE, TUNNEL, TUNNEL],
        BypassVpn::Group => [TUNNEL, access_point, access_point, TUNNEL],
        _ => [TUNNEL, access_point, access_point, access_point],
    }
}

/// Rules follow in their own time; what comes of them in the end is what counts.
fn wait_for_ways(stage: &Stage, session: &Session, expected: [&str; 4]) {
    let machine = stage.lab.machine();
    let are_so = || Ok((ways(session) == expected).then_some(()));
    let waited = machine.wait_until("the ways of all sockets", DEADLINE, are_so);
    waited.unwrap_or_else(|error| panic!("{:?} instead of {expected:?}: {error}\n{}", ways(session), stage.rules()));
    let are_so = || Ok((ipv6_ways(stage, session) == expected).then_some(()));
    let waited = machine.wait_until("the ways of IPv6", DEADLINE, are_so);
    waited.unwrap_or_else(|error| panic!("{:?} instead of {expected:?}: {error}", ipv6_ways(stage, session)));
}

fn steering(manager: &Manager, session: &Session) -> Steering {
    let identifier = session.configuration().identifier;
    manager.wait_for(async |manager| manager.steering(&identifier).await).unwrap().unwrap()
}

/// The tunnel is there when the session opens, goes, and comes again.
fn assert_ways_beside(manner: Manner, bypass: BypassVpn) {
    let stage = Stage::with_dnsmasq();
    let vpn = Vpn::start(&stage, manner);
    let rules_of_others = stage.rules();
    let manager = stage.manager_with(Profile { bypass_vpn: bypass, ..Profile::default() });
    let mut session = Watched::opened(&manager);
    announce(&stage, stage.ap0(), NETWORK);
    while !session.session.interface().unwrap().addresses.iter().any(|one| one.address.is_ipv6() && one.is_usable()) {
        session.next();
    }
    wait_for_ways(&stage, &session.session, expected(bypass, AP0));
    let told = steering(&manager, &session.session);
    assert_eq!(told.tunnel.map(|tunnel| tunnel.interface_name).as_deref(), Some(TUNNEL));
    assert_eq!((told.bypass_vpn, told.warnings), (bypass, Vec::new()));
    for server in [server(), ipv6_server()] {
        match session.session.connect_tcp(server) {
            Ok(stream) => assert_eq!(
                (bypass == BypassVpn::Never, Conversation::over(stream, DEADLINE).unwrap().access_point()),
                (false, AP0)
            ),
            Err(SocketError::Kernel { source, .. }) => {
                assert_eq!((bypass, source.kind()), (BypassVpn::Never, io::ErrorKind::NetworkUnreachable), "{server}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    // What the tunnel leaves outside, bound sockets reach whatever the profile says.
    assert_eq!(way_of(stage.lab.machine(), &format!("{} oif {AP0}", stage.router())), AP0);

    vpn.stop();
    wait_for_ways(&stage, &session.session, [AP0; 4]);
    wait_for_way(&stage, "21001");
    assert_eq!(steering(&manager, &session.session).tunnel, None);
    session.assert_up();

    let vpn = Vpn::start(&stage, manner);
    wait_for_ways(&stage, &session.session, expected(bypass, AP0));
    while let Some(event) = session.try_next() {
        assert!(event.contains("InterfaceChanged"), "a tunnel is nothing to tell a session: {event}");
    }
    session.close();
    session.expect_last("Disconnected");
    drop(session);
    manager.shutdown();
    let kept = |rules: &str| rules.lines().map(|rule| rule.split_once(':').unwrap().1.to_owned()).collect::<Vec<_>>();
    assert_eq!(kept(&stage.rules()), kept(&rules_of_others), "those of others are as they were");
    vpn.stop();
    stage.assert_as_before();
}

#[test]
fn beside_a_vpn_made_of_rules_each_socket_goes_where_the_profile_says() {
    EACH.into_iter().for_each(|bypass| assert_ways_beside(Manner::Rules, bypass));
}

#[test]
fn beside_a_vpn_made_of_routes_each_socket_goes_where_the_profile_says() {
    EACH.into_iter().for_each(|bypass| assert_ways_beside(Manner::Halves, bypass));
}

/// One that takes nothing but its own networks, and one that somebody else prefers to, are left out of it.
#[test]
fn a_vpn_that_does_not_take_everything_changes_nothing() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager_with(Profile { bypass_vpn: BypassVpn::Never, ..Profile::default() });
    let session = Watched::opened(&manager);
    let _tunnel = Tunnel::open(stage.lab.machine(), TUNNEL).unwrap();
    for part in [
        "route add 10.64.0.0/10 dev wg0",
        "route add default dev wg0 table 51820",
        "rule add fwmark 51820 table 51820",
        "rule add from 10.99.0.2 table 51820",
    ] {
        stage.ip(part);
    }
    // What is read anew is all there is.
    let mut events = manager.events();
    manager.wait_for(async |manager| manager.update_configurations().await).unwrap();
    while events.next_within(DEADLINE).expect("the update ends") != ManagerEvent::UpdateCompleted {}
    assert_eq!(steering(&manager, &session.session).tunnel, None);
    assert_eq!(ways(&session.session), [AP0; 4]);
    session.assert_up();
}

/// Sockets of the session that were there before the tunnel stay where they are.
#[test]
fn a_vpn_that_comes_does_not_break_what_a_session_has() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let session = Watched::opened(&manager);
    let mut before = session.assert_up();
    let vpn = Vpn::start(&stage, Manner::Rules);
    for _ in 0..3 {
        crate::stage::assert_alive(&mut before);
        session.connect();
    }
    vpn.stop();
    crate::stage::assert_alive(&mut before);
}

/// Its rules win then, which is said, with what to do.
#[test]
fn a_vpn_whose_rules_leave_no_room_before_them_is_warned_about() {
    let stage = Stage::with_dnsmasq();
    let machine = stage.lab.machine();
    let manager = stage.manager();
    let session = Watched::opened(&manager);
    let warnings = || steering(&manager, &session.session).warnings;
    let _vpn = Vpn::start(&stage, Manner::Rules);
    stage.ip("rule add priority 21 not fwmark 51820 table 51820");
    let is_named = || warnings().iter().any(|warning| warning.contains("priority 21"));
    wait_until_told(&manager, "a warning", is_named);
    let are_so = || Ok((ways(&session.session) == [TUNNEL, AP0, TUNNEL, TUNNEL]).then_some(()));
    machine.wait_until("what the warning says", DEADLINE, are_so).unwrap();
    stage.ip("rule add priority 22 not fwmark 51820 table 51820");
    stage.ip("rule delete priority 21");
    wait_until_told(&manager, "no warning", || warnings().is_empty());
    let are_so = || Ok((ways(&session.session) == expected(BypassVpn::Group, AP0)).then_some(()));
    machine.wait_until("the ways the profile names", DEADLINE, are_so).unwrap();
}
