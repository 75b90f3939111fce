use std::{net::Ipv4Addr, time::Duration};

use netbearer_dhcp::{
    AddressGuard, Conflict,
    arp::{BROADCAST, Message, Operation, Transmit},
};
use netbearer_types::Moment;
use proptest::{collection::vec, prelude::*};

use crate::history::HARDWARE_ADDRESS;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 9];
const SECOND_CARD: [u8; 6] = [2, 0, 0, 0, 0, 8];
const ANNOUNCEMENT: Transmit =
    Transmit { destination: BROADCAST, message: Message::announcement(HARDWARE_ADDRESS, ADDRESS) };

/// A guard in simulated time.
struct Watch {
    guard: AddressGuard,
    now: Moment,
}

impl Watch {
    fn begun() -> Self {
        let now = Moment::ZERO + Duration::from_secs(1_000);
        Self { guard: AddressGuard::new(HARDWARE_ADDRESS, [SECOND_CARD], ADDRESS, now), now }
    }

    /// All that happens by itself has happened, and a while has passed.
    fn settled() -> Self {
        let mut watch = Self::begun();
        while let Some(timeout) = watch.guard.poll_timeout() {
            watch.now = timeout;
            watch.guard.handle_timeout(timeout);
        }
        watch.guard.poll_transmit();
        watch.pass(100);
        watch
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
    }

    fn see(&mut self, message: Message) {
        self.guard.handle_message(&message, self.now);
    }

    fn time_out(&mut self) -> Duration {
        let timeout = self.guard.poll_timeout().expect("it waits for something");
        let passed = timeout - self.now;
        self.now = timeout;
        self.guard.handle_timeout(timeout);
        passed
    }
}

fn claim(hardware_address: [u8; 6]) -> Message {
    Message::announcement(hardware_address, ADDRESS)
}

fn reply(hardware_address: [u8; 6]) -> Message {
    Message {
        operation: Operation::Reply,
        target_hardware: HARDWARE_ADDRESS,
        ..Message::request(hardware_address, ADDRESS, Ipv4Addr::UNSPECIFIED)
    }
}

#[test]
fn a_kept_address_is_never_given_up_and_defended_once_in_ten_seconds() {
    let Watch { guard, now } = Watch::begun();
    let mut watch = Watch { guard: guard.kept(), now };
    watch.guard.poll_transmit();
    watch.see(reply(OTHER));
    let there_before = Conflict { hardware_address: OTHER, was_defended: false };
    assert_eq!((watch.guard.poll_conflict(), watch.guard.poll_transmit()), (Some(there_before), None));
    for _ in 0..2 {
        assert_eq!(watch.time_out(), Duration::from_secs(2));
        assert_eq!(watch.guard.poll_transmit(), Some(ANNOUNCEMENT));
    }
    assert_eq!(watch.guard.poll_timeout(), None);
    for _ in 0..3 {
        watch.pass(10);
        watch.see(claim(OTHER));
        let later = Conflict { hardware_address: OTHER, was_defended: true };
        assert_eq!((watch.guard.poll_conflict(), watch.guard.poll_transmit()), (Some(later), Some(ANNOUNCEMENT)));
        watch.pass(9);
        watch.see(claim(OTHER));
        assert_eq!(
            (watch.guard.poll_conflict(), watch.guard.poll_transmit()),
            (None, None),
            "it was defended just now"
        );
    }
    watch.see(claim(SECOND_CARD));
    assert_eq!(watch.guard.poll_conflict(), None);
}

#[test]
fn one_probe_then_two_announcements_then_nothing() {
    let mut watch = Watch::begun();
    let probe = Transmit { destination: BROADCAST, message: Message::probe(HARDWARE_ADDRESS, ADDRESS) };
    assert_eq!(watch.guard.poll_transmit(), Some(probe));
    assert_eq!(watch.guard.poll_transmit(), None);
    for _ in 0..2 {
        assert_eq!(watch.time_out(), Duration::from_secs(2));
        assert_eq!(watch.guard.poll_transmit(), Some(ANNOUNCEMENT));
    }
    assert_eq!(watch.guard.poll_timeout(), None, "nothing wakes a quiet machine");
    assert_eq!(watch.guard.poll_conflict(), None);
}

#[test]
fn whoever_answers_the_probe_was_there_before() {
    for message in [reply(OTHER), claim(OTHER)] {
        let mut watch = Watch::begun();
        watch.see(message);
        let expected = Conflict { hardware_address: OTHER, was_defended: false };
        assert_eq!(watch.guard.poll_conflict(), Some(expected));
        assert_eq!(watch.guard.poll_conflict(), None, "it is told once");
        assert_eq!((watch.guard.poll_timeout(), watch.guard.poll_transmit()), (None, None), "nothing follows");
        watch.see(claim(OTHER));
        assert_eq!((watch.guard.poll_conflict(), watch.guard.poll_transmit()), (None, None));
    }
}

#[test]
fn an_address_that_is_ours_is_defended_once_in_ten_seconds() {
    let mut watch = Watch::settled();
    for _ in 0..5 {
        watch.see(claim(OTHER));
        assert_eq!(watch.guard.poll_transmit(), Some(ANNOUNCEMENT));
        assert_eq!((watch.guard.poll_conflict(), watch.guard.poll_timeout()), (None, None));
        watch.pass(10);
    }
    watch.see(claim(OTHER));
    watch.pass(9);
    watch.see(claim(OTHER));
    let expected = Conflict { hardware_address: OTHER, was_defended: true };
    assert_eq!(watch.guard.poll_conflict(), Some(expected));
    assert_eq!(watch.guard.poll_transmit(), None, "the defence that was not sent yet is off");
}

#[test]
fn a_conflict_while_announcing_is_one_with_an_address_of_ours() {
    let mut watch = Watch::begun();
    watch.time_out();
    watch.guard.poll_transmit();
    watch.see(claim(OTHER));
    assert_eq!(watch.guard.poll_transmit(), Some(ANNOUNCEMENT));
    watch.see(reply(OTHER));
    assert_eq!(watch.guard.poll_conflict().map(|conflict| conflict.was_defended), Some(true));
    assert_eq!(watch.guard.poll_timeout(), None);
}

#[test]
fn what_is_no_conflict_changes_nothing() {
    for mut watch in [Watch::begun(), Watch::settled()] {
        let neighbour = Ipv4Addr::new(192, 0, 2, 78);
        watch.guard.poll_transmit();
        for message in [
            claim(HARDWARE_ADDRESS),
            reply(SECOND_CARD),
            Message::probe(OTHER, ADDRESS),
            Message::request(OTHER, neighbour, ADDRESS),
            Message::announcement(OTHER, neighbour),
        ] {
            let timeout = watch.guard.poll_timeout();
            watch.see(message);
            assert_eq!(watch.guard.poll_timeout(), timeout, "{message:?}");
            assert_eq!((watch.guard.poll_transmit(), watch.guard.poll_conflict()), (None, None), "{message:?}");
        }
    }
}

#[test]
fn a_card_that_came_later_is_the_machines_own_and_one_that_went_is_not() {
    let mut watch = Watch::settled();
    watch.guard.renew_machine([OTHER]);
    for hardware_address in [OTHER, HARDWARE_ADDRESS] {
        watch.see(claim(hardware_address));
        assert_eq!((watch.guard.poll_transmit(), watch.guard.poll_conflict()), (None, None));
    }
    watch.see(claim(SECOND_CARD));
    assert_eq!(watch.guard.poll_transmit(), Some(ANNOUNCEMENT));
}

#[test]
fn another_hardware_address_is_announced_or_probed_with_at_once() {
    const CHANGED: [u8; 6] = [2, 0, 0, 0, 0, 7];
    let broadcast = |message| Some(Transmit { destination: BROADCAST, message });
    let announcement = broadcast(Message::announcement(CHANGED, ADDRESS));
    for (mut watch, told) in
        [(Watch::begun(), broadcast(Message::probe(CHANGED, ADDRESS))), (Watch::settled(), announcement)]
    {
        watch.guard.poll_transmit();
        let timeout = watch.guard.poll_timeout();
        watch.guard.change_hardware_address(CHANGED);
        assert_eq!((watch.guard.poll_transmit(), watch.guard.poll_timeout()), (told, timeout));
        watch.see(claim(CHANGED));
        assert_eq!((watch.guard.poll_transmit(), watch.guard.poll_conflict()), (None, None));
    }
    let mut watch = Watch::begun();
    watch.see(claim(OTHER));
    watch.guard.change_hardware_address(CHANGED);
    assert_eq!(watch.guard.poll_transmit(), None, "it was given up");
}

#[test]
fn a_flood_of_claims_is_answered_once() {
    let mut watch = Watch::settled();
    let mut sent = 0;
    for _ in 0..1_000 {
        watch.see(claim(OTHER));
        sent += u32::from(watch.guard.poll_transmit().is_some());
    }
    assert_eq!(sent, 1);
    assert!(watch.guard.poll_conflict().is_some());
}

fn message() -> impl Strategy<Value = Message> {
    let hardware_address = prop::sample::select(vec![HARDWARE_ADDRESS, SECOND_CARD, OTHER, [2, 0, 0, 0, 0, 10]]);
    let address = || prop::sample::select(vec![ADDRESS, Ipv4Addr::new(192, 0, 2, 78), Ipv4Addr::UNSPECIFIED]);
    (any::<bool>(), hardware_address, address(), address()).prop_map(|(asks, hardware_address, sender, target)| {
        let operation = if asks { Operation::Request } else { Operation::Reply };
        Message { operation, ..Message::request(hardware_address, sender, target) }
    })
}

proptest! {
    /// Whatever happens on the link, and whenever it is driven: messages keep their distance, the verdict comes once and
    /// for a reason, and nothing follows it.
    #[test]
    fn every_history_of_a_link_keeps_its_promises(seen in vec((0_u64..15_000, prop::option::of(message())), 0..60)) {
        let mut watch = Watch::begun();
        let begun_at = watch.now;
        let (mut announced_at, mut conflict, mut last_claim) = (Vec::new(), None, None);
        watch.guard.poll_transmit();
        for (milliseconds, message) in seen {
            watch.now = watch.now + Duration::from_millis(milliseconds);
            watch.guard.handle_timeout(watch.now);
            prop_assert!(watch.guard.poll_timeout().is_none_or(|timeout| timeout > watch.now));
            if let Some(message) = message {
                watch.see(message);
                let is_claim = message.sender == ADDRESS && ![HARDWARE_ADDRESS, SECOND_CARD].contains(&message.sender_hardware);
                last_claim = if is_claim { Some(message.sender_hardware) } else { last_claim };
            }
            if let Some(transmit) = watch.guard.poll_transmit() {
                prop_assert!(conflict.is_none(), "nothing follows a conflict");
                prop_assert_eq!(transmit, ANNOUNCEMENT);
                prop_assert!(watch.now - begun_at >= Duration::from_secs(2), "it is not ours yet");
                announced_at.push(watch.now);
            }
            if let Some(found) = watch.guard.poll_conflict() {
                prop_assert!(conflict.is_none(), "it is told once");
                prop_assert_eq!(Some(found.hardware_address), last_claim);
                conflict = Some(found);
            }
        }
        // Two of its own accord, and any number in defence, at least ten seconds apart.
        for four in announced_at.windows(4) {
            prop_assert!(four[3] - four[0] >= Duration::from_secs(10), "{:?}", announced_at);
        }
        prop_assert!(conflict.is_none() || watch.guard.poll_timeout().is_none());
    }
}

#[test]
fn a_timeout_too_early_or_too_late_changes_nothing_or_once() {
    let mut watch = Watch::begun();
    watch.guard.poll_transmit();
    watch.guard.handle_timeout(watch.now);
    assert_eq!(watch.guard.poll_transmit(), None);
    watch.pass(1_000);
    watch.guard.handle_timeout(watch.now);
    assert_eq!(watch.guard.poll_transmit(), Some(ANNOUNCEMENT));
    assert_eq!(watch.guard.poll_timeout(), Some(watch.now + Duration::from_secs(2)));
}
