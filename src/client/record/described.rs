//! What schema records say of the records that come after them: which members are metadata, and under what names.
//!
//! Metadata stands before the columns, in the order in which a schema lists it, so a record is held against the schemas by
//! its first members; what these may be (a kind of operation, a table) tells apart what their names do not.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::kind::RecordKind;
use crate::codec::json::{MetaField, TRUNCATED, UNCHANGED};
use crate::codec::put::RawObject;
use crate::codec::schema_record::{DRAFT_04, KIND_ID_PREFIX, described_field};
use crate::limits;

/// What is found in a record.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) kind: RecordKind,
    /// Metadata fields, and which members they are.
    pub(super) fields: Vec<(MetaField, usize)>,
    /// Names of the before and the after image, where columns stand in such.
    pub(super) images: Option<[String; 2]>,
    /// Names of the lists of unchanged and of cut columns.
    pub(super) lists: Vec<String>,
}

impl Default for Found {
    fn default() -> Self {
        Self { kind: RecordKind::Row, fields: Vec::new(), images: None, lists: Vec::new() }
    }
}

/// The text of a member that is a string.
pub(super) fn string(raw: Option<&RawValue>) -> Option<String> {
    serde_json::from_str(raw?.get()).ok()
}

/// A metadata field of the records that a schema describes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    field: MetaField,
    name: String,
    is_required: bool,
}

/// What one schema says, or several that differ in their tables alone.
#[derive(Debug)]
pub(super) struct Described {
    kind: RecordKind,
    fields: Vec<Field>,
    images: Option<[String; 2]>,
    lists: Vec<String>,
    /// What the operation may be.
    operations: Vec<String>,
    /// The tables; none when there are too many to remember, or the schema is of no table.
    tables: Option<HashSet<String>>,
}

/// What matters of a property.
#[derive(Debug, Default, Deserialize)]
struct Property {
    #[serde(default)]
    description: String,
    #[serde(default, rename = "$ref")]
    reference: String,
    #[serde(default, rename = "enum")]
    values: Vec<serde_json::Value>,
}

impl Property {
    fn texts(&self) -> impl Iterator<Item = String> {
        self.values.iter().filter_map(|value| value.as_str().map(str::to_owned))
    }
}

/// Whether it is a schema record. Metadata of any other record stands before its columns, so that none begins like one.
pub(super) fn is_schema(members: &RawObject<'_>) -> bool {
    members.0.first().is_some_and(|(name, _)| name == "id")
        && string(members.get("$schema")).is_some_and(|schema| schema == DRAFT_04)
        && members.get("properties").is_some()
}

impl Described {
    /// What a schema record says of others; nothing if its server does not say which members are metadata.
    pub(super) fn by(members: &RawObject<'_>) -> Option<Self> {
        let text = |name: &str| string(members.get(name));
        let properties: RawObject<'_> = serde_json::from_str(members.get("properties")?.get()).ok()?;
        let required = members.get("required").and_then(|names| serde_json::from_str::<Vec<String>>(names.get()).ok());
        let required = required.unwrap_or_default();
        let kind = match text("id")?.strip_prefix(KIND_ID_PREFIX) {
            Some("stream_metadata") => RecordKind::StreamMetadata,
            Some("object_metadata") => RecordKind::ObjectMetadata,
            Some("heartbeat") => RecordKind::Heartbeat,
            Some("caught_up") => RecordKind::CaughtUp,
            Some("drain") => RecordKind::Drain,
            Some("ddl") => RecordKind::Ddl,
            _ => RecordKind::Row,
        };
        let mut described = Self {
            kind,
            fields: Vec::new(),
            images: None,
            lists: Vec::new(),
            operations: Vec::new(),
            tables: (kind == RecordKind::Row).then(HashSet::new),
        };
        let mut images = Vec::new();
        for (name, raw) in &properties.0 {
            let property: Property = serde_json::from_str(raw.get()).unwrap_or_default();
            if let Some(field) = described_field(&property.description) {
                match (field, &mut described.tables) {
                    (MetaField::OpType, _) => described.operations = property.texts().collect(),
                    (MetaField::QualifiedTable, Some(tables)) => tables.extend(property.texts()),
                    _ => {}
                }
                let is_required = required.iter().any(|required| required == name);
                described.fields.push(Field { field, name: name.to_string(), is_required });
            } else if [UNCHANGED, TRUNCATED].contains(&property.description.as_str()) {
                described.lists.push(name.to_string());
            } else if !property.reference.is_empty() && kind == RecordKind::Row {
                images.push(name.to_string());
            }
        }
        described.images = images.try_into().ok();
        let says_something = !(described.fields.is_empty() && described.lists.is_empty());
        says_something.then_some(described)
    }

    /// Adds a schema to those known; those that differ in their tables alone are one.
    pub(super) fn add(known: &mut Vec<Self>, new: Self) {
        let alike = known.iter_mut().find(|known| {
            (known.kind, &known.fields, &known.images) == (new.kind, &new.fields, &new.images)
                && (&known.lists, &known.operations) == (&new.lists, &new.operations)
        });
        let Some(alike) = alike else { return known.push(new) };
        if let (Some(tables), Some(new)) = (&mut alike.tables, new.tables) {
            tables.extend(new);
            if tables.len() > limits::TAIL_TABLES_MAX {
                alike.tables = None;
            }
        }
    }

    /// What the schema that fits best says of a record.
    pub(super) fn find(known: &[Self], members: &RawObject<'_>) -> Found {
        let fitting = known.iter().filter_map(|known| Some((known, known.fields_in(members)?)));
        // Of those that fit the one that explains most; of those alike in that the first.
        let best = fitting.reduce(|best, next| if next.1.len() > best.1.len() { next } else { best });
        best.map_or_else(Found::default, |(known, fields)| Found {
            kind: known.kind,
            fields,
            images: known.images.clone(),
            lists: known.lists.clone(),
        })
    }

    /// Which members are its fields, if the record is one that the schema describes.
    fn fields_in(&self, members: &RawObject<'_>) -> Option<Vec<(MetaField, usize)>> {
        let mut found = Vec::with_capacity(self.fields.len());
        for field in &self.fields {
            let at = found.len();
            match members.0.get(at) {
                Some((name, value)) if *name == field.name && self.allows(field.field, value.get()) => {
                    found.push((field.field, at));
                }
                _ if field.is_required => return None,
                _ => {}
            }
        }
        Some(found)
    }

    fn allows(&self, field: MetaField, json: &str) -> bool {
        let text = || serde_json::from_str::<String>(json);
        match (field, &self.tables) {
            (MetaField::OpType, _) => text().is_ok_and(|operation| self.operations.contains(&operation)),
            (MetaField::QualifiedTable, Some(tables)) => text().is_ok_and(|table| tables.contains(&table)),
            _ => true,
        }
    }
}
