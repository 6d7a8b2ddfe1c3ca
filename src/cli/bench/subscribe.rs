//! `trailcast bench subscribe`: many subscribers, and how fast they are served.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum, builder::RangedU64ValueParser};
use serde_json::{Value, json};

use super::positions::Positions;
use super::process::{Process, cost};
use super::progress::ProgressLine;
use super::reader::{Readers, Subscriber, Until};
use super::report::{rate, report};
use super::tally::{Counting, Progress, Tally};
use super::{Output, threads_default};
use crate::cli::client_arguments::ClientArguments;
use crate::cli::failure::Failure;
use crate::client::ServerAddress;
use crate::limits;

/// One message in so many is counted when a sample is enough.
const SAMPLED_EVERY: u64 = 32;
const LOOK_EVERY: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Count {
    /// Each record, by a text that stands in each; in the row and the flattened model by reading it
    Each,
    /// The records of one message in 32; the rest by their bytes (for records of one size)
    Sampled,
}

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The streams; subscribers are spread over them
    #[arg(required = true)]
    streams: Vec<String>,
    /// How many subscribers
    #[arg(long, env = "TRAILCAST_BENCH_SUBSCRIBERS", default_value_t = 1, value_name = "NUMBER",
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=limits::BENCH_SUBSCRIBERS_MAX as u64))]
    subscribers: u64,
    /// Where each begins: earliest, now, a time or a position
    #[arg(long, env = "TRAILCAST_BENCH_BEGIN", default_value = "earliest", value_name = "BEGIN")]
    begin: String,
    /// How long to measure, in seconds, unless --records ends it before
    #[arg(long, env = "TRAILCAST_BENCH_SECONDS", default_value_t = 10, value_name = "SECONDS",
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=limits::BENCH_SECONDS_MAX))]
    seconds: u64,
    /// How long to read before measuring, in seconds
    #[arg(long, env = "TRAILCAST_BENCH_WARM_UP", default_value_t = 0, value_name = "SECONDS", conflicts_with = "records",
          value_parser = RangedU64ValueParser::<u64>::new().range(0..=limits::BENCH_SECONDS_MAX))]
    warm_up: u64,
    /// Measure from the first connection until each subscriber has as many records
    #[arg(long, env = "TRAILCAST_BENCH_RECORDS", value_name = "NUMBER")]
    records: Option<u64>,
    /// How records are counted
    #[arg(long, env = "TRAILCAST_BENCH_COUNT", value_enum, default_value_t = Count::Each)]
    count: Count,
    /// Read every record as JSON and check that its position is greater than the one before (slower)
    #[arg(long, env = "TRAILCAST_BENCH_VERIFY", conflicts_with = "count",
          value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::SetTrue)]
    verify: bool,
    /// Threads that read [default: one for each core]
    #[arg(long, env = "TRAILCAST_BENCH_THREADS", value_name = "NUMBER",
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=limits::BENCH_THREADS_MAX as u64))]
    threads: Option<usize>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    client: ClientArguments,
}

impl Arguments {
    fn counting(&self) -> Counting {
        match self.count {
            _ if self.verify => Counting::Verify,
            Count::Each => Counting::Each,
            Count::Sampled => Counting::Sampled(SAMPLED_EVERY),
        }
    }

    async fn positions(&self, address: &ServerAddress) -> Result<Vec<Positions>, Failure> {
        let mut positions = Vec::new();
        for stream in &self.streams {
            positions.push(Positions::of(address, stream).await?);
        }
        Ok(positions)
    }

    fn subscribers(&self, address: &ServerAddress, streams: &[Positions]) -> Vec<Subscriber> {
        let begin: String = form_urlencoded::byte_serialize(self.begin.as_bytes()).collect();
        let subscriber = |positions: &Positions| {
            let path = address.path(&["services", "v2", "stream", &positions.stream]);
            let progress = Arc::new(Progress::default());
            let tally = Tally::new(positions.counting(self.counting()), positions, progress.clone());
            Subscriber { target: format!("{path}?begin={begin}"), tally, progress }
        };
        streams.iter().cycle().take(usize::try_from(self.subscribers).unwrap_or(usize::MAX)).map(subscriber).collect()
    }
}

/// Sums over all subscribers at one moment.
struct Sums {
    at: Instant,
    records: Vec<u64>,
    bytes: u64,
    messages: u64,
}

impl Sums {
    fn of(progress: &[Arc<Progress>]) -> Self {
        Self {
            at: Instant::now(),
            records: progress.iter().map(|one| one.records()).collect(),
            bytes: progress.iter().map(|one| one.bytes()).sum(),
            messages: progress.iter().map(|one| one.messages()).sum(),
        }
    }
}

/// Subscribes, measures, reports.
pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let address = arguments.client.address()?;
    let server = arguments.output.server()?;
    let positions = arguments.positions(&address).await?;
    let asked = arguments.counting();
    // If one of the streams must be counted otherwise, that is what the figures are worth.
    let counting = positions.iter().map(|one| one.counting(asked)).find(|one| *one != asked).unwrap_or(asked);
    let subscribers = arguments.subscribers(&address, &positions);
    let progress: Vec<_> = subscribers.iter().map(|subscriber| subscriber.progress.clone()).collect();
    let mut line = ProgressLine::new(arguments.output.quiet);
    let threads = arguments.threads.unwrap_or_else(threads_default);
    let look =
        || Ok::<_, Failure>((Process::own().usage()?, server.map(Process::usage).transpose()?, Sums::of(&progress)));
    let start = look()?;
    let readers = Readers::start(&address, subscribers, threads, Until { records: arguments.records })?;
    if arguments.records.is_some() {
        // Everything counts: what the server sends while others connect too.
        readers.read();
    }
    readers.connected().await;
    readers.read();
    if !readers.failed() {
        tokio::time::sleep(Duration::from_secs(arguments.warm_up)).await;
    }
    let (own_before, server_before, first) = if arguments.records.is_some() { start } else { look()? };
    let deadline = first.at + Duration::from_secs(arguments.seconds);
    while Instant::now() < deadline && !readers.done() {
        tokio::time::sleep(LOOK_EVERY).await;
        line.tick(|| {
            let now = Sums::of(&progress);
            let seconds = (now.at - first.at).as_secs_f64();
            let records: u64 = now.records.iter().sum::<u64>() - first.records.iter().sum::<u64>();
            format!("{seconds:.0} s: {} records, {:.0} a second", records, rate(records, seconds))
        });
    }
    let last = Sums::of(&progress);
    let server_after = server.map(Process::usage).transpose()?;
    let own_after = Process::own().usage()?;
    drop(line);
    readers.end().await?;
    let seconds = (last.at - first.at).as_secs_f64();
    let figures = figures(&arguments, counting, &first, &last);
    let (records, bytes) = (sum(&last.records) - sum(&first.records), last.bytes - first.bytes);
    let mut figures = figures;
    if let Some((before, after)) = server_before.zip(server_after) {
        figures["server"] = cost(before, after, seconds, records, bytes);
    }
    figures["client"] = cost(own_before, own_after, seconds, records, bytes);
    report(&figures, arguments.output.json)
}

fn sum(records: &[u64]) -> u64 {
    records.iter().sum()
}

fn figures(arguments: &Arguments, counting: Counting, first: &Sums, last: &Sums) -> Value {
    let seconds = (last.at - first.at).as_secs_f64();
    let (records, bytes) = (sum(&last.records) - sum(&first.records), last.bytes - first.bytes);
    let each: Vec<u64> = last.records.iter().zip(&first.records).map(|(last, first)| last - first).collect();
    json!({
        "command": "subscribe",
        "subscribers": arguments.subscribers,
        "streams": arguments.streams.len(),
        "counting": match counting {
            Counting::Each => "each",
            Counting::Sampled(_) => "sampled",
            Counting::Read => "read",
            Counting::Verify => "verified",
        },
        "seconds": (seconds * 1e3).round() / 1e3,
        "records": records,
        "recordsPerSecond": rate(records, seconds),
        "bytes": bytes,
        "megabytesPerSecond": rate(bytes, seconds * 1e6),
        "messages": last.messages - first.messages,
        "perSubscriber": {
            "recordsMin": each.iter().min(),
            "recordsMax": each.iter().max(),
        },
    })
}
