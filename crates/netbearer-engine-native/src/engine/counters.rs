//! What access points carry.

use netbearer_kernel::TrafficMeter;
use netbearer_types::{Identifier, Traffic};

use super::NativeEngine;

/// Where the counters of an interface stood when counting began.
#[derive(Clone, Copy, Debug)]
pub(super) struct CountingStart {
    interface: u32,
    carried: Traffic,
}

/// Unless the kernel is too old, or does not let this process ask.
pub(super) fn open_meter() -> Option<TrafficMeter> {
    /// Loopback, which is there in every network namespace.
    const ANY_INTERFACE: u32 = 1;
    let meter = TrafficMeter::open().and_then(|mut meter| meter.read(ANY_INTERFACE).map(|_| meter));
    meter.inspect_err(|error| tracing::warn!("what interfaces carry cannot be counted: {error}")).ok()
}

impl NativeEngine {
    pub(super) fn begin_or_end_counting(&mut self, identifier: &Identifier, counting: bool) {
        let interface = self.access_points.get(identifier).and_then(|entry| entry.index).filter(|_| counting);
        let start = interface.and_then(|interface| {
            let carried = self.read_counters(interface)?;
            Some(CountingStart { interface, carried })
        });
        if let Some(entry) = self.access_points.get_mut(identifier) {
            entry.counting_start = start;
        }
    }

    pub(super) fn carried(&mut self, identifier: &Identifier) -> Option<Traffic> {
        let entry = self.access_points.get(identifier)?;
        // Another interface in its place has carried nothing yet that counts.
        let start = entry.counting_start.filter(|start| entry.index == Some(start.interface))?;
        Some(self.read_counters(start.interface)?.since(start.carried))
    }

    fn read_counters(&mut self, interface: u32) -> Option<Traffic> {
        let read = self.meter.as_mut()?.read(interface);
        read.inspect_err(|error| tracing::debug!(interface, "counters could not be read: {error}")).ok()
    }
}
