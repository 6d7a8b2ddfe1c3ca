//! Statements that change tables, as an optional helper at the source tells of them.
//!
//! Owns the helper's text and the form of its notes: a transactional logical message for each table, so that a note stands where the
//! statement does among the transaction's changes. Without the helper tables are described as ever, only without the statements.

use serde::Deserialize;

/// The prefix of the notes.
pub(super) const PREFIX: &str = "trailcast.ddl";

/// The SQL that installs the helper, for a superuser.
pub(in crate::capture) const HELPER: &str = include_str!("ddl_helper.sql");

/// A statement that has changed a table.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Statement {
    /// What it does, such as `ALTER TABLE`.
    #[serde(default)]
    pub(super) tag: String,
    pub(super) schema: String,
    pub(super) table: String,
    #[serde(rename = "statement")]
    pub(super) text: String,
}

impl Statement {
    /// Reads a note.
    pub(super) fn read(note: &[u8]) -> Option<Self> {
        serde_json::from_slice(note).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_and_anything_else_is_none() {
        let note =
            br#"{"tag": "ALTER TABLE", "schema": "public", "table": "t", "statement": "alter table t add a int"}"#;
        let (tag, schema, table) = ("ALTER TABLE".into(), "public".into(), "t".into());
        let text = "alter table t add a int".into();
        assert_eq!(Statement::read(note), Some(Statement { tag, schema, table, text }));
        for other in [&b""[..], b"{}", b"\xff", b"[1]", br#"{"schema": 1, "table": "t", "statement": ""}"#] {
            assert_eq!(Statement::read(other), None);
        }
    }

    #[test]
    fn the_helper_writes_notes_of_that_prefix() {
        assert!(HELPER.contains(&format!("'{PREFIX}'")));
    }
}
