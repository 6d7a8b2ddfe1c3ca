//! What a refusal of the source means for a table that is being read, and what people may be told of it.
//!
//! Sans-IO. What a server says may hold values of rows: its words are given on only where they are known to be about something else.

use super::super::server_error::ServerError;
use crate::limits;

/// What a refusal means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A table, a column, a schema or a type is not there: it is another one now, or gone.
    Gone,
    /// It may not be refused when it is asked again.
    Passing(String),
    /// It will be refused again: why.
    Lasting(String),
}

/// SQLSTATEs of what is not there.
const GONE: [&str; 5] = ["42P01", "42703", "3F000", "42704", "42809"];
/// Classes, and single ones, of what passes: connections, deadlocks, resources, locks, operators who stop something.
const PASSING: [&str; 5] = ["08", "40", "53", "55P03", "57"];
/// Those whose texts name objects and rights, and no values.
const OF_OBJECTS: [&str; 11] = ["08", "28", "3D", "40", "42", "53", "55", "57", "58", "F0", "XX"];

/// What the refusal of a chunk means, with a condition that somebody gave or without one.
pub(super) fn meaning(error: &ServerError, has_condition: bool) -> Meaning {
    let is_one_of = |codes: &[&str]| codes.iter().any(|code| error.code.starts_with(code));
    if is_one_of(&GONE) {
        return Meaning::Gone;
    }
    let code = &error.code;
    if has_condition && code == "57014" {
        let seconds = limits::LOAD_WHERE_SECONDS_MAX;
        return Meaning::Lasting(format!("its condition takes longer than {seconds} s for a chunk: an index may help"));
    }
    // One of our own has none.
    let is_passing = code.is_empty() || is_one_of(&PASSING);
    let text = match (has_condition, is_passing) {
        // A function in it may say whatever it likes.
        (true, true) => format!("the source refuses a chunk (SQLSTATE {code})"),
        (true, false) => format!("the source cannot evaluate its condition for each row (SQLSTATE {code})"),
        (false, _) if code.is_empty() || is_one_of(&OF_OBJECTS) || error.is_unreadable() => error.to_string(),
        (false, _) => format!("the source cannot read one of its rows (SQLSTATE {code})"),
    };
    if is_passing { Meaning::Passing(text) } else { Meaning::Lasting(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(code: &str, has_condition: bool) -> Meaning {
        meaning(&ServerError::decode(format!("C{code}\0Mwith a value\0\0").as_bytes()), has_condition)
    }

    #[test]
    fn what_is_not_known_to_pass_lasts_and_nobody_is_told_what_may_be_a_value() {
        for code in ["08006", "40001", "53300", "55P03", "57014", "57P01"] {
            assert!(matches!(meant(code, false), Meaning::Passing(_)), "{code}");
        }
        for code in ["XX000", "XX001", "25006", "P0001", "22P02", "42501", "54000", "38000", "58P01"] {
            for has_condition in [false, true] {
                assert!(matches!(meant(code, has_condition), Meaning::Lasting(_)), "{code}");
            }
        }
        for code in ["25006", "P0001", "22012", "53200", "57014", "XX000", "42501", "99999"] {
            assert!(!format!("{:?}", meant(code, true)).contains("value"), "{code}");
        }
        for code in ["22P02", "P0001", "38000", "23514"] {
            assert!(!format!("{:?}", meant(code, false)).contains("value"), "{code}");
        }
        assert!(
            format!("{:?}", meant("XX000", false)).contains("with a value"),
            "what is of the server itself is said"
        );
        assert_eq!(meant("42703", true), Meaning::Gone);
    }
}
