use netbearer_core::Refusal;
use netbearer_dbus::{ErrorName, FailureValue, failure_to_wire};
use netbearer_service::ServiceGone;
use zbus::{Message, message::Header};

/// The errors that D-Bus itself has names for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StandardError {
    UnknownObject,
    UnknownInterface,
    UnknownMethod,
    UnknownProperty,
    PropertyReadOnly,
    InvalidArgs,
    AccessDenied,
    NotSupported,
    LimitsExceeded,
    NameHasNoOwner,
    ServiceUnknown,
    Failed,
}

/// Why a call is answered with an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault(Box<Contents>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Contents {
    name: String,
    sentence: String,
    about: About,
}

/// What follows the sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
enum About {
    Nothing,
    Failure(FailureValue),
    Text(String),
}

impl Fault {
    pub(crate) fn standard(error: StandardError, sentence: impl Into<String>) -> Self {
        let name = format!("org.freedesktop.DBus.Error.{error:?}");
        Self::new(name, sentence.into(), About::Nothing)
    }

    pub(crate) fn ours(name: ErrorName, sentence: impl Into<String>) -> Self {
        Self::new(name.to_string(), sentence.into(), About::Nothing)
    }

    /// One with the text that it is about.
    pub(crate) fn about(name: ErrorName, sentence: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(name.to_string(), sentence.into(), About::Text(text.into()))
    }

    fn new(name: String, sentence: String, about: About) -> Self {
        Self(Box::new(Contents { name, sentence, about }))
    }

    /// The reply that tells it.
    pub(crate) fn reply(&self, call: &Header<'_>) -> zbus::Result<Message> {
        let Contents { name, sentence, about } = &*self.0;
        let error = Message::error(call, name.as_str());
        match about {
            About::Nothing => error.build(sentence),
            About::Failure(failure) => error.build(&(sentence, failure)),
            About::Text(text) => error.build(&(sentence, text)),
        }
    }
}

impl From<ServiceGone> for Fault {
    fn from(gone: ServiceGone) -> Self {
        Self::ours(ErrorName::ServiceGone, gone.to_string())
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let sentence = refusal.to_string();
        let failure = || refusal.failure().map_or(About::Nothing, |failure| About::Failure(failure_to_wire(&failure)));
        let (name, about) = match refusal {
            Refusal::UnknownToken => (ErrorName::UnknownToken, About::Nothing),
            Refusal::Denied(_) => (ErrorName::AccessDenied, failure()),
            Refusal::TooManyWatchers(_)
            | Refusal::TooManyDescriptors(_)
            | Refusal::TooManyUpdates(_)
            | Refusal::TooManySockets(_) => (ErrorName::LimitsExceeded, About::Nothing),
            Refusal::TooManySessions(_) => (ErrorName::LimitsExceeded, failure()),
            Refusal::NotSupported(_) | Refusal::CannotRoam(_) => (ErrorName::NotSupported, failure()),
            Refusal::Busy(_) => (ErrorName::Busy, failure()),
            Refusal::NotOpen(identifier) => (ErrorName::NotOpen, About::Text(identifier.into())),
            Refusal::NotHeld(identifier) => (ErrorName::NotHeld, About::Text(identifier.into())),
            Refusal::UnknownQuestion(_) | Refusal::NoSuchChoice(_) => (ErrorName::NotAsked, About::Nothing),
            Refusal::ReadOnlyProperty(key) => (ErrorName::PropertyReadOnly, About::Text(key.to_string())),
            Refusal::UnfitPropertyValue { .. } => (ErrorName::UnfitValue, About::Nothing),
            Refusal::SupersededOffer(number) => (ErrorName::SupersededOffer, About::Text(number.to_string())),
            Refusal::OutOfTurn { .. } => (ErrorName::OutOfTurn, About::Nothing),
            // UnknownSession, and a client that has gone meanwhile.
            _ => (ErrorName::UnknownSession, About::Nothing),
        };
        Self::new(name.to_string(), sentence, about)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_told_as_one() {
        for refusal in [
            Refusal::TooManyWatchers(1),
            Refusal::TooManyDescriptors(1),
            Refusal::TooManyUpdates(1),
            Refusal::TooManySockets(1),
        ] {
            assert_eq!(Fault::from(refusal.clone()).0.name, ErrorName::LimitsExceeded.to_string(), "{refusal}");
        }
    }
}
