//! `trailcast trail dump`: records with their header fields, as text or as JSON lines.

use std::fmt::Write as _;

use clap::Args;

use super::House;
use crate::cli::failure::Failure;
use crate::cli::output::{harmless, print};
use crate::codec::image::{Cell, Image};
use crate::codec::json_text::quoted;
use crate::codec::token;
use crate::record::{Operation, Timestamp};
use crate::trail::{Begin, Entry, Fill, Gap, Missing, ReadError, Reader, Record, SeekError, Trail};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The trail
    trail: String,
    /// Where to start: earliest, an ISO 8601 timestamp, or after a position
    #[arg(long, env = "TRAILCAST_BEGIN", default_value = "earliest")]
    begin: String,
    /// Stop after so many records
    #[arg(long, env = "TRAILCAST_LIMIT")]
    limit: Option<u64>,
}

/// Prints records up to the last mark on disk. A server that runs beside it may remove segments meanwhile: where that
/// happens a line says which transactions went, and the next one kept follows.
pub(super) async fn run(house: &House, arguments: &Arguments) -> Result<(), Failure> {
    let mut dump = Dump {
        trail: house.open(&arguments.trail)?,
        as_json: house.json,
        left: arguments.limit.unwrap_or(u64::MAX),
        next: None,
        begun: false,
    };
    let mut begin = begin(&arguments.begin)?;
    while let Err(error) = dump.print_from(begin).await {
        let Stopped::Reading(error) = error else { return Err(error.into()) };
        let now = house.open(&arguments.trail)?;
        let (first_before, first_now) = (dump.trail.status().first_commit, now.status().first_commit);
        if first_now <= first_before || now.epoch() != dump.trail.epoch() {
            return Err(Failure::failed(error));
        }
        if let Some(next) = dump.next {
            // Where the next one is still kept, something else went wrong, and its records would be printed again.
            if next > first_now || (next == first_now && dump.begun) {
                return Err(Failure::failed(error));
            }
            if next < first_now {
                print(removed_line(next, first_now, dump.as_json).as_bytes())?;
                // Retention may go on before anything more is printed.
                (dump.next, dump.begun) = (Some(first_now), false);
            }
            begin = Begin::Earliest;
        }
        dump.trail = now;
    }
    Ok(())
}

/// Why printing stopped early.
enum Stopped {
    /// The trail could not be read.
    Reading(SeekError),
    /// Anything else.
    Other(Failure),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Other(failure)
    }
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Reading(error) => Self::failed(error),
            Stopped::Other(failure) => failure,
        }
    }
}

/// A dump under way.
struct Dump {
    trail: Trail,
    as_json: bool,
    /// Records still to be printed.
    left: u64,
    /// Commit number of the first transaction that has not been printed whole; none before anything was.
    next: Option<u64>,
    /// Records of that transaction have been printed.
    begun: bool,
}

impl Dump {
    async fn print_from(&mut self, begin: Begin) -> Result<(), Stopped> {
        let mut reader = self.trail.read(begin).await.map_err(Stopped::Reading)?;
        let reading = |error: ReadError| Stopped::Reading(error.into());
        while self.left > 0 && reader.fill().await.map_err(reading)? == Fill::Filled {
            let mut text = String::new();
            let gathered = self.gather(&mut reader, &mut text);
            // Also what came before an error, for it counts as printed.
            print(text.as_bytes()).map_err(Failure::from)?;
            gathered?;
        }
        Ok(())
    }

    /// Adds the lines of the block at hand to `text`.
    fn gather(&mut self, reader: &mut Reader, text: &mut String) -> Result<(), Stopped> {
        while self.left > 0
            && let Some(entry) = reader.next().map_err(|error| Stopped::Reading(error.into()))?
        {
            match entry {
                Entry::Record(record) => {
                    text.push_str(&line(&self.trail, &record, self.as_json)?);
                    self.left -= 1;
                    // A dump that starts inside a transaction sees no begin of it.
                    (self.next, self.begun) = (Some(record.transaction.commit), true);
                }
                Entry::Gap(gap) => {
                    text.push_str(&gap_line(&self.trail, &gap, self.as_json));
                    (self.next, self.begun) = (Some(gap.next), false);
                }
                Entry::Begin(transaction) => {
                    (self.next, self.begun) = (Some(transaction.commit), false);
                    continue;
                }
                Entry::Commit(commit) => {
                    (self.next, self.begun) = (Some(commit.commit + 1), false);
                    continue;
                }
            }
            text.push('\n');
        }
        Ok(())
    }
}

/// What stands for transactions that retention took while they were to be read: the first one is the first that was not
/// printed to its end. It does not count as a record.
fn removed_line(first: u64, next: u64, as_json: bool) -> String {
    if as_json {
        format!("{{\"op_type\":\"REMOVED\",\"first_csn\":{first},\"next_csn\":{next}}}\n")
    } else {
        format!("{first} REMOVED  retention removed transactions {first} to {} meanwhile\n", next - 1)
    }
}

/// What stands for transactions that damage took, or rows that may be missing; it does not count as a record.
fn gap_line(trail: &Trail, gap: &Gap, as_json: bool) -> String {
    let pos = token::encode_trail(&gap.position(trail.epoch()));
    match &gap.missing {
        missing if as_json => {
            let (first, next, pos) = (gap.first, gap.next, pos.as_str());
            let missing = missing.as_ref().map(|missing| missing_members(missing)).unwrap_or_default();
            format!("{{\"op_type\":\"GAP\",\"first_csn\":{first},\"next_csn\":{next},\"pos\":\"{pos}\"{missing}}}")
        }
        Some(_) => format!("{} GAP      {gap}", gap.first),
        None => format!("{} GAP      {gap}; the trail was repaired", gap.first),
    }
}

/// What a gap says of rows that the source may not have given, as further members.
fn missing_members(missing: &Missing) -> String {
    let tables: Vec<String> = missing.tables.iter().map(|table| quoted(&table.to_string()).to_string()).collect();
    format!(",\"tables\":[{}],\"from\":{},\"to\":{}", tables.join(","), quoted(&missing.from), quoted(&missing.to))
}

fn begin(text: &str) -> Result<Begin, Failure> {
    if text == "earliest" {
        return Ok(Begin::Earliest);
    }
    if let Ok(token) = token::decode(text) {
        return Ok(Begin::After(token.position));
    }
    let time = Timestamp::parse(text);
    time.map(Begin::Time).map_err(|_| Failure::usage("--begin is earliest, an ISO 8601 timestamp, or a position"))
}

fn line(trail: &Trail, record: &Record<'_>, as_json: bool) -> Result<String, Failure> {
    let position = record.position(trail.epoch());
    let pos = token::encode_trail(&position);
    let transaction = record.transaction;
    let body = body(record)?;
    let table = match record.schema {
        Some(schema) => schema.table.to_string(),
        None => record.ddl().map_err(Failure::failed)?.0.to_string(),
    };
    let operation = record.operation.as_str();
    Ok(if as_json {
        format!(
            "{{\"csn\":{},\"record\":{},\"op_type\":\"{operation}\",\"qual_table\":{},\"xid\":{},\"op_ts\":{},\"appended\":{},\"source\":{},\"segment\":{},\"offset\":{},\"pos\":\"{}\"{body}}}",
            position.commit,
            position.record,
            quoted(&table),
            quoted(&transaction.head.xid),
            quoted(&transaction.head.commit_ts.to_op_ts()),
            quoted(&record.append_ts.to_rfc3339()),
            quoted(&transaction.head.source.0),
            record.place.segment(),
            record.place.offset(),
            pos.as_str(),
        )
    } else {
        harmless(&format!(
            "{}.{} {operation:<8} {table}  xid={} op_ts={} at={}:{} {} bytes{}",
            position.commit,
            position.record,
            transaction.head.xid,
            transaction.head.commit_ts.to_rfc3339(),
            record.place.segment(),
            record.place.offset(),
            record.bytes(),
            body.replacen(',', "  ", 1),
        ))
    })
}

/// `,"before":{…},"after":{…}`, or `,"ddl":"…"`.
fn body(record: &Record<'_>) -> Result<String, Failure> {
    let mut out = String::new();
    if record.operation == Operation::Ddl {
        let (_, statement) = record.ddl().map_err(Failure::failed)?;
        let _ = write!(out, ",\"ddl\":{}", quoted(statement));
        return Ok(out);
    }
    let row = record.row().map_err(Failure::failed)?;
    let mut unchanged = Vec::new();
    for (name, image) in [("before", row.before), ("after", row.after)] {
        if let Some(image) = image {
            let _ = write!(out, ",\"{name}\":{}", object(record, image, &mut unchanged)?);
        }
    }
    if !unchanged.is_empty() {
        let _ = write!(out, ",\"unchanged\":[{}]", unchanged.join(","));
    }
    if !row.tokens.is_empty() {
        let _ = write!(out, ",\"tokens\":{}", row.tokens);
    }
    Ok(out)
}

/// An image's values; names of columns that the source did not send because they did not change go to `unchanged`.
fn object(record: &Record<'_>, image: Image<'_>, unchanged: &mut Vec<String>) -> Result<String, Failure> {
    let columns = record.schema.map(|schema| schema.columns.as_slice()).unwrap_or_default();
    let mut out = String::from("{");
    for (column, cell) in columns.iter().zip(image.cells()) {
        let value = match cell.map_err(Failure::failed)? {
            Cell::Absent => continue,
            Cell::Null => "null",
            Cell::Unchanged => {
                unchanged.push(quoted(&column.name));
                continue;
            }
            Cell::Json(text) => text,
        };
        let comma = if out.len() > 1 { "," } else { "" };
        let _ = write!(out, "{comma}{}:{value}", quoted(&column.name));
    }
    out.push('}');
    Ok(out)
}
