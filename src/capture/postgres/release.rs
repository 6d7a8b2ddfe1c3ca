//! Takes away what an extract made at the server: its slot, then its publications.
//!
//! Owns what counts as made by an extract: what has the name that is made from the extract's own. What the configuration names
//! may be somebody else's, and is left.

use tokio::time::{Duration, Instant, sleep};
use tracing::info;

use super::catalogue::{Catalogue, unexpected};
use super::connection::{identifier, literal};
use super::server_error::ServerError;
use super::target::Target;
use crate::capture::error::Fault;
use crate::capture::released::Released;
use crate::limits;

/// SQLSTATE of a slot that somebody reads.
const IN_USE: &str = "55006";
/// SQLSTATE of what is not there.
const NOT_THERE: &str = "42704";

/// Takes away what there is. A fault leaves the rest as it was.
pub(super) async fn release(target: &Target) -> Result<Released, Fault> {
    let mut catalogue = Catalogue::default();
    let mut released = Released::default();
    slot(target, &mut catalogue, &mut released).await?;
    if !target.publication_is_theirs {
        publication(target, &target.publication, &mut catalogue, &mut released).await?;
    }
    if let Some(inserts) = target.inserts_publication() {
        publication(target, &inserts, &mut catalogue, &mut released).await?;
    }
    catalogue.close().await;
    Ok(released)
}

async fn slot(target: &Target, catalogue: &mut Catalogue, released: &mut Released) -> Result<(), Fault> {
    let slot = &target.slot;
    let sql = format!(
        "SELECT s.plugin, s.database FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = {}",
        literal(slot)
    );
    let rows = catalogue.query(&target.address, &sql).await?;
    let Some(row) = rows.first() else { return Ok(()) };
    let [plugin, database] = &row[..] else { return Err(unexpected("pg_replication_slots")) };
    let shown = format!("replication slot {slot}");
    let statement = format!("SELECT pg_drop_replication_slot('{slot}')");
    if plugin.as_deref() != Some("pgoutput") || database.as_ref() != Some(&target.address.source.database) {
        released.left.push(format!("{shown}, which is none of this extract"));
        return Ok(());
    }
    if target.slot_is_theirs {
        let why = "as the configuration names it and somebody else may need it";
        released.left.push(format!("{shown}, {why}; if nobody does, run {statement}"));
        return Ok(());
    }
    let deadline = Instant::now() + Duration::from_secs(limits::SOURCE_RELEASE_SECONDS_MAX);
    loop {
        match catalogue.try_execute(&target.address, &statement).await? {
            Ok(()) => {
                info!(slot, "replication slot dropped");
                released.dropped.push(shown);
                return Ok(());
            }
            Err(error) if error.code == NOT_THERE => return Ok(()),
            // The server has yet to notice that the extract is gone.
            Err(error) if error.code == IN_USE && Instant::now() < deadline => {
                sleep(Duration::from_millis(limits::SOURCE_RELEASE_RETRY_MILLIS)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn publication(
    target: &Target,
    name: &str,
    catalogue: &mut Catalogue,
    released: &mut Released,
) -> Result<(), Fault> {
    let statement = format!("DROP PUBLICATION {}", identifier(name));
    match catalogue.try_execute(&target.address, &statement).await? {
        Ok(()) => {
            info!(publication = name, "publication dropped");
            released.dropped.push(format!("publication {name}"));
        }
        Err(error) if error.code == NOT_THERE => {}
        Err(error @ ServerError { .. }) => {
            released.left.push(format!("publication {name} ({error}); its owner runs {statement}"));
        }
    }
    Ok(())
}
