//! A trail of small segments, written before a server opens it: what retention works on without waiting for gigabytes.

use std::path::Path;
use std::sync::Arc;

use trailcast::clock::SystemClock;
use trailcast::codec::image::ImageWriter;
use trailcast::codec::token;
use trailcast::record::{
    Column, JsonKind, Operation, SourcePosition, TableName, Timestamp, TrailName, TransactionHead,
};
use trailcast::trail::local::disk::SystemDisk;
use trailcast::trail::{Row, Trail, TrailOptions, Writer};

/// Makes a trail for puts in `folder`, with `transactions` of one row `{id, text}` each, the text `width` bytes long, in
/// segments of 64 KiB. Returns the position of the first.
pub fn make(folder: &Path, transactions: u64, width: usize) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let name = TrailName::new(folder.file_name().unwrap().to_str().unwrap()).unwrap();
        let options = TrailOptions { segment_bytes: 64 << 10 };
        let (disk, clock) = (Arc::new(SystemDisk), Arc::new(SystemClock));
        let trail = Trail::create(folder, name, Writer::Puts, &options, disk, clock).unwrap();
        let mut appender = trail.appender().unwrap();
        let column =
            |name: &str, kind, key| Column { name: name.into(), kind, sql_type: String::new(), nullable: false, key };
        let columns = [column("id", JsonKind::Number, true), column("text", JsonKind::String, false)];
        let text = format!("\"{}\"", "x".repeat(width));
        let mut first = None;
        for id in 1..=transactions {
            let commit_ts = Timestamp::from_micros(id as i64 * 1_000_000);
            let head = TransactionHead { xid: format!("x{id}"), commit_ts, source: SourcePosition::default() };
            appender.begin(&head).unwrap();
            let schema = appender.shape(&TableName::parse("t.rows").unwrap(), &columns).unwrap();
            let mut image = Vec::new();
            let mut writer = ImageWriter::new(&mut image);
            writer.json(id.to_string().as_bytes());
            writer.json(text.as_bytes());
            let row = Row { operation: Operation::Insert, before: None, after: Some(&image), tokens: None };
            appender.row(&schema, row).unwrap();
            let position = appender.commit().unwrap();
            first.get_or_insert(token::encode_trail(&position).to_string());
            appender.hand_over().await.unwrap();
        }
        appender.close().await.unwrap();
        first.unwrap()
    })
}
