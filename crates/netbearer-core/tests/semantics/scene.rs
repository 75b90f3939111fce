use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use netbearer_core::{
    Action, Client, ClientId, Core, HoldId, Question, QuestionNumber, SavedState, SessionId, Settings, Token, UserId,
};
use netbearer_types::{
    CommandNumber, FailureReason, Identifier, Kind, LinkNames, ManagerEvent, Moment, OfferPhase, PropertyKey,
    PropertyValue, SessionEvent, SessionSnapshot, SessionState, SocketCookie, StateFlags, Target,
};

use crate::{
    heard::{Heard, Told},
    simulated::Simulated,
};

/// A core, a simulated machine around it, and a clock that stands still unless it is set.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) core: Core,
    pub(crate) machine: BTreeMap<Identifier, Simulated>,
    pub(crate) now: Moment,
    /// The newest command of each access point.
    pub(crate) newest: BTreeMap<Identifier, CommandNumber>,
    /// The links of others that were last to have a table of ours.
    steered: BTreeSet<Identifier>,
    /// What engines were told to count.
    counted: BTreeSet<Identifier>,
    /// Whose profile each device was last set up with.
    set_up_as: BTreeMap<Identifier, Option<String>>,
    /// Where the engine was last told to take each access point.
    targets: BTreeMap<Identifier, Target>,
    /// The links whose name servers programs were last told to ask.
    pub(crate) named: Vec<LinkNames>,
    heard: Heard,
    /// What has been kept for the next process.
    pub(crate) saved: SavedState,
    /// The service was started anew, and has not looked at everything yet.
    pub(crate) is_returning: bool,
    /// The name of the interface that each session had when it was told something last.
    pub(crate) shown: BTreeMap<SessionId, Option<String>>,
    /// What users were asked so far, and what of it was withdrawn.
    pub(crate) questions: Vec<Question>,
    pub(crate) withdrawn: Vec<QuestionNumber>,
    /// The sockets that were ended so far.
    pub(crate) aborted: BTreeSet<SocketCookie>,
    /// Their ends are told.
    pub(crate) watches_sockets: bool,
    /// The sockets that are to be looked for.
    pub(crate) checked: BTreeSet<SocketCookie>,
}

impl Scene {
    pub(crate) fn new(settings: Settings, machine: impl IntoIterator<Item = (Identifier, Simulated)>) -> Self {
        Self {
            core: Core::new(settings),
            machine: machine.into_iter().collect(),
            now: Moment::ZERO + Duration::from_secs(100),
            newest: BTreeMap::new(),
            steered: BTreeSet::new(),
            counted: BTreeSet::new(),
            set_up_as: BTreeMap::new(),
            targets: BTreeMap::new(),
            named: Vec::new(),
            heard: Heard::default(),
            saved: SavedState::default(),
            is_returning: false,
            shown: BTreeMap::new(),
            questions: Vec::new(),
            withdrawn: Vec::new(),
            aborted: BTreeSet::new(),
            watches_sockets: false,
            checked: BTreeSet::new(),
        }
    }

    /// One access point "ap0" with a cable, administratively down, enumerated.
    pub(crate) fn with_one_access_point(settings: Settings, arrange: impl FnOnce(&mut Simulated)) -> Self {
        let mut access_point = Simulated::new(AP0.into());
        arrange(&mut access_point);
        let mut scene = Self::new(settings, [(AP0.into(), access_point)]);
        scene.report();
        scene.core.handle_enumerated(scene.now);
        scene.hear();
        scene
    }

    /// Access points with a cable, administratively down, enumerated.
    pub(crate) fn with_access_points<const COUNT: usize>(
        settings: Settings,
        names: [&str; COUNT],
        arrange: impl FnOnce([&mut Simulated; COUNT]),
    ) -> Self {
        let mut access_points = names.map(|name| Simulated::new(name.into()));
        arrange(access_points.each_mut());
        let mut scene = Self::new(settings, names.map(Identifier::from).into_iter().zip(access_points));
        for name in names {
            scene.report_of(name);
        }
        scene.core.handle_enumerated(scene.now);
        scene.hear();
        scene
    }

    // A small language for plays with descriptors, and with services that are killed.

    /// A session that has been opened with a descriptor, and whose engine has done all it could.
    pub(crate) fn held_session(&mut self, client: u64, hold: u64) -> SessionId {
        let session = self.session(client);
        self.core.give_token(session, Token(session.0.into()));
        self.open_held(session, hold);
        self.settle();
        self.hear();
        session
    }

    pub(crate) fn open_held(&mut self, session: SessionId, hold: u64) {
        let in_force = self.core.open_held(session, HoldId(hold), self.now).expect("opening is accepted");
        assert_eq!(in_force, Some(HoldId(hold)));
        self.listen();
    }

    pub(crate) fn pass_on(&mut self, session: SessionId, hold: u64) {
        self.core.add_hold(session, HoldId(hold)).expect("it holds");
    }

    /// The last copy of a descriptor is closed.
    pub(crate) fn close_descriptor(&mut self, hold: u64) {
        self.core.handle_hold_gone(HoldId(hold), self.now);
        self.listen();
    }

    pub(crate) fn client_gone(&mut self, client: u64) {
        self.core.handle_client_gone(ClientId(client), self.now);
        self.listen();
    }

    /// A client is back, and looks for a session.
    pub(crate) fn attach(&mut self, client: u64, session: SessionId) {
        self.core.handle_client(ClientId(client), Client::of_user(UserId(1000)));
        let attached = self.core.attach_session(ClientId(client), Token(session.0.into()), self.now);
        assert_eq!(attached, Ok(session));
    }

    /// All that engines have found after a service was started anew.
    pub(crate) fn look_around(&mut self) {
        let found: Vec<String> = self
            .machine
            .iter()
            .filter(|(_, simulated)| simulated.is_access_point && simulated.is_plugged_in)
            .map(|(device, _)| device.to_string())
            .collect();
        for device in found {
            self.report_of(&device);
        }
        self.enumerate();
    }

    /// The descriptors that have been revoked since it was asked last.
    pub(crate) fn revoked(&mut self) -> Vec<u64> {
        self.listen();
        std::mem::take(&mut self.heard.revoked).into_iter().map(|hold| hold.0).collect()
    }

    // A small language for plays on several access points.

    pub(crate) fn session_on(&mut self, client: u64, configuration: &str) -> SessionId {
        self.core.handle_client(ClientId(client), Client::of_user(UserId(1000)));
        self.core.create_session(ClientId(client), &configuration.into()).expect("the limits are not tested here")
    }

    /// One that has been opened just now.
    pub(crate) fn opening(&mut self, client: u64, configuration: &str) -> SessionId {
        let session = self.session_on(client, configuration);
        self.open(session);
        session
    }

    /// The engine of a service that was started anew has reported all there is.
    pub(crate) fn enumerate(&mut self) {
        let was_returning = std::mem::take(&mut self.is_returning);
        self.core.handle_enumerated(self.now);
        self.listen();
        if was_returning {
            self.machine.values_mut().for_each(Simulated::forget_resumed);
        }
    }

    pub(crate) fn report_of(&mut self, access_point: &str) {
        let simulated = self.machine.get_mut(&Identifier::from(access_point)).expect("it is in the scene");
        simulated.is_known = true;
        let report = simulated.report();
        self.core.handle_report(report, self.now);
        self.listen();
    }

    pub(crate) fn change_of(&mut self, access_point: &str, change: impl FnOnce(&mut Simulated) -> bool) {
        let simulated = self.machine.get_mut(&Identifier::from(access_point)).expect("it is in the scene");
        assert!(change(simulated), "the change must be one");
        self.report_of(access_point);
    }

    /// The engine does all it was asked for on this access point.
    pub(crate) fn settle_on(&mut self, access_point: &str) {
        self.listen();
        while self.machine.get_mut(&Identifier::from(access_point)).is_some_and(Simulated::step) {
            self.report_of(access_point);
        }
    }

    /// The newest commands to this access point were these.
    pub(crate) fn listen_for(&mut self, access_point: &str, targets: &[netbearer_types::Target]) {
        self.listen();
        let commands = self.heard.commands.remove(&Identifier::from(access_point)).unwrap_or_default();
        assert_eq!(commands, targets, "{access_point}");
    }

    // A small language for plays on a service network.

    /// A session that is open on the service network by this member.
    pub(crate) fn open_by(&mut self, member: &str) -> SessionId {
        let session = self.opening(1, NETWORK);
        self.settle_on(member);
        assert_eq!(self.told(session).last(), Some(&Told::Opened));
        assert_eq!(self.active(session), member);
        session
    }

    pub(crate) fn active(&self, session: SessionId) -> String {
        self.text(session, PropertyKey::ActiveConfiguration)
    }

    pub(crate) fn text(&self, session: SessionId, key: PropertyKey) -> String {
        match self.core.property(session, key) {
            Some(PropertyValue::Text(text)) => text,
            other => panic!("{key} reads {other:?}"),
        }
    }

    pub(crate) fn state(&self, session: SessionId) -> SessionState {
        self.core.session(session).expect("it exists").state
    }

    /// It is told once that it sees the interface of another member than before, and nothing else.
    pub(crate) fn expect_to_be_shown(&mut self, session: SessionId, member: &str) {
        let told = self.told(session);
        assert!(matches!(&told[..], [Told::InterfaceChanged(interface)] if interface.name == member), "{told:?}");
        let shown = self.core.session(session).and_then(|snapshot| snapshot.interface);
        assert_eq!(shown.map(|interface| interface.name).as_deref(), Some(member));
    }

    pub(crate) fn fail(&mut self, member: &str) {
        self.listen();
        self.change_of(member, |access_point| access_point.fail(FailureReason::KernelRefused));
    }

    pub(crate) fn flags(&self, configuration: &str) -> StateFlags {
        self.core.configuration(&configuration.into()).expect("it exists").state_flags
    }

    // A small language for plays on "ap0".

    pub(crate) fn access_point(&mut self) -> &mut Simulated {
        self.machine.get_mut(AP0).expect("every scene has ap0")
    }

    pub(crate) fn session(&mut self, client: u64) -> SessionId {
        self.core.handle_client(ClientId(client), Client::of_user(UserId(1000)));
        self.core.create_session(ClientId(client), &AP0.into()).expect("the limits are not tested here")
    }

    /// A session that is open on a link that is up; what it heard until then is forgotten.
    pub(crate) fn open_session(&mut self, client: u64) -> SessionId {
        let session = self.session(client);
        self.open(session);
        self.settle();
        self.hear();
        assert!(self.core.session(session).is_some_and(|snapshot| snapshot.is_open));
        session
    }

    pub(crate) fn open(&mut self, session: SessionId) {
        self.core.open(session, self.now).expect("opening is accepted");
        self.listen();
    }

    pub(crate) fn close(&mut self, session: SessionId) {
        self.core.close(session, self.now).expect("the session exists");
        self.listen();
    }

    pub(crate) fn stop(&mut self, session: SessionId) {
        self.core.stop(session, self.now).expect("stopping is supported");
        self.listen();
    }

    pub(crate) fn reconnect(&mut self, session: SessionId) {
        self.core
            .set_property(session, PropertyKey::Reconnect, Some(PropertyValue::Boolean(true)))
            .expect("the property takes a truth value");
    }

    pub(crate) fn report(&mut self) {
        let report = self.access_point().report();
        self.core.handle_report(report, self.now);
        self.listen();
    }

    /// The engine does all it was asked for, and says so after every step.
    pub(crate) fn settle(&mut self) {
        self.listen();
        while self.access_point().step() {
            self.report();
        }
    }

    /// The world changes, and the engine says so.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Simulated) -> bool) {
        assert!(change(self.access_point()), "the change must be one");
        self.report();
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.core.handle_timeout(self.now);
        self.listen();
    }

    /// What a session was told since it was asked last.
    pub(crate) fn told(&mut self, session: SessionId) -> Vec<Told> {
        self.listen();
        self.heard.sessions.remove(&session).unwrap_or_default()
    }

    /// What a client that was away concludes for itself.
    pub(crate) fn tell_afterwards(&mut self, session: SessionId, told: impl Iterator<Item = Told>) {
        told.for_each(|told| self.heard.tell(session, told));
    }

    /// All that was said since it was asked last.
    pub(crate) fn hear(&mut self) -> Heard {
        self.listen();
        std::mem::take(&mut self.heard)
    }

    /// Carries out what the core wants done.
    pub(crate) fn listen(&mut self) {
        // Before anything is done, or anybody told.
        self.saved.extend(self.core.take_unsaved());
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Command(command) => {
                    self.heard.command(&command.identifier, command.target);
                    let before = self.newest.insert(command.identifier.clone(), command.number);
                    assert!(before < Some(command.number), "command numbers ascend");
                    let is_named = self.named.iter().any(|link| link.interface_name == command.identifier.as_str());
                    assert!(!is_named || command.target == Target::Configured, "names go before their link does");
                    self.targets.insert(command.identifier.clone(), command.target);
                    let access_point = self.machine.get_mut(&command.identifier).expect("commands go to what exists");
                    if matches!(command.target, Target::Configured | Target::Sensed) {
                        let name = command.profile.name.clone();
                        let before = self.set_up_as.insert(command.identifier.clone(), name.clone());
                        let is_the_same = before.is_none_or(|before| before == name);
                        assert!(is_the_same || access_point.is_as_found(), "one at a time has a device");
                    }
                    access_point.command(&command);
                }
                Action::Steer(access_points) => self.steered = access_points.into_keys().collect(),
                Action::Count { identifier, counting } => {
                    let changed =
                        if counting { self.counted.insert(identifier) } else { self.counted.remove(&identifier) };
                    assert!(changed, "counting begins and ends once");
                }
                Action::Names(links) => self.named = links,
                Action::AbortSockets { sockets, owner } => {
                    assert_eq!(owner, Some(UserId(1000)), "nobody else's are touched");
                    for socket in sockets {
                        assert!(self.aborted.insert(socket), "socket {socket} is aborted twice");
                    }
                }
                Action::WatchSockets(watching) => {
                    assert_ne!(self.watches_sockets, watching, "watching begins and ends once");
                    self.watches_sockets = watching;
                }
                Action::CheckSockets(sockets) => self.checked = sockets,
                Action::Revoke(hold) => self.heard.revoke(hold),
                Action::Refresh => self.heard.refreshes += 1,
                Action::Tell { session, event, snapshot, .. } => {
                    assert!(agrees(&event, &snapshot), "{event:?} is told with {snapshot:?}");
                    self.heard.tell(session, Told::from(event));
                    self.shown.insert(session, snapshot.interface.map(|interface| interface.name));
                }
                Action::Forget(identifier) => {
                    assert!(self.core.configuration(&identifier).is_none(), "{identifier} is forgotten, and is there");
                    self.counted.remove(&identifier);
                }
                Action::Answer { client, event } => {
                    assert_eq!(event, ManagerEvent::UpdateCompleted);
                    self.heard.completed.push(client);
                }
                Action::Announce(event) => self.heard.hear(event),
                Action::Ask { question, .. } => {
                    let newest = self.questions.last().map(|question| question.number);
                    assert!(newest < Some(question.number), "no question has the number of another");
                    self.questions.push(*question);
                }
                Action::Withdraw { number, .. } => self.withdrawn.push(number),
            }
        }
        if self.is_returning {
            return;
        }
        assert_eq!(
            self.steered,
            self.to_be_steered(),
            "links of others with sessions on them, if there are several ways"
        );
        let active = self.active_access_points();
        let counted: BTreeSet<Identifier> = active.iter().map(device_of).collect();
        assert_eq!(counted.len(), active.len(), "one access point of a device is Active at most");
        assert_eq!(self.counted, counted, "what is Active is counted");
        let named: BTreeSet<&str> = self.named.iter().map(|link| link.interface_name.as_str()).collect();
        let to_be_named = self.to_be_named();
        assert_eq!(named, to_be_named.iter().map(Identifier::as_str).collect(), "links of ours with name servers");
    }

    /// The process is killed, wherever it is, and another one goes on from what was kept. Nothing has been reported yet.
    pub(crate) fn restart(&mut self, settings: Settings) {
        self.saved.extend(self.core.take_unsaved());
        assert_eq!(self.saved, self.core.saved(), "what was kept bit by bit is all there is");
        let text = serde_json::to_string(&self.saved).expect("it can be written");
        let saved: SavedState = serde_json::from_str(&text).expect("what was written can be read");
        assert_eq!(saved, self.saved, "what is read is what was written");
        self.restart_from(settings, saved);
    }

    /// The same where this is all that was kept.
    pub(crate) fn restart_from(&mut self, settings: Settings, saved: SavedState) {
        self.saved = saved.clone();
        let resumed = saved.devices();
        for (device, simulated) in &mut self.machine {
            simulated.restart(resumed.contains(device));
        }
        self.core = Core::restore(settings, saved, self.now);
        self.newest.clear();
        self.steered.clear();
        self.counted.clear();
        self.named.clear();
        self.is_returning = true;
        self.watches_sockets = false;
        self.heard = Heard::default();
        self.saved.extend(self.core.take_unsaved());
        assert_eq!(self.saved, self.core.saved(), "what is kept goes on from what was kept");
    }

    /// Whose name servers programs shall ask.
    fn to_be_named(&self) -> BTreeSet<Identifier> {
        let is_kept = |identifier: &Identifier| {
            self.targets.get(&device_of(identifier)) == Some(&Target::Configured) && !self.core.is_adopted(identifier)
        };
        let has_servers = |identifier: &Identifier| {
            self.core.interface(identifier).is_some_and(|interface| !interface.name_servers.is_empty())
        };
        self.active_access_points()
            .into_iter()
            .filter(|identifier| is_kept(identifier) && has_servers(identifier))
            .map(|identifier| device_of(&identifier))
            .collect()
    }

    /// The access points that are Active.
    fn active_access_points(&self) -> Vec<Identifier> {
        let active = self.core.configurations(Some(StateFlags::Active)).into_iter();
        let access_points = active.filter(|configuration| configuration.kind == Kind::InternetAccessPoint);
        access_points.map(|configuration| configuration.identifier).collect()
    }

    /// What shall have a table of ours beside that of others.
    fn to_be_steered(&self) -> BTreeSet<Identifier> {
        let active = self.active_access_points();
        let has_several = active.len() > 1;
        let is_used = |identifier: &Identifier| self.core.is_adopted(identifier) && self.core.holds(identifier) > 0;
        let used = active.into_iter().filter(|identifier| has_several && is_used(identifier));
        used.map(|identifier| device_of(&identifier)).collect()
    }
}

/// What the engine calls an access point: exclusive ones have the name of their file behind it.
pub(crate) fn device_of(access_point: &Identifier) -> Identifier {
    Identifier::new(access_point.as_str().split('/').next().expect("the first part is always there"))
}

/// The snapshot is the session after this event, and not after those that follow it.
fn agrees(event: &SessionEvent, snapshot: &SessionSnapshot) -> bool {
    match event {
        SessionEvent::StateChanged { state } => snapshot.state == *state,
        SessionEvent::Opened => snapshot.is_open,
        SessionEvent::Closed => !snapshot.is_open && !snapshot.is_opening,
        SessionEvent::Error(failure) => snapshot.failure.as_ref() == Some(failure),
        SessionEvent::InterfaceChanged { interface } => {
            let candidate = snapshot.roaming.as_ref().and_then(|roaming| roaming.candidate_interface.as_ref());
            snapshot.interface.iter().chain(candidate).any(|shown| shown == interface)
        }
        SessionEvent::PreferredConfigurationChanged { offer } => snapshot.roaming.as_ref().is_some_and(|roaming| {
            roaming.offer == *offer && roaming.phase == OfferPhase::Offered && roaming.candidate_interface.is_none()
        }),
        SessionEvent::NewConfigurationActivated { offer, configuration, interface } => {
            snapshot.state == SessionState::Roaming
                && snapshot.roaming.as_ref().is_some_and(|roaming| {
                    (roaming.offer.number, &roaming.offer.configuration) == (*offer, configuration)
                        && roaming.phase == OfferPhase::Trial
                        && roaming.candidate_interface.as_ref() == Some(interface)
                })
        }
        SessionEvent::CurrentLinkLost { .. } => snapshot.interface.is_none() && snapshot.roaming.is_some(),
        SessionEvent::OfferWithdrawn { .. } | SessionEvent::RoamingFailed { .. } => snapshot.roaming.is_none(),
        SessionEvent::ActiveConfigurationChanged { configuration } => {
            snapshot.active_configuration.as_ref() == Some(configuration) && snapshot.state == SessionState::Connected
        }
        _ => true,
    }
}

/// The service network of plays with one.
pub(crate) const NETWORK: &str = "service-uplink";
/// The access point of plays with one.
pub(crate) const AP0: &str = "ap0";
