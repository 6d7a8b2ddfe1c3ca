//! A check of a server for one extract: what is right there, and what is to be changed, with the statement.
//!
//! Owns the order of the looks, in which what they find can be mended one after the other: nothing is published before every
//! table has what identifies its rows. Each look is a file of its own; none changes anything.

mod failover;
mod kept_log;
mod login;
mod looks;
mod masks;
mod privileges;
mod publication;
mod reading;
mod replication;
mod server;
mod session_settings;
mod tables;
mod wording;

use self::looks::Looks;
use self::tables::Captured;
use super::catalogue::Catalogue;
use super::target::Target;
use crate::capture::finding::Finding;
use crate::clock::SharedClock;

/// Looks at everything.
pub(super) async fn check(target: &Target, clock: &SharedClock) -> Vec<Finding> {
    let mut looks = Looks::begin();
    let mut catalogue = Catalogue::default();
    look_around(target, clock, &mut catalogue, &mut looks).await;
    catalogue.close().await;
    looks.findings()
}

async fn look_around(target: &Target, clock: &SharedClock, catalogue: &mut Catalogue, looks: &mut Looks) {
    match looks.timed(login::look(target, catalogue)).await {
        Ok(found) => looks.add(found),
        Err(fault) => return looks.add([login::refusal(target, &fault)]),
    }
    let Some(server) = looks.within("server", server::Server::read(target, catalogue)).await else { return };
    looks.add(server.findings());
    if !server.is_known() {
        return;
    }
    looks.take("clock", server::clock(target, catalogue, clock)).await;
    let version = server.version;
    looks.take("wal_level", replication::wal_level(target, catalogue)).await;
    looks.take("slots", replication::slots(target, catalogue)).await;
    looks.take("failover", failover::look(target, catalogue, version)).await;
    looks.take("walsenders", replication::walsenders(target, catalogue)).await;
    looks.take("replication", replication::right(target, catalogue)).await;
    looks.take("openTransactions", replication::open_transactions(target, catalogue)).await;
    if let Some(captured) = looks.within("tables", Captured::read(target, catalogue, version)).await {
        looks.take("tables", tables::matched(target, catalogue, &captured)).await;
        looks.add(tables::identities(target, &captured));
        looks.take("publication", publication::look(target, catalogue, &captured)).await;
        looks.take("masks", masks::look(target, catalogue, &captured)).await;
        looks.add(tables::generated(target, &captured));
        looks.add(tables::partitions(target, &captured));
        looks.add(reading::look(target, &captured));
    }
    looks.take("timeouts", session_settings::look(target, catalogue)).await;
    looks.take("disk", kept_log::look(target, catalogue)).await;
}
