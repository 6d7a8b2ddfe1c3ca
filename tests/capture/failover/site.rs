//! A primary, a standby that takes its place, and the address that leads to whichever is the primary.

use crate::capture::rig::Rig;
use crate::support::moving_address::MovingAddress;
use crate::support::postgres::{Installation, Stop, installations};
use crate::support::{Postgres, skip, until};

pub const TABLE: &str = "create table t (id bigint primary key, v bigint not null)";
pub const SLOT: &str = "trailcast_e1";

/// The majors here whose standbys keep slots.
pub fn majors_with_failover() -> impl Iterator<Item = &'static Installation> {
    let found = installations().iter().filter(|installation| installation.major >= 17);
    if found.clone().next().is_none() {
        skip("a slot that survives a promotion needs PostgreSQL 17 or newer");
    }
    found
}

/// A primary, its standby, and the address that everybody knows.
pub struct Site {
    pub primary: Postgres,
    pub standby: Postgres,
    pub address: MovingAddress,
    promotions: u32,
}

impl Site {
    pub fn new(installation: &'static Installation) -> Self {
        let primary = installation.start();
        primary.psql(TABLE);
        let address = MovingAddress::of(primary.port());
        let standby = primary.standby("standby_0");
        Self { primary, standby, address, promotions: 0 }
    }

    /// Nothing is acknowledged, and nothing is captured, before the standby has it.
    pub fn waits_for_its_standby(&self) {
        self.primary.set("synchronized_standby_slots", &format!("standby_{}", self.promotions));
        // By name: an extract is a standby to PostgreSQL, too, where any counts.
        self.primary.set("synchronous_standby_names", &format!("standby_{}", self.promotions));
    }

    /// The `source` of an extract that follows the primary.
    pub fn source(&self) -> serde_json::Value {
        let mut source = self.primary.source();
        source["port"] = self.address.port().into();
        source
    }

    pub fn rig(&self) -> Rig {
        let mut rig = Rig::new(&self.primary);
        rig.config.source.port = Some(self.address.port());
        rig
    }

    /// Waits until the standby keeps a copy of the slot that survives its promotion.
    pub fn until_slot_is_kept(&self) {
        self.until_kept_by(&self.standby);
    }

    pub fn until_kept_by(&self, standby: &Postgres) {
        let kept = format!(
            "select count(*) from pg_replication_slots where slot_name = '{SLOT}' and synced and not temporary"
        );
        until(|| {
            // The copy is good as soon as the slot has moved past where the standby began to keep it.
            self.primary.psql("select pg_log_standby_snapshot()");
            if standby.psql(&kept) == "1" { Ok(()) } else { Err("no copy of the slot".to_owned()) }
        });
    }

    /// Waits until the standby has all of the primary's log.
    pub fn until_standby_has_all(&self) {
        let end = self.primary.psql("select pg_current_wal_insert_lsn()");
        let has_all = format!("select pg_last_wal_replay_lsn() >= '{end}'");
        until(|| if self.standby.psql(&has_all) == "t" { Ok(()) } else { Err(format!("not at {end}")) });
    }

    /// The standby gets nothing more.
    pub fn cut_standby_off(&self) {
        self.standby.set("primary_conninfo", "");
        let receives = "select count(*) from pg_stat_wal_receiver";
        until(|| if self.standby.psql(receives) == "0" { Ok(()) } else { Err("it still receives".to_owned()) });
    }

    /// Kills the primary. The address leads to the standby first, as it does where somebody moves it too early.
    pub fn kill_primary(&mut self) {
        self.primary.stop(Stop::Immediate);
        self.address.move_to(self.standby.port());
    }

    /// Makes the standby the primary, without a standby of its own.
    pub fn promote(&mut self) {
        self.standby.promote();
        self.promotions += 1;
    }

    /// Gives the promoted one a standby in place of the dead primary, and takes over its name.
    pub fn renew(&mut self) {
        let standby = self.standby.standby(&format!("standby_{}", self.promotions));
        self.primary = std::mem::replace(&mut self.standby, standby);
    }
}
