//! A trail in which a capture has left gaps that name tables: rows `{id}` of any table, and gaps between them.

use std::path::Path;
use std::sync::Arc;

use trailcast::clock::SystemClock;
use trailcast::codec::image::ImageWriter;
use trailcast::record::{
    Column, JsonKind, Operation, Position, SourcePosition, TableName, Timestamp, TrailName, TransactionHead,
};
use trailcast::trail::local::disk::SystemDisk;
use trailcast::trail::{Appender, Missing, Row, Trail, TrailOptions, Writer};

fn tables(names: &[&str]) -> Vec<TableName> {
    names.iter().map(|name| TableName::parse(name).unwrap()).collect()
}

/// Appends a transaction of one row and waits until it is durable.
pub async fn row(appender: &mut Appender, table: &str, id: u64) -> Position {
    let commit_ts = Timestamp::from_micros(id as i64 * 1_000_000);
    appender.begin(&TransactionHead { xid: format!("x{id}"), commit_ts, source: SourcePosition::default() }).unwrap();
    let kind = JsonKind::Number;
    let column = Column { name: "id".into(), kind, sql_type: String::new(), nullable: false, key: true };
    let schema = appender.shape(&tables(&[table])[0], &[column]).unwrap();
    let mut image = Vec::new();
    ImageWriter::new(&mut image).json(id.to_string().as_bytes());
    let row = Row { operation: Operation::Insert, before: None, after: Some(&image), tokens: None };
    appender.row(&schema, row).unwrap();
    let position = appender.commit().unwrap();
    appender.hand_over().await.unwrap();
    appender.wait_durable(position.commit).await.unwrap();
    position
}

/// Says that rows of these tables may be missing, and waits until that is durable.
pub async fn gap(appender: &mut Appender, names: &[&str]) -> Position {
    let missing = Missing { tables: tables(names), from: "0/15000A0".into(), to: "0/15000F8".into() };
    let position = appender.gap(&missing).unwrap();
    appender.hand_over().await.unwrap();
    appender.wait_durable(position.commit).await.unwrap();
    position
}

/// Makes a trail in `folder`: row 1 of `public.items`, row 2 of `public.orders`, a gap of `public.orders`, rows 3 and 4 as
/// the first two.
pub fn make(folder: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let name = TrailName::new(folder.file_name().unwrap().to_str().unwrap()).unwrap();
        let (disk, clock) = (Arc::new(SystemDisk), Arc::new(SystemClock));
        let trail = Trail::create(folder, name, Writer::Puts, &TrailOptions::default(), disk, clock).unwrap();
        let mut appender = trail.appender().unwrap();
        row(&mut appender, "public.items", 1).await;
        row(&mut appender, "public.orders", 2).await;
        gap(&mut appender, &["public.orders"]).await;
        row(&mut appender, "public.items", 3).await;
        row(&mut appender, "public.orders", 4).await;
        appender.close().await.unwrap();
    });
}
