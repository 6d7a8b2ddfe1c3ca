//! Two looks against each other: which tables have been without cover since, and from where to where in the log.
//!
//! Owns what is remembered between looks, and every judgement; no IO, no clock. **The catalogue is of now, the log of then**:
//! rows are published as the catalogue was when they were written, so a table that is in order now may have been out of the
//! publication in between. Each row of the catalogue that publishes a table is therefore known by its oid and `xmin`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::facts::{Entry, Given, Scope, Seen};
use crate::capture::postgres::lsn::Lsn;
use crate::limits;

/// What the last good look found, as it is kept over restarts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::capture::postgres) struct Known {
    /// The patterns that were in force; none before the first look.
    patterns: Vec<String>,
    /// The end of the log at earlier looks, and the first transaction that had no number then. The first of them is the last
    /// look before which every transaction begun is seen by the last one.
    moments: Vec<(u64, u64)>,
    tables: BTreeMap<String, Given>,
    others: BTreeSet<u32>,
    wholes: BTreeSet<Entry>,
    /// Tables that went out of the patterns' reach, by oid, and until where they were covered.
    away: BTreeMap<u32, u64>,
    /// Names that were covered once and that no table has now.
    gone: BTreeSet<String>,
    /// Tables whose gap has not ended.
    open: BTreeMap<String, Open>,
    /// Up to here in the log all tables are in a gap that was written.
    all_lost_before: u64,
}

/// A gap that has not ended: the table is not covered, or somebody still writes who began before it was.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Open {
    from: u64,
    why: String,
    /// Transactions that wrote to the table before it was covered again and have not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<BTreeSet<String>>,
}

/// A table of which rows may be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::capture::postgres) struct Loss {
    pub(super) table: String,
    pub(super) oid: u32,
    /// The first place in the log where a transaction may be without rows of it.
    pub(super) from: Lsn,
    pub(super) why: String,
    /// Whether it is in order again.
    pub(super) covered: bool,
    /// It is no loss if nobody ever wrote to these tables.
    pub(super) unless_untouched: BTreeSet<u32>,
}

/// What a look says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::capture::postgres) struct Found {
    /// Tables that flowed and do not, or did not in between.
    pub(super) lost: Vec<Loss>,
    /// Later tables that may have had rows before they were published.
    pub(super) joined: Vec<Loss>,
}

/// What a first look cannot know by itself.
#[derive(Debug, Clone, Copy)]
pub(in crate::capture::postgres) struct Beginning<'a> {
    /// The trail holds nothing yet: what was before is not asked for.
    pub(super) fresh: bool,
    /// Where the trail stands.
    pub(super) position: Lsn,
    /// Tables that were published a moment ago by us.
    pub(super) added: &'a BTreeSet<String>,
}

impl Known {
    /// Whether there was no look before.
    pub(super) fn is_new(&self) -> bool {
        self.patterns.is_empty()
    }

    /// The place in the log up to which all known tables were covered.
    pub(super) fn covered_to(&self) -> Lsn {
        Lsn(self.moments.first().map_or(0, |moment| moment.0))
    }

    /// Tables that are not covered, and why.
    pub(super) fn degraded(&self) -> BTreeMap<String, String> {
        self.open.iter().map(|(table, open)| (table.clone(), open.why.clone())).collect()
    }

    /// Whether rows of all tables may be missing at that place anyway.
    pub(super) fn all_lost_at(&self, place: Lsn) -> bool {
        place.0 < self.all_lost_before
            || !self.tables.is_empty() && self.tables.keys().all(|table| self.open.contains_key(table))
    }

    /// Notes that rows of all tables may be missing before that place.
    pub(super) fn all_lost_before(&mut self, place: Lsn) {
        self.all_lost_before = self.all_lost_before.max(place.0);
    }

    /// Compares with a look.
    pub(super) fn compare(&self, seen: &Seen, patterns: &[String], beginning: Beginning<'_>) -> Found {
        if self.is_new() {
            return first_look(seen, beginning);
        }
        let mut found = Found::default();
        let by_oid: BTreeMap<u32, &Given> = self.tables.values().map(|given| (given.oid, given)).collect();
        for (table, now) in &seen.tables {
            if self.open.contains_key(table) {
                continue;
            }
            let judged = if self.patterns == patterns || self.tables.contains_key(table) {
                self.judge(table, now, by_oid.get(&now.oid).copied())
            } else {
                self.judge_newly_asked(table, now)
            };
            match judged {
                None => {}
                Some((Kind::Lost, loss)) => found.lost.push(loss),
                Some((Kind::Joined, loss)) => found.joined.push(loss),
            }
        }
        found
    }

    /// The patterns have changed: what they take in from now on need not have flowed before.
    fn judge_newly_asked(&self, table: &str, now: &Given) -> Option<(Kind, Loss)> {
        let loss = self.loss(table, now, self.covered_to(), now.missing.to_string());
        (!now.missing.is_nothing()).then_some((Kind::Lost, loss))
    }

    fn judge(&self, table: &str, now: &Given, same: Option<&Given>) -> Option<(Kind, Loss)> {
        let from = self.covered_to();
        let was_covered = same.is_some() || self.tables.contains_key(table) || self.gone.contains(table);
        if !now.missing.is_nothing() {
            let kind = if was_covered { Kind::Lost } else { Kind::Joined };
            return Some((kind, self.loss(table, now, from, now.missing.to_string())));
        }
        if let Some(same) = same {
            let unbroken = now.entries.iter().any(|entry| same.entries.iter().any(|before| entry.is_still(before)));
            if !unbroken {
                let why = "it was taken out of the publication and put back".to_owned();
                return Some((Kind::Lost, self.loss(table, now, from, why)));
            }
            // Under the same name again: whatever was written under the other one was left out.
            let came_back =
                !now.naming.is_still(same.naming) && self.tables.get(table).is_some_and(|t| t.oid == now.oid);
            if came_back {
                let why = "it had another name in between".to_owned();
                return Some((Kind::Joined, self.loss(table, now, from, why)));
            }
            return self.judge_parts(table, now, same);
        }
        let always_published = now
            .entries
            .iter()
            .any(|entry| entry.scope != Scope::Table && self.wholes.iter().any(|before| entry.is_still(before)));
        if self.others.contains(&now.oid) {
            let came_back = self.away.get(&now.oid).map(|place| Lsn(*place));
            let mut loss = self.loss(table, now, came_back.unwrap_or(from), "it had another name before".into());
            loss.unless_untouched = BTreeSet::from([now.oid]);
            // One that took the place of another is a loss of that other's name.
            let is_loss = was_covered && came_back.is_none() && !always_published;
            return Some((if is_loss { Kind::Lost } else { Kind::Joined }, loss));
        }
        if always_published {
            return None;
        }
        let mut loss = self.loss(table, now, from, "it was published some time after it was made".into());
        if self.tables.contains_key(table) || self.gone.contains(table) {
            loss.why = "it was made again, and published some time later".into();
        }
        // The rows of partitions that are gone left no trace in the table itself.
        if now.parts.is_empty() {
            loss.unless_untouched = BTreeSet::from([now.oid]);
        }
        let kind = if was_covered { Kind::Lost } else { Kind::Joined };
        Some((kind, loss))
    }

    /// A table that nobody captured became a partition of one that is.
    fn judge_parts(&self, table: &str, now: &Given, before: &Given) -> Option<(Kind, Loss)> {
        let attached: BTreeSet<u32> = now.parts.difference(&before.parts).copied().collect();
        let attached: BTreeSet<u32> = attached.intersection(&self.others).copied().collect();
        if attached.is_empty() {
            return None;
        }
        let from = attached.iter().filter_map(|oid| self.away.get(oid)).min().map(|place| Lsn(*place));
        let why = "a table that was not captured was attached to it".to_owned();
        let mut loss = self.loss(table, now, from.unwrap_or_else(|| self.covered_to()), why);
        loss.unless_untouched = attached;
        Some((Kind::Joined, loss))
    }

    fn loss(&self, table: &str, now: &Given, from: Lsn, why: String) -> Loss {
        Loss {
            table: table.to_owned(),
            oid: now.oid,
            from,
            why,
            covered: now.missing.is_nothing(),
            unless_untouched: BTreeSet::new(),
        }
    }

    /// Every table that is known as lost from `from` on, for a reason that the catalogue does not show.
    pub(super) fn all_lost(&self, seen: &Seen, from: Lsn, why: &str) -> Vec<Loss> {
        let known = seen.tables.iter().filter(|(table, _)| !self.open.contains_key(*table));
        known.map(|(table, now)| self.loss(table, now, from, why.to_owned())).collect()
    }

    /// Takes a look as the one to compare the next with.
    pub(super) fn absorb(&mut self, seen: &Seen, patterns: &[String]) {
        let covered_to = self.covered_to().0;
        for (table, before) in &self.tables {
            if !seen.tables.contains_key(table) {
                self.gone.insert(table.clone());
            }
            let out_of_reach = before.parts.iter().chain([&before.oid]).filter(|oid| seen.others.contains(oid));
            self.away.extend(out_of_reach.map(|oid| (*oid, covered_to)));
        }
        self.gone.retain(|table| !seen.tables.contains_key(table));
        while self.gone.len() > limits::COVERAGE_NAMES_GONE_MAX {
            self.gone.pop_first();
        }
        self.away.retain(|oid, _| seen.others.contains(oid));
        self.forget_writers_of_what_changed(seen);
        self.patterns = patterns.to_vec();
        self.tables.clone_from(&seen.tables);
        self.others.clone_from(&seen.others);
        self.wholes.clone_from(&seen.wholes);
        self.moments.push((seen.before.0, seen.xmax));
        // A transaction that this look does not see as ended has a number of `xmin` or more: at a moment when no such
        // number was given out, nothing of it was in the log.
        let safe = self.moments.iter().rposition(|(_, xmax)| *xmax <= seen.xmin);
        self.moments.drain(..safe.unwrap_or(0));
        if self.moments.len() > limits::COVERAGE_MOMENTS_MAX {
            self.moments.remove(1);
        }
    }

    /// Who wrote before a table was covered again is asked anew when that happens anew.
    fn forget_writers_of_what_changed(&mut self, seen: &Seen) {
        for (table, open) in &mut self.open {
            let (before, now) = (self.tables.get(table), seen.tables.get(table));
            if before.map(|given| &given.entries) != now.map(|given| &given.entries)
                || now.is_some_and(|given| !given.missing.is_nothing())
            {
                open.waits_for = None;
            }
        }
    }

    /// Opens the gap of a table: not covered, or with writers who began before it was.
    pub(super) fn open(&mut self, loss: &Loss) {
        let open = Open { from: loss.from.0, why: loss.why.clone(), waits_for: None };
        self.open.insert(loss.table.clone(), open);
    }

    /// Whether the gap of a table has not ended.
    pub(super) fn is_open(&self, table: &str) -> bool {
        self.open.contains_key(table)
    }

    /// Entries that take in later tables too.
    pub(super) fn wholes(&self) -> &BTreeSet<Entry> {
        &self.wholes
    }

    /// A later table of which rows are missing since `from`, unless its gap is open anyway.
    pub(super) fn joined(&self, seen: &Seen, table: &str, from: Lsn, why: &str) -> Option<Loss> {
        let now = seen.tables.get(table).filter(|_| !self.is_open(table))?;
        Some(self.loss(table, now, from, why.to_owned()))
    }

    /// Tables with an open gap that are covered now, or gone: with their oids, for a look at who writes to them.
    pub(super) fn covered_again(&self, seen: &Seen) -> Vec<Loss> {
        let ended = self.open.iter().filter_map(|(table, open)| {
            let now = seen.tables.get(table);
            let is_covered = now.is_none_or(|given| given.missing.is_nothing());
            is_covered.then(|| Loss {
                table: table.clone(),
                oid: now.map_or(0, |given| given.oid),
                from: Lsn(open.from),
                why: open.why.clone(),
                covered: true,
                unless_untouched: BTreeSet::new(),
            })
        });
        ended.collect()
    }

    /// Who of `writers` was at work already when the table was first seen covered again; from the first time on they are
    /// remembered. Nobody: the gap is over.
    pub(super) fn still_waits(&mut self, table: &str, writers: &BTreeSet<String>) -> bool {
        let Some(open) = self.open.get_mut(table) else { return false };
        let waits_for = open.waits_for.get_or_insert_with(|| writers.clone());
        waits_for.retain(|writer| writers.contains(writer));
        !waits_for.is_empty()
    }

    /// The gap of a table has ended.
    pub(super) fn close(&mut self, table: &str) {
        self.open.remove(table);
    }
}

/// Which of the two policies decides.
enum Kind {
    Lost,
    Joined,
}

/// Nothing to compare with: only what is not given now can be told, and what an earlier build had not published.
fn first_look(seen: &Seen, beginning: Beginning<'_>) -> Found {
    let mut found = Found::default();
    for (table, now) in &seen.tables {
        let is_given = now.missing.is_nothing();
        let mut loss = Loss {
            table: table.clone(),
            oid: now.oid,
            from: beginning.position,
            why: now.missing.to_string(),
            covered: is_given,
            unless_untouched: BTreeSet::new(),
        };
        if !is_given {
            found.lost.push(loss);
        } else if !beginning.fresh && beginning.added.contains(table) {
            loss.why = "it was not published before".into();
            loss.unless_untouched = BTreeSet::from([now.oid]);
            found.joined.push(loss);
        }
    }
    found
}
