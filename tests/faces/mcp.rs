//! Goal: Oracle's MCP server for GoldenGate starts on this server, and each of its tools that has a meaning here answers. Method:
//! a client of ours that asks what its tools ask, in its way on the wire.

use std::process::Output;

use serde_json::{Value, json};

use crate::support::server::{PASSWORD, USER};
use crate::support::{Server, clients};

const SECRET: &str = "pass-word-of-a-database";

/// A server with one of everything; none if there is no Python for the client.
fn house() -> Option<Server> {
    clients::python()?;
    let server = Server::start();
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    server.post("/services/v2/credentials/north/replicator", &json!({"password": SECRET})).expect(200);
    let extract = json!({
        "source": {"type": "postgresql", "host": "localhost", "database": "shop", "user": "cdc",
            "credentials": {"domain": "north", "alias": "replicator"}},
        "tables": ["public.*"], "trail": "b1", "status": "stopped",
    });
    server.post("/services/v2/extracts/EXT1", &extract).expect(200);
    Some(server)
}

fn output(server: &Server, (user, password): (&str, &str), arguments: &[&str]) -> Output {
    let mut python = clients::python().unwrap();
    let base = format!("http://127.0.0.1:{}", server.port());
    python.args(["tests/clients/mcp_like.py", &base, user, password]).args(arguments);
    python.output().unwrap()
}

/// What a tool prints.
fn tool(server: &Server, arguments: &[&str]) -> Value {
    let output = output(server, (USER, PASSWORD), arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains(SECRET), "{arguments:?} tells a password");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn names(answer: &Value) -> Vec<&str> {
    let items = answer["response"]["items"].as_array().unwrap_or_else(|| panic!("{answer}"));
    items.iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[test]
fn every_tool_of_goldengates_mcp_server_that_has_a_meaning_here_answers() {
    let Some(server) = house() else { return };
    assert_eq!(names(&tool(&server, &["list_domains"])), ["north"]);
    assert_eq!(names(&tool(&server, &["list_connections", "domain=north"])), ["replicator"]);
    assert_eq!(names(&tool(&server, &["list_trails"])), ["a1", "b1"]);
    assert_eq!(names(&tool(&server, &["list_extracts"])), ["EXT1"]);
    assert_eq!(names(&tool(&server, &["list_data_streams"])), ["s1"]);
    for nothing in ["list_replicats", "list_distribution_paths"] {
        assert_eq!(names(&tool(&server, &[nothing])), [""; 0], "{nothing}");
    }
    let checkpoints = tool(&server, &["list_checkpoint_tables", "domain=north", "alias=replicator"]);
    assert_eq!(names(&checkpoints), [""; 0]);

    let of_extract = |name: &str| tool(&server, &[name, "extract=EXT1"]);
    assert_eq!(of_extract("get_extract_status")["response"]["replyData"]["status"], "stopped");
    assert!(of_extract("get_extract_lag")["response"]["replyData"].get("lagBytes").is_some());
    assert_eq!(of_extract("get_extract_stats")["response"]["replyData"]["transactions"], 0);
    assert!(of_extract("get_extract_report")["response"]["lines"].to_string().contains("public.*"));
    assert_eq!(of_extract("get_extract_details")["response"]["trail"], "b1");

    let connection = ["create_connection", "domain=north", "alias=second", "userid=cdc", "password=another-1"];
    let made = tool(&server, &connection);
    assert_eq!(made["messages"][1]["code"], "OGG-27108", "{made}");
    assert_eq!(names(&tool(&server, &["list_connections", "domain=north"])), ["replicator", "second"]);
    let made = tool(&server, &["create_data_stream", "stream=s2", "trail=a1"]);
    assert_eq!(made["response"]["source"]["trail"], "a1");
    assert_eq!(tool(&server, &["get_data_stream_info", "stream=s2"])["response"]["status"], "running");
    let document = tool(&server, &["get_data_stream_yaml", "stream=s2"]);
    assert!(document.as_str().unwrap().starts_with("asyncapi: \"3.0.0\""), "{document}");
    assert!(document.as_str().unwrap().contains("/services/distsrvr/v2/stream/s2"), "{document}");
}

#[test]
fn start_and_stop_of_the_mcp_server_are_the_extracts_own_status() {
    let Some(server) = house() else { return };
    tool(&server, &["stop", "extract=EXT1"]);
    assert_eq!(server.get("/services/v2/extracts/EXT1").expect(200).response()["status"], "stopped");
    // Its source is not there, and starting says so as a PATCH would.
    let patched = server.patch("/services/v2/extracts/EXT1", &json!({"status": "running"}));
    let started = output(&server, (USER, PASSWORD), &["start", "extract=EXT1"]);
    let said = String::from_utf8_lossy(&started.stderr).into_owned();
    assert_eq!(started.status.success(), patched.status == 200, "{said}\n{patched}");
    for (body, member) in [
        (json!({"name": "start"}), "processName"),
        (json!({"name": "restart", "processName": "EXT1"}), "name"),
        (json!({"name": "report", "reportType": "all"}), "reportType"),
        (json!({"name": "start", "processName": "EXT1", "more": 1}), "more"),
    ] {
        let refused = server.post("/services/v2/commands/execute", &body);
        assert!(refused.status == 400 && refused.titles().contains(member), "{body}: {refused}");
    }
    let refused = server.post("/services/v2/extracts/EXT1/command", &json!({"command": "FORCESTOP"}));
    assert!(refused.status == 400 && refused.titles().contains("STATUS, GETLAG or STATS"), "{refused}");
    server.get("/services/v2/extracts/EXT1/info/reports/OTHER.rpt").expect(404);
    server.post("/services/v2/commands/execute", &json!({"name": "stop", "processName": "NONE"})).expect(404);
}

#[test]
fn a_user_sees_the_names_of_credentials_and_nobody_a_password() {
    let Some(server) = house() else { return };
    server.post("/services/v2/users/reader", &json!({"role": "User", "password": SECRET})).expect(200);
    let reader = |arguments: &[&str]| output(&server, ("reader", SECRET), arguments);
    for allowed in [
        &["list_domains"][..],
        &["list_connections", "domain=north"],
        &["get_extract_status", "extract=EXT1"],
        &["list_data_streams"],
    ] {
        let output = reader(allowed);
        assert!(output.status.success(), "{output:?}");
        assert!(!String::from_utf8_lossy(&output.stdout).contains(SECRET), "{output:?}");
    }
    for refused in [
        &["create_connection", "domain=north", "alias=replicator", "userid=u", "password=other-1"][..],
        &["create_data_stream", "stream=s2", "trail=a1"],
        &["get_extract_details", "extract=EXT1"],
        &["stop", "extract=EXT1"],
    ] {
        let output = reader(refused);
        assert!(String::from_utf8_lossy(&output.stderr).contains(": 403 "), "{output:?}");
    }
    let one = server.get("/services/v2/credentials/north/replicator").expect(200);
    assert_eq!(one.response()["alias"], "replicator");
    assert!(!one.text().contains(SECRET));
    server.get("/services/v2/credentials/north/none").expect(404);
    server.get("/services/v2/credentials/south").expect(404);
    let roles = server.get("/services/north/adminsrvr/v2/authorizations").expect(200).json();
    assert_eq!(names(&roles), ["User", "Operator", "Administrator"]);
}

#[test]
fn a_deployments_name_may_stand_in_the_path_and_links_keep_it() {
    let server = Server::start();
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    let stream = "/services/north/distsrvr/v2/stream/s1";
    let links = |path: &str| -> Vec<(String, String)> {
        let answer = server.get(path).expect(200).json();
        let links = answer["links"].as_array().unwrap().clone();
        let text = |link: &Value, member: &str| link[member].as_str().unwrap().to_owned();
        let path_of = |href: String| href.splitn(4, '/').nth(3).map(|path| format!("/{path}")).unwrap();
        links.iter().map(|link| (text(link, "rel"), path_of(text(link, "href")))).collect()
    };
    for path in ["", "/info", "/info/errors"] {
        for stream in ["/services/v2/stream/s1", "/services/distsrvr/v2/stream/s1", stream] {
            let here = format!("{stream}{path}");
            let expected =
                [("canonical", here.clone()), ("self", here.clone()), ("describedby", format!("{stream}/yaml"))];
            assert_eq!(links(&here), expected.map(|(rel, path)| (rel.to_owned(), path)));
        }
    }
    let document: Value = serde_yaml::from_str(&server.get(&format!("{stream}/yaml")).expect(200).text()).unwrap();
    assert_eq!(document["channels"]["records"]["address"], stream);
    let set = server.patch(&format!("{stream}/yaml"), &document).expect(200).json();
    assert!(set["links"][0]["href"].as_str().unwrap().ends_with(&format!("{stream}/yaml")), "{set}");
    server.put("a1", &[json!({"operations": [{"op": "INSERT", "table": "t", "after": {"id": 1}}]})]).expect(200);
    let target = format!("{stream}?begin=earliest");
    let mut subscriber =
        crate::support::Subscriber::connect(server.port(), &target, Some(server.credentials())).unwrap();
    assert!(subscriber.expect_data(std::time::Duration::from_secs(30)).is_dml());
    server.get("/services/north/adminsrvr/v2/trails/a1").expect(200);
    server.get("/services/north/other/v2/stream").expect(404);
    server.get("/services/north/south/distsrvr/v2/stream").expect(404);
    // In figures the route is the same as without it.
    server.sample_until(
        "trailcast_http_requests_total{route=\"/services/v2/stream/{name}/info\",method=\"GET\",status=\"2xx\"}",
        |count| count >= 3.0,
    );
}
