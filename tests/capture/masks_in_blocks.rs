//! Goal: masks hold for transactions that the source sends before their end: in memory, on the disk, and whatever the
//! transaction does to the table.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use trailcast::capture::{RunState, helper_sql};

use crate::capture::masked_everywhere::{contents, holds};
use crate::capture::rig::{Rig, runtime};
use crate::support::extract::until_info;
use crate::support::{Postgres, Server};

/// Blocks of some hundred rows.
const EARLY: &[(&str, &str)] = &[("logical_decoding_work_mem", "64kB")];
/// Stands in no file of ours.
const SECRET: &str = "SeCrEtTeXtS";

fn on_each_major(test: impl AsyncFn(Postgres)) {
    Postgres::on_each_major_with(EARLY, |cluster| runtime().block_on(test(cluster)));
}

/// Rows enough to be sent in blocks.
fn rows(table: &str, from: u32) -> String {
    format!(
        "insert into {table} select g, '{SECRET}' || g, repeat('x', 800) from generate_series({from}, {}) g",
        from + 1999
    )
}

async fn running(cluster: &Postgres, table: &str) -> Rig {
    let mut rig = Rig::new(cluster);
    let masks = json!([{"table": table, "column": "email", "mask": "drop"}]);
    rig.config.columns = serde_json::from_value(masks).unwrap();
    rig.start().await;
    rig.until_begun().await;
    rig
}

fn sent_in_blocks(cluster: &Postgres) -> u64 {
    cluster.psql("select coalesce(sum(stream_txns), 0) from pg_stat_replication_slots").parse().unwrap()
}

fn assert_hidden(records: &[Vec<String>]) {
    let shown = records.iter().flatten().find(|record| record.contains(SECRET));
    assert_eq!(shown, None);
}

#[test]
fn what_is_masked_is_in_no_file_while_its_transaction_is_open() {
    let holds_secret = |folder: &Path| holds(&contents(folder), SECRET);
    Postgres::on_each_major_with(EARLY, |cluster| {
        cluster.psql("create table t (id int primary key, email text, v text)");
        let mut server = Server::start();
        let body = json!({"source": cluster.source(), "tables": ["public.*"], "trail": "a1",
            "columns": [{"table": "public.t", "column": "email", "mask": "drop"}]});
        server.post("/services/v2/extracts/e1", &body).expect(200);
        until_info(&server, "e1", |info| info["status"] == "running");
        let mut open = cluster.psql_command().stdin(std::process::Stdio::piped()).spawn().unwrap();
        let mut input = open.stdin.take().unwrap();
        let mut says = |sql: &str| std::io::Write::write_all(&mut input, sql.as_bytes()).unwrap();
        says("begin;\n");
        for part in 0..20 {
            says(&format!("{};\n", rows("t", part * 10_000)));
        }
        let start = Instant::now();
        let blocks = "select coalesce(sum(stream_count), 0) >= 20 from pg_stat_replication_slots";
        while cluster.psql(blocks) != "t" {
            assert!(start.elapsed() < Duration::from_secs(60), "nothing was sent in blocks");
            assert!(!holds_secret(server.data_dir()));
        }
        until_info(&server, "e1", |info| info["receivedBytes"].as_u64().unwrap() > 20 << 20);
        assert!(!holds_secret(server.data_dir()));
        says("commit;\n");
        drop(input);
        assert!(open.wait().unwrap().success());
        until_info(&server, "e1", |info| info["records"] == 40_000);
        let log = server.last_words();
        assert!(!holds_secret(server.data_dir()) && !log.contains(SECRET));
    });
}

#[test]
fn a_column_that_its_own_large_transaction_renames_does_not_leak() {
    on_each_major(async |cluster| {
        for (name, rename) in [
            ("alone", "alter table t rename email to mail"),
            ("swapped", "alter table t rename email to mail; alter table t add email text"),
        ] {
            cluster.psql("drop table if exists t; create table t (id int primary key, email text, v text)");
            let mut rig = running(&cluster, "*.*").await;
            cluster.psql(&format!("begin; {}; {rename}; {}; commit", rows("t", 0), rows("t", 10_000)));
            rig.until(|status| status.status == RunState::Failed).await;
            let error = rig.end().await;
            assert_eq!(error.reason(), "mask", "{name}: {error}");
            assert_hidden(&rig.all().await);
            cluster.drop_slot("trailcast_e1");
            cluster.psql("drop publication trailcast_e1");
        }
    });
}

#[test]
fn what_a_rolled_back_transaction_did_to_a_table_is_not_remembered() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key, email text, v text)");
        let mut rig = running(&cluster, "*.*").await;
        cluster.psql(&format!(
            "begin; {}; alter table t drop email; alter table t add email text; {}; rollback",
            rows("t", 0),
            "insert into t (id, v, email) select g, repeat('x', 200), 'other' from generate_series(10000, 12000) g",
        ));
        cluster.psql(&format!("insert into t values (1, '{SECRET}', 'v')"));
        rig.until_commits(1).await;
        cluster.psql("alter table t rename email to mail");
        cluster.psql(&format!("insert into t values (2, '{SECRET}', 'v')"));
        let error = rig.end().await;
        assert_eq!(error.reason(), "mask", "{error}");
        assert_eq!(rig.all().await.concat(), ["INSERT public.t + id=1 v=\"v\""]);
    });
}

#[test]
fn a_table_that_was_first_seen_in_a_large_transaction_is_remembered() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key, email text, v text)");
        let mut rig = running(&cluster, "*.*").await;
        cluster.psql(&format!("begin; {}; commit", rows("t", 0)));
        rig.until_commits(1).await;
        assert_eq!(sent_in_blocks(&cluster), 1);
        // Known again, in whichever way it comes.
        rig.kill().await;
        for whole in [false, true] {
            rig.config.postgresql.spill_bytes = whole.then_some(0);
            rig.start().await;
            rig.until(|status| status.status == RunState::Running).await;
            if !whole {
                rig.kill().await;
            }
        }
        cluster.psql("alter table t rename email to mail");
        cluster
            .psql(&format!("insert into t values (1, '{SECRET}', 'v') on conflict do nothing; update t set v = 'w'"));
        let error = rig.end().await;
        assert_eq!(error.reason(), "mask", "{error}");
        assert_hidden(&rig.all().await);
    });
}

#[test]
fn statements_of_an_extract_with_masks_come_without_their_text() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key, email text, v text)");
        cluster.psql(helper_sql());
        let mut rig = running(&cluster, "public.t").await;
        cluster.psql(&format!("alter table t alter email set default '{SECRET}'; insert into t (id) values (1)"));
        let seen = rig.transactions(2).await.concat();
        assert_eq!(seen, ["DDL public.t ALTER TABLE public.t", "INSERT public.t + id=1 v=null"]);
        rig.stop().await.unwrap();
    });
}
