use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    io::{self, IsTerminal},
    pin::pin,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use netbearer::{Configuration, Identifier, Kind, Step, Steps};
use tokio::time::{Instant, sleep_until};

use crate::output::Output;

/// What takes longer is worth a word.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two pictures.
const PERIOD: Duration = Duration::from_millis(100);

/// Shows people at a terminal what is waited for, once that has taken half a second. It stands on standard error, below what
/// is told, and is gone when it is over. Nothing is shown where nobody would see it, and to programs.
pub(crate) struct Waiting {
    /// None if nobody would see it.
    next: Option<Instant>,
    begun: Instant,
    bar: Option<ProgressBar>,
}

impl Waiting {
    pub(crate) fn begin(output: Output) -> Self {
        let is_seen = !output.json && io::stderr().is_terminal();
        let begun = Instant::now();
        Self { next: is_seen.then(|| begun + PATIENCE), begun, bar: None }
    }

    /// False if nobody would see what is shown.
    pub(crate) const fn is_seen(&self) -> bool {
        self.next.is_some()
    }

    /// Returns whenever it is time to [`Self::show`] something; never if nobody would see it.
    pub(crate) async fn tick(&self) {
        match self.next {
            Some(next) => sleep_until(next).await,
            None => std::future::pending().await,
        }
    }

    /// Shows the next picture.
    pub(crate) fn show(&mut self, what: impl fmt::Display) {
        self.next = Some(Instant::now() + PERIOD);
        let bar = self.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
                .with_elapsed(self.begun.elapsed())
        });
        bar.set_message(what.to_string());
        bar.tick();
    }

    /// Begins anew, as something else is waited for.
    pub(crate) fn begin_anew(&mut self) {
        self.clear();
        self.begun = Instant::now();
        self.next = self.next.map(|_| self.begun + PATIENCE);
    }

    /// Makes room for a line; what is shown comes back with the next picture.
    pub(crate) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Waits for something that says nothing on its way.
    pub(crate) async fn during<T>(output: Output, what: &str, work: impl Future<Output = T>) -> T {
        let mut waiting = Self::begin(output);
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = waiting.tick() => waiting.show(what),
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.clear();
    }
}

/// What a session on a configuration is waiting for.
pub(crate) struct Awaited {
    steps: Steps,
    configuration: Configuration,
    /// Of the access points that it may use.
    names: BTreeMap<Identifier, String>,
}

impl Awaited {
    /// `all` are the configurations there are, for their names.
    pub(crate) fn new(steps: Steps, configuration: Configuration, all: &[Configuration]) -> Self {
        let names = all.iter().map(|one| (one.identifier.clone(), one.name.clone())).collect();
        Self { steps, configuration, names }
    }
}

impl fmt::Display for Awaited {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Configuration { identifier, name, kind, children, .. } = &self.configuration;
        // What a user choice has come to is told when it is open: by then it may be anything.
        let others = self.names.keys().filter(|_| *kind == Kind::UserChoice);
        let steps = std::iter::once(identifier)
            .chain(children)
            .chain(others)
            .filter_map(|one| Some((one, self.steps.of(one)?)));
        let mut is_first = true;
        for (one, step) in steps {
            let name = self.names.get(one).map_or(one.as_str(), String::as_str);
            write!(formatter, "{}{}", if is_first { "" } else { "; " }, words(step, name))?;
            is_first = false;
        }
        if is_first { write!(formatter, "waiting for {name}") } else { Ok(()) }
    }
}

fn words(step: Step, name: &str) -> String {
    match step {
        Step::Preparing => format!("taking {name} over"),
        Step::AwaitingCarrier => format!("waiting for the carrier of {name}"),
        Step::AcquiringLease => format!("waiting for an address on {name}, from its DHCP server or IPv6 routers"),
        Step::Configuring => format!("setting up addresses and routes of {name}"),
        Step::Removing => format!("taking {name} down"),
        _ => format!("waiting for {name}"),
    }
}
