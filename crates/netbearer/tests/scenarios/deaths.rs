//! Holders and daemons that are killed.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use netbearer::{CallError, SessionState};
use netbearer_holder::{Line, Order};
use netbearer_lab::{AccessPointPlan, Conversation, Dhcp, Fault, Script, Signal};

use crate::{
    holders::Holder,
    only_served,
    stage::{AP0, DEADLINE, Manager, Stage, Watched, assert_alive, plain_connection},
};

const AP1: &str = "ap1";
/// What the scenario promises.
const PROMISED: Duration = Duration::from_millis(50);
/// Processors are shared with other tests; a figure beyond the promise is printed, and one beyond this is a failure.
const BOUND: Duration = Duration::from_secs(1);
/// The best of so many is as fast as promised.
const ROUNDS: usize = 5;

/// Has something happen that ends what is told to a watcher, as often as it takes to judge how fast that is.
fn assert_fast(what: &str, mut round: impl FnMut() -> Duration) {
    let took: Vec<Duration> = (0..ROUNDS).map(|_| round()).collect();
    println!("{what}: {took:?}; promised are {PROMISED:?}");
    assert!(took.iter().all(|took| *took < BOUND), "{what}: {took:?}");
    assert!(took.iter().any(|took| *took <= PROMISED), "{what}: {took:?}");
}

fn conversation() -> Conversation {
    Conversation::over(plain_connection().unwrap(), DEADLINE).unwrap()
}

/// The number of sessions that hold something, as the service lists them.
fn holding(manager: &Manager) -> usize {
    let sessions = manager.wait_for(async |manager| manager.sessions().await).unwrap();
    sessions.iter().filter(|session| session.is_open || session.is_opening).count()
}

/// Scenario 4, alone.
#[test]
fn the_hold_of_a_killed_process_is_gone_at_once() {
    if only_served() {
        return;
    }
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut watcher = Watched::new(&manager);
    assert_fast("Closing after the kill", || {
        let holder = Holder::opened_on(&stage, &manager, AP0);
        watcher.expect(&["Connecting", "Connected"]);
        let killed = Instant::now();
        holder.kill();
        watcher.expect(&["Closing"]);
        let took = killed.elapsed();
        watcher.expect(&["Disconnected"]);
        stage.assert_as_before();
        took
    });
    assert_eq!(holding(&manager), 0);
}

/// Scenario 4, as one of several.
#[test]
fn of_several_holders_only_the_killed_one_loses_its_hold() {
    if only_served() {
        return;
    }
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut ours = Watched::opened(&manager);
    let mut other = Holder::opened_on(&stage, &manager, AP0);
    let mut conversation = ours.assert_up();
    for _ in 0..ROUNDS {
        let killed = Holder::opened_on(&stage, &manager, AP0);
        assert_eq!(holding(&manager), 3);
        killed.kill();
        let mut news = manager.news();
        while holding(&manager) > 2 {
            assert!(news.changed_within(DEADLINE).unwrap(), "its hold goes");
        }
        assert_alive(&mut conversation);
    }
    ours.expect_silence();
    other.expect_silence(0);
    ours.close();
    ours.expect(&["Closed"]);
    let killed = Instant::now();
    other.kill();
    ours.expect(&["Closing", "Disconnected"]);
    assert!(killed.elapsed() < BOUND, "{:?}", killed.elapsed());
    stage.assert_as_before();
}

/// Scenario 4, while Connecting.
#[test]
fn the_opening_of_a_killed_process_is_cancelled_at_once() {
    if only_served() {
        return;
    }
    let stage = Stage::new([AccessPointPlan::new(AP0).dhcp(Dhcp::Scripted(Script::default()))]);
    stage.ap0().dhcp_server().unwrap().fail(Fault::Silent);
    let manager = stage.manager();
    let mut watcher = Watched::new(&manager);
    assert_fast("Closing after the kill", || {
        let mut holder = Holder::start(&stage, &manager);
        holder.session(AP0);
        holder.open(0);
        watcher.expect(&["Connecting"]);
        let killed = Instant::now();
        holder.kill();
        watcher.expect(&["Closing"]);
        let took = killed.elapsed();
        watcher.expect(&["Disconnected"]);
        stage.assert_as_before();
        took
    });
}

/// Scenario 40.
#[test]
fn a_killed_daemon_leaves_links_up_and_the_next_one_goes_on_with_all_sessions() {
    if only_served() {
        return;
    }
    let stage = Stage::new([AP0, AP1].map(|name| AccessPointPlan::new(name).dhcp(Dhcp::Dnsmasq)));
    let manager = stage.manager();
    let mut ours = Watched::opened(&manager);
    let mut watcher = Watched::new(&manager);
    let [mut other, mut dying] = [AP0, AP1].map(|name| Holder::opened_on(&stage, &manager, name));
    let mut lost = Watched::opened_on(&manager, AP1);
    let mut conversation = ours.assert_up();
    for round in 0..3 {
        let (rules, routes, address) = (stage.rules(), stage.routes(), stage.address_of(AP0));
        stage.kill_daemon(&manager);
        ours.expect(&["ServiceLost"]);
        // What is up stays up, and what was told last is told on.
        assert_alive(&mut conversation);
        ours.connect();
        assert_eq!((stage.rules(), stage.routes(), stage.address_of(AP0)), (rules, routes, address.clone()));
        assert!(ours.session.is_open());
        assert_eq!(ours.session.state(), SessionState::Connected);
        assert_eq!(watcher.session.open(), Err(CallError::ServiceLost));
        stage.start_daemon_again(&manager);
        ours.expect(&["ServiceBack"]);
        ours.expect_silence();
        assert_alive(&mut conversation);
        ours.assert_up();
        assert_eq!(stage.address_of(AP0), address);
        watcher.expect(&["ServiceLost", "ServiceBack"]);
        other.expect(0, &["ServiceLost", "ServiceBack"]);
        dying.expect(0, &["ServiceLost", "ServiceBack"]);
        lost.expect(&["ServiceLost", "ServiceBack"]);
        assert_eq!(holding(&manager), 4, "round {round}");
    }
    // The counts are the same.
    other.close(0);
    other.expect(0, &["Closed"]);
    ours.expect_silence();
    assert_alive(&mut conversation);

    // Meanwhile a client dies, and a link is lost: both are seen, and told as differences.
    stage.kill_daemon(&manager);
    ours.expect(&["ServiceLost"]);
    dying.kill();
    stage.lab.access_point(AP1).unwrap().cut().unwrap();
    stage.start_daemon_again(&manager);
    ours.expect(&["ServiceBack"]);
    ours.expect_silence();
    assert_alive(&mut conversation);
    lost.expect_last("ServiceLost");
    lost.expect_last("Closed");
    assert!(!lost.session.is_open());
    assert_eq!(holding(&manager), 1);
    stage.lab.access_point(AP1).unwrap().restore().unwrap();
    ours.close();
    ours.expect(&["Closed", "Closing", "Disconnected"]);
    drop((ours, watcher, lost, other));
    manager.shutdown();
    stage.assert_as_before();
}

/// Scenario 40: who closes while the daemon is away has closed.
#[test]
fn who_closes_while_the_daemon_is_away_has_closed_when_it_is_back() {
    if only_served() {
        return;
    }
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut ours = Watched::opened(&manager);
    let mut watcher = Watched::new(&manager);
    stage.kill_daemon(&manager);
    ours.expect(&["ServiceLost"]);
    ours.close();
    ours.expect(&["Closed"]);
    assert!(!ours.session.is_open());
    assert!(stage.address_of(AP0).is_some(), "nobody is there to take it down");
    stage.start_daemon_again(&manager);
    watcher.expect(&["ServiceLost"]);
    watcher.expect_last("Disconnected");
    stage.assert_as_before();
}

/// Scenario 40: of a state file that was half written, what was whole counts.
#[test]
fn what_a_daemon_wrote_before_it_was_killed_while_writing_counts() {
    if only_served() {
        return;
    }
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut ours = Watched::opened(&manager);
    let mut conversation = ours.assert_up();
    for damage in ["a torn line", "a torn snapshot"] {
        stage.kill_daemon(&manager);
        ours.expect(&["ServiceLost"]);
        let newest = newest_generation(&stage);
        if damage == "a torn line" {
            let log = stage.runtime_directory().join(format!("ledger-{newest}.log"));
            let mut log = fs::File::options().append(true).open(log).unwrap();
            log.write_all(b"{\"session\":{\"iden").unwrap();
        } else {
            // A newer one, of which only a part came to be written.
            let directory = stage.runtime_directory();
            let whole = fs::read(directory.join(format!("ledger-{newest}.json"))).unwrap();
            fs::write(directory.join(format!("ledger-{}.json", newest + 1)), &whole[..whole.len() / 2]).unwrap();
        }
        stage.start_daemon_again(&manager);
        ours.expect(&["ServiceBack"]);
        ours.expect_silence();
        assert!(ours.session.is_open(), "{damage}");
        assert_alive(&mut conversation);
        assert_eq!(holding(&manager), 1, "{damage}");
    }
    ours.close();
    ours.expect(&["Closed", "Closing", "Disconnected"]);
    stage.assert_as_before();
}

/// The number of the newest state file.
fn newest_generation(stage: &Stage) -> u64 {
    let entries = fs::read_dir(stage.runtime_directory()).unwrap();
    let number = |name: String| name.strip_prefix("ledger-")?.strip_suffix(".json")?.parse::<u64>().ok();
    let numbers = entries.filter_map(|entry| number(entry.unwrap().file_name().to_string_lossy().into_owned()));
    numbers.max().expect("there is a state file")
}

/// Scenario 51: what a child has without being given it.
#[test]
fn a_child_inherits_no_hold() {
    if only_served() {
        return;
    }
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut session = Watched::opened(&manager);
    let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
    session.close();
    session.expect(&["Closed", "Closing", "Disconnected"]);
    stage.assert_as_before();
    assert!(child.try_wait().unwrap().is_none(), "it still runs");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// How a parent's part of a hold ends that it has passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Close,
    Kill,
}

/// Scenario 51: whatever becomes of who passed it on, and of the daemon.
#[test]
fn a_hold_that_was_passed_on_keeps_the_link_until_its_last_copy_goes() {
    if only_served() {
        return;
    }
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut watcher = Watched::new(&manager);
    for (number, end) in [End::Close, End::Kill].into_iter().enumerate() {
        let mut parent = Holder::opened_on(&stage, &manager, AP0);
        watcher.expect(&["Connecting", "Connected"]);
        let mut conversation = conversation();
        let mut child = Holder::start(&stage, &manager);
        let socket = stage.directory().join(format!("passing-{number}"));
        let receive = Order::Receive(socket.clone());
        let since = child.begin(&receive);
        child.wait_for(since, "it listens", |line| *line == Line::Listening);
        parent.give(Order::Hold(0)).unwrap();
        parent.give(Order::Send(0, socket)).unwrap();
        child.finish(since, &receive).unwrap();
        parent.give(Order::Release(0)).unwrap();
        match end {
            End::Close => {
                parent.close(0);
                parent.expect(0, &["Closed"]);
                parent.expect_silence(0);
                parent.end();
            }
            End::Kill => parent.kill(),
        }
        assert_alive(&mut conversation);
        watcher.expect_silence();
        assert_eq!(holding(&manager), 1, "{end:?}");
        stage.kill_daemon(&manager);
        assert_alive(&mut conversation);
        stage.start_daemon_again(&manager);
        watcher.expect(&["ServiceLost", "ServiceBack"]);
        watcher.expect_silence();
        assert_eq!(holding(&manager), 1, "{end:?}");
        assert_alive(&mut conversation);
        child.give(Order::Release(0)).unwrap();
        watcher.expect(&["Closing", "Disconnected"]);
        stage.assert_as_before();
        child.end();
    }
}

/// Semantics §4: a stopped client keeps its network, and sees what is true when it goes on.
#[test]
fn a_stopped_client_keeps_its_hold_disturbs_nobody_and_then_sees_what_is_true() {
    if only_served() {
        return;
    }
    let stage = Stage::new([AP0, AP1].map(|name| AccessPointPlan::new(name).dhcp(Dhcp::Dnsmasq)));
    let manager = stage.manager();
    let mut stopped = Holder::opened_on(&stage, &manager, AP0);
    let watching = stopped.session(AP1);
    let mut conversation = conversation();
    let mut ours = Watched::on(&manager, AP1);
    stopped.signal(Signal::STOP);
    let begin = Instant::now();
    for _ in 0..50 {
        ours.open();
        ours.expect(&["Connecting", "Connected", "Opened"]);
        ours.close();
        ours.expect(&["Closed", "Closing", "Disconnected"]);
    }
    println!("50 openings beside a stopped client took {:?}", begin.elapsed());
    ours.open();
    ours.expect(&["Connecting", "Connected", "Opened"]);
    assert_alive(&mut conversation);
    assert_eq!(holding(&manager), 2);
    stopped.signal(Signal::CONT);
    assert_eq!(stopped.ask(watching).state, SessionState::Connected);
    let told = stopped.ask(0);
    assert!(told.is_open && told.state == SessionState::Connected, "{told:?}");
    stopped.end();
    ours.close();
    ours.expect(&["Closed", "Closing", "Disconnected"]);
    drop((ours, conversation));
    manager.shutdown();
    stage.assert_as_before();
}

/// Semantics §4: who reads nothing for too long is cut off, and keeps its network all the same.
#[test]
fn a_stopped_client_that_is_cut_off_keeps_its_hold_and_comes_back_by_itself() {
    const WATCHERS: usize = 100;
    if only_served() {
        return;
    }
    let stage = Stage::new([AP0, AP1].map(|name| AccessPointPlan::new(name).dhcp(Dhcp::Dnsmasq)));
    let manager = stage.start(|setup| setup.patience(Duration::from_millis(700)));
    let mut stopped = Holder::start_by_socket(&stage, &manager);
    let holding = stopped.session(AP0);
    stopped.open(holding);
    stopped.expect(holding, &["Connecting", "Connected", "Opened"]);
    let watching = [(); WATCHERS].map(|()| stopped.session(AP1));
    let mut conversation = conversation();
    let mut ours = Watched::on(&manager, AP1);
    stopped.signal(Signal::STOP);
    let has_owner = || {
        let sessions = manager.wait_for(async |manager| manager.sessions().await).unwrap();
        sessions.iter().any(|session| session.is_open && session.owned)
    };
    let mut news = manager.news();
    let begin = Instant::now();
    while has_owner() {
        // More than sockets hold.
        for _ in 0..3 {
            ours.open();
            ours.expect(&["Connecting", "Connected", "Opened"]);
            ours.close();
            ours.expect(&["Closed", "Closing", "Disconnected"]);
        }
        news.changed_within(Duration::from_millis(300)).unwrap();
        assert!(begin.elapsed() < DEADLINE, "it is not cut off");
    }
    println!("cut off after {:?}", begin.elapsed());
    assert_alive(&mut conversation);
    ours.open();
    ours.expect(&["Connecting", "Connected", "Opened"]);
    stopped.signal(Signal::CONT);
    stopped.expect_last(holding, "ServiceBack");
    let told = stopped.ask(holding);
    assert!(told.is_open && told.state == SessionState::Connected, "{told:?}");
    assert!(!stopped.told(holding).contains(&"Closed".to_owned()), "{:?}", stopped.told(holding));
    for session in watching {
        assert_eq!(stopped.ask(session).state, SessionState::Connected);
    }
    assert_alive(&mut conversation);
    ours.close();
    ours.expect(&["Closed", "Closing", "Disconnected"]);
    stopped.close(holding);
    stopped.expect_last(holding, "Disconnected");
    drop((ours, conversation));
    manager.shutdown();
    stage.assert_as_before();
}
