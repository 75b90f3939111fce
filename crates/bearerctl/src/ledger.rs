use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use netbearer::{
    CallError, Identifier, Manager, Moment, ServiceKind, SessionDescription, SessionId, SessionListing, SessionState,
    Traffic,
};
use nix::unistd::{Uid, User};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// More holders than these are counted, where they stand in a line.
const NAMED_HOLDERS: usize = 3;

/// Who holds what, of all programs.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// By number.
    entries: Vec<Entry>,
    is_of_machine: bool,
}

/// A session of some program, as people and programs read of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Entry {
    session: SessionId,
    /// What the program is called that has it, or had it last.
    pub(crate) program: Option<String>,
    pub(crate) process: Option<u32>,
    user: u32,
    user_name: Option<String>,
    /// What it was made on.
    pub(crate) configuration: Identifier,
    /// The access point that it uses, while it is open.
    pub(crate) active_configuration: Option<Identifier>,
    state: SessionState,
    is_open: bool,
    /// It holds, and its link is not up yet, or is waited for.
    is_opening: bool,
    /// Its program is gone, and its hold has been left to others.
    passed_on: bool,
    /// How many descriptors hold it.
    descriptors: u32,
    /// Since when it has been open.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(skip)]
    open_for: Option<Duration>,
    /// Octets that its access point has received and sent since it is up, all programs' alike.
    #[serde(flatten)]
    traffic: Traffic,
}

impl Ledger {
    /// What the service knows; nothing of an embedded one, whose sessions are this program's.
    pub(crate) async fn read(manager: &Manager) -> Result<Self, CallError> {
        if manager.service().kind == ServiceKind::Embedded {
            return Ok(Self::default());
        }
        let mut users = BTreeMap::new();
        let (time, moment) = (SystemTime::now(), boot_time());
        let entries = manager.sessions().await?.into_iter().map(|SessionListing { description, traffic, .. }| {
            let number = description.user.0;
            let user_name = users.entry(number).or_insert_with(|| user_name(number)).clone();
            Entry::new(description, traffic, user_name, time, moment)
        });
        Ok(Self { entries: entries.collect(), is_of_machine: true })
    }

    /// True if it knows the sessions of all programs.
    pub(crate) const fn is_of_machine(&self) -> bool {
        self.is_of_machine
    }

    /// Those that hold, or all.
    pub(crate) fn entries(&self, all: bool) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| all || entry.holds())
    }

    /// Who holds this one, or was promised to.
    pub(crate) fn holders(&self, identifier: &Identifier) -> Vec<Entry> {
        let is_meant = |entry: &&Entry| {
            entry.configuration == *identifier || entry.active_configuration.as_ref() == Some(identifier)
        };
        self.entries(false).filter(is_meant).cloned().collect()
    }

    /// True if somebody has it up.
    pub(crate) fn uses(&self, access_point: &Identifier) -> bool {
        self.entries(false).any(|entry| entry.active_configuration.as_ref() == Some(access_point))
    }

    /// The program of a session.
    pub(crate) fn program(&self, session: SessionId) -> Option<String> {
        self.entries.iter().find(|entry| entry.session == session).map(Entry::name)
    }
}

impl Entry {
    fn new(
        description: SessionDescription,
        traffic: Traffic,
        user_name: Option<String>,
        time: SystemTime,
        moment: Moment,
    ) -> Self {
        let open_for = description.since.map(|since| moment.saturating_since(since));
        let since = open_for.and_then(|open_for| time.checked_sub(open_for));
        let (program, process) = match description.program {
            Some(program) => (Some(program.name), program.process),
            None => (None, None),
        };
        Self {
            session: description.session,
            program,
            process,
            user: description.user.0,
            user_name,
            configuration: description.configuration,
            active_configuration: description.active,
            state: description.state,
            is_open: description.is_open,
            is_opening: description.is_opening,
            passed_on: !description.owned,
            descriptors: description.descriptors,
            since: since.map(|since| humantime::format_rfc3339_seconds(since).to_string()),
            open_for,
            traffic,
        }
    }

    const fn holds(&self) -> bool {
        self.is_open || self.is_opening
    }

    pub(crate) fn program_words(&self) -> String {
        let program = self.program.as_deref().unwrap_or("unknown");
        if self.passed_on { format!("{program} (passed on)") } else { program.to_owned() }
    }

    pub(crate) fn user_words(&self) -> String {
        self.user_name.clone().unwrap_or_else(|| self.user.to_string())
    }

    pub(crate) fn state_words(&self) -> String {
        match (self.is_open, self.is_opening, self.state) {
            (true, ..) | (_, true, SessionState::Connecting) => self.state.to_string(),
            (_, true, _) => "waiting".to_owned(),
            _ => "watching".to_owned(),
        }
    }

    pub(crate) fn since_words(&self) -> String {
        self.open_for.map(|open_for| format!("{} ago", coarse(open_for))).unwrap_or_default()
    }

    pub(crate) fn traffic_words(&self) -> String {
        if self.is_open {
            format!("{} / {}", octets(self.traffic.received), octets(self.traffic.written))
        } else {
            String::new()
        }
    }

    /// The program and its number.
    fn name(&self) -> String {
        let program = self.program.as_deref().unwrap_or("an unknown program");
        match (self.passed_on, self.process) {
            (true, _) => format!("{program} (passed on)"),
            (false, Some(process)) => format!("{program} ({process})"),
            (false, None) => program.to_owned(),
        }
    }
}

/// Who they are, in a part of a line; empty if there is nobody.
pub(crate) fn names(entries: &[Entry]) -> String {
    let named: Vec<String> = entries.iter().take(NAMED_HOLDERS).map(Entry::name).collect();
    match entries.len().saturating_sub(NAMED_HOLDERS) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// By the machine's users, wherever they are kept (`getpwuid(3)`).
fn user_name(number: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(number)).ok().flatten().map(|user| user.name)
}

fn boot_time() -> Moment {
    let now = clock_gettime(ClockId::Boottime);
    let part = |value: i64| u64::try_from(value).unwrap_or_default();
    Moment::from_nanoseconds(part(now.tv_sec).saturating_mul(1_000_000_000).saturating_add(part(now.tv_nsec)))
}

/// In its two greatest units.
fn coarse(time: Duration) -> String {
    let text = humantime::format_duration(Duration::from_secs(time.as_secs())).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// With a unit of the decimal system.
fn octets(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1000 {
        return format!("{count} B");
    }
    // Whole tenths of the unit, cut off, so that nothing is rounded up to the next one.
    let (mut tenths, mut unit) = (count / 100, 0);
    while tenths >= 10_000 {
        tenths /= 1000;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS.get(unit).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use netbearer::{Program, UserId};

    use super::*;

    fn description() -> SessionDescription {
        SessionDescription {
            session: SessionId(3),
            configuration: Identifier::new("service-net"),
            active: Some(Identifier::new("native-ap0")),
            user: UserId(4_294_967_294),
            program: Some(Program { process: Some(12), name: "ping".to_owned() }),
            owned: true,
            state: SessionState::Connected,
            is_open: true,
            is_opening: false,
            since: Some(Moment::from_nanoseconds(1_000_000_000)),
            descriptors: 1,
        }
    }

    fn entry(description: SessionDescription) -> Entry {
        let moment = Moment::from_nanoseconds(94_000_000_000);
        let traffic = Traffic { received: 1_234_567, written: 999 };
        Entry::new(description, traffic, None, SystemTime::UNIX_EPOCH + Duration::from_secs(100), moment)
    }

    #[test]
    fn an_open_session_is_told_with_everything_known_of_it() {
        let entry = entry(description());
        assert_eq!(entry.program_words(), "ping");
        assert_eq!(entry.user_words(), "4294967294");
        assert_eq!(entry.state_words(), "Connected");
        assert_eq!(entry.since_words(), "1m 33s ago");
        assert_eq!(entry.since.as_deref(), Some("1970-01-01T00:00:07Z"));
        assert_eq!(entry.traffic_words(), "1.2 MB / 999 B");
        assert_eq!(entry.name(), "ping (12)");
    }

    #[test]
    fn one_whose_program_is_gone_is_passed_on() {
        let entry = entry(SessionDescription { owned: false, ..description() });
        assert_eq!(
            (entry.program_words(), entry.name()),
            ("ping (passed on)".to_owned(), "ping (passed on)".to_owned())
        );
    }

    #[test]
    fn who_only_watches_holds_nothing() {
        let watching = SessionDescription { is_open: false, active: None, since: None, ..description() };
        let waiting = SessionDescription { is_opening: true, state: SessionState::Disconnected, ..watching.clone() };
        let ledger = Ledger { entries: vec![entry(watching), entry(waiting)], is_of_machine: true };
        let words = |all| ledger.entries(all).map(Entry::state_words).collect::<Vec<_>>();
        assert_eq!(words(true), ["watching", "waiting"]);
        assert_eq!(words(false), ["waiting"]);
        assert_eq!(ledger.holders(&Identifier::new("service-net")).len(), 1);
        assert!(!ledger.uses(&Identifier::new("native-ap0")));
    }

    #[test]
    fn many_holders_are_counted() {
        let entries = vec![entry(description()); 5];
        assert_eq!(names(&entries), "ping (12), ping (12), ping (12) and 2 more");
        assert_eq!(names(&entries[..1]), "ping (12)");
    }

    #[test]
    fn octets_have_a_unit() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_999, "999.9 kB"),
            (1_000_000, "1.0 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(octets(count), text);
        }
    }
}
