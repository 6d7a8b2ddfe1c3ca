//! Goal: an extract that reads from a standby goes on, whatever timeline that standby goes over to. Method: the standby is
//! promoted, or follows another one that was, while the extract reads from it or is away.

use super::site::{TABLE, majors_with_failover};
use crate::capture::rig::{Rig, runtime};
use crate::support::{Postgres, until};

/// An extract that runs and reads from a standby.
async fn rig_of_standby(primary: &Postgres, standby: &Postgres) -> Rig {
    let mut rig = Rig::new(standby);
    rig.config.postgresql.publication = Some("trailcast_e1".into());
    rig.start().await;
    // A standby makes a slot when its primary says which transactions run.
    until(|| {
        primary.psql("select pg_log_standby_snapshot()");
        if rig.trail.durable().borrow().source.is_some() { Ok(()) } else { Err("no slot".to_owned()) }
    });
    rig
}

#[test]
fn an_extract_of_a_standby_goes_on_when_that_is_promoted_while_the_extract_is_away() {
    for installation in majors_with_failover() {
        runtime().block_on(async {
            let primary = installation.start();
            primary.psql(TABLE);
            primary.psql("create publication trailcast_e1 for table t");
            let standby = primary.standby("standby_0");
            let mut rig = rig_of_standby(&primary, &standby).await;
            assert_eq!(standby.psql("select failover from pg_replication_slots where slot_name = 'trailcast_e1'"), "f");
            primary.psql("insert into t values (1, 0)");
            rig.until_commits(1).await;
            rig.stop().await.unwrap();
            standby.promote();
            standby.psql("insert into t values (2, 0)");
            rig.start().await;
            let rows = [["INSERT public.t + id=1 v=0"], ["INSERT public.t + id=2 v=0"]];
            assert_eq!(rig.transactions(2).await, rows);
            rig.stop().await.unwrap();
        });
    }
}

#[test]
fn an_extract_of_a_standby_goes_on_when_that_gets_another_timeline_while_it_is_read() {
    for installation in majors_with_failover() {
        for is_promoted in [true, false] {
            runtime().block_on(async {
                let primary = installation.start();
                primary.psql(TABLE);
                primary.psql("create publication trailcast_e1 for table t");
                let (read, other) = (primary.standby("standby_read"), primary.standby("standby_other"));
                let mut rig = rig_of_standby(&primary, &read).await;
                primary.psql("insert into t values (1, 0)");
                rig.until_commits(1).await;
                assert_eq!(rig.trail.source_identity().history().as_deref(), Some("1"));
                let promoted = if is_promoted { &read } else { &other };
                let end = primary.psql("select pg_current_wal_insert_lsn()");
                let has_all = format!("select pg_last_wal_replay_lsn() >= '{end}'");
                for standby in [&read, &other] {
                    until(|| if standby.psql(&has_all) == "t" { Ok(()) } else { Err("it is behind".to_owned()) });
                }
                promoted.promote();
                if !is_promoted {
                    other.adopt(&read, "standby_read");
                }
                promoted.psql("insert into t values (2, 0)");
                rig.until_commits(2).await;
                until(|| {
                    let history = rig.trail.source_identity().history();
                    if history.as_deref() == Some("2") { Ok(()) } else { Err(format!("{history:?}")) }
                });
                // All of that was one session.
                assert_eq!(rig.status().starts, 1);
                rig.stop().await.unwrap();
                rig.start().await;
                promoted.psql("insert into t values (3, 0)");
                let row = |id: u32| vec![format!("INSERT public.t + id={id} v=0")];
                assert_eq!(rig.transactions(3).await, [row(1), row(2), row(3)]);
                rig.stop().await.unwrap();
            });
        }
    }
}
