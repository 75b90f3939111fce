use netbearer_types::{Identifier, Offer, OfferNumber, RoamingSnapshot};
use zbus::{DeserializeDict, OwnedVariant, SerializeDict, Type, Variant};

use crate::{InterfaceValue, from_word, to_word};

/// What an application has to decide on, or has under way, as it travels; without a number it is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, SerializeDict, DeserializeDict, Type, Variant, OwnedVariant)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
#[allow(missing_docs)] // As in `netbearer_types::Offer` and `netbearer_types::RoamingSnapshot`.
pub struct OfferValue {
    pub number: Option<u64>,
    pub configuration: Option<String>,
    pub seamless: Option<bool>,
    pub replacement: Option<bool>,
    pub phase: Option<String>,
    pub candidate_interface: Option<InterfaceValue>,
}

impl From<&RoamingSnapshot> for OfferValue {
    fn from(roaming: &RoamingSnapshot) -> Self {
        Self {
            number: Some(roaming.offer.number.0),
            configuration: Some(roaming.offer.configuration.as_str().to_owned()),
            seamless: Some(roaming.offer.seamless),
            replacement: Some(roaming.offer.replacement),
            phase: Some(to_word(&roaming.phase)),
            candidate_interface: Some(
                roaming.candidate_interface.as_ref().map(InterfaceValue::from).unwrap_or_default(),
            ),
        }
    }
}

impl OfferValue {
    /// What this is; none if it is nothing, or in a phase that this version does not know.
    #[must_use]
    pub fn into_roaming(self) -> Option<RoamingSnapshot> {
        let offer = Offer {
            number: OfferNumber(self.number?),
            configuration: Identifier::new(self.configuration?),
            seamless: self.seamless.unwrap_or_default(),
            replacement: self.replacement.unwrap_or_default(),
        };
        let phase = from_word(&self.phase?)?;
        let candidate_interface = self.candidate_interface.and_then(InterfaceValue::into_interface);
        Some(RoamingSnapshot { offer, phase, candidate_interface })
    }
}

/// An offer as `PreferredConfigurationChanged` tells it: its number, the access point, whether the session's address survives,
/// and whether the link that was in use is lost.
pub type OfferSignal = (u64, String, bool, bool);

/// An offer as its signal tells it.
#[must_use]
pub fn offer_to_wire(offer: &Offer) -> OfferSignal {
    (offer.number.0, offer.configuration.as_str().to_owned(), offer.seamless, offer.replacement)
}

/// The offer that a signal has told.
#[must_use]
pub fn offer_from_wire((number, configuration, seamless, replacement): OfferSignal) -> Offer {
    Offer { number: OfferNumber(number), configuration: Identifier::new(configuration), seamless, replacement }
}

#[cfg(test)]
mod tests {
    use netbearer_types::OfferPhase;

    use super::*;

    fn offer() -> Offer {
        Offer { number: OfferNumber(7), configuration: "ap1".into(), seamless: true, replacement: true }
    }

    #[test]
    fn an_offer_arrives_as_it_was_made() {
        assert_eq!(offer_from_wire(offer_to_wire(&offer())), offer());
        for phase in [OfferPhase::Offered, OfferPhase::Migrating, OfferPhase::Trial] {
            let roaming = RoamingSnapshot { offer: offer(), phase, candidate_interface: None };
            assert_eq!(OfferValue::from(&roaming).into_roaming(), Some(roaming));
        }
    }

    #[test]
    fn nothing_and_phases_of_later_versions_are_no_offer() {
        assert_eq!(OfferValue::default().into_roaming(), None);
        let roaming = RoamingSnapshot { offer: offer(), phase: OfferPhase::Trial, candidate_interface: None };
        let later = OfferValue { phase: Some("Dreaming".to_owned()), ..OfferValue::from(&roaming) };
        assert_eq!(later.into_roaming(), None);
    }
}
