use std::time::Duration;

use netbearer_types::Moment;
use serde::{Deserialize, Serialize};

use crate::random::Random;

/// The lease time that means "for ever" (RFC 2132 §9.2 with RFC 2131 §3.3).
const INFINITE: u32 = u32::MAX;

/// How long a lease lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Term {
    /// For ever: never renewed.
    Infinite,
    /// To the end of a span of time. `renew_at` < `rebind_at` < `expires_at`.
    Limited {
        /// T1: from then on the server is asked to prolong the lease.
        renew_at: Moment,
        /// T2: from then on any server is.
        rebind_at: Moment,
        /// From then on the address must not be used any more.
        expires_at: Moment,
    },
}

impl Term {
    /// The end of the lease; none if it has no end.
    #[must_use]
    pub const fn expires_at(self) -> Option<Moment> {
        match self {
            Self::Infinite => None,
            Self::Limited { expires_at, .. } => Some(expires_at),
        }
    }

    /// When to begin to renew; none if never.
    #[must_use]
    pub const fn renew_at(self) -> Option<Moment> {
        match self {
            Self::Infinite => None,
            Self::Limited { renew_at, .. } => Some(renew_at),
        }
    }

    /// When to begin to rebind; none if never.
    #[must_use]
    pub const fn rebind_at(self) -> Option<Moment> {
        match self {
            Self::Infinite => None,
            Self::Limited { rebind_at, .. } => Some(rebind_at),
        }
    }

    pub(crate) fn is_in_order(self) -> bool {
        match self {
            Self::Infinite => true,
            Self::Limited { renew_at, rebind_at, expires_at } => renew_at < rebind_at && rebind_at < expires_at,
        }
    }

    /// The term a server granted, in seconds from the moment when it was asked; none if it grants nothing.
    ///
    /// Times to renew and to rebind that are missing or out of order give way to half and seven eighths of the whole,
    /// less up to 1/32, so that clients which got their leases together do not come back together (RFC 2131 §4.4.5).
    pub(crate) fn granted(
        asked_at: Moment,
        lease_seconds: u32,
        renewal_seconds: Option<u32>,
        rebinding_seconds: Option<u32>,
        random: &mut Random,
    ) -> Option<Self> {
        if lease_seconds == INFINITE {
            return Some(Self::Infinite);
        }
        let whole = seconds(lease_seconds);
        let fuzz = whole.mul_f64(random.fraction() / 32.0);
        let default_renewal = whole / 2 - fuzz;
        let default_rebinding = whole * 7 / 8 - fuzz;
        let renewal = renewal_seconds.map_or(default_renewal, seconds);
        let rebinding = rebinding_seconds.map_or(default_rebinding, seconds);
        let in_order = !renewal.is_zero() && renewal < rebinding && rebinding < whole;
        let (renewal, rebinding) = if in_order { (renewal, rebinding) } else { (default_renewal, default_rebinding) };
        (!whole.is_zero()).then(|| Self::Limited {
            renew_at: asked_at + renewal,
            rebind_at: asked_at + rebinding,
            expires_at: asked_at + whole,
        })
    }
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(u64::from(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(lease: u32, renewal: Option<u32>, rebinding: Option<u32>) -> Option<[f64; 3]> {
        let asked_at = Moment::from_nanoseconds(5_000_000_000);
        let term = Term::granted(asked_at, lease, renewal, rebinding, &mut Random::new(3))?;
        let Term::Limited { renew_at, rebind_at, expires_at } = term else {
            panic!("{term:?} should be limited");
        };
        Some([renew_at, rebind_at, expires_at].map(|moment| (moment - asked_at).as_secs_f64()))
    }

    #[test]
    fn times_in_order_are_the_servers() {
        assert_eq!(granted(100, Some(10), Some(20)), Some([10.0, 20.0, 100.0]));
    }

    #[test]
    fn times_missing_or_out_of_order_are_half_and_seven_eighths() {
        for (renewal, rebinding) in [
            (None, None),
            (Some(0), None),
            (Some(0), Some(90)),
            (Some(100), Some(200)),
            (Some(90), Some(80)),
            (Some(80), Some(80)),
            (Some(u32::MAX), Some(u32::MAX)),
            (None, Some(1)),
            (Some(50), Some(100)),
        ] {
            let [renew, rebind, expire] = granted(100, renewal, rebinding).expect("100 s are something");
            assert!((46.8..=50.0).contains(&renew), "{renewal:?} {rebinding:?}: {renew}");
            assert!((84.3..=87.5).contains(&rebind), "{renewal:?} {rebinding:?}: {rebind}");
            assert!((99.9..100.1).contains(&expire));
        }
    }

    #[test]
    fn a_lease_of_one_second_still_has_its_order() {
        let [renew, rebind, expire] = granted(1, Some(1), Some(1)).expect("1 s is something");
        assert!(0.4 < renew && renew < rebind && rebind < expire);
    }

    #[test]
    fn nothing_is_no_term_and_all_ones_is_for_ever() {
        assert_eq!(granted(0, None, None), None);
        let term = Term::granted(Moment::ZERO, u32::MAX, Some(1), Some(2), &mut Random::new(0));
        assert_eq!(term, Some(Term::Infinite));
        assert_eq!(term.and_then(Term::expires_at), None);
    }
}
