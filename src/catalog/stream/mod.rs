//! A stream's configuration (contract section 2): members, ranges, defaults, and what its positions depend on.
//!
//! Owns how a configuration is checked and changed; where it is stored is the catalog's, and what compiled rules do is
//! `delivery`'s.

mod canonical;
mod partition_names;
mod patch;
mod rule;
mod schema;
mod source;
pub(super) mod upgrade;

pub use crate::codec::member::ConfigError;
pub use partition_names::PartitionNames;
pub use patch::merge_patch;
pub use rule::{Action, ColumnCondition, ColumnImage, Comparison, Rule, TextCondition};
pub use schema::config_schema;
pub use source::SourceConfig;

use serde_json::Value;

use crate::codec::json::{CAUGHT_UP, CAUGHT_UP_FIELDS, DRAIN, DRAIN_FIELDS, Decimals, JsonOptions, RETRY_AFTER_MS};
use crate::codec::member::Members;
use crate::codec::token::ContractHash;
use crate::limits;
use crate::record::Operation;
use crate::trail::PartitionMap;

/// What happens when a saved position is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QualityOfService {
    /// Refuse.
    ExactlyOnce,
    /// Refuse.
    AtLeastOnce,
    /// Skip forward to the next record that is there.
    AtMostOnce,
}

/// What one message holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grouping {
    /// A JSON array of records.
    Array,
    /// One record.
    Record,
}

/// A checked configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamConfig {
    /// Where the records come from.
    pub source: SourceConfig,
    /// What the user says of it.
    pub description: Option<String>,
    /// Which records pass; empty: all.
    pub rules: Vec<Rule>,
    /// How records are written, `trailcast.decimals` among it.
    pub json: JsonOptions,
    /// Size at which a message is sent, in bytes.
    pub buffer_bytes: u64,
    /// What happens when a saved position is gone.
    pub quality_of_service: QualityOfService,
    /// Whether records are wrapped in CloudEvents.
    pub cloud_events: bool,
    /// Prefix of the CloudEvents' `type`.
    pub cloud_events_type_prefix: String,
    /// In seconds.
    pub tcp_keep_alive_seconds: u64,
    /// Whether a message is an array or one record.
    pub framing: Grouping,
    /// Longest time without a record, in seconds; none: no heartbeats.
    pub heartbeat_seconds: Option<u64>,
    /// Whether sessions say when they have everything.
    pub caught_up: bool,
    /// Whether sessions say when to come back, where the server stops.
    pub drain: bool,
    /// Whether `STREAM_METADATA` tells of the server's host.
    pub expose_host: bool,
    contract_hash: ContractHash,
    given: Value,
}

const MEMBERS: [&str; 10] = [
    "$schema",
    "source",
    "description",
    "rules",
    "encoding",
    "bufferSize",
    "qualityOfService",
    "cloudEventsFormat",
    "tcpKeepAliveTimeout",
    "trailcast",
];

/// Prefix of the CloudEvents' `type` unless configured.
pub const TYPE_PREFIX_DEFAULT: &str = "io.trailcast";

impl StreamConfig {
    /// Reads a request's body.
    pub fn parse(body: &[u8]) -> Result<Self, ConfigError> {
        let value = serde_json::from_slice(body).map_err(|error| {
            ConfigError::new("body", format!("not JSON: line {}, column {}", error.line(), error.column()))
        })?;
        Self::from_value(value)
    }

    /// Checks a configuration.
    pub fn from_value(given: Value) -> Result<Self, ConfigError> {
        let members = Members::of("", &given, &MEMBERS)?;
        members.choice("$schema", &[("ogg:dataStream", ())])?;
        let source = SourceConfig::parse(&members)?;
        let description = members.text("description", 0, limits::DESCRIPTION_CHARS_MAX)?.map(str::to_owned);
        let rules = rule::parse_rules(&members)?;
        let mut json = parse_encoding(&members)?;
        let buffer = members.number("bufferSize", limits::BUFFER_BYTES_MIN, limits::BUFFER_BYTES_MAX)?;
        let quality = members.choice(
            "qualityOfService",
            &[
                ("exactlyOnce", QualityOfService::ExactlyOnce),
                ("atLeastOnce", QualityOfService::AtLeastOnce),
                ("atMostOnce", QualityOfService::AtMostOnce),
            ],
        )?;
        let keep_alive = members.number("tcpKeepAliveTimeout", 1, limits::TCP_KEEP_ALIVE_SECONDS_MAX)?;
        let cloud_events = members.boolean("cloudEventsFormat", false)?;
        let extensions = Extensions::parse(&members)?;
        json.decimals = extensions.decimals;
        extensions.check_notices(&json)?;
        Ok(Self {
            source,
            description,
            rules,
            json,
            buffer_bytes: buffer.unwrap_or(limits::BUFFER_BYTES_DEFAULT),
            quality_of_service: quality.unwrap_or(QualityOfService::ExactlyOnce),
            cloud_events,
            cloud_events_type_prefix: extensions.type_prefix,
            tcp_keep_alive_seconds: keep_alive.unwrap_or(limits::TCP_KEEP_ALIVE_SECONDS_DEFAULT),
            framing: extensions.framing,
            heartbeat_seconds: extensions.heartbeat_seconds,
            caught_up: extensions.caught_up,
            drain: extensions.drain,
            expose_host: extensions.expose_host,
            contract_hash: canonical::contract_hash(&given),
            given,
        })
    }

    /// The configuration as the user gave it.
    pub fn as_given(&self) -> &Value {
        &self.given
    }

    /// This configuration changed by an RFC 7396 merge patch and checked again: all or nothing.
    pub fn patched(&self, patch: &Value) -> Result<Self, ConfigError> {
        if !patch.is_object() {
            return Err(ConfigError::new("body", "must be an object"));
        }
        let mut changed = self.given.clone();
        merge_patch(&mut changed, patch);
        Self::from_value(changed)
    }

    /// What the stream's positions depend on: source and rules as given, whatever the order of their members.
    pub fn contract_hash(&self) -> ContractHash {
        self.contract_hash
    }

    /// Refuses rules that a stream may have from earlier on, and that none is given any more: those that are too much
    /// altogether, and those of partitions that the stream's trail does not have. `partitions` are the trail's, if it is there.
    pub fn check_new_rules(&self, partitions: Option<&PartitionMap>) -> Result<(), ConfigError> {
        rule::check_partition_names(&self.rules, partitions)?;
        rule::check_new(&self.rules)
    }

    /// The same of partitions alone, for rules that a stream has and a trail that it is given, or that has become another.
    pub fn check_partition_names(&self, partitions: Option<&PartitionMap>) -> Result<(), ConfigError> {
        rule::check_partition_names(&self.rules, partitions)
    }

    /// The first member that means one of these two partitions and not the other.
    pub fn tells_apart(&self, partitions: &PartitionMap, one: u16, other: u16) -> Option<String> {
        rule::tells_apart(&self.rules, partitions, one, other)
    }

    /// Values in the lists of all filters.
    pub fn rule_values(&self) -> usize {
        self.rules.iter().map(Rule::values).sum()
    }

    /// Patterns in the conditions of all rules: LIKE and REGEX.
    pub fn rule_patterns(&self) -> usize {
        self.rules.iter().map(|rule| rule.patterns().count()).sum()
    }
}

fn parse_encoding(members: &Members<'_>) -> Result<JsonOptions, ConfigError> {
    match members.get("encoding") {
        None => Ok(JsonOptions::default()),
        Some(Value::String(name)) if name == "json" => Ok(JsonOptions::default()),
        Some(encoding @ Value::Object(_)) => {
            let inner = Members::of("encoding", encoding, &["json"])?;
            match inner.get("json") {
                Some(options) => JsonOptions::parse("encoding.json", options),
                None => Err(inner.error("json", "is required in the long form of encoding")),
            }
        }
        Some(_) => Err(members.error("encoding", "must be \"json\" or {\"json\": {…}}")),
    }
}

struct Extensions {
    framing: Grouping,
    heartbeat_seconds: Option<u64>,
    caught_up: bool,
    drain: bool,
    decimals: Decimals,
    type_prefix: String,
    expose_host: bool,
}

impl Extensions {
    /// What sessions say of themselves must be told from every other record, and no two members of it may have one name.
    fn check_notices(&self, json: &JsonOptions) -> Result<(), ConfigError> {
        let caught_up = (self.caught_up, "trailcast.caughtUp", CAUGHT_UP, &CAUGHT_UP_FIELDS[..], None);
        let drain = (self.drain, "trailcast.drain", DRAIN, &DRAIN_FIELDS[..], Some(RETRY_AFTER_MS));
        for (_, member, op_type, fields, more) in [caught_up, drain].into_iter().filter(|(is_sent, ..)| *is_sent) {
            let mut labels = Operation::ALL.into_iter().map(|operation| json.operation_strings.label(operation));
            if labels.any(|label| label == op_type) {
                let message =
                    format!("cannot be true while an operation of encoding.json.operationStrings is named {op_type}");
                return Err(ConfigError::new(member, message));
            }
            let mut names: Vec<_> = fields.iter().map(|field| json.meta.name(*field)).chain(more).collect();
            names.sort_unstable();
            if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
                let message = format!(
                    "cannot be true while encoding.json.metaFields gives two members of its record the name {}",
                    pair[0]
                );
                return Err(ConfigError::new(member, message));
            }
        }
        Ok(())
    }

    fn parse(members: &Members<'_>) -> Result<Self, ConfigError> {
        let empty = Value::Object(serde_json::Map::new());
        let known = ["framing", "heartbeat", "caughtUp", "drain", "decimals", "cloudEventsTypePrefix", "exposeHost"];
        let inner = Members::of("trailcast", members.get("trailcast").unwrap_or(&empty), &known)?;
        let framing = inner.choice("framing", &[("array", Grouping::Array), ("record", Grouping::Record)])?;
        let decimals = inner.choice("decimals", &[("number", Decimals::Number), ("string", Decimals::String)])?;
        let prefix = inner.text("cloudEventsTypePrefix", 1, limits::FIELD_NAME_CHARS_MAX)?;
        let prefix = prefix.unwrap_or(TYPE_PREFIX_DEFAULT);
        if !prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')) {
            return Err(inner.error("cloudEventsTypePrefix", "must consist of letters, digits and . - _"));
        }
        Ok(Self {
            framing: framing.unwrap_or(Grouping::Array),
            heartbeat_seconds: inner.number("heartbeat", 1, limits::HEARTBEAT_SECONDS_MAX)?,
            caught_up: inner.boolean("caughtUp", false)?,
            drain: inner.boolean("drain", false)?,
            decimals: decimals.unwrap_or(Decimals::Number),
            type_prefix: prefix.to_owned(),
            expose_host: inner.boolean("exposeHost", false)?,
        })
    }
}

#[cfg(test)]
mod tests;
