//! When routers were asked, so that nobody can have them asked without end.

use std::{collections::BTreeMap, time::Duration};

use netbearer_types::Moment;

/// Between two solicitations on one link (RTR_SOLICITATION_INTERVAL of RFC 4861 §10).
const INTERVAL: Duration = Duration::from_secs(4);

/// The last solicitation on each interface.
#[derive(Debug, Default)]
pub(super) struct Solicitations {
    sent: BTreeMap<u32, Solicitation>,
    /// When the first of those is due that had to wait.
    due: Option<Moment>,
}

#[derive(Debug)]
struct Solicitation {
    sent: Moment,
    /// The carrier's losses by then.
    carrier_losses: u32,
}

impl Solicitations {
    /// Of these interfaces, with their carrier's losses, where routers are to be asked, those where they may be asked now.
    /// Counts them as asked. The others have to wait, and are to be named again when that is [due](Self::due).
    pub(super) fn take_due(&mut self, wanted: impl Iterator<Item = (u32, u32)>, now: Moment) -> Vec<u32> {
        self.due = None;
        let mut asked = Vec::new();
        for (interface, carrier_losses) in wanted {
            // A new carrier may lead to other routers, which have not been asked.
            let last = self.sent.get(&interface).filter(|last| last.carrier_losses == carrier_losses);
            match last.map(|last| last.sent + INTERVAL).filter(|due| *due > now) {
                Some(due) => self.due = Some(self.due.map_or(due, |first| first.min(due))),
                None => {
                    self.sent.insert(interface, Solicitation { sent: now, carrier_losses });
                    asked.push(interface);
                }
            }
        }
        asked
    }

    /// When the first of those is due that had to wait; none if none had to.
    pub(super) const fn due(&self) -> Option<Moment> {
        self.due
    }

    /// The interface is gone.
    pub(super) fn forget(&mut self, interface: u32) {
        self.sent.remove(&interface);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Moment {
        Moment::from_nanoseconds(milliseconds * 1_000_000)
    }

    #[test]
    fn routers_of_a_link_are_asked_at_once_and_then_every_four_seconds_at_most() {
        let mut solicitations = Solicitations::default();
        assert_eq!(solicitations.take_due([(1, 0)].into_iter(), at(1_000)), [1]);
        assert_eq!(solicitations.due(), None);
        assert_eq!(solicitations.take_due([(1, 0), (2, 0)].into_iter(), at(2_000)), [2]);
        assert!(solicitations.take_due([(2, 0), (1, 0)].into_iter(), at(4_999)).is_empty());
        assert_eq!(solicitations.due(), Some(at(5_000)), "the first one");
        assert_eq!(solicitations.take_due([(1, 0), (2, 0)].into_iter(), at(5_000)), [1]);
        assert_eq!(solicitations.due(), Some(at(6_000)));
        assert!(solicitations.take_due([].into_iter(), at(5_500)).is_empty());
        assert_eq!(solicitations.due(), None, "nobody is woken for what nobody wants any more");
    }

    #[test]
    fn another_carrier_and_another_interface_do_not_wait() {
        let mut solicitations = Solicitations::default();
        assert_eq!(solicitations.take_due([(1, 0)].into_iter(), at(0)), [1]);
        assert_eq!(solicitations.take_due([(1, 1)].into_iter(), at(1)), [1], "it was lost meanwhile");
        assert!(solicitations.take_due([(1, 1)].into_iter(), at(2)).is_empty());
        solicitations.forget(1);
        assert_eq!(solicitations.take_due([(1, 1)].into_iter(), at(3)), [1]);
    }
}
