use std::{collections::BTreeMap, sync::Arc};

use netbearer_core::{Client, ClientId, Core, SessionDescription, SessionId};
use netbearer_types::{Identifier, Moment, Step, Traffic};
use tokio::sync::{mpsc, oneshot, watch};

use crate::Audience;

/// Carries a call to the core and gives back what answers the caller, to be run after the call's events were delivered.
pub(crate) type Call = Box<dyn FnOnce(&mut Core, Moment) -> Answer + Send>;
pub(crate) type Answer = Box<dyn FnOnce() + Send>;
pub(crate) type Wanted = Box<dyn FnOnce(&mut Core, Moment) -> bool + Send>;
/// Told on the service's own task.
pub(crate) type Told<T> = Box<dyn FnOnce(T) + Send>;

/// What is being done with each access point that is on its way up or down.
pub type Steps = BTreeMap<Identifier, Step>;

/// What a handle asks of the service.
pub(crate) enum Request {
    Join {
        client: ClientId,
        description: Client,
        audience: Arc<dyn Audience>,
    },
    Leave {
        client: ClientId,
    },
    Call(Call),
    Traffic {
        session: SessionId,
        told: Told<Traffic>,
    },
    SessionTraffic {
        session: SessionId,
        told: Told<Traffic>,
    },
    Describe {
        told: Told<Vec<(SessionDescription, Traffic)>>,
    },
    /// Only if `wanted` says so; `ended` is told whether it did.
    Shutdown {
        wanted: Wanted,
        ended: oneshot::Sender<bool>,
    },
}

/// The service has ended; nothing was changed by the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bearer service has ended")]
pub struct ServiceGone;

/// A way to the service; cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct ServiceHandle {
    pub(crate) steps: watch::Receiver<Steps>,
    pub(crate) news: watch::Receiver<u64>,
    pub(crate) requests: mpsc::UnboundedSender<Request>,
}

impl ServiceHandle {
    /// Announces a client, what it may do, and whom its events are delivered to.
    ///
    /// # Errors
    /// [`ServiceGone`].
    pub fn join(&self, client: ClientId, description: Client, audience: Arc<dyn Audience>) -> Result<(), ServiceGone> {
        self.send(Request::Join { client, description, audience })
    }

    /// A client is gone: all it had is closed and dropped, but for what descriptors hold.
    pub fn leave(&self, client: ClientId) {
        // If the service is gone as well, so is everything the client had.
        let _ = self.send(Request::Leave { client });
    }

    /// Runs `call` on the core, and returns its result after the events it caused were handed to their audiences.
    ///
    /// # Errors
    /// [`ServiceGone`].
    pub async fn call<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Core, Moment) -> R + Send + 'static,
    ) -> Result<R, ServiceGone> {
        self.call_then(call, |result| result).await
    }

    /// Runs `call` on the core, hands the events it caused to their audiences, and then runs `told` with its result on
    /// the service's own task, before any other event.
    ///
    /// # Errors
    /// [`ServiceGone`].
    pub async fn call_then<T: Send + 'static, R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Core, Moment) -> T + Send + 'static,
        told: impl FnOnce(T) -> R + Send + 'static,
    ) -> Result<R, ServiceGone> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Call(Box::new(move |core, now| {
            let result = call(core, now);
            Box::new(move || {
                // A caller that has stopped waiting does not want the answer.
                let _ = answer.send(told(result));
            })
        })))?;
        answered.await.map_err(|_| ServiceGone)
    }

    /// What the access points that count for a session have carried since each became Active.
    ///
    /// # Errors
    /// [`ServiceGone`].
    pub async fn traffic(&self, session: SessionId) -> Result<Traffic, ServiceGone> {
        let (answer, answered) = oneshot::channel();
        self.traffic_then(session, move |traffic| {
            // A caller that has stopped waiting does not want the answer.
            let _ = answer.send(traffic);
        })?;
        answered.await.map_err(|_| ServiceGone)
    }

    /// The same for `told`, which is run on the service's own task.
    ///
    /// # Errors
    /// [`ServiceGone`].
    pub fn traffic_then(
        &self,
        session: SessionId,
        told: impl FnOnce(Traffic) + Send + 'static,
    ) -> Result<(), ServiceGone> {
        self.send(Request::Traffic { session, told: Box::new(told) })
    }

    /// What the TCP sockets of a session have carried for their programs, for `told`.
    ///
    /// # Errors
    /// [`ServiceGone`].
    pub fn session_traffic_then(
        &self,
        session: SessionId,
        told: impl FnOnce(Traffic) + Send + 'static,
    ) -> Result<(), ServiceGone> {
        self.send(Request::SessionTraffic { session, told: Box::new(told) })
    }

    /// The same, waited for.
    ///
    /// # Errors
    /// [`ServiceGone`].
    pub async fn session_traffic(&self, session: SessionId) -> Result<Traffic, ServiceGone> {
        let (answer, answered) = oneshot::channel();
        self.session_traffic_then(session, move |traffic| {
            // A caller that has stopped waiting does not want the answer.
            let _ = answer.send(traffic);
        })?;
        answered.await.map_err(|_| ServiceGone)
    }

    /// All sessions, and what the access points that count for each have carried, for `told`, which is run on the service's own
    /// task.
    ///
    /// # Errors
    /// [`ServiceGone`].
    pub fn describe_sessions(
        &self,
        told: impl FnOnce(Vec<(SessionDescription, Traffic)>) + Send + 'static,
    ) -> Result<(), ServiceGone> {
        self.send(Request::Describe { told: Box::new(told) })
    }

    /// As [`Self::call_then`], without waiting: nobody is there to be given a result, so `told` is to pass it on.
    ///
    /// # Errors
    /// [`ServiceGone`].
    pub fn cast_then<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Core, Moment) -> T + Send + 'static,
        told: impl FnOnce(T) + Send + 'static,
    ) -> Result<(), ServiceGone> {
        self.send(Request::Call(Box::new(move |core, now| {
            let result = call(core, now);
            Box::new(move || told(result))
        })))
    }

    /// Runs `call` on the core without waiting for it.
    pub fn cast(&self, call: impl FnOnce(&mut Core, Moment) + Send + 'static) {
        let _ = self.send(Request::Call(Box::new(move |core, now| {
            call(core, now);
            Box::new(|| ())
        })));
    }

    /// What is being done with access points now, and whenever that changes.
    #[must_use]
    pub fn steps(&self) -> watch::Receiver<Steps> {
        self.steps.clone()
    }

    /// How often the service was told something: by its engine, of profiles, of name servers, or by the clock. Calls do not
    /// count.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.clone()
    }

    /// Closes every session, takes down what is ours, and ends the service; returns when that has happened.
    pub async fn shutdown(&self) {
        let _ = self.shutdown_if(|_, _| true).await;
    }

    /// The same, if `wanted` says so, and then no call is served any more. False: it goes on.
    ///
    /// # Errors
    /// [`ServiceGone`].
    pub async fn shutdown_if(
        &self,
        wanted: impl FnOnce(&mut Core, Moment) -> bool + Send + 'static,
    ) -> Result<bool, ServiceGone> {
        let (ended, has_ended) = oneshot::channel();
        self.send(Request::Shutdown { wanted: Box::new(wanted), ended })?;
        has_ended.await.map_err(|_| ServiceGone)
    }

    fn send(&self, request: Request) -> Result<(), ServiceGone> {
        self.requests.send(request).map_err(|_| ServiceGone)
    }
}
