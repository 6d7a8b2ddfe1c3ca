use super::*;
use crate::record::{Column, JsonKind, SchemaId, TableName};

fn tables() -> Vec<Arc<TableSchema>> {
    let column = |name: &str| Column {
        name: name.into(),
        kind: JsonKind::Number,
        sql_type: "int8".into(),
        nullable: false,
        key: true,
    };
    ["public.orders", "public_orders", "\"日本\".t"]
        .into_iter()
        .enumerate()
        .map(|(id, name)| TableSchema {
            id: SchemaId(id as u32),
            table: TableName::parse(name).unwrap(),
            columns: vec![column("id"), column("op_type")],
        })
        .map(Arc::new)
        .collect()
}

const DESCRIBED: &str = "注文 \"of\" C:\\shop\nand\tmore";

fn document_of(options: &Value, events: bool, layout: DocumentLayout) -> Value {
    let options = JsonOptions::parse("encoding.json", options).unwrap();
    document(
        &DocumentInput {
            stream: "s-1",
            description: Some(DESCRIBED),
            options: &options,
            event_type_prefix: events.then_some("io.trailcast"),
            record_framing: false,
            heartbeat: true,
            caught_up: true,
            drain: true,
            host: "localhost:9002",
            secure: false,
            path: "/services/v2/stream/s-1",
            security: &[SecurityScheme::Basic, SecurityScheme::Digest, SecurityScheme::Bearer],
            tables: &tables(),
        },
        layout,
    )
}

const ALL: [&str; 5] = [
    r#"{}"#,
    r#"{"model":"row"}"#,
    r#"{"flatten":true}"#,
    r#"{"metaFields":{"opType":false,"pos":"position"},"staticFields":{"shop":"x"}}"#,
    r#"{"metaFields":{"opType":"kind"},"operationStrings":{"INSERT":"I"},"beforeImageName":"old"}"#,
];

/// Validates against the payload's items, references resolved as AsyncAPI does: from the document's root.
fn item_validators(document: &Value) -> Vec<(String, jsonschema::Validator)> {
    let mut components = document["components"].clone();
    strip_ids(&mut components, true);
    let items = document["components"]["messages"]["Records"]["payload"]["items"]["oneOf"].as_array().unwrap();
    let validator = |item: &Value| {
        let schema = json!({"allOf": [item], "components": components});
        let name = item["$ref"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        (name, jsonschema::options().with_draft(jsonschema::Draft::Draft7).build(&schema).unwrap())
    };
    items.iter().map(validator).collect()
}

fn strip_ids(value: &mut Value, schema: bool) {
    match value {
        Value::Object(members) => {
            if schema {
                members.shift_remove("$id");
            }
            members.values_mut().for_each(|inner| strip_ids(inner, true));
        }
        Value::Array(values) => values.iter_mut().for_each(|inner| strip_ids(inner, true)),
        _ => {}
    }
}

fn assert_one_kind(document: &Value, record: &Value, kind: &str) {
    let matching: Vec<_> = item_validators(document)
        .into_iter()
        .filter(|(_, validator)| validator.is_valid(record))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(matching, [kind], "{record}");
}

#[test]
fn every_record_is_of_exactly_one_kind_under_the_stream_s_own_options() {
    use crate::codec::image::{Image, ImageWriter};
    use crate::codec::json::*;
    use crate::codec::schema_record::*;
    use crate::codec::token::{self, ContractHash};
    use crate::record::*;
    for text in ALL {
        let value: Value = serde_json::from_str(text).unwrap();
        let options = JsonOptions::parse("encoding.json", &value).unwrap();
        let document = document_of(&value, false, DocumentLayout::GoldenGate);
        let table = &tables()[0];
        let head = TransactionHead {
            xid: "1".into(),
            commit_ts: Timestamp::from_micros(0),
            source: SourcePosition::default(),
        };
        let context = RecordContext {
            head: &head,
            position: Position { epoch: Epoch(1), commit: 1, record: 1, xid_hash: 1 },
            contract: ContractHash(1),
            trans_ind: TransInd::Whole,
            tokens: None,
            now: Timestamp::from_micros(0),
        };
        let mut image = Vec::new();
        let mut writer = ImageWriter::new(&mut image);
        writer.json(b"1");
        writer.json(b"\"DDL\"");
        let image = Some(Image::split(&image).unwrap().0);
        let mut out = Vec::new();
        let dml = DmlRecord { context, operation: Operation::Insert, before: None, after: image };
        PreparedTable::new(table, &options).encode(&dml, &mut out).unwrap();
        assert_one_kind(&document, &serde_json::from_slice(&out).unwrap(), "DmlRecord");
        out.clear();
        push_ddl(&DdlRecord { context, table: None, text: "drop" }, &options, &mut out).unwrap();
        assert_one_kind(&document, &serde_json::from_slice(&out).unwrap(), "DdlRecord");
        out.clear();
        push_heartbeat(&token::encode_trail(&context.position), context.now, &options, &mut out);
        assert_one_kind(&document, &serde_json::from_slice(&out).unwrap(), "HeartbeatRecord");
        assert_one_kind(&document, &object_metadata(table, &options), "ObjectMetadataRecord");
        for schema in [dml_schema(table, &options), ddl_schema(&options), stream_metadata_schema(&options)] {
            assert_one_kind(&document, &schema, "SchemaRecord");
        }
    }
}

#[test]
fn the_goldengate_layout_has_the_path_as_address_and_begin_alone() {
    let document = document_of(&json!({}), false, DocumentLayout::GoldenGate);
    let channel = &document["channels"]["records"];
    assert_eq!(channel["address"], "/services/v2/stream/s-1");
    let query = channel["bindings"]["ws"]["query"]["properties"].as_object().unwrap();
    assert_eq!(query.keys().collect::<Vec<_>>(), ["begin"]);
    assert_eq!(query["begin"]["default"], "earliest");
    assert!(document["servers"]["trailcast"].get("pathname").is_none());
}

#[test]
fn a_description_may_be_pasted_between_quotes_in_the_goldengate_layout_and_is_verbatim_in_the_other() {
    let described = |layout| document_of(&json!({}), false, layout)["info"]["description"].as_str().unwrap().to_owned();
    let pasted = described(DocumentLayout::GoldenGate);
    assert!(pasted.starts_with("Stream `s-1`. 注文 'of' C:/shop and more Committed"), "{pasted}");
    assert_eq!(serde_json::from_str::<String>(&format!("\"{pasted}\"")).unwrap(), pasted);
    assert!(described(DocumentLayout::AsyncApi).contains(DESCRIBED));
}

#[test]
fn goldengates_layout_has_the_server_under_its_hosts_name_too() {
    let keys = |host: &str, layout| {
        let options = JsonOptions::default();
        let input = DocumentInput {
            stream: "s-1",
            description: None,
            options: &options,
            event_type_prefix: None,
            record_framing: false,
            heartbeat: false,
            caught_up: false,
            drain: false,
            host,
            secure: false,
            path: "/services/v2/stream/s-1",
            security: &[],
            tables: &[],
        };
        let document = document(&input, layout);
        let servers = document["servers"].as_object().unwrap();
        let named = document["channels"]["records"]["servers"].as_array().unwrap();
        for member in ["host", "protocol"] {
            assert!(servers.values().all(|server| server[member] == servers["trailcast"][member]), "{servers:?}");
        }
        // AsyncAPI's parser refuses a channel with two servers that are the same.
        let mut others = servers.iter().filter(|(key, _)| *key != "trailcast");
        assert!(others.all(|(_, other)| *other != servers["trailcast"]), "{servers:?}");
        assert_eq!(named.len(), servers.len());
        servers.keys().cloned().collect::<Vec<_>>()
    };
    for (host, key) in [
        ("localhost:9002", Some("localhost")),
        ("streams.example.com", Some("streams-example-com")),
        ("[::1]:9002", Some("---1-")),
        ("127.0.0.1:80", Some("127-0-0-1")),
        ("h\u{f6}st_1", Some("h-st_1")),
        ("trailcast:9002", None),
        ("", None),
        (":9002", None),
    ] {
        let expected: Vec<_> = std::iter::once("trailcast").chain(key).collect();
        assert_eq!(keys(host, DocumentLayout::GoldenGate), expected, "{host}");
        assert_eq!(keys(host, DocumentLayout::AsyncApi), ["trailcast"], "{host}");
    }
}

#[test]
fn the_examples_are_records_as_they_come_and_the_statement_is_one() {
    let document = document_of(&json!({}), false, DocumentLayout::GoldenGate);
    let example = &document["components"]["messages"]["Records"]["examples"][0]["payload"];
    let (insert, statement) = (&example[0], &example[1]);
    assert_eq!((&insert["op_type"], &statement["op_type"]), (&json!("INSERT"), &json!("DDL")));
    assert_eq!(statement["ddl"], "ALTER TABLE shop.orders ADD note text");
    assert_one_kind(&document, statement, "DdlRecord");
}

#[test]
fn the_asyncapi_layout_has_the_path_in_the_server() {
    let document = document_of(&json!({}), false, DocumentLayout::AsyncApi);
    assert_eq!(document["channels"]["records"]["address"], "/");
    assert_eq!(document["servers"]["trailcast"]["pathname"], "/services/v2/stream/s-1");
    let query = document["channels"]["records"]["bindings"]["ws"]["query"]["properties"].as_object().unwrap();
    assert!(query.values().all(|property| property.get("default").is_none()));
    assert_eq!(query.keys().collect::<Vec<_>>(), ["begin", "access_token"]);
}

#[test]
fn ids_are_unique_ascii_names_and_yaml_says_the_same_as_json() {
    for (events, text) in [(false, ALL[0]), (true, ALL[1])] {
        let document = document_of(&serde_json::from_str(text).unwrap(), events, DocumentLayout::AsyncApi);
        assert_eq!(document["info"]["title"], TITLE);
        let mut ids = Vec::new();
        collect_ids(&document, &mut ids);
        let unique: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(unique.len(), ids.len(), "{ids:?}");
        assert!(ids.iter().all(|id| id.bytes().all(|byte| byte.is_ascii_alphanumeric())), "{ids:?}");
        let yaml = to_yaml(&document).unwrap();
        assert_eq!(serde_yaml::from_str::<Value>(&yaml).unwrap(), document);
        assert_eq!(serde_json::from_str::<Value>(&to_json(&document)).unwrap(), document);
        if let Some(folder) = std::env::var_os("TRAILCAST_ASYNCAPI_OUT") {
            std::fs::write(std::path::Path::new(&folder).join(format!("{events}.yaml")), yaml).unwrap();
        }
    }
}

fn collect_ids(value: &Value, ids: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            ids.extend(members.get("$id").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|inner| collect_ids(inner, ids));
        }
        Value::Array(values) => values.iter().for_each(|inner| collect_ids(inner, ids)),
        _ => {}
    }
}

#[test]
fn a_document_describes_no_more_tables_and_columns_than_it_may() {
    let options = JsonOptions::parse("encoding.json", &json!({})).unwrap();
    let column = |number| Column {
        name: format!("c{number}"),
        kind: JsonKind::Number,
        sql_type: "int8".into(),
        nullable: false,
        key: false,
    };
    let described = |tables: u32, columns: u32| {
        let table = |id| TableSchema {
            id: SchemaId(id),
            table: TableName::parse(&format!("public.t{id}")).unwrap(),
            columns: (0..columns).map(column).collect(),
        };
        let tables: Vec<_> = (1..=tables).map(|id| Arc::new(table(id))).collect();
        let input = DocumentInput {
            stream: "s-1",
            description: None,
            options: &options,
            event_type_prefix: None,
            record_framing: false,
            heartbeat: false,
            caught_up: false,
            drain: false,
            host: "localhost",
            secure: false,
            path: "/s-1",
            security: &[],
            tables: &tables,
        };
        let schemas = payload::schemas(&input);
        schemas.keys().filter(|name| name.starts_with("TablePublic")).count()
    };
    assert_eq!(described(250, 1), crate::limits::ASYNCAPI_TABLES_MAX);
    assert_eq!(described(6, 12_000), 4);
}
