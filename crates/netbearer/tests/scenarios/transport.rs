//! How scenarios reach the service: it runs in this process, or is a process of its own on the lab's machine.

use std::{env, fs};

/// Names the transport: `embedded` (the default), `socket` or `bus`.
const VARIABLE: &str = "NETBEARER_TRANSPORT";

/// All scenarios run over each of them, but for [`only_embedded`] and [`only_served`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// The service is part of this process.
    Embedded,
    /// A daemon, by its own socket.
    Socket,
    /// A daemon, by a system bus.
    Bus,
}

impl Transport {
    /// What the environment asks for.
    pub(crate) fn chosen() -> Self {
        match env::var(VARIABLE).as_deref() {
            Err(_) | Ok("embedded") => Self::Embedded,
            Ok("socket") => Self::Socket,
            Ok("bus") => Self::Bus,
            Ok(other) => panic!("{VARIABLE} is {other:?}: it can be embedded, socket or bus"),
        }
    }
}

/// True if a scenario is to be left out, as it is about what there is only in an embedded service. Few are: a test counts them.
pub(crate) fn only_embedded(reason: &str) -> bool {
    let is_left_out = Transport::chosen() != Transport::Embedded;
    if is_left_out {
        println!("left out, as it is about embedded services only: {reason}");
    }
    is_left_out
}

/// True if a scenario is to be left out, as it is about several processes, which share nothing but a daemon.
pub(crate) fn only_served() -> bool {
    let is_left_out = Transport::chosen() == Transport::Embedded;
    if is_left_out {
        println!("left out, as it is about several processes, which share nothing but a daemon");
    }
    is_left_out
}

/// All there are; each says why.
#[test]
fn two_scenarios_are_left_out_where_there_is_a_daemon() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios");
    let files = fs::read_dir(directory).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
    assert_eq!(files.map(|text| text.matches("if only_embedded(").count()).sum::<usize>(), 2 + 1, "and the one here");
}
