use super::*;
use serde_json::json;

fn with(member: &str, value: Value) -> Value {
    let mut config = json!({"source": {"trail": "a1"}});
    config[member] = value;
    config
}

fn schema() -> jsonschema::Validator {
    jsonschema::options().with_draft(jsonschema::Draft::Draft4).build(&config_schema()).unwrap()
}

#[test]
fn only_the_trail_is_required_and_the_rest_has_its_default() {
    let config = StreamConfig::parse(br#"{"source":{"trail":"a1"}}"#).unwrap();
    assert_eq!(config.buffer_bytes, 1_048_576);
    assert_eq!(config.quality_of_service, QualityOfService::ExactlyOnce);
    assert_eq!(config.tcp_keep_alive_seconds, 120);
    assert_eq!(config.json, JsonOptions::default());
    assert_eq!((config.framing, config.cloud_events, config.expose_host), (Grouping::Array, false, false));
    assert!(config.rules.is_empty() && config.heartbeat_seconds.is_none());
}

#[test]
fn every_violation_names_its_member() {
    let rule = |filter: Value| with("rules", json!([{"action": "include", "filter": filter}]));
    let column = |condition: Value| rule(json!({"columnValues": [condition]}));
    for (config, member) in [
        (json!([]), "body"),
        (json!({}), "source"),
        (json!({"source": "a1"}), "source"),
        (json!({"source": {}}), "source.trail"),
        (json!({"source": {"trail": "a"}}), "source.trail"),
        (json!({"source": {"trail": "a.b"}}), "source.trail"),
        (json!({"source": {"trail": "a".repeat(513)}}), "source.trail"),
        (json!({"source": {"trail": "a1", "path": "/x"}}), "source.path"),
        (with("speed", json!(1)), "speed"),
        (with("$schema", json!("ogg:other")), "$schema"),
        (with("description", json!(1)), "description"),
        (with("encoding", json!("xml")), "encoding"),
        (with("encoding", json!({})), "encoding.json"),
        (with("encoding", json!({"json": 1})), "encoding.json"),
        (with("encoding", json!({"json": {"model": "x"}})), "encoding.json.model"),
        (with("encoding", json!({"avro": {}})), "encoding.avro"),
        (with("bufferSize", json!(131_071)), "bufferSize"),
        (with("bufferSize", json!(10_485_761)), "bufferSize"),
        (with("bufferSize", json!("131072")), "bufferSize"),
        (with("bufferSize", json!(131_072.5)), "bufferSize"),
        (with("qualityOfService", json!("once")), "qualityOfService"),
        (with("cloudEventsFormat", json!("yes")), "cloudEventsFormat"),
        (with("tcpKeepAliveTimeout", json!(0)), "tcpKeepAliveTimeout"),
        (with("tcpKeepAliveTimeout", json!(10_801)), "tcpKeepAliveTimeout"),
        (with("trailcast", json!({"framing": "line"})), "trailcast.framing"),
        (with("trailcast", json!({"heartbeat": 0})), "trailcast.heartbeat"),
        (with("trailcast", json!({"decimals": 1})), "trailcast.decimals"),
        (with("trailcast", json!({"cloudEventsTypePrefix": "a b"})), "trailcast.cloudEventsTypePrefix"),
        (with("trailcast", json!({"exposeHost": 1})), "trailcast.exposeHost"),
        (with("trailcast", json!({"turbo": 1})), "trailcast.turbo"),
        (with("rules", json!([])), "rules"),
        (with("rules", json!([1])), "rules[0]"),
        (with("rules", json!([{"filter": {}}])), "rules[0].action"),
        (with("rules", json!([{"action": "include"}])), "rules[0].filter"),
        (with("rules", json!([{"action": "keep", "filter": {}}])), "rules[0].action"),
        (rule(json!({"names": []})), "rules[0].filter.names"),
        (rule(json!({"objectNames": []})), "rules[0].filter.objectNames"),
        (rule(json!({"objectNames": [""]})), "rules[0].filter.objectNames[0]"),
        (rule(json!({"objectTypes": ["TABLE"]})), "rules[0].filter.objectTypes[0]"),
        (rule(json!({"tags": [""]})), "rules[0].filter.tags[0]"),
        (rule(json!({"tags": ["a", 1]})), "rules[0].filter.tags[1]"),
        (rule(json!({"userTokens": ["a"]})), "rules[0].filter.userTokens[0]"),
        (rule(json!({"operationTypes": ["DML", "MERGE"]})), "rules[0].filter.operationTypes[1]"),
        (column(json!({"operator": "EQ", "value": 1})), "rules[0].filter.columnValues[0].column"),
        (column(json!({"column": "a", "value": 1})), "rules[0].filter.columnValues[0].operator"),
        (column(json!({"column": "a", "operator": "=", "value": 1})), "rules[0].filter.columnValues[0].operator"),
        (column(json!({"column": "a", "operator": "EQ"})), "rules[0].filter.columnValues[0].value"),
        (column(json!({"column": "a", "operator": "EQ", "value": []})), "rules[0].filter.columnValues[0].value"),
        (column(json!({"column": "a", "operator": "ISNULL", "value": 1})), "rules[0].filter.columnValues[0].value"),
        (column(json!({"column": "a", "operator": "ISNULL", "image": "x"})), "rules[0].filter.columnValues[0].image"),
        (rule(json!({"userTokens": [{"operator": "NOTNULL"}]})), "rules[0].filter.userTokens[0].name"),
        (rule(json!({"partitionNames": [1]})), "rules[0].filter.partitionNames[0]"),
    ] {
        assert_eq!(StreamConfig::from_value(config.clone()).unwrap_err().member, member, "{config}");
        assert!(!schema().is_valid(&config), "the schema allows {config}");
    }
    let many = with("rules", json!(vec![json!({"action": "include", "filter": {}}); 1_025]));
    assert_eq!(StreamConfig::from_value(many).unwrap_err().member, "rules");
}

#[test]
fn bounds_themselves_are_allowed() {
    for (member, value) in [
        ("bufferSize", json!(131_072)),
        ("bufferSize", json!(10_485_760)),
        ("tcpKeepAliveTimeout", json!(1)),
        ("tcpKeepAliveTimeout", json!(10_800)),
        ("$schema", json!("ogg:dataStream")),
        ("source", json!({"trail": "a".repeat(512)})),
        ("source", json!({"trail": "north/a1"})),
        (
            "rules",
            json!([{"action": "include", "filter": {"objectTypes":
            ["INSERT", "UPDATE", "UPSERT", "DELETE", "TRUNCATE", "DML", "DDL"]}}]),
        ),
        ("rules", json!([{"description": "", "action": "include", "filter": {}}])),
        ("rules", json!([{"action": "exclude", "filter": {"tags": ["red", {"name": "b", "operator": "ISNULL"}]}}])),
        ("encoding", json!({"json": {"$schema": "ogg:outputFormatJson"}})),
        ("encoding", json!({"json": {"maxLobSize": 1, "maxDDLTextSize": 1, "maxRecordSize": 131_072}})),
        ("encoding", json!({"json": {"maxLobSize": 18_446_744_073_709_552_000_u128}})),
        ("encoding", json!({"json": {"maxDDLTextSize": 4_294_967_295_u64, "maxRecordSize": 10_485_760}})),
        ("encoding", json!({"json": {"beforeImageName": "b", "afterImageName": "x".repeat(32)}})),
        ("encoding", json!({"json": {"flattenDelimiter": "", "delimiter": ""}})),
        ("encoding", json!({"json": {"flattenDelimiter": "x".repeat(32), "delimiter": "x".repeat(32)}})),
        ("encoding", json!({"json": {"metaFields": {"env": null, "sys": null, "tokens": null, "pos": null}}})),
        ("encoding", json!({"json": {"staticFields": null}})),
        ("encoding", json!({"json": {"truncateOrChunk": "truncate"}})),
        ("encoding", json!({"json": {"truncateOrChunk": "fail"}})),
    ] {
        assert!(StreamConfig::from_value(with(member, value.clone())).is_ok(), "{member} {value}");
        assert!(schema().is_valid(&with(member, value.clone())), "the schema forbids {member} {value}");
    }
}

#[test]
fn positions_depend_on_source_and_rules_only_and_not_on_the_order_of_members() {
    let hash = |text: &str| StreamConfig::parse(text.as_bytes()).unwrap().contract_hash();
    let rules = r#""rules":[{"action":"include","filter":{"objectNames":["a","b"]}}]"#;
    let base = hash(&format!(r#"{{"source":{{"trail":"a1"}},{rules}}}"#));
    let same = r#"{"bufferSize":131072,"encoding":"json","rules":[{"filter":{"objectNames":["a","b"]},"action":"include"}],"source":{"trail":"a1"}}"#;
    assert_eq!(hash(same), base);
    assert_ne!(hash(&format!(r#"{{"source":{{"trail":"a2"}},{rules}}}"#)), base);
    assert_ne!(hash(&same.replace(r#"["a","b"]"#, r#"["b","a"]"#)), base);
    assert_ne!(hash(r#"{"source":{"trail":"a1"}}"#), base);
}

fn of_number(number: &str) -> StreamConfig {
    let condition = format!(r#"{{"column":"id","operator":"EQ","value":{number}}}"#);
    let rule = format!(r#"{{"action":"include","filter":{{"columnValues":[{condition}]}}}}"#);
    StreamConfig::parse(format!(r#"{{"source":{{"trail":"a1"}},"rules":[{rule}]}}"#).as_bytes()).unwrap()
}

#[test]
fn numbers_keep_every_digit_from_the_request_to_the_rule_and_back() {
    for number in ["123456789012345678901", "12.50", "0.1000000000000000000001", "1e+9999999999", "-0", "1e-2", "7"] {
        let config = of_number(number);
        assert_eq!(config.rules[0].column_values[0].value.as_deref(), Some(number));
        let stored = serde_json::to_vec(config.as_given()).unwrap();
        assert_eq!(config, StreamConfig::parse(&stored).unwrap(), "{number}");
        assert!(String::from_utf8(stored).unwrap().contains(&format!("\"value\":{number}}}")), "{number}");
        let patched = config.patched(&json!({"description": "x"})).unwrap();
        assert_eq!(
            (patched.rules, patched.given["rules"].to_string()),
            (config.rules, config.given["rules"].to_string())
        );
    }
    let long = format!("[{}]", "1".repeat(limits::RULE_TEXT_CHARS_MAX + 1));
    let long: Value = serde_json::from_str(&long).unwrap();
    let rule = json!({"columnValues": [{"column": "a", "operator": "EQ", "value": long[0]}]});
    let config = with("rules", json!([{"action": "include", "filter": rule}]));
    assert_eq!(StreamConfig::from_value(config).unwrap_err().member, "rules[0].filter.columnValues[0].value");
}

#[test]
fn positions_of_streams_saved_when_numbers_were_floats_stay_valid() {
    let hash = |number: &str| of_number(number).contract_hash();
    // As versions with floats wrote it, with what they made of the number.
    let as_float = |text: &str| {
        let condition = format!(r#"{{"column":"id","operator":"EQ","value":{text},}}"#);
        let rule = format!(r#"{{"action":"include","filter":{{"columnValues":[{condition},],}},}}"#);
        ContractHash(crc32c::crc32c(format!("{{\"trail\":\"a1\",}}\n[{rule},]\n").as_bytes()))
    };
    for (given, was) in [
        ("12", "12"),
        ("-12", "-12"),
        ("18446744073709551615", "18446744073709551615"),
        ("12.50", "12.5"),
        ("12.5", "12.5"),
        ("1e2", "100.0"),
        ("100.0", "100.0"),
        ("1E25", "1e+25"),
        ("-0", "-0.0"),
        ("0.10", "0.1"),
        // A number that was rounded before it was stored.
        ("1.2345678901234567e+19", "1.2345678901234567e+19"),
    ] {
        assert_eq!(hash(given), as_float(was), "{given}");
    }
    assert_ne!(hash("123456789012345678901"), as_float("1.2345678901234568e+20"));
    assert_ne!(hash("123456789012345678901"), hash("123456789012345678902"));
    assert_ne!(hash("1e9999999998"), hash("1e9999999999"));
}

#[test]
fn a_patch_is_checked_as_a_whole() {
    let config = StreamConfig::from_value(with("bufferSize", json!(131_072))).unwrap();
    let changed = config.patched(&json!({"bufferSize": null, "cloudEventsFormat": true})).unwrap();
    assert_eq!(changed.as_given(), &json!({"source": {"trail": "a1"}, "cloudEventsFormat": true}));
    assert_eq!(config.patched(&json!({"description": "x", "bufferSize": 1})).unwrap_err().member, "bufferSize");
    assert_eq!(config.patched(&json!({"source": null})).unwrap_err().member, "source");
    assert_eq!(config.patched(&json!([])).unwrap_err().member, "body");
}
