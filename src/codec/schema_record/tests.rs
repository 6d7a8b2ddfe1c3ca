//! Whatever the options and the tables: what the encoder sends is what the schema record sent before it says.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::codec::image::{Image, ImageWriter};
use crate::codec::json::{
    DatabaseInfo, DdlRecord, Decimals, DmlRecord, EncodeError, JsonOptions, MachineInfo, PreparedTable, RecordContext,
    SourceInfo, StreamMetadata, TransInd, object_metadata, push_ddl, push_heartbeat, stream_metadata,
};
use crate::codec::json_text::quoted;
use crate::codec::schema_record::*;
use crate::codec::token::{self, ContractHash};
use crate::record::*;

/// Names that meet metadata fields, static fields and flattened names, and some that need escaping.
const NAMES: [&str; 16] = [
    "id",
    "pos",
    "op_type",
    "_pos",
    "unchanged",
    "truncated",
    "ddl",
    "shop",
    "a.b",
    "before.id",
    "q\"uote",
    "naïve",
    "sp ace",
    "\u{2028}",
    "after",
    "_op_type",
];

fn validator(schema: &Value) -> jsonschema::Validator {
    assert!(schema.get("op_type").is_none());
    jsonschema::options().with_draft(jsonschema::Draft::Draft4).build(schema).unwrap()
}

fn assert_valid(schema: &Value, record: &Value) -> Result<(), TestCaseError> {
    let errors: Vec<_> = validator(schema).iter_errors(record).map(|error| error.to_string()).collect();
    prop_assert!(errors.is_empty(), "{errors:?}\n{record:#}\n{schema:#}");
    Ok(())
}

fn any_options() -> impl Strategy<Value = JsonOptions> {
    let flags = any::<[bool; 6]>();
    let meta = proptest::collection::vec(any::<Option<bool>>(), 16);
    let limits = (proptest::option::of(1..50_u32), proptest::option::of(1..50_u32), any::<bool>());
    (flags, meta, limits).prop_map(|([row, flatten, omit, strings, statics, relabel], meta, (lob, ddl, decimals))| {
        let names = [
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
        let fields = names.iter().zip(meta).filter_map(|(name, on)| on.map(|on| ((*name).to_owned(), json!(on))));
        let mut value = json!({
            "model": if row { "row" } else { "op" },
            "flatten": flatten,
            "omitNullColumnValues": omit,
            "treatAllColumnsAsStrings": strings,
            "metaFields": fields.collect::<serde_json::Map<_, _>>(),
            "truncateOrChunk": "truncate",
        });
        if statics {
            value["staticFields"] = json!({"shop": "north\u{2029}", "id": 7, "live": true});
        }
        if relabel {
            value["operationStrings"] = json!({"INSERT": "I", "UPSERT": "I", "DDL": "\"D"});
        }
        if let Some(lob) = lob {
            value["maxLobSize"] = lob.into();
        }
        if let Some(ddl) = ddl {
            value["maxDDLTextSize"] = ddl.into();
        }
        let mut options = JsonOptions::parse("encoding.json", &value).unwrap();
        options.decimals = if decimals { Decimals::String } else { Decimals::Number };
        options
    })
}

fn any_kind() -> impl Strategy<Value = JsonKind> {
    use JsonKind::{Any, Array, Boolean, Float, Number, Object, String};
    prop::sample::select(vec![String, Number, Float, Boolean, Object, Array, Any])
}

fn any_schema() -> impl Strategy<Value = TableSchema> {
    let columns = prop::sample::subsequence(NAMES.to_vec(), 0..8).prop_flat_map(|names| {
        names.into_iter().map(|name| (Just(name), any_kind(), any::<bool>())).collect::<Vec<_>>()
    });
    let parts = proptest::collection::vec("[a-z.\" ü:]{1,6}", 1..=3);
    (columns, parts).prop_map(|(columns, parts)| TableSchema {
        id: SchemaId(1),
        table: TableName::from_parts(&parts).unwrap(),
        columns: columns
            .into_iter()
            .map(|(name, kind, key)| Column { name: name.into(), kind, sql_type: String::new(), nullable: !key, key })
            .collect(),
    })
}

fn any_json(kind: JsonKind) -> BoxedStrategy<String> {
    match kind {
        JsonKind::String => "(\\PC|[\"\\\\\n\u{2028}😀]){0,60}".prop_map(|text| quoted(&text)).boxed(),
        JsonKind::Number => "-?[1-9][0-9]{0,40}(\\.[0-9]{1,20})?".boxed(),
        JsonKind::Float => prop_oneof!["-?[1-9]\\.[0-9]{1,5}", Just("\"NaN\"".to_owned())].boxed(),
        JsonKind::Boolean => any::<bool>().prop_map(|yes| yes.to_string()).boxed(),
        JsonKind::Object => Just(r#"{"a":[1.10,null],"b":"x\"y"}"#.to_owned()).boxed(),
        JsonKind::Array => Just(r#"[1,"two",{"three":3}]"#.to_owned()).boxed(),
        JsonKind::Any => {
            prop_oneof![any_json(JsonKind::String), any_json(JsonKind::Array), any_json(JsonKind::Number)].boxed()
        }
    }
}

fn any_cell(kind: JsonKind) -> BoxedStrategy<(u8, String)> {
    (0..6_u8, any_json(kind)).boxed()
}

fn any_image(schema: &TableSchema) -> BoxedStrategy<Vec<u8>> {
    let cells: Vec<_> = schema.columns.iter().map(|column| any_cell(column.kind)).collect();
    cells
        .prop_map(|cells| {
            let mut bytes = Vec::new();
            let mut writer = ImageWriter::new(&mut bytes);
            for (tag, text) in cells {
                match tag {
                    0 => writer.absent(),
                    1 => writer.null(),
                    2 => writer.unchanged(),
                    _ => writer.json(text.as_bytes()),
                }
            }
            bytes
        })
        .boxed()
}

type Row = (TableSchema, Option<Vec<u8>>, Option<Vec<u8>>);

fn any_row() -> impl Strategy<Value = Row> {
    any_schema().prop_flat_map(|schema| {
        let image = proptest::option::of(any_image(&schema));
        (Just(schema), image.clone(), image)
    })
}

fn head() -> TransactionHead {
    let commit_ts = Timestamp::from_micros(1_783_915_200_000_000);
    TransactionHead { xid: "7\"31".into(), commit_ts, source: SourcePosition::default() }
}

fn context(head: &TransactionHead) -> RecordContext<'_> {
    RecordContext {
        head,
        position: Position { epoch: Epoch(1), commit: u64::MAX, record: 3, xid_hash: head.xid_hash() },
        contract: ContractHash(9),
        trans_ind: TransInd::Whole,
        tokens: Some(r#"{"user":"x"}"#),
        now: Timestamp::from_micros(1),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_dml_record_validates_against_its_schema_record(
        options in any_options(), (schema, before, after) in any_row(), operation in 0..5_usize
    ) {
        let head = head();
        let record = DmlRecord {
            context: context(&head),
            operation: [Operation::Insert, Operation::Update, Operation::Delete, Operation::Truncate, Operation::Upsert][operation],
            before: before.as_ref().map(|bytes| Image::split(bytes).unwrap().0),
            after: after.as_ref().map(|bytes| Image::split(bytes).unwrap().0),
        };
        let mut out = b"before".to_vec();
        PreparedTable::new(&schema, &options).encode(&record, &mut out).unwrap();
        let text = std::str::from_utf8(&out).unwrap().strip_prefix("before").unwrap();
        let raw_separator = text.contains(['\u{2028}', '\u{2029}', '\n']);
        prop_assert!(!raw_separator, "{text}");
        // No member twice: a parsed record prints as long as it was, but for numbers, which are compared elsewhere.
        let record: Value = serde_json::from_str(text).unwrap();
        let names = top_level_names(text);
        prop_assert_eq!(names.len(), record.as_object().unwrap().len(), "a name twice in {}", text);
        assert_valid(&dml_schema(&schema, &options), &record)?;
    }

    #[test]
    fn other_records_validate_against_their_schema_records(options in any_options(), schema in any_schema(), ddl in "(\\PC|[\u{2028}\n\"]){0,80}", with_table in any::<bool>()) {
        let head = head();
        let record = DdlRecord { context: context(&head), table: with_table.then_some(&schema.table), text: &ddl };
        let mut out = Vec::new();
        push_ddl(&record, &options, &mut out).unwrap();
        assert_valid(&ddl_schema(&options), &serde_json::from_slice(&out).unwrap())?;
        out.clear();
        push_heartbeat(&token::encode(&record.context.position, ContractHash(0)), record.context.now, &options, &mut out);
        assert_valid(&heartbeat_schema(&options), &serde_json::from_slice(&out).unwrap())?;
        assert_valid(&object_metadata_schema(&options), &object_metadata(&schema, &options))?;
    }
}

/// The names at record level, as often as they stand there.
fn top_level_names(text: &str) -> Vec<String> {
    struct Names(Vec<String>);
    impl<'de> serde::Deserialize<'de> for Names {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Names;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                    let mut names = Vec::new();
                    while let Some((name, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                        names.push(name);
                    }
                    Ok(Names(names))
                }
            }
            deserializer.deserialize_map(Visitor)
        }
    }
    serde_json::from_str::<Names>(text).unwrap().0
}

#[test]
fn stream_metadata_tells_nothing_of_the_host_unless_asked() {
    let metadata = StreamMetadata {
        database: DatabaseInfo::default(),
        machine: MachineInfo { node: "db-host-7".into(), ..MachineInfo::default() },
        source: SourceInfo {
            file: "a1".into(),
            uri: "trail://db-host-7/a1".into(),
            uri_history: vec!["trail://db-host-6/a0".into()],
            creation_time: "2026-07-13T04:00:00Z".into(),
            compatibility: "1".into(),
        },
    };
    let options = JsonOptions::default();
    for expose in [false, true] {
        let record = stream_metadata(&metadata, &options, expose);
        assert!(validator(&stream_metadata_schema(&options)).is_valid(&record), "{record}");
        assert_eq!(record.to_string().contains("db-host"), expose);
    }
}

fn orders() -> TableSchema {
    let column =
        |name: &str, kind, key: bool| Column { name: name.into(), kind, sql_type: String::new(), nullable: !key, key };
    TableSchema {
        id: SchemaId(1),
        table: TableName::parse("public.orders").unwrap(),
        columns: vec![
            column("id", JsonKind::Number, true),
            column("note", JsonKind::String, false),
            column("pos", JsonKind::String, false),
        ],
    }
}

fn encode_update(options: &Value, before: &[&str], after: &[&str]) -> Result<String, EncodeError> {
    let image = |cells: &[&str]| {
        let mut bytes = Vec::new();
        let mut writer = ImageWriter::new(&mut bytes);
        for cell in cells {
            match *cell {
                "absent" => writer.absent(),
                "null" => writer.null(),
                "unchanged" => writer.unchanged(),
                json => writer.json(json.as_bytes()),
            }
        }
        bytes
    };
    let (before, after, head) = (image(before), image(after), head());
    let record = DmlRecord {
        context: RecordContext {
            position: Position { epoch: Epoch(1), commit: 2, record: 3, xid_hash: 4 },
            contract: ContractHash(5),
            ..context(&head)
        },
        operation: Operation::Update,
        before: Some(Image::split(&before).unwrap().0),
        after: Some(Image::split(&after).unwrap().0),
    };
    let options = JsonOptions::parse("encoding.json", options).unwrap();
    let mut out = Vec::new();
    PreparedTable::new(&orders(), &options).encode(&record, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

const META: &str = r#"{"op_type":"UPDATE","qual_table":"public.orders","op_ts":"2026-07-13 04:00:00.000000","pos":"p0000000000002000000000000800000304000004000001e6f48fk""#;

#[test]
fn the_default_record_is_the_contract_s_to_the_byte() {
    let record = encode_update(&json!({}), &["1.10", "absent", "null"], &["1.10", "unchanged", "\"x\""]).unwrap();
    let images = r#""before":{"id":1.10,"pos":null},"after":{"id":1.10,"pos":"x"},"unchanged":["note"]}"#;
    assert_eq!(record, format!("{META},{images}"));
}

#[test]
fn a_column_wins_over_a_metadata_field_in_the_row_model() {
    let record = encode_update(&json!({"model": "row"}), &["1", "absent", "null"], &["2", "null", "\"x\""]).unwrap();
    let meta = META.replace("\"pos\"", "\"_pos\"");
    assert_eq!(record, format!(r#"{meta},"id":2,"note":null,"pos":"x"}}"#));
}

#[test]
fn flattened_columns_carry_their_image_s_name() {
    let options = json!({"flatten": true, "flattenDelimiter": "__", "omitNullColumnValues": true});
    let record = encode_update(&options, &["1", "absent", "null"], &["2", "\"n\"", "null"]).unwrap();
    assert_eq!(record, format!(r#"{META},"before__id":1,"after__id":2,"after__note":"n"}}"#));
}

#[test]
fn values_beyond_a_limit_are_cut_and_listed_or_refused() {
    let truncate = json!({"maxLobSize": 3, "truncateOrChunk": "truncate"});
    let (before, after) = (["1", "absent", "null"], ["12345", "\"n\\u00e9e\"", "\"abc\""]);
    let record = encode_update(&truncate, &before, &after).unwrap();
    let images = r#""before":{"id":1,"pos":null},"after":{"note":"n\u00e9","pos":"abc"},"truncated":["id","note"]}"#;
    assert_eq!(record, format!("{META},{images}"));
    assert_eq!(encode_update(&json!({"maxLobSize": 3}), &before, &after).unwrap(), record);
    let fail = json!({"maxLobSize": 3, "truncateOrChunk": "fail"});
    let refused = encode_update(&fail, &before, &after).unwrap_err();
    assert_eq!(refused, EncodeError::TooLarge { member: "maxLobSize", bytes: 5, limit: 3 });
}

#[test]
fn a_record_beyond_its_limit_is_made_to_fit_or_refused() {
    let long = quoted(&"é".repeat(100_000));
    let (before, after) = (["1", "\"short\"", &long], ["1", &long, "null"]);
    let record =
        encode_update(&json!({"maxRecordSize": 131_072, "truncateOrChunk": "truncate"}), &before, &after).unwrap();
    assert!(record.len() <= 131_072 && record.ends_with(r#""truncated":["note","pos"]}"#));
    let fail = json!({"maxRecordSize": 131_072, "truncateOrChunk": "fail"});
    let refused = encode_update(&fail, &before, &after).unwrap_err();
    assert!(matches!(refused, EncodeError::TooLarge { member: "maxRecordSize", .. }));
}
