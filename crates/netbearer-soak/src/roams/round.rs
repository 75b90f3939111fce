mod judgement;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use netbearer::blocking::Manager;
use netbearer_holder::{Answer, Order};

use super::{
    foreigner::Foreigner,
    plan::{Part, Plan, Step},
};
use crate::{
    error::SoakError,
    kills::{
        NETWORK,
        kernel::Kernel,
        ledger::{Hold, Ledger, Span},
        member::{Member, boot_time},
        name_of,
        plan::{Aim, Place, Seat, Slot},
        round::PlaceInUse,
        site::Site,
        stage::Stage,
    },
    rounds,
};

/// For all to come to rest. A member that did not come up is tried again after five seconds, and then after ten; one that was lost
/// several times must have settled for longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at what nobody tells of.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// For the DHCP server, and so for a member to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// One round, as it goes on.
pub(crate) struct Round<'a> {
    stage: &'a Stage,
    plan: &'a Plan,
    members: BTreeMap<Slot, Actor>,
    started: usize,
    order: Vec<Place>,
    ledger: Ledger,
    stretch: Stretch,
    cut: BTreeSet<Place>,
    places: Vec<PlaceInUse>,
    foreigner: Foreigner,
    site: Site<'a>,
}

/// A holder, and what is answered to its sessions' offers.
struct Actor {
    member: Member,
    answers: Vec<Vec<Answer>>,
}

/// What has happened since all was settled the last time.
#[derive(Debug, Default)]
struct Stretch {
    begin: u64,
    /// Places whose cables were cut at any time of it.
    cut: BTreeSet<Place>,
    has_daemon_died: bool,
    /// In which order the members were then.
    order: Vec<Place>,
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
            started: 0,
            order: plan.order.clone(),
            ledger: Ledger::default(),
            stretch: Stretch { order: plan.order.clone(), ..Stretch::default() },
            cut: BTreeSet::new(),
            places: places.collect(),
            foreigner: Foreigner::default(),
            site,
        };
        for place in 0..plan.places {
            let (name, timeout) = (name_of(place), CONNECT_TIMEOUT.as_secs());
            let text = format!(
                "[match]\ninterface = \"{name}\"\n\n[access_point]\nconnect_timeout = \"{timeout}s\"\nrapid_commit = true\n"
            );
            round.site.write_profile(&name, &text)?;
        }
        round.write_network()?;
        if let Some(place) = round.places.last_mut().filter(|_| plan.adopted) {
            stage.adopt(plan.places - 1)?;
            place.adopted = Some(Kernel::read(stage.lab.machine())?.of_others(&place.name));
        }
        round.site.start_daemon()?;
        Ok(round)
    }

    fn start(&mut self, slot: Slot, as_root: bool, parts: &[Part]) -> Result<(), SoakError> {
        let number = self.started;
        self.started += 1;
        let seats: Vec<Seat> = parts.iter().map(|part| part.seat).collect();
        let command = self.stage.holder(as_root, &self.site.way());
        let mut member = Member::start(command, number, slot, &seats, &self.stage.pulse)?;
        for (session, part) in parts.iter().enumerate() {
            if !part.answers.is_empty() {
                member.ask(Order::Decide(session, part.trial, part.answers.clone()));
            }
            member.ask(Order::Open(session));
        }
        let answers = parts.iter().map(|part| part.answers.clone()).collect();
        self.members.insert(slot, Actor { member, answers });
        Ok(())
    }

    fn cut(&mut self, place: Place) -> Result<(), SoakError> {
        self.ledger.cut(place);
        self.cut.insert(place);
        self.stretch.cut.insert(place);
        self.foreigner.forget(place);
        self.stage.access_point(place)?.cut()?;
        Ok(())
    }

    fn open_all(&mut self) {
        let (places, cut) = (self.plan.places, self.cut.clone());
        let may_open = |aim: Aim| match aim {
            Aim::Place(place) => !cut.contains(&place),
            Aim::Network => cut.len() < places,
        };
        self.ask_all(|member, session, aim| may_open(aim) && !is_open(member, session), Order::Open);
    }

    /// Asks for something of each session that is there and is such a one.
    fn ask_all(&mut self, wanted: impl Fn(&Member, usize, Aim) -> bool, order: impl Fn(usize) -> Order) {
        for Actor { member, .. } in self.members.values_mut() {
            for session in 0..member.sessions.len() {
                let Some(aim) = member.sessions.get(session).map(|session| session.seat.aim) else { continue };
                if wanted(member, session, aim) {
                    member.ask(order(session));
                }
            }
        }
    }

    fn write_network(&self) -> Result<(), SoakError> {
        let members: Vec<String> = self.order.iter().copied().map(name_of).collect();
        let [settle, linger] = [self.plan.settle, self.plan.roam_linger].map(|time| time.as_millis());
        let text = format!(
            "[service_network]\nmembers = {members:?}\nsettle = \"{settle}ms\"\nroam_linger = \"{linger}ms\"\n"
        );
        self.site.write_profile(NETWORK, &text)
    }

    fn wait_for_answers(&mut self) -> Result<(), SoakError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.stage.listener.drain();
            let over = Instant::now() >= deadline;
            let unanswered = |Actor { member, .. }: &Actor| Some((member.name.clone(), member.unanswered()?));
            match self.members.values().find_map(unanswered) {
                None => break,
                Some((name, order)) if over => {
                    return Err(SoakError::Wrong(format!("{name} has not answered `{order}`")));
                }
                Some(_) => drop(self.stage.listener.wait(deadline.saturating_duration_since(Instant::now()))),
            }
        }
        for Actor { member, .. } in self.members.values_mut() {
            member.take_answers(&mut self.ledger);
        }
        Ok(())
    }

    /// Waits until all is settled, and everything is as the model wants it.
    fn come_to_rest(&mut self) -> Result<(), SoakError> {
        self.wait_for_answers()?;
        self.look_at_connections()?;
        let mut witness = None;
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.stage.listener.drain();
            let over = Instant::now() >= deadline;
            let mut within = deadline.saturating_duration_since(Instant::now());
            let wrong = match self.disagreement(&mut witness)? {
                None => match self.left_connection()? {
                    None => self.wrong_way()?,
                    // Nobody tells of the end of another one's connection.
                    left => {
                        within = within.min(self.plan.roam_linger.max(LOOK_AGAIN));
                        left
                    }
                },
                wrong => wrong,
            };
            let Some(wrong) = wrong else { break };
            if over {
                return Err(SoakError::Wrong(wrong));
            }
            self.stage.listener.wait(within);
        }
        self.look_at_foreigner()?;
        self.settle();
        match self.stage.pulse.complaints().first() {
            None => Ok(()),
            Some(first) => Err(SoakError::Wrong(first.clone())),
        }
    }

    /// Connections by links that nobody has left, and that were not lost, are still there.
    fn look_at_connections(&mut self) -> Result<(), SoakError> {
        let cut = self.stretch.cut.clone();
        let must_live = |member: &Member, session: usize, aim: Aim| {
            let Aim::Place(place) = aim else { return false };
            // Its own close may have been answered before its event is heard.
            let holds = member.sessions.get(session).is_some_and(|session| session.hold.is_some());
            holds && is_open(member, session) && !cut.contains(&place) && member.reached(session).is_some()
        };
        let asked = |member: &Member| -> Vec<usize> {
            let sessions = member.sessions.iter().enumerate();
            sessions
                .filter(|(number, session)| must_live(member, *number, session.seat.aim))
                .map(|(number, _)| number)
                .collect()
        };
        let living: Vec<(Slot, Vec<usize>)> =
            self.members.iter().map(|(slot, actor)| (*slot, asked(&actor.member))).collect();
        for (slot, sessions) in &living {
            if let Some(actor) = self.members.get_mut(slot) {
                sessions.iter().for_each(|session| actor.member.ask(Order::Echo(*session)));
            }
        }
        self.wait_for_answers()?;
        for (slot, sessions) in living {
            let Some(Actor { member, .. }) = self.members.get(&slot) else { continue };
            if let Some(session) = sessions.into_iter().find(|session| member.reached(*session).is_none()) {
                let name = &member.name;
                return Err(SoakError::Wrong(format!(
                    "{name}, session {session} has lost a connection by a link that lives"
                )));
            }
        }
        Ok(())
    }

    fn look_at_foreigner(&mut self) -> Result<(), SoakError> {
        for place in 0..self.plan.places {
            let is_adopted = self.places.get(place).is_some_and(|place| place.adopted.is_some());
            let is_kept = self.plan.kept.contains(&place) && self.is_held_by_keeper(place);
            if (is_adopted || is_kept) && !self.cut.contains(&place) {
                self.foreigner.look_at(self.stage, place)?;
            }
        }
        Ok(())
    }

    /// What could have been one way or the other is known now.
    fn settle(&mut self) {
        let now = boot_time();
        let has_order_changed = self.has_order_changed();
        for Actor { member, .. } in self.members.values_mut() {
            member.settle(has_order_changed);
            for number in 0..member.sessions.len() {
                let is_open = is_open(member, number);
                let Some(session) = member.sessions.get_mut(number) else { continue };
                let Seat { aim, reconnects } = session.seat;
                session.hold = is_open.then_some(Hold { aim, reconnects, since: Span::at(now) });
            }
        }
        self.ledger.settle();
        self.stretch = Stretch { begin: now, cut: self.cut.clone(), has_daemon_died: false, order: self.order.clone() };
    }

    /// Whether a daemon has certainly seen another order since all was settled the last time. One that came up meanwhile may not
    /// know that it is another.
    fn has_order_changed(&self) -> bool {
        self.order != self.stretch.order && !self.stretch.has_daemon_died
    }

    fn witness<'w>(&self, witness: &'w mut Option<Manager>) -> Result<&'w Manager, SoakError> {
        Ok(match witness {
            Some(manager) => manager,
            None => witness.insert(self.site.manager()?),
        })
    }
}

impl rounds::Round for Round<'_> {
    type Step = Step;

    /// Lets a step happen.
    fn perform(&mut self, step: &Step) -> Result<(), SoakError> {
        self.stage.pulse.note(format!("{step:?}"));
        match step {
            Step::Start { slot, as_root, parts } => self.start(*slot, *as_root, parts)?,
            Step::Kill(slot) => {
                if let Some(mut actor) = self.members.remove(slot) {
                    actor.member.kill()?;
                }
            }
            Step::Close(slot, session) => {
                let actor = self.members.get_mut(slot);
                if let Some(actor) = actor.filter(|actor| *session < actor.member.sessions.len()) {
                    actor.member.ask(Order::Close(*session));
                }
            }
            Step::OpenAll => self.open_all(),
            Step::ConnectAll => self.ask_all(|_, _, _| true, Order::Connect),
            Step::KillDaemon => {
                self.stretch.has_daemon_died = true;
                self.site.kill_daemon()?;
            }
            Step::EndDaemon => {
                self.stretch.has_daemon_died = true;
                self.site.end_daemon()?;
            }
            Step::StartDaemon => self.site.start_daemon()?,
            Step::Cut(place) => self.cut(*place)?,
            Step::Restore(place) => {
                self.stage.access_point(*place)?.restore()?;
                self.cut.remove(place);
            }
            Step::Order(order) => {
                self.order.clone_from(order);
                self.write_network()?;
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

    /// After the last step: everybody ends in good order, and then nothing is left.
    fn end(mut self) -> Result<(), SoakError> {
        for place in std::mem::take(&mut self.cut) {
            self.stage.access_point(place)?.restore()?;
        }
        for Actor { member, .. } in self.members.values_mut() {
            member.let_go();
        }
        for (_, mut actor) in std::mem::take(&mut self.members) {
            actor.member.wait()?;
        }
        self.come_to_rest()?;
        self.site.end_daemon()?;
        if self.plan.adopted {
            self.stage.abandon(self.plan.places - 1)?;
        }
        self.site.check_what_is_left()
    }
}

/// Whether a session says that it is.
fn is_open(member: &Member, session: usize) -> bool {
    member.told(session).is_some_and(|told| told.is_open)
}
