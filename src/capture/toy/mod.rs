//! A source in memory, for tests: a log that they write, sent whole or in pieces, by a server that dies where they want.
//!
//! Owns the log, what it forgets once that is confirmed, and the messages that it makes of it. Everything between these
//! messages and the trail is what every product uses: nothing of that is played here. Each rule of capture can be broken by
//! name, so that a test can see what the rule is for.

mod event_number;
mod log;
mod tests;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

pub(super) use self::event_number::EventNumber;

use self::log::{Log, Message, Sends};
use super::confirmation::{Confirmation, wait_durable};
use super::coordinate::Coordinate;
use super::error::{CaptureError, Fault};
use super::gap::Gaps;
use super::intake::Intake;
use super::overlap::Overlap;
use super::status::{SharedStatus, Status};
use super::taken::Taken;
use crate::codec::image::ImageWriter;
use crate::record::{Column, JsonKind, Operation, SourceParts, TableName, Timestamp};
use crate::trail::{Appender, RowParts};

const SELECTION: u8 = 1;

/// A rule of capture that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// None is.
    Nothing,
    /// What came is confirmed, whether it is durable or not.
    ConfirmsEarly,
    /// What the trail has already is taken again.
    ForgetsWhatItTook,
    /// A source is taken for the one of before, whatever it sends.
    TrustsSource,
    /// What is half in when a session ends is committed.
    KeepsHalves,
}

/// How one session ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Death {
    /// After so many messages.
    pub(super) messages: usize,
    /// The program ends with it: what it had not handed over is lost.
    pub(super) of_program: bool,
}

/// The server, and how it is read. All clones are one.
#[derive(Debug, Clone)]
pub(super) struct Source {
    log: Arc<Mutex<Log>>,
    deaths: Arc<Mutex<VecDeque<Death>>>,
    sends: Sends,
    /// Pieces could not be held: it is asked for whole transactions.
    sends_whole: Arc<AtomicBool>,
    /// Messages between two times that the trail gets what was collected.
    hand_over_every: usize,
    broken: Broken,
}

impl Source {
    fn new(log: Log, sends: Sends, hand_over_every: usize, deaths: &[Death], broken: Broken) -> Self {
        Self {
            log: Arc::new(Mutex::new(log)),
            deaths: Arc::new(Mutex::new(deaths.iter().copied().collect())),
            sends,
            sends_whole: Arc::default(),
            hand_over_every,
            broken,
        }
    }

    /// The log, to be read or written.
    fn log<R>(&self, act: impl FnOnce(&mut Log) -> R) -> R {
        act(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How the next session ends.
    fn next_death(&self) -> Option<Death> {
        self.deaths.lock().unwrap_or_else(PoisonError::into_inner).front().copied()
    }

    /// Streams until the next death, or to the end of the log.
    pub(super) async fn session(
        &self,
        appender: &mut Appender,
        status: &SharedStatus,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<(), Fault> {
        let taken = Taken::<EventNumber>::of(appender)?;
        let (system, history, reader) = ("1", "1", "e1");
        let source = SourceParts { product: "toy", system, history, database: "", reader };
        let identity = source.text();
        // It keeps no account of its histories.
        if taken.check_identity(&source)?.is_some() {
            return Err(CaptureError::Refused("it has another history".into()).into());
        }
        let confirmed = self.log(|log| log.forgotten());
        let position = self.position(&taken, confirmed)?;
        taken.begin(appender, &identity, &position, SELECTION).await?;
        let mark = taken.mark.filter(|_| self.broken != Broken::TrustsSource);
        let overlap = Overlap::new(position, confirmed, mark, SELECTION);
        let sends = if self.sends_whole.load(Ordering::Relaxed) { Sends::Whole } else { self.sends };
        let messages = self.log(|log| log.messages(*overlap.start(), sends));
        let mut reading = Reading {
            confirmation: Confirmation::new(appender.durable(), confirmed),
            intake: Intake::new(appender, overlap, confirmed, 1 << 20),
            source: self,
        };
        status.update(Status::flows);
        let death = self.deaths.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let outcome = match reading.read(messages, death, shutdown).await {
            Err(Fault::Stop(CaptureError::HeldTooMuch(what))) => {
                self.sends_whole.store(true, Ordering::Relaxed);
                Err(Fault::Passing(what))
            }
            outcome => outcome,
        };
        if death.is_none_or(|death| !death.of_program) {
            reading.let_go().await?;
        }
        outcome
    }

    /// Where the trail stands, which is not before what the source has forgotten.
    fn position(&self, taken: &Taken<EventNumber>, confirmed: EventNumber) -> Result<EventNumber, CaptureError> {
        match taken.position {
            None => Ok(confirmed),
            Some(_) if self.broken == Broken::ForgetsWhatItTook => Ok(confirmed),
            Some(position) if confirmed > position && self.broken != Broken::ConfirmsEarly => {
                let message =
                    format!("the source has forgotten what lies before {confirmed}, the trail is at {position}");
                Err(CaptureError::OfProduct { reason: "ahead", message })
            }
            Some(position) => Ok(position),
        }
    }
}

/// One session.
struct Reading<'a> {
    source: &'a Source,
    intake: Intake<'a, EventNumber>,
    confirmation: Confirmation<EventNumber>,
}

impl Reading<'_> {
    async fn read(
        &mut self,
        messages: Vec<Message>,
        death: Option<Death>,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<(), Fault> {
        for (number, message) in messages.iter().enumerate() {
            if *shutdown.borrow() {
                return Ok(());
            }
            if death.is_some_and(|death| death.messages <= number) {
                return Err(Fault::Passing("the source died".to_owned()));
            }
            self.take(message).await?;
            if (number + 1) % self.source.hand_over_every == 0 {
                self.hand_over().await?;
            }
        }
        if death.is_some() {
            return Err(Fault::Passing("the source died at the end of its log".to_owned()));
        }
        self.hand_over().await?;
        let reached = self.intake.appender.source_position().and_then(EventNumber::of_position).unwrap_or_default();
        wait_durable(self.intake.appender, &reached).await?;
        self.confirm();
        Ok(())
    }

    async fn take(&mut self, message: &Message) -> Result<(), Fault> {
        let intake = &mut self.intake;
        match message {
            Message::Begin { xid, at } => intake.begin(*at, time(*at), xid)?,
            Message::Commit { at } => intake.commit(at, at)?,
            Message::Abort => intake.abort().await?,
            Message::Resume { xid } => intake.resume(*xid)?,
            Message::Part { part } => intake.part(*part)?,
            Message::Pause => intake.pause()?,
            Message::CommitHeld { xid, at } => intake.commit_held(*xid, *at, time(*at), xid, at).await?,
            Message::AbortHeld { xid } => intake.abort_held(*xid).await?,
            Message::AbortPart { xid, part } => intake.abort_part(*xid, *part)?,
            Message::Row { value } => row(intake, *value)?,
            Message::Ddl { statement } => intake.ddl(&table()?, statement)?,
            Message::Gap(gap) => {
                let gaps = Gaps { gaps: vec![gap.clone()], resume_at: None };
                intake.write_gaps(&gaps, SELECTION).await?;
            }
            Message::AllSentBefore { end } => {
                intake.all_sent_before(end)?;
                intake.note_progress(end.0 % 2 == 0, None)?;
            }
        }
        self.confirmation.complete(self.intake.complete());
        if self.source.broken == Broken::ConfirmsEarly {
            self.confirmation.confirm_without_durability(*self.intake.complete());
        }
        self.confirm();
        Ok(())
    }

    async fn hand_over(&mut self) -> Result<(), Fault> {
        self.intake.appender.hand_over().await?;
        // So that deaths come before and after what was given is durable.
        tokio::task::yield_now().await;
        Ok(())
    }

    fn confirm(&mut self) {
        let confirmed = self.confirmation.confirm();
        self.source.log(|log| log.forget(confirmed));
    }

    /// As the session of a product ends: half a transaction is dropped, whole ones do not wait for the next session.
    async fn let_go(&mut self) -> Result<(), Fault> {
        if self.source.broken == Broken::KeepsHalves
            && let Some(at) = self.intake.open_at().copied()
        {
            self.intake.commit(&at, &at)?;
        }
        self.intake.abort().await?;
        self.intake.appender.hand_over().await?;
        Ok(())
    }
}

fn time(at: EventNumber) -> Timestamp {
    Timestamp::from_micros(at.0.cast_signed() * 1_000)
}

fn table() -> Result<TableName, CaptureError> {
    TableName::from_parts(&["toy", "t"]).map_err(|error| CaptureError::Malformed(error.to_string()))
}

/// Rows of some tables are not captured, and the schema of those that are changes with the value.
fn row(intake: &mut Intake<'_, EventNumber>, value: u32) -> Result<(), Fault> {
    intake.content(&value.to_le_bytes());
    if !log::is_captured(value) || !intake.wants_changes()? {
        return Ok(());
    }
    let columns = [Column {
        name: "v".to_owned(),
        kind: JsonKind::Number,
        sql_type: "integer".to_owned(),
        nullable: value.is_multiple_of(2),
        key: true,
    }];
    let schema = intake.schema(&table()?, &columns)?;
    let row = RowParts::of(Operation::Insert, false, true);
    let written = intake.write_row(&schema, row, |out| -> Result<(), Fault> {
        ImageWriter::new(out).json(value.to_string().as_bytes());
        Ok(())
    });
    written?
}
