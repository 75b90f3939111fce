//! The same, for programs without async: a thin face over [`crate::Manager`] and [`crate::Session`].

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr, TcpStream},
    ops::Deref,
    os::fd::OwnedFd,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use netbearer_types::{Configuration, ManagerEvent, PropertyKey, PropertyValue, SessionEvent, Traffic};

#[cfg(feature = "embedded")]
use crate::Embedded;
use crate::{
    CallError, Daemon, FindError, LookupError, ManagerError, MigrateError, OfferDescription, SocketError, TestError,
};

/// A [`crate::Manager`] whose calls block. Its getters that do not wait are reached through [`Deref`].
#[derive(Clone, Debug)]
pub struct Manager(crate::Manager);

/// A [`crate::Session`] whose calls block. Its getters that do not wait are reached through [`Deref`].
#[derive(Debug)]
pub struct Session(crate::Session);

/// A [`crate::Roaming`] whose calls block.
#[derive(Debug)]
pub struct Roaming(crate::Roaming);

/// A [`crate::Offer`] whose calls block.
#[derive(Debug)]
#[must_use = "an offer that is dropped is ignored"]
pub struct Offer(crate::Offer);

/// A [`crate::Trial`] whose calls block. Its getters are reached through [`Deref`].
#[derive(Debug)]
#[must_use = "a trial that is dropped is rejected"]
pub struct Trial(crate::Trial);

/// A [`crate::Events`] whose calls block.
#[derive(Debug)]
pub struct Events<T>(crate::Events<T>);

/// [`crate::Steps`] whose calls block. Its getters are reached through [`Deref`].
#[derive(Clone, Debug)]
pub struct Steps(crate::Steps);

/// [`crate::News`] whose calls block.
#[derive(Clone, Debug)]
pub struct News(crate::News);

impl Manager {
    /// See [`crate::Manager::connect`].
    ///
    /// # Errors
    /// As there.
    pub fn connect() -> Result<Self, ManagerError> {
        Self::with_daemon(Daemon::default())
    }

    /// See [`Daemon::connect`].
    ///
    /// # Errors
    /// As there.
    pub fn with_daemon(daemon: Daemon) -> Result<Self, ManagerError> {
        block_on(daemon.connect()).map(Self)
    }

    /// See [`crate::Manager::embedded`].
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "embedded")]
    pub fn embedded() -> Result<Self, ManagerError> {
        Self::start(Embedded::default())
    }

    /// See [`Embedded::start`].
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "embedded")]
    pub fn start(embedded: Embedded) -> Result<Self, ManagerError> {
        block_on(embedded.start()).map(Self)
    }

    /// See [`crate::Manager::find`].
    ///
    /// # Errors
    /// As there.
    pub fn find(&self, wanted: Option<&str>) -> Result<Configuration, FindError> {
        block_on(self.0.find(wanted))
    }

    /// See [`crate::Manager::session`].
    ///
    /// # Errors
    /// As there.
    pub fn session(&self, configuration: &Configuration) -> Result<Session, CallError> {
        block_on(self.0.session(configuration)).map(Session)
    }

    /// See [`crate::Manager::events`].
    #[must_use]
    pub fn events(&self) -> Events<ManagerEvent> {
        Events(self.0.events())
    }

    /// See [`crate::Manager::news`].
    #[must_use]
    pub fn news(&self) -> News {
        News(self.0.news())
    }

    /// See [`crate::Manager::steps`].
    #[must_use]
    pub fn steps(&self) -> Steps {
        Steps(self.0.steps())
    }

    /// Runs any other call of the async manager to its end.
    pub fn wait_for<T>(&self, call: impl AsyncFnOnce(&crate::Manager) -> T) -> T {
        block_on(call(&self.0))
    }

    /// See [`crate::Manager::shutdown`].
    pub fn shutdown(&self) {
        block_on(self.0.shutdown());
    }
}

impl Deref for Manager {
    type Target = crate::Manager;

    fn deref(&self) -> &crate::Manager {
        &self.0
    }
}

impl Session {
    /// See [`crate::Session::open`].
    ///
    /// # Errors
    /// As there.
    pub fn open(&self) -> Result<(), CallError> {
        block_on(self.0.open())
    }

    /// See [`crate::Session::close`].
    ///
    /// # Errors
    /// As there.
    pub fn close(&self) -> Result<(), CallError> {
        block_on(self.0.close())
    }

    /// See [`crate::Session::stop`].
    ///
    /// # Errors
    /// As there.
    pub fn stop(&self) -> Result<(), CallError> {
        block_on(self.0.stop())
    }

    /// See [`crate::Session::hold_fd`].
    ///
    /// # Errors
    /// As there.
    pub fn hold_fd(&self) -> Result<OwnedFd, CallError> {
        block_on(self.0.hold_fd())
    }

    /// See [`crate::Session::roaming`].
    ///
    /// # Errors
    /// As there.
    pub fn roaming(&self) -> Result<Roaming, CallError> {
        block_on(self.0.roaming()).map(Roaming)
    }

    /// See [`crate::Session::wait_for_opened`].
    ///
    /// # Errors
    /// As there.
    pub fn wait_for_opened(&self, timeout: Option<Duration>) -> Result<bool, CallError> {
        block_on(self.0.wait_for_opened(timeout))
    }

    /// See [`crate::Session::bytes_received`].
    ///
    /// # Errors
    /// As there.
    pub fn bytes_received(&self) -> Result<u64, CallError> {
        block_on(self.0.bytes_received())
    }

    /// See [`crate::Session::bytes_written`].
    ///
    /// # Errors
    /// As there.
    pub fn bytes_written(&self) -> Result<u64, CallError> {
        block_on(self.0.bytes_written())
    }

    /// See [`crate::Session::own_traffic`].
    ///
    /// # Errors
    /// As there.
    pub fn own_traffic(&self) -> Result<Traffic, CallError> {
        block_on(self.0.own_traffic())
    }

    /// See [`crate::Session::property`].
    ///
    /// # Errors
    /// As there.
    pub fn property(&self, key: PropertyKey) -> Result<Option<PropertyValue>, CallError> {
        block_on(self.0.property(key))
    }

    /// See [`crate::Session::set_property`].
    ///
    /// # Errors
    /// As there.
    pub fn set_property(&self, key: PropertyKey, value: Option<PropertyValue>) -> Result<(), CallError> {
        block_on(self.0.set_property(key, value))
    }

    /// See [`crate::Session::events`].
    #[must_use]
    pub fn events(&self) -> Events<SessionEvent> {
        Events(self.0.events())
    }

    /// See [`crate::Session::lookup`].
    ///
    /// # Errors
    /// As there.
    pub fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        on_runtime(async || self.0.lookup(host).await, LookupError::Runtime)
    }

    /// A TCP connection through this session's access point; see [`crate::Session::connect_tcp`].
    ///
    /// # Errors
    /// As there.
    pub fn connect_tcp(&self, address: SocketAddr) -> Result<TcpStream, SocketError> {
        self.0.outlet()?.connect_tcp_blocking(address)
    }
}

impl Roaming {
    /// Waits for the next offer, but not longer than `timeout`; none if there was none in time, or will be none.
    pub fn next_within(&mut self, timeout: Duration) -> Option<Offer> {
        block_on_until(self.0.next(), deadline(timeout)).flatten().map(Offer)
    }
}

impl Iterator for Roaming {
    type Item = Offer;

    /// See [`crate::Roaming::next`].
    fn next(&mut self) -> Option<Offer> {
        block_on(self.0.next()).map(Offer)
    }
}

impl Offer {
    /// See [`crate::Offer::migrate`].
    ///
    /// # Errors
    /// As there.
    pub fn migrate(self) -> Result<Trial, MigrateError> {
        block_on(self.0.migrate()).map(Trial)
    }

    /// See [`crate::Offer::ignore`].
    ///
    /// # Errors
    /// As there.
    pub fn ignore(self) -> Result<(), MigrateError> {
        block_on(self.0.ignore())
    }
}

impl Deref for Offer {
    type Target = OfferDescription;

    fn deref(&self) -> &OfferDescription {
        &self.0
    }
}

impl Trial {
    /// See [`crate::Trial::accept`].
    ///
    /// # Errors
    /// As there.
    pub fn accept(self) -> Result<(), MigrateError> {
        block_on(self.0.accept())
    }

    /// See [`crate::Trial::reject`].
    ///
    /// # Errors
    /// As there.
    pub fn reject(self) -> Result<(), MigrateError> {
        block_on(self.0.reject())
    }

    /// Waits until the trial has ended by itself, and tells why, but not longer than `timeout`; see [`crate::Trial::ended`].
    pub fn ended_within(&mut self, timeout: Duration) -> Option<MigrateError> {
        block_on_until(self.0.ended(), deadline(timeout))
    }

    /// A TCP connection through the candidate; see [`crate::Trial::connect_tcp`].
    ///
    /// # Errors
    /// As there.
    pub fn connect_tcp(&self, address: SocketAddr) -> Result<TcpStream, SocketError> {
        self.0.outlet_for_sockets()?.connect_tcp_blocking(address)
    }

    /// See [`crate::Trial::lookup`].
    ///
    /// # Errors
    /// As there.
    pub fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        on_runtime(async || self.0.lookup(host).await, LookupError::Runtime)
    }

    /// See [`crate::Trial::test_tcp`].
    ///
    /// # Errors
    /// As there.
    pub fn test_tcp(&self, address: SocketAddr, deadline: Duration) -> Result<(), TestError> {
        on_runtime(async || self.0.test_tcp(address, deadline).await, TestError::Runtime)
    }

    /// See [`crate::Trial::test_http`].
    ///
    /// # Errors
    /// As there.
    pub fn test_http(&self, url: &str, deadline: Duration) -> Result<(), TestError> {
        on_runtime(async || self.0.test_http(url, deadline).await, TestError::Runtime)
    }
}

impl Deref for Trial {
    type Target = crate::Trial;

    fn deref(&self) -> &crate::Trial {
        &self.0
    }
}

impl Deref for Session {
    type Target = crate::Session;

    fn deref(&self) -> &crate::Session {
        &self.0
    }
}

impl Steps {
    /// Waits until they are others than when this was called last, but not longer than `timeout`; false if they were none in
    /// time.
    ///
    /// # Errors
    /// See [`crate::Steps::changed`].
    pub fn changed_within(&mut self, timeout: Duration) -> Result<bool, CallError> {
        let changed = block_on_until(self.0.changed(), deadline(timeout));
        changed.map_or(Ok(false), |changed| changed.map(|()| true))
    }
}

impl News {
    /// Waits until there is any since this was called last, but not longer than `timeout`; false if there was none in time.
    ///
    /// # Errors
    /// See [`crate::News::changed`].
    pub fn changed_within(&mut self, timeout: Duration) -> Result<bool, CallError> {
        let changed = block_on_until(self.0.changed(), deadline(timeout));
        changed.map_or(Ok(false), |changed| changed.map(|()| true))
    }
}

impl Deref for Steps {
    type Target = crate::Steps;

    fn deref(&self) -> &crate::Steps {
        &self.0
    }
}

impl<T> Events<T> {
    /// Waits for the next event, but not longer than `timeout`; none if there was none in time, or will be none.
    pub fn next_within(&mut self, timeout: Duration) -> Option<T> {
        block_on_until(self.0.next(), deadline(timeout)).flatten()
    }

    /// The next event if there is one already.
    pub fn try_next(&mut self) -> Option<T> {
        self.0.try_next()
    }
}

impl<T> Iterator for Events<T> {
    type Item = T;

    /// Waits for the next event.
    fn next(&mut self) -> Option<T> {
        block_on(self.0.next())
    }
}

/// Wakes the thread that waits.
struct ThreadWaker(Thread);

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = thread_waker();
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// None if it is beyond what a clock can tell: then it is waited for ever.
fn deadline(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

fn block_on_until<F: Future>(future: F, deadline: Option<Instant>) -> Option<F::Output> {
    let Some(deadline) = deadline else { return Some(block_on(future)) };
    let waker = thread_waker();
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}

/// Runs what needs a tokio runtime, in a thread of its own: the caller's may have a runtime already, which cannot be waited in.
fn on_runtime<T: Send, E: Send>(
    call: impl AsyncFnOnce() -> Result<T, E> + Send,
    no_runtime: impl Fn(io::Error) -> E + Send + Copy,
) -> Result<T, E> {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build_local(tokio::runtime::LocalOptions::default());
        runtime.map_err(no_runtime)?.block_on(call())
    };
    thread::scope(|scope| match thread::Builder::new().spawn_scoped(scope, run) {
        Ok(running) => running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        Err(error) => Err(no_runtime(error)),
    })
}

fn thread_waker() -> Waker {
    Waker::from(Arc::new(ThreadWaker(thread::current())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for_as_long_as_can_be_said_is_waited_for() {
        for timeout in [Duration::MAX, Duration::from_secs(u64::MAX)] {
            assert_eq!(block_on_until(std::future::ready(7), deadline(timeout)), Some(7));
        }
        assert_eq!(block_on_until(std::future::pending::<()>(), deadline(Duration::ZERO)), None);
    }
}
