//! Names: asked by programs that know nothing of sessions, and by sessions.

use std::{fs, net::IpAddr, os::unix::fs::MetadataExt, process::Command};

use netbearer::{LookupError, NameError, Profile, Verdict};
use netbearer_lab::{AccessPointPlan, Daemon, Dhcp, HERE, INTERNET, NOWHERE, openresolv};

use crate::stage::{AP0, DEADLINE, Manager, Resolver, Stage, Watched, wait_until_told};

const AP1: &str = "ap1";
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Resolved as [`HERE`] in the domain that the network has such names looked for in.
const IN_SHORT: &str = "printer";
/// Nobody is there.
const BEFORE: &str = "# by hand\nnameserver 192.0.2.53\noptions timeout:1 attempts:1\n";

/// A machine of two cards and its own `/etc/resolv.conf`. Behind each card is another name server.
struct Machine {
    stage: Stage,
}

impl Machine {
    fn new() -> Self {
        let stage = Stage::with_own_files([AP0, AP1].map(|name| AccessPointPlan::new(name).dhcp(Dhcp::Dnsmasq)));
        stage.lab.machine().write_file(RESOLV_CONF, BEFORE).unwrap();
        Self { stage }
    }

    /// The second access point is as this says.
    fn manager(&self, resolver: Resolver, second: Profile) -> Manager {
        self.stage.start(|setup| setup.resolver(resolver).profile(AP1, second))
    }

    fn server(&self, access_point: &str) -> IpAddr {
        self.stage.lab.access_point(access_point).unwrap().subnet().gateway().into()
    }

    /// What the C library of an ordinary program answers; none if it knows nothing.
    fn answer(&self, name: &str) -> Option<IpAddr> {
        let told = self.stage.lab.machine().command("getent").args(["ahostsv4", name]).output().ok()?;
        Some(told.split_whitespace().next()?.parse().unwrap())
    }

    fn text(&self) -> String {
        fs::read_to_string(self.stage.lab.machine().path(RESOLV_CONF)).unwrap()
    }

    /// Waits until the servers in a file are these, in this order.
    fn wait_for_servers(&self, file: &str, expected: &[IpAddr]) {
        let servers = |text: &str| -> Vec<IpAddr> {
            text.lines().filter_map(|line| line.strip_prefix("nameserver ")?.parse().ok()).collect()
        };
        let wanted = |text: Option<&str>| text.is_some_and(|text| servers(text) == expected);
        self.stage.lab.machine().wait_for_file(file, DEADLINE, wanted).unwrap();
    }

    /// Where systemd-resolved keeps what it was told of a link, for the time when it starts again.
    fn known_to_resolved(&self, access_point: &str) -> String {
        format!("/run/systemd/resolve/netif/{}", self.stage.lab.access_point(access_point).unwrap().index())
    }

    /// Waits until systemd-resolved knows the server of an access point, and whether it is for all names.
    fn wait_for_resolved(&self, access_point: &str, for_all: &str) {
        let facts = [format!("SERVERS={}", self.server(access_point)), format!("DEFAULT_ROUTE={for_all}")];
        let wanted = |text: Option<&str>| {
            text.is_some_and(|text| facts.iter().all(|fact| text.lines().any(|line| line == fact)))
        };
        let file = self.known_to_resolved(access_point);
        self.stage.lab.machine().wait_for_file(&file, DEADLINE, wanted).unwrap();
    }

    fn wait_for_resolved_to_forget(&self, access_point: &str) {
        let file = self.known_to_resolved(access_point);
        self.stage.lab.machine().wait_for_file(&file, DEADLINE, |text| text.is_none()).unwrap();
    }

    fn wait_for_original(&self) {
        self.stage.lab.machine().wait_for_file(RESOLV_CONF, DEADLINE, |text| text == Some(BEFORE)).unwrap();
    }

    /// Each session asks the server of its own access point.
    fn assert_lookups(&self, sessions: &[(&Watched, &str)]) {
        for (session, access_point) in sessions {
            for name in [HERE, IN_SHORT] {
                assert_eq!(
                    session.session.lookup(name).unwrap(),
                    [self.server(access_point)],
                    "{access_point}: {name}"
                );
            }
            // Whole, and looked for in no domain.
            let error = session.session.lookup(&format!("{NOWHERE}.")).unwrap_err();
            assert!(matches!(error, LookupError::Name(NameError::NoSuchName { .. })), "{error:?}");
        }
    }
}

fn close(session: &mut Watched) {
    session.close();
    session.expect_last("Disconnected");
}

fn preferred() -> Profile {
    Profile { preference: 10, ..Profile::default() }
}

/// Whether somebody who asks why is told this.
fn is_told(manager: &Manager, what: &str) -> bool {
    let decisions = manager.wait_for(async |manager| manager.decisions().await.unwrap());
    decisions.iter().any(|decision| match &decision.verdict {
        Verdict::Warning(text) => text.contains(what),
        Verdict::Named => decision.inputs.iter().any(|input| input.value == what),
        _ => false,
    })
}

/// Scenario 18, the bare file.
#[test]
fn programs_ask_the_servers_of_open_sessions_and_the_file_is_as_before_after_the_last_close() {
    let machine = Machine::new();
    let identity = || {
        let metadata = fs::metadata(machine.stage.lab.machine().path(RESOLV_CONF)).unwrap();
        (metadata.ino(), metadata.mode(), metadata.uid(), metadata.gid())
    };
    let before = identity();
    let manager = machine.manager(Resolver::File, preferred());
    assert_eq!(machine.answer(HERE), None);
    for _ in 0..2 {
        let mut first = Watched::opened_on(&manager, AP0);
        machine.wait_for_servers(RESOLV_CONF, &[machine.server(AP0)]);
        assert_eq!(machine.answer(HERE), Some(machine.server(AP0)));

        let mut second = Watched::opened_on(&manager, AP1);
        machine.wait_for_servers(RESOLV_CONF, &[AP1, AP0].map(|name| machine.server(name)));
        for name in [HERE, IN_SHORT] {
            assert_eq!(machine.answer(name), Some(machine.server(AP1)), "it is preferred: {name}");
        }
        machine.assert_lookups(&[(&first, AP0), (&second, AP1)]);

        close(&mut second);
        machine.wait_for_servers(RESOLV_CONF, &[machine.server(AP0)]);
        assert_eq!(machine.answer(HERE), Some(machine.server(AP0)));
        close(&mut first);
        machine.wait_for_original();
        assert_eq!((machine.answer(HERE), identity()), (None, before));
    }
    assert!(is_told(&manager, "resolv.conf"));
    // Whoever ends without closing has closed.
    let _left_open = Watched::opened_on(&manager, AP0);
    machine.wait_for_servers(RESOLV_CONF, &[machine.server(AP0)]);
    manager.shutdown();
    assert_eq!((machine.text().as_str(), identity()), (BEFORE, before));
}

#[test]
fn a_missing_file_is_missing_again_after_the_last_close() {
    let machine = Machine::new();
    fs::remove_file(machine.stage.lab.machine().path(RESOLV_CONF)).unwrap();
    let manager = machine.manager(Resolver::File, Profile::default());
    let mut session = Watched::opened_on(&manager, AP0);
    machine.wait_for_servers(RESOLV_CONF, &[machine.server(AP0)]);
    assert_eq!(machine.answer(HERE), Some(machine.server(AP0)));
    close(&mut session);
    machine.stage.lab.machine().wait_for_file(RESOLV_CONF, DEADLINE, |text| text.is_none()).unwrap();
}

#[test]
fn the_servers_of_adopted_links_and_of_links_without_default_route_are_not_for_all_programs() {
    let machine = Machine::new();
    let written = || {
        let metadata = fs::metadata(machine.stage.lab.machine().path(RESOLV_CONF)).unwrap();
        (metadata.mtime(), metadata.mtime_nsec())
    };
    let before = written();
    machine.stage.configure_by_hand();
    let aside = Profile { default_route: false, ..Profile::default() };
    let manager = machine.manager(Resolver::File, aside);
    let _adopted = Watched::opened_on(&manager, AP0);
    let session = Watched::opened_on(&manager, AP1);
    machine.assert_lookups(&[(&session, AP1)]);
    manager.shutdown();
    assert_eq!((machine.text().as_str(), written()), (BEFORE, before));
}

#[test]
fn a_file_that_others_write_meanwhile_is_theirs_and_that_is_said() {
    const THEIRS: &str = "nameserver 198.51.100.1\n";
    let machine = Machine::new();
    let manager = machine.manager(Resolver::File, Profile::default());
    let mut first = Watched::opened_on(&manager, AP0);
    machine.wait_for_servers(RESOLV_CONF, &[machine.server(AP0)]);
    machine.stage.lab.machine().write_file(RESOLV_CONF, THEIRS).unwrap();
    // Nobody else has to move for it to be noticed: what the file was is forgotten.
    let record = machine.stage.directory().join("state/resolv.conf.json");
    let forgotten = |text: Option<&str>| text.is_none();
    machine.stage.lab.machine().wait_for_file(record.to_str().unwrap(), DEADLINE, forgotten).unwrap();
    let mut second = Watched::opened_on(&manager, AP1);
    wait_until_told(&manager, "a warning", || is_told(&manager, "was changed by another program"));
    machine.assert_lookups(&[(&first, AP0), (&second, AP1)]);
    close(&mut second);
    close(&mut first);
    assert_eq!(machine.text(), THEIRS);
    manager.shutdown();
    assert_eq!(machine.text(), THEIRS);
}

/// Scenario 18, resolvconf.
#[test]
fn resolvconf_is_told_of_the_servers_of_each_access_point_and_makes_the_file() {
    let machine = Machine::new();
    let directory = machine.stage.directory().join("openresolv");
    let program = openresolv(machine.stage.lab.machine(), &directory).unwrap();
    let listed = || {
        let listed = Command::new(&program).arg("-l").output().unwrap();
        String::from_utf8(listed.stdout).unwrap()
    };
    let manager = machine.manager(Resolver::Resolvconf(directory), preferred());
    let mut first = Watched::opened_on(&manager, AP0);
    machine.wait_for_servers(RESOLV_CONF, &[machine.server(AP0)]);
    assert!(machine.text().starts_with("# Generated by resolvconf"));
    assert_eq!(machine.answer(HERE), Some(machine.server(AP0)));

    let mut second = Watched::opened_on(&manager, AP1);
    machine.wait_for_servers(RESOLV_CONF, &[AP1, AP0].map(|name| machine.server(name)));
    assert_eq!(machine.answer(HERE), Some(machine.server(AP1)), "it is preferred");
    assert!(listed().contains("ap0.netbearer") && listed().contains("ap1.netbearer"), "{}", listed());
    machine.assert_lookups(&[(&first, AP0), (&second, AP1)]);

    close(&mut second);
    machine.wait_for_servers(RESOLV_CONF, &[machine.server(AP0)]);
    close(&mut first);
    machine.wait_for_original();
    assert!(is_told(&manager, "resolvconf"));
    let _left_open = Watched::opened_on(&manager, AP0);
    machine.wait_for_servers(RESOLV_CONF, &[machine.server(AP0)]);
    manager.shutdown();
    assert_eq!((machine.text().as_str(), listed().as_str()), (BEFORE, ""));
}

/// Scenario 18, systemd-resolved.
#[test]
fn systemd_resolved_knows_the_servers_of_each_link_and_is_told_again_when_it_starts_again() {
    let machine = Machine::new();
    let _bus = Daemon::system_bus(machine.stage.lab.machine()).unwrap();
    let _relay = Daemon::bus_relay(machine.stage.lab.machine()).unwrap();
    let resolved = Daemon::resolved(machine.stage.lab.machine()).unwrap();
    let stub = machine.text();
    assert!(stub.contains("127.0.0.53"), "{stub}");
    let aside = Profile { default_route: false, ..Profile::default() };
    let manager = machine.manager(Resolver::Resolved, aside);
    let mut first = Watched::opened_on(&manager, AP0);
    machine.wait_for_resolved(AP0, "yes");
    assert_eq!(machine.answer(HERE), Some(machine.server(AP0)));
    let mut second = Watched::opened_on(&manager, AP1);
    machine.wait_for_resolved(AP1, "no");
    assert_eq!(machine.answer(HERE), Some(machine.server(AP0)), "the other is not for all programs");
    machine.assert_lookups(&[(&first, AP0), (&second, AP1)]);
    resolved.log().wait_for_text("member=ResolveHostname", DEADLINE).unwrap();

    resolved.kill();
    // Nobody answers but those of the access points themselves.
    machine.assert_lookups(&[(&first, AP0), (&second, AP1)]);
    for name in [AP0, AP1] {
        fs::remove_file(machine.stage.lab.machine().path(machine.known_to_resolved(name))).unwrap();
    }
    let _resolved = Daemon::resolved(machine.stage.lab.machine()).unwrap();
    machine.wait_for_resolved(AP1, "no");
    machine.wait_for_resolved(AP0, "yes");
    assert_eq!(machine.answer(HERE), Some(machine.server(AP0)));

    close(&mut second);
    machine.wait_for_resolved_to_forget(AP1);
    close(&mut first);
    machine.wait_for_resolved_to_forget(AP0);
    assert_eq!(machine.answer(HERE), None);
    assert_eq!(machine.text(), stub);
    assert!(is_told(&manager, "systemd-resolved"));
}

/// The address of the server is the same everywhere, and what answers there is not.
#[test]
fn a_server_that_profiles_name_is_asked_by_each_session_through_its_own_access_point() {
    let machine = Machine::new();
    let profile = Profile { name_servers: vec![INTERNET.into()], ..Profile::default() };
    let manager = machine
        .stage
        .start(|setup| setup.resolver(Resolver::File).profile(AP0, profile.clone()).profile(AP1, profile.clone()));
    let sessions = [AP0, AP1].map(|name| Watched::opened_on(&manager, name));
    machine.wait_for_servers(RESOLV_CONF, &[INTERNET.into()]);
    machine.assert_lookups(&[(&sessions[0], AP0), (&sessions[1], AP1)]);
    assert!(machine.answer(HERE).is_some());
}

#[test]
fn a_lookup_of_a_session_that_is_not_open_is_refused_and_an_address_is_its_own() {
    let machine = Machine::new();
    let manager = machine.manager(Resolver::File, Profile::default());
    let mut session = Watched::on(&manager, AP0);
    assert!(matches!(session.session.lookup(HERE), Err(LookupError::NotConnected(_))));
    session.open();
    session.expect_last("Opened");
    assert_eq!(session.session.lookup("192.0.2.7").unwrap(), ["192.0.2.7".parse::<IpAddr>().unwrap()]);
}
