//! Goal: what a segment repeats in its head costs no more than what is written, however many columns a trail's tables have, and a
//! table that widens column by column takes room for each column once. Method: trails whose heads are many times larger than
//! their segments, beside the same trail in one segment; wide tables that change at random, read back from everywhere.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use crate::trail::memory_disk::MemoryDisk;
#[cfg(feature = "fault-injection")]
use crate::trail::message_log::MemoryLog;
use crate::trail::stores::TestStore;
use crate::trail::workload::{appender, clock, create, folder, open};
use trailcast::codec::image::ImageWriter;
use trailcast::limits;
use trailcast::record::{Column, JsonKind, Operation, Position, SourcePosition, TableName, Timestamp, TransactionHead};
use trailcast::trail::local::disk::Disk;
use trailcast::trail::maintenance::repair;
use trailcast::trail::{AppendError, Appender, Begin, Entry, Fill, Retention, Row, Trail};

fn column(name: String, kind: JsonKind) -> Column {
    Column { name, kind, sql_type: String::new(), nullable: true, key: false }
}

fn columns(count: usize) -> Vec<Column> {
    (0..count).map(|at| column(format!("column_{at}"), JsonKind::Number)).collect()
}

/// Puts one row that has nothing but absent columns.
async fn put_row(appender: &mut Appender, number: u64, table: &TableName, columns: &[Column]) -> Position {
    let commit_ts = Timestamp::from_micros(number as i64);
    let head = TransactionHead { xid: format!("x{number}"), commit_ts, source: SourcePosition::default() };
    appender.begin(&head).unwrap();
    let schema = appender.schema(table, columns).unwrap();
    let mut image = Vec::new();
    let mut writer = ImageWriter::new(&mut image);
    columns.iter().for_each(|_| writer.absent());
    let row = Row { operation: Operation::Insert, before: None, after: Some(&image), tokens: None };
    appender.row(&schema, row).unwrap();
    let position = appender.commit().unwrap();
    appender.hand_over().await.unwrap();
    position
}

/// A trail of 40 tables with 30 columns each, and 1,000 rows.
async fn many_tables(folder: &Path, segment_bytes: u64) -> Trail {
    let trail = create(Arc::new(MemoryDisk::default()), folder, segment_bytes);
    let mut writing = appender(&trail).await;
    for number in 1..=1_000 {
        let table = TableName::parse(&format!("shop.table_{}", number % 40)).unwrap();
        let position = put_row(&mut writing, number, &table, &columns(30)).await;
        // One flush for each, so that two such trails say the same of their flushes.
        writing.wait_durable(position.commit).await.unwrap();
    }
    writing.close().await.unwrap();
    trail
}

fn in_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

#[test]
fn heads_larger_than_a_segment_take_no_more_room_than_what_was_written() {
    in_runtime(async {
        let in_one = many_tables(&folder(), 1 << 30).await;
        let in_small = many_tables(&folder(), 4 << 10).await;
        let (data, all) = (in_one.bytes(), in_small.bytes());
        assert_eq!(in_one.status().segments, 1);
        assert!(in_small.status().segments > 1, "segments are closed all the same");
        assert!(all <= 3 * data, "{all} bytes in {} segments for {data}", in_small.status().segments);
    });
}

#[test]
fn retention_by_size_counts_what_was_written_and_not_what_heads_repeat() {
    in_runtime(async {
        let data = many_tables(&folder(), 1 << 30).await.bytes();
        let trail = many_tables(&folder(), 4 << 10).await;
        let keeps = |bytes| Retention { age_seconds: None, bytes: Some(bytes), floor: None };
        assert!(trail.bytes() > data, "the heads must matter");
        assert_eq!(trail.retain(&keeps(data + 4_096)).unwrap().segments, 0);
        assert!(trail.retain(&keeps(data / 2)).unwrap().segments > 0);
    });
}

#[test]
fn a_table_that_widens_column_by_column_takes_room_for_each_column_once() {
    in_runtime(async {
        let bytes_of = async |steps: usize| {
            let trail = create(Arc::new(MemoryDisk::default()), &folder(), 1 << 30);
            let mut writing = appender(&trail).await;
            let table = TableName::parse("shop.wide").unwrap();
            for width in 1..=steps {
                put_row(&mut writing, width as u64, &table, &columns(width)).await;
            }
            writing.close().await.unwrap();
            trail.bytes()
        };
        let (some, twice) = (bytes_of(100).await, bytes_of(200).await);
        // Rows say of each column that it is absent, one byte each: that alone grows with the square.
        let rows = 200 * 200 / 2;
        assert!(twice <= 2 * some + some / 4 + rows, "{some} bytes for 100 columns, {twice} for 200");
    });
}

/// Columns with the longest names there are, of a table that takes some megabytes to describe.
fn longest_columns() -> Vec<Column> {
    let name = |at: usize| format!("{at:0>width$}", width = limits::IDENTIFIER_BYTES_MAX);
    (0..limits::TABLE_COLUMNS_MAX).map(|at| column(name(at), JsonKind::Any)).collect()
}

#[test]
fn a_table_for_which_a_trail_has_no_room_is_refused_by_name_and_the_others_go_on() {
    in_runtime(async {
        let trail = create(Arc::new(MemoryDisk::default()), &folder(), 1 << 20);
        let mut writing = appender(&trail).await;
        let head = TransactionHead { xid: "x".into(), ..TransactionHead::default() };
        writing.begin(&head).unwrap();
        let longest = longest_columns();
        let table = |number: usize| TableName::parse(&format!("shop.large_{number}")).unwrap();
        let refused =
            (0..100).find_map(|number| writing.schema(&table(number), &longest).err().map(|error| (number, error)));
        let (number, error) = refused.unwrap();
        let max = limits::TRAIL_SCHEMA_BYTES_MAX;
        assert_eq!(error, AppendError::TooManySchemaBytes { table: format!("shop.large_{number}"), max });
        assert!(error.to_string().contains("write some of the tables to another trail"), "{error}");
        assert!(writing.schema_bytes() <= max && writing.schema_bytes() > max / 2);
        // What is there stays, and may become less.
        writing.schema(&table(0), &longest).unwrap();
        writing.schema(&table(1), &longest[..7]).unwrap();
        writing.schema(&table(number), &longest[..7]).unwrap();
        // What was taken back takes no room.
        let before = writing.schema_bytes();
        writing.abort().await.unwrap();
        assert!(before > 0 && writing.schema_bytes() == 0);
        put_row(&mut writing, 1, &table(0), &columns(3)).await;
        writing.close().await.unwrap();
        assert_eq!(read(&trail, Begin::Earliest).await, [columns(3)]);
    });
}

#[test]
fn a_repair_of_a_trail_with_tables_that_widen_keeps_rows_with_their_columns_or_marks_them_as_missing() {
    in_runtime(async {
        let disk = MemoryDisk::default();
        let trail = create(Arc::new(disk.clone()), &folder(), 4 << 10);
        let mut writing = appender(&trail).await;
        let table = TableName::parse("shop.wide").unwrap();
        for number in 1..=30 {
            put_row(&mut writing, number, &table, &columns(10 + number as usize)).await;
        }
        writing.close().await.unwrap();
        let whole = disk.copy();
        for (path, bytes) in
            whole.contents().into_iter().filter(|(path, _)| path.extension().is_some_and(|end| end == "seg"))
        {
            for at in (3..bytes.len()).step_by(101) {
                let what = format!("byte {at} of {}", path.display());
                let damaged = whole.copy();
                damaged.tamper(&path, |bytes| bytes[at] ^= 4);
                let disk: Arc<dyn Disk> = Arc::new(damaged);
                repair::repair(&folder(), disk.clone(), clock()).unwrap_or_else(|error| panic!("{what}: {error}"));
                let trail = open(disk, &folder()).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert!(trail.verify().unwrap().iter().all(|report| report.bad.is_none()), "{what}");
                let mut reader = trail.read(Begin::Earliest).await.unwrap();
                let mut next = 1;
                while reader.fill().await.unwrap_or_else(|error| panic!("{what}: {error}")) == Fill::Filled {
                    while let Some(entry) = reader.next().unwrap_or_else(|error| panic!("{what}: {error}")) {
                        match entry {
                            Entry::Record(record) => {
                                let commit = record.transaction.commit;
                                assert_eq!(record.schema.unwrap().columns, columns(10 + commit as usize), "{what}");
                            }
                            Entry::Begin(transaction) => assert_eq!(transaction.commit, next, "{what}"),
                            Entry::Commit(commit) => next = commit.commit + 1,
                            Entry::Gap(gap) => {
                                assert_eq!(gap.first, next, "{what}");
                                next = gap.next;
                            }
                        }
                    }
                }
                assert_eq!(next, 31, "{what}");
            }
        }
    });
}

/// A change of a table's columns.
#[derive(Debug, Clone)]
enum Change {
    Add(u32),
    Drop(usize),
    /// Another kind at that place.
    Kind(usize),
    /// Other columns altogether.
    Replace(usize),
    None,
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => any::<u32>().prop_map(Change::Add),
        1 => any::<usize>().prop_map(Change::Drop),
        2 => any::<usize>().prop_map(Change::Kind),
        1 => (0_usize..30).prop_map(Change::Replace),
        1 => Just(Change::None),
    ]
}

fn changed(columns: &mut Vec<Column>, change: &Change) {
    let length = columns.len().max(1);
    let at = |place: usize| place % length;
    match change {
        Change::Add(name) => columns.push(column(format!("added_{name}"), JsonKind::String)),
        Change::Drop(place) if !columns.is_empty() => drop(columns.remove(at(*place))),
        Change::Kind(place) if !columns.is_empty() => columns[at(*place)].kind = JsonKind::Any,
        Change::Replace(count) => *columns = self::columns(*count),
        Change::Drop(_) | Change::Kind(_) | Change::None => {}
    }
}

/// The columns of every row from there on.
async fn read(trail: &Trail, begin: Begin) -> Vec<Vec<Column>> {
    let mut reader = trail.read(begin).await.unwrap();
    let mut rows = Vec::new();
    while reader.fill().await.unwrap() == Fill::Filled {
        while let Some(entry) = reader.next().unwrap() {
            if let Entry::Record(record) = entry {
                rows.push(record.schema.unwrap().columns.clone());
            }
        }
    }
    rows
}

/// A table, what becomes of its columns, and whether the trail is opened anew then.
type Changes = [(usize, Change, bool)];

async fn rows_read_back<S: TestStore>(changes: &Changes) {
    let store = S::default();
    let mut trail = store.create(4 << 10);
    let mut tables: Vec<(TableName, Vec<Column>)> =
        (0..3).map(|table| (TableName::parse(&format!("shop.t{table}")).unwrap(), columns(20 * table))).collect();
    let mut writing = appender(&trail).await;
    let (mut positions, mut written) = (Vec::new(), Vec::new());
    for (number, (table, change, reopens)) in (1..).zip(changes) {
        let (name, columns) = &mut tables[*table];
        changed(columns, change);
        if number % 7 == 0 {
            // A transaction that is taken back takes its shape with it.
            writing.begin(&TransactionHead { xid: "none".into(), ..TransactionHead::default() }).unwrap();
            writing.schema(name, &self::columns(number as usize)).unwrap();
            writing.abort().await.unwrap();
        }
        positions.push(put_row(&mut writing, number, name, columns).await);
        written.push(columns.clone());
        if *reopens && number % 5 == 0 {
            writing.close().await.unwrap();
            trail = store.open().unwrap();
            writing = appender(&trail).await;
        }
    }
    writing.close().await.unwrap();
    let reopened = store.open().unwrap();
    for trail in [&trail, &reopened] {
        assert_eq!(read(trail, Begin::Earliest).await, written);
        for (at, position) in positions.iter().enumerate() {
            assert_eq!(read(trail, Begin::After(*position)).await, written[at + 1..], "after {position:?}");
        }
        assert!(trail.verify().unwrap().iter().all(|report| report.bad.is_none()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn however_tables_change_each_row_reads_back_with_its_columns_from_everywhere(
        changes in proptest::collection::vec((0_usize..3, any_change(), any::<bool>()), 1..60),
    ) {
        in_runtime(rows_read_back::<MemoryDisk>(&changes));
        #[cfg(feature = "fault-injection")]
        in_runtime(rows_read_back::<MemoryLog>(&changes));
    }
}
