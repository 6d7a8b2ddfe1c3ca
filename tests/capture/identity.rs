//! Goal: capture never makes PostgreSQL refuse the application's own writes, and says which tables would be in the way.
//! Method: tables of every kind, made and written to as an application does, with an extract over them; PostgreSQL itself
//! says which writes it refuses.

use std::process::Output;

use serde_json::{Value, json};
use trailcast::capture::{RunState, preflight};
use trailcast::catalog::extract::WithoutIdentity;
use trailcast::record::ResourceName;

use crate::capture::rig::{Rig, on_each_major, runtime};
use crate::support::extract::until_info;
use crate::support::port::Port;
use crate::support::waiting::PATIENCE;
use crate::support::{Postgres, Server, skip};

const KEYLESS: &str = "create table t (id int primary key); create table log (line text)";

fn try_psql(cluster: &Postgres, sql: &str) -> Output {
    cluster.psql_command().args(["-c", sql]).output().unwrap()
}

/// Whether PostgreSQL takes the statement.
fn takes(cluster: &Postgres, sql: &str) -> bool {
    try_psql(cluster, sql).status.success()
}

fn extract_of(cluster: &Postgres, more: &Value) -> Value {
    let mut body = json!({"source": cluster.source(), "tables": ["public.*"], "trail": "a1"});
    for (member, value) in more.as_object().unwrap() {
        body[member] = value.clone();
    }
    body
}

fn tables_of(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(|said| said["table"].as_str().or(said.as_str())).collect()
}

/// Each table in the way of an extract, with the statement that is offered for it.
fn offered(detail: &str) -> Vec<String> {
    let end = |rest: &str| rest.find("); ").into_iter().chain(rest.find("). Run")).min().unwrap();
    detail.split(" (ALTER ").skip(1).map(|rest| format!("ALTER {}", &rest[..end(rest)])).collect()
}

#[test]
fn an_extract_that_would_break_the_applications_writes_is_refused_and_the_offered_statements_mend_it() {
    Postgres::on_each_major(|cluster| {
        cluster.psql(
            "create table t (id int primary key); create table log (line text);
             create table late (id int primary key deferrable); create table nothing (id int primary key);
             alter table nothing replica identity nothing; create table \"Odd one\" (id int not null unique);
             create table gone (id int not null); create unique index gone_id on gone (id);
             alter table gone replica identity using index gone_id; drop index gone_id;
             create table p (id int, v int) partition by range (id);
             create table p1 partition of p for values from (0) to (10);
             create unlogged table scratch (v int); create view v as select 1;",
        );
        let names = ["log", "late", "nothing", "\"Odd one\"", "gone", "p"];
        let server = Server::start();
        let body = extract_of(&cluster, &json!({}));
        let refused = server.post("/services/v2/extracts/e1", &body).expect(409).text();
        for name in ["public.log", "public.late", "public.nothing", "public.Odd one", "public.gone", "public.p1"] {
            assert!(refused.contains(&format!("{name}: ")), "{name} in {refused}");
        }
        for unconcerned in ["public.t:", "scratch", "public.p:", "public.v:"] {
            assert!(!refused.contains(unconcerned), "{unconcerned} in {refused}");
        }
        assert!(refused.contains("insertsOnly") && refused.contains("that is made later"), "{refused}");
        // Nothing was made, here or there, and the application does not notice.
        server.get("/services/v2/extracts/e1").expect(404);
        server.get("/services/v2/trails/a1").expect(404);
        let made = "select (select count(*) from pg_publication) + (select count(*) from pg_replication_slots)";
        assert_eq!(cluster.psql(made), "0");
        for name in names {
            cluster.psql(&format!("insert into {name} values (1); delete from {name}"));
        }
        let statements = offered(&refused.replace("\\\"", "\""));
        assert_eq!(statements.len(), names.len(), "{refused}");
        for statement in statements {
            cluster.psql(&statement);
        }
        server.post("/services/v2/extracts/e1", &body).expect(200);
        until_info(&server, "e1", |info| info["status"] == "running");
        for name in names {
            cluster.psql(&format!("insert into {name} values (1); delete from {name}"));
        }
        let seen = until_info(&server, "e1", |info| info["records"] == 2 * names.len());
        assert!(seen["publication"].is_null(), "{seen}");
    });
}

#[test]
fn without_the_look_the_applications_deletes_are_refused() {
    if !cfg!(feature = "fault-injection") {
        return skip("the control needs --features fault-injection");
    }
    Postgres::on_each_major(|cluster| {
        cluster.psql(KEYLESS);
        let server = Server::start_with(&[], &[("TRAILCAST_TEST_PUBLISH_ANYWAY", "1")]);
        server.post("/services/v2/extracts/e1", &extract_of(&cluster, &json!({}))).expect(200);
        until_info(&server, "e1", |info| info["status"] == "running");
        cluster.psql("insert into log values ('a')");
        assert!(!takes(&cluster, "delete from log"));
    });
}

#[test]
fn the_rule_is_postgresqls_own() {
    on_each_major(async |cluster| {
        let generated = "create table t (id int primary key, net int, gross int generated always as (net * 2) stored)";
        let full = "alter table t replica identity full";
        let mut cases = vec![
            ("create table t (id int primary key, net int)", "", "table t"),
            ("create table t (id int, net int)", "", "table t"),
            ("create table t (id int, net int)", "", "table t with (publish = 'insert')"),
            ("create table t (id int, net int)", "", "table t with (publish = 'insert, delete')"),
            ("create table t (id int, net int)", full, "table t"),
            ("create table t (id int, net int)", full, "table t (id, net)"),
            ("create table t (id int, net int)", full, "table t where (net > 3)"),
            ("create table t (id int primary key, net int)", "", "table t (id)"),
            ("create table t (id int primary key, net int)", "", "table t (net)"),
            ("create table t (id int primary key, net int)", "", "table t where (id > 3)"),
            ("create table t (id int primary key, net int)", "", "table t where (id > 3 and net is null)"),
            ("create table t (id int primary key, net int)", "", "table t (id) where (id > 3)"),
            ("create table t (id int primary key deferrable, net int)", "", "all tables"),
            ("create table t (id int primary key, net int)", "alter table t replica identity nothing", "all tables"),
            ("create table t (id int, net int)", "alter table t add unique (id)", "tables in schema public"),
            ("create unlogged table t (id int, net int)", "", "all tables"),
            (generated, "", "table t"),
            (generated, full, "table t"),
            (
                "create table t (id int, net int not null, gross int not null generated always as (net * 2) stored)",
                "create unique index i on t (gross); alter table t replica identity using index i",
                "tables in schema public",
            ),
            (
                "create table t (id int primary key, net int) partition by range (id)",
                "create table t1 partition of t for values from (0) to (10); alter table t1 replica identity full",
                "table t (id, net) with (publish_via_partition_root = true)",
            ),
            (
                "create table t (id int, net int) partition by range (id)",
                "create table t1 partition of t for values from (0) to (10); alter table t1 add primary key (id)",
                "table t where (net > 3) with (publish_via_partition_root = true)",
            ),
            (
                "create table t (id int, net int) partition by range (id)",
                "create table t1 partition of t for values from (0) to (10); alter table t replica identity full",
                "table t",
            ),
        ];
        if cluster.major() >= 18 {
            let computed =
                "create table t (id int primary key, net int, gross int generated always as (net * 2) virtual)";
            cases.extend([
                (generated, full, "table t with (publish_generated_columns = stored)"),
                (generated, full, "table t (id, net, gross)"),
                (computed, "", "table t"),
                (computed, full, "table t with (publish_generated_columns = stored)"),
                (computed, full, "table t with (publish = 'insert')"),
            ]);
        }
        let mut rig = Rig::new(&cluster);
        rig.config.postgresql.publication = Some("p".into());
        let name = ResourceName::new("e1").unwrap();
        for (table, more, publication) in cases {
            let case = format!("{table}; {more}; publication for {publication}");
            cluster
                .psql(&format!("{table}; {more}; create publication p for {publication}; insert into t values (1, 7)"));
            let update = takes(&cluster, "update t set net = net + 1");
            let written = takes(&cluster, "delete from t") && update;
            let looked = preflight(&name, &rig.config, None, None).await;
            assert_eq!(looked.is_ok(), written, "{case}: {looked:?}");
            if let Err(refused) = looked {
                let statements = offered(&refused.to_string());
                // Of a table with a list of columns it takes a key, and which one is for its owner to say.
                if statements[0].contains("ADD PRIMARY KEY") {
                    cluster.psql("alter table t replica identity default");
                } else {
                    cluster.psql(&statements[0]);
                }
                cluster.psql("insert into t values (2, 70); update t set net = net + 1; delete from t");
                preflight(&name, &rig.config, None, None).await.unwrap();
            }
            cluster.psql("drop publication p; drop table t");
        }
    });
}

#[test]
fn a_stored_generated_column_is_captured_from_18_on_and_named_before() {
    on_each_major(async |cluster| {
        cluster.psql(
            "create table inv (id int primary key, net int, gross int generated always as (net * 2) stored);
             alter table inv replica identity full",
        );
        let newer = cluster.major() >= 18;
        if newer {
            cluster
                .psql("create table v (id int primary key, net int, gross int generated always as (net * 2) virtual)");
        }
        let mut rig = Rig::running(&cluster).await;
        cluster.psql("insert into inv values (1, 7); update inv set net = 8; delete from inv");
        let gross = |net: u32| if newer { format!(" gross={}", net * 2) } else { String::new() };
        let (seven, eight) = (format!(" id=1 net=7{}", gross(7)), format!(" id=1 net=8{}", gross(8)));
        assert_eq!(
            rig.transactions(3).await.concat(),
            [
                format!("INSERT public.inv +{seven}"),
                format!("UPDATE public.inv -{seven} +{eight}"),
                format!("DELETE public.inv -{eight}"),
            ]
        );
        let left_out = rig.publication().columns_left_out;
        assert_eq!(left_out, [if newer { "public.v.gross" } else { "public.inv.gross" }]);
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_publication_of_an_earlier_version_of_ours_gives_generated_columns_after_the_next_start() {
    on_each_major(async |cluster| {
        if cluster.major() < 18 {
            return;
        }
        cluster.psql(
            "create table inv (id int primary key, net int, gross int generated always as (net * 2) stored);
             create publication trailcast_e1 for tables in schema public with (publish_via_partition_root = true);
             select pg_create_logical_replication_slot('trailcast_e1', 'pgoutput');
             alter table inv replica identity full",
        );
        assert!(!takes(&cluster, "update inv set net = 8"));
        let mut rig = Rig::running(&cluster).await;
        cluster.psql("insert into inv values (1, 7); update inv set net = 8");
        assert_eq!(rig.transactions(2).await[0], ["INSERT public.inv + id=1 net=7 gross=14"]);
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_source_that_could_not_be_looked_at_is_looked_at_before_anything_is_published() {
    on_each_major(async |cluster| {
        cluster.psql(KEYLESS);
        let mut rig = Rig::new(&cluster);
        rig.start().await;
        let error = rig.end().await;
        assert_eq!(error.reason(), "writes_refused", "{error}");
        assert_eq!(offered(&error.to_string()), ["ALTER TABLE public.log REPLICA IDENTITY FULL"]);
        let status = rig.status();
        assert_eq!((status.status, status.last_error_reason), (RunState::Failed, Some("writes_refused")));
        assert_eq!(cluster.psql("select count(*) from pg_publication"), "0");
        cluster.psql("insert into log values ('a'); delete from log");
    });
}

#[test]
fn a_source_that_is_away_or_does_not_answer_says_nothing_against_an_extract() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = Port::hold();
    runtime().block_on(async {
        for port in [silent.local_addr().unwrap().port(), closed.number()] {
            let source = json!({"type": "postgresql", "host": "127.0.0.1", "port": port, "database": "d", "user": "u"});
            let config = json!({"source": source, "tables": ["public.*"], "trail": "a1"});
            let config = serde_json::from_value(config).unwrap();
            preflight(&ResourceName::new("e1").unwrap(), &config, None, None).await.unwrap();
        }
    });
}

#[test]
fn inserts_only_gives_inserts_of_what_has_no_identity_and_all_of_what_gets_one() {
    on_each_major(async |cluster| {
        cluster.psql(KEYLESS);
        let mut rig = Rig::new(&cluster);
        rig.config.without_identity = Some(WithoutIdentity::InsertsOnly);
        rig.start().await;
        rig.until_begun().await;
        cluster.psql(
            "insert into log values ('a'); update log set line = 'b'; delete from log;
             insert into t values (1); update t set id = 2; delete from t; insert into log values ('c');",
        );
        let first = [
            "INSERT public.log + line=\"a\"",
            "INSERT public.t + id=1",
            "UPDATE public.t - id=1 + id=2",
            "DELETE public.t - id=2",
            "INSERT public.log + line=\"c\"",
        ];
        assert_eq!(rig.transactions(5).await.concat(), first);
        rig.until_publication(|publication| publication.inserts_only == ["public.log"]).await;
        let published = "select pubname, pubinsert, pubupdate, pubdelete from pg_publication order by 1";
        assert_eq!(cluster.psql(published), "trailcast_e1|t|t|t\ntrailcast_e1_inserts|t|f|f");
        // What gets an identity is given whole after the next start.
        rig.stop().await.unwrap();
        cluster.psql("alter table log replica identity full; insert into log values ('d')");
        rig.start().await;
        rig.until(|status| status.status == RunState::Running).await;
        rig.until_publication(|publication| publication.inserts_only.is_empty()).await;
        cluster.psql("delete from log where line = 'd'");
        let seen = rig.transactions(7).await.concat();
        assert_eq!(seen[5..], ["INSERT public.log + line=\"d\"", "DELETE public.log - line=\"d\""]);
        let inserts = "select count(*) from pg_publication_tables where pubname = 'trailcast_e1_inserts'";
        assert_eq!(cluster.psql(inserts), "0");
        rig.stop().await.unwrap();
    });
}

#[test]
fn inserts_only_may_find_no_table_with_an_identity_at_all() {
    on_each_major(async |cluster| {
        cluster.psql("create table log (line text)");
        let mut rig = Rig::new(&cluster);
        rig.config.without_identity = Some(WithoutIdentity::InsertsOnly);
        rig.start().await;
        rig.until_begun().await;
        cluster.psql("insert into log values ('a'); delete from log");
        assert_eq!(rig.transactions(1).await.concat(), ["INSERT public.log + line=\"a\""]);
        rig.stop().await.unwrap();
    });
}

#[test]
fn skip_leaves_alone_what_has_no_identity_later_tables_too() {
    on_each_major(async |cluster| {
        cluster.psql(KEYLESS);
        let mut rig = Rig::new(&cluster);
        rig.config.without_identity = Some(WithoutIdentity::Skip);
        rig.start().await;
        rig.until_begun().await;
        cluster.psql(
            "create table later (line text); insert into later values ('a'); delete from later;
             insert into log values ('a'); delete from log; insert into t values (1);",
        );
        assert_eq!(rig.transactions(1).await.concat(), ["INSERT public.t + id=1"]);
        rig.stop().await.unwrap();
        rig.start().await;
        rig.until_publication(|publication| publication.left_out.len() == 2).await;
        cluster.psql("insert into log values ('b'); delete from log; delete from later; insert into t values (2)");
        assert_eq!(rig.transactions(2).await[1], ["INSERT public.t + id=2"]);
        rig.stop().await.unwrap();
    });
}

#[test]
fn an_extract_that_is_told_to_skip_publishes_one_by_one_from_then_on() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key)");
        let mut rig = Rig::running(&cluster).await;
        rig.stop().await.unwrap();
        cluster.psql("create table log (line text); insert into log values ('a')");
        assert!(!takes(&cluster, "delete from log"));
        rig.config.without_identity = Some(WithoutIdentity::Skip);
        rig.start().await;
        rig.until(|status| status.status == RunState::Running).await;
        rig.until_publication(|publication| !publication.left_out.is_empty()).await;
        cluster.psql("delete from log; insert into t values (1)");
        assert_eq!(rig.transactions(2).await[1], ["INSERT public.t + id=1"]);
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_table_that_inherits_is_published_only_where_it_matches_itself() {
    on_each_major(async |cluster| {
        cluster.psql(
            "create schema app; create schema other; create table app.t (id int primary key);
             create table other.child () inherits (app.t); create role cdc login replication password 'cdc';
             grant create on database postgres to cdc; alter table app.t owner to cdc; alter table other.child owner to cdc;
             grant usage on schema app, other to cdc;",
        );
        let mut rig = Rig::new(&cluster);
        rig.config.tables = serde_json::from_value(json!(["app.*"])).unwrap();
        rig.config.source.user = Some("cdc".into());
        rig.config.source.password = serde_json::from_value(json!("cdc")).unwrap();
        rig.start().await;
        rig.until_begun().await;
        cluster.psql("insert into other.child values (1); delete from other.child; insert into app.t values (2)");
        assert_eq!(rig.transactions(1).await.concat(), ["INSERT app.t + id=2"]);
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_table_whose_writes_are_refused_later_shows_in_info_log_and_metric_and_the_extract_goes_on() {
    Postgres::on_each_major(|cluster| {
        cluster.psql("create table t (id int primary key)");
        let server = Server::start();
        server.post("/services/v2/extracts/e1", &extract_of(&cluster, &json!({}))).expect(200);
        until_info(&server, "e1", |info| info["status"] == "running");
        cluster.psql("create table log (line text); insert into log values ('a')");
        assert!(!takes(&cluster, "delete from log"), "what is warned of is not so");
        let shown = until_info(&server, "e1", |info| !info["publication"].is_null());
        assert_eq!(tables_of(&shown["publication"]["refusedWrites"]), ["public.log"]);
        let mend = &shown["publication"]["refusedWrites"][0]["mend"];
        assert_eq!(mend, "ALTER TABLE public.log REPLICA IDENTITY FULL");
        assert_eq!(shown["status"], "running");
        let line = server.wait_for_log("refuses the application's UPDATE and DELETE", PATIENCE).unwrap();
        assert!(line.contains("public.log"), "{line}");
        let sample = |value: u32| format!("trailcast_capture_refused_writes_tables{{extract=\"e1\"}} {value}\n");
        let page = server.get("/metrics").expect(200).text();
        assert!(page.contains(&sample(1)), "{page}");
        server.readiness(200);
        // One that exists is stopped and started as ever.
        for status in ["stopped", "running"] {
            server.patch("/services/v2/extracts/e1", &json!({"status": status})).expect(200);
        }
        cluster.psql(mend.as_str().unwrap());
        until_info(&server, "e1", |info| info["status"] == "running" && info["publication"].is_null());
        cluster.psql("delete from log");
        let page = server.get("/metrics").expect(200).text();
        assert!(page.contains(&sample(0)), "{page}");
    });
}

#[test]
fn other_tables_of_an_extract_are_looked_at_before_it_is_changed() {
    Postgres::on_each_major(|cluster| {
        cluster.psql(
            "create schema app; create schema logs; create table app.t (id int primary key); \
             create table logs.log (line text)",
        );
        let server = Server::start();
        let patch = |body: Value| server.patch("/services/v2/extracts/e1", &body);
        server.post("/services/v2/extracts/e1", &extract_of(&cluster, &json!({"tables": ["app.*"]}))).expect(200);
        until_info(&server, "e1", |info| info["status"] == "running");
        let refused = patch(json!({"tables": ["app.*", "logs.*"]})).expect(409).text();
        assert!(refused.contains("ALTER TABLE logs.log REPLICA IDENTITY FULL"), "{refused}");
        assert_eq!(server.get("/services/v2/extracts/e1").response()["tables"], json!(["app.*"]));
        let refused = patch(json!({"withoutIdentity": "insertsOnly"})).expect(409).text();
        assert!(refused.contains("is chosen when an extract is made"), "{refused}");
        patch(json!({"tables": ["app.*", "logs.*"], "withoutIdentity": "skip"})).expect(200);
        let shown = until_info(&server, "e1", |info| !info["publication"]["leftOut"].is_null());
        assert_eq!(tables_of(&shown["publication"]["leftOut"]), ["logs.log"]);
        cluster.psql("insert into logs.log values ('a'); delete from logs.log");
        // Stopped, nothing is published, and nothing is asked.
        server
            .post(
                "/services/v2/extracts/e2",
                &extract_of(&cluster, &json!({"tables": ["logs.*"], "trail": "a2", "status": "stopped"})),
            )
            .expect(200);
        server.patch("/services/v2/extracts/e2", &json!({"status": "running"})).expect(409);
    });
}

#[test]
fn extracts_that_would_share_a_slot_or_a_publication_are_refused() {
    let Some(cluster) = Postgres::newest() else { return };
    cluster.psql("create table t (id int primary key)");
    let server = Server::start();
    server.post("/services/v2/extracts/Dup1", &extract_of(&cluster, &json!({}))).expect(200);
    let second = |more: Value| server.post("/services/v2/extracts/dup1", &extract_of(&cluster, &more));
    let refused = second(json!({"trail": "a2"})).expect(409).text();
    assert!(refused.contains("extract Dup1 uses the replication slot trailcast_dup1"), "{refused}");
    let own_slot = json!({"trail": "a2", "tables": ["public.t"], "postgresql": {"slot": "other"}});
    let refused = second(own_slot).expect(409).text();
    assert!(refused.contains("extract Dup1 uses the publication trailcast_dup1"), "{refused}");
    server.get("/services/v2/trails/a2").expect(404);
    second(json!({"trail": "a2", "postgresql": {"slot": "other", "publication": "other"}})).expect(200);
    let refused = server.patch("/services/v2/extracts/dup1", &json!({"postgresql": {"slot": null}})).expect(409).text();
    assert!(refused.contains("extract Dup1 uses the replication slot"), "{refused}");
}
