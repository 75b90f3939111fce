use std::time::{Duration, Instant, SystemTime};

use anstyle::Style;
use netbearer::{Identifier, Interface, SessionEvent, SessionState};
use serde::Serialize;

use crate::{
    error::Error,
    listing::addresses,
    output::{BAD, BUSY, DIM, GOOD, Output},
};

/// The events of one session, told as they come, with the time since the beginning.
#[derive(Debug)]
pub(crate) struct Timeline {
    output: Output,
    place: Place,
    configuration: Identifier,
    began: Instant,
}

/// Where a time line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It is the result.
    StandardOutput,
    /// Standard output belongs to another program; only programs are told.
    Aside,
}

/// An event as programs read it.
#[derive(Serialize)]
pub(crate) struct EventObject<'a, E> {
    #[serde(flatten)]
    pub(crate) event: &'a E,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) configuration: Option<&'a Identifier>,
    #[serde(flatten)]
    pub(crate) in_use: Option<&'a InUse>,
    pub(crate) time: String,
}

/// What an open session on a service network or user choice uses.
#[derive(Debug, Serialize)]
pub(crate) struct InUse {
    /// The access point.
    pub(crate) active_configuration: Identifier,
    /// What the user choice has come to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_choice_configuration: Option<Identifier>,
    /// The same for people.
    #[serde(skip)]
    pub(crate) words: String,
}

impl<'a, E> EventObject<'a, E> {
    pub(crate) fn new(event: &'a E, configuration: Option<&'a Identifier>) -> Self {
        Self {
            event,
            configuration,
            in_use: None,
            time: humantime::format_rfc3339_micros(SystemTime::now()).to_string(),
        }
    }
}

impl Timeline {
    pub(crate) fn new(output: Output, place: Place, configuration: Identifier) -> Self {
        Self { output, place, configuration, began: Instant::now() }
    }

    /// From here on time is counted.
    pub(crate) fn begin(&mut self) {
        self.began = Instant::now();
    }

    /// Tells an event; `interface` is the session's, for the states that have one, and `in_use` what it has come to, for
    /// Opened.
    pub(crate) fn tell(
        &self,
        event: &SessionEvent,
        interface: Option<&Interface>,
        in_use: Option<&InUse>,
    ) -> Result<(), Error> {
        let object = EventObject { in_use, ..EventObject::new(event, Some(&self.configuration)) };
        match (self.place, self.output.json) {
            (Place::StandardOutput, true) => self.output.object(&object),
            (Place::StandardOutput, false) => {
                let detail = in_use.map(|in_use| format!("with {}", in_use.words));
                self.output.line(&line(self.began.elapsed(), event, interface, detail.as_deref()))
            }
            (Place::Aside, true) => {
                self.output.aside(&object);
                Ok(())
            }
            (Place::Aside, false) => Ok(()),
        }
    }
}

/// An event in a line.
pub(crate) fn line(
    since: Duration,
    event: &SessionEvent,
    interface: Option<&Interface>,
    remark: Option<&str>,
) -> String {
    let (word, detail) = describe(event, interface);
    let detail = remark.map_or(detail, str::to_owned);
    let style = style(event);
    let time = format!("+{:.3} s", since.as_secs_f64());
    let begin = format!("{DIM}{time:>10}{DIM:#}  {style}");
    if detail.is_empty() { format!("{begin}{word}{style:#}") } else { format!("{begin}{word:<16}{style:#}  {detail}") }
}

/// An event in a word, and what belongs to it.
pub(crate) fn describe(event: &SessionEvent, interface: Option<&Interface>) -> (String, String) {
    match event {
        SessionEvent::StateChanged { state } => {
            let detail = interface.filter(|_| *state == SessionState::Connected).map(addresses).unwrap_or_default();
            (state.to_string(), detail)
        }
        SessionEvent::Opened => ("Opened".to_owned(), String::new()),
        SessionEvent::Closed => ("Closed".to_owned(), String::new()),
        // The message is told on standard error.
        SessionEvent::Error(failure) => ("Error".to_owned(), failure.error.to_string()),
        SessionEvent::InterfaceChanged { interface } => ("InterfaceChanged".to_owned(), addresses(interface)),
        SessionEvent::Lagged => ("Lagged".to_owned(), "events were dropped; what follows holds now".to_owned()),
        SessionEvent::ServiceLost => {
            ("ServiceLost".to_owned(), "the bearer service is away; the network stays as it is".to_owned())
        }
        SessionEvent::ServiceBack => ("ServiceBack".to_owned(), "the bearer service is back".to_owned()),
        other => (format!("{other:?}"), String::new()),
    }
}

pub(crate) const fn style(event: &SessionEvent) -> Style {
    match event {
        SessionEvent::Opened | SessionEvent::StateChanged { state: SessionState::Connected } => GOOD,
        SessionEvent::StateChanged {
            state: SessionState::Connecting | SessionState::Closing | SessionState::Roaming,
        }
        | SessionEvent::ServiceLost => BUSY,
        SessionEvent::Error(_) | SessionEvent::StateChanged { state: SessionState::Invalid } => BAD,
        _ => Style::new(),
    }
}
