//! Goal: `put` appends what a file holds, all of it, or says where it stopped. Method: run it and read the stream.

use super::command::{PATIENCE, client, rows, run, stderr, stdout};
use crate::support::{Folder, Server};

fn server_with_stream() -> Server {
    let server = Server::start();
    server.make_trail("events");
    server.make_stream("orders", "events");
    server
}

#[test]
fn a_file_and_standard_input_are_acknowledged_with_a_position_to_go_on_from() {
    let server = server_with_stream();
    let folder = Folder::new("put");
    let path = folder.path().join("rows.ndjson");
    std::fs::write(&path, rows(1, 3)).unwrap();
    let output = run(client(&server, &["put", "events", path.to_str().unwrap()]), "");
    assert!(output.status.success(), "{}", stderr(&output));
    let line = stdout(&output);
    let pos = line.trim().strip_prefix("acked 3 pos ").unwrap_or_else(|| panic!("{line}"));
    for arguments in [&["put", "events"][..], &["put", "events", "-"]] {
        let output = run(client(&server, arguments), &rows(4, 5));
        assert!(stdout(&output).starts_with("acked 2 pos "), "{}", stderr(&output));
    }
    let mut subscriber = server.subscribe("orders", &format!("begin={pos}")).unwrap();
    let ids: Vec<_> = (0..4).map(|_| subscriber.expect_data(PATIENCE).json["after"]["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [4, 5, 4, 5]);
}

#[test]
fn a_file_beyond_the_size_of_one_request_passes() {
    const COUNT: u64 = 120_000;
    let server = server_with_stream();
    let text = rows(1, COUNT);
    assert!(text.len() > 8 << 20);
    let output = run(client(&server, &["put", "events"]), &text);
    assert!(stdout(&output).starts_with(&format!("acked {COUNT} pos ")), "{}", stderr(&output));
}

#[test]
fn what_the_server_refuses_is_said_in_its_words_and_ends_with_1() {
    let server = server_with_stream();
    let bad = format!("{}{{\"operations\":[{{\"op\":\"FLY\",\"table\":\"t\"}}]}}\n", rows(1, 1));
    let cases = [
        ("events", bad.as_str(), "operations[0].op"),
        ("a", &rows(1, 1), "2 to 64 characters"),
        ("events", "\n", "no transaction"),
    ];
    for (trail, input, says) in cases {
        let output = run(client(&server, &["put", trail]), input);
        assert_eq!(output.status.code(), Some(1), "{trail}");
        assert!(stderr(&output).contains(says), "{}", stderr(&output));
    }
    let mut wrong = client(&server, &["put", "events"]);
    wrong.env("TRAILCAST_URL", format!("http://admin:nonsense-9@127.0.0.1:{}", server.port()));
    let output = run(wrong, &rows(1, 1));
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("refused with 401") && !stderr(&output).contains("nonsense-9"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_file_of_cloudevents_is_put_and_put_again_to_no_effect() {
    let server = server_with_stream();
    let event = |id: u64| {
        let row = serde_json::json!({"op": "INSERT", "table": "app.t", "key": ["id"], "after": {"id": id}});
        let data = serde_json::json!({"operations": [row]});
        serde_json::json!({"specversion": "1.0", "id": id.to_string(), "source": "/s", "type": "t", "data": data})
            .to_string()
    };
    let text = format!("{}\n\n{}\n{}", event(1), event(2), event(3));
    let first = run(client(&server, &["put", "events", "--cloudevents"]), &text);
    assert!(stdout(&first).starts_with("acked 3 pos "), "{}", stderr(&first));
    let again = run(client(&server, &["put", "events", "--cloudevents", "-"]), &text);
    assert_eq!(stdout(&again), stdout(&first), "{}", stderr(&again));
    let bad = run(client(&server, &["put", "events", "--cloudevents"]), &format!("{}\n{{}}", event(4)));
    assert!(stderr(&bad).contains("events[1].specversion: is required"), "{}", stderr(&bad));
    let next = run(client(&server, &["put", "events", "--cloudevents"]), &event(5));
    assert!(next.status.success(), "{}", stderr(&next));
    let mut subscriber = server.subscribe("orders", "begin=earliest").unwrap();
    let ids: Vec<_> = (0..4).map(|_| subscriber.expect_data(PATIENCE).json["after"]["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [1, 2, 3, 5]);
}
