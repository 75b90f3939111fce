use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
};

use netbearer_types::{AccessPointCommand, AccessPointReport, BypassVpn, Identifier, SocketCookie, SocketEnd, Traffic};

/// What an engine tells the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineEvent {
    /// The newest truth about an access point. Repetition is harmless.
    Report(Box<AccessPointReport>),
    /// The access point is none any more, for the given reason (for instance "enslaved to br0").
    Removed(Identifier, String),
    /// An interface is no access point, for the given reason; for the journal.
    Ignored {
        /// The interface.
        interface_name: String,
        /// Why, as a clause: "it is a loopback".
        reason: String,
    },
    /// The first enumeration has ended: every access point there is has been reported.
    Enumerated,
    /// A refresh asked for by [`Engine::refresh`] has ended.
    Refreshed,
    /// Sockets have ended, whoever they belong to ([`Engine::watch_sockets`]), or were aborted.
    SocketsEnded(Vec<SocketEnd>),
    /// These were looked for and not found ([`Engine::check_sockets`]): they have ended, or were not connected yet.
    SocketsMissing(Vec<SocketCookie>),
    /// Others may have, and nobody has told.
    SocketEndsMissed,
}

/// The engine can do nothing more; its access points are lost.
#[derive(Debug, thiserror::Error)]
#[error("the {engine} engine has failed")]
pub struct EngineError {
    /// The engine's name.
    pub engine: &'static str,
    /// Why.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// One way of managing interfaces.
pub trait Engine: Send {
    /// Takes a command, and returns at once. A newer command to an access point overtakes an older one, from wherever
    /// that has come to. Reports carry the number of the command they are about.
    fn command(&mut self, command: AccessPointCommand);

    /// Gives these access points, which others keep up, a table and rules of ours beside theirs, and all others none. A level:
    /// it holds until the next call. What stands in the way is reported ([`SteeringLevel::unsteered`]).
    ///
    /// [`SteeringLevel::unsteered`]: netbearer_types::SteeringLevel::unsteered
    fn steer(&mut self, access_points: BTreeMap<Identifier, BypassVpn>);

    /// What a process that was killed had up, and an engine was to resume, is cleared away unless a command or
    /// [`Engine::steer`] has taken it over by now. Nothing, for an engine that resumes nothing.
    fn forget_resumed(&mut self) {}

    /// Begins to count what an access point's interface carries, anew if it was counted before, or ends that.
    fn count(&mut self, identifier: &Identifier, counting: bool);

    /// What an access point's interface has carried, whoever sent it, since counting began; nothing while it is not counted
    /// ([`AccessPointReport::counts_traffic`]), or is another interface than it was then.
    fn traffic(&mut self, identifier: &Identifier) -> Traffic;

    /// Ends these sockets, which are bound to access points, soon, and no others. Those that are gone, or belong to another user
    /// than `owner` (by its number; none for anybody's), are passed over.
    fn abort_sockets(&mut self, sockets: BTreeSet<SocketCookie>, owner: Option<u32>);

    /// Begins to tell of sockets that end, or ends that.
    fn watch_sockets(&mut self, watching: bool);

    /// Tells which of these sockets are not to be found, soon.
    fn check_sockets(&mut self, sockets: BTreeSet<SocketCookie>);

    /// What the TCP sockets that are there now have carried, in octets of payload; nothing if that cannot be told.
    fn socket_traffic(&mut self) -> impl Future<Output = BTreeMap<SocketCookie, Traffic>> + Send + 'static;

    /// The core has no interest any more in an access point that was reported absent. It may come back under the same
    /// identifier.
    fn forget(&mut self, identifier: &Identifier);

    /// Waits until no removal is under way. Events meanwhile are lost, so this is the last thing asked of an engine.
    ///
    /// # Errors
    /// When the engine can do nothing more.
    fn settle(&mut self) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Starts looking at everything anew. One [`EngineEvent::Refreshed`] follows each call.
    fn refresh(&mut self);

    /// Waits for the next event. Dropping the future loses no event.
    ///
    /// # Errors
    /// When the engine can do nothing more. It is not asked again.
    fn event(&mut self) -> impl Future<Output = Result<EngineEvent, EngineError>> + Send;
}
