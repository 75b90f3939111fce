use std::{
    io::{self, Read},
    net::TcpStream,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use netbearer::{SessionEvent, SessionState};
use netbearer_lab::{AccessPoint, Conversation, Lab, uninterrupted};
use rustix::{process::setpriority_process, thread::gettid};
use socket2::{Domain, Protocol, Socket, Type};

use super::machine::{MEMBERS, RoamMachine, lab_with_two_links, server, wait_for};
use crate::{
    cut::cut_under,
    error::BenchError,
    figure::{Figure, FigureName, Target},
    figures::repeat,
    floor::CarrierListener,
    our_machine::DEADLINE,
    samples::Samples,
};

/// What one loss of the link in use has shown.
struct Failover {
    /// From the kernel's word to a new connection of the session.
    connected: Duration,
    /// From what the session was told to the end of its old connection.
    stale: Duration,
}

/// The link in use is cut in turn, and is back before the next is.
pub(super) fn measure(rounds: u32) -> Result<[Figure; 2], BenchError> {
    let floor_lab = lab_with_two_links()?;
    let floors = thread::scope(|scope| {
        // A thread of its own, as this one is to live on the other machine.
        let floor = scope.spawn(|| {
            floor_lab.machine().enter()?;
            let mut samples = Samples::new();
            let mut member = 0;
            repeat(rounds, |counts| {
                let took = floor_failover(&floor_lab, member)?;
                member = 1 - member;
                if counts {
                    samples.push(took);
                }
                Ok(())
            })?;
            Ok::<_, BenchError>(samples)
        });
        floor.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;

    let machine = RoamMachine::new()?;
    let mut ours = Roamer::new(&machine)?;
    let [mut connected, mut stale] = [const { Samples::new() }; 2];
    repeat(rounds, |counts| {
        let failover = ours.lose_link()?;
        if counts {
            connected.push(failover.connected);
            stale.push(failover.stale);
        }
        Ok(())
    })?;
    let limit = Duration::from_millis(5);
    let figure = |name, ours: Samples, floor| Figure {
        name,
        ours: ours.into(),
        floor,
        known_floor: None,
        target: Some(Target::P99(limit)),
        flaps: None,
    };
    Ok([
        figure(FigureName::RoamNewConnection, connected, Some(floors)),
        figure(FigureName::RoamStaleSocket, stale, None),
    ])
}

/// A session that loses its link again and again, and its reader.
struct Roamer<'a> {
    machine: &'a RoamMachine,
    session: netbearer::blocking::Session,
    events: netbearer::blocking::Events<SessionEvent>,
}

impl<'a> Roamer<'a> {
    fn new(machine: &'a RoamMachine) -> Result<Self, BenchError> {
        let (session, events) = machine.session()?;
        Ok(Self { machine, session, events })
    }

    fn lose_link(&mut self) -> Result<Failover, BenchError> {
        let interface = self.session.interface().map(|interface| interface.name);
        let interface = interface.ok_or(BenchError::NotTold { what: "the link in use", within: DEADLINE })?;
        let access_point = self.machine.lab().access_point(&interface)?;
        let mut old = Conversation::over(self.session.connect_tcp(server())?, DEADLINE)?;
        old.echo(b"before")?;
        while self.events.try_next().is_some() {}
        let mut listener = CarrierListener::open()?;
        let ((heard_sender, heard), stream) = (mpsc::channel(), old.stream().try_clone()?);
        let index = access_point.index();
        let outcome = thread::scope(|scope| {
            scope.spawn(move || {
                // If it had to wait for the processor, what follows would seem to take less.
                let first = setpriority_process(Some(gettid()), -20).map_err(io::Error::from);
                let _ = heard_sender
                    .send(first.and_then(|()| listener.wait_for_carrier(index, false).map(|()| Instant::now())));
            });
            let stale = scope.spawn(move || wait_for_end(stream));
            let (session, events) = (&self.session, &mut self.events);
            let (_, moved) = cut_under(access_point, None, || {
                let told = wait_for(events, "Roaming", |event| {
                    let roaming = SessionEvent::StateChanged { state: SessionState::Roaming };
                    (*event == roaming).then(Instant::now)
                })?;
                wait_for(events, "the new link", |event| {
                    matches!(event, SessionEvent::ActiveConfigurationChanged { .. }).then_some(())
                })?;
                let stream = session.connect_tcp(server())?;
                Ok::<_, BenchError>((told, Instant::now(), stream))
            })?;
            let (told, connected, stream) = moved?;
            let heard = heard.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))??;
            let ended = stale.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            let reached = Conversation::over(stream, DEADLINE)?;
            if reached.access_point() == interface {
                return Err(BenchError::NotTold { what: "another link", within: DEADLINE });
            }
            Ok(Failover {
                connected: connected.saturating_duration_since(heard),
                stale: ended.saturating_duration_since(told),
            })
        })?;
        // Before the kernel says so, it sends nothing by a link that has its carrier back.
        let mut listener = CarrierListener::open()?;
        access_point.restore()?;
        listener.wait_for_carrier(index, true)?;
        Ok(outcome)
    }
}

/// When a connection that nobody speaks on ended with an error.
fn wait_for_end(mut stream: TcpStream) -> Result<Instant, BenchError> {
    match uninterrupted(|| stream.read(&mut [0])) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => Ok(Instant::now()),
        Err(error) => Err(error.into()),
        Ok(_) => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
    }
}

/// The floor: one thread that hears the kernel's word, and connects by the other link.
fn floor_failover(lab: &Lab, member: usize) -> Result<Duration, BenchError> {
    let [lost, next] = [member, 1 - member].map(|member| MEMBERS[member]);
    let access_point: &AccessPoint = lab.access_point(lost)?;
    let mut listener = CarrierListener::open()?;
    let (_, connected) = cut_under(access_point, None, || {
        listener.wait_for_carrier(access_point.index(), false)?;
        let heard = Instant::now();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.bind_device(Some(next.as_bytes()))?;
        socket.connect(&server().into())?;
        Ok::<_, io::Error>(heard.elapsed())
    })?;
    access_point.restore()?;
    listener.wait_for_carrier(access_point.index(), true)?;
    Ok(connected?)
}
