use std::collections::BTreeSet;

use netbearer_types::Moment;
use serde::{Deserialize, Serialize};

use crate::{Action, Core, Input, Refusal, SessionId, Verdict, session::Session, sockets::Sockets};

/// Names a hold that is a descriptor: it lasts as long as somebody has a copy of it. Chosen by the front end, and never used
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HoldId(pub u64);

/// The descriptors by which a session holds. There are none of one that does not hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holds {
    /// The one that the session's object got when it was opened.
    pub(crate) own: Option<HoldId>,
    /// Those that were asked for to be passed on.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) passed_on: BTreeSet<HoldId>,
}

impl Holds {
    pub(crate) fn are_none(&self) -> bool {
        self.own.is_none() && self.passed_on.is_empty()
    }

    pub(crate) fn count(&self) -> usize {
        usize::from(self.own.is_some()) + self.passed_on.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = HoldId> {
        self.own.into_iter().chain(self.passed_on.iter().copied())
    }
}

/// Holds that are descriptors (semantics §4). What they hold stands in the ledger, under their session.
impl Core {
    /// Opens a session as [`Core::open`] does; `hold` is what its holder gets for it. Some: the hold that is in force from now on,
    /// which is an older one if the session holds already. None: the opening has failed at once, and `hold` holds nothing.
    ///
    /// # Errors
    /// As of [`Core::open`]; `hold` holds nothing then.
    pub fn open_held(&mut self, id: SessionId, hold: HoldId, now: Moment) -> Result<Option<HoldId>, Refusal> {
        let own = |core: &Self| core.sessions.get(&id).and_then(|session| session.holds.own);
        if let Some(own) = own(self) {
            return Ok(Some(own));
        }
        self.open(id, now)?;
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.interest.holds()) else {
            return Ok(None);
        };
        session.holds.own = Some(hold);
        self.held_by.insert(hold, id);
        self.mark_unsaved(id);
        Ok(Some(hold))
    }

    /// Another descriptor holds for a session from now on, to be passed on to others.
    ///
    /// # Errors
    /// [`Refusal::NotHeld`] unless the session is open, opening or waiting. [`Refusal::TooManyDescriptors`] if its user has as
    /// many as the limit allows.
    pub fn add_hold(&mut self, id: SessionId, hold: HoldId) -> Result<(), Refusal> {
        let session = self.sessions.get_mut(&id).ok_or(Refusal::UnknownSession)?;
        if !session.interest.holds() {
            return Err(Refusal::NotHeld(session.configuration.identifier.clone()));
        }
        self.usage.add_descriptor(session.user)?;
        session.holds.passed_on.insert(hold);
        self.held_by.insert(hold, id);
        self.mark_unsaved(id);
        Ok(())
    }

    /// The last copy of a descriptor is closed, or nobody has it any more. If it was the session's own, that is its close; what
    /// goes on without an owner ends with the last one. There is no [`Action::Revoke`] for it.
    pub fn handle_hold_gone(&mut self, hold: HoldId, now: Moment) {
        let Some(id) = self.held_by.remove(&hold) else { return };
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let is_own = session.holds.own.take_if(|own| *own == hold).is_some();
        if session.holds.passed_on.remove(&hold) {
            self.usage.remove_descriptors(session.user, 1);
        }
        let is_last = session.holds.are_none();
        self.mark_unsaved(id);
        if is_own || is_last && self.is_forsaken(id) {
            self.close_session(id, now);
        }
        self.publish(now);
    }

    /// A session ends, and its own hold with it; the descriptors that were passed on go on holding in its place, for nobody.
    pub(crate) fn pass_on(&mut self, id: SessionId, now: Moment) {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| !session.holds.passed_on.is_empty()) else {
            return;
        };
        let passed_on = std::mem::take(&mut session.holds.passed_on);
        let heir = Session {
            client: None,
            user: session.user,
            program: session.program.clone(),
            token: None,
            configuration: session.configuration.clone(),
            interest: session.interest,
            way: session.way.clone().map(|mut way| {
                way.sighted = None;
                way
            }),
            told: session.told,
            failure: None,
            properties: session.properties.clone(),
            holds: Holds { own: None, passed_on },
            // Programs that were passed a descriptor have none of them.
            sockets: Sockets::default(),
        };
        let is_asked = self.is_asked(id);
        let heir_id = self.next_session_id();
        self.held_by.extend(heir.holds.iter().map(|hold| (hold, heir_id)));
        self.usage.add_holder(heir.user);
        if let Some(deadline) = self.deadlines.get(id).filter(|_| !is_asked) {
            self.deadlines.insert(heir_id, deadline);
        }
        if let Some(identifier) = heir.access_point().cloned() {
            self.ledger.take(&identifier, heir_id);
            if let Some(access_point) = self.access_points.get_mut(&identifier) {
                access_point.sessions.insert(heir_id);
            }
        }
        if let Some(way) = &heir.way {
            for identifier in way.roam.lingering.keys().chain(way.roam.course.held_candidate()) {
                self.ledger.take_beside(identifier, heir_id);
            }
            if let Some(end) = way.roam.lingering.values().min() {
                self.lingering.insert(heir_id, *end);
            }
        }
        if let Some(composite) = self.composites.get_mut(&heir.configuration.identifier) {
            composite.sessions.insert(heir_id);
        }
        let descriptors = Input::new("descriptors", heir.holds.count());
        self.sessions.insert(heir_id, heir);
        self.record_session(heir_id, Verdict::Inherit, now, vec![Input::new("from session", id), descriptors]);
        self.mark_unsaved(id);
        self.mark_unsaved(heir_id);
        self.touch(heir_id);
    }

    /// Whoever has a descriptor of a session that does not hold any more shall see it.
    pub(crate) fn revoke(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let holds = std::mem::take(&mut session.holds);
        self.usage.remove_descriptors(session.user, holds.passed_on.len());
        for hold in holds.iter() {
            self.held_by.remove(&hold);
            self.actions.push_back(Action::Revoke(hold));
        }
    }

    /// Its owner has gone, but somebody still has a descriptor.
    pub(crate) fn go_on_without_owner(&mut self, id: SessionId, now: Moment) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.client = None;
        let descriptors = Input::new("descriptors", session.holds.count());
        self.record_session(id, Verdict::Orphan, now, vec![descriptors]);
        // Nobody is there any more who could be asked on behalf of it, or decide.
        self.abandon_decisions(id, now);
        self.withdraw_question(id);
        self.mark_unsaved(id);
        self.touch(id);
    }

    /// Nobody is told of it, and nobody is expected to come back for it.
    pub(crate) fn is_forsaken(&self, id: SessionId) -> bool {
        self.owner(id).is_none() && !self.awaited.contains(&id)
    }

    /// Sessions without an owner end with what they were held for.
    pub(crate) fn end_forsaken(&mut self, now: Moment) -> bool {
        let forsaken = std::mem::take(&mut self.forsaken);
        let is_over = |id: &SessionId| {
            self.is_forsaken(*id) && self.sessions.get(id).is_some_and(|session| !session.interest.holds())
        };
        let over: Vec<SessionId> = forsaken.into_iter().filter(is_over).collect();
        for id in &over {
            self.end_session(*id, now);
        }
        !over.is_empty()
    }
}
