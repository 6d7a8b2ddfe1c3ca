//! Reads a table in chunks, over a connection of its own, and gives it on in pieces that are appended one by one.
//!
//! Owns how large a chunk is, how fast they follow each other, and what a refusal of the source means for the table. A chunk
//! is one transaction: see [`Plan`](super::plan::Plan). Who takes the pieces is slower than the source now and then: then the source waits,
//! in the middle of a chunk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Duration, Instant, sleep, sleep_until};

use super::super::catalogue::{Catalogue, unexpected};
use super::super::connection::{Connection, Row};
use super::super::lsn::Lsn;
use super::super::pgoutput::{Tuple, TupleValue};
use super::super::server_error::ServerError;
use super::super::target::Target;
use super::super::wire::Unfinished;
use super::copy_text::push_tuple;
use super::plan::{self, KeyTexts, Plan, Planned};
use super::refusal::{self, Meaning};
use super::sight::Sight;
use crate::capture::error::{CaptureError, Fault};
use crate::capture::snapshot::key::Key;
use crate::capture::snapshot::loading::Appended;
use crate::capture::snapshot::progress::Left;
use crate::codec::byte_text;
use crate::limits;
use crate::record::{TableName, Timestamp};

/// What is to be read.
#[derive(Debug)]
pub(in crate::capture::postgres) struct Request {
    pub(in crate::capture::postgres) table: TableName,
    pub(in crate::capture::postgres) left: Left,
    pub(in crate::capture::postgres) condition: Option<String>,
    /// Rows a second, at most.
    pub(in crate::capture::postgres) rate: Option<u64>,
    /// Counts the descriptions of tables that the stream has brought.
    pub(in crate::capture::postgres) described: Arc<AtomicU64>,
}

/// What comes while a table is read.
#[derive(Debug)]
pub(in crate::capture::postgres) enum Read {
    /// The source thinks that it has so many rows.
    Estimate(Option<u64>),
    Piece(Piece),
}

/// Rows of a chunk, to be appended together.
#[derive(Debug)]
pub(in crate::capture::postgres) struct Piece {
    pub(in crate::capture::postgres) plan: Arc<Plan>,
    pub(in crate::capture::postgres) sight: Arc<Sight>,
    /// Descriptions that the stream had brought before the chunk was begun.
    pub(in crate::capture::postgres) described: u64,
    /// Each with its length before it.
    rows: Vec<u8>,
    pub(in crate::capture::postgres) count: u64,
    pub(super) what: What,
    /// Its part of the memory, which is free again with it.
    room: Option<OwnedSemaphorePermit>,
}

/// Which rows they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// Those behind a key; if `is_last`, there are no more.
    Behind { is_last: bool },
    /// Those with these keys, as far as they are there still.
    WithKeys(Vec<Key>),
}

/// How reading ended.
#[derive(Debug)]
pub(in crate::capture::postgres) enum ReadEnd {
    /// With everything that was to be read.
    Done,
    /// The table is another one than before, or has another key.
    Another,
    /// It is not there, or not published, which may change in a moment: why, and what to do.
    Missing(String),
    /// It cannot be loaded: why, and what to do.
    Refused(String),
    /// Try again.
    Broken(Fault),
}

impl Piece {
    /// Its rows.
    pub(in crate::capture::postgres) fn rows(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.rows.as_slice();
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let (row, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            rest = after;
            Some(row)
        })
    }

    /// Whether there are no rows behind these.
    pub(in crate::capture::postgres) fn is_last(&self) -> bool {
        self.what == What::Behind { is_last: true }
    }

    /// What was appended of it, as the progress of its table has it.
    pub(in crate::capture::postgres) fn told(&self, appended: Appended) -> Appended {
        match &self.what {
            What::Behind { is_last } => Appended { is_last: *is_last, ..appended },
            What::WithKeys(keys) => Appended { behind: None, read_again: keys.clone(), is_last: false, ..appended },
        }
    }

    /// The place that the stream has come to when it is appended.
    pub(in crate::capture::postgres) fn place(&self) -> Lsn {
        self.sight.before
    }

    /// The server's clock when it was read.
    pub(in crate::capture::postgres) fn read_at(&self) -> Timestamp {
        self.sight.read_at
    }
}

/// Reads what is left of a table, and gives it on as long as somebody takes it.
pub(in crate::capture::postgres) async fn read(
    target: &Target,
    version: u32,
    request: Request,
    out: mpsc::Sender<Read>,
) -> ReadEnd {
    match Reader::open(target, version, request, out).await {
        Ok(mut reader) => reader.run().await.unwrap_or_else(|fault| match fault {
            Fault::Stop(error) => ReadEnd::Refused(reader.refused(&error.to_string())),
            passing => ReadEnd::Broken(passing),
        }),
        Err(fault) => ReadEnd::Broken(fault),
    }
}

struct Reader<'a> {
    target: &'a Target,
    version: u32,
    request: Request,
    out: mpsc::Sender<Read>,
    /// Bytes of rows that may wait.
    room: Arc<Semaphore>,
    connection: Connection,
    /// Of the catalogue, as the other one is busy.
    catalogue: Catalogue,
    /// Rows of the next chunk.
    chunk_rows: u64,
}

/// How one chunk ended.
enum ChunkEnd {
    /// With its last row; whether there are more, and the key behind which.
    Read {
        rows: u64,
        more: Option<KeyTexts>,
    },
    /// The table does not look as planned any more.
    Changed,
    /// Nobody takes the rows.
    Unwanted,
    Refused(ServerError),
}

impl<'a> Reader<'a> {
    async fn open(target: &'a Target, version: u32, request: Request, out: mpsc::Sender<Read>) -> Result<Self, Fault> {
        let mut connection = Connection::open(&target.address, false).await?;
        // Rows that are hidden from us would be missing without a sign: the source says so instead.
        let settings = "SET row_security = off; SET jit = off; SET max_parallel_workers_per_gather = 0";
        connection.query(settings).await?;
        let chunk_rows = limits::LOAD_CHUNK_ROWS_FIRST.min(most_rows(request.rate));
        let room = Arc::new(Semaphore::new(limits::LOAD_QUEUED_BYTES_MAX));
        Ok(Self { target, version, request, out, room, connection, catalogue: Catalogue::default(), chunk_rows })
    }

    fn refused(&self, why: &str) -> String {
        format!("table {} cannot be loaded: {why}; mend it, then load the table again", self.request.table)
    }

    async fn run(&mut self) -> Result<ReadEnd, Fault> {
        let mut behind: Option<KeyTexts> = None;
        let mut is_first = true;
        for _ in 0..limits::LOAD_PLANS_MAX {
            let condition = self.request.condition.clone();
            let planning = plan::plan(
                self.target,
                self.version,
                &mut self.connection,
                &mut self.catalogue,
                &self.request.table,
                condition.as_deref(),
            );
            let plan = match planning.await? {
                Planned::Plan(plan) => Arc::new(*plan),
                Planned::Missing(why) => return Ok(ReadEnd::Missing(why)),
                Planned::Refused(why) => return Ok(ReadEnd::Refused(why)),
            };
            let left = &self.request.left;
            if !left.of.is_empty() && left.of != plan.of {
                return Ok(ReadEnd::Another);
            }
            if is_first {
                behind = match &left.behind {
                    Some(key) => match plan.texts(key) {
                        Some(texts) => Some(texts),
                        None => return Ok(ReadEnd::Another),
                    },
                    None => None,
                };
                is_first = false;
            }
            self.request.left.of.clone_from(&plan.of);
            if self.out.send(Read::Estimate(plan.estimated_rows)).await.is_err() {
                return Ok(ReadEnd::Done);
            }
            let ended = if self.request.left.is_read {
                self.again(&plan).await?
            } else {
                self.chunks(&plan, &mut behind).await?
            };
            if let Some(end) = ended {
                return Ok(end);
            }
        }
        Ok(ReadEnd::Refused(self.refused("it is altered again and again while it is read")))
    }

    /// Reads to the end; none if the table is to be planned anew.
    async fn chunks(&mut self, plan: &Arc<Plan>, behind: &mut Option<KeyTexts>) -> Result<Option<ReadEnd>, Fault> {
        loop {
            let began = Instant::now();
            let rows = self.chunk_rows;
            let sql = plan.chunk(behind.as_ref(), rows + 1);
            match self.chunk(plan, &sql, Some(rows), None).await? {
                ChunkEnd::Read { rows: read, more } => {
                    let Some(last) = more else { return Ok(Some(ReadEnd::Done)) };
                    *behind = Some(last);
                    self.adapt(began.elapsed());
                    self.pause(began, read).await;
                }
                ChunkEnd::Changed => return Ok(None),
                ChunkEnd::Unwanted => return Ok(Some(ReadEnd::Done)),
                ChunkEnd::Refused(error) => return self.judge(error).await,
            }
        }
    }

    /// Reads rows by their keys.
    async fn again(&mut self, plan: &Arc<Plan>) -> Result<Option<ReadEnd>, Fault> {
        let keys: Vec<Key> = self.request.left.again.iter().cloned().collect();
        for keys in keys.chunks(limits::LOAD_AGAIN_ROWS) {
            let began = Instant::now();
            let Some(texts) = keys.iter().map(|key| plan.texts(key)).collect::<Option<Vec<_>>>() else {
                return Ok(Some(ReadEnd::Another));
            };
            match self.chunk(plan, &plan.with_keys(&texts), None, Some(keys)).await? {
                ChunkEnd::Read { rows, .. } => self.pause(began, rows).await,
                ChunkEnd::Changed => return Ok(None),
                ChunkEnd::Unwanted => break,
                ChunkEnd::Refused(error) => return self.judge(error).await,
            }
        }
        Ok(Some(ReadEnd::Done))
    }

    /// What a refusal of a chunk means.
    async fn judge(&mut self, error: ServerError) -> Result<Option<ReadEnd>, Fault> {
        self.connection.query("ROLLBACK").await?;
        Ok(match refusal::meaning(&error, self.request.condition.is_some()) {
            Meaning::Gone => None,
            Meaning::Passing(why) => Some(ReadEnd::Broken(Fault::Passing(why))),
            Meaning::Lasting(why) => Some(ReadEnd::Refused(self.refused(&why))),
        })
    }

    /// The next chunk is to take its time.
    fn adapt(&mut self, took: Duration) {
        let wanted = limits::LOAD_CHUNK_MILLIS as f64 / 1e3;
        let factor = (wanted / took.as_secs_f64().max(1e-3)).clamp(0.5, 4.0);
        let rows = (self.chunk_rows as f64 * factor) as u64;
        self.chunk_rows = rows.clamp(limits::LOAD_CHUNK_ROWS_MIN, most_rows(self.request.rate));
    }

    /// Waits until so many rows may have taken that long.
    async fn pause(&self, began: Instant, rows: u64) {
        if let Some(rate) = self.request.rate {
            sleep_until(began + Duration::from_secs_f64(rows as f64 / rate.max(1) as f64)).await;
        }
    }

    /// Reads one chunk; the row behind `limit` only says that there are more.
    async fn chunk(
        &mut self,
        plan: &Arc<Plan>,
        sql: &str,
        limit: Option<u64>,
        keys: Option<&[Key]>,
    ) -> Result<ChunkEnd, Fault> {
        let described = self.request.described.load(Ordering::Relaxed);
        let replayed = if plan.is_standby { Some(self.replayed().await?) } else { None };
        self.connection.send_query(sql).await?;
        let mut gathering = Gathering {
            plan,
            described,
            limit,
            keys,
            sight: None,
            rows: Vec::new(),
            last: 0,
            count: 0,
            read: 0,
            more: false,
        };
        let (mut changed, mut unwanted, mut refused) = (false, false, None);
        loop {
            let mut frames = self.connection.wire.take_whole()?;
            while let Some(frame) = frames.next() {
                match frame.tag {
                    b'd' if changed || unwanted => {}
                    b'd' => {
                        if let Some(piece) = gathering.row(frame.body)? {
                            unwanted = !give(&self.out, &self.room, piece).await;
                        }
                    }
                    b'D' => {
                        let head = self.connection.row(frame.body)?;
                        let (sight, is_as_planned) = head_of(&head, plan, replayed)?;
                        gathering.sight = Some(Arc::new(sight));
                        changed = !is_as_planned;
                    }
                    b'E' => refused = Some(ServerError::decode(frame.body)),
                    b'Z' => {
                        if let Some(error) = refused {
                            return Ok(ChunkEnd::Refused(error));
                        }
                        if changed || gathering.sight.is_none() {
                            return Ok(ChunkEnd::Changed);
                        }
                        if unwanted {
                            return Ok(ChunkEnd::Unwanted);
                        }
                        let (rows, more) = (gathering.read, gathering.more_behind(self.connection.charset)?);
                        return match give(&self.out, &self.room, gathering.rest()?).await {
                            true => Ok(ChunkEnd::Read { rows, more }),
                            false => Ok(ChunkEnd::Unwanted),
                        };
                    }
                    b'T' | b'C' | b'H' | b'c' | b'N' | b'S' | b'A' | b'I' => {}
                    tag => return Err(unexpected(&format!("a chunk ({:?})", char::from(tag)))),
                }
            }
            if unwanted {
                return Ok(ChunkEnd::Unwanted);
            }
            if let Some(Unfinished { tag: b'd', whole, .. }) = self.connection.wire.unfinished()
                && whole > limits::LOAD_ROW_BYTES_MAX
            {
                let max = limits::LOAD_ROW_BYTES_MAX;
                let why = format!("a row of {whole} bytes is larger than a row may be that is loaded ({max})");
                return Err(CaptureError::Refused(why).into());
            }
            self.fill().await?;
        }
    }

    /// A source that says nothing for long is gone: it may wait for a lock, for a condition, for the disk.
    async fn fill(&mut self) -> Result<(), Fault> {
        let limit = Duration::from_secs(limits::LOAD_WHERE_SECONDS_MAX + limits::SOURCE_SILENCE_SECONDS_MAX);
        tokio::select! {
            filled = self.connection.wire.fill() => filled.map(drop),
            () = sleep(limit) => Err(Fault::Passing(format!("a chunk did not come within {} s", limit.as_secs()))),
        }
    }

    /// How far a standby has replayed its primary's log.
    async fn replayed(&mut self) -> Result<Lsn, Fault> {
        let rows = self.connection.query("SELECT pg_catalog.pg_last_wal_replay_lsn()").await?;
        let text = rows.first().and_then(|row| row.first()?.as_deref());
        // None of one that is a primary by now, which the chunk says itself.
        Ok(text.and_then(Lsn::parse).unwrap_or_default())
    }
}

/// The most rows of one chunk, of a load that is held to that rate.
fn most_rows(rate: Option<u64>) -> u64 {
    let most = rate.map_or(u64::MAX, |rate| rate / limits::LOAD_CHUNKS_AT_RATE);
    most.clamp(limits::LOAD_CHUNK_ROWS_MIN, limits::LOAD_CHUNK_ROWS_MAX)
}

/// Gives a piece on when there is room for its rows; says whether somebody has taken it. A large one waits for all the others.
async fn give(out: &mpsc::Sender<Read>, room: &Arc<Semaphore>, mut piece: Piece) -> bool {
    let bytes = piece.rows.capacity().min(limits::LOAD_QUEUED_BYTES_MAX) as u32;
    piece.room = room.clone().acquire_many_owned(bytes).await.ok();
    out.send(Read::Piece(piece)).await.is_ok()
}

/// What the snapshot shows, and whether the table is as planned.
fn head_of(head: &Row, plan: &Plan, replayed: Option<Lsn>) -> Result<(Sight, bool), Fault> {
    let wrong = || unexpected("a chunk's snapshot");
    let [Some(snapshot), Some(before), Some(micros), Some(is_standby), Some(fingerprint)] = &head[..] else {
        return Err(wrong());
    };
    let before = Lsn::parse(before).ok_or_else(wrong)?;
    let read_at = Timestamp::from_micros(micros.parse().map_err(|_| wrong())?);
    let sight = match replayed {
        Some(replayed) => Sight::of_standby(replayed, before, read_at),
        None => Sight::of_snapshot(snapshot, before, read_at).ok_or_else(wrong)?,
    };
    Ok((sight, *fingerprint == plan.fingerprint && (is_standby == "t") == plan.is_standby))
}

/// The rows of a chunk that have come and were not given on.
struct Gathering<'p> {
    plan: &'p Arc<Plan>,
    described: u64,
    limit: Option<u64>,
    keys: Option<&'p [Key]>,
    sight: Option<Arc<Sight>>,
    rows: Vec<u8>,
    /// Where the last one begins.
    last: usize,
    count: u64,
    /// Rows of the chunk so far.
    read: u64,
    /// A row came behind the limit.
    more: bool,
}

impl Gathering<'_> {
    /// Takes in a row; gives what was there before it if that is enough for a piece.
    fn row(&mut self, line: &[u8]) -> Result<Option<Piece>, Fault> {
        if self.limit.is_some_and(|limit| self.read >= limit) {
            self.more = true;
            return Ok(None);
        }
        let piece = if self.rows.len() >= limits::LOAD_PIECE_BYTES { Some(self.piece(false)?) } else { None };
        self.last = self.rows.len();
        self.rows.extend_from_slice(&[0; 4]);
        let malformed = || CaptureError::Malformed(format!("a row of a chunk of {}", self.plan.table));
        push_tuple(&mut self.rows, line, self.plan.width()).ok_or_else(malformed)?;
        let length = u32::try_from(self.rows.len() - self.last - 4).map_err(|_| malformed())?;
        self.rows[self.last..self.last + 4].copy_from_slice(&length.to_le_bytes());
        (self.count, self.read) = (self.count + 1, self.read + 1);
        Ok(piece)
    }

    fn piece(&mut self, ends_chunk: bool) -> Result<Piece, Fault> {
        let capacity = self.rows.capacity().min(2 * limits::LOAD_PIECE_BYTES);
        let what = match self.keys {
            // They are done with the last of their rows.
            Some(keys) => What::WithKeys(if ends_chunk { keys.to_vec() } else { Vec::new() }),
            None => What::Behind { is_last: ends_chunk && !self.more },
        };
        Ok(Piece {
            plan: self.plan.clone(),
            sight: self.sight.clone().ok_or_else(|| unexpected("a chunk without a snapshot"))?,
            described: self.described,
            rows: std::mem::replace(&mut self.rows, if ends_chunk { Vec::new() } else { Vec::with_capacity(capacity) }),
            count: std::mem::take(&mut self.count),
            what,
            room: None,
        })
    }

    /// The key of the last row, if there are more behind it.
    fn more_behind(&self, charset: byte_text::Charset) -> Result<Option<KeyTexts>, Fault> {
        if !self.more {
            return Ok(None);
        }
        let last = self.rows.get(self.last + 4..).and_then(|row| Tuple::decode(row).ok());
        let text = |at: usize| match last?.values().nth(at)? {
            TupleValue::Text(bytes) => Some(byte_text::decode(bytes, charset).into_owned()),
            TupleValue::Null | TupleValue::Unchanged => None,
        };
        let key: Option<KeyTexts> = self.plan.key_places().map(text).collect();
        key.map(Some).ok_or_else(|| unexpected("a chunk whose last row has no key"))
    }

    /// What is left at the chunk's end.
    fn rest(&mut self) -> Result<Piece, Fault> {
        self.piece(true)
    }
}
