pub(crate) mod judgement;

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    io,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use netbearer_holder::{Order, receive};
use netbearer_lab::{Program, Signal};

use super::{
    NETWORK,
    kernel::Kernel,
    ledger::{Hold, Ledger, Span},
    member::{Member, Outcome, boot_time},
    name_of,
    plan::{MEMBERS, Place, Plan, Seat, Slot, Step},
    site::Site,
    stage::Stage,
};
use crate::{error::SoakError, pulse::Pulse, rounds};

/// For all to come to rest. Tries of a waiting session may be this far apart.
const PATIENCE: Duration = Duration::from_secs(30);

/// One round, as it goes on.
pub(crate) struct Round<'a> {
    stage: &'a Stage,
    plan: &'a Plan,
    members: BTreeMap<Slot, Member>,
    /// Those that were asked to end.
    leaving: Vec<Member>,
    started: usize,
    descriptors: BTreeMap<(usize, usize), Descriptor>,
    passes: Vec<Pass>,
    ledger: Ledger,
    places: Vec<PlaceInUse>,
    site: Site<'a>,
}

/// A descriptor that somebody got as another hold.
#[derive(Debug)]
struct Descriptor {
    hold: Hold,
    file: String,
    /// The process that got it still has it.
    is_kept: bool,
    /// It is known to hold nothing any more.
    is_over: bool,
}

/// A descriptor on its way to another process, and there.
#[derive(Debug)]
struct Pass {
    /// The member's number, and the descriptor's.
    descriptor: (usize, usize),
    listener: Option<UnixListener>,
    file: Option<String>,
    heir: Option<Program>,
}

#[derive(Debug)]
pub(crate) struct PlaceInUse {
    pub(crate) name: String,
    /// What others have there, if it is theirs.
    pub(crate) adopted: Option<Vec<String>>,
    /// It was theirs until somebody may have stopped it.
    pub(crate) was_adopted: bool,
}

impl<'a> Round<'a> {
    pub(crate) fn begin(stage: &'a Stage, plan: &'a Plan) -> Result<Self, SoakError> {
        let site = Site::build(stage)?;
        let places =
            (0..plan.places).map(|place| PlaceInUse { name: name_of(place), adopted: None, was_adopted: false });
        let mut round = Self {
            stage,
            plan,
            members: BTreeMap::new(),
            leaving: Vec::new(),
            started: 0,
            descriptors: BTreeMap::new(),
            passes: Vec::new(),
            ledger: Ledger::default(),
            places: places.collect(),
            site,
        };
        for place in 0..plan.places {
            round.write_profile(place)?;
        }
        round.write_network()?;
        if plan.adopted {
            round.adopt(plan.places - 1)?;
        }
        round.site.start_daemon()?;
        Ok(round)
    }

    fn pulse(&self) -> &'a Pulse {
        &self.stage.pulse
    }

    fn start(&mut self, slot: Slot, as_root: bool, seats: &[Seat]) -> Result<(), SoakError> {
        let number = self.started;
        self.started += 1;
        let member = Member::start(self.stage.holder(as_root, &self.site.way()), number, slot, seats, self.pulse())?;
        self.members.insert(slot, member);
        Ok(())
    }

    fn ask(&mut self, slot: Slot, order: Order) {
        if let Some(member) = self.members.get_mut(&slot) {
            member.ask(order);
        }
    }

    fn signal(&self, slot: Slot, signal: Signal) -> Result<(), SoakError> {
        self.members.get(&slot).map_or(Ok(()), |member| member.signal(signal))
    }

    fn pass_on(&mut self, slot: Slot, descriptor: usize) -> Result<(), SoakError> {
        let socket = self.site.directory().join(format!("pass-{}", self.passes.len()));
        let listener = UnixListener::bind(&socket)?;
        listener.set_nonblocking(true)?;
        fs::set_permissions(&socket, Permissions::from_mode(0o777))?;
        let number = self.members.get(&slot).map_or(usize::MAX, |member| member.number);
        self.passes.push(Pass { descriptor: (number, descriptor), listener: Some(listener), file: None, heir: None });
        self.ask(slot, Order::Send(descriptor, socket));
        Ok(())
    }

    /// Gives what has been passed on to processes that have nothing else.
    fn hand_over(&mut self) -> Result<(), SoakError> {
        for (number, pass) in self.passes.iter_mut().enumerate() {
            let Some(listener) = &pass.listener else { continue };
            match receive(listener) {
                Ok(descriptor) => {
                    pass.file = file_of(&descriptor);
                    let heir = self.stage.lab.machine().command("sleep").arg("infinity").stdin(descriptor).spawn()?;
                    let file = &pass.file;
                    self.stage.pulse.note(format!("heir {number} is process {} and has {file:?}", heir.id()));
                    pass.heir = Some(heir);
                    pass.listener = None;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Who was to send it was killed meanwhile.
                Err(_) => pass.listener = None,
            }
        }
        Ok(())
    }

    /// Takes into account what a member has said that has ended.
    fn bury(&mut self, mut member: Member) {
        self.take_answers_of(&mut member);
        member.take_leave(&mut self.ledger);
        let of_it = self.descriptors.iter_mut().filter(|((number, _), _)| *number == member.number);
        of_it.for_each(|(_, descriptor)| descriptor.is_kept = false);
    }

    fn take_answers(&mut self) {
        let mut members = std::mem::take(&mut self.members);
        members.values_mut().for_each(|member| self.take_answers_of(member));
        self.members = members;
    }

    fn take_answers_of(&mut self, member: &mut Member) {
        for outcome in member.take_answers(&mut self.ledger) {
            match outcome {
                Outcome::Held(number, hold) => {
                    let file = member.file(number).unwrap_or_default();
                    let descriptor = Descriptor { hold, file, is_kept: true, is_over: false };
                    self.descriptors.insert((member.number, number), descriptor);
                }
                Outcome::Released(number) => {
                    if let Some(descriptor) = self.descriptors.get_mut(&(member.number, number)) {
                        descriptor.is_kept = false;
                    }
                }
            }
        }
    }

    fn wait_for_answers(&mut self) -> Result<(), SoakError> {
        for mut member in std::mem::take(&mut self.leaving) {
            let ended = member.wait();
            self.bury(member);
            ended?;
        }
        self.wait_for(|round| {
            let unanswered = |member: &Member| Some((member.name.clone(), member.unanswered()?));
            let waiting = round.members.values().find_map(unanswered);
            Ok(waiting.map(|(name, order)| format!("{name} has not answered `{order}`")))
        })?;
        self.take_answers();
        Ok(())
    }

    /// Waits until nothing is wrong any more.
    fn wait_for(&mut self, wrong: impl Fn(&Self) -> Result<Option<String>, SoakError>) -> Result<(), SoakError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.stage.listener.drain();
            let over = Instant::now() >= deadline;
            let Some(wrong) = wrong(self)? else { return Ok(()) };
            if over {
                return Err(SoakError::Wrong(wrong));
            }
            self.stage.listener.wait(deadline.saturating_duration_since(Instant::now()));
        }
    }

    /// Waits until all is settled, and everything is as the model wants it.
    fn come_to_rest(&mut self) -> Result<(), SoakError> {
        self.wait_for_answers()?;
        self.hand_over()?;
        for place in 0..self.places.len() {
            let stopped = self.ledger.may_have_stopped(place);
            if let Some(place) = self.places.get_mut(place).filter(|_| stopped) {
                place.was_adopted |= place.adopted.take().is_some();
            }
        }
        // Only once what is known without it is as it must be.
        let mut witness = None;
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.stage.listener.drain();
            let over = Instant::now() >= deadline;
            let Some(wrong) = self.disagreement(&mut witness)? else { break };
            if over {
                return Err(SoakError::Wrong(wrong));
            }
            self.stage.listener.wait(deadline.saturating_duration_since(Instant::now()));
        }
        self.settle();
        match self.pulse().complaints().first() {
            None => Ok(()),
            Some(first) => Err(SoakError::Wrong(first.clone())),
        }
    }

    /// What could have been one way or the other is known now.
    fn settle(&mut self) {
        let now = Span::at(boot_time());
        for member in self.members.values_mut() {
            for number in 0..member.sessions.len() {
                let is_open = member.told(number).is_some_and(|told| told.is_open);
                let Some(session) = member.sessions.get_mut(number) else { continue };
                let Seat { aim, reconnects } = session.seat;
                session.hold = is_open.then_some(Hold { aim, reconnects, since: now });
            }
        }
        let holds = self.site.holds();
        for descriptor in self.descriptors.values_mut() {
            descriptor.is_over |= !holds.join(&descriptor.file).exists();
            descriptor.hold.since = now;
        }
        self.ledger.settle();
    }

    fn write_profile(&self, place: Place) -> Result<(), SoakError> {
        let (name, linger) = (name_of(place), self.plan.linger.as_millis());
        let text = format!("[match]\ninterface = \"{name}\"\n\n[access_point]\nlinger = \"{linger}ms\"\n");
        self.site.write_profile(&name, &text)
    }

    fn write_network(&self) -> Result<(), SoakError> {
        let members = MEMBERS.map(name_of);
        self.site.write_profile(NETWORK, &format!("[service_network]\nmembers = {members:?}\n"))
    }

    /// Somebody else brings an access point up.
    fn adopt(&mut self, place: Place) -> Result<(), SoakError> {
        self.stage.adopt(place)?;
        let others = Kernel::read(self.stage.lab.machine())?.of_others(&name_of(place));
        if let Some(place) = self.places.get_mut(place) {
            place.adopted = Some(others);
        }
        Ok(())
    }
}

impl rounds::Round for Round<'_> {
    type Step = Step;

    /// Lets a step happen.
    fn perform(&mut self, step: &Step) -> Result<(), SoakError> {
        self.pulse().note(format!("{step:?}"));
        match step {
            Step::Start { slot, as_root, seats } => self.start(*slot, *as_root, seats)?,
            Step::Open(slot, session) => self.ask(*slot, Order::Open(*session)),
            Step::Close(slot, session) => self.ask(*slot, Order::Close(*session)),
            Step::Stop(slot, session) => self.ask(*slot, Order::Stop(*session)),
            Step::Drop(slot, session) => self.ask(*slot, Order::Drop(*session)),
            Step::Hold(slot, session) => self.ask(*slot, Order::Hold(*session)),
            Step::Release(slot, descriptor) => self.ask(*slot, Order::Release(*descriptor)),
            Step::PassOn(slot, descriptor) => self.pass_on(*slot, *descriptor)?,
            Step::KillHeir(number) => {
                if let Some(pass) = self.passes.get_mut(*number) {
                    pass.listener = None;
                    pass.heir = None;
                }
            }
            Step::Kill(slot) => {
                if let Some(mut member) = self.members.remove(slot) {
                    member.kill()?;
                    self.bury(member);
                }
            }
            Step::End(slot) => {
                if let Some(mut member) = self.members.remove(slot) {
                    member.let_go();
                    self.leaving.push(member);
                }
            }
            Step::Suspend(slot) => self.signal(*slot, Signal::STOP)?,
            Step::Resume(slot) => self.signal(*slot, Signal::CONT)?,
            Step::KillDaemon => self.site.kill_daemon()?,
            Step::EndDaemon => self.site.end_daemon()?,
            Step::StartDaemon => self.site.start_daemon()?,
            Step::Cut(place) => {
                self.ledger.cut(*place);
                self.stage.access_point(*place)?.cut()?;
            }
            Step::Restore(place) => drop(self.stage.access_point(*place)?.restore()?),
            Step::Flap(place) => {
                self.ledger.cut(*place);
                let access_point = self.stage.access_point(*place)?;
                access_point.cut()?;
                access_point.restore()?;
            }
            Step::Pause(pause) => thread::sleep(*pause),
            Step::NextBeat(within) => self.stage.listener.wait_for_next(*within),
            Step::Answers => self.wait_for_answers()?,
            Step::Quiet => self.come_to_rest()?,
        }
        Ok(())
    }

    /// What the daemons of this round have logged.
    fn log(&self) -> PathBuf {
        self.site.log()
    }

    /// After the last step: nothing is held, and nothing is left.
    fn end(mut self) -> Result<(), SoakError> {
        self.site.end_daemon()?;
        for place in 0..self.places.len() {
            if self.places.get(place).is_some_and(|place| place.adopted.is_some() || place.was_adopted) {
                self.stage.abandon(place)?;
            }
        }
        self.site.check_what_is_left()
    }
}

/// The name of its file, with a mark of the kernel's if that was unlinked.
fn file_of(descriptor: &std::os::fd::OwnedFd) -> Option<String> {
    use std::os::fd::AsRawFd;

    let path = fs::read_link(format!("/proc/self/fd/{}", descriptor.as_raw_fd())).ok()?;
    Some(path.file_name()?.to_string_lossy().into_owned())
}
