use std::time::{Duration, Instant};

use super::machine::{MEMBERS, RoamMachine};
use crate::{
    error::BenchError,
    figure::{Figure, FigureName, Target},
    figures::repeat,
    our_machine::DEADLINE,
    samples::Samples,
};

/// An application migrates to what it is offered, and accepts it, each time an administrator prefers the other link.
pub(super) fn measure(rounds: u32) -> Result<Figure, BenchError> {
    let machine = RoamMachine::new()?;
    let (session, _events) = machine.session()?;
    let mut roaming = session.roaming()?;
    let mut took = Samples::new();
    let [mut preferred, mut other] = MEMBERS;
    repeat(rounds, |counts| {
        (preferred, other) = (other, preferred);
        machine.prefer([preferred, other])?;
        let offer = roaming.next_within(DEADLINE).ok_or(BenchError::NotTold { what: "the offer", within: DEADLINE })?;
        let start = Instant::now();
        offer.migrate()?.accept()?;
        let end = start.elapsed();
        if counts {
            took.push(end);
        }
        Ok(())
    })?;
    Ok(Figure {
        name: FigureName::RoamOverhead,
        ours: took.into(),
        floor: None,
        known_floor: None,
        target: Some(Target::Median(Duration::from_millis(2))),
        flaps: None,
    })
}
