use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use netbearer_types::{
    BearerType, Configuration, Failure, Hardware, Identifier, LinkLevel, PropertyKey, PropertyValue, Target,
};
use serde::{Deserialize, Serialize};

use crate::{
    Core, HoldId, Program, SessionId, Token, UserId,
    hold::Holds,
    phase::Phase,
    session::{Interest, Session, Way},
    sockets::{SocketChanges, Sockets},
    timer::Timer,
};

/// All that must outlive the process, so that another one can go on from it ([`Core::restore`]). Moments in it mean something
/// within one boot only.
///
/// Its shape, and that of [`Record`], is kept in files: fields may come, with a default, but none may go or change its meaning
/// without another number of the format.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedState {
    /// Those that can be attached to again, and those that descriptors hold.
    pub(crate) sessions: BTreeMap<SessionId, SavedSession>,
    /// All there are, as their engines have described them last.
    pub(crate) access_points: BTreeMap<Identifier, SavedAccessPoint>,
    pub(crate) numbers: Numbers,
}

/// The newest truth about one thing that is saved. Later ones are in force; they can be repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// A session is so from now on.
    Session(Box<SavedSession>),
    /// This has changed of a session; the rest of it has not.
    Course {
        /// Which one.
        session: SessionId,
        /// How it stands with it now.
        course: Box<SavedCourse>,
    },
    /// This has become of sockets of a session.
    Sockets {
        /// Which one.
        session: SessionId,
        /// What has.
        changes: SocketChanges,
    },
    /// A session is no more.
    NoSession(SessionId),
    /// An access point is so from now on.
    AccessPoint(Box<SavedAccessPoint>),
    /// An access point is no more.
    NoAccessPoint(Identifier),
    /// These numbers are taken.
    Numbers(Numbers),
}

/// The next numbers of what is never numbered alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Numbers {
    pub(crate) session: u64,
    pub(crate) chooser: u64,
    pub(crate) question: u64,
    pub(crate) offer: u64,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { session: 1, chooser: 1, question: 1, offer: 1 }
    }
}

/// A session as it is saved. Its state is not: that is what its access point is. What is the same for several is shared, as all of
/// them are saved at once again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSession {
    pub(crate) session: SessionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<Token>,
    pub(crate) user: UserId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) program: Option<Arc<Program>>,
    /// As it was passed in.
    pub(crate) configuration: Arc<Configuration>,
    pub(crate) course: SavedCourse,
}

/// What changes in the life of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedCourse {
    pub(crate) interest: Interest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) way: Option<Way>,
    /// A user was being asked what to open.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) asked: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<Arc<Failure>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) properties: BTreeMap<PropertyKey, PropertyValue>,
    #[serde(default, skip_serializing_if = "Holds::are_none")]
    pub(crate) holds: Holds,
    #[serde(default, skip_serializing_if = "Sockets::are_none")]
    pub(crate) sockets: Sockets,
}

/// An access point as it is saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedAccessPoint {
    pub(crate) identifier: Identifier,
    /// What its engine calls it.
    pub(crate) device: Identifier,
    /// The exclusive file that it is from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    /// Of its interface.
    pub(crate) name: String,
    pub(crate) bearer_type: BearerType,
    pub(crate) hardware: Hardware,
    /// Why it cannot be started and stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) obstacle: Option<Failure>,
    pub(crate) counts_traffic: bool,
    /// None while it is unplugged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) link: Option<LinkLevel>,
    pub(crate) phase: Phase,
    /// What its engine was asked for last, if anything of ours is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) commanded: Option<Target>,
    pub(crate) found_up: bool,
    /// It is the one that has its device.
    pub(crate) has_device: bool,
    pub(crate) carrier_refuted: bool,
    #[serde(default)]
    pub(crate) failed_starts: u32,
    /// Each begins anew.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) timers: BTreeSet<Timer>,
}

impl SavedState {
    /// Takes over what has become of it.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::Session(session) => {
                self.sessions.insert(session.session, *session);
            }
            Record::Course { session, course } => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.course = *course;
                }
            }
            Record::Sockets { session, changes } => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.course.sockets.apply(changes);
                }
            }
            Record::NoSession(session) => {
                self.sessions.remove(&session);
            }
            Record::AccessPoint(access_point) => {
                self.access_points.insert(access_point.identifier.clone(), *access_point);
            }
            Record::NoAccessPoint(identifier) => {
                self.access_points.remove(&identifier);
            }
            Record::Numbers(numbers) => self.numbers = numbers,
        }
    }

    /// The devices on which something of ours is, as engines call them: nothing of that is a leftover.
    #[must_use]
    pub fn devices(&self) -> BTreeSet<Identifier> {
        let ours = self.access_points.values().filter(|access_point| access_point.commanded.is_some());
        ours.map(|access_point| access_point.device.clone()).collect()
    }

    /// How many sessions held something.
    #[must_use]
    pub fn sessions_held(&self) -> usize {
        self.sessions.values().filter(|session| session.course.interest.holds()).count()
    }

    /// The descriptors that held when this was saved. Each that is gone by now is to be told ([`Core::handle_hold_gone`]).
    pub fn holds(&self) -> impl Iterator<Item = HoldId> {
        self.sessions.values().flat_map(|session| session.course.holds.iter())
    }
}

/// What must outlive the process.
impl Core {
    /// What is to be saved before anybody is answered or told anything. Nothing, unless sessions of all processes are here.
    pub fn take_unsaved(&mut self) -> Vec<Record> {
        let mut records = Vec::new();
        let sockets = self.unsaved_sockets().into_iter();
        let sockets = sockets.filter(|(id, _)| !self.unsaved.contains_key(id) && self.in_file.contains(id));
        records.extend(sockets.map(|(session, changes)| Record::Sockets { session, changes }));
        for (id, whole) in std::mem::take(&mut self.unsaved) {
            let Some(session) = self.sessions.get(&id).filter(|session| session.is_to_be_saved()) else {
                if self.in_file.remove(&id) {
                    records.push(Record::NoSession(id));
                }
                continue;
            };
            if self.in_file.insert(id) || whole {
                records.push(Record::Session(Box::new(self.saved_session(id, session))));
            } else {
                records.push(Record::Course { session: id, course: Box::new(self.saved_course(id, session)) });
            }
        }
        for identifier in std::mem::take(&mut self.unsaved_access_points) {
            let former = self.access_points_in_file.get(&identifier);
            match self.saved_access_point(&identifier) {
                Some(access_point) if former == Some(&access_point) => {}
                Some(access_point) => {
                    self.access_points_in_file.insert(identifier, access_point.clone());
                    records.push(Record::AccessPoint(Box::new(access_point)));
                }
                None if former.is_some() => {
                    self.access_points_in_file.remove(&identifier);
                    records.push(Record::NoAccessPoint(identifier));
                }
                None => {}
            }
        }
        if self.settings.serves_all_processes && self.numbers != self.numbers_in_file {
            self.numbers_in_file = self.numbers;
            records.push(Record::Numbers(self.numbers));
        }
        records
    }

    /// All that is to be saved.
    #[must_use]
    pub fn saved(&self) -> SavedState {
        let sessions = self.sessions.iter().filter(|(_, session)| session.is_to_be_saved());
        let sessions = sessions.map(|(id, session)| (*id, self.saved_session(*id, session)));
        let access_points =
            self.access_points.keys().filter_map(|one| Some((one.clone(), self.saved_access_point(one)?)));
        SavedState { sessions: sessions.collect(), access_points: access_points.collect(), numbers: self.numbers }
    }

    /// Something in the life of a session has changed that must outlive the process.
    pub(crate) fn mark_unsaved(&mut self, id: SessionId) {
        if self.settings.serves_all_processes {
            self.unsaved.entry(id).or_insert(false);
        }
    }

    /// The same for what seldom changes of a session.
    pub(crate) fn mark_all_unsaved(&mut self, id: SessionId) {
        if self.settings.serves_all_processes {
            self.unsaved.insert(id, true);
        }
    }

    /// The same for an access point.
    pub(crate) fn mark_access_point_unsaved(&mut self, identifier: &Identifier) {
        if self.settings.serves_all_processes && !self.unsaved_access_points.contains(identifier) {
            self.unsaved_access_points.insert(identifier.clone());
        }
    }

    fn saved_session(&self, id: SessionId, session: &Session) -> SavedSession {
        SavedSession {
            session: id,
            token: session.token,
            user: session.user,
            program: session.program.clone(),
            configuration: Arc::clone(&session.configuration),
            course: self.saved_course(id, session),
        }
    }

    fn saved_course(&self, id: SessionId, session: &Session) -> SavedCourse {
        SavedCourse {
            interest: session.interest,
            way: session.way.as_deref().map(Way::to_be_saved),
            asked: self.is_asked(id),
            failure: session.failure.clone(),
            properties: session.properties.written().clone(),
            holds: session.holds.clone(),
            sockets: session.sockets.clone(),
        }
    }

    fn saved_access_point(&self, identifier: &Identifier) -> Option<SavedAccessPoint> {
        let access_point = self.access_points.get(identifier)?;
        Some(SavedAccessPoint {
            identifier: identifier.clone(),
            device: access_point.device.clone(),
            file: access_point.file.clone(),
            name: access_point.report.name.clone(),
            bearer_type: access_point.report.bearer_type,
            hardware: access_point.report.hardware.clone(),
            obstacle: access_point.report.cannot_start_and_stop.clone(),
            counts_traffic: access_point.report.counts_traffic,
            link: access_point.link().cloned(),
            phase: access_point.phase,
            commanded: access_point.commanded,
            found_up: access_point.found_up,
            has_device: self.has_its_device(identifier),
            carrier_refuted: access_point.carrier_refuted,
            failed_starts: access_point.failed_starts,
            timers: access_point.timers.armed().collect(),
        })
    }
}
