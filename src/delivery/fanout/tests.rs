//! Goal: whatever the order in which sessions come, take, stand still and go, each gets exactly the records behind its
//! start, once and in order. Method: random steps over a real trail of small segments, with blocks, shelves and a budget
//! so small that all of them are in each other's way, in each framing, of all partitions or of some.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;
use tokio::sync::watch;

use super::*;
use crate::catalog::stream::StreamConfig;
use crate::clock::SystemClock;
use crate::codec::image::ImageWriter;
use crate::codec::json::{DatabaseInfo, MachineInfo, SourceInfo, StreamMetadata};
use crate::codec::token;
use crate::delivery::framing::Framing;
use crate::delivery::framing::reading::texts;
use crate::delivery::negotiated::{Envelope, Negotiated, Partitions};
use crate::delivery::notices::Notices;
use crate::delivery::progress::Progress;
use crate::delivery::rules::Rules;
use crate::delivery::session::{Delivery, Session};
use crate::record::{
    Column, JsonKind, Operation, Position, ResourceName, SourcePosition, TableName, Timestamp, TrailName,
    TransactionHead,
};
use crate::trail::local::disk::SystemDisk;
use crate::trail::{Appender, Begin, Missing, RowParts, TrailOptions, Writer};

const PATIENCE: Duration = Duration::from_secs(10);
/// Partitions of every trail here; a row's width decides which one it is in.
const PARTITIONS: u16 = 3;

/// What a session must hear of one record: number, its place in its transaction, `trans_ind`.
type Heard = (u64, String, String);

/// A step of the world.
#[derive(Debug, Clone)]
enum Step {
    /// Transactions, each of rows that pass the rules or not, of that width.
    Append(Vec<Vec<(bool, usize)>>),
    /// A session that begins somewhere.
    Open(Start),
    /// A session asks for the next messages, and stops asking after that many milliseconds.
    Take(usize, u64),
    /// A session's client takes what it was given.
    Drain(usize),
    /// A session ends.
    Leave(usize),
}

#[derive(Debug, Clone)]
enum Start {
    Earliest,
    Now,
    /// Behind one of the records that were sent so far, by its position in the stream.
    After(usize),
    /// Behind one of all records so far, by its position in the trail: whoever comes with one has been sent nothing by
    /// this stream, so that its transaction begins anew for it.
    Behind(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let rows = proptest::collection::vec((any::<bool>(), 1_usize..1_500), 1..7);
    let step = prop_oneof![
        4 => proptest::collection::vec(rows, 1..4).prop_map(Step::Append),
        2 => prop_oneof![
            1 => Just(Start::Earliest),
            1 => Just(Start::Now),
            3 => any::<usize>().prop_map(Start::After),
            3 => any::<usize>().prop_map(Start::Behind),
        ].prop_map(Step::Open),
        8 => (any::<usize>(), 0_u64..3).prop_map(|(session, wait)| Step::Take(session, wait)),
        4 => any::<usize>().prop_map(Step::Drain),
        1 => any::<usize>().prop_map(Step::Leave),
    ];
    proptest::collection::vec(step, 1..60)
}

/// One session and its client.
struct Client {
    session: Session,
    framing: Framing,
    /// Given and not taken: it holds the budget.
    outbox: Vec<Bytes>,
    heard: Vec<Heard>,
    /// How many of the records that pass lie before its start.
    skips: usize,
    /// The transaction around its start, if it begins anew there.
    anew: Option<u64>,
}

impl Client {
    fn drain(&mut self) {
        for bytes in std::mem::take(&mut self.outbox) {
            hear(self.framing, &bytes, &mut self.heard);
        }
    }

    /// Asks for more, at most that long.
    async fn take(&mut self, wait: Duration) -> bool {
        if !self.outbox.is_empty() {
            return true;
        }
        match tokio::time::timeout(wait, self.session.next()).await {
            Ok(Delivery::Messages(messages)) => self.outbox = messages,
            Ok(Delivery::End(end)) => panic!("a session ended: {end}"),
            Err(_) => return false,
        }
        true
    }
}

/// The data records in framed messages.
fn hear(framing: Framing, bytes: &[u8], heard: &mut Vec<Heard>) {
    for message in texts(framing, bytes) {
        let records: Vec<Value> = serde_json::from_str(&message.text).unwrap();
        let records = records.iter().filter(|record| record["op_type"] == "INSERT");
        let text = |record: &Value, member: &str| record[member].as_str().unwrap().to_owned();
        let before = heard.len();
        heard.extend(
            records.map(|record| {
                (record["after"]["id"].as_u64().unwrap(), text(record, "pos"), text(record, "trans_ind"))
            }),
        );
        if framing == Framing::EventStream && heard.len() > before {
            let last = heard.last().map(|(_, pos, _)| pos.clone());
            assert_eq!(message.id, last, "an event's id is the position of its last record");
        }
    }
}

fn metadata() -> StreamMetadata {
    let source = SourceInfo {
        file: String::new(),
        uri: String::new(),
        uri_history: Vec::new(),
        creation_time: String::new(),
        compatibility: String::new(),
    };
    StreamMetadata { database: DatabaseInfo::default(), machine: MachineInfo::default(), source }
}

struct World {
    trail: Trail,
    appender: Appender,
    fanout: Arc<Fanout>,
    budget: Arc<Budget>,
    clients: Vec<Client>,
    totals: Arc<EncodingTotals>,
    /// What every session has done, those that left too.
    progress: Vec<Arc<Progress>>,
    /// Every record that passes the rules: what is heard of it, and its position.
    records: Vec<(Heard, Position)>,
    /// Every record's position, and how many up to it pass.
    all: Vec<(Position, usize)>,
    rows: u64,
    /// Whether the source leaves gaps of a table that nobody is sent.
    has_gaps: bool,
    _ending: watch::Sender<Option<End>>,
}

impl World {
    fn new(home: &Path, limits: FanoutLimits, budget_bytes: usize) -> Self {
        Self::negotiated(Negotiated::new(Framing::WebSocket, Envelope::Records), home, limits, budget_bytes)
    }

    /// Of a trail of [`PARTITIONS`], with sessions that negotiated that.
    fn negotiated(negotiated: Negotiated, home: &Path, limits: FanoutLimits, budget_bytes: usize) -> Self {
        let (disk, clock) = (Arc::new(SystemDisk), Arc::new(SystemClock));
        let name = TrailName::new("t1").unwrap();
        let options = TrailOptions { segment_bytes: 6_000, ..TrailOptions::default() };
        let folder = home.join("t1");
        drop(Trail::create(&folder, name, Writer::Puts, &options, disk.clone(), clock.clone()).unwrap());
        let trail = with_partitions(&folder, disk, clock.clone());
        let config = br#"{"source":{"trail":"t1"},"bufferSize":131072,
            "rules":[{"action":"include","filter":{"objectNames":["*.wanted"]}}],
            "encoding":{"json":{"metaFields":{"transInd":true}}}}"#;
        let config = StreamConfig::parse(config).unwrap();
        let stream = ResourceName::new("s1").unwrap();
        let rules = Rules::compile(&config).unwrap();
        let contract = Contract::new(&stream, trail.epoch(), &config, rules, metadata(), negotiated);
        let budget = Budget::new(budget_bytes);
        let totals = Arc::<EncodingTotals>::default();
        let fanout =
            Fanout::with_limits(Arc::new(contract), trail.clone(), clock, budget.clone(), totals.clone(), limits);
        let appender = trail.appender().unwrap();
        let (ending, _) = watch::channel(None);
        Self {
            trail,
            appender,
            fanout,
            budget,
            clients: Vec::new(),
            totals,
            progress: Vec::new(),
            records: Vec::new(),
            all: Vec::new(),
            rows: 0,
            has_gaps: false,
            _ending: ending,
        }
    }

    /// Whether sessions are sent a row that passes the rules or not, and is of that width.
    fn sends(&self, (wants, width): (bool, usize)) -> bool {
        wants && self.fanout.contract().negotiated.partitions.include(partition_of(width))
    }

    async fn append(&mut self, transaction: &[(bool, usize)]) {
        let wanted = transaction.iter().filter(|row| self.sends(**row)).count();
        let head = TransactionHead {
            xid: format!("x{}", self.rows),
            commit_ts: Timestamp::from_micros(1_000_000),
            source: SourcePosition::default(),
        };
        self.appender.begin(&head).unwrap();
        let columns: Vec<_> = [("id", JsonKind::Number), ("text", JsonKind::String)]
            .map(|(name, kind)| Column {
                name: name.into(),
                kind,
                sql_type: String::new(),
                nullable: false,
                key: false,
            })
            .into();
        let mut passing = Vec::new();
        for (number, (wants, width)) in (0_u32..).zip(transaction) {
            let table = TableName::parse(if *wants { "t.wanted" } else { "t.other" }).unwrap();
            let schema = self.appender.schema(&table, &columns).unwrap();
            let mut image = Vec::new();
            let mut writer = ImageWriter::new(&mut image);
            writer.json(self.rows.to_string().as_bytes());
            writer.json(format!("\"{}\"", "x".repeat(*width)).as_bytes());
            let partition = partition_of(*width);
            let row = RowParts { partition, ..RowParts::of(Operation::Insert, false, true) };
            let write = |out: &mut Vec<u8>| -> Result<(), ()> {
                out.extend_from_slice(&image);
                Ok(())
            };
            self.appender.write_row(&schema, row, write).unwrap().unwrap();
            if self.sends((*wants, *width)) {
                passing.push((self.rows, number));
            }
            self.rows += 1;
        }
        let last = self.appender.commit().unwrap();
        // Of a table that no session is sent anything of: all pass over it as over nothing.
        if self.has_gaps && self.rows.is_multiple_of(2) {
            let tables = vec![TableName::parse("t.other").unwrap()];
            self.appender.gap(&Missing { tables, from: "0/1".into(), to: "0/2".into() }).unwrap();
        }
        self.appender.hand_over().await.unwrap();
        let mut passed = self.records.len();
        for (record, row) in (0_u32..).zip(transaction) {
            passed += usize::from(self.sends(*row));
            self.all.push((Position { record, ..last }, passed));
        }
        for (at, (id, record)) in passing.into_iter().enumerate() {
            let position = Position { record, ..last };
            let pos = token::encode(&position, self.fanout.contract().hash).to_string();
            self.records.push(((id, pos, trans_ind(at, wanted)), position));
        }
        self.trail.durable().wait_for(|mark| mark.commit >= last.commit).await.unwrap();
    }

    async fn open(&mut self, start: &Start) {
        let (begin, skips, anew) = match start {
            Start::After(number) if !self.records.is_empty() => {
                let at = number % self.records.len();
                (Begin::After(self.records[at].1), at + 1, None)
            }
            Start::Behind(number) if !self.all.is_empty() => {
                let (position, passed) = self.all[number % self.all.len()];
                (Begin::After(position), passed, Some(position.commit))
            }
            Start::Now => (Begin::Now, self.records.len(), None),
            Start::Earliest | Start::After(_) | Start::Behind(_) => (Begin::Earliest, 0, None),
        };
        let reader = self.trail.read(begin).await.unwrap();
        let after = match &begin {
            Begin::After(position) if anew.is_none() => Some(position),
            _ => None,
        };
        let (clock, progress) = (Arc::new(SystemClock), Arc::new(Progress::default()));
        self.progress.push(progress.clone());
        let ending = self._ending.subscribe();
        let session = Session::new(reader, after, self.fanout.clone(), Notices::default(), clock, ending, progress);
        let framing = self.fanout.contract().negotiated.framing;
        self.clients.push(Client { session, framing, outbox: Vec::new(), heard: Vec::new(), skips, anew });
    }

    /// What a session hears that nobody else is in the way of.
    fn heard_alone(&self, client: &Client) -> Vec<Heard> {
        let mut records = self.records[client.skips..].to_vec();
        let anew = records.iter().take_while(|(_, position)| Some(position.commit) == client.anew).count();
        for (at, ((_, _, place), _)) in records[..anew].iter_mut().enumerate() {
            *place = trans_ind(at, anew);
        }
        records.into_iter().map(|(heard, _)| heard).collect()
    }

    async fn step(&mut self, step: &Step) {
        let sessions = self.clients.len();
        match step {
            Step::Append(transactions) => {
                for transaction in transactions {
                    self.append(transaction).await;
                }
            }
            Step::Open(start) => self.open(start).await,
            Step::Take(number, wait) if sessions > 0 => {
                self.clients[number % sessions].take(Duration::from_millis(*wait)).await;
            }
            Step::Drain(number) if sessions > 0 => self.clients[number % sessions].drain(),
            Step::Leave(number) if sessions > 0 => drop(self.clients.remove(number % sessions)),
            _ => {}
        }
    }

    /// What was counted of tables and operations is what the sessions were given together.
    fn check_counts(&self) -> Result<(), String> {
        let given: u64 = self.progress.iter().map(|progress| progress.records()).sum();
        let counted = self.totals.delivered.figures();
        let only_wanted = counted.tables.iter().all(|(table, _)| table.to_string() == "t.wanted");
        if only_wanted && counted.total() == [given, 0, 0, 0, 0, 0] {
            return Ok(());
        }
        Err(format!("{given} records given and {counted:?} counted"))
    }

    /// Lets every session come to the end, one after the other; says what the first fault is.
    async fn finish(mut self) -> Result<(), String> {
        self.clients.iter_mut().for_each(Client::drain);
        let expected: Vec<_> = self.clients.iter().map(|client| self.heard_alone(client)).collect();
        for (number, (client, expected)) in self.clients.iter_mut().zip(&expected).enumerate() {
            let wanted = expected.len();
            while client.heard.len() < wanted {
                if !client.take(PATIENCE).await {
                    return Err(format!("session {number} is stuck after {} of {wanted}", client.heard.len()));
                }
                client.drain();
            }
            // What lies behind the last that passes leaves nothing to say.
            if client.take(Duration::from_millis(1)).await {
                client.drain();
            }
            compare(number, &client.heard, expected)?;
        }
        self.check_counts()?;
        self.clients.clear();
        self.budget.let_idle_go();
        let begun = Instant::now();
        while self.budget.used() > 0 {
            if begun.elapsed() > PATIENCE {
                return Err(format!("{} bytes stay charged although nobody holds any", self.budget.used()));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.budget.let_idle_go();
        }
        Ok(())
    }
}

/// Opens a new trail as one of [`PARTITIONS`].
fn with_partitions(folder: &Path, disk: Arc<SystemDisk>, clock: Arc<SystemClock>) -> Trail {
    let path = folder.join("trail.json");
    let mut description: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    description["partitions"] = PARTITIONS.into();
    std::fs::write(&path, description.to_string()).unwrap();
    Trail::open(folder, disk, clock).unwrap()
}

/// The partition of a row of that width.
fn partition_of(width: usize) -> u16 {
    u16::try_from(width % usize::from(PARTITIONS)).unwrap()
}

/// `trans_ind` of the record at that place among those that are sent of its transaction.
fn trans_ind(at: usize, of: usize) -> String {
    let place = match (at == 0, at + 1 == of) {
        (true, true) => "WHOLE",
        (true, false) => "BEGIN",
        (false, false) => "MIDDLE",
        (false, true) => "END",
    };
    place.to_owned()
}

fn compare(session: usize, heard: &[Heard], expected: &[Heard]) -> Result<(), String> {
    match heard.iter().zip(expected).position(|(heard, expected)| heard != expected) {
        Some(at) => Err(format!("session {session}, record {at}: {:?} and not {:?}", heard[at], expected[at])),
        None if heard.len() != expected.len() => {
            Err(format!("session {session}: {} records and not {}", heard.len(), expected.len()))
        }
        None => Ok(()),
    }
}

fn run(negotiated: Negotiated, steps: &[Step], limits: FanoutLimits, budget_bytes: usize) -> Result<(), String> {
    let home = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::negotiated(negotiated, home.path(), limits, budget_bytes);
        world.has_gaps = true;
        for step in steps {
            world.step(step).await;
        }
        world.finish().await
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 30, ..ProptestConfig::default() })]

    #[test]
    fn every_session_gets_what_lies_behind_its_start_once_and_in_order_in_each_framing(
        framing in proptest::sample::select(&Framing::ALL[..]),
        partitions in prop_oneof![Just(Partitions::All), proptest::collection::vec(0..PARTITIONS, 0..3).prop_map(Partitions::only)],
        steps in steps(),
        block_trail_bytes in 100_u64..4_000,
        inline_bytes in prop_oneof![Just(0_u64), 100_u64..4_000],
        kept_bytes in prop_oneof![Just(0_usize), 500_usize..20_000],
        makers in 1_usize..4,
        budget_bytes in prop_oneof![Just(1_usize), 4_000_usize..40_000, Just(1 << 30)],
    ) {
        let limits = FanoutLimits { block_trail_bytes, inline_bytes, kept_bytes, makers };
        let negotiated = Negotiated { partitions, ..Negotiated::new(framing, Envelope::Records) };
        run(negotiated, &steps, limits, budget_bytes).map_err(TestCaseError::fail)?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_begins_inside_a_transaction_changes_nothing_for_one_that_comes_through_it() {
    for starts in [[Start::Behind(1), Start::Earliest], [Start::After(1), Start::Behind(1)]] {
        let home = tempfile::tempdir().unwrap();
        let mut world = World::new(home.path(), FanoutLimits::default(), 1 << 30);
        world.append(&[(true, 10); 5]).await;
        for start in starts {
            world.open(&start).await;
            let client = world.clients.len() - 1;
            while world.clients[client].take(Duration::from_millis(20)).await {
                world.clients[client].drain();
            }
        }
        world.finish().await.unwrap();
    }
}

#[test]
fn control_a_record_left_out_repeated_or_moved_is_noticed() {
    let heard = |id: u64| (id, format!("p{id}"), "WHOLE".to_owned());
    let expected: Vec<Heard> = (0..4).map(heard).collect();
    compare(0, &expected, &expected).unwrap();
    for wrong in [vec![0, 1, 3], vec![0, 1, 1, 2, 3], vec![0, 2, 1, 3], vec![1, 2, 3], vec![0, 1, 2, 3, 3]] {
        let wrong: Vec<Heard> = wrong.into_iter().map(heard).collect();
        compare(0, &wrong, &expected).unwrap_err();
    }
}

/// A world at the tail: each transaction is taken by one session at once.
async fn at_the_tail(world: &mut World, transactions: usize, wanted: bool) {
    world.open(&Start::Now).await;
    for _ in 0..transactions {
        world.append(&[(wanted, 10)]).await;
        world.clients[0].take(Duration::from_millis(20)).await;
        world.clients[0].drain();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_some_partitions_gets_their_rows_and_every_statement() {
    let home = tempfile::tempdir().unwrap();
    let partitions = Partitions::only([1]);
    let negotiated = Negotiated { partitions, ..Negotiated::new(Framing::WebSocket, Envelope::Records) };
    let mut world = World::negotiated(negotiated, home.path(), FanoutLimits::default(), 1 << 30);
    world.open(&Start::Earliest).await;
    world.append(&[(true, 3), (true, 4), (true, 5), (true, 1)]).await;
    let table = TableName::parse("t.wanted").unwrap();
    let head = TransactionHead {
        xid: "ddl".into(),
        commit_ts: Timestamp::from_micros(1_000_000),
        source: SourcePosition::default(),
    };
    world.appender.begin(&head).unwrap();
    world.appender.ddl(&table, "ALTER TABLE t.wanted ADD c text").unwrap();
    world.appender.commit().unwrap();
    world.appender.hand_over().await.unwrap();
    let client = &mut world.clients[0];
    let mut bytes = Vec::new();
    while !String::from_utf8_lossy(&bytes).contains("ALTER TABLE") {
        assert!(client.take(PATIENCE).await, "the statement does not come");
        client.outbox.iter().for_each(|message| bytes.extend_from_slice(message));
        client.drain();
    }
    assert_eq!(client.heard.iter().map(|(id, ..)| *id).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(world.records.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cache_keeps_is_what_is_charged_for_it() {
    for wanted in [true, false] {
        let home = tempfile::tempdir().unwrap();
        let limits = FanoutLimits { kept_bytes: 8_000, ..FanoutLimits::default() };
        let mut world = World::new(home.path(), limits, 1 << 30);
        at_the_tail(&mut world, 40, wanted).await;
        let kept = world.fanout.kept_bytes();
        assert!(kept > 0, "nothing is kept");
        assert_eq!(world.budget.used(), kept, "rows pass: {wanted}");
        assert!(kept <= 8_000 + 2_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_read_a_whole_transaction_does_so_on_a_thread_of_its_own() {
    let home = tempfile::tempdir().unwrap();
    let limits = FanoutLimits { block_trail_bytes: 1_000, ..FanoutLimits::default() };
    let mut world = World::new(home.path(), limits, 1 << 30);
    let rest = std::iter::repeat_n((false, 1_400), 30);
    world.append(&std::iter::once((true, 10)).chain(rest).collect::<Vec<_>>()).await;
    let start = async |world: &World| {
        let mut reader = world.trail.read(Begin::Earliest).await.unwrap();
        assert!(reader.settle().unwrap());
        world.fanout.start(reader, None)
    };
    let first = start(&world).await;
    // The first record is released by the transaction's end, thirty records behind the block's.
    assert!(matches!(world.fanout.take(first), Taken::Wait(_)));

    let home = tempfile::tempdir().unwrap();
    let mut world = World::new(home.path(), FanoutLimits::default(), 1 << 30);
    world.append(&[(true, 10)]).await;
    let first = start(&world).await;
    assert!(matches!(world.fanout.take(first), Taken::Block(_)), "control: at the tail it is made at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_grows_beyond_what_was_expected_ends_where_memory_does() {
    const LIMIT: usize = 30_000;
    let home = tempfile::tempdir().unwrap();
    let mut world = World::new(home.path(), FanoutLimits::default(), LIMIT);
    // Rows that nobody is sent say that nothing is to be expected; then come some that grow to several times their size.
    at_the_tail(&mut world, 60, false).await;
    let held = world.budget.charge(20_000, 20_000).unwrap();
    world.append(&[(true, 1); 50]).await;
    let refused = world.budget.exhausted();
    while world.clients[0].heard.len() < 50 {
        assert!(world.clients[0].take(PATIENCE).await, "stuck");
        let used = world.budget.used();
        assert!(used <= LIMIT, "{used} bytes, {LIMIT} allowed");
        world.clients[0].drain();
    }
    assert!(world.budget.exhausted() > refused, "memory was never short: this tells nothing");
    drop(held);
    world.finish().await.unwrap();
}
