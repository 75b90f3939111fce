use serde::{Deserialize, Serialize};

use crate::{BearerType, Failure, FailureReason, Families, Hardware, Identifier, Interface, Profile, SteeringLevel};

/// Numbers the commands to one access point, so that a report about an overtaken one can be told from news.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommandNumber(pub u64);

/// Where the core wants an access point to be. A level, not an edge: a new target replaces the old one, and the engine
/// goes there from wherever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Target {
    /// As it was found: everything of ours removed, the administrative state restored.
    Released,
    /// Everything of ours removed, and administratively up even if it was found down: others use it now.
    LeftUp,
    /// Administratively down, even if it was found up; everything of ours removed.
    Stopped,
    /// Administratively up, so that the carrier can be seen, without addresses of ours; without any if it was found down.
    Sensed,
    /// Link, addresses, routes and rules in place.
    Configured,
}

/// What the core asks of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessPointCommand {
    /// Which access point.
    pub identifier: Identifier,
    /// Numbers ascend for each access point.
    pub number: CommandNumber,
    /// Where it shall go.
    pub target: Target,
    /// How.
    pub profile: Profile,
}

/// What an engine does at the moment to reach its target: the inner phases of `Connecting`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Step {
    /// Taking the lock and noting how things were found.
    Preparing,
    /// The link is set up; its carrier is awaited.
    AwaitingCarrier,
    /// A lease is asked for.
    AcquiringLease,
    /// Addresses, routes and rules are installed.
    Configuring,
    /// Addresses, routes and rules are removed.
    Removing,
}

/// How far an engine is with a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// On the way. After [`Stage::Reached`] it means that a configured link lost its lease and asks for another.
    Working(Step),
    /// The target holds.
    Reached,
    /// The target cannot be reached, or was lost again. The engine stays where it is and waits for the next command.
    /// Of removals only [`Target::Stopped`] may be refused, before it has begun; else they collect errors and go on to the
    /// end. A failed [`Target::Sensed`] has already removed what was ours but the administrative state.
    Failed(FailureReason, String),
}

/// How far an engine is with which command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The command this is about.
    pub number: CommandNumber,
    /// How far it is.
    pub stage: Stage,
    /// What stands in the way of going further, for people; none if nothing does, or nobody knows.
    pub obstacle: Option<String>,
}

/// What the kernel says of a link now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkLevel {
    /// `IFF_UP`.
    pub administratively_up: bool,
    /// `IFF_LOWER_UP`. Means nothing while the link is administratively down.
    pub carrier: bool,
    /// `IFLA_CARRIER_DOWN_COUNT`: how often the carrier was lost so far. Tells a flap that was over before it was seen.
    pub carrier_losses: u32,
    /// The interface with its addresses.
    pub interface: Interface,
    /// Families with a unicast route over this interface, in whatever table.
    pub routed: Families,
    /// Families with a default route over this interface in the main table.
    pub default_route: Families,
}

/// Whether the interface of an access point is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Level {
    /// The interface does not exist now.
    Absent,
    /// The interface exists.
    Present(LinkLevel),
}

/// An engine's whole truth about one access point. A level, not an edge: reports may be lost or repeated, the newest
/// one decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessPointReport {
    /// Which access point.
    pub identifier: Identifier,
    /// For people.
    pub name: String,
    /// What carries the traffic.
    pub bearer_type: BearerType,
    /// What profiles can know it by besides its name.
    pub hardware: Hardware,
    /// Why the engine cannot start and stop this interface, if it cannot.
    pub cannot_start_and_stop: Option<Failure>,
    /// The engine can count what this interface carries.
    pub counts_traffic: bool,
    /// What the kernel says.
    pub level: Level,
    /// What bears on its routes and rules.
    pub steering: SteeringLevel,
    /// How far the newest command is; none before the first one.
    pub progress: Option<Progress>,
}

impl AccessPointReport {
    /// What is being done now, if the newest command is on its way.
    #[must_use]
    pub fn step(&self) -> Option<Step> {
        match self.progress.as_ref()?.stage {
            Stage::Working(step) => Some(step),
            Stage::Reached | Stage::Failed(..) => None,
        }
    }
}
