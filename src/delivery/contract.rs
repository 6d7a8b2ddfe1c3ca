//! A contract: one revision of one stream, plus what a connection negotiated. Sessions that share a contract are sent
//! the same bytes.

use crate::catalog::stream::{QualityOfService, StreamConfig};
use crate::codec::cloudevents::EventContext;
use crate::codec::json::{JsonOptions, StreamMetadata};
use crate::codec::token::ContractHash;
use crate::delivery::batch::MessageForm;
use crate::delivery::framing::Framing;
use crate::delivery::negotiated::Negotiated;
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
    /// What the connection negotiated.
    pub negotiated: Negotiated,
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
    /// The contract of a stream, whose rules are `rules`, with connections that negotiated that.
    pub fn new(
        stream: &ResourceName,
        epoch: Epoch,
        config: &StreamConfig,
        rules: Rules,
        metadata: StreamMetadata,
        negotiated: Negotiated,
    ) -> Self {
        let wrapped = negotiated.envelope.wraps_in_events();
        let mut options = config.json.clone();
        let is_polled = negotiated.framing == Framing::Line;
        if is_polled {
            // Each answer would begin with the same again; documents of the stream say it.
            (options.stream_metadata, options.object_metadata, options.schema_records) = (false, false, false);
        }
        Self {
            stream: stream.clone(),
            epoch,
            hash: config.contract_hash(),
            options,
            rules,
            events: wrapped.then(|| EventContext::new(stream.as_str(), &config.cloud_events_type_prefix)),
            negotiated,
            message_bytes_max: usize::try_from(config.buffer_bytes).unwrap_or(usize::MAX).min(MESSAGE_BYTES_MAX),
            metadata,
            expose_host: config.expose_host,
            heartbeat_seconds: config.heartbeat_seconds.filter(|_| !is_polled),
            quality_of_service: config.quality_of_service,
        }
    }

    /// Whether its records answer polls: then they come without metadata and heartbeats, one a line.
    pub fn is_polled(&self) -> bool {
        self.negotiated.framing == Framing::Line
    }

    /// What its messages are like.
    pub fn message_form(&self) -> MessageForm {
        MessageForm {
            framing: self.negotiated.framing,
            single: self.negotiated.envelope.is_single(),
            bytes_max: self.message_bytes_max,
            contract: self.hash,
        }
    }
}
