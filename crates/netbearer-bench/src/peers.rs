//! Other network managers beside NetBearer: the real programs, each on a machine of its own in a lab of the same plan, its
//! rounds in turn with ours.
//!
//! They are asked over D-Bus, as their applications ask them; NetBearer is asked as its applications ask it. A moment counts
//! when the word has come to this process.

mod bus;
mod connman;
mod contestant;
mod envoy;
mod network_manager;
mod ours;
mod report;

use std::time::Duration;

use netbearer_lab::{AccessPointPlan, Dhcp};

pub(crate) use self::envoy::{COMMAND as ENVOY_COMMAND, be as be_envoy};
pub(crate) use self::report::{print_json, print_table};
use self::{
    connman::ConnMan,
    contestant::{Contestant, Loss},
    network_manager::NetworkManager,
};
use crate::{error::BenchError, figures::repeat, our_machine::ACCESS_POINT, samples::Samples};

/// NetworkManager waits for six seconds before it calls a network lost, so that few rounds must do.
const MOST_LONG_ROUNDS: u32 = 5;
/// For the kernel and the programs to finish what the former round left to do; ConnMan says nothing of a new service for a
/// tenth of a second. Not part of any figure.
const PAUSE: Duration = Duration::from_millis(150);

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerFigure {
    ColdOpen,
    CarrierLoss,
    NetworkLost,
}

impl PeerFigure {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ColdOpen => "cold-open",
            Self::CarrierLoss => "carrier-loss",
            Self::NetworkLost => "network-lost",
        }
    }

    pub(crate) const fn measured(self) -> &'static str {
        match self {
            Self::ColdOpen => "request → told: up, with an address",
            Self::CarrierLoss => "cable cut → first word of it",
            Self::NetworkLost => "cable cut → told: the network is lost",
        }
    }
}

/// A program as it is installed here.
#[derive(Clone, Debug)]
pub(crate) struct ProgramName {
    pub(crate) name: &'static str,
    pub(crate) version: String,
}

/// One figure of all programs, ours first.
#[derive(Clone, Debug)]
pub(crate) struct Comparison {
    pub(crate) figure: PeerFigure,
    pub(crate) samples: Vec<(ProgramName, Samples)>,
}

/// The access point of every machine. ConnMan's DHCP client wants whole checksums, and only ours takes two messages where
/// four are usual.
fn plan() -> AccessPointPlan {
    AccessPointPlan::new(ACCESS_POINT).dhcp(Dhcp::Dnsmasq).without_checksum_offload().without_rapid_commit()
}

/// Measures all programs, in turn. One that is missing is an error.
pub(crate) fn measure(rounds: u32) -> Result<Vec<Comparison>, BenchError> {
    let mut contestants = [ours::start()?, NetworkManager::start()?, ConnMan::start()?];
    let opened = opens(&mut contestants, rounds)?;
    let told = losses(&mut contestants, rounds, Loss::FirstWord)?;
    let lost = losses(&mut contestants, rounds.min(MOST_LONG_ROUNDS), Loss::Network)?;
    let names = contestants.each_ref().map(Contestant::name);
    let figures = [PeerFigure::ColdOpen, PeerFigure::CarrierLoss, PeerFigure::NetworkLost];
    let comparison = |(figure, samples): (_, [Samples; 3])| Comparison {
        figure,
        samples: names.clone().into_iter().zip(samples).collect(),
    };
    Ok(figures.into_iter().zip([opened, told, lost]).map(comparison).collect())
}

/// Opens of each, with a close after each. Every open must have leased anew.
fn opens<const N: usize>(contestants: &mut [Contestant; N], rounds: u32) -> Result<[Samples; N], BenchError> {
    let mut opens = [const { Samples::new() }; N];
    let mut marks = Vec::new();
    repeat(rounds, |counts| {
        if counts && marks.is_empty() {
            marks = contestants.iter().map(Contestant::dhcp_mark).collect::<Result<_, _>>()?;
        }
        for (contestant, opens) in contestants.iter_mut().zip(&mut opens) {
            let opened = contestant.open()?;
            contestant.close()?;
            if counts {
                opens.push(opened);
            }
        }
        Ok(())
    })?;
    for (contestant, mark) in contestants.iter().zip(marks) {
        contestant.check_leases(mark, rounds)?;
    }
    Ok(opens)
}

/// Cuts and restores the cable of each, whose network is up before and after each round.
fn losses<const N: usize>(
    contestants: &mut [Contestant; N],
    rounds: u32,
    loss: Loss,
) -> Result<[Samples; N], BenchError> {
    let mut losses = [const { Samples::new() }; N];
    for contestant in contestants.iter_mut() {
        contestant.open()?;
    }
    for _ in 0..rounds {
        for (contestant, losses) in contestants.iter_mut().zip(&mut losses) {
            losses.push(contestant.lose_carrier(loss)?);
        }
    }
    for contestant in contestants.iter_mut() {
        contestant.close()?;
    }
    Ok(losses)
}
