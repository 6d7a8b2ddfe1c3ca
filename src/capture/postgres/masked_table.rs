//! Whether a table that has come in another form still has its masked columns where the masks look for them.
//!
//! A mask names a column, and a name can change: `ALTER TABLE users RENAME email TO mail` would show under `mail` what was
//! hidden. So it is remembered of each table, by its number, which of its columns were masked, by their numbers; and a table
//! that may show one of them under another name is refused. Sans-IO. The stream gives names, types and an order, but no numbers of columns; the
//! catalogue of now has them, where it still shows the table as the stream did. Where it does not, and the names are not those
//! of before with others behind them, nothing tells a new column from a renamed one.

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
    columns: Vec<KnownColumn>,
    /// Columns that a mask names exactly, and that are known to have been dropped.
    gone: Vec<String>,
    /// As a load found it: what the stream says next may be older than that, or newer.
    loaded: bool,
}

/// One column, as the table had it then.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
struct KnownColumn {
    name: String,
    /// Its number in its table, which it keeps for life; none if nobody could say.
    number: Option<i16>,
    masked: bool,
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
        let came = Came { message, facts, numbers: numbers(message, facts), masks, names: names_of(message, facts) };
        if before.is_none()
            && let Some(column) = came.unknown_origin()
        {
            return Err(PostgresError::MaskedTableUnknown { table: came.table(), column });
        }
        // One that no entry names any more was let go on purpose.
        let was_masked: Vec<(usize, &KnownColumn)> =
            before.map_or(Vec::new(), |before| before.in_force(masks).collect());
        let mut gone: Vec<&str> = Vec::new();
        for (at, column) in &was_masked {
            if let Some(before) = before
                && came.find(before, *at, column)? == Found::Nowhere
            {
                gone.push(&column.name);
            }
        }
        gone.extend(before.into_iter().flat_map(|before| &before.gone).map(String::as_str));
        for entry in masks.required(&came.names).filter(|entry| !came.has(&entry.column)) {
            // Whatever it is called now is masked, or it was dropped.
            let was_there = was_masked.iter().any(|(_, column)| column.name == entry.column);
            if !was_there && !gone.contains(&&*entry.column) {
                return Err(came.unsure(&entry.column));
            }
        }
        if let Some(before) = before.filter(|before| before.loaded && !came.is_as_late_as(before)) {
            return Ok(Some(before.clone()));
        }
        let is_required = |name: &&str| masks.required(&came.names).any(|entry| entry.column == **name);
        let gone: Vec<String> =
            gone.into_iter().filter(|name| !came.has(name)).filter(is_required).map(str::to_owned).collect();
        let columns = came.known(before);
        let is_worth_it = !gone.is_empty() || columns.iter().any(|column| column.masked);
        Ok(is_worth_it.then_some(Self { names: came.names, columns, gone, loaded: false }))
    }

    /// The same as a load found it.
    pub(super) fn into_loaded(self) -> Self {
        Self { loaded: true, ..self }
    }

    /// Whether it tells of a column that is still masked, so that nothing which may be newer takes its place.
    pub(super) fn is_in_force(&self, masks: &Masks) -> bool {
        self.in_force(masks).next().is_some()
    }

    /// Its masked columns that an entry still names, with their places.
    fn in_force(&self, masks: &Masks) -> impl Iterator<Item = (usize, &KnownColumn)> {
        let is_masked = |column: &KnownColumn| column.masked && masks.of(&self.names, &column.name).is_some();
        self.columns.iter().enumerate().filter(move |(_, column)| is_masked(column))
    }

    /// The last place at which a column of it can come: what is added to a table stands behind all that was there.
    fn last_place(&self, at: usize, column: &KnownColumn) -> usize {
        match column.number {
            // Of what was there before the load nothing is known but that it had a lower number.
            Some(number) if self.loaded => usize::try_from(number).unwrap_or(usize::MAX).saturating_sub(1),
            None if self.loaded => usize::MAX,
            _ => at,
        }
    }
}

/// Where a column that was masked is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Under a name that is masked, or where nothing else can be it.
    Hidden,
    /// It was dropped: nothing that came can be it.
    Nowhere,
    /// Nobody knows, and its mask allows that.
    Optional,
}

/// A table as it comes now.
struct Came<'m> {
    message: &'m RelationMessage<'m>,
    facts: &'m TableFacts,
    numbers: Option<Vec<i16>>,
    masks: &'m Masks,
    names: Vec<Named>,
}

impl Came<'_> {
    fn columns(&self) -> impl ExactSizeIterator<Item = &str> {
        self.message.columns.iter().map(|column| &*column.name)
    }

    fn has(&self, column: &str) -> bool {
        self.columns().any(|name| name == column)
    }

    fn is_masked(&self, column: &str) -> bool {
        self.masks.of(&self.names, column).is_some()
    }

    fn table(&self) -> String {
        format!("{}.{}", self.message.schema, self.message.table)
    }

    fn unsure(&self, column: &str) -> PostgresError {
        PostgresError::MaskedColumnGone { table: self.table(), column: column.to_owned() }
    }

    /// Of a table that is gone, a column that an entry names for some other table: nobody can say any more whether it was a
    /// partition of that one, or inherited from it.
    fn unknown_origin(&self) -> Option<String> {
        let is_named = |column: &&str| self.masks.entries().any(|entry| entry.names_column(column));
        let is_gone = self.facts.columns.is_empty();
        self.columns().filter(|column| is_gone && !self.is_masked(column)).find(is_named).map(str::to_owned)
    }

    /// Finds a masked column of before, the one at that place.
    fn find(&self, before: &MaskedTable, at: usize, column: &KnownColumn) -> Result<Found, PostgresError> {
        if let (Some(numbers), Some(number)) = (&self.numbers, column.number)
            && let Some(shown) = numbers.iter().position(|other| *other == number).and_then(|at| self.columns().nth(at))
        {
            if self.is_masked(shown) {
                return Ok(Found::Hidden);
            }
            let (table, column, shown) = (self.table(), column.name.clone(), shown.to_owned());
            return Err(PostgresError::MaskedColumnRenamed { table, column, shown });
        }
        let is_named = self.has(&column.name) && self.is_masked(&column.name);
        let is_dropped = column.number.is_some_and(|number| !self.facts.numbers.values().any(|other| *other == number));
        let can_be_it = before.last_place(at, column).saturating_add(1);
        let is_hidden = self
            .columns()
            .enumerate()
            .take(can_be_it)
            .all(|(at, name)| self.is_masked(name) || self.is_another(before, at, name));
        let is_optional = || self.masks.entry_of(&before.names, &column.name).is_some_and(|entry| entry.optional);
        match () {
            () if is_hidden && is_dropped => Ok(Found::Nowhere),
            () if is_named && (is_hidden || self.is_as(before)) => Ok(Found::Hidden),
            () if is_optional() => Ok(Found::Optional),
            () => Err(self.unsure(&column.name)),
        }
    }

    /// Whether the column at that place is one that was called the same before and is called the same now, by its number.
    fn is_another(&self, before: &MaskedTable, at: usize, name: &str) -> bool {
        let Some((place, known)) = before.columns.iter().enumerate().find(|(_, column)| column.name == name) else {
            return false;
        };
        let is_there = |column: &&KnownColumn| {
            column.number.is_some_and(|number| self.facts.numbers.values().any(|other| *other == number))
        };
        // More were there all the time than came: the catalogue shows another time, or not all columns are sent.
        let is_consistent =
            before.loaded || before.columns.iter().filter(is_there).count() <= self.message.columns.len();
        let type_id = self.message.columns.get(at).map(|column| column.type_id);
        // What has a lower number and is still there was there all the time, in front of it.
        let is_in_front = |(other, number): &(&String, &i16)| {
            known.number.is_some_and(|known| **number < known) && !self.facts.generated.contains(*other)
        };
        let first_place = self.facts.numbers.iter().filter(is_in_front).count();
        is_consistent
            && at >= first_place
            && known.number.is_some()
            && known.number == self.facts.numbers.get(name).copied()
            && type_id == self.facts.columns.get(name).map(|(type_id, _)| *type_id)
            && at <= before.last_place(place, known)
    }

    /// Whether it has all columns of before under their names, and behind them those that were added.
    fn is_as(&self, before: &MaskedTable) -> bool {
        let known = before.columns.iter().map(|column| &*column.name);
        let are_alike = known.zip(self.columns()).all(|(known, name)| known == name);
        are_alike && (before.loaded || self.columns().len() >= before.columns.len())
    }

    /// Whether this is no older than what a load has found.
    fn is_as_late_as(&self, before: &MaskedTable) -> bool {
        let is_current = self.numbers.is_some() && missing(self.message, self.facts).next().is_none();
        is_current || (self.is_as(before) && self.columns().len() >= before.columns.len())
    }

    /// What to remember of its columns.
    fn known(&self, before: Option<&MaskedTable>) -> Vec<KnownColumn> {
        let before = before.filter(|before| self.is_as(before));
        let number = |at: usize| {
            let now = self.numbers.as_ref().and_then(|numbers| numbers.get(at).copied());
            now.or_else(|| before?.columns.get(at)?.number)
        };
        let known = |(at, name): (usize, &str)| KnownColumn {
            name: name.to_owned(),
            number: number(at),
            masked: self.is_masked(name),
        };
        self.columns().enumerate().map(known).collect()
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
/// and its type, in the order of their numbers, as PostgreSQL sends them, and no other among them that would have come too.
/// What stands behind all that came may have been added since.
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
    let last = numbers.last().copied().unwrap_or_default();
    missing(message, facts).all(|number| number > last).then_some(numbers)
}

/// The numbers of columns that the catalogue of now has, and that did not come although they are sent.
fn missing<'a>(message: &'a RelationMessage<'_>, facts: &'a TableFacts) -> impl Iterator<Item = i16> + 'a {
    let has_come = |name: &str| message.columns.iter().any(|column| column.name == *name);
    let is_missing = move |name: &str| !facts.generated.contains(name) && !has_come(name);
    facts.numbers.iter().filter(move |(name, _)| is_missing(name)).map(|(_, number)| *number)
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

    fn masked(table: &MaskedTable) -> Vec<&str> {
        table.columns.iter().filter(|column| column.masked).map(|column| &*column.name).collect()
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
        assert_eq!(masked(&after.unwrap().unwrap()), ["mail"]);
    }

    #[test]
    fn a_column_that_was_dropped_is_no_reason_to_stop_now_or_later() {
        let (columns, now) = (["id", "name"], [("id", 1), ("name", 3)]);
        assert_eq!(judge(&wild(), Some(&users(&wild())), &columns, &now).unwrap(), None);
        let after = judge(&exact(), Some(&users(&exact())), &columns, &now).unwrap().unwrap();
        assert_eq!(after.gone, ["email"]);
        let again = judge(&exact(), Some(&after), &columns, &now).unwrap().unwrap();
        assert_eq!(again, after);
        // Made again, it is masked as before.
        let now = &[("id", 1), ("name", 3), ("email", 4)];
        let made = judge(&exact(), Some(&again), &["id", "name", "email"], now).unwrap().unwrap();
        assert_eq!((masked(&made), made.gone.len()), (vec!["email"], 0));
        // What is added stands behind: it is not what was dropped from the middle.
        let now = &[("id", 1), ("name", 3), ("phone", 4)];
        assert!(judge(&wild(), Some(&users(&wild())), &["id", "name", "phone"], now).is_ok());
    }

    #[test]
    fn a_renamed_column_is_not_taken_for_one_that_has_its_new_name_by_now() {
        let before = |masks: &Masks| judge(masks, None, &["id", "email"], &[("id", 1), ("email", 2)]).unwrap().unwrap();
        for masks in [exact(), wild()] {
            // Renamed while the rows came, then back, and another one was made under the name that it had meanwhile.
            let now = &[("id", 1), ("email", 2), ("mail", 3)];
            assert!(judge(&masks, Some(&before(&masks)), &["id", "mail"], now).is_err());
            // Dropped under that name, and another one made.
            let now = &[("id", 1), ("mail", 3)];
            assert!(judge(&masks, Some(&before(&masks)), &["id", "mail"], now).is_err());
        }
    }

    #[test]
    fn a_renamed_column_is_not_taken_for_the_one_whose_name_it_got() {
        let catalogue = &[("id", 1), ("phone", 2), ("email", 3)];
        let before = judge(&wild(), None, &["id", "phone", "email"], catalogue).unwrap().unwrap();
        // The catalogue does not show yet what the transaction did: phone was dropped, and email was given its name.
        assert!(judge(&wild(), Some(&before), &["id", "phone"], catalogue).is_err());
        // It has moved on: another phone was made since.
        let now = &[("id", 1), ("phone", 4)];
        assert!(judge(&wild(), Some(&before), &["id", "phone"], now).is_err());
        // Only phone was dropped, and something was added since.
        let now = &[("id", 1), ("email", 3), ("more", 4)];
        let after = judge(&wild(), Some(&before), &["id", "email"], now).unwrap().unwrap();
        assert_eq!(masked(&after), ["email"]);
    }

    #[test]
    fn a_column_that_a_publication_leaves_out_is_not_taken_for_dropped() {
        let catalogue = &[("id", 1), ("name", 2), ("email", 3)];
        let before = judge(&wild(), None, &["id", "name", "email"], catalogue).unwrap().unwrap();
        assert!(judge(&wild(), Some(&before), &["id", "mail"], catalogue).is_err());
        // Generated columns are not sent, and nobody misses them.
        let mut facts = now(&[("id", 1), ("email", 2), ("lower", 3)]);
        facts.generated.insert("lower".into());
        let seen = MaskedTable::judge(&message("users", &["id", "email"]), &facts, &wild(), None).unwrap().unwrap();
        assert_eq!(seen.columns[1].number, Some(2));
    }

    #[test]
    fn what_a_load_found_holds_for_older_and_newer_rows() {
        let catalogue = &[("id", 1), ("email", 2), ("name", 3)];
        let found = judge(&wild(), None, &["id", "email", "name"], catalogue).unwrap().unwrap().into_loaded();
        assert!(found.is_in_force(&wild()) && !found.is_in_force(&masks(json!([]))));
        // Newer: renamed since.
        let renamed = &[("id", 1), ("mail", 2), ("name", 3)];
        assert!(judge(&wild(), Some(&found), &["id", "mail", "name"], renamed).is_err());
        // Older: it was called otherwise, or some columns were not there yet.
        assert!(judge(&wild(), Some(&found), &["id", "mail", "name"], catalogue).is_err());
        let older = judge(&wild(), Some(&found), &["id", "email"], catalogue).unwrap();
        assert_eq!(older.as_ref(), Some(&found), "it is not forgotten for that");
        let same = judge(&wild(), Some(&found), &["id", "email", "name"], catalogue).unwrap().unwrap();
        assert!(!same.loaded);
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
        // Columns that are added stand behind all others.
        let more = judge(&wild(), Some(&before), &["id", "email", "name", "more"], later).unwrap().unwrap();
        assert_eq!(more.columns[..3], before.columns);
    }

    #[test]
    fn columns_that_were_added_since_hide_no_number() {
        let now = &[("id", 1), ("email", 2), ("more", 3)];
        let before = judge(&wild(), None, &["id", "email"], now).unwrap().unwrap();
        assert_eq!(before.columns[1].number, Some(2));
    }

    #[test]
    fn a_column_whose_number_nobody_knew_is_not_taken_for_another_of_its_name() {
        // The catalogue had moved on already when the table was first seen.
        let now = &[("id", 1), ("mail", 2), ("name", 3), ("email", 4)];
        let before = judge(&wild(), None, &["id", "email", "name"], now).unwrap().unwrap();
        assert_eq!(before.columns[1].number, None);
        assert!(judge(&wild(), Some(&before), &["id", "mail", "name", "email"], now).is_err());
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
        assert_eq!(masked(&after.unwrap().unwrap()), ["name"]);
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
    fn a_table_that_is_gone_and_was_never_seen_shows_nothing_that_it_may_have_inherited() {
        let judge = |masks: &Masks, columns: &[&str]| {
            MaskedTable::judge(&message("users_1", columns), &TableFacts::default(), masks, None)
        };
        let error = judge(&exact(), &["id", "email"]).unwrap_err().to_string();
        assert!(error.contains("public.users_1") && error.contains("email"), "{error}");
        assert_eq!(judge(&exact(), &["id", "name"]).unwrap(), None);
        // Under its own name it is masked, whatever it was.
        assert!(judge(&wild(), &["id", "email"]).unwrap().is_some());
        // One that is there inherits from what the catalogue says.
        let facts = now(&[("id", 1), ("email", 2)]);
        let there = MaskedTable::judge(&message("other", &["id", "email"]), &facts, &exact(), None);
        assert_eq!(there.unwrap(), None);
    }

    #[test]
    fn a_partition_is_meant_by_the_name_of_its_table() {
        let mut facts = now(&[("id", 1), ("email", 2)]);
        facts.inherits_from = vec![("public".into(), "users".into())];
        let after = MaskedTable::judge(&message("users_1", &["id", "email"]), &facts, &exact(), None).unwrap();
        assert_eq!(masked(&after.unwrap()), ["email"]);
    }
}
