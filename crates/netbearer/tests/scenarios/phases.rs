//! Sessions in each phase of roaming. They are open on "lte", and "lan", which is preferred, is the candidate.

use std::{
    fmt,
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use netbearer::{
    MigrateError, Profile, ServiceNetworkProfile, SessionState,
    blocking::{Offer, Roaming, Session, Trial},
};
use netbearer_holder::{Answer, Order};
use netbearer_lab::{AccessPointPlan, Dhcp, Fault, Script};

use crate::{
    holders::Holder,
    stage::{DEADLINE, Manager, Stage, Watched},
    uplink::{NETWORK, access_point, owned},
};

/// Much longer than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(60);
/// Long enough to be told from nothing, and short enough to wait for.
pub(crate) const SHORT: Duration = Duration::from_millis(300);

const OFFERED: &str = "PreferredConfigurationChanged(native-lan)";
const REPLACEMENT_OFFERED: &str = "PreferredConfigurationChanged(native-lan, replacement)";
const ON_TRIAL: &str = "NewConfigurationActivated(native-lan)";

/// How far the roaming of a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Offered,
    Migrating,
    Trial,
    ReplacementOffered,
    MigratingWithoutLink,
    TrialWithoutLink,
    /// Nobody takes the events in these two.
    Preparing,
    Replacing,
}

impl Phase {
    pub(crate) const fn decides(self) -> bool {
        !matches!(self, Self::Preparing | Self::Replacing)
    }

    /// The candidate is on its way up, and stays so for as long as its server is silent.
    const fn waits_for_lease(self) -> bool {
        matches!(self, Self::Migrating | Self::MigratingWithoutLink | Self::Preparing | Self::Replacing)
    }

    pub(crate) const fn has_link(self) -> bool {
        matches!(self, Self::Offered | Self::Migrating | Self::Trial | Self::Preparing)
    }

    /// What the candidate's server does in this phase.
    pub(crate) fn prepare(self, stage: &Stage) {
        let server = access_point(stage, "lan").dhcp_server().expect("it is the lab's own");
        if self.waits_for_lease() {
            server.fail(Fault::Silent);
        } else {
            server.heal();
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self:?}")
    }
}

/// The members are these, the most preferred first. They are set up, so that their carrier shows whoever uses them, and the
/// cables of all but "lte" are cut.
pub(crate) fn stage(members: &[&str]) -> Stage {
    let server = || Dhcp::Scripted(Script::default().rapid_commit(true));
    let mut stage = Stage::new(members.iter().map(|name| AccessPointPlan::new(*name).dhcp(server())));
    // Its addresses come at any time, and are told.
    stage.lab.machine().set_sysctl("net/ipv6/conf/all/disable_ipv6", "1").expect("it can be written");
    for name in members {
        stage.ip(&format!("link set {name} up"));
        wait_for_carrier(&stage, name, "UP");
    }
    stage.remember();
    cut_all_but_lte(&stage, members);
    stage
}

fn cut_all_but_lte(stage: &Stage, members: &[&str]) {
    for name in members.iter().filter(|name| **name != "lte") {
        access_point(stage, name).cut().expect("the cable is cut");
        wait_for_carrier(stage, name, "DOWN");
    }
}

/// Nothing of ours is left, and the cables are as they were in the beginning.
pub(crate) fn clear(stage: &Stage, members: &[&str]) {
    for name in members {
        access_point(stage, name).restore().expect("the cable is back");
        wait_for_carrier(stage, name, "UP");
    }
    stage.assert_as_before();
    cut_all_but_lte(stage, members);
}

/// Waits until `ip` calls the link so.
fn wait_for_carrier(stage: &Stage, name: &str, state: &str) {
    let machine = stage.lab.machine();
    let is_so = || {
        let told = machine.command("ip").args(["-brief", "link", "show", "dev", name]).output()?;
        Ok((told.split_whitespace().nth(1) == Some(state)).then_some(()))
    };
    machine.wait_until(&format!("{name} {state}"), DEADLINE, is_so).expect("its carrier shows");
}

/// A better member is offered after this time, and each member has such a profile.
pub(crate) fn manager(stage: &Stage, members: &[&str], settle: Duration, profile: impl Fn(&str) -> Profile) -> Manager {
    stage.start(|setup| {
        let setup = members.iter().fold(setup, |setup, name| setup.profile(name, profile(name)));
        let members = owned(members);
        let network = ServiceNetworkProfile { members, settle, roam_linger: LONG, ..ServiceNetworkProfile::default() };
        setup.service_network("uplink", network)
    })
}

/// A session, and what its application has of its roaming: what is dropped would be answered.
pub(crate) struct Subject {
    pub(crate) watched: Watched,
    pub(crate) roaming: Option<Roaming>,
    pub(crate) offers: Vec<Offer>,
    pub(crate) trials: Vec<Trial>,
    migration: Option<Receiver<Result<Trial, MigrateError>>>,
}

impl Subject {
    /// Settled on "lte".
    pub(crate) fn on_lte(manager: &Manager, decides: bool, adjust: impl FnOnce(&Session)) -> Self {
        // Nothing else is tried while this one is up.
        let mut first = Watched::opened_on(manager, "lte");
        let mut watched = Watched::on(manager, NETWORK);
        adjust(&watched.session);
        let roaming = decides.then(|| watched.session.roaming().expect("it can roam"));
        watched.open();
        watched.expect_last("Opened");
        first.close();
        first.expect(&["Closed"]);
        Self { watched, roaming, offers: Vec::new(), trials: Vec::new(), migration: None }
    }

    /// Waits for the next offer, which is this, and keeps it.
    pub(crate) fn expect_offer(&mut self, told: &[&str]) {
        self.watched.expect(told);
        let roaming = self.roaming.as_mut().expect("it decides");
        self.offers.push(roaming.next_within(DEADLINE).expect("it is offered"));
    }

    /// Answers what was offered last.
    pub(crate) fn migrate(&mut self) {
        let offer = self.offers.pop().expect("there is one");
        let (sender, outcome) = mpsc::channel();
        thread::spawn(move || sender.send(offer.migrate()));
        self.migration = Some(outcome);
        self.watched.expect(&["Roaming"]);
    }

    /// The candidate has come up.
    pub(crate) fn expect_trial(&mut self, told: &str) {
        self.watched.expect(&[told]);
        let migration = self.migration.take().expect("there is one");
        self.trials.push(migration.recv_timeout(DEADLINE).expect("it is told").expect("it is up"));
    }

    /// "lan" is there.
    pub(crate) fn restore_lan(&mut self, stage: &Stage) {
        access_point(stage, "lan").restore().expect("the cable is back");
        if self.roaming.is_some() {
            self.expect_offer(&[OFFERED]);
        }
    }

    /// What the call has come to in which its application waits for the candidate, or for the end of the trial.
    pub(crate) fn outcome_within(&mut self, duration: Duration) -> Option<MigrateError> {
        match (&self.migration, self.trials.last_mut()) {
            (Some(migration), _) => Some(migration.recv_timeout(duration).ok()?.expect_err("it does not come up")),
            (None, trial) => trial?.ended_within(duration),
        }
    }

    /// Closes it, and lets go of what its application has kept.
    pub(crate) fn end(self) {
        let Self { watched, migration, .. } = self;
        drop(watched);
        // That keeps the service as well.
        drop(migration.map(|outcome| outcome.recv()));
    }

    /// From the offer of "lan" on, or from where nobody is asked about it.
    pub(crate) fn reach(&mut self, phase: Phase, stage: &Stage, manager: &Manager) {
        match phase {
            Phase::Offered | Phase::ReplacementOffered => {}
            Phase::Migrating | Phase::MigratingWithoutLink => self.migrate(),
            Phase::Trial | Phase::TrialWithoutLink => {
                self.migrate();
                self.expect_trial(ON_TRIAL);
            }
            Phase::Preparing | Phase::Replacing => wait_for_state(manager, "lan", SessionState::Connecting),
        }
        if phase.has_link() {
            return;
        }
        access_point(stage, "lte").cut().expect("the cable is cut");
        match phase {
            Phase::ReplacementOffered => self.watched.expect(&["Roaming", REPLACEMENT_OFFERED]),
            Phase::Replacing => self.watched.expect(&["Roaming"]),
            _ => self.watched.expect(&["CurrentLinkLost"]),
        }
    }
}

/// Another process has its only session in this phase.
pub(crate) fn reach_in_process(phase: Phase, stage: &Stage, manager: &Manager) -> Holder {
    let mut first = Watched::opened_on(manager, "lte");
    let mut holder = Holder::start(stage, manager);
    holder.session(NETWORK);
    if phase.decides() {
        let answers = match phase {
            Phase::Offered | Phase::ReplacementOffered => vec![Answer::Wait],
            _ => vec![Answer::Accept],
        };
        holder.give(Order::Decide(0, LONG, answers)).expect("it can roam");
    }
    holder.open(0);
    holder.expect_last(0, "Opened");
    first.close();
    first.expect(&["Closed"]);
    access_point(stage, "lan").restore().expect("the cable is back");
    match phase {
        Phase::Offered | Phase::ReplacementOffered => holder.expect(0, &["PreferredConfigurationChanged"]),
        Phase::Migrating | Phase::MigratingWithoutLink => {
            holder.expect(0, &["PreferredConfigurationChanged", "Roaming"]);
        }
        Phase::Trial | Phase::TrialWithoutLink => {
            holder.expect(0, &["PreferredConfigurationChanged", "Roaming", "NewConfigurationActivated"]);
        }
        Phase::Preparing | Phase::Replacing => wait_for_state(manager, "lan", SessionState::Connecting),
    }
    if !phase.has_link() {
        access_point(stage, "lte").cut().expect("the cable is cut");
        match phase {
            Phase::ReplacementOffered => holder.expect(0, &["Roaming", "PreferredConfigurationChanged"]),
            Phase::Replacing => holder.expect(0, &["Roaming"]),
            _ => holder.expect(0, &["CurrentLinkLost"]),
        }
    }
    holder
}

/// Waits until the access point is seen so.
pub(crate) fn wait_for_state(manager: &Manager, access_point: &str, state: SessionState) {
    let mut watched = Watched::on(manager, access_point);
    while watched.session.state() != state {
        watched.next();
    }
}
