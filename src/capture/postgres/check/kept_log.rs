//! What the server keeps of its log for slots, and what it does when that is much: fill its disk, or lose the slot.

use super::wording::bytes;
use crate::capture::error::Fault;
use crate::capture::finding::Finding;
use crate::capture::postgres::catalogue::{Catalogue, unexpected};
use crate::capture::postgres::target::Target;
use crate::limits;

const WHAT: &str = "disk";

pub(super) async fn look(target: &Target, catalogue: &mut Catalogue) -> Result<Vec<Finding>, Fault> {
    // The first is in MiB; the second is there from 18 on.
    let sql = "SELECT (SELECT s.setting FROM pg_catalog.pg_settings s WHERE s.name = 'max_slot_wal_keep_size'), \
               pg_catalog.current_setting('idle_replication_slot_timeout', true)";
    let rows = catalogue.query(&target.address, sql).await?;
    let Some([Some(limit), idle]) = rows.first().map(|row| &row[..]) else {
        return Err(unexpected("max_slot_wal_keep_size"));
    };
    let limit_mib: i64 = limit.parse().map_err(|_| unexpected("max_slot_wal_keep_size"))?;
    let limit = u64::try_from(limit_mib).ok().map(|mib| mib << 20);
    let mut found = vec![kept(target, catalogue, limit).await?];
    if let Some(idle) = idle.as_ref().filter(|idle| *idle != "0") {
        let message = format!(
            "the server gives a slot up that nobody reads for {idle} (idle_replication_slot_timeout): an extract that is stopped \
             for longer has lost its changes. A superuser takes the limit away with the statements"
        );
        let statement = "ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf()";
        found.push(Finding::warning(WHAT, message).mended_by(statement));
    }
    Ok(found)
}

/// What is kept now, and up to which limit.
async fn kept(target: &Target, catalogue: &mut Catalogue, limit: Option<u64>) -> Result<Finding, Fault> {
    let sql = "SELECT s.slot_name, greatest(pg_catalog.pg_wal_lsn_diff(here.lsn, s.restart_lsn), 0)::bigint \
               FROM pg_catalog.pg_replication_slots s, (SELECT CASE WHEN pg_catalog.pg_is_in_recovery() \
               THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END AS lsn) AS here \
               WHERE s.restart_lsn IS NOT NULL ORDER BY 2 DESC LIMIT 1";
    let rows = catalogue.query(&target.address, sql).await?;
    let now = match rows.first().map(|row| &row[..]) {
        Some([Some(slot), Some(kept)]) => {
            let kept = bytes(kept.parse().map_err(|_| unexpected("pg_replication_slots"))?);
            format!("the server keeps {kept} of its log for the slot {slot} now")
        }
        _ => "the server keeps none of its log for slots now".to_owned(),
    };
    Ok(match limit {
        None => Finding::ok(
            WHAT,
            format!(
                "{now}, without a limit (max_slot_wal_keep_size): nothing is lost while the extract is stopped, and the log grows \
                 until it runs again or is removed with its slot"
            ),
        ),
        Some(limit) if limit < limits::SOURCE_KEPT_LOG_BYTES_MIN => {
            let message = format!(
                "{now}, and gives a slot up that needs more than {} (max_slot_wal_keep_size): a short pause of the extract would \
                 lose changes. A superuser lets it keep more with the statements",
                bytes(limit)
            );
            let statement = "ALTER SYSTEM SET max_slot_wal_keep_size = '10GB'; SELECT pg_reload_conf()";
            Finding::warning(WHAT, message).mended_by(statement)
        }
        Some(limit) => Finding::ok(
            WHAT,
            format!(
                "{now}, and at most {} (max_slot_wal_keep_size): an extract that is stopped while the log grows by more has lost \
                 its changes",
                bytes(limit)
            ),
        ),
    })
}
