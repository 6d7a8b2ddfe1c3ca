//! The AsyncAPI document of a stream, made for it when it is asked for (contract section 7).

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::address::Address;
use super::body;
use super::caller::{Caller, Named};
use super::envelope::Envelope;
use super::messages::{ErrorAnswer, Fact, Message};
use super::routes::Face;
use super::streams::{self, Answer};
use crate::access::Role;
use crate::catalog::stream::Framing;
use crate::codec::asyncapi::{DocumentInput, DocumentLayout, SecurityScheme, check, document, to_json, to_yaml};
use crate::delivery::rules::Rules;
use crate::record::{ResourceName, TableSchema};
use crate::service::streams::Stream;
use crate::trail::Begin;

pub(super) async fn goldengate_yaml(
    State(face): State<Face>,
    caller: Caller,
    Named(name): Named<ResourceName>,
    at: Address,
    headers: HeaderMap,
) -> Answer {
    caller.require_on(Role::User, &name)?;
    if let Some(set) = streams::find(&face, &name)?.document() {
        return yaml(&set, &headers);
    }
    yaml(&made(&face, &name, &at, DocumentLayout::GoldenGate).await?, &headers)
}

/// Replaces the document in GoldenGate's layout with the caller's own.
pub(super) async fn replace_yaml(
    State(face): State<Face>,
    caller: Caller,
    Named(name): Named<ResourceName>,
    at: Address,
    headers: HeaderMap,
    content: Body,
) -> Answer {
    caller.require(Role::Administrator)?;
    streams::find(&face, &name)?;
    let invalid = |what: &dyn std::fmt::Display| ErrorAnswer::new(Fact::InvalidDocument, what);
    let document = body::document(&headers, content).await?.map_err(|error| invalid(&error))?;
    check(&document).map_err(|error| invalid(&error))?;
    face.service.set_document(&name, document).await?;
    let done = Message::new(Fact::Done, format!("The AsyncAPI document of {name} was replaced"));
    Ok(streams::links(Envelope::default(), &at, &name).message(done).into_response())
}

pub(super) async fn asyncapi_yaml(
    State(face): State<Face>,
    caller: Caller,
    Named(name): Named<ResourceName>,
    at: Address,
    headers: HeaderMap,
) -> Answer {
    caller.require_on(Role::User, &name)?;
    yaml(&made(&face, &name, &at, DocumentLayout::AsyncApi).await?, &headers)
}

pub(super) async fn asyncapi_json(
    State(face): State<Face>,
    caller: Caller,
    Named(name): Named<ResourceName>,
    at: Address,
    headers: HeaderMap,
) -> Answer {
    caller.require_on(Role::User, &name)?;
    let made = made(&face, &name, &at, DocumentLayout::AsyncApi).await?;
    Ok(raw(to_json(&made), "application/json", &headers))
}

fn yaml(document: &Value, headers: &HeaderMap) -> Answer {
    let text = to_yaml(document).map_err(|error| ErrorAnswer::internal("the document cannot be written", &error))?;
    Ok(raw(text, "application/yaml", headers))
}

fn raw(text: String, media_type: &'static str, headers: &HeaderMap) -> Response {
    let hash = Sha256::digest(text.as_bytes());
    let tag: String = hash[..12].iter().map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{tag}\"");
    let known = headers.get(IF_NONE_MATCH).and_then(|given| given.to_str().ok());
    let mut response = if known.is_some_and(|known| known == "*" || known.split(',').any(|one| one.trim() == tag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        text.into_response()
    };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

async fn made(face: &Face, name: &ResourceName, at: &Address, layout: DocumentLayout) -> Result<Value, ErrorAnswer> {
    let stream = streams::find(face, name)?;
    let tables = known_tables(face, &stream).await;
    let config = &stream.config;
    let path = format!("{}/stream/{name}", at.prefix());
    let input = DocumentInput {
        stream: name.as_str(),
        description: config.description.as_deref(),
        options: &config.json,
        event_type_prefix: config.cloud_events.then_some(config.cloud_events_type_prefix.as_str()),
        record_framing: config.framing == Framing::Record,
        heartbeat: config.heartbeat_seconds.is_some(),
        host: &at.host,
        secure: at.secure,
        path: &path,
        security: &security(face),
        tables: &tables,
    };
    Ok(document(&input, layout))
}

/// The ways to log in that are on.
fn security(face: &Face) -> Vec<SecurityScheme> {
    let options = face.service.authenticator().options();
    let mut schemes = vec![SecurityScheme::Basic, SecurityScheme::Bearer];
    if options.digest {
        schemes.push(SecurityScheme::Digest);
    }
    if options.certificates.is_some() {
        schemes.push(SecurityScheme::Certificate);
    }
    schemes
}

/// The tables that the trail knows now and whose rows the stream's rules let through by name.
async fn known_tables(face: &Face, stream: &Stream) -> Vec<TableSchema> {
    let Some(entry) = stream.config.source.trail_name().and_then(|name| face.service.trails().get(&name)) else {
        return Vec::new();
    };
    let (Ok(trail), Ok(mut rules)) = (&entry.trail, Rules::compile(&stream.config)) else { return Vec::new() };
    match trail.read(Begin::Now).await {
        Ok(reader) => {
            let passes = |schema: &TableSchema| rules.may_pass(&schema.table);
            let mut tables: Vec<_> = reader.tables().iter().map(|schema| (**schema).clone()).collect();
            tables.retain(passes);
            tables
        }
        Err(_) => Vec::new(),
    }
}
