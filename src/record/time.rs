//! A moment in UTC, to the microsecond.

use std::fmt;

use chrono::{DateTime, FixedOffset, NaiveDateTime, Utc};

/// Microseconds since 1970-01-01 00:00:00 UTC; negative before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// The text is no ISO 8601 timestamp that we accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an ISO 8601 timestamp with date, time and zone (2026-07-13T04:00:00Z)")]
pub struct InvalidTimestamp;

impl Timestamp {
    /// From microseconds since the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Reads ISO 8601: date and time apart by `T` or a space, `Z` or an offset, up to six digits after the second.
    pub fn parse(text: &str) -> Result<Self, InvalidTimestamp> {
        // A fraction longer than microseconds would be cut in silence, and a seek would start elsewhere than asked.
        let fraction_digits =
            text.split_once('.').map_or(0, |(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count());
        if text.len() > 40 || fraction_digits > 6 {
            return Err(InvalidTimestamp);
        }
        let with_t = text.replacen(' ', "T", 1).replacen('t', "T", 1);
        for format in ["%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z"] {
            if let Ok(moment) = DateTime::<FixedOffset>::parse_from_str(&with_t, format) {
                return Ok(Self(moment.timestamp_micros()));
            }
        }
        if let Some(utc) = with_t.strip_suffix(['Z', 'z']) {
            for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"] {
                if let Ok(moment) = NaiveDateTime::parse_from_str(utc, format) {
                    return Ok(Self(moment.and_utc().timestamp_micros()));
                }
            }
        }
        Err(InvalidTimestamp)
    }

    /// Reads what a stream may begin at: as [`Self::parse`], and also a comma before the fraction (ISO 8601 has both), up to
    /// nine digits after it, and the form of [`Self::to_op_ts`], which has no zone and is UTC. Digits beyond microseconds
    /// are cut and not rounded: who begins there skips nothing.
    pub fn parse_begin(text: &str) -> Result<Self, InvalidTimestamp> {
        let text = text.replacen(',', ".", 1);
        let (before, rest) = text.split_once('.').unwrap_or((&text, ""));
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 9 {
            return Err(InvalidTimestamp);
        }
        if digits == 0 {
            return Self::parse(&text);
        }
        let (fraction, zone) = rest.split_at(digits);
        let is_op_ts = zone.is_empty() && before.as_bytes().get(10) == Some(&b' ');
        Self::parse(&format!("{before}.{}{}", &fraction[..digits.min(6)], if is_op_ts { "Z" } else { zone }))
    }

    fn to_chrono(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0).unwrap_or(DateTime::<Utc>::MIN_UTC)
    }

    /// As `op_ts` has it: `2026-07-13 04:00:00.000000`, in UTC.
    pub fn to_op_ts(self) -> String {
        self.to_chrono().format("%Y-%m-%d %H:%M:%S%.6f").to_string()
    }

    /// RFC 3339 in UTC with microseconds: `2026-07-13T04:00:00.000000Z`.
    pub fn to_rfc3339(self) -> String {
        self.to_chrono().format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form_the_contract_names() {
        let noon = Timestamp::parse("2026-07-13T12:00:00Z").unwrap();
        for same in [
            "2026-07-13 12:00:00Z",
            "2026-07-13T12:00:00.000000Z",
            "2026-07-13T14:00:00+02:00",
            "2026-07-13 14:00:00.0+0200",
            "2026-07-13T12:00Z",
        ] {
            assert_eq!(Timestamp::parse(same), Ok(noon), "{same}");
        }
        assert_eq!(Timestamp::parse("2026-07-13T12:00:00.000001Z").unwrap().micros(), noon.micros() + 1);
    }

    #[test]
    fn refuses_what_would_be_guessed() {
        for bad in [
            "",
            "2026-07-13",
            "2026-07-13T12:00:00",
            "12:00:00Z",
            "2026-07-13T12:00:00.1234567Z",
            "2026-13-01T00:00:00Z",
            "now",
        ] {
            assert_eq!(Timestamp::parse(bad), Err(InvalidTimestamp), "{bad}");
        }
    }

    #[test]
    fn a_stream_may_begin_at_nanoseconds_at_a_comma_and_at_an_op_ts() {
        let moment = Timestamp::parse("2026-07-13T05:30:00.123456Z").unwrap();
        for same in [
            "2026-07-13T05:30:00.123456Z",
            "2026-07-13T05:30:00.1234567Z",
            "2026-07-13T05:30:00.123456999Z",
            "2026-07-13T07:30:00,123456999+02:00",
            "2026-07-13 05:30:00,123456Z",
            "2026-07-13 05:30:00.123456",
            "2026-07-13 05:30:00.123456789",
        ] {
            assert_eq!(Timestamp::parse_begin(same), Ok(moment), "{same}");
        }
        // Cut before 1970 too: towards the past, so that nothing is skipped.
        let early = Timestamp::parse("1969-12-31T23:59:59.999998Z").unwrap();
        assert_eq!(Timestamp::parse_begin("1969-12-31T23:59:59.999998999Z"), Ok(early));
        let said = moment.to_op_ts();
        assert_eq!(Timestamp::parse_begin(&said), Ok(moment), "{said}");
        for bad in [
            "2026-07-13T05:30:00.1234567890Z",
            "2026-07-13T05:30:00",
            "2026-07-13T05:30:00.123456",
            "2026-07-13 05:30:00",
            "2026-07-13 05:30:00.",
            "2026-07-13,5",
            "2026-07-13 05:30:00.12.34Z",
            "2026-07-13 05,30:00Z",
            "0,é",
            ",",
        ] {
            assert_eq!(Timestamp::parse_begin(bad), Err(InvalidTimestamp), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_begin_makes_it_panic(text in "[0-9T :.,Z+é-]{0,45}") {
            let _ = Timestamp::parse_begin(&text);
        }

        #[test]
        fn every_op_ts_is_read_as_the_moment_that_it_was_made_of(micros in -62_135_596_800_000_000..253_402_300_800_000_000_i64) {
            let moment = Timestamp::from_micros(micros);
            proptest::prop_assert_eq!(Timestamp::parse_begin(&moment.to_op_ts()), Ok(moment));
        }
    }

    #[test]
    fn prints_six_digits() {
        let moment = Timestamp::parse("2026-07-13T04:00:00.5Z").unwrap();
        assert_eq!(moment.to_op_ts(), "2026-07-13 04:00:00.500000");
        assert_eq!(moment.to_rfc3339(), "2026-07-13T04:00:00.500000Z");
    }
}
