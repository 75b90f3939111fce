use std::{collections::VecDeque, time::Duration};

use netbearer_types::{BearerFamily, Identifier, Moment, StateFlags};

use crate::{Core, access_point::AccessPoint};

/// Losses within this time make an access point wait longer before it is offered (semantics §5).
const MEMORY: Duration = Duration::from_secs(60);
/// The longest that losses alone make it wait.
const LONGEST_SETTLE: Duration = Duration::from_secs(60);
/// A candidate that failed to start is tried again after this time (§5) …
const FIRST_BACK_OFF: Duration = Duration::from_secs(5);
/// … which doubles up to this.
const LAST_BACK_OFF: Duration = Duration::from_secs(600);
/// More losses than this double nothing any more.
const MOST_LOSSES: usize = 16;

/// Since when an access point has been there for those who could roam to it, and how often it was lost.
///
/// What we do with a link ourselves is no loss: a candidate that is taken down after a trial has not gone away. One that only others
/// can bring up has, when they take it down.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    seen: Seen,
    /// How often it has come back. What is remembered of one appearance says nothing of the next.
    appearance: u64,
    /// When it was lost lately.
    losses: VecDeque<Moment>,
    /// Failed starts in a row.
    failed_starts: u32,
    /// What those who could roam to it saw last.
    looked: Option<Looks>,
    /// Until when a failed start is not repeated for the sake of roaming.
    not_before: Option<Moment>,
}

/// What decides whether somebody could roam to it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Looks {
    flags: StateFlags,
    is_there: bool,
    may_start: bool,
    /// Nothing that is bound to it would be heard.
    is_deaf: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Seen {
    /// Nothing is known yet.
    #[default]
    Nothing,
    /// A link of ours that is down says nothing about its cable.
    Hidden {
        /// Since when.
        since: Moment,
        /// Since when it was there before, if it was.
        there_since: Option<Moment>,
    },
    There {
        since: Moment,
        /// It has shown a carrier, so that one that is missing is a loss.
        has_carrier: bool,
    },
    Gone,
}

impl Presence {
    pub(crate) const fn appearance(&self) -> u64 {
        self.appearance
    }

    /// True if it is there as far as that can be seen.
    pub(crate) const fn is_there(&self) -> bool {
        matches!(self.seen, Seen::There { .. })
    }

    /// True if it was last seen without a carrier, or not at all.
    pub(crate) const fn is_gone(&self) -> bool {
        matches!(self.seen, Seen::Gone)
    }

    /// When it will have been there long enough to be offered as something better; none while it is not there.
    pub(crate) fn settled_at(&self, settle: Duration, rejections: usize) -> Option<Moment> {
        let Seen::There { since, .. } = self.seen else { return None };
        let losses = self.losses.iter().filter(|loss| **loss + MEMORY >= since).count() + rejections;
        let doubled = settle.saturating_mul(1 << losses.min(MOST_LOSSES)).min(LONGEST_SETTLE.max(settle));
        Some(self.not_before.map_or(since + doubled, |not_before| not_before.max(since + doubled)))
    }

    /// Until when nobody knows whether it is still there, if that is so: it was, and shows its carrier again soon if it is.
    pub(crate) fn doubted_until(&self, patience: Duration) -> Option<Moment> {
        match self.seen {
            Seen::Hidden { since, there_since: Some(_) } => Some(since + patience),
            _ => None,
        }
    }

    /// True for a moment that counts as a loss, for one who has been there since then.
    pub(crate) fn remembers(&self, loss: Moment) -> bool {
        matches!(self.seen, Seen::There { since, .. } if loss <= since && loss + MEMORY >= since)
    }

    /// True while a failed start is not to be repeated.
    pub(crate) fn is_backing_off(&self, now: Moment) -> bool {
        self.not_before.is_some_and(|not_before| now < not_before)
    }

    /// A start has failed; the next one for the sake of roaming comes no sooner than this says.
    pub(crate) fn back_off(&mut self, now: Moment) -> Duration {
        let delay = FIRST_BACK_OFF.saturating_mul(1_u32.checked_shl(self.failed_starts).unwrap_or(u32::MAX));
        let delay = delay.min(LAST_BACK_OFF);
        self.failed_starts = self.failed_starts.saturating_add(1);
        self.not_before = Some(now + delay);
        delay
    }

    /// It has come up.
    pub(crate) fn end_back_off(&mut self) {
        (self.failed_starts, self.not_before) = (0, None);
    }

    fn become_there(&mut self, has_carrier: bool, patience: Duration, now: Moment) {
        let since = match self.seen {
            Seen::There { since, .. } => since,
            Seen::Nothing => now,
            Seen::Hidden { since, there_since } if now - since < patience => there_since.unwrap_or(now),
            // Nobody knows what became of it meanwhile, as that takes longer than carriers do.
            Seen::Hidden { .. } => {
                self.reappear();
                now
            }
            Seen::Gone => {
                self.reappear();
                now
            }
        };
        let had_carrier = matches!(self.seen, Seen::There { has_carrier: true, .. });
        self.seen = Seen::There { since, has_carrier: has_carrier || had_carrier };
    }

    fn reappear(&mut self) {
        self.appearance += 1;
        self.end_back_off();
    }

    fn hide(&mut self, now: Moment) {
        let there_since = match self.seen {
            Seen::Hidden { .. } => return,
            Seen::There { since, .. } => Some(since),
            Seen::Nothing | Seen::Gone => None,
        };
        self.seen = Seen::Hidden { since: now, there_since };
    }

    fn go(&mut self, now: Moment) {
        if self.is_there() {
            if self.losses.len() == MOST_LOSSES {
                self.losses.pop_front();
            }
            self.losses.push_back(now);
        }
        self.seen = Seen::Gone;
    }
}

impl AccessPoint {
    /// Compares what is seen of the link with what was seen before.
    fn note_presence(&mut self, now: Moment) {
        let patience = self.profile.carrier_timeout;
        let is_wired = self.report.bearer_type.family() == BearerFamily::Wired;
        let is_ours = self.commanded.is_some();
        // What only others can bring up is of no use to anybody before they have.
        if !self.may_start() && self.flags() != StateFlags::Active {
            return self.presence.go(now);
        }
        let Some(link) = self.link().filter(|_| !self.carrier_refuted) else { return self.presence.go(now) };
        match (link.administratively_up, link.carrier, self.presence.seen) {
            (true, true, _) => self.presence.become_there(true, patience, now),
            // It has been set up, and its carrier is still to come.
            (true, false, Seen::Hidden { .. }) => {}
            (true, false, Seen::There { has_carrier: false, .. }) if is_ours => {}
            (true, false, _) => self.presence.go(now),
            (false, _, seen) if is_wired => match seen {
                Seen::Gone => {}
                Seen::There { .. } if !is_ours => self.presence.go(now),
                _ => self.presence.hide(now),
            },
            (false, _, _) if is_ours => {
                // It has to show its carrier anew once it is up again.
                if let Seen::There { since, .. } = self.presence.seen {
                    self.presence.seen = Seen::There { since, has_carrier: false };
                }
            }
            (false, _, _) => self.presence.become_there(false, patience, now),
        }
    }
}

impl Core {
    /// What is known of an access point that is forgotten is remembered as long as it matters: a card that is pulled and plugged in
    /// again and again is as one whose cable is.
    pub(crate) fn remember_presence(&mut self, identifier: Identifier, presence: Presence, now: Moment) {
        self.departed.retain(|_, (since, _)| *since + MEMORY >= now);
        self.departed.insert(identifier, (now, presence));
    }

    /// What is remembered of one that is known again.
    pub(crate) fn recall_presence(&mut self, identifier: &Identifier, now: Moment) -> Presence {
        let recalled = self.departed.remove(identifier).filter(|(since, _)| *since + MEMORY >= now);
        recalled.map(|(_, presence)| presence).unwrap_or_default()
    }

    /// To be called whenever something about an access point may have changed: those who could roam to it look at it again.
    pub(crate) fn note_presence(&mut self, identifier: &Identifier, now: Moment) {
        let Some(access_point) = self.access_points.get_mut(identifier) else { return };
        access_point.note_presence(now);
        let looks = Looks {
            flags: access_point.flags(),
            is_there: access_point.presence.is_there(),
            may_start: access_point.may_start(),
            is_deaf: access_point.report.steering.deaf.is_some(),
        };
        if looks.flags == StateFlags::Active {
            // Whoever has brought it up.
            access_point.presence.end_back_off();
        }
        if access_point.presence.looked != Some(looks) {
            access_point.presence.looked = Some(looks);
            self.tell_composites(identifier);
        }
    }

    /// A start has failed: it is not repeated for the sake of roaming for a while.
    pub(crate) fn back_off(&mut self, identifier: &Identifier, now: Moment) {
        if let Some(access_point) = self.access_points.get_mut(identifier) {
            access_point.presence.back_off(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use netbearer_types::{
        AccessPointReport, BearerType, Families, Hardware, Interface, Level, LinkLevel, Profile, SteeringLevel, Target,
    };

    use super::*;

    const SETTLE: Duration = Duration::from_secs(2);

    fn at(seconds: u64) -> Moment {
        Moment::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn each_loss_within_a_minute_doubles_the_time_to_settle_up_to_a_minute() {
        let mut presence = Presence::default();
        assert_eq!(presence.settled_at(SETTLE, 0), None);
        presence.become_there(true, SETTLE, at(100));
        assert_eq!(presence.settled_at(SETTLE, 0), Some(at(102)));
        assert_eq!(presence.settled_at(SETTLE, 1), Some(at(104)), "one rejection counts as a loss");
        for (loss, expected) in [(110, 4), (120, 8), (130, 16), (140, 32), (150, 60), (160, 60)] {
            presence.go(at(loss));
            assert_eq!(presence.settled_at(SETTLE, 0), None);
            presence.become_there(true, SETTLE, at(loss + 1));
            assert_eq!(presence.settled_at(SETTLE, 0), Some(at(loss + 1 + expected)), "after the loss at {loss}");
        }
        presence.go(at(400));
        presence.become_there(true, SETTLE, at(500));
        assert_eq!(presence.settled_at(SETTLE, 0), Some(at(502)), "what is long past is forgotten");
        let patient = Duration::from_secs(300);
        assert_eq!(presence.settled_at(patient, 3), Some(at(800)), "a longer time to settle is no shorter for losses");
    }

    #[test]
    fn what_was_gone_appears_anew_and_what_was_hidden_does_not_unless_it_takes_too_long() {
        let mut presence = Presence::default();
        presence.become_there(true, SETTLE, at(1));
        presence.hide(at(2));
        assert_eq!(presence.doubted_until(SETTLE), Some(at(4)));
        presence.hide(at(3));
        assert_eq!(presence.doubted_until(SETTLE), Some(at(4)));
        presence.become_there(true, SETTLE, at(3));
        assert_eq!(presence.doubted_until(SETTLE), None);
        assert_eq!(presence.appearance(), 0);
        assert_eq!(presence.settled_at(SETTLE, 0), Some(at(3)), "it was there all the time");
        presence.go(at(5));
        presence.go(at(6));
        presence.become_there(true, SETTLE, at(7));
        assert_eq!((presence.appearance(), presence.losses.len()), (1, 1));
        presence.hide(at(10));
        presence.become_there(true, SETTLE, at(12));
        assert_eq!((presence.appearance(), presence.losses.len()), (2, 1));
    }

    /// What becomes of an access point, as its link is seen up and with a carrier or not, and is commanded by us or not.
    fn seen(bearer_type: BearerType, looks: &[(bool, bool, bool)]) -> (bool, usize, u64) {
        let mut access_point = AccessPoint::new(
            AccessPointReport {
                identifier: "a".into(),
                name: "a".to_owned(),
                bearer_type,
                hardware: Hardware::default(),
                cannot_start_and_stop: None,
                counts_traffic: true,
                level: Level::Absent,
                steering: SteeringLevel::default(),
                progress: None,
            },
            Profile::default(),
        );
        for (second, (is_up, carrier, is_ours)) in (1..).zip(looks) {
            let interface = Interface {
                name: "a".to_owned(),
                index: 1,
                hardware_address: String::new(),
                mtu: 1_500,
                addresses: Vec::new(),
                gateways: Vec::new(),
                name_servers: Vec::new(),
                search_domains: Vec::new(),
            };
            access_point.report.level = Level::Present(LinkLevel {
                administratively_up: *is_up,
                carrier: *carrier,
                carrier_losses: 0,
                interface,
                routed: Families::empty(),
                default_route: Families::empty(),
            });
            access_point.commanded = is_ours.then_some(Target::Sensed);
            access_point.note_presence(at(second));
        }
        let presence = access_point.presence;
        (presence.is_there(), presence.losses.len(), presence.appearance())
    }

    #[test]
    fn a_cable_is_seen_on_a_link_that_is_up_and_what_we_do_with_a_link_is_no_loss() {
        let (up, down, no_carrier) = ((true, true, true), (false, true, true), (true, false, true));
        let others = |(is_up, carrier, _)| (is_up, carrier, false);
        for (looks, expected) in [
            (&[down][..], (false, 0, 0)),
            (&[down, no_carrier], (false, 0, 0)),
            (&[down, no_carrier, up], (true, 0, 0)),
            (&[up], (true, 0, 0)),
            (&[up, no_carrier], (false, 1, 0)),
            (&[up, no_carrier, up], (true, 1, 1)),
            (&[up, down], (false, 0, 0)),
            (&[up, down, no_carrier, up], (true, 0, 0)),
            (&[up, others(down)], (false, 1, 0)),
            (&[up, others(down), down, up], (true, 1, 1)),
            (&[others(down), others(no_carrier), others(up)], (true, 0, 0)),
        ] {
            assert_eq!(seen(BearerType::Ethernet, looks), expected, "{looks:?}");
        }
    }

    #[test]
    fn what_has_no_cable_may_be_tried_while_it_is_down() {
        let (up, down, no_carrier) = ((true, true, true), (false, true, true), (true, false, true));
        let others = |(is_up, carrier, _)| (is_up, carrier, false);
        for (looks, expected) in [
            (&[others(down)][..], (true, 0, 0)),
            (&[others(down), others(no_carrier)], (false, 1, 0)),
            (&[others(down), down, no_carrier], (true, 0, 0)),
            (&[others(down), no_carrier, up, no_carrier], (false, 1, 0)),
            (&[up, down, no_carrier, up], (true, 0, 0)),
            (&[others(up), others(down)], (true, 0, 0)),
            (&[down], (false, 0, 0)),
        ] {
            assert_eq!(seen(BearerType::Wlan, looks), expected, "{looks:?}");
        }
    }

    #[test]
    fn failed_starts_back_off_from_five_seconds_to_ten_minutes_until_it_comes_up_or_comes_back() {
        let mut presence = Presence::default();
        presence.become_there(true, SETTLE, at(0));
        let delays: Vec<u64> = (0..9).map(|_| presence.back_off(at(100)).as_secs()).collect();
        assert_eq!(delays, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
        assert_eq!(presence.settled_at(SETTLE, 0), Some(at(700)));
        assert!(presence.is_backing_off(at(699)) && !presence.is_backing_off(at(700)));
        presence.go(at(101));
        presence.become_there(true, SETTLE, at(102));
        assert!(!presence.is_backing_off(at(102)));
        assert_eq!(presence.back_off(at(103)), FIRST_BACK_OFF);
        presence.end_back_off();
        assert!(!presence.is_backing_off(at(103)));
    }
}
