use std::{
    collections::BTreeMap,
    future::Future,
    io,
    os::fd::OwnedFd,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use netbearer_engine::Clock;
use netbearer_types::Moment;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};
use tokio::{io::unix::AsyncFd, task::AbortHandle};

use crate::registration::register;

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// The time now by `CLOCK_BOOTTIME` (`clock_gettime(2)`): suspend included, needs no runtime.
#[must_use]
pub fn boot_time() -> Moment {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or_default();
    Moment::from_nanoseconds(seconds.saturating_mul(NANOSECONDS_PER_SECOND).saturating_add(nanoseconds))
}

/// The real clock: `CLOCK_BOOTTIME`, with one timer descriptor (`timerfd_create(2)`) for all sleepers.
///
/// The timer is armed for the earliest sleeper only, and disarmed when nobody sleeps, so an idle clock wakes nothing.
/// Cheap to clone; the clones share the timer. The last clone to go ends the task behind it, and sleepers that are left
/// then sleep for ever.
#[derive(Clone, Debug)]
pub struct BootClock {
    timer: Arc<Timer>,
    _driver: Arc<Driver>,
}

#[derive(Debug)]
struct Timer {
    descriptor: AsyncFd<OwnedFd>,
    sleepers: Mutex<Sleepers>,
}

#[derive(Debug, Default)]
struct Sleepers {
    wakers: BTreeMap<(Moment, u64), Waker>,
    next_number: u64,
    armed_for: Option<Moment>,
    expirations: u64,
}

/// Ends the driver task with the last clone of the clock.
#[derive(Debug)]
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl BootClock {
    /// Creates the timer and spawns the task that waits for it.
    ///
    /// # Errors
    /// When no timer can be created: too many open files.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O enabled.
    pub fn start() -> io::Result<Self> {
        let descriptor = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let timer = Arc::new(Timer { descriptor: register(descriptor)?, sleepers: Mutex::default() });
        let task = tokio::spawn(drive(Arc::clone(&timer)));
        Ok(Self { timer, _driver: Arc::new(Driver(task.abort_handle())) })
    }

    /// How often the timer has fired since the start: the wake-ups this clock has cost.
    #[must_use]
    pub fn expirations(&self) -> u64 {
        self.timer.lock().expirations
    }
}

impl Clock for BootClock {
    fn now(&self) -> Moment {
        boot_time()
    }

    fn sleep_until(&self, deadline: Moment) -> impl Future<Output = ()> + Send {
        Sleep { timer: Arc::clone(&self.timer), deadline, number: None }
    }
}

async fn drive(timer: Arc<Timer>) {
    loop {
        let mut guard = match timer.descriptor.readable().await {
            Ok(guard) => guard,
            Err(error) => return tracing::error!(%error, "the timer can no longer be waited for"),
        };
        let expired = guard.try_io(|descriptor| Ok(rustix::io::read(descriptor, &mut [0; 8])?));
        drop(guard);
        if matches!(expired, Ok(Ok(_))) {
            timer.wake_due();
        }
    }
}

impl Timer {
    fn lock(&self) -> MutexGuard<'_, Sleepers> {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_due(&self) {
        let due = {
            let mut sleepers = self.lock();
            sleepers.armed_for = None;
            sleepers.expirations += 1;
            let later = sleepers.wakers.split_off(&(boot_time() + Duration::from_nanos(1), 0));
            let due = std::mem::replace(&mut sleepers.wakers, later);
            self.arm(&mut sleepers);
            due
        };
        due.into_values().for_each(Waker::wake);
    }

    /// Sets the timer to the earliest sleeper, or stops it.
    fn arm(&self, sleepers: &mut Sleepers) {
        let earliest = sleepers.wakers.first_key_value().map(|((deadline, _), _)| *deadline);
        if earliest == sleepers.armed_for {
            return;
        }
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let setting = Itimerspec { it_interval: never, it_value: earliest.map_or(never, timespec) };
        if let Err(error) = timerfd_settime(self.descriptor.get_ref(), TimerfdTimerFlags::ABSTIME, &setting) {
            tracing::error!(%error, "the timer cannot be set");
        }
        sleepers.armed_for = earliest;
    }
}

fn timespec(moment: Moment) -> Timespec {
    let nanoseconds = moment.nanoseconds();
    Timespec {
        tv_sec: i64::try_from(nanoseconds / NANOSECONDS_PER_SECOND).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(nanoseconds % NANOSECONDS_PER_SECOND).unwrap_or_default(),
    }
}

struct Sleep {
    timer: Arc<Timer>,
    deadline: Moment,
    /// Tells sleepers with the same deadline apart; set while waiting.
    number: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if boot_time() >= self.deadline {
            return Poll::Ready(());
        }
        let timer = Arc::clone(&self.timer);
        let mut sleepers = timer.lock();
        let number = *self.number.get_or_insert_with(|| {
            sleepers.next_number += 1;
            sleepers.next_number
        });
        sleepers.wakers.insert((self.deadline, number), context.waker().clone());
        timer.arm(&mut sleepers);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let mut sleepers = self.timer.lock();
            if sleepers.wakers.remove(&(self.deadline, number)).is_some() {
                self.timer.arm(&mut sleepers);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::poll_immediate;

    use super::*;

    fn run(body: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime").block_on(body);
    }

    #[test]
    fn sleepers_wake_in_the_order_of_their_deadlines() {
        run(async {
            let clock = BootClock::start().expect("a clock");
            let start = clock.now();
            let (woken, mut order) = tokio::sync::mpsc::unbounded_channel();
            // Far enough away that all of them sleep before the first one wakes. Tasks run in the order of waking.
            for milliseconds in [130_u64, 110, 120, 110, 0] {
                let (clock, woken) = (clock.clone(), woken.clone());
                tokio::spawn(async move {
                    let deadline = start + Duration::from_millis(milliseconds);
                    clock.sleep_until(deadline).await;
                    assert!(clock.now() >= deadline, "woken early");
                    woken.send(milliseconds).expect("the test is waiting");
                });
            }
            for expected in [0, 110, 110, 120, 130] {
                assert_eq!(order.recv().await, Some(expected));
            }
        });
    }

    #[test]
    fn cancelled_sleepers_and_an_idle_clock_cause_no_wake_ups() {
        run(async {
            let clock = BootClock::start().expect("a clock");
            let start = clock.now();
            let mut cancelled: Vec<_> =
                (1..10).map(|step| Box::pin(clock.sleep_until(start + Duration::from_millis(step)))).collect();
            for sleep in &mut cancelled {
                assert!(poll_immediate(sleep).await.is_none(), "nothing is due yet");
            }
            drop(cancelled);
            assert_eq!(clock.timer.lock().armed_for, None, "nobody sleeps, so nothing is armed");
            clock.sleep_until(start + Duration::from_millis(30)).await;
            assert_eq!(clock.expirations(), 1, "only the one sleeper that stayed");
            assert_eq!(clock.timer.lock().armed_for, None);
        });
    }

    #[test]
    fn a_new_earlier_sleeper_is_not_held_up_by_a_later_one() {
        run(async {
            let clock = BootClock::start().expect("a clock");
            let start = clock.now();
            let later = clock.sleep_until(start + Duration::from_secs(3600));
            let earlier = clock.sleep_until(start + Duration::from_millis(5));
            let mut later = std::pin::pin!(later);
            assert!(poll_immediate(&mut later).await.is_none());
            earlier.await;
            assert!(clock.now().saturating_since(start) < Duration::from_secs(60));
        });
    }

    #[test]
    fn the_task_behind_the_clock_ends_with_its_last_clone() {
        run(async {
            let clock = BootClock::start().expect("a clock");
            let timer = Arc::downgrade(&clock.timer);
            drop(clock.clone());
            assert!(timer.upgrade().is_some());
            drop(clock);
            while timer.strong_count() > 0 {
                tokio::task::yield_now().await;
            }
        });
    }
}
