use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt;
use netbearer_engine::{Clock, Engine, EngineError, EngineEvent};
use netbearer_kernel::{
    BootClock, Cache, Changes, Link, Requests, Resumptions, TrafficMeter, WatchError, Watcher, missing_privileges,
};
use netbearer_managers::Places;
use netbearer_types::{
    AccessPointCommand, AccessPointReport, BearerType, BypassVpn, Failure, FailureReason, Hardware, Identifier, Level,
    Moment, Progress, SessionError, SocketCookie, Stage, SteeringPlan, Target, Traffic,
};
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
};

use crate::{
    beside::Beside,
    carrier_watch::CarrierWatch,
    classification::{Classification, classify},
    device::Device,
    foreign::ForeignManagers,
    installation::Standing,
    learnt::Learnt,
    leftovers::{self, Leftovers},
    notes::{NoteFile, Notes},
    ownership::{Ownership, lock_path},
    remembered::RememberedLeases,
    reporting::{self, Names},
    spare_socket::SpareSocket,
    steering::{Numbers, tables_in_use},
    surroundings::Surroundings,
    worker::{Context, LinkView, News, Order, Topic, Worker},
};

use counters::CountingStart;
use sockets::Sockets;
use solicitations::Solicitations;

pub(crate) use inheritance::Inherited;

mod counters;
mod inheritance;
mod others;
mod sockets;
mod solicitations;

/// How long what is to be told waits for the kernel's messages to be read, if others have it talk without end.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where the engine keeps its lock, its notes and its leases.
#[derive(Clone, Debug)]
pub struct NativeSettings {
    /// For locks and notes.
    pub runtime_directory: PathBuf,
    /// For remembered leases.
    pub state_directory: PathBuf,
    /// Where other network managers are to be found.
    pub managers: Places,
    /// Whose carrier is asked for all the time.
    pub carrier_watch: CarrierWatch,
    /// Which tables and marks access points may have.
    pub steering: SteeringPlan,
    /// What a process that was killed had up, or had a table beside, and is to be gone on with: what it left there is kept
    /// for the first command or the first [`Engine::steer`]. Everything else that it left is cleared at the start.
    pub resumed: BTreeSet<Identifier>,
    /// What a process that was killed had up stays as it is, and is as if others had set it up: nothing of it is noted any more.
    /// What it had begun, and what it had up before a reboot, is cleared.
    pub leaves_links: bool,
}

/// Why the engine could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The kernel cannot be watched.
    #[error("the kernel's network configuration cannot be watched")]
    Watch(#[from] WatchError),
    /// A socket or timer cannot be opened.
    #[error("a socket for requests to the kernel cannot be opened")]
    Socket(#[source] io::Error),
    /// This process's capabilities cannot be read.
    #[error("the privileges of this process cannot be read")]
    Privileges(#[source] io::Error),
    /// `/proc` does not tell the namespace or the boot.
    #[error("the network namespace cannot be identified; is /proc mounted?")]
    Namespace(#[source] io::Error),
}

/// The files of one network namespace.
pub(crate) struct Place {
    pub(crate) ownership: Ownership,
    pub(crate) notes: Notes,
    pub(crate) boot: String,
}

impl NativeSettings {
    pub(crate) fn place(&self) -> Result<Place, StartError> {
        let inode = netbearer_kernel::network_namespace_inode().map_err(StartError::Namespace)?;
        Ok(Place {
            ownership: Ownership::new(lock_path(&self.runtime_directory, inode)),
            notes: Notes::new(self.runtime_directory.join(format!("netns-{inode}"))),
            boot: netbearer_kernel::boot_identifier().map_err(StartError::Namespace)?,
        })
    }
}

/// The native engine. Watches the network namespace of the thread that started it.
pub struct NativeEngine {
    watcher: Watcher,
    managers: ForeignManagers,
    resumptions: Resumptions,
    carrier_watch: CarrierWatch,
    context: Arc<Context>,
    missing_privileges: Vec<&'static str>,
    plan: SteeringPlan,
    /// Reads what interfaces carry; none where the kernel does not tell.
    meter: Option<TrafficMeter>,
    /// What others have that bears on rules of ours, wherever those are.
    surroundings: Surroundings,
    /// The links that others keep up and that shall have a table of ours beside theirs.
    steered: BTreeMap<Identifier, BypassVpn>,
    access_points: BTreeMap<Identifier, Entry>,
    /// Interfaces that are no access points, and why.
    ignored: BTreeMap<u32, String>,
    /// The devices behind interfaces.
    devices: BTreeMap<u32, Device>,
    events: VecDeque<EngineEvent>,
    /// Refreshes that were asked for since the last look at everything began.
    refreshes: usize,
    /// Those that the look under way answers, which ends when the kernel has been heard out.
    refreshed: usize,
    /// Everything has to be compared once that look has ended.
    owes_look: bool,
    /// Workers were told something, and have not run since.
    workers_have_news: bool,
    /// Interfaces came, went or changed since the watcher was told whose carrier matters.
    suspects_are_old: bool,
    /// Why the kernel cannot be watched any more; told once everything seen before has been.
    failure: Option<WatchError>,
    news: mpsc::UnboundedReceiver<News>,
    /// Not told before the kernel's messages have been read.
    unread_news: Vec<News>,
    /// Rules or routes have changed since they were compared with what is to stand.
    owes_comparison: bool,
    solicitations: Solicitations,
    sockets: Sockets,
    news_sender: mpsc::UnboundedSender<News>,
    /// What a killed process had up, by the indexes of interfaces that have not been met yet.
    inheritance: BTreeMap<u32, Inherited>,
}

/// One access point as the engine knows it.
struct Entry {
    /// Its interface; none while that is gone.
    index: Option<u32>,
    /// That as it was when it was last looked at.
    seen: Option<Arc<Link>>,
    bearer_type: BearerType,
    hardware: Hardware,
    /// Only its own program can start it.
    tunnel: bool,
    name: String,
    names: Names,
    progress: Option<Progress>,
    link: watch::Sender<Option<LinkView>>,
    /// For the worker, if there is one.
    learnt: watch::Sender<Learnt>,
    worker: Option<WorkerHandle>,
    reported: Option<AccessPointReport>,
    /// The worker has ended its work on the newest order.
    settled: bool,
    /// What of ours stands in the kernel, unless that is changing.
    standing: Option<Standing>,
    /// How often some of that was found missing.
    interferences: u32,
    /// How often its worker has asked for a view of the link as it is now.
    looks: u32,
    /// It is no access point any more; the worker clears away what is ours.
    departing: bool,
    /// Its interface is gone, and the core has forgotten it.
    forgotten: bool,
    /// What of ours stands beside it while others keep it up.
    beside: Option<Beside>,
    /// Why nothing does, though it shall.
    unsteered: Option<Failure>,
    /// What a killed process had up there, until a command says what becomes of it.
    inherited: Option<Inherited>,
    /// Where its counters stood when it became Active; none while it is not.
    counting_start: Option<CountingStart>,
}

struct WorkerHandle {
    orders: watch::Sender<Order>,
    task: AbortHandle,
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What may have changed of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Everything,
    /// Neither addresses nor routes. The loss of a carrier is no more than that, and sessions are waiting to be told.
    Link,
}

/// What woke the engine.
enum Wake {
    Kernel(Result<Changes, WatchError>),
    News(Option<News>),
    Impatience,
    SolicitationsDue,
    Managers,
    Resumed,
    Sockets(EngineEvent),
}

impl NativeEngine {
    /// Looks at everything there is. Clears first what a killed process has left, if nobody else uses the namespace and
    /// this process may.
    ///
    /// # Errors
    /// When the kernel cannot be watched.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O enabled.
    pub async fn start(settings: NativeSettings, clock: BootClock) -> Result<Self, StartError> {
        let place = settings.place()?;
        let missing_privileges = missing_privileges().map_err(StartError::Privileges)?;
        let requests = Requests::open().map_err(StartError::Socket)?;
        let mut managers = ForeignManagers::open(&settings.managers, clock.clone());
        let (watcher, ()) = tokio::join!(Watcher::open(clock.clone()), managers.first_answers());
        let mut watcher = watcher?;
        let plan = settings.steering;
        let inheritance = if missing_privileges.is_empty() {
            if settings.leaves_links {
                leftovers::leave(watcher.cache(), &place);
            }
            let is_inherited = inheritance::choice(watcher.cache(), &settings.resumed);
            leftovers::clear_at_start(&mut watcher, &place, &requests, (&managers, &plan), is_inherited).await?
        } else {
            None
        };
        let (news_sender, news) = mpsc::unbounded_channel();
        let resumptions = clock.resumptions();
        let context = Context {
            requests,
            clock,
            ownership: place.ownership,
            notes: place.notes,
            remembered: RememberedLeases::new(settings.state_directory.join("leases")),
            numbers: Numbers::new(plan.first_table),
            spare: SpareSocket::default(),
            addresses: Arc::default(),
            boot: place.boot,
        };
        if missing_privileges.is_empty() {
            context.spare.replenish();
        }
        let surroundings = Surroundings::of_the_machine(watcher.cache(), &plan);
        let inheritance = inheritance::take_over(inheritance, &context, watcher.cache(), &plan);
        let mut engine = Self {
            watcher,
            managers,
            resumptions,
            carrier_watch: settings.carrier_watch,
            context: Arc::new(context),
            missing_privileges,
            plan,
            meter: counters::open_meter(),
            surroundings,
            steered: BTreeMap::new(),
            access_points: BTreeMap::new(),
            ignored: BTreeMap::new(),
            devices: BTreeMap::new(),
            events: VecDeque::new(),
            refreshes: 0,
            refreshed: 0,
            owes_look: false,
            workers_have_news: false,
            suspects_are_old: false,
            failure: None,
            news,
            unread_news: Vec::new(),
            owes_comparison: false,
            solicitations: Solicitations::default(),
            sockets: Sockets::new(),
            news_sender,
            inheritance,
        };
        if engine.surroundings.mark_field.is_none() {
            engine.say_which_mark();
        }
        engine.look();
        // Of interfaces that have gone meanwhile.
        std::mem::take(&mut engine.inheritance).into_values().for_each(|inherited| engine.clear_inherited(inherited));
        engine.events.push_back(EngineEvent::Enumerated);
        Ok(engine)
    }

    /// Compares every interface there is, or was, with what is known of it.
    fn look(&mut self) {
        let present = self.watcher.cache().links().keys().copied();
        let known = self.access_points.values().filter_map(|entry| entry.index);
        let interfaces: BTreeSet<u32> = present.chain(known).chain(self.ignored.keys().copied()).collect();
        self.look_at_each(interfaces.into_iter().map(|index| (index, Extent::Everything)));
    }

    /// The same, after everything was read from the kernel anew.
    async fn look_anew(&mut self) -> Result<(), EngineError> {
        let changes = self.watcher.resync().await.map_err(Self::failed)?;
        self.take_in_with_news(changes);
        self.look();
        Ok(())
    }

    fn look_at_each(&mut self, interfaces: impl Iterator<Item = (u32, Extent)>) {
        for (index, extent) in interfaces {
            let cache = self.watcher.cache();
            if extent == Extent::Everything {
                let addresses = cache.addresses_of(index).map(|address| (address.address, address.is_ours()));
                self.context.addresses.note(index, addresses);
            }
            self.context.addresses.note_hardware(index, cache.link(index).map(|link| &link.hardware_address));
            match cache.link(index).map(Arc::clone) {
                Some(link) if extent == Extent::Link && self.follow_lost_carrier(&link) => {}
                Some(link) => self.look_at(&link, extent),
                None => self.notice_absence(index),
            }
        }
        self.suspects_are_old = true;
    }

    /// The short way of what sessions wait for most: a carrier that is lost. False if the link has changed otherwise, too.
    fn follow_lost_carrier(&mut self, link: &Arc<Link>) -> bool {
        let mut entries = self.access_points.values_mut();
        let Some(entry) = entries.find(|entry| entry.index == Some(link.index)) else { return false };
        let is_all = entry.seen.as_ref().is_some_and(|seen| link.has_only_lost_carrier(seen));
        if !is_all || entry.departing || entry.tunnel {
            return false;
        }
        let Some(report) = &mut entry.reported else { return false };
        let Level::Present(level) = &mut report.level else { return false };
        level.carrier = false;
        level.carrier_losses = link.carrier_losses;
        report.progress.clone_from(&entry.progress);
        self.events.push_back(EngineEvent::Report(Box::new(report.clone())));
        entry.seen = Some(Arc::clone(link));
        entry.link.send_modify(|view| {
            if let Some(view) = view {
                view.carrier = false;
                view.carrier_losses = link.carrier_losses;
            }
        });
        self.workers_have_news |= entry.worker.is_some();
        true
    }

    fn look_at(&mut self, link: &Arc<Link>, extent: Extent) {
        let known = self.identifier_of(link.index);
        let device = self.devices.entry(link.index).or_insert_with(|| Device::of(link));
        match classify(link, device.kind.as_deref()) {
            Classification::Not(reason) => {
                if let Some(identifier) = known {
                    self.depart(&identifier, &reason);
                } else if self.ignored.get(&link.index) != Some(&reason) {
                    self.ignored.insert(link.index, reason.clone());
                    self.events.push_back(EngineEvent::Ignored { interface_name: link.name.clone(), reason });
                }
            }
            Classification::AccessPoint(bearer_type) => self.meet(link, known, bearer_type, false, extent),
            Classification::Tunnel => self.meet(link, known, BearerType::Vpn, true, extent),
        }
    }

    fn meet(
        &mut self,
        link: &Arc<Link>,
        known: Option<Identifier>,
        bearer_type: BearerType,
        tunnel: bool,
        extent: Extent,
    ) {
        self.ignored.remove(&link.index);
        let identifier = known.unwrap_or_else(|| self.name_access_point(link));
        let entry = self.access_points.entry(identifier.clone()).or_insert_with(|| Entry::new(link));
        if entry.departing {
            return;
        }
        if let Some(inherited) = self.inheritance.remove(&link.index) {
            entry.names = inherited.names();
            entry.inherited = Some(inherited);
        }
        let is_as_seen = entry.seen.as_ref().is_some_and(|seen| is_same_device(seen, link));
        if !is_as_seen {
            entry.hardware = self.devices.get(&link.index).map(|device| device.hardware(link)).unwrap_or_default();
            entry.name.clone_from(&link.name);
        }
        let is_back = link.carrier && entry.seen.as_ref().is_some_and(|seen| !seen.carrier);
        // Never for those who only watch.
        if is_back && self.sockets.has_aborted() {
            ask_neighbours_anew(link);
        }
        entry.seen = Some(Arc::clone(link));
        entry.index = Some(link.index);
        entry.bearer_type = bearer_type;
        entry.tunnel = tunnel;
        entry.forgotten = false;
        let surroundings = self.surroundings.of(link.index, &self.context.addresses);
        let view = LinkView {
            interferences: entry.interferences,
            looks: entry.looks,
            ..LinkView::new(link, bearer_type.family(), surroundings)
        };
        let is_news = entry.link.borrow().as_ref() != Some(&view);
        if is_news {
            entry.link.send_replace(Some(view));
            self.workers_have_news |= entry.worker.is_some();
        }
        if extent == Extent::Everything && entry.worker.is_some() {
            entry.tell_what_was_learnt(self.watcher.cache(), link.index);
        }
        self.report(&identifier, extent);
    }

    fn notice_absence(&mut self, index: u32) {
        self.ignored.remove(&index);
        self.devices.remove(&index);
        self.solicitations.forget(index);
        let Some(identifier) = self.identifier_of(index) else { return };
        if let Some(entry) = self.access_points.get_mut(&identifier) {
            entry.index = None;
            entry.link.send_replace(None);
        }
        self.let_go_beside(&identifier);
        self.give_up_inherited(&identifier);
        self.report(&identifier, Extent::Everything);
        self.drop_if_idle(&identifier);
    }

    /// An interface is no access point any more: the core is told at once, and the worker clears away what is ours.
    fn depart(&mut self, identifier: &Identifier, reason: &str) {
        let Some(entry) = self.access_points.get_mut(identifier) else { return };
        if entry.departing {
            return;
        }
        entry.departing = true;
        self.events.push_back(EngineEvent::Removed(identifier.clone(), reason.to_owned()));
        self.let_go_beside(identifier);
        self.give_up_inherited(identifier);
        let Some(entry) = self.access_points.get_mut(identifier) else { return };
        if let Some(worker) = &entry.worker {
            entry.settled = false;
            worker.orders.send_modify(|order| {
                order.number = None;
                order.target = Target::Released;
            });
        }
        self.drop_if_idle(identifier);
    }

    /// What nobody asks about any more goes when nothing of ours is left of it, and not before.
    fn drop_if_idle(&mut self, identifier: &Identifier) {
        let Some(entry) = self.access_points.get(identifier) else { return };
        if !(entry.departing || entry.forgotten) || entry.has_something_of_ours() {
            return;
        }
        let departed = entry.departing;
        self.access_points.remove(identifier);
        if departed {
            // It may be one again by now.
            self.look();
        }
    }

    /// Has workers put back what is missing of ours. Where the link itself is no good, that is the core's to judge.
    fn look_for_interference(&mut self) {
        let cache = self.watcher.cache();
        for entry in self.access_points.values_mut() {
            let Some(link) = entry.index.and_then(|index| cache.link(index)) else { continue };
            let Some(standing) = &entry.standing else { continue };
            let has_address = cache.addresses_of(link.index).next().is_some();
            if link.administratively_up && link.carrier && has_address && !standing.is_complete(cache) {
                entry.interferences += 1;
                // Until the worker says what stands again.
                entry.standing = None;
                let interferences = entry.interferences;
                entry.link.send_modify(|link| {
                    if let Some(link) = link {
                        link.interferences = interferences;
                    }
                });
                self.workers_have_news = true;
            }
        }
    }

    /// Has routers say again what may have been missed, on links where something of ours is. Watching others touches
    /// nothing. Where they were asked a moment ago, what was missed since stays [`Cache::unheard`] for a while.
    fn ask_routers(&mut self) {
        let cache = self.watcher.cache();
        let is_wanted = |entry: &&Entry| {
            entry.index.is_some_and(|index| cache.unheard().contains(&index)) && entry.has_something_of_ours()
        };
        let wanted = self.access_points.values().filter(is_wanted).filter_map(|entry| cache.link(entry.index?));
        let wanted = wanted.map(|link| (link.index, link.carrier_losses));
        for interface in self.solicitations.take_due(wanted, self.context.clock.now()) {
            // Without a link-local address yet, the kernel asks when there is one.
            if let Err(error) = netbearer_kernel::solicit_routers(interface) {
                tracing::debug!(interface, "routers could not be solicited: {error}");
            }
            self.watcher.solicited(interface);
        }
    }

    fn identifier_of(&self, index: u32) -> Option<Identifier> {
        self.access_points
            .iter()
            .find(|(_, entry)| entry.index == Some(index))
            .map(|(identifier, _)| identifier.clone())
    }

    fn name_access_point(&self, link: &Link) -> Identifier {
        let is_there = |entry: &Entry| entry.index.is_some();
        inheritance::name(link, |identifier| self.access_points.get(identifier).is_some_and(is_there))
    }

    /// Carrier changes matter on every access point that has one.
    fn name_suspects(&mut self) {
        let cache = self.watcher.cache();
        let up: BTreeMap<u32, &Entry> = self
            .access_points
            .values()
            .filter_map(|entry| Some((cache.link(entry.index?)?, entry)))
            .filter(|(link, _)| link.administratively_up)
            .map(|(link, entry)| (link.index, entry))
            .collect();
        let is_watched = |entry: &Entry| self.carrier_watch.is_on(&entry.name, &entry.hardware);
        let watched = up.iter().filter(|(_, entry)| is_watched(entry)).map(|(index, _)| *index).collect();
        let suspects = up.into_keys().collect();
        self.watcher.set_suspects(suspects);
        self.watcher.set_watched(watched);
    }

    fn report(&mut self, identifier: &Identifier, extent: Extent) {
        let Some(entry) = self.access_points.get(identifier) else { return };
        let cannot_start_and_stop = self.cannot_start_and_stop(entry);
        let steering = self.steering_level(identifier, entry);
        let Some(entry) = self.access_points.get_mut(identifier) else { return };
        if entry.departing {
            return;
        }
        let cache = self.watcher.cache();
        let link = entry.index.and_then(|index| cache.link(index));
        let before = entry.reported.as_ref().map(|report| &report.level);
        let level = match (link, before) {
            (None, _) => Level::Absent,
            (Some(link), Some(Level::Present(before)))
                if extent == Extent::Link && before.interface.index == link.index =>
            {
                Level::Present(reporting::with_link(before.clone(), link))
            }
            (Some(link), _) => {
                let names = entry.names.clone().joined(cache.announcements_of(link.index, self.context.clock.now()));
                Level::Present(reporting::link_level(cache, link, &names))
            }
        };
        let report = AccessPointReport {
            identifier: identifier.clone(),
            name: entry.name.clone(),
            bearer_type: entry.bearer_type,
            hardware: entry.hardware.clone(),
            cannot_start_and_stop,
            counts_traffic: self.meter.is_some(),
            level,
            steering,
            progress: entry.progress.clone(),
        };
        if entry.reported.as_ref() != Some(&report) {
            entry.reported = Some(report.clone());
            self.events.push_back(EngineEvent::Report(Box::new(report)));
        }
    }

    /// Whose it is to start and stop, if not ours. What is ours already stays ours, whoever comes later and wants it.
    fn cannot_start_and_stop(&self, entry: &Entry) -> Option<Failure> {
        let name = entry.name.as_str();
        if entry.tunnel {
            return Some(tunnel(name));
        }
        let claim = if entry.has_something_of_ours() { None } else { self.managers.claim(name) };
        claim.map(|claim| claim.failure(name)).or_else(|| missing_privilege(name, &self.missing_privileges))
    }

    fn report_all(&mut self) {
        let identifiers: Vec<Identifier> = self.access_points.keys().cloned().collect();
        for identifier in identifiers {
            self.report(&identifier, Extent::Link);
        }
    }

    /// Takes in what the kernel and the workers have said, all there is of it, and reports each access point once.
    fn take_in(&mut self, changes: Changes, news: Vec<News>) {
        let touched: BTreeSet<Identifier> = news.iter().map(|news| news.identifier.clone()).collect();
        let is_touched = !touched.is_empty();
        for news in news {
            self.note(news);
        }
        let is_news_for_all = self.look_around(&changes);
        let extent = |index: &u32| {
            let parts = [&changes.addresses, &changes.routes, &changes.announcements];
            let is_link_only = !parts.iter().any(|part| part.contains(index));
            if is_link_only { Extent::Link } else { Extent::Everything }
        };
        self.look_at_each(changes.interfaces().into_iter().map(|index| (index, extent(&index))));
        for identifier in touched {
            if let Some(entry) = self.access_points.get(&identifier) {
                self.workers_have_news |= entry.answer_looks();
            }
            self.report(&identifier, Extent::Everything);
            self.drop_if_idle(&identifier);
        }
        self.tell_surroundings(&changes, is_news_for_all);
        self.owes_comparison |= changes.rules || !changes.routes.is_empty();
        // What stands by the word of the workers is known only when their news has been told.
        if !self.watcher.is_behind() && std::mem::take(&mut self.owes_comparison) {
            self.look_for_interference();
        }
        if !changes.is_empty() || is_touched {
            self.follow_beside();
        }
        self.ask_routers();
    }

    /// Takes in all that the workers have said, and what shows of it in the kernel's messages. Those are here already, and
    /// are read before the news is told, so that progress never runs ahead of the levels.
    fn take_in_news(&mut self, first: Option<News>) {
        self.unread_news.extend(first);
        while let Ok(more) = self.news.try_recv() {
            self.unread_news.push(more);
        }
        self.watcher.look_up();
        let changes = match self.watcher.changed().now_or_never() {
            Some(Ok(changes)) => changes,
            Some(Err(error)) => {
                self.failure = Some(error);
                Changes::default()
            }
            None => Changes::default(),
        };
        self.take_in_with_news(changes);
    }

    /// Takes in the news too, unless there still is something of the kernel's to be read first.
    fn take_in_with_news(&mut self, changes: Changes) {
        let news = if self.holds_back() { Vec::new() } else { std::mem::take(&mut self.unread_news) };
        self.take_in(changes, news);
    }

    fn holds_back(&self) -> bool {
        self.patient_until().is_some_and(|end| self.context.clock.now() < end)
    }

    /// Until when the kernel's messages are to be read first; none if all have been.
    fn patient_until(&self) -> Option<Moment> {
        self.watcher.behind_since().map(|since| since + PATIENCE)
    }

    /// Waits for something to take in.
    async fn take_in_next(&mut self) -> Result<(), EngineError> {
        if let Some(error) = self.failure.take() {
            return Err(Self::failed(error));
        }
        if std::mem::take(&mut self.suspects_are_old) {
            self.name_suspects();
        }
        let is_held_back = !self.unread_news.is_empty() || self.refreshed > 0;
        let impatience = self.patient_until().filter(|_| is_held_back);
        let clock = self.context.clock.clone();
        let wake = tokio::select! {
            // In this order: news are told together with what the kernel has to say, the other way round they cannot be.
            biased;
            news = self.news.recv() => Wake::News(news),
            () = sleep_until(&clock, impatience) => Wake::Impatience,
            () = sleep_until(&clock, self.solicitations.due()) => Wake::SolicitationsDue,
            // What comes seldom is not kept waiting by what may come without end.
            () = self.managers.changed() => Wake::Managers,
            _ = self.resumptions.resumed() => Wake::Resumed,
            event = self.sockets.changed() => Wake::Sockets(event),
            changes = self.watcher.changed() => Wake::Kernel(changes),
        };
        match wake {
            Wake::Kernel(Ok(changes)) => self.take_in_with_news(changes),
            Wake::Kernel(Err(error)) => return Err(Self::failed(error)),
            // There always is some, as we have a sender ourselves.
            Wake::News(news) => self.take_in_news(news),
            Wake::Impatience => self.take_in_with_news(Changes::default()),
            Wake::SolicitationsDue => self.ask_routers(),
            Wake::Managers => self.report_all(),
            Wake::Sockets(event) => self.events.push_back(event),
            Wake::Resumed => self.look_anew().await?,
        }
        Ok(())
    }

    fn note(&mut self, news: News) {
        let News { identifier, topic } = news;
        if let Topic::Clear(cleared) = topic {
            self.clear_leftovers();
            // A worker that was overtaken does not want the answer.
            let _ = cleared.send(());
            return;
        }
        let Some(entry) = self.access_points.get_mut(&identifier) else { return };
        match topic {
            Topic::Progress(number, stage) => {
                let is_newest = entry.worker.as_ref().is_some_and(|worker| worker.orders.borrow().number == number);
                entry.settled |= is_newest && matches!(stage, Stage::Reached | Stage::Failed(..));
                if let Some(number) = number {
                    entry.progress = Some(Progress { number, stage, obstacle: None });
                }
            }
            Topic::Look => entry.looks += 1,
            Topic::Clear(_) => {}
            Topic::Obstacle(obstacle) => {
                if let Some(progress) = &mut entry.progress {
                    progress.obstacle = Some(obstacle);
                }
            }
            Topic::Standing(standing) => entry.standing = standing,
            Topic::Names(names) => entry.names = names,
        }
    }

    /// Clears what a killed process has left, unless that was done since the lock was taken. By one alone: what several
    /// workers found could be what the first of them has made.
    fn clear_leftovers(&self) {
        let Context { ownership, notes, boot, requests, .. } = &*self.context;
        // Whoever asked for it may have been overtaken, and the lock is another's by now.
        let Ok(_claim) = ownership.claim() else { return };
        if !ownership.owes_clearing() {
            return;
        }
        let kept = self.kept();
        let is_left = |file: &NoteFile| !kept.iter().any(|note| file.index() == Some(note.index));
        let files: Vec<NoteFile> = notes.all().into_iter().filter(is_left).collect();
        // A process notes before it changes anything.
        if !files.is_empty() {
            let cache = self.watcher.cache();
            Leftovers::of(files, &kept, cache, boot, (&self.managers, &self.plan)).clear_at_once(requests, notes);
        }
        ownership.cleared();
    }

    fn failed(error: WatchError) -> EngineError {
        EngineError { engine: "native", source: error.into() }
    }
}

impl Engine for NativeEngine {
    fn command(&mut self, command: AccessPointCommand) {
        let AccessPointCommand { identifier, number, target, profile } = command;
        // From now on it is not left to others.
        self.let_go_beside(&identifier);
        let cache = self.watcher.cache();
        let order = Order { number: Some(number), target, profile, tables_in_use: tables_in_use(cache) };

        let Some(entry) = self.access_points.get_mut(&identifier).filter(|entry| !entry.departing) else { return };
        let is_free = !entry.has_something_of_ours();
        let claim = self
            .managers
            .claim(&entry.name)
            .filter(|_| is_free && !matches!(target, Target::Released | Target::LeftUp));
        if let Some(claim) = claim {
            // The core has not heard yet whose it is.
            let failure = claim.failure(&entry.name);
            let stage = Stage::Failed(failure.reason, failure.message);
            entry.progress = Some(Progress { number, stage, obstacle: None });
            return self.report(&identifier, Extent::Link);
        }
        entry.settled = false;
        self.workers_have_news = true;
        if let Some(worker) = &entry.worker {
            worker.orders.send_replace(order);
            return;
        }
        if let Some(index) = entry.index {
            entry.tell_what_was_learnt(cache, index);
        }
        let inherited = entry.inherited.take().map(|inherited| {
            let found = inherited.find(cache, &self.plan);
            (inherited, found)
        });
        let (orders, receiver) = watch::channel(order);
        let mut worker = Worker::new(
            Arc::clone(&self.context),
            identifier,
            receiver,
            entry.link.subscribe(),
            entry.learnt.subscribe(),
            self.news_sender.clone(),
        );
        if let Some((inherited, found)) = inherited {
            worker.inherit(inherited, found);
        }
        let task = tokio::spawn(worker.run()).abort_handle();
        entry.worker = Some(WorkerHandle { orders, task });
    }

    fn forget_resumed(&mut self) {
        self.forget_inherited();
    }

    fn steer(&mut self, access_points: BTreeMap<Identifier, BypassVpn>) {
        self.steered = access_points;
        self.inherit_beside();
        self.follow_beside();
    }

    fn count(&mut self, identifier: &Identifier, counting: bool) {
        self.begin_or_end_counting(identifier, counting);
    }

    fn traffic(&mut self, identifier: &Identifier) -> Traffic {
        self.carried(identifier).unwrap_or_default()
    }

    fn abort_sockets(&mut self, sockets: BTreeSet<SocketCookie>, owner: Option<u32>) {
        self.sockets.abort(sockets, owner);
    }

    fn watch_sockets(&mut self, watching: bool) {
        self.sockets.watch(watching);
    }

    fn check_sockets(&mut self, sockets: BTreeSet<SocketCookie>) {
        self.sockets.check(sockets);
    }

    fn socket_traffic(&mut self) -> impl Future<Output = BTreeMap<SocketCookie, Traffic>> + Send + 'static {
        Sockets::traffic()
    }

    fn forget(&mut self, identifier: &Identifier) {
        if let Some(entry) = self.access_points.get_mut(identifier) {
            entry.forgotten = entry.index.is_none();
        }
        self.drop_if_idle(identifier);
    }

    async fn settle(&mut self) -> Result<(), EngineError> {
        while self.access_points.values().any(Entry::is_being_removed) {
            self.take_in_next().await?;
        }
        Ok(())
    }

    fn refresh(&mut self) {
        self.refreshes += 1;
    }

    async fn event(&mut self) -> Result<EngineEvent, EngineError> {
        loop {
            if std::mem::take(&mut self.workers_have_news) {
                // Somebody waits for what the workers do now; telling the core of it can wait.
                tokio::task::yield_now().await;
            }
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            if self.refreshed > 0 && !self.holds_back() {
                if std::mem::take(&mut self.owes_look) {
                    self.look();
                    continue;
                }
                self.refreshed -= 1;
                return Ok(EngineEvent::Refreshed);
            }
            if self.refreshed == 0 && self.refreshes > 0 {
                // One look answers all; and workers run, and what they and others have to say comes in, between two of them,
                // however many are asked for.
                tokio::task::yield_now().await;
                self.refreshed = std::mem::take(&mut self.refreshes);
                self.owes_look = true;
                self.watcher.doubt();
            }
            self.take_in_next().await?;
        }
    }
}

/// Who was asked for without a carrier has not heard it.
fn ask_neighbours_anew(link: &Link) {
    match netbearer_kernel::forget_unresolved_neighbours(link.index) {
        Ok(0) => {}
        Ok(forgotten) => tracing::debug!(interface = link.name, forgotten, "neighbours will be asked for anew"),
        Err(error) => tracing::debug!(interface = link.name, "neighbours are not asked for at once: {error}"),
    }
}

impl Entry {
    fn new(link: &Link) -> Self {
        Self {
            index: Some(link.index),
            seen: None,
            bearer_type: BearerType::Unknown,
            hardware: Hardware::default(),
            tunnel: false,
            name: link.name.clone(),
            names: Names::default(),
            progress: None,
            link: watch::Sender::new(None),
            learnt: watch::Sender::new(Learnt::default()),
            worker: None,
            reported: None,
            settled: true,
            standing: None,
            interferences: 0,
            looks: 0,
            departing: false,
            forgotten: false,
            beside: None,
            unsteered: None,
            inherited: None,
            counting_start: None,
        }
    }

    fn tell_what_was_learnt(&self, cache: &Cache, interface: u32) {
        let learnt = Learnt::of(cache, interface);
        self.learnt.send_if_modified(|known| {
            let is_news = *known != learnt;
            *known = learnt;
            is_news
        });
    }

    /// Tells the worker that its view of the link is not older than its question; false if it has not asked.
    fn answer_looks(&self) -> bool {
        self.link.send_if_modified(|link| {
            let unanswered = link.as_mut().filter(|link| link.looks != self.looks);
            unanswered.is_some_and(|link| {
                link.looks = self.looks;
                true
            })
        })
    }

    /// Its worker was told to let go of it, and has not ended that yet.
    fn is_being_removed(&self) -> bool {
        self.has_something_of_ours() && self.worker.as_ref().is_some_and(WorkerHandle::is_removing)
    }

    fn has_something_of_ours(&self) -> bool {
        let is_inherited = self.inherited.as_ref().is_some_and(|inherited| !inherited.note.beside);
        is_inherited || self.worker.as_ref().is_some_and(|worker| !(self.settled && worker.is_removing()))
    }
}

impl WorkerHandle {
    fn is_removing(&self) -> bool {
        matches!(self.orders.borrow().target, Target::Released | Target::LeftUp | Target::Stopped)
    }
}

impl LinkView {
    fn new(link: &Link, family: netbearer_types::BearerFamily, surroundings: Surroundings) -> Self {
        Self {
            index: link.index,
            name: link.name.clone(),
            hardware_address: link.hardware_address.as_bytes().to_vec(),
            administratively_up: link.administratively_up,
            carrier: link.carrier,
            carrier_losses: link.carrier_losses,
            mtu: link.mtu,
            family,
            interferences: 0,
            looks: 0,
            surroundings,
        }
    }
}

/// The interface is known by the same name and the same addresses.
fn is_same_device(one: &Link, other: &Link) -> bool {
    one.index == other.index
        && one.name == other.name
        && one.hardware_address == other.hardware_address
        && one.permanent_hardware_address == other.permanent_hardware_address
}

async fn sleep_until(clock: &BootClock, deadline: Option<Moment>) {
    match deadline {
        Some(deadline) => clock.sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn tunnel(name: &str) -> Failure {
    let program = "the program that made the tunnel".to_owned();
    let message = format!("{name} is a tunnel: only {program} can start and stop it");
    not_supported(FailureReason::ManagedElsewhere(program), message)
}

fn missing_privilege(name: &str, missing: &[&'static str]) -> Option<Failure> {
    let first = missing.first()?;
    let capabilities = missing.join(", ");
    let grant = missing.join(",").to_lowercase();
    let message = format!(
        "starting and stopping {name} needs {capabilities}; run as root, or grant it with: setcap {grant}+ep PROGRAM"
    );
    Some(not_supported(FailureReason::MissingPrivilege((*first).to_owned()), message))
}

const fn not_supported(reason: FailureReason, message: String) -> Failure {
    Failure { error: SessionError::OperationNotSupported, reason, message }
}
