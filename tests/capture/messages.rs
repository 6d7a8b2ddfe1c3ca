//! Logical messages: what an application writes into the log is in the trail once, where it stands, if the extract asks for it.

use serde_json::json;
use trailcast::capture::RunState;

use crate::capture::rig::{Rig, on_each_major};
use crate::support::Postgres;

fn asking(cluster: &Postgres, prefixes: &[&str]) -> Rig {
    Rig::with(cluster, "trailcast_e1", json!({"messages": prefixes}))
}

#[test]
fn messages_come_only_where_they_are_asked_for() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key)");
        let mut silent = Rig::with(&cluster, "silent", json!({}));
        let mut rig = asking(&cluster, &["orders", "audit.*"]);
        for rig in [&mut silent, &mut rig] {
            rig.start().await;
            rig.until_begun().await;
        }
        cluster.psql(
            "begin; insert into t values (1); select pg_logical_emit_message(true, 'orders', 'in the middle');
             insert into t values (2); commit;
             begin; select pg_logical_emit_message(true, 'orders', 'gone'), pg_logical_emit_message(false, 'orders', 'stays');
             insert into t values (3); rollback;
             select pg_logical_emit_message(true, 'audit.x', 'alone'), pg_logical_emit_message(true, 'other', 'nobody''s');
             select pg_logical_emit_message(false, 'trailcast.heartbeat', ''), pg_logical_emit_message(true, 'other', 'x');
             select pg_logical_emit_message(true, 'trailcast.anything', 'ours');
             insert into t values (4)",
        );
        let expected = [
            vec!["INSERT public.t + id=1", "MESSAGE orders in the middle", "INSERT public.t + id=2"],
            vec!["MESSAGE orders stays"],
            vec!["MESSAGE audit.x alone"],
            vec!["INSERT public.t + id=4"],
        ];
        assert_eq!(rig.transactions(4).await, expected);
        let rows = [vec!["INSERT public.t + id=1", "INSERT public.t + id=2"], vec!["INSERT public.t + id=4"]];
        assert_eq!(silent.transactions(2).await, rows);
        rig.stop().await.unwrap();
        silent.stop().await.unwrap();
    });
}

#[test]
fn messages_come_once_wherever_the_extract_is_killed() {
    on_each_major(async |cluster| {
        cluster.psql("create schema other; create table other.t (id int); create table t (id int primary key)");
        cluster.psql("create publication trailcast_e1 for all tables");
        let mut rig = asking(&cluster, &["*"]);
        rig.start().await;
        rig.until_begun().await;
        let mut expected: Vec<Vec<String>> = Vec::new();
        for round in 0..12 {
            // Some before and some behind a transaction of which nothing is captured.
            cluster.psql(&format!(
                "select pg_logical_emit_message(false, 'm', 'a{round}'); insert into other.t values ({round});
                 select pg_logical_emit_message(true, 'm', 'b{round}'); select pg_logical_emit_message(false, 'm', 'c{round}')"
            ));
            expected.extend(["a", "b", "c"].map(|letter| vec![format!("MESSAGE m {letter}{round}")]));
            if round % 4 == 3 {
                cluster.psql(&format!("insert into t values ({round})"));
                expected.push(vec![format!("INSERT public.t + id={round}")]);
            }
            match round % 3 {
                0 => rig.until_commits(expected.len() as u64).await,
                1 => {
                    drop(cluster.psql("select pg_terminate_backend(active_pid) from pg_replication_slots where active"))
                }
                _ => {}
            }
            rig.kill().await;
            rig.start().await;
        }
        assert_eq!(rig.transactions(expected.len()).await, expected);
        rig.until(|status| status.status == RunState::Running).await;
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_large_message_that_nobody_asks_for_is_passed_over_and_one_that_no_trail_takes_is_told() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key)");
        let mut rig = asking(&cluster, &["m"]);
        rig.start().await;
        rig.until_begun().await;
        cluster.psql(
            "begin; select pg_logical_emit_message(true, 'other', repeat('x', 100000000)); insert into t values (1); commit;
             select pg_logical_emit_message(false, 'other', repeat('x', 100000000));
             select pg_logical_emit_message(true, 'm', repeat('x', 3000000))",
        );
        let seen = rig.transactions(2).await;
        assert_eq!(seen[0], ["INSERT public.t + id=1"]);
        assert_eq!(seen[1][0].len(), "MESSAGE m ".len() + 3_000_000);
        cluster.psql("select pg_logical_emit_message(true, 'm', repeat('x', 300000000))");
        let error = rig.end().await.to_string();
        assert!(error.contains("messages (m)") && error.contains("is larger than the"), "{error}");
    });
}

#[test]
fn prefixes_of_messages_are_checked_by_name() {
    on_each_major(async |cluster| {
        for (messages, said) in [(json!(["trailcast.x"]), "program's own"), (json!([""]), "1 to 256 bytes")] {
            let rig = Rig::with(&cluster, "trailcast_e1", json!({"messages": messages}));
            let refused = rig.config.validate().unwrap_err().to_string();
            assert!(refused.contains("postgresql.messages") && refused.contains(said), "{refused}");
        }
    });
}
