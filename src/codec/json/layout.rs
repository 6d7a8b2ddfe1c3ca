//! Which fields a table's DML records have and how they are named: what the encoder writes and its schema describes.

use std::collections::HashSet;

use crate::codec::json::{JsonOptions, MetaField, Model, TRUNCATED, UNCHANGED};
use crate::record::TableSchema;

/// Where columns stand in a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowForm {
    /// In an object of each image, by these names.
    Nested {
        /// The before image.
        before: String,
        /// The after image.
        after: String,
    },
    /// At record level, both images, with these prefixes.
    Flat {
        /// Of the before image.
        before: String,
        /// Of the after image.
        after: String,
    },
    /// At record level, one image.
    Row,
}

/// The fields of one table's DML records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Metadata fields in order, with their names in this table's records.
    pub meta: Vec<(MetaField, String)>,
    /// Static fields: name in this table's records, value as JSON text.
    pub static_fields: Vec<(String, String)>,
    /// Name of the list of unchanged columns.
    pub unchanged: String,
    /// Name of the list of cut columns.
    pub truncated: String,
    /// Where the columns stand.
    pub form: RowForm,
}

impl Layout {
    /// The layout of a table's records under these options.
    pub fn of(schema: &TableSchema, options: &JsonOptions) -> Self {
        let form = RowForm::of(options);
        let mut names = Names::taken_by(schema, &form);
        let parts = schema.table.parts().len();
        let has = |field: MetaField| match field {
            MetaField::Catalog => parts == 3,
            MetaField::Schema => parts >= 2,
            _ => true,
        };
        let meta = options.meta.sent().filter(|(field, _)| has(*field));
        let meta = meta.map(|(field, name)| (field, names.free(name))).collect();
        let static_fields =
            options.static_fields.iter().map(|(name, value)| (names.free(name), value.clone())).collect();
        Self { meta, static_fields, unchanged: names.free(UNCHANGED), truncated: names.free(TRUNCATED), form }
    }

    /// The name of a metadata field in this table's records, if it is sent.
    pub fn meta_name(&self, field: MetaField) -> Option<&str> {
        self.meta.iter().find(|(sent, _)| *sent == field).map(|(_, name)| name.as_str())
    }
}

impl RowForm {
    fn of(options: &JsonOptions) -> Self {
        let (before, after) = (&options.before_name, &options.after_name);
        match (&options.flatten, options.model) {
            (_, Model::Row) => Self::Row,
            (None, Model::Op) => Self::Nested { before: before.clone(), after: after.clone() },
            (Some(delimiter), Model::Op) => {
                Self::Flat { before: format!("{before}{delimiter}"), after: format!("{after}{delimiter}") }
            }
        }
    }

    /// What stands before a column's name in the before and the after image.
    pub fn prefixes(&self) -> [&str; 2] {
        match self {
            Self::Flat { before, after } => [before, after],
            Self::Nested { .. } | Self::Row => ["", ""],
        }
    }
}

/// Names in use at record level. A column keeps its name; a field that meets it gets leading underscores.
struct Names(HashSet<String>);

impl Names {
    fn taken_by(schema: &TableSchema, form: &RowForm) -> Self {
        let mut taken = HashSet::new();
        if !matches!(form, RowForm::Nested { .. }) {
            for prefix in form.prefixes() {
                taken.extend(schema.columns.iter().map(|column| format!("{prefix}{}", column.name)));
            }
        }
        Self(taken)
    }

    fn free(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        while !self.0.insert(name.clone()) {
            name.insert(0, '_');
        }
        name
    }
}
