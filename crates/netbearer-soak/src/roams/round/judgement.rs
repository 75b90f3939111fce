use std::time::{Duration, Instant};

use netbearer::{SessionState, blocking::Manager};
use netbearer_holder::{Answer, Order, Told};

use super::{Actor, Round, is_open};
use crate::{
    error::SoakError,
    kills::{
        ends::Ends,
        kernel::Kernel,
        ledger::Fate,
        member::Member,
        name_of,
        plan::{Aim, Place, Slot},
        round::judgement::{files, is_true, open_sessions, wrong_link},
    },
    roams::{HAS_ENDED, LIVES_ON, plan::KEEPER},
    truth::Truth,
};

/// For what has happened to be told.
const TO_BE_TOLD: Duration = Duration::from_secs(2);

/// What can be wrong once all has settled.
impl Round<'_> {
    /// The first thing that is not as it must be. The daemon is asked last, by a client that is kept from then on.
    pub(super) fn disagreement(&self, witness: &mut Option<Manager>) -> Result<Option<String>, SoakError> {
        if let Some(wrong) = self.members.values().find_map(|actor| self.wrong_session(actor)) {
            return Ok(Some(wrong));
        }
        let files = files(&self.site.holds())?;
        let ends = Ends::read(&self.site.holds())?;
        if let Some(wrong) = ends.wrong(&files, self.site.daemon()).or_else(|| self.wrong_end(&ends)) {
            return Ok(Some(wrong));
        }
        let kernel = Kernel::read(self.stage.lab.machine())?;
        let wrong_link = wrong_link(&self.places, &kernel, |place| self.is_held(place), self.is_network_open());
        if let Some(wrong) = wrong_link.or_else(|| self.wrong_word(&kernel)) {
            return Ok(Some(wrong));
        }
        let listed = self.witness(witness)?.wait_for(async |manager| manager.sessions().await)?;
        let counted: usize = listed.iter().map(|one| one.descriptors as usize).sum();
        Ok((counted != files.len())
            .then(|| format!("the daemon counts {counted} holds, and there are {}", files.len())))
    }

    /// A session that is on its way, or has ended without a reason, or is not where it belongs.
    fn wrong_session(&self, actor: &Actor) -> Option<String> {
        let Actor { member, answers } = actor;
        for (number, session) in member.sessions.iter().enumerate().filter(|(_, session)| session.is_there) {
            let aim = session.seat.aim;
            let whose = || format!("{}, session {number} on {}", member.name, aim.name());
            let Some(told) = member.told(number) else { return Some(format!("{} has told nothing", whose())) };
            let answers = answers.get(number).map(Vec::as_slice).unwrap_or_default();
            let fate = self.fate(session.hold.map(|hold| (aim, hold.since.begin)), answers);
            if told.is_opening || !fate.allows(told.is_open) {
                return Some(format!("{} must be so: {fate:?}, but tells {told:?}", whose()));
            }
            if matches!(told.state, SessionState::Closing | SessionState::Roaming | SessionState::Connecting)
                || told.is_open && told.state != SessionState::Connected
            {
                return Some(format!("{} is on its way: {told:?}", whose()));
            }
            let follows = answers.iter().all(|answer| *answer == Answer::Accept)
                && !member.has_stayed(number, self.has_order_changed());
            if told.is_open && aim == Aim::Network && follows && self.is_elsewhere(&told) {
                return Some(format!("{} is not on the best of {:?}: {told:?}", whose(), self.order));
            }
        }
        None
    }

    /// What has become of what a session holds since then.
    fn fate(&self, hold: Option<(Aim, u64)>, answers: &[Answer]) -> Fate {
        let Some((aim, since)) = hold else { return Fate::DoesNot };
        let stretch = &self.stretch;
        let was_open = since <= stretch.begin;
        match aim {
            Aim::Place(place) if stretch.cut.contains(&place) => Fate::Either,
            Aim::Place(_) => Fate::Holds,
            Aim::Network if stretch.cut.is_empty() => Fate::Holds,
            // Where it came up, or tried to, is not known.
            Aim::Network if !was_open || stretch.cut.len() >= self.plan.places => Fate::Either,
            // Without a link, who stays ends, and so does who has no time to answer.
            Aim::Network if answers.iter().any(|answer| *answer != Answer::Accept) => Fate::Either,
            Aim::Network if !answers.is_empty() && stretch.has_daemon_died => Fate::Either,
            Aim::Network => Fate::Holds,
        }
    }

    /// Whether a session that goes wherever it is better is somewhere else, with nothing that could keep it there.
    fn is_elsewhere(&self, told: &Told) -> bool {
        let best = self.order.iter().find(|place| !self.cut.contains(place));
        let here = told.interface.as_ref().map(|interface| interface.name.clone());
        best.copied().map(name_of) != here
    }

    /// A member that has other holds than those of its open sessions.
    fn wrong_end(&self, ends: &Ends) -> Option<String> {
        self.members.values().find_map(|Actor { member, .. }| {
            let written = ends.written_by(member.process());
            let open = open_sessions(member).count();
            let whose = &member.name;
            (written.len() != open).then(|| format!("{whose} has {open} open sessions, and FIFOs {written:?}"))
        })
    }

    /// A session that tells something else than `ip` does.
    fn wrong_word(&self, kernel: &Kernel) -> Option<String> {
        let truths: Vec<(&str, Truth)> =
            self.places.iter().map(|place| (place.name.as_str(), kernel.truth(&place.name))).collect();
        for Actor { member, .. } in self.members.values() {
            for (number, session) in member.sessions.iter().enumerate().filter(|(_, session)| session.is_there) {
                let Some(told) = member.told(number) else { continue };
                let meant: Vec<&(&str, Truth)> = match session.seat.aim {
                    Aim::Place(place) => truths.get(place).into_iter().collect(),
                    Aim::Network => truths.iter().collect(),
                };
                if !is_true(&told, &meant) {
                    let (whose, aim) = (&member.name, session.seat.aim.name());
                    return Some(format!("{whose}, session {number} on {aim} tells {told:?}, but ip says {meant:?}"));
                }
            }
        }
        None
    }

    /// Each open session gets another connection. Returns one that does not lead where its session is said to be.
    pub(super) fn wrong_way(&mut self) -> Result<Option<String>, SoakError> {
        self.ask_all(|member, session, _| is_open(member, session), Order::Connect);
        self.wait_for_answers()?;
        let mut all = self
            .members
            .values()
            .flat_map(|Actor { member, .. }| open_numbers(member).map(move |number| (member, number)));
        Ok(all.find_map(|(member, number)| {
            let told = member.told(number)?;
            let (reached, used) = (member.reached(number), told.interface.as_ref().map(|interface| &interface.name));
            let whose = &member.name;
            (reached.as_ref() != used)
                .then(|| format!("{whose}, session {number} has reached {reached:?}, but tells {told:?}"))
        }))
    }

    /// Connections that sessions on the service network have from before. Returns one by a link that its session has left: it must
    /// end, in time. One by a link that its session has not left must live.
    pub(super) fn left_connection(&mut self) -> Result<Option<String>, SoakError> {
        let had: Vec<(Slot, usize, String)> = self
            .members
            .iter()
            .flat_map(|(slot, Actor { member, .. })| {
                let numbers = open_numbers(member).filter(|number| is_on_network(member, *number));
                numbers.filter_map(|number| Some((*slot, number, member.reached(number)?)))
            })
            .collect();
        for (slot, number, _) in &had {
            if let Some(actor) = self.members.get_mut(slot) {
                actor.member.ask(Order::Echo(*number));
            }
        }
        self.wait_for_answers()?;
        let was_cut = |name: &str| self.stretch.cut.iter().any(|place| name_of(*place) == name);
        let had = had.into_iter().filter_map(|(slot, number, by)| Some((&self.members.get(&slot)?.member, number, by)));
        let mut left = None;
        for (member, number, by) in had {
            let is_there = || member.told(number).and_then(|told| told.interface).is_some_and(|used| used.name == by);
            let may_be_lost = || !is_there() || member.has_moved(number) || was_cut(&by);
            let whose = || format!("{}, session {number}", member.name);
            let lives = member.reached(number).is_some();
            if lives == is_there() {
                self.stage.pulse.note(format!("{}: {} {by}", whose(), if lives { LIVES_ON } else { HAS_ENDED }));
            }
            if !lives {
                // Another thread of the process may still have to tell that it has left.
                let deadline = Instant::now() + TO_BE_TOLD;
                while !may_be_lost() {
                    let within = deadline.saturating_duration_since(Instant::now());
                    if within.is_zero() {
                        let whose = whose();
                        return Err(SoakError::Wrong(format!(
                            "{whose} has lost a connection by {by}, where it is still"
                        )));
                    }
                    self.stage.listener.wait(within);
                }
            } else if !is_there() {
                left = Some(format!("{} has left {by}, and its connection there has not ended", whose()));
            }
        }
        Ok(left)
    }

    fn is_held(&self, place: Place) -> bool {
        let name = name_of(place);
        let is_here = |(_, told): (Aim, Told)| told.interface.as_ref().is_some_and(|interface| interface.name == name);
        self.members.values().any(|Actor { member, .. }| open_sessions(member).any(is_here))
    }

    /// Whether some session on the service network is open.
    fn is_network_open(&self) -> bool {
        self.members.values().any(|Actor { member, .. }| open_sessions(member).any(|(aim, _)| aim == Aim::Network))
    }

    pub(super) fn is_held_by_keeper(&self, place: Place) -> bool {
        let is_its = |member: &Member| open_sessions(member).any(|(aim, _)| aim == Aim::Place(place));
        self.members.get(&KEEPER).is_some_and(|actor| is_its(&actor.member))
    }
}

/// Of its sessions that are open.
fn open_numbers(member: &Member) -> impl Iterator<Item = usize> {
    (0..member.sessions.len()).filter(|number| is_open(member, *number))
}

fn is_on_network(member: &Member, number: usize) -> bool {
    member.sessions.get(number).is_some_and(|session| session.seat.aim == Aim::Network)
}
