//! What only a PostgreSQL source can meet and a person has to mend: slots that are gone or too far ahead, timelines that
//! part too early, tables that are not published, publications that would have the application's writes refused, masks and row
//! filters that would not hold.
//!
//! Owns these words and their kinds; leaves what any source can meet to `capture::error`.

use super::replica_identity::RefusedWrites;
use crate::capture::error::{CaptureError, Fault};
use crate::limits;

/// Why capture stops.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostgresError {
    /// Publishing tables would make the source refuse its application's own writes to them.
    #[error("{}", writes_refused(tables, *whole_schemas))]
    WritesRefused {
        tables: Vec<RefusedWrites>,
        /// Whether whole schemas would be published, with tables that are made later.
        whole_schemas: bool,
    },
    /// The replication slot is gone although the trail holds changes from it.
    #[error(
        "replication slot {slot} is gone, the trail stands at {position}; changes since then are lost, \
         make a new trail or restore the slot"
    )]
    SlotMissing { slot: String, position: String },
    /// The source has discarded what the slot still needed.
    #[error("replication slot {slot} is invalid ({reason}); changes were discarded by the source")]
    SlotLost {
        slot: String,
        /// What the source says.
        reason: String,
    },
    /// The slot was confirmed beyond what the trail holds.
    #[error(
        "replication slot {slot} stands at {slot_position}, ahead of the trail at {position}; changes between are lost"
    )]
    SlotAhead { slot: String, slot_position: String, position: String },
    /// The server was promoted, or restored, before it had all that the trail took.
    #[error(
        "this server left timeline {from} at {left} and is on timeline {to} now, and the trail stands at {position} of \
         timeline {from}: it may hold changes that this server never had. Nothing was taken from the server or confirmed to \
         it: have the extract read from the server that has these changes, or accept that they never happened, with a new \
         extract, another slot and another trail"
    )]
    TimelineLeftEarlier { from: u32, to: u32, left: String, position: String },
    /// The server's timeline does not go back to the trail's.
    #[error(
        "the trail was written on timeline {from}, and this server is on timeline {to}, which does not go back to that one: \
         it was left behind by a promotion, or promoted beside the trail's source. Nothing was taken from it or confirmed to \
         it: have the extract read from the server that was promoted to timeline {from}, or accept the state of this one, \
         with a new extract, another slot and another trail"
    )]
    TimelineUnrelated { from: u32, to: u32 },
    /// Tables that the patterns name do not flow, or did not in between.
    #[error(
        "coverage is lost: {tables}. Rows of these tables in transactions from {from} to {to} of the source's log may be \
         missing. Slot {slot} keeps the source's log meanwhile. Mend the publication where that is needed, then go on with \
         PATCH {{\"acceptGap\": true}}: the trail then gets a gap that names the tables"
    )]
    CoverageLost {
        /// Which, and why.
        tables: String,
        from: String,
        to: String,
        slot: String,
    },
    /// A masked column is not where its mask looks for it.
    #[error(
        "column {column} of {table} is masked, and what the source sends of the table has no such column: it may come under \
         another name, so nothing more of it was taken. If the column was renamed, name it in columns as it is called now; if it is gone, \
         take its mask away or give it \"optional\": true; then the extract goes on from here (PATCH starts it again)"
    )]
    MaskedColumnGone { table: String, column: String },
    /// A mask names a column that its table does not have.
    #[error(
        "columns: {table} has no column {column}. Name it as it is called, or give the mask \"optional\": true if the table may \
         come without it"
    )]
    NoColumnToMask { table: String, column: String },
    /// It is there under a name that no mask has.
    #[error(
        "column {column} of {table} is masked, and it is called {shown} now, which no mask names: nothing was taken under that \
         name. Add a mask for {shown} to columns; then the extract goes on from here (PATCH starts it again)"
    )]
    MaskedColumnRenamed { table: String, column: String, shown: String },
    /// Whether a mask holds for the table cannot be found out any more.
    #[error(
        "table {table} is gone from the source, and it was never seen while it was there: it may have been a partition of a table \
         whose column {column} is masked, or have inherited from it, so nothing of it was taken. Add a mask for {column} of \
         {table} to columns; then the extract goes on from here (PATCH starts it again)"
    )]
    MaskedTableUnknown { table: String, column: String },
    /// It belongs to the key.
    #[error(
        "column {column} belongs to the key of {table}, by which rows are found: it can only be masked as \"hash\". Change its \
         mask in columns; then the extract goes on from here (PATCH starts it again)"
    )]
    MaskedKey { table: String, column: String },
    /// A mask names a partition whose rows come under its table's name.
    #[error(
        "the rows of {table} come under the name of {parent}, of which it is a partition: name {parent} in {member} in its place"
    )]
    PartitionNamed { table: String, parent: String, member: &'static str },
    /// More tables have masked columns than are remembered.
    #[error(
        "more than {max} tables have masked columns, and no more are remembered: capture fewer tables, or mask columns of fewer",
        max = limits::MASKED_TABLES_MAX
    )]
    TooManyMaskedTables,
    /// A row filter cannot be had.
    #[error("the row filter of {table} (where) is refused: {why}")]
    FilterRefused { table: String, why: String },
    /// A row filter stands in no publication as it is asked for.
    #[error(
        "the row filter of {table} (where) is not the one that is published, and could not be put in its place: rows that it \
         leaves out would come, so nothing is taken. Run {mend} as the owner of the publication, and the extract goes on"
    )]
    FilterNotPublished { table: String, mend: String },
}

/// The kind of what is wrong with a mask.
pub(super) const MASK: &str = "mask";
/// The kind of what is wrong with a row filter.
pub(super) const ROW_FILTER: &str = "row_filter";
/// The kind of [`PostgresError::WritesRefused`].
pub(super) const WRITES_REFUSED: &str = "writes_refused";

impl From<PostgresError> for CaptureError {
    fn from(error: PostgresError) -> Self {
        let reason = match error {
            PostgresError::WritesRefused { .. } => WRITES_REFUSED,
            PostgresError::SlotMissing { .. } => "slot_missing",
            PostgresError::SlotLost { .. } => "slot_lost",
            PostgresError::SlotAhead { .. } => "slot_ahead",
            PostgresError::TimelineLeftEarlier { .. } | PostgresError::TimelineUnrelated { .. } => "other_timeline",
            PostgresError::CoverageLost { .. } => "coverage_lost",
            PostgresError::MaskedColumnGone { .. }
            | PostgresError::NoColumnToMask { .. }
            | PostgresError::MaskedColumnRenamed { .. }
            | PostgresError::MaskedTableUnknown { .. }
            | PostgresError::MaskedKey { .. }
            | PostgresError::PartitionNamed { .. }
            | PostgresError::TooManyMaskedTables => MASK,
            PostgresError::FilterRefused { .. } | PostgresError::FilterNotPublished { .. } => ROW_FILTER,
        };
        Self::OfProduct { reason, message: error.to_string() }
    }
}

impl From<PostgresError> for Fault {
    fn from(error: PostgresError) -> Self {
        Self::Stop(error.into())
    }
}

fn writes_refused(tables: &[RefusedWrites], whole_schemas: bool) -> String {
    let named: Vec<_> = tables.iter().take(limits::EXTRACT_NAMED_TABLES_MAX).map(ToString::to_string).collect();
    let more = tables.len().saturating_sub(named.len());
    let more = if more > 0 { format!("; and {more} more tables") } else { String::new() };
    let later = if whole_schemas {
        ". Also a table that is made later, without a replica identity, in a schema that is published as a whole, will have \
         its UPDATEs and DELETEs refused"
    } else {
        ""
    };
    format!(
        "published, these tables would have the application's own UPDATEs and DELETEs refused by PostgreSQL: {}{more}. Run \
         the statements, leave the tables out, or give withoutIdentity as \"skip\" (they are not captured) or \"insertsOnly\" \
         (only their INSERTs are){later}",
        named.join("; ")
    )
}
