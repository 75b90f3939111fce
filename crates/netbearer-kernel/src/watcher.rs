use std::{collections::BTreeSet, future, io, time::Duration};

use futures_util::future::{Either, select};
use netbearer_engine::Clock;
use netbearer_types::{Family, Moment};

use crate::{
    BootClock, Cache, Change, Changes, Part,
    netlink_socket::{Content, Message, NetlinkSocket, Received},
};

/// How often suspects are asked for their carrier while the kernel may be holding events back. Half of it is the mean
/// delay of a carrier loss, and a question costs some ten microseconds.
pub const POKE_INTERVAL: Duration = Duration::from_millis(15);

/// How long after a link event suspects are asked. The kernel tells carrier changes of ordinary cards at most once a
/// second, for the whole machine (`linkwatch_nextevent` of `net/core/link_watch.c`).
pub const POKE_WINDOW: Duration = Duration::from_millis(1_000 + 50);

/// How often watched interfaces are asked for their carrier, whether there is reason to or not.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(20);

const GROUPS: [u32; 11] = [
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV6_ROUTE,
    libc::RTNLGRP_IPV4_RULE,
    libc::RTNLGRP_IPV6_RULE,
    libc::RTNLGRP_IPV4_NETCONF,
    libc::RTNLGRP_NEXTHOP,
    libc::RTNLGRP_IPV6_PREFIX,
    libc::RTNLGRP_ND_USEROPT,
];

const EVENT_BUFFER: usize = 8 << 20;
const DUMP_BUFFER: usize = 1 << 20;
/// Datagrams read in one go; others get their turn then, however hard the kernel talks.
const DATAGRAMS_PER_TURN: usize = 4_096;
const DUMP_ATTEMPTS: u32 = 8;
/// How long a dump that was interrupted every time is left alone.
const DUMP_PAUSE: Duration = Duration::from_millis(100);
/// The loopback interface, which every namespace has.
const LOOPBACK: u32 = 1;

/// The kernel can no longer be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// A socket cannot be opened.
    #[error("cannot open a netlink socket")]
    Open(#[source] io::Error),
    /// Events cannot be read.
    #[error("cannot read events from the kernel")]
    Events(#[source] io::Error),
    /// The configuration cannot be dumped.
    #[error("cannot read {part:?} from the kernel")]
    Dump {
        /// What was asked for.
        part: Part,
        /// Why it could not be had.
        #[source]
        source: io::Error,
    },
}

/// Keeps a [`Cache`] equal to the kernel's truth.
///
/// Levels, not edges: lost messages, and messages that leave something open, lead to a dump and a comparison, the same
/// code that fills the cache first.
///
/// The kernel tells carrier changes of ordinary cards late and drops most of a quick row of them, but answers truly when
/// asked. So for a second after any link event the interfaces named by [`Watcher::set_suspects`] are asked every 15 ms.
/// The questions go through the event socket: answers and events come in the order of what happened. An answer is not
/// an event, so asking does not prolong itself; an event that a question called forth, because there was something to
/// tell, does.
#[derive(Debug)]
pub struct Watcher {
    clock: BootClock,
    events: NetlinkSocket,
    questions: NetlinkSocket,
    cache: Cache,
    pending: Changes,
    suspects: BTreeSet<u32>,
    watched: BTreeSet<u32>,
    last_link_event: Moment,
    next_poke: Option<Moment>,
    /// Everything was read, and no more has been announced since.
    all_read: bool,
    /// Dumps are put off until then.
    dump_pause: Option<Moment>,
    /// Messages were lost. The kernel drops more of them without a word until all that it has kept is read
    /// (`NETLINK_S_CONGESTED` of `net/netlink/af_netlink.c`), so nothing is read anew before.
    is_congested: bool,
    /// Since when there is more to read than was read, or something to be read anew.
    behind_since: Option<Moment>,
    overruns: u64,
}

impl Watcher {
    /// Opens the sockets in the network namespace of the calling thread, and fills the cache.
    ///
    /// # Errors
    /// When a socket cannot be opened or the kernel refuses a dump. No privilege is needed.
    pub async fn open(clock: BootClock) -> Result<Self, WatchError> {
        Self::open_with_buffer(clock, EVENT_BUFFER).await
    }

    /// As [`Watcher::open`], with a receive buffer of so many bytes for events (8 MiB otherwise). Small ones make overruns
    /// likely, which is what tests of that want.
    ///
    /// # Errors
    /// As [`Watcher::open`].
    pub async fn open_with_buffer(clock: BootClock, buffer_size: usize) -> Result<Self, WatchError> {
        let start = clock.now();
        let mut watcher = Self {
            clock,
            events: NetlinkSocket::open(&GROUPS, buffer_size).map_err(WatchError::Open)?,
            questions: NetlinkSocket::open(&[], DUMP_BUFFER).map_err(WatchError::Open)?,
            cache: Cache::default(),
            pending: Changes::default(),
            suspects: BTreeSet::new(),
            watched: BTreeSet::new(),
            // Whether the kernel told something just before is not known.
            last_link_event: start,
            next_poke: None,
            all_read: false,
            dump_pause: None,
            is_congested: false,
            behind_since: None,
            overruns: 0,
        };
        watcher.resync().await?;
        watcher.pending = Changes::default();
        Ok(watcher)
    }

    /// What is known now: the state at the last return of [`Watcher::changed`] or [`Watcher::resync`], or newer.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// How often messages were lost.
    #[must_use]
    pub fn overruns(&self) -> u64 {
        self.overruns
    }

    /// Names the interfaces whose carrier matters. None of them: nothing is asked, and no timer runs.
    pub fn set_suspects(&mut self, suspects: BTreeSet<u32>) {
        self.suspects = suspects;
        self.plan_poke();
    }

    /// Names the interfaces that are asked for their carrier every 20 ms, for ever: events in other network namespaces hold
    /// back those of this one, and nothing here shows it.
    pub fn set_watched(&mut self, watched: BTreeSet<u32>) {
        self.watched = watched;
        self.plan_poke();
    }

    /// Routers were solicited on this interface: it is no longer [`Cache::unheard`].
    pub fn solicited(&mut self, interface: u32) {
        self.cache.solicited(interface);
    }

    /// True if there was more to read than could be read at once, or what was lost could not be read anew yet: what the kernel
    /// did before this moment may not be known. [`Watcher::changed`] returns when it is.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.behind_since.is_some()
    }

    /// Since when it [is behind](Watcher::is_behind), without a break. Others can make this last: by changing without end what
    /// takes long to dump.
    #[must_use]
    pub fn behind_since(&self) -> Option<Moment> {
        self.behind_since
    }

    /// Has the next [`Watcher::changed`] read what the kernel has said by then, though nothing has announced it yet. What it said to a
    /// request of the calling thread was said when the request returned.
    pub fn look_up(&mut self) {
        self.all_read = false;
    }

    /// Waits until something has changed, and reads everything there is to read; or until it has caught up, perhaps without
    /// any change, if it [is behind](Watcher::is_behind). Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the kernel can no longer be watched.
    pub async fn changed(&mut self) -> Result<Changes, WatchError> {
        loop {
            let was_behind = self.is_behind();
            let all_read = self.catch_up().await?;
            let has_caught_up = was_behind && !self.is_behind();
            if has_caught_up || !self.pending.is_empty() {
                return Ok(std::mem::take(&mut self.pending));
            }
            if all_read {
                self.wait().await?;
            } else {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Reads everything anew, and tells what was not known. What routers announce cannot be read: all links are
    /// [`Cache::unheard`] then. To be called after a suspend, as the kernel does not count that time in lifetimes.
    /// What could not be read at once ([`Watcher::is_behind`]), or was not because the future was dropped, is made good by the
    /// next [`Watcher::changed`].
    ///
    /// # Errors
    /// When the kernel can no longer be watched.
    pub async fn resync(&mut self) -> Result<Changes, WatchError> {
        self.doubt();
        self.catch_up().await?;
        Ok(std::mem::take(&mut self.pending))
    }

    /// Has the next [`Watcher::changed`] do what [`Watcher::resync`] does. The watcher [is behind](Watcher::is_behind) until then.
    pub fn doubt(&mut self) {
        Part::ALL.into_iter().for_each(|part| self.cache.doubt(part));
        // The caller knows; to him it is no change.
        let _ = self.cache.doubt_announcements();
        self.dump_pause = None;
        self.all_read = false;
        self.behind_since.get_or_insert(self.clock.now());
    }

    /// Reads what there is to read, and then anew what that leaves open: what was told before a dump would only bring back
    /// former states. False if there may be more to read.
    async fn catch_up(&mut self) -> Result<bool, WatchError> {
        // Until the end of this, as the future may be dropped on the way.
        let now = self.clock.now();
        self.behind_since.get_or_insert(now);
        if !self.all_read {
            self.all_read = self.drain()?;
        }
        let all_read = self.all_read;
        self.pending += self.cache.expire(now);
        if all_read && std::mem::take(&mut self.is_congested) {
            Part::ALL.into_iter().for_each(|part| self.cache.doubt(part));
        }
        if !self.is_congested {
            self.settle().await?;
        }
        if all_read && self.dump_pause.is_none() {
            self.behind_since = None;
        }
        Ok(all_read)
    }

    /// Reads what there is to read; false if there may be more.
    fn drain(&mut self) -> Result<bool, WatchError> {
        for _ in 0..DATAGRAMS_PER_TURN {
            let own_port = self.events.port();
            let now = self.clock.now();
            match self.events.receive(now).map_err(WatchError::Events)? {
                Received::Empty => return Ok(true),
                Received::Overrun => self.lose(),
                Received::Messages(messages) => {
                    let mut link_event = false;
                    let mut lost = false;
                    for Message { content, port, sequence, .. } in messages {
                        // The sequence tells our questions from what another socket with a chosen port asked for.
                        let is_answer = port == own_port && sequence != 0;
                        link_event |= !is_answer
                            && matches!(
                                content,
                                Content::LinkHint | Content::Change(Change::Link(_) | Change::LinkGone(_))
                            );
                        match content {
                            Content::Change(change) => self.pending += self.cache.apply(change, now),
                            Content::NextHopGone => {
                                [Family::V4, Family::V6]
                                    .into_iter()
                                    .for_each(|family| self.cache.doubt(Part::Routes(family)));
                            }
                            Content::PrefixHeard => self.cache.doubt(Part::Routes(Family::V6)),
                            Content::FilterChanged => self.pending.reverse_path_filters = true,
                            Content::Overrun => lost = true,
                            // A suspect that is gone was told of, or will be.
                            Content::LinkHint | Content::Answer(_) | Content::Done(_) | Content::Nothing => {}
                        }
                    }
                    if lost {
                        self.lose();
                    }
                    if link_event {
                        self.last_link_event = now;
                        self.plan_poke();
                    }
                }
            }
        }
        Ok(false)
    }

    fn lose(&mut self) {
        self.overruns += 1;
        self.is_congested = true;
        tracing::debug!("messages of the kernel were lost, reading everything anew");
        Part::ALL.into_iter().for_each(|part| self.cache.doubt(part));
        self.pending += self.cache.doubt_announcements();
        self.pending.reverse_path_filters = true;
    }

    /// Ends the doubts of the cache.
    async fn settle(&mut self) -> Result<(), WatchError> {
        if self.dump_pause.is_some_and(|end| self.clock.now() < end) {
            return Ok(());
        }
        self.dump_pause = None;
        // One that changes without end does not keep the others from being read.
        let mut interrupted = BTreeSet::new();
        while let Some(part) = self.cache.doubts().difference(&interrupted).next().copied() {
            let failed = |source| WatchError::Dump { part, source };
            if matches!(part, Part::Routes(_)) {
                // Route dumps do not wait for whoever is changing links, and the kernel tells of a link going down
                // before it removes the routes. A question about a link does wait.
                self.questions.ask_for_link(LOOPBACK).map_err(failed)?;
            }
            let answer = self.questions.dump(part, DUMP_ATTEMPTS, &self.clock).await.map_err(failed)?;
            self.pending += self.cache.update(answer.dump);
            if answer.interrupted {
                self.cache.doubt(part);
                self.dump_pause = Some(self.clock.now() + DUMP_PAUSE);
                interrupted.insert(part);
            }
        }
        Ok(())
    }

    /// Waits until there may be something to read, to ask or to dump.
    async fn wait(&mut self) -> Result<(), WatchError> {
        let next_poke = self.next_poke;
        let alarm = next_poke.into_iter().chain(self.dump_pause).chain(self.cache.next_expiry()).min();
        let clock = &self.clock;
        let timer = async {
            match alarm {
                Some(deadline) => clock.sleep_until(deadline).await,
                None => future::pending().await,
            }
        };
        if let Either::Left((readable, _)) = select(std::pin::pin!(self.events.readable()), std::pin::pin!(timer)).await
        {
            readable.map_err(WatchError::Events)?;
            self.all_read = false;
        }
        if next_poke.is_some_and(|due| self.clock.now() >= due) {
            self.poke()?;
        }
        Ok(())
    }

    fn poke(&mut self) -> Result<(), WatchError> {
        let in_window = self.next_poke.take().is_some_and(|due| self.in_window(due));
        let suspects = self.suspects.iter().filter(|_| in_window);
        for interface in suspects.chain(&self.watched).collect::<BTreeSet<_>>() {
            self.events.ask_for_link(*interface).map_err(WatchError::Events)?;
        }
        self.all_read = false;
        self.plan_poke();
        Ok(())
    }

    fn plan_poke(&mut self) {
        let next = self.next_poke.unwrap_or_else(|| {
            let now = self.clock.now();
            let soon = now + POKE_INTERVAL;
            if self.in_window(soon) { soon } else { now + WATCH_INTERVAL }
        });
        self.next_poke = (self.in_window(next) || !self.watched.is_empty()).then_some(next);
    }

    /// True if the suspects are to be asked at that moment.
    fn in_window(&self, moment: Moment) -> bool {
        !self.suspects.is_empty() && moment <= self.last_link_event + POKE_WINDOW
    }
}
