//! One ledger for the machine: sessions of several processes and users on one access point.

use netbearer::{Identifier, ManagerEvent, SessionState, StateFlags};
use netbearer_holder::Order;
use netbearer_lab::{AccessPointPlan, Conversation, Dhcp};

use crate::{
    choice::{Choice, rounds},
    holders::{Holder, User},
    only_served,
    stage::{AP0, DEADLINE, Manager, Stage, Watched, assert_alive, plain_connection},
    stopping::assert_row_of_the_table,
};

/// How many processes open and close at random, and how often.
const CROWD: usize = 10;
const TURNS: usize = 30;

/// A connection of a program that knows nothing of sessions.
fn conversation() -> Conversation {
    Conversation::over(plain_connection().unwrap(), DEADLINE).unwrap()
}

/// Reads until the session is told that it is in this state.
fn wait_for(watcher: &mut Watched, state: SessionState) {
    while watcher.session.state() != state {
        watcher.next();
    }
}

/// Scenario 3.
#[test]
fn the_link_stays_up_until_the_last_of_two_processes_closes() {
    if only_served() {
        return;
    }
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut watcher = Watched::new(&manager);
    let [mut first, mut second] = [(); 2].map(|()| Holder::start(&stage, &manager));
    for holder in [&mut first, &mut second] {
        holder.session(AP0);
    }
    first.open(0);
    first.expect(0, &["Connecting", "Connected", "Opened"]);
    second.expect(0, &["Connecting", "Connected"]);
    second.open(0);
    second.expect(0, &["Opened"]);
    let mut conversation = conversation();
    first.close(0);
    first.expect(0, &["Closed"]);
    first.expect_silence(0);
    second.expect_silence(0);
    watcher.expect(&["Connecting", "Connected"]);
    assert_alive(&mut conversation);
    second.close(0);
    second.expect(0, &["Closed", "Closing", "Disconnected"]);
    first.expect(0, &["Closing", "Disconnected"]);
    watcher.expect(&["Closing", "Disconnected"]);
    stage.assert_as_before();
    // Who ends without closing has closed.
    first.open(0);
    first.expect(0, &["Connecting", "Connected", "Opened"]);
    first.end();
    watcher.expect(&["Connecting", "Connected", "Closing", "Disconnected"]);
    stage.assert_as_before();
}

/// Scenario 3: whoever is nobody's neighbour counts the same.
#[test]
fn the_link_stays_up_until_the_last_of_two_users_closes() {
    if only_served() {
        return;
    }
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut ours = Watched::opened(&manager);
    let mut theirs = Holder::start_as(User::Member, &stage, &manager);
    theirs.session(AP0);
    theirs.open(0);
    theirs.expect(0, &["Opened"]);
    let mut conversation = conversation();
    ours.close();
    ours.expect(&["Closed"]);
    ours.expect_silence();
    assert_alive(&mut conversation);
    ours.open();
    ours.expect(&["Opened"]);
    theirs.end();
    ours.expect_silence();
    assert_alive(&mut conversation);
    ours.close();
    ours.expect(&["Closed", "Closing", "Disconnected"]);
    stage.assert_as_before();
}

/// Scenario 3: all at the same time, in whatever order; the link is up while anybody holds it, and only then.
#[test]
fn ten_processes_that_open_and_close_at_random_keep_the_link_up_while_one_of_them_holds_it() {
    if only_served() {
        return;
    }
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut watcher = Watched::new(&manager);
    let mut holders: Vec<Holder> = (0..CROWD).map(|_| Holder::start(&stage, &manager)).collect();
    for holder in &mut holders {
        holder.session(AP0);
    }
    let mut choice = Choice::new(7);
    let mut holds = [false; CROWD];
    for turn in 0..TURNS {
        // At last all close.
        let is_last = turn + 1 == TURNS;
        let mut begun = Vec::new();
        for (who, holder) in holders.iter_mut().enumerate() {
            if is_last || choice.below(3) > 0 {
                let opens = !is_last && choice.below(2) == 0;
                let order = if opens { Order::Open(0) } else { Order::Close(0) };
                begun.push((who, opens, holder.begin(&order), order));
            }
        }
        for (who, opens, since, order) in begun {
            holders[who].finish(since, &order).unwrap();
            holds[who] = opens;
        }
        for (who, holder) in holders.iter_mut().enumerate() {
            if holds[who] {
                holder.wait_until_open(0);
            }
            assert_eq!(holder.ask(0).is_open, holds[who], "process {who} in turn {turn}");
        }
        let is_held = holds.contains(&true);
        wait_for(&mut watcher, if is_held { SessionState::Connected } else { SessionState::Disconnected });
        assert_eq!(stage.address_of(AP0).is_some(), is_held, "turn {turn}");
    }
    for holder in holders {
        assert!(!holder.told(0).iter().any(|event| event.starts_with("Error")), "{:?}", holder.told(0));
        holder.end();
    }
    stage.assert_as_before();
}

/// Scenario 8: each is told what the table of semantics §3 says, whichever process it is in.
#[test]
fn stop_aborts_the_sessions_of_every_process() {
    if only_served() {
        return;
    }
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut watcher = Watched::new(&manager);
    for caller_was_open in [true, false] {
        let [mut caller, mut other] = [(); 2].map(|()| Holder::start(&stage, &manager));
        let mut ours = Watched::opened(&manager);
        for holder in [&mut caller, &mut other] {
            holder.session(AP0);
        }
        other.open(0);
        other.expect(0, &["Opened"]);
        if caller_was_open {
            caller.open(0);
            caller.expect(0, &["Opened"]);
        }
        caller.give(Order::Stop(0)).unwrap();
        caller.expect(
            0,
            if caller_was_open { &["Closed", "Closing", "Disconnected"] } else { &["Closing", "Disconnected"] },
        );
        other.expect(0, &["Closing", "Error(SessionAborted)", "Closed", "Disconnected"]);
        ours.expect(&["Closing", "Error(SessionAborted)", "Closed", "Disconnected"]);
        watcher.expect(&["Connecting", "Connected", "Closing", "Disconnected"]);
        for holder in [&mut caller, &mut other] {
            holder.expect_silence(0);
        }
        // On an inactive one nothing happens.
        caller.give(Order::Stop(0)).unwrap();
        caller.expect_silence(0);
        watcher.expect_silence();
        stage.assert_as_before();
    }
}

/// Scenario 9.
#[test]
fn stop_without_the_right_closes_only_the_callers_own_session() {
    if only_served() {
        return;
    }
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut ours = Watched::opened(&manager);
    let mut conversation = ours.assert_up();
    let mut theirs = Holder::start_as(User::Member, &stage, &manager);
    theirs.session(AP0);
    theirs.open(0);
    theirs.expect(0, &["Opened"]);
    let (kind, sentence) = theirs.give(Order::Stop(0)).unwrap_err();
    assert_eq!(kind, "Denied", "{sentence}");
    assert!(sentence.contains("org.netbearer.control"), "{sentence}");
    let told = theirs.ask(0);
    assert!(!told.is_open);
    let mut events = [theirs.next(0).0, theirs.next(0).0];
    events.sort();
    assert_eq!(events, ["Closed", "Error(OperationNotSupported)"]);
    theirs.expect_silence(0);
    ours.expect_silence();
    assert_alive(&mut conversation);
    // Nor does one who never was open.
    let watching = theirs.session(AP0);
    assert_eq!(theirs.give(Order::Stop(watching)).unwrap_err().0, "Denied");
    ours.expect_silence();
    assert_alive(&mut conversation);
}

/// Semantics §8: who may not open is told so, and nothing changes.
#[test]
fn open_without_the_right_is_refused_and_changes_nothing() {
    if only_served() {
        return;
    }
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut watcher = Watched::new(&manager);
    let mut stranger = Holder::start_as(User::Stranger, &stage, &manager);
    stranger.session(AP0);
    let (kind, sentence) = stranger.give(Order::Open(0)).unwrap_err();
    assert_eq!(kind, "Denied", "{sentence}");
    assert!(sentence.contains("group"), "{sentence}");
    stranger.expect(0, &["Error(OperationNotSupported)"]);
    stranger.expect_silence(0);
    watcher.expect_silence();
    stage.assert_as_before();
    // Watching is for all.
    let mut ours = Watched::opened(&manager);
    stranger.expect(0, &["Connecting", "Connected"]);
    ours.close();
    ours.expect(&["Closed", "Closing", "Disconnected"]);
    stranger.expect(0, &["Closing", "Disconnected"]);
}

/// Scenario 37.
#[test]
fn what_another_process_opens_and_closes_is_told_as_active_and_discovered() {
    if only_served() {
        return;
    }
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut events = manager.events();
    let identifier = manager.find(Some(AP0)).unwrap().identifier;
    let mut next = || events.next_within(DEADLINE).expect("it is told");
    let changed = |event: ManagerEvent, flags: StateFlags| match event {
        ManagerEvent::ConfigurationChanged { configuration } => {
            assert_eq!((&configuration.identifier, configuration.state_flags), (&identifier, flags));
        }
        other => panic!("{other:?}"),
    };
    let mut holder = Holder::start(&stage, &manager);
    holder.session(AP0);
    for _ in 0..2 {
        holder.open(0);
        changed(next(), StateFlags::Active);
        assert_eq!(next(), ManagerEvent::OnlineStateChanged { online: true });
        assert_eq!(flags(&manager, &identifier), StateFlags::Active);
        holder.expect(0, &["Connecting", "Connected", "Opened"]);
        holder.close(0);
        holder.expect(0, &["Closed", "Closing", "Disconnected"]);
        let mut left = [next(), next()];
        left.sort_by_key(|event| matches!(event, ManagerEvent::OnlineStateChanged { .. }));
        let [discovered, offline] = left;
        changed(discovered, StateFlags::Discovered);
        assert_eq!(offline, ManagerEvent::OnlineStateChanged { online: false });
        assert_eq!(flags(&manager, &identifier), StateFlags::Discovered);
    }
}

fn flags(manager: &Manager, identifier: &Identifier) -> StateFlags {
    manager.wait_for(async |manager| manager.configuration(identifier).await).unwrap().state_flags
}

/// Scenario 48, with three processes.
#[test]
fn stop_and_close_by_three_processes_while_connecting_never_let_a_late_opened_through() {
    if only_served() {
        return;
    }
    let stage = Stage::with_dnsmasq();
    let manager = stage.manager();
    let mut holders = [(); 3].map(|()| Holder::start(&stage, &manager));
    for holder in &mut holders {
        holder.session(AP0);
    }
    for seed in 0..rounds() / 10 {
        let mut choice = Choice::new(seed);
        let opened: Vec<_> = holders.iter_mut().map(|holder| holder.begin(&Order::Open(0))).collect();
        for (holder, since) in holders.iter().zip(opened) {
            holder.finish(since, &Order::Open(0)).unwrap();
        }
        let mut told: [Vec<String>; 3] = Default::default();
        let mut left = vec![0, 1, 2];
        let mut begun = Vec::new();
        while !left.is_empty() {
            let who = left.swap_remove(choice.below(left.len()));
            if choice.below(2) == 0 {
                // Lets the bring-up come as far as it may meanwhile.
                told[who].push(holders[who].next(0).0);
            }
            let order = if choice.below(3) == 0 { Order::Stop(0) } else { Order::Close(0) };
            begun.push((who, holders[who].begin(&order), order));
        }
        for (who, since, order) in begun {
            holders[who].finish(since, &order).unwrap();
        }
        for (holder, told) in holders.iter_mut().zip(&mut told) {
            while told.last().is_none_or(|event| event != "Disconnected") {
                told.push(holder.next(0).0);
            }
            holder.expect_silence(0);
            assert_row_of_the_table(told, seed);
        }
    }
    stage.assert_as_before();
}

/// Scenario 54: what others keep up stays byte for byte as it is.
#[test]
fn a_link_of_others_is_the_same_after_ten_processes_have_had_it_and_the_daemon_was_killed() {
    if only_served() {
        return;
    }
    let mut stage = Stage::new([AccessPointPlan::new(AP0).dhcp(Dhcp::None)]);
    let manager = stage.manager();
    let mut watcher = Watched::new(&manager);
    stage.configure_by_hand();
    stage.remember();
    watcher.expect_last("Connected");
    let mut holders: Vec<Holder> = (0..CROWD).map(|_| Holder::start(&stage, &manager)).collect();
    let mut conversation = conversation();
    for holder in &mut holders {
        holder.session(AP0);
        holder.open(0);
        holder.expect(0, &["Opened"]);
    }
    stage.assert_as_before();
    stage.kill_daemon(&manager);
    stage.assert_as_before();
    stage.start_daemon_again(&manager);
    for (who, mut holder) in holders.into_iter().enumerate() {
        holder.expect(0, &["ServiceLost", "ServiceBack"]);
        assert!(holder.ask(0).is_open);
        match who % 3 {
            0 => holder.kill(),
            1 => holder.end(),
            _ => {
                holder.close(0);
                holder.expect(0, &["Closed"]);
                holder.end();
            }
        }
    }
    stage.assert_as_before();
    assert_alive(&mut conversation);
    // Its default route came after the rest.
    watcher.expect_last("ServiceLost");
    watcher.expect(&["ServiceBack"]);
    watcher.expect_silence();
    assert_eq!(watcher.session.state(), SessionState::Connected);
    drop((watcher, manager));
    stage.assert_as_before();
}
