use std::{io::ErrorKind, net::TcpStream};

use netbearer_lab::{AccessPoint, AccessPointPlan, Capture, Lab, Neighbour};

use crate::{PATIENCE, configure};

fn hexadecimal(hardware_address: [u8; 6]) -> String {
    hardware_address.map(|octet| format!("{octet:02x}")).join(":")
}

fn lab() -> Lab {
    Lab::builder().access_point(AccessPointPlan::new("ap0")).build().expect("a lab")
}

fn configured(lab: &Lab) -> &AccessPoint {
    let ap0 = lab.access_point("ap0").expect("planned");
    configure(lab, ap0, 50, "main");
    ap0
}

#[test]
fn a_neighbour_answers_arp_with_a_hardware_address_of_its_own_until_it_is_gone() {
    let lab = lab();
    let ap0 = configured(&lab);
    let address = ap0.subnet().host(100);
    let neighbour = Neighbour::new(ap0, address).expect("plugged");
    let link = hexadecimal(neighbour.hardware_address());
    // Nobody listens there, but there is somebody to say so.
    let stream = lab.machine().run(|| TcpStream::connect_timeout(&(address, 7).into(), PATIENCE));
    assert_eq!(stream.expect_err("nobody listens").kind(), ErrorKind::ConnectionRefused);
    let lines = lab.machine().ip_lines(&["neighbour", "show", &address.to_string(), "dev", "ap0"]).expect("ip obeys");
    assert!(lines.iter().any(|line| line.contains(&link)), "{lines:?}");

    drop(neighbour);
    Neighbour::new(ap0, address).expect("its place is free again");
}

#[test]
fn a_neighbour_announces_its_address_on_demand() {
    let lab = lab();
    let ap0 = configured(&lab);
    let address = ap0.subnet().host(100);
    let neighbour = Neighbour::new(ap0, address).expect("plugged");
    let capture = Capture::start(lab.machine(), "ap0", "arp").expect("a capture");
    neighbour.announce().expect("plugged");
    let announcement = format!("who-has {address}");
    capture.packets().wait_for_text(&announcement, PATIENCE).expect("it announces");
}
