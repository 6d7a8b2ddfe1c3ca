//! Rows that a test writes while a table may be without cover, and the account of them at the end: each is in the trail, or
//! committed inside a gap that names its table.

use std::time::{Duration, Instant};

use trailcast::capture::RunState;
use trailcast::trail::{Begin, Entry, Fill};

use crate::capture::rig::Rig;
use crate::support::Postgres;

const PATIENCE: Duration = Duration::from_secs(90);

/// A place in the log.
pub fn place(text: &str) -> u64 {
    let (high, low) = text.split_once('/').unwrap_or_else(|| panic!("{text} is no place in the log"));
    u64::from_str_radix(high, 16).unwrap() << 32 | u64::from_str_radix(low, 16).unwrap()
}

/// A row that was committed between two places of the log.
#[derive(Debug)]
struct Written {
    id: u32,
    /// The table whose subscribers must hear of it.
    table: String,
    from: u64,
    to: u64,
    /// It may be in the trail, but not as it was written.
    maimed: bool,
}

/// What a gap of the trail says; one that has not ended has no end.
#[derive(Debug, Clone)]
pub struct Told {
    pub tables: Vec<String>,
    pub from: String,
    pub to: String,
}

/// An extract, its source, and what was written.
pub struct Ledger<'c> {
    pub rig: Rig,
    cluster: &'c Postgres,
    written: Vec<Written>,
}

impl<'c> Ledger<'c> {
    /// An extract of `tables` that runs over what `setup` makes.
    pub async fn running(cluster: &'c Postgres, tables: &[&str], setup: &str) -> Self {
        Self::running_with(cluster, tables, setup, serde_json::json!({})).await
    }

    /// The same with further members.
    pub async fn running_with(cluster: &'c Postgres, tables: &[&str], setup: &str, members: serde_json::Value) -> Self {
        cluster.psql(setup);
        let mut rig = Rig::new(cluster);
        let mut config = serde_json::to_value(&rig.config).unwrap();
        config["tables"] = tables.into();
        for (member, value) in members.as_object().unwrap() {
            config[member] = value.clone();
        }
        rig.config = serde_json::from_value(config).unwrap();
        rig.start().await;
        Self::over(cluster, rig).await
    }

    /// An extract that a test has started itself.
    pub async fn over(cluster: &'c Postgres, rig: Rig) -> Self {
        let mut ledger = Self { rig, cluster, written: Vec::new() };
        ledger.until_running().await;
        ledger
    }

    /// Waits until changes flow and the first look has been taken.
    pub async fn until_running(&mut self) {
        self.rig.until(|status| status.status == RunState::Running).await;
    }

    /// Writes rows into `table`, each in a transaction of its own, on whose absence the subscribers of `of` must be told.
    pub fn write_for(&mut self, table: &str, of: &str, rows: u32) {
        let first = self.written.len() as u32 + 1;
        let statements: String = (first..first + rows)
            .map(|id| {
                format!("select pg_current_wal_insert_lsn(); insert into {table} (id) values ({id}); select pg_current_wal_insert_lsn();\n")
            })
            .collect();
        let places: Vec<u64> = self.cluster.psql(&statements).lines().map(place).collect();
        for (id, places) in (first..).zip(places.chunks(2)) {
            self.note(id, of, places[0], places[1]);
        }
    }

    /// Writes rows into `table` of `public`.
    pub fn write(&mut self, table: &str, rows: u32) {
        self.write_for(table, &format!("public.{table}"), rows);
    }

    /// Writes rows that may come, but not whole.
    pub fn write_maimed(&mut self, table: &str, rows: u32) {
        let first = self.written.len();
        self.write(table, rows);
        self.written[first..].iter_mut().for_each(|row| row.maimed = true);
    }

    /// Notes a row that the test has written by itself, committed between these places; its number must be the next one.
    pub fn note(&mut self, id: u32, of: &str, from: u64, to: u64) {
        assert_eq!(id as usize, self.written.len() + 1);
        self.written.push(Written { id, table: of.to_owned(), from, to, maimed: false });
    }

    /// The number that the next row gets.
    pub fn next_id(&self) -> u32 {
        self.written.len() as u32 + 1
    }

    /// Waits until the last row is in the trail.
    pub async fn until_captured(&self) {
        let last = self.written.last().unwrap().id;
        self.until(&format!("row {last} is captured"), async |ledger| ledger.captured().await.contains(&last)).await;
    }

    /// Writes a row at a time until one is in the trail: a row that is committed before the extract is past the stretch that it
    /// could not read belongs to that stretch, and its gap tells so.
    pub async fn until_flowing(&mut self, table: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.write(table, 1);
            let last = self.written.last().unwrap().id;
            let is_settled = async |ledger: &Self| !ledger.missing().await.contains(&(last, false));
            self.until(&format!("row {last} is captured or inside a gap"), is_settled).await;
            if self.captured().await.contains(&last) {
                return;
            }
            assert!(Instant::now() < deadline, "row {last} is inside a gap, as all before it");
        }
    }

    /// Waits until it is as wanted.
    pub async fn until(&self, what: &str, wanted: impl AsyncFn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !wanted(self).await {
            let (status, record) = (self.rig.status(), self.rig.coverage.snapshot());
            assert!(Instant::now() < deadline, "not so: {what}; {status:?} {:?} {:?}", record.lost, record.gaps);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until exactly these tables do not flow as asked.
    pub async fn until_degraded(&self, tables: &[&str]) {
        let shown = |ledger: &Self| ledger.rig.coverage.snapshot().degraded.into_keys().collect::<Vec<_>>();
        self.until(&format!("{tables:?} are degraded"), async |ledger| shown(ledger) == tables).await;
    }

    /// Waits for another look, begun after now.
    pub async fn another_look(&self) {
        let before = self.rig.coverage.snapshot().looks;
        self.until("another look", async |ledger| ledger.rig.coverage.snapshot().looks != before).await;
        let before = self.rig.coverage.snapshot().looks;
        self.until("a look after that", async |ledger| ledger.rig.coverage.snapshot().looks != before).await;
    }

    /// Waits until the extract stops over lost coverage, and checks that it names the table.
    pub async fn stops_over(&mut self, table: &str) {
        let error = self.rig.end().await;
        assert_eq!(error.reason(), "coverage_lost", "{error}");
        assert!(error.to_string().contains(table), "{error}");
        let status = self.rig.status();
        assert_eq!((status.status, status.last_error_reason), (RunState::Failed, Some("coverage_lost")));
        let lost = self.rig.coverage.snapshot().lost.unwrap();
        assert!(lost.tables.contains_key(table) && !lost.accepted, "{lost:?}");
        // Nor does it go on by itself.
        self.rig.start().await;
        let error = self.rig.end().await;
        assert_eq!(error.reason(), "coverage_lost", "{error}");
    }

    /// Accepts the gap and goes on.
    pub async fn accept(&mut self) {
        self.rig.coverage.update(|record| record.lost.as_mut().unwrap().accepted = true);
        self.rig.start().await;
        self.until_running().await;
    }

    /// The gaps of the trail.
    pub async fn gaps(&self) -> Vec<Told> {
        let mut reader = self.rig.trail.read(Begin::Earliest).await.unwrap();
        let mut gaps = Vec::new();
        while reader.fill().await.unwrap() != Fill::AtMark {
            if let Some(Entry::Gap(gap)) = reader.next().unwrap() {
                gaps.extend(gap.missing.iter().map(|missing| Told {
                    tables: missing.tables.iter().map(ToString::to_string).collect(),
                    from: missing.from.clone(),
                    to: missing.to.clone(),
                }));
            }
        }
        gaps
    }

    async fn captured(&self) -> Vec<u32> {
        let all = self.rig.all().await.concat();
        let id = |line: &String| line.strip_prefix("INSERT ")?.split("id=").nth(1)?.split(' ').next()?.parse().ok();
        all.iter().filter_map(id).collect()
    }

    /// Rows that are not in the trail as they were written, and whether a gap names each.
    async fn missing(&self) -> Vec<(u32, bool)> {
        let (captured, gaps) = (self.captured().await, self.gaps().await);
        let is_inside = |row: &Written, gap: &Told| {
            let to = if gap.to.is_empty() { u64::MAX } else { place(&gap.to) };
            let names = gap.tables.contains(&row.table);
            names && place(&gap.from) <= row.from && row.to <= to
        };
        let missing = self.written.iter().filter(|row| row.maimed || !captured.contains(&row.id));
        missing.map(|row| (row.id, gaps.iter().any(|gap| is_inside(row, gap)))).collect()
    }

    /// Checks the account: nothing twice, and whatever is missing is inside a gap that names its table. Says how many rows
    /// are missing.
    pub async fn balance(&self) -> usize {
        let mut captured = self.captured().await;
        captured.sort_unstable();
        let number = captured.len();
        captured.dedup();
        assert_eq!(captured.len(), number, "rows stand twice");
        let missing = self.missing().await;
        let untold: Vec<_> = missing.iter().filter(|(_, told)| !told).collect();
        assert!(untold.is_empty(), "{untold:?} of {:#?}\ngaps {:#?}", self.written, self.gaps().await);
        missing.len()
    }
}
