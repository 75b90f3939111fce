//! Roaming at the command line: a person at a real terminal decides, or a rule.

use netbearer_lab::{AccessPoint, AccessPointPlan, Dhcp, ECHO_PORT, INTERNET, Signal};
use serde_json::Value;

use crate::{
    daemon::end,
    stage::{DEADLINE, Running, Stage},
    terminal::{CTRL_C, CTRL_D, Screen},
};

/// Two access points that may stand in for one another, the first one preferred.
fn stage() -> Stage {
    stage_with(Dhcp::Dnsmasq)
}

/// The same with this server behind the preferred one.
fn stage_with(dhcp: Dhcp) -> Stage {
    let plan = |(name, dhcp)| AccessPointPlan::new(name).dhcp(dhcp);
    let stage = Stage::new([("ap0", dhcp), ("ap1", Dhcp::Dnsmasq)].map(plan));
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

const MOVE: &str = "Move to ap0? m to migrate, i to ignore, q to quit: ";
const KEEP: &str = "Keep ap0? t to test again, a to accept, r to reject, q to quit: ";

/// The program at a terminal of its own, opened by ap1, as ap0 has no cable; then it is offered ap0, which is back.
fn asked(stage: &Stage, options: &str) -> Screen {
    preferred(stage).cut().unwrap();
    let mut screen = Screen::start(stage, &format!("roam Uplink {options}"));
    screen.expect("Opened");
    screen.expect("ap1");
    preferred(stage).restore().unwrap();
    screen.expect(MOVE);
    screen
}

/// Types something, and waits for each of what follows it.
#[track_caller]
fn answer(screen: &mut Screen, keys: &str, told: &[&str]) {
    screen.type_in(keys);
    for text in told {
        screen.expect(text);
    }
}

/// Ends it by a key, in order. All that was told.
#[track_caller]
fn end_by(mut screen: Screen, key: &str) -> String {
    screen.type_in(key);
    let (code, text) = screen.end();
    assert_eq!(code, 0, "{text}");
    text
}

#[test]
fn a_person_migrates_tests_again_and_accepts() {
    let stage = stage();
    let mut screen = asked(&stage, &format!("--test {}", reachable()));
    answer(&mut screen, "m\n", &["TestPassed", KEEP]);
    answer(&mut screen, "t\n", &["TestPassed", KEEP]);
    answer(&mut screen, "a\n", &["Connected"]);
    let text = end_by(screen, CTRL_C);
    for (told, times) in [
        (MOVE, 1),
        (KEEP, 2),
        ("migrate to native", 1),
        ("OnTrial", 1),
        ("accept native", 1),
        ("Roaming", 1),
        ("Closed", 1),
    ] {
        assert_eq!(text.matches(told).count(), times, "{told}: {text}");
    }
    stage.assert_as_before();
}

#[test]
fn a_person_is_told_that_nothing_was_tested_and_rejects() {
    let stage = stage();
    let mut screen = asked(&stage, "");
    answer(&mut screen, "x\n", &["\"x\" is none of them", MOVE]);
    answer(&mut screen, "m\n", &["nothing was tested through", KEEP]);
    answer(&mut screen, "r\n", &["10.10.1."]);
    end_by(screen, CTRL_C);
    stage.assert_as_before();
}

#[test]
fn a_person_sees_what_a_migration_waits_for_and_nothing_of_it_stays() {
    let stage = stage_with(Dhcp::None);
    let mut screen = asked(&stage, "");
    answer(&mut screen, "m\n", &["waiting for an address on ap0", "press Ctrl-C to close"]);
    let text = end_by(screen, CTRL_C);
    // Each picture is wiped out before a line is told.
    let last = text.rsplit("press Ctrl-C to close").next().unwrap();
    assert!(last.split("Closed").next().unwrap().contains("\u{1b}[2K"), "{text:?}");
    stage.assert_as_before();
}

#[test]
fn what_a_person_ignores_is_not_asked_again_before_it_has_gone_away_and_come_back() {
    let stage = stage();
    let mut screen = asked(&stage, "");
    answer(&mut screen, "i\n", &["ignore native-ap0"]);
    preferred(&stage).cut().unwrap();
    preferred(&stage).restore().unwrap();
    for told in ["(offer 2)", MOVE] {
        screen.expect(told);
    }
    // The end of input ends it as q does.
    let text = end_by(screen, CTRL_D);
    assert_eq!(text.matches(MOVE).count(), 2, "{text}");
    stage.assert_as_before();
}

#[test]
fn a_question_is_withdrawn_with_its_offer_and_after_a_loss_says_how_much_time_is_left() {
    let stage = stage();
    let mut screen = asked(&stage, "");
    preferred(&stage).cut().unwrap();
    screen.expect("OfferWithdrawn");
    preferred(&stage).restore().unwrap();
    for told in ["(offer 2)", MOVE] {
        screen.expect(told);
    }
    stage.lab.access_point("ap1").unwrap().cut().unwrap();
    screen.expect("instead of the lost link");
    screen.expect("Go on with ap0 (10 s left)? m to migrate, i or q to end the session: ");
    answer(&mut screen, "m\n", &["OnTrial", "Keep ap0 (10 s left)? t to test again, a to accept, r or q to end the "]);
    answer(&mut screen, "a\n", &["Connected"]);
    end_by(screen, CTRL_C);
    stage.assert_as_before();
}

#[test]
fn a_person_who_does_not_answer_in_time_gets_what_was_said_beforehand() {
    let stage = stage();
    let other = || stage.lab.access_point("ap1").unwrap();
    let mut screen = asked(&stage, "--answer-timeout 200ms");
    other().cut().unwrap();
    screen.expect("Go on with ap0 (1 s left)?");
    let (code, text) = screen.end();
    assert!(code == 7 && text.contains("did not decide about another in time"), "{code}: {text}");
    other().restore().unwrap();
    let mut screen = asked(&stage, "--answer-timeout 200ms --on-timeout migrate");
    other().cut().unwrap();
    for told in
        ["Go on with ap0 (1 s left)?", "OnTrial", "Keep ap0 (1 s left)?", "Connected         10.10.0.", "TrialOver"]
    {
        screen.expect(told);
    }
    // Nothing is asked any more.
    answer(&mut screen, "r\n", &["Nothing was asked"]);
    let text = end_by(screen, CTRL_C);
    assert!(!text.contains("Answered"), "{text}");
    stage.assert_as_before();
}

#[test]
fn what_is_typed_while_nothing_is_asked_answers_nothing() {
    let stage = stage();
    let mut screen = asked(&stage, "");
    preferred(&stage).cut().unwrap();
    screen.expect("OfferWithdrawn");
    answer(&mut screen, "m\n", &["Nothing was asked"]);
    // Neither does a line that is not read any more, nor one that has no end yet.
    screen.type_in("m\nm");
    preferred(&stage).restore().unwrap();
    for told in ["(offer 2)", "Nothing was asked", MOVE] {
        screen.expect(told);
    }
    answer(&mut screen, "\n", &["\"\" is none of them", MOVE]);
    answer(&mut screen, "i\n", &["ignore native-ap0 (offer 2)"]);
    let text = end_by(screen, CTRL_C);
    assert!(!text.contains("migrate to"), "{text}");
    stage.assert_as_before();
}

#[test]
fn an_answer_that_does_not_reach_the_service_is_told_to_programs_too() {
    let stage = stage();
    let service = stage.start_service();
    let mut screen = asked(&stage, "--json");
    assert_eq!(service.end_by(Signal::KILL).code, 137);
    for told in ["\"ServiceLost\"", MOVE] {
        screen.expect(told);
    }
    let told = ["\"Answered\"", "\"AnswerRefused\"", "\"offer\":1", "\"answer\":\"Migrate\"", "\"failure\":"];
    answer(&mut screen, "m\n", &told);
    let service = stage.start_service();
    // It has decided nothing.
    for told in ["\"ServiceBack\"", MOVE] {
        screen.expect(told);
    }
    end_by(screen, CTRL_C);
    end(service);
    stage.assert_as_before();
}

/// Waits until it is open by ap1, and then until it is offered ap0, which is back.
fn offered(stage: &Stage, roam: &Running) {
    assert!(roam.wait_for("Opened").trim_end().ends_with("with ap1"));
    preferred(stage).restore().unwrap();
    roam.wait_for("preferred to the link in use");
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
    // Why an access point is not used is in the decisions of sessions that could use it.
    let told = stage.run(&["why", "ap1"]).output.join("\n");
    for said in [" on Uplink accepts ap0, and leaves ap1", " on Uplink is offered ap1, as its link is lost"] {
        assert!(told.contains(said), "no \"{said}\":\n{told}");
    }
    assert!(!told.contains("has lost ap0"), "{told}");
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
