//! The replication stream: messages in, records to the trail, status updates back.
//!
//! Owns the order of things: whole transactions in commit order, appended as they come, the position of each checked
//! against what the trail has. Memory stays bounded by handing over while a transaction still streams; the server hears
//! from us all the while, also when the trail makes us wait.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;

use tokio::sync::watch;
use tokio::time::{Duration, Instant, Interval, MissedTickBehavior, interval, sleep_until};
use tracing::debug;

use super::Target;
use super::catalogue::Catalogue;
use super::connection::{Address, Connection};
use super::feedback::{Feedback, trail_stopped};
use super::lsn::Lsn;
use super::pause::Pause;
use super::pgoutput::{Envelope, Malformed, Message, OldTuple, RelationIds, RelationMessage, Tuple};
use super::relation::{self, Relation};
use super::server_error::ServerError;
use super::value::ValueKind;
use super::wire::Frame;
use crate::capture::run::stopped;
use crate::capture::source::{CaptureError, Fault, SharedStatus};
use crate::limits;
use crate::record::{Column, Operation, Timestamp, TransactionHead};
use crate::trail::{Appender, Row};

const FLUSH_WHEN_BEHIND: Duration = Duration::from_millis(limits::SOURCE_BEHIND_FLUSH_MILLIS);

/// One running stream.
pub(super) struct Stream<'a> {
    target: &'a Target,
    connection: Connection,
    catalogue: Catalogue,
    appender: &'a mut Appender,
    feedback: Feedback,
    status: &'a SharedStatus,
    tick: Interval,
    /// By the server's number; none for a table that is not captured.
    relations: HashMap<u32, Option<Relation>>,
    open: Option<Open>,
    /// Every transaction whose commit record starts before it is appended.
    appended: Lsn,
    /// Every transaction that ends before it has been received: what idle progress may claim.
    complete: Lsn,
    last_progress: Instant,
    /// An answer that the server asked for, due when this is durable.
    answer_at: Option<Lsn>,
    /// The last row sent was committed a good while before it was sent: the stream catches up.
    behind: bool,
    /// When the trail was last given something.
    handed_over: Instant,
    /// Received and appended, and not shown yet.
    unshown: Unshown,
    buffers: Buffers,
}

/// The transaction that is coming in.
struct Open {
    head: TransactionHead,
    commit_lsn: Lsn,
    /// The trail has it already.
    skipped: bool,
    /// The appender knows of it: it has a row that is captured.
    begun: bool,
}

/// What the status counts, since it was last shown.
#[derive(Default)]
struct Unshown {
    received_bytes: u64,
    transactions: u64,
    records: u64,
}

/// Used again for each row.
#[derive(Default)]
struct Buffers {
    before: Vec<u8>,
    after: Vec<u8>,
    scratch: Vec<u8>,
}

impl From<Malformed> for Fault {
    fn from(error: Malformed) -> Self {
        CaptureError::Malformed(error.to_string()).into()
    }
}

fn out_of_order(what: &str) -> Fault {
    CaptureError::Malformed(format!("{what} out of order")).into()
}

impl<'a> Stream<'a> {
    pub(super) fn new(
        target: &'a Target,
        connection: Connection,
        catalogue: Catalogue,
        appender: &'a mut Appender,
        feedback: Feedback,
        status: &'a SharedStatus,
        start: Lsn,
    ) -> Self {
        let mut tick = interval(Duration::from_secs(limits::SOURCE_STATUS_SECONDS));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            target,
            connection,
            catalogue,
            appender,
            feedback,
            status,
            tick,
            relations: HashMap::new(),
            open: None,
            appended: start,
            complete: start,
            last_progress: Instant::now(),
            answer_at: None,
            behind: false,
            handed_over: Instant::now(),
            unshown: Unshown::default(),
            buffers: Buffers::default(),
        }
    }

    /// Streams until it is asked to stop, or something fails. A transaction that is half in is dropped either way.
    pub(super) async fn run(mut self, shutdown: &mut watch::Receiver<bool>) -> Result<(), Fault> {
        let outcome = self.stream(shutdown).await;
        self.show_counts();
        if self.open.as_ref().is_some_and(|open| open.begun) {
            self.appender.abort().await?;
        }
        if outcome.is_ok() {
            if self.appender.pending_bytes() > 0 {
                self.appender.hand_over().await?;
            }
            self.connection.close().await;
        }
        outcome
    }

    async fn stream(&mut self, shutdown: &mut watch::Receiver<bool>) -> Result<(), Fault> {
        let mut trail_stopped = pin!(trail_stopped(self.appender));
        let rest = Pause::new()?;
        // From one read to the next rest: a socket that is watched again has yet to say that there is something to read.
        let (mut resting, mut may_rest) = (false, false);
        loop {
            while let Some(frame) = self.connection.wire.buffered()? {
                self.frame(&frame).await?;
                if self.appender.pending_bytes() >= limits::APPEND_CHUNK_BYTES {
                    self.hand_over().await?;
                }
            }
            self.record_progress()?;
            // Half a transaction is of no use to anybody before its end comes, or the chunk is full.
            let due = self.appender.is_due();
            let not_before = self.handed_over + FLUSH_WHEN_BEHIND;
            let wait = due && self.behind && Instant::now() < not_before;
            tokio::select! {
                biased;
                () = stopped(shutdown) => return Ok(()),
                fault = &mut trail_stopped => return Err(fault),
                _ = self.tick.tick() => self.on_tick().await?,
                moved = self.feedback.durable_moved() => {
                    moved?;
                    self.on_durable().await?;
                }
                filled = self.connection.wire.fill(), if !resting => {
                    filled?;
                    self.feedback.heard();
                    may_rest = true;
                }
                // No more input at hand: what was collected need not wait for company, unless the writer is far behind.
                () = self.appender.room(), if due && !wait => self.hand_over().await?,
                () = std::future::ready(()), if may_rest && self.behind => {
                    (resting, may_rest) = (true, false);
                    rest.start(Duration::from_micros(limits::SOURCE_REST_MICROS))?;
                    self.connection.wire.rest()?;
                }
                over = rest.over(), if resting => {
                    over?;
                    resting = false;
                }
                () = sleep_until(not_before), if wait => {}
            }
        }
    }

    async fn on_tick(&mut self) -> Result<(), Fault> {
        if self.feedback.is_dead() {
            return Err(Fault::Passing("the source has gone silent".into()));
        }
        self.feedback.send(&mut self.connection).await?;
        self.show();
        Ok(())
    }

    async fn on_durable(&mut self) -> Result<(), Fault> {
        if self.answer_at.is_some_and(|due| self.feedback.durable() >= due) {
            self.answer_at = None;
            self.feedback.send(&mut self.connection).await?;
        }
        self.show();
        Ok(())
    }

    async fn frame(&mut self, frame: &Frame) -> Result<(), Fault> {
        match frame.tag {
            b'd' => {}
            b'E' => return Err(ServerError::decode(&frame.body).into()),
            b'N' | b'S' => return Ok(()),
            _ => return Err(Fault::Passing("the source ended the stream".into())),
        }
        match Envelope::decode(&frame.body)? {
            Envelope::Data { start, sent, payload } => {
                self.feedback.received(start, sent);
                self.unshown.received_bytes += payload.len() as u64;
                self.message(payload).await?;
                if let Some(open) = &self.open {
                    let age_micros = sent.micros().saturating_sub(open.head.commit_ts.micros());
                    self.behind = age_micros >= (limits::SOURCE_BEHIND_MILLIS_MIN * 1_000).cast_signed();
                }
                Ok(())
            }
            Envelope::Keepalive { end, sent, reply } => {
                self.feedback.received(end, sent);
                if self.open.is_none() {
                    self.complete = self.complete.max(end);
                }
                self.behind = false;
                if reply { self.answer(end).await } else { Ok(()) }
            }
        }
    }

    /// Answers at once, and again when everything up to here is durable: a server that shuts down waits for that.
    async fn answer(&mut self, end: Lsn) -> Result<(), Fault> {
        if self.open.is_none() && self.feedback.durable() < end {
            self.answer_at = Some(end);
        }
        self.feedback.send(&mut self.connection).await
    }

    async fn message(&mut self, payload: &[u8]) -> Result<(), Fault> {
        match Message::decode(payload)? {
            Message::Begin { commit_lsn, commit_ts, xid } => self.open(commit_lsn, commit_ts, xid).await,
            Message::Commit { commit_lsn, end_lsn } => self.commit(commit_lsn, end_lsn),
            Message::Relation(message) => self.relation(&message).await,
            Message::Insert { relation, new } => self.row(Operation::Insert, relation, None, Some(new)),
            Message::Update { relation, old, new } => self.row(Operation::Update, relation, old, Some(new)),
            Message::Delete { relation, old } => self.row(Operation::Delete, relation, Some(old), None),
            Message::Truncate(relations) => self.truncate(relations),
            Message::Ignored => Ok(()),
        }
    }

    async fn open(&mut self, commit_lsn: Lsn, commit_ts: Timestamp, xid: u32) -> Result<(), Fault> {
        if self.open.is_some() {
            return Err(out_of_order("a transaction's begin"));
        }
        let position = Lsn(commit_lsn.0.saturating_add(1));
        if super::confirm_early() {
            self.feedback.confirm_without_durability(position);
            self.feedback.send(&mut self.connection).await?;
        }
        let head = TransactionHead { xid: xid.to_string(), commit_ts, source: position.to_position() };
        // The server's own rule for what a stream from there leaves out, applied again: see the parent module.
        let skipped = commit_lsn < self.appended;
        self.open = Some(Open { head, commit_lsn, skipped, begun: false });
        Ok(())
    }

    fn commit(&mut self, commit_lsn: Lsn, end_lsn: Lsn) -> Result<(), Fault> {
        let Some(open) = self.open.as_ref().filter(|open| open.commit_lsn == commit_lsn) else {
            return Err(out_of_order("a transaction's commit"));
        };
        if open.begun {
            let last = self.appender.commit()?;
            self.appended = Lsn(commit_lsn.0.saturating_add(1));
            self.unshown.transactions += 1;
            self.unshown.records += u64::from(last.record) + 1;
        }
        self.open = None;
        self.complete = self.complete.max(end_lsn);
        Ok(())
    }

    async fn relation(&mut self, message: &RelationMessage<'_>) -> Result<(), Fault> {
        if !self.target.captures(message.schema, message.table) {
            self.relations.insert(message.id, None);
            return Ok(());
        }
        let describing = describe(&mut self.catalogue, &self.target.address, message);
        let (columns, kinds) =
            while_answering(describing, &mut self.tick, &mut self.feedback, &mut self.connection).await??;
        let schema = self.appender.shape(&relation::table_name(message)?, &columns)?;
        debug!(table = %schema.table, columns = columns.len(), "shape of a table");
        self.relations.insert(message.id, Some(Relation::new(message, schema, kinds)));
        Ok(())
    }

    fn row(
        &mut self,
        operation: Operation,
        relation: u32,
        old: Option<OldTuple<'_>>,
        new: Option<Tuple<'_>>,
    ) -> Result<(), Fault> {
        let Some(open) = self.open.as_mut() else { return Err(out_of_order("a row")) };
        let Some(relation) = self.relations.get_mut(&relation) else { return Err(out_of_order("a row of a table")) };
        let (Some(relation), false) = (relation, open.skipped) else { return Ok(()) };
        while let Some(widened) = self.buffers.write(relation, old, new)? {
            relation.schema = self.appender.shape(&relation.schema.table, &relation.widened_columns(widened))?;
        }
        begin(open, self.appender)?;
        let before = old.is_some().then_some(self.buffers.before.as_slice());
        let after = new.is_some().then_some(self.buffers.after.as_slice());
        self.appender.row(&relation.schema, Row { operation, before, after, tokens: None })?;
        Ok(())
    }

    fn truncate(&mut self, relations: RelationIds<'_>) -> Result<(), Fault> {
        let Some(open) = self.open.as_mut() else { return Err(out_of_order("a truncate")) };
        for id in relations.iter() {
            let Some(relation) = self.relations.get(&id) else { return Err(out_of_order("a truncate of a table")) };
            if let (Some(relation), false) = (relation, open.skipped) {
                begin(open, self.appender)?;
                let row = Row { operation: Operation::Truncate, before: None, after: None, tokens: None };
                self.appender.row(&relation.schema, row)?;
            }
        }
        Ok(())
    }

    /// Notes in the trail how far the source is, when nothing else does: now and then, or because the server asks.
    fn record_progress(&mut self) -> Result<(), Fault> {
        let due = self.last_progress.elapsed() >= Duration::from_secs(limits::PROGRESS_SECONDS);
        let asked = self.answer_at.is_some_and(|at| at > self.appended);
        if self.open.is_none() && self.complete > self.appended && (due || asked) {
            self.appender.progress(&self.complete.to_position())?;
            self.appended = self.complete;
            self.last_progress = Instant::now();
        }
        Ok(())
    }

    /// Gives what was collected to the trail; waits while its queue is full.
    async fn hand_over(&mut self) -> Result<(), Fault> {
        let handing = self.appender.hand_over();
        let answered = while_answering(handing, &mut self.tick, &mut self.feedback, &mut self.connection).await;
        // While we waited for the trail, nobody listened to the source.
        self.feedback.heard();
        self.handed_over = self.feedback.last_heard();
        Ok(answered??)
    }

    fn show(&mut self) {
        let durable = self.feedback.durable();
        let (received, server_time, confirmed) = self.feedback.heard_so_far();
        let lag_micros = match &self.open {
            Some(open) if !open.skipped => server_time.micros().saturating_sub(open.head.commit_ts.micros()).max(0),
            _ => 0,
        };
        let heard = self.feedback.last_heard();
        self.show_counts();
        self.status.update(|status| {
            // The source's log may go on beyond what it has sent.
            let current = status.slot.as_ref().and_then(|slot| slot.current).unwrap_or_default();
            status.heard = Some(heard);
            status.reached(durable.to_string(), received.0.max(current).saturating_sub(durable.0));
            status.received_lsn = Some(received.to_string());
            status.confirmed_lsn = Some(confirmed.to_string());
            status.lag_seconds = Some(lag_micros as f64 / 1e6);
        });
    }

    fn show_counts(&mut self) {
        let Unshown { received_bytes, transactions, records } = std::mem::take(&mut self.unshown);
        self.status.update(|status| {
            status.received_bytes += received_bytes;
            status.transactions += transactions;
            status.records += records;
        });
    }
}

impl Buffers {
    /// Writes both images; says if the shape has to be widened first.
    fn write(
        &mut self,
        relation: &Relation,
        old: Option<OldTuple<'_>>,
        new: Option<Tuple<'_>>,
    ) -> Result<Option<relation::Widened>, Fault> {
        self.before.clear();
        self.after.clear();
        let mut widened = None;
        if let Some(OldTuple { key_only, tuple }) = old {
            widened = relation.write_image(&mut self.before, &mut self.scratch, tuple, key_only)?;
        }
        if let Some(tuple) = new {
            widened = relation.write_image(&mut self.after, &mut self.scratch, tuple, false)?.or(widened);
        }
        Ok(widened)
    }
}

/// Opens the transaction in the trail at its first captured row: one without any is not appended.
fn begin(open: &mut Open, appender: &mut Appender) -> Result<(), Fault> {
    if !open.begun {
        appender.begin(&open.head)?;
        open.begun = true;
    }
    Ok(())
}

async fn describe(
    catalogue: &mut Catalogue,
    address: &Address,
    message: &RelationMessage<'_>,
) -> Result<(Vec<Column>, Vec<ValueKind>), Fault> {
    let facts = catalogue.table(address, message.id).await?;
    let type_names = catalogue.type_names(address, &message.columns).await?;
    let mut kinds = Vec::with_capacity(message.columns.len());
    for column in &message.columns {
        kinds.push(catalogue.kind(address, column.type_id).await?);
    }
    Ok((relation::columns(message, &facts, &kinds, type_names), kinds))
}

/// Waits for `work`, to its end whatever happens, and keeps telling the server that we live.
async fn while_answering<T>(
    work: impl Future<Output = T>,
    tick: &mut Interval,
    feedback: &mut Feedback,
    connection: &mut Connection,
) -> Result<T, Fault> {
    let mut work = pin!(work);
    let mut failed = None;
    loop {
        tokio::select! {
            biased;
            done = &mut work => return failed.map_or(Ok(done), Err),
            _ = tick.tick(), if failed.is_none() => failed = feedback.send(connection).await.err(),
        }
    }
}
