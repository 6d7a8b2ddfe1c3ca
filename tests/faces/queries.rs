//! Goal: a slip in the name of a parameter is told with the right name, on every route, and is never passed over; other
//! parameters are. Method: every GET of `/openapi.json` with slips, the socket too.

use std::time::Duration;

use serde_json::json;

use crate::support::Server;
use crate::support::subscriber::Refused;

const PATIENCE: Duration = Duration::from_secs(60);
const STREAM: &str = "/services/v2/stream/s1";

/// A trail with three rows, and a stream over it.
fn server() -> Server {
    let server = Server::start();
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    let insert = |id: u64| json!({"operations": [{"op": "INSERT", "table": "app.t", "after": {"id": id}}]});
    server.put("a1", &[insert(1), insert(2), insert(3)]).expect(200);
    server
}

/// Every path that GET is described for, with names that exist.
fn readable(server: &Server) -> Vec<String> {
    let document = server.get("/openapi.json").expect(200).json();
    let paths = document["paths"].as_object().unwrap();
    let readable = paths.iter().filter(|(_, path)| path.get("get").is_some()).map(|(template, _)| {
        let name = match template {
            path if path.contains("/stream/") => "s1",
            path if path.contains("/users/") => "admin",
            path if path.contains("/metadata-catalog/") => "streams",
            _ => "a1",
        };
        template.replace("{name}", name).replace("{trail}", name)
    });
    readable.collect()
}

#[test]
fn a_slip_of_the_tokens_name_is_refused_on_every_route_and_another_parameter_is_passed_over() {
    let server = server();
    let paths = readable(&server);
    assert!(paths.len() >= 15, "{paths:?}");
    for path in paths {
        for slip in ["acces_token", "accessToken", "ACCESS_TOKEN"] {
            let refused = server.get(&format!("{path}?{slip}=hush")).expect(400);
            let says = format!("The query is malformed: {slip} is no parameter of this path, access_token is.");
            assert_eq!(refused.titles(), says, "{path}");
            assert!(!refused.text().contains("hush"), "{refused}");
        }
        let plain = server.get(&path).status;
        assert_eq!(server.get(&format!("{path}?utm_source=mail&_=17&token=x")).status, plain, "{path}");
    }
}

#[test]
fn a_slip_of_begin_is_refused_with_the_right_name_before_the_upgrade() {
    let server = server();
    for slip in ["begni=earliest", "Begin=now", "begin[]=now", "amp;begin=now", "begin=now&begn=now"] {
        let Err(Refused::Answer(answer)) = server.subscribe("s1", slip) else { panic!("{slip} is taken") };
        assert_eq!(answer.status, 400, "{slip}: {answer}");
        assert!(answer.titles().ends_with("is no parameter of this path, begin is."), "{answer}");
        // The same without an upgrade, where generated clients ask first, and behind a GoldenGate proxy.
        server.get(&format!("{STREAM}?{slip}")).expect(400);
        server.get(&format!("/services/distsrvr/v2/stream/s1?{slip}")).expect(400);
        server.get(&format!("{STREAM}/?{slip}")).expect(400);
    }
    // Where nothing begins, it is a parameter like any other.
    server.get("/services/v2/trails?begni=earliest").expect(200);
    assert!(server.subscribe("s1", "begin=earliest&region=eu&login=1").is_ok());
}

#[test]
fn without_begin_a_session_begins_with_the_earliest_record() {
    let server = server();
    for query in ["", "utm_source=mail", "begin=earliest"] {
        let mut subscriber = server.subscribe("s1", query).unwrap();
        let ids: Vec<_> = (0..3).map(|_| subscriber.expect_data(PATIENCE).json["after"]["id"].as_u64()).collect();
        assert_eq!(ids, [Some(1), Some(2), Some(3)], "{query:?}");
    }
    let document = server.get("/openapi.json").expect(200).json();
    let parameters = document["paths"]["/services/v2/stream/{name}"]["get"]["parameters"].as_array().unwrap();
    let begin = parameters.iter().find(|parameter| parameter["name"] == "begin").unwrap();
    assert_eq!(begin["schema"]["default"], "earliest");
}
