//! Random configurations: every member of the contract, renames and limits included.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use trailcast::catalog::stream::StreamConfig;

const META: [&str; 16] = [
    "opType",
    "qualifiedTable",
    "catalog",
    "schema",
    "table",
    "opTs",
    "opTsMicroSecs",
    "currentTs",
    "currentTsMicroSecs",
    "pos",
    "csn",
    "xid",
    "opSeqno",
    "transInd",
    "primaryKeys",
    "tokens",
];

/// A metadata field: left alone, on, off, or renamed.
fn any_field() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        4 => Just(None),
        3 => Just(Some(json!(true))),
        2 => Just(Some(json!(false))),
        1 => prop::sample::select(vec!["kind", "Ü", "a b", "meta.x", "\"q\"", "position"]).prop_map(|name| Some(json!(name))),
    ]
}

fn any_meta_fields() -> impl Strategy<Value = Value> {
    proptest::collection::vec(any_field(), META.len()).prop_map(|fields| {
        let given = META.iter().zip(fields).filter_map(|(name, field)| Some(((*name).to_owned(), field?)));
        Value::Object(given.collect())
    })
}

/// A member that is given now and then.
fn now_and_then(value: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Option<Value>> {
    prop_oneof![2 => Just(None), 1 => value.prop_map(Some)].boxed()
}

fn flag() -> BoxedStrategy<Option<Value>> {
    now_and_then(any::<bool>().prop_map(Value::from))
}

fn one_of(values: Vec<Value>) -> BoxedStrategy<Option<Value>> {
    now_and_then(prop::sample::select(values))
}

fn object(members: Vec<(&'static str, BoxedStrategy<Option<Value>>)>) -> BoxedStrategy<Value> {
    let (names, values): (Vec<_>, Vec<_>) = members.into_iter().unzip();
    let fill = move |values: Vec<Option<Value>>| {
        let given = names.iter().zip(values).filter_map(|(name, value)| Some(((*name).to_owned(), value?)));
        Value::Object(given.collect::<Map<_, _>>())
    };
    values.prop_map(fill).boxed()
}

fn any_encoding() -> BoxedStrategy<Value> {
    object(vec![
        ("$schema", one_of(vec![json!("ogg:outputFormatJson")])),
        ("model", one_of(vec![json!("op"), json!("row")])),
        ("beforeImageName", one_of(vec![json!("old"), json!("v\u{2028}or"), json!("shop")])),
        ("afterImageName", one_of(vec![json!("new"), json!("id"), json!("a.b")])),
        ("flatten", flag()),
        ("flattenDelimiter", one_of(vec![json!("_"), json!(""), json!("::")])),
        ("omitNullColumnValues", flag()),
        ("treatAllColumnsAsStrings", flag()),
        ("staticFields", one_of(vec![json!({"shop": "north\u{2029}", "n": 1.10, "live": true}), json!({"id": 7})])),
        (
            "operationStrings",
            one_of(vec![json!({"INSERT": "I", "UPSERT": "I", "DDL": "\"D"}), json!({"DELETE": "DELETE "})]),
        ),
        ("includeJSONSchemaRecord", one_of(vec![json!(true), json!(true), json!(true), json!(false)])),
        ("includeObjectMetadataRecords", flag()),
        ("includeStreamMetadataRecord", flag()),
        ("maxLobSize", one_of(vec![json!(1), json!(20), json!(4_000)])),
        ("maxDDLTextSize", one_of(vec![json!(1), json!(25)])),
        ("maxRecordSize", one_of(vec![json!(131_072)])),
        ("truncateOrChunk", one_of(vec![json!("truncate"), json!("fail")])),
        ("delimiter", one_of(vec![json!("\n")])),
        ("metaFields", now_and_then(any_meta_fields())),
    ])
}

fn any_rule() -> BoxedStrategy<Value> {
    let column = json!([{"column": "id", "operator": "LT", "value": "50000000000000000000", "image": "either"}]);
    let pattern = json!([{"column": "name", "operator": "REGEX", "value": "^[a-m]"}]);
    let filter = object(vec![
        (
            "objectNames",
            one_of(vec![json!(["shop.*"]), json!(["*.*.T?", "T1"]), json!(["\"sp ace\".\"ü.x\"", "shop.t2"])]),
        ),
        ("objectTypes", one_of(vec![json!(["DML"]), json!(["DDL"]), json!(["UPSERT", "TRUNCATE"])])),
        ("operationTypes", one_of(vec![json!(["INSERT", "DDL"]), json!(["DELETE", "TRUNCATE"]), json!(["DML"])])),
        ("columnValues", one_of(vec![column, pattern])),
        ("tags", one_of(vec![json!(["user"]), json!(["none", {"name": "user", "operator": "ISNULL"}])])),
        ("userTokens", one_of(vec![json!([{"name": "user", "operator": "EQ", "value": "ann"}])])),
    ]);
    (filter, prop::sample::select(vec!["include", "exclude"]))
        .prop_map(|(filter, action)| json!({"action": action, "filter": filter}))
        .boxed()
}

fn any_rules() -> BoxedStrategy<Option<Value>> {
    now_and_then(proptest::collection::vec(any_rule(), 1..4).prop_map(Value::from))
}

fn any_extensions() -> BoxedStrategy<Value> {
    object(vec![
        ("framing", one_of(vec![json!("array"), json!("record")])),
        ("heartbeat", one_of(vec![json!(1), json!(7)])),
        ("caughtUp", flag()),
        ("drain", flag()),
        ("decimals", one_of(vec![json!("number"), json!("string")])),
        ("cloudEventsTypePrefix", one_of(vec![json!("com.example-x")])),
        ("exposeHost", flag()),
    ])
}

pub fn any_given() -> BoxedStrategy<Value> {
    object(vec![
        ("$schema", one_of(vec![json!("ogg:dataStream")])),
        ("source", Just(Some(json!({"trail": "t1"}))).boxed()),
        ("description", one_of(vec![json!("Aufträge: \"neu\"")])),
        ("rules", any_rules()),
        ("encoding", any_encoding().prop_map(|json| Some(json!({"json": json}))).boxed()),
        ("bufferSize", one_of(vec![json!(131_072), json!(10_485_760)])),
        ("qualityOfService", one_of(vec![json!("atLeastOnce"), json!("atMostOnce")])),
        ("cloudEventsFormat", flag()),
        ("trailcast", now_and_then(any_extensions())),
    ])
}

/// A configuration that the contract allows: those in which two fields would get one name are not.
pub fn any_config() -> impl Strategy<Value = StreamConfig> {
    any_given().prop_filter_map("two fields of one name", |given| StreamConfig::from_value(given).ok())
}
