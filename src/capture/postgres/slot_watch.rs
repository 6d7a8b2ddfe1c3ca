//! What the source keeps for us: looked at now and then over a connection of its own, also while capture does not run.
//!
//! A slot that nobody reads holds back the source's log until its disk is full; whoever watches must see that most of all
//! when the extract has stopped.

use std::convert::Infallible;

use tokio::time::{Duration, timeout};

use super::catalogue::Catalogue;
use super::connection::literal;
use super::lsn::Lsn;
use super::publication_report;
use super::status::{SharedStatus, SlotStatus};
use super::target::Target;
use crate::capture::error::Fault;
use crate::capture::fault_injection;
use crate::capture::status::RunState;
use crate::limits;

/// What is said of a slot that does not exist.
const MISSING: &str = "missing";
/// First server that counts what a slot spills, as `server_version_num`.
const SERVER_VERSION_SPILLS: u32 = 140_000;

/// Looks for ever; a look that fails leaves the last one standing.
pub(super) async fn keep_looking(target: &Target, status: &SharedStatus) -> Infallible {
    loop {
        let mut pause = limits::SOURCE_LOOK_SECONDS;
        let position = status.common().snapshot().position.as_deref().and_then(Lsn::parse);
        match look(target, status).await {
            Ok(Seen { slot: seen, standby, .. }) => {
                // A standby that was started again reads on from before what it had passed.
                let log_end = seen.current.map(Lsn).filter(|end| Some(*end) < position && !standby);
                let log_ends_early = log_end.map(|end| format!("its log ends at {end}"));
                if seen.wal_status == MISSING {
                    pause = limits::SOURCE_STATUS_SECONDS;
                }
                let log_ends_early = log_ends_early.filter(|_| !fault_injection::trusts_source());
                status.update_own(|status| status.log_ends_early = log_ends_early);
                note(status, seen);
            }
            Err(error) => tracing::debug!(slot = target.slot, %error, "the slot could not be looked at"),
        }
        let _ = timeout(Duration::from_secs(pause), status.common().asked_to_look()).await;
    }
}

fn note(status: &SharedStatus, seen: SlotStatus) {
    let mut is_starting = false;
    status.update(|status| {
        let position = status.position.as_deref().and_then(Lsn::parse);
        if let Some((current, position)) = seen.current.zip(position) {
            status.lag_bytes = Some(current.saturating_sub(position.0));
        }
        is_starting = status.status == RunState::Starting;
    });
    // Whoever starts is about to make it, or to say that it is gone.
    let is_being_made = seen.wal_status == MISSING && is_starting;
    status.update_own(|status| status.slot = Some(seen).filter(|_| !is_being_made));
}

/// What a look found.
struct Seen {
    slot: SlotStatus,
    /// The server's version, as `server_version_num`.
    version: Option<u32>,
    standby: bool,
}

async fn look(target: &Target, status: &SharedStatus) -> Result<Seen, Fault> {
    let mut catalogue = Catalogue::default();
    let seen = look_over(&mut catalogue, target).await;
    if let Ok(Seen { version: Some(version), .. }) = &seen {
        publication_report::refresh(target, &mut catalogue, *version, status).await?;
    }
    catalogue.close().await;
    seen
}

async fn look_over(catalogue: &mut Catalogue, target: &Target) -> Result<Seen, Fault> {
    let slot = literal(&target.slot);
    // A standby has no current position of its own.
    let sql = format!(
        "SELECT here.lsn::text, pg_catalog.pg_wal_lsn_diff(here.lsn, s.restart_lsn)::bigint, s.wal_status, \
         s.safe_wal_size, s.slot_name, pg_catalog.to_jsonb(s) ->> 'failover', \
         CASE WHEN NOT s.active AND idle.setting::bigint > 0 THEN greatest(0, idle.setting::bigint \
         - extract(epoch FROM pg_catalog.now() - (pg_catalog.to_jsonb(s) ->> 'inactive_since')::timestamptz)::bigint) END, \
         pg_catalog.current_setting('server_version_num'), pg_catalog.pg_is_in_recovery() \
         FROM (SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
         ELSE pg_catalog.pg_current_wal_lsn() END AS lsn) AS here \
         LEFT JOIN pg_catalog.pg_replication_slots s ON s.slot_name = {slot} \
         LEFT JOIN pg_catalog.pg_settings idle ON idle.name = 'idle_replication_slot_timeout'"
    );
    let rows = catalogue.query(&target.address, &sql).await?;
    let Some([current, retained, wal_status, safe, name, failover, idle_left, version, standby]) =
        rows.first().map(|row| &row[..])
    else {
        return Err(Fault::Passing("an unexpected answer to pg_replication_slots".into()));
    };
    let mut seen = SlotStatus {
        current: current.as_deref().and_then(Lsn::parse).map(|lsn| lsn.0),
        retained_wal_bytes: number(retained),
        safe_wal_bytes: number(safe),
        wal_status: if name.is_none() { MISSING } else { known_status(wal_status.as_deref()) },
        failover: failover.as_deref().map(|failover| failover == "true"),
        idle_seconds_left: number(idle_left),
        spilled_bytes: None,
    };
    let version = number(version).and_then(|version| u32::try_from(version).ok());
    if version.is_some_and(|version| version >= SERVER_VERSION_SPILLS) {
        let sql = format!("SELECT spill_bytes FROM pg_catalog.pg_stat_replication_slots WHERE slot_name = {slot}");
        let rows = catalogue.query(&target.address, &sql).await?;
        seen.spilled_bytes = rows.first().and_then(|row| row.first()).and_then(number);
    }
    Ok(Seen { slot: seen, version, standby: standby.as_deref() == Some("t") })
}

/// The status as one of a fixed list.
fn known_status(given: Option<&str>) -> &'static str {
    let known = ["reserved", "extended", "unreserved", "lost"];
    known.into_iter().find(|name| Some(*name) == given).unwrap_or("unknown")
}

/// A negative number is none: a slot may stand ahead of a standby.
fn number(text: &Option<String>) -> Option<u64> {
    text.as_deref()?.parse::<i64>().ok()?.try_into().ok()
}
