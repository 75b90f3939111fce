use crate::{
    Failure, FailureReason, OfferPhase, RoamingSnapshot, SessionError, SessionEvent, SessionSnapshot, SessionState,
};

/// What a session's holder is told after an absence of the service: the events that lead from what it knew to what holds now, in
/// the order of semantics §3, and none for what has come and gone meanwhile.
///
/// | before | now | told |
/// |---|---|---|
/// | whatever | another state | StateChanged first |
/// | not open | open | Opened |
/// | not open | open, and roaming | Connected and Opened first, as only an open session roams |
/// | open | neither open nor waiting | Error, Closed |
/// | opening or waiting | neither, and not open | Error; and Closed, if it was stopped or its configuration is gone |
/// | open | waiting for its lost link (`Reconnect`) | nothing more; Disconnected first, if it watches what others keep up |
/// | Connected | Connected by another access point | ActiveConfigurationChanged |
/// | Connected | Connected by the same, with an interface that is another one for sessions | InterfaceChanged |
/// | no offer, or another | an offer | PreferredConfigurationChanged |
/// | an offer | none, and open | OfferWithdrawn; RoamingFailed, if the session was migrating to it and is not there now |
/// | roaming with its link | roaming without | CurrentLinkLost |
/// | no trial | a trial | NewConfigurationActivated |
/// | a trial | the same, with an interface that is another one for sessions | InterfaceChanged |
///
/// If nothing is known of what ended the session, it is [`FailureReason::LinkLost`].
#[must_use]
pub fn differences(before: &SessionSnapshot, after: &SessionSnapshot) -> Vec<SessionEvent> {
    let mut events = Vec::new();
    let has_opened = after.is_open && !before.is_open;
    let waits = before.is_open && !after.is_open && after.is_opening;
    if waits && after.state == SessionState::Connected {
        events.push(SessionEvent::StateChanged { state: SessionState::Disconnected });
        events.push(SessionEvent::StateChanged { state: SessionState::Connected });
        return events;
    }
    let told = if has_opened { SessionState::Connected } else { after.state };
    if told != before.state {
        events.push(SessionEvent::StateChanged { state: told });
    }
    if has_opened {
        events.push(SessionEvent::Opened);
    }
    if after.state != told {
        events.push(SessionEvent::StateChanged { state: after.state });
    }
    let was_wanted = before.is_open || before.is_opening;
    if was_wanted && !after.is_open && !after.is_opening {
        // An accepted open clears it, so one that was there before is about something else.
        let news = after.failure.as_ref().filter(|failure| before.failure.as_ref() != Some(*failure));
        let failure = news.cloned().unwrap_or_else(lost_meanwhile);
        let is_taken_away = after.state == SessionState::Invalid || failure.reason == FailureReason::Stopped;
        events.push(SessionEvent::Error(failure));
        if before.is_open || is_taken_away {
            events.push(SessionEvent::Closed);
        }
    }
    let stays_connected = before.state == SessionState::Connected && after.state == SessionState::Connected;
    let is_open = before.is_open && after.is_open;
    if is_open {
        events.extend(vanished_offer(before, after));
    }
    let is_elsewhere =
        is_open && after.state == SessionState::Connected && after.active_configuration != before.active_configuration;
    if let Some(configuration) = after.active_configuration.clone().filter(|_| is_elsewhere) {
        events.push(SessionEvent::ActiveConfigurationChanged { configuration });
    }
    if let Some(roaming) = after.roaming.as_deref() {
        events.extend(offer_news(before, after, roaming));
    }
    if stays_connected
        && !is_elsewhere
        && let Some(interface) = &after.interface
        && before.interface.as_ref().is_none_or(|before| !before.is_same_for_sessions(interface))
    {
        events.push(SessionEvent::InterfaceChanged { interface: interface.clone() });
    }
    events
}

/// What was offered or tried, and is no more.
fn vanished_offer(before: &SessionSnapshot, after: &SessionSnapshot) -> Option<SessionEvent> {
    let former = before.roaming.as_deref()?;
    let current = after.roaming.as_deref().map(|roaming| roaming.offer.number);
    if current == Some(former.offer.number) {
        return None;
    }
    match former.phase {
        // The next offer says so, too.
        OfferPhase::Offered if current.is_some() => None,
        OfferPhase::Offered => Some(SessionEvent::OfferWithdrawn { offer: former.offer.number }),
        _ if after.active_configuration.as_ref() == Some(&former.offer.configuration) => None,
        _ => {
            let configuration = former.offer.configuration.clone();
            Some(SessionEvent::RoamingFailed { configuration, failure: lost_meanwhile() })
        }
    }
}

/// How far the offer is now, as far as that is news.
fn offer_news(before: &SessionSnapshot, after: &SessionSnapshot, roaming: &RoamingSnapshot) -> Vec<SessionEvent> {
    let (offer, number) = (&roaming.offer, roaming.offer.number);
    let former = before.roaming.as_deref().filter(|former| former.offer.number == number);
    let mut events = Vec::new();
    if former.is_none() && roaming.phase == OfferPhase::Offered {
        events.push(SessionEvent::PreferredConfigurationChanged { offer: offer.clone() });
    }
    if former.is_some() && before.interface.is_some() && after.interface.is_none() {
        events.push(SessionEvent::CurrentLinkLost { offer: number });
    }
    let is_trial = roaming.phase == OfferPhase::Trial;
    let is_news = former.is_none_or(|former| former.phase != OfferPhase::Trial);
    if let Some(interface) = roaming.candidate_interface.clone().filter(|_| is_trial && is_news) {
        let configuration = offer.configuration.clone();
        events.push(SessionEvent::NewConfigurationActivated { offer: number, configuration, interface });
    }
    let tried_before = former.and_then(|former| former.candidate_interface.as_ref());
    if let (Some(before), Some(interface)) = (tried_before, &roaming.candidate_interface)
        && !before.is_same_for_sessions(interface)
    {
        events.push(SessionEvent::InterfaceChanged { interface: interface.clone() });
    }
    events
}

fn lost_meanwhile() -> Failure {
    Failure {
        error: SessionError::SessionAborted,
        reason: FailureReason::LinkLost,
        message: "the session was lost while the bearer service was away; open it again".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::{AddressScope, Interface, InterfaceAddress, Moment, Offer, OfferNumber};

    fn interface(last: u8) -> Interface {
        let address = InterfaceAddress {
            address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)),
            prefix_length: 24,
            scope: AddressScope::Global,
            tentative: false,
        };
        Interface {
            name: "ap0".to_owned(),
            index: 2,
            hardware_address: "02:00:00:00:00:01".to_owned(),
            mtu: 1_500,
            addresses: vec![address],
            gateways: Vec::new(),
            name_servers: Vec::new(),
            search_domains: Vec::new(),
        }
    }

    fn watching(state: SessionState) -> SessionSnapshot {
        SessionSnapshot { state, ..SessionSnapshot::invalid() }
    }

    fn open() -> SessionSnapshot {
        SessionSnapshot {
            is_open: true,
            interface: Some(interface(2)),
            active_configuration: Some("ap0".into()),
            active_since: Some(Moment::ZERO),
            ..watching(SessionState::Connected)
        }
    }

    fn opening() -> SessionSnapshot {
        SessionSnapshot { is_opening: true, ..watching(SessionState::Connecting) }
    }

    fn failed(state: SessionState, error: SessionError, reason: FailureReason) -> SessionSnapshot {
        let failure = Failure { error, reason, message: "it went so".to_owned() };
        SessionSnapshot { failure: Some(failure), ..watching(state) }
    }

    /// The events without what they carry.
    fn told(before: &SessionSnapshot, after: &SessionSnapshot) -> Vec<String> {
        let name = |event: &SessionEvent| match event {
            SessionEvent::StateChanged { state } => state.to_string(),
            SessionEvent::Error(failure) => format!("{}: {:?}", failure.error, failure.reason),
            SessionEvent::InterfaceChanged { interface } => format!("interface {}", interface.addresses[0].address),
            other => format!("{other:?}"),
        };
        differences(before, after).iter().map(name).collect()
    }

    #[test]
    fn nothing_is_told_of_what_has_not_changed() {
        for snapshot in [open(), opening(), watching(SessionState::Disconnected), SessionSnapshot::invalid()] {
            assert_eq!(differences(&snapshot, &snapshot), []);
        }
    }

    #[test]
    fn a_watcher_is_told_its_state_and_nothing_of_a_failure() {
        let after = failed(SessionState::Disconnected, SessionError::Unknown, FailureReason::NoCarrier);
        assert_eq!(told(&watching(SessionState::Connected), &after), ["Disconnected"]);
    }

    #[test]
    fn an_opening_that_has_ended_well_is_told_as_always() {
        assert_eq!(told(&opening(), &open()), ["Connected", "Opened"]);
        let joined =
            SessionSnapshot { is_opening: true, interface: Some(interface(2)), ..watching(SessionState::Connected) };
        assert_eq!(told(&joined, &open()), ["Opened"]);
    }

    #[test]
    fn only_who_is_open_roams() {
        let roams = SessionSnapshot { state: SessionState::Roaming, interface: None, ..open() };
        assert_eq!(told(&opening(), &roams), ["Connected", "Opened", "Roaming"]);
        assert_eq!(told(&watching(SessionState::Connected), &roams), ["Opened", "Roaming"]);
        assert_eq!(told(&open(), &roams), ["Roaming"]);
    }

    #[test]
    fn an_opening_that_has_failed_is_no_closing() {
        let after = failed(SessionState::NotAvailable, SessionError::Unknown, FailureReason::NoCarrier);
        assert_eq!(told(&opening(), &after), ["NotAvailable", "Unknown: NoCarrier"]);
    }

    #[test]
    fn a_stop_and_a_removal_close_also_what_was_still_opening() {
        let stopped = failed(SessionState::Disconnected, SessionError::SessionAborted, FailureReason::Stopped);
        let removed =
            failed(SessionState::Invalid, SessionError::InvalidConfiguration, FailureReason::ConfigurationInvalid);
        for before in [open(), opening()] {
            assert_eq!(told(&before, &stopped), ["Disconnected", "SessionAborted: Stopped", "Closed"]);
            let told = told(&before, &removed);
            assert_eq!(told, ["Invalid", "InvalidConfiguration: ConfigurationInvalid", "Closed"]);
        }
    }

    #[test]
    fn a_lost_link_is_state_error_closed_also_if_others_have_it_up_by_now() {
        let lost = failed(SessionState::Disconnected, SessionError::SessionAborted, FailureReason::LinkLost);
        assert_eq!(told(&open(), &lost), ["Disconnected", "SessionAborted: LinkLost", "Closed"]);
        let up = SessionSnapshot { state: SessionState::Connected, interface: Some(interface(2)), ..lost };
        assert_eq!(told(&open(), &up), ["SessionAborted: LinkLost", "Closed"]);
    }

    #[test]
    fn what_nobody_knows_the_cause_of_is_a_lost_link() {
        let fresh = watching(SessionState::Disconnected);
        assert_eq!(told(&open(), &fresh), ["Disconnected", "SessionAborted: LinkLost", "Closed"]);
        let denied = failed(
            SessionState::Connected,
            SessionError::OperationNotSupported,
            FailureReason::MissingRight("org.netbearer.control".to_owned()),
        );
        let before = SessionSnapshot { failure: denied.failure.clone(), ..open() };
        assert_eq!(told(&before, &denied), ["SessionAborted: LinkLost", "Closed"]);
    }

    #[test]
    fn who_waits_for_a_lost_link_is_told_the_state_only() {
        let waiting = SessionSnapshot { is_opening: true, ..watching(SessionState::NotAvailable) };
        assert_eq!(told(&open(), &waiting), ["NotAvailable"]);
        let watching = SessionSnapshot { state: SessionState::Connected, ..waiting };
        assert_eq!(told(&open(), &watching), ["Disconnected", "Connected"]);
        assert_eq!(told(&opening(), &watching), ["Connected"]);
    }

    fn roaming(number: u64, phase: OfferPhase) -> SessionSnapshot {
        let offer = Offer {
            number: OfferNumber(number),
            configuration: "ap1".into(),
            seamless: false,
            replacement: phase == OfferPhase::Offered && number == 9,
        };
        let candidate_interface = (phase == OfferPhase::Trial).then(|| interface(7));
        let state = if phase == OfferPhase::Offered { SessionState::Connected } else { SessionState::Roaming };
        SessionSnapshot {
            state,
            roaming: Some(Box::new(RoamingSnapshot { offer, phase, candidate_interface })),
            ..open()
        }
    }

    fn names(before: &SessionSnapshot, after: &SessionSnapshot) -> Vec<String> {
        let first_word = |event: &SessionEvent| {
            let text = format!("{event:?}");
            text.split([' ', '(']).next().unwrap_or_default().to_owned()
        };
        differences(before, after).iter().map(first_word).collect()
    }

    #[test]
    fn offers_are_told_as_far_as_they_are_news() {
        use OfferPhase::{Migrating, Offered, Trial};
        let elsewhere = SessionSnapshot { active_configuration: Some("ap1".into()), ..open() };
        let alone = |phase| SessionSnapshot { interface: None, active_configuration: None, ..roaming(1, phase) };
        let lost = failed(SessionState::Disconnected, SessionError::Roaming, FailureReason::NothingToRoamTo);
        for (before, after, expected) in [
            (open(), roaming(1, Offered), &["PreferredConfigurationChanged"][..]),
            (roaming(1, Offered), roaming(1, Offered), &[]),
            (roaming(1, Offered), roaming(2, Offered), &["PreferredConfigurationChanged"]),
            (roaming(1, Offered), open(), &["OfferWithdrawn"]),
            (roaming(1, Offered), roaming(1, Trial), &["StateChanged", "NewConfigurationActivated"]),
            (roaming(1, Migrating), roaming(1, Trial), &["NewConfigurationActivated"]),
            (roaming(1, Migrating), alone(Migrating), &["CurrentLinkLost"]),
            (roaming(1, Trial), alone(Trial), &["CurrentLinkLost"]),
            (roaming(1, Trial), roaming(1, Trial), &[]),
            (roaming(1, Trial), open(), &["StateChanged", "RoamingFailed"]),
            (roaming(1, Trial), elsewhere.clone(), &["StateChanged", "ActiveConfigurationChanged"]),
            (roaming(1, Offered), lost, &["StateChanged", "Error", "Closed"]),
            (open(), elsewhere, &["ActiveConfigurationChanged"]),
        ] {
            assert_eq!(names(&before, &after), expected, "{before:?} {after:?}");
        }
    }

    #[test]
    fn another_interface_is_told_once_and_only_while_connected_or_on_trial() {
        let moved = SessionSnapshot { interface: Some(interface(3)), ..open() };
        assert_eq!(told(&open(), &moved), ["interface 10.0.0.3"]);
        let mut tentative = open();
        let address = InterfaceAddress { tentative: true, ..interface(9).addresses[0] };
        tentative.interface.as_mut().unwrap().addresses.push(address);
        assert_eq!(differences(&open(), &tentative), [], "what cannot be used is of no interest");
        assert_eq!(told(&watching(SessionState::Disconnected), &moved), ["Connected", "Opened"]);
        let mut readdressed = roaming(1, OfferPhase::Trial);
        readdressed.roaming.as_mut().unwrap().candidate_interface = Some(interface(8));
        assert_eq!(told(&roaming(1, OfferPhase::Trial), &readdressed), ["interface 10.0.0.8"], "of the candidate");
        let unknown = SessionSnapshot { interface: None, ..open() };
        assert_eq!(told(&unknown, &open()), ["interface 10.0.0.2"]);
        assert_eq!(differences(&open(), &unknown), []);
    }
}
