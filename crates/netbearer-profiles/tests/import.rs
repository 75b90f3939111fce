//! What is made of other managers' files, and what is said of the rest.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use netbearer_profiles::{ProfileStore, import_file};

/// The lines of the profile that is made of a file, without its first one, and what is left behind; or why there is none.
fn imported(name: &str, text: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(name);
    std::fs::write(&file, text).unwrap();
    match import_file(&file) {
        Ok(imported) => {
            let (_, lines) = imported.text.split_once('\n').unwrap();
            let left: String = imported.left_behind.iter().map(|left| format!("- {left}\n")).collect();
            let place = directory.path().join("made.toml");
            std::fs::write(&place, &imported.text).unwrap();
            let mistakes = ProfileStore::new(directory.path()).check(&[(place, None)]);
            let mistakes: String = mistakes.iter().map(|mistake| format!("! {}\n", mistake.problem)).collect();
            format!("{}\n{left}{mistakes}", lines.replace("\n\n", "\n").trim_end())
        }
        Err(error) => error.to_string().replace(&format!("{}/", directory.path().display()), ""),
    }
}

fn network(rest: &str) -> String {
    imported("ap0.network", &format!("[Match]\nName=ap0\n{rest}"))
}

fn keyfile(rest: &str) -> String {
    imported("ap0.nmconnection", &format!("[connection]\ntype=ethernet\ninterface-name=ap0\n{rest}"))
}

/// As a gateway of the profile it would take all traffic.
#[test]
fn a_route_to_one_network_stays_behind_as_a_whole() {
    insta::assert_snapshot!(network("[Network]\nDHCP=no\nAddress=10.3.0.5/24\n[Route]\nGateway=10.3.0.9\nDestination=10.50.0.0/16\n[Route]\nGateway=10.3.0.1\nMetric=5\n"), @r#"
    [match]
    interface = "ap0"
    [access_point]
    addressing = "static"
    addresses = ["10.3.0.5/24"]
    gateways = ["10.3.0.1"]
    - line 8: [Route] Destination: the whole section stays behind: routes beside the default one are not part of a profile
    - line 11: [Route] Metric: there is nothing like it
    "#);
    for limit in ["Destination=2001:db8:1::/48", "Table=100", "Source=10.3.0.5", "Type=unreachable"] {
        let told = network(&format!("[Network]\nAddress=10.3.0.5/24\n[Route]\n{limit}\nGateway=10.3.0.9\n"));
        assert!(!told.contains("gateways") && told.contains("whole section stays behind"), "{limit}: {told}");
    }
    for everything in ["Destination=0.0.0.0/0", "Destination=", "Table=main", ""] {
        let told = network(&format!("[Network]\nAddress=10.3.0.5/24\n[Route]\n{everything}\nGateway=10.3.0.9\n"));
        assert!(told.contains("gateways = [\"10.3.0.9\"]\n") && !told.contains("- "), "{everything}: {told}");
    }
    let told = network(
        "[Network]\nAddress=10.3.0.5/24\nGateway=10.3.0.1\n[Route]\nGateway=10.3.0.9\n[Route]\nGateway=_dhcp4\n",
    );
    assert!(told.contains("gateways = [\"10.3.0.1\"]\n"), "{told}");
    assert!(told.contains("10.3.0.1 is before 10.3.0.9") && told.contains("\"_dhcp4\" is no address"), "{told}");
}

#[test]
fn one_default_route_is_for_both_families() {
    let route = |rest: &str| {
        let told = keyfile(rest);
        (
            told.contains("default_route = false"),
            told.contains("neither has one now"),
            told.contains("default_route = true"),
        )
    };
    assert_eq!(route("[ipv4]\nnever-default=true\n[ipv6]\nnever-default=false\n"), (true, true, false));
    assert_eq!(route("[ipv4]\nnever-default=false\n[ipv6]\nnever-default=true\n"), (true, true, false));
    assert_eq!(route("[ipv4]\nnever-default=true\n[ipv6]\nnever-default=true\n"), (true, false, false));
    assert_eq!(route("[ipv4]\nnever-default=true\n[ipv6]\nmethod=ignore\n"), (true, false, false));
    assert_eq!(route("[ipv4]\nnever-default=false\n"), (false, false, false));
}

#[test]
fn addresses_of_the_family_that_is_there_are_carried_over() {
    insta::assert_snapshot!(keyfile("[ipv4]\nmethod=disabled\naddress1=192.0.2.10/24,192.0.2.1\n[ipv6]\nmethod=manual\naddress1=2001:db8::10/64,2001:db8::1\n"), @r#"
    [match]
    interface = "ap0"
    [access_point]
    addressing = "static"
    addresses = ["2001:db8::10/64"]
    gateways = ["2001:db8::1"]
    "#);
}

#[test]
fn an_empty_value_takes_back_what_stands_before_it() {
    insta::assert_snapshot!(network("[Network]\nAddress=192.0.2.10/24\nGateway=192.0.2.1\nDNS=192.0.2.53\nDomains=a.example\nAddress=\nGateway=\nDNS=\nDomains=\nAddress=198.51.100.10/24\n"), @r#"
    [match]
    interface = "ap0"
    [access_point]
    addressing = "static"
    addresses = ["198.51.100.10/24"]
    "#);
}

#[test]
fn patterns_are_said_to_be_none_of_a_profile() {
    insta::assert_snapshot!(imported("en.network", "[Match]\nName=en*\n[Network]\nDHCP=yes\n"), @"en.network: it is for whatever is called en*, and patterns are not supported: a profile names one interface, hardware address, driver or path");
    insta::assert_snapshot!(imported("en.nmconnection", "[connection]\nid=en\n[match]\ninterface-name=en*;\n"), @"en.nmconnection: it is for whatever is called en*, and patterns are not supported: a profile names one interface, hardware address, driver or path");
    insta::assert_snapshot!(imported("en.network", "[Match]\nType=ether\n[Network]\nDHCP=yes\n"), @"en.network: it names neither an interface nor a hardware address, so nothing tells which access point it is for");
}

#[test]
fn values_are_read_as_their_manager_reads_them() {
    insta::assert_snapshot!(keyfile("id=\\sTwo\\twords\\nand a \\\\\n[proxy]\npac-url=http://a.example/\\sb\n"), @r#"
    [match]
    interface = "ap0"
    [access_point]
    name = ' Two words and a \'
    proxy_auto_configuration = "http://a.example/ b"
    ! `proxy_auto_configuration`: this is no URL
    "#);
    insta::assert_snapshot!(network("[Network]\nDescription=C:\\new\\table\nDHCP=ON\nDNS=192.0.2.53 \\\n# between\n  192.0.2.54\n[DHCPv4]\nUseGateway=off\nSendRelease=maybe\n"), @r#"
    [match]
    interface = "ap0"
    [access_point]
    name = 'C:\new\table'
    name_servers = ["192.0.2.53", "192.0.2.54"]
    default_route = false
    - line 11: [DHCPv4] SendRelease: this is neither yes nor no
    "#);
}

#[test]
fn the_name_of_a_wireless_network_is_not_dropped_without_a_word() {
    insta::assert_snapshot!(imported("wlan.nmconnection", "[connection]\ntype=wifi\ninterface-name=wlan0\n[wifi]\nmode=ap\nssid=Office\n"), @r#"
    [match]
    interface = "wlan0"
    [access_point]
    - line 5: [wifi] mode: there is nothing like it
    - line 6: [wifi] ssid: which wireless network is joined is not part of a profile
    "#);
}
