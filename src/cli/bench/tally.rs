//! What one subscriber does with the messages it reads: count records, check every one, or note when they came.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::arrivals::Arrivals;
use super::frames::Sink;
use super::marker::MarkerCount;
use super::positions::Positions;
use crate::client::{Record, RecordKind, RecordReader};
use crate::codec::json_text::quoted;
use crate::codec::token;
use crate::limits;

/// What a subscriber has got so far, looked at while it reads.
#[derive(Debug, Default)]
pub(super) struct Progress {
    records: AtomicU64,
    bytes: AtomicU64,
    messages: AtomicU64,
}

impl Progress {
    pub(super) fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }
}

/// How records are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counting {
    /// By their marker, each of them.
    Each,
    /// By their marker in one message of so many; the others by their bytes.
    Sampled(u64),
    /// Every record is read as JSON: its marker may be a column's name.
    Read,
    /// The same, and its position must be greater than the one before.
    Verify,
}

#[derive(Debug)]
enum Method {
    Markers(MarkerCount, u64),
    Read(Read),
    Arrivals(Arrivals),
}

/// One subscriber's count.
#[derive(Debug)]
pub(super) struct Tally {
    progress: Arc<Progress>,
    method: Method,
    messages: u64,
    bytes: u64,
    counted_bytes: u64,
    counted: u64,
    /// When the bytes at hand were read.
    pub(super) read_at: Instant,
}

impl Tally {
    /// Counts the records of one connection to a stream that has its positions there.
    pub(super) fn new(counting: Counting, positions: &Positions, progress: Arc<Progress>) -> Self {
        let markers = |every| Method::Markers(MarkerCount::of(&quoted(&positions.member)), every);
        let method = match counting {
            Counting::Each => markers(1),
            Counting::Sampled(every) => markers(every),
            Counting::Read => Method::Read(Read::new(&positions.stream, false)),
            Counting::Verify => Method::Read(Read::new(&positions.stream, true)),
        };
        Self::with(method, progress)
    }

    pub(super) fn of_arrivals(arrivals: Arrivals, progress: Arc<Progress>) -> Self {
        Self::with(Method::Arrivals(arrivals), progress)
    }

    fn with(method: Method, progress: Arc<Progress>) -> Self {
        let read_at = Instant::now();
        Self { progress, method, messages: 0, bytes: 0, counted_bytes: 0, counted: 0, read_at }
    }

    /// Shows what was read to those who look.
    pub(super) fn publish(&self) {
        self.progress.records.store(self.records(), Ordering::Relaxed);
        self.progress.bytes.store(self.bytes, Ordering::Relaxed);
        self.progress.messages.store(self.messages, Ordering::Relaxed);
    }

    /// Records so far; an estimate while sampling.
    pub(super) fn records(&self) -> u64 {
        if self.counted_bytes == self.bytes || self.counted_bytes == 0 {
            return self.counted;
        }
        (self.counted as f64 * (self.bytes as f64 / self.counted_bytes as f64)).round() as u64
    }

    /// Whether that many have come; an estimate is taken for complete a hundredth before.
    pub(super) fn has(&self, wanted: u64) -> bool {
        let estimates = matches!(self.method, Method::Markers(_, every) if every > 1);
        self.records() >= if estimates { wanted - wanted / 100 } else { wanted }
    }

    /// What was wrong with a record.
    pub(super) fn complaint(&mut self) -> Option<String> {
        match &mut self.method {
            Method::Read(read) => read.complaint.take(),
            Method::Markers(..) | Method::Arrivals(_) => None,
        }
    }

    /// The times of arrival, when those were asked for.
    pub(super) fn into_arrivals(self) -> Option<Arrivals> {
        if let Method::Arrivals(arrivals) = self.method { Some(arrivals) } else { None }
    }
}

impl Sink for Tally {
    fn data(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        match &mut self.method {
            // The first messages are all counted: metadata stands in them, and a short run may have no more.
            Method::Markers(_, every) if self.messages >= *every && !self.messages.is_multiple_of(*every) => return,
            Method::Markers(markers, _) => self.counted += markers.count(bytes),
            Method::Read(read) => read.take(bytes),
            Method::Arrivals(arrivals) => arrivals.take(bytes),
        }
        self.counted_bytes += bytes.len() as u64;
    }

    fn message(&mut self) {
        match &mut self.method {
            Method::Markers(markers, _) => markers.restart(),
            Method::Read(read) => self.counted += read.message(),
            Method::Arrivals(arrivals) => self.counted += arrivals.message(self.read_at),
        }
        self.messages += 1;
    }
}

/// Reads every record.
#[derive(Debug)]
struct Read {
    reader: RecordReader,
    message: Vec<u8>,
    /// Whether positions are looked at.
    verifies: bool,
    last: Option<(u64, u32)>,
    complaint: Option<String>,
}

impl Read {
    fn new(stream: &str, verifies: bool) -> Self {
        let reader = RecordReader::new(stream);
        Self { reader, message: Vec::new(), verifies, last: None, complaint: None }
    }

    fn take(&mut self, bytes: &[u8]) {
        if self.message.len() + bytes.len() <= limits::CLIENT_STREAM_MESSAGE_BYTES_MAX {
            self.message.extend_from_slice(bytes);
        } else {
            self.complain("a message is larger than a client takes");
        }
    }

    fn complain(&mut self, what: impl Into<String>) {
        self.complaint.get_or_insert(what.into());
    }

    fn message(&mut self) -> u64 {
        let message = std::mem::take(&mut self.message);
        let mut count = 0;
        let text = std::str::from_utf8(&message).map_err(|error| format!("a message is no text: {error}"));
        match text.and_then(|text| self.reader.read(text)) {
            Ok(records) => records.iter().for_each(|record| count += self.record(record)),
            Err(error) => self.complain(error),
        }
        self.message = message;
        self.message.clear();
        count
    }

    fn record(&mut self, record: &Record<'_>) -> u64 {
        let Some(pos) = record.pos() else { return 0 };
        if !self.verifies {
            return 1;
        }
        let Ok(token) = token::decode(&pos) else {
            self.complain("a position is malformed");
            return 1;
        };
        let order = token.position.order();
        // What only tells a position may repeat that of the record before it.
        let repeats = matches!(record.kind(), RecordKind::Heartbeat | RecordKind::CaughtUp) && self.last == Some(order);
        if self.last.is_some_and(|last| last >= order) && !repeats {
            self.complain("a position does not grow");
        }
        self.last = Some(order);
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::token::ContractHash;
    use crate::record::{Epoch, Position};

    fn message(commits: std::ops::Range<u64>) -> Vec<u8> {
        let record = |commit| {
            let position = Position { epoch: Epoch(1), commit, record: 0, xid_hash: 0 };
            format!("{{\"pos\":\"{}\"}}", token::encode(&position, ContractHash(7)).as_str())
        };
        format!("[{}]", commits.map(record).collect::<Vec<_>>().join(",")).into_bytes()
    }

    fn told(counting: Counting, messages: &[Vec<u8>]) -> (u64, Option<String>) {
        let progress = Arc::new(Progress::default());
        let positions = Positions { stream: "s1".into(), member: "pos".into(), beside_columns: false };
        let mut tally = Tally::new(counting, &positions, progress.clone());
        for message in messages {
            message.chunks(50).for_each(|piece| tally.data(piece));
            tally.message();
        }
        tally.publish();
        assert_eq!(progress.messages(), messages.len() as u64);
        (progress.records(), tally.complaint())
    }

    #[test]
    fn all_ways_of_counting_agree() {
        let messages: Vec<_> = (1..40).map(|at| message(at * 10..at * 10 + 10)).collect();
        for counting in [Counting::Each, Counting::Sampled(16), Counting::Read, Counting::Verify] {
            assert_eq!(told(counting, &messages), (390, None), "{counting:?}");
        }
    }

    #[test]
    fn verifying_sees_what_counting_does_not() {
        let twice = [message(5..7), message(6..8)];
        assert_eq!(told(Counting::Each, &twice).1, None);
        assert_eq!(told(Counting::Verify, &twice).1.unwrap(), "a position does not grow");
        assert!(told(Counting::Verify, &[b"[{\"pos\":\"x\"}]".to_vec()]).1.unwrap().contains("malformed"));
        for bad in [b"[".as_slice(), b"[1,]", b"[{\"a\":01}]", b"\"\xff\"", b"{} {}"] {
            let told = told(Counting::Verify, &[bad.to_vec()]).1.unwrap();
            assert!(told.contains("not understood") || told.contains("no text"), "{bad:?}: {told}");
        }
    }

    #[test]
    fn any_json_is_taken_however_large_its_numbers_and_however_deep() {
        let deep = format!("{}1{}", "[".repeat(1_000), "]".repeat(1_000));
        let pos = String::from_utf8(message(1..2)).unwrap();
        let record = pos.trim_matches(['[', ']', '{', '}']);
        let values = format!("{{{record},\"a\":1e400,\"b\":-123456789012345678901234567890,\"c\":{deep}}}");
        let event = format!(
            "{{\"specversion\":\"1.0\",\"id\":{},\"source\":\"/services/v2/stream/s1\",\"sequence\":\"1\",\"data\":{values}}}",
            &record["\"pos\":".len()..]
        );
        for message in [values.clone(), format!("[{values}]"), format!("[{event}]"), event] {
            assert_eq!(told(Counting::Verify, &[message.clone().into_bytes()]), (1, None), "{message}");
        }
    }
}
