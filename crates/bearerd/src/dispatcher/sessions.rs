//! `org.netbearer.Session1`.

use std::{io, os::fd::OwnedFd};

use netbearer_core::{Core, Refusal, SessionId};
use netbearer_dbus::{ErrorName, ObjectKind, SESSION_INTERFACE, property_from_wire, property_to_wire, session_path};
use netbearer_types::{
    Identifier, Moment, OfferNumber, PropertyKey, PropertyValue, SessionSnapshot, SocketCookie, Traffic,
};
use zbus::{Fd, OwnedVariant, Variant};

use crate::{
    Mail,
    call::{Call, fitting},
    dispatcher::Dispatcher,
    fault::{Fault, StandardError},
    signals,
};

/// The session that a call is for; whether it is there has been looked at.
pub(super) const fn session(object: &ObjectKind) -> SessionId {
    match object {
        ObjectKind::Session(number) => SessionId(*number),
        // Never used for a session.
        _ => SessionId(u64::MAX),
    }
}

fn key(name: &str) -> Result<PropertyKey, Fault> {
    name.parse()
        .map_err(|_| Fault::about(ErrorName::UnknownProperty, format!("there is no session property {name}"), name))
}

fn no_descriptor(error: &io::Error) -> Fault {
    Fault::standard(StandardError::LimitsExceeded, format!("no hold could be made: {error}"))
}

fn give(call: &Call, hold: OwnedFd) {
    call.answer(&Fd::from(hold));
}

fn nothing_to_tell(call: &Call, outcome: Result<(), Refusal>) -> Result<(), Fault> {
    outcome?;
    call.answer(&());
    Ok(())
}

impl Dispatcher {
    /// As [`Self::ask`], of a session that is still the caller's. What this changes without an event is told as well, before the
    /// answer.
    pub(super) fn ask_session<T: Send + 'static>(
        &self,
        call: Call,
        object: &ObjectKind,
        ask: impl FnOnce(&mut Core, SessionId, Moment) -> Result<T, Refusal> + Send + 'static,
        tell: impl FnOnce(&Call, T) -> Result<(), Fault> + Send + 'static,
    ) -> Result<(), Fault> {
        let (client, session) = (call.client().id(), session(object));
        let ask = move |core: &mut Core, now| {
            if core.owner(session) != Some(client) {
                return (Err(Refusal::UnknownSession), None);
            }
            let outcome = ask(core, session, now);
            (outcome, core.session(session))
        };
        let tell = move |call: &Call, (outcome, snapshot): (Result<T, Refusal>, Option<SessionSnapshot>)| {
            if let Some(snapshot) = snapshot {
                call.client().refresh_session(session, &snapshot);
            }
            tell(call, outcome?)
        };
        self.ask(call, ask, tell)
    }

    /// A new hold, for callers that can be given one.
    fn mint(&self, call: &Call) -> Result<(netbearer_core::HoldId, OwnedFd), Fault> {
        if !call.client().passes_descriptors() {
            let sentence = "this connection does not pass descriptors, and a hold is one";
            return Err(Fault::standard(StandardError::NotSupported, sentence));
        }
        self.fifos.mint().map_err(|error| no_descriptor(&error))
    }

    pub(super) fn open(&self, call: Call, object: ObjectKind) -> Result<(), Fault> {
        let (hold, writing) = self.mint(&call)?;
        let fifos = self.fifos.clone();
        let ask = move |core: &mut Core, session, now| Ok(core.open_held(session, hold, now));
        let unused = self.fifos.clone();
        let tell = move |call: &Call, outcome: Result<Option<netbearer_core::HoldId>, Refusal>| {
            match outcome {
                Ok(Some(in_force)) if in_force == hold => give(call, writing),
                Ok(Some(older)) => {
                    fifos.revoke(hold);
                    give(call, fifos.another(older).map_err(|error| no_descriptor(&error))?);
                }
                // It has failed at once, as the events say: what is given holds nothing, and shows it.
                Ok(None) => {
                    fifos.revoke(hold);
                    give(call, writing);
                }
                Err(refusal) => {
                    fifos.revoke(hold);
                    return Err(refusal.into());
                }
            }
            Ok(())
        };
        // If the session is not the caller's any more, `tell` is never run, and the FIFO hangs up.
        let asked = self.ask_session(call, &object, ask, tell);
        if asked.is_err() {
            unused.revoke(hold);
        }
        asked
    }

    pub(super) fn close(&self, call: Call, object: ObjectKind) -> Result<(), Fault> {
        self.ask_session(call, &object, |core, session, now| Ok(core.close(session, now)), nothing_to_tell)
    }

    pub(super) fn stop(&self, call: Call, object: ObjectKind) -> Result<(), Fault> {
        self.ask_session(call, &object, |core, session, now| Ok(core.stop(session, now)), nothing_to_tell)
    }

    pub(super) fn hold_fd(&self, call: Call, object: ObjectKind) -> Result<(), Fault> {
        let (hold, writing) = self.mint(&call)?;
        let (fifos, unused) = (self.fifos.clone(), self.fifos.clone());
        let ask = move |core: &mut Core, session, _| Ok(core.add_hold(session, hold));
        let tell = move |call: &Call, outcome: Result<(), Refusal>| {
            if let Err(refusal) = outcome {
                fifos.revoke(hold);
                return Err(refusal.into());
            }
            give(call, writing);
            Ok(())
        };
        let asked = self.ask_session(call, &object, ask, tell);
        if asked.is_err() {
            unused.revoke(hold);
        }
        asked
    }

    pub(super) fn release(&self, call: Call, object: ObjectKind) -> Result<(), Fault> {
        let client = std::sync::Arc::clone(call.client());
        let ask = move |core: &mut Core, session, now| {
            core.drop_session(session, now);
            client.remove_session(session);
            Ok(session)
        };
        let tell = |call: &Call, session: SessionId| {
            let client = call.client();
            if client.follows_objects() {
                let path = session_path(session.0);
                let removed = signals::objects_removed(client.destination(), &path, SESSION_INTERFACE);
                client.send(Mail::Signal, removed);
            }
            call.answer(&());
            Ok(())
        };
        self.ask_session(call, &object, ask, tell)
    }

    pub(super) fn migrate(&self, call: Call, object: ObjectKind) -> Result<(), Fault> {
        self.answer_offer(call, &object, Core::migrate)
    }

    pub(super) fn ignore(&self, call: Call, object: ObjectKind) -> Result<(), Fault> {
        self.answer_offer(call, &object, Core::ignore)
    }

    pub(super) fn accept(&self, call: Call, object: ObjectKind) -> Result<(), Fault> {
        self.answer_offer(call, &object, Core::accept)
    }

    pub(super) fn reject(&self, call: Call, object: ObjectKind) -> Result<(), Fault> {
        self.answer_offer(call, &object, Core::reject)
    }

    fn answer_offer(
        &self,
        call: Call,
        object: &ObjectKind,
        answer: fn(&mut Core, SessionId, OfferNumber, Moment) -> Result<(), Refusal>,
    ) -> Result<(), Fault> {
        let offer = OfferNumber(call.arguments()?);
        let ask = move |core: &mut Core, session, now| Ok(answer(core, session, offer, now));
        self.ask_session(call, object, ask, nothing_to_tell)
    }

    pub(super) fn get_traffic(&self, call: Call, object: ObjectKind) -> Result<(), Fault> {
        let told = move |traffic: Traffic| call.answer(&(traffic.received, traffic.written));
        Ok(self.service().traffic_then(session(&object), told)?)
    }

    pub(super) fn add_socket(&self, call: Call, object: ObjectKind) -> Result<(), Fault> {
        let (socket, configuration): (u64, String) = call.arguments()?;
        let configuration = Identifier::new(fitting(configuration)?);
        let ask =
            move |core: &mut Core, session, now| Ok(core.add_socket(session, SocketCookie(socket), configuration, now));
        self.ask_session(call, &object, ask, nothing_to_tell)
    }

    pub(super) fn get_session_traffic(&self, call: Call, object: ObjectKind) -> Result<(), Fault> {
        let told = move |traffic: Traffic| call.answer(&(traffic.received, traffic.written));
        Ok(self.service().session_traffic_then(session(&object), told)?)
    }

    pub(super) fn get_session_property(&self, call: Call, object: ObjectKind) -> Result<(), Fault> {
        let key = key(&call.arguments::<String>()?)?;
        let tell = |call: &Call, value: Option<PropertyValue>| {
            let values: Vec<Variant<'_>> = value.iter().map(property_to_wire).collect();
            call.answer(&values);
            Ok(())
        };
        self.ask_session(call, &object, move |core, session, _| Ok(core.property(session, key)), tell)
    }

    pub(super) fn set_session_property(&self, call: Call, object: ObjectKind) -> Result<(), Fault> {
        let (name, value): (String, OwnedVariant) = call.arguments()?;
        let key = key(&name)?;
        if key.is_read_only() {
            return Err(Refusal::ReadOnlyProperty(key).into());
        }
        let value = property_from_wire(key, &value).ok_or_else(|| {
            Fault::ours(ErrorName::UnfitValue, format!("no value of the property {name} has this type"))
        })?;
        let ask = move |core: &mut Core, session, _| Ok(core.set_property(session, key, Some(value)));
        self.ask_session(call, &object, ask, nothing_to_tell)
    }

    pub(super) fn unset_session_property(&self, call: Call, object: ObjectKind) -> Result<(), Fault> {
        let key = key(&call.arguments::<String>()?)?;
        let ask = move |core: &mut Core, session, _| Ok(core.set_property(session, key, None));
        self.ask_session(call, &object, ask, nothing_to_tell)
    }
}
