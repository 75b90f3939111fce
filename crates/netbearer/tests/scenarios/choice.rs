/// How many seeds the scenarios run that have seeds: as NETBEARER_ROUNDS says.
pub(crate) fn rounds() -> u64 {
    std::env::var("NETBEARER_ROUNDS").ok().map_or(1_000, |rounds| rounds.parse().expect("a number of rounds"))
}

/// A row of choices that a seed repeats (splitmix64).
pub(crate) struct Choice(u64);

impl Choice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).expect("less than the limit")
    }
}
