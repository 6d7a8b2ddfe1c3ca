//! A condition that somebody gave for a load, as a part of our own statements.
//!
//! Owns that it stays inside its parentheses. Whether it means anything is the server's to say, which is asked before anything is
//! queued.

use crate::limits;

/// Why a text is no condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::capture::postgres) enum InvalidCondition {
    /// Nothing, or too much.
    #[error("1 to {max} bytes without NUL", max = limits::LOAD_WHERE_BYTES_MAX)]
    Length,
    /// A sign by which it could end before its end.
    #[error("no semicolon, comment, dollar quote or backslash may stand in it: leave out the {0}")]
    Sign(&'static str),
    /// A parenthesis or a quote that is not closed, or closes what is not open.
    #[error("its parentheses and quotes must be closed where they are opened")]
    Unbalanced,
}

/// Checks that the text, in parentheses, is one expression or nothing that the server takes.
pub(in crate::capture::postgres) fn check(text: &str) -> Result<(), InvalidCondition> {
    if !(1..=limits::LOAD_WHERE_BYTES_MAX).contains(&text.len()) || text.contains('\0') {
        return Err(InvalidCondition::Length);
    }
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut quote: Option<u8> = None;
    for (at, byte) in bytes.iter().enumerate() {
        let next = bytes.get(at + 1);
        match (quote, byte) {
            (_, b'\\') => return Err(InvalidCondition::Sign("backslash")),
            // A doubled quote closes and opens again.
            (Some(open), byte) if open == *byte => quote = None,
            (Some(_), _) => {}
            (None, b'\'' | b'"') => quote = Some(*byte),
            (None, b';') => return Err(InvalidCondition::Sign("semicolon")),
            (None, b'$') => return Err(InvalidCondition::Sign("dollar sign")),
            (None, b'-') if next == Some(&b'-') => return Err(InvalidCondition::Sign("comment")),
            (None, b'/') if next == Some(&b'*') => return Err(InvalidCondition::Sign("comment")),
            (None, b'(') => depth += 1,
            (None, b')') => depth = depth.checked_sub(1).ok_or(InvalidCondition::Unbalanced)?,
            (None, _) => {}
        }
    }
    if depth == 0 && quote.is_none() { Ok(()) } else { Err(InvalidCondition::Unbalanced) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_cannot_leave_its_parentheses() {
        for good in ["id > 5", "note = 'it''s (' AND \"a)\" IN (1, (2))", "a - -1 < b / 2"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "true) UNION SELECT (1",
            "(true",
            "true --",
            "true /* x",
            "true; DROP TABLE t",
            "x = $$)$$",
            "x = E'\\') OR ('",
            "x = 'open",
            "\"open",
            "a\0",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(check(&"a".repeat(limits::LOAD_WHERE_BYTES_MAX + 1)).is_err());
    }
}
