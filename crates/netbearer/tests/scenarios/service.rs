//! What a scenario speaks to: a manager, and the service that it was made with.

use std::{ops::Deref, sync::Arc, time::Duration};

use netbearer::{InjectedSuspends, blocking};

use crate::daemon::DaemonProcess;

/// A manager on the lab's machine. When the last one of its service and the last session are gone, nothing of ours is left
/// there: whoever drops that one waits for it.
#[derive(Clone, Debug)]
pub(crate) struct Manager {
    // Dropped before the service, which hears that it has gone.
    manager: blocking::Manager,
    service: Service,
}

/// What must be there as long as somebody speaks to it.
#[derive(Clone, Debug)]
pub(crate) enum Service {
    /// It lives as long as its managers and sessions do.
    Embedded(InjectedSuspends),
    /// It ends with the last copy. The time of a client is its own.
    Daemon(Arc<DaemonProcess>, InjectedSuspends),
}

impl Manager {
    pub(crate) const fn new(manager: blocking::Manager, service: Service) -> Self {
        Self { manager, service }
    }

    /// Closes all sessions, takes down what is ours, and ends the service.
    pub(crate) fn shutdown(&self) {
        // A dropped session's last word may be on its way still, and the daemon's end would overtake it.
        let _ = self.manager.wait_for(async |manager| manager.configurations(None).await);
        self.manager.shutdown();
        if let Service::Daemon(daemon, _) = &self.service {
            daemon.end();
        }
    }

    /// The machine seems to have been suspended for so long. The service has heard of it when this returns.
    pub(crate) fn suspend(&self, duration: Duration) {
        match &self.service {
            Service::Embedded(suspends) => suspends.suspend(duration),
            Service::Daemon(daemon, ours) => {
                ours.suspend(duration);
                daemon.suspend(duration);
            }
        }
    }

    /// The process that the service is.
    pub(crate) fn daemon(&self) -> &DaemonProcess {
        match &self.service {
            Service::Daemon(daemon, _) => daemon,
            Service::Embedded(_) => panic!("this is about daemons"),
        }
    }

    pub(crate) fn service(&self) -> Service {
        self.service.clone()
    }
}

impl Deref for Manager {
    type Target = blocking::Manager;

    fn deref(&self) -> &blocking::Manager {
        &self.manager
    }
}
