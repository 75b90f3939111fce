use std::time::Duration;

/// What rounds have shown: how long each took, unless it is said otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Samples<T = Duration>(Vec<T>);

impl<T: Copy + Default + Ord> Samples<T> {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// A single one.
    pub(crate) fn of(sample: T) -> Self {
        Self(vec![sample])
    }

    pub(crate) fn push(&mut self, sample: T) {
        self.0.push(sample);
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The middle one; of an even number the higher of the two. Zero without samples.
    pub(crate) fn median(&self) -> T {
        self.rank(self.0.len() / 2)
    }

    /// The smallest that 99 of 100 samples do not exceed (nearest rank).
    pub(crate) fn p99(&self) -> T {
        self.rank((self.0.len() * 99).div_ceil(100).saturating_sub(1))
    }

    /// The largest. Zero without samples.
    pub(crate) fn longest(&self) -> T {
        self.rank(self.0.len().saturating_sub(1))
    }

    fn rank(&self, rank: usize) -> T {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.get(rank).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(milliseconds: impl IntoIterator<Item = u64>) -> Samples {
        Samples(milliseconds.into_iter().map(Duration::from_millis).collect())
    }

    #[test]
    fn one_outlier_in_a_hundred_is_not_the_p99_and_two_are() {
        assert_eq!(samples((1..=98).chain([99, 500])).p99(), Duration::from_millis(99));
        assert_eq!(samples((1..=98).chain([500, 500])).p99(), Duration::from_millis(500));
    }

    #[test]
    fn order_does_not_matter_and_few_samples_are_enough() {
        assert_eq!(samples([9, 1, 5]).median(), Duration::from_millis(5));
        assert_eq!(samples([9, 1, 5]).p99(), Duration::from_millis(9));
        assert_eq!(samples([9, 1, 5]).longest(), Duration::from_millis(9));
        assert_eq!(samples([]).median(), Duration::ZERO);
        assert_eq!(samples([]).longest(), Duration::ZERO);
    }
}
