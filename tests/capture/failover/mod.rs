//! Goal: an extract goes on from a standby that is promoted, with nothing lost and nothing twice, and stops loudly at one that
//! never had what the trail holds. Method: primaries under load are killed and their standbys promoted behind an address that
//! moves with them; the trail's records, applied in order, are held against the table, and against a ledger of what was
//! acknowledged. Control: a server that trusts such a source is seen to mix two histories.
mod applied;
mod load;
mod site;
mod standby;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use trailcast::capture::RunState;

use self::applied::Applied;
use self::load::{IDS, Load, WRITERS};
use self::site::{SLOT, Site, TABLE, majors_with_failover};
use crate::capture::rig::{Rig, on_each_major, runtime};
use crate::support::extract::{capture_from, info, until_info};
use crate::support::subscriber::Next;
use crate::support::waiting::PATIENCE;
use crate::support::{Postgres, Server, skip, until};

/// How often the primary is killed: `TRAILCAST_PROMOTIONS`, twice when it says nothing.
fn promotions() -> u32 {
    let chosen = std::env::var("TRAILCAST_PROMOTIONS").ok().and_then(|number| number.parse().ok());
    chosen.unwrap_or(if std::env::var_os("TRAILCAST_TEST_LONG").is_some() { 20 } else { 2 })
}

/// Waits until the trail holds everything that is in the table, which gets one more row.
async fn until_all_is_captured(rig: &Rig, primary: &Postgres) {
    let last = IDS * WRITERS;
    primary.psql(&format!("insert into t values ({last}, 0)"));
    let deadline = Instant::now() + PATIENCE;
    while !rig.all().await.concat().iter().any(|line| line.contains(&format!("id={last} "))) {
        assert!(Instant::now() < deadline, "{:?}", rig.status());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Has a server write rows until its log has passed that place; gives their numbers.
fn write_past(server: &Postgres, position: &str) -> BTreeSet<u64> {
    let has_passed = format!("select pg_current_wal_flush_lsn() > '{position}'");
    let mut written = BTreeSet::new();
    for id in 1_000.. {
        server.psql(&format!("insert into t values ({id}, 0)"));
        written.insert(id);
        if server.psql(&has_passed) == "t" {
            break;
        }
    }
    written
}

#[test]
fn an_extract_goes_on_from_one_promoted_standby_after_the_other_under_load() {
    for installation in majors_with_failover() {
        runtime().block_on(async {
            let mut site = Site::new(installation);
            site.waits_for_its_standby();
            let mut rig = site.rig();
            rig.start().await;
            rig.until_begun().await;
            let load = Load::start(&site.source(), site.primary.port());
            for round in 1..=promotions() {
                site.until_slot_is_kept();
                load.until_more(300).await;
                site.kill_primary();
                let seen = rig.status().starts;
                site.promote();
                load.go_to(site.standby.port());
                rig.until(|status| status.status == RunState::Running && status.starts > seen).await;
                load.until_more(100).await;
                site.renew();
                site.waits_for_its_standby();
                println!("PostgreSQL {}, promotion {round}: {:?}", installation.major, rig.status().position);
            }
            load.until_more(300).await;
            let acknowledged = load.stop().await;
            until_all_is_captured(&rig, &site.primary).await;
            rig.stop().await.unwrap();
            let applied = Applied::of(&rig).await;
            let lost: Vec<_> = acknowledged.difference(&applied.inserted).collect();
            assert!(lost.is_empty(), "acknowledged and not in the trail: {lost:?}");
            assert_eq!(applied.table(), site.primary.psql("select id, v from t order by id"));
            println!("{} rows acknowledged, {} in the trail", acknowledged.len(), applied.inserted.len());
        });
    }
}

#[test]
fn an_extract_waits_while_its_address_leads_to_a_standby_that_is_not_promoted() {
    for installation in majors_with_failover() {
        runtime().block_on(async {
            let mut site = Site::new(installation);
            site.waits_for_its_standby();
            let mut rig = site.rig();
            rig.start().await;
            rig.until_begun().await;
            site.until_slot_is_kept();
            site.primary.psql("insert into t values (1, 0)");
            rig.until_commits(1).await;
            site.kill_primary();
            rig.until(|status| status.last_error.as_ref().is_some_and(|said| said.contains("copy of slot"))).await;
            assert_eq!(rig.status().status, RunState::Retrying);
            site.promote();
            site.standby.psql("insert into t values (2, 0)");
            let rows = [["INSERT public.t + id=1 v=0"], ["INSERT public.t + id=2 v=0"]];
            assert_eq!(rig.transactions(2).await, rows);
            // The one that was left behind comes back.
            rig.stop().await.unwrap();
            site.primary.start_again();
            site.address.move_to(site.primary.port());
            let before = site.primary.psql("select confirmed_flush_lsn from pg_replication_slots where plugin <> ''");
            rig.start().await;
            let error = rig.end().await;
            assert_eq!(error.reason(), "other_timeline", "{error}");
            assert!(error.to_string().contains("timeline 2") && error.to_string().contains("timeline 1"), "{error}");
            let after = site.primary.psql("select confirmed_flush_lsn from pg_replication_slots where plugin <> ''");
            assert_eq!((before, rig.all().await.len()), (after, 2));
        });
    }
}

#[test]
fn a_standby_that_was_behind_the_trail_stops_the_extract() {
    for installation in majors_with_failover() {
        runtime().block_on(async {
            let mut site = Site::new(installation);
            let mut rig = site.rig();
            rig.start().await;
            rig.until_begun().await;
            site.primary.psql("insert into t values (1, 0)");
            rig.until_commits(1).await;
            site.until_slot_is_kept();
            site.until_standby_has_all();
            site.cut_standby_off();
            site.primary.psql("insert into t values (2, 0)");
            rig.until_commits(2).await;
            rig.stop().await.unwrap();
            site.kill_primary();
            site.promote();
            let confirmed = "select confirmed_flush_lsn from pg_replication_slots where slot_name = 'trailcast_e1'";
            let before = site.standby.psql(confirmed);
            rig.start().await;
            let error = rig.end().await;
            assert_eq!(error.reason(), "other_timeline", "{error}");
            let status = rig.status();
            assert_eq!((status.status, status.last_error_reason), (RunState::Failed, Some("other_timeline")));
            // Nor when it has written past the place where the trail stands.
            let position = rig.appender().await.source_position().unwrap().to_string();
            write_past(&site.standby, &position);
            rig.start().await;
            let error = rig.end().await;
            assert_eq!(error.reason(), "other_timeline", "{error}");
            assert!(error.to_string().contains(&position), "{error}");
            assert_eq!(site.standby.psql(confirmed), before);
            assert_eq!(rig.all().await, [["INSERT public.t + id=1 v=0"], ["INSERT public.t + id=2 v=0"]]);
            println!("PostgreSQL {}: {error}", installation.major);
        });
    }
}

#[test]
fn a_standby_that_is_promoted_beside_the_trails_source_stops_the_extract() {
    for installation in majors_with_failover() {
        runtime().block_on(async {
            let mut site = Site::new(installation);
            let beside = site.primary.standby("standby_beside");
            let mut rig = site.rig();
            rig.start().await;
            rig.until_begun().await;
            site.primary.psql("insert into t values (1, 0)");
            rig.until_commits(1).await;
            site.until_kept_by(&beside);
            site.until_slot_is_kept();
            site.until_standby_has_all();
            site.kill_primary();
            site.promote();
            site.standby.psql("insert into t values (2, 0)");
            rig.until_commits(2).await;
            rig.stop().await.unwrap();
            // It has the same number for its timeline, and nothing of what the other one wrote.
            beside.promote();
            let position = rig.appender().await.source_position().unwrap().to_string();
            write_past(&beside, &position);
            site.address.move_to(beside.port());
            rig.start().await;
            let error = rig.end().await;
            assert_eq!(error.reason(), "source_rewound", "{error}");
            assert_eq!(rig.all().await, [["INSERT public.t + id=1 v=0"], ["INSERT public.t + id=2 v=0"]]);
        });
    }
}

#[test]
fn a_promoted_server_without_the_slot_stops_the_extract() {
    on_each_major(async |primary| {
        primary.psql(TABLE);
        primary.psql("create publication trailcast_e1 for table t");
        primary.psql("select pg_create_logical_replication_slot('theirs', 'pgoutput')");
        let standby = primary.standby("standby_0");
        let mut rig = Rig::new(&primary);
        rig.config.postgresql.slot = Some("theirs".into());
        rig.start().await;
        rig.until_begun().await;
        primary.psql("insert into t values (1, 0)");
        rig.until_commits(1).await;
        rig.stop().await.unwrap();
        let position = rig.appender().await.source_position().unwrap().to_string();
        let has_all = format!("select pg_last_wal_replay_lsn() >= '{position}'");
        until(|| if standby.psql(&has_all) == "t" { Ok(()) } else { Err("it is behind".to_owned()) });
        standby.promote();
        rig.config.source.port = Some(standby.port());
        rig.start().await;
        let error = rig.end().await;
        assert_eq!(error.reason(), "slot_missing", "{error}");
        assert_eq!(rig.all().await.len(), 1);
    });
}

#[test]
fn a_slot_is_made_so_that_standbys_keep_it_and_one_of_ours_from_earlier_becomes_such_a_one() {
    for installation in majors_with_failover() {
        runtime().block_on(async {
            let cluster = installation.start();
            cluster.psql(TABLE);
            let failover = "select failover from pg_replication_slots";
            let mut rig = Rig::running(&cluster).await;
            assert_eq!(cluster.psql(failover), "t");
            rig.stop().await.unwrap();
            cluster.drop_slot(SLOT);
            cluster.psql(&format!("select pg_create_logical_replication_slot('{SLOT}', 'pgoutput')"));
            assert_eq!(cluster.psql(failover), "f");
            let mut rig = Rig::running(&cluster).await;
            rig.until(|status| status.status == RunState::Running).await;
            assert_eq!(cluster.psql(failover), "t");
            rig.stop().await.unwrap();
            // One that somebody named is left as it is.
            cluster.psql("select pg_create_logical_replication_slot('theirs', 'pgoutput')");
            let mut rig = Rig::new(&cluster);
            rig.config.postgresql.slot = Some("theirs".into());
            rig.start().await;
            rig.until(|status| status.status == RunState::Running).await;
            assert_eq!(cluster.psql(&format!("{failover} where slot_name = 'theirs'")), "f");
            rig.stop().await.unwrap();
        });
    }
}

/// The numbers of the stream's rows, up to the first `last`.
fn ids_until(server: &Server, last: u64) -> BTreeSet<u64> {
    let mut subscriber = server.subscribe("s1", "begin=earliest").unwrap();
    let (deadline, mut ids) = (Instant::now() + PATIENCE, BTreeSet::new());
    while !ids.contains(&last) {
        assert!(Instant::now() < deadline, "no {last} after {ids:?}\n{}", server.log_text());
        match subscriber.next(Duration::from_millis(100)) {
            Next::Record(record) => ids.extend(record.json["after"]["id"].as_u64()),
            Next::Quiet => {}
            Next::Ended(end) => panic!("the reading ended: {end:?}"),
        }
    }
    ids
}

#[test]
fn a_server_that_trusts_its_source_is_seen_to_mix_two_histories() {
    if !cfg!(feature = "fault-injection") {
        return skip("the control needs --features fault-injection");
    }
    for installation in majors_with_failover() {
        let mut site = Site::new(installation);
        let server = Server::start_with(&[], &[("TRAILCAST_TEST_TRUST_SOURCE", "1")]);
        capture_from(&server, &site.primary, site.source(), "e1", &["public.*"], "a1");
        server.make_stream("s1", "a1");
        site.primary.psql("insert into t values (1, 0)");
        ids_until(&server, 1);
        until_info(&server, "e1", |info| info["slot"]["failover"] == true);
        site.until_slot_is_kept();
        site.until_standby_has_all();
        site.cut_standby_off();
        site.primary.psql("insert into t select generate_series(2, 300), 0; insert into t values (301, 0)");
        ids_until(&server, 301);
        let position = info(&server, "e1")["position"].as_str().unwrap().to_owned();
        site.kill_primary();
        site.promote();
        let written = write_past(&site.standby, &position);
        site.standby.psql("insert into t values (9000, 0)");
        let seen = ids_until(&server, 9_000);
        let is_there = |id: &&u64| site.standby.psql(&format!("select count(*) from t where id = {id}")) == "1";
        let never_there = seen.iter().filter(|id| !is_there(id)).count();
        let skipped = written.difference(&seen).count();
        println!("PostgreSQL {}: {never_there} rows never were there, {skipped} are skipped", installation.major);
        assert!(never_there > 0 && skipped > 0, "two histories were mixed, and nobody could tell");
    }
}
