use std::fmt;

use serde::{Deserialize, Serialize};

/// How usable a configuration is. Ordered: each contains the lower ones, and [`StateFlags::Undefined`] is disjoint
/// (semantics §1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StateFlags {
    /// Not known well enough to be used (0x1).
    #[default]
    Undefined,
    /// Known, cannot be opened now: no carrier, out of range, unplugged (0x2).
    Defined,
    /// Could be opened now, or is being brought up (0x6).
    Discovered,
    /// Carrier, a global or private address and its routes, until it has been taken down (0xE).
    Active,
}

impl StateFlags {
    /// The numeric value that Qt uses.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::Undefined => 0x1,
            Self::Defined => 0x2,
            Self::Discovered => 0x6,
            Self::Active => 0xE,
        }
    }

    /// The flags with this numeric value; none if there are no such.
    #[must_use]
    pub fn from_bits(bits: u32) -> Option<Self> {
        [Self::Undefined, Self::Defined, Self::Discovered, Self::Active].into_iter().find(|flags| flags.bits() == bits)
    }

    /// True if all bits of `filter` are set in these flags.
    #[must_use]
    pub const fn contains(self, filter: Self) -> bool {
        self.bits() & filter.bits() == filter.bits()
    }
}

impl fmt::Display for StateFlags {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Undefined => "Undefined",
            Self::Defined => "Defined",
            Self::Discovered => "Discovered",
            Self::Active => "Active",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::StateFlags::{Active, Defined, Discovered, Undefined};

    #[test]
    fn each_flag_contains_the_lower_ones_and_undefined_is_disjoint() {
        let ladder = [Defined, Discovered, Active];
        for (height, flags) in ladder.iter().enumerate() {
            for (step, filter) in ladder.iter().enumerate() {
                assert_eq!(flags.contains(*filter), step <= height, "{flags} contains {filter}");
            }
            assert!(!flags.contains(Undefined));
            assert!(!Undefined.contains(*flags));
        }
    }
}
