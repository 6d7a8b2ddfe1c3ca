//! Goal: a table that is loaded while it changes is in the trail as it is in the source: nothing is missing, no row goes back to an older
//! version, and a kill anywhere only makes it go on. Method: writers change the table by every kind of statement while
//! it is loaded; the trail's records are then applied in order and compared with the table. The control takes the rule away that
//! decides which of two values is newer, behind a synchronous standby that never answers, and sees a row go back.

use std::io::Write as _;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trailcast::capture::{LoadState, LoadStatus, SharedLoads, TableLoadState};
use trailcast::clock::SystemClock;
use trailcast::trail::Trail;
use trailcast::trail::local::disk::SystemDisk;

use crate::capture::applied::Applied;
use crate::capture::rig::{Rig, on_each_major, runtime};
use crate::support::extract::until_info;
use crate::support::{Folder, Postgres, Server, skip, until};

/// A table with values that PostgreSQL keeps apart, and a version that grows with every change.
const TABLE: &str = "create sequence v start 10; create table t (id bigint primary key, v bigint not null, note text, big text); \
    alter table t alter column big set storage external; \
    create function large(n int) returns text language sql as \
    $$ select string_agg(md5(n::text || i::text), '') from generate_series(1, 70) i $$; ";

const COLUMNS: [&str; 4] = ["id", "v", "note", "big"];

fn fill(rows: u32) -> String {
    format!(
        "{TABLE} insert into t select i * 10, 1, 'note ' || i, case when i % 3 = 0 then large(i) else 'small ' || i end \
         from generate_series(1, {rows}) i; analyze t;"
    )
}

/// The table as the source has it.
fn source_lines(cluster: &Postgres) -> Vec<String> {
    let text = cluster.psql("select id, v, note, big from t");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Changes rows of one of two halves of the table, each statement a transaction, as long as it is not told to stop.
pub struct Writer(Child);

impl Writer {
    fn start(cluster: &Postgres, half: u32, rows: u32) -> Self {
        Self::of(
            cluster,
            &format!(
                "create or replace procedure write{half}() language plpgsql as $$ declare k bigint; c int; begin \
             for n in 1..100000 loop \
             k := 10 * (2 * (1 + floor(random() * {rows} / 2))::bigint - {half}); c := floor(random() * 10); \
             if c < 4 then update t set v = nextval('v'), note = 'changed ' || n where id = k; \
             elsif c < 5 then update t set v = nextval('v'), big = large(n) where id = k; \
             elsif c < 7 then update t set v = nextval('v'), id = id + case when id % 10 = 0 then 1 else -1 end + \
               case when id > 10000000 then -20000000 else 20000000 end \
               where id in (k, k + 20000001) and not exists (select from t o where o.id in (k, k + 20000001) and o.id <> t.id); \
             elsif c < 8 then delete from t where id = k; \
             else insert into t values (k, nextval('v'), 'inserted', large(n)) on conflict do nothing; end if; \
             commit; if exists (select from pg_stat_activity where application_name = 'stop') then return; end if; \
             perform pg_sleep(0.001); end loop; end $$; call write{half}();"
            ),
        )
    }

    /// One that runs a script which returns when it sees somebody named `stop`.
    pub fn of(cluster: &Postgres, script: &str) -> Self {
        let mut psql = cluster.psql_command();
        let mut child = psql.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        Self(child)
    }

    /// Waits until it is gone with its server.
    pub fn end(mut self) {
        self.0.wait().unwrap();
    }
}

/// Tells writers to stop, and waits until they have.
pub fn stop(cluster: &Postgres, writers: Vec<Writer>) {
    let mut child = cluster.psql_command().env("PGAPPNAME", "stop").stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"select;\n").unwrap();
    for mut writer in writers {
        assert!(writer.0.wait().unwrap().success(), "a writer failed");
    }
    drop(input);
    child.wait().unwrap();
}

/// A trail whose extract loads first.
pub fn loading(cluster: &Postgres, members: &Value) -> Rig {
    let mut rig = Rig::new(cluster);
    let mut config = serde_json::to_value(&rig.config).unwrap();
    config["snapshot"] = "initial".into();
    for (member, value) in members.as_object().unwrap() {
        config[member] = value.clone();
    }
    rig.config = serde_json::from_value(config).unwrap();
    rig
}

fn load_of(rig: &Rig) -> Option<LoadStatus> {
    rig.status().snapshot
}

pub async fn until_loaded(rig: &Rig) -> LoadStatus {
    rig.until(|status| status.snapshot.as_ref().is_some_and(|load| load.state == LoadState::Done)).await;
    load_of(rig).unwrap()
}

/// Waits until everything that is committed now is in the trail.
pub async fn until_captured(cluster: &Postgres, rig: &Rig) {
    cluster.psql("create table if not exists mark (id int primary key, v int default 0); insert into mark select count(*) from mark");
    let number = cluster.psql("select count(*) from mark").parse::<usize>().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let applied = Applied::of(&rig.trail).await;
        if applied.tables.get("public.mark").is_some_and(|rows| rows.len() >= number) {
            return;
        }
        assert!(Instant::now() < deadline, "{:?}", rig.status());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn compare(cluster: &Postgres, rig: &Rig) -> Applied {
    until_captured(cluster, rig).await;
    let applied = Applied::of(&rig.trail).await;
    assert!(applied.wrong.is_empty(), "{:?}", applied.wrong);
    let (have, want) = (applied.lines("public.t", &COLUMNS), source_lines(cluster));
    assert!(have == want, "{}", difference(&have, &want));
    applied
}

pub fn difference(have: &[String], want: &[String]) -> String {
    let short = |line: &&String| line.chars().take(60).collect::<String>();
    let more: Vec<_> = have.iter().filter(|line| !want.contains(line)).map(|line| short(&line)).take(5).collect();
    let less: Vec<_> = want.iter().filter(|line| !have.contains(line)).map(|line| short(&line)).take(5).collect();
    format!("{} rows in place of {}: {more:?} in place of {less:?}", have.len(), want.len())
}

#[test]
fn rows_that_are_there_are_loaded_and_an_empty_table_is_loaded_too() {
    on_each_major(async |cluster| {
        cluster.psql(&fill(5_000));
        cluster.psql("create table empty (id int primary key)");
        let mut rig = loading(&cluster, &json!({}));
        rig.start().await;
        let load = until_loaded(&rig).await;
        let of = |table: &str| load.tables.iter().find(|shown| shown.table == table).unwrap().clone();
        assert_eq!(
            (of("public.t").state, of("public.t").rows, of("public.t").percent),
            (TableLoadState::Loaded, 5_000, Some(100.0))
        );
        assert_eq!((of("public.empty").state, of("public.empty").rows), (TableLoadState::Loaded, 0));
        let applied = compare(&cluster, &rig).await;
        assert_eq!((applied.loaded, applied.last.as_slice()), (5_000, ["last public.t".to_owned()].as_slice()));
        // Nothing is loaded twice.
        rig.stop().await.unwrap();
        rig.start().await;
        cluster.psql("insert into t values (7, 8, 'later', null)");
        let applied = compare(&cluster, &rig).await;
        assert_eq!(applied.loaded, 5_000);
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_table_that_changes_while_it_is_loaded_is_the_sources_and_so_it_is_after_interruptions() {
    on_each_major(async |cluster| {
        const ROWS: u32 = 20_000;
        cluster.psql(&fill(ROWS));
        let mut rig = loading(&cluster, &json!({"loadRate": 6_000}));
        let writers = (0..2).map(|half| Writer::start(&cluster, half, ROWS)).collect();
        for life in [300, 700, 1_100] {
            rig.start().await;
            tokio::time::sleep(Duration::from_millis(life)).await;
            rig.kill().await;
        }
        rig.start().await;
        let load = until_loaded(&rig).await;
        stop(&cluster, writers);
        let applied = compare(&cluster, &rig).await;
        println!("{} loaded, {} streamed, restarts {}", applied.loaded, applied.streamed, load.tables[0].restarts);
        assert!(applied.streamed > 500, "the writers hardly wrote: {}", applied.streamed);
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_standby_is_loaded_from_while_its_primary_changes() {
    const ROWS: u32 = 6_000;
    let Some(primary) = Postgres::newest().filter(|cluster| cluster.major() >= 17) else { return };
    primary.psql(&fill(ROWS));
    primary.psql(
        "create table mark (id int primary key, v int default 0); create publication trailcast_e1 for table t, mark",
    );
    let standby = primary.standby("standby_0");
    runtime().block_on(async {
        let mut rig = loading(&standby, &json!({"loadRate": 4_000, "postgresql": {"publication": "trailcast_e1"}}));
        let writers = (0..2).map(|half| Writer::start(&primary, half, ROWS)).collect();
        rig.start().await;
        // A standby makes a slot, and knows who has ended, when its primary says which transactions run.
        until(|| {
            primary.psql("select pg_log_standby_snapshot()");
            let load = load_of(&rig);
            if load.as_ref().is_some_and(|load| load.state == LoadState::Done) {
                Ok(())
            } else {
                Err(format!("{load:?}"))
            }
        });
        stop(&primary, writers);
        let applied = compare(&primary, &rig).await;
        assert!(
            applied.loaded > u64::from(ROWS) / 2 && applied.streamed > 100,
            "{} {}",
            applied.loaded,
            applied.streamed
        );
        rig.stop().await.unwrap();
    });
}

/// A server with an extract that loads `t`, whose synchronous standby does not answer while row 10 is changed; and what its trail makes
/// of the table. Says nothing where there is no PostgreSQL.
fn behind_a_silent_standby(by_place: bool) -> Option<Applied> {
    let cluster = Postgres::newest()?;
    cluster.psql(&fill(2_000));
    let environment: &[(&str, &str)] = if by_place { &[("TRAILCAST_TEST_LOAD_BY_PLACE", "1")] } else { &[] };
    let mut server = Server::start_with(&[], environment);
    let body = json!({"source": cluster.source(), "tables": ["public.*"], "trail": "a1"});
    server.post("/services/v2/extracts/e1", &body).expect(200);
    until_info(&server, "e1", |info| info["status"] == "running");
    cluster.psql("alter system set synchronous_standby_names = 'nobody'; select pg_reload_conf()");
    // Its commit is in the log and streamed, and nobody sees it.
    let mut waiting = cluster.psql_command();
    waiting.args(["-c", "update t set v = nextval('v'), note = 'new' where id = 10"]);
    let mut waiting = waiting.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until_info(&server, "e1", |info| info["records"] == 1);
    server.post("/services/v2/extracts/e1/load", &json!({"tables": ["public.t"]})).expect(200);
    let state = if by_place { "done" } else { "waiting" };
    let info = until_info(&server, "e1", |info| info["snapshot"]["state"] == state);
    if !by_place {
        let wait = &info["snapshot"]["waitsFor"];
        assert!(wait["what"].as_str().unwrap().contains("synchronous standby") && wait["pid"].is_u64(), "{info}");
    }
    cluster.psql("alter system reset synchronous_standby_names; select pg_reload_conf()");
    assert!(waiting.wait().unwrap().success());
    until_info(&server, "e1", |info| info["snapshot"]["state"] == "done");
    assert!(server.terminate().success());
    Some(applied_of(server, &cluster))
}

/// What the trail of a server that has ended makes of `t`; checks it against the source if nothing went back.
fn applied_of(server: Server, cluster: &Postgres) -> Applied {
    let applied = applied_of_trail(server);
    if applied.wrong.is_empty() {
        let (have, want) = (applied.lines("public.t", &COLUMNS), source_lines(cluster));
        assert!(have == want, "{}", difference(&have, &want));
    }
    applied
}

/// What the trail of a server that has ended makes of its tables.
pub fn applied_of_trail(server: Server) -> Applied {
    let data: Folder = server.into_data();
    let (disk, clock) = (Arc::new(SystemDisk), Arc::new(SystemClock));
    let trail = Trail::open_read_only(&data.path().join("trails/a1"), disk, clock).unwrap();
    runtime().block_on(Applied::of(&trail))
}

#[test]
fn a_commit_that_is_streamed_before_anybody_sees_it_is_not_undone() {
    let Some(applied) = behind_a_silent_standby(false) else { return };
    assert!(applied.wrong.is_empty(), "{:?}", applied.wrong);
    assert_eq!(applied.loaded, 2_000);
}

#[test]
fn control_a_load_that_compares_places_in_the_log_undoes_a_commit_that_nobody_sees_yet() {
    if !cfg!(feature = "fault-injection") {
        return skip("the control needs --features fault-injection");
    }
    let Some(applied) = behind_a_silent_standby(true) else { return };
    assert_eq!(applied.wrong, ["public.t 10 goes back from 10 to 1"]);
}

#[test]
fn a_server_that_is_killed_while_it_loads_goes_on_where_it_was() {
    const ROWS: u32 = 30_000;
    let Some(cluster) = Postgres::newest() else { return };
    cluster.psql(&fill(ROWS));
    let mut server = Server::start();
    let body = json!({"source": cluster.source(), "tables": ["public.*"], "trail": "a1", "snapshot": "initial", "loadRate": 8_000});
    server.post("/services/v2/extracts/e1", &body).expect(200);
    let writers = (0..2).map(|half| Writer::start(&cluster, half, ROWS)).collect();
    for life in [400, 900, 300, 1_200] {
        std::thread::sleep(Duration::from_millis(life));
        server.kill();
        server.start_again();
    }
    let info = until_info(&server, "e1", |info| info["snapshot"]["state"] == "done");
    assert_eq!(info["snapshot"]["tables"][0]["restarts"].as_u64().unwrap_or_default(), 0, "{info}");
    stop(&cluster, writers);
    cluster.psql("insert into t values (3, 1, 'the last', null)");
    let seen = cluster.psql("select pg_current_wal_flush_lsn()");
    let place = |text: &str| crate::capture::ledger::place(text);
    until_info(&server, "e1", |info| info["position"].as_str().is_some_and(|at| place(at) >= place(&seen)));
    assert!(server.terminate().success());
    let applied = applied_of(server, &cluster);
    assert!(applied.wrong.is_empty(), "{:?}", applied.wrong);
    println!("{} loaded, {} streamed", applied.loaded, applied.streamed);
    assert!(applied.loaded < u64::from(ROWS) + 5_000, "it began again and again: {}", applied.loaded);
}

#[test]
fn loads_are_ordered_paused_and_cancelled_over_rest_and_bad_orders_change_nothing() {
    let Some(cluster) = Postgres::newest() else { return };
    cluster.psql(&fill(3_000));
    cluster.psql(
        "create table keyless (a int); alter table keyless replica identity full; insert into keyless values (1)",
    );
    let mut server = Server::start();
    let body = json!({"source": cluster.source(), "tables": ["public.*"], "trail": "a1", "loadRate": 500});
    server.post("/services/v2/extracts/e1", &body).expect(200);
    until_info(&server, "e1", |info| info["status"] == "running");
    let load = "/services/v2/extracts/e1/load";
    assert_eq!(server.get(load).expect(200).response()["state"], "done");
    for (order, said) in [
        (json!({"tables": []}), "tables"),
        (json!({"tables": ["public.nothing"]}), "public.nothing names no table"),
        (json!({"table": ["public.t"]}), "table"),
        (json!({"tables": ["public.t"], "where": "nonsense = 1"}), "where: the source does not take it for public.t"),
        (json!({"tables": ["public.t"], "where": "true) union select (1"}), "where"),
    ] {
        let refused = server.post(load, &order).expect(400);
        assert!(refused.titles().contains(said), "{}", refused.text());
    }
    assert!(server.get("/services/v2/extracts/e1/info").expect(200).response().get("snapshot").is_none());
    server.patch(load, &json!({"status": "cancelled"})).expect(409);
    server.patch(load, &json!({"status": "paused", "tables": ["public.t"]})).expect(400);

    // Paused before it is ordered: nothing comes.
    server.patch(load, &json!({"status": "paused"})).expect(200);
    let answer = server.post(load, &json!({"tables": ["public.t"], "where": "id > 25000"})).expect(200).response();
    assert_eq!((&answer["state"], &answer["tables"][0]["state"]), (&json!("paused"), &json!("queued")), "{answer}");
    server.patch(load, &json!({"status": "running"})).expect(200);
    let info = until_info(&server, "e1", |info| info["snapshot"]["state"] == "done");
    assert_eq!(info["snapshot"]["tables"][0]["rows"], 500, "{info}");
    server.sample_until("trailcast_load_rows{extract=\"e1\"}", |rows| rows >= 500.0);

    // One that goes on is ended where it is, across a restart too.
    server.post(load, &json!({"tables": ["public.t"]})).expect(200);
    until_info(&server, "e1", |info| info["snapshot"]["tables"][0]["rows"].as_u64().is_some_and(|rows| rows >= 1_000));
    server.kill();
    server.start_again();
    until_info(&server, "e1", |info| info["snapshot"]["state"] == "loading");
    server.patch(load, &json!({"status": "cancelled", "tables": ["public.t"]})).expect(200);
    let info = until_info(&server, "e1", |info| info["snapshot"]["state"] == "done");
    let of = &info["snapshot"]["tables"][0];
    assert_eq!(of["state"], "cancelled", "{info}");
    assert!(of["rows"].as_u64().is_some_and(|rows| (1_000..3_000).contains(&rows)), "{info}");

    // What cannot be loaded says so, and holds nobody up.
    server.post(load, &json!({"tables": ["public.keyless"]})).expect(200);
    let info = until_info(&server, "e1", |info| info["snapshot"]["state"] == "failed");
    let tables = info["snapshot"]["tables"].as_array().unwrap();
    let of = tables.iter().find(|table| table["table"] == "public.keyless").unwrap();
    assert!(of["error"].as_str().unwrap().contains("give it a primary key"), "{info}");
    let ready = server.get_ready_until(|ready| !ready["warnings"].as_array().unwrap().is_empty());
    assert!(ready["warnings"][0].as_str().unwrap().contains("public.keyless"), "{ready}");
    assert!(server.terminate().success());
}

#[test]
fn a_table_that_is_captured_no_more_is_loaded_no_more_and_says_so() {
    let Some(cluster) = Postgres::newest() else { return };
    cluster.psql(&fill(3_000));
    crate::capture::rig::runtime().block_on(async {
        let mut rig = loading(&cluster, &json!({"loadRate": 500}));
        rig.start().await;
        let some = |load: &LoadStatus| load.tables.iter().any(|table| table.rows >= 1_000);
        rig.until(|status| status.snapshot.as_ref().is_some_and(some)).await;
        rig.stop().await.unwrap();
        let mut config = serde_json::to_value(&rig.config).unwrap();
        config["tables"] = json!(["public.mark"]);
        rig.config = serde_json::from_value(config).unwrap();
        rig.start().await;
        let has_failed = |load: &LoadStatus| load.state == LoadState::Failed;
        rig.until(|status| status.snapshot.as_ref().is_some_and(has_failed)).await;
        let load = load_of(&rig).unwrap();
        let of = load.tables.iter().find(|table| table.table == "public.t").unwrap();
        assert!(of.rows < 3_000 && of.error.as_ref().unwrap().contains("is not captured any more"), "{load:?}");
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_load_whose_end_is_in_the_trail_and_could_not_be_noted_is_not_done_twice() {
    let Some(cluster) = Postgres::newest() else { return };
    cluster.psql(&fill(1_000));
    crate::capture::rig::runtime().block_on(async {
        let mut rig = loading(&cluster, &json!({"snapshot": "none"}));
        rig.loads.update(|record| record.order(["public.t".to_owned()], None));
        let ordered = rig.loads.snapshot();
        rig.start().await;
        until_loaded(&rig).await;
        rig.stop().await.unwrap();
        rig.loads = SharedLoads::new(ordered);
        rig.start().await;
        let loads = rig.loads.clone();
        let are_noted = || rig.until(|_| loads.snapshot().orders.is_empty());
        are_noted().await;
        let load = until_loaded(&rig).await;
        assert_eq!((load.tables[0].state, load.tables[0].rows), (TableLoadState::Loaded, 1_000));
        until_captured(&cluster, &rig).await;
        assert_eq!(Applied::of(&rig.trail).await.loaded, 1_000);
        // Another order is another load.
        rig.loads.update(|record| record.order(["public.t".to_owned()], None));
        are_noted().await;
        until_captured(&cluster, &rig).await;
        assert_eq!(Applied::of(&rig.trail).await.loaded, 2_000);
        rig.stop().await.unwrap();
    });
}
