//! What a client hears of one session: its messages unframed, and how the session ended.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::watch;

use trailcast::catalog::stream::{Framing, StreamConfig};
use trailcast::codec::json::{DatabaseInfo, MachineInfo, SourceInfo, StreamMetadata};
use trailcast::delivery::budget::Budget;
use trailcast::delivery::contract::Contract;
use trailcast::delivery::fanout::Fanout;
use trailcast::delivery::feed::{Delivery, DeliveryEnd, Progress, SessionFeed};
use trailcast::delivery::rules::Rules;
use trailcast::record::{Position, ResourceName};
use trailcast::trail::{Begin, Trail};

use super::any_trail::clock;

/// Heartbeats to wait for before a session is ended.
const HEARTBEATS: usize = 2;

/// One session's records, in order.
#[derive(Debug)]
pub struct Heard {
    /// Each record's exact text: what stands in the array, or the message where it is one record.
    pub texts: Vec<String>,
    pub end: DeliveryEnd,
}

/// The name of every stream here.
pub fn stream() -> ResourceName {
    ResourceName::new("s-1").unwrap()
}

fn metadata() -> StreamMetadata {
    StreamMetadata {
        database: DatabaseInfo::default(),
        machine: MachineInfo { node: "host-7".into(), ..MachineInfo::default() },
        source: SourceInfo {
            file: "t1".into(),
            uri: "trail://host-7/t1".into(),
            uri_history: vec!["trail://host-6/t1".into()],
            creation_time: "2026-07-13T04:00:00Z".into(),
            compatibility: "1".into(),
        },
    }
}

/// Runs a session until it has heard everything, and two heartbeats where there are any; then the stream ends.
pub async fn session(trail: &Trail, config: &StreamConfig, after: Option<Position>, event_framing: bool) -> Heard {
    let begin = after.map_or(Begin::Earliest, Begin::After);
    let reader = trail.read(begin).await.unwrap();
    let rules = Rules::compile(config).unwrap();
    let contract = Contract::new(&stream(), trail.epoch(), config, rules, metadata(), event_framing);
    let (ending, ended) = watch::channel(None);
    let fanout = Fanout::new(Arc::new(contract), trail.clone(), clock(), Budget::new(1 << 30), Arc::default());
    let progress = Arc::new(Progress::default());
    let mut feed = SessionFeed::new(reader, after.as_ref(), fanout, clock(), ended, progress);
    let single = event_framing || config.framing == Framing::Record;
    let mut texts = Vec::new();
    let mut heartbeats = 0;
    loop {
        // Time stands still but for this: an hour passes at once when nothing else can happen.
        match tokio::time::timeout(Duration::from_secs(3_000), feed.next()).await {
            Ok(Delivery::Messages(messages)) => {
                for message in messages.iter().flat_map(|piece| frames(piece)) {
                    let records = unframed(message, single, config);
                    heartbeats += records.iter().filter(|text| text.contains("\"HEARTBEAT\"")).count();
                    texts.extend(records);
                }
            }
            Ok(Delivery::End(end)) => return Heard { texts, end },
            Err(_) => heartbeats = HEARTBEATS,
        }
        if heartbeats >= HEARTBEATS {
            ending.send_replace(Some(DeliveryEnd::Reconfigured));
        }
    }
}

/// The whole frames of a piece.
fn frames(mut piece: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while !piece.is_empty() {
        let (header, length) = match piece[1] {
            126 => (4, usize::from(u16::from_be_bytes([piece[2], piece[3]]))),
            127 => (10, u64::from_be_bytes(piece[2..10].try_into().unwrap()) as usize),
            short => (2, usize::from(short)),
        };
        let (frame, rest) = piece.split_at(header + length);
        frames.push(frame);
        piece = rest;
    }
    frames
}

/// A message's records; checks the frame and the size.
fn unframed(message: &[u8], single: bool, config: &StreamConfig) -> Vec<String> {
    assert_eq!(message[0], 0x81, "one whole text frame");
    let (length, payload) = match message[1] {
        126 => (usize::from(u16::from_be_bytes([message[2], message[3]])), &message[4..]),
        127 => (u64::from_be_bytes(message[2..10].try_into().unwrap()) as usize, &message[10..]),
        short => (usize::from(short), &message[2..]),
    };
    assert_eq!(length, payload.len());
    let text = std::str::from_utf8(payload).unwrap();
    assert!(!text.contains(['\u{2028}', '\u{2029}', '\n']), "{text}");
    if single {
        return vec![text.to_owned()];
    }
    let records: Vec<Box<RawValue>> = serde_json::from_str(text).unwrap();
    assert!(!records.is_empty(), "an empty message");
    assert!(records.len() == 1 || text.len() <= (config.buffer_bytes as usize).min(1 << 20), "{} bytes", text.len());
    records.into_iter().map(|record| record.get().to_owned()).collect()
}

/// A record's text as JSON.
pub fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
