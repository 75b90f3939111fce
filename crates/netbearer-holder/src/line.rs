use std::path::PathBuf;

use netbearer::{Interface, SessionEvent, SessionSnapshot, SessionState};
use serde::{Deserialize, Serialize};

use crate::order::Answer;

/// What the process says, one JSON object a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "kebab-case")]
pub enum Line {
    /// A session was told something.
    Event {
        /// Its number.
        session: usize,
        /// In one word, or two.
        event: String,
        /// When, in nanoseconds of `CLOCK_BOOTTIME`.
        at: u64,
        /// What holds then.
        now: Told,
    },
    /// An order was carried out.
    Done {
        /// Which.
        order: String,
        /// Why it was refused: what kind of refusal, and a sentence.
        refusal: Option<(String, String)>,
        /// What a session tells that was made or asked for.
        now: Option<Told>,
        /// When, in nanoseconds of `CLOCK_BOOTTIME`.
        at: u64,
    },
    /// A descriptor that was asked for is there.
    Held {
        /// Its number.
        descriptor: usize,
        /// The file that it is of.
        file: Option<PathBuf>,
    },
    /// A socket for a descriptor to come is there.
    Listening,
    /// A descriptor has come.
    Received {
        /// Its number.
        descriptor: usize,
    },
    /// A connection through a session is there.
    Reached {
        /// The session's number.
        session: usize,
        /// The access point that the server is behind, by its own word.
        access_point: String,
    },
    /// An offer has come to its end.
    Decided {
        /// The session's number.
        session: usize,
        /// What was answered.
        answer: Answer,
        /// The link that was in use was lost.
        replacement: bool,
        /// Why it has come to nothing: what kind of refusal, and a sentence.
        refusal: Option<(String, String)>,
        /// When, in nanoseconds of `CLOCK_BOOTTIME`.
        at: u64,
        /// What holds then.
        now: Told,
    },
}

/// What a session's getters tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The public state.
    pub state: SessionState,
    /// It holds, and its link is up.
    #[serde(rename = "open")]
    pub is_open: bool,
    /// It holds, and its link is not up yet.
    #[serde(rename = "opening")]
    pub is_opening: bool,
    /// The interface in use.
    pub interface: Option<Interface>,
}

impl From<SessionSnapshot> for Told {
    fn from(snapshot: SessionSnapshot) -> Self {
        let SessionSnapshot { state, is_open, is_opening, interface, .. } = snapshot;
        Self { state, is_open, is_opening, interface }
    }
}

/// An event in one word, or two.
pub(crate) fn describe(event: &SessionEvent) -> String {
    match event {
        SessionEvent::StateChanged { state } => state.to_string(),
        SessionEvent::Opened => "Opened".to_owned(),
        SessionEvent::Closed => "Closed".to_owned(),
        SessionEvent::Error(failure) => format!("Error({})", failure.error),
        other => {
            let text = format!("{other:?}");
            text.split([' ', '{', '(']).next().unwrap_or_default().to_owned()
        }
    }
}
