use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};

use netbearer_types::{
    BypassVpn, Capabilities, Configuration, Failure, FailureReason, Identifier, Kind, LinkNames, ManagerEvent, Moment,
    OfferPhase, PropertyKey, PropertyValue, SessionError, SessionSnapshot, SessionState, SocketCookie, SocketEnd,
    StateFlags,
};
use serde::{Deserialize, Serialize};

use crate::{
    Action, Decision, HoldId, Input, Limits, Numbers, Profiles, Refusal, SavedAccessPoint, Subject, Token, Verdict,
    access_point::AccessPoint,
    client::Attendance,
    composite::{Composite, composites_of},
    exclusive::Device,
    hold::Holds,
    journal::Journal,
    ledger::Ledger,
    limits::Usage,
    phase::Phase,
    presence::Presence,
    properties::Properties,
    question::{Chooser, ChooserId, Pending, QuestionNumber},
    ranking,
    session::{Interest, Session, Way},
    sockets::Sockets,
    timer::{Deadlines, Timer},
};

/// For how many actions there is room all the time.
const USUAL_ACTIONS: usize = 64;
/// How many requests of one client for a look at everything may wait to be completed.
const WAITING_UPDATES: usize = 16;

/// Names a client: one connection to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientId(pub u64);

/// Names a user, by the kernel's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(pub u32);

/// Names a session; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

/// What a core is made with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How access points are brought up.
    pub profiles: Profiles,
    /// How much one user may have.
    pub limits: Limits,
    /// Sessions of all processes share this core, so [`Capabilities::SystemSessionSupport`] is there.
    pub serves_all_processes: bool,
    /// Whose members may open sessions, as those are told who may not. Who may what comes with each client.
    pub opening_group: String,
    /// How long sessions are kept for clients that were away together with the service (semantics §4).
    pub grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            profiles: Profiles::default(),
            limits: Limits::default(),
            serves_all_processes: false,
            opening_group: "bearer".to_owned(),
            grace: Duration::from_secs(10),
        }
    }
}

/// The owner of every decision. See the crate's documentation.
#[derive(Debug)]
pub struct Core {
    pub(crate) settings: Settings,
    pub(crate) clients: BTreeMap<ClientId, Attendance>,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    pub(crate) access_points: BTreeMap<Identifier, AccessPoint>,
    /// Those that several access points share, by what their engine calls them.
    pub(crate) devices: BTreeMap<Identifier, Device>,
    /// Service networks and user choices.
    pub(crate) composites: BTreeMap<Identifier, Composite>,
    /// Those of them that may be something else now, so that all their sessions have to be looked after.
    pub(crate) unsettled: BTreeSet<Identifier>,
    /// Sessions on composites of which something else has changed.
    pub(crate) touched: BTreeSet<SessionId>,
    /// Service networks whose unused members are kept in sight, with the sessions for which they are.
    pub(crate) sighted: BTreeMap<Identifier, BTreeSet<SessionId>>,
    /// When something is due for a session: that uses no access point, or that could be offered another one.
    pub(crate) deadlines: Deadlines,
    /// When links that sessions have left are given back.
    pub(crate) lingering: Deadlines,
    /// What may be held by nobody any more, since it was given back beside another link.
    pub(crate) vacated: BTreeSet<Identifier>,
    /// What is remembered of access points that are forgotten, and since when.
    pub(crate) departed: BTreeMap<Identifier, (Moment, Presence)>,
    pub(crate) choosers: BTreeMap<ChooserId, Chooser>,
    pub(crate) questions: BTreeMap<QuestionNumber, Pending>,
    pub(crate) numbers: Numbers,
    pub(crate) ledger: Ledger,
    /// Whose each socket is.
    pub(crate) socket_owners: BTreeMap<UserId, BTreeMap<SocketCookie, SessionId>>,
    /// Sockets to be aborted, of this user or of anybody.
    pub(crate) left_sockets: BTreeMap<Option<UserId>, BTreeSet<SocketCookie>>,
    /// Sockets that something has become of that is not saved yet.
    pub(crate) unsaved_sockets: BTreeMap<SessionId, BTreeSet<SocketCookie>>,
    /// Those that have ended, of which nobody has told.
    pub(crate) unknown_ends: VecDeque<SocketEnd>,
    /// Whose each descriptor is.
    pub(crate) held_by: BTreeMap<HoldId, SessionId>,
    pub(crate) tokens: BTreeMap<Token, SessionId>,
    /// Sessions from before the service was started anew, whose clients may still come back …
    pub(crate) awaited: BTreeSet<SessionId>,
    /// … until then.
    pub(crate) grace_until: Option<Moment>,
    /// Sessions without an owner that may have nothing to go on for any more.
    pub(crate) forsaken: BTreeSet<SessionId>,
    /// What is in need of saving; of sessions, whether all of it.
    pub(crate) unsaved: BTreeMap<SessionId, bool>,
    pub(crate) unsaved_access_points: BTreeSet<Identifier>,
    /// What was saved last.
    pub(crate) in_file: BTreeSet<SessionId>,
    pub(crate) access_points_in_file: BTreeMap<Identifier, SavedAccessPoint>,
    pub(crate) numbers_in_file: Numbers,
    /// The first enumeration after a start anew has not ended.
    pub(crate) is_returning: bool,
    pub(crate) usage: Usage,
    pub(crate) journal: Journal,
    pub(crate) actions: VecDeque<Action>,
    /// Access points whose public projection may have changed since it was last published.
    pub(crate) unpublished: BTreeSet<Identifier>,
    /// When something was last done that the world may have to be told of.
    pub(crate) unpublished_since: Option<Moment>,
    pub(crate) enumerated: bool,
    pub(crate) online: bool,
    /// Who asked for an update that has not ended, in the order of asking.
    pub(crate) updates: VecDeque<ClientId>,
    pub(crate) engine_failed: bool,
    /// The links of others beside which engines were told to have a table of ours.
    pub(crate) steered: BTreeMap<Identifier, BypassVpn>,
    /// The links whose name servers programs were told to ask.
    pub(crate) named: Vec<LinkNames>,
    /// How often a session on a composite was looked at.
    #[cfg(test)]
    pub(crate) looks: usize,
    /// One count for all access points, so that a returning one never meets the numbers of its former life.
    pub(crate) last_command: u64,
}

impl Core {
    /// A core that knows nothing yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let usage = Usage::new(settings.limits);
        let composites = composites_of(&settings.profiles).into_iter();
        Self {
            composites: composites.map(|composite| (composite.identifier.clone(), composite)).collect(),
            // Whoever comes first is told of them.
            unsettled: BTreeSet::new(),
            touched: BTreeSet::new(),
            sighted: BTreeMap::new(),
            deadlines: Deadlines::default(),
            lingering: Deadlines::default(),
            vacated: BTreeSet::new(),
            departed: BTreeMap::new(),
            choosers: BTreeMap::new(),
            questions: BTreeMap::new(),
            numbers: Numbers::default(),
            socket_owners: BTreeMap::new(),
            left_sockets: BTreeMap::new(),
            unsaved_sockets: BTreeMap::new(),
            unknown_ends: VecDeque::new(),
            held_by: BTreeMap::new(),
            tokens: BTreeMap::new(),
            awaited: BTreeSet::new(),
            grace_until: None,
            forsaken: BTreeSet::new(),
            unsaved: BTreeMap::new(),
            unsaved_access_points: BTreeSet::new(),
            in_file: BTreeSet::new(),
            access_points_in_file: BTreeMap::new(),
            numbers_in_file: Numbers::default(),
            is_returning: false,
            settings,
            clients: BTreeMap::new(),
            sessions: BTreeMap::new(),
            access_points: BTreeMap::new(),
            devices: BTreeMap::new(),
            ledger: Ledger::default(),
            usage,
            journal: Journal::default(),
            actions: VecDeque::new(),
            unpublished: BTreeSet::new(),
            unpublished_since: None,
            enumerated: false,
            online: false,
            updates: VecDeque::new(),
            engine_failed: false,
            steered: BTreeMap::new(),
            named: Vec::new(),
            #[cfg(test)]
            looks: 0,
            last_command: 0,
        }
    }

    // What comes in.

    /// A client has gone, however it ended: its sessions are closed and dropped, and nobody is told on its behalf. Those that a
    /// descriptor holds go on without it, until the last of those is gone ([`Core::handle_hold_gone`]).
    pub fn handle_client_gone(&mut self, client: ClientId, now: Moment) {
        let Some(Attendance { sessions, choosers, .. }) = self.clients.remove(&client) else { return };
        for id in sessions {
            if self.sessions.get(&id).is_some_and(|session| session.holds.are_none()) {
                self.end_session(id, now);
            } else {
                self.go_on_without_owner(id, now);
            }
        }
        for chooser in choosers {
            self.remove_chooser(chooser, now);
        }
        self.actions.retain(|action| !action.is_for(client));
        self.publish(now);
    }

    /// Makes a session object, which only watches.
    ///
    /// # Errors
    /// [`Refusal::TooManyWatchers`], [`Refusal::UnknownClient`].
    pub fn create_session(&mut self, client: ClientId, configuration: &Identifier) -> Result<SessionId, Refusal> {
        let Attendance { user, program, .. } = self.attendance(client)?;
        let (user, program) = (*user, program.clone());
        self.usage.add_watcher(user)?;
        let id = self.next_session_id();
        let support = self.settings.session_support();
        let (configuration, told, way) = if let Some(access_point) = self.access_points.get_mut(configuration) {
            access_point.sessions.insert(id);
            let shared = {
                let configuration = access_point.configuration(support);
                share(&mut access_point.shared, Arc::new(configuration))
            };
            (shared, access_point.state_told, None)
        } else if let Some(composite) = self.composites.get(configuration) {
            let shown = self.shown_member(composite).map(|access_point| access_point.identifier().clone());
            let way = Way { shown, ..Way::default() };
            let (current, state) = (self.composite_configuration(composite), self.composite_state(composite));
            let shared = self.composites.get_mut(configuration).map_or_else(
                || Arc::new(current.clone()),
                |composite| {
                    composite.sessions.insert(id);
                    share(&mut composite.shared, Arc::new(current.clone()))
                },
            );
            (shared, state, Some(Box::new(way)))
        } else {
            (Arc::new(Configuration::invalid(configuration.clone())), SessionState::Invalid, None)
        };
        let failure = (!configuration.is_valid()).then(|| Arc::new(invalid_configuration(&configuration.identifier)));
        let session = Session {
            client: Some(client),
            user,
            program,
            token: None,
            configuration,
            interest: Interest::Watching,
            way,
            told,
            failure,
            properties: Properties::default(),
            holds: Holds::default(),
            sockets: Sockets::default(),
        };
        self.sessions.insert(id, session);
        if let Some(attendance) = self.clients.get_mut(&client) {
            attendance.sessions.insert(id);
        }
        Ok(id)
    }

    /// Closes a session and forgets it; its holder is told nothing more.
    pub fn drop_session(&mut self, id: SessionId, now: Moment) {
        self.end_session(id, now);
        self.actions.retain(|action| !matches!(action, Action::Tell { session, .. } if *session == id));
        self.publish(now);
    }

    pub(crate) fn end_session(&mut self, id: SessionId, now: Moment) {
        if self.sessions.get(&id).is_some_and(|session| session.interest.holds()) {
            self.close_session(id, now);
        }
        self.deadlines.remove(id);
        self.awaited.remove(&id);
        self.mark_unsaved(id);
        let Some(mut session) = self.sessions.remove(&id) else { return };
        self.forget_sockets(&session);
        if let Some(token) = session.token {
            self.tokens.remove(&token);
        }
        if let Some(attendance) = session.client.and_then(|client| self.clients.get_mut(&client)) {
            attendance.sessions.remove(&id);
        }
        if let Some(composite) = self.composites.get_mut(&session.configuration.identifier) {
            composite.sessions.remove(&id);
        }
        if let Some(network) = session.way.as_mut().and_then(|way| way.sighted.take()) {
            self.lose_sight(id, &network);
        }
        self.usage.remove_watcher(session.user);
        if let Some(identifier) = session.access_point().cloned() {
            if let Some(access_point) = self.access_points.get_mut(&identifier) {
                access_point.sessions.remove(&id);
            }
            self.forget_if_absent(&identifier, now);
        }
    }

    /// Opens a session (§3). Opening one that is open or opening changes nothing.
    ///
    /// # Errors
    /// A refusal that the caller can act on; the session's event stream has the same failure. What fails later is only
    /// on the event stream.
    pub fn open(&mut self, session: SessionId, now: Moment) -> Result<(), Refusal> {
        let result = self.open_session(session, now);
        self.publish(now);
        result
    }

    /// Closes a session (§3). Closing one that is not open changes nothing.
    ///
    /// # Errors
    /// [`Refusal::UnknownSession`].
    pub fn close(&mut self, session: SessionId, now: Moment) -> Result<(), Refusal> {
        self.sessions.get(&session).ok_or(Refusal::UnknownSession)?;
        self.close_session(session, now);
        self.publish(now);
        Ok(())
    }

    /// Takes a session's access point down, whoever holds it (§3).
    ///
    /// # Errors
    /// [`Refusal::NotSupported`] if the access point cannot be stopped.
    pub fn stop(&mut self, session: SessionId, now: Moment) -> Result<(), Refusal> {
        let result = self.stop_session(session, now);
        self.publish(now);
        result
    }

    /// Writes a property; no value removes it.
    ///
    /// # Errors
    /// When the property is read-only or the value does not fit.
    pub fn set_property(
        &mut self,
        session: SessionId,
        key: PropertyKey,
        value: Option<PropertyValue>,
    ) -> Result<(), Refusal> {
        self.sessions.get_mut(&session).ok_or(Refusal::UnknownSession)?.properties.set(key, value)?;
        self.mark_unsaved(session);
        self.touch(session);
        Ok(())
    }

    /// Asks for a look at everything anew; one [`ManagerEvent::UpdateCompleted`] follows for each request.
    ///
    /// # Errors
    /// [`Refusal::TooManyUpdates`], [`Refusal::UnknownClient`].
    pub fn update_configurations(&mut self, client: ClientId) -> Result<(), Refusal> {
        self.attendance(client)?;
        if self.updates.iter().filter(|waiting| **waiting == client).count() >= WAITING_UPDATES {
            return Err(Refusal::TooManyUpdates(WAITING_UPDATES));
        }
        self.updates.push_back(client);
        if self.engine_failed {
            self.complete_update();
        } else {
            self.actions.push_back(Action::Refresh);
        }
        Ok(())
    }

    /// An engine has ended a look at everything.
    pub fn handle_refreshed(&mut self, now: Moment) {
        // Somebody asked anew, so a link that once had no carrier may be tried anew.
        for identifier in self.access_points_where(|access_point| access_point.carrier_refuted) {
            if let Some(access_point) = self.access_points.get_mut(&identifier) {
                access_point.carrier_refuted = false;
            }
            self.note_presence(&identifier, now);
            self.tell_states(&identifier);
        }
        self.publish(now);
        self.complete_update();
    }

    /// The timeout that [`Core::poll_timeout`] told has passed.
    pub fn handle_timeout(&mut self, now: Moment) {
        let identifiers: Vec<Identifier> = self.access_points.keys().cloned().collect();
        for identifier in identifiers {
            while let Some(timer) = self.access_points.get_mut(&identifier).and_then(|found| found.timers.take_due(now))
            {
                self.fire(&identifier, timer, now);
            }
        }
        for id in self.deadlines.take_due(now) {
            self.session_due(id, now);
        }
        for id in self.lingering.take_due(now) {
            self.end_lingering(id, now);
        }
        if self.grace_until.is_some_and(|until| until <= now) {
            self.end_grace(now);
        }
        self.publish(now);
    }

    /// Everything of ours shall go: every session is closed, every link of ours taken down.
    pub fn handle_shutdown(&mut self, now: Moment) {
        let sessions: Vec<SessionId> = self.sessions.keys().copied().collect();
        for session in sessions {
            // Nothing goes on, whoever has a descriptor.
            self.revoke(session);
            self.close_session(session, now);
        }
        // Some of that may linger.
        self.leave_vacated(now);
        for identifier in self.access_points_where(|access_point| access_point.timers.is_armed(Timer::Linger)) {
            self.end_linger(&identifier, "shutdown", now);
        }
        self.publish(now);
    }

    /// True if nothing of ours is up or being taken down, so that the service may end.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        let is_at_rest =
            |access_point: &AccessPoint| matches!(access_point.phase, Phase::Observed | Phase::Enumerating);
        self.access_points.values().all(is_at_rest) && self.are_devices_vacated()
    }

    // What comes out.

    /// The next thing to do, in order.
    pub fn poll_action(&mut self) -> Option<Action> {
        if self.actions.is_empty() {
            self.announce_changes();
        }
        self.poll_urgent_action()
    }

    /// The next thing that an engine or a session waits for. What everybody is told of configurations follows by
    /// [`Core::poll_action`], and can wait until the engine has begun.
    pub fn poll_urgent_action(&mut self) -> Option<Action> {
        let action = self.next_abort().or_else(|| self.actions.pop_front());
        if self.actions.is_empty() {
            // Thousands of sessions may have been told something; that does not happen often.
            self.actions.shrink_to(USUAL_ACTIONS);
        }
        action
    }

    /// When [`Core::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Moment> {
        let access_points = self.access_points.values().filter_map(|access_point| access_point.timers.earliest());
        let of_sessions = self.deadlines.earliest().into_iter().chain(self.lingering.earliest());
        access_points.chain(of_sessions).chain(self.grace_until).min()
    }

    // What can be asked.

    /// A session as it is now.
    #[must_use]
    pub fn session(&self, id: SessionId) -> Option<SessionSnapshot> {
        let session = self.sessions.get(&id)?;
        let access_point = session.access_point().and_then(|identifier| self.access_points.get(identifier));
        let is_connected = session.told == SessionState::Connected;
        let roaming = self.roaming_snapshot(session);
        // In a trial without the old link there is nothing but the candidate.
        let candidate = || {
            let roaming = roaming.as_ref().filter(|roaming| roaming.phase == OfferPhase::Trial)?;
            Some(roaming.offer.configuration.clone())
        };
        let since = match session.interest {
            Interest::Open { since } if is_connected || session.told == SessionState::Roaming => Some(since),
            _ => None,
        };
        Some(SessionSnapshot {
            state: session.told,
            is_open: since.is_some(),
            is_opening: matches!(session.interest, Interest::Opening | Interest::Waiting | Interest::Failing),
            interface: match access_point {
                Some(access_point) if is_connected || session.told == SessionState::Roaming => access_point.interface(),
                None if is_connected => self.watched_interface(session),
                _ => None,
            }
            .cloned(),
            active_configuration: since.and_then(|_| session.access_point().cloned().or_else(candidate)),
            active_since: since,
            failure: session.failure.as_deref().cloned(),
            roaming,
        })
    }

    /// The configuration a session was made on; invalid once it has been removed.
    #[must_use]
    pub fn session_configuration(&self, id: SessionId) -> Option<Configuration> {
        self.sessions.get(&id).map(|session| (*session.configuration).clone())
    }

    /// A property as it reads now; absent if unset.
    #[must_use]
    pub fn property(&self, id: SessionId, key: PropertyKey) -> Option<PropertyValue> {
        let session = self.sessions.get(&id)?;
        match key {
            PropertyKey::ActiveConfiguration => {
                Some(PropertyValue::Text(self.session(id)?.active_configuration.map(String::from).unwrap_or_default()))
            }
            PropertyKey::UserChoiceConfiguration => {
                let resolved = session.way.as_ref().and_then(|way| way.resolved.clone());
                let is_told = self.session(id)?.is_open && session.configuration.kind == Kind::UserChoice;
                Some(PropertyValue::Text(resolved.filter(|_| is_told).map(String::from).unwrap_or_default()))
            }
            _ => session.properties.get(key),
        }
    }

    /// The interface that a session on a composite is shown, as long as it uses no member.
    fn watched_interface(&self, session: &Session) -> Option<&netbearer_types::Interface> {
        self.access_points.get(session.way.as_ref()?.shown.as_ref()?).and_then(AccessPoint::interface)
    }

    /// All access points and service networks whose flags contain `filter`, by identifier; every one without a filter. User
    /// choices are never among them (§9).
    #[must_use]
    pub fn configurations(&self, filter: Option<StateFlags>) -> Vec<Configuration> {
        let support = self.settings.session_support();
        let networks = self.composites.values().filter(|composite| composite.kind == Kind::ServiceNetwork);
        let mut configurations: Vec<Configuration> = self
            .access_points
            .values()
            .map(|access_point| access_point.configuration(support))
            .chain(networks.map(|network| self.composite_configuration(network)))
            .filter(|found| filter.is_none_or(|filter| found.state_flags.contains(filter)))
            .collect();
        configurations.sort_by(|one, other| one.identifier.cmp(&other.identifier));
        configurations
    }

    /// All user choices, for people who name one.
    #[must_use]
    pub fn user_choices(&self) -> Vec<Configuration> {
        let choices = self.composites.values().filter(|composite| composite.kind == Kind::UserChoice);
        choices.map(|choice| self.composite_configuration(choice)).collect()
    }

    /// One configuration.
    #[must_use]
    pub fn configuration(&self, identifier: &Identifier) -> Option<Configuration> {
        let access_point = self.access_points.get(identifier);
        let composite = || self.composites.get(identifier).map(|found| self.composite_configuration(found));
        access_point.map(|found| found.configuration(self.settings.session_support())).or_else(composite)
    }

    /// The configuration a program without wishes of its own should open (§9). None if the one that is named as the default is
    /// nowhere to be found: another one is not what was asked for.
    #[must_use]
    pub fn default_configuration(&self) -> Option<Configuration> {
        match self.named_default() {
            Some(named) => self.referred(named).first().and_then(|identifier| self.configuration(identifier)),
            None => ranking::best(self.access_points.values())
                .map(|access_point| access_point.configuration(self.settings.session_support())),
        }
    }

    /// What administrators name as the default configuration.
    #[must_use]
    pub fn named_default(&self) -> Option<&str> {
        self.settings.profiles.default_configuration.as_deref()
    }

    /// What administrators mean by a name in files: a service network, else access points, else a
    /// user choice.
    #[must_use]
    pub fn referred(&self, name: &str) -> Vec<Identifier> {
        let composite = |kind| self.referred_composite(name, kind).map(|found| found.identifier.clone());
        if let Some(network) = composite(Kind::ServiceNetwork) {
            return vec![network];
        }
        let access_points: Vec<Identifier> = self.referred_access_points(name).cloned().collect();
        if access_points.is_empty() { composite(Kind::UserChoice).into_iter().collect() } else { access_points }
    }

    /// All that a member, a choice or the default can be called in files.
    #[must_use]
    pub fn referring_names(&self) -> Vec<String> {
        let files = self.settings.profiles.by_file.keys().cloned();
        let access_points = self.access_points.values().map(|found| &found.report);
        let access_points = access_points.flat_map(|report| [report.identifier.to_string(), report.name.clone()]);
        let composites = self.composites.keys().map(Identifier::as_str).flat_map(|identifier| {
            let file = identifier.split_once('-').map_or(identifier, |(_, file)| file);
            [identifier.to_owned(), file.to_owned()]
        });
        files.chain(access_points).chain(composites).collect()
    }

    /// True if some access point is Active and has a default route, or is said to be online by its profile (§9).
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.access_points.values().any(AccessPoint::is_online)
    }

    /// What can be done with some configuration at least (§1).
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        let support = self.settings.session_support();
        let of_access_points = self.access_points.values().map(|found| found.configuration(support).capabilities);
        let of_composites = self.composites.values().map(|found| self.composite_configuration(found).capabilities);
        let mut capabilities = of_access_points.chain(of_composites).fold(support, Capabilities::union);
        let without_us = |access_point: &AccessPoint| access_point.is_adopted() && access_point.has_default_route();
        capabilities.set(Capabilities::NetworkSessionRequired, !self.access_points.values().any(without_us));
        capabilities
    }

    /// How many sessions hold an access point.
    #[must_use]
    pub fn holds(&self, identifier: &Identifier) -> usize {
        self.ledger.count(identifier)
    }

    /// True if there is such an access point.
    #[must_use]
    pub fn is_access_point(&self, identifier: &Identifier) -> bool {
        self.access_points.contains_key(identifier)
    }

    /// True if an access point is up without us.
    #[must_use]
    pub fn is_adopted(&self, identifier: &Identifier) -> bool {
        self.access_points.get(identifier).is_some_and(AccessPoint::is_adopted)
    }

    /// The interface of an access point, whatever its state; none while it is unplugged.
    #[must_use]
    pub fn interface(&self, identifier: &Identifier) -> Option<netbearer_types::Interface> {
        self.access_points.get(identifier).and_then(AccessPoint::interface).cloned()
    }

    /// The decisions from `number` on that are not forgotten yet.
    pub fn decisions(&self, number: u64) -> impl Iterator<Item = &Decision> {
        self.journal.since(number)
    }

    // What several of the files beside this one need.

    /// The oldest update has ended. One asked for by a client that has gone since is answered to nobody, so that the
    /// others are still answered in turn.
    pub(crate) fn complete_update(&mut self) {
        self.announce_changes();
        if let Some(client) = self.updates.pop_front().filter(|client| self.clients.contains_key(client)) {
            self.actions.push_back(Action::Answer { client, event: ManagerEvent::UpdateCompleted });
        }
    }

    /// Another session will have this number.
    pub(crate) fn next_session_id(&mut self) -> SessionId {
        let id = SessionId(self.numbers.session);
        self.numbers.session += 1;
        id
    }

    pub(crate) fn access_points_where(&self, wanted: impl Fn(&AccessPoint) -> bool) -> Vec<Identifier> {
        self.access_points
            .values()
            .filter(|access_point| wanted(access_point))
            .map(|access_point| access_point.identifier().clone())
            .collect()
    }

    pub(crate) fn record_session(&mut self, id: SessionId, verdict: Verdict, now: Moment, inputs: Vec<Input>) {
        let Some(session) = self.sessions.get(&id) else { return };
        let subject = Subject::Session(id, session.configuration.identifier.clone());
        self.journal.record(now, subject, verdict, inputs);
    }
}

impl Settings {
    pub(crate) fn session_support(&self) -> Capabilities {
        if self.serves_all_processes { Capabilities::SystemSessionSupport } else { Capabilities::empty() }
    }
}

/// The same value again, if it has not changed since it was shared last.
pub(crate) fn share(former: &mut Option<Arc<Configuration>>, configuration: Arc<Configuration>) -> Arc<Configuration> {
    match former {
        Some(former) if *former == configuration => Arc::clone(former),
        former => Arc::clone(former.insert(configuration)),
    }
}

pub(crate) fn invalid_configuration(identifier: &Identifier) -> Failure {
    Failure {
        error: SessionError::InvalidConfiguration,
        reason: FailureReason::ConfigurationInvalid,
        message: format!(
            "there is no configuration {identifier}, or it was removed; list the configurations to see what there is"
        ),
    }
}
