use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use netbearer_core::{Question, QuestionNumber};
use netbearer_dbus::{CHOOSER_INTERFACE, ConfigurationProperties, ObjectKind, chooser_path, object_kind};
use netbearer_types::Identifier;
use zbus::{Message, OwnedObjectPath};

use super::{
    backend::DaemonBackend,
    desk::Desk,
    entry::Done,
    line::{Line, Method, contents},
};
use crate::{
    CallError, ChooserEvent, Events,
    backend::{Answer, ChooserBackend},
    feed::{Feed, lock},
};

/// One chooser of this program, on whatever line it is at the moment.
#[derive(Debug)]
pub(super) struct Registration {
    desk: Arc<Desk>,
    key: u64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Where the daemon has it; none while that is away.
    seat: Option<(Arc<Line>, u64)>,
    feed: Feed<ChooserEvent>,
    /// Questions that are not answered yet.
    asked: BTreeSet<QuestionNumber>,
}

/// A chooser that the application has.
#[derive(Debug)]
pub(super) struct DaemonChooser {
    registration: Arc<Registration>,
    _backend: Arc<DaemonBackend>,
}

/// The number of the chooser that the daemon has registered.
pub(super) fn registered(answer: &Message) -> Result<u64, CallError> {
    let path: OwnedObjectPath = contents(answer)?;
    match object_kind(path.as_str()) {
        Some(ObjectKind::Chooser(number)) => Ok(number),
        _ => Err(CallError::Refused(format!("it calls {} a chooser", path.as_str()))),
    }
}

fn unregister(line: &Line, number: u64) {
    let path = chooser_path(number);
    line.call(Method { path: &path, interface: CHOOSER_INTERFACE, name: "Unregister" }, &(), |_| ());
}

impl Registration {
    pub(super) fn new(desk: Arc<Desk>, key: u64, number: u64, line: Arc<Line>) -> Self {
        let inner = Inner { seat: Some((line, number)), feed: Feed::default(), asked: BTreeSet::new() };
        Self { desk, key, inner: Mutex::new(inner) }
    }

    pub(super) fn events(&self) -> Events<ChooserEvent> {
        lock(&self.inner).feed.subscribe()
    }

    pub(super) fn take_signal(&self, name: &str, message: &Message) {
        type Asked = (u64, ConfigurationProperties, Vec<ConfigurationProperties>);
        match name {
            "Asked" => {
                let Ok((number, configuration, choices)) = contents::<Asked>(message) else { return };
                let number = QuestionNumber(number);
                let question = Question {
                    number,
                    configuration: configuration.into_configuration(),
                    choices: choices.into_iter().map(ConfigurationProperties::into_configuration).collect(),
                };
                self.tell(&[ChooserEvent::Asked(question)], |asked| {
                    asked.insert(number);
                });
            }
            "Withdrawn" => {
                let Ok(number) = contents::<u64>(message).map(QuestionNumber) else { return };
                self.tell(&[ChooserEvent::Withdrawn(number)], |asked| {
                    asked.remove(&number);
                });
            }
            _ => {}
        }
    }

    fn tell(&self, events: &[ChooserEvent], note: impl FnOnce(&mut BTreeSet<QuestionNumber>)) {
        let mut inner = lock(&self.inner);
        note(&mut inner.asked);
        let wakers: Vec<_> = events.iter().map(|event| inner.feed.push(event, || vec![event.clone()])).collect();
        drop(inner);
        wakers.into_iter().for_each(crate::feed::Wakers::wake);
    }

    /// The daemon is away, and whatever it has asked is not to be answered any more: who asks anew has other numbers.
    pub(super) fn lose_number(&self) {
        let mut inner = lock(&self.inner);
        inner.seat = None;
        let withdrawn: Vec<ChooserEvent> =
            std::mem::take(&mut inner.asked).into_iter().map(ChooserEvent::Withdrawn).collect();
        drop(inner);
        self.tell(&withdrawn, |_| ());
    }

    pub(super) fn come_back(self: &Arc<Self>, line: &Arc<Line>, done: Done) {
        let (registration, seated) = (Arc::downgrade(self), Arc::clone(line));
        self.desk.call_manager(line, "RegisterChooser", &(), move |answer| {
            match answer.and_then(|answer| registered(&answer)) {
                Ok(number) => match registration.upgrade() {
                    Some(registration) => {
                        lock(&registration.inner).seat = Some((seated, number));
                        registration.desk.register(&registration, number);
                    }
                    None => unregister(&seated, number),
                },
                Err(CallError::ServiceLost) => {}
                Err(error) => tracing::warn!("user choices are not asked for here any more: {error}"),
            }
            drop(done);
        });
    }

    pub(super) fn end(&self) {
        let wakers = lock(&self.inner).feed.end();
        wakers.wake();
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let seat = lock(&self.inner).seat.take();
        self.desk.forget_chooser(self.key, seat.as_ref().map(|(_, number)| *number));
        if let Some((line, number)) = seat {
            unregister(&line, number);
        }
    }
}

impl DaemonChooser {
    pub(super) const fn new(registration: Arc<Registration>, backend: Arc<DaemonBackend>) -> Self {
        Self { registration, _backend: backend }
    }
}

impl ChooserBackend for DaemonChooser {
    fn answer(&self, number: QuestionNumber, choice: Option<Identifier>) -> Answer<'_, ()> {
        Box::pin(async move {
            let registration = Arc::downgrade(&self.registration);
            let seat = lock(&self.registration.inner).seat.clone();
            let (line, chooser) = seat.ok_or_else(|| self.registration.desk.absence())?;
            let path = chooser_path(chooser);
            let method = Method { path: &path, interface: CHOOSER_INTERFACE, name: "Answer" };
            let choice = choice.map(String::from).unwrap_or_default();
            let read = move |answer: Result<Message, CallError>| {
                answer?;
                if let Some(registration) = registration.upgrade() {
                    lock(&registration.inner).asked.remove(&number);
                }
                Ok(())
            };
            let answered = line.ask(method, &(number.0, choice), read).await;
            self.registration.desk.or_absence(answered)
        })
    }
}
