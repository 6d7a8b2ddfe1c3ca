//! Goal: a put is appended once and whole, whatever goes wrong. Method: a real folder on a disk with switches for trouble.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::catalog::Catalog;
use crate::clock::{HandClock, SharedClock};
use crate::codec::image::Cell;
use crate::service::trails::Trails;
use crate::trail::local::disk::{Disk, DiskFile, SystemDisk};
use crate::trail::{Begin, Entry, Fill};

/// The system's disk, whose flushes fail and whose writes stand still on demand.
#[derive(Debug, Default)]
struct Trouble {
    failing: AtomicBool,
    standing_still: AtomicBool,
}

#[derive(Debug, Default, Clone)]
struct TroubledDisk(Arc<Trouble>);

#[derive(Debug)]
struct TroubledFile(Arc<dyn DiskFile>, Arc<Trouble>);

impl Disk for TroubledDisk {
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        SystemDisk.make_folder(path)
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        SystemDisk.list(folder)
    }
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(TroubledFile(SystemDisk.open(path, create)?, self.0.clone())))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove(path)
    }
    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove_folder(path)
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        SystemDisk.sync_folder(folder)
    }
    fn capacity_bytes(&self, folder: &Path) -> Option<u64> {
        SystemDisk.capacity_bytes(folder)
    }
}

impl DiskFile for TroubledFile {
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        while self.1.standing_still.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.0.write_all_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        if self.1.failing.load(Ordering::SeqCst) { Err(io::Error::other("no flush")) } else { self.0.sync() }
    }
    fn cut(&self, length: u64) -> io::Result<()> {
        self.0.cut(length)
    }
}

struct Rig {
    trails: Arc<Trails>,
    puts: Puts,
    trouble: Arc<Trouble>,
    trail: TrailName,
    _home: tempfile::TempDir,
}

impl Rig {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let now = Timestamp::parse("2026-07-13T04:00:00Z").unwrap();
        let clock: SharedClock = Arc::new(HandClock::at(now));
        let disk = TroubledDisk::default();
        let trouble = disk.0.clone();
        let catalog = Catalog::open(home.path()).unwrap();
        let trails = Trails::open(&home.path().join("troubled"), Arc::new(disk), clock.clone(), catalog).unwrap();
        let trails = Arc::new(trails);
        let trail = TrailName::new("t1").unwrap();
        trails.make(Principal::House, &trail, Writer::Puts, None).await.unwrap();
        Self { puts: Puts::new(trails.clone(), clock), trails, trouble, trail, _home: home }
    }

    async fn put(&self, body: &str) -> Result<Position, PutError> {
        let answer = self.puts.put(Principal::House, &self.trail, body.as_bytes()).await?;
        Ok(token::decode(answer.pos.unwrap().as_str()).unwrap().position)
    }

    fn commits(&self) -> u64 {
        self.trails.get(&self.trail).unwrap().served().unwrap().status().last_commit
    }
}

fn insert(xid: Option<&str>, after: &str) -> String {
    let xid = xid.map_or(String::new(), |xid| format!("\"xid\":\"{xid}\","));
    format!("{{{xid}\"operations\":[{{\"op\":\"INSERT\",\"table\":\"t\",\"after\":{{{after}}}}}]}}\n")
}

#[tokio::test]
async fn a_put_whose_flush_failed_is_appended_when_it_is_sent_again() {
    let rig = Rig::new().await;
    rig.put(&insert(Some("a"), "\"id\":1")).await.unwrap();
    rig.trouble.failing.store(true, Ordering::SeqCst);
    assert!(rig.put(&insert(Some("b"), "\"id\":2")).await.is_err());
    rig.trouble.failing.store(false, Ordering::SeqCst);
    assert_eq!(rig.put(&insert(Some("b"), "\"id\":2")).await.unwrap().commit, 2);
    assert_eq!(rig.put(&insert(Some("a"), "\"id\":1")).await.unwrap().commit, 1);
    assert_eq!(rig.commits(), 2);
}

#[tokio::test]
async fn a_put_whose_caller_goes_away_does_not_spoil_the_next_one() {
    let rig = Rig::new().await;
    let row = format!("{{\"op\":\"INSERT\",\"table\":\"t\",\"after\":{{\"v\":\"{}\"}}}}", "v".repeat(100 << 10));
    let large = format!("{{\"operations\":[{}]}}", vec![row; 200].join(","));
    rig.trouble.standing_still.store(true, Ordering::SeqCst);
    let waiting = tokio::time::timeout(Duration::from_millis(300), rig.put(&large));
    assert!(waiting.await.is_err(), "the queue should be full");
    rig.trouble.standing_still.store(false, Ordering::SeqCst);
    assert_eq!(rig.put(&insert(None, "\"id\":1")).await.unwrap().commit, 1);
    assert_eq!(rig.commits(), 1);
}

#[tokio::test]
async fn an_id_that_somebody_else_could_choose_is_not_taken_for_one_of_ours() {
    let rig = Rig::new().await;
    assert_eq!(rig.put(&insert(None, "\"id\":1")).await.unwrap().commit, 1);
    assert_eq!(rig.put(&insert(Some("put-1"), "\"id\":2")).await.unwrap().commit, 2);
}

#[tokio::test]
async fn a_body_that_the_trail_has_no_room_for_is_refused_whole() {
    let rig = Rig::new().await;
    let columns =
        |from: usize, to: usize| (from..to).map(|number| format!("\"c{number}\":1")).collect::<Vec<_>>().join(",");
    let half = limits::TABLE_COLUMNS_MAX / 2;
    let body = insert(Some("a"), &columns(0, half)) + &insert(Some("b"), &columns(half, 2 * half + 1));
    let Err(PutError::NoRoom(refused)) = rig.put(&body).await else { panic!("it should not fit") };
    let columns_of_all = "table t would have more than 4096 columns; every column that was ever put of a table counts";
    assert_eq!(refused.to_string(), format!("line 2: operations[0].after: {columns_of_all}"));
    assert_eq!(rig.put(&insert(Some("c"), "\"id\":1")).await.unwrap().commit, 1);
    let fits = insert(Some("a"), &columns(0, half)) + &insert(Some("b"), &columns(half, 2 * half - 1));
    assert_eq!(rig.put(&fits).await.unwrap().commit, 3);
}

#[tokio::test]
async fn a_table_too_many_is_named_with_its_line_and_operation() {
    let rig = Rig::new().await;
    let insert = |table: usize| format!("{{\"op\":\"INSERT\",\"table\":\"t{table}\",\"after\":{{\"id\":1}}}}");
    let tables = |from, to| (from..to).map(insert).collect::<Vec<_>>().join(",");
    let max = limits::TRAIL_TABLES_MAX;
    let body = format!("{{\"operations\":[{}]}}\n\n {{\"operations\":[{}]}}", tables(0, max), tables(max - 1, max + 1));
    let Err(PutError::NoRoom(refused)) = rig.put(&body).await else { panic!("it should not fit") };
    let what = format!("the trail holds {max} tables, which is the limit, and t{max} is none of them");
    assert_eq!(refused.to_string(), format!("line 3: operations[1].table: {what}"));
    assert_eq!(rig.commits(), 0);
}

#[tokio::test]
async fn columns_too_many_for_all_tables_together_are_named_before_anything_is_appended() {
    let rig = Rig::new().await;
    let name = |at: usize| format!("{at:0>width$}", width = limits::IDENTIFIER_BYTES_MAX);
    let columns = (0..limits::TABLE_COLUMNS_MAX).map(|at| format!("\"{}\":1", name(at))).collect::<Vec<_>>().join(",");
    let insert = |table: usize| {
        format!("{{\"operations\":[{{\"op\":\"INSERT\",\"table\":\"t{table}\",\"after\":{{{columns}}}}}]}}\n")
    };
    let fitting = limits::TRAIL_SCHEMA_BYTES_MAX / ((limits::IDENTIFIER_BYTES_MAX + 64) * limits::TABLE_COLUMNS_MAX);
    let body = (0..=fitting).map(insert).collect::<String>();
    let Err(PutError::NoRoom(refused)) = rig.put(&body).await else { panic!("it should not fit") };
    let where_and_what = format!("line {}: operations[0].after: the columns of all tables of the trail", fitting + 1);
    assert!(refused.to_string().starts_with(&where_and_what), "{refused}");
    assert_eq!(rig.commits(), 0);
}

#[tokio::test]
async fn a_body_that_ends_with_a_repeated_transaction_waits_for_its_new_ones_too() {
    let rig = Rig::new().await;
    rig.put(&insert(Some("a"), "\"id\":1")).await.unwrap();
    let body = insert(Some("b"), "\"id\":2") + &insert(Some("a"), "\"id\":1");
    rig.trouble.failing.store(true, Ordering::SeqCst);
    assert!(rig.put(&body).await.is_err(), "acknowledged without a flush");
    rig.trouble.failing.store(false, Ordering::SeqCst);
    assert_eq!(rig.put(&body).await.unwrap().commit, 2);
    assert_eq!(rig.commits(), 2);
}

/// More forms than mappings are kept, in turn, while schemas still widen: each row reads back as it was put.
#[tokio::test]
async fn rows_of_more_forms_than_are_remembered_are_written_as_they_were_put() {
    let rig = Rig::new().await;
    let forms = limits::PUT_MAPPINGS_KEPT as u32 + 5;
    let row = |round: u32, form: u32| format!("{{\"k\":{round},\"c{form}\":\"v{round}-{form}\"}}");
    let insert = |round, form| {
        let (table, row) = (form % 3, row(round, form));
        format!("{{\"op\":\"INSERT\",\"table\":\"t{table}\",\"key\":[\"k\"],\"after\":{row}}}")
    };
    let operations: Vec<String> = (0..3).flat_map(|round| (0..forms).map(move |form| insert(round, form))).collect();
    rig.put(&format!("{{\"operations\":[{}]}}", operations.join(","))).await.unwrap();
    let entry = rig.trails.get(&rig.trail).unwrap();
    let mut reader = entry.served().unwrap().read(Begin::Earliest).await.unwrap();
    let mut read = Vec::new();
    while reader.fill().await.unwrap() == Fill::Filled {
        while let Some(entry) = reader.next().unwrap() {
            let Entry::Record(record) = entry else { continue };
            let schema = record.schema.unwrap();
            let cells = record.row().unwrap().after.unwrap();
            let cells = schema.columns.iter().zip(cells.cells().map(Result::unwrap));
            let present = cells.filter_map(|(column, cell)| match cell {
                Cell::Json(json) => Some(format!("\"{}\":{json}", column.name)),
                _ => None,
            });
            read.push(format!("{{{}}}", present.collect::<Vec<_>>().join(",")));
        }
    }
    let put: Vec<String> = (0..3).flat_map(|round| (0..forms).map(move |form| row(round, form))).collect();
    assert_eq!(read, put);
}
