//! Goal: a prepared transaction is in the trail if it is committed, once and in the order of commits, whatever is restarted between its two
//! phases. Method: both majors, restarts of the server and kills of the extract between the phases, many prepared at once, small ones
//! and such as come in blocks.

use serde_json::json;

use crate::capture::rig::{Rig, runtime};
use crate::support::Postgres;
use crate::support::postgres::Stop;

fn on_each_major(test: impl AsyncFn(Postgres)) {
    let settings = [("max_prepared_transactions", "50"), ("logical_decoding_work_mem", "64kB")];
    Postgres::on_each_major_with(&settings, |cluster| runtime().block_on(test(cluster)));
}

fn inserted(ids: std::ops::RangeInclusive<u32>) -> Vec<String> {
    ids.map(|id| format!("INSERT public.t + id={id}")).collect()
}

#[test]
fn prepared_transactions_come_when_they_are_committed_and_in_that_order() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key)");
        let mut rig = Rig::running(&cluster).await;
        for number in 0..40_u32 {
            let from = number * 10_000;
            // Every fourth comes in blocks.
            let rows = if number % 4 == 0 { 3_000 } else { 2 };
            cluster.psql(&format!(
                "begin; insert into t select generate_series({from} + 1, {from} + {rows}); savepoint s;
                 insert into t values ({from} + 9999); rollback to s; prepare transaction 'p{number}'"
            ));
        }
        cluster.psql("insert into t values (0)");
        let mut expected = vec![inserted(0..=0)];
        // The last that was prepared first; every third is taken back.
        for number in (0..40_u32).rev() {
            if number % 3 == 0 {
                cluster.psql(&format!("rollback prepared 'p{number}'"));
            } else {
                cluster.psql(&format!("commit prepared 'p{number}'"));
                let rows = if number % 4 == 0 { 3_000 } else { 2 };
                expected.push(inserted(number * 10_000 + 1..=number * 10_000 + rows));
            }
        }
        let seen = rig.transactions(expected.len()).await;
        assert!(seen == expected, "{:?}", seen.iter().map(|of| (&of[0], of.len())).collect::<Vec<_>>());
        rig.stop().await.unwrap();
    });
}

#[test]
fn restarts_between_the_two_phases_lose_and_double_nothing() {
    on_each_major(async |mut cluster| {
        cluster.psql("create table t (id int primary key)");
        let mut rig = Rig::running(&cluster).await;
        for (round, rows) in [3, 5_000, 3, 5_000].into_iter().enumerate() {
            let from = round as u32 * 100_000;
            cluster.psql(&format!(
                "begin; insert into t select generate_series({from} + 1, {from} + {rows}); prepare transaction 'kept';
                 begin; insert into t select generate_series({from} + 50001, {from} + 50000 + {rows}); prepare transaction 'gone'"
            ));
            // What is committed behind the prepare is in the trail, and confirmed to the server.
            cluster.psql(&format!("insert into t values ({from})"));
            rig.until_commits(round as u64 * 2 + 1).await;
            match round {
                0 => {
                    rig.stop().await.unwrap();
                    rig.start().await;
                }
                1 => cluster.restart(Stop::Fast),
                2 => {
                    rig.kill().await;
                    cluster.restart(Stop::Immediate);
                    rig.start().await;
                }
                _ => {
                    // Confirmed beyond both prepares.
                    let passed = "select confirmed_flush_lsn >= pg_current_wal_flush_lsn() from pg_replication_slots";
                    while cluster.psql(passed) != "t" {}
                    rig.kill().await;
                    rig.start().await;
                }
            }
            cluster.psql("rollback prepared 'gone'; commit prepared 'kept'");
            let seen = rig.transactions(round * 2 + 2).await;
            assert!(seen[round * 2] == inserted(from..=from));
            assert!(seen[round * 2 + 1] == inserted(from + 1..=from + rows));
        }
        rig.stop().await.unwrap();
    });
}

#[test]
fn one_that_was_prepared_before_an_extract_that_takes_messages_began_anew_comes_with_them() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key)");
        let mut rig = Rig::with(&cluster, "trailcast_e1", json!({"messages": ["m"]}));
        rig.start().await;
        rig.until_begun().await;
        cluster.psql(
            "begin; select pg_logical_emit_message(true, 'm', 'with it'); insert into t values (1);
             select pg_logical_emit_message(false, 'm', 'before it'); prepare transaction 'p'",
        );
        assert_eq!(rig.transactions(1).await, [["MESSAGE m before it"]]);
        rig.kill().await;
        rig.start().await;
        cluster.psql("commit prepared 'p'");
        assert_eq!(rig.transactions(2).await[1], ["MESSAGE m with it", "INSERT public.t + id=1"]);
        rig.stop().await.unwrap();
    });
}
