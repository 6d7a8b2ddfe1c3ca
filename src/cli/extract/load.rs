//! `trailcast extract load`: asks for tables to be loaded, lets a load rest, go on or end, and shows how far it is.

use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::bars::Bars;
use super::progress::{Progress, TableProgress};
use super::rest;
use crate::cli::failure::Failure;
use crate::cli::output::{harmless, print, say};
use crate::client::ServerAddress;
use crate::limits;

#[derive(Debug, Args)]
pub(super) struct LoadArguments {
    /// Tables to load, such as public.orders or "public.*"; more may follow after a semicolon, or each in a flag of
    /// its own. With --cancel those whose load ends
    #[arg(long = "table", env = "TRAILCAST_TABLES", value_name = "PATTERN", value_delimiter = ';')]
    tables: Vec<String>,
    /// Only rows for which this SQL condition holds
    #[arg(long = "where", env = "TRAILCAST_LOAD_WHERE", value_name = "CONDITION")]
    condition: Option<String>,
    /// Let the load rest
    #[arg(long, env = "TRAILCAST_LOAD_PAUSE", conflicts_with_all = ["resume", "cancel", "tables", "condition"], value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::SetTrue)]
    pause: bool,
    /// Let it go on where it was
    #[arg(long, env = "TRAILCAST_LOAD_RESUME", conflicts_with_all = ["cancel", "tables", "condition"], value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::SetTrue)]
    resume: bool,
    /// End it where it is
    #[arg(long, env = "TRAILCAST_LOAD_CANCEL", conflicts_with = "condition", value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::SetTrue)]
    cancel: bool,
    /// Show how far it is until it ends; it goes on when this is interrupted
    #[arg(long, env = "TRAILCAST_LOAD_WATCH", value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::SetTrue)]
    watch: bool,
}

/// Does what is asked, and shows how far the load is.
pub(super) async fn run(
    address: &ServerAddress,
    name: &str,
    load: LoadArguments,
    as_json: bool,
) -> Result<(), Failure> {
    let order = request(&load)?;
    let answer = match &order {
        Some((method, body)) => rest::ask(address, method.clone(), name, Some("load"), Some(body)).await?,
        None => look(address, name).await?,
    };
    let mut progress = Progress::read(&answer)?;
    if !load.watch {
        if progress.tables.is_empty() {
            say(match order {
                None => format!("extract {name} has loaded nothing: name tables with --table"),
                Some(_) => format!("asked; {name} shows how far it is as soon as it has begun (--watch)"),
            });
        }
        print(if as_json { format!("{answer}\n") } else { lines(&progress) }.as_bytes())?;
        return Ok(());
    }
    let mut shown = Shown::new(as_json);
    // Until the extract has heard of an order it shows what was before, and until it has started nothing.
    let is_stale = order.is_some() || progress.tables.is_empty();
    let mut stale = is_stale.then(|| (progress.clone(), Instant::now()));
    if stale.is_none() {
        shown.show(&answer, &progress)?;
    }
    while stale.is_some() || !progress.is_over() {
        sleep(Duration::from_millis(limits::LOAD_WATCH_MILLIS)).await;
        let answer = look(address, name).await?;
        progress = Progress::read(&answer)?;
        if let Some((before, asked)) = &stale
            && progress == *before
        {
            if asked.elapsed() < Duration::from_secs(limits::LOAD_BEGIN_SECONDS_MAX) {
                continue;
            }
            say(format!(
                "nothing has changed since: what is to be loaded is loaded already, or will be when extract {name} runs"
            ));
        }
        stale = None;
        shown.show(&answer, &progress)?;
    }
    drop(shown);
    match progress.failed()[..] {
        [] => Ok(()),
        [only] => Err(Failure::failed(format!("{} was not loaded", only.table))),
        ref several => Err(Failure::failed(format!("{} tables were not loaded", several.len()))),
    }
}

/// What is to be asked for, unless it is only how far the load is.
fn request(load: &LoadArguments) -> Result<Option<(Method, Value)>, Failure> {
    let LoadArguments { tables, condition, pause, resume, cancel, .. } = load;
    let status = match (pause, resume, cancel) {
        (true, _, _) => Some("paused"),
        (_, true, _) => Some("running"),
        (_, _, true) => Some("cancelled"),
        _ => None,
    };
    if let Some(status) = status {
        let mut body = json!({ "status": status });
        if !tables.is_empty() {
            body["tables"] = json!(tables);
        }
        return Ok(Some((Method::PATCH, body)));
    }
    if tables.is_empty() {
        return match condition {
            Some(_) => Err(Failure::usage("--where: name the tables with --table")),
            None => Ok(None),
        };
    }
    let mut body = json!({ "tables": tables });
    if let Some(condition) = condition {
        body["where"] = condition.as_str().into();
    }
    Ok(Some((Method::POST, body)))
}

async fn look(address: &ServerAddress, name: &str) -> Result<Value, Failure> {
    rest::ask(address, Method::GET, name, Some("load"), None).await
}

fn lines(progress: &Progress) -> String {
    let line = |table: &TableProgress| format!("{:<32} {}\n", harmless(&table.table), table.worded());
    let waits = progress.waits_for.iter().map(|wait| format!("waits: {}\n", harmless(&wait.what)));
    progress.tables.iter().map(line).chain(waits).collect()
}

/// How progress is shown while it is watched.
enum Shown {
    Json,
    /// The lines that were printed last.
    Lines(String),
    Bars(Bars),
}

impl Shown {
    fn new(as_json: bool) -> Self {
        match Bars::in_terminal() {
            _ if as_json => Self::Json,
            Some(bars) => Self::Bars(bars),
            None => Self::Lines(String::new()),
        }
    }

    fn show(&mut self, answer: &Value, progress: &Progress) -> Result<(), Failure> {
        match self {
            Self::Json => print(format!("{answer}\n").as_bytes())?,
            Self::Lines(before) => {
                let now = lines(progress);
                let is_new = |line: &&str| !before.lines().any(|known| known == *line);
                let new: String = now.lines().filter(is_new).map(|line| format!("{line}\n")).collect();
                print(new.as_bytes())?;
                *before = now;
            }
            Self::Bars(bars) => bars.show(progress),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(value: Value) -> Progress {
        Progress::read(&value).unwrap()
    }

    #[test]
    fn a_load_is_over_when_no_table_is_left() {
        let of = |state: &str, table: &str| {
            progress(json!({"state": state, "tables": [{"table": "public.t", "state": table, "rows": 1}]}))
        };
        assert!(
            of("done", "loaded").is_over() && of("failed", "failed").is_over() && of("paused", "cancelled").is_over()
        );
        assert!(
            !of("loading", "loading").is_over()
                && !of("waiting", "queued").is_over()
                && !of("paused", "queued").is_over()
        );
        assert_eq!(of("failed", "failed").failed().len(), 1);
        assert!(Progress::read(&json!({"status": "running"})).is_err());
    }

    #[test]
    fn a_table_says_what_is_known_of_it() {
        let shown = progress(json!({"state": "loading", "waitsFor": {"what": "pid 7", "seconds": 3}, "tables": [
            {"table": "public.t", "state": "loading", "rows": 812_000, "estimatedRows": 2_000_000, "percent": 40.6,
             "rowsPerSecond": 310_000, "secondsLeft": 4, "restarts": 0},
            {"table": "public.u", "state": "failed", "rows": 0, "error": "it has no key"},
        ]}));
        let lines = lines(&shown);
        assert!(lines.contains("loading   812000 rows, 40.6 %, 310000 rows/s, 4 s left\n"), "{lines}");
        assert!(lines.contains("failed    0 rows: it has no key\n") && lines.ends_with("waits: pid 7\n"), "{lines}");
    }
}
