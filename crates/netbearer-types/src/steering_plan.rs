use std::fmt;

use serde::{Deserialize, Serialize};

/// The most access points that can have a table and a mark at the same time.
const NUMBERS: u32 = 127;
/// Tables below have a meaning of their own: main, local, default, unspecified.
const FIRST_FREE_TABLE: u32 = 256;

/// Which routing tables and firewall marks access points may have; for the whole machine. Access point *n*, from 1 to 127, has
/// the table `first_table` + *n*, and the value *n* in a field of the mark. `first_table` itself is the dead end of what may not
/// leave outside a VPN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SteeringPlan {
    /// The number of the table before that of the first access point.
    pub first_table: TableBase,
    /// Fields of the mark, the preferred one first. One that other programs' rules are about is passed over.
    pub mark_fields: Vec<MarkField>,
}

impl Default for SteeringPlan {
    fn default() -> Self {
        Self { first_table: TableBase(21_000), mark_fields: vec![MarkField(0x7f00_0000)] }
    }
}

/// A table number that can be used, and 127 more after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "u32", try_from = "u32")]
pub struct TableBase(u32);

/// Seven or more bits of a firewall mark in a row, written as hexadecimal text (`"0x7f000000"`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MarkField(u32);

/// This number or text cannot be used for steering.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SteeringPlanError {
    /// Tables of the kernel's own, or beyond the last one.
    #[error("the tables from {0} on cannot be used; name a number from 256 to 4294967168")]
    Table(u32),
    /// No row of bits.
    #[error("`{0}` is no field of a firewall mark; write seven or more bits in a row, as in \"0x7f000000\"")]
    Mark(String),
}

impl TableBase {
    /// The table of no access point.
    #[must_use]
    pub const fn dead_end(self) -> u32 {
        self.0
    }

    /// The table of access point `number`.
    #[must_use]
    pub const fn table(self, number: u8) -> u32 {
        self.0 + number as u32
    }
}

impl TryFrom<u32> for TableBase {
    type Error = SteeringPlanError;

    fn try_from(base: u32) -> Result<Self, Self::Error> {
        let is_free = (FIRST_FREE_TABLE..=u32::MAX - NUMBERS).contains(&base);
        if is_free { Ok(Self(base)) } else { Err(SteeringPlanError::Table(base)) }
    }
}

impl From<TableBase> for u32 {
    fn from(base: TableBase) -> Self {
        base.0
    }
}

impl MarkField {
    /// The bits of the field.
    #[must_use]
    pub const fn mask(self) -> u32 {
        self.0
    }

    /// The mark with `number` in the field, and nothing else.
    #[must_use]
    pub const fn mark(self, number: u8) -> u32 {
        (number as u32) << self.0.trailing_zeros()
    }
}

impl TryFrom<String> for MarkField {
    type Error = SteeringPlanError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mask = text.strip_prefix("0x").and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let is_row = |mask: &u32| {
            let row = mask.checked_shr(mask.trailing_zeros()).unwrap_or(0);
            row >= NUMBERS && row.trailing_ones() + row.leading_zeros() == u32::BITS
        };
        mask.filter(is_row).map(Self).ok_or(SteeringPlanError::Mark(text))
    }
}

impl From<MarkField> for String {
    fn from(field: MarkField) -> Self {
        field.to_string()
    }
}

impl fmt::Display for MarkField {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:#010x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_a_row_of_bits_that_holds_every_number() {
        for (text, mark) in [("0x7f000000", 0x6e00_0000), ("0x7f", 0x6e), ("0xffff0000", 0x006e_0000)] {
            assert_eq!(MarkField::try_from(text.to_owned()).unwrap().mark(0x6e), mark, "{text}");
        }
        for text in ["", "0x", "0x0", "7f000000", "0x3f", "0x7f0000000", "0x7d000000", "0xff00ff00", "0x1ffffffff"] {
            assert!(MarkField::try_from(text.to_owned()).is_err(), "{text}");
        }
        let field = SteeringPlan::default().mark_fields[0];
        assert_eq!(MarkField::try_from(field.to_string()), Ok(field));
    }

    #[test]
    fn the_kernels_own_tables_are_not_taken() {
        for base in [256, 21_000, u32::MAX - NUMBERS] {
            assert!(TableBase::try_from(base).unwrap().table(127) > 256);
        }
        for base in [0, 255, u32::MAX - NUMBERS + 1, u32::MAX] {
            assert_eq!(TableBase::try_from(base), Err(SteeringPlanError::Table(base)));
        }
    }
}
