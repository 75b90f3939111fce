use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use netbearer_core::{Action, ClientId, Core, HoldId, SessionId, Settings};
use netbearer_engine::{Clock, Engine, EngineError, EngineEvent, NameServers};
use netbearer_profiles::{ProfileStore, ProfileWatch, Reading};
use netbearer_types::{Identifier, Moment, NamesReport, SessionEvent, SocketCookie, Step, Traffic};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinSet, yield_now},
};

use crate::{
    Audience, Holds, Keeper, ServiceHandle,
    handle::{Request, Steps, Told},
};

/// How long a shutdown waits for links to go down before it leaves them to the next start.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// After so many of them, those who deliver events get their turn: of a crowd, the first have been told when the last are yet to
/// be.
const BURST: usize = 256;

/// The owner of the core, its engine, the machine's resolver and the clock.
pub struct Service<E, N, C> {
    core: Core,
    engine: E,
    names: N,
    clock: C,
    requests: mpsc::UnboundedReceiver<Request>,
    profiles: Option<ProfileWatch>,
    audiences: BTreeMap<ClientId, Arc<dyn Audience>>,
    enumerated: Option<oneshot::Sender<()>>,
    ending: Option<oneshot::Sender<bool>>,
    steps: watch::Sender<Steps>,
    news: watch::Sender<u64>,
    next_decision: u64,
    /// The engine was told to do something, and has not begun.
    has_commanded: bool,
    /// What a former process has told programs of name servers may stand, and nothing has been said of it yet.
    owes_names: bool,
    keeper: Option<Box<dyn Keeper>>,
    holds: Option<Box<dyn Holds>>,
    ends_with_engine: bool,
    /// What sockets carry is being read for somebody.
    readings: JoinSet<SocketReading>,
}

/// For which session, and for whom, what sockets carry was read.
type SocketReading = (SessionId, Told<Traffic>, BTreeMap<SocketCookie, Traffic>);

/// What woke the service.
enum Wake {
    Request(Option<Request>),
    Engine(Result<EngineEvent, EngineError>),
    Profiles(io::Result<Box<Reading>>),
    Names(NamesReport),
    Sockets(SocketReading),
    Timeout,
}

impl<E: Engine, N: NameServers, C: Clock> Service<E, N, C> {
    /// A service over one engine, the way to it, and the news that the first enumeration has ended.
    pub fn new(settings: Settings, engine: E, names: N, clock: C) -> (Self, ServiceHandle, oneshot::Receiver<()>) {
        let (service, handle, enumerated) = Self::restored(Core::new(settings), engine, names, clock);
        (Self { owes_names: false, ..service }, handle, enumerated)
    }

    /// The same with a core that was made before, to go on from what another process has left ([`Core::restore`]).
    pub fn restored(core: Core, engine: E, names: N, clock: C) -> (Self, ServiceHandle, oneshot::Receiver<()>) {
        let (sender, requests) = mpsc::unbounded_channel();
        let (enumerated, has_enumerated) = oneshot::channel();
        let (steps, told_steps) = watch::channel(Steps::new());
        let (news, told_news) = watch::channel(0);
        let service = Self {
            core,
            engine,
            names,
            clock,
            requests,
            profiles: None,
            audiences: BTreeMap::new(),
            enumerated: Some(enumerated),
            ending: None,
            steps,
            news,
            next_decision: 0,
            has_commanded: false,
            owes_names: true,
            keeper: None,
            holds: None,
            ends_with_engine: false,
            readings: JoinSet::new(),
        };
        (service, ServiceHandle { requests: sender, steps: told_steps, news: told_news }, has_enumerated)
    }

    /// Takes over what the files of `store` say whenever it is not what was `read` last.
    #[must_use]
    pub fn following(mut self, store: ProfileStore, read: Reading) -> Self {
        match ProfileWatch::open(store, read) {
            Ok(profiles) => self.profiles = Some(profiles),
            Err(error) => tracing::warn!("changes of profiles will not be noticed: {error}"),
        }
        self
    }

    /// Has what must outlive the process kept by `keeper`. Without one nothing is.
    #[must_use]
    pub fn keeping(mut self, keeper: impl Keeper + 'static) -> Self {
        self.keeper = Some(Box::new(keeper));
        self
    }

    /// Has descriptors that hold nothing any more revoked. Without this there are none.
    #[must_use]
    pub fn holding(mut self, holds: impl Holds + 'static) -> Self {
        self.holds = Some(Box::new(holds));
        self
    }

    /// Has the service end when its engine fails, as if it was killed: nobody is told, and what is kept and held stays as it is for
    /// the next one. Without this the access points of the engine are lost, and the service goes on without any.
    #[must_use]
    pub fn ending_with_engine(mut self) -> Self {
        self.ends_with_engine = true;
        self
    }

    /// Serves until it is told to shut down, or until nobody can reach it any more. Links of ours are taken down first.
    ///
    /// # Errors
    /// That of the engine, if the service [ends with it](Self::ending_with_engine).
    pub async fn run(mut self) -> Result<(), EngineError> {
        let mut engine_works = true;
        loop {
            let timeout = self.core.poll_timeout();
            let wake = tokio::select! {
                request = self.requests.recv() => Wake::Request(request),
                event = self.engine.event(), if engine_works => Wake::Engine(event),
                reading = changed(&mut self.profiles) => Wake::Profiles(reading.map(Box::new)),
                report = self.names.report() => Wake::Names(report),
                Some(Ok(reading)) = self.readings.join_next() => Wake::Sockets(reading),
                () = at(&self.clock, timeout) => Wake::Timeout,
            };
            let is_news = !matches!(wake, Wake::Request(_) | Wake::Sockets(_));
            match wake {
                Wake::Request(Some(Request::Shutdown { wanted, ended })) => {
                    if wanted(&mut self.core, self.clock.now()) {
                        self.ending = Some(ended);
                        break;
                    }
                    let _ = ended.send(false);
                }
                Wake::Request(None) => break,
                Wake::Request(Some(request)) => self.serve(request).await,
                Wake::Engine(Err(error)) if self.ends_with_engine => return Err(error),
                Wake::Engine(event) => engine_works = self.heed(event).await,
                Wake::Profiles(reading) => self.take_over(reading),
                Wake::Names(report) => self.core.handle_names(&report, self.clock.now()),
                // Sockets that have ended since they were read were told of, or count as they were then.
                Wake::Sockets((session, told, read)) => told(self.core.session_traffic(session, &read)),
                Wake::Timeout => self.core.handle_timeout(self.clock.now()),
            }
            self.carry_out_urgent().await;
            if std::mem::take(&mut self.has_commanded) {
                // Somebody waits for what the engine does; telling the rest of it can wait.
                yield_now().await;
            }
            self.carry_out().await;
            if is_news {
                self.news.send_modify(|count| *count += 1);
            }
        }
        if engine_works {
            self.take_down().await;
        }
        self.put_names_back().await;
        if let Some(ended) = self.ending {
            let _ = ended.send(true);
        }
        Ok(())
    }

    async fn take_down(&mut self) {
        let deadline = self.clock.now() + SHUTDOWN_TIMEOUT;
        self.core.handle_shutdown(self.clock.now());
        self.carry_out().await;
        while !self.core.is_at_rest() {
            let event = tokio::select! {
                event = self.engine.event() => event,
                () = self.clock.sleep_until(deadline) => return complain(),
            };
            if !self.heed(event).await {
                return;
            }
            self.carry_out().await;
        }
        // What the core has let go of may still be on its way out.
        tokio::select! {
            settled = self.engine.settle() => {
                if let Err(error) = settled {
                    tracing::error!("{}", chain(&error));
                }
            }
            () = self.clock.sleep_until(deadline) => complain(),
        }
    }

    /// Also without an engine: programs are not to ask whom they cannot reach any more.
    async fn put_names_back(&mut self) {
        let deadline = self.clock.now() + SHUTDOWN_TIMEOUT;
        self.names.follow(Vec::new());
        tokio::select! {
            () = self.names.settle() => {}
            () = self.clock.sleep_until(deadline) => {
                tracing::warn!("programs may still ask name servers of ours; the next start, or a reset, puts them back");
            }
        }
    }

    async fn serve(&mut self, request: Request) {
        match request {
            Request::Join { client, description, audience } => {
                self.core.handle_client(client, description);
                self.audiences.insert(client, audience);
            }
            Request::Leave { client } => {
                self.core.handle_client_gone(client, self.clock.now());
                self.audiences.remove(&client);
            }
            Request::Call(call) => {
                let answer = call(&mut self.core, self.clock.now());
                self.carry_out_urgent().await;
                answer();
            }
            Request::Traffic { session, told } => told(self.traffic(session, &mut BTreeMap::new())),
            Request::SessionTraffic { session, told } => {
                if self.core.has_sockets(session) {
                    let read = self.engine.socket_traffic();
                    self.readings.spawn(async move { (session, told, read.await) });
                } else {
                    told(self.core.session_traffic(session, &BTreeMap::new()));
                }
            }
            Request::Describe { told } => {
                let (mut described, mut read) = (Vec::new(), BTreeMap::new());
                for description in self.core.session_descriptions() {
                    let traffic = self.traffic(description.session, &mut read);
                    described.push((description, traffic));
                }
                told(described);
            }
            // Taken out before.
            Request::Shutdown { .. } => {}
        }
    }

    /// Each access point is asked once, however many sessions are on it.
    fn traffic(&mut self, session: SessionId, read: &mut BTreeMap<Identifier, Traffic>) -> Traffic {
        let counted = self.core.counted(session).into_iter();
        counted.map(|one| *read.entry(one).or_insert_with_key(|identifier| self.engine.traffic(identifier))).sum()
    }

    fn take_over(&mut self, reading: io::Result<Box<Reading>>) {
        match reading {
            Ok(reading) => {
                tell_mistakes(&reading);
                self.core.handle_profiles(reading.profiles, self.clock.now());
                self.steps.send_if_modified(|steps| {
                    let before = steps.len();
                    steps.retain(|identifier, _| self.core.is_access_point(identifier));
                    steps.len() < before
                });
            }
            Err(error) => {
                tracing::warn!("changes of profiles are not noticed any more: {error}");
                self.profiles = None;
            }
        }
    }

    /// Passes an engine's news on; false if it was its last.
    async fn heed(&mut self, event: Result<EngineEvent, EngineError>) -> bool {
        let now = self.clock.now();
        match event {
            Ok(EngineEvent::Report(report)) => {
                let (identifier, step) = (report.identifier.clone(), report.step());
                self.core.handle_report(*report, now);
                // Sessions are told first: somebody waits for that.
                self.carry_out_urgent().await;
                self.note_step(&identifier, step);
            }
            Ok(EngineEvent::Removed(identifier, reason)) => {
                self.note_step(&identifier, None);
                self.core.handle_removed(&identifier, &reason, now);
            }
            Ok(EngineEvent::Ignored { interface_name, reason }) => {
                self.core.handle_ignored(interface_name, reason, now)
            }
            Ok(EngineEvent::Enumerated) => {
                self.core.handle_enumerated(now);
                // All that is to be gone on with has been commanded by then.
                self.carry_out().await;
                self.engine.forget_resumed();
                if std::mem::take(&mut self.owes_names) {
                    self.names.follow(Vec::new());
                }
                if let Some(enumerated) = self.enumerated.take() {
                    let _ = enumerated.send(());
                }
            }
            Ok(EngineEvent::Refreshed) => self.core.handle_refreshed(now),
            Ok(EngineEvent::SocketsEnded(ends)) => self.core.handle_sockets_ended(&ends, now),
            Ok(EngineEvent::SocketsMissing(sockets)) => self.core.handle_sockets_missing(&sockets, now),
            Ok(EngineEvent::SocketEndsMissed) => self.core.handle_socket_ends_missed(),
            Err(error) => {
                let message = chain(&error);
                tracing::error!("{message}");
                self.core.handle_engine_failed(&message, now);
                return false;
            }
        }
        true
    }

    /// What is done with a device is done for the access point that has it.
    fn note_step(&self, device: &Identifier, step: Option<Step>) {
        let note = |steps: &mut Steps, identifier: &Identifier, step: Option<Step>| match step {
            Some(step) if steps.get(identifier) == Some(&step) => false,
            Some(step) => {
                steps.insert(identifier.clone(), step);
                true
            }
            None => steps.remove(identifier).is_some(),
        };
        self.steps.send_if_modified(|steps| match self.core.sharing(device) {
            None => note(steps, device, step),
            Some((access_points, occupant)) => {
                let of = |one: &Identifier| step.filter(|_| occupant == Some(one));
                access_points.iter().filter(|one| note(steps, one, of(one))).count() > 0
            }
        });
    }

    async fn carry_out_urgent(&mut self) {
        self.carry_out_while(Core::poll_urgent_action).await;
    }

    async fn carry_out(&mut self) {
        self.carry_out_while(Core::poll_action).await;
        self.log_decisions();
    }

    async fn carry_out_while(&mut self, next: fn(&mut Core) -> Option<Action>) {
        let records = self.core.take_unsaved();
        if let Some(keeper) = self.keeper.as_mut().filter(|_| !records.is_empty()) {
            keeper.keep(records);
        }
        // Nobody waits for these, and nobody can ask for what comes of them before this returns.
        let (mut uncounted, mut names) = (Vec::new(), None);
        let (mut revoked, mut told) = (Vec::new(), 0_usize);
        while let Some(action) = next(&mut self.core) {
            match action {
                Action::Command(command) => {
                    self.engine.command(command);
                    self.has_commanded = true;
                }
                Action::Steer(access_points) => self.engine.steer(access_points),
                // Before anybody is told that it is up, so that nothing of what follows is missed.
                Action::Count { identifier, counting: true } => {
                    uncounted.retain(|other| *other != identifier);
                    self.engine.count(&identifier, true);
                }
                Action::Count { identifier, counting: false } => uncounted.push(identifier),
                Action::Names(links) => names = Some(links),
                Action::AbortSockets { sockets, owner } => {
                    self.engine.abort_sockets(sockets, owner.map(|owner| owner.0));
                }
                Action::WatchSockets(watching) => self.engine.watch_sockets(watching),
                Action::CheckSockets(sockets) => self.engine.check_sockets(sockets),
                Action::Refresh => self.engine.refresh(),
                Action::Forget(identifier) => self.engine.forget(&identifier),
                Action::Revoke(hold) => revoked.push(hold),
                Action::Tell { client, session, event, snapshot } => {
                    if !revoked.is_empty() && ends(&event) {
                        self.revoke(std::mem::take(&mut revoked)).await;
                    }
                    told += 1;
                    if told.is_multiple_of(BURST) {
                        yield_now().await;
                    }
                    if let Some(audience) = self.audiences.get(&client) {
                        audience.session_event(session, event, *snapshot);
                    }
                }
                Action::Answer { client, event } => {
                    if let Some(audience) = self.audiences.get(&client) {
                        audience.manager_event(event);
                    }
                }
                Action::Ask { client, chooser, question } => {
                    if let Some(audience) = self.audiences.get(&client) {
                        audience.question(chooser, *question);
                    }
                }
                Action::Withdraw { client, chooser, number } => {
                    if let Some(audience) = self.audiences.get(&client) {
                        audience.withdrawal(chooser, number);
                    }
                }
                Action::Announce(event) => {
                    for audience in self.audiences.values() {
                        audience.manager_event(event.clone());
                    }
                }
            }
        }
        self.revoke(revoked).await;
        for identifier in uncounted {
            self.engine.count(&identifier, false);
        }
        if let Some(links) = names {
            self.owes_names = false;
            self.names.follow(links);
        }
    }

    /// The kernel takes longer for this than telling somebody does.
    async fn revoke(&mut self, revoked: Vec<HoldId>) {
        let Some(holds) = &mut self.holds else { return };
        let is_burst = revoked.len() >= BURST;
        for some in revoked.chunks(BURST) {
            if is_burst {
                yield_now().await;
            }
            some.iter().for_each(|hold| holds.revoke(*hold));
        }
    }

    fn log_decisions(&mut self) {
        if !tracing::enabled!(tracing::Level::INFO) {
            return;
        }
        for decision in self.core.decisions(self.next_decision) {
            let inputs: Vec<String> =
                decision.inputs.iter().map(|input| format!("{}: {}", input.name, input.value)).collect();
            tracing::info!(subject = %decision.subject, "{} ({})", decision.verdict, inputs.join(", "));
            self.next_decision = decision.number + 1;
        }
    }
}

/// True for what tells that a session holds no longer: by then its descriptors show it.
fn ends(event: &SessionEvent) -> bool {
    matches!(event, SessionEvent::Error(_) | SessionEvent::Closed)
}

fn complain() {
    tracing::warn!("links of ours are still up; the next start, or a reset, takes them down");
}

/// More of one file are not worth a line each in a log; the file as a whole has to be looked at.
const MISTAKES_OF_A_FILE: usize = 5;

/// Logs what is wrong with files, and what is in force instead of them.
pub fn tell_mistakes(reading: &Reading) {
    for of_file in reading.mistakes.chunk_by(|one, other| one.file == other.file) {
        for mistake in of_file.iter().take(MISTAKES_OF_A_FILE) {
            tracing::warn!("{mistake}");
        }
        if let (Some(mistake), Some(more)) = (of_file.first(), of_file.len().checked_sub(MISTAKES_OF_A_FILE + 1)) {
            tracing::warn!("{}: and {} more; bearerctl profile check tells them", mistake.file.display(), more + 1);
        }
    }
    for file in &reading.kept {
        tracing::warn!("{}: its last good version stays in force", file.display());
    }
    for file in &reading.left_out {
        tracing::warn!("{}: left out until that is corrected", file.display());
    }
}

async fn changed(profiles: &mut Option<ProfileWatch>) -> io::Result<Reading> {
    match profiles {
        Some(profiles) => profiles.changed().await,
        None => std::future::pending().await,
    }
}

async fn at<C: Clock>(clock: &C, deadline: Option<Moment>) {
    match deadline {
        Some(deadline) => clock.sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(", caused by: {cause}"));
        source = cause.source();
    }
    text
}
