//! Records as JSON: the op and the row model, every option of contract section 2.1.
//!
//! Owns the options, the names of the fields, and the bytes of each record that has an `op_type`. What describes these
//! records is `schema_record`'s; the layout that both follow is [`Layout`], so that they cannot disagree.

mod cell;
mod ddl;
mod dml;
mod group;
mod head;
mod layout;
mod meta;
mod metadata;
mod notice;
mod options;
mod row_template;
mod shrink;
mod timestamp;

pub(in crate::codec) use cell::Sent;
pub use ddl::{DdlRecord, push_ddl};
pub use dml::{DmlRecord, EncodeError, PreparedTable};
pub use group::{GroupAssignment, push_group_assignment};
pub use head::{HeadCache, RecordContext};
pub use layout::{Layout, RowForm};
pub use meta::{MetaField, MetaFields};
pub use metadata::{
    DatabaseInfo, MachineInfo, SourceInfo, StreamMetadata, column_type, object_metadata, stream_metadata,
};
pub use notice::{CAUGHT_UP_FIELDS, DRAIN_FIELDS, push_caught_up, push_drain, push_heartbeat};
pub use options::{Decimals, JsonOptions, Model, OperationStrings};
pub use timestamp::push_op_ts;

/// `op_type` of the record that describes the stream.
pub const STREAM_METADATA: &str = "STREAM_METADATA";
/// `op_type` of the record that describes a table.
pub const OBJECT_METADATA: &str = "OBJECT_METADATA";
/// `op_type` of the record that only moves the position.
pub const HEARTBEAT: &str = "HEARTBEAT";
/// `op_type` of the record that tells a member of a consumer group which partitions it has.
pub const GROUP_ASSIGNMENT: &str = "GROUP_ASSIGNMENT";
/// `op_type` of the record that says that everything was sent.
pub const CAUGHT_UP: &str = "CAUGHT_UP";
/// `op_type` of the record that says that the server stops.
pub const DRAIN: &str = "DRAIN";
/// The member of a `DRAIN` record that says after how many milliseconds to connect again.
pub const RETRY_AFTER_MS: &str = "retry_after_ms";
/// The member that lists columns which the source did not send because they did not change.
pub const UNCHANGED: &str = "unchanged";
/// The member that lists columns whose values were cut.
pub const TRUNCATED: &str = "truncated";
/// The member that holds a statement.
pub const DDL_TEXT: &str = "ddl";

/// Appends a record made as a value (metadata, schemas): compact, U+2028 and U+2029 escaped as everywhere.
pub fn push_value(out: &mut Vec<u8>, record: &serde_json::Value) {
    crate::codec::json_text::push_compacted(out, &record.to_string());
}

/// Where a record stands among those of its transaction that are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransInd {
    /// The first of several.
    Begin,
    /// Neither first nor last.
    Middle,
    /// The last of several.
    End,
    /// The only one.
    Whole,
}

impl TransInd {
    /// Every value.
    pub const ALL: [Self; 4] = [Self::Begin, Self::Middle, Self::End, Self::Whole];

    /// `BEGIN`, `MIDDLE`, `END` or `WHOLE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Begin => "BEGIN",
            Self::Middle => "MIDDLE",
            Self::End => "END",
            Self::Whole => "WHOLE",
        }
    }
}
