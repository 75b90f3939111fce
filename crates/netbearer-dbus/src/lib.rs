//! The D-Bus interfaces of NetBearer: what is the same for its service and its clients.
//!
//! The interfaces themselves are the files in `xml/`. They are served on a private socket without a bus daemon, and on the
//! system bus; nothing in them depends on which. Fields and values that a reader does not know are passed over, so that
//! both sides may be of different versions.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod bus_address;
mod configuration;
mod error_name;
mod interface;
mod path;
mod property;
mod roaming;
mod session;
mod words;

use std::path::{Path, PathBuf};

pub use bus_address::{bus_socket, system_bus_address, system_bus_address_below};
pub use configuration::{ADOPTED, ConfigurationProperties, ProxyValue};
pub use error_name::ErrorName;
pub use interface::{AddressValue, InterfaceValue};
pub use path::{ObjectKind, chooser_path, configuration_path, object_kind, session_path};
pub use property::{property_from_wire, property_to_wire};
pub use roaming::{OfferSignal, OfferValue, offer_from_wire, offer_to_wire};
pub use session::{FailureValue, SessionProperties, failure_from_wire, failure_to_wire, state_from_wire};
pub use words::{from_word, to_word};

/// The name on the system bus.
pub const BUS_NAME: &str = "org.netbearer.Bearer1";
/// Where the manager is.
pub const MANAGER_PATH: &str = "/org/netbearer/Bearer1";
/// The interface of the manager.
pub const MANAGER_INTERFACE: &str = "org.netbearer.Manager1";
/// The interface of a configuration.
pub const CONFIGURATION_INTERFACE: &str = "org.netbearer.Configuration1";
/// The interface of a session.
pub const SESSION_INTERFACE: &str = "org.netbearer.Session1";
/// The interface of a chooser.
pub const CHOOSER_INTERFACE: &str = "org.netbearer.Chooser1";

/// The topic of configurations, for `Subscribe`.
pub const TOPIC_CONFIGURATIONS: &str = "configurations";
/// The topic of steps.
pub const TOPIC_STEPS: &str = "steps";
/// The topic of news.
pub const TOPIC_NEWS: &str = "news";

/// The XML of every interface, by name.
pub const INTERFACES: [(&str, &str); 4] = [
    (MANAGER_INTERFACE, include_str!("../xml/org.netbearer.Manager1.xml")),
    (CONFIGURATION_INTERFACE, include_str!("../xml/org.netbearer.Configuration1.xml")),
    (SESSION_INTERFACE, include_str!("../xml/org.netbearer.Session1.xml")),
    (CHOOSER_INTERFACE, include_str!("../xml/org.netbearer.Chooser1.xml")),
];

/// The private socket of the service with this runtime directory.
#[must_use]
pub fn socket_path(runtime_directory: &Path) -> PathBuf {
    runtime_directory.join("bus")
}

/// The file that the service with this runtime directory has locked for as long as it runs, from before it makes its socket. It
/// begins with its process number.
#[must_use]
pub fn service_lock_path(runtime_directory: &Path) -> PathBuf {
    runtime_directory.join("bearerd.lock")
}

/// The directory of the FIFOs that are holds, one for each.
#[must_use]
pub fn holds_path(runtime_directory: &Path) -> PathBuf {
    runtime_directory.join("holds")
}
