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
    /// Through the daemon, the link up and held by another program: from the call of Open until the signal Opened is there.
    /// The floor is a call of another process, and its reply.
    DaemonWarmOpen,
    /// From the SIGKILL of the last holder until another program is told Closing.
    ClientKilled,
    /// From the SIGKILL of the daemon, which is started again at once, until every session is its owner's again and open.
    DaemonKilled,
    /// From a loss of carrier until the last of all open sessions is told of it.
    CrowdTold,
    /// What the daemon has in memory without clients (`VmRSS` of `proc_pid_status(5)`, shared pages included).
    IdleMemory,
    /// What it has more with clients that only are connected, by their number.
    ConnectionMemory,
    /// What it has more with open sessions, by their number.
    SessionMemory,
    /// How often a thread of the daemon has begun to wait, while sessions are open and nothing happens.
    WakeUps,
    /// Through the daemon, nobody deciding: from the kernel's word that the link in use has lost its carrier until the session has a
    /// new TCP connection by another link. The floor hears the kernel, and connects by the other link.
    RoamNewConnection,
    /// From what the session is told until a call that waits in its old connection returns.
    RoamStaleSocket,
    /// Through the daemon: from an offer at hand, by migrate() and the trial, until accept() has returned.
    RoamOverhead,
    /// With ConnMan instead: from the cut until an ordinary program has a connection by the other link.
    RoamConnMan,
    /// The same with NetworkManager.
    RoamNetworkManager,
}

impl FigureName {
    /// Those of `open`.
    pub(crate) const OPEN: [Self; 9] = [
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

    /// Those of `roam`.
    pub(crate) const ROAM: [Self; 5] = [
        Self::RoamNewConnection,
        Self::RoamStaleSocket,
        Self::RoamOverhead,
        Self::RoamConnMan,
        Self::RoamNetworkManager,
    ];

    /// Those of `daemon`.
    pub(crate) const DAEMON: [Self; 8] = [
        Self::DaemonWarmOpen,
        Self::ClientKilled,
        Self::DaemonKilled,
        Self::CrowdTold,
        Self::IdleMemory,
        Self::ConnectionMemory,
        Self::SessionMemory,
        Self::WakeUps,
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
    P99(Duration),
    Longest(Duration),
    /// Octets.
    Bytes(u64),
    /// How often it may have happened.
    Times(u64),
}

/// What was measured in the rounds.
#[derive(Clone, Debug)]
pub(crate) enum Measured {
    Durations(Samples),
    /// Octets.
    Bytes(Samples<u64>),
    /// How often something happened.
    Times(Samples<u64>),
}

impl From<Samples> for Measured {
    fn from(samples: Samples) -> Self {
        Self::Durations(samples)
    }
}

/// Of one figure, in its unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) unit: &'static str,
    pub(crate) rounds: usize,
    pub(crate) median: f64,
    pub(crate) p99: f64,
    pub(crate) longest: f64,
}

impl Measured {
    pub(crate) fn summary(&self) -> Summary {
        match self {
            Self::Durations(samples) => Summary::of(samples, "ms", milliseconds),
            Self::Bytes(samples) => Summary::of(samples, "kB", kilobytes),
            Self::Times(samples) => Summary::of(samples, "times", |times| times as f64),
        }
    }

    fn durations(&self) -> Option<&Samples> {
        match self {
            Self::Durations(samples) => Some(samples),
            _ => None,
        }
    }
}

impl Summary {
    fn of<T: Copy + Default + Ord>(samples: &Samples<T>, unit: &'static str, number: impl Fn(T) -> f64) -> Self {
        Self {
            unit,
            rounds: samples.count(),
            median: number(samples.median()),
            p99: number(samples.p99()),
            longest: number(samples.longest()),
        }
    }
}

/// In whole microseconds: more digits would only pretend.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// 1,000 octets each.
fn kilobytes(octets: u64) -> f64 {
    octets as f64 / 1e3
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
    pub(crate) ours: Measured,
    pub(crate) floor: Option<Samples>,
    /// What the floor is on a quiet machine, where that is known.
    pub(crate) known_floor: Option<Duration>,
    pub(crate) target: Option<Target>,
    pub(crate) flaps: Option<Flaps>,
}

impl Figure {
    /// Our median by the floor's.
    pub(crate) fn ratio(&self) -> Option<f64> {
        let (ours, floor) = (self.ours.durations()?.median(), self.floor.as_ref()?.median());
        (!floor.is_zero()).then(|| ours.as_secs_f64() / floor.as_secs_f64())
    }

    /// How many times the known floor this one is, if that is too many.
    pub(crate) fn excess(&self) -> Option<f64> {
        let known = self.known_floor?.as_secs_f64();
        let excess = self.floor.as_ref()?.median().as_secs_f64() / known;
        (excess > TOLERANCE).then_some(excess)
    }

    /// Whether the target is met; nothing without a target.
    pub(crate) fn met(&self) -> Option<bool> {
        Some(match (self.target?, &self.ours) {
            (Target::Median(longest), Measured::Durations(ours)) => ours.median() <= longest,
            (Target::MedianTimesFloor(most), _) => self.ratio().is_some_and(|ratio| ratio <= most),
            (Target::P99AndNoneMissed(longest), Measured::Durations(ours)) => {
                ours.p99() <= longest && self.flaps.is_some_and(|flaps| flaps.made == flaps.told)
            }
            (Target::P99(longest), Measured::Durations(ours)) => ours.p99() <= longest,
            (Target::Longest(longest), Measured::Durations(ours)) => ours.longest() <= longest,
            (Target::Bytes(most), Measured::Bytes(ours)) => ours.longest() <= most,
            (Target::Times(most), Measured::Times(ours)) => ours.longest() <= most,
            // A target of another kind cannot be met.
            _ => false,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Median(longest) => write!(formatter, "median ≤ {} ms", milliseconds(*longest)),
            Self::MedianTimesFloor(most) => write!(formatter, "median ≤ {most} × floor"),
            Self::P99AndNoneMissed(longest) => write!(formatter, "p99 ≤ {} ms, none missed", milliseconds(*longest)),
            Self::P99(longest) => write!(formatter, "p99 ≤ {} ms", milliseconds(*longest)),
            Self::Longest(longest) => write!(formatter, "longest ≤ {} ms", milliseconds(*longest)),
            Self::Bytes(most) => write!(formatter, "≤ {} kB", kilobytes(*most)),
            Self::Times(most) => write!(formatter, "≤ {most}"),
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
            ours: always(ours).into(),
            floor: Some(always(floor)),
            known_floor: Some(Duration::from_millis(10)),
            target: Some(target),
            flaps: Some(Flaps { made: 5, told: 5 }),
        }
    }

    #[test]
    fn a_target_is_met_up_to_its_limit() {
        let limit = Duration::from_millis(20);
        let of_floor = Target::MedianTimesFloor(2.0);
        let of_time =
            [Target::Median(limit), Target::P99(limit), Target::Longest(limit), Target::P99AndNoneMissed(limit)];
        for target in of_time.into_iter().chain([of_floor]) {
            assert_eq!(figure(20, 10, target).met(), Some(true), "{target}");
            assert_eq!(figure(21, 10, target).met(), Some(false), "{target}");
        }
    }

    #[test]
    fn amounts_are_judged_by_the_largest() {
        let [mut ours, few] = [(); 2].map(|()| Samples::of(20));
        ours.push(3);
        let most = |most| Figure { ours: Measured::Bytes(ours.clone()), ..figure(0, 0, Target::Bytes(most)) }.met();
        assert_eq!((most(20), most(19)), (Some(true), Some(false)));
        let most = |most| Figure { ours: Measured::Times(few.clone()), ..figure(0, 0, Target::Times(most)) }.met();
        assert_eq!((most(20), most(19)), (Some(true), Some(false)));
    }

    #[test]
    fn a_target_of_another_kind_is_never_met() {
        assert_eq!(figure(1, 1, Target::Bytes(u64::MAX)).met(), Some(false));
        let nothing = Measured::Bytes(Samples::of(0));
        let target = Target::Longest(Duration::MAX);
        assert_eq!(Figure { ours: nothing, ..figure(1, 1, target) }.met(), Some(false));
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
    fn every_figure_belongs_to_one_command() {
        for name in FigureName::value_variants() {
            let all = [&FigureName::OPEN[..], &FigureName::DAEMON[..], &FigureName::ROAM[..]];
            let owners = all.into_iter().filter(|all| all.contains(name));
            assert_eq!(owners.count(), 1, "{name}");
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
