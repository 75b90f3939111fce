use std::future::Future;

use netbearer_types::Moment;

/// The clock of leases and timers: `CLOCK_BOOTTIME` in reality, steps injected by a test in simulation.
///
/// Not `tokio::time`, which stands still during suspend: leases would outlive themselves.
pub trait Clock: Clone + Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Moment;

    /// Returns once `deadline` has passed; at once if it already has. Dropping the future cancels the wait.
    fn sleep_until(&self, deadline: Moment) -> impl Future<Output = ()> + Send;
}
