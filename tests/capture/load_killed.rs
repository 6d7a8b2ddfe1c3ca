//! Goal: whatever is killed while tables are loaded and change, applying the trail's records in order gives the source's tables, no row is
//! older than what came before it, and memory stays small. Method: a large table and ten small ones under writers; the server is killed and
//! PostgreSQL restarted at places of the load that are spread over it. The long form has 2,000,000 rows.

use std::time::Instant;

use serde_json::{Value, json};

use crate::capture::ledger::place;
use crate::capture::load::{Writer, applied_of_trail, difference, stop};
use crate::support::extract::{capture, until_info};
use crate::support::postgres::Stop;
use crate::support::{Postgres, Server, process};

const SMALL_TABLES: u32 = 10;
const COLUMNS: [&str; 3] = ["id", "v", "note"];
/// What a server may take beside what it has when nothing is loaded, in KiB.
const GROWTH_KIB_MAX: u64 = 64 << 10;

/// How much is done.
struct Size {
    rows: u32,
    /// Rows a second.
    rate: u32,
    kills: u32,
    restarts: u32,
}

fn size() -> Size {
    match std::env::var_os("TRAILCAST_TEST_LONG") {
        Some(_) => Size { rows: 2_000_000, rate: 40_000, kills: 20, restarts: 3 },
        None => Size { rows: 60_000, rate: 15_000, kills: 4, restarts: 1 },
    }
}

fn tables() -> impl Iterator<Item = String> {
    std::iter::once("t".to_owned()).chain((0..SMALL_TABLES).map(|number| format!("small{number}")))
}

fn fill(cluster: &Postgres, rows: u32) {
    cluster.psql("create sequence v start 10");
    for table in tables() {
        let rows = if table == "t" { rows } else { 100 };
        cluster.psql(&format!(
            "create table {table} (id bigint primary key, v bigint not null, note text); \
             insert into {table} select i, 1, 'note ' || i from generate_series(1, {rows}) i; analyze {table}"
        ));
    }
}

/// Changes rows whose numbers are even, or odd, in transactions of one statement: some are changed, some move, come and go. What is
/// committed need not be flushed: so two of them come to a thousand a second.
fn writer(cluster: &Postgres, half: u32, rows: u32) -> Writer {
    Writer::of(
        cluster,
        &format!(
            "set synchronous_commit = off; \
             create or replace procedure write{half}() language plpgsql as $$ declare k bigint; c int; n int := 0; begin loop \
             n := n + 1; k := 2 * (1 + floor(random() * {rows} / 2))::bigint - {half}; c := floor(random() * 10); \
             if c < 4 then update t set v = nextval('v'), note = 'changed' where id = k; \
             elsif c < 5 then update t set v = nextval('v'), id = -id where id = k and not exists (select from t o where o.id = -k); \
             elsif c < 6 then delete from t where id = case when random() < 0.5 then k else -k end; \
             elsif c < 7 then insert into t values (k, nextval('v'), 'inserted') on conflict do nothing; \
             else execute format('insert into small%s values (%s, nextval(''v''), ''n'') on conflict (id) do update set v = excluded.v', \
               floor(random() * {SMALL_TABLES}), k % 1000); end if; \
             commit; if n % 64 = 0 and exists (select from pg_stat_activity where application_name = 'stop') then return; end if; \
             perform pg_sleep(0.001); end loop; end $$; call write{half}();"
        ),
    )
}

/// Rows of `t` that are in the trail.
fn loaded(info: &Value) -> u64 {
    let tables = info["snapshot"]["tables"].as_array().into_iter().flatten();
    let mut of_t = tables.filter(|table| table["table"] == "public.t");
    of_t.next().and_then(|table| table["rows"].as_u64()).unwrap_or_default()
}

fn source_lines(cluster: &Postgres, table: &str) -> Vec<String> {
    let text = cluster.psql(&format!("select id, v, note from {table}"));
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn tables_that_change_while_the_server_is_killed_and_the_source_restarts_are_the_sources_in_the_end() {
    let size = size();
    let Some(mut cluster) = Postgres::newest() else { return };
    fill(&cluster, size.rows);
    let mut server = Server::start();
    capture(&server, &cluster, "e1", &["public.*"], "a1");
    server.patch("/services/v2/extracts/e1", &json!({"loadRate": size.rate})).expect(200);
    until_info(&server, "e1", |info| info["status"] == "running");
    let idle = process::memory_kib(server.pid(), "VmRSS");
    let start_writers =
        |cluster: &Postgres| -> Vec<Writer> { (0..2).map(|half| writer(cluster, half, size.rows)).collect() };
    let mut writers = start_writers(&cluster);
    let began = Instant::now();
    server.post("/services/v2/extracts/e1/load", &json!({"tables": ["public.*"]})).expect(200);
    let points = size.kills + size.restarts;
    let every = points.div_ceil(size.restarts + 1);
    let mut peak = 0;
    for point in 1..=points {
        let wanted = u64::from(size.rows) * u64::from(point) / u64::from(points + 1);
        until_info(&server, "e1", |info| loaded(info) >= wanted || info["snapshot"]["state"] == "done");
        peak = peak.max(process::memory_kib(server.pid(), "VmHWM"));
        if point.is_multiple_of(every) {
            cluster.restart(Stop::Immediate);
            // The sessions of writers are gone with it.
            writers.drain(..).for_each(Writer::end);
            writers = start_writers(&cluster);
        } else {
            server.kill();
            server.start_again();
        }
    }
    until_info(&server, "e1", |info| info["snapshot"]["state"] == "done");
    let took = began.elapsed();
    stop(&cluster, writers);
    peak = peak.max(process::memory_kib(server.pid(), "VmHWM"));
    cluster.psql("insert into t values (0, nextval('v'), 'the last')");
    let end = cluster.psql("select pg_current_wal_flush_lsn()");
    until_info(&server, "e1", |info| info["position"].as_str().is_some_and(|at| place(at) >= place(&end)));
    assert!(server.terminate().success());
    let applied = applied_of_trail(server);
    assert!(applied.wrong.is_empty(), "{:?}", &applied.wrong[..applied.wrong.len().min(9)]);
    for table in tables() {
        let (have, want) = (applied.lines(&format!("public.{table}"), &COLUMNS), source_lines(&cluster, &table));
        assert!(have == want, "{table}: {}", difference(&have, &want));
    }
    println!(
        "{} loaded, {} streamed, the load took {took:?}, {} kills, {} restarts, {} KiB over idle",
        applied.loaded,
        applied.streamed,
        size.kills,
        size.restarts,
        peak.saturating_sub(idle)
    );
    assert!(applied.streamed > u64::from(points) * 50, "the writers hardly wrote: {}", applied.streamed);
    assert!(peak <= idle + GROWTH_KIB_MAX, "{idle} KiB when nothing was loaded, {peak} at most");
}
