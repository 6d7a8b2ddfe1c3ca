//! Log-in and TLS, and what is said when either fails. The clusters of the tests want SCRAM-SHA-256.

use trailcast::capture::{CaptureError, RunState};
use trailcast::catalog::extract::{Secret, TlsMode};

use crate::capture::rig::{Rig, on_each_major, runtime};
use crate::support::Postgres;

#[test]
fn a_wrong_password_stops_loudly_and_is_not_shown() {
    on_each_major(async |cluster| {
        let mut rig = Rig::new(&cluster);
        rig.config.source.password = Some(Secret::new("not the word"));
        rig.start().await;
        let error = rig.end().await;
        assert!(matches!(error, CaptureError::Refused(_)), "{error}");
        assert!(!error.to_string().contains("not the word"), "{error}");
    });
}

#[test]
fn a_server_that_is_away_is_waited_for() {
    on_each_major(async |mut cluster| {
        cluster.psql("create table t (id int primary key)");
        cluster.stop(crate::support::postgres::Stop::Fast);
        let mut rig = Rig::new(&cluster);
        rig.start().await;
        rig.until(|status| status.status == RunState::Retrying && status.retries > 1).await;
        cluster.start_again();
        rig.until(|status| status.status == RunState::Running && status.last_error.is_none()).await;
        cluster.psql("insert into t values (1)");
        assert_eq!(rig.transactions(1).await, [["INSERT public.t + id=1"]]);
        rig.stop().await.unwrap();
    });
}

#[test]
fn tls_is_used_where_asked_for_and_verified_only_by_verify_full() {
    let Some(cluster) = Postgres::newest_with_tls() else { return };
    cluster.psql("create table t (id int primary key)");
    runtime().block_on(async {
        for (tls, encrypted) in [(TlsMode::Require, "t"), (TlsMode::Prefer, "t"), (TlsMode::Disable, "f")] {
            let mut rig = Rig::new(&cluster);
            rig.config.source.tls = tls;
            rig.start().await;
            rig.until(|status| status.status == RunState::Running).await;
            let sql = "select distinct s.ssl from pg_stat_ssl s join pg_stat_replication r using (pid)";
            assert_eq!(cluster.psql(sql), encrypted, "{tls:?}");
            rig.stop().await.unwrap();
        }
        // The test's authority is not among the system's.
        let mut rig = Rig::new(&cluster);
        rig.config.source.tls = TlsMode::VerifyFull;
        rig.start().await;
        rig.until(|status| status.last_error.as_ref().is_some_and(|error| error.contains("TLS"))).await;
        let _ = rig.stop().await;
    });
}

#[test]
fn tls_that_the_server_does_not_have_is_refused_unless_preferred() {
    on_each_major(async |cluster| {
        let mut rig = Rig::new(&cluster);
        rig.config.source.tls = TlsMode::Require;
        rig.start().await;
        let error = rig.end().await;
        assert!(error.to_string().contains("TLS"), "{error}");
        rig.config.source.tls = TlsMode::Prefer;
        rig.start().await;
        rig.until(|status| status.status == RunState::Running).await;
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_role_that_only_owns_its_tables_captures_them_and_new_ones_after_a_restart() {
    on_each_major(async |cluster| {
        cluster.psql(
            "create role cdc login replication password 'cdc'; grant create on database postgres to cdc;
             grant all on schema public to cdc; set role cdc; create table t (id int primary key);",
        );
        let mut rig = Rig::new(&cluster);
        rig.config.source.user = Some("cdc".into());
        rig.config.source.password = Some(Secret::new("cdc"));
        rig.start().await;
        rig.until_begun().await;
        cluster.psql("insert into t values (1); set role cdc; create table u (id int primary key);");
        rig.transactions(1).await;
        rig.stop().await.unwrap();
        rig.start().await;
        rig.until(|status| status.status == RunState::Running).await;
        cluster.psql("insert into u values (2)");
        assert_eq!(rig.transactions(2).await, [["INSERT public.t + id=1"], ["INSERT public.u + id=2"]]);
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_slot_that_a_crash_left_before_the_trail_knew_of_it_is_taken_over() {
    on_each_major(async |cluster| {
        cluster.psql(
            "create table t (id int primary key); create publication trailcast_e1 for table t;
             select pg_create_logical_replication_slot('trailcast_e1', 'pgoutput'); insert into t values (1);",
        );
        let mut rig = Rig::running(&cluster).await;
        assert_eq!(rig.transactions(1).await, [["INSERT public.t + id=1"]]);
        rig.stop().await.unwrap();
        cluster.psql("drop publication trailcast_e1");
        rig.start().await;
        let error = rig.end().await;
        // Ours is made again; what was not published meanwhile is missing.
        assert_eq!(error.reason(), "coverage_lost", "{error}");
        assert_eq!(cluster.psql("select pubname from pg_publication"), "trailcast_e1");
    });
}
