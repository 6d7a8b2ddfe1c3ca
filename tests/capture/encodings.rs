//! Goal: the character set of a database is no reason to stop, and nothing of a text is lost. Method: databases of several
//! sets, with bytes in rows and names that no set allows.

use trailcast::capture::CaptureError;

use crate::capture::rig::{Rig, on_each_major};
use crate::support::Postgres;

/// A rig for a new database of that character set, which has its name.
fn rig_of(cluster: &Postgres, encoding: &str) -> Rig {
    cluster.psql(&format!("create database {encoding} encoding '{encoding}' locale 'C' template template0"));
    let mut rig = Rig::new(cluster);
    rig.config.source.database = encoding.to_owned();
    rig.config.postgresql.slot = Some(encoding.to_owned());
    rig
}

/// Runs statements in that database; what they write in `E''` are its own bytes.
fn psql(cluster: &Postgres, database: &str, sql: &str) {
    cluster.psql(&format!("\\connect {database}\nset client_encoding = 'SQL_ASCII';\n{sql}"));
}

#[test]
fn bytes_of_a_database_without_a_character_set_come_through_whatever_they_are() {
    on_each_major(async |cluster| {
        let mut rig = rig_of(&cluster, "sql_ascii");
        rig.start().await;
        rig.until_begun().await;
        psql(
            &cluster,
            "sql_ascii",
            r#"do $$ begin execute E'create table "caf\xe9" (id int primary key, "n\xff" text, vs text[], j json, u text)'; end $$;
             do $$ begin execute E'insert into "caf\xe9" values (1, $1, $2, $3, $4)'
               using E'caf\xe9', array[E'\xff', E'a"\\'], E'{"a" : "\xc3"}'::json, E'\xc3\xa9 \xef\xbf\xbdE9'; end $$;
             do $$ begin execute E'alter table "caf\xe9" replica identity full; delete from "caf\xe9"'; end $$;"#,
        );
        let row = "id=1 n\u{FFFD}FF=\"caf\u{FFFD}E9\" vs=[\"\u{FFFD}FF\",\"a\\\"\\\\\"] j={\"a\":\"\u{FFFD}C3\"} \
                   u=\"\u{e9} \u{FFFD}EF\u{FFFD}BF\u{FFFD}BDE9\"";
        let table = "public.caf\u{FFFD}E9";
        let seen = rig.transactions(2).await.concat();
        assert_eq!(seen, [format!("INSERT {table} + {row}"), format!("DELETE {table} - {row}")]);
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_table_of_such_a_database_can_be_named_and_left_out_and_published_by_its_name() {
    on_each_major(async |cluster| {
        let mut rig = rig_of(&cluster, "sql_ascii");
        psql(
            &cluster,
            "sql_ascii",
            r#"create table t (id int primary key, v text); create table bad (id int primary key, v text);
             do $$ begin execute E'create table "caf\xe9" (id int primary key)'; end $$;"#,
        );
        // Not the whole schema: each table is published by its name.
        let tables = ["public.t", "public.caf\u{FFFD}E9"].map(|pattern| pattern.to_owned().try_into().unwrap());
        rig.config.tables = tables.into();
        rig.start().await;
        rig.until_begun().await;
        psql(
            &cluster,
            "sql_ascii",
            r#"insert into bad values (1, E'\xe9'); do $$ begin execute E'insert into "caf\xe9" values (1)'; end $$;
             insert into t values (1, E'\x80');"#,
        );
        let seen = rig.transactions(2).await.concat();
        assert_eq!(seen, ["INSERT public.caf\u{FFFD}E9 + id=1", "INSERT public.t + id=1 v=\"\u{FFFD}80\""]);
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_database_of_another_character_set_is_read_as_unicode() {
    on_each_major(async |cluster| {
        for (encoding, bytes, text) in [("latin1", r"\xe9\x80", "\u{e9}\u{80}"), ("euc_jp", r"\xc6\xfc", "日")] {
            let mut rig = rig_of(&cluster, encoding);
            rig.start().await;
            rig.until_begun().await;
            psql(
                &cluster,
                encoding,
                &format!(
                    r#"do $$ begin execute E'create table "{bytes}" (id int primary key, v text)'; end $$;
                     do $$ begin execute E'insert into "{bytes}" values (1, $1)' using E'{bytes}'; end $$;"#
                ),
            );
            let expected = format!("INSERT public.{text} + id=1 v=\"{text}\"");
            assert_eq!(rig.transactions(1).await, [[expected]], "{encoding}");
            rig.stop().await.unwrap();
        }
    });
}

#[test]
fn a_character_that_unicode_does_not_have_stops_with_what_can_be_done() {
    on_each_major(async |cluster| {
        let mut rig = rig_of(&cluster, "win1252");
        rig.start().await;
        rig.until_begun().await;
        psql(&cluster, "win1252", r"create table t (id int primary key, v text); insert into t values (1, E'\x81');");
        let error = rig.end().await;
        assert!(matches!(error, CaptureError::Refused(_)), "{error}");
        assert!(error.to_string().contains("22P05"), "{error}");
    });
}
