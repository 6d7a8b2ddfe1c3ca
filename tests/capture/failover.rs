//! Goal: an extract goes on from a standby that is promoted, with nothing lost and nothing twice, and stops loudly at one that
//! never had what the trail holds. Method: primaries under load are killed and their standbys promoted behind an address that
//! moves with them; the trail's records, applied in order, are held against the table, and against a ledger of what was
//! acknowledged. Control: a server that trusts such a source is seen to mix two histories.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use trailcast::capture::RunState;
use trailcast::capture::postgres::sql_client::SqlClient;
use trailcast::catalog::extract::SourceConfig;

use crate::capture::rig::{Rig, on_each_major, runtime};
use crate::support::extract::{capture_from, info, until_info};
use crate::support::moving_address::MovingAddress;
use crate::support::postgres::{Installation, Stop, installations};
use crate::support::subscriber::Next;
use crate::support::waiting::PATIENCE;
use crate::support::{Postgres, Server, skip, until};

const TABLE: &str = "create table t (id bigint primary key, v bigint not null)";
const SLOT: &str = "trailcast_e1";
const WRITERS: u64 = 3;
/// Between two rows of one writer: the trail is read as a whole at the end.
const PAUSE: Duration = Duration::from_millis(2);
/// Numbers that one writer may use.
const IDS: u64 = 1_000_000_000;

/// The majors here whose standbys keep slots.
fn majors_with_failover() -> impl Iterator<Item = &'static Installation> {
    let found = installations().iter().filter(|installation| installation.major >= 17);
    if found.clone().next().is_none() {
        skip("a slot that survives a promotion needs PostgreSQL 17 or newer");
    }
    found
}

/// How often the primary is killed: `TRAILCAST_PROMOTIONS`, twice when it says nothing.
fn promotions() -> u32 {
    let chosen = std::env::var("TRAILCAST_PROMOTIONS").ok().and_then(|number| number.parse().ok());
    chosen.unwrap_or(if std::env::var_os("TRAILCAST_TEST_LONG").is_some() { 20 } else { 2 })
}

/// A primary, its standby, and the address that everybody knows.
struct Site {
    primary: Postgres,
    standby: Postgres,
    address: MovingAddress,
    promotions: u32,
}

impl Site {
    fn new(installation: &'static Installation) -> Self {
        let primary = installation.start();
        primary.psql(TABLE);
        let address = MovingAddress::of(primary.port());
        let standby = primary.standby("standby_0");
        Self { primary, standby, address, promotions: 0 }
    }

    /// Nothing is acknowledged, and nothing is captured, before the standby has it.
    fn waits_for_its_standby(&self) {
        self.primary.set("synchronized_standby_slots", &format!("standby_{}", self.promotions));
        // By name: an extract is a standby to PostgreSQL, too, where any counts.
        self.primary.set("synchronous_standby_names", &format!("standby_{}", self.promotions));
    }

    /// The `source` of an extract that follows the primary.
    fn source(&self) -> serde_json::Value {
        let mut source = self.primary.source();
        source["port"] = self.address.port().into();
        source
    }

    fn rig(&self) -> Rig {
        let mut rig = Rig::new(&self.primary);
        rig.config.source.port = Some(self.address.port());
        rig
    }

    /// Waits until the standby keeps a copy of the slot that survives its promotion.
    fn until_slot_is_kept(&self) {
        self.until_kept_by(&self.standby);
    }

    fn until_kept_by(&self, standby: &Postgres) {
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
    fn until_standby_has_all(&self) {
        let end = self.primary.psql("select pg_current_wal_insert_lsn()");
        let has_all = format!("select pg_last_wal_replay_lsn() >= '{end}'");
        until(|| if self.standby.psql(&has_all) == "t" { Ok(()) } else { Err(format!("not at {end}")) });
    }

    /// The standby gets nothing more.
    fn cut_standby_off(&self) {
        self.standby.set("primary_conninfo", "");
        let receives = "select count(*) from pg_stat_wal_receiver";
        until(|| if self.standby.psql(receives) == "0" { Ok(()) } else { Err("it still receives".to_owned()) });
    }

    /// Kills the primary. The address leads to the standby first, as it does where somebody moves it too early.
    fn kill_primary(&mut self) {
        self.primary.stop(Stop::Immediate);
        self.address.move_to(self.standby.port());
    }

    /// Makes the standby the primary, without a standby of its own.
    fn promote(&mut self) {
        self.standby.promote();
        self.promotions += 1;
    }

    /// Gives the promoted one a standby in place of the dead primary, and takes over its name.
    fn renew(&mut self) {
        let standby = self.standby.standby(&format!("standby_{}", self.promotions));
        self.primary = std::mem::replace(&mut self.standby, standby);
    }
}

/// Sessions that write rows and keep account of what was acknowledged to them.
struct Load {
    port: Arc<AtomicU16>,
    is_over: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<BTreeSet<u64>>>,
    number: Arc<AtomicU64>,
    sessions: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(source: &serde_json::Value, port: u16) -> Self {
        let source: SourceConfig = serde_json::from_value(source.clone()).unwrap();
        let (port, is_over) = (Arc::new(AtomicU16::new(port)), Arc::new(AtomicBool::new(false)));
        let (acknowledged, number) = (Arc::new(Mutex::default()), Arc::new(AtomicU64::new(0)));
        let mut load = Self { port, is_over, acknowledged, number, sessions: Vec::new() };
        load.sessions = (0..WRITERS).map(|writer| tokio::spawn(load.session(writer * IDS, source.clone()))).collect();
        load
    }

    /// Inserts one row after the other, changes every second one and removes every third one later.
    fn session(&self, first: u64, mut source: SourceConfig) -> impl Future<Output = ()> + Send + use<> {
        let (port, is_over) = (self.port.clone(), self.is_over.clone());
        let (acknowledged, number) = (self.acknowledged.clone(), self.number.clone());
        async move {
            let mut next = first;
            while !is_over.load(Ordering::SeqCst) {
                source.port = Some(port.load(Ordering::SeqCst));
                let Ok(mut client) = SqlClient::open(&source).await else {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                while !is_over.load(Ordering::SeqCst) {
                    // One that fails may be there all the same.
                    let id = next;
                    next += 1;
                    tokio::time::sleep(PAUSE).await;
                    if client.run(&format!("insert into t values ({id}, 0)")).await.is_err() {
                        break;
                    }
                    acknowledged.lock().unwrap().insert(id);
                    number.fetch_add(1, Ordering::SeqCst);
                    let more = match id % 6 {
                        0 | 2 | 4 => format!("update t set v = v + {id} where id = {id}"),
                        3 => format!("delete from t where id = {id}"),
                        _ => continue,
                    };
                    if client.run(&more).await.is_err() {
                        break;
                    }
                }
            }
        }
    }

    /// The primary is at another port now.
    fn go_to(&self, port: u16) {
        self.port.store(port, Ordering::SeqCst);
    }

    /// Waits until so many more rows are acknowledged.
    async fn until_more(&self, rows: u64) {
        let (wanted, deadline) = (self.number.load(Ordering::SeqCst) + rows, Instant::now() + PATIENCE);
        while self.number.load(Ordering::SeqCst) < wanted {
            assert!(Instant::now() < deadline, "the load does not go on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops it; gives the rows that were acknowledged.
    async fn stop(self) -> BTreeSet<u64> {
        self.is_over.store(true, Ordering::SeqCst);
        for session in self.sessions {
            session.await.unwrap();
        }
        let acknowledged = self.acknowledged.lock().unwrap();
        acknowledged.clone()
    }
}

/// What the records of a trail make of an empty table, and every row that they insert.
#[derive(Debug, Default)]
struct Applied {
    rows: BTreeMap<u64, u64>,
    inserted: BTreeSet<u64>,
}

impl Applied {
    async fn of(rig: &Rig) -> Self {
        let mut applied = Self::default();
        for line in rig.all().await.concat() {
            applied.apply(&line);
        }
        applied
    }

    /// A record as the rig prints it.
    fn apply(&mut self, line: &str) {
        let number =
            |name: &str| -> Option<u64> { line.rsplit_once(&format!(" {name}="))?.1.split(' ').next()?.parse().ok() };
        let id = number("id").unwrap();
        match line.split(' ').next().unwrap() {
            "INSERT" => {
                assert!(self.inserted.insert(id), "twice: {line}");
                self.rows.insert(id, number("v").unwrap());
            }
            "UPDATE" => *self.rows.get_mut(&id).unwrap_or_else(|| panic!("of no row: {line}")) = number("v").unwrap(),
            "DELETE" => assert!(self.rows.remove(&id).is_some(), "of no row: {line}"),
            other => panic!("{other}"),
        }
    }

    fn table(&self) -> String {
        self.rows.iter().map(|(id, v)| format!("{id}|{v}")).collect::<Vec<_>>().join("\n")
    }
}

/// Waits until the trail holds everything that is in the table, which gets one more row.
async fn until_all_is_captured(rig: &Rig, primary: &Postgres) {
    let last = IDS * WRITERS;
    primary.psql(&format!("insert into t values ({last}, 0)"));
    let deadline = Instant::now() + PATIENCE;
    while !rig.all().await.concat().iter().any(|line| line.contains(&format!("id={last} "))) {
        assert!(Instant::now() < deadline, "{:?}", rig.status());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Has a server write rows until its log has passed that place; gives their numbers.
fn write_past(server: &Postgres, position: &str) -> BTreeSet<u64> {
    let has_passed = format!("select pg_current_wal_flush_lsn() > '{position}'");
    let mut written = BTreeSet::new();
    for id in 1_000.. {
        server.psql(&format!("insert into t values ({id}, 0)"));
        written.insert(id);
        if server.psql(&has_passed) == "t" {
            break;
        }
    }
    written
}

#[test]
fn an_extract_goes_on_from_one_promoted_standby_after_the_other_under_load() {
    for installation in majors_with_failover() {
        runtime().block_on(async {
            let mut site = Site::new(installation);
            site.waits_for_its_standby();
            let mut rig = site.rig();
            rig.start().await;
            rig.until_begun().await;
            let load = Load::start(&site.source(), site.primary.port());
            for round in 1..=promotions() {
                site.until_slot_is_kept();
                load.until_more(300).await;
                site.kill_primary();
                let seen = rig.status().starts;
                site.promote();
                load.go_to(site.standby.port());
                rig.until(|status| status.status == RunState::Running && status.starts > seen).await;
                load.until_more(100).await;
                site.renew();
                site.waits_for_its_standby();
                println!("PostgreSQL {}, promotion {round}: {:?}", installation.major, rig.status().position);
            }
            load.until_more(300).await;
            let acknowledged = load.stop().await;
            until_all_is_captured(&rig, &site.primary).await;
            rig.stop().await.unwrap();
            let applied = Applied::of(&rig).await;
            let lost: Vec<_> = acknowledged.difference(&applied.inserted).collect();
            assert!(lost.is_empty(), "acknowledged and not in the trail: {lost:?}");
            assert_eq!(applied.table(), site.primary.psql("select id, v from t order by id"));
            println!("{} rows acknowledged, {} in the trail", acknowledged.len(), applied.inserted.len());
        });
    }
}

#[test]
fn an_extract_waits_while_its_address_leads_to_a_standby_that_is_not_promoted() {
    for installation in majors_with_failover() {
        runtime().block_on(async {
            let mut site = Site::new(installation);
            site.waits_for_its_standby();
            let mut rig = site.rig();
            rig.start().await;
            rig.until_begun().await;
            site.until_slot_is_kept();
            site.primary.psql("insert into t values (1, 0)");
            rig.until_commits(1).await;
            site.kill_primary();
            rig.until(|status| status.last_error.as_ref().is_some_and(|said| said.contains("copy of slot"))).await;
            assert_eq!(rig.status().status, RunState::Retrying);
            site.promote();
            site.standby.psql("insert into t values (2, 0)");
            let rows = [["INSERT public.t + id=1 v=0"], ["INSERT public.t + id=2 v=0"]];
            assert_eq!(rig.transactions(2).await, rows);
            // The one that was left behind comes back.
            rig.stop().await.unwrap();
            site.primary.start_again();
            site.address.move_to(site.primary.port());
            let before = site.primary.psql("select confirmed_flush_lsn from pg_replication_slots where plugin <> ''");
            rig.start().await;
            let error = rig.end().await;
            assert_eq!(error.reason(), "other_timeline", "{error}");
            assert!(error.to_string().contains("timeline 2") && error.to_string().contains("timeline 1"), "{error}");
            let after = site.primary.psql("select confirmed_flush_lsn from pg_replication_slots where plugin <> ''");
            assert_eq!((before, rig.all().await.len()), (after, 2));
        });
    }
}

#[test]
fn a_standby_that_was_behind_the_trail_stops_the_extract() {
    for installation in majors_with_failover() {
        runtime().block_on(async {
            let mut site = Site::new(installation);
            let mut rig = site.rig();
            rig.start().await;
            rig.until_begun().await;
            site.primary.psql("insert into t values (1, 0)");
            rig.until_commits(1).await;
            site.until_slot_is_kept();
            site.until_standby_has_all();
            site.cut_standby_off();
            site.primary.psql("insert into t values (2, 0)");
            rig.until_commits(2).await;
            rig.stop().await.unwrap();
            site.kill_primary();
            site.promote();
            let confirmed = "select confirmed_flush_lsn from pg_replication_slots where slot_name = 'trailcast_e1'";
            let before = site.standby.psql(confirmed);
            rig.start().await;
            let error = rig.end().await;
            assert_eq!(error.reason(), "other_timeline", "{error}");
            let status = rig.status();
            assert_eq!((status.status, status.last_error_reason), (RunState::Failed, Some("other_timeline")));
            // Nor when it has written past the place where the trail stands.
            let position = rig.appender().await.source_position().unwrap().to_string();
            write_past(&site.standby, &position);
            rig.start().await;
            let error = rig.end().await;
            assert_eq!(error.reason(), "other_timeline", "{error}");
            assert!(error.to_string().contains(&position), "{error}");
            assert_eq!(site.standby.psql(confirmed), before);
            assert_eq!(rig.all().await, [["INSERT public.t + id=1 v=0"], ["INSERT public.t + id=2 v=0"]]);
            println!("PostgreSQL {}: {error}", installation.major);
        });
    }
}

#[test]
fn a_standby_that_is_promoted_beside_the_trails_source_stops_the_extract() {
    for installation in majors_with_failover() {
        runtime().block_on(async {
            let mut site = Site::new(installation);
            let beside = site.primary.standby("standby_beside");
            let mut rig = site.rig();
            rig.start().await;
            rig.until_begun().await;
            site.primary.psql("insert into t values (1, 0)");
            rig.until_commits(1).await;
            site.until_kept_by(&beside);
            site.until_slot_is_kept();
            site.until_standby_has_all();
            site.kill_primary();
            site.promote();
            site.standby.psql("insert into t values (2, 0)");
            rig.until_commits(2).await;
            rig.stop().await.unwrap();
            // It has the same number for its timeline, and nothing of what the other one wrote.
            beside.promote();
            let position = rig.appender().await.source_position().unwrap().to_string();
            write_past(&beside, &position);
            site.address.move_to(beside.port());
            rig.start().await;
            let error = rig.end().await;
            assert_eq!(error.reason(), "source_rewound", "{error}");
            assert_eq!(rig.all().await, [["INSERT public.t + id=1 v=0"], ["INSERT public.t + id=2 v=0"]]);
        });
    }
}

/// An extract that runs and reads from a standby.
async fn rig_of_standby(primary: &Postgres, standby: &Postgres) -> Rig {
    let mut rig = Rig::new(standby);
    rig.config.postgresql.publication = Some("trailcast_e1".into());
    rig.start().await;
    // A standby makes a slot when its primary says which transactions run.
    until(|| {
        primary.psql("select pg_log_standby_snapshot()");
        if rig.trail.durable().borrow().source.is_some() { Ok(()) } else { Err("no slot".to_owned()) }
    });
    rig
}

#[test]
fn an_extract_of_a_standby_goes_on_when_that_is_promoted_while_the_extract_is_away() {
    for installation in majors_with_failover() {
        runtime().block_on(async {
            let primary = installation.start();
            primary.psql(TABLE);
            primary.psql("create publication trailcast_e1 for table t");
            let standby = primary.standby("standby_0");
            let mut rig = rig_of_standby(&primary, &standby).await;
            assert_eq!(standby.psql("select failover from pg_replication_slots where slot_name = 'trailcast_e1'"), "f");
            primary.psql("insert into t values (1, 0)");
            rig.until_commits(1).await;
            rig.stop().await.unwrap();
            standby.promote();
            standby.psql("insert into t values (2, 0)");
            rig.start().await;
            let rows = [["INSERT public.t + id=1 v=0"], ["INSERT public.t + id=2 v=0"]];
            assert_eq!(rig.transactions(2).await, rows);
            rig.stop().await.unwrap();
        });
    }
}

#[test]
fn an_extract_of_a_standby_goes_on_when_that_gets_another_timeline_while_it_is_read() {
    for installation in majors_with_failover() {
        for is_promoted in [true, false] {
            runtime().block_on(async {
                let primary = installation.start();
                primary.psql(TABLE);
                primary.psql("create publication trailcast_e1 for table t");
                let (read, other) = (primary.standby("standby_read"), primary.standby("standby_other"));
                let mut rig = rig_of_standby(&primary, &read).await;
                primary.psql("insert into t values (1, 0)");
                rig.until_commits(1).await;
                assert_eq!(rig.trail.source_identity().history().as_deref(), Some("1"));
                let promoted = if is_promoted { &read } else { &other };
                let end = primary.psql("select pg_current_wal_insert_lsn()");
                let has_all = format!("select pg_last_wal_replay_lsn() >= '{end}'");
                for standby in [&read, &other] {
                    until(|| if standby.psql(&has_all) == "t" { Ok(()) } else { Err("it is behind".to_owned()) });
                }
                promoted.promote();
                if !is_promoted {
                    other.adopt(&read, "standby_read");
                }
                promoted.psql("insert into t values (2, 0)");
                rig.until_commits(2).await;
                until(|| {
                    let history = rig.trail.source_identity().history();
                    if history.as_deref() == Some("2") { Ok(()) } else { Err(format!("{history:?}")) }
                });
                // All of that was one session.
                assert_eq!(rig.status().starts, 1);
                rig.stop().await.unwrap();
                rig.start().await;
                promoted.psql("insert into t values (3, 0)");
                let row = |id: u32| vec![format!("INSERT public.t + id={id} v=0")];
                assert_eq!(rig.transactions(3).await, [row(1), row(2), row(3)]);
                rig.stop().await.unwrap();
            });
        }
    }
}

#[test]
fn a_promoted_server_without_the_slot_stops_the_extract() {
    on_each_major(async |primary| {
        primary.psql(TABLE);
        primary.psql("create publication trailcast_e1 for table t");
        primary.psql("select pg_create_logical_replication_slot('theirs', 'pgoutput')");
        let standby = primary.standby("standby_0");
        let mut rig = Rig::new(&primary);
        rig.config.postgresql.slot = Some("theirs".into());
        rig.start().await;
        rig.until_begun().await;
        primary.psql("insert into t values (1, 0)");
        rig.until_commits(1).await;
        rig.stop().await.unwrap();
        let position = rig.appender().await.source_position().unwrap().to_string();
        let has_all = format!("select pg_last_wal_replay_lsn() >= '{position}'");
        until(|| if standby.psql(&has_all) == "t" { Ok(()) } else { Err("it is behind".to_owned()) });
        standby.promote();
        rig.config.source.port = Some(standby.port());
        rig.start().await;
        let error = rig.end().await;
        assert_eq!(error.reason(), "slot_missing", "{error}");
        assert_eq!(rig.all().await.len(), 1);
    });
}

#[test]
fn a_slot_is_made_so_that_standbys_keep_it_and_one_of_ours_from_earlier_becomes_such_a_one() {
    for installation in majors_with_failover() {
        runtime().block_on(async {
            let cluster = installation.start();
            cluster.psql(TABLE);
            let failover = "select failover from pg_replication_slots";
            let mut rig = Rig::running(&cluster).await;
            assert_eq!(cluster.psql(failover), "t");
            rig.stop().await.unwrap();
            cluster.drop_slot(SLOT);
            cluster.psql(&format!("select pg_create_logical_replication_slot('{SLOT}', 'pgoutput')"));
            assert_eq!(cluster.psql(failover), "f");
            let mut rig = Rig::running(&cluster).await;
            rig.until(|status| status.status == RunState::Running).await;
            assert_eq!(cluster.psql(failover), "t");
            rig.stop().await.unwrap();
            // One that somebody named is left as it is.
            cluster.psql("select pg_create_logical_replication_slot('theirs', 'pgoutput')");
            let mut rig = Rig::new(&cluster);
            rig.config.postgresql.slot = Some("theirs".into());
            rig.start().await;
            rig.until(|status| status.status == RunState::Running).await;
            assert_eq!(cluster.psql(&format!("{failover} where slot_name = 'theirs'")), "f");
            rig.stop().await.unwrap();
        });
    }
}

/// The numbers of the stream's rows, up to the first `last`.
fn ids_until(server: &Server, last: u64) -> BTreeSet<u64> {
    let mut subscriber = server.subscribe("s1", "begin=earliest").unwrap();
    let (deadline, mut ids) = (Instant::now() + PATIENCE, BTreeSet::new());
    while !ids.contains(&last) {
        assert!(Instant::now() < deadline, "no {last} after {ids:?}\n{}", server.log_text());
        match subscriber.next(Duration::from_millis(100)) {
            Next::Record(record) => ids.extend(record.json["after"]["id"].as_u64()),
            Next::Quiet => {}
            Next::Ended(end) => panic!("the reading ended: {end:?}"),
        }
    }
    ids
}

#[test]
fn a_server_that_trusts_its_source_is_seen_to_mix_two_histories() {
    if !cfg!(feature = "fault-injection") {
        return skip("the control needs --features fault-injection");
    }
    for installation in majors_with_failover() {
        let mut site = Site::new(installation);
        let server = Server::start_with(&[], &[("TRAILCAST_TEST_TRUST_SOURCE", "1")]);
        capture_from(&server, &site.primary, site.source(), "e1", &["public.*"], "a1");
        server.make_stream("s1", "a1");
        site.primary.psql("insert into t values (1, 0)");
        ids_until(&server, 1);
        until_info(&server, "e1", |info| info["slot"]["failover"] == true);
        site.until_slot_is_kept();
        site.until_standby_has_all();
        site.cut_standby_off();
        site.primary.psql("insert into t select generate_series(2, 300), 0; insert into t values (301, 0)");
        ids_until(&server, 301);
        let position = info(&server, "e1")["position"].as_str().unwrap().to_owned();
        site.kill_primary();
        site.promote();
        let written = write_past(&site.standby, &position);
        site.standby.psql("insert into t values (9000, 0)");
        let seen = ids_until(&server, 9_000);
        let is_there = |id: &&u64| site.standby.psql(&format!("select count(*) from t where id = {id}")) == "1";
        let never_there = seen.iter().filter(|id| !is_there(id)).count();
        let skipped = written.difference(&seen).count();
        println!("PostgreSQL {}: {never_there} rows never were there, {skipped} are skipped", installation.major);
        assert!(never_there > 0 && skipped > 0, "two histories were mixed, and nobody could tell");
    }
}
