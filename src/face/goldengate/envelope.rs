//! The envelope of every JSON answer (contract, section 1): links, messages, response.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use super::messages::Message;

/// A link; the `href` is absolute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// `canonical`, `self` or `describedby`.
    pub rel: &'static str,
    /// Where it leads.
    pub href: String,
    /// What is there.
    pub media_type: &'static str,
}

impl Link {
    /// A link to JSON, such as `canonical` and `self`.
    pub fn json(rel: &'static str, href: impl Into<String>) -> Self {
        Self { rel, href: href.into(), media_type: "application/json" }
    }

    /// The link to a stream's AsyncAPI document.
    pub fn described_by(href: impl Into<String>) -> Self {
        Self { rel: "describedby", href: href.into(), media_type: "application/yaml" }
    }
}

/// An answer in the making. Its status is 200 unless [`Envelope::status`] says otherwise.
#[derive(Debug, Clone, Serialize)]
pub struct Envelope {
    #[serde(rename = "$schema")]
    schema: &'static str,
    links: Vec<Link>,
    messages: Vec<Message>,
    response: Value,
    #[serde(skip)]
    status: StatusCode,
}

impl Default for Envelope {
    fn default() -> Self {
        Self {
            schema: "api:standardResponse",
            links: Vec::new(),
            messages: Vec::new(),
            response: Value::Object(serde_json::Map::new()),
            status: StatusCode::OK,
        }
    }
}

impl Envelope {
    /// An answer without links and messages.
    pub fn new(response: Value) -> Self {
        Self { response, ..Self::default() }
    }

    /// A list of what stands at this address, each an `ogg:collectionItem`.
    pub fn collection(items: Vec<Value>, here: &str) -> Self {
        let collection = json!({"$schema": "ogg:collection", "items": items});
        Self::new(collection).link(Link::json("canonical", here)).link(Link::json("self", here))
    }

    /// Adds a link.
    #[must_use]
    pub fn link(mut self, link: Link) -> Self {
        self.links.push(link);
        self
    }

    /// Adds a message.
    #[must_use]
    pub fn message(mut self, message: Message) -> Self {
        self.messages.push(message);
        self
    }

    /// Sets the status.
    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }
}

impl IntoResponse for Envelope {
    fn into_response(self) -> Response {
        // Strings, numbers and maps with string keys always have a JSON form; the empty text is never seen.
        let mut text = serde_json::to_vec(&self).unwrap_or_default();
        // It may wait long for its client; what it does not need is given back.
        text.shrink_to_fit();
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::super::messages::Fact;
    use super::*;
    use crate::record::Timestamp;

    #[test]
    fn the_envelope_is_as_the_contract_draws_it() {
        let issued = Timestamp::parse("2026-07-13T04:00:00Z").unwrap();
        let envelope = Envelope::new(serde_json::json!({"status": "running"}))
            .link(Link::json("self", "http://127.0.0.1:9002/services/v2/stream/s1"))
            .link(Link::described_by("http://127.0.0.1:9002/services/v2/stream/s1/yaml"))
            .message(Message::at(Fact::TrailMissing, "a1", issued));
        let expected = serde_json::json!({
            "$schema": "api:standardResponse",
            "links": [
                {"rel": "self", "href": "http://127.0.0.1:9002/services/v2/stream/s1", "mediaType": "application/json"},
                {"rel": "describedby", "href": "http://127.0.0.1:9002/services/v2/stream/s1/yaml",
                 "mediaType": "application/yaml"}
            ],
            "messages": [{
                "$schema": "ogg:message", "code": "OGG-27101", "severity": "WARNING",
                "title": "The trail a1 does not exist yet; the stream waits for it.",
                "issued": "2026-07-13T04:00:00.000000Z", "type": "urn:trailcast:message:trail-missing"
            }],
            "response": {"status": "running"}
        });
        assert_eq!(serde_json::to_value(&envelope).unwrap(), expected);
    }

    #[test]
    fn an_answer_is_json_with_its_status() {
        let response = Envelope::default().status(StatusCode::SERVICE_UNAVAILABLE).into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["content-type"], "application/json");
    }
}
