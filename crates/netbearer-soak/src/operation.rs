use std::{net::Ipv4Addr, time::Duration};

use netbearer_lab::Fault;

/// Number of an access point of the lab.
pub(crate) type Place = usize;
/// Number of a session in this process.
pub(crate) type Seat = usize;

/// One thing that happens in a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Open(Seat),
    Close(Seat),
    Stop(Seat),
    /// The session is dropped, and another one made, with `Reconnect` or without.
    Replace(Seat, bool),

    /// Another process opens a session with `Reconnect` on an access point, after one that did has ended.
    StartHolder(Place),
    /// It is asked to close and end.
    EndHolder,
    KillHolder,

    Cut(Place),
    Restore(Place),
    /// Cut and restored this often, as fast as may be.
    Flap(Place, u32),
    Unplug(Place),
    /// Plugged in, with another index if there is one.
    Plug(Place, Option<u32>),
    /// The interface is called otherwise from now on.
    Rename(Place),
    RenameBack(Place),
    Enslave(Place),
    Release(Place),

    /// Somebody else sets the interface up or down.
    SetUp(Place, bool),
    AddForeignAddress(Place),
    RemoveForeignAddress(Place),
    FlushAddresses(Place),
    /// Somebody deletes all routes that carry our tag.
    FlushOurRoutes,
    /// Somebody deletes a rule of that priority.
    DeleteRule(u32),

    /// All answers of the DHCP server are wrong from now on.
    Fail(Place, Fault),
    /// The next ones are.
    FailNext(Place, usize, Fault),
    Heal(Place),
    Offer(Place, Ipv4Addr),

    /// So many addresses come and go on an unrelated interface.
    Flood(u32),
    /// The same while the other process is stopped, so that its sockets overrun.
    FloodSleepingHolder(u32),
    /// Nothing, for so long.
    Pause(Duration),
    /// Whatever happens next, or this long.
    NextEvent(Duration),
}

impl Operation {
    /// True if it changes who has set an interface up or down, so that "as it was found" is not what it was at first.
    pub(crate) const fn changes_how_links_are_found(&self) -> bool {
        matches!(self, Self::SetUp(..) | Self::Plug(..) | Self::Unplug(_) | Self::Rename(_))
    }
}
