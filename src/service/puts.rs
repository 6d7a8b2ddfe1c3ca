//! Puts: transactions that come over HTTP, appended whole and acknowledged after the flush.
//!
//! Owns how values become cells and how a table's schema is inferred: columns are only added, kinds only widen.

mod column_map;
mod placing;

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use self::column_map::{ColumnMaps, column_at, kind_of};
use self::placing::Placing;
use crate::clock::SharedClock;
use crate::codec::put::{self, BadPut, PutFormat, PutOperation, PutTransaction};
use crate::codec::token::{self, TokenText};
use crate::limits;
use crate::record::{
    Column, JsonKind, Message, Operation, Position, SourcePosition, TableName, TableSchema, Timestamp, TrailName,
    TransactionHead,
};
use crate::service::principal::{Principal, Verb};
use crate::service::trails::{TrailEntry, TrailError, Trails};
use crate::tasks::{self, Task};
use crate::trail::{AppendError, Appender, OpenError, RowParts, Writer};

/// Takes puts into the trails of a server.
#[derive(Debug)]
pub struct Puts {
    trails: Arc<Trails>,
    clock: SharedClock,
    refusals: PutRefusals,
}

/// What a put came to.
#[derive(Debug)]
pub struct PutAnswer {
    /// Transactions now in the trail, those put before included.
    pub acked: usize,
    /// Position of the last record of the furthest of these transactions: any stream of the trail accepts it as `begin` and
    /// goes on after it. None of a body without transactions, as an empty batch of events is.
    pub pos: Option<TokenText>,
}

/// Puts refused since the server started, by [`PutError::REASONS`].
#[derive(Debug, Default)]
struct PutRefusals([AtomicU64; PutError::REASONS.len()]);

impl PutRefusals {
    fn count(&self, error: &PutError) {
        let reason = error.reason();
        let found = PutError::REASONS.iter().zip(&self.0).find(|(known, _)| **known == reason);
        if let Some((_, count)) = found {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A put is refused; nothing of it was appended, unless the trail stopped on the way.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The body.
    #[error(transparent)]
    Body(#[from] BadPut),
    /// The trail.
    #[error(transparent)]
    Trail(#[from] TrailError),
    /// The body has a table or column for which the trail has no room.
    #[error(transparent)]
    NoRoom(BadPut),
    /// The trail did not take it.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl PutError {
    /// What `Self::reason` may say.
    pub const REASONS: [&str; 6] = ["body", "no_trail", "other_writer", "disk_full", "trail_stopped", "too_large"];

    /// Its kind, for figures: one of [`Self::REASONS`].
    fn reason(&self) -> &'static str {
        match self {
            Self::Body(_) => "body",
            Self::Trail(TrailError::Missing(_)) => "no_trail",
            Self::Trail(TrailError::Busy { .. }) => "other_writer",
            Self::Append(AppendError::DiskFull) => "disk_full",
            Self::Trail(_) | Self::Append(AppendError::Stopped(_) | AppendError::OutOfTurn(_)) => "trail_stopped",
            Self::NoRoom(_)
            | Self::Append(
                AppendError::TooLarge { .. }
                | AppendError::TooLong { .. }
                | AppendError::TooManyColumns { .. }
                | AppendError::TooManySchemaBytes { .. }
                | AppendError::NoPartition { .. }
                | AppendError::ClosedPartition { .. }
                | AppendError::TooManyTables(_),
            ) => "too_large",
        }
    }
}

impl Puts {
    pub(super) fn new(trails: Arc<Trails>, clock: SharedClock) -> Self {
        Self { trails, clock, refusals: PutRefusals::default() }
    }

    /// Puts refused, by their reason.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        PutError::REASONS.into_iter().zip(self.refusals.0.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// Appends the transactions of `body` to a trail of puts and answers when they are durable.
    pub async fn put(&self, principal: Principal<'_>, trail: &TrailName, body: &[u8]) -> Result<PutAnswer, PutError> {
        self.put_as(principal, PutFormat::Transactions, trail, body).await
    }

    /// The same of a body in any format.
    pub async fn put_as(
        &self,
        principal: Principal<'_>,
        format: PutFormat,
        trail: &TrailName,
        body: &[u8],
    ) -> Result<PutAnswer, PutError> {
        principal.check_trail(Verb::Write, trail).map_err(TrailError::Denied)?;
        let answer = self.put_uncounted(format, trail, body).await;
        if let Err(error) = &answer {
            self.refusals.count(error);
        }
        answer.map_err(|error| match error {
            // Who writes a trail is for those to know who may see it.
            PutError::Trail(TrailError::Busy { trail, .. }) if !principal.may_see(&trail) => {
                TrailError::Busy { trail, writer: "an extract".to_owned() }.into()
            }
            other => other,
        })
    }

    async fn put_uncounted(&self, format: PutFormat, trail: &TrailName, body: &[u8]) -> Result<PutAnswer, PutError> {
        let now = self.clock.now();
        let transactions = off_the_worker(body.len(), || put::parse_as(format, body, now))?;
        let entry = self.trails.for_writer(trail, &Writer::Puts)?;
        if transactions.is_empty() {
            entry.put_figures.note(0, 0, 0, body.len());
            return Ok(PutAnswer { acked: 0, pos: None });
        }
        let mut end = entry.puts.lock().await;
        // Taken out meanwhile: if this breaks off, what is half done goes with it, and the next put takes the end anew.
        let mut held = end.take();
        let appended = append_all(&entry, &mut held, &transactions, body, now).await;
        // After a failure too, which cuts back to what is flushed.
        if !matches!(appended, Err(PutError::Append(AppendError::Stopped(_) | AppendError::DiskFull))) {
            *end = held;
        }
        let (last, duplicates) = appended?;
        let durability = end.as_ref().map(Appender::durability);
        drop(end);
        if let Some(durability) = durability {
            durability.wait(last.commit).await?;
        }
        let operations: usize = transactions.iter().map(|transaction| transaction.operations.len()).sum();
        entry.put_figures.note(transactions.len(), duplicates, operations, body.len());
        Ok(PutAnswer { acked: transactions.len(), pos: Some(token::encode_trail(&last)) })
    }
}

/// Runs work that takes long on a large body where it does not hold up sessions on the same worker thread.
fn off_the_worker<R>(bytes: usize, work: impl FnOnce() -> R) -> R {
    use tokio::runtime::{Handle, RuntimeFlavor};
    let may_block = Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
    if bytes > limits::PUT_INLINE_BYTES && may_block { tokio::task::block_in_place(work) } else { work() }
}

async fn append_all(
    entry: &TrailEntry,
    end: &mut Option<Appender>,
    transactions: &[PutTransaction<'_>],
    body: &[u8],
    now: Timestamp,
) -> Result<(Position, usize), PutError> {
    if end.as_ref().is_none_or(Appender::has_stopped) {
        // What an appender remembers of a writer that failed may never have been flushed.
        *end = None;
        let trail = entry.served().map_err(TrailError::Unserved)?;
        if *entry.gone.borrow() {
            return Err(AppendError::Stopped("the trail has been deleted".to_owned()).into());
        }
        *end = Some(trail.appender_async().await.map_err(not_taken)?);
    }
    let Some(appender) = end else { return Err(AppendError::Stopped("no writing end".to_owned()).into()) };
    // A put whose caller went away may have left its transaction open.
    appender.abort().await?;
    check_room(appender, transactions, body).map_err(PutError::NoRoom)?;
    placing::check(appender, transactions, body)?;
    let mut placing = Placing::new(appender.partitions().clone());
    // A repeated transaction stands earlier in the trail than a new one before it in the body: the caller waits for the
    // furthest of them.
    let mut furthest: Option<Position> = None;
    let mut duplicates = 0;
    for transaction in transactions {
        let known = transaction.xid.as_deref().and_then(|xid| appender.find_xid(xid));
        let position = match known {
            Some(position) => {
                duplicates += 1;
                position
            }
            None => match append(appender, transaction, &mut placing, now).await {
                Ok(position) => position,
                Err(error) => {
                    appender.abort().await?;
                    return Err(error.into());
                }
            },
        };
        furthest = furthest.filter(|furthest| furthest.order() > position.order()).or(Some(position));
        if appender.pending_bytes() >= limits::APPEND_CHUNK_BYTES {
            appender.hand_over().await?;
        }
    }
    appender.hand_over().await?;
    let furthest = furthest.ok_or(AppendError::OutOfTurn("a put without transactions"))?;
    Ok((furthest, duplicates))
}

async fn append(
    appender: &mut Appender,
    transaction: &PutTransaction<'_>,
    placing: &mut Placing,
    now: Timestamp,
) -> Result<Position, AppendError> {
    let commit_ts = transaction.commit_ts.unwrap_or(now);
    match transaction.xid.clone() {
        Some(xid) => appender.begin(&TransactionHead { xid, commit_ts, source: SourcePosition::default() })?,
        None => appender.begin_unnamed(commit_ts)?,
    }
    tasks::may_panic(Task::Request);
    let mut maps = ColumnMaps::default();
    for operation in &transaction.operations {
        append_operation(appender, transaction, operation, &mut maps, placing)?;
        if appender.pending_bytes() >= limits::APPEND_CHUNK_BYTES {
            appender.hand_over().await?;
        }
    }
    appender.commit()
}

/// Why the trail's end could not be taken.
fn not_taken(error: OpenError) -> AppendError {
    match error {
        error if error.is_disk_full() => AppendError::DiskFull,
        error => AppendError::Stopped(error.to_string()),
    }
}

/// Sees to it that the trail has room for every table and column of the body before anything of it is appended.
fn check_room(appender: &Appender, transactions: &[PutTransaction<'_>], body: &[u8]) -> Result<(), BadPut> {
    let mut grown: HashMap<&TableName, HashSet<&str>> = HashMap::new();
    let (mut tables, mut schema_bytes) = (appender.tables(), appender.schema_bytes());
    let schema_bytes_max = limits::TRAIL_SCHEMA_BYTES_MAX.max(schema_bytes);
    let is_new = |put: &&PutTransaction<'_>| put.xid.as_deref().is_none_or(|xid| appender.find_xid(xid).is_none());
    for transaction in transactions.iter().filter(is_new) {
        for (number, form) in transaction.forms.iter().enumerate() {
            if form.operation == Operation::Ddl {
                continue;
            }
            let known = appender.schema_of(&form.table);
            if known.is_none() && !grown.contains_key(&form.table) {
                tables += 1;
                schema_bytes += TableSchema::described_bytes_of(&form.table);
                grown.insert(&form.table, HashSet::new());
            }
            let mut columns = known.map_or(0, |schema| schema.columns.len());
            columns += grown.get(&form.table).map_or(0, HashSet::len);
            for (member, image) in [("after", &form.after), ("before", &form.before)] {
                for (at, name) in image.iter().flatten().enumerate() {
                    let is_known = known.is_some_and(|schema| column_at(schema, at, name).is_some());
                    if !is_known && grown.entry(&form.table).or_default().insert(name) {
                        columns += 1;
                        schema_bytes += Column::described_bytes(name, "");
                    }
                }
                if schema_bytes > schema_bytes_max {
                    return Err(no_room(body, transaction, number, member, schemas_full(&form.table)));
                }
                if columns > limits::TABLE_COLUMNS_MAX {
                    return Err(no_room(body, transaction, number, member, columns_full(&form.table)));
                }
            }
            if tables > limits::TRAIL_TABLES_MAX {
                return Err(no_room(body, transaction, number, "table", tables_full(&form.table)));
            }
        }
    }
    Ok(())
}

fn columns_full(table: &TableName) -> String {
    let max = limits::TABLE_COLUMNS_MAX;
    format!("table {table} would have more than {max} columns; every column that was ever put of a table counts")
}

fn tables_full(table: &TableName) -> String {
    format!("the trail holds {} tables, which is the limit, and {table} is none of them", limits::TRAIL_TABLES_MAX)
}

fn schemas_full(table: &TableName) -> String {
    AppendError::TooManySchemaBytes { table: table.to_string(), max: limits::TRAIL_SCHEMA_BYTES_MAX }.to_string()
}

/// The trail has no room for what the first operation of a form brings in that member.
fn no_room(body: &[u8], transaction: &PutTransaction<'_>, form: usize, member: &str, what: String) -> BadPut {
    let operation = transaction.operations.iter().position(|operation| operation.form == form).unwrap_or_default();
    BadPut::of(transaction, body, &format!("operations[{operation}].{member}"), what)
}

/// `maps` are those of the transaction's forms that were used last.
fn append_operation(
    appender: &mut Appender,
    transaction: &PutTransaction<'_>,
    put: &PutOperation,
    maps: &mut ColumnMaps,
    placing: &mut Placing,
) -> Result<(), AppendError> {
    if let Some(message) = put.message.and_then(|message| transaction.messages.get(message)) {
        let key = message.key.as_ref().map(|key| key.as_bytes());
        let sent = Message { key, headers: Vec::new(), value: &message.value };
        return appender.message(placing.of_message(message), &sent).map(drop);
    }
    let form = &transaction.forms[put.form];
    if form.operation == Operation::Ddl {
        return appender.ddl(&form.table, put.ddl.as_deref().unwrap_or_default()).map(drop);
    }
    if write_row(appender, transaction, put, maps, placing)? {
        return Ok(());
    }
    widen(appender, transaction, put)?;
    maps.forget(&transaction.forms[put.form].table);
    match write_row(appender, transaction, put, maps, placing)? {
        true => Ok(()),
        false => Err(AppendError::OutOfTurn("a row does not fit the schema that was made for it")),
    }
}

/// Says whether the operation fits its table's schema; otherwise nothing is appended.
fn write_row(
    appender: &mut Appender,
    transaction: &PutTransaction<'_>,
    put: &PutOperation,
    maps: &mut ColumnMaps,
    placing: &mut Placing,
) -> Result<bool, AppendError> {
    let form = &transaction.forms[put.form];
    let Some(map) = maps.of(put.form, form, || appender.schema_of(&form.table)) else { return Ok(false) };
    let (before, after) = map.images();
    let row = RowParts { tokens: put.tokens.as_deref(), ..RowParts::of(form.operation, before, after) };
    if placing.is_single() {
        let row = RowParts { partition: placing.only(), ..row };
        let written = appender.write_row(&map.schema, row, |out| map.write(out, transaction, put))?;
        return Ok(written.is_ok());
    }
    // Its partition stands before its images, and they decide it.
    let mut images = Vec::new();
    if map.write(&mut images, transaction, put).is_err() {
        return Ok(false);
    }
    let partition = placing.of_row(&map.schema, before, after, &images);
    let row = RowParts { partition, ..row };
    let written = appender.write_row(&map.schema, row, |out| {
        out.extend_from_slice(&images);
        Ok::<_, Infallible>(())
    });
    written.map(|written| written.is_ok())
}

/// Widens the table's schema to what this operation needs.
fn widen(appender: &mut Appender, transaction: &PutTransaction<'_>, put: &PutOperation) -> Result<(), AppendError> {
    let form = &transaction.forms[put.form];
    let (before, after) = transaction.images(put);
    let mut columns = appender.schema_of(&form.table).map(|schema| schema.columns.clone()).unwrap_or_default();
    let images = [(&form.after, after), (&form.before, before)];
    let cells = images.into_iter().flat_map(|(names, cells)| names.iter().flatten().zip(cells));
    for (name, cell) in cells {
        let key = form.key.iter().any(|key| key == name.as_ref());
        match columns.iter_mut().find(|column| column.name == name.as_ref()) {
            Some(column) => {
                column.kind = widened(column.kind, cell.json);
                column.nullable |= cell.json == "null";
                column.key |= key;
            }
            None => columns.push(Column {
                name: name.to_string(),
                kind: kind_of(cell.json).unwrap_or(JsonKind::String),
                sql_type: String::new(),
                nullable: !key || cell.json == "null",
                key,
            }),
        }
    }
    appender.schema(&form.table, &columns).map(drop)
}

fn widened(kind: JsonKind, json: &str) -> JsonKind {
    match kind_of(json) {
        Some(new) if new != kind => JsonKind::Any,
        _ => kind,
    }
}

#[cfg(test)]
mod tests;
