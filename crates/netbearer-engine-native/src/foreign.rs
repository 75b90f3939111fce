//! Which interfaces other network managers look after. Those are theirs: nothing of them is ever changed.

use std::{future::pending, time::Duration};

use netbearer_engine::Clock;
use netbearer_kernel::BootClock;
use netbearer_managers::{ManagerName, ManagerWatcher, Owner, Owners, Places};
use netbearer_types::{Failure, FailureReason, Moment, SessionError};

/// How long the first enumeration waits for other managers to say what they look after. They take a few milliseconds; one
/// that takes longer is busy or stopped.
const FIRST_ANSWERS: Duration = Duration::from_millis(250);

/// How long an interface may be anybody's because managers have not answered. Longer than they are given for an answer; it
/// ends the wait for a bus that takes connections and says nothing.
const SILENCE: Duration = Duration::from_secs(10);

/// What other managers say, as far as they have said it.
pub(crate) struct ForeignManagers {
    /// None if they cannot be watched.
    watcher: Option<ManagerWatcher>,
    clock: BootClock,
    known: Known,
}

enum Known {
    /// They cannot be watched, and why.
    Never(String),
    /// Not everybody there has answered; until then, or until this moment, every interface may be theirs.
    Nothing(Moment),
    Owners(Owners),
}

/// Why an interface is not ours to start and stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Another manager looks after it.
    Of(Owner),
    /// Whether another manager does is not known yet.
    Unknown,
    /// Whether another manager does cannot be known, and why.
    Unknowable(String),
}

impl ForeignManagers {
    /// Begins to ask; nobody is waited for. That they cannot be watched is no reason not to start: links that are up can
    /// be used all the same.
    pub(crate) fn open(places: &Places, clock: BootClock) -> Self {
        let (watcher, known) = match ManagerWatcher::open(places) {
            Ok(watcher) => (Some(watcher), Known::Nothing(clock.now() + SILENCE)),
            Err(error) => {
                tracing::error!("no interface can be started or stopped: {error}");
                (None, Known::Never(error.to_string()))
            }
        };
        Self { watcher, clock, known }
    }

    /// Waits for the first answers, but not long.
    pub(crate) async fn first_answers(&mut self) {
        let end = self.clock.now() + FIRST_ANSWERS;
        let Some(watcher) = &mut self.watcher else { return };
        let owners = tokio::select! {
            owners = watcher.changed() => owners,
            () = self.clock.sleep_until(end) => {
                tracing::warn!("a network manager or the system bus does not answer; whose the interfaces are is not known yet");
                return;
            }
        };
        self.known = Known::Owners(owners);
    }

    /// Waits until somebody else looks after some interface than did before. Dropping the future loses nothing.
    pub(crate) async fn changed(&mut self) {
        let silent_until = match self.known {
            Known::Nothing(moment) => Some(moment),
            Known::Never(_) | Known::Owners(_) => None,
        };
        let Some(watcher) = &mut self.watcher else { return pending().await };
        let silence = async {
            match silent_until {
                Some(moment) => self.clock.sleep_until(moment).await,
                None => pending().await,
            }
        };
        let owners = tokio::select! {
            owners = watcher.changed() => owners,
            () = silence => {
                tracing::warn!("a network manager or the system bus has not answered, and is taken to look after nothing");
                Owners::default()
            }
        };
        self.known = Known::Owners(owners);
    }

    /// Whose the interface of this name is, if it is not ours to take.
    pub(crate) fn claim(&self, interface: &str) -> Option<Claim> {
        match &self.known {
            Known::Never(cause) => Some(Claim::Unknowable(cause.clone())),
            Known::Nothing(_) => Some(Claim::Unknown),
            Known::Owners(owners) => owners.of(interface).map(Claim::Of),
        }
    }
}

impl Claim {
    pub(crate) fn failure(&self, interface: &str) -> Failure {
        let (reason, message) = match self {
            Self::Of(owner) => (FailureReason::ManagedElsewhere(owner.manager.to_string()), claimed(interface, owner)),
            Self::Unknown => (
                FailureReason::ManagedElsewhere("a network manager that has not answered yet".to_owned()),
                format!(
                    "whether another program manages {interface} is not known yet: a network manager or the system bus does not answer; try again in some seconds"
                ),
            ),
            Self::Unknowable(cause) => (
                FailureReason::EngineFailed,
                format!("whether another program manages {interface} cannot be known, so it is left alone: {cause}"),
            ),
        };
        Failure { error: SessionError::OperationNotSupported, reason, message }
    }
}

fn claimed(interface: &str, owner: &Owner) -> String {
    let Owner { manager, detail } = owner;
    format!(
        "{interface} is managed by {manager} ({detail}), so only {manager} starts and stops it; to hand it over: {}",
        how_to_hand_over(interface, *manager)
    )
}

/// As the manual of each of them has it.
fn how_to_hand_over(interface: &str, manager: ManagerName) -> String {
    match manager {
        ManagerName::NetworkManager => format!("nmcli device set {interface} managed no"),
        ManagerName::ConnMan => {
            format!("add {interface} to NetworkInterfaceBlacklist in /etc/connman/main.conf, and start ConnMan again")
        }
        ManagerName::Networkd => format!(
            "set Unmanaged=yes in the [Link] section of the .network file that `networkctl status {interface}` names, then networkctl reload"
        ),
        ManagerName::Dhcpcd => {
            format!("add \"denyinterfaces {interface}\" to /etc/dhcpcd.conf, and start dhcpcd again")
        }
        ManagerName::Ifupdown => format!("ifdown {interface}"),
        _ => format!("configure it to leave {interface} alone"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_manages_an_interface_and_how_to_hand_it_over_is_said() {
        for (manager, hint) in [
            (ManagerName::NetworkManager, "nmcli device set ap0 managed no"),
            (ManagerName::ConnMan, "NetworkInterfaceBlacklist"),
            (ManagerName::Networkd, "Unmanaged=yes"),
            (ManagerName::Dhcpcd, "denyinterfaces ap0"),
            (ManagerName::Ifupdown, "ifdown ap0"),
        ] {
            let failure = Claim::Of(Owner { manager, detail: "because".to_owned() }).failure("ap0");
            assert_eq!(failure.reason, FailureReason::ManagedElsewhere(manager.to_string()));
            assert!(failure.message.contains(hint) && failure.message.contains(&manager.to_string()), "{failure}");
        }
    }

    fn run(body: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(body);
    }

    #[test]
    fn without_any_manager_everything_is_known_at_once() {
        run(async {
            let directory = tempfile::tempdir().unwrap();
            let clock = BootClock::start().unwrap();
            let mut managers = ForeignManagers::open(&Places::below(directory.path()), clock);
            managers.first_answers().await;
            assert_eq!(managers.claim("ap0"), None);
        });
    }

    #[test]
    fn while_a_bus_says_nothing_every_interface_may_be_somebodys_but_not_for_ever() {
        run(async {
            let directory = tempfile::tempdir().unwrap();
            let socket = directory.path().join("run/dbus/system_bus_socket");
            std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
            let _silent = std::os::unix::net::UnixListener::bind(socket).unwrap();
            let (clock, suspends) = BootClock::start_with_injected_suspends().unwrap();
            let mut managers = ForeignManagers::open(&Places::below(directory.path()), clock);
            managers.first_answers().await;
            assert_eq!(managers.claim("ap0"), Some(Claim::Unknown));
            assert!(Claim::Unknown.failure("ap0").message.contains("not known yet"));
            suspends.suspend(SILENCE);
            managers.changed().await;
            assert_eq!(managers.claim("ap0"), None);
        });
    }
}
