//! What the trail tests append, and what they read back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use trailcast::clock::{HandClock, SharedClock};
use trailcast::codec::image::{Cell, ImageWriter};
use trailcast::record::{
    Column, JsonKind, Operation, SourcePosition, TableName, Timestamp, TrailName, TransactionHead,
};
use trailcast::trail::local::disk::Disk;
use trailcast::trail::{Appender, Begin, Entry, Fill, OpenError, Reader, Row, SeekError, Trail, TrailOptions, Writer};

pub fn folder() -> PathBuf {
    PathBuf::from("/trails/t1")
}

pub fn clock() -> SharedClock {
    Arc::new(HandClock::at(Timestamp::parse("2026-07-13T04:00:00Z").unwrap()))
}

pub fn create(disk: Arc<dyn Disk>, folder: &Path, segment_bytes: u64) -> Trail {
    let name = TrailName::new("t1").unwrap();
    Trail::create(folder, name, Writer::Puts, &TrailOptions { segment_bytes, ..TrailOptions::default() }, disk, clock())
        .unwrap()
}

pub fn open(disk: Arc<dyn Disk>, folder: &Path) -> Result<Trail, OpenError> {
    Trail::open(folder, disk, clock())
}

pub use crate::support::trail::appender;

/// Transaction number `number`: `rows` rows of `width` bytes, of a table whose shape changes now and then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    pub number: u64,
    pub rows: u32,
    pub width: usize,
}

impl Transaction {
    pub fn xid(&self) -> String {
        format!("x{}", self.number)
    }

    pub fn time(&self) -> Timestamp {
        Timestamp::from_micros(1_000_000 * self.number as i64)
    }

    pub fn values(&self) -> Vec<String> {
        (0..self.rows).map(|row| format!("\"{}-{row}-{}\"", self.number, "v".repeat(self.width))).collect()
    }

    pub async fn write(&self, appender: &mut Appender, piecemeal: bool) {
        let head = TransactionHead {
            xid: self.xid(),
            commit_ts: self.time(),
            source: SourcePosition(format!("0/{:X}", self.number)),
        };
        appender.begin(&head).unwrap();
        let table = TableName::parse(&format!("shop.t{}", self.number % 3)).unwrap();
        let columns = vec![Column {
            name: format!("c{}", self.number / 7),
            kind: JsonKind::String,
            sql_type: String::new(),
            nullable: false,
            key: true,
        }];
        let schema = appender.schema(&table, &columns).unwrap();
        for value in self.values() {
            let mut image = Vec::new();
            ImageWriter::new(&mut image).json(value.as_bytes());
            let row = Row { operation: Operation::Insert, before: None, after: Some(&image), tokens: None };
            appender.row(&schema, row).unwrap();
            if piecemeal {
                appender.hand_over().await.unwrap();
            }
        }
    }
}

/// What a reader gave: transaction id, shape's column, values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub commit: u64,
    pub xid: String,
    pub column: String,
    pub values: Vec<String>,
}

pub fn expected(commit: u64, transaction: &Transaction) -> Seen {
    Seen {
        commit,
        xid: transaction.xid(),
        column: format!("c{}", transaction.number / 7),
        values: transaction.values(),
    }
}

/// Everything durable, from there on.
pub async fn read_all(trail: &Trail, begin: Begin) -> Result<Vec<Seen>, SeekError> {
    drain(&mut trail.read(begin).await?).await
}

pub async fn drain(reader: &mut Reader) -> Result<Vec<Seen>, SeekError> {
    let mut seen: Vec<Seen> = Vec::new();
    loop {
        if reader.fill().await? == Fill::AtMark {
            return Ok(seen);
        }
        match reader.next()? {
            None | Some(Entry::Begin(_) | Entry::Commit(_) | Entry::Gap(_)) => {}
            Some(Entry::Record(record)) => {
                let schema = record.schema.unwrap();
                let row = record.row().unwrap();
                let value = match row.after.unwrap().cells().next().unwrap().unwrap() {
                    Cell::Json(text) => text.to_owned(),
                    other => panic!("{other:?}"),
                };
                let (commit, xid) = (record.transaction.commit, record.transaction.head.xid.clone());
                if seen.last().is_none_or(|last| last.commit != commit) {
                    seen.push(Seen { commit, xid, column: schema.columns[0].name.clone(), values: Vec::new() });
                }
                seen.last_mut().unwrap().values.push(value);
            }
        }
    }
}
