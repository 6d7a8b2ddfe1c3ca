//! What a client hears of one session in whichever framing: its messages unframed, and how the session ended.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::watch;

use trailcast::catalog::stream::StreamConfig;
use trailcast::codec::json::{DatabaseInfo, MachineInfo, SourceInfo, StreamMetadata};
use trailcast::codec::token;
use trailcast::delivery::budget::Budget;
use trailcast::delivery::contract::Contract;
use trailcast::delivery::end::End;
use trailcast::delivery::fanout::Fanout;
use trailcast::delivery::framing::{self, Framing};
use trailcast::delivery::negotiated::Negotiated;
use trailcast::delivery::notices::Notices;
use trailcast::delivery::progress::Progress;
use trailcast::delivery::rules::Rules;
use trailcast::delivery::session::{Delivery, Session};
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
    /// What the framing itself said of the position: how many records had come then, and the position.
    pub positions: Vec<(usize, Position)>,
    /// Whether schemas were said before records.
    pub schemas: bool,
    pub end: End,
}

/// A message without its framing.
struct Message<'b> {
    text: &'b str,
    /// The position that its framing names.
    id: Option<&'b str>,
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
pub async fn session(trail: &Trail, config: &StreamConfig, after: Option<Position>, negotiated: &Negotiated) -> Heard {
    let begin = after.map_or(Begin::Earliest, Begin::After);
    let reader = trail.read(begin).await.unwrap();
    let rules = Rules::compile(config).unwrap();
    let contract = Contract::new(&stream(), trail.epoch(), config, rules, metadata(), negotiated.clone());
    let (ending, ended) = watch::channel(None);
    let fanout = Fanout::new(Arc::new(contract), trail.clone(), clock(), Budget::new(1 << 30), Arc::default());
    let progress = Arc::new(Progress::default());
    let mut session =
        Session::new(reader, after.as_ref(), fanout, Notices::configured(config), clock(), ended, progress);
    let (mut texts, mut positions) = (Vec::new(), Vec::new());
    let mut heartbeats = 0;
    loop {
        // Time stands still but for this: an hour passes at once when nothing else can happen.
        match tokio::time::timeout(Duration::from_secs(3_000), session.next()).await {
            Ok(Delivery::Messages(messages)) => {
                for message in messages.iter().flat_map(|bytes| unframed(negotiated.framing, bytes)) {
                    let records = records(message.text, negotiated.envelope.is_single(), config);
                    heartbeats += records.iter().filter(|text| text.contains("\"HEARTBEAT\"")).count();
                    texts.extend(records);
                    let id = message.id.map(|id| token::decode(id).unwrap().position);
                    positions.extend(id.map(|position| (texts.len(), position)));
                }
            }
            Ok(Delivery::End(end)) => {
                // What would be said if the server stopped instead.
                let last = session.farewell(1_234);
                let last = last.iter().flat_map(|bytes| unframed(negotiated.framing, bytes));
                texts.extend(last.flat_map(|message| records(message.text, negotiated.envelope.is_single(), config)));
                let schemas = config.json.schema_records && negotiated.framing != Framing::Line;
                return Heard { texts, positions, schemas, end };
            }
            Err(_) => heartbeats = HEARTBEATS,
        }
        if heartbeats >= HEARTBEATS {
            ending.send_replace(Some(End::Reconfigured));
        }
    }
}

/// The messages in what a session gives at once.
fn unframed(framing: Framing, bytes: &[u8]) -> Vec<Message<'_>> {
    match framing {
        Framing::WebSocket => frames(bytes),
        Framing::EventStream => std::str::from_utf8(bytes).unwrap().split_inclusive("\n\n").map(event).collect(),
        Framing::Line => bytes.split_inclusive(|byte| *byte == b'\n').map(line).collect(),
    }
}

fn frames(mut bytes: &[u8]) -> Vec<Message<'_>> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        assert_eq!(bytes[0], 0x81, "one whole text frame");
        let (header, length) = match bytes[1] {
            126 => (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]]))),
            127 => (10, u64::from_be_bytes(bytes[2..10].try_into().unwrap()) as usize),
            short => (2, usize::from(short)),
        };
        let (frame, rest) = bytes.split_at(header + length);
        messages.push(Message { text: std::str::from_utf8(&frame[header..]).unwrap(), id: None });
        bytes = rest;
    }
    messages
}

fn event(event: &str) -> Message<'_> {
    let fields = event.strip_suffix("\n\n").unwrap().strip_prefix("data: ").unwrap();
    let (text, id) = fields.split_once("\nid: ").map_or((fields, None), |(text, id)| (text, Some(id)));
    Message { text, id }
}

fn line(line: &[u8]) -> Message<'_> {
    let (id, text) = framing::line(line.strip_suffix(b"\n").unwrap());
    Message { text: std::str::from_utf8(text).unwrap(), id }
}

/// A message's records; checks the size.
fn records(text: &str, single: bool, config: &StreamConfig) -> Vec<String> {
    assert!(!text.contains(['\u{2028}', '\u{2029}', '\n', '\r']), "{text}");
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
