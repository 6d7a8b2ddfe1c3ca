//! What a row becomes: every type exactly, images as the replica identity gives them, schemas as they change.

use crate::capture::rig::{Rig, on_each_major};

const TYPES: &[(&str, &str, &str)] = &[
    ("smallint", "-32768", "-32768"),
    ("bigint", "9223372036854775807", "9223372036854775807"),
    (
        "numeric",
        "123456789012345678901234567890.12345678901234567890",
        "123456789012345678901234567890.12345678901234567890",
    ),
    ("numeric(12,4)", "1.1", "1.1000"),
    ("numeric", "'NaN'", "\"NaN\""),
    ("real", "1.1", "1.1"),
    ("double precision", "0.1", "0.1"),
    ("double precision", "1e300", "1e+300"),
    ("double precision", "'-Infinity'", "\"-Infinity\""),
    ("boolean", "true", "true"),
    ("oid", "4294967295", "4294967295"),
    ("text", r#"E'a"b\\c\n\u2028ä𝄞'"#, r#""a\"b\\c\n\u2028ä𝄞""#),
    ("char(3)", "'x'", "\"x  \""),
    ("bytea", r"'\x00ff10'", "\"AP8Q\""),
    ("date", "'2026-07-13'", "\"2026-07-13\""),
    ("date", "'0044-03-15 BC'", "\"0044-03-15 BC\""),
    ("time", "'04:00:00.5'", "\"04:00:00.5\""),
    ("timestamp", "'2026-07-13 04:00:00.123456'", "\"2026-07-13 04:00:00.123456\""),
    ("timestamptz", "'2026-07-13 04:00:00+02'", "\"2026-07-13 02:00:00+00\""),
    ("timestamptz", "'infinity'", "\"infinity\""),
    ("interval", "'1 day 02:03'", "\"1 day 02:03:00\""),
    ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\""),
    ("inet", "'10.0.0.1/8'", "\"10.0.0.1/8\""),
    ("int4range", "'[1,5)'", "\"[1,5)\""),
    ("mood", "'ok'", "\"ok\""),
    ("percent", "50", "50"),
    ("pair", "row(1,'a,b')", "\"(1,\\\"a,b\\\")\""),
    ("json", r#"'{ "b" : 1.10, "a":[1e400, "\u0000"] }'"#, r#"{"b":1.10,"a":[1e400,"\u0000"]}"#),
    ("jsonb", r#"'{"a": 1.10}'"#, r#"{"a":1.10}"#),
    ("int[]", "'{1,NULL,-3}'", "[1,null,-3]"),
    ("int[]", "'{}'", "[]"),
    ("int[]", "'[0:1]={5,6}'", "[5,6]"),
    ("text[]", r#"'{"a,b",NULL,"NULL","","\"\\"}'"#, r#"["a,b",null,"NULL","","\"\\"]"#),
    ("numeric[][]", "'{{1.10,2},{3,NaN}}'", "[[1.10,2],[3,\"NaN\"]]"),
    ("jsonb[]", r#"array['{"a": [1]}'::jsonb]"#, r#"[{"a":[1]}]"#),
    ("bytea[]", r"array['\x00ff10'::bytea]", "[\"AP8Q\"]"),
    ("mood[]", "'{sad,ok}'", "[\"sad\",\"ok\"]"),
    ("percent[]", "'{1,2}'", "[1,2]"),
    ("ints", "'{7,8}'", "[7,8]"),
    ("box[]", "'{(1,1),(0,0);(2,2),(0,0)}'", "[\"(1,1),(0,0)\",\"(2,2),(0,0)\"]"),
];

#[test]
fn values_of_every_type_come_through_exactly() {
    on_each_major(async |cluster| {
        let mut rig = Rig::running(&cluster).await;
        let columns: Vec<_> = TYPES.iter().enumerate().map(|(at, (kind, ..))| format!("c{at} {kind}")).collect();
        let values: Vec<_> = TYPES.iter().map(|(_, value, _)| *value).collect();
        cluster.psql(&format!(
            "create type mood as enum ('sad','ok'); create domain percent as int check (value <= 100);
             create domain ints as int[]; create type pair as (a int, b text);
             create table t (id int primary key, {}); insert into t values (1, {}); insert into t values (2);",
            columns.join(", "),
            values.join(", ")
        ));
        let seen = rig.transactions(2).await;
        let expected: Vec<_> = TYPES.iter().enumerate().map(|(at, (_, _, json))| format!("c{at}={json}")).collect();
        assert_eq!(seen[0], [format!("INSERT public.t + id=1 {}", expected.join(" "))]);
        let nulls: Vec<_> = (0..TYPES.len()).map(|at| format!("c{at}=null")).collect();
        assert_eq!(seen[1], [format!("INSERT public.t + id=2 {}", nulls.join(" "))]);
        let schema = rig.last_schema().await;
        let id = &schema.columns[0];
        assert_eq!((id.sql_type.as_str(), id.key, id.nullable), ("integer", true, false));
        assert_eq!(schema.columns[4].sql_type, "numeric(12,4)");
        rig.stop().await.unwrap();
    });
}

#[test]
fn before_images_are_what_the_replica_identity_gives() {
    on_each_major(async |cluster| {
        cluster.psql(
            "create table d (id int primary key, v text); create table f (id int, v text);
             create table i (id int not null, v text); create unique index i_id on i (id);
             alter table f replica identity full; alter table i replica identity using index i_id;",
        );
        let mut rig = Rig::running(&cluster).await;
        for table in ["d", "f", "i"] {
            cluster.psql(&format!(
                "insert into {table} values (1, 'a'); update {table} set v = null; update {table} set id = 2;
                 delete from {table};"
            ));
        }
        let seen: Vec<_> = rig.transactions(12).await.concat();
        let keyed = |table: &str| {
            [
                format!("INSERT public.{table} + id=1 v=\"a\""),
                format!("UPDATE public.{table} + id=1 v=null"),
                format!("UPDATE public.{table} - id=1 + id=2 v=null"),
                format!("DELETE public.{table} - id=2"),
            ]
        };
        assert_eq!(seen[..4], keyed("d"));
        assert_eq!(
            seen[4..8],
            [
                "INSERT public.f + id=1 v=\"a\"",
                "UPDATE public.f - id=1 v=\"a\" + id=1 v=null",
                "UPDATE public.f - id=1 v=null + id=2 v=null",
                "DELETE public.f - id=2 v=null",
            ]
        );
        assert_eq!(seen[8..], keyed("i"));
        rig.stop().await.unwrap();
    });
}

#[test]
fn an_unchanged_toasted_value_is_unchanged_and_not_null() {
    on_each_major(async |cluster| {
        cluster.psql(
            "create table t (id int primary key, n int, big text); alter table t alter big set storage external;",
        );
        let mut rig = Rig::running(&cluster).await;
        cluster.psql("insert into t values (1, 1, repeat('x', 9000)); update t set n = 2;");
        let seen = rig.transactions(2).await;
        assert_eq!(seen[0], [format!("INSERT public.t + id=1 n=1 big=\"{}\"", "x".repeat(9000))]);
        assert_eq!(seen[1], ["UPDATE public.t + id=1 n=2 big~"]);
        rig.stop().await.unwrap();
    });
}

#[test]
fn rows_follow_the_schema_of_their_table_as_it_changes() {
    on_each_major(async |cluster| {
        let mut rig = Rig::running(&cluster).await;
        cluster.psql(
            "create table t (id int primary key, a int); insert into t values (1, 1);
             alter table t add b text not null default 'x'; insert into t values (2, 2);
             alter table t rename a to c; insert into t values (3, 3);
             alter table t alter c type numeric; insert into t values (4, 4.50);
             alter table t drop b; insert into t values (5, 5);
             begin; insert into t values (6, 6); alter table t add d int; insert into t values (7, 7, 7); commit;
             create table gone (id int primary key); insert into gone values (1); drop table gone;
             create table n (id int primary key, v int);
             begin; insert into n values (1, null); update n set v = 1; alter table n alter v set not null; commit;",
        );
        let seen = rig.transactions(8).await;
        assert_eq!(
            seen.concat(),
            [
                "INSERT public.t + id=1 a=1",
                "INSERT public.t + id=2 a=2 b=\"x\"",
                "INSERT public.t + id=3 c=3 b=\"x\"",
                "INSERT public.t + id=4 c=4.50 b=\"x\"",
                "INSERT public.t + id=5 c=5",
                "INSERT public.t + id=6 c=6",
                "INSERT public.t + id=7 c=7 d=7",
                "INSERT public.gone + id=1",
                "INSERT public.n + id=1 v=null",
                "UPDATE public.n + id=1 v=1",
            ]
        );
        // A null was seen, so the schema allows it, whatever the catalogue says by now.
        assert!(rig.last_schema().await.columns[1].nullable);
        rig.stop().await.unwrap();
    });
}

#[test]
fn truncates_partitions_and_tables_outside_the_patterns() {
    on_each_major(async |cluster| {
        cluster.psql(
            "create schema other; create table other.t (id int primary key); create table a (id int primary key);
             create table b (id int primary key); create table p (id int primary key) partition by range (id);
             create table p1 partition of p for values from (0) to (10);",
        );
        let mut rig = Rig::running(&cluster).await;
        cluster.psql(
            "insert into other.t values (1); insert into p values (1);
             begin; insert into other.t values (2); insert into a values (1); truncate a, b, other.t; commit;",
        );
        let seen = rig.transactions(2).await;
        assert_eq!(seen[0], ["INSERT public.p + id=1"]);
        assert_eq!(seen[1][0], "INSERT public.a + id=1");
        let mut truncated = seen[1][1..].to_vec();
        truncated.sort();
        assert_eq!(truncated, ["TRUNCATE public.a", "TRUNCATE public.b"]);
        rig.stop().await.unwrap();
    });
}
