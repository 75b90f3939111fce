//! What every adapter of a port must keep, as tests that its own tests call.
//!
//! They wait for what must come; whoever calls them sets the deadline.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use netbearer_types::{
    AccessPointCommand, AccessPointReport, CommandNumber, Identifier, Level, LinkNames, Profile, Stage, Target, Traffic,
};

use crate::{Clock, Engine, EngineError, EngineEvent, NameServers};

/// What an adapter did that it must not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A promise of the port was broken.
    #[error("{promise}: {seen}")]
    Broken {
        /// The promise.
        promise: &'static str,
        /// What was seen instead.
        seen: String,
    },
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Drives a fresh engine over an access point that is down, works, and is used by nobody else.
///
/// # Errors
/// The first promise that was broken.
pub async fn engine<E: Engine>(mut engine: E, access_point: &Identifier) -> Result<(), Violation> {
    let mut known = None;
    loop {
        match next(&mut engine).await? {
            EngineEvent::Enumerated => break,
            EngineEvent::Report(report) if report.identifier == *access_point => known = Some(*report),
            _ => {}
        }
    }
    let found = keep(known, "an access point is reported before the enumeration ends")?;
    hold(found.progress.is_none(), "no progress is told before the first command", &found)?;

    let up = reach(&mut engine, access_point, CommandNumber(7), Target::Configured).await?;
    let Level::Present(link) = &up.level else {
        return Err(broken("a configured access point is present", &up));
    };
    let usable = link.interface.addresses.iter().any(netbearer_types::InterfaceAddress::is_usable);
    hold(
        link.administratively_up && link.carrier && usable && !link.routed.is_empty(),
        "Reached is told with the levels that make it true",
        &up,
    )?;

    let down = reach(&mut engine, access_point, CommandNumber(8), Target::Released).await?;
    hold(same_but_progress(&found, &down), "a released access point is as it was found", &down)?;

    hold(found.counts_traffic, "what an access point carries can be counted", &found)?;
    let uncounted = engine.traffic(access_point);
    hold(uncounted == Traffic::default(), "what is not counted has carried nothing", &uncounted)?;
    engine.count(access_point, true);
    reach(&mut engine, access_point, CommandNumber(9), Target::Configured).await?;
    let carried = engine.traffic(access_point);
    hold(carried.received > 0 && carried.written > 0, "what an interface carries is counted", &carried)?;
    engine.count(access_point, true);
    let anew = engine.traffic(access_point);
    hold(anew.received < carried.received && anew.written < carried.written, "counting begins anew", &anew)?;
    engine.count(access_point, false);
    let uncounted = engine.traffic(access_point);
    hold(uncounted == Traffic::default(), "what is not counted any more has carried nothing", &uncounted)?;

    // A command that is overtaken at once never comes true afterwards.
    command(&mut engine, access_point, CommandNumber(10), Target::Configured);
    let down = reach(&mut engine, access_point, CommandNumber(11), Target::Released).await?;
    hold(same_but_progress(&found, &down), "an overtaken command leaves nothing behind", &down)?;

    engine.refresh();
    engine.refresh();
    let mut refreshed = 0;
    while refreshed < 2 {
        match next(&mut engine).await? {
            EngineEvent::Refreshed => refreshed += 1,
            EngineEvent::Report(report) if report.identifier == *access_point => {
                hold(same_but_progress(&found, &report), "a refresh changes nothing", &*report)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Drives an engine that resumes an access point which an engine before it had configured when it was killed: one that was
/// down before, works, and is used by nobody else.
///
/// # Errors
/// The first promise that was broken.
pub async fn resumption<E: Engine>(mut engine: E, access_point: &Identifier) -> Result<(), Violation> {
    let works = |report: &AccessPointReport| match &report.level {
        Level::Present(link) => {
            let usable = link.interface.addresses.iter().any(netbearer_types::InterfaceAddress::is_usable);
            link.administratively_up && link.carrier && usable && !link.routed.is_empty()
        }
        Level::Absent => false,
    };
    const STAYS: &str = "what is resumed is there all the time";
    let mut known = None;
    loop {
        match next(&mut engine).await? {
            EngineEvent::Enumerated => break,
            EngineEvent::Report(report) if report.identifier == *access_point => {
                hold(works(&report), STAYS, &*report)?;
                known = Some(*report);
            }
            _ => {}
        }
    }
    let found = keep(known, "an access point is reported before the enumeration ends")?;
    hold(found.progress.is_none(), "no progress is told before the first command", &found)?;

    command(&mut engine, access_point, CommandNumber(70), Target::Configured);
    engine.forget_resumed();
    loop {
        let EngineEvent::Report(report) = next(&mut engine).await? else { continue };
        if report.identifier != *access_point {
            continue;
        }
        hold(works(&report), STAYS, &*report)?;
        match report.progress.as_ref().map(|progress| &progress.stage) {
            Some(Stage::Reached) => break,
            Some(Stage::Failed(..)) => return Err(broken("what is resumed is reached", &*report)),
            _ => {}
        }
    }
    let down = reach(&mut engine, access_point, CommandNumber(71), Target::Released).await?;
    let Level::Present(link) = &down.level else { return Err(broken("an access point is present", &down)) };
    let is_down = !link.administratively_up && link.interface.addresses.is_empty() && link.routed.is_empty();
    hold(is_down, "a released access point is as it was found by whoever configured it", &down)?;
    let up = reach(&mut engine, access_point, CommandNumber(72), Target::Configured).await?;
    hold(works(&up), "a resumed access point can be configured again", &up)?;
    let down = reach(&mut engine, access_point, CommandNumber(73), Target::Released).await?;
    hold(!works(&down), "and released", &down)
}

/// Drives what has programs ask name servers, where it may do so, with links that have some.
///
/// # Errors
/// The first promise that was broken.
pub async fn name_servers<N: NameServers>(mut names: N, links: Vec<LinkNames>) -> Result<(), Violation> {
    names.settle().await;
    // A level holds from one call to the next, and after the last link has gone it begins anew.
    for _ in 0..2 {
        names.follow(links.clone());
        let report = names.report().await;
        let named = report.interface_names.iter().eq(links.iter().map(|link| &link.interface_name));
        hold(named && report.through.is_some(), "what has become of the servers is told with their links", &report)?;
        names.follow(links.clone());
        names.settle().await;
        let early = poll_once(pin!(names.report())).await;
        hold(early.is_pending(), "the same level is no news", &early)?;
        names.follow(Vec::new());
        names.settle().await;
        let early = poll_once(pin!(names.report())).await;
        hold(early.is_pending(), "that there are no links is no news", &early)?;
    }
    Ok(())
}

/// Drives a clock. Takes some hundred milliseconds of its time.
///
/// # Errors
/// The first promise that was broken.
pub async fn clock<C: Clock>(clock: C) -> Result<(), Violation> {
    let start = clock.now();
    clock.sleep_until(start).await;
    let deadline = start + Duration::from_millis(100);
    let mut later = pin!(clock.sleep_until(start + Duration::from_millis(200)));
    let mut dropped = Box::pin(clock.sleep_until(start + Duration::from_millis(50)));
    let early = poll_once(dropped.as_mut()).await;
    hold(early.is_pending(), "a sleep ahead does not return at once", &early)?;
    drop(dropped);
    clock.sleep_until(deadline).await;
    hold(clock.now() >= deadline, "a sleep does not end before its deadline", &clock.now())?;
    let early = poll_once(later.as_mut()).await;
    hold(
        early.is_pending() || clock.now() >= start + Duration::from_millis(200),
        "each sleeper has its own deadline",
        &early,
    )?;
    later.await;
    Ok(())
}

async fn reach<E: Engine>(
    engine: &mut E,
    access_point: &Identifier,
    number: CommandNumber,
    target: Target,
) -> Result<AccessPointReport, Violation> {
    command(engine, access_point, number, target);
    loop {
        let EngineEvent::Report(report) = next(engine).await? else { continue };
        if report.identifier != *access_point {
            continue;
        }
        let Some(progress) = &report.progress else { continue };
        hold(progress.number <= number, "progress is told of commands that were given", &*report)?;
        match &progress.stage {
            Stage::Failed(..) => return Err(broken("the target can be reached", &*report)),
            Stage::Reached if progress.number == number => return Ok(*report),
            Stage::Reached | Stage::Working(_) => {}
        }
    }
}

fn command<E: Engine>(engine: &mut E, access_point: &Identifier, number: CommandNumber, target: Target) {
    let profile = Profile::default();
    engine.command(AccessPointCommand { identifier: access_point.clone(), number, target, profile });
}

/// The next event, asked for once in vain before, as a select does all the time.
async fn next<E: Engine>(engine: &mut E) -> Result<EngineEvent, EngineError> {
    if let Poll::Ready(event) = poll_once(pin!(engine.event())).await {
        return event;
    }
    engine.event().await
}

async fn poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

fn same_but_progress(one: &AccessPointReport, other: &AccessPointReport) -> bool {
    let level = |report: &AccessPointReport| match report.level.clone() {
        // Taking a link down is a loss of carrier, and counted.
        Level::Present(link) => Level::Present(netbearer_types::LinkLevel { carrier_losses: 0, ..link }),
        Level::Absent => Level::Absent,
    };
    level(one) == level(other)
}

fn keep<T>(value: Option<T>, promise: &'static str) -> Result<T, Violation> {
    value.ok_or_else(|| broken(promise, &"nothing"))
}

fn hold(holds: bool, promise: &'static str, seen: &impl std::fmt::Debug) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(broken(promise, seen)) }
}

fn broken(promise: &'static str, seen: &impl std::fmt::Debug) -> Violation {
    Violation::Broken { promise, seen: format!("{seen:?}") }
}
