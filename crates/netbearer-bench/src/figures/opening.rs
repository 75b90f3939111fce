use std::{thread, time::Duration};

use netbearer::Profile;
use netbearer_lab::{AccessPointPlan, Dhcp};

use super::{PAUSE, repeat};
use crate::{
    error::BenchError,
    figure::{Figure, FigureName, Target},
    floor::{EchoThread, FloorMachine},
    known_floors,
    our_machine::{ACCESS_POINT, OurMachine},
    samples::Samples,
};

/// Warm opens, cold opens and last closes.
pub(super) fn measure(rounds: u32) -> Result<[Figure; 3], BenchError> {
    let plan = || AccessPointPlan::new(ACCESS_POINT).dhcp(Dhcp::Dnsmasq);
    // The lease is given back at each close, so that every open takes four messages.
    let profile = Profile { dhcp_release: true, ..Profile::default() };
    let ours = OurMachine::new(plan(), profile, |_| Ok(()))?;
    let floor = FloorMachine::new(plan())?;
    let [cold, close] = cold_opens(&ours, floor, rounds)?;
    Ok([warm_opens(&ours, rounds)?, cold, close])
}

fn cold_opens(ours: &OurMachine, mut floor: FloorMachine, rounds: u32) -> Result<[Figure; 2], BenchError> {
    let mut session = ours.session()?;
    let [mut our_opens, mut our_closes, mut floor_opens, mut floor_closes] = [const { Samples::new() }; 4];
    repeat(rounds, |counts| {
        let opened = session.open()?;
        thread::sleep(PAUSE);
        let closed = session.close_last()?;
        thread::sleep(PAUSE);
        let floor_opened = floor.open()?;
        thread::sleep(PAUSE);
        let floor_closed = floor.close()?;
        if counts {
            our_opens.push(opened);
            our_closes.push(closed);
            floor_opens.push(floor_opened);
            floor_closes.push(floor_closed);
        }
        Ok(())
    })?;
    let open = Figure {
        name: FigureName::ColdOpen,
        ours: our_opens,
        floor: Some(floor_opens),
        known_floor: Some(known_floors::COLD_OPEN),
        target: Some(Target::MedianTimesFloor(2.0)),
        flaps: None,
    };
    let close = Figure {
        name: FigureName::LastClose,
        ours: our_closes,
        floor: Some(floor_closes),
        known_floor: None,
        target: Some(Target::Median(Duration::from_millis(3))),
        flaps: None,
    };
    Ok([open, close])
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
        ours: opens,
        floor: Some(round_trips),
        known_floor: None,
        target: Some(Target::Median(Duration::from_micros(100))),
        flaps: None,
    })
}
