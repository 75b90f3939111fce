//! SIGKILL leaves only what a reset or the next start cleans up.

use netbearer_lab::{AccessPointPlan, Dhcp, Signal};

use crate::stage::{DEADLINE, Stage};

#[test]
fn reset_removes_what_a_killed_process_has_left_and_says_what() {
    let stage = Stage::with_dnsmasq();
    assert_eq!(stage.opened().end_by(Signal::KILL).code, 137);
    stage.assert_changed();
    let ended = stage.run(&["reset"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let output = ended.output.join("\n");
    for told in [
        "removed rules: ",
        "removed routes: ",
        "removed address: 10.10.0.",
        "/24 on ap0",
        "set down: ap0",
        "restored: ipv6 optimistic_dad of ap0",
    ] {
        assert!(output.contains(told), "{output}");
    }
    stage.assert_as_before();
    let ended = stage.run(&["reset"]);
    assert_eq!((ended.code, ended.output.as_slice()), (0, ["nothing of ours was left here".to_owned()].as_slice()));
}

/// What a profile says of the interface itself carries no tag.
#[test]
fn the_mtu_is_as_before_after_a_killed_process() {
    let stage = Stage::with_dnsmasq();
    stage.write_profile("ap0", "mtu = 1400");
    for cleared_by in [["reset"].as_slice(), &["list"]] {
        stage.opened().end_by(Signal::KILL);
        let told = stage.lab.machine().ip_lines(&["link", "show", "ap0"]).unwrap().join("\n");
        assert!(told.contains("mtu 1400"), "{told}");
        let ended = stage.run(cleared_by);
        assert_eq!(ended.code, 0, "{ended:?}");
        if cleared_by == ["reset"] {
            assert!(ended.output.contains(&"restored: MTU of ap0".to_owned()), "{ended:?}");
        }
        stage.assert_as_before();
    }
}

#[test]
fn reset_tells_programs_what_it_removed() {
    let stage = Stage::with_dnsmasq();
    stage.opened().end_by(Signal::KILL);
    // As if it had been killed while it wrote that down once more.
    for note in stage.note_files() {
        std::fs::copy(&note, note.with_extension("new")).unwrap();
    }
    let cleared = stage.run(&["reset", "--json"]).json();
    assert!(cleared["rules"].as_u64().unwrap() > 0 && cleared["routes"].as_u64().unwrap() > 0, "{cleared}");
    assert!(cleared["addresses"][0].as_str().unwrap().ends_with("/24 on ap0"), "{cleared}");
    assert_eq!(cleared["interfaces_set_down"], serde_json::json!(["ap0"]));
    assert_eq!(cleared["refused"], serde_json::json!([]));
    stage.assert_as_before();
}

#[test]
fn the_next_start_removes_what_a_killed_process_has_left() {
    let stage = Stage::with_dnsmasq();
    stage.opened().end_by(Signal::KILL);
    stage.assert_changed();
    let ended = stage.run(&["list"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.errors.iter().any(|line| line.contains("cleared what a killed process had left")), "{ended:?}");
    stage.assert_as_before();
}

/// A process that was there before the other was killed takes over nothing of it: not its link, its table or its mark.
#[test]
fn a_killed_process_has_left_what_is_known_again_by_another_hardware_address() {
    const ADDRESS: &str = "02:00:5e:10:00:99";
    let stage = Stage::with_dnsmasq();
    let open = stage.opened();
    stage.lab.machine().command("ip").args(["link", "set", "ap0", "address", ADDRESS]).output().unwrap();
    let [note] = &stage.note_files()[..] else { panic!("one interface is noted") };
    let is_noted = |text: Option<&str>| text.is_some_and(|text| text.contains(ADDRESS));
    stage.lab.machine().wait_for_file(note.to_str().unwrap(), DEADLINE, is_noted).unwrap();
    open.end_by(Signal::KILL);
    let ended = stage.run(&["reset"]);
    assert!(ended.output.iter().any(|line| line.contains("set down: ap0")), "{ended:?}");
    assert!(!stage.lab.machine().is_administratively_up("ap0").unwrap());
}

#[test]
fn a_process_that_only_watched_clears_what_a_killed_one_has_left_before_it_opens() {
    let stage = Stage::new(["ap0", "ap1"].map(|name| AccessPointPlan::new(name).dhcp(Dhcp::Dnsmasq)));
    let open = stage.opened();
    let manager = stage.manager();
    let second = manager.session(&manager.find(Some("ap1")).unwrap()).unwrap();
    assert_eq!(open.end_by(Signal::KILL).code, 137);
    stage.assert_changed();
    second.open().unwrap();
    assert_eq!(second.wait_for_opened(Some(DEADLINE)), Ok(true));
    assert!(!stage.lab.machine().is_administratively_up("ap0").unwrap());
    let rules = stage.lab.machine().command("ip").args(["rule", "show"]).output().unwrap();
    assert!(rules.contains("oif ap1") && !rules.contains("oif ap0"), "{rules}");
    // The other access point is as good as new.
    let first = manager.session(&manager.find(Some("ap0")).unwrap()).unwrap();
    first.open().unwrap();
    assert_eq!(first.wait_for_opened(Some(DEADLINE)), Ok(true));
    drop((first, second));
    manager.shutdown();
    stage.assert_as_before();
}
