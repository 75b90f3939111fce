//! Whose packets go where, when more than one access point is up.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use netbearer::{Profile, SessionState, blocking::Session};
use netbearer_lab::{AccessPointPlan, Capture, Conversation, Dhcp, Script, Subnet};

use crate::{
    ipv6::{NETWORK, OTHER_NETWORK, announce, ipv6_server, wait_for_route, wait_for_way},
    stage::{AP0, DEADLINE, Manager, Stage, Watched, plain_connection, server},
};

const AP1: &str = "ap1";

/// As systemd ships it; then off, strict by the interface, by `all`, by both, and loose by `all`.
const REVERSE_PATH_FILTERS: [(&str, &str); 6] =
    [("2", "0"), ("0", "0"), ("1", "0"), ("0", "1"), ("1", "1"), ("1", "2")];

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

/// What the servers lease, by the last number of the address.
fn offer(stage: &Stage, hosts: [u8; 2]) {
    for (name, host) in [AP0, AP1].into_iter().zip(hosts) {
        let access_point = stage.lab.access_point(name).unwrap();
        access_point.dhcp_server().unwrap().offer(access_point.subnet().host(host));
    }
}

/// Scenario 17, as the reverse-path filter of the machine is set: an interface's own value, and `all`'s.
fn twins_work_with_reverse_path_filter(own: &str, all: &str, also_the_same_address: bool) {
    let mut stage = twins();
    for (interface, value) in [(AP0, own), (AP1, own), ("default", own), ("all", all)] {
        stage.lab.machine().set_sysctl(&format!("net/ipv4/conf/{interface}/rp_filter"), value).unwrap();
    }
    stage.remember();
    offer(&stage, [150, if also_the_same_address { 150 } else { 151 }]);
    assert_each_has_its_own_way(&stage, &[server()], |stage| {
        let address = |name| stage.address_of(name).unwrap();
        assert_eq!(address(AP0) == address(AP1), also_the_same_address, "{} {}", address(AP0), address(AP1));
    });
}

/// Scenario 17.
#[test]
fn two_access_points_with_the_same_subnet_and_gateway_work_at_once() {
    for (own, all) in REVERSE_PATH_FILTERS {
        twins_work_with_reverse_path_filter(own, all, false);
    }
}

/// Scenario 17, and the servers lease the same address.
#[test]
fn two_access_points_that_lease_the_same_address_work_at_once() {
    for (own, all) in REVERSE_PATH_FILTERS {
        twins_work_with_reverse_path_filter(own, all, true);
    }
}

/// The first one has it, as long as it is open.
#[test]
fn an_address_that_two_have_leased_is_steered_to_the_first_and_then_to_the_other() {
    let stage = twins();
    offer(&stage, [150, 150]);
    let manager = stage.manager();
    let [first, second] = [AP0, AP1].map(|name| opened(&manager, name));
    let steered_to = |rules: &str, table: &str| {
        let sources: Vec<&str> = rules.lines().filter(|rule| rule.starts_with("5120:")).collect();
        matches!(sources.as_slice(), [only] if only.contains(&format!("lookup {table} ")))
    };
    stage.wait_for_rules("one source rule", |rules| steered_to(rules, "21001"));
    drop(first);
    stage.wait_for_rules("the other one's", |rules| steered_to(rules, "21002"));
    assert_eq!(reaches(&second, server()).access_point(), AP1);
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

/// A session on the second access point, whose sockets stay there whatever becomes of the first one, in both families.
struct Staying<'a> {
    session: Session,
    lasting: [Conversation; 2],
    flowing: Flow,
    /// Its addresses.
    ours: [String; 2],
    seen_by_first: Capture<'a>,
}

impl<'a> Staying<'a> {
    fn start(stage: &'a Stage, manager: &Manager) -> Self {
        let session = opened(manager, AP1);
        announce(stage, stage.lab.access_point(AP1).unwrap(), OTHER_NETWORK);
        wait_for_way(stage, &stage.table_of(AP1));
        let converse = || [server(), ipv6_server()].map(|server| reaches(&session, server));
        let (lasting, flowing) = (converse(), Flow::start(converse()));
        let ours = lasting.each_ref().map(|conversation| conversation.stream().local_addr().unwrap().ip().to_string());
        let seen_by_first = Capture::start(stage.ap0().namespace(), "any", "tcp port 7").unwrap();
        Self { session, lasting, flowing, ours, seen_by_first }
    }

    /// What lives goes on, and what is new goes the same way.
    fn check(&mut self) {
        for conversation in &mut self.lasting {
            conversation.echo(b"still there").unwrap();
        }
        for server in [server(), ipv6_server()] {
            assert_eq!(reaches(&self.session, server).access_point(), AP1);
        }
    }

    /// The same, while an ordinary program's connection goes by this access point.
    fn check_while_ordinary_ones_go_by(&mut self, access_point: &str) {
        let plain = Conversation::over(plain_connection().unwrap(), DEADLINE).unwrap();
        assert_eq!(plain.access_point(), access_point, "the default route");
        self.check();
    }

    /// Nothing has paused, and the first access point has seen ordinary programs only.
    fn finish(self) {
        let rounds = self.flowing.stop();
        assert!(rounds.iter().all(|rounds| *rounds > 10), "{rounds:?}");
        let packets = self.seen_by_first.finish().unwrap();
        assert!(!packets.is_empty(), "the ordinary program's");
        let stray = packets.iter().find(|packet| self.ours.iter().any(|ours| packet.contains(ours)));
        assert_eq!(stray, None);
    }
}

fn two_with_leases() -> Stage {
    Stage::new([AP0, AP1].map(|name| AccessPointPlan::new(name).dhcp(Dhcp::Dnsmasq)))
}

fn wait_for_no_default_route(stage: &Stage, interface: &str) {
    let is_there = |route: &String| route.starts_with("default ") && route.contains(&format!(" dev {interface} "));
    let is_gone = || Ok((!stage.routes().iter().any(is_there)).then_some(()));
    stage.lab.machine().wait_until("no default route", DEADLINE, is_gone).unwrap();
}

/// Scenario 32, with an uplink that others configure and prefer to everything of ours.
#[test]
fn a_session_socket_stays_on_its_access_point_while_others_have_their_default_route_come_and_go() {
    let stage = two_with_leases();
    let manager = stage.manager();
    let mut staying = Staying::start(&stage, &manager);
    let configure = || {
        stage.configure_by_hand();
        announce(&stage, stage.ap0(), NETWORK);
        wait_for_route(&stage, "main", "default via fe80::1 dev ap0");
    };
    configure();
    staying.check_while_ordinary_ones_go_by(AP0);
    // Their routes stay, and ordinary programs go nowhere.
    let mut first = Watched::new(&manager);
    assert_eq!(first.session.state(), SessionState::Connected);
    stage.ap0().cut().unwrap();
    first.expect_after_changes("NotAvailable");
    staying.check();
    stage.ap0().restore().unwrap();
    first.expect_after_changes("Connected");
    staying.check_while_ordinary_ones_go_by(AP0);
    for taken_away in [&["-4 address flush dev ap0"][..], &["link set ap0 down", "address flush dev ap0"]] {
        taken_away.iter().for_each(|command| stage.ip(command));
        staying.check_while_ordinary_ones_go_by(AP1);
        configure();
        staying.check_while_ordinary_ones_go_by(AP0);
    }
    staying.finish();
}

/// Scenario 32, with an uplink of another session, which is preferred.
#[test]
fn a_session_socket_stays_on_its_access_point_while_the_default_route_of_another_session_comes_and_goes() {
    let stage = two_with_leases();
    let manager = stage.manager_with(Profile { preference: 1, ..Profile::default() });
    let mut staying = Staying::start(&stage, &manager);
    let mut other = Watched::reconnecting(&manager);
    for _ in 0..2 {
        other.bring_up();
        announce(&stage, stage.ap0(), NETWORK);
        wait_for_way(&stage, &stage.table_of(AP0));
        staying.check_while_ordinary_ones_go_by(AP0);
        stage.ap0().cut().unwrap();
        other.expect_after_changes("NotAvailable");
        // Connections that begin before would leave by it for ever.
        wait_for_no_default_route(&stage, AP0);
        staying.check_while_ordinary_ones_go_by(AP1);
        stage.ap0().restore().unwrap();
        other.expect(&["Connecting", "Connected", "Opened"]);
        staying.check_while_ordinary_ones_go_by(AP0);
        other.close();
        other.expect(&["Closed", "Closing", "Disconnected"]);
        staying.check_while_ordinary_ones_go_by(AP1);
    }
    staying.finish();
    drop((other, manager));
    stage.assert_as_before();
}

/// Conversations that never pause.
pub(crate) struct Flow {
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<usize>>,
}

impl Flow {
    pub(crate) fn start(conversations: impl IntoIterator<Item = Conversation>) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let flow = |mut conversation: Conversation| {
            let ended = Arc::clone(&ended);
            thread::spawn(move || {
                let mut rounds = 0;
                while !ended.load(Ordering::Relaxed) {
                    conversation.echo(b"without a pause").expect("the connection lives");
                    rounds += 1;
                }
                rounds
            })
        };
        let threads = conversations.into_iter().map(flow).collect();
        Self { ended, threads }
    }

    /// How often each of them was answered; none has failed.
    pub(crate) fn stop(self) -> Vec<usize> {
        self.ended.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().expect("no answer failed")).collect()
    }
}
