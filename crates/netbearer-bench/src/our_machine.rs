use std::time::{Duration, Instant};

use netbearer::{
    Directories, Embedded, Profile, SessionEvent, SessionState,
    blocking::{Events, Manager, Session},
};
use netbearer_lab::{AccessPoint, AccessPointPlan, Lab, Namespace};
use tempfile::TempDir;

use crate::error::BenchError;

/// The name of the only access point, and of the interface to it.
pub(crate) const ACCESS_POINT: &str = "ap0";

/// Longer than anything here takes; waiting ends with the event, not with this.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// A lab with one access point, and a service on its machine.
pub(crate) struct OurMachine {
    // In the order of their end.
    manager: Manager,
    _directory: TempDir,
    lab: Lab,
}

impl OurMachine {
    /// The calling thread moves to the lab's machine, as the service belongs to its caller's network namespace.
    /// `prepare` acts before the service starts.
    pub(crate) fn new(
        plan: AccessPointPlan,
        profile: Profile,
        prepare: impl FnOnce(&Lab) -> Result<(), BenchError>,
    ) -> Result<Self, BenchError> {
        let lab = Lab::builder().access_point(plan).build()?;
        lab.machine().enter()?;
        prepare(&lab)?;
        // In memory, as /run is on a machine.
        let directory = TempDir::new_in("/dev/shm")?;
        let embedded =
            Embedded::default().directories(Directories::below(directory.path())).profile(ACCESS_POINT, profile);
        Ok(Self { manager: Manager::start(embedded)?, _directory: directory, lab })
    }

    /// A machine whose interface was given a static address before we came: an adopted link, which comes back from a
    /// loss of carrier without DHCP.
    pub(crate) fn adopting(plan: AccessPointPlan) -> Result<Self, BenchError> {
        Self::new(plan, Profile::default(), |lab| {
            let access_point = lab.access_point(ACCESS_POINT)?;
            access_point.set_administratively_up(true)?;
            let subnet = access_point.subnet();
            let address = format!("{}/{}", subnet.host(50), subnet.prefix_length());
            lab.machine().command("ip").args(["address", "add", &address, "dev", ACCESS_POINT]).output()?;
            Ok(())
        })
    }

    pub(crate) fn access_point(&self) -> Result<&AccessPoint, BenchError> {
        Ok(self.lab.access_point(ACCESS_POINT)?)
    }

    pub(crate) fn namespace(&self) -> &Namespace {
        self.lab.machine()
    }

    pub(crate) fn session(&self) -> Result<Watched, BenchError> {
        let configuration = self.manager.find(Some(ACCESS_POINT))?;
        let session = self.manager.session(&configuration)?;
        let events = session.events();
        let state = session.state();
        Ok(Watched { session, events, state, losses: 0 })
    }
}

/// A session and the reader of its events.
pub(crate) struct Watched {
    session: Session,
    events: Events<SessionEvent>,
    state: SessionState,
    losses: u32,
}

impl Watched {
    /// Opens, and waits for Opened. How long that took.
    pub(crate) fn open(&mut self) -> Result<Duration, BenchError> {
        self.drain();
        let start = Instant::now();
        self.session.open()?;
        let end = |event: &SessionEvent| matches!(event, SessionEvent::Opened | SessionEvent::Error(_));
        match self.wait_for("Opened", end)? {
            SessionEvent::Error(failure) => Err(BenchError::Session(failure)),
            _ => Ok(start.elapsed()),
        }
    }

    /// Closes without waiting for more than Closed.
    pub(crate) fn close(&mut self) -> Result<(), BenchError> {
        Ok(self.session.close()?)
    }

    /// Closes as the last one, and waits for Disconnected. How long that took.
    pub(crate) fn close_last(&mut self) -> Result<Duration, BenchError> {
        self.drain();
        let start = Instant::now();
        self.session.close()?;
        self.wait_for_state(SessionState::Disconnected)?;
        Ok(start.elapsed())
    }

    /// Waits for the link to be up again after a loss, and opens again.
    pub(crate) fn open_again(&mut self) -> Result<(), BenchError> {
        self.drain();
        if self.state != SessionState::Connected {
            self.wait_for_state(SessionState::Connected)?;
        }
        self.open().map(|_| ())
    }

    /// Waits until the loss of the link is told; none if it is not told by then.
    pub(crate) fn wait_for_loss(&mut self, within: Duration) -> Option<Instant> {
        let deadline = Instant::now() + within;
        let losses = self.losses;
        while self.losses == losses {
            let event = self.events.next_within(deadline.saturating_duration_since(Instant::now()))?;
            let told = Instant::now();
            self.note(&event);
            if self.losses > losses {
                return Some(told);
            }
        }
        None
    }

    /// Waits until the session is told to be over. When that was.
    pub(crate) fn wait_for_closed(&mut self) -> Result<Instant, BenchError> {
        self.wait_for("Closed", |event| *event == SessionEvent::Closed)?;
        Ok(Instant::now())
    }

    /// How often the link was told to be lost.
    pub(crate) fn losses(&self) -> u32 {
        self.losses
    }

    /// Reads what there is.
    pub(crate) fn drain(&mut self) {
        while let Some(event) = self.events.try_next() {
            self.note(&event);
        }
    }

    fn wait_for_state(&mut self, wanted: SessionState) -> Result<(), BenchError> {
        self.wait_for(
            "a change of state",
            |event| matches!(event, SessionEvent::StateChanged { state } if *state == wanted),
        )?;
        Ok(())
    }

    fn wait_for(
        &mut self,
        what: &'static str,
        wanted: impl Fn(&SessionEvent) -> bool,
    ) -> Result<SessionEvent, BenchError> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = self.events.next_within(left).ok_or(BenchError::NotTold { what, within: DEADLINE })?;
            self.note(&event);
            if wanted(&event) {
                return Ok(event);
            }
        }
    }

    fn note(&mut self, event: &SessionEvent) {
        if let SessionEvent::StateChanged { state } = event {
            if self.state == SessionState::Connected {
                self.losses += 1;
            }
            self.state = *state;
        }
    }
}
