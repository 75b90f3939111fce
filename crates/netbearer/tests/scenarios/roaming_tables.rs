//! What happens in each phase of roaming, and answers that come too late, as tables (scenarios 26 and 28).

use std::{
    fmt::{self, Write},
    time::{Duration, Instant},
};

use netbearer::{MigrateError, Profile, PropertyKey, PropertyValue, SessionState, blocking::Session};

use crate::{
    only_served,
    phases::{LONG, Phase, SHORT, Subject, clear, manager, reach_in_process, stage, wait_for_state},
    stage::{DEADLINE, Manager, Stage, Watched},
    uplink::access_point,
};

/// The most preferred first. Sessions are on "lte", and "lan" is the candidate.
const MEMBERS: [&str; 3] = ["best", "lan", "lte"];
/// A line for each event and phase: what the session is told then, which links have an address after that, and what the call comes
/// to in which its application waits for the candidate or for the end of the trial. Where there is no such event, "–" and the
/// reason. Of a client that is killed, its links are watched. Read from semantics §5.
const PHASES: &str = include_str!("roaming_phases.txt");
const NO_SUCH_EVENT: &str = "–";

/// What may happen to a session that roams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    NoLease,
    CandidateCut,
    CandidateStopped,
    OldCut,
    OldStopped,
    BestComes,
    TimePasses,
    TimePassesToMigrate,
    Close,
    Stop,
    Dropped,
    Taken,
    Killed,
}

impl Event {
    const ALL: [Self; 13] = [
        Self::NoLease,
        Self::CandidateCut,
        Self::CandidateStopped,
        Self::OldCut,
        Self::OldStopped,
        Self::BestComes,
        Self::TimePasses,
        Self::TimePassesToMigrate,
        Self::Close,
        Self::Stop,
        Self::Dropped,
        Self::Taken,
        Self::Killed,
    ];

    /// "lan" is not waited for if that would have to be waited for here. The others have all the time they need.
    fn profile(self, name: &str) -> Profile {
        let is_waited_for = |event| self != event || name != "lan";
        Profile {
            connect_timeout: if is_waited_for(Self::NoLease) { LONG } else { SHORT },
            carrier_timeout: if is_waited_for(Self::CandidateCut) { LONG } else { SHORT },
            ..Profile::default()
        }
    }

    const fn answer_timeout(self) -> Duration {
        match self {
            Self::TimePasses | Self::TimePassesToMigrate => SHORT,
            _ => LONG,
        }
    }

    /// That nothing is told of it shows only after a while.
    const fn takes_time(self) -> bool {
        matches!(self, Self::BestComes | Self::TimePasses | Self::TimePassesToMigrate)
    }

    fn adjust(self, session: &Session) {
        let set = |key, value| session.set_property(key, Some(value)).expect("it takes that");
        set(PropertyKey::AnswerTimeout, PropertyValue::Duration(self.answer_timeout()));
        if self == Self::TimePassesToMigrate {
            set(PropertyKey::OnTimeout, PropertyValue::Text("migrate".to_owned()));
        }
    }

    /// Has it happen. What the session has nothing to be told of is waited for at the links.
    fn happen(self, subject: &mut Subject, stage: &Stage, manager: &Manager) {
        let cut = |name| access_point(stage, name).cut().expect("the cable is cut");
        let stop = |name| Watched::on(manager, name).session.stop().expect("it is allowed");
        match self {
            Self::NoLease => wait_for_state(manager, "lan", SessionState::Disconnected),
            Self::CandidateCut => {
                let mut lan = Watched::on(manager, "lan");
                cut("lan");
                lan.next();
            }
            Self::CandidateStopped => stop("lan"),
            Self::OldCut => drop(cut("lte")),
            Self::OldStopped => stop("lte"),
            Self::BestComes => {
                access_point(stage, "best").restore().expect("the cable is back");
                wait_for_state(manager, "best", SessionState::Disconnected);
            }
            Self::TimePasses | Self::TimePassesToMigrate => {}
            Self::Close => subject.watched.close(),
            Self::Stop => subject.watched.session.stop().expect("it is allowed"),
            Self::Dropped => drop(subject.roaming.take()),
            Self::Taken => subject.roaming = Some(subject.watched.session.roaming().expect("nobody has it")),
            Self::Killed => unreachable!("this is about another process"),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NoLease => "lan gets no lease",
            Self::CandidateCut => "lan's cable is cut",
            Self::CandidateStopped => "lan is stopped",
            Self::OldCut => "lte's cable is cut",
            Self::OldStopped => "lte is stopped",
            Self::BestComes => "best comes",
            Self::TimePasses => "time passes",
            Self::TimePassesToMigrate => "time passes, to migrate",
            Self::Close => "close",
            Self::Stop => "stop",
            Self::Dropped => "events dropped",
            Self::Taken => "events taken",
            Self::Killed => "client killed",
        })
    }
}

/// Reads as many events as there should be, and then for a while if that may tell more.
fn told(watched: &mut Watched, expected: &str, lasting: Option<Duration>) -> Vec<String> {
    let expected = expected.split_terminator(", ").filter(|word| !word.ends_with("replacement)")).count();
    let deadline = Instant::now() + DEADLINE;
    let mut told = Vec::new();
    while told.len() < expected {
        let Some(event) = watched.next_within(deadline.saturating_duration_since(Instant::now())) else { break };
        told.push(event);
    }
    if let Some(lasting) = lasting {
        told.extend(watched.next_within(lasting));
    }
    told
}

/// Once its own link is down, a session watches, and sees the end of another one that is still on its way down, or not (§2).
fn forget_others(told: &mut Vec<String>) {
    let own_end = told.iter().position(|event| event == "Disconnected").filter(|_| told.contains(&"Closed".to_owned()));
    let Some(own_end) = own_end else { return };
    if told[own_end + 1..].iter().all(|event| event == "Closing" || event == "Disconnected") {
        told.truncate(own_end + 1);
    }
}

/// Which links have an address, as `ip` says: these, or what there is instead in the end.
fn up(stage: &Stage, members: &[&str], expected: &str) -> String {
    let seen = || {
        let up = members.iter().copied().filter(|name| stage.address_of(name).is_some());
        up.collect::<Vec<_>>().join(" ")
    };
    let is_so = || Ok((seen() == expected).then_some(()));
    let waited = stage.lab.machine().wait_until("the links as they should be", DEADLINE, is_so);
    waited.map_or_else(|_| seen(), |()| expected.to_owned())
}

/// A session is in this phase, and this happens.
fn play(stage: &Stage, phase: Phase, event: Event, expected: [&str; 3]) -> [String; 3] {
    let manager = manager(stage, &MEMBERS, SHORT, |name| event.profile(name));
    let [expected_events, expected_links, expected_outcome] = expected;
    if event == Event::Killed {
        let [events, links] = play_kill(stage, phase, &manager, [expected_events, expected_links]);
        return [events, links, String::new()];
    }
    let mut subject = Subject::on_lte(&manager, phase.decides(), |session| event.adjust(session));
    subject.restore_lan(stage);
    subject.reach(phase, stage, &manager);
    event.happen(&mut subject, stage, &manager);
    let mut events = told(&mut subject.watched, expected_events, event.takes_time().then_some(2 * SHORT));
    let links = up(stage, &MEMBERS, expected_links);
    // What was under way is done, and told.
    let _ = subject.watched.session.property(PropertyKey::Reconnect);
    events.extend(std::iter::from_fn(|| subject.watched.try_next()));
    forget_others(&mut events);
    let patience = if expected_outcome.is_empty() { Duration::ZERO } else { DEADLINE };
    let outcome = subject.outcome_within(patience).as_ref().map(variant).unwrap_or_default();
    subject.end();
    [events.join(", "), links, outcome]
}

/// Nobody is there to be told; what becomes of both links is.
fn play_kill(stage: &Stage, phase: Phase, manager: &Manager, expected: [&str; 2]) -> [String; 2] {
    let holder = reach_in_process(phase, stage, manager);
    let mut watchers = ["lan", "lte"].map(|name| (name, Watched::on(manager, name)));
    holder.kill();
    let [expected_events, expected_links] = expected;
    let told = watchers.each_mut().map(|(name, watched)| {
        let of_link = expected_events.split("; ").find_map(|events| events.strip_prefix(&format!("{name}: ")));
        let events = told(watched, of_link.unwrap_or_default(), None);
        (*name, events)
    });
    let links = up(stage, &MEMBERS, expected_links);
    let events = told.into_iter().zip(&mut watchers).filter_map(|((name, mut events), (_, watched))| {
        let _ = watched.session.property(PropertyKey::Reconnect);
        events.extend(std::iter::from_fn(|| watched.try_next()));
        (!events.is_empty()).then(|| format!("{name}: {}", events.join(", ")))
    });
    [events.collect::<Vec<_>>().join("; "), links]
}

fn write_line(table: &mut String, names: &[String; 2], found: &[impl AsRef<str>]) {
    let found = found.iter().map(AsRef::as_ref);
    let cells: Vec<&str> = names.iter().map(String::as_str).chain(found).collect();
    let _ = writeln!(table, "{}", cells.join(" | ").trim_end_matches([' ', '|']));
}

/// Prints the part of the table that is about this phase, and compares it.
fn assert_phase(phase: Phase) {
    let lines = PHASES.lines().map(|line| {
        let mut cells: Vec<&str> = line.split('|').map(str::trim).collect();
        cells.resize(5, "");
        cells
    });
    let expected: Vec<_> = lines.filter(|cells| cells[1] == phase.to_string()).collect();
    let events: Vec<String> = expected.iter().map(|cells| cells[0].to_owned()).collect();
    assert_eq!(events, Event::ALL.map(|event| event.to_string()), "the table has each event once");
    let stage = stage(&MEMBERS);
    phase.prepare(&stage);
    let (mut table, mut differences) = (String::new(), String::new());
    for (event, expected) in Event::ALL.into_iter().zip(expected) {
        let [_, _, events, links, outcome] = expected[..] else { panic!("five columns: {expected:?}") };
        let names = [event.to_string(), phase.to_string()];
        if events == NO_SUCH_EVENT {
            write_line(&mut table, &names, &[events, links]);
            continue;
        }
        if event == Event::Killed && only_served() {
            continue;
        }
        let found = play(&stage, phase, event, [events, links, outcome]);
        write_line(&mut table, &names, &found);
        if found != [events, links, outcome] {
            write_line(&mut differences, &names, &found);
            write_line(&mut differences, &[String::new(), "should be".to_owned()], &[events, links, outcome]);
        }
        clear(&stage, &MEMBERS);
    }
    println!("{}\n{table}", PHASES.lines().next().unwrap_or_default());
    assert!(differences.is_empty(), "{differences}");
}

/// Scenario 26, and so are these.
#[test]
fn whatever_happens_while_a_member_is_offered() {
    assert_phase(Phase::Offered);
}

#[test]
fn whatever_happens_while_a_candidate_is_brought_up() {
    assert_phase(Phase::Migrating);
}

#[test]
fn whatever_happens_in_a_trial() {
    assert_phase(Phase::Trial);
}

#[test]
fn whatever_happens_while_a_replacement_is_offered() {
    assert_phase(Phase::ReplacementOffered);
}

#[test]
fn whatever_happens_while_a_candidate_is_brought_up_and_the_old_link_is_lost() {
    assert_phase(Phase::MigratingWithoutLink);
}

#[test]
fn whatever_happens_in_a_trial_without_the_old_link() {
    assert_phase(Phase::TrialWithoutLink);
}

#[test]
fn whatever_happens_while_a_planned_move_is_prepared() {
    assert_phase(Phase::Preparing);
}

#[test]
fn whatever_happens_while_a_lost_link_is_replaced() {
    assert_phase(Phase::Replacing);
}

/// For the table of answers.
const FOUR_MEMBERS: [&str; 4] = ["best", "good", "lan", "lte"];
/// Offers follow one after the other.
const AT_ONCE: Duration = Duration::from_millis(100);

/// Where a session is when it is answered too late.
#[derive(Clone, Copy, Debug)]
enum Place {
    In(Phase),
    Settled,
    Ignoring,
    Accepted,
    Rejected,
    Waiting,
    Closed,
    Opening,
}

impl Place {
    /// The phase that it goes by.
    const fn phase(self) -> Phase {
        match self {
            Self::In(phase) => phase,
            Self::Accepted | Self::Rejected => Phase::Trial,
            Self::Opening => Phase::Migrating,
            Self::Settled | Self::Ignoring | Self::Waiting | Self::Closed => Phase::Offered,
        }
    }

    /// The links that have an address there.
    const fn links(self) -> &'static str {
        match self {
            Self::In(Phase::Offered | Phase::Migrating | Phase::Preparing) => "lte",
            Self::Settled | Self::Ignoring | Self::Rejected => "lte",
            Self::In(Phase::Trial) => "lan lte",
            Self::In(Phase::TrialWithoutLink) | Self::Accepted => "lan",
            Self::In(Phase::ReplacementOffered | Phase::MigratingWithoutLink | Phase::Replacing) => "",
            Self::Waiting | Self::Closed | Self::Opening => "",
        }
    }

    /// From the offer of "lan" on.
    fn reach(self, subject: &mut Subject, stage: &Stage, manager: &Manager) {
        let cut = |name| access_point(stage, name).cut().expect("the cable is cut");
        match self {
            Self::In(phase) => {
                if !phase.decides() {
                    drop(subject.roaming.take());
                }
                subject.reach(phase, stage, manager);
            }
            Self::Settled => {
                cut("lan");
                subject.watched.expect(&["OfferWithdrawn"]);
            }
            Self::Ignoring => subject.offers.pop().expect("there is one").ignore().expect("it is the newest"),
            Self::Accepted | Self::Rejected => {
                subject.reach(Phase::Trial, stage, manager);
                let trial = subject.trials.pop().expect("there is one");
                let decided = if matches!(self, Self::Accepted) { trial.accept() } else { trial.reject() };
                decided.expect("it is on");
                subject.watched.expect(&["Connected"]);
            }
            Self::Waiting => {
                cut("lan");
                subject.watched.expect(&["OfferWithdrawn"]);
                cut("lte");
                subject.watched.expect(&["NotAvailable"]);
            }
            Self::Closed => {
                subject.watched.close();
                subject.watched.expect(&["Closed", "Closing", "Disconnected"]);
            }
            Self::Opening => {
                Self::Closed.reach(subject, stage, manager);
                cut("lte");
                subject.watched.open();
                subject.watched.expect(&["Connecting"]);
                wait_for_state(manager, "lan", SessionState::Connecting);
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::In(phase) => phase.fmt(formatter),
            other => write!(formatter, "{other:?}"),
        }
    }
}

/// A session that has had offers and trials which are over, and is now offered "lan".
fn with_a_past(stage: &Stage, manager: &Manager, adjust: impl FnOnce(&Session)) -> Subject {
    let mut subject = Subject::on_lte(manager, true, adjust);
    subject.restore_lan(stage);
    access_point(stage, "good").restore().expect("the cable is back");
    subject.expect_offer(&["PreferredConfigurationChanged(native-good)"]);
    access_point(stage, "best").restore().expect("the cable is back");
    subject.expect_offer(&["PreferredConfigurationChanged(native-best)"]);
    for (name, next) in [("best", "good"), ("good", "lan")] {
        subject.migrate();
        subject.expect_trial(&format!("NewConfigurationActivated(native-{name})"));
        access_point(stage, name).cut().expect("the cable is cut");
        let failed = format!("RoamingFailed(native-{name})");
        let offered = format!("PreferredConfigurationChanged(native-{next})");
        subject.expect_offer(&["Connected", &failed, &offered]);
    }
    subject
}

/// Gives an answer with what was kept, and looks for what comes of it.
fn answered(
    subject: &mut Subject,
    stage: &Stage,
    answer: impl FnOnce(&mut Subject) -> Result<(), MigrateError>,
) -> String {
    let look =
        |subject: &Subject| (subject.watched.session.snapshot(), FOUR_MEMBERS.map(|name| stage.address_of(name)));
    let before = look(subject);
    let refusal = answer(subject).expect_err("it is too late");
    subject.watched.expect_silence();
    assert_eq!(look(subject), before, "{refusal:?} has changed something");
    variant(&refusal)
}

/// The name of the variant.
fn variant(error: &MigrateError) -> String {
    format!("{error:?}").split([' ', '(']).next().unwrap_or_default().to_owned()
}

/// Prints what each of the four answers comes to in these places, and compares it.
fn assert_late(places: &[Place], expected: &[&str]) {
    let stage = stage(&FOUR_MEMBERS);
    let mut table = String::new();
    for place in places.iter().copied() {
        place.phase().prepare(&stage);
        let manager =
            manager(&stage, &FOUR_MEMBERS, AT_ONCE, |_| Profile { connect_timeout: LONG, ..Profile::default() });
        let mut subject = with_a_past(&stage, &manager, |session| {
            let yes = PropertyValue::Boolean(matches!(place, Place::Waiting));
            session.set_property(PropertyKey::Reconnect, Some(yes)).expect("it takes that");
        });
        place.reach(&mut subject, &stage, &manager);
        assert_eq!(up(&stage, &FOUR_MEMBERS, place.links()), place.links(), "{place}");
        // Newer ones are left as they are.
        let answers = [
            answered(&mut subject, &stage, |subject| subject.offers.remove(0).migrate().map(drop)),
            answered(&mut subject, &stage, |subject| subject.offers.remove(0).ignore()),
            answered(&mut subject, &stage, |subject| subject.trials.remove(0).accept()),
            answered(&mut subject, &stage, |subject| subject.trials.remove(0).reject()),
        ];
        let _ = writeln!(table, "{place} | {}", answers.join(" | "));
        subject.end();
        drop(manager);
        clear(&stage, &FOUR_MEMBERS);
    }
    println!("state | migrate | ignore | accept | reject\n{table}");
    assert_eq!(table.lines().collect::<Vec<_>>(), expected);
}

/// Scenario 28, and so are these. Only what was kept for too long can be given as a wrong answer; what else a client may say
/// is in the daemon's tests.
#[test]
fn answers_that_come_too_late_while_there_is_an_offer_are_errors_and_nothing_else() {
    use Phase::{Migrating, MigratingWithoutLink, Offered, ReplacementOffered, Trial, TrialWithoutLink};
    // Once there was a trial, the lease is known, and its server is not waited for.
    let phases = [Offered, ReplacementOffered, Migrating, MigratingWithoutLink, Trial, TrialWithoutLink];
    assert_late(
        &phases.map(Place::In),
        &[
            "Offered | Over | Over | Failed | Failed",
            "ReplacementOffered | Over | Over | Failed | Failed",
            "Migrating | Over | Over | Failed | Failed",
            "MigratingWithoutLink | Over | Over | Failed | Failed",
            "Trial | Over | Over | Failed | Failed",
            "TrialWithoutLink | Over | Over | Failed | Failed",
        ],
    );
}

#[test]
fn answers_that_come_too_late_when_there_is_no_offer_are_errors_and_nothing_else() {
    use Place::{Accepted, Closed, Ignoring, In, Opening, Rejected, Settled, Waiting};
    assert_late(
        &[Settled, Ignoring, Waiting, Closed, Opening, In(Phase::Preparing), In(Phase::Replacing), Accepted, Rejected],
        &[
            "Settled | Over | Over | Failed | Failed",
            "Ignoring | Over | Over | Failed | Failed",
            "Waiting | Over | Over | Failed | Failed",
            "Closed | SessionEnded | Over | Failed | Failed",
            "Opening | Over | Over | Failed | Failed",
            "Preparing | Over | Over | Failed | Failed",
            "Replacing | Over | Over | Failed | Failed",
            "Accepted | Over | Over | Failed | Failed",
            "Rejected | Over | Over | Failed | Failed",
        ],
    );
}
