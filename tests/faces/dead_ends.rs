//! Goal: where somebody cannot go on, the answer says what to do, and doing that works. Method: get stuck, read, do it.

use serde_json::{Value, json};

use crate::support::extract::{capture, until_info};
use crate::support::{Postgres, Server};

const TRAILS: &str = "/services/v2/trails";
const EXTRACTS: &str = "/services/v2/extracts";

#[test]
fn who_deletes_a_trail_is_told_which_streams_read_it() {
    let server = Server::start();
    server.make_trail("a1");
    server.make_trail("b1");
    server.make_stream("other", "b1");
    for number in 0..25 {
        server.make_stream(&format!("s{number:02}"), "a1");
    }
    let told = server.delete(&format!("{TRAILS}/a1")).expect(200).titles();
    assert!(told.starts_with("The trail a1 was deleted. Data streams that read it stay"), "{told}");
    assert!(told.contains(": s00, s01, ") && told.ends_with("s19 and 5 more."), "{told}");
    // They stay, and go on when there is such a trail again.
    assert_eq!(server.get("/services/v2/stream/s00/info").expect(200).response()["status"], "waiting");
    server.make_trail("a1");
    assert_eq!(server.get("/services/v2/stream/s00/info").expect(200).response()["status"], "running");
    server.delete("/services/v2/stream/other").expect(200);
    assert_eq!(server.delete(&format!("{TRAILS}/b1")).expect(200).titles(), "The trail b1 was deleted.");
}

#[test]
fn an_empty_trail_that_an_extract_leaves_behind_is_named_when_it_goes_and_when_another_wants_it() {
    let server = Server::start();
    let source = json!({"type": "postgresql", "host": "127.0.0.1", "database": "app", "user": "u", "password": "p"});
    let body = json!({"source": source, "tables": ["public.*"], "trail": "a1", "status": "stopped"});
    server.post(&format!("{EXTRACTS}/e1"), &body).expect(200);
    let told = server.delete(&format!("{EXTRACTS}/e1")).expect(200).titles();
    assert!(told.contains("Its trail a1 stays and is empty: delete it too (DELETE /services/v2/trails/a1)"), "{told}");
    let refused = server.post(&format!("{EXTRACTS}/e2"), &body).expect(409).titles();
    assert!(refused.contains("was written by extract e1, which was deleted"), "{refused}");
    server.get(&format!("{EXTRACTS}/e2")).expect(404);
    server.delete(&format!("{TRAILS}/a1")).expect(200);
    server.post(&format!("{EXTRACTS}/e2"), &body).expect(200);
    // One whose extract is there names it.
    let refused = server.post(&format!("{EXTRACTS}/e3"), &body).expect(409).titles();
    assert!(refused.contains("trail a1 is written by extract e2"), "{refused}");
}

#[test]
fn a_trail_with_records_that_an_extract_leaves_behind_is_not_called_empty() {
    let Some(postgres) = Postgres::newest() else { return };
    postgres.psql("create table t (id int primary key)");
    let server = Server::start();
    capture(&server, &postgres, "e1", &["public.*"], "a1");
    postgres.psql("insert into t values (1)");
    server.get_until(&format!("{TRAILS}/a1"), |trail| trail["lastCommit"] == 1);
    let told = server.delete(&format!("{EXTRACTS}/e1")).expect(200).titles();
    assert!(told.contains("Its trail a1 stays with its records"), "{told}");
}

#[test]
fn an_empty_trail_has_no_first_commit_and_no_last() {
    let server = Server::start();
    server.make_trail("a1");
    let trail = server.get(&format!("{TRAILS}/a1")).expect(200).response();
    assert_eq!((&trail["firstCommit"], &trail["lastCommit"]), (&Value::Null, &Value::Null), "{trail}");
    server.put("a1", &[json!({"operations": [{"op": "INSERT", "table": "t", "after": {"id": 1}}]})]).expect(200);
    let trail = server.get(&format!("{TRAILS}/a1")).expect(200).response();
    assert_eq!((&trail["firstCommit"], &trail["lastCommit"]), (&json!(1), &json!(1)), "{trail}");
}

/// An extract as a user who may replicate and no more.
fn extract_of(postgres: &Postgres, tables: &str) -> Value {
    let mut source = postgres.source();
    (source["user"], source["password"]) = ("capturer".into(), "p".into());
    json!({"source": source, "tables": [tables], "trail": "a1"})
}

/// What stands between two words of the extract's error.
fn offered<'e>(error: &'e str, from: &str, to: &str) -> &'e str {
    let rest = &error[error.find(from).unwrap_or_else(|| panic!("no {from} in {error}")) + from.len()..];
    &rest[..rest.find(to).unwrap_or_else(|| panic!("no {to} in {error}"))]
}

#[test]
fn an_extract_whose_user_may_not_publish_says_what_to_make_beforehand() {
    Postgres::on_each_major(|postgres| {
        postgres.psql(
            "create role capturer login replication password 'p'; create table mine (id int primary key); \
             create table theirs (id int primary key); alter table mine owner to capturer",
        );
        let server = Server::start();
        let again = |name: &str| {
            for status in ["stopped", "running"] {
                server.patch(&format!("{EXTRACTS}/{name}"), &json!({ "status": status })).expect(200);
            }
            until_info(&server, name, |info| info["status"] == "running");
        };
        let failed = |name: &str, tables: &str, trail: &str| {
            let mut body = extract_of(&postgres, tables);
            body["trail"] = trail.into();
            server.post(&format!("{EXTRACTS}/{name}"), &body).expect(200);
            let info = until_info(&server, name, |info| info["status"] == "failed");
            assert_eq!(info["lastErrorReason"], "refused", "{info}");
            info["lastError"].as_str().unwrap().to_owned()
        };
        // Both ways out work as they are written: the owner's right, and a superuser's publication.
        let error = failed("e1", "public.mine", "a1");
        assert!(error.contains("permission denied for database postgres"), "{error}");
        postgres.psql(offered(&error, "let the database's owner run: ", "; then PATCH"));
        again("e1");
        postgres.psql("revoke create on database postgres from capturer");
        let error = failed("e2", "public.*", "a2");
        postgres.psql(offered(&error, "Let a superuser make it beforehand: ", "; or, if"));
        again("e2");
        postgres.psql("insert into theirs values (1)");
        server.get_until(&format!("{TRAILS}/a2"), |trail| trail["lastCommit"] == 1);
    });
}

#[test]
fn an_extract_that_matches_no_table_yet_says_so_and_waits_and_that_is_no_trouble_with_the_connection() {
    let Some(postgres) = Postgres::newest() else { return };
    let server = Server::start();
    let body = json!({"source": postgres.source(), "tables": ["public.later", "x.y*"], "trail": "a1"});
    server.post(&format!("{EXTRACTS}/e1"), &body).expect(200);
    let info = until_info(&server, "e1", |info| info["lastErrorReason"] == "no_tables");
    let error = info["lastError"].as_str().unwrap();
    assert!(error.starts_with("no table of the database postgres matches tables (public.later, x.y*) yet"), "{error}");
    assert_eq!(info["status"], "retrying");
    server.sample_until("trailcast_capture_error{extract=\"e1\",reason=\"no_tables\"}", |value| value == 1.0);
    postgres.psql("create table later (id int primary key)");
    let info = until_info(&server, "e1", |info| info["status"] == "running");
    assert_eq!(info["lastErrorReason"], Value::Null, "{info}");
}
