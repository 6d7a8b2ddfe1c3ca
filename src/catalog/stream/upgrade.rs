//! Streams that earlier versions stored, so that they go on doing what they did.

use serde_json::Value;

/// The limits that `truncateOrChunk` is about.
const LIMITS: [&str; 3] = ["maxLobSize", "maxDDLTextSize", "maxRecordSize"];

/// Up to format 2 of the catalog a limit without `truncateOrChunk` ended a session with 4013; since then it truncates, as
/// in GoldenGate. Spells out what such a stream does; says whether it changed anything.
pub(in crate::catalog) fn spell_out_fail(given: &mut Value) -> bool {
    let Some(json) = given.pointer_mut("/encoding/json").and_then(Value::as_object_mut) else { return false };
    let is_limited = LIMITS.iter().any(|limit| json.contains_key(*limit));
    if !is_limited || json.contains_key("truncateOrChunk") {
        return false;
    }
    json.insert("truncateOrChunk".to_owned(), "fail".into());
    true
}
