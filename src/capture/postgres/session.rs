//! One session with the server: connect, see that source and slot go with the trail, see that all tables flow, stream.
//!
//! Two connections: the walsender that carries the stream, and an ordinary one for the catalogue.

use tokio::sync::watch;
use tracing::info;

use super::catalogue::Catalogue;
use super::connection::{Connection, identifier};
use super::coverage::{BackgroundCheck, Cause, CoverageCheck};
use super::loader::Loader;
use super::lsn::Lsn;
use super::masked_table::MaskedTables;
use super::masks_at_source::MasksAtSource;
use super::publication_report;
use super::publisher::Publications;
use super::setup::{self, Prepared};
use super::source_tables::Tables;
use super::status::SharedStatus;
use super::stream::{Meeting, Stream};
use super::target::Target;
use crate::capture::coverage::SharedCoverage;
use crate::capture::error::{CaptureError, Fault};
use crate::capture::overlap::{Mark, Overlap, selection_hash};
use crate::capture::shutdown::stopped;
use crate::capture::snapshot::orders::SharedLoads;
use crate::capture::snapshot::progress::TableProgress;
use crate::capture::status::Status;
use crate::capture::taken::Taken;
use crate::codec::byte_text::Charset;
use crate::record::TableName;
use crate::trail::Appender;

/// The first server that sends transactions before their end, and logical messages, as `server_version_num`.
const SERVER_VERSION_BLOCKS: u32 = 140_000;
const WHOLE: &str = "proto_version '2', messages 'true'";
const IN_BLOCKS: &str = "proto_version '2', messages 'true', streaming 'on'";

/// Connects and streams until it is asked to stop, or something fails.
pub(super) async fn run(
    target: &Target,
    appender: &mut Appender,
    status: &SharedStatus,
    coverage: &SharedCoverage,
    loads: &SharedLoads,
    shutdown: &mut watch::Receiver<bool>,
) -> Result<(), Fault> {
    let trail = Taken::of(appender)?;
    let mut catalogue = Catalogue::default();
    let (mut walsender, prepared) = tokio::select! {
        () = stopped(shutdown) => return Ok(()),
        prepared = connect(target, &mut catalogue, &trail, status) => prepared?,
    };
    if walsender.charset == Charset::Undeclared {
        info!(
            database = target.address.source.database,
            "the database has no character set (SQL_ASCII): texts are read as they are, and a byte that is no UTF-8 is shown as \
             U+FFFD and its two hexadecimal digits"
        );
    }
    let publications = target.publications();
    let selection = selection_hash(&publications);
    if trail.position.is_none() && target.loads_first {
        queue_all(target, prepared.version, &mut catalogue, appender).await?;
    }
    trail.begin(appender, &prepared.identity, &prepared.start, selection).await?;
    let mut check = CoverageCheck::new(target, coverage, prepared.version);
    let cause = Cause::Start { fresh: trail.position.is_none(), position: prepared.start };
    let found = tokio::select! {
        () = stopped(shutdown) => return Ok(()),
        found = check.look(cause) => found?,
    };
    if trail.position.is_some() {
        publication_report::report(target, &mut catalogue, prepared.version, status).await?;
    }
    refuse_masks(target, &mut catalogue).await?;
    if !found.is_empty() {
        found.write(appender, selection).await?;
        check.written(&found);
    }
    let Prepared { start: position, confirmed, version, xids, standby, .. } = prepared;
    // What lies before the place at which a gap ends is passed over: nothing of it is sent again.
    let (start, mark) = match found.resume_at.filter(|place| *place > position) {
        Some(place) => (place, None),
        None => (position, comparable_mark(target, coverage, &trail)),
    };
    let overlap = Overlap::new(start, confirmed, mark, selection);
    let options = stream_options(target, status, version, position)?;
    let command = format!(
        "START_REPLICATION SLOT {} LOGICAL {} ({options}, publication_names '{}')",
        identifier(&target.slot),
        overlap.start(),
        publications.replace('\'', "''"),
    );
    walsender.start_replication(&command).await?;
    info!(slot = target.slot, position = %start, "capture runs");
    status.update_own(|status| status.log_ends_early = None);
    status.update(Status::flows);
    // At the slot, which may be new.
    status.common().look_now();
    let beside = (BackgroundCheck::new(check), Loader::new(target, version, (status, loads, coverage)));
    let meeting = Meeting { overlap, confirmed, selection, masked: MaskedTables::new(coverage), xids, standby };
    let connections = (walsender, catalogue);
    Stream::new(target, connections, appender, status, meeting, beside, shutdown.clone()).run().await
}

/// Refuses masks that would not hold for the tables that are there.
async fn refuse_masks(target: &Target, catalogue: &mut Catalogue) -> Result<(), Fault> {
    if target.value_rules.masks.is_empty() {
        return Ok(());
    }
    let tables = Tables::read(catalogue, &target.address).await?;
    let masks = MasksAtSource::read(target, catalogue).await?;
    masks.objection(target, &tables).map_or(Ok(()), |objection| Err(objection.into()))
}

/// What the trail took last, if it can be compared: masks take no part in what a transaction is known by, so it was taken with
/// the masks of now.
fn comparable_mark(target: &Target, coverage: &SharedCoverage, trail: &Taken<Lsn>) -> Option<Mark<Lsn>> {
    let masks = target.masks();
    let (known, since) = coverage.with(|record| (record.masks.clone(), Lsn::parse(&record.masks_since)));
    if masks == known {
        return trail.mark.clone().filter(|mark| since.is_none_or(|since| mark.at > since));
    }
    coverage.update(|record| {
        record.masks = masks;
        record.masks_since = trail.position.map(|position| position.to_string()).unwrap_or_default();
    });
    None
}

/// What the stream asks of the server beside tables: logical messages, and large transactions before they end. `two_phase` is not among
/// it: without it a prepared transaction comes whole when it is committed, in the order of commits, however often the stream
/// begins anew; with it the server would never send again what it has sent before a prepare that was confirmed.
fn stream_options(
    target: &Target,
    status: &SharedStatus,
    version: u32,
    position: Lsn,
) -> Result<&'static str, CaptureError> {
    if version < SERVER_VERSION_BLOCKS {
        if target.wants_messages() {
            let message = "postgresql.messages needs PostgreSQL 14 or newer";
            return Err(CaptureError::Refused(message.to_owned()));
        }
        return Ok("proto_version '1'");
    }
    let comes_whole = status.own().whole_before.is_some_and(|place| position.0 < place) || target.spill_bytes == 0;
    Ok(if comes_whole { WHOLE } else { IN_BLOCKS })
}

/// Notes in a new trail that every table is to be loaded, before the trail has a place in the source's log: who finds that
/// place finds the tables too.
async fn queue_all(
    target: &Target,
    version: u32,
    catalogue: &mut Catalogue,
    appender: &mut Appender,
) -> Result<(), Fault> {
    let tables = Tables::read(catalogue, &target.address).await?;
    let given = Publications::read(target, catalogue, version).await?;
    for table in tables.captured(target).into_iter().filter(|table| given.give(&tables, table)) {
        let name = TableName::from_parts(&[&table.schema, &table.name])
            .map_err(|error| Fault::from(CaptureError::Malformed(error.to_string())))?;
        appender.note_load(Some(&TableProgress::new(name, 0).to_trail()))?;
    }
    Ok(())
}

async fn connect(
    target: &Target,
    catalogue: &mut Catalogue,
    trail: &Taken<Lsn>,
    status: &SharedStatus,
) -> Result<(Connection, Prepared), Fault> {
    let mut walsender = Connection::open(&target.address, true).await?;
    let prepared = setup::prepare(target, &mut walsender, catalogue, trail, status).await?;
    Ok((walsender, prepared))
}
