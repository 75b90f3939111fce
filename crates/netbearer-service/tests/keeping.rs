//! In which order the service keeps, commands, tells, revokes and answers: what a killed process has forgotten was known to nobody.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::{BTreeMap, BTreeSet},
    future::{Future, pending, ready},
    sync::{Arc, Mutex},
};

use netbearer_core::{
    ChooserId, Client, ClientId, Core, HoldId, Limits, Question, QuestionNumber, Record, SavedState, SessionId,
    Settings, Token, UserId,
};
use netbearer_engine::{Clock, Engine, EngineError, EngineEvent, NameServers};
use netbearer_service::{Audience, Holds, Keeper, Service, ServiceHandle};
use netbearer_types::{
    AccessPointCommand, AccessPointReport, BearerType, BypassVpn, Families, Hardware, Identifier, Interface, Level,
    LinkLevel, LinkNames, ManagerEvent, Moment, NamesReport, SessionEvent, SessionSnapshot, SocketCookie,
    SteeringLevel, Traffic,
};
use tokio::sync::Notify;

const CLIENT: ClientId = ClientId(1);

/// What is done for a service, in its order.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Keeper for Log {
    fn keep(&mut self, records: Vec<Record>) {
        let name = |record: &Record| match record {
            Record::Session(_) => "session",
            Record::Course { .. } => "course",
            Record::Sockets { .. } => "sockets",
            Record::NoSession(_) => "no session",
            Record::AccessPoint(_) => "access point",
            Record::NoAccessPoint(_) => "no access point",
            Record::Numbers(_) => "numbers",
        };
        let names: Vec<&str> = records.iter().map(name).collect();
        self.note(format!("kept {}", names.join(", ")));
    }
}

impl Holds for Log {
    fn revoke(&mut self, hold: HoldId) {
        self.note(format!("revoked {}", hold.0));
    }
}

impl Audience for Log {
    fn session_event(&self, _: SessionId, event: SessionEvent, _: SessionSnapshot) {
        let event = match event {
            SessionEvent::StateChanged { state } => state.to_string(),
            other => format!("{other:?}"),
        };
        self.note(format!("told {event}"));
    }

    fn manager_event(&self, _: ManagerEvent) {}

    fn question(&self, _: ChooserId, _: Question) {}

    fn withdrawal(&self, _: ChooserId, _: QuestionNumber) {}
}

/// The same with somebody who passes on what is told, when it is their turn.
struct PassedOn(Log, Arc<Notify>);

impl Audience for PassedOn {
    fn session_event(&self, session: SessionId, event: SessionEvent, snapshot: SessionSnapshot) {
        self.0.session_event(session, event, snapshot);
        self.1.notify_one();
    }

    fn manager_event(&self, _: ManagerEvent) {}

    fn question(&self, _: ChooserId, _: Question) {}

    fn withdrawal(&self, _: ChooserId, _: QuestionNumber) {}
}

/// An engine that has found an access point, and notes what it is told.
struct Found {
    log: Log,
    events: Vec<EngineEvent>,
    /// It fails when this is told.
    failing: Arc<Notify>,
}

impl Engine for Found {
    fn command(&mut self, command: AccessPointCommand) {
        self.log.note(format!("commanded {:?}", command.target));
    }

    fn steer(&mut self, _: BTreeMap<Identifier, BypassVpn>) {
        self.log.note("steered");
    }

    fn forget_resumed(&mut self) {
        self.log.note("the return has ended");
    }

    fn count(&mut self, _: &Identifier, _: bool) {}

    fn traffic(&mut self, _: &Identifier) -> Traffic {
        Traffic::default()
    }

    fn abort_sockets(&mut self, _: BTreeSet<SocketCookie>, _: Option<u32>) {}

    fn watch_sockets(&mut self, _: bool) {}

    fn check_sockets(&mut self, _: BTreeSet<SocketCookie>) {}

    fn socket_traffic(&mut self) -> impl Future<Output = BTreeMap<SocketCookie, Traffic>> + Send + 'static {
        ready(BTreeMap::new())
    }

    fn forget(&mut self, _: &Identifier) {}

    async fn settle(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    fn refresh(&mut self) {}

    async fn event(&mut self) -> Result<EngineEvent, EngineError> {
        match self.events.pop() {
            Some(event) => Ok(event),
            None => {
                self.failing.notified().await;
                Err(EngineError { engine: "found", source: "the kernel is silent".into() })
            }
        }
    }
}

struct NoNames(Log);

impl NameServers for NoNames {
    fn follow(&mut self, _: Vec<LinkNames>) {
        self.0.note("names followed");
    }

    fn report(&mut self) -> impl Future<Output = NamesReport> + Send {
        pending()
    }

    async fn settle(&mut self) {}
}

/// Stands still.
#[derive(Clone)]
struct NoTime;

impl Clock for NoTime {
    fn now(&self) -> Moment {
        Moment::ZERO
    }

    fn sleep_until(&self, _: Moment) -> impl Future<Output = ()> + Send {
        pending()
    }
}

fn report() -> AccessPointReport {
    let interface = Interface {
        name: "ap0".to_owned(),
        index: 1,
        hardware_address: String::new(),
        mtu: 1_500,
        addresses: Vec::new(),
        gateways: Vec::new(),
        name_servers: Vec::new(),
        search_domains: Vec::new(),
    };
    let link = LinkLevel {
        administratively_up: false,
        carrier: true,
        carrier_losses: 0,
        interface,
        routed: Families::empty(),
        default_route: Families::empty(),
    };
    AccessPointReport {
        identifier: "ap0".into(),
        name: "ap0".to_owned(),
        bearer_type: BearerType::Ethernet,
        hardware: Hardware::default(),
        cannot_start_and_stop: None,
        counts_traffic: true,
        level: Level::Present(link),
        steering: SteeringLevel::default(),
        progress: None,
    }
}

fn shared() -> Settings {
    Settings { serves_all_processes: true, ..Settings::default() }
}

/// Runs a service over a core until `play` has ended, which begins when all there is has been found.
async fn serve<F: Future<Output = ()>>(core: Core, log: &Log, play: impl FnOnce(ServiceHandle) -> F) {
    let ended = serve_with(core, log, Arc::default(), play).await;
    assert!(ended.is_none(), "the service has ended: {ended:?}");
}

/// The same over an engine that may fail. Returns how the service has ended, if it has before `play`.
async fn serve_with<F: Future<Output = ()>>(
    core: Core,
    log: &Log,
    failing: Arc<Notify>,
    play: impl FnOnce(ServiceHandle) -> F,
) -> Option<Result<(), EngineError>> {
    let events = vec![EngineEvent::Enumerated, EngineEvent::Report(Box::new(report()))];
    let engine = Found { log: log.clone(), events, failing };
    let (service, handle, enumerated) = Service::restored(core, engine, NoNames(log.clone()), NoTime);
    let service = service.keeping(log.clone()).holding(log.clone()).ending_with_engine();
    let playing = async {
        enumerated.await.unwrap();
        handle.join(CLIENT, Client::of_user(UserId(1000)), Arc::new(log.clone())).unwrap();
        play(handle).await;
    };
    tokio::select! {
        ended = service.run() => Some(ended),
        () = playing => None,
    }
}

async fn create(handle: &ServiceHandle) -> SessionId {
    let create = |core: &mut Core, _| {
        let session = core.create_session(CLIENT, &"ap0".into()).unwrap();
        core.give_token(session, Token(session.0.into()));
        session
    };
    handle.call(create).await.unwrap()
}

/// Calls, and notes the answer when it is given.
async fn call(handle: &ServiceHandle, log: &Log, call: impl FnOnce(&mut Core, Moment) + Send + 'static) {
    let told = log.clone();
    handle.call_then(call, move |()| told.note("answered")).await.unwrap();
}

#[tokio::test]
async fn what_has_changed_is_kept_before_it_is_done_told_or_answered() {
    let log = Log::default();
    let play = async |handle: ServiceHandle| {
        let session = create(&handle).await;
        assert_eq!(log.take().last().map(String::as_str), Some("kept session, numbers"));
        call(&handle, &log, move |core, now| {
            core.open_held(session, HoldId(7), now).unwrap();
        })
        .await;
        let opened = ["kept course, access point", "commanded Configured", "told Connecting", "answered"];
        assert_eq!(log.take(), opened);
        call(&handle, &log, move |core, now| core.close(session, now).unwrap()).await;
        let closed =
            ["kept course, access point", "revoked 7", "told Closed", "commanded Released", "told Closing", "answered"];
        assert_eq!(log.take(), closed);
    };
    serve(Core::new(shared()), &log, play).await;
}

#[tokio::test]
async fn descriptors_are_revoked_when_states_have_been_told_and_ends_have_not() {
    let log = Log::default();
    let play = async |handle: ServiceHandle| {
        let (own, other) = (create(&handle).await, create(&handle).await);
        call(&handle, &log, move |core, now| {
            core.open_held(own, HoldId(7), now).unwrap();
            core.open_held(other, HoldId(8), now).unwrap();
        })
        .await;
        log.take();
        call(&handle, &log, move |core, now| core.stop(own, now).unwrap()).await;
        let mut stopped = log.take();
        // Why the other one has ended is for people.
        stopped.iter_mut().filter(|one| one.starts_with("told Error")).for_each(|one| one.truncate("told Error".len()));
        let expected = [
            "kept course, course, access point",
            "revoked 7",
            "told Closed",
            "commanded Released",
            "told Closing",
            "told Closing",
            "revoked 8",
            "told Error",
            "told Closed",
            "answered",
        ];
        assert_eq!(stopped, expected);
    };
    serve(Core::new(shared()), &log, play).await;
}

#[tokio::test]
async fn of_a_crowd_the_first_have_been_told_before_the_last_are() {
    const CROWD: usize = 1_000;
    let log = Log::default();
    let play = async |handle: ServiceHandle| {
        let told = Arc::new(Notify::new());
        let audience = Arc::new(PassedOn(log.clone(), Arc::clone(&told)));
        handle.join(CLIENT, Client::of_user(UserId(0)), audience).unwrap();
        let mut sessions = Vec::new();
        for hold in (0..).map(HoldId).take(CROWD) {
            let session = create(&handle).await;
            let open = move |core: &mut Core, now| core.open_held(session, hold, now).map(drop);
            handle.call(open).await.unwrap().unwrap();
            sessions.push(session);
        }
        log.take();
        let close = move |core: &mut Core, now| sessions.iter().for_each(|session| core.close(*session, now).unwrap());
        let pass_on = async {
            told.notified().await;
            log.note("passed on");
        };
        tokio::join!(call(&handle, &log, close), pass_on);
        let done = log.take();
        let position = |what: &str| done.iter().rposition(|one| one == what).unwrap_or_else(|| panic!("{what}"));
        assert_eq!(done.iter().filter(|one| *one == "told Closed").count(), CROWD);
        assert!(position("passed on") < position("told Closed"));
        assert_eq!(position("answered"), done.len() - 1, "calls are answered after what they have caused");
    };
    let limits = Limits { sessions: 2_000, watchers: 2_000, ..Limits::default() };
    serve(Core::new(Settings { limits, ..shared() }), &log, play).await;
}

#[tokio::test]
async fn what_changes_nothing_is_not_kept() {
    let log = Log::default();
    let play = async |handle: ServiceHandle| {
        let session = create(&handle).await;
        log.take();
        call(&handle, &log, move |core, now| core.close(session, now).unwrap()).await;
        call(&handle, &log, move |core, _| assert!(core.session(session).is_some())).await;
        assert_eq!(log.take(), ["answered", "answered"]);
    };
    serve(Core::new(shared()), &log, play).await;
}

/// A session is opened with a descriptor, which is no news any more.
async fn open_held(handle: &ServiceHandle, log: &Log) {
    let session = create(handle).await;
    call(handle, log, move |core, now| {
        core.open_held(session, HoldId(7), now).unwrap();
    })
    .await;
    log.take();
}

#[tokio::test]
async fn descriptors_of_a_client_that_is_gone_are_kept_as_what_goes_on() {
    let log = Log::default();
    let play = async |handle: ServiceHandle| {
        open_held(&handle, &log).await;
        handle.leave(CLIENT);
        let described = handle.call(|core, _| core.session_descriptions()).await.unwrap();
        assert_eq!(
            described.iter().map(|session| (session.owned, session.descriptors)).collect::<Vec<_>>(),
            [(false, 1)]
        );
        assert_eq!(log.take(), ["kept course"], "nobody is told");
    };
    serve(Core::new(shared()), &log, play).await;
}

#[tokio::test]
async fn a_return_ends_when_all_that_is_to_be_gone_on_with_has_been_commanded() {
    let log = Log::default();
    let mut core = Core::new(shared());
    core.handle_client(CLIENT, Client::of_user(UserId(1000)));
    core.handle_report(report(), Moment::ZERO);
    let session = core.create_session(CLIENT, &"ap0".into()).unwrap();
    core.open_held(session, HoldId(7), Moment::ZERO).unwrap();
    let saved: SavedState = core.take_unsaved().into_iter().collect();
    let play = async |_| {
        let done = log.take();
        let position =
            |what: &str| done.iter().rposition(|one| one == what).unwrap_or_else(|| panic!("{what}: {done:?}"));
        assert!(position("commanded Configured") < position("the return has ended"));
        assert!(position("steered") < position("the return has ended"));
        position("names followed");
    };
    serve(Core::restore(shared(), saved, Moment::ZERO), &log, play).await;
}

#[tokio::test]
async fn a_service_that_ends_with_its_engine_leaves_all_as_it_is_and_tells_nobody() {
    let (log, failing) = (Log::default(), Arc::new(Notify::new()));
    let play = async |handle: ServiceHandle| {
        open_held(&handle, &log).await;
        failing.notify_one();
        pending().await
    };
    let ended = serve_with(Core::new(shared()), &log, Arc::clone(&failing), play).await;
    let error = ended.expect("it has ended").unwrap_err();
    assert_eq!(error.source.to_string(), "the kernel is silent");
    assert_eq!(log.take(), Vec::<String>::new());
}
