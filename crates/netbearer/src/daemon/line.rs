use std::{
    collections::{BTreeMap, VecDeque},
    fmt, mem,
    num::NonZeroU32,
    sync::{Arc, Mutex},
};

use netbearer_dbus::{MANAGER_INTERFACE, MANAGER_PATH};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{mpsc, oneshot};
use zbus::{DynamicType, Message, Type, names::OwnedUniqueName};

use super::{
    place::{DBUS, DBUS_PATH},
    refusal::refusal,
};
use crate::{CallError, feed::lock};

/// Calls that wait for their answers at a time on a bus: one that is policed as system buses are refuses further ones at 128
/// (`dbus-daemon(1)`, `max_replies_per_connection`).
const UNANSWERED_ON_BUS: usize = 100;

/// What is done with the answer to a call: on the line's own thread, after everything that came before it.
type Heed = Box<dyn FnOnce(Result<Message, CallError>) + Send>;

/// One connection to one daemon, for calls. Nothing of it waits: what is to be sent is queued for the line's thread, so a
/// call that nobody waits for any more leaves no half of a message behind.
pub(super) struct Line {
    outgoing: mpsc::UnboundedSender<Message>,
    /// None since the line is dead.
    calls: Mutex<Option<Calls>>,
    /// Who the daemon is on the bus.
    owner: Option<OwnedUniqueName>,
}

/// Calls that have no answer yet.
#[derive(Default)]
struct Calls {
    /// By their serial numbers.
    heeding: BTreeMap<NonZeroU32, Heed>,
    /// Those that were not sent yet.
    waiting: VecDeque<Message>,
}

impl Calls {
    fn sent(&self) -> usize {
        self.heeding.len() - self.waiting.len()
    }
}

/// The object and the method that a call is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Method<'a> {
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) name: &'a str,
}

impl<'a> Method<'a> {
    pub(super) const fn of_manager(name: &'a str) -> Self {
        Self { path: MANAGER_PATH, interface: MANAGER_INTERFACE, name }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Line").field("owner", &self.owner).finish_non_exhaustive()
    }
}

impl Line {
    /// A line, and what is to be sent on it.
    pub(super) fn new(owner: Option<OwnedUniqueName>) -> (Arc<Self>, mpsc::UnboundedReceiver<Message>) {
        let (outgoing, messages) = mpsc::unbounded_channel();
        (Arc::new(Self { outgoing, calls: Mutex::new(Some(Calls::default())), owner }), messages)
    }

    pub(super) const fn is_on_bus(&self) -> bool {
        self.owner.is_some()
    }

    pub(super) const fn owner(&self) -> Option<&OwnedUniqueName> {
        self.owner.as_ref()
    }

    /// Makes a call. `heed` gets what comes of it, in any case.
    pub(super) fn call<B: Serialize + DynamicType>(
        &self,
        method: Method<'_>,
        body: &B,
        heed: impl FnOnce(Result<Message, CallError>) + Send + 'static,
    ) {
        self.call_to(self.owner.clone(), method, body, heed);
    }

    /// Makes a call to the bus itself.
    pub(super) fn call_bus<B: Serialize + DynamicType>(&self, name: &str, body: &B) {
        let method = Method { path: DBUS_PATH, interface: DBUS, name };
        let refused = |answer: Result<Message, CallError>| {
            if let Err(error) = answer {
                tracing::warn!("the bus does not do what was asked of it: {error}");
            }
        };
        self.call_to(Some(DBUS), method, body, refused);
    }

    fn call_to<'d, D, B: Serialize + DynamicType>(
        &self,
        destination: Option<D>,
        method: Method<'_>,
        body: &B,
        heed: impl FnOnce(Result<Message, CallError>) + Send + 'static,
    ) where
        D: TryInto<zbus::names::BusName<'d>>,
        D::Error: Into<zbus::Error>,
    {
        let mut call = Message::method_call(method.path, method.name).interface(method.interface);
        if let Some(destination) = destination {
            match destination.try_into() {
                Ok(destination) => call = call.destination(destination.to_owned()),
                Err(error) => return heed(Err(CallError::Refused(error.into().to_string()))),
            }
        }
        let message = match call.build(body) {
            Ok(message) => message,
            Err(error) => {
                return heed(Err(CallError::Refused(format!("{} cannot be asked for: {error}", method.name))));
            }
        };
        let heed: Heed = Box::new(heed);
        let refused = match &mut *lock(&self.calls) {
            Some(calls) => {
                let may_be_sent = !self.is_on_bus() || calls.sent() < UNANSWERED_ON_BUS;
                calls.heeding.insert(message.primary_header().serial_num(), heed);
                if may_be_sent {
                    // If nobody sends it any more, the line is about to be declared dead.
                    let _ = self.outgoing.send(message);
                } else {
                    calls.waiting.push_back(message);
                }
                None
            }
            None => Some(heed),
        };
        if let Some(heed) = refused {
            heed(Err(CallError::ServiceLost));
        }
    }

    /// Makes a call, and waits for its answer, which `read` reads on the line's own thread, whether anybody waits or not.
    pub(super) async fn ask<B: Serialize + DynamicType, T: Send + 'static>(
        &self,
        method: Method<'_>,
        body: &B,
        read: impl FnOnce(Result<Message, CallError>) -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, CallError> {
        let (answer, answered) = oneshot::channel();
        self.call(method, body, move |reply| {
            // What nobody waits for is dropped.
            let _ = answer.send(read(reply));
        });
        answered.await.unwrap_or(Err(CallError::ServiceLost))
    }

    /// An answer has come.
    pub(super) fn take_answer(&self, answer: Message) {
        let heed = answer.header().reply_serial().and_then(|serial| {
            let mut calls = lock(&self.calls);
            let calls = calls.as_mut()?;
            let heed = calls.heeding.remove(&serial)?;
            if let Some(next) = calls.waiting.pop_front() {
                let _ = self.outgoing.send(next);
            }
            Some(heed)
        });
        let Some(heed) = heed else { return };
        heed(match answer.message_type() {
            zbus::message::Type::Error => Err(refusal(&answer)),
            _ => Ok(answer),
        });
    }

    /// The line is dead: no answer will come.
    pub(super) fn hang_up(&self) {
        let calls = mem::take(&mut *lock(&self.calls));
        for heed in calls.into_iter().flat_map(|calls| calls.heeding.into_values()) {
            heed(Err(CallError::ServiceLost));
        }
    }
}

/// Reads what an answer contains.
pub(super) fn contents<T: DeserializeOwned + Type>(answer: &Message) -> Result<T, CallError> {
    let body = answer.body();
    body.deserialize().map_err(|error| CallError::Refused(format!("it answers what is not understood here: {error}")))
}
