//! Goal: a table that the patterns name never stops flowing in silence. Method: on each major, do to tables and publications
//! what people do, write rows meanwhile, and account for each: it is in the trail, or inside a gap that names its table.

use std::io::Write;
use std::process::Stdio;

use trailcast::capture::RunState;
use trailcast::catalog::extract::Secret;

use crate::capture::ledger::{Ledger, place};
use crate::capture::rig::{Rig, on_each_major};

const T: &str = "create table t (id int primary key, v text default 'v')";
/// A pattern that does not take in a whole schema: its tables are published one by one.
const ONE_BY_ONE: &[&str] = &["public.t*"];
/// One table.
const T_ALONE: &[&str] = &["public.t"];
/// A whole schema, which a superuser publishes as one.
const WHOLE: &[&str] = &["public.*"];

/// The extract stops, and goes on with a gap; every row is accounted for, and `missing` of them are not in the trail: fewer,
/// where a busy machine wrote the last of them after a look had mended what it could.
async fn stops_and_goes_on(ledger: &mut Ledger<'_>, table: &str, missing: usize) {
    ledger.stops_over(&format!("public.{table}")).await;
    ledger.accept().await;
    ledger.write(table, 3);
    ledger.until_captured().await;
    let balance = ledger.balance().await;
    assert!((1..=missing).contains(&balance), "{balance} rows are missing, not {missing}");
    ledger.until_degraded(&[]).await;
    ledger.rig.stop().await.unwrap();
}

#[test]
fn a_table_that_is_dropped_and_made_again() {
    on_each_major(async |cluster| {
        let mut ledger = Ledger::running(&cluster, ONE_BY_ONE, T).await;
        ledger.write("t", 3);
        ledger.until_captured().await;
        cluster.psql(&format!("drop table t; {T}"));
        ledger.write("t", 4);
        stops_and_goes_on(&mut ledger, "t", 4).await;
    });
}

#[test]
fn a_table_of_a_whole_schema_may_be_dropped_and_made_again() {
    on_each_major(async |cluster| {
        let mut ledger = Ledger::running(&cluster, WHOLE, T).await;
        ledger.write("t", 3);
        cluster.psql(&format!("drop table t; {T}"));
        ledger.write("t", 4);
        ledger.until_captured().await;
        ledger.another_look().await;
        assert_eq!((ledger.balance().await, ledger.gaps().await.len()), (0, 0));
        ledger.rig.stop().await.unwrap();
    });
}

#[test]
fn a_table_that_is_renamed_away_and_back_between_two_looks_or_over_several() {
    on_each_major(async |cluster| {
        for slowly in [false, true] {
            let setup = format!("drop table if exists t; drop publication if exists trailcast_e1; {T}");
            let mut ledger = Ledger::running(&cluster, T_ALONE, &setup).await;
            ledger.write("t", 3);
            ledger.until_captured().await;
            cluster.psql("alter table t rename to u");
            ledger.write_for("u", "public.t", 4);
            if slowly {
                ledger.another_look().await;
            }
            cluster.psql("alter table u rename to t");
            ledger.write("t", 3);
            ledger.until("a gap", async |ledger| !ledger.gaps().await.is_empty()).await;
            ledger.until_captured().await;
            assert_eq!(ledger.balance().await, 4);
            assert_eq!(ledger.rig.status().status, RunState::Running);
            ledger.rig.stop().await.unwrap();
            cluster.drop_slot("trailcast_e1");
        }
    });
}

#[test]
fn two_tables_that_swap_their_names() {
    on_each_major(async |cluster| {
        let setup = format!("{T}; create table fresh (id int primary key)");
        let mut ledger = Ledger::running(&cluster, T_ALONE, &setup).await;
        ledger.write("t", 3);
        ledger.until_captured().await;
        cluster.psql("begin; alter table t rename to old; alter table fresh rename to t; commit");
        ledger.write("t", 4);
        stops_and_goes_on(&mut ledger, "t", 4).await;
    });
}

#[test]
fn a_partition_that_is_detached_written_to_and_attached_again() {
    let parted = "create table t (id int primary key) partition by range (id);
                  create table part partition of t for values from (0) to (100000)";
    on_each_major(async |cluster| {
        // Only the table is captured: rows of the partition alone are nobody's until it is back.
        let mut ledger = Ledger::running(&cluster, T_ALONE, parted).await;
        ledger.write("t", 3);
        ledger.until_captured().await;
        cluster.psql("alter table t detach partition part");
        ledger.another_look().await;
        ledger.write_for("part", "public.t", 4);
        cluster.psql("alter table t attach partition part for values from (0) to (100000)");
        ledger.write("t", 3);
        ledger.until("a gap", async |ledger| !ledger.gaps().await.is_empty()).await;
        ledger.until_captured().await;
        assert_eq!(ledger.balance().await, 4);
        ledger.rig.stop().await.unwrap();
    });
}

#[test]
fn a_partition_of_a_whole_schema_flows_under_its_own_name_while_it_is_detached() {
    let parted = "create table t (id int primary key) partition by range (id);
                  create table part partition of t for values from (0) to (100000)";
    on_each_major(async |cluster| {
        let mut ledger = Ledger::running(&cluster, WHOLE, parted).await;
        ledger.write("t", 3);
        cluster.psql("alter table t detach partition part");
        ledger.write("part", 4);
        ledger.another_look().await;
        cluster.psql("alter table t attach partition part for values from (0) to (100000)");
        ledger.write("t", 3);
        ledger.until_captured().await;
        ledger.another_look().await;
        assert_eq!((ledger.balance().await, ledger.gaps().await.len()), (0, 0));
        ledger.rig.stop().await.unwrap();
    });
}

#[test]
fn a_table_that_gets_another_owner_flows_on_and_one_that_cannot_be_published_again_is_degraded() {
    on_each_major(async |cluster| {
        let setup = "create role cdc login replication password 'cdc'; grant create on database postgres to cdc;
             grant all on schema public to cdc; set role cdc; create table t (id int primary key);
             create table t2 (id int primary key);";
        cluster.psql(setup);
        let mut rig = Rig::new(&cluster);
        rig.config.source.user = Some("cdc".into());
        rig.config.source.password = Some(Secret::new("cdc"));
        rig.start().await;
        let mut ledger = Ledger::over(&cluster, rig).await;
        cluster.psql("alter table t owner to postgres");
        ledger.write("t", 3);
        ledger.until_captured().await;
        ledger.another_look().await;
        assert_eq!((ledger.balance().await, ledger.gaps().await.len()), (0, 0));
        // Made again by somebody whose tables the extract's role may not publish.
        cluster.psql("drop table t; create table t (id int primary key)");
        ledger.write("t", 4);
        ledger.stops_over("public.t").await;
        ledger.accept().await;
        ledger.write("t", 2);
        ledger.write("t2", 2);
        ledger.until_captured().await;
        assert_eq!(ledger.balance().await, 6);
        ledger.until_degraded(&["public.t"]).await;
        assert_eq!(ledger.rig.status().status, RunState::Running);
        // And published by its owner in the end.
        cluster.psql("alter table t owner to cdc");
        ledger.until_degraded(&[]).await;
        ledger.write("t", 2);
        ledger.until_captured().await;
        assert_eq!(ledger.balance().await, 6);
        assert!(ledger.gaps().await.last().is_some_and(|gap| !gap.to.is_empty()));
        ledger.rig.stop().await.unwrap();
    });
}

#[test]
fn a_row_filter_that_nobody_asked_for() {
    on_each_major(async |cluster| {
        let mut ledger = Ledger::running(&cluster, ONE_BY_ONE, T).await;
        ledger.write("t", 3);
        ledger.until_captured().await;
        cluster.psql("alter publication trailcast_e1 set table t where (id > 1000)");
        ledger.write("t", 4);
        stops_and_goes_on(&mut ledger, "t", 4).await;
    });
}

#[test]
fn a_column_list_that_nobody_asked_for() {
    on_each_major(async |cluster| {
        let mut ledger = Ledger::running(&cluster, ONE_BY_ONE, T).await;
        ledger.write("t", 3);
        ledger.until_captured().await;
        cluster.psql("alter publication trailcast_e1 set table t (id)");
        ledger.write_maimed("t", 4);
        stops_and_goes_on(&mut ledger, "t", 4).await;
    });
}

#[test]
fn operations_that_are_taken_out_even_if_they_are_put_back_before_the_next_look() {
    on_each_major(async |cluster| {
        for put_back in [false, true] {
            let setup = format!("drop table if exists t; drop publication if exists trailcast_e1; {T}");
            let mut ledger = Ledger::running(&cluster, ONE_BY_ONE, &setup).await;
            ledger.write("t", 3);
            ledger.until_captured().await;
            cluster.psql("alter publication trailcast_e1 set (publish = 'update, delete')");
            ledger.write("t", 4);
            if put_back {
                cluster.psql("alter publication trailcast_e1 set (publish = 'insert, update, delete, truncate')");
            }
            stops_and_goes_on(&mut ledger, "t", 4).await;
            cluster.drop_slot("trailcast_e1");
        }
    });
}

#[test]
fn a_root_flag_that_is_turned_off() {
    let parted = "create table t (id int primary key) partition by range (id);
                  create table part partition of t for values from (0) to (100000)";
    on_each_major(async |cluster| {
        let mut ledger = Ledger::running(&cluster, T_ALONE, parted).await;
        ledger.write("t", 3);
        ledger.until_captured().await;
        cluster.psql("alter publication trailcast_e1 set (publish_via_partition_root = false)");
        ledger.write("t", 4);
        stops_and_goes_on(&mut ledger, "t", 4).await;
    });
}

#[test]
fn a_table_that_moves_to_another_schema_and_back() {
    on_each_major(async |cluster| {
        for tables in [T_ALONE, WHOLE] {
            let setup = format!(
                "drop table if exists t; drop publication if exists trailcast_e1; {T}; create schema if not exists other"
            );
            let mut ledger = Ledger::running(&cluster, tables, &setup).await;
            ledger.write("t", 3);
            ledger.until_captured().await;
            cluster.psql("alter table t set schema other");
            ledger.write_for("other.t", "public.t", 4);
            cluster.psql("alter table other.t set schema public");
            ledger.write("t", 3);
            ledger.until("a gap", async |ledger| !ledger.gaps().await.is_empty()).await;
            ledger.until_captured().await;
            assert_eq!(ledger.balance().await, 4);
            ledger.rig.stop().await.unwrap();
            cluster.drop_slot("trailcast_e1");
        }
    });
}

#[test]
fn a_publication_of_ours_that_is_dropped_is_made_again() {
    on_each_major(async |cluster| {
        let mut ledger = Ledger::running(&cluster, ONE_BY_ONE, T).await;
        ledger.write("t", 3);
        ledger.until_captured().await;
        cluster.psql("drop publication trailcast_e1");
        ledger.write("t", 1);
        ledger.stops_over("public.t").await;
        assert_eq!(cluster.psql("select pubname from pg_publication"), "trailcast_e1");
        ledger.accept().await;
        ledger.write("t", 3);
        ledger.until_captured().await;
        assert_eq!(ledger.balance().await, 1);
        ledger.rig.stop().await.unwrap();
    });
}

#[test]
fn a_publication_of_theirs_that_is_dropped_and_made_again() {
    on_each_major(async |cluster| {
        let members = serde_json::json!({"postgresql": {"publication": "theirs"}});
        let make = "create publication theirs for table t with (publish_via_partition_root = true)";
        let mut ledger = Ledger::running_with(&cluster, ONE_BY_ONE, &format!("{T}; {make}"), members).await;
        ledger.write("t", 3);
        ledger.until_captured().await;
        cluster.psql("drop publication theirs");
        ledger.write("t", 4);
        cluster.psql(make);
        stops_and_goes_on(&mut ledger, "t", 4).await;
    });
}

#[test]
fn an_extract_that_goes_on_passes_over_the_time_without_a_publication() {
    on_each_major(async |cluster| {
        let members = serde_json::json!({"onCoverageLost": "continue", "postgresql": {"publication": "theirs"}});
        let make = "create publication theirs for table t with (publish_via_partition_root = true)";
        let mut ledger = Ledger::running_with(&cluster, ONE_BY_ONE, &format!("{T}; {make}"), members).await;
        ledger.write("t", 3);
        ledger.until_captured().await;
        cluster.psql("drop publication theirs");
        ledger.write("t", 4);
        // Nothing flows meanwhile, and it says so.
        let error = |ledger: &Ledger<'_>| ledger.rig.status().last_error.unwrap_or_default();
        ledger.until("it says so", async |ledger| error(ledger).contains("publication theirs is missing")).await;
        cluster.psql(make);
        ledger.until("a gap", async |ledger| !ledger.gaps().await.is_empty()).await;
        ledger.until_running().await;
        ledger.until_flowing("t").await;
        ledger.write("t", 3);
        ledger.until_captured().await;
        assert!(ledger.balance().await >= 4);
        ledger.until_degraded(&[]).await;
        ledger.rig.stop().await.unwrap();
    });
}

#[test]
fn a_publication_that_was_dropped_and_made_again_while_nobody_looked() {
    on_each_major(async |cluster| {
        let mut ledger = Ledger::running(&cluster, ONE_BY_ONE, T).await;
        ledger.write("t", 3);
        ledger.until_captured().await;
        ledger.rig.stop().await.unwrap();
        cluster.psql("drop publication trailcast_e1");
        ledger.write("t", 4);
        cluster.psql("create publication trailcast_e1 for table t with (publish_via_partition_root = true)");
        // As in a folder of an earlier version: the server's own sign is all there is.
        ledger.rig.coverage.update(|record| *record = Default::default());
        ledger.rig.start().await;
        stops_and_goes_on(&mut ledger, "t", 4).await;
    });
}

#[test]
fn a_schema_that_is_dropped_and_made_again() {
    on_each_major(async |cluster| {
        let mut ledger = Ledger::running(&cluster, WHOLE, T).await;
        ledger.write("t", 3);
        ledger.until_captured().await;
        cluster.psql(&format!("drop schema public cascade; create schema public; {T}"));
        assert_eq!(cluster.psql("select count(*) from pg_publication_tables"), "0");
        ledger.write("t", 4);
        stops_and_goes_on(&mut ledger, "t", 4).await;
        assert_eq!(cluster.psql("select count(*) from pg_publication_tables"), "1");
    });
}

#[test]
fn what_happens_while_the_extract_is_stopped_is_found_when_it_starts() {
    on_each_major(async |cluster| {
        let mut ledger = Ledger::running(&cluster, ONE_BY_ONE, T).await;
        ledger.write("t", 3);
        ledger.until_captured().await;
        ledger.rig.stop().await.unwrap();
        cluster.psql("alter publication trailcast_e1 drop table t");
        ledger.write("t", 4);
        cluster.psql("alter publication trailcast_e1 add table t");
        ledger.rig.start().await;
        stops_and_goes_on(&mut ledger, "t", 4).await;
    });
}

#[test]
fn a_transaction_that_wrote_before_a_table_was_published_again_keeps_its_gap_open() {
    on_each_major(async |cluster| {
        let members = serde_json::json!({"onCoverageLost": "continue"});
        let mut ledger = Ledger::running_with(&cluster, ONE_BY_ONE, T, members).await;
        ledger.write("t", 3);
        ledger.until_captured().await;
        let id = ledger.next_id();
        let mut slow = cluster.psql_command().stdin(Stdio::piped()).spawn().unwrap();
        let mut input = slow.stdin.take().unwrap();
        writeln!(input, "alter publication trailcast_e1 drop table t; begin; insert into t (id) values ({id});")
            .unwrap();
        let waiting =
            "select count(*) from pg_stat_activity where state = 'idle in transaction' and query like 'insert%'";
        while cluster.psql(waiting) != "1" {}
        ledger.until("an open gap", async |ledger| !ledger.gaps().await.is_empty()).await;
        assert_eq!(ledger.gaps().await[0].to, "");
        ledger.another_look().await;
        assert_eq!(ledger.gaps().await.last().unwrap().to, "");
        let from = place(&cluster.psql("select pg_current_wal_insert_lsn()"));
        input.write_all(b"commit;\n").unwrap();
        drop(input);
        assert!(slow.wait().unwrap().success());
        ledger.note(id, "public.t", from, place(&cluster.psql("select pg_current_wal_insert_lsn()")));
        ledger.until("the end of the gap", async |ledger| !ledger.gaps().await.last().unwrap().to.is_empty()).await;
        ledger.until_degraded(&[]).await;
        ledger.write("t", 2);
        ledger.until_captured().await;
        assert_eq!(ledger.balance().await, 1);
        ledger.rig.stop().await.unwrap();
    });
}

#[test]
fn an_extract_that_goes_on_writes_its_gap_at_once_and_lets_other_tables_flow() {
    on_each_major(async |cluster| {
        let members = serde_json::json!({
            "onCoverageLost": "continue", "postgresql": {"publication": "theirs"},
        });
        let setup = format!("{T}; create table t2 (id int primary key); create publication theirs for table t, t2");
        let mut ledger = Ledger::running_with(&cluster, ONE_BY_ONE, &setup, members).await;
        cluster.psql("alter publication theirs drop table t");
        ledger.write("t", 3);
        ledger.write("t2", 3);
        ledger.until("a gap", async |ledger| !ledger.gaps().await.is_empty()).await;
        ledger.until_captured().await;
        assert_eq!(ledger.balance().await, 3);
        ledger.until_degraded(&["public.t"]).await;
        assert_eq!(ledger.rig.status().status, RunState::Running);
        ledger.rig.stop().await.unwrap();
    });
}

#[test]
fn a_later_table_is_published_by_the_next_look_with_a_gap_of_its_own_if_it_may_have_had_rows() {
    on_each_major(async |cluster| {
        let mut ledger = Ledger::running(&cluster, ONE_BY_ONE, T).await;
        cluster.psql("create table t_empty (id int primary key); create table t_full (id int primary key)");
        ledger.write("t_full", 4);
        ledger
            .until("both are published", async |_| {
                cluster.psql("select count(*) from pg_publication_tables where pubname = 'trailcast_e1'") == "3"
            })
            .await;
        ledger.until("a gap", async |ledger| !ledger.gaps().await.is_empty()).await;
        ledger.write("t_empty", 2);
        ledger.write("t_full", 2);
        ledger.write("t", 2);
        ledger.until_captured().await;
        assert_eq!(ledger.balance().await, 4);
        let gaps = ledger.gaps().await;
        let named: Vec<_> = gaps.iter().flat_map(|gap| gap.tables.clone()).collect();
        assert_eq!(named, ["public.t_full"]);
        ledger.until_degraded(&[]).await;
        ledger.rig.stop().await.unwrap();
    });
}

#[test]
fn a_later_table_stops_the_extract_where_that_was_asked_for() {
    on_each_major(async |cluster| {
        let members = serde_json::json!({"newTables": "stop"});
        let mut ledger = Ledger::running_with(&cluster, ONE_BY_ONE, T, members).await;
        cluster.psql("create table t2 (id int primary key)");
        ledger.write("t2", 4);
        stops_and_goes_on(&mut ledger, "t2", 4).await;
    });
}

#[test]
fn a_publication_made_by_hand_that_does_not_give_all_is_told_at_once_and_accepted_as_it_is() {
    let setup = format!(
        "{T}; create table t_list (id int primary key, secret text); create table t_rows (id int primary key);
         create table t_out (id int primary key);
         create table t_parted (id int primary key) partition by range (id);
         create table part partition of t_parted for values from (0) to (100000);
         create publication theirs for table t, t_list (id), t_rows where (id > 1000), t_parted
         with (publish = 'insert, delete')"
    );
    on_each_major(async |cluster| {
        cluster.psql(&setup);
        let mut rig = Rig::new(&cluster);
        rig.config.tables = vec!["public.t*".to_owned().try_into().unwrap()];
        rig.config.postgresql.publication = Some("theirs".into());
        rig.start().await;
        let error = rig.end().await;
        assert_eq!(error.reason(), "coverage_lost", "{error}");
        let lost = rig.coverage.snapshot().lost.unwrap().tables;
        for (table, why) in [
            ("public.t", "operations truncate, update"),
            ("public.t_list", "a column list leaves out secret"),
            ("public.t_rows", "a row filter leaves out rows"),
            ("public.t_out", "it is not published"),
            ("public.t_parted", "publish_via_partition_root"),
        ] {
            assert!(lost[table].contains(why), "{lost:?}");
        }
        rig.coverage.update(|record| record.lost.as_mut().unwrap().accepted = true);
        rig.start().await;
        rig.until(|status| status.status == RunState::Running).await;
        assert_eq!(rig.coverage.snapshot().degraded.len(), 5);
        rig.stop().await.unwrap();
        // What was accepted once does not stop it again.
        rig.start().await;
        rig.until(|status| status.status == RunState::Running).await;
        let mut ledger = Ledger::over(&cluster, rig).await;
        ledger.write("t", 1);
        ledger.until_captured().await;
        ledger.rig.stop().await.unwrap();
    });
}
