//! Writes `op_ts` without a formatting library: it stands in every record.

use crate::record::Timestamp;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Appends the 26 characters of [`Timestamp::to_op_ts`].
pub fn push_op_ts(out: &mut Vec<u8>, moment: Timestamp) {
    let days = moment.micros().div_euclid(MICROS_PER_DAY);
    let (year, month, day) = civil_from_days(days);
    if !(0..=9999).contains(&year) {
        out.extend_from_slice(moment.to_op_ts().as_bytes());
        return;
    }
    let micros = moment.micros().rem_euclid(MICROS_PER_DAY);
    let seconds = micros / 1_000_000;
    // In 32 bits from here on: divisions by constants are then multiplications.
    let (year, seconds, fraction) = (year as u32, seconds as u32, (micros % 1_000_000) as u32);
    let mut text = *b"0000-00-00 00:00:00.000000";
    pair(&mut text, 0, year / 100);
    pair(&mut text, 2, year % 100);
    pair(&mut text, 5, month as u32);
    pair(&mut text, 8, day as u32);
    pair(&mut text, 11, seconds / 3_600);
    pair(&mut text, 14, seconds / 60 % 60);
    pair(&mut text, 17, seconds % 60);
    pair(&mut text, 20, fraction / 10_000);
    pair(&mut text, 22, fraction / 100 % 100);
    pair(&mut text, 24, fraction % 100);
    out.extend_from_slice(&text);
}

/// Writes a number below 100 in two digits.
#[inline]
fn pair(text: &mut [u8; 26], at: usize, number: u32) {
    text[at] = b'0' + (number / 10) as u8;
    text[at + 1] = b'0' + (number % 10) as u8;
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar. Years are counted from March, so
/// that the leap day is the last of its year, in eras of 400 years.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let since_march_0000 = days + 719_468;
    let era = since_march_0000.div_euclid(146_097);
    let day_of_era = since_march_0000.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn it_writes_what_the_calendar_library_writes(
            micros in proptest::prop_oneof![-70_000_000_000_000_000..260_000_000_000_000_000_i64, proptest::num::i64::ANY]
        ) {
            let moment = Timestamp::from_micros(micros);
            let mut out = Vec::new();
            push_op_ts(&mut out, moment);
            proptest::prop_assert_eq!(String::from_utf8(out).unwrap(), moment.to_op_ts());
        }
    }
}
