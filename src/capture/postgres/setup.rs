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
use super::timeline::{Crossing, StreamedStandby};
use super::xid::XidCount;
use crate::capture::error::{CaptureError, Fault};
use crate::capture::fault_injection;
use crate::capture::taken::Taken;
use crate::catalog::extract::InvalidExtract;
use crate::catalog::table_pattern::TablePattern;
use crate::record::SourceParts;

/// Oldest server that this code knows, as `server_version_num`.
pub(super) const SERVER_VERSION_MIN: u32 = 130_000;
/// First server that keeps slots on its standbys, as `server_version_num`.
pub(super) const SERVER_VERSION_FAILOVER: u32 = 170_000;

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
    pub(super) xids: XidCount,
    /// The server, if it is a standby.
    pub(super) standby: Option<StreamedStandby>,
}

/// A server, as it says of itself.
#[derive(Debug)]
struct Server {
    /// As `server_version_num`.
    version: u32,
    is_standby: bool,
    xids: XidCount,
}

/// A server's log, as a walsender says of it.
#[derive(Debug)]
struct Log {
    system: String,
    timeline: u32,
    end: Lsn,
    database: String,
}

/// A replication slot as the server shows it.
#[derive(Debug)]
struct Slot {
    plugin: String,
    database: String,
    confirmed: Option<Lsn>,
    wal_status: String,
    /// It is kept on standbys too; none where the server knows nothing of that.
    failover: Option<bool>,
    /// It is the copy that a standby keeps of its primary's.
    is_copy: bool,
}

/// Checks source and slot against the trail, and makes publication and slot for a trail that has no source yet.
pub(super) async fn prepare(
    target: &Target,
    walsender: &mut Connection,
    catalogue: &mut Catalogue,
    trail: &Taken<Lsn>,
    status: &SharedStatus,
) -> Result<Prepared, Fault> {
    let server = server(target, catalogue).await?;
    let log = log(walsender).await?;
    let history = log.timeline.to_string();
    let (system, database) = (&*log.system, &*log.database);
    let source = SourceParts { product: IDENTITY, system, history: &history, database, reader: &target.slot };
    if let Some(known) = trail.check_identity(&source)? {
        let from = known.parse().map_err(|_| CaptureError::Malformed(format!("the trail's timeline {known}")))?;
        let crossing = Crossing { from, to: log.timeline, position: trail.position, is_standby: server.is_standby };
        crossing.check(walsender).await?;
    }
    check_log_end(target, catalogue, log.end, trail.position).await?;
    let slot = find_slot(target, catalogue, server.version).await?;
    let has_slot = slot.is_some();
    let resume = match (&slot, trail.position) {
        (None, Some(position)) => {
            let slot = target.slot.clone();
            return Err(PostgresError::SlotMissing { slot, position: position.to_string() }.into());
        }
        (slot, None) if target.begin.is_some() => Some(given_start(target, slot.as_ref(), log.end)?),
        (Some(slot), position) => Some(checked_start(target, slot, position)?),
        (None, None) => None,
    };
    if slot.is_some_and(|slot| slot.failover == Some(false)) && !server.is_standby && !target.slot_is_theirs {
        slot_creation::keep_on_standbys(target, walsender).await?;
    }
    // Whatever is wrong with the publication of a trail that goes on may have lost rows: `coverage` mends it and says so.
    if trail.position.is_none() {
        publish(target, catalogue, server.version, has_slot).await?;
        publication_report::report(target, catalogue, server.version, status).await?;
    }
    let (start, confirmed) = match resume {
        Some(resume) => resume,
        None => {
            let on_standbys = server.version >= SERVER_VERSION_FAILOVER && !server.is_standby;
            let point = slot_creation::make(target, walsender, catalogue, status, on_standbys).await?;
            (point, point)
        }
    };
    let identity = source.text();
    let standby = match server.is_standby {
        true => Some(StreamedStandby::of(walsender, identity.clone()).await?),
        false => None,
    };
    Ok(Prepared { identity, start, confirmed, version: server.version, xids: server.xids, standby })
}

/// What the server says of its log, to the connection that will stream it.
async fn log(walsender: &mut Connection) -> Result<Log, Fault> {
    const COMMAND: &str = "IDENTIFY_SYSTEM";
    let rows = walsender.query(COMMAND).await?;
    let Some([Some(system), Some(timeline), Some(end), Some(database)]) = rows.first().map(|row| &row[..]) else {
        return Err(unexpected(COMMAND));
    };
    let timeline = timeline.parse().map_err(|_| unexpected(COMMAND))?;
    let end = Lsn::parse(end).ok_or_else(|| unexpected(COMMAND))?;
    Ok(Log { system: system.clone(), timeline, end, database: database.clone() })
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

/// Looks, before an extract is made or gets other tables, whether publishing them would have writes refused, whether its masks
/// and row filters would hold, and whether a new trail can begin where it should. `known`: the patterns that an extract has so far.
pub(super) async fn preflight(target: &Target, known: Option<&[TablePattern]>) -> Result<(), Fault> {
    let mut catalogue = Catalogue::default();
    let version = server(target, &mut catalogue).await?.version;
    if target.begin.is_some() && known.is_none() {
        let slot = find_slot(target, &mut catalogue, version).await?;
        let end = end_of_log(target, &mut catalogue).await?;
        given_start(target, slot.as_ref(), end)?;
    }
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

async fn end_of_log(target: &Target, catalogue: &mut Catalogue) -> Result<Lsn, Fault> {
    let sql = "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
               ELSE pg_catalog.pg_current_wal_flush_lsn() END";
    let rows = catalogue.query(&target.address, sql).await?;
    scalar(&rows).and_then(Lsn::parse).ok_or_else(|| unexpected("the end of the log"))
}

/// The server's version as `server_version_num`; one that is too old is refused.
pub(super) async fn server_version(target: &Target, catalogue: &mut Catalogue) -> Result<u32, Fault> {
    Ok(server(target, catalogue).await?.version)
}

/// What the server says of itself; one that is too old is refused.
async fn server(target: &Target, catalogue: &mut Catalogue) -> Result<Server, Fault> {
    // The names that the functions had before version 13.
    let sql = "SELECT pg_catalog.current_setting('server_version_num'), pg_catalog.pg_is_in_recovery(), \
               pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot())";
    let wrong = || unexpected("server_version_num");
    let rows = catalogue.query(&target.address, sql).await?;
    let Some([Some(version), Some(is_standby), Some(next)]) = rows.first().map(|row| &row[..]) else {
        return Err(wrong());
    };
    let version = version.parse().map_err(|_| wrong())?;
    if version < SERVER_VERSION_MIN {
        return Err(CaptureError::Refused("PostgreSQL 13 or newer is required".into()).into());
    }
    Ok(Server { version, is_standby: is_standby == "t", xids: XidCount::new(next.parse().map_err(|_| wrong())?) })
}

async fn find_slot(target: &Target, catalogue: &mut Catalogue, version: u32) -> Result<Option<Slot>, Fault> {
    let on_standbys = if version >= SERVER_VERSION_FAILOVER {
        "failover, synced AND pg_catalog.pg_is_in_recovery()"
    } else {
        "NULL, NULL"
    };
    let sql = format!(
        "SELECT plugin, database, confirmed_flush_lsn, coalesce(wal_status, ''), {on_standbys} \
         FROM pg_catalog.pg_replication_slots WHERE slot_name = {}",
        literal(&target.slot)
    );
    let rows = catalogue.query(&target.address, &sql).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let [plugin, database, confirmed, Some(wal_status), failover, is_copy] = &row[..] else {
        return Err(unexpected("pg_replication_slots"));
    };
    Ok(Some(Slot {
        plugin: plugin.clone().unwrap_or_default(),
        database: database.clone().unwrap_or_default(),
        confirmed: confirmed.as_deref().and_then(Lsn::parse),
        wal_status: wal_status.clone(),
        failover: failover.as_deref().map(|failover| failover == "t"),
        is_copy: is_copy.as_deref() == Some("t"),
    }))
}

/// What a slot that is sound was confirmed up to.
fn confirmed_by(target: &Target, slot: &Slot) -> Result<Lsn, Fault> {
    if slot.plugin != "pgoutput" || slot.database != target.address.source.database {
        let message = format!("slot {} exists, but not for pgoutput in this database", target.slot);
        return Err(CaptureError::Refused(message).into());
    }
    if slot.is_copy {
        let slot = &target.slot;
        return Err(Fault::Passing(format!(
            "the server is a standby that keeps a copy of slot {slot}: the extract goes on when it is promoted, or when \
             the primary is there again"
        )));
    }
    if slot.wal_status == "lost" {
        return Err(PostgresError::SlotLost { slot: target.slot.clone(), reason: "wal_status = lost".into() }.into());
    }
    // Without a point yet, another session is still making the slot.
    slot.confirmed.ok_or_else(|| Fault::Passing(format!("slot {} is being made", target.slot)))
}

/// Where to start with a slot that exists: the trail's position, never the slot's if the trail has one. And the slot's.
fn checked_start(target: &Target, slot: &Slot, position: Option<Lsn>) -> Result<(Lsn, Lsn), Fault> {
    let confirmed = confirmed_by(target, slot)?;
    match position {
        Some(position) if confirmed > position && !fault_injection::confirm_early() => Err(PostgresError::SlotAhead {
            slot: target.slot.clone(),
            slot_position: confirmed.to_string(),
            position: position.to_string(),
        }
        .into()),
        Some(position) if fault_injection::confirm_early() => Ok((position.max(confirmed), confirmed)),
        Some(position) => Ok((position, confirmed)),
        None => Ok((confirmed, confirmed)),
    }
}

/// Where a new trail starts that is to begin at a given place of a log that ends at `end`, and what the slot was confirmed up
/// to. Whatever lies behind that place the slot still has to have.
fn given_start(target: &Target, slot: Option<&Slot>, end: Lsn) -> Result<(Lsn, Lsn), Fault> {
    let name = &target.slot;
    let refuse = |message: String| {
        let refusal = InvalidExtract { member: "begin".into(), message };
        Fault::Stop(CaptureError::Configuration(refusal))
    };
    let Some(slot) = slot else {
        return Err(refuse(format!(
            "a position needs a replication slot that is there already, and slot {name} is not: give \"now\", or the slot \
             in postgresql.slot that keeps the log from there on"
        )));
    };
    let confirmed = confirmed_by(target, slot)?;
    match target.begin {
        Some(begin) if (confirmed..=end).contains(&begin) => Ok((begin, confirmed)),
        _ => Err(refuse(format!(
            "\"now\", or a position from {confirmed}, up to which slot {name} was confirmed, to {end}, where the log ends"
        ))),
    }
}
