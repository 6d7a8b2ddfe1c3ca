//! The metadata catalog: JSON Schemas of the resources, of the envelope and of every kind of record.

use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use serde_json::{Value, json};

use super::envelope::{Envelope, Items, Link, NamedItem, Relation};
use super::error_answer::ErrorAnswer;
use super::{Answer, Call};
use crate::access::Role;
use crate::catalog::stream::config_schema;
use crate::codec::asyncapi::record_kinds;
use crate::codec::json::JsonOptions;
use crate::face::operation::NotThere;
use crate::service::refusal;

const DRAFT_04: &str = "http://json-schema.org/draft-04/schema#";

/// Every type of the metadata catalog
///
/// Role: User.
#[utoipa::path(get, path = "/services/v2/metadata-catalog", operation_id = "listTypes",
    responses((status = 200, description = "Done", body = Envelope<Items<NamedItem>>)))]
pub(super) async fn list(call: Call) -> Answer<Items<NamedItem>> {
    call.require(Role::User)?;
    let here = call.at.here();
    let item = |(name, _): &(String, Value)| {
        let href = format!("{here}/{name}");
        let link = Link { rel: Relation::Canonical, href, media_type: "application/schema+json" };
        NamedItem::new(name, vec![link])
    };
    Ok(Envelope::collection(&call.at, schemas().iter().map(item).collect()))
}

/// The JSON Schema of a type
///
/// Role: User.
#[utoipa::path(get, path = "/services/v2/metadata-catalog/{name}", operation_id = "describeType",
    responses(
        (status = 200, description = "A JSON Schema of draft 4", body = ref("#/components/schemas/JsonSchema"),
            content_type = "application/schema+json"),
        NotThere))]
pub(super) async fn describe(call: Call<String>) -> Result<Response, ErrorAnswer> {
    call.require(Role::User)?;
    let known = schemas().into_iter().find(|(known, _)| *known == call.name);
    let missing = || ErrorAnswer::new(refusal::Fact::NotFound, format!("the type {} does not exist", call.name));
    let (_, schema) = known.ok_or_else(missing)?;
    let mut response = Response::new(axum::body::Body::from(schema.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/schema+json"));
    Ok(response)
}

/// Every type with its schema.
fn schemas() -> Vec<(String, Value)> {
    let mut schemas = vec![
        ("dataStream".to_owned(), config_schema()),
        ("dataStreamCollection".to_owned(), named("ogg:dataStreamCollection", "dataStreamCollection", collection())),
        ("dataStreamErrors".to_owned(), named("ogg:dataStreamErrors", "dataStreamErrors", errors())),
        // The name under which GoldenGate's own answers link to it.
        ("streamNameErrors".to_owned(), named("ogg:dataStreamErrors", "streamNameErrors", errors())),
        ("collectionItem".to_owned(), named("ogg:collectionItem", "collectionItem", collection_item())),
        ("message".to_owned(), named("ogg:message", "message", message())),
        ("link".to_owned(), named("ogg:link", "link", link())),
        ("standardResponse".to_owned(), named("api:standardResponse", "standardResponse", standard_response())),
    ];
    for (kind, schema) in record_kinds(&JsonOptions::default()) {
        let name = kind[..1].to_ascii_lowercase() + &kind[1..];
        let titled = named(&format!("ogg:{name}"), &name, schema);
        schemas.push((name, titled));
    }
    schemas
}

fn named(id: &str, title: &str, mut schema: Value) -> Value {
    schema["id"] = json!(id);
    schema["title"] = json!(title);
    schema["$schema"] = json!(DRAFT_04);
    schema
}

fn closed(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn text() -> Value {
    json!({"type": "string"})
}

fn link() -> Value {
    closed(json!({"rel": text(), "href": text(), "mediaType": text()}), &["rel", "href", "mediaType"])
}

fn list_of(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

fn collection_item() -> Value {
    let schema = json!({"enum": ["ogg:collectionItem"]});
    let details = json!({"type": "object"});
    let properties =
        json!({"$schema": schema, "name": text(), "status": text(), "details": details, "links": list_of(link())});
    closed(properties, &["$schema", "name", "status", "links"])
}

fn collection() -> Value {
    let schema = json!({"enum": ["ogg:dataStreamCollection"]});
    closed(json!({"$schema": schema, "items": list_of(collection_item())}), &["$schema", "items"])
}

fn errors() -> Value {
    let schema = json!({"enum": ["ogg:dataStreamErrors"]});
    closed(json!({"$schema": schema, "errors": list_of(text())}), &["$schema", "errors"])
}

fn message() -> Value {
    let properties = json!({
        "$schema": {"enum": ["ogg:message"]},
        "code": {"type": "string", "pattern": "^OGG-[0-9]{5}$"},
        "severity": {"enum": ["INFO", "WARNING", "ERROR"]},
        "title": text(),
        "issued": {"type": "string", "format": "date-time"},
        "type": {"type": "string", "format": "uri"},
    });
    closed(properties, &["$schema", "code", "severity", "title", "issued", "type"])
}

fn standard_response() -> Value {
    let properties = json!({
        "$schema": {"enum": ["api:standardResponse"]},
        "links": list_of(link()),
        "messages": list_of(message()),
        "response": {"type": "object"},
    });
    closed(properties, &["$schema", "links", "messages", "response"])
}
