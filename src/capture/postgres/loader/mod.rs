//! What is loaded next, what it waits for, and what becomes of each piece that was read.
//!
//! Owns the order of things beside a stream, which calls it between its own messages and never waits for it:
//!
//! ```text
//! rest -> look (who is not to be seen yet) -> … -> read (pieces) -> the next table, or rest
//! ```
//!
//! A piece is held until the stream has brought everything that its snapshot shows, no transaction is half in, and the trail's writer is not
//! behind. Whatever makes a piece wrong (the table was altered or emptied, there was too much to remember) drops the reader: it
//! begins again behind the last row that stands in the trail. Leaves the rules to `capture::snapshot`, reading to `snapshot`, and who is
//! waited for to [`unseen`]; what was ordered, and how loads end, is in [`ends`].

mod ends;
mod look;
mod unseen;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, Instant, sleep_until};
use tracing::info;

use self::ends::Ending;
use self::look::{Looked, Looking, Next, Work};
use super::catalogue::Catalogue;
use super::lsn::Lsn;
use super::snapshot::reader::{self, Piece, Read, ReadEnd, Request};
use super::snapshot::sight::Sight;
use super::status::SharedStatus;
use super::target::Target;
use super::transactions::{Transactions, Unloaded};
use crate::capture::coverage::SharedCoverage;
use crate::capture::error::Fault;
use crate::capture::fault_injection;
use crate::capture::intake::Intake;
use crate::capture::snapshot::orders::SharedLoads;
use crate::capture::snapshot::status::{LoadStatus, Observed};
use crate::capture::snapshot::window::Hidden;
use crate::capture::wait::Wait;
use crate::catalog::load::LoadRecord;
use crate::limits;
use crate::record::TableName;
use crate::repeats::warn_rarely;

/// Whoever loads beside a stream.
pub(super) struct Loader<'a> {
    target: &'a Target,
    version: u32,
    status: &'a SharedStatus,
    orders: &'a SharedLoads,
    coverage: &'a SharedCoverage,
    changes: watch::Receiver<LoadRecord>,
    /// Orders have changed and are not followed yet.
    are_new: bool,
    phase: Phase<'a>,
    /// Who must not be waited for any more: since the window began, everybody has been cleared.
    is_clear: bool,
    /// A piece that waits for its time, and since when.
    held: Option<(Piece, Instant)>,
    /// What the last piece's snapshot shows, and when its first piece came.
    chunk: Option<(Arc<Sight>, Instant)>,
    /// What its snapshot shows is forgotten already.
    forgotten: Option<Arc<Sight>>,
    /// What a look has shown since then, while nothing is read.
    seen: Option<Sight>,
    /// A connection for short questions.
    side: Option<Catalogue>,
    nudging: Option<Work<'a, (Catalogue, Result<(), Fault>)>>,
    nudge_at: Option<Instant>,
    /// Tables whose load ended badly, to be said when no transaction is half in.
    ended: Vec<(TableName, Ended)>,
    /// Counts the descriptions of tables that the stream has brought.
    pub(super) described: Arc<AtomicU64>,
    /// What the trail says of loads that ended in earlier sessions is taken in.
    knows_ended: bool,
    /// A table that is not there, or not published, and since when.
    missing: Option<(TableName, Instant)>,
    /// Loads that have ended, which is said once it is durable.
    finishing: Vec<Ending>,
    observed: BTreeMap<String, Observed>,
    shown_at: Instant,
    /// When whoever reads could go on last.
    polled_at: Instant,
    /// In a row.
    failures: u32,
    /// A table that others come before, as it was refused often.
    postponed: Option<TableName>,
}

enum Phase<'a> {
    Rest,
    /// Who is not to be seen yet, before the table is read.
    Looking(Looking<'a>),
    Reading(Reading<'a>),
    /// Something passes.
    Later(Instant),
}

struct Reading<'a> {
    table: TableName,
    /// Of the load that was going on when it began.
    of: (u64, u64),
    is_again: bool,
    reading: Option<Work<'a, ReadEnd>>,
    end: Option<ReadEnd>,
    pieces: mpsc::Receiver<Read>,
}

/// How the load of a table ended, but for its good end.
enum Ended {
    Cancelled,
    Failed(String),
    /// It is another table now.
    Another,
}

/// What has happened.
pub(super) struct Event(Happened);

enum Happened {
    Looked(Result<Looked, Fault>),
    Read(Read),
    ReadEnded,
    Due,
}

impl<'a> Loader<'a> {
    /// Nothing is read yet.
    pub(super) fn new(
        target: &'a Target,
        version: u32,
        (status, orders, coverage): (&'a SharedStatus, &'a SharedLoads, &'a SharedCoverage),
    ) -> Self {
        Self {
            target,
            version,
            status,
            orders,
            coverage,
            changes: orders.watch(),
            are_new: true,
            phase: Phase::Rest,
            is_clear: false,
            held: None,
            chunk: None,
            forgotten: None,
            seen: None,
            side: Some(Catalogue::default()),
            nudging: None,
            nudge_at: None,
            ended: Vec::new(),
            described: Arc::new(AtomicU64::new(0)),
            knows_ended: false,
            missing: None,
            finishing: Vec::new(),
            observed: BTreeMap::new(),
            shown_at: Instant::now(),
            polled_at: Instant::now(),
            failures: 0,
            postponed: None,
        }
    }

    /// Whether there is anything to be done for a load.
    pub(super) fn is_wanted(&mut self, intake: &Intake<'_, Lsn>) -> bool {
        self.are_new |= self.changes.has_changed().unwrap_or(false);
        self.are_new || intake.loading.is_active() || !self.finishing.is_empty()
    }

    /// Whether a piece waits for nothing but the trail's writer.
    pub(super) fn waits_for_room(&self, intake: &Intake<'_, Lsn>) -> bool {
        self.held.as_ref().is_some_and(|(piece, _)| intake.is_between() && *intake.complete() >= piece.sight.before)
    }

    /// Waits for something to happen; for ever where nothing goes on. Dropping the future loses nothing.
    pub(super) async fn event(&mut self) -> Event {
        Event(self.happening().await)
    }

    async fn happening(&mut self) -> Happened {
        self.polled_at = Instant::now();
        let is_held = self.held.is_some();
        let nudge_at = self.nudge_at.filter(|_| is_held && self.nudging.is_none());
        match &mut self.phase {
            Phase::Rest => {
                if self.changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                self.are_new = true;
                Happened::Due
            }
            Phase::Later(until) => {
                sleep_until(*until).await;
                Happened::Due
            }
            Phase::Looking(looking) => match looking.next().await {
                Next::Answer(side, answer) => {
                    self.side = Some(side);
                    Happened::Looked(answer)
                }
                Next::Due => Happened::Due,
            },
            Phase::Reading(reading) => loop {
                tokio::select! {
                    biased;
                    read = reading.pieces.recv(), if !is_held => {
                        return read.map_or(Happened::ReadEnded, Happened::Read);
                    }
                    end = until_done(&mut reading.reading) => {
                        (reading.end, reading.reading) = (Some(end), None);
                    }
                    (side, nudged) = until_done(&mut self.nudging) => {
                        self.nudging = None;
                        self.side = Some(side);
                        if let Err(error) = nudged {
                            warn_rarely!(&self.target.slot, slot = self.target.slot, %error, "the source could not be made to write to its log");
                        }
                        return Happened::Due;
                    }
                    () = sleep_until(nudge_at.unwrap_or_else(Instant::now)), if nudge_at.is_some() => return Happened::Due,
                }
            },
        }
    }

    /// Takes in what has happened.
    pub(super) fn happened(&mut self, event: Event) -> Result<(), Fault> {
        match event.0 {
            Happened::Looked(Ok(looked)) => {
                if let Phase::Looking(looking) = &mut self.phase {
                    self.seen = looking.looked(&looked)?;
                }
            }
            Happened::Looked(Err(fault)) => self.broken(&fault),
            Happened::Read(Read::Piece(piece)) => {
                let now = Instant::now();
                self.nudge_at = Some(now + Duration::from_millis(limits::LOAD_NUDGE_MILLIS));
                if !self.chunk.as_ref().is_some_and(|(sight, _)| Arc::ptr_eq(sight, &piece.sight)) {
                    self.chunk = Some((piece.sight.clone(), now));
                }
                self.held = Some((piece, now));
            }
            Happened::Read(Read::Estimate(rows)) => {
                if let Phase::Reading(reading) = &self.phase {
                    self.observed.entry(reading.table.to_string()).or_default().estimated_rows = rows;
                }
            }
            Happened::ReadEnded => self.read_ended(),
            Happened::Due => {}
        }
        Ok(())
    }

    fn read_ended(&mut self) {
        let Phase::Reading(reading) = &mut self.phase else { return };
        let (table, is_again) = (reading.table.clone(), reading.is_again);
        let later = Instant::now() + Duration::from_millis(limits::LOAD_RETRY_MILLIS);
        match reading.end.take() {
            // What could not be read again because it has changed again comes once more, and not at once.
            None | Some(ReadEnd::Done) => self.phase = if is_again { Phase::Later(later) } else { Phase::Rest },
            Some(ReadEnd::Another) => {
                self.ended.push((table, Ended::Another));
                self.phase = Phase::Later(later);
            }
            Some(ReadEnd::Missing(why)) => {
                let now = Instant::now();
                let since = self.missing.take().filter(|(known, _)| *known == table).map_or(now, |(_, since)| since);
                if since + Duration::from_secs(limits::LOAD_MISSING_SECONDS_MAX) < now {
                    self.ended.push((table, Ended::Failed(why)));
                } else {
                    self.missing = Some((table, since));
                }
                self.phase = Phase::Later(later);
            }
            Some(ReadEnd::Refused(why)) => {
                self.ended.push((table, Ended::Failed(why)));
                self.phase = Phase::Rest;
            }
            Some(ReadEnd::Broken(fault)) => self.broken(&fault),
        }
    }

    /// Something passes: try again, and not at once.
    fn broken(&mut self, fault: &Fault) {
        let of_kind = format!("{} load", self.target.slot);
        warn_rarely!(&of_kind, slot = self.target.slot, error = %fault, "the initial load was interrupted and goes on");
        let millis = limits::LOAD_RETRY_MILLIS << self.failures.min(8);
        self.failures += 1;
        let table = match &self.phase {
            Phase::Looking(looking) => Some(looking.table.clone()),
            Phase::Reading(reading) => Some(reading.table.clone()),
            Phase::Rest | Phase::Later(_) => None,
        };
        if let Some(table) = table {
            let what = format!("{fault}; it is tried again, so far {} times in a row", self.failures);
            self.observed.entry(table.to_string()).or_default().error = Some(what);
            if self.failures.is_multiple_of(limits::LOAD_FAILURES_IN_TURN) {
                self.postponed = Some(table);
            }
        }
        self.drop_reading(Duration::from_millis(millis.min(limits::SOURCE_BACKOFF_MILLIS_MAX)));
    }

    /// What was read and not appended is read again.
    fn drop_reading(&mut self, pause: Duration) {
        (self.held, self.nudge_at) = (None, None);
        self.phase = Phase::Later(Instant::now() + pause);
    }

    /// Goes on as far as it can without waiting.
    pub(super) fn step(&mut self, intake: &mut Intake<'_, Lsn>) -> Result<(), Fault> {
        self.finish(intake);
        if intake.is_between() {
            self.follow_orders(intake)?;
            self.say_ends(intake)?;
        }
        if self.changes.borrow().paused || !intake.loading.is_active() {
            if !matches!(self.phase, Phase::Rest) || intake.loading.window.is_kept() {
                self.rest(intake);
            }
            self.show(intake, false);
            return Ok(());
        }
        if !intake.loading.window.is_kept() && self.is_clear {
            info!(
                slot = self.target.slot,
                "the initial load waits: the source's transactions are too large to be remembered"
            );
            self.is_clear = false;
            self.drop_reading(Duration::ZERO);
        }
        if let Some(table) = self.postponed.take() {
            intake.loading.postpone(&table);
            self.show(intake, true);
        }
        match &mut self.phase {
            Phase::Later(until) if *until > Instant::now() => {}
            Phase::Rest | Phase::Later(_) if intake.is_between() => self.begin(intake),
            Phase::Rest | Phase::Later(_) => {}
            Phase::Looking(looking) if number_of(intake, &looking.table) != Some(looking.of) => {
                // It has begun again, or has ended: whoever has written to it until now has to be looked for anew.
                self.phase = Phase::Rest;
            }
            Phase::Looking(looking) => {
                if let Some(seen) = self.seen.take() {
                    // Every chunk to come shows at least as much.
                    intake.loading.window.forget(|xid, at| seen.shows(xid, at));
                }
                for xid in intake.loading.take_came() {
                    looking.unseen.came(&xid);
                }
                if looking.unseen.is_clear() {
                    let table = looking.table.clone();
                    if let Some(place) = looking.place.filter(|_| looking.of_table) {
                        intake.loading.began_at(&table, place.to_string());
                    }
                    intake.loading.note_coming(false);
                    self.is_clear = true;
                    self.read(&table, intake);
                } else {
                    looking.ask_if_due(&mut self.side, &self.target.address);
                }
            }
            Phase::Reading(_) => self.nudge_if_due(intake),
        }
        self.show(intake, false);
        Ok(())
    }

    fn rest(&mut self, intake: &mut Intake<'_, Lsn>) {
        (self.held, self.nudge_at, self.is_clear, self.phase) = (None, None, false, Phase::Rest);
        intake.loading.window.end();
        intake.loading.note_coming(false);
        self.observed.values_mut().for_each(|of| of.is_loading = false);
        self.show(intake, true);
    }

    /// The load of a table ends badly, which is said at the next step.
    fn fail(&mut self, table: TableName, why: String) {
        self.ended.push((table, Ended::Failed(why)));
        self.drop_reading(Duration::ZERO);
    }

    /// Begins with the first table that is left: with the question who is not to be seen yet, or at once.
    fn begin(&mut self, intake: &mut Intake<'_, Lsn>) {
        let Some(progress) = intake.loading.tables().next() else { return };
        if progress.left.restarts > limits::LOAD_RESTARTS_MAX {
            let table = progress.table.clone();
            let why = format!(
                "table {table} was begun {} times and changed too much each time to be loaded: load it when it changes less",
                progress.left.restarts
            );
            return self.fail(table, why);
        }
        if !self.target.is_captured(&progress.table) {
            let table = progress.table.clone();
            let why = format!(
                "table {table} is not captured any more, so that its load was ended: add it to the extract's tables, then load it"
            );
            return self.fail(table, why);
        }
        let (table, is_new) = (progress.table.clone(), progress.left.behind.is_none() && !progress.left.is_read);
        let of = (progress.left.order, progress.left.restarts);
        if !self.is_clear {
            intake.loading.window.begin();
        }
        if self.is_clear && !is_new {
            return self.read(&table, intake);
        }
        intake.loading.note_coming(true);
        // Who moves a row from here on is not waited for, and may not be seen by the first chunks.
        intake.loading.begin(&table);
        let mut looking = Looking::new(table, of, !self.is_clear, is_new);
        looking.ask_if_due(&mut self.side, &self.target.address);
        self.phase = Phase::Looking(looking);
    }

    fn read(&mut self, table: &TableName, intake: &mut Intake<'_, Lsn>) {
        let Some(progress) = intake.loading.table(table) else {
            self.phase = Phase::Rest;
            return;
        };
        let left = progress.left.clone();
        let order = self.changes.borrow().orders.get(&table.to_string()).cloned().unwrap_or_default();
        if order.number > left.order {
            // It is to begin again, once nothing is half in.
            self.phase = Phase::Rest;
            return;
        }
        if order.number < left.order && left.is_filtered {
            // Its condition is not known any more: without it, rows would come that nobody asked for.
            let why = format!("the order to load table {table} was lost: give it again");
            return self.fail(table.clone(), why);
        }
        let of = (left.order, left.restarts);
        let is_again = left.is_read;
        let request = Request {
            table: table.clone(),
            left,
            condition: order.condition,
            rate: self.target.load_rate,
            described: self.described.clone(),
        };
        let (out, pieces) = mpsc::channel(limits::LOAD_PIECES_QUEUED_MAX);
        let reading: Work<'a, ReadEnd> = Box::pin(reader::read(self.target, self.version, request, out));
        intake.loading.begin(table);
        self.observed.entry(table.to_string()).or_default().is_loading = true;
        self.phase =
            Phase::Reading(Reading { table: table.clone(), of, is_again, reading: Some(reading), end: None, pieces });
    }

    /// A source that is idle does not come to the place that a piece waits for: what it writes to its log is not flushed before
    /// somebody commits.
    fn nudge_if_due(&mut self, intake: &Intake<'_, Lsn>) {
        let now = Instant::now();
        let limit = Duration::from_secs(limits::LOAD_HELD_SECONDS_MAX);
        if self.held.is_some() && self.chunk.as_ref().is_some_and(|(_, since)| *since + limit < now) {
            self.end_transaction();
        }
        let Some((piece, _)) = &self.held else { return };
        if *intake.complete() >= piece.sight.before {
            return;
        }
        if piece.plan.is_standby || self.nudging.is_some() || self.nudge_at.is_none_or(|at| at > now) {
            return;
        }
        let mut side = self.side.take().unwrap_or_default();
        self.nudge_at = Some(now + Duration::from_millis(limits::LOAD_NUDGE_AGAIN_MILLIS));
        let address = &self.target.address;
        self.nudging = Some(Box::pin(async move {
            // Not to wait for a synchronous standby, which may be us.
            let sql = "BEGIN; SET LOCAL synchronous_commit = local; \
                       SELECT pg_catalog.pg_logical_emit_message(true, 'trailcast.load', ''); COMMIT";
            let done = side.query(address, sql).await;
            (side, done.map(drop))
        }));
    }

    /// The source's transaction has been open for too long, and keeps the source from cleaning up: what has been read of it
    /// stays, and is appended when its time comes; the rest is read by another one.
    fn end_transaction(&mut self) {
        if let Phase::Reading(reading) = &mut self.phase {
            reading.reading = None;
        }
    }

    /// The same while something else takes so long that nobody has listened to whoever reads.
    pub(super) fn look_after_transaction(&mut self) {
        if self.polled_at + Duration::from_secs(limits::LOAD_HELD_SECONDS_MAX) < Instant::now() {
            self.end_transaction();
        }
    }

    /// Appends the piece that is held, if its time has come; says whether it did.
    pub(super) async fn append(&mut self, transactions: &mut Transactions<'_>) -> Result<bool, Fault> {
        let intake = &mut transactions.intake;
        if !self.waits_for_room(intake) || !intake.appender.has_room(limits::LOAD_QUEUE_CHUNKS_MAX) {
            return Ok(false);
        }
        let of_reading = match &self.phase {
            Phase::Reading(reading) => reading.of,
            _ => return Ok(false),
        };
        let Some((piece, _)) = self.held.take() else { return Ok(false) };
        let table = &piece.plan.table;
        let of = number_of(intake, table);
        let by_place = fault_injection::loads_by_place();
        let is_kept = intake.loading.window.is_kept() || by_place;
        let hidden = intake.loading.hidden(table, |xid, at| piece.sight.shows(xid, at));
        let rows = match hidden {
            Hidden::Rows(rows) if is_kept && of == Some(of_reading) && !transactions.differs(&piece) => rows,
            _ => {
                self.drop_reading(Duration::from_millis(limits::LOAD_RETRY_MILLIS));
                return Ok(false);
            }
        };
        let appended = match transactions.load(&piece, &rows).await? {
            Ok(appended) => appended,
            Err(Unloaded(why)) => {
                self.ended.push((table.clone(), Ended::Failed(why)));
                self.drop_reading(Duration::ZERO);
                return Ok(false);
            }
        };
        (self.failures, self.missing) = (0, None);
        let intake = &mut transactions.intake;
        if !self.forgotten.as_ref().is_some_and(|sight| Arc::ptr_eq(sight, &piece.sight)) {
            // Every piece to come shows at least as much.
            intake.loading.window.forget(|xid, at| piece.sight.shows(xid, at));
            self.forgotten = Some(piece.sight.clone());
        }
        let name = table.to_string();
        if let Some(progress) = intake.loading.table(table) {
            let observed = self.observed.entry(name).or_default();
            observed.rate.note(Instant::now(), progress.rows);
            observed.error = None;
        }
        if let Some(progress) = intake.loading.take_ended() {
            self.phase = Phase::Rest;
            let ending =
                if appended { Ending::committed(progress, intake) } else { Ending::noted(progress, None, intake) };
            self.finishing.push(ending);
            if !intake.loading.is_active() {
                self.rest(intake);
            }
            self.show(intake, true);
        }
        Ok(appended)
    }

    /// Shows how far the loads are: now and then, or at once.
    fn show(&mut self, intake: &Intake<'_, Lsn>, at_once: bool) {
        let now = Instant::now();
        if !at_once && self.shown_at + Duration::from_millis(limits::LOAD_LOOK_MILLIS) > now {
            return;
        }
        self.shown_at = now;
        let waits_for = self.wait(now);
        let record = self.orders.snapshot();
        let left = intake.loading.tables().chain(self.finishing.iter().map(|ending| &ending.progress));
        let shown = LoadStatus::of(left, &self.observed, &record, waits_for, now);
        self.status.update(|status| status.snapshot = shown);
    }

    fn wait(&self, now: Instant) -> Option<Wait> {
        match &self.phase {
            Phase::Looking(looking) => looking.wait(now),
            Phase::Reading(_) => {
                let (_, since) = self.held.as_ref()?;
                let seconds = now.saturating_duration_since(*since).as_secs();
                let what = || {
                    format!(
                        "rows that were read have waited for {seconds} s: the stream has not brought what was committed before, or the trail's \
                         writer is behind; the extract's lag says how far"
                    )
                };
                let is_long = seconds >= limits::LOAD_BEHIND_SECONDS;
                is_long.then(|| Wait { what: what(), seconds, pid: None, transaction_seconds: None })
            }
            _ => None,
        }
    }
}

/// Which load of the table goes on.
fn number_of(intake: &Intake<'_, Lsn>, table: &TableName) -> Option<(u64, u64)> {
    intake.loading.table(table).map(|progress| (progress.left.order, progress.left.restarts))
}

/// The end of what goes on; for ever where nothing does.
async fn until_done<T>(work: &mut Option<Work<'_, T>>) -> T {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}
