use netbearer_types::Target;
use serde::{Deserialize, Serialize};

/// Where an access point is, seen from the inside. The public states are a projection of it ([`crate::publication`]).
///
/// Who holds stands in the ledger, not here: a phase says what *we* do with the link. The names are kept in files
/// ([`crate::SavedState`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// We do nothing with it; its levels alone say what it is. An adopted link is here, held or not; one that goes down
    /// on demand lingers here, too.
    ///
    /// → `Enumerating`, `AwaitingDevice`, `Starting`, `Waiting` (open); `Sensing` (its service network opened on another member); `Waiting` (adopted link lost); `Closing` (stop; last close or
    /// timer, if the profile says "on-demand").
    Observed,
    /// An open came before the first enumeration ended, when the access point could not be opened yet.
    ///
    /// → `Starting`, `Observed`, `Waiting` (enumerated, discovered, timer); `Observed` (nobody wants it any more).
    Enumerating,
    /// Held; another access point of the same device has to be down first.
    ///
    /// → `Starting`, `Waiting` (it is); `Observed` (last close, stop, failed, still not down in time).
    AwaitingDevice,
    /// Being brought up for those who hold.
    ///
    /// → `Up` (reached); `Closing` (last close, stop); `Retreating`, `Waiting` (failed).
    Starting,
    /// Up, ours, held.
    ///
    /// → `Regaining` (lease lost); `Lingering`, `Closing` (last close); `Closing` (stop); `Retreating`, `Waiting` (link
    /// lost).
    Up,
    /// Up, ours, held; the lease was lost and another is asked for.
    ///
    /// → `Up` (leased again); `Closing` (last close, stop); `Retreating`, `Waiting` (link lost, timer).
    Regaining,
    /// Up, ours, not held.
    ///
    /// → `Up` (open); `Closing` (timer, stop); `Retreating` (link lost).
    Lingering,
    /// Not up; held only by sessions that wait for it (`Reconnect`), and kept ready so that its carrier can be seen. One
    /// that we may not start is left alone meanwhile.
    ///
    /// → `Starting` (discovered again, retry timer, open); `Observed` (became Active by itself); `Retreating`,
    /// `Observed` (nobody waits any more).
    Waiting,
    /// Not held; kept up without addresses, so that its carrier can be seen, while a session is open on another member of its
    /// service network. What levels say of it counts, but never as Active.
    ///
    /// → `Starting`, `Waiting` (open); `Observed` (became Active by others); `Retreating` (no such session any more, unplugged).
    Sensing,
    /// Being taken down, and told so. Sessions that opened meanwhile are held and served afterwards.
    ///
    /// → `Observed`, `Starting`, `Waiting` (target reached, refused by the engine, or not reached in time).
    Closing(Teardown),
    /// What is left of a lost link, a failed start or an ended wait is cleared away; the public sees what will be after.
    ///
    /// → `Observed`, `Starting`, `Waiting` (target reached, refused by the engine, or not reached in time).
    Retreating,
}

/// What is being taken down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Teardown {
    /// A start that nobody wants any more; it never was Active.
    Attempt,
    /// A link of ours; it counts as Active until it is down.
    Link,
    /// A link that the machine itself held; it counts as Active until it is down, and releasing it would not be enough.
    Adopted,
}

impl Phase {
    /// Where the engine shall take the access point; none: it is left alone.
    pub(crate) const fn target(self) -> Option<Target> {
        match self {
            Self::Observed | Self::Enumerating | Self::AwaitingDevice => None,
            Self::Starting | Self::Up | Self::Regaining | Self::Lingering => Some(Target::Configured),
            Self::Waiting | Self::Sensing => Some(Target::Sensed),
            Self::Closing(Teardown::Adopted) => Some(Target::Stopped),
            Self::Closing(Teardown::Attempt | Teardown::Link) | Self::Retreating => Some(Target::Released),
        }
    }
}
