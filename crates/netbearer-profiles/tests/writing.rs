//! Profiles that are written are read as what they were.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{fs, time::Duration};

use netbearer_core::{MatchedProfile, Profiles};
use netbearer_profiles::{ProfileStore, writing};
use netbearer_types::{
    Addressing, AnnouncedRoutes, BypassVpn, HostName, Identifier, Lifetime, Matching, Profile, Proxy, Purpose,
    ServiceNetworkProfile, UserChoiceProfile, VendorClass,
};

/// Everything of it is other than usual, but what excludes that.
fn unusual() -> Profile {
    Profile {
        name: Some("Office \"2\" = [é]".to_owned()),
        purpose: Purpose::ServiceSpecific,
        metered: true,
        proxy: Proxy::Manual("http://proxy.example:3128".to_owned()),
        online: Some(false),
        addressing: Addressing::Static,
        addresses: vec!["192.0.2.10/24".parse().unwrap(), "2001:db8::10/64".parse().unwrap()],
        gateways: vec!["192.0.2.1".parse().unwrap(), "fe80::1".parse().unwrap()],
        name_servers: vec!["192.0.2.53".parse().unwrap()],
        search_domains: vec![HostName::new("office.example").unwrap()],
        mtu: Some(1_400),
        lifetime: Lifetime::OnDemand,
        linger: Duration::from_millis(1_234),
        connect_timeout: Duration::from_millis(700),
        carrier_timeout: Duration::from_secs(7_200),
        preference: -7,
        exclusive: true,
        dhcp_release: true,
        default_route: false,
        announced_routes: AnnouncedRoutes::Main,
        bypass_vpn: BypassVpn::All,
        client_identifier: Some("ff:01:02:03".parse().unwrap()),
        hostname: Some(HostName::new("gateway-7").unwrap()),
        vendor_class: Some(VendorClass::new(*b"netbearer").unwrap()),
        rapid_commit: false,
        ipv6_only: true,
        carrier_watch: true,
    }
}

fn named(interface: &str) -> Matching {
    Matching { interface: Some(interface.to_owned()), ..Matching::default() }
}

#[test]
fn what_was_written_is_read_as_it_was() {
    let by_hardware = Matching {
        mac: Some("02:00:5e:10:00:01".to_owned()),
        driver: Some("e1000e".to_owned()),
        path: Some("pci-0000:02:00.0".to_owned()),
        ..named("ap2")
    };
    let found = Proxy::AutoConfigurationUrl("http://proxy.example/wpad.dat".to_owned());
    let profiles = [
        ("usual", named("ap0"), Profile::default()),
        ("unusual", named("ap1"), unusual()),
        ("found", by_hardware, Profile { proxy: found.clone(), ..Profile::default() }),
    ];
    let network = ServiceNetworkProfile {
        name: Some("Uplink".to_owned()),
        purpose: Purpose::Public,
        proxy: found,
        members: vec!["ap0".to_owned(), "unusual".to_owned()],
        settle: Duration::from_millis(1),
        roam_linger: Duration::ZERO,
    };
    let choice = UserChoiceProfile { name: Some("Any".to_owned()), choices: vec!["found".to_owned()] };
    let directory = tempfile::tempdir().unwrap();
    let files = directory.path().join("profiles.d");
    fs::create_dir(&files).unwrap();
    let write = |name: &str, text: Result<String, writing::WritingError>| {
        fs::write(files.join(format!("{name}.toml")), text.unwrap()).unwrap();
    };
    for (name, matching, profile) in &profiles {
        write(name, writing::access_point(matching, profile));
    }
    write("network", writing::service_network(&network));
    write(
        "empty",
        writing::service_network(&ServiceNetworkProfile { members: vec!["ap0".into()], ..Default::default() }),
    );
    write("choice", writing::user_choice(&choice));
    write("anything", writing::user_choice(&UserChoiceProfile::default()));

    let reading = ProfileStore::new(directory.path()).read();
    assert!(reading.mistakes.is_empty(), "{:?}", reading.mistakes);
    let by_file = profiles.map(|(name, matching, profile)| (name.to_owned(), MatchedProfile { matching, profile }));
    // A file that names nothing is its name.
    let plain = ServiceNetworkProfile {
        name: Some("empty".to_owned()),
        members: vec!["ap0".to_owned()],
        ..ServiceNetworkProfile::default()
    };
    let anything = UserChoiceProfile { name: Some("anything".to_owned()), ..UserChoiceProfile::default() };
    let expected = Profiles {
        by_file: by_file.into(),
        service_networks: [(Identifier::new("service-network"), network), (Identifier::new("service-empty"), plain)]
            .into(),
        user_choices: [(Identifier::new("choice-choice"), choice), (Identifier::new("choice-anything"), anything)]
            .into(),
        ..Profiles::default()
    };
    assert_eq!(reading.profiles, expected);
}
