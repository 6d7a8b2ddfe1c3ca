//! A log sequence number: a byte in PostgreSQL's write-ahead log.

use std::fmt;

use super::xid;
use crate::capture::coordinate::Coordinate;
use crate::record::SourcePosition;

/// A byte of the write-ahead log; 0 is "none".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Lsn(pub(super) u64);

impl Lsn {
    /// Reads `16/B374D848`: two hexadecimal halves of at most eight digits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let half = |digits: &str| {
            let legal = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            legal.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
        };
        let (high, low) = text.split_once('/')?;
        Some(Self(half(high)? << 32 | half(low)?))
    }

    /// The position of a transaction whose commit record starts here: see the parent module.
    pub(super) fn after_commit(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Coordinate for Lsn {
    const NAME: &'static str = "LSN";

    /// Once a transaction, so not through the formatter.
    fn write_position(&self, position: &mut SourcePosition) {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        let text = &mut position.0;
        text.clear();
        let digit = |at: u32| char::from(HEX[(self.0 >> (4 * at)) as usize & 15]);
        let highest = (63 - (self.0 | 1 << 32).leading_zeros()) / 4;
        text.extend((8..=highest.max(8)).rev().map(digit));
        text.push('/');
        text.extend((0..8).rev().map(digit));
    }

    fn of_position(position: &SourcePosition) -> Option<Self> {
        Self::parse(&position.0)
    }

    fn commit_place(&self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    fn is_same_transaction(kept: &str, came: &str) -> bool {
        xid::is_same(kept, came)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:08X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn reads_back_as_printed(value in proptest::prelude::any::<u64>()) {
            proptest::prop_assert_eq!(Lsn::parse(&Lsn(value).to_string()), Some(Lsn(value)));
        }

        #[test]
        fn a_position_is_what_is_printed(value in proptest::prelude::any::<u64>(), shift in 0..64) {
            let lsn = Lsn(value >> shift);
            proptest::prop_assert_eq!(lsn.to_position().0, lsn.to_string());
        }
    }

    #[test]
    fn reads_what_postgresql_prints_and_nothing_else() {
        assert_eq!(Lsn::parse("0/16B3748"), Some(Lsn(0x16B_3748)));
        for bad in ["", "/", "0", "0/", "/0", "0/123456789", "g/0", "+1/0", "0/ 1", "0/0/0"] {
            assert_eq!(Lsn::parse(bad), None, "{bad}");
        }
    }
}
