//! What does a reader of one partition cost, beside a reader of the whole trail?
//!
//! `cargo bench --bench partitions -- --records 1000000`
//!
//! Builds a trail of messages of the same size, spread evenly, closes its segments, and reads it warm: whole, one partition, and all
//! partitions by a reader each, all at once; with and without encoding what is read. Prints the processor time a run took, the best
//! of some, and for the readers together their rate.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    unused_crate_dependencies,
    unreachable_pub,
    reason = "a measuring command says what it finds"
)]

mod rows;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::time::{ClockId, clock_gettime};
use trailcast::clock::SystemClock;
use trailcast::delivery::contract::Contract;
use trailcast::delivery::encoder::Encoder;
use trailcast::delivery::negotiated::Partitions;
use trailcast::record::{Message, TrailName};
use trailcast::trail::local::disk::SystemDisk;
use trailcast::trail::{Begin, Entry, Fill, Location, Trail, TrailOptions, Writer};

/// Compares a reader of one partition with one of the whole trail.
#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    #[arg(long, default_value_t = 16)]
    partitions: u16,
    /// Bytes of each message
    #[arg(long, default_value_t = 200)]
    bytes: usize,
    #[arg(long, default_value_t = 1)]
    records_a_transaction: u64,
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

async fn fill(folder: &Path, arguments: &Arguments) -> Trail {
    let options = TrailOptions { partitions: arguments.partitions, ..TrailOptions::default() };
    let (name, disk, clock) = (TrailName::new("a1").unwrap(), Arc::new(SystemDisk), Arc::new(SystemClock));
    let trail = Trail::create(folder, name, Writer::Puts, &options, disk.clone(), clock.clone()).unwrap();
    let mut appender = trail.appender().unwrap();
    let filler = "v".repeat(arguments.bytes.saturating_sub(26));
    for number in 0..arguments.records {
        if number.is_multiple_of(arguments.records_a_transaction) {
            appender.begin_unnamed(rows::moment()).unwrap();
        }
        let (key, value) = (number.to_string(), format!("{{\"n\":{number:012},\"f\":\"{filler}\"}}"));
        let partition = appender.partitions().for_key(key.as_bytes());
        let message = Message { key: Some(key.as_bytes()), value: value.as_bytes(), ..Message::default() };
        appender.message(partition, &message).unwrap();
        if (number + 1).is_multiple_of(arguments.records_a_transaction) || number + 1 == arguments.records {
            appender.commit().unwrap();
        }
        if appender.pending_bytes() >= 256 << 10 {
            appender.hand_over().await.unwrap();
        }
    }
    appender.close().await.unwrap();
    trail
}

/// Reads from the start to the end on this thread; says how many records of its partitions there were.
fn read(runtime: &tokio::runtime::Runtime, trail: &Trail, wanted: &Partitions, contract: Option<&Contract>) -> u64 {
    let mut encoder = contract.map(|_| {
        let contract = rows::contract(serde_json::json!({}));
        let contract = Contract { negotiated: rows::negotiated(wanted.clone()), ..Arc::into_inner(contract).unwrap() };
        Encoder::new(Arc::new(contract), None)
    });
    let mut reader = runtime.block_on(trail.read(Begin::Earliest)).unwrap();
    if let Partitions::Some(partitions) = wanted {
        reader.narrow_to(partitions.clone());
    }
    let (mut records, mut bytes) = (0, 0);
    let mut take = |entry: &Entry<'_>| {
        let Entry::Record(record) = entry else { return };
        if wanted.include(record.partition) {
            records += 1;
            match &mut encoder {
                Some(encoder) => encoder.take(entry, rows::moment()).unwrap(),
                None => drop(record.body().unwrap()),
            }
        }
        if records % 1_000 == 0
            && let Some(encoder) = &mut encoder
        {
            encoder.finish();
            bytes += encoder.take_messages().0.len();
        }
    };
    loop {
        loop {
            let rows: Result<(), std::convert::Infallible> = reader.rows_before(Location::MAX, |row| {
                take(&Entry::Record(*row));
                Ok(())
            });
            rows.unwrap();
            let Some(entry) = reader.next().unwrap() else { break };
            take(&entry);
        }
        if reader.fill_here().unwrap() == Fill::AtMark {
            return records;
        }
    }
}

fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.try_into().unwrap(), now.tv_nsec.try_into().unwrap())
}

/// Processor time and time of the fastest of some runs.
fn best(rounds: u32, mut run: impl FnMut()) -> (Duration, Duration) {
    run();
    let measured = (0..rounds).map(|_| {
        let (before, started) = (cpu(), Instant::now());
        run();
        (cpu() - before, started.elapsed())
    });
    measured.min().unwrap()
}

fn main() {
    let arguments = Arguments::parse();
    let runtime = rows::runtime();
    let folder = tempfile::tempdir().unwrap();
    let trail = runtime.block_on(fill(&folder.path().join("a1"), &arguments));
    let all: Vec<u16> = (0..arguments.partitions).collect();
    let contract = rows::contract(serde_json::json!({}));
    for (what, contract) in [("only read", None), ("read and encoded", Some(&*contract))] {
        let whole = best(arguments.rounds, || {
            assert_eq!(read(&runtime, &trail, &Partitions::All, contract), arguments.records);
        });
        let one = best(arguments.rounds, || assert!(read(&runtime, &trail, &Partitions::only([3]), contract) > 0));
        let together = best(arguments.rounds, || {
            let counted: u64 = std::thread::scope(|scope| {
                let readers: Vec<_> = all
                    .iter()
                    .map(|partition| scope.spawn(|| read(&runtime, &trail, &Partitions::only([*partition]), contract)))
                    .collect();
                readers.into_iter().map(|reader| reader.join().unwrap()).sum()
            });
            assert_eq!(counted, arguments.records);
        });
        let rate = |(_, took): (Duration, Duration)| arguments.records as f64 / took.as_secs_f64();
        println!(
            "{what}: whole {:?} cpu, one of {} {:?} cpu (1/{:.1}), all together {:?} cpu, {:.2} of the rate of one over the whole",
            whole.0,
            arguments.partitions,
            one.0,
            whole.0.as_secs_f64() / one.0.as_secs_f64(),
            together.0,
            rate(together) / rate(whole),
        );
    }
}
