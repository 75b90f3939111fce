use std::{fmt, str::FromStr};

/// The errors of NetBearer's calls; each is `org.netbearer.Error.` and its name. The body of an error is a sentence for
/// people; of those that have a failure, the failure follows it (signature `s(usss)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ErrorName {
    /// The configuration does not support the operation. With the failure.
    NotSupported,
    /// Another access point of the same device is in use. With the failure.
    Busy,
    /// The caller lacks a right. With the failure, which names it.
    AccessDenied,
    /// A limit of the caller's user, or of its session, is reached. With the failure, if it is one of sessions that hold.
    LimitsExceeded,
    /// A service network or user choice is not open in this session. With its identifier instead of a failure.
    NotOpen,
    /// A hold can only be passed on while there is one. With the identifier instead of a failure.
    NotHeld,
    /// There is no such question, or no such choice in it.
    NotAsked,
    /// Only NetBearer writes this property. With its key instead of a failure.
    PropertyReadOnly,
    /// There is no such session property.
    UnknownProperty,
    /// The value does not fit the property.
    UnfitValue,
    /// There is no such session, or it is another client's.
    UnknownSession,
    /// No session of the caller's user has this token.
    UnknownToken,
    /// The offer is not the newest any more: it was superseded, withdrawn, or has been decided. With its number instead of a
    /// failure.
    SupersededOffer,
    /// The answer does not fit how far the offer is.
    OutOfTurn,
    /// The service is ending.
    ServiceGone,
}

const PREFIX: &str = "org.netbearer.Error.";

impl ErrorName {
    /// All names.
    pub const ALL: [Self; 15] = [
        Self::NotSupported,
        Self::Busy,
        Self::AccessDenied,
        Self::LimitsExceeded,
        Self::NotOpen,
        Self::NotHeld,
        Self::NotAsked,
        Self::PropertyReadOnly,
        Self::UnknownProperty,
        Self::UnfitValue,
        Self::UnknownSession,
        Self::UnknownToken,
        Self::SupersededOffer,
        Self::OutOfTurn,
        Self::ServiceGone,
    ];
}

impl fmt::Display for ErrorName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{PREFIX}{self:?}")
    }
}

/// The error is none of NetBearer's, or of a newer version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the error is none of NetBearer's")]
pub struct UnknownErrorName;

impl FromStr for ErrorName {
    type Err = UnknownErrorName;

    fn from_str(name: &str) -> Result<Self, UnknownErrorName> {
        let name = name.strip_prefix(PREFIX).ok_or(UnknownErrorName)?;
        Self::ALL.into_iter().find(|one| format!("{one:?}") == name).ok_or(UnknownErrorName)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_back() {
        for name in ErrorName::ALL {
            assert_eq!(name.to_string().parse(), Ok(name));
            assert!(zbus::names::ErrorName::try_from(name.to_string()).is_ok());
        }
        assert!("org.freedesktop.DBus.Error.Failed".parse::<ErrorName>().is_err());
    }
}
