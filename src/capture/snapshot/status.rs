//! What people see of initial loads: the member `snapshot` of `…/info`.
//!
//! Owns what is derived: percent, rate, the time that is left. Leaves counting to whoever loads.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use tokio::time::{Duration, Instant};

use super::progress::TableProgress;
use crate::capture::wait::Wait;
use crate::catalog::load::{LoadOutcome, LoadRecord};
use crate::limits;

/// How the loads of an extract are doing.
#[derive(Debug, Clone, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LoadStatus {
    /// All of them together.
    pub state: LoadState,
    /// Each table.
    pub tables: Vec<TableLoadStatus>,
    /// What the source has to do first.
    pub waits_for: Option<Wait>,
}

/// How far loads are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LoadState {
    /// Rows come, or would.
    Loading,
    /// Something at the source has to end first.
    Waiting,
    /// Until somebody says to go on.
    Paused,
    /// Nothing is left to be loaded.
    Done,
    /// Nothing is left to be loaded, and a table could not be.
    Failed,
}

/// How the load of one table is doing.
#[derive(Debug, Clone, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TableLoadStatus {
    /// The table.
    pub table: String,
    /// How far it is.
    pub state: TableLoadState,
    /// Rows of it that the trail has.
    pub rows: u64,
    /// Rows that the source thinks it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_rows: Option<u64>,
    /// `rows` of `estimated_rows`, at most 99.9 before the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// Rows a second, of late.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_per_second: Option<u64>,
    /// Seconds that it takes at that rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
    /// Times that it began again.
    pub restarts: u64,
    /// Why it failed, and what to do; or what is in its way while it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How far a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TableLoadState {
    /// Others come first.
    Queued,
    /// Its rows come.
    Loading,
    /// The trail has it.
    Loaded,
    /// Somebody ended its load.
    Cancelled,
    /// It could not be loaded.
    Failed,
}

impl TableLoadState {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Loading, Self::Loaded, Self::Cancelled, Self::Failed];

    /// `queued`, `loading` …
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Loading => "loading",
            Self::Loaded => "loaded",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

/// Rows a second over the last seconds.
#[derive(Debug, Default)]
pub(in crate::capture) struct Rate(VecDeque<(Instant, u64)>);

impl Rate {
    /// So many rows in all, now.
    pub(in crate::capture) fn note(&mut self, now: Instant, rows: u64) {
        let span = Duration::from_secs(limits::LOAD_RATE_SECONDS);
        if self.0.back().is_some_and(|(_, last)| *last > rows) {
            self.0.clear();
        }
        // One a tenth of the span is exact enough.
        if self.0.len() > 1 && self.0[self.0.len() - 2].0 + span / 10 > now {
            self.0.pop_back();
        }
        self.0.push_back((now, rows));
        while self.0.front().is_some_and(|(then, _)| *then + span < now) && self.0.len() > 2 {
            self.0.pop_front();
        }
    }

    fn per_second(&self, now: Instant) -> Option<u64> {
        let ((then, before), (_, rows)) = (self.0.front()?, self.0.back()?);
        let seconds = now.saturating_duration_since(*then).as_secs_f64();
        (seconds > 0.05).then(|| ((rows - before) as f64 / seconds) as u64)
    }
}

/// What is known of a table that is being loaded, beside its progress.
#[derive(Debug, Default)]
pub(in crate::capture) struct Observed {
    pub(in crate::capture) rate: Rate,
    pub(in crate::capture) estimated_rows: Option<u64>,
    pub(in crate::capture) is_loading: bool,
    /// Why it does not go on, while it is tried again.
    pub(in crate::capture) error: Option<String>,
}

impl LoadStatus {
    /// Of these loads; none where there has been none.
    pub(in crate::capture) fn of<'p>(
        left: impl Iterator<Item = &'p TableProgress>,
        observed: &BTreeMap<String, Observed>,
        record: &LoadRecord,
        waits_for: Option<Wait>,
        now: Instant,
    ) -> Option<Self> {
        let mut tables: Vec<_> = left.map(|progress| of_progress(progress, observed, now)).collect();
        let is_left = !tables.is_empty();
        let ordered = |table: &String| tables.iter().any(|known| known.table == *table);
        let queued: Vec<_> = record.orders.keys().filter(|table| !ordered(table)).cloned().collect();
        tables.extend(queued.into_iter().map(|table| TableLoadStatus::new(table, TableLoadState::Queued, 0)));
        let is_left = is_left || !tables.is_empty();
        let mut has_failed = false;
        for (table, end) in &record.ended {
            if tables.iter().any(|known| known.table == *table) {
                continue;
            }
            let state = match end.how {
                LoadOutcome::Loaded => TableLoadState::Loaded,
                LoadOutcome::Cancelled => TableLoadState::Cancelled,
                LoadOutcome::Failed => TableLoadState::Failed,
            };
            has_failed |= state == TableLoadState::Failed;
            let percent = (state == TableLoadState::Loaded).then_some(100.0);
            let shown = TableLoadStatus::new(table.clone(), state, end.rows);
            tables.push(TableLoadStatus { percent, error: end.error.clone(), ..shown });
        }
        let state = match (is_left, record.paused, &waits_for) {
            (true, true, _) => LoadState::Paused,
            (true, false, Some(_)) => LoadState::Waiting,
            (true, false, None) => LoadState::Loading,
            (false, ..) if has_failed => LoadState::Failed,
            (false, ..) => LoadState::Done,
        };
        (!tables.is_empty()).then_some(Self { state, tables, waits_for })
    }
}

impl LoadStatus {
    /// As an extract last showed it, with what was ordered since.
    pub fn ordered(shown: Option<Self>, record: &LoadRecord) -> Option<Self> {
        let Some(mut shown) = shown else {
            return Self::of(std::iter::empty(), &BTreeMap::new(), record, None, Instant::now());
        };
        for table in record.orders.keys() {
            let queued = || TableLoadStatus::new(table.clone(), TableLoadState::Queued, 0);
            match shown.tables.iter_mut().find(|known| known.table == *table) {
                Some(known) if known.is_left() => {}
                Some(known) => *known = queued(),
                None => shown.tables.push(queued()),
            }
        }
        let is_left = shown.tables.iter().any(TableLoadStatus::is_left);
        match shown.state {
            _ if is_left && record.paused => shown.state = LoadState::Paused,
            LoadState::Paused | LoadState::Done | LoadState::Failed if is_left => shown.state = LoadState::Loading,
            _ => {}
        }
        Some(shown)
    }

    /// Tables whose load has not ended.
    pub fn left(&self) -> impl Iterator<Item = &str> {
        self.tables.iter().filter(|table| table.is_left()).map(|table| table.table.as_str())
    }

    /// Tables that could not be loaded.
    pub fn failed(&self) -> impl Iterator<Item = &str> {
        self.tables.iter().filter(|table| table.state == TableLoadState::Failed).map(|table| table.table.as_str())
    }
}

impl TableLoadStatus {
    fn is_left(&self) -> bool {
        matches!(self.state, TableLoadState::Queued | TableLoadState::Loading)
    }

    fn new(table: String, state: TableLoadState, rows: u64) -> Self {
        Self {
            table,
            state,
            rows,
            estimated_rows: None,
            percent: None,
            rows_per_second: None,
            seconds_left: None,
            restarts: 0,
            error: None,
        }
    }
}

fn of_progress(progress: &TableProgress, observed: &BTreeMap<String, Observed>, now: Instant) -> TableLoadStatus {
    let table = progress.table.to_string();
    let of = observed.get(&table);
    let state = match of {
        Some(of) if of.is_loading => TableLoadState::Loading,
        _ => TableLoadState::Queued,
    };
    let estimated_rows = of.and_then(|of| of.estimated_rows);
    let rate = of.filter(|of| of.is_loading).and_then(|of| of.rate.per_second(now));
    let left = estimated_rows.map(|rows| rows.saturating_sub(progress.rows));
    let percent = estimated_rows.filter(|rows| *rows > 0).map(|rows| {
        let percent = progress.rows as f64 * 100.0 / rows as f64;
        ((percent * 10.0).round() / 10.0).min(99.9)
    });
    TableLoadStatus {
        estimated_rows,
        percent,
        rows_per_second: rate,
        seconds_left: left.zip(rate).and_then(|(left, rate)| left.checked_div(rate)),
        restarts: progress.left.restarts,
        error: of.and_then(|of| of.error.clone()),
        ..TableLoadStatus::new(table, state, progress.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::load::LoadEnd;
    use crate::record::TableName;

    #[tokio::test(start_paused = true)]
    async fn rate_percent_and_time_left_are_those_of_the_last_seconds() {
        let mut progress = TableProgress::new(TableName::parse("public.t").unwrap(), 1);
        let mut of = Observed { estimated_rows: Some(10_000), is_loading: true, ..Observed::default() };
        for second in 0..=4 {
            progress.rows = second * 1_000;
            of.rate.note(Instant::now(), progress.rows);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let mut record = LoadRecord::default();
        record.end("public.old", 1, LoadEnd { how: LoadOutcome::Failed, rows: 3, error: Some("why".into()) });
        let observed = BTreeMap::from([("public.t".to_owned(), of)]);
        let shown = LoadStatus::of([&progress].into_iter(), &observed, &record, None, Instant::now()).unwrap();
        assert_eq!(shown.state, LoadState::Loading);
        let of = &shown.tables[0];
        assert_eq!((of.percent, of.rows_per_second, of.seconds_left), (Some(40.0), Some(800), Some(7)));
        let shown = LoadStatus::of(std::iter::empty(), &observed, &record, None, Instant::now()).unwrap();
        assert_eq!((shown.state, shown.tables[0].rows), (LoadState::Failed, 3));
        assert_eq!(LoadStatus::of(std::iter::empty(), &observed, &LoadRecord::default(), None, Instant::now()), None);
    }
}
