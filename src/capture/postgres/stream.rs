//! The replication stream: messages in, records to the trail, status updates back.
//!
//! Owns the order of things: what is read, handed over and answered when. Memory stays bounded by handing over while a
//! transaction still streams; the server hears from us all the while, also when the trail makes us wait. Leaves what a
//! message does to `transactions`, and how eagerly to read to `catch_up`. Transactions that come in blocks are in [`blocks`],
//! logical messages in [`emitted`], initial loads in [`loads`].

mod blocks;
mod emitted;
mod loads;

use std::future::Future;
use std::pin::pin;

use tokio::sync::watch;
use tokio::time::{Duration, Instant, Interval, MissedTickBehavior, interval, sleep_until};
use tracing::{debug, warn};

use super::catalogue::Catalogue;
use super::column_types::Types;
use super::connection::Connection;
use super::coverage::{BackgroundCheck, Cause};
use super::feedback::Feedback;
use super::loader::Loader;
use super::lsn::Lsn;
use super::masked_table::MaskedTables;
use super::pgoutput::{EmittedStart, Envelope, Malformed, Message, RelationMessage};
use super::relation;
use super::server_error::{self, ServerError};
use super::status::SharedStatus;
use super::table_facts::{self, Facts};
use super::target::Target;
use super::timeline::StreamedStandby;
use super::transactions::{Outlook, Transactions};
use super::wire::{Frame, Unfinished};
use super::xid::XidCount;
use crate::capture::catch_up::CatchUp;
use crate::capture::confirmation::trail_stopped;
use crate::capture::error::{CaptureError, Fault};
use crate::capture::fault_injection;
use crate::capture::gap::Gaps;
use crate::capture::overlap::Overlap;
use crate::capture::shutdown::stopped;
use crate::limits;
use crate::record::{Operation, Timestamp};
use crate::repeats::warn_rarely;
use crate::trail::Appender;

/// Where a stream meets the trail.
#[derive(Debug)]
pub(super) struct Meeting {
    pub(super) overlap: Overlap<Lsn>,
    /// What the slot was confirmed up to.
    pub(super) confirmed: Lsn,
    /// Of the publications that the stream names.
    pub(super) selection: u8,
    /// What is remembered of tables with masked columns.
    pub(super) masked: MaskedTables,
    pub(super) xids: XidCount,
    /// The server, if it is a standby.
    pub(super) standby: Option<StreamedStandby>,
}

/// One running stream.
pub(super) struct Stream<'a> {
    target: &'a Target,
    connection: Connection,
    catalogue: Catalogue,
    types: Types,
    transactions: Transactions<'a>,
    feedback: Feedback,
    status: &'a SharedStatus,
    tick: Interval,
    catch_up: CatchUp,
    /// When progress was last noted in the trail.
    last_progress: Instant,
    /// An answer that the server asked for, due when this is durable.
    answer_at: Option<Lsn>,
    /// Received and not shown yet.
    unshown_bytes: u64,
    checks: BackgroundCheck<'a>,
    loader: Loader<'a>,
    /// Gaps that wait for the end of the transaction that is half in.
    unwritten: Gaps<Lsn>,
    /// Of the publications that the stream names.
    selection: u8,
    /// Somebody asks for a stop; the loop hears it too.
    shutdown: watch::Receiver<bool>,
    /// It stopped for that in the middle of something.
    interrupted: bool,
    /// What comes in and is passed over is a row.
    passes_over_row: bool,
    standby: Option<StreamedStandby>,
}

/// SQLSTATE of a publication that does not exist where the log is read; PostgreSQL 18 warns instead.
const UNDEFINED_OBJECT: &str = "42704";

impl From<Malformed> for Fault {
    fn from(error: Malformed) -> Self {
        CaptureError::Malformed(error.to_string()).into()
    }
}

impl<'a> Stream<'a> {
    /// Over the stream's own connection and the one for the catalogue, until `shutdown` turns true.
    pub(super) fn new(
        target: &'a Target,
        (connection, catalogue): (Connection, Catalogue),
        appender: &'a mut Appender,
        status: &'a SharedStatus,
        Meeting { overlap, confirmed, selection, masked, xids, standby }: Meeting,
        (checks, mut loader): (BackgroundCheck<'a>, Loader<'a>),
        shutdown: watch::Receiver<bool>,
    ) -> Self {
        let mut tick = interval(Duration::from_secs(limits::SOURCE_STATUS_SECONDS));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let feedback = Feedback::new(appender.durable(), confirmed);
        let transactions = Transactions::new(
            appender,
            (overlap, confirmed),
            xids,
            connection.charset,
            &target.value_rules,
            masked,
            target.spill_bytes,
        );
        loader.described = transactions.descriptions.clone();
        Self {
            target,
            transactions,
            connection,
            catalogue,
            types: Types::default(),
            feedback,
            status,
            tick,
            catch_up: CatchUp::new(Instant::now()),
            last_progress: Instant::now(),
            answer_at: None,
            unshown_bytes: 0,
            checks,
            loader,
            unwritten: Gaps::default(),
            selection,
            shutdown,
            interrupted: false,
            passes_over_row: false,
            standby,
        }
    }

    /// Streams until it is asked to stop, or something fails. A transaction that is half in is dropped either way.
    pub(super) async fn run(mut self) -> Result<(), Fault> {
        let mut shutdown = self.shutdown.clone();
        let outcome = self.stream(&mut shutdown).await;
        let outcome = match outcome {
            Err(_) if self.interrupted => Ok(()),
            Err(Fault::Stop(CaptureError::HeldTooMuch(what))) => Err(self.ask_for_whole(&what)),
            outcome => outcome,
        };
        self.show_counts();
        if let Err(Fault::Stop(CaptureError::RowRefused { .. })) = &outcome {
            let stuck_before = self.transactions.intake.open_at().map(|at| at.0);
            self.status.update(|status| status.stuck_before = stuck_before);
        }
        let ended_well = outcome.is_ok();
        let outcome = outcome.and(self.let_go().await);
        if ended_well {
            self.connection.close().await;
        }
        outcome
    }

    /// Drops what is half in. Whole transactions do not wait for the next session, whatever ended this one.
    async fn let_go(&mut self) -> Result<(), Fault> {
        self.transactions.intake.abort().await?;
        if self.transactions.intake.appender.pending_bytes() > 0 {
            self.transactions.intake.appender.hand_over().await?;
        }
        Ok(())
    }

    async fn stream(&mut self, shutdown: &mut watch::Receiver<bool>) -> Result<(), Fault> {
        let mut trail_stopped = pin!(trail_stopped(self.transactions.intake.appender));
        let mut rest: Option<Instant> = None;
        self.take_buffered().await?;
        loop {
            self.note_progress()?;
            if self.unwritten.is_empty() {
                self.checks.begin_if_due();
            }
            let loads = self.load().await?;
            let piece_waits = loads && self.loader.waits_for_room(&self.transactions.intake);
            // Half a transaction is of no use to anybody before its end comes, or the chunk is full.
            let due = self.transactions.intake.appender.is_due();
            let wait = if due { self.catch_up.flush_not_before(Instant::now()) } else { None };
            let wake = wait.into_iter().chain(rest).min();
            tokio::select! {
                biased;
                () = stopped(shutdown) => return Ok(()),
                fault = &mut trail_stopped => return Err(fault),
                _ = self.tick.tick() => self.on_tick().await?,
                moved = self.feedback.confirmation.durable_moved() => {
                    moved?;
                    self.on_durable().await?;
                }
                filled = self.connection.wire.fill(), if rest.is_none() => {
                    let bytes = filled?;
                    self.feedback.heard();
                    self.take_unwanted();
                    self.take_buffered().await?;
                    rest = self.rest(bytes)?;
                }
                outcome = self.checks.done() => self.found(outcome?).await?,
                // No more input at hand: what was collected need not wait for company, unless the writer is far behind.
                () = self.transactions.intake.appender.room(), if due && wait.is_none() => self.hand_over().await?,
                event = self.loader.event() => self.loader.happened(event)?,
                () = self.transactions.intake.appender.room_but_for(limits::LOAD_QUEUE_CHUNKS_MAX), if piece_waits => {}
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {
                    rest = rest.filter(|until| *until > Instant::now());
                }
            }
        }
    }

    /// Lets bytes gather after a read that brought few of them, if nobody would notice; says until when.
    fn rest(&mut self, read: usize) -> Result<Option<Instant>, Fault> {
        let Some(rest) = self.catch_up.rest(read) else { return Ok(None) };
        self.connection.wire.rest()?;
        Ok(Some(Instant::now() + rest))
    }

    /// Takes every message that is wholly there.
    async fn take_buffered(&mut self) -> Result<(), Fault> {
        let mut frames = self.connection.wire.take_whole()?;
        while let Some(frame) = frames.next() {
            self.frame(frame).await?;
            if self.transactions.intake.appender.pending_bytes() >= limits::APPEND_CHUNK_BYTES {
                self.hand_over().await?;
            }
            if self.transactions.intake.holds_too_much() {
                self.spill().await?;
            }
        }
        self.look_ahead()
    }

    /// Drops what came of a message that nobody wants.
    fn take_unwanted(&mut self) {
        let unwanted = self.connection.wire.take_unwanted();
        if self.passes_over_row {
            self.transactions.intake.content(&unwanted);
        }
    }

    /// Looks at a large message of which only the start is there: a row that the trail will not take is refused by that, and
    /// one that nobody wants is read without being held.
    fn look_ahead(&mut self) -> Result<(), Fault> {
        let wire = &mut self.connection.wire;
        let Some(Unfinished { tag: b'd', there, whole }) = wire.unfinished() else { return Ok(()) };
        if whole < limits::SOURCE_LARGE_MESSAGE_BYTES {
            return Ok(());
        }
        let Ok(Envelope::Data { start, sent, payload }) = Envelope::decode(there) else { return Ok(()) };
        let whole = whole - (there.len() - payload.len());
        let in_block = self.transactions.intake.piece_of().is_some();
        let emitted = EmittedStart::of(payload, in_block, self.connection.charset);
        self.passes_over_row = emitted.is_none();
        let outlook = match emitted {
            Some(start) => emitted::foresee(&start, self.target),
            None => self.transactions.foresee(payload, whole)?,
        };
        if outlook == Outlook::PassedOver {
            self.feedback.received(start, sent);
            self.unshown_bytes += whole as u64;
            if self.passes_over_row {
                self.transactions.pass_over(payload)?;
            }
            wire.pass_over();
        }
        Ok(())
    }

    async fn on_tick(&mut self) -> Result<(), Fault> {
        if self.feedback.is_dead() {
            return Err(Fault::Passing("the source has gone silent".into()));
        }
        if let Some(found) = self.status.own().log_ends_early {
            return Err(CaptureError::SourceRewound {
                found,
                position: self.feedback.confirmation.durable().to_string(),
            }
            .into());
        }
        self.feedback.send(&mut self.connection).await?;
        self.show();
        self.follow_standby().await
    }

    /// Notes in the trail that a standby has gone over to another timeline.
    async fn follow_standby(&mut self) -> Result<(), Fault> {
        let Some(standby) = self.standby.as_mut().filter(|_| !self.transactions.intake.is_open()) else {
            return Ok(());
        };
        let asking = standby.renamed(&mut self.catalogue, &self.target.address);
        match while_answering(asking, &mut self.tick, &mut self.feedback, &mut self.connection, &mut self.loader)
            .await?
        {
            Ok(Some(identity)) => Ok(self.transactions.intake.appender.identify(identity)?),
            Ok(None) => Ok(()),
            // The next look will tell.
            Err(error) => {
                debug!(slot = self.target.slot, %error, "the standby's timeline could not be looked at");
                Ok(())
            }
        }
    }

    async fn on_durable(&mut self) -> Result<(), Fault> {
        if self.answer_at.is_some_and(|due| self.feedback.confirmation.durable() >= due) {
            self.answer_at = None;
            self.feedback.send(&mut self.connection).await?;
        }
        self.show();
        Ok(())
    }

    async fn frame(&mut self, frame: Frame<'_>) -> Result<(), Fault> {
        match frame.tag {
            b'd' => {}
            b'E' => return Err(self.ended(ServerError::decode(frame.body)).await),
            b'N' => return self.noticed(frame.body).await,
            b'S' => return Ok(()),
            _ => return Err(Fault::Passing("the source ended the stream".into())),
        }
        match Envelope::decode(frame.body)? {
            Envelope::Data { start, sent, payload } => {
                self.feedback.received(start, sent);
                self.unshown_bytes += payload.len() as u64;
                self.message(payload, sent).await?;
                if let Some(commit_ts) = self.transactions.intake.open_commit_ts() {
                    self.catch_up.sent_after(sent.micros().saturating_sub(commit_ts.micros()));
                } else if self.transactions.intake.piece_of().is_some() {
                    self.catch_up.sent_early();
                }
                Ok(())
            }
            Envelope::Keepalive { end, sent, reply } => {
                self.feedback.received(end, sent);
                self.transactions.intake.all_sent_before(&end)?;
                self.feedback.confirmation.complete(self.transactions.intake.complete());
                self.catch_up.kept_up();
                if reply { self.answer(end).await } else { Ok(()) }
            }
        }
    }

    /// Answers at once, and again when everything up to here is durable: a server that shuts down waits for that.
    async fn answer(&mut self, end: Lsn) -> Result<(), Fault> {
        if !self.transactions.intake.is_open() && self.feedback.confirmation.durable() < end {
            self.answer_at = Some(end);
        }
        self.feedback.send(&mut self.connection).await
    }

    async fn message(&mut self, payload: &[u8], sent: Timestamp) -> Result<(), Fault> {
        let transactions = &mut self.transactions;
        let message = if transactions.intake.piece_of().is_some() {
            transactions.read_in_block(payload)?
        } else {
            let message = Message::decode(payload, self.connection.charset)?;
            transactions.content(&message, payload);
            message
        };
        match message {
            Message::Begin { commit_lsn, commit_ts, xid } => {
                transactions.begin(commit_lsn, commit_ts, xid)?;
                if fault_injection::confirm_early() {
                    self.feedback.confirmation.confirm_without_durability(commit_lsn.after_commit());
                    self.feedback.send(&mut self.connection).await?;
                }
                Ok(())
            }
            Message::Commit { commit_lsn, end_lsn } => {
                transactions.commit(commit_lsn, end_lsn)?;
                self.feedback.confirmation.complete(transactions.intake.complete());
                self.write_gaps().await
            }
            Message::Relation(message) => self.relation(&message).await,
            Message::Insert { relation, new } => transactions.row(Operation::Insert, relation, None, Some(new)),
            Message::Update { relation, old, new } => transactions.row(Operation::Update, relation, old, Some(new)),
            Message::Delete { relation, old } => transactions.row(Operation::Delete, relation, Some(old), None),
            Message::Truncate(relations) => transactions.truncate(relations),
            Message::Type(message) => {
                self.types.say(&message);
                Ok(())
            }
            Message::Emitted(message) => self.emitted(&message, sent),
            Message::StreamStart { .. }
            | Message::StreamStop
            | Message::StreamCommit { .. }
            | Message::StreamAbort { .. } => self.block(message).await,
            Message::Ignored => Ok(()),
        }
    }

    async fn relation(&mut self, message: &RelationMessage<'_>) -> Result<(), Fault> {
        if self.transactions.intake.piece_of().is_some() {
            return self.relation_in_block(message).await;
        }
        // One that comes again has changed, or what is published of it has.
        if self.transactions.knows(message.id) {
            self.checks.ask();
        }
        if !self.target.captures(&message.schema, &message.table) {
            return self.transactions.leave_out(message.id);
        }
        if let Some(from) = self.transactions.take_in(message.id) {
            let table = relation::table_name(message)?.to_string();
            self.look(Cause::Renamed { table: &table, from }).await?;
        }
        let xid = self.transactions.open_xid();
        let has_masks = !self.target.value_rules.masks.is_empty();
        let (types, catalogue, address) = (&mut self.types, &mut self.catalogue, &self.target.address);
        let asking = table_facts::ask(message, xid, has_masks, types, catalogue, address);
        let facts = while_answering(asking, &mut self.tick, &mut self.feedback, &mut self.connection, &mut self.loader)
            .await??;
        self.describe(message, &facts)
    }

    fn describe(&mut self, message: &RelationMessage<'_>, facts: &Facts) -> Result<(), Fault> {
        let (schema, unknown) = self.transactions.describe(message, facts)?;
        self.transactions.hide_keys(message.id);
        if !unknown.is_empty() {
            warn!(
                table = %schema.table,
                columns = unknown.join(", "),
                "types were dropped before rows that use them were read: the values of these columns are sent as text, and \
                 their sqlType is \"unknown\""
            );
        }
        debug!(table = %schema.table, columns = schema.columns.len(), "schema of a table");
        Ok(())
    }

    /// The server says something beside the stream. Before it is known what a warning means, nothing is confirmed or taken.
    async fn noticed(&mut self, body: &[u8]) -> Result<(), Fault> {
        let Some(warning) = server_error::warning(body) else { return Ok(()) };
        let of_kind = format!("{} {}", self.target.slot, warning.code);
        warn_rarely!(&of_kind, slot = self.target.slot, %warning, "the source warns; what it publishes is looked at");
        let at = *self.transactions.intake.complete();
        self.look(Cause::Warning { code: &warning.code, at }).await
    }

    /// The server has ended the stream.
    async fn ended(&mut self, error: ServerError) -> Fault {
        if error.is_of_values() && self.target.hides_values() {
            return error.into_fault_without_values();
        }
        if error.code != UNDEFINED_OBJECT {
            return error.into();
        }
        let passed_over = async {
            self.transactions.intake.abort().await?;
            self.look(Cause::Refused { at: *self.transactions.intake.complete() }).await
        };
        match passed_over.await {
            Ok(()) => Fault::Passing(error.to_string()),
            Err(fault) => fault,
        }
    }

    /// Looks at once at what is published, and confirms nothing meanwhile.
    async fn look(&mut self, cause: Cause<'_>) -> Result<(), Fault> {
        self.feedback.confirmation.hold(true);
        let looking = self.checks.look(cause);
        let outcome =
            while_answering(looking, &mut self.tick, &mut self.feedback, &mut self.connection, &mut self.loader)
                .await??;
        self.feedback.confirmation.hold(false);
        self.found(outcome).await
    }

    /// Takes what a look found; gaps are written when no transaction is half in.
    async fn found(&mut self, found: Gaps<Lsn>) -> Result<(), Fault> {
        self.unwritten.extend(found);
        self.write_gaps().await
    }

    async fn write_gaps(&mut self) -> Result<(), Fault> {
        if !self.transactions.intake.is_between() || self.unwritten.is_empty() {
            return Ok(());
        }
        let gaps = std::mem::take(&mut self.unwritten);
        let writing = self.transactions.intake.write_gaps(&gaps, self.selection);
        while_answering(writing, &mut self.tick, &mut self.feedback, &mut self.connection, &mut self.loader).await??;
        self.checks.written(&gaps);
        Ok(())
    }

    /// Notes in the trail how far the source is, when nothing else does: now and then, or because the server asks.
    fn note_progress(&mut self) -> Result<(), Fault> {
        let due = self.last_progress.elapsed() >= Duration::from_secs(limits::PROGRESS_SECONDS);
        if self.transactions.intake.note_progress(due, self.answer_at.as_ref())? {
            self.last_progress = Instant::now();
        }
        Ok(())
    }

    /// Gives what was collected to the trail; waits while its queue is full.
    async fn hand_over(&mut self) -> Result<(), Fault> {
        let handing = self.transactions.intake.appender.hand_over();
        let answered =
            while_answering(handing, &mut self.tick, &mut self.feedback, &mut self.connection, &mut self.loader).await;
        // While we waited for the trail, nobody listened to the source.
        self.feedback.heard();
        self.catch_up.handed_over(self.feedback.last_heard());
        Ok(answered??)
    }

    fn show(&mut self) {
        let durable = self.feedback.confirmation.durable();
        let (received, server_time, confirmed) = self.feedback.heard_so_far();
        let lag_micros = match self.transactions.intake.new_commit_ts() {
            Some(commit_ts) => server_time.micros().saturating_sub(commit_ts.micros()).max(0),
            None => 0,
        };
        let heard = self.feedback.last_heard();
        self.show_counts();
        let mut current = 0;
        self.status.update_own(|status| {
            // The source's log may go on beyond what it has sent.
            current = status.slot.as_ref().and_then(|slot| slot.current).unwrap_or_default();
            status.received_lsn = Some(received.to_string());
            status.confirmed_lsn = Some(confirmed.to_string());
        });
        self.status.update(|status| {
            status.heard = Some(heard);
            status.passed(durable.0);
            status.reached(durable.to_string(), received.0.max(current).saturating_sub(durable.0));
            status.lag_seconds = Some(lag_micros as f64 / 1e6);
        });
    }

    fn show_counts(&mut self) {
        let received_bytes = std::mem::take(&mut self.unshown_bytes);
        let counts = self.transactions.intake.take_counts();
        let held_bytes = self.transactions.intake.held_bytes();
        self.status.update(|status| {
            status.received_bytes += received_bytes;
            status.transactions += counts.transactions;
            status.records += counts.records;
            status.held_bytes = held_bytes;
        });
    }
}

/// Waits for `work`, to its end whatever happens, and keeps telling the server that we live. Whoever reads a table
/// meanwhile does not keep it open for ever.
async fn while_answering<T>(
    work: impl Future<Output = T>,
    tick: &mut Interval,
    feedback: &mut Feedback,
    connection: &mut Connection,
    loader: &mut Loader<'_>,
) -> Result<T, Fault> {
    let mut work = pin!(work);
    let mut failed = None;
    loop {
        tokio::select! {
            biased;
            done = &mut work => return failed.map_or(Ok(done), Err),
            _ = tick.tick() => {
                loader.look_after_transaction();
                if failed.is_none() {
                    failed = feedback.send(connection).await.err();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
