//! Goal: what the server says of itself is true: the metadata catalog's schemas, the OpenAPI document, a stream's own
//! AsyncAPI document. Method: its own answers against its own schemas; its routes against its document.

use std::collections::BTreeSet;

use jsonschema::{Draft, Validator};
use proptest::prelude::*;
use serde_json::{Value, json};

use trailcast::catalog::stream::{StreamConfig, config_schema};

use super::any_config::any_given;
use crate::support::Server;

const CATALOG: &str = "/services/v2/metadata-catalog";

fn draft_04(schema: &Value) -> Validator {
    assert!(jsonschema::draft4::meta::is_valid(schema), "{schema:#}");
    jsonschema::options().with_draft(Draft::Draft4).build(schema).unwrap()
}

fn is_valid(validator: &Validator, value: &Value) {
    let errors: Vec<_> =
        validator.iter_errors(value).map(|error| format!("{error} at {}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:?}: {value:#}");
}

#[test]
fn the_catalog_describes_the_server_s_own_answers_under_both_prefixes() {
    let server = Server::start();
    server.make_trail("a1");
    let schema = |name: &str| {
        let answer = server.get(&format!("{CATALOG}/{name}")).expect(200);
        assert_eq!(answer.header("content-type"), Some("application/schema+json"));
        let proxied = server.get(&format!("/services/distsrvr/v2/metadata-catalog/{name}")).expect(200);
        assert_eq!(proxied.json(), answer.json());
        draft_04(&answer.json())
    };
    let list = server.get(CATALOG).expect(200).response();
    let names: Vec<_> = list["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect();
    for name in
        ["dataStream", "dataStreamCollection", "dataStreamErrors", "streamNameErrors", "message", "standardResponse"]
    {
        assert!(names.contains(&name), "{names:?}");
    }
    names.iter().for_each(|name| drop(schema(name)));
    server.get(&format!("{CATALOG}/noSuchType")).expect(404);

    // A stream that waits for its trail answers with a message.
    let config = json!({"$schema": "ogg:dataStream", "source": {"trail": "later"}});
    let made = server.post("/services/v2/stream/s1", &config).expect(200);
    let envelope = schema("standardResponse");
    is_valid(&envelope, &made.json());
    is_valid(&schema("message"), &made.json()["messages"][0]);
    is_valid(&schema("dataStream"), &server.get("/services/v2/stream/s1").expect(200).response());
    is_valid(&schema("dataStreamCollection"), &server.get("/services/v2/stream").expect(200).response());
    let listed = server.get("/services/v2/stream").expect(200).response();
    assert_eq!(listed["items"][0]["details"]["source"]["trail"], "later", "{listed}");
    is_valid(&schema("streamNameErrors"), &server.get("/services/v2/stream/s1/info/errors").expect(200).response());
    is_valid(&schema("dataStreamErrors"), &server.get("/services/v2/stream/s1/info/errors").expect(200).response());
    for target in ["/services/v2/stream", "/services/v2/stream/s1/info", "/nothing", "/services/v2/trails"] {
        is_valid(&envelope, &server.get(target).json());
    }
}

#[test]
fn the_catalog_describes_every_kind_of_record_of_a_default_stream() {
    let server = Server::start();
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    let row = json!({"op": "INSERT", "table": "app.t", "key": ["id"], "after": {"id": 1}});
    let ddl = json!({"op": "DDL", "table": "app.t", "ddl": "alter table t"});
    server.put("a1", &[json!({"operations": [row, ddl]})]).expect(200);
    let mut subscriber = server.subscribe("s1", "begin=earliest").unwrap();
    let mut kinds = BTreeSet::new();
    while !kinds.contains("ddlRecord") {
        let record = subscriber.expect_record(std::time::Duration::from_secs(30));
        let kind = match record.op_type() {
            None => "schemaRecord",
            Some("STREAM_METADATA") => "streamMetadataRecord",
            Some("OBJECT_METADATA") => "objectMetadataRecord",
            Some("DDL") => "ddlRecord",
            Some(_) => "dmlRecord",
        };
        is_valid(&draft_04(&server.get(&format!("{CATALOG}/{kind}")).expect(200).json()), &record.json);
        kinds.insert(kind);
    }
    assert_eq!(kinds.len(), 5, "{kinds:?}");
}

/// A value that some member does not take.
fn any_value() -> impl Strategy<Value = Value> {
    let numbers = [0_i64, 1, -1, 131_071, 131_072, 10_485_760, 10_485_761, 10_801, 86_401];
    prop_oneof![
        prop::sample::select(numbers.to_vec()).prop_map(Value::from),
        prop::sample::select(vec![
            "",
            "json",
            "op",
            "EQ",
            "DDL",
            "INSERT",
            "truncate",
            "chunk",
            "record",
            "ogg:dataStream"
        ])
        .prop_map(Value::from),
        (1..70_usize).prop_map(|length| Value::from("x".repeat(length))),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        Just(json!(1.5)),
        Just(json!({})),
        Just(json!([])),
        Just(json!([1])),
        Just(json!({"unknown": 1})),
    ]
}

/// Pointers to everything within a value.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(members) => {
            let escaped = |name: &str| name.replace('~', "~0").replace('/', "~1");
            members.iter().for_each(|(name, inner)| places(inner, &format!("{at}/{}", escaped(name)), found));
        }
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(number, inner)| places(inner, &format!("{at}/{number}"), found));
        }
        _ => {}
    }
}

/// What a schema cannot say: that two fields would get one name.
fn is_about_names(error: &trailcast::catalog::stream::ConfigError) -> bool {
    ["two fields would be", "could get one name", "must differ from", "has a field named"]
        .iter()
        .any(|words| error.message.contains(words))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_schema_of_a_configuration_agrees_with_its_checks(
        given in any_given(), changes in proptest::collection::vec((any::<prop::sample::Index>(), any_value()), 0..3), unknown in any::<bool>()
    ) {
        let mut given = given;
        for (index, value) in changes {
            let mut found = Vec::new();
            places(&given, "", &mut found);
            let place: &String = index.get(&found);
            *given.pointer_mut(place).unwrap() = value;
        }
        if unknown && given.is_object() {
            given["unknown"] = json!(1);
        }
        thread_local!(static SCHEMA: Validator = draft_04(&config_schema()));
        let allowed = SCHEMA.with(|schema| schema.is_valid(&given));
        match StreamConfig::from_value(given.clone()) {
            Ok(_) => prop_assert!(allowed, "the schema forbids {given}"),
            Err(error) if is_about_names(&error) => {}
            Err(error) => prop_assert!(!allowed, "the schema allows {given}: {error}"),
        }
    }
}

fn own_document() -> Value {
    json!({
        "asyncapi": "3.0.0", "info": {"title": "Own", "version": "1"}, "channels": {"c": {"address": "/"}},
        "operations": {"o": {"action": "receive", "channel": {"$ref": "#/channels/c"}}},
    })
}

#[test]
fn a_document_of_one_s_own_is_served_across_a_restart_until_the_configuration_changes() {
    const YAML: &str = "/services/v2/stream/s1/yaml";
    let headers = [("Content-Type", "application/yaml")];
    let mut server = Server::start();
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    let made = server.get(YAML).expect(200).text();
    for bad in ["asyncapi: 2.6.0", "{", "a: [", "- 1", "", "asyncapi: 3.0.0\ninfo: {title: T, version: '1'}\n"] {
        let answer = server.request("PATCH", YAML, &headers, bad.as_bytes()).expect(400);
        assert!(answer.titles().contains("AsyncAPI 3"), "{answer}");
    }
    assert_eq!(server.get(YAML).expect(200).text(), made, "a refused document changes nothing");
    server.request("PATCH", "/services/v2/stream/s2/yaml", &headers, b"{}").expect(404);

    server.patch(YAML, &own_document()).expect(200);
    let own = |server: &Server| {
        let answer = server.get(YAML).expect(200);
        assert_eq!(answer.header("content-type"), Some("application/yaml"));
        let text = answer.text();
        serde_yaml::from_str::<Value>(&text).unwrap()
    };
    assert_eq!(own(&server), own_document());
    server.kill();
    server.start_again();
    assert_eq!(own(&server), own_document());

    let answer = server.patch("/services/v2/stream/s1", &json!({"description": "new"})).expect(200);
    assert_eq!(answer.json()["messages"][0]["severity"], "WARNING", "{answer}");
    assert_eq!(answer.json()["messages"][0]["code"], "OGG-27104", "{answer}");
    assert_ne!(own(&server), own_document());
    let again = server.patch("/services/v2/stream/s1", &json!({"description": "newer"})).expect(200);
    assert_eq!(again.json()["messages"], json!([]));

    // A stream made anew under the name does not inherit it.
    server.patch(YAML, &own_document()).expect(200);
    server.delete("/services/v2/stream/s1").expect(200);
    server.make_stream("s1", "a1");
    assert_ne!(own(&server), own_document());
}

#[test]
fn the_known_tables_of_a_document_are_those_that_the_rules_let_through() {
    let server = Server::start();
    server.make_trail("a1");
    let row = |table: &str| json!({"op": "INSERT", "table": table, "key": ["id"], "after": {"id": 1}});
    server.put("a1", &[json!({"operations": [row("app.class"), row("hr.pay")]})]).expect(200);
    let rules = json!([{"action": "exclude", "filter": {"objectNames": ["hr.*"]}}]);
    server.post("/services/v2/stream/s1", &json!({"source": {"trail": "a1"}, "rules": rules})).expect(200);
    let document = server.get("/services/v2/stream/s1/asyncapi.json").expect(200).json();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    assert!(schemas.contains_key("TableAppClass"), "{:?}", schemas.keys());
    assert!(!schemas.contains_key("TableHrPay"), "{:?}", schemas.keys());
}

#[test]
fn the_openapi_document_is_one_and_leads_nowhere_else() {
    let document = Server::start().get("/openapi.json").expect(200).json();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["paths"].as_object().unwrap().len() > 25);
    check_references(&document, &document);
}

/// What the document says of a put is what the server does with it.
#[test]
fn the_openapi_document_describes_puts_as_the_server_takes_them() {
    let server = Server::start();
    server.make_trail("a1");
    let mut schema = server.get("/openapi.json").expect(200).json();
    let example = schema["paths"]["/services/v2/trails/{name}/transactions"]["post"]["requestBody"]["content"]
        ["application/json"]["example"]
        .clone();
    schema["$ref"] = "#/components/schemas/PutTransaction".into();
    let transaction = jsonschema::draft202012::new(&schema).unwrap();
    schema["$ref"] = "#/components/schemas/PutAnswer".into();
    let answer = jsonschema::draft202012::new(&schema).unwrap();
    let one = |operation: Value| json!({"operations": [operation]});
    let with = |op: &str, rest: Value| {
        let mut operation = json!({"op": op, "table": "app.t"});
        operation.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        one(operation)
    };
    let (row, nested) = (json!({"id": 1, "v": [1.5, {"x": null}]}), json!({"id": 2, "v": "x"}));
    let good = [
        example,
        json!({"xid": "a", "commitTs": "2026-01-01T00:00:00Z", "operations": [{"op": "TRUNCATE", "table": "t"}]}),
        with("INSERT", json!({"after": row, "before": null, "key": ["id"], "tokens": {"T": "x"}})),
        with("UPDATE", json!({"after": row, "before": nested, "key": ["id", "v"]})),
        with("UPSERT", json!({"after": row})),
        with("DELETE", json!({"before": row, "after": null})),
        with("TRUNCATE", json!({"tokens": {}, "key": []})),
        with("DDL", json!({"ddl": "alter"})),
    ];
    for good in good {
        assert!(transaction.is_valid(&good), "{good}");
        let put = server.put("a1", std::slice::from_ref(&good)).expect(200);
        assert!(answer.is_valid(&put.response()), "{put}");
    }
    let bad = [
        json!({}),
        json!({"operations": []}),
        json!({"operations": [{"op": "TRUNCATE", "table": "t"}], "xid": ""}),
        json!({"operations": [{"op": "TRUNCATE", "table": "t"}], "xid": null}),
        json!({"operations": [{"op": "TRUNCATE", "table": "t"}], "more": 1}),
        json!({"operations": {"op": "TRUNCATE", "table": "t"}}),
        one(json!({"op": "TRUNCATE"})),
        one(json!({"op": "TRUNCATE", "table": ""})),
        one(json!({"table": "t", "after": row})),
        with("MERGE", json!({"after": row})),
        with("INSERT", json!({})),
        with("INSERT", json!({"after": {}})),
        with("INSERT", json!({"after": null})),
        with("INSERT", json!({"after": row, "before": row})),
        with("INSERT", json!({"after": row, "key": ["id", "id"]})),
        with("INSERT", json!({"after": row, "key": "id"})),
        with("INSERT", json!({"after": row, "tokens": {"T": 1}})),
        with("INSERT", json!({"after": row, "tokens": null})),
        with("INSERT", json!({"after": row, "ddl": "alter"})),
        with("INSERT", json!({"after": row, "more": 1})),
        with("UPDATE", json!({"before": row})),
        with("DELETE", json!({"after": row, "before": row})),
        with("DELETE", json!({})),
        with("TRUNCATE", json!({"before": row})),
        with("TRUNCATE", json!({"key": ["id"]})),
        with("DDL", json!({})),
        with("DDL", json!({"ddl": ""})),
        with("DDL", json!({"ddl": "alter", "tokens": {}})),
        with("DDL", json!({"ddl": "alter", "after": row})),
    ];
    for bad in bad {
        assert!(!transaction.is_valid(&bad), "{bad}");
        server.put("a1", std::slice::from_ref(&bad)).expect(400);
    }
}

fn check_references(document: &Value, within: &Value) {
    match within {
        Value::Object(members) => {
            if let Some(target) = members.get("$ref").and_then(Value::as_str) {
                assert!(document.pointer(&target[1..]).is_some(), "{target}");
            }
            members.values().for_each(|inner| check_references(document, inner));
        }
        Value::Array(values) => values.iter().for_each(|inner| check_references(document, inner)),
        _ => {}
    }
}
