//! Statements that change tables are records where the helper is installed, at their place in their transaction; without it
//! everything is as it was.

use trailcast::capture::helper_sql;

use crate::capture::rig::{Rig, on_each_major, runtime};
use crate::support::Postgres;

#[test]
fn statements_stand_at_their_place_and_only_those_of_captured_tables() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key, n text); create schema other; create table other.t (id int)");
        cluster.psql(helper_sql());
        // It may be installed again.
        cluster.psql(helper_sql());
        let mut rig = Rig::running(&cluster).await;
        cluster.psql(
            "begin; insert into t values (1, 'a'); alter table t add c int; insert into t values (2, 'b', 3); commit;
             alter table other.t add c int; create temp table t2 (id int); create index on t (n);
             create table made (id int primary key);
             begin; alter table t rename to renamed; rollback;
             alter table t rename column c to d; drop table made; truncate t;
             create role somebody password 'hush'",
        );
        let seen = rig.transactions(5).await;
        assert_eq!(
            seen,
            [
                vec![
                    "INSERT public.t + id=1 n=\"a\"",
                    "DDL public.t alter table t add c int;",
                    "INSERT public.t + id=2 n=\"b\" c=3",
                ],
                vec!["DDL public.made create table made (id int primary key);"],
                vec!["DDL public.t alter table t rename column c to d;"],
                vec!["DDL public.made drop table made;"],
                vec!["TRUNCATE public.t"],
            ]
        );
        rig.stop().await.unwrap();
    });
}

#[test]
fn passwords_that_were_sent_together_with_a_statement_are_left_out() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key)");
        cluster.psql(helper_sql());
        let mut rig = Rig::running(&cluster).await;
        let together = "create role somebody password 'hush'; alter table t add password text";
        assert!(cluster.psql_command().args(["-c", together]).status().unwrap().success());
        cluster.psql("alter table t add more text default 'x'");
        let seen = rig.transactions(2).await;
        assert_eq!(seen[0], ["DDL public.t ALTER TABLE public.t"]);
        assert_eq!(seen[1], ["DDL public.t alter table t add more text default 'x'"]);
        rig.stop().await.unwrap();
    });
}

#[test]
fn statements_in_a_large_transaction_come_with_it_and_go_with_what_is_rolled_back() {
    Postgres::on_each_major_with(&[("logical_decoding_work_mem", "64kB")], |cluster| {
        runtime().block_on(async {
            cluster.psql("create table t (id int primary key); create table u (id int primary key)");
            cluster.psql(helper_sql());
            let mut rig = Rig::running(&cluster).await;
            cluster.psql(
                "begin; insert into t select generate_series(1, 3000); savepoint a; alter table u add a int;
                 insert into t select generate_series(3001, 6000); rollback to a; alter table u add b int;
                 insert into t select generate_series(6001, 9000); commit",
            );
            let seen = rig.transactions(1).await.remove(0);
            let ddl: Vec<_> = seen.iter().enumerate().filter(|(_, line)| line.starts_with("DDL")).collect();
            assert_eq!(ddl, [(3_000, &"DDL public.u alter table u add b int;".to_owned())]);
            assert_eq!(seen.len(), 6_001);
            rig.stop().await.unwrap();
        });
    });
}

#[test]
fn a_note_that_somebody_else_wrote_stops_nothing() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key)");
        let mut rig = Rig::running(&cluster).await;
        cluster.psql(
            "select pg_logical_emit_message(true, 'trailcast.ddl', 'nonsense');
             select pg_logical_emit_message(true, 'trailcast.ddl', '\\xff00'::bytea);
             select pg_logical_emit_message(true, 'trailcast.ddl', '{\"schema\": \"\", \"table\": \"\", \"statement\": \"\"}');
             select pg_logical_emit_message(false, 'trailcast.ddl', '{}');
             insert into t values (1)",
        );
        assert_eq!(rig.transactions(1).await, [["INSERT public.t + id=1"]]);
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_note_that_is_longer_than_any_of_the_helpers_is_left_out_and_stops_nothing() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key)");
        let mut rig = Rig::running(&cluster).await;
        let note = |bytes: u32| {
            format!(
                "select pg_logical_emit_message(true, 'trailcast.ddl',
                     '{{\"schema\": \"public\", \"table\": \"t\", \"statement\": \"' || repeat('x', {bytes}) || '\"}}')"
            )
        };
        // More than a trail takes; a little more than the helper may send; and as much as it may.
        cluster.psql(&format!("{}; insert into t values (1)", note(280_000_000)));
        cluster.psql(&format!("{}; insert into t values (2); {}", note(1_100_000), note(1_000_000)));
        // Whose prefix this is nobody finds out.
        cluster.psql("select pg_logical_emit_message(true, repeat('p', 100000000), ''); insert into t values (3)");
        let seen = rig.transactions(4).await;
        assert_eq!(
            (&seen[0][..], &seen[1][..]),
            (&["INSERT public.t + id=1".to_owned()][..], &["INSERT public.t + id=2".to_owned()][..])
        );
        assert_eq!((seen[2].len(), seen[2][0].len()), (1, "DDL public.t ".len() + 1_000_000));
        assert_eq!(seen[3], ["INSERT public.t + id=3"]);
        assert_eq!(rig.status().retries, 0);
        rig.stop().await.unwrap();
    });
}
