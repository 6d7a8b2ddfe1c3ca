//! The tables' schemas in force at the end of a trail, with a way back for an aborted transaction.

use std::collections::HashMap;
use std::sync::Arc;

use crate::record::{Column, SchemaId, TableName, TableSchema};

/// Schemas by table. Changes since [`Schemas::begin`] can be taken back.
#[derive(Debug, Default, Clone)]
pub(super) struct Schemas {
    in_force: HashMap<TableName, Arc<TableSchema>>,
    /// What they take where they are written down, about.
    described_bytes: usize,
    next: u32,
    undo: Option<Undo>,
}

#[derive(Debug, Default, Clone)]
struct Undo {
    replaced: Vec<(TableName, Option<Arc<TableSchema>>)>,
    next: u32,
}

impl Schemas {
    /// The schema in force.
    pub(super) fn of(&self, table: &TableName) -> Option<&Arc<TableSchema>> {
        self.in_force.get(table)
    }

    /// Number of tables.
    pub(super) fn len(&self) -> usize {
        self.in_force.len()
    }

    /// The greatest number that a schema has had; 0 before the first.
    pub(super) fn newest(&self) -> SchemaId {
        SchemaId(self.next.saturating_sub(1))
    }

    /// What all schemas in force take where they are written down, in bytes, about.
    pub(super) fn described_bytes(&self) -> usize {
        self.described_bytes
    }

    /// All schemas in force, in the order of their numbers.
    pub(super) fn all(&self) -> Vec<Arc<TableSchema>> {
        let mut all: Vec<_> = self.in_force.values().cloned().collect();
        all.sort_by_key(|schema| schema.id);
        all
    }

    /// Puts a new schema in force and gives it the next number.
    pub(super) fn declare(&mut self, table: &TableName, columns: &[Column]) -> Arc<TableSchema> {
        let id = SchemaId(self.next.max(1));
        let schema = Arc::new(TableSchema { id, table: table.clone(), columns: columns.to_vec() });
        self.set(schema.clone());
        schema
    }

    /// Puts a numbered schema in force, as read from a trail.
    pub(super) fn set(&mut self, schema: Arc<TableSchema>) {
        self.next = self.next.max(schema.id.0 + 1);
        let before = self.put(&schema.table, Some(&schema));
        if let Some(undo) = &mut self.undo {
            undo.replaced.push((schema.table.clone(), before));
        }
    }

    /// Puts a schema, or none, in the place of the one that a table has, which is returned.
    fn put(&mut self, table: &TableName, schema: Option<&Arc<TableSchema>>) -> Option<Arc<TableSchema>> {
        let before = match schema {
            Some(schema) => self.in_force.insert(table.clone(), schema.clone()),
            None => self.in_force.remove(table),
        };
        let bytes = |schema: Option<&Arc<TableSchema>>| schema.map_or(0, |schema| schema.described_bytes());
        self.described_bytes = self.described_bytes + bytes(schema) - bytes(before.as_ref());
        before
    }

    /// From here on changes can be taken back.
    pub(super) fn begin(&mut self) {
        self.undo = Some(Undo { replaced: Vec::new(), next: self.next });
    }

    /// Keeps the changes.
    pub(super) fn commit(&mut self) {
        self.undo = None;
    }

    /// Takes the changes back.
    pub(super) fn rollback(&mut self) {
        let Some(undo) = self.undo.take() else { return };
        for (table, before) in undo.replaced.into_iter().rev() {
            self.put(&table, before.as_ref());
        }
        self.next = undo.next;
    }
}
