use std::path::{Path, PathBuf};

use netbearer_dbus::{system_bus_address, system_bus_address_below};

/// Where other managers are to be found. A parameter for tests, whose managers live in other mount namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The root directory the managers see: their run files are below its `run`, their configuration below its `etc`.
    pub root: PathBuf,
    /// The D-Bus address of the system bus. Only `unix:path=` can be watched, and thus is asked.
    pub bus_address: String,
}

impl Places {
    /// Those of this machine.
    #[must_use]
    pub fn of_this_machine() -> Self {
        Self { bus_address: system_bus_address(), ..Self::below("/") }
    }

    /// The usual ones of a machine whose root directory is `root`.
    #[must_use]
    pub fn below(root: impl AsRef<Path>) -> Self {
        let root = root.as_ref().to_owned();
        let bus_address = system_bus_address_below(&root);
        Self { root, bus_address }
    }

    /// networkd's state of links, a file each, named by index.
    pub(crate) fn networkd(&self) -> PathBuf {
        self.root.join("run/systemd/netif/links")
    }

    /// dhcpcd's files of process numbers.
    pub(crate) fn dhcpcd(&self) -> PathBuf {
        self.root.join("run/dhcpcd")
    }

    /// dhcpcd's configuration.
    pub(crate) fn dhcpcd_configuration(&self) -> PathBuf {
        self.root.join("etc/dhcpcd.conf")
    }

    /// ifupdown's state.
    pub(crate) fn ifupdown(&self) -> PathBuf {
        self.root.join("run/network")
    }
}
