//! Goal: a captured database that nobody writes to lets its server forget the log of the others, with heartbeats and without.
//! Method: another database of the server is busy; the slot's own account says what is kept.

use serde_json::json;
use trailcast::capture::RunState;

use crate::capture::rig::{Rig, on_each_major};
use crate::support::{Postgres, until};

const KEPT_FROM: &str = "select restart_lsn from pg_replication_slots";

fn log_end(cluster: &Postgres) -> String {
    cluster.psql("select pg_current_wal_insert_lsn()")
}

#[test]
fn an_idle_database_holds_no_log_of_a_busy_server() {
    on_each_major(async |cluster| {
        cluster.psql("create database busy; create table t (id int primary key)");
        let mut rig = Rig::running(&cluster).await;
        rig.until(|status| status.status == RunState::Running).await;
        let busy = || {
            let done = cluster
                .psql_command()
                .args(["-d", "busy", "-c", "create table if not exists b (t text)"])
                .args(["-c", "insert into b select repeat('x', 1000) from generate_series(1, 200)"])
                .args(["-c", "checkpoint"])
                .output()
                .unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        };
        busy();
        let written = log_end(&cluster);
        let is_let_go = format!("select restart_lsn > '{written}' from pg_replication_slots");
        until(|| {
            busy();
            if cluster.psql(&is_let_go) == "t" { Ok(()) } else { Err(cluster.psql(KEPT_FROM)) }
        });
        rig.stop().await.unwrap();
    });
}

#[test]
fn heartbeats_go_into_the_log_while_the_extract_runs_and_nobody_sees_them() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key)");
        let mut rig = Rig::new(&cluster);
        rig.config.postgresql = serde_json::from_value(json!({"heartbeatSeconds": 1})).unwrap();
        rig.start().await;
        rig.until_begun().await;
        cluster.psql("select pg_create_logical_replication_slot('look', 'pgoutput')");
        let beats = "select count(*) from pg_logical_slot_peek_binary_changes('look', null, null, 'proto_version', '1', \
                     'publication_names', 'trailcast_e1', 'messages', 'true') \
                     where encode(data, 'escape') like '%trailcast.heartbeat%'";
        until(|| {
            let seen: u32 = cluster.psql(beats).parse().unwrap();
            if seen >= 2 { Ok(()) } else { Err(format!("{seen} beats")) }
        });
        cluster.psql("insert into t values (1)");
        assert_eq!(rig.transactions(1).await, [["INSERT public.t + id=1"]]);
        rig.stop().await.unwrap();
    });
}
