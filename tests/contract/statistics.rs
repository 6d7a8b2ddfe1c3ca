//! Goal: `info` of a stream says how many records of which operation and table its sessions were sent. Method: the real server,
//! sessions that read all of a known trail, and the numbers compared with what they heard.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::Server;

const PATIENCE: Duration = Duration::from_secs(30);
const INFO: &str = "/services/v2/stream/s1/info";

fn counts(inserts: u64, updates: u64, deletes: u64, truncates: u64, upserts: u64, ddl: u64) -> Value {
    json!({
        "inserts": inserts, "updates": updates, "deletes": deletes, "truncates": truncates, "upserts": upserts,
        "ddlSent": ddl,
    })
}

/// The numbers alone, without what else stands beside them.
fn numbers(shown: &Value) -> Value {
    let names = ["inserts", "updates", "deletes", "truncates", "upserts", "ddlSent"];
    names.iter().map(|name| ((*name).to_owned(), shown[name].clone())).collect::<serde_json::Map<_, _>>().into()
}

fn hear(server: &Server, begin: &str, records: usize) {
    let mut session = server.subscribe("s1", begin).unwrap();
    (0..records).for_each(|_| drop(session.expect_data(PATIENCE)));
}

#[test]
fn what_was_sent_is_counted_by_operation_and_table_over_all_sessions_and_changes_of_the_stream() {
    let server = Server::start();
    server.make_trail("a1");
    let rules = json!([{"action": "exclude", "filter": {"objectNames": ["hr.secret"]}}]);
    server.post("/services/v2/stream/s1", &json!({"source": {"trail": "a1"}, "rules": rules})).expect(200);
    let row = |op: &str, table: &str, id: u64| {
        let image = json!({"id": id});
        let mut row = json!({"op": op, "table": table, "key": ["id"]});
        for (name, ops) in [("before", ["UPDATE", "DELETE", ""]), ("after", ["UPDATE", "INSERT", "UPSERT"])] {
            if ops.contains(&op) {
                row[name] = image.clone();
            }
        }
        row
    };
    let operations = json!([
        row("INSERT", "app.orders", 1),
        row("INSERT", "app.orders", 2),
        row("INSERT", "hr.secret", 2),
        row("UPDATE", "app.orders", 2),
        row("INSERT", "app.people", 1),
        row("INSERT", "app.orders", 3),
        row("DELETE", "app.people", 1),
        {"op": "TRUNCATE", "table": "app.people"},
        {"op": "DDL", "table": "app.orders", "ddl": "ALTER TABLE app.orders ADD note text"},
        row("UPSERT", "app.orders", 4),
    ]);
    server.put("a1", &[json!({"operations": operations})]).expect(200);
    let statistics = |wanted: &dyn Fn(&Value) -> bool| {
        server.get_until(INFO, |info| wanted(&info["statistics"]))["statistics"].clone()
    };
    let fresh = statistics(&|_| true);
    assert_eq!((numbers(&fresh), &fresh["tables"]), (counts(0, 0, 0, 0, 0, 0), &json!([])));
    for sessions in 1..=3 {
        hear(&server, "", 9);
        let shown = statistics(&|shown| shown["records"] == 9 * sessions);
        assert_eq!(numbers(&shown), counts(4 * sessions, sessions, sessions, sessions, sessions, sessions), "{shown}");
        let [orders, people] = &**shown["tables"].as_array().unwrap() else { panic!("{shown}") };
        assert_eq!((&orders["tableName"], &people["tableName"]), (&json!("app.orders"), &json!("app.people")));
        assert_eq!(numbers(orders), counts(3 * sessions, sessions, 0, 0, sessions, sessions), "{shown}");
        assert_eq!(numbers(people), counts(sessions, 0, sessions, sessions, 0, 0), "{shown}");
        assert!(shown.get("otherTables").is_none(), "{shown}");
        if sessions == 1 {
            server.patch("/services/v2/stream/s1", &json!({"description": "changed"})).expect(200);
        }
    }
}

#[test]
fn tables_beyond_the_first_two_hundred_are_counted_together() {
    let server = Server::start();
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    let row =
        |number: u64| json!({"op": "INSERT", "table": format!("app.t{number:03}"), "key": ["id"], "after": {"id": 1}});
    let operations: Vec<_> = (0..230).map(row).collect();
    server.put("a1", &[json!({"operations": operations})]).expect(200);
    hear(&server, "", 230);
    let shown = server.get_until(INFO, |info| info["statistics"]["records"] == 230)["statistics"].clone();
    let tables = shown["tables"].as_array().unwrap();
    assert_eq!((tables.len(), &shown["inserts"]), (200, &json!(230)));
    assert!(tables.iter().all(|table| numbers(table) == counts(1, 0, 0, 0, 0, 0)), "{shown}");
    assert_eq!(numbers(&shown["otherTables"]), counts(30, 0, 0, 0, 0, 0));
}
