//! The schema of a table at one time.

use serde::{Deserialize, Serialize};

use crate::record::TableName;

/// Number of a table's schema within one trail; a schema never changes, a changed table gets a new number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SchemaId(pub u32);

impl SchemaId {
    /// The number of the schema that messages are shown with, in every trail; no table of a trail has it.
    pub const MESSAGES: Self = Self(u32::MAX);
}

/// Which JSON a column's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JsonKind {
    /// A string.
    String,
    /// A number, with every digit of the source.
    Number,
    /// A number, or one of the strings `NaN`, `Infinity`, `-Infinity`.
    Float,
    /// `true` or `false`.
    Boolean,
    /// An object.
    Object,
    /// An array.
    Array,
    /// Any JSON value: json columns, and inferred columns whose values were of several kinds.
    Any,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Column {
    /// Its name, as the source spells it.
    pub name: String,
    /// Which JSON its values are.
    pub kind: JsonKind,
    /// The source's type, such as `numeric(12,2)`; empty when inferred.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sql_type: String,
    /// Whether it may be null, as far as the source says.
    pub nullable: bool,
    /// Whether it belongs to the table's key.
    pub key: bool,
}

impl Column {
    /// About how many bytes a column with such a name and type takes where schemas are written down.
    pub fn described_bytes(name: &str, sql_type: &str) -> usize {
        DESCRIPTION_BYTES + name.len() + sql_type.len()
    }
}

impl TableSchema {
    /// About how many bytes it takes where schemas are written down.
    pub fn described_bytes(&self) -> usize {
        let columns = self.columns.iter().map(|column| Column::described_bytes(&column.name, &column.sql_type));
        Self::described_bytes_of(&self.table) + columns.sum::<usize>()
    }

    /// The same of a table that has no columns yet.
    pub fn described_bytes_of(table: &TableName) -> usize {
        DESCRIPTION_BYTES + table.parts().iter().map(|part| part.len() + 1).sum::<usize>()
    }
}

/// What is written down of a column or a table beside its names.
const DESCRIPTION_BYTES: usize = 64;

/// A table's name and columns: what row images in the trail are read with.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TableSchema {
    /// Its number within the trail.
    pub id: SchemaId,
    /// The table.
    pub table: TableName,
    /// Its columns, in the order of the row images.
    pub columns: Vec<Column>,
}
