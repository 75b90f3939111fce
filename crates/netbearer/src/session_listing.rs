use std::ops::Deref;

use netbearer_core::SessionDescription;
use netbearer_types::Traffic;
use serde::{Deserialize, Serialize};

/// One of all sessions of a service. What is said of it is reached through [`Deref`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SessionListing {
    /// Who has what, since when.
    #[serde(flatten)]
    pub description: SessionDescription,
    /// What its access points have carried since each became Active, all programs' traffic alike.
    #[serde(default)]
    pub traffic: Traffic,
}

impl SessionListing {
    #[cfg(feature = "embedded")]
    pub(crate) const fn new(description: SessionDescription, traffic: Traffic) -> Self {
        Self { description, traffic }
    }
}

impl Deref for SessionListing {
    type Target = SessionDescription;

    fn deref(&self) -> &SessionDescription {
        &self.description
    }
}
