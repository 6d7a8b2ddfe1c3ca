//! Goal: a rule names the tables that its author means, as GoldenGate writes names, and says so when it names none. Method: the
//! real server, and PostgreSQL where its database's name counts.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::extract::capture;
use crate::support::{Postgres, Server};

const PATIENCE: Duration = Duration::from_secs(30);
const STREAM: &str = "/services/v2/stream";

fn config(action: &str, names: &[&str]) -> Value {
    json!({"source": {"trail": "a1"}, "rules": [{"action": action, "filter": {"objectNames": names}}]})
}

/// What is said of rules that match nothing, one message at most.
fn warned(answer: &Value) -> Option<String> {
    let messages = answer["messages"].as_array().unwrap();
    let warning = messages.iter().find(|message| message["code"] == "OGG-27109")?;
    assert_eq!(warning["severity"], "WARNING", "{answer}");
    assert_eq!(messages.len(), 1, "{answer}");
    Some(warning["title"].as_str().unwrap().to_owned())
}

#[test]
fn a_table_of_a_capture_is_named_with_its_database_before_it() {
    Postgres::on_each_major(|postgres| {
        postgres.psql("create table emp (id int primary key); create table dept (id int primary key)");
        let mut server = Server::start();
        // Before anybody has been connected to the database.
        let named = config("include", &["postgres.public.emp"]);
        assert_eq!(warned(&server.post(&format!("{STREAM}/waits"), &named).expect(200).json()), None);
        let mut waits = server.subscribe("waits", "").unwrap();
        capture(&server, &postgres, "e1", &["public.*"], "a1");
        let excluded = config("exclude", &["POSTGRES.public.dept"]);
        assert_eq!(warned(&server.post(&format!("{STREAM}/others"), &excluded).expect(200).json()), None);
        postgres.psql("insert into dept values (1); insert into emp values (2)");
        let record = waits.expect_data(PATIENCE);
        assert_eq!((record.table(), &record.json["after"]["id"]), (Some("public.emp"), &json!(2)));
        let record = server.subscribe("others", "").unwrap().expect_data(PATIENCE);
        assert_eq!(record.table(), Some("public.emp"));
        // The trail itself knows its database: without a word with the source, and when the extract is gone.
        server.delete("/services/v2/extracts/e1").expect(200);
        server.kill();
        server.start_again();
        let record = server.subscribe("waits", "").unwrap().expect_data(PATIENCE);
        assert_eq!(record.table(), Some("public.emp"));
        let other = server.post(&format!("{STREAM}/other"), &config("include", &["shop.public.emp"])).expect(200);
        assert!(warned(&other.json()).unwrap().starts_with("rules[0] matches none of the 2 tables"), "{other}");
        let document = server.get(&format!("{STREAM}/waits/asyncapi.json")).expect(200).json();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        assert!(schemas.contains_key("TablePublicEmp") && !schemas.contains_key("TablePublicDept"), "{schemas:?}");
    });
}

#[test]
fn a_rule_that_can_match_no_table_of_the_trail_is_told_in_the_answer_that_takes_it() {
    let server = Server::start();
    let (path, nothing) = (format!("{STREAM}/s1"), config("include", &["app.order"]));
    let made = server.post(&path, &nothing).expect(200).json();
    let codes: Vec<_> = made["messages"].as_array().unwrap().iter().map(|message| &message["code"]).collect();
    assert_eq!(codes, ["OGG-27101"], "of a trail that is not there nothing is known: {made}");
    server.make_trail("a1");
    let again = server.patch(&path, &json!({"description": "a"})).expect(200).json();
    assert_eq!(warned(&again), None, "a trail without tables has none to compare with");
    let row = |table: &str| json!({"op": "INSERT", "table": table, "key": ["id"], "after": {"id": 1}});
    server.put("a1", &[json!({"operations": [row("app.orders")]})]).expect(200);
    let told = warned(&server.patch(&path, &json!({"description": "b"})).expect(200).json()).unwrap();
    assert_eq!(told, "rules[0] matches none of the 1 table that the trail a1 has now, which is app.orders.");
    let server_says = server.get(&path).expect(200).json();
    assert_eq!(warned(&server_says), None, "who only reads the configuration is told nothing");

    let rule =
        |name: &str, names: &[&str]| json!({"name": name, "action": "include", "filter": {"objectNames": names}});
    let rules = json!([rule("typo", &["app.ordesr"]), rule("right", &["APP.*"]), rule("quoted", &["\"APP\".*"])]);
    let told = warned(&server.patch(&path, &json!({"rules": rules})).expect(200).json()).unwrap();
    assert!(told.starts_with("rules[0] (typo), rules[2] (quoted) match none of the 1 table"), "{told}");
    let many: Vec<_> = (0..30)
        .map(|number| {
            rule("", &["nobody"]).as_object().cloned().map(|mut rule| {
                rule["name"] = json!(format!("r{number}"));
                rule
            })
        })
        .collect();
    let told = warned(&server.patch(&path, &json!({"rules": many})).expect(200).json()).unwrap();
    assert!(told.contains("rules[19] (r19) and 10 more match none"), "{told}");
    let mended = server.patch(&path, &config("include", &["app.orders"])).expect(200).json();
    assert_eq!(warned(&mended), None);
}

#[test]
fn a_table_with_a_star_in_its_name_is_named_alone() {
    let server = Server::start();
    server.make_trail("a1");
    let row = |table: &str| json!({"op": "INSERT", "table": table, "key": ["id"], "after": {"id": 1}});
    server.put("a1", &[json!({"operations": [row("app.totals"), row("app.total*"), row("app.total")]})]).expect(200);
    server.post(&format!("{STREAM}/one"), &config("include", &["app.\"total\\*\""])).expect(200);
    server.post(&format!("{STREAM}/all"), &config("include", &["app.\"total*\""])).expect(200);
    let tables = |stream: &str, count: usize| {
        let mut session = server.subscribe(stream, "").unwrap();
        (0..count).map(|_| session.expect_data(PATIENCE).table().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(tables("all", 3), ["app.totals", "app.total*", "app.total"]);
    server.put("a1", &[json!({"operations": [row("app.other"), row("app.total*")]})]).expect(200);
    assert_eq!(tables("one", 2), ["app.total*", "app.total*"]);
}
