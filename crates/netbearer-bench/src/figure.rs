use std::{fmt, time::Duration};

use clap::ValueEnum;

use crate::{known_floors::TOLERANCE, samples::Samples};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FigureName {
    /// The link is up and held by another session: from open() until Opened is delivered.
    WarmOpen,
    /// From link down to Opened, with DHCP's four messages against dnsmasq.
    ColdOpen,
    /// The same with a server that needs two messages only (RFC 4039).
    ColdOpenRapidCommit,
    /// The same with the address of the lease before, which takes two messages (RFC 2131 §3.2).
    ColdOpenRememberedLease,
    /// From the last close() until Disconnected is delivered, the lease given back.
    LastClose,
    /// From the loss of carrier on an ordinary virtual cable until StateChanged is delivered to a reader's thread. The floor
    /// is a listener that hands the kernel's word over to a reader.
    CarrierLoss,
    /// The same losses beside a listener that is its own reader.
    CarrierLossBesideALoneListener,
    /// The same on a cable that the kernel treats as a card, flaps of two milliseconds included.
    CardLikeCarrierLoss,
    /// The same on a quiet machine while another network namespace uses up the kernel's link events.
    CardLikeCarrierLossWithEventsElsewhere,
}

impl FigureName {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 9] = [
        Self::WarmOpen,
        Self::ColdOpen,
        Self::ColdOpenRapidCommit,
        Self::ColdOpenRememberedLease,
        Self::LastClose,
        Self::CarrierLoss,
        Self::CarrierLossBesideALoneListener,
        Self::CardLikeCarrierLoss,
        Self::CardLikeCarrierLossWithEventsElsewhere,
    ];
}

impl fmt::Display for FigureName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        formatter.pad(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// What a figure has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    Median(Duration),
    MedianTimesFloor(f64),
    /// And every flap must have been told, once.
    P99AndNoneMissed(Duration),
}

/// How many carrier losses were made, and how many were told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flaps {
    pub(crate) made: u32,
    pub(crate) told: u32,
}

/// A figure as it was measured.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) name: FigureName,
    pub(crate) ours: Samples,
    pub(crate) floor: Option<Samples>,
    /// What the floor is on a quiet machine, where that is known.
    pub(crate) known_floor: Option<Duration>,
    pub(crate) target: Option<Target>,
    pub(crate) flaps: Option<Flaps>,
}

impl Figure {
    /// Our median by the floor's.
    pub(crate) fn ratio(&self) -> Option<f64> {
        let floor = self.floor.as_ref()?.median();
        (!floor.is_zero()).then(|| self.ours.median().as_secs_f64() / floor.as_secs_f64())
    }

    /// How many times the known floor this one is, if that is too many.
    pub(crate) fn excess(&self) -> Option<f64> {
        let known = self.known_floor?.as_secs_f64();
        let excess = self.floor.as_ref()?.median().as_secs_f64() / known;
        (excess > TOLERANCE).then_some(excess)
    }

    /// Whether the target is met; nothing without a target.
    pub(crate) fn met(&self) -> Option<bool> {
        Some(match self.target? {
            Target::Median(longest) => self.ours.median() <= longest,
            Target::MedianTimesFloor(most) => self.ratio().is_some_and(|ratio| ratio <= most),
            Target::P99AndNoneMissed(longest) => {
                self.ours.p99() <= longest && self.flaps.is_some_and(|flaps| flaps.made == flaps.told)
            }
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |duration: &Duration| duration.as_secs_f64() * 1e3;
        match self {
            Self::Median(longest) => write!(formatter, "median ≤ {} ms", milliseconds(longest)),
            Self::MedianTimesFloor(most) => write!(formatter, "median ≤ {most} × floor"),
            Self::P99AndNoneMissed(longest) => write!(formatter, "p99 ≤ {} ms, none missed", milliseconds(longest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn always(milliseconds: u64) -> Samples {
        let mut samples = Samples::new();
        (0..100).for_each(|_| samples.push(Duration::from_millis(milliseconds)));
        samples
    }

    fn figure(ours: u64, floor: u64, target: Target) -> Figure {
        Figure {
            name: FigureName::ColdOpen,
            ours: always(ours),
            floor: Some(always(floor)),
            known_floor: Some(Duration::from_millis(10)),
            target: Some(target),
            flaps: Some(Flaps { made: 5, told: 5 }),
        }
    }

    #[test]
    fn a_target_is_met_up_to_its_limit() {
        let limit = Duration::from_millis(20);
        for target in [Target::Median(limit), Target::MedianTimesFloor(2.0), Target::P99AndNoneMissed(limit)] {
            assert_eq!(figure(20, 10, target).met(), Some(true), "{target}");
            assert_eq!(figure(21, 10, target).met(), Some(false), "{target}");
        }
    }

    #[test]
    fn a_missed_flap_misses_the_target_however_quick_the_others_were() {
        let quick = figure(1, 10, Target::P99AndNoneMissed(Duration::from_millis(20)));
        for told in [4, 6] {
            let figure = Figure { flaps: Some(Flaps { made: 5, told }), ..quick.clone() };
            assert_eq!(figure.met(), Some(false), "{told}");
        }
    }

    #[test]
    fn a_floor_far_above_the_known_one_is_an_excess() {
        let target = Target::MedianTimesFloor(2.0);
        assert_eq!(figure(20, 15, target).excess(), None);
        assert_eq!(figure(20, 16, target).excess(), Some(1.6));
        assert_eq!(Figure { known_floor: None, ..figure(20, 16, target) }.excess(), None);
    }
}
