//! What sysfs says of the device behind a link.

use std::{
    fs,
    path::{Path, PathBuf},
};

use netbearer_kernel::Link;
use netbearer_types::Hardware;

/// The device behind a link; asked once for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Device {
    /// `DEVTYPE` of its uevent.
    pub(crate) kind: Option<String>,
    driver: Option<String>,
    path: Option<String>,
}

impl Device {
    /// Virtual links have no device; what they are called stands for the driver, as in `ethtool -i`.
    pub(crate) fn of(link: &Link) -> Self {
        if link.kind.is_some() {
            return Self { driver: link.kind.clone(), ..Self::default() };
        }
        let directory = PathBuf::from("/sys/class/net").join(&link.name);
        // Sysfs may show another namespace than ours.
        let index = fs::read_to_string(directory.join("ifindex")).unwrap_or_default();
        if index.trim() != link.index.to_string() {
            return Self::default();
        }
        let uevent = fs::read_to_string(directory.join("uevent")).unwrap_or_default();
        let device = directory.join("device");
        Self {
            kind: uevent.lines().find_map(|line| line.strip_prefix("DEVTYPE=")).map(str::to_owned),
            driver: target_name(&device.join("driver")),
            path: fs::canonicalize(device).ok().and_then(|device| place(ancestors(&device))),
        }
    }

    /// What profiles can know the link by.
    pub(crate) fn hardware(&self, link: &Link) -> Hardware {
        let addresses = [&link.permanent_hardware_address, &link.hardware_address];
        Hardware {
            address: addresses.into_iter().find(|address| !address.is_empty()).map(ToString::to_string),
            driver: self.driver.clone(),
            path: self.path.clone(),
        }
    }
}

/// The name of what a symbolic link leads to.
fn target_name(link: &Path) -> Option<String> {
    Some(fs::read_link(link).ok()?.file_name()?.to_string_lossy().into_owned())
}

/// A device and those above it, each with its subsystem and name.
fn ancestors(device: &Path) -> Vec<(String, String)> {
    let known = device.ancestors().filter_map(|device| {
        Some((target_name(&device.join("subsystem"))?, device.file_name()?.to_string_lossy().into_owned()))
    });
    known.collect()
}

/// Where it is plugged in, as udev's `path_id` tells it for network cards (`udev-builtin-path_id.c` of systemd): the nearest
/// device of each bus, the outermost first.
fn place(ancestors: Vec<(String, String)>) -> Option<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut bus = String::new();
    for (subsystem, name) in ancestors {
        if subsystem == bus {
            continue;
        }
        match subsystem.as_str() {
            "pci" | "platform" | "acpi" | "xen" | "amba" => parts.push(format!("{subsystem}-{name}")),
            // Buses are numbered as they come, so only the way from the root hub counts.
            "usb" => parts.push(format!("usb-0:{}", name.split_once('-').map_or(name.as_str(), |(_, port)| port))),
            _ => {}
        }
        bus = subsystem;
    }
    parts.reverse();
    (!parts.is_empty()).then(|| parts.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_as_udev_tells_them() {
        let place = |ancestors: &[(&str, &str)]| {
            place(ancestors.iter().map(|(subsystem, name)| ((*subsystem).to_owned(), (*name).to_owned())).collect())
        };
        let card = [("pci", "0000:02:00.0"), ("pci", "0000:00:1c.0")];
        assert_eq!(place(&card).as_deref(), Some("pci-0000:02:00.0"));
        let stick = [("usb", "1-2:1.0"), ("usb", "1-2"), ("usb", "usb1"), ("pci", "0000:00:14.0")];
        assert_eq!(place(&stick).as_deref(), Some("pci-0000:00:14.0-usb-0:2:1.0"));
        assert_eq!(place(&[("virtio", "virtio0"), ("pci", "0000:00:03.0")]).as_deref(), Some("pci-0000:00:03.0"));
        let board = [("pci", "0000:01:00.0"), ("pci", "0000:00:00.0"), ("platform", "fd500000.pcie")];
        assert_eq!(place(&board).as_deref(), Some("platform-fd500000.pcie-pci-0000:01:00.0"));
        assert_eq!(place(&[]), None);
    }
}
