//! Base 32 of RFC 4648 section 7 ("base32hex"), without padding, in lower case: digits, then letters, so that texts compare as
//! the bytes do.
//!
//! Own lines, because of a transaction's positions only a few characters differ from one to the next: 40 bits are 8
//! characters, written at once.

/// The characters of the 40 low bits, the highest first.
#[inline]
pub(super) fn eight_chars(bits: u64) -> [u8; 8] {
    const LOW_20: u64 = (1 << 20) - 1;
    // Spread to five bits a byte, by halves.
    let bits = (bits & LOW_20 << 20) << 12 | bits & LOW_20;
    let bits = (bits & 0x000F_FC00_000F_FC00) << 6 | bits & 0x0000_03FF_0000_03FF;
    let bits = (bits & 0x03E0_03E0_03E0_03E0) << 3 | bits & 0x001F_001F_001F_001F;
    // A byte of 10 or more sets its highest bit when 118 is added; no byte overflows into the next.
    let letters = (bits + 0x7676_7676_7676_7676) >> 7 & 0x0101_0101_0101_0101;
    (bits + 0x3030_3030_3030_3030 + letters * (b'a' - b'0' - 10) as u64).to_be_bytes()
}

/// The bits of these characters, the first the highest; `None` if one is not of the alphabet.
pub(super) fn bits(chars: &[u8]) -> Option<u64> {
    chars.iter().try_fold(0, |bits, char| {
        let value = match char {
            b'0'..=b'9' => char - b'0',
            b'a'..=b'v' => char - b'a' + 10,
            _ => return None,
        };
        Some(bits << 5 | u64::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALPHABET: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

    proptest! {
        #[test]
        fn forty_bits_are_eight_characters_of_the_alphabet(number in 0..1_u64 << 40) {
            let expected: Vec<u8> = (0..8).rev().map(|at| ALPHABET[(number >> (at * 5) & 31) as usize]).collect();
            prop_assert_eq!(&eight_chars(number)[..], &expected[..]);
            prop_assert_eq!(bits(&expected), Some(number));
        }
    }

    #[test]
    fn every_value_has_its_character_in_every_place_and_no_other_character_has_a_value() {
        for (value, char) in (0_u64..).zip(ALPHABET) {
            for place in 0..8 {
                let mut expected = [b'0'; 8];
                expected[place] = *char;
                assert_eq!(eight_chars(value << (35 - 5 * place)), expected);
            }
            assert_eq!(bits(&[*char]), Some(value));
        }
        let valued = (0..=u8::MAX).filter(|byte| bits(&[*byte]).is_some()).count();
        assert_eq!(valued, ALPHABET.len());
    }
}
