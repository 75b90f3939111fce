//! What the tests of this crate need: network namespaces of their own, and `ip` as an independent witness.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

use std::{
    future::Future,
    io::Write,
    process::{Command, Stdio},
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use netbearer_kernel::{BootClock, Changes, Watcher};
use netbearer_lab::{AccessPointPlan, Lab};
use serde_json::Value;

/// Runs `body` in a new network namespace with loopback up, on a current-thread runtime. The namespace goes with the
/// thread, however the test ends.
pub fn in_namespace<F: Future<Output = ()>>(body: impl FnOnce() -> F + Send) {
    on_a_thread(enter_new_namespace, |()| body());
}

/// Runs `body` on the machine of a lab with the access point `ap0`, whose index is 500 and which is down.
pub fn in_lab<F: Future<Output = ()>>(body: impl FnOnce(Arc<Lab>) -> F + Send) {
    let enter = || {
        let lab = Lab::builder().access_point(AccessPointPlan::new("ap0").index(AP0)).build().expect("a lab");
        lab.machine().enter().expect("the machine of the lab");
        Arc::new(lab)
    };
    on_a_thread(enter, body);
}

fn on_a_thread<T, F: Future<Output = ()>>(enter: impl FnOnce() -> T + Send, body: impl FnOnce(T) -> F + Send) {
    thread::scope(|scope| {
        let outcome = scope
            .spawn(|| {
                let place = enter();
                runtime().block_on(async { tokio::time::timeout(Duration::from_secs(60), body(place)).await })
            })
            .join();
        match outcome {
            Ok(finished) => finished.expect("the test has ended within a minute"),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn enter_new_namespace() {
    assert!(rustix::process::geteuid().is_root(), "these tests must run as root: they make network namespaces");
    #[allow(unsafe_code)]
    // SAFETY: the thread gets a network namespace of its own; no other resource is shared or unshared.
    let result = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) };
    result.expect("a new network namespace");
    ip("link set lo up");
}

/// Another network namespace, living on a thread of its own until dropped.
pub struct Elsewhere {
    jobs: Option<mpsc::Sender<Box<dyn FnOnce() + Send>>>,
    thread: Option<JoinHandle<()>>,
    /// Names the namespace to `ip`: the number of the thread that lives in it.
    pub thread_number: i32,
}

impl Elsewhere {
    pub fn new() -> Self {
        let (jobs, queue) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (ready, started) = mpsc::channel();
        let thread = thread::spawn(move || {
            enter_new_namespace();
            ready.send(rustix::thread::gettid().as_raw_nonzero().get()).expect("the test is waiting");
            queue.into_iter().for_each(|job| job());
        });
        let thread_number = started.recv().expect("the namespace was made");
        Self { jobs: Some(jobs), thread: Some(thread), thread_number }
    }

    /// Runs `job` over there and waits for its result.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        let job = Box::new(move || drop(done.send(job())));
        self.jobs.as_ref().expect("alive").send(job).expect("the thread is alive");
        result.recv().expect("the job has ended well")
    }

    /// Runs `ip` over there.
    pub fn ip(&self, arguments: &str) {
        let arguments = arguments.to_owned();
        self.run(move || ip(&arguments));
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Runs `ip` with these arguments in the namespace of the calling thread.
pub fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().expect("iproute2 is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {errors}");
}

/// Runs `ip` once for all these lines of arguments.
pub fn ip_batch(lines: impl Iterator<Item = String>) {
    let mut child =
        Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().expect("iproute2 is installed");
    let mut input = child.stdin.take().expect("a pipe was asked for");
    lines.for_each(|line| writeln!(input, "{line}").expect("ip reads what it is given"));
    drop(input);
    assert!(child.wait().expect("ip has ended").success());
}

/// What `ip -j` prints for these arguments.
pub fn ip_json(arguments: &str) -> Vec<Value> {
    let output =
        Command::new("ip").arg("-j").args(arguments.split_whitespace()).output().expect("iproute2 is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip -j {arguments}: {errors}");
    if output.stdout.iter().all(u8::is_ascii_whitespace) {
        return Vec::new();
    }
    let entries: Vec<Value> = serde_json::from_slice(&output.stdout).expect("ip prints JSON");
    entries.into_iter().filter(|entry| entry.as_object().is_some_and(|object| !object.is_empty())).collect()
}

/// The two kinds of veth pair: the kernel tells of the carrier of ordinary ones at once, and treats the ones whose ends
/// have the same index as it treats cards.
#[derive(Clone, Copy, Debug)]
pub enum Veth {
    Ordinary,
    CardLike,
}

pub const AP0: u32 = 500;

impl Veth {
    /// Makes `ap0` here, with index 500, and `p0` elsewhere, and sets both up.
    pub fn make(self, elsewhere: &Elsewhere) {
        let peer_index = match self {
            Self::Ordinary => AP0 + 1,
            Self::CardLike => AP0,
        };
        let there = elsewhere.thread_number;
        ip(&format!("link add ap0 index {AP0} type veth peer name p0 netns {there} index {peer_index}"));
        ip("link set ap0 up");
        elsewhere.ip("link set p0 up");
    }
}

/// Waits until the watcher's cache fulfils `condition`; all that changed meanwhile.
pub async fn wait_until(watcher: &mut Watcher, mut condition: impl FnMut(&Watcher) -> bool) -> Changes {
    let mut all = Changes::default();
    while !condition(watcher) {
        let changed = tokio::time::timeout(Duration::from_secs(10), watcher.changed()).await;
        let changes = changed.unwrap_or_else(|_| panic!("nothing more happened: {:#?}", watcher.cache()));
        all += changes.expect("the watcher goes on");
    }
    all
}

pub async fn watcher() -> (BootClock, Watcher) {
    let clock = BootClock::start().expect("a clock");
    let watcher = Watcher::open(clock.clone()).await.expect("a watcher");
    (clock, watcher)
}
