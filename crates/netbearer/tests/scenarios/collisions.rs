//! Marks and tables that other programs use already.

use std::net::{IpAddr, Ipv4Addr};

use netbearer::ManagerEvent;
use netbearer_lab::AccessPointPlan;
use socket2::SockRef;

use crate::{
    stage::{AP0, DEADLINE, Manager, Stage, Watched},
    tunnel::{answered_by, socket},
};

/// About a value that access points could have in the field we have without a configuration.
const FOREIGN: &str = "priority 32000 fwmark 0x5000000/0xff000000 table 77";

fn warnings(manager: &Manager, session: &Watched) -> Vec<String> {
    let identifier = session.session.configuration().identifier;
    manager.wait_for(async |manager| manager.steering(&identifier).await).unwrap().unwrap().warnings
}

fn answered_by_mark(mark: u32) -> String {
    let marked = socket(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    SockRef::from(&marked).set_mark(mark).unwrap();
    answered_by(&marked)
}

#[test]
fn the_next_field_is_taken_where_rules_of_others_are_about_the_first() {
    let mut stage = Stage::with_dnsmasq();
    stage.write_configuration("steering.toml", "first_table = 30000\nmark_fields = [\"0x7f000000\", \"0x7f0000\"]\n");
    stage.ip(&format!("rule add {FOREIGN}"));
    stage.remember();
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    let rules = stage.rules();
    assert!(rules.contains("fwmark 0x10000/0x7f0000 lookup 30001 "), "{rules}");
    assert!(!rules.contains("/0x7f000000"), "{rules}");
    session.assert_up();
    // Without that rule there would be no other way.
    stage.ip("route delete default");
    assert_eq!(answered_by_mark(0x1_0000), AP0);
    assert_eq!(warnings(&manager, &session), [""; 0]);
    session.close();
    session.expect_last("Disconnected");
    stage.assert_as_before();
}

#[test]
fn without_any_free_field_there_are_no_marks_and_bound_sockets_go_on() {
    let mut stage = Stage::with_dnsmasq();
    stage.ip(&format!("rule add {FOREIGN}"));
    stage.remember();
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    session.assert_up();
    let has_marks = |rules: &str| rules.contains("5110:") || rules.contains("5111:");
    assert!(stage.rules().contains("5100:") && !has_marks(&stage.rules()), "{}", stage.rules());
    let told = warnings(&manager, &session);
    assert!(
        matches!(told.as_slice(), [only] if only.contains("0x7f000000") && only.contains("steering.toml")),
        "{told:?}"
    );

    // They come and go with the rule that is in their way.
    let mut conversation = session.connect();
    for _ in 0..3 {
        stage.ip(&format!("rule delete {FOREIGN}"));
        stage.wait_for_rules("marks", has_marks);
        assert_eq!(answered_by_mark(0x100_0000), AP0);
        stage.ip(&format!("rule add {FOREIGN}"));
        stage.wait_for_rules("no marks", |rules| !has_marks(rules));
        crate::stage::assert_alive(&mut conversation);
    }
    session.expect_silence();
    session.close();
    session.expect_last("Disconnected");
    stage.assert_as_before();
}

/// Whoever looks one up, or has a route in it.
#[test]
fn tables_of_others_are_passed_over() {
    let mut stage = Stage::with_dnsmasq();
    stage.ip("route add blackhole 203.0.113.0/24 table 21001");
    stage.ip("rule add from 203.0.113.7 table 21002");
    stage.remember();
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    assert!(stage.rules().contains("oif ap0 lookup 21003 "), "{}", stage.rules());
    session.assert_up();
    session.close();
    session.expect_last("Disconnected");
    stage.assert_as_before();
}

/// Of a link of others nothing is noted, as nothing of ours is beside it, until a table is free.
#[test]
fn without_any_free_table_a_link_of_others_is_left_alone_and_the_warning_says_so() {
    let mut stage = Stage::new([AP0, "ap1"].map(AccessPointPlan::new));
    stage.configure_link_by_hand(AP0, 100);
    stage.configure_link_by_hand("ap1", 200);
    for table in 21_001..=21_127 {
        stage.ip(&format!("route add blackhole 203.0.113.0/24 table {table}"));
    }
    stage.remember();
    let manager = stage.manager();
    let mut session = Watched::new(&manager);
    session.open();
    session.expect(&["Opened"]);
    // All that was to be said of it has been said by the end of an update.
    let mut events = manager.events();
    manager.wait_for(async |manager| manager.update_configurations().await).unwrap();
    while events.next_within(DEADLINE).expect("the update ends") != ManagerEvent::UpdateCompleted {}
    let told = warnings(&manager, &session);
    assert!(told.iter().any(|warning| warning.contains("every routing table")), "{told:?}");
    assert_eq!(stage.notes(), "");
    stage.ip("route delete blackhole 203.0.113.0/24 table 21007");
    stage.wait_for_rules("a rule of ours", |rules| rules.contains("lookup 21007"));
    assert!(stage.notes().contains(AP0));
    session.close();
    session.expect(&["Closed"]);
    stage.wait_for_rules("no rule of ours", |rules| !rules.contains("lookup 21007"));
    manager.shutdown();
    assert_eq!(stage.notes(), "");
}
