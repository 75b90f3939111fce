//! What the semantics say, written down a second time and as plainly as possible: no journal, no messages, no care for
//! speed. Settled questions of §2–§4 that the table does not answer:
//!
//! - A lost link that had been found administratively down shows Disconnected at once, for that is how it will be left;
//!   one found up without carrier shows NotAvailable. An open while it is cleared away shows Connecting.
//! - A link that was tried without carrier is Defined until a carrier is seen, its interface is replaced, or an update
//!   ends.
//! - An unplugged access point is remembered while a session object is about it.
//! - What cannot be taken down (another process owns the ledger) is what its levels say again. What is not taken down
//!   within ten seconds is shown as it will be left, and who opens it fails after ten more; nothing is Closing for ever.
//! - A lost lease may be regained for two seconds, if somebody holds it; nobody waits for it while it lingers.
//! - With `Reconnect` any failed start goes on waiting; going away and coming back ends the row of failed starts. What
//!   may not be started, and what others had set up and lost its carrier only, is waited for without touching it, until it is
//!   up by itself. Up by itself is what is up once the engine has taken away what was ours.
//! - Clearing `Reconnect` during a wait matters at the next loss or failed start.
//! - An open waits for the first enumeration only if nothing is done with its access point yet.
//! - Of the access points of one device one is held at most, and at most one is shown what there is: the one that had the
//!   device last, else, once it is idle, the most preferred, then the first by name. The others see the link without
//!   addresses, and down if we have set it up for the one. What nobody holds gives way to an open, which waits for it.
//! - The watchers' limit is checked where a session object is made; a close is never refused.
//! - A descriptor that is the object's own and is gone is a close. What goes on for descriptors alone is nobody's; it is a
//!   session like any other, and ends with the last of them, or with what it holds.
//! - After the service was killed everything is as it was last known, until engines say what has become of it, and all times
//!   begin anew. A link of ours that is still usable is gone on with, whatever its carrier did meanwhile, unless its interface
//!   is another; what was under way is begun anew. What nobody reports is unplugged, and nothing of ours is there.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use netbearer_core::{Client, ClientId, HoldId, Rights, SessionId, Settings, UserId};
use netbearer_types::{
    AccessPointReport, BearerType, Failure, FailureReason, Families, Identifier, Interface, Level, Lifetime, LinkLevel,
    Moment, Profile, SessionError, SessionState, Stage, StateFlags, Step, Target,
};

use crate::{
    coverage::Situation,
    heard::{Announced, Heard, Public, Told},
};

const REGAIN: Duration = Duration::from_secs(2);
const ENUMERATION: Duration = Duration::from_secs(10);
const REMOVAL: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) heard: Heard,
    settings: Settings,
    now: Moment,
    clients: BTreeMap<ClientId, Client>,
    next_session: u64,
    /// When those who are away are not waited for any more.
    grace_until: Option<Moment>,
    is_returning: bool,
    parties: BTreeMap<SessionId, Party>,
    places: BTreeMap<Identifier, Place>,
    /// Those that several places share.
    devices: BTreeMap<Identifier, Device>,
    requests: VecDeque<ClientId>,
    is_enumerated: bool,
    has_engine: bool,
    is_online: bool,
}

/// A session.
#[derive(Debug)]
struct Party {
    /// None if it is nobody's.
    client: Option<ClientId>,
    /// Its client may come back for it.
    is_awaited: bool,
    /// Its client can find it again.
    has_token: bool,
    own: Option<HoldId>,
    passed_on: BTreeSet<HoldId>,
    user: UserId,
    /// None once it is invalid.
    place: Option<Identifier>,
    wish: Wish,
    state: SessionState,
    reconnect: bool,
    failure: Option<(SessionError, FailureReason)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Nothing,
    Opening,
    Open,
    Waiting,
}

/// A device with several access points.
#[derive(Debug)]
struct Device {
    link: Option<LinkLevel>,
    owner: Option<Identifier>,
}

/// An access point.
#[derive(Debug)]
struct Place {
    device: Identifier,
    name: String,
    bearer_type: BearerType,
    link: Option<LinkLevel>,
    denied: Option<Failure>,
    /// How far the newest command is.
    stage: Option<Stage>,
    profile: Profile,
    doing: Doing,
    /// What its engine shall do; none while nothing of ours is there.
    asked: Option<Target>,
    was_found_up: bool,
    was_tried_without_carrier: bool,
    failed_starts: u32,
    /// When a removal that is under way has taken too long.
    removal_until: Option<Moment>,
    /// False after a restart, until its engine says something of it.
    is_heard: bool,
    /// Nobody has found it after a restart.
    is_missed: bool,
    /// Something of ours was there before a restart.
    was_ours: bool,
    /// The newest command is to go on with what stands.
    is_resuming: bool,
    public: Option<Public>,
    interface_shown: Option<Interface>,
    /// Who asked for its stop, and hears if that is refused.
    stopper: Option<SessionId>,
}

/// What is done with an access point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Nothing { on_demand_until: Option<Moment> },
    AwaitingEnumeration { until: Moment },
    AwaitingDevice,
    Connecting { until: Moment, carrier_until: Option<Moment> },
    Up,
    Regaining { until: Moment },
    Lingering { until: Moment },
    Waiting { retry: Option<Moment> },
    Closing(Was),
    ClearingAway,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Was {
    Attempt,
    Ours,
    Adopted,
}

const NOTHING: Doing = Doing::Nothing { on_demand_until: None };

impl Place {
    fn has_carrier(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.administratively_up && link.carrier)
    }

    fn is_usable(&self) -> bool {
        self.has_carrier() && self.has_all_but_carrier()
    }

    fn has_all_but_carrier(&self) -> bool {
        self.link.as_ref().is_some_and(|link| {
            let has_address = link.interface.addresses.iter().any(|address| address.is_usable());
            link.administratively_up && has_address && !link.routed.is_empty()
        })
    }

    /// What it is if we do nothing.
    fn flags_by_itself(&self) -> StateFlags {
        match &self.link {
            None => StateFlags::Defined,
            Some(_) if self.is_usable() => StateFlags::Active,
            Some(_) if self.has_carrier() => StateFlags::Discovered,
            Some(link) if link.administratively_up || self.was_tried_without_carrier => StateFlags::Defined,
            Some(_) => StateFlags::Discovered,
        }
    }

    fn flags(&self) -> StateFlags {
        match self.doing {
            Doing::Nothing { .. } | Doing::AwaitingEnumeration { .. } => self.flags_by_itself(),
            Doing::Waiting { .. } => self.flags_by_itself().min(StateFlags::Discovered),
            Doing::AwaitingDevice | Doing::Connecting { .. } | Doing::Closing(Was::Attempt) => StateFlags::Discovered,
            Doing::Up | Doing::Regaining { .. } | Doing::Lingering { .. } | Doing::Closing(_) => StateFlags::Active,
            Doing::ClearingAway => {
                let stays_up = self.was_found_up && self.link.as_ref().is_some_and(|link| link.administratively_up);
                let can_be_tried = match &self.link {
                    None => false,
                    Some(_) if stays_up => self.has_carrier(),
                    Some(_) => !self.was_tried_without_carrier,
                };
                if can_be_tried { StateFlags::Discovered } else { StateFlags::Defined }
            }
        }
    }

    fn is_adopted(&self) -> bool {
        matches!(self.doing, Doing::Nothing { .. }) && self.flags_by_itself() == StateFlags::Active
    }

    fn goes_down_on_demand(&self) -> bool {
        self.is_adopted() && self.profile.lifetime == Lifetime::OnDemand && self.denied.is_none()
    }

    /// Where what is done with it has its engine take it.
    fn wanted(&self) -> Option<Target> {
        match self.doing {
            Doing::Nothing { .. } | Doing::AwaitingEnumeration { .. } | Doing::AwaitingDevice => None,
            Doing::Connecting { .. } | Doing::Up | Doing::Regaining { .. } | Doing::Lingering { .. } => {
                Some(Target::Configured)
            }
            // What may not be started is not touched, nor what others have set up and lost.
            Doing::Waiting { .. } if self.asked.is_none() && (self.denied.is_some() || self.has_all_but_carrier()) => {
                None
            }
            Doing::Waiting { .. } => Some(Target::Sensed),
            Doing::Closing(Was::Adopted) => Some(Target::Stopped),
            Doing::Closing(Was::Attempt | Was::Ours) | Doing::ClearingAway => Some(Target::Released),
        }
    }

    fn public(&self) -> Public {
        Public {
            name: self.name.clone(),
            bearer_type: self.bearer_type,
            flags: self.flags(),
            may_start: self.denied.is_none(),
            interface_name: self.link.as_ref().map(|link| link.interface.name.clone()),
        }
    }

    fn deadline(&self) -> Option<Moment> {
        match self.doing {
            Doing::Nothing { on_demand_until } => on_demand_until,
            Doing::Connecting { until, carrier_until } => {
                Some(carrier_until.map_or(until, |carrier| carrier.min(until)))
            }
            Doing::AwaitingEnumeration { until } | Doing::Regaining { until } | Doing::Lingering { until } => {
                Some(until)
            }
            Doing::Waiting { retry } => retry,
            Doing::Up => None,
            Doing::AwaitingDevice | Doing::Closing(_) | Doing::ClearingAway => self.removal_until,
        }
    }
}

impl Model {
    pub(crate) fn new(settings: Settings, now: Moment) -> Self {
        Self {
            heard: Heard::default(),
            settings,
            now,
            clients: BTreeMap::new(),
            next_session: 1,
            grace_until: None,
            is_returning: false,
            parties: BTreeMap::new(),
            places: BTreeMap::new(),
            devices: BTreeMap::new(),
            requests: VecDeque::new(),
            is_enumerated: false,
            has_engine: true,
            is_online: false,
        }
    }

    // What can be asked.

    pub(crate) fn situation(&self, identifier: &Identifier) -> Situation {
        let Some(place) = self.places.get(identifier) else { return Situation::Removed };
        match place.doing {
            Doing::Nothing { .. } => match place.flags() {
                StateFlags::Active => Situation::Adopted,
                StateFlags::Discovered => Situation::Disconnected,
                StateFlags::Defined | StateFlags::Undefined => Situation::NotAvailable,
            },
            Doing::AwaitingEnumeration { .. } => Situation::AwaitingEnumeration,
            Doing::AwaitingDevice => Situation::AwaitingDevice,
            Doing::Connecting { .. } => Situation::Connecting,
            Doing::Up => Situation::Up,
            Doing::Regaining { .. } => Situation::Regaining,
            Doing::Lingering { .. } => Situation::Lingering,
            Doing::Waiting { .. } => Situation::Waiting,
            Doing::Closing(_) => Situation::Closing,
            Doing::ClearingAway => Situation::ClearingAway,
        }
    }

    /// The access point that has a device.
    pub(crate) fn owner_of(&self, device: &Identifier) -> Identifier {
        let owner = self.devices.get(device).and_then(|device| device.owner.as_ref());
        owner.unwrap_or(device).clone()
    }

    pub(crate) fn situation_of(&self, session: SessionId) -> Situation {
        self.parties[&session].place.as_ref().map_or(Situation::Removed, |identifier| self.situation(identifier))
    }

    pub(crate) fn state(&self, session: SessionId) -> SessionState {
        self.parties[&session].state
    }

    pub(crate) fn is_opening(&self, session: SessionId) -> bool {
        self.parties[&session].wish == Wish::Opening
    }

    pub(crate) fn is_waiting(&self, session: SessionId) -> bool {
        self.parties[&session].wish == Wish::Waiting
    }

    pub(crate) fn is_open(&self, session: SessionId) -> bool {
        self.parties[&session].wish == Wish::Open
    }

    pub(crate) fn failure(&self, session: SessionId) -> Option<(SessionError, FailureReason)> {
        self.parties[&session].failure.clone()
    }

    pub(crate) fn holds(&self, identifier: &Identifier) -> usize {
        self.holders(identifier).len()
    }

    pub(crate) fn public(&self, identifier: &Identifier) -> Option<Public> {
        self.places.get(identifier).map(Place::public)
    }

    pub(crate) fn could_be_started(&self, identifier: &Identifier) -> bool {
        self.places
            .get(identifier)
            .is_some_and(|place| place.denied.is_none() && place.flags_by_itself() >= StateFlags::Discovered)
    }

    pub(crate) fn lingers_on_demand(&self, identifier: &Identifier) -> bool {
        self.places
            .get(identifier)
            .is_some_and(|place| matches!(place.doing, Doing::Nothing { on_demand_until: Some(_) }))
    }

    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.places.values().filter_map(Place::deadline).chain(self.grace_until).min()
    }

    /// Of every session: whether it is somebody's, its state, whether it is open, whether it wants to be, and its descriptors.
    pub(crate) fn sessions(&self) -> Vec<(SessionId, bool, SessionState, bool, bool, u32)> {
        let describe = |(id, party): (&SessionId, &Party)| {
            let is_opening = matches!(party.wish, Wish::Opening | Wish::Waiting);
            let descriptors = u32::from(party.own.is_some()) + party.passed_on.len() as u32;
            (*id, party.client.is_some(), party.state, party.wish == Wish::Open, is_opening, descriptors)
        };
        self.parties.iter().map(describe).collect()
    }

    /// What its object got when it was opened.
    pub(crate) fn own_hold(&self, session: SessionId) -> Option<HoldId> {
        self.parties[&session].own
    }

    /// Where a descriptor holds, if it does.
    pub(crate) fn held_by(&self, hold: HoldId) -> Option<SessionId> {
        let has_it = |(_, party): &(&SessionId, &Party)| party.own == Some(hold) || party.passed_on.contains(&hold);
        self.parties.iter().find(has_it).map(|(id, _)| *id)
    }

    // What happens.

    pub(crate) fn client(&mut self, client: ClientId, description: Client) {
        self.clients.insert(client, description);
    }

    /// True if the limits allow it.
    pub(crate) fn may_create(&self, client: ClientId) -> bool {
        let user = self.clients[&client].user;
        let watching = self.parties.values().filter(|party| party.user == user && party.wish == Wish::Nothing).count();
        watching < self.settings.limits.watchers as usize
    }

    pub(crate) fn create(&mut self, id: SessionId, client: ClientId, identifier: &Identifier) {
        let place = self.places.contains_key(identifier).then(|| identifier.clone());
        let state = place.as_ref().map_or(SessionState::Invalid, |identifier| self.place_state(identifier));
        let failure =
            place.is_none().then_some((SessionError::InvalidConfiguration, FailureReason::ConfigurationInvalid));
        assert_eq!(id, self.next_id(), "sessions are numbered one after the other");
        let party = Party {
            client: Some(client),
            is_awaited: false,
            has_token: false,
            own: None,
            passed_on: BTreeSet::new(),
            user: self.clients[&client].user,
            place,
            wish: Wish::Nothing,
            state,
            reconnect: false,
            failure,
        };
        self.parties.insert(id, party);
    }

    fn next_id(&mut self) -> SessionId {
        self.next_session += 1;
        SessionId(self.next_session - 1)
    }

    pub(crate) fn give_token(&mut self, id: SessionId) {
        self.parties.get_mut(&id).expect("it exists").has_token = true;
    }

    /// True unless there is nothing to attach to.
    pub(crate) fn attach(&mut self, client: ClientId, id: SessionId) -> bool {
        let user = self.clients[&client].user;
        let is_fit = |party: &&mut Party| party.has_token && party.user == user;
        let Some(party) = self.parties.get_mut(&id).filter(is_fit) else { return false };
        party.client = Some(client);
        party.is_awaited = false;
        if !self.parties.values().any(|party| party.is_awaited) {
            self.grace_until = None;
        }
        true
    }

    /// The hold that is in force, if any; none at all if it was refused.
    pub(crate) fn open_held(&mut self, id: SessionId, hold: HoldId) -> Option<Option<HoldId>> {
        if !self.open(id) {
            return None;
        }
        let party = self.parties.get_mut(&id).expect("it exists");
        if party.wish == Wish::Nothing {
            return Some(None);
        }
        Some(Some(*party.own.get_or_insert(hold)))
    }

    /// True if there is something to pass on.
    pub(crate) fn pass_on(&mut self, id: SessionId, hold: HoldId) -> bool {
        let party = self.parties.get_mut(&id).expect("it exists");
        let holds = party.wish != Wish::Nothing;
        if holds {
            party.passed_on.insert(hold);
        }
        holds
    }

    pub(crate) fn hold_gone(&mut self, hold: HoldId) {
        let Some(id) = self.held_by(hold) else { return };
        let party = self.parties.get_mut(&id).expect("it was found");
        let is_own = party.own.take_if(|own| *own == hold).is_some();
        party.passed_on.remove(&hold);
        let is_nobodys = party.client.is_none() && !party.is_awaited;
        if is_own || is_nobodys && party.passed_on.is_empty() && party.own.is_none() {
            self.close_silently_or_not(id);
        }
        self.finish();
    }

    /// The service is killed and started anew, and has not looked at anything yet.
    pub(crate) fn restart(&mut self) {
        self.heard = Heard::default();
        self.clients.clear();
        self.requests.clear();
        (self.is_enumerated, self.is_online, self.has_engine, self.is_returning) = (false, false, true, true);
        for party in self.parties.values_mut() {
            (party.client, party.is_awaited) = (None, party.has_token);
        }
        let is_anybody_awaited = self.parties.values().any(|party| party.is_awaited);
        self.grace_until = is_anybody_awaited.then(|| self.now + self.settings.grace);
        let now = self.now;
        for identifier in self.places.keys().cloned().collect::<Vec<_>>() {
            let is_connected = self.place_state(&identifier) == SessionState::Connected;
            let place = self.place_mut(&identifier);
            let Profile { linger, connect_timeout, carrier_timeout, .. } = place.profile;
            place.doing = match place.doing {
                Doing::Nothing { on_demand_until } => {
                    Doing::Nothing { on_demand_until: on_demand_until.map(|_| now + linger) }
                }
                Doing::AwaitingEnumeration { .. } => Doing::AwaitingEnumeration { until: now + ENUMERATION },
                Doing::Connecting { carrier_until, .. } => Doing::Connecting {
                    until: now + connect_timeout,
                    carrier_until: carrier_until.map(|_| now + carrier_timeout),
                },
                Doing::Regaining { .. } => Doing::Regaining { until: now + REGAIN },
                Doing::Lingering { .. } => Doing::Lingering { until: now + linger },
                Doing::Waiting { retry } => {
                    let delay = retry_delay(place.failed_starts.saturating_sub(1));
                    Doing::Waiting { retry: retry.map(|_| now + delay) }
                }
                same => same,
            };
            place.removal_until = place.removal_until.map(|_| now + REMOVAL);
            (place.is_heard, place.is_resuming) = (false, false);
            place.was_ours = place.asked.is_some();
            (place.public, place.stage, place.stopper) = (None, None, None);
            let link = place.link.as_ref().filter(|_| is_connected);
            place.interface_shown = link.map(|link| link.interface.clone());
        }
        self.finish();
    }

    /// What no engine has found after a restart is not there.
    fn miss(&mut self) {
        let unheard = self.places.iter().filter(|(_, place)| !place.is_heard);
        for identifier in unheard.map(|(identifier, _)| identifier.clone()).collect::<Vec<_>>() {
            let place = self.place_mut(&identifier);
            let was_active = place.is_usable();
            (place.asked, place.link, place.is_missed) = (None, None, true);
            let (device, doing) = (place.device.clone(), place.doing);
            if let Some(device) = self.devices.get_mut(&device) {
                device.link = None;
            }
            match doing {
                Doing::Closing(_) | Doing::ClearingAway => self.end_removal(&identifier, None),
                Doing::Connecting { .. } => {
                    self.fail(&identifier, SessionError::InvalidConfiguration, FailureReason::NotAvailable, None);
                }
                _ => self.draw_conclusions(&identifier, was_active),
            }
            self.tell_states(&identifier);
            self.forget_if_unplugged(&identifier);
        }
        let waiting = self.places.iter().filter(|(_, place)| place.doing == Doing::AwaitingDevice);
        for identifier in waiting.map(|(identifier, _)| identifier.clone()).collect::<Vec<_>>() {
            self.take_vacated_device(&identifier);
        }
    }

    fn take_vacated_device(&mut self, identifier: &Identifier) {
        if !self.has_another_in_its_way(identifier) {
            self.take_turn(identifier);
        }
    }

    /// The first that an engine says of an access point after a restart.
    fn go_on(&mut self, identifier: &Identifier) {
        let place = self.place_mut(identifier);
        if !place.was_ours {
            place.was_found_up = place.link.as_ref().is_some_and(|link| link.administratively_up);
        }
        let (is_ours, wanted) = (place.asked.is_some(), place.wanted());
        match place.doing {
            Doing::Up | Doing::Regaining { .. } | Doing::Lingering { .. } if is_ours && !place.is_usable() => {}
            Doing::Up | Doing::Regaining { .. } | Doing::Lingering { .. } if is_ours => {
                self.ask_for(identifier, wanted);
                self.place_mut(identifier).is_resuming = true;
            }
            Doing::AwaitingDevice => self.take_vacated_device(identifier),
            _ if is_ours => self.ask_for(identifier, wanted),
            _ => {}
        }
    }

    pub(crate) fn drop(&mut self, id: SessionId) {
        self.close_silently_or_not(id);
        self.heard.sessions.remove(&id);
        let party = self.parties.remove(&id).expect("only sessions that exist are dropped");
        if let Some(identifier) = party.place {
            self.forget_if_unplugged(&identifier);
        }
        self.finish();
    }

    pub(crate) fn client_gone(&mut self, client: ClientId) {
        let parties: Vec<SessionId> =
            self.parties.iter().filter(|(_, party)| party.client == Some(client)).map(|(id, _)| *id).collect();
        for id in parties {
            let party = self.parties.get_mut(&id).expect("listed above");
            if party.own.is_some() || !party.passed_on.is_empty() {
                party.client = None;
                self.heard.sessions.remove(&id);
                continue;
            }
            self.close_silently_or_not(id);
            self.heard.sessions.remove(&id);
            let party = self.parties.remove(&id).expect("listed above");
            if let Some(identifier) = party.place {
                self.forget_if_unplugged(&identifier);
            }
        }
        self.clients.remove(&client);
        self.finish();
    }

    /// True unless refused.
    pub(crate) fn open(&mut self, id: SessionId) -> bool {
        let is_accepted = self.try_open(id);
        self.finish();
        is_accepted
    }

    fn try_open(&mut self, id: SessionId) -> bool {
        let party = &self.parties[&id];
        if party.wish != Wish::Nothing {
            return true;
        }
        let Some(identifier) = party.place.clone() else {
            self.error(id, SessionError::InvalidConfiguration, FailureReason::ConfigurationInvalid);
            return true;
        };
        if !self.rights_of(id).may_open {
            let reason = FailureReason::MissingRight("group bearer".to_owned());
            self.error(id, SessionError::OperationNotSupported, reason);
            return false;
        }
        let limit = self.settings.limits.sessions;
        let held =
            self.parties.values().filter(|other| other.user == party.user && other.wish != Wish::Nothing).count();
        if held >= limit as usize {
            self.error(id, SessionError::OperationNotSupported, FailureReason::LimitReached(limit));
            return false;
        }
        let reconnect = party.reconnect;
        if let Some(other) = self.user_beside(&identifier) {
            self.error(id, SessionError::InvalidConfiguration, FailureReason::Busy(other));
            return false;
        }
        if self.has_another_in_its_way(&identifier) {
            return self.open_after_the_other(id, &identifier);
        }
        self.give_device_to(&identifier);
        let place = &self.places[&identifier];
        let denied = place.denied.clone();
        let is_idle = matches!(place.doing, Doing::Nothing { .. });
        match (place.doing, place.flags()) {
            (Doing::Nothing { .. }, StateFlags::Active) | (Doing::Up | Doing::Regaining { .. }, _) => {
                self.hold(id, Wish::Opening);
                if is_idle {
                    self.place_mut(&identifier).doing = NOTHING;
                }
                self.opened(id);
            }
            (Doing::Lingering { .. }, _) => {
                self.hold(id, Wish::Opening);
                self.enter(&identifier, Doing::Up);
                self.opened(id);
            }
            (
                Doing::AwaitingEnumeration { .. }
                | Doing::AwaitingDevice
                | Doing::Connecting { .. }
                | Doing::Closing(_),
                _,
            ) => {
                self.hold(id, Wish::Opening);
            }
            (_, StateFlags::Discovered) => {
                if let Some(denied) = denied {
                    self.error(id, denied.error, denied.reason);
                    return false;
                }
                let is_clearing = place.doing == Doing::ClearingAway;
                self.hold(id, Wish::Opening);
                if is_clearing {
                    let until = self.now + REMOVAL;
                    self.place_mut(&identifier).removal_until.get_or_insert(until);
                    self.tell_states(&identifier);
                } else {
                    self.start(&identifier);
                }
            }
            _ if reconnect => {
                self.hold(id, Wish::Waiting);
                if is_idle {
                    self.wait(&identifier, None);
                }
            }
            (Doing::Nothing { .. }, _) if !self.is_enumerated => {
                self.hold(id, Wish::Opening);
                self.enter(&identifier, Doing::AwaitingEnumeration { until: self.now + ENUMERATION });
            }
            _ => self.error(id, SessionError::InvalidConfiguration, FailureReason::NotAvailable),
        }
        true
    }

    // Several access points of one device.

    fn others(&self, identifier: &Identifier) -> Vec<Identifier> {
        let device = &self.places[identifier].device;
        let same = self.places.iter().filter(|(other, place)| *other != identifier && place.device == *device);
        same.map(|(other, _)| other.clone()).collect()
    }

    /// Another one that is held, or that others keep up.
    fn user_beside(&self, identifier: &Identifier) -> Option<Identifier> {
        self.others(identifier).into_iter().find(|other| {
            let place = &self.places[other];
            let lingers = place.goes_down_on_demand() && self.lingers_on_demand(other);
            !self.holders(other).is_empty() || place.is_adopted() && !lingers
        })
    }

    fn has_another_in_its_way(&self, identifier: &Identifier) -> bool {
        let is_in_the_way = |other: &Identifier| {
            let place = &self.places[other];
            place.asked.is_some() || place.is_adopted()
        };
        self.others(identifier).iter().any(is_in_the_way)
    }

    /// True unless refused.
    fn open_after_the_other(&mut self, id: SessionId, identifier: &Identifier) -> bool {
        let place = &self.places[identifier];
        let is_discovered = place.flags() == StateFlags::Discovered;
        let reconnect = self.parties[&id].reconnect;
        match (place.doing, place.denied.clone()) {
            (Doing::AwaitingDevice, _) => self.hold(id, Wish::Opening),
            (_, Some(denied)) if is_discovered => {
                self.error(id, denied.error, denied.reason);
                return false;
            }
            _ if is_discovered || reconnect => {
                self.hold(id, Wish::Opening);
                self.enter(identifier, Doing::AwaitingDevice);
                for other in self.others(identifier) {
                    self.end_linger(&other);
                }
            }
            _ => self.error(id, SessionError::InvalidConfiguration, FailureReason::NotAvailable),
        }
        true
    }

    fn give_device_to(&mut self, identifier: &Identifier) {
        let place = &self.places[identifier];
        if let Some(device) = self.devices.get_mut(&place.device)
            && device.owner.as_ref() != Some(identifier)
        {
            device.owner = Some(identifier.clone());
            for one in self.others(identifier).into_iter().chain([identifier.clone()]) {
                self.place_mut(&one).link = self.seen_by(&one);
            }
        }
    }

    /// The link as it is for one of the access points of its device.
    fn seen_by(&self, identifier: &Identifier) -> Option<LinkLevel> {
        let device = &self.devices[&self.places[identifier].device];
        let mut link = device.link.clone()?;
        if device.owner.as_ref() == Some(identifier) {
            return Some(link);
        }
        let is_up_for_the_owner = device.owner.as_ref().and_then(|owner| self.places.get(owner)).is_some_and(|owner| {
            let is_ours = matches!(owner.asked, Some(Target::Configured | Target::Released));
            owner.asked == Some(Target::Stopped) || is_ours && !owner.was_found_up
        });
        link.administratively_up &= !is_up_for_the_owner;
        (link.routed, link.default_route) = (Families::empty(), Families::empty());
        link.interface.addresses.clear();
        link.interface.gateways.clear();
        link.interface.name_servers.clear();
        Some(link)
    }

    fn show_others(&mut self, identifier: &Identifier) {
        for other in self.others(identifier) {
            self.place_mut(&other).link = self.seen_by(&other);
            self.tell_states(&other);
        }
    }

    /// Those who wait for a device that is another's cannot have it.
    fn deny(&mut self, identifier: &Identifier, error: SessionError, reason: &FailureReason) {
        let holders = self.holders(identifier);
        for id in &holders {
            self.give_back(*id);
        }
        self.enter(identifier, NOTHING);
        for id in holders {
            self.error(id, error, reason.clone());
        }
    }

    fn report_of_several(&mut self, report: &AccessPointReport, link: Option<LinkLevel>, stage: Option<Stage>) {
        let files: Vec<String> = self
            .settings
            .profiles
            .exclusive_of(&report.name, &report.hardware)
            .map(|(file, _)| file.to_owned())
            .collect();
        let device = &report.identifier;
        let all: Vec<Identifier> = files.iter().map(|file| format!("{device}/{file}").into()).collect();
        if link.is_none() && !self.devices.contains_key(device) {
            return;
        }
        let known = self.devices.entry(device.clone()).or_insert(Device { link: None, owner: None });
        known.link.clone_from(&link);
        for (identifier, file) in all.iter().zip(&files) {
            if link.is_some() && !self.places.contains_key(identifier) {
                let profile = self.settings.profiles.by_file[file].profile.clone();
                self.add(identifier, report, file, profile);
                self.place_mut(identifier).link = self.seen_by(identifier);
            }
        }
        let present: Vec<Identifier> = all.into_iter().filter(|one| self.places.contains_key(one)).collect();
        for identifier in &present {
            self.place_mut(identifier).denied.clone_from(&report.cannot_start_and_stop);
        }
        let has_carrier = link.as_ref().is_some_and(|link| link.administratively_up && link.carrier);
        for identifier in present.iter().filter(|_| has_carrier) {
            self.place_mut(identifier).was_tried_without_carrier = false;
        }
        let is_idle = |owner: &Identifier| {
            let place = &self.places[owner];
            matches!(place.doing, Doing::Nothing { .. }) && self.holders(owner).is_empty() && !place.is_usable()
        };
        let owner = self.devices[device].owner.clone().filter(|owner| self.places.contains_key(owner));
        if owner.as_ref().is_none_or(is_idle)
            && let Some(first) =
                present.iter().min_by_key(|one| std::cmp::Reverse(self.places[*one].profile.preference))
        {
            self.give_device_to(first);
        }
        let owner = self.devices[device].owner.clone();
        let (first, rest): (Vec<_>, Vec<_>) = present.into_iter().partition(|one| Some(one) == owner.as_ref());
        for identifier in first.into_iter().chain(rest) {
            if self.places.contains_key(&identifier) {
                let seen = self.seen_by(&identifier);
                let stage = stage.clone().filter(|_| Some(&identifier) == owner.as_ref());
                self.look(&identifier, report, seen, stage);
            }
        }
        let is_known = self.places.values().any(|place| place.device == *device);
        self.devices.retain(|known, _| is_known || known != device);
    }

    pub(crate) fn close(&mut self, id: SessionId) {
        self.close_silently_or_not(id);
        self.finish();
    }

    fn close_silently_or_not(&mut self, id: SessionId) {
        self.leave_to_descriptors(id);
        let Some(identifier) = self.parties[&id].place.clone() else { return };
        if !self.give_back(id) {
            return;
        }
        self.say(id, Told::Closed);
        let is_last = self.holders(&identifier).is_empty();
        let place = &self.places[&identifier];
        let linger = place.profile.linger;
        match place.doing {
            Doing::ClearingAway => self.tell_states(&identifier),
            _ if !is_last => {}
            Doing::Nothing { .. } if !place.goes_down_on_demand() => {}
            Doing::Nothing { .. } if linger.is_zero() => self.enter(&identifier, Doing::Closing(Was::Adopted)),
            Doing::Nothing { .. } => {
                self.enter(&identifier, Doing::Nothing { on_demand_until: Some(self.now + linger) });
            }
            Doing::AwaitingEnumeration { .. } | Doing::AwaitingDevice => self.enter(&identifier, NOTHING),
            Doing::Connecting { .. } => self.enter(&identifier, Doing::Closing(Was::Attempt)),
            Doing::Up if !linger.is_zero() => {
                self.enter(&identifier, Doing::Lingering { until: self.now + linger });
            }
            Doing::Up | Doing::Regaining { .. } => self.enter(&identifier, Doing::Closing(Was::Ours)),
            Doing::Waiting { .. } => self.clear_away(&identifier),
            Doing::Closing(_) | Doing::Lingering { .. } => {}
        }
    }

    /// What was passed on goes on holding when the session does not.
    fn leave_to_descriptors(&mut self, id: SessionId) {
        let party = self.parties.get_mut(&id).expect("it exists");
        if party.passed_on.is_empty() {
            return;
        }
        let heir = Party {
            client: None,
            is_awaited: false,
            has_token: false,
            own: None,
            passed_on: std::mem::take(&mut party.passed_on),
            user: party.user,
            place: party.place.clone(),
            wish: party.wish,
            state: party.state,
            reconnect: party.reconnect,
            failure: None,
        };
        let heir_id = self.next_id();
        self.parties.insert(heir_id, heir);
    }

    /// True unless refused.
    pub(crate) fn stop(&mut self, id: SessionId) -> bool {
        let is_accepted = self.try_stop(id);
        self.finish();
        is_accepted
    }

    fn rights_of(&self, id: SessionId) -> Rights {
        let client = self.parties[&id].client.expect("only clients ask");
        self.clients[&client].rights
    }

    fn try_stop(&mut self, id: SessionId) -> bool {
        if !self.rights_of(id).may_control {
            self.close_silently_or_not(id);
            let reason = FailureReason::MissingRight("org.netbearer.control".to_owned());
            self.error(id, SessionError::OperationNotSupported, reason);
            return false;
        }
        let Some(identifier) = self.parties[&id].place.clone() else { return true };
        let place = &self.places[&identifier];
        let (doing, was_adopted) = (place.doing, place.is_adopted());
        if matches!(doing, Doing::Nothing { .. }) && !was_adopted {
            return true;
        }
        if let Some(denied) = place.denied.clone() {
            self.error(id, denied.error, denied.reason);
            return false;
        }
        if self.give_back(id) {
            self.say(id, Told::Closed);
        }
        let others = self.holders(&identifier);
        for other in &others {
            self.give_back(*other);
        }
        match doing {
            Doing::Nothing { .. } => {
                self.places.get_mut(&identifier).expect("it exists").stopper = Some(id);
                self.enter(&identifier, Doing::Closing(Was::Adopted));
            }
            Doing::Connecting { .. } => self.enter(&identifier, Doing::Closing(Was::Attempt)),
            Doing::Up | Doing::Regaining { .. } | Doing::Lingering { .. } => {
                self.enter(&identifier, Doing::Closing(Was::Ours));
            }
            Doing::AwaitingEnumeration { .. } | Doing::AwaitingDevice => self.enter(&identifier, NOTHING),
            Doing::Waiting { .. } => self.clear_away(&identifier),
            Doing::Closing(_) | Doing::ClearingAway => self.tell_states(&identifier),
        }
        for other in others {
            self.error(other, SessionError::SessionAborted, FailureReason::Stopped);
            self.say(other, Told::Closed);
        }
        true
    }

    pub(crate) fn set_reconnect(&mut self, id: SessionId, reconnect: bool) {
        self.parties.get_mut(&id).expect("it exists").reconnect = reconnect;
    }

    /// False if it is one too many.
    pub(crate) fn request_update(&mut self, client: ClientId) -> bool {
        if self.requests.iter().filter(|waiting| **waiting == client).count() == 16 {
            return false;
        }
        if self.has_engine {
            self.requests.push_back(client);
            self.heard.refreshes += 1;
        } else {
            self.heard.completed.push(client);
        }
        true
    }

    pub(crate) fn refreshed(&mut self) {
        let identifiers: Vec<Identifier> = self.places.keys().cloned().collect();
        for identifier in identifiers {
            self.place_mut(&identifier).was_tried_without_carrier = false;
            self.tell_states(&identifier);
        }
        self.finish();
        let client = self.requests.pop_front();
        self.heard.completed.extend(client.filter(|client| self.clients.contains_key(client)));
    }

    pub(crate) fn enumerated(&mut self) {
        self.is_enumerated = true;
        if std::mem::take(&mut self.is_returning) {
            self.miss();
        }
        let identifiers: Vec<Identifier> = self.places.keys().cloned().collect();
        for identifier in identifiers {
            if matches!(self.places[&identifier].doing, Doing::AwaitingEnumeration { .. }) {
                self.serve(&identifier);
            }
        }
        self.finish();
    }

    pub(crate) fn removed(&mut self, identifier: &Identifier) {
        let of_device = self.places.iter().filter(|(_, place)| place.device == *identifier);
        for one in of_device.map(|(one, _)| one.clone()).collect::<Vec<_>>() {
            self.remove(&one, FailureReason::ConfigurationInvalid);
        }
        self.devices.remove(identifier);
        self.finish();
    }

    pub(crate) fn engine_failed(&mut self) {
        self.has_engine = false;
        let identifiers: Vec<Identifier> = self.places.keys().cloned().collect();
        for identifier in identifiers {
            self.remove(&identifier, FailureReason::EngineFailed);
        }
        self.devices.clear();
        self.finish();
        let requests = std::mem::take(&mut self.requests);
        self.heard.completed.extend(requests.into_iter().filter(|client| self.clients.contains_key(client)));
    }

    pub(crate) fn shutdown(&mut self) {
        let parties: Vec<SessionId> = self.parties.keys().copied().collect();
        for id in parties {
            self.revoke(id);
            self.close_silently_or_not(id);
        }
        let identifiers: Vec<Identifier> = self.places.keys().cloned().collect();
        for identifier in identifiers {
            self.end_linger(&identifier);
        }
        self.finish();
    }

    pub(crate) fn time(&mut self, now: Moment) {
        self.now = now;
        let identifiers: Vec<Identifier> = self.places.keys().cloned().collect();
        for identifier in identifiers {
            while self.places.get(&identifier).and_then(Place::deadline).is_some_and(|deadline| deadline <= now) {
                self.time_is_up(&identifier);
            }
        }
        if self.grace_until.is_some_and(|until| until <= now) {
            self.grace_until = None;
            for id in self.parties.keys().copied().collect::<Vec<_>>() {
                let party = self.parties.get_mut(&id).expect("listed above");
                let is_given_up = std::mem::take(&mut party.is_awaited);
                if is_given_up && party.own.is_none() && party.passed_on.is_empty() {
                    self.close_silently_or_not(id);
                }
            }
        }
        self.finish();
    }

    fn time_is_up(&mut self, identifier: &Identifier) {
        let place = self.place_mut(identifier);
        match place.doing {
            Doing::Nothing { .. } => {
                place.doing = NOTHING;
                if place.goes_down_on_demand() {
                    self.enter(identifier, Doing::Closing(Was::Adopted));
                }
            }
            Doing::AwaitingEnumeration { .. } => self.serve(identifier),
            Doing::Connecting { until, carrier_until } => {
                if carrier_until.is_some_and(|carrier| carrier <= until) {
                    place.was_tried_without_carrier = true;
                    for other in self.others(identifier) {
                        self.place_mut(&other).was_tried_without_carrier = true;
                        self.tell_states(&other);
                    }
                    self.fail_start(identifier, SessionError::Unknown, FailureReason::NoCarrier);
                } else {
                    let is_leasing = place.stage == Some(Stage::Working(Step::AcquiringLease));
                    let reason = if is_leasing { FailureReason::NoLease } else { FailureReason::ConnectTimeout };
                    self.fail_start(identifier, SessionError::Unknown, reason);
                }
            }
            Doing::Regaining { .. } => self.lose(identifier),
            Doing::Lingering { .. } => self.end_linger(identifier),
            Doing::Waiting { .. } => {
                place.doing = Doing::Waiting { retry: None };
                if place.denied.is_none() && place.flags() == StateFlags::Discovered {
                    self.start(identifier);
                }
            }
            Doing::AwaitingDevice => self.deny(identifier, SessionError::Unknown, &FailureReason::EngineFailed),
            Doing::Closing(_) | Doing::ClearingAway => self.leave_removal_to_itself(identifier),
            Doing::Up => panic!("this has no deadline"),
        }
    }

    fn end_linger(&mut self, identifier: &Identifier) {
        let place = &self.places[identifier];
        match place.doing {
            Doing::Lingering { .. } => self.enter(identifier, Doing::Closing(Was::Ours)),
            Doing::Nothing { on_demand_until: Some(_) } if place.goes_down_on_demand() => {
                self.enter(identifier, Doing::Closing(Was::Adopted));
            }
            _ => {}
        }
    }

    /// An engine tells its newest truth; `is_news` unless its progress is that of an overtaken command.
    pub(crate) fn report(&mut self, report: &AccessPointReport, is_news: bool) {
        let link = match &report.level {
            Level::Absent => None,
            Level::Present(link) => Some(link.clone()),
        };
        let stage = report.progress.as_ref().filter(|_| is_news).map(|progress| progress.stage.clone());
        if self.settings.profiles.exclusive_of(&report.name, &report.hardware).next().is_some() {
            self.report_of_several(report, link, stage);
        } else if link.is_some() || self.places.contains_key(&report.identifier) {
            if !self.places.contains_key(&report.identifier) {
                let profile = self.settings.profiles.profile(report).clone();
                self.add(&report.identifier, report, &report.name, profile);
            }
            self.look(&report.identifier, report, link, stage);
        }
        self.finish();
    }

    fn add(&mut self, identifier: &Identifier, report: &AccessPointReport, name: &str, profile: Profile) {
        let place = Place {
            device: report.identifier.clone(),
            name: name.to_owned(),
            bearer_type: report.bearer_type,
            link: None,
            denied: None,
            stage: None,
            profile,
            doing: NOTHING,
            asked: None,
            was_found_up: false,
            was_tried_without_carrier: false,
            failed_starts: 0,
            removal_until: None,
            is_heard: true,
            is_missed: false,
            was_ours: false,
            is_resuming: false,
            stopper: None,
            public: None,
            interface_shown: None,
        };
        self.places.insert(identifier.clone(), place);
    }

    fn look(
        &mut self,
        identifier: &Identifier,
        report: &AccessPointReport,
        link: Option<LinkLevel>,
        stage: Option<Stage>,
    ) {
        if let Some(link) = self.unseen_loss(identifier, link.as_ref()) {
            self.see(identifier, report, Some(link), None);
        }
        // The loss may have overtaken the command that the progress is about.
        let stage = stage.filter(|_| !self.heard.commands.contains_key(&report.identifier));
        self.see(identifier, report, link, stage);
    }

    /// The link as nobody saw it: between two looks that both found a carrier it was lost, or the interface replaced.
    fn unseen_loss(&self, identifier: &Identifier, after: Option<&LinkLevel>) -> Option<LinkLevel> {
        let after = after?;
        let place = self.places.get(identifier)?;
        let before = place.link.as_ref().filter(|_| place.has_carrier())?;
        let was_lost = place.is_heard && before.carrier_losses != after.carrier_losses;
        let is_same = !was_lost && before.interface.index == after.interface.index;
        let has_carrier = after.administratively_up && after.carrier;
        (has_carrier && !is_same).then(|| LinkLevel { carrier: false, ..after.clone() })
    }

    fn see(
        &mut self,
        identifier: &Identifier,
        report: &AccessPointReport,
        link: Option<LinkLevel>,
        stage: Option<Stage>,
    ) {
        let place = self.place_mut(identifier);
        let was_active = place.is_usable();
        let index = |link: &Option<LinkLevel>| link.as_ref().map(|link| link.interface.index);
        let was_replaced = index(&place.link) != index(&link);
        place.link = link;
        place.denied = report.cannot_start_and_stop.clone();
        if let Some(stage) = stage {
            place.stage = Some(stage);
        }
        if was_replaced || place.has_carrier() {
            place.was_tried_without_carrier = false;
        }
        place.is_missed = false;
        if !std::mem::replace(&mut place.is_heard, true) {
            self.go_on(identifier);
        }
        self.draw_conclusions(identifier, was_active);
        self.tell_states(identifier);
        self.tell_interface(identifier);
        self.forget_if_unplugged(identifier);
    }

    fn draw_conclusions(&mut self, identifier: &Identifier, was_active: bool) {
        let now = self.now;
        let place = self.place_mut(identifier);
        let (flags, has_carrier, is_usable) = (place.flags_by_itself(), place.has_carrier(), place.is_usable());
        match place.doing {
            Doing::Nothing { .. } => {
                if was_active && !is_usable {
                    self.lose(identifier);
                }
            }
            Doing::AwaitingDevice => {}
            Doing::AwaitingEnumeration { .. } => {
                if flags >= StateFlags::Discovered {
                    self.serve(identifier);
                }
            }
            Doing::Connecting { until, carrier_until } => match place.stage.clone() {
                Some(Stage::Reached) if is_usable => {
                    self.enter(identifier, Doing::Up);
                    for id in self.holders(identifier) {
                        self.opened(id);
                    }
                }
                Some(Stage::Failed(reason, _)) => {
                    self.fail_start(identifier, kind_of_failure(&reason), reason);
                }
                _ => {
                    let patience = now + place.profile.carrier_timeout;
                    let carrier_until = if has_carrier { None } else { Some(carrier_until.unwrap_or(patience)) };
                    place.doing = Doing::Connecting { until, carrier_until };
                }
            },
            Doing::Up | Doing::Regaining { .. } | Doing::Lingering { .. } => {
                place.is_resuming &= !matches!(place.stage, Some(Stage::Reached | Stage::Failed(..)));
                let asks_again = !place.is_resuming && matches!(place.stage, Some(Stage::Working(_)));
                let is_leased = !asks_again && !matches!(place.stage, Some(Stage::Failed(..)));
                match place.doing {
                    _ if !has_carrier => self.lose(identifier),
                    Doing::Up if asks_again => self.enter(identifier, Doing::Regaining { until: now + REGAIN }),
                    Doing::Regaining { .. } if asks_again => {}
                    Doing::Regaining { .. } if is_leased && is_usable => self.enter(identifier, Doing::Up),
                    _ if is_leased && is_usable => {}
                    _ => self.lose(identifier),
                }
            }
            Doing::Waiting { .. } if flags < StateFlags::Discovered => {
                place.failed_starts = 0;
                self.enter(identifier, Doing::Waiting { retry: None });
            }
            Doing::Waiting { retry } => {
                let belongs_to_another =
                    matches!(place.stage, Some(Stage::Failed(FailureReason::OwnedByAnotherProcess(_), _)));
                let is_left_to_others = place.was_found_up || place.asked.is_none() || belongs_to_another;
                let may_be_ours =
                    place.asked.is_some() && !matches!(place.stage, Some(Stage::Reached | Stage::Failed(..)));
                if is_usable && is_left_to_others {
                    if !may_be_ours {
                        self.serve(identifier);
                    }
                } else if retry.is_none() && place.denied.is_none() {
                    self.start(identifier);
                }
            }
            Doing::Closing(_) | Doing::ClearingAway => match place.stage.clone() {
                Some(Stage::Reached) => self.end_removal(identifier, None),
                Some(Stage::Failed(reason, _)) => self.end_removal(identifier, Some(reason)),
                Some(Stage::Working(_)) | None => {}
            },
        }
    }

    // What follows from it.

    fn leave_removal_to_itself(&mut self, identifier: &Identifier) {
        let (stay, failed) = self.part(identifier);
        for id in &failed {
            self.give_back(*id);
        }
        for id in stay {
            self.parties.get_mut(&id).expect("it holds").wish = Wish::Waiting;
        }
        self.enter(identifier, Doing::ClearingAway);
        let place = self.place_mut(identifier);
        place.removal_until = None;
        let stopper = place.stopper.take();
        for id in failed {
            self.error(id, SessionError::Unknown, FailureReason::EngineFailed);
        }
        if let Some(stopper) = stopper {
            self.hear_refusal(stopper, FailureReason::EngineFailed);
        }
    }

    fn end_removal(&mut self, identifier: &Identifier, refused: Option<FailureReason>) {
        let place = self.place_mut(identifier);
        place.asked = None;
        let stopper = place.stopper.take();
        self.show_others(identifier);
        let is_free = self.places[identifier].flags_by_itself() != StateFlags::Active;
        let is_next = |other: &Identifier| self.places[other].doing == Doing::AwaitingDevice;
        let next = self.others(identifier).into_iter().find(is_next);
        if let Some(next) = next.as_ref().filter(|_| is_free) {
            self.give_device_to(next);
        }
        self.serve(identifier);
        if let Some(next) = next {
            self.take_turn(&next);
        }
        if let (Some(reason), Some(stopper)) = (refused, stopper) {
            self.hear_refusal(stopper, reason);
        }
    }

    /// It is the turn of one that waits for its device.
    fn take_turn(&mut self, next: &Identifier) {
        match self.user_beside(next) {
            Some(user) => self.deny(next, SessionError::InvalidConfiguration, &FailureReason::Busy(user)),
            None => {
                self.give_device_to(next);
                self.serve(next);
            }
        }
    }

    /// Those who hold get what they want, if it is to be had.
    fn serve(&mut self, identifier: &Identifier) {
        let place = &self.places[identifier];
        let holders = self.holders(identifier);
        match place.flags_by_itself() {
            _ if holders.is_empty() => self.enter(identifier, NOTHING),
            StateFlags::Active => {
                self.enter(identifier, NOTHING);
                for id in holders {
                    self.opened(id);
                }
            }
            StateFlags::Discovered if place.denied.is_none() => self.start(identifier),
            flags => {
                let denied = place.denied.clone().map(|denied| (denied.error, denied.reason));
                let absent = (SessionError::InvalidConfiguration, FailureReason::NotAvailable);
                let is_denied = flags == StateFlags::Discovered;
                let (error, reason) = denied.filter(|_| is_denied).unwrap_or(absent);
                self.fail(identifier, error, reason, None);
            }
        }
    }

    fn start(&mut self, identifier: &Identifier) {
        let now = self.now;
        for id in self.holders(identifier) {
            self.parties.get_mut(&id).expect("it holds").wish = Wish::Opening;
        }
        let place = &self.places[identifier];
        let doing = Doing::Connecting {
            until: now + place.profile.connect_timeout,
            carrier_until: (!place.has_carrier()).then(|| now + place.profile.carrier_timeout),
        };
        self.enter(identifier, doing);
    }

    fn fail_start(&mut self, identifier: &Identifier, error: SessionError, reason: FailureReason) {
        let place = self.place_mut(identifier);
        let delay = retry_delay(place.failed_starts);
        place.failed_starts += 1;
        let retry = self.now + delay;
        self.fail(identifier, error, reason, Some(retry));
    }

    fn fail(&mut self, identifier: &Identifier, error: SessionError, reason: FailureReason, retry: Option<Moment>) {
        let (stay, failed) = self.part(identifier);
        for id in &failed {
            self.give_back(*id);
        }
        if stay.is_empty() {
            self.clear_away(identifier);
        } else {
            self.wait(identifier, retry);
        }
        for id in failed {
            self.error(id, error, reason.clone());
        }
    }

    fn lose(&mut self, identifier: &Identifier) {
        let (stay, lost) = self.part(identifier);
        for id in &lost {
            self.give_back(*id);
        }
        if stay.is_empty() {
            self.clear_away(identifier);
        } else {
            self.wait(identifier, None);
        }
        for id in lost {
            self.error(id, SessionError::SessionAborted, FailureReason::LinkLost);
            self.say(id, Told::Closed);
        }
    }

    fn wait(&mut self, identifier: &Identifier, retry: Option<Moment>) {
        for id in self.holders(identifier) {
            self.parties.get_mut(&id).expect("it holds").wish = Wish::Waiting;
        }
        self.enter(identifier, Doing::Waiting { retry });
    }

    fn clear_away(&mut self, identifier: &Identifier) {
        let doing = if self.places[identifier].asked.is_some() { Doing::ClearingAway } else { NOTHING };
        self.enter(identifier, doing);
    }

    fn remove(&mut self, identifier: &Identifier, reason: FailureReason) {
        let Some(place) = self.places.remove(identifier) else { return };
        if let Some(device) = self.devices.get_mut(&place.device) {
            device.owner.take_if(|owner| owner == identifier);
        }
        if place.public.is_some() {
            self.heard.announce(identifier, Announced::Removed);
        }
        let parties: Vec<SessionId> = self.parties_on(identifier);
        for id in parties {
            let held = self.give_back(id);
            self.parties.get_mut(&id).expect("listed above").place = None;
            self.tell_state(id, SessionState::Invalid);
            if held {
                self.error(id, SessionError::InvalidConfiguration, reason.clone());
                self.say(id, Told::Closed);
            }
        }
    }

    fn forget_if_unplugged(&mut self, identifier: &Identifier) {
        let Some(place) = self.places.get(identifier) else { return };
        let is_idle = matches!(place.doing, Doing::Nothing { .. });
        if place.link.is_none() && is_idle && self.parties_on(identifier).is_empty() {
            self.remove(identifier, FailureReason::ConfigurationInvalid);
        }
    }

    /// The one place where what is done with an access point changes.
    fn enter(&mut self, identifier: &Identifier, doing: Doing) {
        let place = self.places.get_mut(identifier).expect("it exists");
        if !matches!(doing, Doing::Connecting { .. } | Doing::Waiting { .. }) {
            place.failed_starts = 0;
        }
        place.doing = doing;
        place.removal_until = matches!(doing, Doing::AwaitingDevice | Doing::Closing(_) | Doing::ClearingAway)
            .then(|| self.now + REMOVAL);
        let wanted = place.wanted();
        if wanted != place.asked && !place.is_missed {
            self.ask_for(identifier, wanted);
        }
        self.tell_states(identifier);
    }

    /// An engine is asked for something else, or once more for the same.
    fn ask_for(&mut self, identifier: &Identifier, wanted: Option<Target>) {
        let place = self.places.get_mut(identifier).expect("it exists");
        if place.asked.is_none() {
            place.was_found_up = place.link.as_ref().is_some_and(|link| link.administratively_up);
        }
        // Nobody is there yet who could be told.
        if place.is_heard {
            self.heard.command(&place.device, wanted.unwrap_or(Target::Released));
        }
        place.asked = wanted;
        (place.stage, place.is_resuming) = (None, false);
        self.show_others(identifier);
    }

    fn hold(&mut self, id: SessionId, wish: Wish) {
        let party = self.parties.get_mut(&id).expect("it exists");
        party.wish = wish;
        party.failure = None;
    }

    /// True if it held.
    fn give_back(&mut self, id: SessionId) -> bool {
        self.revoke(id);
        let party = self.parties.get_mut(&id).expect("it exists");
        std::mem::replace(&mut party.wish, Wish::Nothing) != Wish::Nothing
    }

    fn revoke(&mut self, id: SessionId) {
        let party = self.parties.get_mut(&id).expect("it exists");
        for hold in party.own.take().into_iter().chain(std::mem::take(&mut party.passed_on)) {
            self.heard.revoke(hold);
        }
    }

    fn holders(&self, identifier: &Identifier) -> Vec<SessionId> {
        self.parties_on(identifier).into_iter().filter(|id| self.parties[id].wish != Wish::Nothing).collect()
    }

    fn parties_on(&self, identifier: &Identifier) -> Vec<SessionId> {
        self.parties.iter().filter(|(_, party)| party.place.as_ref() == Some(identifier)).map(|(id, _)| *id).collect()
    }

    /// Those who go on waiting when the link is lost or does not come up, and those who do not.
    fn part(&self, identifier: &Identifier) -> (Vec<SessionId>, Vec<SessionId>) {
        self.holders(identifier).into_iter().partition(|id| self.parties[id].reconnect)
    }

    fn place_mut(&mut self, identifier: &Identifier) -> &mut Place {
        self.places.get_mut(identifier).expect("it exists")
    }

    // What is said.

    /// Nobody is told of what is nobody's.
    fn say(&mut self, id: SessionId, told: Told) {
        if self.parties[&id].client.is_some() {
            self.heard.tell(id, told);
        }
    }

    fn opened(&mut self, id: SessionId) {
        self.parties.get_mut(&id).expect("it exists").wish = Wish::Open;
        self.say(id, Told::Opened);
    }

    /// A stop was refused; who asked for it hears why, unless it has opened again.
    fn hear_refusal(&mut self, stopper: SessionId, reason: FailureReason) {
        if self.parties.get(&stopper).is_some_and(|party| party.wish == Wish::Nothing) {
            self.error(stopper, kind_of_failure(&reason), reason);
        }
    }

    fn error(&mut self, id: SessionId, error: SessionError, reason: FailureReason) {
        self.parties.get_mut(&id).expect("it exists").failure = Some((error, reason.clone()));
        self.say(id, Told::Error(error, reason));
    }

    fn place_state(&self, identifier: &Identifier) -> SessionState {
        let place = &self.places[identifier];
        match place.doing {
            Doing::AwaitingEnumeration { .. } | Doing::AwaitingDevice | Doing::Connecting { .. } => {
                SessionState::Connecting
            }
            Doing::Closing(_) => SessionState::Closing,
            Doing::ClearingAway if self.holders(identifier).into_iter().any(|id| self.is_opening(id)) => {
                SessionState::Connecting
            }
            _ => match place.flags() {
                StateFlags::Active => SessionState::Connected,
                StateFlags::Discovered => SessionState::Disconnected,
                StateFlags::Defined | StateFlags::Undefined => SessionState::NotAvailable,
            },
        }
    }

    fn tell_states(&mut self, identifier: &Identifier) {
        let state = self.place_state(identifier);
        if state != SessionState::Connected {
            self.place_mut(identifier).interface_shown = None;
        }
        for id in self.parties_on(identifier) {
            self.tell_state(id, state);
        }
    }

    fn tell_state(&mut self, id: SessionId, state: SessionState) {
        let party = self.parties.get_mut(&id).expect("it exists");
        if std::mem::replace(&mut party.state, state) != state {
            self.say(id, Told::State(state));
        }
    }

    fn tell_interface(&mut self, identifier: &Identifier) {
        let is_connected = self.place_state(identifier) == SessionState::Connected;
        let place = self.place_mut(identifier);
        if !is_connected || matches!(place.doing, Doing::Regaining { .. }) {
            return;
        }
        let interface = place.link.as_ref().map(|link| link.interface.clone()).expect("what is connected has one");
        let before = place.interface_shown.replace(interface.clone());
        let for_sessions = |interface: &Interface| {
            let usable = interface.addresses.iter().filter(|address| address.is_usable()).copied().collect::<Vec<_>>();
            (interface.name.clone(), interface.index, interface.gateways.clone(), usable)
        };
        if before.is_some_and(|before| for_sessions(&before) != for_sessions(&interface)) {
            for id in self.parties_on(identifier) {
                self.say(id, Told::InterfaceChanged(interface.clone()));
            }
        }
    }

    /// What is public is said once, at the end of each step.
    fn finish(&mut self) {
        let is_over = |party: &Party| party.client.is_none() && !party.is_awaited && party.wish == Wish::Nothing;
        let over = self.parties.iter().filter(|(_, party)| is_over(party)).map(|(id, _)| *id);
        for id in over.collect::<Vec<_>>() {
            let party = self.parties.remove(&id).expect("listed above");
            if let Some(identifier) = party.place {
                self.forget_if_unplugged(&identifier);
            }
        }
        for (identifier, place) in &mut self.places {
            let public = place.public();
            match place.public.replace(public.clone()) {
                None => self.heard.announce(identifier, Announced::Added(public)),
                Some(before) if before != public => self.heard.announce(identifier, Announced::Changed(public)),
                Some(_) => {}
            }
        }
        let is_way_out = |place: &Place| {
            place.flags() == StateFlags::Active
                && place.link.as_ref().is_some_and(|link| !link.default_route.is_empty())
        };
        let is_online = self.places.values().any(is_way_out);
        if std::mem::replace(&mut self.is_online, is_online) != is_online {
            self.heard.online.push(is_online);
        }
    }
}

fn retry_delay(failed_starts: u32) -> Duration {
    Duration::from_secs((1 << failed_starts.min(6)).min(60))
}

/// What an engine's obstacle is to a session (§3, §8).
fn kind_of_failure(reason: &FailureReason) -> SessionError {
    match reason {
        FailureReason::MissingPrivilege(_) | FailureReason::OwnedByAnotherProcess(_) => {
            SessionError::OperationNotSupported
        }
        _ => SessionError::Unknown,
    }
}
