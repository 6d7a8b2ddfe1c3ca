//! `trailcast bench`: makes load and measures, as a table or as JSON.
//!
//! Owns its clients: they read sockets by hand, so that what is measured is the server. Each run prints one object of
//! figures on standard output and its progress on standard error.

mod arrivals;
mod capture;
mod database;
mod flush;
mod frames;
mod handshake;
mod histogram;
mod latency;
mod load;
mod marker;
mod positions;
mod process;
mod progress;
mod publish;
mod reader;
mod report;
mod resources;
mod subscribe;
mod tally;

use clap::{Args, Subcommand};

use super::failure::Failure;
use process::Process;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Put transactions over HTTP, as fast as they are answered or at a rate
    Publish(publish::Arguments),
    /// Subscribe many times, and measure how fast records come
    Subscribe(subscribe::Arguments),
    /// Commit at a rate, and measure how long after it each subscriber has the record
    Latency(latency::Arguments),
    /// Insert rows into a PostgreSQL, and measure how fast they come from its slot to a trail
    Capture(capture::Arguments),
}

/// What every subcommand is told of its output.
#[derive(Debug, Args)]
struct Output {
    /// Print one JSON object in place of the table
    #[arg(long, env = "TRAILCAST_JSON", value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::SetTrue)]
    json: bool,
    /// No progress on standard error
    #[arg(long, env = "TRAILCAST_BENCH_QUIET", value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::SetTrue)]
    quiet: bool,
    /// Process id of the server, when it is on this machine: what it costs is measured too
    #[arg(long, env = "TRAILCAST_BENCH_SERVER_PID", value_name = "PID")]
    server_pid: Option<u32>,
}

impl Output {
    fn server(&self) -> Result<Option<Process>, Failure> {
        self.server_pid.map(Process::new).transpose()
    }
}

/// Runs a subcommand.
pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Publish(publish) => publish::run(publish).await,
        Command::Subscribe(subscribe) => subscribe::run(subscribe).await,
        Command::Latency(latency) => latency::run(latency).await,
        Command::Capture(capture) => capture::run(capture).await,
    }
}

/// One thread for each core.
fn threads_default() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
