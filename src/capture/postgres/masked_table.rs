//! Whether a table that has come in another form still has its masked columns where the masks look for them.
//!
//! A mask names a column, and a name can change: `ALTER TABLE users RENAME email TO mail` would show under `mail` what was
//! hidden. So it is remembered of each table, by its number, which of its columns were masked, by their numbers; and a table
//! that may show one of them under another name is refused. Sans-IO. The stream gives names, types and an order, but no numbers of columns; the
//! catalogue of now has them, where it still shows the table as the stream did. Where it does not, and the names are not those
//! of before, nothing tells a new column from a renamed one.

use serde::{Deserialize, Serialize};

use super::catalogue::TableFacts;
use super::error::PostgresError;
use super::pgoutput::RelationMessage;
use crate::capture::coverage::SharedCoverage;
use crate::capture::fault_injection;
use crate::capture::mask::{Masks, Named};
use crate::limits;

/// What is remembered of a table with masked columns, over restarts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct MaskedTable {
    /// Its names, and those of the tables that it inherits from.
    names: Vec<Named>,
    /// All of its columns, in order.
    columns: Vec<String>,
    masked: Vec<MaskedColumn>,
}

/// One masked column.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
struct MaskedColumn {
    name: String,
    /// Its number in its table, which it keeps for life; none if nobody could say.
    number: Option<i16>,
}

/// The names by which masks may mean a table: its own, and those of the tables that it inherits from.
pub(super) fn names_of(message: &RelationMessage<'_>, facts: &TableFacts) -> Vec<Named> {
    let own = (message.schema.to_string(), message.table.to_string());
    [own].into_iter().chain(facts.inherits_from.iter().cloned()).collect()
}

impl MaskedTable {
    /// Judges a table as it comes now; `before` is what was remembered of it. Gives what to remember from now on, nothing
    /// if nothing of it is masked.
    pub(super) fn judge(
        message: &RelationMessage<'_>,
        facts: &TableFacts,
        masks: &Masks,
        before: Option<&Self>,
    ) -> Result<Option<Self>, PostgresError> {
        if masks.is_empty() {
            return Ok(None);
        }
        let names = names_of(message, facts);
        let numbers = numbers(message, facts);
        let columns: Vec<String> = message.columns.iter().map(|column| column.name.to_string()).collect();
        let is_masked = |column: &str| masks.of(&names, column).is_some();
        let was_masked: Vec<&MaskedColumn> = before.map_or(Vec::new(), |before| {
            // One that no entry names any more was let go on purpose.
            before.masked.iter().filter(|column| masks.of(&before.names, &column.name).is_some()).collect()
        });
        let table = || format!("{}.{}", message.schema, message.table);
        let unsure = |column: &str| PostgresError::MaskedColumnGone { table: table(), column: column.to_owned() };

        let is_as_before = before.is_some_and(|before| before.columns == columns);
        for column in &was_masked {
            let is_optional = |before: &Self| masks.entry_of(&before.names, &column.name).is_some_and(|e| e.optional);
            let is_named = columns.contains(&column.name) && is_masked(&column.name);
            match (&numbers, column.number) {
                (Some(numbers), Some(number)) => {
                    let at = numbers.iter().position(|other| *other == number);
                    if let Some(shown) = at.and_then(|at| columns.get(at)).filter(|shown| !is_masked(shown)) {
                        let (table, column, shown) = (table(), column.name.clone(), shown.clone());
                        return Err(PostgresError::MaskedColumnRenamed { table, column, shown });
                    }
                }
                (_, None) if is_named => {}
                (None, Some(_)) if is_as_before && is_named => {}
                _ if before.is_some_and(is_optional) => {}
                _ => return Err(unsure(&column.name)),
            }
        }
        for entry in masks.required(&names).filter(|entry| !columns.contains(&entry.column)) {
            // Its number is known, and whatever came with that number was looked at: it was dropped, or is masked as it is
            // called now.
            let was_there = was_masked.iter().find(|column| column.name == entry.column);
            if numbers.is_none() || was_there.and_then(|column| column.number).is_none() {
                return Err(unsure(&entry.column));
            }
        }
        let number_before = |name: &str| {
            let before = before.filter(|_| is_as_before)?;
            before.masked.iter().find(|column| column.name == name)?.number
        };
        let masked: Vec<MaskedColumn> = columns
            .iter()
            .enumerate()
            .filter(|(_, name)| is_masked(name))
            .map(|(at, name)| {
                let number = numbers.as_ref().and_then(|numbers| numbers.get(at)).copied();
                MaskedColumn { name: name.clone(), number: number.or_else(|| number_before(name)) }
            })
            .collect();
        Ok((!masked.is_empty()).then_some(Self { names, columns, masked }))
    }
}

/// What is remembered of all tables of one extract: kept beside its coverage.
#[derive(Debug, Clone, Default)]
pub(super) struct MaskedTables {
    coverage: SharedCoverage,
}

impl MaskedTables {
    /// As they are kept.
    pub(super) fn new(coverage: &SharedCoverage) -> Self {
        Self { coverage: coverage.clone() }
    }

    /// What is remembered of the table of that number.
    pub(super) fn get(&self, table: u32) -> Option<MaskedTable> {
        if fault_injection::forgets_masked_columns() {
            return None;
        }
        let kept = self.coverage.with(|record| record.masked.get(&table).cloned())?;
        // Written by a build that knew more: as if it had never been seen.
        serde_json::from_value(kept).ok()
    }

    /// Remembers a table, or that nothing of it is masked.
    pub(super) fn remember(&self, table: u32, masked: Option<&MaskedTable>) -> Result<(), PostgresError> {
        let kept = masked.and_then(|masked| serde_json::to_value(masked).ok());
        let (is_known, remembered) =
            self.coverage.with(|record| (record.masked.get(&table) == kept.as_ref(), record.masked.len()));
        if is_known {
            return Ok(());
        }
        if kept.is_some() && remembered >= limits::MASKED_TABLES_MAX {
            return Err(PostgresError::TooManyMaskedTables);
        }
        self.coverage.update(|record| match kept {
            Some(kept) => drop(record.masked.insert(table, kept)),
            None => drop(record.masked.remove(&table)),
        });
        Ok(())
    }
}

/// The number of each column that came, if the catalogue of now shows the table as the stream did: every column by its name
/// and its type, and in the order of their numbers, as PostgreSQL sends them.
fn numbers(message: &RelationMessage<'_>, facts: &TableFacts) -> Option<Vec<i16>> {
    let mut numbers: Vec<i16> = Vec::new();
    for column in &message.columns {
        let (type_id, _) = facts.columns.get(&*column.name)?;
        let number = *facts.numbers.get(&*column.name)?;
        if *type_id != column.type_id || numbers.last().is_some_and(|last| *last >= number) {
            return None;
        }
        numbers.push(number);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::postgres::pgoutput::RelationColumn;
    use serde_json::{Value, json};

    const TEXT: u32 = 25;

    fn masks(entries: Value) -> Masks {
        Masks::new(&serde_json::from_value::<Vec<_>>(entries).unwrap())
    }

    fn exact() -> Masks {
        masks(json!([{"table": "public.users", "column": "email", "mask": "drop"}]))
    }

    fn wild() -> Masks {
        masks(json!([{"table": "*.*", "column": "email", "mask": "drop"}]))
    }

    fn optional() -> Masks {
        masks(json!([{"table": "public.users", "column": "email", "mask": "drop", "optional": true}]))
    }

    fn message<'a>(table: &'a str, columns: &[&'a str]) -> RelationMessage<'a> {
        let column =
            |name: &&'a str| RelationColumn { identity: false, name: (*name).into(), type_id: TEXT, type_modifier: -1 };
        let columns = columns.iter().map(column).collect();
        RelationMessage { id: 7, schema: "public".into(), table: table.into(), replica_identity: b'd', columns }
    }

    /// The catalogue of now: columns with their numbers.
    fn now(columns: &[(&str, i16)]) -> TableFacts {
        TableFacts {
            columns: columns.iter().map(|(name, _)| ((*name).into(), (TEXT, true))).collect(),
            numbers: columns.iter().map(|(name, number)| ((*name).into(), *number)).collect(),
            ..TableFacts::default()
        }
    }

    fn judge(
        masks: &Masks,
        before: Option<&MaskedTable>,
        columns: &[&str],
        catalogue: &[(&str, i16)],
    ) -> Result<Option<MaskedTable>, PostgresError> {
        MaskedTable::judge(&message("users", columns), &now(catalogue), masks, before)
    }

    /// What is remembered of `id, email, name`.
    fn users(masks: &Masks) -> MaskedTable {
        judge(masks, None, &["id", "email", "name"], &[("id", 1), ("email", 2), ("name", 3)]).unwrap().unwrap()
    }

    #[test]
    fn a_column_that_an_entry_names_has_to_be_there_unless_it_is_optional() {
        let catalogue = &[("id", 1), ("mail", 2)];
        assert!(judge(&exact(), None, &["id", "mail"], catalogue).is_err());
        assert_eq!(judge(&wild(), None, &["id", "mail"], catalogue).unwrap(), None);
        assert_eq!(judge(&optional(), None, &["id", "mail"], catalogue).unwrap(), None);
    }

    #[test]
    fn a_renamed_column_is_known_by_its_number_whatever_the_entry_says() {
        for masks in [exact(), wild(), optional()] {
            let before = users(&masks);
            let renamed = judge(&masks, Some(&before), &["id", "mail", "name"], &[("id", 1), ("mail", 2), ("name", 3)]);
            assert!(renamed.is_err());
            // And another one has its name by now.
            let swapped = &[("id", 1), ("old", 2), ("name", 3), ("email", 4)];
            let error = judge(&masks, Some(&before), &["id", "old", "name", "email"], swapped).unwrap_err();
            assert!(error.to_string().contains("old"), "{error}");
        }
    }

    #[test]
    fn a_renamed_column_that_another_entry_masks_goes_on() {
        let entries = json!([{"table": "public.users", "column": "*mail", "mask": "drop"}]);
        let masks = masks(entries);
        let before = users(&masks);
        let after = judge(&masks, Some(&before), &["id", "mail", "name"], &[("id", 1), ("mail", 2), ("name", 3)]);
        assert_eq!(after.unwrap().unwrap().masked[0].name, "mail");
    }

    #[test]
    fn a_column_that_was_dropped_is_no_reason_to_stop() {
        for masks in [exact(), wild()] {
            let before = users(&masks);
            let after = judge(&masks, Some(&before), &["id", "name"], &[("id", 1), ("name", 3)]);
            assert_eq!(after.unwrap(), None);
        }
    }

    #[test]
    fn a_catalogue_that_has_moved_on_is_not_trusted() {
        let before = users(&wild());
        // What came is `old` and a new `email`; both were changed since.
        let later = &[("id", 1), ("email", 2), ("name", 3)];
        for columns in [&["id", "old", "name", "email"][..], &["id", "mail", "name"], &["id", "name", "email"]] {
            assert!(judge(&wild(), Some(&before), columns, later).is_err(), "{columns:?}");
            assert!(judge(&optional(), Some(&users(&optional())), columns, later).is_ok(), "{columns:?}");
        }
        // As it was seen before, of a table that is gone or changed since.
        let same = judge(&wild(), Some(&before), &["id", "email", "name"], &[]).unwrap().unwrap();
        assert_eq!(same, before);
    }

    #[test]
    fn a_table_under_another_name_still_hides_what_it_hid() {
        let before = users(&exact());
        let facts = now(&[("id", 1), ("email", 2), ("name", 3)]);
        let renamed = message("people", &["id", "email", "name"]);
        let error = MaskedTable::judge(&renamed, &facts, &exact(), Some(&before)).unwrap_err();
        assert!(error.to_string().contains("public.people"), "{error}");
        assert!(MaskedTable::judge(&renamed, &facts, &wild(), Some(&users(&wild()))).is_ok());
    }

    #[test]
    fn a_mask_that_was_taken_away_lets_go() {
        let before = users(&exact());
        let other = masks(json!([{"table": "public.users", "column": "name", "mask": "null"}]));
        let after = judge(&other, Some(&before), &["id", "mail", "name"], &[("id", 1), ("mail", 2), ("name", 3)]);
        assert_eq!(after.unwrap().unwrap().masked[0].name, "name");
    }

    #[test]
    fn what_is_remembered_of_a_table_comes_back_after_a_restart() {
        let coverage = SharedCoverage::default();
        let tables = MaskedTables::new(&coverage);
        let before = users(&exact());
        tables.remember(7, Some(&before)).unwrap();
        let stored = serde_json::to_string(&coverage.snapshot()).unwrap();
        let again = MaskedTables::new(&SharedCoverage::new(serde_json::from_str(&stored).unwrap()));
        assert_eq!((again.get(7), again.get(8)), (Some(before), None));
        again.remember(7, None).unwrap();
        assert_eq!(again.get(7), None);
    }

    #[test]
    fn a_partition_is_meant_by_the_name_of_its_table() {
        let mut facts = now(&[("id", 1), ("email", 2)]);
        facts.inherits_from = vec![("public".into(), "users".into())];
        let after = MaskedTable::judge(&message("users_1", &["id", "email"]), &facts, &exact(), None).unwrap();
        assert_eq!(after.unwrap().masked[0].name, "email");
    }
}
