//! Consumer groups as clients and administrators see them: on the stream's socket, over REST, on the command line.

use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::Message;

use crate::support::http::Basic;
use crate::support::subscriber::{Ended, Next, Record, Refused};
use crate::support::{Server, Subscriber};

const PATIENCE: Duration = Duration::from_secs(60);

fn row(id: u64) -> Value {
    json!({"operations": [{"op": "INSERT", "table": "app.t", "key": ["id"], "after": {"id": id}}]})
}

fn put(server: &Server, ids: std::ops::Range<u64>) {
    server.put("a1", &ids.map(row).collect::<Vec<_>>()).expect(200);
}

fn server() -> Server {
    let server = Server::start();
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    server
}

fn join(server: &Server, query: &str) -> Subscriber {
    server.subscribe("s1", query).unwrap_or_else(|refused| panic!("{refused:?}"))
}

fn refused(server: &Server, query: &str) -> (u16, String) {
    match server.subscribe("s1", query) {
        Err(Refused::Answer(answer)) => (answer.status, answer.titles()),
        other => panic!("{query}: {other:?}"),
    }
}

/// The next assignment, which comes before any more data.
fn assignment(member: &mut Subscriber) -> Vec<u64> {
    loop {
        let record = member.expect_record(PATIENCE);
        if record.op_type() == Some("GROUP_ASSIGNMENT") {
            return record.json["partitions"]
                .as_array()
                .unwrap()
                .iter()
                .map(|number| number.as_u64().unwrap())
                .collect();
        }
        assert!(record.pos().is_none(), "{}", record.text);
    }
}

fn id(record: &Record) -> u64 {
    record.json["after"]["id"].as_u64().unwrap()
}

/// The next row: what the session says of itself has a position too.
fn row_of(member: &mut Subscriber) -> Record {
    loop {
        let record = member.expect_data(PATIENCE);
        if record.is_dml() {
            return record;
        }
    }
}

fn take(member: &mut Subscriber, count: usize) -> Vec<Record> {
    (0..count).map(|_| row_of(member)).collect()
}

fn ids(records: &[Record]) -> Vec<u64> {
    records.iter().map(id).collect()
}

fn group(server: &Server) -> Value {
    server.get("/services/v2/stream/s1/groups/g1").expect(200).response()
}

fn group_until(server: &Server, wanted: impl Fn(&Value) -> bool) -> Value {
    server.get_until("/services/v2/stream/s1/groups/g1", wanted)
}

fn ended(member: &mut Subscriber) -> (u16, String) {
    loop {
        match member.next(PATIENCE) {
            Next::Ended(Ended::Closed(code, reason)) => return (code, reason),
            Next::Record(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_was_acknowledged_is_not_sent_again_over_crashes_and_all_else_is() {
    let mut server = server();
    put(&server, 0..5);
    let mut member = join(&server, "group=g1&member=m1");
    assert_eq!(member.header("Trailcast-Begin"), None);
    assert_eq!(assignment(&mut member), [0]);
    let records = take(&mut member, 5);
    assert_eq!(ids(&records), [0, 1, 2, 3, 4]);
    member.acknowledge(records[2].pos().unwrap()).unwrap();
    group_until(&server, |group| group["partitions"][0]["csn"] == 3);
    server.kill();
    server.start_again();
    let mut member = join(&server, "group=g1");
    assert_eq!(assignment(&mut member), [0]);
    let records = take(&mut member, 2);
    assert_eq!(ids(&records), [3, 4]);
    member.acknowledge(records[1].pos().unwrap()).unwrap();
    // What is acknowledged just before the end counts as well.
    member.close();
    group_until(&server, |group| group["lagTransactions"] == 0 && group["members"] == json!([]));
    put(&server, 5..6);
    let mut member = join(&server, "group=g1&begin=earliest");
    assert_eq!(ids(&take(&mut member, 1)), [5], "begin counts for a group that is made only");
}

#[test]
fn a_new_group_begins_where_its_first_member_says() {
    let server = server();
    put(&server, 0..3);
    let first = |query: &str| {
        let mut member = join(&server, query);
        id(&row_of(&mut member))
    };
    assert_eq!(first("group=whole"), 0);
    let mut plain = server.subscribe("s1", "begin=earliest").unwrap();
    let second = take(&mut plain, 2)[1].pos().unwrap().to_owned();
    assert_eq!(first(&format!("group=behind&begin={second}")), 2);
    assert_eq!(first("group=time&begin=2001-01-01T00:00:00Z"), 0);
    let mut now = join(&server, "group=now&begin=now");
    assert_eq!(assignment(&mut now), [0]);
    put(&server, 3..4);
    assert_eq!(id(&row_of(&mut now)), 3);
    // It stays there: nobody acknowledged anything.
    drop(now);
    assert_eq!(first("group=now&begin=earliest"), 3);
}

#[test]
fn of_one_partition_one_member_is_sent_records_and_the_next_one_goes_on_behind_what_was_acknowledged() {
    let server = server();
    put(&server, 0..4);
    let mut first = join(&server, "group=g1&member=first");
    assert_eq!(assignment(&mut first), [0]);
    let mut second = join(&server, "group=g1&member=second");
    assert_eq!(assignment(&mut second), [0_u64; 0]);
    let records = take(&mut first, 4);
    first.acknowledge(records[1].pos().unwrap()).unwrap();
    let shown = group_until(&server, |group| group["partitions"][0]["csn"] == 2);
    assert_eq!(shown["partitions"][0]["member"], "first");
    assert_eq!(
        shown["members"],
        json!([{"member": "first", "partitions": [0]}, {"member": "second", "partitions": []}])
    );
    first.close();
    assert_eq!(assignment(&mut second), [0]);
    assert_eq!(ids(&take(&mut second, 2)), [2, 3]);
    // Another one of its name puts it out.
    let mut again = join(&server, "group=g1&member=second");
    assert_eq!(ended(&mut second).0, 4017);
    assert_eq!(ids(&take(&mut again, 2)), [2, 3]);
}

#[test]
fn what_is_no_acknowledgement_of_what_was_sent_closes_the_connection_and_commits_nothing() {
    let server = server();
    put(&server, 0..2);
    let mut plain = server.subscribe("s1", "begin=earliest").unwrap();
    let positions: Vec<String> = take(&mut plain, 2).iter().map(|record| record.pos().unwrap().to_owned()).collect();
    drop(plain);
    let of_a_put = server.put("a1", &[row(2)]).expect(200).response()["pos"].as_str().unwrap().to_owned();
    let ack = |pos: &str| Message::text(json!({ "ack": pos }).to_string());
    for (message, code) in [
        (ack(&of_a_put), 4015),
        (ack("nothing"), 4015),
        (Message::text("{}"), 4015),
        (Message::text("ack"), 4015),
        (Message::text(format!("{{\"ack\":\"{}\",\"more\":1}}", positions[0])), 4015),
        (Message::binary(positions[0].clone().into_bytes()), 4015),
        (Message::text("a".repeat(5_000)), 1009),
    ] {
        let mut member = join(&server, "group=g1&member=m");
        let records = take(&mut member, 3);
        assert_eq!(id(&records[0]), 0, "nothing was committed");
        member.say(message.clone()).unwrap();
        let (closed, reason) = ended(&mut member);
        assert_eq!(closed, code, "{message:?}: {reason}");
    }
    // A position of the stream that this connection was not sent.
    put(&server, 3..4);
    let mut member = join(&server, &format!("group=late&begin={}", positions[1]));
    take(&mut member, 1);
    member.acknowledge(&positions[0]).unwrap();
    assert_eq!(ended(&mut member), (4015, "the position was not sent on this connection".to_owned()));
    // Without a group the same messages are passed over.
    let mut plain = server.subscribe("s1", "begin=earliest").unwrap();
    plain.say(Message::text("anything")).unwrap();
    assert_eq!(ids(&take(&mut plain, 4)), [0, 1, 2, 3]);
}

#[test]
fn bad_names_are_refused_before_the_socket_opens() {
    let server = server();
    for (query, says) in [
        ("group=", "group: a consumer group's name has 1 to 128 characters"),
        ("group=a%2Fb", "group: a consumer group's name has 1 to 128 characters"),
        ("group=g&member=a%20b", "member: a member's name has 1 to 128 characters"),
        ("member=m", "member names a member of a consumer group, and group names none"),
        ("grup=g", "grup is no parameter of this path, group is"),
        ("group=g&group=h", "group stands more than once"),
        ("group=g&begin=soon", "begin must be"),
    ] {
        let (status, said) = refused(&server, query);
        assert!(status == 400 && said.contains(says), "{query}: {status} {said}");
    }
    assert_eq!(server.get("/services/v2/groups").expect(200).response()["items"], json!([]));
    server.get("/services/v2/stream/s1/groups/g1").expect(404);
    server.delete("/services/v2/stream/s1/groups/g1").expect(404);
    server.patch("/services/v2/stream/s1/groups/g1", &json!({"begin": "now"})).expect(404);
    server.get("/services/v2/stream/s1/groups/a%20b").expect(400);
}

#[test]
fn a_group_is_reset_and_removed_only_while_nobody_is_in_it() {
    let server = server();
    put(&server, 0..3);
    let mut member = join(&server, "group=g1");
    let records = take(&mut member, 3);
    member.acknowledge(records[2].pos().unwrap()).unwrap();
    group_until(&server, |group| group["lagTransactions"] == 0);
    let path = "/services/v2/stream/s1/groups/g1";
    let said = server.patch(path, &json!({"begin": "earliest"})).expect(409).titles();
    assert!(said.contains("has 1 members, who would lose their places; stop them first"), "{said}");
    server.delete(path).expect(409);
    let said = server.delete("/services/v2/stream/s1").expect(409).titles();
    assert!(said.contains("whose positions would be lost; remove them first: g1"), "{said}");
    member.close();
    group_until(&server, |group| group["members"] == json!([]));
    for (body, says) in
        [(json!({}), "begin"), (json!({"begin": 7}), "begin"), (json!({"begin": "then"}), "begin must be")]
    {
        let said = server.patch(path, &body).expect(400).titles();
        assert!(said.contains(says), "{said}");
    }
    let reset = server.patch(path, &json!({"begin": records[0].pos().unwrap()})).expect(200).response();
    assert_eq!((reset["partitions"][0]["csn"].clone(), reset["lagTransactions"].clone()), (json!(1), json!(2)));
    let mut member = join(&server, "group=g1");
    assert_eq!(ids(&take(&mut member, 2)), [1, 2]);
    member.close();
    group_until(&server, |group| group["members"] == json!([]));
    server.delete(path).expect(200);
    server.get(path).expect(404);
    server.delete("/services/v2/stream/s1").expect(200);
}

#[test]
fn positions_belong_to_one_life_of_the_trail() {
    let mut server = server();
    put(&server, 0..2);
    let mut member = join(&server, "group=g1");
    take(&mut member, 2);
    let said = server.delete("/services/v2/trails/a1").expect(200).titles();
    assert!(said.contains("Consumer groups have lost their positions, and have to be reset: s1/g1"), "{said}");
    assert_eq!(ended(&mut member).0, 4020);
    group_until(&server, |group| group["members"] == json!([]) && group["status"] == "no-trail");
    let (status, said) = refused(&server, "group=g1");
    assert!(status == 409 && said.contains("does not exist yet"), "{status} {said}");
    server.make_trail("a1");
    put(&server, 10..12);
    for _ in 0..2 {
        let (status, said) = refused(&server, "group=g1");
        assert!(status == 409 && said.contains("trailcast group reset s1 g1 --begin"), "{status} {said}");
        assert_eq!(group(&server)["status"], "other-epoch");
        assert!(server.terminate().success());
        server.start_again();
    }
    server.sample_until("trailcast_group_needs_reset{stream=\"s1\",group=\"g1\"}", |stuck| stuck == 1.0);
    server.patch("/services/v2/stream/s1/groups/g1", &json!({"begin": "earliest"})).expect(200);
    assert_eq!(ids(&take(&mut join(&server, "group=g1"), 2)), [10, 11]);
}

#[test]
fn after_a_change_of_rules_a_group_goes_on_from_its_place_in_the_trail() {
    let server = server();
    put(&server, 0..4);
    let mut member = join(&server, "group=g1");
    let records = take(&mut member, 4);
    member.acknowledge(records[1].pos().unwrap()).unwrap();
    group_until(&server, |group| group["partitions"][0]["csn"] == 2);
    let rules = json!({"rules": [{"action": "exclude", "filter": {"objectNames": ["other.*"]}}]});
    server.patch("/services/v2/stream/s1", &rules).expect(200);
    assert_eq!(ended(&mut member).0, 4012);
    assert_eq!(ids(&take(&mut join(&server, "group=g1"), 2)), [2, 3]);
}

#[test]
fn what_no_rule_lets_through_does_not_leave_a_group_behind() {
    let server = server();
    let rules = json!({"rules": [{"action": "exclude", "filter": {"objectNames": ["app.t"]}}]});
    server.patch("/services/v2/stream/s1", &rules).expect(200);
    let mut member = join(&server, "group=g1");
    assert_eq!(assignment(&mut member), [0]);
    put(&server, 0..5);
    group_until(&server, |group| group["lagTransactions"] == 0);
    let lag = "trailcast_group_lag_transactions{stream=\"s1\",group=\"g1\",partition=\"0\"}";
    server.sample_until(lag, |lag| lag == 0.0);
}

#[test]
fn a_member_needs_to_read_the_stream_and_whoever_resets_or_removes_to_manage_it() {
    let server = server();
    put(&server, 0..1);
    let add = |name: &str, role: &str, grants: Value| {
        let body = json!({"role": role, "password": "correct-horse-9", "grants": grants});
        server.post(&format!("/services/v2/users/{name}"), &body).expect(200);
        Basic::new(name, "correct-horse-9")
    };
    let reader = add("reader", "Operator", json!(["read trails=a1 streams=s1"]));
    let other = add("other", "Administrator", json!(["read,manage trails=b* streams=t*"]));
    let viewer = add("viewer", "Administrator", json!(["read trails=a1 streams=s1"]));
    let target = "/services/v2/stream/s1?group=g1";
    let mut member = Subscriber::connect(server.port(), target, Some(&reader)).unwrap();
    let pos = row_of(&mut member).pos().unwrap().to_owned();
    member.acknowledge(&pos).unwrap();
    group_until(&server, |group| group["lagTransactions"] == 0);
    assert!(
        matches!(Subscriber::connect(server.port(), target, Some(&other)), Err(Refused::Answer(answer)) if answer.status == 403)
    );
    let ask = |user: &Basic, method: &str, target: &str, body: &str| {
        let headers = [("Authorization", user.header()), ("Content-Type", "application/json")];
        crate::support::http::request(server.port(), method, target, &headers, body.as_bytes()).unwrap()
    };
    let path = "/services/v2/stream/s1/groups/g1";
    assert_eq!(ask(&other, "GET", "/services/v2/groups", "").expect(200).response()["items"], json!([]));
    assert_eq!(ask(&reader, "GET", "/services/v2/groups", "").expect(200).response()["items"][0]["group"], "g1");
    ask(&other, "GET", path, "").expect(403);
    ask(&reader, "GET", path, "").expect(200);
    for user in [&reader, &other, &viewer] {
        ask(user, "PATCH", path, "{\"begin\":\"earliest\"}").expect(403);
        ask(user, "DELETE", path, "").expect(403);
    }
    // Who loses the right to read is out.
    server.patch("/services/v2/users/reader", &json!({"grants": ["read trails=a1 streams=t"]})).expect(200);
    assert_eq!(ended(&mut member).0, 4001);
}

#[test]
fn there_are_so_many_groups_of_a_stream_and_no_more() {
    let server = server();
    for number in 0..50 {
        join(&server, &format!("group=g{number}"));
    }
    let (status, said) = refused(&server, "group=one-more");
    assert!(status == 409 && said.contains("has 50 consumer groups already"), "{status} {said}");
    server.sample_until("trailcast_limit_hits_total{limit=\"groups\"}", |hits| hits == 1.0);
    join(&server, "group=g7");
}

#[test]
fn a_restored_backup_names_the_places_at_which_its_groups_are_to_go_on() {
    let server = server();
    put(&server, 0..3);
    let mut member = join(&server, "group=g1");
    let records = take(&mut member, 3);
    member.acknowledge(records[1].pos().unwrap()).unwrap();
    group_until(&server, |group| group["partitions"][0]["csn"] == 2);
    let home = crate::support::Folder::new("backup");
    let target = home.path().join("copy");
    let (from, to) = (server.data_dir().to_str().unwrap(), target.to_str().unwrap());
    let run = |arguments: &[&str]| std::process::Command::new(Server::program()).args(arguments).status().unwrap();
    assert!(run(&["backup", to, "--data-dir", from]).success());
    drop(server);
    assert!(run(&["trail", "new-epoch", "--all", "--data-dir", to]).success());
    let copy = Server::start_on(crate::support::Folder::adopt(target), &[]);
    let shown = group(&copy);
    assert_eq!((shown["partitions"][0]["csn"].clone(), shown["status"].clone()), (json!(2), json!("other-epoch")));
    let (status, said) = refused(&copy, "group=g1");
    assert!(status == 409 && said.contains("trailcast group reset s1 g1 --begin"), "{status} {said}");
    // As the page says: the position of the last record with that csn, as the stream gives it now.
    let mut plain = copy.subscribe("s1", "begin=earliest").unwrap();
    let place = take(&mut plain, 2)[1].pos().unwrap().to_owned();
    copy.patch("/services/v2/stream/s1/groups/g1", &json!({ "begin": place })).expect(200);
    assert_eq!(ids(&take(&mut join(&copy, "group=g1"), 1)), [2]);
}

/// A server whose trail has that many partitions.
fn with_partitions(partitions: u64) -> Server {
    let server = Server::start();
    server.post("/services/v2/trails/a1", &json!({ "partitions": partitions })).expect(200);
    server.make_stream("s1", "a1");
    server
}

/// Puts a message with that number into a partition.
fn put_into(server: &Server, partition: u64, number: u64) {
    let message = json!({"op": "MESSAGE", "partition": partition, "value": {"n": number}});
    server.put("a1", &[json!({ "operations": [message] })]).expect(200);
}

/// The next record of that kind.
fn until(member: &mut Subscriber, op_type: &str) -> Record {
    loop {
        let record = member.expect_record(PATIENCE);
        if record.op_type() == Some(op_type) {
            return record;
        }
    }
}

/// Reads on until the member is told that it has these partitions.
fn assigned(member: &mut Subscriber, partitions: &[u64]) {
    while until(member, "GROUP_ASSIGNMENT").json["partitions"] != json!(partitions) {}
}

/// The next message, and its number.
fn message(member: &mut Subscriber) -> (u64, String) {
    let record = until(member, "INSERT");
    (record.json["after"]["value"]["n"].as_u64().unwrap(), record.pos().unwrap().to_owned())
}

/// How far each partition is committed.
fn committed(group: &Value) -> Vec<u64> {
    let partitions = group["partitions"].as_array().unwrap();
    partitions.iter().map(|of| if of["committed"] == true { of["csn"].as_u64().unwrap() } else { 0 }).collect()
}

#[test]
fn a_late_acknowledgement_of_a_notice_commits_nothing_of_what_came_after_a_hand_over() {
    let server = with_partitions(2);
    let mut first = join(&server, "group=g1&member=first");
    assigned(&mut first, &[0, 1]);
    let mut second = join(&server, "group=g1&member=second");
    assigned(&mut first, &[0]);
    assigned(&mut second, &[1]);
    for (partition, number) in [(1, 1), (1, 2), (0, 3)] {
        put_into(&server, partition, number);
    }
    let (number, pos) = message(&mut first);
    assert_eq!(number, 3);
    first.acknowledge(&pos).unwrap();
    let late = until(&mut first, "CAUGHT_UP").pos().unwrap().to_owned();
    group_until(&server, |group| committed(group)[0] == 3);
    // The other one goes without having worked on anything.
    assert_eq!(message(&mut second).0, 1);
    drop(second);
    assigned(&mut first, &[0, 1]);
    let (one, two) = (message(&mut first), message(&mut first));
    assert_eq!((one.0, two.0), (1, 2));
    // Of what it was sent now it has worked on one.
    first.acknowledge(&late).unwrap();
    first.acknowledge(&one.1).unwrap();
    group_until(&server, |group| committed(group)[1] > 0);
    first.close();
    let shown = group_until(&server, |group| group["members"] == json!([]));
    assert_eq!(committed(&shown), [3, 1]);
    assert_eq!(message(&mut join(&server, "group=g1")).0, 2, "it was not acknowledged");
}

#[test]
fn a_member_may_acknowledge_that_it_has_everything_also_where_there_was_nothing() {
    let server = server();
    put(&server, 0..2);
    let mut member = join(&server, "group=g1&begin=now");
    let caught_up = until(&mut member, "CAUGHT_UP").pos().unwrap().to_owned();
    member.acknowledge(&caught_up).unwrap();
    put(&server, 2..3);
    let record = until(&mut member, "INSERT");
    assert_eq!(id(&record), 2);
    let caught_up = until(&mut member, "CAUGHT_UP").pos().unwrap().to_owned();
    member.acknowledge(&caught_up).unwrap();
    group_until(&server, |group| group["lagTransactions"] == 0);
}

#[test]
fn a_member_of_a_quiet_partition_keeps_up_and_what_was_split_off_it_is_given_out() {
    let server = with_partitions(2);
    let mut first = join(&server, "group=g1&member=first");
    let mut second = join(&server, "group=g1&member=second");
    assigned(&mut first, &[0]);
    assigned(&mut second, &[1]);
    put_into(&server, 0, 0);
    let (_, pos) = message(&mut first);
    first.acknowledge(&pos).unwrap();
    for number in 1..=20 {
        put_into(&server, 1, number);
        let (came, pos) = message(&mut second);
        assert_eq!(came, number);
        second.acknowledge(&pos).unwrap();
    }
    // The first one's partition has had nothing since, and is as far as the trail.
    group_until(&server, |group| group["partitions"].as_array().unwrap().iter().all(|of| of["lagTransactions"] == 0));
    server.post("/services/v2/trails/a1/partitions", &json!({"split": {"partition": 0}})).expect(200);
    put_into(&server, 2, 30);
    put_into(&server, 3, 31);
    let mut came = std::collections::BTreeSet::new();
    while came.len() < 2 {
        for member in [&mut first, &mut second] {
            while let Next::Record(record) = member.next(Duration::from_millis(100)) {
                if let (Some("INSERT"), Some(pos)) = (record.op_type(), record.pos()) {
                    came.insert(record.json["after"]["value"]["n"].as_u64().unwrap());
                    member.acknowledge(pos).unwrap();
                }
            }
        }
    }
    assert_eq!(came, [30, 31].into());
}

#[test]
fn a_member_goes_on_behind_a_record_that_is_too_large_once_it_says_so_and_has_acknowledged_what_comes_before() {
    let server = server();
    put(&server, 0..2);
    let large = "v".repeat(200_000);
    let row = json!({"op": "INSERT", "table": "app.t", "key": ["id"], "after": {"id": large}});
    server.put("a1", &[json!({ "operations": [row] })]).expect(200);
    put(&server, 3..5);
    server
        .patch(
            "/services/v2/stream/s1",
            &json!({"encoding": {"json": {"maxRecordSize": 131_072, "truncateOrChunk": "fail"}}}),
        )
        .expect(200);
    let mut member = join(&server, "group=g1");
    let records = take(&mut member, 2);
    let (code, reason) = ended(&mut member);
    assert_eq!(code, 4013, "{reason}");
    let after = reason.rsplit_once("go on after ").unwrap().1.to_owned();
    // It ends there again and again, until the client says that it wants to go on.
    let mut member = join(&server, "group=g1");
    take(&mut member, 2);
    assert_eq!(ended(&mut member).0, 4013);
    for (query, says) in [
        ("group=g1&skip=x", "skip: it must be the position"),
        (format!("skip={after}").as_str(), "skip is for a member"),
    ] {
        let (status, said) = refused(&server, query);
        assert!(status == 400 && said.contains(says), "{query}: {status} {said}");
    }
    let mut member = join(&server, &format!("group=g1&skip={after}"));
    let again = take(&mut member, 2);
    assert_eq!((ids(&again), ids(&records)), (vec![0, 1], vec![0, 1]));
    assert_eq!(group(&server)["partitions"][0]["committed"], false, "what comes before is not acknowledged");
    member.acknowledge(again[1].pos().unwrap()).unwrap();
    assert_eq!(ids(&take(&mut member, 2)), [3, 4]);
    group_until(&server, |group| group["partitions"][0]["csn"] == 3);
    drop(member);
    assert_eq!(ids(&take(&mut join(&server, "group=g1"), 2)), [3, 4], "it is behind the record for good");
}

#[test]
fn of_positions_of_a_trail_that_the_caller_may_not_see_he_is_told_nothing() {
    let server = Server::start();
    server.make_trail("secret");
    server.make_trail("a1");
    server.make_stream("s1", "secret");
    drop(join(&server, "group=g1"));
    group_until(&server, |group| group["members"] == json!([]));
    server.patch("/services/v2/stream/s1", &json!({"source": {"trail": "a1"}})).expect(200);
    assert_eq!(group(&server)["trail"], "secret");
    let (status, said) = refused(&server, "group=g1");
    assert!(status == 409 && said.contains("of trail secret"), "{status} {said}");
    let grants = json!({"role": "Operator", "password": "correct-horse-9", "grants": ["read trails=a1 streams=s1"]});
    server.post("/services/v2/users/reader", &grants).expect(200);
    let reader = Basic::new("reader", "correct-horse-9");
    let headers = [("Authorization", reader.header())];
    let path = "/services/v2/stream/s1/groups/g1";
    crate::support::http::request(server.port(), "GET", path, &headers, b"").unwrap().expect(404);
    match Subscriber::connect(server.port(), "/services/v2/stream/s1?group=g1", Some(&reader)) {
        Err(Refused::Answer(answer)) => {
            let said = answer.titles();
            assert!(answer.status == 409 && said.contains("of another trail") && !said.contains("secret"), "{said}");
        }
        other => panic!("{other:?}"),
    }
}
