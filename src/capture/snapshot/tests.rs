//! Goal: applying the trail's records in order gives the source's table, no row is ever older than what came before it, whatever
//! commits become visible when, and wherever the program is killed. Method: a model of a source whose commits are streamed in order and
//! seen at any later time, a loader that reads chunks in its snapshots, a trail that loses its end at a kill, and a consumer;
//! random scripts drive them. The rule is switched off once, to see that the model sees what it is for.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree as _;

use super::key::Key;
use super::loading::{Appended, Loading};
use super::progress::TableProgress;
use super::window::Hidden;
use crate::codec::image::ImageWriter;
use crate::record::{Column, JsonKind, LoadProgress, Operation, SchemaId, SourcePosition, TableName, TableSchema};
use crate::trail::RowParts;

/// Rows of a chunk.
const CHUNK: usize = 2;
const KEYS: u8 = 6;

/// One statement; keys are taken modulo what there is.
#[derive(Debug, Clone, Copy)]
enum Op {
    Insert(u8),
    /// With its large value, or without.
    Update(u8, bool),
    Move(u8, u8, bool),
    Delete(u8),
    Truncate,
}

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<Op>),
    /// One that was committed can be seen from here on.
    Show(Index),
    /// The stream brings so many.
    Bring(u8),
    /// A chunk is read.
    Read,
    /// The chunk that was read is appended, if it may be.
    Append,
    /// The program dies, and the trail is as long as that.
    Kill(Index),
}

/// A row: the number of its last change, and that of its large value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    version: u32,
    large: u32,
}

/// A change as it is streamed.
#[derive(Debug, Clone, Copy)]
enum Change {
    Put { from: Option<u8>, to: u8, row: Row, sends_large: bool },
    Delete { key: u8, version: u32 },
    Truncate { version: u32 },
}

#[derive(Debug, Clone, Default)]
struct Transaction {
    changes: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Entry {
    Streamed { number: usize, said: Vec<LoadProgress> },
    Loaded { rows: Vec<(u8, Row)>, said: LoadProgress },
}

struct Chunk {
    /// What its snapshot shows.
    shown: BTreeSet<usize>,
    /// The stream must have brought so many.
    before: usize,
    rows: Vec<(u8, Row)>,
    is_last: bool,
    again: Vec<Key>,
    of: (u64, u64),
}

/// The whole world.
struct World {
    log: Vec<Transaction>,
    visible: BTreeSet<usize>,
    /// Rows with everything that was committed.
    now: BTreeMap<u8, Row>,
    versions: u32,
    trail: Vec<Entry>,
    brought: usize,
    loading: Loading<usize>,
    /// So many must be visible before the first chunk.
    unseen_before: usize,
    read: Option<Chunk>,
    by_place: bool,
    /// Keys are masked: whoever reads remembers himself behind which he is.
    are_keys_hidden: bool,
    behind: Option<u8>,
    wrong: Option<String>,
}

fn schema() -> TableSchema {
    let column = |name: &str, key| Column {
        name: name.into(),
        kind: JsonKind::Number,
        sql_type: String::new(),
        nullable: false,
        key,
    };
    let columns = vec![column("id", true), column("version", false), column("large", false)];
    TableSchema { id: SchemaId(1), table: table(), columns }
}

fn table() -> TableName {
    TableName::parse("public.t").unwrap()
}

fn key(number: u8) -> Key {
    Key(format!("[{number}]").into())
}

fn number(key: &Key) -> u8 {
    key.0.trim_matches(['[', ']']).parse().unwrap()
}

impl World {
    /// Six rows, the stream at its start, and the table queued.
    fn new(by_place: bool) -> Self {
        let now = (0..KEYS).map(|key| (key, Row { version: 1, large: 1 })).collect();
        let mut loading = Loading::of(&[]);
        loading.queue(table(), 0, false);
        loading.window.begin();
        loading.begin(&table());
        let (log, trail) = (Vec::new(), Vec::new());
        Self {
            log,
            visible: BTreeSet::new(),
            now,
            versions: 1,
            trail,
            brought: 0,
            loading,
            unseen_before: 0,
            read: None,
            by_place,
            are_keys_hidden: false,
            behind: None,
            wrong: None,
        }
    }

    /// The table as a snapshot shows it.
    fn as_of(&self, shown: &BTreeSet<usize>) -> BTreeMap<u8, Row> {
        let mut rows: BTreeMap<u8, Row> = (0..KEYS).map(|key| (key, Row { version: 1, large: 1 })).collect();
        for number in shown {
            self.log[*number].changes.iter().for_each(|change| apply(&mut rows, change));
        }
        rows
    }

    /// Rows that somebody has changed whom nobody sees yet are locked.
    fn locked(&self) -> (BTreeSet<u8>, bool) {
        let mut keys = BTreeSet::new();
        let mut everything = false;
        for (number, transaction) in self.log.iter().enumerate() {
            if self.visible.contains(&number) {
                continue;
            }
            for change in &transaction.changes {
                match change {
                    Change::Put { from, to, .. } => keys.extend(from.iter().chain([to])),
                    Change::Delete { key, .. } => drop(keys.insert(*key)),
                    Change::Truncate { .. } => everything = true,
                }
            }
        }
        (keys, everything)
    }

    fn commit(&mut self, ops: &[Op]) {
        let (locked, is_locked) = self.locked();
        let mut transaction = Transaction::default();
        for op in ops {
            let free = |key: u8| !locked.contains(&key) && !is_locked;
            self.versions += 1;
            let version = self.versions;
            let there = |key: u8| self.now.get(&key).copied();
            let large = |was: u32, sends: bool| if sends { version } else { was };
            let change = match *op {
                Op::Insert(key) if free(key) && there(key).is_none() => {
                    Change::Put { from: None, to: key, row: Row { version, large: version }, sends_large: true }
                }
                Op::Update(key, sends) if free(key) && there(key).is_some() => {
                    let row = Row { version, large: large(there(key).unwrap().large, sends) };
                    Change::Put { from: None, to: key, row, sends_large: sends }
                }
                Op::Move(from, to, sends) if free(from) && free(to) && there(from).is_some() && there(to).is_none() => {
                    let row = Row { version, large: large(there(from).unwrap().large, sends) };
                    Change::Put { from: Some(from), to, row, sends_large: sends }
                }
                Op::Delete(key) if free(key) && there(key).is_some() => Change::Delete { key, version },
                Op::Truncate if locked.is_empty() && !is_locked => Change::Truncate { version },
                _ => continue,
            };
            apply(&mut self.now, &change);
            transaction.changes.push(change);
        }
        self.log.push(transaction);
    }

    fn bring(&mut self) {
        let Some(transaction) = self.log.get(self.brought) else { return };
        let schema = schema();
        for change in &transaction.changes {
            let image = |key: u8, row: Option<(Row, bool)>| {
                let mut out = Vec::new();
                let mut writer = ImageWriter::new(&mut out);
                writer.json(key.to_string().as_bytes());
                match row {
                    None => (0..2).for_each(|_| writer.absent()),
                    Some((row, sends_large)) => {
                        writer.json(row.version.to_string().as_bytes());
                        match sends_large {
                            true => writer.json(row.large.to_string().as_bytes()),
                            false => writer.unchanged(),
                        }
                    }
                }
                out
            };
            let (operation, before, after) = match *change {
                Change::Put { from, to, row, sends_large } => {
                    (Operation::Update, from.map(|from| image(from, None)), Some(image(to, Some((row, sends_large)))))
                }
                Change::Delete { key, .. } => (Operation::Delete, Some(image(key, None)), None),
                Change::Truncate { .. } => (Operation::Truncate, None, None),
            };
            let parts = RowParts::of(operation, before.is_some(), after.is_some());
            let images = [before.unwrap_or_default(), after.unwrap_or_default()].concat();
            self.loading.change(&schema, &parts, &images);
        }
        let said = self.loading.commit(&self.brought.to_string(), &self.brought);
        let begins_again = self.are_keys_hidden && !said.is_empty();
        self.trail.push(Entry::Streamed { number: self.brought, said });
        self.brought += 1;
        if begins_again {
            self.behind = None;
            self.look();
        }
    }

    /// Looks for who is not to be seen yet, before the table is read from its beginning.
    fn look(&mut self) {
        self.loading.begin(&table());
        self.unseen_before = self.brought;
    }

    fn read(&mut self) {
        let Some(progress) = self.loading.table(&table()).cloned() else { return };
        let is_clear = (0..self.unseen_before).all(|number| self.visible.contains(&number));
        // Whoever empties the table keeps its lock until that is to be seen.
        if self.read.is_some() || (!is_clear && !self.by_place) || self.locked().1 {
            return;
        }
        let rows = self.as_of(&self.visible);
        let of = (progress.left.order, progress.left.restarts);
        let (rows, is_last, again) = if progress.left.is_read {
            let again: Vec<Key> = progress.left.again.iter().cloned().collect();
            let rows = again.iter().filter_map(|key| rows.get_key_value(&number(key)));
            (rows.map(|(key, row)| (*key, *row)).collect::<Vec<_>>(), false, again)
        } else {
            let behind = if self.are_keys_hidden { self.behind } else { progress.left.behind.as_ref().map(number) };
            let mut rows = rows.into_iter().filter(|(key, _)| behind.is_none_or(|behind| *key > behind));
            let chunk: Vec<_> = rows.by_ref().take(CHUNK).collect();
            (chunk, rows.next().is_none(), Vec::new())
        };
        self.read = Some(Chunk { shown: self.visible.clone(), before: self.log.len(), rows, is_last, again, of });
    }

    fn append(&mut self) {
        let Some(chunk) = self.read.take_if(|chunk| chunk.before <= self.brought) else { return };
        let behind = self.behind.take();
        let Some(progress) = self.loading.table(&table()) else { return };
        if (progress.left.order, progress.left.restarts) != chunk.of {
            return;
        }
        let shows = |xid: &str, _: &usize| chunk.shown.contains(&xid.parse().unwrap());
        let hidden = match self.loading.window.hidden(&table(), shows) {
            _ if self.by_place => Default::default(),
            Hidden::Rows(hidden) => hidden,
            Hidden::Everything => return,
        };
        let mut appended = Appended { is_last: chunk.is_last, read_again: chunk.again, ..Appended::default() };
        let mut rows = Vec::new();
        self.behind = chunk.rows.last().map(|(key, _)| *key).or(behind);
        for (number, row) in chunk.rows {
            if appended.read_again.is_empty() {
                appended.behind = Some(key(number));
            }
            if !hidden.leaves_out(&key(number), &mut appended.again) {
                rows.push((number, row));
            }
        }
        appended.rows = rows.len() as u64;
        let restarts = progress.left.restarts;
        let said = self.loading.appended(&table(), "1", &SourcePosition::default(), appended, &hidden).unwrap();
        self.trail.push(Entry::Loaded { rows, said });
        if self.loading.table(&table()).is_some_and(|progress| progress.left.restarts != restarts) {
            self.behind = None;
            self.unseen_before = self.brought;
            self.loading.begin(&table());
        }
        self.loading.window.forget(shows);
        self.loading.take_ended();
    }

    /// What is not durable is gone, and so is what was only remembered.
    fn kill(&mut self, keeps: &Index) {
        if self.trail.is_empty() {
            return;
        }
        self.trail.truncate(keeps.index(self.trail.len()) + 1);
        self.begin_again();
    }

    fn begin_again(&mut self) {
        self.brought = 0;
        let mut kept = TableProgress::new(table(), 0).to_trail();
        for entry in &self.trail {
            match entry {
                Entry::Streamed { number, said } => {
                    self.brought = number + 1;
                    kept = said.last().cloned().unwrap_or(kept);
                }
                Entry::Loaded { said, .. } => kept = said.clone(),
            }
        }
        (self.read, self.behind) = (None, None);
        self.loading = Loading::of(&[kept]);
        self.loading.hide_keys(&table(), self.are_keys_hidden);
        self.loading.window.begin();
        self.look();
    }

    /// What whoever reads the trail has at its end; notes a row that goes back.
    fn consumer(&mut self) -> BTreeMap<u8, Row> {
        let mut rows: BTreeMap<u8, Row> = BTreeMap::new();
        let mut last: BTreeMap<u8, u32> = BTreeMap::new();
        let mut emptied = 0;
        for entry in &self.trail {
            match entry {
                Entry::Streamed { number, .. } => {
                    for change in &self.log[*number].changes {
                        match change {
                            Change::Put { from, to, row, sends_large } => {
                                let before = rows.remove(&from.unwrap_or(*to));
                                let large = if *sends_large { row.large } else { before.map_or(0, |row| row.large) };
                                rows.insert(*to, Row { version: row.version, large });
                                last.extend(from.iter().chain([to]).map(|key| (*key, row.version)));
                            }
                            Change::Delete { key, version } => {
                                rows.remove(key);
                                last.insert(*key, *version);
                            }
                            Change::Truncate { version } => {
                                rows.clear();
                                emptied = *version;
                            }
                        }
                    }
                }
                Entry::Loaded { rows: loaded, .. } => {
                    for (key, row) in loaded {
                        let newest = last.get(key).copied().unwrap_or_default().max(emptied);
                        if row.version < newest {
                            self.wrong = Some(format!("row {key} goes back from {newest} to {}", row.version));
                        }
                        rows.insert(*key, *row);
                    }
                }
            }
        }
        rows
    }

    fn run(&mut self, script: &[Step]) {
        for step in script {
            match step {
                Step::Commit(ops) => self.commit(ops),
                Step::Show(which) => {
                    let hidden: Vec<usize> =
                        (0..self.log.len()).filter(|number| !self.visible.contains(number)).collect();
                    if !hidden.is_empty() {
                        self.visible.insert(hidden[which.index(hidden.len())]);
                    }
                }
                Step::Bring(number) => (0..*number).for_each(|_| self.bring()),
                Step::Read => self.read(),
                Step::Append => self.append(),
                Step::Kill(keeps) => self.kill(keeps),
            }
        }
        // All is seen, all is brought, and the load comes to its end.
        self.visible = (0..self.log.len()).collect();
        (self.brought..self.log.len()).for_each(|_| self.bring());
        for _ in 0..100 {
            self.read();
            self.append();
        }
        if self.loading.is_active() {
            self.wrong = Some("the load does not end".into());
        }
        let rows = self.consumer();
        if rows != self.now && self.wrong.is_none() {
            self.wrong = Some(format!("{rows:?} in place of {:?}", self.now));
        }
    }
}

fn apply(rows: &mut BTreeMap<u8, Row>, change: &Change) {
    match change {
        Change::Put { from, to, row, .. } => {
            rows.retain(|key, _| Some(*key) != *from);
            rows.insert(*to, *row);
        }
        Change::Delete { key, .. } => rows.retain(|other, _| other != key),
        Change::Truncate { .. } => rows.clear(),
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let key = 0..KEYS + 2;
    let op = prop_oneof![
        3 => key.clone().prop_map(Op::Insert),
        5 => (key.clone(), any::<bool>()).prop_map(|(key, large)| Op::Update(key, large)),
        4 => (key.clone(), key.clone(), any::<bool>()).prop_map(|(from, to, large)| Op::Move(from, to, large)),
        3 => key.prop_map(Op::Delete),
        1 => Just(Op::Truncate),
    ];
    prop_oneof![
        6 => proptest::collection::vec(op, 1..3).prop_map(Step::Commit),
        5 => any::<Index>().prop_map(Step::Show),
        4 => (1..4_u8).prop_map(Step::Bring),
        3 => Just(Step::Read),
        3 => Just(Step::Append),
        1 => any::<Index>().prop_map(Step::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(4_000), ..ProptestConfig::default() })]

    #[test]
    fn a_table_that_is_loaded_while_it_changes_is_the_sources_and_no_row_goes_back(
        script in proptest::collection::vec(any_step(), 0..60), are_keys_hidden: bool,
    ) {
        let mut world = World { are_keys_hidden, ..World::new(false) };
        world.loading.hide_keys(&table(), are_keys_hidden);
        world.run(&script);
        prop_assert_eq!(&world.wrong, &None);
    }
}

#[test]
fn a_load_that_compares_places_in_the_log_takes_rows_back() {
    // Row 0 is changed, and streamed, before anybody sees it.
    let script = [Step::Commit(vec![Op::Update(0, true)]), Step::Bring(1), Step::Read, Step::Append]
        .into_iter()
        .collect::<Vec<_>>();
    let mut world = World::new(true);
    world.run(&script);
    assert_eq!(world.wrong.as_deref(), Some("row 0 goes back from 2 to 1"));
    let mut world = World::new(false);
    world.run(&script);
    assert_eq!(world.wrong, None);
}

/// The only one.
fn first() -> Index {
    any::<Index>().new_tree(&mut proptest::test_runner::TestRunner::deterministic()).unwrap().current()
}

#[test]
fn a_row_that_moves_to_where_nothing_is_read_any_more_gets_its_large_value() {
    let script = [
        Step::Commit(vec![Op::Delete(0)]),
        Step::Show(first()),
        Step::Bring(1),
        Step::Read,
        Step::Append,
        Step::Commit(vec![Op::Move(5, 0, false)]),
        Step::Show(first()),
        Step::Bring(1),
    ];
    let mut world = World::new(false);
    world.run(&script);
    assert_eq!(world.wrong, None);
    assert!(world.trail.iter().any(|entry| matches!(entry, Entry::Streamed { said, .. } if !said.is_empty())));
}

#[test]
fn a_row_that_moves_before_anything_is_read_and_is_not_seen_yet_gets_its_large_value() {
    let script = [
        Step::Commit(vec![Op::Delete(0)]),
        Step::Show(first()),
        Step::Bring(1),
        // Streamed, and in no snapshot of the first chunk.
        Step::Commit(vec![Op::Move(5, 0, false)]),
        Step::Bring(1),
        Step::Read,
        Step::Append,
        Step::Show(first()),
    ];
    for are_keys_hidden in [false, true] {
        let mut world = World { are_keys_hidden, ..World::new(false) };
        world.loading.hide_keys(&table(), are_keys_hidden);
        world.run(&script);
        assert_eq!(world.wrong, None, "{are_keys_hidden}");
    }
}

#[test]
fn a_key_that_is_hidden_from_now_on_is_kept_nowhere() {
    let mut progress = TableProgress::new(table(), 0);
    progress.left.behind = Some(key(3));
    progress.left.again.insert(key(4));
    let mut loading = Loading::of(&[progress.to_trail()]);
    loading.hide_keys(&table(), true);
    loading.hide_keys(&table(), true);
    let left = &loading.table(&table()).unwrap().left;
    assert_eq!((left.behind.is_some(), left.again.len(), left.restarts), (false, 0, 1));
    let said = loading.commit("1", &1);
    assert_eq!(said, vec![loading.table(&table()).unwrap().to_trail()]);
    assert_eq!(loading.commit("2", &2), Vec::new(), "it is said once");
    // Of a table that is ordered later it was said before.
    let mut world = World::new(false);
    world.loading.hide_keys(&table(), true);
    world.loading.queue(table(), 1, false);
    world.loading.begin(&table());
    world.commit(&[Op::Delete(0), Op::Move(5, 0, false)]);
    world.bring();
    let left = &world.loading.table(&table()).unwrap().left;
    assert_eq!((left.again.len(), left.restarts), (0, 1));
}

#[test]
fn a_row_that_was_not_there_to_be_read_again_is_looked_for_until_the_chunk_shows_who_moved_it() {
    let script = [
        Step::Commit(vec![Op::Move(2, 6, false)]),
        Step::Show(first()),
        Step::Commit(vec![Op::Move(3, 2, false)]),
        // Chunks that do not show it, up to the last one.
        Step::Read,
        Step::Bring(2),
        Step::Append,
        Step::Read,
        Step::Append,
        Step::Read,
        Step::Append,
        // And one that reads the row by its key.
        Step::Read,
        Step::Append,
    ];
    let mut world = World::new(false);
    world.run(&script);
    assert_eq!(world.wrong, None);
}
