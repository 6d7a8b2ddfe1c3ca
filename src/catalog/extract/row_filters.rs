//! Rows that an extract leaves at the source: `"where"` of its configuration.
//!
//! Owns the members and their ranges, and that a filter is one expression whatever stands in it: it goes into a statement
//! between two parentheses. Whether the expression is right is the server's to say.

use serde::{Deserialize, Serialize};

use super::{InvalidExtract, refuse};
use crate::catalog::table_pattern::TablePattern;
use crate::limits;

/// One entry of `"where"`: only the rows of a table that a filter lets through are captured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RowFilter {
    /// The table: `schema.table`, without wildcards.
    pub table: TablePattern,
    /// The expression, in the SQL of the source.
    pub filter: String,
}

/// Checks every entry. `is_theirs`: the publication is named in the configuration and never altered.
pub(super) fn validate(filters: &[RowFilter], is_theirs: bool) -> Result<(), InvalidExtract> {
    if filters.len() > limits::EXTRACT_ROW_FILTERS_MAX {
        return Err(refuse("where", format!("at most {} entries", limits::EXTRACT_ROW_FILTERS_MAX)));
    }
    if !filters.is_empty() && is_theirs {
        let message = "not together with postgresql.publication, which is used as it is: put the row filters into that \
                       publication, or leave its name out";
        return Err(refuse("where", message));
    }
    for (at, filter) in filters.iter().enumerate() {
        let member = |name: &str| format!("where[{at}].{name}");
        if !filter.table.is_exact() {
            return Err(refuse(&member("table"), "the name of one table, schema.table, without * and ?"));
        }
        if filters[..at].iter().any(|other| other.table == filter.table) {
            let message = format!("{} is named twice", String::from(filter.table.clone()));
            return Err(refuse(&member("table"), message));
        }
        super::text(&member("filter"), &filter.filter, limits::ROW_FILTER_BYTES_MAX)?;
        if let Err(message) = is_one_expression(&filter.filter) {
            return Err(refuse(&member("filter"), message));
        }
    }
    Ok(())
}

/// Whether a text between two parentheses stays between them. Strict: what PostgreSQL could read in more than one way is
/// refused (backslashes, dollar quotes, comments), so that no rule of its lexer needs to be known beyond quotes.
fn is_one_expression(text: &str) -> Result<(), &'static str> {
    if text.contains('\\') {
        return Err("no backslash; compare with chr(92) where one is meant");
    }
    let mut depth = 0_usize;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            // What stands in quotes is passed over. A doubled quote ends one text and begins the next, which comes to the same.
            '\'' | '"' if !characters.by_ref().any(|other| other == character) => {
                return Err("every quote needs its closing one");
            }
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1).ok_or("every closing parenthesis needs its opening one")?,
            ';' => return Err("one expression, without a semicolon"),
            '$' => return Err("no dollar sign outside of quotes"),
            '-' if characters.peek() == Some(&'-') => return Err("no comments"),
            '/' if characters.peek() == Some(&'*') => return Err("no comments"),
            _ => {}
        }
    }
    if depth == 0 { Ok(()) } else { Err("every opening parenthesis needs its closing one") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(table: &str, filter: &str) -> RowFilter {
        RowFilter { table: TablePattern::parse(table).unwrap(), filter: filter.into() }
    }

    #[test]
    fn a_filter_is_one_expression_and_cannot_leave_its_parentheses() {
        for good in [
            "region = 'eu'",
            "a = 'it''s; --' and (b > 1 or \"we;ird\"(\"c\") is null)",
            "name = ')' and x - 1 > 2 / 3",
            "(((a)))",
        ] {
            assert_eq!(is_one_expression(good), Ok(()), "{good}");
        }
        for bad in [
            "true) or (true",
            "true); drop table t; --",
            "a = 'x",
            "a = \"x",
            "a = E'\\') or true--'",
            "a = $$x$$",
            "a = 1 -- b",
            "a = 1 /* b",
            "a; b",
            "((a)",
            "a = $1",
        ] {
            assert!(is_one_expression(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn entries_name_one_table_each_and_a_publication_that_is_ours() {
        let member = |filters: &[RowFilter], theirs| validate(filters, theirs).err().map(|refused| refused.member);
        let orders = || filter("public.orders", "id > 1");
        assert_eq!(member(&[orders()], false), None);
        assert_eq!(member(&[orders()], true).as_deref(), Some("where"));
        assert_eq!(member(&[filter("public.*", "id > 1")], false).as_deref(), Some("where[0].table"));
        assert_eq!(member(&[orders(), orders()], false).as_deref(), Some("where[1].table"));
        assert_eq!(member(&[filter("public.orders", "")], false).as_deref(), Some("where[0].filter"));
        assert_eq!(member(&[filter("public.orders", "a)")], false).as_deref(), Some("where[0].filter"));
    }

    proptest::proptest! {
        #[test]
        fn what_is_accepted_has_its_parentheses_in_balance(text in "[a()'\" ;$-]{0,12}") {
            if is_one_expression(&text).is_ok() {
                // Without what stands in quotes, nothing may close what it did not open.
                let mut outside = String::new();
                let mut quote = None;
                for character in text.chars() {
                    match quote {
                        Some(open) if open == character => {
                            quote = None;
                            outside.push('q');
                        }
                        Some(_) => {}
                        None if matches!(character, '\'' | '"') => quote = Some(character),
                        None => outside.push(character),
                    }
                }
                let mut depth = 0_i32;
                for character in outside.chars() {
                    depth += match character { '(' => 1, ')' => -1, _ => 0 };
                    proptest::prop_assert!(depth >= 0);
                }
                proptest::prop_assert!(depth == 0 && quote.is_none() && !outside.contains(';') && !outside.contains("--"));
            }
        }
    }
}
