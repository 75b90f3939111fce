use std::time::Duration;

use netbearer_lab::{AccessPoint, AccessPointPlan, Card, Conversation, Lab, LabError, Shaping, now, uninterrupted};

use crate::{PATIENCE, configure};

#[test]
fn an_interface_is_down_until_it_is_set_up_and_loses_and_regains_carrier() {
    for card in [Card::Ordinary, Card::CardLike] {
        let lab = Lab::builder().access_point(AccessPointPlan::new("ap0").card(card)).build().expect("a lab");
        let (machine, ap0) = (lab.machine(), lab.access_point("ap0").expect("planned"));
        assert!(!machine.is_administratively_up("ap0").expect("it is there"), "{card:?}");
        ap0.set_administratively_up(true).expect("plugged");
        let carrier = |wanted| {
            machine.wait_until("the carrier", PATIENCE, || Ok((machine.has_carrier("ap0")? == wanted).then_some(())))
        };
        carrier(true).expect("the far end is up");
        let before = now();
        let cut = ap0.cut().expect("plugged");
        assert!(before <= cut && cut <= now(), "{card:?}: {before:?} {cut:?}");
        carrier(false).expect("cut");
        ap0.restore().expect("plugged");
        carrier(true).expect("restored");
    }
}

#[test]
fn a_cable_is_in_order_until_it_is_cut_whatever_the_machine_does_with_its_end() {
    let lab = Lab::builder().access_point(AccessPointPlan::new("ap0")).build().expect("a lab");
    let ap0 = lab.access_point("ap0").expect("planned");
    let state = || (ap0.is_in_order().expect("plugged"), ap0.is_administratively_up().expect("plugged"));
    assert_eq!(state(), (true, false));
    ap0.set_administratively_up(true).expect("plugged");
    assert_eq!(state(), (true, true));
    ap0.cut().expect("plugged");
    assert_eq!(state(), (false, true));
    ap0.restore().expect("plugged");
    assert_eq!(state(), (true, true));
}

/// What `tc` says of the access point's end of the cable.
fn disciplines(access_point: &AccessPoint) -> String {
    access_point.namespace().command("tc").args(["qdisc", "show", "dev", "port0"]).output().expect("tc tells")
}

#[test]
fn a_slow_access_point_has_the_rate_it_was_given_until_it_is_fast_again() {
    let lab = Lab::builder().access_point(AccessPointPlan::new("ap0")).build().expect("a lab");
    let ap0 = lab.access_point("ap0").expect("planned");
    for (rate, told) in [(1_000_000, "rate 1Mbit"), (512_000, "rate 512Kbit"), (8_000_000_000, "rate 8Gbit")] {
        let shaping = Shaping { rate: Some(rate), delay: None };
        ap0.slow(Some(shaping)).expect("the kernel has tbf");
        assert_eq!(ap0.shaping(), Some(shaping));
        let disciplines = disciplines(ap0);
        assert!(disciplines.contains("qdisc tbf") && disciplines.contains(told), "{disciplines}");
    }
    ap0.slow(None).expect("the kernel obeys");
    assert_eq!((ap0.shaping(), disciplines(ap0).contains("tbf")), (None, false));
    ap0.slow(None).expect("nothing to end is no error");
}

/// What a slow link carries takes its time: the kernel was understood.
#[test]
fn what_a_slow_access_point_sends_takes_as_long_as_its_rate_says() {
    const OCTETS: usize = 100_000;
    let lab = Lab::builder().access_point(AccessPointPlan::new("ap0")).build().expect("a lab");
    let ap0 = lab.access_point("ap0").expect("planned");
    configure(&lab, ap0, 50, "main");
    ap0.slow(Some(Shaping { rate: Some(1_000_000), delay: None })).expect("the kernel has tbf");
    let took = lab
        .machine()
        .run(|| {
            let mut stream = std::net::TcpStream::connect_timeout(&(ap0.subnet().gateway(), 7).into(), PATIENCE)?;
            let mut writer = stream.try_clone()?;
            let began = std::time::Instant::now();
            let sender = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &vec![7; OCTETS]));
            std::io::Read::read_exact(&mut stream, &mut vec![0; OCTETS])?;
            sender.join().expect("the sender does not panic")?;
            Ok::<_, std::io::Error>(began.elapsed())
        })
        .expect("the echo comes");
    assert!(took >= Duration::from_millis(600), "100 kB at 1 Mbit/s came within {took:?}");
}

#[test]
fn a_delay_that_the_kernel_cannot_make_leaves_what_was_before() {
    let lab = Lab::builder().access_point(AccessPointPlan::new("ap0")).build().expect("a lab");
    let ap0 = lab.access_point("ap0").expect("planned");
    let slow = Shaping { rate: Some(1_000_000), delay: None };
    ap0.slow(Some(slow)).expect("the kernel has tbf");
    let late = Shaping { rate: Some(512_000), delay: Some(Duration::from_millis(200)) };
    match ap0.slow(Some(late)) {
        Ok(()) => {
            let disciplines = disciplines(ap0);
            assert!(disciplines.contains("delay 200ms") && disciplines.contains("rate 512Kbit"), "{disciplines}");
        }
        Err(LabError::NoDelays { .. }) => {
            assert_eq!(ap0.shaping(), Some(slow));
            assert!(disciplines(ap0).contains("rate 1Mbit"), "{}", disciplines(ap0));
        }
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn the_cards_reverse_path_filter_is_the_one_asked_for() {
    for filter in [0, 1, 2] {
        let plan = AccessPointPlan::new("ap0");
        let lab = Lab::builder().reverse_path_filter(filter).access_point(plan).build().expect("a lab");
        let sysctl = lab.machine().sysctl("net/ipv4/conf/ap0/rp_filter").expect("a sysctl");
        assert_eq!(sysctl, filter.to_string());
    }
}

#[test]
fn an_occupied_address_answers_arp() {
    let lab = Lab::builder().access_point(AccessPointPlan::new("ap0")).build().expect("a lab");
    let ap0 = lab.access_point("ap0").expect("planned");
    configure(&lab, ap0, 50, "main");
    let stranger = ap0.subnet().host(100);
    ap0.occupy(stranger).expect("plugged");
    let stream = lab.machine().run(|| std::net::TcpStream::connect_timeout(&(stranger, 7).into(), PATIENCE));
    stream.expect("the stranger answers");
    let neighbours = lab.machine().ip_lines(&["neighbour", "show", "dev", "ap0"]).expect("ip obeys");
    let found = neighbours.iter().any(|line| line.starts_with(&stranger.to_string()) && line.contains("lladdr"));
    assert!(found, "{neighbours:?}");
}

#[test]
fn only_a_card_like_interface_has_the_same_index_as_its_other_end() {
    for (card, same) in [(Card::Ordinary, false), (Card::CardLike, true)] {
        let plan = AccessPointPlan::new("ap0").card(card).index(77);
        let lab = Lab::builder().access_point(plan).build().expect("a lab");
        let ap0 = lab.access_point("ap0").expect("planned");
        let near = lab.machine().ip_json(&["link", "show", "dev", "ap0"]).expect("it is there");
        let far = ap0.namespace().ip_json(&["link", "show", "dev", "port0"]).expect("it is there");
        assert_eq!(near[0]["ifindex"], 77);
        assert_eq!(near[0]["ifindex"] == far[0]["ifindex"], same, "{card:?}");
    }
}

#[test]
fn a_card_is_unplugged_and_plugged_again_with_another_index() {
    let lab = Lab::builder().access_point(AccessPointPlan::new("ap0")).build().expect("a lab");
    let ap0 = lab.access_point("ap0").expect("planned");
    let link = || lab.machine().ip_json(&["link", "show", "dev", "ap0"]);
    let hardware_address = link().expect("it is there")[0]["address"].clone();
    ap0.unplug().expect("plugged");
    link().expect_err("unplugged");
    ap0.cut().expect_err("unplugged");
    ap0.plug_with_index(900).expect("unplugged");
    let again = link().expect("it is there again");
    assert_eq!(again[0]["ifindex"], 900);
    assert_eq!(again[0]["address"], hardware_address);
    configure(&lab, ap0, 50, "main");
    let mut conversation = lab.machine().run(|| Conversation::open(PATIENCE)).expect("a connection");
    conversation.echo(b"after plugging again").expect("it works");
}

#[test]
fn two_access_points_with_the_same_subnet_and_lease_are_told_apart_by_what_answers() {
    let subnet = "192.168.1.0/24".parse().expect("a subnet");
    let lab = Lab::builder()
        .access_point(AccessPointPlan::new("ap0").subnet(subnet))
        .access_point(AccessPointPlan::new("ap1").subnet(subnet))
        .build()
        .expect("a lab");
    for (access_point, table) in lab.access_points().iter().zip(["1000", "1001"]) {
        configure(&lab, access_point, 50, table);
    }
    for name in ["ap0", "ap1"] {
        let mut conversation = lab.machine().run(|| bound_conversation(name)).expect("a connection");
        assert_eq!(conversation.access_point(), name);
        conversation.echo(b"and lives on").expect("it works");
    }
}

/// A conversation over the interface of that name.
fn bound_conversation(interface: &str) -> std::io::Result<Conversation> {
    use netbearer_lab::{ECHO_PORT, INTERNET};
    use socket2::{Domain, Socket, Type};

    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.connect_timeout(&std::net::SocketAddr::from((INTERNET, ECHO_PORT)).into(), PATIENCE)?;
    Conversation::over(socket.into(), PATIENCE)
}

#[test]
fn udp_is_answered_with_the_name_of_the_access_point() {
    use netbearer_lab::{ECHO_PORT, INTERNET};

    let lab = Lab::builder().access_point(AccessPointPlan::new("ap0")).build().expect("a lab");
    configure(&lab, lab.access_point("ap0").expect("planned"), 50, "main");
    let socket = lab.machine().run(|| std::net::UdpSocket::bind("0.0.0.0:0")).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.connect((INTERNET, ECHO_PORT)).expect("a route");
    socket.send(b"hello").expect("sent");
    let mut answer = [0; 64];
    let length = uninterrupted(|| socket.recv(&mut answer)).expect("answered");
    assert_eq!(&answer[..length], b"ap0\nhello");
}

#[test]
fn an_unknown_access_point_is_answered_with_those_there_are() {
    let lab = Lab::builder().access_point(AccessPointPlan::new("ap0")).build().expect("a lab");
    let error = lab.access_point("ap9").expect_err("not planned");
    assert_eq!(error.to_string(), "the lab has no access point ap9; it has: ap0");
    let error = lab.access_point("ap0").expect("planned").dhcp_server().expect_err("planned without");
    assert!(matches!(error, LabError::OtherDhcp { .. }), "{error}");
}

#[test]
fn checksums_are_finished_on_demand() {
    let plan = AccessPointPlan::new("ap0").without_checksum_offload();
    let lab = Lab::builder().access_point(plan).build().expect("a lab");
    let port = lab.access_point("ap0").expect("planned").namespace();
    let features = port.command("ethtool").args(["--show-offload", "port0"]).output().expect("ethtool runs");
    assert!(features.contains("tx-checksumming: off"), "{features}");
}
