//! Goal: rows that a filter leaves out never come, the application's writes are never refused for it, and a filter that is
//! changed behind our back is put back and told.

use std::process::Output;

use serde_json::{Value, json};
use trailcast::capture::RunState;

use crate::capture::rig::{Rig, on_each_major};
use crate::support::extract::until_info;
use crate::support::{Postgres, Server};

const ORDERS: &str = "create table orders (id int, region text, n int, primary key (id, region));
                      create table other (id int primary key)";
const EU: &str = "region = 'eu'";

fn set(rig: &mut Rig, filters: &[(&str, &str)]) {
    let filters: Vec<Value> = filters.iter().map(|(table, filter)| json!({"table": table, "filter": filter})).collect();
    rig.config.row_filters = serde_json::from_value(filters.into()).unwrap();
}

async fn running(cluster: &Postgres, filters: &[(&str, &str)]) -> Rig {
    let mut rig = Rig::new(cluster);
    set(&mut rig, filters);
    rig.start().await;
    rig.until_begun().await;
    rig
}

fn try_psql(cluster: &Postgres, sql: &str) -> Output {
    cluster.psql_command().args(["-c", sql]).output().unwrap()
}

fn published(cluster: &Postgres) -> String {
    cluster.psql(
        "select string_agg(c.relname || ' ' || coalesce(pg_get_expr(r.prqual, r.prrelid), '-'), ', ' order by c.relname)
         from pg_publication_rel r join pg_class c on c.oid = r.prrelid join pg_publication p on p.oid = r.prpubid
         where p.pubname = 'trailcast_e1'",
    )
}

#[test]
fn only_rows_that_the_filter_lets_through_come_and_moves_across_it_are_inserts_and_deletes() {
    on_each_major(async |cluster| {
        cluster.psql(ORDERS);
        let mut rig = running(&cluster, &[("public.orders", EU)]).await;
        assert_eq!(published(&cluster), "orders (region = 'eu'::text), other -");
        cluster.psql(
            "insert into orders values (1, 'us', 1); insert into orders values (2, 'eu', 1);
             update orders set n = 2; update orders set region = 'eu' where id = 1;
             update orders set region = 'us' where id = 2; insert into other values (1);",
        );
        assert_eq!(
            rig.transactions(5).await.concat(),
            [
                "INSERT public.orders + id=2 region=\"eu\" n=1",
                "UPDATE public.orders + id=2 region=\"eu\" n=2",
                "INSERT public.orders + id=1 region=\"eu\" n=2",
                "DELETE public.orders - id=2 region=\"eu\"",
                "INSERT public.other + id=1",
            ]
        );
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_table_that_is_made_later_is_published_with_its_filter_from_the_beginning() {
    on_each_major(async |cluster| {
        cluster.psql("create table other (id int primary key)");
        let mut rig = running(&cluster, &[("public.orders", EU)]).await;
        cluster.psql("create table orders (id int, region text, n int, primary key (id, region))");
        let waiting = async {
            while published(&cluster) != "orders (region = 'eu'::text), other -" && rig.status().last_error.is_none() {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        let seen = tokio::time::timeout(std::time::Duration::from_secs(60), waiting).await;
        assert!(seen.is_ok() && rig.status().last_error.is_none(), "{} {:?}", published(&cluster), rig.status());
        cluster.psql("insert into orders values (1, 'us', 1), (2, 'eu', 1)");
        assert_eq!(rig.transactions(1).await.concat(), ["INSERT public.orders + id=2 region=\"eu\" n=1"]);
        rig.stop().await.unwrap();
    });
}

#[test]
fn filters_are_given_changed_and_taken_away_without_a_gap() {
    on_each_major(async |cluster| {
        cluster.psql(ORDERS);
        let mut rig = Rig::running(&cluster).await;
        let steps = [
            (vec![("public.orders", EU)], "orders (region = 'eu'::text), other -"),
            (vec![("public.orders", "region = 'us'")], "orders (region = 'us'::text), other -"),
            (vec![], "orders -, other -"),
        ];
        for (at, (filters, expected)) in steps.iter().enumerate() {
            rig.stop().await.unwrap();
            set(&mut rig, filters);
            rig.start().await;
            rig.until(|status| status.status == RunState::Running).await;
            assert_eq!(published(&cluster), *expected);
            cluster.psql(&format!("insert into orders values ({at}, 'us', 1), ({at}, 'eu', 1)"));
            rig.until_commits(at as u64 + 1).await;
        }
        assert_eq!(
            rig.transactions(3).await.concat(),
            [
                "INSERT public.orders + id=0 region=\"eu\" n=1",
                "INSERT public.orders + id=1 region=\"us\" n=1",
                "INSERT public.orders + id=2 region=\"us\" n=1",
                "INSERT public.orders + id=2 region=\"eu\" n=1",
            ]
        );
        assert_eq!(rig.coverage.snapshot().gaps_written, 0);
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_filter_that_is_changed_at_the_source_is_put_back_and_told() {
    on_each_major(async |cluster| {
        cluster.psql(ORDERS);
        let mut rig = running(&cluster, &[("public.orders", EU)]).await;
        cluster.psql("insert into orders values (1, 'eu', 1)");
        rig.until_commits(1).await;
        cluster.psql("alter publication trailcast_e1 set table orders where (region = 'us'), other");
        let error = rig.end().await;
        assert_eq!(error.reason(), "coverage_lost", "{error}");
        assert!(error.to_string().contains("public.orders"), "{error}");
        assert_eq!(published(&cluster), "orders (region = 'eu'::text), other -");
        rig.coverage.update(|record| record.lost.as_mut().unwrap().accepted = true);
        rig.start().await;
        rig.until(|status| status.status == RunState::Running).await;
        cluster.psql("insert into orders values (2, 'us', 1), (3, 'eu', 1)");
        rig.until(|status| status.records == 2).await;
        assert_eq!(rig.all().await[1], ["INSERT public.orders + id=3 region=\"eu\" n=1"]);
        rig.stop().await.unwrap();
    });
}

#[test]
fn nothing_is_taken_while_a_filter_cannot_be_put_back_and_the_statement_for_it_is_told() {
    on_each_major(async |cluster| {
        cluster.psql(ORDERS);
        let mut rig = running(&cluster, &[("public.orders", EU)]).await;
        rig.until(|status| status.status == RunState::Running).await;
        rig.stop().await.unwrap();
        // The extract may try filters, and may not alter the publication any more.
        cluster.psql(
            "alter publication trailcast_e1 set table orders, other; insert into orders values (1, 'us', 1);
             create role cdc login replication password 'cdc'; grant create on database postgres to cdc;
             alter table orders owner to cdc",
        );
        rig.config.source.user = Some("cdc".into());
        rig.config.source.password = Some(trailcast::catalog::extract::Secret::new("cdc"));
        rig.start().await;
        rig.until(|status| status.last_error.as_deref().is_some_and(|error| error.contains("row filter"))).await;
        let said = rig.status().last_error.unwrap();
        let statement = said.split("Run ").nth(1).and_then(|rest| rest.split(" as the owner").next()).unwrap();
        assert_eq!(rig.all().await.len(), 0);
        cluster.psql(statement);
        rig.until(|status| status.last_error_reason == Some("coverage_lost")).await;
        let error = rig.end().await;
        assert_eq!(error.reason(), "coverage_lost", "{error}");
        assert_eq!(published(&cluster), "orders (region = 'eu'::text), other -");
    });
}

#[test]
fn a_filter_that_would_break_the_applications_writes_is_refused_before_anything_is_made() {
    Postgres::on_each_major(|cluster| {
        cluster.psql(ORDERS);
        let server = Server::start();
        let body = |filter: &str| {
            json!({"source": cluster.source(), "tables": ["public.*"], "trail": "a1",
                   "where": [{"table": "public.orders", "filter": filter}]})
        };
        let path = "/services/v2/extracts/e1";
        let refused = server.post(path, &body("n > 5")).expect(409).text();
        assert!(refused.contains("public.orders") && refused.contains("REPLICA IDENTITY FULL"), "{refused}");
        for (filter, part) in [
            ("nothing > 5", "nothing"),
            ("n > random()", "invalid publication WHERE expression"),
            ("exists (select 1)", "invalid publication WHERE expression"),
        ] {
            let refused = server.post(path, &body(filter)).expect(409).text();
            assert!(refused.contains("row filter of public.orders") && refused.contains(part), "{refused}");
        }
        for filter in ["true) with (publish = ''); drop table orders; --", "n > 1; drop table orders", ""] {
            let refused = server.post(path, &body(filter)).expect(400).text();
            assert!(refused.contains("where[0].filter"), "{refused}");
        }
        let mut elsewhere = body(EU);
        elsewhere["where"][0]["table"] = "private.orders".into();
        cluster.psql("create schema private; create table private.orders (id int primary key, region text)");
        assert!(server.post(path, &elsewhere).expect(409).text().contains("do not take it in"));
        let mut theirs = body(EU);
        theirs["postgresql"] = json!({"publication": "theirs"});
        assert!(server.post(path, &theirs).expect(400).text().contains("postgresql.publication"));
        let made = "select (select count(*) from pg_publication) + (select count(*) from pg_replication_slots)";
        assert_eq!(cluster.psql(made), "0");
        assert!(try_psql(&cluster, "insert into orders values (1, 'us', 1); update orders set n = 2").status.success());

        server.post(path, &body(EU)).expect(200);
        until_info(&server, "e1", |info| info["status"] == "running");
        // A filter that comes later is looked at as closely.
        server.patch(path, &json!({"where": body("n > 5")["where"]})).expect(409);
        let answer = server.patch(path, &json!({"where": body("region <> 'us'")["where"]})).expect(200).text();
        assert!(answer.contains("row filters hold for what is committed"), "{answer}");
        until_info(&server, "e1", |info| info["status"] == "running");
        assert!(try_psql(&cluster, "update orders set n = 3").status.success());
        assert_eq!(published(&cluster), "orders (region <> 'us'::text), other -");
    });
}
