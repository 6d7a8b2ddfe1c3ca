//! CRC-32C of a few bytes, by table.
//!
//! Checksums of whole frames are the crate's, `crc32c`; where four bytes are all that differs, a call costs more than
//! they do.

/// What a little-endian word of 32 bits does to a CRC-32C (reflected polynomial 0x82F63B78) before its last inversion,
/// by place and value of its bytes, when a fixed number of bytes follows it.
///
/// A CRC is linear: the states of two messages that differ in that word differ by the effect of the words' difference.
#[derive(Debug)]
pub(super) struct WordEffect([[u32; 256]; 4]);

impl WordEffect {
    /// The effect of a word that so many bytes follow.
    pub(super) const fn with_bytes_after(after: usize) -> Self {
        let mut tables = [[0; 256]; 4];
        let mut value = 0;
        while value < 256 {
            let mut state = value as u32;
            let mut bits = 0;
            while bits < (after + 4) * 8 {
                state = if state & 1 == 1 { state >> 1 ^ 0x82F6_3B78 } else { state >> 1 };
                bits += 1;
                // The word's last byte comes right before the bytes after it, its first three bytes earlier.
                if bits % 8 == 0 && bits / 8 > after {
                    tables[after + 4 - bits / 8][value] = state;
                }
            }
            value += 1;
        }
        Self(tables)
    }

    /// That of this word.
    #[inline]
    pub(super) fn of(&self, word: u32) -> u32 {
        let [first, second, third, fourth] = word.to_le_bytes().map(usize::from);
        self.0[0][first] ^ self.0[1][second] ^ self.0[2][third] ^ self.0[3][fourth]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    static SEVEN_AFTER: WordEffect = WordEffect::with_bytes_after(7);

    proptest! {
        #[test]
        fn a_words_effect_is_the_difference_that_it_makes(before: [u8; 5], after: [u8; 7], word: u32, other: u32) {
            let crc = |word: u32| crc32c::crc32c(&[&before[..], &word.to_le_bytes(), &after].concat());
            prop_assert_eq!(crc(word) ^ SEVEN_AFTER.of(word ^ other), crc(other));
        }
    }
}
