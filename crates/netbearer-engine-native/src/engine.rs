use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs, io,
    path::PathBuf,
    sync::Arc,
};

use futures_util::FutureExt;
use netbearer_engine::{Engine, EngineError, EngineEvent};
use netbearer_kernel::{BootClock, Changes, Link, Requests, WatchError, Watcher, missing_privileges};
use netbearer_types::{
    AccessPointCommand, AccessPointReport, BearerType, Failure, FailureReason, Identifier, Level, Progress,
    SessionError, Stage, Target,
};
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
};

use crate::{
    classification::{Classification, classify},
    leftovers,
    notes::Notes,
    ownership::Ownership,
    remembered::RememberedLeases,
    reporting::{self, Names},
    spare_socket::SpareSocket,
    steering::{Numbers, foreign_tables},
    worker::{Context, LinkView, News, Order, Topic, Worker},
};

/// Where the engine keeps its lock, its notes and its leases.
#[derive(Clone, Debug)]
pub struct NativeSettings {
    /// For locks and notes.
    pub runtime_directory: PathBuf,
    /// For remembered leases.
    pub state_directory: PathBuf,
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
            ownership: Ownership::new(self.runtime_directory.join(format!("netns-{inode}.lock"))),
            notes: Notes::new(self.runtime_directory.join(format!("netns-{inode}"))),
            boot: netbearer_kernel::boot_identifier().map_err(StartError::Namespace)?,
        })
    }
}

/// The native engine. Watches the network namespace of the thread that started it.
pub struct NativeEngine {
    watcher: Watcher,
    context: Arc<Context>,
    missing_privileges: Vec<&'static str>,
    access_points: BTreeMap<Identifier, Entry>,
    /// Interfaces that are no access points, and why.
    ignored: BTreeMap<u32, String>,
    /// What the drivers call their devices; asked once for each.
    device_types: BTreeMap<u32, Option<String>>,
    events: VecDeque<EngineEvent>,
    refreshes: usize,
    /// Workers were told of their links, and have not run since.
    workers_have_news: bool,
    /// Interfaces came, went or changed since the watcher was told whose carrier matters.
    suspects_are_old: bool,
    news: mpsc::UnboundedReceiver<News>,
    news_sender: mpsc::UnboundedSender<News>,
}

/// One access point as the engine knows it.
struct Entry {
    /// Its interface; none while that is gone.
    index: Option<u32>,
    bearer_type: BearerType,
    /// Only its own program can start it.
    tunnel: bool,
    name: String,
    names: Names,
    progress: Option<Progress>,
    link: watch::Sender<Option<LinkView>>,
    worker: Option<WorkerHandle>,
    reported: Option<AccessPointReport>,
    /// It is no access point any more; the worker clears away what is ours.
    departing: bool,
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

/// What woke the engine.
enum Wake {
    Kernel(Result<Changes, WatchError>),
    News(Option<News>),
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
        let mut watcher = Watcher::open(clock.clone()).await?;
        if missing_privileges.is_empty() {
            leftovers::clear_at_start(&mut watcher, &place, &requests).await?;
        }
        let (news_sender, news) = mpsc::unbounded_channel();
        let context = Context {
            requests,
            clock,
            ownership: place.ownership,
            notes: place.notes,
            remembered: RememberedLeases::new(settings.state_directory.join("leases")),
            numbers: Numbers::default(),
            spare: SpareSocket::default(),
            boot: place.boot,
        };
        if missing_privileges.is_empty() {
            context.spare.replenish();
        }
        let mut engine = Self {
            watcher,
            context: Arc::new(context),
            missing_privileges,
            access_points: BTreeMap::new(),
            ignored: BTreeMap::new(),
            device_types: BTreeMap::new(),
            events: VecDeque::new(),
            refreshes: 0,
            workers_have_news: false,
            suspects_are_old: false,
            news,
            news_sender,
        };
        engine.look();
        engine.events.push_back(EngineEvent::Enumerated);
        Ok(engine)
    }

    /// Compares every interface there is, or was, with what is known of it.
    fn look(&mut self) {
        let present = self.watcher.cache().links().keys().copied();
        let known = self.access_points.values().filter_map(|entry| entry.index);
        let interfaces = present.chain(known).chain(self.ignored.keys().copied()).collect();
        self.look_at_each(interfaces);
    }

    fn look_at_each(&mut self, interfaces: BTreeSet<u32>) {
        for index in interfaces {
            match self.watcher.cache().link(index).cloned() {
                Some(link) => self.look_at(&link),
                None => self.notice_absence(index),
            }
        }
        self.suspects_are_old = true;
    }

    fn look_at(&mut self, link: &Link) {
        let known = self.identifier_of(link.index);
        let device_type = self.device_types.entry(link.index).or_insert_with(|| device_type(link));
        match classify(link, device_type.as_deref()) {
            Classification::Not(reason) => {
                if let Some(identifier) = known {
                    self.depart(&identifier, &reason);
                } else if self.ignored.get(&link.index) != Some(&reason) {
                    self.ignored.insert(link.index, reason.clone());
                    self.events.push_back(EngineEvent::Ignored { interface_name: link.name.clone(), reason });
                }
            }
            Classification::AccessPoint(bearer_type) => self.meet(link, known, bearer_type, false),
            Classification::Tunnel => self.meet(link, known, BearerType::Vpn, true),
        }
    }

    fn meet(&mut self, link: &Link, known: Option<Identifier>, bearer_type: BearerType, tunnel: bool) {
        self.ignored.remove(&link.index);
        let identifier = known.unwrap_or_else(|| self.name_access_point(link));
        let entry = self.access_points.entry(identifier.clone()).or_insert_with(|| Entry::new(link));
        if entry.departing {
            return;
        }
        entry.index = Some(link.index);
        entry.bearer_type = bearer_type;
        entry.tunnel = tunnel;
        entry.name.clone_from(&link.name);
        let view = LinkView::new(link, bearer_type.family());
        let is_news = entry.link.borrow().as_ref() != Some(&view);
        if is_news {
            entry.link.send_replace(Some(view));
            self.workers_have_news |= entry.worker.is_some();
        }
        self.report(&identifier);
    }

    fn notice_absence(&mut self, index: u32) {
        self.ignored.remove(&index);
        self.device_types.remove(&index);
        let Some(identifier) = self.identifier_of(index) else { return };
        if let Some(entry) = self.access_points.get_mut(&identifier) {
            entry.index = None;
            entry.link.send_replace(None);
        }
        self.report(&identifier);
        self.forget_if_idle(&identifier);
    }

    /// An interface is no access point any more: the core is told at once, and the worker clears away what is ours.
    fn depart(&mut self, identifier: &Identifier, reason: &str) {
        let Some(entry) = self.access_points.get_mut(identifier) else { return };
        if entry.departing {
            return;
        }
        entry.departing = true;
        self.events.push_back(EngineEvent::Removed(identifier.clone(), reason.to_owned()));
        match &entry.worker {
            Some(worker) => worker.orders.send_modify(|order| order.target = Target::Released),
            None => {
                self.access_points.remove(identifier);
            }
        }
    }

    /// An unplugged access point that nothing of ours is left of is no longer worth remembering.
    fn forget_if_idle(&mut self, identifier: &Identifier) {
        let idle = self.access_points.get(identifier).is_some_and(|entry| {
            let at_rest = entry.progress.as_ref().is_none_or(|progress| progress.stage == Stage::Reached);
            let wanted = entry
                .worker
                .as_ref()
                .is_some_and(|worker| !matches!(worker.orders.borrow().target, Target::Released | Target::Stopped));
            entry.index.is_none() && at_rest && !wanted
        });
        if idle {
            self.access_points.remove(identifier);
        }
    }

    fn identifier_of(&self, index: u32) -> Option<Identifier> {
        self.access_points
            .iter()
            .find(|(_, entry)| entry.index == Some(index))
            .map(|(identifier, _)| identifier.clone())
    }

    /// By the address the hardware came with, which survives reboots and renaming; by the interface name where the
    /// hardware has none, or another interface has the same.
    fn name_access_point(&self, link: &Link) -> Identifier {
        let by_name = Identifier::new(format!("native-{}", link.name));
        if link.permanent_hardware_address.is_empty() {
            return by_name;
        }
        let digits = link.permanent_hardware_address.to_string().replace(':', "");
        let by_hardware = Identifier::new(format!("native-{digits}"));
        let taken = self.access_points.get(&by_hardware).is_some_and(|entry| entry.index.is_some());
        if taken { by_name } else { by_hardware }
    }

    /// Carrier changes matter on every access point that has one.
    fn name_suspects(&mut self) {
        let cache = self.watcher.cache();
        let suspects = self
            .access_points
            .values()
            .filter_map(|entry| entry.index)
            .filter(|index| cache.link(*index).is_some_and(|link| link.administratively_up))
            .collect();
        self.watcher.set_suspects(suspects);
    }

    fn report(&mut self, identifier: &Identifier) {
        let missing = &self.missing_privileges;
        let Some(entry) = self.access_points.get_mut(identifier) else { return };
        if entry.departing {
            return;
        }
        let cache = self.watcher.cache();
        let link = entry.index.and_then(|index| cache.link(index));
        let report = AccessPointReport {
            identifier: identifier.clone(),
            name: entry.name.clone(),
            bearer_type: entry.bearer_type,
            cannot_start_and_stop: cannot_start_and_stop(&entry.name, entry.tunnel, missing),
            level: link.map_or(Level::Absent, |link| Level::Present(reporting::link_level(cache, link, &entry.names))),
            progress: entry.progress.clone(),
        };
        if entry.reported.as_ref() != Some(&report) {
            entry.reported = Some(report.clone());
            self.events.push_back(EngineEvent::Report(Box::new(report)));
        }
    }

    /// Takes in what the kernel and the workers have said, all there is of it, and reports each access point once.
    fn take_in(&mut self, mut changes: Changes, first: Option<News>) {
        let mut news: Vec<News> = first.into_iter().collect();
        while let Ok(more) = self.news.try_recv() {
            news.push(more);
        }
        if !news.is_empty() {
            // What the workers did shows in the kernel's messages, which are here already: they are read before the news
            // is told, so that progress never runs ahead of the levels.
            if let Some(Ok(more)) = self.watcher.changed().now_or_never() {
                changes += more;
            }
        }
        let touched: BTreeSet<Identifier> = news.iter().map(|news| news.identifier.clone()).collect();
        for news in news {
            self.note(news);
        }
        self.look_at_each(changes.interfaces());
        for identifier in touched {
            self.report(&identifier);
            self.forget_if_idle(&identifier);
        }
    }

    fn note(&mut self, news: News) {
        let News { identifier, topic } = news;
        let Some(entry) = self.access_points.get_mut(&identifier) else { return };
        match topic {
            Topic::Progress(_, Stage::Reached | Stage::Failed(..)) if entry.departing => {
                self.access_points.remove(&identifier);
                // It may be one again by now.
                self.look();
            }
            Topic::Progress(number, stage) => entry.progress = Some(Progress { number, stage }),
            Topic::Names(servers, search_domains) => entry.names = Names { servers, search_domains },
        }
    }

    fn failed(error: WatchError) -> EngineError {
        EngineError { engine: "native", source: error.into() }
    }
}

impl Engine for NativeEngine {
    fn command(&mut self, command: AccessPointCommand) {
        let AccessPointCommand { identifier, number, target, profile } = command;
        let foreign_tables = foreign_tables(self.watcher.cache());
        let order = Order { number, target, profile, foreign_tables };
        let Some(entry) = self.access_points.get_mut(&identifier) else { return };
        if entry.departing {
            return;
        }
        if let Some(worker) = &entry.worker {
            worker.orders.send_replace(order);
            return;
        }
        let (orders, receiver) = watch::channel(order);
        let worker = Worker::new(
            Arc::clone(&self.context),
            identifier,
            receiver,
            entry.link.subscribe(),
            self.news_sender.clone(),
        );
        let task = tokio::spawn(worker.run()).abort_handle();
        entry.worker = Some(WorkerHandle { orders, task });
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
            if self.refreshes > 0 {
                self.watcher.resync().await.map_err(Self::failed)?;
                self.refreshes -= 1;
                self.look();
                self.events.push_back(EngineEvent::Refreshed);
                continue;
            }
            if std::mem::take(&mut self.suspects_are_old) {
                self.name_suspects();
            }
            let wake = tokio::select! {
                changes = self.watcher.changed() => Wake::Kernel(changes),
                news = self.news.recv() => Wake::News(news),
            };
            match wake {
                Wake::Kernel(Ok(changes)) => self.take_in(changes, None),
                Wake::Kernel(Err(error)) => return Err(Self::failed(error)),
                // There always is some, as we have a sender ourselves.
                Wake::News(news) => self.take_in(Changes::default(), news),
            }
        }
    }
}

impl Entry {
    fn new(link: &Link) -> Self {
        Self {
            index: Some(link.index),
            bearer_type: BearerType::Unknown,
            tunnel: false,
            name: link.name.clone(),
            names: Names::default(),
            progress: None,
            link: watch::Sender::new(None),
            worker: None,
            reported: None,
            departing: false,
        }
    }
}

impl LinkView {
    fn new(link: &Link, family: netbearer_types::BearerFamily) -> Self {
        Self {
            index: link.index,
            name: link.name.clone(),
            hardware_address: link.hardware_address.as_bytes().to_vec(),
            administratively_up: link.administratively_up,
            carrier: link.carrier,
            carrier_losses: link.carrier_losses,
            family,
        }
    }
}

fn cannot_start_and_stop(name: &str, tunnel: bool, missing: &[&'static str]) -> Option<Failure> {
    let (reason, message) = if tunnel {
        let program = "the program that made the tunnel".to_owned();
        let message = format!("{name} is a tunnel: only {program} can start and stop it");
        (FailureReason::ManagedElsewhere(program), message)
    } else {
        let first = missing.first()?;
        let capabilities = missing.join(", ");
        let grant = missing.join(",").to_lowercase();
        let message = format!(
            "starting and stopping {name} needs {capabilities}; run as root, or grant it with: setcap {grant}+ep PROGRAM"
        );
        (FailureReason::MissingPrivilege((*first).to_owned()), message)
    };
    Some(Failure { error: SessionError::OperationNotSupported, reason, message })
}

/// `DEVTYPE` of the device's uevent. Sysfs may show another namespace than ours, so the index must agree.
fn device_type(link: &Link) -> Option<String> {
    if link.kind.is_some() {
        return None;
    }
    let directory = PathBuf::from("/sys/class/net").join(&link.name);
    let index = fs::read_to_string(directory.join("ifindex")).ok()?;
    if index.trim() != link.index.to_string() {
        return None;
    }
    let uevent = fs::read_to_string(directory.join("uevent")).ok()?;
    uevent.lines().find_map(|line| line.strip_prefix("DEVTYPE=")).map(str::to_owned)
}
