//! The envelope of every JSON answer (contract, section 1): links, messages, response.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::messages::Message;
use super::schema_names::{Collection, CollectionItem, StandardResponse};
use crate::face::Address;
use crate::face::audit::AuditDetail;

/// How an answer stands to what a link leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Relation {
    /// The resource's own address.
    Canonical,
    /// The address of this answer.
    #[serde(rename = "self")]
    Itself,
    /// What it stands in.
    Parent,
    /// Its document.
    DescribedBy,
}

/// A link; the `href` is absolute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// What it leads to.
    pub rel: Relation,
    /// Where it leads.
    #[schema(format = "uri")]
    pub href: String,
    /// What is there.
    pub media_type: &'static str,
}

impl Link {
    /// A link to JSON, such as `canonical` and `self`.
    pub fn json(rel: Relation, href: impl Into<String>) -> Self {
        Self { rel, href: href.into(), media_type: "application/json" }
    }

    /// The link to a stream's AsyncAPI document.
    pub fn described_by(href: impl Into<String>) -> Self {
        Self { rel: Relation::DescribedBy, href: href.into(), media_type: "application/yaml" }
    }
}

/// The envelope of every JSON answer but those of /healthz and /readyz and of documents.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Envelope<T> {
    #[serde(rename = "$schema")]
    #[schema(inline)]
    schema: StandardResponse,
    links: Vec<Link>,
    messages: Vec<Message>,
    response: T,
    /// 200 unless [`Envelope::status`] says otherwise.
    #[serde(skip)]
    #[schema(ignore)]
    status: StatusCode,
    /// For the audit alone.
    #[serde(skip)]
    #[schema(ignore)]
    audit_detail: Option<String>,
}

/// Nothing to say but that it is done, or why it is not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(max_properties = 0)]
pub struct Empty {}

/// What stands at an address, each with where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Items<T> {
    #[serde(rename = "$schema")]
    #[schema(inline)]
    schema: Collection,
    items: Vec<T>,
}

/// A name, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct NamedItem {
    #[serde(rename = "$schema")]
    #[schema(inline)]
    schema: CollectionItem,
    name: String,
    links: Vec<Link>,
}

impl NamedItem {
    /// A name with links.
    pub fn new(name: impl Into<String>, links: Vec<Link>) -> Self {
        Self { schema: CollectionItem, name: name.into(), links }
    }
}

/// A collection of what this server has none of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct NoItems {
    #[serde(rename = "$schema")]
    #[schema(inline)]
    schema: Collection,
    #[schema(max_items = 0)]
    items: Vec<NamedItem>,
}

impl Default for Envelope<Empty> {
    fn default() -> Self {
        Self::new(Empty {})
    }
}

impl<T> Envelope<T> {
    /// An answer without links and messages.
    pub fn new(response: T) -> Self {
        let (links, messages) = (Vec::new(), Vec::new());
        Self { schema: StandardResponse, links, messages, response, status: StatusCode::OK, audit_detail: None }
    }

    /// The answer about what stands at this address.
    pub fn at(at: &Address, response: T) -> Self {
        Self::new(response).link(Link::json(Relation::Itself, at.here()))
    }

    /// The links of a collection that stands at this address.
    pub fn of_collection(self, at: &Address) -> Self {
        self.link(Link::json(Relation::Canonical, at.here())).link(Link::json(Relation::Itself, at.here()))
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

    /// Adds what the audit line of this change says beside what was asked and answered.
    #[must_use]
    pub fn audit_detail(mut self, detail: Option<String>) -> Self {
        self.audit_detail = detail;
        self
    }

    /// Sets the status.
    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }
}

impl<T> Envelope<Items<T>> {
    /// A list of what stands at this address.
    pub fn collection(at: &Address, items: Vec<T>) -> Self {
        Envelope::new(Items { schema: Collection, items }).of_collection(at)
    }
}

impl<T: Serialize> IntoResponse for Envelope<T> {
    fn into_response(self) -> Response {
        // Strings, numbers and maps with string keys always have a JSON form; the empty text is never seen.
        let mut text = serde_json::to_vec(&self).unwrap_or_default();
        // It may wait long for its client; what it does not need is given back.
        text.shrink_to_fit();
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(detail) = self.audit_detail {
            response.extensions_mut().insert(AuditDetail(detail));
        }
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
            .link(Link::json(Relation::Itself, "http://127.0.0.1:9002/services/v2/stream/s1"))
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
        assert_eq!(serde_json::to_value(Envelope::default()).unwrap()["response"], serde_json::json!({}));
    }

    #[test]
    fn an_answer_is_json_with_its_status() {
        let response = Envelope::default().status(StatusCode::SERVICE_UNAVAILABLE).into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["content-type"], "application/json");
    }
}
