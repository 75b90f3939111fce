use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use netbearer_lab::AccessPoint;

use crate::error::BenchError;

/// A listener that has nothing to hear is blocked by then.
const LISTENER_BLOCKS: Duration = Duration::from_millis(1);

/// Lets `listen` wait, as listeners do when a cable is cut, and cuts it from another thread; restores it after
/// `for_a_moment`, if that is given. When it was cut, and what `listen` returned.
pub(crate) fn cut_under<T>(
    access_point: &AccessPoint,
    for_a_moment: Option<Duration>,
    listen: impl FnOnce() -> T,
) -> Result<(Instant, T), BenchError> {
    let (heard_of_it, is_heard_of) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let cutter = scope.spawn(move || {
            thread::sleep(LISTENER_BLOCKS);
            let start = Instant::now();
            access_point.cut()?;
            if let Some(moment) = for_a_moment {
                thread::sleep(moment.saturating_sub(start.elapsed()));
                access_point.restore()?;
            }
            // The end of a thread is work for the kernel, on a processor that the listener may need.
            let _ = is_heard_of.recv();
            Ok(start)
        });
        let heard = listen();
        drop(heard_of_it);
        let start: Result<Instant, BenchError> = cutter.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((start?, heard))
    })
}
