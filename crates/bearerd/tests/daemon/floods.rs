//! Who floods, sends garbage or does not read disturbs nobody.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use netbearer_dbus::{MANAGER_INTERFACE, MANAGER_PATH, SessionProperties};
use zbus::Message;

use crate::{
    client::{Client, shortly},
    raw,
    stage::{AP0, DEADLINE, Running, Stage},
};

/// Numbers that look random, and are the same each time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        // Marsaglia, "Xorshift RNGs".
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn octets(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[3]).collect()
    }
}

/// Kilobytes that a process has in memory.
fn resident(daemon: &Running) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Connections that the daemon has, by the kernel's list of sockets and by its handles of processes.
fn connections(stage: &Stage, daemon: &Running) -> (usize, usize) {
    // A connection belongs to the network namespace of who has made it, which is ours.
    let sockets = std::fs::read_to_string("/proc/self/net/unix").unwrap();
    // They are known by the name that the listening one was bound to.
    let name = stage.runtime().join("bus.new");
    let sockets = sockets.lines().filter(|line| line.ends_with(name.to_str().unwrap())).count();
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", daemon.id())).unwrap();
    let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    (sockets, targets.filter(|target| target.to_string_lossy().contains("pidfd")).count())
}

/// Waits until it has no more of them than before. What ends a connection is done a little after its end is seen, so the
/// daemon is asked something meanwhile.
fn wait_until_let_go(stage: &Stage, daemon: &Running, before: (usize, usize), other: &mut Client) {
    let deadline = Instant::now() + DEADLINE;
    while connections(stage, daemon) != before {
        assert!(Instant::now() < deadline, "{:?} instead of {before:?}", connections(stage, daemon));
        other.ping();
    }
}

fn ping() -> Vec<u8> {
    let ping = Message::method_call(MANAGER_PATH, "Ping").interface("org.freedesktop.DBus.Peer").build(&()).unwrap();
    ping.data().bytes().to_vec()
}

#[test]
fn garbage_ends_its_own_connection_only() {
    let stage = Stage::new();
    let daemon = stage.start();
    let mut other = stage.connect();
    other.ping();
    let before = connections(&stage, &daemon);
    assert_eq!(before, (1, 1));
    let mut noise = Noise(0x5eed);
    for round in 0..64 {
        let length = usize::try_from(noise.next() % 4096).unwrap() + 64;
        let octets = noise.octets(length);
        let mut stream =
            if round % 2 == 0 { raw::connect(&stage.socket()) } else { raw::authenticated(&stage.socket()) };
        // It may have been ended before all of it was sent.
        let _ = stream.write_all(&octets);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        raw::wait_for_end(&mut stream);
    }
    // A call that is one, with octets of it changed.
    let call = Message::method_call(MANAGER_PATH, "CreateSession").interface("org.netbearer.Manager1");
    let call = call.build(&AP0).unwrap().data().bytes().to_vec();
    for _ in 0..256 {
        let mut changed = call.clone();
        let at = usize::try_from(noise.next()).unwrap() % changed.len();
        changed[at] ^= noise.octets(1)[0] | 1;
        let mut stream = raw::authenticated(&stage.socket());
        let _ = stream.write_all(&changed);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        raw::wait_for_end(&mut stream);
    }
    wait_until_let_go(&stage, &daemon, before, &mut other);
    assert!(other.sessions().is_empty(), "what they made went with them");
    daemon.end();
}

#[test]
fn memory_is_not_taken_for_what_is_only_announced() {
    let stage = Stage::new();
    let daemon = stage.start();
    let mut other = stage.connect();
    other.ping();
    let before = resident(&daemon);
    let streams: Vec<UnixStream> = (0..32)
        .map(|_| {
            let mut stream = raw::authenticated(&stage.socket());
            // A method call of little endian, with a body of 100 MiB and no fields.
            let mut header = vec![b'l', 1, 0, 1];
            header.extend_from_slice(&(100_u32 << 20).to_le_bytes());
            header.extend_from_slice(&1_u32.to_le_bytes());
            header.extend_from_slice(&0_u32.to_le_bytes());
            stream.write_all(&header).unwrap();
            raw::wait_for_end(&mut stream);
            stream
        })
        .collect();
    other.ping();
    let grown = resident(&daemon).saturating_sub(before);
    assert!(grown < 4096, "{grown} kB more");
    drop(streams);
    daemon.end();
}

#[test]
fn who_does_not_say_who_it_is_is_cut_off() {
    let stage = Stage::new();
    let daemon = stage.start();
    let mut silent = raw::connect(&stage.socket());
    let mut slow = raw::connect(&stage.socket());
    slow.write_all(b"\0AUTH EXTERNAL\r\n").unwrap();
    raw::wait_for_end(&mut silent);
    raw::wait_for_end(&mut slow);
    daemon.end();
}

#[test]
fn a_flood_of_calls_that_nobody_reads_the_answers_of_waits_and_then_is_answered_in_order() {
    let stage = Stage::new();
    let daemon = stage.start();
    let mut other = stage.connect();
    let mut flood = raw::authenticated(&stage.socket());
    flood.set_nonblocking(true).unwrap();
    let before = resident(&daemon);
    let (mut sent, one) = (0_usize, ping());
    // Until neither we nor the daemon gets on; what is in between waits in the socket.
    let mut refusals = 0;
    while refusals < 100 {
        match flood.write(&one) {
            Ok(length) if length == one.len() => (sent, refusals) = (sent + 1, 0),
            Ok(length) => panic!("{length} octets of a call were sent, which a stream of whole calls does not do"),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                refusals += 1;
                other.ping();
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(sent > 100, "{sent}");
    assert!(resident(&daemon).saturating_sub(before) < 4096);
    flood.set_nonblocking(false).unwrap();
    // An answer without a body: its serial number, and the header's fields, of which one is the serial number of the call.
    let mut answers = 0;
    while answers < sent {
        let mut header = [0; 16];
        flood.read_exact(&mut header).unwrap();
        let fields = u32::from_le_bytes(header[12..16].try_into().unwrap());
        assert_eq!(header[1], 2, "it is a method's return");
        let mut rest = vec![0; usize::try_from(fields.next_multiple_of(8)).unwrap()];
        flood.read_exact(&mut rest).unwrap();
        answers += 1;
    }
    daemon.end();
}

#[test]
fn long_answers_that_nobody_reads_are_made_one_by_one() {
    const SESSIONS: usize = 1000;
    let stage = Stage::new();
    let daemon = stage.start();
    let mut other = stage.connect();
    let name = "x".repeat(255);
    for _ in 0..SESSIONS {
        other.create(&name);
    }
    // In kilobytes, and at least.
    let length = u64::try_from(SESSIONS * name.len() / 1024).unwrap();
    // What one answer takes is taken before it is looked how much more there is.
    other.sessions();
    let before = resident(&daemon);
    let mut flood = raw::authenticated(&stage.socket());
    let call = Message::method_call(MANAGER_PATH, "DescribeSessions").interface("org.netbearer.Manager1");
    let call = call.build(&()).unwrap().data().bytes().to_vec();
    for _ in 0..16 {
        flood.write_all(&call).unwrap();
    }
    for _ in 0..100 {
        other.ping();
    }
    let grown = resident(&daemon).saturating_sub(before);
    assert!(grown < 8 * length, "{grown} kB more, by answers of more than {length} kB each");
    drop(flood);
    daemon.end();
}

#[test]
fn a_flood_that_ends_unread_leaves_nothing_in_the_daemon() {
    let stage = Stage::new();
    let daemon = stage.start();
    let mut other = stage.connect();
    other.ping();
    let before = connections(&stage, &daemon);
    assert_eq!(before, (1, 1));
    for _ in 0..8 {
        let mut flood = raw::authenticated(&stage.socket());
        flood.set_nonblocking(true).unwrap();
        while flood.write(&ping()).is_ok() {}
        other.ping();
    }
    wait_until_let_go(&stage, &daemon, before, &mut other);
    daemon.end();
}

/// Has a flood end, however its test does.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Opens a session, closes it, and waits until its link is down again. Returns how long the opening took.
fn open_once(client: &mut Client, session: &str) -> Duration {
    let start = Instant::now();
    let hold = client.open_and_wait(session);
    let taken = start.elapsed();
    drop(hold);
    client.wait_for_state(session, 5);
    taken
}

#[test]
fn who_asks_for_a_look_at_everything_without_end_holds_nobody_up() {
    const OPENINGS: usize = 5;
    // Enough to read that a look takes a while.
    const ROUTES: &str = "for i in $(seq 0 19); do for j in $(seq 0 249); do echo route add blackhole 198.18.$i.$j; done; \
                          done | ip -batch -";
    let stage = Stage::new();
    stage.lab.machine().command("sh").args(["-c", ROUTES]).output().unwrap();
    let daemon = stage.start();
    let mut client = stage.connect();
    let (session, _) = client.create(AP0);
    let usual = (0..OPENINGS).map(|_| open_once(&mut client, &session)).max().unwrap();

    let mut flood = raw::authenticated(&stage.socket());
    let mut told = flood.try_clone().unwrap();
    let update = Message::method_call(MANAGER_PATH, "UpdateConfigurations").interface("org.netbearer.Manager1");
    let update = update.build(&()).unwrap().data().bytes().to_vec();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                flood.write_all(&update).unwrap();
            }
            flood.shutdown(std::net::Shutdown::Write).unwrap();
        });
        scope.spawn(|| raw::wait_for_end(&mut told));
        let ending = Ending(&is_over);
        let flooded = (0..OPENINGS).map(|_| open_once(&mut client, &session)).min().unwrap();
        drop(ending);
        assert!(flooded < usual * 10, "{flooded:?} instead of {usual:?}");
    });
    daemon.end();
}

#[test]
fn each_look_that_was_asked_for_and_not_refused_is_completed_once() {
    const ASKED: usize = 500;
    let stage = Stage::new();
    let daemon = stage.start();
    let mut client = stage.connect();
    let asked: Vec<_> =
        (0..ASKED).map(|_| client.send(MANAGER_PATH, MANAGER_INTERFACE, "UpdateConfigurations", &())).collect();
    let mut taken = 0;
    for serial in asked {
        match client.answer(serial) {
            Ok(_) => taken += 1,
            Err(refused) => assert_eq!(refused.short(), "LimitsExceeded", "{refused:?}"),
        }
    }
    assert!(taken >= 16, "{taken}");
    for _ in 0..taken {
        client.wait_for(MANAGER_PATH, "UpdateCompleted");
    }
    client.ping();
    assert!(!shortly(&client.take_signals()).iter().any(|name| name == "UpdateCompleted"));
    daemon.end();
}

#[test]
fn who_reads_late_is_told_the_current_state_and_that_something_was_left_out() {
    const SESSIONS: usize = 100;
    let stage = Stage::new();
    let daemon = stage.start();
    let mut slow = stage.connect();
    let sessions: Vec<String> = (0..SESSIONS).map(|_| slow.create(AP0).0).collect();
    let mut busy = stage.connect();
    let (session, _) = busy.create(AP0);
    // Nobody reads from here on: the runtime of that client only runs while it waits for something.
    for _ in 0..20 {
        let hold = busy.open_and_wait(&session);
        drop(hold);
        busy.wait_for_state(&session, 5);
    }
    let hold = busy.open_and_wait(&session);
    for session in &sessions {
        let properties = slow.properties(session).unwrap();
        assert_eq!(properties.state, Some(3));
    }
    let told = slow.take_signals();
    let lagged = shortly(&told).iter().filter(|name| *name == "Lagged").count();
    assert!(lagged >= 1, "{} signals", told.len());
    assert!(told.len() < SESSIONS * 20 * 8, "some were left out: {}", told.len());
    // What was told last of each session is how it is.
    for session in &sessions {
        let mut state = None;
        for signal in &told {
            let header = signal.header();
            if header.path().is_some_and(|path| path.as_str() == session)
                && header.member().is_some_and(|member| member.as_str() == "PropertiesChanged")
            {
                let body = signal.body();
                let (_, changes, _): (String, SessionProperties, Vec<String>) = body.deserialize().unwrap();
                state = changes.state.or(state);
            }
        }
        assert_eq!(state, Some(3), "{session}");
    }
    drop(hold);
    daemon.end();
}

#[test]
fn who_takes_nothing_for_too_long_is_cut_off_and_its_hold_stays() {
    let stage = Stage::new();
    let daemon = stage.start_with(["--no-bus", "--patience", "300"]);
    let mut holder = stage.connect();
    let (held, token) = holder.create(AP0);
    let hold = holder.open_and_wait(&held);
    let mut other = stage.connect();

    // From here on it only writes, which is as good as being stopped.
    let mut flood = holder.into_stream();
    let one = ping();
    let ended = loop {
        if let Err(error) = flood.write(&one) {
            break error;
        }
    };
    assert!(matches!(ended.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset), "{ended}");
    let sessions = other.sessions();
    assert_eq!((&sessions[0]["owned"], &sessions[0]["is_open"]), (&false.into(), &true.into()), "{sessions:?}");

    // It may come back, and everything is as it was.
    let (path, ..): crate::client::Attached = other.manage("AttachSession", &token).unwrap();
    assert_eq!(path.as_str(), held);
    assert_eq!(other.properties(&held).unwrap().is_open, Some(true));
    drop(hold);
    other.wait_for(&held, "Closed");
    stage.wait_until_untouched();
    daemon.end();
}
