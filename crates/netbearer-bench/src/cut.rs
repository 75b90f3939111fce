use std::{
    fs::File,
    os::unix::fs::FileExt,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use netbearer_lab::AccessPoint;

use crate::{error::BenchError, our_machine::DEADLINE};

/// More than the beginning of `/proc/PID/stat` takes: a process number, the name of a thread and its state, in octets.
const LONGEST_BEGINNING: usize = 64;

/// Lets `listen` wait, as listeners do when a cable is cut, and cuts it from another thread; restores it after
/// `for_a_moment`, if that is given. When it was cut, and what `listen` returned.
pub(crate) fn cut_under<T>(
    access_point: &AccessPoint,
    for_a_moment: Option<Duration>,
    listen: impl FnOnce() -> T,
) -> Result<(Instant, T), BenchError> {
    let (heard_of_it, is_heard_of) = mpsc::channel::<()>();
    let listener = File::open("/proc/thread-self/stat")?;
    thread::scope(|scope| {
        let cutter = scope.spawn(move || {
            wait_until_asleep(&listener)?;
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

/// Returns once a thread waits for something, as its `stat` says (`proc_pid_stat(5)`). The kernel tells nobody of that, so it
/// is looked at again and again, for the moment that a thread takes to come to it.
fn wait_until_asleep(stat: &File) -> Result<(), BenchError> {
    let deadline = Instant::now() + DEADLINE;
    let mut beginning = [0; LONGEST_BEGINNING];
    loop {
        let length = stat.read_at(&mut beginning, 0)?;
        if is_asleep(beginning.get(..length).unwrap_or_default()) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(BenchError::NotTold { what: "a listener that waits", within: DEADLINE });
        }
        thread::yield_now();
    }
}

/// The state stands behind the name, which may have anything in it.
fn is_asleep(stat: &[u8]) -> bool {
    stat.rsplit(|octet| *octet == b')').next().is_some_and(|behind| behind.starts_with(b" S"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_asleep_while_it_waits_and_not_while_it_works() {
        assert!(is_asleep(b"17 (a) S (b)) S 1 17") && !is_asleep(b"17 (a) S (b)) R 1 17") && !is_asleep(b""));
        let own = File::open("/proc/thread-self/stat").unwrap();
        let mut stat = [0; LONGEST_BEGINNING];
        let length = own.read_at(&mut stat, 0).unwrap();
        assert!(!is_asleep(&stat[..length]), "it reads");
        let (stopped, stop) = mpsc::channel::<()>();
        let (opened, waiting) = mpsc::channel();
        let thread = thread::spawn(move || {
            opened.send(File::open("/proc/thread-self/stat").unwrap()).unwrap();
            let _ = stop.recv();
        });
        wait_until_asleep(&waiting.recv().unwrap()).unwrap();
        drop(stopped);
        thread.join().unwrap();
    }
}
