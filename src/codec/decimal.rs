//! Exact comparison of numbers as written, without floats; those of databases that no decimal is, too.

use std::cmp::Ordering;

/// A decimal number: its digits without leading or trailing zeros, the first standing `point` places before the point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    point: i128,
}

/// A number as databases have it, in the order of PostgreSQL: infinities at both ends, and what is no number last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Number {
    /// Less than every decimal.
    NegativeInfinity,
    /// A decimal number.
    Decimal(Decimal),
    /// More than every decimal.
    Infinity,
    /// More than everything else, and equal to itself.
    NotANumber,
}

impl Number {
    /// Reads a decimal, `Infinity`, `-Infinity` or `NaN`, the last three in any case and as `inf` too, as PostgreSQL does.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(decimal) = Decimal::parse(text) {
            return Some(Self::Decimal(decimal));
        }
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let is_infinite = ["infinity", "inf"].iter().any(|name| unsigned.eq_ignore_ascii_case(name));
        match is_infinite {
            true if text.starts_with('-') => Some(Self::NegativeInfinity),
            true => Some(Self::Infinity),
            false => text.eq_ignore_ascii_case("nan").then_some(Self::NotANumber),
        }
    }
}

/// Exponents beyond it count as this one: no text has so many digits that it would matter to the rest.
const EXPONENT_MAX: i128 = 1 << 120;

impl Decimal {
    /// Reads `-12.50`, `1e3`, `+.5`; anything else is no number.
    pub fn parse(text: &str) -> Option<Self> {
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, read_exponent(exponent)?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
        digits.drain(..zeros);
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        if digits.is_empty() {
            return Some(Self { negative: false, digits, point: 0 });
        }
        let point = whole.len() as i128 - zeros as i128 + exponent;
        Some(Self { negative: text.starts_with('-'), digits, point })
    }

    fn size(&self, other: &Self) -> Ordering {
        match (self.digits.is_empty(), other.digits.is_empty()) {
            (false, false) => self.point.cmp(&other.point).then_with(|| self.digits.cmp(&other.digits)),
            (zero, other_zero) => other_zero.cmp(&zero),
        }
    }
}

fn read_exponent(text: &str) -> Option<i128> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let size = digits.parse::<i128>().map_or(EXPONENT_MAX, |size| size.min(EXPONENT_MAX));
    Some(if text.starts_with('-') { -size } else { size })
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, false) => self.size(other),
            (true, true) => other.size(self),
            (negative, other_negative) => other_negative.cmp(&negative),
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compare(one: &str, other: &str) -> Ordering {
        Decimal::parse(one).unwrap().cmp(&Decimal::parse(other).unwrap())
    }

    #[test]
    fn digits_beyond_a_float_still_count() {
        assert_eq!(compare("9007199254740993", "9007199254740992"), Ordering::Greater);
        assert_eq!(compare("0.1000000000000000000001", "0.1"), Ordering::Greater);
        assert_eq!(compare("-1e400", "-1e401"), Ordering::Greater);
        for (one, same) in [("1.50", "1.5"), ("0", "-0.00"), ("1e2", "100"), ("0.01", "1E-2"), ("+5", "05")] {
            assert_eq!(compare(one, same), Ordering::Equal, "{one} {same}");
        }
        for bad in ["", "-", ".", "1e", "1e+", "1e--1", "1e1.5", "0x1", "1 ", "NaN", "--1", "1.2.3"] {
            assert_eq!(Decimal::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn exponents_of_any_size_compare_by_sign_and_magnitude() {
        let enormous = format!("1e{}", "9".repeat(60));
        for (less, more) in [
            ("0", "1e9999999999"),
            ("1e9999999998", "1e9999999999"),
            ("-1e9999999999", "0"),
            ("-1e9999999999", "-1e9999999998"),
            ("0", "1e-9999999999"),
            ("1e-9999999999", "1e-400"),
            ("-1", enormous.as_str()),
            ("1e9999999999", enormous.as_str()),
        ] {
            assert_eq!(compare(less, more), Ordering::Less, "{less} {more}");
            assert_eq!(compare(more, less), Ordering::Greater, "{less} {more}");
        }
        assert_eq!(compare("10e9999999998", "1e9999999999"), Ordering::Equal);
    }

    #[test]
    fn infinities_stand_at_both_ends_and_what_is_no_number_last() {
        let ordered = ["-Infinity", "-1e400", "0", "1e400", "Infinity", "NaN"].map(|text| Number::parse(text).unwrap());
        assert!(ordered.is_sorted_by(|one, next| one < next));
        for (one, same) in [("-inf", "-Infinity"), ("+INFINITY", "Infinity"), ("nan", "NaN"), ("1.0", "1")] {
            assert_eq!(Number::parse(one), Number::parse(same), "{one}");
        }
        for bad in ["", "-NaN", "infinit", "in", "x", "--inf"] {
            assert_eq!(Number::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn it_orders_as_integers_do(one in any::<i64>(), other in any::<i64>(), places in 0..30_i32) {
            let (a, b) = (format!("{one}e-{places}"), format!("{other}e-{places}"));
            prop_assert_eq!(compare(&a, &b), one.cmp(&other));
        }
    }
}
