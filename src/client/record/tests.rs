use super::*;
use crate::codec::json::JsonOptions;
use crate::codec::schema_record::{ddl_schema, dml_schema, heartbeat_schema, object_metadata_schema};
use crate::record::{Column, JsonKind, SchemaId, TableName, TableSchema};

const POS: &str = "AQAAAAAAAAABAAAAAAAAAAIAAAADAAAABAAAAAUckLK_";
const OTHER: &str = "AQAAAAAAAAABAAAAAAAAAAkAAAADAAAABAAAAAUckLK_";

fn options(json: serde_json::Value) -> JsonOptions {
    JsonOptions::parse("encoding.json", &json).unwrap()
}

fn table(name: &str, columns: &[&str]) -> TableSchema {
    let column = |name: &&str| Column {
        name: (*name).into(),
        kind: JsonKind::String,
        sql_type: String::new(),
        nullable: true,
        key: false,
    };
    let columns = columns.iter().map(column).collect();
    TableSchema { id: SchemaId(1), table: TableName::parse(name).unwrap(), columns }
}

/// A reader that has heard what stands before rows of these tables.
fn reader(options: &JsonOptions, tables: &[TableSchema]) -> RecordReader {
    let mut reader = RecordReader::new("s1");
    let tables = tables.iter().map(|table| dml_schema(table, options));
    for schema in
        [object_metadata_schema(options), heartbeat_schema(options), ddl_schema(options)].into_iter().chain(tables)
    {
        let message = format!("[{schema}]");
        let records = reader.read(&message).unwrap();
        assert_eq!((records[0].kind(), records[0].pos()), (RecordKind::Schema, None));
    }
    reader
}

fn pos_of(reader: &mut RecordReader, message: &str) -> Option<String> {
    reader.read(message).unwrap()[0].pos()
}

#[test]
fn each_framing_gives_records_whose_text_is_unchanged() {
    let mut reader = RecordReader::new("s1");
    let array = reader.read(r#"[{"op_type":"INSERT","pos":"AQ1","after":{"n":1.10}}, {"id":"dml"}]"#).unwrap();
    assert_eq!(array[0].text(), r#"{"op_type":"INSERT","pos":"AQ1","after":{"n":1.10}}"#);
    assert_eq!((array[0].pos().as_deref(), array[0].is_data()), (Some("AQ1"), true));
    assert_eq!(array[1].pos(), None);
    let single = reader.read(r#"{"op_type":"STREAM_METADATA"}"#).unwrap();
    assert_eq!((single.len(), single[0].kind()), (1, RecordKind::StreamMetadata));
}

#[test]
fn a_column_of_a_metadata_fields_name_is_not_taken_for_it() {
    let row = options(serde_json::json!({"model": "row"}));
    let mut reader = reader(&row, &[table("a.with", &["pos", "op_type"]), table("a.without", &["n", "_pos"])]);
    let with = format!(
        r#"{{"_op_type":"INSERT","qual_table":"a.with","op_ts":"","_pos":"{POS}","pos":"{OTHER}","op_type":"DDL"}}"#
    );
    assert_eq!(pos_of(&mut reader, &with).as_deref(), Some(POS));
    let records = reader.read(&with).unwrap();
    assert_eq!(records[0].meta(MetaField::OpType).as_deref(), Some("INSERT"));
    let columns: Vec<_> = records[0].columns().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(columns, ["pos", "op_type"]);
    let without =
        format!(r#"{{"op_type":"INSERT","qual_table":"a.without","op_ts":"","pos":"{POS}","n":"","_pos":"{OTHER}"}}"#);
    assert_eq!(pos_of(&mut reader, &without).as_deref(), Some(POS));
}

#[test]
fn flattened_columns_and_renamed_fields_are_told_apart_too() {
    let given = serde_json::json!({"flatten": true, "beforeImageName": "p", "flattenDelimiter": "os", "metaFields": {"pos": "position", "opType": "pos"}});
    let flat = options(given);
    // The before image's column is named `pos`, as the operation is.
    let mut reader = reader(&flat, &[table("a.t", &[""])]);
    let record = format!(r#"{{"_pos":"DELETE","qual_table":"a.t","op_ts":"","position":"{POS}","pos":"{OTHER}"}}"#);
    let records = reader.read(&record).unwrap();
    assert_eq!(
        (records[0].pos().as_deref(), records[0].meta(MetaField::OpType).as_deref()),
        (Some(POS), Some("DELETE"))
    );
}

#[test]
fn a_stream_without_positions_has_none_whatever_its_columns_are() {
    let off = serde_json::json!({"opType": false, "qualifiedTable": false, "opTs": false, "pos": false});
    let bare = options(serde_json::json!({"model": "row", "metaFields": off}));
    let mut reader = reader(&bare, &[table("a.t", &["pos", "op_ts"])]);
    assert_eq!(pos_of(&mut reader, &format!(r#"{{"pos":"{POS}","op_ts":""}}"#)), None);
    let heartbeat = format!(r#"{{"op_type":"HEARTBEAT","pos":"{POS}","op_ts":""}}"#);
    let records = reader.read(&heartbeat).unwrap();
    assert_eq!((records[0].kind(), records[0].pos().as_deref()), (RecordKind::Heartbeat, Some(POS)));
}

#[test]
fn images_are_told_from_columns_of_their_names() {
    let row = options(serde_json::json!({"model": "row"}));
    let record = r#"{"op_type":"INSERT","qual_table":"a.t","op_ts":"","pos":"AQ","before":{"a":1},"after":{"a":2}}"#;
    let mut rows = reader(&row, &[table("a.t", &["before", "after"])]);
    assert!(rows.read(record).unwrap()[0].images().iter().all(Option::is_none));
    let op = options(serde_json::json!({"beforeImageName": "old", "afterImageName": "new"}));
    let mut images = reader(&op, &[table("a.t", &["a"])]);
    let renamed = record.replace("before", "old").replace("after", "new");
    let [before, after] = images.read(&renamed).unwrap()[0].images().map(|image| image.unwrap().0.len());
    assert_eq!((before, after), (1, 1));
}

#[test]
fn without_schema_records_metadata_is_what_stands_first_under_its_usual_names() {
    let mut reader = RecordReader::new("s1");
    let collided =
        format!(r#"{{"op_type":"INSERT","qual_table":"t","op_ts":"","_pos":"{POS}","id":1,"pos":"{OTHER}"}}"#);
    assert_eq!(pos_of(&mut reader, &collided).as_deref(), Some(POS));
    let heartbeat = format!(r#"{{"op_type":"HEARTBEAT","pos":"{POS}","op_ts":"2026"}}"#);
    let heartbeats = reader.read(&heartbeat).unwrap();
    assert_eq!(
        (heartbeats[0].pos().as_deref(), heartbeats[0].meta(MetaField::OpTs).as_deref()),
        (Some(POS), Some("2026"))
    );
    let no_metadata = format!(r#"{{"id":1,"pos":"{OTHER}"}}"#);
    assert_eq!(pos_of(&mut reader, &no_metadata), None);
    for no_position in ["", "two words", "{}", &"A".repeat(65)] {
        let record =
            format!(r#"{{"op_type":"INSERT","qual_table":"t","op_ts":"","pos":{}}}"#, serde_json::json!(no_position));
        assert_eq!(pos_of(&mut reader, &record), None, "{record}");
    }
}

#[test]
fn the_position_of_a_cloud_event_is_its_id_where_it_has_one() {
    let event = |kind: &str, members: &str, data: &str| {
        format!(
            r#"{{"specversion":"1.0","id":"{POS}","source":"/services/v2/stream/s1","type":"x.{kind}"{members},"data":{data}}}"#
        )
    };
    let mut reader = RecordReader::new("s1");
    assert_eq!(pos_of(&mut reader, &event("metadata.stream", "", r#"{"op_type":"STREAM_METADATA"}"#)), None);
    let row = event("dml.delete", r#","sequence":"1.0""#, &format!(r#"{{"op_type":"DELETE","pos":"{OTHER}"}}"#));
    let records = reader.read(&row).unwrap();
    assert_eq!((records[0].text(), records[0].pos().as_deref()), (row.as_str(), Some(POS)));
    assert_eq!(records[0].meta(MetaField::OpType).as_deref(), Some("DELETE"));
}

#[test]
fn a_row_of_a_table_that_holds_events_is_no_event() {
    let row = options(serde_json::json!({"model": "row"}));
    let outbox = table("a.outbox", &["specversion", "id", "source", "data"]);
    let mut reader = reader(&row, &[outbox]);
    let record = format!(
        r#"{{"op_type":"INSERT","qual_table":"a.outbox","op_ts":"","pos":"{POS}","specversion":"1.0","id":"{OTHER}","source":"/services/v2/stream/s1","data":{{"pos":"{OTHER}"}}}}"#
    );
    assert_eq!(pos_of(&mut reader, &record).as_deref(), Some(POS));
}

#[test]
fn what_is_no_record_is_an_error() {
    for bad in ["", "nonsense", "[1]", "[{]", "\"text\""] {
        assert!(RecordReader::new("s1").read(bad).is_err(), "{bad}");
    }
}
