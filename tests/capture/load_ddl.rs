//! Goal: a loaded row is written as the stream would write it, and a table that is altered, emptied or made again while it is loaded ends
//! as the source has it, or says loudly that it does not. Method: values of every kind once loaded and once streamed;
//! statements in the middle of a slow load, after which the trail's records are applied and compared.

use serde_json::json;
use trailcast::capture::{LoadState, TableLoadState};

use crate::capture::applied::Applied;
use crate::capture::load::{loading, until_captured, until_loaded};
use crate::capture::rig::{Rig, on_each_major};
use crate::support::Postgres;

/// One column of each kind, and what its text form does at its ends.
const TYPES: [(&str, &[&str]); 35] = [
    ("bool", &["true", "false"]),
    ("smallint", &["-32768"]),
    ("int", &["2147483647"]),
    ("bigint", &["-9223372036854775808"]),
    ("numeric", &["1.10", "NaN", "1e100", "-0.000000000000000000001"]),
    ("numeric(12,2)", &["5.50"]),
    ("real", &["1.1", "NaN", "Infinity", "-0"]),
    ("double precision", &["1e-300", "-Infinity", "0.1"]),
    ("money", &["12.50"]),
    ("text", &["tab\ttab", "line\nline", "back\\slash", "\\N", "", "ä€\u{2028}"]),
    ("varchar(20)", &["a'b\"c"]),
    ("char(5)", &["ab"]),
    ("bytea", &["\\x00ff5c", "\\x"]),
    ("date", &["0044-03-15 BC", "infinity", "-infinity", "2026-02-28"]),
    ("time", &["24:00:00", "04:05:06.789"]),
    ("timetz", &["04:05:06+02"]),
    ("timestamp", &["infinity", "4713-01-01 00:00:00 BC", "2026-01-01 00:00:00.000001"]),
    ("timestamptz", &["2026-06-01 12:00:00+05", "-infinity"]),
    ("interval", &["1 year -2 mons 3 days 04:05:06.7", "-00:00:01"]),
    ("uuid", &["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
    ("json", &["{\"a\" : [1, 2.0, null]}", "null", "1e400"]),
    ("jsonb", &["{\"b\": \"\\u0001\", \"a\": 1}", "null"]),
    ("bit(3)", &["101"]),
    ("bit varying", &["1"]),
    ("inet", &["10.0.0.1/8"]),
    ("cidr", &["10.0.0.0/8"]),
    ("macaddr", &["08:00:2b:01:02:03"]),
    ("point", &["(1.5,-2)"]),
    ("box", &["(1,1),(0,0)"]),
    ("int4range", &["[1,5)", "empty"]),
    ("tsvector", &["'a':1 'b'"]),
    ("int[]", &["{1,NULL,3}", "[0:1]={1,2}", "{{1,2},{3,4}}", "{}"]),
    ("text[]", &["{\"a,b\",\"c\\\\d\",NULL,\"\"}"]),
    ("mood", &["happy"]),
    ("positive", &["7"]),
];

fn table_of_types() -> String {
    let columns: Vec<String> = TYPES.iter().enumerate().map(|(at, (sql, _))| format!("c{at} {sql}")).collect();
    let mut rows = vec!["insert into types (id) values (0)".to_owned()];
    for (at, (sql, values)) in TYPES.iter().enumerate() {
        for value in *values {
            let text = value.replace('\'', "''").replace('\\', "\\\\");
            rows.push(format!("insert into types (id, c{at}) values ({}, E'{text}'::{sql})", rows.len()));
        }
    }
    format!(
        "create type mood as enum ('sad', 'happy'); create domain positive as int check (value > 0); \
         create table types (id int primary key, {}, made int generated always as (id * 2) stored); {};",
        columns.join(", "),
        rows.join("; ")
    )
}

#[test]
fn values_and_schemas_are_the_same_loaded_and_streamed() {
    on_each_major(async |cluster| {
        // Another style in the database than ours: sessions ask for their own.
        cluster.psql(
            "alter database postgres set datestyle = 'German'; alter database postgres set intervalstyle = 'iso_8601'; \
            alter database postgres set extra_float_digits = 0; alter database postgres set bytea_output = 'escape'; \
            alter database postgres set timezone = 'Asia/Tokyo'",
        );
        cluster.psql(&table_of_types());
        let mut rig = loading(&cluster, &json!({}));
        rig.start().await;
        until_loaded(&rig).await;
        let schema = async |rig: &Rig, table: &str| {
            let schemas = rig.schemas().await;
            schemas.iter().rev().find(|schema| schema.table.to_string() == table).unwrap().columns.clone()
        };
        let loaded = schema(&rig, "public.types").await;
        cluster.psql("update types set id = id + 1000");
        until_captured(&cluster, &rig).await;
        assert_eq!(schema(&rig, "public.types").await, loaded);
        let columns: Vec<String> = (0..TYPES.len()).map(|at| format!("c{at}")).collect();
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        let streamed = Applied::of(&rig.trail).await;
        // The same rows, read by another extract that has nothing but the load.
        rig.stop().await.unwrap();
        cluster.drop_slot("trailcast_e1");
        cluster.psql("drop publication trailcast_e1");
        let mut other = loading(&cluster, &json!({}));
        other.start().await;
        until_loaded(&other).await;
        let by_load = Applied::of(&other.trail).await;
        let (by_load, streamed) = (&by_load.tables["public.types"], &streamed.tables["public.types"]);
        assert_eq!(by_load.len(), streamed.len());
        for (id, row) in by_load {
            assert_eq!(row, &streamed[id], "{columns:?}");
        }
        other.stop().await.unwrap();
    });
}

/// A table of so many rows whose load takes seconds.
const SLOW: u32 = 6_000;

/// Runs `change` when about a third is loaded, and gives what is in the trail when the load has ended, and how that was.
async fn changed_meanwhile(cluster: &Postgres, change: &str) -> (Rig, Applied, TableLoadState) {
    cluster.psql(&format!(
        "drop table if exists s; create table s (id int primary key, v int not null default 1, a text, b int); \
         insert into s select i, 1, 'a' || i, i from generate_series(1, {SLOW}) i"
    ));
    let mut rig = loading(
        cluster,
        &json!({"tables": ["public.s", "public.mark"], "loadRate": 2_000, "onCoverageLost": "continue"}),
    );
    rig.start().await;
    let third =
        |load: &trailcast::capture::LoadStatus| load.tables.iter().any(|table| table.rows >= u64::from(SLOW) / 3);
    rig.until(|status| status.snapshot.as_ref().is_some_and(third)).await;
    cluster.psql(change);
    let has_ended = |load: &trailcast::capture::LoadStatus| matches!(load.state, LoadState::Done | LoadState::Failed);
    rig.until(|status| status.snapshot.as_ref().is_some_and(has_ended)).await;
    until_captured(cluster, &rig).await;
    let state = rig.status().snapshot.unwrap().tables.iter().find(|table| table.table == "public.s").unwrap().state;
    let applied = Applied::of(&rig.trail).await;
    rig.stop().await.unwrap();
    cluster.drop_slot("trailcast_e1");
    cluster.psql("drop publication trailcast_e1");
    (rig, applied, state)
}

fn lines(cluster: &Postgres, sql: &str) -> Vec<String> {
    let mut lines: Vec<String> = cluster.psql(sql).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn a_table_that_is_altered_or_emptied_while_it_is_loaded_ends_as_the_source_has_it() {
    on_each_major(async |cluster| {
        cluster.psql("create table mark (id int primary key, v int default 0)");
        for (change, columns) in [
            (
                "alter table s add column c int default 5; update s set a = 'new', v = 2 where id % 100 = 0",
                "id|v|a|b|c",
            ),
            ("alter table s drop column b; insert into s values (0, 2, 'zero')", "id|v|a"),
            ("alter table s rename column a to z; update s set z = 'new', v = 2 where id = 5900", "id|v|z|b"),
            ("alter table s alter column b type text", "id|v|a|b"),
            ("truncate s; insert into s select i, 2, 'again', 0 from generate_series(1, 9000, 7) i", "id|v|a|b"),
            ("delete from s where id % 2 = 0", "id|v|a|b"),
        ] {
            let (_rig, applied, state) = changed_meanwhile(&cluster, change).await;
            assert_eq!((state, &applied.wrong), (TableLoadState::Loaded, &Vec::new()), "{change}");
            let columns: Vec<&str> = columns.split('|').collect();
            let want = lines(&cluster, &format!("select {} from s", columns.join(", ")));
            let have = applied.lines("public.s", &columns);
            // A column that came later, or is of another type, says so of rows that were loaded before only where they are changed.
            if change.contains("add column") || change.contains(" type ") {
                assert_eq!(have.len(), want.len(), "{change}");
                continue;
            }
            if change.contains("rename") {
                let known = |line: &String| line.split('|').next().unwrap().to_owned();
                assert_eq!(have.iter().map(known).collect::<Vec<_>>(), want.iter().map(known).collect::<Vec<_>>());
                continue;
            }
            assert!(have == want, "{change}: {} rows in place of {}", have.len(), want.len());
        }
    });
}

#[test]
fn a_table_whose_key_is_compared_in_another_way_from_now_on_is_loaded_from_its_beginning() {
    let Some(cluster) = Postgres::newest() else { return };
    crate::capture::rig::runtime().block_on(async {
        cluster.psql("create table mark (id int primary key, v int default 0)");
        let (_rig, applied, state) = changed_meanwhile(&cluster, "alter table s alter column id type text").await;
        assert_eq!(state, TableLoadState::Loaded);
        let have = applied.lines("public.s", &["id", "v", "a", "b"]);
        let want = lines(&cluster, "select id, v, a, b from s");
        let missing = want.iter().filter(|line| !have.contains(line)).count();
        assert_eq!(missing, 0, "rows that were not read are missing");
    });
}

#[test]
fn a_table_that_is_made_again_while_it_is_loaded_is_loaded_from_its_beginning() {
    let Some(cluster) = Postgres::newest() else { return };
    crate::capture::rig::runtime().block_on(async {
        cluster.psql("create table mark (id int primary key, v int default 0)");
        // Published as a whole, so that the new table is, too.
        let change = "begin; alter table s rename to old; create table s (id int primary key, v int default 2, a text, b int); \
            insert into s select i, 2, 'other', 0 from generate_series(1, 500) i; drop table old; commit";
        let (_rig, applied, state) = changed_meanwhile(&cluster, change).await;
        assert_eq!(state, TableLoadState::Loaded);
        let have = applied.lines("public.s", &["id", "v", "a", "b"]);
        let want = lines(&cluster, "select id, v, a, b from s");
        assert!(want.iter().all(|line| have.contains(line)), "rows of the new table are missing");
    });
}
