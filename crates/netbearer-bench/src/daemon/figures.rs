use std::{thread, time::Duration};

use netbearer_lab::{Dhcp, Script, now};

use super::{
    client::Client,
    crowd::Order,
    echo::Echo,
    machine::DaemonMachine,
    usage::{Waits, resident},
};
use crate::{
    arguments::DaemonOptions,
    error::BenchError,
    figure::{Figure, FigureName, Measured, Target},
    figures::{PAUSE, repeat},
    known_floors,
    our_machine::ACCESS_POINT,
    samples::Samples,
};

/// States of sessions as they travel.
const NOT_AVAILABLE: u32 = 1;
const CLOSING: u32 = 4;
const DISCONNECTED: u32 = 5;

/// As many as one user may have where nothing else is said, from several programs.
const RETURNING_CONNECTIONS: usize = 10;
const SESSIONS_OF_EACH: usize = 10;
const CROWD_CONNECTIONS: usize = 1_000;
const IDLE_CONNECTIONS: usize = 100;

/// The next renewal lies an hour away.
const LEASE_TIME: Duration = Duration::from_secs(2 * 3_600);
/// What opening started has ended by then: the runtime keeps threads for another ten seconds, the kernel checks and
/// announces its link-local address.
const SETTLING: Duration = Duration::from_secs(15);
/// For the daemon to finish what nobody waits for. Not part of any figure.
const REST: Duration = Duration::from_millis(500);

fn figure(name: FigureName, ours: impl Into<Measured>, target: Target) -> Figure {
    Figure { name, ours: ours.into(), floor: None, known_floor: None, target: Some(target), flaps: None }
}

pub(super) fn warm_opens(rounds: u32) -> Result<Figure, BenchError> {
    let machine = DaemonMachine::new(Dhcp::Dnsmasq)?;
    let _holder = machine.holders(1, 1)?;
    let mut client = Client::connect(&machine.socket(), ACCESS_POINT)?;
    let echo = Echo::start(machine.lab().machine(), machine.directory())?;
    let [mut opens, mut round_trips] = [const { Samples::new() }; 2];
    repeat(rounds, |counts| {
        let (opened, hold) = client.open()?;
        client.close()?;
        drop(hold);
        let round_trip = echo.round_trip()?;
        if counts {
            opens.push(opened);
            round_trips.push(round_trip);
        }
        Ok(())
    })?;
    let target = Target::Median(Duration::from_micros(500));
    let figure = figure(FigureName::DaemonWarmOpen, opens, target);
    Ok(Figure { floor: Some(round_trips), known_floor: Some(known_floors::ECHO), ..figure })
}

/// Clients that are killed as the last holders.
pub(super) fn killed_clients(rounds: u32) -> Result<Figure, BenchError> {
    let machine = DaemonMachine::new(Dhcp::Dnsmasq)?;
    let mut watcher = machine.watchers(1, 1)?;
    let mut told = Samples::new();
    repeat(rounds, |counts| {
        let mut holder = machine.holders(1, 1)?;
        thread::sleep(PAUSE);
        let closing = watcher.begin(&Order::Await(vec![CLOSING]))?;
        let start = now();
        holder.kill()?;
        let end = watcher.finish(&closing)?;
        if counts {
            told.push(end.saturating_since(start));
        }
        Ok(())
    })?;
    Ok(figure(FigureName::ClientKilled, told, Target::P99(Duration::from_millis(5))))
}

/// A daemon that is killed while sessions are open, and comes back.
pub(super) fn killed_daemons(rounds: u32) -> Result<Figure, BenchError> {
    let mut machine = DaemonMachine::new(Dhcp::Dnsmasq)?;
    let mut crowd = machine.holders(RETURNING_CONNECTIONS, SESSIONS_OF_EACH)?;
    let mut returned = Samples::new();
    for _ in 0..rounds {
        thread::sleep(REST);
        let back = crowd.begin(&Order::Return)?;
        let start = now();
        machine.replace_daemon()?;
        returned.push(crowd.finish(&back)?.saturating_since(start));
    }
    Ok(figure(FigureName::DaemonKilled, returned, Target::Longest(Duration::from_millis(150))))
}

/// Ten thousand sessions: what they take, and how long it takes to tell all of them something.
pub(super) fn crowd(rounds: u32) -> Result<[Figure; 4], BenchError> {
    let machine = DaemonMachine::new(Dhcp::Dnsmasq)?;
    thread::sleep(REST);
    let idle = resident(machine.process())?;
    let mut keeper = machine.watchers(1, 1)?;
    let mut crowd = machine.crowd()?;
    thread::sleep(REST);
    let alone = resident(machine.process())?;
    crowd.carry_out(&Order::Connect(CROWD_CONNECTIONS))?;
    thread::sleep(REST);
    let connected = resident(machine.process())?;
    crowd.carry_out(&Order::Create(SESSIONS_OF_EACH, ACCESS_POINT.to_owned()))?;
    crowd.carry_out(&Order::Open)?;
    thread::sleep(REST);
    let open = resident(machine.process())?;
    let each = |more: u64, number: usize| {
        Measured::Bytes(Samples::of(more.div_ceil(u64::try_from(number).unwrap_or(u64::MAX))))
    };

    let mut told = Samples::new();
    for round in 0..rounds {
        if round > 0 {
            // States are told first; the rest of what a loss means follows.
            thread::sleep(REST);
            crowd.carry_out(&Order::Open)?;
            thread::sleep(REST);
        }
        let can_be_opened = keeper.begin(&Order::Await(vec![DISCONNECTED]))?;
        let lost = crowd.begin(&Order::Await(vec![NOT_AVAILABLE, DISCONNECTED]))?;
        let start = machine.access_point()?.cut()?;
        told.push(crowd.finish(&lost)?.saturating_since(start));
        machine.access_point()?.restore()?;
        keeper.finish(&can_be_opened)?;
    }
    Ok([
        figure(FigureName::CrowdTold, told, Target::Longest(Duration::from_millis(250))),
        figure(FigureName::IdleMemory, Measured::Bytes(Samples::of(idle)), Target::Bytes(8_000_000)),
        figure(
            FigureName::ConnectionMemory,
            each(connected.saturating_sub(alone), CROWD_CONNECTIONS),
            Target::Bytes(48_000),
        ),
        figure(
            FigureName::SessionMemory,
            each(open.saturating_sub(connected), CROWD_CONNECTIONS * SESSIONS_OF_EACH),
            Target::Bytes(3_000),
        ),
    ])
}

/// A daemon that nothing happens to.
pub(super) fn wake_ups(watch: Duration) -> Result<Figure, BenchError> {
    let machine = DaemonMachine::new(Dhcp::Scripted(Script::default().lease_time(LEASE_TIME)))?;
    let _holders = machine.holders(IDLE_CONNECTIONS, SESSIONS_OF_EACH)?;
    thread::sleep(SETTLING);
    let before = Waits::of(machine.process())?;
    thread::sleep(watch);
    let waits = Waits::of(machine.process())?.since(&before);
    Ok(figure(FigureName::WakeUps, Measured::Times(Samples::of(waits)), Target::Times(0)))
}

/// Those that are wanted.
pub(super) fn measure(options: &DaemonOptions) -> Result<Vec<Figure>, BenchError> {
    let mut figures = Vec::new();
    if options.wants(FigureName::DaemonWarmOpen) {
        figures.push(warm_opens(options.rounds)?);
    }
    if options.wants(FigureName::ClientKilled) {
        figures.push(killed_clients(options.rounds)?);
    }
    if options.wants(FigureName::DaemonKilled) {
        figures.push(killed_daemons(options.slow_rounds())?);
    }
    let of_a_crowd =
        [FigureName::CrowdTold, FigureName::IdleMemory, FigureName::ConnectionMemory, FigureName::SessionMemory];
    if of_a_crowd.iter().any(|name| options.wants(*name)) {
        figures.extend(crowd(options.slowest_rounds())?);
    }
    if options.wants(FigureName::WakeUps) {
        figures.push(wake_ups(options.watch())?);
    }
    // Several come from the same rounds.
    figures.retain(|figure| options.wants(figure.name));
    Ok(figures)
}
