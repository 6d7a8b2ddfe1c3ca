//! `trailcast tail`: a data stream in the terminal or a pipe, resumable.
//!
//! Owns when to connect again and what is saved; how a record looks is [`line`]'s. Printed first, saved after: whoever is
//! stopped in between sees those records again, and never misses one.

mod line;
mod position_file;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::client_arguments::ClientArguments;
use super::failure::Failure;
use super::how_to_make;
use super::output::{print, say, wants_colour};
use super::stop::Stop;
use crate::client::{ClientError, Ended, Record, RecordKind, RecordReader, ServerAddress, Subscription};
use crate::codec::json::RETRY_AFTER_MS;
use crate::limits;
use line::Readable;
use position_file::PositionFile;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The data stream
    stream: String,
    /// Where to begin: now, earliest, an ISO 8601 time, or a position [default: earliest]
    #[arg(long, env = "TRAILCAST_BEGIN", value_name = "BEGIN")]
    begin: Option<String>,
    /// Print each record as it came, one JSON object a line
    #[arg(long, env = "TRAILCAST_JSON", value_parser = clap::builder::BoolishValueParser::new())]
    json: bool,
    /// Go on after the position saved in this file, and save each position there; --begin counts on the first start only
    #[arg(long, env = "TRAILCAST_RESUME", value_name = "FILE")]
    resume: Option<PathBuf>,
    #[command(flatten)]
    client: ClientArguments,
}

/// Follows the stream until it is asked to end.
pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let address = arguments.client.address()?;
    let stop = Stop::on_signal()?;
    let format = if arguments.json { Format::Json } else { Format::Readable(Readable::new(wants_colour())) };
    let mut tail = Tail::new(address, arguments.stream, format, stop);
    tail.begin = arguments.begin;
    if let Some(path) = arguments.resume {
        let file = PositionFile::new(path);
        match file.load().map_err(Failure::failed)? {
            Some(saved) => (tail.begin, tail.is_saved) = (Some(saved), true),
            // From the earliest record on nothing can be missed.
            None if file.exists() && tail.begin.as_deref().is_some_and(|begin| begin != "earliest") => {
                return Err(Failure::failed(format_args!(
                    "{} is empty: if it has held a position, what came since would be skipped; remove it to begin as \
                     --begin says",
                    file.name()
                )));
            }
            None => {}
        }
        tail.file = Some(file);
    }
    tail.follow().await
}

/// How records are printed.
#[derive(Debug)]
pub(super) enum Format {
    /// Unchanged.
    Json,
    /// For people.
    Readable(Readable),
}

/// A stream that is followed.
#[derive(Debug)]
pub(super) struct Tail {
    address: ServerAddress,
    stream: String,
    format: Format,
    stop: Stop,
    /// Where the next connection begins: as told, then as the server says of the connection at hand, then after the last
    /// record printed.
    pub(super) begin: Option<String>,
    file: Option<PositionFile>,
    /// Whether `begin` is what the file holds, or would hold if there were one.
    is_saved: bool,
    /// Whether a missing position was complained about.
    missing_position_said: bool,
    /// After what time a server that stopped wants us to come back, if it said so.
    come_back_after: Option<Duration>,
}

/// What one connection came to.
enum Connection {
    /// We were asked to end.
    Stopped,
    /// It may be tried again.
    Lost { why: String, was_open: bool },
}

impl Tail {
    pub(super) fn new(address: ServerAddress, stream: String, format: Format, stop: Stop) -> Self {
        Self {
            address,
            stream,
            format,
            stop,
            begin: None,
            file: None,
            is_saved: false,
            missing_position_said: false,
            come_back_after: None,
        }
    }

    /// A tail for people.
    pub(super) fn readable(address: ServerAddress, stream: &str, begin: &str, stop: Stop) -> Self {
        let format = Format::Readable(Readable::new(wants_colour()));
        let mut tail = Self::new(address, stream.to_owned(), format, stop);
        tail.begin = Some(begin.to_owned());
        tail
    }

    /// Prints records until we are asked to end. A connection that was open once is made again when it is lost.
    pub(super) async fn follow(&mut self) -> Result<(), Failure> {
        let mut backoff = limits::CLIENT_BACKOFF_MILLIS_MIN;
        let mut ever_open = false;
        loop {
            let (why, was_open) = match self.connection(ever_open).await? {
                Connection::Stopped => return Ok(()),
                Connection::Lost { why, was_open } => (why, was_open),
            };
            if was_open {
                ever_open = true;
                backoff = limits::CLIENT_BACKOFF_MILLIS_MIN;
            }
            let usual = Duration::from_millis(backoff).mul_f64(jitter());
            let wait = self.come_back_after.take().unwrap_or(usual);
            say(format_args!("{why}; connecting again in {:.1} s", wait.as_secs_f64()));
            backoff = (backoff * 2).min(limits::CLIENT_BACKOFF_MILLIS_MAX);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.asked() => return Ok(()),
            }
        }
    }

    async fn connection(&mut self, retries: bool) -> Result<Connection, Failure> {
        let opened = tokio::select! {
            opened = Subscription::open(&self.address, &self.stream, self.begin.as_deref()) => opened,
            () = self.stop.asked() => return Ok(Connection::Stopped),
        };
        let mut subscription = match opened {
            Ok(subscription) => subscription,
            Err(error) if retries && may_pass(&error) => {
                return Ok(Connection::Lost { why: error.to_string(), was_open: false });
            }
            Err(error) => {
                let advice = how_to_make::stream(&error, &self.address, &self.stream);
                return Err(Failure::failed(format_args!("{error}{advice}")));
            }
        };
        if retries {
            say("connected again");
        }
        if let Some(begin) = subscription.goes_on_from() {
            // What is committed from here on is not missed, should the connection be lost before the first record.
            self.reached(begin.to_owned())?;
        }
        let mut reader = RecordReader::new(&self.stream);
        let ended = loop {
            let message = tokio::select! {
                message = subscription.next() => message,
                () = self.stop.asked() => {
                    subscription.close().await;
                    return Ok(Connection::Stopped);
                }
            };
            match message {
                Ok(text) => self.take(&mut reader, &text)?,
                Err(ended) => break ended,
            }
        };
        finish(ended, self.begin.as_deref(), self.file.as_ref())
    }

    /// Prints one message, then saves the position of its last record.
    fn take(&mut self, reader: &mut RecordReader, text: &str) -> Result<(), Failure> {
        let records = reader.read(text).map_err(Failure::failed)?;
        let mut output = String::new();
        let mut last_pos = None;
        for record in &records {
            match &mut self.format {
                Format::Json => {
                    output.push_str(record.text());
                    output.push('\n');
                }
                Format::Readable(readable) => readable.push(&mut output, record),
            }
            if record.kind() == RecordKind::Drain {
                self.come_back_after = come_back_after(record);
            }
            let pos = record.pos();
            self.say_missing_position(record.is_data() && pos.is_none());
            last_pos = pos.or(last_pos);
        }
        print(output.as_bytes())?;
        last_pos.map_or(Ok(()), |pos| self.reached(pos))
    }

    /// The next connection begins there, in a later run too.
    fn reached(&mut self, begin: String) -> Result<(), Failure> {
        if self.begin.as_ref() == Some(&begin) && self.is_saved {
            return Ok(());
        }
        if let Some(file) = &self.file {
            file.save(&begin).map_err(Failure::failed)?;
        }
        self.is_saved = true;
        self.begin = Some(begin);
        Ok(())
    }

    fn say_missing_position(&mut self, is_missing: bool) {
        if is_missing && !self.missing_position_said {
            self.missing_position_said = true;
            say(
                "this stream sends no positions (metaFields.pos is off): a lost connection is resumed where this one began, \
                 and records are printed again",
            );
        }
    }
}

/// When to connect again, as the server says; a time that is none of ours is not waited for.
fn come_back_after(record: &Record<'_>) -> Option<Duration> {
    let millis = record.member(RETRY_AFTER_MS)?.get().parse().ok()?;
    (millis <= limits::DRAIN_MILLIS_MAX).then(|| Duration::from_millis(millis))
}

/// `begin`: where the next connection would begin.
fn finish(ended: Ended, begin: Option<&str>, file: Option<&PositionFile>) -> Result<Connection, Failure> {
    if ended.is_final() {
        let place =
            begin.map(|begin| format!("; everything up to here is printed: --begin {begin}")).unwrap_or_default();
        let behind = match (ended.goes_on_after(), file) {
            (Some(after), Some(file)) => format!("; to go on behind it, let {} hold {after}", file.name()),
            (Some(after), None) => format!("; to go on behind it: --begin {after}"),
            (None, _) => String::new(),
        };
        return Err(Failure::failed(format_args!("{ended}{place}{behind}")));
    }
    Ok(Connection::Lost { why: ended.to_string(), was_open: true })
}

fn may_pass(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable(_) => true,
        ClientError::Refused(refusal) => refusal.may_pass(),
        ClientError::Garbled(_) => false,
    }
}

/// From a half to one, so that many clients do not come back in step.
fn jitter() -> f64 {
    let mut byte = [0_u8; 1];
    // Without randomness all wait the same, which is no worse than that.
    let _ = getrandom::fill(&mut byte);
    0.5 + f64::from(byte[0]) / 510.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Refusal;
    use crate::codec::close_code::CloseCode;

    #[test]
    fn a_stream_that_is_gone_is_not_tried_again_and_a_server_going_away_is() {
        let closed = |code| finish(Ended::Closed { code, reason: String::new() }, Some("AQ"), None);
        for code in [CloseCode::WITHDRAWN, CloseCode::RECORD_TOO_LARGE, CloseCode::GAP, CloseCode::GONE] {
            assert!(closed(code).is_err(), "{code}");
        }
        for code in [1001, 1006, 4000, 4004, 4011, 4012].map(CloseCode::from) {
            assert!(matches!(closed(code), Ok(Connection::Lost { was_open: true, .. })), "{code}");
        }
    }

    #[test]
    fn a_message_that_cannot_be_taken_ends_with_the_position() {
        let Err(Failure::Failed(what)) = finish(Ended::Unusable("too long".into()), Some("AQ1"), None) else {
            panic!()
        };
        assert_eq!(what, "too long; everything up to here is printed: --begin AQ1");
    }

    #[test]
    fn at_a_gap_it_says_how_to_go_on_behind_it() {
        let told = |file: Option<&PositionFile>| {
            let reason = "rows of t may be missing; go on after AQ9".to_owned();
            match finish(Ended::Closed { code: CloseCode::GAP, reason }, Some("AQ1"), file) {
                Err(Failure::Failed(what)) => what,
                _ => panic!("it goes on"),
            }
        };
        let words = "closed with 4014: rows of t may be missing; go on after AQ9; everything up to here is printed: --begin AQ1; ";
        assert_eq!(told(None), format!("{words}to go on behind it: --begin AQ9"));
        let file = PositionFile::new("/p".into());
        assert_eq!(told(Some(&file)), format!("{words}to go on behind it, let /p hold AQ9"));
    }

    #[test]
    fn a_refusal_that_stays_is_final() {
        let refused = |status| may_pass(&ClientError::Refused(Refusal { status, titles: vec![] }));
        assert!(refused(503) && !refused(404) && !refused(409));
        assert!(may_pass(&ClientError::Unreachable("no route".into())));
    }

    #[test]
    fn waits_differ_by_at_most_a_half() {
        assert!((0..100).all(|_| (0.5..=1.0).contains(&jitter())));
    }
}
