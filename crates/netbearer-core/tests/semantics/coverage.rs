use std::{collections::BTreeMap, fmt};

use crate::operation::Kind;

/// The inner situation of an access point, in the model's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Situation {
    NotAvailable,
    Disconnected,
    Adopted,
    AwaitingEnumeration,
    AwaitingDevice,
    Connecting,
    Up,
    Lingering,
    Regaining,
    Waiting,
    Closing,
    ClearingAway,
    Removed,
}

impl Situation {
    const ALL: [Self; 13] = [
        Self::NotAvailable,
        Self::Disconnected,
        Self::Adopted,
        Self::AwaitingEnumeration,
        Self::AwaitingDevice,
        Self::Connecting,
        Self::Up,
        Self::Lingering,
        Self::Regaining,
        Self::Waiting,
        Self::Closing,
        Self::ClearingAway,
        Self::Removed,
    ];

    /// How soon an access point leaves this situation again, or how seldom it comes there.
    pub(crate) const fn rarity(self) -> u8 {
        match self {
            Self::NotAvailable | Self::Disconnected | Self::Adopted | Self::Removed => 0,
            Self::Connecting | Self::Up | Self::Closing | Self::ClearingAway => 1,
            Self::AwaitingEnumeration | Self::Waiting => 2,
            Self::AwaitingDevice | Self::Regaining => 3,
            Self::Lingering => 4,
        }
    }
}

/// How often which kind of operation met which situation.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    counts: BTreeMap<(Situation, Kind), u64>,
}

impl Coverage {
    pub(crate) fn count(&mut self, situation: Situation, kind: Kind) {
        *self.counts.entry((situation, kind)).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: Self) {
        for (pair, count) in other.counts {
            *self.counts.entry(pair).or_default() += count;
        }
    }

    /// The pairs that were never met although they can be, and those that were met although they cannot.
    pub(crate) fn gaps(&self) -> Vec<String> {
        let mut gaps = Vec::new();
        for situation in Situation::ALL {
            for kind in Kind::ALL {
                match (self.counts.get(&(situation, *kind)), expectation(situation, *kind)) {
                    (None, Expectation::Often) => gaps.push(format!("{kind:?} never happened in {situation:?}")),
                    (Some(count), Expectation::Never(reason)) => {
                        gaps.push(format!("{kind:?} happened {count} times in {situation:?}, although {reason}"));
                    }
                    _ => {}
                }
            }
        }
        gaps
    }
}

/// Whether an operation is expected to meet a situation.
enum Expectation {
    Often,
    /// It may, but so seldom that a run without it is no gap.
    Seldom,
    Never(&'static str),
}

fn expectation(situation: Situation, kind: Kind) -> Expectation {
    use Kind::{
        Add, AddForeignAddress, BringUp, ChangeGateway, ChangeRights, Close, CloseDescriptor, Create, Drop, Enumerate,
        ExpireLease, FailEngine, FailStep, Flap, GainPrivilege, Ignore, KillClient, KillService, Leave, LoseLease,
        Open, PassLittle, PassLong, PassOn, PassToDeadline, PullCable, PushCable, Reach, Refresh, RegainOtherLease,
        RegainSameLease, RemoveForeignAddress, Replace, RequestUpdate, Return, SetDown, SetReconnect, SetUp, Shutdown,
        Step, Stop, Unplug, UnsetReconnect,
    };
    use Situation::{
        AwaitingDevice, AwaitingEnumeration, ClearingAway, Closing, Connecting, Disconnected, Lingering, NotAvailable,
        Regaining, Removed, Up, Waiting,
    };
    match (kind, situation) {
        (
            Create | Drop | Open | BringUp | Close | Leave | Stop | SetReconnect | KillClient | RequestUpdate | Refresh
            | PassLittle | PassToDeadline | PassLong | Shutdown | ChangeRights | PassOn | CloseDescriptor | KillService,
            AwaitingDevice,
        ) => Expectation::Often,
        // What happens to a device happens to the access point that has it.
        (Enumerate | FailEngine | UnsetReconnect | Ignore | Return, AwaitingDevice) => Expectation::Seldom,
        (_, AwaitingDevice) => Expectation::Never("its device is another's"),
        // A descriptor holds something.
        (CloseDescriptor, NotAvailable | Disconnected | Lingering | Removed) => {
            Expectation::Never("nobody holds it there")
        }
        (Add, Removed) => Expectation::Often,
        (Add, _) => Expectation::Never("it is an access point already"),
        (LoseLease | RegainSameLease | RegainOtherLease | ExpireLease, Connecting | Up | Lingering | Regaining) => {
            Expectation::Often
        }
        (LoseLease | RegainSameLease | RegainOtherLease | ExpireLease, _) => {
            Expectation::Never("no engine is asked to keep a lease there")
        }
        (FailStep, Connecting | Up | Lingering | Regaining | Waiting | Closing) => Expectation::Often,
        (FailStep, ClearingAway) => Expectation::Never("a removal goes on to its end"),
        (FailStep, _) => Expectation::Never("no engine is asked for anything that can fail"),
        // An engine that still lets go of a link that was adopted while sessions waited for it.
        (Step | Reach, NotAvailable | Disconnected | AwaitingEnumeration | Removed) => Expectation::Seldom,
        // Unplugged and forgotten, and plugged in again unseen.
        (
            PullCable | PushCable | Flap | Unplug | Replace | AddForeignAddress | RemoveForeignAddress | SetUp
            | SetDown | ChangeGateway | GainPrivilege,
            Removed,
        ) => Expectation::Seldom,
        _ => Expectation::Often,
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:22}", "")?;
        for situation in Situation::ALL {
            write!(formatter, "{:>21}", format!("{situation:?}"))?;
        }
        for kind in Kind::ALL {
            write!(formatter, "\n{:22}", format!("{kind:?}"))?;
            for situation in Situation::ALL {
                match (self.counts.get(&(situation, *kind)), expectation(situation, *kind)) {
                    (Some(count), _) => write!(formatter, "{count:>21}")?,
                    (None, Expectation::Never(_)) => write!(formatter, "{:>21}", "-")?,
                    (None, Expectation::Seldom) => write!(formatter, "{:>21}", 0)?,
                    (None, Expectation::Often) => write!(formatter, "{:>21}", "NEVER")?,
                }
            }
        }
        writeln!(formatter)
    }
}
