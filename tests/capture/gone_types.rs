//! Goal: what a value becomes does not depend on when it is read. Method: rows of types that are dropped, or not to be seen
//! yet, when their rows are.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::capture::rig::{Rig, on_each_major};
use crate::support::Postgres;

#[test]
fn a_value_keeps_its_kind_when_its_type_and_its_table_are_gone() {
    on_each_major(async |cluster| {
        let mut rig = Rig::running(&cluster).await;
        rig.stop().await.unwrap();
        cluster.psql(
            "create domain percent as int; create domain ints as int[]; create domain part as percent check (value < 9);
             create domain price as numeric(12,2); create type mood as enum ('sad', 'ok'); create domain doc as jsonb;
             create table t (id int primary key, p percent, i ints, n part, d price, m mood, j doc);
             insert into t values (1, 5, '{1,2}', 7, 1.50, 'ok', '{\"a\": 1}');
             drop table t; drop domain part, percent, ints, price, doc; drop type mood;",
        );
        rig.start().await;
        let expected = r#"INSERT public.t + id=1 p=5 i=[1,2] n=7 d=1.50 m="ok" j={"a":1}"#;
        assert_eq!(rig.transactions(1).await, [[expected]]);
        let schema = rig.last_schema().await;
        let types: Vec<_> = schema.columns.iter().map(|column| column.sql_type.as_str()).collect();
        assert_eq!(types, ["integer", "integer", "integer[]", "integer", "numeric", "mood", "jsonb"]);
        let keys: Vec<_> = schema.columns.iter().map(|column| column.key).collect();
        assert_eq!(keys, [true, false, false, false, false, false, false]);
        rig.stop().await.unwrap();
    });
}

#[test]
fn what_nobody_knows_any_more_is_said_and_what_the_trail_knows_is_kept() {
    on_each_major(async |cluster| {
        let mut rig = Rig::running(&cluster).await;
        cluster.psql(
            "create domain percent as int; create table known (id int primary key, p percent, ps percent[]);
             insert into known values (1, 1, '{1,2}');",
        );
        rig.transactions(1).await;
        rig.stop().await.unwrap();
        cluster.psql(
            "insert into known values (2, 3, '{3,4}'); create table fresh (id int primary key, ps percent[]);
             insert into fresh values (1, '{5,6}'); drop table known, fresh; drop domain percent;",
        );
        rig.start().await;
        assert_eq!(
            rig.transactions(3).await.concat(),
            [
                "INSERT public.known + id=1 p=1 ps=[1,2]",
                r#"INSERT public.known + id=2 p=3 ps=["3","4"]"#,
                r#"INSERT public.fresh + id=1 ps="{5,6}""#,
            ]
        );
        let schemas = rig.schemas().await;
        let types = |at: usize| schemas[at].columns.iter().map(|column| column.sql_type.as_str()).collect::<Vec<_>>();
        assert_eq!(types(0), ["integer", "percent", "percent[]"]);
        assert_eq!(types(1), ["integer", "percent", "unknown[]"]);
        assert_eq!(types(2), ["integer", "unknown"]);
        rig.stop().await.unwrap();
    });
}

/// Makes every commit wait for that standby.
fn wait_for_standby(cluster: &Postgres, name: &str) {
    cluster.psql(&format!("alter system set synchronous_standby_names = '{name}'; select pg_reload_conf();"));
    while cluster.psql("show synchronous_standby_names") != name {}
}

/// A transaction that makes a type and uses it, under way.
fn commit_with_type(cluster: &Postgres, number: usize) -> Child {
    let sql = format!(
        "begin; create domain d{number} as int; create table u{number} (id int primary key, ps d{number}[]);
         insert into u{number} values (1, '{{1,2}}'); commit;"
    );
    let mut command = cluster.psql_command();
    command.args(["-c", &sql]).stdin(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_type_that_the_catalogue_does_not_show_yet_is_waited_for() {
    on_each_major(async |cluster| {
        let mut rig = Rig::running(&cluster).await;
        for attempt in 0..10 {
            wait_for_standby(&cluster, "nobody");
            let begun = Instant::now();
            let mut commit = commit_with_type(&cluster, attempt);
            let waits = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'";
            while cluster.psql(waits) != "1" {}
            // The row is on its way, and the type cannot be seen.
            rig.until(|status| status.received_bytes > 0).await;
            wait_for_standby(&cluster, "");
            let waited = begun.elapsed();
            assert!(commit.wait().unwrap().success());
            let seen = rig.transactions(attempt + 1).await.pop().unwrap();
            if waited < Duration::from_secs(4) {
                assert_eq!(seen, [format!("INSERT public.u{attempt} + id=1 ps=[1,2]")]);
                rig.stop().await.unwrap();
                return;
            }
            // So slow that the extract may have given up waiting: this tells nothing.
        }
        panic!("the cluster is too slow to tell");
    });
}

#[test]
fn a_source_that_waits_for_us_is_not_kept_waiting() {
    on_each_major(async |cluster| {
        let mut rig = Rig::running(&cluster).await;
        wait_for_standby(&cluster, "trailcast");
        let mut commit = commit_with_type(&cluster, 0);
        rig.transactions(1).await;
        assert!(commit.wait().unwrap().success());
        wait_for_standby(&cluster, "");
        rig.stop().await.unwrap();
    });
}
