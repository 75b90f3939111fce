use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use netbearer_lab::AccessPoint;

use crate::error::BenchError;

/// Cables are cut on machines at rest: by then listeners wait, and what the opening before has left to be done is done. An
/// earlier cut would be told behind that, and measure it, too.
const REST: Duration = Duration::from_millis(1);

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
            thread::sleep(REST);
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
