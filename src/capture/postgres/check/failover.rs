//! Whether an extract can go on from a standby of its source that is promoted.

use crate::capture::error::Fault;
use crate::capture::finding::Finding;
use crate::capture::postgres::catalogue::{Catalogue, unexpected};
use crate::capture::postgres::connection::literal;
use crate::capture::postgres::setup::SERVER_VERSION_FAILOVER;
use crate::capture::postgres::target::Target;

const WHAT: &str = "failover";

/// Looks at the slot and at the standbys that have to be no older than what it has sent.
pub(super) async fn look(target: &Target, catalogue: &mut Catalogue, version: u32) -> Result<Vec<Finding>, Fault> {
    if version < SERVER_VERSION_FAILOVER {
        let message = "before PostgreSQL 17 no standby keeps a slot: after a promotion the extract stops, and a new trail begins anew";
        return Ok(vec![Finding::ok(WHAT, message)]);
    }
    let sql = format!(
        "SELECT pg_catalog.pg_is_in_recovery(), (SELECT s.failover FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = {}), \
         pg_catalog.current_setting('synchronized_standby_slots'), \
         (SELECT pg_catalog.string_agg(s.slot_name, ', ' ORDER BY s.slot_name) FROM pg_catalog.pg_replication_slots s \
         WHERE s.slot_type = 'physical' AND s.active)",
        literal(&target.slot)
    );
    let rows = catalogue.query(&target.address, &sql).await?;
    let Some([Some(is_standby), failover, Some(waits_for), standbys]) = rows.first().map(Vec::as_slice) else {
        return Err(unexpected("pg_replication_slots"));
    };
    if is_standby == "t" {
        let message = "the server is a standby: a slot that is made here goes with it where it is promoted";
        return Ok(vec![Finding::ok(WHAT, message)]);
    }
    let slot = &target.slot;
    if failover.as_deref() == Some("f") {
        let message = if target.slot_is_theirs {
            "was made without FAILOVER, and no standby keeps it: on a replication connection, ALTER_REPLICATION_SLOT … (FAILOVER true) changes that"
        } else {
            "was made without FAILOVER, which the extract changes at its next start"
        };
        return Ok(vec![Finding::warning(WHAT, format!("the slot {slot} {message}"))]);
    }
    Ok(vec![match standbys {
        Some(standbys) if waits_for.is_empty() => {
            let message = format!(
                "standbys may keep the slot {slot}, and the server does not wait for them ({standbys}): one that is behind what the trail holds \
                 is refused when it is promoted. A superuser has the server wait with the statement, then reloads its configuration"
            );
            let statement = format!("ALTER SYSTEM SET synchronized_standby_slots = {}", literal_list(standbys));
            Finding::warning(WHAT, message).mended_by(statement)
        }
        Some(_) => {
            Finding::ok(WHAT, format!("standbys may keep the slot {slot}, and the server waits for {waits_for}"))
        }
        None => {
            Finding::ok(WHAT, format!("standbys may keep the slot {slot}; none is connected over a slot of its own"))
        }
    }])
}

/// Names of slots as the value of a setting: they are of small letters, digits and underscores.
fn literal_list(names: &str) -> String {
    format!("'{}'", names.replace('\'', "''"))
}
