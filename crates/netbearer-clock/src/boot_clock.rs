use std::{
    collections::BTreeMap,
    future::Future,
    io,
    os::fd::OwnedFd,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use netbearer_engine::Clock;
use netbearer_types::Moment;
use netbearer_watch::register;
use rustix::{
    io::Errno,
    time::{
        ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
        timerfd_settime,
    },
};
use tokio::{io::unix::AsyncFd, sync::watch, task::AbortHandle};

use crate::suspend_meter::{Reading, SuspendMeter};

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// The time now by `CLOCK_BOOTTIME` (`clock_gettime(2)`): suspend included, needs no runtime.
#[must_use]
pub fn boot_time() -> Moment {
    moment(clock_gettime(ClockId::Boottime))
}

/// The real clock: `CLOCK_BOOTTIME`, with one timer descriptor (`timerfd_create(2)`) for all sleepers.
///
/// The timer is armed for the earliest sleeper only, and disarmed when nobody sleeps, so an idle clock wakes nothing.
/// Cheap to clone; the clones share the timer. The last clone to go ends the task behind it, and sleepers that are left
/// then sleep for ever.
///
/// A second timer is set to the end of time, on `CLOCK_REALTIME`, for what the kernel does with such a one when that clock
/// jumps (`TFD_TIMER_CANCEL_ON_SET`): it wakes its reader. A suspend makes it jump, as does setting it; the distance between
/// `CLOCK_BOOTTIME` and `CLOCK_MONOTONIC` tells which.
#[derive(Clone, Debug)]
pub struct BootClock {
    timer: Arc<Timer>,
    resumptions: watch::Receiver<Duration>,
    _driver: Arc<Driver>,
}

/// Ends of suspends, as one listener hears them.
#[derive(Clone, Debug)]
pub struct Resumptions {
    suspended: watch::Receiver<Duration>,
    heard: Duration,
}

/// Lets the time of a clock jump ahead, as a suspend does. For tests: the machine's clock stays as it is.
///
/// What reads the machine's clock for itself, as [`boot_time`] and the kernel do, does not jump.
#[derive(Clone, Debug)]
pub struct InjectedSuspends {
    timer: Weak<Timer>,
}

#[derive(Debug)]
struct Timer {
    descriptor: AsyncFd<OwnedFd>,
    jumps: AsyncFd<OwnedFd>,
    state: Mutex<State>,
    /// How long the machine has been suspended since the start, all in all.
    suspended: watch::Sender<Duration>,
}

#[derive(Debug)]
struct State {
    wakers: BTreeMap<(Moment, u64), Waker>,
    next_number: u64,
    armed_for: Option<Moment>,
    expirations: u64,
    meter: SuspendMeter,
    /// How far ahead of the machine's clock this one is.
    injected: Duration,
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
    /// Creates the timers and spawns the task that waits for them.
    ///
    /// # Errors
    /// When no timer can be created: too many open files.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O enabled.
    pub fn start() -> io::Result<Self> {
        let (suspended, resumptions) = watch::channel(Duration::ZERO);
        let timer = Arc::new(Timer {
            descriptor: timer(TimerfdClockId::Boottime)?,
            jumps: timer(TimerfdClockId::Realtime)?,
            state: Mutex::new(State {
                wakers: BTreeMap::new(),
                next_number: 0,
                armed_for: None,
                expirations: 0,
                meter: SuspendMeter::new(reading()),
                injected: Duration::ZERO,
            }),
            suspended,
        });
        timer.listen_for_jumps();
        let task = tokio::spawn(drive(Arc::clone(&timer)));
        Ok(Self { timer, resumptions, _driver: Arc::new(Driver(task.abort_handle())) })
    }

    /// As [`BootClock::start`], with the means to let the time jump.
    ///
    /// # Errors
    /// As [`BootClock::start`].
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O enabled.
    pub fn start_with_injected_suspends() -> io::Result<(Self, InjectedSuspends)> {
        let clock = Self::start()?;
        let suspends = clock.injected_suspends();
        Ok((clock, suspends))
    }

    /// The means to let the time jump.
    #[must_use]
    pub fn injected_suspends(&self) -> InjectedSuspends {
        InjectedSuspends { timer: Arc::downgrade(&self.timer) }
    }

    /// The suspends that end from now on.
    #[must_use]
    pub fn resumptions(&self) -> Resumptions {
        let heard = *self.resumptions.borrow();
        Resumptions { suspended: self.resumptions.clone(), heard }
    }

    /// How often the timer has fired since the start: the wake-ups this clock has cost.
    #[must_use]
    pub fn expirations(&self) -> u64 {
        self.timer.lock().expirations
    }
}

impl Resumptions {
    /// Waits until the machine goes on after a suspend, and tells how long that was; several that ended since the last call
    /// count as one. Dropping the future loses nothing. For ever once the clock is gone.
    pub async fn resumed(&mut self) -> Duration {
        let heard = self.heard;
        let total = self.suspended.wait_for(|total| *total > heard).await.map(|total| *total);
        let Ok(total) = total else {
            // The clock is gone.
            return std::future::pending().await;
        };
        self.heard = total;
        total - heard
    }
}

impl InjectedSuspends {
    /// Lets the time jump ahead: who sleeps until a moment within the jump wakes, and the suspend is told as a real one is.
    /// In vain once the clock is gone.
    pub fn suspend(&self, duration: Duration) {
        if let Some(timer) = self.timer.upgrade() {
            timer.lock().injected += duration;
            timer.wake_due();
            timer.tell_suspend(duration);
        }
    }
}

impl Clock for BootClock {
    fn now(&self) -> Moment {
        self.timer.lock().now()
    }

    fn sleep_until(&self, deadline: Moment) -> impl Future<Output = ()> + Send {
        Sleep { timer: Arc::clone(&self.timer), deadline, number: None }
    }
}

async fn drive(timer: Arc<Timer>) {
    loop {
        let outcome = tokio::select! {
            expired = read(&timer.descriptor) => expired.map(|()| timer.expired()),
            jumped = read(&timer.jumps) => jumped.map(|()| timer.jumped()),
        };
        if let Err(error) = outcome {
            return tracing::error!(%error, "the timers can no longer be waited for");
        }
    }
}

/// Waits until the timer has fired or was cancelled.
async fn read(timer: &AsyncFd<OwnedFd>) -> io::Result<()> {
    loop {
        let mut guard = timer.readable().await?;
        match guard.try_io(|timer| Ok(rustix::io::read(timer, &mut [0; 8])?)) {
            Ok(Err(error)) if error.raw_os_error() != Some(Errno::CANCELED.raw_os_error()) => return Err(error),
            Ok(_fired) => return Ok(()),
            Err(_would_block) => {}
        }
    }
}

impl Timer {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expired(&self) {
        let mut state = self.lock();
        state.armed_for = None;
        state.expirations += 1;
        drop(state);
        self.wake_due();
    }

    /// The wall clock was set, or the machine was suspended.
    fn jumped(&self) {
        self.listen_for_jumps();
        let suspended = self.lock().meter.suspended(reading());
        tracing::debug!(?suspended, "the wall clock jumped");
        if let Some(duration) = suspended {
            self.tell_suspend(duration);
        }
    }

    fn tell_suspend(&self, duration: Duration) {
        self.suspended.send_modify(|total| *total += duration);
    }

    /// The kernel wakes the reader once for each setting.
    fn listen_for_jumps(&self) {
        let end_of_time = Timespec { tv_sec: i64::MAX, tv_nsec: 0 };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        match set(&self.jumps, flags, end_of_time) {
            // The clock has jumped once more, and the timer is set all the same (NOTES of `timerfd_create(2)`). What that
            // was is read right after this.
            Ok(()) | Err(Errno::CANCELED) => {}
            Err(error) => tracing::error!(%error, "suspends will not be noticed"),
        }
    }

    fn wake_due(&self) {
        let due = {
            let mut state = self.lock();
            let later = state.now() + Duration::from_nanos(1);
            let later = state.wakers.split_off(&(later, 0));
            let due = std::mem::replace(&mut state.wakers, later);
            self.arm(&mut state);
            due
        };
        due.into_values().for_each(Waker::wake);
    }

    /// Sets the timer to the earliest sleeper, or stops it.
    fn arm(&self, state: &mut State) {
        let earliest = state.wakers.first_key_value().map(|((deadline, _), _)| state.by_machine(*deadline));
        if earliest == state.armed_for {
            return;
        }
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        if let Err(error) = set(&self.descriptor, TimerfdTimerFlags::ABSTIME, earliest.map_or(never, timespec)) {
            tracing::error!(%error, "the timer cannot be set");
        }
        state.armed_for = earliest;
    }
}

impl State {
    fn now(&self) -> Moment {
        boot_time() + self.injected
    }

    /// When the machine's clock shows it. Not zero, which would stop the timer.
    fn by_machine(&self, moment: Moment) -> Moment {
        Moment::ZERO + (moment.since_boot().saturating_sub(self.injected)).max(Duration::from_nanos(1))
    }
}

fn timer(clock: TimerfdClockId) -> io::Result<AsyncFd<OwnedFd>> {
    register(timerfd_create(clock, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?)
}

fn set(timer: &AsyncFd<OwnedFd>, flags: TimerfdTimerFlags, end: Timespec) -> Result<(), Errno> {
    let setting = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: end };
    timerfd_settime(timer.get_ref(), flags, &setting).map(|_| ())
}

fn reading() -> Reading {
    let running_before = moment(clock_gettime(ClockId::Monotonic));
    let boot = boot_time();
    Reading { running_before, boot, running_after: moment(clock_gettime(ClockId::Monotonic)) }
}

fn moment(time: Timespec) -> Moment {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or_default();
    Moment::from_nanoseconds(seconds.saturating_mul(NANOSECONDS_PER_SECOND).saturating_add(nanoseconds))
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
        let timer = Arc::clone(&self.timer);
        let mut state = timer.lock();
        if state.now() >= self.deadline {
            return Poll::Ready(());
        }
        let number = *self.number.get_or_insert_with(|| {
            state.next_number += 1;
            state.next_number
        });
        state.wakers.insert((self.deadline, number), context.waker().clone());
        timer.arm(&mut state);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let mut state = self.timer.lock();
            if state.wakers.remove(&(self.deadline, number)).is_some() {
                self.timer.arm(&mut state);
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

    /// Setting the wall clock is nothing that this clock could notice: they are decades apart.
    #[test]
    fn the_time_is_that_of_the_boot_clock() {
        run(async {
            let clock = BootClock::start().expect("a clock");
            let (before, now) = (moment(clock_gettime(ClockId::Boottime)), clock.now());
            assert!(before <= now && now <= moment(clock_gettime(ClockId::Boottime)));
            assert!(now < moment(clock_gettime(ClockId::Realtime)));
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
    fn a_suspend_wakes_whose_deadline_it_passed_and_is_told_to_everybody_once() {
        run(async {
            let (clock, suspends) = BootClock::start_with_injected_suspends().expect("a clock");
            let start = clock.now();
            let (mut one, mut other) = (clock.resumptions(), clock.resumptions());
            let mut within = std::pin::pin!(clock.sleep_until(start + Duration::from_secs(3_600)));
            let mut beyond = std::pin::pin!(clock.sleep_until(start + Duration::from_secs(9_000)));
            assert!(poll_immediate(&mut within).await.is_none());
            assert!(poll_immediate(&mut beyond).await.is_none());
            assert!(poll_immediate(one.resumed()).await.is_none(), "nothing has happened yet");

            suspends.suspend(Duration::from_secs(7_200));
            within.await;
            assert!(poll_immediate(&mut beyond).await.is_none());
            assert_eq!(clock.clone().now().saturating_since(start).as_secs(), 7_200);
            assert_eq!(one.resumed().await, Duration::from_secs(7_200));
            assert!(poll_immediate(one.resumed()).await.is_none(), "told once");
            suspends.suspend(Duration::from_secs(60));
            assert_eq!(one.resumed().await, Duration::from_secs(60));
            assert_eq!(other.resumed().await, Duration::from_secs(7_260), "both together");
            assert!(poll_immediate(clock.resumptions().resumed()).await.is_none(), "those that end from now on");
            assert_eq!(clock.expirations(), 0, "nothing but the suspends woke anybody");
        });
    }

    #[test]
    fn after_a_suspend_sleepers_wake_in_real_time() {
        run(async {
            let (clock, suspends) = BootClock::start_with_injected_suspends().expect("a clock");
            suspends.suspend(Duration::from_secs(7_200));
            let start = std::time::Instant::now();
            clock.sleep_until(clock.now() + Duration::from_millis(20)).await;
            assert!(start.elapsed() >= Duration::from_millis(20), "{:?}", start.elapsed());
            assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
        });
    }

    #[test]
    fn the_kernel_is_asked_to_wake_the_clock_when_the_wall_clock_jumps() {
        run(async {
            let clock = BootClock::start().expect("a clock");
            let number = std::os::fd::AsRawFd::as_raw_fd(clock.timer.jumps.get_ref());
            let told = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).expect("/proc is mounted");
            let value =
                |key: &str| told.lines().find_map(|line| line.strip_prefix(key)).expect("a timer").trim().to_owned();
            // CLOCK_REALTIME; TFD_TIMER_ABSTIME and TFD_TIMER_CANCEL_ON_SET, in octal.
            assert_eq!((value("clockid:"), value("settime flags:")), ("0".to_owned(), "03".to_owned()), "{told}");
            assert_eq!(value("ticks:"), "0", "nothing to wake for");
        });
    }

    #[test]
    fn a_wall_clock_that_was_set_is_no_suspend() {
        run(async {
            let clock = BootClock::start().expect("a clock");
            let mut resumptions = clock.resumptions();
            // What the driver does when the kernel cancels the timer.
            clock.timer.jumped();
            assert!(poll_immediate(resumptions.resumed()).await.is_none());
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
