//! Before a stream: is this the source the trail was written from, and does its slot still hold what the trail needs?
//!
//! Owns the slot: makes it for a new trail, checks it for one that goes on; leaves the publication to `publisher`.
//! Every sign of loss stops capture; nothing is skipped in silence. The order for a new trail is publication, slot, trail:
//! whichever step a crash comes after, the next start finds a state that it can go on from.

use super::catalogue::{Catalogue, scalar, unexpected};
use super::connection::{Connection, literal};
use super::error::PostgresError;
use super::lsn::Lsn;
use super::masks_at_source::MasksAtSource;
use super::publication_report;
use super::publisher::{Publications, Publisher};
use super::row_filters::RowFilters;
use super::slot_creation;
use super::source_tables::Tables;
use super::status::SharedStatus;
use super::target::{IDENTITY, Target};
use crate::capture::error::{CaptureError, Fault};
use crate::capture::fault_injection;
use crate::capture::taken::Taken;
use crate::catalog::table_pattern::TablePattern;
use crate::record::SourceParts;

/// Oldest server that this code knows, as `server_version_num`.
pub(super) const SERVER_VERSION_MIN: u32 = 130_000;

/// What the trail is written from and where its stream begins.
#[derive(Debug)]
pub(super) struct Prepared {
    /// System, timeline, database and slot, as the trail holds them.
    pub(super) identity: String,
    /// Where the trail stands.
    pub(super) start: Lsn,
    /// What the slot was confirmed up to.
    pub(super) confirmed: Lsn,
    /// The server's version, as `server_version_num`.
    pub(super) version: u32,
}

/// A replication slot as the server shows it.
#[derive(Debug)]
struct Slot {
    plugin: String,
    database: String,
    confirmed: Option<Lsn>,
    wal_status: String,
}

/// Checks source and slot against the trail, and makes publication and slot for a trail that has no source yet.
pub(super) async fn prepare(
    target: &Target,
    walsender: &mut Connection,
    catalogue: &mut Catalogue,
    trail: &Taken<Lsn>,
    status: &SharedStatus,
) -> Result<Prepared, Fault> {
    let (identity, log_end) = identity(target, walsender).await?;
    trail.check_identity(&identity)?;
    check_log_end(target, catalogue, log_end, trail.position).await?;
    let version = server_version(target, catalogue).await?;
    let slot = find_slot(target, catalogue).await?;
    let has_slot = slot.is_some();
    let resume = match (slot, trail.position) {
        (None, Some(position)) => {
            let slot = target.slot.clone();
            return Err(PostgresError::SlotMissing { slot, position: position.to_string() }.into());
        }
        (Some(slot), position) => Some(checked_start(target, slot, position)?),
        (None, None) => None,
    };
    // Whatever is wrong with the publication of a trail that goes on may have lost rows: `coverage` mends it and says so.
    if trail.position.is_none() {
        publish(target, catalogue, version, has_slot).await?;
        publication_report::report(target, catalogue, version, status).await?;
    }
    let (start, confirmed) = match resume {
        Some(resume) => resume,
        None => {
            let point = slot_creation::make(target, walsender, catalogue, status).await?;
            (point, point)
        }
    };
    Ok(Prepared { identity, start, confirmed, version })
}

/// The source's name for the trail, and the end of its log.
async fn identity(target: &Target, walsender: &mut Connection) -> Result<(String, Lsn), Fault> {
    let rows = walsender.query("IDENTIFY_SYSTEM").await?;
    let Some([Some(system), Some(timeline), Some(log_end), Some(database)]) = rows.first().map(|row| &row[..]) else {
        return Err(unexpected("IDENTIFY_SYSTEM"));
    };
    let log_end = Lsn::parse(log_end).ok_or_else(|| unexpected("IDENTIFY_SYSTEM"))?;
    let (product, history, reader) = (IDENTITY, timeline, &target.slot);
    Ok((SourceParts { product, system, history, database, reader }.text(), log_end))
}

/// A log that ends before what the trail has from it is another log.
async fn check_log_end(
    target: &Target,
    catalogue: &mut Catalogue,
    log_end: Lsn,
    position: Option<Lsn>,
) -> Result<(), Fault> {
    let ends_early = |position: &Lsn| log_end < *position && !fault_injection::trusts_source();
    let Some(position) = position.filter(ends_early) else { return Ok(()) };
    let rows = catalogue.query(&target.address, "SELECT pg_catalog.pg_is_in_recovery()").await?;
    if scalar(&rows) == Some("t") {
        // One that was started again reads on from where it has to, which it had passed before.
        let behind = format!("the standby has come to {log_end}, and not yet to {position} where the trail stands");
        return Err(Fault::Passing(behind));
    }
    let (found, position) = (format!("its log ends at {log_end}"), position.to_string());
    Err(CaptureError::SourceRewound { found, position }.into())
}

/// Makes the publications, or adds to our own what they lack.
async fn publish(target: &Target, catalogue: &mut Catalogue, version: u32, has_slot: bool) -> Result<(), Fault> {
    let tables = Tables::read(catalogue, &target.address).await?;
    let now = Publications::read(target, catalogue, version).await?;
    let filters = RowFilters::read(target, catalogue, version, &tables).await?;
    Publisher { target, catalogue, version, tables: &tables, filters: &filters }.prepare(&now, has_slot).await
}

/// Looks, before an extract is made or gets other tables, whether publishing them would have writes refused, and whether its
/// masks and row filters would hold. `known`: the patterns that an extract has so far.
pub(super) async fn preflight(target: &Target, known: Option<&[TablePattern]>) -> Result<(), Fault> {
    let mut catalogue = Catalogue::default();
    let version = server_version(target, &mut catalogue).await?;
    let tables = Tables::read(&mut catalogue, &target.address).await?;
    if let Some(objection) = MasksAtSource::read(target, &mut catalogue).await?.objection(target, &tables) {
        return Err(objection.into());
    }
    let now = Publications::read(target, &mut catalogue, version).await?;
    let filters = RowFilters::read(target, &mut catalogue, version, &tables).await?;
    let publisher = Publisher { target, catalogue: &mut catalogue, version, tables: &tables, filters: &filters };
    publisher.check(&now, known)?;
    catalogue.close().await;
    Ok(())
}

/// The server's version as `server_version_num`; one that is too old is refused.
pub(super) async fn server_version(target: &Target, catalogue: &mut Catalogue) -> Result<u32, Fault> {
    let rows = catalogue.query(&target.address, "SHOW server_version_num").await?;
    let version = scalar(&rows).and_then(|text| text.parse().ok()).ok_or_else(|| unexpected("server_version_num"))?;
    if version < SERVER_VERSION_MIN {
        return Err(CaptureError::Refused("PostgreSQL 13 or newer is required".into()).into());
    }
    Ok(version)
}

async fn find_slot(target: &Target, catalogue: &mut Catalogue) -> Result<Option<Slot>, Fault> {
    let sql = format!(
        "SELECT plugin, database, confirmed_flush_lsn, coalesce(wal_status, '') \
         FROM pg_catalog.pg_replication_slots WHERE slot_name = {}",
        literal(&target.slot)
    );
    let rows = catalogue.query(&target.address, &sql).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let [plugin, database, confirmed, Some(wal_status)] = &row[..] else {
        return Err(unexpected("pg_replication_slots"));
    };
    Ok(Some(Slot {
        plugin: plugin.clone().unwrap_or_default(),
        database: database.clone().unwrap_or_default(),
        confirmed: confirmed.as_deref().and_then(Lsn::parse),
        wal_status: wal_status.clone(),
    }))
}

/// Where to start with a slot that exists: the trail's position, never the slot's if the trail has one. And the slot's.
fn checked_start(target: &Target, slot: Slot, position: Option<Lsn>) -> Result<(Lsn, Lsn), Fault> {
    let name = || target.slot.clone();
    if slot.plugin != "pgoutput" || slot.database != target.address.source.database {
        let message = format!("slot {} exists, but not for pgoutput in this database", target.slot);
        return Err(CaptureError::Refused(message).into());
    }
    if slot.wal_status == "lost" {
        return Err(PostgresError::SlotLost { slot: name(), reason: "wal_status = lost".into() }.into());
    }
    // Without a point yet, another session is still making the slot.
    let confirmed = slot.confirmed.ok_or_else(|| Fault::Passing(format!("slot {} is being made", target.slot)))?;
    match position {
        Some(position) if confirmed > position && !fault_injection::confirm_early() => Err(PostgresError::SlotAhead {
            slot: name(),
            slot_position: confirmed.to_string(),
            position: position.to_string(),
        }
        .into()),
        Some(position) if fault_injection::confirm_early() => Ok((position.max(confirmed), confirmed)),
        Some(position) => Ok((position, confirmed)),
        None => Ok((confirmed, confirmed)),
    }
}
