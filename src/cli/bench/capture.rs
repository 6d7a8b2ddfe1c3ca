//! `trailcast bench capture`: rows inserted while an extract is stopped, and how fast it then takes them from its slot.

use std::ops::Range;
use std::time::{Duration, Instant};

use clap::{Args, builder::RangedU64ValueParser};
use serde_json::{Value, json};

use super::Output;
use super::database::{Captured, DatabaseArguments};
use super::load::Load;
use super::process::{Process, Usage, cost};
use super::progress::ProgressLine;
use super::report::{rate, report};
use super::resources::{extract_info, set_status, trail_info};
use crate::cli::client_arguments::ClientArguments;
use crate::cli::failure::Failure;
use crate::client::ServerAddress;
use crate::limits;

const LOOK_EVERY: Duration = Duration::from_millis(5);
/// A look at the server costs it what a hundred rows do: it should not show in their figures, nor its time in the rate.
const LOOKS_IN_ALL: u32 = 100;
/// Rows that one statement inserts, so that progress can be told in between.
const ROWS_A_STATEMENT: u64 = 10_000;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Rows to insert
    #[arg(long, env = "TRAILCAST_BENCH_ROWS", default_value_t = 500_000, value_name = "NUMBER",
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=limits::BENCH_ROWS_MAX))]
    rows: u64,
    /// Rows in each transaction
    #[arg(long, env = "TRAILCAST_BENCH_ROWS_A_TRANSACTION", default_value_t = 1_000, value_name = "NUMBER",
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=limits::BENCH_ROWS_MAX))]
    rows_a_transaction: u64,
    /// Bytes of one row's record as the default encoding sends it; 190 at least
    #[arg(long, env = "TRAILCAST_BENCH_RECORD_BYTES", default_value_t = 370, value_name = "BYTES",
          value_parser = RangedU64ValueParser::<usize>::new()
              .range(limits::BENCH_RECORD_BYTES_MIN as u64..=limits::BENCH_RECORD_BYTES_MAX as u64))]
    record_bytes: usize,
    /// How long it may take, in seconds
    #[arg(long, env = "TRAILCAST_BENCH_SECONDS", default_value_t = 600, value_name = "SECONDS",
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=limits::BENCH_SECONDS_MAX))]
    seconds: u64,
    #[command(flatten)]
    database: DatabaseArguments,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    client: ClientArguments,
}

/// Makes what it needs, measures, removes it again, reports.
pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let address = arguments.client.address()?;
    let Some(source) = arguments.database.source()? else {
        return Err(Failure::usage("--pg says which database"));
    };
    let captured = Captured::make(&address, source, format!("bench_{}", std::process::id())).await?;
    let measured = measure(&arguments, &address, &captured).await;
    let removed = captured.remove(&address).await;
    let figures = measured?;
    removed?;
    report(&figures, arguments.output.json)
}

async fn measure(arguments: &Arguments, address: &ServerAddress, captured: &Captured) -> Result<Value, Failure> {
    let server = arguments.output.server()?;
    let mut line = ProgressLine::new(arguments.output.quiet);
    let name = captured.name.as_str();
    stop(address, name).await?;
    let commits_before = commits(address, name).await?;
    let inserting = Instant::now();
    let transactions = insert(arguments, captured, &mut line).await?;
    let insert_seconds = inserting.elapsed().as_secs_f64();
    let before = server.map(Process::usage).transpose()?;
    let start = Instant::now();
    set_status(address, name, "running").await?;
    let deadline = start + Duration::from_secs(arguments.seconds);
    let mut walsender: Option<(Process, Usage)> = None;
    let mut looked_for_walsender = false;
    loop {
        let taken = commits(address, name).await?.saturating_sub(commits_before);
        if let Some((process, usage)) = &mut walsender
            && let Ok(now) = process.usage()
        {
            *usage = now;
        }
        if taken >= transactions {
            break;
        }
        if Instant::now() > deadline {
            let info = extract_info(address, name).await?;
            return Err(Failure::failed(format!("{taken} of {transactions} transactions in time; {info}")));
        }
        line.tick(|| {
            format!("{:.0} s: {} rows captured", start.elapsed().as_secs_f64(), taken * arguments.rows_a_transaction)
        });
        if taken > 0 && !std::mem::replace(&mut looked_for_walsender, true) {
            walsender = captured.walsender().await.and_then(|pid| {
                let process = Process::new(pid).ok()?;
                Some((process, process.usage().ok()?))
            });
        }
        tokio::time::sleep(LOOK_EVERY.max(start.elapsed() / LOOKS_IN_ALL)).await;
    }
    let seconds = start.elapsed().as_secs_f64();
    let after = server.map(Process::usage).transpose()?;
    let mut figures = json!({
        "command": "capture",
        "rows": arguments.rows,
        "rowsPerTransaction": arguments.rows_a_transaction,
        "insertSeconds": (insert_seconds * 1e3).round() / 1e3,
        "seconds": (seconds * 1e3).round() / 1e3,
        "rowsPerSecond": rate(arguments.rows, seconds),
        "walsenderCpuMicrosPerRow": walsender.map(|(_, usage)| usage.cpu_micros as f64 / arguments.rows as f64),
    });
    if let Some((before, after)) = before.zip(after) {
        figures["server"] = cost(before, after, seconds, arguments.rows, 0);
    }
    Ok(figures)
}

async fn commits(address: &ServerAddress, trail: &str) -> Result<u64, Failure> {
    Ok(trail_info(address, trail).await?["lastCommit"].as_u64().unwrap_or_default())
}

async fn stop(address: &ServerAddress, extract: &str) -> Result<(), Failure> {
    set_status(address, extract, "stopped").await?;
    let deadline = Instant::now() + Duration::from_secs(limits::BENCH_DRAIN_SECONDS_MAX);
    while extract_info(address, extract).await?["status"] != "stopped" {
        if Instant::now() > deadline {
            return Err(Failure::failed("the extract does not stop"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Inserts the rows and says in how many transactions.
async fn insert(arguments: &Arguments, captured: &Captured, line: &mut ProgressLine) -> Result<u64, Failure> {
    let load = Load::new(1, arguments.record_bytes);
    let mut session = captured.session().await?;
    // What is measured is reading the log; transactions of one row would take minutes to flush one by one.
    session.run("SET synchronous_commit = off").await.map_err(Failure::failed)?;
    let transactions = arguments.rows.div_ceil(arguments.rows_a_transaction);
    let at_once = (ROWS_A_STATEMENT / arguments.rows_a_transaction).max(1);
    let mut made = 0;
    while made < transactions {
        let last = (made + at_once).min(transactions);
        session.run(&inserts(arguments, captured, &load, made..last)).await.map_err(Failure::failed)?;
        made = last;
        line.tick(|| format!("{made} of {transactions} transactions inserted"));
    }
    // A server hands out what it has flushed: one commit that is waited for flushes all before it.
    session.run("SET synchronous_commit = on").await.map_err(Failure::failed)?;
    session.run("SELECT pg_logical_emit_message(true, 'trailcast', '')").await.map_err(Failure::failed)?;
    session.close().await;
    Ok(transactions)
}

/// One statement that makes these transactions, numbered from 0.
fn inserts(arguments: &Arguments, captured: &Captured, load: &Load, transactions: Range<u64>) -> String {
    let (rows, each) = (arguments.rows, arguments.rows_a_transaction);
    let (first, last) = (transactions.start * each + 1, (transactions.end * each).min(rows));
    format!(
        "DO $$ BEGIN FOR f IN {first}..{last} BY {each} LOOP \
         INSERT INTO {} SELECT g, g % 900 + 100.5, '{}' FROM generate_series(f, least(f + {}, {rows})) g; \
         COMMIT; END LOOP; END $$",
        captured.name,
        load.note(),
        each - 1,
    )
}
