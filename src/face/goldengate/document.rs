//! The AsyncAPI document of a stream, made for it when it is asked for (contract section 7).
//!
//! Owns what a document is made of and how it is answered; where and how often it is built is `service::documents`'.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::address::Address;
use super::body;
use super::caller::{Caller, Named};
use super::envelope::Envelope;
use super::messages::{ErrorAnswer, Fact, Message};
use super::pieces::Pieces;
use super::routes::Face;
use super::streams::{self, Answer};
use crate::access::Role;
use crate::catalog::stream::Grouping;
use crate::codec::asyncapi::{DocumentInput, DocumentLayout, SecurityScheme, check, document, to_json, to_yaml};
use crate::delivery::rules::Rules;
use crate::limits;
use crate::record::{ResourceName, TableSchema};
use crate::service::documents::{Document, DocumentError, DocumentKey, Draft};
use crate::service::principal::Verb;
use crate::service::streams::{SetDocument, Stream};
use crate::trail::Trail;

pub(super) async fn goldengate_yaml(
    State(face): State<Face>,
    caller: Caller,
    Named(name): Named<ResourceName>,
    at: Address,
    headers: HeaderMap,
) -> Answer {
    caller.require_on(Role::User, &name)?;
    let stream = streams::find(&face, &caller, &name)?;
    match stream.document() {
        Some(document) => set(&face, &stream, document, &headers).await,
        None => made(&face, &caller, &name, &at, &headers, DocumentLayout::GoldenGate, Format::Yaml).await,
    }
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
    face.service.streams().find_for(caller.principal(), Verb::Manage, &name)?;
    let invalid = |what: &dyn std::fmt::Display| ErrorAnswer::new(Fact::InvalidDocument, what);
    let document = body::document(&headers, content).await?.map_err(|error| invalid(&error))?;
    check(&document).map_err(|error| invalid(&error))?;
    face.service.streams().set_document(caller.principal(), &name, document).await?;
    let done = Message::new(Fact::Done, format!("The AsyncAPI document of {name} was replaced"));
    Ok(streams::links_here(Envelope::default(), &at, &name).message(done).into_response())
}

pub(super) async fn asyncapi_yaml(
    State(face): State<Face>,
    caller: Caller,
    Named(name): Named<ResourceName>,
    at: Address,
    headers: HeaderMap,
) -> Answer {
    caller.require_on(Role::User, &name)?;
    made(&face, &caller, &name, &at, &headers, DocumentLayout::AsyncApi, Format::Yaml).await
}

pub(super) async fn asyncapi_json(
    State(face): State<Face>,
    caller: Caller,
    Named(name): Named<ResourceName>,
    at: Address,
    headers: HeaderMap,
) -> Answer {
    caller.require_on(Role::User, &name)?;
    made(&face, &caller, &name, &at, &headers, DocumentLayout::AsyncApi, Format::Json).await
}

/// The document, or that the client has it already (RFC 9110, section 13.1.2). Its bytes are shared by all who are answered.
fn answer(document: &Document, media_type: &'static str, headers: &HeaderMap) -> Response {
    let tag = &*document.tag;
    let known = headers.get(IF_NONE_MATCH).and_then(|given| given.to_str().ok());
    let mut response = if known.is_some_and(|known| known == "*" || known.split(',').any(|one| one.trim() == tag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Body::new(Pieces::from(document.bytes.clone())).into_response()
    };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// As what a document is written.
#[derive(Debug, Clone, Copy)]
enum Format {
    Yaml,
    Json,
}

impl Format {
    fn media_type(self) -> &'static str {
        match self {
            Self::Yaml => "application/yaml",
            Self::Json => "application/json",
        }
    }

    fn draft(self, document: &Value, whole: bool) -> Result<Draft, DocumentError> {
        let text = match self {
            Self::Yaml => to_yaml(document).map_err(|error| DocumentError::Unwritable(error.to_string()))?,
            Self::Json => to_json(document),
        };
        Ok(Draft { text, whole })
    }
}

/// The document that was set for a stream.
async fn set(face: &Face, stream: &Stream, set: SetDocument, headers: &HeaderMap) -> Answer {
    let variant = String::new();
    let key = DocumentKey { revision: stream.revision, set: Some(set.number), tables: None, variant };
    let built = face.service.documents().get(key, move || Format::Yaml.draft(&set.document, true)).await?;
    Ok(answer(&built, Format::Yaml.media_type(), headers))
}

/// The document that the server makes.
async fn made(
    face: &Face,
    caller: &Caller,
    name: &ResourceName,
    at: &Address,
    headers: &HeaderMap,
    layout: DocumentLayout,
    format: Format,
) -> Answer {
    let stream = streams::find(face, caller, name)?;
    let entry = face.service.trails().of(&stream.config.source);
    let trail = entry.and_then(|entry| entry.served().ok().cloned());
    let key = DocumentKey {
        revision: stream.revision,
        set: None,
        tables: trail.as_ref().map(|trail| (trail.epoch(), trail.durable().borrow().newest_schema)),
        variant: format!("{layout:?} {format:?} {} {} {}", at.prefix(), at.secure, at.host),
    };
    // A document without tables where rules do not compile: no row passes them.
    let rules = stream.compiled_rules().await.ok();
    let (at, security) = (at.clone(), security(face));
    let build = move || {
        let tables = match (trail, rules) {
            (None, _) => Some(Vec::new()),
            (Some(trail), Some(rules)) => known_tables(&trail, rules),
            (Some(_), None) => None,
        };
        let whole = tables.is_some();
        format.draft(&written(&stream, &at, layout, &security, &tables.unwrap_or_default()), whole)
    };
    let built = face.service.documents().get(key, build).await?;
    Ok(answer(&built, format.media_type(), headers))
}

fn written(
    stream: &Stream,
    at: &Address,
    layout: DocumentLayout,
    security: &[SecurityScheme],
    tables: &[Arc<TableSchema>],
) -> Value {
    let config = &stream.config;
    let path = format!("{}/stream/{}", at.prefix(), stream.name);
    let input = DocumentInput {
        stream: stream.name.as_str(),
        description: config.description.as_deref(),
        options: &config.json,
        event_type_prefix: config.cloud_events.then_some(config.cloud_events_type_prefix.as_str()),
        record_framing: config.framing == Grouping::Record,
        heartbeat: config.heartbeat_seconds.is_some(),
        host: &at.host,
        secure: at.secure,
        path: &path,
        security,
        tables,
    };
    document(&input, layout)
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

/// The tables that the trail knows now and whose rows the stream's rules let through by name; no more than are described.
/// None of a trail that cannot be read, of which `info` tells. Reads the disk.
fn known_tables(trail: &Trail, rules: Rules) -> Option<Vec<Arc<TableSchema>>> {
    let (tables, mut rules) = (trail.tables().ok()?.into_iter(), rules.of_source(trail.source_identity()));
    let passing = tables.filter(|schema| rules.may_pass(&schema.table)).take(limits::ASYNCAPI_TABLES_MAX);
    Some(passing.collect())
}
