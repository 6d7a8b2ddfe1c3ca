//! What the columns' types are: how their values become JSON, and what they are called.
//!
//! Built-in types are known; others come down to one, and the stream itself says to which for a domain, as it was when the row
//! was written. What it does not say, the catalogue of now knows, unless the type is gone: then nothing is known, and nothing is
//! made up. Leaves the queries to `catalogue`.

use std::collections::HashMap;

use super::catalogue::{Catalogue, Step};
use super::connection::Address;
use super::pgoutput::{RelationColumn, TypeMessage};
use super::value::ValueKind;
use crate::capture::error::Fault;
use crate::limits;

/// What is known of a column's type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ColumnType {
    /// How its values become JSON; none if the type is gone and nobody can say.
    pub(super) kind: Option<ValueKind>,
    /// Its name with its modifier, such as `numeric(12,2)`; empty if the type is gone.
    pub(super) name: String,
    /// What the stream says of a type that is gone: its name, or that of the type that it comes down to. Empty if nothing.
    pub(super) said: String,
}

/// The types met so far.
#[derive(Debug, Default)]
pub(super) struct Types {
    kinds: HashMap<u32, ValueKind>,
    /// Schema and name, as the stream says them.
    said: HashMap<u32, (String, String)>,
    /// Numbers of the catalogue's own types, by name.
    built_in: HashMap<String, u32>,
}

impl Types {
    /// The stream says what a type is.
    pub(super) fn say(&mut self, message: &TypeMessage<'_>) {
        let said = (message.schema.clone().into_owned(), message.name.clone().into_owned());
        if self.said.get(&message.id) != Some(&said) {
            self.kinds.remove(&message.id);
            self.said.insert(message.id, said);
        }
    }

    /// The types of these columns.
    pub(super) async fn of(
        &mut self,
        columns: &[RelationColumn<'_>],
        catalogue: &mut Catalogue,
        address: &Address,
    ) -> Result<Vec<ColumnType>, Fault> {
        let mut types = Vec::with_capacity(columns.len());
        let mut asked = Vec::with_capacity(columns.len());
        for column in columns {
            let kind = self.kind(column.type_id, catalogue, address).await?;
            types.push(ColumnType { kind, ..ColumnType::default() });
            let base = self.built_in_base(column.type_id, catalogue, address).await?;
            asked.push((column.type_id, column.type_modifier, base.unwrap_or(column.type_id)));
        }
        let names = catalogue.type_names(address, &asked).await?;
        for ((of, column), (name, base_name)) in types.iter_mut().zip(columns).zip(names) {
            (of.name, of.said) = (name, base_name);
            if of.said.is_empty()
                && let Some((schema, name)) = self.said.get(&column.type_id)
            {
                of.said = if schema == "public" { name.clone() } else { format!("{schema}.{name}") };
            }
        }
        Ok(types)
    }

    /// How values of a type become JSON; none if it is gone and nothing says what it was.
    async fn kind(
        &mut self,
        type_id: u32,
        catalogue: &mut Catalogue,
        address: &Address,
    ) -> Result<Option<ValueKind>, Fault> {
        if let Some(kind) = ValueKind::of_builtin(type_id).or_else(|| self.kinds.get(&type_id).cloned()) {
            return Ok(Some(kind));
        }
        // Arrays around what it comes down to: domains and arrays are peeled off one by one.
        let mut delimiters = Vec::new();
        let mut at = type_id;
        let mut kind = ValueKind::Text;
        for _ in 0..limits::SOURCE_TYPE_DEPTH_MAX {
            if let Some(builtin) = ValueKind::of_builtin(at) {
                kind = builtin;
                break;
            }
            if let Some(base) = self.built_in_base(at, catalogue, address).await? {
                at = base;
                continue;
            }
            match catalogue.step(address, at).await? {
                Step::Domain(base) => at = base,
                Step::Array { element, delimiter } => {
                    delimiters.push(delimiter);
                    at = element;
                }
                Step::Other => break,
                // The name of every array's type begins so, and no other's that the server makes: any other is a text.
                Step::Gone if self.said.get(&at).is_some_and(|(_, name)| !name.starts_with('_')) => break,
                Step::Gone => return Ok(None),
            }
        }
        // The element of an array of a domain over an array is one quoted text, which reads as an array again.
        for delimiter in delimiters.into_iter().rev() {
            kind = ValueKind::Array { element: Box::new(kind), delimiter };
        }
        self.kinds.insert(type_id, kind.clone());
        Ok(Some(kind))
    }

    /// The type of the catalogue's own that another comes down to, if the stream says so.
    async fn built_in_base(
        &mut self,
        type_id: u32,
        catalogue: &mut Catalogue,
        address: &Address,
    ) -> Result<Option<u32>, Fault> {
        let Some((schema, name)) = self.said.get(&type_id).filter(|(schema, _)| schema == "pg_catalog") else {
            return Ok(None);
        };
        if let Some(known) = self.built_in.get(name) {
            return Ok(Some(*known));
        }
        let found = catalogue.type_id(address, schema, name).await?;
        if let Some(found) = found {
            self.built_in.insert(name.clone(), found);
        }
        Ok(found)
    }
}
