use std::{os::fd::OwnedFd, sync::Arc};

use netbearer_dbus::{property_from_wire, property_to_wire};
use netbearer_types::{Identifier, PropertyKey, PropertyValue, SocketCookie, Traffic};
use zbus::{Message, OwnedVariant};

use super::{backend::DaemonBackend, entry::Entry, line::contents};
use crate::{
    CallError,
    backend::{Answer, OfferAnswer, SessionBackend},
    shared::Ticket,
};

/// A session that the application has.
#[derive(Debug)]
pub(super) struct DaemonSession {
    // Dropped before the thread may end, so that the daemon hears of it.
    entry: Arc<Entry>,
    _backend: Arc<DaemonBackend>,
}

impl DaemonSession {
    pub(super) const fn new(entry: Arc<Entry>, backend: Arc<DaemonBackend>) -> Self {
        Self { entry, _backend: backend }
    }

    async fn traffic_by(&self, method: &str) -> Result<Traffic, CallError> {
        let read = |answer: Result<Message, CallError>| contents::<(u64, u64)>(&answer?);
        let counted = self.entry.seat()?.ask(method, &(), read).await;
        let (received, written) = self.entry.or_absence(counted)?;
        Ok(Traffic { received, written })
    }
}

fn nothing(answer: Result<Message, CallError>) -> Result<(), CallError> {
    answer.map(|_| ())
}

const fn method_of(answer: OfferAnswer) -> &'static str {
    match answer {
        OfferAnswer::Migrate => "Migrate",
        OfferAnswer::Ignore => "Ignore",
        OfferAnswer::Accept => "Accept",
        OfferAnswer::Reject => "Reject",
    }
}

impl SessionBackend for DaemonSession {
    fn open(&self) -> Answer<'_, ()> {
        Box::pin(async {
            let seat = self.entry.seat()?;
            // Kept on the line's thread, also if nobody waits any more: the session is open then all the same.
            let entry = Arc::clone(&self.entry);
            let opened = seat.ask("Open", &(), move |answer| entry.take_hold(answer)).await;
            self.entry.or_absence(opened)
        })
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async {
            while let Some(seat) = self.entry.close_or_seat() {
                let entry = Arc::clone(&self.entry);
                let read = move |answer: Result<Message, CallError>| {
                    match &answer {
                        Ok(_) => entry.drop_hold(),
                        // What the daemon does not do any more is done here, if nobody waits for it, too.
                        Err(CallError::ServiceLost) => drop(entry.close_or_seat()),
                        Err(_) => {}
                    }
                    nothing(answer)
                };
                match seat.ask("Close", &(), read).await {
                    Err(CallError::ServiceLost) => {}
                    outcome => return outcome,
                }
            }
            Ok(())
        })
    }

    fn stop(&self) -> Answer<'_, ()> {
        Box::pin(async {
            let stopped = self.entry.seat()?.ask("Stop", &(), nothing).await;
            self.entry.or_absence(stopped)
        })
    }

    fn hold_fd(&self) -> Answer<'_, OwnedFd> {
        Box::pin(async {
            let read = |answer: Result<Message, CallError>| Ok(OwnedFd::from(contents::<zbus::OwnedFd>(&answer?)?));
            let hold = self.entry.seat()?.ask("HoldFd", &(), read).await;
            self.entry.or_absence(hold)
        })
    }

    fn traffic(&self) -> Answer<'_, Traffic> {
        Box::pin(self.traffic_by("GetTraffic"))
    }

    fn property(&self, key: PropertyKey) -> Answer<'static, Option<PropertyValue>> {
        let (seat, desk) = (self.entry.seat(), self.entry.desk());
        Box::pin(async move {
            let read = |answer: Result<Message, CallError>| contents::<Vec<OwnedVariant>>(&answer?);
            let values = seat?.ask("GetProperty", &key.to_string(), read).await;
            Ok(desk.or_absence(values)?.first().and_then(|value| property_from_wire(key, value)))
        })
    }

    fn set_property(&self, key: PropertyKey, value: Option<PropertyValue>) -> Answer<'_, ()> {
        Box::pin(async move {
            let seat = self.entry.seat()?;
            let (entry, written) = (Arc::clone(&self.entry), value.clone());
            let read = move |answer: Result<Message, CallError>| {
                answer?;
                entry.note_property(key, written);
                Ok(())
            };
            let outcome = match value {
                Some(value) => seat.ask("SetProperty", &(key.to_string(), property_to_wire(&value)), read).await,
                None => seat.ask("UnsetProperty", &key.to_string(), read).await,
            };
            self.entry.or_absence(outcome)
        })
    }

    fn is_stakeholder(&self) -> bool {
        self.entry.is_stakeholder()
    }

    fn set_stakeholder(&self, stakeholder: bool) -> Answer<'_, ()> {
        Box::pin(async move {
            let seat = self.entry.seat()?;
            let entry = Arc::clone(&self.entry);
            let read = move |answer: Result<Message, CallError>| {
                answer?;
                entry.note_stakeholder(stakeholder);
                Ok(())
            };
            let outcome = seat.set_stakeholder(stakeholder, read).await;
            self.entry.or_absence(outcome)
        })
    }

    fn is_reachable(&self) -> bool {
        self.entry.seat().is_ok()
    }

    fn answer(&self, answer: OfferAnswer, offer: Ticket) -> Answer<'static, ()> {
        let (seat, desk) = (self.entry.seat_of(offer), self.entry.desk());
        Box::pin(async move { desk.or_absence(seat?.ask(method_of(answer), &offer.number.0, nothing).await) })
    }

    fn answer_unheard(&self, answer: OfferAnswer, offer: Ticket) {
        self.entry.answer_unheard(method_of(answer), offer);
    }

    fn leave_decisions(&self) {
        self.entry.leave_decisions();
    }

    fn add_socket(&self, socket: SocketCookie, access_point: Identifier) {
        self.entry.add_socket(socket, access_point);
    }

    fn own_traffic(&self) -> Answer<'_, Traffic> {
        Box::pin(self.traffic_by("GetSessionTraffic"))
    }
}
