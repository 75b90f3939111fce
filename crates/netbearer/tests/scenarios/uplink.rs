//! A service network of two access points: "lan", which is preferred, and "lte".

use std::{
    io::{ErrorKind, Read},
    time::Duration,
};

use netbearer::{Profile, PropertyKey, PropertyValue, ServiceNetworkProfile};
use netbearer_lab::{AccessPoint, AccessPointPlan, Conversation, Dhcp, uninterrupted};
use socket2::{Domain, Socket, Type};

use crate::{
    setup::Setup,
    stage::{DEADLINE, Manager, Stage, Watched, server},
};

/// The identifier of the service network.
pub(crate) const NETWORK: &str = "service-uplink";
/// Long enough to be told from nothing, and short enough to wait for.
pub(crate) const SETTLE: Duration = Duration::from_millis(300);
/// How long a link that was left without asking is kept.
pub(crate) const LINGER: Duration = Duration::from_millis(1_500);

pub(crate) fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

pub(crate) fn stage(lan: Dhcp, lte: Dhcp) -> Stage {
    Stage::new([AccessPointPlan::new("lan").dhcp(lan), AccessPointPlan::new("lte").dhcp(lte)])
}

/// The service network, whose members are not waited for long.
pub(crate) fn setup(setup: Setup) -> Setup {
    adjusted(setup, |_, _| ())
}

/// The same, with other times.
fn adjusted(setup: Setup, adjust: impl FnOnce(&mut Profile, &mut ServiceNetworkProfile)) -> Setup {
    let mut member = Profile {
        connect_timeout: Duration::from_millis(1_500),
        carrier_timeout: Duration::from_millis(500),
        ..Profile::default()
    };
    let mut network = ServiceNetworkProfile {
        members: owned(&["lan", "lte"]),
        settle: SETTLE,
        roam_linger: LINGER,
        ..ServiceNetworkProfile::default()
    };
    adjust(&mut member, &mut network);
    setup.profile("lan", member.clone()).profile("lte", member).service_network("uplink", network)
}

pub(crate) fn manager(stage: &Stage) -> Manager {
    stage.start(setup)
}

/// With members that come up as late as they may.
pub(crate) fn patient_manager(stage: &Stage) -> Manager {
    stage.start(|setup| adjusted(setup, |member, _| member.connect_timeout = DEADLINE))
}

/// With members that settle at once, or nearly so after many losses, and come up in their time on a busy machine, too.
pub(crate) fn hasty_manager(stage: &Stage) -> Manager {
    stage.start(|setup| {
        adjusted(setup, |member, network| {
            member.connect_timeout = Duration::from_secs(2);
            network.settle = Duration::from_millis(10);
        })
    })
}

/// With a link that was left without asking kept so long.
pub(crate) fn lingering_manager(stage: &Stage, linger: Duration) -> Manager {
    stage.start(|setup| {
        adjusted(setup, |member, network| {
            member.connect_timeout = DEADLINE;
            network.roam_linger = linger;
        })
    })
}

pub(crate) fn identifier(manager: &Manager, access_point: &str) -> String {
    manager.find(Some(access_point)).expect("it is there").identifier.to_string()
}

pub(crate) fn text(watched: &Watched, key: PropertyKey) -> String {
    match watched.session.property(key).expect("the service answers") {
        Some(PropertyValue::Text(text)) => text,
        other => panic!("{key} is {other:?}"),
    }
}

/// The lab's access point of this name.
pub(crate) fn access_point<'a>(stage: &'a Stage, name: &str) -> &'a AccessPoint {
    stage.lab.access_point(name).expect("it is there")
}

/// A connection through the session, to the server behind whatever it uses.
pub(crate) fn converse(watched: &Watched) -> Conversation {
    let stream = watched.session.connect_tcp(server()).expect("the server is reached");
    Conversation::over(stream, DEADLINE).expect("the server greets")
}

/// The connection of a program that knows nothing of sessions, and chooses its interface itself.
pub(crate) fn bound_to(interface: &str) -> Conversation {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind_device(Some(interface.as_bytes())).expect("the interface is there");
    socket.connect(&server().into()).expect("the server is reached");
    Conversation::over(socket.into(), DEADLINE).expect("the server greets")
}

/// A connection that stays behind has ended: at once, not in minutes.
pub(crate) fn expect_abort(conversation: &Conversation) {
    let mut stream = conversation.stream();
    let error = uninterrupted(|| stream.read(&mut [0])).expect_err("it has ended");
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted, "{error}");
}

/// The interface through which a connection of the session leaves, by the word of the server behind it.
pub(crate) fn reached_by(watched: &Watched) -> String {
    converse(watched).access_point().to_owned()
}
