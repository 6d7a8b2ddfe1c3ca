//! What was ordered, and how loads end.
//!
//! Owns that an order stands in the trail before anything comes of it, and that an end is told once it is durable there.

use tokio::time::Duration;
use tracing::{info, warn};

use super::{Ended, Loader, Phase};
use crate::capture::error::Fault;
use crate::capture::intake::Intake;
use crate::capture::postgres::lsn::Lsn;
use crate::capture::snapshot::progress::TableProgress;
use crate::catalog::load::{LoadEnd, LoadOutcome};
use crate::record::TableName;

/// A load that has ended, as the trail says in a frame that may not be durable yet.
pub(super) struct Ending {
    pub(super) progress: TableProgress,
    /// Why it failed.
    error: Option<String>,
    /// With this commit it is durable, or when everything is.
    commit: u64,
}

impl Ending {
    /// In the transaction that was committed last.
    pub(super) fn committed(progress: TableProgress, intake: &Intake<'_, Lsn>) -> Self {
        Self { progress, error: None, commit: intake.appender.next_commit() - 1 }
    }

    /// Between transactions: so before the next one.
    pub(super) fn noted(progress: TableProgress, error: Option<String>, intake: &Intake<'_, Lsn>) -> Self {
        Self { progress, error, commit: intake.appender.next_commit() }
    }
}

impl Loader<'_> {
    /// Does what was ordered since: between two transactions, as the trail has to say it.
    pub(super) fn follow_orders(&mut self, intake: &mut Intake<'_, Lsn>) -> Result<(), Fault> {
        if !self.are_new {
            return Ok(());
        }
        self.are_new = false;
        if !self.knows_ended {
            self.knows_ended = true;
            self.take_in_ended(intake);
        }
        let record = self.changes.borrow_and_update().clone();
        for (name, order) in &record.orders {
            let Ok(table) = TableName::parse(name) else { continue };
            if intake.loading.table(&table).is_some_and(|progress| progress.left.order == order.number) {
                continue;
            }
            // It has ended, which is not durable yet.
            let is_of = |ending: &Ending| ending.progress.table == table && ending.progress.left.order == order.number;
            if self.finishing.iter().any(is_of) {
                continue;
            }
            let said = intake.loading.queue(table, order.number, order.condition.is_some());
            intake.note_load(&said)?;
            // What the stream has brought of it until now is not remembered.
            self.is_clear = false;
            self.drop_reading(Duration::ZERO);
        }
        for name in &record.cancelled {
            let Ok(table) = TableName::parse(name) else { continue };
            self.ended.push((table, Ended::Cancelled));
        }
        self.show(intake, true);
        Ok(())
    }

    /// Says in the trail, and to whoever gave the order, which loads have ended without having come to their end.
    pub(super) fn say_ends(&mut self, intake: &mut Intake<'_, Lsn>) -> Result<(), Fault> {
        for (table, ended) in std::mem::take(&mut self.ended) {
            let name = table.to_string();
            if matches!(&self.phase, Phase::Reading(reading) if reading.table == table) {
                self.drop_reading(Duration::ZERO);
            }
            let (how, error) = match ended {
                Ended::Another => {
                    warn!(
                        slot = self.target.slot,
                        table = name,
                        "the table is another one than before, or has another key: it is loaded from its beginning"
                    );
                    if let Some(said) = intake.loading.begin_again(&table) {
                        intake.note_load(&said)?;
                    }
                    continue;
                }
                Ended::Cancelled => (LoadOutcome::Cancelled, None),
                Ended::Failed(why) => (LoadOutcome::Failed, Some(why)),
            };
            match intake.loading.end(&table, how) {
                Some((said, progress)) => {
                    intake.note_load(&said)?;
                    self.finishing.push(Ending::noted(progress, error, intake));
                }
                None if self.finishing.iter().any(|ending| ending.progress.table == table) => {}
                None => self.orders.update(|record| record.cancelled.retain(|cancelled| *cancelled != name)),
            }
        }
        Ok(())
    }

    /// Says which loads have come to their end, once that is durable.
    pub(super) fn finish(&mut self, intake: &Intake<'_, Lsn>) {
        if self.finishing.is_empty() {
            return;
        }
        let durable = intake.appender.durable().borrow().commit;
        let is_all = intake.appender.is_all_durable();
        let (done, rest): (Vec<Ending>, Vec<Ending>) =
            std::mem::take(&mut self.finishing).into_iter().partition(|ending| is_all || ending.commit <= durable);
        self.finishing = rest;
        for ending in &done {
            self.note_end(ending);
        }
        if !done.is_empty() {
            self.show(intake, true);
        }
    }

    /// What the trail says to have ended, and nobody could note then: as what was killed in between does.
    fn take_in_ended(&mut self, intake: &Intake<'_, Lsn>) {
        let record = self.orders.snapshot();
        let mut last_order = record.last_order;
        for progress in intake.appender.loads().iter().filter_map(TableProgress::ended_of_trail) {
            let (table, order) = (progress.table.to_string(), progress.left.order);
            last_order = last_order.max(order);
            if record.lacks_end(&table, order) {
                let why = || format!("table {table} could not be loaded, and why was not kept: load it again");
                let error = (progress.left.how == Some(LoadOutcome::Failed)).then(why);
                self.finishing.push(Ending::noted(progress, error, intake));
            }
        }
        // Where the catalog is older than the trail, no order may have the number of one that has ended.
        if last_order > record.last_order {
            self.orders.update(|record| record.last_order = record.last_order.max(last_order));
        }
    }

    fn note_end(&mut self, Ending { progress, error, .. }: &Ending) {
        let (how, error) = (progress.left.how.unwrap_or_default(), error.clone());
        let (table, rows) = (progress.table.to_string(), progress.rows);
        match &error {
            Some(error) => warn!(slot = self.target.slot, table, rows, error, "a table could not be loaded"),
            None => info!(slot = self.target.slot, table, rows, ?how, "the initial load of a table has ended"),
        }
        self.observed.remove(&table);
        if how == LoadOutcome::Loaded && !progress.left.is_filtered && !progress.left.began.is_empty() {
            let is_before =
                |to: &str, began: &str| Lsn::parse(to).zip(Lsn::parse(began)).is_some_and(|(to, began)| to <= began);
            self.coverage.update(|record| record.note_loaded(&table, &progress.left.began, is_before));
        }
        let end = LoadEnd { how, rows, error };
        self.orders.update(|record| record.end(&table, progress.left.order, end));
    }
}
