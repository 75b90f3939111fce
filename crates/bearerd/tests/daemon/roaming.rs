//! Offers and answers on the wire.

use std::{
    fmt::{self, Write},
    fs,
    os::fd::OwnedFd,
};

use netbearer_dbus::{InterfaceValue, OfferSignal, OfferValue, SESSION_INTERFACE, SessionProperties};
use netbearer_lab::{AccessPoint, AccessPointPlan, Dhcp, Fault, Script};
use zbus::Variant;

use crate::{
    bus::wait_for_name,
    client::{Attached, Client, shortly},
    stage::{Running, Stage},
};

const NETWORK: &str = "service-uplink";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Two access points of a service network, of which "lan" is preferred.
fn stage() -> Stage {
    let stage = Stage::with(["lan", "lte"].map(|name| AccessPointPlan::new(name).dhcp(Dhcp::Dnsmasq)));
    stage.write_service_network(&["lan", "lte"]);
    stage
}

fn set_stakeholder(client: &mut Client, session: &str, stakeholder: bool) {
    let set = (SESSION_INTERFACE, "Stakeholder", Variant::from(stakeholder));
    client.call(session, PROPERTIES, "Set", &set).unwrap();
}

fn offer_of(client: &mut Client, session: &str) -> OfferValue {
    client.properties(session).unwrap().offer.expect("the property is there")
}

/// What is told without properties, which come before it.
fn told(client: &mut Client) -> Vec<String> {
    let mut told = shortly(&client.take_signals());
    told.retain(|name| name != "PropertiesChanged");
    told
}

#[test]
fn an_offer_is_told_shown_and_answered_by_its_number_whoever_attaches() {
    let stage = stage();
    let daemon = stage.start();
    let mut client = stage.connect();
    let (lte, _) = client.create("native-lte");
    let _hold_of_lte = client.open_and_wait(&lte);
    let (session, token) = client.create(NETWORK);
    set_stakeholder(&mut client, &session, true);
    let changed = client.wait_for(&session, "PropertiesChanged");
    let (_, changes, _): (String, SessionProperties, Vec<String>) = changed.body().deserialize().unwrap();
    assert_eq!(changes, SessionProperties { stakeholder: Some(true), ..SessionProperties::default() });
    assert_eq!(offer_of(&mut client, &session), OfferValue::default());
    let _hold = client.open_and_wait(&session);

    let told_offer = client.wait_for(&session, "PreferredConfigurationChanged");
    let (number, configuration, seamless, replacement): OfferSignal = told_offer.body().deserialize().unwrap();
    assert_eq!((configuration.as_str(), seamless, replacement), ("native-lan", false, false));
    let offer = offer_of(&mut client, &session);
    assert_eq!((offer.number, offer.phase.as_deref()), (Some(number), Some("Offered")));
    assert_eq!(offer.candidate_interface, Some(InterfaceValue::default()));

    client.call(&session, SESSION_INTERFACE, "Migrate", &number).unwrap();
    let activated = client.wait_for(&session, "NewConfigurationActivated");
    let (of, configuration, interface): (u64, String, InterfaceValue) = activated.body().deserialize().unwrap();
    assert_eq!((of, configuration.as_str(), interface.name.as_deref()), (number, "native-lan", Some("lan")));

    // Who attaches finds the trial as it is.
    let mut other = stage.connect();
    let (_, _, properties): Attached = other.manage("AttachSession", &token).unwrap();
    assert_eq!((properties.state, properties.is_open, properties.stakeholder), (Some(6), Some(true), Some(true)));
    let offer = properties.offer.expect("the property is there");
    assert_eq!((offer.number, offer.phase.as_deref()), (Some(number), Some("Trial")));
    assert_eq!(offer.candidate_interface.and_then(|interface| interface.name).as_deref(), Some("lan"));
    other.call(&session, SESSION_INTERFACE, "Accept", &number).unwrap();
    assert_eq!(told(&mut other), ["StateChanged 3"]);
    let properties = other.properties(&session).unwrap();
    assert_eq!(properties.offer, Some(OfferValue::default()));
    assert_eq!(properties.active_configuration.as_deref(), Some("native-lan"));
    assert_eq!(properties.interface.and_then(|interface| interface.name).as_deref(), Some("lan"));
    daemon.kill();
}

#[test]
fn a_session_that_is_left_by_its_stakeholder_moves_by_itself() {
    let stage = stage();
    let daemon = stage.start();
    let mut client = stage.connect();
    let (lte, _) = client.create("native-lte");
    let _hold_of_lte = client.open_and_wait(&lte);
    let (session, _) = client.create(NETWORK);
    set_stakeholder(&mut client, &session, true);
    let _hold = client.open_and_wait(&session);
    client.wait_for(&session, "PreferredConfigurationChanged");
    client.ping();
    client.take_signals();
    set_stakeholder(&mut client, &session, false);
    let moved = client.wait_for(&session, "ActiveConfigurationChanged");
    assert_eq!(moved.body().deserialize::<String>().unwrap(), "native-lan");
    assert_eq!(offer_of(&mut client, &session), OfferValue::default());
    daemon.kill();
}

/// A client with a session on trial: the client, the hold of that session, and who watches both members.
fn on_trial(stage: &Stage) -> (Client, OwnedFd, Client, [String; 2]) {
    let mut client = stage.connect();
    let (lte, _) = client.create("native-lte");
    let hold_of_lte = client.open_and_wait(&lte);
    let (session, _) = client.create(NETWORK);
    set_stakeholder(&mut client, &session, true);
    let hold = client.open_and_wait(&session);
    // From here on "lte" is held by the session alone.
    drop(hold_of_lte);
    client.wait_for(&lte, "Closed");
    let offer = client.wait_for(&session, "PreferredConfigurationChanged");
    let (number, ..): OfferSignal = offer.body().deserialize().unwrap();
    let mut watcher = stage.connect();
    let watched = ["native-lan", "native-lte"].map(|name| watcher.create(name).0);
    client.call(&session, SESSION_INTERFACE, "Migrate", &number).unwrap();
    client.wait_for(&session, "NewConfigurationActivated");
    watcher.wait_for_state(&watched[0], 3);
    (client, hold, watcher, watched)
}

#[test]
fn a_client_that_dies_in_a_trial_gives_both_links_back() {
    let stage = stage();
    let daemon = stage.start();
    let (client, hold, mut watcher, [lan, lte]) = on_trial(&stage);
    drop(hold);
    drop(client);
    let mut ended: Vec<String> = Vec::new();
    while ended.len() < 2 {
        let signal = watcher.next().expect("the connection lives");
        let (path, name) =
            (signal.header().path().map(ToString::to_string), signal.header().member().map(ToString::to_string));
        if name.as_deref() == Some("StateChanged") && signal.body().deserialize::<u32>().unwrap() == 5 {
            ended.extend(path);
        }
    }
    ended.sort();
    let mut expected = vec![lan, lte];
    expected.sort();
    assert_eq!(ended, expected);
    daemon.end();
}

#[test]
fn a_trial_that_nobody_can_decide_any_more_is_rejected_while_a_descriptor_holds_the_session() {
    let stage = stage();
    let daemon = stage.start();
    let (client, hold, mut watcher, [lan, lte]) = on_trial(&stage);
    drop(client);
    watcher.wait_for_state(&lan, 5);
    assert_eq!(watcher.properties(&lte).unwrap().state, Some(3), "it is held all the same");
    drop(hold);
    watcher.wait_for_state(&lte, 5);
    daemon.end();
}

const ANSWERS: [&str; 4] = ["Migrate", "Ignore", "Accept", "Reject"];

/// Where a session is, by what its application may answer then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Watching,
    Opening,
    Settled,
    Offered,
    Migrating,
    Trial,
    ReplacementOffered,
    MigratingWithoutLink,
    TrialWithoutLink,
    Ignored,
    Accepted,
    Rejected,
    Waiting,
    Closed,
    /// Nobody takes the events any more in these two.
    Preparing,
    Replacing,
}

impl Place {
    const ALL: [Self; 16] = [
        Self::Watching,
        Self::Opening,
        Self::Settled,
        Self::Offered,
        Self::Migrating,
        Self::Trial,
        Self::ReplacementOffered,
        Self::MigratingWithoutLink,
        Self::TrialWithoutLink,
        Self::Ignored,
        Self::Accepted,
        Self::Rejected,
        Self::Waiting,
        Self::Closed,
        Self::Preparing,
        Self::Replacing,
    ];

    /// "best" is on its way up, and stays so.
    const fn waits_for_lease(self) -> bool {
        matches!(self, Self::Opening | Self::Migrating | Self::MigratingWithoutLink | Self::Preparing | Self::Replacing)
    }

    /// What each answer comes to here, if it has the number of the newest offer.
    const fn outcomes(self) -> [&'static str; 4] {
        match self {
            Self::Offered | Self::ReplacementOffered => ["in turn", "in turn", "OutOfTurn", "OutOfTurn"],
            Self::Migrating | Self::MigratingWithoutLink => ["OutOfTurn", "OutOfTurn", "OutOfTurn", "in turn"],
            Self::Trial | Self::TrialWithoutLink => ["OutOfTurn", "OutOfTurn", "in turn", "in turn"],
            _ => ["OutOfTurn"; 4],
        }
    }

    /// And if it has another one.
    const fn outcome_of_others(self) -> &'static str {
        match self {
            Self::Offered | Self::Migrating | Self::Trial => "SupersededOffer",
            Self::ReplacementOffered | Self::MigratingWithoutLink | Self::TrialWithoutLink => "SupersededOffer",
            _ => "OutOfTurn",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&format!("{self:?}"))
    }
}

/// A session in its place.
struct Subject {
    client: Client,
    /// Somebody else, who sees what the session is not told.
    watcher: Client,
    session: String,
    hold: Option<OwnedFd>,
    newest: u64,
}

impl Subject {
    fn new(mut client: Client, watcher: Client) -> Self {
        let (session, _) = client.create(NETWORK);
        set_stakeholder(&mut client, &session, true);
        // If nothing was ever offered, this is as good as any.
        Self { client, watcher, session, hold: None, newest: 2 }
    }

    /// It has been open on "lte" since before "lan" came, which was offered, and then "best", which is.
    fn reach(&mut self, place: Place, stage: &Stage) {
        let cable = |name| cable(stage, name);
        if place == Place::Watching {
            return;
        }
        if place == Place::Opening {
            cable("best").restore().unwrap();
            self.hold = Some(self.client.open(&self.session).unwrap());
            return self.wait_until_best_connects();
        }
        let (lte, _) = self.watcher.create("native-lte");
        let hold_of_lte = self.watcher.open_and_wait(&lte);
        self.hold = Some(self.client.open_and_wait(&self.session));
        drop(hold_of_lte);
        self.watcher.wait_for(&lte, "Closed");
        cable("lan").restore().unwrap();
        self.wait_for_offer("native-lan");
        cable("best").restore().unwrap();
        self.wait_for_offer("native-best");
        cable("lan").cut().unwrap();
        self.go_on(place, stage);
    }

    fn go_on(&mut self, place: Place, stage: &Stage) {
        let cut = |name| cable(stage, name).cut().unwrap();
        match place {
            Place::Watching | Place::Opening | Place::Offered => {}
            Place::Settled => {
                cut("best");
                self.wait_for("OfferWithdrawn");
            }
            Place::Migrating => self.answer("Migrate"),
            Place::Trial => {
                self.answer("Migrate");
                self.wait_for("NewConfigurationActivated");
            }
            Place::ReplacementOffered => {
                cut("lte");
                self.wait_for_offer("native-best");
            }
            Place::MigratingWithoutLink => {
                self.go_on(Place::Migrating, stage);
                cut("lte");
                self.wait_for("CurrentLinkLost");
            }
            Place::TrialWithoutLink => {
                self.go_on(Place::Trial, stage);
                cut("lte");
                self.wait_for("CurrentLinkLost");
            }
            Place::Ignored => self.answer("Ignore"),
            Place::Accepted => {
                self.go_on(Place::Trial, stage);
                self.answer("Accept");
            }
            Place::Rejected => {
                self.go_on(Place::Trial, stage);
                self.answer("Reject");
            }
            Place::Waiting => {
                let reconnect = ("Reconnect", Variant::from(true));
                self.client.call(&self.session, SESSION_INTERFACE, "SetProperty", &reconnect).unwrap();
                self.go_on(Place::Settled, stage);
                cut("lte");
                self.client.wait_for_state(&self.session, 1);
            }
            Place::Closed => {
                self.client.ask(&self.session, "Close").unwrap();
                self.client.wait_for_state(&self.session, 5);
            }
            Place::Preparing => {
                set_stakeholder(&mut self.client, &self.session, false);
                self.wait_until_best_connects();
            }
            Place::Replacing => {
                self.go_on(Place::Preparing, stage);
                cut("lte");
                self.client.wait_for_state(&self.session, 6);
            }
        }
    }

    fn wait_for(&mut self, signal: &str) {
        self.client.wait_for(&self.session, signal);
    }

    fn wait_for_offer(&mut self, of: &str) {
        let offer = self.client.wait_for(&self.session, "PreferredConfigurationChanged");
        let (number, configuration, ..): OfferSignal = offer.body().deserialize().unwrap();
        assert_eq!(configuration, of);
        self.newest = number;
    }

    fn wait_until_best_connects(&mut self) {
        let (best, _) = self.watcher.create("native-best");
        if self.watcher.properties(&best).unwrap().state != Some(2) {
            self.watcher.wait_for_state(&best, 2);
        }
    }

    fn answer(&mut self, answer: &str) {
        self.client.call(&self.session, SESSION_INTERFACE, answer, &self.newest).unwrap();
    }

    /// What an answer out of turn is refused with. Nothing is told, and nothing has changed.
    fn refused(&mut self, answer: &str, offer: u64) -> String {
        self.client.ping();
        self.client.take_signals();
        let before = self.client.properties(&self.session).unwrap();
        let refused = self.client.call(&self.session, SESSION_INTERFACE, answer, &offer).unwrap_err();
        self.client.ping();
        assert_eq!(shortly(&self.client.take_signals()), [""; 0], "{answer} {offer}");
        assert_eq!(self.client.properties(&self.session).unwrap(), before, "{answer} {offer}");
        refused.short().to_owned()
    }
}

fn cable<'a>(stage: &'a Stage, name: &str) -> &'a AccessPoint {
    stage.lab.access_point(name).unwrap()
}

/// Gives all answers in all places with each number that can be wrong, prints what they come to, and compares it.
fn assert_out_of_turn(stage: &Stage, mut start: impl FnMut() -> (Running, [Client; 2])) {
    let members = ["best", "lan", "lte"];
    let mut table = format!("{:20} {:6} {ANSWERS:?}\n", "state", "offer");
    let mut differences = String::new();
    for place in Place::ALL {
        for name in ["best", "lan"] {
            cable(stage, name).cut().unwrap();
        }
        let server = cable(stage, "best").dhcp_server().unwrap();
        if place.waits_for_lease() {
            server.fail(Fault::Silent);
        } else {
            server.heal();
        }
        let (daemon, [client, watcher]) = start();
        let mut subject = Subject::new(client, watcher);
        subject.reach(place, stage);
        let newest = subject.newest;
        for (name, number) in [("older", newest - 1), ("newest", newest), ("future", newest + 1)] {
            let expected = if name == "newest" { place.outcomes() } else { [place.outcome_of_others(); 4] };
            let mut outcomes = expected.map(str::to_owned);
            for (answer, outcome) in ANSWERS.into_iter().zip(&mut outcomes) {
                // One that is in turn is none of these.
                if outcome != "in turn" {
                    *outcome = subject.refused(answer, number);
                }
            }
            let _ = writeln!(table, "{place:20} {name:6} {}", outcomes.join(", "));
            if outcomes != expected {
                let _ = writeln!(differences, "{place} {name}: {}; not: {}", outcomes.join(", "), expected.join(", "));
            }
        }
        drop(subject);
        for name in members {
            cable(stage, name).restore().unwrap();
        }
        stage.wait_until_untouched();
        daemon.end();
        // The server of a network that is known again is not waited for.
        let leases = stage.directory().join("state");
        if leases.exists() {
            fs::remove_dir_all(leases).unwrap();
        }
    }
    println!("{table}");
    assert!(differences.is_empty(), "{differences}");
}

fn stage_of_three() -> Stage {
    let plan = |name| AccessPointPlan::new(name).dhcp(Dhcp::Scripted(Script::default().rapid_commit(true)));
    let stage = Stage::with(["best", "lan", "lte"].map(plan));
    stage.write_service_network(&["best", "lan", "lte"]);
    stage
}

/// Scenario 28, and so is the next one.
#[test]
fn an_answer_out_of_turn_is_an_error_and_nothing_else() {
    let stage = stage_of_three();
    assert_out_of_turn(&stage, || (stage.start(), [(); 2].map(|()| stage.connect())));
}

#[test]
fn an_answer_out_of_turn_is_an_error_and_nothing_else_on_a_bus_too() {
    let stage = stage_of_three();
    let _bus = stage.bus();
    let address = stage.bus_address();
    assert_out_of_turn(&stage, || {
        let daemon = stage.start_with(["--bus", &address]);
        let mut clients = [(); 2].map(|()| Client::on_bus(&address));
        wait_for_name(&mut clients[0]);
        (daemon, clients)
    });
}
