//! How many records of which table and operation a stream delivers: counted while a block is encoded, added up by each session
//! that is given the block.
//!
//! Neither may cost what a look-up for each record would. Records of one kind mostly come together, so a run of them is one
//! number, and a table is looked for where another one begins. A block carries what to add and where, so that a session adds
//! a few numbers for all of its records, without a lock.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::limits::STREAM_TABLES_COUNTED;
use crate::record::{Operation, SchemaId, TableName, TableSchema};

/// A number for each of [`Operation::ALL`], in that order.
pub type ByOperation<N> = [N; Operation::ALL.len()];

/// The records of the block that is being encoded.
#[derive(Debug, Default)]
pub(super) struct Tally {
    tables: Vec<(TableName, ByOperation<u32>)>,
    /// Where in `tables` a schema is counted.
    tables_by_schema: HashMap<SchemaId, usize>,
    /// What the run at hand is of.
    kind: Option<(SchemaId, Operation)>,
    table: usize,
    operation: usize,
    /// Records of the run.
    run: u32,
}

impl Tally {
    /// The records that follow are of that kind.
    #[inline]
    pub(super) fn turn_to(&mut self, schema: Option<&Arc<TableSchema>>, ddl: Option<&TableName>, operation: Operation) {
        let kind = schema.map(|schema| (schema.id, operation));
        if kind.is_none() || kind != self.kind {
            self.change(schema, ddl, operation);
        }
    }

    /// One more record of that kind was written.
    #[inline]
    pub(super) fn count(&mut self) {
        self.run += 1;
    }

    fn change(&mut self, schema: Option<&Arc<TableSchema>>, ddl: Option<&TableName>, operation: Operation) {
        self.end_run();
        self.kind = schema.map(|schema| (schema.id, operation));
        self.operation = index(operation);
        let next = self.tables.len();
        self.table = schema.map_or(next, |schema| *self.tables_by_schema.entry(schema.id).or_insert(next));
        if self.table == next
            && let Some(table) = schema.map(|schema| &schema.table).or(ddl)
        {
            self.tables.push((table.clone(), Default::default()));
        }
    }

    fn end_run(&mut self) {
        let run = std::mem::take(&mut self.run);
        if let Some((_, counts)) = self.tables.get_mut(self.table) {
            counts[self.operation] += run;
        }
    }

    /// What was counted, and begins anew: a table may be there several times.
    pub(super) fn take(&mut self) -> Vec<(TableName, ByOperation<u32>)> {
        self.end_run();
        self.kind = None;
        self.tables_by_schema.clear();
        std::mem::take(&mut self.tables)
    }
}

fn index(operation: Operation) -> usize {
    Operation::ALL.iter().position(|known| *known == operation).unwrap_or_default()
}

/// What has been delivered of one table.
#[derive(Debug, Default)]
struct TableCount(ByOperation<AtomicU64>);

impl TableCount {
    fn figures(&self) -> ByOperation<u64> {
        self.0.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

/// What has been delivered of a stream's tables: of so many by name, of the others together.
#[derive(Debug, Default)]
pub struct Counts {
    tables: Mutex<HashMap<TableName, Arc<TableCount>>>,
    others: Arc<TableCount>,
}

/// [`Counts`] as they stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CountFigures {
    /// By table, in the order of names; tables of which nothing was delivered are left out.
    pub tables: Vec<(TableName, ByOperation<u64>)>,
    /// Of tables beyond [`STREAM_TABLES_COUNTED`].
    pub others: ByOperation<u64>,
}

impl CountFigures {
    /// Of all tables together.
    pub fn total(&self) -> ByOperation<u64> {
        let all = self.tables.iter().map(|(_, counts)| counts).chain([&self.others]);
        let mut total = ByOperation::default();
        all.for_each(|counts| total.iter_mut().zip(counts).for_each(|(total, count)| *total += count));
        total
    }
}

impl Counts {
    /// Where to add what is in a block.
    pub(super) fn count_in(&self, tally: Vec<(TableName, ByOperation<u32>)>) -> Vec<Counted> {
        let mut merged: HashMap<TableName, ByOperation<u32>> = HashMap::with_capacity(tally.len());
        for (table, counts) in tally {
            add(merged.entry(table).or_default(), &counts);
        }
        let mut others = ByOperation::<u32>::default();
        let mut counted = Vec::with_capacity(merged.len().min(STREAM_TABLES_COUNTED + 1));
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        for (table, counts) in merged {
            let has_room = tables.len() < STREAM_TABLES_COUNTED;
            let sums = match tables.get(&table) {
                Some(sums) => sums.clone(),
                None if has_room => tables.entry(table).or_default().clone(),
                None => {
                    add(&mut others, &counts);
                    continue;
                }
            };
            counted.push(Counted { sums, counts });
        }
        if others.iter().any(|count| *count > 0) {
            counted.push(Counted { sums: self.others.clone(), counts: others });
        }
        counted
    }

    /// The figures now.
    pub fn figures(&self) -> CountFigures {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tables: Vec<_> = tables.iter().map(|(table, count)| (table.clone(), count.figures())).collect();
        tables.retain(|(_, counts)| counts.iter().any(|count| *count > 0));
        tables.sort_unstable();
        CountFigures { tables, others: self.others.figures() }
    }
}

fn add(to: &mut ByOperation<u32>, counts: &ByOperation<u32>) {
    to.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
}

/// Records of one table in a block, and where they are counted when they are delivered.
#[derive(Debug)]
pub struct Counted {
    sums: Arc<TableCount>,
    counts: ByOperation<u32>,
}

impl Counted {
    /// They go to one more session.
    pub(super) fn deliver(&self) {
        for (sum, count) in self.sums.0.iter().zip(self.counts).filter(|(_, count)| *count > 0) {
            sum.fetch_add(u64::from(count), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(id: u32, table: &str) -> Arc<TableSchema> {
        Arc::new(TableSchema { id: SchemaId(id), table: TableName::parse(table).unwrap(), columns: Vec::new() })
    }

    #[test]
    fn records_are_counted_by_table_and_operation_in_whatever_order_they_come() {
        let (orders, wider, people) = (schema(1, "app.orders"), schema(2, "app.orders"), schema(3, "app.people"));
        let created = TableName::parse("app.people").unwrap();
        let (mut tally, counts) = (Tally::default(), Counts::default());
        for (schema, operation, times) in [
            (Some(&orders), Operation::Insert, 3),
            (Some(&people), Operation::Update, 0),
            (Some(&people), Operation::Delete, 1),
            (None, Operation::Ddl, 1),
            (None, Operation::Ddl, 1),
            (Some(&wider), Operation::Insert, 2),
            (Some(&orders), Operation::Insert, 1),
        ] {
            tally.turn_to(schema, Some(&created), operation);
            (0..times).for_each(|_| tally.count());
        }
        let block = counts.count_in(tally.take());
        assert_eq!(counts.figures(), CountFigures::default(), "nothing is delivered yet");
        for sessions in 1..=2 {
            block.iter().for_each(Counted::deliver);
            let expected = [[6, 0, 0, 0, 0, 0], [0, 0, 1, 0, 0, 2]].map(|counts| counts.map(|count| count * sessions));
            let figures = counts.figures();
            let found: Vec<_> = figures.tables.iter().map(|(table, counts)| (table.to_string(), *counts)).collect();
            assert_eq!(found, [("app.orders".to_owned(), expected[0]), ("app.people".to_owned(), expected[1])]);
            assert_eq!(figures.total(), [6, 0, 1, 0, 0, 2].map(|count| count * sessions));
        }
        assert!(tally.take().is_empty());
    }

    #[test]
    fn so_many_tables_are_counted_by_name_and_the_others_together() {
        let (mut tally, counts) = (Tally::default(), Counts::default());
        let number = u32::try_from(STREAM_TABLES_COUNTED).unwrap() + 50;
        for _ in 0..2 {
            for id in 0..number {
                tally.turn_to(Some(&schema(id, &format!("t{id}"))), None, Operation::Upsert);
                tally.count();
            }
            let block = counts.count_in(tally.take());
            assert_eq!(block.len(), STREAM_TABLES_COUNTED + 1);
            block.iter().for_each(Counted::deliver);
        }
        let figures = counts.figures();
        assert_eq!(figures.tables.len(), STREAM_TABLES_COUNTED);
        assert!(figures.tables.iter().all(|(_, counts)| *counts == [0, 0, 0, 0, 2, 0]));
        assert_eq!((figures.others[4], figures.total()[4]), (100, u64::from(number) * 2));
    }
}
