//! One look at a time: reads, mends, judges, and says whether the extract may go on and which gaps stand in its way.
//!
//! Owns the policies (`onCoverageLost`, `newTables`, an accepted gap) and the record that is kept over restarts. Writing gaps
//! into the trail is `capture::gap`'s business; a gap is noted as written only when it is durable there.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::{Duration, Instant, sleep};
use tracing::warn;

use super::compare::{Beginning, Found, Known, Loss};
use super::facts::{Given, Scope, Seen};
use super::query;
use super::repair::{self, Repair};
use crate::capture::coverage::SharedCoverage;
use crate::capture::error::Fault;
use crate::capture::fault_injection;
use crate::capture::gap::{Gap, Gaps};
use crate::capture::postgres::catalogue::Catalogue;
use crate::capture::postgres::error::PostgresError;
use crate::capture::postgres::lsn::Lsn;
use crate::capture::postgres::row_filters::RowFilters;
use crate::capture::postgres::target::Target;
use crate::catalog::coverage::{CoverageGap, LostCoverage};
use crate::catalog::extract::{NewTables, OnCoverageLost};
use crate::limits;
use crate::repeats::warn_rarely;

const BLIND_MAX: Duration = Duration::from_secs(limits::COVERAGE_BLIND_SECONDS_MAX);
/// SQLSTATE of the warning that a publication is left out because it does not exist at that place of the log.
const NO_PUBLICATION_THERE: &str = "55000";
const NO_PUBLICATION: &str = "the publication did not exist at a place of the log";

/// The member of what is known that changes with every look.
const LOOKS: &str = "moments";

/// Why one looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::capture::postgres) enum Cause<'a> {
    /// A session begins; the trail stands at `position`, and holds nothing yet if `fresh`.
    Start { fresh: bool, position: Lsn },
    /// It is time, or a table has changed.
    Routine,
    /// The server warned while it streamed; everything before `at` was received.
    Warning { code: &'a str, at: Lsn },
    /// The server ended the stream because the publication does not exist at a place of the log that begins at `at`.
    Refused { at: Lsn },
    /// Rows of a table under another name were left out since `from`.
    Renamed { table: &'a str, from: Lsn },
}

/// Whoever looks, with a connection of its own.
#[derive(Debug)]
pub(in crate::capture::postgres) struct CoverageCheck<'a> {
    target: &'a Target,
    coverage: &'a SharedCoverage,
    catalogue: Catalogue,
    version: u32,
    known: Known,
    patterns: Vec<String>,
    repair: Repair<'a>,
    /// Row filters that are asked for, as the source understood them last.
    filters: RowFilters,
    last_look: Instant,
    /// When a look last succeeded.
    last_success: Instant,
}

impl<'a> CoverageCheck<'a> {
    /// Goes on from what was kept.
    pub(in crate::capture::postgres) fn new(target: &'a Target, coverage: &'a SharedCoverage, version: u32) -> Self {
        let record = coverage.snapshot();
        let mut known = record.known;
        if let Some(members) = known.as_object_mut() {
            members.insert(LOOKS.into(), record.looks);
        }
        Self {
            target,
            coverage,
            catalogue: Catalogue::default(),
            version,
            // Written by a build that knew less or more: as if there had been no look.
            known: serde_json::from_value(known).unwrap_or_default(),
            patterns: target.tables.iter().cloned().map(String::from).collect(),
            repair: Repair::new(target, version),
            filters: RowFilters::kept(&record.filters),
            last_look: Instant::now(),
            last_success: Instant::now(),
        }
    }

    /// Whether it is time for the next look, which comes sooner if one was asked for.
    pub(in crate::capture::postgres) fn is_due(&self, asked: bool) -> bool {
        let pause = if asked { limits::COVERAGE_ASKED_LOOK_MILLIS } else { limits::COVERAGE_LOOK_MILLIS };
        self.last_look.elapsed() >= Duration::from_millis(pause)
    }

    /// Looks, mends and judges: the gaps that have to stand in the trail before anything else is handed over, or the end
    /// of the session. Whoever has written them says so with [`CoverageCheck::written`].
    pub(in crate::capture::postgres) async fn look(&mut self, cause: Cause<'_>) -> Result<Gaps<Lsn>, Fault> {
        if fault_injection::coverage_is_off() {
            return Ok(Gaps::default());
        }
        self.last_look = Instant::now();
        if let Cause::Start { fresh, .. } = cause {
            self.begin(fresh)?;
        }
        let Mended { seen, added, made_again } = match self.read_and_mend(cause).await {
            // A source that cannot be asked once or twice does not end the stream.
            Err(Fault::Passing(error)) if cause == Cause::Routine && self.last_success.elapsed() < BLIND_MAX => {
                warn_rarely!(
                    &self.target.slot,
                    slot = self.target.slot,
                    error,
                    "what is published could not be looked at"
                );
                return Ok(Gaps::default());
            }
            mended => mended?,
        };
        let filters = self.filters.to_keep();
        if self.coverage.with(|record| record.filters != filters) {
            self.coverage.update(|record| record.filters = filters);
        }
        self.refuse_other_filters(&seen)?;
        let mut known = self.known.clone();
        let mut found = self.judge(&seen, cause, &added, made_again);
        self.leave_out_untouched(&mut found).await?;
        let accepted = self.coverage.snapshot().lost;
        match &accepted {
            Some(lost) => add_accepted(&mut found, lost, &seen),
            None => self.decide(&found, &seen, cause)?,
        }
        if !seen.publications.contains(&self.target.publication) {
            return Err(Fault::Passing(format!(
                "publication {} is missing: make it again, and the extract goes on with a gap",
                self.target.publication
            )));
        }
        known.absorb(&seen, &self.patterns);
        let skip = matches!(cause, Cause::Refused { .. }) || accepted.is_some_and(|lost| lost.skip);
        let losses = [found.lost, found.joined].concat();
        let outcome = self.gaps(&mut known, &seen, &losses, skip).await?;
        self.known = known;
        self.last_success = Instant::now();
        if outcome.is_empty() {
            self.written(&outcome);
        }
        Ok(outcome)
    }

    /// The gaps stand in the trail, durably: what was found is now what is known.
    pub(in crate::capture::postgres) fn written(&self, outcome: &Gaps<Lsn>) {
        let gaps = &outcome.gaps;
        let mut known = serde_json::to_value(&self.known).unwrap_or_default();
        let looks = known.as_object_mut().and_then(|members| members.remove(LOOKS)).unwrap_or_default();
        let degraded = self.known.degraded();
        self.coverage.update(|record| {
            (record.known, record.looks) = (known, looks);
            record.degraded = degraded;
            record.lost = None;
            for gap in gaps {
                record.note_gap(CoverageGap {
                    tables: gap.tables.clone(),
                    from: gap.from.to_string(),
                    to: gap.to.map(|to| to.to_string()),
                    ..CoverageGap::default()
                });
            }
        });
        for gap in gaps {
            let tables = names(&gap.tables);
            let to = gap.to.map_or_else(|| "on".to_owned(), |to| to.to_string());
            warn!(slot = self.target.slot, tables, from = %gap.from, to, "rows of these tables may be missing; the trail has a gap");
        }
    }

    /// A loss that nobody has accepted is not forgotten by a restart, nor by a source that is in order again.
    fn begin(&mut self, fresh: bool) -> Result<(), Fault> {
        if fresh {
            self.known = Known::default();
            self.coverage.update(|record| *record = Default::default());
            return Ok(());
        }
        let Some(lost) = self.coverage.snapshot().lost else { return Ok(()) };
        if lost.accepted || self.target.on_coverage_lost == OnCoverageLost::Continue {
            return Ok(());
        }
        Err(self.stops(&lost))
    }

    fn stops(&self, lost: &LostCoverage) -> Fault {
        let tables: Vec<String> = lost.tables.iter().map(|(table, why)| format!("{table} ({why})")).collect();
        let to = lost.to.as_ref().map_or_else(|| "the moment when they flow again".to_owned(), String::clone);
        PostgresError::CoverageLost {
            tables: shortened(&tables),
            from: lost.from.clone(),
            to,
            slot: self.target.slot.clone(),
        }
        .into()
    }

    /// The catalogue as it is once everything is mended that can be.
    async fn read_and_mend(&mut self, cause: Cause<'_>) -> Result<Mended, Fault> {
        let (target, version) = (self.target, self.version);
        let before = query::look(target, &mut self.catalogue, version, &mut self.filters).await?;
        let made_again = self.repair.make_again(&mut self.catalogue, &before, &self.filters).await?;
        let lacks_schemas = !target.publication_is_theirs && target.publishes_whole() && self.lacks_schemas(&before);
        if lacks_schemas {
            self.repair.add_schemas(&mut self.catalogue).await?;
        }
        let goes_on = matches!(cause, Cause::Start { fresh: false, .. });
        if goes_on {
            self.repair.prepare(&mut self.catalogue, &before, &self.filters).await?;
        }
        let mut seen = if made_again || lacks_schemas || goes_on {
            query::look(target, &mut self.catalogue, version, &mut self.filters).await?
        } else {
            before.clone()
        };
        if seen.lacks_anything() {
            let skipped = self.repair.add_tables(&mut self.catalogue, &seen, &self.filters).await?;
            seen = query::look(target, &mut self.catalogue, version, &mut self.filters).await?;
            seen.leave_out(&skipped);
        }
        seen.goes_on_from(&before);
        seen.tables.retain(|table, given| before.tables.contains_key(table) || !given.missing.everything);
        let was_missing = |table: &&String| before.tables.get(*table).is_none_or(|given| given.missing.everything);
        let is_given = |(table, given): (&String, &Given)| (!given.missing.everything).then(|| table.clone());
        let added = seen.tables.iter().filter_map(is_given).filter(|table| was_missing(&table)).collect();
        Ok(Mended { seen, added, made_again })
    }

    /// Rows that a filter is to leave at the source must not come, whatever the policies say of tables that are lost.
    fn refuse_other_filters(&self, seen: &Seen) -> Result<(), Fault> {
        let Some((table, given)) = seen.tables.iter().find(|(_, given)| given.missing.filter) else { return Ok(()) };
        let mend = repair::statement(&self.target.publication, table, given, &self.filters);
        let mend = mend.unwrap_or_else(|| "ALTER PUBLICATION".to_owned());
        Err(Fault::Passing(PostgresError::FilterNotPublished { table: table.clone(), mend }.to_string()))
    }

    /// A schema that was published as a whole is not any more.
    fn lacks_schemas(&self, seen: &Seen) -> bool {
        let schemas =
            |wholes: &BTreeSet<super::facts::Entry>| wholes.iter().filter(|entry| entry.scope == Scope::Schema).count();
        schemas(self.known.wholes()) > schemas(&seen.wholes)
    }

    fn judge(&self, seen: &Seen, cause: Cause<'_>, added: &BTreeSet<String>, made_again: bool) -> Found {
        let known = &self.known;
        let (fresh, position) = match cause {
            Cause::Start { fresh, position } => (fresh, position),
            _ => (false, seen.before),
        };
        let mut found = known.compare(seen, &self.patterns, Beginning { fresh, position, added });
        match cause {
            Cause::Start { .. } if made_again && !fresh && known.is_new() => {
                found.lost = known.all_lost(seen, position, "the publication was gone");
            }
            Cause::Warning { code: NO_PUBLICATION_THERE, at } if found.lost.is_empty() && !known.all_lost_at(at) => {
                found.lost = known.all_lost(seen, at, NO_PUBLICATION);
            }
            Cause::Refused { at } => found.lost = known.all_lost(seen, at, NO_PUBLICATION),
            Cause::Renamed { table, from } => {
                let is_found = found.lost.iter().chain(&found.joined).any(|loss| loss.table == table);
                let why = "it had another name, and its rows were left out";
                found.joined.extend(known.joined(seen, table, from, why).filter(|_| !is_found));
            }
            _ => {}
        }
        found
    }

    async fn leave_out_untouched(&mut self, found: &mut Found) -> Result<(), Fault> {
        let losses = || found.lost.iter().chain(&found.joined);
        let asked: BTreeSet<u32> = losses().flat_map(|loss| loss.unless_untouched.iter().copied()).collect();
        if asked.is_empty() {
            return Ok(());
        }
        let untouched = query::untouched(self.target, &mut self.catalogue, &asked).await?;
        let may_miss_rows =
            |loss: &Loss| loss.unless_untouched.is_empty() || !loss.unless_untouched.is_subset(&untouched);
        found.lost.retain(may_miss_rows);
        found.joined.retain(may_miss_rows);
        Ok(())
    }

    /// Whether the extract goes on. What stops it is kept before it stops.
    fn decide(&self, found: &Found, seen: &Seen, cause: Cause<'_>) -> Result<(), Fault> {
        // The rest of a range that was accepted: a transaction that had begun before its end.
        let is_rest = matches!(cause, Cause::Refused { at } if self.known.all_lost_at(Lsn(at.0.saturating_sub(1))));
        let mut stopping: Vec<&Loss> = Vec::new();
        if self.target.on_coverage_lost == OnCoverageLost::Stop && !is_rest {
            stopping.extend(&found.lost);
        }
        if self.target.new_tables == NewTables::Stop {
            stopping.extend(&found.joined);
        }
        if stopping.is_empty() {
            return Ok(());
        }
        let from = stopping.iter().map(|loss| loss.from).min().unwrap_or_default();
        let covered = stopping.iter().all(|loss| loss.covered);
        let lost = LostCoverage {
            tables: stopping.iter().map(|loss| (loss.table.clone(), loss.why.clone())).collect(),
            from: from.to_string(),
            to: covered.then(|| seen.after.to_string()),
            accepted: false,
            skip: matches!(cause, Cause::Refused { .. }),
        };
        self.coverage.update(|record| record.lost = Some(lost.clone()));
        Err(self.stops(&lost))
    }

    /// What to write: gaps that have ended, and gaps that go on.
    async fn gaps(&mut self, known: &mut Known, seen: &Seen, losses: &[Loss], skip: bool) -> Result<Gaps<Lsn>, Fault> {
        losses.iter().for_each(|loss| known.open(loss));
        let covered = known.covered_again(seen);
        let mut to = seen.after;
        let mut ended: Vec<&Loss> = Vec::new();
        if !covered.is_empty() || skip {
            (ended, to) = self.settle(known, &covered, skip.then_some(seen.xmax)).await?;
        }
        ended.iter().for_each(|loss| known.close(&loss.table));
        let going_on: Vec<&Loss> = losses.iter().filter(|loss| known.is_open(&loss.table)).collect();
        if !losses.is_empty() && seen.tables.keys().all(|table| losses.iter().any(|loss| loss.table == *table)) {
            known.all_lost_before(to);
        }
        let gaps = [gap(&ended, Some(to)), gap(&going_on, None)];
        Ok(Gaps { gaps: gaps.into_iter().flatten().collect(), resume_at: skip.then_some(to) })
    }

    /// Waits a little for whoever wrote to a table before it was covered again: such rows are published as the catalogue
    /// was when they were written, however late their transaction ends. Gives the gaps that have ended, and where.
    async fn settle<'l>(
        &mut self,
        known: &mut Known,
        covered: &'l [Loss],
        begun_before: Option<u64>,
    ) -> Result<(Vec<&'l Loss>, Lsn), Fault> {
        let oids: BTreeSet<u32> = covered.iter().map(|loss| loss.oid).collect();
        let deadline = Instant::now() + Duration::from_millis(limits::COVERAGE_WRITERS_MILLIS);
        loop {
            let writers = query::writers(self.target, &mut self.catalogue, &oids).await?;
            let has_ended = |loss: &&Loss| !known.still_waits(&loss.table, &of_table(&writers, loss.oid));
            let ended: Vec<&Loss> = covered.iter().filter(has_ended).collect();
            let all_ended = ended.len() == covered.len()
                && match begun_before {
                    Some(xmax) => query::all_ended_before(self.target, &mut self.catalogue, xmax).await?,
                    None => true,
                };
            if all_ended || Instant::now() >= deadline {
                return Ok((ended, query::end_of_log(self.target, &mut self.catalogue).await?));
            }
            sleep(Duration::from_millis(limits::COVERAGE_WRITERS_PAUSE_MILLIS)).await;
        }
    }
}

/// A catalogue after mending.
struct Mended {
    seen: Seen,
    /// Tables that were published one by one.
    added: BTreeSet<String>,
    /// The publication was.
    made_again: bool,
}

/// Adds to what was found what stopped the extract before and is accepted now, as everything is that was found since.
fn add_accepted(found: &mut Found, lost: &LostCoverage, seen: &Seen) {
    let from = Lsn::parse(&lost.from).unwrap_or_default();
    for (table, why) in &lost.tables {
        found.joined.retain(|loss| loss.table != *table);
        if let Some(loss) = found.lost.iter_mut().find(|loss| loss.table == *table) {
            loss.from = loss.from.min(from);
            continue;
        }
        let now = seen.tables.get(table);
        found.lost.push(Loss {
            table: table.clone(),
            oid: now.map_or(0, |given| given.oid),
            from,
            why: why.clone(),
            covered: now.is_none_or(|given| given.missing.is_nothing()),
            unless_untouched: BTreeSet::new(),
        });
    }
}

fn gap(losses: &[&Loss], to: Option<Lsn>) -> Option<Gap<Lsn>> {
    let from = losses.iter().map(|loss| loss.from).min()?;
    Some(Gap { tables: losses.iter().map(|loss| (loss.table.clone(), loss.why.clone())).collect(), from, to })
}

fn of_table(writers: &[(u32, String)], oid: u32) -> BTreeSet<String> {
    writers.iter().filter(|(table, _)| *table == oid).map(|(_, who)| who.clone()).collect()
}

/// The names of a gap's tables, as many as fit a line.
fn names(tables: &BTreeMap<String, String>) -> String {
    let all: Vec<String> = tables.keys().cloned().collect();
    shortened(&all)
}

fn shortened(all: &[String]) -> String {
    let shown = all.iter().take(limits::COVERAGE_TABLES_NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(limits::COVERAGE_TABLES_NAMED_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
