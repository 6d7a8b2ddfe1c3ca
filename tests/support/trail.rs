//! Trails that a test writes itself: in segments as small as it likes, with gaps as a capture leaves them.

use std::path::Path;
use std::sync::Arc;

use trailcast::clock::SystemClock;
use trailcast::codec::image::ImageWriter;
use trailcast::codec::token;
use trailcast::record::{
    Column, JsonKind, Operation, Position, SourcePosition, TableName, Timestamp, TrailName, TransactionHead,
};
use trailcast::trail::local::disk::SystemDisk;
use trailcast::trail::{Appender, Missing, OpenError, Row, Trail, TrailOptions, Writer};

/// The default size of segments.
fn segment_bytes() -> u64 {
    TrailOptions::default().segment_bytes
}

/// Makes a trail for puts in `folder`, named as that is, has it written by `write`, and closes it.
pub fn make<T>(folder: &Path, segment_bytes: u64, write: impl AsyncFnOnce(&mut Appender) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let name = TrailName::new(folder.file_name().unwrap().to_str().unwrap()).unwrap();
        let (options, disk, clock) =
            (TrailOptions { segment_bytes, ..TrailOptions::default() }, Arc::new(SystemDisk), Arc::new(SystemClock));
        let trail = Trail::create(folder, name, Writer::Puts, &options, disk, clock).unwrap();
        let mut appender = trail.appender().unwrap();
        let written = write(&mut appender).await;
        appender.close().await.unwrap();
        written
    })
}

/// Takes the writing end; the one before may still be letting go of it.
pub async fn appender(trail: &Trail) -> Appender {
    loop {
        match trail.appender() {
            Ok(appender) => return appender,
            Err(OpenError::WriterTaken { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

fn table_name(name: &str) -> TableName {
    TableName::parse(name).unwrap()
}

fn column(name: &str, kind: JsonKind, key: bool) -> Column {
    Column { name: name.into(), kind, sql_type: String::new(), nullable: false, key }
}

/// Appends a transaction of one row, whose key is `id`; `text` is a second column if there is one.
async fn append(appender: &mut Appender, table: &str, id: u64, text: Option<&str>) -> Position {
    let commit_ts = Timestamp::from_micros(id as i64 * 1_000_000);
    appender.begin(&TransactionHead { xid: format!("x{id}"), commit_ts, source: SourcePosition::default() }).unwrap();
    let mut columns = vec![column("id", JsonKind::Number, true)];
    columns.extend(text.map(|_| column("text", JsonKind::String, false)));
    let schema = appender.schema(&table_name(table), &columns).unwrap();
    let mut image = Vec::new();
    let mut writer = ImageWriter::new(&mut image);
    writer.json(id.to_string().as_bytes());
    if let Some(text) = text {
        writer.json(format!("\"{text}\"").as_bytes());
    }
    let row = Row { operation: Operation::Insert, before: None, after: Some(&image), tokens: None };
    appender.row(&schema, row).unwrap();
    let position = appender.commit().unwrap();
    appender.hand_over().await.unwrap();
    position
}

/// Appends a transaction of the row `{id}` and waits until it is durable.
pub async fn row(appender: &mut Appender, table: &str, id: u64) -> Position {
    let position = append(appender, table, id, None).await;
    appender.wait_durable(position.commit).await.unwrap();
    position
}

/// Says that rows of these tables may be missing, and waits until that is durable.
pub async fn gap(appender: &mut Appender, tables: &[&str]) -> Position {
    let tables = tables.iter().map(|name| table_name(name)).collect();
    let position = appender.gap(&Missing { tables, from: "0/15000A0".into(), to: "0/15000F8".into() }).unwrap();
    appender.hand_over().await.unwrap();
    appender.wait_durable(position.commit).await.unwrap();
    position
}

/// Row 1 of `public.items`, row 2 of `public.orders`, a gap of `public.orders`, rows 3 and 4 as the first two.
pub async fn rows_around_a_gap(appender: &mut Appender) {
    row(appender, "public.items", 1).await;
    row(appender, "public.orders", 2).await;
    gap(appender, &["public.orders"]).await;
    row(appender, "public.items", 3).await;
    row(appender, "public.orders", 4).await;
}

/// Makes a trail of [`rows_around_a_gap`].
pub fn make_with_a_gap(folder: &Path) {
    make(folder, segment_bytes(), rows_around_a_gap);
}

/// Makes a trail of so many rows `{id, text}` of the table `t.rows`, each a transaction, the text `width` bytes long, in
/// segments of 64 KiB: what retention works on without waiting for gigabytes. The position of the first.
pub fn make_small(folder: &Path, transactions: u64, width: usize) -> String {
    let text = "x".repeat(width);
    make(folder, 64 << 10, async |appender| {
        let first = append(appender, "t.rows", 1, Some(&text)).await;
        for id in 2..=transactions {
            append(appender, "t.rows", id, Some(&text)).await;
        }
        token::encode_trail(&first).to_string()
    })
}
