//! Goal: a transaction that the source sends before its end is in the trail as if it had come whole, and only if it was committed.
//! Method: two extracts of one source, one that takes large transactions in blocks and one that has them sent whole, with a
//! server that sends blocks early; their trails are compared. Kills in between, and what cannot be held.

use std::collections::HashSet;
use std::io::Write;
use std::process::{Child, ChildStdin, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use trailcast::capture::RunState;
use trailcast::record::SchemaId;

use crate::capture::rig::{Rig, runtime};
use crate::support::extract::{capture, info};
use crate::support::postgres::Stop;
use crate::support::{Postgres, Server, process};

/// Blocks of some hundred rows.
const EARLY: &[(&str, &str)] = &[("logical_decoding_work_mem", "64kB"), ("max_connections", "250")];

pub fn on_each_major(test: impl AsyncFn(Postgres)) {
    Postgres::on_each_major_with(EARLY, |cluster| runtime().block_on(test(cluster)));
}

/// Transactions that a slot has sent in blocks.
pub fn sent_in_blocks(cluster: &Postgres, slot: &str) -> u64 {
    let sql = format!("select stream_txns from pg_stat_replication_slots where slot_name = '{slot}'");
    cluster.psql(&sql).parse().unwrap()
}

/// Waits until a slot has sent so many blocks, and says how many transactions they are of.
pub fn until_sent_in_blocks(cluster: &Postgres, slot: &str, blocks: u64) -> u64 {
    let sql = format!("select stream_count >= {blocks} from pg_stat_replication_slots where slot_name = '{slot}'");
    let start = Instant::now();
    while cluster.psql(&sql) != "t" {
        assert!(start.elapsed() < Duration::from_secs(60), "slot {slot} has sent no blocks");
    }
    sent_in_blocks(cluster, slot)
}

/// A session with a transaction that goes on.
pub struct Session {
    psql: Child,
    input: Option<ChildStdin>,
}

impl Session {
    pub fn start(cluster: &Postgres) -> Self {
        let mut psql = cluster.psql_command().stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let input = psql.stdin.take();
        Self { psql, input }
    }

    pub fn says(&mut self, sql: &str) {
        writeln!(self.input.as_ref().unwrap(), "{sql}").unwrap();
    }

    pub fn ends(mut self) {
        drop(self.input.take());
        assert!(self.psql.wait().unwrap().success());
    }
}

/// An extract in blocks and one of whole transactions, both at work.
async fn both(cluster: &Postgres) -> (Rig, Rig) {
    let mut blocks = Rig::with(cluster, "blocks", json!({}));
    let mut whole = Rig::with(cluster, "whole", json!({"spillBytes": 0}));
    for rig in [&mut blocks, &mut whole] {
        rig.start().await;
        rig.until_begun().await;
    }
    (blocks, whole)
}

const ROWS: &str = "insert into t select g, repeat(md5(g::text), 4) from generate_series(1, 3000) g";

#[test]
fn a_transaction_in_blocks_is_what_it_is_when_it_comes_whole() {
    on_each_major(async |cluster| {
        cluster.psql(
            "create table t (id int primary key, v text); create table u (id int primary key, big text, n int not null);
             create table other (id int, v text); alter table other replica identity full;
             create domain percent as int; create table d (id int primary key, p percent, a percent[])",
        );
        let (mut blocks, mut whole) = both(&cluster).await;
        cluster.psql(&format!(
            "{ROWS}; update t set v = v || 'x' where id % 2 = 0; delete from t where id % 3 = 0;
             begin; insert into u select g, repeat(md5(g::text), 300), g from generate_series(1, 200) g;
             update u set n = n + 1; update u set id = id + 1000 where id < 10; truncate t; {ROWS};
             insert into d select g, g, array[g, null] from generate_series(1, 2000) g;
             insert into other select g, 'o' from generate_series(1, 2000) g; update other set v = null; commit;
             begin; {}; rollback;
             alter table t add c int not null default 7; update t set v = null;
             begin; alter table t drop c; insert into u values (5000, 'x', 1); commit; update t set v = 'y'",
            ROWS.replace("t select g", "t select g + 10000"),
        ));
        let wanted = whole.transactions(7).await;
        let seen = blocks.transactions(7).await;
        assert!(wanted.iter().map(Vec::len).sum::<usize>() > 20_000, "{:?}", wanted.iter().map(Vec::len));
        for (seen, wanted) in seen.iter().zip(&wanted) {
            assert!(seen == wanted, "{} and {} records", seen.len(), wanted.len());
        }
        let columns = |schemas: Vec<std::sync::Arc<trailcast::record::TableSchema>>| -> Vec<_> {
            schemas.iter().map(|schema| (schema.table.clone(), schema.columns.clone())).collect()
        };
        assert!(columns(blocks.schemas().await) == columns(whole.schemas().await));
        assert!(sent_in_blocks(&cluster, "blocks") >= 6);
        assert_eq!(sent_in_blocks(&cluster, "whole"), 0);
        blocks.stop().await.unwrap();
        whole.stop().await.unwrap();
    });
}

#[test]
fn what_is_rolled_back_never_comes_and_a_third_of_ten_thousand_subtransactions_does_not() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key, v text)");
        let (mut blocks, mut whole) = both(&cluster).await;
        cluster.psql(
            "do $$ begin for i in 1..10000 loop
               begin
                 insert into t values (i, repeat('x', 50));
                 if i % 3 = 0 then raise exception 'no'; end if;
               exception when raise_exception then null;
               end;
             end loop; end $$;
             begin; insert into t values (20000, 'a'); savepoint a; insert into t select g, 'b' from generate_series(20001, 22000) g;
             savepoint b; insert into t select g, 'c' from generate_series(22001, 24000) g; release b; rollback to a;
             insert into t select g, 'd' from generate_series(24001, 26000) g; alter table t add w int;
             insert into t select g, 'e', 1 from generate_series(26001, 28000) g; rollback to a;
             insert into t select g, 'f' from generate_series(28001, 30000) g; commit;",
        );
        let wanted = whole.transactions(2).await;
        assert_eq!((wanted[0].len(), wanted[1].len()), (6_667, 2_001));
        assert!(blocks.transactions(2).await == wanted);
        assert!(sent_in_blocks(&cluster, "blocks") >= 2);
        // Nothing that was rolled back has left a description of the table behind.
        assert_eq!(blocks.last_schema().await.columns.len(), 2);
        assert_eq!(blocks.last_schema().await.id, SchemaId(1));
        blocks.stop().await.unwrap();
        whole.stop().await.unwrap();
    });
}

#[test]
fn two_hundred_transactions_that_are_open_at_once_come_in_the_order_of_their_commits() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int, who int)");
        cluster.psql("alter table t replica identity full");
        let mut rig = Rig::running(&cluster).await;
        let mut sessions: Vec<_> = (0..200).map(|_| Session::start(&cluster)).collect();
        for (who, session) in sessions.iter_mut().enumerate() {
            session.says(&format!("begin; insert into t select g, {who} from generate_series(1, 300) g;"));
        }
        let open = "select count(*) from pg_stat_activity where state = 'idle in transaction'";
        while cluster.psql(open) != "200" {}
        until_sent_in_blocks(&cluster, "trailcast_e1", 100);
        for (who, session) in sessions.iter_mut().enumerate() {
            session.says(&format!("insert into t select g, {who} from generate_series(301, 600) g;"));
        }
        // The last to begin first, every fourth not at all.
        let mut committed = Vec::new();
        while let Some(mut session) = sessions.pop() {
            let who = sessions.len();
            session.says(if who % 4 == 0 { "rollback;" } else { "commit;" });
            session.ends();
            if who % 4 != 0 {
                committed.push(who);
            }
        }
        let seen = rig.transactions(committed.len()).await;
        for (records, who) in seen.iter().zip(committed) {
            let expected = (1..=600).map(|id| format!("INSERT public.t + id={id} who={who}"));
            assert!(records.iter().eq(expected.collect::<Vec<_>>().iter()), "{who}: {}", records.len());
        }
        assert!(sent_in_blocks(&cluster, "trailcast_e1") > 100);
        rig.until(|status| status.held_bytes == 0).await;
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_transaction_that_came_in_blocks_is_known_again_when_it_comes_whole_and_the_other_way_round() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key, v text)");
        let mut rig = Rig::with(&cluster, "trailcast_e1", json!({}));
        rig.start().await;
        rig.until_begun().await;
        for round in 0..4_u64 {
            let from = round * 10_000;
            cluster.psql(&format!(
                "begin; insert into t select g, repeat('x', 99) from generate_series({from}, {from} + 2000) g;
                 savepoint a; delete from t; rollback to a; update t set v = 'y' where id > {from}; commit"
            ));
            rig.until_commits(round + 1).await;
            // Before the next status update: the server does not know that the trail has it.
            rig.kill().await;
            let spill_bytes = if round % 2 == 0 { Some(0) } else { None };
            rig.config.postgresql.spill_bytes = spill_bytes;
            let sent_again =
                "select confirmed_flush_lsn < pg_current_wal_flush_lsn() - 100000 from pg_replication_slots";
            assert_eq!(cluster.psql(sent_again), "t");
            rig.start().await;
        }
        cluster.psql("insert into t values (-1, 'last')");
        let seen = rig.transactions(5).await;
        assert_eq!(seen[4], ["INSERT public.t + id=-1 v=\"last\""]);
        for records in &seen[..4] {
            assert_eq!(records.len(), 4_001);
        }
        rig.stop().await.unwrap();
    });
}

#[test]
fn kills_in_the_middle_of_a_large_transaction_lose_and_double_nothing() {
    on_each_major(async |mut cluster| {
        cluster.psql("create table t (id int primary key, v text)");
        let mut rig = Rig::running(&cluster).await;
        let mut large = Session::start(&cluster);
        large.says("begin; insert into t select g, repeat('x', 99) from generate_series(1, 20000) g;");
        until_sent_in_blocks(&cluster, "trailcast_e1", 10);
        cluster.psql("insert into t values (-1, 'between')");
        rig.until_commits(1).await;
        rig.kill().await;
        rig.start().await;
        cluster.psql("select pg_terminate_backend(active_pid) from pg_replication_slots where active");
        large.says("insert into t select g, repeat('x', 99) from generate_series(20001, 40000) g; commit;");
        large.ends();
        cluster.psql("select pg_terminate_backend(active_pid) from pg_replication_slots where active");
        cluster.restart(Stop::Immediate);
        let seen = rig.transactions(2).await;
        assert_eq!((seen[0].len(), seen[1].len()), (1, 40_000));
        let distinct: HashSet<_> = seen[1].iter().collect();
        assert_eq!(distinct.len(), 40_000);
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_transaction_that_cannot_be_held_comes_whole() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key, v text)");
        let mut rig = Rig::with(&cluster, "trailcast_e1", json!({"spillBytes": 1}));
        rig.start().await;
        rig.until_begun().await;
        // More than is held in memory.
        cluster.psql("insert into t select g, repeat(md5(g::text), 8) from generate_series(1, 100000) g");
        let seen = rig.transactions(1).await;
        assert_eq!(seen[0].len(), 100_000);
        let status = rig.status();
        assert_eq!((status.retries, status.starts), (1, 2), "{status:?}");
        rig.until(|status| status.status == RunState::Running && status.held_bytes == 0).await;
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_large_transaction_into_a_table_that_it_has_made_itself_comes_whole() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key)");
        let mut rig = Rig::running(&cluster).await;
        cluster.psql(
            "begin; create type mood as enum ('fine'); create table made (id int primary key, v text not null, m mood[]);
             insert into made select g, repeat('x', 99), '{fine}' from generate_series(1, 5000) g; commit",
        );
        let seen = rig.transactions(1).await;
        assert_eq!(seen[0].len(), 5_000);
        assert!(seen[0][0].ends_with("m=[\"fine\"]"), "{}", seen[0][0]);
        let schema = rig.last_schema().await;
        let columns: Vec<_> = schema.columns.iter().map(|of| (of.sql_type.as_str(), of.nullable, of.key)).collect();
        assert_eq!(columns, [("integer", false, true), ("text", false, false), ("mood[]", true, false)]);
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_large_value_of_a_table_that_is_not_captured_is_no_sign_of_a_source_that_went_back() {
    on_each_major(async |cluster| {
        cluster.psql(
            "create schema other; create table other.t (id int, v text); create table t (id int primary key, v text)",
        );
        let mut rig = Rig::with(&cluster, "trailcast_e1", json!({"spillBytes": 0}));
        cluster.psql("create publication trailcast_e1 for all tables");
        rig.start().await;
        rig.until_begun().await;
        for round in 1..=3_u64 {
            cluster.psql(&format!(
                "begin; insert into t values ({round}, repeat('y', 3000000)); insert into other.t values ({round}, repeat('x', 5000000)); commit"
            ));
            rig.until_commits(round).await;
            rig.kill().await;
            rig.start().await;
        }
        cluster.psql("insert into t values (-1, 'last')");
        let seen = rig.transactions(4).await;
        assert_eq!(seen[3], ["INSERT public.t + id=-1 v=\"last\""]);
        rig.stop().await.unwrap();
    });
}

/// How much memory a server may take for a large transaction, in KiB.
const GROWTH_KIB_MAX: u64 = 128 << 10;

#[test]
fn a_large_transaction_takes_little_memory() {
    // 250 MB, and 5 GB in the long form.
    let rows = if std::env::var_os("TRAILCAST_TEST_LONG").is_some() { 5_000_000 } else { 250_000 };
    let Some(cluster) = Postgres::newest() else { return };
    cluster.psql("create table t (id int primary key, v text)");
    let server = Server::start();
    capture(&server, &cluster, "e1", &["public.*"], "a1");
    cluster.psql("insert into t select g, repeat('x', 900) from generate_series(-100000, -1) g");
    let patience = Duration::from_secs(1_200);
    let until_records = |number: u64| {
        let start = Instant::now();
        let mut held = 0;
        loop {
            let info = info(&server, "e1");
            held = held.max(info["heldBytes"].as_u64().unwrap());
            if info["records"].as_u64() >= Some(number) {
                return held;
            }
            assert!(start.elapsed() < patience && info["retries"] == 0, "{info}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    until_records(100_000);
    let before = process::memory_kib(server.pid(), "VmHWM");
    let start = Instant::now();
    let (committed, held) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            cluster.psql(&format!("insert into t select g, repeat('x', 900) from generate_series(1, {rows}) g"));
            start.elapsed()
        });
        let held = until_records(100_000 + rows);
        (writer.join().unwrap(), held)
    });
    let growth = process::memory_kib(server.pid(), "VmHWM").saturating_sub(before);
    println!(
        "{rows} rows: committed after {committed:?}, in the trail after {:?}; {held} bytes held, {growth} KiB more memory",
        start.elapsed()
    );
    assert!(held > 100 << 20, "only {held} bytes were held");
    assert!(growth <= GROWTH_KIB_MAX, "{before} KiB before, {growth} KiB more");
}
