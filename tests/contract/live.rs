//! Goal: what a stream's configuration says is what a connection gets, from the first message to the close code.
//! Method: the real server, a real socket, one member at a time.

use std::time::Duration;

use serde_json::{Value, json};

use trailcast::codec::token;

use crate::support::subscriber::{Ended, Next, Record, Refused};
use crate::support::{Server, Subscriber, trail};

const PATIENCE: Duration = Duration::from_secs(30);
const STREAM: &str = "/services/v2/stream";

fn insert(id: u64) -> Value {
    let after = json!({"id": id, "total": 12.5, "name": "x".repeat(10)});
    json!({"xid": format!("x{id}"), "operations": [{"op": "INSERT", "table": "app.t", "key": ["id"], "after": after}]})
}

/// A server with a trail of three rows.
fn server() -> Server {
    let server = Server::start();
    server.make_trail("a1");
    server.put("a1", &[insert(1), insert(2), insert(3)]).expect(200);
    server
}

fn make(server: &Server, stream: &str, members: Value) {
    let mut config = json!({"source": {"trail": "a1"}});
    for (name, value) in members.as_object().unwrap() {
        config[name] = value.clone();
    }
    server.post(&format!("{STREAM}/{stream}"), &config).expect(200);
}

/// Records up to the end, and the end.
fn all(mut subscriber: Subscriber) -> (Vec<Record>, u16, String) {
    let mut records = Vec::new();
    loop {
        match subscriber.next(PATIENCE) {
            Next::Record(record) => records.push(record),
            Next::Ended(Ended::Closed(code, reason)) => return (records, code, reason),
            other => panic!("{other:?}"),
        }
    }
}

fn ids(records: &[Record]) -> Vec<u64> {
    records.iter().filter_map(|record| record.json["after"]["id"].as_u64()).collect()
}

fn refused(server: &Server, stream: &str, begin: &str) -> (u16, String) {
    match server.subscribe(stream, &format!("begin={begin}")) {
        Err(Refused::Answer(answer)) => {
            (answer.status, answer.json()["messages"][0]["code"].as_str().unwrap().to_owned())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reconfigured_stream_closes_with_4012_after_what_was_owed_and_a_deleted_one_with_4020() {
    let server = server();
    make(&server, "s1", json!({}));
    let subscriber = server.subscribe("s1", "begin=earliest").unwrap();
    server.patch(&format!("{STREAM}/s1"), &json!({"bufferSize": 131_072})).expect(200);
    let (records, code, _) = all(subscriber);
    assert_eq!((ids(&records), code), (vec![1, 2, 3], 4012));
    let last = records.last().unwrap().pos().unwrap().to_owned();

    // Only source and rules are in a position: this one still holds.
    let resumed = server.subscribe("s1", &format!("begin={last}")).unwrap();
    server.put("a1", &[insert(4)]).expect(200);
    server.delete(&format!("{STREAM}/s1")).expect(200);
    let (records, code, _) = all(resumed);
    assert_eq!((ids(&records), code), (vec![4], 4020));
    server.get(&format!("{STREAM}/s1")).expect(404);

    // A stream made again identically resumes too.
    make(&server, "s1", json!({}));
    let mut again = server.subscribe("s1", &format!("begin={last}")).unwrap();
    assert_eq!(ids(&[again.expect_data(PATIENCE)]), [4]);
}

#[test]
fn a_position_of_other_rules_is_refused_under_every_quality_of_service_and_a_puts_position_is_not() {
    let server = server();
    make(&server, "s1", json!({}));
    let position = server.subscribe("s1", "").unwrap().expect_data(PATIENCE).pos().unwrap().to_owned();
    let rules = json!([{"action": "include", "filter": {"objectNames": ["app.*"]}}]);
    for quality in ["exactlyOnce", "atLeastOnce", "atMostOnce"] {
        server.patch(&format!("{STREAM}/s1"), &json!({"rules": rules, "qualityOfService": quality})).expect(200);
        assert_eq!(refused(&server, "s1", &position), (409, "OGG-27062".into()), "{quality}");
    }
    let put = server.put("a1", &[insert(4)]).expect(200).response()["pos"].as_str().unwrap().to_owned();
    server.put("a1", &[insert(5)]).expect(200);
    let mut across = server.subscribe("s1", &format!("begin={put}")).unwrap();
    assert_eq!(ids(&[across.expect_data(PATIENCE)]), [5]);
}

/// A trail of 400 transactions in small segments, the first of which is gone, as retention leaves it. The position is
/// that of its first transaction.
fn purged_trail(folder: &std::path::Path) -> String {
    trail::make(folder, 4 << 10, async |appender| {
        let first = trail::row(appender, "app.t", 1).await;
        for id in 2..=400 {
            trail::row(appender, "app.t", id).await;
        }
        token::encode_trail(&first).to_string()
    })
}

#[test]
fn a_purged_position_is_refused_unless_the_stream_asks_for_at_most_once() {
    let mut server = Server::start();
    server.kill();
    let folder = server.data_dir().join("trails/old");
    let position = purged_trail(&folder);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let segments = files.iter().filter(|file| file.extension().is_some_and(|kind| kind == "seg")).count();
    assert!(segments > 2, "{files:?}");
    for file in files.iter().filter(|file| file.file_stem().is_some_and(|stem| stem == "0000000000000001")) {
        std::fs::remove_file(file).unwrap();
    }
    server.start_again();
    let first = server.get("/services/v2/trails/old").expect(200).response()["firstCommit"].as_u64().unwrap();
    assert!(first > 2);
    for (stream, quality) in [("s1", "exactlyOnce"), ("s2", "atLeastOnce"), ("s3", "atMostOnce")] {
        let config = json!({"source": {"trail": "old"}, "qualityOfService": quality});
        server.post(&format!("{STREAM}/{stream}"), &config).expect(200);
    }
    assert_eq!(refused(&server, "s1", &position), (409, "OGG-27065".into()));
    assert_eq!(refused(&server, "s2", &position), (409, "OGG-27065".into()));
    let mut skips = server.subscribe("s3", &format!("begin={position}")).unwrap();
    assert_eq!(ids(&[skips.expect_data(PATIENCE)]), [first]);
}

#[test]
fn a_session_says_where_it_goes_on_without_a_record_and_how_often_the_server_pings() {
    let folder = crate::support::Folder::new("config");
    let file = folder.path().join("trailcast.toml");
    std::fs::write(&file, "[limits]\npingSeconds = 70\n").unwrap();
    let server = Server::start_with(&["--config", file.to_str().unwrap()], &[]);
    make(&server, "s1", json!({}));
    let begin = |query: &str| server.subscribe("s1", query).unwrap().header("trailcast-begin").unwrap().to_owned();
    assert_eq!(begin("begin=now"), "earliest", "there is no trail yet");
    server.make_trail("a1");
    let before_all = begin("begin=now");
    server.put("a1", &[insert(1), insert(2)]).expect(200);
    let now = begin("begin=now");
    server.put("a1", &[insert(3)]).expect(200);
    for (from, first) in [(&before_all, 1), (&now, 3)] {
        let mut resumed = server.subscribe("s1", &format!("begin={from}")).unwrap();
        assert_eq!(resumed.header("trailcast-begin"), Some(from.as_str()));
        assert_eq!(resumed.header("trailcast-ping-seconds"), Some("70"));
        assert_eq!(ids(&[resumed.expect_data(PATIENCE)]), [first]);
    }
    assert_eq!(begin(""), "earliest");
    assert_eq!(begin("begin=2026-07-13T06:00:00%2B02:00"), "2026-07-13T04:00:00.000000Z");
    // It is one of this stream under these rules, as any other.
    server.patch(&format!("{STREAM}/s1"), &json!({"rules": [{"action": "exclude", "filter": {}}]})).expect(200);
    assert_eq!(refused(&server, "s1", &now), (409, "OGG-27062".into()));
}

#[test]
fn a_heartbeat_tells_where_now_was_though_nothing_has_come() {
    let server = server();
    make(&server, "s1", json!({"trailcast": {"heartbeat": 1}}));
    let mut subscriber = server.subscribe("s1", "begin=now").unwrap();
    let heartbeat = subscriber.expect_data(PATIENCE);
    assert_eq!(heartbeat.op_type(), Some("HEARTBEAT"));
    server.put("a1", &[insert(4)]).expect(200);
    let mut resumed = server.subscribe("s1", &format!("begin={}", heartbeat.pos().unwrap())).unwrap();
    assert_eq!(ids(&[resumed.expect_data(PATIENCE)]), [4]);
}

#[test]
fn a_heartbeat_moves_the_position_of_a_stream_whose_rules_match_nothing() {
    let server = server();
    let rules = json!([{"action": "include", "filter": {"objectNames": ["no.such"]}}]);
    make(&server, "s1", json!({"rules": rules, "trailcast": {"heartbeat": 1}}));
    let mut subscriber = server.subscribe("s1", "begin=earliest").unwrap();
    let mut before = Vec::new();
    let heartbeat = loop {
        let record = subscriber.expect_record(PATIENCE);
        if record.op_type() == Some("HEARTBEAT") {
            break record;
        }
        before.push(record);
    };
    let schema = before.iter().find(|record| record.json["id"] == "trailcast:schema:heartbeat").unwrap();
    assert!(jsonschema::draft4::is_valid(&schema.json, &heartbeat.json), "{}", heartbeat.text);
    server.put("a1", &[insert(4)]).expect(200);
    let position = token::decode(heartbeat.pos().unwrap()).unwrap().position;
    assert_eq!((position.commit, position.record), (3, 0));
    server.subscribe("s1", &format!("begin={}", heartbeat.pos().unwrap())).unwrap();
}

#[test]
fn decimals_are_sent_as_strings_where_asked() {
    let server = server();
    make(&server, "s1", json!({"trailcast": {"decimals": "string"}}));
    let record = server.subscribe("s1", "").unwrap().expect_data(PATIENCE);
    assert_eq!(record.json["after"], json!({"id": "1", "total": "12.5", "name": "x".repeat(10)}));
}

#[test]
fn decimals_of_columns_of_several_types_are_strings_too_and_those_inside_values_stay() {
    let server = server();
    let position = server.put("a1", &[insert(7)]).expect(200).response()["pos"].as_str().unwrap().to_owned();
    make(&server, "s1", json!({"trailcast": {"decimals": "string"}}));
    let values = ["\"x\"", "0.1000000000000000000001", "{\"n\":9007199254740993}", "[1.50]", "true", "-1e400"];
    for value in values {
        let row = format!("{{\"op\":\"INSERT\",\"table\":\"app.m\",\"after\":{{\"v\":{value}}}}}");
        let body = format!("{{\"operations\":[{row}]}}");
        server.post_text("/services/v2/trails/a1/transactions", &body).expect(200);
    }
    let mut subscriber = server.subscribe("s1", &format!("begin={position}")).unwrap();
    let mut schema = serde_json::Value::Null;
    for (at, value) in values.iter().enumerate() {
        let record = loop {
            let record = subscriber.expect_record(PATIENCE);
            if record.json["id"] == "app.m" {
                schema = record.json.clone();
            }
            if record.pos().is_some() {
                break record;
            }
        };
        let is_number = matches!(at, 1 | 5);
        let sent = if is_number { format!("\"{value}\"") } else { (*value).to_owned() };
        assert!(record.text.contains(&format!("\"after\":{{\"v\":{sent}}}")), "{}", record.text);
        assert!(jsonschema::draft4::is_valid(&schema, &record.json), "{schema} {}", record.text);
    }
    let column = &schema["definitions"]["row"]["properties"]["v"]["type"];
    assert_eq!(column, &json!(["string", "boolean", "object", "array", "null"]));
}

#[test]
fn numbers_of_a_configuration_are_given_back_digit_for_digit() {
    let server = server();
    let number = "123456789012345678901";
    let put = |id: &str| {
        let row = format!("{{\"op\":\"INSERT\",\"table\":\"app.n\",\"after\":{{\"id\":{id}}}}}");
        server.post_text("/services/v2/trails/a1/transactions", &format!("{{\"operations\":[{row}]}}")).expect(200);
    };
    ["123456789012345678900", number, "123456789012345678902"].iter().for_each(|id| put(id));
    let condition = format!("{{\"column\":\"id\",\"operator\":\"EQ\",\"value\":{number}}}");
    let rule =
        format!("{{\"action\":\"include\",\"filter\":{{\"objectNames\":[\"app.n\"],\"columnValues\":[{condition}]}}}}");
    let config = format!(
        "{{\"source\":{{\"trail\":\"a1\"}},\"rules\":[{rule}],\"encoding\":{{\"json\":{{\"staticFields\":{{\"s\":12.50,\"u\":{number}}}}}}}}}"
    );
    server.post_text(&format!("{STREAM}/s1"), &config).expect(200);
    let shown = server.get(&format!("{STREAM}/s1")).expect(200).text();
    assert!(shown.contains(&condition) && shown.contains(&format!("{{\"s\":12.50,\"u\":{number}}}")), "{shown}");
    let record = server.subscribe("s1", "begin=earliest").unwrap().expect_data(PATIENCE);
    assert!(record.text.contains(&format!("{{\"id\":{number}}}")), "{}", record.text);
    assert!(record.text.contains(&format!("\"s\":12.50,\"u\":{number}")), "{}", record.text);
    for document in ["yaml", "asyncapi.yaml", "asyncapi.json"] {
        let text = server.get(&format!("{STREAM}/s1/{document}")).expect(200).text();
        assert!(text.contains("12.50") && text.contains(number) && !text.contains("serde_json"), "{document}: {text}");
    }
}

#[test]
fn the_op_ts_of_a_record_begins_at_that_record_and_nanoseconds_and_a_comma_are_taken() {
    let server = Server::start();
    let at = |time: &str, id: u64| {
        let mut put = insert(id);
        put["commitTs"] = time.into();
        put
    };
    server.make_trail("times");
    let times = ["2020-01-01T00:00:00.000001Z", "2020-01-01T00:00:00.000002Z", "2020-01-01T00:00:00.000003Z"];
    server.put("times", &[at(times[0], 1), at(times[1], 2), at(times[2], 3)]).expect(200);
    server.make_stream("s1", "times");
    let second = server.subscribe("s1", "begin=2020-01-01T00:00:00.000002Z").unwrap().expect_data(PATIENCE);
    let op_ts = second.json["op_ts"].as_str().unwrap().replace(' ', "%20");
    for begin in [
        op_ts.as_str(),
        "2020-01-01T00:00:00.000002999Z",
        "2020-01-01T00:00:00,0000020Z",
        "2020-01-01T01:00:00,000002+01:00",
    ] {
        let first = server.subscribe("s1", &format!("begin={begin}")).unwrap().expect_data(PATIENCE);
        assert_eq!(first.text, second.text, "{begin}");
    }
    match server.subscribe("s1", "begin=2020-01-01T00:00:00") {
        Err(Refused::Answer(answer)) => {
            let said = answer.titles();
            assert!(answer.status == 400 && said.contains("2026-07-13T04:00:00Z") && said.contains("op_ts"), "{said}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_session_hears_of_a_shape_after_the_ddl_that_made_it_wherever_it_begins() {
    let server = Server::start();
    server.make_trail("a1");
    let row = |id: u64, after: Value| {
        let mut after = after;
        after["id"] = id.into();
        json!({"op": "INSERT", "table": "app.t", "key": ["id"], "after": after})
    };
    let ddl = json!({"op": "DDL", "table": "app.t", "ddl": "ALTER TABLE app.t ADD note text"});
    let one = |operation: Value| json!({"operations": [operation]});
    let wide = || json!({"v": 1, "note": "x"});
    // Once in transactions of their own, and once in one transaction.
    server.put("a1", &[one(row(1, json!({"v": 1}))), one(ddl.clone()), one(row(2, wide()))]).expect(200);
    let mut wider = wide();
    wider["more"] = true.into();
    server.put("a1", &[json!({"operations": [row(3, wide()), ddl, row(4, wider)]})]).expect(200);
    make(&server, "s1", json!({"encoding": {"json": {"includeJSONSchemaRecord": false}}}));
    let heard = |begin: &str| {
        let mut subscriber = server.subscribe("s1", &format!("begin={begin}")).unwrap();
        let mut records = Vec::new();
        loop {
            let record = subscriber.expect_record(PATIENCE);
            let is_last = record.json["after"]["id"] == 4;
            records.push(record);
            if is_last {
                return records;
            }
        }
    };
    let kinds = |records: &[Record]| -> Vec<String> {
        let kinds = records.iter().map(|record| match record.op_type().unwrap() {
            "OBJECT_METADATA" => format!("META of {}", record.json["columns"].as_object().unwrap().len()),
            "INSERT" => format!("INSERT {}", record.json["after"]["id"]),
            other => other.to_owned(),
        });
        kinds.skip(1).collect()
    };
    let all = heard("earliest");
    let whole = ["META of 2", "INSERT 1", "DDL", "META of 3", "INSERT 2", "INSERT 3", "DDL", "META of 4", "INSERT 4"];
    assert_eq!(kinds(&all), whole);
    let after = |id: u64, skipped: usize| {
        let at = all.iter().position(|record| record.json["after"]["id"] == id).unwrap();
        let with_pos: Vec<_> = all[at..].iter().filter_map(Record::pos).collect();
        kinds(&heard(with_pos[skipped]))
    };
    assert_eq!(after(1, 0), ["DDL", "META of 3", "INSERT 2", "INSERT 3", "DDL", "META of 4", "INSERT 4"]);
    assert_eq!(after(1, 1), ["META of 3", "INSERT 2", "INSERT 3", "DDL", "META of 4", "INSERT 4"]);
    assert_eq!(after(2, 0), ["META of 3", "INSERT 3", "DDL", "META of 4", "INSERT 4"]);
    assert_eq!(after(3, 0), ["DDL", "META of 4", "INSERT 4"]);
    assert_eq!(after(3, 1), ["META of 4", "INSERT 4"]);
}

#[test]
fn a_column_condition_with_a_table_delivers_nothing_of_other_tables() {
    let server = Server::start();
    server.make_trail("a1");
    let row = |table: &str, id: u64| json!({"op": "INSERT", "table": table, "key": ["ID"], "after": {"ID": id}});
    let ddl = |table: &str| json!({"op": "DDL", "table": table, "ddl": format!("ALTER TABLE {table} ADD x int")});
    let truncate = |table: &str| json!({"op": "TRUNCATE", "table": table});
    let of = |table: &str| json!([ddl(table), row(table, 1), row(table, 2), truncate(table)]);
    server.put("a1", &[json!({"operations": of("PAY.SALARIES")}), json!({"operations": of("HR.T")})]).expect(200);
    let rules = |condition: Value| json!([{"action": "include", "filter": {"columnValues": [condition]}}]);
    let seen = |stream: &str, condition: Value, last: &str, count: usize| {
        make(&server, stream, json!({"rules": rules(condition)}));
        let mut subscriber = server.subscribe(stream, "begin=earliest").unwrap();
        let records: Vec<_> = (0..count).map(|_| subscriber.expect_data(PATIENCE)).collect();
        let records: Vec<_> =
            records.iter().map(|record| format!("{} {}", record.op_type().unwrap(), record.table().unwrap())).collect();
        assert_eq!(records.last().unwrap(), last);
        records
    };
    let with_table = json!({"table": "HR.T", "column": "ID", "operator": "EQ", "value": 2});
    let expected = ["DDL HR.T", "INSERT HR.T", "TRUNCATE HR.T"];
    assert_eq!(seen("with", with_table, "TRUNCATE HR.T", 3), expected);
    // Without a table, statements and TRUNCATE of every table skip the condition.
    let without = json!({"column": "ID", "operator": "EQ", "value": 2});
    let both =
        ["DDL PAY.SALARIES", "INSERT PAY.SALARIES", "TRUNCATE PAY.SALARIES", expected[0], expected[1], expected[2]];
    assert_eq!(seen("without", without, "TRUNCATE HR.T", 6), both);
}

#[test]
fn a_record_beyond_a_limit_closes_with_4013_and_says_after_which_position_to_go_on() {
    let server = server();
    let big = json!({"id": 4, "total": 1, "name": "y".repeat(200_000)});
    let big = json!({"operations": [{"op": "INSERT", "table": "app.t", "key": ["id"], "after": big}]});
    server.put("a1", &[big, insert(5)]).expect(200);
    make(&server, "s1", json!({"encoding": {"json": {"maxRecordSize": 131_072, "truncateOrChunk": "fail"}}}));
    let (records, code, reason) = all(server.subscribe("s1", "begin=earliest").unwrap());
    assert_eq!((ids(&records), code), (vec![1, 2, 3], 4013));
    let after = reason.rsplit(' ').next().unwrap();
    let errors = server.get(&format!("{STREAM}/s1/info/errors")).expect(200).response()["errors"].to_string();
    assert!(errors.contains(after) && errors.contains("maxRecordSize"), "{errors}");
    let mut on = server.subscribe("s1", &format!("begin={after}")).unwrap();
    assert_eq!(ids(&[on.expect_data(PATIENCE)]), [5]);

    for (stream, options) in [
        ("s2", json!({"maxRecordSize": 131_072, "truncateOrChunk": "truncate"})),
        ("s3", json!({"maxRecordSize": 131_072})),
    ] {
        make(&server, stream, json!({"encoding": {"json": options}}));
        let mut cut = server.subscribe(stream, "begin=earliest").unwrap();
        let cut: Vec<_> = (0..5).map(|_| cut.expect_data(PATIENCE)).collect();
        assert_eq!(ids(&cut), [1, 2, 3, 4, 5]);
        assert_eq!(cut[3].json["truncated"], json!(["name"]));
        assert!(cut[3].text.len() <= 131_072);
    }
}

#[test]
fn every_default_spelled_out_is_accepted_and_cuts_long_values_as_goldengate_does_while_unset_loses_nothing() {
    let server = server();
    let long = "z".repeat(70_000);
    let row = json!({"id": 4, "total": 1, "name": long});
    let ddl = format!("ALTER TABLE app.t ADD note text -- {}", "d".repeat(1_000_000));
    let operations = json!([
        {"op": "INSERT", "table": "app.t", "key": ["id"], "after": row},
        {"op": "DDL", "table": "app.t", "ddl": ddl},
    ]);
    server.put("a1", &[json!({"operations": operations}), insert(5)]).expect(200);
    make(&server, "spelled", documented_defaults());
    let mut spelled = server.subscribe("spelled", "begin=earliest").unwrap();
    let records: Vec<_> = (0..6).map(|_| spelled.expect_data(PATIENCE)).collect();
    assert_eq!(ids(&records), [1, 2, 3, 4, 5]);
    assert_eq!(records[3].json["after"]["name"], "z".repeat(64_000));
    assert_eq!(records[3].json["truncated"], json!(["name"]));
    assert_eq!(records[4].json["ddl"].as_str().unwrap().len(), 1_000_000);
    assert_eq!(records[4].json["truncated"], json!(["ddl"]));

    make(&server, "unset", json!({}));
    let mut unset = server.subscribe("unset", "begin=earliest").unwrap();
    let whole: Vec<_> = (0..6).map(|_| unset.expect_data(PATIENCE)).collect();
    assert_eq!((&whole[3].json["after"]["name"], &whole[4].json["ddl"]), (&json!(long), &json!(ddl)));
}

/// The whole configuration with every default that GoldenGate documents, but for `encoding` in its short form and members
/// whose default is that they are not there.
fn documented_defaults() -> Value {
    let json = json!({
        "$schema": "ogg:outputFormatJson", "model": "op", "beforeImageName": "before", "afterImageName": "after",
        "flatten": false, "flattenDelimiter": ".", "omitNullColumnValues": false, "treatAllColumnsAsStrings": false,
        "staticFields": null, "includeJSONSchemaRecord": true, "includeObjectMetadataRecords": true,
        "includeStreamMetadataRecord": true, "maxLobSize": 64_000, "maxDDLTextSize": 1_000_000,
        "maxRecordSize": 1_048_576, "truncateOrChunk": "truncate", "delimiter": "",
        "operationStrings": {"INSERT": "INSERT", "UPDATE": "UPDATE", "DELETE": "DELETE", "TRUNCATE": "TRUNCATE",
            "UPSERT": "UPSERT", "DDL": "DDL"},
        "metaFields": {
            "qualifiedTable": true, "opType": true, "opTs": true, "pos": true, "catalog": false, "schema": false,
            "table": false, "csn": false, "xid": false, "opSeqno": false, "transInd": false, "primaryKeys": false,
            "currentTs": false, "currentTsMicroSecs": false, "opTsMicroSecs": false, "tokens": null, "env": null,
            "sys": null,
        },
    });
    json!({
        "$schema": "ogg:dataStream", "description": "", "encoding": {"json": json}, "bufferSize": 1_048_576,
        "qualityOfService": "exactlyOnce", "cloudEventsFormat": false, "tcpKeepAliveTimeout": 120,
    })
}

#[test]
fn the_subprotocol_gives_one_cloud_event_a_message() {
    let server = server();
    make(&server, "s1", json!({}));
    let target = format!("{STREAM}/s1?begin=earliest");
    let credentials = Some(server.credentials());
    let mut events = Subscriber::connect_with(server.port(), &target, credentials, Some("cloudevents.json")).unwrap();
    let mut kinds = Vec::new();
    while kinds.iter().filter(|kind| *kind == "io.trailcast.dml.insert").count() < 3 {
        let event = events.expect_record(PATIENCE).json;
        assert!(events.last_was_one_record);
        assert_eq!((&event["specversion"], &event["source"]), (&json!("1.0"), &json!("/services/v2/stream/s1")));
        kinds.push(event["type"].as_str().unwrap().to_owned());
    }
    assert_eq!(kinds[..2], ["io.trailcast.schema", "io.trailcast.metadata.stream"]);
    let unknown = Subscriber::connect_with(server.port(), &target, credentials, Some("soap"));
    assert!(unknown.is_err(), "a client that gets none of the subprotocols it offers must notice");
}

#[test]
fn framing_by_record_gives_one_record_a_message() {
    let server = server();
    make(&server, "s1", json!({"trailcast": {"framing": "record"}}));
    let mut subscriber = server.subscribe("s1", "begin=earliest").unwrap();
    for id in 1..=3 {
        let record = subscriber.expect_data(PATIENCE);
        assert!(subscriber.last_was_one_record);
        assert_eq!(ids(&[record]), [id]);
    }
}

/// The record of an update under these options of `encoding.json`, and everything heard before it.
fn updated(encoding: Value) -> (Vec<Record>, Record) {
    let server = Server::start();
    server.make_trail("a1");
    let row = json!({"id": 7, "name": null, "total": 1.5});
    let update = json!({
        "op": "UPDATE", "table": "db.app.t", "key": ["id"], "before": {"id": 7}, "after": row, "tokens": {"user": "ann"},
    });
    let ddl = json!({"op": "DDL", "table": "db.app.t", "ddl": "alter table t"});
    let transaction = json!({"xid": "x-1", "commitTs": "2026-07-13T04:00:00.5Z", "operations": [ddl, update]});
    server.put("a1", &[transaction]).expect(200);
    make(&server, "s1", json!({"encoding": {"json": encoding}}));
    let mut subscriber = server.subscribe("s1", "begin=earliest").unwrap();
    let mut before = Vec::new();
    loop {
        let record = subscriber.expect_record(PATIENCE);
        // Whatever its fields are called, it alone has two images.
        let images = |record: &Record| record.json.get("before").or(record.json.get("old")).is_some();
        if images(&record) {
            return (before, record);
        }
        before.push(record);
    }
}

#[test]
fn each_metadata_field_is_sent_as_asked_and_can_be_renamed() {
    let expected = [
        ("opType", "op_type", json!("UPDATE")),
        ("qualifiedTable", "qual_table", json!("db.app.t")),
        ("catalog", "catalog", json!("db")),
        ("schema", "schema", json!("app")),
        ("table", "table", json!("t")),
        ("opTs", "op_ts", json!("2026-07-13 04:00:00.500000")),
        ("opTsMicroSecs", "op_ts_micro_secs", json!(1_783_915_200_500_000_i64)),
        ("csn", "csn", json!("1")),
        ("xid", "xid", json!("x-1")),
        ("opSeqno", "op_seqno", json!(1)),
        ("transInd", "trans_ind", json!("END")),
        ("primaryKeys", "primary_keys", json!(["id"])),
        ("tokens", "tokens", json!({"user": "ann"})),
    ];
    let own = ["pos", "currentTs", "currentTsMicroSecs"];
    let all = |value: &dyn Fn(&str) -> Value| {
        let members = expected.iter().map(|(member, ..)| *member).chain(own);
        Value::Object(members.map(|member| (member.to_owned(), value(member))).collect())
    };
    let (_, on) = updated(json!({"metaFields": all(&|_| json!(true))}));
    let (_, renamed) = updated(json!({"metaFields": all(&|member| json!(format!("my {member}")))}));
    let (_, off) = updated(json!({"metaFields": all(&|_| json!(false))}));
    for (member, name, value) in &expected {
        assert_eq!(on.json[*name], *value, "{member}");
        assert_eq!(renamed.json[format!("my {member}")], *value, "{member}");
    }
    for name in ["pos", "current_ts", "current_ts_micro_secs"] {
        assert!(!on.json[name].is_null(), "{name}");
    }
    assert_eq!(on.json.as_object().unwrap().len(), 18);
    assert_eq!(off.json, json!({"before": {"id": 7}, "after": {"id": 7, "name": null, "total": 1.5}}));
}

#[test]
fn values_and_images_are_written_as_the_encoding_says() {
    let (_, record) = updated(json!({
        "beforeImageName": "old", "afterImageName": "new", "omitNullColumnValues": true, "treatAllColumnsAsStrings": true,
        "staticFields": {"shop": "north", "version": 2}, "operationStrings": {"UPDATE": "U", "DDL": "D"},
        "delimiter": "\n",
    }));
    assert_eq!(record.json["old"], json!({"id": "7"}));
    assert_eq!(record.json["new"], json!({"id": "7", "total": "1.5"}));
    assert_eq!((&record.json["shop"], &record.json["version"]), (&json!("north"), &json!(2)));
    assert_eq!(record.op_type(), Some("U"));
}

#[test]
fn records_of_metadata_and_schemas_can_be_left_out() {
    let heard = |encoding: Value| {
        let (before, _) = updated(encoding);
        let kinds = before.iter().map(|record| record.op_type().unwrap_or("schema").to_owned());
        kinds.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(heard(json!({})), ["DDL", "OBJECT_METADATA", "STREAM_METADATA", "schema"]);
    assert_eq!(heard(json!({"includeJSONSchemaRecord": false})), ["DDL", "OBJECT_METADATA", "STREAM_METADATA"]);
    assert_eq!(heard(json!({"includeObjectMetadataRecords": false})), ["DDL", "STREAM_METADATA", "schema"]);
    assert_eq!(heard(json!({"includeStreamMetadataRecord": false})), ["DDL", "OBJECT_METADATA", "schema"]);
}

#[test]
fn a_prefix_of_ones_own_stands_before_the_types_of_events() {
    let server = server();
    make(&server, "s1", json!({"cloudEventsFormat": true, "trailcast": {"cloudEventsTypePrefix": "com.example"}}));
    let event = server.subscribe("s1", "").unwrap().expect_record(PATIENCE).json;
    assert_eq!(event["type"], "com.example.schema");
}
