//! Pieces of initial loads, on their way into the intake: written by the code that writes the stream's rows.
//!
//! Owns the tables as those describe them who load them: a chunk may know of a column before the stream says so, and the stream's
//! own description must stay what the server thinks that we have. Both are the same schema of the trail, unless they differ.

use super::Transactions;
use crate::capture::coordinate::Coordinate;
use crate::capture::error::{CaptureError, Fault};
use crate::capture::intake::out_of_order;
use crate::capture::postgres::pgoutput::{RelationColumn, RelationMessage, Tuple};
use crate::capture::postgres::relation::{self, Relation, Unwritten, Widened};
use crate::capture::postgres::snapshot::reader::Piece;
use crate::capture::postgres::table_facts::Facts;
use crate::capture::snapshot::key::Key;
use crate::capture::snapshot::loading::Appended;
use crate::capture::snapshot::window::HiddenRows;
use crate::codec::image::Image;
use crate::record::{Column, TableSchema};
use crate::trail::AppendError;

/// A table as a chunk describes it.
pub(super) struct Loaded {
    shape: String,
    relation: Relation,
}

/// A piece of a load cannot be appended, nor can it be when it is read again: why, and what to do.
#[derive(Debug)]
pub(in crate::capture::postgres) struct Unloaded(pub(in crate::capture::postgres) String);

/// What became of a piece.
enum Tried {
    Appended(bool),
    /// The schema has to be widened first.
    Widened(Widened),
    Unloaded(String),
}

/// Why a row of a load is not appended.
enum NotLoaded {
    LeftOut,
    Unwritten(Unwritten),
}

impl From<Unwritten> for NotLoaded {
    fn from(unwritten: Unwritten) -> Self {
        Self::Unwritten(unwritten)
    }
}

impl Transactions<'_> {
    /// Whether the stream has described the table otherwise since that piece of a load was read.
    pub(in crate::capture::postgres) fn differs(&self, piece: &Piece) -> bool {
        let message = &piece.plan.message;
        let shape = self.shapes.get(&message.id).filter(|shape| shape.number > piece.described);
        shape.is_some_and(|shape| shape.text != shape_of(message, &piece.plan.facts))
    }

    /// Tells loads whether the keys of a table are masked, as the stream has just described it: before any row of it comes.
    pub(in crate::capture::postgres) fn hide_keys(&mut self, id: u32) {
        let described = self.relations.get(id).and_then(|described| described.relation.as_ref());
        let Some(relation) = described else { return };
        let are_hidden = relation.has_masked_key();
        // Of a block it is not known whether its transaction will be committed: to hide too much loses nothing.
        if are_hidden || self.intake.piece_of().is_none() {
            self.intake.loading.hide_keys(&relation.schema.table, are_hidden);
        }
    }

    /// Appends a piece of a load, but for the rows that are hidden; says whether that are any. No transaction may be half in.
    pub(in crate::capture::postgres) async fn load(
        &mut self,
        piece: &Piece,
        hidden: &HiddenRows,
    ) -> Result<Result<bool, Unloaded>, Fault> {
        let id = piece.plan.message.id;
        self.describe_loaded(piece)?;
        let Some(mut loaded) = self.loaded.remove(&id) else { return Err(out_of_order("a row of a load")) };
        // Each time one more column may be null.
        for _ in 0..=loaded.relation.schema.columns.len() {
            self.put_in_force(&mut loaded.relation)?;
            match self.try_load(&loaded.relation, piece, hidden).await? {
                Tried::Appended(appended) => {
                    self.loaded.insert(id, loaded);
                    return Ok(Ok(appended));
                }
                Tried::Unloaded(why) => {
                    self.intake.abort().await?;
                    let table = &piece.plan.table;
                    return Ok(Err(Unloaded(format!("table {table} cannot be loaded: {why}"))));
                }
                Tried::Widened(widened) => {
                    self.intake.abort().await?;
                    let columns = loaded.relation.widened_columns(widened);
                    loaded.relation.schema = self.intake.schema(&loaded.relation.schema.table, &columns)?;
                }
            }
        }
        Err(out_of_order("a row of a load"))
    }

    /// Describes the table as the piece knows it, unless that is known.
    fn describe_loaded(&mut self, piece: &Piece) -> Result<(), Fault> {
        let message = &piece.plan.message;
        let shape = shape_of(message, &piece.plan.facts);
        if self.loaded.get(&message.id).is_some_and(|loaded| loaded.shape == shape) {
            return Ok(());
        }
        let table = relation::table_name(message)?;
        let before = self.remembered(message.id);
        let known = self.intake.known_schema(&table);
        let described = relation::describe(message, &piece.plan.facts, known, self.rules, before.as_ref())?;
        // A load may see what is far ahead in the stream: of what is remembered for the stream it takes nothing away.
        if let Some(masked) = described.masked
            && !before.is_some_and(|before| before.is_in_force(&self.rules.masks))
        {
            self.masked.remember(message.id, Some(&masked.into_loaded()))?;
        }
        let schema = self.intake.schema(&table, &described.columns)?;
        let relation = Relation::new(schema, described.writers, self.charset);
        self.loaded.insert(message.id, Loaded { shape, relation });
        self.intake.other_schemas_are_in_force();
        Ok(())
    }

    /// The trail's schema of the table is that of the rows that come; what the stream's rows have shown to be nullable stays so.
    fn put_in_force(&mut self, relation: &mut Relation) -> Result<(), Fault> {
        let table = relation.schema.table.clone();
        let known = self.intake.known_schema(&table);
        if known.is_some_and(|known| known.id == relation.schema.id) {
            return Ok(());
        }
        let columns = known.map_or_else(|| relation.schema.columns.clone(), |known| as_nullable(relation, known));
        relation.schema = self.intake.schema(&table, &columns)?;
        self.intake.other_schemas_are_in_force();
        Ok(())
    }

    async fn try_load(&mut self, relation: &Relation, piece: &Piece, hidden: &HiddenRows) -> Result<Tried, Fault> {
        let table = &piece.plan.table;
        self.intake.loading.hide_keys(table, relation.has_masked_key());
        let Some(progress) = self.intake.loading.table(table) else { return Ok(Tried::Appended(false)) };
        let chunk = progress.left.chunk + 1;
        let is_last = piece.is_last() && progress.left.again.is_empty();
        let tokens = |snapshot: &str| format!("{{\"snapshot\":\"{snapshot}\",\"chunk\":\"{chunk}\"}}");
        let (tokens, tokens_of_last) = (tokens("true"), tokens(if is_last { "last" } else { "true" }));
        self.intake.begin_load(format!("load:{table}:{chunk}"), piece.read_at())?;
        let (scratch, schema) = (&mut self.scratch, &relation.schema);
        let mut appended = Appended::default();
        for (row, number) in piece.rows().zip(1..) {
            let is_end = number == piece.count;
            let tuple = Tuple::decode(row)?;
            let mut key = None;
            let again = &mut appended.again;
            let write = |out: &mut Vec<u8>| -> Result<(), NotLoaded> {
                let start = out.len();
                relation.write_row(out, scratch, None, Some(tuple))?;
                if hidden.is_empty() && !is_end {
                    return Ok(());
                }
                let Some(known) = Key::of(schema, Image::whole(&out[start..]), None) else {
                    let why = format!("a row of {table} has no key");
                    return Err(Unwritten::Refused(CaptureError::Malformed(why).into()).into());
                };
                let left_out = hidden.leaves_out(&known, again);
                key = Some(known);
                if left_out { Err(NotLoaded::LeftOut) } else { Ok(()) }
            };
            let tokens = if is_end { &tokens_of_last } else { &tokens };
            match self.intake.write_loaded(schema, tokens, write) {
                Ok(Ok(())) => appended.rows += 1,
                Ok(Err(NotLoaded::LeftOut)) => {}
                Ok(Err(NotLoaded::Unwritten(Unwritten::Widened(widened)))) => return Ok(Tried::Widened(widened)),
                Ok(Err(NotLoaded::Unwritten(Unwritten::Refused(fault)))) => {
                    return Ok(Tried::Unloaded(fault.to_string()));
                }
                Err(error @ AppendError::TooLarge { .. }) => return Ok(Tried::Unloaded(error.to_string())),
                Err(error) => return Err(error.into()),
            }
            if is_end {
                appended.behind = key;
            }
        }
        let rows = appended.rows;
        let told = piece.told(appended);
        let said = self.intake.loading.appended(table, &piece.plan.of, &piece.place().to_position(), told, hidden);
        let Some(said) = said else { return Err(out_of_order("a chunk of a load")) };
        self.intake.commit_load(&said, rows).await?;
        Ok(Tried::Appended(rows > 0))
    }
}

/// The columns of a table, nullable also where the trail knows them to be.
fn as_nullable(relation: &Relation, known: &TableSchema) -> Vec<Column> {
    let is_known = |column: &Column| {
        known
            .columns
            .iter()
            .any(|known| known.name == column.name && known.sql_type == column.sql_type && known.nullable)
    };
    let widened = |column: &Column| Column { nullable: column.nullable || is_known(column), ..column.clone() };
    relation.schema.columns.iter().map(widened).collect()
}

/// What tells two descriptions of a table apart.
pub(super) fn shape_of(message: &RelationMessage<'_>, facts: &Facts) -> String {
    let RelationMessage { id: _, schema, table, replica_identity, columns } = message;
    // The message does not say it where the whole row is the identity.
    let mut primary_key = facts.table.primary_key.clone();
    primary_key.sort();
    let is_nullable =
        |column: &RelationColumn<'_>| facts.table.columns.get(&*column.name).map(|(_, nullable)| *nullable);
    let nullable: Vec<_> = columns.iter().map(is_nullable).collect();
    format!("{schema:?} {table:?} {replica_identity} {columns:?} {primary_key:?} {nullable:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::postgres::catalogue::TableFacts;

    #[test]
    fn a_table_has_another_shape_with_another_primary_key_or_column_that_may_be_null() {
        let columns =
            ["a", "b"].map(|name| RelationColumn { identity: true, name: name.into(), type_id: 23, type_modifier: -1 });
        let message = RelationMessage {
            id: 7,
            schema: "public".into(),
            table: "t".into(),
            replica_identity: b'f',
            columns: columns.to_vec(),
        };
        let shape = |key: &[&str], nullable: bool| {
            let columns = [("a".to_owned(), (23, false)), ("b".to_owned(), (23, nullable))].into();
            let primary_key = key.iter().map(|name| (*name).to_owned()).collect();
            let table = TableFacts { columns, primary_key, ..TableFacts::default() };
            shape_of(&message, &Facts { table, types: Vec::new() })
        };
        assert_ne!(shape(&["a"], false), shape(&["b"], false));
        assert_ne!(shape(&["a"], false), shape(&["a"], true));
        assert_eq!(shape(&["a", "b"], false), shape(&["b", "a"], false));
    }
}
