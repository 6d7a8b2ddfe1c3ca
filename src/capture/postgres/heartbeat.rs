//! Heartbeats: a small message into the source's log now and then, where somebody asks for it.
//!
//! A database that nobody writes to holds no log back without them: the server says how far its log is whatever database has
//! written to it, and that is confirmed. They are for who wants to see, from the source to the end, that an idle extract is
//! alive. Owns when they are sent, over a connection of their own; streams never show them.

use std::convert::Infallible;

use tokio::time::{MissedTickBehavior, interval};

use super::catalogue::Catalogue;
use super::status::SharedStatus;
use super::target::Target;
use crate::capture::status::RunState;
use crate::repeats::warn_rarely;

/// What the message is known by in the log.
const PREFIX: &str = "trailcast.heartbeat";

/// Beats while the extract runs, for ever. A standby has a log that nobody but its primary writes to.
pub(super) async fn beat(target: &Target, status: &SharedStatus) -> Infallible {
    let Some(period) = target.heartbeat else { return std::future::pending().await };
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let sql = format!(
        "SELECT CASE WHEN NOT pg_catalog.pg_is_in_recovery() \
         THEN pg_catalog.pg_logical_emit_message(false, '{PREFIX}', ''::text) END"
    );
    let mut catalogue = Catalogue::default();
    loop {
        ticks.tick().await;
        if status.common().snapshot().status != RunState::Running {
            continue;
        }
        if let Err(error) = catalogue.query(&target.address, &sql).await {
            warn_rarely!(&target.slot, slot = target.slot, %error, "no heartbeat could be written to the source's log");
        }
    }
}
