use std::time::Duration;

/// A small deterministic generator (SplitMix64), so that histories replay. Not for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to and without 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        // 32 of the bits are exact in a double and plenty here.
        f64::from(self.transaction_identifier()) / (f64::from(u32::MAX) + 1.0)
    }

    #[allow(clippy::cast_possible_truncation, reason = "the upper half, whole")]
    pub(crate) const fn transaction_identifier(&mut self) -> u32 {
        (self.next() >> 32) as u32
    }

    /// `delay`, and up to 25 % more.
    pub(crate) fn prolong(&mut self, delay: Duration) -> Duration {
        delay.mul_f64(1.0 + 0.25 * self.fraction())
    }

    /// `delay` ± 25 %, which is what RFC 2131 §4.1 does to its first delay (4 s ± 1 s).
    pub(crate) fn spread(&mut self, delay: Duration) -> Duration {
        delay.mul_f64(0.75 + 0.5 * self.fraction())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_published_generator() {
        let mut random = Random::new(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn spread_delays_stay_within_a_quarter() {
        let mut random = Random::new(1);
        for _ in 0..1_000 {
            let delay = random.spread(Duration::from_secs(4)).as_secs_f64();
            assert!((3.0..5.0).contains(&delay), "{delay}");
        }
    }
}
