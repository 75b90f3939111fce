use std::time::Duration;

use netbearer::Profile;
use netbearer_lab::{AccessPointPlan, Dhcp, Exchange, Fault, MessageType, Script};

use crate::stage::{AP0, DEADLINE, Stage, Watched};

/// The link may be down before the open comes, on a machine that is busy.
const MOST_TRIES: usize = 20;

/// Scenario 7: at 25 moments, each after another delay of the server's answers, or at none of them.
#[test]
fn close_at_any_moment_while_opening_cancels_it_and_leaves_nothing() {
    let stage = Stage::new([AccessPointPlan::new(AP0).dhcp(Dhcp::Scripted(Script::default()))]);
    let server = stage.ap0().dhcp_server().unwrap();
    // Every opening starts with four messages.
    let manager = stage.manager_with(Profile { dhcp_release: true, ..Profile::default() });
    let mut session = Watched::new(&manager);
    for moment in 0..25_u64 {
        server.fail(Fault::Delay(Duration::from_millis(100 * moment)));
        let before = server.exchanges().mark();
        session.open();
        session.expect(&["Connecting"]);
        // Half of them as soon as the server has heard of us, the others after what follows by itself.
        if moment % 2 == 0 {
            let is_discover = |exchange: &Exchange| exchange.kind == MessageType::Discover;
            server.exchanges().wait_for_since(before, "a DISCOVER", DEADLINE, is_discover).unwrap();
        }
        session.close();
        let mut told = vec![session.next()];
        while told.last().is_some_and(|event| event != "Disconnected") {
            told.push(session.next());
        }
        // A fast server may win the race; then the whole row is told, in order, and Opened never after Closed.
        let in_time = ["Connected", "Opened", "Closed", "Closing", "Disconnected"];
        assert!(told == ["Closed", "Closing", "Disconnected"] || told == in_time, "{moment}: {told:?}");
        session.expect_silence();
        stage.assert_as_before();
    }
}

/// A lingering link is used again at once, and goes down in the end.
#[test]
fn a_lingering_link_is_open_at_once_and_goes_down_in_time() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager_with(Profile { linger: Duration::from_millis(400), ..Profile::default() });
    let mut session = Watched::opened(&manager);
    session.close();
    session.expect(&["Closed"]);
    session.open();
    session.expect(&["Opened"]);
    session.assert_up();
    session.close();
    session.expect(&["Closed", "Closing", "Disconnected"]);
    stage.assert_as_before();
}

/// §3, "open while Closing": counted at once, served afterwards.
#[test]
fn an_open_while_the_link_is_going_down_is_served_afterwards() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    let in_time = (0..MOST_TRIES).any(|_| {
        // Both are on their way before either is answered.
        let ours: &netbearer::Session = &session.session;
        let (closed, opened) = manager.wait_for(async |_| futures_util::join!(ours.close(), ours.open()));
        closed.expect("the service answers");
        opened.expect("the open is accepted");
        session.expect(&["Closed", "Closing"]);
        let is_in_time = session.next() == "Connecting";
        session.expect_last("Opened");
        session.assert_up();
        is_in_time
    });
    assert!(in_time, "the link is never too fast {MOST_TRIES} times in a row");
}

/// Dropping the last handle is closing, and the end of the manager waits for it.
#[test]
fn dropping_everything_leaves_nothing_behind() {
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let session = Watched::opened(&manager);
    drop(session);
    drop(manager);
    stage.assert_as_before();
}
