use std::{fmt, sync::Arc};

use netbearer_types::Hardware;

/// Whose carrier is asked for all the time (the profile's `carrier_watch`): told by interface name and hardware. Nobody's by
/// default.
#[derive(Clone, Default)]
pub struct CarrierWatch {
    is_on: Option<Arc<Judge>>,
}

type Judge = dyn Fn(&str, &Hardware) -> bool + Send + Sync;

impl CarrierWatch {
    /// Of the access points of which `is_on` is true.
    pub fn new(is_on: impl Fn(&str, &Hardware) -> bool + Send + Sync + 'static) -> Self {
        Self { is_on: Some(Arc::new(is_on)) }
    }

    pub(crate) fn is_on(&self, interface: &str, hardware: &Hardware) -> bool {
        self.is_on.as_ref().is_some_and(|is_on| is_on(interface, hardware))
    }
}

impl fmt::Debug for CarrierWatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CarrierWatch").finish_non_exhaustive()
    }
}
