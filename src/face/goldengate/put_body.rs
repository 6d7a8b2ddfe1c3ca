//! What the body of a put is, by its media type.

use crate::codec::put::PutFormat;
use crate::face::{Content, MediaTypes, Refusal};

/// Transactions, one or many.
const TRANSACTIONS: MediaTypes = &["application/json", "application/x-ndjson"];
/// CloudEvents in structured mode, one or a batch.
const EVENTS: MediaTypes = &["application/cloudevents+json", "application/cloudevents-batch+json"];
const EVENT_TYPES: &str = "application/cloudevents+json, application/cloudevents-batch+json";

/// Headers by which a request holds a CloudEvent in binary mode.
const BINARY_MODE: [&str; 4] = ["ce-specversion", "ce-id", "ce-source", "ce-type"];

/// How a body is to be read.
pub(super) fn put_format(content: &Content) -> Result<PutFormat, Refusal> {
    match content.essence().as_str() {
        "application/cloudevents+json" => return Ok(PutFormat::Event),
        "application/cloudevents-batch+json" => return Ok(PutFormat::EventBatch),
        other if other.starts_with("application/cloudevents") => {
            return Err(Refusal::MediaType(EVENT_TYPES.into()));
        }
        _ => {}
    }
    // As one transaction without an id it would be appended again each time it is sent again.
    if BINARY_MODE.iter().any(|name| content.headers.contains_key(*name)) {
        let detail = format!("{EVENT_TYPES}; a CloudEvent in the headers (binary mode) is not taken");
        return Err(Refusal::MediaType(detail));
    }
    Ok(PutFormat::Transactions)
}

/// The media types that such a body may have.
pub(super) fn types_of(format: PutFormat) -> MediaTypes {
    match format {
        PutFormat::Transactions => TRANSACTIONS,
        PutFormat::Event | PutFormat::EventBatch => EVENTS,
    }
}
