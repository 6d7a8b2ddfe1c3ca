//! Gaps of a trail as the sessions of a contract meet them: which concern them, and in what words they are told.
//!
//! Damage that was repaired took whole transactions, of nobody knows which tables: it concerns everyone. What a capture did
//! not get of some tables concerns those whose rules may let something of these tables through.

use std::sync::Arc;

use crate::catalog::stream::QualityOfService;
use crate::codec::close_code::reason_naming;
use crate::codec::token;
use crate::codec::ws_frame::CLOSE_REASON_BYTES_MAX;
use crate::delivery::contract::Contract;
use crate::record::TableName;
use crate::trail::{Gap, Missing};

/// Tables that are named where there is room for a whole sentence; of the others the number is said.
const TABLES_NAMED: usize = 20;

/// What a contract's session does at a gap.
#[derive(Debug)]
pub(super) enum AtGap {
    /// Nothing that it would send is missing.
    Nothing,
    /// It goes on, and that is said.
    Skips(String),
    /// It ends: the gap, with those tables alone that concern it, and the position after which to go on.
    Ends { gap: Gap, after: String },
}

/// What the sessions of a contract do at this gap.
pub(super) fn at_gap(contract: &Contract, gap: &Gap) -> AtGap {
    let Some(gap) = concerning(contract, gap) else { return AtGap::Nothing };
    if contract.quality_of_service == QualityOfService::AtMostOnce {
        let why = "a session passed over that, as qualityOfService atMostOnce asks for";
        return AtGap::Skips(format!("{}; {why}", in_full(&gap)));
    }
    let after = token::encode(&gap.position(contract.epoch), contract.hash).as_str().to_owned();
    AtGap::Ends { gap, after }
}

/// The gap as far as it concerns a contract: with the tables alone of which its rules may let something through.
fn concerning(contract: &Contract, gap: &Gap) -> Option<Gap> {
    let Some(missing) = gap.missing.as_ref().filter(|missing| !missing.tables.is_empty()) else {
        return Some(gap.clone());
    };
    let mut rules = contract.rules.clone();
    let tables: Vec<_> = missing.tables.iter().filter(|table| rules.may_concern(table)).cloned().collect();
    let missing = Missing { tables, ..(**missing).clone() };
    (!missing.tables.is_empty()).then(|| Gap { missing: Some(Arc::new(missing)), ..gap.clone() })
}

/// For people who can read on: what is missing, with the range of the source's log.
pub(super) fn in_full(gap: &Gap) -> String {
    let Some(missing) = &gap.missing else { return gap.to_string() };
    let named: Vec<_> = missing.tables.iter().take(TABLES_NAMED).map(TableName::to_string).collect();
    let others = missing.tables.len() - named.len();
    let tables = match (named.as_slice(), others) {
        ([], _) => "any table".to_owned(),
        (named, 0) => named.join(", "),
        (named, others) => format!("{} and {others} more", named.join(", ")),
    };
    format!("rows of {tables} may be missing, from {} to {} of the source's log", missing.from, missing.to)
}

/// For a close frame: what is missing, and the position after which to go on, which is never cut.
pub(super) fn in_brief(gap: &Gap, after: &str) -> String {
    let Some(missing) = &gap.missing else { return reason_naming(&gap.to_string(), after) };
    let around = reason_naming("rows of  may be missing", after);
    let room = CLOSE_REASON_BYTES_MAX.saturating_sub(around.len());
    let tables = match missing.tables.as_slice() {
        [] => "any table".to_owned(),
        [table] => cut(&table.to_string(), room),
        [table, others @ ..] => {
            let others = format!(" and {} more", others.len());
            format!("{}{others}", cut(&table.to_string(), room.saturating_sub(others.len())))
        }
    };
    reason_naming(&format!("rows of {tables} may be missing"), after)
}

/// The text if it has at most `room` bytes, else its beginning.
fn cut(text: &str, room: usize) -> String {
    const MARK: char = '…';
    if text.len() <= room {
        return text.to_owned();
    }
    let room = room.saturating_sub(MARK.len_utf8());
    let end = (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    format!("{}{MARK}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(tables: &[&str]) -> Gap {
        let tables = tables.iter().map(|table| TableName::parse(table).unwrap()).collect();
        let missing = Missing { tables, from: "0/1".into(), to: "0/2".into() };
        Gap { first: 7, next: 8, missing: Some(Arc::new(missing)) }
    }

    #[test]
    fn a_close_frame_holds_it_whatever_the_tables_are_called_and_never_cuts_the_position() {
        let long = format!("\"{}\".t", "ü".repeat(120));
        // The longest position that a server may give out.
        let after = "A".repeat(64);
        for tables in [vec![], vec!["a.b"], vec![long.as_str()], vec![long.as_str(); 70_000], vec!["a.b", "c"]] {
            let told = in_brief(&gap(&tables), &after);
            assert!(
                told.len() <= CLOSE_REASON_BYTES_MAX && told.ends_with(&format!("; go on after {after}")),
                "{told}"
            );
        }
        assert_eq!(in_brief(&gap(&["public.orders"]), "AQ"), "rows of public.orders may be missing; go on after AQ");
        assert_eq!(in_brief(&gap(&["a.b", "c"]), "AQ"), "rows of a.b and 1 more may be missing; go on after AQ");
    }

    #[test]
    fn a_sentence_names_tables_and_says_how_many_it_does_not_name() {
        let end = "may be missing, from 0/1 to 0/2 of the source's log";
        assert_eq!(in_full(&gap(&[])), format!("rows of any table {end}"));
        assert_eq!(in_full(&gap(&["a.b", "c"])), format!("rows of a.b, c {end}"));
        assert!(in_full(&gap(&["a.b"; 30])).contains("a.b and 10 more may be missing"));
    }
}
