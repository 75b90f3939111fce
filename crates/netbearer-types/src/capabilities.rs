use bitflags::bitflags;
use serde::{Deserialize, Serialize};

bitflags! {
    /// What can be done with a configuration; truthful per configuration, the manager reports the union (semantics §1).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
    pub struct Capabilities: u32 {
        /// `open()` may bring the link up, `stop()` may take it down.
        const CanStartAndStopInterfaces = 0x1;
        /// Sockets can be bound to the access point.
        const DirectConnectionRouting = 0x2;
        /// Sessions are counted across processes.
        const SystemSessionSupport = 0x4;
        /// Applications may decide when to roam.
        const ApplicationLevelRoaming = 0x8;
        /// Sessions roam without being asked when their link is lost.
        const ForcedRoaming = 0x10;
        /// Byte counters are kept.
        const DataStatistics = 0x20;
        /// No default route exists without a session.
        const NetworkSessionRequired = 0x40;
    }
}
