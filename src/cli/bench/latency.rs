//! `trailcast bench latency`: commits at a rate, and how long after each its record is with every subscriber.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, builder::RangedU64ValueParser};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::arrivals::{Arrivals, Commits};
use super::database::{Captured, DatabaseArguments};
use super::flush::Flusher;
use super::histogram::Histogram;
use super::load::{FIRST_ID, Load};
use super::process::{Process, cost};
use super::progress::ProgressLine;
use super::reader::{Readers, Subscriber, Until};
use super::report::{rate, report};
use super::resources::{make_stream, make_trail, remove};
use super::tally::{Progress, Tally};
use super::{Output, threads_default};
use crate::capture::postgres::sql_client::SqlClient;
use crate::cli::client_arguments::ClientArguments;
use crate::cli::failure::Failure;
use crate::client::{Putter, ServerAddress};
use crate::limits;

const LOOK_EVERY: Duration = Duration::from_millis(2);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Transactions a second, of one row each
    #[arg(long, env = "TRAILCAST_BENCH_RATE", default_value_t = 1_000, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// How many subscribers
    #[arg(long, env = "TRAILCAST_BENCH_SUBSCRIBERS", default_value_t = 1, value_name = "NUMBER",
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=limits::BENCH_SUBSCRIBERS_MAX as u64))]
    subscribers: u64,
    /// Connections that commit
    #[arg(long, env = "TRAILCAST_BENCH_CALLERS", default_value_t = 4, value_name = "NUMBER",
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=limits::BENCH_CALLERS_MAX as u64))]
    callers: usize,
    /// How long, in seconds
    #[arg(long, env = "TRAILCAST_BENCH_SECONDS", default_value_t = 10, value_name = "SECONDS",
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=limits::BENCH_SECONDS_MAX))]
    seconds: u64,
    /// Bytes of one record as the default encoding sends it; 190 at least
    #[arg(long, env = "TRAILCAST_BENCH_RECORD_BYTES", default_value_t = 200, value_name = "BYTES",
          value_parser = RangedU64ValueParser::<usize>::new()
              .range(limits::BENCH_RECORD_BYTES_MIN as u64..=limits::BENCH_RECORD_BYTES_MAX as u64))]
    record_bytes: usize,
    /// Measure fdatasync too, in a file of its own in this folder: one on the disk of the server's data folder
    #[arg(long, env = "TRAILCAST_BENCH_FSYNC_DIR", value_name = "FOLDER")]
    fsync_dir: Option<PathBuf>,
    /// Threads that read [default: one for each core]
    #[arg(long, env = "TRAILCAST_BENCH_THREADS", value_name = "NUMBER",
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=limits::BENCH_THREADS_MAX as u64))]
    threads: Option<usize>,
    #[command(flatten)]
    database: DatabaseArguments,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    client: ClientArguments,
}

/// Commits one row at a time.
enum Committer {
    Put(Box<Putter>, Load),
    Postgres(SqlClient, String, String),
}

impl Committer {
    async fn commit(&mut self, number: u64) -> Result<(), Failure> {
        match self {
            Self::Put(putter, load) => {
                let mut line = Vec::new();
                load.push_line(&mut line, number);
                putter.put(line.into()).await.map(drop).map_err(Failure::from)
            }
            Self::Postgres(session, table, note) => {
                let id = FIRST_ID + number - 1;
                let sql = format!("INSERT INTO {table} VALUES ({id}, {}.50, '{note}')", id % 900 + 100);
                session.run(&sql).await.map(drop).map_err(Failure::failed)
            }
        }
    }
}

/// What the committers share.
struct Pace {
    start: Instant,
    rate: u32,
    begun: AtomicU64,
    transactions: u64,
    over: AtomicBool,
}

impl Pace {
    /// Number of the next transaction, from 1, when it is due.
    async fn next(&self) -> Option<u64> {
        let number = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        if number > self.transactions || self.over.load(Ordering::Relaxed) {
            return None;
        }
        let due = Duration::from_secs_f64((number - 1) as f64 / f64::from(self.rate));
        tokio::time::sleep_until((self.start + due).into()).await;
        Some(number)
    }
}

/// Makes what it needs, measures, removes it again, reports.
pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let transactions = u64::from(arguments.rate) * arguments.seconds;
    if transactions > limits::BENCH_LATENCY_TRANSACTIONS_MAX {
        let most = limits::BENCH_LATENCY_TRANSACTIONS_MAX;
        return Err(Failure::usage(format!("--rate times --seconds: at most {most} transactions")));
    }
    let address = arguments.client.address()?;
    let source = arguments.database.source()?;
    let name = format!("bench_{}", std::process::id());
    let captured = match source {
        Some(source) => Some(Captured::make(&address, source, name.clone()).await?),
        None => make_trail(&address, &name).await.map(|()| None)?,
    };
    let measured = measure(&arguments, &address, &name, captured.as_ref(), transactions).await;
    let removed = clean_up(&address, &name, captured.as_ref()).await;
    let figures = measured?;
    removed?;
    report(&figures, arguments.output.json)
}

async fn clean_up(address: &ServerAddress, name: &str, captured: Option<&Captured>) -> Result<(), Failure> {
    let stream = remove(address, "stream", name).await;
    match captured {
        Some(captured) => captured.remove(address).await?,
        None => remove(address, "trails", name).await?,
    }
    stream
}

async fn committers(
    arguments: &Arguments,
    address: &ServerAddress,
    name: &str,
    captured: Option<&Captured>,
) -> Result<Vec<Committer>, Failure> {
    let mut committers = Vec::new();
    for _ in 0..arguments.callers {
        let load = Load::new(1, arguments.record_bytes);
        committers.push(match captured {
            Some(captured) => Committer::Postgres(captured.session().await?, name.to_owned(), load.note().to_owned()),
            None => Committer::Put(Box::new(Putter::connect(address, name).await?), load),
        });
    }
    Ok(committers)
}

async fn measure(
    arguments: &Arguments,
    address: &ServerAddress,
    name: &str,
    captured: Option<&Captured>,
    transactions: u64,
) -> Result<Value, Failure> {
    let server = arguments.output.server()?;
    make_stream(address, name, name).await?;
    let commits = Commits::new(transactions);
    let target = format!("{}?begin=now", address.path(&["services", "v2", "stream", name]));
    let subscriber = |_| {
        let progress = Arc::new(Progress::default());
        let tally = Tally::of_arrivals(Arrivals::new(commits.clone()), progress.clone());
        Subscriber { target: target.clone(), tally, progress }
    };
    let subscribers: Vec<_> = (0..arguments.subscribers).map(subscriber).collect();
    let progress: Vec<_> = subscribers.iter().map(|subscriber| subscriber.progress.clone()).collect();
    let threads = arguments.threads.unwrap_or_else(threads_default);
    let readers = Readers::start(address, subscribers, threads, Until { records: None })?;
    readers.connected().await;
    readers.read();
    let committers = committers(arguments, address, name, captured).await?;
    let flusher = arguments.fsync_dir.as_deref().map(Flusher::start).transpose()?;
    let before = server.map(Process::usage).transpose()?;
    let pace = Arc::new(Pace {
        start: Instant::now(),
        rate: arguments.rate,
        begun: AtomicU64::new(0),
        transactions,
        over: AtomicBool::new(false),
    });
    let mut tasks = JoinSet::new();
    for committer in committers {
        tasks.spawn(commit(committer, pace.clone(), commits.clone()));
    }
    let mut line = ProgressLine::new(arguments.output.quiet);
    let mut committing = Histogram::default();
    while !tasks.is_empty() {
        tokio::select! {
            Some(ended) = tasks.join_next() => committing.merge(&ended.map_err(Failure::failed)??),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if readers.failed() {
            pace.over.store(true, Ordering::Relaxed);
        }
        line.tick(|| {
            let fewest = progress.iter().map(|one| one.records()).min().unwrap_or_default();
            format!("{:.0} s: {fewest} records with every subscriber", pace.start.elapsed().as_secs_f64())
        });
    }
    let seconds = pace.start.elapsed().as_secs_f64();
    let deadline = Instant::now() + Duration::from_secs(limits::BENCH_DRAIN_SECONDS_MAX);
    let all_there = || progress.iter().all(|one| one.records() >= committing.seen());
    while !all_there() && !readers.failed() && Instant::now() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let after = server.map(Process::usage).transpose()?;
    let flushing = match flusher {
        Some(flusher) => Some(flusher.end().await?),
        None => None,
    };
    drop(line);
    let tallies = readers.end().await?;
    let (mut latency, mut early) = (Histogram::default(), 0);
    for arrivals in tallies.into_iter().filter_map(Tally::into_arrivals) {
        let (one, before) = arrivals.finish();
        latency.merge(&one);
        early += before;
    }
    let mut figures = json!({
        "command": "latency",
        "source": if captured.is_some() { "postgresql" } else { "put" },
        "subscribers": arguments.subscribers,
        "transactionsPerSecondAsked": arguments.rate,
        "transactions": committing.seen(),
        "transactionsPerSecond": rate(committing.seen(), seconds),
        "missing": (committing.seen() * arguments.subscribers).saturating_sub(latency.seen()),
        "commit": committing.to_json(),
        "commitToSubscriber": latency.to_json(),
        "beforeCommitReturned": early,
        "fdatasync": flushing.as_ref().map(Histogram::to_json),
        "medianPerFdatasync": flushing.map(|one| ratio(latency.quantile_micros(0.5), one.quantile_micros(0.5))),
    });
    if let Some((before, after)) = before.zip(after) {
        figures["server"] = cost(before, after, seconds, latency.seen(), 0);
    }
    Ok(figures)
}

fn ratio(of: f64, to: f64) -> f64 {
    (of / to.max(1e-3) * 100.0).round() / 100.0
}

async fn commit(mut committer: Committer, pace: Arc<Pace>, commits: Arc<Commits>) -> Result<Histogram, Failure> {
    let mut latency = Histogram::default();
    while let Some(id) = pace.next().await {
        let start = Instant::now();
        committer.commit(id).await?;
        commits.returned(id);
        latency.add_duration(start.elapsed());
    }
    Ok(latency)
}
