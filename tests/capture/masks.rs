//! Goal: what a mask hides is nowhere in the trail, whatever becomes of the table, and what it does not hide is all there.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use trailcast::catalog::extract::JsonNull;
use trailcast::record::JsonKind;

use crate::capture::rig::{Rig, on_each_major};
use crate::support::Postgres;

pub const KEY: &str = "a key of more than sixteen bytes";

/// What a value is hashed to.
pub fn hash(value: &str) -> String {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(KEY.as_bytes()).unwrap();
    mac.update(value.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mask(table: &str, column: &str, mask: &str) -> Value {
    match mask {
        "hash" => json!({"table": table, "column": column, "mask": mask, "key": KEY}),
        "text" => json!({"table": table, "column": column, "mask": mask, "text": "***"}),
        _ => json!({"table": table, "column": column, "mask": mask}),
    }
}

fn set(rig: &mut Rig, masks: &[Value]) {
    rig.config.columns = serde_json::from_value(masks.into()).unwrap();
}

async fn running(cluster: &Postgres, masks: &[Value]) -> Rig {
    let mut rig = Rig::new(cluster);
    set(&mut rig, masks);
    rig.start().await;
    rig.until_begun().await;
    rig
}

/// The extract has stopped over a mask; what it said.
async fn stopped(rig: &mut Rig) -> String {
    let error = rig.end().await;
    assert_eq!(error.reason(), "mask", "{error}");
    error.to_string()
}

#[test]
fn every_kind_of_mask_holds_in_after_images_before_images_keys_and_toasted_values() {
    on_each_major(async |cluster| {
        let columns = "id int, email text, name text not null, ssn text, big text, plain text";
        cluster.psql(&format!(
            "create table d ({columns}, primary key (id)); create table f ({columns}, primary key (id));
             create table i ({columns}); alter table i alter email set not null;
             create unique index i_email on i (email);
             alter table f replica identity full; alter table i replica identity using index i_email;
             alter table d alter big set storage external; alter table f alter big set storage external;
             alter table f alter email set storage external; alter table i alter big set storage external;"
        ));
        let masks = [
            mask("public.*", "email", "hash"),
            mask("public.*", "name", "null"),
            mask("public.*", "ssn", "text"),
            mask("public.*", "big", "drop"),
        ];
        let mut rig = running(&cluster, &masks).await;
        for table in ["d", "f", "i"] {
            cluster.psql(&format!(
                "insert into {table} values (1, 'SECRET-a', 'SECRET', null, repeat('SECRET', 2000), 'p');
                 update {table} set plain = 'q'; update {table} set email = 'SECRET-b'; delete from {table};"
            ));
        }
        let seen = rig.transactions(12).await.concat();
        let (a, b) = (hash("SECRET-a"), hash("SECRET-b"));
        let row = |email: &str, plain: &str| format!("id=1 email=\"{email}\" name=null ssn=\"***\" plain=\"{plain}\"");
        let (insert, update, delete) = ("INSERT public", "UPDATE public", "DELETE public");
        let expected = [
            format!("{insert}.d + {}", row(&a, "p")),
            format!("{update}.d + {}", row(&a, "q")),
            format!("{update}.d + {}", row(&b, "q")),
            format!("{delete}.d - id=1"),
            format!("{insert}.f + {}", row(&a, "p")),
            format!("{update}.f - {} + {}", row(&a, "p"), row(&a, "q")),
            format!("{update}.f - {} + {}", row(&a, "q"), row(&b, "q")),
            format!("{delete}.f - {}", row(&b, "q")),
            format!("{insert}.i + {}", row(&a, "p")),
            format!("{update}.i + {}", row(&a, "q")),
            format!("{update}.i - email=\"{a}\" + {}", row(&b, "q")),
            format!("{delete}.i - email=\"{b}\""),
        ];
        assert_eq!(seen, expected);
        let schema = rig.last_schema().await;
        let of = |at: usize| (schema.columns[at].name.as_str(), schema.columns[at].kind, schema.columns[at].nullable);
        assert_eq!(of(1), ("email", JsonKind::String, false));
        assert_eq!((of(2), of(3)), (("name", JsonKind::String, true), ("ssn", JsonKind::String, false)));
        assert_eq!(schema.columns.len(), 5);
        rig.stop().await.unwrap();
    });
}

#[test]
fn masked_numbers_bytes_and_json_are_texts() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key, n numeric(9, 2), b bytea, j jsonb, a int[])");
        let masks = [mask("public.t", "n", "hash"), mask("public.t", "?", "text")];
        let mut rig = running(&cluster, &masks).await;
        cluster.psql("insert into t values (1, 12.50, 'x', '{\"a\": 1}', '{1}'), (2, null, null, null, null)");
        let expected = |n: &str| format!("INSERT public.t + id={n} b=\"***\" j=\"***\" a=\"***\"");
        let seen = rig.transactions(1).await.concat();
        assert_eq!(seen[0], expected(&format!("1 n=\"{}\"", hash("12.50"))));
        assert_eq!(seen[1], expected("2 n=null"));
        let schema = rig.last_schema().await;
        assert!(schema.columns[1..].iter().all(|column| column.kind == JsonKind::String && column.sql_type == "text"));
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_renamed_column_stops_the_extract_and_goes_on_under_a_mask_of_its_new_name() {
    on_each_major(async |cluster| {
        for (number, rename) in [
            "alter table t rename email to mail",
            "alter table t rename email to mail; alter table t add email text",
            "alter table t rename to t_old",
        ]
        .into_iter()
        .enumerate()
        {
            for runs in [true, false] {
                cluster.psql("drop table if exists t, t_old; create table t (id int primary key, email text, n int)");
                let mut rig = Rig::new(&cluster);
                let name = format!("e_{number}_{runs}");
                rig.config.postgresql.slot = Some(name.clone());
                rig.config.postgresql.publication = None;
                let table = if number == 2 { "public.t" } else { "public.*" };
                set(&mut rig, &[mask(table, "email", "drop")]);
                rig.start().await;
                rig.until_begun().await;
                cluster.psql("insert into t values (1, 'SECRET', 1)");
                assert_eq!(rig.transactions(1).await.concat(), ["INSERT public.t + id=1 n=1"]);
                if !runs {
                    rig.stop().await.unwrap();
                }
                let renamed = if number == 2 { "t_old" } else { "t" };
                cluster.psql(&format!("begin; {rename}; insert into {renamed} values (2, 'SECRET', 2); commit"));
                if !runs {
                    rig.start().await;
                }
                let said = stopped(&mut rig).await;
                assert!(said.contains("email") && said.contains(&format!("public.{renamed}")), "{said}");
                assert_eq!(rig.all().await.len(), 1);
                set(&mut rig, &[mask("public.*", "*mail", "drop")]);
                rig.start().await;
                assert_eq!(rig.transactions(2).await[1], [format!("INSERT public.{renamed} + id=2 n=2")]);
                rig.stop().await.unwrap();
                cluster.drop_slot(&name);
                cluster.psql("drop publication trailcast_e1");
            }
        }
    });
}

#[test]
fn a_table_without_the_column_that_a_mask_names_stops_unless_it_may_come_without() {
    on_each_major(async |cluster| {
        let mut rig = running(&cluster, &[mask("public.t", "email", "drop")]).await;
        cluster.psql("create table t (id int primary key, mail text); insert into t values (1, 'SECRET')");
        let said = stopped(&mut rig).await;
        assert!(said.contains("column email of public.t") && said.contains("optional"), "{said}");
        // Now it is known before anything is streamed.
        rig.start().await;
        assert!(stopped(&mut rig).await.contains("public.t has no column email"));
        assert_eq!(rig.all().await.len(), 0);
        let mut optional = mask("public.t", "email", "drop");
        optional["optional"] = true.into();
        set(&mut rig, &[optional, mask("public.t", "mail", "null")]);
        rig.start().await;
        assert_eq!(rig.transactions(1).await.concat(), ["INSERT public.t + id=1 mail=null"]);
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_masked_column_that_is_dropped_and_columns_that_are_added_stop_nothing() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key, email text, n int)");
        let mut rig = running(&cluster, &[mask("public.t*", "email", "drop")]).await;
        cluster.psql(
            "insert into t values (1, 'SECRET', 1); alter table t add v int; insert into t values (2, 'SECRET', 2, 2);
             alter table t alter v type bigint; insert into t values (3, 'SECRET', 3, 3);",
        );
        rig.until_commits(3).await;
        cluster.psql("alter table t drop email; insert into t values (4, 4, 4)");
        let seen = rig.transactions(4).await.concat();
        assert_eq!(seen[2..], ["INSERT public.t + id=3 n=3 v=3", "INSERT public.t + id=4 n=4 v=4"]);
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_key_that_is_not_hashed_stops_the_extract_also_where_it_becomes_one_later() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key, email text not null)");
        let mut rig = Rig::new(&cluster);
        set(&mut rig, &[mask("public.t", "id", "text")]);
        rig.start().await;
        assert!(stopped(&mut rig).await.contains("column id belongs to the key of public.t"));
        set(&mut rig, &[mask("public.t", "email", "null")]);
        rig.start().await;
        rig.until_begun().await;
        cluster.psql("insert into t values (1, 'SECRET')");
        rig.until_commits(1).await;
        cluster
            .psql("alter table t drop constraint t_pkey, add primary key (email); insert into t values (2, 'SECRET2')");
        assert!(stopped(&mut rig).await.contains("column email belongs to the key"));
        set(&mut rig, &[mask("public.t", "email", "hash")]);
        rig.start().await;
        let seen = rig.transactions(2).await;
        assert_eq!(seen[1], [format!("INSERT public.t + id=2 email=\"{}\"", hash("SECRET2"))]);
        rig.stop().await.unwrap();
    });
}

#[test]
fn the_transaction_that_came_last_is_known_again_whatever_becomes_of_the_masks() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key, email text)");
        let mut rig = running(&cluster, &[mask("public.t", "email", "drop")]).await;
        let sets = [
            vec![mask("public.t", "email", "drop")],
            vec![],
            vec![mask("public.t", "email", "hash")],
            vec![mask("public.t", "email", "hash")],
            vec![mask("public.t", "email", "null")],
        ];
        for (number, masks) in sets.into_iter().enumerate() {
            cluster.psql(&format!("insert into t values ({number}, 'SECRET{number}')"));
            rig.until_commits(number as u64 + 1).await;
            rig.stop().await.unwrap();
            set(&mut rig, &masks);
            rig.start().await;
        }
        cluster.psql("insert into t values (9, 'SECRET9')");
        let seen = rig.transactions(6).await.concat();
        let expected = [
            "0".into(),
            "1".into(),
            "2 email=\"SECRET2\"".into(),
            format!("3 email=\"{}\"", hash("SECRET3")),
            format!("4 email=\"{}\"", hash("SECRET4")),
            "9 email=null".to_owned(),
        ];
        assert_eq!(seen, expected.map(|row| format!("INSERT public.t + id={row}")));
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_mask_of_a_table_holds_for_partitions_that_come_under_their_own_names() {
    on_each_major(async |cluster| {
        cluster.psql(
            "create table p (id int primary key, email text) partition by range (id);
             create table p1 partition of p for values from (0) to (10);
             create table parent (id int primary key, email text); create table child () inherits (parent);
             alter table child add primary key (id);
             create publication theirs for table p, parent with (publish_via_partition_root = false)",
        );
        let mut rig = Rig::new(&cluster);
        rig.config.postgresql.publication = Some("theirs".into());
        set(&mut rig, &[mask("public.p", "email", "drop"), mask("public.parent", "email", "drop")]);
        rig.start().await;
        rig.until_begun().await;
        cluster.psql("insert into p values (1, 'SECRET'); insert into child values (1, 'SECRET')");
        assert_eq!(rig.transactions(2).await.concat(), ["INSERT public.p1 + id=1", "INSERT public.child + id=1"]);
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_mask_of_a_partition_whose_rows_come_under_its_tables_name_is_refused() {
    on_each_major(async |cluster| {
        cluster.psql(
            "create table p (id int primary key, email text) partition by range (id);
             create table p1 partition of p for values from (0) to (10)",
        );
        let mut rig = Rig::new(&cluster);
        set(&mut rig, &[mask("public.p1", "email", "drop")]);
        rig.start().await;
        assert!(stopped(&mut rig).await.contains("name public.p in columns"));
    });
}

#[test]
fn a_value_that_did_not_change_is_given_where_the_whole_old_row_is() {
    on_each_major(async |cluster| {
        cluster.psql(
            "create table t (id int primary key, n int, big text, doc jsonb);
             alter table t alter big set storage external, alter doc set storage external, replica identity full;",
        );
        let mut rig = Rig::running(&cluster).await;
        cluster.psql(
            "insert into t values (1, 1, repeat('x', 9000), jsonb_build_array(repeat('y', 9000)));
             update t set n = 2; update t set big = null, n = 3;",
        );
        let seen = rig.transactions(3).await.concat();
        let (big, doc) = (format!("\"{}\"", "x".repeat(9000)), format!("[\"{}\"]", "y".repeat(9000)));
        let row = |n: i32, big: &str| format!("id=1 n={n} big={big} doc={doc}");
        assert_eq!(seen[1], format!("UPDATE public.t - {} + {}", row(1, &big), row(2, &big)));
        assert_eq!(seen[2], format!("UPDATE public.t - {} + {}", row(2, &big), row(3, "null")));
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_json_null_is_told_from_no_value_where_that_was_asked_for() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key, j json, b jsonb, a jsonb[])");
        let mut rig = Rig::new(&cluster);
        rig.config.json_null = JsonNull::Text;
        rig.start().await;
        rig.until_begun().await;
        cluster.psql(
            "insert into t values (1, 'null', 'null', array['null'::jsonb, null]), (2, null, null, null),
             (3, '\"null\"', '{\"a\": null}', '{}')",
        );
        assert_eq!(
            rig.transactions(1).await.concat(),
            [
                r#"INSERT public.t + id=1 j="null" b="null" a=["null",null]"#,
                "INSERT public.t + id=2 j=null b=null a=null",
                r#"INSERT public.t + id=3 j="\"null\"" b="{\"a\": null}" a=[]"#,
            ]
        );
        let schema = rig.last_schema().await;
        assert_eq!((schema.columns[2].kind, schema.columns[2].sql_type.as_str()), (JsonKind::String, "jsonb"));
        rig.stop().await.unwrap();
    });
}
