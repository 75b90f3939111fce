//! Roaming at the command line: a person at a real terminal decides, or a rule.

use std::process::ChildStdin;

use netbearer_lab::{AccessPoint, AccessPointPlan, Dhcp, ECHO_PORT, INTERNET, Signal};
use serde_json::Value;

use crate::{
    daemon::end,
    stage::{DEADLINE, Ended, Running, Stage},
    terminal::{CTRL_C, CTRL_D, at_silent_terminal, type_in},
};

/// Two access points that may stand in for one another, the first one preferred.
fn stage() -> Stage {
    let stage = Stage::new(["ap0", "ap1"].map(|name| AccessPointPlan::new(name).dhcp(Dhcp::Dnsmasq)));
    for access_point in ["ap0", "ap1"] {
        stage.write_profile(access_point, "carrier_timeout = \"300ms\"");
    }
    let network = "[service_network]\nname = \"Uplink\"\nsettle = \"100ms\"\nmembers = [\"ap0\", \"ap1\"]\n";
    stage.write_configuration("profiles.d/uplink.toml", network);
    stage
}

fn preferred(stage: &Stage) -> &AccessPoint {
    stage.lab.access_point("ap0").unwrap()
}

/// A test that every access point passes.
fn reachable() -> String {
    format!("tcp://{INTERNET}:{ECHO_PORT}")
}

/// A test that none passes: nobody listens there.
fn unreachable() -> String {
    format!("tcp://{INTERNET}:9")
}

/// Waits until it is open by ap1, and then until it is offered ap0, which is back.
fn offered(stage: &Stage, roam: &Running) {
    assert!(roam.wait_for("Opened").trim_end().ends_with("with ap1"));
    preferred(stage).restore().unwrap();
    roam.wait_for("preferred to the link in use");
}

/// The program at a terminal of its own.
struct AtTerminal {
    roam: Running,
    terminal: ChildStdin,
}

impl AtTerminal {
    /// Opened by ap1, as ap0 has no cable.
    fn start(stage: &Stage, options: &str) -> Self {
        preferred(stage).cut().unwrap();
        let (roam, terminal) = at_silent_terminal(stage, &format!("roam Uplink {options}"));
        Self { roam, terminal }
    }

    /// Types something, and waits for what follows it.
    fn type_for(&mut self, keys: &str, told: &str) {
        let mark = self.roam.output.mark();
        type_in(&mut self.terminal, keys);
        self.roam.output.wait_for_text_since(mark, told, DEADLINE).unwrap();
    }

    fn end(mut self, key: &str) -> Ended {
        type_in(&mut self.terminal, key);
        self.roam.end()
    }
}

/// Nothing ends the line of a question, so it is in the line that follows it.
fn count(ended: &Ended, text: &str) -> usize {
    ended.output.iter().filter(|line| line.contains(text)).count()
}

#[test]
fn a_person_migrates_tests_again_and_accepts() {
    let stage = stage();
    let mut at = AtTerminal::start(&stage, &format!("--test {}", reachable()));
    offered(&stage, &at.roam);
    at.type_for("m\n", "TestPassed");
    at.type_for("t\n", "TestPassed");
    at.type_for("a\n", "Connected");
    let ended = at.end(CTRL_C);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(count(&ended, "Move to ap0? m to migrate, i to ignore, q to quit: "), 1, "{ended:?}");
    assert_eq!(count(&ended, "Keep ap0? t to test again, a to accept, r to reject, q to quit: "), 2, "{ended:?}");
    for (told, times) in [("migrate to native", 1), ("OnTrial", 1), ("accept native", 1), ("Roaming", 1), ("Closed", 1)]
    {
        assert_eq!(count(&ended, told), times, "{told}: {ended:?}");
    }
    stage.assert_as_before();
}

#[test]
fn a_person_is_told_that_nothing_was_tested_and_rejects() {
    let stage = stage();
    let mut at = AtTerminal::start(&stage, "");
    offered(&stage, &at.roam);
    at.type_for("x\n", "\"x\" is none of them");
    at.type_for("m\n", "nothing was tested through");
    at.type_for("r\n", "10.10.1.");
    let ended = at.end(CTRL_C);
    assert_eq!(ended.code, 0, "{ended:?}");
    stage.assert_as_before();
}

#[test]
fn what_a_person_ignores_is_not_asked_again() {
    let stage = stage();
    let mut at = AtTerminal::start(&stage, "");
    offered(&stage, &at.roam);
    at.type_for("i\n", "ignore");
    preferred(&stage).cut().unwrap();
    preferred(&stage).restore().unwrap();
    // It has gone away and come back.
    at.roam.wait_for("(offer 1)");
    // The end of input ends it as q does.
    let ended = at.end(CTRL_D);
    assert_eq!(ended.code, 0, "{ended:?}");
    stage.assert_as_before();
}

#[test]
fn a_question_is_withdrawn_with_its_offer_and_after_a_loss_says_how_much_time_is_left() {
    let stage = stage();
    let mut at = AtTerminal::start(&stage, "");
    offered(&stage, &at.roam);
    preferred(&stage).cut().unwrap();
    at.roam.wait_for("OfferWithdrawn");
    preferred(&stage).restore().unwrap();
    at.roam.wait_for("(offer 1)");
    stage.lab.access_point("ap1").unwrap().cut().unwrap();
    at.roam.wait_for("instead of the lost link");
    at.type_for("m\n", "OnTrial");
    at.type_for("a\n", "Connected");
    let ended = at.end(CTRL_C);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(count(&ended, "Go on with ap0 (10 s left)? m to migrate, i or q to end the session: "), 1, "{ended:?}");
    assert_eq!(count(&ended, "Keep ap0 (10 s left)? t to test again, a to accept"), 1, "{ended:?}");
    stage.assert_as_before();
}

/// The program away from a terminal, opened by ap1, and offered ap0.
fn decided(stage: &Stage, options: &[&str]) -> Running {
    preferred(stage).cut().unwrap();
    let roam = stage.start(&[&["roam", "Uplink"], options].concat());
    offered(stage, &roam);
    roam
}

/// What was answered is told before it is carried out. The line that tells of the latter.
fn wait_until_settled_again(roam: &Running) -> String {
    let mut times = 0;
    let settled = |line: &String| {
        times += usize::from(line.contains("Connected"));
        times == 2
    };
    roam.output.wait_for("Connected again", DEADLINE, settled).unwrap()
}

#[test]
fn a_rule_accepts_what_passes_and_rejects_what_does_not() {
    let stage = stage();
    for (test, told, answered, address) in
        [(reachable(), "TestPassed", "accept", "10.10.0."), (unreachable(), "TestFailed", "reject", "10.10.1.")]
    {
        let roam = decided(&stage, &["--test", &test]);
        roam.wait_for(told);
        roam.wait_for(answered);
        let line = wait_until_settled_again(&roam);
        assert!(line.contains(address), "{line}");
        let ended = roam.end_by(Signal::INT);
        assert_eq!(ended.code, 0, "{ended:?}");
        stage.assert_as_before();
    }
}

#[test]
fn programs_are_told_every_answer() {
    let stage = stage();
    preferred(&stage).cut().unwrap();
    let roam = stage.start(&["roam", "Uplink", "--policy", "always", "--test", &unreachable(), "--json"]);
    roam.wait_for("\"Opened\"");
    preferred(&stage).restore().unwrap();
    roam.wait_for("\"Accept\"");
    let ended = roam.end_by(Signal::TERM);
    assert_eq!(ended.code, 0, "{ended:?}");
    let objects: Vec<Value> = ended.output.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = |event: &str| objects.iter().filter(|object| object["event"] == event).collect::<Vec<_>>();
    let answers: Vec<&Value> = told("Answered").iter().map(|object| &object["answer"]).collect();
    assert_eq!(answers, ["Migrate", "Accept"], "{ended:?}");
    let tested = told("Tested");
    assert_eq!((tested.len(), &tested[0]["passed"]), (1, &false.into()), "{ended:?}");
    assert_eq!(tested[0]["target"], unreachable());
    for object in objects.iter().filter(|object| !object["access_point"].is_null()) {
        assert_eq!(object["configuration"], "service-uplink", "{object}");
    }
    stage.assert_as_before();
}

#[test]
fn a_session_that_ignores_everything_ends_with_its_link() {
    let stage = stage();
    let roam = decided(&stage, &["--policy", "never"]);
    roam.wait_for("ignore");
    stage.lab.access_point("ap1").unwrap().cut().unwrap();
    let ended = roam.end();
    ended.assert_failed(7, "its application ignored the offer of another");
    stage.assert_as_before();
}

#[test]
fn why_tells_what_was_considered_and_what_became_of_it() {
    let stage = stage();
    let service = stage.start_service();
    let roam = decided(&stage, &["--test", &reachable()]);
    wait_until_settled_again(&roam);
    stage.lab.access_point("ap0").unwrap().cut().unwrap();
    roam.wait_for("instead of the lost link");
    roam.output.wait_for_text("(offer 2)", DEADLINE).unwrap();
    assert_eq!(roam.end_by(Signal::INT).code, 0);
    let told = stage.run(&["why", "Uplink"]).output.join("\n");
    for said in [
        "does not go to ap0 yet, which is better  (state: Discovered, in use: ap1, cause: it has not been there long enough",
        "is offered ap0, which is better than ap1  (state: Discovered, offer: 1)",
        "migrates to ap0, and keeps its link meanwhile  (offer: 1)",
        "tries ap0, which is up",
        "accepts ap0, and leaves ap1",
        "has lost ap0, and roams",
        "is offered ap1, as its link is lost",
    ] {
        assert!(told.contains(said), "no \"{said}\":\n{told}");
    }
    end(service);
}

#[test]
fn what_does_not_roam_is_refused_with_its_reason() {
    let stage = stage();
    let ended = stage.run(&["roam", "ap0"]);
    ended.assert_failed(5, "ap0 does not roam");
    for (options, told) in [(["--policy", "accept-if-tested"], "--test"), (["--test", "https://x/"], "tcp://HOST:PORT")]
    {
        let ended = stage.run(&[&["roam", "Uplink"][..], &options].concat());
        assert!(ended.code == 2 && ended.errors.join("").contains(told), "{ended:?}");
    }
    stage.assert_as_before();
}
