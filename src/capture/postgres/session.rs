//! One session with the server: connect, see that source and slot go with the trail, see that all tables flow, stream.
//!
//! Two connections: the walsender that carries the stream, and an ordinary one for the catalogue.

use tokio::sync::watch;
use tracing::info;

use super::catalogue::Catalogue;
use super::connection::{Connection, identifier};
use super::coverage::{BackgroundCheck, Cause, CoverageCheck};
use super::lsn::Lsn;
use super::publication_report;
use super::publisher::Publications;
use super::setup::{self, Prepared};
use super::snapshot::loader::Loader;
use super::source_tables::Tables;
use super::status::SharedStatus;
use super::stream::{Meeting, Stream};
use super::target::Target;
use crate::capture::coverage::SharedCoverage;
use crate::capture::error::{CaptureError, Fault};
use crate::capture::overlap::{Overlap, selection_hash};
use crate::capture::shutdown::stopped;
use crate::capture::snapshot::orders::SharedLoads;
use crate::capture::snapshot::progress::TableProgress;
use crate::capture::status::Status;
use crate::capture::taken::Taken;
use crate::codec::byte_text::Charset;
use crate::record::TableName;
use crate::trail::Appender;

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
    if !found.is_empty() {
        found.write(appender, selection).await?;
        check.written(&found);
    }
    let Prepared { start: position, confirmed, version: prepared_version, .. } = prepared;
    // What lies before the place at which a gap ends is passed over: nothing of it is sent again.
    let (start, mark) = match found.resume_at.filter(|place| *place > position) {
        Some(place) => (place, None),
        None => (position, trail.mark),
    };
    let overlap = Overlap::new(start, confirmed, mark, selection);
    let command = format!(
        "START_REPLICATION SLOT {} LOGICAL {} (proto_version '1', publication_names '{}')",
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
    let (checks, loader) = (BackgroundCheck::new(check), Loader::new(target, prepared_version, status, loads));
    Stream::new(
        target,
        walsender,
        catalogue,
        appender,
        status,
        Meeting { overlap, confirmed, selection },
        checks,
        loader,
    )
    .run(shutdown)
    .await
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
