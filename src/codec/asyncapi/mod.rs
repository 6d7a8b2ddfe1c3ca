//! The AsyncAPI 3.0.0 document of a stream (contract section 7), in both layouts.
//!
//! Owns the document; who may read it, its ETag and how the public address is found are the face's. The text for
//! readers stands in `asyncapi/` at the root of the source.

mod check;
mod examples;
mod from_yaml;
mod names;
mod payload;
mod single;
mod yaml;

pub use check::{InvalidDocument, check};
pub use from_yaml::{UnreadableDocument, from_json_or_yaml};
pub use payload::record_kinds;

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::codec::json::JsonOptions;
use crate::record::TableSchema;

/// For whose generators the document is written; the two families disagree on where the path stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentLayout {
    /// Oracle's client template: the address is the full path, `begin` the only query property.
    GoldenGate,
    /// AsyncAPI's own templates: the path stands in the server, the address is `/`.
    AsyncApi,
}

/// A way to authenticate that is really on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecurityScheme {
    /// HTTP Basic.
    Basic,
    /// HTTP Digest.
    Digest,
    /// HTTP Bearer.
    Bearer,
    /// A client certificate.
    Certificate,
}

/// What the document depends on.
#[derive(Debug, Clone, Copy)]
pub struct DocumentInput<'a> {
    /// The stream's name.
    pub stream: &'a str,
    /// What its owner says of it.
    pub description: Option<&'a str>,
    /// How its records are written.
    pub options: &'a JsonOptions,
    /// The prefix of the events' types, if records are wrapped in CloudEvents.
    pub event_type_prefix: Option<&'a str>,
    /// Whether a message is one record rather than an array of them.
    pub record_framing: bool,
    /// Whether heartbeats are sent.
    pub heartbeat: bool,
    /// Whether it is said that everything was sent.
    pub caught_up: bool,
    /// Whether it is said when to come back.
    pub drain: bool,
    /// Public host, with the port where it is not the protocol's own.
    pub host: &'a str,
    /// `wss` rather than `ws`.
    pub secure: bool,
    /// Full path of the stream.
    pub path: &'a str,
    /// Ways to authenticate.
    pub security: &'a [SecurityScheme],
    /// Tables known now; more may come.
    pub tables: &'a [Arc<TableSchema>],
}

/// The only title: generators make a class name of it.
pub const TITLE: &str = "Data Streaming API";
const DESCRIPTION: &str = include_str!("../../../asyncapi/description.md");

/// The document.
pub fn document(input: &DocumentInput<'_>, layout: DocumentLayout) -> Value {
    let messages = payload::messages(input);
    json!({
        "asyncapi": "3.0.0",
        "id": format!("urn:trailcast:stream:{}", input.stream),
        "info": info(input, layout),
        "defaultContentType": "application/json",
        "servers": servers(input, layout),
        "channels": {"records": channel(input, layout, &messages)},
        "operations": {"onRecords": operation(&messages)},
        "components": {
            "messages": messages,
            "schemas": payload::schemas(input),
            "securitySchemes": security_schemes(input.security),
        },
    })
}

/// The document as JSON text.
pub fn to_json(document: &Value) -> String {
    format!("{document:#}\n")
}

/// The document as YAML text.
pub fn to_yaml(document: &Value) -> Result<String, serde_yaml::Error> {
    yaml::text(document)
}

fn info(input: &DocumentInput<'_>, layout: DocumentLayout) -> Value {
    let own = input.description.map(|text| format!("{text}\n\n")).unwrap_or_default();
    let description = format!("Stream `{}`. {own}{DESCRIPTION}", input.stream);
    json!({
        "title": TITLE,
        "version": "1.0.0",
        "description": match layout {
            DocumentLayout::GoldenGate => quotable(&description),
            DocumentLayout::AsyncApi => description,
        },
        "license": {"name": "Apache 2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        "tags": [{"name": "data-stream"}],
    })
}

/// One line that stays a JSON string without being escaped: Oracle's template pastes the description between quotes in
/// the JavaScript client's `package.json`, and takes line ends out without leaving a space.
fn quotable(text: &str) -> String {
    let line = text.split(|character: char| character.is_whitespace() || character.is_control());
    let line: Vec<_> = line.filter(|word| !word.is_empty()).collect();
    line.join(" ").replace('"', "'").replace('\\', "/")
}

/// The key of the server in every document.
const SERVER: &str = "trailcast";

/// The keys of the server: `trailcast`, and in GoldenGate's layout the host's name too, by which its users know it
/// (`-p server=localhost`).
fn server_keys(input: &DocumentInput<'_>, layout: DocumentLayout) -> Vec<String> {
    let mut keys = vec![SERVER.to_owned()];
    if layout == DocumentLayout::GoldenGate {
        let port = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let name = input.host.rsplit_once(':').filter(|(_, end)| port(end)).map_or(input.host, |(name, _)| name);
        let is_plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
        let key: String = name.chars().map(|character| if is_plain(character) { character } else { '-' }).collect();
        if !key.is_empty() && key != SERVER {
            keys.push(key);
        }
    }
    keys
}

fn servers(input: &DocumentInput<'_>, layout: DocumentLayout) -> Map<String, Value> {
    let of = |key: String| {
        let mut server = server(input, layout);
        if key != SERVER {
            // A channel's servers must differ, and by more than their keys.
            server["description"] = "The server of the stream, by its host's name".into();
        }
        (key, server)
    };
    server_keys(input, layout).into_iter().map(of).collect()
}

fn server(input: &DocumentInput<'_>, layout: DocumentLayout) -> Value {
    let mut server = json!({
        "host": input.host,
        "protocol": if input.secure { "wss" } else { "ws" },
        "description": "The server of the stream",
    });
    if layout == DocumentLayout::AsyncApi {
        server["pathname"] = input.path.into();
    }
    if !input.security.is_empty() {
        let scheme =
            |scheme: &SecurityScheme| json!({"$ref": format!("#/components/securitySchemes/{}", scheme.key())});
        server["security"] = input.security.iter().map(scheme).collect();
    }
    server
}

fn channel(input: &DocumentInput<'_>, layout: DocumentLayout, messages: &Map<String, Value>) -> Value {
    let refer = |name: &String| (name.clone(), json!({"$ref": format!("#/components/messages/{name}")}));
    let messages: Map<_, _> = messages.keys().map(refer).collect();
    let begin = "now, earliest, an ISO 8601 timestamp, or the position of the last record processed";
    let refer = |key: &String| json!({"$ref": format!("#/servers/{key}")});
    let servers: Vec<_> = server_keys(input, layout).iter().map(refer).collect();
    let (address, query) = match layout {
        DocumentLayout::GoldenGate => {
            (input.path, json!({"begin": {"type": "string", "default": "earliest", "description": begin}}))
        }
        DocumentLayout::AsyncApi => (
            "/",
            json!({
                "begin": {"type": "string", "description": begin},
                "access_token": {"type": "string", "description": "A token bound to this stream"},
            }),
        ),
    };
    json!({
        "address": address,
        "title": format!("Stream {}", input.stream),
        "description": "Records of committed changes, pushed in commit order",
        "servers": servers,
        "messages": messages,
        "bindings": {"ws": {
            "method": "GET",
            "query": {"$id": "StreamQuery", "type": "object", "properties": query},
            "bindingVersion": "0.1.0",
        }},
    })
}

fn operation(messages: &Map<String, Value>) -> Value {
    let refer = |name| json!({"$ref": format!("#/channels/records/messages/{name}")});
    let messages: Vec<_> = messages.keys().map(refer).collect();
    json!({
        "action": "receive",
        "title": "Records arrive",
        "summary": "Called with each message of records",
        "channel": {"$ref": "#/channels/records"},
        "messages": messages,
    })
}

impl SecurityScheme {
    fn key(self) -> &'static str {
        match self {
            Self::Basic => "basicAuth",
            Self::Digest => "digestAuth",
            Self::Bearer => "bearerAuth",
            Self::Certificate => "clientCertificate",
        }
    }

    fn scheme(self) -> Value {
        match self {
            Self::Basic => json!({"type": "http", "scheme": "basic"}),
            Self::Digest => json!({"type": "http", "scheme": "digest"}),
            Self::Bearer => json!({"type": "http", "scheme": "bearer"}),
            Self::Certificate => json!({"type": "X509"}),
        }
    }
}

fn security_schemes(schemes: &[SecurityScheme]) -> Map<String, Value> {
    schemes.iter().map(|scheme| (scheme.key().to_owned(), scheme.scheme())).collect()
}

#[cfg(test)]
mod tests;
