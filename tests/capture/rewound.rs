//! Goal: a source whose data went back to an earlier state stops capture, and loses nothing that it wrote since. Method: under
//! load, copy the data folder of a stopped server, let it go on, put the copy back; look at once, or after the server has
//! written past the place where the trail stands. Control: a server that trusts such a source is seen to skip rows.

use std::collections::HashSet;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use trailcast::capture::{CaptureError, RunState};

use crate::capture::rig::{Rig, on_each_major};
use crate::support::extract::{capture, info};
use crate::support::postgres::Stop;
use crate::support::subscriber::Next;
use crate::support::{Folder, Postgres, Server, skip};

const TABLE: &str = "create table t (id bigint generated always as identity primary key, run text);
    create schema other; create table other.t (id int)";
const PATIENCE: Duration = Duration::from_secs(60);

/// Sessions that commit one row after the other until the server stops, or they do.
struct Load(Vec<Child>);

impl Load {
    fn start(cluster: &Postgres, run: &str) -> Self {
        let rows = format!("do $$ begin loop insert into t (run) values ('{run}'); commit; end loop; end $$");
        let session = |_| {
            let mut psql = cluster.psql_command();
            psql.args(["-c", &rows]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            psql.spawn().unwrap()
        };
        Self((0..3).map(session).collect())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for psql in &mut self.0 {
            let _ = psql.kill();
            let _ = psql.wait();
        }
    }
}

/// How often each experiment is made: `TRAILCAST_REWINDS`, ten times in the long run.
fn rounds() -> u32 {
    let chosen = std::env::var("TRAILCAST_REWINDS").ok().and_then(|rounds| rounds.parse().ok());
    chosen.unwrap_or(if std::env::var_os("TRAILCAST_TEST_LONG").is_some() { 10 } else { 1 })
}

/// Captures under load, with a copy of the server's data from the middle of it; the server is stopped again.
async fn captured_beyond_a_copy(cluster: &mut Postgres, how: Stop) -> (Rig, Folder) {
    cluster.psql(TABLE);
    let rig = Rig::running(cluster).await;
    let load = Load::start(cluster, "before");
    rig.until_commits(100).await;
    cluster.stop(Stop::Fast);
    drop(load);
    let copy = cluster.copy_of_data();
    cluster.start_again();
    let (load, seen) = (Load::start(cluster, "lost"), rig.trail.durable().borrow().commit);
    rig.until_commits(seen + 300).await;
    cluster.stop(how);
    drop(load);
    (rig, copy)
}

fn stop_of(round: u32) -> Stop {
    if round.is_multiple_of(2) { Stop::Immediate } else { Stop::Fast }
}

/// Where the trail of an extract that does not run stands, and its next commit number, when all of it is flushed.
async fn settled(rig: &Rig) -> (String, u64) {
    let appender = rig.appender().await;
    let at = (appender.source_position().unwrap().to_string(), appender.next_commit());
    appender.close().await.unwrap();
    at
}

fn has_passed(cluster: &Postgres, position: &str) -> bool {
    cluster.psql(&format!("select pg_current_wal_flush_lsn() > '{position}'")) == "t"
}

/// The slot keeps everything that the trail has not seen of this server.
fn assert_nothing_confirmed_since(cluster: &Postgres, confirmed: &str) {
    assert_eq!(cluster.psql("select confirmed_flush_lsn from pg_replication_slots"), confirmed);
}

/// The slot keeps everything that this server has written since its log ended at `place`. What stands before it the extract may
/// have received from this very server.
fn assert_nothing_confirmed_beyond(cluster: &Postgres, place: &str) {
    let kept = format!("select confirmed_flush_lsn <= '{place}' from pg_replication_slots");
    assert_eq!(cluster.psql(&kept), "t", "beyond {place}: {}", confirmed(cluster));
}

fn log_end(cluster: &Postgres) -> String {
    cluster.psql("select pg_current_wal_insert_lsn()")
}

fn confirmed(cluster: &Postgres) -> String {
    cluster.psql("select confirmed_flush_lsn from pg_replication_slots")
}

#[test]
fn a_server_on_an_older_copy_of_its_data_stops_capture() {
    for round in 0..rounds() {
        on_each_major(async |mut cluster| {
            let (mut rig, copy) = captured_beyond_a_copy(&mut cluster, stop_of(round)).await;
            cluster.put_back(&copy);
            cluster.start_again();
            let confirmed = confirmed(&cluster);
            let error = rig.end().await;
            assert!(matches!(error, CaptureError::SourceRewound { .. }), "{error}");
            let said = error.to_string();
            assert!(said.contains("its log ends at") && said.contains(&settled(&rig).await.0), "{said}");
            let status = rig.status();
            assert_eq!((status.status, status.last_error_reason), (RunState::Failed, Some("source_rewound")));
            assert_nothing_confirmed_since(&cluster, &confirmed);
            println!("PostgreSQL {}, round {round}: {said}", cluster.major());
        });
    }
}

#[test]
fn a_server_on_an_older_copy_stops_capture_after_it_has_written_past_the_trails_position_too() {
    for round in 0..rounds() {
        on_each_major(async |mut cluster| {
            let (mut rig, copy) = captured_beyond_a_copy(&mut cluster, stop_of(round)).await;
            rig.stop().await.unwrap();
            let (position, next) = settled(&rig).await;
            cluster.put_back(&copy);
            cluster.start_again();
            let written_from = log_end(&cluster);
            let _load = Load::start(&cluster, "again");
            while !has_passed(&cluster, &position) {}
            rig.start().await;
            let error = rig.end().await;
            assert!(matches!(error, CaptureError::SourceRewound { .. }), "{error}");
            assert!(!error.to_string().contains("its log ends at"), "{error}");
            assert_nothing_confirmed_beyond(&cluster, &written_from);
            assert_eq!(settled(&rig).await, (position, next));
            println!("PostgreSQL {}, round {round}: {error}", cluster.major());
        });
    }
}

#[test]
fn a_position_without_a_transaction_does_not_hide_what_a_server_on_an_older_copy_wrote_before_it() {
    on_each_major(async |mut cluster| {
        cluster.psql(TABLE);
        let mut rig = Rig::running(&cluster).await;
        cluster.psql("insert into t (run) values ('before')");
        rig.transactions(1).await;
        cluster.psql("insert into other.t select generate_series(1, 1000)");
        // A server that shuts down has everything confirmed, which the trail notes as a position alone.
        cluster.stop(Stop::Fast);
        let copy = cluster.copy_of_data();
        cluster.start_again();
        rig.until(|status| status.status == RunState::Running && status.starts == 2).await;
        cluster.psql("insert into other.t select generate_series(1, 10000)");
        cluster.stop(Stop::Fast);
        rig.stop().await.unwrap();
        let (position, next) = settled(&rig).await;
        assert_eq!(next, 2);
        cluster.put_back(&copy);
        cluster.start_again();
        let written_from = log_end(&cluster);
        cluster.psql("insert into t (run) values ('again')");
        while !has_passed(&cluster, &position) {
            cluster.psql("insert into other.t select generate_series(1, 1000)");
        }
        rig.start().await;
        let error = rig.end().await;
        assert!(matches!(error, CaptureError::SourceRewound { .. }), "{error}");
        assert!(error.to_string().contains("it sends transaction"), "{error}");
        assert_nothing_confirmed_beyond(&cluster, &written_from);
    });
}

#[test]
fn what_a_server_sends_again_is_known_although_patterns_and_publication_have_changed() {
    on_each_major(async |mut cluster| {
        cluster.psql(
            "create table t (id int primary key); create table u (id int primary key);
             create table v (id int primary key); create table w (id int primary key);
             create publication p for table t, u, w",
        );
        let mut rig = Rig::new(&cluster);
        rig.config.postgresql.publication = Some("p".into());
        rig.config.tables = serde_json::from_str("[\"public.t\"]").unwrap();
        rig.start().await;
        rig.until_begun().await;
        cluster.psql("begin; insert into u values (1); insert into t values (1); insert into w values (2); commit");
        assert_eq!(rig.transactions(1).await, [["INSERT public.t + id=1"]]);
        rig.stop().await.unwrap();
        cluster
            .psql("alter publication p drop table w; alter publication p add table v; alter table t add column n int");
        cluster.restart(Stop::Immediate);
        rig.config.tables = serde_json::from_str("[\"public.t\", \"public.u\", \"public.v\"]").unwrap();
        rig.start().await;
        cluster.psql("insert into v values (3)");
        assert_eq!(rig.transactions(2).await, [["INSERT public.t + id=1"], ["INSERT public.v + id=3"]]);
        rig.stop().await.unwrap();
    });
}

/// The values of `run` in the stream's records, up to the first of `last`.
fn runs_until(server: &Server, last: &str) -> Vec<String> {
    let mut subscriber = server.subscribe("s1", "begin=earliest").unwrap();
    let (deadline, mut runs) = (Instant::now() + PATIENCE, Vec::new());
    while !runs.iter().any(|run| run == last) {
        assert!(Instant::now() < deadline, "no {last} after {} rows\n{}", runs.len(), server.log_text());
        match subscriber.next(Duration::from_millis(100)) {
            Next::Record(record) => runs.extend(record.json["after"]["run"].as_str().map(str::to_owned)),
            Next::Quiet => {}
            Next::Ended(end) => panic!("the reading ended: {end:?}"),
        }
    }
    runs
}

#[test]
fn a_server_that_trusts_its_source_is_seen_to_skip_rows_of_one_that_went_back() {
    if !cfg!(feature = "fault-injection") {
        return skip("the control needs --features fault-injection");
    }
    Postgres::on_each_major(|mut cluster| {
        cluster.psql(TABLE);
        let server = Server::start_with(&[], &[("TRAILCAST_TEST_TRUST_SOURCE", "1")]);
        capture(&server, &cluster, "e1", &["public.*"], "a1");
        server.make_stream("s1", "a1");
        cluster.psql("insert into t (run) values ('before')");
        runs_until(&server, "before");
        cluster.stop(Stop::Fast);
        let copy = cluster.copy_of_data();
        cluster.start_again();
        cluster
            .psql("insert into t (run) select 'lost' from generate_series(1, 300); insert into t (run) values ('end')");
        runs_until(&server, "end");
        let position = info(&server, "e1")["position"].as_str().unwrap().to_owned();
        cluster.stop(Stop::Immediate);
        cluster.put_back(&copy);
        cluster.start_again();
        let mut again = HashSet::new();
        while !has_passed(&cluster, &position) {
            let run = format!("again {}", again.len());
            cluster.psql(&format!("insert into t (run) values ('{run}')"));
            again.insert(run);
        }
        cluster.psql("insert into t (run) values ('last')");
        let seen: HashSet<String> = runs_until(&server, "last").into_iter().collect();
        let skipped = again.difference(&seen).count();
        println!("PostgreSQL {}: {skipped} of {} rows skipped", cluster.major(), again.len());
        assert!(skipped > 0, "a source that went back was trusted, and nothing was lost");
    });
}
