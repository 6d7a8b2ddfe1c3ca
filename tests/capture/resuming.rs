//! Once and complete: over killed connections and restarts, and loudly not at all where changes are lost.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use trailcast::capture::{CaptureError, RunState};

use crate::capture::rig::{Rig, on_each_major};
use crate::support::Postgres;
use crate::support::postgres::Stop;

fn inserts(from: u32, to: u32) -> Vec<Vec<String>> {
    (from..=to).map(|id| vec![format!("INSERT public.t + id={id}")]).collect()
}

fn insert(cluster: &Postgres, from: u32, to: u32) {
    let statements: String = (from..=to).map(|id| format!("insert into t values ({id});")).collect();
    cluster.psql(&statements);
}

#[test]
fn transactions_come_in_commit_order() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key)");
        let mut rig = Rig::running(&cluster).await;
        // The first to begin commits last.
        let mut slow = cluster.psql_command().stdin(Stdio::piped()).spawn().unwrap();
        let mut input = slow.stdin.take().unwrap();
        input.write_all(b"begin; insert into t values (1);\n").unwrap();
        let waiting =
            "select count(*) from pg_stat_activity where state = 'idle in transaction' and query like 'insert%'";
        while cluster.psql(waiting) != "1" {}
        insert(&cluster, 2, 3);
        input.write_all(b"insert into t values (4); commit;\n").unwrap();
        drop(input);
        assert!(slow.wait().unwrap().success());
        let last = vec!["INSERT public.t + id=1".to_owned(), "INSERT public.t + id=4".to_owned()];
        assert_eq!(rig.transactions(3).await, [inserts(2, 3), vec![last]].concat());
        rig.stop().await.unwrap();
    });
}

#[test]
fn killed_connections_and_crashes_lose_and_repeat_nothing() {
    on_each_major(async |mut cluster| {
        cluster.psql("create table t (id int primary key)");
        let mut rig = Rig::running(&cluster).await;
        for round in 0..6 {
            insert(&cluster, round * 50 + 1, round * 50 + 50);
            match round {
                1 => cluster.restart(Stop::Immediate),
                2 => {
                    rig.stop().await.unwrap();
                    rig.start().await;
                }
                3 => cluster.restart(Stop::Fast),
                _ => {
                    drop(cluster.psql("select pg_terminate_backend(active_pid) from pg_replication_slots where active"))
                }
            }
        }
        assert_eq!(rig.transactions(300).await, inserts(1, 300));
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_large_transaction_that_is_cut_comes_whole_the_second_time() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key)");
        let mut rig = Rig::running(&cluster).await;
        cluster.psql("insert into t select generate_series(1, 100000)");
        cluster.psql("select pg_terminate_backend(active_pid) from pg_replication_slots where active");
        let seen = rig.transactions(1).await;
        let expected: Vec<_> = (1..=100_000).map(|id| format!("INSERT public.t + id={id}")).collect();
        assert!(seen[0] == expected, "{} records", seen[0].len());
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_missing_slot_stops_loudly_and_stays_missing() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key)");
        let mut rig = Rig::running(&cluster).await;
        insert(&cluster, 1, 1);
        rig.transactions(1).await;
        rig.stop().await.unwrap();
        cluster.drop_slot("trailcast_e1");
        rig.start().await;
        let error = rig.end().await;
        assert_eq!(error.reason(), "slot_missing", "{error}");
        let status = rig.status();
        assert!(status.status == RunState::Failed && status.last_error.is_some_and(|text| text.contains("lost")));
        assert_eq!(cluster.psql("select count(*) from pg_replication_slots"), "0");
    });
}

#[test]
fn a_slot_ahead_of_the_trail_stops_loudly() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key)");
        let mut rig = Rig::running(&cluster).await;
        insert(&cluster, 1, 1);
        rig.transactions(1).await;
        rig.stop().await.unwrap();
        insert(&cluster, 2, 2);
        cluster.psql("select pg_replication_slot_advance('trailcast_e1', pg_current_wal_lsn())");
        rig.start().await;
        let error = rig.end().await;
        assert_eq!(error.reason(), "slot_ahead", "{error}");
        assert_eq!(rig.all().await, inserts(1, 1));
    });
}

#[test]
fn a_trail_of_another_source_is_not_continued() {
    on_each_major(async |cluster| {
        let mut rig = Rig::running(&cluster).await;
        rig.stop().await.unwrap();
        cluster.psql("create database other");
        rig.config.source.database = "other".into();
        rig.start().await;
        let error = rig.end().await;
        assert!(matches!(error, CaptureError::OtherSource { .. }), "{error}");
    });
}

#[test]
fn a_source_that_is_quiet_for_us_may_still_forget() {
    on_each_major(async |mut cluster| {
        cluster.psql("create schema other; create table other.t (id int); create table t (id int primary key)");
        let mut rig = Rig::running(&cluster).await;
        cluster.psql("insert into other.t select generate_series(1, 1000)");
        let end = cluster.psql("select pg_current_wal_flush_lsn()");
        let confirmed =
            format!("select confirmed_flush_lsn >= '{end}' from pg_replication_slots; select pg_sleep(0.2)");
        let start = Instant::now();
        while !cluster.psql(&confirmed).starts_with('t') {
            assert!(start.elapsed() < Duration::from_secs(40), "{:?}", rig.status());
        }
        // A server that shuts down waits until all of its log is confirmed.
        cluster.psql("insert into other.t values (1)");
        let start = Instant::now();
        cluster.stop(Stop::Fast);
        assert!(start.elapsed() < Duration::from_secs(9), "the shutdown was held up for {:?}", start.elapsed());
        cluster.start_again();
        insert(&cluster, 1, 3);
        assert_eq!(rig.transactions(3).await, inserts(1, 3));
        rig.stop().await.unwrap();
    });
}
