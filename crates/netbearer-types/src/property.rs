use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// The properties of a session (semantics §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PropertyKey {
    /// The access point in use; empty when not open. Read-only.
    ActiveConfiguration,
    /// What a user choice resolved to; empty otherwise. Read-only.
    UserChoiceConfiguration,
    /// True: try, and fail rather than ask the user. Unset by default.
    ConnectInBackground,
    /// Milliseconds, −1 by default; kept, and without effect, as no engine here must poll.
    AutoCloseSessionTimeout,
    /// True: survive the loss of the link and wait for its return. Ours; false by default.
    Reconnect,
    /// How long a replacement offer or its trial may stay unanswered. Ours; 10 s by default.
    AnswerTimeout,
    /// What happens then: `end` (default) or `migrate`. Ours.
    OnTimeout,
}

impl PropertyKey {
    /// Every key there is.
    pub const ALL: [Self; 7] = [
        Self::ActiveConfiguration,
        Self::UserChoiceConfiguration,
        Self::ConnectInBackground,
        Self::AutoCloseSessionTimeout,
        Self::Reconnect,
        Self::AnswerTimeout,
        Self::OnTimeout,
    ];

    /// True for the keys that only NetBearer writes.
    #[must_use]
    pub const fn is_read_only(self) -> bool {
        matches!(self, Self::ActiveConfiguration | Self::UserChoiceConfiguration)
    }

    /// The spelling of the key.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ActiveConfiguration => "ActiveConfiguration",
            Self::UserChoiceConfiguration => "UserChoiceConfiguration",
            Self::ConnectInBackground => "ConnectInBackground",
            Self::AutoCloseSessionTimeout => "AutoCloseSessionTimeout",
            Self::Reconnect => "Reconnect",
            Self::AnswerTimeout => "AnswerTimeout",
            Self::OnTimeout => "OnTimeout",
        }
    }
}

impl fmt::Display for PropertyKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl FromStr for PropertyKey {
    type Err = UnknownPropertyKey;

    fn from_str(text: &str) -> Result<Self, UnknownPropertyKey> {
        Self::ALL.into_iter().find(|key| key.as_str() == text).ok_or(UnknownPropertyKey)
    }
}

/// No property has that key: it is absent, for reading and for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownPropertyKey;

impl fmt::Display for UnknownPropertyKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("no session property has this key")
    }
}

impl std::error::Error for UnknownPropertyKey {}

/// The value of a property.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum PropertyValue {
    /// A truth value.
    Boolean(bool),
    /// A whole number; its unit depends on the key.
    Number(i64),
    /// Text.
    Text(String),
    /// A span of time.
    Duration(Duration),
}
