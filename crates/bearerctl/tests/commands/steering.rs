//! What is told of whose packets go where, and what a session on a link of others needs.

use netbearer_lab::{AccessPointPlan, Dhcp, Signal};

use crate::stage::{DEADLINE, Stage};

fn two_links() -> Stage {
    let mut stage = Stage::new(["ap0", "ap1"].map(|name| AccessPointPlan::new(name).dhcp(Dhcp::None)));
    stage.bring_two_up_by_hand();
    stage
}

#[test]
fn show_and_why_name_a_full_tunnel_and_what_it_means() {
    let stage = Stage::with_dnsmasq();
    let shown = stage.run(&["show", "ap0"]).output.join("\n");
    assert!(!shown.contains("VPN"), "{shown}");
    assert!(stage.run(&["show", "ap0", "--json"]).json()["steering"]["tunnel"].is_null());
    stage.start_full_tunnel();
    for (profile, meaning) in [
        ("never", "reach only what the tunnel"),
        ("group", "marked ones leave by it"),
        ("all", "that have its address leave by it"),
    ] {
        stage.write_profile("ap0", &format!("bypass_vpn = \"{profile}\""));
        for command in ["show", "why"] {
            let told = stage.run(&[command, "ap0"]).output.join("\n");
            let expected = format!("wg0, for IPv4; bypass_vpn is \"{profile}\": ");
            assert!(told.contains("full-tunnel VPN") && told.contains(&expected) && told.contains(meaning), "{told}");
        }
        let steering = &stage.run(&["show", "ap0", "--json"]).json()["steering"];
        assert_eq!(steering["tunnel"]["interface_name"], "wg0");
        assert_eq!((&steering["tunnel"]["families"], &steering["bypass_vpn"]), (&"V4".into(), &profile.into()));
        assert!(steering["effect"].as_str().unwrap().contains(meaning), "{steering}");
        let explanation = stage.run(&["why", "ap0", "--json"]).json();
        assert_eq!(explanation["configurations"][0]["steering"], *steering);
        let decisions = explanation["decisions"].as_array().unwrap();
        assert!(decisions.iter().any(|decision| decision["verdict"] == "Tunnel"), "{decisions:?}");
    }
}

#[test]
fn why_warns_where_there_are_no_marks() {
    let stage = Stage::with_dnsmasq();
    stage.lab.machine().ip_lines(&["rule", "add", "fwmark", "0x1000000", "table", "77"]).unwrap();
    let told = stage.run(&["why", "ap0"]);
    let told = told.output.join("\n");
    assert!(told.contains("ap0 warns: there are no firewall marks") && told.contains("0x7f000000"), "{told}");
    let ended = stage.start(&["open", "ap0"]);
    ended.wait_for("Opened");
    let ended = ended.end_by(Signal::INT);
    assert!(ended.errors.iter().any(|line| line.contains("no firewall marks")), "{ended:?}");
}

#[test]
fn a_steering_file_with_a_mistake_is_named() {
    let stage = Stage::with_dnsmasq();
    stage.write_configuration("steering.toml", "mark_fields = [\"0x3\"]\n");
    stage.run(&["list"]).assert_failed(1, "steering.toml");
}

/// Without privileges nothing can be done about it: what works is opened, with a warning, and what would not is refused.
#[test]
fn without_privileges_a_link_behind_another_is_opened_unless_replies_would_be_dropped() {
    let stage = two_links();
    let machine = stage.lab.machine();
    let why = stage.start_without_privileges(&["why", "ap1"]).end().output.join("\n");
    assert!(why.contains("ap1 warns: ap1 has no table and rules of its own") && why.contains("CAP_NET_ADMIN"), "{why}");
    assert!(!stage.run(&["why", "ap1"]).output.join("\n").contains("warns"));
    let open = stage.start_without_privileges(&["open", "ap1"]);
    open.wait_for("Opened");
    assert_eq!(open.end_by(Signal::INT).code, 0);

    machine.set_sysctl("net/ipv4/conf/ap1/rp_filter", "1").unwrap();
    let refused = stage.start_without_privileges(&["open", "ap1", "--json"]).end();
    assert_eq!(refused.code, 5, "{refused:?}");
    let told = refused.json_error();
    assert_eq!((&told["error"], &told["reason"]), (&"OperationNotSupported".into(), &"StrictReversePathFilter".into()));
    assert!(told.to_string().contains("rp_filter=2"), "{told}");
    // The one that the default route is on hears its replies, and so does whoever may make rules.
    for open in [stage.start_without_privileges(&["open", "ap0"]), stage.start(&["open", "ap1"])] {
        open.wait_for("Opened");
        assert_eq!(open.end_by(Signal::INT).code, 0);
    }
    machine.set_sysctl("net/ipv4/conf/ap1/rp_filter", "2").unwrap();
    stage.assert_as_before();
}

/// What it made beside the links of others is found by the next, and nothing of theirs is touched.
#[test]
fn what_a_killed_process_left_beside_links_of_others_is_cleared() {
    let stage = two_links();
    let left = || {
        stage.lab.machine().ip_lines(&["rule", "show"]).unwrap().iter().filter(|rule| rule.starts_with("51")).count()
    };
    for cleared_by in [["reset"].as_slice(), &["list"]] {
        let open = stage.start(&["open", "ap1"]);
        open.wait_for("Opened");
        assert_eq!(left(), 4);
        open.end_by(Signal::KILL);
        assert_eq!(left(), 4);
        assert_eq!(stage.run(cleared_by).code, 0);
        stage.assert_as_before();
    }
}

/// Only one process makes rules; the session of the other is open all the same.
#[test]
fn while_another_process_keeps_the_ledger_links_of_others_are_used_as_they_are() {
    let stage = two_links();
    let owner = stage.start(&["open", "ap0"]);
    owner.wait_for("Opened");
    let other = stage.start(&["open", "-v", "ap1"]);
    other.wait_for("Opened");
    let told = other.errors.wait_for_text("ap1 has no table and rules of its own", DEADLINE).unwrap();
    assert!(told.contains(&format!("another NetBearer process (process {})", owner.id())), "{told}");
    assert_eq!(other.end_by(Signal::INT).code, 0);
    assert_eq!(owner.end_by(Signal::INT).code, 0);
    stage.assert_as_before();
}
