//! A contract: one revision of one stream, plus what a connection negotiated. Sessions that share a contract are sent
//! the same bytes.

use crate::catalog::stream::{Framing, QualityOfService, StreamConfig};
use crate::codec::cloudevents::EventContext;
use crate::codec::json::{JsonOptions, StreamMetadata};
use crate::codec::token::ContractHash;
use crate::delivery::rules::Rules;
use crate::limits::MESSAGE_BYTES_MAX;
use crate::record::{Epoch, ResourceName};

/// What decides the bytes that a session sends.
#[derive(Debug)]
pub struct Contract {
    /// The stream.
    pub stream: ResourceName,
    /// Epoch of the trail, for positions.
    pub epoch: Epoch,
    /// Hash of source and rules, for positions.
    pub hash: ContractHash,
    /// How records are written.
    pub options: JsonOptions,
    /// Which records pass.
    pub rules: Rules,
    /// The CloudEvents' context, when records are wrapped.
    pub events: Option<EventContext>,
    /// One record a message.
    pub single: bool,
    /// Largest message with more than one record, in bytes.
    pub message_bytes_max: usize,
    /// What `STREAM_METADATA` says.
    pub metadata: StreamMetadata,
    /// Whether it tells of the host.
    pub expose_host: bool,
    /// Longest time without a record, in seconds.
    pub heartbeat_seconds: Option<u64>,
    /// What happens when a position is gone.
    pub quality_of_service: QualityOfService,
}

impl Contract {
    /// The contract of a stream, whose rules are `rules`. `event_framing`: the connection asked for one CloudEvent a message.
    pub fn new(
        stream: &ResourceName,
        epoch: Epoch,
        config: &StreamConfig,
        rules: Rules,
        metadata: StreamMetadata,
        event_framing: bool,
    ) -> Self {
        let wrapped = config.cloud_events || event_framing;
        Self {
            stream: stream.clone(),
            epoch,
            hash: config.contract_hash(),
            options: config.json.clone(),
            rules,
            events: wrapped.then(|| EventContext::new(stream.as_str(), &config.cloud_events_type_prefix)),
            single: event_framing || config.framing == Framing::Record,
            message_bytes_max: usize::try_from(config.buffer_bytes).unwrap_or(usize::MAX).min(MESSAGE_BYTES_MAX),
            metadata,
            expose_host: config.expose_host,
            heartbeat_seconds: config.heartbeat_seconds,
            quality_of_service: config.quality_of_service,
        }
    }
}
