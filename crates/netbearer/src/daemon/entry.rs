use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, Weak},
};

use netbearer_dbus::{
    ConfigurationProperties, ObjectKind, SESSION_INTERFACE, SessionProperties, object_kind, property_to_wire,
    session_path,
};
use netbearer_types::{
    Configuration, Failure, FailureReason, Identifier, PropertyKey, PropertyValue, SessionError, SessionEvent,
    SessionSnapshot, SessionState, SocketCookie, differences,
};
use tokio::sync::mpsc;
use zbus::{Message, OwnedObjectPath, Variant};

use super::{
    desk::Desk,
    line::{Line, Method, contents},
    place::PROPERTIES,
};
use crate::{
    CallError,
    feed::{Wakers, lock},
    shared::{Shared, Ticket},
};

/// One session of this program, on whatever line it is at the moment.
#[derive(Debug)]
pub(super) struct Entry {
    desk: Arc<Desk>,
    /// Its name in this program.
    key: u64,
    identifier: Identifier,
    pub(super) shared: Arc<Shared>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Where its calls go; none while the daemon is away.
    seat: Option<Seat>,
    /// Finds it again.
    token: String,
    /// What holds, as long as it is open or opening.
    hold: Option<OwnedFd>,
    /// The session as the daemon told it last. The holder gets to know it with the event that belongs to it.
    ahead: SessionSnapshot,
    /// What the application has written.
    properties: BTreeMap<PropertyKey, PropertyValue>,
    stakeholder: bool,
    /// Answers to offers that the daemon was away for, in their order.
    owed: Vec<(&'static str, Ticket)>,
    /// Sockets that were bound meanwhile.
    owed_sockets: Vec<(SocketCookie, Identifier)>,
    /// The holder knows that the daemon is away.
    is_told_away: bool,
    /// The daemon may have more for this session than its holder knows: it was closed while that was away, or is not known
    /// to have been opened. It is closed there, too, when that is back.
    is_over: bool,
}

/// A session of a daemon, by its number.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    line: Arc<Line>,
    number: u64,
}

/// What a daemon says of a session that it has made or given back.
pub(super) struct Found {
    pub(super) number: u64,
    configuration: Configuration,
    snapshot: SessionSnapshot,
    stakeholder: bool,
}

/// How a session has got its place.
enum Origin {
    /// It is a new one, and has this token.
    Made(String),
    /// It was there.
    Attached,
    /// It was there, and was closed on this line.
    Closed,
}

/// Tells by its end that nothing of what it was given to is left to do.
pub(super) type Done = mpsc::UnboundedSender<()>;

impl Seat {
    /// See [`Line::ask`].
    pub(super) async fn ask<B: serde::Serialize + zbus::DynamicType, T: Send + 'static>(
        &self,
        name: &str,
        body: &B,
        read: impl FnOnce(Result<Message, CallError>) -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, CallError> {
        let path = session_path(self.number);
        self.line.ask(Method { path: &path, interface: SESSION_INTERFACE, name }, body, read).await
    }

    fn call<B: serde::Serialize + zbus::DynamicType>(
        &self,
        name: &str,
        body: &B,
        heed: impl FnOnce(Result<Message, CallError>) + Send + 'static,
    ) {
        let path = session_path(self.number);
        self.line.call(Method { path: &path, interface: SESSION_INTERFACE, name }, body, heed);
    }

    /// The daemon is to close and forget it. Nobody waits for that.
    pub(super) fn release(&self) {
        self.call("Release", &(), |_| ());
    }

    /// See [`Line::ask`].
    pub(super) async fn set_stakeholder(
        &self,
        stakeholder: bool,
        read: impl FnOnce(Result<Message, CallError>) -> Result<(), CallError> + Send + 'static,
    ) -> Result<(), CallError> {
        let path = session_path(self.number);
        let method = Method { path: &path, interface: PROPERTIES, name: "Set" };
        self.line.ask(method, &(SESSION_INTERFACE, "Stakeholder", Variant::from(stakeholder)), read).await
    }

    /// See [`Line::call`].
    fn say_stakeholder(&self, stakeholder: bool, heed: impl FnOnce(Result<Message, CallError>) + Send + 'static) {
        let path = session_path(self.number);
        let method = Method { path: &path, interface: PROPERTIES, name: "Set" };
        self.line.call(method, &(SESSION_INTERFACE, "Stakeholder", Variant::from(stakeholder)), heed);
    }
}

impl Found {
    /// From the answer to `CreateSession`, with the token.
    pub(super) fn created(answer: &Message) -> Result<(Self, String), CallError> {
        let (path, token, configuration, session): (
            OwnedObjectPath,
            String,
            ConfigurationProperties,
            SessionProperties,
        ) = contents(answer)?;
        Ok((Self::new(&path, configuration, session)?, token))
    }

    /// From the answer to `AttachSession`.
    fn attached(answer: &Message) -> Result<Self, CallError> {
        let (path, configuration, session): (OwnedObjectPath, ConfigurationProperties, SessionProperties) =
            contents(answer)?;
        Self::new(&path, configuration, session)
    }

    fn new(
        path: &OwnedObjectPath,
        configuration: ConfigurationProperties,
        session: SessionProperties,
    ) -> Result<Self, CallError> {
        let Some(ObjectKind::Session(number)) = object_kind(path.as_str()) else {
            return Err(CallError::Refused(format!("it calls {} a session", path.as_str())));
        };
        let stakeholder = session.stakeholder.unwrap_or_default();
        let (configuration, snapshot) = (configuration.into_configuration(), session.into_snapshot());
        Ok(Self { number, configuration, snapshot, stakeholder })
    }
}

impl Entry {
    /// A session that the daemon has just made. Called on the line's thread, so that nothing that follows is missed.
    pub(super) fn new(desk: &Arc<Desk>, key: u64, found: Found, token: String, line: Arc<Line>) -> Arc<Self> {
        let Found { number, configuration, snapshot, stakeholder } = found;
        let inner = Inner {
            seat: Some(Seat { line, number }),
            token,
            hold: None,
            ahead: snapshot.clone(),
            properties: BTreeMap::new(),
            stakeholder,
            owed: Vec::new(),
            owed_sockets: Vec::new(),
            is_told_away: false,
            is_over: false,
        };
        Arc::new(Self {
            desk: Arc::clone(desk),
            key,
            identifier: configuration.identifier.clone(),
            shared: Arc::new(Shared::new(configuration, snapshot)),
            inner: Mutex::new(inner),
        })
    }

    /// Where its calls go.
    ///
    /// # Errors
    /// While the daemon is away.
    pub(super) fn seat(&self) -> Result<Seat, CallError> {
        lock(&self.inner).seat.clone().ok_or_else(|| self.desk.absence())
    }

    /// Where what is said to this offer goes.
    ///
    /// # Errors
    /// While the daemon is away, and if that which has made the offer has never known the next one.
    pub(super) fn seat_of(&self, offer: Ticket) -> Result<Seat, CallError> {
        let inner = lock(&self.inner);
        if self.shared.life() != offer.life {
            return Err(CallError::SupersededOffer(offer.number));
        }
        inner.seat.clone().ok_or_else(|| self.desk.absence())
    }

    pub(super) fn desk(&self) -> Arc<Desk> {
        Arc::clone(&self.desk)
    }

    /// See [`Desk::or_absence`].
    pub(super) fn or_absence<T>(&self, outcome: Result<T, CallError>) -> Result<T, CallError> {
        self.desk.or_absence(outcome)
    }

    /// Closes it as far as that can be done without the daemon; or tells where it is to be asked.
    pub(super) fn close_or_seat(&self) -> Option<Seat> {
        let mut inner = lock(&self.inner);
        if inner.seat.is_some() {
            return inner.seat.clone();
        }
        let hold = inner.hold.take();
        let snapshot = self.shared.read(SessionSnapshot::clone);
        let mut wakers = Wakers::default();
        if snapshot.is_open || snapshot.is_opening {
            inner.is_over = true;
            // Only an open session roams.
            let state = match (snapshot.state, &snapshot.interface) {
                (SessionState::Roaming, Some(_)) => SessionState::Connected,
                (SessionState::Roaming, None) => SessionState::Disconnected,
                (state, _) => state,
            };
            let is_settled = state != snapshot.state;
            let settled = SessionSnapshot { state, roaming: None, ..snapshot };
            if is_settled {
                wakers = self.shared.deliver(&SessionEvent::StateChanged { state }, settled.clone());
            }
            let closed = SessionSnapshot {
                is_open: false,
                is_opening: false,
                active_configuration: None,
                active_since: None,
                ..settled
            };
            wakers.extend(self.shared.deliver(&SessionEvent::Closed, closed));
        }
        drop(inner);
        drop(hold);
        wakers.wake();
        None
    }

    /// What came of an `Open`.
    pub(super) fn take_hold(&self, answer: Result<Message, CallError>) -> Result<(), CallError> {
        let mut inner = lock(&self.inner);
        match answer {
            Ok(answer) => {
                let hold = OwnedFd::from(contents::<zbus::OwnedFd>(&answer)?);
                // An opening that has failed at once holds nothing, as was told before this.
                let is_wanted = inner.ahead.is_open || inner.ahead.is_opening;
                let former = if is_wanted { inner.hold.replace(hold) } else { Some(hold) };
                drop(inner);
                drop(former);
                Ok(())
            }
            Err(CallError::ServiceLost) => {
                // Perhaps it was opened, but the hold never came here.
                inner.is_over |= inner.seat.is_none() && inner.hold.is_none();
                Err(self.desk.absence())
            }
            Err(error) => Err(error),
        }
    }

    /// What came of a `Close`.
    pub(super) fn drop_hold(&self) {
        let hold = lock(&self.inner).hold.take();
        drop(hold);
    }

    /// The daemon has said that these are so now. The holder is told by the event that follows, or by [`Self::settle`].
    pub(super) fn prepare(&self, properties: SessionProperties) {
        let mut inner = lock(&self.inner);
        if let Some(stakeholder) = properties.stakeholder {
            inner.stakeholder = stakeholder;
        }
        properties.apply_to(&mut inner.ahead);
    }

    /// No event belongs to what was prepared.
    pub(super) fn settle(&self) {
        let inner = lock(&self.inner);
        self.shared.refresh(inner.ahead.clone());
    }

    /// The session was told something.
    pub(super) fn tell(&self, event: &SessionEvent) {
        let mut inner = lock(&self.inner);
        let snapshot = inner.ahead.clone();
        let is_wanted = snapshot.is_open || snapshot.is_opening;
        let over = if is_wanted { None } else { inner.hold.take() };
        let wakers = match event {
            SessionEvent::Lagged => self.shared.deliver_lag(snapshot),
            event => self.shared.deliver(event, snapshot),
        };
        drop(inner);
        drop(over);
        wakers.wake();
    }

    /// The daemon is away.
    pub(super) fn lose_seat(&self) {
        lock(&self.inner).seat = None;
    }

    /// The holder gets to know that the daemon is away, or back; each once.
    pub(super) fn tell_of_service(&self, event: &SessionEvent) {
        let mut inner = lock(&self.inner);
        let is_away = *event == SessionEvent::ServiceLost;
        if std::mem::replace(&mut inner.is_told_away, is_away) == is_away {
            return;
        }
        let wakers = self.shared.deliver(event, self.shared.read(SessionSnapshot::clone));
        drop(inner);
        wakers.wake();
    }

    /// The application is at its end.
    pub(super) fn close_for_good(self: &Arc<Self>, done: Done) {
        if let Some(seat) = self.close_or_seat() {
            let entry = Arc::clone(self);
            seat.call("Close", &(), move |_| {
                entry.drop_hold();
                drop(done);
            });
        }
    }

    pub(super) fn end(&self) {
        let mut inner = lock(&self.inner);
        inner.seat = None;
        let hold = inner.hold.take();
        drop(inner);
        drop(hold);
        self.shared.end();
    }

    /// Finds the session again, or begins it anew.
    pub(super) fn come_back(self: &Arc<Self>, line: &Arc<Line>, done: Done) {
        self.attach(line, false, done);
    }

    /// Attaches to the session, which was closed before on this line or was not.
    fn attach(self: &Arc<Self>, line: &Arc<Line>, was_closed: bool, done: Done) {
        let token = lock(&self.inner).token.clone();
        let (entry, seated) = (Arc::downgrade(self), Arc::clone(line));
        self.desk.call_manager(line, "AttachSession", &token, move |answer| {
            match answer.and_then(|answer| Found::attached(&answer)) {
                Ok(found) => {
                    let origin = if was_closed { Origin::Closed } else { Origin::Attached };
                    Self::sit_down(&entry, seated, found, origin, done);
                }
                Err(CallError::ServiceLost) => {}
                Err(error) => {
                    tracing::debug!("a session is not known any more: {error}");
                    if let Some(entry) = entry.upgrade() {
                        entry.begin_anew(&seated, done);
                    }
                }
            }
        });
    }

    fn begin_anew(self: &Arc<Self>, line: &Arc<Line>, done: Done) {
        let (entry, seated) = (Arc::downgrade(self), Arc::clone(line));
        self.desk.call_manager(line, "CreateSession", &self.identifier.as_str(), move |answer| {
            match answer.and_then(|answer| Found::created(&answer)) {
                Ok((found, token)) => Self::sit_down(&entry, seated, found, Origin::Made(token), done),
                Err(CallError::ServiceLost) => {}
                Err(error) => {
                    if let Some(entry) = entry.upgrade() {
                        entry.give_up(&error);
                    }
                }
            }
        });
    }

    /// The session has its place again.
    fn sit_down(entry: &Weak<Self>, line: Arc<Line>, found: Found, origin: Origin, done: Done) {
        let seat = Seat { line, number: found.number };
        let Some(entry) = entry.upgrade() else { return seat.release() };
        let mut inner = lock(&entry.inner);
        let is_new = matches!(origin, Origin::Made(_));
        match origin {
            Origin::Made(token) => inner.token = token,
            Origin::Attached if inner.is_over => {
                // No new one in its place: at the limit of its user there is room for none. What it has come to is found by
                // attaching once more, as nothing is told of it before it is seated.
                drop(inner);
                seat.call("Close", &(), |_| ());
                return entry.attach(&seat.line, true, done);
            }
            Origin::Attached | Origin::Closed => {}
        }
        inner.is_over = false;
        inner.seat = Some(seat.clone());
        if is_new {
            entry.shared.begin_anew();
            inner.owed.clear();
        }
        let (over, wakers) = entry.catch_up(&mut inner, found.snapshot);
        // What the next daemon does not know comes before whatever else is said, so the lock is kept. No call is answered under
        // it: answers are taken in by this thread.
        let properties = if is_new { inner.properties.clone() } else { BTreeMap::new() };
        for (key, value) in properties {
            let done = done.clone();
            seat.call("SetProperty", &(key.to_string(), property_to_wire(&value)), move |answer| {
                if let Err(error) = answer {
                    tracing::warn!("the property {key} is not as it was before the bearer service was away: {error}");
                }
                drop(done);
            });
        }
        for (socket, access_point) in std::mem::take(&mut inner.owed_sockets) {
            entry.say_socket(&seat, socket, access_point);
        }
        for (answer, offer) in std::mem::take(&mut inner.owed) {
            entry.say_answer(&seat, answer, offer);
        }
        let stakeholder = std::mem::replace(&mut inner.stakeholder, found.stakeholder);
        if stakeholder != found.stakeholder {
            let entry = Arc::downgrade(&entry);
            seat.say_stakeholder(stakeholder, move |answer| {
                match (answer, entry.upgrade()) {
                    // If the daemon is away again, it is for the one after that.
                    (Ok(_) | Err(CallError::ServiceLost), Some(entry)) => entry.note_stakeholder(stakeholder),
                    (Ok(_) | Err(CallError::ServiceLost), None) => {}
                    (Err(error), _) => tracing::warn!("the application does not decide when to roam any more: {error}"),
                }
                drop(done);
            });
        }
        drop(inner);
        entry.desk.seat(&entry, found.number);
        drop(over);
        wakers.wake();
    }

    /// Answers an offer, also if the daemon is away: it is told when it is back.
    pub(super) fn answer_unheard(self: &Arc<Self>, answer: &'static str, offer: Ticket) {
        let mut inner = lock(&self.inner);
        if self.shared.life() != offer.life {
            return;
        }
        let Some(seat) = inner.seat.clone() else { return inner.owed.push((answer, offer)) };
        drop(inner);
        self.say_answer(&seat, answer, offer);
    }

    fn say_answer(self: &Arc<Self>, seat: &Seat, answer: &'static str, offer: Ticket) {
        let entry = Arc::downgrade(self);
        // That it is over already is no matter to anybody.
        seat.call(answer, &offer.number.0, move |answered| {
            if let (Err(CallError::ServiceLost), Some(entry)) = (answered, entry.upgrade()) {
                lock(&entry.inner).owed.push((answer, offer));
            }
        });
    }

    /// A socket was bound to this access point, also if the daemon is away: it is told when it is back.
    pub(super) fn add_socket(self: &Arc<Self>, socket: SocketCookie, access_point: Identifier) {
        let mut inner = lock(&self.inner);
        let Some(seat) = inner.seat.clone() else { return inner.owed_sockets.push((socket, access_point)) };
        drop(inner);
        self.say_socket(&seat, socket, access_point);
    }

    fn say_socket(self: &Arc<Self>, seat: &Seat, socket: SocketCookie, access_point: Identifier) {
        let entry = Arc::downgrade(self);
        seat.call("AddSocket", &(socket.0, access_point.clone().as_str()), move |answer| {
            match (answer, entry.upgrade()) {
                (Err(CallError::ServiceLost), Some(entry)) => {
                    lock(&entry.inner).owed_sockets.push((socket, access_point));
                }
                (Err(error), _) => tracing::warn!("a socket will not end with the link that it is bound to: {error}"),
                (Ok(_), _) => {}
            }
        });
    }

    /// The application does not decide when to roam any more, also if the daemon is away.
    pub(super) fn leave_decisions(self: &Arc<Self>) {
        let mut inner = lock(&self.inner);
        inner.stakeholder = false;
        let seat = inner.seat.clone();
        drop(inner);
        let Some(seat) = seat else { return };
        let entry = Arc::downgrade(self);
        seat.say_stakeholder(false, move |_| {
            if let Some(entry) = entry.upgrade() {
                entry.note_stakeholder(false);
            }
        });
    }

    /// The holder is told what has become different.
    fn catch_up(&self, inner: &mut Inner, mut now: SessionSnapshot) -> (Option<OwnedFd>, Wakers) {
        let before = self.shared.read(SessionSnapshot::clone);
        let events = differences(&before, &now);
        for event in &events {
            if let SessionEvent::Error(failure) = event {
                now.failure = Some(failure.clone());
            }
        }
        let mut wakers = Wakers::default();
        for event in &events {
            wakers.extend(self.shared.deliver(event, now.clone()));
        }
        self.shared.refresh(now.clone());
        let over = if now.is_open || now.is_opening { None } else { inner.hold.take() };
        inner.ahead = now;
        (over, wakers)
    }

    /// The daemon does not want the session any more.
    fn give_up(&self, error: &CallError) {
        let failure = Failure {
            error: SessionError::SessionAborted,
            reason: FailureReason::Other("NotTakenBack".to_owned()),
            message: format!("the session on {} could not be gone on with: {error}", self.identifier),
        };
        let mut inner = lock(&self.inner);
        let now = SessionSnapshot { failure: Some(failure), ..SessionSnapshot::invalid() };
        let (over, wakers) = self.catch_up(&mut inner, now);
        drop(inner);
        drop(over);
        wakers.wake();
    }

    /// The application has written a property, or removed it.
    pub(super) fn note_property(&self, key: PropertyKey, value: Option<PropertyValue>) {
        let mut inner = lock(&self.inner);
        match value {
            Some(value) => inner.properties.insert(key, value),
            None => inner.properties.remove(&key),
        };
    }

    pub(super) fn is_stakeholder(&self) -> bool {
        lock(&self.inner).stakeholder
    }

    pub(super) fn note_stakeholder(&self, stakeholder: bool) {
        lock(&self.inner).stakeholder = stakeholder;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let seat = lock(&self.inner).seat.take();
        self.desk.forget_session(self.key, seat.as_ref().map(|seat| seat.number));
        if let Some(seat) = seat {
            seat.release();
        }
    }
}
