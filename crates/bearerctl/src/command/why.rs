use std::collections::BTreeMap;

use netbearer::{BearerType, Decision, FindError, Identifier, Kind, Manager, SessionState, StateFlags, Subject};
use serde::Serialize;

use crate::{command::Context, decision, error::Error, ledger::Ledger, listing::Listing, output::BOLD};

/// What a configuration is, and what follows from that.
#[derive(Serialize)]
struct Explained {
    #[serde(flatten)]
    listing: Listing,
    verdict: String,
}

/// Everything that can be said.
#[derive(Serialize)]
struct Explanation {
    configurations: Vec<Explained>,
    decisions: Vec<Decision>,
    #[serde(skip)]
    ledger: Ledger,
    /// What configurations are called that decisions name, whether they are explained or not.
    #[serde(skip)]
    names: BTreeMap<Identifier, String>,
}

pub(crate) async fn run(context: &Context, wanted: Option<&str>) -> Result<(), Error> {
    let manager = context.manager().await?;
    let explanation = match wanted {
        None => explain_all(&manager).await?,
        Some(wanted) => explain(&manager, wanted).await?,
    };
    if context.output.json {
        return context.output.object(&explanation);
    }
    tell(&explanation).iter().try_for_each(|line| context.output.line(line))
}

/// Everything that can be said, without styles.
pub(crate) async fn text(manager: &Manager) -> Result<String, Error> {
    let styled = tell(&explain_all(manager).await?).join("\n");
    Ok(anstream::adapter::strip_str(&styled).to_string())
}

async fn explain_all(manager: &Manager) -> Result<Explanation, Error> {
    let ledger = Ledger::read(manager).await?;
    let listings = Listing::all(manager, &ledger).await?;
    Ok(Explanation {
        configurations: listings.into_iter().map(Explained::new).collect(),
        decisions: manager.decisions().await?,
        ledger,
        names: names(manager).await?,
    })
}

async fn names(manager: &Manager) -> Result<BTreeMap<Identifier, String>, Error> {
    let mut all = manager.configurations(None).await?;
    all.extend(manager.user_choices().await?);
    Ok(all.into_iter().map(|one| (one.identifier, one.name)).collect())
}

async fn explain(manager: &Manager, wanted: &str) -> Result<Explanation, Error> {
    let ledger = Ledger::read(manager).await?;
    let mut decisions = manager.decisions().await?;
    let configurations = match manager.find(Some(wanted)).await {
        Ok(configuration) => {
            let network = Listing::new(manager, &ledger, configuration).await?;
            // What happened to its members explains it as well.
            let members = network.configuration.children.clone();
            let mut explained = vec![Explained::new(network)];
            for member in &members {
                let member = manager.configuration(member).await?;
                explained.push(Explained::new(Listing::new(manager, &ledger, member).await?));
            }
            let identifiers = explained.iter().map(|one| &one.listing.configuration.identifier);
            decisions.retain(|decision| identifiers.clone().any(|one| is_about(decision, one)));
            explained
        }
        Err(error) => {
            decisions
                .retain(|decision| matches!(&decision.subject, Subject::Interface(interface) if interface == wanted));
            if decisions.is_empty() || !matches!(error, FindError::Unknown { .. }) {
                return Err(error.into());
            }
            Vec::new()
        }
    };
    Ok(Explanation { configurations, decisions, ledger, names: names(manager).await? })
}

/// Where a session goes is about each access point that it could use, or has left.
fn is_about(decision: &Decision, identifier: &Identifier) -> bool {
    match &decision.subject {
        Subject::AccessPoint(about) | Subject::Configuration(about) => about == identifier,
        Subject::Session(_, about) => about == identifier || decision::considers(decision, identifier),
        Subject::Interface(_) => false,
    }
}

fn tell(explanation: &Explanation) -> Vec<String> {
    let mut lines = Vec::new();
    for Explained { listing, verdict } in &explanation.configurations {
        let name = &listing.configuration.name;
        lines.push(format!("{BOLD}{name}{BOLD:#} {verdict}"));
        if let Some(tunnel) = listing.tunnel() {
            lines.push(format!("{BOLD}{name}{BOLD:#} has a full-tunnel VPN beside it, {tunnel}."));
        }
        for warning in listing.warnings() {
            lines.push(format!("{BOLD}{name}{BOLD:#} warns: {warning}."));
        }
    }
    if !explanation.configurations.is_empty() && !explanation.decisions.is_empty() {
        lines.push(String::new());
    }
    let name =
        |identifier: &Identifier| explanation.names.get(identifier).cloned().unwrap_or_else(|| identifier.to_string());
    for decision in &explanation.decisions {
        let subject = match &decision.subject {
            Subject::AccessPoint(identifier) | Subject::Configuration(identifier) => name(identifier),
            Subject::Session(session, identifier) => {
                let program = explanation.ledger.program(*session);
                let program = program.map(|program| format!(" of {program}")).unwrap_or_default();
                format!("session {session}{program} on {}", name(identifier))
            }
            Subject::Interface(interface) => interface.clone(),
        };
        lines.push(format!("{subject} {}", decision::words(decision, name)));
    }
    lines
}

impl Explained {
    fn new(listing: Listing) -> Self {
        let verdict = format!("{}; {}{}.", what_it_is(&listing), what_can_be_done(&listing), what_excludes(&listing));
        Self { listing, verdict }
    }
}

fn what_excludes(listing: &Listing) -> String {
    let others: Vec<&str> = listing.exclusive_with.iter().map(Identifier::as_str).collect();
    if others.is_empty() { String::new() } else { format!("; not together with {}", others.join(", ")) }
}

fn what_opening_does(listing: &Listing) -> String {
    if listing.may_start() {
        return "opening takes the most preferred member that is up, else brings the most preferred one up that can be, and \
            the next if that fails"
            .to_owned();
    }
    let who = if listing.is_of_machine { "the bearer service" } else { "this process" };
    format!("opening takes the most preferred member that is up, and {who} can start and stop none of them")
}

fn what_it_is(listing: &Listing) -> String {
    let flags = listing.configuration.state_flags;
    match listing.configuration.kind {
        Kind::ServiceNetwork => return format!("is {flags}: {}", what_its_members_are(listing)),
        Kind::UserChoice => return what_can_be_chosen(listing.state).to_owned(),
        _ => {}
    }
    let what = match flags {
        StateFlags::Active => {
            let addresses = listing.addresses().join(", ");
            let by = match (listing.adopted, listing.is_of_machine) {
                (false, _) => format!("held by {}", listing.used_by()),
                (true, false) => {
                    "not by this program: the machine itself or another process keeps it (adopted)".to_owned()
                }
                (true, true) => {
                    "not for any session: the machine itself or another program keeps it (adopted)".to_owned()
                }
            };
            format!("is up with {addresses}, and {by}")
        }
        StateFlags::Discovered => "is down, or has no address, and could be opened now".to_owned(),
        StateFlags::Defined if listing.interface.is_none() => "cannot be opened now: it is unplugged".to_owned(),
        StateFlags::Defined => "cannot be opened now: its interface is up without carrier".to_owned(),
        StateFlags::Undefined => "is not known well enough to be opened".to_owned(),
    };
    format!("is {flags}: it {what}")
}

fn what_its_members_are(listing: &Listing) -> String {
    let usable = |member: &&Listing| member.configuration.state_flags.contains(StateFlags::Discovered);
    let usable: Vec<&str> =
        listing.members.iter().filter(usable).map(|member| member.configuration.name.as_str()).collect();
    match (listing.member_in_use(), usable.as_slice()) {
        (Some(member), _) => format!("{} is up, and it is the first of its members that is", member.configuration.name),
        (None, []) if listing.members.is_empty() => "none of the members that its profile names is there".to_owned(),
        (None, []) => "none of its members can be opened now".to_owned(),
        (None, [one]) => format!("none of its members is up, and {one} could be opened now"),
        (None, several) => format!("none of its members is up, and these could be opened now: {}", several.join(", ")),
    }
}

/// A user choice is always Discovered, whatever there is to choose.
const fn what_can_be_chosen(state: SessionState) -> &'static str {
    match state {
        SessionState::NotAvailable => "is a user choice: nothing can be chosen now",
        SessionState::Connected => "is a user choice: something of what can be chosen is up",
        _ => "is a user choice: nothing of what can be chosen is up",
    }
}

fn what_can_be_done(listing: &Listing) -> String {
    match listing.configuration.kind {
        Kind::ServiceNetwork => return what_opening_does(listing),
        Kind::UserChoice => {
            return "opened at a terminal it asks if there are several, elsewhere the most preferred is taken"
                .to_owned();
        }
        _ => {}
    }
    let adopted = listing.adopted;
    if listing.may_start() {
        let shared = !adopted && listing.configuration.state_flags == StateFlags::Active;
        return if adopted {
            "sessions share it, the last close leaves it up, and only stop takes it down".to_owned()
        } else if shared {
            "more sessions share it, and the last close leaves it as it was found".to_owned()
        } else {
            "the first open brings it up, and the last close takes it down".to_owned()
        };
    }
    let reason = if listing.configuration.bearer_type == BearerType::Vpn {
        "only the program that made the tunnel can start and stop it".to_owned()
    } else if listing.is_of_machine {
        "the bearer service lacks a privilege to start and stop it, as it has logged".to_owned()
    } else {
        let missing = netbearer::missing_privileges().unwrap_or_default().join(", ");
        format!("this process cannot start and stop it without {missing}; run as root")
    };
    if adopted { format!("sessions share it, and the last close leaves it up; {reason}") } else { reason }
}
