//! What a trail may be told over REST, and what the server falls back to.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::codec::member::{ConfigError, Members};
use crate::limits;

/// Options of one trail. What it does not say is the server's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrailSettings {
    /// Segments closed longer ago go, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_seconds: Option<u64>,
    /// Segments go while the trail is larger, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_bytes: Option<u64>,
    /// Partitions that the trail is made with; fixed when it is made, and changed by splits and merges only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u16>,
    /// Size at which a segment is closed, in bytes; fixed when the trail is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment_bytes: Option<u64>,
}

impl TrailSettings {
    /// Reads `{"retention": {"ageSeconds": …, "bytes": …}, "partitions": …, "segmentBytes": …}`.
    pub fn from_value(given: &Value) -> Result<Self, ConfigError> {
        let members = Members::of("", given, &["$schema", "retention", "partitions", "segmentBytes"])?;
        let partitions = members.number("partitions", 1, limits::TRAIL_PARTITIONS_OPEN_MAX as u64)?;
        let partitions = partitions.and_then(|partitions| u16::try_from(partitions).ok());
        let segment_bytes =
            members.number("segmentBytes", limits::SEGMENT_BYTES_CONFIGURED_MIN, limits::SEGMENT_BYTES_MAX)?;
        let Some(retention) = members.get("retention").filter(|value| !value.is_null()) else {
            return Ok(Self { partitions, segment_bytes, ..Self::default() });
        };
        let retention = Members::of("retention", retention, &["ageSeconds", "bytes"])?;
        Ok(Self {
            retention_seconds: retention.number("ageSeconds", 1, limits::RETENTION_SECONDS_MAX)?,
            retention_bytes: retention.number("bytes", limits::RETENTION_BYTES_MIN, u64::MAX)?,
            partitions,
            segment_bytes,
        })
    }
}
