use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use netbearer_engine::{Engine, EngineEvent};
use netbearer_engine_native::{NativeEngine, NativeSettings};
use netbearer_kernel::BootClock;
use netbearer_types::{
    AccessPointCommand, AccessPointReport, CommandNumber, Identifier, Level, LinkLevel, Profile, Stage, Target,
};
use tokio::time::timeout;

use crate::stage::{DEADLINE, Scene};

/// An engine, and who reads its reports.
pub(crate) struct Driver {
    pub(crate) engine: NativeEngine,
    reports: BTreeMap<Identifier, AccessPointReport>,
    last_number: u64,
    started: Instant,
}

/// What the engine calls an interface without an address of its hardware's.
pub(crate) fn identifier(interface: &str) -> Identifier {
    Identifier::new(format!("native-{interface}"))
}

/// Something can go by it.
pub(crate) fn works(link: &LinkLevel) -> bool {
    let is_usable = link.interface.addresses.iter().any(netbearer_types::InterfaceAddress::is_usable);
    link.administratively_up && link.carrier && is_usable && !link.default_route.is_empty()
}

impl Driver {
    /// Returns after the first enumeration.
    pub(crate) async fn start(settings: NativeSettings) -> Self {
        let started = Instant::now();
        let engine = NativeEngine::start(settings, BootClock::start().unwrap()).await.unwrap();
        let mut driver = Self { engine, reports: BTreeMap::new(), last_number: 0, started };
        while driver.next().await != EngineEvent::Enumerated {}
        driver
    }

    /// Since it was started.
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) async fn next(&mut self) -> EngineEvent {
        let event = timeout(DEADLINE, self.engine.event()).await.expect("something is told in time").unwrap();
        self.note(&event);
        event
    }

    fn note(&mut self, event: &EngineEvent) {
        if let EngineEvent::Report(report) = event {
            self.reports.insert(report.identifier.clone(), (**report).clone());
        }
    }

    /// Goes on while this thread of its own waits for something.
    pub(crate) async fn meanwhile<T: Send + 'static>(
        &mut self,
        scene: &Arc<Scene>,
        wait: impl FnOnce(&Scene) -> T + Send + 'static,
    ) -> T {
        let scene = Arc::clone(scene);
        let mut waiting = tokio::task::spawn_blocking(move || wait(&scene));
        loop {
            let event = tokio::select! {
                waited = &mut waiting => return waited.unwrap(),
                event = self.engine.event() => event.unwrap(),
            };
            self.note(&event);
        }
    }

    /// What was told last.
    pub(crate) fn report(&self, interface: &str) -> &AccessPointReport {
        self.reports.get(&identifier(interface)).expect("it is known")
    }

    pub(crate) fn link(&self, interface: &str) -> &LinkLevel {
        match &self.report(interface).level {
            Level::Present(link) => link,
            Level::Absent => panic!("{interface} is gone"),
        }
    }

    pub(crate) fn is_up(&self, interface: &str) -> bool {
        works(self.link(interface))
    }

    pub(crate) fn command(&mut self, interface: &str, target: Target, profile: &Profile) -> CommandNumber {
        self.last_number += 1;
        let number = CommandNumber(self.last_number);
        let (identifier, profile) = (identifier(interface), profile.clone());
        self.engine.command(AccessPointCommand { identifier, number, target, profile });
        number
    }

    /// Waits until this is so of what was told last.
    pub(crate) async fn until(&mut self, interface: &str, is_so: impl Fn(&AccessPointReport) -> bool) {
        while !is_so(self.report(interface)) {
            self.next().await;
        }
    }

    pub(crate) async fn reach(&mut self, interface: &str, target: Target, profile: &Profile) {
        let number = self.command(interface, target, profile);
        self.until_reached(interface, number).await;
    }

    pub(crate) async fn until_reached(&mut self, interface: &str, number: CommandNumber) {
        let stage = |report: &AccessPointReport| {
            report.progress.as_ref().filter(|progress| progress.number == number).map(|progress| progress.stage.clone())
        };
        self.until(interface, |report| {
            let stage = stage(report);
            assert!(!matches!(stage, Some(Stage::Failed(..))), "{stage:?}");
            stage == Some(Stage::Reached)
        })
        .await;
    }

    pub(crate) async fn configure(&mut self, interface: &str) {
        self.reach(interface, Target::Configured, &Profile::default()).await;
    }

    pub(crate) async fn release(&mut self, interface: &str) {
        self.reach(interface, Target::Released, &Profile::default()).await;
    }
}
