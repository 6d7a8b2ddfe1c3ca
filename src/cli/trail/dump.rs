//! `trailcast trail dump`: records with their header fields, as text or as JSON lines.

mod record_line;

use clap::Args;
use serde_json::json;

use super::House;
use crate::cli::failure::Failure;
use crate::cli::output::{harmless, print};
use crate::codec::json_text::quoted;
use crate::codec::token;
use crate::record::{LoadLeft, LoadProgress, PreparedTransaction, Timestamp};
use crate::trail::{Begin, Entry, Fill, Gap, Missing, Note, ReadError, Reader, SeekError, SourceMark, Told, Trail};

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
    /// Also what the trail notes of its source between the records: how far it has been taken, its prepared transactions, the
    /// progress of an initial load
    #[arg(long, env = "TRAILCAST_NOTES", value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::SetTrue)]
    notes: bool,
}

/// Prints records up to the last mark on disk. A server that runs beside it may remove segments meanwhile: where that
/// happens a line says which transactions went, and the next one kept follows.
pub(super) async fn run(house: &House, arguments: &Arguments) -> Result<(), Failure> {
    let mut dump = Dump {
        trail: house.open(&arguments.trail)?,
        as_json: house.json,
        notes: arguments.notes,
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
    notes: bool,
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

    fn next<'r>(&self, reader: &'r mut Reader) -> Result<Option<Told<'r>>, ReadError> {
        if self.notes { reader.next_told() } else { reader.next().map(|entry| entry.map(Told::Entry)) }
    }

    /// Adds the lines of the block at hand to `text`.
    fn gather(&mut self, reader: &mut Reader, text: &mut String) -> Result<(), Stopped> {
        while self.left > 0
            && let Some(told) = self.next(reader).map_err(|error| Stopped::Reading(error.into()))?
        {
            let entry = match told {
                Told::Entry(entry) => entry,
                Told::Note(note) => {
                    text.push_str(&note_line(&note, self.as_json));
                    text.push('\n');
                    continue;
                }
            };
            match entry {
                Entry::Record(record) => {
                    text.push_str(&record_line::of(&self.trail, &record, self.as_json)?);
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

/// A note on the source, as an object or as words behind a name; it does not count as a record.
fn note_line(note: &Note, as_json: bool) -> String {
    let (name, mut object, words) = match note {
        Note::Source { identity, at } => {
            ("SOURCE", json!({"identity": identity, "at": at.0}), format!("{identity} has been taken up to {at}"))
        }
        Note::SourceMark(SourceMark { source, xid, commit_ts, hash }) => (
            "SOURCE_MARK",
            json!({"at": source.0, "xid": xid, "op_ts": commit_ts.to_op_ts(), "hash": hash}),
            format!("transaction {xid} of {} up to {source} had nothing for the trail", commit_ts.to_rfc3339()),
        ),
        Note::Prepared(prepared) => {
            let object = |one: &PreparedTransaction| {
                json!({
                    "xid": one.xid, "begins_at": one.begins_at.0, "prepared_at": one.prepared_at.0,
                    "prepared_ts": one.prepared_ts.to_op_ts(), "hash": one.hash,
                })
            };
            let words: Vec<_> = prepared.iter().map(|one| format!("{} from {} on", one.xid, one.begins_at)).collect();
            let words = if words.is_empty() { "none".to_owned() } else { words.join(", ") };
            ("PREPARED", json!({"transactions": prepared.iter().map(object).collect::<Vec<_>>()}), words)
        }
        Note::Load(None) => ("LOAD_ENDED", json!({}), "every table has been loaded".to_owned()),
        Note::Load(Some(LoadProgress { table, left, rows, at })) => {
            let (behind, words) = match left {
                LoadLeft::Behind(key) if key.is_empty() => (Some(key), "all rows are left".to_owned()),
                LoadLeft::Behind(key) if has_ended(key) => (Some(key), "none are left".to_owned()),
                LoadLeft::Behind(key) => (Some(key), format!("the rows behind {key} are left")),
                LoadLeft::Nothing => (None, "none are left".to_owned()),
            };
            (
                "LOAD_PROGRESS",
                json!({"qual_table": table.to_string(), "rows": rows, "behind": behind, "at": at.0}),
                format!("{table}: {rows} rows as of {at}, {words}"),
            )
        }
    };
    if !as_json {
        return harmless(&format!("- {name} {words}"));
    }
    let mut line = json!({ "op_type": name });
    if let (Some(line), Some(members)) = (line.as_object_mut(), object.as_object_mut()) {
        line.append(members);
    }
    line.to_string()
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

/// Whether the words of whoever loads say that the load has ended.
fn has_ended(left: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(left).is_ok_and(|left| left.get("how").is_some())
}
