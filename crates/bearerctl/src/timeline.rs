use std::time::{Duration, Instant, SystemTime};

use anstyle::Style;
use netbearer::{Failure, Identifier, Interface, OfferNumber, SessionEvent, SessionState};
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

/// What this program does about an offer.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event")]
pub(crate) enum OwnEvent<'a> {
    /// An offer, or the trial that it has come to, was answered.
    Answered {
        /// Which one.
        offer: OfferNumber,
        /// The candidate.
        access_point: &'a Identifier,
        /// How.
        answer: Answer,
    },
    /// An answer that was told came to nothing.
    AnswerRefused {
        /// To which offer.
        offer: OfferNumber,
        /// The candidate.
        access_point: &'a Identifier,
        /// What was answered.
        answer: Answer,
        /// Why it was refused.
        failure: String,
    },
    /// A trial has come to its end without an answer of this program.
    TrialOver {
        /// Of which offer.
        offer: OfferNumber,
        /// The candidate.
        access_point: &'a Identifier,
        /// What is known of it.
        failure: String,
    },
    /// The candidate was tested, or nothing was.
    Tested {
        /// In which offer's trial.
        offer: OfferNumber,
        /// The candidate.
        access_point: &'a Identifier,
        /// What was to be reached through it; none if nothing was tested.
        #[serde(skip_serializing_if = "Option::is_none")]
        target: Option<&'a str>,
        /// None if nothing was tested.
        passed: Option<bool>,
        /// Why it did not pass.
        #[serde(skip_serializing_if = "Option::is_none")]
        failure: Option<String>,
        /// How long that took.
        #[serde(skip_serializing_if = "Option::is_none")]
        milliseconds: Option<f64>,
    },
}

/// An answer to an offer (semantics §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Answer {
    Migrate,
    Ignore,
    Accept,
    Reject,
}

impl Answer {
    const fn words(self) -> &'static str {
        match self {
            Self::Migrate => "migrate to",
            Self::Ignore => "ignore",
            Self::Accept => "accept",
            Self::Reject => "reject",
        }
    }
}

impl OwnEvent<'_> {
    /// In a word, and what belongs to it.
    fn describe(&self) -> (&'static str, String) {
        match self {
            Self::Answered { offer, access_point, answer } => {
                ("Answered", format!("{} {access_point} (offer {offer})", answer.words()))
            }
            Self::AnswerRefused { offer, access_point, answer, failure } => {
                ("AnswerRefused", format!("{} {access_point} (offer {offer}): {failure}", answer.words()))
            }
            Self::TrialOver { offer, access_point, failure } => {
                ("TrialOver", format!("{access_point} (offer {offer}): {failure}"))
            }
            Self::Tested { access_point, target, failure, milliseconds, .. } => {
                let Some(target) = target else {
                    return (
                        "NotTested",
                        format!("nothing was tested through {access_point}; --test says what to try"),
                    );
                };
                match (failure, milliseconds) {
                    (Some(failure), _) => ("TestFailed", format!("{target}: {failure}")),
                    (None, Some(time)) => {
                        ("TestPassed", format!("{target} was reached through {access_point} in {time:.1} ms"))
                    }
                    (None, None) => ("TestPassed", format!("{target} was reached through {access_point}")),
                }
            }
        }
    }

    const fn style(&self) -> Style {
        match self {
            Self::Tested { passed: Some(true), .. } => GOOD,
            Self::Tested { passed: Some(false), .. } | Self::AnswerRefused { .. } => BAD,
            Self::Tested { passed: None, .. } | Self::TrialOver { .. } => BUSY,
            Self::Answered { .. } => Style::new(),
        }
    }
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

/// An event of a session as programs read it: what it says of an access point is not taken for the session's configuration.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum SessionEventObject<'a> {
    /// As it is.
    Same(&'a SessionEvent),
    /// One about an access point.
    OfAccessPoint {
        /// The event's name.
        event: &'static str,
        access_point: &'a Identifier,
        #[serde(skip_serializing_if = "Option::is_none")]
        offer: Option<OfferNumber>,
        #[serde(skip_serializing_if = "Option::is_none")]
        interface: Option<&'a Interface>,
        #[serde(skip_serializing_if = "Option::is_none")]
        failure: Option<&'a Failure>,
    },
}

impl<'a> From<&'a SessionEvent> for SessionEventObject<'a> {
    fn from(told: &'a SessionEvent) -> Self {
        let (event, access_point, offer, interface, failure) = match told {
            SessionEvent::NewConfigurationActivated { offer, configuration, interface } => {
                ("NewConfigurationActivated", configuration, Some(*offer), Some(interface), None)
            }
            SessionEvent::RoamingFailed { configuration, failure } => {
                ("RoamingFailed", configuration, None, None, Some(failure))
            }
            SessionEvent::ActiveConfigurationChanged { configuration } => {
                ("ActiveConfigurationChanged", configuration, None, None, None)
            }
            other => return Self::Same(other),
        };
        Self::OfAccessPoint { event, access_point, offer, interface, failure }
    }
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
    /// Opened and ActiveConfigurationChanged.
    pub(crate) fn tell(
        &self,
        event: &SessionEvent,
        interface: Option<&Interface>,
        in_use: Option<&InUse>,
    ) -> Result<(), Error> {
        let told = SessionEventObject::from(event);
        let object = EventObject { in_use, ..EventObject::new(&told, Some(&self.configuration)) };
        match (self.place, self.output.json) {
            (Place::StandardOutput, true) => self.output.object(&object),
            (Place::StandardOutput, false) => {
                let word = if *event == SessionEvent::Opened { "with" } else { "to" };
                let detail = in_use.map(|in_use| format!("{word} {}", in_use.words));
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

impl Timeline {
    /// Tells what this program has done.
    pub(crate) fn tell_own(&self, own: &OwnEvent<'_>) -> Result<(), Error> {
        if self.output.json {
            return self.output.object(&EventObject::new(own, Some(&self.configuration)));
        }
        let (word, detail) = own.describe();
        self.output.line(&styled_line(self.began.elapsed(), own.style(), word, &detail))
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
    styled_line(since, style(event), &word, &detail)
}

fn styled_line(since: Duration, style: Style, word: &str, detail: &str) -> String {
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
        SessionEvent::PreferredConfigurationChanged { offer } => {
            let why = if offer.replacement { "instead of the lost link" } else { "preferred to the link in use" };
            let how = if offer.seamless { "; the address survives" } else { "" };
            ("Offered".to_owned(), format!("{}, {why}{how} (offer {})", offer.configuration, offer.number))
        }
        SessionEvent::OfferWithdrawn { offer } => ("OfferWithdrawn".to_owned(), format!("offer {offer}")),
        SessionEvent::NewConfigurationActivated { configuration, interface, .. } => {
            ("OnTrial".to_owned(), format!("{configuration}, {}", addresses(interface)))
        }
        SessionEvent::CurrentLinkLost { .. } => {
            ("CurrentLinkLost".to_owned(), "only the access point that was offered is left".to_owned())
        }
        SessionEvent::RoamingFailed { configuration, failure } => {
            ("RoamingFailed".to_owned(), format!("{configuration}: {failure}"))
        }
        SessionEvent::ActiveConfigurationChanged { configuration } => {
            ("Roamed".to_owned(), format!("to {configuration}"))
        }
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
        SessionEvent::Opened
        | SessionEvent::ActiveConfigurationChanged { .. }
        | SessionEvent::StateChanged { state: SessionState::Connected } => GOOD,
        SessionEvent::StateChanged {
            state: SessionState::Connecting | SessionState::Closing | SessionState::Roaming,
        }
        | SessionEvent::PreferredConfigurationChanged { .. }
        | SessionEvent::NewConfigurationActivated { .. }
        | SessionEvent::CurrentLinkLost { .. }
        | SessionEvent::ServiceLost => BUSY,
        SessionEvent::Error(_)
        | SessionEvent::RoamingFailed { .. }
        | SessionEvent::StateChanged { state: SessionState::Invalid } => BAD,
        _ => Style::new(),
    }
}

#[cfg(test)]
mod tests {
    use netbearer::{FailureReason, OfferDescription, SessionError};
    use serde_json::json;

    use super::*;

    fn interface() -> Interface {
        Interface {
            name: "ap1".to_owned(),
            index: 2,
            hardware_address: "02:00:00:00:00:01".to_owned(),
            mtu: 1_500,
            addresses: Vec::new(),
            gateways: Vec::new(),
            name_servers: Vec::new(),
            search_domains: Vec::new(),
        }
    }

    fn failure() -> Failure {
        Failure { error: SessionError::Unknown, reason: FailureReason::NoLease, message: "no lease".to_owned() }
    }

    fn roaming_events() -> [SessionEvent; 6] {
        let (number, configuration) = (OfferNumber(3), Identifier::new("native-ap1"));
        let offer = OfferDescription { number, configuration, seamless: false, replacement: true };
        let configuration = || Identifier::new("native-ap1");
        [
            SessionEvent::PreferredConfigurationChanged { offer },
            SessionEvent::OfferWithdrawn { offer: number },
            SessionEvent::NewConfigurationActivated {
                offer: number,
                configuration: configuration(),
                interface: interface(),
            },
            SessionEvent::CurrentLinkLost { offer: number },
            SessionEvent::RoamingFailed { configuration: configuration(), failure: failure() },
            SessionEvent::ActiveConfigurationChanged { configuration: configuration() },
        ]
    }

    #[test]
    fn roaming_is_told_in_a_line_each() {
        for event in roaming_events() {
            let line = line(Duration::from_secs(1), &event, None, None);
            assert!(!line.contains('\n') && !line.contains('{'), "{line}");
        }
    }

    #[test]
    fn the_access_point_that_an_event_is_about_is_not_taken_for_the_sessions_configuration() {
        let session = Identifier::new("service-uplink");
        for event in roaming_events() {
            let told = SessionEventObject::from(&event);
            let text = serde_json::to_string(&EventObject::new(&told, Some(&session))).unwrap();
            let object: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(object["configuration"], json!("service-uplink"), "{text}");
            let name = format!("{event:?}");
            assert_eq!(object["event"], json!(name.split(' ').next().unwrap()), "{text}");
            if !object["access_point"].is_null() {
                assert_eq!(object["access_point"], json!("native-ap1"));
            }
        }
    }
}
