//! What a stream needs of the server: the level of its log, a slot and a walsender that are free, the right to ask for them, and
//! no transaction that keeps a new slot waiting.

use crate::capture::error::Fault;
use crate::capture::finding::Finding;
use crate::capture::postgres::catalogue::{Catalogue, scalar, unexpected};
use crate::capture::postgres::connection::{Connection, Row, identifier, literal};
use crate::capture::postgres::slot_creation;
use crate::capture::postgres::target::Target;
use crate::limits;

/// What servers come with.
const USUAL: u64 = 10;

fn number(text: &Option<String>) -> Option<u64> {
    text.as_deref()?.parse().ok()
}

fn only(rows: &[Row]) -> &[Option<String>] {
    rows.first().map_or(&[], |row| &row[..])
}

/// How much the server writes into its log.
pub(super) async fn wal_level(target: &Target, catalogue: &mut Catalogue) -> Result<Vec<Finding>, Fault> {
    const WHAT: &str = "wal_level";
    let rows = catalogue.query(&target.address, "SHOW wal_level").await?;
    let level = scalar(&rows).ok_or_else(|| unexpected("wal_level"))?;
    if level == "logical" {
        return Ok(vec![Finding::ok(WHAT, "wal_level is logical")]);
    }
    let message = format!(
        "wal_level is {level}, and the log does not say which rows change: a superuser runs the statement (a managed service has \
         a setting of its own for it)"
    );
    Ok(vec![Finding::error(WHAT, message).mended_by("ALTER SYSTEM SET wal_level = 'logical'").after_restart()])
}

/// Slots that are left, and our own.
pub(super) async fn slots(target: &Target, catalogue: &mut Catalogue) -> Result<Vec<Finding>, Fault> {
    let sql = format!(
        "SELECT pg_catalog.current_setting('max_replication_slots'), pg_catalog.count(*), \
         pg_catalog.string_agg(s.slot_name, ', ' ORDER BY s.slot_name) FILTER (WHERE NOT s.active), \
         pg_catalog.bool_or(s.slot_name = {slot}) FROM pg_catalog.pg_replication_slots s",
        slot = literal(&target.slot)
    );
    let rows = catalogue.query(&target.address, &sql).await?;
    let [most, used, idle, exists] = only(&rows) else { return Err(unexpected("pg_replication_slots")) };
    let (Some(most), Some(used)) = (number(most), number(used)) else { return Err(unexpected("pg_replication_slots")) };
    if exists.as_deref() == Some("t") {
        return own_slot(target, catalogue).await;
    }
    let slot = &target.slot;
    if used < most {
        let left = most - used;
        return Ok(vec![Finding::ok("slots", format!("{left} of {most} slots are left, and {slot} will be made"))]);
    }
    let idle = idle
        .as_ref()
        .map(|idle| format!(" Nobody reads {idle}: one that is no longer needed can be dropped."))
        .unwrap_or_default();
    let message = format!(
        "all {most} replication slots of the server are in use, and {slot} cannot be made.{idle} A superuser gives it more with \
         the statement"
    );
    let more = (most + 1).max(USUAL);
    let statement = format!("ALTER SYSTEM SET max_replication_slots = {more}");
    Ok(vec![Finding::error("slots", message).mended_by(statement).after_restart()])
}

/// The extract's slot, which is there.
async fn own_slot(target: &Target, catalogue: &mut Catalogue) -> Result<Vec<Finding>, Fault> {
    const WHAT: &str = "slots";
    let sql = format!(
        "SELECT s.plugin, s.database, s.wal_status, s.confirmed_flush_lsn, s.active_pid FROM pg_catalog.pg_replication_slots s \
         WHERE s.slot_name = {}",
        literal(&target.slot)
    );
    let rows = catalogue.query(&target.address, &sql).await?;
    let [plugin, database, wal_status, confirmed, pid] = only(&rows) else {
        return Err(unexpected("pg_replication_slots"));
    };
    let (slot, own) = (&target.slot, &target.address.source.database);
    let drop = format!("SELECT pg_drop_replication_slot('{slot}')");
    if plugin.as_deref() != Some("pgoutput") || database.as_ref() != Some(own) {
        let message = format!(
            "the slot {slot} is there and not for pgoutput in the database {own}: name another one as postgresql.slot, or drop \
             it, if nobody needs it, with the statement"
        );
        return Ok(vec![Finding::error(WHAT, message).mended_by(drop)]);
    }
    if wal_status.as_deref() == Some("lost") {
        let message = format!(
            "the slot {slot} is lost: the server has discarded what it still needed, and changes are missing for whoever read \
             it. A new trail and a new slot begin anew, once it is dropped with the statement"
        );
        return Ok(vec![Finding::error(WHAT, message).mended_by(drop)]);
    }
    let confirmed = confirmed.as_deref().unwrap_or("the place where it is being made");
    let reader = pid.as_ref().map_or_else(|| "nobody reads it now".to_owned(), |pid| format!("pid {pid} reads it"));
    Ok(vec![Finding::ok(WHAT, format!("the slot {slot} is there, confirmed up to {confirmed}; {reader}"))])
}

/// Walsenders that are left: a stream takes one.
pub(super) async fn walsenders(target: &Target, catalogue: &mut Catalogue) -> Result<Vec<Finding>, Fault> {
    const WHAT: &str = "walsenders";
    let sql = format!(
        "SELECT pg_catalog.current_setting('max_wal_senders'), (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_replication), \
         EXISTS (SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = {} AND active)",
        literal(&target.slot)
    );
    let rows = catalogue.query(&target.address, &sql).await?;
    let [most, used, is_running] = only(&rows) else { return Err(unexpected("max_wal_senders")) };
    let (Some(most), Some(used)) = (number(most), number(used)) else { return Err(unexpected("max_wal_senders")) };
    if used < most || is_running.as_deref() == Some("t") {
        return Ok(vec![Finding::ok(WHAT, format!("{} of {most} walsenders are left", most.saturating_sub(used)))]);
    }
    let message =
        format!("all {most} walsenders of the server are in use: a superuser gives it more with the statement");
    let statement = format!("ALTER SYSTEM SET max_wal_senders = {}", (most + 1).max(USUAL));
    Ok(vec![Finding::error(WHAT, message).mended_by(statement).after_restart()])
}

/// The right to replicate, which is tried where it is there.
pub(super) async fn right(target: &Target, catalogue: &mut Catalogue) -> Result<Vec<Finding>, Fault> {
    const WHAT: &str = "replication";
    let sql = "SELECT r.rolreplication OR r.rolsuper, \
               pg_catalog.current_setting('wal_level') = 'logical' AND (SELECT pg_catalog.count(*) \
               FROM pg_catalog.pg_stat_replication) < pg_catalog.current_setting('max_wal_senders')::bigint \
               FROM pg_catalog.pg_roles r WHERE r.rolname = session_user";
    let rows = catalogue.query(&target.address, sql).await?;
    let [Some(may), Some(can)] = only(&rows) else { return Err(unexpected("pg_roles")) };
    let user = &target.address.user;
    if may != "t" {
        let message = format!("the role {user} may not replicate: a superuser lets it with the statement");
        return Ok(vec![
            Finding::error(WHAT, message).mended_by(format!("ALTER ROLE {} REPLICATION", identifier(user))),
        ]);
    }
    if can != "t" {
        return Ok(vec![Finding::ok(WHAT, format!("the role {user} may replicate"))]);
    }
    Ok(vec![match try_walsender(target).await {
        Ok(()) => Finding::ok(WHAT, format!("the role {user} may replicate, and a connection for it was opened")),
        Err(fault) => Finding::error(
            WHAT,
            format!(
                "the role {user} may replicate, and a connection for it was refused: {fault}. A connection pooler cannot stand in \
                 between: name the server itself as source.host"
            ),
        ),
    }])
}

async fn try_walsender(target: &Target) -> Result<(), Fault> {
    let mut walsender = Connection::open(&target.address, true).await?;
    walsender.query("IDENTIFY_SYSTEM").await?;
    walsender.close().await;
    Ok(())
}

/// A transaction that has been open for long: a slot is not there before it has ended.
pub(super) async fn open_transactions(target: &Target, catalogue: &mut Catalogue) -> Result<Vec<Finding>, Fault> {
    const WHAT: &str = "openTransactions";
    let sql = format!(
        "SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots WHERE slot_name = {}",
        literal(&target.slot)
    );
    let rows = catalogue.query(&target.address, &sql).await?;
    if scalar(&rows) != Some("0") {
        return Ok(Vec::new());
    }
    let oldest = slot_creation::oldest(target, catalogue).await?.unwrap_or_default();
    let seconds = oldest.seconds.unwrap_or(0);
    if seconds < limits::SOURCE_OPEN_TRANSACTION_SECONDS {
        return Ok(vec![Finding::ok(WHAT, "no transaction has been open for long: a slot is made at once")]);
    }
    let message = |whose: String| {
        format!(
            "{whose} has been open for {seconds} s, and a slot is not there before it has ended: wait, or end it with the statement"
        )
    };
    Ok(vec![match (oldest.pid, &oldest.prepared) {
        (Some(pid), _) => Finding::warning(WHAT, message(format!("the transaction of pid {pid}")))
            .mended_by(format!("SELECT pg_terminate_backend({pid})")),
        (None, Some(gid)) => Finding::warning(WHAT, message(format!("the prepared transaction {gid}")))
            .mended_by(format!("ROLLBACK PREPARED {}", literal(gid))),
        (None, None) => Finding::warning(WHAT, message("a transaction".into())),
    }])
}
