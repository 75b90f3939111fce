//! Answering for other programs.

use netbearer_lab::{AccessPointPlan, Dhcp, Signal};
use serde_json::Value;

use crate::{
    daemon::end,
    stage::{DEADLINE, Stage},
    terminal::{CTRL_C, at_terminal, type_in},
};

/// Two access points, and a choice between them.
fn stage() -> Stage {
    let stage = Stage::new(["ap0", "ap1"].map(|name| AccessPointPlan::new(name).dhcp(Dhcp::Dnsmasq)));
    stage.write_configuration(
        "profiles.d/where.toml",
        "[user_choice]\nname = \"Where\"\nchoices = [\"ap0\", \"ap1\"]\n",
    );
    stage
}

#[test]
fn an_agent_asks_at_its_terminal_what_other_programs_are_to_open() {
    let stage = stage();
    let service = stage.start_service();
    let (agent, mut terminal) = at_terminal(&stage, "agent");
    agent.wait_for("what other programs ask is asked here; press Ctrl-C to end");
    for (typed, came_to) in [("2\n", "ap1"), ("ap0\n", "ap0")] {
        let mark = agent.output.mark();
        let open = stage.start(&["open", "Where"]);
        agent.output.wait_for_text_since(mark, "What shall Where be?", DEADLINE).unwrap();
        agent.output.wait_for_text_since(mark, "2  ap1", DEADLINE).unwrap();
        type_in(&mut terminal, typed);
        assert!(open.wait_for("Opened").ends_with(&format!("with {came_to}")));
        agent.output.wait_for_text_since(mark, &format!("Where: {came_to}"), DEADLINE).unwrap();
        assert_eq!(open.end_by(Signal::INT).code, 0);
    }
    let mark = agent.output.mark();
    let open = stage.start(&["open", "Where"]);
    agent.output.wait_for_text_since(mark, "2  ap1", DEADLINE).unwrap();
    type_in(&mut terminal, "q\n");
    assert_eq!(open.end().code, 9);
    type_in(&mut terminal, CTRL_C);
    let ended = agent.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(!ended.output.join("\n").contains("changed meanwhile"), "{ended:?}");
    // Without it nobody is asked.
    let open = stage.start(&["open", "Where"]);
    assert!(open.wait_for("Opened").ends_with("with ap0"));
    open.end_by(Signal::INT);
    end(service);
    stage.assert_as_before();
}

#[test]
fn questions_of_several_programs_are_asked_one_after_the_other() {
    let stage = stage();
    let service = stage.start_service();
    let (agent, mut terminal) = at_terminal(&stage, "agent");
    agent.wait_for("press Ctrl-C to end");
    let first = stage.start(&["open", "Where"]);
    agent.wait_for("2  ap1");
    let second = stage.start(&["open", "Where"]);
    second.wait_for("Connecting");
    let mark = agent.output.mark();
    type_in(&mut terminal, "2\n");
    assert!(first.wait_for("Opened").ends_with("with ap1"));
    agent.output.wait_for_text_since(mark, "2  ap1", DEADLINE).unwrap();
    type_in(&mut terminal, "1\n");
    assert!(second.wait_for("Opened").ends_with("with ap0"));
    // Nobody wants the answer any more.
    let mark = agent.output.mark();
    let third = stage.start(&["open", "Where"]);
    agent.output.wait_for_text_since(mark, "2  ap1", DEADLINE).unwrap();
    assert_eq!(third.end_by(Signal::TERM).code, 143);
    // Its line is ended once it is withdrawn.
    agent.output.wait_for_text_since(mark, "A number from 1 to 2", DEADLINE).unwrap();
    type_in(&mut terminal, "2\n");
    agent.output.wait_for_text_since(mark, "Nothing was asked", DEADLINE).unwrap();
    let mark = agent.output.mark();
    let fourth = stage.start(&["open", "Where"]);
    agent.output.wait_for_text_since(mark, "2  ap1", DEADLINE).unwrap();
    type_in(&mut terminal, "1\n");
    assert!(fourth.wait_for("Opened").ends_with("with ap0"));
    type_in(&mut terminal, CTRL_C);
    assert_eq!(agent.end().code, 0);
    for open in [first, second, fourth] {
        open.end_by(Signal::INT);
    }
    end(service);
    stage.assert_as_before();
}

#[test]
fn an_agent_answers_as_it_was_told_and_also_a_service_that_came_back() {
    let stage = stage();
    let service = stage.start_service();
    let agent = stage.start(&["agent", "--choose", "ap1"]);
    let opened_with = |expected: &str| {
        let mark = agent.output.mark();
        let open = stage.start(&["open", "Where"]);
        assert!(open.wait_for("Opened").ends_with(&format!("with {expected}")));
        open.end_by(Signal::INT);
        agent.output.wait_for_text_since(mark, &format!("Where: {expected}"), DEADLINE).unwrap();
    };
    // Whoever opens before the agent is there is not told.
    agent.errors.wait_for_text("answered with ap1", DEADLINE).unwrap();
    opened_with("ap1");
    service.end_by(Signal::KILL);
    agent.errors.wait_for_text("the bearer service is away", DEADLINE).unwrap();
    let service = stage.start_service();
    agent.errors.wait_for_text("the bearer service is back", DEADLINE).unwrap();
    opened_with("ap1");
    assert_eq!(agent.end_by(Signal::INT).code, 0);
    end(service);
    stage.assert_as_before();
}

#[test]
fn an_agent_that_was_told_something_else_takes_the_most_preferred_and_tells_programs() {
    let stage = stage();
    let service = stage.start_service();
    let agent = stage.start(&["agent", "--choose", "wwan0", "--json"]);
    // It says nothing to programs before it has answered, so it is waited for by asking until it does.
    let told = stage.lab.machine().wait_until("an answer", DEADLINE, || {
        let open = stage.start(&["open", "Where"]);
        assert!(open.wait_for("Opened").ends_with("with ap0"));
        open.end_by(Signal::INT);
        Ok(agent.output.entries().first().cloned())
    });
    let told: Value = serde_json::from_str(&told.unwrap()).unwrap();
    assert_eq!(
        (&told["event"], &told["user_choice"], &told["choice"]),
        (&"Answered".into(), &"Where".into(), &"ap0".into())
    );
    assert_eq!(agent.end_by(Signal::INT).code, 0);
    end(service);
}

#[test]
fn an_agent_needs_somebody_to_ask_and_a_service() {
    let stage = stage();
    let ended = stage.run(&["agent"]);
    ended.assert_failed(2, "nobody can be asked: standard input and error are no terminal");
    ended.assert_failed(2, "bearerctl agent --choose ID");
    stage.run(&["agent", "--choose", "ap0"]).assert_failed(4, "no bearer service is running; start one: bearerd");
}
