use std::time::{Duration, Instant};

use netbearer::Profile;

use super::{
    contestant::{Client, Contestant, Loss, Machine},
    plan,
};
use crate::{
    error::BenchError,
    our_machine::{DEADLINE, OurMachine, Watched},
};

/// NetBearer, which gives its lease back at each close, so that each open takes four messages.
pub(super) fn start() -> Result<Contestant, BenchError> {
    let profile = Profile { dhcp_release: true, ..Profile::default() };
    let machine = OurMachine::new(plan(), profile, |_| Ok(()))?;
    let session = machine.session()?;
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Ok(Contestant::new("NetBearer", version, session, Machine::Ours(machine)))
}

impl Client for Watched {
    fn forget(&mut self) -> Result<(), BenchError> {
        self.drain();
        Ok(())
    }

    fn open(&mut self) -> Result<Duration, BenchError> {
        Self::open(self)
    }

    fn close(&mut self) -> Result<(), BenchError> {
        self.close_last().map(drop)
    }

    fn wait_for_loss(&mut self, loss: Loss) -> Result<Instant, BenchError> {
        match loss {
            Loss::FirstWord => {
                let told = Self::wait_for_loss(self, DEADLINE);
                let told = told.ok_or(BenchError::NotTold { what: "the loss of the link", within: DEADLINE })?;
                self.wait_for_closed()?;
                Ok(told)
            }
            Loss::Network => self.wait_for_closed(),
        }
    }

    fn regain(&mut self, _: Loss) -> Result<(), BenchError> {
        Self::open(self).map(drop)
    }
}
