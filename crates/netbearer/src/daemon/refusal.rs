use netbearer_dbus::{ErrorName, FailureValue, failure_from_wire};
use netbearer_types::{Failure, FailureReason, Identifier, OfferNumber, SessionError};
use zbus::Message;

use crate::CallError;

/// What the bus says of a daemon that is not there any more.
const ABSENCES: [&str; 4] = [
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NoReply",
    "org.freedesktop.DBus.Error.Disconnected",
];
const LIMITS_EXCEEDED: &str = "org.freedesktop.DBus.Error.LimitsExceeded";
/// What the bus says when its policy keeps a call from the daemon.
const ACCESS_DENIED: &str = "org.freedesktop.DBus.Error.AccessDenied";

/// What an error that was answered means.
pub(super) fn refusal(answer: &Message) -> CallError {
    let header = answer.header();
    let name = header.error_name().map(|name| name.as_str()).unwrap_or_default();
    let body = answer.body();
    let about = body.deserialize::<(String, String)>().ok().map(|(_, about)| about);
    let failure = body.deserialize::<(String, FailureValue)>().ok().and_then(|(_, failure)| failure_from_wire(failure));
    let sentence = match (&failure, body.deserialize::<(String, String)>(), body.deserialize::<String>()) {
        (Some(failure), ..) => failure.message.clone(),
        (None, Ok((sentence, _)), _) | (None, _, Ok(sentence)) => sentence,
        _ => name.to_owned(),
    };
    let denied = || Failure {
        error: SessionError::OperationNotSupported,
        reason: FailureReason::MissingRight("policy of the bus".to_owned()),
        message: sentence.clone(),
    };
    let Ok(ours) = name.parse::<ErrorName>() else {
        return match name {
            name if ABSENCES.contains(&name) => CallError::ServiceLost,
            LIMITS_EXCEEDED => CallError::LimitReached(sentence),
            ACCESS_DENIED => CallError::Denied(denied()),
            _ => CallError::Refused(sentence),
        };
    };
    match (ours, failure, about) {
        (ErrorName::NotSupported, Some(failure), _) => CallError::NotSupported(failure),
        (ErrorName::Busy, Some(failure), _) => CallError::Busy(failure),
        (ErrorName::AccessDenied, Some(failure), _) => CallError::Denied(failure),
        (ErrorName::LimitsExceeded, ..) => CallError::LimitReached(sentence),
        (ErrorName::NotOpen, _, Some(identifier)) => CallError::NotOpen(Identifier::new(identifier)),
        (ErrorName::NotHeld, _, Some(identifier)) => CallError::NotHeld(Identifier::new(identifier)),
        (ErrorName::NotAsked, ..) => CallError::NotAsked(sentence),
        (ErrorName::PropertyReadOnly, _, Some(key)) => {
            key.parse().map_or(CallError::Refused(sentence), CallError::ReadOnlyProperty)
        }
        (ErrorName::SupersededOffer, _, Some(offer)) => {
            offer.parse().map_or(CallError::Refused(sentence), |offer| CallError::SupersededOffer(OfferNumber(offer)))
        }
        (ErrorName::OutOfTurn, ..) => CallError::OutOfTurn(sentence),
        (ErrorName::UnfitValue, ..) => CallError::UnfitPropertyValue(sentence),
        // It is going to be restarted, or has been ended for good; to its clients that is the same.
        (ErrorName::ServiceGone, ..) => CallError::ServiceLost,
        _ => CallError::Refused(sentence),
    }
}

#[cfg(test)]
mod tests {
    use netbearer_dbus::failure_to_wire;
    use netbearer_types::PropertyKey;
    use serde::Serialize;
    use zbus::DynamicType;

    use super::*;

    fn answered<B: Serialize + DynamicType>(name: &str, body: &B) -> CallError {
        let call = Message::method_call("/", "Open").build(&()).unwrap();
        refusal(&Message::error(&call.header(), name).build(body).unwrap())
    }

    #[test]
    fn what_the_daemon_refuses_arrives_with_what_it_is_about() {
        let ours = |name: ErrorName| name.to_string();
        let failure = Failure {
            error: SessionError::OperationNotSupported,
            reason: FailureReason::MissingRight("group bearer".to_owned()),
            message: "not for you".to_owned(),
        };
        let with_failure = ("not for you", failure_to_wire(&failure));
        assert_eq!(answered(&ours(ErrorName::AccessDenied), &with_failure), CallError::Denied(failure.clone()));
        assert_eq!(answered(&ours(ErrorName::Busy), &with_failure), CallError::Busy(failure));
        assert_eq!(
            answered(&ours(ErrorName::LimitsExceeded), &with_failure),
            CallError::LimitReached("not for you".to_owned())
        );
        assert_eq!(answered(&ours(ErrorName::LimitsExceeded), &"full"), CallError::LimitReached("full".to_owned()));
        assert_eq!(answered(&ours(ErrorName::NotOpen), &("no", "ap0")), CallError::NotOpen("ap0".into()));
        assert_eq!(answered(&ours(ErrorName::NotHeld), &("no", "ap0")), CallError::NotHeld("ap0".into()));
        assert_eq!(
            answered(&ours(ErrorName::PropertyReadOnly), &("no", "ActiveConfiguration")),
            CallError::ReadOnlyProperty(PropertyKey::ActiveConfiguration)
        );
        assert_eq!(
            answered(&ours(ErrorName::SupersededOffer), &("no", "7")),
            CallError::SupersededOffer(OfferNumber(7))
        );
        assert_eq!(answered(&ours(ErrorName::OutOfTurn), &"not yet"), CallError::OutOfTurn("not yet".to_owned()));
        assert_eq!(answered(&ours(ErrorName::ServiceGone), &"bye"), CallError::ServiceLost);
    }

    #[test]
    fn what_is_not_known_is_told_as_it_was_said() {
        let refused = |text: &str| CallError::Refused(text.to_owned());
        assert_eq!(
            answered("org.netbearer.Error.TooLate", &("not any more", 7_u32)),
            refused("org.netbearer.Error.TooLate")
        );
        assert_eq!(answered("org.netbearer.Error.TooLate", &"not any more"), refused("not any more"));
        assert_eq!(answered("org.freedesktop.DBus.Error.UnknownObject", &"no"), refused("no"));
        assert_eq!(answered("org.freedesktop.DBus.Error.NameHasNoOwner", &"nobody"), CallError::ServiceLost);
        let denied = answered("org.freedesktop.DBus.Error.AccessDenied", &"policy");
        assert!(matches!(denied, CallError::Denied(failure) if failure.message == "policy"));
    }
}
