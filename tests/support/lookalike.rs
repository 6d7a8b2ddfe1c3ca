//! Rows whose columns are named like metadata and hold what metadata might: a client that takes a column for its position
//! skips what it has not seen.

use serde_json::{Value, json};

use trailcast::codec::token;
use trailcast::record::{Position, xid_hash};

use super::Server;
use super::waiting::PATIENCE;

/// A stream whose records hold columns beside metadata, or metadata under other names.
#[derive(Debug)]
pub struct Shape {
    /// Its name.
    pub stream: &'static str,
    /// Members of the stream's configuration.
    pub config: Value,
    /// The member of a record, or of the event around it, that is the position.
    pub position: &'static str,
}

/// Every shape in which a column may be taken for metadata.
pub fn shapes() -> Vec<Shape> {
    let json = |json: Value| json!({"encoding": {"json": json}});
    let shape = |stream, config, position| Shape { stream, config, position };
    let renamed = json!({"model": "row", "metaFields": {"pos": "position", "opType": "xid", "opTs": "when"}});
    let mut event = json(json!({"model": "row"}));
    event["cloudEventsFormat"] = json!(true);
    vec![
        shape("op", json(json!({})), "pos"),
        shape("row", json(json!({"model": "row"})), "_pos"),
        shape("renamed", json(renamed), "_position"),
        shape("flat", json(json!({"flatten": true, "metaFields": {"pos": "after.pos"}})), "_after.pos"),
        shape("undescribed", json(json!({"model": "row", "includeJSONSchemaRecord": false})), "_pos"),
        shape("event", event, "id"),
    ]
}

/// Makes the trail `lookalike` and a stream of each shape over it.
pub fn make(server: &Server) {
    server.make_trail("lookalike");
    for Shape { stream, config, .. } in shapes() {
        let mut config = config;
        config["source"] = json!({"trail": "lookalike"});
        server.post(&format!("/services/v2/stream/{stream}"), &config).expect(200);
    }
}

/// Puts rows `from` to `to`, each a transaction. Their columns hold the position of row 5, whether that is there or not.
pub fn put(server: &Server, from: u64, to: u64) {
    let trail = server.get("/services/v2/trails/lookalike").expect(200).response();
    let epoch = u64::from_str_radix(trail["epoch"].as_str().unwrap(), 16).unwrap();
    let fifth = Position { epoch: trailcast::record::Epoch(epoch), commit: 5, record: 0, xid_hash: xid_hash("r5") };
    let fifth = token::encode_trail(&fifth).to_string();
    let row = |id: u64| {
        let after = json!({
            "id": id, "pos": fifth, "_pos2": fifth, "position": fifth, "op_type": "STREAM_METADATA", "qual_table": "t.other",
            "op_ts": "never", "before": {"id": 5}, "after": {"id": 5}, "xid": "HEARTBEAT",
            "specversion": "1.0", "source": "/services/v2/stream/row", "sequence": "1", "data": {"pos": fifth},
        });
        json!({"xid": format!("r{id}"), "operations": [{"op": "INSERT", "table": "t.rows", "key": ["id"], "after": after}]})
    };
    let rows: Vec<_> = (from..=to).map(row).collect();
    server.put("lookalike", &rows).expect(200);
}

/// The id of the row in a record, in whichever shape it stands there; of an event, in its data.
pub fn id_of(record: &Value) -> Option<u64> {
    let record = if record["datacontenttype"].is_string() { &record["data"] } else { record };
    // In the row model the column `id` stands beside one named `after`.
    let id = record["id"].as_u64().or(record["after.id"].as_u64());
    id.or(record["after"]["id"].as_u64())
}

/// The position of the row with this id, as the shape's records have it.
pub fn position_of(server: &Server, shape: &Shape, id: u64) -> String {
    let mut subscriber = server.subscribe(shape.stream, "begin=earliest").unwrap();
    loop {
        let record = subscriber.expect_record(PATIENCE);
        if id_of(&record.json) == Some(id) {
            return record.json[shape.position].as_str().unwrap().to_owned();
        }
    }
}
