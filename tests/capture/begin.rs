//! Goal: a new trail begins at a position that somebody gives, with every transaction from there on and none before, or is
//! refused before anything is made. Method: a slot that keeps a known log, and positions in and around it.

use serde_json::json;
use trailcast::capture::RunState;

use crate::capture::rig::{Rig, on_each_major};
use crate::support::{Postgres, Server};

const MADE: &str = "create table t (id int primary key); create publication trailcast_e1 for table t;
    select pg_create_logical_replication_slot('trailcast_e1', 'pgoutput')";

fn log_end(cluster: &Postgres) -> String {
    // Flushed, so that a position is within the log that can be read.
    cluster.psql("select pg_switch_wal(); select pg_current_wal_flush_lsn()").lines().last().unwrap().to_owned()
}

#[test]
fn a_trail_begins_at_the_position_that_was_given() {
    on_each_major(async |cluster| {
        cluster.psql(MADE);
        cluster.psql("insert into t values (1)");
        let begin = log_end(&cluster);
        cluster.psql("insert into t values (2); insert into t values (3)");
        let mut rig = Rig::new(&cluster);
        rig.config.begin = begin.clone();
        rig.start().await;
        let rows = [["INSERT public.t + id=2"], ["INSERT public.t + id=3"]];
        assert_eq!(rig.transactions(2).await, rows);
        rig.stop().await.unwrap();
        // It is where the trail began: the next session goes on where the trail stands.
        cluster.psql("insert into t values (4)");
        cluster
            .psql("select pg_replication_slot_advance('trailcast_e1', confirmed_flush_lsn) from pg_replication_slots");
        rig.start().await;
        assert_eq!(rig.transactions(3).await[2], ["INSERT public.t + id=4"]);
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_position_that_the_slot_cannot_give_is_refused_with_the_range_that_it_can() {
    Postgres::on_each_major(|cluster| {
        cluster.psql("create table t (id int primary key)");
        let server = Server::start();
        let extract =
            |begin: &str| json!({"source": cluster.source(), "tables": ["public.*"], "trail": "a1", "begin": begin});
        let refused = |begin: &str, code: u16| {
            let said = server.post("/services/v2/extracts/e1", &extract(begin)).expect(code).text();
            server.get("/services/v2/extracts/e1").expect(404);
            server.get("/services/v2/trails/a1").expect(404);
            said
        };
        assert!(refused("yesterday", 400).contains("begin: "));
        // There is no slot.
        let said = refused("0/1", 409);
        assert!(said.contains("begin: ") && said.contains("slot trailcast_e1 is not"), "{said}");
        let made = "select (select count(*) from pg_publication) + (select count(*) from pg_replication_slots)";
        assert_eq!(cluster.psql(made), "0");
        cluster.psql("create publication trailcast_e1 for table t");
        cluster.psql("select pg_create_logical_replication_slot('trailcast_e1', 'pgoutput')");
        for begin in ["0/1", "FF/0"] {
            let said = refused(begin, 409);
            assert!(said.contains("begin: ") && said.contains("was confirmed, to "), "{said}");
        }
        server.post("/services/v2/extracts/e1", &extract(&log_end(&cluster))).expect(200);
    });
}

#[test]
fn an_extract_of_the_configuration_file_stops_where_it_cannot_begin() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key)");
        let mut rig = Rig::new(&cluster);
        rig.config.begin = "0/1".into();
        rig.start().await;
        let error = rig.end().await;
        assert_eq!(error.reason(), "configuration", "{error}");
        assert_eq!(rig.status().status, RunState::Failed);
        assert_eq!(cluster.psql("select count(*) from pg_replication_slots"), "0");
        assert_eq!(cluster.psql("select count(*) from pg_publication"), "0");
    });
}
