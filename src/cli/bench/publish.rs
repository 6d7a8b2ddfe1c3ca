//! `trailcast bench publish`: callers that put transactions over HTTP, each the next as soon as the last is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Args, builder::RangedU64ValueParser};
use serde_json::json;
use tokio::task::JoinSet;

use super::Output;
use super::histogram::Histogram;
use super::load::Load;
use super::process::{Process, cost};
use super::progress::ProgressLine;
use super::report::{rate, report};
use super::resources::make_trail;
use crate::cli::client_arguments::ClientArguments;
use crate::cli::failure::Failure;
use crate::client::Putter;
use crate::limits;

const LOOK_EVERY: Duration = Duration::from_millis(2);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The trail; made if it is not there
    trail: String,
    /// Connections that put at once
    #[arg(long, env = "TRAILCAST_BENCH_CALLERS", default_value_t = 8, value_name = "NUMBER",
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=limits::BENCH_CALLERS_MAX as u64))]
    callers: usize,
    /// Operations in each transaction
    #[arg(long, env = "TRAILCAST_BENCH_OPERATIONS", default_value_t = 100, value_name = "NUMBER",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::BENCH_OPERATIONS_MAX)))]
    operations: u32,
    /// Transactions in each request
    #[arg(long, env = "TRAILCAST_BENCH_TRANSACTIONS_A_REQUEST", default_value_t = 1, value_name = "NUMBER",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::BENCH_OPERATIONS_MAX)))]
    transactions_a_request: u32,
    /// Bytes of one record as the default encoding sends it; 190 at least
    #[arg(long, env = "TRAILCAST_BENCH_RECORD_BYTES", default_value_t = 200, value_name = "BYTES",
          value_parser = RangedU64ValueParser::<usize>::new()
              .range(limits::BENCH_RECORD_BYTES_MIN as u64..=limits::BENCH_RECORD_BYTES_MAX as u64))]
    record_bytes: usize,
    /// Requests a second, over all callers [default: as many as are answered]
    #[arg(long, env = "TRAILCAST_BENCH_RATE", value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// How long, in seconds, unless --records ends it before
    #[arg(long, env = "TRAILCAST_BENCH_SECONDS", default_value_t = 10, value_name = "SECONDS",
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=limits::BENCH_SECONDS_MAX))]
    seconds: u64,
    /// End after as many records, rounded up to whole requests
    #[arg(long, env = "TRAILCAST_BENCH_RECORDS", value_name = "NUMBER")]
    records: Option<u64>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    client: ClientArguments,
}

/// What the callers share.
struct Work {
    load: Load,
    transactions_a_request: u64,
    /// Requests begun.
    begun: AtomicU64,
    requests_max: u64,
    acked: AtomicU64,
    body_bytes: AtomicU64,
    over: AtomicBool,
    start: Instant,
    /// Time between the starts of two requests, over all callers.
    pace: Option<Duration>,
}

impl Work {
    /// The number of the next request, from 0, when it is due.
    async fn next(&self) -> Option<u64> {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        if let Some(pace) = self.pace {
            tokio::time::sleep_until((self.start + pace.mul_f64(number as f64)).into()).await;
        }
        (number < self.requests_max && !self.over.load(Ordering::Relaxed)).then_some(number)
    }

    fn body(&self, request: u64) -> Bytes {
        let first = request * self.transactions_a_request + 1;
        let mut lines = Vec::new();
        (first..first + self.transactions_a_request).for_each(|number| self.load.push_line(&mut lines, number));
        lines.into()
    }
}

/// Puts, measures, reports.
pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let address = arguments.client.address()?;
    let server = arguments.output.server()?;
    make_trail(&address, &arguments.trail).await?;
    let mut putters = Vec::new();
    for _ in 0..arguments.callers {
        putters.push(Putter::connect(&address, &arguments.trail).await?);
    }
    let records_a_request = u64::from(arguments.operations) * u64::from(arguments.transactions_a_request);
    let own_before = Process::own().usage()?;
    let server_before = server.map(Process::usage).transpose()?;
    let work = Arc::new(Work {
        load: Load::new(arguments.operations, arguments.record_bytes),
        transactions_a_request: u64::from(arguments.transactions_a_request),
        begun: AtomicU64::new(0),
        requests_max: arguments.records.map_or(u64::MAX, |records| records.div_ceil(records_a_request)),
        acked: AtomicU64::new(0),
        body_bytes: AtomicU64::new(0),
        over: AtomicBool::new(false),
        start: Instant::now(),
        pace: arguments.rate.map(|rate| Duration::from_secs(1) / rate),
    });
    let mut callers = JoinSet::new();
    putters.into_iter().for_each(|putter| drop(callers.spawn(call(putter, work.clone()))));
    let (latency, last_answer) = watch(&arguments, &work, callers).await?;
    let seconds = (last_answer - work.start).as_secs_f64();
    let transactions = work.acked.load(Ordering::Relaxed);
    let records = transactions * work.load.operations();
    let bytes = work.body_bytes.load(Ordering::Relaxed);
    let mut figures = json!({
        "command": "publish",
        "callers": arguments.callers,
        "operationsPerTransaction": arguments.operations,
        "transactionsPerRequest": arguments.transactions_a_request,
        "seconds": (seconds * 1e3).round() / 1e3,
        "transactions": transactions,
        "transactionsPerSecond": rate(transactions, seconds),
        "records": records,
        "recordsPerSecond": rate(records, seconds),
        "bodyBytes": bytes,
        "megabytesPerSecond": rate(bytes, seconds * 1e6),
        "requestLatency": latency.to_json(),
    });
    if let Some((before, process)) = server_before.zip(server) {
        figures["server"] = cost(before, process.usage()?, seconds, records, bytes);
    }
    figures["client"] = cost(own_before, Process::own().usage()?, seconds, records, bytes);
    report(&figures, arguments.output.json)
}

/// Waits for the callers, ends them in time, and gives what they measured and when the last answer came.
async fn watch(
    arguments: &Arguments,
    work: &Arc<Work>,
    mut callers: JoinSet<Result<Histogram, Failure>>,
) -> Result<(Histogram, Instant), Failure> {
    let mut line = ProgressLine::new(arguments.output.quiet);
    let deadline = work.start + Duration::from_secs(arguments.seconds);
    let mut latency = Histogram::default();
    while !callers.is_empty() {
        tokio::select! {
            Some(ended) = callers.join_next() => latency.merge(&ended.map_err(Failure::failed)??),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if Instant::now() >= deadline {
            work.over.store(true, Ordering::Relaxed);
        }
        line.tick(|| {
            let (acked, elapsed) = (work.acked.load(Ordering::Relaxed), work.start.elapsed().as_secs_f64());
            format!("{elapsed:.0} s: {acked} transactions, {:.0} a second", rate(acked, elapsed))
        });
    }
    Ok((latency, Instant::now()))
}

async fn call(mut putter: Putter, work: Arc<Work>) -> Result<Histogram, Failure> {
    let mut latency = Histogram::default();
    while let Some(request) = work.next().await {
        let body = work.body(request);
        let bytes = body.len() as u64;
        let start = Instant::now();
        let answer = putter.put(body).await?;
        latency.add_duration(start.elapsed());
        work.acked.fetch_add(answer.acked, Ordering::Relaxed);
        work.body_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
    Ok(latency)
}
