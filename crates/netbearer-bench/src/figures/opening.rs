use std::{thread, time::Duration};

use netbearer::Profile;
use netbearer_lab::{AccessPointPlan, Dhcp, Mark, Record};

use super::{PAUSE, repeat};
use crate::{
    error::BenchError,
    figure::{Figure, FigureName, Target},
    floor::{Acquisition, EchoThread, FloorMachine},
    known_floors,
    our_machine::{ACCESS_POINT, OurMachine},
    samples::Samples,
};

/// Warm opens, cold opens and last closes.
pub(super) fn measure(rounds: u32) -> Result<[Figure; 3], BenchError> {
    let ours = machine(Acquisition::FourMessages)?;
    let [cold, close] = cold_opens(&ours, Acquisition::FourMessages, rounds)?;
    let open = cold_open(FigureName::ColdOpen, cold, known_floors::COLD_OPEN);
    let close = Figure {
        name: FigureName::LastClose,
        ours: close.ours.into(),
        floor: Some(close.floor),
        known_floor: None,
        target: Some(Target::Median(Duration::from_millis(3))),
        flaps: None,
    };
    Ok([warm_opens(&ours, rounds)?, open, close])
}

pub(super) fn rapid_commit(rounds: u32) -> Result<Figure, BenchError> {
    let [open, _] = cold_opens(&machine(Acquisition::RapidCommit)?, Acquisition::RapidCommit, rounds)?;
    Ok(cold_open(FigureName::ColdOpenRapidCommit, open, known_floors::COLD_OPEN_RAPID_COMMIT))
}

pub(super) fn remembered_lease(rounds: u32) -> Result<Figure, BenchError> {
    let [open, _] = cold_opens(&machine(Acquisition::Remembered)?, Acquisition::Remembered, rounds)?;
    Ok(cold_open(FigureName::ColdOpenRememberedLease, open, known_floors::COLD_OPEN_REMEMBERED_LEASE))
}

fn plan(acquisition: Acquisition) -> AccessPointPlan {
    let plan = AccessPointPlan::new(ACCESS_POINT).dhcp(Dhcp::Dnsmasq);
    if acquisition == Acquisition::RapidCommit { plan } else { plan.without_rapid_commit() }
}

fn machine(acquisition: Acquisition) -> Result<OurMachine, BenchError> {
    // A lease that is not remembered is given back at each close.
    let profile = Profile { dhcp_release: acquisition != Acquisition::Remembered, ..Profile::default() };
    OurMachine::new(plan(acquisition), profile, |_| Ok(()))
}

/// Ours and the floor's, of the same rounds.
struct Pair {
    ours: Samples,
    floor: Samples,
}

fn cold_open(name: FigureName, Pair { ours, floor }: Pair, known_floor: Duration) -> Figure {
    let target = Some(Target::MedianTimesFloor(2.0));
    Figure { name, ours: ours.into(), floor: Some(floor), known_floor: Some(known_floor), target, flaps: None }
}

/// Opens and closes.
fn cold_opens(ours: &OurMachine, acquisition: Acquisition, rounds: u32) -> Result<[Pair; 2], BenchError> {
    let mut floor = FloorMachine::new(plan(acquisition))?;
    let mut session = ours.session()?;
    let [mut our_opens, mut our_closes, mut floor_opens, mut floor_closes] = [const { Samples::new() }; 4];
    let mut counted_from = None;
    repeat(rounds, |counts| {
        if counts && counted_from.is_none() {
            counted_from = Some([ours.access_point()?.dhcp_log()?.mark(), floor.dhcp_log()?.mark()]);
        }
        let opened = session.open()?;
        thread::sleep(PAUSE);
        let closed = session.close_last()?;
        thread::sleep(PAUSE);
        let floor_opened = floor.open(acquisition)?;
        thread::sleep(PAUSE);
        let floor_closed = floor.close(acquisition)?;
        if counts {
            our_opens.push(opened);
            our_closes.push(closed);
            floor_opens.push(floor_opened);
            floor_closes.push(floor_closed);
        }
        Ok(())
    })?;
    if let Some([our_mark, floor_mark]) = counted_from {
        check_messages(acquisition, ours.access_point()?.dhcp_log()?, our_mark)?;
        check_messages(acquisition, floor.dhcp_log()?, floor_mark)?;
    }
    Ok([Pair { ours: our_opens, floor: floor_opens }, Pair { ours: our_closes, floor: floor_closes }])
}

/// An OFFER is what four messages have and two have not.
fn check_messages(acquisition: Acquisition, log: &Record<String>, since: Mark) -> Result<(), BenchError> {
    let offers = log.entries_since(since).iter().filter(|line| line.contains("DHCPOFFER")).count();
    match (acquisition, offers) {
        (Acquisition::FourMessages, 0) => Err(BenchError::OtherMessages { expected: "four messages", offers }),
        (Acquisition::RapidCommit | Acquisition::Remembered, 1..) => {
            Err(BenchError::OtherMessages { expected: "two messages", offers })
        }
        _ => Ok(()),
    }
}

fn warm_opens(ours: &OurMachine, rounds: u32) -> Result<Figure, BenchError> {
    let mut holder = ours.session()?;
    holder.open()?;
    let mut session = ours.session()?;
    let echo = EchoThread::start();
    let [mut opens, mut round_trips] = [const { Samples::new() }; 2];
    repeat(rounds, |counts| {
        let opened = session.open()?;
        session.close()?;
        let round_trip = echo.round_trip();
        if counts {
            opens.push(opened);
            round_trips.push(round_trip);
        }
        Ok(())
    })?;
    holder.close_last()?;
    Ok(Figure {
        name: FigureName::WarmOpen,
        ours: opens.into(),
        floor: Some(round_trips),
        known_floor: None,
        target: Some(Target::Median(Duration::from_micros(100))),
        flaps: None,
    })
}
