use std::time::Duration;

/// Gaps of pseudo-random length, the same in every run (xorshift, Marsaglia 2003).
#[derive(Clone, Debug)]
pub(crate) struct Gaps(u64);

impl Gaps {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A gap from zero to `longest`, in whole microseconds.
    pub(crate) fn up_to(&mut self, longest: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let longest = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
        Duration::from_micros((self.0 >> 16) % longest)
    }
}
