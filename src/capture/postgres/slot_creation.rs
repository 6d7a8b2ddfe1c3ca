//! Making a replication slot that its server's standbys keep too, and saying what its making waits for.
//!
//! A slot begins where the server knows every transaction: those that were open when it began to be made must end first,
//! in whatever database of the server they are. Owns that wait as people see it; leaves slots that exist to `setup`.

use std::pin::pin;

use tokio::time::{Duration, Instant, MissedTickBehavior, interval_at};
use tracing::{debug, info, warn};

use super::catalogue::{Catalogue, unexpected};
use super::connection::{Connection, identifier};
use super::lsn::Lsn;
use super::status::SharedStatus;
use super::target::Target;
use crate::capture::error::Fault;
use crate::capture::wait::Wait;
use crate::limits;

/// Makes the slot; returns where its stream starts. `on_standbys`: the server's standbys may keep it too.
pub(super) async fn make(
    target: &Target,
    walsender: &mut Connection,
    catalogue: &mut Catalogue,
    status: &SharedStatus,
    on_standbys: bool,
) -> Result<Lsn, Fault> {
    info!(slot = target.slot, "making a replication slot; it waits for transactions that are open now");
    let _noted = Noted(status);
    // Servers without such slots do not all know options in brackets.
    let options = if on_standbys { "(SNAPSHOT 'nothing', FAILOVER true)" } else { "NOEXPORT_SNAPSHOT" };
    let sql = format!("CREATE_REPLICATION_SLOT {} LOGICAL pgoutput {options}", identifier(&target.slot));
    let rows = {
        let mut making = pin!(walsender.try_query_unlimited(&sql));
        let began = Instant::now();
        let period = Duration::from_secs(limits::SOURCE_WAIT_LOOK_SECONDS);
        let mut looks = interval_at(began + period, period);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut warned = None;
        loop {
            tokio::select! {
                biased;
                made = &mut making => break made??,
                _ = looks.tick() => look(target, catalogue, status, began, &mut warned).await,
            }
        }
    };
    let point = rows.first().and_then(|row| row.get(1).cloned().flatten());
    point.as_deref().and_then(Lsn::parse).ok_or_else(|| unexpected("CREATE_REPLICATION_SLOT"))
}

/// SQLSTATE of a slot that another connection reads, such as our own before this one.
const OBJECT_IN_USE: &str = "55006";

/// Has the server's standbys keep a slot of ours that was made before they could. A server that refuses goes on without.
pub(super) async fn keep_on_standbys(target: &Target, walsender: &mut Connection) -> Result<(), Fault> {
    let sql = format!("ALTER_REPLICATION_SLOT {} (FAILOVER true)", identifier(&target.slot));
    match walsender.try_query(&sql).await? {
        Ok(_) => info!(slot = target.slot, "standbys of the source may keep the slot from now on"),
        Err(error) if error.code == OBJECT_IN_USE => return Err(error.into()),
        Err(error) => warn!(
            slot = target.slot,
            %error,
            "standbys of the source do not keep the slot: after a promotion the extract cannot go on. On a replication \
             connection, ALTER_REPLICATION_SLOT … (FAILOVER true) changes that"
        ),
    }
    Ok(())
}

/// Takes the wait out of the status when it is over, however it ends.
struct Noted<'a>(&'a SharedStatus);

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.0.update(|status| status.waits_for = None);
    }
}

async fn look(
    target: &Target,
    catalogue: &mut Catalogue,
    status: &SharedStatus,
    began: Instant,
    warned: &mut Option<Instant>,
) {
    let oldest = match oldest(target, catalogue).await {
        Ok(oldest) => oldest,
        Err(error) => {
            debug!(slot = target.slot, %error, "what the slot waits for could not be looked at");
            None
        }
    };
    let wait = oldest.unwrap_or_default().wait(&target.slot, began.elapsed().as_secs());
    let pause = Duration::from_secs(limits::SOURCE_WAIT_WARN_SECONDS);
    if warned.is_none_or(|last| last.elapsed() >= pause) {
        *warned = Some(Instant::now());
        warn!(slot = target.slot, pid = wait.pid, "{}", wait.what);
    }
    status.update(|status| status.waits_for = Some(wait));
}

/// The oldest transaction that has written something.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Oldest {
    /// None if it was prepared for a second phase, and no process has it.
    pub(super) pid: Option<u32>,
    pub(super) seconds: Option<u64>,
    /// The name that it was prepared under.
    pub(super) prepared: Option<String>,
}

impl Oldest {
    fn wait(&self, slot: &str, seconds: u64) -> Wait {
        let open = self.seconds.map(|seconds| format!(", open for {seconds} s")).unwrap_or_default();
        let oldest = match (self.pid, self.prepared.is_some()) {
            (Some(pid), _) => {
                format!("; the oldest is that of pid {pid}{open}: let it end, or pg_terminate_backend({pid})")
            }
            (None, true) => {
                format!("; the oldest is a prepared one{open}: see pg_prepared_xacts, COMMIT or ROLLBACK PREPARED")
            }
            (None, false) => String::new(),
        };
        let what = format!(
            "replication slot {slot} is being made and has waited for {seconds} s for transactions that were open when it \
             began{oldest}"
        );
        Wait { what, seconds, pid: self.pid, transaction_seconds: self.seconds }
    }
}

/// Only transactions with a number of their own are waited for. When another user's began we may not be allowed to know.
pub(super) async fn oldest(target: &Target, catalogue: &mut Catalogue) -> Result<Option<Oldest>, Fault> {
    let sql = "SELECT t.pid, t.seconds, t.gid FROM (\
         SELECT a.pid, pg_catalog.age(a.backend_xid) AS age, \
         extract(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::bigint AS seconds, \
         NULL AS gid \
         FROM pg_catalog.pg_stat_activity a WHERE a.backend_xid IS NOT NULL AND a.pid NOT IN (\
         SELECT s.active_pid FROM pg_catalog.pg_replication_slots s WHERE s.active_pid IS NOT NULL) \
         UNION ALL SELECT NULL, pg_catalog.age(p.transaction), \
         extract(epoch FROM pg_catalog.clock_timestamp() - p.prepared)::bigint, p.gid FROM pg_catalog.pg_prepared_xacts p\
         ) AS t ORDER BY t.age DESC LIMIT 1";
    let rows = catalogue.query(&target.address, sql).await?;
    let Some([pid, seconds, prepared]) = rows.first().map(|row| &row[..]) else { return Ok(None) };
    Ok(Some(Oldest {
        pid: pid.as_deref().and_then(|pid| pid.parse().ok()),
        seconds: seconds.as_deref().and_then(|seconds| seconds.parse().ok()),
        prepared: prepared.clone(),
    }))
}
