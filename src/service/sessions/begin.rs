//! Where a session begins: the four forms of `begin` (contract section 4).

use std::fmt;

use crate::codec::token::{self, Token};
use crate::record::Timestamp;

/// What a client asks to begin with (contract section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BeginRequest {
    /// At the first transaction kept.
    Earliest,
    /// Behind everything durable.
    Now,
    /// At the first transaction committed at or after this time.
    Time(Timestamp),
    /// After a record.
    Position(Token),
}

/// The text is none of the four forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBegin {
    /// It has the length of a position and is none.
    #[error("it is not a position that this server gave out, or it was changed on the way")]
    Position,
    /// It is no form of `begin`.
    #[error(
        "begin must be now, earliest, an ISO 8601 timestamp with zone and at most nine digits after the second \
         (2026-07-13T04:00:00Z), the op_ts of a record (2026-07-13 04:00:00.000000, in UTC), or the pos of a record"
    )]
    Form,
}

impl BeginRequest {
    /// Which of the four forms it has.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Earliest => "earliest",
            Self::Now => "now",
            Self::Time(_) => "time",
            Self::Position(_) => "position",
        }
    }

    /// Reads a percent-decoded `begin`. A `+` that arrived as a space is tolerated in offsets.
    pub fn parse(text: &str) -> Result<Self, InvalidBegin> {
        match text {
            "now" => return Ok(Self::Now),
            "earliest" => return Ok(Self::Earliest),
            _ => {}
        }
        if let Ok(token) = token::decode(text) {
            return Ok(Self::Position(token));
        }
        if let Ok(time) = Timestamp::parse_begin(text).or_else(|_| Timestamp::parse_begin(&plus_restored(text))) {
            return Ok(Self::Time(time));
        }
        let looks_like_position = text.len() >= 40 && !text.contains(':');
        Err(if looks_like_position { InvalidBegin::Position } else { InvalidBegin::Form })
    }
}

impl fmt::Display for BeginRequest {
    /// A text that [`Self::parse`] reads as the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Earliest => f.write_str("earliest"),
            Self::Now => f.write_str("now"),
            Self::Time(time) => f.write_str(&time.to_rfc3339()),
            Self::Position(token) => f.write_str(token::encode_token(token).as_str()),
        }
    }
}

/// `2026-07-13T14:00:00 02:00` was `…+02:00` before somebody forgot to encode the plus sign.
fn plus_restored(text: &str) -> String {
    match text.rsplit_once(' ') {
        Some((before, offset)) => format!("{before}+{offset}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Epoch, Position};

    #[test]
    fn begin_has_four_forms_and_a_forgotten_plus_is_tolerated() {
        let noon = BeginRequest::Time(Timestamp::parse("2026-07-13T12:00:00Z").unwrap());
        assert_eq!(BeginRequest::parse("2026-07-13T14:00:00 02:00"), Ok(noon.clone()));
        assert_eq!(BeginRequest::parse("2026-07-13 14:00:00 02:00"), Ok(noon.clone()));
        assert_eq!(BeginRequest::parse("2026-07-13 12:00:00Z"), Ok(noon));
        assert_eq!(BeginRequest::parse("now"), Ok(BeginRequest::Now));
        assert_eq!(BeginRequest::parse("earliest"), Ok(BeginRequest::Earliest));
        let token = token::encode_trail(&Position::behind(Epoch(1), 2));
        for text in ["now", "earliest", "2026-07-13T12:00:00.000001Z", token.as_str()] {
            assert_eq!(BeginRequest::parse(text).unwrap().to_string(), text);
        }
        let op_ts = BeginRequest::Time(Timestamp::parse("2026-07-13T05:30:00Z").unwrap());
        assert_eq!(BeginRequest::parse("2026-07-13 05:30:00.000000"), Ok(op_ts.clone()));
        assert_eq!(BeginRequest::parse("2026-07-13T07:30:00,000000999 02:00"), Ok(op_ts));
        for bad in ["", "0", "Now", "latest", "2026-07-13", "2026-07-13T14:00:00", "2026-07-13T14:00:00.0123456789Z"] {
            assert_eq!(BeginRequest::parse(bad), Err(InvalidBegin::Form), "{bad}");
        }
        for length in [44, 54] {
            assert_eq!(BeginRequest::parse(&"A".repeat(length)), Err(InvalidBegin::Position));
        }
        let earlier = BeginRequest::parse("AQAAAAAAAAABAAAAAAAAAAIAAAADAAAABAAAAAUckLK_").unwrap();
        assert_eq!(BeginRequest::parse(&earlier.to_string()), Ok(earlier), "it is told as the position of today");
    }
}
