//! The AsyncAPI document of a stream, made for it when it is asked for (contract section 7).
//!
//! Owns what a document is made of and how it is answered; where and how often it is built is `service::documents`'.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::envelope::{Empty, Envelope};
use super::error_answer::ErrorAnswer;
use super::messages::{Fact, Message};
use super::proxied::prefix;
use super::{Answer, Call, streams};
use crate::access::Role;
use crate::catalog::stream::Grouping;
use crate::codec::asyncapi::{
    DocumentInput, DocumentLayout, SecurityScheme, UnreadableDocument, check, document, from_json_or_yaml, to_json,
    to_yaml,
};
use crate::delivery::rules::Rules;
use crate::face::operation::{NotThere, Stores};
use crate::face::{Address, Content, Hall, MediaTypes, Pieces, Refusal};
use crate::limits::{self, CONTROL_BODY_BYTES_MAX};
use crate::record::{ResourceName, TableSchema};
use crate::service::documents::{Document, DocumentError, DocumentKey, Draft};
use crate::service::principal::Verb;
use crate::service::streams::{SetDocument, Stream};
use crate::trail::Trail;

/// An AsyncAPI document: YAML by its name and by those that it had before it had one, or JSON.
const DOCUMENT: MediaTypes = &[
    "application/yaml",
    "application/json",
    "application/x-yaml",
    "text/yaml",
    "text/x-yaml",
    "application/vnd.aai.asyncapi+yaml",
    "application/vnd.aai.asyncapi+json",
];

/// The AsyncAPI document in GoldenGate's layout
///
/// Role: User.
#[utoipa::path(get, path = "/services/v2/stream/{name}/yaml", operation_id = "streamDocument",
    params(("If-None-Match" = Option<String>, Header, description = "ETags of documents that the caller has")),
    responses(
        (status = 200, description = "The document", body = ref("#/components/schemas/AsyncApiDocument"),
            content_type = "application/yaml", headers(("ETag" = String, description = "Changes when the document does"))),
        (status = 304, description = "The document is the one that If-None-Match names",
            headers(("ETag" = String, description = "Changes when the document does"))),
        NotThere))]
pub(super) async fn goldengate_yaml(call: Call<ResourceName>, headers: HeaderMap) -> Result<Response, ErrorAnswer> {
    call.require_on_stream(Role::User)?;
    let stream = streams::find(&call, &call.name)?;
    match stream.document() {
        Some(document) => set(&call.hall, &stream, document, &headers).await,
        None => made(&call, &headers, DocumentLayout::GoldenGate, Format::Yaml).await,
    }
}

/// Replaces the document until the configuration changes
///
/// Role: Administrator. AsyncAPI 3 in YAML or JSON, at most 1048576 bytes, and 4194304 with each alias of the YAML written out.
#[utoipa::path(patch, path = "/services/v2/stream/{name}/yaml", operation_id = "replaceStreamDocument",
    request_body(content(
        (Object = "application/yaml"),
        (Object = "application/json"),
        (Object = "application/x-yaml"),
        (Object = "text/yaml"),
        (Object = "text/x-yaml"),
        (Object = "application/vnd.aai.asyncapi+yaml"),
        (Object = "application/vnd.aai.asyncapi+json"))),
    responses((status = 200, description = "Done", body = Envelope<Empty>), NotThere, Stores))]
pub(super) async fn replace_yaml(call: Call<ResourceName>, content: Content) -> Answer {
    call.require(Role::Administrator)?;
    call.service().streams().find_for(call.principal(), Verb::Manage, &call.name)?;
    let invalid = |what: &dyn std::fmt::Display| ErrorAnswer::new(Fact::InvalidDocument, what);
    let document = given(content).await?.map_err(|error| invalid(&error))?;
    check(&document).map_err(|error| invalid(&error))?;
    call.service().streams().set_document(call.principal(), &call.name, document).await?;
    let done = Message::new(Fact::Done, format!("The AsyncAPI document of {} was replaced", call.name));
    Ok(streams::links_here(Envelope::default(), &call.at, &call.name).message(done))
}

/// Reads a document in YAML or JSON, whichever of its names its media type has: YAML has had many. Its error is for the
/// caller to word. Off the threads that serve, and not many at a time.
async fn given(content: Content) -> Result<Result<Value, UnreadableDocument>, Refusal> {
    static READING: Semaphore = Semaphore::const_new(limits::DOCUMENTS_READ_AT_ONCE);
    let bytes = content.read(DOCUMENT, CONTROL_BODY_BYTES_MAX).await?;
    let failed = |error: &(dyn std::error::Error + 'static)| Refusal::failed("the document cannot be read", error);
    let turn = READING.acquire().await.map_err(|error| failed(&error))?;
    let read = move || {
        // Kept until it is read, whether or not the caller still waits.
        let _turn = turn;
        from_json_or_yaml(&bytes)
    };
    tokio::task::spawn_blocking(read).await.map_err(|error| failed(&error))
}

/// The AsyncAPI document in the layout of AsyncAPI's generators
///
/// Role: User.
#[utoipa::path(get, path = "/services/v2/stream/{name}/asyncapi.yaml", operation_id = "asyncapiYaml",
    params(("If-None-Match" = Option<String>, Header, description = "ETags of documents that the caller has")),
    responses(
        (status = 200, description = "The document", body = ref("#/components/schemas/AsyncApiDocument"),
            content_type = "application/yaml", headers(("ETag" = String, description = "Changes when the document does"))),
        (status = 304, description = "The document is the one that If-None-Match names",
            headers(("ETag" = String, description = "Changes when the document does"))),
        NotThere))]
pub(super) async fn asyncapi_yaml(call: Call<ResourceName>, headers: HeaderMap) -> Result<Response, ErrorAnswer> {
    call.require_on_stream(Role::User)?;
    made(&call, &headers, DocumentLayout::AsyncApi, Format::Yaml).await
}

/// The same as JSON
///
/// Role: User.
#[utoipa::path(get, path = "/services/v2/stream/{name}/asyncapi.json", operation_id = "asyncapiJson",
    params(("If-None-Match" = Option<String>, Header, description = "ETags of documents that the caller has")),
    responses(
        (status = 200, description = "The document", body = ref("#/components/schemas/AsyncApiDocument"),
            content_type = "application/json", headers(("ETag" = String, description = "Changes when the document does"))),
        (status = 304, description = "The document is the one that If-None-Match names",
            headers(("ETag" = String, description = "Changes when the document does"))),
        NotThere))]
pub(super) async fn asyncapi_json(call: Call<ResourceName>, headers: HeaderMap) -> Result<Response, ErrorAnswer> {
    call.require_on_stream(Role::User)?;
    made(&call, &headers, DocumentLayout::AsyncApi, Format::Json).await
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
async fn set(hall: &Hall, stream: &Stream, set: SetDocument, headers: &HeaderMap) -> Result<Response, ErrorAnswer> {
    let variant = String::new();
    let key = DocumentKey { revision: stream.revision, set: Some(set.number), tables: None, variant };
    let built = hall.service.documents().get(key, move || Format::Yaml.draft(&set.document, true)).await?;
    Ok(answer(&built, Format::Yaml.media_type(), headers))
}

/// The document that the server makes.
async fn made(
    call: &Call<ResourceName>,
    headers: &HeaderMap,
    layout: DocumentLayout,
    format: Format,
) -> Result<Response, ErrorAnswer> {
    let Call { hall, at, .. } = call;
    let stream = streams::find(call, &call.name)?;
    let entry = hall.service.trails().of(&stream.config.source);
    let trail = entry.and_then(|entry| entry.served().ok().cloned());
    let key = DocumentKey {
        revision: stream.revision,
        set: None,
        tables: trail.as_ref().map(|trail| (trail.epoch(), trail.durable().borrow().newest_schema)),
        variant: format!("{layout:?} {format:?} {} {} {}", prefix(at), at.secure, at.host),
    };
    // A document without tables where rules do not compile: no row passes them.
    let rules = stream.compiled_rules().await.ok();
    let (at, security) = (at.clone(), security(hall));
    let build = move || {
        let tables = match (trail, rules) {
            (None, _) => Some(Vec::new()),
            (Some(trail), Some(rules)) => known_tables(&trail, rules),
            (Some(_), None) => None,
        };
        let whole = tables.is_some();
        format.draft(&written(&stream, &at, layout, &security, &tables.unwrap_or_default()), whole)
    };
    let built = hall.service.documents().get(key, build).await?;
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
    let path = format!("{}/stream/{}", prefix(at), stream.name);
    let input = DocumentInput {
        stream: stream.name.as_str(),
        description: config.description.as_deref(),
        options: &config.json,
        event_type_prefix: config.cloud_events.then_some(config.cloud_events_type_prefix.as_str()),
        record_framing: config.framing == Grouping::Record,
        heartbeat: config.heartbeat_seconds.is_some(),
        // Members of consumer groups are told of both, whatever the stream says.
        caught_up: true,
        drain: true,
        host: &at.host,
        secure: at.secure,
        path: &path,
        security,
        tables,
    };
    document(&input, layout)
}

/// The ways to log in that are on.
fn security(hall: &Hall) -> Vec<SecurityScheme> {
    let options = hall.service.authenticator().options();
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
    rules = rules.of_partitions(trail.current_partitions());
    let passing = tables.filter(|schema| rules.may_pass(&schema.table)).take(limits::ASYNCAPI_TABLES_MAX);
    Some(passing.collect())
}
