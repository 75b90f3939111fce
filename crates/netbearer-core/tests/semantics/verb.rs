use netbearer_core::{Core, Refusal, SessionId};
use netbearer_types::{Moment, OfferNumber, OfferPhase};

/// What an application can answer to an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Migrate,
    Ignore,
    Accept,
    Reject,
}

impl Verb {
    pub(crate) const ALL: [Self; 4] = [Self::Migrate, Self::Ignore, Self::Accept, Self::Reject];

    pub(crate) fn say(
        self,
        core: &mut Core,
        session: SessionId,
        offer: OfferNumber,
        now: Moment,
    ) -> Result<(), Refusal> {
        match self {
            Self::Migrate => core.migrate(session, offer, now),
            Self::Ignore => core.ignore(session, offer, now),
            Self::Accept => core.accept(session, offer, now),
            Self::Reject => core.reject(session, offer, now),
        }
    }

    /// When it is due.
    pub(crate) const fn phases(self) -> &'static [OfferPhase] {
        match self {
            Self::Migrate | Self::Ignore => &[OfferPhase::Offered],
            Self::Accept => &[OfferPhase::Trial],
            Self::Reject => &[OfferPhase::Migrating, OfferPhase::Trial],
        }
    }
}
