//! Who must hold what, as the soak itself keeps count: a model of what processes were told and what has happened.

use super::plan::{Aim, Place};

/// When something happened: not before, and not after, in nanoseconds of `CLOCK_BOOTTIME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) begin: u64,
    pub(crate) end: u64,
}

impl Span {
    /// At a moment.
    pub(crate) const fn at(moment: u64) -> Self {
        Self { begin: moment, end: moment }
    }

    /// It may still be going on.
    pub(crate) const fn since(begin: u64) -> Self {
        Self { begin, end: u64::MAX }
    }
}

/// Whether something holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Holds,
    DoesNot,
    /// What ended it may have come before it, or may not have happened.
    Either,
}

impl Fate {
    pub(crate) fn allows(self, holds: bool) -> bool {
        match self {
            Self::Holds => holds,
            Self::DoesNot => !holds,
            Self::Either => true,
        }
    }
}

/// Something by which an access point is held: an opening that was granted, or a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) aim: Aim,
    /// It survives the loss of its link.
    pub(crate) reconnects: bool,
    /// Since when.
    pub(crate) since: Span,
}

/// What ends all holds on an access point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Somebody stopped it.
    Stop(Span),
    /// Somebody may have stopped it.
    MaybeStop(Span),
    /// Its cable was cut, for however short a time.
    Cut,
}

/// What has happened since all was settled the last time.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    endings: Vec<(Aim, Ending)>,
}

impl Ledger {
    /// A stop was granted.
    pub(crate) fn stop(&mut self, aim: Aim, when: Span) {
        self.endings.push((aim, Ending::Stop(when)));
    }

    /// Whether a stop was granted is not known.
    pub(crate) fn maybe_stop(&mut self, aim: Aim, when: Span) {
        self.endings.push((aim, Ending::MaybeStop(when)));
    }

    pub(crate) fn cut(&mut self, place: Place) {
        self.endings.push((Aim::Place(place), Ending::Cut));
    }

    /// Whether a stop was granted, or may have been.
    pub(crate) fn may_have_stopped(&self, place: Place) -> bool {
        self.endings.iter().any(|(aim, ending)| aim.may_meet(Aim::Place(place)) && *ending != Ending::Cut)
    }

    /// What has become of a hold by now.
    pub(crate) fn fate(&self, hold: Hold) -> Fate {
        let met = self.endings.iter().filter(|(aim, _)| aim.may_meet(hold.aim));
        let fates = met.map(|(aim, ending)| match *ending {
            // Which member of the service network was meant is not known.
            Ending::Stop(when) if when.begin > hold.since.end && *aim == hold.aim && *aim != Aim::Network => {
                Fate::DoesNot
            }
            Ending::Stop(when) | Ending::MaybeStop(when) if when.end < hold.since.begin => Fate::Holds,
            Ending::Cut if hold.reconnects => Fate::Holds,
            Ending::Stop(_) | Ending::MaybeStop(_) | Ending::Cut => Fate::Either,
        });
        fates.fold(Fate::Holds, |fate, next| match (fate, next) {
            (Fate::DoesNot, _) | (_, Fate::DoesNot) => Fate::DoesNot,
            (Fate::Either, _) | (_, Fate::Either) => Fate::Either,
            (Fate::Holds, Fate::Holds) => Fate::Holds,
        })
    }

    /// All is settled, and what was not known is known now.
    pub(crate) fn settle(&mut self) {
        self.endings.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINCE: Span = Span { begin: 10, end: 20 };

    fn hold(place: Place, reconnects: bool) -> Hold {
        Hold { aim: Aim::Place(place), reconnects, since: SINCE }
    }

    #[test]
    fn a_stop_ends_what_was_there_before_it_and_may_end_what_came_meanwhile() {
        for (when, fate) in [
            (Span { begin: 21, end: 30 }, Fate::DoesNot),
            (Span { begin: 20, end: 30 }, Fate::Either),
            (Span { begin: 1, end: 10 }, Fate::Either),
            (Span { begin: 1, end: 9 }, Fate::Holds),
        ] {
            let mut ledger = Ledger::default();
            ledger.stop(Aim::Place(0), when);
            assert_eq!(ledger.fate(hold(0, true)), fate, "{when:?}");
            assert_eq!(ledger.fate(hold(1, true)), Fate::Holds);
            assert!(ledger.may_have_stopped(0) && !ledger.may_have_stopped(1));
        }
    }

    #[test]
    fn a_stop_of_which_nothing_is_known_may_end_what_does_not_come_after_it() {
        let mut ledger = Ledger::default();
        ledger.maybe_stop(Aim::Place(0), Span { begin: 30, end: 40 });
        assert_eq!(ledger.fate(hold(0, false)), Fate::Either);
        ledger.settle();
        assert_eq!(ledger.fate(hold(0, false)), Fate::Holds);
        ledger.maybe_stop(Aim::Place(0), Span { begin: 1, end: 9 });
        assert_eq!(ledger.fate(hold(0, false)), Fate::Holds);
    }

    #[test]
    fn a_cut_may_end_what_does_not_survive_it() {
        let mut ledger = Ledger::default();
        ledger.cut(0);
        assert_eq!(ledger.fate(hold(0, false)), Fate::Either);
        assert_eq!(ledger.fate(hold(0, true)), Fate::Holds);
        ledger.stop(Aim::Place(0), Span { begin: 30, end: 40 });
        assert_eq!(ledger.fate(hold(0, false)), Fate::DoesNot);
    }

    #[test]
    fn what_a_stop_of_the_network_has_met_is_not_known() {
        let mut ledger = Ledger::default();
        ledger.stop(Aim::Network, Span { begin: 30, end: 40 });
        assert_eq!(ledger.fate(hold(1, true)), Fate::Either);
        assert_eq!(ledger.fate(hold(2, true)), Fate::Holds);
        assert_eq!(ledger.fate(Hold { aim: Aim::Network, reconnects: true, since: SINCE }), Fate::Either);
        assert!(ledger.may_have_stopped(1) && !ledger.may_have_stopped(2));
    }
}
