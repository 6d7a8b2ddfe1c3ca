//! Numbers of transactions: the server counts with 64 bits, and what it streams names the lower 32 of them.
//!
//! Owns how the upper half, the epoch, is found again, so that no number comes twice in the life of a database.

/// Follows the server's count through a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct XidCount {
    /// The greatest number known.
    latest: u64,
}

impl XidCount {
    /// Of a server whose next transaction gets this number, or got it a moment ago.
    pub(super) fn new(next: u64) -> Self {
        Self { latest: next }
    }

    /// The whole number of a transaction that the stream names. A server lets no two be in use that are more than half of the
    /// 32 bits apart, so the nearest one is meant.
    pub(super) fn whole(&mut self, xid: u32) -> u64 {
        let ahead = xid.wrapping_sub(self.latest as u32).cast_signed();
        let whole = self.latest.checked_add_signed(i64::from(ahead)).unwrap_or_else(|| u64::from(xid));
        self.latest = self.latest.max(whole);
        whole
    }
}

/// Whether the number that a trail has is that of the transaction that came. Earlier builds kept the lower half alone.
pub(super) fn is_same(kept: &str, came: &str) -> bool {
    let lower_half = || {
        let kept: u32 = kept.parse().ok()?;
        let came: u64 = came.parse().ok()?;
        Some(kept == came as u32)
    };
    kept == came || lower_half() == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: u64 = 1 << 32;

    #[test]
    fn the_nearest_whole_number_is_meant_on_both_sides_of_a_wraparound() {
        let mut count = XidCount::new(3 * EPOCH + 5);
        for (xid, whole) in [
            (4, 3 * EPOCH + 4),
            (u32::MAX, 3 * EPOCH - 1),
            (2_000_000_000, 3 * EPOCH + 2_000_000_000),
            (4_000_000_000, 3 * EPOCH + 4_000_000_000),
            (3, 4 * EPOCH + 3),
            (u32::MAX, 4 * EPOCH - 1),
        ] {
            assert_eq!(count.whole(xid), whole, "{xid}");
        }
        assert_eq!(XidCount::new(5).whole(3), 3);
        // No server has that; it is not taken for a number below none.
        assert_eq!(XidCount::new(5).whole(u32::MAX), u64::from(u32::MAX));
    }

    #[test]
    fn a_number_of_32_bits_is_known_again() {
        let whole = (EPOCH + 742).to_string();
        for (kept, came, same) in [
            ("742", "742", true),
            ("742", whole.as_str(), true),
            (whole.as_str(), whole.as_str(), true),
            (whole.as_str(), "742", false),
            ("743", whole.as_str(), false),
            ("", "0", false),
            ("x", "742", false),
        ] {
            assert_eq!(is_same(kept, came), same, "{kept} {came}");
        }
    }
}
