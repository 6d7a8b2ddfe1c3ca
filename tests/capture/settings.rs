//! Goal: no setting of a role or of a database ends our sessions or changes what they are told. Method: a role of its own for
//! the extract, hostile values for everything that such a role may have set, first by role, then by database.

use trailcast::capture::RunState;
use trailcast::capture::postgres::sql_client::SqlClient;
use trailcast::catalog::extract::{ExtractConfig, Secret};

use crate::capture::rig::{Rig, on_each_major};
use crate::support::Postgres;

/// Each setting, what is hostile about it, and what our sessions have.
const HOSTILE: [(u32, &str, &str, &str); 19] = [
    (13, "statement_timeout", "1s", "0"),
    (13, "lock_timeout", "200ms", "0"),
    (13, "idle_in_transaction_session_timeout", "1s", "0"),
    (14, "idle_session_timeout", "1s", "0"),
    (17, "transaction_timeout", "1s", "0"),
    (13, "wal_sender_timeout", "2s", "1min"),
    (13, "default_transaction_read_only", "on", "off"),
    (13, "default_transaction_isolation", "serializable", "read committed"),
    (13, "default_transaction_deferrable", "on", "off"),
    (13, "client_min_messages", "error", "warning"),
    (13, "search_path", "pg_temp", "\"$user\", public"),
    (13, "quote_all_identifiers", "on", "off"),
    (13, "standard_conforming_strings", "off", "on"),
    (13, "client_encoding", "LATIN1", "UTF8"),
    (13, "DateStyle", "SQL, DMY", "ISO, MDY"),
    (13, "IntervalStyle", "sql_standard", "postgres"),
    (13, "TimeZone", "Asia/Kathmandu", "UTC"),
    (13, "extra_float_digits", "-15", "3"),
    (13, "bytea_output", "escape", "hex"),
];

fn known_to(cluster: &Postgres) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let major = cluster.major();
    let known = HOSTILE.iter().filter(move |(since, ..)| major >= *since);
    known.map(|(_, name, hostile, ours)| (*name, *hostile, *ours))
}

/// The role `cdc`, and hostile values for `whom`; the tests' own role keeps its own.
fn make_hostile(cluster: &Postgres, whom: &str) {
    for (name, hostile, _) in known_to(cluster) {
        cluster.psql(&format!("alter role postgres set {name} from current; alter {whom} set {name} = '{hostile}'"));
    }
}

fn as_cdc(rig: &Rig) -> ExtractConfig {
    let mut config = rig.config.clone();
    config.source.user = Some("cdc".into());
    config.source.password = Some(Secret::new("cdc"));
    config
}

#[test]
fn settings_of_role_and_database_do_not_reach_our_sessions() {
    on_each_major(async |cluster| {
        cluster.psql("create role cdc superuser login replication password 'cdc'");
        for whom in ["role cdc", "database postgres", "role cdc in database postgres"] {
            make_hostile(&cluster, whom);
            let mut session = SqlClient::open(&as_cdc(&Rig::new(&cluster)).source).await.unwrap();
            for (name, hostile, ours) in known_to(&cluster) {
                let rows = session.run(&format!("show {name}")).await.unwrap();
                assert_eq!(rows, [[Some(ours.to_owned())]], "{name} = {hostile} of {whom}");
            }
            session.close().await;
            cluster.psql("alter role cdc reset all; alter role cdc in database postgres reset all");
        }
    });
}

#[test]
fn capture_begins_and_goes_on_whatever_role_and_database_have_set() {
    on_each_major(async |cluster| {
        cluster.psql(
            "create role cdc superuser login replication password 'cdc'; create type mood as enum ('fine');
             create schema pgx; create table pgx.t (id int primary key);
             create table t (id int primary key, m mood, at timestamptz, took interval, b bytea, f float8);",
        );
        make_hostile(&cluster, "role cdc");
        let mut rig = Rig::new(&cluster);
        rig.config = as_cdc(&rig);
        // The slot waits for a transaction that is open already, for longer than any of those limits.
        let held = "begin; insert into t (id) values (0); select pg_sleep(2.5); commit";
        let mut open = cluster.psql_command().args(["-c", held]).stdout(std::process::Stdio::null()).spawn().unwrap();
        let waiting = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
        while cluster.psql(waiting) != "1" {}
        rig.start().await;
        rig.until_begun().await;
        assert!(open.wait().unwrap().success());
        cluster.psql("insert into t values (1, 'fine', '2026-01-02 03:04:05Z', '1 day 2 hours', '\\x00ff10', 0.1)");
        let row =
            "INSERT public.t + id=1 m=\"fine\" at=\"2026-01-02 03:04:05+00\" took=\"1 day 02:00:00\" b=\"AP8Q\" f=0.1";
        assert_eq!(rig.transactions(1).await, [[row]]);
        let types: Vec<_> = rig.last_schema().await.columns.iter().map(|column| column.sql_type.clone()).collect();
        assert_eq!(types[..2], ["integer", "mood"]);
        // The connection for the catalogue has been idle for longer than a session may when it is needed again.
        cluster.psql("select pg_sleep(1.5); create table u (id int primary key); insert into u values (2)");
        assert_eq!(rig.transactions(2).await[1], ["INSERT public.u + id=2"]);
        let status = rig.status();
        assert_eq!((status.status, status.retries, status.starts), (RunState::Running, 0, 1), "{status:?}");
        rig.stop().await.unwrap();
    });
}
