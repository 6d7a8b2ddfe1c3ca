//! Does a seek cost the same in a large trail as in a small one, warm and cold?
//!
//! `cargo bench --bench seek -- --small 20MB --large 2GB`
//!
//! Builds both trails, seeks in turn to random places in the middle half of each, by position and by time, up to the
//! first record, and compares the medians. Warm: each place was sought once before. Cold: the trail was just opened, so
//! that no index is in memory, and the page cache is dropped before each seek (root only).

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measuring command says what it finds"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use trailcast::clock::SystemClock;
use trailcast::codec::image::ImageWriter;
use trailcast::record::{
    Column, JsonKind, Operation, Position, SourcePosition, TableName, Timestamp, TrailName, TransactionHead, xid_hash,
};
use trailcast::trail::local::disk::SystemDisk;
use trailcast::trail::{Begin, Entry, Row, Trail, TrailOptions, Writer};

/// Places that the warm seeks go to, one after the other, again and again.
const PLACES: usize = 200;

/// Compares seeks in a small and a large trail.
#[derive(Debug, Parser)]
struct Arguments {
    /// Size of the small trail
    #[arg(long, default_value = "20MB", value_parser = bytes)]
    small: u64,
    /// Size of the large trail
    #[arg(long, default_value = "2GB", value_parser = bytes)]
    large: u64,
    /// Warm seeks of each kind in each trail
    #[arg(long, default_value_t = 2_000)]
    warm: u32,
    /// Cold seeks of each kind in each trail
    #[arg(long, default_value_t = 40)]
    cold: u32,
    /// Where the trails are made, to be kept; otherwise in a folder that goes afterwards
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "B" => 1,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        other => return Err(format!("{other} is not B, MB or GB")),
    };
    digits.parse::<u64>().map(|number| number * unit).map_err(|error| error.to_string())
}

/// Transaction `number`'s id and commit time.
fn xid(number: u64) -> String {
    format!("x{number}")
}

fn time(number: u64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + 1_000 * number as i64)
}

/// A trail with its number of transactions.
struct Measured {
    name: &'static str,
    folder: PathBuf,
    trail: Trail,
    transactions: u64,
    bytes: u64,
}

impl Measured {
    async fn build(name: &'static str, folder: PathBuf, bytes: u64) -> Self {
        if !folder.exists() {
            let started = Instant::now();
            fill(&folder, name, bytes).await;
            eprintln!("{name} trail of {} MB made in {:.1?}", bytes / 1_000_000, started.elapsed());
        }
        let trail = open(&folder);
        let status = trail.status();
        Self { name, folder, trail, transactions: status.last_commit, bytes: status.bytes }
    }

    /// A place in the middle half.
    fn place(&self, chance: &mut Chance) -> u64 {
        self.transactions / 4 + chance.below(self.transactions / 2)
    }

    fn begin(&self, by: By, number: u64) -> Begin {
        match by {
            By::Time => Begin::Time(time(number)),
            By::Position => Begin::After(Position {
                epoch: self.trail.epoch(),
                commit: number,
                record: 0,
                xid_hash: xid_hash(&xid(number)),
            }),
        }
    }

    /// Time from the question to the first record.
    async fn seek(&self, by: By, number: u64) -> Duration {
        let begin = self.begin(by, number);
        let started = Instant::now();
        let mut reader = self.trail.read(begin).await.unwrap();
        loop {
            if let Some(Entry::Record(record)) = reader.next().unwrap() {
                assert_eq!(record.transaction.commit, number);
                return started.elapsed();
            }
            reader.fill().await.unwrap();
        }
    }
}

fn open(folder: &Path) -> Trail {
    Trail::open(folder, Arc::new(SystemDisk), Arc::new(SystemClock)).unwrap()
}

#[derive(Debug, Clone, Copy)]
enum By {
    Position,
    Time,
}

/// Makes a trail of puts: four rows of about a hundred bytes a transaction.
async fn fill(folder: &Path, name: &str, bytes: u64) {
    let (disk, clock) = (Arc::new(SystemDisk), Arc::new(SystemClock));
    let name = TrailName::new(name).unwrap();
    let trail = Trail::create(folder, name, Writer::Puts, &TrailOptions::default(), disk, clock).unwrap();
    let mut appender = trail.appender().unwrap();
    let table = TableName::parse("shop.orders").unwrap();
    let column = |name: &str, key| Column {
        name: name.to_owned(),
        kind: JsonKind::String,
        sql_type: String::new(),
        nullable: false,
        key,
    };
    let columns = [column("id", true), column("note", false)];
    let mut number = 0;
    while trail.bytes() < bytes {
        number += 1;
        let head = TransactionHead { xid: xid(number), commit_ts: time(number), source: SourcePosition(String::new()) };
        appender.begin(&head).unwrap();
        let schema = appender.schema(&table, &columns).unwrap();
        for row in 0..4 {
            let mut image = Vec::new();
            let mut writer = ImageWriter::new(&mut image);
            writer.json(format!("\"{number}-{row}\"").as_bytes());
            writer.json(format!("\"{:0>80}\"", number * 7 + row).as_bytes());
            let row = Row { operation: Operation::Insert, before: None, after: Some(&image), tokens: None };
            appender.row(&schema, row).unwrap();
        }
        appender.commit().unwrap();
        if appender.pending_bytes() > 200_000 {
            appender.hand_over().await.unwrap();
        }
    }
    appender.close().await.unwrap();
}

/// Numbers by chance, the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 16) % limit
    }
}

fn drop_page_cache() -> std::io::Result<()> {
    std::process::Command::new("sync").status()?;
    std::fs::write("/proc/sys/vm/drop_caches", "3")
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    times[(times.len() - 1) * percent / 100]
}

/// Prints medians and 90th percentiles of both trails and the ratio of the medians.
fn report(what: &str, small: &mut [Duration], large: &mut [Duration]) {
    let [small_median, large_median] = [&mut *small, &mut *large].map(|times| percentile(times, 50));
    let [small_high, large_high] = [small, large].map(|times| percentile(times, 90));
    let ratio = large_median.as_secs_f64() / small_median.as_secs_f64();
    println!(
        "| {what:<17} | {:>9.1} | {:>9.1} | {:>9.1} | {:>9.1} | {ratio:>5.2} |",
        micros(small_median),
        micros(small_high),
        micros(large_median),
        micros(large_high),
    );
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn memory_kib() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or("VmRSS: ?");
    line.trim_start_matches("VmRSS:").trim().to_owned()
}

fn files_open() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

async fn warm(trails: &[Measured; 2], seeks: u32, chance: &mut Chance) {
    let before = memory_kib();
    for by in [By::Position, By::Time] {
        let mut times = [Vec::new(), Vec::new()];
        let places = trails.each_ref().map(|trail| (0..PLACES).map(|_| trail.place(chance)).collect::<Vec<_>>());
        // The first round through the places only warms up.
        for round in 0..PLACES + seeks as usize {
            for ((times, trail), places) in times.iter_mut().zip(trails).zip(&places) {
                let took = trail.seek(by, places[round % PLACES]).await;
                if round >= PLACES {
                    times.push(took);
                }
            }
        }
        let [small, large] = &mut times;
        report(&format!("warm, by {by:?}").to_lowercase(), small, large);
    }
    eprintln!("memory before the warm seeks {before}, after {}; {} files open", memory_kib(), files_open());
}

async fn cold(trails: &mut [Measured; 2], seeks: u32, chance: &mut Chance) {
    let mut opening = [Vec::new(), Vec::new()];
    for by in [By::Position, By::Time] {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..seeks {
            for ((times, opening), measured) in times.iter_mut().zip(&mut opening).zip(trails.iter_mut()) {
                drop_page_cache().unwrap();
                let started = Instant::now();
                measured.trail = open(&measured.folder);
                opening.push(started.elapsed());
                drop_page_cache().unwrap();
                times.push(measured.seek(by, measured.place(chance)).await);
            }
        }
        let [small, large] = &mut times;
        report(&format!("cold, by {by:?}").to_lowercase(), small, large);
    }
    let [small, large] = &mut opening;
    report("opening, cold", small, large);
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let temporary = tempfile::tempdir().unwrap();
    let folder = arguments.folder.clone().unwrap_or_else(|| temporary.path().to_owned());
    let mut chance = Chance(1);
    let mut trails = [
        Measured::build("small", folder.join("small"), arguments.small).await,
        Measured::build("large", folder.join("large"), arguments.large).await,
    ];
    for trail in &trails {
        eprintln!("{}: {} bytes, {} transactions", trail.name, trail.bytes, trail.transactions);
    }
    println!("|  microseconds     | small p50 | small p90 | large p50 | large p90 | ratio |");
    println!("|-------------------|----------:|----------:|----------:|----------:|------:|");
    warm(&trails, arguments.warm, &mut chance).await;
    if drop_page_cache().is_ok() {
        cold(&mut trails, arguments.cold, &mut chance).await;
    } else {
        eprintln!("not measured cold: the page cache cannot be dropped here (needs root)");
    }
}
