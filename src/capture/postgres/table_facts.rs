//! What a `Relation` message leaves open, asked for: types, null constraints, the primary key.
//!
//! Owns the wait for a transaction that the stream shows before the catalogue does. Leaves the questions to `catalogue` and
//! `column_types`, and what becomes of the answers to `relation`.

use tokio::time::{Duration, Instant, sleep};

use super::catalogue::{Catalogue, TableFacts};
use super::column_types::{ColumnType, Types};
use super::connection::Address;
use super::pgoutput::RelationMessage;
use crate::capture::error::Fault;
use crate::limits;
use crate::repeats::warn_rarely;

/// What is known of a table beyond its `Relation` message.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) table: TableFacts,
    /// One a column.
    pub(super) types: Vec<ColumnType>,
}

impl Facts {
    /// Whether the catalogue of now has no column that would have come too.
    fn are_all_of(&self, message: &RelationMessage<'_>) -> bool {
        let has_come = |name: &String| message.columns.iter().any(|column| column.name == *name);
        self.table.columns.keys().filter(|name| !self.table.generated.contains(*name)).all(has_come)
    }

    /// Whether the catalogue of now knows the table as the message has it.
    fn are_of(&self, message: &RelationMessage<'_>) -> bool {
        let is_known = |column: &super::pgoutput::RelationColumn<'_>| {
            self.table.columns.get(&*column.name).is_some_and(|(type_id, _)| *type_id == column.type_id)
        };
        message.columns.iter().all(is_known) && self.types.iter().all(|of| of.kind.is_some() && !of.name.is_empty())
    }
}

/// Asks what the message leaves open; `xid` is the transaction that it came in. `whole` says that it matters also which
/// columns the table does not have any more, as it does to masks.
pub(super) async fn ask(
    message: &RelationMessage<'_>,
    xid: Option<u32>,
    whole: bool,
    types: &mut Types,
    catalogue: &mut Catalogue,
    address: &Address,
) -> Result<Facts, Fault> {
    let facts = ask_once(message, types, catalogue, address).await?;
    match xid {
        Some(xid) if !facts.are_of(message) || (whole && !facts.are_all_of(message)) => {
            // Gone since, or not to be seen yet.
            let is_seen = until_seen(xid, catalogue, address).await?;
            let mut facts = ask_once(message, types, catalogue, address).await?;
            if !is_seen {
                // Which column is which cannot be known from before the change.
                facts.table.numbers.clear();
            }
            Ok(facts)
        }
        _ => Ok(facts),
    }
}

/// The same for a transaction that may not have ended; none unless the catalogue knows the table as the message has it. What an
/// open transaction has done itself cannot be seen, and what one did that was rolled back never will be.
pub(super) async fn ask_of_open(
    message: &RelationMessage<'_>,
    types: &mut Types,
    catalogue: &mut Catalogue,
    address: &Address,
) -> Result<Option<Facts>, Fault> {
    let facts = ask_once(message, types, catalogue, address).await?;
    Ok(facts.are_of(message).then_some(facts))
}

async fn ask_once(
    message: &RelationMessage<'_>,
    types: &mut Types,
    catalogue: &mut Catalogue,
    address: &Address,
) -> Result<Facts, Fault> {
    let table = catalogue.table(address, message.id).await?;
    Ok(Facts { table, types: types.of(&message.columns, catalogue, address).await? })
}

/// Waits until the catalogue shows what a transaction did: its commit is streamed before that, and while the source waits
/// for a synchronous standby, minutes before. Not for ever, which it says: that standby may be us.
async fn until_seen(xid: u32, catalogue: &mut Catalogue, address: &Address) -> Result<bool, Fault> {
    let deadline = Instant::now() + Duration::from_secs(limits::SOURCE_UNSEEN_SECONDS_MAX);
    while !catalogue.sees(address, xid).await? {
        if Instant::now() >= deadline {
            warn_rarely!(
                "",
                xid,
                "the source's catalogue does not show yet what a transaction did that was sent: going on without it"
            );
            return Ok(false);
        }
        sleep(Duration::from_millis(limits::SOURCE_UNSEEN_RETRY_MILLIS)).await;
    }
    Ok(true)
}
