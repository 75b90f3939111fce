//! What kernels say on a real link, as NetBearer's address guard and its test for known networks hear it.

use std::{
    net::TcpStream,
    time::{Duration, Instant, SystemTime},
};

use netbearer_dhcp::{AddressGuard, Conflict, KnownNetwork, RememberedLease, arp::Message};
use netbearer_lab::{AccessPoint, AccessPointPlan, Dhcp, ECHO_PORT, Lab, Neighbour, Script, now, uninterrupted};
use netbearer_types::Moment;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{PATIENCE, configure, our_client::OurClient};

const ETHERNET_ARP: u16 = 0x0806;
const OUR_HOST: u8 = 50;

fn lab() -> Lab {
    Lab::builder().access_point(AccessPointPlan::new("ap0")).build().expect("a lab")
}

fn configured(lab: &Lab) -> &AccessPoint {
    let ap0 = lab.access_point("ap0").expect("planned");
    configure(lab, ap0, OUR_HOST, "main");
    ap0
}

/// Hears every ARP message that comes to the machine or goes from it.
struct Listener(Socket);

impl Listener {
    fn start(lab: &Lab) -> Self {
        let protocol = Protocol::from(i32::from(ETHERNET_ARP.to_be()));
        let socket = lab.machine().run(|| Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol)));
        let socket = socket.expect("root may listen");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self(socket)
    }

    /// Listens until `found` makes something of a message.
    fn until<T>(&self, what: &str, mut found: impl FnMut(&Message) -> Option<T>) -> T {
        use std::io::Read;

        let deadline = Instant::now() + PATIENCE;
        let mut packet = [0; 128];
        while Instant::now() < deadline {
            let length = uninterrupted(|| (&self.0).read(&mut packet));
            let length = length.unwrap_or_else(|error| panic!("no message with {what}: {error}"));
            let message = Message::decode(&packet[..length]).expect("kernels speak properly");
            if let Some(found) = found(&message) {
                return found;
            }
        }
        panic!("not heard in time: {what}");
    }

    /// Lets `guard` listen until it finds a conflict.
    fn conflict(&self, guard: &mut AddressGuard, clock: impl Fn() -> Moment) -> Conflict {
        self.until("another host's claim", |message| {
            guard.handle_message(message, clock());
            guard.poll_conflict()
        })
    }
}

#[test]
fn a_neighbour_with_the_same_address_is_a_conflict() {
    let lab = lab();
    let ap0 = configured(&lab);
    let address = ap0.subnet().host(OUR_HOST);
    let listener = Listener::start(&lab);
    let mut guard = AddressGuard::new(ap0.hardware_address(), [], address, now());
    let neighbour = Neighbour::new(ap0, address).expect("plugged");
    let expected = Conflict { hardware_address: neighbour.hardware_address(), was_defended: false };
    assert_eq!(listener.conflict(&mut guard, now), expected);
}

#[test]
fn a_neighbour_that_comes_later_is_told_off_once_and_then_given_way_to() {
    let lab = lab();
    let ap0 = configured(&lab);
    let address = ap0.subnet().host(OUR_HOST);
    let listener = Listener::start(&lab);
    // It was installed a minute ago, and everybody was told.
    let installed_at = now();
    let a_minute_later = || now() + Duration::from_secs(60);
    let mut guard = AddressGuard::new(ap0.hardware_address(), [], address, installed_at);
    while let Some(timeout) = guard.poll_timeout() {
        guard.handle_timeout(timeout);
    }
    guard.poll_transmit();

    let neighbour = Neighbour::new(ap0, address).expect("plugged");
    let defence = listener.until("the neighbour's claim", |message| {
        guard.handle_message(message, a_minute_later());
        guard.poll_transmit()
    });
    assert_eq!(defence.message, Message::announcement(ap0.hardware_address(), address));
    neighbour.announce().expect("plugged");
    let expected = Conflict { hardware_address: neighbour.hardware_address(), was_defended: true };
    assert_eq!(listener.conflict(&mut guard, a_minute_later), expected);
}

#[test]
fn the_gateways_kernel_confirms_a_known_network() {
    let plan = AccessPointPlan::new("ap0").dhcp(Dhcp::Scripted(Script::default()));
    let lab = Lab::builder().reverse_path_filter(0).access_point(plan).build().expect("a lab");
    let ap0 = lab.access_point("ap0").expect("planned");
    let lease = OurClient::start(&lab, ap0).lease();
    let gateway = lease.gateway().expect("it is announced");
    let listener = Listener::start(&lab);
    // The machine's kernel asks for the gateway; its question differs from ours only in being for everybody.
    let ask = || {
        lab.machine().ip_lines(&["neighbour", "flush", "dev", "ap0"]).expect("ip obeys");
        let stream = lab.machine().run(|| TcpStream::connect_timeout(&(gateway, ECHO_PORT).into(), PATIENCE));
        stream.expect("the access point answers");
    };
    ask();
    let gateway_hardware_address =
        listener.until("the gateway", |message| (message.sender == gateway).then_some(message.sender_hardware));

    let wall_clock = SystemTime::now();
    let remembered = RememberedLease::new(&lease, now(), wall_clock).with_network(&lease, gateway_hardware_address);
    let known_network = KnownNetwork::new(&remembered, ap0.hardware_address(), now(), wall_clock);
    let mut known_network = known_network.expect("it can be asked for");
    ask();
    let confirmed = listener.until("the gateway's answer", |message| {
        known_network.handle_message(message);
        known_network.poll_confirmation()
    });
    assert_eq!((confirmed.address, confirmed.routes()), (lease.address, lease.routes()));
}
